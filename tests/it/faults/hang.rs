//! The upstream hangs, is slow, or is gone without a word.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{IN_DOUBT, NOT_SENT, app, behind, bulk, signal, wait_for_service};
use crate::support::chaos::{Chaos, Lane, Server};
use crate::support::client::text;
use crate::support::{Client, Proxy, Redis, pause, wait_for};

#[test]
fn a_hung_upstream_is_told_fast_and_its_late_replies_reach_nobody() {
    let redis = Redis::start(&[]);
    let chaos = Chaos::before(Server::Unix(redis.socket()));
    let proxy = behind(&chaos, "  connect_timeout: 300ms\n  response_timeout: 500ms\n", "workers: 2\n");
    let (over, right) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pid = redis.pid();
    let mut prober = app(&proxy);
    wait_for_service(&mut prober);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (proxy, over, right) = (&proxy, &over, &right);
            scope.spawn(move || {
                let mut client = app(proxy);
                let mut round = 0;
                while !over.load(Ordering::Relaxed) {
                    round += 1;
                    right.fetch_add(check_tokens(&mut client, number, round), Ordering::Relaxed);
                }
            });
        }
        pause(Duration::from_millis(300));
        signal(pid, "-STOP");
        let stopped = Instant::now();
        wait_for("a refusal", || (prober.ask("GET app:none") == NOT_SENT).then_some(()));
        assert!(stopped.elapsed() < Duration::from_secs(4), "{:?}", stopped.elapsed());
        let mut times = Vec::new();
        while stopped.elapsed() < Duration::from_secs(4) {
            let start = Instant::now();
            assert_eq!(prober.ask("GET app:none"), NOT_SENT, "no link can come up");
            times.push(start.elapsed());
            pause(Duration::from_millis(10));
        }
        times.sort_unstable();
        let usual = times[times.len() * 9 / 10];
        assert!(usual < Duration::from_millis(100), "commands are refused at once: {usual:?}");
        let before = right.load(Ordering::Relaxed);
        signal(pid, "-CONT");
        wait_for_service(&mut prober);
        wait_for("ten thousand tokens", || (right.load(Ordering::Relaxed) >= before + 10_000).then_some(()));
        over.store(true, Ordering::Relaxed);
    });
    proxy.assert_no_panic();
}

/// A pipeline of tokens: each reply is the right one or a code. How many were right.
fn check_tokens(client: &mut Client, number: usize, round: usize) -> usize {
    let tokens: Vec<String> = (0..20).map(|place| format!("{number}-{round}-{place}")).collect();
    tokens.iter().for_each(|token| client.send(&["ECHO", token]));
    let mut right = 0;
    for token in &tokens {
        let reply = text(&client.read_reply());
        assert!(reply == bulk(token) || reply == NOT_SENT || reply == IN_DOUBT, "{token}: {reply}");
        right += usize::from(reply == bulk(token));
    }
    if right == 0 {
        pause(Duration::from_millis(10));
    }
    right
}

#[test]
fn a_slow_upstream_delays_replies_and_fails_none() {
    let redis = Redis::start(&[]);
    let chaos = Chaos::before(Server::Unix(redis.socket()));
    let proxy = behind(&chaos, "  response_timeout: 2s\n", "");
    let mut clients: Vec<Client> = (0..8).map(|_| app(&proxy)).collect();
    let late = Lane { delay: Duration::from_millis(150), ..Lane::default() };
    let pieces = |piece| Lane { piece: Some(piece), ..Lane::default() };
    let mut lanes = vec![(late, Duration::from_millis(300))];
    lanes.extend((1..=7).map(|piece| (pieces(piece), Duration::ZERO)));
    clients.iter_mut().for_each(wait_for_service);
    for (round, (lane, at_least)) in lanes.into_iter().enumerate() {
        chaos.up(lane);
        chaos.down(lane);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for (number, client) in clients.iter_mut().enumerate() {
                scope.spawn(move || {
                    assert_eq!(check_tokens(client, number, round), 20, "every reply comes");
                    client.send(&["SET", "app:k", &"v".repeat(1000)]);
                    client.send(&["GET", "app:k"]);
                    assert_eq!(text(&client.read_reply()), "+OK\r\n");
                    assert_eq!(text(&client.read_reply()), bulk(&"v".repeat(1000)));
                });
            }
        });
        assert!(start.elapsed() >= at_least, "{:?}", start.elapsed());
    }
    proxy.assert_no_panic();
}

#[test]
fn clients_whose_bytes_come_in_tiny_pieces_are_served() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let (tls, plain) =
        (Chaos::before(Server::Port(proxy.port(0))), Chaos::before(Server::Port(proxy.port(1))));
    for piece in 1..=7 {
        for chaos in [&tls, &plain] {
            chaos.up(Lane { piece: Some(piece), ..Lane::default() });
            chaos.down(Lane { piece: Some(8 - piece), ..Lane::default() });
        }
        let config = proxy.certs.client_config(false);
        for client in [Client::tls(tls.port(), config), Client::tcp(plain.port())] {
            let mut client = client.login("app", "secret");
            wait_for_service(&mut client);
            assert_eq!(check_tokens(&mut client, piece, 0), 20);
            // It leaves while a reply is on its way.
            client.send(&["GET", "app:none"]);
        }
    }
    proxy.assert_no_panic();
}

#[test]
fn a_reply_may_take_longer_than_the_timeout_while_it_comes() {
    let redis = Redis::start(&[]);
    let chaos = Chaos::before(Server::Unix(redis.socket()));
    let proxy = behind(&chaos, "  response_timeout: 1s\n", "");
    let value = "x".repeat(300_000);
    redis.client().call(&["SET", "app:large", &value]);
    let mut client = app(&proxy);
    wait_for_service(&mut client);
    // 1 Mbit a second.
    chaos.down(Lane { rate: Some(125_000), ..Lane::default() });
    let start = Instant::now();
    assert!(text(&client.call(&["GET", "app:large"])) == bulk(&value));
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    proxy.assert_no_panic();
}

#[test]
fn a_request_may_take_longer_than_the_timeout_while_it_goes() {
    let redis = Redis::start(&[]);
    let chaos = Chaos::before(Server::Unix(redis.socket()));
    let proxy = behind(&chaos, "  response_timeout: 2500ms\n", "");
    let mut client = app(&proxy);
    wait_for_service(&mut client);
    chaos.up(Lane { rate: Some(8 << 20), ..Lane::default() });
    let start = Instant::now();
    // More than the sockets on the way hold.
    assert_eq!(text(&client.call(&["SET", "app:large", &"x".repeat(28 << 20)])), "+OK\r\n");
    assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
    proxy.assert_no_panic();
}

#[test]
fn an_upstream_that_swallows_everything_is_given_up() {
    let redis = Redis::start(&[]);
    let chaos = Chaos::before(Server::Unix(redis.socket()));
    let proxy = behind(&chaos, "  connect_timeout: 300ms\n  response_timeout: 500ms\n", "");
    let mut client = app(&proxy);
    assert_eq!(client.ask("SET app:k 1"), "+OK\r\n");
    let hole = Lane { swallows: true, ..Lane::default() };
    for (up, down) in [(hole, Lane::default()), (Lane::default(), hole), (hole, hole)] {
        chaos.up(up);
        chaos.down(down);
        let start = Instant::now();
        assert_eq!(client.ask("GET app:k"), IN_DOUBT);
        assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        wait_for("a refusal", || (client.ask("GET app:k") == NOT_SENT).then_some(()));
        chaos.up(Lane::default());
        chaos.down(Lane::default());
        wait_for_service(&mut client);
        assert_eq!(client.ask("GET app:k"), "$1\r\n1\r\n");
    }
    proxy.assert_no_panic();
}

/// The kernel's table of connections: state, timer and what is left of it, by the ports of this end and the other.
fn keepalive_timers(local: Option<u16>, remote: Option<u16>) -> Vec<Option<Duration>> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: &str| u16::from_str_radix(address.split_once(':').unwrap().1, 16).unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let established = rows.filter(|row| row[3] == "01").filter(|row| {
        local.is_none_or(|local| port(row[1]) == local) && remote.is_none_or(|remote| port(row[2]) == remote)
    });
    established
        .map(|row| {
            // `02:` is the timer of keepalive, in hundredths of a second.
            let ticks = row[5].strip_prefix("02:")?;
            Some(Duration::from_millis(10 * u64::from_str_radix(ticks, 16).unwrap()))
        })
        .collect()
}

#[test]
fn connections_on_both_sides_are_probed_within_30_seconds() {
    let redis = Redis::start(&[]);
    let chaos = Chaos::before(Server::Unix(redis.socket()));
    let proxy = behind(&chaos, "", "workers: 1\n");
    let mut client = app(&proxy);
    wait_for_service(&mut client);
    assert_eq!(client.ask("MULTI"), "+OK\r\n", "a leased link, too");
    for (side, local, remote, count) in
        [("client", Some(proxy.port(0)), None, 1), ("upstream", None, Some(chaos.port()), 2)]
    {
        // While data is under way the timer is another one.
        wait_for(side, || {
            let timers = keepalive_timers(local, remote);
            let armed = timers.iter().all(|left| left.is_some_and(|left| left <= Duration::from_secs(31)));
            (timers.len() == count && armed).then_some(())
        });
    }
}
