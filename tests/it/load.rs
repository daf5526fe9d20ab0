//! What many clients cost in memory, and what a flood of handshakes does to those who are being served.
//!
//! `make test` runs a short form with wide bounds, since its build is not optimised and its machine is busy. At length:
//! `make bench-memory` and `make handshake-flood`, which print and hold the figures of docs/SECURITY.md.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, pause, wait_long_for};

/// The number in this variable of the environment, for a run at length.
fn at_length(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn resident_kib(proxy: &Proxy) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", proxy.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What the process holds once it does not change any more.
fn settled_kib(proxy: &Proxy) -> f64 {
    let mut before = resident_kib(proxy);
    wait_long_for("memory to settle", Duration::from_secs(60), || {
        pause(Duration::from_millis(200));
        let now = resident_kib(proxy);
        ((now - before).abs() < 64.0).then_some(now).or_else(|| {
            before = now;
            None
        })
    })
}

fn proxy() -> Proxy {
    Proxy::with_users(Redis::shared(), USERS, "limits:\n  handshake_timeout: 10m\n")
}

/// A first message of TLS that has no end: the header of a record, and less than it announces.
fn stall(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(&[&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 300]].concat()).unwrap();
    stream
}

/// Some clients before the count begins: what is made once is made by them.
fn warm(proxy: &Proxy) {
    for _ in 0..20 {
        assert_eq!(proxy.tls().login("app", "secret").ask("GET app:none"), "$-1\r\n");
    }
}

#[test]
fn clients_cost_little_memory_before_in_and_after_the_handshake() {
    let long = at_length("MEMORY_CLIENTS");
    let count = long.unwrap_or(300);
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let each = |before: f64, after: f64| (after - before) / count as f64;

    let stalled = proxy();
    warm(&stalled);
    let before = settled_kib(&stalled);
    let sockets: Vec<TcpStream> = (0..count).map(|_| stall(stalled.port(0))).collect();
    let during = each(before, settled_kib(&stalled));
    drop((sockets, stalled));

    let proxy = proxy();
    warm(&proxy);
    let config = proxy.certs.client_config(false);
    let before = settled_kib(&proxy);
    let mut clients: Vec<Client> = (0..count)
        .map(|_| {
            let mut client = Client::tls(proxy.port(0), Arc::clone(&config));
            assert_eq!(client.ask("PING"), "-NOAUTH Authentication required.\r\n");
            client
        })
        .collect();
    let after = each(before, settled_kib(&proxy));
    for client in &mut clients {
        assert_eq!(client.ask("AUTH app secret"), "+OK\r\n");
        assert_eq!(client.ask("GET app:none"), "$-1\r\n");
    }
    let idle = each(before, settled_kib(&proxy));
    println!(
        "memory of each of {count} TLS clients: {during:.1} KiB in a handshake, {after:.1} KiB after it, {idle:.1} KiB \
         logged in and idle"
    );
    // Few clients share what is made once, and the heap grows in steps.
    let leeway = if long.is_some() { 1.0 } else { 2.0 };
    assert!(during <= 96.0 * leeway, "{during} KiB in a handshake");
    assert!(after <= 20.0 * leeway, "{after} KiB after a handshake");
    assert!(idle <= 16.0 * leeway, "{idle} KiB when idle");
}

/// The time within which 99 of 100 requests of four clients were answered.
fn p99(clients: &mut [Client], requests: usize) -> Duration {
    let mut times: Vec<Duration> = (0..requests)
        .map(|number| {
            let count = clients.len();
            let client = &mut clients[number % count];
            let start = Instant::now();
            assert_eq!(client.ask("GET app:none"), "$-1\r\n");
            start.elapsed()
        })
        .collect();
    times.sort();
    times[requests * 99 / 100]
}

#[test]
fn a_flood_of_handshakes_that_stall_leaves_other_clients_alone() {
    let long = at_length("FLOOD_HANDSHAKES");
    let count = long.unwrap_or(500);
    let proxy =
        Proxy::with_users(Redis::shared(), USERS, "limits:\n  handshake_timeout: 10m\n  maxclients: 20000\n");
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.tls().login("app", "secret")).collect();
    let requests = if long.is_some() { 20_000 } else { 1_000 };
    p99(&mut clients, requests);
    let before = p99(&mut clients, requests);
    let _stalled: Vec<TcpStream> = (0..count).map(|_| stall(proxy.port(0))).collect();
    let during = p99(&mut clients, requests);
    println!("p99 of established clients: {before:?} before, {during:?} with {count} stalled handshakes");
    if long.is_some() {
        assert!(during <= before * 2, "{during:?}, {before:?} before");
    } else {
        // A busy machine makes pauses of its own.
        assert!(during <= (before * 20).max(Duration::from_secs(1)), "{during:?}, {before:?} before");
    }
    let mut new = proxy.tls().login("app", "secret");
    assert_eq!(new.ask("PING"), "+PONG\r\n", "who comes now is served, too");
    proxy.assert_no_panic();
}
