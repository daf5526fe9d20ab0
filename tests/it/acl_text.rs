//! How users are printed: random rules set on every real server, and each piece of `ACL LIST` and `ACL GETUSER`
//! compared byte for byte with ours.
//!
//! Two deviations are ours on purpose and are put right before the comparison: Redis 7.0 makes up command rules from its
//! bitmap, and a server prints `~*` for `%RW~*`, which it would read back as another rule.

use redkeep::acl::{Defaults, Dialect, Selector, User, parse_file};
use redkeep::command::CommandTable;
use redkeep::resp::Value;

use crate::acl_oracle::{Kind, is_valkey, ok, rules, seeded, table};
use crate::support::random::Random;
use crate::support::redis::{all, installed};
use crate::support::{Client, Redis};

const USERS: usize = 2_000;

/// Rules that the decisions do not depend on, but the text does.
const MORE: &[&str] = &[
    "on",
    "off",
    ">a",
    ">b",
    "nopass",
    "resetpass",
    "sanitize-payload",
    "skip-sanitize-payload",
    "reset",
    "+SELECT|AbC",
    "+select|aBc",
    "%R~x",
    "%W~x",
    "%RW~*",
    "-get",
    "+GET",
    "+@Read",
    "-@read",
    "+config|get",
    "-config",
    "()",
    "(%W~x %r~x)",
    "clearselectors",
    "%R",
    "&",
    "~",
];

fn bulk(text: impl AsRef<[u8]>) -> Value {
    Value::Bulk(text.as_ref().to_vec())
}

/// What `ACL GETUSER` says of permissions.
fn permissions(selector: &Selector, dialect: Dialect) -> Vec<Value> {
    let mut fields = vec![
        bulk("commands"),
        bulk(selector.commands_text(dialect)),
        bulk("keys"),
        bulk(selector.keys_text()),
        bulk("channels"),
        bulk(selector.channels_text()),
    ];
    if dialect.has_databases() {
        fields.extend([bulk("databases"), bulk(selector.databases_text())]);
    }
    fields
}

/// Our reply to `ACL GETUSER`.
fn shown(user: &User, dialect: Dialect) -> Value {
    let flags = user.flags(dialect).iter().map(bulk).collect();
    let passwords = user.passwords().iter().map(|hash| bulk(hash.to_hex().as_bytes())).collect();
    let mut fields = vec![bulk("flags"), Value::Array(flags), bulk("passwords"), Value::Array(passwords)];
    fields.extend(permissions(user.root(), dialect));
    let selectors = user.selectors().iter().map(|selector| Value::Array(permissions(selector, dialect)));
    fields.extend([bulk("selectors"), Value::Array(selectors.collect())]);
    Value::Array(fields)
}

/// With what the server's way would print for our deviations.
fn in_their_way(value: Value) -> Value {
    match value {
        Value::Array(values) => Value::Array(values.into_iter().map(in_their_way).collect()),
        Value::Bulk(text) => Value::Bulk(without(&text, b"%RW~*", b"~*")),
        other => other,
    }
}

/// `text` with every word `word` replaced.
fn without(text: &[u8], word: &[u8], by: &[u8]) -> Vec<u8> {
    let words = text.split(|byte| *byte == b' ').map(|found| {
        let (open, bare) = found.strip_prefix(b"(").map_or((&b""[..], found), |bare| (b"(", bare));
        if bare == word { [open, by].concat() } else { found.to_vec() }
    });
    words.collect::<Vec<_>>().join(&b' ')
}

/// A reply to `ACL GETUSER` without the command rules that Redis 7.0 makes up.
fn without_commands(value: Value) -> Value {
    let Value::Array(mut values) = value else { return value };
    for index in 0..values.len() {
        let is_key = values[index] == bulk("commands");
        if let (true, Some(next)) = (is_key, values.get_mut(index + 1)) {
            *next = Value::Null;
        }
    }
    Value::Array(values.into_iter().map(without_commands).collect())
}

/// For messages.
fn legible(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(legible).collect::<Vec<_>>().join(", ")),
        Value::Bulk(text) | Value::Simple(text) => text.escape_ascii().to_string(),
        other => format!("{other:?}"),
    }
}

fn line(server: &mut Client) -> Vec<u8> {
    let Value::Array(lines) = server.value(&["ACL", "LIST"]) else { panic!("no lines") };
    let line = lines.iter().filter_map(Value::as_bytes).find(|line| line.starts_with(b"user u "));
    line.unwrap().to_vec()
}

fn random_rules(random: &mut Random, kind: Kind) -> Vec<Vec<u8>> {
    let mut rules = rules(random, kind);
    for _ in 0..random.below(4) {
        let place = random.below(rules.len());
        rules.insert(place, random.pick(MORE).into());
    }
    rules
}

/// Compares with one server.
fn compare(redis: &Redis, kind: Kind, dialect: Dialect, defaults: Defaults) {
    let mut server = redis.client();
    let table = table(&mut server);
    let mut random = seeded();
    let (mut compared, mut refused) = (0, 0);
    while compared < USERS {
        let rules = random_rules(&mut random, kind);
        let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
        let given = rules.iter().map(|rule| String::from_utf8_lossy(rule)).collect::<Vec<_>>().join(" ");
        server.value(&["ACL", "DELUSER", "u"]);
        let set = server.value(&[[b"ACL".as_slice(), b"SETUSER", b"u"].as_slice(), &rules].concat());
        let user = match User::new(b"u", defaults, &table).unwrap().set(&rules, &table) {
            Ok(user) => user,
            Err(error) => {
                let text = [b"ERR ".as_slice(), &error.reply()].concat();
                assert_eq!(set, Value::Error(text), "{given}");
                refused += 1;
                continue;
            }
        };
        assert_eq!(set, ok(), "{given}");
        let (ours, theirs) = (in_their_way(shown(&user, dialect)), server.value(&["ACL", "GETUSER", "u"]));
        if dialect == Dialect::Redis70 {
            assert_eq!(legible(&without_commands(theirs)), legible(&without_commands(ours)), "{given}");
        } else {
            assert_eq!(legible(&theirs), legible(&ours), "{given}");
            assert_eq!(theirs, ours, "{given}");
            let ours = without(&user.describe(dialect), b"%RW~*", b"~*");
            assert_eq!(
                String::from_utf8_lossy(&line(&mut server)),
                String::from_utf8_lossy(&ours),
                "{given}"
            );
        }
        assert_stable(&user, dialect, defaults, &table);
        compared += 1;
    }
    eprintln!("{compared} users printed alike as {dialect:?} with {defaults:?}, {refused} refused by both");
}

/// Our line, read back, is the same line.
fn assert_stable(user: &User, dialect: Dialect, defaults: Defaults, table: &CommandTable) {
    let line = user.describe(dialect);
    let file = [b"user default off\n", line.as_slice()].concat();
    let users = parse_file(&file, defaults, table).unwrap_or_else(|errors| panic!("{line:?}: {errors:?}"));
    assert_eq!(String::from_utf8_lossy(&users[1].describe(dialect)), String::from_utf8_lossy(&line));
}

#[test]
fn users_are_printed_as_every_server_prints_them() {
    for program in all() {
        let (kind, dialect) = if is_valkey(&program) {
            (Kind::Valkey, Dialect::Valkey91)
        } else if program == installed() {
            (Kind::Redis, Dialect::Redis70)
        } else {
            (Kind::Redis, Dialect::Redis72)
        };
        for all_channels in [false, true] {
            let default = if all_channels { "allchannels" } else { "resetchannels" };
            let redis = Redis::start_program(&program, &["--acl-pubsub-default", default]);
            compare(&redis, kind, dialect, Defaults { all_channels });
        }
    }
}
