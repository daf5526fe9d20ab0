//! The effect oracle: what restricted users may do through Redkeep is measured by what happens, not by what is decided.
//!
//! Every key that a user may not read holds secrets, and every batch of random commands runs twice, with other secrets
//! of the same form. Then no secret may stand in a reply, no reply may be another than in the first run, and at the
//! upstream no key that the user may not write may have changed or come into being, in any database. The seed is
//! printed; `EFFECTS_SEED` runs another one, `EFFECTS_COMMANDS` more commands (`make effects`).

use std::collections::BTreeMap;
use std::path::Path;

use redkeep::command::{CommandTable, Spec, category, reported};
use redkeep::resp::{RequestBuf, Value};

use crate::executed::is_repeatable;
use crate::support::random::Random;
use crate::support::redis::{all, redis_6_2};
use crate::support::requests::Vocabulary;
use crate::support::{Client, Proxy, Redis};

/// Commands over all servers and users, each run twice.
const COMMANDS: usize = 24_000;
const BATCH: usize = 80;

/// What the users' rules leave out. Redis checks no key here: who has the command has it for all keys.
const WITHOUT_KEY_CHECK: &[(&str, &str)] = &[
    ("keys", "shows the names of all keys"),
    ("scan", "shows the names of all keys"),
    ("clusterscan", "shows the names of all keys"),
    ("randomkey", "shows the names of all keys"),
    ("dbsize", "counts all keys"),
    ("flushall", "removes all keys"),
    ("flushdb", "removes all keys"),
    ("swapdb", "moves all keys"),
    ("slowlog", "shows the arguments of everyone's slow commands"),
    ("commandlog", "shows the arguments of everyone's slow commands"),
    ("sync", "shows all data, to replicas"),
    ("psync", "shows all data, to replicas"),
    ("monitor", "shows the arguments of everyone's commands"),
    ("client|list", "shows the names that clients gave themselves"),
    ("config|set", "rules the whole server: eviction removes any key"),
];

/// What the rules leave out since it would end the test.
const HOPELESS: &[(&str, &str)] = &[
    ("shutdown", "ends the server"),
    ("client|kill", "ends the test's other clients"),
    ("client|reply", "leaves replies out, by which the test counts"),
    ("failover", "changes the server's role"),
    ("replicaof", "changes the server's role, and removes all keys"),
    ("slaveof", "changes the server's role, and removes all keys"),
    ("save", "forks or stops the server"),
    ("bgsave", "forks or stops the server"),
    ("bgrewriteaof", "forks or stops the server"),
    ("pfselftest", "takes seconds"),
    ("acl|setuser", "who has it gives himself all rights"),
    ("acl|deluser", "who has it takes the test's users away"),
    ("acl|load", "forgets what the test has set"),
    ("acl|save", "writes files"),
];

/// Commands that change a part of keys for which Redis wants no right to write, as long as the value is the same.
const CHANGES_WHAT_IT_READS: &[(&str, &str)] =
    &[("xreadgroup", "delivers: the group remembers what was read, though the key is only read")];

/// Never sent, since no rule can take them away.
const ENDS_THE_SESSION: &[&str] = &["quit", "reset", "post", "host:"];

#[test]
fn restricted_users_neither_see_nor_change_what_is_not_theirs() {
    let seed = Random::seed("EFFECTS_SEED").unwrap_or(0xeffec7);
    let wanted = Random::seed("EFFECTS_COMMANDS").map_or(COMMANDS, |count| usize::try_from(count).unwrap());
    println!("EFFECTS_SEED={seed}");
    let mut random = Random::new(seed);
    let servers: Vec<_> = all().into_iter().chain(redis_6_2()).collect();
    for server in &servers {
        let mut stage = Stage::new(server, &mut random);
        let mut done = 0;
        while done < wanted.div_ceil(servers.len()) && stage.failures.len() < 8 {
            stage.batch(&mut random);
            done += BATCH;
        }
        println!(
            "{}: {done} commands, {} replies were no errors, {} keys were changed, {} replies compared",
            server.display(),
            stage.successes,
            stage.changes,
            stage.compared
        );
        let failures: Vec<_> = stage.failures.values().map(String::as_str).collect();
        assert!(
            failures.is_empty(),
            "EFFECTS_SEED={seed}, {}: {} commands break out:\n{}",
            server.display(),
            failures.len(),
            failures.join("\n")
        );
        assert!(stage.successes * 10 > done, "hardly anything was allowed");
        assert!(stage.changes * 40 > done, "hardly anything had an effect");
        stage.proxy.assert_no_panic();
    }
}

// === Users ===

/// What a user may do, in rules and in words: prefixes or whole names of keys, with reading and writing.
struct Person {
    name: String,
    rules: String,
    grants: Vec<Grant>,
}

/// A prefix with a star, or a name; whether its keys may be read; whether they may be written.
type Grant = (&'static str, bool, bool);

impl Person {
    fn may(&self, key: &str) -> (bool, bool) {
        self.grants
            .iter()
            .filter(|(pattern, ..)| {
                pattern.strip_suffix('*').map_or(*pattern == key, |prefix| key.starts_with(prefix))
            })
            .fold((false, false), |(read, write), grant| (read | grant.1, write | grant.2))
    }
}

fn people(table: &CommandTable) -> Vec<Person> {
    // A user with rules that name what the server lacks may run no scripts.
    let known = |(name, _): &&(&str, &str)| table.find(name.as_bytes()).is_some();
    let without: String =
        WITHOUT_KEY_CHECK.iter().chain(HOPELESS).filter(known).map(|(name, _)| format!(" -{name}")).collect();
    let rights = [
        format!("+@all{without}"),
        format!("+@all -@dangerous{without}"),
        format!("+@read +@write +@keyspace +@pubsub +@transaction +@scripting +@connection{without}"),
    ];
    let grants: &[(&str, &[Grant])] = &[
        ("%R~in:*", &[("in:*", true, false)]),
        ("%W~out:*", &[("out:*", false, true)]),
        ("%R~in:* %W~out:*", &[("in:*", true, false), ("out:*", false, true)]),
        ("~rw:*", &[("rw:*", true, true)]),
        ("~rw:* %R~in:* %W~out:*", &[("rw:*", true, true), ("in:*", true, false), ("out:*", false, true)]),
        (
            "~rw:* ~STORE %R~GET %W~BY %R~1 %W~STREAMS",
            &[
                ("rw:*", true, true),
                ("STORE", true, true),
                ("GET", true, false),
                ("BY", false, true),
                ("1", true, false),
                ("STREAMS", false, true),
            ],
        ),
        ("(%R~in:*) (%W~out:*)", &[("in:*", true, false), ("out:*", false, true)]),
        ("%R~rw:* (%W~rw:*) (~out:*)", &[("rw:*", true, true), ("out:*", true, true)]),
        (
            "(%R~in:* %W~out:*) (~KEYS)",
            &[("in:*", true, false), ("out:*", false, true), ("KEYS", true, true)],
        ),
    ];
    let mut people = Vec::new();
    for (number, ((patterns, grants), commands)) in
        grants.iter().flat_map(|grant| rights.iter().map(move |commands| (grant, commands))).enumerate()
    {
        // A selector has no commands but its own.
        let selectors = patterns.replace('(', &format!("({commands} &in:* "));
        people.push(Person {
            name: format!("u{number}"),
            rules: format!("resetchannels &in:* {commands} {selectors}"),
            grants: grants.to_vec(),
        });
    }
    people
}

// === Data ===

const PREFIXES: &[&str] = &["in:", "out:", "rw:", "no:"];
const TYPES: &[&str] = &["str", "num", "list", "set", "zset", "hash", "stream", "hll", "geo"];
/// Keys that look like options, each with its type.
const ODD: &[(&str, &str)] = &[
    ("STORE", "list"),
    ("KEYS", "set"),
    ("STREAMS", "stream"),
    ("GET", "str"),
    ("BY", "zset"),
    ("COUNT", "hash"),
    ("GROUP", "stream"),
    ("1", "list"),
    ("2", "str"),
    ("AUTH", "num"),
    ("LIMIT", "set"),
];
/// Databases that hold data; the others are empty and must stay so.
const DATABASES: usize = 2;
const ALL_DATABASES: usize = 16;

fn all_keys() -> Vec<(String, &'static str)> {
    let prefixed =
        PREFIXES.iter().flat_map(|prefix| TYPES.iter().map(move |kind| (format!("{prefix}{kind}"), *kind)));
    prefixed.chain(ODD.iter().map(|(name, kind)| ((*name).to_owned(), *kind))).collect()
}

/// Words that a reply must not have: one family of texts and one of numbers, both of a fixed length.
struct Secrets {
    text: String,
    number: u64,
    next: u64,
}

impl Secrets {
    fn new(random: &mut Random) -> Secrets {
        let mut digits = || random.below(1_000_000);
        Secrets {
            text: format!("cnry{:06}{:06}", digits(), digits()),
            // Numbers of one family lie close together, so that no word of a request tells them apart.
            number: 7_700_000_000_000 + u64::try_from(digits()).unwrap() * 1_000_000,
            next: 0,
        }
    }

    fn text(&mut self) -> String {
        self.next += 1;
        format!("{}{:04}", self.text, self.next)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.number + self.next
    }

    fn stands_in(&self, reply: &[u8]) -> bool {
        let number = (self.number / 1_000_000).to_string();
        [self.text.as_bytes(), number.as_bytes()]
            .iter()
            .any(|secret| reply.windows(secret.len()).any(|window| window == *secret))
    }
}

/// Commands that fill one key; with secrets, or with words that requests use.
fn fill(key: &str, kind: &str, mut secrets: Option<&mut Secrets>) -> Vec<Vec<String>> {
    let mut text = |open: &str| secrets.as_mut().map_or_else(|| open.to_owned(), |secrets| secrets.text());
    let (a, b, c, d) = (text("str"), text("x"), text("m"), text("1"));
    let number = secrets.as_mut().map_or(5, |secrets| secrets.number()).to_string();
    let lines: Vec<Vec<&str>> = match kind {
        "str" => vec![vec!["SET", key, &a]],
        "num" => vec![vec!["SET", key, &number]],
        "list" => vec![vec!["RPUSH", key, &a, &b, &c, &d]],
        "set" => vec![vec!["SADD", key, &a, &b, &c]],
        "zset" => vec![vec!["ZADD", key, &number, "m", &number, &a, &number, &b]],
        "hash" => vec![vec!["HSET", key, "f", &a, &b, &c, "n", &number]],
        "stream" => vec![
            vec!["XADD", key, "1-1", "f", &a],
            vec!["XADD", key, "1-2", &b, &c],
            vec!["XADD", key, "2-1", "f", &d],
            vec!["XGROUP", "CREATE", key, "g", "0"],
            vec!["XREADGROUP", "GROUP", "g", &a, "COUNT", "1", "STREAMS", key, ">"],
        ],
        // Dense, so that its length does not depend on what is in it; counted, so that counting changes nothing.
        "hll" => vec![vec!["PFADD", key, &a, &b, &c], vec!["PFDEBUG", "TODENSE", key], vec!["PFCOUNT", key]],
        "geo" => {
            let place = &number[number.len() - 1..];
            return vec![vec![
                "GEOADD".to_owned(),
                key.to_owned(),
                format!("1{place}.5"),
                format!("2{place}.25"),
                "m".to_owned(),
            ]];
        }
        _ => panic!("{kind}"),
    };
    lines.into_iter().map(|line| line.into_iter().map(str::to_owned).collect()).collect()
}

fn vocabulary(person: &Person) -> Vocabulary {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    // Four fifths of the keys are the user's own, or nearly all would be refused.
    let weighted = |kinds: &[&str]| {
        let keys: Vec<String> =
            all_keys().into_iter().filter(|(_, kind)| kinds.contains(kind)).map(|(key, _)| key).collect();
        let own: Vec<String> = keys.iter().filter(|key| person.may(key) != (false, false)).cloned().collect();
        let times = (4 * keys.len()).checked_div(own.len()).unwrap_or(0);
        keys.into_iter().chain(std::iter::repeat_n(own, times).flatten()).collect::<Vec<_>>()
    };
    let mut keys = weighted(TYPES);
    keys.extend(owned(&["in:none", "out:none", "rw:none", "no:none"]));
    Vocabulary {
        keys,
        typed: vec![
            (category::LIST, weighted(&["list"])),
            (category::SET, weighted(&["set"])),
            (category::HASH, weighted(&["hash"])),
            (category::GEO, weighted(&["geo"])),
            (category::SORTEDSET, weighted(&["zset"])),
            (category::STREAM, weighted(&["stream"])),
            (category::HYPERLOGLOG, weighted(&["hll"])),
            (category::STRING | category::BITMAP, weighted(&["str", "num"])),
        ],
        values: owned(&[
            "m", "f", "g", "n", "x", "str", "1", "2", "5", "c", "", "no:str", "no:list", "in:str", "out:str",
            "STREAMS", "KEYS",
        ]),
        patterns: owned(&[
            "*", "no:*", "in:*", "out:*", "no:*->f", "no:s?r", "nosort", "#", "w*", "n\0*", "*:str",
        ]),
        channels: owned(&["in:chan", "no:chan", "*", "no:*", "in:*", "in:c*"]),
        scripts: owned(&[
            "return redis.call('GET', 'no:str')",
            "return redis.call('SET', 'no:new', 'x')",
            "return redis.call('GET', KEYS[1])",
            "#!lua name=f\nredis.register_function('f', function(keys) return redis.call('GET', 'no:str') end)",
        ]),
        odd: 3,
    }
}

// === The stage ===

struct Stage {
    redis: Redis,
    proxy: Proxy,
    people: Vec<Person>,
    specs: Vec<Spec>,
    secrets: [Secrets; 2],
    successes: usize,
    compared: usize,
    changes: usize,
    failures: BTreeMap<String, String>,
}

/// A request with its command's name.
type Line = (String, Vec<Vec<u8>>);

/// What the upstream holds: for each database and key its value and whether it expires.
type Snapshot = BTreeMap<(usize, String), Content>;

#[derive(PartialEq, Eq)]
struct Content {
    /// The value, without its encoding.
    digest: Vec<u8>,
    /// Whether it expires; a stream's groups.
    more: Vec<u8>,
}

impl Stage {
    fn new(server: &Path, random: &mut Random) -> Stage {
        let redis = Redis::start_program(server, &[]);
        let mut known = reported::parse(&redis.client().value(&["COMMAND"]));
        // The server tells them in random order; a seed is to mean the same every time.
        known.sort_by(|one, other| one.name.cmp(&other.name));
        let table = CommandTable::builtin().fitted(&known);
        let specs =
            table.specs().iter().filter(|spec| !ENDS_THE_SESSION.contains(&&*spec.name)).cloned().collect();
        let people = people(&table);
        let mut users = "user default off\n".to_owned();
        for person in &people {
            users += &format!("user {} on >pw {}\n", person.name, person.rules);
        }
        let proxy = Proxy::with_users(&redis, &users, "log:\n  format: json\n");
        Stage {
            redis,
            proxy,
            people,
            specs,
            secrets: [Secrets::new(random), Secrets::new(random)],
            successes: 0,
            compared: 0,
            changes: 0,
            failures: BTreeMap::new(),
        }
    }

    fn batch(&mut self, random: &mut Random) {
        let person = random.below(self.people.len());
        let vocabulary = vocabulary(&self.people[person]);
        let resp3 = random.below(3) == 0;
        let lines: Vec<Line> = (0..BATCH)
            .map(|_| {
                let spec = vocabulary.command(&self.specs, random);
                (spec.name.to_string(), vocabulary.request(spec, random))
            })
            .collect();
        if let Err(fault) = self.run(person, resp3, &lines) {
            self.blame(person, resp3, &lines, &fault);
        }
    }

    /// Runs the commands with both sets of secrets; `Err` says what got out or was changed.
    fn run(&mut self, person: usize, resp3: bool, lines: &[Line]) -> Result<(), String> {
        let mut replies = Vec::new();
        for side in 0..2 {
            let before = self.fill(person, side);
            let said = self.talk(person, resp3, lines, side);
            let after = self.snapshot();
            self.unchanged(person, lines, &before, &after)?;
            if let Some(reply) = said.iter().find(|reply| self.secrets[side].stands_in(reply)) {
                return Err(format!("a secret in a reply: {}", reply.escape_ascii()));
            }
            self.changes += after.iter().filter(|(place, value)| before.get(place) != Some(value)).count();
            replies.push(said);
        }
        let [first, second] = &replies[..] else { panic!("two sides") };
        self.successes += first.iter().filter(|reply| !reply.starts_with(b"-")).count();
        // What Redkeep answers itself may come before a message that was published earlier (COMPATIBILITY B.5).
        let subscribes = lines.iter().any(|(name, _)| name.ends_with("subscribe"));
        if first.len() != second.len() && !subscribes {
            return Err(format!("{} replies, then {}", first.len(), second.len()));
        }
        // A subscription has more replies than commands, a change by chance shows in later replies: nothing to compare.
        let comparable = first.len() == lines.len()
            && second.len() == lines.len()
            && !lines.iter().any(|(name, _)| name == "spop");
        for ((name, _), (first, second)) in lines.iter().zip(first.iter().zip(second)).filter(|_| comparable)
        {
            if !is_repeatable(name) {
                continue;
            }
            self.compared += 1;
            if first != second {
                return Err(format!(
                    "{name} tells of secrets: {} or {}",
                    first.escape_ascii(),
                    second.escape_ascii()
                ));
            }
        }
        Ok(())
    }

    /// Finds the command of a batch that did it, by running each alone, and then after those before it.
    fn blame(&mut self, person: usize, resp3: bool, lines: &[Line], fault: &str) {
        let alone = lines.iter().find_map(|line| {
            self.run(person, resp3, std::slice::from_ref(line))
                .err()
                .map(|fault| (line.0.clone(), shown(line), fault))
        });
        let (name, what, fault) = alone.unwrap_or_else(|| {
            let all: Vec<String> = lines.iter().map(shown).collect();
            ("together".to_owned(), all.join("\n  "), fault.to_owned())
        });
        let rules = &self.people[person].rules;
        self.failures.entry(name).or_insert_with(|| format!("{rules}\n> {what}\n  {fault}\n"));
    }

    /// Fills the upstream anew. What the user may not read holds secrets.
    fn fill(&mut self, person: usize, side: usize) -> Snapshot {
        let mut admin = self.redis.client();
        let secrets = &mut self.secrets[side];
        secrets.next = 0;
        let mut lines = vec![vec!["FLUSHALL".to_owned()]];
        for database in 0..DATABASES {
            lines.push(vec!["SELECT".to_owned(), database.to_string()]);
            for (key, kind) in all_keys() {
                let (read, _) = self.people[person].may(&key);
                lines.extend(fill(&key, kind, (!read).then_some(&mut *secrets)));
            }
            // Its name is a secret, and it has an end that could be taken away.
            let name = format!("no:{}", secrets.text());
            lines.push(["SET", &name, "x", "EX", "900000"].map(str::to_owned).to_vec());
        }
        let bytes: Vec<u8> =
            lines.iter().flat_map(|line| RequestBuf::from_args(line).as_request().wire().to_vec()).collect();
        admin.send_raw(&bytes);
        for line in &lines {
            let reply = admin.read_reply();
            assert!(!reply.starts_with(b"-"), "{line:?}: {}", reply.escape_ascii());
        }
        self.snapshot()
    }

    /// The replies to the commands, without those to the marks between them.
    fn talk(&self, person: usize, resp3: bool, lines: &[Line], side: usize) -> Vec<Vec<u8>> {
        let mut client = self.proxy.plain().login(&self.people[person].name, "pw");
        if resp3 {
            client.call(&["HELLO", "3"]);
        }
        let bytes: Vec<u8> = lines
            .iter()
            .flat_map(|(_, args)| RequestBuf::from_args(args).as_request().wire().to_vec())
            .collect();
        client.send_raw(&bytes);
        let mut replies = until_mark(&mut client, "markone", lines);
        let mut admin = self.redis.client();
        for command in ["PUBLISH", "SPUBLISH"] {
            // Before 7.0 there is no SPUBLISH.
            admin.call(&[command, "no:chan", &self.secrets[side].text]);
            admin.call(&[command, "in:chan", "hello"]);
        }
        // What was published is on its way to subscribers, who have more replies than commands.
        replies.extend(until_mark(&mut client, "marktwo", lines));
        replies
    }

    /// Contents by DEBUG DIGEST-VALUE, since an encoding may change by reading; streams by DUMP, with their groups.
    fn snapshot(&self) -> Snapshot {
        const MORE: &str = "local more = {} for i, key in ipairs(KEYS) do local ttl = redis.call('PTTL', key) \
            more[i] = ttl == -1 and 'stays' or ttl > 500000000 and 'ends late' or 'ends soon' \
            if redis.call('TYPE', key).ok == 'stream' then more[i] = more[i] .. redis.call('DUMP', key) end end return more";
        let mut admin = self.redis.client();
        let mut snapshot = Snapshot::new();
        for database in 0..ALL_DATABASES {
            admin.call(&["SELECT", &database.to_string()]);
            let Value::Array(keys) = admin.value(&["KEYS", "*"]) else { panic!("KEYS") };
            if keys.is_empty() {
                continue;
            }
            let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes().unwrap()).collect();
            let count = keys.len().to_string();
            let digests = admin.value(&[&[&b"DEBUG"[..], b"DIGEST-VALUE"], &keys[..]].concat());
            let more = admin.value(&[&[&b"EVAL"[..], MORE.as_bytes(), count.as_bytes()], &keys[..]].concat());
            let (Value::Array(digests), Value::Array(more)) = (&digests, &more) else {
                panic!("{digests:?} {more:?}")
            };
            for ((key, digest), more) in keys.iter().zip(digests).zip(more) {
                let Value::Simple(digest) = digest else { panic!("{digest:?}") };
                let content = Content { digest: digest.clone(), more: more.as_bytes().unwrap().to_vec() };
                snapshot.insert((database, String::from_utf8_lossy(key).into_owned()), content);
            }
        }
        snapshot
    }

    fn unchanged(
        &self,
        person: usize,
        lines: &[Line],
        before: &Snapshot,
        after: &Snapshot,
    ) -> Result<(), String> {
        let foreign = |(_, key): &&(usize, String)| !self.people[person].may(key).1;
        let delivers =
            lines.iter().any(|(name, _)| CHANGES_WHAT_IT_READS.iter().any(|(known, _)| known == name));
        for place @ (database, key) in before.keys().chain(after.keys()).filter(foreign) {
            let (old, new) = (before.get(place), after.get(place));
            let delivered = delivers
                && self.people[person].may(key).0
                && old.map(|old| &old.digest) == new.map(|new| &new.digest);
            if old != new && !delivered {
                let what = match (old, new) {
                    (None, _) => "came into being",
                    (_, None) => "is gone",
                    _ => "has changed",
                };
                return Err(format!("{key} in database {database} {what}"));
            }
        }
        Ok(())
    }
}

/// All replies until that to a command which does not exist: it has one in every state of a connection.
fn until_mark(client: &mut Client, mark: &str, lines: &[Line]) -> Vec<Vec<u8>> {
    client.send(&[mark]);
    let mut replies = Vec::new();
    loop {
        let reply = client.try_read_reply().unwrap_or_else(|| {
            panic!(
                "no reply after {} in:\n{}",
                replies.len(),
                lines.iter().map(shown).collect::<Vec<_>>().join("\n")
            )
        });
        if reply.windows(mark.len()).any(|window| window == mark.as_bytes()) {
            return replies;
        }
        replies.push(reply);
    }
}

fn shown((_, args): &Line) -> String {
    args.iter()
        .map(|arg| if arg.is_empty() { "''".to_owned() } else { arg.escape_ascii().to_string() })
        .collect::<Vec<_>>()
        .join(" ")
}
