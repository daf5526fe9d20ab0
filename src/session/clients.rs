//! All clients of the process: what CLIENT LIST shows of them, and how CLIENT KILL and CLIENT UNBLOCK reach them.
//!
//! A session writes down here what others may know of it: its card when that changes, some numbers once per turn. The
//! locks are for those commands alone and are never waited for on the way of a request.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::accounts::Accounts;
use super::card::{Card, Moment};
use super::limits::Limits;
use super::logins::Logins;
use super::pause::{Hold, Pause};
use super::state::{Ends, SessionId};
use crate::command::{CommandId, CommandTable};

/// The clients that are connected, by number.
pub struct Clients {
    since: Instant,
    limits: Mutex<Limits>,
    /// `maxmemory_clients` of these: it is asked for on the way of a request.
    maxmemory: AtomicUsize,
    /// Bytes that are held for all of them.
    held: AtomicUsize,
    all: Mutex<BTreeMap<u64, Arc<Client>>>,
    pause: Pause,
    logins: Logins,
    accounts: Arc<Accounts>,
}

/// One client, as others see it.
pub struct Client {
    /// Its number.
    pub id: SessionId,
    /// Where it comes from.
    pub ends: Ends,
    since: Instant,
    card: Mutex<Card>,
    /// Seconds after `since` of its last request.
    active: AtomicU64,
    /// Place of its last command in the table, plus one. The upstream may have got another table since; then a command
    /// of a module shows as another one, until the client's next.
    command: AtomicUsize,
    /// Bytes of requests that are not handled yet, and of replies that it has not read.
    input: AtomicUsize,
    output: AtomicUsize,
    /// Bytes that count as held for it.
    held: AtomicUsize,
    evicted: AtomicBool,
    blocked: AtomicBool,
    paused: AtomicBool,
    killed: AtomicBool,
    unblock: AtomicU8,
    task: OnceLock<Waker>,
}

/// What a turn of the session's loop tells about it.
#[derive(Clone, Copy, Default)]
pub(super) struct Turn {
    /// It has handled a request.
    pub(super) active: bool,
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) blocked: bool,
    /// CLIENT PAUSE holds its next command back.
    pub(super) paused: bool,
}

/// How CLIENT UNBLOCK ends a command that blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unblock {
    /// With an error.
    Error,
    /// As if its time were over.
    Timeout,
}

impl Unblock {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Unblock::Error => "ERROR",
            Unblock::Timeout => "TIMEOUT",
        }
    }
}

/// A client's place in the list, until it is dropped.
pub(super) struct Seat {
    clients: Arc<Clients>,
    client: Arc<Client>,
}

/// What is held for a client counts in steps of so many bytes, so that small requests and replies cost nothing.
const GRAIN: usize = 4096;

impl Clients {
    /// Nobody yet.
    pub fn new(limits: Limits) -> Self {
        Clients {
            since: Instant::now(),
            limits: Mutex::new(limits),
            maxmemory: AtomicUsize::new(limits.maxmemory_clients),
            held: AtomicUsize::default(),
            all: Mutex::default(),
            pause: Pause::default(),
            logins: Logins::new(limits.login_backoff),
            accounts: Arc::default(),
        }
    }

    /// What they are held to.
    pub fn limits(&self) -> Limits {
        *lock(&self.limits)
    }

    /// Holds them to other limits: for what they have not read, those who connect from now on.
    pub fn set_limits(&self, limits: Limits) {
        *lock(&self.limits) = limits;
        self.maxmemory.store(limits.maxmemory_clients, Ordering::Relaxed);
        self.logins.set_backoff(limits.login_backoff);
    }

    /// Their failed logins.
    pub(super) fn logins(&self) -> &Logins {
        &self.logins
    }

    /// What each user has.
    pub(super) fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Bytes that are held for all of them, but for less than a page of each.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Time since the process began to take clients.
    pub fn uptime(&self) -> Duration {
        self.since.elapsed()
    }

    /// Takes in a client that has just connected.
    pub(super) fn enter(self: &Arc<Self>, id: SessionId, ends: Ends) -> Seat {
        let client = Arc::new(Client {
            id,
            ends,
            since: Instant::now(),
            card: Mutex::default(),
            active: AtomicU64::default(),
            command: AtomicUsize::default(),
            input: AtomicUsize::default(),
            output: AtomicUsize::default(),
            held: AtomicUsize::default(),
            evicted: AtomicBool::default(),
            blocked: AtomicBool::default(),
            paused: AtomicBool::default(),
            killed: AtomicBool::default(),
            unblock: AtomicU8::default(),
            task: OnceLock::new(),
        });
        lock(&self.all).insert(id.0, client.clone());
        Seat { clients: self.clone(), client }
    }

    /// All clients but those that were killed, the oldest first.
    pub fn all(&self) -> Vec<Arc<Client>> {
        lock(&self.all).values().filter(|client| !client.is_killed()).cloned().collect()
    }

    /// CLIENT PAUSE: for so many milliseconds, of all commands or of those that write.
    pub fn pause(&self, milliseconds: u64, all: bool) {
        let now = self.now();
        self.pause.begin(now, now.saturating_add(milliseconds), all);
    }

    /// CLIENT UNPAUSE, from any thread.
    pub fn unpause(&self) {
        self.pause.end();
        self.all().iter().for_each(|client| client.wake());
    }

    /// What CLIENT PAUSE holds back now, and for how long.
    pub(super) fn hold(&self) -> (Hold, Duration) {
        if self.pause.is_set() { self.pause.hold(self.now()) } else { (Hold::Nothing, Duration::ZERO) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends the clients that hold most until the others hold no more than is allowed. Spared are those who asked for it
    /// (CLIENT NO-EVICT), as in Redis.
    fn evict(&self) {
        let mut held: Vec<_> = self.all().into_iter().map(|client| (client.held(), client)).collect();
        let mut total = held.iter().map(|(held, _)| *held).fold(0, usize::saturating_add);
        held.sort_unstable_by_key(|(held, client)| (Reverse(*held), client.id.0));
        for (held, client) in held {
            if total <= self.maxmemory.load(Ordering::Relaxed) || held == 0 {
                return;
            }
            if lock(&client.card).no_evict {
                continue;
            }
            total = total.saturating_sub(held);
            client.evicted.store(true, Ordering::Relaxed);
            client.kill();
        }
    }

    /// The client of this number, unless it was killed.
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        lock(&self.all).get(&id).filter(|client| !client.is_killed()).cloned()
    }
}

impl Seat {
    /// The client.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// So many bytes are held for the client now. May end the largest clients, this one perhaps.
    pub(super) fn hold(&self, bytes: usize) {
        let bytes = bytes.saturating_sub(bytes.checked_rem(GRAIN).unwrap_or_default());
        let before = self.client.held();
        if bytes == before {
            return;
        }
        self.client.held.store(bytes, Ordering::Relaxed);
        let clients = &self.clients;
        if bytes < before {
            clients.held.fetch_sub(before.saturating_sub(bytes), Ordering::Relaxed);
            return;
        }
        let more = bytes.saturating_sub(before);
        let all = clients.held.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        if (1..all).contains(&clients.maxmemory.load(Ordering::Relaxed)) {
            clients.evict();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hold(0);
        lock(&self.clients.all).remove(&self.client.id.0);
    }
}

// === impl Client ===

impl Client {
    /// What it was last seen to be.
    pub fn card(&self) -> Card {
        lock(&self.card).clone()
    }

    /// Whether it has subscriptions.
    pub fn is_subscriber(&self) -> bool {
        lock(&self.card).is_subscriber()
    }

    /// Seconds since it connected.
    pub fn age(&self) -> u64 {
        self.since.elapsed().as_secs()
    }

    /// Bytes that are held for it.
    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether it was ended because all clients together held too much.
    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Whether a command of it may be waiting for another client.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Ends it, from any thread.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.wake();
    }

    /// Ends its command that blocks, if it is still blocked when it hears of it; from any thread.
    pub fn unblock(&self, how: Unblock) {
        let how = match how {
            Unblock::Error => 1,
            Unblock::Timeout => 2,
        };
        self.unblock.store(how, Ordering::Release);
        self.wake();
    }

    /// One line about it, as CLIENT LIST has it.
    pub fn line(&self, table: &CommandTable) -> String {
        let place = self.command.load(Ordering::Relaxed).checked_sub(1);
        let spec = place.and_then(|place| table.specs().get(place));
        let age = self.age();
        let moment = Moment {
            age,
            idle: age.saturating_sub(self.active.load(Ordering::Relaxed)),
            input: self.input.load(Ordering::Relaxed),
            output: self.output.load(Ordering::Relaxed),
            blocked: self.is_blocked() || self.paused.load(Ordering::Relaxed),
            command: spec.map_or("NULL", |spec| &spec.name),
        };
        lock(&self.card).line(self.id, &self.ends, moment)
    }

    /// Whether [`Client::kill`] was called.
    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// What [`Client::unblock`] was called for since the last time.
    pub(super) fn take_unblock(&self) -> Option<Unblock> {
        // Nearly always nothing: a load costs less than a swap.
        if self.unblock.load(Ordering::Relaxed) == 0 {
            return None;
        }
        match self.unblock.swap(0, Ordering::Acquire) {
            1 => Some(Unblock::Error),
            2 => Some(Unblock::Timeout),
            _ => None,
        }
    }

    /// Remembers whom to wake: a task keeps its waker as long as it lives.
    pub(super) fn register(&self, task: &Waker) {
        self.task.get_or_init(|| task.clone());
    }

    /// Writes down what a turn of the session's loop has changed.
    pub(super) fn note(&self, turn: Turn, command: Option<CommandId>) {
        if turn.active {
            self.active.store(self.age(), Ordering::Relaxed);
            self.command.store(command.map_or(0, |id| id.index().saturating_add(1)), Ordering::Relaxed);
        }
        self.input.store(turn.input, Ordering::Relaxed);
        self.output.store(turn.output, Ordering::Relaxed);
        self.blocked.store(turn.blocked, Ordering::Relaxed);
        self.paused.store(turn.paused, Ordering::Relaxed);
    }

    /// Writes down what others may know from now on.
    pub(super) fn show(&self, card: Card) {
        *lock(&self.card) = card;
    }

    fn wake(&self) {
        // Without a task it has not begun, and will look by itself.
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }
}

/// Whoever panicked with one of these locks has left a whole value behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
