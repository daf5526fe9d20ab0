//! Raw bytes in, ends of replies out. `DEBUG PROTOCOL`-like types and what scripts return, as redis 7.0.15 sends it.

use proptest::prelude::*;
use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::OwnedFrame;

use super::*;

const MAX_BULK_BYTES: usize = 1 << 20;

/// The replies of a stream and their kinds, then the error or the number of bytes that are left.
type Framed = (Vec<(Vec<u8>, ReplyKind)>, Result<usize, ReplyError>);

/// Plays a link that reads `chunks`, and after each passes on what it can of the reply that has begun.
fn passed_on<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Framed {
    let mut scanner = ReplyScanner::new(MAX_BULK_BYTES);
    let (mut buffer, mut begun) = (Vec::new(), Vec::new());
    let mut found = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            match scanner.scan(&buffer) {
                Ok(Some(frame)) => {
                    begun.extend(buffer.drain(..frame.len));
                    found.push((std::mem::take(&mut begun), frame.kind));
                }
                Ok(None) => {
                    begun.extend(buffer.drain(..scanner.pass(buffer.len())));
                    break;
                }
                Err(error) => return (found, Err(error)),
            }
        }
    }
    (found, Ok(begun.len() + buffer.len()))
}

/// Plays a link that reads `chunks`.
fn replies<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Framed {
    let mut scanner = ReplyScanner::new(MAX_BULK_BYTES);
    let mut buffer = Vec::new();
    let mut found = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            match scanner.scan(&buffer) {
                Ok(Some(frame)) => found.push((buffer.drain(..frame.len).collect(), frame.kind)),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(scanner.scan(&buffer), Err(error), "an error stays");
                    return (found, Err(error));
                }
            }
        }
    }
    (found, Ok(buffer.len()))
}

fn whole(stream: &[u8]) -> Result<ReplyKind, ReplyError> {
    let (found, end) = replies([stream]);
    assert_eq!(end?, 0, "{}", stream.escape_ascii());
    assert_eq!(found.len(), 1, "{}", stream.escape_ascii());
    Ok(found[0].1)
}

const REPLIES: &[&str] = &[
    "+OK\r\n",
    "+\r\n",
    ":0\r\n",
    ":-1\r\n",
    ":9223372036854775807\r\n",
    ":-9223372036854775808\r\n",
    "$0\r\n\r\n",
    "$5\r\na\r\nb\n\r\n",
    "$-1\r\n",
    "*-1\r\n",
    "*0\r\n",
    "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
    "*1\r\n-ERR inside\r\n",
    "_\r\n",
    "#t\r\n",
    "#f\r\n",
    ",3.14\r\n",
    ",-nan\r\n",
    ",inf\r\n",
    ",9.9999999999999995e-08\r\n",
    "(3492890328409238509324850943850943825024385\r\n",
    "(abc  d\r\n",
    "(\r\n",
    "=8\r\ntxt:abcd\r\n",
    "%0\r\n",
    "%2\r\n$1\r\na\r\n:1\r\n*1\r\n+k\r\n%1\r\n+b\r\n~1\r\n$1\r\nx\r\n",
    "~2\r\n+a\r\n_\r\n",
    "|1\r\n+ttl\r\n:3600\r\n*1\r\n|1\r\n+a\r\n*1\r\n+b\r\n|0\r\n+x\r\n",
    "|1\r\n+a\r\n:1\r\n|1\r\n+b\r\n:1\r\n:7\r\n",
];

const ERRORS: &[&str] = &[
    "-ERR a\r\n",
    "-\r\n",
    "!21\r\nSYNTAX invalid syntax\r\n",
    "|1\r\n+a\r\n+b\r\n-ERR x\r\n",
    "-ERR \u{7f}\t\r\n",
];

const PUSHES: &[&str] = &[
    ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\np\r\n",
    ">2\r\n$10\r\ninvalidate\r\n_\r\n",
    ">0\r\n",
    "|1\r\n+a\r\n:1\r\n>1\r\n+x\r\n",
];

#[test]
fn every_type_ends_where_it_ends() {
    for (streams, kind) in
        [(REPLIES, ReplyKind::Reply), (ERRORS, ReplyKind::Error), (PUSHES, ReplyKind::Push)]
    {
        for stream in streams {
            assert_eq!(whole(stream.as_bytes()), Ok(kind), "{stream:?}");
            for len in 0..stream.len() {
                let (found, end) = replies([&stream.as_bytes()[..len]]);
                assert_eq!((found, end), (vec![], Ok(len)), "{stream:?} cut to {len}");
            }
        }
    }
}

#[test]
fn where_the_network_cuts_makes_no_difference() {
    let stream = [REPLIES, ERRORS, PUSHES].concat().concat().into_bytes();
    let expected = replies([stream.as_slice()]);
    assert_eq!(expected.0.len(), REPLIES.len() + ERRORS.len() + PUSHES.len());
    for first in 0..=stream.len() {
        let (head, tail) = stream.split_at(first);
        assert_eq!(replies([head, tail]), expected, "at {first}");
    }
    for size in 1..20 {
        assert_eq!(replies(stream.chunks(size)), expected, "in pieces of {size}");
    }
}

#[test]
fn what_was_passed_on_is_not_missed() {
    let stream = [REPLIES, ERRORS, PUSHES].concat().concat().into_bytes();
    let expected = replies([stream.as_slice()]);
    for size in 1..20 {
        assert_eq!(passed_on(stream.chunks(size)), expected, "in pieces of {size}");
    }
}

#[test]
fn of_a_large_reply_little_need_be_kept() {
    let value = vec![b'x'; MAX_BULK_BYTES];
    for (head, tail) in [(format!("*2\r\n${}\r\n", value.len()), "\r\n:1\r\n"), ("+".to_owned(), "\r\n")] {
        let mut scanner = ReplyScanner::new(MAX_BULK_BYTES);
        let mut buffer = head.into_bytes();
        for piece in value.chunks(1000) {
            buffer.extend_from_slice(piece);
            assert_eq!(scanner.scan(&buffer), Ok(None));
            buffer.drain(..scanner.pass(buffer.len()));
            assert!(buffer.is_empty());
        }
        buffer.extend_from_slice(tail.as_bytes());
        let len = buffer.len();
        assert_eq!(scanner.scan(&buffer), Ok(Some(ReplyFrame { len, kind: ReplyKind::Reply })));
    }
    let mut scanner = ReplyScanner::new(1000);
    assert_eq!(scanner.scan(b"+x"), Ok(None));
    assert_eq!(scanner.pass(2), 2);
    assert_eq!(scanner.scan(&value[..1000]), Err(ReplyError::BulkTooLong), "a line is bounded as a whole");
}

#[test]
fn what_is_no_reply_is_refused() {
    for (error, streams) in [
        (
            ReplyError::InvalidNumber,
            [
                "$+1\r\na\r\n",
                "$01\r\na\r\n",
                "$ 1\r\na\r\n",
                "$\r\n",
                "$1\n",
                "$?\r\n",
                "*?\r\n",
                "%?\r\n",
                "*+1\r\n",
                ":+1\r\n",
                ":\r\n",
                ":-\r\n",
                ":-0\r\n",
                ":01\r\n",
                ":1a\r\n",
                ":9223372036854775808\r\n",
                ":-9223372036854775809\r\n",
                "*9223372036854775808\r\n",
                "%9223372036854775807\r\n",
                "%4611686018427387904\r\n",
                "!-1\r\n",
                "%-1\r\n",
                "=-1\r\n",
            ]
            .as_slice(),
        ),
        (
            ReplyError::InvalidLine,
            &[
                "+a\nb\r\n",
                "+a\rb\r\n",
                "-ERR \n\r\n",
                "_x\r\n",
                "#x\r\n",
                "#true\r\n",
                "$-2\r\n",
                "*-2\r\n",
                "*-10\r\n",
                "$-1x",
            ],
        ),
        (ReplyError::MissingCrlf, &["$1\r\nab\r\n", "$1\r\na\n\n", "=3\r\ntxt:\r\n"]),
        (
            ReplyError::NestedPush,
            &["*1\r\n>1\r\n+a\r\n", "%1\r\n+a\r\n>0\r\n", "|1\r\n+a\r\n>0\r\n", ">1\r\n>0\r\n"],
        ),
        (ReplyError::BulkTooLong, &["$1048577\r\n", "=9999999999999999999\r\n"]),
        (ReplyError::UnknownType(b';'), &[";4\r\n", "*1\r\n;"]),
        (ReplyError::UnknownType(b'.'), &[".\r\n"]),
        (ReplyError::UnknownType(b'P'), &["PING\r\n"]),
        (ReplyError::UnknownType(b'\r'), &["\r\n"]),
    ] {
        for stream in streams {
            assert_eq!(replies([stream.as_bytes()]).1, Err(error), "{stream:?}");
            assert_eq!(replies(stream.as_bytes().chunks(1)).1, Err(error), "{stream:?} byte by byte");
        }
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_stack_overflow() {
    for opening in ["*1\r\n", "%1\r\n", "~1\r\n", "|1\r\n"] {
        let endless = opening.repeat(1_000_000);
        assert_eq!(replies([endless.as_bytes()]).1, Err(ReplyError::TooDeep), "{opening:?}");
    }
}

#[test]
fn the_deepest_reply_that_a_script_can_return_passes() {
    let deepest = format!("{}-ERR reached lua stack limit\r\n", "*1\r\n".repeat(7_995));
    assert_eq!(whole(deepest.as_bytes()), Ok(ReplyKind::Reply));
}

#[test]
fn announced_maxima_reserve_nothing() {
    let mut scanner = ReplyScanner::new(ReplyScanner::DEFAULT_MAX_BULK_BYTES);
    let mut buffer = b"*9223372036854775807\r\n".repeat(3);
    buffer.extend_from_slice(b"$536870912\r\n");
    assert_eq!(scanner.scan(&buffer), Ok(None));
    assert!(scanner.levels.capacity() <= 8);
    assert_eq!(scanner.at_least(), buffer.len() + 536_870_914);
}

#[test]
fn a_long_line_is_searched_once_and_bounded() {
    let mut scanner = ReplyScanner::new(1000);
    let line = format!("+{}", "a".repeat(1000));
    assert_eq!(scanner.scan(line.as_bytes()), Ok(None));
    assert!(matches!(scanner.place, Place::Line { searched: 1001, .. }));
    assert_eq!(
        scanner.scan(format!("{line}\r\n").as_bytes()),
        Ok(Some(ReplyFrame { len: 1003, kind: ReplyKind::Reply }))
    );
    assert_eq!(ReplyScanner::new(1000).scan(format!("{line}a").as_bytes()), Err(ReplyError::BulkTooLong));
}

fn resp2_reply() -> impl Strategy<Value = OwnedFrame> {
    let text = prop::collection::vec(32u8..=255, 0..20);
    let leaf = prop_oneof![
        text.prop_map(OwnedFrame::SimpleString),
        "[A-Z]{1,8} [ -~]{0,20}".prop_map(OwnedFrame::Error),
        any::<i64>().prop_map(OwnedFrame::Integer),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(OwnedFrame::BulkString),
        Just(OwnedFrame::Null),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| prop::collection::vec(inner, 0..6).prop_map(OwnedFrame::Array))
}

fn encoded(frame: &OwnedFrame) -> Vec<u8> {
    use redis_protocol::resp2::types::Resp2Frame;
    let mut bytes = vec![0; frame.encode_len(false)];
    redis_protocol::resp2::encode::encode(&mut bytes, frame, false).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn resp2_replies_end_where_another_decoder_says(
        frames in prop::collection::vec(resp2_reply(), 1..4),
        chunk in 1usize..17,
    ) {
        let stream: Vec<u8> = frames.iter().flat_map(encoded).collect();
        let (found, end) = replies(stream.chunks(chunk));
        prop_assert_eq!(end, Ok(0));
        let found: Vec<_> = found.into_iter().map(|(bytes, _)| bytes).collect();
        prop_assert_eq!(found, frames.iter().map(encoded).collect::<Vec<_>>());
    }

    #[test]
    fn whatever_is_framed_as_resp2_ends_there_for_another_decoder_too(
        frame in resp2_reply(),
        at in any::<prop::sample::Index>(),
        byte in prop::sample::select(b"\r\n$*:+-0123456789 x".to_vec()),
    ) {
        let mut bytes = encoded(&frame);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(Some(framed)) = ReplyScanner::new(MAX_BULK_BYTES).scan(&bytes) {
            // A bulk that has lost its header may begin like a type of RESP3, which the other decoder does not know.
            let begins = |pair: &[u8]| pair.starts_with(b"\n") && b",%|>_#(!=~".contains(&pair[1]);
            match decode_range(&bytes) {
                Err(_) if bytes.windows(2).any(begins) => {}
                decoded => prop_assert_eq!(framed.len, decoded.unwrap().unwrap().1),
            }
        }
    }

    #[test]
    fn any_bytes_mean_the_same_in_any_pieces(
        stream in prop::collection::vec(prop::sample::select(b"*$%|>_#t+-:(!=~,01\r\n\r\n".to_vec()), 0..60),
        chunk in 1usize..9,
    ) {
        let whole = replies([stream.as_slice()]);
        prop_assert_eq!(&replies(stream.chunks(chunk)), &whole);
        prop_assert_eq!(&passed_on(stream.chunks(chunk)), &whole);
    }
}
