//! A client that sends one command at a time and shows the bytes that come back.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::SOON;
use crate::resp::{ReplyScanner, RequestBuf, Value, decode};
use crate::server::tls::{provider, read_certificates, trust};
use crate::upstream::Stream;

/// Largest reply; those of the demo are short.
const MAX_REPLY_BYTES: usize = 1024 * 1024;

/// One connection. Has no Debug: what it sends may be a password.
pub(super) struct Client {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
}

impl Client {
    /// Connects straight to Redis.
    pub(super) async fn unix(path: &Path) -> io::Result<Client> {
        Ok(Client { stream: Box::new(UnixStream::connect(path).await?), buffer: BytesMut::new() })
    }

    /// Connects to Redkeep over TLS, as a client that trusts only the CA in the file `ca`.
    pub(super) async fn tls(port: u16, ca: &Path) -> io::Result<Client> {
        let roots = read_certificates(ca)
            .and_then(|certificates| trust(certificates, ca))
            .map_err(io::Error::other)?;
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let handshake =
            async { connector.connect(name, TcpStream::connect(("127.0.0.1", port)).await?).await };
        let stream = tokio::time::timeout(SOON, handshake).await??;
        Ok(Client { stream: Box::new(stream), buffer: BytesMut::new() })
    }

    /// Sends one command and returns the bytes of its reply.
    pub(super) async fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<BytesMut> {
        let request = RequestBuf::from_args(args);
        tokio::time::timeout(SOON, self.exchange(request.as_request().wire())).await?
    }

    async fn exchange(&mut self, wire: &[u8]) -> io::Result<BytesMut> {
        self.stream.write_all(wire).await?;
        self.stream.flush().await?;
        let mut scanner = ReplyScanner::new(MAX_REPLY_BYTES);
        loop {
            let frame =
                scanner.scan(&self.buffer).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            if let Some(frame) = frame {
                return Ok(self.buffer.split_to(frame.len));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// What a client without TLS gets from a TLS port: all bytes until the port is closed.
pub(super) async fn plain_bytes(port: u16) -> io::Result<Vec<u8>> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes).await {
            // Closed the hard way.
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(bytes),
        }
    };
    tokio::time::timeout(SOON, exchange).await?
}

/// A reply for people, as redis-cli would show it, on one line.
pub(super) fn describe(reply: &[u8]) -> String {
    decode(reply).map_or_else(|| "(no RESP2 reply)".to_owned(), |value| describe_value(&value))
}

/// Recurses as deep as [`decode`] did, which is bounded.
fn describe_value(value: &Value) -> String {
    match value {
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(describe_value).collect::<Vec<_>>().join(", "))
        }
        Value::Bulk(bytes) => format!("\"{}\"", printable(bytes)),
        Value::Error(bytes) | Value::Simple(bytes) => printable(bytes),
        Value::Integer(number) => number.to_string(),
        Value::Null => "(nil)".to_owned(),
    }
}

fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
