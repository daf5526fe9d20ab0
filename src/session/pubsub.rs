//! SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE and their UN forms on a leased link.
//!
//! The upstream holds the subscriptions; what the session keeps is a copy, made of what the upstream confirms, since
//! it must judge them again when the policy changes, and know what a RESP2 subscriber may not do. While a
//! change is not confirmed, nobody can tell what the next command would find, so that waits; only further changes go on
//! at once. A link that dies with subscriptions ends the session, as the end of a Redis would.

use std::collections::HashSet;

use bytes::BytesMut;

use super::state::State;
use super::step::{Action, Route, Then};
use super::transaction;
use crate::acl::User;
use crate::command::{Spec, flag};
use crate::policy::{Judged, Policy, Version};
use crate::resp::{Protocol, encode, items};

/// The subscriptions of a session.
#[derive(Debug, Default)]
pub struct Subscriptions {
    channels: HashSet<Box<[u8]>>,
    patterns: HashSet<Box<[u8]>>,
    shard_channels: HashSet<Box<[u8]>>,
    /// A change was sent, and not all requests are answered since.
    unconfirmed: bool,
    /// The policy has changed since they were judged.
    unjudged: bool,
    /// It has changed while a change was not confirmed, and not all requests were answered since: what is confirmed now was
    /// permitted by another policy.
    late: bool,
    /// What was confirmed so, and is not judged yet.
    confirmed_late: Vec<(Kind, Box<[u8]>)>,
}

/// What a subscription command changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    /// The command, and the first word of its confirmations.
    word: &'static str,
    kind: Kind,
    adds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Channel,
    Pattern,
    ShardChannel,
}

const fn change(word: &'static str, kind: Kind, adds: bool) -> Change {
    Change { word, kind, adds }
}

const CHANGES: [Change; 6] = [
    change("subscribe", Kind::Channel, true),
    change("unsubscribe", Kind::Channel, false),
    change("psubscribe", Kind::Pattern, true),
    change("punsubscribe", Kind::Pattern, false),
    change("ssubscribe", Kind::ShardChannel, true),
    change("sunsubscribe", Kind::ShardChannel, false),
];

impl Change {
    fn of(word: &[u8]) -> Option<Change> {
        CHANGES.into_iter().find(|change| change.word.as_bytes() == word)
    }
}

impl Subscriptions {
    /// Whether the session needs its leased link: it has subscriptions, or soon may.
    pub fn holds_link(&self) -> bool {
        self.unconfirmed || !self.is_empty()
    }

    /// How many channels, patterns and shard channels there are.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.channels.len(), self.patterns.len(), self.shard_channels.len())
    }

    /// Notes that a request was sent.
    pub(super) fn sent(&mut self, then: Then) {
        self.unconfirmed |= matches!(then, Then::Confirmations { .. });
    }

    /// Notes a confirmation of the upstream, a whole frame. Anything else changes nothing.
    pub(super) fn confirm(&mut self, frame: &[u8]) {
        let mut items = items(frame);
        // The one that says "there was none" has no channel.
        let (Some(change), Some(name)) = (items.next().and_then(Change::of), items.next()) else { return };
        if !change.adds {
            self.names_mut(change.kind).remove(name);
            return;
        }
        let is_new = self.names_mut(change.kind).insert(name.into());
        if is_new && self.late {
            self.confirmed_late.push((change.kind, name.into()));
        }
    }

    /// Notes that all requests are answered.
    pub(super) fn settle(&mut self) {
        self.unconfirmed = false;
    }

    /// Notes that the policy has changed.
    pub(super) fn judge_again(&mut self) {
        self.unjudged = true;
    }

    /// Whether `user` may keep them all, if the policy has changed; those that are confirmed later are judged then, each
    /// once: a client may keep some unconfirmed for ever.
    pub(super) fn may_be_kept(&mut self, user: Option<&User>) -> bool {
        let permits = |kind: Kind, name: &[u8]| {
            user.is_some_and(|user| user.permits_subscription(name, kind == Kind::Pattern))
        };
        if std::mem::take(&mut self.unjudged) {
            self.late = self.unconfirmed;
            self.confirmed_late = Vec::new();
            let kinds = [Kind::Channel, Kind::Pattern, Kind::ShardChannel];
            return kinds.into_iter().all(|kind| self.names(kind).iter().all(|name| permits(kind, name)));
        }
        if !self.late {
            return true;
        }
        self.late = self.unconfirmed;
        // Some may have ended since.
        let late = std::mem::take(&mut self.confirmed_late);
        late.iter().all(|(kind, name)| !self.names(*kind).contains(name) || permits(*kind, name))
    }

    fn is_empty(&self) -> bool {
        self.counts() == (0, 0, 0)
    }

    fn names(&self, kind: Kind) -> &HashSet<Box<[u8]>> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::ShardChannel => &self.shard_channels,
        }
    }

    fn names_mut(&mut self, kind: Kind) -> &mut HashSet<Box<[u8]>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::ShardChannel => &mut self.shard_channels,
        }
    }
}

/// Handles the subscription commands, and every other command that may not do its ordinary work in a subscriber.
/// `None` leaves the command to the ordinary way.
pub(super) fn step<'a>(
    policy: &Policy,
    state: &mut State,
    judged: Judged<'a>,
    settled: bool,
    out: &mut BytesMut,
) -> Option<Action<'a>> {
    let spec = judged.spec();
    if spec.flags.contains(flag::PUBSUB)
        && let Some(change) = Change::of(spec.name.as_bytes())
    {
        return Some(alter(state, judged, change, settled, out));
    }
    if !state.subscriptions.holds_link() {
        return None;
    }
    if state.subscriptions.unconfirmed && !settled {
        return Some(Action::Settle);
    }
    if state.subscriptions.is_empty() {
        return None;
    }
    match (&*spec.name, state.protocol) {
        ("reset", _) => None,
        // Its reply is the last one; no message may come behind it.
        ("quit", _) => (!settled).then_some(Action::Settle),
        ("ping", Protocol::Resp2) => {
            Some(Action::Forward { judged, route: Route::Leased, then: Then::AmidMessages })
        }
        _ => confine(policy, state, spec, settled, out),
    }
}

/// Refuses `spec`, which the ACL has permitted, to a RESP2 subscriber. `None`: to nobody else.
pub(super) fn confine<'a>(
    policy: &Policy,
    state: &mut State,
    spec: &Spec,
    settled: bool,
    out: &mut BytesMut,
) -> Option<Action<'a>> {
    let subscriptions = &state.subscriptions;
    if subscriptions.unconfirmed && !settled {
        return Some(Action::Settle);
    }
    if subscriptions.is_empty() || state.protocol == Protocol::Resp3 {
        return None;
    }
    let text = confined(policy.version(), &spec.name);
    if spec.name == "exec" {
        return Some(transaction::refuse_exec(state, text.as_bytes(), settled, out));
    }
    encode::error(out, format!("ERR {text}").as_bytes());
    Some(Action::Reply)
}

/// What Redis says of a command that a RESP2 subscriber may not run, without the code.
fn confined(version: Version, name: &str) -> String {
    let container = name.split('|').next().unwrap_or(name);
    if version >= Version::V7_0 {
        format!(
            "Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context"
        )
    } else if version >= Version::V6_0 {
        format!(
            "Can't execute '{container}': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
             this context"
        )
    } else {
        "only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT allowed in this context".to_owned()
    }
}

fn alter<'a>(
    state: &mut State,
    judged: Judged<'a>,
    change: Change,
    settled: bool,
    out: &mut BytesMut,
) -> Action<'a> {
    let word = change.word;
    if state.transaction.queueing {
        // In EXEC's reply, Redis writes more confirmations than it has announced elements.
        state.transaction.doomed = true;
        let text = format!("ERR '{word}' inside MULTI is not available through redkeep");
        encode::error(out, text.as_bytes());
        return Action::Reply;
    }
    let named = judged.request().len().saturating_sub(1);
    if named == 0 && !settled {
        // How many there are to end is not known yet.
        return Action::Settle;
    }
    // Without names all of the kind are ended; where there is none, one confirmation says so.
    let count = if named == 0 { state.subscriptions.names_mut(change.kind).len().max(1) } else { named };
    Action::Forward { judged, route: Route::Leased, then: Then::Confirmations { word, count } }
}

#[cfg(test)]
mod tests;
