//! `cargo bench --bench micro`: what the steps on the way of a request cost, each alone.
//!
//! Every line is the time of one operation, in nanoseconds unless it says otherwise: the median of several rounds,
//! then the fastest and the slowest round. The cases of a group take turns within each round, so that whatever else
//! the machine does in that time hits all of them alike. A harness of our own: some lines that anybody can check,
//! instead of thirty crates.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark: prints, and may stop at anything unexpected"
)]

mod harness;
mod judging;
mod stepping;
mod wire;

/// All groups, or those that are named on the command line (`-- judging globs`).
fn main() {
    let groups: [(&str, fn()); 7] = [
        ("requests", wire::requests),
        ("replies", wire::replies),
        ("judging", judging::judging),
        ("steps", stepping::steps),
        ("globs", judging::globs),
        ("logins", judging::logins),
        ("users", judging::many_users),
    ];
    // Cargo adds `--bench`.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for (name, group) in groups {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            group();
        }
    }
}
