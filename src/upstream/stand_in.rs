//! What a leased link's connection is set to beyond what it was dialled for, and the requests of Redkeep's own that set it.
//!
//! A session answers SELECT, HELLO and CLIENT NO-TOUCH itself. While it keeps a leased link, that has to follow: before
//! the next request ([`Link::adopt`]), at once where the form of messages changes ([`Link::greet`]), or in the very place of
//! the command in a transaction ([`Link::stand_in`]).
//!
//! SECURITY: a link that was set to something never serves another session.

use std::rc::Rc;

use super::dial::LinkKey;
use super::expect::Expect;
use super::link::Link;
use super::sink::Sink;
use crate::resp::{Protocol, RequestBuf};

/// What the upstream runs in a transaction in the place of a command that Redkeep answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// HELLO with this version.
    Hello(Protocol),
    /// CLIENT NO-TOUCH.
    NoTouch(bool),
    /// A command without effect (UNWATCH), which keeps the place.
    Nothing,
    /// SELECT.
    Select(u32),
}

/// What a connection is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Database and protocol.
    pub key: LinkKey,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
}

impl StandIn {
    fn request(self) -> RequestBuf {
        match self {
            StandIn::Hello(Protocol::Resp2) => RequestBuf::from_args(&["HELLO", "2"]),
            StandIn::Hello(Protocol::Resp3) => RequestBuf::from_args(&["HELLO", "3"]),
            StandIn::NoTouch(on) => {
                RequestBuf::from_args(&["CLIENT", "NO-TOUCH", if on { "ON" } else { "OFF" }])
            }
            StandIn::Nothing => RequestBuf::from_args(&["UNWATCH"]),
            StandIn::Select(db) => RequestBuf::from_args(&["SELECT", &db.to_string()]),
        }
    }
}

impl Standing {
    /// After the upstream has run `stand_in`.
    #[must_use]
    pub fn after(mut self, stand_in: StandIn) -> Standing {
        match stand_in {
            StandIn::Hello(protocol) => self.key.protocol = protocol,
            StandIn::NoTouch(on) => self.no_touch = on,
            StandIn::Nothing => {}
            StandIn::Select(db) => self.key.db = db,
        }
        self
    }
}

impl Link {
    /// Has the transaction that is open on this link queue `stand_in`. False as with [`Link::send`].
    #[must_use]
    pub fn stand_in(&self, stand_in: StandIn, sink: Rc<dyn Sink>) -> bool {
        if stand_in != StandIn::Nothing {
            self.stain();
        }
        self.send_request(&stand_in.request(), sink, Expect::Queued)
    }

    /// Notes what the connection is set to now that a transaction with stand-ins has run.
    pub fn note_standing(&self, stand_ins: impl Iterator<Item = StandIn>) {
        let mut inner = self.inner.borrow_mut();
        inner.standing = stand_ins.fold(inner.standing, Standing::after);
    }

    /// Sets the connection to `wanted`, so that the next request finds it so. An error of the upstream poisons the link.
    pub fn adopt(&self, wanted: Standing) {
        let standing = self.inner.borrow().standing;
        if standing == wanted {
            return;
        }
        self.stain();
        self.inner.borrow_mut().standing = wanted;
        if standing.key.protocol != wanted.key.protocol {
            self.send_quietly(
                &StandIn::Hello(wanted.key.protocol).request(),
                Expect::Hello(wanted.key.protocol),
            );
        }
        if standing.key.db != wanted.key.db {
            self.send_quietly(&StandIn::Select(wanted.key.db).request(), Expect::Done);
        }
        if standing.no_touch != wanted.no_touch {
            self.send_quietly(&StandIn::NoTouch(wanted.no_touch).request(), Expect::Done);
        }
    }

    /// Changes the protocol at once; `sink` gets the upstream's greeting, which stands between messages of the old form
    /// and of the new one. False as with [`Link::send`].
    #[must_use]
    pub fn greet(&self, protocol: Protocol, sink: Rc<dyn Sink>) -> bool {
        self.stain();
        self.inner.borrow_mut().standing.key.protocol = protocol;
        self.send_request(&StandIn::Hello(protocol).request(), sink, Expect::Hello(protocol))
    }
}
