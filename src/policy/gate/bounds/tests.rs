use super::super::super::testing::words;
use super::*;
use crate::command::{CommandTable, Resolution};
use crate::resp::RequestBuf;

const BOUNDS: Bounds =
    Bounds { max_count: Some(100), max_pattern_bytes: Some(8), max_offset_bytes: Some(1024) };

/// The argument that is too much.
fn above(bounds: Bounds, line: &str) -> Option<usize> {
    let table = CommandTable::builtin();
    let request = RequestBuf::from_args(&words(line));
    let Resolution::Known(spec) = table.resolve(request.as_request()) else { panic!("{line}") };
    let found = bounds.exceeded(spec, request.as_request());
    assert!(found.is_none() || bounds.are_about(spec), "{line}");
    found.map(|found| found.index)
}

fn check(cases: &[(&str, Option<usize>)]) {
    for (line, expected) in cases {
        assert_eq!(above(BOUNDS, line), *expected, "{line:?}");
        assert_eq!(above(Bounds::default(), line), None, "{line:?}");
    }
}

#[test]
fn every_rule_is_about_a_command_that_there_is() {
    let table = CommandTable::builtin();
    for (name, _) in RULES {
        assert!(table.find(name.as_bytes()).is_some(), "{name}");
    }
}

#[test]
fn counts_are_bounded_wherever_commands_have_them() {
    check(&[
        ("SRANDMEMBER k 100", None),
        ("SRANDMEMBER k 101", Some(2)),
        ("SRANDMEMBER k -101", Some(2)),
        ("SRANDMEMBER k -9223372036854775808", Some(2)),
        ("SRANDMEMBER k", None),
        // Redis refuses these: `not an integer`, since 5.0 also of the second kind.
        ("SRANDMEMBER k x", None),
        ("SRANDMEMBER k 9223372036854775808", None),
        ("SRANDMEMBER k +101", Some(2)),
        ("SRANDMEMBER k 00101", Some(2)),
        ("SRANDMEMBER k 101\0x", Some(2)),
        ("HRANDFIELD k -5000 WITHVALUES", Some(2)),
        ("ZRANDMEMBER k 5000", Some(2)),
        ("SPOP k 5000", Some(2)),
        ("LPOP k 5000", Some(2)),
        ("XAUTOCLAIM k g c 0 0 COUNT 5000", Some(7)),
        ("XAUTOCLAIM k g c 0 0 count 100", None),
        ("XRANGE k - + COUNT 5000", Some(5)),
        ("XREAD COUNT 5000 STREAMS k 0", Some(2)),
        ("SCAN 5000 COUNT 100", None),
        ("SCAN 0 COUNT 10 COUNT 5000", Some(5)),
        ("SSCAN k 0 COUNT 5000", Some(4)),
        ("SORT k LIMIT 0 5000", Some(4)),
        ("SORT k LIMIT 5000 1", Some(3)),
        ("SORT k LIMIT 0 -1 GET #", None),
        ("SORT_RO k BY x LIMIT 0 5000", Some(6)),
        ("LMPOP 1 k LEFT COUNT 5000", Some(5)),
        // What is no count.
        ("GET 5000", None),
        ("SADD k 5000", None),
        ("SCAN 0 COUNT", None),
    ]);
}

#[test]
fn patterns_are_bounded_wherever_commands_have_them() {
    check(&[
        ("KEYS 12345678", None),
        ("KEYS 123456789", Some(1)),
        ("SCAN 0 MATCH 123456789", Some(3)),
        ("SCAN 0 match *", None),
        ("HSCAN k 0 MATCH * MATCH 123456789", Some(6)),
        ("PSUBSCRIBE a 123456789", Some(2)),
        ("SUBSCRIBE 123456789", None),
        ("PUBSUB CHANNELS 123456789", Some(2)),
        ("PUBSUB CHANNELS", None),
        ("CONFIG GET save 123456789", Some(3)),
        ("COMMAND LIST FILTERBY PATTERN 123456789", Some(4)),
        ("FUNCTION LIST LIBRARYNAME 123456789", Some(3)),
        ("GET 123456789", None),
    ]);
}

#[test]
fn offsets_are_bounded_by_the_length_of_the_string_that_they_make() {
    check(&[
        ("SETRANGE k 1023 x", None),
        ("SETRANGE k 1024 x", Some(2)),
        ("SETRANGE k 1000 1234567890123456789012345", Some(2)),
        ("SETRANGE k 9223372036854775807 xx", Some(2)),
        // Writes nothing, or is refused by Redis.
        ("SETRANGE k 536870911 ''", None),
        ("SETRANGE k -1 x", None),
        ("SETBIT k 8191 1", None),
        ("SETBIT k 8192 1", Some(2)),
        ("GETBIT k 4294967295", Some(2)),
        ("BITFIELD k SET u8 8184 1", None),
        ("BITFIELD k SET u8 8185 1", Some(4)),
        ("BITFIELD k GET u8 0 OVERFLOW SAT INCRBY i16 #511 1", None),
        ("BITFIELD k GET u8 0 OVERFLOW SAT INCRBY i16 #512 1", Some(9)),
        ("BITFIELD_RO k GET i64 #9223372036854775807", Some(4)),
        ("BITFIELD k NOSUCH u8 8192 1", None),
        ("BITFIELD k SET u8", None),
        ("APPEND k x", None),
    ]);
}

#[test]
fn each_bound_stands_alone() {
    let only = Bounds { max_count: Some(1), ..Bounds::default() };
    assert_eq!(above(only, "SCAN 0 COUNT 2"), Some(3));
    assert_eq!(above(only, "SCAN 0 MATCH 123456789"), None);
    assert_eq!(above(only, "SETBIT k 8192 1"), None);
}
