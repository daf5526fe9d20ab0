//! Nothing is allocated while a request is judged.
//!
//! A test binary of its own: it counts by a global allocator of its own, which the other tests must not have.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::hint::black_box;

use allocation_counter::{AllocationInfo, measure};
use redkeep::acl::{Defaults, parse_file, parse_rules};
use redkeep::command::CommandTable;
use redkeep::policy::{Bounds, Facts, Gates, Policy, Rename, Verdict};
use redkeep::resp::RequestBuf;

const USERS: [(&str, &str); 2] = [
    ("default", "on nopass ~* &* +@all"),
    (
        "app",
        "on nopass ~app:* ~cache:[0-9]* %R~shared:* resetchannels &news:* -@all +@read +@write +@pubsub \
         (~tmp:* +get +set) (%R~log:* +@read +sort +eval)",
    ),
];

/// A user, what they send, and whether it is allowed.
const REQUESTS: &[(Option<&str>, &str, bool)] = &[
    (Some("default"), "GET app:1", true),
    (Some("default"), "EVAL x 1 k", true),
    (Some("default"), "CONFIG GET maxmemory", true),
    (Some("default"), "CONFIG SET maxmemory 1 dir /", false),
    (Some("default"), "DEBUG OBJECT k", false),
    (Some("default"), "NOSUCHCOMMAND x", false),
    (Some("default"), "CONFIG NOSUCHSUBCOMMAND", false),
    (Some("default"), "GET", false),
    (Some("default"), "KEYS *", false),
    (Some("default"), "ALL-KEYS *", true),
    (Some("app"), "GET app:1", true),
    (Some("app"), "GET cache:1", true),
    (Some("app"), "GET shared:1", true),
    (Some("app"), "GET log:1", true),
    (Some("app"), "GET secret", false),
    (Some("app"), "SET app:1 v EX 10 GET", true),
    (Some("app"), "SET shared:1 v", false),
    (Some("app"), "MGET app:1 app:2 app:3 app:4 app:5 app:6 app:7 app:8 app:9 app:10", true),
    (Some("app"), "MGET app:1 app:2 app:3 app:4 app:5 app:6 app:7 app:8 app:9 secret", false),
    (Some("app"), "OBJECT ENCODING app:1", true),
    (Some("app"), "XREAD COUNT 1 STREAMS app:1 app:2 0 0", true),
    (Some("app"), "ZUNIONSTORE app:d 2 app:1 app:2", true),
    (Some("app"), "SORT log:1 BY w*", false),
    (Some("app"), "EVAL x 1 log:1", false),
    (Some("app"), "PUBLISH news:1 x", true),
    (Some("app"), "PUBLISH secret x", false),
    (Some("app"), "INFO", false),
    (Some("default"), "FLUSHALL", false),
    (Some("default"), "CONFIG SET save x", false),
    (Some("default"), "SETBIT k 1 1", false),
    (Some("default"), "SCAN 0 MATCH x* COUNT 100", true),
    (Some("default"), "SCAN 0 MATCH x* COUNT 101", false),
    (Some("default"), "SETRANGE k 1000 x", false),
    (None, "PING", false),
    (None, "AUTH a b", true),
];

#[test]
fn judging_allocates_nothing() {
    let table = CommandTable::builtin();
    let renames = [Rename { command: "keys".to_owned(), alias: "all-keys".to_owned() }];
    let bounds = Bounds { max_count: Some(100), max_pattern_bytes: Some(100), max_offset_bytes: Some(100) };
    let denied = ["flushall".to_owned(), "config|rewrite".to_owned(), "@bitmap".to_owned()];
    let gates = Gates::new(&renames, &table).unwrap().with_denied(&denied, &table).unwrap();
    let gates = gates.with_bounds(bounds).with_protected_configs(["save"]);
    let users = USERS
        .iter()
        .map(|(name, rules)| parse_rules(name, rules, Defaults::default(), &table).unwrap())
        .collect();
    let policy = Policy::new(None, table, gates, users);
    for (name, line, allowed) in REQUESTS {
        let user = name.map(|name| &**policy.user(name.as_bytes()).unwrap());
        let request = RequestBuf::from_args(&line.split(' ').collect::<Vec<_>>());
        // As in a session: the buffer has been used before.
        let mut scratch = RequestBuf::from_args(&[[0; 64]; 8]);
        let counted = measure(|| {
            let verdict = policy.judge(
                Facts { user, database: 0, local: false },
                black_box(request.as_request()),
                &mut scratch,
            );
            assert_eq!(matches!(verdict, Verdict::Allow(_)), *allowed, "{line}");
        });
        assert_eq!(counted.count_total, 0, "{name:?}: {line}");
    }
}

#[test]
fn the_count_sees_an_allocation() {
    assert_eq!(measure(|| drop(black_box(Box::new(1)))).count_total, 1);
}

#[test]
fn a_user_with_ordinary_rules_takes_little_memory() {
    const COUNT: u64 = 1000;
    const MAX_BYTES: u64 = 3072;
    let table = CommandTable::builtin();
    let mut file = "user default off\n".to_owned();
    for number in 1..COUNT {
        file.push_str(&format!(
            "user tenant-{number} on #{number:064x} ~tenant:{number}:* %R~shared:* ~cache:{number}:?:* resetchannels \
             &tenant:{number}:* -@all +@read +@write +@connection -@dangerous +config|get (~tmp:{number}:* +get)\n",
        ));
    }
    let mut users = Vec::new();
    let AllocationInfo { bytes_current, .. } =
        measure(|| users = parse_file(file.as_bytes(), Defaults::default(), &table).unwrap());
    let bytes = u64::try_from(bytes_current).unwrap() / COUNT;
    println!("{bytes} bytes for each user");
    assert!(bytes <= MAX_BYTES, "{bytes} bytes for each user");
}
