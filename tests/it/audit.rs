//! The audit stream: what is recorded at each level, that no secret is in it, and that neither a full disk nor a pipe
//! that nobody reads holds up a client, unless the records are required.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, wait_for};

/// What a client is told whose command cannot be recorded.
const REFUSED: &str = "-ERR redkeep: audit log unavailable, command not executed\r\n";

/// A proxy with an audit log in its folder.
fn proxy(settings: &str) -> Proxy {
    Proxy::with_users(
        Redis::shared(),
        USERS,
        &format!(
            "scripts:\n  mode: deny\nlimits:\n  login_backoff: no\naudit:\n  file: audit.log\n{settings}"
        ),
    )
}

fn file(proxy: &Proxy) -> PathBuf {
    proxy.dir.path().join("audit.log")
}

/// The whole lines of an audit log.
fn records(path: &Path) -> Vec<Value> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Waits for a record that `is` true of.
fn wait_for_record(path: &Path, is: impl Fn(&Value) -> bool) -> Value {
    wait_for("a record", || records(path).into_iter().find(|record| is(record)))
}

/// All records up to a mark, which is a denied command that only this call sends.
fn records_so_far(proxy: &Proxy) -> Vec<Value> {
    let mark = crate::support::unique("MARK");
    proxy.plain().ask(&mark);
    wait_for_record(&file(proxy), |record| record["command"] == *mark);
    let all = records(&file(proxy)).into_iter();
    all.take_while(|record| record["command"] != *mark).collect()
}

/// The records of one session, each with what tests compare: user, command, verdict, reason, number of keys.
fn of_session(records: &[Value], session: u64) -> Vec<String> {
    let of_it = records.iter().filter(|record| record["session"] == session);
    of_it
        .map(|record| {
            let fields = ["user", "command", "verdict", "reason", "keys"];
            fields.map(|field| record[field].to_string().replace('"', "")).join(" ")
        })
        .collect()
}

fn id(client: &mut Client) -> u64 {
    client.ask("CLIENT ID").trim_start_matches(':').trim().parse().unwrap()
}

/// A number of INFO's section about Redkeep.
fn counter(client: &mut Client, name: &str) -> u64 {
    let info = client.ask("INFO redkeep");
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in {info}")).parse().unwrap()
}

/// Puts what `source` leads to in the place of `path`, and has it opened.
fn replace(proxy: &Proxy, source: &Path) {
    std::fs::remove_file(file(proxy)).unwrap();
    std::os::unix::fs::symlink(source, file(proxy)).unwrap();
    proxy.reload("audit log opened anew");
}

/// What a session does that is used at every level. Returns its number.
fn session(proxy: &Proxy) -> u64 {
    let mut client = proxy.tls();
    assert!(client.ask("GET app:1").starts_with("-NOAUTH"));
    assert!(client.ask("AUTH app wrong").starts_with("-WRONGPASS"));
    assert_eq!(client.ask("AUTH app secret"), "+OK\r\n");
    let id = id(&mut client);
    assert_eq!(client.ask("MSET app:1 1 app:2 2"), "+OK\r\n");
    assert!(client.ask("MGET app:1 app:2 other").starts_with("-NOPERM"));
    assert!(client.ask("CONFIG GET maxmemory").starts_with("-NOPERM"));
    assert!(client.ask("SUBSCRIBE other").starts_with("-NOPERM"));
    assert!(client.ask("EVAL script 1 app:1").starts_with("-"));
    assert!(client.ask("GET").starts_with("-ERR wrong number"));
    assert!(client.ask("NOSUCH value").starts_with("-ERR unknown command"));
    assert!(client.ask("CONFIG NOSUCH value").starts_with("-ERR"));
    assert!(client.ask("HELLO 2 AUTH nobody wrong").starts_with("-WRONGPASS"));
    assert_eq!(client.ask("AUTH admin secret"), "+OK\r\n");
    assert!(client.ask("CONFIG GET maxmemory").starts_with("*2"));
    assert!(client.ask("CONFIG SET dir /").starts_with("-"));
    client.send_raw(b"*1\r\n$x\r\n");
    assert!(text(&client.read_to_end()).starts_with("-ERR Protocol error"));
    id
}

/// The denials and failed logins of [`session`].
const DENIED: &[&str] = &[
    "null get denied unauthenticated 1",
    "app auth login_failed auth null",
    "app mget denied key 3",
    "app config|get denied command 0",
    "app subscribe denied channel 0",
    "app eval denied script 1",
    "app get denied arity null",
    "app NOSUCH denied unknown_command null",
    "app config denied unknown_subcommand null",
    "nobody hello login_failed auth null",
    "admin config|set denied protected 0",
    "admin null denied protocol null",
];

#[test]
fn at_level_denied_the_refusals_are_recorded_and_nothing_else() {
    let proxy = proxy("  level: denied\n");
    let id = session(&proxy);
    assert_eq!(of_session(&records_so_far(&proxy), id), DENIED);
    assert_eq!(std::fs::metadata(file(&proxy)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn strangers_cannot_flood_the_audit_log() {
    for level in ["denied", "all"] {
        let proxy = proxy(&format!("  level: {level}\n"));
        let of_nobody = |records: &[Value]| -> Vec<String> {
            let of_nobody = records.iter().filter(|record| record["user"].is_null());
            let of_nobody = of_nobody.filter(|record| record["verdict"] != "connected");
            of_nobody.map(|r| format!("{} {} {}", r["command"], r["verdict"], r["more"])).collect()
        };
        let flood = "PING\r\nRESET\r\n".repeat(1000);
        let mut client = proxy.plain();
        client.send_raw(flood.as_bytes());
        for _ in 0..1000 {
            assert!(text(&client.read_reply()).starts_with("-NOAUTH"));
            assert_eq!(text(&client.read_reply()), "+RESET\r\n");
        }
        assert_eq!(client.ask("AUTH app secret"), "+OK\r\n");
        assert!(client.ask("GET other").starts_with("-NOPERM"), "who has logged in pays with a name");
        let ping = "\"ping\" \"denied\" null";
        let expected = match level {
            "denied" => [&[ping; 5][..], &["null \"denied\" 995"]].concat(),
            _ => {
                let reset = "\"reset\" \"allowed\" null";
                vec![ping, reset, ping, reset, ping, "null \"denied\" 1996"]
            }
        };
        let records = records_so_far(&proxy);
        assert!(records.iter().any(|record| record["reason"] == "key"));
        assert_eq!(of_nobody(&records), expected);
        // The same of whoever never logs in.
        let mut stranger = proxy.plain();
        stranger.send_raw("PING\r\n".repeat(8).as_bytes());
        stranger.send_raw(b"QUIT\r\n");
        stranger.read_to_end();
        let last = if level == "denied" { 3 } else { 4 };
        wait_for_record(&file(&proxy), |record| {
            record["more"] == last && record["reason"] == "unauthenticated"
        });
        proxy.assert_no_panic();
    }
}

#[test]
fn at_level_admin_logins_and_administrative_commands_are_recorded_too() {
    let proxy = proxy("  level: admin\n");
    let id = session(&proxy);
    let found = of_session(&records_so_far(&proxy), id);
    let expected = [
        &DENIED[..2],
        &["app auth login null null"],
        &DENIED[2..10],
        &["admin auth login null null", "admin config|get allowed null 0"],
        &DENIED[10..],
    ]
    .concat();
    // The login is recorded before the session is that user's.
    assert_eq!(found, expected);
}

#[test]
fn at_level_all_every_command_and_the_life_of_a_session_are_recorded() {
    let proxy = proxy("  level: all\n");
    let id = session(&proxy);
    let found = of_session(&records_so_far(&proxy), id);
    let expected = [
        &[
            "null null connected null null",
            DENIED[0],
            "null auth allowed null 0",
            DENIED[1],
            "null auth allowed null 0",
        ][..],
        &["app auth login null null", "app client|id allowed null 0", "app mset allowed null 2"],
        &DENIED[2..9],
        &["app hello allowed null 0", DENIED[9], "app auth allowed null 0", "admin auth login null null"],
        &["admin config|get allowed null 0", DENIED[10], DENIED[11], "admin null closed null null"],
    ]
    .concat();
    assert_eq!(found, expected);
}

#[test]
fn a_record_says_who_where_and_by_which_policy() {
    let proxy = proxy("  level: admin\n");
    let mut client = proxy.plain().login("admin", "secret");
    assert_eq!(client.ask("SELECT 3"), "+OK\r\n");
    let info = client.ask("CLIENT INFO");
    let field = |name: &str| {
        info.split(' ').find_map(|word| word.split_once('=').filter(|(key, _)| key.contains(name)))
    };
    let generation = counter(&mut client, "redkeep_policy_generation");
    let expected = json!({
        "session": id(&mut client), "peer": field("addr").unwrap().1, "listener": field("laddr").unwrap().1,
        "certificate": null, "user": "admin", "db": 3, "command": "lastsave", "verdict": "allowed", "reason": null,
        "keys": 0, "key": null, "channel": null, "generation": generation,
    });
    assert!(client.ask("LASTSAVE").starts_with(':'));
    let mut record = wait_for_record(&file(&proxy), |record| record["command"] == "lastsave");
    record.as_object_mut().unwrap().remove("time").unwrap();
    assert_eq!(record, expected);
}

#[test]
fn reloads_are_recorded_with_their_outcome() {
    let proxy = proxy("  level: admin\n");
    let mut admin = proxy.tls().login("admin", "secret");
    proxy.reload("\"reloaded\"");
    let generation = counter(&mut admin, "redkeep_policy_generation");
    let record = wait_for_record(&file(&proxy), |record| record["verdict"] == "reloaded");
    assert_eq!((&record["generation"], &record["session"]), (&json!(generation), &Value::Null));
    proxy.dir.write("users.acl", "nonsense");
    proxy.reload("reload refused");
    let record = wait_for_record(&file(&proxy), |record| record["verdict"] == "reload_refused");
    assert_eq!(record["generation"], generation);
}

#[test]
fn what_exec_refuses_after_a_change_of_rules_is_recorded_once() {
    let proxy = proxy("  level: denied\n");
    let mut app = proxy.tls().login("app", "secret");
    let id = id(&mut app);
    app.ask("MULTI");
    for command in ["SET app:1 1", "PING", "CLIENT ID"] {
        assert_eq!(app.ask(command), "+QUEUED\r\n");
    }
    proxy.dir.write("users.acl", USERS.replace("~app:* &app:* +@all", "~new:* &app:* +@all -client"));
    proxy.reload("\"reloaded\"");
    assert!(app.ask("EXEC").starts_with("*3\r\n-NOPERM"));
    let found = of_session(&records_so_far(&proxy), id);
    assert_eq!(found, ["app set denied key 1", "app client|id denied command 0"]);
}

#[test]
fn a_session_that_ends_since_its_rights_are_gone_is_recorded() {
    let proxy = proxy("  level: denied\n");
    let mut app = proxy.tls().login("app", "secret");
    let id = id(&mut app);
    proxy.dir.write("users.acl", "user default off\n");
    proxy.reload("\"reloaded\"");
    assert_eq!(text(&app.read_to_end()), "");
    assert_eq!(of_session(&records_so_far(&proxy), id), ["app null denied revoked null"]);
}

/// Requests with something in each argument that must be in no log.
fn secretive(mark: &str) -> Vec<Vec<String>> {
    let line = |text: &str| text.split(' ').map(|word| word.replace('#', mark)).collect::<Vec<_>>();
    [
        "SET app:#k #v",
        "GET #k",
        "MSET app:#k #v #l #w",
        "AUTH #pw",
        "AUTH app #pw",
        "HELLO 3 AUTH app #pw SETNAME #n",
        "CLIENT SETNAME #n",
        "SUBSCRIBE #c",
        "PUBLISH #c #v",
        "EVAL #s 1 #k #v",
        "CONFIG SET requirepass #pw",
        "CONFIG #x #v",
        "CONFIG SET dir #v",
        "ACL SETUSER app:x >#pw ~#k",
        "SORT app:#k BY #v GET #w",
        "MIGRATE 127.0.0.1 1 app:#k 0 1 AUTH2 app #pw",
        "NOSUCH #k #v",
        "GET #k #v",
        "DEBUG SET-ACTIVE-EXPIRE #v",
        "SELECT #v",
    ]
    .map(line)
    .to_vec()
}

#[test]
fn no_value_password_key_or_channel_is_in_the_audit_log_or_the_log() {
    for keys in ["redacted", "hashed"] {
        let proxy = proxy(&format!("  level: all\n  keys: {keys}\n"));
        for number in 0..50 {
            let mark = format!("canary{number}x");
            for user in ["admin", "app"] {
                let mut client = proxy.plain().login(user, "secret");
                for request in secretive(&mark) {
                    client.call(&request);
                    if request[0] == "SUBSCRIBE" {
                        client = proxy.plain().login(user, "secret");
                    }
                }
                client.send_raw(format!("*1\r\n${mark}\r\n").as_bytes());
                client.read_to_end();
            }
        }
        let found = records_so_far(&proxy);
        assert!(found.len() > 2000, "{} records", found.len());
        assert_eq!(found.iter().any(|record| record["key"].is_string()), keys == "hashed");
        assert_eq!(found.iter().any(|record| record["channel"].is_string()), keys == "hashed");
        for line in found.iter().map(Value::to_string).chain(proxy.log()) {
            assert!(!line.contains("canary"), "{line}");
        }
    }
}

#[test]
fn a_key_has_the_same_hash_wherever_the_secret_is_the_same() {
    let hashes = |secret: Option<&str>| {
        let more = if secret.is_some() { "  key_hash_secret_file: hash.key\n" } else { "" };
        let proxy = Proxy::start(|dir, _| {
            dir.write("hash.key", secret.unwrap_or_default());
            format!(
                "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\nacl:\n  file: {}\n\
                 audit:\n  file: audit.log\n  level: all\n  keys: hashed\n{more}",
                Redis::shared().socket().display(),
                dir.write("users.acl", USERS).display()
            )
        });
        let mut client = Client::tcp(proxy.port(0)).login("app", "secret");
        for command in ["GET app:1", "STRLEN app:1", "GET app:2", "GET other"] {
            client.ask(command);
        }
        wait_for_record(&file(&proxy), |record| record["reason"] == "key");
        let keys =
            records(&file(&proxy)).into_iter().filter_map(|record| Some(record["key"].as_str()?.to_owned()));
        keys.collect::<Vec<_>>()
    };
    let one = hashes(Some("one"));
    assert_eq!(one.len(), 4, "{one:?}");
    assert_eq!(one[0], one[1], "the same key");
    assert_ne!(one[0], one[2], "another key");
    assert_eq!(one, hashes(Some("one")), "the same secret");
    for other in [hashes(Some("two")), hashes(None), hashes(None)] {
        assert!(other.iter().all(|hash| !one.contains(hash)), "another secret");
    }
    let plain: String = Sha256::digest(b"app:1").iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!plain.starts_with(&one[0]), "nobody can find a key by trying names");
}

#[test]
fn sighup_opens_the_file_anew_also_when_the_reload_is_refused() {
    let proxy = proxy("  level: denied\n");
    let mut app = proxy.plain().login("app", "secret");
    let old = proxy.dir.path().join("audit.log.1");
    app.ask("BEFORE");
    wait_for_record(&file(&proxy), |record| record["command"] == "BEFORE");
    std::fs::rename(file(&proxy), &old).unwrap();
    app.ask("BETWEEN");
    wait_for_record(&old, |record| record["command"] == "BETWEEN");
    proxy.dir.write("users.acl", "nonsense");
    proxy.reload("audit log opened anew");
    app.ask("AFTER");
    wait_for_record(&file(&proxy), |record| record["command"] == "AFTER");
    assert_eq!((records(&old).len(), records(&file(&proxy)).len()), (2, 1));
}

#[test]
fn a_full_disk_holds_up_nobody_and_what_is_lost_is_counted() {
    let proxy = proxy("  level: all\n  buffer: 16kb\n");
    let seen = proxy.log().len();
    replace(&proxy, Path::new("/dev/full"));
    let mut app = proxy.plain().login("app", "secret");
    proxy.wait_for_log(seen, "audit log cannot be written");
    for number in 0..200 {
        assert_eq!(app.ask(&format!("SET app:full {number}")), "+OK\r\n");
    }
    let dropped = counter(&mut proxy.plain().login("admin", "secret"), "redkeep_audit_dropped");
    assert!((1..300).contains(&dropped), "{dropped} of more than 200");
    let good = proxy.dir.path().join("good");
    replace(&proxy, &good);
    let line = proxy.wait_for_log(seen, "audit log is written again");
    assert!(!line.contains("\"dropped\":0"), "{line}");
    app.ask("AFTER");
    wait_for_record(&good, |record| record["command"] == "AFTER");
}

#[test]
fn where_records_are_required_a_full_disk_stops_what_would_be_recorded_until_it_is_good_again() {
    let redis = Redis::shared();
    let proxy = proxy("  level: all\n  required: yes\n");
    let mut app = proxy.plain().login("app", "secret");
    let pipelining = [(); 3].map(|()| proxy.plain().login("app", "secret"));
    let mut queueing = proxy.plain().login("app", "secret");
    assert_eq!(queueing.ask("MULTI"), "+OK\r\n");
    assert_eq!(queueing.ask("SET app:required multi"), "+QUEUED\r\n");
    replace(&proxy, Path::new("/dev/full"));
    app.ask("PING");
    proxy.wait_for_log(0, "audit log cannot be written");
    assert_eq!(app.ask("SET app:required alone"), REFUSED);
    assert_eq!(app.ask("GET app:required"), REFUSED);
    assert_eq!(queueing.ask("SET app:required more"), REFUSED);
    let aborted = REFUSED.replace("-ERR", "-EXECABORT Transaction discarded because of:");
    assert_eq!(queueing.ask("EXEC"), aborted);
    let mut stranger = proxy.plain();
    assert_eq!(stranger.ask("AUTH app secret"), REFUSED, "the right password");
    assert_eq!(stranger.ask("AUTH app wrong"), REFUSED, "a wrong one looks alike");
    assert!(app.ask("GET other").starts_with("-NOPERM"), "what is denied stays denied");
    for (state, mut pipelining) in ["MULTI", "SELECT 1", "WATCH app:x"].into_iter().zip(pipelining) {
        pipelining.send(&state.split(' ').collect::<Vec<_>>());
        pipelining.try_send(&["SET", "app:required", "behind"]);
        assert_eq!(
            text(&pipelining.read_to_end()),
            REFUSED,
            "{state}: what comes behind it is not even read"
        );
    }
    assert_eq!(redis.client().ask("EXISTS app:required"), ":0\r\n");
    let good = proxy.dir.path().join("good");
    replace(&proxy, &good);
    proxy.wait_for_log(0, "audit log is written again");
    assert_eq!(stranger.ask("AUTH app secret"), "+OK\r\n");
    assert_eq!(queueing.ask("PING"), "+PONG\r\n", "the transaction is over");
    assert_eq!(app.ask("SET app:required done"), "+OK\r\n");
    wait_for_record(&good, |record| record["command"] == "set" && record["verdict"] == "allowed");
    assert!(counter(&mut proxy.plain().login("admin", "secret"), "redkeep_audit_dropped") >= 5);
}

#[test]
fn only_what_would_be_recorded_is_stopped() {
    let proxy = proxy("  level: denied\n  required: yes\n");
    let mut app = proxy.plain().login("app", "secret");
    replace(&proxy, Path::new("/dev/full"));
    app.ask("NOSUCH");
    proxy.wait_for_log(0, "audit log cannot be written");
    assert_eq!(app.ask("SET app:denied 1"), "+OK\r\n", "an allowed command needs no record at this level");
    assert_eq!(proxy.plain().ask("AUTH app wrong"), REFUSED, "nobody tries passwords without a trace");
    // A login that is not tried has no effect on what is behind it: `reader` may not write.
    for command in ["MULTI", "AUTH reader secret", "SET app:denied 2"] {
        assert!(app.ask(command).starts_with('+'), "{command}");
    }
    assert_eq!(app.ask("EXEC"), format!("*2\r\n{REFUSED}+OK\r\n"));
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_nobody_unless_records_are_required() {
    for required in ["no", "yes"] {
        let proxy = proxy(&format!("  level: all\n  buffer: 16kb\n  required: {required}\n"));
        let pipe = proxy.dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // For reading and writing, so that opening waits for nobody.
        let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        replace(&proxy, &pipe);
        let mut app = proxy.plain().login("app", "secret");
        // The pipe takes 64 KiB, and 16 KiB may wait.
        let replies: Vec<String> = (0..1000).map(|_| app.ask("PING")).collect();
        let served = replies.iter().filter(|reply| *reply == "+PONG\r\n").count();
        if required == "no" {
            assert_eq!(served, 1000);
            let mut admin = proxy.plain().login("admin", "secret");
            assert!(counter(&mut admin, "redkeep_audit_dropped") > 100);
            continue;
        }
        assert!((100..900).contains(&served), "{served} of 1000");
        assert_eq!(replies[999], REFUSED);
        // Somebody reads again.
        let reading = std::thread::spawn(move || {
            let (mut all, mut chunk) = (Vec::new(), [0u8; 65536]);
            while !String::from_utf8_lossy(&all).contains("\"AFTER\"") {
                let count = reader.read(&mut chunk).unwrap();
                all.extend_from_slice(&chunk[..count]);
            }
            String::from_utf8(all).unwrap()
        });
        wait_for("room", || (app.ask("PING") == "+PONG\r\n").then_some(()));
        app.ask("AFTER");
        let read = reading.join().unwrap();
        let recorded = read.lines().filter(|line| line.contains("\"ping\"")).count();
        assert_eq!(recorded, served + 1, "each served command has its record");
    }
}

/// The program without anybody who reads its log while it runs.
struct Unread {
    dir: crate::support::TempDir,
    child: std::process::Child,
}

impl Unread {
    fn start(more: &str, log: Stdio) -> Unread {
        let dir = crate::support::TempDir::new();
        let users = dir.write("users.acl", USERS);
        let config = format!(
            "listeners:\n  - bind: unix:{}/redkeep.sock\nupstream:\n  address: unix:{}\nacl:\n  file: {}\n\
             workers: 1\n{more}",
            dir.path().display(),
            Redis::shared().socket().display(),
            users.display(),
        );
        let config = dir.write("redkeep.yaml", config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_redkeep"));
        let child =
            command.arg("run").arg("--config").arg(config).env("RUST_LOG", "trace").stderr(log).spawn();
        Unread { dir, child: child.unwrap() }
    }

    fn client(&self) -> Client {
        let path = self.dir.path().join("redkeep.sock");
        wait_for("the listener", || std::os::unix::net::UnixStream::connect(&path).ok().map(Client::new))
    }

    fn end(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        wait_for("the end", || self.child.try_wait().unwrap());
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_nobody() {
    let audit = "audit:\n  level: all\n  buffer: 16kb\n";
    let mut proxy = Unread::start(audit, Stdio::piped());
    let mut app = proxy.client().login("app", "secret");
    // Each is a line: several times what a pipe takes.
    for _ in 0..2000 {
        assert!(app.ask("GET other").starts_with("-NOPERM"));
    }
    let mut admin = proxy.client().login("admin", "secret");
    assert_eq!(admin.ask("PING"), "+PONG\r\n");
    assert!(counter(&mut admin, "redkeep_audit_dropped") > 1000);
    proxy.end();
}

#[test]
fn audit_records_go_to_standard_error_where_no_file_is_named_and_lines_stay_whole() {
    let dir = crate::support::TempDir::new();
    let path = dir.path().join("stderr");
    let log = std::fs::File::create(&path).unwrap();
    let mut proxy = Unread::start("audit:\n  level: all\n", log.into());
    let mut client = proxy.client().login("app", "secret");
    for _ in 0..9 {
        assert!(client.ask("AUTH app wrong").starts_with("-WRONGPASS"));
    }
    for _ in 0..491 {
        assert!(client.ask("GET other").starts_with("-NOPERM"));
    }
    proxy.end();
    let lines = records(&path);
    let audited = |verdict: &str| lines.iter().filter(|line| line["verdict"] == verdict).count();
    let logged = lines.iter().filter(|line| line["fields"]["message"] == "login failed").count();
    assert_eq!((audited("denied"), audited("login_failed"), logged), (491, 9, 9), "none lost, none torn");
    assert_eq!(lines.iter().filter(|line| line["verdict"] == "closed").count(), 1);
    assert!(lines.iter().any(|line| line["fields"]["message"] == "draining"));
}

#[test]
fn clients_forge_no_lines_and_write_to_no_terminal() {
    for format in ["text", "json"] {
        let dir = crate::support::TempDir::new();
        let path = dir.path().join("stderr");
        let log = std::fs::File::create(&path).unwrap();
        let settings = format!("log: {{format: {format}}}\naudit: {{level: all}}\n");
        let mut proxy = Unread::start(&settings, log.into());
        let evil = "x\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\r\n2026-01-01T00:00:00Z FORGED\n{\"verdict\":\"FORGED\"}\n\
                    \u{7f}\u{8}";
        let mut admin = proxy.client().login("admin", "secret");
        admin.call(&["AUTH", evil, "wrong"]);
        admin.call(&["CLIENT", "SETNAME", evil]);
        admin.call(&[evil]);
        admin.call(&["CONFIG", evil]);
        admin.call(&["SELECT", evil]);
        // What a name of a user may have, as in Redis.
        let name: String = evil.chars().filter(|c| !c.is_whitespace()).collect();
        assert_eq!(text(&admin.call(&["ACL", "SETUSER", &name, "on", ">pw", "+@all"])), "+OK\r\n");
        assert_eq!(text(&admin.call(&["AUTH", &name, "pw"])), "+OK\r\n");
        admin.call(&["ACL", "DELUSER", &name]);
        let mut stranger = proxy.client();
        stranger.send_raw(format!("*1\r\n${evil}\r\n").as_bytes());
        stranger.read_to_end();
        proxy.end();
        let written = std::fs::read(&path).unwrap();
        let shown = String::from_utf8(written).unwrap();
        assert!(shown.contains("FORGED"), "what clients send is shown, but harmlessly");
        for line in shown.lines() {
            assert!(!line.contains(char::is_control), "{line:?}");
            assert!(!line.contains("\"verdict\":\"FORGED\""), "{line:?}");
            let begins = line.starts_with("{\"time\":") || line.starts_with("{\"timestamp\":");
            let text = format == "text" && line.starts_with("20") && !line.starts_with("2026-01-01");
            assert!(begins || text, "{line:?}");
        }
    }
}

#[test]
fn settings_of_the_audit_log_do_not_change_while_redkeep_runs() {
    let proxy = proxy("  level: denied\n");
    let good = std::fs::read_to_string(proxy.config_path()).unwrap();
    std::fs::write(proxy.config_path(), good.replace("level: denied", "level: off")).unwrap();
    let line = proxy.reload("reload refused");
    let place = good.lines().position(|line| line.starts_with("audit")).unwrap() + 1;
    assert!(line.contains(&format!("redkeep.yaml:{place}:1: `audit` cannot change")), "{line}");
}

#[test]
fn an_audit_log_that_cannot_be_opened_is_told_before_the_start() {
    let dir = crate::support::TempDir::new();
    let run = |command: &str, file: &str| {
        let config = format!(
            "listeners:\n  - bind: unix:{0}/redkeep.sock\nupstream:\n  address: unix:{0}/redis.sock\n\
             users:\n  - {{name: default, rules: \"off\"}}\naudit:\n  level: all\n  file: {file}\n",
            dir.path().display(),
        );
        let config = dir.write("redkeep.yaml", config);
        let output = Command::new(env!("CARGO_BIN_EXE_redkeep"))
            .arg(command)
            .arg("--config")
            .arg(config)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run("check", "nowhere/audit.log");
    assert_eq!(code, Some(2));
    assert!(text.contains("redkeep.yaml:9:9: there is no folder for the audit file"), "{text}");
    let (code, text) = run("check", ".");
    assert_eq!(code, Some(2));
    assert!(text.contains("is a folder; name a file in it"), "{text}");
    // Only opening it tells.
    assert!(Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap().success());
    let (code, text) = run("run", "pipe");
    assert_eq!(code, Some(1));
    assert!(text.contains("cannot open the audit log: "), "{text}");
}
