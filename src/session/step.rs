//! One request, one decision: [`step`] judges it and says what the session has to do. No sockets, no awaits.

use bytes::BytesMut;

use super::queue::Part;
use super::record::UNRECORDED;
use super::replication::Replication;
use super::state::State;
use super::transaction::Plan;
use super::{auth, local, monitor, pause, pubsub, replication, tracking, transaction};
use crate::acl::LogReason;
use crate::command::keys::affinity;
use crate::command::{Affinity, Fence, Guard, Resolution, Spec, View, flag};
use crate::policy::{Judged, LastName, Policy, Reason, Verdict};
use crate::resp::{Request, RequestBuf, encode};

/// What the session does next. Replies of Redkeep's own are in the `out` of [`step`] already.
#[must_use]
#[derive(Debug)]
pub enum Action<'a> {
    /// Ends the session without a word.
    Close,
    /// Sends the reply in `out`, then ends the session.
    CloseAfterReply,
    /// Ends the session without a word, and warns: somebody's browser may have been made to talk to us.
    CutOff,
    /// Has the request answered by what all sessions have in common: users, the ACL log, clients.
    Administer {
        /// The permit.
        judged: Judged<'a>,
    },
    /// Ends the transaction: closes the leased link, or has it forgotten where subscriptions need that link. Then
    /// sends the reply in `out`.
    EndLease,
    /// Sends the request on a link.
    Forward {
        /// The permit.
        judged: Judged<'a>,
        /// Which link.
        route: Route,
        /// What the session is to remember once the request is on its way.
        then: Then,
    },
    /// Executes the transaction, in which something is Redkeep's own to do.
    Execute {
        /// The EXEC.
        exec: Judged<'a>,
        /// How.
        plan: Plan,
    },
    /// Has the session's link change to the session's protocol, then sends the reply in `out`.
    Greet,
    /// CLIENT PAUSE holds the request back: call again when it may be over, with the same request.
    Hold,
    /// Sends the reply in `out`.
    Reply,
    /// Nothing is decided before all earlier requests are answered: call again then, with the same request.
    Settle,
}

/// Which link takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The session's own link, leased if it has none.
    Leased,
    /// The same, in whatever database and protocol it is: for who does not care, and could not bear a reply of ours.
    LeasedAsIs,
    /// A link that is logged in as the mirror of the session's user.
    Mirrored,
    /// Any shared link in the session's state.
    Shared,
}

/// What a request changes about the session once it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// INFO: its reply gets a section about Redkeep.
    AddInfo,
    /// PING of a RESP2 subscriber: messages may come before its reply.
    AmidMessages,
    /// MULTI.
    BeginTransaction,
    /// The subscription command `word`, which is confirmed so many times.
    Confirmations {
        /// The command, in lower case.
        word: &'static str,
        /// The number of confirmations; at least 1.
        count: usize,
    },
    /// Its reply is filtered by the user's key patterns.
    Filter(View),
    /// EXEC, DISCARD: the link is free when the reply is there.
    EndTransaction,
    /// UNWATCH.
    EndWatch,
    /// MONITOR.
    Monitor,
    /// Nothing.
    Nothing,
    /// CONFIG GET: its reply is rewritten.
    RewriteConfig,
    /// A transaction has queued it.
    Queued(Part),
    /// REPLCONF, SYNC, PSYNC. With `stream` there is no reply, and what comes is passed on as it is.
    Replicate {
        /// From now on.
        stream: bool,
    },
    /// The command may block: the link is free when the reply is there.
    ReleaseAfterReply,
    /// CLIENT TRACKING.
    Track {
        /// It is switched on, or may be.
        on: bool,
        /// With BCAST, or perhaps.
        broadcast: bool,
    },
    /// WATCH.
    Watch,
}

/// Judges `request` and decides what the session does. `settled` tells whether all earlier requests are answered.
///
/// Pure but for `state` and `out`, which it changes only for requests that it answers itself: a request that is to be
/// sent, or to be asked again, changes nothing here but [`State::command`].
pub fn step<'a>(
    policy: &'a Policy,
    state: &mut State,
    request: Request<'a>,
    scratch: &'a mut RequestBuf,
    settled: bool,
    out: &mut BytesMut,
) -> Action<'a> {
    let judged = match policy.judge(state.facts(), request, scratch) {
        Verdict::Allow(judged) => judged,
        Verdict::Deny(reason) if state.replication == Replication::Streaming => {
            // The error would be taken for replicated data.
            let mut scratch = RequestBuf::default();
            let spec = known(policy.resolve(request, &mut scratch).1);
            note_denial(state, spec, request, reason);
            return Action::Close;
        }
        Verdict::Deny(reason) => return refuse(policy, state, request, reason, settled, out),
    };
    let spec = judged.spec();
    state.command = Some(spec.id);
    if pause::holds_back(state, judged, policy.version()) {
        return Action::Hold;
    }
    if state.recorder.wants(spec) && !state.record_allowed(judged) {
        return refuse_unrecorded(state, judged, settled, out);
    }
    if is_plain(judged, state) {
        return Action::Forward { judged, route: Route::Shared, then: Then::Nothing };
    }
    if let Some(action) = pubsub::step(policy, state, judged, settled, out) {
        return action;
    }
    if let Some(action) = monitor::step(state, judged, settled) {
        return action;
    }
    if let Some(action) = replication::step(state, judged, settled, out) {
        return action;
    }
    if let Some(action) = tracking::step(state, judged, settled, out) {
        return action;
    }
    if let Some(action) = transaction::step(policy, state, judged, settled, out) {
        return action;
    }
    if local::administers(judged) {
        return Action::Administer { judged };
    }
    if judged.is_mirrored() {
        return Action::Forward { judged, route: Route::Mirrored, then: Then::ReleaseAfterReply };
    }
    match affinity(spec, judged.request()) {
        Affinity::Local => match &*spec.name {
            // Messages of the old form and of the new one must not mingle.
            "hello" if state.listens() && !settled => return Action::Settle,
            "hello" if state.listens() => {
                let before = state.protocol;
                auth::hello(policy, state, judged.request(), out);
                return if state.protocol == before { Action::Reply } else { Action::Greet };
            }
            "reset" => return reset(policy, state, settled, out),
            "quit" => {
                encode::simple(out, "OK");
                return Action::CloseAfterReply;
            }
            _ => local::act(policy, state, judged, out),
        },
        // Only the session's own link shows it, from its next request on.
        Affinity::LeasedWhileState if spec.name == "client|no-touch" => {
            local::act(policy, state, judged, out)
        }
        Affinity::LeasedForCommand => {
            return Action::Forward { judged, route: Route::Leased, then: Then::ReleaseAfterReply };
        }
        Affinity::Shared => {
            let then = match judged {
                _ if let Some(view) = policy.view(state.user.as_deref(), spec) => Then::Filter(view),
                _ if local::is_config_get(judged) => Then::RewriteConfig,
                _ if local::is_info(judged) && local::shows_redkeep(judged.request()) => Then::AddInfo,
                _ => Then::Nothing,
            };
            return Action::Forward { judged, route: Route::Shared, then };
        }
        // Subscriptions and transaction have taken the former, and the policy refused the latter. Doubt means deny.
        Affinity::LeasedWhileState | Affinity::Unavailable => {
            encode::error(out, &Reason::Unavailable(spec).reply(policy.version(), b"", judged.request()));
        }
    }
    Action::Reply
}

/// The permit for a request of a session that [`is plain`](State::is_plain), if [`step`] would have it sent on a shared link
/// and would do nothing else about it. Changes nothing but [`State::command`].
#[inline]
pub(super) fn step_plain<'a>(
    policy: &'a Policy,
    last: &mut LastName,
    state: &mut State,
    request: Request<'a>,
    scratch: &'a mut RequestBuf,
) -> Option<Judged<'a>> {
    let verdict = policy.judge_next(last, state.facts(), request, scratch);
    let Verdict::Allow(judged) = verdict else { return None };
    let spec = judged.spec();
    if !is_plain_command(spec) || judged.is_mirrored() || state.recorder.wants(spec) {
        return None;
    }
    state.command = Some(spec.id);
    Some(judged)
}

/// Whether nothing is special about a request, nor about its session: most are like that, and need not be asked for one
/// speciality after the other.
#[inline]
fn is_plain(judged: Judged<'_>, state: &State) -> bool {
    is_plain_command(judged.spec())
        && !judged.is_mirrored()
        && !state.transaction.queueing
        && !state.listens()
}

/// Whether no step looks for the command: what [`step`] asks further down has to be told here, too.
#[inline]
fn is_plain_command(spec: &Spec) -> bool {
    spec.affinity == Affinity::Shared
        && spec.guard == Guard::None
        && spec.fence == Fence::Open
        && !spec.flags.contains(flag::PUBSUB)
}

/// Words a refusal. Inside MULTI it dooms the transaction; EXEC itself ends it.
fn refuse<'a>(
    policy: &Policy,
    state: &mut State,
    request: Request<'_>,
    reason: Reason<'_>,
    settled: bool,
    out: &mut BytesMut,
) -> Action<'a> {
    if let Reason::CrossProtocol = reason {
        state.record_denied(None, request, reason);
        return Action::CutOff;
    }
    if let Reason::Unavailable(spec) = reason
        && let Some(action) = pubsub::confine(policy, state, spec, settled, out)
    {
        return action;
    }
    let mut scratch = RequestBuf::default();
    let spec = known(policy.resolve(request, &mut scratch).1);
    state.command = spec.map(|spec| spec.id);
    let text = reason.reply(policy.version(), state.user_name(), request);
    let is_exec = match reason {
        Reason::Arity(spec) | Reason::Command(spec) | Reason::Unauthenticated(Some(spec)) => {
            spec.name == "exec"
        }
        _ => false,
    };
    if is_exec && !settled {
        return Action::Settle;
    }
    note_denial(state, spec, request, reason);
    if is_exec {
        let text = text.strip_prefix(b"ERR ").unwrap_or(&text);
        return transaction::refuse_exec(state, text, settled, out);
    }
    state.transaction.doomed |= state.transaction.queueing;
    encode::error(out, &text);
    Action::Reply
}

/// Refuses a command that must be recorded and cannot be.
fn refuse_unrecorded<'a>(
    state: &mut State,
    judged: Judged<'_>,
    settled: bool,
    out: &mut BytesMut,
) -> Action<'a> {
    if state.replication == Replication::Streaming {
        return Action::Close;
    }
    if state.transaction.queueing && judged.spec().name == "exec" {
        let text = UNRECORDED.strip_prefix("ERR ").unwrap_or(UNRECORDED);
        return transaction::refuse_exec(state, text.as_bytes(), settled, out);
    }
    state.transaction.doomed |= state.transaction.queueing;
    encode::error(out, UNRECORDED.as_bytes());
    match &*judged.spec().name {
        // The client may have sent more before it reads that; it must not run on its own, nor in another database.
        "multi" | "select" | "watch" => Action::CloseAfterReply,
        _ => Action::Reply,
    }
}

/// What a request is, if there is such a command.
pub(super) fn known(resolution: Resolution<'_>) -> Option<&Spec> {
    match resolution {
        Resolution::Known(spec) => Some(spec),
        Resolution::UnknownCommand | Resolution::UnknownSubcommand(_) => None,
    }
}

/// Notes a denial for the audit stream; and for the ACL log, if it was the ACL: other refusals are none of its business.
/// `spec` is what the request is, if there is such a command.
pub(super) fn note_denial(state: &mut State, spec: Option<&Spec>, request: Request<'_>, reason: Reason<'_>) {
    state.record_denied(spec, request, reason);
    let argument = |index: usize| request.arg(index).unwrap_or_default();
    let (kind, object) = match reason {
        Reason::Channel(index) | Reason::FencedChannel(index) => (LogReason::Channel, argument(index)),
        Reason::Command(spec) | Reason::Fenced(spec) => (LogReason::Command, spec.name.as_bytes()),
        Reason::Database(index) => (LogReason::Database, argument(index)),
        Reason::Key(Some(index)) => (LogReason::Key, argument(index)),
        Reason::Key(None) => (LogReason::Key, &b""[..]),
        _ => return,
    };
    let command = match reason {
        Reason::Command(spec) | Reason::Fenced(spec) => spec.name.to_string(),
        _ => String::from_utf8_lossy(request.name()).to_ascii_lowercase(),
    };
    let username = state.user_name().to_vec();
    state.note(kind, object, &username, &command);
}

fn reset<'a>(policy: &Policy, state: &mut State, settled: bool, out: &mut BytesMut) -> Action<'a> {
    // Closing the leased link would lose the replies that are still to come on it.
    if !settled {
        return Action::Settle;
    }
    state.reset(policy);
    encode::simple(out, "RESET");
    Action::EndLease
}

#[cfg(test)]
mod tests;
