//! SYNC, PSYNC and REPLCONF: a replica that follows the upstream through the proxy, on a link of its own.
//!
//! After PSYNC or SYNC what the upstream sends is no reply any more but a snapshot and then commands, so it is passed on as
//! it comes. What the replica sends is judged on as before: it acknowledges by REPLCONF, to which there is no reply, and
//! while it loads the snapshot it sends empty lines. Anything else ends the session: its reply would be in the stream.

use bytes::BytesMut;

use super::state::State;
use super::step::{Action, Route, Then};
use crate::command::Affinity;
use crate::policy::Judged;
use crate::resp::{Request, encode};

/// How far a replica has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replication {
    /// It is none.
    #[default]
    None,
    /// It has told about itself by REPLCONF, on its link.
    Announced,
    /// SYNC or PSYNC was sent.
    Streaming,
}

/// Handles the commands of replicas, and what a replica may not do. `None` leaves the command to the ordinary way.
pub(super) fn step<'a>(
    state: &mut State,
    judged: Judged<'a>,
    settled: bool,
    out: &mut BytesMut,
) -> Option<Action<'a>> {
    let streaming = state.replication == Replication::Streaming;
    if judged.spec().affinity != Affinity::LeasedWhileState && !streaming {
        return None;
    }
    let name = &*judged.spec().name;
    match name {
        "psync" | "replconf" | "sync" if state.transaction.queueing => {
            state.transaction.doomed = true;
            encode::error(out, b"ERR Command not allowed inside a transaction");
            Some(Action::Reply)
        }
        "psync" | "sync" if !settled => Some(Action::Settle),
        "psync" | "sync" => {
            Some(Action::Forward { judged, route: Route::LeasedAsIs, then: Then::Replicate { stream: true } })
        }
        "replconf" if streaming => {
            Some(Action::Forward { judged, route: Route::LeasedAsIs, then: Then::Replicate { stream: true } })
        }
        // Redis does not answer these.
        "replconf" if acknowledges(judged.request()) => Some(Action::Reply),
        "replconf" => {
            Some(Action::Forward { judged, route: Route::Leased, then: Then::Replicate { stream: false } })
        }
        _ if streaming => Some(Action::Close),
        _ => None,
    }
}

/// Whether a REPLCONF has an option that Redis (7.0.15) takes without a reply.
fn acknowledges(request: Request<'_>) -> bool {
    let silent = |option: &[u8]| {
        ["ack", "fack", "getack"].iter().any(|word| option.eq_ignore_ascii_case(word.as_bytes()))
    };
    request.args(1).step_by(2).any(silent)
}
