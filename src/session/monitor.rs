//! MONITOR: the upstream streams what it runs, on the session's leased link, until the client goes or sends RESET.
//!
//! What it shows is the upstream's view: commands of links, under their original names. While it lasts, all commands that
//! are forwarded go there, and the upstream refuses those that touch keys, as to every monitor.

use bytes::BytesMut;

use super::state::State;
use super::step::{Action, Route, Then};
use crate::command::Affinity;
use crate::policy::Judged;
use crate::resp::encode;

/// Handles MONITOR, and what a monitor may not do. `None` leaves the command to the ordinary way.
pub(super) fn step<'a>(
    state: &mut State,
    judged: Judged<'a>,
    settled: bool,
    out: &mut BytesMut,
) -> Option<Action<'a>> {
    if judged.spec().affinity != Affinity::LeasedWhileState && !state.monitoring {
        return None;
    }
    let name = &*judged.spec().name;
    match name {
        "monitor" if state.transaction.queueing => {
            // Redis answers it in the reply of EXEC with an error.
            state.transaction.doomed = true;
            encode::error(out, b"ERR 'monitor' inside MULTI is not available through redkeep");
            Some(Action::Reply)
        }
        // Redis has no reply to the second one.
        "monitor" if state.monitoring => Some(Action::Reply),
        "monitor" => Some(Action::Forward { judged, route: Route::Leased, then: Then::Monitor }),
        // Its reply is the last one; no line may come behind it.
        "quit" if state.monitoring && !settled => Some(Action::Settle),
        "hello" if state.monitoring && judged.request().len() > 1 => {
            encode::error(out, b"ERR 'hello' while monitoring is not available through redkeep");
            Some(Action::Reply)
        }
        _ => None,
    }
}
