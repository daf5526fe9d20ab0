//! Redkeep: the authenticating, TLS-terminating proxy in front of a real Redis.

pub mod command;
pub mod resp;
