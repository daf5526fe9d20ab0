//! A real replica follows the upstream through the proxy: plain, over TLS, after a cut, and not without permission.

use std::path::Path;
use std::time::Duration;

use crate::support::client::text;
use crate::support::redis::{all, installed, redis_6_2};
use crate::support::{Client, Proxy, Redis, pause, wait_for, wait_long_for};

/// What Redis' own documentation gives a replica's user, and an administrator.
const USERS: &str = "\
user default off
user replica on >secret +psync +replconf +ping
user reader on >secret ~* +@read +ping
user admin on >secret ~* &* +@all
";

/// A server that sends its snapshot at once.
fn primary(program: &Path, more: &[&str]) -> Redis {
    let at_once = ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"];
    Redis::start_program(program, &[&at_once[..], more].concat())
}

/// A replica of what is behind the proxy's listener `index`.
fn replica(program: &Path, proxy: &Proxy, index: usize, user: &str, more: &[&str]) -> Redis {
    let port = proxy.port(index).to_string();
    let follows = ["--replicaof", "localhost", &port, "--masteruser", user, "--masterauth", "secret"];
    Redis::start_program(program, &[&follows[..], more].concat())
}

fn wait_for_link(replica: &Redis) {
    wait_long_for("the replica", Duration::from_secs(60), || {
        replica.client().ask("INFO replication").contains("master_link_status:up").then_some(())
    });
}

fn wait_for_value(redis: &Redis, key: &str, value: &str) {
    let expected = format!("${}\r\n{value}\r\n", value.len());
    wait_long_for("the replicated value", Duration::from_secs(60), || {
        (redis.client().ask(&format!("GET {key}")) == expected).then_some(())
    });
}

/// A number that INFO shows.
fn number(client: &mut Client, section: &str, field: &str) -> u64 {
    let info = client.ask(&format!("INFO {section}"));
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("no {field}")).trim().parse().unwrap()
}

fn digest(redis: &Redis) -> String {
    redis.client().ask("DEBUG DIGEST")
}

#[test]
fn a_replica_follows_through_the_proxy_and_others_see_it() {
    for program in all().into_iter().chain(redis_6_2()) {
        let primary = primary(&program, &[]);
        let value = "v".repeat(100_000);
        for number in 0..300 {
            primary.client().call(&["SET", &format!("before:{number}"), &value]);
        }
        let proxy = Proxy::with_users(&primary, USERS, "");
        let replica = replica(&program, &proxy, 1, "replica", &[]);
        wait_for_link(&replica);
        let mut admin = proxy.plain().login("admin", "secret");
        assert!(admin.ask("INFO replication").contains("state=online"), "{program:?}");
        for number in 0..1000 {
            admin.send(&["SET", &format!("after:{number}"), "x"]);
        }
        (0..1000).for_each(|_| assert_eq!(admin.read_reply(), b"+OK\r\n"));
        assert_eq!(admin.ask("WAIT 1 5000"), ":1\r\n", "{program:?}: the replica acknowledges");
        assert_eq!(digest(&replica), digest(&primary), "{program:?}");
        let list = admin.ask("CLIENT LIST TYPE replica");
        assert!(list.contains(" flags=S ") && list.contains(" user=replica "), "{list}");
        assert!(!admin.ask("CLIENT LIST TYPE normal").contains(" user=replica "));

        // Cut off by the administrator, it goes on where it was: a partial resynchronisation.
        let full = number(&mut primary.client(), "stats", "sync_full");
        let killed = admin.ask("CLIENT KILL TYPE replica");
        assert_eq!(killed, ":1\r\n", "{program:?}");
        assert_eq!(admin.ask("SET after:kill y"), "+OK\r\n");
        wait_for_value(&replica, "after:kill", "y");
        assert_eq!(number(&mut primary.client(), "stats", "sync_full"), full, "{program:?}");
        assert!(number(&mut primary.client(), "stats", "sync_partial_ok") >= 1, "{program:?}");
        assert_eq!(digest(&replica), digest(&primary), "{program:?}");
        proxy.assert_no_panic();
    }
}

#[test]
fn a_replica_follows_over_tls_and_over_a_restart_of_the_upstream() {
    let mut primary = primary(&installed(), &["--save", "3600 1"]);
    let proxy = Proxy::with_users(&primary, USERS, "");
    let [ca, cert, key] =
        [&proxy.certs.ca, &proxy.certs.cert, &proxy.certs.key].map(|path| path.display().to_string());
    // Redis does not speak TLS without a certificate of its own.
    let tls = [
        ["--tls-replication", "yes"],
        ["--tls-ca-cert-file", &ca],
        ["--tls-cert-file", &cert],
        ["--tls-key-file", &key],
    ]
    .concat();
    let replica = replica(&installed(), &proxy, 0, "replica", &tls);
    wait_for_link(&replica);
    let mut admin = proxy.tls().login("admin", "secret");
    assert_eq!(admin.ask("SET k 1"), "+OK\r\n");
    wait_for_value(&replica, "k", "1");
    assert_eq!(primary.client().ask("SAVE"), "+OK\r\n");
    primary.kill();
    primary.start_again();
    wait_for("the upstream", || (admin.ask("SET k 2") == "+OK\r\n").then_some(()));
    wait_for_value(&replica, "k", "2");
    proxy.assert_no_panic();
}

#[test]
fn a_large_snapshot_passes_in_bounded_memory() {
    let primary = primary(&installed(), &["--rdbcompression", "no"]);
    let value = "v".repeat(1024 * 1024);
    for number in 0..200 {
        primary.client().call(&["SET", &format!("k:{number}"), &value]);
    }
    let proxy = Proxy::with_users(&primary, USERS, "");
    let before = crate::limits::resident_kib(proxy.pid());
    let replica = replica(&installed(), &proxy, 1, "replica", &[]);
    wait_for_link(&replica);
    let grown = crate::limits::resident_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB");
    assert_eq!(digest(&replica), digest(&primary));
    proxy.assert_no_panic();
}

#[test]
fn nobody_follows_without_the_permission_and_nothing_else_gets_into_the_stream() {
    let primary = primary(&installed(), &[]);
    primary.client().ask("SET k v");
    let proxy = Proxy::with_users(&primary, USERS, "");
    let mut reader = proxy.plain().login("reader", "secret");
    for line in ["PSYNC ? -1", "SYNC", "REPLCONF listening-port 1", "REPLCONF ACK 0"] {
        let name = line.split(' ').next().unwrap().to_lowercase();
        let expected = format!("-NOPERM this user has no permissions to run the '{name}' command\r\n");
        assert_eq!(reader.ask(line), expected);
    }
    let refused = replica(&installed(), &proxy, 1, "reader", &[]);
    pause(Duration::from_millis(500));
    assert!(refused.client().ask("INFO replication").contains("master_link_status:down"));
    assert_eq!(refused.client().ask("GET k"), "$-1\r\n");

    let mut client = proxy.plain().login("replica", "secret");
    let mut direct = primary.client();
    for line in
        ["REPLCONF listening-port 1", "REPLCONF capa eof", "REPLCONF nosuch 1", "REPLCONF x", "PSYNC", "PING"]
    {
        assert_eq!(client.ask(line), direct.ask(line), "{line}");
    }
    client.send(&["REPLCONF", "ACK", "0"]);
    direct.send(&["REPLCONF", "ACK", "0"]);
    assert_eq!(client.ask("PING"), direct.ask("PING"), "there is no reply to an acknowledgement");
    for (request, reply) in
        [("PING\r\n", "+PONG"), ("GET k\r\n", "NOPERM"), ("*1\r\nx\r\n", "Protocol error")]
    {
        let mut client = proxy.plain().login("replica", "secret");
        client.send(&["PSYNC", "?", "-1"]);
        assert!(text(&client.read_reply()).starts_with("+FULLRESYNC "));
        client.send_raw(request.as_bytes());
        let stream = text(&client.read_to_end());
        assert!(!stream.contains(reply), "it is closed: {reply} would be taken for replicated data");
    }

    let mut selecting = proxy.plain().login("admin", "secret");
    for line in ["WATCH k", "SELECT 3", "REPLCONF listening-port 1", "SELECT 1"] {
        assert_eq!(selecting.ask(line), "+OK\r\n");
    }
    selecting.send(&["PSYNC", "?", "-1"]);
    let first = text(&selecting.read_reply());
    assert!(
        first.starts_with("+FULLRESYNC "),
        "no reply to redkeep's own requests comes into the stream: {first}"
    );

    let mut admin = proxy.plain().login("admin", "secret");
    for line in ["MULTI", "PSYNC ? -1", "EXEC"] {
        assert_eq!(admin.ask(line), direct.ask(line), "{line}");
    }
    proxy.assert_no_panic();
}

#[test]
fn a_replica_whose_user_loses_the_permission_is_cut_off_and_a_drain_does_not_wait_for_it() {
    let primary = primary(&installed(), &[]);
    let mut proxy = Proxy::with_users(&primary, USERS, "");
    let replica = replica(&installed(), &proxy, 1, "replica", &[]);
    wait_for_link(&replica);
    let mut admin = proxy.plain().login("admin", "secret");
    assert_eq!(admin.ask("ACL SETUSER replica -psync"), "+OK\r\n");
    wait_for("the cut", || {
        replica.client().ask("INFO replication").contains("master_link_status:down").then_some(())
    });
    assert_eq!(admin.ask("SET k v"), "+OK\r\n");
    pause(Duration::from_millis(300));
    assert_eq!(replica.client().ask("GET k"), "$-1\r\n");
    assert_eq!(admin.ask("ACL SETUSER replica +psync"), "+OK\r\n");
    wait_for_value(&replica, "k", "v");
    drop(admin);
    proxy.signal("-TERM");
    let status = proxy.wait();
    assert!(status.success(), "{status}");
}
