//! The differential test of decisions: random rules and random commands over the whole command table, judged by
//! `redkeep::policy` and by `ACL DRYRUN` of each real server, verdict by verdict and word by word.
//!
//! The table is fitted to each server's own `COMMAND`. `ACL_DIFF_DECISIONS` sets how many decisions are compared,
//! `ACL_DIFF_SEED` which ones; a failure prints the smallest rules and the smallest command that still show it.

mod server;
mod shrink;
mod stricter;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redkeep::acl::{Denial, User};
use redkeep::command::{Resolution, flag};
use redkeep::policy::Policy;
use redkeep::resp::Request;

use self::server::{Replies, Server, command, dryrun, set};
use self::shrink::{Case, shown};
use self::stricter::{Excuse, excuse};
use crate::support::random::Random;
use crate::support::{Client, pause, redis, rules};

/// Decisions over all servers in `make test`.
const DECISIONS: u64 = 2_100_000;
/// Decisions are made in batches: each of so many commands for each of so many users.
const COMMANDS: usize = 128;
const USERS: usize = 8;
/// A server's comparison ends with disagreements about so many commands.
const DISAGREEMENTS: usize = 20;
/// The same for everyone, so that a run means the same everywhere.
const SEED: u64 = 20_261_121;

// === verdicts ===

/// What Redkeep says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    Allowed,
    Denied(Denial),
    /// The number of arguments is wrong.
    Arity,
    /// No such command or subcommand.
    Unknown,
}

fn ours(policy: &Policy, user: &User, resolution: Resolution<'_>, request: Request<'_>) -> Ours {
    let Resolution::Known(spec) = resolution else { return Ours::Unknown };
    if !spec.accepts(request.len()) {
        return Ours::Arity;
    }
    policy.permits(user, 0, spec, request).map_or_else(Ours::Denied, |()| Ours::Allowed)
}

/// Writes what `ACL DRYRUN` says where it agrees: the type of the reply, then its text.
fn word(ours: Ours, resolution: Resolution<'_>, request: Request<'_>, who: &[u8], text: &mut Vec<u8>) {
    text.clear();
    let mut denied = |what: &str, object: &[u8], end: &str| {
        // 7.0 prints a C string.
        let end_of_object = memchr::memchr(0, object).filter(|_| who == NOBODY).unwrap_or(object.len());
        let object = &object[..end_of_object];
        for part in
            [b"$", who, b" has no permissions to ", what.as_bytes(), b" '", object, b"'", end.as_bytes()]
        {
            text.extend_from_slice(part);
        }
    };
    let name = if let Resolution::Known(spec) = resolution { spec.name.as_bytes() } else { b"" };
    let arg = |index| request.arg(index).unwrap();
    match ours {
        Ours::Allowed => text.extend_from_slice(b"+OK"),
        Ours::Denied(Denial::Command) => denied("run the", name, " command"),
        Ours::Denied(Denial::Key { index }) => denied("access the", arg(index), " key"),
        Ours::Denied(Denial::Channel { index }) => denied("access the", arg(index), " channel"),
        Ours::Denied(_) => text.extend_from_slice(b"?"),
        Ours::Arity => {
            for part in [&b"-ERR wrong number of arguments for '"[..], name, b"' command"] {
                text.extend_from_slice(part);
            }
        }
        Ours::Unknown => text.extend_from_slice(b"-ERR Command '"),
    }
}

/// How 7.0 begins its texts; later versions name the user.
const NOBODY: &[u8] = b"This user";

/// Whether the server said the same.
fn agrees(ours: Ours, worded: &[u8], theirs: &[u8]) -> bool {
    match ours {
        // Modules spell their commands in capitals.
        Ours::Denied(Denial::Command) => theirs.eq_ignore_ascii_case(worded),
        // Not the ACL's to refuse: the command itself does, and here Redkeep in its place.
        Ours::Denied(Denial::SortPattern { .. } | Denial::Unclear) => theirs == b"+OK",
        Ours::Unknown => theirs.starts_with(worded) && theirs.ends_with(b"' not found"),
        _ => theirs == worded,
    }
}

// === the comparison ===

#[derive(Default)]
struct Tally {
    decisions: u64,
    /// Allowed; denied for the command, a key, a channel, otherwise; not a request at all.
    outcomes: [u64; 6],
    keys_unclear: BTreeMap<String, u64>,
    stricter: BTreeMap<&'static str, u64>,
    /// Allowed and denied, by command.
    commands: BTreeMap<String, [u64; 2]>,
    /// The first of each command.
    disagreements: BTreeMap<Vec<u8>, String>,
}

/// Compares batches until `enough` decisions are made, or so much went wrong that more would tell nothing new.
fn compare(server: &Server, seed: u64, enough: u64, progress: &AtomicU64) -> Tally {
    let mut random = Random::new(seed);
    let mut client = server.redis.client();
    let mut replies = Replies::of(server);
    let drawn = server.drawn();
    let mut tally = Tally::default();
    let (mut out, mut worded) = (Vec::new(), Vec::new());
    while tally.decisions < enough && tally.disagreements.len() < DISAGREEMENTS {
        let asked: Vec<_> = (0..COMMANDS).map(|_| command(&mut random, server, &drawn)).collect();
        let requests: Vec<Vec<Vec<u8>>> = asked.iter().map(|asked| asked.args.clone()).collect();
        let users: Vec<_> = (0..USERS)
            .map(|number| user(&mut random, server, &mut client, number, &requests, &mut tally.disagreements))
            .collect();
        out.clear();
        for number in 0..USERS {
            asked.iter().for_each(|asked| dryrun(number, asked, &mut out));
        }
        replies.stream.write_all(&out).unwrap();
        for (number, (rules, user)) in users.iter().enumerate() {
            for asked in &asked {
                let request = asked.request.as_request();
                let ours = ours(&server.policy, user, asked.resolution, request);
                word(ours, asked.resolution, request, &server.who[number], &mut worded);
                let theirs = replies.next();
                tally.add(ours, asked.resolution);
                if agrees(ours, &worded, theirs) {
                    continue;
                }
                match excuse(ours, asked.resolution, &asked.args, rules, theirs) {
                    Some(Excuse::Stricter(reason)) => *tally.stricter.entry(reason).or_default() += 1,
                    Some(Excuse::KeysUnclear) => {
                        let name = String::from_utf8_lossy(&asked.args[0]).to_lowercase();
                        *tally.keys_unclear.entry(name).or_default() += 1;
                    }
                    None => {
                        let name = asked.args[0].to_ascii_lowercase();
                        let told = tally.disagreements.entry(name);
                        told.or_insert_with(|| {
                            Case { rules: rules.clone(), args: asked.args.clone() }.shrunk(server)
                        });
                    }
                }
            }
        }
        let decisions = u64::try_from(COMMANDS * USERS).unwrap();
        tally.decisions += decisions;
        progress.fetch_add(decisions, Ordering::Relaxed);
    }
    tally
}

impl Tally {
    fn add(&mut self, ours: Ours, resolution: Resolution<'_>) {
        self.outcomes[match ours {
            Ours::Allowed => 0,
            Ours::Denied(Denial::Command) => 1,
            Ours::Denied(Denial::Key { .. }) => 2,
            Ours::Denied(Denial::Channel { .. }) => 3,
            Ours::Denied(_) => 4,
            Ours::Arity | Ours::Unknown => 5,
        }] += 1;
        if let (Resolution::Known(spec), Ours::Allowed | Ours::Denied(_)) = (resolution, ours) {
            let counts = match self.commands.get_mut(&*spec.name) {
                Some(counts) => counts,
                None => self.commands.entry(spec.name.to_string()).or_default(),
            };
            counts[usize::from(ours != Ours::Allowed)] += 1;
        }
    }
}

/// A user of random rules, here and on the server. Rules that one refuses, the other refuses too.
fn user(
    random: &mut Random,
    server: &Server,
    client: &mut Client,
    number: usize,
    requests: &[Vec<Vec<u8>>],
    disagreements: &mut BTreeMap<Vec<u8>, String>,
) -> (Vec<Vec<u8>>, User) {
    loop {
        let rules = rules::rules(random, server.policy.table(), &server.names, requests);
        match set(server, client, number, &rules) {
            (Ok(user), Ok(())) => return (rules, user),
            (Err(ours), Err(theirs)) if ours == theirs => {}
            (ours, theirs) => {
                let said = format!("Redkeep {:?}\n{} {theirs:?}", ours.err(), server.name);
                let told = disagreements.entry(said.clone().into_bytes());
                told.or_insert_with(|| format!("different rules\nrules   {}\n{said}", shown(&rules)));
            }
        }
    }
}

// === the tests ===

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}: no number")))
}

#[test]
fn decisions_over_the_whole_table_are_those_of_acl_dryrun() {
    let decisions = number("ACL_DIFF_DECISIONS").unwrap_or(DECISIONS);
    let seed = number("ACL_DIFF_SEED").unwrap_or(SEED);
    eprintln!("ACL_DIFF_SEED={seed} ACL_DIFF_DECISIONS={decisions}");
    let servers: Vec<Server> = redis::all().iter().map(|program| Server::start(program)).collect();
    let share = decisions.div_ceil(u64::try_from(servers.len()).unwrap());
    let (progress, start) = (&AtomicU64::new(0), Instant::now());
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let threads: Vec<_> = servers
            .iter()
            .zip(seed..)
            .map(|(server, seed)| scope.spawn(move || compare(server, seed, share, progress)))
            .collect();
        let mut told = Instant::now();
        while threads.iter().any(|thread| !thread.is_finished()) {
            pause(Duration::from_millis(50));
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                let (done, seconds) = (progress.load(Ordering::Relaxed), start.elapsed().as_secs());
                eprintln!("{done} of {decisions} decisions after {seconds} s, no disagreement");
            }
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    eprintln!("{} decisions in {:?}", progress.load(Ordering::Relaxed), start.elapsed());
    let disagreements: Vec<&str> =
        tallies.iter().flat_map(|tally| tally.disagreements.values()).map(String::as_str).collect();
    assert!(disagreements.is_empty(), "seed {seed}:\n{}", disagreements.join("\n"));
    for (server, tally) in servers.iter().zip(&tallies) {
        report(server, tally);
    }
}

/// Prints what was compared, and insists that it was enough of everything.
fn report(server: &Server, tally: &Tally) {
    let [allowed, command, key, channel, unclear, none] = tally.outcomes;
    eprintln!(
        "{}: {} decisions: {allowed} allowed; {command} denied for the command, {key} a key, {channel} a channel, \
         {unclear} otherwise; {none} not a request\n  stricter: {:?}\n  keys unclear: {:?}",
        server.name, tally.decisions, tally.stricter, tally.keys_unclear
    );
    for (what, count, part) in [
        ("allowed", allowed, 5),
        ("commands", command, 5),
        ("keys", key, 5),
        ("channels", channel, 500),
        ("no request", none, 1000),
    ] {
        assert!(count * part >= tally.decisions, "one-sided: {what} {count}");
    }
    for spec in server.drawn() {
        let [allowed, denied] = tally.commands.get(&*spec.name).copied().unwrap_or_default();
        let container = spec.is_container();
        let deniable = !spec.flags.contains(flag::NO_AUTH);
        assert!(container || allowed > 0 && (denied > 0 || !deniable), "{}: {allowed}/{denied}", spec.name);
    }
}
