//! The scene of `make run`: it is shown, it comes out as expected, and it leaves nothing behind.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use crate::support::{TempDir, redis::which, wait_for};

/// `redkeep demo` with a TMPDIR of its own.
struct Demo {
    temp: TempDir,
    child: Child,
    lines: BufReader<ChildStdout>,
    log: ChildStderr,
}

impl Demo {
    fn start(args: &[&str]) -> Demo {
        assert!(which("redis-server"), "redis-server not found: sudo apt-get install -y redis-server");
        let temp = TempDir::new();
        let mut child = program(args)
            .env("TMPDIR", temp.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = child.stderr.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Demo { temp, child, lines, log }
    }

    /// Reads up to the first line that begins with `start`, and returns all lines so far.
    fn read_until(&mut self, start: &str) -> String {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "no line `{start}` in:\n{text}");
            text.push_str(&line);
            if line.starts_with(start) {
                return text;
            }
        }
    }

    fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    /// Waits for the end, and returns the rest of the output. Warnings would spoil the scene: there must be none.
    fn end(&mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        assert_eq!(log, "");
        (wait_for("the end of the demo", || self.child.try_wait().unwrap()), rest)
    }

    fn assert_nothing_left(&self) {
        wait_for("removed files", || (names(self.temp.path()).is_empty()).then_some(()));
        wait_for("the end of redis-server", || {
            let left = processes_with(self.temp.path().to_str().unwrap(), self.child.id());
            left.is_empty().then_some(())
        });
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redkeep"));
    command.arg("demo").args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn names(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The command lines of all other processes that mention `text`.
fn processes_with(text: &str, except: u32) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbered =
        processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    let others = numbered.filter(|(pid, _)| *pid != except && *pid != std::process::id());
    let lines = others.filter_map(|(_, path)| std::fs::read_to_string(path.join("cmdline")).ok());
    lines.filter(|line| line.contains(text)).collect()
}

#[test]
fn a_check_shows_the_scene_succeeds_and_leaves_nothing_behind() {
    let mut demo = Demo::start(&["--check"]);
    let (status, text) = demo.end();
    assert_eq!(status.code(), Some(0), "{text}");
    for (who, command, reply) in [
        ("anyone", "SAVE", "OK"),
        ("stranger", "PING", "NOAUTH "),
        ("stranger", "AUTH app a-wrong-guess", "WRONGPASS "),
        ("app", "GET app:greeting", "\"hello\""),
        ("app", "GET payroll:bob", "NOPERM "),
        ("app", "FLUSHALL", "ERR unknown command 'FLUSHALL'"),
        ("app", "SAVE", "NOPERM "),
        ("admin", "CONFIG SET dir …/root/.ssh", "ERR "),
        ("(disk)", "ls …/root/.ssh", "(empty)"),
    ] {
        let row = |line: &&str| {
            let rest = line.strip_prefix("  ok  ").and_then(|rest| rest.trim_start().strip_prefix(who));
            let rest = rest.and_then(|rest| rest.trim_start().strip_prefix(command));
            rest.is_some_and(|rest| rest.starts_with("  ") && rest.trim_start().starts_with(reply))
        };
        assert!(text.lines().any(|line| row(&line)), "no `{who} {command} {reply}` in:\n{text}");
    }
    assert!(!text.contains("UNEXPECTED"), "{text}");
    assert!(!text.contains('\x1b'), "no colours in a pipe");
    assert!(text.lines().count() <= 60, "more than a screen:\n{text}");
    demo.assert_nothing_left();
}

#[test]
fn ctrl_c_ends_in_order_stops_redis_and_removes_the_files() {
    let mut demo = Demo::start(&[]);
    demo.read_until("stop ");
    let dir = demo.temp.path().join(&names(demo.temp.path())[0]);
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    for secret in ["server.key", "users.acl", "redkeep.yaml"] {
        assert_eq!(
            std::fs::metadata(dir.join(secret)).unwrap().permissions().mode() & 0o777,
            0o600,
            "{secret}"
        );
    }
    assert_eq!(names(&dir.join("root/.ssh")), [""; 0]);
    demo.signal("-INT");
    let (status, rest) = demo.end();
    assert_eq!(status.code(), Some(0), "{rest}");
    assert!(rest.contains("stopped Redis, removed "), "{rest}");
    demo.assert_nothing_left();
}

#[test]
fn the_lines_to_paste_work() {
    let mut demo = Demo::start(&[]);
    let text = demo.read_until("stop ");
    let line = text.lines().find(|line| line.contains(" redis-cli --tls ")).unwrap();
    let paste = |line: &str| {
        let output = Command::new("sh").args(["-c", line]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(paste(&format!("{line} GET app:greeting")), "hello again\n");
    let line = text.lines().find(|line| line.starts_with("redis-benchmark ")).unwrap();
    let answer = paste(&line.replace("-n 200000", "-q -n 20000"));
    assert_eq!(answer.matches("requests per second").count(), 2, "{answer}");
    let dir = demo.temp.path().join(&names(demo.temp.path())[0]);
    let users = dir.join("users.acl");
    std::fs::write(&users, std::fs::read_to_string(&users).unwrap().replace("user app on", "user app off"))
        .unwrap();
    demo.signal("-HUP");
    demo.read_until("reloaded");
    demo.signal("-TERM");
    assert_eq!(demo.end().0.code(), Some(0));
    demo.assert_nothing_left();
}

#[test]
fn a_signal_in_the_middle_of_the_scene_clears_away_too() {
    // A check that was interrupted has failed, unless the signal came too late.
    for (args, codes) in [(&[][..], 0..=0), (&["--check"], 0..=1)] {
        let mut demo = Demo::start(args);
        demo.read_until("  ok  anyone");
        demo.signal("-INT");
        let code = demo.end().0.code().unwrap();
        assert!(codes.contains(&code), "{args:?}: {code}");
        demo.assert_nothing_left();
    }
}

#[test]
fn a_killed_demo_takes_its_redis_and_its_files_along() {
    let mut demo = Demo::start(&[]);
    demo.read_until("stop ");
    demo.signal("-KILL");
    demo.assert_nothing_left();
}

#[test]
fn two_demos_at_once_do_not_disturb_each_other() {
    let mut one = Demo::start(&[]);
    let mut other = Demo::start(&[]);
    let texts = [one.read_until("stop "), other.read_until("stop ")];
    for text in &texts {
        assert!(!text.contains("UNEXPECTED"), "{text}");
    }
    for demo in [&mut one, &mut other] {
        demo.signal("-INT");
        assert_eq!(demo.end().0.code(), Some(0));
        demo.assert_nothing_left();
    }
}

#[test]
fn without_redis_server_the_demo_says_how_to_get_it() {
    let empty = TempDir::new();
    let output = program(&["--check"]).env("PATH", empty.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("redis-server not found: sudo apt-get install -y redis-server"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_long_tmpdir_is_too_long_for_a_socket_and_not_used() {
    let temp = TempDir::new();
    let long = temp.path().join("x".repeat(100));
    std::fs::create_dir(&long).unwrap();
    let output = program(&["--check"]).env("TMPDIR", &long).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("at unix:/tmp/redkeep-demo-"), "{text}");
}
