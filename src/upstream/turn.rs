//! Turns: how much a session or a link may do before the others of its worker get to do something.
//!
//! Tasks of a worker are not interrupted, so whoever has much to do has to stop by themselves. What a turn may take is some
//! tenths of a millisecond; who stops goes on when everybody else has had a turn, those included whose sockets have become
//! ready meanwhile.

use std::pin::pin;
use std::task::Context;

/// Bytes that are read from or written to one socket in a turn, or a little more.
pub const TURN_BYTES: usize = 128 * 1024;

/// Requests of one session that are handled in a turn.
pub const TURN_REQUESTS: usize = 256;

/// Has the task go on in its next turn; it must be pending then.
pub fn give_way(cx: &mut Context<'_>) {
    // Pending at the first poll, which has told the runtime to wake the task once it has looked at the sockets. A wake-up
    // of our own would come before that, and two busy tasks would keep all clients waiting that are not served yet.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}
