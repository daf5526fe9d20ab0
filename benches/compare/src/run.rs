//! A run from its beginning to its report.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::certs::Certs;
use crate::machine::Machine;
use crate::options::{Options, Wish, parse};
use crate::results::{Metric, Results, Sample, of_idle, of_load};
use crate::scenario::{Kind, Scenario, Traffic};
use crate::servers::{Directory, Running, Site, Target};
use crate::work::{self, Batch};
use crate::{Result, load, measure, report};

/// Rounds of the idle clients at most: thousands of handshakes each, for a figure that hardly varies.
const IDLE_ROUNDS: usize = 2;
/// How much longer than others measurements at a fixed rate take.
const OFFERED_LENGTHS: u32 = 3;
/// Clients of a smoke test at most.
const SMOKE_CLIENTS: usize = 100;
/// Which part of what disturbs others is enough for a smoke test.
const SMOKE_PART: usize = 16;

/// Does what the command line says.
pub fn run(args: impl Iterator<Item = String>) -> Result<()> {
    let options = match parse(args)? {
        Wish::Text(text) => {
            print!("{text}");
            return Ok(());
        }
        Wish::Run(options) => options,
    };
    let began = Instant::now();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let (results, machine) = measure_all(&options)?;
    if options.smoke {
        println!(
            "the harness works: {} scenarios in {:.1} s",
            options.scenarios.len(),
            began.elapsed().as_secs_f64()
        );
        return Ok(());
    }
    report::report(&options, &results, &machine, began.elapsed())
}

fn measure_all(options: &Options) -> Result<(Results, Machine)> {
    let dir = Directory::new()?;
    let certs = Certs::new(dir.path())?;
    let site =
        Site { dir, certs, redkeep: absolute(&options.redkeep)?, repository: absolute(Path::new("."))? };

    let machine = Machine::look(&site);
    let mut results = Results::default();
    let mut targets = Vec::new();
    for target in &options.targets {
        match target.start(&site)? {
            Ok(running) => {
                results.suites.extend(load::suite(&running.endpoint)?.map(|suite| (target.name, suite)));
                targets.push((*target, running));
            }
            Err(missing) => {
                eprintln!("{} is MISSING: {missing}", target.name);
                results.missing.push((target.name, missing));
            }
        }
    }

    for scenario in &options.scenarios {
        let plan = Plan::of(scenario, options);
        let began = Instant::now();
        for _ in 0..plan.rounds {
            for (target, running) in &targets {
                if (target.lacks)(scenario.kind).is_some() {
                    continue;
                }
                let sample = plan
                    .measure(&site, target, running)
                    .map_err(|error| format!("{} with {}: {error}", scenario.name, target.name))?;
                if options.smoke {
                    plausible(scenario, target, &sample)?;
                }
                results.add(scenario.name, target.name, sample);
            }
        }
        eprintln!("{} measured in {:.0} s", scenario.name, began.elapsed().as_secs_f64());
    }
    Ok((results, machine))
}

/// A path that stays right whatever the servers' folders are.
fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}

/// What a scenario needs, made once.
struct Plan {
    kind: Kind,
    rounds: usize,
    length: Duration,
    batches: Vec<Batch>,
    disturbance: Option<(Vec<u8>, Batch)>,
}

impl Plan {
    fn of(scenario: &Scenario, options: &Options) -> Plan {
        let mut plan = Plan {
            kind: scenario.kind,
            rounds: options.rounds,
            length: options.length,
            batches: Vec::new(),
            disturbance: None,
        };
        if let Kind::Closed { clients, .. } | Kind::Idle { clients } = &mut plan.kind
            && options.smoke
        {
            *clients = SMOKE_CLIENTS.min(*clients);
        }
        match &plan.kind {
            Kind::Closed { traffic, pipeline, .. } => plan.batches = work::batches(*traffic, *pipeline),
            Kind::Offered { disturber, .. } => {
                // At a rate below what servers can do there are fewer requests, of which only the slowest count.
                plan.length *= if options.smoke { 1 } else { OFFERED_LENGTHS };
                plan.batches = work::batches(Traffic::Get, 1);
                plan.disturbance = work::disturbance(*disturber, if options.smoke { SMOKE_PART } else { 1 });
            }
            Kind::Idle { .. } => plan.rounds = plan.rounds.min(IDLE_ROUNDS),
            Kind::Fanout { .. } | Kind::Connect { .. } => {}
        }
        plan
    }

    fn measure(&self, site: &Site, target: &Target, running: &Running) -> Result<Sample> {
        let mut sample = match self.kind {
            Kind::Closed { clients, .. } => {
                of_load(&load::closed(running, &self.batches, clients, self.length)?)
            }
            Kind::Offered { rate, clients, .. } => {
                if let Some((set, _)) = &self.disturbance {
                    running.redis.fill(set, 1)?;
                }
                let disturbance = self.disturbance.as_ref().map(|(_, batch)| batch);
                of_load(&load::offered(running, &self.batches, (rate, clients), disturbance, self.length)?)
            }
            Kind::Fanout { subscribers } => of_load(&load::fanout(running, subscribers, self.length)?),
            Kind::Connect { resume } => {
                let (seen, resumed) = load::connects(running, resume, self.length)?;
                let mut sample = of_load(&seen);
                sample.insert(Metric::Resumed, resumed);
                sample
            }
            // Its memory has not grown by anything else yet, as that of one that runs for long.
            Kind::Idle { clients } => of_idle(&load::idle(&target.start_fresh(site)?, clients)?, clients),
        };
        const MIB: f64 = (1 << 20) as f64;
        if let Some(proxy) = &running.proxy {
            sample.insert(Metric::ProxyRss, measure::Memory::of(proxy.pid())?.rss as f64 / MIB);
        }
        sample.insert(Metric::RedisRss, measure::Memory::of(running.redis.pid())?.rss as f64 / MIB);
        Ok(sample)
    }
}

/// Whether figures are such as any machine would show: nothing is zero, and nothing contradicts itself.
fn plausible(scenario: &Scenario, target: &Target, sample: &Sample) -> Result<()> {
    let get = |metric: Metric| sample.get(&metric).copied();
    let mut wanted = vec![Metric::RedisRss];
    let idle = matches!(scenario.kind, Kind::Idle { .. });
    // At a fixed rate all replies may come after the end of a window as short as this.
    if !idle && !matches!(scenario.kind, Kind::Offered { .. }) {
        wanted.push(Metric::Throughput);
    }
    if !idle {
        wanted.extend([Metric::P50, Metric::P99, Metric::P999, Metric::RedisCpu]);
    }
    if target.proxy {
        wanted.extend([Metric::ProxyRss, if idle { Metric::ProxyPerClient } else { Metric::ProxyCpu }]);
    }
    for metric in wanted {
        if !get(metric).is_some_and(|number| number.is_finite() && number > 0.0) {
            let found = get(metric);
            return Err(
                format!("{} with {}: {} is {found:?}", scenario.name, target.name, metric.name()).into()
            );
        }
    }
    if get(Metric::Unanswered).is_some() {
        return Err(format!("{} with {}: replies are missing", scenario.name, target.name).into());
    }
    if get(Metric::P50) > get(Metric::P99) || get(Metric::P99) > get(Metric::P999) {
        return Err(format!("{} with {}: percentiles out of order", scenario.name, target.name).into());
    }
    Ok(())
}
