//! Does anything stay behind on a link? One client runs a command, another one then uses the same shared link: it must
//! find the state of a fresh connection, and the server must see none but fresh links.

use std::collections::BTreeMap;

use redkeep::command::{CommandTable, Spec, category};

use crate::support::client::text;
use crate::support::random::Random;
use crate::support::redis::{all, redis_6_2};
use crate::support::requests::{Vocabulary, is_container};
use crate::support::{Client, Proxy, Redis, wait_for};

const USERS: &str = "user default off\nuser admin on >secret ~* &* +@all\n";

/// Commands that are not run: what they do to the server, to the users or to the test's own clients is their purpose.
const NEVER: &[&str] = &[
    "shutdown",
    "failover",
    "replicaof",
    "slaveof",
    "config|set",
    "acl|setuser",
    "acl|deluser",
    "acl|load",
    "client|kill",
    // Leaves out the replies that the test waits for; tested in `client_commands.rs`.
    "client|reply",
    // Seconds of work.
    "pfselftest",
    "save",
    // These close the connection, in COMMAND up to 6.2.
    "post",
    "host:",
];

/// What a link's line in the server's CLIENT LIST says about its state.
const STATE: &[&str] = &[
    "name", "flags", "db", "sub", "psub", "ssub", "multi", "watch", "user", "redir", "resp", "lib-name",
    "lib-ver",
];

fn vocabulary() -> Vocabulary {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    Vocabulary {
        keys: owned(&["k:1", "k:2", "k:3"]),
        typed: vec![(category::LIST, owned(&["list"])), (category::STREAM, owned(&["stream"]))],
        values: owned(&["a", "b", "1", "2", "g"]),
        patterns: owned(&["*", "k:*"]),
        channels: owned(&["ch:1", "ch:2"]),
        scripts: owned(&["return redis.call('select', 1)", "return redis.call('multi')", "return 1"]),
        odd: 8,
    }
}

/// The server's connections by number, but the one that asks.
fn connections(direct: &mut Client) -> BTreeMap<String, String> {
    let list = direct.ask("CLIENT LIST");
    let lines = list.lines().filter(|line| line.contains(" addr=") && !line.contains(" name=direct "));
    lines
        .map(|line| {
            let fields = line.split(' ').filter_map(|word| word.split_once('='));
            let id = fields.clone().find(|(name, _)| *name == "id").unwrap().1;
            let state = fields.filter(|(name, _)| STATE.contains(name));
            let state: String = state.map(|(name, value)| format!("{name}={value} ")).collect();
            // Valkey goes on to show 0 commands after a transaction; whether one is open is told by the flags.
            (id.to_owned(), state.replace("multi=0 ", "multi=-1 "))
        })
        .collect()
}

/// Whether the links are the `fresh` ones, and some that rest in no other state.
fn is_fresh(links: &BTreeMap<String, String>, fresh: &BTreeMap<String, String>) -> bool {
    fresh.iter().all(|(id, state)| links.get(id) == Some(state))
        && links.values().all(|state| fresh.values().any(|fresh| fresh == state))
}

/// A session of the administrator that speaks `protocol`.
fn session(proxy: &Proxy, protocol: &str) -> Client {
    let mut client = Client::tcp(proxy.port(0)).login("admin", "secret");
    assert!(client.ask(protocol).contains("server"));
    client
}

/// Reads up to the reply to `mark`, or to the end.
fn read_until(client: &mut Client, mark: &str) {
    while let Some(reply) = client.try_read_reply() {
        if text(&reply).contains(mark) {
            return;
        }
    }
}

#[test]
fn no_command_leaves_anything_behind_on_a_link_for_the_next_client() {
    let seed = Random::seed("LEAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("LEAK_SEED={seed}");
    let mut random = Random::new(seed);
    let vocabulary = vocabulary();
    let table = CommandTable::builtin();
    let specs: Vec<&Spec> = table
        .specs()
        .iter()
        .filter(|spec| !is_container(spec, table.specs()) && !NEVER.contains(&&*spec.name))
        .collect();
    assert!(specs.len() > 350, "{}", specs.len());
    for server in all().into_iter().chain(redis_6_2()) {
        let redis = Redis::start_program(&server, &[]);
        let proxy = Proxy::start(|dir, _| {
            format!(
                "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\nacl:\n  file: {}\nworkers: 1\n",
                redis.socket().display(),
                dir.write("users.acl", USERS).display()
            )
        });
        let mut direct = redis.client();
        direct.ask("CLIENT SETNAME direct");
        // The shared links of both protocols, which stay as they are to the end.
        let protocols = ["HELLO 2", "HELLO 3"];
        let mut others = protocols.map(|protocol| session(&proxy, protocol));
        others.iter_mut().for_each(|other| assert_eq!(other.ask("PING"), "+PONG\r\n"));
        // What Redkeep asks for itself comes and goes.
        let fresh = wait_for("the shared links alone", || {
            Some(connections(&mut direct)).filter(|links| links.len() == 2)
        });

        for (number, spec) in specs.iter().enumerate() {
            for (protocol, other) in protocols.iter().zip(&mut others) {
                let request = vocabulary.request(spec, &mut random);
                let shown: Vec<_> = request.iter().map(|arg| arg.escape_ascii().to_string()).collect();
                let place = format!("{server:?}, {protocol}, LEAK_SEED={seed}: {}", shown.join(" "));
                let mut client = session(&proxy, protocol);
                client.send(&request);
                let mark = format!("nosuch{number}");
                if client.try_send(&[&mark]).is_some() {
                    read_until(&mut client, &mark);
                }
                // The first client is still there.
                let token = format!("token-{number}");
                let canary = [
                    (vec!["ECHO", &token], format!("${}\r\n{token}\r\n", token.len())),
                    (vec!["SET", "leak:canary", &token], "+OK\r\n".to_owned()),
                    (vec!["GET", "leak:canary"], format!("${}\r\n{token}\r\n", token.len())),
                    (vec!["PING"], "+PONG\r\n".to_owned()),
                    // On a leased link, perhaps the one that the first client has used.
                    (vec!["MULTI"], "+OK\r\n".to_owned()),
                    (vec!["PING"], "+QUEUED\r\n".to_owned()),
                    (vec!["EXEC"], "*1\r\n+PONG\r\n".to_owned()),
                ];
                canary.iter().for_each(|(request, _)| other.send(request));
                for (request, expected) in &canary {
                    assert_eq!(text(&other.read_reply()), *expected, "{request:?} after {place}");
                }
                assert_eq!(direct.ask("GET leak:canary"), canary[2].1, "the database after {place}");
                drop(client);
                wait_for(&format!("fresh links after {place}"), || {
                    is_fresh(&connections(&mut direct), &fresh).then_some(())
                });
            }
        }
        proxy.assert_no_panic();
    }
}

/// Requests whose error repeats a piece of the request with its line breaks, on some servers or all (7.0.15, 8.2.3,
/// Valkey 9.1.2: libraries that do not compile; 8.2.3: errors of scripts). What is behind a break looks like a reply.
const BREAKING: &[&[&str]] = &[
    &["FUNCTION", "LOAD", "#!lua name=l\nreturn 'x' 'a\\r\\n+foreign'"],
    &["FUNCTION", "LOAD", "#!lua name=l\nreturn 'x' [[a\n+foreign]]"],
    &["FUNCTION", "LOAD", "#!lua name=l\nreturn redis['a\\r\\n+foreign']"],
    &["EVAL", "error('a\\r\\n+foreign')", "0"],
    &["EVAL", "return _G['a\\r\\n+foreign\\r\\n+foreign']", "0"],
    // What is behind the break comes late.
    &["EVAL", "error('a\\r\\n+foreign' .. string.rep('x', 1000000))", "0"],
    &["FUNCTION", "LOAD", "#!lua name=l\nredis['a\\r\\n+foreign' .. string.rep('x', 1000000)]()"],
];

#[test]
fn errors_of_the_server_with_line_breaks_inside_reach_nobody_else() {
    for program in all() {
        let redis = Redis::start_program(&program, &[]);
        let proxy = Proxy::start(|dir, _| {
            let users = dir.write("users.acl", USERS);
            format!(
                "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\nacl:\n  file: {}\nworkers: 1\n",
                redis.socket().display(),
                users.display()
            )
        });
        let mut author = Client::tcp(proxy.port(0)).login("admin", "secret");
        let mut other = Client::tcp(proxy.port(0)).login("admin", "secret");
        assert_eq!(author.ask("MSET author his other mine"), "+OK\r\n");
        assert_eq!(author.ask("RPUSH list 7"), ":1\r\n");
        for request in BREAKING {
            for _ in 0..10 {
                author.send(request);
                author.send(&["GET", "author"]);
                for _ in 0..3 {
                    other.send(&["GET", "other"]);
                }
                let shown = format!("{program:?}: {request:?}");
                let error = text(&author.read_reply());
                assert!(error.starts_with("-ERR") || error.starts_with("-INDOUBT"), "{shown}: {error}");
                assert_eq!(text(&author.read_reply()), "$3\r\nhis\r\n", "{shown}");
                for _ in 0..3 {
                    assert_eq!(text(&other.read_reply()), "$4\r\nmine\r\n", "{shown}");
                }
                assert_eq!(other.ask("SORT list"), "*1\r\n$1\r\n7\r\n", "{shown}: on a leased link");
            }
        }
        proxy.assert_no_panic();
    }
}
