//! Requests that Redis' own parser of a command rejects, whatever the data: which error it gives ([`rejection`]), and
//! which keys its ACL checks before (`visit_found`).
//!
//! Redis looks for keys with code of its own. Where that finds none, the ACL passes and the command answers with its
//! error. A request with a [`Rejection`] is never sent for a user who may not use every key; the error is written here
//! instead. So nothing in this file can open a hole: it decides only which words a refusal has.
//!
//! INVARIANT: a [`Rejection`] does not depend on data. Where Redis looks at a key, a script or a function first
//! (GEORADIUS, FCALL, EVALSHA with a name that is no hash), or where versions disagree in a way that cannot be told,
//! there is none.
//!
//! Source: the replies of Redis 6.2.5, 7.0.15, 8.2.3 and Valkey 9.1.2 to users with few keys (`tests/it/syntax.rs`).

use std::ops::ControlFlow;

use super::keys::{Key, Stop, Walk, is_word};
use super::movable::{Found, MIGRATE, XREAD, option_at, says_keys, sort_options};
use super::spec::{Access, Begin, Find, Movable, Spec, flag};
use crate::resp::Request;

/// Hexadecimal digits of a script's hash.
const SHA_DIGITS: usize = 40;

/// Why Redis' parser rejects a request, by the error that it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// XREADGROUP without GROUP.
    GroupMissing,
    /// XREAD with GROUP.
    GroupOfXread,
    /// MSETEX (Valkey 9.1): the number of keys is none, or not positive.
    InvalidKeyCount,
    /// MIGRATE with a key and KEYS.
    KeyAndKeys,
    /// SINTERCARD, LMPOP, ZMPOP and their blocking forms: the number of keys is none, or not positive.
    KeyCountNotPositive,
    /// ZUNION and its family: no source at all.
    NoInputKey,
    /// MSETEX (Valkey 9.1): fewer pairs than announced.
    MissingPairs,
    /// EVAL, SINTERCARD: more keys announced than there are arguments.
    MoreKeysThanArguments,
    /// EVAL: a negative number of keys.
    NegativeKeyCount,
    /// XREAD with NOACK.
    NoackOfXread,
    /// A number is none, to Redis' strict reading: no plus sign, space or leading zero.
    NotAnInteger,
    /// The plain syntax error.
    Syntax,
    /// XREAD BLOCK with a negative time.
    TimeoutNegative,
    /// XREAD BLOCK with no number.
    TimeoutNotAnInteger,
    /// XREAD, XREADGROUP: not as many ids as streams.
    UnbalancedStreams,
}

/// The error that Redis' own parser gives for `request`, if it is certain to give one; `None` also when it depends on
/// data or cannot be told. All arguments are attacker-controlled; O(arguments), nothing is allocated.
pub fn rejection(spec: &Spec, request: Request<'_>) -> Option<Rejection> {
    match spec.movable {
        Some(Movable::Migrate) => migrate(request),
        Some(Movable::Sort) => sort(spec, request),
        Some(Movable::Xread) => xread(spec, request),
        Some(_) => None,
        None => Family::of(&spec.name).and_then(|family| counted(family, spec, request)),
    }
}

/// Whether a SORT option is LIMIT with something else than two numbers.
pub(super) fn is_bad_limit(request: Request<'_>, option: &Found) -> bool {
    option.word == "LIMIT"
        && (option.value..option.next).any(|value| request.arg(value).and_then(integer).is_none())
}

/// Commands that count their keys, by the errors that they give.
#[derive(Clone, Copy)]
enum Family {
    Msetex,
    Pop,
    Script,
    SetCardinality,
    SortedSets,
}

impl Family {
    fn of(name: &str) -> Option<Family> {
        Some(match name {
            "blmpop" | "bzmpop" | "lmpop" | "zmpop" => Family::Pop,
            "eval" | "eval_ro" | "evalsha" | "evalsha_ro" => Family::Script,
            "msetex" => Family::Msetex,
            "sintercard" => Family::SetCardinality,
            "zdiff" | "zdiffstore" | "zinter" | "zintercard" | "zinterstore" | "zunion" | "zunionstore" => {
                Family::SortedSets
            }
            _ => return None,
        })
    }
}

fn counted(family: Family, spec: &Spec, request: Request<'_>) -> Option<Rejection> {
    let (place, step) = key_count_place(spec)?;
    let count = request.arg(place).and_then(integer);
    let step = i64::try_from(step).ok()?;
    let room = i64::try_from(request.len().saturating_sub(place).saturating_sub(1)).ok()?;
    match family {
        // A name that is no hash is an unknown script, before anything else is looked at.
        Family::Script if spec.name.starts_with("evalsha") && request.arg(1)?.len() != SHA_DIGITS => None,
        Family::Script => match count {
            None => Some(Rejection::NotAnInteger),
            Some(count) if count > room => Some(Rejection::MoreKeysThanArguments),
            Some(..0) => Some(Rejection::NegativeKeyCount),
            Some(_) => None,
        },
        Family::SortedSets => match count {
            None => Some(Rejection::NotAnInteger),
            Some(..1) => Some(Rejection::NoInputKey),
            Some(count) => (count > room).then_some(Rejection::Syntax),
        },
        Family::SetCardinality => match count {
            None | Some(..1) => Some(Rejection::KeyCountNotPositive),
            Some(count) => (count > room).then_some(Rejection::MoreKeysThanArguments),
        },
        Family::Pop => match count {
            None | Some(..1) => Some(Rejection::KeyCountNotPositive),
            // The word after the keys is needed, too.
            Some(count) => (count > room).then_some(Rejection::Syntax),
        },
        Family::Msetex => match count.map(i32::try_from) {
            None | Some(Err(_) | Ok(..1)) => Some(Rejection::InvalidKeyCount),
            // Where only the last value lacks, the keys are certain.
            Some(Ok(count)) => {
                let keys = room.checked_add(step.checked_sub(1)?)?.checked_div(step)?;
                (i64::from(count) > keys).then_some(Rejection::MissingPairs)
            }
        },
    }
}

fn sort(spec: &Spec, request: Request<'_>) -> Option<Rejection> {
    let mut at = 2;
    loop {
        match option_at(request, at, sort_options(spec)) {
            Ok(Some(option)) if is_bad_limit(request, &option) => return Some(Rejection::NotAnInteger),
            Ok(Some(option)) => at = option.next,
            Ok(None) => return None,
            Err(_) => return Some(Rejection::Syntax),
        }
    }
}

fn migrate(request: Request<'_>) -> Option<Rejection> {
    let mut at = 6;
    loop {
        match option_at(request, at, MIGRATE) {
            Ok(Some(option)) if option.word == "KEYS" => {
                return request.arg(3).filter(|key| !key.is_empty()).map(|_| Rejection::KeyAndKeys);
            }
            Ok(Some(option)) => at = option.next,
            Ok(None) => return None,
            Err(_) => return Some(Rejection::Syntax),
        }
    }
}

fn xread(spec: &Spec, request: Request<'_>) -> Option<Rejection> {
    let group = spec.flags.contains(flag::WRITE);
    let mut named = !group;
    let mut at = 1;
    // Without STREAMS, the end is a syntax error, too.
    while let Ok(Some(option)) = option_at(request, at, XREAD) {
        let value = request.arg(option.value).unwrap_or_default();
        match option.word {
            "BLOCK" => match integer(value) {
                None => return Some(Rejection::TimeoutNotAnInteger),
                Some(..0) => return Some(Rejection::TimeoutNegative),
                // Newer servers refuse what ends beyond their clock; which that is, only they know.
                Some(time) if time > i64::MAX / 2 => return None,
                Some(_) => {}
            },
            // An option of XREADGROUP since Redis 8.4, a syntax error before.
            "CLAIM" => return None,
            "COUNT" if integer(value).is_none() => return Some(Rejection::NotAnInteger),
            "GROUP" if !group => return Some(Rejection::GroupOfXread),
            "GROUP" => named = true,
            "NOACK" if !group => return Some(Rejection::NoackOfXread),
            "STREAMS" => {
                let balanced = request.len().saturating_sub(option.value).is_multiple_of(2);
                return match (balanced, named) {
                    (false, _) => Some(Rejection::UnbalancedStreams),
                    (true, false) => Some(Rejection::GroupMissing),
                    (true, true) => None,
                };
            }
            _ => {}
        }
        at = option.next;
    }
    Some(Rejection::Syntax)
}

// === what Redis finds ===

/// Visits the keys that Redis finds in a request that it will reject: those its ACL checks first. As 7.0 finds them.
pub(super) fn visit_found<'r, B, F>(spec: &Spec, walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    match spec.movable {
        Some(Movable::Migrate) => migrate_found(walk),
        Some(Movable::Sort) => sort_found(spec, walk),
        Some(Movable::Xread) => xread_found(spec, walk),
        Some(_) => Ok(()),
        None => counted_found(spec, walk),
    }
}

/// Where a number is none, Redis looks again, with C's `atoi`; and then asks for no particular permission. (7.0 does,
/// for a number beyond 32 bits.)
fn counted_found<'r, B, F>(spec: &Spec, walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    let Some((place, 1)) = key_count_place(spec) else { return Ok(()) };
    let first = place.saturating_add(1);
    let room = walk.request.len().saturating_sub(first);
    let count = walk.request.arg(place).map_or(0, atoi);
    let Some(count) = usize::try_from(count).ok().filter(|count| (1..=room).contains(count)) else {
        return Ok(());
    };
    if spec.keys.len() > 1 {
        // The destination.
        walk.key(1, Access::ANY)?;
    }
    walk.keys(first, first.saturating_add(count), 1, Access::ANY)
}

/// An unknown word is skipped, and the last STORE counts.
fn sort_found<'r, B, F>(spec: &Spec, walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    walk.key(1, Access::READ)?;
    if spec.flags.contains(flag::READONLY) {
        return Ok(());
    }
    let (mut at, mut store) = (2usize, None);
    while let Some(arg) = walk.request.arg(at) {
        let skipped = match arg {
            arg if is_word(arg, "LIMIT") => 2,
            arg if is_word(arg, "BY") || is_word(arg, "GET") => 1,
            arg if is_word(arg, "STORE") => {
                store = walk.request.arg(at.saturating_add(1)).map(|_| at.saturating_add(1)).or(store);
                0
            }
            _ => 0,
        };
        at = at.saturating_add(skipped).saturating_add(1);
    }
    store.map_or(Ok(()), |store| walk.key(store, Access::WRITE))
}

/// The first STREAMS counts, also where it is a value; and half of what follows, rounded down.
fn xread_found<'r, B, F>(spec: &Spec, walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    let from = if spec.flags.contains(flag::WRITE) { 4 } else { 1 };
    let request = walk.request;
    let streams = |at: &usize| request.arg(*at).is_some_and(|arg| is_word(arg, "STREAMS"));
    let Some(place) = (from..request.len().saturating_sub(1)).find(streams) else { return Ok(()) };
    let first = place.saturating_add(1);
    let count = request.len().saturating_sub(first) / 2;
    walk.keys(first, first.saturating_add(count), 1, Access::READ)
}

/// An unknown word is skipped, and KEYS beside a key hides both; but only if the word stands anywhere before the last
/// place.
fn migrate_found<'r, B, F>(walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    let request = walk.request;
    if !says_keys(request) {
        return walk.key(3, Access::READ_WRITE);
    }
    let mut at = 6usize;
    while let Some(arg) = request.arg(at) {
        let next = at.saturating_add(1);
        if is_word(arg, "KEYS") {
            let hidden = request.arg(3).is_some_and(|key| !key.is_empty());
            return if hidden { Ok(()) } else { walk.keys(next, request.len(), 1, Access::READ_WRITE) };
        }
        let skipped = MIGRATE.iter().find(|(word, _)| is_word(arg, word)).map_or(0, |(_, values)| *values);
        at = next.saturating_add(skipped);
    }
    walk.key(3, Access::READ_WRITE)
}

// === numbers ===

/// Where the number of keys stands, and how far apart the keys after it are.
fn key_count_place(spec: &Spec) -> Option<(usize, usize)> {
    spec.keys.iter().find_map(|keys| match (&keys.begin, &keys.find) {
        (Begin::Index(at), Find::KeyNum { number: 0, first: 1, step }) => {
            Some((usize::from(*at), usize::from(*step)))
        }
        _ => None,
    })
}

/// A number as Redis reads it since 5.0 (`string2ll`): digits with at most a minus sign, one spelling each.
fn integer(arg: &[u8]) -> Option<i64> {
    let canonical = matches!(arg, b"0" | [b'-', b'1'..=b'9', ..] | [b'1'..=b'9', ..]);
    if !canonical {
        return None;
    }
    std::str::from_utf8(arg).ok()?.parse().ok()
}

/// C's `atoi` on a 64-bit machine: spaces, a sign, digits up to the first other byte; cut to 32 bits.
fn atoi(arg: &[u8]) -> i32 {
    let start = arg.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r')).unwrap_or(arg.len());
    let arg = arg.get(start..).unwrap_or_default();
    let (sign, digits) = match arg {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    let value = digits.iter().take_while(|byte| byte.is_ascii_digit()).fold(0i64, |value, byte| {
        value.saturating_mul(10).saturating_add(sign * i64::from(byte.saturating_sub(b'0')))
    });
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests;
