//! The replay: the same sequences of commands on a direct connection and through Redkeep, in RESP2 and RESP3, must
//! get the same bytes.
//!
//! The sequences come from templates by hand (`corpus/`, one file for each type of data) and a seed, which fills
//! them with values of all kinds and twists a few requests into wrong ones. One server plays both parts, one after
//! the other, so that the order of its hash tables is the same, and all of it is emptied in between. Through
//! Redkeep, eight sessions go on at once, of both protocols, some over TLS, so that the links to the upstream are
//! really shared; each sequence has keys of its own. Those that touch what all share run by themselves afterwards.
//! What may differ and why stands in [`compare`].
//!
//! Left out, since Redkeep differs on purpose (docs/COMPATIBILITY.md): DEBUG, MODULE LOAD and what is not available
//! (B.5), CLIENT INFO and LIST, CONFIG GET of `*` and INFO as a whole (B.5), ACL commands with their errors (B.3,
//! compared in `acl_commands`), local commands and subscriptions inside MULTI (B.5, B.6), SELECT and HELLO while
//! subscribed or while keys are watched (B.5, B.6), errors of code with line breaks inside (B.5).
//!
//! The seed is printed; `REPLAY_SEED` runs another one, `REPLAY_SEQUENCES` more of them.

mod compare;
mod shrink;
mod side;
mod template;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use redkeep::command::{CommandTable, Resolution};
use redkeep::resp::RequestBuf;

use self::compare::Leeway;
use self::side::{Answer, Manner, NO_REPLY, Run, Session, Side};
use self::template::{Step, Template, corpus};
use crate::support::random::Random;
use crate::support::redis::all;
use crate::support::{Proxy, Redis};

/// Sequences; a server that lacks commands runs fewer of them.
const SEQUENCES: usize = 3_350;
/// Sequences that one session runs, one after the other.
const PER_SESSION: usize = 12;
/// One session in this many is over TLS.
const TLS: usize = 6;
/// An all-powerful user, as on the direct side.
const USERS: &str = "user default on nopass ~* &* +@all\n";

/// A template, what it was filled with, and its run in RESP2 and in RESP3.
struct Sequence<'t> {
    number: usize,
    template: &'t Template,
    runs: [Arc<Run>; 2],
}

impl Sequence<'_> {
    fn run(&self, protocol: u8) -> Arc<Run> {
        self.runs[usize::from(protocol == 3)].clone()
    }
}

#[test]
fn sequences_over_all_types_of_data_are_answered_as_on_a_direct_connection() {
    let given = Random::seed("REPLAY_SEED");
    let seed = given.unwrap_or(0x5e9_0e4ce5);
    let wanted = Random::seed("REPLAY_SEQUENCES").map_or(SEQUENCES, |count| usize::try_from(count).unwrap());
    println!("REPLAY_SEED={seed}");
    let templates = corpus();
    let sequences = sequences(&templates, seed, wanted);
    for (number, server) in all().iter().enumerate() {
        // For the sake of time, the other servers see half the sequences in RESP2 and half in RESP3.
        let both = number == 0 || given.is_some();
        let tally = replay(server, &sequences, both);
        println!("{}: {tally}", server.display());
        let failures: Vec<&str> = tally.failures.values().map(String::as_str).collect();
        assert!(
            failures.is_empty(),
            "REPLAY_SEED={seed}, {}: {} templates differ:\n{}",
            server.display(),
            failures.len(),
            failures.join("\n")
        );
        // So that nothing passes emptily: most commands do what they are for, and most replies are compared whole.
        assert!(tally.sequences >= wanted.min(3_000), "{} sequences", tally.sequences);
        assert!(tally.errors * 10 <= tally.replies * 4, "{} errors of {}", tally.errors, tally.replies);
        assert!(tally.commands.len() >= 200, "{} commands", tally.commands.len());
        let lenient: usize = tally.leeway.values().sum();
        assert!(lenient * 20 <= tally.replies, "{lenient} replies of {} needed leeway", tally.replies);
    }
}

/// Distinct sequences, made of templates in random order.
fn sequences(templates: &[Template], seed: u64, wanted: usize) -> Vec<Sequence<'_>> {
    let mut random = Random::new(seed);
    let mut seen = HashSet::new();
    let mut sequences = Vec::new();
    while sequences.len() < wanted {
        let template = &templates[random.below(templates.len())];
        let seed = (random.below(1 << 31) << 31 | random.below(1 << 31)) as u64;
        let manner = Manner::of(&mut random);
        // Those that run by themselves cost more time.
        if template.alone && random.below(3) > 0 {
            continue;
        }
        let number = sequences.len();
        let runs = [2, 3].map(|protocol| {
            let name = format!("r{number}p{protocol}");
            let mut steps = template.sequence(seed, &name, protocol);
            steps.push(Step::echo(&name));
            Arc::new(Run { steps, manner, seed })
        });
        if seen.insert((template.title, fingerprint(template, seed))) {
            sequences.push(Sequence { number, template, runs });
        }
    }
    sequences
}

/// Tells sequences of one template apart.
fn fingerprint(template: &Template, seed: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    template.sequence(seed, "", 3).hash(&mut hasher);
    hasher.finish()
}

// === One server ===

#[derive(Default)]
struct Tally {
    sequences: usize,
    runs: usize,
    replies: usize,
    errors: usize,
    /// Replies that are the same only with leeway.
    leeway: BTreeMap<Leeway, usize>,
    /// Commands that succeeded.
    commands: BTreeSet<String>,
    /// The first difference of each template.
    failures: BTreeMap<&'static str, String>,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { sequences, runs, replies, errors, leeway, commands, .. } = self;
        let commands = commands.len();
        write!(
            out,
            "{sequences} sequences, {runs} runs, {replies} replies compared, {errors} of them errors, \
             {commands} commands succeeded; leeway {leeway:?}"
        )
    }
}

/// A sequence and the protocol that it runs in.
type Planned<'s> = (&'s Sequence<'s>, u8);

fn replay(server: &Path, sequences: &[Sequence<'_>], both: bool) -> Tally {
    let redis = Redis::start_program(server, &[]);
    let proxy = Proxy::with_users(&redis, USERS, "log:\n  format: json\n");
    let sides = [Side::Direct(&redis), Side::Proxied(&proxy)];
    let known: Vec<&Sequence<'_>> = sequences
        .iter()
        .filter(|sequence| sequence.template.needs.is_none_or(|name| knows(&redis, name)))
        .collect();
    let (alone, mixed): (Vec<Planned<'_>>, Vec<_>) = [2, 3]
        .into_iter()
        .flat_map(|protocol| known.iter().map(move |sequence| (*sequence, protocol)))
        .filter(|(sequence, protocol)| both || sequence.number % 2 == usize::from(protocol % 2))
        .partition(|(sequence, _)| sequence.template.alone);

    let plan = in_sessions(&mixed);
    let sessions: Vec<Session> =
        plan.iter().enumerate().map(|(number, part)| session(part, number % TLS == 0)).collect();
    let mut answers = sides.map(|side| {
        empty(&redis);
        side.run_all(&sessions).into_iter().flatten().collect::<Vec<_>>()
    });
    let mut played: Vec<Planned<'_>> = plan.into_iter().flatten().collect();
    for planned in alone {
        let session = session(&[planned], false);
        for (side, answers) in sides.iter().zip(&mut answers) {
            empty(&redis);
            answers.extend(side.run(&session));
        }
        played.push(planned);
    }

    let table = CommandTable::builtin();
    let mut tally = Tally { sequences: known.len(), runs: played.len(), ..Tally::default() };
    for ((sequence, protocol), (direct, proxied)) in played.iter().zip(answers[0].iter().zip(&answers[1])) {
        let title = sequence.template.title;
        // Otherwise replies and requests do not belong together.
        let echo = &direct[direct.len() - 1];
        assert!(
            echo.reply.ends_with(&[&echo.args[1], &b"\r\n"[..]].concat()),
            "{title}: {}",
            echo.reply.escape_ascii()
        );
        for (step, (direct, proxied)) in direct.iter().zip(proxied).enumerate() {
            if let Err(difference) = tally.count(&table, direct, proxied)
                && !tally.failures.contains_key(title)
            {
                let (number, run) = (sequence.number, sequence.run(*protocol));
                let smallest = shrink::smallest(&redis, &proxy, *protocol, &run, &table);
                let manner = run.manner;
                let whole = template::text(&run.steps);
                let text = format!(
                    "sequence {number} ({title}), RESP{protocol}, {manner:?}: {whole}\n\
                     step {step}:\n{difference}{smallest}"
                );
                tally.failures.insert(title, text);
            }
        }
    }
    proxy.assert_no_panic();
    tally
}

/// What each session runs, those of RESP2 and of RESP3 in turn.
fn in_sessions<'s>(planned: &[Planned<'s>]) -> Vec<Vec<Planned<'s>>> {
    let [two, three] = [2, 3].map(|wanted| {
        let of_protocol: Vec<Planned<'s>> =
            planned.iter().copied().filter(|(_, protocol)| *protocol == wanted).collect();
        of_protocol.chunks(PER_SESSION).map(<[_]>::to_vec).collect::<Vec<_>>()
    });
    let mut sessions = Vec::new();
    let (mut two, mut three) = (two.into_iter(), three.into_iter());
    loop {
        let pair = [two.next(), three.next()];
        if pair.iter().all(Option::is_none) {
            return sessions;
        }
        sessions.extend(pair.into_iter().flatten());
    }
}

/// The session that runs these sequences.
fn session(part: &[Planned<'_>], tls: bool) -> Session {
    let runs = part.iter().map(|(sequence, protocol)| sequence.run(*protocol)).collect();
    Session { protocol: part[0].1, tls, runs }
}

/// Whether the server has a command.
fn knows(redis: &Redis, command: &str) -> bool {
    redis.client().call(&["COMMAND", "INFO", command]).starts_with(b"*1\r\n*1")
}

/// Takes everything from the server that a sequence could see of those before it.
fn empty(redis: &Redis) {
    let mut owner = redis.client();
    for line in [
        "FLUSHALL SYNC",
        "FUNCTION FLUSH SYNC",
        "SCRIPT FLUSH SYNC",
        "CONFIG SET hash-max-listpack-entries 128 list-max-listpack-size -2",
    ] {
        assert_eq!(owner.ask(line), "+OK\r\n", "{line}");
    }
}

impl Tally {
    /// Compares one reply; the error shows the difference.
    fn count(&mut self, table: &CommandTable, direct: &Answer, proxied: &Answer) -> Result<(), String> {
        let command = command(table, &direct.args);
        self.replies += 1;
        if compare::is_error(&direct.reply) {
            self.errors += 1;
        } else if !direct.reply.ends_with(NO_REPLY) {
            self.commands.insert(command.clone());
        }
        match compare::same(&command, &direct.reply, &proxied.reply) {
            Ok(None) if direct.reply.ends_with(NO_REPLY) => Err(shown(direct, proxied)),
            Ok(None) => Ok(()),
            Ok(Some(leeway)) => {
                *self.leeway.entry(leeway).or_default() += 1;
                Ok(())
            }
            Err(()) => Err(shown(direct, proxied)),
        }
    }
}

/// The full name of the command; empty if there is no such command.
fn command(table: &CommandTable, args: &[Vec<u8>]) -> String {
    match table.resolve(RequestBuf::from_args(args).as_request()) {
        Resolution::Known(spec) => spec.name.to_string(),
        _ => String::new(),
    }
}

/// A request and what both sides say to it, cut if it is long.
fn shown(direct: &Answer, proxied: &Answer) -> String {
    let request = template::shown(&direct.args);
    let cut = |reply: &[u8]| {
        let text = reply.escape_ascii().to_string();
        if text.len() > 600 { format!("{} ... ({} bytes)", &text[..600], reply.len()) } else { text }
    };
    format!("  {request}\n    {}\n    {} by redkeep\n", cut(&direct.reply), cut(&proxied.reply))
}
