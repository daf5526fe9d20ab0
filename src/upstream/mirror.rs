//! Mirrored users: users of the upstream with the very rules of users here, as whom restricted users' scripts run.
//!
//! A mirrored user is made anew, under the same name and with the same rules, by every link that is going to log in as
//! it (`dial.rs`). So nothing has to be remembered of what the upstream knows: after its restart, or when somebody has
//! deleted the user there, the next link finds it all the same.
//!
//! INVARIANT: one name, one secret, one set of rules. When a user's rules change, the next script runs as another
//! mirrored user, on another link; so no rule that was revoked is ever in force for a later script. What is left behind
//! is deleted by [`Mirrors::tidy`], whenever that happens to be: nobody but this process knows its secret, which is
//! random, and nothing here uses it any more.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::dial::{ColdConnection, DialError, Settings, authenticate};
use crate::acl::{PasswordHash, Secret, User};
use crate::policy::{Policy, ScriptMode};
use crate::resp::{RequestBuf, Value};

/// How names of mirrored users begin. Whatever user of the upstream is called so belongs to a Redkeep.
const PREFIX: &str = "redkeep-mirror:";

/// An upstream that has refused a mirrored user is asked again after so long: somebody may have given us the right.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// The mirrored users of a process.
pub struct Mirrors {
    /// Tells our users from those of other processes before the same upstream; `None` if the system has no randomness.
    instance: Option<String>,
    state: Mutex<State>,
    /// Told when there may be something to tidy up.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The mirrors of users as they are now.
    current: HashMap<Box<[u8]>, Arc<Mirror>>,
    /// Names of users that the upstream may have.
    made: HashSet<String>,
    /// Those of them that no link will log in as any more.
    unused: Vec<String>,
    /// Of the newest policy that was seen.
    generation: u64,
    count: u64,
}

/// One mirrored user.
pub struct Mirror {
    number: u64,
    name: String,
    secret: Secret,
    /// The name of the user here.
    user: Box<[u8]>,
    rules: Vec<Vec<u8>>,
    retired: AtomicBool,
    refused: Mutex<Refused>,
    home: Weak<Mirrors>,
}

/// What the upstream has refused.
#[derive(Default)]
struct Refused {
    since: Option<Instant>,
    logged: bool,
}

impl Mirrors {
    /// None yet.
    pub fn new() -> Arc<Mirrors> {
        let instance = random_hex::<16>();
        Arc::new(Mirrors { instance, state: Mutex::default(), changed: Notify::new() })
    }

    /// The mirror of `user` by the rules of `policy`. `None` if the system has no randomness.
    pub fn of(self: &Arc<Self>, policy: &Policy, user: &User) -> Option<Arc<Mirror>> {
        let rules = policy.mirror_rules(user);
        let mut state = lock(&self.state);
        // A session that is late with a policy uses its mirror for what it has begun, and nobody else does.
        let newest = state.generation <= policy.generation();
        state.generation = state.generation.max(policy.generation());
        if let Some(known) = state.current.get(user.name()).filter(|known| known.rules == rules) {
            return Some(known.clone());
        }
        let secret = Secret::new(random_hex::<32>()?.into_bytes());
        state.count = state.count.wrapping_add(1);
        let name = format!("{PREFIX}{}:{}", self.instance.as_ref()?, state.count);
        state.made.insert(name.clone());
        let mirror = Arc::new(Mirror {
            number: state.count,
            name,
            secret,
            user: user.name().into(),
            rules,
            retired: AtomicBool::new(!newest),
            refused: Mutex::default(),
            home: Arc::downgrade(self),
        });
        let old = match newest {
            true => state.current.insert(user.name().into(), mirror.clone()),
            false => None,
        };
        // Its end locks the state again.
        drop(state);
        old.iter().for_each(|old| old.retire());
        Some(mirror)
    }

    /// Retires the mirrors of users who are gone, have other rules by now, or need none any more.
    pub fn refresh(&self, policy: &Policy) {
        let mut old = Vec::new();
        let mut state = lock(&self.state);
        state.generation = state.generation.max(policy.generation());
        let mirrors = policy.gates().scripts().mode == ScriptMode::Mirror;
        state.current.retain(|name, mirror| {
            let stays = mirrors
                && policy
                    .user(name)
                    .is_some_and(|user| !user.is_all_powerful() && policy.mirror_rules(user) == mirror.rules);
            if !stays {
                mirror.retire();
                old.push(mirror.clone());
            }
            stays
        });
        // Their end locks the state again.
        drop(state);
    }

    /// Waits until there may be something to tidy up.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Deletes the mirrored users that are not needed any more; those that could not be deleted stay for the next time.
    pub async fn tidy(&self, settings: &Settings) {
        let unused = std::mem::take(&mut lock(&self.state).unused);
        self.delete(settings, unused).await;
    }

    /// Deletes all mirrored users of this process: it ends.
    pub async fn delete_all(&self, settings: &Settings) {
        let made = lock(&self.state).made.iter().cloned().collect();
        self.delete(settings, made).await;
    }

    async fn delete(&self, settings: &Settings, names: Vec<String>) {
        if names.is_empty() {
            return;
        }
        let deleted = in_time(settings, async {
            let mut connection = connected(settings).await?;
            delete_users(&mut connection, &names).await
        });
        match deleted.await {
            Ok(()) => {
                let mut state = lock(&self.state);
                names.iter().for_each(|name| {
                    state.made.remove(name);
                });
            }
            Err(error) => {
                debug!(upstream = %settings.address, %error, "mirrored users were not deleted");
                lock(&self.state).unused.extend(names);
            }
        }
    }

    /// Finds out whether the upstream takes mirrored users, and says so in the log if it does not; deletes those that
    /// were left behind by a Redkeep that died. Does nothing where no script would run as one.
    ///
    /// A mirrored user of another process is taken for left behind if no connection is logged in as it. Should that
    /// process live, its next link makes the user again.
    pub async fn prepare(&self, settings: &Settings, policy: &Policy) {
        let restricted = |user: &&Arc<User>| user.is_enabled() && !user.is_all_powerful();
        let needed =
            policy.gates().scripts().mode == ScriptMode::Mirror && policy.users().iter().any(restricted);
        let Some(instance) = self.instance.as_ref().filter(|_| needed) else { return };
        if !policy.can_mirror() {
            info!("scripts of restricted users are denied: the upstream is older than 6.0 and has no users");
            return;
        }
        let prepared = in_time(settings, async {
            let mut connection = connected(settings).await?;
            let trial = format!("{PREFIX}{instance}:0");
            connection.expect_ok("ACL SETUSER", &[b"ACL", b"SETUSER", trial.as_bytes(), b"reset"]).await?;
            delete_users(&mut connection, &[trial]).await?;
            let left = left_behind(&mut connection, instance).await?;
            if !left.is_empty() {
                delete_users(&mut connection, &left).await?;
                info!(count = left.len(), "deleted mirrored users that no process uses any more");
            }
            Ok(())
        });
        match prepared.await {
            Ok(()) => {}
            Err(DialError::Refused(step, error)) => warn!(
                upstream = %settings.address,
                step,
                error,
                "scripts of restricted users may be denied: redkeep's user of the upstream needs +acl|setuser \
                 +acl|deluser +acl|users +client|list there"
            ),
            Err(error) => debug!(upstream = %settings.address, %error, "mirrored users were not prepared"),
        }
    }
}

impl Mirror {
    /// Tells it from all other mirrors of the process; never 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The name of the user at the upstream.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the user here.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// Whether its user has other rules by now, or is gone.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Whether the upstream has refused it a short while ago.
    pub fn is_refused(&self) -> bool {
        lock(&self.refused).since.is_some_and(|since| since.elapsed() < REFUSED_FOR)
    }

    /// The upstream refuses it. The log has the reason once.
    pub(super) fn refuse(&self, error: &str) {
        let mut refused = lock(&self.refused);
        refused.since = Some(Instant::now());
        if !std::mem::replace(&mut refused.logged, true) {
            let user = String::from_utf8_lossy(&self.user);
            warn!(%user, error, "scripts of this user are denied: the upstream takes no user with the same rules");
        }
    }

    /// ACL SETUSER, which makes the user, and AUTH, which logs in as it.
    pub(super) fn requests(&self) -> [RequestBuf; 2] {
        let hash = format!("#{}", PasswordHash::of(self.secret.expose_secret()).to_hex());
        let mut make: Vec<&[u8]> = vec![b"ACL", b"SETUSER", self.name.as_bytes()];
        make.extend(self.rules.iter().map(Vec::as_slice));
        make.push(hash.as_bytes());
        let login = [b"AUTH", self.name.as_bytes(), self.secret.expose_secret()];
        [RequestBuf::from_args(&make), RequestBuf::from_args(&login)]
    }
}

/// No link uses it and none will.
impl Drop for Mirror {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            lock(&home.state).unused.push(std::mem::take(&mut self.name));
            home.changed.notify_one();
        }
    }
}

async fn connected(settings: &Settings) -> Result<ColdConnection, DialError> {
    let mut connection = ColdConnection::new(settings).await?;
    authenticate(settings, &mut connection).await?;
    Ok(connection)
}

async fn in_time<T>(
    settings: &Settings,
    work: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    let limit = settings.connect_timeout.saturating_mul(2);
    tokio::time::timeout(limit, work).await.unwrap_or(Err(DialError::Timeout))
}

async fn delete_users(connection: &mut ColdConnection, names: &[String]) -> Result<(), DialError> {
    let mut args: Vec<&[u8]> = vec![b"ACL", b"DELUSER"];
    args.extend(names.iter().map(String::as_bytes));
    connection.expect_ok("ACL DELUSER", &args).await
}

/// The mirrored users of other processes as whom nobody is logged in.
async fn left_behind(connection: &mut ColdConnection, instance: &str) -> Result<Vec<String>, DialError> {
    let users = connection.call(&[b"ACL", b"USERS"]).await?;
    let Value::Array(users) = users else { return Err(refused("ACL USERS", &users)) };
    let mut others: Vec<String> = users
        .iter()
        .filter_map(|user| match user {
            Value::Bulk(name) => std::str::from_utf8(name).ok(),
            _ => None,
        })
        .filter(|name| instance_of(name).is_some_and(|other| other != instance))
        .map(str::to_owned)
        .collect();
    if others.is_empty() {
        return Ok(others);
    }
    let clients = connection.call(&[b"CLIENT", b"LIST"]).await?;
    let Value::Bulk(clients) = clients else { return Err(refused("CLIENT LIST", &clients)) };
    let clients = String::from_utf8_lossy(&clients);
    let used: HashSet<&str> =
        clients.split_ascii_whitespace().filter_map(|field| field.strip_prefix("user=")).collect();
    others.retain(|name| !used.contains(name.as_str()));
    Ok(others)
}

/// The process that a mirrored user belongs to; `None` for another user.
fn instance_of(name: &str) -> Option<&str> {
    let (instance, number) = name.strip_prefix(PREFIX)?.split_once(':')?;
    let hex = instance.len() == 32 && instance.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (hex && digits).then_some(instance)
}

fn refused(step: &'static str, value: &Value) -> DialError {
    match value {
        Value::Error(text) => DialError::Refused(step, String::from_utf8_lossy(text).into_owned()),
        _ => DialError::Protocol,
    }
}

fn random_hex<const BYTES: usize>() -> Option<String> {
    let mut bytes = zeroize::Zeroizing::new([0u8; BYTES]);
    getrandom::fill(&mut *bytes).ok()?;
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    // Of the right length at once, so that no piece of a secret is left where it grew from.
    let mut hex = String::with_capacity(BYTES.saturating_mul(2));
    hex.extend(digits.filter_map(|nibble| char::from_digit(u32::from(nibble), 16)));
    Some(hex)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_mirrored_users_are_taken_for_such() {
        let instance = "0123456789abcdef0123456789abcdef";
        assert_eq!(instance_of(&format!("redkeep-mirror:{instance}:12")), Some(instance));
        for other in ["redkeep-mirror:", "redkeep-mirror:x:1", "app", "redkeep"] {
            assert_eq!(instance_of(other), None, "{other}");
        }
        assert_eq!(instance_of(&format!("redkeep-mirror:{instance}:")), None);
        assert_eq!(instance_of(&format!("redkeep-mirror:{instance}:1x")), None);
    }

    #[test]
    fn secrets_are_long_and_differ() {
        let secrets: HashSet<String> = (0..100).filter_map(|_| random_hex::<32>()).collect();
        assert_eq!(secrets.len(), 100);
        assert!(secrets.iter().all(|secret| secret.len() == 64));
    }
}
