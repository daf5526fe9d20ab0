//! What a process has used: CPU time and memory, from /proc.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use crate::Result;

/// The CPU time of a process at a moment.
pub struct Usage {
    /// Nanoseconds of each thread that lives.
    tasks: HashMap<u32, u64>,
    /// Of all threads that ever lived, in nanoseconds, but as coarse as a clock tick.
    ticks: u64,
}

impl Usage {
    /// Reads it. Threads that end meanwhile are in the coarse sum.
    pub fn of(pid: u32) -> Result<Usage> {
        let mut tasks = HashMap::new();
        for entry in
            fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| format!("process {pid}: {error}"))?
        {
            let entry = entry?;
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let (Some(task), Some(nanos)) = (
                entry.file_name().to_str().and_then(|name| name.parse().ok()),
                text.split_whitespace().next().and_then(|word| word.parse().ok()),
            ) else {
                continue;
            };
            tasks.insert(task, nanos);
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is the program's name and may hold anything; utime and stime are the 14th and 15th.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
        Ok(Usage { tasks, ticks: ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second() })
    }

    /// The time used between two moments: the sum of the threads, exact; or, when threads have come and gone, the
    /// coarse one.
    pub fn since(&self, earlier: &Usage) -> Duration {
        let coarse = self.ticks.saturating_sub(earlier.ticks);
        let exact = self.tasks.values().sum::<u64>().saturating_sub(earlier.tasks.values().sum());
        let all_live = earlier.tasks.keys().all(|task| self.tasks.contains_key(task));
        let two_ticks = 2_000_000_000 / rustix::param::clock_ticks_per_second();
        let some_gone = !all_live || coarse > exact + two_ticks;
        Duration::from_nanos(if some_gone || exact == 0 { coarse } else { exact })
    }
}

/// What a process holds, in bytes.
#[derive(Clone, Copy)]
pub struct Memory {
    /// Resident pages.
    pub rss: u64,
    /// The same, pages shared with others counted in parts.
    pub pss: u64,
}

impl Memory {
    /// Reads it.
    pub fn of(pid: u32) -> Result<Memory> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let field = |name: &str| -> Result<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib: u64 = line
                .and_then(|line| line.split_whitespace().next()?.parse().ok())
                .ok_or_else(|| format!("no {name} in /proc/{pid}/smaps_rollup"))?;
            Ok(kib * 1024)
        };
        Ok(Memory { rss: field("Rss:")?, pss: field("Pss:")? })
    }
}
