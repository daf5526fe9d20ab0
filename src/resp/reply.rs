//! Where the next reply in the upstream's bytes ends, and of what kind it is.
//!
//! Owns the grammar of replies, RESP2 and RESP3 together. It must never build a tree, never recurse, never reserve
//! memory by an announced number, and never look at a byte twice (but for one header of at most 22 bytes that
//! arrived in pieces). A reply need not be in memory as a whole: what was looked at may be passed on and dropped. What is inside a bulk or a line is not judged: replies are forwarded raw, and scripts may put
//! anything there (`(abc` for a big number, `,-nan`, an empty status, a status of megabytes: redis 7.0.15). What is
//! judged is framing: exact CRLF, no lone CR or LF in a line (Redis replaces them by spaces, but for errors of
//! FUNCTION LOAD and, in 8.2, of scripts, whose ends nobody can tell), canonical lengths.
//!
//! Called by a link after each read. An error poisons the link: its replies can no longer be told apart.
//! Streamed types (`$?`, `*?`) are refused, as Redis never sends them.

use super::ReplyError;
use super::number::{Header, header};

/// How deep aggregates may be nested.
///
/// More than a Redis can send: `EVAL` of any user returns up to 7,994 nested arrays, then `ERR reached lua stack limit`
/// (7.0.15, by experiment). A smaller bound would let one client break a link that others share. Costs 16 bytes
/// for each level that really arrived, and no stack.
pub const MAX_NESTING: usize = 8192;

/// How many levels are kept allocated between replies.
const KEPT_LEVELS: usize = 64;

/// A complete reply at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyFrame {
    /// Its bytes, attributes before it included.
    pub len: usize,
    /// Whom it is for.
    pub kind: ReplyKind,
}

/// What a link must know of a reply. Attributes do not count: the reply after them decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// The answer to the oldest request, an error (`-` or `!`).
    Error,
    /// Not an answer to any request (`>`).
    Push,
    /// The answer to the oldest request, of any other type.
    Reply,
}

/// Finds replies in a growing buffer; remembers how far it got.
///
/// One per link. The buffer always begins with the first byte of the current reply and grows only at its end until
/// the reply is found; the caller then drops [`ReplyFrame::len`] bytes from its front and calls
/// [`scan`](ReplyScanner::scan) again, without reading first. The scanner starts anew by itself.
#[derive(Debug)]
pub struct ReplyScanner {
    max_bulk_bytes: usize,
    max_nesting: usize,
    /// The first byte of the current element, or of its content: `Place` says.
    at: usize,
    place: Place,
    /// The aggregates around the current element, the outermost first.
    levels: Vec<Level>,
    /// Of the reply that began last: final once the reply is complete.
    kind: ReplyKind,
    outcome: Option<Result<ReplyFrame, ReplyError>>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// At an element's type.
    Type,
    /// In a line whose CR is not before `searched`; so many of its bytes were given up.
    Line { searched: usize, passed: usize },
    /// In a bulk of which this many bytes were not given up.
    Bulk { len: usize },
}

#[derive(Clone, Copy, Debug)]
struct Level {
    /// The elements that are still to come: at least 1. An announced number: nothing is reserved by it.
    remaining: u64,
    /// An attribute is no element of what it stands in.
    attribute: bool,
}

/// One step further, or not.
enum Step {
    /// An element is complete.
    Element,
    /// An aggregate or attribute was opened, or an empty attribute passed: an element is still to come.
    Opened,
    NeedMore,
}

impl ReplyScanner {
    /// The bound of a bulk and of a line that suits a Redis with its default `proto-max-bulk-len`: 512 MiB.
    ///
    /// Lines have no smaller one: a script may return a status of any length (7.0.15, by experiment).
    pub const DEFAULT_MAX_BULK_BYTES: usize = 512 * 1024 * 1024;

    /// A scanner that accepts bulks and lines of up to `max_bulk_bytes`.
    pub fn new(max_bulk_bytes: usize) -> Self {
        Self::with_nesting(max_bulk_bytes, MAX_NESTING)
    }

    /// As [`ReplyScanner::new`], for those who must recurse into what was found.
    pub(super) fn with_nesting(max_bulk_bytes: usize, max_nesting: usize) -> Self {
        ReplyScanner {
            max_bulk_bytes,
            max_nesting,
            at: 0,
            place: Place::Type,
            levels: Vec::new(),
            kind: ReplyKind::Reply,
            outcome: None,
        }
    }

    /// Looks for the end of the reply that `buffer` begins with; `None` means that it is not complete.
    ///
    /// `buffer` comes from the upstream, holds everything received of the reply and may be empty. Costs O(bytes not
    /// seen by an earlier call), and O(1) while a bulk is awaited. Allocates only for deeper nesting than before.
    ///
    /// # Errors
    /// Any [`ReplyError`]; the link must be closed. The scanner repeats the error from then on.
    pub fn scan(&mut self, buffer: &[u8]) -> Result<Option<ReplyFrame>, ReplyError> {
        match self.outcome {
            Some(Err(error)) => return Err(error),
            Some(Ok(_)) => self.reset(),
            None => {}
        }
        // Most replies: a bulk, all of it there.
        let begins = self.at == 0 && matches!(self.place, Place::Type) && self.levels.is_empty();
        let scanned = match whole_bulk(buffer, self.max_bulk_bytes) {
            Some(len) if begins => Ok(Some(ReplyFrame { len, kind: ReplyKind::Reply })),
            _ => self.advance(buffer),
        };
        self.outcome = scanned.transpose();
        scanned
    }

    /// The bytes that the unfinished reply must have at least, as far as it is known; 0 if nothing is.
    ///
    /// For deciding how much to read or how much memory a stuck reply takes. Comes from the upstream: never reserve it.
    pub fn at_least(&self) -> usize {
        match self.place {
            Place::Bulk { len } => self.at.saturating_add(len).saturating_add(CRLF.len()),
            Place::Line { searched, .. } => searched,
            Place::Type => self.at,
        }
    }

    /// Gives up the bytes of the unfinished reply that need not be seen again, for who passes a large one on in pieces.
    ///
    /// `buffered` is the length of the buffer of the last [`scan`](ReplyScanner::scan), which found no end. The caller
    /// drops as many bytes from its front as this returns. The [`ReplyFrame::len`] to come counts only what is left.
    #[must_use]
    pub fn pass(&mut self, buffered: usize) -> usize {
        if self.outcome.is_some() {
            return 0;
        }
        let start = std::mem::take(&mut self.at);
        match &mut self.place {
            Place::Type => start,
            Place::Line { searched, passed } => {
                let seen = std::mem::take(searched);
                *passed = passed.saturating_add(seen.saturating_sub(start));
                seen
            }
            Place::Bulk { len } => {
                let here = buffered.saturating_sub(start).min(*len);
                *len = len.saturating_sub(here);
                start.saturating_add(here)
            }
        }
    }

    fn reset(&mut self) {
        self.at = 0;
        self.place = Place::Type;
        self.levels.clear();
        if self.levels.capacity() > KEPT_LEVELS {
            self.levels.shrink_to(KEPT_LEVELS);
        }
        self.kind = ReplyKind::Reply;
        self.outcome = None;
    }

    /// Bounded: each turn takes at least one byte of `buffer`, or ends.
    fn advance(&mut self, buffer: &[u8]) -> Result<Option<ReplyFrame>, ReplyError> {
        loop {
            let step = match self.place {
                Place::Type => self.element(buffer)?,
                Place::Line { searched, passed } => self.line(buffer, searched, passed)?,
                Place::Bulk { len } => self.bulk(buffer, len)?,
            };
            match step {
                Step::NeedMore => return Ok(None),
                Step::Opened => {}
                Step::Element if self.close_levels() => {
                    return Ok(Some(ReplyFrame { len: self.at, kind: self.kind }));
                }
                Step::Element => {}
            }
        }
    }

    /// Counts a complete element; true if it was the last one of the reply.
    fn close_levels(&mut self) -> bool {
        while let Some(level) = self.levels.last_mut() {
            level.remaining = level.remaining.saturating_sub(1);
            if level.remaining > 0 {
                return false;
            }
            let attribute = level.attribute;
            self.levels.pop();
            if attribute {
                return false;
            }
        }
        true
    }

    fn element(&mut self, buffer: &[u8]) -> Result<Step, ReplyError> {
        let Some((&mark, rest)) = buffer.get(self.at..).and_then(<[u8]>::split_first) else {
            return Ok(Step::NeedMore);
        };
        if self.levels.is_empty() {
            // An attribute sets it too, and the reply after it again.
            self.kind = match mark {
                b'-' | b'!' => ReplyKind::Error,
                b'>' => ReplyKind::Push,
                _ => ReplyKind::Reply,
            };
        } else if mark == b'>' {
            return Err(ReplyError::NestedPush);
        }
        match mark {
            b'+' | b'-' | b',' | b'(' => {
                self.at += 1;
                self.line(buffer, self.at, 0)
            }
            b':' => match rest.strip_prefix(b"-") {
                Some(digits) => self.integer(digits, 2),
                None => self.integer(rest, 1),
            },
            b'_' => self.literal(rest, &[b"\r\n"]),
            b'#' => self.literal(rest, &[b"t\r\n", b"f\r\n"]),
            b'$' | b'*' if rest.first() == Some(&b'-') => self.literal(rest, &[b"-1\r\n"]),
            b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => match header(rest) {
                Header::Complete { value, len } => {
                    self.at += 1 + len;
                    self.sized(mark, value, buffer)
                }
                Header::Incomplete => Ok(Step::NeedMore),
                Header::Invalid => Err(ReplyError::InvalidNumber),
            },
            _ => Err(ReplyError::UnknownType(mark)),
        }
    }

    /// An element whose header, which is behind us, announced `number` bytes, elements or pairs.
    fn sized(&mut self, mark: u8, number: u64, buffer: &[u8]) -> Result<Step, ReplyError> {
        let elements = match mark {
            b'$' | b'!' | b'=' => {
                let len = usize::try_from(number).unwrap_or(usize::MAX);
                if len > self.max_bulk_bytes {
                    return Err(ReplyError::BulkTooLong);
                }
                self.place = Place::Bulk { len };
                return self.bulk(buffer, len);
            }
            b'%' | b'|' => number.checked_mul(2),
            _ => Some(number),
        };
        // Redis counts in signed 64 bits: what is over them is no number of its.
        let remaining =
            elements.filter(|&count| i64::try_from(count).is_ok()).ok_or(ReplyError::InvalidNumber)?;
        let attribute = mark == b'|';
        match remaining {
            0 if attribute => Ok(Step::Opened),
            0 => Ok(Step::Element),
            _ if self.levels.len() >= self.max_nesting => Err(ReplyError::TooDeep),
            _ => {
                self.levels.push(Level { remaining, attribute });
                Ok(Step::Opened)
            }
        }
    }

    /// An integer whose digits begin `before` bytes after the element.
    fn integer(&mut self, digits: &[u8], before: usize) -> Result<Step, ReplyError> {
        match header(digits) {
            Header::Complete { value, len } => {
                let negative = before > 1;
                let most = i64::MAX.unsigned_abs();
                let fits = if negative { (1..=most + 1).contains(&value) } else { value <= most };
                if !fits {
                    return Err(ReplyError::InvalidNumber);
                }
                self.at += before + len;
                Ok(Step::Element)
            }
            Header::Incomplete => Ok(Step::NeedMore),
            Header::Invalid => Err(ReplyError::InvalidNumber),
        }
    }

    /// An element that must go on with one of `allowed`, which are of one length.
    fn literal(&mut self, rest: &[u8], allowed: &[&[u8]]) -> Result<Step, ReplyError> {
        for literal in allowed {
            if rest.starts_with(literal) {
                self.at += 1 + literal.len();
                return Ok(Step::Element);
            }
            if literal.starts_with(rest) {
                return Ok(Step::NeedMore);
            }
        }
        Err(ReplyError::InvalidLine)
    }

    /// The line whose content begins at `self.at`, but for `passed` bytes.
    fn line(&mut self, buffer: &[u8], searched: usize, passed: usize) -> Result<Step, ReplyError> {
        let unseen = buffer.get(searched..).unwrap_or_default();
        let found = memchr::memchr2(b'\r', b'\n', unseen);
        let end = searched.saturating_add(found.unwrap_or(unseen.len()));
        if end.saturating_sub(self.at).saturating_add(passed) > self.max_bulk_bytes {
            return Err(ReplyError::BulkTooLong);
        }
        let next = end.saturating_add(CRLF.len());
        match (found, buffer.get(end..next)) {
            (Some(_), Some(CRLF)) => {
                self.at = next;
                self.place = Place::Type;
                Ok(Step::Element)
            }
            (None, _) => {
                self.place = Place::Line { searched: end, passed };
                Ok(Step::NeedMore)
            }
            // The CR may be the last byte that is here.
            (Some(_), None) if buffer.get(end) == Some(&b'\r') => {
                self.place = Place::Line { searched: end, passed };
                Ok(Step::NeedMore)
            }
            _ => Err(ReplyError::InvalidLine),
        }
    }

    /// The bulk whose content begins at `self.at`.
    fn bulk(&mut self, buffer: &[u8], len: usize) -> Result<Step, ReplyError> {
        let end = self.at.saturating_add(len);
        let next = end.saturating_add(CRLF.len());
        match buffer.get(end..next) {
            None => Ok(Step::NeedMore),
            Some(CRLF) => {
                self.at = next;
                self.place = Place::Type;
                Ok(Step::Element)
            }
            Some(_) => Err(ReplyError::MissingCrlf),
        }
    }
}

const CRLF: &[u8] = b"\r\n";

/// The length of the bulk that `buffer` begins with, if it is one without fault and complete.
#[inline]
fn whole_bulk(buffer: &[u8], max_bulk_bytes: usize) -> Option<usize> {
    let Header::Complete { value, len } = header(buffer.strip_prefix(b"$")?) else { return None };
    let bulk = usize::try_from(value).ok().filter(|bulk| *bulk <= max_bulk_bytes)?;
    let end = bulk.checked_add(len)?.checked_add(1)?;
    let next = end.checked_add(CRLF.len())?;
    (buffer.get(end..next)? == CRLF).then_some(next)
}

#[cfg(test)]
mod tests;
