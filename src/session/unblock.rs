//! Ending a command that blocks before its time: for CLIENT UNBLOCK, and when the worker drains.
//!
//! The upstream ends it (its own CLIENT UNBLOCK), so the reply says for certain whether the command took effect. It may
//! still be on its way there when it is to be ended; so the upstream is asked again until it knows of it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::clients::Unblock;
use super::replies::Outbox;
use crate::upstream::{Delivery, Link, LinkKey, Pool, Sink};

/// Pause before the upstream is asked again.
const RETRY: Duration = Duration::from_millis(2);

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The command has ended.
    Done,
    /// The upstream cannot do it.
    Impossible,
    /// It is under way; the session will be woken.
    UnderWay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Ask,
    Ended(Progress),
    /// The upstream knew of no such command.
    Missed,
    Waiting,
}

/// One command that is to end.
pub(super) struct Unblocking {
    how: Unblock,
    attempt: Rc<Attempt>,
}

/// Takes what the upstream says.
struct Attempt {
    stage: Cell<Stage>,
    /// Of the session, which is woken when something has changed.
    outbox: Rc<Outbox>,
}

impl Unblocking {
    pub(super) fn new(how: Unblock, outbox: Rc<Outbox>) -> Self {
        Unblocking { how, attempt: Rc::new(Attempt { stage: Cell::new(Stage::Ask), outbox }) }
    }

    /// Does what can be done now. `lease` carries the command; `session` picks a link of `pool` to ask on.
    pub(super) fn advance(&self, lease: &Link, pool: &Pool, session: u64) -> Progress {
        match self.attempt.stage.get() {
            Stage::Ended(progress) => return progress,
            Stage::Waiting => return Progress::UnderWay,
            Stage::Missed => {
                self.attempt.clone().retry();
                return Progress::UnderWay;
            }
            Stage::Ask => {}
        }
        match (lease.upstream_id(), pool.shared(LinkKey::default(), session)) {
            (Some(id), Some(other)) => {
                self.attempt.stage.set(Stage::Waiting);
                // It might come too late, and hit what somebody else has sent there.
                lease.stain();
                other.unblock(id, self.how.word(), self.attempt.clone());
                Progress::UnderWay
            }
            _ if lease.is_connecting() => {
                self.attempt.clone().retry();
                Progress::UnderWay
            }
            _ => Progress::Impossible,
        }
    }
}

impl Attempt {
    fn retry(self: Rc<Self>) {
        self.stage.set(Stage::Waiting);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(RETRY).await;
            self.stage.set(Stage::Ask);
            self.outbox.wake();
        });
    }
}

impl Sink for Attempt {
    fn deliver(&self, delivery: Delivery<'_>) {
        self.stage.set(match delivery {
            Delivery::Reply(b":1\r\n") => Stage::Ended(Progress::Done),
            Delivery::Reply(b":0\r\n") => Stage::Missed,
            _ => Stage::Ended(Progress::Impossible),
        });
        self.outbox.wake();
    }
}
