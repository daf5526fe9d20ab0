//! The ACL commands, CONFIG of users' parameters and EXEC after a change of rights: each conversation goes to a real server
//! and through the proxy, and both must say the same. What cannot be equal (random passwords, ages, numbers of clients,
//! orders that are random in Redis) is put into one form first; everything else is compared byte for byte.

use std::collections::HashMap;
use std::path::Path;

use redkeep::resp::{Value, decode};

use crate::support::client::text;
use crate::support::redis::{all, installed};
use crate::support::{Client, Proxy, Redis, TempDir, wait_for};

const USERS: &str = "\
user admin on >main ~* &* +@all
user app on >secret ~app:* resetchannels &chan:* +@all -@dangerous
user default on >main ~* &* +@all
";

/// A server with the ACL file and a proxy with the same file before an open one, and a client of each by name.
struct Stage {
    sides: [Side; 2],
    _servers: [Redis; 2],
    proxy: Proxy,
    /// Of the real server.
    file: TempDir,
}

enum Side {
    Direct(std::path::PathBuf, HashMap<String, Client>),
    Guarded(u16, HashMap<String, Client>),
}

impl Side {
    /// The client of this name. It is logged in as the user whom its name begins with: `app`, `app2`.
    fn client(&mut self, name: &str) -> &mut Client {
        let (clients, connect): (_, Box<dyn Fn() -> Client>) = match self {
            Side::Direct(socket, clients) => {
                let socket = socket.clone();
                (
                    clients,
                    Box::new(move || Client::new(std::os::unix::net::UnixStream::connect(&socket).unwrap())),
                )
            }
            Side::Guarded(port, clients) => {
                let port = *port;
                (clients, Box::new(move || Client::tcp(port)))
            }
        };
        clients.entry(name.to_owned()).or_insert_with(|| {
            let client = connect();
            match name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '+') {
                "admin" => client.login("admin", "main"),
                "app" => client.login("app", "secret"),
                _ => client,
            }
        })
    }
}

impl Stage {
    fn new(server: &Path, users: &str) -> Stage {
        let file = TempDir::new();
        let path = file.write("users.acl", users);
        let oracle = Redis::start_program(server, &["--aclfile", path.to_str().unwrap()]);
        let redis = Redis::start_program(server, &[]);
        // As a Redis, which reads its file when it is told to.
        let proxy = Proxy::with_users(&redis, users, "reload: { watch: no }\n");
        let sides = [
            Side::Direct(oracle.socket().to_path_buf(), HashMap::new()),
            Side::Guarded(proxy.port(1), HashMap::new()),
        ];
        Stage { sides, _servers: [oracle, redis], proxy, file }
    }

    /// Both answers to `client> LINE`, each in the form that can be compared. `closed` if there was none.
    fn both(&mut self, step: &str) -> [String; 2] {
        let (name, line) = step.split_once("> ").unwrap_or_else(|| panic!("no client in `{step}`"));
        let args: Vec<String> = line
            .split(' ')
            .map(
                |word| {
                    if word == "''" { String::new() } else { word.replace("\\0", "\0").replace("\\s", " ") }
                },
            )
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.sides.each_mut().map(|side| match side.client(name).try_call(&args) {
            Some(reply) => comparable(line, &reply),
            None => "closed".to_owned(),
        })
    }
}

/// A reply in the one form of all that cannot be equal.
fn comparable(line: &str, reply: &[u8]) -> String {
    let upper = line.to_uppercase();
    let raw = text(reply);
    if upper.starts_with("ACL GENPASS") && !raw.starts_with('-') {
        return format!("{} hexadecimal digits", raw.lines().nth(1).unwrap_or_default().len());
    }
    if upper.starts_with("ACL CAT ") && raw.starts_with('*') {
        return sorted_names(reply);
    }
    if upper.starts_with("ACL LOG") {
        return masked_log(&raw);
    }
    if upper.starts_with("ACL LIST") || upper.starts_with("ACL GETUSER") {
        // 7.0 writes the command rules anew from its bitmap, in random order.
        return raw.split("\r\n").map(sorted_words).collect::<Vec<_>>().join("\r\n");
    }
    if let (true, Some((before, after))) = (upper.starts_with("HELLO"), raw.split_once("$2\r\nid\r\n:")) {
        return format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    raw
}

/// The commands of a category. Redkeep answers CLIENT SETINFO also in front of a 7.0, which has none.
fn sorted_names(reply: &[u8]) -> String {
    let Some(Value::Array(names)) = decode(reply) else { panic!("no list") };
    let mut names: Vec<String> = names
        .iter()
        .map(|name| text(name.as_bytes().unwrap_or_default()).replace("client|setinfo", ""))
        .collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.join(" ")
}

fn sorted_words(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    words.sort_unstable();
    words.join(" ")
}

/// `ACL LOG` without what depends on time and on the connection.
fn masked_log(raw: &str) -> String {
    let mut lines = raw.split("\r\n").peekable();
    let mut shown = Vec::new();
    while let Some(line) = lines.next() {
        shown.push(line.to_owned());
        let values = match line {
            // RESP2 has a bulk string here, RESP3 a double.
            "age-seconds" => 1 + usize::from(lines.peek().is_some_and(|next| next.starts_with('$'))),
            "client-info" => 2,
            "timestamp-created" | "timestamp-last-updated" => 1,
            _ => 0,
        };
        for _ in 0..values {
            let value = lines.next().unwrap_or_default();
            let kind = value.chars().next().filter(|kind| ",:".contains(*kind));
            shown.push(kind.map_or("...".to_owned(), |kind| format!("{kind}...")));
        }
    }
    shown.join(" ")
}

/// Plays the conversation on both sides; every answer must be equal.
fn play(server: &Path, conversation: &[&str]) {
    let mut stage = Stage::new(server, USERS);
    play_on(&mut stage, server, conversation);
}

fn play_on(stage: &mut Stage, server: &Path, conversation: &[&str]) {
    for step in conversation {
        let [theirs, ours] = stage.both(step);
        assert_eq!(theirs, ours, "{}: {step}\nin {conversation:?}\n(left: the server)", server.display());
    }
}

#[test]
fn users_are_made_changed_shown_and_deleted_as_in_redis() {
    for server in all() {
        play(
            &server,
            &[
                "admin> ACL WHOAMI",
                "admin> ACL USERS",
                "admin> ACL LIST",
                "admin> ACL SETUSER carl",
                "admin> ACL GETUSER carl",
                "admin> ACL SETUSER carl on >one >two #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4",
                "admin> ACL SETUSER carl ~a* %R~b* %W~c* &x +get +set +config|get (~s* +mget) (%R~t +ping)",
                "admin> ACL GETUSER carl",
                "admin> ACL LIST",
                "admin> ACL SETUSER carl <one nopass clearselectors",
                "admin> ACL GETUSER carl",
                "admin> ACL SETUSER carl <nosuch",
                "admin> ACL SETUSER carl reset",
                "admin> ACL GETUSER carl",
                "admin> HELLO 3",
                "admin> ACL GETUSER carl",
                "admin> ACL GETUSER admin",
                "admin> ACL GETUSER nosuch",
                "admin> ACL LIST",
                "admin> ACL USERS",
                "admin> ACL WHOAMI",
                "admin> HELLO 2",
                "admin> ACL GETUSER nosuch",
                "admin> ACL DELUSER carl nosuch carl",
                "admin> ACL DELUSER nosuch",
                "admin> ACL DELUSER default",
                "admin> ACL SETUSER dora on",
                "admin> ACL DELUSER dora default",
                "admin> ACL USERS",
                "admin> ACL DELUSER",
                "admin> ACL GETUSER",
                "admin> ACL USERS x",
                "admin> ACL LIST x",
                "admin> ACL",
                "admin> ACL NOSUCH",
                "app> ACL LIST",
                "app> ACL WHOAMI",
                "nobody> ACL LIST",
            ],
        );
    }
}

#[test]
fn setuser_is_all_or_nothing_with_the_errors_of_redis() {
    let mut steps = vec!["admin> ACL SETUSER u on >p ~k +get".to_owned()];
    for rules in [
        "+set +nosuch",
        "~x ~*  ~y",
        "allkeys ~y",
        "&* &y",
        "-@nosuch",
        "+config|nosuch",
        "+get|x|y",
        "+config|get|x",
        "%X~y",
        "%~y",
        "<nosuch",
        "#abc",
        "!abc",
        "(+set",
        "+set)",
        "(+set (~x)",
        "(>pw)",
        "(nosuch)",
        "nosuch",
        ">new off bad",
        "~a\\sb",
        "&a\\0b",
        "+@all -@dangerous allkeys allchannels bad",
    ] {
        steps.push(format!("admin> ACL SETUSER u {rules}"));
        steps.push("admin> ACL GETUSER u".to_owned());
    }
    for name in ["a\\sb", "a\\0b", "u\\tv"] {
        steps.push(format!("admin> ACL SETUSER {name} on"));
    }
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    for server in all() {
        play(&server, &steps);
    }
}

#[test]
fn dry_runs_say_what_redis_says() {
    for server in all() {
        play(
            &server,
            &[
                "admin> ACL SETUSER u on ~k* %R~r* &c* +@all -config -@dangerous (~s* +flushall)",
                "admin> ACL DRYRUN u GET k1",
                "admin> ACL DRYRUN u get x",
                "admin> ACL DRYRUN u SET r1 v",
                "admin> ACL DRYRUN u MGET k1 r1 x y",
                "admin> ACL DRYRUN u CONFIG GET x",
                "admin> ACL DRYRUN u CONFIG",
                "admin> ACL DRYRUN u CONFIG NOSUCH",
                "admin> ACL DRYRUN u config|get x",
                "admin> ACL DRYRUN u NOSUCH x",
                "admin> ACL DRYRUN u GET",
                "admin> ACL DRYRUN u GET a b",
                "admin> ACL DRYRUN u PUBLISH c1 m",
                "admin> ACL DRYRUN u PUBLISH x m",
                "admin> ACL DRYRUN u SUBSCRIBE c1 x",
                "admin> ACL DRYRUN u PSUBSCRIBE c1",
                "admin> ACL DRYRUN u PSUBSCRIBE c*",
                "admin> ACL DRYRUN u FLUSHALL",
                "admin> ACL DRYRUN u AUTH x",
                "admin> ACL DRYRUN u EVAL x 1 k1",
                "admin> ACL DRYRUN u EVAL x 1 x",
                "admin> ACL DRYRUN u EVAL x -1",
                "admin> ACL DRYRUN u ZUNIONSTORE k1 0",
                "admin> ACL DRYRUN u SORT k1 BY x*",
                "admin> ACL DRYRUN nosuch GET k",
                "admin> ACL DRYRUN u",
                "admin> ACL DRYRUN admin DEBUG SLEEP 0",
                "admin> HELLO 3",
                "admin> ACL DRYRUN u get x",
                "admin> ACL DRYRUN u get k1",
                "app> ACL DRYRUN u get k1",
            ],
        );
    }
}

#[test]
fn categories_passwords_and_help_are_those_of_redis() {
    for server in all() {
        let mut steps: Vec<String> = [
            "ACL CAT",
            "ACL CAT nosuch",
            "ACL CAT @read",
            "ACL CAT a b",
            "ACL CAT TRANSACTION",
            "ACL GENPASS",
            "ACL GENPASS 1",
            "ACL GENPASS 5",
            "ACL GENPASS 4096",
            "ACL GENPASS 4097",
            "ACL GENPASS 0",
            "ACL GENPASS -1",
            "ACL GENPASS x",
            "ACL GENPASS 1 2",
            "ACL HELP",
            "ACL HELP x",
        ]
        .iter()
        .map(|line| format!("admin> {line}"))
        .collect();
        let mut client = Stage::new(&server, USERS);
        let Side::Direct(..) = &client.sides[0] else { panic!("the server comes first") };
        let reply = client.sides[0].client("admin").call(&["ACL", "CAT"]);
        let Some(Value::Array(names)) = decode(&reply) else { panic!("no categories") };
        assert!(names.len() >= 21);
        steps.extend(names.iter().map(|name| {
            format!("admin> ACL CAT {}", String::from_utf8_lossy(name.as_bytes().unwrap_or_default()))
        }));
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        play_on(&mut client, &server, &steps);
    }
}

#[test]
fn passwords_that_are_generated_are_never_the_same() {
    let proxy = Proxy::standard(Redis::shared());
    let mut admin = proxy.tls().login("admin", "secret");
    let passwords: std::collections::HashSet<String> = (0..50).map(|_| admin.ask("ACL GENPASS")).collect();
    assert_eq!(passwords.len(), 50);
}

#[test]
fn denials_and_failed_logins_are_logged_and_grouped_as_in_redis() {
    for server in all() {
        play(
            &server,
            &[
                "admin> ACL LOG",
                "app> SET x 1",
                "app> GET x",
                "app> GET x",
                "app> GET app:1",
                "app> MGET app:1 y x",
                "app> PUBLISH x m",
                "app> CONFIG SET x y",
                "app> FLUSHALL",
                "app> FLUSHALL",
                "nobody> AUTH app wrong",
                "nobody> AUTH nosuch wrong",
                "nobody> auth app wrong",
                "nobody> HELLO 3 AUTH app wrong",
                "nobody> GET x",
                "app> MULTI",
                "app> GET x",
                "app> EXEC",
                "app> GET x",
                "app> NOSUCH",
                "app> GET",
                "admin> ACL LOG 100",
                "admin> ACL LOG 2",
                "admin> ACL LOG 0",
                "admin> ACL LOG -1",
                "admin> ACL LOG x",
                "admin> ACL LOG 1 2",
                "admin> ACL LOG RESET x",
                "admin> ACL LOG 99999999999999999999",
                "admin> HELLO 3",
                "admin> ACL LOG",
                "admin> ACL LOG reset",
                "admin> ACL LOG",
                "app> GET x",
                "admin> CONFIG SET acllog-max-len 2",
                "app> GET y",
                "app> GET z",
                "app> GET y",
                "admin> ACL LOG",
                "admin> CONFIG SET acllog-max-len 0",
                "app> GET w",
                "admin> ACL LOG",
                "app> ACL LOG",
            ],
        );
    }
}

#[test]
fn the_log_names_the_client() {
    let proxy = Proxy::standard(Redis::shared());
    let mut app = proxy.tls().login("app", "secret");
    app.ask("CLIENT SETNAME teller");
    assert!(app.ask("GET foreign").starts_with("-NOPERM"));
    let log = proxy.tls().login("admin", "secret").ask("ACL LOG");
    for part in [" name=teller ", " cmd=get ", " user=app ", "id=", " addr=127.0.0.1:"] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
}

#[test]
fn sessions_of_deleted_users_end_also_when_the_name_is_given_again() {
    for server in all() {
        play(
            &server,
            &[
                "app> PING",
                "app2> PING",
                "admin> ACL DELUSER app",
                "app> PING",
                "admin> ACL SETUSER app on >secret ~* +@all",
                "app2> PING",
                "app3> PING",
                "admin> ACL SETUSER app off",
                "app3> PING",
                "admin> ACL SETUSER app resetpass resetkeys -@all",
                "app3> GET x",
                "admin2> ACL DELUSER admin",
                "admin2> PING",
            ],
        );
    }
}

#[test]
fn subscribers_who_lose_a_channel_are_closed_and_no_others() {
    for server in all() {
        play(
            &server,
            &[
                "app> SUBSCRIBE chan:1",
                "app2> SUBSCRIBE chan:2",
                "app3> PSUBSCRIBE chan:*",
                "app4> HELLO 3",
                "app4> SUBSCRIBE chan:1",
                "app5> PING",
                // More rights, or other ones, close nobody.
                "admin> ACL SETUSER app -@all +ping +get",
                "app> PING",
                "app3> PING",
                "admin> ACL SETUSER app +@all &more",
                "app> PING",
                // What a wider pattern still covers is kept; a pattern must stand there literally.
                "admin> ACL SETUSER app resetchannels &chan:1 &c*",
                "app> PING",
                "app2> PING",
                "app3> PING",
                "admin> ACL SETUSER app resetchannels &chan:2",
                "app> PING",
                "app2> PING",
                "app4> PING",
                "app5> PING",
                "admin> ACL SETUSER app off",
                "app2> PING",
                "admin> ACL DELUSER app",
                "app2> PING",
                "app5> PING",
            ],
        );
    }
}

#[test]
fn a_pipeline_sees_the_rules_that_it_changes_itself() {
    let mut stage = Stage::new(&installed(), USERS);
    let sent: Vec<Vec<&str>> =
        ["ACL SETUSER admin -ping", "PING", "ACL SETUSER admin +ping", "PING", "ACL DELUSER admin", "PING"]
            .iter()
            .map(|line| line.split(' ').collect())
            .collect();
    let replies = stage.sides.each_mut().map(|side| {
        let client = side.client("admin");
        let mut wire = Vec::new();
        for args in &sent {
            wire.extend_from_slice(redkeep::resp::RequestBuf::from_args(args).as_request().wire());
        }
        client.send_raw(&wire);
        text(&client.read_to_end())
    });
    assert_eq!(replies[0], replies[1]);
    assert_eq!(replies[1].lines().count(), 5, "{}", replies[1]);
}

#[test]
fn exec_judges_again_what_was_queued_under_other_rules() {
    for server in all() {
        play(
            &server,
            &[
                "admin> ACL SETUSER u on nopass ~* &* +@all",
                "u> AUTH u x",
                "u> MULTI",
                "u> SET a 1",
                "u> PUBLISH c 1",
                "u> GET b",
                "u> CONFIG GET maxmemory",
                "u> LRANGE none 0 -1",
                "admin> ACL SETUSER u resetkeys ~a ~none resetchannels -config",
                "u> EXEC",
                "u> GET a",
                "admin> ACL LOG",
                // Nothing is denied.
                "u> MULTI",
                "u> INCR a",
                "admin> ACL SETUSER u +config",
                "u> EXEC",
                // All is denied.
                "u> MULTI",
                "u> INCR a",
                "admin> ACL SETUSER u -incr",
                "u> EXEC",
                "u> GET a",
                // EXEC itself.
                "u> MULTI",
                "u> GET a",
                "admin> ACL SETUSER u -exec",
                "u> EXEC",
                "u> DISCARD",
                // Doomed before.
                "admin> ACL SETUSER u +exec",
                "u> MULTI",
                "u> GET forbidden",
                "admin> ACL SETUSER u -get",
                "u> EXEC",
                "u> PING",
            ],
        );
    }
}

#[test]
fn a_queue_that_the_upstream_refused_is_not_executed_after_a_change() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let (mut server, mut admin) = (redis.client(), proxy.tls().login("admin", "secret"));
    assert_eq!(admin.ask("ACL SETUSER u on nopass ~* +@all"), "+OK\r\n");
    let mut client = proxy.tls().login("u", "x");
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    assert_eq!(client.ask("DEL gone"), "+QUEUED\r\n");
    // Refused by the upstream while it queues, for a reason that the proxy does not know.
    assert_eq!(server.ask("CONFIG SET maxmemory 1"), "+OK\r\n");
    assert!(client.ask("SET k 1").starts_with("-OOM"));
    assert_eq!(server.ask("CONFIG SET maxmemory 0"), "+OK\r\n");
    assert_eq!(admin.ask("ACL SETUSER u -del"), "+OK\r\n");
    assert_eq!(client.ask("EXEC"), "-EXECABORT Transaction discarded because of previous errors.\r\n");
    assert_eq!(client.ask("GET k"), "$-1\r\n");
}

#[test]
fn load_and_save_go_through_the_acl_file() {
    for server in all() {
        let mut stage = Stage::new(&server, USERS);
        play_on(
            &mut stage,
            &server,
            &[
                "admin> ACL SETUSER guest on >guest ~g* resetchannels +@read",
                "admin> ACL SAVE",
                "admin> ACL SETUSER guest ~more",
                "admin> ACL SETUSER other on",
                "admin2> ACL LOAD",
                "admin+> ACL LIST",
                "admin+> ACL LOAD x",
                "app> ACL SAVE",
                "app> ACL LOAD",
            ],
        );
        let files = [stage.file.path(), stage.proxy.dir.path()]
            .map(|folder| std::fs::read_to_string(folder.join("users.acl")).unwrap());
        let [theirs, ours] = files.map(|file| file.lines().map(sorted_words).collect::<Vec<_>>());
        assert_eq!(theirs, ours, "{}", server.display());
    }
}

#[test]
fn a_broken_file_changes_nothing() {
    let mut stage = Stage::new(&installed(), USERS);
    let broken = USERS.replace("user app on", "user app onn");
    stage.file.write("users.acl", &broken);
    stage.proxy.dir.write("users.acl", &broken);
    let [theirs, ours] = stage.both("admin> ACL LOAD");
    for (reply, line) in [(&theirs, "users.acl:2"), (&ours, "users.acl:2:")] {
        assert!(reply.starts_with("-ERR ") && reply.contains(line), "{reply}");
        assert!(
            reply.ends_with(
                "WARNING: ACL errors detected, no change to the previously active ACL rules was performed\r\n"
            ),
            "{reply}"
        );
    }
    play_on(&mut stage, &installed(), &["admin> ACL LIST", "app> GET app:x"]);
}

#[test]
fn load_ends_the_sessions_of_users_that_are_gone() {
    let mut stage = Stage::new(&installed(), USERS);
    play_on(
        &mut stage,
        &installed(),
        &["admin> PING", "app> PING", "admin> ACL SETUSER guest on nopass ~* +@all"],
    );
    let guarded = &mut stage.sides[1];
    assert_eq!(guarded.client("guest").ask("AUTH guest x"), "+OK\r\n");
    assert_eq!(guarded.client("admin").ask("ACL LOAD"), "+OK\r\n");
    assert_eq!(text(&guarded.client("guest").read_to_end()), "", "closed without being asked");
    assert_eq!(guarded.client("app").ask("PING"), "+PONG\r\n", "who stays is not disturbed");
}

#[test]
fn config_shows_and_sets_what_is_about_our_users() {
    for server in all() {
        play(
            &server,
            &[
                "admin> CONFIG GET acl-pubsub-default",
                "admin> CONFIG GET acllog-max-len",
                "admin> CONFIG SET acllog-max-len 7",
                "admin> CONFIG GET acllog-max-len",
                "admin> CONFIG SET acllog-max-len x",
                "admin> CONFIG SET acllog-max-len -1",
                "admin> CONFIG SET acl-pubsub-default allchannels",
                "admin> CONFIG GET acl-pubsub-default",
                "admin> CONFIG SET acl-pubsub-default nosuch",
                "admin> CONFIG SET aclfile x",
                "admin> CONFIG SET requirepass",
                "admin> CONFIG SET requirepass a requirepass b",
                "admin> CONFIG GET masterauth",
                "admin> CONFIG GET nosuch",
                "admin> CONFIG GET maxmemory",
                "admin> HELLO 3",
                "admin> CONFIG GET maxmemory",
                "admin> CONFIG GET acllog-max-len",
                "admin> HELLO 2",
                "admin> ACL SETUSER loud on",
                "admin> ACL GETUSER loud",
                "admin> CONFIG SET acl-pubsub-default resetchannels acllog-max-len 9",
                "admin> CONFIG GET acl-pubsub-default",
                "nobody> AUTH main",
                "admin> CONFIG SET requirepass changed",
                "nobody> PING",
                "nobody2> AUTH main",
                "nobody2> AUTH changed",
                "admin> CONFIG SET requirepass ''",
                "nobody3> PING",
                "nobody3> AUTH x",
                "app> CONFIG GET requirepass",
                "app> CONFIG SET requirepass x",
            ],
        );
    }
}

#[test]
fn no_config_get_shows_the_upstreams_credentials() {
    const SECRET: &str = "very-secret-of-the-upstream";
    let redis = Redis::start(&["--requirepass", SECRET, "--masterauth", SECRET]);
    let proxy = Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        let password = dir.write("password", SECRET);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\n  password_file: {}\nacl:\n  file: {}\n",
            redis.socket().display(),
            password.display(),
            users.display(),
        )
    });
    let mut admin = Client::tcp(proxy.port(0)).login("admin", "main");
    for protocol in ["HELLO 2", "HELLO 3"] {
        admin.ask(protocol);
        for pattern in [
            "requirepass",
            "*",
            "*pass*",
            "masterauth requirepass",
            "REQUIREPASS",
            "[mr]*",
            "[^Z-a]equirepass",
        ] {
            let reply = admin.ask(&format!("CONFIG GET {pattern}"));
            assert!(!reply.contains(SECRET), "{pattern}: {reply}");
            assert!(!reply.starts_with('-'), "{pattern}: {reply}");
        }
        assert!(admin.ask("CONFIG GET *").contains("maxmemory"));
    }
    admin.ask("HELLO 2");
    assert_eq!(admin.ask("CONFIG GET requirepass"), "*2\r\n$11\r\nrequirepass\r\n$3\r\n***\r\n");
    assert!(admin.ask("CONFIG SET masterauth x").starts_with("-NOPERM the upstream's credentials"));
    assert_eq!(admin.ask("MULTI"), "+OK\r\n");
    assert_eq!(admin.ask("CONFIG GET *"), "+QUEUED\r\n");
    assert_eq!(admin.ask("CONFIG GET [^Z-a]equirepass"), "+QUEUED\r\n");
    let reply = admin.ask("EXEC");
    assert_eq!(reply.matches("$11\r\nrequirepass\r\n$3\r\n***\r\n").count(), 2, "{reply}");
    assert!(!reply.contains(SECRET), "{reply}");
}

#[test]
fn without_an_acl_file_load_and_save_say_so() {
    let proxy = Proxy::start(|_, _| {
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\nusers:\n  - {{name: admin, rules: \"on nopass ~* &* +@all\"}}\n",
            Redis::shared().socket().display()
        )
    });
    let mut admin = Client::tcp(proxy.port(0)).login("admin", "x");
    let mut server = Redis::shared().client();
    for line in ["ACL LOAD", "ACL SAVE"] {
        assert_eq!(admin.ask(line), server.ask(line));
    }
    assert_eq!(admin.ask("CONFIG GET aclfile"), "*2\r\n$7\r\naclfile\r\n$0\r\n\r\n");
}

#[test]
fn a_change_reaches_the_sessions_of_all_workers() {
    let proxy = Proxy::standard(Redis::shared());
    let mut sessions: Vec<Client> = (0..8).map(|_| proxy.tls().login("app", "secret")).collect();
    let mut admin = proxy.tls().login("admin", "secret");
    assert_eq!(admin.ask("ACL SETUSER app resetkeys ~new:*"), "+OK\r\n");
    for session in &mut sessions {
        assert!(session.ask("GET app:x").starts_with("-NOPERM"), "at the next command");
        assert_eq!(session.ask("GET new:x"), "$-1\r\n");
    }
    assert_eq!(admin.ask("ACL DELUSER app"), ":1\r\n");
    for session in &mut sessions {
        wait_for("the end of the session", || session.try_call(&["PING"]).is_none().then_some(()));
    }
}
