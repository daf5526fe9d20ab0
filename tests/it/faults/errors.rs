//! Errors of the upstream itself are its own words, except about Redkeep's own login, which are nobody else's business.

use super::{IN_DOUBT, NOT_SENT, app, wait_for_service};
use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, TempDir, wait_for};

/// The same line through the proxy and directly: the error that begins so, byte for byte.
fn assert_same(proxy: &mut Client, direct: &mut Client, line: &str, error: &str) {
    let expected = direct.ask(line);
    assert!(expected.starts_with(error), "{line}: {expected}");
    assert_eq!(proxy.ask(line), expected, "{line}");
}

#[test]
fn loading_busy_misconf_and_oom_are_the_upstreams_own_words() {
    let redis = Redis::start(&["--lua-time-limit", "50", "--loading-process-events-interval-bytes", "1024"]);
    let proxy = Proxy::standard(&redis);
    let mut app = proxy.tls().login("admin", "secret");
    let (mut direct, mut other) = (redis.client(), redis.client());
    assert_eq!(app.ask("SET k 1"), "+OK\r\n");

    // A full memory.
    assert_eq!(direct.ask("CONFIG SET maxmemory 1"), "+OK\r\n");
    for line in ["SET k 2", "APPEND k 2", "LPUSH l 1"] {
        assert_same(&mut app, &mut direct, line, "-OOM ");
    }
    assert_eq!(app.ask("MULTI"), "+OK\r\n");
    assert!(app.ask("SET k 2").starts_with("-OOM "));
    assert!(app.ask("EXEC").starts_with("-EXECABORT "));
    assert_eq!(app.ask("GET k"), "$1\r\n1\r\n");
    assert_eq!(direct.ask("CONFIG SET maxmemory 0"), "+OK\r\n");

    // A disk that takes nothing: the file to be replaced is a folder.
    std::fs::create_dir(redis.dir().join("folder")).unwrap();
    assert_eq!(text(&direct.call(&["CONFIG", "SET", "dbfilename", "folder"])), "+OK\r\n");
    assert_eq!(text(&direct.call(&["CONFIG", "SET", "save", "3600 1"])), "+OK\r\n");
    direct.ask("BGSAVE");
    wait_for("the failure", || {
        direct.ask("INFO persistence").contains("rdb_last_bgsave_status:err").then_some(())
    });
    assert_same(&mut app, &mut direct, "SET k 2", "-MISCONF ");
    assert_same(&mut app, &mut direct, "BLPOP l 0", "-MISCONF ");
    assert_eq!(app.ask("GET k"), "$1\r\n1\r\n");
    assert_eq!(text(&direct.call(&["CONFIG", "SET", "save", ""])), "+OK\r\n");
    assert_eq!(text(&direct.call(&["CONFIG", "SET", "dbfilename", "dump.rdb"])), "+OK\r\n");

    // A script that does not end.
    other.send(&["EVAL", "while true do end", "0"]);
    wait_for("the script", || direct.ask("GET k").starts_with("-BUSY ").then_some(()));
    for line in ["GET k", "SET k 2", "BLPOP l 0"] {
        assert_same(&mut app, &mut direct, line, "-BUSY ");
    }
    let mut newcomer = proxy.plain().login("admin", "secret");
    assert_same(&mut newcomer, &mut direct, "GET k", "-BUSY ");
    assert_eq!(app.ask("SCRIPT KILL"), "+OK\r\n");
    assert!(text(&other.read_reply()).starts_with("-ERR "));
    assert_eq!(app.ask("GET k"), "$1\r\n1\r\n");

    // Much to load, as after a restart.
    assert_eq!(direct.ask("DEBUG POPULATE 6000 loaded 200"), "+OK\r\n");
    assert_eq!(direct.ask("CONFIG SET key-load-delay 1000"), "+OK\r\n");
    other.send(&["DEBUG", "RELOAD"]);
    wait_for("the loading", || direct.ask("GET k").starts_with("-LOADING ").then_some(()));
    for line in ["GET k", "SET k 2", "BLPOP l 0"] {
        assert_same(&mut app, &mut direct, line, "-LOADING Redis is loading");
    }
    let mut newcomer = proxy.plain().login("admin", "secret");
    assert_same(&mut newcomer, &mut direct, "GET k", "-LOADING Redis is loading");
    assert_eq!(direct.ask("CONFIG SET key-load-delay 0"), "+OK\r\n");
    assert_eq!(text(&other.read_reply()), "+OK\r\n");
    assert_eq!(app.ask("GET k"), "$1\r\n1\r\n");
    let log = proxy.log().join("\n");
    assert!(!log.contains("upstream closed the connection") && !log.contains("broke the protocol"), "{log}");
    proxy.assert_no_panic();
}

#[test]
fn a_rotated_upstream_password_is_told_to_the_log_and_not_to_clients() {
    let redis = Redis::start(&["--requirepass", "first-secret"]);
    let secret = TempDir::new();
    let file = secret.write("password", "first-secret\n");
    let proxy = Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\n  password_file: {}\nacl:\n  file: {}\n\
             log:\n  format: json\n",
            redis.socket().display(),
            file.display(),
            users.display()
        )
    });
    let mut client = app(&proxy);
    assert_eq!(client.ask("SET app:k 1"), "+OK\r\n");
    let mut direct = redis.client().login("default", "first-secret");
    assert_eq!(direct.ask("ACL SETUSER default >second-secret <first-secret"), "+OK\r\n");
    assert_eq!(client.ask("GET app:k"), "$1\r\n1\r\n", "a link that is logged in stays");
    let mut blocked = app(&proxy);
    assert_eq!(blocked.ask("BLPOP app:list 0.01"), NOT_SENT, "a new one cannot log in");
    let seen = proxy.log().len();
    direct.ask("CLIENT KILL TYPE normal SKIPME yes");
    wait_for("the code", || {
        let reply = client.ask("GET app:k");
        let right = [NOT_SENT, IN_DOUBT, "$1\r\n1\r\n"];
        assert!(right.contains(&reply.as_str()), "{reply}");
        (reply == NOT_SENT).then_some(())
    });
    for line in ["GET app:k", "SET app:k 2", "BLPOP app:list 0", "SUBSCRIBE app:c", "CLIENT TRACKING ON"] {
        let mut fresh = app(&proxy);
        assert_eq!(fresh.ask(line), NOT_SENT, "{line}");
    }
    let line = proxy.wait_for_log(seen, "upstream refused the link");
    assert!(
        line.contains("\"level\":\"WARN\"") && line.contains("AUTH") && line.contains("WRONGPASS"),
        "{line}"
    );
    assert_eq!(direct.ask("ACL SETUSER default >first-secret"), "+OK\r\n");
    wait_for_service(&mut client);
    assert_eq!(client.ask("GET app:k"), "$1\r\n1\r\n");
    assert!(!proxy.log().join("\n").contains("-secret"), "no secret in a log");
    proxy.assert_no_panic();
}
