//! Keys of the commands that key specifications cannot describe: one function per command, which reads the options
//! as Redis' own parser does.
//!
//! INVARIANT: an option that is not in a command's list here is an error ([`KeysError::Syntax`]), never skipped; or
//! (GEORADIUS) all that follows it counts as keys. So no option of a newer Redis can shift the places of the keys
//! unseen.
//!
//! Why not a simple search for the keyword: a value may look like an option (`XREADGROUP GROUP g STREAMS …`, `SORT k
//! STORE by STORE d`), which Redis' own ACL has got wrong more than once. And every STORE counts, since Redis checks
//! the first and obeys the last (GEORADIUS, Redis 7.0.15). What Redis' ACL finds by its search counts besides, see
//! [`super::keys::for_each_key`].

use std::ops::{ControlFlow, Range};

use super::keys::{Key, KeysError, SortPattern, Stop, Walk, is_word};
use super::spec::{Access, Movable, Spec, flag};
use super::syntax::is_bad_limit;
use crate::resp::Request;

/// An option and the number of values that it takes.
pub(super) type Options = &'static [(&'static str, usize)];

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
pub(super) const MIGRATE: Options = &[("AUTH", 1), ("AUTH2", 2), ("COPY", 0), ("KEYS", 0), ("REPLACE", 0)];
const SORT: Options =
    &[("ALPHA", 0), ("ASC", 0), ("BY", 1), ("DESC", 0), ("GET", 1), ("LIMIT", 2), ("STORE", 1)];
const SORT_RO: Options = &[("ALPHA", 0), ("ASC", 0), ("BY", 1), ("DESC", 0), ("GET", 1), ("LIMIT", 2)];
pub(super) const XREAD: Options =
    &[("BLOCK", 1), ("CLAIM", 1), ("COUNT", 1), ("GROUP", 2), ("NOACK", 0), ("STREAMS", 1)];

/// Visits the keys of a command whose keys `function` finds.
pub(super) fn walk<'r, B, F>(spec: &Spec, function: Movable, walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
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
        Movable::Sort => sort(spec, walk),
        Movable::Xread => xread(walk),
        Movable::Zadd => walk.key(1, zadd_access(request)),
    }
}

/// The options of SORT, or of SORT_RO.
pub(super) fn sort_options(spec: &Spec) -> Options {
    if spec.flags.contains(flag::READONLY) { SORT_RO } else { SORT }
}

/// The first BY with a `*`, or GET, of SORT or SORT_RO, before the first argument that is wrong.
pub(super) fn sort_pattern(spec: &Spec, request: Request<'_>) -> Option<SortPattern> {
    let mut at = 2;
    while let Ok(Some(option)) = option_at(request, at, sort_options(spec)) {
        match option.word {
            "GET" => return Some(SortPattern::Get),
            "BY" if request.arg(option.value).is_some_and(|by| by.contains(&b'*')) => {
                return Some(SortPattern::By);
            }
            _ if is_bad_limit(request, &option) => return None,
            _ => at = option.next,
        }
    }
    None
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
///
/// Redis looks at the key before it looks at the options (so that a wrong option is answered by `WRONGTYPE`, by a
/// syntax error, or before 7.0 by an empty array, as the key has it): only Redis can say. What cannot be understood is
/// therefore sent, to users who may read and write everything that any reading could make a key.
fn georadius<'r, B, F>(walk: &mut Walk<'r, F>, mut at: usize) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    walk.key(1, Access::READ)?;
    // The unit stands before the options, but Valkey's ACL looks for STORE from here on.
    after_stray_word(walk, 5..at, &["STORE", "STOREDIST"])?;
    loop {
        match option_at(walk.request, at, GEORADIUS) {
            Ok(None) => return Ok(()),
            Ok(Some(option)) => {
                if matches!(option.word, "STORE" | "STOREDIST") {
                    walk.key(option.value, Access::WRITE)?;
                }
                after_stray_word(walk, option.value..option.next, &["STORE", "STOREDIST"])?;
                at = option.next;
            }
            Err(_) => {
                // An option that lacks its value is a known one, and the last argument.
                let arg = walk.request.arg(at).unwrap_or_default();
                if !GEORADIUS.iter().any(|(word, _)| is_word(arg, word)) {
                    walk.key(1, Access::READ_WRITE)?;
                }
                // Redis takes what follows any STORE for a key, be the word a value.
                for place in 1..at {
                    let arg = walk.request.arg(place).unwrap_or_default();
                    if is_word(arg, "STORE") || is_word(arg, "STOREDIST") {
                        walk.key(place.saturating_add(1), Access::WRITE)?;
                    }
                }
                return walk.keys(at.saturating_add(1), walk.request.len(), 1, Access::READ_WRITE);
            }
        }
    }
}

/// MIGRATE host port key db timeout, with options; `key` is empty when KEYS says them. (Both at once are an error,
/// [`Rejection::KeyAndKeys`](super::syntax::Rejection::KeyAndKeys).)
fn migrate<'r, B, F>(walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    let request = walk.request;
    let mut at = 6;
    while let Some(option) = option_at(request, at, MIGRATE)? {
        // KEYS in the last place moves none, but Redis 7 checks the empty key, unless it sees the word before, too.
        if option.word == "KEYS" && says_keys(request) {
            return walk.keys(option.next, request.len(), 1, Access::READ_WRITE);
        }
        at = option.next;
    }
    walk.key(3, Access::READ_WRITE)
}

/// Whether MIGRATE has KEYS anywhere before its last argument, be it as a value.
pub(super) fn says_keys(request: Request<'_>) -> bool {
    request.args(1).take(request.len().saturating_sub(2)).any(|arg| is_word(arg, "KEYS"))
}

/// SORT and SORT_RO.
fn sort<'r, B, F>(spec: &Spec, walk: &mut Walk<'r, F>) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    walk.key(1, Access::READ)?;
    let mut at = 2;
    while let Some(option) = option_at(walk.request, at, sort_options(spec))? {
        if option.word == "STORE" {
            walk.key(option.value, Access::WRITE)?;
        }
        at = option.next;
    }
    Ok(())
}

/// Visits what stands after values that are one of `words`, STORE or STOREDIST: the command does not use it, but Redis'
/// ACL takes the value for the option and checks it (`COUNT STORE ANY`), and whom Redis denies nobody else may allow.
fn after_stray_word<'r, B, F>(
    walk: &mut Walk<'r, F>,
    values: Range<usize>,
    words: &[&str],
) -> Result<(), Stop<B>>
where
    F: FnMut(Key<'r>) -> ControlFlow<B>,
{
    for value in values {
        let next = value.saturating_add(1);
        let stray = walk.request.arg(value).is_some_and(|arg| words.iter().any(|word| is_word(arg, word)));
        if stray && next < walk.request.len() {
            walk.key(next, Access::WRITE)?;
        }
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
pub(super) struct Found {
    /// The option, as the list has it.
    pub(super) word: &'static str,
    /// Where its values begin.
    pub(super) value: usize,
    /// Where the next option begins.
    pub(super) next: usize,
}

/// The option at argument `at`, with all its values; `None` after the last argument.
///
/// # Errors
/// [`KeysError::Syntax`] when the argument is no option of `options`, or lacks values.
pub(super) fn option_at(
    request: Request<'_>,
    at: usize,
    options: Options,
) -> Result<Option<Found>, KeysError> {
    let Some(arg) = request.arg(at) else { return Ok(None) };
    let (word, values) = options.iter().find(|(word, _)| is_word(arg, word)).ok_or(KeysError::Syntax)?;
    let value = at.saturating_add(1);
    let next = value.saturating_add(*values);
    if next > request.len() {
        return Err(KeysError::Syntax);
    }
    Ok(Some(Found { word, value, next }))
}
