//! The key fence (`acl.fence`), before all real servers: a fenced user sees and changes no key outside its patterns,
//! by whatever command; and all of its own, as without a fence.

mod events;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use redkeep::command::{CommandTable, Spec, category};
use redkeep::resp::Value;

use crate::support::client::text;
use crate::support::random::Random;
use crate::support::redis::all;
use crate::support::requests::{Vocabulary, is_container};
use crate::support::{Client, Proxy, Redis, wait_for};

const USERS: &str = "\
user default off
user admin on >secret ~* &* +@all
user a on >secret ~a:* &* +@all
user open on >secret ~a:* &* +@all
user b on >secret ~canary:* &* +@all
user wide on >secret ~* &* +@all -@dangerous
user none on >secret &* +@all
user parts on >secret %R~a:* &* +@all (%W~w:* +set)
";

/// What the configuration says of their fences beside the setting for all; and guards are open that others are behind.
const FENCED: &str =
    "users: [{name: open, fence: no}]\nenable_debug_command: yes\nenable_module_command: yes\n";

/// What the other tenant's keys begin with. Nobody else names one.
const CANARY: &str = "canary";

const CANARIES: usize = 1000;

/// A proxy with a fence for all but `open`.
fn fenced(redis: &Redis) -> Proxy {
    Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\nacl:\n  file: {}\n  fence: yes\n\
             workers: 1\n{FENCED}",
            redis.socket().display(),
            users.display()
        )
    })
}

fn start(program: &Path) -> (Redis, Proxy) {
    let redis = Redis::start_program(program, &[]);
    let proxy = fenced(&redis);
    (redis, proxy)
}

fn login(proxy: &Proxy, user: &str) -> Client {
    Client::tcp(proxy.port(0)).login(user, "secret")
}

/// Makes the other tenant's keys, and some of `a`.
fn fill(direct: &mut Client) {
    for number in 0..CANARIES {
        direct.send(&["SET", &format!("{CANARY}:{number}"), "hidden"]);
        direct.send(&["SET", &format!("a:{number}"), "own"]);
    }
    for _ in 0..2 * CANARIES {
        assert_eq!(direct.read_reply(), b"+OK\r\n");
    }
}

/// The texts of an array of bulk strings, of RESP2 or RESP3.
fn texts(reply: &[u8]) -> BTreeSet<String> {
    let found: Vec<String> = redkeep::resp::items(reply).map(text).collect();
    let announced = redkeep::resp::announced_items(reply);
    assert_eq!(announced, Some(found.len()), "{}", reply.escape_ascii());
    let set: BTreeSet<String> = found.iter().cloned().collect();
    assert_eq!(set.len(), found.len(), "no key comes twice");
    set
}

/// Cursor and keys of a reply to SCAN.
fn page(reply: &Value) -> (String, Vec<String>) {
    let Value::Array(parts) = reply else { panic!("{reply:?}") };
    let [Value::Bulk(cursor), Value::Array(keys)] = &parts[..] else { panic!("{reply:?}") };
    let keys = keys.iter().map(|key| match key {
        Value::Bulk(key) => text(key),
        other => panic!("{other:?}"),
    });
    (text(cursor), keys.collect())
}

/// All pages of a SCAN with these options.
fn scan(client: &mut Client, options: &[&str]) -> Vec<(String, Vec<String>)> {
    let mut pages: Vec<(String, Vec<String>)> = Vec::new();
    loop {
        let cursor = pages.last().map_or("0", |(cursor, _)| cursor).to_owned();
        let args: Vec<&str> = ["SCAN", &cursor].into_iter().chain(options.iter().copied()).collect();
        pages.push(page(&client.value(&args)));
        if pages.last().unwrap().0 == "0" {
            return pages;
        }
    }
}

fn is_own(key: &str) -> bool {
    key.starts_with("a:")
}

/// Not run: their work takes seconds, they leave out the replies that the test waits for, or end the connection.
const NEVER: &[&str] = &["pfselftest", "client|reply", "post", "host:"];

fn vocabulary() -> Vocabulary {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    Vocabulary {
        keys: owned(&["a:1", "a:2", "a:new"]),
        typed: vec![(category::LIST, owned(&["a:list"])), (category::STREAM, owned(&["a:stream"]))],
        values: owned(&["x", "0", "1", "on"]),
        patterns: owned(&["*", "*a*", "?*"]),
        channels: owned(&["news", "__keyevent@0__:set"]),
        scripts: owned(&["return redis.call('keys', '*')", "return redis.call('randomkey')"]),
        odd: 8,
    }
}

#[test]
fn no_command_of_the_table_tells_a_fenced_user_the_name_of_a_key_of_others() {
    let seed = Random::seed("FENCE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("FENCE_SEED={seed}");
    let mut random = Random::new(seed);
    let vocabulary = vocabulary();
    let table = CommandTable::builtin();
    let keyless = |spec: &Spec| spec.keys.is_empty() && spec.movable.is_none();
    let specs: Vec<&Spec> = table
        .specs()
        .iter()
        .filter(|spec| !is_container(spec, table.specs()) && !NEVER.contains(&&*spec.name))
        .collect();
    assert!(specs.len() > 350, "{}", specs.len());
    for (number, program) in all().into_iter().enumerate() {
        let (redis, proxy) = start(&program);
        let mut direct = redis.client();
        direct.ask("CONFIG SET slowlog-log-slower-than 0");
        direct.ask("CONFIG SET commandlog-execution-slower-than 0");
        direct.ask("CONFIG SET notify-keyspace-events KEA");
        fill(&mut direct);
        // What the ACL log and PUBSUB CHANNELS know of them.
        assert!(login(&proxy, "open").ask(&format!("GET {CANARY}:1")).starts_with("-NOPERM"));
        let mut subscriber = login(&proxy, "admin");
        subscriber.ask(&format!("SUBSCRIBE __keyspace@0__:{CANARY}:1"));
        // Without a fence the test would fail.
        let mut open = login(&proxy, "open");
        for telling in ["KEYS *", "SCAN 0 COUNT 100", "SLOWLOG GET", "ACL LOG", "PUBSUB CHANNELS"] {
            assert!(open.ask(telling).contains(CANARY), "{program:?}: {telling}");
        }

        let mut answered = 0;
        let mut run = 0;
        // Those with keys are judged by them, and one server is enough.
        for spec in specs.iter().filter(|spec| number == 0 || keyless(spec)) {
            for multi in [false, true].into_iter().take(if keyless(spec) { 2 } else { 1 }) {
                let mut client = login(&proxy, "a");
                run += 1;
                let protocol = ["HELLO 2", "HELLO 3"][run % 2];
                assert!(client.ask(protocol).contains("server"));
                let request = vocabulary.request(spec, &mut random);
                let shown: Vec<_> = request.iter().map(|arg| arg.escape_ascii().to_string()).collect();
                if multi {
                    client.send(&["MULTI"]);
                }
                client.send(&request);
                // The other tenant goes on.
                direct.ask(&format!("SET {CANARY}:1 hidden"));
                let end = if multi { "EXEC" } else { "ECHO" };
                let mark = format!("nosuch{run}");
                if client.try_send(&[end]).is_some() && client.try_send(&[&mark]).is_some() {
                    while let Some(reply) = client.try_read_reply() {
                        let reply = text(&reply);
                        let place = format!("{program:?}, {protocol}, MULTI {multi}, FENCE_SEED={seed}");
                        assert!(!reply.contains(CANARY), "{place}: {}: {reply}", shown.join(" "));
                        answered += 1;
                        if reply.contains(&mark) {
                            break;
                        }
                    }
                }
            }
        }
        assert!(answered > run, "{answered}");
        let left = direct.ask(&format!("EXISTS {CANARY}:0 {CANARY}:1 {CANARY}:{}", CANARIES - 1));
        assert_eq!(left, ":3\r\n", "nothing of the other tenant's has gone");
        proxy.assert_no_panic();
    }
}

#[test]
fn what_cannot_be_filtered_is_denied_in_clear_words_and_changes_nothing() {
    const DENIED: &[&str] = &[
        "DBSIZE",
        "RANDOMKEY",
        "FLUSHDB",
        "FLUSHALL ASYNC",
        "SWAPDB 0 1",
        "MONITOR",
        "SLOWLOG GET",
        "ACL LOG",
        "ACL SETUSER a ~*",
        "CONFIG SET maxmemory 1",
        "DEBUG OBJECT a:1",
        "DEBUG RELOAD",
        "MODULE UNLOAD none",
        "CLUSTER COUNTKEYSINSLOT 0",
        "CLUSTER GETKEYSINSLOT 0 1",
        "MEMORY STATS",
        "REPLICAOF NO ONE",
        "PSYNC ? -1",
        "SHUTDOWN NOSAVE",
    ];
    for program in all() {
        let (redis, proxy) = start(&program);
        let mut direct = redis.client();
        fill(&mut direct);
        let keys = direct.ask("DBSIZE");
        let mut a = login(&proxy, "a");
        for denied in DENIED {
            let reply = a.ask(denied);
            let name = denied.split(' ').next().unwrap().to_lowercase();
            let words = format!("-NOPERM '{name}");
            let why =
                "is denied to users with a key fence (acl.fence), since it is not bound to the user's key";
            assert!(reply.starts_with(&words) && reply.contains(why), "{program:?}: {denied}: {reply}");
        }
        // As in Redis, the refusal dooms a transaction.
        assert_eq!(a.ask("MULTI"), "+OK\r\n");
        assert_eq!(a.ask("SET a:1 other"), "+QUEUED\r\n");
        assert!(a.ask("FLUSHALL").starts_with("-NOPERM 'flushall'"));
        assert!(a.ask("EXEC").starts_with("-EXECABORT"));
        assert!(a.ask("EVAL return{} 0").starts_with("-NOPERM"));
        assert_eq!(direct.ask("DBSIZE"), keys);
        assert_eq!(direct.ask("GET a:1"), "$3\r\nown\r\n");

        // Operators read of it in the ACL log.
        let log = login(&proxy, "admin").ask("ACL LOG 1");
        assert!(log.contains("flushall") && log.contains("\r\na\r\n"), "{log}");

        // Whose patterns are `~*` has nothing to be kept from, and who is let off is as in Redis.
        assert_eq!(login(&proxy, "wide").ask("DBSIZE"), keys);
        assert_eq!(login(&proxy, "admin").ask("DBSIZE"), keys);
        let mut open = login(&proxy, "open");
        assert_eq!(open.ask("DBSIZE"), keys);
        assert_eq!(open.ask("SCAN 0 COUNT 7"), direct.ask("SCAN 0 COUNT 7"));
        assert_eq!(open.ask("FLUSHDB"), "+OK\r\n");
        assert_eq!(direct.ask("DBSIZE"), ":0\r\n");
        proxy.assert_no_panic();
    }
}

#[test]
fn scan_gives_the_pages_of_the_upstream_with_the_users_own_keys() {
    for program in all() {
        let (redis, proxy) = start(&program);
        let mut direct = redis.client();
        fill(&mut direct);
        for number in 0..50 {
            direct.ask(&format!("RPUSH a:list:{number} x"));
        }
        direct.ask("SET w:1 x");
        let mut a = login(&proxy, "a");
        for options in [
            &[][..],
            &["COUNT", "1"],
            &["COUNT", "100"],
            &["COUNT", "100000"],
            &["MATCH", "*1*", "COUNT", "50"],
            &["MATCH", "canary:*", "COUNT", "500"],
            &["TYPE", "list", "COUNT", "200"],
            &["TYPE", "string", "MATCH", "a:?", "COUNT", "500"],
        ] {
            // Until the server has done with rehashing, the same cursor leads to other pages.
            let (whole, found) = wait_for("a table at rest", || {
                let before = scan(&mut direct, options);
                let found = scan(&mut a, options);
                (scan(&mut direct, options) == before).then_some((before, found))
            });
            let own: Vec<_> = whole
                .into_iter()
                .map(|(cursor, keys)| (cursor, keys.into_iter().filter(|key| is_own(key)).collect()))
                .collect();
            assert_eq!(found, own, "{program:?}: {options:?}");
        }
        for wrong in ["SCAN x", "SCAN 0 COUNT 0", "SCAN 0 COUNT", "SCAN", "SCAN 0 TYPE nosuch"] {
            let reply = direct.ask(wrong);
            assert!(reply.starts_with('-') || reply.ends_with("*0\r\n"), "{reply}");
            assert_eq!(a.ask(wrong), reply, "{program:?}: {wrong}");
        }
        // Any pattern that matches will do, whatever it permits, also one of a selector.
        let seen = |user: &str| {
            let pages = scan(&mut login(&proxy, user), &["COUNT", "1000"]);
            pages.into_iter().flat_map(|(_, keys)| keys).collect::<BTreeSet<_>>()
        };
        let parts = seen("parts");
        assert_eq!(parts.len(), CANARIES + 51);
        assert!(parts.contains("w:1"));
        assert_eq!(seen("none").len(), 0);
        assert_eq!(seen("wide").len(), 2 * CANARIES + 51);
        proxy.assert_no_panic();
    }
}

/// Ends the writer of a test with the test.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_scan_finds_all_own_keys_while_others_come_and_go() {
    let redis = Redis::start(&[]);
    let proxy = fenced(&redis);
    fill(&mut redis.client());
    let mut writer = redis.client();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also if an assertion fails.
        let _end = End(&done);
        scope.spawn(|| {
            // The table grows to four times its size and shrinks again, so that it is rehashed while it is scanned.
            for round in 0.. {
                let (command, value) = [("SET", " x"), ("DEL", "")][round % 2];
                for number in 0..3 * CANARIES {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    writer.ask(&format!("{command} {CANARY}:new:{number}{value}"));
                    writer.ask(&format!("{command} a:new:{number}{value}"));
                }
            }
        });
        let mut a = login(&proxy, "a");
        for count in ["20", "50", "100"] {
            let pages = scan(&mut a, &["COUNT", count]);
            let found: BTreeSet<String> = pages.into_iter().flat_map(|(_, keys)| keys).collect();
            assert!(found.iter().all(|key| is_own(key)));
            let missing = (0..CANARIES).filter(|number| !found.contains(&format!("a:{number}"))).count();
            assert_eq!(missing, 0, "COUNT {count}");
        }
    });
    proxy.assert_no_panic();
}

#[test]
fn keys_are_filtered_however_many_there_are() {
    for program in all() {
        let (redis, proxy) = start(&program);
        let mut direct = redis.client();
        direct.ask("SET lonely x");
        for protocol in ["HELLO 2", "HELLO 3"] {
            let mut a = login(&proxy, "a");
            a.ask(protocol);
            assert_eq!(a.ask("KEYS *"), "*0\r\n", "{program:?}");
        }
        assert_eq!(direct.ask(&format!("DEBUG POPULATE 60000 {CANARY} 1")), "+OK\r\n");
        assert_eq!(direct.ask("DEBUG POPULATE 30000 a 1"), "+OK\r\n");
        direct.ask("SET a:\r\n x");
        let own: BTreeSet<String> =
            (0..30_000).map(|number| format!("a:{number}")).chain(["a:\r\n".to_owned()]).collect();
        for protocol in ["HELLO 2", "HELLO 3"] {
            let mut a = login(&proxy, "a");
            a.ask(protocol);
            // Those behind it come in their order, though the reply takes its time.
            for request in [&["KEYS", "*"][..], &["PING"], &["KEYS", "a:1?"], &["GET", "a:1"]] {
                a.send(request);
            }
            assert_eq!(texts(&a.read_reply()), own, "{program:?}, {protocol}");
            assert_eq!(a.read_reply(), b"+PONG\r\n");
            assert_eq!(texts(&a.read_reply()).len(), 10);
            assert!(a.read_reply().starts_with(b"$1\r\n"));
            assert_eq!(a.ask("KEYS canary:*"), "*0\r\n");
        }
        assert_eq!(login(&proxy, "admin").ask("KEYS nosuch"), "*0\r\n");
        proxy.assert_no_panic();
    }
}

#[test]
fn replies_in_a_transaction_are_filtered_too() {
    for program in all() {
        let (redis, proxy) = start(&program);
        let mut direct = redis.client();
        direct.ask("MSET canary:1 x a:1 x w:1 x");
        direct.ask("SELECT 3");
        direct.ask("MSET canary:2 x a:2 x");
        for (protocol, push) in [("HELLO 2", '$'), ("HELLO 3", '=')] {
            let mut a = login(&proxy, "a");
            a.ask(protocol);
            for request in ["MULTI", "KEYS *", "PING", "SCAN 0", "SELECT 3", "KEYS *", "INFO keyspace"] {
                let reply = a.ask(request);
                assert!(reply == "+QUEUED\r\n" || reply == "+OK\r\n", "{program:?}: {request}: {reply}");
            }
            let reply = a.ask("EXEC");
            let expected = "*6\r\n*1\r\n$3\r\na:1\r\n+PONG\r\n*2\r\n$1\r\n0\r\n*1\r\n$3\r\na:1\r\n+OK\r\n\
                            *1\r\n$3\r\na:2\r\n";
            let info = reply.strip_prefix(expected);
            let info = info.unwrap_or_else(|| panic!("{program:?}, {protocol}: {reply}"));
            assert!(info.starts_with(push) && !info.contains("keys="), "{program:?}: {info}");
            // Another user, by whose patterns what stands behind its login is filtered.
            a.ask("SELECT 0");
            for request in ["MULTI", "KEYS *", "AUTH parts secret", "KEYS *", "AUTH open secret", "KEYS *"] {
                a.ask(request);
            }
            let reply = a.ask("EXEC");
            let counts: Vec<usize> = reply.match_indices('*').map(|(at, _)| at).collect();
            assert!(reply.starts_with("*5\r\n*1\r\n$3\r\na:1\r\n+OK\r\n*2\r\n"), "{program:?}: {reply}");
            assert!(reply.contains("+OK\r\n*3\r\n") && reply.contains("canary:1"), "{program:?}: {reply}");
            assert_eq!(counts.len(), 4, "{reply}");
        }
        proxy.assert_no_panic();
    }
}

#[test]
fn info_tells_a_fenced_user_all_but_how_many_keys_there_are() {
    for program in all() {
        let (redis, proxy) = start(&program);
        redis.client().ask("MSET canary:1 x a:1 x");
        let mut open = login(&proxy, "open");
        let mut a = login(&proxy, "a");
        for request in ["INFO", "INFO everything", "INFO all", "INFO redkeep", "INFO server keyspace"] {
            let sections = |reply: &str| {
                let names = reply.lines().filter(|line| line.starts_with("# ")).map(str::to_owned);
                names.collect::<Vec<_>>()
            };
            let (whole, fenced) = (open.ask(request), a.ask(request));
            let mut expected = sections(&whole);
            expected.retain(|name| !["# Keyspace", "# Keysizes"].contains(&&**name));
            assert_eq!(sections(&fenced), expected, "{program:?}: {request}");
            assert!(request == "INFO redkeep" || whole.contains("keys=2"), "{request}");
            assert!(!fenced.contains("keys="), "{program:?}: {fenced}");
        }
        assert_eq!(a.ask("INFO keyspace"), "$0\r\n\r\n");
        proxy.assert_no_panic();
    }
}

#[test]
fn a_change_of_rules_counts_from_the_next_command_on() {
    let redis = Redis::start(&[]);
    let proxy = fenced(&redis);
    redis.client().ask("MSET canary:1 x a:1 x");
    let mut admin = login(&proxy, "admin");
    let mut a = login(&proxy, "a");
    assert_eq!(a.ask("KEYS *"), "*1\r\n$3\r\na:1\r\n");
    assert_eq!(admin.ask("ACL SETUSER a ~canary:*"), "+OK\r\n");
    wait_for("the wider rules", || a.ask("KEYS *").starts_with("*2").then_some(()));
    assert_eq!(admin.ask("ACL SETUSER a resetkeys"), "+OK\r\n");
    wait_for("the rules without keys", || (a.ask("KEYS *") == "*0\r\n").then_some(()));
    // A user that comes later has the fence of all.
    assert_eq!(admin.ask("ACL SETUSER late on >secret ~a:* +@all"), "+OK\r\n");
    let mut late = login(&proxy, "late");
    assert!(late.ask("DBSIZE").starts_with("-NOPERM 'dbsize'"));
    // What ACL DRYRUN says is what the rules say.
    assert_eq!(admin.ask("ACL DRYRUN late DBSIZE"), "+OK\r\n");

    let path = proxy.config_path();
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        config.replace("fence: yes", "fence: no").replace("open, fence: no", "open, fence: yes"),
    )
    .unwrap();
    proxy.reload("\"message\":\"reloaded\"");
    assert_eq!(login(&proxy, "a").ask("DBSIZE"), ":2\r\n");
    assert!(login(&proxy, "open").ask("DBSIZE").starts_with("-NOPERM 'dbsize'"));
    proxy.assert_no_panic();
}

#[test]
fn explain_tells_of_the_fence() {
    let redis = Redis::shared();
    let proxy = fenced(redis);
    let explain = |user: &str, line: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_redkeep"))
            .args(["explain", "--user", user, "--config"])
            .arg(proxy.config_path())
            .arg("--")
            .args(line.split(' '))
            .output()
            .unwrap();
        (output.status.code(), text(&output.stdout))
    };
    let (code, page) = explain("a", "DBSIZE");
    assert_eq!(code, Some(1), "{page}");
    assert!(page.starts_with("deny: (error) NOPERM 'dbsize' is denied to users with a key fence"), "{page}");
    assert!(page.contains("gate        the user's key fence (`fence` in `acl` or `users`) denies"), "{page}");
    assert!(page.ends_with("to allow it, add to the rules of a:\n  ~*\n"), "{page}");
    let (code, page) = explain("a", "SUBSCRIBE __keyspace@0__:canary:1");
    assert_eq!(code, Some(1), "{page}");
    assert!(page.contains("gate        argument 1 is a channel that tells of a key outside"), "{page}");
    for (line, note) in [
        ("SCAN 0", "fence       the reply tells of keys that the user's patterns match, not of others"),
        ("INFO", "fence       the reply comes without what counts keys"),
        ("PSUBSCRIBE *", "fence       messages that tell of keys outside the user's patterns do not come"),
    ] {
        let (code, page) = explain("a", line);
        assert_eq!(code, Some(0), "{page}");
        assert!(page.contains(note), "{page}");
        let (_, page) = explain("open", line);
        assert!(!page.contains("fence"), "{page}");
    }
    let (code, page) = explain("a", "GET a:1");
    assert!(code == Some(0) && !page.contains("fence"), "{page}");
    assert_eq!(explain("open", "DBSIZE").0, Some(0));
    assert_eq!(explain("wide", "DBSIZE").0, Some(0));
}
