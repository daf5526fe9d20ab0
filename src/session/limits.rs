//! What a client may take: bytes that wait for it, bytes of its requests, time without a login or without a request.
//!
//! Names and behaviour past a limit are Redis' where it has the limit. What Redkeep holds for a client is what it has read
//! and not handled yet, and what the client has not read. How much a user may have of what all share is
//! [`Caps`](crate::policy::Caps).

use std::time::Duration;

use crate::resp;

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
    /// `client_output_buffer_limit.replica`: the stream that a replica follows.
    pub replica: OutputLimit,
    /// `client_output_buffer_limit.pubsub`: messages of subscriptions, MONITOR and tracking.
    pub pubsub: OutputLimit,
    /// `maxmemory_clients`: of all clients together; past it the clients that hold most are closed. 0 for any number.
    pub maxmemory_clients: usize,
    /// `client_query_buffer_limit`: bytes of a request, and of what a transaction has queued.
    pub client_query_buffer_limit: usize,
    /// `proto_max_bulk_len`: bytes of one argument.
    pub proto_max_bulk_len: usize,
    /// `timeout`: how long a client may send nothing. `None` for as long as it likes.
    pub timeout: Option<Duration>,
    /// `auth_timeout`: how long a client that must log in may take for that. `None` for as long as it likes.
    pub auth_timeout: Option<Duration>,
    /// `login_backoff`: whether failed logins slow down those that follow.
    pub login_backoff: bool,
}

impl Limits {
    /// Redis' defaults, but for what Redis has no bound: 1 GiB for all clients together, 5 s for a login, and a back-off
    /// of logins.
    pub const DEFAULT: Limits = Limits {
        normal: OutputLimit { hard: 0, soft: 0, soft_time: Duration::ZERO },
        replica: OutputLimit { hard: 256 << 20, soft: 64 << 20, soft_time: Duration::from_secs(60) },
        pubsub: OutputLimit { hard: 32 << 20, soft: 8 << 20, soft_time: Duration::from_secs(60) },
        maxmemory_clients: 1 << 30,
        client_query_buffer_limit: 1 << 30,
        proto_max_bulk_len: 512 << 20,
        timeout: None,
        auth_timeout: Some(Duration::from_secs(5)),
        login_backoff: true,
    };

    /// What the scanner is to hold the requests of a client to that is logged in.
    pub fn of_requests(&self) -> resp::Limits {
        resp::Limits::of_users(self.proto_max_bulk_len, self.client_query_buffer_limit)
    }

    /// The same before the login.
    pub fn of_strangers(&self) -> resp::Limits {
        resp::Limits { longest_bulk: self.proto_max_bulk_len, ..resp::Limits::UNAUTHENTICATED }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}
