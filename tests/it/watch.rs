//! Files that change are read again by themselves: users, configuration, certificates; torn and broken ones are not.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use redkeep::acl::{Defaults, parse_file};
use redkeep::command::CommandTable;

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::random::Random;
use crate::support::{Client, Proxy, Redis, pause, wait_for, wait_long_for};

const RELOADED: &str = "\"reloaded\"";
const REFUSED: &str = "reload refused";

/// `make reloads` asks for more.
fn rounds(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A proxy whose ACL file stands in a directory as the kubelet mounts one.
fn mounted(redis: &Redis, users: &str, more: &str) -> (Proxy, Mount) {
    let mut mount = None;
    let proxy = Proxy::start(|dir, certs| {
        let mut made = Mount::new(dir.path().join("mnt"));
        made.swap("users.acl", users);
        let file = made.file("users.acl");
        mount = Some(made);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\n    tls: {{cert_file: {}, key_file: {}}}\n  - bind: 127.0.0.1:0\n\
             upstream:\n  address: unix:{}\nacl:\n  file: {}\nworkers: 2\n{more}",
            certs.cert.display(),
            certs.key.display(),
            redis.socket().display(),
            file.display(),
        )
    });
    (proxy, mount.unwrap())
}

/// A directory whose files change by all together, behind the link `..data`.
struct Mount {
    path: PathBuf,
    number: usize,
}

impl Mount {
    fn new(path: PathBuf) -> Mount {
        std::fs::create_dir_all(&path).unwrap();
        Mount { path, number: 0 }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn swap(&mut self, name: &str, content: &str) {
        self.swap_all(&[(name, content)]);
    }

    /// As the kubelet does it: a new directory, and one rename.
    fn swap_all(&mut self, files: &[(&str, &str)]) {
        self.number += 1;
        let next = format!("..{}", self.number);
        std::fs::create_dir(self.path.join(&next)).unwrap();
        for (name, content) in files {
            let path = self.path.join(&next).join(name);
            std::fs::write(&path, content).unwrap();
            // Keys may be among them.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let link = |target: &Path, name: &str| {
            let temporary = self.path.join("..tmp");
            symlink(target, &temporary).unwrap();
            std::fs::rename(temporary, self.path.join(name)).unwrap();
        };
        link(Path::new(&next), "..data");
        for (name, _) in files {
            let target = Path::new("..data").join(name);
            // Nothing but the first time, or after somebody put a file in its place.
            if std::fs::read_link(self.file(name)).ok() != Some(target.clone()) {
                link(&target, name);
            }
        }
        let _ = std::fs::remove_dir_all(self.path.join(format!("..{}", self.number - 1)));
    }

    fn rename(&self, name: &str, content: &str) {
        std::fs::write(self.file("new"), content).unwrap();
        std::fs::rename(self.file("new"), self.file(name)).unwrap();
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.file(name), content).unwrap();
    }

    /// In one of the three ways.
    fn change(&mut self, way: usize, name: &str, content: &str) {
        match way % 3 {
            0 => self.swap(name, content),
            1 => self.rename(name, content),
            _ => self.write(name, content),
        }
    }
}

/// A number of INFO's own section.
fn info(client: &mut Client, field: &str) -> u64 {
    let text = client.ask("INFO redkeep");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).trim().parse().unwrap()
}

/// Clients that go on asking, on connections that stay and on new ones, until it is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(proxy: &Proxy) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let config = proxy.certs.client_config(false);
        let (tls, plain) = (proxy.port(0), proxy.port(1));
        let threads = (0..3).map(|number: usize| {
            let (stop, done, config) = (stop.clone(), done.clone(), config.clone());
            std::thread::spawn(move || {
                let connect = || match number {
                    0 => Client::tls(tls, config.clone()),
                    _ => Client::patient(plain),
                };
                let mut client = connect().login("app", "secret");
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    let (key, value) = (format!("app:load:{number}"), round.to_string());
                    assert_eq!(text(&client.call(&["SET", &key, &value])), "+OK\r\n");
                    let expected = format!("${}\r\n{value}\r\n", value.len());
                    assert_eq!(text(&client.call(&["GET", &key])), expected);
                    if number == 2 && round % 20 == 0 {
                        client = connect().login("app", "secret");
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                    pause(Duration::from_millis(1));
                }
            })
        });
        let threads = threads.collect();
        Load { stop, done, threads }
    }

    /// Ends it, and fails if anything failed. How many rounds there were.
    fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("no request fails");
        }
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[expect(clippy::print_stdout, reason = "figures of the run")]
fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    println!("{what}: {} times, p50 {:?}, p99 {:?}, max {:?}", times.len(), at(50), at(99), at(100));
}

#[test]
fn reloads_under_load_fail_no_request_and_are_obeyed_soon() {
    let (proxy, mut mount) = mounted(Redis::shared(), USERS, "");
    let load = Load::start(&proxy);
    let with_probe = |number: usize| format!("{USERS}user probe on >secret ~p:{number} +get\n");
    mount.swap("users.acl", &with_probe(0));
    let mut probe = wait_for("the first change", || {
        let mut client = proxy.plain();
        client.ask("AUTH probe secret").starts_with("+OK").then_some(client)
    });
    let (mut times, mut slowest) = (Vec::new(), Duration::ZERO);
    for number in 1..=rounds("RELOADS", 50) {
        let key = format!("p:{number}");
        assert!(text(&probe.call(&["GET", &key])).starts_with("-NOPERM"));
        let begin = Instant::now();
        mount.change(number, "users.acl", &with_probe(number));
        slowest = slowest.max(begin.elapsed());
        wait_for("the new rules", || (text(&probe.call(&["GET", &key])) == "$-1\r\n").then_some(()));
        times.push(begin.elapsed());
    }
    let requests = load.end();
    show(&format!("file change to enforcement, with {requests} rounds of other clients"), times);
    let mut admin = proxy.plain().login("admin", "secret");
    // Where a disk takes a second from the truncation of a file to its content, the file was empty for that long.
    assert!(info(&mut admin, "redkeep_reloads_refused") == 0 || slowest > Duration::from_millis(900));
    proxy.assert_no_panic();
}

#[test]
fn broken_files_are_refused_and_nothing_else_happens() {
    // By a signal each is looked at exactly once; what the watch finds is told by the same code, and takes its time.
    break_files("reload: { watch: no }\n", rounds("BROKEN_FILES", 160), true);
    break_files("", rounds("BROKEN_FILES", 160) / 4, false);
}

#[expect(clippy::print_stdout, reason = "the seed, to run it again")]
fn break_files(more: &str, count: usize, signal: bool) {
    let (proxy, mut mount) = mounted(Redis::shared(), USERS, more);
    let (mut admin, mut app) = (proxy.plain().login("admin", "secret"), proxy.tls().login("app", "secret"));
    let config = std::fs::read_to_string(proxy.config_path()).unwrap();
    let generation = info(&mut admin, "redkeep_policy_generation");
    let seed = Random::seed("BROKEN_SEED").unwrap_or(7);
    println!("BROKEN_SEED={seed}, {count} files, by a signal: {signal}");
    let mut random = Random::new(seed);
    let table = CommandTable::builtin();
    let mut last = String::new();
    for number in 0..count {
        let seen = info(&mut admin, "redkeep_reloads_refused");
        let of_config = number % 3 == 0;
        let broken = loop {
            let text = broken(if of_config { &config } else { USERS }, &mut random);
            let refused = match of_config {
                true => redkeep::config::parse(&proxy.config_path(), &text).is_err(),
                false => parse_file(text.as_bytes(), Defaults::default(), &table).is_err(),
            };
            // What was refused already is not told twice, unless the good file was seen between.
            if refused && text != last {
                break text;
            }
        };
        last.clone_from(&broken);
        let mut put = |text: &str, good: &str| match of_config {
            true => std::fs::write(proxy.config_path(), text).unwrap(),
            false if signal => mount.write("users.acl", text),
            // Never half of a good one: that is another test's.
            false if text == good => mount.rename("users.acl", text),
            false => mount.change(number, "users.acl", text),
        };
        put(&broken, USERS);
        if signal {
            proxy.signal("-HUP");
        }
        wait_for("the refusal", || (info(&mut admin, "redkeep_reloads_refused") > seen).then_some(()));
        assert_eq!(app.ask("GET app:none"), "$-1\r\n");
        assert_eq!(info(&mut admin, "redkeep_last_reload_ok"), 0);
        put(if of_config { &config } else { USERS }, USERS);
    }
    assert_eq!(proxy.plain().ask("AUTH reader secret"), "+OK\r\n");
    if !signal {
        wait_for("the files to be as they were", || {
            (info(&mut admin, "redkeep_last_reload_ok") == 1).then_some(())
        });
    }
    assert!(info(&mut admin, "redkeep_last_refused_unix_time") > 1_700_000_000);
    assert_eq!(info(&mut admin, "redkeep_policy_generation"), generation, "none was accepted");
    proxy.assert_no_panic();
}

/// The text with a piece cut off, cut out, doubled or overwritten.
fn broken(text: &str, random: &mut Random) -> String {
    let bytes = text.as_bytes();
    let (one, other) = (random.below(bytes.len()), random.below(bytes.len()));
    let (from, to) = (one.min(other), one.max(other).min(one.min(other) + 20));
    let changed = match random.below(4) {
        0 => bytes[..from].to_vec(),
        1 => [&bytes[..from], &bytes[to..]].concat(),
        2 => [&bytes[..to], &bytes[from..]].concat(),
        _ => [&bytes[..from], &b"\x00{[>~ \t"[random.below(8)..], &bytes[to..]].concat(),
    };
    String::from_utf8_lossy(&changed).into_owned()
}

#[test]
fn a_file_that_is_gone_is_told_once_and_taken_over_when_it_is_back() {
    let (proxy, mount) = mounted(Redis::shared(), USERS, "reload: { poll: 100ms }\n");
    let mut app = proxy.tls().login("app", "secret");
    let seen = proxy.log().len();
    std::fs::rename(mount.file("..data"), mount.file("..gone")).unwrap();
    proxy.wait_for_log(seen, REFUSED);
    // Many looks.
    pause(Duration::from_secs(1));
    let refusals = proxy.log().iter().skip(seen).filter(|line| line.contains(REFUSED)).count();
    assert_eq!(refusals, 1, "{}", proxy.log().join("\n"));
    assert_eq!(app.ask("GET app:none"), "$-1\r\n");
    std::fs::rename(mount.file("..gone"), mount.file("..data")).unwrap();
    proxy.wait_for_log(seen, "again what is in force");
    mount.write("users.acl", &USERS.replace("~app:*", "~other:*"));
    proxy.wait_for_log(seen, RELOADED);
    assert!(app.ask("GET app:none").starts_with("-NOPERM"));
}

#[test]
fn without_a_watch_only_a_signal_counts() {
    let (proxy, mut mount) = mounted(Redis::shared(), USERS, "reload: { watch: no, poll: 50ms }\n");
    let mut app = proxy.tls().login("app", "secret");
    mount.swap("users.acl", &USERS.replace("~app:*", "~other:*"));
    pause(Duration::from_millis(700));
    assert_eq!(app.ask("GET app:none"), "$-1\r\n");
    proxy.reload(RELOADED);
    assert!(app.ask("GET app:none").starts_with("-NOPERM"));
}

#[test]
fn half_a_file_gets_into_force_neither_while_it_is_written_nor_while_its_last_line_has_no_end() {
    let (proxy, mount) = mounted(Redis::shared(), USERS, "");
    let mut reader = proxy.plain().login("reader", "secret");
    let file = mount.file("users.acl");
    let seen = proxy.log().len();
    // If this were taken for the whole, the rule that takes `+set` away would be missing.
    let whole = USERS.replace("user reader on >secret ", "user reader on >secret ~other:* +set -set ");
    let (half, rest) = whole.split_at(whole.find(" -set").unwrap());
    std::fs::write(&file, half).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(400) {
        let reply = reader.ask("SET other:x 1");
        // Later than this, it counts as whole.
        assert!(reply.starts_with("-NOPERM") || begin.elapsed() > Duration::from_millis(900), "{reply}");
    }
    use std::io::Write as _;
    std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(rest.as_bytes()).unwrap();
    proxy.wait_for_log(seen, RELOADED);
    assert!(reader.ask("SET other:x 1").starts_with("-NOPERM"));
    assert_eq!(reader.ask("GET other:none"), "$-1\r\n");
}

#[test]
fn who_empties_a_file_before_writing_it_waits_for_nothing() {
    let (proxy, mount) = mounted(Redis::shared(), USERS, "");
    let mut times = Vec::new();
    // A busy machine may be slow once.
    for number in 0..5 {
        let seen = proxy.log().len();
        mount.write("users.acl", "");
        // So that the empty file is looked at, and waited for.
        pause(Duration::from_millis(150));
        let begin = Instant::now();
        mount.write("users.acl", &format!("{USERS}user new-{number} on >secret\n"));
        proxy.wait_for_log(seen, RELOADED);
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    // Whoever waited for the end of an unfinished file would take a second.
    assert!(times[0] < Duration::from_millis(600), "{times:?}");
    assert!(!proxy.log().iter().any(|line| line.contains(REFUSED)));
}

#[test]
fn what_clients_have_changed_stays_when_something_else_changes() {
    let (proxy, mount) = mounted(Redis::shared(), USERS, "");
    let mut admin = proxy.plain().login("admin", "secret");
    assert_eq!(admin.ask("ACL SETUSER made on >secret ~m:* +get"), "+OK\r\n");
    let mut made = proxy.plain().login("made", "secret");
    let other = Proxy::standard(Redis::shared());
    let seen = proxy.log().len();
    let pair = std::fs::read_to_string(&other.certs.cert).unwrap();
    std::fs::copy(&other.certs.key, &proxy.certs.key).unwrap();
    std::fs::write(&proxy.certs.cert, pair).unwrap();
    proxy.wait_for_log(seen, RELOADED);
    assert_eq!(
        Client::tls(proxy.port(0), other.certs.client_config(false)).ask("AUTH app secret"),
        "+OK\r\n"
    );
    assert_eq!(made.ask("GET m:none"), "$-1\r\n");
    // What Redkeep has written itself is no change, and what comes after it is kept.
    assert_eq!(admin.ask("ACL SAVE"), "+OK\r\n");
    assert_eq!(admin.ask("ACL SETUSER made ~n:*"), "+OK\r\n");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(500) {
        assert_eq!(made.ask("GET n:none"), "$-1\r\n");
    }
    let seen = proxy.log().len();
    let config = std::fs::read_to_string(proxy.config_path()).unwrap();
    std::fs::write(proxy.config_path(), format!("{config}commands:\n  rename: {{ KEYS: \"\" }}\n")).unwrap();
    proxy.wait_for_log(seen, RELOADED);
    assert!(admin.ask("KEYS x").starts_with("-ERR unknown command"), "gates change without the users");
    assert_eq!(made.ask("GET n:none"), "$-1\r\n");
    let seen = proxy.log().len();
    mount.rename("users.acl", USERS);
    proxy.wait_for_log(seen, RELOADED);
    assert_eq!(text(&made.read_to_end()), "", "the file itself has changed, and says who there is");
}

#[test]
fn settings_that_can_change_live_do() {
    let users = format!("{USERS}user big on >secret ~* +@all\n");
    let (proxy, _mount) = mounted(Redis::shared(), &users, "limits:\n  maxclients: 5\n");
    let config = std::fs::read_to_string(proxy.config_path()).unwrap();
    let change = |from: &str, to: &str| {
        let seen = proxy.log().len();
        std::fs::write(proxy.config_path(), config.replace(from, to)).unwrap();
        proxy.wait_for_log(seen, RELOADED);
    };
    let mut first = proxy.plain().login("app", "secret");
    change("maxclients: 5", "maxclients: 1");
    assert_eq!(text(&proxy.plain().read_to_end()), "-ERR max number of clients reached\r\n");
    assert_eq!(first.ask("GET app:none"), "$-1\r\n", "who is there stays");
    change("maxclients: 5", "maxclients: 5\n  maxmemory_clients: 4mb");
    let mut admin = proxy.plain().login("admin", "secret");
    assert_eq!(admin.ask("PING"), "+PONG\r\n");
    let seen = proxy.log().len();
    std::fs::write(proxy.config_path(), config.replace("workers: 2", "workers: 3")).unwrap();
    let line = proxy.wait_for_log(seen, REFUSED);
    assert!(line.contains("`workers` cannot change"), "{line}");
}

#[test]
fn rights_that_a_file_takes_away_are_gone_at_once_wherever_the_session_stands() {
    let redis = Redis::start(&[]);
    let (proxy, mut mount) = mounted(&redis, USERS, "");
    let login = || proxy.plain().login("app", "secret");
    let (mut idle, mut queueing, mut blocked, mut listening) = (login(), login(), login(), login());
    assert_eq!(idle.ask("SET app:x 1"), "+OK\r\n");
    assert_eq!(queueing.ask("MULTI"), "+OK\r\n");
    assert_eq!(queueing.ask("SET app:queued 1"), "+QUEUED\r\n");
    blocked.send(&["BLPOP", "app:list", "0"]);
    assert!(listening.ask("SUBSCRIBE app:news").starts_with("*3\r\n"));
    wait_for("the blocked client", || {
        redis.client().ask("INFO clients").contains("blocked_clients:1").then_some(())
    });
    let seen = proxy.log().len();
    mount.swap("users.acl", &USERS.replace("~app:* &app:*", "~other:* &other:*"));
    proxy.wait_for_log(seen, RELOADED);
    assert!(idle.ask("GET app:x").starts_with("-NOPERM"));
    assert!(queueing.ask("SET app:queued 2").starts_with("-NOPERM"));
    assert!(queueing.ask("EXEC").starts_with("-EXECABORT"));
    assert_eq!(text(&listening.read_to_end()), "", "a subscriber who lost a channel is closed");
    assert_eq!(text(&blocked.read_reply()), "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    assert!(blocked.ask("BLPOP app:list 0").starts_with("-NOPERM"));
    blocked.send(&["BLPOP", "other:list", "0"]);
    wait_for("the blocked client", || {
        redis.client().ask("INFO clients").contains("blocked_clients:1").then_some(())
    });
    let seen = proxy.log().len();
    mount.swap("users.acl", &USERS.replace("~app:* &app:*", "~other:list &other:*"));
    proxy.wait_for_log(seen, RELOADED);
    assert!(idle.ask("GET other:x").starts_with("-NOPERM"));
    assert_eq!(redis.client().ask("RPUSH other:list 1"), ":1\r\n");
    assert!(text(&blocked.read_reply()).starts_with("*2\r\n"), "what is still permitted goes on");
    blocked.send(&["BLPOP", "other:list", "0"]);
    wait_for("the blocked client", || {
        redis.client().ask("INFO clients").contains("blocked_clients:1").then_some(())
    });
    mount.swap("users.acl", "user default off\nuser admin on >secret ~* &* +@all\n");
    assert_eq!(text(&blocked.read_to_end()), "", "the user is gone");
    wait_for("the end of the blocked command", || {
        redis.client().ask("INFO clients").contains("blocked_clients:0").then_some(())
    });
    assert_eq!(text(&idle.read_to_end()), "");
    let mut direct = redis.client();
    assert_eq!(direct.ask("EXISTS app:queued"), ":0\r\n");
}

#[test]
fn certificates_rotate_under_handshakes() {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let pair = || {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap();
        (cert.pem(), key.serialize_pem(), cert.der().clone())
    };
    let mut mount = None;
    let proxy = Proxy::start(|dir, _| {
        let mut made = Mount::new(dir.path().join("tls"));
        let (cert, key, _) = pair();
        made.swap_all(&[("tls.crt", &cert), ("tls.key", &key)]);
        let users = dir.write("users.acl", USERS);
        let yaml = format!(
            "listeners:\n  - bind: 127.0.0.1:0\n    tls: {{cert_file: {}, key_file: {}}}\nupstream:\n  address: unix:{}\n\
             acl:\n  file: {}\nworkers: 2\n",
            made.file("tls.crt").display(),
            made.file("tls.key").display(),
            Redis::shared().socket().display(),
            users.display(),
        );
        mount = Some(made);
        yaml
    });
    let mut mount = mount.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    let config = Arc::new(config);
    let (stop, handshakes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let port = proxy.port(0);
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (stop, handshakes, config) = (stop.clone(), handshakes.clone(), config.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert!(Client::tls(port, config.clone()).ask("PING").starts_with("-NOAUTH"));
                    handshakes.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut times = Vec::new();
    for _ in 0..rounds("CERTIFICATES", 20) {
        let (cert, key, der) = pair();
        let begin = Instant::now();
        mount.swap_all(&[("tls.crt", &cert), ("tls.key", &key)]);
        wait_long_for("the new certificate", Duration::from_secs(30), || {
            (shown_certificate(port, &config) == der).then_some(())
        });
        times.push(begin.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no handshake fails");
    }
    show(&format!("rotation to the first handshake with it, among {handshakes:?} others"), times);
    assert!(!proxy.log().iter().any(|line| line.contains(REFUSED)), "both files change as one");
}

/// The certificate that a handshake shows.
fn shown_certificate(
    port: u16,
    config: &Arc<rustls::ClientConfig>,
) -> rustls_pki_types::CertificateDer<'static> {
    let mut connection =
        rustls::ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).unwrap();
    }
    connection.peer_certificates().unwrap()[0].clone().into_owned()
}
