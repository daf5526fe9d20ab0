//! CLIENT PAUSE and UNPAUSE about Redkeep's clients, and CLIENT NO-TOUCH: compared with a direct connection.

use std::time::{Duration, Instant};

use crate::client_commands::compare;
use crate::support::client::text;
use crate::support::redis::{all, redis_6_2};
use crate::support::{Client, Proxy, Redis, pause, wait_for};

const USERS: &str = crate::support::proxy::USERS;

/// Long enough for a command that is not held back to be answered.
const MOMENT: Duration = Duration::from_millis(150);

#[test]
fn errors_and_the_order_of_those_who_wait_are_those_of_the_server() {
    let writes: &[&str] = &[
        "a> CLIENT PAUSE x",
        "a> CLIENT PAUSE -1",
        "a> CLIENT PAUSE 1 FOO",
        "a> CLIENT PAUSE x FOO",
        "a> CLIENT PAUSE 1 WRITE x",
        "a> CLIENT PAUSE 99999999999999999999",
        "a> CLIENT PAUSE",
        "a> CLIENT UNPAUSE x",
        "a> CLIENT PAUSE 0",
        "b> SET k 0",
        "a> CLIENT UNPAUSE",
        "f> MULTI",
        "f> SET f 1",
        "app> PING",
        "a> CLIENT PAUSE 100000 WRITE",
        "a> GET k",
        "b> (blocks) SET k 2",
        "c> (blocks) PUBLISH x y",
        "d> (blocks) PFCOUNT h",
        "e> (blocks) EVAL return(1) 0",
        "f> (blocks) EXEC",
        "app> SET other 1",
        "app> CLIENT UNPAUSE",
        "app> NOSUCH",
        "g> EVAL_RO return(1) 0",
        "g> MULTI",
        "g> GET k",
        "g> EXEC",
        "a> CLIENT LIST ID #b",
        "a> CLIENT UNPAUSE",
        "b> (reply)",
        "c> (reply)",
        "d> (reply)",
        "e> (reply)",
        "f> (reply)",
        "b> GET k",
    ];
    for server in all() {
        compare(&server, writes);
        // Later versions refuse a pause that would never end.
        compare(&server, &["a> CLIENT PAUSE 9223372036854775807 WRITE", "a> CLIENT UNPAUSE", "b> SET k 1"]);
    }
}

#[test]
fn a_pause_of_all_commands_ends_by_itself_and_loses_none() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut admin = proxy.tls().login("admin", "secret");
    let mut app = proxy.tls().login("app", "secret");
    app.ask("SET app:k 0");
    let begin = Instant::now();
    assert_eq!(admin.ask("CLIENT PAUSE 700"), "+OK\r\n");
    // In a pipeline: all of it waits, and runs in its order.
    app.send_raw(b"INCR app:k\r\nGET app:k\r\nCLIENT ID\r\nINCR app:k\r\n");
    // Nobody gets through, not even who could end it.
    admin.send(&["CLIENT", "UNPAUSE"]);
    assert_eq!(text(&app.read_reply()), ":1\r\n");
    assert!(begin.elapsed() >= Duration::from_millis(650), "{:?}", begin.elapsed());
    assert_eq!(text(&app.read_reply()), "$1\r\n1\r\n");
    assert!(text(&app.read_reply()).starts_with(':'));
    assert_eq!(text(&app.read_reply()), ":2\r\n");
    assert_eq!(text(&admin.read_reply()), "+OK\r\n");
    // The longer and stricter of two counts, also one in a transaction, whose other commands still run.
    let begin = Instant::now();
    for line in ["MULTI", "CLIENT PAUSE 600 WRITE", "CLIENT PAUSE 10 ALL", "SET k 1"] {
        admin.ask(line);
    }
    assert_eq!(admin.ask("EXEC"), "*3\r\n+OK\r\n+OK\r\n+OK\r\n");
    assert_eq!(app.ask("GET app:k"), "$1\r\n2\r\n");
    assert!(begin.elapsed() >= Duration::from_millis(500), "{:?}", begin.elapsed());
    proxy.assert_no_panic();
}

#[test]
fn a_paused_client_that_goes_or_is_killed_runs_nothing_and_a_drain_ends_the_pause() {
    let redis = Redis::start(&[]);
    let mut proxy = Proxy::standard(&redis);
    let mut admin = proxy.tls().login("admin", "secret");
    let mut going = proxy.tls().login("app", "secret");
    let mut killed = proxy.plain().login("app", "secret");
    let mut staying = proxy.tls().login("app", "secret");
    let id = killed.ask("CLIENT ID");
    let id = id.trim_start_matches(':').trim_end();
    assert_eq!(admin.ask("CLIENT PAUSE 100000 WRITE"), "+OK\r\n");
    going.send(&["SET", "app:gone", "1"]);
    killed.send(&["SET", "app:killed", "1"]);
    staying.send(&["SET", "app:stayed", "1"]);
    let waiting = || admin.ask("CLIENT LIST").matches(" flags=b ").count();
    let mut waiting = waiting;
    wait_for("three that wait", || (waiting() == 3).then_some(()));
    assert_eq!(admin.ask(&format!("CLIENT UNBLOCK {id}")), ":0\r\n", "it does not block");
    drop(going);
    assert_eq!(admin.ask(&format!("CLIENT KILL ID {id}")), ":1\r\n");
    assert_eq!(text(&killed.read_to_end()), "");
    wait_for("the end of both", || {
        (admin.ask("CLIENT LIST").matches(" cmd=set ").count() == 1).then_some(())
    });
    proxy.signal("-TERM");
    assert_eq!(text(&staying.read_reply()), "+OK\r\n");
    assert!(proxy.wait().success());
    assert_eq!(redis.client().ask("EXISTS app:gone app:killed app:stayed"), ":1\r\n");
}

#[test]
fn subscribers_hear_on_and_blocked_clients_wait_on_during_a_pause() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut admin = proxy.tls().login("admin", "secret");
    let mut subscriber = proxy.tls().login("app", "secret");
    let mut blocked = proxy.tls().login("app", "secret");
    subscriber.ask("SUBSCRIBE app:c");
    blocked.send(&["BLPOP", "app:list", "0"]);
    wait_for("the blocked client", || {
        redis.client().ask("INFO clients").contains("blocked_clients:1").then_some(())
    });
    assert_eq!(admin.ask("CLIENT PAUSE 100000 WRITE"), "+OK\r\n");
    let mut direct = redis.client();
    // The upstream knows nothing of it.
    assert_eq!(direct.ask("PUBLISH app:c x"), ":1\r\n");
    assert_eq!(direct.ask("RPUSH app:list y"), ":1\r\n");
    assert!(text(&subscriber.read_reply()).contains("\r\nx\r\n"));
    assert!(text(&blocked.read_reply()).contains("\r\ny\r\n"));
    blocked.send(&["DEL", "app:list"]);
    pause(MOMENT);
    assert_eq!(admin.ask("CLIENT UNPAUSE"), "+OK\r\n");
    assert_eq!(text(&blocked.read_reply()), ":0\r\n");
    proxy.assert_no_panic();
}

#[test]
fn no_touch_leaves_the_time_of_last_use_alone_and_nobody_elses() {
    for server in all().into_iter().chain(redis_6_2()) {
        let redis = Redis::start_program(&server, &[]);
        let proxy = Proxy::with_users(&redis, USERS, "");
        let errors = ["CLIENT NO-TOUCH x", "CLIENT NO-TOUCH", "CLIENT NO-TOUCH ON OFF"];
        let mut direct = redis.client();
        let mut admin = proxy.plain().login("admin", "secret");
        // The upstream has been asked for its version then.
        wait_for("the upstream's databases", || (admin.ask("SELECT 0") == "+OK\r\n").then_some(()));
        let known = direct.ask("CLIENT NO-TOUCH OFF");
        assert_eq!(admin.ask("CLIENT NO-TOUCH OFF"), known, "{server:?}");
        if known != "+OK\r\n" {
            continue;
        }
        for line in errors {
            assert_eq!(admin.ask(line), direct.ask(line), "{server:?}: {line}");
        }
        assert_eq!(admin.ask("CLIENT NO-TOUCH ON"), "+OK\r\n");
        assert!(admin.ask("CLIENT INFO").contains(" flags=T "));
        direct.ask("CONFIG SET maxmemory-policy allkeys-lfu");
        direct.ask("CONFIG SET lfu-log-factor 0");
        direct.ask("SET k 1");
        let frequency = |client: &mut Client| client.ask("OBJECT FREQ k");
        let before = frequency(&mut direct);
        let mut other = proxy.plain().login("admin", "secret");
        for _ in 0..20 {
            admin.ask("GET k");
        }
        admin.ask("MULTI");
        admin.ask("GET k");
        admin.ask("EXEC");
        assert_eq!(frequency(&mut direct), before, "{server:?}");
        for _ in 0..20 {
            other.ask("GET k");
        }
        let touched = frequency(&mut direct);
        assert_ne!(touched, before, "{server:?}");

        // It ends with OFF, in a transaction too, and with RESET.
        for end in [&["CLIENT NO-TOUCH OFF"][..], &["MULTI", "CLIENT NO-TOUCH OFF", "EXEC"], &["RESET"]] {
            assert_eq!(direct.ask("SET k 1"), "+OK\r\n");
            assert_eq!(admin.ask("CLIENT NO-TOUCH ON"), "+OK\r\n");
            for line in end {
                admin.ask(line);
            }
            if end == ["RESET"] {
                admin.ask("AUTH admin secret");
            }
            assert!(!admin.ask("CLIENT INFO").contains(" flags=T "), "{end:?}");
            let before = frequency(&mut direct);
            for _ in 0..40 {
                admin.ask("GET k");
            }
            assert_ne!(frequency(&mut direct), before, "{server:?}: {end:?}");
        }
        // Begun in a transaction.
        for line in ["MULTI", "CLIENT NO-TOUCH ON", "GET k", "EXEC"] {
            admin.ask(line);
        }
        let before = frequency(&mut direct);
        for _ in 0..40 {
            admin.ask("GET k");
        }
        assert_eq!(frequency(&mut direct), before, "{server:?}");
        proxy.assert_no_panic();
    }
}

#[test]
fn no_touch_outlives_its_link() {
    let mut redis = Redis::start_program(&all()[1], &[]);
    let proxy = Proxy::standard(&redis);
    let mut app = proxy.tls().login("app", "secret");
    wait_for("the upstream's databases", || (app.ask("SELECT 0") == "+OK\r\n").then_some(()));
    assert_eq!(app.ask("CLIENT NO-TOUCH ON"), "+OK\r\n");
    assert_eq!(app.ask("GET app:k"), "$-1\r\n");
    assert!(redis.client().ask("CLIENT LIST").contains(" flags=UT "));
    redis.kill();
    redis.start_again();
    wait_for("the upstream", || (app.ask("GET app:k") == "$-1\r\n").then_some(()));
    assert!(redis.client().ask("CLIENT LIST").contains(" flags=UT "));
    proxy.assert_no_panic();
}
