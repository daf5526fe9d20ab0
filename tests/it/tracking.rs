//! CLIENT TRACKING: a client that caches is told what has changed, in the same bytes as by a direct connection.

use crate::support::client::text;
use crate::support::redis::{all, redis_6_2};
use crate::support::{Client, Proxy, Redis, wait_for};

/// Steps of a conversation: a command of the client that tracks, `b> ` one of another client, `push` a message.
const SCRIPTS: &[&[&str]] = &[
    &[
        "CLIENT GETREDIR",
        "CLIENT TRACKINGINFO",
        "CLIENT CACHING YES",
        "CLIENT TRACKING OFF",
        "CLIENT TRACKING foo",
    ],
    &[
        "CLIENT TRACKING ON",
        "CLIENT GETREDIR",
        "CLIENT TRACKINGINFO",
        "GET k",
        "b> SET k 1",
        "push",
        "GET k",
        "PING",
    ],
    &[
        "GET k",
        "CLIENT TRACKING ON",
        "b> SET k 2",
        "PING",
        "GET k",
        "MGET k l",
        "b> DEL k l",
        "push",
        "b> SET k 1",
        "PING",
    ],
    &["CLIENT TRACKING ON", "GET k", "b> FLUSHALL", "push", "PING"],
    &[
        "CLIENT TRACKING ON BCAST PREFIX k PREFIX m",
        "b> SET k1 1",
        "push",
        "b> SET x 1",
        "b> SET m 1",
        "push",
        "PING",
    ],
    &[
        "CLIENT TRACKING ON OPTIN",
        "GET k",
        "b> SET k 1",
        "CLIENT CACHING YES",
        "GET k",
        "b> SET k 2",
        "push",
        "PING",
    ],
    &[
        "CLIENT TRACKING ON OPTOUT",
        "CLIENT CACHING NO",
        "GET k",
        "b> SET k 1",
        "GET k",
        "b> SET k 2",
        "push",
        "PING",
    ],
    &["CLIENT TRACKING ON NOLOOP", "GET k", "SET k 1", "GET k", "b> SET k 2", "push", "PING"],
    &["CLIENT TRACKING ON", "GET k", "SET k 1", "push", "PING"],
    &[
        "CLIENT TRACKING ON",
        "CLIENT TRACKING ON BCAST",
        "CLIENT TRACKING ON OPTIN OPTOUT",
        "CLIENT TRACKING ON PREFIX a",
    ],
    &[
        "CLIENT TRACKING ON",
        "GET k",
        "CLIENT TRACKING OFF",
        "b> SET k 1",
        "PING",
        "GET k",
        "CLIENT TRACKINGINFO",
    ],
    &["CLIENT TRACKING ON", "MULTI", "GET k", "EXEC", "b> SET k 9", "push", "PING"],
    &[
        "CLIENT TRACKING ON",
        "GET k",
        "SUBSCRIBE c",
        "b> PUBLISH c x",
        "push",
        "b> SET k 1",
        "push",
        "UNSUBSCRIBE c",
        "GET k",
    ],
];

fn conversation(connect: impl Fn() -> Client, script: &[&str], protocol: &str) -> Vec<String> {
    let (mut client, mut other) = (connect(), connect());
    client.ask(protocol);
    other.ask("FLUSHALL");
    let seen = script.iter().map(|step| match step.strip_prefix("b> ") {
        Some(line) => other.ask(line),
        None if *step == "push" => text(&client.read_reply()),
        None => client.ask(step),
    });
    seen.collect()
}

#[test]
fn a_client_that_tracks_is_told_what_a_direct_one_is_told() {
    for server in all().into_iter().chain(redis_6_2()) {
        let redis = Redis::start_program(&server, &[]);
        let proxy = Proxy::standard(&redis);
        for script in SCRIPTS {
            let direct = conversation(|| redis.client(), script, "HELLO 3");
            let ours = conversation(|| proxy.plain().login("admin", "secret"), script, "HELLO 3");
            assert_eq!(ours, direct, "{server:?}: {script:?}");
            // RESP2 has no messages of this kind.
            if !script.contains(&"push") {
                let direct = conversation(|| redis.client(), script, "HELLO 2");
                let ours = conversation(|| proxy.plain().login("admin", "secret"), script, "HELLO 2");
                assert_eq!(ours, direct, "{server:?}: RESP2 {script:?}");
            }
        }
        proxy.assert_no_panic();
    }
}

#[test]
fn who_may_not_hear_of_all_keys_any_more_is_closed() {
    let redis = Redis::start(&[]);
    let users = "user default off\nuser admin on >secret ~* &* +@all\nuser wide on >secret ~* &* +@all\n";
    let proxy = Proxy::with_users(&redis, users, "");
    let mut admin = proxy.plain().login("admin", "secret");
    for (line, rule, closed) in [
        ("CLIENT TRACKING ON BCAST", "resetkeys", true),
        ("CLIENT TRACKING ON BCAST", "-get", true),
        ("CLIENT TRACKING ON", "resetkeys", false),
        ("MONITOR", "-monitor", true),
        ("MONITOR", "-get", false),
        ("CLIENT TRACKING ON BCAST", ">another", false),
    ] {
        assert_eq!(admin.ask("ACL SETUSER wide reset on >secret ~* &* +@all"), "+OK\r\n");
        let mut wide = proxy.tls().login("wide", "secret");
        wide.ask("HELLO 3");
        assert_eq!(wide.ask(line), "+OK\r\n");
        assert_eq!(admin.ask(&format!("ACL SETUSER wide {rule}")), "+OK\r\n");
        if closed {
            // A monitor may see what a new link sends first.
            let rest = text(&wide.read_to_end());
            assert!(rest.lines().all(|seen| seen.contains("] \"")), "{line}, {rule}: {rest}");
        } else {
            wide.send(&["ECHO", "still here"]);
            while text(&wide.read_reply()) != "$10\r\nstill here\r\n" {}
        }
    }
    proxy.assert_no_panic();
}

#[test]
fn what_differs_for_clients_that_track_is_refused_in_so_many_words() {
    let mut redis = Redis::start(&[]);
    let users = "user default off\nuser admin on >secret ~* &* +@all\nuser app on >secret ~app:* &* +@all\n";
    let proxy = Proxy::with_users(&redis, users, "");
    let mut app = proxy.tls().login("app", "secret");
    let all_names = "-NOPERM CLIENT TRACKING with BCAST tells the names of all keys that change, so redkeep allows it to \
                     users with +@all ~* &* only\r\n";
    for line in
        ["CLIENT TRACKING ON BCAST", "CLIENT TRACKING ON bcast PREFIX app:", "CLIENT TRACKING ON bcast\0x"]
    {
        assert_eq!(app.ask(line), all_names, "{line:?}");
    }
    let gone = |what: &str| format!("-ERR {what} is not available through redkeep\r\n");
    assert_eq!(app.ask("CLIENT TRACKING ON REDIRECT 1"), gone("'client tracking' with REDIRECT"));
    assert_eq!(app.ask("MULTI"), "+OK\r\n");
    assert_eq!(app.ask("CLIENT TRACKING ON REDIRECT 1"), gone("'client tracking' with REDIRECT"));
    assert!(app.ask("EXEC").starts_with("-EXECABORT "));
    app.ask("HELLO 3");
    assert_eq!(app.ask("CLIENT TRACKING ON"), "+OK\r\n");
    assert!(app.ask("CLIENT INFO").contains(" flags=t "));
    assert!(app.ask("GET other").starts_with("-NOPERM "));

    // It costs a link, which ends with RESET.
    let tracking = || redis.client().ask("CLIENT LIST").contains(" flags=tU ");
    assert!(tracking());
    assert_eq!(app.ask("RESET"), "+RESET\r\n");
    wait_for("the end of the link", || (!tracking()).then_some(()));

    // Who does not hear of changes any more must not go on with what is cached.
    assert_eq!(app.ask("AUTH app secret"), "+OK\r\n");
    app.ask("HELLO 3");
    assert_eq!(app.ask("CLIENT TRACKING ON"), "+OK\r\n");
    redis.kill();
    assert_eq!(text(&app.read_to_end()), "");
    proxy.assert_no_panic();
}
