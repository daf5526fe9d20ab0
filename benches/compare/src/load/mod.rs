//! The load: one thread, however many clients, and what it sees.

mod client;
mod closed;
mod connection;
mod connects;
mod fanout;
mod fleet;
mod histogram;
mod idle;
mod meter;
mod offered;

use std::time::Duration;

pub use closed::closed;
pub use connection::Endpoint;
pub use connects::connects;
pub use fanout::fanout;
pub use histogram::Histogram;
pub use idle::{Idle, idle};
pub use meter::{Meter, Seen};
pub use offered::offered;

use crate::Result;
use crate::work;
use fleet::Fleet;

/// How long load runs before it is measured: caches are warm and buffers as large as they get.
const WARM_UP: Duration = Duration::from_millis(200);
/// How long the loop waits at most, so that it sees the end of a window.
const TURN: Duration = Duration::from_millis(5);

/// Whether the server serves a client.
pub fn greet(endpoint: &Endpoint) -> Result<()> {
    let login = work::login(endpoint.login.is_some());
    Fleet::new()?.open(endpoint, 1, &login)
}

/// The cipher suite that it chooses.
pub fn suite(endpoint: &Endpoint) -> Result<Option<String>> {
    let login = work::login(endpoint.login.is_some());
    let mut fleet = Fleet::new()?;
    fleet.open(endpoint, 1, &login)?;
    Ok(fleet.clients.first().and_then(|client| client.connection.suite()))
}
