//! The end of a transaction in which something is Redkeep's own to do.
//!
//! The upstream has run EXEC, with a stand-in in the place of each command that Redkeep answers itself. Now these run, in
//! their order, and the client's reply is put together. If the upstream ran nothing (a watched key has changed, a command
//! was refused while queueing, the link died), they do not run either.
//!
//! Until then the session takes no further request: nobody can tell by whom it would be judged.

use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

use super::card::Card;
use super::clients::Turn;
use super::fence::KeyFilter;
use super::handle::{current_incarnation, log_notes};
use super::queue::{Entry, Part, Queue, tracking};
use super::rewrite::{Gathered, Outcome, elements};
use super::state::{State, Transaction};
use super::step::{Then, known, note_denial};
use super::{Session, local, replies, transaction};
use crate::command::View;
use crate::policy::{Policy, Verdict};
use crate::resp::{Request, announced_items, encode, error_text};
use crate::upstream::{Delivery, Sink, StandIn};

/// What Redis says of MONITOR in a transaction.
const NO_MONITOR: &[u8] = b"ERR MONITOR isn't allowed for DENY BLOCKING client";

/// A transaction that the upstream is running.
pub(super) struct Execution {
    reply: Rc<Gathered>,
    /// The policy that it was judged by.
    policy: Arc<Policy>,
    /// By place: the errors of commands that the upstream does not run.
    errors: Vec<Option<Vec<u8>>>,
}

impl Execution {
    pub(super) fn new(reply: Rc<Gathered>, policy: Arc<Policy>, errors: Vec<Option<Vec<u8>>>) -> Self {
        Execution { reply, policy, errors }
    }
}

impl<S> Session<S> {
    /// Finishes a transaction whose reply has come. True if one is still under way.
    pub(super) fn tend_execution(&mut self) -> bool {
        let Some(execution) = self.execution.take() else { return false };
        let Some(outcome) = execution.reply.take() else {
            self.execution = Some(execution);
            return true;
        };
        self.unseen = true;
        let queue = std::mem::take(&mut self.state.queue);
        // So much of it others see, as in Redis, until all of it has run.
        (self.state.queue.count, self.state.queue.bytes) = (queue.count, queue.bytes);
        let mut muted = self.state.replies.are_muted();
        let reply = match &outcome {
            Outcome::Reply(reply) if reply.first() == Some(&b'*') && announced_items(reply).is_some() => {
                let together = self.put_together(reply, queue, execution);
                muted = false;
                Some(together)
            }
            _ => None,
        };
        self.state.transaction = Transaction::default();
        self.state.queue = Queue::default();
        // It may have changed the user.
        self.outbox.fence(self.state.fence.as_ref());
        let policy = Arc::clone(&self.shared.live.load());
        if !self.state.may_listen_on(&policy) {
            log_notes(&mut self.state, &self.shared);
            self.end_listening();
            return false;
        }
        self.outbox.deliver(match (&reply, &outcome) {
            _ if muted => Delivery::Reply(b""),
            (Some(reply), _) => Delivery::Reply(reply),
            (None, Outcome::Reply(reply)) => Delivery::Reply(reply),
            (None, Outcome::InDoubt) => Delivery::InDoubt,
            (None, Outcome::NotSent) => Delivery::NotSent,
        });
        self.state.replies = self.state.replies.next();
        self.outbox.mute(self.state.replies.are_muted());
        log_notes(&mut self.state, &self.shared);
        false
    }

    /// Runs what is Redkeep's own to do. Returns the reply to EXEC as the client sees it: as in Redis without what came
    /// while CLIENT REPLY was off, and without what came after the client was killed.
    fn put_together(&mut self, reply: &[u8], queue: Queue, execution: Execution) -> BytesMut {
        let Execution { mut policy, errors, .. } = execution;
        if policy.generation() != self.state.generation {
            // Whoever logs in now is a user of the older one, and will be looked up in the newer one.
            self.state.generation = policy.generation();
        }
        let set = queue.entries.iter().filter_map(|entry| match entry.part {
            Part::Local(stand_in) => Some(stand_in),
            _ => None,
        });
        if let Some(lease) = self.links.executing() {
            lease.note_standing(set);
        }
        let mut elements = elements(reply).into_iter();
        let count = elements.len().saturating_add(errors.iter().flatten().count());
        let mut entries = queue.entries.into_iter().peekable();
        let mut whole = BytesMut::new();
        if !self.state.replies.are_muted() {
            encode::array(&mut whole, count);
        }
        for place in 0..count {
            let entry = entries.next_if(|entry| entry.place == place);
            let mut item = BytesMut::new();
            match (errors.get(place), elements.as_slice().first()) {
                (Some(Some(error)), _) => encode::error(&mut item, error),
                (_, Some(element)) => {
                    self.finish(entry.as_ref(), element, &mut policy, &mut item);
                    elements.next();
                }
                // The upstream answered fewer commands than it queued: as many elements as announced all the same.
                (_, None) => encode::error(&mut item, replies::IN_DOUBT.as_bytes()),
            }
            if !self.state.replies.are_muted() && !self.closing {
                whole.extend_from_slice(&item);
            }
            if entry.is_some() {
                self.closing |= self.is_gone();
            }
        }
        whole
    }

    /// Does what is left to do of one command, of which the upstream said `element`.
    fn finish(
        &mut self,
        entry: Option<&Entry>,
        element: &[u8],
        policy: &mut Arc<Policy>,
        out: &mut BytesMut,
    ) {
        let Some(entry) = entry else { return out.extend_from_slice(element) };
        let request = entry.request.as_request();
        match entry.part {
            Part::Mirrored | Part::Plain => out.extend_from_slice(element),
            Part::Config => {
                let own = local::own_values(&self.shared.users, policy, request);
                local::rewrite_config(element, &own, self.state.protocol, out);
            }
            Part::Info => {
                let section = local::info_section(&self.shared, policy);
                local::append_info(element, &section, false, self.state.protocol, out);
            }
            Part::Filter(View::Info) => {
                let own = local::shows_redkeep(request);
                let section = own.then(|| local::info_section(&self.shared, policy));
                let section = section.unwrap_or_default();
                local::append_info(element, &section, true, self.state.protocol, out);
            }
            Part::Filter(view) => {
                let mut filter = KeyFilter::new(view, &self.state);
                filter.feed(element);
                filter.finish(out);
            }
            Part::Track => {
                out.extend_from_slice(element);
                if error_text(element).is_none() {
                    let (on, broadcast) = tracking(&entry.request);
                    self.state.listens_from_now_on(Then::Track { on, broadcast });
                }
            }
            // The link is not what the session would take it for.
            Part::Local(stand_in) if stand_in != StandIn::Nothing && error_text(element).is_some() => {
                out.extend_from_slice(element);
            }
            Part::Local(_) => self.run_queued(request, policy, out),
        }
    }

    /// Runs a command of Redkeep's own, if it is still allowed.
    fn run_queued(&mut self, request: Request<'_>, policy: &mut Arc<Policy>, out: &mut BytesMut) {
        let current = policy.clone();
        let state = &mut self.state;
        let judged = match current.judge_again(state.facts(), request) {
            Verdict::Allow(judged) => judged,
            Verdict::Deny(reason) => {
                note_denial(state, known(current.table().resolve(request)), request, reason);
                return encode::error(out, &transaction::no_longer_allowed(reason, &current, state, request));
            }
        };
        if judged.spec().name == "monitor" {
            return encode::error(out, NO_MONITOR);
        }
        if !local::administers(judged) {
            return local::act(&current, state, judged, out);
        }
        self.show_busy();
        local::administer(&self.shared, &current, &self.state, judged, out);
        // Those behind it see what it has changed.
        *policy = Arc::clone(&self.shared.live.load());
        self.refresh_rights(policy);
    }

    /// Takes the rights of the session's user from a policy that one of its own commands has made.
    fn refresh_rights(&mut self, policy: &Policy) {
        let state: &mut State = &mut self.state;
        let known = state.user.as_ref().and_then(|user| policy.user(user.name()));
        if let Some(user) = known {
            state.user = Some(user.clone());
        }
    }

    /// Lets others, and the session itself, know how it stands while it runs a command that is about clients.
    pub(super) fn show_busy(&self) {
        let (input, output) = (self.input.len(), self.outbox.backlog());
        let client = self.seat.client();
        client.note(Turn { active: true, input, output, ..Turn::default() }, self.state.command);
        client.show(Card::of(&self.state));
    }

    /// Whether the session's user is gone, or the client was killed.
    pub(super) fn is_gone(&self) -> bool {
        let gone = self.state.user.is_some()
            && self.state.incarnation != current_incarnation(&self.shared, &self.state);
        gone || self.seat.client().is_killed()
    }
}
