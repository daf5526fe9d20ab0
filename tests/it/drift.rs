//! The built-in command table against a real redis-server: no command is missing, nothing that decides has drifted,
//! and on random requests no key that Redis finds escapes Redkeep.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use redkeep::command::keys::{Key, for_each_key};
use redkeep::command::{
    Access, Affinity, Begin, CommandTable, Find, Movable, Reported, Resolution, Spec, category, flag,
    reported,
};
use redkeep::resp::{RequestBuf, Value};

use crate::support::random::Random;
use crate::support::{Client, Redis};

/// Names in `COMMAND` whose number of arguments is not the table's (which has Redis 8.2's), per server version.
const OTHER_ARITY: &[(&str, &str)] = &[
    ("command|getkeys", "7.2 lets it take commands without arguments"),
    ("command|getkeysandflags", "as COMMAND GETKEYS"),
    ("zrank", "WITHSCORE since 7.2"),
    ("zrevrank", "WITHSCORE since 7.2"),
];

/// Commands for which Redkeep asks for more than Redis, with the reason and the extra permission. Everything else must
/// agree exactly.
const STRICTER: &[(&str, &str)] = &[
    ("debug", "DEBUG OBJECT and its like show a key; Redis checks none"),
    ("georadius", "every STORE counts; Redis checks the first and stores to the last"),
    ("georadiusbymember", "every STORE counts; Redis checks the first and stores to the last"),
    ("pfmerge", "`PFMERGE d` creates d; Redis finds no key and checks nothing"),
    ("sort", "every STORE counts; Redis takes STORE's value for an option"),
    ("sort_ro", "STORE is refused as a write; to Redis it is a syntax error"),
    ("xautoclaim", "returns values, so it needs read access, too"),
    ("xclaim", "returns values, so it needs read access, too"),
    ("zadd", "with INCR it returns the score, so it needs read access, too"),
];

/// Commands whose keywords Redis looks for without minding options' values (redis#15478, redis#15538), so that it
/// checks other keys than it uses when such words occur twice. Redkeep finds the keys that are used.
const MISREAD: &[(&str, &[&str])] = &[
    ("georadius", &["STORE", "STOREDIST"]),
    ("georadiusbymember", &["STORE", "STOREDIST"]),
    ("migrate", &["KEYS"]),
    ("sort", &["STORE"]),
    ("xread", &["STREAMS"]),
    ("xreadgroup", &["STREAMS"]),
];

/// Categories that a command is in here, though not yet in the server's version, with the reason.
const LATER_CATEGORIES: &[(&str, &str)] = &[("wait", "@blocking since 7.2")];

#[test]
fn every_command_of_the_server_is_in_the_table() {
    let redis = Redis::start(&[]);
    let mut server = redis.client();
    let builtin = CommandTable::builtin();
    let all = commands(&mut server);
    assert!(all.len() > 300, "{} commands", all.len());
    for theirs in &all {
        let ours = builtin.find(theirs.name.as_bytes()).unwrap_or_else(|| panic!("no row: {}", theirs.name));
        let name = &theirs.name;
        if !OTHER_ARITY.iter().any(|(other, _)| other == name) {
            assert_eq!(ours.arity, theirs.arity, "{name}: arity");
        }
        for bit in [flag::WRITE, flag::READONLY, flag::ADMIN, flag::NO_AUTH, flag::NO_MULTI, flag::PUBSUB] {
            assert_eq!(ours.flags.contains(bit), theirs.flags.contains(bit), "{name}: flags");
        }
        if theirs.flags.contains(flag::BLOCKING) {
            assert!(!matches!(ours.affinity, Affinity::Shared), "{name}: blocks a shared link");
        }
        if theirs.subcommands.is_empty() {
            let ours = names(ours.categories.0);
            let theirs = names_of(theirs);
            let later = LATER_CATEGORIES.iter().any(|(later, _)| later == name);
            assert!(ours == theirs || later, "{name}: categories: ours {ours:?}, theirs {theirs:?}");
        }
    }
}

#[test]
fn the_fitted_table_has_what_the_server_has_and_what_redkeep_answers() {
    let redis = Redis::start(&[]);
    let mut server = redis.client();
    let builtin = CommandTable::builtin();
    let fitted = builtin.fitted(&reported(&mut server));
    let all = commands(&mut server);
    for spec in fitted.specs() {
        let there = all.iter().any(|theirs| theirs.name == spec.name);
        assert!(there || spec.affinity == Affinity::Local, "{}", spec.name);
    }
    for theirs in all {
        let spec = fitted.find(theirs.name.as_bytes()).unwrap();
        if spec.affinity != Affinity::Local {
            assert_eq!(spec.arity, theirs.arity, "{}", spec.name);
        }
    }
}

#[test]
fn keys_of_random_requests_are_those_that_redis_finds() {
    let redis = Redis::start(&[]);
    let mut server = redis.client();
    let table = CommandTable::builtin();
    let mut random = Random::new(seed());
    let with_keys: Vec<Spec> = commands(&mut server)
        .iter()
        .filter_map(|theirs| table.find(theirs.name.as_bytes()))
        .filter(|spec| !spec.keys.is_empty() || spec.movable.is_some())
        .cloned()
        .collect();
    let (mut compared, mut errors, mut stricter) = (0, 0, BTreeMap::<String, usize>::new());
    for round in 0..40 {
        for spec in &with_keys {
            let args = invocation(spec, &mut random);
            if !spec.accepts(args.len()) {
                continue;
            }
            let question: Vec<Vec<u8>> = [&b"COMMAND"[..], b"GETKEYSANDFLAGS"]
                .iter()
                .map(|word| word.to_vec())
                .chain(args.clone())
                .collect();
            let Some(theirs) = redis_keys(&server.value(&question)) else {
                // Redis finds none, or refuses to say: nothing to compare; Redkeep may find some or refuse.
                errors += 1;
                continue;
            };
            let shown = args.iter().map(|arg| arg.escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
            let request = RequestBuf::from_args(&args);
            let Resolution::Known(found) = table.resolve(request.as_request()) else { panic!("{shown}") };
            assert_eq!(found.name, spec.name);
            let mut ours = BTreeMap::<Vec<u8>, u8>::new();
            let result = for_each_key(found, request.as_request(), |key: Key<'_>| {
                *ours.entry(key.name.to_vec()).or_default() |= key.access.0;
                ControlFlow::<()>::Continue(())
            });
            compared += 1;
            if result.is_err() {
                // Redkeep refuses: only where the server itself does not understand the options.
                let answer = server.value(&args);
                assert!(
                    matches!(answer, Value::Error(_)),
                    "seed {}: {shown}: {result:?}, {answer:?}",
                    seed()
                );
                *stricter.entry(format!("{} refused", spec.name)).or_default() += 1;
                continue;
            }
            let misread = MISREAD.iter().any(|(name, words)| {
                // As a C string: Redis stops at a NUL byte.
                let said = |arg: &[u8]| arg.split(|byte| *byte == 0).next().unwrap().to_ascii_uppercase();
                let twice = args.iter().filter(|arg| words.iter().any(|word| said(arg) == word.as_bytes()));
                *name == spec.name && twice.count() > 1
            });
            if misread && ours != theirs {
                *stricter.entry(format!("{} misread", spec.name)).or_default() += 1;
                continue;
            }
            for (key, access) in &theirs {
                let granted = Access(ours.get(key).copied().unwrap_or_else(|| {
                    panic!("seed {}, round {round}: {shown}: {key:?} escapes", seed());
                }));
                assert!(granted.contains(Access(*access)), "seed {}: {shown}: {granted:?}", seed());
            }
            if ours != theirs {
                assert!(
                    STRICTER.iter().any(|(name, _)| *name == spec.name),
                    "seed {}: {shown}: ours {ours:?}, theirs {theirs:?}",
                    seed()
                );
                *stricter.entry(spec.name.to_string()).or_default() += 1;
            }
        }
    }
    println!("{compared} compared, {errors} that Redis finds no keys in, stricter: {stricter:?}");
    assert!(compared >= 1_000, "only {compared} compared");
}

/// The other oracle: not what Redis says, but what it does. A key that changes must have been visited as written.
#[test]
fn keys_that_random_requests_change_were_visited_as_written() {
    let redis = Redis::start(&[]);
    let mut server = redis.client();
    let table = CommandTable::builtin();
    let mut random = Random::new(seed());
    let mut universe = ODD_KEYS.map(str::to_owned).to_vec();
    universe.extend((0..8).map(|number| format!("key:{number}")));
    let digests: Vec<Vec<u8>> = ["DEBUG", "DIGEST-VALUE"]
        .into_iter()
        .chain(universe.iter().map(String::as_str))
        .map(|word| word.as_bytes().to_vec())
        .collect();
    let all = commands(&mut server);
    let mut changes = BTreeMap::<String, usize>::new();
    let specs: Vec<&Spec> = all.iter().filter_map(|theirs| table.find(theirs.name.as_bytes())).collect();
    for round in 0..60 {
        for spec in &specs {
            // Options are where the mistakes are: those commands run every time, the others now and then.
            if spec.movable.is_none() && round % 5 != 0 {
                continue;
            }
            // EVAL and its like do what their text says; RESTORE and DEBUG want no random arguments.
            let skipped = spec.categories.intersects(category::SCRIPTING | category::DANGEROUS)
                && !spec.name.starts_with("sort");
            let waits = spec.flags.contains(flag::BLOCKING) && spec.movable != Some(Movable::Xread);
            // PFCOUNT keeps the count that it has found in the value itself, and tells it; only read access is due.
            let caches = spec.name == "pfcount";
            if (spec.keys.is_empty() && spec.movable.is_none())
                || skipped
                || waits
                || caches
                || spec.name == "watch"
            {
                continue;
            }
            server.value(&line("FLUSHALL"));
            for name in universe.iter().step_by(2) {
                server.value(&line(&filled(spec, name)));
            }
            let before = server.value(&digests);
            let args = invocation(spec, &mut random);
            let answer = server.value(&args);
            let after = server.value(&digests);
            let (Value::Array(before), Value::Array(after)) = (before, after) else { panic!("no digests") };
            let request = RequestBuf::from_args(&args);
            let mut written = Vec::new();
            let known = for_each_key(spec, request.as_request(), |key: Key<'_>| {
                if key.access.contains(Access::WRITE) {
                    written.push(key.name.to_vec());
                }
                ControlFlow::<()>::Continue(())
            });
            let shown = args.iter().map(|arg| arg.escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
            for (place, name) in
                universe.iter().enumerate().filter(|(place, _)| before[*place] != after[*place])
            {
                assert!(
                    known.is_ok() && written.iter().any(|key| key == name.as_bytes()),
                    "seed {}, round {round}: {shown} changed {} (key {place}): {answer:?}",
                    seed(),
                    name
                );
                *changes.entry(spec.name.to_string()).or_default() += 1;
            }
        }
    }
    println!("{} commands changed keys: {changes:?}", changes.len());
    assert!(changes.len() >= 35, "only {} commands changed anything", changes.len());
}

/// A command that fills `name` with something that `spec` works on.
fn filled(spec: &Spec, name: &str) -> String {
    for (category, command, values) in [
        (category::LIST, "RPUSH", "3 1 2"),
        (category::SORTEDSET, "GEOADD", "1 1 m"),
        (category::GEO, "GEOADD", "1 1 key:1 1 1 key:2"),
        (category::SET, "SADD", "1 2 key:1"),
        (category::HASH, "HSET", "key:1 1 key:2 2"),
        (category::STREAM, "XADD", "1-1 f v"),
        (category::HYPERLOGLOG, "PFADD", "a b"),
    ] {
        if spec.categories.intersects(category) {
            return format!("{command} {name} {values}");
        }
    }
    format!("SET {name} 5")
}

/// Redis' own holes, by effect: each request changes or shows what a user with these rules must not reach, so that
/// the list of stricter commands stays justified. A server that closes one fails here, and the entry can be dropped.
#[test]
fn the_stricter_commands_are_stricter_for_a_reason() {
    let redis = Redis::start(&[]);
    let mut server = redis.client();
    for (setup, rules, request, opens) in [
        ("XADD mine 1-1 f v", "~mine", "PFMERGE other", "EXISTS other"),
        ("GEOADD mine 1 1 m", "~mine", "GEORADIUS mine 1 1 9 km STORE mine STORE other", "EXISTS other"),
        ("SET other secret", "~mine", "DEBUG OBJECT other", ""),
        ("ZADD mine 7 m", "%W~mine", "ZADD mine XX INCR 0 m", ""),
    ] {
        server.value(&line("FLUSHALL"));
        server.value(&line("ACL DELUSER u"));
        server.value(&line(setup));
        server.value(&line(&format!("ACL SETUSER u on nopass +@all {rules}")));
        let mut user = redis.client();
        assert_eq!(user.value(&line("AUTH u x")), Value::Simple(b"OK".to_vec()));
        let answer = user.value(&line(request));
        let open = if opens.is_empty() {
            !matches!(answer, Value::Error(_))
        } else {
            server.value(&line(opens)) == Value::Integer(1)
        };
        assert!(open, "{request}: {answer:?}");
    }
}

/// What the server reports, in our order.
fn names_of(theirs: &Reported) -> Vec<&'static str> {
    let named = |name: &&str| theirs.categories.iter().flatten().any(|theirs| theirs == name);
    category::ALL.iter().map(|(_, name)| *name).filter(named).collect()
}

fn names(categories: u64) -> Vec<&'static str> {
    category::ALL.iter().filter(|(bit, _)| categories & bit != 0).map(|(_, name)| *name).collect()
}

fn line(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The keys with their access in a reply to `COMMAND GETKEYSANDFLAGS`; `None` for an error.
fn redis_keys(reply: &Value) -> Option<BTreeMap<Vec<u8>, u8>> {
    let Value::Array(entries) = reply else { return None };
    let mut keys = BTreeMap::new();
    for entry in entries {
        let Value::Array(pair) = entry else { panic!("{entry:?}") };
        let (Value::Bulk(name), Value::Array(flags)) = (&pair[0], &pair[1]) else { panic!("{entry:?}") };
        let access = keys.entry(name.clone()).or_default();
        for flag in flags {
            *access |= match flag {
                Value::Simple(flag) if flag == b"access" => Access::READ.0,
                Value::Simple(flag) if [&b"insert"[..], b"update", b"delete"].contains(&&flag[..]) => {
                    Access::WRITE.0
                }
                _ => 0,
            };
        }
    }
    Some(keys)
}

// === Requests ===

/// A fixed seed keeps CI repeatable; `DRIFT_SEED` looks elsewhere.
fn seed() -> u64 {
    Random::seed("DRIFT_SEED").unwrap_or(0x5eed)
}

/// Keys that look like something else.
const ODD_KEYS: [&str; 8] = ["STORE", "KEYS", "STREAMS", "GET", "by", "2", "auth", "1"];

/// A key; sometimes one that looks like an option.
fn key(random: &mut Random) -> String {
    match random.below(8) {
        0 => random.pick(&ODD_KEYS).to_owned(),
        _ => format!("key:{}", random.below(8)),
    }
}

/// A request that looks valid: keys where keys are, plausible options elsewhere.
fn invocation(spec: &Spec, random: &mut Random) -> Vec<Vec<u8>> {
    let mut args: Vec<String> = spec.name.split('|').map(str::to_owned).collect();
    match spec.movable {
        Some(function) => movable_tail(function, random, &mut args),
        None => specs_tail(spec, random, &mut args),
    }
    args.into_iter().map(|arg| arg.replace("\\0", "\0").into_bytes()).collect()
}

fn specs_tail(spec: &Spec, random: &mut Random, args: &mut Vec<String>) {
    let counted = spec.keys.iter().find_map(|keys| match (&keys.begin, &keys.find) {
        (Begin::Index(at), Find::KeyNum { step, .. }) => Some((usize::from(*at), usize::from(*step))),
        _ => None,
    });
    if let Some((at, step)) = counted {
        while args.len() < at {
            args.push(key(random));
        }
        let count = random.below(4);
        args.push(random.pick(&["01", "-1", "+1", "0"]).to_owned());
        if random.below(10) > 0 {
            *args.last_mut().unwrap() = count.to_string();
        }
        for _ in 0..count * step {
            args.push(key(random));
        }
    }
    let least = usize::from(spec.arity.unsigned_abs());
    let open = if spec.arity < 0 { random.below(5) } else { 0 };
    let fixed = if spec.arity < 0 { args.len().max(least) + open } else { least };
    while args.len() < fixed {
        args.push(key(random));
    }
}

fn movable_tail(function: Movable, random: &mut Random, args: &mut Vec<String>) {
    let options: &[&str] = match function {
        Movable::Bitfield => {
            &["GET u8 0", "SET u8 0 1", "INCRBY u8 GET 1", "OVERFLOW SAT", "GET u8", "get SET 1"]
        }
        Movable::Debug => &["OBJECT", "SLEEP"],
        Movable::Georadius | Movable::GeoradiusByMember => &[
            "STORE @",
            "storedist @",
            "COUNT 1",
            "COUNT 1 ANY",
            "ASC",
            "WITHDIST",
            "STORE\\0x @",
            "STORE",
            "FOO",
        ],
        Movable::Migrate => &["COPY", "REPLACE", "AUTH @", "AUTH2 @ @", "auth keys"],
        Movable::Set => &["NX", "GET", "EX 10", "EX GET", "KEEPTTL", "get\\0x", "FOO"],
        Movable::Sort => {
            &["BY @", "GET @", "LIMIT 0 1", "ASC", "alpha", "STORE @", "STORE\\0 @", "STORE by", "FOO"]
        }
        Movable::Xread => &["COUNT 1", "BLOCK 1", "NOACK", "COUNT streams"],
        Movable::Zadd => &["NX", "XX", "CH", "INCR", "incr\\0", "GT"],
    };
    let front: &[&str] = match function {
        Movable::Bitfield | Movable::Sort | Movable::Zadd => &["@"],
        Movable::Debug => &[],
        Movable::Georadius => &["@", "1", "2", "3", "m"],
        Movable::GeoradiusByMember => &["@", "@", "3", "m"],
        Movable::Migrate => &["127.0.0.1", "1", "@", "0", "1"],
        Movable::Set => &["@", "@"],
        Movable::Xread => &[],
    };
    let mut words: Vec<&str> = front.to_vec();
    if function == Movable::Xread && args[0] == "xreadgroup" {
        words.extend(["GROUP", "@", "@"]);
    }
    let list = function == Movable::Migrate && random.below(2) == 0;
    if list {
        words[2] = "";
    }
    for _ in 0..random.below(4) {
        words.extend(random.pick(options).split(' '));
    }
    match function {
        Movable::Debug => words.push("@"),
        Movable::Migrate if list => words.extend(["KEYS", "@", "@"]),
        Movable::Xread => {
            words.push("STREAMS");
            let streams = 1 + random.below(3);
            words.extend(std::iter::repeat_n("@", streams));
            words.extend(std::iter::repeat_n("0", streams));
        }
        Movable::Zadd => words.extend(["1", "incr"]),
        _ => {}
    }
    for word in words {
        args.push(if word == "@" { key(random) } else { word.to_owned() });
    }
}

// === The server ===

fn reported(server: &mut Client) -> Vec<Reported> {
    reported::parse(&server.value(&["COMMAND"]))
}

/// All commands and subcommands.
fn commands(server: &mut Client) -> Vec<Reported> {
    let mut all = Vec::new();
    for command in reported(server) {
        all.extend(command.subcommands.iter().cloned());
        all.push(command);
    }
    all
}
