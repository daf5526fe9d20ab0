//! An upstream that breaks the protocol: whatever it sends, each client gets its own reply or a code, the link is
//! closed, and the next one serves. The server here is the attacker, not a stand-in for Redis: it answers the probe
//! and then misbehaves as the key of a request says.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::limits::resident_kib;
use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, SOON, TempDir, pause, wait_for};

const NOT_SENT: &str = "-LOADING redkeep: upstream unavailable, command not sent\r\n";
const IN_DOUBT: &str = "-INDOUBT redkeep: upstream connection lost, command may have been executed\r\n";

/// What the server does after it has read a request with this key.
#[derive(Clone)]
struct Attack {
    bytes: Vec<u8>,
    /// Closes the connection itself; otherwise it waits for the proxy to do so.
    closes: bool,
}

/// Commands that the server reports, with their arity.
const COMMANDS: &[(&str, i16)] = &[
    ("get", 2),
    ("set", -3),
    ("ping", -1),
    ("multi", 1),
    ("exec", 1),
    ("blpop", -3),
    ("config", -2),
    ("subscribe", -2),
];

#[derive(Default)]
struct Evil {
    attacks: HashMap<String, Attack>,
    /// Ends of connections that the proxy closed after an attack.
    closed: AtomicUsize,
    /// How often each key was seen.
    seen: Mutex<HashMap<String, usize>>,
    /// Lets `app:early` go on.
    go: AtomicBool,
}

impl Evil {
    fn start(attacks: &[(&str, &[u8], bool)]) -> (Arc<Evil>, TempDir, Proxy) {
        let attacks = attacks.iter().map(|(name, bytes, closes)| {
            (format!("app:{name}"), Attack { bytes: bytes.to_vec(), closes: *closes })
        });
        let evil = Arc::new(Evil { attacks: attacks.collect(), ..Evil::default() });
        let dir = TempDir::new();
        let socket: PathBuf = dir.path().join("evil.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = evil.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                // Ends with an error when the proxy is gone.
                std::thread::spawn(move || server.serve(BufReader::new(stream)));
            }
        });
        // One worker with one shared link: all clients are in the same boat.
        let proxy = Proxy::start(|dir, _| {
            let users = dir.write("users.acl", USERS);
            format!(
                "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\n  response_timeout: 1s\n\
                 acl:\n  file: {}\nlog:\n  format: json\nworkers: 1\n",
                socket.display(),
                users.display()
            )
        });
        (evil, dir, proxy)
    }

    fn serve(&self, mut stream: BufReader<UnixStream>) -> Option<()> {
        let mut held = false;
        loop {
            let args = self.read_request(&mut stream)?;
            let key = args.get(1).cloned().unwrap_or_default();
            *self.seen.lock().unwrap().entry(key.clone()).or_default() += 1;
            if let Some(attack) = self.attacks.get(&key) {
                if std::mem::take(&mut held) {
                    stream.get_mut().write_all(b"$4\r\nheld\r\n").ok()?;
                }
                let written = stream.get_mut().write_all(&attack.bytes);
                if !attack.closes {
                    self.await_end(&mut stream, written);
                }
                return None;
            }
            let reply = match (args[0].to_ascii_lowercase().as_str(), key.as_str()) {
                ("info", _) => bulk("redis_version:7.0.15\r\n"),
                ("command", _) => commands(),
                ("config", _) => "*2\r\n$9\r\ndatabases\r\n$2\r\n16\r\n".to_owned(),
                ("ping", _) => "+PONG\r\n".to_owned(),
                ("multi", _) => "+OK\r\n".to_owned(),
                ("get", "app:hold") => {
                    held = true;
                    continue;
                }
                // The key itself: whose reply this is can be seen.
                ("get", key) => bulk(key),
                _ => "-ERR unknown command\r\n".to_owned(),
            };
            stream.get_mut().write_all(reply.as_bytes()).ok()?;
        }
    }

    fn read_request(&self, stream: &mut BufReader<UnixStream>) -> Option<Vec<String>> {
        let number = |stream: &mut BufReader<UnixStream>| {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            line.trim_end().get(1..)?.parse::<usize>().ok()
        };
        let count = number(stream)?;
        let mut args = Vec::new();
        for _ in 0..count {
            let mut arg = vec![0; number(stream)? + 2];
            if args.get(1).is_some_and(|key| key == "app:early") {
                // Replies before it has read the request, and one more.
                wait_for("the test", || self.go.load(Ordering::SeqCst).then_some(()));
                let written = stream.get_mut().write_all(b"+OK\r\n$4\r\nevil\r\n");
                self.await_end(stream, written);
                return None;
            }
            stream.read_exact(&mut arg).ok()?;
            arg.truncate(arg.len() - 2);
            args.push(String::from_utf8(arg).unwrap());
        }
        Some(args)
    }

    /// Counts the end of a connection that the proxy closes: perhaps before it has taken all that was written.
    fn await_end(&self, stream: &mut BufReader<UnixStream>, written: std::io::Result<()>) {
        stream.get_mut().set_read_timeout(Some(crate::support::SOON)).unwrap();
        let ended = written.and_then(|()| stream.read_to_end(&mut Vec::new()));
        if !ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.closed.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn seen(&self, key: &str) -> usize {
        self.seen.lock().unwrap().get(key).copied().unwrap_or_default()
    }

    fn assert_closed(&self, count: usize) {
        wait_for("the proxy to close the link", || {
            (self.closed.load(Ordering::SeqCst) == count).then_some(())
        });
    }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn commands() -> String {
    let rows: Vec<String> = COMMANDS
        .iter()
        .map(|(name, arity)| format!("*6\r\n{}:{arity}\r\n*0\r\n:0\r\n:0\r\n:0\r\n", bulk(name)))
        .collect();
    format!("*{}\r\n{}", rows.len(), rows.concat())
}

/// The client's own reply, as soon as there is a link again. Anything else than that and the codes is a failure.
fn assert_served(client: &mut Client, key: &str) {
    wait_for("the service", || {
        let reply = client.ask(&format!("GET {key}"));
        assert!(reply == bulk(key) || reply == NOT_SENT, "{key}: {reply}");
        (reply != NOT_SENT).then_some(())
    });
}

/// What no reply looks like, or no reply to this request. `true`: the server closes the connection after it.
fn broken_replies() -> Vec<(&'static str, Vec<u8>, bool)> {
    let mut attacks: Vec<(&str, Vec<u8>, bool)> = [
        ("garbage", &b"@what\r\n"[..], false),
        ("wrong-type", b"&1\r\n", false),
        ("largest-bulk", b"$9223372036854775807\r\n", false),
        ("largest-array", b"*9223372036854775807\r\n", false),
        ("largest-map", b"%9223372036854775807\r\n", false),
        ("http", b"HTTP/1.1 400 Bad Request\r\n\r\n", false),
        ("tls-alert", b"\x15\x03\x03\x00\x02\x02\x28", false),
        ("huge-bulk", b"$99999999999\r\n", false),
        ("overflowing-bulk", b"$99999999999999999999999999\r\n", false),
        ("negative-bulk", b"$-2\r\n", false),
        ("huge-array", b"*99999999999999999999999999\r\n", false),
        ("bad-integer", b":12x\r\n", false),
        ("bad-end", b"$1\r\n1xx", false),
        ("push", b">2\r\n+a\r\n+b\r\n", false),
        ("cut-bulk", b"$10\r\nabc", true),
        ("cut-header", b"$1", true),
        ("cut-array", b"*2\r\n$1\r\na\r\n", true),
        ("cut-simple", b"+OK\r", true),
        ("end", b"", true),
        ("silence", b"", false),
        ("half-then-silence", b"$10\r\nabc", false),
    ]
    .map(|(name, bytes, closes)| (name, bytes.to_vec(), closes))
    .to_vec();
    attacks.push((
        "deep",
        b"*1
"
        .repeat(1_000_000),
        false,
    ));
    // Broken before so much is there that it is passed on in pieces.
    attacks.push((
        "deep-map",
        [
            b"*1
"
            .repeat(8_000),
            b"%1
+k
"
            .repeat(1_000),
        ]
        .concat(),
        false,
    ));
    attacks
}

fn borrowed<'a>(attacks: &'a [(&'a str, Vec<u8>, bool)]) -> Vec<(&'a str, &'a [u8], bool)> {
    attacks.iter().map(|(name, bytes, closes)| (*name, bytes.as_slice(), *closes)).collect()
}

#[test]
fn a_broken_reply_is_in_doubt_and_the_link_is_closed() {
    let attacks = broken_replies();
    play(&borrowed(&attacks), IN_DOUBT);
}

#[test]
fn a_large_reply_that_breaks_ends_its_connection_and_no_other() {
    let value = "x".repeat(200_000);
    let attacks: Vec<(&str, Vec<u8>, bool)> = vec![
        ("short", format!("$300000\r\n{value}").into_bytes(), true),
        ("no-crlf", format!("$200000\r\n{value}xx").into_bytes(), false),
        ("garbage", format!("*2\r\n$200000\r\n{value}\r\n@x\r\n").into_bytes(), false),
    ];
    let (evil, _dir, proxy) = Evil::start(&borrowed(&attacks));
    let mut victim = Client::tcp(proxy.port(0)).login("app", "secret");
    let mut closed = 0;
    for (name, bytes, closes) in &attacks {
        let mut client = Client::tcp(proxy.port(0)).login("app", "secret");
        assert_served(&mut client, &format!("app:before-{name}"));
        client.send(&["GET", &format!("app:{name}")]);
        let got = client.read_to_end();
        assert!(
            bytes.starts_with(&got),
            "{name}: what came before is passed on, and no error is written into it"
        );
        closed += usize::from(!closes);
        evil.assert_closed(closed);
        assert_served(&mut victim, &format!("app:victim-{name}"));
        assert_eq!(evil.seen(&format!("app:{name}")), 1, "{name}: nothing is sent twice");
    }
    proxy.assert_no_panic();
}

#[test]
fn what_follows_a_right_reply_is_given_to_nobody() {
    let attacks: &[(&str, &[u8], bool)] = &[
        ("two-replies", b"$3\r\none\r\n$3\r\ntwo\r\n", false),
        ("then-push", b"$3\r\none\r\n>1\r\n+x\r\n", false),
        ("then-garbage", b"$3\r\none\r\n@", false),
        ("then-half", b"$3\r\none\r\n$10\r\nhal", true),
        ("many", b"$3\r\none\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n", false),
    ];
    play(attacks, "$3\r\none\r\n");
}

/// Each attack in turn: its client gets `reply`, the link is closed, nothing is sent twice, and others are served.
fn play(attacks: &[(&str, &[u8], bool)], reply: &str) {
    let (evil, _dir, proxy) = Evil::start(attacks);
    let mut victim = Client::tcp(proxy.port(0)).login("app", "secret");
    let mut closed = 0;
    for (name, _, closes) in attacks {
        let mut client = Client::tcp(proxy.port(0)).login("app", "secret");
        assert_served(&mut client, &format!("app:before-{name}"));
        assert_eq!(client.ask(&format!("GET app:{name}")), reply, "{name}");
        closed += usize::from(!closes);
        evil.assert_closed(closed);
        if *closes {
            // Nobody tells when the proxy has seen the end.
            pause(Duration::from_millis(50));
        }
        assert_served(&mut victim, &format!("app:victim-{name}"));
        assert_served(&mut client, &format!("app:after-{name}"));
        assert_eq!(evil.seen(&format!("app:{name}")), 1, "{name}: nothing is sent twice");
    }
    let resident = resident_kib(proxy.pid());
    assert!(
        resident < 128 * 1024,
        "{resident} KiB: memory is taken for what has come, not for what was announced"
    );
    proxy.assert_no_panic();
}

#[test]
fn requests_on_the_same_link_get_their_own_reply_or_the_code() {
    let (evil, _dir, proxy) = Evil::start(&[("garbage", b"@what\r\n", false)]);
    let mut first = Client::tcp(proxy.port(0)).login("app", "secret");
    let mut second = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_served(&mut first, "app:first");
    first.send(&["GET", "app:hold"]);
    wait_for("the first request", || (evil.seen("app:hold") == 1).then_some(()));
    assert_eq!(second.ask("GET app:garbage"), IN_DOUBT);
    assert_eq!(text(&first.read_reply()), "$4\r\nheld\r\n");
    evil.assert_closed(1);
    assert_served(&mut first, "app:first-again");
    assert_served(&mut second, "app:second");
    proxy.assert_no_panic();
}

#[test]
fn clients_under_load_never_see_anothers_reply_while_links_break() {
    let attacks: Vec<_> =
        broken_replies().into_iter().filter(|(name, ..)| !name.contains("silence")).collect();
    let (_evil, _dir, proxy) = Evil::start(&borrowed(&attacks));
    let port = proxy.port(0);
    let done = AtomicBool::new(false);
    let served: usize = std::thread::scope(|scope| {
        let victims: Vec<_> = (0..3)
            .map(|number| {
                let done = &done;
                scope.spawn(move || {
                    let mut client = Client::tcp(port).login("app", "secret");
                    let mut served = 0;
                    for round in 0.. {
                        let keys: Vec<String> =
                            (0..5).map(|place| format!("app:{number}-{round}-{place}")).collect();
                        keys.iter().for_each(|key| client.send(&["GET", key]));
                        for key in &keys {
                            let reply = text(&client.read_reply());
                            let right = reply == bulk(key);
                            assert!(right || reply == NOT_SENT || reply == IN_DOUBT, "{key}: {reply}");
                            served += usize::from(right);
                        }
                        if done.load(Ordering::SeqCst) {
                            break;
                        }
                    }
                    served
                })
            })
            .collect();
        let mut attacker = Client::tcp(port).login("app", "secret");
        for (name, ..) in &attacks {
            wait_for("the attack", || (attacker.ask(&format!("GET app:{name}")) == IN_DOUBT).then_some(()));
            pause(Duration::from_millis(20));
        }
        done.store(true, Ordering::SeqCst);
        victims.into_iter().map(|victim| victim.join().unwrap()).sum()
    });
    assert!(served > 0, "the load was served at times");
    proxy.assert_no_panic();
}

/// The server is not obliged to read a request before it replies, but nobody can have a reply to what was not sent.
#[test]
fn a_reply_to_a_request_that_was_not_written_is_given_to_nobody() {
    let (evil, _dir, proxy) = Evil::start(&[]);
    let mut first = Client::tcp(proxy.port(0)).login("app", "secret");
    let mut second = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_served(&mut first, "app:first");
    // More than the socket takes, so that the second request waits in the proxy.
    first.send(&["SET", "app:early", &"x".repeat(900 << 10)]);
    pause(Duration::from_millis(300));
    second.send(&["GET", "app:second"]);
    pause(Duration::from_millis(300));
    evil.go.store(true, Ordering::SeqCst);
    assert_eq!(text(&first.read_reply()), "+OK\r\n");
    assert_eq!(text(&second.read_reply()), NOT_SENT);
    evil.assert_closed(1);
    assert_served(&mut second, "app:second-again");
    proxy.assert_no_panic();
}

#[test]
fn a_leased_link_that_breaks_ends_its_transaction_or_its_blocked_command() {
    let (evil, _dir, proxy) =
        Evil::start(&[("garbage", b"@what\r\n", false), ("push", b">1\r\n+x\r\n", false)]);
    let mut client = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    assert_eq!(client.ask("GET app:garbage"), NOT_SENT, "what was only queued certainly did not run");
    assert_eq!(
        client.ask("EXEC"),
        "-EXECABORT Transaction discarded because of: upstream connection lost\r\n"
    );
    assert_eq!(client.ask("BLPOP app:push 0"), IN_DOUBT);
    evil.assert_closed(2);
    assert_served(&mut client, "app:after");
    proxy.assert_no_panic();
}

#[test]
fn a_link_of_subscriptions_that_breaks_says_nothing_wrong() {
    let confirmation = |word: &str, name: &str| {
        format!("*3\r\n${}\r\n{word}\r\n${}\r\n{name}\r\n:1\r\n", word.len(), name.len())
    };
    let right = |name: &str| confirmation("subscribe", &format!("app:{name}"));
    // What the server sends; whether the session is subscribed then, and so ends with the link.
    let attacks = [
        ("wrong-word", confirmation("psubscribe", "app:wrong-word"), false),
        ("ok", "+OK\r\n".to_owned(), false),
        ("early-message", "*3\r\n$7\r\nmessage\r\n+c\r\n+x\r\n@".to_owned(), false),
        ("push", ">3\r\n$9\r\nsubscribe\r\n+c\r\n:1\r\n".to_owned(), false),
        ("then-ok", format!("{}+OK\r\n", right("then-ok")), true),
        ("then-more", format!("{0}{0}", right("then-more")), true),
        ("then-garbage", format!("{}@what", right("then-garbage")), true),
    ];
    let bytes: Vec<_> = attacks.iter().map(|(name, bytes, _)| (*name, bytes.as_bytes(), false)).collect();
    let (evil, _dir, proxy) = Evil::start(&bytes);
    let mut victim = Client::tcp(proxy.port(0)).login("app", "secret");
    for (count, (name, _, subscribed)) in attacks.iter().enumerate() {
        let mut client = Client::tcp(proxy.port(0)).login("app", "secret");
        client.send(&["SUBSCRIBE", &format!("app:{name}")]);
        evil.assert_closed(count + 1);
        if *subscribed {
            let start = Instant::now();
            assert_eq!(text(&client.read_to_end()), right(name), "{name}");
            assert!(start.elapsed() < SOON / 2, "{name}: the session is still there");
        } else {
            let reply = text(&client.read_reply());
            let reply = if reply.contains("message") { text(&client.read_reply()) } else { reply };
            assert_eq!(reply, IN_DOUBT, "{name}");
            assert_served(&mut client, &format!("app:after-{name}"));
        }
        assert_served(&mut victim, &format!("app:victim-{name}"));
    }
    proxy.assert_no_panic();
}
