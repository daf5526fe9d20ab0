//! One worker: a thread, a single-threaded runtime, its sessions and its links. Nothing on the way of a request
//! leaves it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::LocalSet;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

use super::listener::{Accepted, TlsSlot, tcp, unix};
use super::trust::Door;
use super::{Settings, certificate, proxy_header};
use crate::audit::{Audit, Level, Record, Verdict};
use crate::policy::Sight;
use crate::session::{Clients, Draining, Ends, Outbox, Session, SessionId, Shared};
use crate::upstream::{self, Mirrors, Pool};
use crate::users::Users;

/// What Redis tells a client whom protected mode refuses, word for word.
const PROTECTED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is enabled and no \
password is set for the default user. In this mode connections are only accepted from the loopback interface. If you \
want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable \
protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis \
from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do \
so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by \
editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. \
3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a \
an authentication password for the default user. NOTE: You only need to do one of the above things in order for the \
server to start accepting connections from the outside.\r\n";

/// What protected mode tells a client of another machine on a listener without TLS. Redis has no such rule: its text
/// would send people for the wrong setting.
const PROTECTED_PLAIN: &[u8] = b"-DENIED Redkeep is running in protected mode, and this listener has no TLS: passwords \
and data would travel in clear, so connections are only accepted from the loopback interface. Connect by a listener \
with TLS, or from the host of Redkeep. Who runs Redkeep can give this listener a 'tls' block, or 'protected_mode: no' \
if the network may be trusted.\r\n";

/// What the acceptor and the composition root tell a worker.
pub(super) enum Message {
    /// Serve this client.
    Serve(Arrival),
    /// The policy has changed: let every session look.
    Wake,
    /// Make links to come with these settings.
    Upstream(Box<upstream::Settings>),
    /// End all sessions as soon as they owe no reply; those that keep a transaction open may finish it for so long.
    Drain(Duration),
}

/// A client that was placed on this worker.
pub(super) struct Arrival {
    pub(super) accepted: Accepted,
    pub(super) tls: Option<TlsSlot>,
    pub(super) door: Arc<Door>,
    pub(super) listener: String,
    /// The number of the listener in the configuration.
    pub(super) number: usize,
    pub(super) id: SessionId,
    /// Counts the client as long as it lives.
    pub(super) ticket: Ticket,
}

/// One client in the process' and the worker's count, until it is dropped.
pub(super) struct Ticket(Vec<Arc<AtomicUsize>>);

impl Ticket {
    pub(super) fn new(counters: &[&Arc<AtomicUsize>]) -> Self {
        counters.iter().for_each(|counter| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        Ticket(counters.iter().map(|counter| Arc::clone(counter)).collect())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        for counter in &self.0 {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

struct Worker {
    shared: Rc<Shared>,
    sessions: RefCell<HashMap<SessionId, Rc<Outbox>>>,
    settings: Arc<ArcSwap<Settings>>,
}

/// What the workers have in common, beside the users.
#[derive(Clone)]
pub(super) struct Common {
    /// In force; what the listeners and the upstream are is read elsewhere.
    pub(super) settings: Arc<ArcSwap<Settings>>,
    pub(super) clients: Arc<Clients>,
    pub(super) audit: Arc<Audit>,
    /// Permits for leased links.
    pub(super) leases: Arc<Semaphore>,
    /// As whom scripts of restricted users run.
    pub(super) mirrors: Arc<Mirrors>,
    /// Told whenever a shared link came up.
    pub(super) on_up: Arc<Notify>,
}

/// The body of a worker's thread. Says whether it is `ready`, or why it cannot be. Returns when it was told to drain and
/// all sessions have ended, or when nobody can tell it anything any more.
pub(super) fn run(
    users: Arc<Users>,
    common: Common,
    messages: mpsc::UnboundedReceiver<Message>,
    ready: &std::sync::mpsc::Sender<std::io::Result<()>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Whoever does not hear it has given up already.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let worker = Rc::new(Worker {
            shared: Rc::new(Shared {
                live: Sight::new(users.live().clone()),
                users,
                clients: common.clients,
                audit: common.audit,
                mirrors: common.mirrors,
                pool: Pool::new(common.settings.load().upstream.clone(), common.leases, common.on_up),
                draining: Cell::default(),
                room: Default::default(),
            }),
            sessions: RefCell::default(),
            settings: common.settings,
        });
        worker.shared.pool.warm();
        worker.listen(messages).await;
    });
}

impl Worker {
    async fn listen(self: &Rc<Self>, mut messages: mpsc::UnboundedReceiver<Message>) {
        while let Some(message) = messages.recv().await {
            match message {
                Message::Serve(arrival) => {
                    let worker = self.clone();
                    tokio::task::spawn_local(async move { worker.serve(arrival).await });
                }
                Message::Wake => {
                    self.shared.pool.end_retired();
                    self.wake_all();
                }
                Message::Upstream(settings) => self.shared.pool.renew(*settings),
                Message::Drain(patience) => {
                    self.drain(Draining::Kindly, patience).await;
                    return self.drain(Draining::Firmly, Duration::MAX).await;
                }
            }
        }
    }

    fn wake_all(&self) {
        self.sessions.borrow().values().for_each(|outbox| outbox.wake());
    }

    /// Ends sessions until there are none, or the time is over.
    async fn drain(&self, how: Draining, at_most: Duration) {
        self.shared.draining.set(how);
        self.wake_all();
        let begin = tokio::time::Instant::now();
        // Sessions leave at their own reply boundaries; nothing wakes us for that, and a drain is rare.
        while !self.sessions.borrow().is_empty() && begin.elapsed() < at_most {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn serve(self: Rc<Self>, arrival: Arrival) {
        let Arrival { accepted, tls, door, listener, number, id, ticket } = arrival;
        let counted = ticket;
        // Boxed, as all stages are: a task is as large as the largest future in it, and most clients are idle.
        let served = match accepted {
            Accepted::Tcp(stream, peer) => {
                let listener = stream.local_addr().map_or(listener, |address| address.to_string());
                let ends = Ends {
                    client: peer.to_string(),
                    address: Some(peer.ip()),
                    listener,
                    listener_number: number,
                    fd: stream.as_raw_fd(),
                    local: is_loopback(peer.ip()),
                    ..Ends::default()
                };
                match tcp(stream) {
                    Ok(stream) => Box::pin(self.clone().enter(stream, tls, door, id, ends)).await,
                    Err(error) => Err(error),
                }
            }
            Accepted::Unix(stream) => {
                // Redis shows the path of a Unix socket for both ends.
                let path = format!("{}:0", listener.trim_start_matches("unix:"));
                let fd = stream.as_raw_fd();
                let ends = Ends {
                    client: path.clone(),
                    listener: path,
                    listener_number: number,
                    fd,
                    unix: true,
                    local: true,
                    ..Ends::default()
                };
                match unix(stream) {
                    Ok(stream) => Box::pin(self.clone().enter(stream, tls, door, id, ends)).await,
                    Err(error) => Err(error),
                }
            }
        };
        if let Err(error) = served {
            debug!(%error, "client did not get in");
        }
        drop(counted);
    }

    /// Finds out for whom the connection is: from here on `ends` has the client's own address.
    async fn enter<S: AsyncRead + AsyncWrite + Unpin>(
        self: Rc<Self>,
        mut stream: S,
        tls: Option<TlsSlot>,
        door: Arc<Door>,
        id: SessionId,
        mut ends: Ends,
    ) -> std::io::Result<()> {
        let trust = door.trust.load_full();
        // SECURITY: a reload may have come since the connection was accepted, so the same trust that asks for a header
        // says who may send one.
        if !door.admits_peer(&trust, ends.address) {
            return Ok(());
        }
        if trust.proxies.is_some() {
            let header = tokio::time::timeout(self.handshake_timeout(), proxy_header::read(&mut stream));
            if let Some(client) = header.await?? {
                ends = Ends {
                    client: client.to_string(),
                    address: Some(client.ip()),
                    local: is_loopback(client.ip()),
                    unix: false,
                    ..ends
                };
            }
            if !door.admits(&trust, ends.address) {
                return Ok(());
            }
        }
        let protected = trust.protected_mode;
        match tls {
            Some(tls) => {
                let stream = self.handshake(stream, &tls).await?;
                let (_, connection) = stream.get_ref();
                if let Some(leaf) = connection.peer_certificates().and_then(<[_]>::first) {
                    // SECURITY: a certificate that only the library for TLS can read may say something else than was
                    // verified.
                    let read = certificate::read(leaf).map_err(std::io::Error::other)?;
                    ends.certificate_text = Some(read.to_string().into());
                    ends.certificate = Some(Arc::new(read));
                }
                Box::pin(self.admit(stream, id, ends, protected.then_some(Protected::Encrypted))).await
            }
            None => Box::pin(self.admit(stream, id, ends, protected.then_some(Protected::Plain))).await,
        }
    }

    fn handshake_timeout(&self) -> Duration {
        self.settings.load().handshake_timeout
    }

    async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        tls: &TlsSlot,
    ) -> std::io::Result<Box<TlsStream<S>>> {
        let handshake = tokio_rustls::TlsAcceptor::from(tls.load()).accept(stream);
        Ok(Box::new(Box::pin(tokio::time::timeout(self.handshake_timeout(), handshake)).await??))
    }

    /// Serves a client whose connection stands. `protected`: what sort of listener it came by, if protected mode is on
    /// there.
    async fn admit<S: AsyncRead + AsyncWrite + Unpin>(
        self: Rc<Self>,
        mut stream: S,
        id: SessionId,
        ends: Ends,
        protected: Option<Protected>,
    ) -> std::io::Result<()> {
        if let Some(text) = protected.and_then(|protected| self.refusal(protected, &ends)) {
            self.record_refused(id, &ends);
            stream.write_all(text).await?;
            return stream.shutdown().await;
        }
        let certificate = ends.certificate.clone();
        let session = Box::new(Session::new(stream, id, ends, self.shared.clone()));
        self.sessions.borrow_mut().insert(id, session.outbox().clone());
        let _listed = Listed { worker: self.clone(), id };
        let Some(certificate) = certificate else {
            session.run().await;
            return Ok(());
        };
        // Boxed: most clients show no certificate, and shall not cost what those do.
        let mut session = Box::pin(session.run());
        tokio::select! {
            () = &mut session => return Ok(()),
            () = Box::pin(certificate::expiry(&certificate)) => {}
        }
        info!(%certificate, "the certificate of a client has expired: its session ends");
        if let Some(client) = self.shared.clients.get(id.0) {
            client.kill();
        }
        session.await;
        Ok(())
    }

    /// What protected mode tells this client, if it is not served.
    fn refusal(&self, protected: Protected, ends: &Ends) -> Option<&'static [u8]> {
        if ends.local {
            return None;
        }
        // Redis asks for the default user's password only, whether that user is on or off.
        if self.shared.live.load().user(b"default").is_none_or(|user| user.is_nopass()) {
            return Some(PROTECTED);
        }
        matches!(protected, Protected::Plain).then_some(PROTECTED_PLAIN)
    }

    /// Records a client whom protected mode refuses.
    fn record_refused(&self, id: SessionId, ends: &Ends) {
        let audit = &self.shared.audit;
        if audit.level() > Level::Off {
            let common = ends.record(Verdict::Denied, self.shared.live.load().generation());
            let record = Record { session: Some(id.0), reason: Some("protected_mode"), ..common };
            // It is refused in any case; if the line cannot be taken, it is counted.
            let _ = audit.push(&audit.line(&record));
        }
    }
}

/// The listener of a client, where protected mode is on.
#[derive(Clone, Copy)]
enum Protected {
    Encrypted,
    Plain,
}

/// Keeps a session in its worker's list, until it is dropped: also when the session's task panics.
struct Listed {
    worker: Rc<Worker>,
    id: SessionId,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.worker.sessions.borrow_mut().remove(&self.id);
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests;
