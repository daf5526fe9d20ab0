//! What clients send, and exactly what must come back.
//!
//! Values follow from their keys, so a reply to the wrong request is noticed as well as an error.

use crate::scenario::{Disturber, Traffic};
use crate::servers::{PASSWORD, USER};

/// Keys with values of 64 B.
const KEYS: usize = 10_000;
/// Keys with values of 64 KiB.
const LARGE_KEYS: usize = 16;
/// Different batches of a scenario.
const BATCHES: usize = 1024;

const SMALL: usize = 64;
const PAGE: usize = 4 << 10;
const LARGE: usize = 64 << 10;
const HUGE: usize = 64 << 20;
const PIPELINE: usize = 100_000;

/// The channel of the fan-out.
pub const CHANNEL: &str = "news:1";

/// Requests that are sent at once, and all that comes back.
#[derive(Default)]
pub struct Batch {
    /// The requests' bytes.
    pub request: Vec<u8>,
    /// The replies' bytes.
    pub expected: Vec<u8>,
    /// Where each reply ends.
    pub ends: Vec<usize>,
}

impl Batch {
    /// Adds a request with its reply.
    fn add(&mut self, request: &[u8], reply: &[u8]) {
        self.request.extend_from_slice(request);
        self.expected.extend_from_slice(reply);
        self.ends.push(self.expected.len());
    }

    fn one(request: &[u8], reply: &[u8]) -> Batch {
        let mut batch = Batch::default();
        batch.add(request, reply);
        batch
    }
}

/// A request as bytes.
pub fn request<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(bulk(word.as_ref()));
    }
    bytes
}

fn bulk(word: &[u8]) -> Vec<u8> {
    let mut bytes = format!("${}\r\n", word.len()).into_bytes();
    bytes.extend_from_slice(word);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn small_key(number: usize) -> String {
    format!("cache:item:{:05}", number % KEYS)
}

fn large_key(number: usize) -> String {
    format!("app:large:{}", number % LARGE_KEYS)
}

const HUGE_KEY: &str = "app:huge";

/// `length` bytes that tell the key; all keys have the same length for each kind of value.
fn value(key: &str, length: usize) -> Vec<u8> {
    key.bytes().chain(*b" ").cycle().take(length).collect()
}

/// What every Redis holds from the start: requests, and how many OKs they bring.
pub fn data() -> [(Vec<u8>, usize); 2] {
    let set = |key: String, length| request(&[b"SET", key.as_bytes(), &value(&key, length)]);
    [
        ((0..KEYS).flat_map(|number| set(small_key(number), SMALL)).collect(), KEYS),
        ((0..LARGE_KEYS).flat_map(|number| set(large_key(number), LARGE)).collect(), LARGE_KEYS),
    ]
}

/// What one client does that disturbs others: what Redis must hold for it, and what the client sends. `part` makes
/// both smaller.
pub fn disturbance(disturber: Disturber, part: usize) -> Option<(Vec<u8>, Batch)> {
    match disturber {
        Disturber::Nobody => None,
        Disturber::Huge => {
            let huge = value(HUGE_KEY, HUGE / part);
            let set = request(&[b"SET", HUGE_KEY.as_bytes(), &huge]);
            Some((set, Batch::one(&request(&["GET", HUGE_KEY]), &bulk(&huge))))
        }
        Disturber::Pipeline => {
            let mut batch = Batch::default();
            (0..PIPELINE / part).for_each(|number| add(&mut batch, Traffic::Get, number));
            let set = request(&[b"SET", HUGE_KEY.as_bytes(), b""]);
            Some((set, batch))
        }
    }
}

/// The batches of a scenario; clients take them in turn.
pub fn batches(traffic: Traffic, pipeline: usize) -> Vec<Batch> {
    let count = if traffic == Traffic::GetLarge { LARGE_KEYS } else { BATCHES };
    let mut numbers = scattered();
    (0..count)
        .map(|_| {
            let mut batch = Batch::default();
            for _ in 0..pipeline {
                add(&mut batch, traffic, numbers.next().unwrap_or_default());
            }
            batch
        })
        .collect()
}

/// Numbers without an order that caches could like, the same ones each time.
fn scattered() -> impl Iterator<Item = usize> {
    (0..).map(|step: usize| step * 7_919 + step / KEYS)
}

fn add(batch: &mut Batch, traffic: Traffic, number: usize) {
    let small = small_key(number);
    let get = |batch: &mut Batch, key: &str, length| {
        batch.add(&request(&["GET", key]), &bulk(&value(key, length)));
    };
    let set = |batch: &mut Batch, key: &str, length| {
        batch.add(&request(&[b"SET", key.as_bytes(), &value(key, length)]), b"+OK\r\n");
    };
    match traffic {
        Traffic::Get => get(batch, &small, SMALL),
        Traffic::Set => set(batch, &small, SMALL),
        Traffic::GetLarge => get(batch, &large_key(number), LARGE),
        Traffic::SetPage => set(batch, &format!("app:page:{:05}", number % KEYS), PAGE),
        Traffic::Mix if number.is_multiple_of(5) => set(batch, &small, SMALL),
        Traffic::Mix => get(batch, &small, SMALL),
        Traffic::Mget => {
            let keys: Vec<String> = (0..10).map(|offset| small_key(number + offset)).collect();
            let words: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
            let mut reply = b"*10\r\n".to_vec();
            keys.iter().for_each(|key| reply.extend(bulk(&value(key, SMALL))));
            batch.add(&request(&words), &reply);
        }
    }
}

/// The first request of every client: its login; or a PING where there is none.
pub fn login(login: bool) -> Batch {
    if login { Batch::one(&request(&["AUTH", USER, PASSWORD]), b"+OK\r\n") } else { ping() }
}

/// PING.
pub fn ping() -> Batch {
    Batch::one(&request(&["PING"]), b"+PONG\r\n")
}

/// SUBSCRIBE.
pub fn subscribe() -> Batch {
    let mut reply = b"*3\r\n".to_vec();
    reply.extend(bulk(b"subscribe"));
    reply.extend(bulk(CHANNEL.as_bytes()));
    reply.extend_from_slice(b":1\r\n");
    Batch::one(&request(&["SUBSCRIBE", CHANNEL]), &reply)
}

/// Messages that a publisher sends at once to `subscribers`, and what each of them receives for these.
pub fn messages(count: usize, subscribers: usize) -> (Batch, Batch) {
    let (mut published, mut delivered) = (Batch::default(), Batch::default());
    for number in 0..count {
        let payload = value(&small_key(number), SMALL);
        published.add(
            &request(&[b"PUBLISH", CHANNEL.as_bytes(), &payload]),
            format!(":{subscribers}\r\n").as_bytes(),
        );
        let mut message = b"*3\r\n".to_vec();
        [b"message", CHANNEL.as_bytes(), &payload].into_iter().for_each(|word| message.extend(bulk(word)));
        delivered.add(b"", &message);
    }
    (published, delivered)
}
