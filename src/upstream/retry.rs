//! When to try again to connect: pauses between attempts.

use std::time::{Duration, Instant};

/// First pause.
const SHORTEST: Duration = Duration::from_millis(50);
/// Longest pause. Short, since a local upstream that is restarted should be found again within a quarter of a second,
/// and one refused connection per worker and pause costs next to nothing.
const LONGEST: Duration = Duration::from_millis(200);

/// Doubling pauses with jitter, so that the links of many workers and proxies do not return in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Backoff { next: SHORTEST }
    }

    /// Half of the pause is certain, the other half is random.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let half = self.next / 2;
        self.next = self.next.saturating_mul(2).min(LONGEST);
        // Without randomness the pause is merely in step with others.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        half.saturating_add(half.mul_f64(f64::from(random) / f64::from(u32::MAX)))
    }

    pub(crate) fn reset(&mut self) {
        self.next = SHORTEST;
    }
}

/// Attempts that others make, none of which has succeeded: when the next one may begin.
#[derive(Debug)]
pub(super) struct Attempts {
    backoff: Backoff,
    next: Instant,
}

impl Attempts {
    /// The first one has failed.
    pub(super) fn after_failure() -> Self {
        let mut attempts = Attempts { backoff: Backoff::new(), next: Instant::now() };
        attempts.pause();
        attempts
    }

    /// Whether an attempt may begin now. If so, the next one may not before another pause.
    pub(super) fn may_begin(&mut self) -> bool {
        let due = self.next <= Instant::now();
        if due {
            self.pause();
        }
        due
    }

    fn pause(&mut self) {
        let now = Instant::now();
        self.next = now.checked_add(self.backoff.next_delay()).unwrap_or(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_bound_and_start_again() {
        let mut backoff = Backoff::new();
        for _ in 0..100 {
            let delay = backoff.next_delay();
            assert!(delay >= SHORTEST / 2 && delay <= LONGEST, "{delay:?}");
        }
        assert!(backoff.next_delay() >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next_delay() <= SHORTEST);
    }
    #[test]
    fn after_a_failure_one_attempt_a_pause_may_begin() {
        let mut attempts = Attempts::after_failure();
        assert!(!attempts.may_begin());
        attempts.next = Instant::now();
        assert!(attempts.may_begin());
        assert!(!attempts.may_begin());
    }
}
