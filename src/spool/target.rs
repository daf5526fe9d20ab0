//! Where the lines of a spool go: standard error, or a file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::OFlags;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file, to whose end they are added. Made with mode 0600; one that is there keeps its mode.
    File(PathBuf),
    /// Standard error.
    Stderr,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::File(path) => write!(f, "{}", path.display()),
            Target::Stderr => f.write_str("standard error"),
        }
    }
}

impl Target {
    /// Opens it for writing.
    ///
    /// # Errors
    /// What the system says. A named pipe must have a reader.
    pub(super) fn open(&self) -> io::Result<Output> {
        match self {
            // A named pipe must neither hold up the start nor, when nobody reads it, a new file in its place.
            Target::File(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
                .open(path)
                .map(Output::File),
            Target::Stderr => Ok(Output::Stderr),
        }
    }
}

/// An open [`Target`].
pub(super) enum Output {
    /// A file.
    File(File),
    /// Standard error. Its lock keeps the lines of two spools apart.
    Stderr,
}

impl Output {
    /// Writes some of the bytes. Standard error is written as a whole, so that nobody else's lines come in between.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::File(file) => file.write(bytes),
            Output::Stderr => {
                let mut stderr = io::stderr().lock();
                let mut written = 0;
                while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
                    match stderr.write(rest) {
                        Ok(count) if count > 0 => written = written.saturating_add(count),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        // What was written counts; the rest is tried again.
                        _ if written > 0 => break,
                        other => return other,
                    }
                }
                Ok(written)
            }
        }
    }
}
