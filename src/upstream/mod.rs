//! Links to Redis: dialling, multiplexing, leasing, and what the upstream says about itself.
//!
//! A link sends nothing for a client but [`Judged`](crate::policy::Judged) requests; what it sends for Redkeep itself
//! (AUTH, HELLO, SELECT, a probe's questions, the DISCARD or UNWATCH of a transaction that failed) is written in
//! `dial.rs`, `probe.rs`, `mirror.rs`, `stand_in.rs` and `link.rs` alone.

mod dial;
mod expect;
mod keepalive;
mod ledger;
mod link;
mod mirror;
mod names;
mod outgoing;
mod pool;
mod probe;
mod pump;
mod retry;
mod scrub;
mod sink;
mod stand_in;
mod turn;

pub use dial::{Address, DialError, DialTls, LinkKey, Settings, Stream, dial};
pub use expect::Expect;
pub use keepalive::{TCP_KEEPALIVE, keep_alive};
pub use ledger::Permit;
pub use link::{Link, Row};
pub use mirror::{Mirror, Mirrors};
pub use names::Names;
pub use pool::{Lease, Pool};
pub use probe::{Probe, probe};
pub(crate) use retry::Backoff;
pub use sink::{Delivery, Sink};
pub use stand_in::{StandIn, Standing};
pub use turn::{TURN_BYTES, TURN_REQUESTS, give_way};

#[cfg(test)]
pub(crate) mod testing;
