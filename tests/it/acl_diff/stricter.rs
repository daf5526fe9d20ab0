//! Where Redkeep is stricter than `ACL DRYRUN`, on purpose: the only disagreements that the differential test accepts.

use std::ops::ControlFlow;

use redkeep::acl::Denial;
use redkeep::command::keys::for_each_key;
use redkeep::command::{CommandTable, Resolution};
use redkeep::resp::RequestBuf;

use super::Ours;

/// Why a disagreement is none.
pub enum Excuse {
    Stricter(&'static str),
    /// The keys cannot be told. Redis lets the command run, or denies a key that it does find, and the command itself
    /// answers with an error; Redkeep denies.
    KeysUnclear,
}

pub fn excuse(
    ours: Ours,
    resolution: Resolution<'_>,
    args: &[Vec<u8>],
    rules: &[Vec<u8>],
    theirs: &[u8],
) -> Option<Excuse> {
    // SECURITY: what Redkeep allows is never excused.
    let name = match (ours, resolution) {
        (Ours::Denied(denial), Resolution::Known(spec)) if !theirs.starts_with(b"-") => {
            let request = RequestBuf::from_args(args);
            let keys = for_each_key(spec, request.as_request(), |_| ControlFlow::<()>::Continue(()));
            if keys.is_err() && denial != Denial::Command {
                return Some(Excuse::KeysUnclear);
            }
            &*spec.name
        }
        (Ours::Unknown, _) => "",
        _ => return None,
    };
    let named = |entry: &&Stricter| entry.commands.is_empty() || entry.commands.contains(&name);
    let entry = STRICTER.iter().filter(named).find(|entry| (entry.when)(&ours, args, rules))?;
    Some(Excuse::Stricter(entry.reason))
}

/// Arguments, or rules.
type Words<'w> = &'w [Vec<u8>];

/// Requests that Redkeep denies though `ACL DRYRUN` allows them, or denies for another of their arguments.
struct Stricter {
    /// The commands; none for every command.
    commands: &'static [&'static str],
    /// What is special: the verdict, the arguments, the rules.
    when: fn(&Ours, Words<'_>, Words<'_>) -> bool,
    /// Why.
    reason: &'static str,
    /// The beginning of its row in docs/COMPATIBILITY.md, B.2 or B.3.
    source: &'static str,
}

/// SECURITY: whoever adds an entry makes the proof weaker. It must be what docs/COMPATIBILITY.md promises, and the
/// test insists that Redkeep denies.
const STRICTER: &[Stricter] = &[
    Stricter {
        commands: &["georadius", "georadiusbymember"],
        when: |ours, args, _| {
            let options = if says(&args[..1], &["GEORADIUS"]) == 1 { 6 } else { 5 };
            matches!(ours, Ours::Denied(Denial::Key { .. }))
                && !is_plain(args, options, GEORADIUS, &["STORE", "STOREDIST"])
        },
        reason: "Redis checks the first STORE and stores to the last",
        source: "| GEORADIUS, GEORADIUSBYMEMBER with several STORE or STOREDIST |",
    },
    Stricter {
        commands: &["sort"],
        when: |ours, args, _| {
            matches!(ours, Ours::Denied(Denial::Key { .. })) && !is_plain(args, 2, SORT, &["STORE"])
        },
        reason: "Redis searches for the word STORE, also among the values of other options",
        source: "| SORT with several STORE, or a value that looks like an option |",
    },
    Stricter {
        commands: &["xread", "xreadgroup"],
        when: |_, args, _| says(args, &["STREAMS"]) > 1 || says(&args[..4], &["STREAMS"]) == 1,
        reason: "Redis takes a group or consumer called STREAMS for the option, and overlooks one before GROUP",
        source: "| XREAD, XREADGROUP with a group or consumer called STREAMS |",
    },
    Stricter {
        commands: &["pfmerge"],
        when: |_, args, _| args.len() == 2,
        reason: "Redis finds no key, and creates it",
        source: "| PFMERGE with a destination only |",
    },
    Stricter {
        commands: &["zadd"],
        when: |ours, args, _| *ours == Ours::Denied(Denial::Key { index: 1 }) && says(args, &["INCR"]) > 0,
        reason: "it returns the score, so it reads",
        source: "| ZADD with INCR |",
    },
    Stricter {
        commands: &["xclaim", "xautoclaim"],
        when: |ours, _, _| *ours == Ours::Denied(Denial::Key { index: 1 }),
        reason: "they return entries, so they read",
        source: "| XCLAIM, XAUTOCLAIM |",
    },
    Stricter {
        commands: &["debug"],
        when: |ours, _, _| matches!(ours, Ours::Denied(Denial::Key { .. })),
        reason: "it shows the key, which Redis does not check",
        source: "| DEBUG OBJECT, DIGEST-VALUE, LISTPACK, QUICKLIST, SDSLEN, ZIPLIST, HTSTATS-KEY |",
    },
    Stricter {
        commands: &[],
        when: |_, args, rules| is_hidden_by_nul(args, rules),
        reason: "Redis compares the first argument of a rule as a C string, so that a NUL hides the rest",
        source: "| a NUL in the argument of a rule such as `+select\\|0` |",
    },
    Stricter {
        commands: &[],
        when: |ours, args, _| *ours == Ours::Unknown && args.iter().take(2).any(|arg| arg.contains(&0)),
        reason: "Redis compares names as C strings, if its hash table happens to lead there",
        source: "| a NUL in the name of a command or subcommand |",
    },
    Stricter {
        commands: &["psubscribe"],
        when: |_, args, _| args.iter().any(|arg| arg.contains(&0)),
        reason: "Redis compares the pattern as a C string",
        source: "| PSUBSCRIBE: the pattern must equal a rule |",
    },
];

/// How many arguments are one of these words to Redis, which compares C strings.
fn says(args: &[Vec<u8>], words: &[&str]) -> usize {
    let word = |arg: &[u8]| arg.split(|byte| *byte == 0).next().unwrap_or_default().to_ascii_uppercase();
    args.iter().filter(|arg| words.iter().any(|known| word(arg) == known.as_bytes())).count()
}

/// Whether a rule such as `+select|0` is about the first argument, to whom a NUL ends it.
fn is_hidden_by_nul(args: &[Vec<u8>], rules: &[Vec<u8>]) -> bool {
    let Some(end) = args.get(1).and_then(|arg| arg.iter().position(|byte| *byte == 0)) else { return false };
    let argument = [b"|", &args[1][..end]].concat().to_ascii_lowercase();
    let tokens = rules.iter().flat_map(|rule| rule.split(|byte| b" ()".contains(byte)));
    tokens.into_iter().any(|token| token.to_ascii_lowercase().ends_with(&argument))
}

/// Options with the number of their values.
type Options = &'static [(&'static str, usize)];

const GEORADIUS: Options = &[
    ("ANY", 0),
    ("ASC", 0),
    ("COUNT", 1),
    ("DESC", 0),
    ("STORE", 1),
    ("STOREDIST", 1),
    ("WITHCOORD", 0),
    ("WITHDIST", 0),
    ("WITHHASH", 0),
];
const SORT: Options =
    &[("ALPHA", 0), ("ASC", 0), ("BY", 1), ("DESC", 0), ("GET", 1), ("LIMIT", 2), ("STORE", 1)];

/// Whether there are only known options from argument `at` on, at most one of them a `word`, and no value looks like one.
fn is_plain(args: &[Vec<u8>], mut at: usize, options: Options, words: &[&str]) -> bool {
    let before = says(&args[..at], words);
    let mut seen = 0;
    while let Some(arg) = args.get(at) {
        let Some((word, values)) =
            options.iter().find(|(word, _)| says(std::slice::from_ref(arg), &[word]) == 1)
        else {
            return false;
        };
        seen += usize::from(words.contains(word));
        at += 1 + values;
    }
    at == args.len() && before == 0 && seen <= 1 && says(args, words) == seen
}

#[test]
fn what_is_stricter_is_documented() {
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/COMPATIBILITY.md")).unwrap();
    assert!(STRICTER.len() <= 20, "{} entries: the proof is getting weak", STRICTER.len());
    for entry in STRICTER {
        assert!(document.contains(entry.source), "{}: {} is not documented", entry.reason, entry.source);
        for name in entry.commands {
            assert!(CommandTable::builtin().find(name.as_bytes()).is_some(), "{name}");
        }
    }
}
