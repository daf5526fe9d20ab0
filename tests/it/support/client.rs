//! A client that sends what it is told and shows the bytes that come back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use redkeep::resp::{ReplyScanner, RequestBuf, Value, decode};

use super::SOON;

pub trait Wire: Read + Write + Send {
    /// Reads fail when nothing comes for so long.
    fn limit(&self, limit: Duration);
}

impl Wire for UnixStream {
    fn limit(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).unwrap();
    }
}

impl Wire for TcpStream {
    fn limit(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).unwrap();
    }
}

impl Wire for rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    fn limit(&self, limit: Duration) {
        self.sock.limit(limit);
    }
}

pub struct Client {
    wire: Box<dyn Wire>,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(SOON)).unwrap();
        Client { wire: Box::new(stream), buffer: Vec::new() }
    }

    pub fn tcp(port: u16) -> Client {
        Client { wire: Box::new(connect(port)), buffer: Vec::new() }
    }

    /// A client that comes from this address of the machine's own.
    pub fn tcp_from(ip: [u8; 4], port: u16) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from((ip, 0)).into()).unwrap();
        socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        Client { wire: Box::new(prepared(socket.into())), buffer: Vec::new() }
    }

    /// A client that waits for a minute, for what is much work in a debug build.
    pub fn patient(port: u16) -> Client {
        let stream = connect(port);
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client { wire: Box::new(stream), buffer: Vec::new() }
    }

    pub fn tls(port: u16, config: Arc<rustls::ClientConfig>) -> Client {
        Client::tls_on(connect(port), config, "localhost")
    }

    /// A TLS client on a connection that is open already, of a server with this name.
    pub fn tls_on(stream: TcpStream, config: Arc<rustls::ClientConfig>, name: &'static str) -> Client {
        stream.set_read_timeout(Some(SOON)).unwrap();
        let connection = rustls::ClientConnection::new(config, name.try_into().unwrap()).unwrap();
        Client { wire: Box::new(rustls::StreamOwned::new(connection, stream)), buffer: Vec::new() }
    }

    /// A plain client on a connection that is open already.
    pub fn on(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(SOON)).unwrap();
        Client { wire: Box::new(stream), buffer: Vec::new() }
    }

    /// Logs in, and insists on it.
    pub fn login(mut self, user: &str, password: &str) -> Client {
        assert_eq!(text(&self.call(&["AUTH", user, password])), "+OK\r\n");
        self
    }

    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        let request = RequestBuf::from_args(args);
        self.send_raw(request.as_request().wire());
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.wire.write_all(bytes).unwrap();
        self.wire.flush().unwrap();
    }

    /// One command, and the bytes of its reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Vec<u8> {
        self.send(args);
        self.read_reply()
    }

    /// The same for readers, with the reply as text.
    pub fn ask(&mut self, line: &str) -> String {
        let args: Vec<&str> = line.split(' ').map(|word| if word == "''" { "" } else { word }).collect();
        text(&self.call(&args))
    }

    /// One command, and its RESP2 reply as a tree.
    pub fn value<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send(args);
        self.read_value()
    }

    /// The next RESP2 reply as a tree.
    pub fn read_value(&mut self) -> Value {
        let reply = self.read_reply();
        decode(&reply).unwrap_or_else(|| panic!("no RESP2 reply: {}", reply.escape_ascii()))
    }

    /// As [`Client::call`], but `None` if the connection fails.
    pub fn try_call(&mut self, args: &[&str]) -> Option<Vec<u8>> {
        let request = RequestBuf::from_args(args);
        self.wire.write_all(request.as_request().wire()).ok()?;
        self.wire.flush().ok()?;
        self.try_read_reply()
    }

    /// As [`Client::send`], but `None` if the connection is closed already.
    pub fn try_send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Option<()> {
        let request = RequestBuf::from_args(args);
        self.try_send_raw(request.as_request().wire())
    }

    /// As [`Client::send_raw`], but `None` if the connection is closed already.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> Option<()> {
        self.wire.write_all(bytes).ok()?;
        self.wire.flush().ok()
    }

    /// The next complete reply.
    pub fn read_reply(&mut self) -> Vec<u8> {
        self.try_read_reply().expect("a reply before the connection ended")
    }

    pub fn try_read_reply(&mut self) -> Option<Vec<u8>> {
        loop {
            let frame = ReplyScanner::new(usize::MAX / 2).scan(&self.buffer).expect("a well-formed reply");
            if let Some(frame) = frame {
                let rest = self.buffer.split_off(frame.len);
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
            let mut chunk = [0u8; 65536];
            match self.wire.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// Everything until the other side closes the connection, or is silent for so long.
    pub fn read_until_silent(&mut self, silence: Duration) -> Vec<u8> {
        self.wire.limit(silence);
        let all = self.read_to_end();
        self.wire.limit(SOON);
        all
    }

    /// So many bytes, whatever they are.
    pub fn read_exactly(&mut self, len: usize) -> Vec<u8> {
        let mut chunk = vec![0u8; 65536];
        while self.buffer.len() < len {
            let count = self.wire.read(&mut chunk).expect("more bytes before the time is over");
            assert!(count > 0, "{} of {len} bytes before the connection ended", self.buffer.len());
            self.buffer.extend_from_slice(&chunk[..count]);
        }
        let rest = self.buffer.split_off(len);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Everything until the other side closes the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.buffer);
        let mut chunk = [0u8; 65536];
        while let Ok(count) = self.wire.read(&mut chunk) {
            if count == 0 {
                return all;
            }
            all.extend_from_slice(&chunk[..count]);
        }
        all
    }
}

fn connect(port: u16) -> TcpStream {
    prepared(TcpStream::connect(("127.0.0.1", port)).unwrap())
}

fn prepared(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
