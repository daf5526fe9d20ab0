//! MULTI, WATCH and blocking commands: each on a link of the session's own, and none of it reaches another client.

use redkeep::resp::RequestBuf;

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, unique, wait_for};

#[test]
fn a_denied_command_in_multi_aborts_exec_and_nothing_runs() {
    let redis = Redis::shared();
    let proxy = Proxy::standard(redis);
    let key = unique("app:multi");
    let mut app = proxy.tls().login("app", "secret");
    assert_eq!(app.ask("MULTI"), "+OK\r\n");
    assert_eq!(app.ask(&format!("SET {key} 1")), "+QUEUED\r\n");
    assert_eq!(
        app.ask("SET forbidden 1"),
        "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"
    );
    assert_eq!(app.ask("EXEC"), "-EXECABORT Transaction discarded because of previous errors.\r\n");
    assert_eq!(redis.client().ask(&format!("EXISTS {key} forbidden")), ":0\r\n");
    assert_eq!(app.ask(&format!("SET {key} 2")), "+OK\r\n");
}

#[test]
fn a_transaction_is_invisible_to_other_clients_until_exec() {
    let redis = Redis::shared();
    let proxy = Proxy::standard(redis);
    let key = unique("app:multi");
    let mut one = proxy.tls().login("app", "secret");
    let mut two = proxy.tls().login("app", "secret");
    one.ask("MULTI");
    assert_eq!(one.ask(&format!("SET {key} one")), "+QUEUED\r\n");
    assert_eq!(two.ask(&format!("GET {key}")), "$-1\r\n");
    assert_eq!(two.ask(&format!("SET {key} two")), "+OK\r\n");
    assert_eq!(one.ask("EXEC"), "*1\r\n+OK\r\n");
    assert_eq!(two.ask(&format!("GET {key}")), "$3\r\none\r\n");
}

#[test]
fn a_watched_key_that_another_client_changes_aborts_exec() {
    let proxy = Proxy::standard(Redis::shared());
    let key = unique("app:watch");
    let mut one = proxy.tls().login("app", "secret");
    let mut two = proxy.plain().login("app", "secret");
    assert_eq!(one.ask(&format!("WATCH {key}")), "+OK\r\n");
    assert_eq!(two.ask(&format!("SET {key} 2")), "+OK\r\n");
    one.ask("MULTI");
    one.ask(&format!("SET {key} 1"));
    assert_eq!(one.ask("EXEC"), "*-1\r\n");
    assert_eq!(one.ask(&format!("GET {key}")), "$1\r\n2\r\n");
}

#[test]
fn a_blocked_client_does_not_hold_up_the_others() {
    let proxy = Proxy::with_users(Redis::shared(), crate::support::proxy::USERS, "");
    let key = unique("app:list");
    let mut blocked = proxy.tls().login("app", "secret");
    blocked.send(&["BLPOP", &key, "0"]);
    let mut other = proxy.tls().login("app", "secret");
    for _ in 0..100 {
        assert_eq!(other.ask("PING"), "+PONG\r\n");
    }
    assert_eq!(other.ask(&format!("RPUSH {key} x")), ":1\r\n");
    assert_eq!(text(&blocked.read_reply()), format!("*2\r\n${}\r\n{key}\r\n$1\r\nx\r\n", key.len()));
}

#[test]
fn a_client_that_vanishes_while_blocked_takes_no_element() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let key = unique("app:list");
    let mut blocked = proxy.tls().login("app", "secret");
    blocked.send(&["BLPOP", &key, "0"]);
    let mut direct = redis.client();
    let blocked_clients = || {
        let info = redis.client().ask("INFO clients");
        info.contains("blocked_clients:1").then_some(())
    };
    wait_for("the blocked client", blocked_clients);
    drop(blocked);
    wait_for("the end of the blocked command", || {
        redis.client().ask("INFO clients").contains("blocked_clients:0").then_some(())
    });
    direct.ask(&format!("RPUSH {key} x"));
    assert_eq!(direct.ask(&format!("LLEN {key}")), ":1\r\n");
}

#[test]
fn a_clean_leased_link_serves_the_next_use_and_any_other_is_closed() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(|dir, _| {
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\nacl:\n  file: {}\nworkers: 1\n",
            redis.socket().display(),
            dir.write("users.acl", USERS).display()
        )
    });
    // One that stays: a connection that was closed may be listed for a while.
    let direct = std::cell::RefCell::new(redis.client());
    let links = || direct.borrow_mut().ask("CLIENT LIST").matches("\nid=").count();
    let numbers = || {
        let list = direct.borrow_mut().ask("CLIENT LIST");
        let ids =
            list.lines().filter_map(|line| line.strip_prefix("id=")?.split(' ').next().map(str::to_owned));
        ids.collect::<Vec<_>>()
    };
    let login = || Client::tcp(proxy.port(0)).login("admin", "secret");
    let mut app = login();
    app.ask("PING");
    let before = links();
    app.ask("MULTI");
    app.ask("EXEC");
    let seen = numbers();
    for _ in 0..20 {
        app.ask("MULTI");
        app.ask("SET k v");
        app.ask("EXEC");
        app.ask("WATCH k");
        app.ask("UNWATCH");
        app.ask("MULTI");
        app.ask("DISCARD");
        app.ask("BLPOP none 0.01");
    }
    let now = numbers();
    assert!(seen.iter().all(|id| now.contains(id)), "one link is used again and again: {seen:?}, {now:?}");
    assert_eq!(links(), before + 1, "and rests");
    app.ask("MULTI");
    drop(app);
    wait_for("a clean start", || (links() == before).then_some(()));
    for (state, rest) in [
        (&["MULTI"][..], 0),
        (&["WATCH k"], 0),
        (&["MULTI", "SET k v"], 0),
        (&["MULTI", "DISCARD", "MULTI"], 0),
        (&["SUBSCRIBE chan"], 0),
        (&["SUBSCRIBE chan", "UNSUBSCRIBE chan"], 0),
        (&["MULTI", "SET k v", "NOSUCHCMD", "EXEC"], 0),
        (&["CLIENT TRACKING ON", "CLIENT TRACKING OFF"], 0),
        // More of an error than its first line may still come.
        (&["EVAL fails 0"], 0),
        (&["FUNCTION LOAD fails"], 0),
        (&["MULTI", "EVAL return(1) 0", "EXEC"], 0),
        (&["EVAL return(1) 0"], 1),
        (&["MULTI", "EXEC"], 1),
    ] {
        let mut client = login();
        state.iter().for_each(|line| drop(client.ask(line)));
        drop(client);
        wait_for(&format!("what becomes of the link after {state:?}"), || {
            (links() == before + rest).then_some(())
        });
        let mut other = login();
        assert_eq!(other.ask("MULTI"), "+OK\r\n", "{state:?}");
        assert_eq!(other.ask("EXEC"), "*0\r\n", "{state:?}");
        other.ask("MULTI");
        drop(other);
        wait_for("a clean start", || (links() == before).then_some(()));
    }
}

#[test]
fn requests_in_one_write_run_in_the_database_and_protocol_that_was_chosen_before_them() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let pipelines = [
        ("SELECT 7|MULTI|SET k seven|EXEC|SELECT 0|MULTI|SET k zero|EXEC", 8),
        (
            "SELECT 7|EVAL return(redis.call('set','k','seven')) 0|SELECT 0|EVAL return(redis.call('set','k','zero')) 0",
            4,
        ),
        ("SELECT 7|SET k seven|SORT none|SELECT 0|SORT none|WATCH k|SET k zero|UNWATCH", 8),
        (
            "SELECT 7|WATCH x|MULTI|SET k seven|DISCARD|SET k seven|SORT none|SELECT 0|MULTI|SET k zero|EXEC",
            11,
        ),
    ];
    for (pipeline, replies) in pipelines {
        assert_eq!(redis.client().ask("FLUSHALL"), "+OK\r\n");
        let mut client = proxy.plain().login("admin", "secret");
        let requests: Vec<u8> = pipeline
            .split('|')
            .flat_map(|line| {
                RequestBuf::from_args(&line.split(' ').collect::<Vec<_>>()).as_request().wire().to_vec()
            })
            .collect();
        client.send_raw(&requests);
        for _ in 0..replies {
            let reply = client.read_reply();
            assert!(!reply.starts_with(b"-"), "{pipeline}: {}", reply.escape_ascii());
        }
        assert_eq!(client.ask("GET k"), "$4\r\nzero\r\n", "{pipeline}");
        assert_eq!(client.ask("SELECT 7"), "+OK\r\n");
        assert_eq!(client.ask("GET k"), "$5\r\nseven\r\n", "{pipeline}");
    }

    let mut client = proxy.plain().login("admin", "secret");
    assert_eq!(client.ask("HSET h a 1"), ":1\r\n");
    let script = ["EVAL", "redis.setresp(3) return redis.call('hgetall', 'h')", "0"];
    client.send(&script);
    client.send(&["HELLO", "3"]);
    client.send(&script);
    assert_eq!(client.read_reply(), b"*2\r\n$1\r\na\r\n$1\r\n1\r\n");
    assert!(client.read_reply().starts_with(b"%"));
    assert_eq!(client.read_reply(), b"%1\r\n$1\r\na\r\n$1\r\n1\r\n", "in RESP3");
}
