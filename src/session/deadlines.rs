//! How long a client may take for its login, and how long it may be silent: `auth_timeout` and `timeout`.
//!
//! One timer for each session that has a deadline, which wakes it; on the way of a request there is no clock.

use std::cell::Cell;
use std::rc::Rc;

use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::debug;

use super::Session;
use super::replication::Replication;

/// The deadlines of one session.
#[derive(Default)]
pub(super) struct Deadlines {
    /// Whether nobody was logged in at the last look; `None` before the first.
    stranger: Option<bool>,
    /// Since when.
    since: Option<Instant>,
    /// When the client last sent or read something; kept only if that matters.
    active: Option<Instant>,
    /// The timer has rung.
    rung: Rc<Cell<bool>>,
    timer: Option<AbortHandle>,
}

impl Deadlines {
    /// Notes that the client has sent or read something.
    #[inline]
    pub(super) fn note_activity(&mut self) {
        if self.active.is_some() {
            self.active = Some(Instant::now());
        }
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
    }
}

impl<S> Session<S> {
    /// Ends the session if its client takes too long.
    #[inline]
    pub(super) fn tend_deadlines(&mut self) {
        let stranger = Some(self.state.user.is_none());
        if self.deadlines.stranger != stranger || self.deadlines.rung.take() {
            self.look_at_deadlines();
        }
    }

    #[cold]
    fn look_at_deadlines(&mut self) {
        let (now, limits) = (Instant::now(), self.outbox.limits());
        let (auth_timeout, timeout) = (limits.auth_timeout, limits.timeout);
        let stranger = self.state.user.is_none();
        let busy = self.may_be_silent();
        let deadlines = &mut self.deadlines;
        if deadlines.stranger.replace(stranger) != Some(stranger) {
            deadlines.since = Some(now);
        }
        let login = auth_timeout.filter(|_| stranger).and_then(|time| deadlines.since?.checked_add(time));
        let silence = timeout.and_then(|time| {
            let active = deadlines.active.get_or_insert(now);
            if busy {
                *active = now;
            }
            active.checked_add(time)
        });
        if let Some(timer) = deadlines.timer.take() {
            timer.abort();
        }
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if due(login) || due(silence) {
            let reason = if due(login) { "auth_timeout" } else { "timeout" };
            debug!(client = self.state.ends.client, reason, "a client is closed that took too long");
            return self.abandon();
        }
        let Some(next) = login.into_iter().chain(silence).min() else { return };
        let (rung, outbox) = (deadlines.rung.clone(), Rc::downgrade(&self.outbox));
        let timer = tokio::task::spawn_local(async move {
            tokio::time::sleep_until(next).await;
            rung.set(true);
            if let Some(outbox) = outbox.upgrade() {
                outbox.wake();
            }
        });
        deadlines.timer = Some(timer.abort_handle());
    }

    /// Whether silence is no wonder: as in Redis of subscribers, monitors and replicas, and of whoever waits
    /// for an answer, or for a pause to end.
    fn may_be_silent(&self) -> bool {
        self.state.subscriptions.holds_link()
            || self.state.monitoring
            || self.state.replication != Replication::None
            || !self.outbox.is_settled()
            || self.waiting.is_some()
    }
}
