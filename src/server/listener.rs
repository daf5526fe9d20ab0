//! Addresses that clients connect to: binding them, and accepting until the process drains.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::ListenerSettings;
use super::trust::Door;
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
    pub(super) door: Arc<Door>,
    tcp_keepalive: Duration,
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
    pub(super) fn bind(settings: &ListenerSettings, tcp_keepalive: Duration) -> io::Result<Listener> {
        let (socket, bind) = match &settings.bind {
            Bind::Tcp(address) => {
                let listener = TcpListener::from_std(listen_tcp(*address)?)?;
                let bind = Bind::Tcp(listener.local_addr()?);
                (Accepting::Tcp(listener), bind)
            }
            Bind::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::from_std(listen_unix(path, settings.unix_mode)?)?;
                (Accepting::Unix(listener), settings.bind.clone())
            }
        };
        let door = Arc::new(Door::new(settings.trust.clone(), bind.to_string()));
        Ok(Listener { socket, bind, tls: settings.tls.clone(), door, tcp_keepalive })
    }

    /// The next client. An error concerns that one client, or the process' open files; the listener lives on.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Accepting::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                // Neither is worth losing a client over.
                let _ = prepare(&stream, self.tcp_keepalive);
                Ok(Accepted::Tcp(stream.into_std()?, client))
            }
            Accepting::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Unix(stream.into_std()?))
            }
        }
    }
}

impl Accepted {
    /// The other end's address; none for a Unix socket.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        match self {
            Accepted::Tcp(_, peer) => Some(peer.ip()),
            Accepted::Unix(_) => None,
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

/// SECURITY: the socket gets its mode before it listens, so nobody whom the mode keeps out can connect in between
/// (CVE-2023-45145 of Redis).
fn listen_unix(path: &Path, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let listening = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .and_then(|()| socket.listen(BACKLOG));
    if let Err(error) = listening {
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok(socket.into())
}

fn prepare(stream: &TcpStream, tcp_keepalive: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    keep_alive(stream, tcp_keepalive)
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
