//! Values as large as Redis allows: in bounded memory, and in nobody's way.
//!
//! Sizes are those of RELIABILITY's fault rows 27 and 28: 512 MiB, a million arguments, a million elements.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redkeep::resp::RequestBuf;

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, pause, wait_for};

const MIB: usize = 1024 * 1024;

/// The largest value of a Redis with its default `proto-max-bulk-len`.
const LARGEST: usize = 512 * MIB;

/// Far more than what sockets and buffers on the way take.
const LARGE: usize = 64 * MIB;

/// The largest amount of memory that the process has had so far, in KiB; `reset_peak` begins anew.
fn peak_kib(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn reset_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// A plain connection of the administrator, for bytes that no test should keep as a whole.
fn raw(proxy: &Proxy) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port(1))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"AUTH admin secret\r\n").unwrap();
    let mut ok = [0; 5];
    stream.read_exact(&mut ok).unwrap();
    assert_eq!(&ok, b"+OK\r\n");
    stream
}

/// Reads the reply to a GET of a value of `len` bytes that are all `byte`, with a pause after `pause_after` bytes.
fn read_value(stream: &mut impl Read, len: usize, byte: u8, pause_after: Option<usize>) {
    let mut header = vec![0; format!("${len}\r\n").len()];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(text(&header), format!("${len}\r\n"));
    let mut chunk = vec![0; 256 * 1024];
    let (mut left, mut paused) = (len, false);
    while left > 0 {
        if pause_after.is_some_and(|after| !paused && len - left >= after) {
            paused = true;
            pause(Duration::from_millis(700));
        }
        let room = left.min(chunk.len());
        let count = stream.read(&mut chunk[..room]).unwrap();
        assert!(count > 0, "{left} bytes are missing");
        assert!(chunk[..count].iter().all(|found| *found == byte));
        left -= count;
    }
    let mut end = [0; 2];
    stream.read_exact(&mut end).unwrap();
    assert_eq!(&end, b"\r\n");
}

/// Asks PING until told to stop; the longest time that one took.
fn longest_ping(mut client: Client, stop: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::SeqCst) {
        let start = Instant::now();
        assert_eq!(client.ask("PING"), "+PONG\r\n");
        longest = longest.max(start.elapsed());
        pause(Duration::from_millis(2));
    }
    longest
}

/// Whoever asks PING through the proxy meanwhile waits no longer than who asks Redis itself, and half a second: a
/// debug build on a busy machine copies some bytes slowly.
fn assert_nobody_waits_longer(direct: Duration, through: Duration) {
    eprintln!("longest PING meanwhile: {through:?}, of Redis itself {direct:?}");
    assert!(through < direct + Duration::from_millis(500), "{through:?}, {direct:?}");
}

/// A server with a value of `len` bytes, which are all 0.
fn with_value(len: usize) -> (Redis, Proxy) {
    let redis = Redis::start(&[]);
    let last = (len - 1).to_string();
    assert_eq!(text(&redis.client().call(&["SETRANGE", "large", &last, "\0"])), format!(":{len}\r\n"));
    let proxy = Proxy::with_users(&redis, USERS, "core_dumps: yes\n");
    wait_for("the link", || (proxy.plain().login("app", "secret").ask("PING") == "+PONG\r\n").then_some(()));
    (redis, proxy)
}

#[test]
fn the_largest_value_is_read_and_written_in_bounded_memory_and_in_nobodys_way() {
    let (redis, proxy) = with_value(LARGEST);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let direct = scope.spawn(|| longest_ping(redis.client(), &stop));
        let through = scope.spawn(|| longest_ping(proxy.plain().login("app", "secret"), &stop));
        let mut stream = raw(&proxy);
        for pause_after in [None, Some(LARGEST / 2)] {
            reset_peak(proxy.pid());
            let before = peak_kib(proxy.pid());
            stream.write_all(b"GET large\r\n").unwrap();
            read_value(&mut stream, LARGEST, 0, pause_after);
            let grown = peak_kib(proxy.pid()) - before;
            eprintln!("GET of 512 MiB, pause {pause_after:?}: {grown} KiB more");
            assert!(grown < 16 * 1024, "{grown} KiB");
        }

        reset_peak(proxy.pid());
        let before = peak_kib(proxy.pid());
        stream.write_all(format!("*3\r\n$3\r\nSET\r\n$7\r\nwritten\r\n${LARGEST}\r\n").as_bytes()).unwrap();
        let chunk = vec![b'v'; MIB];
        for _ in 0..LARGEST / MIB {
            stream.write_all(&chunk).unwrap();
        }
        stream.write_all(b"\r\n").unwrap();
        let mut reply = [0; 5];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(text(&reply), "+OK\r\n");
        let grown = peak_kib(proxy.pid()) - before;
        eprintln!("SET of 512 MiB: {grown} KiB more");
        assert!(grown < LARGEST / 1024 + 24 * 1024, "one copy at most: {grown} KiB");
        stop.store(true, Ordering::SeqCst);
        assert_nobody_waits_longer(direct.join().unwrap(), through.join().unwrap());
    });
    assert_eq!(redis.client().ask("STRLEN written"), format!(":{LARGEST}\r\n"));
    assert_eq!(redis.client().ask("GETRANGE written 536870910 -1"), "$2\r\nvv\r\n");
    let resident = crate::limits::resident_kib(proxy.pid());
    assert!(resident < 128 * 1024, "memory is given back: {resident} KiB");
    proxy.assert_no_panic();
}

#[test]
fn who_vanishes_in_the_middle_of_a_large_transfer_harms_nobody() {
    let (redis, proxy) = with_value(LARGE);
    let before = crate::limits::resident_kib(proxy.pid());
    for _ in 0..3 {
        let mut reader = raw(&proxy);
        reader.write_all(b"GET large\r\n").unwrap();
        let mut some = vec![0; 10 * MIB];
        reader.read_exact(&mut some).unwrap();
        drop(reader);
        let mut writer = raw(&proxy);
        writer.write_all(format!("*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n${}\r\n", 64 * MIB).as_bytes()).unwrap();
        writer.write_all(&some).unwrap();
        drop(writer);
        let mut other = proxy.plain().login("app", "secret");
        for number in 0..100 {
            assert_eq!(other.ask(&format!("ECHO {number:03}")), format!("$3\r\n{number:03}\r\n"));
        }
    }
    assert_eq!(redis.client().ask("EXISTS half"), ":0\r\n");
    wait_for("the memory", || (crate::limits::resident_kib(proxy.pid()) < before + 32 * 1024).then_some(()));
    proxy.assert_no_panic();
}

#[test]
fn large_replies_of_many_at_once_are_the_right_ones() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let sizes = [1, 1000, 60_000, 65_530, 70_000, 200_000, MIB, 3 * MIB];
    for (number, size) in sizes.iter().enumerate() {
        redis.client().call(&["SET", &format!("app:{number}"), &number.to_string().repeat(*size)]);
    }
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (proxy, sizes) = (&proxy, &sizes);
            scope.spawn(move || {
                let mut app =
                    if client % 2 == 0 { proxy.plain() } else { proxy.tls() }.login("app", "secret");
                if client % 4 < 2 {
                    assert!(app.ask("HELLO 3").starts_with('%'));
                }
                for round in 0..20 {
                    // A pipeline, in another order each time.
                    let order: Vec<usize> =
                        (0..12).map(|place| (place * 5 + round + client) % sizes.len()).collect();
                    order.iter().for_each(|number| app.send(&["GET", &format!("app:{number}")]));
                    for number in order {
                        let reply = app.read_reply();
                        let body = reply.strip_prefix(format!("${}\r\n", sizes[number]).as_bytes());
                        let body =
                            body.unwrap_or_else(|| panic!("{:?}", text(&reply[..20.min(reply.len())])));
                        let byte = b'0' + u8::try_from(number).unwrap();
                        assert!(body[..sizes[number]].iter().all(|found| *found == byte), "{number}");
                    }
                }
            });
        }
    });
    proxy.assert_no_panic();
}

#[test]
fn an_upstream_that_is_lost_in_the_middle_of_a_large_reply_ends_the_connection() {
    let (redis, proxy) = with_value(LARGE);
    let mut reader = raw(&proxy);
    reader.write_all(b"GET large\r\nPING\r\n").unwrap();
    let mut some = vec![0; MIB];
    reader.read_exact(&mut some).unwrap();
    drop(redis);
    let mut rest = 0;
    loop {
        match reader.read(&mut some) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                assert!(some[..count].iter().all(|byte| *byte == 0), "no error is written into the value");
                rest += count;
            }
        }
    }
    assert!(rest < LARGE - 2 * MIB, "the rest did not come: {rest}");
    proxy.assert_no_panic();
}

#[test]
fn what_waits_behind_a_large_reply_on_a_shared_link_is_answered() {
    let (_redis, proxy) = with_value(LARGE);
    let mut reader = raw(&proxy);
    reader.write_all(b"GET large\r\n").unwrap();
    // Those that come before the link knows how large the reply is wait behind it; nobody reads it.
    let mut others: Vec<Client> = (0..10).map(|_| proxy.plain().login("app", "secret")).collect();
    let start = Instant::now();
    for other in &mut others {
        assert_eq!(other.ask("PING"), "+PONG\r\n");
    }
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    read_value(&mut reader, LARGE, 0, None);
    proxy.assert_no_panic();
}

#[test]
fn clients_that_do_not_read_large_replies_cannot_take_all_connections_of_the_upstream() {
    const LEASED: usize = 3;
    let (redis, _) = with_value(8 * MIB);
    let proxy = Proxy::start(|dir, _| {
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\n  \
             max_leased: {LEASED}\nacl:\n  file: {}\nworkers: 1\n",
            redis.socket().display(),
            dir.write("users.acl", USERS).display()
        )
    });
    let mut other = Client::tcp(proxy.port(0)).login("app", "secret");
    wait_for("the link", || (other.ask("PING") == "+PONG\r\n").then_some(()));
    let links = || redis.client().ask("CLIENT LIST").matches("\nid=").count();
    let before = links();
    let mut deaf = Vec::new();
    for number in 0..20 {
        let mut stream = raw(&proxy);
        stream.write_all(b"GET large\r\n").unwrap();
        deaf.push(stream);
        assert_eq!(other.ask(&format!("ECHO {number:03}")), format!("$3\r\n{number:03}\r\n"));
    }
    pause(Duration::from_millis(300));
    assert!(links() <= before + LEASED + 1, "{} after {before}", links());
    for mut stream in deaf {
        read_value(&mut stream, 8 * MIB, 0, None);
    }
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    proxy.assert_no_panic();
}

#[test]
fn a_million_arguments_and_a_million_elements_pass() {
    const MANY: usize = 1_000_000;
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, USERS, "core_dumps: yes\n");
    // One may do everything, the other is judged key by key.
    for user in ["admin", "app"] {
        let mut client = Client::patient(proxy.port(1)).login(user, "secret");
        let keys: Vec<String> = (0..MANY).map(|number| format!("app:{number}")).collect();
        let pairs = keys.iter().flat_map(|key| [key.as_str(), "value"]);
        let request: Vec<&str> = std::iter::once("MSET").chain(pairs).take(1 + 2 * (MANY / 2)).collect();
        assert_eq!(text(&client.call(&request)), "+OK\r\n", "{user}");
        let request: Vec<&str> = std::iter::once("MGET").chain(keys.iter().map(String::as_str)).collect();
        let start = Instant::now();
        let encoded = RequestBuf::from_args(&request);
        let mut expected = format!("*{MANY}\r\n");
        (0..MANY / 2).for_each(|_| expected.push_str("$5\r\nvalue\r\n"));
        (MANY / 2..MANY).for_each(|_| expected.push_str("$-1\r\n"));
        client.send_raw(encoded.as_request().wire());
        let got = client.read_exactly(expected.len());
        assert!(got == expected.as_bytes(), "{user}");
        eprintln!("MGET of a million keys as {user}: {:?}", start.elapsed());
    }
    let mut admin = Client::patient(proxy.port(1)).login("admin", "secret");
    let numbers: Vec<String> = (1..=MANY).map(|number| number.to_string()).collect();
    for some in numbers.chunks(MANY / 10) {
        let request: Vec<&str> =
            ["RPUSH", "app:list"].into_iter().chain(some.iter().map(String::as_str)).collect();
        redis.client().call(&request);
    }
    reset_peak(proxy.pid());
    let before = peak_kib(proxy.pid());
    admin.send(&["LRANGE", "app:list", "0", "-1"]);
    let mut expected = format!("*{MANY}\r\n");
    numbers.iter().for_each(|number| expected.push_str(&format!("${}\r\n{number}\r\n", number.len())));
    assert!(admin.read_exactly(expected.len()) == expected.as_bytes());
    let grown = peak_kib(proxy.pid()) - before;
    eprintln!("LRANGE of a million elements: {grown} KiB more");
    assert!(grown < 16 * 1024, "{grown} KiB");
    // More than Redis took up to 6.2.
    let mut greedy = proxy.plain().login("admin", "secret");
    greedy.send_raw(format!("*{}\r\n", 1024 * 1024 + 1).as_bytes());
    assert_eq!(text(&greedy.read_to_end()), "-ERR Protocol error: invalid multibulk length\r\n");
    proxy.assert_no_panic();
}

#[test]
fn large_requests_wait_with_their_client_while_the_upstream_does_not_read() {
    const COUNT: usize = 20;
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\n  response_timeout: 60s\n  connect_timeout: 60s\nacl:\n  \
             file: {}\nlog:\n  format: json\n",
            redis.socket().display(),
            users.display()
        )
    });
    let pid = redis.pid().to_string();
    let signal = |name: &str| {
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    for begin in ["PING", "MULTI"] {
        let mut app = Client::patient(proxy.port(0)).login("app", "secret");
        app.ask(begin);
        signal("-STOP");
        reset_peak(proxy.pid());
        let before = peak_kib(proxy.pid());
        let app = std::thread::spawn(move || {
            let large = vec![b'x'; 16 * MIB];
            for _ in 0..COUNT {
                app.send(&[&b"SET"[..], b"app:large", &large]);
            }
            app
        });
        pause(Duration::from_secs(2));
        let held = peak_kib(proxy.pid()) - before;
        // One is on its way, and one is being read; a buffer may be twice as large while it grows.
        assert!(held < 4 * 16 * 1024 && !app.is_finished(), "{begin}: {held} KiB");
        signal("-CONT");
        let mut app = app.join().unwrap();
        let expected = if begin == "MULTI" { "+QUEUED\r\n" } else { "+OK\r\n" };
        for number in 0..COUNT {
            assert_eq!(text(&app.read_reply()), expected, "{begin}: {number}");
        }
        if begin == "MULTI" {
            assert_eq!(app.ask("EXEC"), format!("*{COUNT}\r\n{}", "+OK\r\n".repeat(COUNT)));
        }
    }
    proxy.assert_no_panic();
}
