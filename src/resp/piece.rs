//! The beginning of a reply that may not be all there, piece by piece: for who looks at a large one in passing.

use super::number::{Header, header};

const CRLF: &[u8] = b"\r\n";

/// What stands at the start of some bytes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The head of an array of so many items, which follow.
    Array {
        /// How many.
        items: u64,
        /// What is behind the head.
        rest: &'a [u8],
    },
    /// A bulk string.
    Bulk {
        /// Its text.
        text: &'a [u8],
        /// All of its bytes.
        whole: &'a [u8],
        /// What is behind it.
        rest: &'a [u8],
    },
    /// One of these perhaps, which is not all there.
    Incomplete,
    /// Something else, a null too.
    Other,
}

impl<'a> Piece<'a> {
    /// That at the start of `bytes`. O(1), whatever its length.
    pub fn at_start_of(bytes: &'a [u8]) -> Piece<'a> {
        let Some((mark, numbered)) = bytes.split_first() else { return Piece::Incomplete };
        if !matches!(mark, b'*' | b'$') {
            return Piece::Other;
        }
        let (value, body) = match header(numbered) {
            Header::Complete { value, len } => (value, numbered.get(len..).unwrap_or_default()),
            Header::Incomplete => return Piece::Incomplete,
            Header::Invalid => return Piece::Other,
        };
        if *mark == b'*' {
            return Piece::Array { items: value, rest: body };
        }
        let Ok(len) = usize::try_from(value) else { return Piece::Other };
        match body.split_at_checked(len) {
            Some((text, after)) if after.len() >= CRLF.len() => match after.strip_prefix(CRLF) {
                Some(rest) => {
                    let taken = bytes.len().saturating_sub(rest.len());
                    Piece::Bulk { text, whole: bytes.get(..taken).unwrap_or_default(), rest }
                }
                None => Piece::Other,
            },
            _ => Piece::Incomplete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_told_by_what_is_there() {
        let array = |items, rest: &'static str| Piece::Array { items, rest: rest.as_bytes() };
        let bulk = |text: &'static str, whole: &'static str, rest: &'static str| Piece::Bulk {
            text: text.as_bytes(),
            whole: whole.as_bytes(),
            rest: rest.as_bytes(),
        };
        for (bytes, piece) in [
            ("*2\r\n$1", array(2, "$1")),
            ("*0\r\n", array(0, "")),
            ("$3\r\na\r\n\r\n$", bulk("a\r\n", "$3\r\na\r\n\r\n", "$")),
            ("$0\r\n\r\n", bulk("", "$0\r\n\r\n", "")),
            ("", Piece::Incomplete),
            ("*", Piece::Incomplete),
            ("*12\r", Piece::Incomplete),
            ("$3\r\nab", Piece::Incomplete),
            ("$3\r\nabc\r", Piece::Incomplete),
            ("$3\r\nabcd\r\n", Piece::Other),
            ("$-1\r\n", Piece::Other),
            ("*-1\r\n", Piece::Other),
            ("*02\r\n", Piece::Other),
            ("+OK\r\n", Piece::Other),
            ("~1\r\n", Piece::Other),
            ("_\r\n", Piece::Other),
        ] {
            assert_eq!(Piece::at_start_of(bytes.as_bytes()), piece, "{bytes:?}");
        }
    }
}
