//! From a checked configuration to what the layers need: everything read, nothing bound.
//!
//! `run`, `check`, `healthcheck` and a reload all come through [`Plan::load`], so a check says exactly what a start
//! would say.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::upstream_tls::dial_tls;
use super::{
    Config, InlineUser, Located, LogFormat, Position, Problems, Reload, SecretSource, Snapshot,
    UpstreamAddress, UserSource, check_files, gates, load,
};
use crate::acl::{Defaults, PasswordHash, Secret, User, parse_file, parse_rules};
use crate::audit;
use crate::command::CommandTable;
use crate::policy::{ConditionsByUser, Login};
use crate::regular;
use crate::server::tls::{read_certificates, server_config};
use crate::server::{self, ListenerSettings, TlsSlot, Trust};
use crate::upstream::{Address, Names, Settings};
use crate::users::{Source, with_default};

/// Everything that a configuration means, with secrets and certificates read.
pub struct Plan {
    /// Listeners, workers, limits, upstream.
    pub server: server::Settings,
    /// Users and gates.
    pub users: Source,
    /// The audit stream.
    pub audit: audit::Settings,
    /// `log.format`.
    pub log_format: LogFormat,
    /// `log.level`.
    pub log_level: String,
    /// `shutdown_timeout`.
    pub shutdown_timeout: Duration,
    /// `reload`.
    pub reload: Reload,
    /// `core_dumps`.
    pub core_dumps: bool,
    /// The files, as they were before anything else of the plan was read: who finds them as they are here has this plan.
    pub files: Snapshot,
    /// The own certificate of each TLS listener.
    pub certificates: Vec<Option<CertificateDer<'static>>>,
}

impl Plan {
    /// Reads the configuration and all files that it names.
    ///
    /// # Errors
    /// All that is wrong, in all of these files.
    pub fn load(path: &Path) -> Result<Plan, Problems> {
        let files = Snapshot::take(path, &Snapshot::default());
        let config = load(path)?;
        let mut problems = check_files(&config);
        let table = CommandTable::builtin();
        let defaults = Defaults { all_channels: config.all_channels };
        let (users, file_digest) = read_users(&config, defaults, &table, &mut problems);
        let requirepass =
            config.requirepass.as_ref().and_then(|source| read_hash(source, &config, &mut problems));
        let users = with_default(users, requirepass.as_ref(), defaults, &table);
        let conditions = read_conditions(&config, &users, &mut problems).with_fence(config.fence);
        let gates = gates::compile(&config, &table, &mut problems);
        let names = gates::upstream_names(&config, &table, &mut problems);
        let upstream = names.and_then(|names| read_upstream(&config, names, &mut problems));
        let mut listeners = Vec::new();
        let mut certificates = Vec::new();
        for listener in &config.listeners {
            let settings = listener.tls.as_ref().map(|tls| tls.settings());
            let leaf = listener
                .tls
                .as_ref()
                .and_then(|tls| read_certificates(&tls.own.cert_file.value).ok()?.into_iter().next());
            // SECURITY: a TLS listener whose files cannot be used must never become a plain one.
            let tls = match settings.map(|tls| server_config(&tls)) {
                None => None,
                Some(Ok(tls)) => Some(TlsSlot::new(tls)),
                Some(Err(_)) => {
                    note_change(&config, listener.bind.at, &mut problems);
                    continue;
                }
            };
            listeners.push(ListenerSettings {
                bind: listener.bind.value.clone(),
                unix_mode: listener.unix_mode,
                tls,
                trust: Trust {
                    networks: listener.trust.networks.clone(),
                    protected_mode: listener.trust.protected_mode.unwrap_or(config.protected_mode),
                    proxies: listener.trust.proxies.clone(),
                },
            });
            certificates.push(leaf);
        }
        let audit = config.audit.settings();
        if upstream.is_none() || audit.is_none() {
            note_change(&config, Position::START, &mut problems);
        }
        let (true, Some(upstream), Some(gates), Some(audit)) = (problems.is_empty(), upstream, gates, audit)
        else {
            return Err(problems);
        };
        let server = server::Settings {
            listeners,
            workers: config.workers,
            maxclients: config.limits.maxclients,
            limits: config.limits.sessions,
            handshake_timeout: config.limits.handshake_timeout,
            tcp_keepalive: config.limits.tcp_keepalive,
            upstream,
        };
        Ok(Plan {
            server,
            users: Source {
                users,
                file: match &config.users {
                    UserSource::AclFile(path) => Some(path.value.clone()),
                    UserSource::DefaultOnly | UserSource::Inline(_) => None,
                },
                file_digest,
                requirepass,
                conditions,
                gates,
                defaults,
                log_max_len: config.log_max_len,
            },
            audit,
            log_format: config.log.format,
            log_level: config.log.level,
            shutdown_timeout: config.shutdown_timeout,
            reload: config.reload,
            core_dumps: config.core_dumps,
            files,
            certificates,
        })
    }

    /// What differs between this plan, which is in force, and `next`, and cannot change without a restart. `file` is
    /// where the problems are shown.
    pub fn fixed_differences(&self, next: &Plan, file: &Path) -> Problems {
        let mut problems = Problems::default();
        let (old, new) = (&self.server, &next.server);
        let shape = |settings: &server::Settings| {
            let one = |one: &ListenerSettings| (one.bind.clone(), one.unix_mode, one.tls.is_some());
            settings.listeners.iter().map(one).collect::<Vec<_>>()
        };
        let (from, to) = (&old.upstream, &new.upstream);
        // Top-level key, what is named in the message, whether it differs. A setting that is not here is taken over live
        // (`App::apply`).
        let fixed = [
            ("listeners", "listeners", shape(old) != shape(new)),
            ("workers", "workers", old.workers != new.workers),
            ("limits", "limits.tcp_keepalive", old.tcp_keepalive != new.tcp_keepalive),
            ("upstream", "upstream.address", !from.is_same_place(to)),
            ("upstream", "upstream.links_per_worker", from.links_per_worker != to.links_per_worker),
            ("upstream", "upstream.max_leased", from.max_leased != to.max_leased),
            ("audit", "audit", !self.audit.is_same(&next.audit)),
            ("log", "log.format", self.log_format != next.log_format),
            ("reload", "reload", self.reload != next.reload),
            ("core_dumps", "core_dumps", self.core_dumps != next.core_dumps),
        ];
        let text = std::fs::read_to_string(file).unwrap_or_default();
        for (key, what, _) in fixed.iter().filter(|(_, _, differs)| *differs) {
            // A key that was removed is shown at the top.
            let place = text
                .lines()
                .position(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')));
            let line = place.map_or(1, |index| index.saturating_add(1));
            problems.push(
                file,
                line,
                1,
                format!("`{what}` cannot change while redkeep runs; change it back, or restart"),
            );
        }
        problems
    }
}

/// Notes that something which [`check_files`] could use a moment ago cannot be used now: it was changed in between, and
/// to go on without it could open what it was to close. Says nothing where a problem is known already, since nothing
/// is loaded then.
fn note_change(config: &Config, at: Position, problems: &mut Problems) {
    if problems.is_empty() {
        problems.push_at(&config.file, at, "a file that is named here changed while it was read; try again");
    }
}

fn read_users(
    config: &Config,
    defaults: Defaults,
    table: &CommandTable,
    problems: &mut Problems,
) -> (Vec<User>, Option<[u8; 32]>) {
    match &config.users {
        UserSource::AclFile(path) => match regular::read(&path.value).map(Zeroizing::new) {
            Ok(bytes) => {
                let users = parse_file(&bytes, defaults, table).unwrap_or_else(|errors| {
                    for error in errors {
                        problems.push(&path.value, error.line, error.column, error.text);
                    }
                    Vec::new()
                });
                (users, Some(Sha256::digest(&*bytes).into()))
            }
            Err(_) => {
                note_change(config, path.at, problems);
                (Vec::new(), None)
            }
        },
        UserSource::DefaultOnly => (Vec::new(), None),
        UserSource::Inline(inline) => {
            let users = inline.iter();
            let users = users.filter_map(|user| read_inline_user(user, config, defaults, table, problems));
            (users.collect(), None)
        }
    }
}

fn read_inline_user(
    inline: &InlineUser,
    config: &Config,
    defaults: Defaults,
    table: &CommandTable,
    problems: &mut Problems,
) -> Option<User> {
    let user = match parse_rules(&inline.name.value, &inline.rules.text, defaults, table) {
        Ok(user) => user,
        Err(errors) => {
            for error in errors {
                let at = match error.column.checked_sub(1) {
                    Some(offset) => inline.rules.position_of(offset),
                    None => inline.name.at,
                };
                problems.push_at(&config.file, at, error.text);
            }
            return None;
        }
    };
    let passwords: Vec<String> = inline
        .passwords
        .iter()
        .filter_map(|source| Some(format!("#{}", read_hash(source, config, problems)?.to_hex())))
        .collect();
    let rules: Vec<&[u8]> = passwords.iter().map(String::as_bytes).collect();
    user.set(&rules, table).ok()
}

/// The conditions by user. SECURITY: those of a name that nobody has would silently not hold for whom they were meant.
fn read_conditions(config: &Config, users: &[User], problems: &mut Problems) -> ConditionsByUser {
    for (name, _) in &config.conditions {
        if problems.is_empty() && !users.iter().any(|user| user.name() == name.value.as_bytes()) {
            let text =
                format!("no user `{}` is in `acl.file`; write the name as it stands there", name.value);
            problems.push_at(&config.file, name.at, text);
        }
    }
    for (name, conditions) in &config.conditions {
        let user = users.iter().find(|user| user.name() == name.value.as_bytes());
        if conditions.login == Login::CertificateAndPassword && user.is_some_and(User::is_nopass) {
            let text = format!(
                "any password is right for the user `{}` (nopass), so `login: cert_and_password` asks for nothing but \
                 the certificate; give it a password, or write `login: cert_only`",
                name.value
            );
            problems.push_at(&config.file, name.at, text);
        }
    }
    let identities =
        config.listeners.iter().map(|listener| listener.tls.as_ref()?.identity.clone()).collect();
    let conditions = config.conditions.iter();
    let conditions = conditions.map(|(name, conditions)| (name.value.as_bytes().into(), conditions.clone()));
    let by_user: ConditionsByUser = conditions.collect();
    by_user.with_identities(identities).with_caps(config.limits.per_user)
}

fn read_hash(
    source: &Located<SecretSource>,
    config: &Config,
    problems: &mut Problems,
) -> Option<PasswordHash> {
    match source.value.read() {
        Ok(secret) => Some(PasswordHash::of(secret.expose_secret())),
        Err(_) => {
            note_change(config, source.at, problems);
            None
        }
    }
}

fn read_upstream(config: &Config, names: Names, problems: &mut Problems) -> Option<Settings> {
    let upstream = &config.upstream;
    let password: Option<Arc<Secret>> = match &upstream.password {
        Some(source) => Some(Arc::new(source.value.read().ok()?)),
        None => None,
    };
    let (address, tls) = match (&upstream.address, &upstream.tls) {
        (UpstreamAddress::Unix(path), _) => (Address::Unix(path.clone()), None),
        (UpstreamAddress::Tcp { host, port }, _) => (Address::Tcp { host: host.clone(), port: *port }, None),
        (UpstreamAddress::Tls { host, port }, Some(tls)) => {
            let address = Address::Tcp { host: host.clone(), port: *port };
            let tls = dial_tls(host, tls, config).map_err(|found| problems.extend(found)).ok()?;
            (address, Some(tls))
        }
        (UpstreamAddress::Tls { .. }, None) => return None,
    };
    Some(Settings {
        address,
        tls,
        username: upstream.username.clone(),
        password,
        connect_timeout: upstream.connect_timeout,
        response_timeout: upstream.response_timeout,
        links_per_worker: upstream.links_per_worker,
        max_leased: upstream.max_leased,
        lease_timeout: upstream.lease_timeout,
        names: Arc::new(names),
    })
}
