//! The policy in force: an [`ArcSwap`] and a generation number, the only mutable state of layers 1 to 4.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use arc_swap::{ArcSwap, Guard};

use super::Policy;

/// Holds the policy in force. Shared by all workers; readers never wait.
pub struct Live {
    policy: ArcSwap<Policy>,
    generation: AtomicU64,
}

impl Live {
    /// Starts with `policy` as generation 1.
    pub fn new(mut policy: Policy) -> Self {
        policy.generation = 1;
        Live { policy: ArcSwap::from_pointee(policy), generation: AtomicU64::new(1) }
    }

    /// The policy in force. Workers have a [`Sight`] of it.
    pub fn load(&self) -> Guard<Arc<Policy>> {
        self.policy.load()
    }

    /// Puts `policy` in force and returns its generation. Sessions obey at their next command; the caller wakes those
    /// that wait, and sees to it that nobody else calls this meanwhile.
    pub fn publish(&self, mut policy: Policy) -> u64 {
        let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1);
        policy.generation = generation;
        self.policy.store(Arc::new(policy));
        // Who sees this number finds the policy that belongs to it, or a newer one.
        self.generation.store(generation, Ordering::Release);
        generation
    }
}

/// A worker's sight of the policy in force: as long as that stays the same, a look at it is one relaxed load of its
/// generation, which no other core writes to, where [`Live::load`] takes two atomic exchanges.
pub struct Sight {
    live: Arc<Live>,
    seen: RefCell<Seen>,
}

/// A policy that is the same for all workers, counted by one of them for itself: without an atomic.
type Seen = Rc<Arc<Policy>>;

impl Sight {
    /// Begins with what is in force.
    pub fn new(live: Arc<Live>) -> Self {
        let seen = RefCell::new(Rc::new(live.policy.load_full()));
        Sight { live, seen }
    }

    /// The policy in force. Read it once per batch of requests.
    pub fn load(&self) -> Seen {
        let mut seen = self.seen.borrow_mut();
        if self.live.generation.load(Ordering::Relaxed) != seen.generation {
            fence(Ordering::Acquire);
            *seen = Rc::new(self.live.policy.load_full());
        }
        seen.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::super::testing::policy;
    use super::*;

    fn with_user(name: &str) -> Policy {
        policy(Version::V7_0, &[(name, "on nopass")], &[])
    }

    #[test]
    fn generations_grow_and_readers_see_the_newest() {
        let live = Live::new(with_user("first"));
        assert_eq!(live.load().generation(), 1);
        let held = live.load();
        for generation in 2..10u64 {
            let name = format!("user{generation}");
            assert_eq!(live.publish(with_user(&name)), generation);
            assert_eq!(live.load().generation(), generation);
            assert!(live.load().user(name.as_bytes()).is_some());
            assert!(live.load().user(b"first").is_none());
        }
        assert_eq!(held.generation(), 1, "a reader keeps what it read");
        assert!(held.user(b"first").is_some());
    }

    #[test]
    fn all_workers_see_what_was_published_at_their_next_look() {
        let live = Arc::new(Live::new(with_user("first")));
        let (said, hears): (Vec<_>, Vec<_>) = (0..4).map(|_| std::sync::mpsc::channel::<u64>()).unzip();
        std::thread::scope(|threads| {
            for hears in hears {
                let live = live.clone();
                threads.spawn(move || {
                    let sight = Sight::new(live);
                    while let Ok(generation) = hears.recv() {
                        let policy = sight.load();
                        assert!(policy.generation() >= generation);
                        assert!(policy.user(format!("user{}", policy.generation()).as_bytes()).is_some());
                    }
                });
            }
            for generation in 2..200 {
                assert_eq!(live.publish(with_user(&format!("user{generation}"))), generation);
                said.iter().for_each(|said| said.send(generation).unwrap());
            }
            drop(said);
        });
    }

    #[test]
    fn a_policy_brings_no_generation_of_its_own() {
        let live = Live::new(Policy { generation: 40, ..with_user("a") });
        assert_eq!(live.load().generation(), 1);
        assert_eq!(live.publish(Policy { generation: 40, ..with_user("b") }), 2);
        assert_eq!(live.load().generation(), 2);
    }
}
