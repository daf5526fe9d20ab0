//! The program as its users meet it: the real binary, a real Redis, real TLS, real clients.
//!
//! - `acl_commands`: ACL commands, CONFIG of users, EXEC after a change of rights, compared with real servers
//! - `acl_diff`: random rules and commands over the whole table, each decision compared with `ACL DRYRUN`
//! - `acl_errors`: every error of AUTH, HELLO, the ACL and its commands, compared with a real Redis
//! - `acl_oracle`: random rules, each decision compared with `ACL DRYRUN`
//! - `acl_text`: random rules, each line compared with `ACL LIST` and `ACL GETUSER`
//! - `audit`: what is recorded, where it goes, and what happens when it cannot be written; lines of the log
//! - `break_in`: how an open Redis is taken over, and that it is not through the proxy
//! - `bypass`: hundreds of ways around the rules, each judged by its effect
//! - `check`: `redkeep check` on broken configurations
//! - `clients`: redis-cli, redis-benchmark, redis-py, Celery, RQ, the crates `redis` (0.24 and newest) and `fred`
//! - `compat`: replies compared with a real Redis that has the same ACL
//! - `databases`: users of some databases, compared with a real Valkey that has the same ACL
//! - `demo`: the scene of `make run`
//! - `drift`: the command table and its keys compared with a real Redis
//! - `effects`: what restricted users see and change at the upstream, measured
//! - `evil`: an upstream that breaks the protocol
//! - `executed`: random users and commands, executed on both sides, replies compared
//! - `explain`: `redkeep explain`, its suggestions tried on a real Redis
//! - `failure`: upstream killed, restarted, hung
//! - `faults`: the fault matrix
//! - `hardening`: docs/HARDENING.md, run from top to bottom
//! - `identity`: certificates as logins
//! - `fence`: users with a key fence, who see and change no key outside their patterns
//! - `gates`: `commands.deny`, `commands.bounds`, and the guards of DEBUG, MODULE and CONFIG SET
//! - `large_values`: 512 MiB, a million arguments: bounded memory, nobody stalled
//! - `legacy`: an upstream with a password, without ACL files, with renamed commands
//! - `limits`: clients that misbehave: too many, too large, too slow, too often; strangers, failed logins, file descriptors
//! - `listeners`: who may connect, and for whom load balancers speak
//! - `load`: what many clients cost, and what a flood of handshakes does to the others
//! - `modules`: commands that only the upstream knows
//! - `pause`: CLIENT PAUSE and NO-TOUCH
//! - `pubsub`: subscriptions compared with a real Redis; revoked, flooded, cut off
//! - `queued`: what Redkeep answers itself, inside MULTI and on links of a session's own
//! - `reload`: SIGHUP
//! - `renamed`: upstreams that have renamed nearly every command themselves
//! - `replay`: thousands of sequences over all types of data, on a direct connection and through the proxy
//! - `replication`: a real replica that follows the upstream through the proxy
//! - `scripts`: scripts and functions of restricted users: no road leads around the rules
//! - `rotation`: the password at the upstream changes while clients are served
//! - `secrets`: they show up nowhere; `passwd`, `genpass`, `check --diff`, core dumps
//! - `syntax`: requests that Redis does not understand, in its words
//! - `tls`: handshakes and client certificates
//! - `tls_options`: versions, suites, names, revocation, tickets; TLS to the upstream
//! - `transactions`: MULTI, WATCH and blocking commands on leased links
//! - `user_networks`: `allow_from` and `deny_from` of users
//! - `watch`: files that change are read again by themselves
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
mod acl_errors;
mod acl_oracle;
mod acl_text;
mod audit;
mod break_in;
mod bypass;
mod check;
mod client_commands;
mod clients;
mod compat;
mod databases;
mod demo;
mod drift;
mod effects;
mod evil;
mod executed;
mod explain;
mod failure;
mod faults;
mod fence;
mod gates;
mod hardening;
mod identity;
mod large_values;
mod leak;
mod leases;
mod legacy;
mod limits;
mod listeners;
mod load;
mod modules;
mod monitor;
mod ownership;
mod pause;
mod pubsub;
mod queued;
mod reload;
mod renamed;
mod replay;
mod replication;
mod rotation;
mod scripts;
mod secrets;
mod support;
mod syntax;
mod tls;
mod tls_options;
mod tracking;
mod transactions;
mod turns;
mod user_networks;
mod waiting;
mod watch;
