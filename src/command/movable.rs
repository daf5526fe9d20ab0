//! Keys of the commands that key specifications cannot describe: one function per command, which reads the options
//! as Redis' own parser does.
//!
//! INVARIANT: an option that is not in a command's list here is an error ([`KeysError::Syntax`]), never skipped.
//! Redis stops at it, too. So no option of a newer Redis can shift the places of the keys unseen.
//!
//! Why not a simple search for the keyword: a value may look like an option (`XREADGROUP GROUP g STREAMS …`, `SORT k
//! STORE by STORE d`), which Redis' own ACL has got wrong more than once. And every STORE counts, since Redis checks
//! the first and obeys the last (GEORADIUS, Redis 7.0.15).

use std::ops::ControlFlow;

use super::keys::{Key, KeysError, SortPattern, Stop, Walk, is_word};
use super::spec::{Access, Movable};
use crate::resp::Request;

/// An option and the number of values that it takes.
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
const MIGRATE: Options = &[("AUTH", 1), ("AUTH2", 2), ("COPY", 0), ("KEYS", 0), ("REPLACE", 0)];
const SORT: Options =
    &[("ALPHA", 0), ("ASC", 0), ("BY", 1), ("DESC", 0), ("GET", 1), ("LIMIT", 2), ("STORE", 1)];
const XREAD: Options =
    &[("BLOCK", 1), ("CLAIM", 1), ("COUNT", 1), ("GROUP", 2), ("NOACK", 0), ("STREAMS", 1)];

/// Visits the keys of a command whose keys `function` finds.
pub(super) fn walk<'r, B, F>(function: Movable, walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    let request = walk.request;
    match function {
        Movable::Bitfield => walk.key(1, bitfield_access(request)),
        Movable::Debug => debug(walk),
        Movable::Georadius => georadius(walk, 6),
        Movable::GeoradiusByMember => georadius(walk, 5),
        Movable::Migrate => migrate(walk),
        Movable::Set => walk.key(1, set_access(request)),
        Movable::Sort => sort(walk),
        Movable::Xread => xread(walk),
        Movable::Zadd => walk.key(1, zadd_access(request)),
    }
}

/// The first BY with a `*`, or GET, of SORT or SORT_RO.
pub(super) fn sort_pattern(request: Request<'_>) -> Result<Option<SortPattern>, KeysError> {
    let mut at = 2;
    while let Some(option) = option_at(request, at, SORT)? {
        match option.word {
            "GET" => return Ok(Some(SortPattern::Get)),
            "BY" if request.arg(option.value).is_some_and(|by| by.contains(&b'*')) => {
                return Ok(Some(SortPattern::By));
            }
            _ => {}
        }
        at = option.next;
    }
    Ok(None)
}

/// Whether an XREAD or XREADGROUP has BLOCK, or has unknown options.
pub(super) fn xread_blocks(request: Request<'_>) -> bool {
    let mut at = 1;
    loop {
        match option_at(request, at, XREAD) {
            Ok(Some(Found { word: "STREAMS", .. })) => return false,
            Ok(Some(Found { word: "BLOCK", .. }) | None) | Err(_) => return true,
            Ok(Some(option)) => at = option.next,
        }
    }
}

/// BITFIELD reads only when it has only GETs. What Redis would not understand counts as a write, as with Redis.
fn bitfield_access(request: Request<'_>) -> Access {
    let mut at = 2;
    while let Some(arg) = request.arg(at) {
        let values = if is_word(arg, "GET") {
            2
        } else if is_word(arg, "OVERFLOW") {
            1
        } else {
            return Access::READ_WRITE;
        };
        at = at.saturating_add(values).saturating_add(1);
        if at > request.len() {
            return Access::READ_WRITE;
        }
    }
    Access::READ
}

/// SET also reads with GET. Any argument that says GET will do, wherever a newer Redis may take it.
fn set_access(request: Request<'_>) -> Access {
    if request.args(3).any(|arg| is_word(arg, "GET")) { Access::READ_WRITE } else { Access::WRITE }
}

/// ZADD with INCR returns the score, like ZINCRBY; Redis asks for write access only (7.0.15: `ZADD k XX INCR 0 m`
/// shows a score to who may only write). Options stand before the scores.
fn zadd_access(request: Request<'_>) -> Access {
    for arg in request.args(2) {
        if is_word(arg, "INCR") {
            return Access::READ_WRITE;
        }
        if !["CH", "GT", "LT", "NX", "XX"].iter().any(|option| is_word(arg, option)) {
            break;
        }
    }
    Access::WRITE
}

/// DEBUG's subcommands that show a key. Redis does not check it (7.0.15).
fn debug<'r, B, F>(walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    let word = walk.request.arg(1).unwrap_or_default();
    let one = ["HTSTATS-KEY", "LISTPACK", "OBJECT", "QUICKLIST", "SDSLEN", "ZIPLIST"];
    if is_word(word, "DIGEST-VALUE") {
        walk.keys(2, walk.request.len(), 1, Access::READ)
    } else if one.iter().any(|known| is_word(word, known)) && walk.request.len() > 2 {
        walk.key(2, Access::READ)
    } else {
        Ok(())
    }
}

/// GEORADIUS and GEORADIUSBYMEMBER, whose options begin at argument `at`.
fn georadius<'r, B, F>(walk: &mut Walk<'r, F>, mut at: usize) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    walk.key(1, Access::READ)?;
    while let Some(option) = option_at(walk.request, at, GEORADIUS)? {
        if matches!(option.word, "STORE" | "STOREDIST") {
            walk.key(option.value, Access::WRITE)?;
        }
        at = option.next;
    }
    Ok(())
}

/// MIGRATE host port key db timeout, with options; `key` is empty when KEYS says them.
fn migrate<'r, B, F>(walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    let request = walk.request;
    let mut at = 6;
    while let Some(option) = option_at(request, at, MIGRATE)? {
        if option.word == "KEYS" {
            // Both forms at once are an error to Redis; here, all of them are keys.
            if request.arg(3).is_some_and(|key| !key.is_empty()) {
                walk.key(3, Access::READ_WRITE)?;
            }
            return walk.keys(option.value, request.len(), 1, Access::READ_WRITE);
        }
        at = option.next;
    }
    walk.key(3, Access::READ_WRITE)
}

/// SORT and SORT_RO (to which STORE is a syntax error, so that asking for write access does no harm).
fn sort<'r, B, F>(walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    walk.key(1, Access::READ)?;
    let mut at = 2;
    while let Some(option) = option_at(walk.request, at, SORT)? {
        if option.word == "STORE" {
            walk.key(option.value, Access::WRITE)?;
        }
        at = option.next;
    }
    Ok(())
}

/// XREAD and XREADGROUP: after STREAMS, as many keys as ids.
fn xread<'r, B, F>(walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    let mut at = 1;
    while let Some(option) = option_at(walk.request, at, XREAD)? {
        if option.word == "STREAMS" {
            let rest = walk.request.len().saturating_sub(option.value);
            if !rest.is_multiple_of(2) {
                return Err(KeysError::Unbalanced.into());
            }
            let end = option.value.saturating_add(rest / 2);
            return walk.keys(option.value, end, 1, Access::READ);
        }
        at = option.next;
    }
    Err(KeysError::Syntax.into())
}

/// An option in a request.
struct Found {
    /// The option, as the list has it.
    word: &'static str,
    /// Where its values begin.
    value: usize,
    /// Where the next option begins.
    next: usize,
}

/// The option at argument `at`, with all its values; `None` after the last argument.
///
/// # Errors
/// [`KeysError::Syntax`] when the argument is no option of `options`, or lacks values.
fn option_at(request: Request<'_>, at: usize, options: Options) -> Result<Option<Found>, KeysError> {
    let Some(arg) = request.arg(at) else { return Ok(None) };
    let (word, values) = options.iter().find(|(word, _)| is_word(arg, word)).ok_or(KeysError::Syntax)?;
    let value = at.saturating_add(1);
    let next = value.saturating_add(*values);
    if next > request.len() {
        return Err(KeysError::Syntax);
    }
    Ok(Some(Found { word, value, next }))
}
