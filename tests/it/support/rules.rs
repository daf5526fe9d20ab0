//! Random ACL rules, and the keys and channels that they are about: both from so small an alphabet that they often match.

use redkeep::command::{CommandTable, Spec, category};

use super::invocation::ODD_KEYS;
use super::random::Random;

/// Bytes of random keys and patterns.
const ALPHABET: &[u8] = b"abc*?[]^-\\a*[-]b";

/// A key or a channel: plain ones, some that look like options, some with odd bytes.
pub fn name(random: &mut Random) -> Vec<u8> {
    match random.below(16) {
        0 | 1 => random.pick(&ODD_KEYS).into(),
        2 => (0..random.below(3)).map(|_| [b'a', 0xff, 0x80, 0x7f, 0, b' '][random.below(6)]).collect(),
        3 => (0..random.below(5)).map(|_| b"abcab*]-"[random.below(8)]).collect(),
        4 => b"key:1\0x".to_vec(),
        _ => [b"key:".as_slice(), &[b'0' + u8::try_from(random.below(8)).unwrap()]].concat(),
    }
}

/// A glob without white space, NUL, quotes and `)`.
fn pattern(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => random.pick(&["*", "?*", "key*", "k?y:*", "**", "*:*"]).into(),
        1..4 => random
            .pick(&[
                "key:[0-3]",
                "key:[^0-3]",
                "key:[1",
                "key:[3-1]*",
                "ke[xyz]:?",
                "[^a]*",
                "[A-Z]*",
                "*[5-7]",
                "key:1*",
                "\\key:\\1",
                "key:[\\1-4]",
                "*[a-z]",
                "[!a]*",
            ])
            .into(),
        4 | 5 => format!("key:{}", random.below(8)).into_bytes(),
        6 => random.pick(&ODD_KEYS).into(),
        _ => (0..random.below(6)).map(|_| ALPHABET[random.below(ALPHABET.len())]).collect(),
    }
}

/// A rule about commands: every second one names a command of `requests`, so that it matters.
fn command_rule(
    random: &mut Random,
    table: &CommandTable,
    names: &[String],
    requests: &[Vec<Vec<u8>>],
) -> Vec<u8> {
    let sign = random.pick(&["+", "-"]);
    if random.below(3) == 0 {
        let (_, category) = category::ALL[random.below(category::ALL.len())];
        return format!("{sign}@{category}").into_bytes();
    }
    if random.below(2) == 0 {
        let name = &names[random.below(names.len())];
        return cased(random, format!("{sign}{name}").into_bytes());
    }
    let request = &requests[random.below(requests.len())];
    let Some(spec) = table.find(&request[0]) else { return b"+get".to_vec() };
    let container = spec.is_container();
    match request.get(1).filter(|arg| storable(arg)) {
        // A subcommand, or a first argument, which can only be allowed.
        Some(arg) if random.below(2) == 0 => {
            let known = container && table.find_subcommand(spec, arg).is_some();
            let sign = if known { sign } else { "+" };
            if container && !known {
                return [b"+", &*request[0]].concat();
            }
            cased(random, [sign.as_bytes(), &request[0], b"|", arg].concat())
        }
        _ => cased(random, [sign.as_bytes(), &request[0]].concat()),
    }
}

/// Whether every server takes the word for an argument of a rule: Valkey 9.1 refuses some bytes that are not ASCII at the
/// end of one in a selector.
fn storable(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'()|".contains(byte))
}

fn cased(random: &mut Random, mut rule: Vec<u8>) -> Vec<u8> {
    if random.below(8) == 0 {
        rule.make_ascii_uppercase();
    }
    rule
}

/// A rule about keys or channels.
fn pattern_rule(random: &mut Random) -> Vec<u8> {
    let sign = random.pick(&["~", "~", "~", "%R~", "%R~", "%W~", "%W~", "%RW~", "%wr~", "&", "&"]);
    if random.below(10) == 0 {
        return random
            .pick(&["allkeys", "resetkeys", "allchannels", "resetchannels", "~*", "&*", "%R~*"])
            .into();
    }
    [sign.as_bytes(), &pattern(random)].concat()
}

/// The rules of one user. Most begin with many commands and some keys: a user who may do nothing shows nothing.
pub fn rules(
    random: &mut Random,
    table: &CommandTable,
    names: &[String],
    requests: &[Vec<Vec<u8>>],
) -> Vec<Vec<u8>> {
    let mut rules = vec![b"reset".to_vec()];
    let first =
        random.pick(&["+@all", "+@all", "+@all", "+@write", "+@read", "+@slow", "AllCommands", "-@all"]);
    rules.push(first.into());
    for _ in 0..random.below(5) {
        rules.push(pattern_rule(random));
    }
    for _ in 0..random.below(5) {
        rules.push(command_rule(random, table, names, requests));
    }
    for _ in 0..random.below(3) {
        rules.push(pattern_rule(random));
    }
    for _ in 0..random.below(6).saturating_sub(2) {
        let mut inner = vec![random.pick(&["+@all", "+@write", "+@read", "-@all"]).as_bytes().to_vec()];
        for _ in 0..random.below(5) {
            inner.push(match random.below(3) {
                0 => command_rule(random, table, names, requests),
                _ => pattern_rule(random),
            });
        }
        rules.push([b"(", inner.join(&b' ').as_slice(), b")"].concat());
    }
    if random.below(20) == 0 {
        let place = random.below(rules.len() + 1);
        rules.insert(place, random.pick(&["reset", "clearselectors", "on", "off", "nopass", ">x"]).into());
    }
    rules
}

/// Words that mean something to some command.
const WORDS: &[&str] = &[
    "STORE",
    "store",
    "STOREDIST",
    "KEYS",
    "Keys",
    "STREAMS",
    "GET",
    "BY",
    "COUNT",
    "ANY",
    "LIMIT",
    "AUTH",
    "AUTH2",
    "GROUP",
    "BLOCK",
    "NOACK",
    "INCR",
    "WEIGHTS",
    "AGGREGATE",
    "NX",
    "XX",
    "EX",
    "PX",
    "ID",
    "COPY",
    "REPLACE",
    "DB",
    "OBJECT",
    "OVERFLOW",
    "SET",
    "INCRBY",
    "FIELDS",
    "WITHSCORES",
    "MATCH",
    "ALPHA",
    "LEFT",
    "MAXLEN",
    "FNX",
    "IFEQ",
];

/// Makes a request stranger: an argument more, less, twice, elsewhere, an option, odd bytes, a number.
pub fn disturb(random: &mut Random, spec: &Spec, args: &mut Vec<Vec<u8>>) {
    let names = 1 + usize::from(spec.parent.is_some());
    let place = names + random.below((args.len() + 1 - names).max(1));
    let word = |random: &mut Random| match random.below(3) {
        0 => name(random),
        1 => random
            .pick(&["0", "1", "2", "3", "-1", "01", "+1", "1 ", "", "99999999999999999999", "4294967297"])
            .into(),
        _ => random.pick(WORDS).into(),
    };
    let existing = place.min(args.len() - 1);
    match random.below(9) {
        0 | 1 => args.insert(place, word(random)),
        2 if args.len() > names => drop(args.remove(existing)),
        3 => args.insert(place, args[existing].clone()),
        4 if existing >= names => {
            let other = names + random.below(args.len() - names);
            args.swap(existing, other);
        }
        5 if existing >= names => args[existing].extend_from_slice(b"\0x"),
        6 if existing >= names => args[existing] = word(random),
        7 => {
            args.push(random.pick(WORDS).into());
            args.push(name(random));
        }
        _ => args[random.below(names)].make_ascii_uppercase(),
    }
}
