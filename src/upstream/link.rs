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

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::dial::{LinkKey, Settings};
use super::expect::Expect;
use super::ledger::{Inner, Permit, Phase};
use super::mirror::Mirror;
use super::outgoing::Outgoing;
use super::pump::drive;
use super::sink::{Delivery, Sink};
use crate::policy::{Judged, Version};
use crate::resp::RequestBuf;

/// A shared link that nobody uses for so long is asked whether the upstream is still there; a leased one that has rested
/// for so long ends.
pub(super) const HEALTH_INTERVAL: Duration = Duration::from_secs(10);

const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";
const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";

/// The sessions' side of one upstream connection. Owned by one worker.
pub struct Link {
    /// What its connection was made with, and will be made with again.
    pub(super) settings: Rc<Settings>,
    pub(super) key: LinkKey,
    /// Shared by sessions, so that it reconnects.
    pub(super) shared: bool,
    /// The user as whom it is logged in, if that is not Redkeep's own.
    mirror: Option<Arc<Mirror>>,
    /// A shared link that takes no more requests.
    retired: Cell<bool>,
    pub(super) inner: RefCell<Inner>,
}

/// Where the replies to Redkeep's own requests go.
struct Nobody;

impl Sink for Nobody {
    fn deliver(&self, _: Delivery<'_>) {}
}

/// Plain requests in a row: the link takes nothing else while this lives.
pub struct Row<'l> {
    inner: RefMut<'l, Inner>,
    sink: &'l Rc<dyn Sink>,
}

impl Row<'_> {
    /// Appends a judged request. SECURITY: none that must run as a mirrored user.
    #[inline]
    pub fn push(&mut self, judged: Judged<'_>) -> bool {
        if judged.is_mirrored() {
            return false;
        }
        self.inner.append_slot(self.sink.clone(), Expect::Reply, false, judged.spec().scripting);
        self.inner.outgoing.copy(judged.wire());
        true
    }
}

impl Link {
    /// Starts a link that sessions share, and the task that drives it on this worker. `on_dialled` is told of each
    /// attempt to connect whether it succeeded.
    pub fn open(settings: Rc<Settings>, key: LinkKey, on_dialled: impl Fn(bool) + 'static) -> Rc<Link> {
        Link::new(settings, key, None, None).start(on_dialled)
    }

    /// The same for a link of one session, as `mirror` if one is given. The permit is given back when the link has ended,
    /// or rests.
    pub fn open_leased(
        settings: Rc<Settings>,
        key: LinkKey,
        permit: Permit,
        mirror: Option<Arc<Mirror>>,
        on_dialled: impl Fn(bool) + 'static,
    ) -> Rc<Link> {
        Link::new(settings, key, Some(permit), mirror).start(on_dialled)
    }

    fn start(self, on_dialled: impl Fn(bool) + 'static) -> Rc<Link> {
        let link = Rc::new(self);
        let (driven, driver) = (Rc::downgrade(&link), drive(link.clone(), on_dialled));
        tokio::task::spawn_local(async move {
            let panicked = tokio::task::spawn_local(driver).await.is_err();
            // Every open slot gets its error, and nobody waits for a link that nobody drives.
            if let Some(link) = driven.upgrade().filter(|_| panicked) {
                link.fail(Phase::Dead);
            }
        });
        link
    }

    fn new(
        settings: Rc<Settings>,
        key: LinkKey,
        permit: Option<Permit>,
        mirror: Option<Arc<Mirror>>,
    ) -> Link {
        let names = settings.names.clone();
        Link {
            settings,
            key,
            shared: permit.is_none(),
            mirror,
            retired: Cell::new(false),
            inner: RefCell::new(Inner::new(key, permit, names)),
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

    /// Whether a shared link takes no more requests, because it carries a large reply or was made with other settings.
    /// It ends when all are answered.
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Whether it carries a reply that is so large that others should not wait behind it.
    pub fn carries_large(&self) -> bool {
        self.inner.borrow().large
    }

    /// Whether it is shared, and who has it need not ask the pool for another one.
    pub fn is_shared_and_open(&self) -> bool {
        let inner = self.inner.borrow();
        self.shared && !self.retired.get() && inner.phase != Phase::Dead && !inner.large
    }

    /// Has a shared link take no more requests; the permit is for its connection, beside the one that follows it.
    pub fn retire(&self, permit: Permit) {
        self.inner.borrow_mut().permit = Some(permit);
        self.replace();
    }

    /// Has a shared link take no more requests: another one takes its place. It ends when it owes no reply.
    pub fn replace(&self) {
        self.retired.set(true);
        self.inner.borrow_mut().wake();
    }

    /// Whether the link was made with these settings, not with those that were in force before.
    pub fn is_of(&self, settings: &Rc<Settings>) -> bool {
        Rc::ptr_eq(&self.settings, settings)
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
            inner.progress = Instant::now();
        }
        rests
    }

    /// Gives a link that rests to a session.
    ///
    /// # Errors
    /// The permit: the link has ended meanwhile.
    pub fn wake_up(&self, permit: Permit) -> Result<(), Permit> {
        let mut inner = self.inner.borrow_mut();
        if inner.phase != Phase::Up {
            return Err(permit);
        }
        inner.permit = Some(permit);
        Ok(())
    }

    /// The user as whom it is logged in; `None` for Redkeep's own.
    pub fn mirror(&self) -> Option<&Arc<Mirror>> {
        self.mirror.as_ref()
    }

    /// The state that its connection was brought into.
    pub fn key(&self) -> LinkKey {
        self.key
    }

    /// If nobody uses the link: asks whether the upstream is still there, or ends a leased one that has rested.
    pub(super) fn check_health(&self) {
        let mut inner = self.inner.borrow_mut();
        let unused = inner.slots.is_empty() && inner.permit.is_none();
        if !unused || inner.progress.elapsed() < HEALTH_INTERVAL {
            return;
        }
        if self.shared {
            let ping = RequestBuf::from_args(&["PING"]);
            inner.append(ping.as_request().wire(), Rc::new(Nobody), Expect::Reply);
        } else {
            inner.phase = Phase::Dead;
            inner.wake();
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
    /// Returns false, and keeps nothing, if the upstream is certainly unreachable just now, or the link is not for it.
    #[must_use]
    pub fn send(
        &self,
        judged: Judged<'_>,
        whole: Option<&Bytes>,
        sink: Rc<dyn Sink>,
        expect: Expect,
    ) -> bool {
        let mut inner = self.inner.borrow_mut();
        // SECURITY: what must run as a mirrored user never runs as Redkeep's own.
        if !inner.takes_requests() || (judged.is_mirrored() && self.mirror.is_none()) {
            return false;
        }
        if inner.permit.is_some() {
            inner.note_state(judged, expect);
        }
        let view = inner.view(judged, expect, sink.clone());
        if expect.brings_messages() {
            let monitors = expect == Expect::Monitor;
            inner.listener = Some(if monitors { view.clone() } else { sink });
            inner.monitors |= monitors;
        }
        let ends_transaction = matches!(expect, Expect::Executed { .. } | Expect::Reply)
            && matches!(&*judged.spec().name, "exec" | "discard" | "unwatch");
        let code = judged.spec().scripting;
        match whole {
            Some(whole) if std::ptr::eq(judged.wire(), &**whole) => {
                inner.append_slot(view, expect, ends_transaction, code);
                inner.share(whole.clone());
            }
            _ => {
                inner.append_slot(view, expect, ends_transaction, code);
                inner.copy(judged.wire());
            }
        }
        true
    }

    /// Takes plain requests in a row, whose replies go to `sink`, each as [`Link::send`] would take it with
    /// [`Expect::Reply`]. `None` if there is more to be done for a request than that, or the link takes none.
    pub fn begin_row<'l>(&'l self, sink: &'l Rc<dyn Sink>) -> Option<Row<'l>> {
        let inner = self.inner.borrow_mut();
        let plain = self.shared && inner.permit.is_none() && !inner.renames() && inner.takes_requests();
        plain.then_some(Row { inner, sink })
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
        inner.copy(judged.wire());
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

    /// Begins a transaction with Redkeep's own MULTI, whose reply goes to `sink`. False as with [`Link::send`].
    #[must_use]
    pub fn begin_transaction(&self, sink: Rc<dyn Sink>) -> bool {
        let mut inner = self.inner.borrow_mut();
        let open = matches!(inner.phase, Phase::Up | Phase::Connecting);
        if open {
            inner.note_transaction();
            inner.append(MULTI, sink, Expect::Queued);
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
            (inner.passing, inner.large, inner.paused) = (false, false, false);
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
