//! A window of time in which load is measured.

use std::time::{Duration, Instant};

use super::{Histogram, WARM_UP};
use crate::Result;
use crate::measure::Usage;
use crate::servers::Running;

/// Knows when the window begins and ends, and what servers use in it.
pub struct Meter<'a> {
    running: &'a Running,
    begin: Instant,
    length: Duration,
    open: Option<Open>,
}

struct Open {
    since: Instant,
    proxy: Option<Usage>,
    redis: Usage,
}

/// What was seen in a window.
#[derive(Default)]
pub struct Seen {
    /// Requests, messages or connections.
    pub done: u64,
    /// How long the window was.
    pub window: Duration,
    /// Latencies of what was done in it.
    pub latencies: Histogram,
    /// Requests whose replies were given up; their latencies are longer than what was counted.
    pub unanswered: u64,
    /// CPU time of the proxy.
    pub proxy: Option<Duration>,
    /// CPU time of Redis.
    pub redis: Duration,
}

impl<'a> Meter<'a> {
    /// A window that begins after a warm-up.
    pub fn new(running: &'a Running, length: Duration) -> Meter<'a> {
        Meter { running, begin: Instant::now() + WARM_UP, length, open: None }
    }

    /// To be asked in each turn. Opens the window when it is time, and empties `seen` for that; closes it when it is
    /// time, and says so.
    pub fn is_over(&mut self, seen: &mut Seen) -> Result<bool> {
        let now = Instant::now();
        let pid = |running: &Running| running.proxy.as_ref().map(|proxy| proxy.pid());
        match &self.open {
            None if now < self.begin => Ok(false),
            None => {
                let proxy = pid(self.running).map(Usage::of).transpose()?;
                let redis = Usage::of(self.running.redis.pid())?;
                *seen = Seen::default();
                self.open = Some(Open { since: Instant::now(), proxy, redis });
                Ok(false)
            }
            Some(open) if now < open.since + self.length => Ok(false),
            Some(open) => {
                seen.window = now - open.since;
                seen.redis = Usage::of(self.running.redis.pid())?.since(&open.redis);
                if let (Some(pid), Some(before)) = (pid(self.running), &open.proxy) {
                    seen.proxy = Some(Usage::of(pid)?.since(before));
                }
                Ok(true)
            }
        }
    }

    /// Whether the window is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

impl Seen {
    /// Counts `times` replies to what was sent at `sent`.
    pub fn record(&mut self, sent: Instant, times: u64) {
        self.done += times;
        self.latencies.record(sent.elapsed(), times);
    }
}
