//! The commands that a session waits in, kept to be judged again when the policy changes: they may wait for ever, and
//! must not take effect for somebody who may not run them any more.

use std::collections::VecDeque;

use super::replies::Outbox;
use super::state::State;
use crate::policy::{Facts, Policy, Verdict};
use crate::resp::{Request, RequestBuf};

/// While so many bytes are kept here, no further request is taken: a client may send any number before the first ends.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What a session waits in, as far as it may block.
#[derive(Default)]
pub(super) struct Blocked {
    /// In the order in which they were sent, which is that of their replies.
    requests: VecDeque<Kept>,
    /// What they take in memory.
    bytes: usize,
    revoked: bool,
}

struct Kept {
    /// Which of the session's requests to the upstream it is.
    number: u64,
    /// The database that it was for.
    database: u32,
    request: RequestBuf,
}

impl Blocked {
    /// Such a request was sent: the last one that has taken a slot of `outbox`.
    pub(super) fn sent(&mut self, request: Request<'_>, database: u32, outbox: &Outbox) {
        let args: Vec<&[u8]> = request.args(0).collect();
        self.bytes = self.bytes.saturating_add(request.cost());
        self.requests.push_back(Kept {
            number: outbox.slots_taken(),
            database,
            request: RequestBuf::from_args(&args),
        });
    }

    /// Forgets those that are answered.
    pub(super) fn settle(&mut self, outbox: &Outbox) {
        if self.requests.is_empty() {
            return;
        }
        let answered = outbox.slots_taken().saturating_sub(outbox.open() as u64);
        while let Some(kept) = self.requests.pop_front_if(|kept| kept.number <= answered) {
            self.bytes = self.bytes.saturating_sub(kept.request.as_request().cost());
        }
        if self.requests.is_empty() {
            *self = Blocked::default();
        }
    }

    /// All are answered.
    pub(super) fn clear(&mut self) {
        if !self.requests.is_empty() {
            *self = Blocked::default();
        }
    }

    /// Judges them by another policy than the one that they were permitted by.
    pub(super) fn judge_again(&mut self, policy: &Policy, state: &State) {
        self.revoked |= self.requests.iter().any(|Kept { database, request, .. }| {
            let facts = Facts { database: *database, ..state.facts() };
            matches!(policy.judge_again(facts, request.as_request()), Verdict::Deny(_))
        });
    }

    /// Whether one of them is not permitted any more: then they are all to be ended.
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// How many bytes are kept here.
    pub(super) fn held(&self) -> usize {
        self.bytes
    }

    /// Whether so many are kept that no further request should be taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.bytes >= MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Delivery, Sink};

    #[test]
    fn what_is_answered_is_not_kept_though_more_is_sent_all_the_time() {
        let (outbox, mut blocked) = (Outbox::default(), Blocked::default());
        let request = RequestBuf::from_args(&["BLPOP", "key", "0"]);
        let send = |blocked: &mut Blocked| {
            outbox.take_slot(0);
            blocked.sent(request.as_request(), 0, &outbox);
        };
        let answer = || outbox.deliver(Delivery::Reply(b"*-1\r\n"));
        send(&mut blocked);
        // What does not block takes a slot, too.
        outbox.take_slot(0);
        send(&mut blocked);
        let both = blocked.held();
        assert!(both > 2 * request.as_request().wire().len());
        blocked.settle(&outbox);
        assert_eq!(blocked.held(), both);
        answer();
        blocked.settle(&outbox);
        assert_eq!(blocked.held(), both / 2);
        answer();
        blocked.settle(&outbox);
        assert_eq!(blocked.held(), both / 2, "the second is still open");
        for _ in 0..1000 {
            send(&mut blocked);
            answer();
            blocked.settle(&outbox);
            assert_eq!((blocked.held(), outbox.is_settled()), (both / 2, false));
        }
        answer();
        blocked.settle(&outbox);
        assert_eq!(blocked.held(), 0);
    }

    #[test]
    fn a_client_that_pipelines_more_than_is_kept_waits() {
        let (outbox, mut blocked) = (Outbox::default(), Blocked::default());
        let request = RequestBuf::from_args(&["BLPOP", &"k".repeat(1 << 20), "0"]);
        for _ in 0..16 {
            assert!(!blocked.is_crowded());
            outbox.take_slot(0);
            blocked.sent(request.as_request(), 0, &outbox);
        }
        assert!(blocked.is_crowded());
        outbox.deliver(Delivery::Reply(b"*-1\r\n"));
        blocked.settle(&outbox);
        assert!(!blocked.is_crowded());
    }
}
