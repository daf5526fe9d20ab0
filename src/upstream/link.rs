//! One connection to the upstream: a write buffer, the slots of the replies that are still to come, and its death.
//!
//! A link is shared by all sessions of a worker that use the same database and protocol, or leased to one session.
//! It cannot tell the difference. Sessions append judged bytes; the link's own task writes them once per turn of the
//! worker's loop, so that the requests of many sessions leave in one write, and hands each reply to the session whose
//! slot is next.
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
use tokio::time::{Instant, Sleep};
use tracing::{debug, warn};

use super::dial::{DialError, LinkKey, Settings, Stream, dial};
use super::retry::Backoff;
use crate::policy::Judged;
use crate::resp::{ReplyKind, ReplyScanner};

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
    /// The reply to the session's oldest open request on this link.
    fn deliver(&self, reply: Delivery<'_>);
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery<'a> {
    /// The link died after the request may have reached the upstream.
    InDoubt,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Shared links reconnect for ever.
    Reconnecting,
    /// Leased links end with their connection: the state that they were leased for is lost.
    SingleUse,
}

/// The sessions' side of one upstream connection. Owned by one worker.
pub struct Link {
    key: LinkKey,
    inner: RefCell<Inner>,
}

struct Inner {
    phase: Phase,
    unwritten: BytesMut,
    /// Bytes of requests that were handed to the network so far on this connection.
    written: u64,
    slots: VecDeque<Slot>,
    /// When the link last made progress while slots were open.
    progress: Instant,
    /// Replies may take for ever (blocking commands).
    patient: bool,
    task: Option<Waker>,
}

struct Slot {
    sink: Rc<dyn Sink>,
    /// Position of the request's first byte in the stream of this connection.
    start: u64,
    /// False for commands that a transaction only queues: a lost link means that they did not run.
    executes: bool,
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
                unwritten: BytesMut::new(),
                written: 0,
                slots: VecDeque::new(),
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

    /// Whether a command that blocks was sent on the link.
    pub fn is_patient(&self) -> bool {
        self.inner.borrow().patient
    }

    /// From now on replies may take longer than `response_timeout`: the link carries a command that blocks.
    pub fn wait_patiently(&self) {
        self.inner.borrow_mut().patient = true;
    }

    /// Appends a judged request. Its reply, or what became of it, goes to `sink`. `executes` is false for a command
    /// that a transaction queues.
    ///
    /// Returns false, and keeps nothing, if the upstream is certainly unreachable just now.
    #[must_use]
    pub fn send(&self, judged: Judged<'_>, sink: Rc<dyn Sink>, executes: bool) -> bool {
        self.append(judged.wire(), sink, executes)
    }

    /// Empties the queue of the transaction that is open on this link: two requests, DISCARD and MULTI, whose replies go to
    /// `sink`. False as with [`Link::send`]; then the link is dead, and the queue with it.
    #[must_use]
    pub fn restart_transaction(&self, sink: &Rc<dyn Sink>) -> bool {
        [DISCARD, MULTI].into_iter().all(|wire| self.append(wire, sink.clone(), false))
    }

    fn append(&self, wire: &[u8], sink: Rc<dyn Sink>, executes: bool) -> bool {
        let mut inner = self.inner.borrow_mut();
        let open = matches!(inner.phase, Phase::Up | Phase::Connecting);
        if !open || inner.unwritten.len() > MAX_UNWRITTEN_BYTES {
            return false;
        }
        if inner.slots.is_empty() {
            inner.progress = Instant::now();
        }
        let start = inner.written.saturating_add(inner.unwritten.len() as u64);
        inner.unwritten.extend_from_slice(wire);
        inner.slots.push_back(Slot { sink, start, executes });
        inner.wake();
        true
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
            let certain = slot.start >= written || !slot.executes;
            slot.sink.deliver(if certain { Delivery::NotSent } else { Delivery::InDoubt });
        }
    }
}

impl Inner {
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
    loop {
        match dial(&settings, link.key).await {
            Ok(stream) => {
                if link.is_dead() {
                    break;
                }
                link.inner.borrow_mut().phase = Phase::Up;
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
        if lifetime == Lifetime::SingleUse || link.is_dead() {
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

/// Hands every complete reply in `input` to the session whose slot is next.
fn distribute(link: &Link, scanner: &mut ReplyScanner, input: &mut BytesMut) -> Result<(), &'static str> {
    loop {
        let frame = match scanner.scan(input) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(_) => return Err("bytes that are no reply"),
        };
        if frame.kind == ReplyKind::Push {
            return Err("a push that nobody asked for");
        }
        let slot = link.inner.borrow_mut().next_slot()?;
        let (reply, _) = input.split_at_checked(frame.len).ok_or("a reply of impossible length")?;
        slot.sink.deliver(Delivery::Reply(reply));
        input.advance(frame.len);
    }
}

impl Inner {
    /// Takes the slot that the next reply belongs to.
    fn next_slot(&mut self) -> Result<Slot, &'static str> {
        let written = self.written;
        match self.slots.front() {
            None => Err("a reply that nobody waits for"),
            // SECURITY: a surplus reply, which would be another client's.
            Some(slot) if slot.start >= written => Err("a reply to a request that was not sent"),
            Some(_) => self.slots.pop_front().ok_or("a reply that nobody waits for"),
        }
    }
}
