use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::Glob;

fn matches(pattern: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> bool {
    Glob::new(pattern.as_ref()).matches(text.as_ref())
}

#[test]
fn vectors_of_a_real_server_hold() {
    let yes: &[(&[u8], &[u8])] = &[
        (b"", b""),
        (b"*", b"x"),
        (b"a*", b"a"),
        (b"a**", b"a"),
        (b"*a*b*", b"xaxbx"),
        (b"*ab", b"aab"),
        (b"a?c", b"abc"),
        (b"[abc]x", b"bx"),
        (b"[^abc]x", b"dx"),
        (b"[a-c]", b"b"),
        (b"[c-a]", b"b"),
        (b"[a", b"a"),
        (b"[^", b"z"),
        (b"[^]", b"z"),
        (b"[a-]", b"^"),
        (b"[a-]", b"]"),
        (b"[a-", b"-"),
        (b"[\\]]", b"]"),
        (b"[\\", b"\\"),
        (b"\\*", b"*"),
        (b"a\\", b"a\\"),
        (b"[x-\xff]", b"\x00"),
        (b"h[^a-z]o", b"h\xffo"),
        (b"*\x00*", b"a\x00b"),
    ];
    for (pattern, text) in yes {
        assert!(matches(pattern, text), "{pattern:?} {text:?}");
    }
    let no: &[(&[u8], &[u8])] = &[
        (b"*", b""),
        (b"**", b""),
        (b"", b"x"),
        (b"?", b""),
        (b"a*?", b"a"),
        (b"a*a", b"a"),
        (b"[]", b"]"),
        (b"[]", b"x"),
        (b"[", b"["),
        (b"[a", b"[a"),
        (b"[^a", b"a"),
        (b"\\*", b"x"),
        (b"a\\", b"a"),
        (b"A", b"a"),
        (b"[x-\xff]", b"\xfe"),
        (b"*ab*ba*", b"aba"),
    ];
    for (pattern, text) in no {
        assert!(!matches(pattern, text), "{pattern:?} {text:?}");
    }
}

#[test]
fn long_patterns_and_keys_take_little_time() {
    let key = vec![b'a'; 10 << 10];
    let patterns = [
        [b"*".as_slice(), &vec![b'a'; 5 << 10], b"b*"].concat(),
        [b"*".as_slice(), &vec![b'?'; 5 << 10], b"b*"].concat(),
        b"*a".repeat(5 << 10),
        [b"*a".repeat(4 << 10), b"b*".to_vec()].concat(),
        [b"*[".as_slice(), &vec![b'b'; 10 << 10], b"]*"].concat(),
        b"*[^b]?[a-c]a".repeat(1 << 10),
    ];
    for pattern in patterns {
        let glob = Glob::new(&pattern);
        let start = Instant::now();
        glob.matches(&key);
        // A product of both lengths would take seconds in this unoptimised build.
        assert!(start.elapsed() < Duration::from_millis(300), "{:?}", start.elapsed());
    }
}

/// The obvious matcher: exponential, and only for short inputs without classes.
fn naive(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
        ([b'?', rest @ ..], [_, after @ ..]) => naive(rest, after),
        ([own, rest @ ..], [byte, after @ ..]) => own == byte && naive(rest, after),
        _ => false,
    }
}

proptest! {
    #[test]
    fn agrees_with_the_obvious_matcher(pattern in "[ab*?]{0,8}", text in "[ab]{1,10}") {
        prop_assert_eq!(matches(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn long_runs_match_as_short_ones_do(run in "[ab?]{32,140}", before in "[ab]{0,150}", cut in 0usize..150) {
        let text = format!("{before}{}", run.replace('?', "a"));
        let pattern = format!("*{run}*");
        prop_assert!(matches(&pattern, &text));
        let part = &text.as_bytes()[..text.len().saturating_sub(cut)];
        let expected = part.len() >= run.len()
            && (0..=part.len() - run.len()).any(|start| matches(&run, &part[start..start + run.len()]));
        prop_assert_eq!(matches(&pattern, part), expected);
    }

    #[test]
    fn any_bytes_are_a_pattern(pattern: Vec<u8>, text: Vec<u8>) {
        let glob = Glob::new(&pattern);
        glob.matches(&text);
        prop_assert_eq!(glob.as_bytes(), &pattern[..]);
    }
}
