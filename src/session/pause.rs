//! CLIENT PAUSE and UNPAUSE: Redkeep's clients wait with their next command; the upstream does not know.
//!
//! Mirrors Redis 7.0 and 8.2, and Valkey 9.1: what is refused is refused at once; of two pauses the longer and the stricter
//! one counts; nobody is let through, not even who has paused. Order within a session is kept, since it takes no
//! other request meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::queue::is_replicated;
use super::replication::Replication;
use super::state::State;
use crate::policy::{Judged, Version};

/// A pause, as everybody sees it: milliseconds of the process' clock at which it ends, doubled; odd if it is for all
/// commands. 0 for none.
#[derive(Default)]
pub(super) struct Pause(AtomicU64);

/// What is held back just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// Every command.
    All,
    /// None.
    #[default]
    Nothing,
    /// Those that write, or are replicated like writes.
    Writes,
}

impl Pause {
    /// Pauses until `end`; a longer pause stays as long, a stricter one as strict.
    pub(super) fn begin(&self, now: u64, end: u64, all: bool) {
        let merge = |word: u64| {
            let running = if word >> 1 > now { word } else { 0 };
            let end = end.min(u64::MAX >> 1).max(running >> 1);
            Some((end << 1) | (running & 1) | u64::from(all))
        };
        // Never `Err`: the closure always has a value.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, merge);
    }

    /// Ends the pause.
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether there was a pause; it may be over.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// What is held back at `now`, and for how long.
    pub(super) fn hold(&self, now: u64) -> (Hold, Duration) {
        let word = self.0.load(Ordering::Acquire);
        let left = Duration::from_millis((word >> 1).saturating_sub(now));
        let hold = match word {
            _ if left.is_zero() => Hold::Nothing,
            odd if odd & 1 == 1 => Hold::All,
            _ => Hold::Writes,
        };
        (hold, left)
    }
}

/// Whether a request that is allowed has to wait.
pub(super) fn holds_back(state: &State, judged: Judged<'_>, version: Version) -> bool {
    match state.hold {
        // Replicas are never paused.
        _ if state.replication == Replication::Streaming => false,
        Hold::Nothing => false,
        Hold::All => version >= Version::V7_0 || judged.spec().name != "quit",
        Hold::Writes => is_replicated(judged) || (judged.spec().name == "exec" && state.queue.writes),
    }
}

/// Wakes a session when its pause may be over.
#[derive(Default)]
pub(super) struct Alarm(Option<std::pin::Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when `left` has passed since the call that began to wait.
    pub(super) fn poll(&mut self, left: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
        // The pause may have become longer, or another one has begun.
        let end = Instant::now().checked_add(left).unwrap_or_else(Instant::now);
        if !left.is_zero() && end > sleep.deadline() {
            sleep.as_mut().reset(end);
        }
        sleep.as_mut().poll(cx)
    }

    /// There is nothing to wait for.
    pub(super) fn stop(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_and_the_stricter_of_two_pauses_counts_while_both_last() {
        let pause = Pause::default();
        assert!(!pause.is_set());
        assert_eq!(pause.hold(0), (Hold::Nothing, Duration::ZERO));
        pause.begin(100, 400, false);
        assert_eq!(pause.hold(100), (Hold::Writes, Duration::from_millis(300)));
        pause.begin(100, 200, true);
        assert_eq!(pause.hold(150), (Hold::All, Duration::from_millis(250)));
        assert_eq!(pause.hold(400), (Hold::Nothing, Duration::ZERO));
        pause.begin(400, 500, false);
        assert_eq!(pause.hold(450), (Hold::Writes, Duration::from_millis(50)), "the old one is over");
        pause.begin(450, u64::MAX, false);
        assert!(pause.hold(u64::MAX >> 2).0 == Hold::Writes, "for ever");
        pause.end();
        assert_eq!(pause.hold(450), (Hold::Nothing, Duration::ZERO));
        assert!(!pause.is_set());
    }
}
