//! Inline commands: a line of words, as people type it into telnet and as some clients say HELLO.
//!
//! Splits exactly as Redis does, for the arguments that were judged must be those that Redis would have seen, and
//! encodes the words as the canonical frame that is forwarded. The line itself is never forwarded.
//!
//! The rules, by experiment with redis 7.0.15 (the cases are in the tests): words are separated by white space, but
//! inside an unquoted word a vertical tab and a form feed are ordinary bytes, which only *between* words are white
//! space. Double quotes know `\n \r \t \b \a \xHH`, and any other escaped byte is itself; single quotes know `\'`
//! alone. A quote may open in the middle of a word and ends the word; white space or the line's end must follow it.

use super::{ProtocolError, Request};
use crate::resp::RequestBuf;

/// How many words and bytes of words are kept allocated between inline requests: more belong to one rare request.
const KEPT: usize = 1024;

/// The words of one line, and their encoding. Keeps its memory between requests.
#[derive(Default)]
pub(super) struct Inline {
    /// All words, unquoted, one after the other.
    words: Vec<u8>,
    /// Where each word ends in `words`.
    ends: Vec<usize>,
    request: RequestBuf,
}

impl Inline {
    /// Splits `line`, which is attacker-controlled and without its end, and encodes the words.
    ///
    /// # Errors
    /// [`ProtocolError::UnbalancedQuotes`].
    pub(super) fn encode(&mut self, line: &[u8]) -> Result<(), ProtocolError> {
        self.clear();
        let mut rest = skip_space(line);
        while !rest.is_empty() {
            rest = skip_space(take_word(rest, &mut self.words).ok_or(ProtocolError::UnbalancedQuotes)?);
            self.ends.push(self.words.len());
        }
        let mut from = 0;
        let words = self.ends.iter().map(|&end| {
            let word = self.words.get(from..end).unwrap_or_default();
            from = end;
            word
        });
        self.request.encode_words(words);
        Ok(())
    }

    /// Whether the line had no words.
    pub(super) fn is_blank(&self) -> bool {
        self.ends.is_empty()
    }

    /// The line as a request.
    pub(super) fn request(&self) -> Request<'_> {
        self.request.as_request()
    }

    /// Forgets the line, and the memory that an unusually long one took.
    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.ends.clear();
        if self.words.capacity() > KEPT || self.ends.capacity() > KEPT {
            *self = Inline::default();
        }
    }
}

/// Takes the word at the start of `rest` apart, appends it to `words`, and gives what follows the word.
///
/// Bounded: each turn takes at least one byte of `rest`. `None` when quotes are unbalanced.
fn take_word<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Option<&'a [u8]> {
    while let Some((&byte, tail)) = rest.split_first() {
        match byte {
            // Not \v and \f: see the module's header.
            b' ' | b'\n' | b'\r' | b'\t' => break,
            b'"' => return closed(take_double_quoted(tail, words)?),
            b'\'' => return closed(take_single_quoted(tail, words)?),
            _ => words.push(byte),
        }
        rest = tail;
    }
    Some(rest)
}

/// Takes what stands in double quotes, from after the opening to after the closing one.
fn take_double_quoted<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                words.push(hex(*high) << 4 | hex(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                words.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                tail
            }
            [byte, tail @ ..] => {
                words.push(*byte);
                tail
            }
            [] => return None,
        }
    }
}

/// Takes what stands in single quotes, from after the opening to after the closing one.
fn take_single_quoted<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'\'', tail @ ..] => return Some(tail),
            [b'\\', b'\'', tail @ ..] => {
                words.push(b'\'');
                tail
            }
            [byte, tail @ ..] => {
                words.push(*byte);
                tail
            }
            [] => return None,
        }
    }
}

/// What follows a closing quote, if it may.
fn closed(rest: &[u8]) -> Option<&[u8]> {
    match rest.first() {
        Some(&byte) if !is_space(byte) => None,
        _ => Some(rest),
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

/// C's `isspace` in the C locale. Rust's own lacks the vertical tab.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// What follows the white space at the start of `bytes`.
fn skip_space(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&byte| !is_space(byte)).unwrap_or(bytes.len());
    bytes.get(start..).unwrap_or_default()
}
