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

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tracing::{debug, warn};

use super::dial::{DialError, Dialled, LinkKey, Settings, Stream, dial};
use super::expect::{Expect, Meaning, is_monitor_line, meaning};
use super::retry::Backoff;
use crate::policy::{Judged, Version};
use crate::resp::{ReplyScanner, RequestBuf};

/// Space that is kept free for one read from the upstream.
const READ_BYTES: usize = 64 * 1024;

/// A link refuses requests when this many bytes wait to be written: the upstream has stopped reading.
const MAX_UNWRITTEN_BYTES: usize = 256 * 1024 * 1024;

/// A connection that lasted this long was a good one; one that ends sooner counts as a failed attempt.
const STABLE: Duration = Duration::from_secs(1);

/// Largest reply, as Redis' `proto-max-bulk-len` by default.
const MAX_BULK_BYTES: usize = 512 * 1024 * 1024;

const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";
const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";

/// Where the replies of one session go.
pub trait Sink {
    /// Something about the session's oldest open request on this link, or about its subscriptions.
    fn deliver(&self, delivery: Delivery<'_>);
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
    /// The reply, byte for byte.
    Reply(&'a [u8]),
}

/// Whether the link can take requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// First attempt to connect: requests wait in the write buffer, for `connect_timeout` at most.
    Connecting,
    /// No connection, and the last attempt failed: requests are refused at once while the link keeps trying.
    Down,
    /// Closed for good.
    Dead,
    /// Connected.
    Up,
}

/// Whether a link that lost its connection makes a new one.
#[derive(Debug)]
pub enum Lifetime {
    /// Shared links reconnect for ever.
    Reconnecting,
    /// Leased links end with their connection: the state that they were leased for is lost.
    SingleUse(Permit),
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
    key: LinkKey,
    inner: RefCell<Inner>,
}

struct Inner {
    phase: Phase,
    /// The connection's number at the upstream, of a leased link.
    id: Option<i64>,
    unwritten: BytesMut,
    /// Bytes of requests that were handed to the network so far on this connection.
    written: u64,
    slots: VecDeque<Slot>,
    /// Where messages go, once subscriptions were asked for.
    listener: Option<Rc<dyn Sink>>,
    /// MONITOR was sent.
    monitors: bool,
    /// When the link last made progress while slots were open.
    progress: Instant,
    /// The replies that are to come may take for ever (blocking commands).
    patient: bool,
    task: Option<Waker>,
}

struct Slot {
    sink: Rc<dyn Sink>,
    /// Position of the request's first byte in the stream of this connection.
    start: u64,
    expect: Expect,
}

/// Where the replies to Redkeep's own requests go.
struct Nobody;

impl Sink for Nobody {
    fn deliver(&self, _: Delivery<'_>) {}
}

impl Link {
    /// Starts a link and the task that drives it on this worker.
    pub fn open(
        settings: Rc<Settings>,
        key: LinkKey,
        lifetime: Lifetime,
        on_up: impl Fn() + 'static,
    ) -> Rc<Link> {
        let link = Rc::new(Link {
            key,
            inner: RefCell::new(Inner {
                phase: Phase::Connecting,
                id: None,
                unwritten: BytesMut::new(),
                written: 0,
                slots: VecDeque::new(),
                listener: None,
                monitors: false,
                progress: Instant::now(),
                patient: false,
                task: None,
            }),
        });
        tokio::task::spawn_local(drive(link.clone(), settings, lifetime, on_up));
        link
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
    /// Returns false, and keeps nothing, if the upstream is certainly unreachable just now.
    #[must_use]
    pub fn send(&self, judged: Judged<'_>, sink: Rc<dyn Sink>, expect: Expect) -> bool {
        let mut inner = self.inner.borrow_mut();
        let open = matches!(inner.phase, Phase::Up | Phase::Connecting);
        if !open || inner.unwritten.len() > MAX_UNWRITTEN_BYTES {
            return false;
        }
        if matches!(expect, Expect::Confirmations { .. } | Expect::Monitor | Expect::Tracking) {
            inner.listener = Some(sink.clone());
            inner.monitors |= expect == Expect::Monitor;
        }
        inner.append(judged.wire(), sink, expect);
        true
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
        let mut inner = self.inner.borrow_mut();
        if matches!(inner.phase, Phase::Up | Phase::Connecting) {
            inner.append(RequestBuf::from_args(args).as_request().wire(), Rc::new(Nobody), Expect::Done);
        }
    }

    /// Ends all open requests, each with what is certain about it, and forgets their bytes.
    fn fail(&self, phase: Phase) {
        let (slots, written) = {
            let mut inner = self.inner.borrow_mut();
            if inner.phase != Phase::Dead {
                inner.phase = phase;
            }
            inner.unwritten = BytesMut::new();
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
    fn up(&mut self, id: Option<i64>) {
        self.phase = Phase::Up;
        self.id = id;
    }

    fn append(&mut self, wire: &[u8], sink: Rc<dyn Sink>, expect: Expect) {
        if self.slots.is_empty() {
            self.progress = Instant::now();
        }
        let start = self.written.saturating_add(self.unwritten.len() as u64);
        self.unwritten.extend_from_slice(wire);
        self.slots.push_back(Slot { sink, start, expect });
        self.wake();
    }

    fn wake(&mut self) {
        // Taken, not borrowed: one wake-up a turn is enough.
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// The session that leased the link closed it.
    Closed,
    /// The upstream closed it.
    Eof,
    /// The network failed.
    Io(std::io::Error),
    /// The upstream sent something that fits no open request.
    Poisoned(&'static str),
    /// No reply within `response_timeout`.
    Timeout,
}

async fn drive(link: Rc<Link>, settings: Rc<Settings>, lifetime: Lifetime, on_up: impl Fn()) {
    let mut backoff = Backoff::new();
    let single_use = matches!(lifetime, Lifetime::SingleUse(_));
    loop {
        match dial(&settings, link.key, single_use).await {
            Ok(Dialled { stream, id }) => {
                if link.is_dead() {
                    break;
                }
                link.inner.borrow_mut().up(id);
                on_up();
                let since = Instant::now();
                let end = pump(&link, stream, &settings).await;
                log_end(&settings, &end);
                let lasted = since.elapsed() >= STABLE;
                if lasted {
                    backoff.reset();
                }
                // A restarted upstream is often back at once: the first attempt keeps requests waiting.
                link.fail(if lasted { Phase::Connecting } else { Phase::Down });
            }
            Err(error) => {
                warn_unreachable(&settings, &error);
                link.fail(Phase::Down);
            }
        }
        if single_use || link.is_dead() {
            break;
        }
        if link.inner.borrow().phase == Phase::Down {
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
    link.fail(Phase::Dead);
}

fn log_end(settings: &Settings, end: &End) {
    match end {
        End::Closed => {}
        End::Eof => warn!(upstream = %settings.address, "upstream closed the connection"),
        End::Io(error) => warn!(upstream = %settings.address, %error, "upstream connection failed"),
        End::Poisoned(reason) => warn!(upstream = %settings.address, reason, "upstream broke the protocol"),
        End::Timeout => warn!(upstream = %settings.address, "upstream did not reply in time"),
    }
}

fn warn_unreachable(settings: &Settings, error: &DialError) {
    match error {
        DialError::Io(_) | DialError::Timeout => {
            debug!(upstream = %settings.address, %error, "upstream is unreachable");
        }
        DialError::Protocol | DialError::Refused(..) => {
            warn!(upstream = %settings.address, %error, "upstream refused the link");
        }
    }
}

/// Writes requests and hands out replies until the connection ends.
async fn pump(link: &Link, mut stream: Box<dyn Stream>, settings: &Settings) -> End {
    let mut input = BytesMut::new();
    let mut scanner = ReplyScanner::new(MAX_BULK_BYTES);
    let mut timer = Box::pin(tokio::time::sleep(settings.response_timeout));
    std::future::poll_fn(|cx| {
        loop {
            {
                let mut inner = link.inner.borrow_mut();
                if inner.phase == Phase::Dead {
                    return Poll::Ready(End::Closed);
                }
                inner.task = Some(cx.waker().clone());
                if let Poll::Ready(Err(error)) = poll_write(&mut inner, &mut stream, cx) {
                    return Poll::Ready(End::Io(error));
                }
            }
            match poll_read(&mut stream, &mut input, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(End::Eof),
                Poll::Ready(Ok(_)) => {
                    // Part of a reply is progress, too: a large one may take its time.
                    link.inner.borrow_mut().progress = Instant::now();
                    if let Err(reason) = distribute(link, &mut scanner, &mut input) {
                        return Poll::Ready(End::Poisoned(reason));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(End::Io(error)),
                Poll::Pending => return poll_timer(link, &mut timer, settings, cx),
            }
        }
    })
    .await
}

fn poll_write(
    inner: &mut Inner,
    stream: &mut Box<dyn Stream>,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<()>> {
    let mut wrote = false;
    while !inner.unwritten.is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, &inner.unwritten) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => {
                inner.unwritten.advance(count);
                inner.written = inner.written.saturating_add(count as u64);
                wrote = true;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => break,
        }
    }
    if wrote || inner.unwritten.is_empty() {
        // TLS keeps records of its own that wait for the socket.
        return Pin::new(stream).poll_flush(cx);
    }
    Poll::Pending
}

fn poll_read(
    stream: &mut Box<dyn Stream>,
    input: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<usize>> {
    input.reserve(READ_BYTES);
    // The future holds no state between polls, so it may be made anew each time.
    std::pin::pin!(stream.read_buf(input)).poll(cx)
}

fn poll_timer(
    link: &Link,
    timer: &mut Pin<Box<Sleep>>,
    settings: &Settings,
    cx: &mut Context<'_>,
) -> Poll<End> {
    while timer.as_mut().poll(cx).is_ready() {
        let inner = link.inner.borrow();
        let waiting = !inner.slots.is_empty() && !inner.patient;
        let since = if waiting { inner.progress } else { Instant::now() };
        let deadline = since.checked_add(settings.response_timeout).unwrap_or_else(Instant::now);
        if deadline <= Instant::now() {
            return Poll::Ready(End::Timeout);
        }
        timer.as_mut().reset(deadline);
    }
    Poll::Pending
}

/// Hands every complete frame in `input` to the session that it is for.
fn distribute(link: &Link, scanner: &mut ReplyScanner, input: &mut BytesMut) -> Result<(), &'static str> {
    loop {
        let found = match scanner.scan(input) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(_) => return Err("bytes that are no reply"),
        };
        let (frame, _) = input.split_at_checked(found.len).ok_or("a reply of impossible length")?;
        let (sink, delivery) = {
            let mut inner = link.inner.borrow_mut();
            let oldest = inner.slots.front().map(|slot| slot.expect);
            let listening = inner.listener.is_some();
            let line = inner.monitors && oldest != Some(Expect::Monitor) && is_monitor_line(frame);
            match if line {
                Meaning::Message
            } else {
                meaning(frame, found.kind, link.key.protocol, listening, oldest)?
            } {
                Meaning::Confirmation => {
                    let (sink, last) = inner.confirm()?;
                    (Some(sink), Delivery::Confirmation { frame, last })
                }
                Meaning::Message => (inner.listener.clone(), Delivery::Message(frame)),
                Meaning::Reply => (Some(inner.next_slot()?.sink), Delivery::Reply(frame)),
            }
        };
        if let Some(sink) = sink {
            sink.deliver(delivery);
        }
        input.advance(found.len);
    }
}

impl Inner {
    /// Takes the slot that the next reply belongs to.
    fn next_slot(&mut self) -> Result<Slot, &'static str> {
        let slot = match self.slots.front() {
            None => None,
            // SECURITY: a surplus reply, which would be another client's.
            Some(slot) if slot.start >= self.written => return Err("a reply to a request that was not sent"),
            Some(_) => self.slots.pop_front(),
        };
        if self.slots.is_empty() {
            self.patient = false;
        }
        slot.ok_or("a reply that nobody waits for")
    }

    /// Counts a confirmation; whose it is, and whether it is the last one of its request.
    fn confirm(&mut self) -> Result<(Rc<dyn Sink>, bool), &'static str> {
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
