//! Subscriptions: the same bytes as a direct connection, in RESP2 and RESP3, before all real servers; and what only a
//! proxy can get wrong: rules that change, clients that do not read, links that die.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::client::text;
use crate::support::random::Random;
use crate::support::redis::all;
use crate::support::{Client, Proxy, Redis, SOON, TempDir, pause, wait_for};

const USERS: &str = "\
user default off
user admin on >secret ~* &* +@all
user app on >secret ~app:* resetchannels &a* &pat* &b +@all -@dangerous
user nosub on >secret ~* &* +@all -subscribe
";

const RELOADED: &str = "\"message\":\"reloaded\"";

/// Each script runs on fresh connections of `app`; `b>`: on another one, of `admin`.
const SCRIPTS: &[&[&str]] = &[
    &["SUBSCRIBE a1 a2", "PING", "PING x", "PING x y", "UNSUBSCRIBE a1", "PING", "UNSUBSCRIBE", "PING"],
    &["SUBSCRIBE a1 a1", "SUBSCRIBE a1", "UNSUBSCRIBE a1", "UNSUBSCRIBE a1", "PING"],
    &["UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "UNSUBSCRIBE none other", "PUNSUBSCRIBE a*", "PING"],
    &[
        "PSUBSCRIBE a* pat*",
        "SSUBSCRIBE a1",
        "SUBSCRIBE b",
        "PUNSUBSCRIBE a*",
        "SUNSUBSCRIBE",
        "PUNSUBSCRIBE",
    ],
    &[
        "SUBSCRIBE c",
        "SUBSCRIBE a1 c",
        "PSUBSCRIBE a1",
        "PSUBSCRIBE a1*",
        "PSUBSCRIBE *",
        "SSUBSCRIBE c",
        "PING",
    ],
    &["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE c", "SUBSCRIBE ''", "PSUBSCRIBE ''"],
    &[
        "SUBSCRIBE a1",
        "b>PUBLISH a1 hello",
        "b>PUBLISH a2 hello",
        "b>PUBSUB NUMSUB a1",
        "b>PUBSUB CHANNELS a*",
    ],
    &["PSUBSCRIBE a* pat*", "SUBSCRIBE a1", "b>PUBLISH a1 ''", "b>PUBLISH pat1 x", "b>PUBSUB NUMPAT"],
    &[
        "SSUBSCRIBE a1",
        "b>SPUBLISH a1 x",
        "b>PUBLISH a1 x",
        "b>PUBSUB SHARDNUMSUB a1",
        "SUNSUBSCRIBE a1",
        "PING",
    ],
    &["SUBSCRIBE a1", "UNSUBSCRIBE a1", "b>PUBLISH a1 lost", "SUBSCRIBE a2", "b>PUBLISH a2 x", "GET app:k"],
    &["SUBSCRIBE a1", "RESET", "AUTH app secret", "b>PUBLISH a1 lost", "GET app:k"],
    &["SUBSCRIBE a1", "AUTH admin secret", "ACL WHOAMI", "SUBSCRIBE zzz"],
    &["WATCH app:k", "SUBSCRIBE a1", "UNSUBSCRIBE", "MULTI", "SET app:k 1", "EXEC", "GET app:k", "DEL app:k"],
    &[
        "SUBSCRIBE a1",
        "MULTI",
        "SET app:k 1",
        "GET app:k",
        "EXEC",
        "b>PUBLISH a1 x",
        "UNSUBSCRIBE",
        "DEL app:k",
    ],
    &["SUBSCRIBE a1", "MULTI", "SET app:k 1", "SET other 1", "EXEC", "b>PUBLISH a1 x", "GET app:k", "PING"],
    &["SUBSCRIBE a1", "WATCH app:k", "EXEC", "EXEC x", "DISCARD", "UNWATCH", "UNSUBSCRIBE", "DEL app:k"],
    &[
        "WATCH app:k",
        "SUBSCRIBE a1",
        "EXEC",
        "b>SET app:k 1",
        "UNSUBSCRIBE",
        "MULTI",
        "PING",
        "EXEC",
        "DEL app:k",
    ],
    &["SUBSCRIBE a1", "PUBLISH a1 self", "PUBLISH a2 self", "INCR app:n", "DEL app:n"],
    &[
        "SUBSCRIBE a1",
        "NOSUCH",
        "GET",
        "GET other",
        "FLUSHALL",
        "MONITOR x",
        "CLIENT ID x",
        "CONFIG",
        "ECHO x",
    ],
    &[
        "SUBSCRIBE a1",
        "BLPOP app:none 0.05",
        "b>PUBLISH a1 x",
        "PING",
        "RPUSH app:l x",
        "BLPOP app:l 0",
        "PING",
    ],
];

/// Plays a script directly and through the proxy; both must see the same. `at_once`: in as few writes as possible.
fn compare(server: &Path, redis: &Redis, proxy: &Proxy, hello: &str, lines: &[&str], at_once: bool) {
    let play = |mut one: Client, mut other: Client| {
        nobody_listens(redis);
        one.ask(&format!("HELLO {hello} AUTH app secret"));
        other.ask("AUTH admin secret");
        let mut seen = Vec::new();
        let mut batch = String::new();
        let mut closed = false;
        for line in lines {
            if let Some(line) = line.strip_prefix("b>") {
                seen.push(drain(&mut one, &std::mem::take(&mut batch)));
                seen.push(format!("b: {}", other.ask(line)));
                // An error may overtake a message, see docs/COMPATIBILITY.md; what the upstream answers does not.
                seen.push(drain(&mut one, ""));
                continue;
            }
            batch.push_str(line);
            batch.push_str("\r\n");
            // The marker would be queued in a transaction, and refused to nobody.
            closed = match *line {
                "MULTI" | "RESET" => true,
                "EXEC" | "AUTH app secret" => false,
                _ => closed,
            };
            if !at_once && !closed {
                seen.push(drain(&mut one, &std::mem::take(&mut batch)));
            }
        }
        seen.push(drain(&mut one, &batch));
        seen
    };
    let direct = play(redis.client(), redis.client());
    let proxied = play(proxy.plain(), proxy.tls());
    let place = format!("{} HELLO {hello} at once {at_once} {lines:?}", server.display());
    assert_eq!(proxied, direct, "{place}");
}

/// Waits until the last subscription is gone.
fn nobody_listens(redis: &Redis) {
    let mut direct = redis.client();
    wait_for("the end of all subscriptions", || {
        let none = ["PUBSUB CHANNELS", "PUBSUB NUMPAT", "PUBSUB SHARDCHANNELS"].map(|line| direct.ask(line));
        (none == ["*0\r\n", ":0\r\n", "*0\r\n"]).then_some(())
    });
}

/// Sends lines and a PING, and returns all bytes up to its reply. It goes the way of the messages, so all that were
/// published before have arrived then.
fn drain(client: &mut Client, lines: &str) -> String {
    client.send_raw(format!("{lines}PING MARKER\r\n").as_bytes());
    let mut all = String::new();
    while !all.contains("MARKER") {
        all.push_str(&text(&client.read_reply()));
    }
    all
}

/// All that comes until the other side ends the connection, which it must do soon.
fn rest(client: &mut Client) -> String {
    let start = Instant::now();
    let rest = text(&client.read_to_end());
    assert!(start.elapsed() < SOON / 2, "the connection is still there");
    rest
}

/// A server and a proxy before it, with the same users.
fn pair(server: &Path, users: &str) -> (TempDir, Redis, Proxy) {
    let dir = TempDir::new();
    let acl = dir.write("users.acl", users);
    // Redkeep's own user is `default`; where that is off, it needs another.
    let upstream =
        dir.write("redis.acl", users.replace("user default off", "user default on nopass ~* &* +@all"));
    let redis = Redis::start_program(server, &["--aclfile", upstream.to_str().unwrap()]);
    let proxy = Proxy::with_users(&redis, &std::fs::read_to_string(acl).unwrap(), "");
    (dir, redis, proxy)
}

#[test]
fn sequences_are_answered_byte_for_byte_as_by_a_direct_connection() {
    let mut compared = 0;
    for server in all() {
        let (_dir, redis, proxy) = pair(&server, USERS);
        for hello in ["2", "3"] {
            for lines in SCRIPTS {
                for at_once in [false, true] {
                    compare(&server, &redis, &proxy, hello, lines, at_once);
                    compared += 1;
                }
            }
        }
        proxy.assert_no_panic();
    }
    println!("{compared} sequences compared");
    assert!(compared >= SCRIPTS.len() * 4);
}

/// Lines for random scripts; in RESP3 none that the proxy answers itself.
const ANY: &[&str] = &[
    "SUBSCRIBE a1",
    "SUBSCRIBE a1 a2 a3 a1",
    "PSUBSCRIBE a*",
    "PSUBSCRIBE pat* a*",
    "SSUBSCRIBE a1 a2",
    "UNSUBSCRIBE",
    "UNSUBSCRIBE a1",
    "UNSUBSCRIBE a1 none a2",
    "PUNSUBSCRIBE",
    "PUNSUBSCRIBE a*",
    "SUNSUBSCRIBE",
    "SUNSUBSCRIBE a2",
    "PING",
    "PING x",
    "PING x y",
    "GET app:k",
    "SET app:k 1",
    "WATCH app:k",
    "UNWATCH",
    "PUBLISH a1 self",
    "LRANGE app:message 0 -1",
    "MULTI\r\nGET app:k\r\nSET app:k 2\r\nEXEC",
    "MULTI\r\nGET forbidden\r\nEXEC",
    "MULTI\r\nDISCARD",
    "BLPOP app:none 0.001",
    "b>PUBLISH a1 one",
    "b>PUBLISH a3 three",
    "b>PUBLISH pat1 four",
    "b>SPUBLISH a1 shard",
    "b>SET app:k 3",
];

#[test]
fn random_sequences_are_answered_as_by_a_direct_connection() {
    let seed = Random::seed("PUBSUB_SEED").unwrap_or(2026);
    println!("PUBSUB_SEED={seed}");
    let mut random = Random::new(seed);
    for server in all() {
        let (_dir, redis, proxy) = pair(&server, USERS);
        redis.client().ask("RPUSH app:message message a1 x");
        for round in 0..40 {
            let lines = std::iter::once("b>SET app:k 0").chain((0..12).map(|_| random.pick(ANY)));
            let lines: Vec<&str> = lines.collect();
            let hello = if round % 2 == 0 { "2" } else { "3" };
            compare(&server, &redis, &proxy, hello, &lines, round % 4 < 2);
        }
        proxy.assert_no_panic();
    }
}

#[test]
fn two_hundred_channels_in_one_command_are_confirmed_one_by_one() {
    for server in all() {
        let (_dir, redis, proxy) = pair(&server, USERS);
        let names: Vec<String> = (0..200).map(|number| format!("a{number}")).collect();
        let play = |mut client: Client| {
            client.ask("AUTH app secret");
            let mut lines = format!("SUBSCRIBE {}\r\n", names.join(" "));
            let made = drain(&mut client, &lines);
            lines =
                format!("UNSUBSCRIBE\r\nPUNSUBSCRIBE\r\nSUBSCRIBE {}\r\nUNSUBSCRIBE a7\r\n", names.join(" "));
            (made, drain(&mut client, &lines))
        };
        let direct = play(redis.client());
        assert_eq!(play(proxy.tls()), direct, "{}", server.display());
        assert_eq!(direct.0.matches("subscribe\r\n").count(), 200);
        assert_eq!(direct.1.matches("unsubscribe\r\n").count(), 202);
    }
}

#[test]
fn quit_is_the_last_word_to_a_subscriber() {
    for server in all() {
        let (_dir, redis, proxy) = pair(&server, USERS);
        for hello in ["2", "3"] {
            let play = |mut client: Client| {
                client.ask(&format!("HELLO {hello} AUTH app secret"));
                client.send_raw(b"SUBSCRIBE a1\r\nPSUBSCRIBE a*\r\nQUIT\r\nPING\r\n");
                rest(&mut client)
            };
            assert_eq!(play(proxy.tls()), play(redis.client()), "{} {hello}", server.display());
        }
    }
}

#[test]
fn what_differs_from_redis_is_refused_in_so_many_words() {
    let (_dir, _redis, proxy) = pair(&all()[0], USERS);
    let mut app = proxy.plain();
    app.ask("HELLO 3 AUTH app secret");
    let refused = |what: &str| format!("-ERR {what} is not available through redkeep\r\n");
    app.ask("MULTI");
    assert_eq!(app.ask("SUBSCRIBE a1"), refused("'subscribe' inside MULTI"));
    assert_eq!(app.ask("EXEC"), "-EXECABORT Transaction discarded because of previous errors.\r\n");
}

#[test]
fn keyspace_events_are_channels_like_others() {
    let redis = Redis::start(&["--notify-keyspace-events", "KEA"]);
    let proxy = Proxy::standard(&redis);
    let mut admin = proxy.tls().login("admin", "secret");
    assert_eq!(
        admin.ask("PSUBSCRIBE __keyevent@0__:*"),
        "*3\r\n$10\r\npsubscribe\r\n$16\r\n__keyevent@0__:*\r\n:1\r\n"
    );
    assert_eq!(proxy.tls().login("app", "secret").ask("SET app:k 1"), "+OK\r\n");
    assert_eq!(
        text(&admin.read_reply()),
        "*4\r\n$8\r\npmessage\r\n$16\r\n__keyevent@0__:*\r\n$18\r\n__keyevent@0__:set\r\n$5\r\napp:k\r\n"
    );
}

#[test]
fn fifty_subscribers_get_every_message_in_order() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut publisher = proxy.tls().login("app", "secret");
    let mut subscribers: Vec<Client> = (0..50)
        .map(|number| if number % 2 == 0 { proxy.tls() } else { proxy.plain() }.login("app", "secret"))
        .collect();
    for subscriber in &mut subscribers {
        assert!(subscriber.ask("SUBSCRIBE app:news").ends_with(":1\r\n"));
    }
    for number in 0..200 {
        assert_eq!(publisher.ask(&format!("PUBLISH app:news {number:05}")), ":50\r\n");
    }
    for subscriber in &mut subscribers {
        for number in 0..200 {
            let message = format!("*3\r\n$7\r\nmessage\r\n$8\r\napp:news\r\n$5\r\n{number:05}\r\n");
            assert_eq!(text(&subscriber.read_reply()), message);
        }
    }
    drop(subscribers);
    wait_for("the end of all links", || (publisher.ask("PUBLISH app:news x") == ":0\r\n").then_some(()));
    proxy.assert_no_panic();
}

#[test]
fn a_reload_closes_the_subscribers_that_lost_a_channel_and_no_other() {
    for server in all() {
        let (_dir, redis, proxy) = pair(&server, USERS);
        let subscribe = |hello: &str, line: &str| {
            let mut client = proxy.plain();
            client.ask(&format!("HELLO {hello} AUTH app secret"));
            assert!(client.ask(line).contains("subscribe\r\n"), "{line}");
            client
        };
        let lines = [
            "SUBSCRIBE a1",
            "SUBSCRIBE b",
            "PSUBSCRIBE a*",
            "PSUBSCRIBE pat*",
            "SSUBSCRIBE a1",
            "SSUBSCRIBE b",
        ];
        let mut clients: Vec<(&str, &str, Client)> = ["2", "3"]
            .into_iter()
            .flat_map(|hello| lines.map(|line| (hello, line, subscribe(hello, line))))
            .collect();
        let mut unsubscribed = subscribe("2", "SUBSCRIBE a1");
        unsubscribed.ask("UNSUBSCRIBE a1");
        let mut admin = proxy.tls().login("admin", "secret");
        admin.ask("SUBSCRIBE a1");
        // `a1` stays by another rule; as a pattern `a*` must be there literally.
        let rounds = [
            ("&a? &pat* &b", &["PSUBSCRIBE a*"][..]),
            ("&b", &["SUBSCRIBE a1", "PSUBSCRIBE pat*", "SSUBSCRIBE a1"]),
        ];
        for (rules, lost) in rounds {
            proxy.dir.write("users.acl", USERS.replace("&a* &pat* &b", rules));
            proxy.reload(RELOADED);
            clients.retain_mut(|(hello, line, client)| {
                let place = format!("{} HELLO {hello} {line} with {rules}", server.display());
                if lost.contains(line) {
                    assert_eq!(rest(client), "", "{place}");
                    return false;
                }
                assert!(drain(client, "").contains("MARKER"), "{place}");
                true
            });
        }
        assert_eq!(clients.len(), 4, "the subscribers of b");
        assert_eq!(redis.client().ask("PUBLISH b still"), ":2\r\n");
        for (_, line, client) in clients.iter_mut().filter(|(_, line, _)| *line == "SUBSCRIBE b") {
            assert!(text(&client.read_reply()).ends_with("$5\r\nstill\r\n"), "{line}");
        }
        assert_eq!(unsubscribed.ask("PING"), "+PONG\r\n", "who has ended the subscription keeps the session");
        assert!(admin.ask("PING").contains("pong"), "other users are not meant");
        wait_for("the end of the others' links", || {
            redis.client().ask("PUBSUB NUMSUB a1").ends_with(":1\r\n").then_some(())
        });
        proxy.assert_no_panic();
    }
}

#[test]
fn a_subscriber_whose_user_is_gone_is_closed_and_one_that_is_off_stays() {
    let (_dir, _redis, proxy) = pair(&all()[0], USERS);
    let mut app = proxy.tls().login("app", "secret");
    app.ask("SUBSCRIBE a1");
    proxy.dir.write("users.acl", USERS.replace("user app on", "user app off"));
    proxy.reload(RELOADED);
    assert!(app.ask("PING").contains("pong"));
    proxy.dir.write("users.acl", "user default off\n");
    proxy.reload(RELOADED);
    assert_eq!(rest(&mut app), "");
}

#[test]
fn a_subscriber_that_does_not_read_is_closed_and_harms_nobody() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut idle = proxy.plain().login("app", "secret");
    idle.ask("SUBSCRIBE app:flood");
    let mut other = proxy.plain().login("app", "secret");
    other.ask("SUBSCRIBE app:other");
    let mut publisher = redis.client();
    let payload = "x".repeat(1024 * 1024);
    let seen = proxy.log().len();
    // The sockets on the way take some, Redkeep at most 32 MiB, then it ends the subscription.
    let sent = (1..200).find(|_| {
        pause(Duration::from_millis(5));
        publisher.call(&["PUBLISH", "app:flood", &payload]) == b":0\r\n"
    });
    assert!(sent.is_some_and(|sent| sent > 32), "{sent:?}");
    proxy.wait_for_log(seen, "a client that does not read is closed");
    let resident = crate::limits::resident_kib(proxy.pid());
    assert!(resident < 300 * 1024, "{resident} KiB");
    publisher.ask("PUBLISH app:other x");
    assert!(text(&other.read_reply()).ends_with("$1\r\nx\r\n"));
    assert!(rest(&mut idle).len() < 40 * 1024 * 1024, "it gets what was under way, and the end");
    proxy.assert_no_panic();
}

#[test]
fn a_subscriber_that_reads_slowly_misses_nothing() {
    let redis = Redis::start(&["--client-output-buffer-limit", "pubsub 0 0 0"]);
    let proxy = Proxy::standard(&redis);
    let mut slow = proxy.tls().login("app", "secret");
    slow.ask("SUBSCRIBE app:slow");
    let mut publisher = redis.client();
    let payload = "x".repeat(100 * 1024);
    for number in 0..200 {
        publisher.call(&["PUBLISH", "app:slow", &format!("{number:03}{payload}")]);
    }
    for number in 0..200 {
        let message = text(&slow.read_reply());
        assert!(message.contains(&format!("\r\n{number:03}x")), "{number}");
    }
    assert!(slow.ask("PING").contains("pong"));
}

#[test]
fn an_upstream_that_dies_ends_its_subscribers_as_a_redis_would() {
    let mut redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut clients: Vec<Client> = ["2", "3"]
        .map(|hello| {
            let mut client = proxy.tls();
            client.ask(&format!("HELLO {hello} AUTH app secret"));
            client.ask("SUBSCRIBE app:c");
            client
        })
        .into();
    let mut ordinary = proxy.tls().login("app", "secret");
    redis.client().ask("PUBLISH app:c last");
    // The publisher may have its reply before the subscribers have their message.
    pause(Duration::from_millis(100));
    redis.kill();
    for client in &mut clients {
        let rest = rest(client);
        assert!(rest.ends_with("$4\r\nlast\r\n"), "what was there comes first: {rest}");
    }
    let not_sent = "-LOADING redkeep: upstream unavailable, command not sent\r\n";
    assert_eq!(ordinary.ask("SUBSCRIBE app:c"), not_sent);
    assert_eq!(ordinary.ask("ACL WHOAMI"), "$3\r\napp\r\n", "who could not subscribe stays");
    redis.start_again();
    wait_for("a subscription", || ordinary.ask("SUBSCRIBE app:c").starts_with('*').then_some(()));
    redis.client().ask("PUBLISH app:c first");
    assert!(text(&ordinary.read_reply()).ends_with("$5\r\nfirst\r\n"));
    proxy.assert_no_panic();
}

#[test]
fn clients_that_vanish_take_their_subscriptions_with_them() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut direct = redis.client();
    for hello in ["2", "3"] {
        let mut client = proxy.tls();
        client.ask(&format!("HELLO {hello} AUTH app secret"));
        // On a busy machine the link may need more than its second to come up.
        wait_for("a subscription", || client.ask("SUBSCRIBE app:c").contains("subscribe").then_some(()));
        client.ask("PSUBSCRIBE app:*");
        assert_eq!(direct.ask("PUBSUB NUMSUB app:c"), "*2\r\n$5\r\napp:c\r\n:1\r\n");
        drop(client);
        nobody_listens(&redis);
    }
    wait_for("the links to close", || {
        (!direct.ask("CLIENT LIST").contains(" cmd=psubscribe ")).then_some(())
    });
}

#[test]
fn idle_and_blocked_subscribers_outlast_the_response_timeout_and_others_do_not() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(|dir, _| {
        let users = dir.write("users.acl", crate::support::proxy::USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\n  response_timeout: 300ms\nacl:\n  \
             file: {}\n",
            redis.socket().display(),
            users.display()
        )
    });
    let mut client = Client::tcp(proxy.port(0));
    client.ask("HELLO 3 AUTH app secret");
    client.ask("SUBSCRIBE app:c");
    pause(Duration::from_millis(900));
    assert_eq!(client.ask("BLPOP app:none 0.9"), "_\r\n");
    redis.client().ask("PUBLISH app:c x");
    assert!(text(&client.read_reply()).ends_with("$1\r\nx\r\n"));
    // The patience ended with the command that blocked.
    redis.client().send(&["DEBUG", "SLEEP", "3"]);
    pause(Duration::from_millis(50));
    client.send(&["GET", "app:k"]);
    assert!(rest(&mut client).starts_with("-INDOUBT "));
}

#[test]
fn a_signal_to_terminate_ends_subscribers_in_order() {
    let redis = Redis::start(&[]);
    let mut proxy = Proxy::standard(&redis);
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.tls().login("app", "secret")).collect();
    for client in &mut clients {
        client.ask("SUBSCRIBE app:c");
    }
    assert_eq!(redis.client().ask("PUBLISH app:c last"), ":4\r\n");
    proxy.signal("-TERM");
    for client in &mut clients {
        let rest = rest(client);
        assert!(rest.is_empty() || rest.ends_with("$4\r\nlast\r\n"), "{rest}");
    }
    assert_eq!(proxy.wait().code(), Some(0));
}

#[test]
fn a_user_without_the_command_is_refused_and_may_still_unsubscribe() {
    for server in all() {
        let (_dir, redis, proxy) = pair(&server, USERS);
        for line in ["SUBSCRIBE a1", "PSUBSCRIBE *", "UNSUBSCRIBE", "PUNSUBSCRIBE x"] {
            let play = |mut client: Client| {
                client.ask("AUTH nosub secret");
                client.ask(line)
            };
            assert_eq!(play(proxy.tls()), play(redis.client()), "{} {line}", server.display());
        }
    }
}

/// Redis before 7.2 writes the message between the elements of EXEC's reply, where no client can make sense of it.
#[test]
fn a_message_to_oneself_in_a_transaction_comes_behind_it_or_ends_the_session() {
    for server in all() {
        let (_dir, redis, proxy) = pair(&server, USERS);
        let version = redis.client().ask("INFO server");
        let mut app = proxy.tls();
        app.ask("HELLO 3 AUTH app secret");
        app.ask("SUBSCRIBE a1");
        app.ask("MULTI");
        app.ask("PUBLISH a1 x");
        app.send(&["EXEC"]);
        if version.contains("redis_version:7.0.") {
            assert!(rest(&mut app).starts_with("-INDOUBT "), "{}", server.display());
        } else {
            assert_eq!(text(&app.read_reply()), "*1\r\n:1\r\n", "{}", server.display());
            assert!(text(&app.read_reply()).starts_with(">3\r\n$7\r\nmessage\r\n"));
        }
    }
}
