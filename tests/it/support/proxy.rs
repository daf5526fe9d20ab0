//! The real program as a child process, with the configuration that a test wants.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use super::certs::Certs;
use super::{Client, Redis, TempDir, wait_for};

/// Users of the standard configuration. Their password is `secret`.
pub const USERS: &str = "\
user default off
user admin on >secret ~* &* +@all
user app on >secret ~app:* &app:* +@all -@dangerous
user reader on >secret %R~app:* +@read +ping
";

pub struct Proxy {
    pub dir: TempDir,
    pub certs: Certs,
    child: Child,
    ports: Vec<u16>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy with a TLS listener and a plain one, and [`USERS`], before `redis`.
    pub fn standard(redis: &Redis) -> Proxy {
        Proxy::with_users(redis, USERS, "")
    }

    /// The same with other users, and more configuration (top-level keys).
    pub fn with_users(redis: &Redis, users: &str, more: &str) -> Proxy {
        Proxy::start_under(&[], redis, users, more)
    }

    /// The same as the child of a program that becomes it (`prlimit`).
    pub fn start_under(program: &[&str], redis: &Redis, users: &str, more: &str) -> Proxy {
        let proxy = Proxy::spawn(program, &[("RUST_LOG", "debug")], |dir, certs| {
            let users = dir.write("users.acl", users);
            format!(
                "listeners:\n  - bind: 127.0.0.1:0\n    tls:\n      cert_file: {}\n      key_file: {}\n  \
                 - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\nacl:\n  file: {}\nworkers: 2\n{more}",
                certs.cert.display(),
                certs.key.display(),
                redis.socket().display(),
                users.display(),
            )
        });
        // On a busy machine the upstream may answer late; until then texts are those of the newest version.
        if proxy.log().iter().any(|line| line.contains("\"version\":\"unknown\"")) {
            proxy.wait_for_log(0, "upstream reached");
        }
        proxy
    }

    /// A proxy with the configuration that `write` returns.
    pub fn start(write: impl FnOnce(&TempDir, &Certs) -> String) -> Proxy {
        Proxy::spawn(&[], &[("RUST_LOG", "debug")], write)
    }

    /// The same in another environment.
    pub fn start_with(environment: &[(&str, &str)], write: impl FnOnce(&TempDir, &Certs) -> String) -> Proxy {
        Proxy::spawn(&[], environment, write)
    }

    fn spawn(
        program: &[&str],
        environment: &[(&str, &str)],
        write: impl FnOnce(&TempDir, &Certs) -> String,
    ) -> Proxy {
        let dir = TempDir::new();
        let certs = Certs::new(dir.path());
        let yaml = write(&dir, &certs);
        let listeners = yaml.matches("bind:").count();
        dir.write("redkeep.yaml", yaml);
        let mut words = program.iter().copied().chain([env!("CARGO_BIN_EXE_redkeep")]);
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .arg("run")
            .arg("--config")
            .arg(dir.path().join("redkeep.yaml"))
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let seen = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                seen.lock().unwrap().push(line);
            }
        });
        let mut proxy = Proxy { dir, certs, child, ports: Vec::new(), log };
        proxy.ports = wait_for("the listeners", || {
            if let Some(status) = proxy.child.try_wait().unwrap() {
                panic!("redkeep ended with {status}:\n{}", proxy.log().join("\n"));
            }
            let ports: Vec<u16> = proxy.log().iter().filter_map(|line| listening_port(line)).collect();
            (ports.len() == listeners).then_some(ports)
        });
        proxy
    }

    /// The port of listener `index`; 0 for a Unix socket.
    pub fn port(&self, index: usize) -> u16 {
        self.ports[index]
    }

    /// A TLS client of the first listener.
    pub fn tls(&self) -> Client {
        Client::tls(self.port(0), self.certs.client_config(false))
    }

    /// A plain client of the second listener.
    pub fn plain(&self) -> Client {
        Client::tcp(self.port(1))
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("redkeep.yaml")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All log lines so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a log line with `text` that came after `seen` lines.
    pub fn wait_for_log(&self, seen: usize, text: &str) -> String {
        wait_for(text, || self.log().into_iter().skip(seen).find(|line| line.contains(text)))
    }

    /// Sends SIGHUP and waits for the log line with `outcome`.
    pub fn reload(&self, outcome: &str) -> String {
        let seen = self.log().len();
        self.signal("-HUP");
        self.wait_for_log(seen, outcome)
    }

    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap().success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the end of redkeep", || self.child.try_wait().unwrap())
    }

    /// Fails if the log tells of a panic or an error that a test did not ask for.
    pub fn assert_no_panic(&self) {
        let log = self.log();
        assert!(!log.iter().any(|line| line.contains("panicked")), "{}", log.join("\n"));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of redkeep:\n{}", self.log().join("\n"));
        }
    }
}

/// The port in a JSON log line that says `listening`.
fn listening_port(line: &str) -> Option<u16> {
    if !line.contains("\"listening\"") {
        return None;
    }
    let (_, rest) = line.split_once("\"listener\":\"")?;
    let (address, _) = rest.split_once('"')?;
    Some(address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0))
}
