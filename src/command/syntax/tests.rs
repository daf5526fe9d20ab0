//! What Redis rejects; `tests/it/syntax.rs` asks real servers the same.

use super::*;
use crate::command::{CommandTable, Resolution};
use crate::resp::RequestBuf;

fn rejected(line: &str) -> String {
    let table = CommandTable::builtin();
    let words: Vec<String> = line.split(' ').map(|word| word.replace("''", "").replace("%20", " ")).collect();
    let request = RequestBuf::from_args(&words);
    let Resolution::Known(spec) = table.resolve(request.as_request()) else { panic!("{line}") };
    rejection(spec, request.as_request()).map_or_else(String::new, |rejection| format!("{rejection:?}"))
}

#[test]
fn counts_of_keys_are_rejected_in_the_order_of_each_family() {
    let sha = "a".repeat(40);
    for (line, expected) in [
        ("EVAL s 0", ""),
        ("EVAL s 1 a", ""),
        ("EVAL s -1", "NegativeKeyCount"),
        ("EVAL s 01 a", "NotAnInteger"),
        ("EVAL s '' a", "NotAnInteger"),
        ("EVAL s 2 a", "MoreKeysThanArguments"),
        ("EVAL_RO s x", "NotAnInteger"),
        ("EVALSHA s -1", ""),
        (&format!("EVALSHA {sha} -1"), "NegativeKeyCount"),
        (&format!("EVALSHA_RO {sha} 1"), "MoreKeysThanArguments"),
        ("FCALL f -1", ""),
        ("FCALL_RO f x", ""),
        ("ZUNIONSTORE d 0 a", "NoInputKey"),
        ("ZUNIONSTORE d -1 a", "NoInputKey"),
        ("ZINTERSTORE d x a", "NotAnInteger"),
        ("ZDIFFSTORE d 2 a", "Syntax"),
        ("ZUNION 1 a", ""),
        ("ZINTER 9223372036854775807 a", "Syntax"),
        ("ZDIFF 9223372036854775808 a", "NotAnInteger"),
        ("ZINTERCARD 0 a", "NoInputKey"),
        ("SINTERCARD 0 a", "KeyCountNotPositive"),
        ("SINTERCARD x a", "KeyCountNotPositive"),
        ("SINTERCARD 2 a", "MoreKeysThanArguments"),
        ("LMPOP -1 a LEFT", "KeyCountNotPositive"),
        ("LMPOP 2 a LEFT", ""),
        ("ZMPOP 3 a MIN", "Syntax"),
        ("BLMPOP x 3 a LEFT", "Syntax"),
        ("BZMPOP 0 +1 a MIN", "KeyCountNotPositive"),
        ("MSETEX 0 a 1", "InvalidKeyCount"),
        ("MSETEX 2147483648 a 1", "InvalidKeyCount"),
        ("MSETEX 2 a 1", "MissingPairs"),
        ("MSETEX 2 a 1 b", ""),
        ("GET k", ""),
    ] {
        assert_eq!(rejected(line), expected, "{line}");
    }
}

#[test]
fn of_several_mistakes_the_first_counts() {
    for (line, expected) in [
        ("SORT k LIMIT x 0 FOO", "NotAnInteger"),
        ("SORT k FOO LIMIT x 0", "Syntax"),
        ("SORT k LIMIT 0 +1", "NotAnInteger"),
        ("SORT k LIMIT 0", "Syntax"),
        ("SORT k STORE d", ""),
        ("SORT_RO k STORE d", "Syntax"),
        ("MIGRATE h 1 k 0 9 KEYS a", "KeyAndKeys"),
        ("MIGRATE h 1 k 0 9 FOO KEYS a", "Syntax"),
        ("MIGRATE h 1 k 0 9 KEYS FOO", "KeyAndKeys"),
        ("MIGRATE h x k y z AUTH2 a b", ""),
        ("XREAD COUNT x STREAMS a b 0", "NotAnInteger"),
        ("XREAD COUNT -1 STREAMS a b 0", "UnbalancedStreams"),
        ("XREAD BLOCK 1.5 FOO x", "TimeoutNotAnInteger"),
        ("XREAD BLOCK -1 FOO x", "TimeoutNegative"),
        ("XREAD BLOCK 9223372036854775807 STREAMS a b 0", ""),
        ("XREAD CLAIM 1 STREAMS a b 0", ""),
        ("XREAD GROUP g c STREAMS a >", "GroupOfXread"),
        ("XREAD NOACK COUNT x", "NoackOfXread"),
        ("XREAD GROUP g STREAMS", "GroupOfXread"),
        ("XREAD COUNT 1 GROUP g", "Syntax"),
        ("XREAD COUNT 1 COUNT 1", "Syntax"),
        ("XREADGROUP GROUP g c NOACK STREAMS a b >", "UnbalancedStreams"),
        ("XREADGROUP GROUP g c STREAMS a >", ""),
        ("XREADGROUP COUNT 1 NOACK STREAMS a >", "GroupMissing"),
        ("XREADGROUP COUNT 1 NOACK STREAMS a b >", "UnbalancedStreams"),
        // Redis looks at the key first.
        ("GEORADIUS k 1 2 3 m FOO", ""),
    ] {
        assert_eq!(rejected(line), expected, "{line}");
    }
}

#[test]
fn numbers_are_read_as_redis_and_c_read_them() {
    for (text, strict, lax) in [
        ("0", Some(0), 0),
        ("-1", Some(-1), -1),
        ("-0", None, 0),
        ("+1", None, 1),
        ("01", None, 1),
        (" 1", None, 1),
        ("\t\n\u{b}\u{c}\r 2x", None, 2),
        ("1 ", None, 1),
        ("1\0", None, 1),
        ("", None, 0),
        ("-", None, 0),
        ("--1", None, 0),
        ("- 1", None, 0),
        ("0x10", None, 0),
        ("2147483648", Some(2_147_483_648), i32::MIN),
        ("4294967297", Some(4_294_967_297), 1),
        ("-4294967295", Some(-4_294_967_295), 1),
        ("9223372036854775807", Some(i64::MAX), -1),
        ("9223372036854775808", None, -1),
        ("-9223372036854775808", Some(i64::MIN), 0),
        ("-9223372036854775809", None, 0),
    ] {
        assert_eq!((integer(text.as_bytes()), atoi(text.as_bytes())), (strict, lax), "{text:?}");
    }
}
