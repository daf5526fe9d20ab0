//! The audit stream: who was allowed or denied what, one JSON object a line, apart from the log.
//!
//! Owns what a record looks like ([`Record`]), which of them are wanted ([`Level`]), and where they go. It must never
//! hold a value, a password or an argument of a command; names of keys and channels leave it only hashed.
//!
//! Writing is the business of a [`Spool`](crate::spool): no session ever waits for a disk. What does not fit is dropped
//! and counted, or, with [`Settings::required`], is not done: [`Audit::push`] says which.

mod record;

pub use record::{Record, Verdict};

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;

use crate::acl::Secret;
use crate::spool::{self, Spool, Target};

/// No record is longer, as its texts are bounded.
pub const MAX_RECORD_BYTES: usize = 8192;

/// What is recorded; each level has what those before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Off,
    /// Denied commands and clients, failed logins, broken protocol.
    Denied,
    /// Logins, reloads, and commands of the categories `@admin` and `@dangerous`.
    Admin,
    /// Every command, and the beginning and end of every session.
    All,
}

/// How names of keys and channels are shown.
#[derive(Clone, Debug)]
pub enum Names {
    /// As HMAC-SHA256 under this secret; without one, under one that lives as long as the process.
    Hashed(Option<Arc<Secret>>),
    /// Not at all.
    Redacted,
}

/// What the audit stream needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is recorded.
    pub level: Level,
    /// Where; without one, to standard error.
    pub file: Option<PathBuf>,
    /// How keys are shown.
    pub names: Names,
    /// What cannot be recorded is not done.
    pub required: bool,
    /// Bytes of records that may wait to be written.
    pub buffer: usize,
}

impl Settings {
    /// Whether a stream made by `other` would be the same.
    pub fn is_same(&self, other: &Settings) -> bool {
        let names = |settings: &Settings| match &settings.names {
            Names::Hashed(secret) => Some(secret.as_ref().map(|secret| secret.expose_secret().to_vec())),
            Names::Redacted => None,
        };
        self.level == other.level
            && self.file == other.file
            && names(self) == names(other)
            && self.required == other.required
            && self.buffer == other.buffer
    }
}

/// The audit stream of the process. Shared by all workers.
pub struct Audit {
    level: Level,
    required: bool,
    spool: Option<Spool>,
    /// `None`: names are not shown.
    key: Option<hmac::Key>,
}

impl Audit {
    /// Opens the stream.
    ///
    /// # Errors
    /// The file cannot be opened, or the system gives us no thread or no random bytes.
    pub fn start(settings: &Settings) -> io::Result<Audit> {
        let Settings { level, file, names, required, buffer } = settings;
        if *level == Level::Off {
            return Ok(Audit::off());
        }
        let key = match names {
            Names::Hashed(Some(secret)) => Some(hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret())),
            Names::Hashed(None) => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).map_err(io::Error::other)?;
                Some(hmac::Key::new(hmac::HMAC_SHA256, &secret))
            }
            Names::Redacted => None,
        };
        let target = file.clone().map_or(Target::Stderr, Target::File);
        let spool = spool::Settings { name: "audit log", target, buffer: *buffer, strict: *required };
        Ok(Audit { level: *level, required: *required, spool: Some(Spool::start(spool)?), key })
    }

    /// A stream that records nothing.
    pub fn off() -> Audit {
        Audit { level: Level::Off, required: false, spool: None, key: None }
    }

    /// What is recorded.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The line of a record.
    pub fn line(&self, record: &Record<'_>) -> Vec<u8> {
        record.line(|name| self.key.as_ref().map(|key| hex(hmac::sign(key, name).as_ref())))
    }

    /// Takes a line. False if what it tells must not happen, since it cannot be recorded.
    #[must_use]
    pub fn push(&self, line: &[u8]) -> bool {
        let taken = self.spool.as_ref().is_none_or(|spool| spool.push(line));
        taken || !self.required
    }

    /// Whether [`Audit::push`] would say yes now.
    pub fn is_ready(&self) -> bool {
        !self.required || self.spool.as_ref().is_none_or(|spool| spool.takes(MAX_RECORD_BYTES))
    }

    /// How many records could not be taken.
    pub fn dropped(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::dropped)
    }

    /// Has the file opened anew.
    pub fn reopen(&self) {
        if let Some(spool) = &self.spool {
            spool.reopen();
        }
    }

    /// Waits until all records are written, `at_most` so long. Not for workers.
    pub fn flush(&self, at_most: Duration) {
        if let Some(spool) = &self.spool {
            spool.flush(at_most);
        }
    }
}

/// The first half of the hash: enough to tell names apart.
fn hex(hash: &[u8]) -> String {
    let digits = hash.iter().take(16).flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|nibble| char::from_digit(u32::from(nibble), 16)).collect()
}

#[cfg(test)]
mod tests;
