//! Vectors for keys and channels, hostile ones among them.

use super::*;
use crate::command::{CommandTable, Resolution};
use crate::resp::RequestBuf;

/// Words of a line; `""` is the empty argument, `%00` a NUL byte.
fn request(line: &str) -> RequestBuf {
    let words: Vec<Vec<u8>> =
        line.split(' ').map(|word| word.replace("\"\"", "").replace("%00", "\0").into_bytes()).collect();
    RequestBuf::from_args(&words)
}

fn spec<'t>(table: &'t CommandTable, request: &RequestBuf) -> &'t Spec {
    match table.resolve(request.as_request()) {
        Resolution::Known(spec) => spec,
        other => panic!("{other:?}"),
    }
}

/// The keys as `index:name:access`, or the error after those that Redis checks before it gives it.
fn keys(line: &str) -> String {
    let (table, request) = (CommandTable::builtin(), request(line));
    let mut found = Vec::new();
    let result = for_each_key(spec(&table, &request), request.as_request(), |key| {
        let access = ["any", "R", "W", "RW"][usize::from(key.access.0)];
        found.push(format!("{}:{}:{access}", key.index, String::from_utf8_lossy(key.name)));
        ControlFlow::<()>::Continue(())
    });
    if let Err(error) = result {
        found.push(format!("{error:?}"));
    }
    found.join(" ")
}

#[track_caller]
fn expect(vectors: &[(&str, &str)]) {
    for (line, expected) in vectors {
        assert_eq!(keys(line), *expected, "{line}");
    }
}

#[test]
fn keys_at_fixed_places_and_in_ranges() {
    expect(&[
        ("GET k", "1:k:R"),
        ("get \"\"", "1::R"),
        ("PING", ""),
        ("EXISTS a b", "1:a:any 2:b:any"),
        ("MSET a 1 b 2", "1:a:W 3:b:W"),
        ("MSET a 1 b", "1:a:W 3:b:W"),
        ("BLPOP a b 0", "1:a:RW 2:b:RW"),
        ("BLPOP 0", "OutOfRange"),
        ("LCS a b LEN", "1:a:R 2:b:R"),
        ("LCS a", "OutOfRange"),
        ("BITOP AND d a b", "2:d:W 3:a:R 4:b:R"),
        ("OBJECT ENCODING k", "2:k:any"),
        ("MEMORY USAGE k SAMPLES 5", "2:k:any"),
        ("XGROUP CREATE k g $", "2:k:W"),
        ("RENAME a b", "1:a:RW 2:b:W"),
        ("COMMAND GETKEYS GET k", ""),
        ("GET", "OutOfRange"),
    ]);
}

#[test]
fn nothing_left_for_an_open_range_does_not_hide_the_other_keys() {
    // Redis 7.0.15 gives up on `PFMERGE d`, and so lets everyone create `d`.
    expect(&[("PFMERGE d", "1:d:RW"), ("PFMERGE d a", "1:d:RW 2:a:R")]);
}

#[test]
fn keys_after_their_number() {
    expect(&[
        ("EVAL s 2 a b c", "3:a:RW 4:b:RW"),
        ("EVAL s 0 a", ""),
        ("EVAL s -1", "Rejected(NegativeKeyCount)"),
        ("EVAL s 3 a b", "Rejected(MoreKeysThanArguments)"),
        ("EVAL_RO s 1 a", "3:a:R"),
        ("FCALL f 1 a x", "3:a:RW"),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", "1:d:W 3:a:R 4:b:R"),
        ("ZUNIONSTORE d 0 a", "Rejected(NoInputKey)"),
        ("FCALL f 0", ""),
        ("FCALL f -1", "KeyCount"),
        ("FCALL f 2 a", "OutOfRange"),
        ("SINTERCARD 2 a b LIMIT 1", "2:a:R 3:b:R"),
        ("LMPOP 1 a LEFT", "2:a:RW"),
        ("BLMPOP 0 2 a b LEFT", "3:a:RW 4:b:RW"),
        ("BZMPOP 0 1 a MIN", "3:a:RW"),
        ("MSETEX 2 a 1 b 2 NX", "2:a:W 4:b:W"),
        ("MSETEX 2 a 1 b", "2:a:W 4:b:W"),
        ("MSETEX 2 a 1", "Rejected(MissingPairs)"),
    ]);
    for number in ["+1", "01", "1.0", "1e0", "-0", "1%00", "x", "\"\"", "18446744073709551616", "-1"] {
        assert_eq!(keys(&format!("FCALL s {number} a b")), keys_found(number) + "KeyCount", "{number}");
    }
    assert_eq!(keys("FCALL s 9223372036854775807 a"), "OutOfRange");
    assert_eq!(keys("EVAL s 9223372036854775807 a"), "Rejected(MoreKeysThanArguments)");
    assert_eq!(keys("MSETEX 9223372036854775807 a 1"), "Rejected(InvalidKeyCount)");
    assert_eq!(keys("MSETEX 2147483647 a 1"), "Rejected(MissingPairs)");
}

/// What Redis' second look finds after `FCALL s`: C's `atoi` reads the number.
fn keys_found(number: &str) -> String {
    if ["+1", "01", "1.0", "1e0", "1%00"].contains(&number) { "3:a:any ".to_owned() } else { String::new() }
}

#[test]
fn set_and_zadd_read_by_an_option() {
    expect(&[
        ("SET k v", "1:k:W"),
        ("SET k get", "1:k:W"),
        ("SET get v NX", "1:get:W"),
        ("SET k v NX gEt", "1:k:RW"),
        ("SET k v GET%00x", "1:k:RW"),
        ("SET k v EX GET", "1:k:RW"),
        ("ZADD k 1 m", "1:k:W"),
        ("ZADD k 1 incr", "1:k:W"),
        ("ZADD k XX INCR 0 m", "1:k:RW"),
        ("ZADD k CH GT incr%00 0 m", "1:k:RW"),
    ]);
}

#[test]
fn bitfield_reads_only_with_nothing_but_gets() {
    expect(&[
        ("BITFIELD k", "1:k:R"),
        ("BITFIELD k GET u8 0 GET u8 1", "1:k:R"),
        ("BITFIELD k OVERFLOW WRAP GET u8 0", "1:k:R"),
        ("BITFIELD k GET u8", "1:k:RW"),
        ("BITFIELD k GET u8 0 SET u8 0 1 GET u8 0", "1:k:RW"),
        ("BITFIELD k GET SET 0 INCRBY u8 0 1", "1:k:RW"),
        ("BITFIELD k OVERFLOW GET u8 0 SET u8 0 1", "1:k:RW"),
        ("BITFIELD k NEWOP", "1:k:RW"),
    ]);
}

#[test]
fn georadius_visits_every_store() {
    expect(&[
        ("GEORADIUS k 1 2 3 m", "1:k:R"),
        ("GEORADIUS k 1 2 3 m STORE a STORE b", "1:k:R 7:a:W 9:b:W"),
        ("GEORADIUS k 1 2 3 m storedist a COUNT 1 ANY STORE b", "1:k:R 7:a:W 12:b:W"),
        ("GEORADIUS k 1 2 3 m STORE STORE STOREDIST b", "1:k:R 7:STORE:W 8:STOREDIST:W 9:b:W"),
        ("GEORADIUS k 1 2 3 m STORE%00 a", "1:k:R 7:a:W"),
        ("GEORADIUS k 1 2 3 m STORE", "1:k:R"),
        ("GEORADIUS k 1 2 3 m NEWOPTION", "1:k:R 1:k:RW"),
        ("GEORADIUS k 1 2 3 m COUNT STORE a", "1:k:R 8:a:W 1:k:RW 8:a:W"),
        ("GEORADIUS k 1 2 3 m a STORE b", "1:k:R 1:k:RW 7:STORE:RW 8:b:RW"),
        ("GEORADIUSBYMEMBER k STORE 3 m ASC STORE b WITHDIST", "1:k:R 7:b:W"),
        ("GEORADIUSBYMEMBER k m 3 m NEWOPTION STORE b", "1:k:R 1:k:RW 6:STORE:RW 7:b:RW"),
        ("GEORADIUS_RO k 1 2 3 m STORE a", "1:k:R"),
    ]);
}

#[test]
fn sort_visits_every_store_and_is_not_derailed_by_values() {
    expect(&[
        ("SORT k", "1:k:R"),
        ("SORT k STORE by STORE z", "1:k:R 3:by:W 5:z:W 1:k:R 3:by:W"),
        ("SORT k BY STORE GET STORE LIMIT 0 1 STORE d", "1:k:R 10:d:W 1:k:R 10:d:W"),
        // Redis' ACL takes that value for the option, too, and nobody may allow what it denies.
        ("SORT k STORE STORE ALPHA", "1:k:R 3:STORE:W 1:k:R 4:ALPHA:W"),
        ("SORT k LIMIT STORE a STORE b", "1:k:R 6:b:W Rejected(NotAnInteger)"),
        ("SORT k LIMIT -1 10 STORE b", "1:k:R 6:b:W"),
        ("SORT k STORE%00x d", "1:k:R 3:d:W"),
        ("SORT k STORE", "1:k:R Rejected(Syntax)"),
        ("SORT k LIMIT 0", "1:k:R Rejected(Syntax)"),
        ("SORT k NEWOPTION STORE d", "1:k:R 4:d:W Rejected(Syntax)"),
        ("SORT k FOO STORE a LIMIT 0 STORE b", "1:k:R 4:a:W Rejected(Syntax)"),
        ("SORT k FOO STORE a BY STORE get STORE STORE", "1:k:R 4:a:W Rejected(Syntax)"),
        ("SORT k FOO STORE a STORE STORE b", "1:k:R 7:b:W Rejected(Syntax)"),
        ("SORT_RO k STORE d", "1:k:R Rejected(Syntax)"),
        ("SORT_RO k STORE%00 d", "1:k:R Rejected(Syntax)"),
        ("SORT_RO k ALPHA DESC", "1:k:R"),
    ]);
}

#[test]
fn sort_patterns_need_every_key() {
    let table = CommandTable::builtin();
    let pattern = |line: &str| {
        let request = request(line);
        sort_pattern(spec(&table, &request), request.as_request())
    };
    assert_eq!(pattern("SORT k BY nosort STORE d"), None);
    assert_eq!(pattern("SORT k STORE BY STORE get"), None);
    assert_eq!(pattern("SORT k BY w* GET #"), Some(SortPattern::By));
    assert_eq!(pattern("SORT k BY w BY a%00*"), Some(SortPattern::By));
    assert_eq!(pattern("SORT_RO k BY w get #"), Some(SortPattern::Get));
    // Redis gives the error of what comes first.
    assert_eq!(pattern("SORT k WAT GET #"), None);
    assert_eq!(pattern("SORT k LIMIT 0 x GET #"), None);
    assert_eq!(pattern("SORT_RO k STORE d GET #"), None);
    assert_eq!(pattern("SORT k GET # WAT"), Some(SortPattern::Get));
    assert_eq!(pattern("GET k"), None);
}

#[test]
fn migrate_takes_the_single_key_or_those_after_keys() {
    expect(&[
        ("MIGRATE h 1 k 0 9", "3:k:RW"),
        ("MIGRATE h 1 k 0 9 COPY REPLACE AUTH keys", "3:k:RW"),
        ("MIGRATE h 1 \"\" 0 9 AUTH keys", "3::RW"),
        ("MIGRATE h 1 \"\" 0 9 AUTH keys KEYS a b", "9:a:RW 10:b:RW"),
        ("MIGRATE h 1 \"\" 0 9 AUTH2 keys keys keys%00 keys", "10:keys:RW"),
        ("MIGRATE h 1 k 0 9 KEYS a", "Rejected(KeyAndKeys)"),
        ("MIGRATE h 1 k 0 9 KEYS", "3:k:RW Rejected(KeyAndKeys)"),
        ("MIGRATE h 1 \"\" 0 9 KEYS", "3::RW"),
        ("MIGRATE h 1 \"\" 0 9 AUTH KEYS KEYS", ""),
        ("MIGRATE h 1 \"\" 0 9 COPY KEYS KEYS", "8:KEYS:RW"),
        ("MIGRATE h 1 k 0 9 AUTH KEYS FOO", "3:k:RW Rejected(Syntax)"),
        ("MIGRATE h 1 k 0 9 FOO AUTH2 KEYS x KEYS a", "Rejected(Syntax)"),
        ("MIGRATE h 1 \"\" 0 9 WAT KEYS a", "8:a:RW Rejected(Syntax)"),
        ("MIGRATE h 1 k 0 9 AUTH", "3:k:RW Rejected(Syntax)"),
    ]);
}

#[test]
fn streams_are_found_by_the_options_not_by_the_word() {
    expect(&[
        ("XREAD COUNT 1 STREAMS a b 0 0", "4:a:R 5:b:R"),
        ("XREAD STREAMS a b 0", "2:a:R Rejected(UnbalancedStreams)"),
        ("XREAD STREAMS", "Rejected(Syntax)"),
        ("XREAD COUNT 1 BLOCK", "Rejected(Syntax)"),
        ("XREAD COUNT STREAMS STREAMS a 0", "3:STREAMS:R Rejected(NotAnInteger)"),
        ("XREAD CLAIM 5 STREAMS a b 0", "4:a:R Unbalanced"),
        ("XREAD CLAIM 5 STREAMS a 0", "4:a:R"),
        ("XREAD STREAMS STREAMS 0", "2:STREAMS:R 2:STREAMS:R"),
        ("XREADGROUP GROUP g STREAMS COUNT 1 STREAMS a b > >", "7:a:R 8:b:R 7:a:R 8:b:R"),
        ("XREADGROUP COUNT 1 GROUP STREAMS c NOACK streams%00 a >", "8:a:R 5:c:R 6:NOACK:R"),
        ("XREADGROUP GROUP g c FROB 1 STREAMS a >", "7:a:R Rejected(Syntax)"),
        ("XREADGROUP STREAMS a b 0 0 0 0", "Rejected(GroupMissing)"),
        ("XCLAIM k g c 0 1-1", "1:k:RW"),
        ("XAUTOCLAIM k g c 0 0", "1:k:RW"),
    ]);
}

#[test]
fn debug_shows_no_key_unseen() {
    expect(&[
        ("DEBUG OBJECT k", "2:k:R"),
        ("DEBUG object%00 k", "2:k:R"),
        ("DEBUG DIGEST-VALUE a b", "2:a:R 3:b:R"),
        ("DEBUG SLEEP 0", ""),
        ("DEBUG OBJECT", ""),
    ]);
}

#[test]
fn keyword_specs_take_every_occurrence() {
    expect(&[
        ("STRALGO LCS KEYS a b", "3:a:R 4:b:R"),
        ("STRALGO LCS LEN KEYS a b KEYS c d", "4:a:R 5:b:R 7:c:R 8:d:R"),
        ("STRALGO LCS STRINGS a b", ""),
        ("STRALGO LCS STRINGS a keys", ""),
        ("STRALGO LCS KEYS a", "OutOfRange"),
    ]);
    let words = |from: i16, find: Find, line: &str| {
        let (table, request) = (CommandTable::builtin(), request(line));
        let begin = Begin::Keyword { word: "KEYS".into(), from };
        let keys = vec![KeySpec { access: Access::READ, begin, find }];
        let spec = Spec { keys: keys.into(), ..table.find(b"get").unwrap().clone() };
        let mut found = Vec::new();
        let result = for_each_key(&spec, request.as_request(), |key| {
            found.push(key.index);
            ControlFlow::<()>::Continue(())
        });
        result.map(|_| found)
    };
    let all = Find::Range { last: -1, step: 1, limit: 0 };
    let half = Find::Range { last: -1, step: 1, limit: 2 };
    assert_eq!(words(-2, all.clone(), "m x KEYS a b"), Ok(vec![3, 4]));
    assert_eq!(words(-2, all.clone(), "m KEYS a keys b"), Ok(vec![2, 3, 4, 4]));
    assert_eq!(words(-1, all.clone(), "m x KEYS"), Ok(vec![]));
    assert_eq!(words(-9, all.clone(), "m x KEYS a"), Ok(vec![]));
    assert_eq!(words(2, all, "m KEYS a b"), Ok(vec![]));
    assert_eq!(words(1, half.clone(), "m KEYS a b 0 0"), Ok(vec![2, 3]));
    assert_eq!(words(1, half, "m KEYS a b 0"), Err(KeysError::Unbalanced));
}

#[test]
fn the_visitor_can_stop_early() {
    let (table, request) = (CommandTable::builtin(), request("DEL a b c"));
    let mut seen = 0;
    let result = for_each_key(spec(&table, &request), request.as_request(), |key| {
        seen += 1;
        if key.name == b"b" { ControlFlow::Break(key.index) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((result, seen), (Ok(ControlFlow::Break(2)), 2));
}

#[test]
fn channels_are_matched_or_literal() {
    let channels = |line: &str| {
        let (table, request) = (CommandTable::builtin(), request(line));
        let mut found = Vec::new();
        let _ = for_each_channel(spec(&table, &request), request.as_request(), |channel| {
            let name = String::from_utf8_lossy(channel.name).into_owned();
            found.push((channel.index, name, channel.literal));
            ControlFlow::<()>::Continue(())
        });
        found
    };
    let of = |index, name: &str, literal| (index, name.to_owned(), literal);
    assert_eq!(channels("PUBLISH c m"), [of(1, "c", false)]);
    assert_eq!(channels("SPUBLISH c m"), [of(1, "c", false)]);
    assert_eq!(channels("SUBSCRIBE a b"), [of(1, "a", false), of(2, "b", false)]);
    assert_eq!(channels("PSUBSCRIBE a* b"), [of(1, "a*", true), of(2, "b", true)]);
    for none in ["UNSUBSCRIBE a", "PUNSUBSCRIBE a", "SUNSUBSCRIBE a", "PUBSUB NUMSUB a", "GET a"] {
        assert!(channels(none).is_empty(), "{none}");
    }
}

#[test]
fn only_xread_with_block_blocks() {
    let table = CommandTable::builtin();
    for (line, expected) in [
        ("XREAD STREAMS a 0", false),
        ("XREAD COUNT BLOCK STREAMS BLOCK 0", false),
        ("XREAD block%00 0 STREAMS a 0", true),
        ("XREADGROUP GROUP g BLOCK STREAMS a >", false),
        ("XREADGROUP GROUP g c COUNT 1 BLOCK 5 STREAMS a >", true),
        ("XREAD WAT STREAMS a 0", true),
        ("BLPOP k 0", true),
        ("GET k", false),
        ("EVAL s 0", false),
    ] {
        let request = request(line);
        let spec = spec(&table, &request);
        assert_eq!(blocks(spec, request.as_request()), expected, "{line}");
    }
    let affinity_of = |line: &str| {
        let request = request(line);
        affinity(spec(&table, &request), request.as_request())
    };
    assert_eq!(affinity_of("XREAD STREAMS a 0"), Affinity::Shared);
    assert_eq!(affinity_of("XREAD BLOCK 0 STREAMS a 0"), Affinity::LeasedForCommand);
    assert_eq!(affinity_of("EVAL s 0"), Affinity::LeasedForCommand);
    assert_eq!(affinity_of("WAIT 1 0"), Affinity::LeasedForCommand);
}

#[test]
fn any_short_request_of_any_command_is_answered_without_a_panic() {
    let table = CommandTable::builtin();
    let words = ["2", "0", "-1", "STORE", "KEYS", "STREAMS", "GET", "", "LIMIT", "65536"];
    for spec in table.specs() {
        for argc in 0..8 {
            for shift in 0..words.len() {
                let tail = words.iter().cycle().skip(shift).take(argc);
                let args: Vec<&str> = spec.name.split('|').chain(tail.copied()).collect();
                let request = RequestBuf::from_args(&args);
                let _ = for_each_key(spec, request.as_request(), |key| {
                    assert!(key.index > 0 && key.index < args.len());
                    ControlFlow::<()>::Continue(())
                });
                let _ = sort_pattern(spec, request.as_request());
                let _ = blocks(spec, request.as_request());
            }
        }
    }
}
