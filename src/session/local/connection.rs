//! SELECT: the database is the session's own; it picks the shared link.

use bytes::BytesMut;

use crate::policy::Policy;
use crate::resp::{Request, encode, integer};
use crate::session::replies::NOT_SENT;
use crate::session::state::State;

const OUT_OF_RANGE: &str = "ERR value is out of range, value must between -2147483648 and 2147483647";

/// `SELECT index`, with the errors of Redis 7.0.
pub(super) fn select(policy: &Policy, state: &mut State, request: Request<'_>, out: &mut BytesMut) {
    let Some(upstream) = policy.upstream() else {
        return encode::error(out, NOT_SENT.as_bytes());
    };
    let Some(number) = integer(request.arg(1).unwrap_or_default()) else {
        return encode::error(out, b"ERR value is not an integer or out of range");
    };
    match (i32::try_from(number), u32::try_from(number)) {
        (Err(_), _) => encode::error(out, OUT_OF_RANGE.as_bytes()),
        (Ok(_), Ok(db)) if db < upstream.databases => {
            state.db = db;
            encode::simple(out, "OK");
        }
        (Ok(_), _) => encode::error(out, b"ERR DB index is out of range"),
    }
}
