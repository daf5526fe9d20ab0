//! From an address to a connection that is ready for commands: TCP, TLS or Unix socket, then AUTH, HELLO, SELECT, PING.
//!
//! The credentials are Redkeep's own. They are sent only after the upstream's certificate was verified (`rediss://`),
//! and no text that leaves this file contains them.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use zeroize::Zeroizing;

use super::keepalive::{TCP_KEEPALIVE, keep_alive};
use super::mirror::Mirror;
use super::names::Names;
use super::scrub::{Scope, scrubbed};
use crate::acl::Secret;
use crate::resp::{Protocol, ReplyScanner, RequestBuf, Value, decode, integer};

/// Largest reply of a handshake or probe; `COMMAND` of a server with modules stays far below.
const MAX_COLD_REPLY_BYTES: usize = 16 * 1024 * 1024;

/// Where the upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// Name or IP address; resolved at every connect.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// TLS to the upstream: verified against the name, or the connection fails.
#[derive(Clone)]
pub struct DialTls {
    /// Trust anchors and client certificate.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that the certificate must carry.
    pub server_name: ServerName<'static>,
    /// SHA-256 of the files that `config` was made of: tells two configurations apart.
    pub fingerprint: [u8; 32],
}

/// Everything that a new connection needs.
#[derive(Clone)]
pub struct Settings {
    /// Where the upstream is.
    pub address: Address,
    /// TLS, for `rediss://`.
    pub tls: Option<DialTls>,
    /// User of `AUTH user password`; without one `AUTH password`.
    pub username: Option<String>,
    /// Password; without one no `AUTH` is sent.
    pub password: Option<Arc<Secret>>,
    /// Time from the first packet to the last reply of the handshake.
    pub connect_timeout: Duration,
    /// Time between a command and its reply. A link that exceeds it is closed.
    pub response_timeout: Duration,
    /// Shared links per worker, database and protocol.
    pub links_per_worker: usize,
    /// Leased links of all workers together.
    pub max_leased: usize,
    /// Time that a command waits for a leased link while all are in use.
    pub lease_timeout: Duration,
    /// What the upstream calls its commands.
    pub names: Arc<Names>,
}

impl Settings {
    /// Whether both name the same upstream, with TLS or without.
    pub fn is_same_place(&self, other: &Settings) -> bool {
        self.address == other.address && self.tls.is_some() == other.tls.is_some()
    }

    /// Whether a link that was made with `other` would be as good as one that is made with these settings.
    pub fn is_same(&self, other: &Settings) -> bool {
        let tls =
            |settings: &Settings| settings.tls.as_ref().map(|tls| (tls.server_name.clone(), tls.fingerprint));
        self.is_same_place(other)
            && tls(self) == tls(other)
            && self.username == other.username
            && self.password.as_deref().map(Secret::expose_secret)
                == other.password.as_deref().map(Secret::expose_secret)
            && self.connect_timeout == other.connect_timeout
            && self.response_timeout == other.response_timeout
            && self.lease_timeout == other.lease_timeout
            && self.names == other.names
    }
}

/// Which state a new connection is brought into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinkKey {
    /// Database number.
    pub db: u32,
    /// RESP version.
    pub protocol: Protocol,
}

/// Why no connection came about.
#[derive(Debug)]
pub enum DialError {
    /// The network refused: message of the system.
    Io(std::io::Error),
    /// The upstream does not take a mirrored user: its error.
    NoMirror(String),
    /// The upstream sent something that is no reply.
    Protocol,
    /// The upstream answered a step of the handshake with an error: the step, and the error's first word.
    Refused(&'static str, String),
    /// `connect_timeout` passed.
    Timeout,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Io(error) => write!(f, "{error}"),
            DialError::NoMirror(text) => write!(f, "the upstream refused a mirrored user: {text}"),
            DialError::Protocol => write!(f, "the upstream does not speak the Redis protocol"),
            DialError::Refused(step, text) => write!(f, "the upstream refused {step}: {text}"),
            DialError::Timeout => write!(f, "no answer within upstream.connect_timeout"),
        }
    }
}

impl std::error::Error for DialError {}

/// A connection to the upstream, whatever carries it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A connection that is ready for commands.
pub struct Dialled {
    /// The connection.
    pub stream: Box<dyn Stream>,
    /// Its number at the upstream, if that was asked for; servers before 5.0 do not know it.
    pub id: Option<i64>,
}

/// Connects and brings the connection into the state of `key`. `ask_id`: asks for the connection's number. `mirror`: the
/// user as whom it is logged in at last.
///
/// # Errors
/// See [`DialError`]; nothing of a client has been sent then.
pub async fn dial(
    settings: &Settings,
    key: LinkKey,
    ask_id: bool,
    mirror: Option<&Mirror>,
) -> Result<Dialled, DialError> {
    let handshake = async {
        let mut connection = ColdConnection::new(settings).await?;
        authenticate(settings, &mut connection).await?;
        if key.protocol == Protocol::Resp3 {
            connection.expect_ok("HELLO", &[b"HELLO", b"3"]).await?;
        }
        if key.db != 0 {
            connection.expect_ok("SELECT", &[b"SELECT", key.db.to_string().as_bytes()]).await?;
        }
        connection.expect_welcome().await?;
        let id = if ask_id { connection.client_id().await? } else { None };
        if let Some(mirror) = mirror {
            connection.become_mirror(mirror).await?;
        }
        // Bytes beyond the last reply would be taken for the reply to a client's first command.
        if connection.buffer.is_empty() {
            Ok(Dialled { stream: connection.stream, id })
        } else {
            Err(DialError::Protocol)
        }
    };
    tokio::time::timeout(settings.connect_timeout, handshake).await.unwrap_or(Err(DialError::Timeout))
}

/// Sends Redkeep's own credentials, if it has any.
pub(super) async fn authenticate(
    settings: &Settings,
    connection: &mut ColdConnection,
) -> Result<(), DialError> {
    let Some(password) = &settings.password else { return Ok(()) };
    match &settings.username {
        Some(user) => {
            connection.expect_ok("AUTH", &[b"AUTH", user.as_bytes(), password.expose_secret()]).await
        }
        None => connection.expect_ok("AUTH", &[b"AUTH", password.expose_secret()]).await,
    }
}

async fn connect(settings: &Settings) -> Result<Box<dyn Stream>, DialError> {
    let stream = match &settings.address {
        Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await.map_err(DialError::Io)?)),
        Address::Tcp { host, port } => {
            TcpStream::connect((host.as_str(), *port)).await.map_err(DialError::Io)?
        }
    };
    stream.set_nodelay(true).map_err(DialError::Io)?;
    keep_alive(&stream, TCP_KEEPALIVE).map_err(DialError::Io)?;
    match &settings.tls {
        None => Ok(Box::new(stream)),
        Some(tls) => {
            let connector = tokio_rustls::TlsConnector::from(tls.config.clone());
            let stream = connector.connect(tls.server_name.clone(), stream).await.map_err(DialError::Io)?;
            Ok(Box::new(stream))
        }
    }
}

/// A connection that is used request by request: for handshakes and probes.
pub(super) struct ColdConnection {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    names: Arc<Names>,
}

impl ColdConnection {
    /// Connects, and sends nothing yet.
    pub(super) async fn new(settings: &Settings) -> Result<Self, DialError> {
        let stream = connect(settings).await?;
        Ok(ColdConnection { stream, buffer: BytesMut::new(), names: settings.names.clone() })
    }

    /// Sends one command and returns the bytes of its reply.
    pub(super) async fn call_raw(&mut self, args: &[&[u8]]) -> Result<BytesMut, DialError> {
        let request = RequestBuf::from_args(args);
        let written = self.names.written(request.as_request().wire());
        self.write(&written).await?;
        self.read_frame().await
    }

    async fn write(&mut self, wire: &[u8]) -> Result<(), DialError> {
        self.stream.write_all(wire).await.map_err(DialError::Io)?;
        self.stream.flush().await.map_err(DialError::Io)
    }

    async fn read_frame(&mut self) -> Result<BytesMut, DialError> {
        let mut scanner = ReplyScanner::new(MAX_COLD_REPLY_BYTES);
        loop {
            match scanner.scan(&self.buffer) {
                Ok(Some(frame)) => {
                    let frame = self.buffer.split_to(frame.len);
                    // SECURITY: an error is logged.
                    return Ok(match scrubbed(&frame, &self.names, Scope::Lines) {
                        Cow::Borrowed(_) => frame,
                        Cow::Owned(scrubbed) => BytesMut::from(&*scrubbed),
                    });
                }
                Ok(None) if self.buffer.len() <= MAX_COLD_REPLY_BYTES => {}
                Ok(None) | Err(_) => return Err(DialError::Protocol),
            }
            if self.stream.read_buf(&mut self.buffer).await.map_err(DialError::Io)? == 0 {
                return Err(DialError::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Sends one command and returns its decoded RESP2 reply.
    pub(super) async fn call(&mut self, args: &[&[u8]]) -> Result<Value, DialError> {
        let frame = self.call_raw(args).await?;
        decode(&frame).ok_or(DialError::Protocol)
    }

    /// Makes sure, by one round trip, that the upstream serves us.
    ///
    /// SECURITY: Redis tells clients without being asked that they are not welcome. On a link such a line would be
    /// taken for the reply to the first command of a client.
    async fn expect_welcome(&mut self) -> Result<(), DialError> {
        let frame = self.call_raw(&[b"PING"]).await?;
        let Some(text) = frame.strip_prefix(b"-") else { return Ok(()) };
        // Other errors (LOADING, NOPERM, a renamed PING) are replies to this PING alone.
        let unwelcome = [&b"DENIED"[..], b"ERR max number of clients", b"NOAUTH"];
        if unwelcome.iter().any(|code| text.starts_with(code)) {
            return Err(DialError::Refused("PING", first_line(text)));
        }
        Ok(())
    }

    /// The connection's number at the upstream; `None` if it does not say.
    async fn client_id(&mut self) -> Result<Option<i64>, DialError> {
        let frame = self.call_raw(&[b"CLIENT", b"ID"]).await?;
        Ok(frame.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b"\r\n")).and_then(integer))
    }

    /// Makes the mirrored user and logs in as it.
    ///
    /// Both in one write, so that Redis runs them one after the other: somebody who deletes the user in between would
    /// have to be quick.
    async fn become_mirror(&mut self, mirror: &Mirror) -> Result<(), DialError> {
        let [make, login] = mirror.requests();
        let both = [make, login].map(|request| self.names.written(request.as_request().wire()));
        let both = Zeroizing::new(both.concat());
        self.write(&both).await?;
        let made = self.read_frame().await?;
        if let Some(text) = made.strip_prefix(b"-") {
            // A failed AUTH takes its time (Redis 8). What else there is (BUSY, LOADING) says nothing of the user.
            let refused = text.starts_with(b"ERR ") || text.starts_with(b"NOPERM ");
            return Err(match refused {
                true => DialError::NoMirror(first_line(text)),
                false => DialError::Refused("ACL SETUSER", first_line(text)),
            });
        }
        let logged_in = self.read_frame().await?;
        match logged_in.strip_prefix(b"-") {
            None => Ok(()),
            Some(text) => Err(DialError::Refused("AUTH as a mirrored user", first_line(text))),
        }
    }

    pub(super) async fn expect_ok(&mut self, step: &'static str, args: &[&[u8]]) -> Result<(), DialError> {
        let frame = self.call_raw(args).await?;
        match frame.strip_prefix(b"-") {
            None => Ok(()),
            Some(text) => Err(DialError::Refused(step, first_line(text))),
        }
    }
}

/// The error's text for a log: one line of printable characters. An upstream's error to AUTH, HELLO or SELECT does
/// not repeat the password.
fn first_line(text: &[u8]) -> String {
    let line = text.split(|byte| *byte == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).take(200).collect()
}
