//! One connection to the upstream: a write buffer, the slots of the replies that are still to come, and its death.
//!
//! A link is shared by all sessions of a worker that use the same database and protocol, or leased to one session.
//! It cannot tell the difference. Sessions append judged bytes; the link's own task writes them once per turn of the
//! worker's loop, so that the requests of many sessions leave in one write, and hands each reply to the session whose
//! slot is next. On a link that was leased for subscriptions, messages come between replies; `expect.rs` tells them
//! apart.
//!
//! INVARIANT: replies are matched to slots by order alone, so any doubt about the order (a surplus reply, bytes that
//! are no reply, a push that nobody asked for) poisons the link: it is closed, and every open slot gets its error.
//! Nothing that was written is ever written again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::dial::{LinkKey, Settings};
use super::expect::Expect;
use super::outgoing::Outgoing;
use super::pump::drive;
use super::stand_in::Standing;
use crate::command::Affinity;
use crate::policy::{Judged, Version};
use crate::resp::{Protocol, ReplyKind, RequestBuf};

/// A link refuses requests when this many bytes wait to be written: the upstream has stopped reading.
const MAX_UNWRITTEN_BYTES: usize = 256 * 1024 * 1024;

/// A link that nobody uses for so long is asked whether the upstream is still there.
pub(super) const HEALTH_INTERVAL: Duration = Duration::from_secs(10);

const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";
const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";

/// Where the replies of one session go.
pub trait Sink {
    /// Something about the session's oldest open request on this link, or about its subscriptions.
    fn deliver(&self, delivery: Delivery<'_>);

    /// Whether a large reply may come in pieces ([`Delivery::Part`]).
    fn takes_parts(&self) -> bool {
        false
    }

    /// Pending while so much waits for the client that no more should be read; wakes the link when that has changed.
    fn poll_room(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// What became of a request, and what subscriptions bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery<'a> {
    /// One of the confirmations of a request that changes subscriptions, byte for byte.
    Confirmation {
        /// The confirmation.
        frame: &'a [u8],
        /// Whether it is the last one, so that the request is answered.
        last: bool,
    },
    /// The link is dead, and no request of the session with it: its subscriptions are gone.
    Ended,
    /// The link died after the request may have reached the upstream.
    InDoubt,
    /// A message of a subscription, byte for byte. It belongs to no request.
    Message(&'a [u8]),
    /// The link died before a byte of the request was written.
    NotSent,
    /// A piece of the reply, which is not complete; only for a sink that takes parts. The last piece comes as the reply.
    Part(&'a [u8]),
    /// The reply, byte for byte, or what is left of it.
    Reply(&'a [u8]),
}

/// Whether the link can take requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// First attempt to connect: requests wait in the write buffer, for `connect_timeout` at most.
    Connecting,
    /// No connection, and the last attempt failed: requests are refused at once while the link keeps trying.
    Down,
    /// Closed for good.
    Dead,
    /// Connected.
    Up,
}

/// The right to have one more leased link; given back when dropped.
#[derive(Debug)]
pub struct Permit(#[expect(dead_code, reason = "held, for its end to be seen")] OwnedSemaphorePermit);

impl Permit {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Permit(permit)
    }
}

/// The sessions' side of one upstream connection. Owned by one worker.
pub struct Link {
    pub(super) key: LinkKey,
    /// Shared by sessions, so that it reconnects.
    pub(super) shared: bool,
    /// A shared link that takes no more requests.
    retired: Cell<bool>,
    pub(super) inner: RefCell<Inner>,
}

pub(super) struct Inner {
    pub(super) phase: Phase,
    /// Of a leased link, while it is in use.
    permit: Option<Permit>,
    /// The connection's number at the upstream, of a leased link.
    id: Option<i64>,
    pub(super) outgoing: Outgoing,
    /// Bytes of requests that were handed to the network so far on this connection.
    written: u64,
    pub(super) slots: VecDeque<Slot>,
    /// Where messages go, once subscriptions were asked for.
    pub(super) listener: Option<Rc<dyn Sink>>,
    /// MONITOR was sent.
    pub(super) monitors: bool,
    /// What comes is no sequence of replies any more: it is the listener's as it is.
    pub(super) streams: bool,
    /// When the link last made progress while slots were open.
    pub(super) progress: Instant,
    /// The replies that are to come may take for ever (blocking commands).
    pub(super) patient: bool,
    /// Pieces of the reply to the oldest request were passed on.
    pub(super) passing: bool,
    /// How many bytes of it.
    pub(super) passed: usize,
    /// Not read until the client has read.
    pub(super) paused: bool,
    /// A transaction may be open, or keys watched: where the last MULTI or WATCH began in the stream.
    transaction: Option<u64>,
    /// Something else may be left of what its session did.
    stained: bool,
    /// What the connection is, or soon will be, set to.
    pub(super) standing: Standing,
    /// The protocol of the frames that come now.
    pub(super) protocol: Protocol,
    pub(super) task: Option<Waker>,
}

pub(super) struct Slot {
    pub(super) sink: Rc<dyn Sink>,
    /// Position of the request's first byte in the stream of this connection.
    start: u64,
    pub(super) expect: Expect,
    /// If the reply is no error, neither transaction nor watches are left.
    ends_transaction: bool,
    /// The request runs code, or may load some.
    code: bool,
}

/// Where the replies to Redkeep's own requests go.
struct Nobody;

impl Sink for Nobody {
    fn deliver(&self, _: Delivery<'_>) {}
}

impl Link {
    /// Starts a link that sessions share, and the task that drives it on this worker. `on_dialled` is told of each
    /// attempt to connect whether it succeeded.
    pub fn open(settings: Rc<Settings>, key: LinkKey, on_dialled: impl Fn(bool) + 'static) -> Rc<Link> {
        Link::new(key, None).start(settings, on_dialled)
    }

    /// The same for a link of one session. The permit is given back when the link has ended, or rests.
    pub fn open_leased(
        settings: Rc<Settings>,
        key: LinkKey,
        permit: Permit,
        on_dialled: impl Fn(bool) + 'static,
    ) -> Rc<Link> {
        Link::new(key, Some(permit)).start(settings, on_dialled)
    }

    fn start(self, settings: Rc<Settings>, on_dialled: impl Fn(bool) + 'static) -> Rc<Link> {
        let link = Rc::new(self);
        let (driven, driver) = (Rc::downgrade(&link), drive(link.clone(), settings, on_dialled));
        tokio::task::spawn_local(async move {
            let panicked = tokio::task::spawn_local(driver).await.is_err();
            // Every open slot gets its error, and nobody waits for a link that nobody drives.
            if let Some(link) = driven.upgrade().filter(|_| panicked) {
                link.fail(Phase::Dead);
            }
        });
        link
    }

    fn new(key: LinkKey, permit: Option<Permit>) -> Link {
        Link {
            key,
            shared: permit.is_none(),
            retired: Cell::new(false),
            inner: RefCell::new(Inner {
                phase: Phase::Connecting,
                permit,
                id: None,
                outgoing: Outgoing::default(),
                written: 0,
                slots: VecDeque::new(),
                listener: None,
                monitors: false,
                streams: false,
                progress: Instant::now(),
                patient: false,
                passing: false,
                passed: 0,
                paused: false,
                transaction: None,
                stained: false,
                standing: Standing { key, no_touch: false },
                protocol: key.protocol,
                task: None,
            }),
        }
    }

    /// Whether the link is closed for good.
    pub fn is_dead(&self) -> bool {
        self.inner.borrow().phase == Phase::Dead
    }

    /// Whether there is no connection, and the last attempt failed.
    pub fn is_down(&self) -> bool {
        self.inner.borrow().phase == Phase::Down
    }

    /// Whether the first attempt to connect is under way.
    pub fn is_connecting(&self) -> bool {
        self.inner.borrow().phase == Phase::Connecting
    }

    /// Whether replies are outstanding.
    pub fn is_idle(&self) -> bool {
        self.inner.borrow().slots.is_empty()
    }

    /// Whether a shared link takes no more requests, because it carries a large reply. It ends when all are answered.
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Has a shared link take no more requests.
    pub(super) fn retire(&self) {
        self.retired.set(self.shared);
    }

    /// Puts a leased link to rest until another session needs one: its permit is given back. False if it cannot be used
    /// again, because a session may have left something on it; then it must be closed.
    ///
    /// Clean is a link on which nothing but plain commands, commands that block, code that did not fail and
    /// transactions without code were run, whose replies have all come, and whose transactions have ended.
    #[must_use]
    pub fn rest(&self) -> bool {
        let mut inner = self.inner.borrow_mut();
        let answered = inner.slots.is_empty() && inner.outgoing.is_empty();
        let clean =
            inner.transaction.is_none() && !inner.stained && inner.listener.is_none() && !inner.monitors;
        let rests = inner.phase == Phase::Up && answered && clean && !inner.paused;
        if rests {
            inner.permit = None;
        }
        rests
    }

    /// Gives a link that rests to a session.
    ///
    /// # Errors
    /// The permit: the link has ended meanwhile, or is being asked whether the upstream is still there.
    pub fn wake_up(&self, permit: Permit) -> Result<(), Permit> {
        let mut inner = self.inner.borrow_mut();
        if inner.phase != Phase::Up || !inner.slots.is_empty() {
            inner.phase = Phase::Dead;
            inner.wake();
            return Err(permit);
        }
        inner.permit = Some(permit);
        Ok(())
    }

    /// The state that its connection was brought into.
    pub fn key(&self) -> LinkKey {
        self.key
    }

    /// Asks whether the upstream is still there, if nobody uses the link.
    pub(super) fn check_health(&self) {
        let mut inner = self.inner.borrow_mut();
        if inner.slots.is_empty() && inner.permit.is_none() && inner.progress.elapsed() >= HEALTH_INTERVAL {
            inner.append(
                RequestBuf::from_args(&["PING"]).as_request().wire(),
                Rc::new(Nobody),
                Expect::Reply,
            );
        }
    }

    /// Has a leased link closed, not used again, when its session is through with it.
    pub fn stain(&self) {
        self.inner.borrow_mut().stained = true;
    }

    /// Closes the link: open requests get their error, the upstream sees the connection end. For leased links.
    pub fn close(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.phase = Phase::Dead;
        inner.wake();
    }

    /// Whether a command that blocks may be waiting on the link.
    pub fn is_patient(&self) -> bool {
        self.inner.borrow().patient
    }

    /// The number of a leased link's connection at the upstream, once it is connected and if the upstream knows.
    pub fn upstream_id(&self) -> Option<i64> {
        self.inner.borrow().id
    }

    /// Until all its requests are answered, replies may take longer than `response_timeout`: the link carries a
    /// command that blocks. Call it before the command is sent.
    pub fn wait_patiently(&self) {
        self.inner.borrow_mut().patient = true;
    }

    /// Appends a judged request. Its reply, or what became of it, goes to `sink`; so do, from then on, all messages of
    /// a link on which confirmations are expected. `expect` says what will come.
    ///
    /// `whole` is the buffer that a large request was read into: if the judged bytes are exactly these, they are not
    /// copied.
    ///
    /// Returns false, and keeps nothing, if the upstream is certainly unreachable just now.
    #[must_use]
    pub fn send(
        &self,
        judged: Judged<'_>,
        whole: Option<&Bytes>,
        sink: Rc<dyn Sink>,
        expect: Expect,
    ) -> bool {
        let mut inner = self.inner.borrow_mut();
        if !inner.takes_requests() {
            return false;
        }
        if inner.permit.is_some() {
            inner.note_state(judged, expect);
        }
        if expect.brings_messages() {
            inner.listener = Some(sink.clone());
            inner.monitors |= expect == Expect::Monitor;
        }
        let ends_transaction = matches!(expect, Expect::Executed { .. } | Expect::Reply)
            && matches!(&*judged.spec().name, "exec" | "discard" | "unwatch");
        let code = judged.spec().scripting;
        match whole {
            Some(whole) if std::ptr::eq(judged.wire(), &**whole) => {
                inner.append_slot(sink, expect, ends_transaction, code);
                inner.outgoing.share(whole.clone());
            }
            _ => {
                inner.append_slot(sink, expect, ends_transaction, code);
                inner.outgoing.copy(judged.wire());
            }
        }
        true
    }

    /// Appends a judged request without a reply, and passes all that comes from then on to `sink` as it is: SYNC, PSYNC,
    /// and what a replica sends later. All earlier requests on the link must be answered.
    ///
    /// Returns false as [`Link::send`].
    #[must_use]
    pub fn replicate(&self, judged: Judged<'_>, sink: Rc<dyn Sink>) -> bool {
        let mut inner = self.inner.borrow_mut();
        if !inner.takes_requests() {
            return false;
        }
        (inner.streams, inner.stained) = (true, true);
        inner.listener = Some(sink);
        inner.outgoing.copy(judged.wire());
        inner.wake();
        true
    }

    /// Tells the primary that its replica is alive, while that cannot say more: an empty line, which is no command.
    pub fn send_sign_of_life(&self) {
        let mut inner = self.inner.borrow_mut();
        if inner.streams && inner.takes_requests() {
            inner.outgoing.copy(b"\n");
            inner.wake();
        }
    }

    /// Empties the queue of the transaction that is open on this link: two requests, DISCARD and MULTI, whose replies go to
    /// `sink`. False as with [`Link::send`]; then the link is dead, and the queue with it.
    #[must_use]
    pub fn restart_transaction(&self, sink: &Rc<dyn Sink>) -> bool {
        let mut inner = self.inner.borrow_mut();
        let open = matches!(inner.phase, Phase::Up | Phase::Connecting);
        for request in [DISCARD, MULTI].iter().filter(|_| open) {
            inner.append(request, sink.clone(), Expect::Queued);
        }
        open
    }

    /// Makes the upstream forget the transaction of a leased link that its session keeps: what is queued if `queueing`,
    /// or else what is watched.
    pub fn forget_transaction(&self, queueing: bool) {
        self.send_own(&[if queueing { "DISCARD" } else { "UNWATCH" }]);
    }

    /// Has a WAIT or WAITAOF that follows count every write that the upstream has run so far. By itself it would count
    /// those that came on this link.
    ///
    /// Redis waits for the point of the replication stream that was reached by the connection's last command (6.2, 7.0)
    /// or by its last command that was replicated (7.2 and later). SPUBLISH is replicated and changes no data; nobody
    /// listens to this channel.
    pub fn catch_up(&self, version: Version) {
        if version >= Version::V7_0 {
            self.send_own(&["SPUBLISH", "redkeep:wait", ""]);
        } else {
            self.send_own(&["PING"]);
        }
    }

    /// Ends the command that blocks on another link, whose [`Link::upstream_id`] is `id`: with an error (`ERROR`), or as if
    /// its time were over (`TIMEOUT`). `sink` gets the upstream's reply: `:1`, or `:0` if nothing blocks there.
    pub fn unblock(&self, id: i64, how: &str, sink: Rc<dyn Sink>) {
        let request = RequestBuf::from_args(&["CLIENT", "UNBLOCK", &id.to_string(), how]);
        let mut inner = self.inner.borrow_mut();
        if matches!(inner.phase, Phase::Up | Phase::Connecting) {
            return inner.append(request.as_request().wire(), sink, Expect::Reply);
        }
        drop(inner);
        sink.deliver(Delivery::NotSent);
    }

    /// Sends a request of Redkeep's own. Nobody sees the reply; an error poisons the link.
    fn send_own(&self, args: &[&str]) {
        self.send_quietly(&RequestBuf::from_args(args), Expect::Done);
    }

    /// The same with another reply.
    pub(super) fn send_quietly(&self, request: &RequestBuf, expect: Expect) {
        // On a dead link nothing is left to be set.
        let _ = self.send_request(request, Rc::new(Nobody), expect);
    }

    /// Sends a request of Redkeep's own whose reply somebody sees.
    pub(super) fn send_request(&self, request: &RequestBuf, sink: Rc<dyn Sink>, expect: Expect) -> bool {
        let mut inner = self.inner.borrow_mut();
        let open = matches!(inner.phase, Phase::Up | Phase::Connecting);
        if open {
            inner.append(request.as_request().wire(), sink, expect);
        }
        open
    }

    /// Ends all open requests, each with what is certain about it, and forgets their bytes.
    pub(super) fn fail(&self, phase: Phase) {
        let (slots, written) = {
            let mut inner = self.inner.borrow_mut();
            if inner.phase != Phase::Dead {
                inner.phase = phase;
            }
            inner.outgoing = Outgoing::default();
            (inner.passing, inner.paused) = (false, false);
            let written = std::mem::take(&mut inner.written);
            (std::mem::take(&mut inner.slots), written)
        };
        for slot in slots {
            let certain = slot.start >= written || slot.expect == Expect::Queued;
            slot.sink.deliver(if certain { Delivery::NotSent } else { Delivery::InDoubt });
        }
        if phase == Phase::Dead {
            let listener = self.inner.borrow_mut().listener.take();
            if let Some(listener) = listener {
                listener.deliver(Delivery::Ended);
            }
        }
    }
}

impl Inner {
    pub(super) fn up(&mut self, id: Option<i64>) {
        self.phase = Phase::Up;
        self.id = id;
    }

    fn takes_requests(&self) -> bool {
        let open = matches!(self.phase, Phase::Up | Phase::Connecting);
        open && self.outgoing.len() <= MAX_UNWRITTEN_BYTES
    }

    fn append(&mut self, wire: &[u8], sink: Rc<dyn Sink>, expect: Expect) {
        self.append_slot(sink, expect, false, false);
        self.outgoing.copy(wire);
    }

    /// Makes the slot of a request whose bytes are appended next.
    fn append_slot(&mut self, sink: Rc<dyn Sink>, expect: Expect, ends_transaction: bool, code: bool) {
        if self.slots.is_empty() {
            self.progress = Instant::now();
        }
        self.slots.push_back(Slot { sink, start: self.end(), expect, ends_transaction, code });
        self.wake();
    }

    /// Position behind the last byte that was appended.
    fn end(&self) -> u64 {
        self.written.saturating_add(self.outgoing.len() as u64)
    }

    /// Notes what a request on a leased link may leave behind.
    fn note_state(&mut self, judged: Judged<'_>, expect: Expect) {
        match judged.spec().affinity {
            // EXEC's reply may have such errors inside as [`Inner::answer`] is wary of.
            _ if expect == Expect::Queued => self.stained |= judged.spec().scripting,
            Affinity::Shared | Affinity::LeasedForCommand => {}
            _ => match &*judged.spec().name {
                "multi" | "watch" => self.transaction = Some(self.end()),
                "discard" | "exec" | "unwatch" => {}
                _ => self.stained = true,
            },
        }
    }

    /// So many bytes were handed to the network.
    pub(super) fn wrote(&mut self, count: usize) {
        let end_of_oldest = self.slots.get(1).map_or(self.end(), |slot| slot.start);
        if self.written < end_of_oldest {
            // A large request may take its time. Later ones would only hide that the upstream does not answer.
            self.progress = Instant::now();
        }
        self.outgoing.advance(count);
        self.written = self.written.saturating_add(count as u64);
    }

    fn wake(&mut self) {
        // Taken, not borrowed: one wake-up a turn is enough.
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// The slot that the next reply belongs to.
    fn oldest(&self) -> Result<&Slot, &'static str> {
        match self.slots.front() {
            None => Err("a reply that nobody waits for"),
            // SECURITY: a surplus reply, which would be another client's.
            Some(slot) if slot.start >= self.written => Err("a reply to a request that was not sent"),
            Some(slot) => Ok(slot),
        }
    }

    /// Takes it.
    fn next_slot(&mut self) -> Result<Slot, &'static str> {
        self.oldest()?;
        let slot = self.slots.pop_front();
        if self.slots.is_empty() {
            self.patient = false;
        }
        slot.ok_or("a reply that nobody waits for")
    }

    /// The reply to the oldest request is complete; whose it is.
    pub(super) fn answer(&mut self, kind: ReplyKind, frame: &[u8]) -> Result<Rc<dyn Sink>, &'static str> {
        let slot = self.next_slot()?;
        self.protocol = slot.expect.protocol_after(frame).unwrap_or(self.protocol);
        (self.passing, self.passed) = (false, 0);
        // Errors of code may have line breaks inside (FUNCTION LOAD; scripts in Redis 8.2): more may still come.
        self.stained |= slot.code && kind == ReplyKind::Error;
        if slot.ends_transaction && kind != ReplyKind::Error {
            // Of those that began before it.
            self.transaction = self.transaction.filter(|start| *start > slot.start);
        }
        Ok(slot.sink)
    }

    /// Begins to pass on the reply to the oldest request in pieces, unless it has to be seen as a whole.
    pub(super) fn begin_passing(&mut self) -> Result<bool, &'static str> {
        // It may be a message.
        if self.listener.is_some() && self.slots.front().is_none_or(|slot| slot.expect != Expect::Reply) {
            return Ok(false);
        }
        let slot = self.oldest()?;
        self.passing = slot.expect == Expect::Reply && slot.sink.takes_parts();
        Ok(self.passing)
    }

    /// Who gets what comes, if that is no sequence of replies any more.
    pub(super) fn stream(&self) -> Option<Rc<dyn Sink>> {
        if self.streams && self.slots.is_empty() { self.listener.clone() } else { None }
    }

    /// Who gets the reply that is being passed on in pieces, if nobody else waits for a reply on this link.
    pub(super) fn sole_reader(&self) -> Option<Rc<dyn Sink>> {
        if let Some(sink) = self.stream() {
            return Some(sink);
        }
        let reader = &self.slots.front().filter(|_| self.passing)?.sink;
        let sole = self.slots.iter().all(|slot| Rc::as_ptr(&slot.sink).addr() == Rc::as_ptr(reader).addr());
        sole.then(|| reader.clone())
    }

    /// Counts a confirmation; whose it is, and whether it is the last one of its request.
    pub(super) fn confirm(&mut self) -> Result<(Rc<dyn Sink>, bool), &'static str> {
        let mut slot = self.next_slot()?;
        let Expect::Confirmations { word, left: left @ 2.. } = slot.expect else {
            return Ok((slot.sink, true));
        };
        let sink = slot.sink.clone();
        slot.expect = Expect::Confirmations { word, left: left.saturating_sub(1) };
        self.slots.push_front(slot);
        Ok((sink, false))
    }
}
