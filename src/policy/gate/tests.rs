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
    outcome_from(false, policy, user, line)
}

/// The same for a client on this machine, or not.
fn outcome_from(local: bool, policy: &Policy, user: &str, line: &str) -> String {
    let request = RequestBuf::from_args(&words(line));
    let mut scratch = RequestBuf::default();
    let facts = Facts { user: Some(policy.user(user.as_bytes()).unwrap()), database: 0, local };
    let bytes = match policy.judge(facts, request.as_request(), &mut scratch) {
        Verdict::Allow(judged) => judged.wire().to_vec(),
        Verdict::Deny(reason) => reason.reply(policy.version(), user.as_bytes(), request.as_request()),
    };
    bytes.escape_ascii().to_string()
}

/// A policy with gates that `change` makes of none.
fn gated(version: Version, change: impl FnOnce(Gates, &CommandTable) -> Gates) -> Policy {
    let known = policy(version, USERS, &[]);
    let table = known.table().clone();
    let gates = change(Gates::default(), &table);
    let users = known.users().into_iter().map(|user| (**user).clone()).collect();
    Policy::new(known.upstream().cloned(), table, gates, users)
}

fn denying(version: Version, names: &[&str]) -> Policy {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    gated(version, |gates, table| gates.with_denied(&names, table).unwrap())
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
        ("KEEP_7F NOSUCH", "ERR unknown subcommand \\'NOSUCH\\'. Try KEEP_7F HELP.".to_owned()),
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
        ("cmds", "RUN x 0", "*"),
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

// === commands.deny ===

#[test]
fn what_is_denied_does_not_exist_for_anybody() {
    let policy = denying(Version::V7_0, &["FLUSHALL", "Config|Set", "@scripting", "acl", "mod.cmd"]);
    let unknown = |text: &str| format!("ERR unknown {text}");
    for (line, expected) in [
        ("FLUSHALL", unknown("command \\'FLUSHALL\\', with args beginning with: ")),
        ("flushall ASYNC", unknown("command \\'flushall\\', with args beginning with: \\'ASYNC\\' ")),
        // No number of arguments and no right is asked for.
        (
            "FLUSHALL a b c",
            unknown("command \\'FLUSHALL\\', with args beginning with: \\'a\\' \\'b\\' \\'c\\' "),
        ),
        ("CONFIG SET maxmemory 1", unknown("subcommand \\'SET\\'. Try CONFIG HELP.")),
        ("config sEt", unknown("subcommand \\'sEt\\'. Try CONFIG HELP.")),
        ("EVAL x 0", unknown("command \\'EVAL\\', with args beginning with: \\'x\\' \\'0\\' ")),
        ("FUNCTION LIST", unknown("subcommand \\'LIST\\'. Try FUNCTION HELP.")),
        ("ACL WHOAMI", unknown("command \\'ACL\\', with args beginning with: \\'WHOAMI\\' ")),
        ("acl nosuch", unknown("command \\'acl\\', with args beginning with: \\'nosuch\\' ")),
        ("ACL", unknown("command \\'ACL\\', with args beginning with: ")),
        ("CONFIG GET x", wire("CONFIG GET x")),
        ("DBSIZE", wire("DBSIZE")),
        // Another name, of which Redis shows what is before the NUL.
        ("FLUSHALL\0", unknown("command \\'FLUSHALL\\', with args beginning with: ")),
        ("CONFIG SET\0 maxmemory 1", unknown("subcommand \\'SET\\'. Try CONFIG HELP.")),
        ("config|set x y", unknown("command \\'config|set\\', with args beginning with: \\'x\\' \\'y\\' ")),
    ] {
        for user in ["admin", "half"] {
            assert_eq!(outcome(&policy, user, line), expected, "{user}: {line:?}");
        }
    }
}

/// As the servers themselves, which looked for subcommands after login and ACL.
#[test]
fn a_denied_subcommand_is_worded_as_the_upstreams_version_does() {
    let policy = denying(Version { major: 6, minor: 2 }, &["CONFIG|SET"]);
    assert_eq!(
        outcome(&policy, "admin", "CONFIG SET maxmemory 1"),
        "ERR Unknown subcommand or wrong number of arguments for \\'SET\\'. Try CONFIG HELP."
    );
}

#[test]
fn a_denied_category_takes_away_what_it_has_on_that_upstream() {
    let policy = denying(Version::V7_0, &["@DANGEROUS"]);
    let table = policy.table();
    let dangerous = table.category(b"dangerous").unwrap();
    let mut seen = 0;
    for spec in table.specs().iter().filter(|spec| !spec.is_container()) {
        let mut args: Vec<&str> = spec.name.split('|').collect();
        args.resize(args.len().max(usize::from(spec.arity.unsigned_abs())), "1");
        let got = outcome(&policy, "admin", &args.join(" "));
        let denied = spec.categories.intersects(dangerous.0);
        assert_eq!(got.starts_with("ERR unknown "), denied, "{}: {got}", spec.name);
        seen += usize::from(denied);
    }
    assert!(seen >= 50, "{seen}");
    // Fitted to an upstream that puts another command into the category.
    let reported = |name: &str, categories: &[&str]| crate::command::Reported {
        name: name.to_owned(),
        arity: -2,
        flags: Default::default(),
        categories: Some(categories.iter().map(|name| (*name).to_owned()).collect()),
        keys: Some(Vec::new()),
        subcommands: Vec::new(),
    };
    let theirs =
        [reported("mod.bad", &["dangerous"]), reported("mod.good", &["slow"]), reported("ping", &["fast"])];
    let fitted = table.fitted(&theirs);
    let users = policy.users().into_iter().map(|user| (**user).clone()).collect();
    let policy = Policy::new(policy.upstream().cloned(), fitted, (**policy.gates()).clone(), users);
    assert!(outcome(&policy, "admin", "MOD.BAD x").starts_with("ERR unknown command"));
    assert_eq!(outcome(&policy, "admin", "MOD.GOOD x"), wire("MOD.GOOD x"));
}

#[test]
fn no_alias_leads_to_what_is_denied() {
    let table = CommandTable::builtin();
    let gates = gates(&[("FLUSHALL", "wipe"), ("CONFIG", "cfg")], &table).unwrap();
    let gates = gates.with_denied(&["flushall".to_owned(), "config|set".to_owned()], &table).unwrap();
    let known = policy(Version::V7_0, USERS, &[]);
    let users = known.users().into_iter().map(|user| (**user).clone()).collect();
    let policy = Policy::new(known.upstream().cloned(), table, gates, users);
    for (line, expected) in [
        ("wipe", "ERR unknown command \\'wipe\\', with args beginning with: "),
        ("FLUSHALL", "ERR unknown command \\'FLUSHALL\\', with args beginning with: "),
        ("cfg SET dir /", "ERR unknown subcommand \\'SET\\'. Try CFG HELP."),
        ("cfg GET dir", "*3\\r\\n$6\\r\\nconfig\\r\\n$3\\r\\nGET\\r\\n$3\\r\\ndir\\r\\n"),
    ] {
        assert_eq!(outcome(&policy, "admin", line), expected, "{line}");
    }
}

#[test]
fn names_that_nobody_can_deny_are_all_reported() {
    let table = CommandTable::builtin();
    let names = [
        "GET",
        "NOSUCH",
        "@nosuch",
        "CONFIG|NOSUCH",
        "",
        "@",
        "CONFIG SET",
        "GRAPH.QUERY",
        "@all",
        "@search",
    ];
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let errors = Gates::default().with_denied(&names, &table).unwrap_err();
    let places: Vec<usize> = errors.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [1, 2, 3, 4, 5, 6, 8]);
    assert_eq!(errors[0].1, "no such command `NOSUCH`");
    assert_eq!(errors[1].1, "no such category `@nosuch`");
}

// === guards ===

#[test]
fn guards_open_for_everyone_or_for_clients_on_this_machine() {
    const MODULES: [&str; 3] = ["MODULE LOAD x", "module loadex x", "MODULE UNLOAD x"];
    let lines = MODULES.into_iter().chain([
        "DEBUG SLEEP 0",
        "debug OBJECT k",
        "CONFIG SET dir /",
        "CONFIG SET a b DBFILENAME x",
    ]);
    for line in lines {
        for (enabled, elsewhere, here) in
            [(Enabled::No, false, false), (Enabled::Local, false, true), (Enabled::Yes, true, true)]
        {
            let mut switches = Switches::default();
            match line.split(' ').next().unwrap() {
                "CONFIG" => switches.protected_configs = enabled,
                "DEBUG" | "debug" => switches.debug = enabled,
                _ => switches.module = enabled,
            }
            let policy = gated(Version::V7_0, |gates, _| gates.with_switches(switches));
            for (local, allowed) in [(false, elsewhere), (true, here)] {
                let got = outcome_from(local, &policy, "admin", line);
                assert_eq!(got == wire(line), allowed, "{line} {enabled:?} local: {local}: {got}");
            }
        }
    }
}

#[test]
fn an_open_guard_leaves_the_acl_and_the_other_guards_shut() {
    let switches = Switches { debug: Enabled::Yes, ..Switches::default() };
    let policy = gated(Version::V7_0, |gates, _| gates.with_switches(switches));
    assert!(outcome_from(true, &policy, "cmds", "DEBUG SLEEP 0").starts_with("NOPERM "));
    for line in ["MODULE LOAD x", "CONFIG SET dir /"] {
        assert!(outcome_from(true, &policy, "admin", line).starts_with("ERR "), "{line}");
    }
    let all = Switches { debug: Enabled::Yes, module: Enabled::Yes, protected_configs: Enabled::Yes };
    let policy = gated(Version::V7_0, |gates, _| gates.with_switches(all));
    let got = outcome_from(true, &policy, "admin", "CONFIG SET masterauth x");
    assert!(got.starts_with("NOPERM the upstream"), "{got}");
}

#[test]
fn more_parameters_can_be_protected_and_redis_own_always_are() {
    let policy = gated(Version::V7_0, |gates, _| gates.with_protected_configs(["MaxMemory", "save"]));
    for (line, protected) in [
        ("CONFIG SET maxmemory 1", true),
        ("CONFIG SET timeout 1 SAVE x", true),
        ("CONFIG SET maxmemory\0 1", true),
        ("CONFIG SET dir /", true),
        ("CONFIG SET maxmemory-policy x", false),
        ("CONFIG SET timeout save", false),
        ("CONFIG GET maxmemory", false),
    ] {
        let got = outcome(&policy, "admin", line);
        assert_eq!(got.contains("can\\'t set protected config"), protected, "{line:?}: {got}");
    }
}

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
