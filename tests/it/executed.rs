//! The executed comparison: random users run random commands of the whole table through Redkeep, and on a server of
//! the same version with the same ACL file; both must say the same bytes.
//!
//! Both sides have the same data. A batch belongs to one user: the data are filled anew, the same commands are sent in
//! the same order. What cannot be compared by bytes stands in a list here, with its reason, and is compared as far as
//! it can be. The seed is printed; `EXECUTED_SEED` runs another one, `EXECUTED_COMMANDS` more of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use redkeep::command::keys::{Key, for_each_key};
use redkeep::command::{Affinity, CommandTable, Spec, category, reported};
use redkeep::resp::RequestBuf;

use crate::support::random::Random;
use crate::support::redis::{all, redis_6_2};
use crate::support::requests::{Vocabulary, is_container, is_scripting};
use crate::support::{Client, Proxy, Redis, TempDir};

/// Commands to compare over all servers.
const COMMANDS: usize = 24_000;
const USERS: usize = 200;
const BATCH: usize = 120;

/// Commands that are not sent at all.
const NEVER: &[(&str, &str)] = &[
    ("shutdown", "ends the server"),
    ("failover", "changes the server's role"),
    ("replicaof", "changes the server's role"),
    ("slaveof", "changes the server's role"),
    ("save", "forks or stops the server"),
    ("bgsave", "forks or stops the server"),
    ("bgrewriteaof", "forks or stops the server"),
    ("pfselftest", "takes seconds"),
    ("post", "closes the connection; in COMMAND up to 6.2"),
    ("host:", "closes the connection; in COMMAND up to 6.2"),
    ("monitor", "shows everyone's commands, at any time"),
    ("sync", "begins a stream; tested in `replication.rs`"),
    ("psync", "begins a stream; tested in `replication.rs`"),
    ("replconf", "makes a replica of the link; tested in `replication.rs`"),
    ("client|kill", "ends the test's other clients"),
    ("client|reply", "leaves replies out, by which the test counts"),
    ("debug", "refused by a guard, which the oracle does not have; see COMPATIBILITY B.5"),
    ("module|load", "as DEBUG"),
    ("module|loadex", "as DEBUG"),
    ("module|unload", "as DEBUG"),
];

/// How much of the replies to a command can be the same, and when the command is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// Every byte.
    Bytes,
    /// The same parts in any order: sets and dictionaries have none.
    Unordered,
    /// As `Unordered`, at the end of a batch: what it stores may have another order, too.
    UnorderedLast,
    /// By chance or by the clock: the same text if it is an error on both sides or NOPERM on one.
    Verdict,
    /// As `Verdict`, at the end of a batch: its effects are by chance, or leave nothing to compare.
    VerdictLast,
    /// By bytes, on a connection of its own, which it changes.
    Alone,
    /// As `Alone` and `Verdict`.
    AloneVerdict,
    /// Not run on the oracle, which is asked whether it would (`ACL DRYRUN`).
    Permission,
}

const HOW: &[(&str, How, &str)] = &[
    ("smembers", How::Unordered, "the order of a set"),
    ("sdiff", How::Unordered, "the order of a set"),
    ("sinter", How::Unordered, "the order of a set"),
    ("sunion", How::Unordered, "the order of a set"),
    ("sscan", How::Verdict, "what comes first depends on the order of a set"),
    ("hgetall", How::Unordered, "the order of a hash"),
    ("hkeys", How::Unordered, "the order of a hash"),
    ("hvals", How::Unordered, "the order of a hash"),
    ("hscan", How::Verdict, "what comes first depends on the order of a hash"),
    ("keys", How::Unordered, "the order of the keyspace"),
    ("command|list", How::Unordered, "the order of a dictionary"),
    ("sort", How::UnorderedLast, "the order of a set, which it may store"),
    ("sort_ro", How::UnorderedLast, "the order of a set"),
    ("spop", How::VerdictLast, "chance"),
    ("srandmember", How::Verdict, "chance"),
    ("hrandfield", How::Verdict, "chance"),
    ("zrandmember", How::Verdict, "chance"),
    ("randomkey", How::Verdict, "chance"),
    ("scan", How::Verdict, "its cursor is by chance"),
    ("clusterscan", How::Verdict, "its cursor is by chance"),
    ("lolwut", How::Verdict, "chance"),
    ("acl|genpass", How::Verdict, "chance"),
    ("vadd", How::VerdictLast, "its graph is made by chance"),
    ("vsim", How::VerdictLast, "its graph is made by chance"),
    ("vlinks", How::VerdictLast, "its graph is made by chance"),
    ("vinfo", How::VerdictLast, "its graph is made by chance"),
    ("vrandmember", How::VerdictLast, "chance"),
    ("vrem", How::VerdictLast, "follows VADD"),
    ("vcard", How::VerdictLast, "follows VADD"),
    ("vdim", How::VerdictLast, "follows VADD"),
    ("vemb", How::VerdictLast, "follows VADD"),
    ("vgetattr", How::VerdictLast, "follows VADD"),
    ("vsetattr", How::VerdictLast, "follows VADD"),
    ("vismember", How::VerdictLast, "follows VADD"),
    ("vrange", How::VerdictLast, "follows VADD"),
    ("dump", How::Verdict, "holds the order of a set"),
    ("ttl", How::Verdict, "time"),
    ("pttl", How::Verdict, "time"),
    ("expiretime", How::Verdict, "time"),
    ("pexpiretime", How::Verdict, "time"),
    ("httl", How::Verdict, "time"),
    ("hpttl", How::Verdict, "time"),
    ("hexpiretime", How::Verdict, "time"),
    ("hpexpiretime", How::Verdict, "time"),
    ("object|idletime", How::Verdict, "time"),
    ("time", How::Verdict, "time"),
    ("lastsave", How::Verdict, "time"),
    ("xpending", How::Verdict, "shows times"),
    ("xinfo|consumers", How::Verdict, "shows times"),
    ("xinfo|stream", How::Verdict, "shows times"),
    ("info", How::Verdict, "the server's own numbers"),
    ("latency|doctor", How::Verdict, "the server's own numbers"),
    ("latency|histogram", How::Verdict, "the server's own numbers"),
    ("latency|latest", How::Verdict, "the server's own numbers"),
    ("latency|history", How::Verdict, "the server's own numbers"),
    ("latency|graph", How::Verdict, "the server's own numbers"),
    ("latency|reset", How::Verdict, "the server's own numbers"),
    ("memory|doctor", How::Verdict, "the server's own numbers"),
    ("memory|malloc-stats", How::Verdict, "the server's own numbers"),
    ("memory|stats", How::Verdict, "the server's own numbers"),
    ("memory|usage", How::Verdict, "the allocator's numbers"),
    ("slowlog|get", How::Verdict, "the server's own numbers"),
    ("slowlog|len", How::Verdict, "the server's own numbers"),
    ("commandlog|get", How::Verdict, "the server's own numbers"),
    ("commandlog|len", How::Verdict, "the server's own numbers"),
    ("command", How::Verdict, "the order of a dictionary"),
    ("command|info", How::Verdict, "the order of a dictionary"),
    ("command|docs", How::Verdict, "the order of a dictionary"),
    ("config|get", How::Verdict, "the servers' paths, and `*` is refused; see COMPATIBILITY B.5"),
    ("client|id", How::Verdict, "Redkeep's own numbers"),
    ("client|info", How::Verdict, "Redkeep's own fields"),
    ("client|list", How::Verdict, "Redkeep's own clients"),
    ("client|unblock", How::Verdict, "Redkeep's own clients"),
    ("flushall", How::VerdictLast, "leaves nothing to compare"),
    ("flushdb", How::VerdictLast, "leaves nothing to compare"),
    ("swapdb", How::VerdictLast, "leaves nothing to compare"),
    ("select", How::Alone, "the connection's state"),
    ("auth", How::Alone, "the connection's state"),
    ("reset", How::Alone, "the connection's state"),
    ("quit", How::Alone, "the connection's state"),
    ("multi", How::Alone, "the connection's state"),
    ("exec", How::Alone, "the connection's state"),
    ("discard", How::Alone, "the connection's state"),
    ("watch", How::Alone, "the connection's state"),
    ("unwatch", How::Alone, "the connection's state"),
    ("hello", How::AloneVerdict, "the connection's state, and shows an id"),
    ("subscribe", How::Permission, "the connection's state, several replies"),
    ("psubscribe", How::Permission, "the connection's state, several replies"),
    ("ssubscribe", How::Permission, "the connection's state, several replies"),
    ("unsubscribe", How::Permission, "the connection's state, several replies"),
    ("punsubscribe", How::Permission, "the connection's state, several replies"),
    ("sunsubscribe", How::Permission, "the connection's state, several replies"),
    ("acl|deluser", How::Permission, "changes the users"),
    ("acl|dryrun", How::Permission, "the users are not the same"),
    ("acl|getuser", How::Permission, "the users are not the same"),
    ("acl|list", How::Permission, "the users are not the same"),
    ("acl|load", How::Permission, "changes the users"),
    ("acl|log", How::Permission, "time"),
    ("acl|save", How::Permission, "changes the users"),
    ("acl|setuser", How::Permission, "changes the users"),
    ("acl|users", How::Permission, "the users are not the same"),
];

/// Commands for which Redkeep asks for more than Redis: COMPATIBILITY B.2. Everything else must agree.
const STRICTER: &[&str] = &[
    "client|tracking",
    "georadius",
    "georadiusbymember",
    "migrate",
    "pfmerge",
    "sort",
    "sort_ro",
    "xautoclaim",
    "xclaim",
    "zadd",
    // With no source, Redis finds no key at all; Redkeep asks for the destination.
    "zdiffstore",
    "zinterstore",
    "zunionstore",
];

/// Commands that are in a category here, though not yet in the server's version.
const LATER_CATEGORIES: &[(&str, &str)] = &[("wait", "@blocking since 7.2")];

/// Commands whose keywords Redis looks for without minding options' values, so that it denies keys that are none.
const MISREAD: &[(&str, &[&str])] = &[
    ("georadius", &["STORE", "STOREDIST"]),
    ("georadiusbymember", &["STORE", "STOREDIST"]),
    ("migrate", &["KEYS"]),
    ("sort", &["STORE"]),
    ("xread", &["STREAMS"]),
    ("xreadgroup", &["STREAMS"]),
];

#[test]
fn random_users_get_the_replies_of_a_server_with_the_same_acl() {
    let seed = Random::seed("EXECUTED_SEED").unwrap_or(0xacce55);
    let wanted = Random::seed("EXECUTED_COMMANDS").map_or(COMMANDS, |count| usize::try_from(count).unwrap());
    println!("EXECUTED_SEED={seed}");
    let mut random = Random::new(seed);
    let servers: Vec<_> = all().into_iter().chain(redis_6_2()).collect();
    let mut total = 0;
    for server in &servers {
        let mut arena = Arena::new(server, &mut random);
        while arena.compared < wanted.div_ceil(servers.len()) && arena.failures.len() < 10 {
            arena.batch(&mut random, seed);
        }
        println!(
            "{}: {} compared, {} denied by both, stricter {:?}",
            server.display(),
            arena.compared,
            arena.denied,
            arena.stricter
        );
        let failures: Vec<_> = arena.failures.values().map(String::as_str).collect();
        assert!(failures.is_empty(), "{} commands differ:\n{}", failures.len(), failures.join("\n"));
        assert!(arena.denied * 10 > arena.compared, "hardly anything is denied");
        assert!(arena.denied * 10 < arena.compared * 8, "hardly anything is allowed");
        arena.twins.proxy.assert_no_panic();
        total += arena.compared;
    }
    assert!(total >= wanted, "{total}");
}

#[test]
fn the_list_of_stricter_commands_is_short() {
    assert!(STRICTER.len() <= 20);
    let table = CommandTable::builtin();
    for name in STRICTER {
        assert!(table.find(name.as_bytes()).is_some(), "{name}");
    }
}

// === The two sides ===

type Rules = Vec<String>;
type Args = Vec<Vec<u8>>;

/// A server with users, and Redkeep with the same users before an open server.
struct Twins {
    _dir: TempDir,
    oracle: Redis,
    redis: Redis,
    proxy: Proxy,
}

impl Twins {
    fn new(server: &Path, users: &[Rules]) -> Twins {
        let mut file = "user default on nopass ~* &* +@all\n".to_owned();
        for (number, rules) in users.iter().enumerate() {
            file += &format!("user u{number} on >pw {}\n", rules.join(" "));
        }
        let dir = TempDir::new();
        let path = dir.write("users.acl", &file);
        let oracle = Redis::start_program(server, &["--aclfile", path.to_str().unwrap()]);
        let redis = Redis::start_program(server, &[]);
        let proxy = Proxy::with_users(&redis, &file, "log:\n  format: json\n");
        Twins { _dir: dir, oracle, redis, proxy }
    }

    fn fill(&self) {
        for redis in [&self.oracle, &self.redis] {
            let mut admin = redis.client();
            for line in FILL {
                admin.send(&line.split(' ').collect::<Vec<_>>());
            }
            for line in FILL {
                let reply = admin.read_reply();
                assert!(!reply.starts_with(b"-"), "{line}: {}", reply.escape_ascii());
            }
        }
    }

    fn clients(&self, user: usize) -> [Client; 2] {
        let name = format!("u{user}");
        [self.oracle.client().login(&name, "pw"), self.proxy.plain().login(&name, "pw")]
    }

    /// Sends the same to both, and returns both sides' replies.
    fn ask(&self, user: usize, requests: &[&Request]) -> Vec<[Vec<u8>; 2]> {
        let replies = self.clients(user).map(|mut client| {
            for request in requests {
                client.send(&request.args);
            }
            requests
                .iter()
                .map(|request| {
                    client.try_read_reply().unwrap_or_else(|| {
                        panic!(
                            "no reply to {} in {:?}",
                            shown(&request.args),
                            requests.iter().map(|request| shown(&request.args)).collect::<Vec<_>>()
                        )
                    })
                })
                .collect::<Vec<_>>()
        });
        let [theirs, ours] = replies;
        theirs.into_iter().zip(ours).map(|(theirs, ours)| [theirs, ours]).collect()
    }

    /// Whether the oracle would let the user run this, and what Redkeep says to it.
    fn permission(&self, user: usize, request: &Request) -> [Vec<u8>; 2] {
        let name = format!("u{user}");
        let question: Args = [b"ACL".to_vec(), b"DRYRUN".to_vec(), name.clone().into_bytes()]
            .into_iter()
            .chain(request.args.clone())
            .collect();
        let theirs = self.oracle.client().call(&question);
        [theirs, self.proxy.plain().login(&name, "pw").call(&request.args)]
    }
}

const FILL: &[&str] = &[
    "FLUSHALL",
    "SET key:0 5",
    "RPUSH key:1 3 1 2 key:1",
    "SADD key:2 1 2 3",
    "HSET key:3 a 1 b 2 key:1 x",
    "ZADD key:4 1 a 2 b 3 key:1",
    "XADD key:5 1-1 a b",
    "XADD key:5 1-2 a b",
    "XADD key:5 2-1 a b",
    "XGROUP CREATE key:5 g 0",
    "PFADD key:6 a b",
    "GEOADD key:7 1 1 a 1.1 1 b",
    "SET key:8 foobar",
    "RPUSH STORE 1 2",
    "SADD KEYS a b",
    "XADD STREAMS 1-1 a b",
    "XGROUP CREATE STREAMS g 0",
    "SET GET x",
    "ZADD by 1 a 2 c",
    "SET 2 7",
    "HSET auth a 1",
    "RPUSH 1 a b c",
];

fn vocabulary() -> Vocabulary {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut keys: Vec<String> = (0..10).map(|number| format!("key:{number}")).collect();
    let again = keys.clone();
    keys.extend(again);
    keys.extend(owned(&["STORE", "KEYS", "STREAMS", "GET", "by", "2", "auth", "1"]));
    Vocabulary {
        keys,
        typed: vec![
            (category::LIST, owned(&["key:1", "key:1", "STORE", "1"])),
            (category::SET, owned(&["key:2", "key:2", "KEYS"])),
            (category::HASH, owned(&["key:3", "auth"])),
            (category::GEO, owned(&["key:7"])),
            (category::SORTEDSET, owned(&["key:4", "key:4", "by"])),
            (category::STREAM, owned(&["key:5", "key:5", "STREAMS"])),
            (category::HYPERLOGLOG, owned(&["key:6"])),
            (category::STRING | category::BITMAP, owned(&["key:0", "key:8", "GET", "2"])),
        ],
        values: owned(&[
            "a", "b", "c", "g", "1", "2", "3", "x", "key:1", "key:2", "5", "foobar", "STREAMS", "", "a b",
        ]),
        patterns: owned(&["*", "key:*", "x*", "nosort", "key:*->a", "key:1", "?", "max*"]),
        channels: owned(&["ch:1", "ch:2", "news", "ch:*", "*", "x"]),
        scripts: owned(&["return 1", "return redis.call('get', KEYS[1])", "x"]),
        odd: 4,
    }
}

// === Users ===

const KEY_RULES: &[&str] = &[
    "~*",
    "~key:*",
    "~key:*",
    "~key:[0-4]",
    "~key:[5-9]",
    "~key:?",
    "~[^k]*",
    "~STORE",
    "~KEYS",
    "~1",
    "~by",
    "~?",
    "allkeys",
];
const ACCESS_RULES: &[&str] = &[
    "%R~*",
    "%W~*",
    "%R~key:*",
    "%W~key:*",
    "%RW~key:[2-6]",
    "%R~key:[0-5]",
    "%W~key:[4-9]",
    "%R~S*",
    "%W~STORE",
    "%W~[^k]*",
    "%R~GET",
];
const CHANNEL_RULES: &[&str] =
    &["&*", "allchannels", "&ch:*", "&news", "&ch:1", "resetchannels &ch:*", "resetchannels"];
const CATEGORY_RULES: &[&str] = &[
    "+@read",
    "+@write",
    "+@all",
    "-@dangerous",
    "-@admin",
    "-@slow",
    "+@fast",
    "+@keyspace",
    "-@keyspace",
    "+@string",
    "+@list",
    "-@list",
    "+@set",
    "+@hash",
    "-@hash",
    "+@sortedset",
    "+@stream",
    "-@stream",
    "+@geo",
    "+@bitmap",
    "+@hyperloglog",
    "+@pubsub",
    "+@connection",
    "-@connection",
    "+@transaction",
    "-@transaction",
    "+@scripting",
    "-@scripting",
    "+@blocking",
    "-@blocking",
];

/// What rules a server can express.
struct Dialect {
    /// Access to keys, selectors, subcommands: since 7.0.
    rich: bool,
    /// All commands, and subcommands with their container.
    names: Vec<String>,
}

impl Dialect {
    fn permission(&self, random: &mut Random) -> String {
        let sign = random.pick(&["+", "+", "-"]);
        match random.below(if self.rich { 10 } else { 8 }) {
            0..3 => random.pick(CATEGORY_RULES).to_owned(),
            3..6 => format!("{sign}{}", self.names[random.below(self.names.len())].to_ascii_lowercase()),
            6 => random.pick(KEY_RULES).to_owned(),
            7 => random.pick(&["+select|0", "+get|key:1", "+@all", "-get", "-set"]).to_owned(),
            _ => random.pick(ACCESS_RULES).to_owned(),
        }
    }

    fn rules(&self, random: &mut Random) -> Rules {
        // Channels are said, since servers differ in what a new user has.
        let mut rules = vec!["resetchannels".to_owned()];
        rules.push(
            random
                .pick(&["+@all", "+@all", "+@all", "+@all -@dangerous", "+@read +@write", "+@read", "-@all"])
                .to_owned(),
        );
        let keys = if self.rich && random.below(2) == 0 { ACCESS_RULES } else { KEY_RULES };
        for _ in 0..1 + random.below(3) {
            rules.push(random.pick(keys).to_owned());
        }
        for _ in 0..random.below(6) {
            rules.push(self.permission(random));
        }
        if random.below(2) == 0 {
            rules.push(random.pick(CHANNEL_RULES).to_owned());
        }
        if self.rich {
            for _ in 0..random.below(3) {
                let mut inner: Vec<String> =
                    (0..1 + random.below(4)).map(|_| self.permission(random)).collect();
                inner.push(random.pick(ACCESS_RULES).to_owned());
                rules.push(format!("({})", without_conflicts(inner).join(" ")));
            }
        }
        without_conflicts(rules)
    }
}

/// After all keys or channels, Redis takes no further pattern.
fn without_conflicts(rules: Rules) -> Rules {
    let words: Vec<String> = if rules.iter().any(|rule| rule.starts_with('(')) {
        rules
    } else {
        rules.join(" ").split(' ').map(str::to_owned).collect()
    };
    let (mut keys, mut channels) = (false, false);
    words
        .into_iter()
        .filter(|rule| {
            let (key, channel) = (
                rule.starts_with(['~', '%']) || rule == "allkeys",
                rule.starts_with('&') || rule == "allchannels",
            );
            let kept = !(key && keys || channel && channels);
            channels &= rule != "resetchannels" && !rule.starts_with("resetchannels ");
            keys |= ["~*", "allkeys"].contains(&&**rule);
            channels |= ["&*", "allchannels"].contains(&&**rule);
            kept
        })
        .collect()
}

// === Batches ===

struct Request {
    args: Args,
    spec: Spec,
    how: How,
}

struct Arena<'a> {
    server: &'a Path,
    twins: Twins,
    users: Vec<Rules>,
    specs: Vec<Spec>,
    vocabulary: Vocabulary,
    rich: bool,
    compared: usize,
    denied: usize,
    stricter: BTreeMap<String, usize>,
    /// By command, so that one bug is reported once.
    failures: BTreeMap<String, String>,
}

impl<'a> Arena<'a> {
    fn new(server: &'a Path, random: &mut Random) -> Arena<'a> {
        let probe = Redis::start_program(server, &[]);
        let mut admin = probe.client();
        let mut known = reported::parse(&admin.value(&["COMMAND"]));
        // The server tells them in random order; a seed is to mean the same every time.
        known.sort_by(|one, other| one.name.cmp(&other.name));
        let rich = admin.value(&["ACL", "DRYRUN", "default", "PING"])
            == redkeep::resp::Value::Simple(b"OK".to_vec());
        let table = CommandTable::builtin();
        let names = known
            .iter()
            .flat_map(|command| {
                command
                    .subcommands
                    .iter()
                    .filter(|_| rich)
                    .map(|sub| sub.name.clone())
                    .chain([command.name.clone()])
                    // `post` and `host:` are in COMMAND up to 6.2, but are no commands.
                    .filter(|name| !["post", "host:"].contains(&&**name))
            })
            .collect();
        let dialect = Dialect { rich, names };
        let users: Vec<Rules> = (0..USERS).map(|_| dialect.rules(random)).collect();
        let fitted = table.fitted(&known);
        // What only other servers have is unknown here, and must be so on both sides. (Redkeep answers some itself.)
        let foreign = table.specs().iter().filter(|spec| fitted.find(spec.name.as_bytes()).is_none());
        let everything: Vec<Spec> = fitted.specs().iter().chain(foreign).cloned().collect();
        let there = |spec: &Spec| {
            known.iter().any(|command| {
                command.name == spec.name || command.subcommands.iter().any(|sub| sub.name == spec.name)
            })
        };
        let specs = everything
            .iter()
            .filter(|spec| !NEVER.iter().any(|(name, _)| *name == spec.name))
            .filter(|spec| there(spec) || spec.affinity != Affinity::Local)
            // In 6.2.5 the ACL has a say in RESET.
            .filter(|spec| rich || spec.name != "reset")
            // Before 7.0 a container's rights are those of all its subcommands: COMPATIBILITY C.
            .filter(|spec| rich || !(spec.name.contains('|') || is_container(spec, &everything)))
            .cloned()
            .collect();
        Arena {
            server,
            twins: Twins::new(server, &users),
            users,
            specs,
            vocabulary: vocabulary(),
            rich,
            compared: 0,
            denied: 0,
            stricter: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    fn batch(&mut self, random: &mut Random, seed: u64) {
        let user = random.below(USERS);
        let requests: Vec<Request> = (0..BATCH).map(|_| self.request(random)).collect();
        self.twins.fill();
        let rich = self.rich;
        let chosen =
            |hows: &[How]| requests.iter().filter(|request| hows.contains(&request.how)).collect::<Vec<_>>();
        let first = chosen(&[How::Bytes, How::Unordered, How::Verdict]);
        let last = [chosen(&[How::UnorderedLast]), chosen(&[How::VerdictLast])].concat();
        let stream = [first, last].concat();
        let replies = self.twins.ask(user, &stream);
        for (place, (request, replies)) in stream.iter().zip(&replies).enumerate() {
            // What one side did and the other refused makes their data differ from here on.
            if !self.judge(seed, user, request, replies, &stream[..place])
                && replies.iter().any(|reply| !reply.starts_with(b"-"))
            {
                break;
            }
        }
        for request in chosen(&[How::Alone, How::AloneVerdict]) {
            let replies = self.twins.ask(user, &[request]).remove(0);
            self.judge(seed, user, request, &replies, &[]);
        }
        for request in chosen(&[How::Permission]).into_iter().filter(|_| rich) {
            let replies = self.twins.permission(user, request);
            self.judge(seed, user, request, &replies, &[]);
        }
    }

    fn request(&self, random: &mut Random) -> Request {
        let spec = self.vocabulary.command(&self.specs, random);
        let args = self.vocabulary.request(spec, random);
        let mut how = HOW
            .iter()
            .find(|(name, ..)| name.eq_ignore_ascii_case(&spec.name))
            .map_or(How::Bytes, |(_, how, _)| *how);
        if spec.affinity == Affinity::Unavailable || is_scripting(spec) {
            how = How::Permission;
        }
        let said = |word: &str| args.iter().any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        if spec.name.starts_with("sort")
            && args.iter().any(|arg| arg.to_ascii_lowercase().starts_with(b"limit"))
            || spec.name == "xadd" && said("*")
        {
            // A part of what has no order; an id by the clock.
            how = How::VerdictLast;
        }
        Request { args, spec: spec.clone(), how }
    }

    /// Whether the two sides agree, as far as they can. If not, it is counted, or noted as a failure.
    fn judge(
        &mut self,
        seed: u64,
        user: usize,
        request: &Request,
        replies: &[Vec<u8>; 2],
        before: &[&Request],
    ) -> bool {
        let [theirs, ours] = replies;
        if agree(request, theirs, ours) {
            self.compared += 1;
            self.denied += usize::from(is_denied(ours));
            return true;
        }
        if let Some(name) = excuse(request, theirs, ours) {
            *self.stricter.entry(name).or_default() += 1;
        } else if self.failures.len() < 10 && !self.failures.contains_key(&*request.spec.name) {
            let failure = self.failure(seed, user, request, replies, before);
            self.failures.insert(request.spec.name.to_string(), failure);
        }
        false
    }

    fn failure(
        &self,
        seed: u64,
        user: usize,
        request: &Request,
        replies: &[Vec<u8>; 2],
        before: &[&Request],
    ) -> String {
        let rules = &self.users[user];
        let before: Vec<_> = before.iter().map(|request| shown(&request.args)).collect();
        let smallest = self.smallest(rules, request).unwrap_or_else(|| {
            format!("Alone it does not happen. Before it came:\n  {}", before.join("\n  "))
        });
        format!(
            "EXECUTED_SEED={seed}, {}: user u{user} {}\n> {} ({:?})\n  Redis   {}\n  Redkeep {}\n{smallest}\n",
            self.server.display(),
            rules.join(" "),
            shown(&request.args),
            request.how,
            replies[0].escape_ascii(),
            replies[1].escape_ascii(),
        )
    }

    /// The fewest rules and words with which the two sides still differ; `None` if the command alone does not show it.
    fn smallest(&self, rules: &Rules, request: &Request) -> Option<String> {
        let differ = |twins: &Twins, args: &Args| {
            let request = Request { args: args.clone(), spec: request.spec.clone(), how: request.how };
            twins.fill();
            let [theirs, ours] = match request.how {
                How::Permission => twins.permission(0, &request),
                _ => twins.ask(0, &[&request]).remove(0),
            };
            (!agree(&request, &theirs, &ours) && excuse(&request, &theirs, &ours).is_none())
                .then_some([theirs, ours])
        };
        let mut rules = rules.clone();
        let mut twins = Twins::new(self.server, std::slice::from_ref(&rules));
        let mut replies = differ(&twins, &request.args)?;
        let mut at = rules.len();
        while at > 0 {
            at -= 1;
            let mut fewer = rules.clone();
            fewer.remove(at);
            let candidate = Twins::new(self.server, std::slice::from_ref(&fewer));
            if let Some(still) = differ(&candidate, &request.args) {
                (rules, twins, replies) = (fewer, candidate, still);
            }
        }
        let mut args = request.args.clone();
        let mut at = args.len();
        while at > 1 {
            at -= 1;
            let mut fewer = args.clone();
            fewer.remove(at);
            if let Some(still) = differ(&twins, &fewer) {
                (args, replies) = (fewer, still);
            }
        }
        Some(format!(
            "Smallest, on fresh data: {}\n> {}\n  Redis   {}\n  Redkeep {}",
            rules.join(" "),
            shown(&args),
            replies[0].escape_ascii(),
            replies[1].escape_ascii()
        ))
    }
}

/// Whether a command says the same for the same data: neither chance nor the clock nor an order has a part in it.
pub fn is_repeatable(name: &str) -> bool {
    let how = HOW.iter().find(|(known, ..)| *known == name).map_or(How::Bytes, |(_, how, _)| *how);
    matches!(how, How::Bytes | How::Alone)
}

fn agree(request: &Request, theirs: &[u8], ours: &[u8]) -> bool {
    let parts = |reply: &[u8]| {
        let mut parts: Vec<Vec<u8>> = reply.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        parts.sort();
        parts
    };
    match request.how {
        How::Bytes | How::Alone => theirs == ours,
        How::Unordered | How::UnorderedLast => parts(theirs) == parts(ours),
        How::Verdict | How::VerdictLast | How::AloneVerdict => {
            let decided =
                is_denied(theirs) || is_denied(ours) || theirs.starts_with(b"-") && ours.starts_with(b"-");
            // Redis names a module's command as the module spells it, Redkeep in lower case.
            let same = theirs.eq_ignore_ascii_case(ours);
            !decided || same || is_gate(ours) && !is_denied(theirs)
        }
        How::Permission if theirs.starts_with(b"-") => ours.starts_with(b"-"),
        How::Permission if theirs == b"+OK\r\n" => {
            !is_denied(ours) || is_gate(ours) || keys_are_unclear(request)
        }
        How::Permission => is_denied(ours) && !is_gate(ours),
    }
}

/// Refused by the ACL.
fn is_denied(reply: &[u8]) -> bool {
    reply.ends_with(b" option of SORT denied due to insufficient ACL permissions.\r\n")
        || reply.starts_with(b"-NOPERM ")
        || reply.starts_with(b"-EXECABORT Transaction discarded because of: NOPERM ")
}

/// Refused by a guard of Redkeep's own, after the ACL has allowed it: COMPATIBILITY B.5.
fn is_gate(reply: &[u8]) -> bool {
    reply.starts_with(b"-NOPERM scripts and functions ")
        || reply.starts_with(b"-NOPERM functions are loaded ")
        || reply.starts_with(b"-NOPERM the upstream's credentials ")
}

/// The name of the reason why the sides may differ here.
fn excuse(request: &Request, theirs: &[u8], ours: &[u8]) -> Option<String> {
    let name = &*request.spec.name;
    if is_gate(ours) && !is_denied(theirs) && name.starts_with("config|") {
        return Some(format!("{name}: guarded"));
    }
    if LATER_CATEGORIES.iter().any(|(later, _)| *later == name) {
        return Some(format!("{name}: category"));
    }
    if is_denied(ours) && theirs.starts_with(b"-") && keys_are_unclear(request) {
        return Some(format!("{name}: keys in doubt"));
    }
    if is_denied(ours) && !is_denied(theirs) {
        return STRICTER.contains(&name).then(|| name.to_owned());
    }
    if name == "migrate" && is_denied(theirs) && ours == b"+NOKEY\r\n" {
        // `MIGRATE ... '' 0 5 KEYS`: Redis 8.2 takes the empty word for a key, and there is none.
        return Some(format!("{name}: misread by Redis"));
    }
    if name == "migrate" && is_denied(theirs) && ours.starts_with(b"-") && keys_are_unclear(request) {
        // Both refuse it. 6.2 looks for its keys elsewhere (B.2); for the others tests/it/syntax.rs compares the words.
        return Some(format!("{name}: keys in doubt"));
    }
    let (_, words) = MISREAD.iter().find(|(misread, _)| *misread == name)?;
    let said = |arg: &[u8]| arg.split(|byte| *byte == 0).next().unwrap().to_ascii_uppercase();
    let times =
        request.args.iter().filter(|arg| words.iter().any(|word| said(arg) == word.as_bytes())).count();
    (is_denied(theirs) && times > 1).then(|| format!("{name}: misread by Redis"))
}

fn keys_are_unclear(request: &Request) -> bool {
    let encoded = RequestBuf::from_args(&request.args);
    for_each_key(&request.spec, encoded.as_request(), |_: Key<'_>| ControlFlow::<()>::Continue(())).is_err()
}

fn shown(args: &Args) -> String {
    args.iter()
        .map(|arg| if arg.is_empty() { "''".to_owned() } else { arg.escape_ascii().to_string() })
        .collect::<Vec<_>>()
        .join(" ")
}
