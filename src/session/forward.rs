//! The last step of a request before its link: where its reply will go, and what the link has to expect.
//!
//! INVARIANT: whatever is sent here takes exactly one slot of the outbox, and only if it is on its way.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::execution::Execution;
use super::fence::{FencedReply, KeyFilter};
use super::mirrored::MirrorView;
use super::queue::Part;
use super::replies::Outbox;
use super::rewrite::{ConfigView, Gathered, Greeting, InfoView, ModuleView, QueueWitness};
use super::state::State;
use super::step::Then;
use super::transaction::Plan;
use super::{Shared, local};
use crate::command::{Guard, View, flag};
use crate::policy::{Judged, Policy};
use crate::resp::Protocol;
use crate::upstream::{Expect, Link, Sink, StandIn};

/// What a session sends with.
#[derive(Clone, Copy)]
pub(super) struct Way<'s> {
    pub(super) shared: &'s Shared,
    pub(super) outbox: &'s Rc<Outbox>,
    pub(super) witness: &'s Rc<QueueWitness>,
    /// Where replies on a mirrored link go.
    pub(super) view: Option<&'s Rc<MirrorView>>,
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
        if matches!(then, Then::Replicate { stream: true }) {
            self.outbox.serve_replica();
            return link.replicate(judged, self.outbox.clone());
        }
        if matches!(then, Then::ReleaseAfterReply) && judged.spec().flags.contains(flag::BLOCKING) {
            link.wait_patiently();
            if matches!(&*judged.spec().name, "wait" | "waitaof") {
                link.catch_up(policy.version());
            }
        }
        if matches!(then, Then::BeginTransaction) {
            self.witness.reset();
        }
        let expect = match then {
            Then::AmidMessages => Expect::AmidMessages,
            Then::Confirmations { word, count } => Expect::Confirmations { word, left: count },
            Then::Monitor => Expect::Monitor,
            Then::Queued(_) => Expect::Queued,
            Then::Track { .. } => Expect::Tracking,
            _ => Expect::Reply,
        };
        let sink = self.sink(judged, then, policy, state);
        let sent = match then {
            Then::Queued(Part::Local(stand_in)) => link.stand_in(stand_in, sink),
            // It runs on another link; here its place is kept.
            Then::Queued(Part::Mirrored) => link.stand_in(StandIn::Nothing, sink),
            _ => link.send(judged, self.whole, sink, expect),
        };
        if sent {
            self.outbox.take_slot(judged.wire().len());
        }
        sent
    }

    /// Where the reply goes: to the outbox, for some with a stop on the way.
    fn sink(self, judged: Judged<'_>, then: Then, policy: &Policy, state: &State) -> Rc<dyn Sink> {
        match then {
            Then::Queued(_) => self.witness.clone(),
            Then::Filter(View::Info) => {
                let own = local::shows_redkeep(judged.request());
                let section = own.then(|| local::info_section(self.shared, policy));
                Rc::new(InfoView {
                    outbox: self.outbox.clone(),
                    section: section.unwrap_or_default(),
                    protocol: state.protocol,
                    fenced: true,
                })
            }
            Then::Filter(view) => Rc::new(FencedReply::new(self.outbox.clone(), KeyFilter::new(view, state))),
            Then::AddInfo => Rc::new(InfoView {
                outbox: self.outbox.clone(),
                section: local::info_section(self.shared, policy),
                protocol: state.protocol,
                fenced: false,
            }),
            Then::RewriteConfig => Rc::new(ConfigView {
                outbox: self.outbox.clone(),
                own: local::own_values(&self.shared.users, policy, judged.request()),
                protocol: state.protocol,
            }),
            _ if judged.spec().guard == Guard::ModuleLoad => Rc::new(ModuleView {
                outbox: self.outbox.clone(),
                changed: self.shared.pool.on_change().clone(),
            }),
            _ => match self.view {
                Some(view) => view.clone(),
                None => self.outbox.clone(),
            },
        }
    }

    /// Executes the session's transaction, in which something is Redkeep's own to do: sends EXEC, and before it, if the
    /// plan says so, what is left of the queue once more. `None` if it certainly did not leave.
    ///
    /// On a mirrored link nothing is queued yet, and always is.
    pub(super) fn execute(
        self,
        link: &Link,
        exec: Judged<'_>,
        plan: Plan,
        policy: &Arc<Policy>,
        state: &mut State,
    ) -> Option<Execution> {
        let left_out = plan.errors.iter().flatten().count();
        // MULTI before them, or DISCARD and MULTI; EXEC after them.
        let around = if plan.mirrored { 2 } else { 3 };
        let again = state.queue.count.saturating_sub(left_out).saturating_add(around);
        let outstanding = if plan.again { again } else { 1 };
        let gathered = Rc::new(Gathered::new(self.outbox.clone(), outstanding, link.mirror().cloned()));
        let sink: Rc<dyn Sink> = gathered.clone();
        let sent = match (plan.mirrored, plan.again) {
            (true, _) => link.begin_transaction(sink.clone()) && send_again(link, policy, state, &sink),
            (false, true) => link.restart_transaction(&sink) && send_again(link, policy, state, &sink),
            (false, false) => true,
        };
        let parts = || state.queue.entries.iter().map(|entry| entry.part);
        let mut protocol = parts().rev().filter_map(|part| match part {
            Part::Local(StandIn::Hello(protocol)) => Some(protocol),
            _ => None,
        });
        let expect =
            Expect::Executed { listens: parts().any(|part| part == Part::Track), protocol: protocol.next() };
        if sent && link.send(exec, None, sink, expect) {
            // What the client sees of the reply is decided when it is put together.
            self.outbox.mute(false);
            self.outbox.take_slot(0);
            return Some(Execution::new(gathered, policy.clone(), plan.errors));
        }
        // Whatever is on its way is only queued, and is forgotten with the link.
        link.close();
        None
    }

    /// Changes the protocol of the session's link, whose messages are in that of the session from then on. `reply` is
    /// sent where it changes. False if the link is dead.
    pub(super) fn greet(self, link: &Link, protocol: Protocol, reply: Bytes) -> bool {
        let sent = link.greet(protocol, Rc::new(Greeting { outbox: self.outbox.clone(), reply }));
        if sent {
            self.outbox.take_slot(0);
        }
        sent
    }
}

/// Queues the transaction on a link where one has just begun, without what is not allowed any more, and with stand-ins
/// for what will happen.
fn send_again(link: &Link, policy: &Policy, state: &mut State, sink: &Rc<dyn Sink>) -> bool {
    let mut sent = true;
    let mut parts = Vec::with_capacity(state.queue.entries.len());
    state.queue.walk(policy, state, |entry, found, _| {
        let (part, judged) = match found {
            Ok((judged, part)) => (part, Some(judged)),
            Err(_) if matches!(entry.part, Part::Local(_)) => (Part::LEFT_OUT, None),
            Err(_) => return parts.push(Part::Plain),
        };
        sent = sent
            && match (part, judged) {
                (Part::Local(stand_in), _) => link.stand_in(stand_in, sink.clone()),
                (_, Some(judged)) => link.send(judged, None, sink.clone(), Expect::Queued),
                (_, None) => false,
            };
        parts.push(part);
    });
    for (entry, part) in state.queue.entries.iter_mut().zip(parts) {
        entry.part = part;
    }
    sent
}
