//! `redkeep explain`: the verdict without a connection, who decided, and rules that really turn it, also in Redis.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use redkeep::acl::{Defaults, Dialect, User, parse_rules};
use redkeep::command::{CommandTable, reported};
use redkeep::policy::{Gates, Policy, Suggestion};
use redkeep::resp::{RequestBuf, Value};

use crate::support::random::Random;
use crate::support::{Client, Proxy, Redis, TempDir};

/// The hash of `pass`.
const USERS: &str = "\
user default off
user app on #d74ff0ee8da3b9806b18c877dbf29bbde50b5bd8e4dad7a3a725000feb82e8f1 ~app:* %R~shared:* &app:* +@all -@dangerous
user many on >pass ~a +get (+set ~b) (+@read ~c*)
user admin on nopass ~* &* +@all
user gone off ~* +@read
";

/// A configuration with [`USERS`] and renames, and what the program says about it.
struct Desk(TempDir);

struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Desk {
        let dir = TempDir::new();
        dir.write("users.acl", USERS);
        dir.write(
            "redkeep.yaml",
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:/nosuch\nacl:\n  file: users.acl\n\
             commands:\n  rename: { KEYS: \"\", FLUSHALL: wipe_9 }\n",
        );
        Desk(dir)
    }

    fn ask_bytes(&self, user: &[u8], args: &[&[u8]]) -> Answer {
        run(self.0.path(), &[], user, args)
    }

    /// The words of a line, split at spaces.
    fn ask(&self, user: &str, line: &str) -> Answer {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.ask_bytes(user.as_bytes(), &args)
    }
}

fn run(folder: &std::path::Path, options: &[&str], user: &[u8], args: &[&[u8]]) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_redkeep"))
        .args(["explain", "--config", "redkeep.yaml", "--user"])
        .arg(OsStr::from_bytes(user))
        .args(options)
        .arg("--")
        .args(args.iter().map(|arg| OsStr::from_bytes(arg)))
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Answer { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn an_allowed_command_is_explained_with_exit_code_0() {
    let answer = Desk::new().ask("app", "get app:1");
    assert_eq!(answer.code, Some(0));
    assert_eq!(answer.err, "");
    assert_eq!(
        answer.out,
        "allow

command     get
categories  @read @string @fast
key         `app:1` (argument 1): read
user        app

root: allows
  command      allowed by +@all
  key `app:1`  allowed by ~app:*

to deny it, add to the rules of app:
  -get
"
    );
}

#[test]
fn a_denied_key_is_explained_for_every_selector_with_exit_code_1() {
    let answer = Desk::new().ask("many", "SET c1 x");
    assert_eq!(answer.code, Some(1));
    assert_eq!(
        answer.out,
        "deny: (error) NOPERM No permissions to access a key

command     set
categories  @write @string @slow
key         `c1` (argument 1): write
user        many

root: denies
  command   denied, since no rule allows it
  key `c1`  denied, no pattern matches; patterns: ~a

selector 1: denies
  command   allowed by +set
  key `c1`  denied, no pattern matches; patterns: ~b

selector 2: denies
  command   denied, since no rule allows it
  key `c1`  allowed by ~c*

to allow it, add to the rules of many:
  +set %W~c1
or, to allow as little else as possible:
  (+set %W~c1)
"
    );
}

#[test]
fn each_kind_of_denial_names_what_decided_and_what_would_help() {
    let desk = Desk::new();
    for (user, line, first, named, advice) in [
        (
            "app",
            "KEYS2 x",
            "ERR unknown command 'KEYS2', with args beginning with: 'x' ",
            "does not know the command",
            "no rule of a user can allow it",
        ),
        (
            "app",
            "CONFIG SET maxmemory 1",
            "NOPERM User app has no permissions to run the 'config|set' command",
            "denied by -@dangerous",
            "\n  +config|set\n",
        ),
        (
            "many",
            "DEL a",
            "NOPERM User many has no permissions to run the 'del' command",
            "no rule allows it",
            "\n  +del\n",
        ),
        (
            "app",
            "SET shared:1 x",
            "NOPERM No permissions to access a key",
            "%R~shared:* matches, but does not allow to write",
            "\n  %W~shared:1\n",
        ),
        (
            "app",
            "PUBLISH news x",
            "NOPERM No permissions to access a channel",
            "patterns: &app:*",
            "\n  &news\n",
        ),
        (
            "app",
            "FUNCTION LOAD x",
            "NOPERM functions are loaded and deleted",
            "what is loaded runs later as whoever calls it",
            "\n  +@all ~* &*\n",
        ),
        (
            "admin",
            "KEYS *",
            "ERR unknown command 'KEYS', with args beginning with: '*' ",
            "`commands.rename` in the configuration disables",
            "no rule of a user can allow it",
        ),
        (
            "admin",
            "FLUSHALL",
            "ERR unknown command 'FLUSHALL', with args beginning with: ",
            "renames the command to `wipe_9`",
            "no rule of a user can allow it",
        ),
        (
            "app",
            "WIPE_9",
            "NOPERM User app has no permissions to run the 'flushall' command",
            "flushall, which clients call `WIPE_9`",
            "\n  +flushall\n",
        ),
        (
            "admin",
            "DEBUG SLEEP 1",
            "ERR DEBUG command not allowed",
            "DEBUG is refused to everyone",
            "no rule of a user can allow it",
        ),
        (
            "admin",
            "CONFIG SET dir /",
            "ERR CONFIG SET failed",
            "CONFIG SET of `dir` is refused to everyone",
            "no rule of a user can allow it",
        ),
        (
            "admin",
            "CONFIG SET masterauth x",
            "NOPERM the upstream's credentials",
            "name other parameters",
            "no rule of a user can allow it",
        ),
        (
            "admin",
            "CONFIG NOSUCH",
            "ERR unknown subcommand 'NOSUCH'. Try CONFIG HELP.",
            "that subcommand of `config`",
            "no rule of a user can allow it",
        ),
        (
            "admin",
            "ASKING",
            "ERR 'asking' is not available through redkeep",
            "links to the upstream are shared",
            "no rule of a user can allow it",
        ),
        (
            "app",
            "CLIENT TRACKING ON BCAST",
            "NOPERM CLIENT TRACKING with BCAST",
            "BCAST tells the names of all keys",
            "to allow it",
        ),
        (
            "app",
            "GET",
            "ERR wrong number of arguments for 'get' command",
            "`get` takes 2 words",
            "no rule of a user can allow it",
        ),
        ("app", "SORT_RO app:1 BY x*", "NOPERM User app has", "leads to any key", "\n  +sort_ro %R~*\n"),
        (
            "gone",
            "SET a x",
            "NOPERM User gone has",
            "the user is off, so nobody can log in as it",
            "\n  +set\n",
        ),
    ] {
        let answer = desk.ask(user, line);
        assert_eq!(answer.code, Some(1), "{line}: {}", answer.out);
        assert!(answer.out.starts_with(&format!("deny: (error) {first}")), "{line}: {}", answer.out);
        assert!(answer.out.contains(named), "{line}: no `{named}` in\n{}", answer.out);
        assert!(answer.out.contains(advice), "{line}: no `{advice}` in\n{}", answer.out);
    }
    let http = desk.ask("app", "POST /");
    assert!(http.out.starts_with("deny: the connection is closed without a reply\n"), "{}", http.out);
    assert_eq!(http.code, Some(1));
}

#[test]
fn each_kind_of_permission_is_explained() {
    let desk = Desk::new();
    for (user, line, parts) in [
        (
            "many",
            "GET c1",
            &[
                "root: denies",
                "selector 2: allows",
                "\n  clearselectors (~b resetchannels -@all +set) (~c* resetchannels -@all +@read -get)\n",
            ][..],
        ),
        ("admin", "wipe_9", &["command     flushall, which clients call `wipe_9`", "\n  -flushall\n"]),
        ("many", "RESET", &["allowed, and no rule can deny it", "no rule of a user can deny it"]),
        ("app", "CLIENT ID", &["client|id, answered by redkeep itself", "\n  -client|id\n"]),
        ("gone", "GET x", &["the user is off", "allowed by +@read"]),
    ] {
        let answer = desk.ask(user, line);
        assert_eq!(answer.code, Some(0), "{line}: {}", answer.out);
        for part in parts {
            assert!(answer.out.contains(part), "{line}: no `{part}` in\n{}", answer.out);
        }
    }
}

#[test]
fn nothing_reaches_the_terminal_raw_and_no_password_is_shown() {
    let desk = Desk::new();
    let key = b"\x1b]0;owned\x07\x9b2J\xff \xe2\x80\xaeb*";
    for args in [&[b"GET".as_slice(), key][..], &[key, key], &[b"CONFIG", key], &[b"PUBLISH", key, b"x"]] {
        for user in [b"app".as_slice(), b"many", key] {
            let Answer { out, err, .. } = desk.ask_bytes(user, args);
            for text in [out, err] {
                let raw = |char: char| (char.is_control() && char != '\n') || char == '\u{202e}';
                assert!(!text.contains(raw), "{text:?}");
                assert!(!text.contains("d74ff0"), "{text}");
            }
        }
    }
    let denied = desk.ask_bytes(b"app", &[b"GET", key]).out;
    assert!(denied.contains(r"`\x1b]0;owned\x07\x9b2J\xff \xe2\x80\xaeb*`"), "{denied}");
    assert!(denied.contains("\n  %R~?]0;owned??2J?????b\\*\n"), "{denied}");
}

#[test]
fn an_unknown_user_or_a_broken_configuration_has_exit_code_2() {
    let desk = Desk::new();
    let answer = desk.ask("ap", "GET x");
    assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""));
    let expected = "redkeep: no user `ap` in redkeep.yaml; write `app`; users are `admin`, `app`, `default`, `gone`, `many`\n";
    assert_eq!(answer.err, expected);
    let far = desk.ask("payroll", "GET x").err;
    assert!(far.starts_with("redkeep: no user `payroll` in redkeep.yaml; users are"), "{far}");

    desk.0.write("users.acl", "user default off\nuser app on +nosuch\nuser b onn\n");
    let broken = desk.ask("app", "GET x");
    assert_eq!((broken.code, broken.out.as_str()), (Some(2), ""));
    assert!(
        broken.err.contains("users.acl:2:13: ") && broken.err.contains("users.acl:3:8: "),
        "{}",
        broken.err
    );

    for args in [&["explain"][..], &["explain", "--user", "app"], &["explain", "--user", "app", "GET", "x"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_redkeep")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
    let wrong = run(desk.0.path(), &["--upstream-version", "new"], b"app", &[b"GET", b"x"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("write two numbers, such as 7.0"), "{}", wrong.err);
}

#[test]
fn help_has_an_example_and_the_exit_codes() {
    let output = Command::new(env!("CARGO_BIN_EXE_redkeep")).args(["explain", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for part in ["redkeep explain --config redkeep.yaml --user app -- GET other:1", "0 allowed, 1 denied, 2"]
    {
        assert!(help.contains(part), "{help}");
    }
}

/// The first line is what a client of the running proxy gets, and the exit code tells whether it gets it.
#[test]
fn the_reply_foretold_is_the_reply_given() {
    let redis = Redis::shared();
    let proxy =
        Proxy::with_users(redis, crate::support::proxy::USERS, "commands:\n  rename: { KEYS: \"\" }\n");
    for user in ["app", "reader", "admin"] {
        let mut client = proxy.plain().login(user, "secret");
        for line in [
            "GET app:1",
            "GET other",
            "SET app:1 x",
            "MGET app:1 x",
            "PUBLISH news x",
            "PUBLISH app:x x",
            "CONFIG SET masterauth x",
            "CONFIG SET dir /",
            "CONFIG GET maxmemory",
            "CONFIG NOSUCH",
            "KEYS *",
            "NOSUCH a b",
            "GET",
            "FUNCTION LOAD x",
            "DEBUG SLEEP 0",
            "SUBSCRIBE a",
            // Not a subscriber any more.
            "UNSUBSCRIBE a",
            "CLIENT KILL x",
            "SORT app:1 BY x*",
            "OBJECT FREQ app:1",
            "PING",
        ] {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let answer = run(proxy.dir.path(), &["--upstream-version", "7.0"], user.as_bytes(), &args);
            let reply = client.ask(line);
            let first = answer.out.lines().next().unwrap();
            match first.strip_prefix("deny: (error) ") {
                Some(text) => {
                    assert_eq!((reply, answer.code), (format!("-{text}\r\n"), Some(1)), "{user}: {line}");
                }
                None => {
                    assert_eq!((first, answer.code), ("allow", Some(0)), "{user}: {line}");
                    assert!(!reply.starts_with("-NOPERM"), "{user}: {line}: {reply}");
                }
            }
        }
    }
}

// === rules that turn the verdict, also in Redis ===

const GRANTS: &[&str] = &[
    "+@all",
    "-@all",
    "+@read",
    "+@write",
    "-@dangerous",
    "-@write",
    "+@pubsub",
    "-@connection",
    "+get",
    "-get",
    "+set",
    "+mget",
    "-config",
    "+config|get",
    "-config|set",
    "+select|0",
    "+flushall",
    "-client|id",
    "resetkeys",
    "~*",
    "%R~*",
    "%W~a*",
    "%R~a",
    "~a",
    "~b",
    "~?",
    "&*",
    "&a",
    "&a*",
];

fn grants(random: &mut Random) -> Vec<String> {
    (0..random.below(6)).map(|_| random.pick(GRANTS).to_owned()).collect()
}

fn word(random: &mut Random) -> Vec<u8> {
    const BYTES: &[u8] = b"aabb:*?[]^-\\)('\"~&%+@|# \t\x1b\xff\xc3\xbc";
    match random.below(3) {
        0 => random.pick(&["a", "b", "ab", "", "*"]).into(),
        _ => (0..=random.below(5)).map(|_| BYTES[random.below(BYTES.len())]).collect(),
    }
}

fn command(random: &mut Random) -> Vec<Vec<u8>> {
    let line = random.pick(&[
        "GET $",
        "SET $ x",
        "SET $ x GET",
        "MGET $ $ $",
        "DEL $ $",
        "EXISTS $ $",
        "COPY $ $",
        "MSET $ 1 $ 2",
        "BITOP AND $ $ $",
        "PUBLISH $ m",
        "SPUBLISH $ m",
        "CONFIG GET maxmemory",
        "CONFIG SET maxmemory 0",
        "SELECT 0",
        "SELECT 1",
        "PING",
        "FLUSHALL",
        "OBJECT FREQ $",
        "TYPE $",
        "LMOVE $ $ LEFT LEFT",
        "XREAD STREAMS $ $ 0 0",
        "DBSIZE",
        "RENAME $ $",
    ]);
    line.split(' ').map(|arg| if arg == "$" { word(random) } else { arg.into() }).collect()
}

fn allowed_by_redis(server: &mut Client, user: &str, args: &[&[u8]]) -> bool {
    let reply = server.value(&[[b"ACL".as_slice(), b"DRYRUN", user.as_bytes()].as_slice(), args].concat());
    match reply {
        Value::Simple(text) => text == b"OK",
        Value::Bulk(_) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_suggested_turns_the_verdict_of_a_real_redis() {
    let redis = Redis::start(&[]);
    let mut server = redis.client();
    let table = CommandTable::builtin().fitted(&reported::parse(&server.value(&["COMMAND"])));
    let seed = Random::seed("EXPLAIN_SEED").unwrap_or(20_261_122);
    eprintln!("EXPLAIN_SEED={seed}");
    let mut random = Random::new(seed);
    let (mut allowing, mut denying, mut selectors) = (0, 0, 0);
    for _ in 0..600 {
        let mut rules = grants(&mut random);
        rules.extend((0..random.below(3)).map(|_| format!("({})", grants(&mut random).join(" "))));
        let mut user = User::new(b"u", Defaults::default(), &table).unwrap();
        server.value(&["ACL", "DELUSER", "u"]);
        server.value(&["ACL", "SETUSER", "u"]);
        for rule in &rules {
            // Both refuse the same: see the oracle of layer `acl`.
            let set = server.value(&["ACL", "SETUSER", "u", rule]);
            user = user.set(&[rule.as_bytes()], &table).unwrap_or(user);
            assert!(matches!(set, Value::Simple(_) | Value::Error(_)), "{set:?}");
        }
        let default = parse_rules("default", "off", Defaults::default(), &table).unwrap();
        let policy = Policy::new(None, table.clone(), Gates::default(), vec![default, user.clone()]);
        for _ in 0..6 {
            let args = command(&mut random);
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            let request = RequestBuf::from_args(&args);
            let mut scratch = Default::default();
            let found = policy.explain(&user, 0, request.as_request(), &mut scratch);
            let allowed = found.denied.is_none();
            assert_eq!(allowed_by_redis(&mut server, "u", &args), allowed, "{rules:?} {args:?}: {found:?}");
            assert!(!found.suggestions.is_empty(), "{rules:?} {args:?}: {found:?}");
            for Suggestion { rules: added, own_selector } in &found.suggestions {
                let line = user.describe(Dialect::Redis70);
                let before = line.strip_prefix(b"user u ").unwrap().split(|byte| *byte == b' ');
                let mut set = vec![b"ACL".as_slice(), b"SETUSER", b"v", b"reset"];
                set.extend(before);
                set.extend(added.iter().map(Vec::as_slice));
                let reply = server.value(&set);
                assert_eq!(reply, Value::Simple(b"OK".to_vec()), "{rules:?} {args:?}: {added:?}");
                let after = allowed_by_redis(&mut server, "v", &args);
                assert_eq!(after, !allowed, "{rules:?} {args:?}: {added:?}");
                *(if allowed { &mut denying } else { &mut allowing }) += 1;
                selectors += usize::from(*own_selector);
            }
        }
    }
    println!("{allowing} suggestions to allow ({selectors} selectors), {denying} to deny");
    assert!(allowing > 1000 && selectors > 500 && denying > 200, "{allowing} {selectors} {denying}");
}

#[test]
fn what_is_printed_can_be_given_to_acl_setuser() {
    let (desk, redis) = (Desk::new(), Redis::start(&[]));
    let mut server = redis.client();
    for (line, args) in USERS.lines().filter(|line| !line.contains(" gone ")).flat_map(|line| {
        [
            "GET other:1",
            "SET other:1 x",
            "PUBLISH news x",
            "CONFIG GET maxmemory",
            "MGET a b c",
            "SET it's[*] x",
        ]
        .map(|args| (line, args))
    }) {
        let (name, rules) = line.strip_prefix("user ").unwrap().split_once(' ').unwrap();
        let answer = desk.ask(name, args);
        let was_allowed = answer.code == Some(0);
        let printed: Vec<&str> = answer.out.lines().skip_while(|line| !line.starts_with("to ")).collect();
        let suggestions = printed.iter().filter_map(|line| line.strip_prefix("  "));
        let args: Vec<&[u8]> = args.split(' ').map(str::as_bytes).collect();
        let mut count = 0;
        for suggestion in suggestions {
            let mut set = vec!["ACL", "SETUSER", "t", "reset"];
            set.extend(rules.split(' ').chain(suggestion.split(' ')));
            assert_eq!(server.value(&set), Value::Simple(b"OK".to_vec()), "{set:?}");
            assert_eq!(allowed_by_redis(&mut server, "t", &args), !was_allowed, "{set:?}");
            count += 1;
        }
        assert!(count > 0, "{}", answer.out);
    }
}
