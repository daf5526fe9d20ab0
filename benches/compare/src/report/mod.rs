//! What a run says at its end: tables, JSON, a picture, and the figures of docs/PERFORMANCE.md.

mod docs;
mod goals;
mod json;
mod numbers;
mod svg;
mod tables;

use std::fs;
use std::time::Duration;

use crate::Result;
use crate::machine::Machine;
use crate::options::Options;
use crate::results::Results;
use tables::Style;

/// Prints and writes it.
pub fn report(options: &Options, results: &Results, machine: &Machine, took: Duration) -> Result<()> {
    let style = if options.markdown { Style::Markdown } else { Style::Plain };
    println!("{}", tables::all(options, results, machine, style));

    fs::create_dir_all(&options.out)?;
    let json = options.out.join("performance.json");
    fs::write(&json, json::json(options, results, machine))?;
    let picture = svg::picture(options, results);
    let svg = options.out.join("performance.svg");
    fs::write(&svg, &picture)?;
    eprintln!("{:.0} s; written: {} and {}", took.as_secs_f64(), json.display(), svg.display());
    if options.write_docs {
        docs::write(&tables::all(options, results, machine, Style::Markdown), &picture)?;
    }
    Ok(())
}
