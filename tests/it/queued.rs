//! Commands that Redkeep answers itself, inside MULTI, and while a client watches, tracks, subscribes or monitors: the same
//! bytes as by a direct connection.

use std::path::Path;
use std::time::Duration;

use crate::client_commands::comparable;
use crate::support::client::text;
use crate::support::redis::{all, redis_6_2};
use crate::support::{Client, Proxy, Redis, TempDir, wait_for};

const USERS: &str = "\
user default off
user admin on >secret ~* &* +@all
user app on >secret ~app:* resetchannels &app:* +@all -@dangerous
user narrow on >secret ~* &* +@all -get
";

/// How long nothing must come for a conversation to be silent; if it differs then, it may have been a busy machine.
const SILENCE: [Duration; 2] = [Duration::from_millis(120), Duration::from_millis(1500)];

/// One step of a conversation, as the client `a` or, with `b> ` before it, another one: a command and its one reply,
/// `push` for a message, `~ ` before a command whose replies are not known in number.
fn step(a: &mut Client, b: &mut Client, line: &str, silence: Duration) -> String {
    let (client, line) = line.strip_prefix("b> ").map_or((a, line), |line| (b, line));
    let reply = match line.strip_prefix("~ ") {
        Some(line) => {
            client.send(&words(line));
            text(&client.read_until_silent(silence))
        }
        None if line == "push" => text(&client.read_reply()),
        None => text(&client.call(&words(line))),
    };
    without_numbers(&comparable(&reply))
}

/// Without the client's number in greetings, and without the mark of those that come by a Unix socket.
fn without_numbers(reply: &str) -> String {
    let mut parts = reply.split("$2\r\nid\r\n:");
    let first = parts.next().unwrap_or_default().to_owned();
    let all = parts
        .fold(first, |seen, part| seen + "#" + part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    all.replace("flags=U ", "flags=N ").replace("flags=tU ", "flags=t ").replace("flags=xU ", "flags=x ")
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').map(|word| if word == "''" { "" } else { word }).collect()
}

fn conversation(
    connect: impl Fn() -> Client,
    greeting: &str,
    script: &[&str],
    silence: Duration,
) -> Vec<String> {
    let (mut a, mut b) = (connect(), connect());
    b.ask("FLUSHALL");
    a.ask(greeting);
    script.iter().map(|line| step(&mut a, &mut b, line, silence)).collect()
}

/// Has each conversation with `server` directly and through the proxy, in both protocols.
fn compare(server: &Path, greetings: &[&str], scripts: &[&[&str]]) {
    let dir = TempDir::new();
    let file = dir.write("users.acl", USERS);
    let oracle = Redis::start_program(server, &["--aclfile", file.to_str().unwrap()]);
    let redis = Redis::start_program(server, &[]);
    let proxy = Proxy::with_users(&redis, USERS, "");
    for script in scripts {
        for greeting in greetings {
            let both = |silence| {
                let direct = || oracle.client().login("admin", "secret");
                let ours = || proxy.plain().login("admin", "secret");
                (
                    conversation(direct, greeting, script, silence),
                    conversation(ours, greeting, script, silence),
                )
            };
            let [short, long] = SILENCE;
            let same = |(direct, ours): &(Vec<String>, Vec<String>)| direct == ours;
            let (direct, ours) = Some(both(short)).filter(same).unwrap_or_else(|| both(long));
            for ((line, ours), direct) in script.iter().zip(&ours).zip(&direct) {
                assert_eq!(ours, direct, "{server:?}: {greeting}: `{line}` of {script:?}");
            }
        }
    }
    proxy.assert_no_panic();
}

const BOTH: &[&str] = &["HELLO 2", "HELLO 3"];

#[test]
fn queued_commands_of_redkeeps_own_are_answered_in_their_place() {
    let scripts: &[&[&str]] = &[
        &["MULTI", "SELECT 1", "SET k v", "SELECT 99", "SELECT x", "EXEC", "GET k", "SELECT 0", "GET k"],
        &["MULTI", "SELECT 1", "SET k v", "DISCARD", "SET k w", "SELECT 1", "GET k"],
        &["MULTI", "HELLO 3", "HGETALL x", "HELLO 2", "HGETALL x", "HELLO", "EXEC", "HGETALL x", "GET x"],
        &["MULTI", "HELLO 3", "EXEC", "HGETALL x", "ACL WHOAMI", "CLIENT GETNAME"],
        &["MULTI", "HELLO 4", "HELLO x", "HELLO 3 FOO", "GET k", "EXEC", "HGETALL k"],
        &["MULTI", "HELLO 3 AUTH narrow secret SETNAME n", "GET k", "ACL WHOAMI", "EXEC", "CLIENT GETNAME"],
        &["MULTI", "AUTH a b c", "ACL WHOAMI", "EXEC"],
        &[
            "MULTI",
            "GET k",
            "AUTH narrow secret",
            "GET k",
            "SET k 1",
            "ACL WHOAMI",
            "EXEC",
            "ACL WHOAMI",
            "GET k",
        ],
        &[
            "MULTI",
            "AUTH app secret",
            "SELECT 2",
            "SET app:k 1",
            "SET other 1",
            "EXEC",
            "GET app:k",
            "GET other",
        ],
        &[
            "MULTI",
            "AUTH narrow secret",
            "CONFIG GET maxmemory",
            "AUTH app secret",
            "CONFIG GET maxmemory",
            "EXEC",
        ],
        &["MULTI", "CLIENT SETNAME foo", "CLIENT GETNAME", "CLIENT SETNAME a\n", "EXEC", "CLIENT GETNAME"],
        &["MULTI", "CLIENT SETNAME foo", "CLIENT INFO", "EXEC"],
        &["MULTI", "CLIENT SETNAME foo", "SELECT 3", "CLIENT LIST TYPE normal", "EXEC"],
        &[
            "MULTI",
            "CLIENT KILL ID 999999",
            "CLIENT UNBLOCK 999999",
            "CLIENT UNBLOCK x",
            "CLIENT GETREDIR",
            "EXEC",
        ],
        &["MULTI", "~ CLIENT KILL TYPE normal SKIPME no", "PING", "~ EXEC"],
        &["MULTI", "PING", "ACL WHOAMI", "ACL CAT nosuch", "ACL GENPASS x", "EXEC"],
        &["MULTI", "CONFIG GET maxmemory", "INFO commandstats_no", "CONFIG GET port", "EXEC"],
        &["MULTI", "MONITOR", "PING", "EXEC", "PING"],
        &["MULTI", "WAIT 0 0", "UNWATCH", "EXEC"],
        &["MULTI", "SELECT 1", "NOSUCH", "EXEC", "CLIENT INFO"],
        &["MULTI", "SELECT 1", "GET", "SELECT 2", "EXEC", "CLIENT INFO"],
        &[
            "WATCH k",
            "MULTI",
            "SELECT 1",
            "CLIENT SETNAME x",
            "SET z 1",
            "b> SET k 2",
            "EXEC",
            "CLIENT INFO",
            "GET z",
        ],
        &["WATCH k", "MULTI", "SELECT 1", "CLIENT SETNAME x", "SET z 1", "EXEC", "CLIENT INFO", "GET z"],
        &["MULTI", "SELECT 1", "RESET", "AUTH admin secret", "CLIENT INFO", "EXEC"],
        &[
            "MULTI",
            "ACL SETUSER new on >pw ~x resetchannels +get",
            "ACL GETUSER new",
            "ACL DELUSER new",
            "ACL USERS",
            "EXEC",
            "ACL USERS",
        ],
        &[
            "MULTI",
            "CONFIG SET acllog-max-len 7",
            "CONFIG GET acllog-max-len",
            "EXEC",
            "CONFIG SET acllog-max-len 128",
        ],
        &["MULTI", "SET k 1", "ACL LOG RESET", "ACL LOG", "EXEC"],
        &[
            "ACL SETUSER gone on >pw ~* &* +@all",
            "AUTH gone pw",
            "MULTI",
            "ACL DELUSER gone",
            "ACL WHOAMI",
            "~ EXEC",
        ],
        &[
            "ACL SETUSER less on >pw ~* &* +@all",
            "AUTH less pw",
            "MULTI",
            "CLIENT ID",
            "ACL SETUSER less -client",
            "CLIENT SETNAME x",
            "ACL WHOAMI",
            "DISCARD",
            "MULTI",
            "ACL SETUSER less -client",
            "CLIENT SETNAME x",
            "ACL WHOAMI",
            "EXEC",
            "b> ACL DELUSER less",
        ],
    ];
    for server in all() {
        compare(&server, BOTH, scripts);
    }
    if let Some(server) = redis_6_2() {
        // Its lines about clients have other fields.
        let shows = |script: &&[&str]| {
            script.iter().any(|line| line.contains("CLIENT INFO") || line.contains("CLIENT LIST"))
        };
        let others: Vec<&[&str]> = scripts.iter().filter(|script| !shows(script)).copied().collect();
        compare(&server, BOTH, &others);
    }
}

#[test]
fn a_failed_login_in_a_transaction_changes_nothing_but_its_own_element() {
    // Redis 8.2 leaves the element out, so that EXEC's reply has fewer than it announces.
    let script: &[&str] = &[
        "MULTI",
        "AUTH narrow wrong",
        "AUTH secret",
        "GET k",
        "ACL WHOAMI",
        "EXEC",
        "ACL WHOAMI",
        "MULTI",
        "SELECT 1",
        "EXEC",
    ];
    for server in all().into_iter().chain(redis_6_2()) {
        if !server.to_string_lossy().contains("falkordb") {
            compare(&server, BOTH, &[script]);
        }
    }
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, USERS, "");
    let mut app = proxy.tls().login("app", "secret");
    app.ask("MULTI");
    app.ask("AUTH admin wrong");
    app.ask("EXEC");
    let mut admin = proxy.tls().login("admin", "secret");
    let log = admin.ask("ACL LOG");
    assert!(log.contains("\r\nauth\r\n") && log.contains("\r\nmulti\r\n"), "{log}");
    assert_eq!(log.matches("$8\r\nusername\r\n").count(), 1, "{log}");
}

#[test]
fn client_reply_in_a_transaction_takes_the_same_bytes_out_of_its_reply() {
    let scripts: &[&[&str]] = &[
        &["MULTI", "PING", "CLIENT REPLY OFF", "PING", "~ EXEC", "~ PING", "CLIENT REPLY ON", "PING"],
        &["MULTI", "CLIENT REPLY SKIP", "PING", "~ EXEC", "~ PING", "PING"],
        &["MULTI", "PING", "CLIENT REPLY ON", "CLIENT REPLY x", "EXEC", "PING"],
        &["~ CLIENT REPLY OFF", "~ MULTI", "~ PING", "~ CLIENT REPLY ON", "~ PING", "~ EXEC", "~ PING"],
        &["MULTI", "CLIENT SETNAME x", "CLIENT REPLY SKIP", "~ EXEC", "~ PING", "PING"],
    ];
    for server in all() {
        compare(&server, &["HELLO 2"], scripts);
    }
}

#[test]
fn tracking_begins_and_ends_in_a_transaction() {
    let scripts: &[&[&str]] = &[
        &[
            "MULTI",
            "CLIENT TRACKING ON",
            "CLIENT TRACKINGINFO",
            "GET k",
            "CLIENT CACHING YES",
            "EXEC",
            "b> SET k 1",
            "push",
            "PING",
        ],
        &[
            "CLIENT TRACKING ON OPTIN",
            "MULTI",
            "CLIENT CACHING YES",
            "GET k",
            "GET l",
            "EXEC",
            "b> SET k 1",
            "push",
        ],
        &[
            "CLIENT TRACKING ON",
            "GET k",
            "MULTI",
            "CLIENT TRACKING OFF",
            "EXEC",
            "b> SET k 1",
            "PING",
            "CLIENT INFO",
        ],
        &[
            "MULTI",
            "CLIENT TRACKING ON",
            "DISCARD",
            "GET k",
            "b> SET k 1",
            "PING",
            "CLIENT INFO",
            "CLIENT TRACKINGINFO",
        ],
        &[
            "WATCH w",
            "MULTI",
            "CLIENT TRACKING ON",
            "b> SET w 1",
            "EXEC",
            "CLIENT INFO",
            "CLIENT TRACKINGINFO",
        ],
        &[
            "MULTI",
            "CLIENT TRACKING ON BCAST PREFIX a PREFIX ab",
            "EXEC",
            "CLIENT INFO",
            "CLIENT TRACKINGINFO",
        ],
        &[
            "MULTI",
            "CLIENT TRACKING ON",
            "SELECT 1",
            "GET k",
            "EXEC",
            "b> SET k 1",
            "push",
            "GET k",
            "CLIENT INFO",
        ],
        &[
            "HELLO 2",
            "MULTI",
            "HELLO 3",
            "CLIENT TRACKING ON",
            "GET k",
            "EXEC",
            "b> SET k 1",
            "push",
            "GET k",
        ],
        &[
            "CLIENT TRACKING ON",
            "GET k",
            "MULTI",
            "HELLO 2",
            "EXEC",
            "b> SET k 1",
            "GET k",
            "HELLO 3",
            "GET k",
            "b> SET k 2",
            "push",
        ],
    ];
    for server in all() {
        compare(&server, &["HELLO 3"], scripts);
    }
    for server in all() {
        // 6.2 writes the message between the elements.
        compare(
            &server,
            &["HELLO 3"],
            &[&["MULTI", "CLIENT TRACKING ON", "GET k", "SET k 1", "GET k", "~ EXEC", "PING"]],
        );
    }
}

#[test]
fn a_session_with_a_link_of_its_own_changes_database_and_protocol() {
    let scripts: &[&[&str]] = &[
        &["WATCH k", "SELECT 1", "b> SET k 1", "MULTI", "SET z 1", "EXEC", "GET z"],
        &["WATCH k", "SELECT 1", "GET k", "MULTI", "SET z 1", "EXEC", "GET z", "SELECT 0", "GET z"],
        &[
            "WATCH k",
            "SELECT 1",
            "WATCH k",
            "SELECT 0",
            "b> SELECT 1",
            "b> SET k 1",
            "b> SELECT 0",
            "MULTI",
            "PING",
            "EXEC",
        ],
        &["WATCH k", "HELLO 3", "MULTI", "HGETALL z", "EXEC", "HGETALL z"],
        &["WATCH k", "HELLO 3", "b> SET k 1", "MULTI", "HGETALL z", "EXEC", "HGETALL z"],
        &[
            "WATCH k",
            "SELECT 99",
            "SELECT x",
            "HELLO 4",
            "HELLO x",
            "AUTH narrow secret",
            "MULTI",
            "GET k",
            "PING",
            "EXEC",
        ],
        &[
            "CLIENT TRACKING ON",
            "SELECT 1",
            "SET k 1",
            "GET k",
            "SELECT 0",
            "GET k",
            "CLIENT TRACKING OFF",
            "GET k",
        ],
    ];
    for server in all().into_iter().chain(redis_6_2()) {
        compare(&server, BOTH, scripts);
    }
    let resp3: &[&[&str]] = &[
        &[
            "SUBSCRIBE c",
            "SELECT 1",
            "SET k 1",
            "GET k",
            "b> PUBLISH c x",
            "push",
            "HELLO 2",
            "b> PUBLISH c y",
            "push",
            "GET k",
            "SELECT 0",
            "HELLO 3",
            "PING",
            "UNSUBSCRIBE",
            "GET k",
        ],
        &[
            "SUBSCRIBE c",
            "HELLO 3",
            "AUTH narrow secret",
            "GET k",
            "SET k 1",
            "b> PUBLISH c x",
            "push",
            "RESET",
            "PING",
        ],
        &[
            "SUBSCRIBE c",
            "MULTI",
            "HELLO 2",
            "PING",
            "SELECT 1",
            "EXEC",
            "GET k",
            "PING",
            "b> PUBLISH c x",
            "push",
        ],
        &[
            "CLIENT TRACKING ON",
            "GET k",
            "SELECT 1",
            "GET k",
            "b> SET k 1",
            "push",
            "HELLO 2",
            "GET k",
            "b> SET k 2",
            "PING",
            "HELLO 3",
            "GET k",
            "b> SET k 2",
            "push",
            "SELECT 0",
            "GET k",
        ],
        &["SUBSCRIBE c", "HELLO 4", "HELLO 2 FOO", "HELLO 2 SETNAME n", "UNSUBSCRIBE c", "CLIENT GETNAME"],
    ];
    for server in all().into_iter().chain(redis_6_2()) {
        compare(&server, &["HELLO 3"], resp3);
    }
}

#[test]
fn queueing_gains_nobody_a_right() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, USERS, "");
    let mut admin = proxy.tls().login("admin", "secret");
    let mut app = proxy.tls().login("app", "secret");
    let doomed = |app: &mut Client, line: &str| {
        assert_eq!(app.ask("MULTI"), "+OK\r\n");
        let reply = app.ask(line);
        assert!(reply.starts_with("-NOPERM "), "{line}: {reply}");
        assert!(app.ask("EXEC").starts_with("-EXECABORT "), "{line}");
    };
    for line in [
        "ACL SETUSER app +@all ~*",
        "ACL LIST",
        "CLIENT LIST",
        "CLIENT PAUSE 100000",
        "CLIENT KILL TYPE normal",
        "CONFIG GET *",
        "CONFIG SET requirepass x",
        "MONITOR",
    ] {
        doomed(&mut app, line);
    }
    // What is judged at EXEC is judged by who and where the session is then.
    let secret = "SET secret 1";
    assert_eq!(admin.ask(secret), "+OK\r\n");
    for line in ["AUTH app secret", "HELLO 2 AUTH app secret"] {
        admin.ask("MULTI");
        admin.ask(line);
        assert_eq!(admin.ask("GET secret"), "+QUEUED\r\n");
        assert_eq!(admin.ask("CLIENT LIST"), "+QUEUED\r\n");
        let reply = admin.ask("EXEC");
        assert_eq!(reply.matches("-NOPERM ACLs rules changed").count(), 2, "{line}: {reply}");
        assert_eq!(admin.ask("ACL WHOAMI"), "$3\r\napp\r\n");
        assert_eq!(admin.ask("AUTH admin secret"), "+OK\r\n");
    }

    // Rights that are lost between queueing and EXEC: for what Redkeep answers, and for what it forwards.
    assert_eq!(app.ask("MULTI"), "+OK\r\n");
    for line in ["SET app:k 1", "CLIENT SETNAME mine", "SELECT 1", "SET app:k 2", "CLIENT GETNAME"] {
        assert_eq!(app.ask(line), "+QUEUED\r\n");
    }
    assert_eq!(admin.ask("ACL SETUSER app -client|setname -select"), "+OK\r\n");
    let reply = app.ask("EXEC");
    let lost = reply.split("\r\n").filter(|line| line.starts_with("-NOPERM ")).count();
    assert_eq!((lost, reply.ends_with("+OK\r\n$-1\r\n")), (2, true), "{reply}");
    assert_eq!(app.ask("GET app:k"), "$1\r\n2\r\n", "SELECT did not run, so that is database 0");
    assert_eq!(admin.ask("SELECT 1"), "+OK\r\n");
    assert_eq!(admin.ask("EXISTS app:k"), ":0\r\n");

    // With watched keys nothing runs.
    assert_eq!(admin.ask("ACL SETUSER app +@all -@dangerous"), "+OK\r\n");
    app.ask("WATCH app:w");
    app.ask("MULTI");
    app.ask("CLIENT SETNAME mine");
    app.ask("SELECT 1");
    assert_eq!(admin.ask("ACL SETUSER app -select"), "+OK\r\n");
    assert_eq!(app.ask("EXEC"), "*-1\r\n");
    assert_eq!(app.ask("CLIENT GETNAME"), "$-1\r\n");
    proxy.assert_no_panic();
}

#[test]
fn rules_about_databases_are_asked_for_the_database_that_a_queued_select_leads_to() {
    let users =
        "user default off\nuser admin on >secret ~* &* +@all\nuser zero on >secret ~* &* +@all db=0,1\n";
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, users, "");
    let mut admin = proxy.tls().login("admin", "secret");
    let mut zero = proxy.tls().login("zero", "secret");
    zero.ask("MULTI");
    assert_eq!(zero.ask("SELECT 2"), "-NOPERM No permissions to access database\r\n");
    assert!(zero.ask("EXEC").starts_with("-EXECABORT"));
    // Queued while the rules allow it, in a database that they do not allow any more at EXEC.
    zero.ask("MULTI");
    zero.ask("SELECT 1");
    assert_eq!(zero.ask("SET k 1"), "+QUEUED\r\n");
    assert_eq!(admin.ask("ACL SETUSER zero resetdbs db=0"), "+OK\r\n");
    let reply = zero.ask("EXEC");
    assert!(reply.starts_with("*2\r\n-NOPERM ") && reply.ends_with("\r\n+OK\r\n"), "{reply}");
    assert_eq!(zero.ask("GET k"), "$1\r\n1\r\n", "SELECT did not run");
    // Two databases, and a user who may use only the second: what is queued behind AUTH and SELECT is judged there.
    admin.ask("ACL SETUSER one on >secret ~* &* +@all resetdbs db=1");
    admin.ask("MULTI");
    for line in ["AUTH one secret", "SET k 2", "SELECT 1", "SET k 3"] {
        assert_eq!(admin.ask(line), "+QUEUED\r\n");
    }
    let reply = admin.ask("EXEC");
    assert!(reply.starts_with("*4\r\n+OK\r\n-NOPERM ") && reply.ends_with("\r\n+OK\r\n+OK\r\n"), "{reply}");
    assert_eq!(zero.ask("GET k"), "$1\r\n1\r\n");
    proxy.assert_no_panic();
}

#[test]
fn what_cannot_be_queued_is_refused_in_so_many_words() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, USERS, "");
    let mut admin = proxy.tls().login("admin", "secret");
    let refused = |what: &str| format!("-ERR {what} is not available through redkeep\r\n");
    for change in ["ACL SETUSER app -get", "ACL DELUSER app", "ACL LOAD"] {
        admin.ask("MULTI");
        assert_eq!(admin.ask("SET before 1"), "+QUEUED\r\n");
        assert_eq!(admin.ask(change), "+QUEUED\r\n");
        assert_eq!(admin.ask("ACL WHOAMI"), "+QUEUED\r\n");
        for line in ["GET k", "INFO", "CONFIG GET port"] {
            let name = line.split(' ').take(if line.starts_with("CONFIG") { 2 } else { 1 });
            let name = name.collect::<Vec<_>>().join(" ").to_ascii_lowercase();
            assert_eq!(admin.ask(line), refused(&format!("'{name}' behind a change of users inside MULTI")));
        }
        assert!(admin.ask("EXEC").starts_with("-EXECABORT "), "{change}");
    }
    assert!(admin.ask("ACL LIST").contains("user app on"), "nothing of it has run");
    assert_eq!(redis.client().ask("EXISTS before"), ":0\r\n");

    // A queue that takes more than 32 MiB is not kept.
    let value = "v".repeat(1024 * 1024);
    admin.ask("MULTI");
    for _ in 0..33 {
        assert_eq!(text(&admin.call(&["SET", "large", &value])), "+QUEUED\r\n");
    }
    assert_eq!(admin.ask("CLIENT ID"), refused("'client id' in so large a transaction"));
    assert!(admin.ask("EXEC").starts_with("-EXECABORT "));
    admin.ask("MULTI");
    assert_eq!(admin.ask("CLIENT GETNAME"), "+QUEUED\r\n");
    for _ in 0..33 {
        assert_eq!(text(&admin.call(&["SET", "large", &value])), "+QUEUED\r\n");
    }
    let reply = admin.ask("EXEC");
    assert_eq!(reply, format!("*34\r\n$-1\r\n{}", "+OK\r\n".repeat(33)));
    proxy.assert_no_panic();
}

#[test]
fn credentials_of_the_upstream_are_blank_in_transactions_too_and_info_has_its_section() {
    let redis = Redis::start(&["--masterauth", "hidden-from-all"]);
    let proxy = Proxy::with_users(&redis, USERS, "");
    let mut admin = proxy.tls().login("admin", "secret");
    for greeting in BOTH {
        admin.ask(greeting);
        admin.ask("MULTI");
        for line in ["CONFIG GET *", "CONFIG GET masterauth\0", "CONFIG GET *auth", "INFO", "SET k 1"] {
            assert_eq!(admin.ask(line), "+QUEUED\r\n");
        }
        let reply = admin.ask("EXEC");
        assert!(!reply.contains("hidden-from-all"), "{reply}");
        assert!(reply.contains("$10\r\nmasterauth\r\n$0\r\n\r\n"), "{reply}");
        assert!(reply.contains("\r\n# Redkeep\r\n") && reply.ends_with("\r\n+OK\r\n"), "{reply}");
    }
    proxy.assert_no_panic();
}

#[test]
fn nothing_of_redkeeps_own_happens_if_the_upstream_dies_at_exec() {
    let mut redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, USERS, "");
    let mut app = proxy.tls().login("app", "secret");
    app.ask("MULTI");
    app.ask("CLIENT SETNAME mine");
    app.ask("SELECT 1");
    redis.kill();
    wait_for("the end of the link", || {
        proxy.log().iter().any(|line| line.contains("upstream closed the connection")).then_some(())
    });
    let reply = app.ask("EXEC");
    assert_eq!(reply, "-EXECABORT Transaction discarded because of: upstream connection lost\r\n");
    assert_eq!(app.ask("CLIENT GETNAME"), "$-1\r\n");
    assert!(app.ask("CLIENT INFO").contains(" db=0 "));
    proxy.assert_no_panic();
}

#[test]
fn requests_behind_such_an_exec_are_judged_by_what_it_has_changed() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, USERS, "");
    let mut app = proxy.tls().login("admin", "secret");
    wait_for("the upstream's databases", || (app.ask("SELECT 0") == "+OK\r\n").then_some(()));
    // All at once, so that the last ones are there before EXEC is answered.
    let lines =
        "MULTI\r\nAUTH app secret\r\nSELECT 1\r\nEXEC\r\nSET other 1\r\nSET app:k 1\r\nCLIENT GETNAME\r\n";
    app.send_raw(lines.as_bytes());
    let replies: Vec<String> = (0..7).map(|_| text(&app.read_reply())).collect();
    assert_eq!(replies[3], "*2\r\n+OK\r\n+OK\r\n");
    assert!(replies[4].starts_with("-NOPERM "), "{replies:?}");
    assert_eq!(replies[5..], ["+OK\r\n", "$-1\r\n"]);
    let mut direct = redis.client();
    direct.ask("SELECT 1");
    assert_eq!(direct.ask("EXISTS app:k"), ":1\r\n");
    proxy.assert_no_panic();
}

#[test]
fn a_link_that_was_set_to_something_serves_nobody_else() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, USERS, "");
    for round in 0..20 {
        let mut app = proxy.plain().login("app", "secret");
        for line in ["WATCH app:k", "SELECT 5", "SET app:five 1", "UNWATCH", "SELECT 0"] {
            assert_eq!(app.ask(line), "+OK\r\n");
        }
        for line in ["MULTI", "SELECT 6", "SET app:six 1", "EXEC", "SELECT 0"] {
            app.ask(line);
        }
        let mut other = proxy.plain().login("app", "secret");
        other.ask("MULTI");
        other.ask("EXISTS app:five app:six");
        assert_eq!(other.ask("EXEC"), "*1\r\n:0\r\n", "round {round}");
    }
    proxy.assert_no_panic();
}
