use super::super::testing::{gates, policy, words};
use super::super::{Facts, Policy, Verdict, Version};
use super::*;
use crate::resp::RequestBuf;

const USERS: &[(&str, &str)] = &[
    ("admin", "on nopass ~* &* +@all"),
    ("half", "on nopass ~* &* +@all -flushdb"),
    ("cmds", "on nopass ~* -@all +config +eval +function +script +fcall +acl +client +ping"),
];

/// The bytes that would be forwarded, or the error text, both escaped.
fn outcome(policy: &Policy, user: &str, line: &str) -> String {
    let request = RequestBuf::from_args(&words(line));
    let mut scratch = RequestBuf::default();
    let facts = Facts { user: Some(policy.user(user.as_bytes()).unwrap()), database: 0, local: false };
    let bytes = match policy.judge(facts, request.as_request(), &mut scratch) {
        Verdict::Allow(judged) => judged.wire().to_vec(),
        Verdict::Deny(reason) => reason.reply(policy.version(), user.as_bytes(), request.as_request()),
    };
    bytes.escape_ascii().to_string()
}

fn wire(line: &str) -> String {
    RequestBuf::from_args(&words(line)).as_request().wire().escape_ascii().to_string()
}

// === commands.rename ===

#[test]
fn a_renamed_command_is_called_by_its_alias_alone() {
    let renames = [("CONFIG", "Keep_7F"), ("flushall", ""), ("Get", "SET"), ("set", "get"), ("KEYS", "keys")];
    let policy = policy(Version::V7_0, USERS, &renames);
    for (line, expected) in [
        ("Keep_7F GET maxmemory", wire("config GET maxmemory")),
        ("keep_7f get maxmemory", wire("config get maxmemory")),
        ("KEEP_7F NOSUCH", "ERR unknown subcommand \\'NOSUCH\\'. Try CONFIG HELP.".to_owned()),
        (
            "CONFIG GET x",
            "ERR unknown command \\'CONFIG\\', with args beginning with: \\'GET\\' \\'x\\' ".to_owned(),
        ),
        ("config", "ERR unknown command \\'config\\', with args beginning with: ".to_owned()),
        ("FLUSHALL", "ERR unknown command \\'FLUSHALL\\', with args beginning with: ".to_owned()),
        ("''", "ERR unknown command \\'\\', with args beginning with: ".to_owned()),
        // Two commands may change names with each other.
        ("SET k", wire("get k")),
        ("get k v", wire("set k v")),
        ("get k", "ERR wrong number of arguments for \\'set\\' command".to_owned()),
        // The same name again changes nothing.
        ("Keys *", wire("keys *")),
        ("DEL k", wire("DEL k")),
    ] {
        assert_eq!(outcome(&policy, "admin", line), expected, "{line}");
    }
}

/// `redis.conf`: rules name the original command, never the alias.
#[test]
fn rules_gates_and_guards_see_the_original_of_an_alias() {
    let policy = policy(Version::V7_0, USERS, &[("CONFIG", "cfg"), ("DEBUG", "dbg"), ("EVAL", "run")]);
    for (user, line, expected) in [
        (
            "half",
            "cfg SET dir /x",
            "ERR CONFIG SET failed (possibly related to argument \\'dir\\') - can\\'t set",
        ),
        ("admin", "cfg SET masterauth x", "NOPERM the upstream\\'s credentials"),
        ("admin", "dbg SLEEP 0", "ERR DEBUG command not allowed."),
        ("cmds", "RUN x 0", "NOPERM scripts and functions"),
        ("cmds", "cfg GET x", "*3\\r\\n$6\\r\\nconfig\\r\\n"),
    ] {
        let got = outcome(&policy, user, line);
        assert!(got.starts_with(expected), "{line}: {got}");
    }
}

/// Renames, and what is wrong with which of them.
type RenameCase<'a> = (&'a [(&'a str, &'a str)], &'a [(usize, &'a str)]);

#[test]
fn renames_that_cannot_work_are_all_reported() {
    let table = CommandTable::builtin();
    let cases: &[RenameCase<'_>] = &[
        (&[], &[]),
        (&[("KEYS", ""), ("FLUSHALL", "")], &[]),
        (&[("NOSUCH", "x")], &[(0, "no such command `NOSUCH`; write the original name of a Redis command")]),
        (&[("", "x")], &[(0, "no such command ``; write the original name of a Redis command")]),
        (&[("CONFIG|GET", "x")], &[(0, "`CONFIG|GET` is a subcommand; only whole commands can be renamed")]),
        (&[("KEYS", "a"), ("keys", "b")], &[(1, "`keys` is renamed twice; keep one of the entries")]),
        (&[("KEYS", "a"), ("SCAN", "A")], &[(1, "alias `a` is used twice; choose another")]),
        (&[("KEYS", "Scan")], &[(0, "alias `scan` is the name of a command; choose another")]),
        (&[("KEYS", "config|get")], &[(0, "alias `config|get` is the name of a command; choose another")]),
        (&[("KEYS", "a|b")], &[(0, "alias `a|b` is the name of a command; choose another")]),
        // The name is free, since its own command gave it up.
        (&[("KEYS", "SCAN"), ("SCAN", "")], &[]),
        (
            &[("NOSUCH", "x"), ("GET", "SET"), ("get", "y")],
            &[
                (0, "no such command `NOSUCH`; write the original name of a Redis command"),
                (2, "`get` is renamed twice; keep one of the entries"),
                (1, "alias `set` is the name of a command; choose another"),
            ],
        ),
    ];
    for (renames, expected) in cases {
        let errors = gates(renames, &table).err().unwrap_or_default();
        let errors: Vec<(usize, &str)> = errors.iter().map(|(index, text)| (*index, text.as_str())).collect();
        assert_eq!(errors, *expected, "{renames:?}");
    }
}

/// Redis refuses `post` and `host:` before it looks for a command, so nobody could ever call such an alias.
#[test]
fn an_alias_that_the_cross_protocol_guard_takes_is_refused() {
    let table = CommandTable::builtin();
    for alias in ["POST", "host:"] {
        assert!(gates(&[("KEYS", alias)], &table).is_err(), "{alias}");
    }
}

// === guards ===

#[test]
fn protected_and_credential_parameters_are_found_wherever_they_stand() {
    const ALLOW: &str = "*";
    const PROTECTED: &str = "ERR CONFIG SET failed (possibly related to argument";
    const CREDENTIAL: &str = "NOPERM the upstream\\'s credentials cannot be read or changed through redkeep";
    let policy = policy(Version::V7_0, USERS, &[]);
    for (line, expected) in [
        ("CONFIG SET dir /tmp", PROTECTED),
        ("config set DIR /tmp", PROTECTED),
        ("CONFIG SET DbFileName x", PROTECTED),
        ("CONFIG SET dir\0x /tmp", PROTECTED),
        ("CONFIG SET maxmemory 0 dir /tmp", PROTECTED),
        ("CONFIG SET maxmemory 0 timeout 1 dbfilename x", PROTECTED),
        ("CONFIG SET maxmemory dir", ALLOW),
        ("CONFIG SET maxmemory dir timeout dbfilename", ALLOW),
        ("CONFIG SET dirx /tmp", ALLOW),
        ("CONFIG SET \0dir /tmp", ALLOW),
        // Which error comes first is ours to choose; a lone name without a value is found, too.
        ("CONFIG SET maxmemory 0 dir", PROTECTED),
        // Which values are shown is the session's to say, and requirepass is another one's here.
        ("CONFIG GET masterauth", ALLOW),
        ("CONFIG SET requirepass x", ALLOW),
        ("CONFIG SET maxmemory 0 MasterAuth x", CREDENTIAL),
        ("CONFIG SET masteruser\0 x", CREDENTIAL),
        ("CONFIG SET tls-key-file-pass x", CREDENTIAL),
    ] {
        let got = outcome(&policy, "admin", line);
        assert!(got.starts_with(expected), "{line:?}: {got}");
    }
}

#[test]
fn scripts_are_for_all_powerful_users_except_for_questions_about_them() {
    let policy = policy(Version::V7_0, USERS, &[]);
    for (line, harmless) in [
        ("EVAL x 0", false),
        ("EVAL_RO x 0", false),
        ("EVALSHA x 0", false),
        ("EVALSHA_RO x 0", false),
        ("FCALL f 0", false),
        ("FCALL_RO f 0", false),
        ("SCRIPT LOAD x", false),
        ("SCRIPT FLUSH", false),
        ("SCRIPT KILL", false),
        ("FUNCTION LOAD x", false),
        ("FUNCTION RESTORE x", false),
        ("FUNCTION LIST", false),
        ("FUNCTION DUMP", false),
        ("SCRIPT EXISTS x", true),
        ("SCRIPT HELP", true),
        ("FUNCTION HELP", true),
    ] {
        assert!(outcome(&policy, "admin", line).starts_with('*'), "{line}");
        for user in ["half", "cmds"] {
            let got = outcome(&policy, user, line);
            let refused = got.starts_with("NOPERM");
            assert_eq!(
                refused,
                !harmless || (user == "cmds" && got.contains("permissions")),
                "{line}: {got}"
            );
        }
    }
}

#[test]
fn unavailable_commands_are_refused_even_to_those_who_may_do_everything() {
    let policy = policy(Version::V7_0, USERS, &[]);
    let mut seen = 0;
    for spec in policy.table().specs() {
        if spec.affinity != Affinity::Unavailable || spec.is_container() {
            continue;
        }
        let mut args: Vec<&str> = spec.name.split('|').collect();
        args.resize(args.len().max(usize::from(spec.arity.unsigned_abs())), "1");
        let expected = format!("ERR \\'{}\\' is not available through redkeep", spec.name.replace('|', " "));
        assert_eq!(outcome(&policy, "admin", &args.join(" ")), expected);
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
}
