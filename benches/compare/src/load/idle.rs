//! Clients that have logged in and say nothing: what each of them costs in memory.

use std::time::Duration;

use super::fleet::Fleet;
use crate::Result;
use crate::measure::Memory;
use crate::servers::Running;
use crate::work;

/// Clients before memory is read for the first time: what the first ones bring about is no cost of each.
const FIRST: usize = 20;
/// How long memory is left to settle: buffers of the login are given back.
const SETTLE: Duration = Duration::from_secs(1);

/// Memory before and with `clients` more clients.
pub struct Idle {
    /// Of the proxy.
    pub proxy: Option<(Memory, Memory)>,
    /// Of Redis.
    pub redis: (Memory, Memory),
}

/// Connects `clients` clients to servers that nobody else has used.
pub fn idle(running: &Running, clients: usize) -> Result<Idle> {
    let login = work::login(running.endpoint.login.is_some());
    let read = || -> Result<(Option<Memory>, Memory)> {
        crate::pause(SETTLE);
        let proxy = running.proxy.as_ref().map(|proxy| Memory::of(proxy.pid())).transpose()?;
        Ok((proxy, Memory::of(running.redis.pid())?))
    };
    let mut fleet = Fleet::new()?;
    fleet.open(&running.endpoint, FIRST, &login)?;
    let before = read()?;
    fleet.open(&running.endpoint, clients, &login)?;
    let after = read()?;
    Ok(Idle { proxy: before.0.zip(after.0), redis: (before.1, after.1) })
}
