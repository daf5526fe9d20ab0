//! Addresses that clients connect to: binding them, and accepting until the process drains.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::upstream::keep_alive;

/// Pending connections that the kernel keeps; Redis' default is 511, which a reconnect storm exceeds.
const BACKLOG: i32 = 4096;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// A TCP address; port 0 takes a free port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp(address) => write!(f, "{address}"),
            Bind::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The TLS configuration of a listener; swapped by a reload, for connections to come.
#[derive(Clone)]
pub struct TlsSlot(Arc<RwLock<Arc<rustls::ServerConfig>>>);

impl TlsSlot {
    /// A slot with its first configuration.
    pub fn new(config: rustls::ServerConfig) -> Self {
        TlsSlot(Arc::new(RwLock::new(Arc::new(config))))
    }

    /// The configuration for the next handshake.
    pub fn load(&self) -> Arc<rustls::ServerConfig> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over the configuration of another slot.
    pub fn replace_by(&self, newer: &TlsSlot) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = newer.load();
    }
}

/// A bound listener.
pub(super) struct Listener {
    socket: Accepting,
    pub(super) bind: Bind,
    pub(super) tls: Option<TlsSlot>,
}

enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A client's connection, not yet on a worker.
pub(super) enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

impl Listener {
    /// Binds the address. A TCP port 0 becomes the port that the system chose.
    pub(super) fn bind(bind: &Bind, tls: Option<TlsSlot>) -> io::Result<Listener> {
        match bind {
            Bind::Tcp(address) => {
                let listener = TcpListener::from_std(listen_tcp(*address)?)?;
                let bind = Bind::Tcp(listener.local_addr()?);
                Ok(Listener { socket: Accepting::Tcp(listener), bind, tls })
            }
            Bind::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                Ok(Listener { socket: Accepting::Unix(listener), bind: bind.clone(), tls })
            }
        }
    }

    /// The next client. An error concerns that one client, or the process' open files; the listener lives on.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Accepting::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                // Neither is worth losing a client over.
                let _ = prepare(&stream);
                Ok(Accepted::Tcp(stream.into_std()?, client))
            }
            Accepting::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Unix(stream.into_std()?))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Bind::Unix(path) = &self.bind {
            // Another process may have taken the path over; a leftover file is removed at the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The stream of an accepted TCP client, on the worker that serves it.
pub(super) fn tcp(stream: std::net::TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(stream)
}

/// The stream of an accepted Unix socket client, on the worker that serves it.
pub(super) fn unix(stream: std::os::unix::net::UnixStream) -> io::Result<UnixStream> {
    UnixStream::from_std(stream)
}

fn listen_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // As Redis: `[::]` does not take the IPv4 port as well, which may be a listener of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    keep_alive(stream)
}

/// Removes the socket file of a process that was killed. A path that somebody listens on is left alone, and binding
/// it will fail.
fn remove_stale(path: &PathBuf) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(refused) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
