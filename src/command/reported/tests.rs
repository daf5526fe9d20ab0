//! Replies to `COMMAND`, as servers of all ages send them.

use super::*;

fn word(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn words(line: &str) -> Value {
    Value::Array(line.split_whitespace().map(|text| Value::Simple(text.as_bytes().to_vec())).collect())
}

fn list(values: Vec<Value>) -> Value {
    Value::Array(values)
}

fn number(value: i64) -> Value {
    Value::Integer(value)
}

/// The first six elements, as Redis 3.2 has them.
fn head(name: &str, arity: i64, flags: &str, places: [i64; 3]) -> Vec<Value> {
    let mut entry = vec![word(name), number(arity), words(flags)];
    entry.extend(places.map(number));
    entry
}

/// Ten elements, as Redis 7.0 has them.
fn modern(name: &str, flags: &str, specs: Vec<Value>, subcommands: Vec<Value>) -> Value {
    let mut entry = head(name, -2, flags, [0, 0, 0]);
    entry.extend([words("@read @unheardof"), words(""), list(specs), list(subcommands)]);
    list(entry)
}

fn search(kind: &str, fields: &[(&str, Value)]) -> Value {
    let fields = fields.iter().flat_map(|(name, value)| [word(name), value.clone()]).collect();
    list(vec![word("type"), word(kind), word("spec"), list(fields)])
}

fn key_spec(flags: &str, begin: Value, find: Value) -> Value {
    list(vec![word("flags"), words(flags), word("begin_search"), begin, word("find_keys"), find])
}

fn index(at: i64) -> Value {
    search("index", &[("index", number(at))])
}

fn keyword(text: &str, from: i64) -> Value {
    search("keyword", &[("keyword", word(text)), ("startfrom", number(from))])
}

fn range(last: i64, step: i64, limit: i64) -> Value {
    search("range", &[("lastkey", number(last)), ("keystep", number(step)), ("limit", number(limit))])
}

fn keynum(number_at: i64, first: i64, step: i64) -> Value {
    let fields = [("keynumidx", number(number_at)), ("firstkey", number(first)), ("keystep", number(step))];
    search("keynum", &fields)
}

fn one(entry: Value) -> Reported {
    let mut all = parse(&list(vec![entry]));
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn six_elements_of_redis_3_2() {
    let get = one(list(head("GET", 2, "readonly fast", [1, 1, 1])));
    assert_eq!((get.name.as_str(), get.arity), ("get", 2));
    assert_eq!(get.flags, Flags(flag::READONLY | flag::FAST));
    assert_eq!(get.categories, None);
    assert_eq!(
        get.keys,
        Some(vec![KeySpec {
            access: Access::READ_WRITE,
            begin: Begin::Index(1),
            find: Find::Range { last: 0, step: 1, limit: 0 },
        }])
    );
    let last = |places| one(list(head("x", -2, "write", places))).keys.map(|keys| keys[0].find.clone());
    assert_eq!(last([1, -2, 1]), Some(Find::Range { last: -2, step: 1, limit: 0 }));
    assert_eq!(last([1, 3, 2]), Some(Find::Range { last: 2, step: 2, limit: 0 }));
    assert_eq!(last([2, 1, 1]), None);
    assert_eq!(last([1, 1, 0]), None);
    assert_eq!(last([-1, 1, 1]), None);
    assert_eq!(one(list(head("x", -2, "write movablekeys", [1, 1, 1]))).keys, None);
    assert_eq!(one(list(head("ping", -1, "stale", [0, 0, 0]))).keys, Some(vec![]));
    // COMMAND itself, in Redis 3.2.
    assert_eq!(one(list(head("command", 0, "loading", [0, 0, 0]))).arity, -1);
}

#[test]
fn seven_elements_of_redis_6_2_have_categories() {
    let mut entry = head("config", -2, "admin noscript", [0, 0, 0]);
    entry.push(words("@admin @slow @dangerous"));
    let config = one(list(entry));
    assert_eq!(config.categories, Some(["admin", "slow", "dangerous"].map(str::to_owned).to_vec()));
    assert_eq!(config.keys, Some(vec![]));
}

#[test]
fn ten_elements_of_redis_7_have_key_specifications_and_subcommands() {
    let specs = vec![
        key_spec("RW access delete", index(1), range(-1, 1, 0)),
        key_spec("OW update", keyword("store", -2), range(0, 1, 0)),
        key_spec("RO", index(3), keynum(0, 1, 2)),
        key_spec("not_key", index(1), search("unknown", &[])),
    ];
    let parsed = one(modern("m.x", "movablekeys", specs, vec![])).keys.unwrap();
    assert_eq!(parsed.len(), 3);
    assert_eq!(parsed[0].access, Access::READ_WRITE);
    assert_eq!(parsed[1].access, Access::WRITE);
    assert_eq!(parsed[1].begin, Begin::Keyword { word: "STORE".into(), from: -2 });
    assert_eq!(parsed[2].access, Access::ANY);
    assert_eq!(parsed[2].find, Find::KeyNum { number: 0, first: 1, step: 2 });

    let subs = vec![
        modern("m|a", "write", vec![], vec![]),
        modern("n|b", "write", vec![], vec![]),
        modern("m|", "write", vec![], vec![]),
        Value::Null,
    ];
    let container = one(modern("m", "", vec![], subs));
    assert_eq!(container.categories, Some(["read", "unheardof"].map(str::to_owned).to_vec()));
    let names: Vec<&str> = container.subcommands.iter().map(|sub| sub.name.as_str()).collect();
    assert_eq!(names, ["m|a"]);
}

#[test]
fn keys_in_doubt_are_none() {
    let first = || key_spec("RW access update", index(1), range(0, 1, 0));
    for (flags, spec) in [
        ("write", key_spec("RO access incomplete", index(1), range(0, 1, 0))),
        ("write", key_spec("RO access", search("unknown", &[]), range(0, 1, 0))),
        ("write", key_spec("RO access", index(1), search("unknown", &[]))),
        ("write", key_spec("RO access", index(0), range(0, 1, 0))),
        ("write", key_spec("RO access", index(-1), range(0, 1, 0))),
        ("write", key_spec("RO access", index(70_000), range(0, 1, 0))),
        ("write", key_spec("RO access", index(1), range(0, 0, 0))),
        ("write", key_spec("RO access", index(1), search("range", &[]))),
        ("write", key_spec("RO access", keyword("", 1), range(0, 1, 0))),
        ("write", key_spec("RO access", keyword("K", 0), range(0, 1, 0))),
        ("write", Value::Null),
        // A module whose keys are found by a function says movablekeys without a reason to.
        ("write movablekeys", first()),
        ("movablekeys", key_spec("RW access update variable_flags", index(1), keynum(0, 1, 1))),
    ] {
        let reported = one(modern("m.x", flags, vec![first(), spec.clone()], vec![]));
        assert_eq!(reported.keys, None, "{flags} {spec:?}");
    }
    assert_eq!(one(modern("m.x", "movablekeys", vec![], vec![])).keys, None);
    let variable = key_spec("OW variable_flags", index(1), range(0, 1, 0));
    let keys = one(modern("m.x", "write", vec![variable], vec![])).keys.unwrap();
    assert_eq!(keys[0].access, Access::READ_WRITE);
}

#[test]
fn entries_that_cannot_be_parsed_are_left_out() {
    let entry = |name: &str| head(name, -2, "write", [0, 0, 0]);
    let mut short = entry("short");
    short.truncate(5);
    let mut arity = entry("arity");
    arity[1] = number(40_000);
    let mut flags = entry("flags");
    flags[2] = word("write");
    let reply = list(vec![
        Value::Null,
        list(vec![]),
        list(short),
        list(arity),
        list(flags),
        list(entry("")),
        list(entry("a b")),
        list(entry("a|b")),
        list(entry(&"x".repeat(65))),
        list(vec![Value::Bulk(vec![0xff]), number(1), words("")]),
        list(entry("good")),
    ]);
    let names: Vec<String> = parse(&reply).into_iter().map(|reported| reported.name).collect();
    assert_eq!(names, ["good"]);
    for reply in [Value::Null, Value::Error(b"ERR unknown command".to_vec()), number(1)] {
        assert!(parse(&reply).is_empty());
    }
}
