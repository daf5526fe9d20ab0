//! Values of all kinds: numbers at their bounds, empty, big, binary, and such as look like the protocol itself.

use crate::support::random::Random;

/// A value of the kind that a template names.
pub fn of(kind: &str, random: &mut Random) -> Vec<u8> {
    let words: &[&str] = match kind {
        "v" => return any(random),
        "big" => return big(random),
        "bin" => return binary(random),
        // Small vocabulary, so that members and fields meet again.
        "w" => &["a", "b", "c", "d", "e", "f"],
        "int" => return integer(random),
        "small" => return random.below(10).to_string().into_bytes(),
        "offset" => return random.below(200).to_string().into_bytes(),
        "t" => return (1_000 + random.below(100_000)).to_string().into_bytes(),
        "ms" => return (1_000_000 + random.below(100_000_000)).to_string().into_bytes(),
        "bit" => &["0", "1"],
        "db" => &["1", "2", "3", "7"],
        "index" => &["0", "0", "-1", "1", "2", "3", "-2", "-3", "5", "-100", "100"],
        "f" => &[
            "0",
            "1",
            "2.5",
            "-0.1",
            "0.1",
            "3",
            "-7",
            "1e3",
            "3.0e-5",
            "100.25",
            "0.30000000000000004",
            "1e17",
            "123456789.123456789",
            "5e-324",
            "17179869184",
        ],
        "min" => &["-inf", "0", "1", "(1", "2", "(2.5", "-5"],
        "max" => &["+inf", "3", "(3", "3.5", "inf", "2", "100"],
        "lmin" => &["-", "[a", "(a", "[b", "(b", "["],
        "lmax" => &["+", "[c", "(c", "[ba", "(z", "[\u{ff}"],
        "id" => &["1-1", "2-1", "100-1", "100-2", "3", "99-99", "7-0"],
        "block" => &["0.5", "1", "0", "5"],
        "lon" => &["0", "13.361389", "15.087269", "-122.4194", "179.9", "2.35", "-0.000001"],
        "lat" => &["0", "38.115556", "37.502669", "51.5", "-85", "85.05", "48.85"],
        "glob" => &["*", "a*", "?", "[ab]", "[^a]*", "h*e", "\\*", "", "*[0-9]*"],
        "cmd" => &[
            "get",
            "SET",
            "mget",
            "lpush",
            "blpop",
            "hset",
            "zadd",
            "zunionstore",
            "xadd",
            "xreadgroup",
            "eval",
            "sort",
            "config",
            "config|get",
            "client|id",
            "subscribe",
            "multi",
            "geoadd",
            "pfadd",
            "bitfield",
            "copy",
        ],
        "config" => &[
            "maxmemory",
            "maxmemory-policy",
            "timeout",
            "save",
            "appendonly",
            "databases",
            "lfu-log-factor",
            "list-max-listpack-size",
            "lazyfree-lazy-expire",
            "proto-max-bulk-len",
            "slowlog-log-slower-than",
            "notify-keyspace-events",
            "maxclients",
            "TIMEOUT",
            "dir",
            "port",
            "unixsocket",
            "hz",
            "loglevel",
        ],
        // None is a large number that would be taken for an offset: it would cost memory.
        "odd" => &[
            "",
            "x",
            "-1",
            "0",
            "1.5",
            " 1",
            "1 ",
            "01",
            "+1",
            "-0",
            "0x10",
            "1e400",
            "nan",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "NX",
            "COUNT",
            "LIMIT",
            "*",
            "a\r\nb",
            "\r\n",
            "(1",
            "\u{e4}",
        ],
        other => panic!("there are no values of kind {other}"),
    };
    random.pick(words).into()
}

fn any(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => Vec::new(),
        1 => integer(random),
        2 => of("f", random),
        3 => binary(random),
        4 => "a\r\nb|\r|\n|line\r\n|\r\n\r\n".split('|').nth(random.below(5)).unwrap().into(),
        5 => random
            .pick(&["*3\r\n$1\r\nx\r\n", "$-1\r\n", "+OK\r\n", "-ERR no\r\n", ">2\r\n", "_\r\n", ":1"])
            .into(),
        6 => "wide \u{e9}\u{4e16}\u{754c} \u{1f600}".into(),
        7 => vec![b'a' + u8::try_from(random.below(26)).unwrap(); 40 + random.below(3_000)],
        _ => {
            let words = ["some", "value", "hello world", "x", "{\"json\":[1,2]}", "'q'", "tab\there", "ok"];
            format!("{}{}", random.pick(&words), random.below(1_000)).into_bytes()
        }
    }
}

fn integer(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => random
            .pick(&[
                "9223372036854775807",
                "-9223372036854775808",
                "4294967296",
                "2147483647",
                "-2147483649",
                "65535",
            ])
            .into(),
        1..4 => format!("-{}", random.below(1_000)).into_bytes(),
        _ => random.below(100_000).to_string().into_bytes(),
    }
}

/// Some tens of thousands of bytes: more than one read, and more than Redis copies.
fn big(random: &mut Random) -> Vec<u8> {
    let piece = binary(random);
    piece.repeat(1 + (8_000 + random.below(40_000)) / piece.len())
}

fn binary(random: &mut Random) -> Vec<u8> {
    (0..1 + random.below(60)).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
}
