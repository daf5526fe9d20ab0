//! Pub/sub: one publisher, many subscribers.

use std::time::{Duration, Instant};

use super::fleet::Fleet;
use super::{Meter, Seen, TURN};
use crate::Result;
use crate::servers::Running;
use crate::work;

/// Messages that the publisher sends at once; the next ones follow when all subscribers have these.
const MESSAGES: usize = 10;

/// Publishes to `subscribers` for `length`, and counts what they receive.
pub fn fanout(running: &Running, subscribers: usize, length: Duration) -> Result<Seen> {
    let login = work::login(running.endpoint.login.is_some());
    let subscribe = work::subscribe();
    let (published, delivered) = work::messages(MESSAGES, subscribers);
    let mut fleet = Fleet::new()?;
    fleet.open(&running.endpoint, subscribers + 1, &login)?;

    // The publisher is the last one.
    for client in fleet.clients.iter_mut().take(subscribers) {
        client.begin(&subscribe, Instant::now())?;
    }
    while fleet.clients.iter().any(|client| !client.is_done()) {
        fleet.turn(Some(TURN), |_, _, _| Ok(()))?;
    }

    let mut seen = Seen::default();
    let mut meter = Meter::new(running, length);
    let mut missing = 0;
    while !meter.is_over(&mut seen)? {
        if missing == 0 {
            let began = Instant::now();
            for (number, client) in fleet.clients.iter_mut().enumerate() {
                client.begin(if number == subscribers { &published } else { &delivered }, began)?;
            }
            missing = subscribers + 1;
        }
        fleet.turn(Some(TURN), |number, client, replies| {
            missing -= usize::from(client.is_done());
            if number < subscribers {
                seen.record(client.began, replies);
            }
            Ok(())
        })?;
    }
    Ok(seen)
}
