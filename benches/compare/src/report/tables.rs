//! Tables, in plain text or Markdown.

use super::goals::goals;
use super::numbers::{number, perhaps};
use crate::machine::Machine;
use crate::options::Options;
use crate::results::{Metric, Results, Spread};
use crate::scenario::{Kind, Scenario};

/// How tables look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For a terminal.
    Plain,
    /// For documentation.
    Markdown,
}

/// Everything: how it was measured, the ratios, then each scenario.
pub fn all(options: &Options, results: &Results, machine: &Machine, style: Style) -> String {
    let mut text = String::new();
    text.push_str(&machine.text(options));
    text.push('\n');
    for (target, missing) in &results.missing {
        text.push_str(&format!("{target} is missing: {missing}\n"));
    }
    let suites: Vec<String> =
        results.suites.iter().map(|(target, suite)| format!("{target} {suite}")).collect();
    text.push_str(&format!("Cipher suites: {}.\n", suites.join(", ")));

    text.push_str(&heading("Ratios of medians: Redkeep with a restricted user", style));
    text.push_str(&ratios(results, style));
    for scenario in &options.scenarios {
        text.push_str(&heading(&format!("{}: {}", scenario.name, scenario.what), style));
        text.push_str(&figures(options, results, scenario, style));
    }
    text
}

fn heading(text: &str, style: Style) -> String {
    match style {
        Style::Plain => format!("\n{text}\n"),
        Style::Markdown => format!("\n### {text}\n\n"),
    }
}

fn ratios(results: &Results, style: Style) -> String {
    let header =
        ["measure", "scenario", "Unix socket", "goal", "first acceptable", "", "TCP", "Redis' own TLS"];
    let rows = goals(results).into_iter().map(|goal| {
        vec![
            goal.measure.clone(),
            goal.scenario.to_owned(),
            perhaps(goal.found),
            format!("{} {}", goal.sign(), number(goal.reach)),
            format!("{} {}", goal.sign(), number(goal.acceptable)),
            goal.verdict().to_owned(),
            perhaps(goal.over_tcp),
            goal.beside.map(number).unwrap_or_default(),
        ]
    });
    table(&header, rows.collect(), style)
}

fn figures(options: &Options, results: &Results, scenario: &Scenario, style: Style) -> String {
    let idle = matches!(scenario.kind, Kind::Idle { .. });
    let connect = matches!(scenario.kind, Kind::Connect { .. });
    let mut header = vec!["target"];
    if idle {
        header.extend(["KiB per client: proxy, RSS", "PSS", "Redis, RSS", "proxy + Redis"]);
    } else {
        header.extend(["per second", "p50 µs", "p99 µs", "p99.9 µs", "proxy CPU µs", "Redis CPU µs", "sum"]);
        header.extend(["MiB: proxy", "Redis"]);
    }
    if connect {
        header.push("resumed");
    }
    let mut rows = Vec::new();
    for target in &options.targets {
        let spread = |metric| results.spread(scenario.name, target.name, metric);
        let ranged = |metric| spread(metric).map_or_else(|| "–".to_owned(), range);
        let median = |metric| perhaps(spread(metric).map(|one| one.median));
        let mut row = vec![target.name.to_owned()];
        if results.missing.iter().any(|(missing, _)| *missing == target.name) {
            row.push("missing".to_owned());
        } else if let Some(why) = (target.lacks)(scenario.kind) {
            row.push(format!("not possible: {why}"));
        } else if idle {
            row.extend([ranged(Metric::ProxyPerClient), median(Metric::ProxyPssPerClient)]);
            row.push(ranged(Metric::RedisPerClient));
            let each = [Metric::ProxyPerClient, Metric::RedisPerClient]
                .map(|metric| spread(metric).map(|one| one.median));
            row.push(number(each.into_iter().flatten().sum()));
        } else {
            row.extend([Metric::Throughput, Metric::P50, Metric::P99, Metric::P999].map(ranged));
            row.extend([Metric::ProxyCpu, Metric::RedisCpu].map(ranged));
            row.push(perhaps(results.cpu(scenario.name, target.name)));
            row.extend([Metric::ProxyRss, Metric::RedisRss].map(median));
        }
        if connect && row.len() > 2 {
            let part = spread(Metric::Resumed).map_or(0.0, |one| one.median);
            row.push(format!("{:.0} %", part * 100.0));
        }
        rows.push(row);
    }
    let mut text = table(&header, rows, style);
    for target in &options.targets {
        let late = results.rounds(scenario.name, target.name, Metric::Unanswered);
        if late.iter().any(|number| *number > 0.0) {
            let (name, rounds) = (target.name, late.len());
            text.push_str(&format!("\n{name} owed replies long after the end, in {rounds} round(s): "));
            text.push_str("its times are longer than these.\n");
        }
    }
    text
}

/// A median with the smallest and the largest round, if there is more than one.
fn range(spread: Spread) -> String {
    if spread.min < spread.max {
        format!("{} ({}–{})", number(spread.median), number(spread.min), number(spread.max))
    } else {
        number(spread.median)
    }
}

/// Columns as wide as their widest cell; numbers to the right. Short rows are filled up.
fn table(header: &[&str], mut rows: Vec<Vec<String>>, style: Style) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    rows.iter_mut().for_each(|row| row.resize(header.len(), String::new()));
    let width = |column: usize| {
        // What says why there are no numbers may stick out.
        let cells = rows.iter().filter(|row| row.get(2).is_some_and(|cell| !cell.is_empty()));
        cells
            .chain([&header])
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
                if column == 0 { format!("{cell}{blanks}") } else { format!("{blanks}{cell}") }
            })
            .collect();
        match style {
            Style::Plain => format!("  {}\n", padded.join("  ").trim_end()),
            Style::Markdown => format!("| {} |\n", cells.join(" | ")),
        }
    };
    let mut text = line(&header);
    if style == Style::Markdown {
        text.push_str(&format!("|---{}|\n", "|--:".repeat(header.len() - 1)));
    }
    rows.iter().for_each(|row| text.push_str(&line(row)));
    text
}
