//! What a user with a key fence (`acl.fence`) gets of what the upstream says about keys: what tells of the user's own.
//!
//! - [`KeyFilter`]: the replies to SCAN, KEYS and PUBSUB CHANNELS, without the keys of others. It takes a reply in
//!   pieces, and holds no more than what the user may see of it.
//! - [`FencedReply`]: the way of such a reply from a link to the [`Outbox`]
//! - [`message`]: keyspace events and what tracking tells
//!
//! The rules are those of the session's user when the request was sent; for messages and in transactions, those of the
//! session's user now. SECURITY: what is not understood is not passed on.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, BytesMut};

use super::Outbox;
use super::state::State;
use crate::acl::User;
use crate::command::View;
use crate::policy::KeyEvent;
use crate::resp::{Piece, Protocol, encode, items};
use crate::upstream::{Delivery, Sink};

const STRANGE: &[u8] =
    b"ERR redkeep: the upstream's reply was not understood, and could not be filtered (acl.fence)";

/// Takes the keys out of a reply that are outside the user's patterns.
pub(super) struct KeyFilter {
    view: View,
    /// `None` sees nothing.
    user: Option<Arc<User>>,
    database: u32,
    stage: Stage,
    /// The beginning of a piece that is not all there.
    unread: BytesMut,
    /// SCAN's cursor as it came, or an error.
    front: BytesMut,
    /// What the user sees, as it came.
    seen: BytesMut,
    /// How many items that is.
    count: usize,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begin,
    Cursor,
    Head,
    /// So many items.
    Items(u64),
    /// The rest of an error.
    Error,
    /// Nobody knows.
    Strange,
}

impl KeyFilter {
    /// One for a reply to the session of this state.
    pub(super) fn new(view: View, state: &State) -> Self {
        KeyFilter {
            view,
            user: state.user.clone(),
            database: state.db,
            stage: Stage::Begin,
            unread: BytesMut::new(),
            front: BytesMut::new(),
            seen: BytesMut::new(),
            count: 0,
        }
    }

    /// Takes the next bytes of the reply.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.unread.is_empty() {
            let rest = self.take_pieces(bytes);
            self.unread.extend_from_slice(rest);
            return;
        }
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let taken = unread.len().saturating_sub(self.take_pieces(&unread).len());
        unread.advance(taken);
        self.unread = unread;
    }

    /// How many bytes it holds.
    pub(super) fn held(&self) -> usize {
        self.unread.len().saturating_add(self.seen.len())
    }

    /// Writes the reply, all of which was fed, as the user may see it.
    pub(super) fn finish(&self, out: &mut BytesMut) {
        match self.stage {
            Stage::Error => out.extend_from_slice(&self.front),
            Stage::Items(0) if self.unread.is_empty() => {
                if self.view == View::Scan {
                    encode::array(out, 2);
                    out.extend_from_slice(&self.front);
                }
                encode::array(out, self.count);
                out.extend_from_slice(&self.seen);
            }
            _ => encode::error(out, STRANGE),
        }
    }

    /// Takes all pieces that are there; returns what is left.
    fn take_pieces<'b>(&mut self, mut bytes: &'b [u8]) -> &'b [u8] {
        if self.stage == Stage::Begin && matches!(bytes.first(), Some(b'-' | b'!')) {
            self.stage = Stage::Error;
        }
        while !bytes.is_empty() {
            match (self.stage, Piece::at_start_of(bytes)) {
                (Stage::Error, _) => {
                    self.front.extend_from_slice(bytes);
                    return &[];
                }
                (Stage::Strange, _) => return &[],
                (_, Piece::Incomplete) => return bytes,
                (Stage::Begin, Piece::Array { items: 2, rest }) if self.view == View::Scan => {
                    (self.stage, bytes) = (Stage::Cursor, rest);
                }
                (Stage::Cursor, Piece::Bulk { whole, rest, .. }) => {
                    self.front.extend_from_slice(whole);
                    (self.stage, bytes) = (Stage::Head, rest);
                }
                (Stage::Begin, Piece::Array { items, rest }) if self.view != View::Scan => {
                    (self.stage, bytes) = (Stage::Items(items), rest);
                }
                (Stage::Head, Piece::Array { items, rest }) => {
                    (self.stage, bytes) = (Stage::Items(items), rest);
                }
                (Stage::Items(left @ 1..), Piece::Bulk { text, whole, rest }) => {
                    if self.shows(text) {
                        self.seen.extend_from_slice(whole);
                        self.count = self.count.saturating_add(1);
                    }
                    (self.stage, bytes) = (Stage::Items(left.saturating_sub(1)), rest);
                }
                _ => self.stage = Stage::Strange,
            }
        }
        bytes
    }

    fn shows(&self, item: &[u8]) -> bool {
        self.user.as_ref().is_some_and(|user| match self.view {
            View::Keys | View::Scan => user.sees_key(item, Some(self.database)),
            View::Channels => match KeyEvent::of(item) {
                Some(KeyEvent::InChannel { database, key }) => user.sees_key(key, Some(database)),
                Some(KeyEvent::Unknown) => false,
                Some(KeyEvent::InMessage { .. }) | None => true,
            },
            View::Info => false,
        })
    }
}

/// Delivers a reply as the user may see it.
pub(super) struct FencedReply {
    outbox: Rc<Outbox>,
    filter: RefCell<KeyFilter>,
}

impl FencedReply {
    pub(super) fn new(outbox: Rc<Outbox>, filter: KeyFilter) -> Self {
        FencedReply { outbox, filter: RefCell::new(filter) }
    }
}

impl Sink for FencedReply {
    fn deliver(&self, delivery: Delivery<'_>) {
        let mut filter = self.filter.borrow_mut();
        match delivery {
            Delivery::Part(piece) => {
                // Nobody waits for it any more.
                if !self.outbox.is_closed() {
                    filter.feed(piece);
                }
                self.outbox.gather(filter.held());
            }
            Delivery::Reply(reply) => {
                filter.feed(reply);
                let mut seen = BytesMut::new();
                filter.finish(&mut seen);
                self.outbox.gather(0);
                self.outbox.deliver(Delivery::Reply(&seen));
            }
            other => {
                self.outbox.gather(0);
                self.outbox.deliver(other);
            }
        }
    }

    fn takes_parts(&self) -> bool {
        true
    }
}

/// What the user may see of a message; `None`: nothing of it. What is no message, such as a line of MONITOR, is nothing
/// for it, either.
pub(super) fn message<'f>(user: &User, frame: &'f [u8]) -> Option<Cow<'f, [u8]>> {
    let mut words = items(frame);
    let first = words.next()?;
    if first == b"invalidate" {
        return invalidation(user, frame);
    }
    let channel = match first {
        b"message" | b"smessage" => words.next()?,
        b"pmessage" => words.nth(1)?,
        _ => return None,
    };
    let payload = words.next()?;
    let shown = match KeyEvent::of(channel) {
        None => true,
        Some(KeyEvent::InChannel { database, key }) => user.sees_key(key, Some(database)),
        Some(KeyEvent::InMessage { database }) => user.sees_key(payload, Some(database)),
        Some(KeyEvent::Unknown) => false,
    };
    shown.then_some(Cow::Borrowed(frame))
}

/// What tracking tells, which no database is told of: the keys that have changed, or a null for all.
fn invalidation<'f>(user: &User, frame: &'f [u8]) -> Option<Cow<'f, [u8]>> {
    const WORD: &[u8] = b"$10\r\ninvalidate\r\n";
    let at = memchr::memmem::find(frame, WORD)?;
    let told = frame.get(at.checked_add(WORD.len())?..)?;
    if matches!(told, b"_\r\n" | b"*-1\r\n" | b"$-1\r\n") {
        return Some(Cow::Borrowed(frame));
    }
    let Piece::Array { items: count, .. } = Piece::at_start_of(told) else { return None };
    let keys: Vec<&[u8]> = items(told).collect();
    let seen: Vec<&[u8]> = keys.iter().copied().filter(|key| user.sees_key(key, None)).collect();
    if keys.len() as u64 != count || seen.is_empty() {
        return None;
    }
    if seen.len() == keys.len() {
        return Some(Cow::Borrowed(frame));
    }
    let mut out = BytesMut::new();
    let protocol = if frame.starts_with(b">") { Protocol::Resp3 } else { Protocol::Resp2 };
    encode::push(&mut out, 2, protocol);
    encode::bulk(&mut out, b"invalidate");
    encode::array(&mut out, seen.len());
    seen.iter().for_each(|key| encode::bulk(&mut out, key));
    Some(Cow::Owned(out.to_vec()))
}

#[cfg(test)]
mod tests;
