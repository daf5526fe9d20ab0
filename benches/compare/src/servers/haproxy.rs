//! HAProxy from the distribution: terminates TLS and passes bytes on, one connection to Redis for each client.
//!
//! Fair: as many threads as Redkeep has workers (the default, one for each core), room for all connections, times long
//! enough to never matter, no log, and the Unix socket, which is the faster way to Redis. Users are Redis' own.

use std::fs;
use std::path::Path;

use super::{Process, Redis, Running, Site, free_port, program};
use crate::Result;

/// What is missing, if anything.
pub fn missing() -> Option<String> {
    program(&["haproxy"]).is_none().then(|| "haproxy was not found: apt-get install haproxy".to_owned())
}

/// Starts it before a Redis with a user.
pub fn start(site: &Site, dir: &Path) -> Result<Running> {
    let haproxy = program(&["haproxy"]).ok_or("haproxy was not found")?;
    let redis = Redis::behind(dir)?;
    redis.add_user()?;
    let port = free_port()?;
    // Two descriptors for each client, of 20,000 or more that a process may have.
    let config = format!(
        "global\n  maxconn 6000\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 1h\n\
         \x20 timeout server 1h\n\
         frontend tls\n  bind 127.0.0.1:{port} ssl crt {} ssl-min-ver TLSv1.3\n  default_backend redis\n\
         backend redis\n  server redis unix@{}\n",
        site.certs.both.display(),
        redis.socket().display(),
    );
    let file = dir.join("haproxy.cfg");
    fs::write(&file, config)?;
    let proxy = Process::start(dir, &haproxy, &["-db".as_ref(), "-f".as_ref(), file.as_os_str()])?;
    Ok(Running::with_login(site, port, Some(proxy), redis))
}
