//! Clients that misbehave harm only themselves.

mod descriptors;
mod logins;
mod requests;
mod strangers;
mod users;

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
    for line in ["ASKING", "READONLY", "SCRIPT DEBUG NO"] {
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
    for line in
        ["EVAL return(redis.call('get','secret')) 0", "EVAL return(redis.call('config','get','dir')) 0"]
    {
        assert!(app.ask(line).starts_with("-ERR "), "{line}");
    }
    assert!(app.ask("FUNCTION LOAD x").starts_with("-NOPERM functions are loaded"));
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

/// What a client writes until nobody reads it any more, or for good.
fn write_until_stuck(proxy: &Proxy, bytes: &[u8]) -> std::net::TcpStream {
    write_until_stuck_as(proxy, b"AUTH admin secret\r\n", bytes)
}

/// The same for one that begins otherwise.
fn write_until_stuck_as(proxy: &Proxy, begin: &[u8], bytes: &[u8]) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", proxy.port(1))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    std::io::Write::write_all(&mut stream, begin).unwrap();
    let _ = std::io::Write::write_all(&mut stream, bytes);
    stream
}

/// Whether the other side has closed the connection, though its bytes were not read.
fn is_closed(stream: &std::net::TcpStream) -> bool {
    stream.set_write_timeout(Some(Duration::from_millis(10))).unwrap();
    let error = std::io::Write::write_all(&mut &*stream, b"\r\n").err().map(|error| error.kind());
    matches!(error, Some(std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset))
}

#[test]
fn past_maxmemory_clients_those_who_hold_most_are_closed_and_the_others_are_served() {
    let proxy = Proxy::with_users(Redis::shared(), USERS, "limits:\n  maxmemory_clients: 32mb\n");
    let mut other = proxy.plain().login("app", "secret");
    let mut spared = proxy.plain().login("admin", "secret");
    assert_eq!(spared.ask("CLIENT NO-EVICT ON"), "+OK\r\n");
    spared.send_raw(b"*3\r\n$3\r\nSET\r\n$9\r\napp:spare\r\n$9000000\r\n");
    spared.send_raw(&vec![b'x'; 8_000_000]);
    let before = resident_kib(proxy.pid());
    // Half of a request each.
    let half = [b"*3\r\n$3\r\nSET\r\n$5\r\napp:h\r\n$9000000\r\n".to_vec(), vec![b'x'; 4_500_000]].concat();
    let clients: Vec<_> = (0..20).map(|_| write_until_stuck(&proxy, &half)).collect();
    wait_for("evictions", || {
        let closed = clients.iter().filter(|client| is_closed(client)).count();
        // 32 MB have room for what is spared, and for five more.
        (15..20).contains(&closed).then_some(())
    });
    let grown = resident_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB");
    for _ in 0..100 {
        assert_eq!(other.ask("PING"), "+PONG\r\n");
    }
    spared.send_raw(&[&vec![b'x'; 1_000_000][..], b"\r\n"].concat());
    assert_eq!(text(&spared.read_reply()), "+OK\r\n", "the largest of all asked not to be evicted");
    assert!(proxy.log().iter().any(|line| line.contains("a client is evicted")));
    proxy.assert_no_panic();
}

#[test]
fn what_a_transaction_has_queued_counts_for_maxmemory_clients() {
    let proxy = Proxy::with_users(Redis::shared(), USERS, "limits:\n  maxmemory_clients: 2mb\n");
    let mut other = proxy.plain().login("app", "secret");
    let mut client = proxy.plain().login("app", "secret");
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    // 14 bytes each, and ten times that to be kept.
    let mut queued = 0;
    let batch = b"*1\r\n$4\r\nPING\r\n".repeat(1000);
    while client.try_send_raw(&batch).is_some() && (0..1000).all(|_| client.try_read_reply().is_some()) {
        queued += 1000;
        assert!(queued < 100_000, "nobody counts them");
    }
    assert!(queued >= 5000, "{queued}");
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    proxy.wait_for_log(0, "a client is evicted");
    proxy.assert_no_panic();
}

#[test]
fn many_who_pipeline_and_do_not_read_stay_within_maxmemory_clients() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, USERS, "limits:\n  maxmemory_clients: 64mb\n");
    redis.client().call(&["SET", "app:big", &"x".repeat(60_000)]);
    let mut other = proxy.tls().login("app", "secret");
    wait_for("the link", || (other.ask("PING") == "+PONG\r\n").then_some(()));
    let before = resident_kib(proxy.pid());
    let many = b"*2\r\n$3\r\nGET\r\n$7\r\napp:big\r\n".repeat(300);
    let mut most = 0;
    let clients: Vec<_> = (0..40)
        .map(|number| {
            if number % 10 == 0 {
                assert_eq!(other.ask("PING"), "+PONG\r\n");
                most = most.max(resident_kib(proxy.pid()));
            }
            write_until_stuck(&proxy, &many)
        })
        .collect();
    wait_for("evictions", || clients.iter().any(is_closed).then_some(()));
    for _ in 0..100 {
        assert_eq!(other.ask("PING"), "+PONG\r\n");
        most = most.max(resident_kib(proxy.pid()));
    }
    // What is on its way on the links is not the clients' yet.
    assert!(most.saturating_sub(before) < 160 * 1024, "{most} KiB, {before} KiB before");
    proxy.assert_no_panic();
}

#[test]
fn a_client_over_its_output_limit_is_closed_as_redis_would() {
    let redis = Redis::start(&[]);
    let limits = "limits:\n  client_output_buffer_limit:\n    normal: 2mb 0 0\n    pubsub: 64mb 1mb 1\n";
    let proxy = Proxy::with_users(&redis, USERS, limits);
    redis.client().call(&["SET", "app:big", &"x".repeat(60_000)]);
    let mut reader = proxy.plain().login("app", "secret");
    let get = b"*2\r\n$3\r\nGET\r\n$7\r\napp:big\r\n";
    for _ in 0..20 {
        reader.send_raw(&get.repeat(20));
        (0..20).for_each(|_| assert_eq!(reader.read_reply().len(), 60_010, "who reads is served"));
    }
    let stuck = write_until_stuck(&proxy, &get.repeat(1000));
    wait_for("the hard limit", || is_closed(&stuck).then_some(()));

    // More than the sockets take, and not more than the hard limit.
    let mut slow = proxy.plain().login("app", "secret");
    slow.ask("SUBSCRIBE app:slow");
    let message = "x".repeat(1024 * 1024);
    let start = std::time::Instant::now();
    for _ in 0..30 {
        redis.client().call(&["PUBLISH", "app:slow", &message]);
    }
    let seen = proxy.log().len();
    proxy.wait_for_log(0, "more waits for it than client_output_buffer_limit");
    wait_for("the soft limit", || {
        (redis.client().ask("PUBSUB NUMSUB app:slow").ends_with(":0\r\n")).then_some(())
    });
    assert!(start.elapsed() >= Duration::from_secs(1), "not before its time: {seen}");
    proxy.assert_no_panic();
}
