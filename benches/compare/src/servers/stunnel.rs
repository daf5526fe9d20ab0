//! stunnel from the distribution: terminates TLS with a thread and a connection to Redis for each client.
//!
//! Fair: its defaults (threads, options of sockets), TLS 1.3, the Unix socket, and no log of each connection. Users are
//! Redis' own.

use std::fs;
use std::path::Path;

use super::{Process, Redis, Running, Site, free_port, program};
use crate::Result;

/// What it is called: the version 4 of Debian's package name is history.
pub const NAMES: [&str; 2] = ["stunnel4", "stunnel"];

/// What is missing, if anything.
pub fn missing() -> Option<String> {
    program(&NAMES).is_none().then(|| "stunnel was not found: apt-get install stunnel4".to_owned())
}

/// Starts it before a Redis with a user.
pub fn start(site: &Site, dir: &Path) -> Result<Running> {
    let stunnel = program(&NAMES).ok_or("stunnel was not found")?;
    let redis = Redis::behind(dir)?;
    redis.add_user()?;
    let port = free_port()?;
    let config = format!(
        "foreground = yes\npid =\ndebug = warning\nsyslog = no\n[redis]\naccept = 127.0.0.1:{port}\nconnect = {}\n\
         cert = {}\nkey = {}\nsslVersionMin = TLSv1.3\nTIMEOUTidle = 86400\n",
        redis.socket().display(),
        site.certs.cert.display(),
        site.certs.key.display(),
    );
    let file = dir.join("stunnel.conf");
    fs::write(&file, config)?;
    let proxy = Process::start(dir, &stunnel, &[&file])?;
    Ok(Running::with_login(site, port, Some(proxy), redis))
}
