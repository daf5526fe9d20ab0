//! Texts as C reads them.

/// A byte string as Redis takes it where it goes through C's string functions: up to a NUL. It prints some errors like
/// that, and up to 6.2 it compares names of parameters so (`dir` and a NUL is `dir`).
pub fn c_string(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_c_string_ends_at_a_nul() {
        for (bytes, text) in [(&b"dir\0x\0"[..], &b"dir"[..]), (b"dir", b"dir"), (b"\0dir", b""), (b"", b"")]
        {
            assert_eq!(c_string(bytes), text);
        }
    }
}
