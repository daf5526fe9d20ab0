//! MULTI, EXEC, DISCARD, WATCH, UNWATCH on a leased link.
//!
//! The upstream holds the queue; what the session adds is what the upstream cannot know: a refused command dooms the
//! transaction, a reload between MULTI and EXEC aborts it (fail closed: the queue was judged by the older policy), and
//! a link that died takes its queue and its watches with it. An EXEC that must fail is never sent.

use bytes::BytesMut;

use super::replies::NOT_SENT;
use super::state::{State, Transaction};
use super::step::{Action, Route, Then};
use crate::command::Affinity;
use crate::policy::{Judged, Policy};
use crate::resp::encode;

const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";
const LOST: &str = "EXECABORT Transaction discarded because of: upstream connection lost";
const RULES_CHANGED: &str =
    "EXECABORT Transaction discarded because of: the policy changed between MULTI and EXEC";

/// Handles the transaction commands, and every other command while a transaction is open or a key is watched.
/// `None` leaves the command to the ordinary way.
pub(super) fn step<'a>(
    policy: &Policy,
    state: &mut State,
    judged: Judged<'a>,
    settled: bool,
    out: &mut BytesMut,
) -> Option<Action<'a>> {
    let transaction = state.transaction;
    let name = &*judged.spec().name;
    let leased = |then| Some(Action::Forward { judged, route: Route::Leased, then });
    match (name, transaction.queueing) {
        ("quit" | "reset", _) => None,
        ("exec", true) => {
            let abort = if transaction.lost {
                LOST
            } else if transaction.doomed {
                ABORTED
            } else if transaction.generation != policy.generation() {
                RULES_CHANGED
            } else {
                return leased(Then::EndTransaction);
            };
            Some(end(state, settled, out, |out| encode::error(out, abort.as_bytes())))
        }
        ("discard", true) if transaction.lost => {
            Some(end(state, settled, out, |out| encode::simple(out, "OK")))
        }
        ("discard", true) => leased(Then::EndTransaction),
        ("exec", false) => answer(out, b"ERR EXEC without MULTI"),
        ("discard", false) => answer(out, b"ERR DISCARD without MULTI"),
        (_, true) if transaction.lost => answer(out, NOT_SENT.as_bytes()),
        ("multi" | "watch", true) => leased(Then::Nothing),
        ("unwatch", true) => leased(Then::Queued),
        (_, true) if judged.spec().affinity == Affinity::Local => {
            state.transaction.doomed = true;
            let text =
                format!("ERR '{}' inside MULTI is not available through redkeep", name.replace('|', " "));
            answer(out, text.as_bytes())
        }
        (_, true) => leased(Then::Queued),
        ("multi", false) if transaction.lost => {
            // The watch is lost, so EXEC will abort; until then nothing may reach the upstream.
            state.transaction.queueing = true;
            encode::simple(out, "OK");
            Some(Action::Reply)
        }
        ("multi", false) => leased(Then::BeginTransaction),
        ("watch", false) if transaction.lost => answer(out, NOT_SENT.as_bytes()),
        ("watch", false) => leased(Then::Watch),
        ("unwatch", false) if transaction.watching && !transaction.lost => leased(Then::EndWatch),
        ("unwatch", false) => {
            state.transaction = Transaction::default();
            encode::simple(out, "OK");
            Some(Action::Reply)
        }
        ("select" | "hello", false) if transaction.watching => {
            let text = format!("ERR '{name}' while keys are watched is not available through redkeep");
            answer(out, text.as_bytes())
        }
        _ => None,
    }
}

/// EXEC was refused by the ACL, or nobody is logged in: Redis then gives up the transaction.
pub(super) fn refuse_exec<'a>(
    state: &mut State,
    reason: &[u8],
    settled: bool,
    out: &mut BytesMut,
) -> Action<'a> {
    end(state, settled, out, |out| {
        let mut text = b"EXECABORT Transaction discarded because of: ".to_vec();
        text.extend_from_slice(reason);
        encode::error(out, &text);
    })
}

/// Notes that a request was sent.
pub(super) fn sent(state: &mut State, then: Then, policy: &Policy) {
    let transaction = &mut state.transaction;
    match then {
        Then::BeginTransaction => {
            transaction.queueing = true;
            transaction.doomed = false;
            transaction.generation = policy.generation();
        }
        Then::EndTransaction | Then::EndWatch => *transaction = Transaction::default(),
        Then::Watch => transaction.watching = true,
        Then::Nothing | Then::Queued | Then::ReleaseAfterReply => {}
    }
}

fn answer<'a>(out: &mut BytesMut, error: &[u8]) -> Option<Action<'a>> {
    encode::error(out, error);
    Some(Action::Reply)
}

/// Ends the transaction without the upstream, which forgets it with the link.
fn end<'a>(
    state: &mut State,
    settled: bool,
    out: &mut BytesMut,
    reply: impl FnOnce(&mut BytesMut),
) -> Action<'a> {
    if !settled {
        return Action::Settle;
    }
    state.transaction = Transaction::default();
    reply(out);
    Action::EndLease
}
