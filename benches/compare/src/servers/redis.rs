//! Redis: as a target of its own, plain or with its own TLS, and behind the proxies.
//!
//! Fair: no persistence, which nobody has on here; everything else as Redis has it by default, io-threads included
//! (one), since more of them help Redis with TLS little and are off where people run it. Clients of the target with TLS
//! are a user with the same rules as Redkeep's restricted one. Each target has a Redis of its own, so that nobody's
//! memory or statistics are another's.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{PASSWORD, Process, RESTRICTED, Running, START, Site, USER, free_port, program};
use crate::Result;
use crate::load::Endpoint;
use crate::work;

/// A Redis with data in it.
pub struct Redis {
    process: Process,
    socket: PathBuf,
}

/// What is missing, if anything.
pub fn missing() -> Option<String> {
    program(&["redis-server"]).is_none().then(|| "redis-server was not found".to_owned())
}

/// Redis alone: plain TCP, no password.
pub fn start_plain(_: &Site, dir: &Path) -> Result<Running> {
    let port = free_port()?;
    let redis = Redis::start(dir, &["--port", &port.to_string()])?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(Running { endpoint: Endpoint { address, tls: None, resuming: None, login: None }, proxy: None, redis })
}

/// Redis with its own TLS and a user.
pub fn start_tls(site: &Site, dir: &Path) -> Result<Running> {
    let port = free_port()?;
    let (cert, key) = (site.certs.cert.display().to_string(), site.certs.key.display().to_string());
    let redis = Redis::start(
        dir,
        &[
            "--port",
            "0",
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-auth-clients",
            "no",
            "--tls-protocols",
            "TLSv1.3",
        ],
    )?;
    redis.add_user()?;
    Ok(Running::with_login(site, port, None, redis))
}

impl Redis {
    /// One that only a proxy reaches, by its Unix socket.
    pub fn behind(dir: &Path) -> Result<Redis> {
        Redis::start(dir, &["--port", "0"])
    }

    /// Starts a server with a Unix socket and `args`, and fills it.
    pub fn start(dir: &Path, args: &[&str]) -> Result<Redis> {
        let server = program(&["redis-server"]).ok_or("redis-server was not found")?;
        let socket = dir.join("redis.sock");
        let path = socket.display().to_string();
        let folder = dir.display().to_string();
        let mut all = vec!["--save", "", "--appendonly", "no", "--unixsocket", &path, "--dir", &folder];
        all.extend(args);
        let redis = Redis { process: Process::start(dir, &server, &all)?, socket };
        let deadline = Instant::now() + START;
        while UnixStream::connect(&redis.socket).is_err() {
            if Instant::now() > deadline {
                return Err(format!("redis-server does not start:\n{}", redis.process.log()).into());
            }
            crate::pause(Duration::from_millis(20));
        }
        for (request, replies) in work::data() {
            redis.fill(&request, replies)?;
        }
        Ok(redis)
    }

    /// The user that clients of Redis' own ACL log in as.
    pub fn add_user(&self) -> Result<()> {
        let mut words = vec!["ACL".to_owned(), "SETUSER".to_owned(), USER.to_owned(), "on".to_owned()];
        words.push(format!(">{PASSWORD}"));
        // A selector is one argument, though it has blanks in it.
        let (rules, selector) = RESTRICTED.split_at(RESTRICTED.find('(').unwrap_or(RESTRICTED.len()));
        words.extend(rules.split_whitespace().map(str::to_owned));
        words.push(selector.to_owned());
        self.fill(&work::request(&words), 1)
    }

    /// Sends commands that must all be answered with OK.
    pub fn fill(&self, request: &[u8], replies: usize) -> Result<()> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.write_all(request)?;
        let mut answer = vec![0; replies * b"+OK\r\n".len()];
        stream.read_exact(&mut answer)?;
        if answer != b"+OK\r\n".repeat(replies) {
            return Err(format!("redis-server said {}", String::from_utf8_lossy(&answer)).into());
        }
        Ok(())
    }

    /// Its Unix socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}
