//! Canonical decimal numbers at the start of a buffer, ended by CRLF: the headers of RESP.
//!
//! SECURITY: canonical means one spelling per number: no sign, no leading zero, no space. With two spellings a judged
//! frame would not be the only encoding of its arguments any more.

/// What stands at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// A canonical number and its CRLF, `len` bytes together.
    Complete {
        /// The number.
        value: u64,
        /// The bytes that it took, with CRLF.
        len: usize,
    },
    /// What is there may still become a canonical number.
    Incomplete,
    /// Whatever may follow, this is not a canonical number.
    Invalid,
}

/// Every number of this many digits fits a `u64`; those that are longer are over every limit anyway.
const MAX_DIGITS: usize = 19;

/// Reads the number at the start of `bytes` (attacker-controlled). Looks at 21 bytes at most; never allocates.
#[inline]
pub(super) fn header(bytes: &[u8]) -> Header {
    // Nearly all headers of requests have one digit or two.
    match *bytes {
        [ones @ b'0'..=b'9', b'\r', b'\n', ..] => Header::Complete { value: u64::from(ones - b'0'), len: 3 },
        [tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Header::Complete { value: u64::from(tens - b'0') * 10 + u64::from(ones - b'0'), len: 4 }
        }
        _ => any_header(bytes),
    }
}

fn any_header(bytes: &[u8]) -> Header {
    let mut value: u64 = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            // A second digit after a zero is a leading zero.
            b'0'..=b'9' if index < MAX_DIGITS && (index == 0 || value != 0) => {
                value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            }
            b'\r' if index > 0 => {
                return match bytes.get(index + 1) {
                    Some(b'\n') => Header::Complete { value, len: index + 2 },
                    Some(_) => Header::Invalid,
                    None => Header::Incomplete,
                };
            }
            _ => return Header::Invalid,
        }
    }
    Header::Incomplete
}

/// The number that an argument (attacker-controlled) is to Redis: an optional minus, no plus, no spaces, no leading
/// zeros, within 64 bits. Source: `string2ll` of Redis, by experiment (SELECT, HELLO, ACL LOG of 7.0.15).
pub fn integer(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (itoa::Buffer::new().format(number).as_bytes() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_one_spelling_per_number() {
        for (text, number) in [("0", 0), ("-1", -1), ("10", 10), ("9223372036854775807", i64::MAX)] {
            assert_eq!(integer(text.as_bytes()), Some(number));
        }
        for text in ["", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "x", "1\0"] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn only_one_spelling_of_a_number_is_read() {
        for (bytes, value) in [
            ("0\r\n", 0),
            ("7\r\nxx", 7),
            ("10\r\n", 10),
            ("9999999999999999999\r\n", 9_999_999_999_999_999_999),
        ] {
            let len = bytes.find('\n').map_or(0, |at| at + 1);
            assert_eq!(header(bytes.as_bytes()), Header::Complete { value, len }, "{bytes:?}");
        }
        for bytes in ["", "1", "1\r", "0", "0\r", "9999999999999999999\r"] {
            assert_eq!(header(bytes.as_bytes()), Header::Incomplete, "{bytes:?}");
        }
        for bytes in [
            "\r\n",
            "\n",
            "01\r\n",
            "00\r\n",
            "+1\r\n",
            "-1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1\n",
            "1\rx",
            "1a",
            "?\r\n",
            "10000000000000000000\r\n",
        ] {
            assert_eq!(header(bytes.as_bytes()), Header::Invalid, "{bytes:?}");
        }
    }
}
