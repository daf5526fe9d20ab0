//! One client: its state, and the loop that reads requests, has each judged, and writes replies in order.
//!
//! `step` decides, this file does: it is the only place of the layer that touches sockets and links. Redis' order of
//! replies holds because a session uses one link at a time: before it changes to another one (another database,
//! protocol, or a link of its own), all its earlier requests are answered.

mod auth;
mod clients;
mod execution;
mod forward;
mod limits;
mod links;
mod local;
mod monitor;
mod pause;
mod pubsub;
mod queue;
mod replication;
mod replies;
mod rewrite;
mod state;
mod step;
mod tend;
mod tracking;
mod transaction;
mod unblock;

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
use tracing::{debug, info, warn};

use crate::acl::LogReason;
use crate::policy::{Incarnation, Live, Policy};
use crate::resp::{self, RequestBuf, Scanned, Scanner, encode};
use crate::upstream::Pool;
use crate::users::Users;
use clients::{Card, Seat, Turn};
use execution::Execution;
use forward::Way;
use links::{Links, Pick};
use pause::Alarm;
use replication::Replication;
use replies::NOT_SENT;
use rewrite::QueueWitness;
use unblock::Unblocking;

/// Space for one read from the client.
const READ_BYTES: usize = 16 * 1024;

/// A session stops taking requests while this many bytes of replies wait for its client.
const MAX_BACKLOG_BYTES: usize = 1024 * 1024;

/// A request from this size on travels without a copy, and on a leased link if one is free.
const LARGE_BYTES: usize = 1024 * 1024;

/// Time for the orderly end of a connection whose client may not read any more.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A session that waits for replies reads on up to here, to notice that its client has gone.
const MAX_READ_AHEAD_BYTES: usize = 64 * 1024;

/// What all sessions of a worker share.
pub struct Shared {
    /// The policy in force.
    pub live: Arc<Live>,
    /// The users, for those who may change them.
    pub users: Arc<Users>,
    /// The clients of all workers.
    pub clients: Arc<Clients>,
    /// The worker's links.
    pub pool: Pool,
    /// Set when the worker drains: sessions end as soon as they owe no reply.
    pub draining: Cell<bool>,
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
    /// The request as it is forwarded, where that is not what the client sent.
    scratch: RequestBuf,
    /// Room for a reply of Redkeep's own.
    reply: BytesMut,
    outbox: Rc<Outbox>,
    witness: Rc<QueueWitness>,
    links: Links,
    /// The command that blocks is being ended.
    unblocking: Option<Unblocking>,
    /// The transaction of which Redkeep itself has something to do when its reply is there.
    execution: Option<Execution>,
    /// Rings when a pause may be over.
    alarm: Alarm,
    /// Length of a request that was scanned but has to wait.
    waiting: Option<usize>,
    /// The request that is being handled, if it is large; then it is not in `input` any more.
    whole: Option<Bytes>,
    input_ended: bool,
    closing: bool,
    /// When the session is woken to see whether its client has read.
    watched: Option<Instant>,
}

/// Why the session stopped handling requests for now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The client does not read its replies.
    Backlog,
    /// All complete requests are handled.
    NeedsInput,
    /// CLIENT PAUSE holds the next request back for so long.
    Held(Duration),
    /// The request may have changed the policy, which the next one is to be judged by.
    NewPolicy,
    /// The next request has to wait for the replies to earlier ones.
    Unsettled,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// A session for a client that has just connected.
    pub fn new(stream: S, id: SessionId, ends: Ends, shared: Rc<Shared>) -> Self {
        let seat = shared.clients.enter(id, ends.clone());
        let state = State::new(id, ends, &shared.live.load());
        let outbox = Rc::new(Outbox::new(shared.clients.limits()));
        Session {
            stream,
            shared,
            state,
            seat,
            unseen: true,
            input: BytesMut::new(),
            scanner: Scanner::default(),
            scratch: RequestBuf::default(),
            reply: BytesMut::new(),
            witness: Rc::new(QueueWitness::new(outbox.clone())),
            outbox,
            links: Links::default(),
            unblocking: None,
            execution: None,
            alarm: Alarm::default(),
            waiting: None,
            whole: None,
            input_ended: false,
            closing: false,
            watched: None,
        }
    }

    /// Where replies gather; its [`Outbox::wake`] makes the session look at policy and draining again.
    pub fn outbox(&self) -> &Rc<Outbox> {
        &self.outbox
    }

    /// Serves the client until it goes, breaks the protocol, or is told to go.
    pub async fn run(mut self) {
        let served = std::future::poll_fn(|cx| self.poll(cx)).await;
        if let Err(error) = served {
            debug!(client = self.state.ends.client, %error, "connection to the client failed");
        }
        self.outbox.close();
        self.seat.hold(0);
        self.links.end_lease(&self.shared.pool);
        // An orderly end (TLS close_notify, FIN); the client may be gone already, or never read again.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, self.stream.shutdown()).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            self.outbox.register(cx.waker());
            self.seat.client().register(cx.waker());
            let unhandled = self.input.len();
            let stop = self.handle_input();
            self.show(self.input.len() < unhandled, matches!(stop, Stop::Held(_)));
            let flushed = self.poll_flush(cx)?;
            self.seat.hold(self.held());
            if self.outbox.is_closed() {
                // Who was told to end does not wait for its client.
                return Poll::Ready(Ok(()));
            }
            let held = matches!(stop, Stop::Held(_));
            if self.input_ended && (held || self.is_blocked() || self.links.is_waiting()) {
                // Nobody waits for the reply of the blocked command any more, and it must not take effect later.
                return Poll::Ready(Ok(()));
            }
            let over = self.closing || (self.input_ended && stop == Stop::NeedsInput);
            if over && self.outbox.is_settled() {
                // No message comes after the last reply.
                self.links.end_lease(&self.shared.pool);
                return flushed.map(Ok);
            }
            let reads = match stop {
                Stop::Backlog if flushed.is_ready() => continue,
                Stop::Backlog => false,
                Stop::NeedsInput | Stop::NewPolicy => true,
                Stop::Held(_) | Stop::Unsettled => self.input.len() < MAX_READ_AHEAD_BYTES,
            };
            match stop {
                Stop::Held(left) if self.alarm.poll(left, cx).is_ready() => {
                    self.alarm.stop();
                    continue;
                }
                Stop::Held(_) => {}
                _ => self.alarm.stop(),
            }
            if self.closing || self.input_ended || !reads {
                return Poll::Pending;
            }
            self.input_ended = ready!(self.poll_read(cx))? == 0;
        }
    }

    /// Bytes that wait here for the upstream or for the client.
    fn held(&self) -> usize {
        let whole = self.whole.as_ref().map_or(0, Bytes::len);
        self.input.len().saturating_add(whole).saturating_add(self.outbox.held())
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
        self.input.reserve(READ_BYTES);
        // The future holds no state between polls, so it may be made anew each time.
        std::pin::pin!(self.stream.read_buf(&mut self.input)).poll(cx)
    }

    /// Writes what is ready. Pending while some of it is left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> std::io::Result<Poll<()>> {
        let stream = &mut self.stream;
        let written = self.outbox.flush(|ready| {
            while !ready.is_empty() {
                match Pin::new(&mut *stream).poll_write(cx, ready) {
                    Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => ready.advance(count),
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

    /// Handles requests until one has to wait or there is none.
    fn handle_input(&mut self) -> Stop {
        loop {
            if let Some(stop) = self.handle_batch() {
                return stop;
            }
        }
    }

    /// The same, with the policy that is in force at its beginning; `None` when the session itself has changed it.
    fn handle_batch(&mut self) -> Option<Stop> {
        let shared = self.shared.clone();
        let executing = self.tend_execution();
        let policy = shared.live.load();
        // A session that is closing already owes its last reply, also to who has deleted their own user.
        let stale = !self.closing && self.state.generation != policy.generation();
        if stale && !self.state.refresh(&policy) {
            debug!(client = self.state.ends.client, "the session's user is gone");
            self.abandon();
        }
        if !self.closing && self.seat.client().is_killed() {
            if self.seat.client().is_evicted() {
                warn!(
                    client = self.state.ends.client,
                    "a client is evicted: all together hold more than maxmemory_clients"
                );
            }
            self.abandon();
        }
        self.tend_subscriptions();
        self.tend_blocked();
        if executing && !self.closing {
            return Some(Stop::Unsettled);
        }
        while !self.closing {
            if self.outbox.backlog() >= MAX_BACKLOG_BYTES {
                // As long as messages come, a slow reader would never be through with them.
                self.closing |= shared.draining.get()
                    && self.outbox.is_settled()
                    && self.state.listens()
                    && !self.state.transaction.holds_link();
                return Some(Stop::Backlog);
            }
            if self.outbox.is_crowded() {
                return Some(Stop::Unsettled);
            }
            match self.handle_request(&policy) {
                Some(Stop::NewPolicy) => return None,
                Some(stop) => {
                    let idle = stop == Stop::NeedsInput && self.outbox.is_settled() && self.input.is_empty();
                    self.closing |= idle && shared.draining.get() && !self.state.transaction.holds_link();
                    return Some(stop);
                }
                None => {}
            }
        }
        Some(Stop::NeedsInput)
    }

    /// Handles the first request of the buffer. `None` when it is done with.
    fn handle_request(&mut self, policy: &Arc<Policy>) -> Option<Stop> {
        self.tend_lease();
        let length = match self.scan() {
            Ok(length) => length,
            Err(stop) => return stop,
        };
        let Session {
            input,
            scanner,
            state,
            scratch,
            reply,
            outbox,
            witness,
            links,
            shared,
            waiting,
            whole,
            closing,
            seat,
            unseen,
            execution,
            ..
        } = self;
        let request = scanner.request(whole.as_deref().unwrap_or(input));
        let settled = outbox.is_settled();
        let (hold, left) = shared.clients.hold();
        // A pause does not hold up the end.
        state.hold = if shared.draining.get() { Hold::Nothing } else { hold };
        let mut next = None;
        let transaction = state.transaction;
        let way = Way { shared, outbox, witness, whole: whole.as_ref() };
        let action = step(policy, state, request, scratch, settled, reply);
        outbox.mute(state.replies.are_muted());
        *unseen |= !matches!(&action, Action::Forward { then: Then::Nothing | Then::ReleaseAfterReply, .. });
        match action {
            Action::Administer { judged } => {
                let client = seat.client();
                // It may be about this client, too.
                let (input, output) = (input.len(), outbox.backlog());
                client.note(Turn { active: true, input, output, ..Turn::default() }, state.command);
                client.show(Card::of(state));
                local::administer(shared, policy, state, judged, reply);
                outbox.reply(reply);
                // Who has killed themselves or deleted their own user gets the reply, and then the end.
                let gone = state.user.is_some() && state.incarnation != current_incarnation(shared, state);
                *closing = gone || seat.client().is_killed();
                next = Some(Stop::NewPolicy);
            }
            Action::Close => {
                self.abandon();
                return None;
            }
            Action::CloseAfterReply => {
                outbox.reply(reply);
                *closing = true;
            }
            Action::EndLease => {
                links.end_transaction(&shared.pool, transaction, state);
                outbox.reply(reply);
            }
            Action::Forward { judged, route, then } => {
                let large = whole.is_some() || outbox.take_large();
                if large {
                    links.expect_large();
                }
                match links.pick(&shared.pool, state, route, settled, outbox) {
                    Pick::Settle => {
                        *waiting = Some(length);
                        return Some(Stop::Unsettled);
                    }
                    Pick::Link(link) if way.send(&link, judged, then, policy, state) => {
                        transaction::sent(state, then, judged, policy);
                        state.sent(then);
                    }
                    unsent => {
                        let error = if let Pick::None(error) = unsent { error } else { NOT_SENT };
                        encode::error(reply, error.as_bytes());
                        outbox.reply(reply);
                        // The client may have sent more before it reads that; it must not run on its own.
                        *closing |= matches!(then, Then::BeginTransaction | Then::Watch);
                    }
                }
            }
            Action::Execute { exec, plan } => {
                if plan.again && witness.saw_refusal() {
                    transaction::abort(state, reply);
                    links.end_transaction(&shared.pool, transaction, state);
                    outbox.reply(reply);
                } else {
                    let lease = links.lease.as_ref();
                    *execution = lease.and_then(|link| way.execute(link, exec, plan, policy, state));
                    if execution.is_none() {
                        transaction::give_up(state);
                        encode::error(reply, NOT_SENT.as_bytes());
                        outbox.reply(reply);
                    }
                }
            }
            Action::Greet => {
                let greeting = reply.split().freeze();
                let lease = links.lease.as_ref();
                if !lease.is_some_and(|link| way.greet(link, state.protocol, greeting.clone())) {
                    // What the session listens to is gone, and the session will be.
                    outbox.reply(&mut BytesMut::from(&*greeting));
                }
            }
            Action::Hold => {
                *waiting = Some(length);
                return Some(Stop::Held(left));
            }
            Action::Reply => outbox.reply(reply),
            Action::Settle => {
                *waiting = Some(length);
                return Some(Stop::Unsettled);
            }
        }
        if whole.take().is_none() {
            input.advance(length);
        }
        links.leave_line();
        if execution.is_some() {
            // The rest of it comes with its reply.
            return Some(Stop::Unsettled);
        }
        state.replies = state.replies.next();
        outbox.mute(state.replies.are_muted());
        log_notes(state, &shared.users);
        next
    }

    /// The length of the first request of the buffer. `Err(None)`: something else was there, and is dealt with.
    fn scan(&mut self) -> Result<usize, Option<Stop>> {
        if self.closing {
            return Err(None);
        }
        if let Some(length) = self.waiting.take() {
            return Ok(length);
        }
        match self.scanner.scan(&self.input, limits(&self.state)) {
            Ok(Scanned::NeedMore { .. }) => Err(Some(Stop::NeedsInput)),
            Ok(Scanned::Nothing { consumed }) => {
                self.input.advance(consumed);
                if let (Replication::Streaming, Some(lease)) = (self.state.replication, &self.links.lease) {
                    lease.send_sign_of_life();
                }
                Err(None)
            }
            Ok(Scanned::Request { consumed }) => {
                if consumed >= LARGE_BYTES {
                    let whole = self.input.split_to(consumed).freeze();
                    // What is left would keep the memory of both.
                    self.input = BytesMut::from(&*self.input);
                    self.whole = Some(whole);
                }
                Ok(consumed)
            }
            Err(error) => {
                debug!(client = self.state.ends.client, %error, "client broke the protocol");
                encode::error(&mut self.reply, &error.text());
                self.outbox.reply(&mut self.reply);
                self.closing = true;
                Err(None)
            }
        }
    }
}

/// Writes into the ACL log what the last command has left for it.
fn log_notes(state: &mut State, users: &Users) {
    for (event, client) in state.notes.drain(..) {
        if event.reason == LogReason::Auth {
            info!(client = state.ends.client, "login failed");
        }
        users.note(event, client);
    }
}

/// The incarnation of the session's user in the policy that is in force now.
fn current_incarnation(shared: &Shared, state: &State) -> Option<Incarnation> {
    shared.live.load().incarnation(state.user_name())
}

/// Smaller bounds before the login, as in Redis.
fn limits(state: &State) -> &'static resp::Limits {
    if state.user.is_some() { &resp::Limits::AUTHENTICATED } else { &resp::Limits::UNAUTHENTICATED }
}
