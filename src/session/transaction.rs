//! MULTI, EXEC, DISCARD, WATCH, UNWATCH on a leased link.
//!
//! The upstream holds the queue; what the session adds is what the upstream cannot know: a refused command dooms the
//! transaction, a change of the policy between MULTI and EXEC has every queued command judged again (the session keeps a
//! copy for that), and a link that died takes its queue and its watches with it. An EXEC that must fail is never sent. What
//! Redkeep answers itself is queued as a stand-in, and runs when EXEC's reply has come (`queue.rs`, `execution.rs`).

use bytes::BytesMut;

use super::queue::{Part, Queue, Refusal, part};
use super::replies::NOT_SENT;
use super::state::{State, Transaction};
use super::step::{Action, Route, Then};
use crate::acl::Dialect;
use crate::policy::{Judged, Policy, Reason};
use crate::resp::{Request, encode};

const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";
const LOST: &str = "EXECABORT Transaction discarded because of: upstream connection lost";
const RULES_CHANGED: &str =
    "EXECABORT Transaction discarded because of: the policy changed between MULTI and EXEC";

const NOT_TOGETHER: &str = "EXECABORT Transaction discarded because of: a script of a user with restricted rules cannot \
                            run in one transaction with AUTH, HELLO, SELECT or CLIENT TRACKING";

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
            } else if transaction.generation != policy.generation()
                || state.queue.moves
                || state.queue.mirrored
            {
                return Some(execute_again_judged(policy, state, judged, settled, out));
            } else if state.queue.own {
                return Some(Action::Execute { exec: judged, plan: Plan::default() });
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
        (_, true) => {
            let part = part(policy, state, judged);
            match refuse_to_queue(policy, state, judged, part) {
                Some(text) => {
                    state.transaction.doomed = true;
                    answer(out, text.as_bytes())
                }
                None => leased(Then::Queued(part)),
            }
        }
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
        _ => None,
    }
}

/// How a transaction is executed that the upstream cannot execute as it stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By place: the error of a command that is left out. Without any, all that is queued runs.
    pub errors: Vec<Option<Vec<u8>>>,
    /// What is queued is not what should run: it is queued once more.
    pub again: bool,
    /// A script of a restricted user is in it: it is queued on a link that is logged in as that user's mirror.
    pub mirrored: bool,
}

/// Why a command cannot be queued, in words.
fn refuse_to_queue(policy: &Policy, state: &State, judged: Judged<'_>, part: Part) -> Option<String> {
    let name = judged.spec().name.replace('|', " ");
    // Its reply would be missing in that of EXEC; Redis leaves it out all the same.
    if name == "client reply" && policy.dialect() == Dialect::Valkey91 {
        return Some("ERR Command 'client|reply' not allowed inside a transaction".to_owned());
    }
    if part == Part::Mirrored && state.transaction.watching {
        return Some(format!(
            "NOPERM '{name}' of a user with restricted rules is not available behind WATCH through redkeep"
        ));
    }
    match state.queue.takes(judged, part) {
        Ok(()) => None,
        Err(Refusal::TooLarge) => {
            Some(format!("ERR '{name}' in so large a transaction is not available through redkeep"))
        }
        Err(Refusal::NotMirrored) => Some(format!(
            "NOPERM '{name}' in one transaction with a script of a user with restricted rules is not available through \
             redkeep"
        )),
        Err(Refusal::BehindChange) => Some(format!(
            "ERR '{name}' behind a change of users inside MULTI is not available through redkeep"
        )),
    }
}

/// EXEC after the policy has changed since MULTI, or of a transaction that changes itself by what it is judged: every
/// queued command is judged again, as Redis does. One that is not allowed any more is an error in its place; the others
/// run.
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
    let mut plan = Plan::default();
    let (mut notes, mut records) = (Vec::new(), Vec::new());
    state.queue.walk(policy, state, |entry, found, rehearsal| {
        // Those that Redkeep answers itself are judged once more when they run.
        let local = matches!(entry.part, Part::Local(_));
        plan.again |=
            found.as_ref().map_or(!local || entry.part != Part::LEFT_OUT, |(_, part)| *part != entry.part);
        plan.mirrored |= found.as_ref().is_ok_and(|(_, part)| *part == Part::Mirrored);
        let denials = rehearsal.notes.drain(..).filter(|_| !local);
        notes.extend(denials);
        records.extend(rehearsal.recorder.take_waiting().into_iter().filter(|_| !local));
        plan.errors.push(found.err().filter(|_| !local));
    });
    state.notes.append(&mut notes);
    state.recorder.adopt(records);
    // Refused while queueing, unless the rules were others then, or are another user's.
    if plan.mirrored && (state.queue.moves || state.queue.tracks) {
        return end(state, settled, out, |out| encode::error(out, NOT_TOGETHER.as_bytes()));
    }
    // On its own link nothing is queued yet.
    plan.again |= plan.mirrored;
    if !plan.again {
        return if state.queue.own {
            Action::Execute { exec, plan: Plan::default() }
        } else {
            Action::Forward { judged: exec, route: Route::Leased, then: Then::EndTransaction }
        };
    }
    if state.transaction.watching {
        // What is left of the queue would have to be queued anew, and the DISCARD before that forgets the watches. As
        // if a watched key had changed: nothing runs, and the client tries again.
        let protocol = state.protocol;
        return end(state, settled, out, |out| encode::null_array(out, protocol));
    }
    Action::Execute { exec, plan }
}

/// Redis' words for a queued command that is not allowed any more.
pub(super) fn no_longer_allowed(
    reason: Reason<'_>,
    policy: &Policy,
    state: &State,
    request: Request<'_>,
) -> Vec<u8> {
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
    give_up(state);
    encode::error(out, ABORTED.as_bytes());
}

/// The transaction is over, since its EXEC did not leave.
pub(super) fn give_up(state: &mut State) {
    state.transaction = Transaction::default();
    state.queue = Queue::default();
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
            *queue = Queue::new(policy);
        }
        Then::EndTransaction | Then::EndWatch => {
            *transaction = Transaction::default();
            *queue = Queue::default();
        }
        Then::Queued(part) => queue.push(judged, part),
        Then::Watch => transaction.watching = true,
        Then::AddInfo
        | Then::AmidMessages
        | Then::Confirmations { .. }
        | Then::Filter(_)
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
    give_up(state);
    reply(out);
    Action::EndLease
}
