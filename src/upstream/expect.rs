//! What a link expects from the upstream next, and what a frame means in the light of it.
//!
//! Owns the one place where messages of subscriptions are told apart from replies. Only a link that was leased for
//! subscriptions ever takes a frame for a message; any doubt is an error, which poisons the link. In RESP3 messages
//! and confirmations are pushes. In RESP2 they are arrays like others: Redis then accepts nothing on that connection
//! but the subscription commands and PING, so where such a request is the oldest, an array is told by its first word.

use crate::resp::{Protocol, ReplyKind, announced_items, items};

/// The first words of messages.
const MESSAGES: [&[u8]; 3] = [b"message", b"pmessage", b"smessage"];

/// The first word of what tracking tells.
const INVALIDATE: &[u8] = b"invalidate";

const UNASKED: &str = "a push that nobody asked for";

/// What the upstream will send for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A reply, before which messages may come though they look like replies: PING of a RESP2 subscriber.
    AmidMessages,
    /// So many confirmations that begin with `word` (`subscribe`, `punsubscribe` ...), or a single error.
    Confirmations {
        /// The command, in lower case.
        word: &'static str,
        /// How many are still to come; at least 1.
        left: usize,
    },
    /// `+OK`, `+PONG` or a number, to what Redkeep itself has sent.
    Done,
    /// The reply to the EXEC of a transaction that may have changed what comes on the link.
    Executed {
        /// Messages may come from then on.
        listens: bool,
        /// The protocol that it has changed to, if it has run.
        protocol: Option<Protocol>,
    },
    /// The greeting that answers a HELLO of Redkeep's own with this version.
    Hello(Protocol),
    /// The reply to MONITOR, after which lines come at any time.
    Monitor,
    /// One reply, which does not say that the request ran: a transaction only queues it.
    Queued,
    /// One reply.
    Reply,
    /// The reply to CLIENT TRACKING, before and after which messages may come (RESP3).
    Tracking,
}

impl Expect {
    /// Whether messages may come from the moment that the request is sent.
    pub(super) fn brings_messages(self) -> bool {
        matches!(
            self,
            Expect::Confirmations { .. }
                | Expect::Executed { listens: true, .. }
                | Expect::Monitor
                | Expect::Tracking
        )
    }

    /// The protocol of what comes behind `frame`, which is the reply, if that has changed it.
    pub(super) fn protocol_after(self, frame: &[u8]) -> Option<Protocol> {
        match self {
            Expect::Executed { protocol, .. } if announced_items(frame).is_some() => protocol,
            Expect::Hello(protocol) => Some(protocol),
            _ => None,
        }
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// One of the confirmations that the oldest request expects.
    Confirmation,
    /// A message of a subscription.
    Message,
    /// The reply that completes the oldest request, if there is one.
    Reply,
}

/// What `frame`, of this `kind`, means on a link of this protocol. `listening`: subscriptions were asked for on the
/// link. `oldest`: what the oldest open request expects.
///
/// # Errors
/// What is wrong: the link can no longer be trusted.
pub(super) fn meaning(
    frame: &[u8],
    kind: ReplyKind,
    protocol: Protocol,
    listening: bool,
    oldest: Option<Expect>,
) -> Result<Meaning, &'static str> {
    let push = kind == ReplyKind::Push;
    if push && (protocol == Protocol::Resp2 || !listening) {
        return Err(UNASKED);
    }
    let ordinary = matches!(
        oldest,
        Some(
            Expect::Done
                | Expect::Executed { .. }
                | Expect::Hello(_)
                | Expect::Monitor
                | Expect::Queued
                | Expect::Reply
                | Expect::Tracking
        )
    );
    if push || (protocol == Protocol::Resp2 && listening && !ordinary) {
        let first = items(frame).next().unwrap_or_default();
        if MESSAGES.contains(&first) || (push && first == INVALIDATE) {
            return Ok(Meaning::Message);
        }
        if matches!(oldest, Some(Expect::Confirmations { word, .. }) if word.as_bytes() == first) {
            return Ok(Meaning::Confirmation);
        }
    }
    match oldest {
        _ if push => Err(UNASKED),
        Some(Expect::Confirmations { .. }) if kind != ReplyKind::Error => {
            Err("a reply in the place of a confirmation")
        }
        Some(Expect::Hello(_)) if kind == ReplyKind::Error => {
            Err("a request of redkeep's own that did not run")
        }
        Some(Expect::Done) if !is_done(frame) => Err("a request of redkeep's own that did not run"),
        _ => Ok(Meaning::Reply),
    }
}

/// Whether a frame says that DISCARD, UNWATCH, SPUBLISH or PING was done.
fn is_done(frame: &[u8]) -> bool {
    matches!(frame, b"+OK\r\n" | b"+PONG\r\n" | [b':', ..])
}

/// Whether a frame is a line of MONITOR: `+1700000000.000000 [0 127.0.0.1:6379] "PING"`. No reply that Redis itself
/// gives looks like that; a script could make one, which its own session would take for a line.
pub(super) fn is_monitor_line(frame: &[u8]) -> bool {
    let Some(line) = frame.strip_prefix(b"+") else { return false };
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let seconds = digits(line);
    let rest = line.get(seconds..).unwrap_or_default();
    let fraction = rest.strip_prefix(b".").map_or(0, digits);
    seconds > 0 && fraction == 6 && rest.get(7..).is_some_and(|rest| rest.starts_with(b" ["))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ReplyScanner;

    const SUBSCRIBE: Expect = Expect::Confirmations { word: "subscribe", left: 2 };

    fn of(frame: &str, protocol: Protocol, listening: bool, oldest: Option<Expect>) -> Option<Meaning> {
        let frame = frame.as_bytes();
        let found = ReplyScanner::new(1 << 20).scan(frame).unwrap().unwrap();
        assert_eq!(found.len, frame.len());
        meaning(frame, found.kind, protocol, listening, oldest).ok()
    }

    #[test]
    fn in_resp3_only_pushes_are_messages_and_confirmations() {
        let resp3 = |frame: &str, listening, oldest| of(frame, Protocol::Resp3, listening, oldest);
        for word in ["message", "pmessage", "smessage"] {
            let push = format!(">2\r\n${}\r\n{word}\r\n$1\r\nc\r\n", word.len());
            for oldest in [None, Some(Expect::Reply), Some(Expect::Queued), Some(SUBSCRIBE)] {
                assert_eq!(resp3(&push, true, oldest), Some(Meaning::Message), "{word} {oldest:?}");
                assert_eq!(resp3(&push, false, oldest), None, "{word} {oldest:?}");
            }
            let array = push.replace('>', "*");
            assert_eq!(resp3(&array, true, Some(Expect::Reply)), Some(Meaning::Reply));
            assert_eq!(resp3(&array, true, Some(SUBSCRIBE)), None);
        }
        let confirmation = ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
        assert_eq!(resp3(confirmation, true, Some(SUBSCRIBE)), Some(Meaning::Confirmation));
        for oldest in [None, Some(Expect::Reply), Some(Expect::Confirmations { word: "psubscribe", left: 1 })]
        {
            assert_eq!(resp3(confirmation, true, oldest), None, "{oldest:?}");
        }
        let invalidate = ">2\r\n$10\r\ninvalidate\r\n*0\r\n";
        for oldest in [None, Some(Expect::Reply), Some(Expect::Tracking), Some(SUBSCRIBE)] {
            assert_eq!(resp3(invalidate, true, oldest), Some(Meaning::Message), "{oldest:?}");
            assert_eq!(resp3(invalidate, false, oldest), None, "{oldest:?}");
        }
        assert_eq!(resp3(">2\r\n$6\r\nothers\r\n*0\r\n", true, Some(Expect::Reply)), None);
        assert_eq!(resp3("-NOPERM x\r\n", true, Some(SUBSCRIBE)), Some(Meaning::Reply));
        assert_eq!(resp3("+OK\r\n", true, Some(SUBSCRIBE)), None);
    }

    #[test]
    fn in_resp2_an_array_is_a_message_only_where_no_ordinary_reply_can_come() {
        let resp2 = |frame: &str, listening, oldest| of(frame, Protocol::Resp2, listening, oldest);
        let message = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n";
        for oldest in [None, Some(SUBSCRIBE), Some(Expect::AmidMessages)] {
            assert_eq!(resp2(message, true, oldest), Some(Meaning::Message), "{oldest:?}");
        }
        for oldest in [Expect::Reply, Expect::Queued] {
            assert_eq!(
                resp2(message, true, Some(oldest)),
                Some(Meaning::Reply),
                "a list may look like a message"
            );
        }
        assert_eq!(resp2(message, false, None), Some(Meaning::Reply), "for which nobody waits");
        let confirmation = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
        assert_eq!(resp2(confirmation, true, Some(SUBSCRIBE)), Some(Meaning::Confirmation));
        assert_eq!(resp2(confirmation, true, None), Some(Meaning::Reply), "for which nobody waits");
        let pong = "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
        assert_eq!(resp2(pong, true, Some(Expect::AmidMessages)), Some(Meaning::Reply));
        assert_eq!(resp2(pong, true, Some(SUBSCRIBE)), None);
        assert_eq!(resp2("-ERR x\r\n", true, Some(Expect::AmidMessages)), Some(Meaning::Reply));
        assert_eq!(resp2("-NOPERM x\r\n", true, Some(SUBSCRIBE)), Some(Meaning::Reply));
        assert_eq!(resp2(">2\r\n$7\r\nmessage\r\n$1\r\nc\r\n", true, Some(SUBSCRIBE)), None);
    }

    #[test]
    fn a_line_of_monitor_is_told_from_every_reply() {
        assert!(is_monitor_line(b"+1795321180.482322 [0 127.0.0.1:44374] \"PING\"\r\n"));
        assert!(is_monitor_line(b"+1795321180.482322 [0 unix:/tmp/s] \"GET\" \"x\"\r\n"));
        assert!(is_monitor_line(b"+1795321180.482322 [3 lua] \"get\" \"k\"\r\n"));
        for reply in
            ["+OK\r\n", "+PONG\r\n", "+QUEUED\r\n", "+\r\n", "+17\r\n", "+17.123456\r\n", "+.123456 [\r\n"]
        {
            assert!(!is_monitor_line(reply.as_bytes()), "{reply}");
        }
        assert!(!is_monitor_line(b"-1795321180.482322 [0 x]\r\n"));
        assert!(!is_monitor_line(b"$30\r\n1795321180.482322 [0 x] \"PING\"\r\n"));
    }

    #[test]
    fn what_redkeep_itself_asks_must_succeed() {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            assert_eq!(of("+OK\r\n", protocol, true, Some(Expect::Done)), Some(Meaning::Reply));
            assert_eq!(of(":0\r\n", protocol, true, Some(Expect::Done)), Some(Meaning::Reply));
            assert_eq!(of("+QUEUED\r\n", protocol, true, Some(Expect::Done)), None);
            assert_eq!(of("-ERR x\r\n", protocol, true, Some(Expect::Done)), None);
        }
    }
}
