//! Keys and channels of a request.
//!
//! The ACL checks what this module finds, and Redis touches what its own parser finds: where the two differ, a
//! client gets at keys that it may not touch. So everything here **fails closed**: a request whose keys cannot be
//! told for certain is a [`KeysError`], and the caller refuses it. (Redis fails open: it finds no keys, the check
//! passes, and its command's own parser has the last word; what that says is known to `syntax.rs`.) Commands with
//! options are read as Redis reads them (`movable.rs`); where an option may be repeated, every occurrence counts, not
//! the first or the last.
//!
//! INVARIANT: whatever keys Redis can touch for a request, at any supported version, is a subset of what is visited
//! here, with at least the permissions that its effect needs. `tests/it/drift.rs` compares with a real server.
//!
//! All arguments are attacker-controlled. Nothing is allocated; the cost is O(arguments).

use std::convert::Infallible;
use std::fmt;
use std::ops::ControlFlow;

use super::movable;
use super::spec::{Access, Affinity, Begin, Channels, Find, KeySpec, Movable, Spec, flag};
use super::syntax::{self, Rejection};
use crate::resp::Request;

/// One use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'r> {
    /// Which argument it is (0 is the command's name).
    pub index: usize,
    /// The key, any bytes.
    pub name: &'r [u8],
    /// What the command does with it.
    pub access: Access,
}

/// One channel, or pattern of channels, of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel<'r> {
    /// Which argument it is (0 is the command's name).
    pub index: usize,
    /// The channel or pattern, any bytes.
    pub name: &'r [u8],
    /// A pattern (PSUBSCRIBE), which must equal an ACL pattern byte for byte; otherwise a channel, matched by glob.
    pub literal: bool,
}

/// Why the keys of a request are in doubt. It must be refused, unless the user may touch every key anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysError {
    /// The number of keys is negative or no number. Redis would answer with an error of the command.
    KeyCount,
    /// There are fewer arguments than keys.
    OutOfRange,
    /// The options are none that Redkeep knows. Redis would answer `ERR syntax error`, or is newer.
    Syntax,
    /// The arguments do not divide into keys and as many others (XREAD: streams and ids).
    Unbalanced,
    /// Redis' own parser is certain to reject the request, with this error.
    Rejected(Rejection),
}

impl fmt::Display for KeysError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            KeysError::KeyCount => "the number of keys is not a number",
            KeysError::OutOfRange => "fewer arguments than keys",
            KeysError::Syntax => "unknown options",
            KeysError::Unbalanced => "keys and other arguments do not pair up",
            KeysError::Rejected(_) => "Redis rejects the syntax",
        })
    }
}

impl std::error::Error for KeysError {}

/// An option of SORT and SORT_RO that reads keys by pattern, which Redis allows only to users who may read every
/// key (`~*`, `%R~*`): else `ERR BY option of SORT denied due to insufficient ACL permissions.`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortPattern {
    /// BY with a pattern that contains `*`.
    By,
    /// GET, with any pattern (even `#`, as Redis has it).
    Get,
}

/// Calls `visit` for every use of a key in `request`, until it breaks. A key may come more than once.
///
/// `spec` must be what `request` resolved to, and accept its number of arguments. `Ok(Continue)`: all keys were
/// visited; `Ok(Break)`: what `visit` broke with.
///
/// # Errors
/// [`KeysError`] when it is not certain which keys the command uses, or when Redis rejects the request in any case. Then
/// only those keys were visited that Redis checks before it gives its error. The caller refuses the request.
pub fn for_each_key<'r, B>(
    spec: &Spec,
    request: Request<'r>,
    visit: impl FnMut(Key<'r>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, KeysError> {
    let mut walk = Walk { request, visit };
    // Redis checks other keys where it does not understand the whole, so that comes first.
    let doubt = if spec.flags.contains(flag::MOVABLEKEYS) { doubt(spec, request) } else { None };
    let result = if doubt.is_some() {
        syntax::visit_found(spec, &mut walk)
    } else if may_be_misread(spec, request) {
        // Redis' ACL may take a value for an option (a consumer called STREAMS) and so check other keys than the command
        // uses. Both count: whom Redis denies nobody else may allow.
        walk.all(spec).and_then(|()| syntax::visit_found(spec, &mut walk))
    } else {
        walk.all(spec)
    };
    match (result, doubt) {
        (Err(Stop::Broken(value)), _) => Ok(ControlFlow::Break(value)),
        (_, Some(error)) | (Err(Stop::Doubt(error)), None) => Err(error),
        (Ok(()), None) => Ok(ControlFlow::Continue(())),
    }
}

/// Whether the word by which Redis' ACL finds keys of SORT, XREAD or XREADGROUP occurs more than once.
fn may_be_misread(spec: &Spec, request: Request<'_>) -> bool {
    let word = match spec.movable {
        Some(Movable::Sort) => "STORE",
        Some(Movable::Xread) => "STREAMS",
        _ => return false,
    };
    request.args(1).filter(|arg| is_word(arg, word)).nth(1).is_some()
}

/// Why the keys of a request whose arguments tell them are in doubt.
fn doubt(spec: &Spec, request: Request<'_>) -> Option<KeysError> {
    if let Some(rejection) = syntax::rejection(spec, request) {
        return Some(KeysError::Rejected(rejection));
    }
    let mut walk = Walk { request, visit: |_| ControlFlow::<Infallible>::Continue(()) };
    match walk.all(spec) {
        Err(Stop::Doubt(error)) => Some(error),
        Ok(()) | Err(Stop::Broken(_)) => None,
    }
}

/// Calls `visit` for every channel in `request` that the ACL checks, until it breaks.
pub fn for_each_channel<'r, B>(
    spec: &Spec,
    request: Request<'r>,
    mut visit: impl FnMut(Channel<'r>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let (count, literal) = match spec.channels {
        Channels::None => return ControlFlow::Continue(()),
        Channels::First => (1, false),
        Channels::All => (usize::MAX, false),
        Channels::AllLiteral => (usize::MAX, true),
    };
    request
        .args(1)
        .take(count)
        .enumerate()
        .try_for_each(|(place, name)| visit(Channel { index: place.saturating_add(1), name, literal }))
}

/// The first option of SORT or SORT_RO that needs read access to every key, before the first that Redis does not
/// understand (it gives the error of what comes first); `None` for all other requests.
pub fn sort_pattern(spec: &Spec, request: Request<'_>) -> Option<SortPattern> {
    match spec.movable {
        Some(Movable::Sort) => movable::sort_pattern(spec, request),
        _ => None,
    }
}

/// Whether `request` may block its client: XREAD and XREADGROUP only do with BLOCK. In doubt, it may.
pub fn blocks(spec: &Spec, request: Request<'_>) -> bool {
    spec.flags.contains(flag::BLOCKING)
        && match spec.movable {
            Some(Movable::Xread) => movable::xread_blocks(request),
            _ => true,
        }
}

/// Which link may carry `request`: [`Spec::affinity`], except that XREAD and XREADGROUP without BLOCK need no link
/// of their own.
pub fn affinity(spec: &Spec, request: Request<'_>) -> Affinity {
    let streams = spec.movable == Some(Movable::Xread) && spec.affinity == Affinity::LeasedForCommand;
    if streams && !blocks(spec, request) { Affinity::Shared } else { spec.affinity }
}

/// Whether `arg` is `word` to Redis, which compares options as C strings: in any case, and only up to a NUL byte.
///
/// SECURITY: `SORT k "STORE\0" d` does store (Redis 7.0.15); a comparison of all bytes would miss it.
pub fn is_word(arg: &[u8], word: &str) -> bool {
    arg.split_at_checked(word.len()).is_some_and(|(head, tail)| {
        head.eq_ignore_ascii_case(word.as_bytes()) && tail.first().is_none_or(|byte| *byte == 0)
    })
}

/// Why a walk ended before its end.
pub(super) enum Stop<B> {
    /// The visitor broke.
    Broken(B),
    /// The keys are in doubt.
    Doubt(KeysError),
}

impl<B> From<KeysError> for Stop<B> {
    fn from(error: KeysError) -> Self {
        Stop::Doubt(error)
    }
}

/// A walk over the keys of one request.
pub(super) struct Walk<'r, F> {
    pub(super) request: Request<'r>,
    visit: F,
}

impl<'r, B, F: FnMut(Key<'r>) -> ControlFlow<B>> Walk<'r, F> {
    /// Visits the argument at `index`, which must exist.
    pub(super) fn key(&mut self, index: usize, access: Access) -> Result<(), Stop<B>> {
        let name = self.request.arg(index).ok_or(KeysError::OutOfRange)?;
        match (self.visit)(Key { index, name, access }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(value) => Err(Stop::Broken(value)),
        }
    }

    /// Visits the arguments from `first` until before `end`, `step` apart.
    pub(super) fn keys(
        &mut self,
        first: usize,
        end: usize,
        step: usize,
        access: Access,
    ) -> Result<(), Stop<B>> {
        (first..end).step_by(step.max(1)).try_for_each(|index| self.key(index, access))
    }

    /// Visits all keys.
    fn all(&mut self, spec: &Spec) -> Result<(), Stop<B>> {
        match spec.movable {
            Some(function) => movable::walk(spec, function, self),
            None => spec.keys.iter().try_for_each(|keys| self.spec(keys)),
        }
    }

    /// Visits the keys of one key specification.
    fn spec(&mut self, spec: &KeySpec) -> Result<(), Stop<B>> {
        let (word, from) = match &spec.begin {
            Begin::Index(first) => return self.find(usize::from(*first), spec),
            Begin::Keyword { word, from } => (word, *from),
        };
        // Redis takes the first occurrence in the direction of the search, and the command itself perhaps another:
        // all count. A keyword in the last place has no keys after it.
        let argc = self.request.len();
        let places = if from < 0 {
            1..argc.saturating_sub(usize::from(from.unsigned_abs()).max(2)).saturating_add(1)
        } else {
            usize::from(from.unsigned_abs()).max(1)..argc.saturating_sub(1)
        };
        for place in places {
            if self.request.arg(place).is_some_and(|arg| is_word(arg, word)) {
                self.find(place.saturating_add(1), spec)?;
            }
        }
        Ok(())
    }

    /// Visits the keys that are found from `begin` on.
    fn find(&mut self, begin: usize, spec: &KeySpec) -> Result<(), Stop<B>> {
        match spec.find {
            Find::Range { last, step, limit } => {
                self.range(begin, last, usize::from(step), usize::from(limit), spec.access)
            }
            Find::KeyNum { number, first, step } => {
                let number = self.request.arg(begin.saturating_add(usize::from(number)));
                let count = key_count(number.ok_or(KeysError::OutOfRange)?).ok_or(KeysError::KeyCount)?;
                let first = begin.saturating_add(usize::from(first));
                let step = usize::from(step).max(1);
                // The last key must exist; so a huge count ends here, not after a long walk.
                if count > self.request.len().saturating_sub(first).div_ceil(step) {
                    return Err(KeysError::OutOfRange.into());
                }
                self.keys(first, first.saturating_add(count.saturating_mul(step)), step, spec.access)
            }
        }
    }

    fn range(
        &mut self,
        first: usize,
        last: i16,
        step: usize,
        limit: usize,
        access: Access,
    ) -> Result<(), Stop<B>> {
        let argc = self.request.len();
        let distance = usize::from(last.unsigned_abs());
        let end = if last >= 0 {
            first.saturating_add(distance).saturating_add(1)
        } else if limit > 1 {
            let rest = argc.checked_sub(first).ok_or(KeysError::OutOfRange)?;
            if last != -1 || !rest.is_multiple_of(limit) {
                return Err(KeysError::Unbalanced.into());
            }
            first.saturating_add(rest.checked_div(limit).unwrap_or(0))
        } else {
            argc.saturating_add(1).checked_sub(distance).ok_or(KeysError::OutOfRange)?
        };
        // `PFMERGE d`: nothing is left for an open range. Redis gives up here, and so checks not even `d`.
        let empty = last == -1 && first == argc;
        if end > argc || (end <= first && !empty) {
            return Err(KeysError::OutOfRange.into());
        }
        self.keys(first, end, step, access)
    }
}

/// A number of keys: digits without sign, spaces or leading zeros, as Redis' `string2ll` has it. Old servers
/// (3.2) read some numbers more laxly; any other form is doubt.
fn key_count(number: &[u8]) -> Option<usize> {
    match number {
        b"0" => Some(0),
        [b'1'..=b'9', ..] => number.iter().try_fold(0usize, |sum, byte| {
            let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
            sum.checked_mul(10)?.checked_add(usize::from(digit))
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
