//! Users and gates in one immutable snapshot, and the one place where a decision is made: [`Policy::judge`].
//!
//! A policy is swapped whole (see [`Live`]); a session that holds a user of an older snapshot asks
//! [`Policy::user`] again when the generation has changed. Nothing here does I/O, and doubt means deny: a request
//! whose keys cannot be found for certain is refused for everyone but all-powerful users.
//!
//! The order of the checks is that of Redis 7 (`processCommand`): cross-protocol guard, existence, arity, protected
//! commands, login, ACL. (Valkey since 8.1 asks for the login right after the first of them.)

mod facts;
mod gate;
mod live;
#[cfg(test)]
pub(crate) mod testing;
mod verdict;
mod version;
mod wording;

pub use facts::{Hello, HelloFrame, Upstream};
pub use gate::{Gates, Rename};
pub use live::Live;
pub use verdict::{Judged, Reason, Verdict};
pub use version::Version;
pub use wording::{NOAUTH, WRONGPASS};

use std::collections::HashMap;
use std::sync::Arc;

use crate::acl::{self, Denial, SortOption, Unclear, Use, User, Visitor};
use crate::command::keys::{SortPattern, for_each_channel, for_each_key, sort_pattern};
use crate::command::{CommandTable, Resolution, Spec, flag};
use crate::resp::{Request, RequestBuf};

use gate::Named;

/// What a session knows about itself when it asks for a verdict.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The user who is logged in; `None` before a login.
    pub user: Option<&'a User>,
}

/// One immutable snapshot of all rules.
pub struct Policy {
    generation: u64,
    upstream: Option<Upstream>,
    table: CommandTable,
    gates: Gates,
    users: HashMap<Box<[u8]>, Arc<User>>,
}

impl Policy {
    /// Joins commands, gates and users. Users' rules must have been compiled against the same `table`. A user named
    /// `default` must be among them; without one nobody is `default`.
    ///
    /// `upstream` is `None` until the upstream was reached for the first time.
    pub fn new(upstream: Option<Upstream>, table: CommandTable, gates: Gates, users: Vec<User>) -> Policy {
        let users = users.into_iter().map(|user| (user.name().into(), Arc::new(user))).collect();
        Policy { generation: 0, upstream, table, gates, users }
    }

    /// The number of this snapshot; changes with every reload.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The upstream's version, which words the errors.
    pub fn version(&self) -> Version {
        self.upstream.as_ref().map_or(Version::NEWEST, |upstream| upstream.version)
    }

    /// What is known of the upstream, once it was reached.
    pub fn upstream(&self) -> Option<&Upstream> {
        self.upstream.as_ref()
    }

    /// All commands that exist.
    pub fn table(&self) -> &CommandTable {
        &self.table
    }

    /// The number of users.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// The user of this name, enabled or not.
    pub fn user(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// The user that a new session is logged in as without a password: `default`, if it is on and `nopass`.
    pub fn anonymous(&self) -> Option<&Arc<User>> {
        self.user(b"default").filter(|user| user.is_enabled() && user.is_nopass())
    }

    /// The user, if name and password are right and the user is on. An unknown user, a wrong password and a disabled
    /// user cost the same work.
    pub fn login(&self, name: &[u8], password: &[u8]) -> Option<&Arc<User>> {
        let user = self.user(name);
        if acl::verify(user.map(|user| &**user), password) { user } else { None }
    }

    /// Judges one request. `scratch` takes the re-encoded request where a renamed command was called.
    ///
    /// What each refusal means to the client is worded by [`Reason::reply`].
    pub fn judge<'a>(
        &'a self,
        facts: Facts<'_>,
        request: Request<'a>,
        scratch: &'a mut RequestBuf,
    ) -> Verdict<'a> {
        if gate::is_cross_protocol(request) {
            return Verdict::Deny(Reason::CrossProtocol);
        }
        let (request, resolution) = match self.gates.name(request.name()) {
            Named::AsSent => (request, self.table.resolve(request)),
            Named::Hidden => (request, Resolution::UnknownCommand),
            Named::AliasOf(original) => {
                let args: Vec<&[u8]> = std::iter::once(original.as_bytes()).chain(request.args(1)).collect();
                scratch.encode(&args);
                let request = scratch.as_request();
                (request, self.table.resolve(request))
            }
        };
        if facts.user.is_none() && self.upstream.as_ref().is_some_and(|upstream| upstream.login_first) {
            match resolution {
                Resolution::Known(spec) if spec.flags.contains(flag::NO_AUTH) => {}
                Resolution::Known(spec) => return Verdict::Deny(Reason::Unauthenticated(Some(spec))),
                _ => return Verdict::Deny(Reason::Unauthenticated(None)),
            }
        }
        let spec = match resolution {
            Resolution::Known(spec) => spec,
            Resolution::UnknownCommand => return Verdict::Deny(Reason::UnknownCommand),
            Resolution::UnknownSubcommand(container) => {
                // Before 7.0, subcommands were found by the command itself, after login and ACL.
                if self.version() < Version::V7_0
                    && let Err(reason) = permit(facts, container, request)
                {
                    return Verdict::Deny(reason);
                }
                return Verdict::Deny(Reason::UnknownSubcommand(container));
            }
        };
        if !spec.accepts(request.len()) {
            // Before 7.0 the container counted its subcommand's arguments itself, after login and ACL.
            if self.version() < Version::V7_0
                && spec.parent.is_some()
                && let Err(reason) = permit_command(facts, spec, request)
            {
                return Verdict::Deny(reason);
            }
            return Verdict::Deny(Reason::Arity(spec));
        }
        if let Some(reason) = gate::protected_command(spec) {
            return Verdict::Deny(reason);
        }
        if let Err(reason) = permit(facts, spec, request) {
            return Verdict::Deny(reason);
        }
        let all_powerful = facts.user.is_some_and(User::is_all_powerful);
        if let Some(reason) = gate::after_acl(spec, request, all_powerful) {
            return Verdict::Deny(reason);
        }
        Verdict::Allow(Judged::new(request, spec))
    }
}

fn permit<'a>(facts: Facts<'_>, spec: &'a Spec, request: Request<'_>) -> Result<(), Reason<'a>> {
    let Some(user) = facts.user else {
        return if spec.flags.contains(flag::NO_AUTH) {
            Ok(())
        } else {
            Err(Reason::Unauthenticated(Some(spec)))
        };
    };
    if user.is_all_powerful() {
        return Ok(());
    }
    user.permits(request, spec, |visitor| visit_uses(spec, request, visitor)).map_err(|denial| match denial {
        Denial::Channel { .. } => Reason::Channel,
        Denial::Command => Reason::Command(spec),
        Denial::Key { .. } | Denial::Unclear => Reason::Key,
        Denial::SortPattern { option: SortOption::By, .. } => Reason::SortPattern("BY"),
        Denial::SortPattern { option: SortOption::Get, .. } => Reason::SortPattern("GET"),
    })
}

/// As [`permit`], for a request whose keys cannot be told: it is refused in any case.
fn permit_command<'a>(facts: Facts<'_>, spec: &'a Spec, request: Request<'_>) -> Result<(), Reason<'a>> {
    match facts.user {
        None => Err(Reason::Unauthenticated(Some(spec))),
        Some(user) => user.permits(request, spec, |_| Ok(())).map_err(|_| Reason::Command(spec)),
    }
}

/// Shows the visitor all that a request uses: keys first, then what SORT follows, then channels, as Redis checks them.
fn visit_uses(spec: &Spec, request: Request<'_>, visitor: &mut Visitor<'_>) -> Result<(), Unclear> {
    let keys = for_each_key(spec, request, |key| {
        visitor(Use::Key { index: key.index, key: key.name, access: key.access })
    });
    if keys.map_err(|_| Unclear)?.is_break() {
        return Ok(());
    }
    if let Some(pattern) = sort_pattern(spec, request).map_err(|_| Unclear)? {
        let option = match pattern {
            SortPattern::By => SortOption::By,
            SortPattern::Get => SortOption::Get,
        };
        if visitor(Use::AllKeysReadable { option }).is_break() {
            return Ok(());
        }
    }
    let _ = for_each_channel(spec, request, |channel| {
        visitor(Use::Channel { index: channel.index, channel: channel.name, literal: channel.literal })
    });
    Ok(())
}

#[cfg(test)]
mod tests;
