//! All numbers of a run, each round on its own, for programs.

use serde_json::{Map, Value, json};

use super::goals::goals;
use crate::machine::Machine;
use crate::options::Options;
use crate::results::{Metric, Results};

/// As text.
pub fn json(options: &Options, results: &Results, machine: &Machine) -> String {
    let mut scenarios = Map::new();
    for scenario in &options.scenarios {
        let mut targets = Map::new();
        for target in &options.targets {
            let mut metrics = Map::new();
            for metric in Metric::ALL {
                if let Some(spread) = results.spread(scenario.name, target.name, metric) {
                    let rounds = results.rounds(scenario.name, target.name, metric);
                    let (median, min, max) = (spread.median, spread.min, spread.max);
                    let value = json!({"median": median, "min": min, "max": max, "rounds": rounds});
                    metrics.insert(metric.name().to_owned(), value);
                }
            }
            if let Some(why) = (target.lacks)(scenario.kind) {
                metrics.insert("not_possible".to_owned(), why.into());
            }
            targets.insert(target.name.to_owned(), Value::Object(metrics));
        }
        let value = json!({"what": scenario.what, "targets": targets});
        scenarios.insert(scenario.name.to_owned(), value);
    }
    let targets: Map<String, Value> =
        options.targets.iter().map(|target| (target.name.to_owned(), target.what.into())).collect();
    let goals: Vec<Value> = goals(results)
        .iter()
        .map(|goal| {
            json!({
                "measure": goal.measure, "scenario": goal.scenario, "at_most": goal.at_most, "reach": goal.reach,
                "first_acceptable": goal.acceptable, "unix_socket": goal.found, "tcp": goal.over_tcp,
                "redis_tls": goal.beside,
                "verdict": goal.verdict(),
            })
        })
        .collect();
    let pairs = |pairs: &[(&'static str, String)]| -> Map<String, Value> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), text.as_str().into())).collect()
    };
    let all = json!({
        "machine": pairs(&machine.facts),
        "rounds": options.rounds,
        "seconds": options.length.as_secs_f64(),
        "targets": targets,
        "missing": pairs(&results.missing),
        "cipher_suites": pairs(&results.suites),
        "goals": goals,
        "scenarios": scenarios,
    });
    format!("{all:#}\n")
}
