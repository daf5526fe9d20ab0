//! What a session looks after before each of its requests: a command that blocks, subscriptions, a leased link.

use std::rc::Rc;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::Session;
use super::clients::Unblock;
use super::unblock::{Progress, Unblocking};

impl<S> Session<S> {
    /// Whether a command of the session may be waiting for another client.
    pub(super) fn is_blocked(&self) -> bool {
        !self.outbox.is_settled() && self.links.lease.as_ref().is_some_and(|lease| lease.is_patient())
    }

    /// Ends a command that blocks, if somebody has asked for that, if it is not permitted any more, or the worker drains:
    /// nobody can tell how long it would go on.
    pub(super) fn tend_blocked(&mut self) {
        let all = self.shared.draining.get().is_on() || self.blocked.is_revoked();
        let asked = self.seat.client().take_unblock();
        if !self.is_blocked() {
            self.unblocking = None;
            self.blocked.clear();
            return;
        }
        if let Some(how) = asked {
            self.unblocking.get_or_insert_with(|| Unblocking::new(how, self.outbox.clone()));
        }
        loop {
            if all {
                // Each of those that wait behind one another.
                self.unblocking.get_or_insert_with(|| Unblocking::new(Unblock::Error, self.outbox.clone()));
            }
            let (Some(unblocking), Some(lease)) = (&self.unblocking, &self.links.lease) else { return };
            match unblocking.advance(lease, &self.shared.pool, self.state.id.0) {
                Progress::UnderWay => return,
                Progress::Done => self.unblocking = None,
                Progress::Impossible => {
                    self.unblocking = None;
                    if all {
                        self.abandon();
                    }
                    return;
                }
            }
        }
    }

    /// Ends the session at once. As Redis: replies that the client has not got yet go with it.
    pub(super) fn abandon(&mut self) {
        self.outbox.close();
        self.closing = true;
    }

    /// Ends a session whose new user may not hear what the old one heard through a fence.
    #[cold]
    pub(super) fn end_listening(&mut self) {
        debug!(
            client = self.state.ends.client,
            "the session's new user may not hear what the session listens to"
        );
        self.state.record_ended("revoked");
        self.abandon();
    }

    /// Takes note of what the upstream has confirmed, and ends the session if it may not keep a subscription, or does
    /// not read its messages.
    pub(super) fn tend_subscriptions(&mut self) {
        for confirmation in self.outbox.take_confirmations() {
            self.unseen = true;
            self.state.subscriptions.confirm(&confirmation);
        }
        if self.outbox.is_settled() {
            self.state.subscriptions.settle();
        }
        if !self.state.may_keep_subscriptions() {
            debug!(
                client = self.state.ends.client,
                "the session's user lost a channel that it is subscribed to"
            );
            if !self.closing {
                self.state.record_ended("revoked");
            }
            self.abandon();
        }
        if self.outbox.is_torn() {
            debug!(client = self.state.ends.client, "the upstream was lost in the middle of a large reply");
            self.abandon();
        }
        if self.outbox.is_flooded() {
            warn!(
                client = self.state.ends.client,
                "a client that does not read is closed: more waits for it than client_output_buffer_limit"
            );
            self.abandon();
        } else if let Some(deadline) = self.outbox.deadline() {
            self.watch(deadline);
        }
    }

    /// Has the session woken when its client must have read, unless it will be before.
    fn watch(&mut self, deadline: Instant) {
        if self.watched.is_some_and(|watched| watched > Instant::now()) {
            return;
        }
        self.watched = Some(deadline);
        let outbox = Rc::downgrade(&self.outbox);
        tokio::task::spawn_local(async move {
            tokio::time::sleep_until(deadline).await;
            if let Some(outbox) = outbox.upgrade() {
                outbox.wake();
            }
        });
    }

    /// Gives back a leased link that is no longer needed, and notices one that died.
    pub(super) fn tend_lease(&mut self) {
        let scripts_end = self.links.mirrored.as_ref().is_some_and(|link| link.is_dead());
        if scripts_end || (self.links.mirrored.is_some() && self.outbox.is_settled()) {
            self.links.end_mirrored(&self.shared.pool);
        }
        let Some(lease) = &self.links.lease else { return };
        let (holds_link, listens) = (self.state.holds_link(), self.state.listens());
        let transaction = &mut self.state.transaction;
        if lease.is_dead() {
            // As with a Redis that is gone.
            self.closing |= listens;
            if transaction.holds_link() {
                transaction.lost = true;
                // The client may have sent more before it read that MULTI or WATCH failed; those commands must not
                // run on their own.
                self.closing |= !transaction.confirmed;
            }
            self.links.lose_lease();
        } else if self.outbox.is_settled() {
            transaction.confirmed = transaction.holds_link();
            if !holds_link {
                self.links.end_lease(&self.shared.pool);
            }
        }
    }
}
