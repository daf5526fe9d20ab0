//! Raw bytes in, requests or refusals out. The vectors are those of the facts (7.0.15, sections 1 and 6), and those
//! that were tried against a real server for this layer.

use proptest::prelude::*;
use redis_protocol::resp2::types::OwnedFrame;

use super::*;
use crate::resp::RequestBuf;

const AUTHENTICATED: Limits = Limits::AUTHENTICATED;
const UNAUTHENTICATED: Limits = Limits::UNAUTHENTICATED;

/// What a stream of bytes means: the requests (arguments and wire), then what ended it.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    requests: Vec<(Vec<Vec<u8>>, Vec<u8>)>,
    error: Option<ProtocolError>,
    /// The bytes that are left and may become a request.
    left: usize,
}

/// Plays a client that sends `chunks`, and a session that drops what it handled.
fn meaning<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Meaning {
    let mut scanner = Scanner::default();
    let mut buffer = Vec::new();
    let mut requests = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            match scanner.scan(&buffer, limits) {
                Ok(Scanned::NeedMore { at_least }) => {
                    assert!(at_least > buffer.len());
                    break;
                }
                Ok(Scanned::Nothing { consumed }) => drop(buffer.drain(..consumed)),
                Ok(Scanned::Request { consumed }) => {
                    let request = scanner.request(&buffer);
                    let args: Vec<_> = request.args(0).map(<[u8]>::to_vec).collect();
                    assert_eq!(args.len(), request.len());
                    assert_eq!(request.wire(), RequestBuf::from_args(&args).as_request().wire());
                    requests.push((args, request.wire().to_vec()));
                    buffer.drain(..consumed);
                }
                Err(error) => {
                    assert_eq!(scanner.scan(&buffer, limits), Err(error), "an error stays");
                    return Meaning { requests, error: Some(error), left: 0 };
                }
            }
        }
    }
    Meaning { requests, error: None, left: buffer.len() }
}

fn words(stream: &[u8], limits: &Limits) -> Result<Vec<Vec<Vec<u8>>>, String> {
    let meaning = meaning([stream], limits);
    match meaning.error {
        Some(error) => Err(String::from_utf8_lossy(&error.text()).into_owned()),
        None => Ok(meaning.requests.into_iter().map(|(args, _)| args).collect()),
    }
}

/// `["a b", "c"]` stands for two requests, the first of two words.
fn spaced(requests: &[&str]) -> Vec<Vec<Vec<u8>>> {
    requests.iter().map(|line| line.split(' ').map(|word| word.as_bytes().to_vec()).collect()).collect()
}

#[test]
fn framing_is_that_of_the_facts() {
    let cases: &[(&str, &[&str])] = &[
        ("*1\r\n$4\r\nPING\r\n", &["PING"]),
        ("*1048576\r\n", &[]),
        ("*1048576\r\n$1\r\na\r\n", &[]),
        ("*1\r\n$0\r\n\r\n", &[""]),
        ("*2\r\n$0\r\n\r\n$1\r\na\r\n", &[" a"]),
        ("$4\r\nPING\r\n", &["$4", "PING"]),
        ("+PING\r\n", &["+PING"]),
        (":1\r\n", &[":1"]),
        ("%1\r\n+a\r\n+b\r\n", &["%1", "+a", "+b"]),
        (">1\r\n$4\r\nPING\r\n", &[">1", "$4", "PING"]),
        ("PING\r\n", &["PING"]),
        ("PING\n", &["PING"]),
        ("PING hello\r\n", &["PING hello"]),
        ("  PING  \r\n", &["PING"]),
        ("\r\n\r\nPING\r\n", &["PING"]),
        ("ECHO \"a_b\"\r\n", &["ECHO a_b"]),
        ("ECHO a\"b\"\r\n", &["ECHO ab"]),
        ("ECHO a\tb\r\n", &["ECHO a b"]),
        ("PING\r", &[]),
        ("PING\rX\r\n", &["PING X"]),
        ("\"\"\r\n", &[""]),
        ("\"\" a\r\n", &[" a"]),
        ("a b c d e f g h i j k l m n o p\r\n", &["a b c d e f g h i j k l m n o p"]),
        (
            "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$2\r\nab\r\nPING\r\n*1\r\n$4",
            &["PING", "ECHO ab", "PING"],
        ),
    ];
    for (stream, requests) in cases {
        assert_eq!(words(stream.as_bytes(), &AUTHENTICATED), Ok(spaced(requests)), "{stream:?}");
    }
}

#[test]
fn refusals_are_those_of_the_facts() {
    let cases: &[(&str, &[&str])] = &[
        (
            "invalid multibulk length",
            &[
                "*2147483648\r\n",
                "*99999999999999999999\r\n",
                "*abc\r\n",
                "*\r\n",
                "*1a\r\n",
                "* 1\r\n",
                "*+1\r\n$4\r\nPING\r\n",
                "*01\r\n$4\r\nPING\r\n",
                "*1\nX$4\r\nPING\r\n",
            ],
        ),
        (
            "invalid bulk length",
            &[
                "*1\r\n$4\nPING\r\n",
                "*1\r\n$04\r\nPING\r\n",
                "*1\r\n$+4\r\nPING\r\n",
                "*1\r\n$-0\r\n\r\n",
                "*1\r\n$4 \r\nPING\r\n",
                "*1\r\n$-1\r\n",
                "*1\r\n$abc\r\n",
                "*1\r\n$\r\n",
                "*1\r\n$536870913\r\n",
                "*1\r\n$9223372036854775807\r\n",
                "*1\r\n$99999999999999999999\r\n",
                "*2\r\n$3\r\nGET\r\n$-1\r\n",
            ],
        ),
        ("expected '$', got 'f'", &["*1\r\nfoo\r\n"]),
        ("expected '$', got ':'", &["*1\r\n:1\r\n"]),
        ("expected '$', got '+'", &["*1\r\n+PING\r\n"]),
        ("expected '$', got ' '", &["*1\r\n\r\n"]),
        ("expected '$', got '*'", &["*2\r\n$4\r\nECHO\r\n*1\r\n$1\r\nx\r\n", "*1\r\n*1\r\n$4\r\nPING\r\n"]),
        ("expected '$', got '%'", &["*1\r\n%1\r\n"]),
        ("expected '$', got '_'", &["*1\r\n_\r\n"]),
        (
            "unbalanced quotes in request",
            &["ECHO \"unbalanced\r\n", "ECHO 'unbalanced\r\n", "ECHO \"a\"b\r\n", "ECHO 'a'b\r\n"],
        ),
    ];
    for (text, streams) in cases {
        for stream in *streams {
            let refusal = format!("ERR Protocol error: {text}");
            assert_eq!(words(stream.as_bytes(), &AUTHENTICATED), Err(refusal), "{stream:?}");
        }
    }
    assert_eq!(
        ProtocolError::NotABulk(0xff).text().as_ref(),
        b"ERR Protocol error: expected '$', got '\xff'"
    );
    assert_eq!(ProtocolError::NotABulk(0xff).to_string(), "expected \\'$\\', got \\'\\xff\\'");
}

#[test]
fn what_came_before_a_refusal_is_still_served() {
    let got = meaning([b"*1\r\n$4\r\nPING\r\n*1\r\nX\r\n*1\r\n$4\r\nPING\r\n".as_slice()], &AUTHENTICATED);
    assert_eq!((got.requests.len(), got.error), (1, Some(ProtocolError::NotABulk(b'X'))));
}

#[test]
fn strictness_refuses_what_redis_lets_pass() {
    for (stream, error) in [
        ("*0\r\n", ProtocolError::InvalidMultibulkLength),
        ("*-1\r\n", ProtocolError::InvalidMultibulkLength),
        ("*-10\r\n", ProtocolError::InvalidMultibulkLength),
        ("*1048577\r\n", ProtocolError::InvalidMultibulkLength),
        ("*2147483647\r\n", ProtocolError::InvalidMultibulkLength),
        ("*1\n$4\nPING\n", ProtocolError::InvalidMultibulkLength),
        ("*1\n", ProtocolError::InvalidMultibulkLength),
        ("*1\0", ProtocolError::InvalidMultibulkLength),
        ("*1\rx", ProtocolError::InvalidMultibulkLength),
        ("*1\r\n$4\rx", ProtocolError::InvalidBulkLength),
        ("*1\r\n\0\r\n", ProtocolError::NotABulk(0)),
        ("*1\r\n$4\r\nPINGxx", ProtocolError::MissingCrlf),
        ("*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n", ProtocolError::MissingCrlf),
        ("*1\r\n$4\r\nPING\n\n", ProtocolError::MissingCrlf),
        ("*1\r\n$4\r\nPING\rx", ProtocolError::MissingCrlf),
        ("*1\r\n$3\r\nPING\r\n", ProtocolError::MissingCrlf),
        ("*1\r\n$5\r\nPING\r\n\r\n", ProtocolError::MissingCrlf),
        ("ECHO a\0b\r\n", ProtocolError::NulInInline),
    ] {
        assert_eq!(meaning([stream.as_bytes()], &AUTHENTICATED).error, Some(error), "{stream:?}");
    }
}

#[test]
fn bounds_before_authentication_are_redis_own() {
    for waits in ["*10\r\n", "*3\r\n$4\r\nAUTH\r\n$16384\r\n"] {
        assert_eq!(words(waits.as_bytes(), &UNAUTHENTICATED), Ok(vec![]), "{waits:?}");
    }
    let ten = format!("*10\r\n{}", "$1\r\na\r\n".repeat(10));
    assert_eq!(words(ten.as_bytes(), &UNAUTHENTICATED), Ok(spaced(&["a a a a a a a a a a"])));
    for (stream, text) in [
        ("*11\r\n", "unauthenticated multibulk length"),
        ("*11\r\n$4\r\nAUTH\r\n", "unauthenticated multibulk length"),
        ("*100000\r\n", "unauthenticated multibulk length"),
        ("*1048577\r\n", "unauthenticated multibulk length"),
        ("*2147483648\r\n", "invalid multibulk length"),
        ("*abc\r\n", "invalid multibulk length"),
        ("*3\r\n$4\r\nAUTH\r\n$16385\r\n", "unauthenticated bulk length"),
        ("*1\r\n$16385\r\n", "unauthenticated bulk length"),
        ("*1\r\n$536870913\r\n", "invalid bulk length"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\nX\r\n", "expected '$', got 'X'"),
    ] {
        let refusal = format!("ERR Protocol error: {text}");
        assert_eq!(words(stream.as_bytes(), &UNAUTHENTICATED), Err(refusal), "{stream:?}");
    }
}

#[test]
fn a_line_without_an_end_is_refused_once_it_is_too_long() {
    for (prefix, byte, error) in [
        ("", "a", ProtocolError::TooBigInline),
        ("*", "1", ProtocolError::TooBigMultibulkCount),
        ("*1\r\n$", "1", ProtocolError::TooBigBulkCount),
        ("*1\r\n", "X", ProtocolError::TooBigBulkCount),
    ] {
        let line_start = if prefix.contains('\n') { 4 } else { 0 };
        let stream = format!("{prefix}{}", byte.repeat(65_536));
        let waits = &stream.as_bytes()[..line_start + 65_536];
        assert_eq!(meaning([waits], &UNAUTHENTICATED).error, None, "{prefix:?}");
        let refused = format!("{}{byte}", String::from_utf8_lossy(waits));
        assert_eq!(meaning([refused.as_bytes()], &UNAUTHENTICATED).error, Some(error), "{prefix:?}");
        let ended = format!("{refused}\r\n");
        assert_eq!(meaning([ended.as_bytes()], &AUTHENTICATED).error, Some(error), "{prefix:?}");
        assert_eq!(meaning(ended.as_bytes().chunks(1000), &AUTHENTICATED).error, Some(error), "{prefix:?}");
    }
    let longest = format!("GET {}\r\n", "a".repeat(65_536 - 5));
    assert_eq!(meaning([longest.as_bytes()], &UNAUTHENTICATED).requests.len(), 1);
}

#[test]
fn a_request_that_is_too_big_as_a_whole_is_refused_by_its_headers() {
    let limits = Limits { max_request_bytes: 32, ..AUTHENTICATED };
    // *2 CRLF, $4 CRLF, ECHO CRLF, $10 CRLF, ten bytes, CRLF: 31 bytes.
    assert_eq!(meaning([b"*2\r\n$4\r\nECHO\r\n$10\r\naaaaaaaaaa\r\n".as_slice()], &limits).requests.len(), 1);
    for stream in [
        "*2\r\n$4\r\nECHO\r\n$12\r\n",
        "*1\r\n$536870912\r\n",
        "*3\r\n$4\r\nECHO\r\n$10\r\naaaaaaaaaa\r\n$0\r\n",
    ] {
        assert_eq!(
            meaning([stream.as_bytes()], &limits).error,
            Some(ProtocolError::TooBigRequest),
            "{stream:?}"
        );
    }
}

#[test]
fn limits_hold_for_the_headers_that_are_read_from_then_on() {
    let mut scanner = Scanner::default();
    let header = b"*2\r\n$4\r\nECHO\r\n";
    assert!(scanner.scan(header, &UNAUTHENTICATED).is_ok());
    let mut buffer = header.to_vec();
    buffer.extend_from_slice(b"$20000\r\n");
    assert_eq!(
        scanner.scan(&buffer, &AUTHENTICATED),
        Ok(Scanned::NeedMore { at_least: buffer.len() + 20_002 })
    );
    buffer.extend_from_slice(&[b'x'; 20_000]);
    buffer.extend_from_slice(b"\r\n");
    let consumed = buffer.len();
    assert_eq!(scanner.scan(&buffer, &UNAUTHENTICATED), Ok(Scanned::Request { consumed }));
}

#[test]
fn announced_maxima_reserve_nothing() {
    let mut scanner = Scanner::default();
    let mut buffer = b"*1048576\r\n$536870912\r\n".to_vec();
    assert_eq!(
        scanner.scan(&buffer, &AUTHENTICATED),
        Ok(Scanned::NeedMore { at_least: buffer.len() + 536_870_914 })
    );
    assert_eq!(scanner.args.capacity(), 0);
    buffer.extend_from_slice(&[b'x'; 100_000]);
    assert!(matches!(scanner.scan(&buffer, &AUTHENTICATED), Ok(Scanned::NeedMore { .. })));
    assert_eq!(scanner.args.capacity(), 0);
}

#[test]
fn memory_of_a_large_request_is_given_back() {
    let mut scanner = Scanner::default();
    let large = RequestBuf::from_args(&vec!["a"; 100_000]);
    assert!(matches!(scanner.scan(large.as_request().wire(), &AUTHENTICATED), Ok(Scanned::Request { .. })));
    assert!(scanner.args.capacity() >= 100_000);
    assert_eq!(scanner.scan(b"", &AUTHENTICATED), Ok(Scanned::NeedMore { at_least: 1 }));
    assert!(scanner.args.capacity() <= KEPT_ARGS);
}

#[test]
fn no_request_is_given_without_one() {
    let mut scanner = Scanner::default();
    let ping = b"*1\r\n$4\r\nPING\r\n";
    assert_eq!(scanner.request(ping).len(), 0);
    assert!(scanner.scan(ping, &AUTHENTICATED).is_ok());
    assert_eq!(scanner.request(ping).name(), b"PING");
    assert_eq!((scanner.request(&ping[..5]).len(), scanner.request(b"").wire()), (0, b"".as_slice()));
    assert!(scanner.scan(b"\r\n", &AUTHENTICATED).is_ok());
    assert_eq!(scanner.request(b"\r\n").len(), 0);
}

#[test]
fn inline_words_are_split_as_redis_splits_them() {
    // Each line was sent to redis 7.0.15 after ECHO, and came back as the word beside it.
    let cases: &[(&[u8], &[&[u8]])] = &[
        (b"\"a b\"", &[b"a b"]),
        (b"'a b'", &[b"a b"]),
        (b"\"\\x41\\n\\\"\\\\\"", &[b"A\n\"\\"]),
        (b"'it\\'s'", &[b"it's"]),
        (b"a\x0bb", &[b"a\x0bb"]),
        (b"\x0b\x0ca", &[b"a"]),
        (b"\"a\"\x0bX", &[b"a", b"X"]),
        (b"\"\\x4\"", &[b"x4"]),
        (b"\"\\xZZ\"", &[b"xZZ"]),
        (b"\"\\q\"", &[b"q"]),
        (b"\"\\b\\a\\t\\r\"", &[b"\x08\x07\t\r"]),
        (b"'a\\x41'", &[b"a\\x41"]),
        (b"a\\x41", &[b"a\\x41"]),
        (b"\"a\rb\"", &[b"a\rb"]),
        (b"a'b'", &[b"ab"]),
        (b"\xff\x85x", &[b"\xff\x85x"]),
        (b"a\"b\" \r", &[b"ab"]),
        (b"\"\" ''", &[b"", b""]),
    ];
    for (line, expected) in cases {
        for end in [b"\r\n".as_slice(), b"\n"] {
            let stream = [b"ECHO ", *line, end].concat();
            let got = words(&stream, &AUTHENTICATED);
            let mut request = vec![b"ECHO".to_vec()];
            request.extend(expected.iter().map(|word| word.to_vec()));
            assert_eq!(got, Ok(vec![request]), "{}", line.escape_ascii());
        }
    }
    for line in ["\"a\\", "'a\\'", "\"a\"'b'", "'a''b'", "\"\"\"", "a'"] {
        let stream = format!("ECHO {line}\r\n");
        let error = meaning([stream.as_bytes()], &AUTHENTICATED).error;
        assert_eq!(error, Some(ProtocolError::UnbalancedQuotes), "{line:?}");
    }
}

#[test]
fn where_the_network_cuts_makes_no_difference() {
    for stream in [
        "*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\n\r\n$4\r\nPING\r\n\r\nPING \"a b\"\r\n\r\n\n*1\r\n$1\r\nx\r\n",
        "*2\r\n$4\r\nECHO\r\n$3\r\na\rb\r\n*1\r\nX\r\n",
        "PING\r\nECHO 'a\r\n",
        "*1\r\n$4\r\nPINGx\r\n",
        "*1\r\n$04\r\nPING\r\n",
        "*12a\r\n",
        "PING\n*11111111111111111111111\r\n",
        "*1\r\n$1111111111111111111111111\r\n",
        "*1\r\n\n",
        "a\0\r\n",
    ] {
        let stream = stream.as_bytes();
        let whole = meaning([stream], &AUTHENTICATED);
        for first in 0..=stream.len() {
            let (head, tail) = stream.split_at(first);
            assert_eq!(meaning([head, tail], &AUTHENTICATED), whole, "{} at {first}", stream.escape_ascii());
        }
        assert_eq!(meaning(stream.chunks(1), &AUTHENTICATED), whole, "{}", stream.escape_ascii());
    }
}

/// Frames that are canonical, or nearly so.
fn nearly_valid() -> impl Strategy<Value = Vec<u8>> {
    let args = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..6);
    let streams = prop::collection::vec(args, 1..4).prop_map(|requests| {
        requests
            .iter()
            .flat_map(|args| RequestBuf::from_args(args).as_request().wire().to_vec())
            .collect::<Vec<u8>>()
    });
    let interesting = prop::sample::select(b"\r\n$*0123456789-+ :\"'\\xa\0".to_vec());
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..3, interesting), 0..4);
    (streams, edits).prop_map(|(mut stream, edits)| {
        for (index, edit, byte) in edits {
            let at = index.index(stream.len().max(1));
            match edit {
                0 if at < stream.len() => stream[at] = byte,
                1 if at < stream.len() => drop(stream.remove(at)),
                _ => stream.insert(at.min(stream.len()), byte),
            }
        }
        stream
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_accepted_as_its_own_encoding(
        args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..20),
    ) {
        let own = RequestBuf::from_args(&args);
        let wire = own.as_request().wire();
        let got = meaning([wire], &AUTHENTICATED);
        prop_assert_eq!(got.requests, vec![(args, wire.to_vec())]);
    }

    // That the wire of whatever is accepted is our own encoding of its arguments, `meaning` asserts.
    #[test]
    fn whatever_is_accepted_means_the_same_to_another_parser(stream in nearly_valid(), chunk in 1usize..9) {
        let got = meaning([stream.as_slice()], &AUTHENTICATED);
        prop_assert_eq!(&meaning(stream.chunks(chunk), &AUTHENTICATED), &got);
        for (args, wire) in got.requests {
            let (frame, consumed) = redis_protocol::resp2::decode::decode(&wire).unwrap().unwrap();
            prop_assert_eq!(consumed, wire.len());
            let bulks = args.into_iter().map(OwnedFrame::BulkString).collect();
            prop_assert_eq!(frame, OwnedFrame::Array(bulks));
        }
    }

    #[test]
    fn any_bytes_mean_the_same_in_any_pieces(
        stream in prop::collection::vec(prop::sample::select(b"*$1 \r\n\"'\\xa\0\x0b".to_vec()), 0..60),
        chunk in 1usize..9,
    ) {
        prop_assert_eq!(meaning(stream.chunks(chunk), &UNAUTHENTICATED), meaning([stream.as_slice()], &UNAUTHENTICATED));
    }
}
