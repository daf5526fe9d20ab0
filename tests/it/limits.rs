//! Clients that misbehave harm only themselves.

use std::time::Duration;

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, pause, wait_for};

#[test]
fn clients_over_maxclients_are_refused_and_room_is_made_by_those_who_leave() {
    let proxy = Proxy::with_users(Redis::shared(), USERS, "limits:\n  maxclients: 2\n");
    let one = proxy.plain().login("app", "secret");
    let _two = proxy.plain().login("app", "secret");
    assert_eq!(text(&proxy.plain().read_to_end()), "-ERR max number of clients reached\r\n");
    drop(one);
    wait_for("room", || {
        let reply = proxy.plain().try_call(&["PING"])?;
        reply.starts_with(b"-NOAUTH").then_some(())
    });
}

#[test]
fn a_tls_handshake_that_never_ends_is_closed() {
    let proxy = Proxy::with_users(Redis::shared(), USERS, "limits:\n  handshake_timeout: 200ms\n");
    let mut silent = Client::tcp(proxy.port(0));
    assert_eq!(silent.read_to_end(), b"");
}

#[test]
fn a_client_that_does_not_read_stops_being_read_and_others_are_served() {
    let redis = Redis::shared();
    let proxy = Proxy::standard(redis);
    let value = "x".repeat(100_000);
    redis.client().call(&["SET", "app:big", &value]);
    let port = proxy.port(1);
    std::thread::spawn(move || {
        let mut greedy = Client::tcp(port).login("app", "secret");
        let mut one = Vec::new();
        one.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$7\r\napp:big\r\n");
        let many = one.repeat(1000);
        // Ends with an error when the proxy is stopped.
        for _ in 0..100 {
            greedy.send_raw(&many);
        }
    });
    pause(Duration::from_millis(500));
    let mut other = proxy.tls().login("app", "secret");
    // On a busy machine the link may need more than its second to come up.
    wait_for("the link", || (other.ask("PING") == "+PONG\r\n").then_some(()));
    for _ in 0..100 {
        assert_eq!(other.ask("PING"), "+PONG\r\n");
    }
    let resident = resident_kib(proxy.pid());
    assert!(resident < 1024 * 1024, "{resident} KiB");
    proxy.assert_no_panic();
}

#[test]
fn commands_that_would_leave_state_on_a_shared_link_are_refused() {
    let proxy = Proxy::standard(Redis::shared());
    let mut admin = proxy.tls().login("admin", "secret");
    for line in ["ASKING", "READONLY", "CLIENT CAPA redirect"] {
        let reply = admin.ask(line);
        assert!(reply.ends_with(" is not available through redkeep\r\n"), "{line}: {reply}");
    }
    assert_eq!(admin.ask("PING"), "+PONG\r\n");
}

#[test]
fn the_old_ways_to_take_over_a_redis_are_refused_even_to_the_administrator() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut admin = proxy.tls().login("admin", "secret");
    for line in
        ["CONFIG SET dir /tmp", "CONFIG SET maxmemory 0 DBFILENAME x", "DEBUG SLEEP 0", "MODULE LOAD /x.so"]
    {
        assert!(admin.ask(line).starts_with("-ERR "), "{line}");
    }
    for line in
        ["CONFIG SET masterauth x", "CONFIG SET maxmemory 0 MasterUser x", "config set tls-key-file-pass x"]
    {
        assert!(admin.ask(line).starts_with("-NOPERM the upstream's credentials"), "{line}");
    }
    let mut app = proxy.tls().login("app", "secret");
    for line in ["EVAL return 0", "EVAL return(redis.call('get','secret')) 0", "FCALL f 0", "SCRIPT LOAD x"] {
        assert!(app.ask(line).starts_with("-NOPERM scripts"), "{line}");
    }
    assert_eq!(admin.ask("EVAL return(redis.call('ping')) 0"), "+PONG\r\n");
    assert_eq!(redis.client().ask("CONFIG GET dir").lines().nth(4).unwrap(), redis.dir().to_str().unwrap());
}

/// What a process occupies.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn requests_behind_a_blocked_one_do_not_pile_up_in_memory() {
    let proxy = Proxy::standard(Redis::shared());
    let mut client = proxy.plain().login("app", "secret");
    client.send(&["BLPOP", "app:nobody", "0"]);
    let before = resident_kib(proxy.pid());
    // Each is answered at once, and each answer has to wait; 20 MB in all, so the proxy must stop reading.
    let port = proxy.port(1);
    let writer = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut bytes = b"AUTH app secret\r\nBLPOP app:nobody 0\r\n".to_vec();
        bytes.extend_from_slice(&b"NOSUCHCMD\r\n".repeat(2_000_000));
        std::io::Write::write_all(&mut stream, &bytes).is_err()
    });
    assert!(writer.join().unwrap(), "a client that is not read from cannot write everything");
    let grown = resident_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB");
}
