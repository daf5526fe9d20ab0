//! A real server as the differential test sees it: its commands, its users, its answers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use redkeep::acl::{Defaults, User};
use redkeep::command::{CommandTable, Resolution, Spec, flag, reported};
use redkeep::policy::{Gates, Policy, Upstream, Version};
use redkeep::resp::{RequestBuf, Value};

use super::{NOBODY, USERS};
use crate::support::invocation::invocation;
use crate::support::random::Random;
use crate::support::{Client, Redis, SOON, rules};

pub struct Server {
    pub name: String,
    pub redis: Redis,
    /// Of the server's own commands; it has no users.
    pub policy: Policy,
    /// The commands and subcommands of the server itself.
    pub names: Vec<String>,
    /// The beginning of its texts, for the user of this number.
    pub who: Vec<Vec<u8>>,
}

impl Server {
    pub fn start(program: &Path) -> Server {
        let redis = Redis::start_program(program, &[]);
        let mut client = redis.client();
        let (name, version) = redis.name();
        let reported = reported::parse(&client.value(&["COMMAND"]));
        let table = CommandTable::builtin().fitted(&reported);
        let all = reported.iter().flat_map(|command| command.subcommands.iter().chain([command]));
        let mut names: Vec<String> = all.map(|command| command.name.clone()).collect();
        // The server tells them in random order; a seed is to mean the same every time.
        names.sort();
        let who =
            (0..=USERS)
                .map(|user| {
                    if version >= Version::V7_2 {
                        format!("User u{user}").into_bytes()
                    } else {
                        NOBODY.into()
                    }
                })
                .collect();
        let facts = Upstream { version, valkey: None, login_first: false, databases: 16, hello: None };
        let policy = Policy::new(Some(facts), table, Gates::default(), Vec::new());
        Server { name, redis, policy, names, who }
    }

    /// The commands of the server itself, and how often each is drawn: those with options more often.
    pub fn drawn(&self) -> Vec<&Spec> {
        let known = self.names.iter().map(|name| self.policy.table().find(name.as_bytes()).unwrap());
        known
            .flat_map(|spec| {
                let counted = spec.flags.contains(flag::MOVABLEKEYS);
                let times = if spec.movable.is_some() {
                    6
                } else if counted {
                    3
                } else {
                    1
                };
                std::iter::repeat_n(spec, times)
            })
            .collect()
    }
}

/// A command of a batch.
pub struct Asked<'t> {
    pub args: Vec<Vec<u8>>,
    pub request: RequestBuf,
    pub resolution: Resolution<'t>,
}

pub fn command<'t>(random: &mut Random, server: &'t Server, drawn: &[&Spec]) -> Asked<'t> {
    let spec = drawn[random.below(drawn.len())];
    let mut args = invocation(spec, random, &rules::name);
    if random.below(3) == 0 {
        rules::disturb(random, spec, &mut args);
    }
    if random.below(400) == 0 {
        args[0].push(b'x');
    }
    let request = RequestBuf::from_args(&args);
    // The names live as long as the table, the arguments are looked at once.
    let resolution = server.policy.table().resolve(request.as_request());
    Asked { args, request, resolution }
}

/// The beginning of `ACL DRYRUN u<user>` for a command of `count` arguments.
pub fn dryrun(user: usize, asked: &Asked<'_>, out: &mut Vec<u8>) {
    let wire = asked.request.as_request().wire();
    let arguments = memchr::memchr(b'\n', wire).unwrap() + 1;
    write!(out, "*{}\r\n$3\r\nACL\r\n$6\r\nDRYRUN\r\n$2\r\nu{user}\r\n", asked.args.len() + 3).unwrap();
    out.extend_from_slice(&wire[arguments..]);
}

/// Gives user `number` these rules, here and on the server; the errors are the texts.
pub fn set(
    server: &Server,
    client: &mut Client,
    number: usize,
    rules: &[Vec<u8>],
) -> (Result<User, String>, Result<(), String>) {
    let name = format!("u{number}");
    let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
    let theirs =
        client.value(&[[b"ACL".as_slice(), b"SETUSER", name.as_bytes()].as_slice(), &rules].concat());
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let theirs = match theirs {
        Value::Error(text) => Err(lossy(&text)),
        _ => Ok(()),
    };
    let ours = User::new(name.as_bytes(), Defaults::default(), server.policy.table())
        .unwrap()
        .set(&rules, server.policy.table());
    (ours.map_err(|error| lossy(&[b"ERR ".as_slice(), &error.reply()].concat())), theirs)
}

/// Replies to `ACL DRYRUN`: one line, or one bulk string.
pub struct Replies {
    pub stream: UnixStream,
    buffer: Vec<u8>,
    at: usize,
    text: Vec<u8>,
}

impl Replies {
    pub fn of(server: &Server) -> Replies {
        let stream = UnixStream::connect(server.redis.socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Replies { stream, buffer: Vec::new(), at: 0, text: Vec::new() }
    }

    /// The type of the next reply, then its text.
    pub fn next(&mut self) -> &[u8] {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(line) = memchr::memchr(b'\n', rest) {
                let (start, end) = match rest[0] {
                    b'$' => {
                        let length: usize = std::str::from_utf8(&rest[1..line - 1]).unwrap().parse().unwrap();
                        (line + 1, line + 1 + length)
                    }
                    _ => (1, line - 1),
                };
                if rest.len() >= end + 2 {
                    self.text.clear();
                    self.text.push(rest[0]);
                    self.text.extend_from_slice(&rest[start..end]);
                    self.at += end + 2;
                    return &self.text;
                }
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            let mut chunk = [0u8; 65536];
            let count = self.stream.read(&mut chunk).unwrap();
            assert!(count > 0, "the server closed the connection");
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }
}
