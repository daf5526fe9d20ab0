//! The commands that a session waits in, kept to be judged again when the policy changes: they may wait for ever, and
//! must not take effect for somebody who may not run them any more.

use super::state::State;
use crate::policy::{Facts, Judged, Policy, Verdict};
use crate::resp::RequestBuf;

/// What a session waits in, as far as it may block.
#[derive(Default)]
pub(super) struct Blocked {
    /// Each with the database that it was for.
    requests: Vec<(u32, RequestBuf)>,
    revoked: bool,
}

impl Blocked {
    /// Such a request was sent.
    pub(super) fn sent(&mut self, judged: Judged<'_>, database: u32) {
        let args: Vec<&[u8]> = judged.request().args(0).collect();
        self.requests.push((database, RequestBuf::from_args(&args)));
    }

    /// All are answered.
    pub(super) fn clear(&mut self) {
        if !self.requests.is_empty() {
            *self = Blocked::default();
        }
    }

    /// Judges them by another policy than the one that they were permitted by.
    pub(super) fn judge_again(&mut self, policy: &Policy, state: &State) {
        self.revoked |= self.requests.iter().any(|(database, request)| {
            let facts = Facts { database: *database, ..state.facts() };
            matches!(policy.judge_again(facts, request.as_request()), Verdict::Deny(_))
        });
    }

    /// Whether one of them is not permitted any more: then they are all to be ended.
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked
    }
}
