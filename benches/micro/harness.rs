//! Measuring: cases that take turns, and the median of many short rounds.

use std::time::{Duration, Instant};

/// Rounds of which the median is taken, and the time after which fewer must do.
const ROUNDS: usize = 201;
const GROUP: Duration = Duration::from_secs(8);
/// About how long one case runs in each round: short, so that most rounds are not interrupted.
const ROUND: Duration = Duration::from_micros(500);
/// One thing to measure: its name, and the operation.
pub type Case<'a> = (&'a str, Box<dyn FnMut() + 'a>);

/// Measures and prints cases in turns.
pub fn measure(group: &str, mut cases: Vec<Case<'_>>) {
    println!("{group}");
    let counts: Vec<u32> = cases.iter_mut().map(|(_, operation)| calibrate(operation)).collect();
    let mut times = vec![Vec::with_capacity(ROUNDS); cases.len()];
    let start = Instant::now();
    for round in 0..ROUNDS {
        if round >= 5 && start.elapsed() > GROUP {
            break;
        }
        for (((_, operation), count), times) in cases.iter_mut().zip(&counts).zip(&mut times) {
            times.push(time(operation, *count) / f64::from(*count));
        }
    }
    for ((name, _), mut times) in cases.iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        let (unit, name_of_unit) = if median >= 1e6 { (1e6, "ms") } else { (1.0, "ns") };
        let (fastest, slowest) = (times[0] / unit, times[times.len() - 1] / unit);
        println!("{:>10.1} {name_of_unit}  ({fastest:.1}–{slowest:.1})  {name}", median / unit);
    }
}

/// How often an operation must be repeated to run for [`ROUND`].
fn calibrate(operation: &mut dyn FnMut()) -> u32 {
    let mut count = 1;
    loop {
        let nanoseconds = time(operation, count);
        if nanoseconds >= ROUND.as_nanos() as f64 || count >= 1 << 24 {
            return count;
        }
        count *= 2;
    }
}

/// Nanoseconds that `count` repetitions take.
fn time(operation: &mut dyn FnMut(), count: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..count {
        operation();
    }
    start.elapsed().as_nanos() as f64
}
