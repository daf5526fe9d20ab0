//! WAIT and WAITAOF with a real replica: they wait for what the client itself has written, though that went to the
//! upstream on another link.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::redis::{all, free_port, redis_6_2};
use crate::support::{Proxy, Redis, wait_long_for};

/// A server with a replica, which has caught up.
fn pair(program: &Path) -> (Redis, Redis) {
    let port = free_port().to_string();
    let at_once = ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"];
    let primary = Redis::start_program(program, &[&["--port", &port], &at_once[..]].concat());
    let replica = Redis::start_program(program, &["--replicaof", "127.0.0.1", &port]);
    wait_long_for("the replica", Duration::from_secs(60), || {
        primary.client().ask("INFO replication").contains("state=online").then_some(())
    });
    (primary, replica)
}

fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

#[test]
fn wait_counts_the_replicas_that_have_what_this_client_wrote() {
    for program in all().into_iter().chain(redis_6_2()) {
        let (primary, replica) = pair(&program);
        let proxy = Proxy::standard(&primary);
        let mut app = proxy.plain().login("admin", "secret");
        assert_eq!(app.ask("SET x 1"), "+OK\r\n");
        assert_eq!(app.ask("WAIT 1 10000"), ":1\r\n", "{program:?}");

        let stopped = replica.pid();
        signal(stopped, "-STOP");
        assert_eq!(app.ask("SET x 2"), "+OK\r\n");
        let start = Instant::now();
        assert_eq!(app.ask("WAIT 1 200"), ":0\r\n", "{program:?}: the replica cannot have it");
        assert!(start.elapsed() >= Duration::from_millis(200));
        app.send(&["SET", "x", "3"]);
        app.send(&["WAIT", "1", "100"]);
        assert_eq!(app.read_reply(), b"+OK\r\n");
        assert_eq!(app.read_reply(), b":0\r\n", "{program:?}: behind a write that is not answered yet");
        assert_eq!(app.ask("WATCH x"), "+OK\r\n");
        assert_eq!(app.ask("SET y 3"), "+OK\r\n");
        assert_eq!(app.ask("WAIT 1 100"), ":0\r\n", "{program:?}: on a link that the session has already");
        assert_eq!(app.ask("UNWATCH"), "+OK\r\n");

        assert_eq!(app.ask("SET x 4"), "+OK\r\n");
        app.send(&["WAIT", "1", "0"]);
        let mut other = proxy.plain().login("admin", "secret");
        // The other one waits until the replica goes on, so an answer before that is proof enough.
        assert_eq!(other.ask("GET x"), "$1\r\n4\r\n", "nobody else is held up");
        signal(stopped, "-CONT");
        assert_eq!(app.read_reply(), b":1\r\n");
        assert_eq!(replica.client().ask("GET x"), "$1\r\n4\r\n");
        proxy.assert_no_panic();
    }
}

#[test]
fn wait_without_replicas_answers_as_the_server() {
    for program in all().into_iter().chain(redis_6_2()) {
        let redis = Redis::start_program(&program, &["--appendonly", "yes"]);
        let proxy = Proxy::standard(&redis);
        let mut direct = redis.client();
        let mut app = proxy.plain().login("admin", "secret");
        for line in [
            "SET x 1",
            "WAIT 0 0",
            "WAIT 1 20",
            "WAIT -1 0",
            "WAIT x 0",
            "WAIT 0 x",
            "WAIT 0 -1",
            "WAIT",
            "WAITAOF 1 0 5000",
            "WAITAOF 0 1 20",
            "WAITAOF 2 0 0",
            "WAITAOF x 0 0",
            "MULTI",
            "SET x 1",
            "WAIT 0 0",
            "WAIT 1 0",
            "EXEC",
            "GET x",
        ] {
            assert_eq!(app.ask(line), direct.ask(line), "{program:?}: {line}");
        }
        proxy.assert_no_panic();
    }
}
