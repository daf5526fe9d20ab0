//! Secrets: owned bytes that are wiped when dropped, and password hashes that are compared in constant time.
//!
//! SECURITY: neither type has Display or Serialize, and their Debug shows nothing. Redis (and so an ACL file) knows only
//! unsalted SHA-256; it protects long random passwords, and short ones hardly.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

/// Owned secret bytes, wiped on drop.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes over the bytes. A vector with spare capacity is copied first and the original wiped.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let secret = Secret(bytes.as_slice().into());
        bytes.zeroize();
        secret
    }

    /// The bytes. The name is long so that a review can find every use.
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// SHA-256 of a password. Equality takes the same time wherever the difference is.
#[derive(Clone)]
pub struct PasswordHash([u8; 32]);

impl PasswordHash {
    /// The hash of a password, which may be any bytes.
    pub fn of(password: &[u8]) -> Self {
        PasswordHash(Sha256::digest(password).into())
    }

    /// A hash as rules write it: exactly 64 hexadecimal digits in lower case; otherwise `None`.
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        if hex.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(PasswordHash(bytes))
    }

    /// The 64 digits, as `ACL LIST` and ACL files show them. For replies and files, never for logs.
    pub fn to_hex(&self) -> String {
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.filter_map(|nibble| char::from_digit(u32::from(nibble), 16)).collect()
    }
}

impl ConstantTimeEq for PasswordHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for PasswordHash {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for PasswordHash {}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASS: &str = "d74ff0ee8da3b9806b18c877dbf29bbde50b5bd8e4dad7a3a725000feb82e8f1";

    #[test]
    fn hashes_are_those_of_redis() {
        assert_eq!(PasswordHash::of(b"pass").to_hex(), PASS);
        assert_eq!(PasswordHash::from_hex(PASS.as_bytes()), Some(PasswordHash::of(b"pass")));
        assert_ne!(PasswordHash::of(b"pass"), PasswordHash::of(b"Pass"));
    }

    #[test]
    fn only_64_lower_case_digits_are_a_hash() {
        for hex in [
            "",
            "xyz",
            PASS.trim_start_matches('d'),
            &format!("{PASS}0"),
            &PASS.to_uppercase(),
            &PASS.replace('d', "g"),
        ] {
            assert_eq!(PasswordHash::from_hex(hex.as_bytes()), None, "{hex}");
        }
    }

    #[test]
    fn debug_shows_neither_secret_nor_hash() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2".to_vec())), "***");
        assert_eq!(format!("{:?}", PasswordHash::of(b"hunter2")), "***");
    }

    #[test]
    fn a_secret_keeps_its_bytes() {
        assert_eq!(Secret::new(b"hunter2".to_vec()).expose_secret(), b"hunter2");
    }
}
