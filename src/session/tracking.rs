//! CLIENT TRACKING and its like: the upstream tells on the session's leased link which keys have changed.
//!
//! What is tracked belongs to one connection, so from the first CLIENT TRACKING on all commands that are forwarded go to
//! that link, until tracking is switched off, RESET, or the end.

use bytes::BytesMut;

use super::state::State;
use super::step::{Action, Route, Then};
use crate::command::Affinity;
use crate::command::keys::is_word;
use crate::policy::{Judged, broadcasts};
use crate::resp::encode;

/// Handles the commands of tracking, and what a client that tracks may not do. `None` leaves the command to the ordinary
/// way.
pub(super) fn step<'a>(
    state: &mut State,
    judged: Judged<'a>,
    settled: bool,
    out: &mut BytesMut,
) -> Option<Action<'a>> {
    if judged.spec().affinity != Affinity::LeasedWhileState && !state.tracking {
        return None;
    }
    let name = &*judged.spec().name;
    match name {
        "client|tracking" if judged.request().args(3).any(|arg| is_word(arg, "redirect")) => {
            state.transaction.doomed |= state.transaction.queueing;
            encode::error(out, b"ERR 'client tracking' with REDIRECT is not available through redkeep");
            Some(Action::Reply)
        }
        // It runs at EXEC.
        "client|tracking" | "client|caching" | "client|getredir" | "client|trackinginfo"
            if state.transaction.queueing =>
        {
            None
        }
        "client|tracking" => {
            let off = judged.request().arg(2).is_some_and(|word| word.eq_ignore_ascii_case(b"off"));
            let broadcast = broadcasts(judged.request());
            Some(Action::Forward { judged, route: Route::Leased, then: Then::Track { on: !off, broadcast } })
        }
        "client|caching" | "client|getredir" | "client|trackinginfo" => {
            Some(Action::Forward { judged, route: Route::Leased, then: Then::ReleaseAfterReply })
        }
        // Its reply is the last one; no message may come behind it.
        "quit" if state.tracking && !settled => Some(Action::Settle),
        _ => None,
    }
}
