//! Listeners, TLS, workers, limits, and the orderly end.
//!
//! One acceptor a listener, on the main thread, places each client on the worker with the fewest clients. What
//! happens to the client from then on happens on that worker alone.

mod certificate;
mod descriptors;
mod listener;
mod proxy_header;
pub mod tls;
mod trust;
mod worker;

pub use listener::{Bind, TlsSlot};
pub use proxy_header::LOCAL as LOCAL_PROXY_HEADER;
use trust::Door;
pub use trust::Trust;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, Semaphore, mpsc};
use tracing::{error, warn};

use crate::audit::Audit;
use crate::session::{self, SessionId};
use crate::upstream::{self, Mirrors};
use crate::users::Users;
use listener::{Accepted, Listener};
use worker::{Arrival, Common, Message, Ticket};

/// Pause after the system refused to accept (no file descriptors left, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time between two log lines about that.
const SHORTAGE_TOLD: Duration = Duration::from_secs(10);

/// Time for the log to say why the process ends.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// How long before the end of a drain sessions that keep a transaction open are closed.
const FIRM_DRAIN: Duration = Duration::from_secs(1);

/// Redis' text for a client over `maxclients`. On TLS listeners the connection is just closed, as in Redis: nothing
/// is worth a handshake that is to be refused.
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";

/// What a server needs to know.
#[derive(Clone)]
pub struct Settings {
    /// At least one.
    pub listeners: Vec<ListenerSettings>,
    /// Number of worker threads, at least 1.
    pub workers: usize,
    /// Clients at the same time.
    pub maxclients: usize,
    /// Bytes that may wait for clients.
    pub limits: session::Limits,
    /// Time for a TLS handshake, and for a PROXY protocol header before it.
    pub handshake_timeout: Duration,
    /// A client that is silent for so long is asked whether it is still there; zero for never.
    pub tcp_keepalive: Duration,
    /// The upstream of all workers.
    pub upstream: upstream::Settings,
}

/// One address to listen on.
#[derive(Clone)]
pub struct ListenerSettings {
    /// The address.
    pub bind: Bind,
    /// Permissions of a Unix socket.
    pub unix_mode: u32,
    /// TLS; without it the listener is plain.
    pub tls: Option<TlsSlot>,
    /// Who may connect.
    pub trust: Trust,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address could not be bound.
    Bind(Bind, io::Error),
    /// The audit log could not be opened.
    Audit(io::Error),
    /// The system does not let us receive signals.
    Signals(io::Error),
    /// A worker's thread could not be started, or the system has nothing left for what it needs.
    Worker(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Bind(bind, error) => write!(f, "cannot listen on {bind}: {error}"),
            StartError::Audit(error) => write!(f, "cannot open the audit log: {error}"),
            StartError::Signals(error) => write!(f, "cannot receive signals: {error}"),
            StartError::Worker(error) => write!(f, "cannot start a worker: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A running server. Dropping it stops accepting; [`Server::drain`] ends it in order.
pub struct Server {
    doors: Vec<Arc<Door>>,
    settings: Arc<ArcSwap<Settings>>,
    clients: Arc<session::Clients>,
    acceptors: Vec<tokio::task::JoinHandle<()>>,
    addresses: Vec<Bind>,
    workers: Arc<Vec<Handle>>,
    threads: Vec<JoinHandle<()>>,
}

/// The acceptor's side of one worker.
struct Handle {
    messages: mpsc::UnboundedSender<Message>,
    clients: Arc<AtomicUsize>,
}

impl Server {
    /// Binds all listeners, then starts the workers. Must run inside a `LocalSet`.
    ///
    /// # Errors
    /// The first address that cannot be bound, or a worker that cannot be started; nothing keeps running then.
    pub fn start(
        settings: &Settings,
        users: &Arc<Users>,
        audit: &Arc<Audit>,
        mirrors: &Arc<Mirrors>,
        on_up: &Arc<Notify>,
    ) -> Result<Server, StartError> {
        let mut listeners = Vec::new();
        for listener in &settings.listeners {
            let bound = Listener::bind(listener, settings.tcp_keepalive);
            listeners.push(bound.map_err(|error| StartError::Bind(listener.bind.clone(), error))?);
        }
        let clients = Arc::new(session::Clients::new(settings.limits));
        let in_force = Arc::new(ArcSwap::from_pointee(descriptors::fit(settings.clone())));
        let common = Common {
            settings: in_force.clone(),
            clients: clients.clone(),
            audit: audit.clone(),
            leases: Arc::new(Semaphore::new(settings.upstream.max_leased)),
            mirrors: mirrors.clone(),
            on_up: on_up.clone(),
        };
        let mut workers = Vec::new();
        let mut threads = Vec::new();
        let (ready, are_ready) = std::sync::mpsc::channel();
        for number in 0..settings.workers.max(1) {
            let (messages, inbox) = mpsc::unbounded_channel();
            let (users, common, ready) = (users.clone(), common.clone(), ready.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || worker::run(users, common, inbox, &ready))
                .map_err(StartError::Worker)?;
            threads.push(thread);
            workers.push(Handle { messages, clients: Arc::default() });
        }
        for _ in &workers {
            // None of them drops its end before it has said how it is.
            let is_ready = are_ready.recv().unwrap_or_else(|error| Err(io::Error::other(error)));
            is_ready.map_err(StartError::Worker)?;
        }
        let workers = Arc::new(workers);
        let doors = listeners.iter().map(|listener| listener.door.clone()).collect();
        let addresses = listeners.iter().map(|listener| listener.bind.clone()).collect();
        let places = Places { settings: in_force.clone(), now: Arc::default(), next_id: Arc::default() };
        let acceptors = listeners
            .into_iter()
            .enumerate()
            .map(|(number, listener)| {
                tokio::task::spawn_local(accept(number, listener, workers.clone(), places.clone()))
            })
            .collect();
        Ok(Server { doors, settings: in_force, clients, acceptors, addresses, workers, threads })
    }

    /// The bound addresses, in the order of the settings.
    pub fn addresses(&self) -> &[Bind] {
        &self.addresses
    }

    /// Puts into force what can change while the server runs; nothing else of `settings` may differ from those that it
    /// was started with. `maxmemory_clients` holds at once, all else from the next connection on. The upstream stays: see
    /// [`Server::renew_upstream`].
    pub fn take(&self, settings: &Settings) {
        let now = self.settings.load();
        for (old, new) in now.listeners.iter().zip(&settings.listeners) {
            if let (Some(old), Some(new)) = (&old.tls, &new.tls) {
                old.replace_by(new);
            }
        }
        for (door, new) in self.doors.iter().zip(&settings.listeners) {
            door.trust.store(Arc::new(new.trust.clone()));
        }
        self.clients.set_limits(settings.limits);
        let (listeners, upstream) = (now.listeners.clone(), now.upstream.clone());
        let settings = Settings { listeners, upstream, ..settings.clone() };
        self.settings.store(Arc::new(descriptors::fit(settings)));
    }

    /// Has all links to come made with these settings, those that there are drain.
    pub fn renew_upstream(&self, upstream: &upstream::Settings) {
        tell(&self.workers, || Message::Upstream(Box::new(upstream.clone())));
    }

    /// A function that lets every session look at the policy again, from any thread.
    pub fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let workers = self.workers.clone();
        move || tell(&workers, || Message::Wake)
    }

    /// Stops accepting and waits until every session has answered what it owes, `timeout` at most. True if none was
    /// cut off.
    pub async fn drain(self, timeout: Duration) -> bool {
        self.stop_accepting();
        let patience = timeout.saturating_sub(FIRM_DRAIN).max(timeout.checked_div(2).unwrap_or_default());
        tell(&self.workers, || Message::Drain(patience));
        let ended = async {
            while !self.threads.iter().all(JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(timeout, ended).await.is_ok()
    }

    fn stop_accepting(&self) {
        self.acceptors.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_accepting();
    }
}

fn tell(workers: &[Handle], message: impl Fn() -> Message) {
    for worker in workers {
        // A worker that is gone has nobody left to tell.
        let _ = worker.messages.send(message());
    }
}

#[derive(Clone)]
struct Places {
    settings: Arc<ArcSwap<Settings>>,
    now: Arc<AtomicUsize>,
    next_id: Arc<AtomicU64>,
}

/// `number` is that of the listener in the configuration.
async fn accept(number: usize, listener: Listener, workers: Arc<Vec<Handle>>, places: Places) {
    let mut told: Option<tokio::time::Instant> = None;
    loop {
        let accepted = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if descriptors::is_shortage(&error) {
                    // Without descriptors it fails between all clients that come and go.
                    if told.is_none_or(|told| told.elapsed() >= SHORTAGE_TOLD) {
                        told = Some(tokio::time::Instant::now());
                        warn!(listener = %listener.bind, %error, "cannot accept clients for now");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        if !listener.door.admits_peer(&listener.door.trust.load(), accepted.peer()) {
            // Without a word, before anything is spent on them: strangers need not learn what is here.
            continue;
        }
        if places.now.load(Ordering::Relaxed) >= places.settings.load().maxclients {
            refuse(accepted, listener.tls.is_some()).await;
            continue;
        }
        // A worker ends before the acceptors only by a bug; the others go on.
        let open = workers.iter().filter(|worker| !worker.messages.is_closed());
        let Some(worker) = open.min_by_key(|worker| worker.clients.load(Ordering::Relaxed)) else {
            error!(listener = %listener.bind, "no worker is left that could serve clients: redkeep ends");
            tokio::time::sleep(LAST_WORDS).await;
            std::process::exit(1);
        };
        let id = SessionId(places.next_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        let ticket = Ticket::new(&[&places.now, &worker.clients]);
        let arrival = Arrival {
            accepted,
            tls: listener.tls.clone(),
            door: listener.door.clone(),
            listener: listener.bind.to_string(),
            number,
            id,
            ticket,
        };
        if worker.messages.send(Message::Serve(arrival)).is_err() {
            error!(listener = %listener.bind, "a client is closed, since its worker has just ended");
        }
    }
}

/// One short write into an empty socket buffer; whoever does not take it goes without.
async fn refuse(accepted: Accepted, tls: bool) {
    if tls {
        return;
    }
    let written = match accepted {
        Accepted::Tcp(stream, _) => match listener::tcp(stream) {
            Ok(mut stream) => stream.write_all(TOO_MANY).await,
            Err(error) => Err(error),
        },
        Accepted::Unix(stream) => match listener::unix(stream) {
            Ok(mut stream) => stream.write_all(TOO_MANY).await,
            Err(error) => Err(error),
        },
    };
    let _ = written;
}
