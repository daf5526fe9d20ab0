//! Takes the upstream's own names of commands out of what a client sees.
//!
//! Redis repeats the name that was called in errors (`unknown subcommand 'x'. Try CONFIG_7F3A HELP.`), in the first line
//! of HELP, in the lines of MONITOR and in SLOWLOG GET (6.2, 7.0, 8.2, Valkey 9.1; COMMAND, INFO and CLIENT LIST show
//! original names). Only status and error lines are changed, at the places where Redis writes a name, and in the reply to
//! SLOWLOG GET arguments that are such a name; data never.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::names::{Name, Names};
use super::sink::{Delivery, Sink};

/// What of a reply may hold a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// Status and error lines.
    Lines,
    /// These, and whole bulk strings: SLOWLOG GET.
    Bulks,
}

/// Whose replies may hold a name beside those of commands that are renamed themselves.
pub(super) fn scope_of(command: &str, renamed: bool) -> Option<Scope> {
    match command {
        "slowlog|get" | "commandlog|get" => Some(Scope::Bulks),
        "monitor" => Some(Scope::Lines),
        _ => renamed.then_some(Scope::Lines),
    }
}

/// Scrubs what it is told and passes it on.
pub(super) struct View {
    pub(super) sink: Rc<dyn Sink>,
    pub(super) names: Arc<Names>,
    pub(super) scope: Scope,
    /// The reply must be seen as a whole: one command's among those of a transaction.
    pub(super) whole: bool,
    /// Pieces of a reply were passed on, so what comes is the middle of data.
    passing: Cell<bool>,
    /// With [`Scope::Bulks`], the end of the last piece: the beginning of an element that is not all there. No longer than
    /// the longest argument that SLOWLOG shows, 128 bytes, and its head.
    unread: RefCell<Vec<u8>>,
}

impl View {
    pub(super) fn new(sink: Rc<dyn Sink>, names: Arc<Names>, scope: Scope, whole: bool) -> Self {
        View { sink, names, scope, whole, passing: Cell::new(false), unread: RefCell::default() }
    }

    /// What is whole of a reply in pieces, of which `piece` is the next one; all of it, if it is the last one.
    fn next_elements(&self, piece: &[u8], last: bool) -> Vec<u8> {
        let mut unread = self.unread.borrow_mut();
        unread.extend_from_slice(piece);
        let end = if last { unread.len() } else { end_of_elements(&unread) };
        let rest = unread.split_off(end);
        std::mem::replace(&mut unread, rest)
    }
}

impl Sink for View {
    fn deliver(&self, delivery: Delivery<'_>) {
        match delivery {
            Delivery::Part(piece) if self.scope == Scope::Bulks => {
                self.passing.set(true);
                let elements = self.next_elements(piece, false);
                self.sink.deliver(Delivery::Part(&scrubbed(&elements, &self.names, self.scope)));
            }
            Delivery::Reply(piece) if self.passing.take() => {
                if self.scope == Scope::Bulks {
                    let elements = self.next_elements(piece, true);
                    return self.sink.deliver(Delivery::Reply(&scrubbed(&elements, &self.names, self.scope)));
                }
                self.sink.deliver(delivery);
            }
            Delivery::Reply(frame) => {
                self.sink.deliver(Delivery::Reply(&scrubbed(frame, &self.names, self.scope)));
            }
            Delivery::Message(frame) => {
                self.sink.deliver(Delivery::Message(&scrubbed(frame, &self.names, self.scope)));
            }
            Delivery::Part(_) => {
                self.passing.set(true);
                self.sink.deliver(delivery);
            }
            other => self.sink.deliver(other),
        }
    }

    fn takes_parts(&self) -> bool {
        !self.whole && self.sink.takes_parts()
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.sink.poll_room(cx)
    }
}

/// A whole frame without the names.
pub(super) fn scrubbed<'f>(frame: &'f [u8], names: &Names, scope: Scope) -> Cow<'f, [u8]> {
    let holds = |name: &Name| {
        let theirs = name.theirs.as_bytes();
        frame.windows(theirs.len()).any(|window| window.eq_ignore_ascii_case(theirs))
    };
    if !names.in_use().any(holds) {
        return Cow::Borrowed(frame);
    }
    let mut out = Vec::with_capacity(frame.len());
    let mut rest = frame;
    while let Some((line, after)) = memchr::memchr(b'\n', rest)
        .and_then(|end| end.checked_add(1))
        .and_then(|end| rest.split_at_checked(end))
    {
        rest = after;
        match line.first() {
            Some(b'+' | b'-') => push_line(&mut out, line, names),
            Some(b'$' | b'=' | b'!') => {
                let (payload, after) = after.split_at_checked(payload_len(line)).unwrap_or((after, b""));
                let name = names.in_use().find(|name| {
                    let text = payload.strip_suffix(b"\r\n").unwrap_or_default();
                    scope == Scope::Bulks && name.theirs.as_bytes().eq_ignore_ascii_case(text)
                });
                match name {
                    Some(Name { original, .. }) => {
                        out.extend_from_slice(format!("${}\r\n{original}\r\n", original.len()).as_bytes());
                    }
                    None => {
                        out.extend_from_slice(line);
                        out.extend_from_slice(payload);
                    }
                }
                rest = after;
            }
            _ => out.extend_from_slice(line),
        }
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Where the last element ends that is all there: a line, or a bulk string with its head.
fn end_of_elements(bytes: &[u8]) -> usize {
    let mut end: usize = 0;
    while let Some(line) = bytes.get(end..).and_then(first_line) {
        let payload = if matches!(line.first(), Some(b'$' | b'=' | b'!')) { payload_len(line) } else { 0 };
        let next = end.saturating_add(line.len()).saturating_add(payload);
        if next > bytes.len() {
            break;
        }
        end = next;
    }
    end
}

/// With its line break.
fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..=memchr::memchr(b'\n', bytes)?)
}

/// How many bytes follow a line such as `$3`, with the line break behind them.
fn payload_len(line: &[u8]) -> usize {
    let digits = line.get(1..).and_then(|rest| rest.strip_suffix(b"\r\n")).unwrap_or_default();
    let len = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
    len.map_or(0, |len| len.saturating_add(2))
}

/// Appends a line with original names, in upper case, in the places where Redis writes the name that was called.
fn push_line(out: &mut Vec<u8>, line: &[u8], names: &Names) {
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        let (before, here) = line.split_at_checked(at).unwrap_or_default();
        let place = before.len() == 1
            || matches!(before.last(), Some(b'\'' | b'`' | b'"'))
            || before.ends_with(b"Try ");
        let name = names.in_use().find(|name| {
            here.split_at_checked(name.theirs.len()).is_some_and(|(text, after)| {
                text.eq_ignore_ascii_case(name.theirs.as_bytes())
                    && matches!(after.first(), Some(b'\'' | b'`' | b'"' | b' ' | b'\r'))
            })
        });
        match name.filter(|_| place) {
            Some(name) => {
                out.extend_from_slice(name.original.to_ascii_uppercase().as_bytes());
                at = at.saturating_add(name.theirs.len());
            }
            None => {
                out.push(*byte);
                at = at.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn scrub(frame: &str, scope: Scope) -> String {
        let names = Names::new([("CONFIG", "Config_7f3a"), ("get", "a"), ("KEYS", "")]);
        String::from_utf8(scrubbed(frame.as_bytes(), &names, scope).into_owned()).unwrap()
    }

    #[test]
    fn names_are_replaced_where_redis_writes_them() {
        for (frame, expected) in [
            (
                "-ERR unknown subcommand 'x'. Try CONFIG_7F3A HELP.\r\n",
                "-ERR unknown subcommand 'x'. Try CONFIG HELP.\r\n",
            ),
            (
                "-ERR unknown command 'config_7f3a', with args\r\n",
                "-ERR unknown command 'CONFIG', with args\r\n",
            ),
            ("-ERR unknown command `A`, with args\r\n", "-ERR unknown command `GET`, with args\r\n"),
            (
                "*2\r\n+CONFIG_7F3A <subcommand> [<arg>]\r\n+A a\r\n",
                "*2\r\n+CONFIG <subcommand> [<arg>]\r\n+GET a\r\n",
            ),
            (
                "+1.000000 [0 127.0.0.1:1] \"CONFIG_7f3a\" \"get\" \"a\"\r\n",
                "+1.000000 [0 127.0.0.1:1] \"CONFIG\" \"get\" \"GET\"\r\n",
            ),
            // Words of Redis' own, and data.
            ("-WRONGTYPE Operation against a key\r\n", "-WRONGTYPE Operation against a key\r\n"),
            ("-ERR config_7f3aX 'config_7f3ax'\r\n", "-ERR config_7f3aX 'config_7f3ax'\r\n"),
            ("$11\r\nconfig_7f3a\r\n", "$11\r\nconfig_7f3a\r\n"),
            ("$19\r\n\r\n-ERR 'config_7f3a'\r\n", "$19\r\n\r\n-ERR 'config_7f3a'\r\n"),
            ("*3\r\n$-1\r\n$0\r\n\r\n:1\r\n", "*3\r\n$-1\r\n$0\r\n\r\n:1\r\n"),
            ("*2\r\n$1\r\na\r\n-ERR 'a'\r\n", "*2\r\n$1\r\na\r\n-ERR 'GET'\r\n"),
        ] {
            assert_eq!(scrub(frame, Scope::Lines), expected);
        }
    }

    #[test]
    fn the_arguments_that_slowlog_shows_get_original_names() {
        assert_eq!(
            scrub("*3\r\n$11\r\nCONFIG_7f3a\r\n$3\r\nset\r\n$12\r\nconfig_7f3ab\r\n", Scope::Bulks),
            "*3\r\n$6\r\nconfig\r\n$3\r\nset\r\n$12\r\nconfig_7f3ab\r\n"
        );
    }

    #[derive(Default)]
    struct Seen(RefCell<Vec<u8>>);

    impl Sink for Seen {
        fn deliver(&self, delivery: Delivery<'_>) {
            if let Delivery::Reply(bytes) | Delivery::Part(bytes) = delivery {
                self.0.borrow_mut().extend_from_slice(bytes);
            }
        }

        fn takes_parts(&self) -> bool {
            true
        }
    }

    #[test]
    fn slowlog_is_scrubbed_wherever_its_reply_is_cut_into_pieces() {
        let names = Arc::new(Names::new([("CONFIG", "cfg_1")]));
        let reply = b"*2\r\n*3\r\n:1\r\n$5\r\ncfg_1\r\n$7\r\n\r\n$5\r\nx\r\n$5\r\nCFG_1\r\n";
        let expected = b"*2\r\n*3\r\n:1\r\n$6\r\nconfig\r\n$7\r\n\r\n$5\r\nx\r\n$6\r\nconfig\r\n";
        for first in 0..reply.len() {
            for second in first..reply.len() {
                let seen = Rc::new(Seen::default());
                let view = View::new(seen.clone(), names.clone(), Scope::Bulks, false);
                assert!(view.takes_parts());
                view.deliver(Delivery::Part(&reply[..first]));
                view.deliver(Delivery::Part(&reply[first..second]));
                assert!(view.unread.borrow().len() < 15, "no more is kept than one element");
                view.deliver(Delivery::Reply(&reply[second..]));
                assert_eq!(&*seen.0.borrow(), expected, "{first}, {second}");
            }
        }
    }

    #[test]
    fn what_follows_pieces_of_a_reply_is_data() {
        let seen = Rc::new(Seen::default());
        let names = Arc::new(Names::new([("CONFIG", "cfg_1")]));
        let view = View::new(seen.clone(), names, Scope::Lines, false);
        view.deliver(Delivery::Part(b"$20\r\n"));
        view.deliver(Delivery::Reply(b"-ERR 'cfg_1' 'cfg_1'\r\n"));
        view.deliver(Delivery::Reply(b"-ERR 'cfg_1'\r\n"));
        assert_eq!(*seen.0.borrow(), b"$20\r\n-ERR 'cfg_1' 'cfg_1'\r\n-ERR 'CONFIG'\r\n");
    }
}
