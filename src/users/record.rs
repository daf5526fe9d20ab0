//! How reloads went, and since when the policy is in force: for INFO.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::unix_ms;

/// Counts since the start. Shared by all workers; each number by itself is right, two of them may be a moment apart.
#[derive(Debug)]
pub struct Reloads {
    ok: AtomicU64,
    refused: AtomicU64,
    last_refused: AtomicBool,
    /// Unix time in milliseconds; 0 for never.
    refused_at: AtomicU64,
    /// Likewise.
    policy_since: AtomicU64,
}

impl Default for Reloads {
    fn default() -> Self {
        Reloads {
            ok: AtomicU64::default(),
            refused: AtomicU64::default(),
            last_refused: AtomicBool::default(),
            refused_at: AtomicU64::default(),
            policy_since: AtomicU64::new(unix_ms()),
        }
    }
}

impl Reloads {
    /// What was read is in force.
    pub fn note_ok(&self) {
        self.ok.fetch_add(1, Ordering::Relaxed);
        self.note_restored();
    }

    /// What was read was refused, and nothing has changed.
    pub fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.refused_at.store(unix_ms(), Ordering::Relaxed);
        self.last_refused.store(true, Ordering::Relaxed);
    }

    /// The files are again what is in force.
    pub fn note_restored(&self) {
        self.last_refused.store(false, Ordering::Relaxed);
    }

    /// A new policy is in force.
    pub(super) fn note_policy(&self) {
        self.policy_since.store(unix_ms(), Ordering::Relaxed);
    }

    /// Reloads that took effect.
    pub fn ok(&self) -> u64 {
        self.ok.load(Ordering::Relaxed)
    }

    /// Reloads that were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether the files are not what is in force, as far as is known.
    pub fn is_last_refused(&self) -> bool {
        self.last_refused.load(Ordering::Relaxed)
    }

    /// When a reload was last refused, in seconds of Unix time; 0 for never.
    pub fn refused_at(&self) -> u64 {
        self.refused_at.load(Ordering::Relaxed) / 1000
    }

    /// For how many seconds the policy has been in force.
    pub fn policy_age(&self) -> u64 {
        unix_ms().saturating_sub(self.policy_since.load(Ordering::Relaxed)) / 1000
    }
}
