//! What a framed reply says, where somebody has to know: errors, and the items of pushes and messages.
//!
//! `frame` is one whole reply as [`ReplyScanner`](super::ReplyScanner) framed it. Nothing is allocated, nothing recurses.

use super::number::{Header, header};

const CRLF: &[u8] = b"\r\n";

/// The text of a framed error reply, with its code: `NOAUTH Authentication required.`; `None` for any other reply.
///
/// `frame` is one whole reply as [`ReplyScanner`] framed it. An attribute before the error hides it.
pub fn error_text(frame: &[u8]) -> Option<&[u8]> {
    let text = match frame.split_first()? {
        (b'-', text) => text,
        (b'!', rest) => match header(rest) {
            Header::Complete { len, .. } => rest.get(len..)?,
            _ => return None,
        },
        _ => return None,
    };
    text.strip_suffix(CRLF)
}

/// The items of a framed flat reply (`*`, `~`, `>`, `%`): the text of each string, number and error, in order.
///
/// For pushes and RESP2 messages, whose kind and channel a session must know (`>3 message c payload`). `frame` is one
/// whole reply as [`ReplyScanner`] framed it. Ends early at a nested aggregate or a null; empty for other replies.
/// O(1) per item for strings; allocates nothing.
pub fn items(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = match frame.split_first() {
        Some((b'*' | b'~' | b'>' | b'%', rest)) => match header(rest) {
            Header::Complete { len, .. } => rest.get(len..),
            _ => None,
        },
        _ => None,
    };
    let mut rest = body.unwrap_or_default();
    std::iter::from_fn(move || {
        let (item, next) = split_item(rest)?;
        rest = next;
        Some(item)
    })
}

/// How many items a framed aggregate announces: a map twice as many as pairs. `None` for a null and for any other reply.
pub fn announced_items(frame: &[u8]) -> Option<usize> {
    let (mark, rest) = frame.split_first()?;
    let Header::Complete { value, .. } = header(rest) else { return None };
    let count = usize::try_from(value).ok()?;
    match mark {
        b'*' | b'~' | b'>' => Some(count),
        b'%' => count.checked_mul(2),
        _ => None,
    }
}

fn split_item(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mark, rest) = bytes.split_first()?;
    let (item, after) = match mark {
        b'$' | b'!' | b'=' => match header(rest) {
            Header::Complete { value, len } => {
                rest.get(len..)?.split_at_checked(usize::try_from(value).ok()?)?
            }
            _ => return None,
        },
        b'+' | b'-' | b':' | b',' | b'(' | b'#' => rest.split_at_checked(memchr::memchr(b'\r', rest)?)?,
        _ => return None,
    };
    Some((item, after.strip_prefix(CRLF)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_text_is_that_of_errors_only() {
        assert_eq!(
            error_text(b"-NOAUTH Authentication required.\r\n"),
            Some(b"NOAUTH Authentication required.".as_slice())
        );
        assert_eq!(error_text(b"!5\r\nERR a\r\n"), Some(b"ERR a".as_slice()));
        for frame in ["", "+OK\r\n", "$4\r\n-ERR\r\n", "-ERR", "!x"] {
            assert_eq!(error_text(frame.as_bytes()), None, "{frame:?}");
        }
    }

    #[test]
    fn items_are_those_of_a_flat_reply() {
        let cases: &[(&str, &[&str])] = &[
            (">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\n\r\nx\r\n", &["message", "c", "\r\nx"]),
            ("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", &["subscribe", "c", "1"]),
            ("*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", &["unsubscribe"]),
            ("%1\r\n+a\r\n*1\r\n+b\r\n", &["a"]),
            ("*0\r\n", &[]),
            ("$1\r\na\r\n", &[]),
            ("*2\r\n$5\r\nab", &[]),
            ("", &[]),
        ];
        for (frame, expected) in cases {
            let got: Vec<_> = items(frame.as_bytes()).collect();
            let expected: Vec<_> = expected.iter().map(|item| item.as_bytes()).collect();
            assert_eq!(got, expected, "{frame:?}");
        }
    }
}
