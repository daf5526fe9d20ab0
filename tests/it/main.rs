//! The program as its users meet it: the real binary, a real Redis, real TLS, real clients.
//!
//! - `acl_commands`: ACL commands, CONFIG of users, EXEC after a change of rights, compared with real servers
//! - `acl_diff`: random rules and commands over the whole table, each decision compared with `ACL DRYRUN`
//! - `acl_oracle`: random rules, each decision compared with `ACL DRYRUN`
//! - `acl_text`: random rules, each line compared with `ACL LIST` and `ACL GETUSER`
//! - `check`: `redkeep check` on broken configurations
//! - `clients`: redis-cli, redis-benchmark, redis-py, the `redis` crate (0.24 and newest)
//! - `compat`: replies compared with a real Redis that has the same ACL
//! - `databases`: users of some databases, compared with a real Valkey that has the same ACL
//! - `demo`: the scene of `make run`
//! - `drift`: the command table and its keys compared with a real Redis
//! - `evil`: an upstream that breaks the protocol
//! - `explain`: `redkeep explain`, its suggestions tried on a real Redis
//! - `failure`: upstream killed, restarted, hung
//! - `legacy`: an upstream with a password, without ACL files, with renamed commands
//! - `limits`: clients that misbehave
//! - `modules`: commands that only the upstream knows
//! - `pubsub`: subscriptions compared with a real Redis; revoked, flooded, cut off
//! - `reload`: SIGHUP
//! - `syntax`: requests that Redis does not understand, in its words
//! - `tls`: handshakes and client certificates
//! - `transactions`: MULTI, WATCH and blocking commands on leased links
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    missing_docs,
    reason = "tests fail by panicking"
)]

mod acl_commands;
mod acl_diff;
mod acl_oracle;
mod acl_text;
mod check;
mod clients;
mod compat;
mod databases;
mod demo;
mod drift;
mod evil;
mod explain;
mod failure;
mod legacy;
mod limits;
mod modules;
mod pubsub;
mod reload;
mod support;
mod syntax;
mod tls;
mod transactions;
