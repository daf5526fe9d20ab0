//! What policies and users cost: verdicts, patterns, logins, large ACL files.

use std::hint::black_box;

use redkeep::acl::{Defaults, Glob, User, parse_file, parse_rules};
use redkeep::command::{CommandTable, Reported};
use redkeep::policy::{Facts, Gates, Origin, Policy, Rename, Verdict};
use redkeep::resp::RequestBuf;

use super::harness::{Case, measure};

/// Users in the big ACL file.
const USERS: usize = 10_000;
/// Length of patterns and keys in the worst cases of patterns.
const LONG: usize = 10 * 1024;

/// Rules of a user who is not all-powerful.
pub const PATTERNS: &str = "on >secret ~app:{1}:* ~cache:* %R~shared:* resetchannels -@all +@read +@write +@connection \
                        (~tmp:* +get +set) (%R~log:* +@read -@dangerous)";

/// Verdicts: the whole of [`Policy::judge`] for a request that was scanned already.
pub fn judging() {
    let renames = [Rename { command: "keys".to_owned(), alias: "my-keys".to_owned() }];
    let plain = policy(&[]);
    let renamed = policy(&renames);
    let mget: Vec<String> =
        std::iter::once("MGET".to_owned()).chain((0..10).map(|n| format!("app:{{1}}:{n}"))).collect();
    let mget: Vec<&str> = mget.iter().map(String::as_str).collect();
    let commands: [(&str, &Policy, &str, Vec<&str>, bool); 13] = [
        ("GET, all-powerful user", &plain, "default", vec!["GET", "app:{1}:42"], true),
        ("GET, 3 patterns and 2 selectors: 1st pattern", &plain, "app", vec!["GET", "app:{1}:42"], true),
        ("GET, 3 patterns and 2 selectors: 3rd pattern", &plain, "app", vec!["GET", "shared:42"], true),
        ("GET, 3 patterns and 2 selectors: last selector", &plain, "app", vec!["GET", "log:42"], true),
        ("GET, 3 patterns and 2 selectors: denied", &plain, "app", vec!["GET", "secret:42"], false),
        ("SET with EX and GET", &plain, "app", vec!["SET", "app:{1}:42", "v", "EX", "60", "GET"], true),
        ("MGET of 10 keys", &plain, "app", mget, true),
        ("OBJECT ENCODING", &plain, "app", vec!["OBJECT", "ENCODING", "app:{1}:42"], true),
        ("CONFIG GET, all-powerful user", &plain, "default", vec!["CONFIG", "GET", "maxmemory"], true),
        ("CONFIG GET with a pattern", &plain, "default", vec!["CONFIG", "GET", "max*"], true),
        ("unknown command", &plain, "default", vec!["NOSUCHCOMMAND", "x"], false),
        ("GET, where another command is renamed", &renamed, "default", vec!["GET", "app:{1}:42"], true),
        ("a renamed command", &renamed, "default", vec!["my-keys", "app:*"], true),
    ];
    let cases = commands.iter().map(|(name, policy, user, args, allowed)| -> Case<'_> {
        let user: &User = policy.user(user.as_bytes()).unwrap();
        let request = RequestBuf::from_args(args);
        let mut scratch = RequestBuf::default();
        let mut judge = move || {
            let verdict = policy.judge(
                Facts { user: Some(black_box(user)), database: 0, local: false },
                black_box(&request).as_request(),
                &mut scratch,
            );
            matches!(black_box(verdict), Verdict::Allow(_))
        };
        assert_eq!(judge(), *allowed, "{name}");
        (name, Box::new(move || _ = black_box(judge())))
    });
    measure("judge", cases.collect());
}

/// Patterns and keys of 10 KiB that are chosen to take long; each reads to the end of the key.
pub fn globs() {
    let key = vec![b'a'; LONG];
    let repeat = |unit: &str, count: usize| unit.repeat(count).into_bytes();
    let half = LONG / 2;
    let patterns: Vec<(&str, Vec<u8>)> = vec![
        ("*a*a…*b*: 5,120 stars", [repeat("*a", half - 2), b"*b*".to_vec()].concat()),
        ("*aa…ab*: one run of 10,237", [b"*".to_vec(), repeat("a", LONG - 3), b"b*".to_vec()].concat()),
        ("*aa…ab*: one run of 5,120", [b"*".to_vec(), repeat("a", half - 1), b"b*".to_vec()].concat()),
        (
            "*aa…ab*: runs of 31",
            [repeat(&format!("*{}b", "a".repeat(30)), LONG / 32), b"*".to_vec()].concat(),
        ),
        (
            "*aa…a*…b: runs of 32, the last one fails",
            [repeat(&format!("*{}", "a".repeat(32)), 300), b"*b*".to_vec()].concat(),
        ),
        ("*?…?b*: 10,237 question marks", [b"*".to_vec(), repeat("?", LONG - 3), b"b*".to_vec()].concat()),
        ("*[a-z]…b*: 2,047 classes", [b"*".to_vec(), repeat("[a-z]", LONG / 5 - 1), b"b*".to_vec()].concat()),
        (
            "*[^z]…b*: runs of 30 classes and a byte",
            [repeat(&format!("*{}b", "[^z]".repeat(30)), LONG / 122), b"*".to_vec()].concat(),
        ),
        ("[^b]…: 2,560 classes, no star", [repeat("[^b]", LONG / 4 - 1), b"b*".to_vec()].concat()),
        ("aa…a: no star", key.clone()),
    ];
    let cases = patterns.iter().map(|(name, pattern)| -> Case<'_> {
        let (glob, key) = (Glob::new(pattern), &key);
        (name, Box::new(move || _ = black_box(black_box(&glob).matches(black_box(key)))))
    });
    measure("pattern of 10 KiB against key of 10 KiB", cases.collect());
}

/// Logins that must take equally long, whatever is wrong.
pub fn logins() {
    let policy = policy(&[]);
    let attempts = [
        ("right password", "app", "secret"),
        ("wrong password", "app", "secreT"),
        ("unknown user", "apq", "secret"),
        ("disabled user", "off", "secret"),
        ("wrong password, user with 3 passwords", "three", "secret"),
        ("any password, nopass user", "default", "secret"),
    ];
    let cases = attempts.iter().map(|(name, user, password)| -> Case<'_> {
        let policy = &policy;
        (
            name,
            Box::new(move || {
                _ = black_box(policy.login(
                    Origin::default(),
                    black_box(user.as_bytes()),
                    black_box(password.as_bytes()),
                ))
            }),
        )
    });
    measure("login", cases.collect());
}

/// An ACL file with very many users, and a reload for another upstream. In milliseconds.
pub fn many_users() {
    let table = CommandTable::builtin();
    let text = acl_file(USERS);
    let fitted = table.fitted(&report(&table));
    let users = parse_file(text.as_bytes(), Defaults::default(), &table).unwrap();
    assert_eq!(users.len(), USERS);
    let cases: Vec<Case<'_>> = vec![
        (
            "parse and make a policy",
            Box::new(|| {
                let users = parse_file(text.as_bytes(), Defaults::default(), &table).unwrap();
                black_box(Policy::new(None, table.clone(), Gates::default(), users));
            }),
        ),
        (
            "rebase for another table and make a policy",
            Box::new(|| {
                let users = users.iter().map(|user| user.rebased(&fitted)).collect();
                black_box(Policy::new(None, fitted.clone(), Gates::default(), users));
            }),
        ),
    ];
    measure(&format!("ACL file of {USERS} users, {} KiB", text.len() / 1024), cases);
}

/// Users with these rules, and some who may not log in.
pub fn policy(renames: &[Rename]) -> Policy {
    let table = CommandTable::builtin();
    let gates = Gates::new(renames, &table).unwrap();
    let users = [
        ("app", PATTERNS),
        ("off", "off >secret"),
        ("three", "on >one >two >three"),
        ("default", "on nopass ~* &* +@all"),
    ];
    let users = users
        .iter()
        .map(|(name, rules)| parse_rules(name, rules, Defaults::default(), &table).unwrap())
        .collect();
    Policy::new(None, table, gates, users)
}

fn acl_file(users: usize) -> String {
    let mut text = "user default off\n".to_owned();
    for number in 1..users {
        text.push_str(&format!(
            "user tenant-{number} on #{number:064x} ~tenant:{number}:* %R~shared:* ~cache:{number}:?:* resetchannels \
             &tenant:{number}:* -@all +@read +@write +@connection -@dangerous +config|get (~tmp:{number}:* +get +set)\n",
        ));
    }
    text
}

/// What an upstream with all our commands but the last would report.
fn report(table: &CommandTable) -> Vec<Reported> {
    let reported = |id: usize| {
        let spec = &table.specs()[id];
        Reported {
            name: spec.name.to_string(),
            arity: spec.arity,
            flags: spec.flags,
            categories: None,
            keys: Some(spec.keys.to_vec()),
            subcommands: Vec::new(),
        }
    };
    let commands = table.specs().iter().filter(|spec| spec.parent.is_none());
    let mut commands: Vec<Reported> = commands
        .map(|spec| {
            let subcommands = spec.subcommands.iter().map(|id| reported(id.index())).collect();
            Reported { subcommands, ..reported(spec.id.index()) }
        })
        .collect();
    commands.pop();
    commands
}
