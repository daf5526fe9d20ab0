//! Upstreams that have renamed commands themselves (`upstream.renamed_commands`): clients use the original names, and do
//! not learn the others.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::support::proxy::USERS;
use crate::support::redis::{all, redis_6_2};
use crate::support::{Client, Proxy, Redis, TempDir, wait_for};

/// All that Redkeep itself sends but PING, which the tests wait for the server with; and what clients send.
const RENAMED: &[&str] = &[
    "AUTH",
    "BLPOP",
    "CLIENT",
    "COMMAND",
    "CONFIG",
    "DEBUG",
    "DISCARD",
    "EXEC",
    "GET",
    "HELLO",
    "INFO",
    "MONITOR",
    "MULTI",
    "PSYNC",
    "PUBLISH",
    "SELECT",
    "SET",
    "SLOWLOG",
    "SUBSCRIBE",
    "UNWATCH",
    "WATCH",
    "XGROUP",
];

/// What no client and no log may show.
const SECRET: &str = "_7f3a";

fn start(program: &Path) -> Redis {
    let mut args: Vec<String> =
        ["--requirepass", "inner", "--rename-command", "KEYS", ""].map(str::to_owned).into();
    for name in RENAMED {
        args.extend(["--rename-command".to_owned(), (*name).to_owned(), their(name)]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Redis::start_program(program, &args)
}

fn their(name: &str) -> String {
    format!("{name}{SECRET}")
}

fn before(redis: &Redis, names: &str, more: &str) -> Proxy {
    Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        let password = dir.write("password", "inner");
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nacl:\n  file: {}\nlog:\n  format: json\nworkers: 1\n{more}upstream:\n  \
             address: unix:{}\n  password_file: {}\n  connect_timeout: 20s\n  renamed_commands: {names}\n",
            users.display(),
            redis.socket().display(),
            password.display(),
        )
    })
}

fn all_names() -> String {
    let mut names = "{ KEYS: \"\"".to_owned();
    for name in RENAMED {
        write!(names, ", {}: {}", name.to_ascii_lowercase(), their(name)).unwrap();
    }
    names + " }"
}

fn servers() -> Vec<PathBuf> {
    redis_6_2().into_iter().chain(all()).collect()
}

fn direct(redis: &Redis) -> Client {
    let mut client = redis.client();
    assert_eq!(client.ask(&format!("{} inner", their("AUTH"))), "+OK\r\n");
    client
}

#[test]
fn commands_that_the_upstream_has_renamed_are_called_by_their_original_names() {
    for program in servers() {
        let redis = start(&program);
        let more = "enable_debug_command: yes\ncommands:\n  rename: { INFO: about_9 }\n";
        let proxy = before(&redis, &all_names(), more);
        let mut client = Client::tcp(proxy.port(0)).login("admin", "secret");
        let large = "x".repeat(3_000_000);
        assert_eq!(client.call(&["SET", "large", &large]), b"+OK\r\n");
        assert_eq!(direct(&redis).ask("STRLEN large"), ":3000000\r\n");
        assert!(client.call(&["get", "large"]).len() > 3_000_000);
        for (line, expected) in [
            ("SET k 1", "+OK\r\n"),
            ("gEt k", "$1\r\n1\r\n"),
            ("CONFIG SET maxmemory-samples 7", "+OK\r\n"),
            ("config get maxmemory-samples", "*2\r\n$17\r\nmaxmemory-samples\r\n$1\r\n7\r\n"),
            ("SELECT 1", "+OK\r\n"),
            ("GET k", "$-1\r\n"),
            ("SELECT 0", "+OK\r\n"),
            ("WATCH k", "+OK\r\n"),
            ("MULTI", "+OK\r\n"),
            ("GET k", "+QUEUED\r\n"),
            ("SELECT 1", "+QUEUED\r\n"),
            ("SET k 2", "+QUEUED\r\n"),
            ("CLIENT GETNAME", "+QUEUED\r\n"),
            ("EXEC", "*4\r\n$1\r\n1\r\n+OK\r\n+OK\r\n$-1\r\n"),
            ("GET k", "$1\r\n2\r\n"),
            ("MULTI", "+OK\r\n"),
            ("DISCARD", "+OK\r\n"),
            ("RPUSH list x", ":1\r\n"),
            ("BLPOP list 1", "*2\r\n$4\r\nlist\r\n$1\r\nx\r\n"),
            ("DEBUG SLEEP 0", "+OK\r\n"),
        ] {
            assert_eq!(client.ask(line), expected, "{program:?} {line}");
        }
        // Clients have yet another name for it.
        assert!(client.ask("about_9 server").contains("redis_version"), "{program:?}");
        assert!(client.ask("INFO server").starts_with("-ERR unknown command"), "{program:?}");
        assert!(client.ask("COMMAND COUNT").starts_with(':'), "{program:?}");
        let mut subscriber = Client::tcp(proxy.port(0)).login("admin", "secret");
        assert_eq!(subscriber.ask("SUBSCRIBE c"), "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
        assert_eq!(client.ask("PUBLISH c m"), ":1\r\n");
        assert_eq!(subscriber.read_reply(), b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n");
        assert!(client.ask("HELLO 3").starts_with('%'), "{program:?}");
        assert_eq!(client.ask("GET k"), "$1\r\n2\r\n");
        // A client that blocks is ended by a command of Redkeep's own.
        client.send(&["BLPOP", "none", "0"]);
        let mut other = Client::tcp(proxy.port(0)).login("admin", "secret");
        wait_for("the client to block", || other.ask("CLIENT LIST").contains("cmd=blpop").then_some(()));
        let list = other.ask("CLIENT LIST");
        let line = list.lines().find(|line| line.contains("cmd=blpop")).unwrap();
        let id = line.split_once("id=").unwrap().1.split(' ').next().unwrap();
        assert_eq!(other.ask(&format!("CLIENT UNBLOCK {id} ERROR")), ":1\r\n");
        assert!(client.read_reply().starts_with(b"-UNBLOCKED"), "{program:?}");
        proxy.assert_no_panic();
    }
}

#[test]
fn a_client_learns_no_name_of_the_upstream() {
    for program in servers() {
        let redis = start(&program);
        let proxy = before(&redis, &all_names(), "enable_debug_command: yes\n");
        let plain = Redis::start_program(&program, &[]);
        let mut client = Client::tcp(proxy.port(0)).login("admin", "secret");
        direct(&redis).ask(&format!("{} SET slowlog-log-slower-than 0", their("CONFIG")));
        let mut monitor = Client::tcp(proxy.port(0)).login("admin", "secret");
        assert_eq!(monitor.ask("MONITOR"), "+OK\r\n");
        // As an upstream that has renamed nothing says it.
        for line in [
            "CONFIG HELP",
            "CONFIG NOSUCH",
            "CONFIG GET",
            "CONFIG",
            "DEBUG HELP",
            "DEBUG NOSUCH x",
            "XGROUP HELP",
            "XGROUP CREATE k",
            "XGROUP NOSUCH",
            "GET",
            "SLOWLOG HELP",
            "SLOWLOG NOSUCH",
            "COMMAND HELP",
            "SELECT x",
            "SET k v NOSUCH",
            "CONFIG SET nosuch 1",
            "OBJECT HELP",
            "get k",
        ] {
            assert_eq!(client.ask(line), plain.client().ask(line), "{program:?} {line}");
        }
        let denied = client.ask("KEYS *");
        assert!(denied.starts_with("-ERR unknown command"), "{program:?}: {denied}");
        for line in [&format!("{} GET maxmemory", their("CONFIG")), &their("config")] {
            assert!(client.ask(line).starts_with("-ERR unknown command"), "{program:?} {line}");
        }
        assert_eq!(client.ask("MULTI"), "+OK\r\n");
        for line in ["CONFIG HELP", "DEBUG NOSUCH x", "SLOWLOG GET 50", "GET k"] {
            assert_eq!(client.ask(line), "+QUEUED\r\n", "{program:?} {line}");
        }
        let shown = [
            client.ask("EXEC"),
            client.ask("SLOWLOG GET 50"),
            client.ask("INFO all"),
            client.ask("CLIENT LIST"),
            client.ask("COMMAND"),
            client.ask("ACL LOG"),
            client.ask("LATENCY DOCTOR"),
        ];
        for reply in &shown {
            assert!(!reply.to_ascii_lowercase().contains(SECRET), "{program:?}: {reply}");
        }
        assert!(shown[0].starts_with("*4\r\n*"), "{}", shown[0]);
        assert!(shown[1].to_ascii_lowercase().contains("config"), "{program:?}: {}", shown[1]);
        assert_eq!(client.ask("SET last one"), "+OK\r\n");
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains("\"last\"")) {
            lines.push(String::from_utf8(monitor.read_reply()).unwrap());
        }
        let lines = lines.concat();
        assert!(
            lines.contains("\"XGROUP\" \"HELP\"") && lines.contains("\"GET\" \"k\""),
            "{program:?}: {lines}"
        );
        assert!(!lines.to_ascii_lowercase().contains(SECRET), "{program:?}: {lines}");
        let log = proxy.log().join("\n").to_ascii_lowercase();
        assert!(!log.contains(SECRET), "{log}");
    }
}

#[test]
fn a_name_that_the_upstream_does_not_know_is_told_to_the_operator_alone() {
    let redis = Redis::start(&["--rename-command", "CONFIG", "CONFIG_new"]);
    let proxy = Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nacl:\n  file: {}\nlog:\n  format: json\nupstream:\n  address: \
             unix:{}\n  renamed_commands: {{ CONFIG: CONFIG_old, GET: FETCH }}\n",
            users.display(),
            redis.socket().display(),
        )
    });
    let line = proxy.wait_for_log(0, "a name that the upstream does not know");
    assert!(line.contains("\"config\"") || proxy.log().join("").contains("\"command\":\"config\""), "{line}");
    let mut client = Client::tcp(proxy.port(0)).login("admin", "secret");
    assert_eq!(
        client.ask("CONFIG GET port"),
        "-ERR unknown command 'CONFIG', with args beginning with: 'GET' 'port' \r\n"
    );
    assert!(client.ask("GET k").starts_with("-ERR unknown command 'GET'"));
    assert!(!proxy.log().join("\n").contains("CONFIG_old"));
}

#[test]
fn names_that_redkeep_cannot_work_with_are_refused_by_check() {
    let dir = TempDir::new();
    let path = dir.write(
        "redkeep.yaml",
        "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:/x\n  renamed_commands:\n    INFO: \"\"\n    \
         NOSUCH: x\n    GET: SET\n    CONFIG|GET: x_1\n    KEYS: \"\"\nusers:\n  - { name: a, rules: \"on nopass\" }\n",
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_redkeep"))
        .arg("check")
        .arg("--config")
        .arg(path)
        .output();
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    for problem in [
        "redkeep.yaml:6:11: redkeep itself needs `INFO`; give it another name at the upstream instead of none",
        "redkeep.yaml:7:5: no such command `NOSUCH`",
        "redkeep.yaml:8:5: alias `set` is the name of a command",
        "redkeep.yaml:9:5: `CONFIG|GET` is a subcommand",
    ] {
        assert!(said.contains(problem), "no {problem} in\n{said}");
    }
    assert!(!said.contains(":10:"), "{said}");
}

#[test]
fn a_slowlog_that_comes_in_pieces_tells_no_name_of_the_upstream_either() {
    for program in servers() {
        let redis = start(&program);
        let proxy = before(&redis, &all_names(), "");
        let mut client = Client::tcp(proxy.port(0)).login("admin", "secret");
        for line in ["CONFIG SET slowlog-max-len 4000", "CONFIG SET slowlog-log-slower-than 0"] {
            assert_eq!(client.ask(line), "+OK\r\n", "{program:?}: {line}");
        }
        let value = "v".repeat(100);
        (0..2000).for_each(|_| client.send(&["SET", "key", &value]));
        (0..2000).for_each(|_| assert_eq!(client.read_reply(), b"+OK\r\n"));
        let reply = client.ask("SLOWLOG GET 4000").to_ascii_lowercase();
        assert!(reply.len() > 4 * 64 * 1024, "{program:?}: {}", reply.len());
        assert!(!reply.contains(SECRET), "{program:?}");
        assert_eq!(reply.matches("\r\n$3\r\nset\r\n$3\r\nkey\r\n").count(), 2000, "{program:?}");
        assert_eq!(client.ask("GET key"), format!("$100\r\n{value}\r\n"), "{program:?}");
        proxy.assert_no_panic();
    }
}
