//! Replies that are not passed on as they come: the way of a reply from a link to the [`Outbox`], with a stop.
//!
//! - [`ConfigView`]: `CONFIG GET`, without the upstream's credentials and with our own values
//! - [`InfoView`]: `INFO`, with a section about Redkeep
//! - [`QueueWitness`]: the replies to queued commands, looked at in passing
//! - [`Replay`]: a transaction that is queued a second time without the commands that are no longer allowed; its client
//!   sees one reply, to its EXEC, with an error in the place of each of those
//!
//! INVARIANT: each takes exactly one slot of the outbox and delivers to it exactly once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::BytesMut;

use super::Outbox;
use super::local::{OwnValues, append_info, rewrite_config};
use crate::resp::{Protocol, ReplyScanner, announced_items, encode};
use crate::upstream::{Delivery, Sink};

/// Rewrites the reply to a `CONFIG GET`.
pub(super) struct ConfigView {
    pub(super) outbox: Rc<Outbox>,
    pub(super) own: OwnValues,
    pub(super) protocol: Protocol,
}

impl Sink for ConfigView {
    fn deliver(&self, delivery: Delivery<'_>) {
        let Delivery::Reply(reply) = delivery else { return self.outbox.deliver(delivery) };
        let mut view = BytesMut::new();
        rewrite_config(reply, &self.own, self.protocol, &mut view);
        self.outbox.deliver(Delivery::Reply(&view));
    }
}

/// Adds a section to the reply to an `INFO`.
pub(super) struct InfoView {
    pub(super) outbox: Rc<Outbox>,
    pub(super) section: String,
    pub(super) protocol: Protocol,
}

impl Sink for InfoView {
    fn deliver(&self, delivery: Delivery<'_>) {
        let Delivery::Reply(reply) = delivery else { return self.outbox.deliver(delivery) };
        let mut view = BytesMut::new();
        append_info(reply, &self.section, self.protocol, &mut view);
        self.outbox.deliver(Delivery::Reply(&view));
    }
}

/// Passes the replies to queued commands on, and remembers whether the upstream refused one: its EXEC would abort.
pub(super) struct QueueWitness {
    outbox: Rc<Outbox>,
    refused: Cell<bool>,
}

impl QueueWitness {
    pub(super) fn new(outbox: Rc<Outbox>) -> Self {
        QueueWitness { outbox, refused: Cell::new(false) }
    }

    /// A transaction begins.
    pub(super) fn reset(&self) {
        self.refused.set(false);
    }

    pub(super) fn saw_refusal(&self) -> bool {
        self.refused.get()
    }
}

impl Sink for QueueWitness {
    fn deliver(&self, delivery: Delivery<'_>) {
        if delivery != Delivery::Reply(b"+QUEUED\r\n") {
            self.refused.set(true);
        }
        self.outbox.deliver(delivery);
    }
}

/// Swallows the replies to all requests of a transaction but the last, and puts errors into that one.
pub(super) struct Replay {
    outbox: Rc<Outbox>,
    inner: RefCell<Progress>,
}

struct Progress {
    /// Replies that are still to come, EXEC's included.
    outstanding: usize,
    /// By place in the transaction: the error of a command that was left out.
    errors: Vec<Option<Vec<u8>>>,
}

impl Replay {
    /// `outstanding` requests are sent with this sink, EXEC the last; `errors` has an entry for every queued command.
    pub(super) fn new(outbox: Rc<Outbox>, outstanding: usize, errors: Vec<Option<Vec<u8>>>) -> Self {
        Replay { outbox, inner: RefCell::new(Progress { outstanding, errors }) }
    }
}

impl Sink for Replay {
    fn deliver(&self, delivery: Delivery<'_>) {
        let errors = {
            let mut inner = self.inner.borrow_mut();
            inner.outstanding = inner.outstanding.saturating_sub(1);
            if inner.outstanding > 0 {
                return;
            }
            std::mem::take(&mut inner.errors)
        };
        let Delivery::Reply(reply) = delivery else { return self.outbox.deliver(delivery) };
        let mut spliced = BytesMut::new();
        splice(reply, &errors, &mut spliced);
        self.outbox.deliver(Delivery::Reply(&spliced));
    }
}

/// The reply to EXEC with `errors` in their places. A reply that is no array (the upstream gave the transaction up) stays
/// as it is.
fn splice(reply: &[u8], errors: &[Option<Vec<u8>>], out: &mut BytesMut) {
    let (Some(b'*'), Some(_)) = (reply.first(), announced_items(reply)) else {
        return out.extend_from_slice(reply);
    };
    let mut replies: VecDeque<&[u8]> = elements(reply).into();
    encode::array(out, errors.len());
    for error in errors {
        match (error, replies.pop_front()) {
            (Some(error), reply) => {
                encode::error(out, error);
                reply.into_iter().for_each(|reply| replies.push_front(reply));
            }
            (None, Some(reply)) => out.extend_from_slice(reply),
            // The upstream answered fewer commands than it queued: as many elements as announced all the same.
            (None, None) => encode::error(out, super::replies::IN_DOUBT.as_bytes()),
        }
    }
}

/// The elements of an array, each a whole reply.
fn elements(reply: &[u8]) -> Vec<&[u8]> {
    let mut rest =
        memchr::memchr(b'\n', reply).and_then(|end| reply.get(end.saturating_add(1)..)).unwrap_or_default();
    let mut elements = Vec::new();
    let mut scanner = ReplyScanner::new(usize::MAX / 2);
    while let Ok(Some(frame)) = scanner.scan(rest) {
        let Some((element, after)) = rest.split_at_checked(frame.len) else { break };
        elements.push(element);
        rest = after;
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spliced(reply: &str, errors: &[Option<&str>]) -> String {
        let errors: Vec<_> = errors.iter().map(|error| error.map(|text| text.as_bytes().to_vec())).collect();
        let mut out = BytesMut::new();
        splice(reply.as_bytes(), &errors, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn errors_stand_where_their_commands_stood() {
        let reply = "*2\r\n+OK\r\n*2\r\n:1\r\n$1\r\nx\r\n";
        assert_eq!(
            spliced(reply, &[Some("NOPERM a"), None, Some("NOPERM b"), None, Some("NOPERM c")]),
            "*5\r\n-NOPERM a\r\n+OK\r\n-NOPERM b\r\n*2\r\n:1\r\n$1\r\nx\r\n-NOPERM c\r\n"
        );
        assert_eq!(spliced("*0\r\n", &[Some("NOPERM a")]), "*1\r\n-NOPERM a\r\n");
    }

    #[test]
    fn a_transaction_that_was_given_up_is_reported_as_such() {
        for reply in ["*-1\r\n", "_\r\n", "-EXECABORT Transaction discarded because of previous errors.\r\n"]
        {
            assert_eq!(spliced(reply, &[Some("NOPERM a"), None]), reply);
        }
    }

    #[test]
    fn only_the_last_reply_of_a_replay_is_delivered() {
        let outbox = Rc::new(Outbox::default());
        outbox.take_slot();
        let replay = Replay::new(outbox.clone(), 3, vec![None, Some(b"NOPERM x".to_vec())]);
        replay.deliver(Delivery::Reply(b"+OK\r\n"));
        replay.deliver(Delivery::Reply(b"+QUEUED\r\n"));
        assert!(!outbox.is_settled());
        replay.deliver(Delivery::Reply(b"*1\r\n:7\r\n"));
        assert!(outbox.is_settled());
        let bytes = outbox.flush(|ready| ready.split().to_vec());
        assert_eq!(bytes, b"*2\r\n:7\r\n-NOPERM x\r\n");
    }
}
