//! What a run was made on and with: without it figures mean nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::options::Options;
use crate::servers::{Site, programs};

/// Names and what they are.
pub struct Machine {
    /// CPU, kernel, versions, load.
    pub facts: Vec<(&'static str, String)>,
}

impl Machine {
    /// Looks around, before anything is measured.
    pub fn look(site: &Site) -> Machine {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let load = read("/proc/loadavg");
        let mut facts = vec![
            ("CPU", format!("{} × {}", cores, model.unwrap_or("unknown"))),
            ("Linux", read("/proc/sys/kernel/osrelease")),
            ("load before", load.split_whitespace().next().unwrap_or_default().to_owned()),
        ];
        for (name, program, arg) in programs(site) {
            facts.push((
                name,
                program.and_then(|program| version(&program, arg)).unwrap_or_else(|| "missing".to_owned()),
            ));
        }
        Machine { facts }
    }

    /// In one paragraph.
    pub fn text(&self, options: &Options) -> String {
        let facts: Vec<String> = self.facts.iter().map(|(name, fact)| format!("{name} {fact}")).collect();
        let (rounds, seconds) = (options.rounds, options.length.as_secs_f64());
        format!(
            "{}. Medians of {rounds} rounds of {seconds} s each (three times that at fixed rates), targets in turn.\n",
            facts.join("; ")
        )
    }
}

/// The first word of a program's answer that looks like a version.
fn version(program: &Path, arg: &str) -> Option<String> {
    let output = Command::new(program).arg(arg).output().ok()?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    text.split(|c: char| c.is_whitespace() || c == '=' || c == '/')
        .map(|word| word.trim_matches(','))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
        .map(str::to_owned)
}
