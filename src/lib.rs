//! Redkeep: the authenticating, TLS-terminating proxy in front of a real Redis.

pub mod acl;
pub mod app;
pub mod cli;
pub mod command;
pub mod config;
pub mod health;
pub mod logging;
pub mod policy;
pub mod resp;
pub mod server;
pub mod session;
pub mod upstream;
