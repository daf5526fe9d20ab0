//! Replies that are not passed on as they come: the way of a reply from a link to the [`Outbox`], with a stop.
//!
//! - [`ConfigView`]: `CONFIG GET`, without the upstream's credentials and with our own values
//! - [`InfoView`]: `INFO`, with a section about Redkeep
//! - [`ModuleView`]: `MODULE LOAD`, after which the upstream has other commands
//! - [`QueueWitness`]: the replies to queued commands, looked at in passing
//! - [`Gathered`]: the reply to EXEC, which the session puts together from what the upstream and Redkeep itself answer
//! - [`Greeting`]: a reply of Redkeep's own in the place of the upstream's
//!
//! INVARIANT: each takes exactly one slot of the outbox and delivers to it exactly once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::Outbox;
use super::local::{OwnValues, append_info, rewrite_config};
use super::mirrored::{refusal, restore_name};
use crate::resp::{Protocol, ReplyScanner};
use crate::upstream::{Delivery, Mirror, Sink};

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
    /// Without the sections that count keys.
    pub(super) fenced: bool,
}

impl Sink for InfoView {
    fn deliver(&self, delivery: Delivery<'_>) {
        let Delivery::Reply(reply) = delivery else { return self.outbox.deliver(delivery) };
        let mut view = BytesMut::new();
        append_info(reply, &self.section, self.fenced, self.protocol, &mut view);
        self.outbox.deliver(Delivery::Reply(&view));
    }
}

/// Has the upstream asked for its commands when it has loaded or unloaded a module.
pub(super) struct ModuleView {
    pub(super) outbox: Rc<Outbox>,
    pub(super) changed: Arc<Notify>,
}

impl Sink for ModuleView {
    fn deliver(&self, delivery: Delivery<'_>) {
        if delivery == Delivery::Reply(b"+OK\r\n") {
            self.changed.notify_one();
        }
        self.outbox.deliver(delivery);
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

/// Swallows the replies to all requests of a transaction but the last, and keeps that for the session.
pub(super) struct Gathered {
    outbox: Rc<Outbox>,
    /// Replies that are still to come, EXEC's included.
    outstanding: Cell<usize>,
    outcome: RefCell<Option<Outcome>>,
    /// As whom the transaction runs.
    mirror: Option<Arc<Mirror>>,
}

/// What became of an EXEC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    InDoubt,
    NotSent,
    Reply(Bytes),
}

impl Gathered {
    /// `outstanding` requests are sent with this sink, EXEC the last.
    pub(super) fn new(outbox: Rc<Outbox>, outstanding: usize, mirror: Option<Arc<Mirror>>) -> Self {
        Gathered { outbox, outstanding: Cell::new(outstanding), outcome: RefCell::default(), mirror }
    }

    /// What became of the EXEC, once that is known.
    pub(super) fn take(&self) -> Option<Outcome> {
        self.outcome.take()
    }
}

impl Sink for Gathered {
    fn deliver(&self, delivery: Delivery<'_>) {
        let outcome = match delivery {
            Delivery::Reply(reply) => {
                let restored = self.mirror.as_ref().and_then(|mirror| restore_name(reply, mirror));
                Outcome::Reply(restored.map_or_else(|| Bytes::copy_from_slice(reply), BytesMut::freeze))
            }
            Delivery::NotSent if self.mirror.as_ref().is_some_and(|mirror| mirror.is_refused()) => {
                Outcome::Reply(refusal().freeze())
            }
            Delivery::InDoubt => Outcome::InDoubt,
            Delivery::NotSent => Outcome::NotSent,
            // Messages, once the transaction has asked for them.
            _ => return self.outbox.deliver(delivery),
        };
        self.outstanding.set(self.outstanding.get().saturating_sub(1));
        if self.outstanding.get() == 0 {
            self.outcome.replace(Some(outcome));
            self.outbox.hold_messages();
            self.outbox.wake();
        }
    }
}

/// Delivers a reply of Redkeep's own when the upstream has done its part.
pub(super) struct Greeting {
    pub(super) outbox: Rc<Outbox>,
    pub(super) reply: Bytes,
}

impl Sink for Greeting {
    fn deliver(&self, delivery: Delivery<'_>) {
        match delivery {
            Delivery::Reply(_) => self.outbox.deliver(Delivery::Reply(&self.reply)),
            other => self.outbox.deliver(other),
        }
    }
}

/// The elements of an array, each a whole reply.
pub(super) fn elements(reply: &[u8]) -> Vec<&[u8]> {
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

    #[test]
    fn only_the_last_reply_of_a_transaction_is_kept_and_holds_messages_back() {
        let outbox = Rc::new(Outbox::default());
        outbox.take_slot(0);
        let gathered = Gathered::new(outbox.clone(), 3, None);
        gathered.deliver(Delivery::Reply(b"+OK\r\n"));
        gathered.deliver(Delivery::Reply(b"+QUEUED\r\n"));
        gathered.deliver(Delivery::Message(b"before "));
        assert_eq!(gathered.take(), None);
        gathered.deliver(Delivery::Reply(b"*1\r\n:7\r\n"));
        gathered.deliver(Delivery::Message(b"behind"));
        assert!(!outbox.is_settled());
        assert_eq!(gathered.take(), Some(Outcome::Reply(Bytes::from_static(b"*1\r\n:7\r\n"))));
        outbox.deliver(Delivery::Reply(b"reply "));
        assert!(outbox.is_settled());
        assert_eq!(outbox.flush(|ready| ready.split().to_vec()), b"before reply behind");
    }

    #[test]
    fn the_elements_of_a_reply_are_whole_replies() {
        let found = elements(b"*3\r\n+OK\r\n*2\r\n:1\r\n$1\r\nx\r\n%0\r\n");
        assert_eq!(found, [&b"+OK\r\n"[..], b"*2\r\n:1\r\n$1\r\nx\r\n", b"%0\r\n"]);
        assert!(elements(b"*0\r\n").is_empty());
    }
}
