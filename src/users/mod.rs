//! The users in force: who changes them, where they are kept, and the ACL log.
//!
//! [`Users`] is what `ACL SETUSER`, `DELUSER`, `LOAD`, `SAVE` and `CONFIG SET requirepass` act on. Every change makes a new
//! [`Policy`] and publishes it; the sessions of all workers are woken and obey at their next command. INVARIANT: one
//! change at a time, each whole or not at all, and none is lost: all go through one lock, which no request that is only
//! judged ever takes.
//!
//! Users come from the ACL file or the configuration ([`Source`]). What a client changes lives until `ACL LOAD`, a
//! reload of the configuration or the end of the process, unless `ACL SAVE` writes it into the ACL file.
//!
//! Mirrors Redis 7.0 and 8.2 (`tests/it/acl_commands.rs` compares). It stands beside `upstream`, knows nothing of
//! sessions, and does file I/O only for `ACL LOAD` and `ACL SAVE`.

mod file;
mod record;

pub use record::Reloads;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tracing::{error, info};
use zeroize::Zeroizing;

use crate::acl::{Defaults, Dialect, Event, Log, PasswordHash, User, parse_file};
use crate::command::{CommandTable, Reported};
use crate::policy::{ConditionsByUser, Gates, Live, Policy, Upstream};
use crate::regular;

/// Redis' text where there is no ACL file.
const NO_FILE: &str = "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the \
                       ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration \
                       file set) in order to store users in the Redis configuration.";

/// Redis' text when the file could not be written. What went wrong is in the log.
const NOT_SAVED: &str =
    "ERR There was an error trying to save the ACLs. Please check the server logs for more information";

/// How Redis ends the text of an `ACL LOAD` that failed.
const NOT_LOADED: &str =
    "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";

/// What a configuration says of users and gates.
#[derive(Clone, Debug)]
pub struct Source {
    /// The users, made with the built-in table.
    pub users: Vec<User>,
    /// The ACL file that they came from.
    pub file: Option<PathBuf>,
    /// SHA-256 of its content.
    pub file_digest: Option<[u8; 32]>,
    /// The password that replaces those of the default user.
    pub requirepass: Option<PasswordHash>,
    /// What must hold for users beside their rules.
    pub conditions: ConditionsByUser,
    /// Rules that hold for everyone.
    pub gates: Gates,
    /// What new users begin with (`acl.pubsub_default`).
    pub defaults: Defaults,
    /// `acl.log_max_len`.
    pub log_max_len: usize,
}

/// What an upstream says of itself, as far as the policy depends on it.
#[derive(Clone, Debug)]
pub struct Fitting {
    /// Version, HELLO, databases.
    pub facts: Upstream,
    /// Its commands.
    pub commands: Vec<Reported>,
}

/// The users in force and everything that changes them. Shared by all workers.
pub struct Users {
    live: Arc<Live>,
    state: Mutex<State>,
    log: Mutex<Log>,
    reloads: Reloads,
    /// Wakes the sessions of all workers.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// What a change starts from, besides the policy in force.
struct State {
    source: Source,
    /// `source.defaults`, or what a client has set since.
    defaults: Defaults,
    fitting: Option<Fitting>,
}

impl Source {
    /// The policy for an upstream. Without one, that of all commands that there are.
    pub fn compile(&self, fitting: Option<&Fitting>) -> Policy {
        compile(self, self.users.iter(), fitting)
    }

    /// Whether both define the same users: then a reload leaves those in force alone, with all that clients have changed.
    fn has_users_of(&self, other: &Source) -> bool {
        let lines = |source: &Source| -> Vec<Vec<u8>> {
            source.users.iter().map(|user| user.describe(Dialect::Redis72)).collect()
        };
        let same = match (&self.file_digest, &other.file_digest) {
            (Some(one), Some(other)) => one == other,
            (None, None) => lines(self) == lines(other),
            _ => false,
        };
        same && self.file == other.file
            && self.requirepass == other.requirepass
            && self.defaults == other.defaults
    }
}

/// What a reload does with users that their sources do not define otherwise than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchanged {
    /// Leaves them alone: something else has changed (a certificate).
    Keep,
    /// Takes them from their sources again: that is what was asked for (SIGHUP).
    Replace,
}

impl Users {
    /// The users of `source`, for an upstream if it was reached already.
    pub fn new(source: Source, fitting: Option<Fitting>) -> Users {
        Users {
            live: Arc::new(Live::new(source.compile(fitting.as_ref()))),
            log: Mutex::new(Log::new(source.log_max_len)),
            state: Mutex::new(State { defaults: source.defaults, source, fitting }),
            reloads: Reloads::default(),
            wake: OnceLock::new(),
        }
    }

    /// The policy in force.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// What is to be called after each change. Set once, when there are workers.
    pub fn on_change(&self, wake: impl Fn() + Send + Sync + 'static) {
        // A second one would be a mistake of ours that changes nothing: the first stays.
        let _ = self.wake.set(Box::new(wake));
    }

    /// How reloads went.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Takes users and gates of a configuration that was read again. Returns the generation that is in force then.
    pub fn replace(&self, source: Source, unchanged: Unchanged) -> u64 {
        let mut state = lock(&self.state);
        let keep = unchanged == Unchanged::Keep;
        if !keep || source.log_max_len != state.source.log_max_len {
            lock(&self.log).set_max_len(source.log_max_len);
        }
        let now = self.live.load();
        let next = if keep && source.has_users_of(&state.source) {
            // Whatever else a policy is made of.
            if source.gates == state.source.gates && source.conditions == state.source.conditions {
                state.source = source;
                return now.generation();
            }
            compile(&source, now.users().into_iter().map(|user| &**user), state.fitting.as_ref())
        } else {
            state.defaults = source.defaults;
            source.compile(state.fitting.as_ref())
        };
        state.source = source;
        self.publish(now.replaced_by(&next))
    }

    /// SHA-256 of the ACL file as it was last read or written here.
    pub fn file_digest(&self) -> Option<[u8; 32]> {
        lock(&self.state).source.file_digest
    }

    /// Fits commands, categories and wording to an upstream; the users stay as they are.
    pub fn fit(&self, fitting: Fitting) -> u64 {
        let mut state = lock(&self.state);
        let now = self.live.load();
        let users = now.users();
        let next = compile(&state.source, users.into_iter().map(|user| &**user), Some(&fitting));
        state.fitting = Some(fitting);
        self.publish(now.replaced_by(&next))
    }

    fn publish(&self, policy: Policy) -> u64 {
        let generation = self.live.publish(policy);
        self.reloads.note_policy();
        if let Some(wake) = self.wake.get() {
            wake();
        }
        generation
    }
}

// === what clients may ask for ===

impl Users {
    /// `ACL SETUSER name rules…`: makes or changes a user, by all rules or by none.
    ///
    /// # Errors
    /// The text of the client's error.
    pub fn set_user(&self, name: &[u8], rules: &[&[u8]]) -> Result<(), Vec<u8>> {
        let state = lock(&self.state);
        let now = self.live.load();
        let table = now.table();
        let user = match now.user(name) {
            Some(user) => User::clone(user),
            None => User::new(name, state.defaults, table)
                .map_err(|error| format!("ERR {}", error.text()).into_bytes())?,
        };
        let user = user.set(rules, table).map_err(|error| [b"ERR ", error.reply().as_slice()].concat())?;
        info!(user = ?String::from_utf8_lossy(name), "user changed by ACL SETUSER");
        self.publish(now.with_user(user));
        Ok(())
    }

    /// `ACL DELUSER names…`: how many of them there were. Their sessions end.
    ///
    /// # Errors
    /// Redis' text when `default` is among the names; then nobody is deleted.
    pub fn delete(&self, names: &[&[u8]]) -> Result<usize, &'static str> {
        if names.contains(&&b"default"[..]) {
            return Err("ERR The 'default' user cannot be removed");
        }
        let _state = lock(&self.state);
        let mut policy = Policy::clone(&self.live.load());
        let mut deleted = 0usize;
        for name in names {
            if !policy.remove_user(name) {
                continue;
            }
            deleted = deleted.saturating_add(1);
            info!(user = ?String::from_utf8_lossy(name), "user deleted by ACL DELUSER");
        }
        if deleted > 0 {
            self.publish(policy);
        }
        Ok(deleted)
    }

    /// `ACL LOAD`: the users of the ACL file as it is now, all of them or, if there is any mistake, none.
    ///
    /// # Errors
    /// The text of the client's error, with all mistakes of the file.
    pub fn load(&self) -> Result<(), String> {
        let mut state = lock(&self.state);
        let Some(path) = state.source.file.clone() else { return Err(NO_FILE.to_owned()) };
        let now = self.live.load();
        let bytes = Zeroizing::new(regular::read(&path).map_err(|error| {
            self.reloads.note_refused();
            // Redis has the system's words only, without its number.
            let words = error.to_string();
            let words = words.split(" (os error").next().unwrap_or_default();
            format!("ERR Error loading ACLs, opening file '{}': {words}", path.display())
        })?);
        let users = parse_file(&bytes, state.defaults, now.table()).map_err(|errors| {
            self.reloads.note_refused();
            for problem in &errors {
                let (file, line, column) = (path.display(), problem.line, problem.column);
                error!(problem = %format_args!("{file}:{line}:{column}: {}", problem.text), "ACL LOAD refused");
            }
            let texts: Vec<String> = errors
                .iter()
                .map(|error| format!("{}:{}: {}. ", path.display(), error.line, error.text))
                .collect();
            format!("ERR {}{NOT_LOADED}", texts.concat())
        })?;
        let users = with_default(users, state.source.requirepass.as_ref(), state.defaults, now.table());
        let policy = now.replace_users(users);
        // The watch need not bring what is in force already.
        state.source.file_digest = Some(Sha256::digest(&*bytes).into());
        let generation = self.publish(policy);
        self.reloads.note_ok();
        info!(generation, file = %path.display(), "users loaded by ACL LOAD");
        Ok(())
    }

    /// `ACL SAVE`: writes the users in force into the ACL file, whole or not at all.
    ///
    /// # Errors
    /// The text of the client's error; the log has what the system said.
    pub fn save(&self) -> Result<(), &'static str> {
        let mut state = lock(&self.state);
        let Some(path) = state.source.file.clone() else { return Err(NO_FILE) };
        let mut text = Vec::new();
        let policy = self.live.load();
        for user in policy.users() {
            text.extend_from_slice(&user.describe(policy.dialect()));
            text.push(b'\n');
        }
        file::replace(&path, &text).map_err(|error| {
            error!(file = %path.display(), %error, "ACL SAVE failed");
            NOT_SAVED
        })?;
        // What we wrote ourselves is no reason to read it again, and to undo what a client changes next.
        state.source.file_digest = Some(Sha256::digest(&text).into());
        Ok(())
    }

    /// `CONFIG SET requirepass`: the one password of the default user; none at all if it is empty.
    pub fn set_requirepass(&self, password: &[u8]) {
        let state = lock(&self.state);
        let now = self.live.load();
        let table = now.table();
        let default = now.user(b"default").map(|user| User::clone(user));
        let default = default.unwrap_or_else(|| User::default_open(state.defaults, table));
        let hash = format!("#{}", PasswordHash::of(password).to_hex());
        let rule = if password.is_empty() { b"nopass" } else { hash.as_bytes() };
        // Neither rule can be refused; if one were, nothing would change.
        if let Ok(user) = default.set(&[b"resetpass", rule], table) {
            self.publish(now.with_user(user));
        }
    }

    /// `CONFIG GET aclfile`: empty if there is none.
    pub fn file(&self) -> String {
        let state = lock(&self.state);
        state.source.file.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    /// `CONFIG GET acl-pubsub-default`: whether new users have all channels.
    pub fn all_channels(&self) -> bool {
        lock(&self.state).defaults.all_channels
    }

    /// `CONFIG SET acl-pubsub-default`.
    pub fn set_all_channels(&self, all_channels: bool) {
        lock(&self.state).defaults.all_channels = all_channels;
    }

    /// The ACL log. Hold it shortly: workers wait for each other.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    /// Adds an event to the ACL log. `client_info` describes the client.
    pub fn note(&self, event: Event, client_info: String) {
        self.log().add(event, client_info, unix_ms());
    }
}

/// Now, in milliseconds of Unix time.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The policy of these users before an upstream: its commands, its wording. Without one, all commands that there are.
fn compile<'u>(source: &Source, users: impl Iterator<Item = &'u User>, fitting: Option<&Fitting>) -> Policy {
    let builtin = CommandTable::builtin();
    let table = match fitting {
        Some(fitting) => builtin.fitted(&fitting.commands),
        None => builtin,
    };
    let users = users.map(|user| user.rebased(&table)).collect();
    Policy::new(fitting.map(|fitting| fitting.facts.clone()), table, source.gates.clone(), users)
        .with_conditions(source.conditions.clone())
}

/// The users with a `default` among them: as defined, or as Redis has it with `requirepass`, or else off. `requirepass`
/// replaces its passwords. Nobody is the default user rather than one that is more open than was asked for.
pub fn with_default(
    mut users: Vec<User>,
    requirepass: Option<&PasswordHash>,
    defaults: Defaults,
    table: &CommandTable,
) -> Vec<User> {
    let place = users.iter().position(|user| user.name() == b"default");
    let defined = place.map(|place| users.swap_remove(place));
    users.extend(match (defined, requirepass) {
        (None, None) => User::new(b"default", defaults, table).ok(),
        (Some(user), None) => Some(user),
        (defined, Some(hash)) => {
            let user = defined.unwrap_or_else(|| User::default_open(defaults, table));
            let password = format!("#{}", hash.to_hex());
            user.set(&[b"resetpass", password.as_bytes()], table).ok()
        }
    });
    users
}

/// A lock whose holder panicked is taken over: every change is made on a copy, so what it guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
