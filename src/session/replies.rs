//! Replies to one client, in the order of its requests, and the messages of its subscriptions between them.
//!
//! A reply of Redkeep's own may be ready before the reply to an earlier request that is still at the upstream, so it
//! waits in its slot. INVARIANT: bytes reach `ready` in the order in which slots were taken.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::fence;
use super::limits::{Limits, OutputLimit};
use crate::acl::User;
use crate::resp::encode;
use crate::upstream::{Delivery, Sink};

/// The code for a command that certainly did not reach the upstream: clients know it and retry by themselves.
pub(super) const NOT_SENT: &str = "LOADING redkeep: upstream unavailable, command not sent";

/// The same, while all leased links are in use.
pub(super) const NONE_FREE: &str = "LOADING redkeep: no upstream connection free, command not sent";

/// The code for a command that may have run: no client retries it.
pub(super) const IN_DOUBT: &str = "INDOUBT redkeep: upstream connection lost, command may have been executed";

/// Requests of one session that may be at the upstream at once: those of others wait behind them, on the same link or in
/// Redis, which is through with so many in about a tenth of a millisecond.
const MAX_OPEN: usize = 128;

/// The same in bytes, of requests and replies that are as large as the last ones were.
const MAX_OPEN_BYTES: usize = 256 * 1024;

/// Replies of one session, to come or waiting behind one that is.
const MAX_SLOTS: usize = 4096;

/// Bytes of replies that may wait behind one that is still at the upstream.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// A large reply is read from the upstream until so much of it waits for the client.
const MAX_PASSED_BYTES: usize = 1024 * 1024;

/// An empty buffer keeps no more than this many bytes of memory.
const KEPT_BYTES: usize = 256 * 1024;

/// Where the replies of one session gather. Shared by the session's task and the links that it uses.
#[derive(Default)]
pub struct Outbox {
    limits: Limits,
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Bytes that may be written to the client.
    ready: BytesMut,
    /// Replies that are not ready, or wait behind one that is not; the first is always open.
    slots: VecDeque<Slot>,
    /// How many of the slots are open.
    open: usize,
    /// Bytes of a request and of a reply, as they were lately.
    usual: usize,
    /// How many requests were ever sent.
    taken: u64,
    /// Bytes of replies that wait in slots.
    waiting: usize,
    /// Confirmations of subscriptions that the session has not looked at yet.
    confirmations: Vec<Bytes>,
    /// The client wants no reply to the requests that come now.
    muted: bool,
    /// The client is a replica, and what comes is the stream that it follows.
    replica: bool,
    /// A piece of the reply to the oldest request is there, and the rest is to come.
    partial: bool,
    /// The rest will never come.
    torn: bool,
    /// The client got a reply in pieces since somebody asked.
    large: bool,
    /// Messages that wait, since the reply before them is still being put together.
    postponed: Option<BytesMut>,
    /// Since when more than the soft limit waits for the client; messages tell which limit that is.
    over_soft: Option<(Instant, OutputLimit)>,
    /// Bytes of a reply that are kept until all of it is there.
    gathered: usize,
    /// By whose patterns messages are filtered (`acl.fence`).
    fence: Option<Arc<User>>,
    /// More waited for the client than is allowed.
    flooded: bool,
    /// The session has ended: whatever still arrives is dropped.
    closed: bool,
    task: Option<Waker>,
    /// The link that waits until the client has read.
    reader: Option<Waker>,
}

enum Slot {
    /// The replies to so many requests in a row are to come; nobody will see them if `muted`.
    Open {
        count: usize,
        muted: bool,
    },
    Local(Bytes),
}

impl Outbox {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Outbox { limits, inner: RefCell::default() }
    }

    /// Filters messages by the patterns of this user from now on.
    pub fn fence(&self, user: Option<&Arc<User>>) {
        self.inner.borrow_mut().fence = user.cloned();
    }

    /// Counts what is kept of a large reply until all of it is there: as if it waited here.
    pub fn gather(&self, bytes: usize) {
        let mut inner = self.inner.borrow_mut();
        let hard = self.limits.normal.hard;
        inner.gathered = bytes;
        inner.large |= bytes > 0;
        inner.flooded |= hard > 0 && inner.held() > hard;
        inner.wake();
    }

    /// What its client is held to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many requests are not answered yet.
    pub fn open(&self) -> usize {
        self.inner.borrow().open
    }

    /// How many requests were ever sent to a link.
    pub fn slots_taken(&self) -> u64 {
        self.inner.borrow().taken
    }

    /// From now on the client is a replica, which is held to the limits of its class.
    pub fn serve_replica(&self) {
        self.inner.borrow_mut().replica = true;
    }

    /// Whether all requests have been answered.
    pub fn is_settled(&self) -> bool {
        self.inner.borrow().open == 0
    }

    /// Whether so many replies are to come, or wait behind one that is, that no further request should be taken: it would
    /// be in the way of other sessions, or there would be too much to be kept, whether the client reads or not.
    pub fn is_crowded(&self) -> bool {
        self.room() == 0
    }

    /// How many further requests may be taken before that.
    pub fn room(&self) -> usize {
        let inner = self.inner.borrow();
        if inner.slots.len() >= MAX_SLOTS || inner.waiting >= MAX_WAITING_BYTES {
            return 0;
        }
        let by_size = MAX_OPEN_BYTES.checked_div(inner.usual).unwrap_or(MAX_OPEN).max(1);
        MAX_OPEN.min(by_size).saturating_sub(inner.open)
    }

    /// How many bytes wait for the client.
    pub fn backlog(&self) -> usize {
        self.inner.borrow().ready.len()
    }

    /// The same, with those that wait behind a reply that is still to come.
    pub fn held(&self) -> usize {
        self.inner.borrow().held()
    }

    /// Whether the client wants to see the replies to the requests that come from now on (CLIENT REPLY).
    pub fn mute(&self, muted: bool) {
        self.inner.borrow_mut().muted = muted;
    }

    /// Takes the slot of a request of so many bytes that was sent to a link.
    pub fn take_slot(&self, bytes: usize) {
        self.take_slots(1, bytes);
    }

    /// The same for requests in a row, of so many bytes together.
    pub fn take_slots(&self, more: usize, bytes: usize) {
        let mut inner = self.inner.borrow_mut();
        let Some(each) = bytes.checked_div(more) else { return };
        inner.note_size(each);
        let muted = inner.muted;
        match inner.slots.back_mut() {
            Some(Slot::Open { count, muted: same }) if *same == muted => *count = count.saturating_add(more),
            _ => inner.slots.push_back(Slot::Open { count: more, muted }),
        }
        inner.open = inner.open.saturating_add(more);
        inner.taken = inner.taken.wrapping_add(more as u64);
    }

    /// Adds a reply of Redkeep's own, behind all replies that are still open. Empties `reply`.
    pub fn reply(&self, reply: &mut BytesMut) {
        let mut inner = self.inner.borrow_mut();
        if inner.muted {
            reply.clear();
        } else if inner.slots.is_empty() {
            inner.ready.extend_from_slice(reply);
            reply.clear();
        } else {
            inner.waiting = inner.waiting.saturating_add(reply.len());
            inner.slots.push_back(Slot::Local(reply.split().freeze()));
        }
    }

    /// Gives `write` the bytes that are ready; it takes away what it wrote.
    pub fn flush<R>(&self, write: impl FnOnce(&mut BytesMut) -> R) -> R {
        let mut inner = self.inner.borrow_mut();
        let written = write(&mut inner.ready);
        if inner.ready.is_empty() && inner.ready.capacity() > KEPT_BYTES {
            inner.ready = BytesMut::new();
        }
        let held = inner.held();
        inner.over_soft = inner.over_soft.filter(|(_, limit)| held > limit.soft);
        if inner.ready.len() <= MAX_PASSED_BYTES / 2
            && let Some(reader) = inner.reader.take()
        {
            reader.wake();
        }
        written
    }

    /// Whether [`Outbox::take_large`] would say so.
    pub fn had_large(&self) -> bool {
        self.inner.borrow().large
    }

    /// Whether a reply was so large that it came in pieces, since the last call.
    pub fn take_large(&self) -> bool {
        std::mem::take(&mut self.inner.borrow_mut().large)
    }

    /// Whether the client got part of a reply whose rest will never come: nothing that is sent now would be understood.
    pub fn is_torn(&self) -> bool {
        self.inner.borrow().torn
    }

    /// The confirmations of subscriptions since the last call, in their order.
    pub fn take_confirmations(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.inner.borrow_mut().confirmations)
    }

    /// Whether so many bytes waited for the client, or for so long, that the session must end.
    pub fn is_flooded(&self) -> bool {
        let inner = self.inner.borrow();
        inner.flooded || inner.over_soft.is_some_and(|(since, limit)| since.elapsed() >= limit.soft_time)
    }

    /// When the session must end if the client goes on not to read.
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.borrow().over_soft.and_then(|(since, limit)| since.checked_add(limit.soft_time))
    }

    /// Whether the session has ended, or was told to.
    pub fn is_closed(&self) -> bool {
        self.inner.borrow().closed
    }

    /// Remembers whom to wake when a reply arrives.
    pub fn register(&self, task: &Waker) {
        let mut inner = self.inner.borrow_mut();
        match &inner.task {
            Some(known) if known.will_wake(task) => {}
            _ => inner.task = Some(task.clone()),
        }
    }

    /// Wakes the session: something that it should look at has changed.
    pub fn wake(&self) {
        self.inner.borrow_mut().wake();
    }

    /// Holds messages back until the next reply is delivered, which they must not overtake.
    pub fn hold_messages(&self) {
        self.inner.borrow_mut().postponed.get_or_insert_default();
    }

    /// Ends the outbox: replies that are ready or still to come are dropped.
    pub fn close(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.closed = true;
        inner.open = 0;
        inner.ready = BytesMut::new();
        inner.slots = VecDeque::new();
        inner.confirmations = Vec::new();
        inner.postponed = None;
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }
}

impl Inner {
    /// Counts a request or a reply for a quarter of what is usual.
    fn note_size(&mut self, bytes: usize) {
        self.usual = (self.usual - self.usual / 4).saturating_add(bytes / 4);
    }

    fn held(&self) -> usize {
        let postponed = self.postponed.as_ref().map_or(0, BytesMut::len);
        self.ready.len().saturating_add(self.waiting).saturating_add(postponed).saturating_add(self.gathered)
    }

    /// Adds a message or confirmation, behind the reply that is being put together if there is one.
    fn push_message(&mut self, frame: &[u8], limit: OutputLimit) {
        let Some(mut postponed) = self.postponed.take() else { return self.push(frame, limit) };
        self.flooded |= limit.hard > 0
            && self.held().saturating_add(postponed.len()).saturating_add(frame.len()) > limit.hard;
        if !self.flooded {
            postponed.extend_from_slice(frame);
        }
        self.postponed = Some(postponed);
    }

    /// Adds what the client is to get. What it does not read is bounded.
    fn push(&mut self, frame: &[u8], limit: OutputLimit) {
        let held = self.held().saturating_add(frame.len());
        self.flooded |= limit.hard > 0 && held > limit.hard;
        if self.flooded {
            self.ready = BytesMut::new();
            return;
        }
        if limit.soft > 0 && held > limit.soft && self.over_soft.is_none() {
            self.over_soft = Some((Instant::now(), limit));
        }
        self.ready.extend_from_slice(frame);
    }

    /// Whether a delivery answers the oldest open request. What does not is dealt with here.
    fn answers(&mut self, delivery: Delivery<'_>, limits: &Limits) -> bool {
        let of_messages = if self.replica { limits.replica } else { limits.pubsub };
        match delivery {
            Delivery::Confirmation { frame, last } => {
                self.push_message(frame, of_messages);
                self.confirmations.push(Bytes::copy_from_slice(frame));
                last
            }
            Delivery::Message(frame) => {
                match self.fence.clone() {
                    None => self.push_message(frame, of_messages),
                    Some(user) => {
                        if let Some(seen) = fence::message(&user, frame) {
                            self.push_message(&seen, of_messages);
                        }
                    }
                }
                false
            }
            Delivery::Part(piece) => {
                self.partial = true;
                self.large = true;
                if !matches!(self.slots.front(), Some(Slot::Open { muted: true, .. })) {
                    self.push(piece, limits.normal);
                }
                false
            }
            Delivery::Ended => false,
            Delivery::InDoubt | Delivery::NotSent | Delivery::Reply(_) => true,
        }
    }

    /// Counts replies to requests of the first slot; whether nobody sees them.
    fn answered(&mut self, replies: usize) -> bool {
        self.open = self.open.saturating_sub(replies);
        let Some(Slot::Open { count, muted }) = self.slots.front_mut() else {
            debug_assert!(false, "a reply without an open slot");
            return false;
        };
        let muted = *muted;
        *count = count.saturating_sub(replies);
        if *count == 0 {
            self.slots.pop_front();
        }
        muted
    }

    /// Lets go of the replies of Redkeep's own that have waited long enough.
    fn release(&mut self) {
        while let Some(Slot::Local(_)) = self.slots.front() {
            if let Some(Slot::Local(reply)) = self.slots.pop_front() {
                self.waiting = self.waiting.saturating_sub(reply.len());
                self.ready.extend_from_slice(&reply);
            }
        }
    }

    fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

impl Sink for Outbox {
    fn deliver(&self, delivery: Delivery<'_>) {
        let mut inner = self.inner.borrow_mut();
        if inner.closed {
            return;
        }
        if !inner.answers(delivery, &self.limits) {
            return inner.wake();
        }
        if std::mem::take(&mut inner.partial) && !matches!(delivery, Delivery::Reply(_)) {
            inner.torn = true;
            return inner.wake();
        }
        let muted = inner.answered(1);
        match delivery {
            _ if muted => {}
            // A confirmation is there already, and the others answer nothing.
            Delivery::Confirmation { .. } | Delivery::Ended | Delivery::Message(_) | Delivery::Part(_) => {}
            Delivery::Reply(bytes) => {
                inner.note_size(bytes.len());
                inner.push(bytes, self.limits.normal);
            }
            Delivery::InDoubt => encode::error(&mut inner.ready, IN_DOUBT.as_bytes()),
            Delivery::NotSent => encode::error(&mut inner.ready, NOT_SENT.as_bytes()),
        }
        if let Some(postponed) = inner.postponed.take() {
            inner.ready.extend_from_slice(&postponed);
        }
        inner.release();
        inner.wake();
    }

    fn run(&self) -> usize {
        let inner = self.inner.borrow();
        match inner.slots.front() {
            Some(Slot::Open { count, muted: false })
                if !inner.closed && !inner.partial && inner.postponed.is_none() =>
            {
                *count
            }
            _ => 0,
        }
    }

    fn deliver_run(&self, replies: &[u8], count: usize) {
        let mut inner = self.inner.borrow_mut();
        inner.answered(count);
        inner.note_size(replies.len().checked_div(count).unwrap_or_default());
        inner.push(replies, self.limits.normal);
        inner.release();
        inner.wake();
    }

    fn takes_parts(&self) -> bool {
        true
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        if inner.closed || inner.ready.len() < MAX_PASSED_BYTES {
            return Poll::Ready(());
        }
        inner.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(outbox: &Outbox) -> Vec<u8> {
        outbox.flush(|ready| ready.split().to_vec())
    }

    #[test]
    fn a_local_reply_waits_for_the_replies_before_it() {
        let outbox = Outbox::default();
        outbox.reply(&mut BytesMut::from("+1\r\n"));
        outbox.take_slot(0);
        outbox.reply(&mut BytesMut::from("+3\r\n"));
        outbox.take_slot(0);
        outbox.reply(&mut BytesMut::from("+5\r\n"));
        assert_eq!(ready(&outbox), b"+1\r\n");
        outbox.deliver(Delivery::Reply(b"+2\r\n"));
        assert_eq!(ready(&outbox), b"+2\r\n+3\r\n");
        assert!(!outbox.is_settled());
        outbox.deliver(Delivery::InDoubt);
        assert!(outbox.is_settled());
        assert_eq!(ready(&outbox), format!("-{IN_DOUBT}\r\n+5\r\n").into_bytes());
    }

    #[test]
    fn so_many_requests_are_under_way_at_once_and_fewer_if_they_are_large() {
        let under_way = |outbox: &Outbox, request, reply: &[u8]| {
            let mut count = 0;
            while !outbox.is_crowded() {
                outbox.take_slot(request);
                count += 1;
            }
            for _ in 0..count {
                outbox.deliver(Delivery::Reply(reply));
            }
            ready(outbox);
            count
        };
        let outbox = Outbox::default();
        assert_eq!(under_way(&outbox, 40, b"+OK\r\n"), MAX_OPEN);
        let large = [0; 32 * 1024];
        under_way(&outbox, 40, &large);
        assert!((8..=32).contains(&under_way(&outbox, 32 * 1024, &large)));
        under_way(&outbox, 40, b"+OK\r\n");
        assert_eq!(under_way(&outbox, 40, b"+OK\r\n"), MAX_OPEN);
    }

    #[test]
    fn messages_pass_and_confirmations_answer_their_request_with_the_last_one() {
        let outbox = Outbox::default();
        outbox.take_slot(0);
        outbox.reply(&mut BytesMut::from("+local\r\n"));
        outbox.deliver(Delivery::Confirmation { frame: b"1", last: false });
        outbox.deliver(Delivery::Message(b"m"));
        assert_eq!(ready(&outbox), b"1m");
        assert!(!outbox.is_settled());
        outbox.deliver(Delivery::Confirmation { frame: b"2", last: true });
        assert!(outbox.is_settled());
        outbox.deliver(Delivery::Message(b"m"));
        outbox.deliver(Delivery::Ended);
        assert_eq!(ready(&outbox), b"2+local\r\nm");
        assert_eq!(outbox.take_confirmations(), [&b"1"[..], b"2"]);
        assert!(outbox.take_confirmations().is_empty());
    }

    #[test]
    fn messages_that_nobody_reads_are_bounded_and_then_dropped() {
        let outbox = Outbox::default();
        let message = vec![b'x'; 1024 * 1024];
        for _ in 0..32 {
            outbox.deliver(Delivery::Message(&message));
        }
        assert!(!outbox.is_flooded());
        assert_eq!(outbox.backlog(), 32 * 1024 * 1024);
        outbox.deliver(Delivery::Message(b"y"));
        assert!(outbox.is_flooded());
        outbox.deliver(Delivery::Message(b"y"));
        assert_eq!(outbox.backlog(), 0);
    }

    #[test]
    fn a_reply_in_pieces_is_one_reply_and_is_torn_if_the_rest_does_not_come() {
        let outbox = Outbox::default();
        outbox.take_slot(0);
        outbox.reply(&mut BytesMut::from("+local\r\n"));
        outbox.deliver(Delivery::Part(b"$4\r\nab"));
        assert!(!outbox.is_settled());
        outbox.deliver(Delivery::Reply(b"cd\r\n"));
        assert!(outbox.is_settled());
        assert!(outbox.take_large() && !outbox.take_large());
        assert_eq!(ready(&outbox), b"$4\r\nabcd\r\n+local\r\n");
        outbox.take_slot(0);
        outbox.deliver(Delivery::Part(b"$4\r\nab"));
        assert!(!outbox.is_torn());
        outbox.deliver(Delivery::InDoubt);
        assert!(outbox.is_torn());
        assert_eq!(ready(&outbox), b"$4\r\nab", "no error is written into a reply");
    }

    #[test]
    fn nobody_sees_a_muted_reply_in_pieces() {
        let outbox = Outbox::default();
        outbox.mute(true);
        outbox.take_slot(0);
        outbox.mute(false);
        outbox.deliver(Delivery::Part(b"$4\r\nab"));
        outbox.deliver(Delivery::Reply(b"cd\r\n"));
        assert_eq!(ready(&outbox), b"");
    }

    #[test]
    fn replies_after_the_end_of_the_session_are_dropped() {
        let outbox = Outbox::default();
        outbox.take_slot(0);
        outbox.close();
        outbox.deliver(Delivery::Reply(b"+late\r\n"));
        outbox.deliver(Delivery::Message(b"+late\r\n"));
        assert_eq!(outbox.backlog(), 0);
    }
}
