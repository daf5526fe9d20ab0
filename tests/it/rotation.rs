//! Redkeep's own password at the upstream changes without a restart, whichever side changes first.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, pause, wait_for};

const TAKEN_OVER: &str = "new links use the new settings";

/// A Redis whose user `redkeep` has the password `first`, and a proxy that logs in as that user.
fn start() -> (Redis, Proxy) {
    let redis = Redis::start(&[]);
    assert_eq!(redis.client().ask("ACL SETUSER redkeep on >first ~* &* +@all"), "+OK\r\n");
    let proxy = Proxy::start(|dir, certs| {
        let users = dir.write("users.acl", USERS);
        let password = dir.write("upstream-password", "first\n");
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\n    tls: {{cert_file: {}, key_file: {}}}\n  - bind: 127.0.0.1:0\n\
             upstream:\n  address: unix:{}\n  username: redkeep\n  password_file: {}\nacl:\n  file: {}\nworkers: 2\n",
            certs.cert.display(),
            certs.key.display(),
            redis.socket().display(),
            password.display(),
            users.display(),
        )
    });
    (redis, proxy)
}

fn put_password(proxy: &Proxy, password: &str) {
    let new = proxy.dir.write("new-password", password);
    std::fs::rename(new, password_file(proxy)).unwrap();
}

fn password_file(proxy: &Proxy) -> PathBuf {
    proxy.dir.path().join("upstream-password")
}

#[test]
fn the_upstreams_password_rotates_under_load_without_a_failed_request() {
    let (redis, proxy) = start();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let port = proxy.port(1);
    let clients: Vec<_> = (0..3)
        .map(|number| {
            let (stop, done) = (stop.clone(), done.clone());
            std::thread::spawn(move || {
                let mut client = Client::patient(port).login("app", "secret");
                let key = format!("app:load:{number}");
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    count += 1;
                    if number == 0 {
                        // On links of its own.
                        assert_eq!(client.ask("MULTI"), "+OK\r\n");
                        assert_eq!(client.ask(&format!("INCR {key}")), "+QUEUED\r\n");
                        assert_eq!(client.ask("EXEC"), format!("*1\r\n:{count}\r\n"));
                    } else {
                        assert_eq!(client.ask(&format!("INCR {key}")), format!(":{count}\r\n"));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                    pause(Duration::from_millis(1));
                }
            })
        })
        .collect();
    let mut keeping = proxy.plain().login("app", "secret");
    assert_eq!(keeping.ask("MULTI"), "+OK\r\n");
    assert_eq!(keeping.ask("SET app:kept 1"), "+QUEUED\r\n");
    let mut before = "first".to_owned();
    for number in 2..5 {
        let next = format!("password-{number}");
        assert_eq!(redis.client().ask(&format!("ACL SETUSER redkeep >{next}")), "+OK\r\n");
        let seen = proxy.log().len();
        put_password(&proxy, &next);
        proxy.wait_for_log(seen, TAKEN_OVER);
        assert_eq!(redis.client().ask(&format!("ACL SETUSER redkeep <{before}")), "+OK\r\n");
        before = next;
    }
    assert_eq!(keeping.ask("EXEC"), "*1\r\n+OK\r\n", "a leased link goes on until its use ends");
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no request fails");
    }
    println!("3 rotations, {} rounds of clients", done.load(Ordering::Relaxed));
    // The links that are there now were made with the last password, and can be made again.
    redis.client().ask("CLIENT KILL USER redkeep");
    let mut app = proxy.plain().login("app", "secret");
    wait_for("links with the last password", || (app.ask("GET app:kept") == "$1\r\n1\r\n").then_some(()));
    wait_for("old links to end", || {
        let list = redis.client().ask("CLIENT LIST");
        (list.matches("user=redkeep").count() <= 4).then_some(())
    });
    proxy.assert_no_panic();
}

#[test]
fn after_the_hard_way_clients_are_served_again_soon_and_never_see_the_upstreams_refusal() {
    let (redis, proxy) = start();
    let mut app = proxy.plain().login("app", "secret");
    assert_eq!(app.ask("SET app:x 1"), "+OK\r\n");
    assert_eq!(redis.client().ask("ACL SETUSER redkeep <first >second"), "+OK\r\n");
    redis.client().ask("CLIENT KILL USER redkeep");
    wait_for("the refusal to reach the log", || {
        proxy.log().iter().any(|line| line.contains("upstream refused the link")).then_some(())
    });
    for request in ["GET app:x", "BLPOP app:list 0", "SUBSCRIBE app:x", "PING"] {
        let reply = proxy.plain().login("app", "secret").ask(request);
        assert!(reply.starts_with("-LOADING redkeep: ") || reply == "+PONG\r\n", "{request}: {reply}");
    }
    let begin = Instant::now();
    put_password(&proxy, "second");
    wait_for("the upstream", || (app.ask("GET app:x") == "$1\r\n1\r\n").then_some(()));
    println!("served again {:?} after the file changed", begin.elapsed());
    let log = proxy.log().join("\n");
    assert!(!log.contains("first") && !log.contains("second"));
}

#[test]
fn a_password_that_the_upstream_does_not_know_yet_takes_no_link_away() {
    let (redis, proxy) = start();
    let mut app = proxy.plain().login("app", "secret");
    assert_eq!(app.ask("SET app:x 1"), "+OK\r\n");
    let seen = proxy.log().len();
    put_password(&proxy, "later");
    proxy.wait_for_log(seen, "no link can be made with the new settings");
    for _ in 0..20 {
        assert_eq!(app.ask("GET app:x"), "$1\r\n1\r\n");
        assert_eq!(app.ask("MULTI"), "+OK\r\n");
        assert_eq!(app.ask("EXEC"), "*0\r\n");
    }
    assert_eq!(redis.client().ask("ACL SETUSER redkeep <first >later"), "+OK\r\n");
    proxy.wait_for_log(seen, TAKEN_OVER);
    redis.client().ask("CLIENT KILL USER redkeep");
    wait_for("links with the new password", || (app.ask("GET app:x") == "$1\r\n1\r\n").then_some(()));
}

#[test]
fn an_upstream_that_is_away_says_nothing_for_a_new_password() {
    let (redis, proxy) = start();
    let mut app = proxy.plain().login("app", "secret");
    assert_eq!(app.ask("SET app:x 1"), "+OK\r\n");
    let pid = redis.pid().to_string();
    let signal = |signal: &str| {
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    };
    let seen = proxy.log().len();
    signal("-STOP");
    put_password(&proxy, "later");
    proxy.wait_for_log(seen, "no link can be made with the new settings");
    signal("-CONT");
    wait_for("the upstream", || (app.ask("GET app:x") == "$1\r\n1\r\n").then_some(()));
    assert!(!proxy.log().iter().any(|line| line.contains(TAKEN_OVER)));
    assert_eq!(redis.client().ask("ACL SETUSER redkeep <first >later"), "+OK\r\n");
    proxy.wait_for_log(seen, TAKEN_OVER);
}

#[test]
fn timeouts_of_the_upstream_change_live_and_its_address_does_not() {
    let (redis, proxy) = start();
    let mut app = proxy.plain().login("app", "secret");
    assert_eq!(app.ask("PING"), "+PONG\r\n");
    let config = std::fs::read_to_string(proxy.config_path()).unwrap();
    let seen = proxy.log().len();
    let changed = config.replace("  username", "  response_timeout: 300ms\n  username");
    std::fs::write(proxy.config_path(), changed).unwrap();
    proxy.wait_for_log(seen, TAKEN_OVER);
    // So that there is a new link before nothing gets through.
    assert_eq!(app.ask("GET app:x"), "$-1\r\n");
    redis.client().ask("CLIENT PAUSE 2000 ALL");
    assert!(text(&app.call(&["GET", "app:x"])).starts_with("-INDOUBT"));
    let seen = proxy.log().len();
    std::fs::write(proxy.config_path(), config.replace("redis.sock", "other.sock")).unwrap();
    let line = proxy.wait_for_log(seen, "reload refused");
    assert!(line.contains("`upstream.address` cannot change"), "{line}");
}
