//! Redkeep itself, with its defaults: a worker for each core, one shared link per worker.
//!
//! Fair: nothing is set but addresses, certificate and users; log, deadlines, protected mode and limits are as everyone
//! has them.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{PASSWORD, Process, Redis, Running, Site, USER, free_port};
use crate::Result;

/// What is missing, if anything.
pub fn missing(site: &Site) -> Option<String> {
    (!site.redkeep.is_file())
        .then(|| format!("{} was not found: cargo build --release", site.redkeep.display()))
}

/// Starts it before a Redis that it reaches by Unix socket or TCP, with one user who has `rules`.
pub fn start(site: &Site, dir: &Path, rules: &str, tcp: bool) -> Result<Running> {
    let (redis, upstream) = if tcp {
        let port = free_port()?;
        (Redis::start(dir, &["--port", &port.to_string()])?, format!("redis://127.0.0.1:{port}"))
    } else {
        let redis = Redis::behind(dir)?;
        let address = format!("unix:{}", redis.socket().display());
        (redis, address)
    };
    let mut hash = String::new();
    for byte in Sha256::digest(PASSWORD) {
        write!(hash, "{byte:02x}")?;
    }
    let users = dir.join("users.acl");
    fs::write(&users, format!("user default off\nuser {USER} on #{hash} {rules}\n"))?;
    let port = free_port()?;
    let config = format!(
        "listeners:\n  - bind: 127.0.0.1:{port}\n    tls:\n      cert_file: {}\n      key_file: {}\n\
         upstream:\n  address: {upstream}\nacl:\n  file: {}\n",
        site.certs.cert.display(),
        site.certs.key.display(),
        users.display(),
    );
    let file = dir.join("redkeep.yaml");
    fs::write(&file, config)?;
    let args = ["run".as_ref(), "--config".as_ref(), file.as_os_str()];
    let proxy = Process::start(dir, &site.redkeep, &args)?;
    Ok(Running::with_login(site, port, Some(proxy), redis))
}
