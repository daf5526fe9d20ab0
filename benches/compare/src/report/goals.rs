//! The ratios that Redkeep is to reach, and whether it does.
//!
//! Redkeep with a restricted user over a Unix socket counts; over TCP it is reported beside it.

use crate::results::{Metric, Results};

const REDIS_TLS: &str = "redis-tls";
const REDKEEP: &str = "redkeep";
const REDKEEP_TCP: &str = "redkeep-tcp";

/// Load shapes that most goals are about.
const SHAPES: [&str; 3] = ["get-50-1", "get-50-16", "get-500-1"];

/// One goal with what was found.
pub struct Goal {
    /// What is compared.
    pub measure: String,
    /// In which scenario.
    pub scenario: &'static str,
    /// The goal.
    pub reach: f64,
    /// What is acceptable at first.
    pub acceptable: f64,
    /// Whether less is better.
    pub at_most: bool,
    /// What Redkeep has over a Unix socket.
    pub found: Option<f64>,
    /// What it has over TCP.
    pub over_tcp: Option<f64>,
    /// What Redis' own TLS has, where the figure is not divided by another target's already.
    pub beside: Option<f64>,
}

impl Goal {
    /// In one word.
    pub fn verdict(&self) -> &'static str {
        let meets = |found: f64, goal: f64| if self.at_most { found <= goal } else { found >= goal };
        match self.found {
            None => "not measured",
            Some(found) if meets(found, self.reach) => "reached",
            Some(found) if meets(found, self.acceptable) => "acceptable",
            Some(_) => "NOT met",
        }
    }

    /// The sign of the goal.
    pub fn sign(&self) -> &'static str {
        if self.at_most { "≤" } else { "≥" }
    }
}

/// What a target's figure is divided by that of another one, or none where either is missing.
type Figure = fn(&Results, &str, &str) -> Option<f64>;

fn throughput(results: &Results, scenario: &str, target: &str) -> Option<f64> {
    results.median(scenario, target, Metric::Throughput)
}

fn p99(results: &Results, scenario: &str, target: &str) -> Option<f64> {
    results.median(scenario, target, Metric::P99)
}

fn proxy_cpu(results: &Results, scenario: &str, target: &str) -> Option<f64> {
    results.median(scenario, target, Metric::ProxyCpu)
}

fn redis_cpu(results: &Results, scenario: &str, target: &str) -> Option<f64> {
    results.median(scenario, target, Metric::RedisCpu)
}

fn all_cpu(results: &Results, scenario: &str, target: &str) -> Option<f64> {
    results.cpu(scenario, target)
}

/// All goals, with what a run has found.
pub fn goals(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut add =
        |measure: &str, figure: Figure, other: &str, at_most: bool, rows: &[(&'static str, f64, f64)]| {
            for (scenario, reach, acceptable) in rows {
                let ratio = |subject: &str| {
                    let divisor = figure(results, scenario, other).filter(|divisor| *divisor > 0.0)?;
                    Some(figure(results, scenario, subject)? / divisor)
                };
                goals.push(Goal {
                    measure: measure.to_owned(),
                    scenario,
                    reach: *reach,
                    acceptable: *acceptable,
                    at_most,
                    found: ratio(REDKEEP),
                    over_tcp: ratio(REDKEEP_TCP),
                    beside: None,
                });
            }
        };
    let shapes = |reach: [f64; 3], acceptable: [f64; 3]| -> Vec<(&'static str, f64, f64)> {
        SHAPES
            .iter()
            .zip(reach)
            .zip(acceptable)
            .map(|((shape, reach), first)| (*shape, reach, first))
            .collect()
    };
    add(
        "proxy + Redis CPU per request ÷ Redis' own TLS",
        all_cpu,
        REDIS_TLS,
        true,
        &shapes([1.0, 0.95, 0.9], [1.3, 1.1, 1.1]),
    );
    add(
        "Redis' CPU per request ÷ that of Redis' own TLS",
        redis_cpu,
        REDIS_TLS,
        true,
        &shapes([0.20, 0.60, 0.15], [0.38, 0.70, 0.30]),
    );
    add(
        "throughput ÷ Redis' own TLS",
        throughput,
        REDIS_TLS,
        false,
        &shapes([1.0, 1.1, 1.05], [0.8, 0.95, 0.9]),
    );
    add("throughput ÷ HAProxy", throughput, "haproxy", false, &shapes([1.6, 1.2, 1.9], [1.3, 1.05, 1.5]));
    add("throughput ÷ Envoy", throughput, "envoy", false, &shapes([1.25, 2.0, 1.2], [1.0, 1.7, 1.0]));
    add(
        "proxy CPU per request ÷ Envoy's",
        proxy_cpu,
        "envoy",
        true,
        &shapes([0.7, 0.3, 0.7], [0.9, 0.4, 0.9]),
    );
    add(
        "throughput, restricted user ÷ all-powerful user",
        throughput,
        "redkeep-all",
        false,
        &shapes([0.98; 3], [0.94; 3]),
    );
    add("throughput ÷ Redis' own TLS", throughput, REDIS_TLS, false, &[("get-64k", 1.1, 0.8)]);
    add("throughput ÷ HAProxy", throughput, "haproxy", false, &[("get-64k", 1.3, 1.0)]);
    add("p99 ÷ that of Redis' own TLS", p99, REDIS_TLS, true, &[("get-10000s", 1.1, 1.4)]);
    add("proxy CPU per connection ÷ HAProxy's", proxy_cpu, "haproxy", true, &[("connect", 0.5, 0.75)]);
    add("proxy CPU per connection ÷ Envoy's", proxy_cpu, "envoy", true, &[("connect", 1.0, 1.4)]);

    let memory = |target: &str| results.median("idle-5000", target, Metric::ProxyPerClient);
    let memory_of_redis = |target: &str| results.median("idle-5000", target, Metric::RedisPerClient);
    goals.push(Goal {
        measure: "KiB of the process per idle client".to_owned(),
        scenario: "idle-5000",
        reach: 12.0,
        acceptable: 16.0,
        at_most: true,
        found: memory(REDKEEP),
        over_tcp: memory(REDKEEP_TCP),
        beside: memory_of_redis(REDIS_TLS),
    });
    for scenario in ["mixed-64m", "mixed-100k"] {
        let raised =
            |target: &str| Some(p99(results, scenario, target)? / p99(results, "mixed-alone", target)?);
        goals.push(Goal {
            measure: "p99 of others ÷ without the one that disturbs".to_owned(),
            scenario,
            reach: 2.0,
            acceptable: 2.0,
            at_most: true,
            found: raised(REDKEEP),
            over_tcp: raised(REDKEEP_TCP),
            beside: raised(REDIS_TLS),
        });
    }
    goals
}
