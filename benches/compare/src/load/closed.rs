//! Clients that wait for their replies before they send more: as much as the server can do.

use std::time::{Duration, Instant};

use super::fleet::Fleet;
use super::{Meter, Seen, TURN};
use crate::Result;
use crate::servers::Running;
use crate::work::{self, Batch};

/// Runs `clients` clients that take batches in turn, for `length`.
pub fn closed(running: &Running, batches: &[Batch], clients: usize, length: Duration) -> Result<Seen> {
    let login = work::login(running.endpoint.login.is_some());
    let mut fleet = Fleet::new()?;
    fleet.open(&running.endpoint, clients, &login)?;

    let mut next = batches.iter().cycle();
    let mut seen = Seen::default();
    let mut meter = Meter::new(running, length);
    for client in &mut fleet.clients {
        client.begin(next.next().ok_or("no batches")?, Instant::now())?;
    }
    while !meter.is_over(&mut seen)? {
        fleet.turn(Some(TURN), |_, client, replies| {
            seen.record(client.began, replies);
            if client.is_done()
                && let Some(batch) = next.next()
            {
                client.begin(batch, Instant::now())?;
            }
            Ok(())
        })?;
    }
    Ok(seen)
}
