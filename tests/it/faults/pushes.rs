//! Pushes come between replies: they shift none, keep their order, and reach only who asked for them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bulk;
use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::redis::all;
use crate::support::{Client, Proxy, Redis, pause};

/// The next reply; pushes before it are added to `pushes`.
fn reply(client: &mut Client, pushes: &mut Vec<String>) -> String {
    loop {
        let frame = text(&client.read_reply());
        if !frame.starts_with('>') {
            return frame;
        }
        pushes.push(frame);
    }
}

fn resp3(proxy: &Proxy) -> Client {
    let mut client = Client::tcp(proxy.port(1));
    assert!(client.ask("HELLO 3 AUTH app secret").starts_with('%'));
    client
}

#[test]
fn pushes_between_pipelined_replies_shift_none_and_reach_only_their_owner() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, USERS, "");
    let mut tracker = resp3(&proxy);
    assert_eq!(tracker.ask("CLIENT TRACKING ON"), "+OK\r\n");
    assert!(tracker.ask("SUBSCRIBE app:c").starts_with(">3\r\n$9\r\nsubscribe\r\n"));
    let mut plain = resp3(&proxy);
    let mut old = Client::tcp(proxy.port(1)).login("app", "secret");
    assert!(old.ask("SUBSCRIBE app:old").starts_with("*3\r\n"));
    let over = AtomicBool::new(false);
    let (pushes, published) = std::thread::scope(|scope| {
        let disturber = scope.spawn(|| {
            let mut direct = redis.client();
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                number += 1;
                direct.send(&["SET", &format!("app:t{}", number % 4), &number.to_string()]);
                direct.send(&["PUBLISH", "app:c", &number.to_string()]);
                direct.send(&["PUBLISH", "app:old", &number.to_string()]);
                (0..3).for_each(|_| _ = direct.read_reply());
                pause(Duration::from_micros(300));
            }
            number
        });
        let mut pushes = Vec::new();
        for round in 0..150 {
            let tokens: Vec<String> = (0..5).map(|place| format!("{round}-{place}")).collect();
            for (place, token) in tokens.iter().enumerate() {
                let key = format!("app:t{}", place % 4);
                tracker.send(&["GET", &key]);
                tracker.send(&["ECHO", token]);
                tracker.send(&["MULTI"]);
                tracker.send(&["GET", &key]);
                tracker.send(&["ECHO", token]);
                tracker.send(&["EXEC"]);
                plain.send(&["ECHO", token]);
            }
            for token in &tokens {
                let value = reply(&mut tracker, &mut pushes);
                assert!(value.starts_with('$') || value == "_\r\n", "{token}: {value}");
                assert_eq!(reply(&mut tracker, &mut pushes), bulk(token));
                assert_eq!(reply(&mut tracker, &mut pushes), "+OK\r\n");
                assert_eq!(reply(&mut tracker, &mut pushes), "+QUEUED\r\n");
                assert_eq!(reply(&mut tracker, &mut pushes), "+QUEUED\r\n");
                let executed = reply(&mut tracker, &mut pushes);
                assert!(executed.starts_with("*2\r\n") && executed.ends_with(&bulk(token)), "{executed}");
                assert_eq!(text(&plain.read_reply()), bulk(token), "who tracks nothing is pushed nothing");
            }
        }
        over.store(true, Ordering::Relaxed);
        let published = disturber.join().unwrap();
        // Whatever was on its way comes before this.
        let last = format!("{published}\r\n");
        while !pushes.iter().any(|push| push.contains("$7\r\nmessage\r\n") && push.ends_with(&last)) {
            pushes.push(text(&tracker.read_reply()));
        }
        (pushes, published)
    });
    let message =
        |number: &i32| format!("3\r\n$7\r\nmessage\r\n$5\r\napp:c\r\n{}", bulk(&number.to_string()));
    let invalidations: HashSet<String> =
        (0..4).map(|key| format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\napp:t{key}\r\n")).collect();
    let (told, messages): (Vec<_>, Vec<_>) = pushes.into_iter().partition(|push| push.contains("invalidate"));
    assert!(!told.is_empty() && told.iter().all(|push| invalidations.contains(push)), "{told:?}");
    let expected: Vec<String> = (1..=published).map(|number| format!(">{}", message(&number))).collect();
    assert_eq!(messages, expected, "all messages, in their order");
    for number in 1..=published {
        let expected = format!("*3\r\n$7\r\nmessage\r\n$7\r\napp:old\r\n{}", bulk(&number.to_string()));
        assert_eq!(text(&old.read_reply()), expected, "a RESP2 client gets its own messages");
    }
    assert_eq!(plain.ask("ECHO last"), bulk("last"));
    proxy.assert_no_panic();
}

#[test]
fn pushes_around_a_transaction_come_where_a_direct_client_gets_them() {
    // In one write each: what a client is told before, inside and after EXEC of its own changes.
    let pipelines: &[&[&str]] = &[
        &["GET k", "SET k 1", "PING"],
        &["GET k", "MULTI", "SET k 1", "GET k", "EXEC", "PING"],
        &["MULTI", "GET k", "GET l", "EXEC", "SET k 2", "MULTI", "SET l 1", "EXEC", "ECHO x"],
        &["GET k", "MULTI", "SET k 1", "DISCARD", "SET k 2", "PING"],
        &["SUBSCRIBE c", "PUBLISH c 1", "ECHO x", "PUBLISH c 2", "UNSUBSCRIBE c", "PING"],
        &["SUBSCRIBE c", "GET k", "MULTI", "GET l", "EXEC", "PUBLISH c 1", "SET k 1", "SET l 1", "ECHO x"],
    ];
    for server in all() {
        let redis = Redis::start_program(&server, &[]);
        let proxy = Proxy::standard(&redis);
        for pipeline in pipelines {
            let play = |mut client: Client| {
                client.ask("HELLO 3");
                client.ask("FLUSHALL");
                assert_eq!(client.ask("CLIENT TRACKING ON"), "+OK\r\n");
                pipeline.iter().for_each(|line| client.send(&line.split(' ').collect::<Vec<_>>()));
                client.send(&["ECHO", "end"]);
                let mut frames = Vec::new();
                while frames.last() != Some(&bulk("end")) {
                    frames.push(text(&client.read_reply()));
                }
                // A push of the last command may still be on its way.
                client.send(&["PING", "end"]);
                while frames.iter().filter(|frame| **frame == bulk("end")).count() < 2 {
                    frames.push(text(&client.read_reply()));
                }
                frames
            };
            let direct = play(redis.client());
            let ours = play(proxy.plain().login("admin", "secret"));
            assert_eq!(ours, direct, "{}: {pipeline:?}", server.display());
        }
        proxy.assert_no_panic();
    }
}
