//! `make bench`: Redkeep beside everything that people use instead, measured in one run.
//!
//! Starts real servers, drives them with one thread, each scenario target by target and round by round (A B C A B C …),
//! so that whatever else the machine does meets all alike. Prints medians and ratios, writes JSON, a picture, and on
//! request the tables of docs/PERFORMANCE.md. Any reply that is not exactly what it must be ends the run.

mod certs;
mod load;
mod machine;
mod measure;
mod options;
mod report;
mod results;
mod run;
mod scenario;
mod servers;
mod work;

use std::process::ExitCode;

/// Whatever went wrong, in words.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Waits, while no load runs.
#[expect(
    clippy::disallowed_methods,
    reason = "the rule is about workers; here is one thread, and nothing to be done"
)]
fn pause(time: std::time::Duration) {
    std::thread::sleep(time);
}

fn main() -> ExitCode {
    match run::run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
