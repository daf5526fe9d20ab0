//! When two replies are the same: byte for byte, but for what time, chance and numbers of clients put into them.

use std::time::{SystemTime, UNIX_EPOCH};

/// What may differ in the reply to a command, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leeway {
    /// Each side has a number of its own: of a client, or of bytes of memory, which depend on how a request arrived.
    Number,
    /// What the elements are is by chance or the clock, how many they are is not.
    Chance,
    /// The order of a hash table that is rehashed by and by: the keyspace by the clock, commands by those that ask.
    Order,
    /// Times in seconds.
    Seconds,
    /// Times in milliseconds.
    Milliseconds,
    /// Ids of stream entries that begin with the server's clock.
    EntryId,
}

/// Both sides run within this time of each other, in seconds.
const APART: u64 = 600;

/// The leeway of each command; all others have [`Leeway::EntryId`] alone, if they show such ids.
const LEEWAY: &[(&str, Leeway)] = &[
    ("client|id", Leeway::Number),
    ("hello", Leeway::Number),
    ("memory|usage", Leeway::Number),
    ("hrandfield", Leeway::Chance),
    ("randomkey", Leeway::Chance),
    ("spop", Leeway::Chance),
    ("srandmember", Leeway::Chance),
    ("zrandmember", Leeway::Chance),
    ("time", Leeway::Chance),
    ("command", Leeway::Order),
    ("command|info", Leeway::Order),
    ("command|list", Leeway::Order),
    ("keys", Leeway::Order),
    ("scan", Leeway::Order),
    ("expiretime", Leeway::Seconds),
    ("hexpiretime", Leeway::Seconds),
    ("httl", Leeway::Seconds),
    ("lastsave", Leeway::Seconds),
    ("object|idletime", Leeway::Seconds),
    ("ttl", Leeway::Seconds),
    ("hpexpiretime", Leeway::Milliseconds),
    ("hpttl", Leeway::Milliseconds),
    ("pexpiretime", Leeway::Milliseconds),
    ("pttl", Leeway::Milliseconds),
    ("xinfo|consumers", Leeway::Milliseconds),
    ("xinfo|stream", Leeway::Milliseconds),
    ("xpending", Leeway::Milliseconds),
];

/// Whether two replies to `command` are the same: `Ok(None)` if they are byte for byte, `Ok(Some(_))` with the leeway
/// that they needed.
pub fn same(command: &str, direct: &[u8], proxied: &[u8]) -> Result<Option<Leeway>, ()> {
    if direct == proxied {
        return Ok(None);
    }
    let of_command = LEEWAY.iter().find(|(name, _)| *name == command).map(|(_, leeway)| *leeway);
    let (Some(direct), Some(proxied)) = (elements(direct), elements(proxied)) else { return Err(()) };
    [of_command, Some(Leeway::EntryId)]
        .into_iter()
        .flatten()
        .find(|leeway| allows(*leeway, &direct, &proxied))
        .map(Some)
        .ok_or(())
}

/// A type byte and the content of a line or bulk, or the length of an aggregate.
type Element<'r> = (u8, &'r [u8]);

fn allows(leeway: Leeway, direct: &[Element<'_>], proxied: &[Element<'_>]) -> bool {
    if leeway == Leeway::Order {
        let sorted = |elements: &[Element<'_>]| {
            let mut sorted: Vec<(u8, Vec<u8>)> =
                elements.iter().map(|(kind, text)| (*kind, text.to_vec())).collect();
            sorted.sort();
            sorted
        };
        return sorted(direct) == sorted(proxied);
    }
    let may_differ = |(kind, direct): &Element<'_>, proxied: &[u8]| match leeway {
        Leeway::Number => *kind == b':' && number(direct).is_some() && number(proxied).is_some(),
        Leeway::Chance => b"$,".contains(kind) && direct != b"-1" && proxied != b"-1",
        Leeway::Seconds => within(direct, proxied, APART),
        Leeway::Milliseconds => within(direct, proxied, APART * 1000) || both_now(direct, proxied),
        Leeway::EntryId => both_now(direct, proxied),
        Leeway::Order => false,
    };
    direct.len() == proxied.len()
        && direct.iter().zip(proxied).all(|(direct, proxied)| {
            direct.0 == proxied.0 && (direct.1 == proxied.1 || may_differ(direct, proxied.1))
        })
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether both are numbers of no sign and not further apart than that: -1 and -2 mean something else.
fn within(direct: &[u8], proxied: &[u8], most: u64) -> bool {
    number(direct).zip(number(proxied)).is_some_and(|(one, other)| one.abs_diff(other) <= most)
}

/// Whether both are ids of entries that were added now.
fn both_now(direct: &[u8], proxied: &[u8]) -> bool {
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    [direct, proxied].iter().all(|text| {
        let dash = text.iter().position(|byte| *byte == b'-');
        let Some((milliseconds, sequence)) = dash.map(|dash| (&text[..dash], &text[dash + 1..])) else {
            return false;
        };
        number(sequence).is_some() && number(milliseconds).is_some_and(|at| at.abs_diff(now) <= APART * 1000)
    })
}

/// The content of the first element that is no aggregate.
pub fn first_element(reply: &[u8]) -> Vec<u8> {
    let elements = elements(reply).unwrap_or_default();
    elements
        .iter()
        .find(|(kind, _)| !b"*~%>".contains(kind))
        .map(|(_, text)| text.to_vec())
        .unwrap_or_default()
}

/// All elements of well-formed frames, in their order.
fn elements(mut frames: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut elements = Vec::new();
    while let Some((kind, rest)) = frames.split_first() {
        let end = rest.windows(2).position(|bytes| bytes == b"\r\n")?;
        let (line, behind) = (&rest[..end], &rest[end + 2..]);
        match kind {
            b'$' | b'=' | b'!' if line != b"-1" => {
                let length: usize = std::str::from_utf8(line).ok()?.parse().ok()?;
                elements.push((*kind, behind.get(..length)?));
                frames = behind.get(length + 2..)?;
            }
            _ => {
                elements.push((*kind, line));
                frames = behind;
            }
        }
    }
    Some(elements)
}

/// Whether a reply is an error.
pub fn is_error(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'-' | b'!'))
}

#[test]
fn only_what_time_and_chance_put_into_replies_may_differ() {
    let refused = |command, one: &str, other: &str| same(command, one.as_bytes(), other.as_bytes()).is_err();
    assert!(refused("get", "$1\r\na\r\n", "$1\r\nb\r\n"));
    assert!(refused("get", "$1\r\na\r\n", "+a\r\n"));
    assert!(refused("get", "$-1\r\n", "_\r\n"));
    assert!(refused("get", "-ERR a\r\n", "-ERR b\r\n"));
    assert!(refused("set", "+OK\r\n", "+OK\r\n+OK\r\n"));
    assert!(refused("ttl", ":-1\r\n", ":100\r\n"));
    assert!(refused("ttl", ":100\r\n", ":9000\r\n"));
    assert!(refused("spop", "$1\r\na\r\n", "$-1\r\n"));
    assert!(refused("spop", "*1\r\n$1\r\na\r\n", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"));
    assert!(refused("keys", "*1\r\n$1\r\na\r\n", "*1\r\n$1\r\nb\r\n"));
    assert!(refused("xadd", "$3\r\n1-1\r\n", "$3\r\n1-2\r\n"));
    assert!(refused("hello", "%1\r\n$5\r\nproto\r\n:3\r\n", "%1\r\n$5\r\nproto\r\n$1\r\n3\r\n"));

    let leeway = |command, one: &str, other: &str| same(command, one.as_bytes(), other.as_bytes()).unwrap();
    assert_eq!(leeway("get", "$1\r\na\r\n", "$1\r\na\r\n"), None);
    assert_eq!(leeway("ttl", ":100\r\n", ":99\r\n"), Some(Leeway::Seconds));
    assert_eq!(leeway("srandmember", "$1\r\na\r\n", "$2\r\nbc\r\n"), Some(Leeway::Chance));
    let sets = ["*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*2\r\n$1\r\nb\r\n$1\r\na\r\n"];
    assert_eq!(leeway("keys", sets[0], sets[1]), Some(Leeway::Order));
    assert!(refused("smembers", sets[0], sets[1]));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let id = |sequence| format!("$15\r\n{now}-{sequence}\r\n");
    assert_eq!(leeway("exec", &id(0), &id(1)), Some(Leeway::EntryId));
}
