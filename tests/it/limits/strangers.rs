//! Clients that are not logged in, and clients that are silent.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::write_until_stuck_as;
use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, SOON, pause, wait_for};

#[test]
fn who_does_not_log_in_in_time_is_closed_and_nobody_else() {
    let redis = Redis::shared();
    let proxy = Proxy::with_users(redis, USERS, "limits:\n  auth_timeout: 1s\n");
    let start = Instant::now();
    let mut known = proxy.plain().login("app", "secret");
    let mut reset = proxy.plain().login("app", "secret");
    let mut slow = proxy.plain();
    slow.send_raw(b"*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$6\r\nsec");
    let mut busy = proxy.plain();
    assert_eq!(busy.ask("PING"), "-NOAUTH Authentication required.\r\n");
    for stranger in [&mut proxy.plain(), &mut slow, &mut busy] {
        assert_eq!(text(&stranger.read_to_end()), "");
    }
    assert!(start.elapsed() >= Duration::from_secs(1), "not before its time");
    let mut secure = proxy.tls();
    assert_eq!(secure.ask("PING"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(text(&secure.read_to_end()), "", "counted from the end of the handshake");
    assert_eq!(known.ask("PING"), "+PONG\r\n");
    assert_eq!(reset.ask("RESET"), "+RESET\r\n");
    assert_eq!(text(&reset.read_to_end()), "", "who has logged out is a stranger");
    assert_eq!(known.ask("PING"), "+PONG\r\n");

    let open = "user default on nopass ~* +@all\n";
    let proxy = Proxy::with_users(redis, open, "limits:\n  auth_timeout: 200ms\n");
    let mut anonymous = proxy.plain();
    pause(Duration::from_millis(600));
    assert_eq!(anonymous.ask("PING"), "+PONG\r\n", "nobody needs to log in");
    proxy.assert_no_panic();
}

#[test]
fn idle_clients_are_closed_after_timeout_as_in_redis() {
    let redis = Redis::start(&["--timeout", "1"]);
    check_idle(&|| redis.client());
    let upstream = Redis::start(&[]);
    let proxy = Proxy::with_users(&upstream, USERS, "limits:\n  timeout: 1\n");
    check_idle(&|| proxy.plain().login("admin", "secret"));
    proxy.assert_no_panic();
}

fn check_idle(connect: &dyn Fn() -> Client) {
    let with = |line: &str| {
        let mut client = connect();
        client.send_raw(format!("{line}\r\n").as_bytes());
        client
    };
    let mut subscriber = with("SUBSCRIBE app:idle");
    let mut monitor = with("MONITOR");
    let mut blocked = with("BLPOP app:nobody 0");
    let mut active = connect();
    let mut slow = connect();
    slow.send_raw(b"*2\r\n$4\r\nPING\r\n$8\r\n");
    let start = Instant::now();
    let mut idle = vec![connect(), with("PING"), with("MULTI"), with("WATCH app:x"), with("HELLO 3")];
    let mut sent = 0;
    while start.elapsed() < Duration::from_secs(3) {
        pause(Duration::from_millis(350));
        assert_eq!(active.ask("PING"), "+PONG\r\n");
        if sent < 8 {
            // A request that takes its time is no silence.
            slow.send_raw(b"x");
            sent += 1;
        }
    }
    (sent..8).for_each(|_| slow.send_raw(b"x"));
    slow.send_raw(b"\r\n");
    assert_eq!(text(&slow.read_reply()), "$8\r\nxxxxxxxx\r\n");
    for client in &mut idle {
        // Not silent only: closed.
        let begin = Instant::now();
        client.read_to_end();
        assert!(begin.elapsed() < SOON / 2);
    }
    assert!(text(&subscriber.read_reply()).contains("subscribe"));
    subscriber.send_raw(b"PING\r\n");
    assert_eq!(text(&subscriber.read_reply()), "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert_eq!(text(&monitor.read_reply()), "+OK\r\n");
    active.ask("RPUSH app:nobody x");
    assert_eq!(text(&blocked.read_reply()), "*2\r\n$10\r\napp:nobody\r\n$1\r\nx\r\n");
    let seen = text(&monitor.read_until_silent(Duration::from_millis(500)));
    assert!(seen.contains("RPUSH"), "{seen}");
}

#[test]
fn of_a_stranger_who_does_not_read_a_kilobyte_waits_and_no_more_requests_are_read() {
    let proxy = Proxy::with_users(Redis::shared(), USERS, "limits:\n  auth_timeout: 0\n");
    let mut admin = proxy.plain().login("admin", "secret");
    let pings = b"PING\r\n".repeat(2_000_000);
    let stuck: Vec<TcpStream> = (0..5).map(|_| write_until_stuck_as(&proxy, b"", &pings)).collect();
    wait_for("clients that are stuck", || {
        let list = admin.ask("CLIENT LIST");
        let held: Vec<(usize, usize)> = list
            .lines()
            .filter(|line| line.contains(" user=default "))
            .map(|line| (field(line, "obl="), field(line, "qbuf=")))
            .collect();
        let most = 1024 + "-NOAUTH Authentication required.\r\n".len();
        assert!(held.iter().all(|(output, input)| *output <= most && *input <= 64 * 1024), "{held:?}");
        (held.len() == stuck.len() && held.iter().all(|(output, _)| *output > 0)).then_some(())
    });

    // Who reads gets all of them.
    let mut reader = proxy.plain();
    reader.send_raw(&b"PING\r\n".repeat(500));
    for _ in 0..500 {
        assert_eq!(text(&reader.read_reply()), "-NOAUTH Authentication required.\r\n");
    }
    reader.send_raw(b"PING\r\nAUTH app secret\r\nPING\r\n");
    assert_eq!(text(&reader.read_reply()), "-NOAUTH Authentication required.\r\n");
    assert_eq!(text(&reader.read_reply()), "+OK\r\n");
    assert_eq!(text(&reader.read_reply()), "+PONG\r\n");
    let mut secure = proxy.tls();
    secure.send_raw(&b"PING\r\n".repeat(500));
    (0..500).for_each(|_| assert_eq!(text(&secure.read_reply()), "-NOAUTH Authentication required.\r\n"));
    proxy.assert_no_panic();
}

/// A number in a line of CLIENT LIST.
pub fn field(line: &str, name: &str) -> usize {
    let value = line.split(' ').find_map(|word| word.strip_prefix(name));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {line}"))
}
