use super::super::testing::{policy, words};
use super::super::{Facts, Policy, Reason, Verdict};
use super::*;
use crate::resp::RequestBuf;

/// `return 1`.
const SHA: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

const USERS: &[(&str, &str)] = &[
    ("app", "on nopass ~app:* +@all"),
    ("writer", "on nopass ~app:* +@all"),
    ("narrow", "on nopass ~app:* -@all +eval"),
    ("admin", "on nopass ~* &* +@all"),
];

fn with(version: Version, scripts: Scripts) -> Policy {
    let mut policy = policy(version, USERS, &[]);
    policy.gates = std::sync::Arc::new(super::super::Gates::clone(policy.gates()).with_scripts(scripts));
    policy
}

/// What becomes of a command: `Mirror`, `Redkeep`, or the reason of the denial.
fn verdict(policy: &Policy, user: &str, line: &str) -> String {
    let args = words(line);
    let request = RequestBuf::from_args(&args);
    let facts = Facts { user: policy.user(user.as_bytes()).map(|user| &**user), database: 0, local: false };
    match policy.judge(facts, request.as_request(), &mut RequestBuf::default()) {
        Verdict::Allow(judged) if judged.is_mirrored() => "Mirror".to_owned(),
        Verdict::Allow(_) => "Redkeep".to_owned(),
        Verdict::Deny(Reason::Script(denial)) => format!("{denial:?}"),
        Verdict::Deny(reason) => {
            format!("{reason:?}").split(['(', ' ']).next().unwrap_or_default().to_owned()
        }
    }
}

const RUNS: [&str; 7] = [
    "EVAL x 1 app:k",
    "EVAL_RO x 1 app:k",
    "EVALSHA x 1 app:k",
    "EVALSHA_RO x 1 app:k",
    "FCALL f 1 app:k",
    "FCALL_RO f 1 app:k",
    "SCRIPT LOAD x",
];
const MANAGES: [&str; 6] =
    ["SCRIPT FLUSH", "SCRIPT KILL", "FUNCTION LIST", "FUNCTION DUMP", "FUNCTION STATS", "FUNCTION KILL"];
const WRITES: [&str; 4] = ["FUNCTION LOAD x", "FUNCTION DELETE x", "FUNCTION FLUSH", "FUNCTION RESTORE x"];

#[test]
fn each_mode_has_its_answer_and_all_powerful_users_are_not_asked() {
    let writers: Vec<Box<str>> = vec!["writer".into()];
    for (mode, version, runs, manages) in [
        (ScriptMode::Mirror, Version::V7_0, "Mirror", "Redkeep"),
        (ScriptMode::Mirror, Version::V5_0, "NoMirror", "NoMirror"),
        (ScriptMode::Deny, Version::V7_0, "Denied", "Denied"),
        (ScriptMode::Trusted, Version::V7_0, "Untrusted", "Untrusted"),
    ] {
        let scripts = Scripts { mode, function_writers: writers.clone(), ..Scripts::default() };
        let policy = with(version, scripts);
        for (lines, expected) in [(&RUNS[..], runs), (&MANAGES, manages), (&WRITES, "WritesFunctions")] {
            for line in lines {
                assert_eq!(verdict(&policy, "app", line), expected, "{mode:?} {line}");
                assert_eq!(verdict(&policy, "admin", line), "Redkeep", "{mode:?} {line}");
                let narrow = if line.starts_with("EVAL ") { expected } else { "Command" };
                assert_eq!(verdict(&policy, "narrow", line), narrow, "{mode:?} {line}");
            }
        }
        for line in WRITES {
            assert_eq!(verdict(&policy, "writer", line), "Redkeep", "{mode:?} {line}");
        }
        for line in ["SCRIPT EXISTS x", "SCRIPT HELP", "FUNCTION HELP"] {
            assert_eq!(verdict(&policy, "app", line), "Redkeep", "{mode:?} {line}");
        }
        assert_eq!(verdict(&policy, "app", "EVAL x 1 other"), "Key", "{mode:?}");
        assert_eq!(
            verdict(&policy, "app", "SCRIPT DEBUG yes"),
            match manages {
                "Redkeep" => "Unavailable",
                denied => denied,
            }
        );
    }
}

#[test]
fn trusted_are_listed_scripts_and_functions_and_no_others() {
    let scripts = Scripts {
        mode: ScriptMode::Trusted,
        trusted_shas: vec![sha_of_hex(SHA.as_bytes()).unwrap()],
        trusted_functions: vec!["f".into()],
        function_writers: Vec::new(),
    };
    let policy = with(Version::V7_0, scripts);
    let ask = |args: &[&str]| {
        let request = RequestBuf::from_args(args);
        let facts = Facts { user: policy.user(b"app").map(|user| &**user), database: 0, local: false };
        matches!(policy.judge(facts, request.as_request(), &mut RequestBuf::default()), Verdict::Allow(judged)
            if !judged.is_mirrored())
    };
    for (args, allowed) in [
        (&["EVAL", "return 1", "1", "app:k"][..], true),
        (&["EVAL_RO", "return 1", "0"], true),
        (&["SCRIPT", "LOAD", "return 1"], true),
        (&["EVALSHA", SHA, "0"], true),
        (&["EVALSHA_RO", &SHA.to_ascii_uppercase(), "0"], true),
        (&["FCALL", "f", "0"], true),
        (&["FCALL_RO", "f", "0"], true),
        (&["EVAL", "return 1", "1", "other"], false),
        (&["EVAL", "return 1 ", "0"], false),
        (&["EVAL", "", "0"], false),
        (&["SCRIPT", "LOAD", "return 2"], false),
        (&["EVALSHA", &SHA.replace('e', "f"), "0"], false),
        (&["EVALSHA", &SHA.replacen('e', "", 1), "0"], false),
        (&["EVALSHA", "", "0"], false),
        (&["FCALL", "F", "0"], false),
        (&["FCALL", "f\0", "0"], false),
        (&["FCALL", "g", "0"], false),
        (&["FUNCTION", "LIST"], false),
    ] {
        assert_eq!(ask(args), allowed, "{args:?}");
    }
}

#[test]
fn a_mirror_has_the_rules_of_its_user_without_what_gates_take_in_every_selector() {
    let renames = [("KEYS", ""), ("EVAL", "run"), ("FLUSHALL", "wipe"), ("SCRIPT", "s"), ("CONFIG", "")];
    let rules = "on >secret %R~a ~b &c +@all -@dangerous +select|0 (+get ~d) (%W~e -@all +set)";
    let policy = policy(Version::V7_0, &[("app", rules)], &renames);
    let user = policy.user(b"app").unwrap();
    let rules: Vec<String> =
        policy.mirror_rules(user).into_iter().map(|rule| String::from_utf8(rule).unwrap()).collect();
    let denied = "-acl -config -debug -flushall -keys -module";
    assert_eq!(
        rules.join(" "),
        format!(
            "reset resetkeys resetchannels -@all on %R~a ~b resetchannels &c +@all -@dangerous +select|0 {denied} \
             (~d resetchannels -@all +get {denied}) (%W~e resetchannels -@all +set {denied})"
        )
    );
    assert!(!rules.iter().any(|rule| rule.starts_with('#') || rule.starts_with('>')), "no password");
}

#[test]
fn unknown_commands_of_the_category_are_denied_in_every_mode() {
    use crate::command::{CommandTable, Reported};
    let known = Reported {
        name: "gears.call".to_owned(),
        arity: -2,
        flags: crate::command::Flags(flag::WRITE),
        categories: Some(vec!["scripting".to_owned()]),
        keys: Some(Vec::new()),
        subcommands: Vec::new(),
    };
    let table = CommandTable::builtin().fitted(&[known]);
    let user = crate::acl::parse_rules("app", "on nopass ~a +@all", Default::default(), &table).unwrap();
    for mode in [ScriptMode::Mirror, ScriptMode::Deny, ScriptMode::Trusted] {
        let gates = super::super::Gates::default().with_scripts(Scripts { mode, ..Scripts::default() });
        let policy = Policy::new(None, table.clone(), gates, vec![user.clone()]);
        assert_eq!(verdict(&policy, "app", "GEARS.CALL x"), "Denied", "{mode:?}");
    }
}
