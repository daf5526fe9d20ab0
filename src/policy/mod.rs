//! Users and gates in one immutable snapshot, and the one place where a decision is made: [`Policy::judge`].
//!
//! A policy is swapped whole (see [`Live`]); a session that holds a user of an older snapshot asks
//! [`Policy::user`] again when the generation has changed. Nothing here does I/O, and doubt means deny: a request
//! whose keys cannot be found for certain is refused for everyone who may not use all keys.
//!
//! The order of the checks is that of Redis 7 (`processCommand`): cross-protocol guard, existence, arity, protected
//! commands, login, ACL. (Valkey since 8.1 asks for the login right after the first of them.)

mod accounts;
mod caps;
mod conditions;
mod explain;
mod facts;
mod fence;
mod gate;
mod identity;
mod last;
mod live;
mod login;
mod networks;
mod pattern;
mod roll;
mod scripts;
#[cfg(test)]
pub(crate) mod testing;
mod verdict;
mod version;
mod wording;

pub use accounts::Incarnation;
pub use caps::Caps;
pub use conditions::{Conditions, ConditionsByUser, Login};
pub use explain::{Explanation, Naming, Suggestion};
pub use facts::{Hello, HelloFrame, Upstream};
pub use fence::KeyEvent;
pub use gate::{Bounds, CREDENTIALS, Enabled, Exceeded, Gates, Rename, Switches, broadcasts, is_credential};
pub use identity::{Certificate, Identity, Mapping, MappingError, NameKind, Unmapped};
pub use last::LastName;
pub use live::{Live, Sight};
pub use login::{Beginning, Origin, Proof};
pub use networks::Networks;
pub use scripts::{ScriptDenial, ScriptMode, Scripts, sha_of_hex};
pub use verdict::{Judged, Reason, Verdict};
pub use version::Version;
pub use wording::{NOAUTH, WRONGPASS};

use std::sync::Arc;

use crate::acl::{Denial, Dialect, SortOption, Unclear, Use, User, Visitor};
use crate::command::databases::{Database, for_each_database};
use crate::command::keys::{SortPattern, for_each_channel, for_each_key, sort_pattern};
use crate::command::syntax::rejection;
use crate::command::{CommandTable, Fence, Guard, Resolution, Spec, flag};
use crate::resp::{Request, RequestBuf};

use accounts::Accounts;
use gate::{Marks, Named};
use scripts::RunsAs;

/// What a session knows about itself when it asks for a verdict.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The user who is logged in; `None` before a login.
    pub user: Option<&'a User>,
    /// The database that it is in.
    pub database: u32,
    /// Its client is on this machine.
    pub local: bool,
}

/// One immutable snapshot of all rules.
///
/// A snapshot that differs from another only in its users shares everything else with it.
#[derive(Clone)]
pub struct Policy {
    generation: u64,
    upstream: Option<Arc<Upstream>>,
    table: Arc<CommandTable>,
    gates: Arc<Gates>,
    /// What the gates say of each command of the table.
    marks: Arc<Marks>,
    users: Accounts,
    conditions: Arc<ConditionsByUser>,
    /// How many incarnations this snapshot and those before it gave away.
    incarnations: u64,
}

impl Policy {
    /// Joins commands, gates and users. Users' rules must have been compiled against the same `table`. A user named
    /// `default` must be among them; without one nobody is `default`.
    ///
    /// `upstream` is `None` until the upstream was reached for the first time.
    pub fn new(upstream: Option<Upstream>, table: CommandTable, gates: Gates, users: Vec<User>) -> Policy {
        Policy {
            generation: 0,
            upstream: upstream.map(Arc::new),
            marks: Arc::new(Marks::new(&gates, &table)),
            table: Arc::new(table),
            gates: Arc::new(gates),
            users: Accounts::default(),
            conditions: Arc::default(),
            incarnations: 0,
        }
        .with_users(users, &Accounts::default())
    }

    /// This policy with conditions for its users, in the place of those it had.
    #[must_use]
    pub fn with_conditions(self, conditions: ConditionsByUser) -> Policy {
        Policy { conditions: Arc::new(conditions), ..self }
    }

    /// This policy with other users, as after `ACL LOAD`: whoever has the name of a user of `self` goes on as that user.
    pub fn replace_users(&self, users: Vec<User>) -> Policy {
        self.clone_without_users().with_users(users, &self.users)
    }

    /// This policy with other commands, gates and users, as after a reload. See [`Policy::replace_users`].
    pub fn replaced_by(&self, next: &Policy) -> Policy {
        let users = next.users.iter().map(|account| (*account.user).clone()).collect();
        let empty = Policy { incarnations: self.incarnations, ..next.clone_without_users() };
        empty.with_users(users, &self.users)
    }

    /// This policy with one more user, or another one in the place of the user of that name (`ACL SETUSER`).
    pub fn with_user(&self, user: User) -> Policy {
        let mut policy = self.clone();
        let known = self.users.get(user.name()).map(|account| account.incarnation);
        let incarnation = known.unwrap_or_else(|| policy.next_incarnation());
        policy.users.insert(user, incarnation);
        policy
    }

    /// Takes the user of that name out (`ACL DELUSER`). False if there was none.
    pub fn remove_user(&mut self, name: &[u8]) -> bool {
        self.users.remove(name)
    }

    fn clone_without_users(&self) -> Policy {
        Policy {
            generation: self.generation,
            upstream: self.upstream.clone(),
            table: self.table.clone(),
            gates: self.gates.clone(),
            marks: self.marks.clone(),
            users: Accounts::default(),
            conditions: self.conditions.clone(),
            incarnations: self.incarnations,
        }
    }

    fn next_incarnation(&mut self) -> Incarnation {
        self.incarnations = self.incarnations.wrapping_add(1);
        Incarnation(self.incarnations)
    }

    fn with_users(mut self, users: Vec<User>, known: &Accounts) -> Policy {
        for user in users {
            let account = known.get(user.name());
            let incarnation = account.map(|account| account.incarnation);
            let incarnation = incarnation.unwrap_or_else(|| self.next_incarnation());
            self.users.insert(user, incarnation);
        }
        self
    }

    /// The number of this snapshot; changes with every reload.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The upstream's version, which words the errors.
    pub fn version(&self) -> Version {
        self.upstream.as_ref().map_or(Version::NEWEST, |upstream| upstream.version)
    }

    /// How the upstream prints users.
    pub fn dialect(&self) -> Dialect {
        let valkey = self.upstream.as_ref().and_then(|upstream| upstream.valkey);
        if valkey.is_some_and(|valkey| valkey >= Version::VALKEY_9_1) {
            Dialect::Valkey91
        } else if self.version() >= Version::V7_2 {
            Dialect::Redis72
        } else {
            Dialect::Redis70
        }
    }

    /// What is known of the upstream, once it was reached.
    pub fn upstream(&self) -> Option<&Upstream> {
        self.upstream.as_deref()
    }

    /// The gates in force.
    pub fn gates(&self) -> &Arc<Gates> {
        &self.gates
    }

    /// All commands that exist.
    pub fn table(&self) -> &CommandTable {
        &self.table
    }

    /// What must hold for the user `name` beside its rules.
    pub fn conditions(&self, name: &[u8]) -> &Conditions {
        self.conditions.of(name)
    }

    /// Whether both take the same certificates for the same users.
    pub fn has_same_identities(&self, other: &Policy) -> bool {
        self.conditions.has_same_identities(&other.conditions)
    }

    /// The number of users.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// The users who have rules that name what the table lacks, with these rules ([`User::unknown_names`]); by name.
    pub fn unknown_names(&self) -> Vec<(&[u8], Vec<String>)> {
        let named = self.users().into_iter().map(|user| (user.name(), user.unknown_names(&self.table)));
        named.filter(|(_, rules)| !rules.is_empty()).collect()
    }

    /// The user of this name, enabled or not.
    pub fn user(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.users.get(name).map(|account| &account.user)
    }

    /// All users, ordered by their names as Redis lists them.
    pub fn users(&self) -> Vec<&Arc<User>> {
        let mut users: Vec<_> = self.users.iter().map(|account| &account.user).collect();
        users.sort_unstable_by(|one, other| one.name().cmp(other.name()));
        users
    }

    /// Which of the users that ever had this name it is.
    pub fn incarnation(&self, name: &[u8]) -> Option<Incarnation> {
        self.users.get(name).map(|account| account.incarnation)
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
        self.judge_next(&mut LastName::default(), facts, request, scratch)
    }

    /// What a request's name means to clients, after renaming and without what is denied to everyone; with it the request
    /// under the command's original name, which `scratch` takes if it differs.
    #[inline]
    pub fn resolve<'a>(
        &'a self,
        request: Request<'a>,
        scratch: &'a mut RequestBuf,
    ) -> (Request<'a>, Resolution<'a>) {
        match self.gates.name(request.name()) {
            Named::AsSent => (request, self.find(request)),
            Named::Hidden => (request, Resolution::UnknownCommand),
            Named::AliasOf(original) => {
                let word = |index| if index == 0 { Some(original.as_bytes()) } else { request.arg(index) };
                scratch.encode_words((0..request.len()).map(|index| word(index).unwrap_or_default()));
                let request = scratch.as_request();
                (request, self.find(request))
            }
        }
    }

    /// What a request's original name means, without what is denied to everyone.
    #[inline]
    fn find<'a>(&'a self, request: Request<'_>) -> Resolution<'a> {
        let resolution = self.table.resolve(request);
        let (Resolution::Known(spec) | Resolution::UnknownSubcommand(spec)) = resolution else {
            return resolution;
        };
        if !self.marks.is_denied(spec.id) {
            return resolution;
        }
        // Of a container that is denied, all subcommands are.
        match spec.parent.filter(|parent| !self.marks.is_denied(*parent)).and_then(|id| self.table.spec(id)) {
            Some(container) => Resolution::UnknownSubcommand(container),
            None => Resolution::UnknownCommand,
        }
    }

    /// What the ACL alone says of a request that a user would send: without login and gates, as `ACL DRYRUN` asks.
    ///
    /// `spec` is what the request resolved to, and takes its number of arguments; a renamed command comes under its original
    /// name. `database` is the session's. Whether the user is `on` plays no role. Allocates nothing.
    ///
    /// # Errors
    /// The denial that Redis would report, with the index of the argument at fault. Two are none to `ACL DRYRUN`, which
    /// answers `OK`: [`Denial::SortPattern`], which Redis finds when it runs the command, and [`Denial::Unclear`].
    #[inline]
    pub fn permits(
        &self,
        user: &User,
        database: u32,
        spec: &Spec,
        request: Request<'_>,
    ) -> Result<(), Denial> {
        // Most requests: one key, and not a word of databases.
        if let Some((index, access)) = spec.only_key()
            && let Some(key) = request.arg(index)
            && user.permits_key(spec.id, key, access)
        {
            return Ok(());
        }
        if !user.has_database_rules() {
            return user.permits(request, spec, |visitor| visit_keys_and_channels(spec, request, visitor));
        }
        // Whether a client is on this machine is none of the ACL's business.
        let facts = Facts { user: Some(user), database, local: false };
        user.permits(request, spec, |visitor| self.visit_uses(facts, spec, request, visitor))
    }

    /// Judges a request again that was judged before and is kept as it was to be sent ([`Judged::request`]), so under
    /// the command's original name: a transaction's queue, at EXEC.
    pub fn judge_again<'a>(&'a self, facts: Facts<'_>, request: Request<'a>) -> Verdict<'a> {
        self.judge_resolved(facts, request, self.find(request))
    }

    #[inline]
    fn judge_resolved<'a>(
        &'a self,
        facts: Facts<'_>,
        request: Request<'a>,
        resolution: Resolution<'a>,
    ) -> Verdict<'a> {
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
                    && let Err(reason) = self.permit(facts, container, request)
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
        if let Some(reason) = self.gates.protected_command(spec, facts.local) {
            return Verdict::Deny(reason);
        }
        if let Err(reason) = self.permit(facts, spec, request) {
            return Verdict::Deny(reason);
        }
        let all_powerful = facts.user.is_some_and(User::is_all_powerful);
        let runs_as = match facts.user {
            Some(user) if spec.scripting && !all_powerful && spec.guard != Guard::HarmlessScript => {
                self.gates.scripts().judge(user, spec, request, self.can_mirror(), self.fences(user))
            }
            _ => Ok(RunsAs::Redkeep),
        };
        let runs_as = match runs_as {
            Ok(runs_as) => runs_as,
            Err(denial) => {
                return Verdict::Deny(match rejection(spec, request) {
                    // A script that would not even start.
                    Some(rejection) => Reason::Syntax(spec, rejection),
                    None => Reason::Script(denial),
                });
            }
        };
        // What tracking tells is filtered behind a fence, so it may tell of all keys.
        let filtered = |reason: &Reason<'_>| {
            matches!(reason, Reason::Broadcast) && facts.user.is_some_and(|user| self.fences(user))
        };
        if let Some(reason) =
            self.gates.after_acl(spec, request, all_powerful, facts.local).filter(|reason| !filtered(reason))
        {
            return Verdict::Deny(reason);
        }
        if self.marks.is_bounded(spec.id)
            && let Some(exceeded) = self.gates.exceeded(spec, request)
        {
            return Verdict::Deny(Reason::Bound(exceeded));
        }
        if spec.fence != Fence::Open
            && let Some(reason) = self.fenced(facts, spec, request)
        {
            return Verdict::Deny(reason);
        }
        Verdict::Allow(match runs_as {
            RunsAs::Mirror => Judged::mirrored(request, spec),
            RunsAs::Redkeep => Judged::new(request, spec),
        })
    }

    #[inline]
    fn permit<'a>(&self, facts: Facts<'_>, spec: &'a Spec, request: Request<'_>) -> Result<(), Reason<'a>> {
        let Some(user) = facts.user else {
            return if spec.flags.contains(flag::NO_AUTH) {
                Ok(())
            } else {
                Err(Reason::Unauthenticated(Some(spec)))
            };
        };
        self.permits(user, facts.database, spec, request).map_err(|denial| match denial {
            Denial::Channel { index } => Reason::Channel(index),
            Denial::Command => Reason::Command(spec),
            Denial::Database { index } => Reason::Database(index),
            Denial::Key { index } => Reason::Key(Some(index)),
            Denial::Unclear => {
                rejection(spec, request).map_or(Reason::Key(None), |error| Reason::Syntax(spec, error))
            }
            Denial::SortPattern { option: SortOption::By, .. } => Reason::SortPattern("BY"),
            Denial::SortPattern { option: SortOption::Get, .. } => Reason::SortPattern("GET"),
        })
    }

    /// Shows the visitor all that a request uses: databases and keys first, then what SORT follows, then channels, as
    /// Valkey checks them.
    fn visit_uses(
        &self,
        facts: Facts<'_>,
        spec: &Spec,
        request: Request<'_>,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), Unclear> {
        // Until the upstream was reached, SELECT changes nothing.
        let count = self.upstream.as_ref().map_or(u32::MAX, |upstream| upstream.databases);
        let databases = for_each_database(
            spec.databases,
            request,
            facts.database,
            count,
            |Database { index, number }| {
                visitor(match number {
                    Some(number) => Use::Database { index, number },
                    None => Use::AllDatabases { index },
                })
            },
        );
        if databases.is_break() {
            return Ok(());
        }
        visit_keys_and_channels(spec, request, visitor)
    }
}

/// As [`permit`], for a request whose keys cannot be told: it is refused in any case.
fn permit_command<'a>(facts: Facts<'_>, spec: &'a Spec, request: Request<'_>) -> Result<(), Reason<'a>> {
    match facts.user {
        None => Err(Reason::Unauthenticated(Some(spec))),
        Some(user) => user.permits(request, spec, |_| Ok(())).map_err(|_| Reason::Command(spec)),
    }
}

fn visit_keys_and_channels(
    spec: &Spec,
    request: Request<'_>,
    visitor: &mut Visitor<'_>,
) -> Result<(), Unclear> {
    let keys = for_each_key(spec, request, |key| {
        visitor(Use::Key { index: key.index, key: key.name, access: key.access })
    });
    if keys.is_ok_and(|flow| flow.is_break()) {
        return Ok(());
    }
    if let Some(pattern) = sort_pattern(spec, request) {
        let option = match pattern {
            SortPattern::By => SortOption::By,
            SortPattern::Get => SortOption::Get,
        };
        if visitor(Use::AllKeysReadable { option }).is_break() {
            return Ok(());
        }
    }
    let _ = keys.map_err(|_| Unclear)?;
    let _ = for_each_channel(spec, request, |channel| {
        visitor(Use::Channel { index: channel.index, channel: channel.name, literal: channel.literal })
    });
    Ok(())
}

#[cfg(test)]
mod tests;
