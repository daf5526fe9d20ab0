use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::testing::{VERSIONS, policy, words};
use super::*;
use crate::acl::explain::Said;
use crate::acl::{Dialect, parse_file};

const RENAMES: &[(&str, &str)] = &[("FLUSHALL", "wipe"), ("KEYS", "")];

/// Command lines of every kind: with and without keys and channels, unclear, gated, renamed, unknown, wrong.
const LINES: &[&str] = &[
    "GET a",
    "GET ab",
    "get ''",
    "SET a v",
    "SET ab v GET",
    "MGET a b ab",
    "DEL a b",
    "EXISTS b",
    "COPY a b",
    "MSET a 1 b 2",
    "SORT a",
    "SORT a BY x*",
    "SORT b GET # STORE ab",
    "SORT a NOSUCH",
    "XREAD STREAMS a b 0 0",
    "XREAD STREAMS a b 0",
    "BITOP AND a b ab",
    "ZADD a INCR 1 m",
    "EVAL x 1 a",
    "EVAL x -1",
    "EVAL_RO x 0",
    "FUNCTION LIST",
    "FUNCTION HELP",
    "SCRIPT EXISTS x",
    "PUBLISH a m",
    "SPUBLISH ab m",
    "SUBSCRIBE a b",
    "PSUBSCRIBE a*",
    "CONFIG GET maxmemory",
    "CONFIG SET masterauth x",
    "CONFIG SET dir /",
    "CONFIG SET maxmemory 1",
    "CONFIG NOSUCH",
    "CONFIG",
    "CONFIG GET",
    "SELECT 0",
    "SELECT 1",
    "PING",
    "AUTH x",
    "HELLO",
    "QUIT",
    "RESET",
    "CLIENT ID",
    "CLIENT KILL x",
    "ACL WHOAMI",
    "ACL LIST",
    "OBJECT FREQ a",
    "MEMORY USAGE a",
    "FLUSHALL",
    "wipe",
    "KEYS *",
    "NOSUCH a",
    "config|get x",
    "DEBUG OBJECT a",
    "MODULE LOAD x",
    "POST /",
    "GET",
    "GET a b",
    "MULTI",
    "EXEC",
    "MONITOR",
    "MIGRATE h 1 a 0 1",
    "GEORADIUS a 0 0 1 m STORE b",
    "LCS a b",
    "DBSIZE",
    "TYPE a",
];

const GRANTS: &[&str] = &[
    "+@all",
    "+@all",
    "-@all",
    "+@read",
    "+@write",
    "-@dangerous",
    "-@write",
    "+@scripting",
    "+@pubsub",
    "-@connection",
    "+get",
    "-get",
    "+set",
    "+mget",
    "-config",
    "+config",
    "+config|get",
    "-config|set",
    "+select|0",
    "+flushall",
    "+eval",
    "-client|id",
    "resetkeys",
    "resetchannels",
    "~*",
    "~*",
    "%R~*",
    "%RW~*",
    "%W~a*",
    "%R~a",
    "~a",
    "~b",
    "~?",
    "%R~ab",
    "&*",
    "&a",
    "&a*",
    "&?",
];

fn grants() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(select(GRANTS), 0..7)
}

/// Rules that can be refused (`~a` after `~*`) are left out.
fn any_user() -> impl Strategy<Value = Vec<u8>> {
    (grants(), proptest::collection::vec(grants(), 0..3)).prop_map(|(root, selectors)| {
        let table = crate::command::CommandTable::builtin();
        let mut user = User::new(b"u", Defaults::default(), &table).unwrap();
        for rule in root {
            user = user.set(&[rule.as_bytes()], &table).unwrap_or(user);
        }
        for rules in selectors {
            user = user.set(&[format!("({})", rules.join(" ")).as_bytes()], &table).unwrap_or(user);
        }
        user.describe(Dialect::Redis72)
    })
}

fn read(line: &[u8], policy: &Policy) -> User {
    let file = [b"user default off\n", line].concat();
    parse_file(&file, Defaults::default(), policy.table()).unwrap().pop().unwrap()
}

fn allows(policy: &Policy, user: &User, line: &str) -> bool {
    let request = RequestBuf::from_args(&words(line));
    policy.allows(Asked { user, database: 0, request: request.as_request() })
}

fn added(user: &User, rules: &[Vec<u8>], policy: &Policy) -> User {
    let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
    let user = user.set(&rules, policy.table()).unwrap();
    // As an operator does who writes the rules into a file.
    read(&user.describe(Dialect::Redis72), policy)
}

fn check(policy: &Policy, user: &User, line: &str) -> Result<usize, TestCaseError> {
    let request = RequestBuf::from_args(&words(line));
    let mut scratch = Default::default();
    let found = policy.explain(user, 0, request.as_request(), &mut scratch);
    let allowed = allows(policy, user, line);
    prop_assert_eq!(found.denied.is_none(), allowed);

    for finding in &found.findings {
        let all_keys = finding.key_rules == [b"~*"];
        let uses = finding.uses.iter().all(|said| matches!(said, Said::Allowed(_)));
        let all = finding.command && uses && (!found.demand.unclear || all_keys);
        prop_assert_eq!(all, finding.denial.is_none(), "{:?}", finding);
        if let Some(rule) = &finding.command_rule {
            prop_assert_eq!(rule.starts_with(b"+"), finding.command, "{:?}", finding);
        }
    }
    let rules_allow = found.findings.iter().any(|finding| finding.denial.is_none());
    let by_rules =
        found.denied.is_none_or(|reason| !asks_rules(reason) || matches!(reason, Reason::Script(_)));
    prop_assert!(!allowed || rules_allow);
    prop_assert!(allowed || !by_rules || found.gate.is_some() || rules_allow || found.findings.is_empty());

    let no_auth = found.spec.is_some_and(|spec| spec.flags.contains(flag::NO_AUTH));
    let can_turn = if allowed { !no_auth } else { found.gate.is_none() };
    prop_assert_eq!(!found.suggestions.is_empty(), can_turn, "{:?}", found);
    for Suggestion { rules, own_selector } in &found.suggestions {
        let after = added(user, rules, policy);
        prop_assert_eq!(allows(policy, &after, line), !allowed, "{:?}", found);
        for left_out in (0..rules.len()).filter(|_| !allowed) {
            let mut fewer = rules.clone();
            fewer.remove(left_out);
            prop_assert!(!allows(policy, &added(user, &fewer, policy), line), "{:?}", found);
        }
        // A selector of one's own and a rule that denies change nothing about other commands.
        for other in LINES.iter().filter(|_| allowed || *own_selector) {
            let request = RequestBuf::from_args(&words(other));
            let (_, original) = policy.original(request.as_request());
            let same = match policy.table.resolve(original.as_request()) {
                Resolution::Known(spec) => Some(spec.id) == found.spec.map(|spec| spec.id),
                _ => false,
            };
            let (before, after) = (allows(policy, user, other), allows(policy, &after, other));
            // Scripts need all rights, so a user who loses one loses them, too.
            let scripts = user.is_all_powerful() && other.starts_with(['E', 'F', 'S']);
            prop_assert!(
                same || scripts || before == after,
                "{}: {} -> {}: {:?}",
                other,
                before,
                after,
                found
            );
        }
    }
    Ok(found.suggestions.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn explanations_agree_with_the_verdict_and_suggestions_turn_it(
        line in any_user(),
        version in select(VERSIONS.to_vec()),
        lines in subsequence(LINES, 6),
    ) {
        let policy = policy(version, &[("default", "off")], RENAMES);
        let user = read(&line, &policy);
        for command in lines {
            check(&policy, &user, command)?;
        }
    }
}

#[test]
fn every_command_line_is_explained_for_typical_users() {
    let policy = policy(Version::V7_2, &[("default", "off")], RENAMES);
    let mut suggestions = 0;
    for rules in
        ["-@all", "~* &* +@all", "~a* &a +@all -@dangerous", "+@all ~*", "-@all (+@read ~a*) (+@all ~b &*)"]
    {
        let user = read(format!("user u on {rules}").as_bytes(), &policy);
        for line in LINES {
            suggestions +=
                check(&policy, &user, line).unwrap_or_else(|error| panic!("{rules}: {line}: {error}"));
        }
    }
    assert!(suggestions > 150, "{suggestions} suggestions only");
}

/// What is suggested for `rules` and `line`, each suggestion as text.
fn suggested(rules: &str, line: &str) -> Vec<String> {
    let policy = policy(Version::V7_2, &[("default", "off")], RENAMES);
    let user = read(format!("user u on {rules}").as_bytes(), &policy);
    let request = RequestBuf::from_args(&words(line));
    let mut scratch = Default::default();
    let found = policy.explain(&user, 0, request.as_request(), &mut scratch);
    let text = |suggestion: &Suggestion| String::from_utf8(suggestion.rules.join(&b' ')).unwrap();
    found.suggestions.iter().map(text).collect()
}

#[test]
fn suggestions_are_the_smallest_rules() {
    for (rules, line, expected) in [
        ("+@all ~app:*", "GET other:1", &["%R~other:1", "(+get %R~other:1)"][..]),
        ("-@all ~app:*", "GET app:1", &["+get", "(+get %R~app:1)"]),
        ("-@all", "SET x 1 GET", &["+set ~x", "(+set ~x)"]),
        ("-@all", "wipe", &["+flushall"]),
        ("+@all -@dangerous", "CONFIG GET maxmemory", &["+config|get"]),
        ("+@all -@dangerous ~a", "SORT a GET #", &["+sort %R~*", "(+sort %R~*)"]),
        ("+@all", "SORT a NOSUCH", &["~*", "(+sort ~*)"]),
        ("+@all ~*", "PUBLISH a m", &["&a", "(+publish &a)"]),
        ("+@all ~*", "FUNCTION LOAD x", &["&*"]),
        ("-@all ~a", "FUNCTION LOAD x", &["+@all ~* &*"]),
        ("-@all ~a", "EVAL x 1 a", &["+eval", "(+eval ~a)"]),
        ("+@all -get ~* &*", "FUNCTION LOAD x", &["+@all"]),
        ("+@all ~* &*", "GET a", &["-get"]),
        ("+@all ~* &* (+get ~*)", "GET a", &["-get clearselectors"]),
        ("+@all ~* &*", "RESET", &[]),
        ("-@all", "SUBSCRIBE a", &["+subscribe &a", "(+subscribe &a)"]),
        ("-@all", "ASKING", &[]),
        ("+@all ~* &*", "KEYS *", &[]),
        ("+@all ~* &*", "CONFIG SET dir /", &[]),
    ] {
        assert_eq!(suggested(rules, line), expected, "{rules}: {line}");
    }
}

#[test]
fn a_gate_behind_the_rules_is_told_with_the_rules() {
    let policy = policy(Version::V7_2, &[("default", "off")], RENAMES);
    let user = read(b"user u on -@all", &policy);
    for (line, denied, gate) in [
        ("ASKING", "Command", "Unavailable"),
        ("CONFIG SET dir /", "Command", "ProtectedConfig"),
        ("CONFIG SET masterauth x", "Command", "CredentialConfig"),
        ("EVAL x 0", "Command", "None"),
        ("GET a", "Command", "None"),
        ("FLUSHALL", "UnknownCommand", "UnknownCommand"),
        ("GET", "Arity", "Arity"),
    ] {
        let request = RequestBuf::from_args(&words(line));
        let mut scratch = Default::default();
        let found = policy.explain(&user, 0, request.as_request(), &mut scratch);
        let name = |reason: Option<Reason<'_>>| {
            let text = reason.map_or("None".to_owned(), |reason| format!("{reason:?}"));
            text.split(|c: char| !c.is_alphabetic()).next().unwrap().to_owned()
        };
        assert_eq!((name(found.denied).as_str(), name(found.gate).as_str()), (denied, gate), "{line}");
    }
}

#[test]
fn names_are_explained_with_their_renames() {
    let policy = policy(Version::V7_2, &[("default", "off")], RENAMES);
    let user = read(b"user u on +@all", &policy);
    for (line, naming, name) in [
        ("FlushAll", Naming::RenamedTo(b"wipe"), None),
        ("WIPE", Naming::AliasOf("flushall"), Some("flushall")),
        ("keys *", Naming::Disabled, None),
        ("GET a", Naming::AsSent, Some("get")),
        ("CONFIG GET a", Naming::AsSent, Some("config|get")),
        ("CONFIG NOSUCH", Naming::AsSent, Some("config")),
    ] {
        let request = RequestBuf::from_args(&words(line));
        let mut scratch = Default::default();
        let found = policy.explain(&user, 0, request.as_request(), &mut scratch);
        assert_eq!((found.naming, found.spec.map(|spec| &*spec.name)), (naming, name), "{line}");
    }
}

#[test]
fn a_policy_before_another_version_judges_in_its_order() {
    let judged = |version| {
        let policy = policy(Version::V7_2, &[("default", "off")], &[]).before(version);
        let user = read(b"user u on -@all", &policy);
        let request = RequestBuf::from_args(&["CONFIG", "NOSUCH"]);
        let mut scratch = Default::default();
        format!("{:?}", policy.explain(&user, 0, request.as_request(), &mut scratch).denied)
    };
    assert!(judged(Version::V7_0).starts_with("Some(UnknownSubcommand("));
    assert!(judged(Version { major: 6, minor: 2 }).starts_with("Some(Command("));
}
