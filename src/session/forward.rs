//! The last step of a request before its link: where its reply will go, and what the link has to expect.
//!
//! INVARIANT: whatever is sent here takes exactly one slot of the outbox, and only if it is on its way.

use std::rc::Rc;

use bytes::Bytes;

use super::replies::Outbox;
use super::rewrite::{ConfigView, InfoView, QueueWitness, Replay};
use super::state::{State, Transaction};
use super::step::Then;
use super::{Shared, local};
use crate::command::flag;
use crate::policy::{Judged, Policy, Verdict};
use crate::resp::RequestBuf;
use crate::upstream::{Expect, Link, Sink};

/// What a session sends with.
#[derive(Clone, Copy)]
pub(super) struct Way<'s> {
    pub(super) shared: &'s Shared,
    pub(super) outbox: &'s Rc<Outbox>,
    pub(super) witness: &'s Rc<QueueWitness>,
    /// The buffer of a large request.
    pub(super) whole: Option<&'s Bytes>,
}

impl Way<'_> {
    /// Sends a judged request and takes the slot of its reply. False if it certainly did not leave.
    pub(super) fn send(
        self,
        link: &Link,
        judged: Judged<'_>,
        then: Then,
        policy: &Policy,
        state: &State,
    ) -> bool {
        if then == (Then::Replicate { stream: true }) {
            return link.replicate(judged, self.outbox.clone());
        }
        if then == Then::ReleaseAfterReply && judged.spec().flags.contains(flag::BLOCKING) {
            link.wait_patiently();
            if matches!(&*judged.spec().name, "wait" | "waitaof") {
                link.catch_up(policy.version());
            }
        }
        if then == Then::BeginTransaction {
            self.witness.reset();
        }
        let expect = match then {
            Then::AmidMessages => Expect::AmidMessages,
            Then::Confirmations { word, count } => Expect::Confirmations { word, left: count },
            Then::Monitor => Expect::Monitor,
            Then::Queued => Expect::Queued,
            Then::Track { .. } => Expect::Tracking,
            _ => Expect::Reply,
        };
        let sent = link.send(judged, self.whole, self.sink(judged, then, policy, state), expect);
        if sent {
            self.outbox.take_slot();
        }
        sent
    }

    /// Where the reply goes: to the outbox, for some with a stop on the way.
    fn sink(self, judged: Judged<'_>, then: Then, policy: &Policy, state: &State) -> Rc<dyn Sink> {
        match then {
            Then::Queued => self.witness.clone(),
            Then::AddInfo => Rc::new(InfoView {
                outbox: self.outbox.clone(),
                section: local::info_section(&self.shared.clients, policy),
                protocol: state.protocol,
            }),
            Then::RewriteConfig => Rc::new(ConfigView {
                outbox: self.outbox.clone(),
                own: local::own_values(&self.shared.users, policy, judged.request()),
                protocol: state.protocol,
            }),
            _ => self.outbox.clone(),
        }
    }

    /// Ends the session's transaction: sends what is left of its queue once more, and EXEC after it. `errors` has an error
    /// for each command that is left out. False if it certainly did not leave.
    pub(super) fn replay(
        self,
        link: &Link,
        exec: Judged<'_>,
        errors: Vec<Option<Vec<u8>>>,
        policy: &Policy,
        state: &mut State,
    ) -> bool {
        let queue = std::mem::take(&mut state.queue);
        let kept = queue.requests.iter().zip(&errors).filter(|(_, error)| error.is_none());
        let kept: Vec<&RequestBuf> = kept.map(|(request, _)| request).collect();
        // DISCARD and MULTI before them, EXEC after them.
        let outstanding = kept.len().saturating_add(3);
        let sink: Rc<dyn Sink> = Rc::new(Replay::new(self.outbox.clone(), outstanding, errors));
        let again = |request: &&RequestBuf| match policy.judge_again(state.facts(), request.as_request()) {
            Verdict::Allow(judged) => link.send(judged, None, sink.clone(), Expect::Queued),
            Verdict::Deny(_) => false,
        };
        let sent = link.restart_transaction(&sink)
            && kept.iter().all(again)
            && link.send(exec, None, sink.clone(), Expect::Reply);
        state.transaction = Transaction::default();
        if sent {
            self.outbox.take_slot();
        } else {
            // Whatever is on its way is only queued, and is forgotten with the link.
            link.close();
        }
        sent
    }
}
