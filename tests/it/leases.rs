//! Leased links: there are so many and no more; whoever finds none free waits, and is told.

use std::time::{Duration, Instant};

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, pause, wait_for};

const NONE_FREE: &str = "-LOADING redkeep: no upstream connection free, command not sent\r\n";
const NOT_SENT: &str = "-LOADING redkeep: upstream unavailable, command not sent\r\n";

/// A proxy with `max_leased` leased links.
fn proxy(redis: &Redis, max_leased: usize, lease_timeout: &str) -> Proxy {
    Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\n  max_leased: {max_leased}\n  \
             lease_timeout: {lease_timeout}\nacl:\n  file: {}\nworkers: 2\n",
            redis.socket().display(),
            users.display()
        )
    })
}

/// Waits until so many clients of the server are blocked.
fn wait_for_blocked(redis: &Redis, count: usize) {
    let expected = format!("blocked_clients:{count}\r");
    wait_for(&expected, || redis.client().ask("INFO clients").contains(&expected).then_some(()));
}

/// A client that is blocked in BLPOP of `key`.
fn blocked(proxy: &Proxy, key: &str) -> Client {
    let mut client = Client::patient(proxy.port(0)).login("app", "secret");
    client.send(&["BLPOP", key, "0"]);
    client
}

#[test]
fn who_finds_no_leased_link_free_waits_and_is_told_and_harms_nobody() {
    let redis = Redis::start(&[]);
    let proxy = proxy(&redis, 3, "300ms");
    let mut holders: Vec<Client> = (0..3).map(|_| blocked(&proxy, "app:list")).collect();
    wait_for_blocked(&redis, 3);
    let mut app = Client::tcp(proxy.port(0)).login("admin", "secret");
    for line in ["BLPOP app:x 0", "MULTI", "WATCH app:x", "SUBSCRIBE chan", "WAIT 0 0"] {
        let start = Instant::now();
        assert_eq!(app.ask(line), NONE_FREE, "{line}");
        assert!(start.elapsed() >= Duration::from_millis(300), "{line}: it waits");
        assert!(start.elapsed() < Duration::from_secs(3), "{line}: but not for long");
        if matches!(line, "MULTI" | "WATCH app:x") {
            assert_eq!(text(&app.read_to_end()), "", "what is behind it in a pipeline must not run");
            app = Client::tcp(proxy.port(0)).login("admin", "secret");
        }
        assert_eq!(app.ask("SET app:x 1"), "+OK\r\n", "shared links are not concerned");
    }
    let mut direct = redis.client();
    assert_eq!(direct.ask("RPUSH app:list 1"), ":1\r\n");
    wait_for("a free link", || (app.ask("BLPOP app:none 0.01") == "*-1\r\n").then_some(()));
    assert_eq!(direct.ask("RPUSH app:list 1 1"), ":2\r\n");
    for holder in &mut holders {
        assert_eq!(text(&holder.read_reply()), "*2\r\n$8\r\napp:list\r\n$1\r\n1\r\n");
    }
    proxy.assert_no_panic();
}

#[test]
fn those_who_wait_are_served_in_their_order_and_those_who_left_are_forgotten() {
    let redis = Redis::start(&[]);
    let proxy = proxy(&redis, 1, "30s");
    let mut first = blocked(&proxy, "app:list");
    wait_for_blocked(&redis, 1);
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(blocked(&proxy, "app:list"));
        // The next one comes behind it: it has been read when the same session has answered this.
        crate::support::pause(Duration::from_millis(50));
    }
    drop(waiting.remove(1));
    let mut direct = redis.client();
    for (number, client) in std::iter::once(&mut first).chain(&mut waiting).enumerate() {
        wait_for_blocked(&redis, 1);
        let number = number.to_string();
        assert_eq!(direct.ask(&format!("RPUSH app:list {number}")), ":1\r\n");
        assert_eq!(text(&client.read_reply()), format!("*2\r\n$8\r\napp:list\r\n$1\r\n{number}\r\n"));
    }
    wait_for_blocked(&redis, 0);
    assert_eq!(direct.ask("RPUSH app:list 1"), ":1\r\n");
    assert_eq!(direct.ask("LLEN app:list"), ":1\r\n", "nobody waits any more");
    proxy.assert_no_panic();
}

#[test]
fn a_thousand_clients_that_block_do_not_hold_up_the_others() {
    let redis = Redis::start(&[]);
    let proxy = proxy(&redis, 50, "200ms");
    let mut many: Vec<Client> = (0..1000).map(|_| blocked(&proxy, "app:list")).collect();
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(app.ask("SET app:k 1"), "+OK\r\n");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    wait_for_blocked(&redis, 50);
    // One for each worker, which have begun to wait after all others there.
    for mut last in [blocked(&proxy, "app:list"), blocked(&proxy, "app:list")] {
        assert_eq!(text(&last.read_reply()), NONE_FREE, "so nobody waits for a link any more");
    }
    pause(Duration::from_millis(300));
    let elements: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let push: Vec<&str> =
        ["RPUSH", "app:list"].into_iter().chain(elements.iter().map(String::as_str)).collect();
    redis.client().call(&push);
    let replies: Vec<String> = many.iter_mut().map(|client| text(&client.read_reply())).collect();
    assert_eq!(replies.iter().filter(|reply| *reply == NONE_FREE).count(), 950);
    for number in elements {
        let reply = format!("*2\r\n$8\r\napp:list\r\n${}\r\n{number}\r\n", number.len());
        assert_eq!(replies.iter().filter(|other| **other == reply).count(), 1, "{number}");
    }
    proxy.assert_no_panic();
}

#[test]
fn while_the_upstream_is_down_no_lease_is_waited_for() {
    let mut redis = Redis::start(&[]);
    let proxy = proxy(&redis, 10, "1s");
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_eq!(app.ask("SET app:k 1"), "+OK\r\n");
    redis.kill();
    wait_for("the code", || (app.ask("GET app:k") == NOT_SENT).then_some(()));
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(app.ask("BLPOP app:k 0"), NOT_SENT);
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let mut other = Client::tcp(proxy.port(0)).login("app", "secret");
    // In one write: nothing may run outside the transaction.
    other.send_raw(b"MULTI\r\nSET app:k 2\r\nEXEC\r\n");
    let replies = text(&other.read_to_end());
    assert!(!replies.is_empty() && replies.replace(NOT_SENT, "").is_empty(), "{replies}");
    redis.start_again();
    wait_for("the service", || (app.ask("BLPOP app:none 0.01") == "*-1\r\n").then_some(()));
    proxy.assert_no_panic();
}

#[test]
fn a_command_that_would_block_a_client_who_has_gone_is_not_sent() {
    let redis = Redis::start(&[]);
    let proxy = proxy(&redis, 10, "1s");
    for _ in 0..20 {
        let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
        // BLPOP has to wait for the reply to GET; by then the client has gone.
        app.send_raw(b"*2\r\n$3\r\nGET\r\n$5\r\napp:k\r\n*3\r\n$5\r\nBLPOP\r\n$8\r\napp:list\r\n$1\r\n0\r\n");
    }
    wait_for_blocked(&redis, 0);
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_eq!(app.ask("RPUSH app:list 1"), ":1\r\n");
    assert_eq!(app.ask("LLEN app:list"), ":1\r\n", "nobody has taken it");
    proxy.assert_no_panic();
}
