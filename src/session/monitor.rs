//! MONITOR: the upstream streams what it runs, on the session's leased link, until the client goes or sends RESET.
//!
//! What it shows is the upstream's view: commands of links, under their original names. While it lasts, all commands that
//! are forwarded go there, and the upstream refuses those that touch keys, as to every monitor.

use super::state::State;
use super::step::{Action, Route, Then};
use crate::command::Affinity;
use crate::policy::Judged;

/// Handles MONITOR, and what a monitor may not do. `None` leaves the command to the ordinary way.
pub(super) fn step<'a>(state: &State, judged: Judged<'a>, settled: bool) -> Option<Action<'a>> {
    if judged.spec().affinity != Affinity::LeasedWhileState && !state.monitoring {
        return None;
    }
    let name = &*judged.spec().name;
    match name {
        // Redis runs none there; `execution.rs` says so in its place.
        "monitor" if state.transaction.queueing => None,
        // Redis has no reply to the second one.
        "monitor" if state.monitoring => Some(Action::Reply),
        "monitor" => Some(Action::Forward { judged, route: Route::Leased, then: Then::Monitor }),
        // Its reply is the last one; no line may come behind it.
        "quit" if state.monitoring && !settled => Some(Action::Settle),
        _ => None,
    }
}
