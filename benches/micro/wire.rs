//! What it costs to find requests and replies in what was read; beside it, what the decoder of redis-protocol takes.

use std::hint::black_box;

use redis_protocol::resp2::decode::decode_range;
use redkeep::resp::{Limits, ReplyScanner, RequestBuf, Scanned, Scanner};

use super::harness::{Case, measure};

/// What an upstream may send at most in one string.
const MAX_BULK_BYTES: usize = 512 << 20;

/// A case whose name is put together.
type Named<'a> = (String, Box<dyn FnMut() + 'a>);

/// Requests of one read.
pub fn requests() {
    let get = wire(&["GET", "app:{1}:42"]);
    let set = wire(&["SET", "app:{1}:42", &"v".repeat(64)]);
    let mget: Vec<String> = (0..10).map(|number| format!("app:{{1}}:{number}")).collect();
    let mget: Vec<&str> = std::iter::once("MGET").chain(mget.iter().map(String::as_str)).collect();
    let mget = wire(&mget);
    let large = wire(&["SET", "app:{1}:42", &"v".repeat(64 * 1024)]);
    let streams = [
        ("GET", get.clone(), 1),
        ("16 GET", get.repeat(16), 16),
        ("SET of 64 bytes", set, 1),
        ("MGET of 10 keys", mget, 1),
        ("SET of 64 KiB", large, 1),
    ];
    let mut cases: Vec<Named<'_>> = Vec::new();
    for (name, stream, count) in &streams {
        let mut scanner = Scanner::default();
        cases.push((
            format!("{name}, in place"),
            Box::new(move || assert_eq!(scan(&mut scanner, stream), *count)),
        ));
        cases.push((format!("{name}, redis-protocol"), Box::new(move || assert_eq!(decode(stream), *count))));
    }
    measure("requests of one read", borrowed(&mut cases));
}

/// Replies of one read.
pub fn replies() {
    let bulk = b"$64\r\n".iter().copied().chain([b'v'; 64]).chain(*b"\r\n").collect::<Vec<u8>>();
    let array = [b"*10\r\n".to_vec(), bulk.repeat(10)].concat();
    let large = [b"$65536\r\n".to_vec(), vec![b'v'; 65536], b"\r\n".to_vec()].concat();
    let streams = [
        ("+OK", b"+OK\r\n".to_vec(), 1),
        ("64 bytes", bulk.clone(), 1),
        ("16 of 64 bytes", bulk.repeat(16), 16),
        ("an array of 10", array, 1),
        ("64 KiB", large, 1),
    ];
    let mut cases: Vec<Named<'_>> = Vec::new();
    for (name, stream, count) in &streams {
        let mut scanner = ReplyScanner::new(MAX_BULK_BYTES);
        cases.push((
            format!("{name}, in place"),
            Box::new(move || assert_eq!(frames(&mut scanner, stream), *count)),
        ));
        cases.push((format!("{name}, redis-protocol"), Box::new(move || assert_eq!(decode(stream), *count))));
    }
    measure("replies of one read", borrowed(&mut cases));
}

fn wire(args: &[&str]) -> Vec<u8> {
    RequestBuf::from_args(args).as_request().wire().to_vec()
}

/// How many requests the scanner finds.
fn scan(scanner: &mut Scanner, stream: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Ok(Scanned::Request { consumed }) =
        scanner.scan(black_box(&stream[at..]), &Limits::AUTHENTICATED)
    {
        black_box(scanner.request(&stream[at..]).len());
        (at, count) = (at + consumed, count + 1);
    }
    count
}

/// How many replies the scanner finds.
fn frames(scanner: &mut ReplyScanner, stream: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Ok(Some(frame)) = scanner.scan(black_box(&stream[at..])) {
        (at, count) = (at + frame.len, count + 1);
    }
    count
}

/// How many frames redis-protocol's decoder finds that copies nothing.
fn decode(stream: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Ok(Some((frame, len))) = decode_range(black_box(&stream[at..])) {
        black_box(frame);
        (at, count) = (at + len, count + 1);
    }
    count
}

fn borrowed<'a>(cases: &'a mut [Named<'_>]) -> Vec<Case<'a>> {
    cases.iter_mut().map(|(name, operation)| -> Case<'a> { (name, Box::new(operation)) }).collect()
}
