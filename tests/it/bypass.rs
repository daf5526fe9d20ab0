//! The bypass corpus: ways around the rules, written by hand after the holes that Redis, its clients and other proxies had,
//! each tried through the proxy and judged by its effect, not by its reply.
//!
//! The files in `bypass/` hold one way a line: `user: COMMAND arg ; COMMAND arg`, or `user< bytes` for what goes out as
//! it stands. `\xNN`, `\r`, `\n`, `\t`, `\s` (a space) and `\\` are bytes, `{text*N}` repeats, `''` is empty, `@GET@` the
//! SHA1 of a script that Redis knows. Whoever it is and whatever is sent: no secret comes back or gets into a key of the
//! user's own, no key that is not the user's changes, and Redis itself stays what it was. After that each line is
//! mutated; `BYPASS_SEED` runs other mutations, `BYPASS_MUTATIONS` more of them for each line.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use redkeep::resp::{RequestBuf, Value};

use crate::support::random::Random;
use crate::support::redis::{all, installed};
use crate::support::{Client, Proxy, Redis, SOON};

const CORPUS: &[(&str, &str)] = &[
    ("administrators", include_str!("bypass/administrators.txt")),
    ("channels", include_str!("bypass/channels.txt")),
    ("framing", include_str!("bypass/framing.txt")),
    ("keys", include_str!("bypass/keys.txt")),
    ("names", include_str!("bypass/names.txt")),
    ("options", include_str!("bypass/options.txt")),
    ("rights", include_str!("bypass/rights.txt")),
    ("scripts", include_str!("bypass/scripts.txt")),
    ("state", include_str!("bypass/state.txt")),
    ("strangers", include_str!("bypass/strangers.txt")),
];

/// Mutations of each line, over all servers.
const MUTATIONS: usize = 3;
/// Mutations between two looks at the effects.
const BATCH: usize = 100;

const USERS: &str = "\
user default off
user off off >secret ~* &* +@all
user admin on >secret ~* &* +@all
user app on >secret ~app:* &app:* +@all -@dangerous
user reader on >secret %R~app:* +@read +@connection +multi +exec
user writer on >secret ~app:* %W~secret:* +@all -@dangerous
user few on >secret ~app:* +get +config|get +client|id +multi +exec
";

/// As the demo has it.
const GATES: &str = "commands:\n  rename: { FLUSHALL: \"\", KEYS: \"KEYS_7f3a\" }\n";

/// What stands in every value that is not the user's, and in the upstream's own credentials.
const SECRETS: [&str; 2] = ["canary", "7264543"];
const CREDENTIAL: &str = "canary-credential";

const STEAL: &str = "return redis.call('get', 'secret:string')";
const LIBRARY: &str = "#!lua name=thief\nredis.register_function('steal', function() return redis.call('get', 'secret:string') end)\n\
     redis.register_function{function_name='steal_ro', callback=function() return redis.call('get', 'secret:string') end, flags={'no-writes'}}";

/// Keys in both databases; `app:` is the user's.
const DATA: &[&str] = &[
    "SET secret:string canary-string",
    "SET secret:number 7264543",
    "RPUSH secret:list canary-list canary-other",
    "SADD secret:set canary-set canary-other",
    "HSET secret:hash field canary-hash n 7264543",
    "ZADD secret:zset 1 canary-zset 2 canary-other",
    "PFADD secret:hll canary-hll",
    "GEOADD secret:geo 13.361389 38.115556 canary-geo",
    "XADD secret:stream 1-1 field canary-stream",
    "XGROUP CREATE secret:stream group 0",
    "SET other canary-outside",
    "SET app:string value",
    "RPUSH app:list 3 1 2",
    "RPUSH app:names secret:string secret:number",
    "SADD app:set member",
    "HSET app:hash field value",
    "ZADD app:zset 1 member",
    "PFADD app:hll member",
    "GEOADD app:geo 13.361389 38.115556 member",
    "XADD app:stream 1-1 field value",
    "XGROUP CREATE app:stream group 0",
];

/// One way around.
#[derive(Clone, Debug)]
struct Vector {
    place: String,
    user: String,
    sent: Sent,
    /// Others publish while it waits.
    hears: bool,
}

#[derive(Clone, Debug)]
enum Sent {
    Commands(Vec<Vec<Vec<u8>>>),
    Raw(Vec<u8>),
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Sent::Raw(bytes) => bytes.clone(),
            Sent::Commands(commands) => commands
                .iter()
                .flat_map(|args| RequestBuf::from_args(args).as_request().wire().to_vec())
                .collect(),
        }
    }
}

#[test]
fn no_way_around_the_rules_that_anybody_has_found_leads_around_ours() {
    let seed = Random::seed("BYPASS_SEED").unwrap_or(0xb1_9a55);
    let mutations =
        Random::seed("BYPASS_MUTATIONS").map_or(MUTATIONS, |count| usize::try_from(count).unwrap());
    println!("BYPASS_SEED={seed}");
    let mut random = Random::new(seed);
    let servers = all();
    let mut failures = Vec::new();
    for server in &servers {
        let mut stage = Stage::new(server, USERS);
        let vectors = corpus(&stage.sha);
        assert!(vectors.len() >= 400, "only {} vectors", vectors.len());
        for vector in &vectors {
            failures.extend(stage.try_one(vector));
        }
        let mut mutated = 0;
        for _ in 0..mutations.div_ceil(servers.len()) {
            // What an administrator may do is Redis' matter; a mutation of it may be just that.
            let some = vectors.iter().filter(|vector| vector.user != "admin");
            let batch: Vec<Vector> = some.map(|vector| mutate(vector, &mut random)).collect();
            mutated += batch.len();
            for batch in batch.chunks(BATCH) {
                failures.extend(stage.try_many(batch));
            }
        }
        println!("{}: {} vectors, {mutated} mutations", server.display(), vectors.len());
        stage.proxy.assert_no_panic();
        let mut app = stage.proxy.tls().login("app", "secret");
        assert_eq!(app.ask("GET app:string"), "$5\r\nvalue\r\n", "the proxy serves on");
    }
    assert!(failures.is_empty(), "BYPASS_SEED={seed}:\n{}", failures.join("\n"));
}

/// The eyes of the test above: users with all keys and channels get what nobody should, and it is seen.
#[test]
fn with_wider_rules_most_of_the_corpus_breaks_out_and_is_caught() {
    let wide = USERS
        .replace("~app:*", "~*")
        .replace("%R~~*", "~*")
        .replace("%W~secret:* ", "")
        .replace("&app:*", "&*");
    let mut stage = Stage::new(&installed(), &wide);
    let vectors = corpus(&stage.sha);
    // Each takes a key of its own line away from none of the others.
    let data = vectors
        .iter()
        .filter(|vector| ["keys", "channels"].iter().any(|file| vector.place.starts_with(file)));
    let (mut tried, mut caught) = (0, 0);
    for vector in data {
        tried += 1;
        caught += usize::from(stage.try_one(vector).is_some());
    }
    println!("{caught} of {tried}");
    assert!(caught * 2 > tried, "only {caught} of {tried} are caught");
}

// === The corpus ===

fn corpus(sha: &str) -> Vec<Vector> {
    let mut vectors = Vec::new();
    for (name, text) in CORPUS {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let place = format!("{name}.txt:{}", index + 1);
            let (user, rest) = line.split_once([':', '<']).unwrap_or_else(|| panic!("{place}: no user"));
            let rest = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{place}: no space after the user"));
            let rest = rest.replace("@GET@", sha);
            let sent = if line.as_bytes()[user.len()] == b'<' {
                Sent::Raw(bytes(&rest))
            } else {
                let commands = rest.split(" ; ").map(|command| command.split(' ').map(argument).collect());
                Sent::Commands(commands.collect())
            };
            vectors.push(Vector { place, user: user.into(), sent, hears: *name == "channels" });
        }
    }
    vectors
}

fn argument(word: &str) -> Vec<u8> {
    if word == "''" { Vec::new() } else { bytes(word) }
}

/// The bytes that a text with escapes stands for.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next().unwrap().1 {
                'r' => out.push(b'\r'),
                'n' => out.push(b'\n'),
                't' => out.push(b'\t'),
                's' => out.push(b' '),
                'x' => {
                    out.push(u8::from_str_radix(&text[at + 2..at + 4], 16).unwrap());
                    chars.nth(1);
                }
                other => out.push(u8::try_from(other).unwrap()),
            },
            '{' if text[at..].contains('}') && text[at..].contains('*') => {
                let end = at + text[at..].find('}').unwrap();
                let (piece, count) = text[at + 1..end].rsplit_once('*').unwrap();
                let piece = bytes(piece);
                out.extend(piece.repeat(count.parse().unwrap()));
                while chars.next().is_some_and(|(at, _)| at < end) {}
            }
            c => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

/// A vector with something changed: an argument doubled, swapped, dropped, in other case, with a byte more or less.
fn mutate(vector: &Vector, random: &mut Random) -> Vector {
    let mut mutated = vector.clone();
    for _ in 0..=random.below(2) {
        match &mut mutated.sent {
            Sent::Raw(bytes) => mutate_bytes(bytes, random),
            Sent::Commands(commands) => {
                let which = random.below(commands.len());
                mutate_command(&mut commands[which], random);
            }
        }
    }
    mutated
}

fn mutate_command(args: &mut Vec<Vec<u8>>, random: &mut Random) {
    const WORDS: [&str; 12] = [
        "secret:string",
        "app:string",
        "STORE",
        "STREAMS",
        "KEYS",
        "GET",
        "0",
        "1",
        "*",
        "",
        "BY",
        "secret:*",
    ];
    if args.is_empty() {
        return args.push(b"GET".to_vec());
    }
    let at = random.below(args.len());
    match random.below(7) {
        0 => args.insert(at, args[at].clone()),
        1 => {
            let other = random.below(args.len());
            args.swap(at, other);
        }
        2 => {
            args.remove(at);
        }
        3 => {
            for byte in &mut args[at] {
                if random.below(2) == 0 {
                    *byte = if byte.is_ascii_lowercase() {
                        byte.to_ascii_uppercase()
                    } else {
                        byte.to_ascii_lowercase()
                    };
                }
            }
        }
        4 => args.insert(at + 1, WORDS[random.below(WORDS.len())].into()),
        5 => args.push(WORDS[random.below(WORDS.len())].into()),
        _ => mutate_bytes(&mut args[at], random),
    }
}

fn mutate_bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    const ODD: &[u8] = b"\0\r\n |*$:\xff10";
    let at = random.below(bytes.len() + 1);
    let odd = ODD[random.below(ODD.len())];
    match random.below(3) {
        0 if at < bytes.len() => bytes[at] = odd,
        1 if at < bytes.len() => {
            bytes.remove(at);
        }
        _ => bytes.insert(at, odd),
    }
}

// === The stage ===

struct Stage {
    redis: Redis,
    proxy: Proxy,
    direct: Client,
    sha: String,
    whole: Effects,
}

/// What Redis says of each key.
type Keys = BTreeMap<String, Vec<Value>>;

/// What must stay, by name.
#[derive(PartialEq, Eq)]
struct Effects {
    foreign: Keys,
    own: Keys,
    server: BTreeMap<&'static str, Value>,
    files: Vec<String>,
}

impl Stage {
    fn new(server: &Path, users: &str) -> Stage {
        let redis = Redis::start_program(server, &["--masterauth", CREDENTIAL]);
        let proxy = Proxy::with_users(&redis, users, GATES);
        let mut direct = redis.client();
        let sha = match direct.value(&["SCRIPT", "LOAD", STEAL]) {
            Value::Bulk(sha) => String::from_utf8(sha).unwrap(),
            other => panic!("{other:?}"),
        };
        direct.call(&["FUNCTION", "LOAD", LIBRARY]);
        let mut stage = Stage { redis, proxy, direct, sha, whole: Effects::nothing() };
        stage.seed();
        stage.whole = stage.effects();
        stage
    }

    fn seed(&mut self) {
        self.direct.call(&["FLUSHALL"]);
        for db in ["1", "0"] {
            self.direct.call(&["SELECT", db]);
            for line in DATA {
                let reply = self.direct.ask(line);
                assert!(!reply.starts_with('-'), "{line}: {reply}");
            }
        }
    }

    /// Tries a vector alone. What it did that it should not have, in words.
    fn try_one(&mut self, vector: &Vector) -> Option<String> {
        let replies = self.send(vector);
        let now = self.effects();
        let mut wrong = told(vector, &replies);
        wrong.extend(self.whole.differences(&now, &vector.user));
        if now != self.whole {
            self.seed();
        }
        let shown = String::from_utf8_lossy(&replies).into_owned();
        let shown: String = shown.chars().take(300).collect();
        (!wrong.is_empty()).then(|| {
            let sent = vector.sent.bytes().escape_ascii().to_string();
            let sent: String = sent.chars().take(300).collect();
            format!(
                "{} ({}): {sent}\n  {}\n  replies: {shown:?}",
                vector.place,
                vector.user,
                wrong.join("; ")
            )
        })
    }

    /// Tries many, and if anything is wrong then, each alone.
    fn try_many(&mut self, vectors: &[Vector]) -> Vec<String> {
        let mut users: Vec<&str> = vectors.iter().map(|vector| vector.user.as_str()).collect();
        users.dedup();
        let mut failures = Vec::new();
        for user in users {
            let of_user: Vec<&Vector> = vectors.iter().filter(|vector| vector.user == user).collect();
            let told = of_user.iter().any(|vector| !told(vector, &self.send(vector)).is_empty());
            let now = self.effects();
            let changed = !self.whole.differences(&now, user).is_empty();
            if now != self.whole {
                self.seed();
            }
            if told || changed {
                let before = failures.len();
                for vector in &of_user {
                    failures.extend(self.try_one(vector));
                }
                if failures.len() == before {
                    failures.push(format!("something among these together: {of_user:?}"));
                }
            }
        }
        failures
    }

    /// All that comes back for a vector on a connection of its own, which ends when everything is answered.
    fn send(&mut self, vector: &Vector) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.proxy.port(1))).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        if vector.user != "nobody" {
            let login = RequestBuf::from_args(&["AUTH", &vector.user, "secret"]);
            stream.write_all(login.as_request().wire()).unwrap();
            let mut ok = [0; 5];
            stream.read_exact(&mut ok).unwrap();
            assert_eq!(&ok, b"+OK\r\n");
        }
        // Some may make Redis forget it.
        self.direct.call(&["SCRIPT", "LOAD", STEAL]);
        let bytes = vector.sent.bytes();
        // Who breaks the protocol is cut off before it has sent all.
        let (one, two) = bytes.split_at(bytes.len() / 2);
        let _ = stream.write_all(one).and_then(|()| stream.write_all(two));
        let mut replies = Vec::new();
        if vector.hears {
            // The first reply is there, so whoever may hear does.
            let mut first = [0; 4096];
            let count = stream.read(&mut first).unwrap_or(0);
            replies.extend_from_slice(&first[..count]);
            for channel in ["secret:c", "SECRET:C", "__keyspace@0__:secret:string"] {
                self.direct.call(&["PUBLISH", channel, "canary-message"]);
                self.direct.call(&["SPUBLISH", channel, "canary-message"]);
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut chunk = [0; 65536];
        // A connection that is cut off while more was sent ends with a reset.
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            replies.extend_from_slice(&chunk[..count]);
        }
        replies
    }

    fn effects(&mut self) -> Effects {
        let databases = ["1", "0"];
        let all_keys = vec![b"KEYS".to_vec(), b"*".to_vec()];
        let names = self.ask_all(&databases.map(|db| [select(db), all_keys.clone()]).concat());
        let mut effects = Effects::nothing();
        let mut asked = Vec::new();
        let mut requests = Vec::new();
        for (db, keys) in databases.into_iter().zip(names.chunks(2)) {
            requests.push(select(db));
            asked.push(None);
            for key in keys[1].as_array().unwrap() {
                let key = key.as_bytes().unwrap();
                let stream = key.ends_with(b":stream");
                let name = format!("{} in database {db}", key.escape_ascii());
                // Short values stand in a dump as they are.
                for question in ["DUMP", "PTTL", "DEBUG DIGEST-VALUE", "XINFO STREAM", "XINFO GROUPS"] {
                    if stream || !question.starts_with('X') {
                        let words = question.split(' ').map(|word| word.as_bytes().to_vec());
                        requests.push(words.chain([key.to_vec()]).collect());
                        asked.push(Some((key.starts_with(b"app:"), name.clone())));
                    }
                }
            }
        }
        for (asked, answer) in asked.into_iter().zip(self.ask_all(&requests)) {
            let Some((own, name)) = asked else { continue };
            let keys = if own { &mut effects.own } else { &mut effects.foreign };
            keys.entry(name).or_default().push(answer);
        }
        let server: Vec<Vec<Vec<u8>>> = SERVER
            .iter()
            .map(|line| line.split(' ').map(|word| word.as_bytes().to_vec()).collect())
            .collect();
        effects.server = SERVER.iter().copied().zip(self.ask_all(&server)).collect();
        // Mirrored users come and go; whoever is one, the others stay.
        if let Some(Value::Array(users)) = effects.server.get_mut("ACL LIST") {
            users.retain(|line| !contains(line.as_bytes().unwrap(), "user redkeep-mirror:"));
        }
        let files = std::fs::read_dir(self.redis.dir()).unwrap();
        effects.files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        effects.files.sort();
        effects
    }

    /// Asks Redis itself, all at once.
    fn ask_all(&mut self, requests: &[Vec<Vec<u8>>]) -> Vec<Value> {
        let all = requests.iter().flat_map(|args| RequestBuf::from_args(args).as_request().wire().to_vec());
        self.direct.send_raw(&all.collect::<Vec<u8>>());
        requests.iter().map(|_| self.direct.read_value()).collect()
    }
}

/// What tells that Redis itself is what it was.
const SERVER: &[&str] = &[
    "CONFIG GET dir",
    "CONFIG GET dbfilename",
    "CONFIG GET masterauth",
    "CONFIG GET masteruser",
    "CONFIG GET maxmemory",
    "ROLE",
    "MODULE LIST",
    "FUNCTION LIST",
    "ACL LIST",
];

fn select(db: &str) -> Vec<Vec<u8>> {
    vec![b"SELECT".to_vec(), db.into()]
}

/// Secrets in replies.
fn told(vector: &Vector, replies: &[u8]) -> Vec<String> {
    // Who may read everything may read secrets; not those of the upstream itself.
    let secrets: &[&str] = if vector.user == "admin" { &[CREDENTIAL] } else { &SECRETS };
    // What the client sent itself is no secret.
    let sent = vector.sent.bytes();
    let tells = |secret: &&&str| contains(replies, secret) && !contains(&sent, secret);
    secrets.iter().filter(tells).map(|secret| format!("`{secret}` came back")).collect()
}

fn holds(value: &Value, secret: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| holds(item, secret)),
        other => contains(other.as_bytes().unwrap_or_default(), secret),
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

impl Effects {
    fn nothing() -> Effects {
        Effects { foreign: BTreeMap::new(), own: BTreeMap::new(), server: BTreeMap::new(), files: Vec::new() }
    }

    /// What `user` should not have been able to do between `self` and `now`.
    fn differences(&self, now: &Effects, user: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        // The writer may change what it may not read.
        if user != "writer" {
            wrong.extend(changed(&self.foreign, &now.foreign));
        }
        if ["reader", "few", "nobody"].contains(&user) {
            wrong.extend(changed(&self.own, &now.own));
        }
        for (name, value) in &now.own {
            if value.iter().any(|value| holds(value, "canary")) {
                wrong.push(format!("a secret is in {name}"));
            }
        }
        for (name, value) in &self.server {
            if now.server.get(name) != Some(value) {
                wrong.push(format!("{name} is {:?} now", now.server.get(name)));
            }
        }
        if now.files != self.files {
            wrong.push(format!("files: {:?}", now.files));
        }
        wrong
    }
}

fn changed(before: &Keys, now: &Keys) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != now.get(*name));
    changed.map(|name| format!("{name} has changed")).collect()
}
