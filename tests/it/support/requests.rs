//! Random requests that make sense often enough to do something, and odd ones besides.
//!
//! A line of [`LINES`] says what a command wants, in words of its own: `K` a key, `V` a value, member or field, `N` a
//! whole number, `F` a fraction, `I` a stream id, `G` a group, `P` a pattern, `C` a channel, `B` a time to block, `T` a
//! time to live, `S` a script, `#K` a number and as many keys; `a|b` is one of the two, `[x y]` may be missing. It owns
//! the shapes only: which words there are is the caller's business ([`Vocabulary`]).

use redkeep::command::{Begin, Find, Spec, category};

use super::random::Random;

/// The words that requests are made of.
pub struct Vocabulary {
    pub keys: Vec<String>,
    /// Keys that hold what the commands of a category work on; most requests take theirs from here.
    pub typed: Vec<(u64, Vec<String>)>,
    pub values: Vec<String>,
    pub patterns: Vec<String>,
    pub channels: Vec<String>,
    pub scripts: Vec<String>,
    /// One request in this many is twisted: a word doubled, misplaced, replaced or cut.
    pub odd: usize,
}

/// Words that commands take for options; they turn up anywhere in odd requests.
const OPTIONS: &[&str] = &[
    "STORE",
    "KEYS",
    "STREAMS",
    "GET",
    "BY",
    "COUNT",
    "GROUP",
    "AUTH",
    "LIMIT",
    "BLOCK",
    "NX",
    "XX",
    "INCR",
    "WITHSCORES",
    "STOREDIST",
    "ANY",
    "ASC",
    "MATCH",
    "LEFT",
    "RIGHT",
    "MAX",
    "MIN",
    "WEIGHTS",
    "AGGREGATE",
    "REPLACE",
    "DB",
    "COPY",
    "NOACK",
    "CH",
    "SET",
    "OVERFLOW",
    "ALPHA",
    "FROMMEMBER",
    "BYRADIUS",
    "PERSIST",
    "KEEPTTL",
    "FIELDS",
    "JUSTID",
    "LCS",
    "STORE\0x",
    "get\0",
    "streams",
    "*",
    "#",
    "+",
    "-",
    "$",
    ">",
    "0",
    "1",
    "2",
    "-1",
    "01",
    "",
    "(1",
    "inf",
    "nan",
    "2.5",
];

impl Vocabulary {
    /// One of the commands, more often one that has keys.
    pub fn command<'a>(&self, specs: &'a [Spec], random: &mut Random) -> &'a Spec {
        let mut spec = &specs[random.below(specs.len())];
        for _ in 0..4 {
            if spec.keys.is_empty() && spec.movable.is_none() && random.below(4) > 0 {
                spec = &specs[random.below(specs.len())];
            }
        }
        spec
    }

    /// A request for `spec`.
    pub fn request(&self, spec: &Spec, random: &mut Random) -> Vec<Vec<u8>> {
        let mut args: Vec<String> = spec.name.split('|').map(str::to_owned).collect();
        let named = args.len();
        let lines: Vec<&str> = LINES
            .split(';')
            .filter_map(|line| match line.trim().split_once(' ') {
                Some((name, line)) => (name == spec.name).then_some(line),
                None => (line.trim() == spec.name).then_some(""),
            })
            .collect();
        if lines.is_empty() {
            self.unlisted(spec, random, &mut args);
        } else {
            let line = lines[random.below(lines.len())];
            self.line(spec, line, random, &mut args);
        }
        if random.below(self.odd) == 0 {
            for _ in 0..1 + random.below(2) {
                self.twist(spec, random, named, &mut args);
            }
        }
        tame(spec, random, named, &mut args);
        if random.below(8) == 0 {
            for word in &mut args {
                *word = if random.below(2) == 0 { word.clone() } else { swapped_case(word) };
            }
        }
        args.into_iter().map(String::into_bytes).collect()
    }

    fn line(&self, spec: &Spec, line: &str, random: &mut Random, args: &mut Vec<String>) {
        let mut wanted = true;
        for token in line.split(' ').filter(|token| !token.is_empty()) {
            let opened = token.strip_prefix('[');
            if opened.is_some() {
                wanted = random.below(3) == 0;
            }
            let token = opened.unwrap_or(token);
            let closed = token.strip_suffix(']');
            if wanted {
                self.token(spec, closed.unwrap_or(token), random, args);
            }
            wanted |= closed.is_some();
        }
    }

    fn token(&self, spec: &Spec, token: &str, random: &mut Random, args: &mut Vec<String>) {
        let token = if token.contains('|') {
            random.pick(&token.split('|').collect::<Vec<_>>()).to_owned()
        } else {
            token.to_owned()
        };
        let word = match &*token {
            "K" => self.key(spec, random),
            "V" => pick(&self.values, random),
            "N" => random.pick(&["0", "1", "2", "3", "-1", "-2", "5", "100"]).to_owned(),
            "F" => random.pick(&["0", "1", "2.5", "-1", "1e3", "(1", "+inf", "-inf", "x"]).to_owned(),
            "I" => random.pick(&["0", "1-1", "1-2", "2-1", "5-1", "9-9", "-", "+", "$", ">"]).to_owned(),
            "G" if random.below(5) > 0 => "g".to_owned(),
            "G" => pick(&self.values, random),
            "P" => pick(&self.patterns, random),
            "C" => pick(&self.channels, random),
            "B" => random.pick(&["0.01", "0.001", "0.01", "-1", "x"]).to_owned(),
            "T" => random.pick(&["100000", "200000", "0", "-1", "x"]).to_owned(),
            "S" => pick(&self.scripts, random),
            "#K" => {
                let count = 1 + random.below(3);
                args.push(if random.below(10) == 0 {
                    random.pick(&["0", "-1", "01", "+1", "9", "x"]).to_owned()
                } else {
                    count.to_string()
                });
                for _ in 0..count {
                    args.push(self.key(spec, random));
                }
                return;
            }
            "''" => String::new(),
            _ => token,
        };
        args.push(word);
    }

    fn key(&self, spec: &Spec, random: &mut Random) -> String {
        let typed = self
            .typed
            .iter()
            .find(|(category, keys)| spec.categories.intersects(*category) && !keys.is_empty());
        match typed {
            Some((_, keys)) if random.below(3) > 0 => pick(keys, random),
            _ => pick(&self.keys, random),
        }
    }

    /// A command without a line: keys where the key specifications have them, words elsewhere.
    fn unlisted(&self, spec: &Spec, random: &mut Random, args: &mut Vec<String>) {
        for keys in &*spec.keys {
            if let (Begin::Index(at), Find::KeyNum { .. }) = (&keys.begin, &keys.find) {
                while args.len() < usize::from(*at) {
                    args.push(self.key(spec, random));
                }
                self.token(spec, "#K", random, args);
            }
        }
        let least = usize::from(spec.arity.unsigned_abs());
        let most = if spec.arity < 0 { least.max(args.len()) + random.below(3) } else { least };
        while args.len() < most {
            let token = random.pick(&["K", "K", "V", "N"]);
            self.token(spec, token, random, args);
        }
    }

    fn twist(&self, spec: &Spec, random: &mut Random, named: usize, args: &mut Vec<String>) {
        let at = named + random.below(args.len() - named + 1);
        let word = match random.below(4) {
            0 => self.key(spec, random),
            1 => pick(&self.values, random),
            _ => random.pick(OPTIONS).to_owned(),
        };
        match random.below(7) {
            0 | 1 => args.insert(at, word),
            2 if at < args.len() => args[at] = word,
            3 if at < args.len() => {
                let end = (at + 1 + random.below(3)).min(args.len());
                let again: Vec<String> = args[at..end].to_vec();
                args.extend(again);
            }
            4 if at < args.len() => {
                args.remove(at);
            }
            5 if at < args.len() => {
                let other = named + random.below(args.len() - named);
                args.swap(at, other);
            }
            _ => {
                args.insert(at, word);
                let value = self.key(spec, random);
                args.insert(at + 1, value);
            }
        }
    }
}

fn pick(words: &[String], random: &mut Random) -> String {
    words[random.below(words.len())].clone()
}

fn swapped_case(word: &str) -> String {
    // Names and options mean the same in any case; keys and values do not, and may be what they like.
    if word.chars().all(|letter| letter.is_ascii_uppercase() || letter == '\0') {
        word.to_ascii_lowercase()
    } else {
        word.to_owned()
    }
}

/// Takes out what would make a test wait, or depend on the clock.
fn tame(spec: &Spec, random: &mut Random, named: usize, args: &mut [String]) {
    let short = random.pick(&["0.01", "0.002", "-1", "x"]);
    match &*spec.name {
        "blpop" | "brpop" | "bzpopmin" | "bzpopmax" | "blmove" | "brpoplpush" => {
            if let Some(last) = args.last_mut() {
                *last = short.to_owned();
            }
        }
        "blmpop" | "bzmpop" => {
            if let Some(first) = args.get_mut(1) {
                *first = short.to_owned();
            }
        }
        "xread" | "xreadgroup" => {
            for at in 1..args.len() {
                if args[at - 1].split('\0').next().is_some_and(|word| word.eq_ignore_ascii_case("block")) {
                    args[at] = "1".to_owned();
                }
            }
        }
        "wait" | "waitaof" => {
            if let Some(last) = args.last_mut() {
                *last = random.pick(&["1", "2", "-1", "x"]).to_owned();
            }
        }
        "migrate" => {
            for (word, tame) in args.iter_mut().skip(1).zip(["127.0.0.1", "1"]) {
                *word = tame.to_owned();
            }
        }
        // A short time to live would end at another moment on each side.
        name if name.contains("expire")
            || ["setex", "psetex", "getex", "set", "hsetex", "hgetex", "msetex", "restore"]
                .contains(&name) =>
        {
            for word in args.iter_mut().skip(named + 1) {
                if word.parse::<i64>().is_ok_and(|number| (3..100_000).contains(&number))
                    || ["1", "2", "01"].contains(&&**word)
                        && !matches!(name, "set" | "msetex" | "hsetex" | "hgetex" | "restore")
                {
                    *word = "100000".to_owned();
                }
            }
        }
        _ => {}
    }
    // Anything that turns out a number of bytes or bits could fill the memory.
    for word in args.iter_mut().skip(named) {
        if word.parse::<i64>().is_ok_and(|number| number > 10_000_000) {
            *word = "100000".to_owned();
        }
    }
}

/// Whether a command has subcommands.
pub fn is_container(spec: &Spec, all: &[Spec]) -> bool {
    !spec.name.contains('|') && all.iter().any(|other| other.name.starts_with(&format!("{}|", spec.name)))
}

/// Commands whose text runs inside the server.
pub fn is_scripting(spec: &Spec) -> bool {
    spec.categories.intersects(category::SCRIPTING)
}

/// What each command wants; a command may have several lines. See the head of this file.
const LINES: &str = "
    append K V; bitcount K; bitcount K N N [BYTE|BIT]; bitfield K GET u8 0;
    bitfield K [OVERFLOW SAT|WRAP|FAIL] SET|INCRBY u8 N N [GET u4 0];
    bitfield K GET u8 0 GET i5 N [SET u8 0 1]; bitfield_ro K GET u8 0 [GET u4 1];
    bitfield_ro K GET u8 0 SET u8 0 1; bitop AND|OR|XOR K K [K]; bitop NOT K K; bitop DIFF|ONE|ANDOR K K K;
    bitpos K 0|1 [N] [N]; blmove K K LEFT|RIGHT LEFT|RIGHT B; blmpop B #K LEFT|RIGHT [COUNT 2];
    blpop K [K] B; brpop K [K] B; brpoplpush K K B; bzmpop B #K MIN|MAX [COUNT 2]; bzpopmax K [K] B;
    bzpopmin K [K] B; client|setname V; client|setinfo LIB-NAME|LIB-VER V; client|id; client|getname;
    client|info; client|list; client|reply ON|OFF|SKIP; client|tracking ON BCAST PREFIX P; client|kill ID 1;
    client|no-evict ON; client|no-touch ON; client|pause 1; cluster|keyslot K; cluster|getkeysinslot N N;
    cluster|countkeysinslot N; command|getkeys GET K; command|getkeysandflags SET K V; command|info get;
    command|docs get; command|list FILTERBY PATTERN P; command|count; config|get P; config|get maxmemory;
    config|get maxmemory timeout; config|get requirepass; config|set V V; copy K K [DB N] [REPLACE]; dbsize;
    debug OBJECT K; decr K; decrby K N; del K [K] [K]; delifeq K V; dump K; echo V; eval S 0; eval S #K [V];
    eval_ro S #K; evalsha V 0; evalsha_ro V 0; exists K [K]; expire K T [NX|XX|GT|LT]; expireat K T;
    expiretime K; fcall f #K; fcall_ro f #K; flushall [ASYNC|SYNC]; flushdb [ASYNC|SYNC]; function|load S;
    function|list [WITHCODE]; function|dump; function|stats; function|delete V; function|flush;
    geoadd K [NX|XX] [CH] F F V; geoadd K 1 1 V; geodist K V V [km]; geohash K V [V]; geopos K V [V];
    georadius K 15 25 9000 km [COUNT 2 ANY] [ASC|DESC] [WITHCOORD] [STORE K];
    georadius K 15 25 9000 km STORE K STORE|STOREDIST K; georadius K 15 25 9000 km [STOREDIST K];
    georadius_ro K 15 25 9000 km [WITHDIST] [WITHHASH] [COUNT 1];
    georadiusbymember K V 1000 km [STORE K] [STOREDIST K]; georadiusbymember_ro K V 1000 km [WITHDIST];
    geosearch K FROMLONLAT 15 25 BYRADIUS 9000 km [ASC] [COUNT 2] [WITHCOORD];
    geosearch K FROMMEMBER V BYBOX 100 100 km;
    geosearchstore K K FROMLONLAT 15 25 BYRADIUS 9000 km [STOREDIST]; get K; getbit K N; getdel K;
    getex K [EX T]; getex K PERSIST; getrange K N N; getset K V; hdel K V [V]; hello 2|3; hexists K V;
    hexpire K T FIELDS 1 V; hexpireat K T FIELDS 1 V; hexpiretime K FIELDS 1 V; hget K V; hgetall K;
    hgetdel K FIELDS 1 V; hgetex K [PERSIST] FIELDS 2 V V; hincrby K V N; hincrbyfloat K V F; hkeys K;
    hlen K; hmget K V [V]; hmset K V V [V V]; hpersist K FIELDS 1 V; hpexpire K T FIELDS 1 V;
    hpexpireat K T FIELDS 1 V; hpexpiretime K FIELDS 1 V; hpttl K FIELDS 1 V; hrandfield K [N] [WITHVALUES];
    hscan K 0 [MATCH P] [COUNT N] [NOVALUES]; hset K V V [V V]; hsetex K [FNX|FXX] [KEEPTTL] FIELDS 1 V V;
    hsetnx K V V; hstrlen K V; httl K FIELDS 1 V; hvals K; incr K; incrby K N; incrbyfloat K F; info;
    info server|keyspace|commandstats|keysizes; keys P; lastsave; latency|latest; latency|histogram;
    lcs K K [LEN|IDX] [WITHMATCHLEN]; lindex K N; linsert K BEFORE|AFTER V V; llen K;
    lmove K K LEFT|RIGHT LEFT|RIGHT; lmpop #K LEFT|RIGHT [COUNT 2]; lolwut; lpop K [N];
    lpos K V [RANK N] [COUNT N]; lpush K V [V]; lpushx K V; lrange K N N; lrange K 0 -1; lrem K N V;
    lset K N V; ltrim K N N; memory|usage K [SAMPLES N]; memory|doctor; memory|stats; mget K [K] [K];
    migrate 127.0.0.1 1 K 0 5 [COPY] [REPLACE] [AUTH V];
    migrate 127.0.0.1 1 '' 0 5 [AUTH V] [AUTH2 V V] KEYS K [K]; move K N; mset K V [K V]; mset K V K V;
    msetex 1 K V [NX]; msetex 2 K V K V [EX T]; msetnx K V [K V]; object|encoding K; object|freq K;
    object|idletime K; object|refcount K; object|help; persist K; pexpire K T; pexpireat K T; pexpiretime K;
    pfadd K [V] [V]; pfcount K [K]; pfdebug GETREG|ENCODING|DECODE|TODENSE K; pfmerge K [K] [K]; ping [V];
    psetex K T V; psubscribe C [C]; pttl K; publish C V; pubsub|channels [P]; pubsub|numsub C;
    pubsub|shardchannels [P]; punsubscribe [C]; randomkey; rename K K; renamenx K K;
    restore K 0 V [REPLACE]; role; rpop K [N]; rpoplpush K K; rpush K V [V]; rpushx K V; sadd K V [V];
    scan 0 [MATCH P] [COUNT N] [TYPE string|list]; scard K; script|load S; script|exists V; script|flush;
    sdiff K [K]; sdiffstore K K [K]; select N; set K V; set K V [NX|XX] [GET] [EX T|PX T|KEEPTTL];
    set K V GET; set K V IFEQ V; setbit K N 0|1; setex K T V; setnx K V; setrange K N V; sinter K [K];
    sintercard #K [LIMIT N]; sinterstore K K [K]; sismember K V; slowlog|get [N]; slowlog|len; smembers K;
    smismember K V [V]; smove K K V; sort K [BY P] [LIMIT N N] [GET P] [GET #] [ASC|DESC] [ALPHA] [STORE K];
    sort K ALPHA [STORE K]; sort K STORE K; sort_ro K [BY P] [GET P] [ALPHA]; sort_ro K ALPHA; spop K [N];
    spublish C V; srandmember K [N]; srem K V [V]; sscan K 0 [MATCH P] [COUNT N]; ssubscribe C;
    stralgo LCS KEYS K K; stralgo LCS STRINGS V V; strlen K; subscribe C [C]; substr K N N; sunion K [K];
    sunionstore K K [K]; sunsubscribe C; swapdb N N; time; touch K [K]; ttl K; type K; unlink K [K];
    unsubscribe [C]; wait N 1; waitaof 0 0 1; watch K [K]; xack K G I;
    xackdel K G [KEEPREF|DELREF|ACKED] IDS 1 I; xadd K [NOMKSTREAM] [MAXLEN N] 20-1 V V;
    xadd K [MINID 1-2] N V V; xautoclaim K G V 0 0-0 [COUNT N] [JUSTID]; xclaim K G V 0 I [JUSTID] [FORCE];
    xclaim K G V 0 1-1 [RETRYCOUNT N]; xdel K I [I]; xdelex K [KEEPREF|DELREF|ACKED] IDS 1 I;
    xgroup|create K V I [MKSTREAM]; xgroup|createconsumer K G V; xgroup|delconsumer K G V;
    xgroup|destroy K G; xgroup|setid K G I; xinfo|consumers K G; xinfo|groups K;
    xinfo|stream K [FULL] [COUNT N]; xlen K; xpending K G [- + 10]; xpending K G IDLE 0 - + 10 V;
    xrange K I I [COUNT N]; xrange K - +; xread [COUNT 2] [BLOCK 1] STREAMS K I; xread STREAMS K K 0 0;
    xreadgroup GROUP G V [COUNT 2] [BLOCK 1] [NOACK] STREAMS K >; xreadgroup GROUP G V STREAMS K K 0 >;
    xrevrange K I I; xrevrange K + -; xsetid K I [ENTRIESADDED N] [MAXDELETEDID I];
    xtrim K MAXLEN|MINID [=|~] N [LIMIT N]; zadd K [NX|XX] [CH] N V [N V];
    zadd K [XX] [GT|LT] [CH] [INCR] F V; zadd K INCR N V; zcard K; zcount K F F; zdiff #K [WITHSCORES];
    zdiffstore K #K; zincrby K F V; zinter #K [WEIGHTS N N] [AGGREGATE SUM|MAX] [WITHSCORES];
    zintercard #K [LIMIT N]; zinterstore K #K [WEIGHTS N] [AGGREGATE MIN|MAX]; zlexcount K - +;
    zmpop #K MIN|MAX [COUNT 2]; zmscore K V [V]; zpopmax K [N]; zpopmin K [N];
    zrandmember K [N] [WITHSCORES]; zrange K N N [REV] [WITHSCORES]; zrange K -inf +inf BYSCORE [LIMIT N N];
    zrange K - + BYLEX; zrangebylex K - + [LIMIT N N]; zrangebyscore K F F [WITHSCORES];
    zrangestore K K N N [REV]; zrangestore K K 0 -1; zrank K V [WITHSCORE]; zrem K V [V];
    zremrangebylex K - +; zremrangebyrank K N N; zremrangebyscore K F F; zrevrange K N N [WITHSCORES];
    zrevrangebylex K + -; zrevrangebyscore K F F; zrevrank K V; zscan K 0 [MATCH P]; zscore K V;
    zunion #K [WEIGHTS N N] [WITHSCORES]; zunionstore K #K [WEIGHTS N] [AGGREGATE MIN];
    vadd K VALUES 2 F F V; vcard K; vdim K; vemb K V; vgetattr K V; vinfo K; vlinks K V; vrandmember K [N];
    vrem K V; vsetattr K V V; vsim K ELE V; vsim K VALUES 2 1 1 [WITHSCORES]; vismember K V; vrange K - +
";
