//! Redkeep: the authenticating, TLS-terminating proxy in front of a real Redis.

pub mod acl;
pub mod command;
pub mod config;
pub mod policy;
pub mod resp;
pub mod server;
pub mod session;
pub mod upstream;
