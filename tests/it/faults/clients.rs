//! Clients that never read, or vanish: others are served, get their own replies, and the memory is bounded.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redkeep::resp::RequestBuf;
use socket2::SockRef;

use super::{app, bulk};
use crate::limits::resident_kib;
use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, wait_for};

/// What clients that never read may cost in all.
const BOUND_KIB: u64 = 256 * 1024;

/// One worker, so that all share a link, behind a port and a Unix socket.
fn proxy(redis: &Redis) -> Proxy {
    Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\n  - bind: unix:{}\nupstream:\n  address: unix:{}\nacl:\n  file: {}\n\
             log:\n  format: json\nworkers: 1\n",
            dir.path().join("redkeep.sock").display(),
            redis.socket().display(),
            users.display()
        )
    })
}

fn wire(args: &[&str]) -> Vec<u8> {
    RequestBuf::from_args(args).as_request().wire().to_vec()
}

/// How many values the server has been asked for.
fn gets(redis: &Redis) -> usize {
    let stats = redis.client().ask("INFO commandstats");
    let calls = stats.split_once("cmdstat_get:calls=").and_then(|(_, rest)| rest.split_once(','));
    calls.map_or(0, |(calls, _)| calls.parse().unwrap())
}

/// How long most of the replies to a client take at most, while others do what they do.
fn usual_latency(client: &mut Client) -> Duration {
    let mut times: Vec<Duration> = (0..100)
        .map(|number| {
            let token = format!("token-{number}");
            let start = Instant::now();
            assert_eq!(client.ask(&format!("ECHO {token}")), bulk(&token));
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[90]
}

#[test]
fn clients_that_never_read_hold_up_nobody_else_and_miss_nothing() {
    let redis = Redis::start(&[]);
    let proxy = proxy(&redis);
    let mut direct = redis.client();
    for number in 0..10 {
        direct.call(&["SET", &format!("app:{number}"), &number.to_string().repeat(10_000)]);
    }
    let mut other = app(&proxy);
    let before = resident_kib(proxy.pid());
    let requests: Vec<u8> = (0..10).flat_map(|number| wire(&["GET", &format!("app:{number}")])).collect();
    let mut greedy: Vec<Client> = (0..8).map(|_| app(&proxy)).collect();
    // 8 MB of replies each, more than the sockets on the way hold.
    greedy.iter_mut().for_each(|client| client.send_raw(&requests.repeat(80)));
    wait_for("many requests", || (gets(&redis) >= 8 * 200).then_some(()));
    let latency = usual_latency(&mut other);
    assert!(latency < Duration::from_millis(250), "{latency:?}");
    let grown = resident_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < BOUND_KIB, "{grown} KiB");
    for client in &mut greedy {
        for number in 0..800 {
            let expected = bulk(&(number % 10).to_string().repeat(10_000));
            assert!(text(&client.read_reply()) == expected, "reply {number}");
        }
        assert_eq!(client.ask("ECHO through"), bulk("through"));
    }
    proxy.assert_no_panic();
}

#[test]
fn a_thousand_clients_that_never_read_cost_bounded_memory() {
    const CLIENTS: usize = 1000;
    let redis = Redis::start(&[]);
    let proxy = proxy(&redis);
    redis.client().call(&["SET", "app:k", &"x".repeat(10_000)]);
    let mut other = app(&proxy);
    let before = resident_kib(proxy.pid());
    // Unix sockets hold some 200 KB, so that more than 60 of the 280 KB that each asks for are left to the proxy.
    let bytes = [wire(&["AUTH", "app", "secret"]), wire(&["GET", "app:k"]).repeat(28)].concat();
    let socket = proxy.dir.path().join("redkeep.sock");
    let many: Vec<UnixStream> = (0..CLIENTS)
        .map(|_| {
            let mut client = UnixStream::connect(&socket).unwrap();
            client.write_all(&bytes).unwrap();
            client
        })
        .collect();
    let mut most = 0;
    for part in 1..=4 {
        wait_for("a part of the requests", || {
            most = most.max(resident_kib(proxy.pid()));
            (gets(&redis) >= CLIENTS * 5 * part).then_some(())
        });
    }
    let latency = usual_latency(&mut other);
    assert!(latency < Duration::from_millis(500), "{latency:?}");
    most = most.max(resident_kib(proxy.pid()));
    assert!(most.saturating_sub(before) < BOUND_KIB, "{most} KiB, {before} before");
    drop(many);
    let mut admin = Client::tcp(proxy.port(0)).login("admin", "secret");
    wait_for("the end of all", || (admin.ask("CLIENT LIST").matches(" addr=").count() == 2).then_some(()));
    proxy.assert_no_panic();
}

#[test]
fn clients_reset_at_any_byte_of_a_pipeline_leave_nothing_behind_for_others() {
    let redis = Redis::start(&[]);
    let proxy = proxy(&redis);
    // 64 commands, one of which holds what looks like requests.
    let one = wire(&["INCR", "app:n"]);
    let hidden = wire(&["SET", "app:s", "\r\n*1\r\n$8\r\nFLUSHALL\r\n"]);
    let pipeline = [one.repeat(32), hidden.clone(), one.repeat(31)].concat();
    let whole = |sent: usize| {
        let behind = sent.saturating_sub(32 * one.len() + hidden.len()) / one.len();
        (sent / one.len()).min(32) + behind
    };
    let (next, upper, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let port = proxy.port(0);
    std::thread::scope(|scope| {
        let resetters: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let sent = next.fetch_add(1, Ordering::Relaxed);
                        let Some(bytes) = pipeline.get(..sent) else { return };
                        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                        stream.write_all(&wire(&["AUTH", "app", "secret"])).unwrap();
                        stream.write_all(bytes).unwrap();
                        // Every other one leaves while its requests are at the upstream.
                        if sent % 2 == 0 {
                            std::io::Read::read(&mut stream, &mut [0; 5]).unwrap();
                        }
                        upper.fetch_add(whole(sent), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let victims: Vec<_> = (0..2)
            .map(|number| {
                let (proxy, over) = (&proxy, &over);
                scope.spawn(move || {
                    let mut client = app(proxy);
                    let mut round = 0;
                    while !over.load(Ordering::Relaxed) {
                        round += 1;
                        let tokens: Vec<String> =
                            (0..10).map(|place| format!("{number}-{round}-{place}")).collect();
                        tokens.iter().for_each(|token| client.send(&["ECHO", token]));
                        for token in &tokens {
                            assert_eq!(text(&client.read_reply()), bulk(token));
                        }
                    }
                    round
                })
            })
            .collect();
        let ended: Vec<_> = resetters.into_iter().map(|thread| thread.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(victims.into_iter().all(|victim| victim.join().unwrap() > 0));
        ended.into_iter().for_each(|end| end.unwrap());
    });
    assert!(next.load(Ordering::Relaxed) > pipeline.len());
    let mut direct = redis.client();
    let count: usize = direct.ask("GET app:n").lines().nth(1).unwrap().parse().unwrap();
    let upper = upper.load(Ordering::Relaxed);
    assert!(0 < count && count <= upper, "{count} executed, {upper} were sent whole");
    assert_eq!(direct.ask("GET app:s"), bulk("\r\n*1\r\n$8\r\nFLUSHALL\r\n"));
    proxy.assert_no_panic();
}
