//! A client's connection: TCP, perhaps with TLS, never blocking.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use crate::Result;
use crate::certs::NAME;

/// Where and how clients connect.
#[derive(Clone)]
pub struct Endpoint {
    /// The address.
    pub address: SocketAddr,
    /// TLS with full handshakes, if it speaks TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// TLS with sessions that are resumed.
    pub resuming: Option<Arc<ClientConfig>>,
    /// User and password.
    pub login: Option<(&'static str, &'static str)>,
}

/// One connection.
pub struct Connection {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Connection {
    /// Begins to connect; what is sent waits until that is done.
    pub fn open(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        registry: &Registry,
        token: Token,
    ) -> Result<Connection> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let tls = match tls {
            None => None,
            Some(config) => {
                let mut tls = ClientConnection::new(config.clone(), ServerName::try_from(NAME)?)?;
                tls.set_buffer_limit(Some(256 << 10));
                Some(Box::new(tls))
            }
        };
        Ok(Connection { stream, tls })
    }

    /// Sends as much as the other side takes now, and says how much that is.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        loop {
            let rest = bytes.get(sent..).unwrap_or_default();
            let some = match &mut self.tls {
                None if rest.is_empty() => Ok(0),
                None => self.stream.write(rest),
                Some(tls) => tls.writer().write(rest),
            };
            match some {
                Ok(some) => {
                    sent += some;
                    if !self.flush()? || some == 0 || sent == bytes.len() {
                        return Ok(sent);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(sent),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what TLS has ready; whether all of it went out.
    fn flush(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads once, at most a `buffer` full, and hands what it says to `take`. Whether there may be more.
    pub fn receive(&mut self, buffer: &mut [u8], mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        let length = match self.stream.read(buffer) {
            Ok(0) => return Err("the connection was closed".into()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let more = length == buffer.len();
        let mut bytes = buffer.get(..length).unwrap_or_default();
        let Some(tls) = &mut self.tls else {
            take(bytes)?;
            return Ok(more);
        };
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes)?;
            tls.process_new_packets()?;
            let mut reader = tls.reader();
            loop {
                let plain = match reader.fill_buf() {
                    Ok([]) => return Err("the connection was closed".into()),
                    Ok(plain) => plain,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                };
                take(plain)?;
                let length = plain.len();
                reader.consume(length);
            }
        }
        self.flush()?;
        Ok(more)
    }

    /// Says goodbye, as clients do that close a connection in order.
    pub fn close(mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush()?;
        Ok(())
    }

    /// Whether an earlier session was resumed.
    pub fn resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// The cipher suite, once it is known.
    pub fn suite(&self) -> Option<String> {
        let suite = self.tls.as_ref()?.negotiated_cipher_suite()?;
        Some(format!("{:?}", suite.suite()))
    }
}
