use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt, DuplexStream, ReadBuf};

use super::*;
use crate::acl::{Defaults, parse_file};
use crate::command::CommandTable;
use crate::policy::{Gates, Networks};
use crate::server::trust::Trust;
use crate::upstream::testing::Server;
use crate::users::Source;

#[test]
fn protected_mode_spares_only_clients_of_this_machine() {
    for (address, local) in [
        ("127.0.0.1", true),
        ("127.9.9.9", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("10.0.0.1", false),
        ("0.0.0.0", false),
        ("::ffff:10.0.0.1", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(is_loopback(address.parse().unwrap()), local, "{address}");
    }
}

#[test]
fn the_refusal_of_protected_mode_is_one_error_line() {
    let line = PROTECTED.strip_prefix(b"-DENIED ").and_then(|text| text.strip_suffix(b"\r\n")).unwrap();
    assert!(!line.contains(&b'\n') && line.ends_with(b"accepting connections from the outside."));
    let plain =
        PROTECTED_PLAIN.strip_prefix(b"-DENIED ").and_then(|text| text.strip_suffix(b"\r\n")).unwrap();
    assert!(!plain.contains(&b'\n') && plain.ends_with(b"if the network may be trusted."));
}

/// A client that sends this, and whose next byte is a bug.
struct Fatal(Option<&'static [u8]>);

impl AsyncRead for Fatal {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buf.put_slice(self.0.take().expect("as the test wants it"));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fatal {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn worker(server: &Server, leases: Arc<Semaphore>) -> Rc<Worker> {
    let table = CommandTable::builtin();
    let source = Source {
        users: parse_file(b"user default on nopass ~* &* +@all\n", Defaults::default(), &table).unwrap(),
        file: None,
        requirepass: None,
        conditions: Default::default(),
        gates: Gates::default(),
        defaults: Defaults::default(),
        log_max_len: 8,
        file_digest: None,
    };
    let users = Arc::new(Users::new(source, None));
    Rc::new(Worker {
        shared: Rc::new(Shared {
            live: crate::policy::Sight::new(users.live().clone()),
            users,
            clients: Arc::new(Clients::new(crate::session::Limits::DEFAULT)),
            audit: Arc::new(crate::audit::Audit::off()),
            mirrors: Mirrors::new(),
            pool: Pool::new(server.settings(), leases, Arc::default()),
            draining: Cell::default(),
            room: Default::default(),
        }),
        sessions: RefCell::default(),
        settings: Arc::new(ArcSwap::from_pointee(Settings {
            listeners: Vec::new(),
            workers: 1,
            maxclients: 1,
            limits: crate::session::Limits::DEFAULT,
            handshake_timeout: Duration::from_secs(1),
            tcp_keepalive: Duration::from_secs(300),
            upstream: server.settings(),
        })),
    })
}

/// Serves a stream in a task, as `listen` does.
fn admit<S>(worker: &Rc<Worker>, stream: S, id: u64) -> tokio::task::JoinHandle<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let worker = worker.clone();
    let ends =
        Ends { client: "test".to_owned(), listener: "test".to_owned(), local: true, ..Ends::default() };
    tokio::task::spawn_local(async move {
        worker.admit(stream, SessionId(id), ends, None).await.unwrap();
    })
}

async fn get(client: &mut DuplexStream, key: &str) {
    client.write_all(format!("GET {key}\r\n").as_bytes()).await.unwrap();
    let expected = format!("${}\r\n{key}\r\n", key.len());
    let mut reply = vec![0; expected.len()];
    client.read_exact(&mut reply).await.unwrap();
    assert_eq!(String::from_utf8(reply).unwrap(), expected);
}

#[test]
fn a_session_that_panics_leaves_worker_links_and_leases_in_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let server = Server::start();
        let leases = Arc::new(Semaphore::new(4));
        let worker = worker(&server, leases.clone());
        let (mut client, stream) = tokio::io::duplex(1024);
        let honest = admit(&worker, stream, 1);
        get(&mut client, "first").await;
        // With a reply to come on the shared link; on a link of its own, in a transaction or a command that blocks.
        let ends: [&'static [u8]; 3] =
            [b"GET lost\r\nGET lost\r\n", b"MULTI\r\nGET lost\r\n", b"BLPOP lost 0\r\n"];
        for (number, bytes) in (2..).zip(ends) {
            assert!(admit(&worker, Fatal(Some(bytes)), number).await.unwrap_err().is_panic());
            get(&mut client, "mine").await;
        }
        assert_eq!(worker.sessions.borrow().len(), 1, "who panicked is gone");
        assert_eq!(worker.shared.clients.all().len(), 1);
        for _ in 0..500 {
            if leases.available_permits() == 4 && server.open() == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!((leases.available_permits(), server.open()), (4, 1), "no lease and no link is left");
        get(&mut client, "last").await;
        drop(client);
        honest.await.unwrap();
    });
}

#[test]
fn a_header_is_believed_only_from_whom_the_trust_that_asks_for_it_names() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let server = Server::start();
        let worker = worker(&server, Arc::new(Semaphore::new(4)));
        let networks = |text: &str| Networks { allow: vec![text.parse().unwrap()], deny: Vec::new() };
        for (peer, served) in [("10.0.0.5", true), ("192.0.2.9", false)] {
            // The one was accepted before a reload, when clients connected themselves.
            let proxies = Some(networks("10.0.0.5/32"));
            let trust = Trust { networks: Networks::default(), protected_mode: false, proxies };
            let door = Arc::new(Door::new(trust, "test".to_owned()));
            let (mut client, stream) = tokio::io::duplex(1024);
            let ends = Ends { address: Some(peer.parse().unwrap()), ..Ends::default() };
            let entered =
                tokio::task::spawn_local(worker.clone().enter(stream, None, door, SessionId(1), ends));
            client
                .write_all(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x02")
                .await
                .unwrap();
            client.write_all(b"GET mine\r\n").await.unwrap();
            let mut reply = Vec::new();
            client.shutdown().await.unwrap();
            client.read_to_end(&mut reply).await.unwrap();
            entered.await.unwrap().unwrap();
            assert_eq!(reply == b"$4\r\nmine\r\n", served, "{peer}: {}", reply.escape_ascii());
        }
    });
}
