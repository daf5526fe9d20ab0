//! Requests that Redis does not understand: what a server with the same ACL file answers, the proxy answers, too,
//! though it sends nothing whose keys are in doubt.
//!
//! Differences stand in [`STRICTER`] and [`MISREAD`], by name and with their reason; all others fail.

use std::path::Path;

use crate::support::client::text;
use crate::support::random::Random;
use crate::support::redis::all;
use crate::support::{Client, Proxy, Redis, TempDir};

const USERS: &str = "\
user default on nopass ~* &* +@all
user few on >secret ~a* resetchannels +@all
user halves on >secret %R~r* %W~w* ~a resetchannels +@all
user several on >secret ~a +@all (~b %R~* +@all)
user most on >secret ~* &* +@all -flushall
user every on >secret ~* &* +@all
";
const NAMES: [&str; 5] = ["few", "halves", "several", "most", "every"];

/// Where Redkeep denies a key and Redis answers otherwise: how the request begins, what is in it (how often), and why.
const STRICTER: &[(&str, &str, usize, &str)] = &[
    ("EVALSHA ", "", 0, "whether there is such a script is the server's to say, and Redkeep judges first"),
    ("FCALL ", "", 0, "whether there is such a function is the server's to say, and Redkeep judges first"),
    ("GEORADIUS ", " STORE", 2, "every STORE counts"),
    ("GEORADIUS ", " FOO", 1, "an unknown option may do anything to all that follows it, and to the key"),
    ("SORT ", " STORE", 2, "every STORE counts"),
    ("XREAD BLOCK 9223372036854775807 ", "", 0, "the bound depends on the server's clock"),
    ("XREAD CLAIM ", "", 0, "an option of newer servers"),
];
/// The other way round: where Redis denies a key that the command does not use.
const MISREAD: &[(&str, &str, usize, &str)] =
    &[("XREADGROUP ", " STREAMS", 2, "a group or a consumer is taken for the option (redis#15538)")];
/// `''` is the empty argument, `%0` a NUL byte.
const LINES: &[&str] = &[
    "EVAL s -1",
    "EVAL s -1 f",
    "EVAL s x",
    "EVAL s '' f",
    "EVAL s 3 f",
    "EVAL s 01 f",
    "EVAL s 01 a",
    "EVAL s +1 f",
    "EVAL s 1%0 f",
    "EVAL s -0 f",
    "EVAL s 99999999999999999999 f",
    "EVAL_RO s -1",
    "EVAL_RO s 3 a",
    "EVALSHA aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa -1",
    "EVALSHA_RO aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1",
    "EVALSHA short -1",
    "FCALL f -1",
    "FCALL f 01 f",
    "ZUNIONSTORE d 0",
    "ZUNIONSTORE a 0 f",
    "ZUNIONSTORE f 0 f",
    "ZUNIONSTORE a -1 f",
    "ZUNIONSTORE a x f",
    "ZUNIONSTORE a 01 f",
    "ZUNIONSTORE f 01 a",
    "ZUNIONSTORE a 2 f",
    "ZUNIONSTORE a 1 f FOO",
    "ZUNIONSTORE a 1 a FOO",
    "ZINTERSTORE a 0 f",
    "ZDIFFSTORE f 2 f",
    "ZUNION 0 f",
    "ZUNION 9223372036854775807 a",
    "ZINTER -1 f",
    "ZDIFF x f",
    "ZINTERCARD 0 f",
    "ZINTERCARD 2 f",
    "SINTERCARD 0 f",
    "SINTERCARD x f",
    "SINTERCARD 2 f",
    "SINTERCARD 1 a LIMIT",
    "LMPOP 0 f LEFT",
    "LMPOP 3 f LEFT",
    "LMPOP 2 f LEFT",
    "LMPOP 2 a LEFT",
    "LMPOP 1 a FOO",
    "LMPOP 9223372036854775807 a LEFT",
    "ZMPOP 0 f MIN",
    "ZMPOP 3 f MIN",
    "ZMPOP 01 f MIN",
    "BLMPOP x 3 f LEFT",
    "BLMPOP x 0 f LEFT",
    "BLMPOP -1 1 a LEFT",
    "BZMPOP 0 x f MIN",
    "MSETEX 0 f 1",
    "MSETEX x f 1",
    "MSETEX 01 f 1",
    "MSETEX 2 f 1",
    "MSETEX 2 a 1",
    "MSETEX 2 a 1 f",
    "MSETEX 2147483648 a 1",
    "MSETEX 1 a 1 FOO",
    "XREAD STREAMS a f 0",
    "XREAD STREAMS f a 0",
    "XREAD STREAMS a a 0",
    "XREAD STREAMS%0x a f 0",
    "XREAD COUNT 1 f",
    "XREAD COUNT 1 STREAMS",
    "XREAD COUNT x STREAMS a b 0",
    "XREAD COUNT x STREAMS f 0",
    "XREAD COUNT STREAMS f 0 0",
    "XREAD BLOCK x STREAMS a b 0",
    "XREAD BLOCK -1 STREAMS a b 0",
    "XREAD BLOCK 9223372036854775807 STREAMS a b 0",
    "XREAD CLAIM 5 STREAMS a 0",
    "XREAD CLAIM 5 STREAMS a a 0",
    "XREAD FOO STREAMS f 0",
    "XREAD FOO STREAMS a 0",
    "XREAD GROUP g c STREAMS a >",
    "XREAD NOACK STREAMS a b 0",
    "XREAD STREAMS STREAMS a 0",
    "XREADGROUP GROUP g c STREAMS a a >",
    "XREADGROUP GROUP g c STREAMS f a >",
    "XREADGROUP GROUP g c FOO STREAMS f >",
    "XREADGROUP GROUP g c FOO STREAMS a >",
    "XREADGROUP GROUP STREAMS c STREAMS a >",
    "XREADGROUP COUNT 1 NOACK STREAMS a >",
    "XREADGROUP COUNT 1 NOACK STREAMS a b >",
    "XREADGROUP GROUP g c COUNT 1 BLOCK",
    "XREADGROUP STREAMS f f f 0 0 0",
    "SORT f STORE",
    "SORT a STORE",
    "SORT a LIMIT 0",
    "SORT a LIMIT x 0",
    "SORT a LIMIT 01 1 BY x*",
    "SORT a FOO",
    "SORT f FOO",
    "SORT a FOO STORE f",
    "SORT a FOO STORE a",
    "SORT a FOO STORE f STORE a",
    "SORT a FOO LIMIT 0 STORE f",
    "SORT a STORE STORE f FOO",
    "SORT a LIMIT 0 STORE f",
    "SORT a BY x* FOO",
    "SORT a FOO BY x*",
    "SORT a GET # FOO",
    "SORT a BY",
    "SORT_RO a STORE f",
    "SORT_RO f STORE a",
    "SORT_RO a BY x* STORE f",
    "SORT_RO a STORE f BY x*",
    "GEORADIUS a 1 2 3 m STORE",
    "GEORADIUS a 1 2 3 m FOO",
    "GEORADIUS f 1 2 3 m FOO",
    "GEORADIUS a 1 2 3 m FOO STORE f",
    "GEORADIUS a 1 2 3 m COUNT x STORE f",
    "GEORADIUS a x 2 3 m STORE",
    "GEORADIUS a 1 2 3 m COUNT STORE f",
    "GEORADIUS a 1 2 3 m WITHDIST STORE a",
    "GEORADIUSBYMEMBER a m 3 m STORE f FOO",
    "GEORADIUS_RO a 1 2 3 m STORE f",
    "MIGRATE h 1 a 0 9 FOO",
    "MIGRATE h 1 f 0 9 FOO",
    "MIGRATE h 1 '' 0 9 FOO",
    "MIGRATE h 1 '' 0 9 FOO KEYS a",
    "MIGRATE h 1 '' 0 9 FOO KEYS f",
    "MIGRATE h 1 a 0 9 AUTH",
    "MIGRATE h 1 a 0 9 AUTH2 x",
    "MIGRATE h 1 a 0 9 KEYS f",
    "MIGRATE h 1 f 0 9 KEYS a",
    "MIGRATE h 1 a 0 9 KEYS",
    "MIGRATE h 1 '' 0 9 KEYS",
    "MIGRATE h 1 '' x 9 KEYS a",
    "MIGRATE h 1 a 0 9 AUTH KEYS FOO f",
    "MSET a 1 f",
    "MSET a 1 a",
    "MSETNX f 1 a",
    "BITOP FOO a a",
    "BITOP FOO a f",
    "COPY a f FOO",
    "COPY a a DB x",
    "LCS a a FOO",
    "HSET a x y z",
    "SET a v EX",
    "SET r v GET FOO",
    "BITFIELD a FOO",
    "BITFIELD r GET u8",
    "GETEX a EX",
    "OBJECT FOO f",
    "MEMORY USAGE f SAMPLES x",
    "XGROUP CREATE f",
    "GEOSEARCHSTORE a a FOO FOO FOO FOO FOO",
    "ZRANGESTORE f a 0 x FOO",
    "BLPOP f",
    "BLPOP a x",
];

#[test]
fn what_redis_rejects_is_answered_in_its_words() {
    let lines: Vec<String> = LINES.iter().map(|line| (*line).to_owned()).collect();
    let (equal, stricter) = compare(&lines);
    println!("{equal} equal, {stricter} stricter");
    assert!(equal > 1_500, "{equal}");
}

/// A fixed seed keeps CI repeatable; `SYNTAX_SEED` looks elsewhere.
#[test]
fn what_redis_rejects_of_random_requests_is_answered_in_its_words() {
    let seed = Random::seed("SYNTAX_SEED").unwrap_or(0x5eed);
    let mut random = Random::new(seed);
    let lines: Vec<String> = (0..250).map(|_| random_line(&mut random)).collect();
    let (equal, stricter) = compare(&lines);
    println!("seed {seed}: {equal} equal, {stricter} stricter");
}

/// Each line by each user, at each server and at a proxy before a twin of it. The numbers of replies that
/// are equal, and of those that may differ.
fn compare(lines: &[String]) -> (usize, usize) {
    let (mut equal, mut wrong, mut stricter) = (0, Vec::new(), 0);
    for server in all() {
        let (oracle, redis, proxy) = twins(&server);
        let mut owners = [oracle.client(), redis.client()];
        for user in NAMES {
            let mut direct = oracle.client().login(user, "secret");
            let mut guarded = proxy.plain().login(user, "secret");
            for line in lines {
                let replies = [&mut direct, &mut guarded].map(|client| ask(client, line));
                if replies[0] == replies[1] {
                    equal += 1;
                } else if is_listed(line, &replies[0], &replies[1]) {
                    stricter += 1;
                } else {
                    let server = server.display();
                    wrong.push(format!(
                        "{server}: {user}> {line}\n  {:?}\n  {:?} by redkeep",
                        replies[0], replies[1]
                    ));
                }
                for owner in &mut owners {
                    owner.call(&["FLUSHALL"]);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} replies differ:\n{}", wrong.len(), wrong.join("\n"));
    (equal, stricter)
}

fn is_listed(line: &str, redis: &str, redkeep: &str) -> bool {
    let list = match (redis, redkeep) {
        (_, denied) if denied.starts_with("-NOPERM") && denied.contains("key") => STRICTER,
        (denied, _) if denied.starts_with("-NOPERM") && denied.contains("key") => MISREAD,
        _ => return false,
    };
    list.iter().any(|(words, part, times, _)| {
        line.starts_with(words) && (part.is_empty() || line.matches(part).count() >= *times)
    })
}

fn ask(client: &mut Client, line: &str) -> String {
    let args: Vec<Vec<u8>> =
        line.split(' ').map(|word| word.replace("''", "").replace("%0", "\0").into_bytes()).collect();
    text(&client.call(&args))
}

/// A server with the users, an open one, and a proxy with the users before it.
fn twins(server: &Path) -> (Redis, Redis, Proxy) {
    let dir = TempDir::new();
    let users = dir.write("users.acl", USERS);
    let oracle = Redis::start_program(server, &["--aclfile", users.to_str().unwrap()]);
    let redis = Redis::start_program(server, &[]);
    let proxy = Proxy::with_users(&redis, USERS, "log:\n  format: json\n");
    (oracle, redis, proxy)
}

// === random requests ===

const KEYS: [&str; 8] = ["a", "a", "a1", "f", "b", "r", "w", "STORE"];
const NUMBERS: [&str; 12] =
    ["0", "1", "1", "2", "3", "-1", "x", "01", "+1", "1x", "''", "99999999999999999999"];

/// Commands with their fixed words, options, and ends: `@` is a key, `#` a number.
const SHAPES: &[(&str, &[&str], &[&str])] = &[
    (
        "SORT @",
        &[
            "BY @",
            "BY w*",
            "GET #",
            "LIMIT 0 1",
            "LIMIT # #",
            "ASC",
            "STORE @",
            "STORE",
            "LIMIT",
            "FOO",
            "by STORE",
        ],
        &[""],
    ),
    ("SORT_RO @", &["BY w*", "GET @", "LIMIT # #", "STORE @", "DESC", "FOO"], &[""]),
    (
        "XREAD",
        &["COUNT #", "COUNT 1", "BLOCK 1", "BLOCK x", "NOACK", "GROUP g c", "FOO", "COUNT STREAMS"],
        &["STREAMS @ 0", "STREAMS @ @ 0", "STREAMS @ @ 0 0", "STREAMS @ @ @", "STREAMS", "@ @"],
    ),
    (
        "XREADGROUP GROUP g c",
        &["COUNT #", "BLOCK 1", "NOACK", "FOO", "GROUP g STREAMS", "GROUP STREAMS c"],
        &["STREAMS @ >", "STREAMS @ @ >", "STREAMS @ @ > >", "STREAMS"],
    ),
    (
        "MIGRATE 127.0.0.1 1",
        &["COPY", "REPLACE", "AUTH @", "AUTH KEYS", "AUTH2 @ @", "AUTH2 KEYS @", "FOO"],
        &["", "KEYS", "KEYS @", "KEYS @ @", "AUTH"],
    ),
    (
        "GEORADIUS @ 1 2 3 m",
        &["STORE @", "STOREDIST @", "COUNT #", "ANY", "ASC", "FOO"],
        &["", "STORE", "COUNT"],
    ),
    ("EVAL s", &[], &["#", "# @", "# @ @", "# @ @ @"]),
    ("ZUNIONSTORE @", &[], &["# @", "# @ @", "# @ @ @", "# @ WEIGHTS 1", "# @ FOO"]),
    ("ZDIFF", &[], &["# @", "# @ @", "# @ @ WITHSCORES"]),
    ("SINTERCARD", &[], &["# @", "# @ @", "# @ LIMIT 1"]),
    ("LMPOP", &[], &["# @ LEFT", "# @ @ LEFT", "# @ @"]),
    ("BZMPOP 0.01", &[], &["# @ MIN", "# @ @ MIN", "# @ @"]),
    ("MSETEX", &[], &["# @ @", "# @ @ @", "# @ @ @ @ NX"]),
    ("BITFIELD @", &["GET u8 0", "SET u8 0 1", "OVERFLOW", "FOO"], &[""]),
    ("SET @ v", &["NX", "GET", "EX 10", "IFEQ v", "FOO"], &[""]),
];

fn random_line(random: &mut Random) -> String {
    let (start, options, ends) = &SHAPES[random.below(SHAPES.len())];
    let mut line = vec![*start];
    if start.starts_with("MIGRATE") {
        line.push(if random.below(2) == 0 { "''" } else { "@" });
        line.push(if random.below(4) == 0 { "x 9" } else { "0 9" });
    }
    if !options.is_empty() {
        for _ in 0..random.below(4) {
            line.push(random.pick(options));
        }
    }
    line.push(random.pick(ends));
    let words = line.join(" ");
    let words = words.split(' ').filter(|word| !word.is_empty()).map(|word| match word {
        "@" => random.pick(&KEYS),
        "#" => random.pick(&NUMBERS),
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}
