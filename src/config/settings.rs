//! What a configuration says, as plain data: no key is missing, every value has been looked at on its own.
//!
//! Whatever a later check may complain about (files, rules, commands) keeps its [`Position`]. Paths are already seen
//! from the working directory. Secrets are only named here, by file or variable; [`SecretSource::read`] fetches them.

use std::path::PathBuf;
use std::time::Duration;

use super::audit::Audit;
use super::problems::{Located, Position};
use super::reload::Reload;
use crate::policy::{Bounds, Caps, Conditions, Identity, Networks, Scripts, Switches};
use crate::server::Bind;
use crate::server::tls::{AuthClients, Authorities, Offer, TlsSettings};
use crate::session;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from, for messages.
    pub file: PathBuf,
    /// `listeners`: at least one, no address twice.
    pub listeners: Vec<Listener>,
    /// `protected_mode`, default yes: whether clients of other machines are refused on plain listeners, and while the
    /// default user needs no password. A listener may have one of its own.
    pub protected_mode: bool,
    /// `upstream`.
    pub upstream: Upstream,
    /// `acl.file` or `users`.
    pub users: UserSource,
    /// What `users` says of users beside their rules, with each name's place.
    pub conditions: Vec<(Located<String>, Conditions)>,
    /// `acl.requirepass_file` or `acl.requirepass_env`: the password of the default user.
    pub requirepass: Option<Located<SecretSource>>,
    /// `acl.pubsub_default`: allchannels (true) or resetchannels, the default: what a new user may do with channels.
    pub all_channels: bool,
    /// `acl.log_max_len`, default 128: entries of the ACL log.
    pub log_max_len: usize,
    /// `acl.fence`, default no: whether users have a key fence, unless their conditions say otherwise.
    pub fence: bool,
    /// `commands.rename` in the order of the file; no command and no alias twice, in whatever case.
    pub rename: Vec<Rename>,
    /// The rest of `commands`, and the `enable_…` keys.
    pub gates: GateSettings,
    /// `scripts`: what scripts of restricted users may do.
    pub scripts: Scripts,
    /// `workers`, 1 to 1024; default the number of cores.
    pub workers: usize,
    /// `limits`.
    pub limits: Limits,
    /// `log`.
    pub log: Log,
    /// `reload`.
    pub reload: Reload,
    /// `core_dumps`, default no: whether the system may write the process' memory to a file, and others debug it.
    pub core_dumps: bool,
    /// `audit`.
    pub audit: Audit,
    /// `shutdown_timeout`, default 25 s: how long sessions may finish after SIGTERM. Below the 30 s after which
    /// Kubernetes kills.
    pub shutdown_timeout: Duration,
    /// All files that it names: what a watch watches.
    pub files: Vec<PathBuf>,
}

/// One address of an item of `listeners`.
#[derive(Clone, Debug)]
pub struct Listener {
    /// `bind`, or an item of it.
    pub bind: Located<Bind>,
    /// `mode`, default 0600: permissions of a Unix socket.
    pub unix_mode: u32,
    /// `tls`; without it the listener is plain.
    pub tls: Option<ListenerTls>,
    /// Who may connect.
    pub trust: ListenerTrust,
}

/// Who may connect to a listener.
#[derive(Clone, Debug)]
pub struct ListenerTrust {
    /// `allow_from` and `deny_from`.
    pub networks: Networks,
    /// `protected_mode`, default that of the top level.
    pub protected_mode: Option<bool>,
    /// `proxy_protocol_from`, if `proxy_protocol` is yes: load balancers, who say for whom they connect.
    pub proxies: Option<Networks>,
}

/// `listeners[].tls`.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// `cert_file` and `key_file`: for clients who name no other server.
    pub own: CertificateFiles,
    /// `certificates`: for clients who name a server that one of them is for.
    pub others: Vec<CertificateFiles>,
    /// `danger_key_file_readable`, default no: take private keys that the group or others may read.
    pub danger_key_file_readable: bool,
    /// The CAs that sign client certificates. There are some unless `auth_clients` is no.
    pub trust: TlsTrust,
    /// `auth_clients`: no, optional or yes. Default yes if there is a CA, else no: who names a CA wants certificates
    /// to be asked for.
    pub auth_clients: AuthClients,
    /// `identity`: how a client's certificate becomes a user; never where no certificate is asked for.
    pub identity: Option<Identity>,
    /// `protocols`, `ciphers`, `ciphersuites`.
    pub offer: Offer,
}

/// A certificate chain and its private key.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// `cert_file`: the chain, PEM, own certificate first.
    pub cert_file: Located<PathBuf>,
    /// `key_file`: its private key, PEM.
    pub key_file: Located<PathBuf>,
}

/// Who may have signed the certificates of the other side.
#[derive(Clone, Debug)]
pub struct TlsTrust {
    /// `ca_cert_file`: CAs, PEM.
    pub ca_cert_file: Option<Located<PathBuf>>,
    /// `ca_cert_dir`: a folder of such files.
    pub ca_cert_dir: Option<Located<PathBuf>>,
    /// `crl_files`: revocation lists of these CAs, PEM.
    pub crl_files: Vec<Located<PathBuf>>,
}

impl TlsTrust {
    /// Whether no CA is named.
    pub fn is_empty(&self) -> bool {
        self.ca_cert_file.is_none() && self.ca_cert_dir.is_none()
    }

    /// The same without positions.
    pub fn authorities(&self) -> Authorities {
        let path = |file: &Located<PathBuf>| file.value.clone();
        Authorities {
            ca_cert_file: self.ca_cert_file.as_ref().map(path),
            ca_cert_dir: self.ca_cert_dir.as_ref().map(path),
            crl_files: self.crl_files.iter().map(path).collect(),
        }
    }
}

impl ListenerTls {
    /// All certificates; the first is the one for clients who name nothing.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateFiles> {
        std::iter::once(&self.own).chain(&self.others)
    }

    /// The same without positions, for the server.
    pub fn settings(&self) -> TlsSettings {
        let files = |files: &CertificateFiles| (files.cert_file.value.clone(), files.key_file.value.clone());
        TlsSettings {
            certificates: self.certificates().map(files).collect(),
            danger_key_file_readable: self.danger_key_file_readable,
            authorities: self.trust.authorities(),
            auth_clients: self.auth_clients,
            offer: self.offer.clone(),
        }
    }
}

/// `upstream`: the Redis behind us, and how we log in there.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// `address`.
    pub address: UpstreamAddress,
    /// `username`; only with a password.
    pub username: Option<String>,
    /// `password_file` or `password_env`.
    pub password: Option<Located<SecretSource>>,
    /// `tls`: present exactly if the address is `rediss://`.
    pub tls: Option<UpstreamTls>,
    /// `connect_timeout`, default 1 s: a command waits at most so long for a link that is not up.
    pub connect_timeout: Duration,
    /// `response_timeout`, default 30 s: after so long without a reply a link is given up.
    pub response_timeout: Duration,
    /// `links_per_worker`, 1 to 64, default 1: shared links of one worker, database and protocol version.
    pub links_per_worker: usize,
    /// `max_leased`, at least 1, default 1,000: links that belong to one session for a while, of all workers together.
    pub max_leased: usize,
    /// `lease_timeout`, default 1 s: a command waits at most so long for such a link while all are in use.
    pub lease_timeout: Duration,
    /// `renamed_commands`: what the upstream has renamed itself, in the order of the file; as [`Config::rename`].
    pub renamed: Vec<Rename>,
}

/// How the upstream is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// `redis://host:port`. An IPv6 address is without its brackets.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port, default 6379.
        port: u16,
    },
    /// `rediss://host:port`.
    Tls {
        /// Host name or address.
        host: String,
        /// Port, default 6379.
        port: u16,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

/// `upstream.tls`.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Where it stands.
    pub at: Position,
    /// The CAs that may have signed the upstream's certificate. There is one at least: none is built in.
    pub trust: TlsTrust,
    /// `server_name`: the name that the certificate must have, if it is not the address's host.
    pub server_name: Option<Located<String>>,
    /// `cert_file` and `key_file`: our own certificate, if the upstream asks for one.
    pub own: Option<CertificateFiles>,
    /// `danger_key_file_readable`, default no: take a private key that the group or others may read.
    pub danger_key_file_readable: bool,
    /// `protocols`, `ciphers`, `ciphersuites`.
    pub offer: Offer,
}

/// Where a secret is kept. The secret itself is never part of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// The name of an environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
}

/// Where the users are defined.
#[derive(Clone, Debug)]
pub enum UserSource {
    /// `acl.file`: a file in Redis' own ACL file format.
    AclFile(Located<PathBuf>),
    /// No other user than `default`, whose password is `requirepass`.
    DefaultOnly,
    /// `users`: at least one, no name twice.
    Inline(Vec<InlineUser>),
}

/// An item of `users`.
#[derive(Clone, Debug)]
pub struct InlineUser {
    /// `name`: not empty, no white space, no NUL.
    pub name: Located<String>,
    /// `rules`.
    pub rules: Rules,
    /// `password_files` and `password_envs`: each password is valid, so that a rotation loses no client.
    pub passwords: Vec<Located<SecretSource>>,
}

/// The text of ACL rules and where it stands. SECURITY: it may hold passwords (`>password`); never show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Rules {
    /// The rules as Redis writes them, separated by white space.
    pub text: String,
    /// Where the value starts.
    pub at: Position,
    /// Where the first character of `text` stands, if `text` is a literal piece of one line of the file.
    pub literal_at: Option<Position>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Rules {
    /// The place in the file of the byte at `offset` of `text`; the value's start if the text was written with escapes
    /// or over several lines.
    pub fn position_of(&self, offset: usize) -> Position {
        match (self.literal_at, self.text.get(..offset)) {
            (Some(start), Some(before)) => {
                Position { line: start.line, column: start.column + before.chars().count() }
            }
            _ => self.at,
        }
    }
}

/// What holds for everyone, but for renames.
#[derive(Clone, Debug, Default)]
pub struct GateSettings {
    /// `commands.deny`: commands, subcommands and categories as they are written.
    pub deny: Vec<Located<String>>,
    /// `commands.protected_configs`: beside `dir` and `dbfilename`.
    pub protected_configs: Vec<Located<String>>,
    /// `commands.bounds`: none unless it is set.
    pub bounds: Bounds,
    /// `enable_debug_command`, `enable_module_command`, `enable_protected_configs`, default no.
    pub switches: Switches,
}

/// One entry of `commands.rename`, or of `upstream.renamed_commands`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The command's name as written.
    pub command: String,
    /// Its new name; empty if the command is disabled.
    pub alias: String,
    /// Where the command stands.
    pub command_at: Position,
    /// Where the alias stands.
    pub alias_at: Position,
}

/// `limits`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `maxclients`, default 10000 as in Redis.
    pub maxclients: usize,
    /// What each client may take.
    pub sessions: session::Limits,
    /// `handshake_timeout`, default 5 s: how long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// `tcp_keepalive`, default 30 s: silent clients are asked whether they are still there; zero for never.
    pub tcp_keepalive: Duration,
    /// `per_user`: what a user may have at most, unless `users` says something else of it.
    pub per_user: Caps,
}

/// `log`.
#[derive(Clone, Debug)]
pub struct Log {
    /// `format`.
    pub format: LogFormat,
    /// `level`: one of error, warn, info, debug, trace.
    pub level: String,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}
