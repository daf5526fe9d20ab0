//! CLIENT LIST, INFO, KILL and UNBLOCK: the same conversation with a real server and through the proxy. Numbers and
//! addresses of clients differ, so a conversation names them by `#b` and `@b`; of the lines about clients, the fields
//! that can be equal are compared.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::client::text;
use crate::support::redis::{all, free_port, redis_6_2};
use crate::support::{Client, Proxy, Redis, TempDir, wait_for};

const USERS: &str = "\
user admin on >secret ~* &* +@all
user app on >secret ~app:* resetchannels &chan:* +@all -@dangerous
user default off
";

/// What is compared of a line about a client.
const FIELDS: [&str; 12] =
    ["name", "flags", "db", "sub", "psub", "ssub", "multi", "cmd", "user", "redir", "lib-name", "lib-ver"];

/// A server, or the proxy, and clients of it by name.
struct Side {
    connect: Box<dyn Fn() -> Client>,
    clients: BTreeMap<String, (Client, String, String)>,
}

impl Side {
    fn new(connect: impl Fn() -> Client + 'static) -> Side {
        Side { connect: Box::new(connect), clients: BTreeMap::new() }
    }

    /// The client of this name, which is logged in as `app` if it begins with that, and else as `admin`.
    fn client(&mut self, name: &str) -> &mut Client {
        let connect = &self.connect;
        let (client, ..) = self.clients.entry(name.to_owned()).or_insert_with(|| {
            let mut client = connect().login(if name.starts_with("app") { "app" } else { "admin" }, "secret");
            let info = text(&client.call(&["CLIENT", "INFO"]));
            let id = field(&info, "id").unwrap();
            let addr = field(&info, "addr").unwrap();
            (client, id, addr)
        });
        client
    }

    /// What one step of the conversation shows.
    fn step(&mut self, step: &str) -> String {
        let (name, line) = step.split_once("> ").unwrap_or_else(|| panic!("no client in `{step}`"));
        self.client(name);
        let line: Vec<String> = line.split(' ').map(|word| self.word(word)).collect();
        let client = self.client(name);
        match &line.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["(closed)"] => text(&client.read_to_end()),
            ["(reply)"] => text(&client.read_reply()),
            ["(blocks)", args @ ..] => {
                client.send(args);
                let id = self.clients[name].1.clone();
                let watcher = self.client("watcher");
                wait_for("a blocked client", || {
                    field(&watcher.ask(&format!("CLIENT LIST ID {id}")), "flags")?.contains('b').then_some(())
                });
                "blocked".to_owned()
            }
            args => comparable(&text(&client.call(args))),
        }
    }

    /// A word of a conversation: `#b` is the number of the client `b`, `@b` its address.
    fn word(&mut self, word: &str) -> String {
        match word.split_at_checked(1) {
            Some(("#", name)) if !name.is_empty() => {
                self.client(name);
                self.clients[name].1.clone()
            }
            Some(("@", name)) if !name.is_empty() => {
                self.client(name);
                self.clients[name].2.clone()
            }
            _ => word.to_owned(),
        }
    }
}

/// The value of `name=` in a line about a client.
fn field(line: &str, name: &str) -> Option<String> {
    let line = line.lines().find(|line| line.contains("addr="))?;
    line.split(' ').find_map(|word| Some(word.split_once('=').filter(|(key, _)| *key == name)?.1.to_owned()))
}

/// A reply; of lines about clients what can be compared, without libraries' names that are empty: 7.0 has none.
pub fn comparable(reply: &str) -> String {
    if !reply.contains("addr=") {
        // The greeting of HELLO has the number of the client.
        let greeting =
            reply.split_once("$2\r\nid\r\n:").map(|(head, tail)| (head, tail.split_once("\r\n").unwrap().1));
        return greeting.map_or_else(|| reply.to_owned(), |(head, tail)| format!("{head}{tail}"));
    }
    let lines = reply.lines().filter(|line| line.contains("addr="));
    let shown = |line: &str| {
        let fields =
            line.split(' ').filter_map(|word| word.split_once('=')).filter(|(key, _)| FIELDS.contains(key));
        let shown = fields.filter(|(key, value)| !key.starts_with("lib-") || !value.is_empty());
        let line = shown.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
        // Valkey shows 0 also after a transaction.
        if line.contains("flags=x") { line } else { line.replace("multi=0", "multi=-1") }
    };
    lines.map(shown).collect::<Vec<_>>().join("\n")
}

/// Has the conversation with the server directly and through the proxy.
pub fn compare(server: &Path, conversation: &[&str]) {
    let dir = TempDir::new();
    let file = dir.write("users.acl", USERS);
    // By TCP, since all clients of a Unix socket have the same address.
    let theirs = free_port();
    let file = file.to_str().unwrap();
    let _oracle = Redis::start_program(server, &["--aclfile", file, "--port", &theirs.to_string()]);
    let redis = Redis::start_program(server, &[]);
    let proxy = Proxy::with_users(&redis, USERS, "");
    let ours = proxy.port(1);
    let mut direct = Side::new(move || Client::tcp(theirs));
    let mut guarded = Side::new(move || Client::tcp(ours));
    for step in conversation {
        assert_eq!(guarded.step(step), direct.step(step), "{server:?}: {step}");
    }
    proxy.assert_no_panic();
}

#[test]
fn clients_are_listed_as_the_server_lists_them() {
    for server in all() {
        compare(
            &server,
            &[
                "a> CLIENT LIST",
                "a> CLIENT INFO",
                "a> CLIENT SETNAME one",
                "app1> SELECT 3",
                "b> SUBSCRIBE x y",
                "b> (reply)",
                "b> PSUBSCRIBE z*",
                "a> CLIENT LIST",
                "app2> MULTI",
                "a> CLIENT LIST ID #app2",
                "app2> GET app:k",
                "app2> SET app:k v",
                "app1> DEL other",
                "a> CLIENT LIST ID #app2 #app1",
                "app2> DISCARD",
                "app2> WATCH app:k",
                "a> CLIENT LIST ID #app2",
                "app2> (blocks) BLPOP app:list 0",
                "a> CLIENT LIST ID #app2",
                "a> RPUSH app:list 1",
                "app2> (reply)",
                "a> CLIENT LIST ID #app2",
                "app1> HELLO 3 SETNAME three",
                "app1> NOSUCH",
                "a> CLIENT LIST ID #app1 #app1",
                "app1> GET",
                "a> CLIENT LIST ID #app1",
                "app1> CONFIG NOSUCH",
                "app1> SCRIPT NOSUCH",
                "a> CLIENT LIST ID #app1",
                "app1> OBJECT ENCODING app:k",
                "a> CLIENT LIST",
                "app1> RESET",
                "app1> AUTH app wrong",
                "a> CLIENT LIST ID #app1",
                "app1> AUTH app secret",
                "app1> CLIENT LIST",
                "a> CLIENT LIST TYPE normal",
                "a> CLIENT LIST TYPE PubSub",
                "a> CLIENT LIST TYPE replica",
                "a> CLIENT LIST TYPE master",
                "b> UNSUBSCRIBE x",
                "b> PUNSUBSCRIBE",
                "a> CLIENT LIST TYPE pubsub",
                "b> UNSUBSCRIBE",
                "a> CLIENT LIST TYPE pubsub",
                "a> CLIENT LIST TYPE foo",
                "a> CLIENT LIST TYPE",
                "a> CLIENT LIST ID",
                "a> CLIENT LIST ID x",
                "a> CLIENT LIST ID 1000000 #a",
                "a> CLIENT LIST ID 0",
                "a> CLIENT LIST ID -1",
                "a> CLIENT LIST FOO",
                "a> CLIENT LIST FOO BAR",
                "a> CLIENT LIST TYPE normal ID #a",
                "a> CLIENT LIST USER app",
                "a> HELLO 3",
                "a> CLIENT NO-EVICT on",
                "a> CLIENT LIST",
                "a> CLIENT NO-EVICT off",
                "a> CLIENT INFO",
            ],
        );
    }
}

#[test]
fn clients_get_the_replies_that_they_want() {
    // Each line goes out at once; what comes is compared as a whole.
    let scripts: &[&[&str]] = &[
        &["CLIENT REPLY ON", "PING"],
        &["CLIENT REPLY foo", "CLIENT REPLY", "PING"],
        &["CLIENT REPLY SKIP", "PING a", "PING b"],
        &["CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "PING a", "PING b"],
        &["CLIENT REPLY SKIP", "CLIENT REPLY ON", "PING b"],
        &["CLIENT REPLY SKIP", "CLIENT REPLY foo", "PING b"],
        &["CLIENT REPLY SKIP", "NOSUCH", "GET other", "GET app:k"],
        &[
            "CLIENT REPLY OFF",
            "SET app:r 1",
            "GET other",
            "CLIENT ID",
            "CLIENT REPLY SKIP",
            "PING",
            "CLIENT REPLY ON",
        ],
        &["CLIENT REPLY OFF", "INCR app:n", "INCR app:n", "CLIENT REPLY ON", "GET app:n", "DEL app:n"],
        &[
            "SET app:r 1",
            "CLIENT REPLY SKIP",
            "GET app:r",
            "PING",
            "GET app:r",
            "CLIENT REPLY OFF",
            "GET app:r",
        ],
        &["CLIENT REPLY OFF", "MULTI", "SET app:r 2", "EXEC", "CLIENT REPLY ON", "GET app:r"],
        &["CLIENT REPLY SKIP", "MULTI", "SET app:r 2", "EXEC"],
        &["CLIENT REPLY OFF", "BLPOP app:none 0.01", "CLIENT REPLY ON", "PING"],
        &[
            "CLIENT REPLY OFF",
            "SUBSCRIBE chan:a",
            "PUBLISH chan:a x",
            "UNSUBSCRIBE",
            "CLIENT REPLY ON",
            "PING",
        ],
        &["CLIENT REPLY OFF", "RESET", "PING", "AUTH app secret", "PING"],
        &["CLIENT NO-EVICT on", "CLIENT NO-EVICT OFF", "CLIENT NO-EVICT x", "CLIENT NO-EVICT"],
    ];
    for server in all() {
        let dir = TempDir::new();
        let file = dir.write("users.acl", USERS);
        let oracle = Redis::start_program(&server, &["--aclfile", file.to_str().unwrap()]);
        let redis = Redis::start_program(&server, &[]);
        let proxy = Proxy::with_users(&redis, USERS, "");
        for script in scripts {
            let answers = [oracle.client(), proxy.plain()].map(|client| {
                let user = if script[0].contains("EVICT") { "admin" } else { "app" };
                let mut client = client.login(user, "secret");
                let lines: String = script.iter().map(|line| format!("{line}\r\n")).collect();
                client.send_raw(lines.as_bytes());
                // RESET cannot be muted.
                client.send_raw(b"RESET\r\nQUIT\r\n");
                text(&client.read_to_end())
            });
            assert_eq!(answers[1], answers[0], "{server:?}: {script:?}");
        }
        proxy.assert_no_panic();
    }
}

#[test]
fn info_is_the_upstreams_with_a_section_about_redkeep_behind_it() {
    for server in all().into_iter().chain(redis_6_2()) {
        let redis = Redis::start_program(&server, &[]);
        let proxy = Proxy::with_users(&redis, USERS, "");
        let mut blocked = proxy.plain().login("app", "secret");
        blocked.send(&["BLPOP", "app:list", "0"]);
        let mut app = proxy.tls().login("admin", "secret");
        wait_for("the blocked client", || app.ask("CLIENT LIST").contains("flags=b").then_some(()));
        for protocol in ["HELLO 2", "HELLO 3"] {
            app.ask(protocol);
            for line in ["INFO", "INFO all", "INFO default", "INFO EVERYTHING"] {
                let info = app.ask(line);
                let (upstream, ours) = info.split_once("\r\n\r\n# Redkeep\r\n").unwrap();
                assert!(
                    upstream.contains("# Server\r\n") && upstream.contains("# Keyspace"),
                    "{server:?}: {line}"
                );
                for field in [
                    format!("redkeep_version:{}", env!("CARGO_PKG_VERSION")),
                    format!("redkeep_process_id:{}", proxy.pid()),
                    "redkeep_connected_clients:2".to_owned(),
                    "redkeep_blocked_clients:1".to_owned(),
                    "redkeep_pubsub_clients:0".to_owned(),
                    "redkeep_users:3".to_owned(),
                ] {
                    assert!(
                        ours.contains(&format!("{field}\r\n")),
                        "{server:?}: {line}: no {field} in {ours}"
                    );
                }
            }
            let alone = app.ask("INFO redkeep");
            assert!(alone.contains("# Redkeep") && !alone.contains("# Server"), "{server:?}: {alone}");
            assert!(!app.ask("INFO server").contains("# Redkeep"), "{server:?}");
        }
        assert_eq!(app.ask("HELLO 2").get(..1), Some("*"));
        assert_eq!(app.ask("INFO a b c").starts_with('-'), redis.client().ask("INFO a b c").starts_with('-'));
        proxy.assert_no_panic();
    }
}

#[test]
fn age_and_idle_time_are_seconds_and_buffers_are_bytes() {
    let proxy = Proxy::standard(Redis::shared());
    let mut idle = proxy.plain().login("app", "secret");
    idle.ask("CLIENT SETNAME idle");
    let mut admin = proxy.tls().login("admin", "secret");
    let mut about = |name: &str, what: &str| {
        let list = admin.ask("CLIENT LIST");
        let line = list.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{list}"));
        field(line, what).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!((about("name=idle", "age"), about("name=idle", "idle")), (0, 0));
    wait_for("a second", || (about("name=idle", "idle") >= 1).then_some(()));
    assert!(about("name=idle", "age") >= 1);
    assert_eq!(idle.ask("PING"), "+PONG\r\n");
    assert_eq!(about("name=idle", "idle"), 0);
    idle.send_raw(b"*2\r\n$3\r\nGET\r\n$900\r\nhalf of a request");
    wait_for("the bytes", || (about("name=idle", "qbuf") == 36).then_some(()));
    assert!(about("name=idle", "fd") > 2);
}

#[test]
fn a_client_that_is_named_very_often_is_not_listed_as_often() {
    let proxy = Proxy::standard(Redis::shared());
    let mut admin = proxy.plain().login("admin", "secret");
    let id = admin.ask("CLIENT ID").trim_matches([':', '\r', '\n']).to_owned();
    let mut list = |count: usize| {
        let args: Vec<&str> = ["CLIENT", "LIST", "ID"].into_iter().chain(vec![&*id; count]).collect();
        text(&admin.call(&args))
    };
    assert_eq!(list(1000).matches(" addr=").count(), 1000, "as Redis does");
    assert_eq!(
        list(200_000),
        "-ERR CLIENT LIST of so many clients by their numbers is not available through redkeep\r\n"
    );
    proxy.assert_no_panic();
}

#[test]
fn clients_are_killed_as_the_server_kills_them() {
    for server in all() {
        compare(
            &server,
            &[
                "a> CLIENT KILL @b",
                "b> (closed)",
                "a> CLIENT KILL 1.2.3.4:5",
                "a> CLIENT KILL ID",
                "a> CLIENT KILL ID #c",
                "c> (closed)",
                "a> CLIENT KILL ID #c",
                "a> CLIENT KILL ID x",
                "a> CLIENT KILL ID 0",
                "a> CLIENT KILL ID -5",
                "a> CLIENT KILL ID 99999 ADDR",
                "a> CLIENT KILL TYPE foo",
                "a> CLIENT KILL USER nosuch",
                "a> CLIENT KILL USER admin SKIPME x",
                "a> CLIENT KILL FOO bar",
                "a> CLIENT KILL MAXAGE x",
                "a> CLIENT KILL MAXAGE 1000000",
                "a> CLIENT KILL MAXAGE -1",
                "a> CLIENT KILL MAXAGE 0",
                "a> CLIENT KILL ADDR x LADDR y",
                "a> CLIENT KILL",
                "d> SUBSCRIBE x",
                "app1> PING",
                "app2> (blocks) BLPOP app:list 0",
                "app3> MULTI",
                "app3> SET app:x 1",
                "a> CLIENT KILL TYPE pubsub",
                "d> (closed)",
                "app1> CLIENT KILL USER app",
                "a> CLIENT KILL USER app",
                "app1> (closed)",
                "app2> (closed)",
                "app3> (closed)",
                "a> GET app:x",
                "a> RPUSH app:list 1",
                "a> LLEN app:list",
                "a> CLIENT KILL ID #a",
                "a> CLIENT KILL ID #e SKIPME no LADDR @e",
                "a> CLIENT KILL ID #e ADDR @e USER admin TYPE normal",
                "e> (closed)",
                "a> CLIENT LIST",
                "a> CLIENT KILL ID #a SKIPME no",
                "a> (closed)",
                "f> CLIENT KILL @f",
                "f> (closed)",
            ],
        );
    }
}

#[test]
fn blocked_clients_are_unblocked_as_the_server_unblocks_them() {
    for server in all() {
        compare(
            &server,
            &[
                "a> CLIENT UNBLOCK x",
                "a> CLIENT UNBLOCK 99999",
                "a> CLIENT UNBLOCK -1",
                "a> CLIENT UNBLOCK #a",
                "a> CLIENT UNBLOCK 99999 FOO",
                "a> CLIENT UNBLOCK x FOO",
                "a> CLIENT UNBLOCK x ERROR",
                "a> CLIENT UNBLOCK 99999 ERROR x",
                "a> CLIENT UNBLOCK 99999 x ERROR",
                "a> CLIENT UNBLOCK",
                "app1> (blocks) BLPOP app:list 0",
                "a> CLIENT UNBLOCK #app1",
                "app1> (reply)",
                "a> CLIENT UNBLOCK #app1",
                "app1> (blocks) BLMOVE app:list app:other LEFT RIGHT 0",
                "a> CLIENT UNBLOCK #app1 ERROR",
                "app1> (reply)",
                "app1> (blocks) XREAD BLOCK 0 STREAMS app:stream $",
                "a> CLIENT UNBLOCK #app1 timeout",
                "app1> (reply)",
                "a> (blocks) WAIT 1 0",
                "b> CLIENT UNBLOCK #a",
                "a> (reply)",
                "app1> CLIENT UNBLOCK #a",
                "a> RPUSH app:list 1",
                "app1> LPOP app:list",
            ],
        );
    }
}

#[test]
fn names_of_clients_have_at_most_1024_bytes_and_the_acl_log_shows_them_whole() {
    let proxy = Proxy::standard(Redis::shared());
    let mut client = proxy.plain().login("app", "secret");
    let (longest, longer) = ("n".repeat(1024), "n".repeat(1025));
    let refused = |what: &str| format!("-ERR {what} cannot be longer than 1024 bytes through redkeep\r\n");
    for (command, what) in [
        ("CLIENT SETNAME", "Client names"),
        ("CLIENT SETINFO lib-name", "lib-name"),
        ("CLIENT SETINFO Lib-Ver", "Lib-Ver"),
    ] {
        assert_eq!(client.ask(&format!("{command} {longest}")), "+OK\r\n");
        assert_eq!(client.ask(&format!("{command} {longer}")), refused(what));
    }
    assert_eq!(client.ask(&format!("HELLO 2 SETNAME {longer}")), refused("Client names"));
    assert_eq!(client.ask("CLIENT GETNAME"), format!("$1024\r\n{longest}\r\n"));
    assert!(client.ask("GET other").starts_with("-NOPERM"));
    let log = proxy.plain().login("admin", "secret").ask("ACL LOG");
    for field in ["name", "lib-name", "lib-ver"] {
        assert!(log.contains(&format!(" {field}={longest}")), "{field}");
    }
}
