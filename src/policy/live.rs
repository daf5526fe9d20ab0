//! The policy in force: an [`ArcSwap`] and a generation number, the only mutable state of layers 1 to 4.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

    /// The policy in force. Read it once per batch of requests.
    pub fn load(&self) -> Guard<Arc<Policy>> {
        self.policy.load()
    }

    /// Puts `policy` in force and returns its generation. Sessions obey at their next command; the caller wakes those
    /// that wait.
    pub fn publish(&self, mut policy: Policy) -> u64 {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        policy.generation = generation;
        self.policy.store(Arc::new(policy));
        generation
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
    fn a_policy_brings_no_generation_of_its_own() {
        let live = Live::new(Policy { generation: 40, ..with_user("a") });
        assert_eq!(live.load().generation(), 1);
        assert_eq!(live.publish(Policy { generation: 40, ..with_user("b") }), 2);
        assert_eq!(live.load().generation(), 2);
    }
}
