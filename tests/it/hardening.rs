//! docs/HARDENING.md, run from top to bottom: each line after `$` in a shell, its output compared with what the page shows.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::redis::{free_port, installed};
use crate::support::{Redis, TempDir, wait_for};

/// A command of the page, and the lines that it shows below.
struct Step {
    line: usize,
    command: String,
    shown: Vec<String>,
}

#[test]
fn the_hardening_guide_works_as_it_is_written() {
    for tool in ["openssl", "redis-cli"] {
        assert!(
            crate::support::redis::which(tool),
            "{tool} not found: sudo apt-get install -y openssl redis-tools"
        );
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/HARDENING.md");
    let (redis_port, port) = (free_port().to_string(), free_port().to_string());
    let page = std::fs::read_to_string(page).unwrap().replace("6379", &redis_port).replace("6380", &port);
    // As an old Redis is found: no password, no guard.
    let _redis = Redis::start_program(&installed(), &["--port", &redis_port, "--protected-mode", "no"]);
    let dir = TempDir::new();
    let shell = Shell::start(dir.path());
    let steps = steps(&page);
    assert!(steps.len() > 25, "{} steps", steps.len());
    for step in &steps {
        let output = shell.run(&step.command);
        assert!(
            fits(&output, &step.shown),
            "docs/HARDENING.md:{}: {}\nshows\n{}\nbut prints\n{}\n",
            step.line,
            step.command,
            step.shown.join("\n"),
            output.join("\n")
        );
    }
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (index, line) in page.lines().enumerate() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => {
                if let Some(command) = line.strip_prefix("$ ") {
                    steps.push(Step { line: index + 1, command: command.into(), shown: Vec::new() });
                } else if let Some(more) = line.strip_prefix("> ") {
                    let step = steps.last_mut().unwrap();
                    step.command = format!("{}\n{more}", step.command);
                } else {
                    steps.last_mut().unwrap().shown.push(line.into());
                }
            }
            (false, _) => {}
        }
    }
    steps
}

/// Whether lines are those that are shown: `…` stands for anything in a line, and alone for any lines.
fn fits(output: &[String], shown: &[String]) -> bool {
    let Some((first, rest)) = shown.split_first() else { return output.is_empty() };
    if first == "…" {
        return (0..=output.len()).any(|skipped| fits(&output[skipped..], rest));
    }
    output.split_first().is_some_and(|(line, more)| line_fits(line, first) && fits(more, rest))
}

fn line_fits(line: &str, shown: &str) -> bool {
    let mut pieces = shown.split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(mut left) = line.strip_prefix(first) else { return false };
    let mut open = false;
    for piece in pieces {
        let Some(at) = left.find(piece) else { return false };
        left = &left[at + piece.len()..];
        open = piece.is_empty();
    }
    open || left.is_empty()
}

/// A shell whose children end with it.
struct Shell {
    child: std::process::Child,
    output: std::cell::RefCell<BufReader<std::process::ChildStdout>>,
}

impl Shell {
    fn start(dir: &Path) -> Shell {
        let program = Path::new(env!("CARGO_BIN_EXE_redkeep")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(dir)
            .env("PATH", path)
            .env_remove("REDISCLI_AUTH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = std::cell::RefCell::new(BufReader::new(child.stdout.take().unwrap()));
        Shell { child, output }
    }

    /// The lines that a command prints.
    fn run(&self, command: &str) -> Vec<String> {
        const END: &str = "-- end of the command --";
        writeln!(self.child.stdin.as_ref().unwrap(), "{command}\necho '{END}'").unwrap();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(
                self.output.borrow_mut().read_line(&mut line).unwrap() > 0,
                "the shell has ended at {command}"
            );
            let line = line.trim_end_matches('\n');
            // What did not end its last line has the mark behind it.
            if let Some(last) = line.strip_suffix(END) {
                lines.extend((!last.is_empty()).then(|| last.to_owned()));
                // redis-cli ends an error with an empty line.
                while lines.last().is_some_and(String::is_empty) {
                    lines.pop();
                }
                return lines;
            }
            lines.push(line.to_owned());
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // What was started in the background, then the shell itself.
        let _ = writeln!(self.child.stdin.as_ref().unwrap(), "kill $(jobs -p); wait; exit");
        wait_for("the end of the shell", || self.child.try_wait().unwrap());
    }
}

#[test]
fn shown_lines_fit_what_is_printed() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (printed, shown, expected) in [
        ("a", "a", true),
        ("a", "b", false),
        ("", "", true),
        ("a", "", false),
        ("one two", "one …", true),
        ("one two", "…two", true),
        ("one two", "…tw", false),
        ("one two", "o…t…", true),
        ("a\nb\nc", "…\nc", true),
        ("a\nb\nc", "…\nb", false),
        ("a\nb\nc", "a\n…", true),
        ("a", "a\n…", true),
    ] {
        assert_eq!(fits(&lines(printed), &lines(shown)), expected, "{printed:?} {shown:?}");
    }
}
