//! One client: its state, and the loop that reads requests, has each judged, and writes replies in order.
//!
//! `step` decides, this file does: it is the only place of the layer that touches sockets and links. Redis' order of
//! replies holds because a session uses one link at a time: before it changes to another one (another database,
//! protocol, or a link of its own), all its earlier requests are answered.

mod accounts;
mod auth;
mod blocked;
mod card;
mod clients;
mod deadlines;
mod execution;
mod fence;
mod forward;
mod handle;
mod limits;
mod links;
mod local;
mod logins;
mod mirrored;
mod monitor;
mod pause;
mod pubsub;
mod queue;
mod record;
mod replication;
mod replies;
mod rewrite;
mod row;
mod state;
mod step;
mod tend;
mod tracking;
mod transaction;
mod unblock;

pub use accounts::{Accounts, Place};
pub use clients::Clients;
pub use limits::{Limits, OutputLimit};
pub use pause::Hold;
pub use pubsub::Subscriptions;
pub use queue::{Entry, Part, Queue};
pub use replies::Outbox;
pub use state::{Ends, SessionId, State, Transaction};
pub use step::{Action, Route, Then, step};
pub use transaction::Plan;

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tracing::debug;

use crate::audit::{Audit, Verdict};
use crate::policy::{LastName, Sight};
use crate::resp::{self, RequestBuf, Scanner, encode};
use crate::upstream::{Mirrors, Pool, TURN_BYTES, give_way};
use crate::users::Users;
use blocked::Blocked;
use card::Card;
use clients::{Seat, Turn};
use deadlines::Deadlines;
use execution::Execution;
use handle::Stop;
use links::Links;
use pause::Alarm;
use record::Recorder;
use rewrite::QueueWitness;
use unblock::Unblocking;

/// Space for one read from the client.
const READ_BYTES: usize = 16 * 1024;

/// Time for the orderly end of a connection whose client may not read any more.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A session that waits for replies reads on up to here, to notice that its client has gone.
const MAX_READ_AHEAD_BYTES: usize = 64 * 1024;

/// What all sessions of a worker share.
pub struct Shared {
    /// The policy in force.
    pub live: Sight,
    /// The users, for those who may change them.
    pub users: Arc<Users>,
    /// The clients of all workers.
    pub clients: Arc<Clients>,
    /// The audit stream of all workers.
    pub audit: Arc<Audit>,
    /// As whom scripts of restricted users run.
    pub mirrors: Arc<Mirrors>,
    /// The worker's links.
    pub pool: Pool,
    /// Whether the worker drains: sessions end as soon as they owe no reply.
    pub draining: Cell<Draining>,
    /// Room to read into, for whoever's turn it is.
    pub room: Room,
}

/// One buffer to read into for all sessions of a worker: whoever waits without an unfinished request has none, so that
/// an idle client costs no such memory, and reading takes none from the system.
#[derive(Default)]
pub struct Room(Cell<BytesMut>);

impl Room {
    fn take(&self) -> BytesMut {
        self.0.take()
    }

    /// Keeps an empty buffer for the next, unless a large request has made it large.
    fn give(&self, buffer: BytesMut) {
        if (READ_BYTES..=MAX_READ_AHEAD_BYTES).contains(&buffer.capacity()) {
            self.0.set(buffer);
        }
    }
}

/// How a worker drains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Draining {
    /// Who has begun a request, keeps a transaction open or watches a key may finish that.
    Kindly,
    /// They may not any more.
    Firmly,
    /// It does not drain.
    #[default]
    No,
}

impl Draining {
    /// Whether the worker drains.
    pub fn is_on(self) -> bool {
        self != Draining::No
    }
}

/// One client's session on the byte stream `S` (TCP, TLS or Unix socket).
pub struct Session<S> {
    stream: S,
    shared: Rc<Shared>,
    state: State,
    seat: Seat,
    /// What others may know of the session has changed, or may have.
    unseen: bool,
    input: BytesMut,
    scanner: Scanner,
    /// What the last plain request called itself.
    last: LastName,
    /// The request as it is forwarded, where that is not what the client sent.
    scratch: RequestBuf,
    /// Room for a reply of Redkeep's own.
    reply: BytesMut,
    outbox: Rc<Outbox>,
    witness: Rc<QueueWitness>,
    links: Links,
    /// What blocks, or may.
    blocked: Blocked,
    /// The command that blocks is being ended.
    unblocking: Option<Unblocking>,
    /// The transaction of which Redkeep itself has something to do when its reply is there.
    execution: Option<Execution>,
    /// Rings when a pause may be over.
    alarm: Alarm,
    /// When a login may be tried, and whether that turn was given for certain.
    login_due: Option<(Instant, bool)>,
    deadlines: Deadlines,
    /// What the scanner holds requests to: of who is logged in, and of strangers.
    bounds: [resp::Limits; 2],
    /// Length of a request that was scanned but has to wait.
    waiting: Option<usize>,
    /// The request that is being handled, if it is large; then it is not in `input` any more.
    whole: Option<Bytes>,
    input_ended: bool,
    closing: bool,
    /// The client has not taken all that was written.
    unflushed: bool,
    /// When the session is woken to see whether its client has read.
    watched: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// A session for a client that has just connected.
    pub fn new(stream: S, id: SessionId, ends: Ends, shared: Rc<Shared>) -> Self {
        let seat = shared.clients.enter(id, ends.clone());
        let policy = shared.live.load();
        let mut state = State::of_nobody(id, ends, &policy);
        state.recorder = Recorder::new(&shared.audit);
        state.record_life(Verdict::Connected);
        state.begin(&policy);
        let closing = !state.count_in(shared.clients.accounts(), &policy);
        drop(policy);
        handle::log_notes(&mut state, &shared);
        let limits = shared.clients.limits();
        let outbox = Rc::new(Outbox::new(limits));
        if closing {
            let mut reply = BytesMut::new();
            encode::error(&mut reply, accounts::FULL.as_bytes());
            outbox.reply(&mut reply);
        }
        Session {
            stream,
            shared,
            state,
            seat,
            unseen: true,
            input: BytesMut::new(),
            scanner: Scanner::default(),
            last: LastName::default(),
            scratch: RequestBuf::default(),
            reply: BytesMut::new(),
            witness: Rc::new(QueueWitness::new(outbox.clone())),
            outbox,
            links: Links::default(),
            blocked: Blocked::default(),
            unblocking: None,
            execution: None,
            alarm: Alarm::default(),
            login_due: None,
            deadlines: Deadlines::default(),
            bounds: [limits.of_strangers(), limits.of_requests()],
            waiting: None,
            whole: None,
            input_ended: false,
            closing,
            unflushed: false,
            watched: None,
        }
    }

    /// Where replies gather; its [`Outbox::wake`] makes the session look at policy and draining again.
    pub fn outbox(&self) -> &Rc<Outbox> {
        &self.outbox
    }

    /// Serves the client until it goes, breaks the protocol, or is told to go.
    pub async fn run(mut self: Box<Self>) {
        let served = std::future::poll_fn(|cx| self.poll(cx)).await;
        if let Err(error) = served {
            debug!(client = self.state.ends.client, %error, "connection to the client failed");
        }
        self.state.record_end();
        self.outbox.close();
        self.seat.hold(0);
        self.state.place = None;
        self.links.end_leases(&self.shared.pool);
        // An orderly end (TLS close_notify, FIN); the client may be gone already, or never read again.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, self.stream.shutdown()).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut taken: usize = 0;
        loop {
            self.outbox.register(cx.waker());
            self.seat.client().register(cx.waker());
            let unhandled = self.input.len();
            let stop = self.handle_input();
            self.show(self.input.len() < unhandled, matches!(stop, Stop::Held(_)));
            let flushed = self.poll_flush(cx)?;
            self.unflushed = flushed.is_pending();
            self.seat.hold(self.held());
            if self.outbox.is_closed() {
                // Who was told to end does not wait for its client.
                return Poll::Ready(Ok(()));
            }
            let held = matches!(stop, Stop::Held(_) | Stop::Slowed(_));
            if self.input_ended && (held || self.is_blocked() || self.links.is_waiting()) {
                // Nobody waits for the reply of the blocked command any more, and it must not take effect later.
                return Poll::Ready(Ok(()));
            }
            let over = self.closing || (self.input_ended && stop == Stop::NeedsInput);
            if over && self.outbox.is_settled() {
                // No message comes after the last reply.
                self.links.end_leases(&self.shared.pool);
                return flushed.map(Ok);
            }
            let reads = match stop {
                Stop::Backlog if flushed.is_ready() => continue,
                Stop::TurnOver => {
                    give_way(cx);
                    false
                }
                Stop::Backlog => false,
                Stop::NeedsInput | Stop::NewPolicy => true,
                Stop::Held(_) | Stop::Slowed(_) | Stop::Unsettled => self.input.len() < MAX_READ_AHEAD_BYTES,
            };
            match stop {
                Stop::Held(left) | Stop::Slowed(left) if self.alarm.poll(left, cx).is_ready() => {
                    self.alarm.stop();
                    continue;
                }
                Stop::Held(_) | Stop::Slowed(_) => {}
                _ => self.alarm.stop(),
            }
            if self.closing || self.input_ended || !reads {
                return Poll::Pending;
            }
            let count = ready!(self.poll_read(cx))?;
            self.input_ended = count == 0;
            self.deadlines.note_activity();
            taken = taken.saturating_add(count);
            if taken >= TURN_BYTES {
                give_way(cx);
                return Poll::Pending;
            }
        }
    }

    /// Bytes that wait here for the upstream or for the client.
    fn held(&self) -> usize {
        let whole = self.whole.as_ref().map_or(0, Bytes::len);
        self.input
            .len()
            .saturating_add(whole)
            .saturating_add(self.outbox.held())
            .saturating_add(self.blocked.held())
            .saturating_add(self.state.queue.cost)
    }

    /// Lets others know how the session stands after a turn; `active`: it has handled something.
    fn show(&mut self, active: bool, paused: bool) {
        let (input, output) = (self.input.len(), self.outbox.backlog());
        let turn = Turn { active: active || paused, input, output, blocked: self.is_blocked(), paused };
        let client = self.seat.client();
        client.note(turn, self.state.command);
        if std::mem::take(&mut self.unseen) {
            client.show(Card::of(&self.state));
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        if self.input.capacity() == 0 {
            self.input = self.shared.room.take();
        }
        self.input.reserve(READ_BYTES);
        // The future holds no state between polls, so it may be made anew each time.
        let read = std::pin::pin!(self.stream.read_buf(&mut self.input)).poll(cx);
        if self.input.is_empty() {
            self.shared.room.give(std::mem::take(&mut self.input));
        }
        read
    }

    /// Writes what is ready, as much as a turn takes. Pending while some of it is left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> std::io::Result<Poll<()>> {
        let (stream, deadlines) = (&mut self.stream, &mut self.deadlines);
        let mut given: usize = 0;
        let written = self.outbox.flush(|ready| {
            while !ready.is_empty() {
                if given >= TURN_BYTES {
                    give_way(cx);
                    return Ok(Poll::Pending);
                }
                match Pin::new(&mut *stream).poll_write(cx, ready) {
                    Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => {
                        ready.advance(count);
                        given = given.saturating_add(count);
                        deadlines.note_activity();
                    }
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => return Ok(Poll::Pending),
                }
            }
            Ok(Poll::Ready(()))
        })?;
        // TLS keeps records of its own that wait for the socket.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx)?;
        Ok(if written.is_ready() { flushed } else { Poll::Pending })
    }
}
