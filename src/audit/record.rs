//! What one line of the audit stream says.
//!
//! SECURITY: every text of a client is cut and escaped, so that a line is printable ASCII whatever clients send: no
//! line can be forged, and no terminal be written to. JSON's own escapes would let a reader have the bytes back.

use std::fmt::{self, Write};

use serde::Serialize;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Longest name of a user or command that is shown, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Longest address or identity of a certificate that is shown, in bytes.
const MAX_ADDRESS_BYTES: usize = 256;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A command may run.
    Allowed,
    /// A session has ended.
    Closed,
    /// A session has begun.
    Connected,
    /// A command or a client was refused.
    Denied,
    /// A user has logged in.
    Login,
    /// A login failed.
    LoginFailed,
    /// A reload was refused: everything stays as it was.
    ReloadRefused,
    /// Configuration and users were read again.
    Reloaded,
}

/// One record. Nothing in it is escaped yet.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Number of the session, as CLIENT ID shows it; `None` for what concerns all.
    pub session: Option<u64>,
    /// The client's address.
    pub peer: Option<&'a str>,
    /// The address that it has connected to.
    pub listener: Option<&'a str>,
    /// The identity of its certificate.
    pub certificate: Option<&'a str>,
    /// Who is logged in; of a login, the name that was given.
    pub user: Option<&'a [u8]>,
    /// The database that the session has selected.
    pub db: Option<u32>,
    /// The full name of the command; if it is unknown, what the client called it.
    pub command: Option<&'a [u8]>,
    /// What happened.
    pub verdict: Verdict,
    /// Why, in one word.
    pub reason: Option<&'static str>,
    /// It stands for so many commands that have no record of their own.
    pub more: Option<u64>,
    /// How many keys the command uses, if that is certain.
    pub keys: Option<usize>,
    /// The key that was denied, or else the first one.
    pub key: Option<&'a [u8]>,
    /// The channel that was denied.
    pub channel: Option<&'a [u8]>,
    /// The policy that it was judged by.
    pub generation: u64,
}

/// The same as it is written. The order of the fields is the order in the line.
#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    session: Option<u64>,
    peer: Option<Text<'a>>,
    listener: Option<Text<'a>>,
    certificate: Option<Text<'a>>,
    user: Option<Text<'a>>,
    db: Option<u32>,
    command: Option<Text<'a>>,
    verdict: Verdict,
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<u64>,
    keys: Option<usize>,
    key: Option<String>,
    channel: Option<String>,
    generation: u64,
}

impl Record<'_> {
    /// A record of what concerns no session.
    pub fn of_all(verdict: Verdict, generation: u64) -> Record<'static> {
        Record {
            session: None,
            peer: None,
            listener: None,
            certificate: None,
            user: None,
            db: None,
            command: None,
            verdict,
            reason: None,
            more: None,
            keys: None,
            key: None,
            channel: None,
            generation,
        }
    }

    /// The line, with the time of now. `hash` shows the name of a key or channel, or does not.
    pub(super) fn line(&self, hash: impl Fn(&[u8]) -> Option<String>) -> Vec<u8> {
        let mut time = String::new();
        // As in the log: RFC 3339, in UTC. Into a String it cannot fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let line = Line {
            time: &time,
            session: self.session,
            peer: self.peer.map(Text::address),
            listener: self.listener.map(Text::address),
            certificate: self.certificate.map(Text::address),
            user: self.user.map(Text::name),
            db: self.db,
            command: self.command.map(Text::name),
            verdict: self.verdict,
            reason: self.reason,
            more: self.more,
            keys: self.keys,
            key: self.key.and_then(&hash),
            channel: self.channel.and_then(&hash),
            generation: self.generation,
        };
        // Neither keys of maps nor values are of a kind that could fail.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// A text of a client's: at most so many bytes of it, and all that is not printable ASCII as `\xNN`.
#[derive(Clone, Copy)]
struct Text<'a> {
    bytes: &'a [u8],
    most: usize,
}

impl<'a> Text<'a> {
    fn name(bytes: &'a [u8]) -> Self {
        Text { bytes, most: MAX_NAME_BYTES }
    }

    fn address(text: &'a str) -> Self {
        Text { bytes: text.as_bytes(), most: MAX_ADDRESS_BYTES }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.bytes.iter().take(self.most) {
            match byte {
                b'\\' => f.write_str("\\\\")?,
                b' '..=b'~' => f.write_char(char::from(*byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        if self.bytes.len() > self.most { f.write_str("...") } else { Ok(()) }
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
