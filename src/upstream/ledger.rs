//! What a link knows: what is to be written, whose replies are still to come, and what its sessions may have left on it.
//!
//! INVARIANT: replies are matched to slots by order alone, so any doubt about the order (a surplus reply, a reply to a
//! request that was not written) is an error, which poisons the link.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Buf, Bytes};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::dial::LinkKey;
use super::expect::Expect;
use super::names::{Names, Renamed};
use super::outgoing::Outgoing;
use super::scrub::{Scope, View, scope_of};
use super::sink::Sink;
use super::stand_in::Standing;
use crate::command::{Affinity, Guard};
use crate::policy::Judged;
use crate::resp::{Protocol, ReplyKind};

/// A link refuses requests when this many bytes wait to be written: the upstream has stopped reading.
const MAX_UNWRITTEN_BYTES: usize = 256 * 1024 * 1024;

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

/// The state of a link.
pub(super) struct Inner {
    pub(super) phase: Phase,
    /// Of a leased link, while it is in use.
    pub(super) permit: Option<Permit>,
    /// The connection's number at the upstream, of a leased link.
    pub(super) id: Option<i64>,
    pub(super) outgoing: Outgoing,
    /// Bytes of requests that were handed to the network so far on this connection.
    pub(super) written: u64,
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
    /// It is so large that others should not wait behind it.
    pub(super) large: bool,
    /// Not read until the client has read.
    pub(super) paused: bool,
    /// A transaction may be open, or keys watched: where the last MULTI or WATCH began in the stream.
    pub(super) transaction: Option<u64>,
    /// Something else may be left of what its session did.
    pub(super) stained: bool,
    /// What the connection is, or soon will be, set to.
    pub(super) standing: Standing,
    /// The protocol of the frames that come now.
    pub(super) protocol: Protocol,
    names: Arc<Names>,
    /// What may be in the reply to EXEC, if the transaction that is open has queued such a command.
    queued: Option<Scope>,
    pub(super) task: Option<Waker>,
}

pub(super) struct Slot {
    pub(super) sink: Rc<dyn Sink>,
    /// Position of the request's first byte in the stream of this connection.
    pub(super) start: u64,
    pub(super) expect: Expect,
    /// If the reply is no error, neither transaction nor watches are left.
    ends_transaction: bool,
    /// The request runs code, or may load some.
    code: bool,
}

impl Inner {
    pub(super) fn new(key: LinkKey, permit: Option<Permit>, names: Arc<Names>) -> Self {
        Inner {
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
            large: false,
            paused: false,
            transaction: None,
            stained: false,
            standing: Standing { key, no_touch: false },
            protocol: key.protocol,
            names,
            queued: None,
            task: None,
        }
    }

    pub(super) fn up(&mut self, id: Option<i64>) {
        self.phase = Phase::Up;
        self.id = id;
    }

    pub(super) fn takes_requests(&self) -> bool {
        let open = matches!(self.phase, Phase::Up | Phase::Connecting);
        open && self.outgoing.len() <= MAX_UNWRITTEN_BYTES
    }

    pub(super) fn append(&mut self, wire: &[u8], sink: Rc<dyn Sink>, expect: Expect) {
        self.append_slot(sink, expect, false, false);
        self.copy(wire);
    }

    /// Appends the bytes of a request, under the name that the upstream knows its command by.
    pub(super) fn copy(&mut self, wire: &[u8]) {
        match self.names.renamed(wire) {
            None => self.outgoing.copy(wire),
            Some(Renamed { name_at, bulk, rest_at }) => {
                self.outgoing.copy(wire.get(..name_at).unwrap_or_default());
                self.outgoing.copy(bulk);
                self.outgoing.copy(wire.get(rest_at..).unwrap_or_default());
            }
        }
    }

    /// The same for a large one, of which nothing but the name is copied.
    pub(super) fn share(&mut self, mut whole: Bytes) {
        if let Some(Renamed { name_at, bulk, rest_at }) = self.names.renamed(&whole) {
            self.outgoing.copy(whole.get(..name_at).unwrap_or_default());
            self.outgoing.copy(bulk);
            whole.advance(rest_at.min(whole.len()));
        }
        self.outgoing.share(whole);
    }

    /// Whether requests or replies are changed on their way, where the upstream has other names for commands.
    pub(super) fn renames(&self) -> bool {
        !self.names.is_empty()
    }

    /// Where the reply to a request goes, without names of the upstream's own.
    pub(super) fn view(&mut self, judged: Judged<'_>, expect: Expect, sink: Rc<dyn Sink>) -> Rc<dyn Sink> {
        if self.names.is_empty() {
            return sink;
        }
        let name = &*judged.spec().name;
        let own = scope_of(name, self.names.renamed(judged.wire()).is_some());
        let inside = match name {
            "exec" | "multi" => self.queued.take(),
            _ if expect == Expect::Queued => {
                self.queued = self.queued.max(own);
                None
            }
            _ => None,
        };
        let inside = inside.filter(|_| name == "exec");
        let Some(scope) = own.max(inside) else { return sink };
        Rc::new(View::new(sink, self.names.clone(), scope, inside.is_some()))
    }

    /// Makes the slot of a request whose bytes are appended next.
    pub(super) fn append_slot(
        &mut self,
        sink: Rc<dyn Sink>,
        expect: Expect,
        ends_transaction: bool,
        code: bool,
    ) {
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
    pub(super) fn note_state(&mut self, judged: Judged<'_>, expect: Expect) {
        // DEBUG may change what its connection is, and how it speaks.
        self.stained |= judged.spec().guard == Guard::Debug;
        match judged.spec().affinity {
            // EXEC's reply may have such errors inside as [`Inner::answer`] is wary of.
            _ if expect == Expect::Queued => self.stained |= judged.spec().scripting,
            Affinity::Shared | Affinity::LeasedForCommand => {}
            _ => match &*judged.spec().name {
                "multi" | "watch" => self.note_transaction(),
                "discard" | "exec" | "unwatch" => {}
                _ => self.stained = true,
            },
        }
    }

    /// A transaction begins with what is appended next.
    pub(super) fn note_transaction(&mut self) {
        self.transaction = Some(self.end());
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

    pub(super) fn wake(&mut self) {
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
        (self.passing, self.passed, self.large) = (false, 0, false);
        // Errors of code may have line breaks inside (FUNCTION LOAD; scripts in Redis 8.2): more may still come.
        self.stained |= slot.code && kind == ReplyKind::Error;
        if slot.ends_transaction && kind != ReplyKind::Error {
            // Of those that began before it.
            self.transaction = self.transaction.filter(|start| *start > slot.start);
        }
        Ok(slot.sink)
    }

    /// Whose reply comes next, on a link on which nothing but replies can come and no state is kept.
    pub(super) fn plain_reader(&self) -> Option<Rc<dyn Sink>> {
        let plain = self.permit.is_none() && self.listener.is_none() && !self.passing;
        self.slots.front().filter(|_| plain).map(|slot| slot.sink.clone())
    }

    /// Counts the reply to the oldest request as [`Inner::answer`], if it is one of `reader` and nothing but a reply.
    #[inline]
    pub(super) fn answer_plain(&mut self, kind: ReplyKind, reader: &Rc<dyn Sink>) -> bool {
        let plain = kind != ReplyKind::Push
            && self.slots.front().is_some_and(|slot| {
                slot.expect == Expect::Reply
                    && slot.start < self.written
                    && Rc::as_ptr(&slot.sink).addr() == Rc::as_ptr(reader).addr()
            });
        if plain {
            self.slots.pop_front();
            self.patient &= !self.slots.is_empty();
        }
        plain
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
