//! Redkeep: the authenticating, TLS-terminating proxy in front of a real Redis.
//!
//! The modules are layers, from the bottom to the top; each imports only from those above its line here
//! (`tests/layering.rs` keeps it so). Layers up to [`policy`] do no I/O and read no clock.
//!
//! - [`resp`]: the wire; requests and replies in place
//! - [`command`]: what Redis commands are, and which keys and channels a request uses
//! - [`acl`]: the rule language, users, passwords
//! - [`policy`]: users and gates in one snapshot; [`policy::Policy::judge`] is the one place where a decision is made
//! - [`users`]: the users in force, what changes them, and the ACL log
//! - [`upstream`]: links to Redis, shared by many clients or leased by one
//! - [`spool`]: lines that a thread of its own writes; [`audit`]: the audit stream
//! - [`session`]: one client; [`session::step`] decides, [`session::Session`] does
//! - [`server`]: listeners, TLS, workers
//! - [`config`]: the configuration file, with all its faults at once
//! - [`app`]: puts it together, reloads; [`logging`], [`health`], [`explain`], [`demo`], [`cli`]: the
//!   program around it
//!
//! The way of a request: a worker's session reads bytes → [`resp::Scanner`] finds a request → [`session::step`] asks →
//! [`policy::Policy::judge`] answers with a [`policy::Judged`] permit or a [`policy::Reason`] →
//! [`upstream::Link::send`] takes nothing but a permit → the reply goes to the session's [`session::Outbox`], which
//! keeps the order. `docs/ARCHITECTURE.md` is the map for newcomers.

pub mod acl;
pub mod app;
pub mod audit;
pub mod cli;
pub mod command;
pub mod config;
pub mod demo;
mod diff;
pub mod explain;
pub mod health;
pub mod logging;
mod passwd;
pub mod policy;
mod process;
mod regular;
mod renewal;
pub mod resp;
pub mod server;
pub mod session;
pub mod spool;
pub mod upstream;
pub mod users;
mod watch;
