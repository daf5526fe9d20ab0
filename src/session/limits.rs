//! How many bytes may wait in Redkeep for its clients: each client's, and those of all together.
//!
//! The names and the behaviour past a limit are Redis': `client-output-buffer-limit` and `maxmemory-clients`. What
//! Redkeep holds for a client is what it has read and not handled yet, and what the client has not read.

use std::time::Duration;

/// Bytes that may wait for a client that does not read; past it the client is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// At once; 0 for any number.
    pub hard: usize,
    /// For a while; 0 for any number.
    pub soft: usize,
    /// For how long.
    pub soft_time: Duration,
}

/// `limits` of the configuration, as far as sessions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `client_output_buffer_limit.normal`: replies.
    pub normal: OutputLimit,
    /// `client_output_buffer_limit.pubsub`: messages of subscriptions, MONITOR and tracking.
    pub pubsub: OutputLimit,
    /// `maxmemory_clients`: of all clients together; past it the clients that hold most are closed. 0 for any number.
    pub maxmemory_clients: usize,
}

impl Limits {
    /// No limit for replies and 32 MiB, or 8 MiB for a minute, for messages, as Redis' defaults are; 1 GiB for all clients
    /// together, where Redis has no limit.
    pub const DEFAULT: Limits = Limits {
        normal: OutputLimit { hard: 0, soft: 0, soft_time: Duration::ZERO },
        pubsub: OutputLimit { hard: 32 << 20, soft: 8 << 20, soft_time: Duration::from_secs(60) },
        maxmemory_clients: 1 << 30,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}
