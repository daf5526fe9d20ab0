//! The upstream goes while it owes replies: in a pipeline, in a transaction, under blocked clients.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redkeep::resp::RequestBuf;

use super::{IN_DOUBT, LOST, NOT_SENT, app, behind, bulk, wait_for_service};
use crate::support::chaos::{Chaos, End, Lane, Server};
use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, SOON, pause, wait_for};

/// A pipeline with replies of all kinds, found by its mark, in one piece.
fn pipeline(mark: &str) -> Vec<String> {
    let count = format!("app:count:{mark}");
    [
        &format!("ECHO {mark}"),
        &format!("INCR {count}"),
        "GET app:bulk",
        "LRANGE app:list 0 -1",
        "GET app:none",
        &format!("INCR {count}"),
        "LPUSH app:bulk x",
        "HGETALL app:hash",
        "LRANGE app:none 0 -1",
        &format!("INCR {count}"),
        "PING",
    ]
    .map(str::to_owned)
    .into()
}

/// Marks have the same length, and so have all replies to a pipeline.
fn mark(offset: usize, end: End) -> String {
    format!("cut-{offset:04}-{}", if end == End::Fin { "F" } else { "R" })
}

fn wire(lines: &[String]) -> Vec<u8> {
    let requests = lines.iter().map(|line| RequestBuf::from_args(&line.split(' ').collect::<Vec<_>>()));
    requests.flat_map(|request| request.as_request().wire().to_vec()).collect()
}

#[test]
fn answers_cut_at_any_byte_are_whole_or_in_doubt_and_nothing_is_sent_twice() {
    let redis = Redis::start(&[]);
    let mut direct = redis.client();
    // Each looks like several replies.
    direct.call(&["SET", "app:bulk", &format!("a\r\n+OK\r\n$3\r\n{}\r\n", "x".repeat(99))]);
    direct.call(&["RPUSH", "app:list", "+OK\r\n", "-ERR", "", "$1\r\n1\r\n"]);
    direct.call(&["HSET", "app:hash", "one", "1", "two", "2"]);
    let expected: Vec<String> = pipeline("cut-0000-D").iter().map(|line| direct.ask(line)).collect();
    let length: usize = expected.iter().map(String::len).sum();
    assert!(length >= 300, "{length}");
    let chaos = Chaos::before(Server::Unix(redis.socket()));
    // Each client has a link of its own: sessions choose by their number.
    const LINKS: usize = 32;
    let proxy = behind(&chaos, &format!("  links_per_worker: {LINKS}\n"), "workers: 1\n");
    let cases: Vec<(usize, End)> = (0..=length)
        .map(|offset| (offset, End::Fin))
        .chain((0..=length).step_by(5).map(|offset| (offset, End::Reset)))
        .collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..LINKS {
            scope.spawn(|| {
                let mut client = app(&proxy);
                while let Some((offset, end)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    cut_once(&mut client, &chaos, &expected, *offset, *end);
                }
            });
        }
    });
    for (offset, end) in &cases {
        let count = direct.ask(&format!("GET app:count:{}", mark(*offset, *end)));
        assert_eq!(count, "$1\r\n3\r\n", "{offset} {end:?}: all three were executed, and once");
    }
    proxy.assert_no_panic();
}

/// One pipeline, whose answers are cut after `offset` bytes.
fn cut_once(client: &mut Client, chaos: &Chaos, expected: &[String], offset: usize, end: End) {
    let mark = mark(offset, end);
    wait_for_service(client);
    chaos.cut(&mark, offset, end);
    client.send_raw(&wire(&pipeline(&mark)));
    let (mut passed, mut lost) = (0, false);
    for (place, expected) in expected.iter().enumerate() {
        let expected = if place == 0 { &bulk(&mark) } else { expected };
        let reply = text(&client.read_reply());
        passed += expected.len();
        // A reset may overtake what came before it.
        lost |= passed > offset || (end == End::Reset && reply == IN_DOUBT);
        assert_eq!(reply, if lost { IN_DOUBT } else { expected }, "{mark}: reply {place}");
    }
}

/// Whether it is passed on as it comes or in one piece: what is left of it is told apart from a reply.
#[test]
fn a_large_reply_that_is_cut_is_in_doubt_or_ends_the_connection() {
    let redis = Redis::start(&[]);
    let value = "0123456789abcdef".repeat(200_000);
    redis.client().call(&["SET", "app:large", &value]);
    let chaos = Chaos::before(Server::Unix(redis.socket()));
    let proxy = behind(&chaos, "", "workers: 1\n");
    let whole = bulk(&value);
    for (number, offset) in
        [1, 9, 10, 70_000, 1_600_000, whole.len() - 2, whole.len() - 1].into_iter().enumerate()
    {
        let mut client = app(&proxy);
        wait_for_service(&mut client);
        let mark = format!("app:large:{number}");
        redis.client().call(&["COPY", "app:large", &mark]);
        chaos.cut(&mark, offset, if number % 2 == 0 { End::Fin } else { End::Reset });
        client.send_raw(&wire(&[format!("GET {mark}"), "ECHO behind".to_owned()]));
        let start = Instant::now();
        match client.try_read_reply().map(|reply| text(&reply)) {
            Some(reply) => {
                assert_eq!(reply, IN_DOUBT, "{offset}");
                assert_eq!(text(&client.read_reply()), IN_DOUBT, "{offset}");
            }
            None => {
                let rest = text(&client.read_to_end());
                assert!(rest.len() <= offset && whole.starts_with(&rest), "{offset}: {} bytes", rest.len());
            }
        }
        assert!(start.elapsed() < SOON / 2, "{:?}", start.elapsed());
    }
    proxy.assert_no_panic();
}

/// A server whose data outlives it.
fn lasting() -> Redis {
    Redis::start(&["--appendonly", "yes", "--appendfsync", "always"])
}

#[test]
fn a_transaction_whose_upstream_is_killed_between_any_two_commands_never_runs_by_half() {
    let mut redis = lasting();
    // One worker has one shared link.
    let proxy = Proxy::start(|dir, _| {
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\nacl:\n  file: {}\nlog:\n  \
             format: json\nworkers: 1\n",
            redis.socket().display(),
            dir.write("users.acl", USERS).display()
        )
    });
    let mut client = Client::tcp(proxy.port(0)).login("app", "secret");
    let steps = ["WATCH app:w", "GET app:w", "MULTI", "INCR app:n", "INCR app:m", "EXEC"];
    let right = ["+OK\r\n", "$-1\r\n", "+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n"];
    wait_for_service(&mut client);
    // Killed before the step of this number, and whether it is back before that step.
    for (killed, back) in (1..steps.len()).flat_map(|step| [(step, true), (step, false)]) {
        let what = format!("killed before {}, back: {back}", steps[killed]);
        for (step, right) in steps[..killed].iter().zip(right) {
            assert_eq!(client.ask(step), right, "{what}: {step}");
        }
        let seen = proxy.log().len();
        redis.kill();
        wait_for("the end of both links", || {
            let log = proxy.log();
            let ended = log[seen..].iter().filter(|line| line.contains("upstream closed the connection"));
            (ended.count() == 2).then_some(())
        });
        if back {
            redis.start_again();
        }
        // What was watched may have changed meanwhile.
        for step in &steps[killed..] {
            let reply = client.ask(step);
            match *step {
                "EXEC" => assert_eq!(reply, LOST, "{what}"),
                "MULTI" => assert_eq!(reply, "+OK\r\n", "{what}"),
                // Not yet part of the transaction.
                "GET app:w" => assert!(reply == NOT_SENT || reply == "$-1\r\n", "{what}: {reply}"),
                _ => assert_eq!(reply, NOT_SENT, "{what}: {step}"),
            }
        }
        if !back {
            redis.start_again();
        }
        assert_eq!(redis.client().ask("EXISTS app:n app:m"), ":0\r\n", "{what}");
        wait_for_service(&mut client);
    }
    for (step, right) in steps.iter().zip(right.into_iter().chain(["*2\r\n:1\r\n:1\r\n"])) {
        assert_eq!(client.ask(step), right, "the next transaction is a good one: {step}");
    }
    proxy.assert_no_panic();
}

#[test]
fn an_exec_that_was_sent_is_in_doubt() {
    let redis = Redis::start(&[]);
    let chaos = Chaos::before(Server::Unix(redis.socket()));
    let proxy = behind(&chaos, "", "");
    let mut client = app(&proxy);
    for executed in [false, true] {
        wait_for_service(&mut client);
        for step in ["MULTI", "INCR app:n", "INCR app:m"] {
            assert!(client.ask(step).starts_with('+'), "{step}");
        }
        if executed {
            chaos.cut("EXEC", 0, End::Fin);
            client.send(&["EXEC"]);
        } else {
            chaos.up(Lane { swallows: true, ..Lane::default() });
            client.send(&["EXEC"]);
            pause(Duration::from_millis(100));
            chaos.end_all();
            chaos.up(Lane::default());
        }
        assert_eq!(text(&client.read_reply()), IN_DOUBT, "executed: {executed}");
        let count = if executed { ":1\r\n" } else { ":0\r\n" };
        assert_eq!(redis.client().ask("EXISTS app:n"), count);
        assert_eq!(redis.client().ask("EXISTS app:m"), count);
        assert_eq!(client.ask("EXEC"), "-ERR EXEC without MULTI\r\n");
    }
    assert_eq!(redis.client().ask("MGET app:n app:m"), "*2\r\n$1\r\n1\r\n$1\r\n1\r\n", "and it ran once");
    proxy.assert_no_panic();
}

#[test]
fn a_hundred_and_sixty_blocked_clients_are_in_doubt_and_no_pop_is_repeated() {
    let mut redis = lasting();
    let proxy = Proxy::standard(&redis);
    let lines = [
        "BLPOP app:list 0",
        "BLMOVE app:list app:other LEFT LEFT 0",
        "BZPOPMIN app:set 0",
        "XREAD BLOCK 0 STREAMS app:stream $",
    ];
    let mut clients: Vec<Client> = (0..160)
        .map(|number| {
            let mut client = proxy.plain().login("app", "secret");
            client.send(&lines[number % lines.len()].split(' ').collect::<Vec<_>>());
            client
        })
        .collect();
    wait_for("the blocked clients", || {
        redis.client().ask("INFO clients").contains("blocked_clients:160\r").then_some(())
    });
    redis.kill();
    let killed = Instant::now();
    for client in &mut clients {
        assert_eq!(text(&client.read_reply()), IN_DOUBT);
    }
    assert!(killed.elapsed() < SOON / 2, "{:?}", killed.elapsed());
    redis.start_again();
    wait_for_service(&mut clients[0]);
    let mut direct = redis.client();
    assert!(
        direct.ask("INFO clients").contains("blocked_clients:0\r"),
        "nobody waits for the clients' replies"
    );
    assert_eq!(direct.ask("RPUSH app:list 1 2 3"), ":3\r\n");
    assert_eq!(direct.ask("ZADD app:set 1 one"), ":1\r\n");
    for client in &mut clients {
        wait_for_service(client);
    }
    assert_eq!(direct.ask("LLEN app:list"), ":3\r\n", "no pop was repeated");
    assert_eq!(direct.ask("ZCARD app:set"), ":1\r\n", "no pop was repeated");
    proxy.assert_no_panic();
}
