//! What comes unasked: keyspace events and what tracking tells, to a fenced user of its own keys only.

use super::{fenced, login, start};
use crate::support::client::text;
use crate::support::redis::all;
use crate::support::{Client, Redis};

/// Frames up to the message `end` of channel `mark`, in words; what is a reply, as it is.
fn messages(client: &mut Client) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let frame = client.read_reply();
        let words: Vec<String> = redkeep::resp::items(&frame).map(text).collect();
        if words.last().is_some_and(|word| word == "end") {
            return found;
        }
        found.push(if words.is_empty() { text(&frame) } else { words.join(" ") });
    }
}

/// Keys of both tenants change, then the mark comes.
fn change(direct: &mut Client) {
    for line in [
        "SET canary:1 x",
        "SET a:1 x",
        "DEL canary:1",
        "PEXPIRE a:1 100000",
        "RENAME a:1 a:2",
        "SET canary:1 x",
        "RENAME canary:1 canary:2",
        "DEL a:2",
        "PUBLISH news canary:1",
        "PUBLISH __subkeyspace@0__:a:1 x",
        "PUBLISH mark end",
    ] {
        assert!(!direct.ask(line).starts_with('-'), "{line}");
    }
}

#[test]
fn keyspace_events_tell_a_fenced_user_of_its_own_keys() {
    for program in all() {
        let (redis, proxy) = start(&program);
        let mut direct = redis.client();
        direct.ask("CONFIG SET notify-keyspace-events KEA");
        for protocol in ["HELLO 2", "HELLO 3"] {
            let subscriber = |user: &str, requests: &[&str]| {
                let mut client = login(&proxy, user);
                client.ask(protocol);
                for request in requests {
                    let count = request.split(' ').count() - 1;
                    let first = client.ask(request);
                    assert!(first.contains("subscribe"), "{program:?}, {user}: {request}: {first}");
                    (1..count).for_each(|_| drop(client.read_reply()));
                }
                client
            };
            let literal = "SUBSCRIBE mark __keyspace@0__:a:1 __keyevent@0__:set __keyevent@0__:del news";
            let mut by_name = subscriber("a", &[literal]);
            let mut by_pattern = subscriber("a", &["PSUBSCRIBE *"]);
            let mut none = subscriber("none", &["SUBSCRIBE mark __keyevent@0__:set", "PSUBSCRIBE __key*"]);
            let mut open = subscriber("open", &["PSUBSCRIBE *"]);
            change(&mut direct);
            let place = format!("{program:?}, {protocol}");
            assert_eq!(
                messages(&mut by_name),
                [
                    "message __keyspace@0__:a:1 set",
                    "message __keyevent@0__:set a:1",
                    "message __keyspace@0__:a:1 expire",
                    "message __keyspace@0__:a:1 rename_from",
                    "message __keyevent@0__:del a:2",
                    "message news canary:1",
                ],
                "{place}"
            );
            assert_eq!(
                messages(&mut by_pattern),
                [
                    "pmessage * __keyspace@0__:a:1 set",
                    "pmessage * __keyevent@0__:set a:1",
                    "pmessage * __keyspace@0__:a:1 expire",
                    "pmessage * __keyevent@0__:expire a:1",
                    "pmessage * __keyspace@0__:a:1 rename_from",
                    "pmessage * __keyevent@0__:rename_from a:1",
                    "pmessage * __keyspace@0__:a:2 rename_to",
                    "pmessage * __keyevent@0__:rename_to a:2",
                    "pmessage * __keyspace@0__:a:2 del",
                    "pmessage * __keyevent@0__:del a:2",
                    "pmessage * news canary:1",
                ],
                "{place}"
            );
            assert_eq!(messages(&mut none), [""; 0], "{place}");
            let all = messages(&mut open);
            assert!(all.iter().any(|message| message == "pmessage * __keyevent@0__:set canary:1"), "{all:?}");
            assert!(all.iter().any(|message| message.contains("__subkeyspace@0__")), "{all:?}");
        }
        proxy.assert_no_panic();
    }
}

#[test]
fn a_channel_of_a_key_that_is_not_the_users_cannot_be_subscribed_to() {
    for program in all() {
        let (_redis, proxy) = start(&program);
        let mut a = login(&proxy, "a");
        for request in [
            "SUBSCRIBE __keyspace@0__:canary:1",
            "SUBSCRIBE news __keyspace@7__:a:1 __keyspace@0__:canary:1",
            "SUBSCRIBE __subkeyspace@0__:a:1",
            "SSUBSCRIBE __keyspace@0__:canary:1",
        ] {
            let reply = a.ask(request);
            assert!(
                reply.starts_with("-NOPERM a channel tells of keys outside"),
                "{program:?}: {request}: {reply}"
            );
        }
        assert_eq!(a.ask("PING"), "+PONG\r\n", "nothing was subscribed to");
        let mut open = login(&proxy, "open");
        assert!(open.ask("SUBSCRIBE __keyspace@0__:canary:1").contains("subscribe"));
        let mut channels = login(&proxy, "a");
        assert_eq!(channels.ask("PUBSUB CHANNELS"), "*0\r\n", "{program:?}");
        assert!(open.ask("SUBSCRIBE __keyspace@0__:a:1").contains("subscribe"));
        assert!(open.ask("SUBSCRIBE news").contains("subscribe"));
        let seen = super::texts(&channels.call(&["PUBSUB", "CHANNELS"]));
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["__keyspace@0__:a:1", "news"], "{program:?}");
        proxy.assert_no_panic();
    }
}

#[test]
fn another_user_of_the_same_session_hears_by_its_own_patterns() {
    let redis = Redis::start(&[]);
    let proxy = fenced(&redis);
    let mut direct = redis.client();
    direct.ask("CONFIG SET notify-keyspace-events KEA");
    let mut client = login(&proxy, "admin");
    client.ask("HELLO 3");
    client.ask("PSUBSCRIBE __keyevent@0__:set mark");
    client.read_reply();
    let mut hears = |client: &mut Client| {
        for line in ["SET canary:1 x", "SET a:1 x", "PUBLISH mark end"] {
            direct.ask(line);
        }
        messages(client).len()
    };
    assert_eq!(hears(&mut client), 2);
    assert_eq!(client.ask("AUTH a secret"), "+OK\r\n");
    assert_eq!(hears(&mut client), 1);
    assert_eq!(client.ask("AUTH open secret"), "+OK\r\n");
    assert_eq!(hears(&mut client), 2);
    // The same in a transaction.
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    assert_eq!(client.ask("AUTH a secret"), "+QUEUED\r\n");
    assert_eq!(client.ask("EXEC"), "*1\r\n+OK\r\n");
    assert_eq!(hears(&mut client), 1);
    // And when the rules of its user change.
    assert_eq!(login(&proxy, "admin").ask("ACL SETUSER a ~canary:*"), "+OK\r\n");
    assert_eq!(client.ask("PING"), "+PONG\r\n");
    assert_eq!(hears(&mut client), 2);
    assert_eq!(login(&proxy, "admin").ask("ACL SETUSER a resetkeys"), "+OK\r\n");
    assert_eq!(client.ask("PING"), "+PONG\r\n");
    assert_eq!(hears(&mut client), 0);
    proxy.assert_no_panic();
}

#[test]
fn another_user_of_the_same_session_does_not_hear_what_only_a_fence_had_permitted() {
    let redis = Redis::start(&[]);
    let proxy = fenced(&redis);
    let mut direct = redis.client();
    direct.ask("CONFIG SET notify-keyspace-events KEA");
    assert_eq!(login(&proxy, "admin").ask("ACL SETUSER open resetchannels &news"), "+OK\r\n");
    let listener = |listens: &str| {
        let mut client = login(&proxy, "a");
        client.ask("HELLO 3");
        let reply = client.ask(listens);
        assert!(!reply.starts_with('-'), "{listens}: {reply}");
        client
    };
    for listens in ["PSUBSCRIBE __key*", "SUBSCRIBE __keyevent@0__:set", "CLIENT TRACKING ON BCAST"] {
        for (before, change, after) in
            [("PING", "AUTH open secret", "PING"), ("MULTI", "HELLO 3 AUTH open secret", "EXEC")]
        {
            let mut client = listener(listens);
            let refused = client.ask("AUTH open wrong");
            assert!(refused.starts_with("-WRONGPASS"), "{refused}");
            client.ask(before);
            client.send_raw(format!("{change}\r\n{after}\r\n").as_bytes());
            direct.ask("SET canary:1 x");
            let rest = text(&client.read_to_end());
            assert!(!rest.contains("canary"), "{listens}, {change}: {rest}");
        }
    }
    // What the new user may hear by itself goes on, and so does what another fence filters.
    let mut client = listener("SUBSCRIBE news");
    assert_eq!(client.ask("AUTH open secret"), "+OK\r\n");
    direct.ask("PUBLISH news x");
    assert!(text(&client.read_reply()).contains("news"));
    let mut client = listener("CLIENT TRACKING ON BCAST");
    assert_eq!(client.ask("AUTH b secret"), "+OK\r\n");
    direct.ask("MSET a:1 x canary:1 x");
    let told = text(&client.read_reply());
    assert!(told.contains("canary:1") && !told.contains("a:1"), "{told}");
    proxy.assert_no_panic();
}

#[test]
fn tracking_tells_a_fenced_user_of_its_own_keys_also_with_bcast() {
    for program in all() {
        let (redis, proxy) = start(&program);
        let mut direct = redis.client();
        let mut a = login(&proxy, "a");
        a.ask("HELLO 3");
        assert_eq!(a.ask("CLIENT TRACKING ON BCAST"), "+OK\r\n", "{program:?}");
        let invalidated = |keys: &[&str]| {
            let listed: String = keys.iter().map(|key| format!("${}\r\n{key}\r\n", key.len())).collect();
            format!(">2\r\n$10\r\ninvalidate\r\n*{}\r\n{listed}", keys.len())
        };
        direct.ask("SET canary:1 x");
        direct.ask("MSET canary:2 x a:1 x canary:3 x");
        assert_eq!(text(&a.read_reply()), invalidated(&["a:1"]), "{program:?}");
        direct.ask("SET canary:4 x");
        direct.ask("FLUSHALL");
        assert_eq!(text(&a.read_reply()), ">2\r\n$10\r\ninvalidate\r\n_\r\n", "{program:?}");
        // Without a fence it is refused to who may not use all keys.
        let mut open = login(&proxy, "open");
        open.ask("HELLO 3");
        assert!(open.ask("CLIENT TRACKING ON BCAST").starts_with("-NOPERM CLIENT TRACKING with BCAST"));
        assert_eq!(open.ask("CLIENT TRACKING ON"), "+OK\r\n");
        proxy.assert_no_panic();
    }
}

#[test]
fn a_fence_that_falls_does_not_leave_a_broadcast_behind() {
    let redis = Redis::start(&[]);
    let proxy = fenced(&redis);
    let mut a = login(&proxy, "a");
    a.ask("HELLO 3");
    assert_eq!(a.ask("CLIENT TRACKING ON BCAST"), "+OK\r\n");
    let path = proxy.config_path();
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("fence: yes", "fence: no")).unwrap();
    proxy.reload("\"message\":\"reloaded\"");
    redis.client().ask("SET canary:1 x");
    let rest = text(&a.read_to_end());
    assert!(!rest.contains("canary"), "{rest}");
    proxy.assert_no_panic();
}
