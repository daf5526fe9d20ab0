//! The oracle of layer `acl`: random rules and random commands, judged by Redkeep and by `ACL DRYRUN` of a real Redis.
//!
//! The table comes from that server's own `COMMAND`, and the keys of the commands from a hand list here, so this tests
//! the rule language, the selectors and the globs, and nothing of the layers below; rules about databases are compared
//! with a Valkey. The seed is printed; set `ACL_ORACLE_SEED` for other rules and commands.

use std::ops::ControlFlow;
use std::path::Path;

use redkeep::acl::{Defaults, Denial, Dialect, Use, User, Visitor, parse_file, parse_rules};
use redkeep::command::databases::{Database, for_each_database};
use redkeep::command::{Access, CommandTable, Reported, Resolution, reported};
use redkeep::resp::{RequestBuf, Value};

use crate::support::random::Random;
use crate::support::redis::{all, installed};
use crate::support::{Client, Redis};

/// Decisions to compare, each twice: with the rules as given, and as our description has them.
const DECISIONS: usize = 30_000;
const DECISIONS_PER_USER: usize = 20;

// === the server ===

/// A server to compare with.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// Redis 7.0.
    Redis,
    /// Valkey 9.1, which has rules about databases, and the words of 7.2.
    Valkey,
}

/// The session's databases, those in rules and those in commands.
const DATABASES: usize = 4;

/// Whether the server is a Valkey.
pub fn is_valkey(program: &Path) -> bool {
    program.ends_with("valkey-server")
}

pub fn table(server: &mut Client) -> CommandTable {
    CommandTable::builtin().fitted(&reported::parse(&server.value(&["COMMAND"])))
}

pub fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

/// What `ACL DRYRUN` says: `+OK`, or the denial as a bulk string; never an error.
fn verdict(reply: Value) -> Vec<u8> {
    match reply {
        Value::Simple(text) | Value::Bulk(text) => text,
        other => panic!("{other:?}"),
    }
}

// === random rules and commands ===

pub fn seeded() -> Random {
    // The same for everyone, so that a run means the same everywhere; other seeds by the variable.
    let seed = Random::seed("ACL_ORACLE_SEED").unwrap_or(20_261_121);
    eprintln!("ACL_ORACLE_SEED={seed}");
    Random::new(seed)
}

const ALPHABET: &[u8] = b"abc*?[]^-\\a*[-]b";

/// A pattern without white space, NUL, quotes and `)`.
fn pattern(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => b"*".to_vec(),
        1..4 => random.pick(&["a", "b", "ab", "a*", "*b", "a?", "[ab]", "[^a]", "[a-b]*", "", "\\*"]).into(),
        4 => (0..random.below(7))
            .map(|_| [b'a', 0xff, 0x80, b'-', b'[', b']', b'^'][random.below(7)])
            .collect(),
        _ => (0..random.below(9)).map(|_| ALPHABET[random.below(ALPHABET.len())]).collect(),
    }
}

fn text(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => random.pick(&["", "*", "a*", "[ab]", "a\\"]).into(),
        1 => (0..=random.below(2)).map(|_| [b'a', 0xff, 0x80, 0x7f, 0, b' '][random.below(6)]).collect(),
        _ => (0..=random.below(4)).map(|_| b"abcab*]-"[random.below(8)]).collect(),
    }
}

const COMMAND_RULES: &[&str] = &[
    "+get",
    "-get",
    "+set",
    "-set",
    "+mget",
    "-mget",
    "+del",
    "+publish",
    "+subscribe",
    "+psubscribe",
    "+config",
    "-config",
    "+config|get",
    "-config|get",
    "+config|set",
    "-config|set",
    "+select|0",
    "+select|1",
    "-select",
    "+get|a",
    "+publish|ab",
    "+ping",
    "-ping",
    "+client",
    "-client|id",
    "+auth",
    "-auth",
    "-quit",
    "+object|freq",
    "+memory",
];

const CATEGORIES: &[&str] = &[
    "all",
    "read",
    "write",
    "slow",
    "fast",
    "dangerous",
    "admin",
    "pubsub",
    "connection",
    "keyspace",
    "string",
    "blocking",
    "transaction",
    "scripting",
];

fn permission(random: &mut Random, kind: Kind) -> Vec<u8> {
    match random.below(if kind == Kind::Valkey { 14 } else { 12 }) {
        12.. => match random.below(8) {
            0 => random.pick(&["alldbs", "resetdbs", "DB=00", "db=+1,-0"]).into(),
            _ => {
                let mut list = || random.below(DATABASES).to_string();
                format!("db={},{}", list(), list()).into_bytes()
            }
        },
        0..4 => random.pick(COMMAND_RULES).into(),
        4 | 5 => format!("{}@{}", random.pick(&["+", "+", "-"]), random.pick(CATEGORIES)).into_bytes(),
        6 => [random.pick(&["%R~", "%W~", "%RW~", "%rw~"]).as_bytes(), &pattern(random)].concat(),
        7 | 8 => [b"~".as_slice(), &pattern(random)].concat(),
        9 => [b"&".as_slice(), &pattern(random)].concat(),
        10 => random.pick(&["allkeys", "resetkeys", "allchannels", "resetchannels", "%R~a*", "%W~a*"]).into(),
        _ => random
            .pick(&["+@all", "-@all", "nocommands", "AllCommands", "+@read", "+@write", "-@admin"])
            .into(),
    }
}

/// Rules of a user.
pub fn rules(random: &mut Random, kind: Kind) -> Vec<Vec<u8>> {
    // Many random users could do nothing; most begin with something.
    let first = random.pick(&["+@all", "+@all", "+@read", "-@all", "+@pubsub", "+@keyspace"]);
    let mut rules = vec![first.as_bytes().to_vec()];
    rules.push(
        random.pick(&["%RW~*", "~?*", "%R~*", "%W~*", "~*a*", "~[^b]*", "~?", "~*", "resetkeys"]).into(),
    );
    rules.push(random.pick(&["&?*", "&*a*", "&[^b]*", "&*", "resetchannels"]).into());
    for _ in 0..random.below(7) {
        rules.push(permission(random, kind));
    }
    for _ in 0..random.below(3) {
        let inner: Vec<_> = (0..1 + random.below(5)).map(|_| permission(random, kind)).collect();
        rules.push([b"(", inner.join(&b' ').as_slice(), b")"].concat());
    }
    if random.below(12) == 0 {
        rules.push(random.pick(&["clearselectors", "reset", "on", "nopass", ">a"]).into());
    }
    if kind == Kind::Valkey {
        // Valkey 9.1.2 loses this byte in selectors, so that a pattern means something else than it says.
        rules.iter_mut().for_each(|rule| rule.retain(|byte| *byte != 0xff));
    }
    rules
}

/// A command that names a database.
fn database_command(random: &mut Random) -> Vec<Vec<u8>> {
    let key = |random: &mut Random| text(random);
    let number = |random: &mut Random| random.below(DATABASES).to_string().into_bytes();
    let mut args = match random.below(5) {
        0 => vec![b"SELECT".to_vec(), number(random)],
        1 => vec![b"SWAPDB".to_vec(), number(random), number(random)],
        2 => vec![b"MOVE".to_vec(), key(random), number(random)],
        3 => vec![b"flushall".to_vec()],
        _ => vec![b"copy".to_vec(), key(random), key(random)],
    };
    if args[0] == b"copy" {
        for _ in 0..random.below(3) {
            args.extend([random.pick(&["DB", "db"]).into(), number(random)]);
            args.extend((random.below(3) == 0).then(|| b"Replace".to_vec()));
        }
    }
    args
}

fn command(random: &mut Random, kind: Kind) -> Vec<Vec<u8>> {
    if kind == Kind::Valkey && random.below(3) == 0 {
        return database_command(random);
    }
    let fixed: [&[&[u8]]; 9] = [
        &[b"config", b"get", b"x"],
        &[b"CONFIG", b"Set", b"x", b"y"],
        &[b"client", b"id"],
        &[b"select", b"0"],
        &[b"SELECT", b"1"],
        &[b"ping"],
        &[b"auth", b"x"],
        &[b"quit"],
        &[b"flushall"],
    ];
    let name = match random.below(14) {
        0 => return fixed[random.below(fixed.len())].iter().map(|arg| arg.to_vec()).collect(),
        1 | 2 => "get",
        3 => "set",
        4 => "SetGet",
        5 => "mget",
        6 => "DEL",
        7 => "exists",
        8 => "copy",
        9 => "mset",
        10 => "publish",
        11 => "subscribe",
        12 => "psubscribe",
        _ => "object",
    };
    let count = match name {
        "get" => 1,
        "set" | "SetGet" | "copy" | "publish" => 2,
        "mset" => 2 * (1 + random.below(3)),
        "object" => 1,
        _ => 1 + random.below(3),
    };
    let mut args = vec![name.as_bytes().to_vec()];
    args.extend((0..count).map(|_| text(random)));
    match name {
        "SetGet" => {
            args[0] = b"SET".to_vec();
            args.push(b"gEt".to_vec());
        }
        "object" => args.insert(1, b"freq".to_vec()),
        // Redis compares C strings here, so that NUL ends a pattern. We compare all of it.
        "psubscribe" => args.iter_mut().for_each(|arg| arg.retain(|byte| *byte != 0)),
        _ => {}
    }
    args
}

/// The hand list: what each of these commands uses.
fn uses(args: &[&[u8]], database: u32, visit: &mut Visitor<'_>) {
    for (index, number) in databases(args, database) {
        let used = match number {
            Some(number) => Use::Database { index, number },
            None => Use::AllDatabases { index },
        };
        if visit(used).is_break() {
            return;
        }
    }
    let one = |index: usize, access| vec![(index, access)];
    let all =
        |step: usize, access| (1..args.len()).step_by(step).map(|index| (index, access)).collect::<Vec<_>>();
    let name = String::from_utf8(args[0].to_ascii_lowercase()).unwrap();
    let keys = match &*name {
        "get" => one(1, Access::READ),
        "set" if args.len() > 3 => one(1, Access::READ_WRITE),
        "set" => one(1, Access::WRITE),
        "mget" => all(1, Access::READ),
        "del" => all(1, Access::WRITE),
        "exists" => all(1, Access::ANY),
        "mset" => all(2, Access::WRITE),
        "copy" => vec![(1, Access::READ), (2, Access::WRITE)],
        "move" => one(1, Access::READ_WRITE),
        "object" => one(2, Access::ANY),
        _ => Vec::new(),
    };
    for (index, access) in keys {
        if visit(Use::Key { index, key: args[index], access }).is_break() {
            return;
        }
    }
    let channels = match &*name {
        "publish" => 1..2,
        "subscribe" | "psubscribe" => 1..args.len(),
        _ => 0..0,
    };
    for index in channels {
        let used = Use::Channel { index, channel: args[index], literal: name == "psubscribe" };
        if let ControlFlow::Break(()) = visit(used) {
            return;
        }
    }
}

/// The same of databases: the argument that names one, and its number; none for all.
fn databases(args: &[&[u8]], session: u32) -> Vec<(usize, Option<u32>)> {
    let named = |index: usize| (index, Some(std::str::from_utf8(args[index]).unwrap().parse().unwrap()));
    let session = (0, Some(session));
    match &*String::from_utf8(args[0].to_ascii_lowercase()).unwrap() {
        "select" => vec![named(1)],
        "swapdb" => vec![named(1), named(2)],
        "move" => vec![named(2), session],
        "copy" => {
            let clauses = (4..args.len()).filter(|index| args[index - 1].eq_ignore_ascii_case(b"db"));
            clauses.map(named).chain([session]).collect()
        }
        "flushall" => vec![(0, None)],
        "get" | "set" | "mget" | "del" | "exists" | "mset" | "object" => vec![session],
        _ => Vec::new(),
    }
}

// === the comparison ===

/// Our decision in a session with this database, in the words of this server's `ACL DRYRUN`.
fn judged(user: &User, args: &[&[u8]], database: u32, table: &CommandTable, kind: Kind) -> Vec<u8> {
    let request = RequestBuf::from_args(args);
    let request = request.as_request();
    let Resolution::Known(spec) = table.resolve(request) else { panic!("{args:?}") };
    let decision = user.permits(request, spec, |visit| {
        uses(args, database, visit);
        Ok(())
    });
    let who = match kind {
        Kind::Redis => b"This user".to_vec(),
        Kind::Valkey => [b"User ", user.name()].concat(),
    };
    let denied = |start: &str, object: &[u8], end: &str| {
        // Redis prints a C string.
        let nul = object.iter().position(|byte| *byte == 0 && kind == Kind::Redis);
        let object = &object[..nul.unwrap_or(object.len())];
        [&who, b" has no permissions to ".as_slice(), start.as_bytes(), object, end.as_bytes()].concat()
    };
    match decision {
        Ok(()) => b"OK".to_vec(),
        Err(Denial::Command) => denied("run the '", spec.name.as_bytes(), "' command"),
        Err(Denial::Database { index }) => denied("access database ", args[index], ""),
        Err(Denial::Key { index }) => denied("access the '", args[index], "' key"),
        Err(Denial::Channel { index }) => denied("access the '", args[index], "' channel"),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn random_decisions_are_those_of_acl_dryrun() {
    compare(&installed(), Kind::Redis);
}

#[test]
fn random_decisions_about_databases_are_those_of_valkey() {
    for program in all().iter().filter(|program| is_valkey(program)) {
        compare(program, Kind::Valkey);
    }
}

fn compare(program: &Path, kind: Kind) {
    let redis = Redis::start_program(program, &[]);
    let mut server = redis.client();
    let table = table(&mut server);
    let mut random = seeded();
    let (mut compared, mut refused) = (0, 0);
    // Allowed; denied for the command, a key, a channel, a database.
    let mut decisions = [0usize; 5];
    while compared < DECISIONS {
        let rules = rules(&mut random, kind);
        let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
        let shown = || rules.iter().map(|rule| String::from_utf8_lossy(rule)).collect::<Vec<_>>().join(" ");
        server.value(&["ACL", "DELUSER", "u"]);
        let theirs =
            server.value(&[[b"ACL".as_slice(), b"SETUSER", b"u"].as_slice(), rules.as_slice()].concat());
        let user = match User::new(b"u", Defaults::default(), &table).unwrap().set(&rules, &table) {
            Ok(user) => user,
            Err(error) => {
                let text = format!("ERR {}", String::from_utf8_lossy(&error.reply()));
                let Value::Error(theirs) = theirs else { panic!("{}: we refuse: {text}", shown()) };
                assert_eq!(String::from_utf8_lossy(&theirs), text, "{}", shown());
                refused += 1;
                continue;
            }
        };
        assert_eq!(theirs, ok(), "{}", shown());
        let line = user.describe(if kind == Kind::Redis { Dialect::Redis70 } else { Dialect::Valkey91 });
        let line = [b"user v".as_slice(), line.strip_prefix(b"user u").unwrap()].concat();
        let described = parse_described(&line, &table);
        // Redis reads our description, and makes the same user of it.
        let tokens: Vec<&[u8]> = line.strip_prefix(b"user v ").unwrap().split(|byte| *byte == b' ').collect();
        server.value(&["ACL", "DELUSER", "v"]);
        let set =
            server.value(&[[b"ACL".as_slice(), b"SETUSER", b"v"].as_slice(), tokens.as_slice()].concat());
        assert_eq!(set, ok(), "{}", String::from_utf8_lossy(&line));

        let database = random.below(DATABASES);
        assert_eq!(server.value(&["SELECT", &database.to_string()]), ok());
        let database = u32::try_from(database).unwrap();
        let commands: Vec<_> = (0..DECISIONS_PER_USER).map(|_| command(&mut random, kind)).collect();
        let commands: Vec<Vec<&[u8]>> =
            commands.iter().map(|args| args.iter().map(Vec::as_slice).collect()).collect();
        for args in &commands {
            for name in [b"u", b"v"] {
                server.send(&[[b"ACL".as_slice(), b"DRYRUN", name].as_slice(), args.as_slice()].concat());
            }
        }
        for args in &commands {
            for user in [&user, &described] {
                let ours = judged(user, args, database, &table, kind);
                let theirs = verdict(server.read_value());
                let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                // Stricter than Redis, which compares the argument of `+get|a` as a C string, and so may get further.
                let nul = args.get(1).is_some_and(|arg| arg.contains(&0));
                let stricter = nul && line.contains(&b'|') && ours.ends_with(b" command");
                assert!(
                    theirs == ours || stricter,
                    "rules {}\ndescribed {}\ncommand {args:?}\nRedis   {}\nRedkeep {}",
                    shown(),
                    lossy(&line),
                    lossy(&theirs),
                    lossy(&ours)
                );
                let end = ours.split(|byte| *byte == b' ').next_back().unwrap();
                let known = [b"OK".as_slice(), b"command", b"key", b"channel"];
                decisions[known.iter().position(|known| *known == end).unwrap_or(4)] += 1;
            }
            compared += 1;
        }
    }
    eprintln!("{compared} commands for two users each: {decisions:?}; {refused} users refused by both");
    let kinds = if kind == Kind::Redis { 4 } else { 5 };
    let rare = decisions.iter().take(kinds).any(|count| count * 50 < compared);
    assert!(!rare, "the random rules are one-sided: {decisions:?}");
}

fn parse_described(line: &[u8], table: &CommandTable) -> User {
    // Patterns may be any bytes, which a `&str` of our configuration cannot hold, but a file can.
    let file = [b"user default off\n", line].concat();
    let users =
        parse_file(&file, Defaults::default(), table).unwrap_or_else(|errors| panic!("{line:?}: {errors:?}"));
    users.into_iter().next_back().unwrap()
}

#[test]
fn random_globs_match_as_in_redis() {
    let redis = Redis::start(&[]);
    let mut server = redis.client();
    let table = table(&mut server);
    let mut random = seeded();
    for _ in 0..3_000 {
        let pattern = pattern(&mut random);
        // `&pattern` of `*` is all channels; a key pattern `%R~*` is really matched.
        let rule = [b"%R~", pattern.as_slice()].concat();
        let rules: [&[u8]; 3] = [b"reset", b"+get", &rule];
        let set = server.value(&[[b"ACL".as_slice(), b"SETUSER", b"g"].as_slice(), &rules].concat());
        assert_eq!(set, ok());
        let user = User::new(b"g", Defaults::default(), &table).unwrap().set(&rules, &table).unwrap();
        let keys: Vec<_> = (0..10).map(|_| text(&mut random)).collect();
        for key in &keys {
            server.send(&[b"ACL".as_slice(), b"DRYRUN", b"g", b"GET", key]);
        }
        for key in &keys {
            let ours = judged(&user, &[b"get", key], 0, &table, Kind::Redis);
            assert_eq!(verdict(server.read_value()), ours, "{pattern:?} {key:?}");
        }
    }
}

/// Every rule of the experiments in section 8 of the facts, and what the server says to it.
#[test]
fn refusals_are_those_of_acl_setuser() {
    const TOKENS: &[&str] = &[
        "+nosuch",
        "-get|foo",
        "+config|nosuch",
        "+config|get|x",
        "+config|get|",
        "+config|",
        "-config|",
        "+|",
        "+",
        "-@",
        "+@nosuch",
        "-select|0",
        "+get|a|b",
        "+get|",
        "%",
        "%~",
        "%R",
        "%X~a",
        "%RR~a",
        "%~a",
        "%Ra",
        "~a b",
        "~a\0b",
        "&a b",
        "<x",
        "#",
        "#xyz",
        "!xyz",
        "sanitize",
        "(",
        ")",
        "(+get",
        "+get)",
        "(~a) (~b)",
        "(+get (~a)",
        "((~a))",
        "(on)",
        "(>x)",
        "(~* ~a)",
        "(&* &a)",
        "(+nosuch)",
        "(+get)x",
        "(+get))",
        " +get",
        "",
        "()",
        "(  +get  )",
        "~",
        "&",
        ">",
        "on",
        "ON",
        "Reset",
        "clearselectors",
        "+@ALL",
        "allkeys2",
        "-@read|x",
        "+lolwut|",
        "(~\t&)",
    ];
    let redis = Redis::start(&[]);
    let mut server = redis.client();
    let table = table(&mut server);
    for first in TOKENS {
        for second in ["", "~*", "&*", "~b)", "~a"] {
            let rules = [second.as_bytes(), first.as_bytes(), second.as_bytes()];
            server.value(&["ACL", "DELUSER", "t"]);
            let theirs = server.value(&[[b"ACL".as_slice(), b"SETUSER", b"t"].as_slice(), &rules].concat());
            let ours = match User::new(b"t", Defaults::default(), &table).unwrap().set(&rules, &table) {
                Ok(_) => ok(),
                Err(error) => Value::Error([b"ERR ".as_slice(), &error.reply()].concat()),
            };
            assert_eq!(theirs, ours, "{rules:?}");
        }
    }
}

#[test]
fn our_lines_are_loaded_by_redis_and_its_lines_by_us() {
    let redis = Redis::start(&[]);
    let mut server = redis.client();
    let table = table(&mut server);
    let rules =
        "on >a >b ~a %R~b* %W~c &x -@all +@read -get +config|get +select|0 (+set ~d) (&y +publish %RW~* ~e)";
    let user = parse_rules("u", rules, Defaults::default(), &table).unwrap();
    let line = String::from_utf8(user.describe(Dialect::Redis70)).unwrap();
    let tokens: Vec<&[u8]> = line.strip_prefix("user u ").unwrap().split(' ').map(str::as_bytes).collect();
    let set = server.value(&[[b"ACL".as_slice(), b"SETUSER", b"u"].as_slice(), tokens.as_slice()].concat());
    assert_eq!(set, ok());
    let Value::Array(lines) = server.value(&["ACL", "LIST"]) else { panic!("no lines") };
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes().unwrap()).collect();
    let lines = String::from_utf8(lines.join(&b'\n')).unwrap();
    // `%RW~* ~e` is printed as `~* ~e` by Redis 7.0, which it cannot read itself.
    let users =
        parse_file(lines.replace("(~* ~e", "(%RW~* ~e").as_bytes(), Defaults::default(), &table).unwrap();
    assert_eq!(users.len(), 2);
    assert!(users[0].is_all_powerful());
    for args in
        [["get", "a"], ["ttl", "b1"], ["config", "get"], ["select", "0"], ["select", "1"], ["del", "a"]]
    {
        let args = args.map(str::as_bytes);
        if args[0] != b"config" {
            let judged = |user| judged(user, &args, 0, &table, Kind::Redis);
            assert_eq!(judged(&users[1]), judged(&user), "{args:?}");
        }
    }
}

/// Every command of a Valkey, by a user who may use database 1 alone, from inside and outside of it.
#[test]
fn the_databases_of_every_command_are_those_of_valkey() {
    for program in all().iter().filter(|program| is_valkey(program)) {
        let redis = Redis::start_program(program, &[]);
        let mut server = redis.client();
        let table = table(&mut server);
        let rules: [&[u8]; 6] = [b"on", b"+@all", b"~*", b"&*", b"db=1", b"nopass"];
        let set = server.value(&[[b"ACL".as_slice(), b"SETUSER", b"u"].as_slice(), &rules].concat());
        assert_eq!(set, ok());
        let user = User::new(b"u", Defaults::default(), &table).unwrap().set(&rules, &table).unwrap();
        let mut decisions = [0usize; 2];
        // DEBUG shows keys, which Valkey does not mind. It is refused anyway.
        let specs = table.specs().iter().filter(|spec| !spec.is_container() && spec.name != "debug");
        for (spec, number, database) in specs.flat_map(|spec| {
            [("1", 0), ("1", 1), ("3", 1)].map(|(number, database)| (spec, number, database))
        }) {
            let mut args: Vec<&str> = spec.name.split('|').collect();
            args.resize(args.len().max(spec.arity.unsigned_abs().into()), number);
            assert_eq!(server.value(&["SELECT", &database.to_string()]), ok());
            let theirs = server.value(&[["ACL", "DRYRUN", "u"].as_slice(), &args].concat());
            if matches!(theirs, Value::Error(_)) {
                // Valkey lacks it; Redkeep answers it itself.
                continue;
            }
            let request = RequestBuf::from_args(&args);
            let ours = user.permits(request.as_request(), spec, |visit| {
                let databases = spec.databases;
                let _ = for_each_database(databases, request.as_request(), database, 16, |used| {
                    visit(match used {
                        Database { index, number: Some(number) } => Use::Database { index, number },
                        Database { index, number: None } => Use::AllDatabases { index },
                    })
                });
                Ok(())
            });
            assert_eq!(verdict(theirs) == b"OK", ours.is_ok(), "{args:?} in {database}: {ours:?}");
            decisions[usize::from(ours.is_ok())] += 1;
        }
        println!("{decisions:?} denied and allowed");
        assert!(decisions.iter().all(|count| *count > 200), "{decisions:?}");
    }
}

/// Of every real server, and with each of its own categories.
#[test]
fn categories_have_the_commands_that_the_server_says() {
    for program in all() {
        let redis = Redis::start_program(&program, &[]);
        let mut server = redis.client();
        let table = table(&mut server);
        let words = |value: Value| -> Vec<String> {
            let Value::Array(words) = value else { panic!("{value:?}") };
            let text = |word: &Value| String::from_utf8(word.as_bytes().unwrap().to_vec()).unwrap();
            words.iter().map(text).collect()
        };
        let everything: Vec<String> =
            reported::parse(&server.value(&["COMMAND"])).iter().flat_map(names_of).collect();
        let categories = words(server.value(&["ACL", "CAT"]));
        assert_eq!(table.categories().iter().map(|(name, _)| name).collect::<Vec<_>>(), categories);
        for (name, category) in table.categories().iter() {
            let mut theirs = words(server.value(&["ACL", "CAT", name]));
            let ours = table.specs().iter().filter(|spec| spec.categories.intersects(category.0));
            // Others are answered by Redkeep itself.
            let ours = ours.map(|spec| spec.name.to_string()).filter(|name| everything.contains(name));
            let mut ours: Vec<String> = ours.collect();
            ours.sort();
            theirs.sort();
            assert_eq!(ours, theirs, "@{name} of {}", program.display());
        }
    }
}

fn names_of(command: &Reported) -> Vec<String> {
    let own = std::iter::once(command.name.clone());
    own.chain(command.subcommands.iter().map(|sub| sub.name.clone())).collect()
}
