//! Fetching secrets from where the configuration says they are.
//!
//! SECURITY: a secret leaves this file only inside [`Secret`], which cannot be shown and is wiped when dropped; the
//! buffers on the way there are wiped too. Messages name the file or the variable, never what it holds.

use std::io::Read as _;

use zeroize::Zeroizing;

use super::settings::SecretSource;
use crate::acl::Secret;
use crate::regular;

/// No password is longer, and a wrong path (a device, a log file) must not fill the memory.
const MAX_SECRET_BYTES: usize = 64 * 1024;

impl SecretSource {
    /// Fetches the secret. One newline (`\n` or `\r\n`) at the end of a file is not part of it: editors and `echo`
    /// put it there. An environment variable is taken as it is.
    ///
    /// # Errors
    /// A text for the operator: the file cannot be read, the variable is not set, or the secret is empty or longer
    /// than 64 KiB.
    pub fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Env(name) => {
                let value = std::env::var_os(name).ok_or_else(|| {
                    format!("environment variable `{name}` is not set; set it or write another name")
                })?;
                let bytes = Zeroizing::new(value.into_encoded_bytes());
                secret(&bytes, &format!("environment variable `{name}`"))
            }
            Self::File(path) => {
                let shown = path.display();
                // Room for one byte too much, so that the buffer never moves and leaves a copy behind.
                let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 3));
                let limit = u64::try_from(MAX_SECRET_BYTES + 3).unwrap_or(u64::MAX);
                regular::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(
                    |error| format!("cannot read secret file `{shown}`: {}", super::io_text(&error)),
                )?;
                let content = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                let content =
                    content.strip_suffix(b"\r").filter(|_| bytes.ends_with(b"\n")).unwrap_or(content);
                secret(content, &format!("secret file `{shown}`"))
            }
        }
    }
}

fn secret(bytes: &[u8], what: &str) -> Result<Secret, String> {
    match bytes.len() {
        0 => Err(format!("{what} is empty; put the secret there")),
        1..=MAX_SECRET_BYTES => Ok(Secret::new(bytes.to_vec())),
        _ => Err(format!("{what} has more than {MAX_SECRET_BYTES} bytes; name the right one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn file_with(name: &str, content: &[u8]) -> SecretSource {
        let path = std::env::temp_dir().join(format!("redkeep-secret-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        SecretSource::File(path)
    }

    fn read_and_remove(source: SecretSource) -> Result<Vec<u8>, String> {
        let result = source.read().map(|secret| secret.expose_secret().to_vec());
        if let SecretSource::File(path) = source {
            std::fs::remove_file(path).unwrap();
        }
        result
    }

    #[test]
    fn one_newline_at_the_end_of_a_file_is_not_part_of_the_secret() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"pw\n", b"pw"),
            (b"pw\r\n", b"pw"),
            (b"pw", b"pw"),
            (b"pw\n\n", b"pw\n"),
            (b" p w \r", b" p w \r"),
            (b"\xff\x00\n", b"\xff\x00"),
        ];
        for (index, (content, expected)) in cases.into_iter().enumerate() {
            let source = file_with(&format!("newline{index}"), content);
            assert_eq!(read_and_remove(source).unwrap(), expected);
        }
    }

    #[test]
    fn empty_and_endless_secrets_are_refused() {
        for (name, content) in [("empty", &b""[..]), ("newline", b"\n"), ("crlf", b"\r\n")] {
            let error = read_and_remove(file_with(name, content)).unwrap_err();
            assert!(error.ends_with("is empty; put the secret there"), "{error}");
        }
        let exact = vec![b'x'; MAX_SECRET_BYTES];
        assert_eq!(read_and_remove(file_with("exact", &[&exact[..], b"\r\n"].concat())).unwrap(), exact);
        let error = read_and_remove(file_with("long", &vec![b'x'; MAX_SECRET_BYTES + 1])).unwrap_err();
        assert!(error.contains("more than 65536 bytes"), "{error}");
        assert!(SecretSource::File("/dev/zero".into()).read().is_err());
    }

    #[test]
    fn missing_files_and_variables_are_named() {
        let error = SecretSource::File(PathBuf::from("/nonexistent/pw")).read().unwrap_err();
        assert_eq!(error, "cannot read secret file `/nonexistent/pw`: no such file or directory");
        let error = SecretSource::Env("REDKEEP_TEST_NOT_SET".into()).read().unwrap_err();
        assert!(error.starts_with("environment variable `REDKEEP_TEST_NOT_SET` is not set"));
        assert!(!SecretSource::Env("PATH".into()).read().unwrap().expose_secret().is_empty());
    }
}
