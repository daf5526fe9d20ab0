//! For tests of this layer and those above: a server that greets links and gives each key as its own value.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::dial::{Address, Settings};

/// A server on a port of its own.
pub(crate) struct Server {
    port: u16,
    /// Connections that are open.
    open: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(AtomicUsize::new(0));
        let count = open.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let count = count.clone();
                std::thread::spawn(move || {
                    count.fetch_add(1, Ordering::SeqCst);
                    serve(BufReader::new(stream));
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Server { port, open }
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Settings of links to it.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            names: Arc::default(),
            address: Address::Tcp { host: "127.0.0.1".to_owned(), port: self.port },
            tls: None,
            username: None,
            password: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(5),
            links_per_worker: 1,
            max_leased: 4,
            lease_timeout: Duration::from_secs(1),
        }
    }
}

/// Answers until the other side closes the connection.
fn serve(mut stream: BufReader<TcpStream>) -> Option<()> {
    loop {
        let count = number(&mut stream)?;
        let mut args = Vec::new();
        for _ in 0..count {
            let mut arg = vec![0; number(&mut stream)? + 2];
            stream.read_exact(&mut arg).ok()?;
            arg.truncate(arg.len() - 2);
            args.push(String::from_utf8(arg).unwrap());
        }
        let reply = match args[0].to_ascii_lowercase().as_str() {
            "get" => format!("${}\r\n{}\r\n", args[1].len(), args[1]),
            "client" => ":1\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        };
        stream.get_mut().write_all(reply.as_bytes()).ok()?;
    }
}

fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    line.trim_end().get(1..)?.parse().ok()
}
