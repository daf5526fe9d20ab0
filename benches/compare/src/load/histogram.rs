//! Latencies, counted in classes that are at most 1 % wide.

use std::time::Duration;

/// Classes for each power of two: 128.
const BITS: u32 = 7;

/// How often which latency was seen, in nanoseconds.
#[derive(Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Counts `times` requests that took `latency`.
    pub fn record(&mut self, latency: Duration, times: u64) {
        let class = class(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        if self.counts.len() <= class {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] += times;
        self.total += times;
    }

    /// Counts what `other` has counted.
    pub fn add(&mut self, other: &Histogram) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
    }

    /// The latency in microseconds that `part` (0 to 1) of all requests did not exceed; none without requests.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let rank = (part * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.counts.iter().enumerate().find_map(|(class, count)| {
            seen += count;
            (seen >= rank).then(|| middle(class) / 1000.0)
        })
    }
}

/// Below 2^BITS each number has a class of its own; above, the leading bits make it.
fn class(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(BITS + 1);
    ((u64::from(shift) << BITS) + (nanos >> shift)) as usize
}

fn middle(class: usize) -> f64 {
    let shift = (class >> BITS).saturating_sub(1);
    let lowest = (class - (shift << BITS)) << shift;
    lowest as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_found_again_within_one_percent() {
        for nanos in (0..64).map(|bit| 1_u64 << bit).flat_map(|power| [power - 1, power, power + power / 3]) {
            let found = middle(class(nanos));
            assert!((found - nanos as f64).abs() <= nanos as f64 / 100.0, "{nanos}: {found}");
        }
    }

    #[test]
    fn quantiles_are_those_of_a_sorted_list() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|micros| histogram.record(Duration::from_micros(micros), 1));
        for (part, wanted) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = histogram.quantile(part).unwrap_or_default();
            assert!((found / wanted - 1.0_f64).abs() < 0.01, "{part}: {found}");
        }
        assert!(Histogram::default().quantile(0.5).is_none());
    }
}
