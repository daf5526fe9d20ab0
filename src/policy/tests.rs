use std::ops::ControlFlow;

use proptest::prelude::*;

use super::testing::{policy, words};
use super::*;

const USERS: &[(&str, &str)] = &[
    ("default", "off"),
    ("admin", "on nopass ~* &* +@all"),
    ("app", "on nopass ~app:* &app:* +@all -@admin -@dangerous -del"),
    ("all", "on nopass ~* &* +@all -del"),
    ("none", "on nopass -@all"),
];

/// The name of the reason, or `Allow`.
fn verdict(policy: &Policy, user: &str, line: &str) -> String {
    let user = (!user.is_empty()).then(|| policy.user(user.as_bytes()).unwrap());
    let request = RequestBuf::from_args(&words(line));
    let mut scratch = RequestBuf::default();
    let facts = Facts { user: user.map(|user| &**user), database: 0, local: false };
    match policy.judge(facts, request.as_request(), &mut scratch) {
        Verdict::Allow(_) => "Allow".to_owned(),
        Verdict::Deny(reason) => {
            let name = format!("{reason:?}");
            name.split(|c: char| !c.is_alphabetic()).next().unwrap().to_owned()
        }
    }
}

#[test]
fn an_only_key_is_all_that_a_command_uses() {
    let mut count = 0;
    for spec in CommandTable::builtin().specs() {
        let Some((index, access)) = spec.only_key() else { continue };
        let mut line = spec.name.replace('|', " ");
        while line.split(' ').count() < usize::from(spec.arity.unsigned_abs()) {
            line.push_str(" k");
        }
        // What other commands would take for further keys.
        for more in ["", " 1 x", " BY w_* GET #", " STORE x", " STREAMS x 0", " KEYS x", " x y z"] {
            let request = RequestBuf::from_args(&words(&format!("{line}{more}")));
            let request = request.as_request();
            if request.arg(index).is_none() {
                continue;
            }
            let (mut all, mut others) = (0, 0);
            let clear = visit_keys_and_channels(spec, request, &mut |used| {
                let key = request.arg(index).unwrap();
                all += 1;
                others += usize::from(used != Use::Key { index, key, access });
                ControlFlow::Continue(())
            });
            assert_eq!((all, others, clear), (1, 0, Ok(())), "{line}{more}");
        }
        count += 1;
    }
    assert!(count > 100, "{count} only");
}

fn assert_verdicts(policy: &Policy, rows: &[(&str, &str, &str)]) {
    for (user, line, expected) in rows {
        assert_eq!(verdict(policy, user, line), *expected, "`{line}` by `{user}`");
    }
}

#[test]
fn databases_are_judged_before_all_else_of_the_acl() {
    let users = [
        ("one", "on nopass ~a* &* +@all -del db=0,1"),
        ("none", "on nopass ~* &* +@all resetdbs"),
        ("two", "on nopass ~* &* +get db=0 (+set ~* db=1)"),
        ("all", "on nopass ~* &* +@all db=0,1 alldbs"),
    ];
    let policy = policy(Version::V7_2, &users, &[]);
    let verdict = |user: &str, database: u32, line: &str| {
        let facts = Facts { user: Some(policy.user(user.as_bytes()).unwrap()), database, local: false };
        let request = RequestBuf::from_args(&words(line));
        let mut scratch = RequestBuf::default();
        match policy.judge(facts, request.as_request(), &mut scratch) {
            Verdict::Allow(_) => "allow".to_owned(),
            Verdict::Deny(reason) => {
                String::from_utf8(reason.reply(policy.version(), b"u", request.as_request())).unwrap()
            }
        }
    };
    const DATABASE: &str = "NOPERM No permissions to access database";
    const KEY: &str = "NOPERM No permissions to access a key";
    for (user, database, line, expected) in [
        ("one", 0, "GET a", "allow"),
        ("one", 1, "SET a 1", "allow"),
        ("one", 2, "GET a", DATABASE),
        ("one", 2, "DEL a", DATABASE),
        ("one", 2, "GET b", DATABASE),
        ("one", 1, "GET b", KEY),
        ("one", 2, "PING", "allow"),
        ("one", 2, "PUBLISH a x", "allow"),
        ("one", 2, "SELECT 1", "allow"),
        ("one", 0, "SELECT 2", DATABASE),
        // Redkeep answers these itself, with an error.
        ("one", 0, "SELECT 16", "allow"),
        ("one", 0, "SELECT 02", "allow"),
        ("one", 0, "COPY a a1 DB 1", "allow"),
        ("one", 0, "COPY a a1 DB 1 DB 2", DATABASE),
        ("one", 0, "COPY a a1 DB 2 DB 1", DATABASE),
        ("one", 0, "COPY a a1 NOSUCH", DATABASE),
        ("one", 2, "COPY a a1 DB 1", DATABASE),
        ("one", 0, "COPY a b DB 1", KEY),
        ("one", 0, "MOVE a 1", "allow"),
        ("one", 0, "MOVE a 2", DATABASE),
        ("one", 2, "SWAPDB 0 1", "allow"),
        ("one", 0, "SWAPDB 0 2", DATABASE),
        ("one", 0, "FLUSHDB", "allow"),
        ("one", 0, "FLUSHALL", DATABASE),
        ("none", 0, "GET a", DATABASE),
        ("none", 0, "AUTH x", "allow"),
        ("two", 0, "GET a", "allow"),
        ("two", 1, "SET a 1", "allow"),
        // The selector that gets furthest counts: the root, which has the database, but not the command.
        ("two", 0, "SET a 1", "NOPERM User u has no permissions to run the 'set' command"),
        ("two", 2, "SET a 1", DATABASE),
        ("all", 9, "FLUSHALL", "allow"),
    ] {
        assert_eq!(verdict(user, database, line), expected, "`{line}` by `{user}` in {database}");
    }
}

#[test]
fn users_are_printed_in_the_dialect_of_the_upstream() {
    let dialect = |version, valkey| {
        let upstream = Upstream { version, valkey, login_first: false, databases: 16, hello: None };
        Policy::new(Some(upstream), CommandTable::builtin(), Gates::default(), Vec::new()).dialect()
    };
    let of = |major, minor| Version { major, minor };
    assert_eq!(dialect(of(6, 2), None), Dialect::Redis70);
    assert_eq!(dialect(of(7, 0), None), Dialect::Redis70);
    assert_eq!(dialect(of(7, 2), None), Dialect::Redis72);
    assert_eq!(dialect(of(8, 2), None), Dialect::Redis72);
    assert_eq!(dialect(of(7, 2), Some(of(8, 0))), Dialect::Redis72);
    assert_eq!(dialect(of(7, 2), Some(of(9, 0))), Dialect::Redis72);
    assert_eq!(dialect(of(7, 2), Some(of(9, 1))), Dialect::Valkey91);
    let unknown = Policy::new(None, CommandTable::builtin(), Gates::default(), Vec::new());
    assert_eq!(unknown.dialect(), Dialect::Redis72);
}

/// SEMANTICS §2: `host:`/`post` abort, existence, arity, PROTECTED, NOAUTH, ACL. Each line would fail a later check,
/// too.
#[test]
fn checks_are_made_in_the_order_of_redis_7() {
    let policy = policy(Version::V7_0, USERS, &[("FLUSHALL", "")]);
    assert_verdicts(
        &policy,
        &[
            ("", "POST / HTTP/1.1", "CrossProtocol"),
            ("admin", "post", "CrossProtocol"),
            ("none", "hOsT: x", "CrossProtocol"),
            ("", "host", "UnknownCommand"),
            ("", "NOSUCH", "UnknownCommand"),
            ("", "''", "UnknownCommand"),
            ("none", "NOSUCH x", "UnknownCommand"),
            ("", "FLUSHALL", "UnknownCommand"),
            ("none", "flushall async x y", "UnknownCommand"),
            ("", "config|get maxmemory", "UnknownCommand"),
            ("", "CONFIG NOSUCH", "UnknownSubcommand"),
            ("none", "CONFIG ''", "UnknownSubcommand"),
            ("", "GET", "Arity"),
            ("none", "GET a b", "Arity"),
            ("", "DEBUG", "Arity"),
            ("", "MODULE LOAD", "Arity"),
            ("", "CONFIG", "Arity"),
            ("", "CONFIG GET", "Arity"),
            ("", "DEBUG SLEEP 0", "ProtectedCommand"),
            ("none", "debug object k", "ProtectedCommand"),
            ("admin", "MODULE LOAD /x.so", "ProtectedCommand"),
            ("", "module loadex /x.so", "ProtectedCommand"),
            ("none", "MODULE UNLOAD x", "ProtectedCommand"),
            ("", "MODULE LIST", "Unauthenticated"),
            ("", "GET k", "Unauthenticated"),
            ("", "CONFIG SET dir /tmp", "Unauthenticated"),
            ("", "MONITOR", "Unauthenticated"),
            ("", "EVAL x 0", "Unauthenticated"),
            ("", "SORT k BY x*", "Unauthenticated"),
            ("none", "GET k", "Command"),
            ("none", "PUBLISH c m", "Command"),
            ("app", "DEL other", "Command"),
            ("app", "CONFIG SET dir /tmp", "Command"),
            ("app", "CONFIG GET requirepass", "Command"),
            ("app", "MONITOR", "Command"),
            ("app", "GET other", "Key"),
            ("app", "SORT_RO other BY x*", "Command"),
            ("app", "PUBLISH other m", "Channel"),
            ("app", "EVAL x 1 other", "Key"),
            ("app", "EVAL x 1 app:k", "Allow"),
            ("app", "FUNCTION LOAD x", "Script"),
            ("all", "CONFIG SET dir /tmp", "ProtectedConfig"),
            ("all", "CONFIG SET masterauth x", "CredentialConfig"),
            ("all", "ASKING", "Unavailable"),
            ("app", "GET app:k", "Allow"),
            ("app", "PUBLISH app:c m", "Allow"),
            ("admin", "DEL other", "Allow"),
        ],
    );
}

#[test]
fn commands_without_login_are_those_that_redis_flags_so() {
    let policy = policy(Version::V7_0, USERS, &[]);
    for spec in policy.table().specs() {
        let mut args: Vec<&str> = spec.name.split('|').collect();
        args.resize(args.len().max(usize::from(spec.arity.unsigned_abs())), "1");
        let expected = ["auth", "hello", "quit", "reset"].contains(&&*spec.name);
        let got = verdict(&policy, "", &args.join(" "));
        assert_eq!(got == "Allow", expected, "{}: {got}", spec.name);
        // No ACL rule can deny them, either.
        assert_eq!(verdict(&policy, "none", &args.join(" ")) == "Allow", expected, "{}", spec.name);
    }
}

/// Up to 6.2 a container looked for its subcommand itself, after login and ACL (facts of 6.2.16: `CLIENT NOSUCH` before
/// AUTH is NOAUTH; of a user without CONFIG, `CONFIG NOSUCH` is NOPERM).
#[test]
fn before_7_0_subcommands_are_unknown_only_to_those_who_may_ask() {
    let policy = policy(Version { major: 6, minor: 2 }, USERS, &[]);
    assert_verdicts(
        &policy,
        &[
            ("", "CONFIG NOSUCH", "Unauthenticated"),
            ("none", "CONFIG NOSUCH", "Command"),
            ("admin", "CONFIG NOSUCH", "UnknownSubcommand"),
            ("", "CONFIG GET", "Unauthenticated"),
            ("none", "CONFIG GET", "Command"),
            ("admin", "CONFIG GET", "Arity"),
            ("", "CONFIG", "Arity"),
            ("", "GET", "Arity"),
        ],
    );
}

#[test]
fn sort_patterns_need_all_keys_and_name_the_option() {
    let policy =
        policy(Version::V7_0, &[("u", "on nopass ~a* +@all"), ("r", "on nopass %R~* ~a* +@all")], &[]);
    assert_verdicts(
        &policy,
        &[
            ("u", "SORT a BY x*", "SortPattern"),
            ("u", "SORT a GET #", "SortPattern"),
            ("u", "SORT a BY nosort", "Allow"),
            ("u", "SORT a BY x* STORE b", "Key"),
            ("r", "SORT a BY x* GET y*", "Allow"),
        ],
    );
}

#[test]
fn requests_whose_keys_are_in_doubt_are_refused_unless_every_key_is_allowed() {
    let policy = policy(Version::V7_0, USERS, &[]);
    for (line, app, all) in [
        ("EVAL x -1", "Syntax", "Allow"),
        ("EVAL x 01 other", "Key", "Allow"),
        ("EVAL x 01 app:k", "Syntax", "Allow"),
        ("EVALSHA x -1", "Key", "Allow"),
        ("FCALL x -1", "Key", "Allow"),
        ("SINTERCARD 2 app:k", "Syntax", "Allow"),
        ("ZUNIONSTORE other 0 other", "Syntax", "Allow"),
        ("ZUNIONSTORE app:d 99999999999999999999 app:k", "Syntax", "Allow"),
        ("XREAD STREAMS app:a app:b 0", "Syntax", "Allow"),
        ("XREAD STREAMS other app:b 0", "Key", "Allow"),
        ("XREAD CLAIM 1 STREAMS app:a app:b 0", "Key", "Allow"),
        ("GEORADIUS app:k 1 1 1 m STORE", "Allow", "Allow"),
        ("GEORADIUS app:k 1 1 1 m FOO other", "Key", "Allow"),
        ("GEORADIUS app:k 1 1 1 m FOO app:x", "Allow", "Allow"),
    ] {
        assert_eq!(verdict(&policy, "app", line), app, "{line}");
        assert_eq!(verdict(&policy, "all", line), all, "{line}");
        assert_eq!(verdict(&policy, "admin", line), "Allow", "{line}");
    }
}

/// Redis gives the error of what comes first: an option that it does not know, or one that the user may not use.
#[test]
fn sort_patterns_and_mistakes_are_told_in_their_order() {
    let users = &[("u", "on nopass ~a* +@all"), ("r", "on nopass %R~* ~a* +@all")];
    let policy = policy(Version::V7_0, users, &[]);
    assert_verdicts(
        &policy,
        &[
            ("u", "SORT a FOO BY x*", "Syntax"),
            ("u", "SORT a BY x* FOO", "SortPattern"),
            ("r", "SORT a BY x* FOO", "Syntax"),
            ("u", "SORT a LIMIT 01 1 BY x*", "Syntax"),
            ("u", "SORT a FOO STORE f", "Key"),
            ("u", "SORT_RO a STORE f", "Syntax"),
        ],
    );
}

/// To Redis the selector in which it finds no keys permits the request.
#[test]
fn a_selector_in_doubt_outweighs_the_denial_of_another() {
    let policy = policy(Version::V7_0, &[("u", "on nopass ~a +@all (~b +@all)")], &[]);
    assert_verdicts(
        &policy,
        &[
            ("u", "SORT b FOO", "Syntax"),
            ("u", "SORT a FOO", "Syntax"),
            ("u", "SORT f FOO", "Key"),
            ("u", "GET f", "Key"),
        ],
    );
}

#[test]
fn a_login_needs_the_right_password_of_a_user_who_is_on() {
    let users = [("default", "off >d"), ("a", "on >one >two"), ("free", "on nopass"), ("off", "off nopass")];
    let policy = policy(Version::V7_0, &users, &[]);
    for (name, password, ok) in [
        ("a", "one", true),
        ("a", "two", true),
        ("a", "", false),
        ("a", "One", false),
        ("A", "one", false),
        ("default", "d", false),
        ("free", "anything", true),
        ("off", "", false),
        ("nobody", "one", false),
        ("", "", false),
    ] {
        assert_eq!(
            policy.login(Origin::default(), name.as_bytes(), password.as_bytes()).is_some(),
            ok,
            "{name}:{password}"
        );
    }
    assert!(policy.anonymous(Origin::default()).is_none());
}

#[test]
fn only_an_open_default_user_is_anonymous() {
    for (rules, open) in [("on nopass", true), ("on >p", false), ("off nopass", false), ("on", false)] {
        let policy = policy(Version::V7_0, &[("default", rules)], &[]);
        assert_eq!(policy.anonymous(Origin::default()).is_some(), open, "{rules}");
    }
}

// === What an allow verdict promises ===

/// Commands with how their arguments are used: `k` key, `v` value, `c` channel.
const SHAPES: &[(&str, &str)] = &[
    ("get", "k"),
    ("set", "kv"),
    ("mget", "kkk"),
    ("mset", "kvkv"),
    ("del", "kk"),
    ("copy", "kk"),
    ("publish", "cv"),
    ("echo", "v"),
];

/// Renamed for clients.
const RENAMES: &[(&str, &str)] = &[("GET", "Fetch_7f"), ("SET", "DEL"), ("DEL", "Wipe"), ("ECHO", "")];

#[derive(Clone, Debug)]
struct Case {
    /// Which of [`SHAPES`] the user may run, as bits.
    granted: usize,
    /// The user's pattern is this and `*`.
    prefix: &'static str,
    shape: usize,
    args: Vec<Vec<u8>>,
    upper: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let arg = prop_oneof![
        3 => Just(b"a:k".to_vec()),
        2 => Just(b"ab".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(b"a:\r\n$3\r\nDEL\r\n".to_vec()),
    ];
    let args = prop::collection::vec(arg, 4);
    (any::<usize>(), prop_oneof![Just("a:"), Just("a"), Just("b")], 0..SHAPES.len(), args, any::<bool>())
        .prop_map(|(granted, prefix, shape, args, upper)| Case { granted, prefix, shape, args, upper })
}

proptest! {
    /// An expectation of its own, from the shapes above: allowed if and only if the command and all that it uses are.
    #[test]
    fn what_is_forwarded_is_the_canonical_encoding_of_what_was_judged(case in cases()) {
        let Case { granted, prefix, shape, args, upper } = case;
        let commands: Vec<String> = (0..SHAPES.len())
            .filter(|index| granted >> index & 1 == 1)
            .map(|index| format!("+{}", SHAPES[index].0))
            .collect();
        let rules = format!("on nopass ~{prefix}* &{prefix}* -@all {}", commands.join(" "));
        let policy = policy(Version::V7_0, &[("u", rules.trim_end())], RENAMES);
        let (original, uses) = SHAPES[shape];
        let alias = RENAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(original));
        let name = alias.map_or(original, |(_, alias)| alias);
        let name = if upper { name.to_uppercase() } else { name.to_lowercase() };
        let tail = &args[..uses.len()];
        let sent: Vec<&[u8]> = std::iter::once(name.as_bytes()).chain(tail.iter().map(Vec::as_slice)).collect();

        let request = RequestBuf::from_args(&sent);
        let mut scratch = RequestBuf::from_args(&[b"left over"]);
        let user = policy.user(b"u").unwrap();
        let verdict = policy.judge(Facts { user: Some(user), database: 0, local: false }, request.as_request(), &mut scratch);

        let used = uses.bytes().zip(tail).filter(|(what, _)| *what != b'v');
        let permitted = granted >> shape & 1 == 1
            && !name.is_empty()
            && used.into_iter().all(|(_, arg)| arg.starts_with(prefix.as_bytes()));
        match verdict {
            Verdict::Allow(judged) => {
                prop_assert!(permitted, "{rules}: {sent:?}");
                prop_assert_eq!(&*judged.spec().name, original);
                let forwarded: Vec<&[u8]> = judged.request().args(0).collect();
                prop_assert!(forwarded[0].eq_ignore_ascii_case(original.as_bytes()), "{:?}", forwarded);
                prop_assert_eq!(&forwarded[1..], &sent[1..]);
                let canonical = RequestBuf::from_args(&forwarded);
                prop_assert_eq!(judged.wire(), canonical.as_request().wire());
            }
            Verdict::Deny(_) => prop_assert!(!permitted, "{rules}: {sent:?}"),
        }
    }

    /// Any words at all, by any of the users: an allowed request is one that this user's rules allow.
    #[test]
    fn no_request_is_allowed_without_a_permit(
        user in prop::option::of(0..USERS.len()),
        command in any::<prop::sample::Index>(),
        tail in prop::collection::vec("[a-z:*]{0,6}|app:[a-z]{0,3}|[0-9]{1,2}|requirepass|dir", 0..5),
    ) {
        let policy = policy(Version::V7_0, USERS, &[]);
        let user = user.map(|index| policy.user(USERS[index].0.as_bytes()).unwrap());
        let spec = command.get(policy.table().specs());
        let args: Vec<&str> = spec.name.split('|').chain(tail.iter().map(String::as_str)).collect();
        let request = RequestBuf::from_args(&args);
        let mut scratch = RequestBuf::default();
        let facts = Facts { user: user.map(|user| &**user), database: 0, local: false };
        if let Verdict::Allow(judged) = policy.judge(facts, request.as_request(), &mut scratch) {
            prop_assert_eq!(judged.wire(), request.as_request().wire());
            match user {
                None => prop_assert!(judged.spec().flags.contains(flag::NO_AUTH), "{args:?}"),
                Some(user) if user.is_all_powerful() => {}
                Some(user) => {
                    let seen = |visitor: &mut Visitor<'_>| {
                        policy.visit_uses(facts, judged.spec(), judged.request(), visitor)
                    };
                    prop_assert!(user.permits(judged.request(), judged.spec(), seen).is_ok(), "{args:?}");
                }
            }
        }
    }
}

#[test]
fn no_debug_output_shows_an_argument() {
    let policy = policy(Version::V7_0, USERS, &[("SET", "PUT")]);
    for line in [
        "PUT hunter2 hunter2",
        "AUTH hunter2",
        "GET hunter2",
        "NOSUCH hunter2",
        "CONFIG hunter2",
        "DEL a hunter2",
    ] {
        for user in ["admin", "app", "none"] {
            let request = RequestBuf::from_args(&words(line));
            let mut scratch = RequestBuf::default();
            let facts =
                Facts { user: Some(policy.user(user.as_bytes()).unwrap()), database: 0, local: false };
            let shown = format!("{:?}", policy.judge(facts, request.as_request(), &mut scratch));
            assert!(!shown.contains("hunter2"), "{line}: {shown}");
            if line.starts_with("PUT") && user == "admin" {
                assert_eq!(shown, "Allow(Judged(set))");
            }
        }
    }
}
