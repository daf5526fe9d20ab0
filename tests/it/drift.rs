//! The command table against every real server at hand, from Redis 6.2 to 8.2 with a module and Valkey 9.1: no command is
//! missing, nothing that decides has drifted, and on random requests no key that Redis finds escapes Redkeep.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use redkeep::command::keys::{Key, for_each_key};
use redkeep::command::{
    Access, Affinity, CommandTable, Movable, Reported, Resolution, Spec, category, flag, reported,
};
use redkeep::policy::Version;
use redkeep::resp::{RequestBuf, Value};

use crate::support::invocation::{ODD_KEYS, invocation};
use crate::support::random::Random;
use crate::support::{Redis, redis};

/// Where a row is not what a server reports: the beginning of the servers' names, what differs, the commands, and why.
/// The rows are those of the newest Redis; fitted to an upstream, they have its own numbers of arguments.
const DIFFERENCES: &[(&str, &str, &[&str], &str)] = &[
    ("Redis 6.2", "arity", &["expire", "expireat", "pexpire", "pexpireat"], "NX, XX, GT and LT since 7.0"),
    ("Redis 6.2", "arity", &["pfdebug"], "an exact number since 7.0"),
    ("Redis 6.2", "arity", &["xsetid"], "ENTRIESADDED since 7.0"),
    ("Redis 6.2", "arity", &["zrank", "zrevrank"], "WITHSCORE since 7.2"),
    ("Redis 7.0", "arity", &["zrank", "zrevrank"], "WITHSCORE since 7.2"),
    (
        "Redis 7.0",
        "arity",
        &["command|getkeys", "command|getkeysandflags"],
        "takes commands without arguments since 7.2",
    ),
    ("Valkey 9.1", "arity", &["cluster|replicate"], "Valkey's own NO ONE"),
    ("Valkey 9.1", "arity", &["script|debug"], "Valkey's own name of an engine"),
    ("Redis 6.2", "categories", &["role"], "@admin since 7.0"),
    ("Redis 6.2", "categories", &["asking", "readonly", "readwrite", "select"], "@connection since 7.0"),
    ("Redis 6.2", "categories", &["wait"], "@connection since 7.0, @blocking since 7.2"),
    ("Redis 7.0", "categories", &["wait"], "@blocking since 7.2"),
    ("Redis 6.2", "no_auth", &["reset"], "before a login since 7.0; Redkeep answers it itself"),
    ("Redis 6.2", "no_multi", &["psync", "save", "shutdown", "sync"], "the flag is younger than that"),
    (
        "Valkey 9.1",
        "no_multi",
        &["client|reply", "multi", "watch"],
        "to Redis, they are errors of the command",
    ),
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

/// Holes of Redis that a server does not have.
const CLOSED: &[(&str, &str)] =
    &[("Redis 6.2", "PFMERGE"), ("Redis 6.2", "GEORADIUS"), ("Valkey 9.1", "GEORADIUS")];

/// Flags that decide something.
const DECIDING: [u32; 6] =
    [flag::WRITE, flag::READONLY, flag::ADMIN, flag::NO_AUTH, flag::NO_MULTI, flag::PUBSUB];

#[test]
fn every_command_of_every_server_is_in_the_table() {
    let builtin = CommandTable::builtin();
    on_every_server(|server| {
        assert!(server.commands.len() > 200, "{} commands", server.commands.len());
        let mut found = BTreeSet::new();
        for (theirs, categories) in &server.commands {
            let name = &theirs.name;
            let Some(ours) = builtin.find(name.as_bytes()) else {
                // The module's, and what 6.2 has against HTTP.
                assert!(name.starts_with("graph.") || ["host:", "post"].contains(&&**name), "no row: {name}");
                continue;
            };
            // 6.2 says of a container what we say of each subcommand.
            let whole = server.name.starts_with("Redis 6.2") && ours.is_container();
            let mut differs = |what: &'static str| found.insert((what, name.clone()));
            if ours.arity != theirs.arity {
                differs("arity");
            }
            for (bit, what) in flag::ALL.iter().filter(|(bit, _)| DECIDING.contains(bit) && !whole) {
                if ours.flags.contains(*bit) != theirs.flags.contains(*bit) {
                    differs(what);
                }
            }
            if theirs.subcommands.is_empty() && !whole && names(ours.categories.0) != *categories {
                differs("categories");
            }
            let shared = matches!(ours.affinity, Affinity::Shared);
            assert!(!shared || !theirs.flags.contains(flag::BLOCKING), "{name} blocks a shared link");
        }
        let known = DIFFERENCES.iter().filter(|(who, ..)| server.name.starts_with(who));
        let known =
            known.flat_map(|(_, what, names, _)| names.iter().map(|name| (*what, (*name).to_owned())));
        assert_eq!(found, known.collect(), "{}: found and known differences", server.name);
    });
}

#[test]
fn the_fitted_table_has_what_the_server_has_and_what_redkeep_answers() {
    let builtin = CommandTable::builtin();
    on_every_server(|server| {
        for spec in server.table.specs() {
            // Where the server has no subcommands, it has all of ours.
            let reported = |name: &str| server.commands.iter().any(|(theirs, _)| theirs.name == name);
            let container = spec.name.split('|').next().unwrap();
            let there = reported(&spec.name) || server.name.starts_with("Redis 6.2") && reported(container);
            assert!(there || spec.affinity == Affinity::Local, "{}", spec.name);
        }
        for (theirs, _) in &server.commands {
            let spec = server.table.find(theirs.name.as_bytes()).unwrap();
            if spec.affinity != Affinity::Local {
                assert_eq!(spec.arity, theirs.arity, "{}", spec.name);
            }
        }
    });
    let Some((program, module)) = redis::redis_with_module() else { return };
    let redis = Redis::start_program(&program, &["--loadmodule", module.to_str().unwrap()]);
    let table = builtin.fitted(&reported::parse(&redis.client().value(&["COMMAND"])));
    let query = table.find(b"GRAPH.QUERY").unwrap();
    assert_eq!(query.affinity, Affinity::LeasedForCommand, "it blocks");
    assert!(query.flags.contains(flag::WRITE) && query.keys.len() == 1);
    assert!(table.find(b"graph.ro_query").unwrap().flags.contains(flag::READONLY));
}

#[test]
fn keys_of_random_requests_are_those_that_redis_finds() {
    on_every_server(compare_keys);
}

fn compare_keys(server: &Server) {
    let table = &server.table;
    let mut random = Random::new(seed());
    let with_keys: Vec<&Spec> = server.with_keys().collect();
    // 6.2 only tells the keys, not what is done with them.
    let (question, flags) =
        if server.version < Version::V7_0 { ("GETKEYS", false) } else { ("GETKEYSANDFLAGS", true) };
    let (name, version, mut client) = (&server.name, server.version, server.redis.client());
    let (mut compared, mut errors, mut stricter) = (0, 0, BTreeMap::<String, usize>::new());
    for round in 0..40 {
        for spec in &with_keys {
            let args = invocation(spec, &mut random, &key);
            if !spec.accepts(args.len()) {
                continue;
            }
            let question: Vec<Vec<u8>> = ["COMMAND", question]
                .iter()
                .map(|word| word.as_bytes().to_vec())
                .chain(args.clone())
                .collect();
            let Some(theirs) = redis_keys(&client.value(&question)) else {
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
                // Redkeep refuses: only where the server itself does not understand the options. 6.2 does not look at
                // those of GEORADIUS when there is no such key.
                let answer = client.value(&args);
                let unread = version < Version::V7_0 && spec.name.starts_with("georadius");
                let refused =
                    matches!(answer, Value::Error(_)) || unread && answer == Value::Array(Vec::new());
                assert!(refused, "seed {}: {shown}: {result:?}, {answer:?}", seed());
                *stricter.entry(format!("{} refused", spec.name)).or_default() += 1;
                continue;
            }
            let misread = MISREAD.iter().any(|(name, words)| {
                // As a C string: Redis stops at a NUL byte.
                let said = |arg: &[u8]| arg.split(|byte| *byte == 0).next().unwrap().to_ascii_uppercase();
                let twice = args.iter().filter(|arg| words.iter().any(|word| said(arg) == word.as_bytes()));
                *name == spec.name && twice.count() > 1
            });
            if misread && ours.keys().ne(theirs.keys()) {
                *stricter.entry(format!("{} misread", spec.name)).or_default() += 1;
                continue;
            }
            for (key, access) in &theirs {
                let granted = Access(ours.get(key).copied().unwrap_or_else(|| {
                    panic!("seed {}, round {round}: {shown}: {key:?} escapes", seed());
                }));
                assert!(granted.contains(Access(*access)), "seed {}: {shown}: {granted:?}", seed());
            }
            if if flags { ours != theirs } else { !ours.keys().eq(theirs.keys()) } {
                assert!(
                    STRICTER.iter().any(|(name, _)| *name == spec.name),
                    "seed {}: {shown}: ours {ours:?}, theirs {theirs:?}",
                    seed()
                );
                *stricter.entry(spec.name.to_string()).or_default() += 1;
            }
        }
    }
    eprintln!("{name}: {compared} compared, {errors} that Redis finds no keys in, stricter: {stricter:?}");
    assert!(compared >= 1_000, "only {compared} compared");
}

/// The other oracle: not what Redis says, but what it does. A key that changes must have been visited as written.
#[test]
fn keys_that_random_requests_change_were_visited_as_written() {
    on_every_server(watch_keys);
}

fn watch_keys(server: &Server) {
    let specs: Vec<&Spec> = server.with_keys().collect();
    let (name, mut server) = (&server.name, server.redis.client());
    let mut random = Random::new(seed());
    let mut universe = ODD_KEYS.map(str::to_owned).to_vec();
    universe.extend((0..8).map(|number| format!("key:{number}")));
    let digests: Vec<Vec<u8>> = ["DEBUG", "DIGEST-VALUE"]
        .into_iter()
        .chain(universe.iter().map(String::as_str))
        .map(|word| word.as_bytes().to_vec())
        .collect();
    let mut changes = BTreeMap::<String, usize>::new();
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
            // Commands of modules work on values of their own.
            let foreign = spec.name.contains('.');
            // PFCOUNT keeps the count that it has found in the value itself, and tells it; only read access is due.
            let caches = spec.name == "pfcount";
            if skipped || waits || caches || foreign || spec.name == "watch" {
                continue;
            }
            server.value(&line("FLUSHALL"));
            for name in universe.iter().step_by(2) {
                server.value(&line(&filled(spec, name)));
            }
            let before = server.value(&digests);
            let args = invocation(spec, &mut random, &key);
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
            for (place, key) in
                universe.iter().enumerate().filter(|(place, _)| before[*place] != after[*place])
            {
                assert!(
                    known.is_ok() && written.iter().any(|written| written == key.as_bytes()),
                    "seed {}, round {round}: {shown} changed {} (key {place}): {answer:?}",
                    seed(),
                    key
                );
                *changes.entry(spec.name.to_string()).or_default() += 1;
            }
        }
    }
    eprintln!("{name}: {} commands changed keys: {changes:?}", changes.len());
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
    on_every_server(|server| {
        let mut admin = server.redis.client();
        for (setup, rules, request, opens) in [
            ("XADD mine 1-1 f v", "~mine", "PFMERGE other", "EXISTS other"),
            ("GEOADD mine 1 1 m", "~mine", "GEORADIUS mine 1 1 9 km STORE mine STORE other", "EXISTS other"),
            ("SET other secret", "~mine", "DEBUG OBJECT other", ""),
            ("ZADD mine 7 m", "%W~mine", "ZADD mine XX INCR 0 m", ""),
        ] {
            if server.version < Version::V7_0 && rules.starts_with('%') {
                continue;
            }
            admin.value(&line("FLUSHALL"));
            admin.value(&line("ACL DELUSER u"));
            admin.value(&line(setup));
            admin.value(&line(&format!("ACL SETUSER u on nopass +@all {rules}")));
            let mut user = server.redis.client();
            assert_eq!(user.value(&line("AUTH u x")), Value::Simple(b"OK".to_vec()));
            let answer = user.value(&line(request));
            let open = if opens.is_empty() {
                !matches!(answer, Value::Error(_))
            } else {
                admin.value(&line(opens)) == Value::Integer(1)
            };
            let closed =
                CLOSED.iter().any(|(who, what)| server.name.starts_with(who) && request.starts_with(what));
            assert_eq!(open, !closed, "{}: {request}: {answer:?}", server.name);
        }
    });
}

fn names(categories: u64) -> BTreeSet<String> {
    let set = category::ALL.iter().filter(|(bit, _)| categories & bit != 0);
    set.map(|(_, name)| format!("@{name}")).collect()
}

fn line(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The keys in a reply to `COMMAND GETKEYS`, or with their access in one to `COMMAND GETKEYSANDFLAGS`; `None` for an
/// error.
fn redis_keys(reply: &Value) -> Option<BTreeMap<Vec<u8>, u8>> {
    let Value::Array(entries) = reply else { return None };
    let mut keys = BTreeMap::new();
    for entry in entries {
        if let Value::Bulk(name) = entry {
            keys.insert(name.clone(), 0);
            continue;
        }
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

/// A key; sometimes one that looks like an option.
fn key(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => random.pick(&ODD_KEYS).into(),
        _ => format!("key:{}", random.below(8)).into_bytes(),
    }
}

// === The servers ===

struct Server {
    redis: Redis,
    /// `Redis 8.2.3`
    name: String,
    version: Version,
    /// All commands and subcommands that it reports, with the names of their categories.
    commands: Vec<(Reported, BTreeSet<String>)>,
    /// Our table, fitted to it.
    table: CommandTable,
}

impl Server {
    fn of(redis: Redis) -> Server {
        let (name, version) = redis.name();
        let mut reply = redis.client().value(&["COMMAND"]);
        // The server tells them in random order; a seed is to mean the same every time.
        let Value::Array(entries) = &mut reply else { panic!("{reply:?}") };
        entries.sort_by_cached_key(|entry| format!("{entry:?}"));
        let entries = entries.clone();
        let table = CommandTable::builtin().fitted(&reported::parse(&reply));
        let top = reported::parse(&reply);
        assert_eq!(top.len(), entries.len(), "{name}: every command is understood");
        let mut commands = Vec::new();
        for (entry, command) in entries.iter().zip(top) {
            let Value::Array(fields) = entry else { panic!("{entry:?}") };
            if let Some(Value::Array(entries)) = fields.get(9) {
                assert_eq!(entries.len(), command.subcommands.len(), "{name}: {}", command.name);
                let subs = entries.iter().zip(&command.subcommands);
                commands.extend(subs.map(|(entry, sub)| (sub.clone(), categories(entry))));
            }
            commands.push((command, categories(entry)));
        }
        Server { redis, name, version, commands, table }
    }

    /// The commands with keys, as Redkeep has them for this server.
    fn with_keys(&self) -> impl Iterator<Item = &Spec> {
        self.table.specs().iter().filter(|spec| !spec.keys.is_empty() || spec.movable.is_some())
    }
}

/// The categories of one command in a reply to `COMMAND`.
fn categories(entry: &Value) -> BTreeSet<String> {
    let Value::Array(fields) = entry else { panic!("{entry:?}") };
    let Value::Array(names) = &fields[6] else { panic!("{entry:?}") };
    names.iter().map(|name| String::from_utf8(name.as_bytes().unwrap().to_vec()).unwrap()).collect()
}

/// Plays a test on each server at the same time; a thread that fails is named like its server.
fn on_every_server(test: impl Fn(&Server) + Sync) {
    let servers: Vec<Server> = redis::one_of_each().into_iter().map(Server::of).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = servers
            .iter()
            .map(|server| {
                let thread = std::thread::Builder::new().name(server.name.clone());
                thread.spawn_scoped(scope, || test(server)).unwrap()
            })
            .collect();
        let ends: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        let failed =
            servers.iter().zip(ends).filter(|(_, end)| end.is_err()).map(|(server, _)| &*server.name);
        let failed: Vec<&str> = failed.collect();
        assert!(failed.is_empty(), "failed: {failed:?}, see above");
    });
}
