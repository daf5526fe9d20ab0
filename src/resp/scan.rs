//! The next request in a client's bytes.
//!
//! Owns the grammar of requests: canonical multibulk frames, which are accepted in place, and inline commands
//! ([`inline`]), which are re-encoded. It must never accept a frame that is not the only encoding of its arguments,
//! never reserve memory by a number that a client announced, and never look at the same byte twice (but for one
//! header of at most 21 bytes that arrived in pieces).
//!
//! Called by the session after each read; what it finds is resolved and judged next. The order of the checks and
//! the time when a refusal is known are Redis' (7.0.15, by experiment): a header is judged once its CR is there, an
//! argument's size before its bytes are awaited. Differences: a LF or NUL in a header is refused at once, where Redis
//! waits forever; `*0` and `*-1` are refused, where Redis skips them; bulks must end in CRLF; and the limits of
//! [`Limits`] where Redis has none or others.

mod inline;

use std::ops::Range;

use self::inline::Inline;
use super::number::{Header, header};
use super::{Limits, ProtocolError, Request};

/// How many arguments' places are kept allocated between requests: more belong to one rare request.
const KEPT_ARGS: usize = 1024;

/// What [`Scanner::scan`] found at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// The request is not complete.
    NeedMore {
        /// Until the buffer holds this many bytes in total, another scan cannot find anything new. More than it
        /// holds now. Attacker-controlled up to [`Limits::max_request_bytes`]: read towards it, never reserve it.
        at_least: usize,
    },
    /// A blank inline line: the caller drops these bytes and answers nothing, as Redis does.
    Nothing {
        /// The bytes to drop.
        consumed: usize,
    },
    /// A request: [`Scanner::request`] gives it, and once it was handled the caller drops these bytes.
    Request {
        /// The bytes to drop.
        consumed: usize,
    },
}

/// Finds requests in a growing buffer; remembers how far it got, so that no byte is scanned twice.
///
/// One per client connection. The caller owns the buffer, which always begins with the first byte of the current
/// frame and only grows at its end until the frame is found:
///
/// 1. append what was read, call [`scan`](Scanner::scan) with the whole buffer;
/// 2. on [`Scanned::NeedMore`] read on; on [`Scanned::Request`] take [`request`](Scanner::request) with the same
///    buffer and handle it; on an error answer it and close;
/// 3. on [`Scanned::Request`] and [`Scanned::Nothing`] drop `consumed` bytes from the front of the buffer and go to 1
///    without reading: more requests may be there. The scanner starts anew by itself.
///
/// The memory that it keeps is bounded by what arrived (16 bytes for each argument of the request), and shrinks
/// again after a large request. Has no `Debug`: an inline AUTH stays in it until the next scan.
#[derive(Default)]
pub struct Scanner {
    stage: Stage,
    /// The first byte that is not judged yet. INVARIANT: all before it is canonical.
    at: usize,
    /// No end of the current line was found before this.
    searched: usize,
    /// The arguments that are still to come.
    missing: u64,
    args: Vec<Range<usize>>,
    inline: Inline,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Start,
    /// At the `*` of a multibulk request.
    Count,
    /// At the `$` of an argument.
    Length,
    /// At the first byte of an argument of this many bytes.
    Bulk(usize),
    Inline,
    /// Found: the wire is this many bytes of the buffer.
    Multibulk(usize),
    /// Found: the wire is what [`Inline`] has encoded.
    Encoded,
    /// Found a blank line.
    Blank,
    Failed(ProtocolError),
}

impl Scanner {
    /// Looks for the end of the request that `buffer` begins with.
    ///
    /// `buffer` is attacker-controlled, begins at the current frame and holds everything received of it (see
    /// [`Scanner`]); it may be empty. `limits` hold for the headers that this call reads.
    ///
    /// Costs O(bytes not seen by an earlier call), and O(1) while an argument is awaited. Allocates only when a
    /// request has more arguments than any before.
    ///
    /// # Errors
    /// Any [`ProtocolError`]; the client gets its text and is disconnected. The scanner repeats the error from then on.
    pub fn scan(&mut self, buffer: &[u8], limits: &Limits) -> Result<Scanned, ProtocolError> {
        match self.stage {
            Stage::Failed(error) => return Err(error),
            Stage::Multibulk(_) | Stage::Encoded | Stage::Blank => self.reset(),
            _ => {}
        }
        if self.stage == Stage::Start {
            self.stage = match buffer.first() {
                None => return Ok(Scanned::NeedMore { at_least: 1 }),
                Some(b'*') => Stage::Count,
                Some(_) => Stage::Inline,
            };
        }
        let scanned = match self.stage {
            Stage::Inline => self.scan_inline(buffer, limits),
            _ => self.scan_multibulk(buffer, limits),
        };
        if let Err(error) = scanned {
            self.stage = Stage::Failed(error);
        }
        scanned
    }

    /// The request that the last [`scan`](Scanner::scan) found, borrowed from the same `buffer`.
    ///
    /// Valid after [`Scanned::Request`] until the bytes are dropped; at any other time, or with a buffer that is too
    /// short, the request is empty (no arguments, which no command allows). Costs nothing.
    pub fn request<'a>(&'a self, buffer: &'a [u8]) -> Request<'a> {
        match self.stage {
            Stage::Multibulk(len) => match buffer.get(..len) {
                Some(wire) => Request::new(wire, &self.args),
                None => Request::new(&[], &[]),
            },
            Stage::Encoded => self.inline.request(),
            _ => Request::new(&[], &[]),
        }
    }

    #[inline]
    fn reset(&mut self) {
        self.stage = Stage::Start;
        self.at = 0;
        self.searched = 0;
        self.missing = 0;
        self.args.clear();
        // Otherwise one large request would cost memory for as long as the client stays.
        if self.args.capacity() > KEPT_ARGS {
            self.args.shrink_to(KEPT_ARGS);
        }
        self.inline.clear();
    }

    fn scan_multibulk(&mut self, buffer: &[u8], limits: &Limits) -> Result<Scanned, ProtocolError> {
        if self.stage == Stage::Count {
            let (count, len) = match header(buffer.get(1..).unwrap_or_default()) {
                Header::Complete { value, len } => (value, len),
                _ => return self.unfinished_header(buffer, limits),
            };
            self.missing = checked_count(count, limits)?;
            self.at = 1 + len;
            self.stage = Stage::Length;
        }
        while self.missing > 0 {
            let len = match self.stage {
                Stage::Bulk(len) => len,
                _ => {
                    let (value, len) = match buffer.get(self.at..) {
                        Some([b'$', rest @ ..]) => match header(rest) {
                            Header::Complete { value, len } => (value, len),
                            _ => return self.unfinished_header(buffer, limits),
                        },
                        _ => return self.unfinished_header(buffer, limits),
                    };
                    let start = self.at + 1 + len;
                    let len = checked_length(value, start, limits)?;
                    self.at = start;
                    len
                }
            };
            let end = self.at.saturating_add(len);
            let next = end.saturating_add(CRLF.len());
            match buffer.get(end..next) {
                Some(CRLF) => {}
                Some(_) => return Err(ProtocolError::MissingCrlf),
                None => {
                    self.stage = Stage::Bulk(len);
                    return Ok(Scanned::NeedMore { at_least: next });
                }
            }
            self.args.push(self.at..end);
            self.missing -= 1;
            self.at = next;
            self.stage = Stage::Length;
        }
        self.stage = Stage::Multibulk(self.at);
        Ok(Scanned::Request { consumed: self.at })
    }

    /// The header at `self.at` is not a canonical one, or not yet: says which.
    ///
    /// Redis looks for the CR first and judges then. So do we, that a client meets the same error at the same time.
    #[cold]
    fn unfinished_header(&mut self, buffer: &[u8], limits: &Limits) -> Result<Scanned, ProtocolError> {
        let (invalid, too_big) = match self.stage {
            Stage::Count => (ProtocolError::InvalidMultibulkLength, ProtocolError::TooBigMultibulkCount),
            _ => (not_a_length(buffer.get(self.at)), ProtocolError::TooBigBulkCount),
        };
        let window = line_window(buffer, self.at, limits);
        let from = self.searched.max(self.at);
        let unseen = window.get(from..).unwrap_or_default();
        match memchr::memchr3(b'\r', b'\n', 0, unseen).map(|found| from.saturating_add(found)) {
            // The next scan must find this CR again.
            Some(end) if end.saturating_add(1) >= buffer.len() && buffer.get(end) == Some(&b'\r') => {
                self.searched = end;
                Ok(Scanned::NeedMore { at_least: buffer.len().saturating_add(1) })
            }
            // A LF before the CR, or a NUL: Redis would wait for a CR, or forever.
            Some(_) => Err(invalid),
            None if buffer.len().saturating_sub(self.at) > limits.max_inline_bytes => Err(too_big),
            None => {
                self.searched = window.len();
                Ok(Scanned::NeedMore { at_least: buffer.len().saturating_add(1) })
            }
        }
    }

    fn scan_inline(&mut self, buffer: &[u8], limits: &Limits) -> Result<Scanned, ProtocolError> {
        let window = line_window(buffer, 0, limits);
        let unseen = window.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr::memchr2(b'\n', 0, unseen) else {
            if buffer.len() > limits.max_inline_bytes {
                return Err(ProtocolError::TooBigInline);
            }
            self.searched = window.len();
            return Ok(Scanned::NeedMore { at_least: buffer.len().saturating_add(1) });
        };
        let end = self.searched.saturating_add(found);
        if buffer.get(end) != Some(&b'\n') {
            return Err(ProtocolError::NulInInline);
        }
        let line = buffer.get(..end).unwrap_or_default();
        self.inline.encode(line.strip_suffix(b"\r").unwrap_or(line))?;
        self.at = end.saturating_add(1);
        if self.inline.is_blank() {
            self.stage = Stage::Blank;
            return Ok(Scanned::Nothing { consumed: self.at });
        }
        self.stage = Stage::Encoded;
        Ok(Scanned::Request { consumed: self.at })
    }
}

const CRLF: &[u8] = b"\r\n";

/// The part of `buffer` in which the line from `at` on must end: without it, a line that is too long would be accepted
/// or not depending on how the network cut it.
fn line_window<'a>(buffer: &'a [u8], at: usize, limits: &Limits) -> &'a [u8] {
    let end = at.saturating_add(limits.max_inline_bytes).saturating_add(1);
    buffer.get(..end).unwrap_or(buffer)
}

/// The number of arguments, if it is allowed. The order of the checks is Redis'.
fn checked_count(count: u64, limits: &Limits) -> Result<u64, ProtocolError> {
    let allowed = u64::try_from(limits.max_args).unwrap_or(u64::MAX);
    match count {
        1.. if count <= allowed => Ok(count),
        1..=0x7fff_ffff if !limits.authenticated => Err(ProtocolError::UnauthenticatedMultibulkLength),
        _ => Err(ProtocolError::InvalidMultibulkLength),
    }
}

/// The length of the argument whose bytes begin at `start`, if it is allowed. The order of the checks is Redis'.
fn checked_length(length: u64, start: usize, limits: &Limits) -> Result<usize, ProtocolError> {
    let len = usize::try_from(length).unwrap_or(usize::MAX);
    if len > limits.max_bulk_bytes {
        // Redis refuses what is too long for everyone in other words than what is too long for a stranger.
        let for_strangers = !limits.authenticated && len <= limits.longest_bulk;
        return Err(match for_strangers {
            true => ProtocolError::UnauthenticatedBulkLength,
            false => ProtocolError::InvalidBulkLength,
        });
    }
    if len.saturating_add(CRLF.len()) > limits.max_query_bytes {
        return Err(ProtocolError::FullQueryBuffer);
    }
    if start.saturating_add(len).saturating_add(CRLF.len()) > limits.max_request_bytes {
        return Err(ProtocolError::TooBigRequest);
    }
    Ok(len)
}

fn not_a_length(mark: Option<&u8>) -> ProtocolError {
    match mark {
        None | Some(b'$') => ProtocolError::InvalidBulkLength,
        Some(&byte) => ProtocolError::NotABulk(byte),
    }
}

#[cfg(test)]
mod tests;
