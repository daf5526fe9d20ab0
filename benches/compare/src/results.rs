//! What was measured: numbers by scenario, target and metric, one for each round.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::load::{Idle, Seen};

/// One number that is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Metric {
    /// Requests (deliveries, connections) a second.
    Throughput,
    /// Latencies in microseconds.
    P50,
    /// The slowest hundredth is slower.
    P99,
    /// The slowest thousandth is slower.
    P999,
    /// CPU of the proxy, in microseconds per request: seconds per million.
    ProxyCpu,
    /// CPU of Redis, the same.
    RedisCpu,
    /// Resident memory of the proxy after it, in MiB.
    ProxyRss,
    /// Resident memory of Redis after it, in MiB.
    RedisRss,
    /// Memory of the proxy for each idle client, in KiB: resident pages.
    ProxyPerClient,
    /// The same of Redis.
    RedisPerClient,
    /// The same of the proxy, shared pages counted in parts.
    ProxyPssPerClient,
    /// Which part of the connections resumed a TLS session.
    Resumed,
    /// Requests that had no reply long after the end.
    Unanswered,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 13] = [
        Metric::Throughput,
        Metric::P50,
        Metric::P99,
        Metric::P999,
        Metric::ProxyCpu,
        Metric::RedisCpu,
        Metric::ProxyRss,
        Metric::RedisRss,
        Metric::ProxyPerClient,
        Metric::RedisPerClient,
        Metric::ProxyPssPerClient,
        Metric::Resumed,
        Metric::Unanswered,
    ];

    /// Its name in JSON, with its unit.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Throughput => "per_second",
            Metric::P50 => "p50_us",
            Metric::P99 => "p99_us",
            Metric::P999 => "p999_us",
            Metric::ProxyCpu => "proxy_cpu_us",
            Metric::RedisCpu => "redis_cpu_us",
            Metric::ProxyRss => "proxy_rss_mib",
            Metric::RedisRss => "redis_rss_mib",
            Metric::ProxyPerClient => "proxy_kib_per_client",
            Metric::RedisPerClient => "redis_kib_per_client",
            Metric::ProxyPssPerClient => "proxy_pss_kib_per_client",
            Metric::Resumed => "resumed_part",
            Metric::Unanswered => "unanswered",
        }
    }
}

/// The numbers of one measurement.
pub type Sample = BTreeMap<Metric, f64>;

/// What a load has seen, as numbers.
pub fn of_load(seen: &Seen) -> Sample {
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / seen.done.max(1) as f64;
    let mut sample = Sample::from([
        (Metric::Throughput, seen.done as f64 / seen.window.as_secs_f64().max(1e-9)),
        (Metric::RedisCpu, each(seen.redis)),
    ]);
    sample.extend(seen.proxy.map(|cpu| (Metric::ProxyCpu, each(cpu))));
    if seen.unanswered > 0 {
        sample.insert(Metric::Unanswered, seen.unanswered as f64);
    }
    for (metric, part) in [(Metric::P50, 0.5), (Metric::P99, 0.99), (Metric::P999, 0.999)] {
        sample.extend(seen.latencies.quantile(part).map(|micros| (metric, micros)));
    }
    sample
}

/// What idle clients cost, as numbers.
pub fn of_idle(idle: &Idle, clients: usize) -> Sample {
    let each = |before: u64, after: u64| (after as f64 - before as f64) / 1024.0 / clients as f64;
    let (before, after) = idle.redis;
    let mut sample = Sample::from([(Metric::RedisPerClient, each(before.rss, after.rss))]);
    if let Some((before, after)) = idle.proxy {
        sample.insert(Metric::ProxyPerClient, each(before.rss, after.rss));
        sample.insert(Metric::ProxyPssPerClient, each(before.pss, after.pss));
    }
    sample
}

/// The middle of several rounds, with the smallest and the largest.
#[derive(Clone, Copy)]
pub struct Spread {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of some numbers; none of none.
    pub fn of(mut numbers: Vec<f64>) -> Option<Spread> {
        numbers.sort_by(f64::total_cmp);
        let (min, max) = (*numbers.first()?, *numbers.last()?);
        let half = numbers.len() / 2;
        let median = match numbers.len() % 2 {
            0 => (numbers.get(half - 1)? + numbers.get(half)?) / 2.0,
            _ => *numbers.get(half)?,
        };
        Some(Spread { median, min, max })
    }
}

/// Everything that a run has found.
#[derive(Default)]
pub struct Results {
    samples: BTreeMap<(&'static str, &'static str), Vec<Sample>>,
    /// Targets that are missing on this machine, and what to do about it.
    pub missing: Vec<(&'static str, String)>,
    /// The cipher suite of each target.
    pub suites: Vec<(&'static str, String)>,
}

impl Results {
    /// Adds a round.
    pub fn add(&mut self, scenario: &'static str, target: &'static str, sample: Sample) {
        self.samples.entry((scenario, target)).or_default().push(sample);
    }

    /// All rounds of a metric.
    pub fn rounds(&self, scenario: &str, target: &str, metric: Metric) -> Vec<f64> {
        let found = self.samples.iter().find(|((one, other), _)| *one == scenario && *other == target);
        found
            .map(|(_, samples)| samples.iter().filter_map(|sample| sample.get(&metric).copied()).collect())
            .unwrap_or_default()
    }

    /// Its median and range.
    pub fn spread(&self, scenario: &str, target: &str, metric: Metric) -> Option<Spread> {
        Spread::of(self.rounds(scenario, target, metric))
    }

    /// Its median.
    pub fn median(&self, scenario: &str, target: &str, metric: Metric) -> Option<f64> {
        Some(self.spread(scenario, target, metric)?.median)
    }

    /// CPU of proxy and Redis together, the median of each round's sum.
    pub fn cpu(&self, scenario: &str, target: &str) -> Option<f64> {
        let redis = self.rounds(scenario, target, Metric::RedisCpu);
        let proxy = self.rounds(scenario, target, Metric::ProxyCpu);
        let sums =
            redis.iter().enumerate().map(|(round, cpu)| cpu + proxy.get(round).copied().unwrap_or_default());
        Some(Spread::of(sums.collect())?.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_min_and_max_are_the_ends() {
        let spread = |numbers: &[f64]| Spread::of(numbers.to_vec()).map(|one| (one.min, one.median, one.max));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some((1.0, 2.5, 4.0)));
        assert_eq!(spread(&[7.0]), Some((7.0, 7.0, 7.0)));
        assert_eq!(spread(&[]), None);
    }
}
