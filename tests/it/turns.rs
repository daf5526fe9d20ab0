//! Nobody waits for long because another client of the same worker does much: pipelines without end, refusals without
//! end. What counts is not time but how much of the other client's work was done between two replies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, wait_for};

/// One worker, so that all clients share it and its link.
fn proxy(redis: &Redis) -> Proxy {
    Proxy::start(|dir, _| {
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\nacl:\n  file: {}\nworkers: 1\n",
            redis.socket().display(),
            dir.write("users.acl", USERS).display()
        )
    })
}

/// Writes `commands` in one go, as the administrator, and reads `replies` bytes; what has come so far is counted.
fn flood(
    proxy: &Proxy,
    commands: Vec<u8>,
    replies: impl Fn(&[u8]) -> u64 + Send + 'static,
    all: u64,
) -> (JoinHandle<()>, Arc<AtomicU64>) {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port(0))).unwrap();
    stream.write_all(b"AUTH admin secret\r\n").unwrap();
    assert_eq!(stream.read(&mut [0; 5]).unwrap(), 5);
    let mut writer = stream.try_clone().unwrap();
    std::thread::spawn(move || writer.write_all(&commands));
    let seen = Arc::new(AtomicU64::new(0));
    let count = seen.clone();
    let reader = std::thread::spawn(move || {
        let mut chunk = vec![0; 64 * 1024];
        while count.load(Ordering::Relaxed) < all {
            let length = stream.read(&mut chunk).unwrap();
            assert!(length > 0, "the flood was cut off");
            count.fetch_add(replies(&chunk[..length]), Ordering::Relaxed);
        }
    });
    (reader, seen)
}

/// The middle one of the steps between numbers that only grow.
fn median_step(numbers: &[u64]) -> u64 {
    let mut steps: Vec<_> = numbers.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    steps[steps.len() / 2]
}

#[test]
fn a_long_pipeline_of_another_client_is_run_in_small_parts() {
    const ALL: u64 = 100_000;
    let redis = Redis::start(&[]);
    let proxy = proxy(&redis);
    let mut other = Client::tcp(proxy.port(0)).login("app", "secret");
    let lines = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum();
    let (reader, seen) = flood(&proxy, b"*2\r\n$4\r\nINCR\r\n$5\r\napp:n\r\n".repeat(100_000), lines, ALL);
    let mut numbers = Vec::new();
    wait_for("the pipeline", || (seen.load(Ordering::Relaxed) > 0).then_some(()));
    while seen.load(Ordering::Relaxed) < ALL {
        // What the pipeline had done when this ran.
        let reply = other.value(&["GET", "app:n"]);
        numbers.push(text(reply.as_bytes().unwrap()).parse::<u64>().unwrap());
    }
    reader.join().unwrap();
    assert!(numbers.len() > 50, "{} replies meanwhile", numbers.len());
    let step = median_step(&numbers);
    assert!(step < 1_000, "{step} commands of the other client ran for one");
}

#[test]
fn refusals_without_end_leave_turns_to_others() {
    const ALL: u64 = 300_000;
    let redis = Redis::start(&[]);
    let proxy = proxy(&redis);
    let mut other = Client::tcp(proxy.port(0)).login("app", "secret");
    let lines = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum();
    let (reader, seen) = flood(&proxy, b"NOSUCHCMD\r\n".repeat(300_000), lines, ALL);
    wait_for("the refusals", || (seen.load(Ordering::Relaxed) > 0).then_some(()));
    let mut numbers = Vec::new();
    while seen.load(Ordering::Relaxed) < ALL {
        assert_eq!(other.ask("GET app:none"), "$-1\r\n");
        numbers.push(seen.load(Ordering::Relaxed));
    }
    reader.join().unwrap();
    assert!(numbers.len() > 50, "{} replies meanwhile", numbers.len());
    let step = median_step(&numbers);
    assert!(step < 6_000, "{step} refusals for one reply");
}
