//! The demo's Redis: real, open to everyone who reaches its Unix socket, and gone when we are.
//!
//! INVARIANT: no redis-server outlives this process. It is stopped and waited for when [`Redis`] is dropped; if we
//! are killed, its guard notices, stops it, and removes the directory.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::client::Client;
use super::files::Files;
use super::{Failure, SOON};

/// Runs `"$@"` until the pipe at standard input is closed, which the system does for a process that is killed; `$0`
/// is the directory to remove then. The end of the command is the end of the guard.
const GUARD: &str = r#"
exec 3<&0
"$@" 3<&- & redis=$!
{ read -r nothing <&3; rm -rf -- "$0"; kill -9 $redis; } & guard=$!
wait $redis
status=$?
kill $guard 2>/dev/null
exit $status
"#;

/// Pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(10);

/// The first version that has `enable-protected-configs`; older ones refuse to start with a setting they do not know.
const PROTECTED_CONFIGS_SINCE: u32 = 7;

/// A redis-server on this machine.
pub(super) struct Program {
    path: PathBuf,
    /// Such as `Redis 7.0.15`.
    pub(super) version: String,
}

impl Program {
    /// Looks for redis-server on PATH.
    ///
    /// # Errors
    /// There is none, or it does not run.
    pub(super) fn find() -> Result<Program, Failure> {
        let path = on_path("redis-server").ok_or(Failure::NoRedis)?;
        let output = Command::new(&path).arg("--version").stdin(Stdio::null()).output();
        let output =
            output.map_err(|error| Failure::Io(format!("cannot run `{}`", path.display()), error))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let name = text.split_whitespace().next().unwrap_or("Redis");
        let number = text.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("?");
        Ok(Program { path, version: format!("{name} {number}") })
    }

    fn major(&self) -> u32 {
        let number = self.version.split(' ').nth(1).and_then(|number| number.split('.').next());
        number.and_then(|major| major.parse().ok()).unwrap_or(0)
    }
}

/// A running redis-server and its guard, until dropped.
pub(super) struct Redis {
    guard: Child,
}

impl Redis {
    /// Starts Redis on a Unix socket only, as open as Redis ever was, and waits for its first answer.
    pub(super) async fn start(program: &Program, files: &Files) -> Result<Redis, Failure> {
        let log_path = files.root().join("redis.log");
        let cannot_log = |error| Failure::Io(format!("cannot write `{}`", log_path.display()), error);
        let log = File::create_new(&log_path).map_err(cannot_log)?;
        let mut command = Command::new("sh");
        command.args([
            OsStr::new("-c"),
            OsStr::new(GUARD),
            files.root().as_os_str(),
            program.path.as_os_str(),
        ]);
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.arg("--unixsocket").arg(files.socket()).args(["--unixsocketperm", "700"]);
        command.arg("--dir").arg(files.root());
        if program.major() >= PROTECTED_CONFIGS_SINCE {
            command.args(["--enable-protected-configs", "yes"]);
        }
        command.stdin(Stdio::piped()).stdout(log).stderr(Stdio::null());
        // A group of its own: Ctrl-C is for us, and we stop Redis when nobody needs it any more.
        command.process_group(0);
        let guard = command.spawn().map_err(|error| Failure::Io("cannot run `sh`".to_owned(), error))?;
        let mut redis = Redis { guard };
        match tokio::time::timeout(SOON, redis.answer(&files.socket())).await {
            Ok(true) => Ok(redis),
            Ok(false) | Err(_) => Err(Failure::RedisEnded(last_line(&log_path))),
        }
    }

    /// Waits for the first answer. False if Redis has ended instead.
    async fn answer(&mut self, socket: &Path) -> bool {
        loop {
            if let Ok(mut client) = Client::unix(socket).await
                && client.call(&["PING"]).await.is_ok_and(|reply| reply.starts_with(b"+PONG"))
            {
                return true;
            }
            if !matches!(self.guard.try_wait(), Ok(None)) {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Nothing to be done about a failure: the guard is on its own now.
        let _ = self.guard.wait();
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(runs)
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
}
