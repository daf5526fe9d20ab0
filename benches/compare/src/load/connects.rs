//! Connections that come and go: connect, TLS, AUTH, PING, close.

use std::time::Duration;

use super::client::Client;
use super::fleet::Fleet;
use super::{Meter, Seen, TURN};
use crate::Result;
use crate::servers::Running;
use crate::work;

/// How many are on their way at the same time.
const AT_ONCE: usize = 16;

/// Makes connections for `length`; also says which part of them resumed a session.
pub fn connects(running: &Running, resume: bool, length: Duration) -> Result<(Seen, f64)> {
    let endpoint = &running.endpoint;
    let login = work::login(endpoint.login.is_some());
    let ping = work::ping();
    let tls = if resume { endpoint.resuming.as_ref() } else { endpoint.tls.as_ref() };
    let mut fleet = Fleet::new()?;
    for number in 0..AT_ONCE {
        let client = fleet.connect(endpoint, tls, number, &login)?;
        fleet.clients.push(client);
    }
    let mut pinged = [false; AT_ONCE];

    let mut seen = Seen::default();
    let mut meter = Meter::new(running, length);
    let mut resumed = 0;
    let mut finished = Vec::new();
    while !meter.is_over(&mut seen)? {
        let was_open = meter.is_open();
        fleet.turn(Some(TURN), |number, client, _| {
            if pinged[number] {
                finished.push(number);
                return Ok(());
            }
            pinged[number] = true;
            // What counts is the whole connection.
            client.begin(&ping, client.began)
        })?;
        for number in finished.drain(..) {
            let next: Client<'_> = fleet.connect(endpoint, tls, number, &login)?;
            let last = std::mem::replace(&mut fleet.clients[number], next);
            pinged[number] = false;
            seen.record(last.began, 1);
            if was_open {
                resumed += u64::from(last.connection.resumed());
            }
            last.connection.close()?;
        }
    }
    let part = resumed as f64 / seen.done.max(1) as f64;
    Ok((seen, part))
}
