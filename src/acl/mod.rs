//! Layer 3: who may do what. Redis' ACL, without its commands.
//!
//! - [`Rule`]: the rule language; the header of `rule.rs` is its reference
//! - [`User`], [`Selector`]: rules applied; [`User::permits`] is the decision
//! - [`parse_rules`], [`parse_file`]: users from text
//! - [`Secret`], [`PasswordHash`], [`verify`]: passwords
//! - [`explain`]: which rule decided, for people
//! - [`Glob`]: Redis' patterns
//! - [`Log`]: what `ACL LOG` shows
//! - [`Dialect`], [`Defaults`]: what differs between servers in printing rules, and in what a new user may do
//!
//! Stands between `command` (what a request is and uses) and `policy` (which adds the gates). It never does I/O, reads
//! no clock, and allocates nothing when it decides. Invariants: what is not allowed is denied; a change of a user
//! happens whole or not at all; no Debug output and no error text has a password or a hash in it.
//!
//! Mirrors Redis 7.0.15, established by experiment: `tests/it/acl_oracle.rs` compares decisions with `ACL DRYRUN`, and
//! the unit tests replay the errors of `ACL SETUSER`. Where Redis and this differ on purpose, the module says so.

mod dialect;
pub mod explain;
mod file;
mod glob;
mod log;
mod parse;
mod permit;
mod rule;
mod secret;
mod selector;
mod user;

#[cfg(test)]
mod testing;

pub use dialect::{Defaults, Dialect};
pub use file::{FileError, RulesError, parse as parse_file, parse_rules};
pub use glob::Glob;
pub use log::{DEFAULT_MAX_LEN as DEFAULT_LOG_MAX_LEN, Entry as LogEntry, Event, Log, LogContext, LogReason};
pub use parse::{Fault, merge as merge_selectors, rule as parse_rule};
pub use permit::{Denial, SortOption, Unclear, Use, Visitor};
pub use rule::{Grant, Rule, RuleError};
pub use secret::{PasswordHash, Secret};
pub use selector::Selector;
pub use user::{SetUserError, User, verify};
