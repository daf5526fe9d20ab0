//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::scenario::{SCENARIOS, Scenario};
use crate::servers::{TARGETS, Target};

/// What `--help` says.
pub const HELP: &str = "\
Measures Redkeep beside what people use instead. Every list may be cut short; names may be beginnings.

  --targets A,B      only these targets
  --scenarios A,B    only these scenarios
  --rounds N         rounds of which the median is taken (5)
  --seconds S        how long each measurement takes (0.7)
  --out DIR          where performance.json and performance.svg go (target/compare)
  --markdown         print the tables as Markdown
  --write-docs       put tables and picture into docs/PERFORMANCE.md
  --redkeep FILE     the program to measure (target/release/redkeep)
  --smoke            does the harness work? few targets, one short round, no figures
  --list             the names of targets and scenarios
";

/// What is to be done.
pub struct Options {
    /// The targets, in the order of the tables.
    pub targets: Vec<&'static Target>,
    /// The scenarios, in the order of the tables.
    pub scenarios: Vec<&'static Scenario>,
    /// How often each is measured.
    pub rounds: usize,
    /// How long.
    pub length: Duration,
    /// Where files go.
    pub out: PathBuf,
    /// Whether tables are printed as Markdown.
    pub markdown: bool,
    /// Whether docs/PERFORMANCE.md is written.
    pub write_docs: bool,
    /// The program to measure.
    pub redkeep: PathBuf,
    /// Whether only the harness is tried.
    pub smoke: bool,
}

/// What the command line asks for.
pub enum Wish {
    /// A run.
    Run(Options),
    /// A text.
    Text(String),
}

/// Reads it.
pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Wish> {
    let mut options = Options {
        targets: TARGETS.iter().collect(),
        scenarios: SCENARIOS.iter().collect(),
        rounds: 5,
        length: Duration::from_millis(700),
        out: "target/compare".into(),
        markdown: false,
        write_docs: false,
        redkeep: "target/release/redkeep".into(),
        smoke: false,
    };
    let (mut rounds, mut seconds) = (None, None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--targets" => options.targets = chosen(&value()?, &TARGETS, |target| target.name)?,
            "--scenarios" => options.scenarios = chosen(&value()?, &SCENARIOS, |scenario| scenario.name)?,
            "--rounds" => rounds = Some(value()?.parse::<usize>()?.max(1)),
            "--seconds" => seconds = Some(Duration::try_from_secs_f64(value()?.parse()?)?),
            "--out" => options.out = value()?.into(),
            "--redkeep" => options.redkeep = value()?.into(),
            "--markdown" => options.markdown = true,
            "--write-docs" => options.write_docs = true,
            "--smoke" => options.smoke = true,
            "--list" => return Ok(Wish::Text(list())),
            "--help" | "-h" => return Ok(Wish::Text(HELP.to_owned())),
            _ => return Err(format!("{arg} is unknown; --help tells what there is").into()),
        }
    }
    if options.smoke {
        options.targets.retain(|target| target.smoke);
        (options.rounds, options.length) = (1, Duration::from_millis(300));
    }
    options.rounds = rounds.unwrap_or(options.rounds);
    options.length = seconds.unwrap_or(options.length);
    Ok(Wish::Run(options))
}

/// Those of `all` whose names, or beginnings of names, are in a list. A whole name means nothing but itself.
fn chosen<T>(list: &str, all: &'static [T], name: impl Fn(&T) -> &str) -> Result<Vec<&'static T>> {
    let wanted: Vec<&str> = list.split(',').filter(|word| !word.is_empty()).collect();
    let mut found = Vec::new();
    for word in wanted {
        let exact: Vec<&T> = all.iter().filter(|one| name(one) == word).collect();
        let fitting = if exact.is_empty() {
            all.iter().filter(|one| name(one).starts_with(word)).collect()
        } else {
            exact
        };
        if fitting.is_empty() {
            return Err(format!("{word} is unknown; --list tells what there is").into());
        }
        found.extend(fitting.into_iter().map(|one| name(one).to_owned()));
    }
    Ok(all.iter().filter(|one| found.iter().any(|found| found == name(one))).collect())
}

fn list() -> String {
    let mut text = String::from("targets\n");
    TARGETS.iter().for_each(|target| text.push_str(&format!("  {:16} {}\n", target.name, target.what)));
    text.push_str("scenarios\n");
    SCENARIOS.iter().for_each(|one| text.push_str(&format!("  {:16} {}\n", one.name, one.what)));
    text
}
