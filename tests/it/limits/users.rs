//! Caps of one user: clients, requests at the upstream, leased links.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::strangers::field;
use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Proxy, Redis, wait_for};

const FULL: &str = "-ERR max number of clients of this user reached\r\n";
const NONE_FREE: &str = "-LOADING redkeep: no upstream connection free, command not sent\r\n";

/// More configuration that gives `app` a cap, and everybody another one.
fn caps(app: &str, all: &str) -> String {
    format!("users:\n  - name: app\n    {app}\nlimits:\n  per_user:\n    {all}\n")
}

#[test]
fn a_user_has_no_more_clients_than_max_connections_and_others_are_not_concerned() {
    let more = caps("max_connections: 2", "max_connections: 1");
    let proxy = Proxy::with_users(Redis::shared(), USERS, &more);
    let _one = proxy.plain().login("app", "secret");
    let mut two = proxy.tls().login("app", "secret");
    let mut three = proxy.plain();
    assert_eq!(three.ask("AUTH app secret"), FULL);
    assert_eq!(three.ask("HELLO 3 AUTH app secret"), FULL);
    assert_eq!(
        three.ask("AUTH app wrong"),
        "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
    );
    assert_eq!(three.ask("PING"), "-NOAUTH Authentication required.\r\n", "still nobody");
    assert_eq!(three.ask("AUTH reader secret"), "+OK\r\n");
    assert_eq!(three.ask("AUTH app secret"), FULL);
    assert_eq!(
        three.ask("ACL WHOAMI"),
        "-NOPERM User reader has no permissions to run the 'acl|whoami' command\r\n"
            .replace("User reader has", "this user has"),
        "as before"
    );
    assert_eq!(proxy.plain().ask("AUTH reader secret"), FULL, "the cap of all");
    assert_eq!(two.ask("AUTH app secret"), "+OK\r\n", "who is in already");
    assert_eq!(two.ask("RESET"), "+RESET\r\n");
    assert_eq!(three.ask("AUTH app secret"), "+OK\r\n", "there is room again");
    drop(three);
    wait_for("room", || (proxy.plain().ask("AUTH app secret") == "+OK\r\n").then_some(()));

    // A reload changes it for logins to come.
    let config = std::fs::read_to_string(proxy.config_path()).unwrap();
    let changed = config.replace("max_connections: 2", "max_connections: 0");
    std::fs::write(proxy.config_path(), changed).unwrap();
    proxy.reload("reloaded");
    let many: Vec<_> = (0..10).map(|_| proxy.plain().login("app", "secret")).collect();
    assert_eq!(many.len(), 10);
    proxy.assert_no_panic();
}

#[test]
fn behind_a_login_in_a_transaction_that_the_cap_refuses_commands_are_judged_as_before_it() {
    let users = format!("{USERS}user other on >secret ~other:* +@all\n");
    let proxy = Proxy::with_users(
        Redis::shared(),
        &users,
        "users:\n  - name: other\n    max_connections: 1\nlimits:\n  login_backoff: no\n",
    );
    let other = proxy.plain().login("other", "secret");
    let mut client = proxy.plain().login("app", "secret");
    let mut execute = || {
        for command in ["MULTI", "AUTH other secret", "SET app:cap 1", "AUTH app secret", "AUTH other secret"]
        {
            assert!(client.ask(command).starts_with('+'), "{command}");
        }
        client.ask("EXEC")
    };
    assert_eq!(execute(), format!("*4\r\n{FULL}+OK\r\n+OK\r\n{FULL}"));
    drop(other);
    wait_for("room", || (proxy.plain().ask("AUTH other secret") == "+OK\r\n").then_some(()));
    let denied = wait_for("room", || Some(execute()).filter(|reply| !reply.contains(FULL)));
    assert!(
        denied.starts_with("*4\r\n+OK\r\n-NOPERM ") && denied.ends_with("\r\n+OK\r\n+OK\r\n"),
        "{denied}"
    );
    proxy.assert_no_panic();
}

#[test]
fn clients_without_a_login_count_for_the_default_user() {
    let open = "user default on nopass ~* +@all\n";
    let proxy = Proxy::with_users(Redis::shared(), open, "limits:\n  per_user: {max_connections: 1}\n");
    let mut one = proxy.plain();
    assert_eq!(one.ask("PING"), "+PONG\r\n");
    assert_eq!(text(&proxy.plain().read_to_end()), FULL);
    drop(one);
    wait_for("room", || {
        let mut client = proxy.plain();
        client.try_call(&["PING"]).filter(|reply| reply == b"+PONG\r\n").map(drop)
    });
}

#[test]
fn requests_over_max_in_flight_wait_and_none_is_refused() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, USERS, &caps("max_in_flight: 5", "max_in_flight: 0"));
    let mut admin = proxy.plain().login("admin", "secret");
    let mut noisy = [proxy.plain().login("app", "secret"), proxy.plain().login("app", "secret")];
    noisy.iter_mut().for_each(|client| drop(client.ask("GET app:x")));
    let stop = |signal: &str| {
        let killed = std::process::Command::new("kill").args([signal, &redis.pid().to_string()]).status();
        assert!(killed.unwrap().success());
    };
    let pid = redis.pid().to_string();
    stop("-STOP");
    let get = b"*2\r\n$3\r\nGET\r\n$5\r\napp:x\r\n";
    noisy.iter_mut().for_each(|client| client.send_raw(&get.repeat(1000)));
    let list = wait_for("requests that wait", || {
        let list = admin.ask("CLIENT LIST");
        let lines: Vec<&str> = list.lines().filter(|line| line.contains(" user=app ")).collect();
        let waiting: usize = lines.iter().map(|line| field(line, "qbuf=")).sum();
        // Both have sent all; 5 requests are taken off, or one more of who came when 5 were there.
        (waiting > 0 && waiting >= (2000 - 6) * get.len()).then_some(waiting)
    });
    assert!(list <= (2000 - 5) * get.len(), "{list}");
    assert!(std::process::Command::new("kill").args(["-CONT", &pid]).status().unwrap().success());
    for client in &mut noisy {
        (0..1000).for_each(|number| assert_eq!(text(&client.read_reply()), "$-1\r\n", "{number}"));
    }
    proxy.assert_no_panic();
}

#[test]
fn a_user_over_max_leased_waits_and_is_told_and_others_are_not_concerned() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, USERS, &caps("max_leased: 2", "max_leased: 0"));
    let config = std::fs::read_to_string(proxy.config_path()).unwrap();
    assert!(!config.contains("lease_timeout"), "a second");
    let mut one = proxy.plain().login("app", "secret");
    let mut two = proxy.tls().login("app", "secret");
    assert_eq!(one.ask("MULTI"), "+OK\r\n");
    two.send(&["BLPOP", "app:list", "0"]);
    let mut admin = proxy.plain().login("admin", "secret");
    wait_for("the blocked client", || admin.ask("CLIENT LIST").contains("flags=b").then_some(()));
    let mut three = proxy.plain().login("app", "secret");
    let start = Instant::now();
    assert_eq!(three.ask("BLPOP app:other 0"), NONE_FREE);
    assert!(start.elapsed() >= Duration::from_secs(1), "it has waited");
    assert_eq!(three.ask("PING"), "+PONG\r\n", "shared links are for all");
    assert_eq!(admin.ask("MULTI"), "+OK\r\n");
    assert_eq!(admin.ask("EXEC"), "*0\r\n");
    // Who waits gets the first that is free.
    three.send(&["BLPOP", "app:list", "0"]);
    assert_eq!(one.ask("DISCARD"), "+OK\r\n");
    for value in ["a", "b"] {
        wait_for("who takes it", || {
            (!admin.ask(&format!("RPUSH app:list {value}")).is_empty()).then_some(())
        });
    }
    assert_eq!(text(&two.read_reply()), "*2\r\n$8\r\napp:list\r\n$1\r\na\r\n");
    assert_eq!(text(&three.read_reply()), "*2\r\n$8\r\napp:list\r\n$1\r\nb\r\n");
    for _ in 0..20 {
        assert_eq!(one.ask("MULTI"), "+OK\r\n", "all are given back");
        assert_eq!(one.ask("EXEC"), "*0\r\n");
    }
    proxy.assert_no_panic();
}

#[test]
fn a_noisy_user_within_its_caps_does_not_stop_others() {
    let redis = Redis::start(&[]);
    let more = caps("max_in_flight: 32", "max_in_flight: 0");
    let proxy = Proxy::with_users(&redis, USERS, &more);
    redis.client().call(&["SET", "app:value", &"x".repeat(1000)]);
    let mut quiet = proxy.tls().login("reader", "secret");
    let percentile = |quiet: &mut crate::support::Client| {
        let mut times: Vec<Duration> = (0..200)
            .map(|_| {
                let start = Instant::now();
                assert_eq!(quiet.ask("GET app:value").len(), 1009);
                start.elapsed()
            })
            .collect();
        times.sort();
        times[197]
    };
    let before = percentile(&mut quiet);
    let done = AtomicBool::new(false);
    let (during, served) = std::thread::scope(|scope| {
        let noise: Vec<_> = (0..4)
            .map(|_| {
                let (proxy, done) = (&proxy, &done);
                scope.spawn(move || {
                    let mut client = proxy.plain().login("app", "secret");
                    let mut served = 0;
                    while !done.load(Ordering::Relaxed) {
                        client.send_raw(&b"*2\r\n$3\r\nGET\r\n$9\r\napp:value\r\n".repeat(300));
                        (0..300).for_each(|_| assert_eq!(client.read_reply().len(), 1009));
                        served += 300;
                    }
                    served
                })
            })
            .collect();
        let during = percentile(&mut quiet);
        done.store(true, Ordering::Relaxed);
        (during, noise.into_iter().map(|noise| noise.join().unwrap()).sum::<usize>())
    });
    eprintln!("p99 {before:?} alone, {during:?} beside {served} requests of another user");
    assert!(
        during < before * 20 + Duration::from_millis(500),
        "{before:?} alone, {during:?} beside the noise"
    );
    assert!(served > 0);
    proxy.assert_no_panic();
}
