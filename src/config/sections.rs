//! The sections of a configuration: which keys there are, their defaults, and what contradicts what.
//!
//! Only what the file itself tells is judged here; the disk is asked by [`check`](super::check). A function returns
//! nothing if a required part is missing; the problem is then recorded already.

use std::sync::OnceLock;
use std::time::Duration;

use super::problems::Position;
use super::read::{Entry, Reader, Section, quoted};
use super::reload::reload;
use super::settings::{
    CertificateFiles, Config, Listener, ListenerTls, Log, LogFormat, Upstream, UpstreamAddress, UpstreamTls,
};
use super::tree::Node;
use super::{access, audit, gates, identity, limits, tls, trust, values};
use crate::server::Bind;
use crate::server::tls::AuthClients;

/// Reads the whole document. The result counts only if the reader has no problem.
pub(super) fn config(reader: &mut Reader, root: &Node, file: &std::path::Path) -> Option<Config> {
    let root = Entry { name: "", at: Position::START, node: root };
    reader.section(root, |reader, top| {
        let listeners = reader.require(top, "listeners", "[{bind: 127.0.0.1:6379}]");
        let listeners = listeners.and_then(|entry| self::listeners(reader, entry));
        let protected_mode = reader.parse_or(top, "protected_mode", true, values::switch);
        let upstream = reader.require(top, "upstream", "{address: unix:/run/redis/redis.sock}");
        let upstream = upstream.and_then(|entry| reader.section(entry, self::upstream).flatten());
        let access = access::access(reader, top);
        let (rename, gates) = gates::gates(reader, top);
        let scripts = super::scripts::scripts(reader, top);
        let workers = reader.number(top, "workers", cores(), 1..=MAX_WORKERS);
        let limits = limits::limits(reader, top);
        let log = log(reader, top);
        let reload = reload(reader, top);
        let core_dumps = reader.parse_or(top, "core_dumps", false, values::switch);
        let audit = audit::audit(reader, top);
        let shutdown_timeout = reader.parse_or(top, "shutdown_timeout", SHUTDOWN_TIMEOUT, values::duration);
        let access = access?;
        identity::check_logins(reader, listeners.as_deref().unwrap_or_default(), &access.conditions);
        Some(Config {
            file: file.to_path_buf(),
            listeners: listeners?,
            protected_mode,
            upstream: upstream?,
            users: access.users,
            conditions: access.conditions,
            requirepass: access.requirepass,
            all_channels: access.all_channels,
            log_max_len: access.log_max_len,
            fence: access.fence,
            rename,
            gates,
            scripts,
            workers,
            limits,
            log,
            reload,
            core_dumps,
            audit,
            shutdown_timeout,
            files: Vec::new(),
        })
    })?
}

const MAX_WORKERS: usize = 1024;
/// Below the 30 s after which Kubernetes kills.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);
/// Short: clients have their own retries, and a command that was certainly not sent is safe to retry.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Long: giving up a link fails every session on it, and slow commands are Redis' business.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Subscribers, transactions and blocked clients at the same time; a tenth of the connections that Redis takes by default.
const MAX_LEASED: usize = 1_000;
/// More than one machine has ports for.
const MAX_MAX_LEASED: usize = 1_000_000;
/// Longer than a transaction takes, shorter than a client waits.
const LEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// More links than this would cost Redis what sharing saves.
const MAX_LINKS_PER_WORKER: usize = 64;

/// One worker per core; one if the system does not tell. Asked once: the system may take cores away and give them back
/// while redkeep runs, and its workers stay as many as they are.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES
        .get_or_init(|| std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_WORKERS)))
}

// === listeners ===

fn listeners(reader: &mut Reader, entry: Entry<'_>) -> Option<Vec<Listener>> {
    let items = reader.items(entry, "listeners[]")?;
    if items.is_empty() {
        reader
            .problem(entry.at, "`listeners` is empty; write at least one, such as `- bind: 127.0.0.1:6379`");
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for item in items {
        for listener in reader.section(item, self::listener).unwrap_or_default() {
            if let Some(other) = listeners.iter().find(|other| clash(&other.bind.value, &listener.bind.value))
            {
                let line = other.bind.at.line;
                let text = format!(
                    "`bind` takes the same address as the listener in line {line}; write another port"
                );
                reader.problem(listener.bind.at, text);
            }
            listeners.push(listener);
        }
    }
    Some(listeners)
}

/// One for each address of `bind`.
fn listener(reader: &mut Reader, section: &mut Section<'_>) -> Vec<Listener> {
    let binds = trust::binds(reader, section);
    let unix_mode = trust::unix_mode(reader, section, &binds);
    let tls = section.take("tls").map(|entry| reader.section(entry, listener_tls).flatten());
    let trust = trust::trust(reader, section);
    let tls = tls.flatten();
    let listener = |bind| Listener { bind, unix_mode, tls: tls.clone(), trust: trust.clone() };
    binds.into_iter().map(listener).collect()
}

/// Whether two listeners cannot both be bound: the same path, or the same port on overlapping addresses.
fn clash(one: &Bind, other: &Bind) -> bool {
    match (one, other) {
        (Bind::Unix(one), Bind::Unix(other)) => one == other,
        (Bind::Tcp(one), Bind::Tcp(other)) => {
            let overlap = one.ip() == other.ip()
                || (one.is_ipv4() == other.is_ipv4()
                    && (one.ip().is_unspecified() || other.ip().is_unspecified()));
            one.port() != 0 && one.port() == other.port() && overlap
        }
        _ => false,
    }
}

fn listener_tls(reader: &mut Reader, section: &mut Section<'_>) -> Option<ListenerTls> {
    const CHOICES: [(&str, AuthClients); 3] =
        [("no", AuthClients::No), ("optional", AuthClients::Optional), ("yes", AuthClients::Yes)];
    let own = tls::own_certificate(reader, section);
    let others = tls::certificates(reader, section);
    let danger_key_file_readable = tls::danger_key_file_readable(reader, section);
    let trust = tls::trust(reader, section);
    let offer = tls::offer(reader, section);
    let auth_entry = section.take("auth_clients");
    let auth = auth_entry.and_then(|entry| {
        reader.parse(entry, |text| match text.to_ascii_lowercase().as_str() {
            "true" => Ok(AuthClients::Yes),
            "false" => Ok(AuthClients::No),
            _ => values::choice(text, &CHOICES),
        })
    });
    if let (Some(auth), true) = (&auth, trust.is_empty())
        && auth.value != AuthClients::No
    {
        let text =
            "`auth_clients` needs the CA that signs client certificates; write `ca_cert_file: /path/ca.crt`";
        reader.problem(auth.at, text);
    }
    let default = if trust.is_empty() { AuthClients::No } else { AuthClients::Yes };
    let auth_clients = auth.map_or(default, |auth| auth.value);
    let identity = identity::identity(reader, section, auth_clients);
    Some(ListenerTls { own: own?, others, danger_key_file_readable, trust, auth_clients, identity, offer })
}

// === upstream ===

fn upstream(reader: &mut Reader, section: &mut Section<'_>) -> Option<Upstream> {
    let address = reader.require(section, "address", "unix:/run/redis/redis.sock");
    let address = address.and_then(|entry| reader.parse(entry, values::upstream_address));
    let username = section.take("username").and_then(|entry| reader.text(entry));
    let problems_before = reader.problem_count();
    let password = reader.secret(section, "password_file", "password_env");
    if let (Some(username), None) = (&username, &password)
        && reader.problem_count() == problems_before
    {
        reader
            .problem(username.at, "`username` has no password; write `password_file` or `password_env` too");
    }
    let tls_entry = section.take("tls");
    let tls = tls_entry.and_then(|entry| reader.section(entry, upstream_tls));
    let connect_timeout = reader.parse_or(section, "connect_timeout", CONNECT_TIMEOUT, values::duration);
    let response_timeout = reader.parse_or(section, "response_timeout", RESPONSE_TIMEOUT, values::duration);
    let links_per_worker = reader.number(section, "links_per_worker", 1, 1..=MAX_LINKS_PER_WORKER);
    let max_leased = reader.number(section, "max_leased", MAX_LEASED, 1..=MAX_MAX_LEASED);
    let lease_timeout = reader.parse_or(section, "lease_timeout", LEASE_TIMEOUT, values::duration);
    let renamed = gates::renames(reader, section, "renamed_commands");
    let address = address?;
    match (&address.value, tls_entry) {
        (UpstreamAddress::Tls { .. }, None) => reader.problem(
            address.at,
            "`rediss://` needs the CA that signed the certificate of the upstream; \
             write `tls: {ca_cert_file: /path/ca.crt}` in `upstream`",
        ),
        (UpstreamAddress::Tls { .. }, Some(_)) | (_, None) => {}
        (_, Some(tls)) => reader.problem(
            tls.at,
            "`tls` is only used with TLS; write `rediss://host:port` as `address`, or remove `tls`",
        ),
    }
    let address = match address.value {
        UpstreamAddress::Unix(path) => UpstreamAddress::Unix(reader.resolve(&path)),
        other => other,
    };
    Some(Upstream {
        address,
        username: username.map(|username| username.value),
        password,
        tls,
        connect_timeout,
        response_timeout,
        links_per_worker,
        max_leased,
        lease_timeout,
        renamed,
    })
}

fn upstream_tls(reader: &mut Reader, section: &mut Section<'_>) -> UpstreamTls {
    let at = section.at;
    let problems_before = reader.problem_count();
    let trust = tls::trust(reader, section);
    if trust.is_empty() && reader.problem_count() == problems_before {
        // No CA is built in: those of the system may be anybody's.
        let text =
            "key `ca_cert_file` is missing in `tls`; write `ca_cert_file: /etc/redkeep/tls/redis-ca.crt`";
        reader.problem(at, text);
    }
    let offer = tls::offer(reader, section);
    let danger_key_file_readable = tls::danger_key_file_readable(reader, section);
    let server_name = section.take("server_name").and_then(|entry| {
        reader.parse(entry, |text| match rustls::pki_types::ServerName::try_from(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err(format!("is {}; write a host name such as `redis.internal`", quoted(text))),
        })
    });
    let cert_entry = section.take("cert_file");
    let key_entry = section.take("key_file");
    match (cert_entry, key_entry) {
        (Some(cert), None) => {
            reader.problem(cert.at, "`cert_file` needs its private key; write `key_file` too")
        }
        (None, Some(key)) => {
            reader.problem(key.at, "`key_file` needs its certificate; write `cert_file` too")
        }
        _ => {}
    }
    let cert_file = cert_entry.and_then(|entry| reader.path(entry));
    let key_file = key_entry.and_then(|entry| reader.path(entry));
    let own = cert_file.zip(key_file).map(|(cert_file, key_file)| CertificateFiles { cert_file, key_file });
    UpstreamTls { at, trust, server_name, own, danger_key_file_readable, offer }
}

// === log ===

fn log(reader: &mut Reader, top: &mut Section<'_>) -> Log {
    const FORMATS: [(&str, LogFormat); 3] =
        [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];
    const LEVELS: [(&str, &str); 5] =
        [("error", "error"), ("warn", "warn"), ("info", "info"), ("debug", "debug"), ("trace", "trace")];
    let default = || Log { format: LogFormat::Auto, level: "info".into() };
    let Some(entry) = top.take("log") else { return default() };
    let log = reader.section(entry, |reader, section| Log {
        format: reader.parse_or(section, "format", LogFormat::Auto, |text| values::choice(text, &FORMATS)),
        level: reader.parse_or(section, "level", "info", |text| values::choice(text, &LEVELS)).to_owned(),
    });
    log.unwrap_or_else(default)
}
