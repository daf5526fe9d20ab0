//! The targets: what clients connect to, each with a Redis of its own behind it or in it.
//!
//! A file for each peer says how it is started and why that is fair. All listen on 127.0.0.1, with the same
//! certificate; all processes and files are gone at the end, however it comes.

mod envoy;
mod haproxy;
mod process;
mod redis;
mod redkeep;
mod stunnel;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use process::{Directory, Process};
pub use redis::Redis;

use crate::Result;
use crate::certs::Certs;
use crate::load::Endpoint;
use crate::scenario::Kind;

/// The user that clients log in as.
pub const USER: &str = "bench";
/// Its password.
pub const PASSWORD: &str = "a-password-of-the-benchmark";
/// The rules of a restricted user: three key patterns, categories, one selector.
const RESTRICTED: &str = "~app:* ~cache:* %R~shared:* resetchannels &news:* \
                          -@all +@read +@write +@connection +@pubsub (%R~log:* +@read)";
/// The rules of an all-powerful one.
const ALL_POWERFUL: &str = "~* &* +@all";

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(20);

/// What all targets are started with.
pub struct Site {
    /// Where their files go.
    pub dir: Directory,
    /// Their certificate, and what clients offer.
    pub certs: Certs,
    /// The program to be measured.
    pub redkeep: PathBuf,
    /// Redkeep's repository, with `.venv` in it.
    pub repository: PathBuf,
}

/// A kind of target.
pub struct Target {
    /// Its name on the command line and in the tables.
    pub name: &'static str,
    /// One line about it.
    pub what: &'static str,
    /// Whether there is a proxy before its Redis.
    pub proxy: bool,
    /// Whether it needs nothing that has to be installed: `make bench-smoke` measures these.
    pub smoke: bool,
    /// What it cannot do, and why.
    pub lacks: fn(Kind) -> Option<&'static str>,
    start: fn(&Site, &Path) -> Result<Running>,
    missing: fn(&Site) -> Option<String>,
}

/// A target that runs.
pub struct Running {
    /// Where and how clients connect.
    pub endpoint: Endpoint,
    /// The proxy, if there is one.
    pub proxy: Option<Process>,
    /// The Redis behind it.
    pub redis: Redis,
}

/// All targets, in the order of the tables.
pub const TARGETS: [Target; 8] = [
    Target {
        name: "redis",
        proxy: false,
        what: "Redis plain, no TLS, no password",
        smoke: true,
        lacks: |kind| matches!(kind, Kind::Connect { resume: true }).then_some("no TLS"),
        start: redis::start_plain,
        missing: |_| redis::missing(),
    },
    Target {
        name: "redis-tls",
        proxy: false,
        what: "Redis' own TLS, restricted user",
        smoke: true,
        lacks: |_| None,
        start: redis::start_tls,
        missing: |_| redis::missing(),
    },
    Target {
        name: "haproxy",
        proxy: true,
        what: "HAProxy, TLS in, Unix socket out, Redis' own ACL",
        smoke: false,
        lacks: |_| None,
        start: haproxy::start,
        missing: |_| haproxy::missing(),
    },
    Target {
        name: "stunnel",
        proxy: true,
        what: "stunnel, TLS in, Unix socket out, Redis' own ACL",
        smoke: false,
        lacks: |_| None,
        start: stunnel::start,
        missing: |_| stunnel::missing(),
    },
    Target {
        name: "envoy",
        proxy: true,
        what: "Envoy redis_proxy, TLS in, Unix socket out, one password, no ACL",
        smoke: false,
        lacks: envoy::lacks,
        start: envoy::start,
        missing: envoy::missing,
    },
    Target {
        name: "redkeep-all",
        proxy: true,
        what: "Redkeep, TLS in, Unix socket out, all-powerful user",
        smoke: false,
        lacks: |_| None,
        start: |site, dir| redkeep::start(site, dir, ALL_POWERFUL, false),
        missing: redkeep::missing,
    },
    Target {
        name: "redkeep",
        proxy: true,
        what: "Redkeep, TLS in, Unix socket out, restricted user",
        smoke: true,
        lacks: |_| None,
        start: |site, dir| redkeep::start(site, dir, RESTRICTED, false),
        missing: redkeep::missing,
    },
    Target {
        name: "redkeep-tcp",
        proxy: true,
        what: "Redkeep, TLS in, TCP out, restricted user",
        smoke: false,
        lacks: |_| None,
        start: |site, dir| redkeep::start(site, dir, RESTRICTED, true),
        missing: redkeep::missing,
    },
];

impl Target {
    /// Starts it and waits until it serves a client; or says what is missing on this machine.
    pub fn start(&self, site: &Site) -> Result<std::result::Result<Running, String>> {
        if let Some(missing) = (self.missing)(site) {
            return Ok(Err(missing));
        }
        self.start_in(site, &site.dir.sub(self.name)?).map(Ok)
    }

    /// A second instance that nobody has used yet.
    pub fn start_fresh(&self, site: &Site) -> Result<Running> {
        self.start_in(site, &site.dir.sub(&format!("{}-fresh", self.name))?)
    }

    fn start_in(&self, site: &Site, dir: &Path) -> Result<Running> {
        let running = (self.start)(site, dir).map_err(|error| format!("{}: {error}", self.name))?;
        let deadline = Instant::now() + START;
        loop {
            match crate::load::greet(&running.endpoint) {
                Ok(()) => return Ok(running),
                Err(error) if Instant::now() > deadline => {
                    let log = running.proxy.as_ref().map_or_else(String::new, Process::log);
                    return Err(format!("{} does not serve: {error}\n{log}", self.name).into());
                }
                Err(_) => crate::pause(Duration::from_millis(50)),
            }
        }
    }
}

impl Running {
    /// A target whose clients log in with TLS.
    fn with_login(site: &Site, port: u16, proxy: Option<Process>, redis: Redis) -> Running {
        let endpoint = Endpoint {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            tls: Some(site.certs.full.clone()),
            resuming: Some(site.certs.resuming.clone()),
            login: Some((USER, PASSWORD)),
        };
        Running { endpoint, proxy, redis }
    }
}

/// The programs that are measured: where each is, and how it is asked for its version.
pub fn programs(site: &Site) -> [(&'static str, Option<PathBuf>, &'static str); 5] {
    [
        ("Redkeep", Some(site.redkeep.clone()), "--version"),
        ("Redis", program(&["redis-server"]), "--version"),
        ("HAProxy", program(&["haproxy"]), "-v"),
        ("stunnel", program(&stunnel::NAMES), "-version"),
        ("Envoy", envoy::program(site), "--version"),
    ]
}

/// A TCP port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Where a program is: on PATH, or where administrators' programs are.
fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(system).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}
