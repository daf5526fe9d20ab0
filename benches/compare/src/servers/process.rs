//! Processes and files that do not outlive us.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Result;

/// Runs a program as its child and ends it when standard input closes: when it is told to, and when whoever started it
/// has ended, even if killed. Tells the program's process id first; its log is the first argument.
const GUARD: &str = r#"ulimit -n "$(ulimit -H -n)"; log=$1; shift; "$@" >"$log" 2>&1 </dev/null & pid=$!
echo "$pid"; exec >/dev/null; trap 'kill -9 "$pid"' TERM; cat >/dev/null; kill -9 "$pid"; wait "$pid""#;

/// Removes a folder when standard input closes, after those that run in it have ended.
const JANITOR: &str = r#"cat >/dev/null; rm -rf "$1" || { sleep 1; rm -rf "$1"; }"#;

/// A server.
pub struct Process {
    guard: Child,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts `program`, with a log in `dir`.
    pub fn start<S: AsRef<OsStr>>(dir: &Path, program: &Path, args: &[S]) -> Result<Process> {
        let name = program.file_name().unwrap_or(program.as_os_str());
        let log = dir.join(name).with_extension("log");
        let mut guard = guard(GUARD).arg(&log).arg(program).args(args).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(output) = guard.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let pid = line.trim().parse().map_err(|_| format!("{} was not started", program.display()))?;
        Ok(Process { guard, pid, log })
    }

    /// The server's own process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The end of what it has logged.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // A failure leaves nothing to be done.
        let _ = self.guard.wait();
    }
}

/// A folder of our own, for sockets, keys and logs.
pub struct Directory {
    path: PathBuf,
    janitor: Child,
}

impl Directory {
    /// Makes it; nobody else can read it.
    pub fn new() -> Result<Directory> {
        let path = std::env::temp_dir().join(format!("redkeep-compare-{}", std::process::id()));
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700).create(&path)?;
        let janitor = guard(JANITOR).arg(&path).stdout(Stdio::null()).spawn()?;
        Ok(Directory { path, janitor })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new folder in it.
    pub fn sub(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        // What an earlier instance has left.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// A shell in a process group of its own, so that Ctrl-C reaches us alone: then its standard input closes.
fn guard(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "guard"]).stdin(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    shell
}
