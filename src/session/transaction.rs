//! MULTI, EXEC, DISCARD, WATCH, UNWATCH on a leased link.
//!
//! The upstream holds the queue; what the session adds is what the upstream cannot know: a refused command dooms the
//! transaction, a change of the policy between MULTI and EXEC has every queued command judged again (the session keeps a
//! copy for that), and a link that died takes its queue and its watches with it. An EXEC that must fail is never sent.

use bytes::BytesMut;

use super::local;
use super::replies::NOT_SENT;
use super::state::{Queue, State, Transaction};
use super::step::{Action, Route, Then, note_denial};
use crate::command::Affinity;
use crate::policy::{Judged, Policy, Reason, Verdict};
use crate::resp::{Request, RequestBuf, encode};

const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";
const LOST: &str = "EXECABORT Transaction discarded because of: upstream connection lost";
/// Queues that are larger are not kept, and cannot be judged again: a change of the policy aborts them.
const MAX_QUEUE_BYTES: usize = 16 * 1024 * 1024;

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
                return Some(execute_again_judged(policy, state, judged, settled, out));
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
        (_, true) if cannot_be_queued(judged) => {
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

/// EXEC after the policy has changed since MULTI: every queued command is judged again, as Redis does. One that is not
/// allowed any more is an error in its place; the others run.
fn execute_again_judged<'a>(
    policy: &Policy,
    state: &mut State,
    exec: Judged<'a>,
    settled: bool,
    out: &mut BytesMut,
) -> Action<'a> {
    // Which replies the upstream gave while queueing counts here, so all of them must be there.
    if !settled {
        return Action::Settle;
    }
    if state.queue.incomplete || state.queue.gates != *policy.gates() {
        return end(state, settled, out, |out| encode::error(out, RULES_CHANGED.as_bytes()));
    }
    let queue = std::mem::take(&mut state.queue);
    let mut errors = Vec::with_capacity(queue.requests.len());
    for request in &queue.requests {
        let request = request.as_request();
        let verdict = policy.judge_again(state.facts(), request);
        errors.push(match verdict {
            Verdict::Allow(_) => None,
            Verdict::Deny(reason) => {
                note_denial(state, request, reason);
                Some(no_longer_allowed(reason, policy, state, request))
            }
        });
    }
    state.queue = queue;
    if errors.iter().all(Option::is_none) {
        return Action::Forward { judged: exec, route: Route::Leased, then: Then::EndTransaction };
    }
    if state.transaction.watching {
        // What is left of the queue would have to be queued anew, and the DISCARD before that forgets the watches. As
        // if a watched key had changed: nothing runs, and the client tries again.
        let protocol = state.protocol;
        return end(state, settled, out, |out| encode::null_array(out, protocol));
    }
    Action::Replay { exec, errors }
}

/// Redis' words for a queued command that is not allowed any more.
fn no_longer_allowed(reason: Reason<'_>, policy: &Policy, state: &State, request: Request<'_>) -> Vec<u8> {
    let why = match reason {
        Reason::Channel(_) => "no permission to access one of the channels used as arguments",
        Reason::Command(_) => "no permission to execute the command or subcommand",
        Reason::Database(_) => "no permission",
        Reason::Key(_) => "no permission to touch the specified keys",
        _ => return reason.reply(policy.version(), state.user_name(), request),
    };
    format!(
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command \
         is no longer allowed for the following reason: {why}"
    )
    .into_bytes()
}

/// Ends a transaction of which the upstream refused a command. The caller ends the lease.
pub(super) fn abort(state: &mut State, out: &mut BytesMut) {
    state.transaction = Transaction::default();
    state.queue = Queue::default();
    encode::error(out, ABORTED.as_bytes());
}

/// Whether a command is answered here, or its reply rewritten, so that the upstream cannot queue it.
fn cannot_be_queued(judged: Judged<'_>) -> bool {
    judged.spec().affinity == Affinity::Local || local::administers(judged) || local::shows_own(judged)
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
pub(super) fn sent(state: &mut State, then: Then, judged: Judged<'_>, policy: &Policy) {
    let State { transaction, queue, .. } = state;
    match then {
        Then::BeginTransaction => {
            transaction.queueing = true;
            transaction.doomed = false;
            transaction.generation = policy.generation();
            *queue = Queue { gates: policy.gates().clone(), ..Queue::default() };
        }
        Then::EndTransaction | Then::EndWatch => {
            *transaction = Transaction::default();
            *queue = Queue::default();
        }
        Then::Queued => {
            queue.bytes = queue.bytes.saturating_add(judged.wire().len());
            queue.incomplete |= queue.bytes > MAX_QUEUE_BYTES;
            if queue.incomplete {
                queue.requests = Vec::new();
            } else {
                let args: Vec<&[u8]> = judged.request().args(0).collect();
                queue.requests.push(RequestBuf::from_args(&args));
            }
        }
        Then::Watch => transaction.watching = true,
        Then::AddInfo
        | Then::AmidMessages
        | Then::Confirmations { .. }
        | Then::Monitor
        | Then::Nothing
        | Then::ReleaseAfterReply
        | Then::Replicate { .. }
        | Then::RewriteConfig
        | Then::Track { .. } => {}
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
    state.queue = Queue::default();
    reply(out);
    Action::EndLease
}
