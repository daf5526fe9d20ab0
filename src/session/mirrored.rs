//! Replies on links that are logged in as a mirrored user.
//!
//! Since 7.2 Redis' errors name the user. The client is told its own name, not that of its mirror; so its errors are those
//! of a direct connection, byte for byte.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use memchr::{memchr, memmem};

use super::Outbox;
use crate::policy::ScriptDenial;
use crate::resp::encode;
use crate::upstream::{Delivery, Mirror, Sink};

/// The way of the replies of one mirrored user to the outbox.
///
/// INVARIANT: each request takes exactly one slot of the outbox and gets exactly one reply.
pub(super) struct MirrorView {
    outbox: Rc<Outbox>,
    mirror: Arc<Mirror>,
    /// Pieces of a reply were passed on: what is left of it is no whole reply.
    partial: Cell<bool>,
}

impl MirrorView {
    pub(super) fn new(outbox: Rc<Outbox>, mirror: Arc<Mirror>) -> MirrorView {
        MirrorView { outbox, mirror, partial: Cell::new(false) }
    }

    /// As whom the requests run whose replies come here.
    pub(super) fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }
}

impl Sink for MirrorView {
    fn deliver(&self, delivery: Delivery<'_>) {
        let partial = self.partial.replace(matches!(delivery, Delivery::Part(_)));
        match delivery {
            Delivery::Reply(reply) if !partial => match restore_name(reply, &self.mirror) {
                Some(restored) => self.outbox.deliver(Delivery::Reply(&restored)),
                None => self.outbox.deliver(delivery),
            },
            Delivery::NotSent if self.mirror.is_refused() => {
                self.outbox.deliver(Delivery::Reply(&refusal()));
            }
            _ => self.outbox.deliver(delivery),
        }
    }

    fn takes_parts(&self) -> bool {
        true
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.outbox.poll_room(cx)
    }
}

/// What the client is told whose mirror the upstream has refused.
pub(super) fn refusal() -> BytesMut {
    let mut reply = BytesMut::new();
    encode::error(&mut reply, ScriptDenial::NoMirror.text().as_bytes());
    reply
}

/// The reply with the user's own name in its errors; `None` if it is right as it is.
pub(super) fn restore_name(reply: &[u8], mirror: &Mirror) -> Option<BytesMut> {
    rename_in_errors(reply, mirror.name().as_bytes(), mirror.user())
}

/// Replaces `name` in the errors of a reply, wherever in it they stand. What a script made of such a text (a string)
/// stays as it is: it is data.
fn rename_in_errors(reply: &[u8], name: &[u8], by: &[u8]) -> Option<BytesMut> {
    let finder = memmem::Finder::new(name);
    finder.find(reply)?;
    let mut renamed = BytesMut::with_capacity(reply.len());
    let mut rest = reply;
    // Whatever is nested is a line with its number of elements, and then these, one after the other.
    while let Some(end) = memchr(b'\n', rest) {
        let (line, after) = rest.split_at_checked(end.saturating_add(1))?;
        match line.first() {
            Some(b'-') => {
                let mut from = 0;
                for at in finder.find_iter(line) {
                    renamed.extend_from_slice(line.get(from..at)?);
                    renamed.extend_from_slice(by);
                    from = at.saturating_add(name.len());
                }
                renamed.extend_from_slice(line.get(from..)?);
                rest = after;
            }
            Some(b'$' | b'=') => {
                renamed.extend_from_slice(line);
                let digits = line.get(1..)?.trim_ascii_end();
                let length = std::str::from_utf8(digits).ok()?.parse::<i64>().ok()?;
                // -1 is the null of RESP2, without bytes and line end.
                let length = usize::try_from(length).map_or(0, |length| length.saturating_add(2));
                let (data, after) = after.split_at_checked(length)?;
                renamed.extend_from_slice(data);
                rest = after;
            }
            _ => {
                renamed.extend_from_slice(line);
                rest = after;
            }
        }
    }
    renamed.extend_from_slice(rest);
    Some(renamed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(reply: &str) -> Option<String> {
        let renamed = rename_in_errors(reply.as_bytes(), b"m:12", b"app")?;
        Some(String::from_utf8(renamed.to_vec()).unwrap())
    }

    #[test]
    fn the_name_is_replaced_in_errors_and_nowhere_else() {
        for (reply, expected) in [
            ("-ERR User m:12 has no\r\n", Some("-ERR User app has no\r\n")),
            ("-ERR m:12 m:12\r\n", Some("-ERR app app\r\n")),
            ("-ERR other\r\n", None),
            ("$4\r\nm:12\r\n", Some("$4\r\nm:12\r\n")),
            ("+m:12\r\n", Some("+m:12\r\n")),
            ("*3\r\n$6\r\n-m:12x\r\n-m:12\r\n:1\r\n", Some("*3\r\n$6\r\n-m:12x\r\n-app\r\n:1\r\n")),
            ("*2\r\n$-1\r\n-m:12\r\n", Some("*2\r\n$-1\r\n-app\r\n")),
            ("%1\r\n$8\r\na\r\n-m:12\r\n-x m:12\r\n", Some("%1\r\n$8\r\na\r\n-m:12\r\n-x app\r\n")),
            ("*1\r\n*1\r\n-m:12\r\n", Some("*1\r\n*1\r\n-app\r\n")),
        ] {
            assert_eq!(renamed(reply).as_deref(), expected, "{reply:?}");
        }
    }
}
