//! How long a client may take for its login, and how long it may be silent: `auth_timeout` and `timeout`.
//!
//! A login that has to wait for its turn (`logins.rs`) has so much more time: otherwise whoever shares an address with an
//! attacker would be locked out, not slowed down. That is bounded by [`MOST_GRANTED`].
//!
//! One timer for each session that has a deadline, which wakes it; on the way of a request there is no clock.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::debug;

use super::Session;
use super::logins::LONGEST;
use super::replication::Replication;

/// How much longer a client may take for its login in all, since its attempts had to wait.
const MOST_GRANTED: Duration = LONGEST.saturating_mul(3);

/// The deadlines of one session.
#[derive(Default)]
pub(super) struct Deadlines {
    /// Whether nobody was logged in at the last look; `None` before the first.
    stranger: Option<bool>,
    /// Since when.
    since: Option<Instant>,
    /// How long logins had to wait since then.
    granted: Duration,
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

    /// Notes that a login has to wait so long. The timer may ring too early now, and is set anew then.
    pub(super) fn grant(&mut self, wait: Duration) {
        self.granted = self.granted.saturating_add(wait).min(MOST_GRANTED);
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
            deadlines.granted = Duration::ZERO;
        }
        let time = auth_timeout.filter(|_| stranger).map(|time| time.saturating_add(deadlines.granted));
        let login = time.and_then(|time| deadlines.since?.checked_add(time));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_before_logins_prolong_the_time_for_them_three_times_the_longest_at_most() {
        let mut deadlines = Deadlines::default();
        deadlines.grant(LONGEST / 2);
        assert_eq!(deadlines.granted, LONGEST / 2);
        (0..10).for_each(|_| deadlines.grant(LONGEST));
        assert_eq!(deadlines.granted, LONGEST * 3);
    }
}
