//! Where replies go: what a link tells the sessions that use it.

use std::task::{Context, Poll};

/// Where the replies of one session go.
pub trait Sink {
    /// Something about the session's oldest open request on this link, or about its subscriptions.
    fn deliver(&self, delivery: Delivery<'_>);

    /// Whether a large reply may come in pieces ([`Delivery::Part`]).
    fn takes_parts(&self) -> bool {
        false
    }

    /// How many of the next replies may be delivered together by [`Sink::deliver_run`]; 0 if each is looked at.
    fn run(&self) -> usize {
        0
    }

    /// The replies to the oldest `count` open requests, at least 1 and at most [`Sink::run`], byte for byte.
    fn deliver_run(&self, _replies: &[u8], _count: usize) {}

    /// Pending while so much waits for the client that no more should be read; wakes the link when that has changed.
    fn poll_room(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// What became of a request, and what subscriptions bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery<'a> {
    /// One of the confirmations of a request that changes subscriptions, byte for byte.
    Confirmation {
        /// The confirmation.
        frame: &'a [u8],
        /// Whether it is the last one, so that the request is answered.
        last: bool,
    },
    /// The link is dead, and no request of the session with it: its subscriptions are gone.
    Ended,
    /// The link died after the request may have reached the upstream.
    InDoubt,
    /// A message of a subscription, byte for byte. It belongs to no request.
    Message(&'a [u8]),
    /// The link died before a byte of the request was written.
    NotSent,
    /// A piece of the reply, which is not complete; only for a sink that takes parts. The last piece comes as the reply.
    Part(&'a [u8]),
    /// The reply, byte for byte, or what is left of it.
    Reply(&'a [u8]),
}
