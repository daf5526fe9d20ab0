//! The upstream fails; clients are told what is certain, and service resumes by itself.

use std::time::{Duration, Instant};

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, TempDir, pause, wait_for};

const NOT_SENT: &str = "-LOADING redkeep: upstream unavailable, command not sent\r\n";
const IN_DOUBT: &str = "-INDOUBT redkeep: upstream connection lost, command may have been executed\r\n";

#[test]
fn killed_upstream_is_told_by_codes_and_service_resumes_after_its_restart() {
    let mut redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut clients: Vec<Client> = (0..8)
        .map(|number| if number % 2 == 0 { proxy.tls() } else { proxy.plain() }.login("app", "secret"))
        .collect();
    for client in &mut clients {
        assert_eq!(client.ask("SET app:k 1"), "+OK\r\n");
    }
    redis.kill();
    for client in &mut clients {
        wait_for("the code", || (client.ask("INCR app:k") == NOT_SENT).then_some(()));
        let start = Instant::now();
        assert_eq!(client.ask("INCR app:k"), NOT_SENT);
        assert!(start.elapsed() < Duration::from_millis(500), "an upstream that is down is told at once");
        assert_eq!(client.ask("ACL WHOAMI"), "$3\r\napp\r\n", "local commands need no upstream");
        assert!(client.ask("SET nope 1").starts_with("-NOPERM"), "verdicts need no upstream");
    }
    redis.start_again();
    for client in &mut clients {
        wait_for("the service", || (client.ask("SET app:k 1") == "+OK\r\n").then_some(()));
    }
    proxy.assert_no_panic();
}

#[test]
fn every_increment_is_accounted_for_while_the_upstream_is_killed_under_load() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let proxy = Proxy::standard(&redis);
    let (mut done, mut doubtful) = (0u64, 0u64);
    for _ in 0..3 {
        let ports = (proxy.port(0), proxy.certs.client_config(false));
        let load = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let (port, config) = ports.clone();
                    scope.spawn(move || count_increments(Client::tls(port, config).login("app", "secret")))
                })
                .collect();
            pause(Duration::from_millis(150));
            redis.kill();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        for (certain, unclear) in load {
            done += certain;
            doubtful += unclear;
        }
        redis.start_again();
        let mut client = proxy.plain().login("app", "secret");
        wait_for("the service", || (client.ask("PING") == "+PONG\r\n").then_some(()));
    }
    let value: u64 =
        text(&redis.client().call(&["GET", "app:count"])).lines().nth(1).unwrap().parse().unwrap();
    assert!(done > 0, "the load did something");
    assert!(
        done <= value && value <= done + doubtful,
        "{done} acknowledged, {doubtful} in doubt, {value} executed"
    );
    proxy.assert_no_panic();
}

/// Pipelines of 20 increments until the upstream is gone: how many are certain, how many in doubt.
fn count_increments(mut client: Client) -> (u64, u64) {
    let (mut done, mut doubtful) = (0, 0);
    for _ in 0..1_000_000 {
        (0..20).for_each(|_| client.send(&["INCR", "app:count"]));
        let mut lost = false;
        for _ in 0..20 {
            let reply = text(&client.read_reply());
            match reply.as_str() {
                NOT_SENT => lost = true,
                IN_DOUBT => {
                    doubtful += 1;
                    lost = true;
                }
                _ => {
                    assert!(reply.starts_with(':'), "{reply}");
                    done += 1;
                }
            }
        }
        if lost {
            return (done, doubtful);
        }
    }
    panic!("the upstream was never lost");
}

#[test]
fn a_transaction_whose_upstream_died_is_aborted() {
    let mut redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut app = proxy.tls().login("app", "secret");
    assert_eq!(app.ask("MULTI"), "+OK\r\n");
    assert_eq!(app.ask("SET app:t 1"), "+QUEUED\r\n");
    redis.kill();
    pause(Duration::from_millis(50));
    assert_eq!(app.ask("SET app:t 2"), NOT_SENT);
    redis.start_again();
    assert_eq!(app.ask("SET app:t 3"), NOT_SENT, "half a transaction must not run");
    assert_eq!(app.ask("EXEC"), "-EXECABORT Transaction discarded because of: upstream connection lost\r\n");
    wait_for("the service", || (app.ask("EXISTS app:t") == ":0\r\n").then_some(()));
}

#[test]
fn a_blocked_command_whose_upstream_died_is_in_doubt() {
    let mut redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut app = proxy.tls().login("app", "secret");
    app.send(&["BLPOP", "app:list", "0"]);
    wait_for("the blocked client", || {
        redis.client().ask("INFO clients").contains("blocked_clients:1").then_some(())
    });
    redis.kill();
    assert_eq!(text(&app.read_reply()), IN_DOUBT);
}

#[test]
fn an_upstream_that_hangs_is_given_up_after_the_response_timeout() {
    let redis = Redis::start(&[]);
    let socket = redis.socket();
    let proxy = Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\n  connect_timeout: 300ms\n  \
             response_timeout: 500ms\nacl:\n  file: {}\nlog:\n  format: json\n",
            socket.display(),
            users.display()
        )
    });
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_eq!(app.ask("SET app:k 1"), "+OK\r\n");
    let pid = redis.pid().to_string();
    let signal = |name: &str| {
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success())
    };
    signal("-STOP");
    let start = Instant::now();
    assert_eq!(app.ask("GET app:k"), IN_DOUBT);
    assert!(start.elapsed() < Duration::from_secs(3));
    wait_for("a refusal at once", || (app.ask("GET app:k") == NOT_SENT).then_some(()));
    signal("-CONT");
    wait_for("the service", || (app.ask("GET app:k") == "$1\r\n1\r\n").then_some(()));
    proxy.assert_no_panic();
}

#[test]
fn service_is_back_within_150_ms_of_the_upstream_in_the_median() {
    let mut redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut app = proxy.plain().login("app", "secret");
    let mut times = Vec::new();
    for cycle in 0..9 {
        assert_eq!(app.ask("SET app:k 1"), "+OK\r\n");
        redis.kill();
        wait_for("the code", || (app.ask("GET app:k") == NOT_SENT).then_some(()));
        // Away for longer than the longest pause between two attempts, and never in step with them.
        pause(Duration::from_millis(200 + 17 * cycle));
        redis.start_again();
        let back = Instant::now();
        wait_for("the service", || (app.ask("GET app:k") == "$-1\r\n").then_some(()));
        times.push(back.elapsed());
        // An upstream that ends at once would be taken for one that does not come up.
        pause(Duration::from_millis(1000));
    }
    times.sort_unstable();
    assert!(times[4] <= Duration::from_millis(150), "{times:?}");
    proxy.assert_no_panic();
}

#[test]
fn a_proxy_that_starts_before_its_upstream_serves_once_it_is_there() {
    let dir = TempDir::new();
    let socket = dir.path().join("redis.sock");
    let proxy = Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\nacl:\n  file: {}\nlog:\n  format: json\n",
            socket.display(),
            users.display()
        )
    });
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_eq!(app.ask("GET app:k"), NOT_SENT);
    assert_eq!(app.ask("HELLO 3"), NOT_SENT, "the greeting is the upstream's own");
    let redis = Redis::start(&[]);
    std::os::unix::fs::symlink(redis.socket(), &socket).unwrap();
    wait_for("the service", || (app.ask("GET app:k") == "$-1\r\n").then_some(()));
    wait_for("the greeting", || app.ask("HELLO 3").contains("$5\r\nredis\r\n").then_some(()));
}
