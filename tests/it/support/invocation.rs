//! Random requests that look valid, for every command of a table: keys where keys are, plausible options elsewhere,
//! some of them doubled, misplaced or cut short.

use redkeep::command::{Begin, Find, Movable, Spec};

use super::random::Random;

/// Makes keys.
pub type Key<'k> = &'k dyn Fn(&mut Random) -> Vec<u8>;

/// Keys that look like something else.
pub const ODD_KEYS: [&str; 8] = ["STORE", "KEYS", "STREAMS", "GET", "by", "2", "auth", "1"];

/// A request that looks valid: keys where keys are, plausible options elsewhere.
pub fn invocation(spec: &Spec, random: &mut Random, key: Key<'_>) -> Vec<Vec<u8>> {
    let mut args: Vec<Vec<u8>> = spec.name.split('|').map(|word| word.as_bytes().to_vec()).collect();
    match spec.movable {
        Some(function) => movable_tail(function, random, key, &mut args),
        None => specs_tail(spec, random, key, &mut args),
    }
    args
}

fn specs_tail(spec: &Spec, random: &mut Random, key: Key<'_>, args: &mut Vec<Vec<u8>>) {
    let counted = spec.keys.iter().find_map(|keys| match (&keys.begin, &keys.find) {
        (Begin::Index(at), Find::KeyNum { step, .. }) => Some((usize::from(*at), usize::from(*step))),
        _ => None,
    });
    if let Some((at, step)) = counted {
        while args.len() < at {
            args.push(key(random));
        }
        let count = random.below(4);
        args.push(random.pick(&["01", "-1", "+1", "0"]).into());
        if random.below(10) > 0 {
            *args.last_mut().unwrap() = count.to_string().into_bytes();
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

fn movable_tail(function: Movable, random: &mut Random, key: Key<'_>, args: &mut Vec<Vec<u8>>) {
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
            "STORE\0x @",
            "STORE",
            "FOO",
        ],
        Movable::Migrate => &["COPY", "REPLACE", "AUTH @", "AUTH2 @ @", "auth keys"],
        Movable::Set => &["NX", "GET", "EX 10", "EX GET", "KEEPTTL", "get\0x", "FOO"],
        Movable::Sort => {
            &["BY @", "GET @", "LIMIT 0 1", "ASC", "alpha", "STORE @", "STORE\0 @", "STORE by", "FOO"]
        }
        Movable::Xread => &["COUNT 1", "BLOCK 1", "NOACK", "COUNT streams"],
        Movable::Zadd => &["NX", "XX", "CH", "INCR", "incr\0", "GT"],
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
    if function == Movable::Xread && args[0] == b"xreadgroup" {
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
        args.push(if word == "@" { key(random) } else { word.into() });
    }
}
