//! What drives a link: it connects, writes what sessions have appended, and hands each reply to the session whose slot
//! is next, until the connection ends.
//!
//! A large reply is passed on in pieces, so that it is never in memory as a whole. Its client may read slowly: if
//! nobody else waits for replies on the link, the link is read no faster than the client reads. A shared link that
//! carries a large reply is retired, so that nobody else comes to wait behind it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep};
use tracing::{debug, warn};

use super::dial::{DialError, Dialled, Settings, Stream, dial};
use super::expect::{Expect, Meaning, is_monitor_line, meaning};
use super::ledger::{Inner, Phase};
use super::link::{HEALTH_INTERVAL, Link};
use super::retry::Backoff;
use super::sink::Delivery;
use super::turn::{TURN_BYTES, give_way};
use crate::resp::ReplyScanner;

/// Space that is kept free for one read from the upstream.
const READ_BYTES: usize = 64 * 1024;

/// A reply of which so much is there is passed on in pieces.
const PIECE_BYTES: usize = 64 * 1024;

/// A shared link is retired by a reply from this size on: what takes longer than a millisecond or so.
const LARGE_BYTES: usize = 1024 * 1024;

/// A connection that lasted this long was a good one; one that ends sooner counts as a failed attempt.
const STABLE: std::time::Duration = std::time::Duration::from_secs(1);

/// Largest reply, as Redis' `proto-max-bulk-len` by default.
const MAX_BULK_BYTES: usize = 512 * 1024 * 1024;

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// The session that leased the link closed it, or nobody needs it any more.
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

/// Connects and serves the link until it is dead. Shared links reconnect for ever; leased ones end with their connection:
/// the state that they were leased for is lost.
pub(super) async fn drive(link: Rc<Link>, on_dialled: impl Fn(bool)) {
    let settings = link.settings.clone();
    let mut backoff = Backoff::new();
    loop {
        match dial(&settings, link.key, !link.shared, link.mirror().map(|mirror| &**mirror)).await {
            Ok(Dialled { stream, id }) => {
                if link.is_dead() {
                    break;
                }
                link.inner.borrow_mut().up(id);
                on_dialled(true);
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
                match (&error, link.mirror()) {
                    (DialError::NoMirror(text), Some(mirror)) => {
                        mirror.refuse(text);
                        // The upstream is there.
                        on_dialled(true);
                    }
                    _ => {
                        warn_unreachable(&settings, &error);
                        on_dialled(false);
                    }
                }
                link.fail(Phase::Down);
            }
        }
        if !link.shared || link.is_retired() || link.is_dead() {
            break;
        }
        if link.is_down() {
            tokio::time::sleep(backoff.next_delay()).await;
            if link.is_retired() {
                break;
            }
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
        DialError::NoMirror(_) | DialError::Protocol | DialError::Refused(..) => {
            warn!(upstream = %settings.address, %error, "upstream refused the link");
        }
    }
}

/// What has been read and not handed out.
struct Incoming {
    bytes: BytesMut,
    scanner: ReplyScanner,
}

/// Writes requests and hands out replies until the connection ends.
async fn pump(link: &Link, mut stream: Box<dyn Stream>, settings: &Settings) -> End {
    let mut incoming = Incoming { bytes: BytesMut::new(), scanner: ReplyScanner::new(MAX_BULK_BYTES) };
    let mut timer = Box::pin(tokio::time::sleep(settings.response_timeout));
    std::future::poll_fn(|cx| {
        let mut taken: usize = 0;
        loop {
            {
                let mut inner = link.inner.borrow_mut();
                let unneeded = link.is_retired() && inner.slots.is_empty();
                if inner.phase == Phase::Dead || unneeded {
                    return Poll::Ready(End::Closed);
                }
                inner.task = Some(cx.waker().clone());
                if let Poll::Ready(Err(error)) = poll_write(&mut inner, &mut stream, cx) {
                    return Poll::Ready(End::Io(error));
                }
            }
            if poll_room(link, cx).is_pending() {
                return Poll::Pending;
            }
            match poll_read(&mut stream, &mut incoming.bytes, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(End::Eof),
                Poll::Ready(Ok(count)) => {
                    // Part of a reply is progress, too: a large one may take its time.
                    link.inner.borrow_mut().progress = Instant::now();
                    if let Err(reason) = distribute(link, &mut incoming) {
                        return Poll::Ready(End::Poisoned(reason));
                    }
                    taken = taken.saturating_add(count);
                    if taken >= TURN_BYTES {
                        give_way(cx);
                        return Poll::Pending;
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(End::Io(error)),
                Poll::Pending => return poll_timer(link, &mut timer, &mut incoming.bytes, settings, cx),
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
    while !inner.outgoing.is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, inner.outgoing.next()) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => {
                inner.wrote(count);
                wrote = true;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => break,
        }
    }
    if wrote || inner.outgoing.is_empty() {
        // TLS keeps records of its own that wait for the socket.
        return Pin::new(stream).poll_flush(cx);
    }
    Poll::Pending
}

/// Pending while the client of the reply that is being passed on in pieces should read first, and nobody else waits.
fn poll_room(link: &Link, cx: &mut Context<'_>) -> Poll<()> {
    let Some(sink) = link.inner.borrow().sole_reader() else { return Poll::Ready(()) };
    let room = sink.poll_room(cx);
    let mut inner = link.inner.borrow_mut();
    if room.is_pending() || inner.paused {
        // The time that the client takes is not the upstream's.
        inner.progress = Instant::now();
    }
    inner.paused = room.is_pending();
    room
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
    input: &mut BytesMut,
    settings: &Settings,
    cx: &mut Context<'_>,
) -> Poll<End> {
    while timer.as_mut().poll(cx).is_ready() {
        link.check_health();
        let inner = link.inner.borrow();
        let waiting = !inner.slots.is_empty() && !inner.patient;
        if inner.slots.is_empty() && input.is_empty() {
            // A reply that had to be seen as a whole may have made it large.
            *input = BytesMut::new();
        }
        let (since, period) = match waiting {
            true => (inner.progress, settings.response_timeout),
            false => (Instant::now(), settings.response_timeout.min(HEALTH_INTERVAL)),
        };
        let deadline = since.checked_add(period).unwrap_or_else(Instant::now);
        if deadline <= Instant::now() {
            return Poll::Ready(End::Timeout);
        }
        timer.as_mut().reset(deadline);
    }
    Poll::Pending
}

/// Hands every complete frame in `incoming` to the session that it is for, and what is there of a large one.
fn distribute(link: &Link, incoming: &mut Incoming) -> Result<(), &'static str> {
    let Incoming { bytes, scanner } = incoming;
    loop {
        let stream = link.inner.borrow().stream();
        if let Some(sink) = stream {
            sink.deliver(Delivery::Message(bytes));
            bytes.clear();
            return Ok(());
        }
        if hand_out_run(link, bytes, scanner) {
            continue;
        }
        let found = match scanner.scan(bytes) {
            Ok(Some(found)) => found,
            Ok(None) => return pass_on(link, incoming),
            Err(_) => return Err("bytes that are no reply"),
        };
        let (frame, _) = bytes.split_at_checked(found.len).ok_or("a reply of impossible length")?;
        let (sink, delivery) = {
            let mut inner = link.inner.borrow_mut();
            let oldest = inner.slots.front().map(|slot| slot.expect);
            let listening = inner.listener.is_some();
            let line = inner.monitors && oldest != Some(Expect::Monitor) && is_monitor_line(frame);
            match if line {
                Meaning::Message
            } else if inner.passing {
                Meaning::Reply
            } else {
                meaning(frame, found.kind, inner.protocol, listening, oldest)?
            } {
                Meaning::Confirmation => {
                    let (sink, last) = inner.confirm()?;
                    (Some(sink), Delivery::Confirmation { frame, last })
                }
                Meaning::Message => (inner.listener.clone(), Delivery::Message(frame)),
                Meaning::Reply => (Some(inner.answer(found.kind, frame)?), Delivery::Reply(frame)),
            }
        };
        if let Some(sink) = sink {
            sink.deliver(delivery);
        }
        bytes.advance(found.len);
    }
}

/// Hands the replies that `bytes` begins with to the session that they are for, all that come in a row, if these are
/// nothing but replies. False if there is none of which that is certain.
fn hand_out_run(link: &Link, bytes: &mut BytesMut, scanner: &mut ReplyScanner) -> bool {
    let mut inner = link.inner.borrow_mut();
    let Some(sink) = inner.plain_reader() else { return false };
    let most = sink.run();
    let (mut count, mut length) = (0, 0);
    while count < most {
        // What else is there, the scanner finds again.
        match scanner.scan(bytes.get(length..).unwrap_or_default()) {
            Ok(Some(found)) if inner.answer_plain(found.kind, &sink) => length += found.len,
            _ => break,
        }
        count += 1;
    }
    drop(inner);
    let Some(replies) = bytes.get(..length).filter(|_| count > 0) else { return false };
    sink.deliver_run(replies, count);
    bytes.advance(length);
    true
}

/// Passes on what is there of a reply that is large, if it is certain to be a reply and its reader takes it in pieces.
fn pass_on(link: &Link, incoming: &mut Incoming) -> Result<(), &'static str> {
    let Incoming { bytes, scanner } = incoming;
    let sink = {
        let mut inner = link.inner.borrow_mut();
        if !inner.passing {
            // An attribute or a push may turn out to be no reply.
            let unsure = inner.monitors || matches!(bytes.first(), Some(b'|' | b'>'));
            if bytes.len() < PIECE_BYTES || unsure || !inner.begin_passing()? {
                return Ok(());
            }
        }
        inner.passed = inner.passed.saturating_add(bytes.len());
        if inner.passed.max(scanner.at_least()) >= LARGE_BYTES {
            inner.large = true;
        }
        inner.slots.front().map(|slot| slot.sink.clone())
    };
    let passed = scanner.pass(bytes.len());
    if let (Some(sink), Some(piece)) = (sink, bytes.get(..passed)) {
        sink.deliver(Delivery::Part(piece));
    }
    bytes.advance(passed.min(bytes.len()));
    Ok(())
}
