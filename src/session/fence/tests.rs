use super::*;
use crate::policy::Version;
use crate::policy::testing::policy;
use crate::session::state::{Ends, SessionId};

fn state(rules: &str) -> State {
    let policy = policy(Version::NEWEST, &[("app", rules)], &[]);
    let mut state = State::new(SessionId(7), Ends::default(), &policy);
    state.become_user(&policy, policy.user(b"app"), crate::policy::Proof::Password);
    state
}

fn filtered(view: View, rules: &str, reply: &str, pieces: usize) -> String {
    let mut filter = KeyFilter::new(view, &state(rules));
    reply.as_bytes().chunks(pieces).for_each(|piece| filter.feed(piece));
    let mut out = BytesMut::new();
    filter.finish(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

const RULES: &str = "on ~a:* %R~r:* +@all (%W~w:* +get)";

#[test]
fn a_reply_is_filtered_alike_in_whatever_pieces_it_comes() {
    let keys = "*6\r\n$3\r\na:1\r\n$3\r\nb:1\r\n$0\r\n\r\n$3\r\nr:1\r\n$5\r\nw:\r\n1\r\n$2\r\nba\r\n";
    let seen = "*3\r\n$3\r\na:1\r\n$3\r\nr:1\r\n$5\r\nw:\r\n1\r\n";
    let scan = format!("*2\r\n$2\r\n17\r\n{keys}");
    for size in [1, 2, 3, 5, 7, 1000] {
        assert_eq!(filtered(View::Keys, RULES, keys, size), seen, "{size}");
        assert_eq!(filtered(View::Scan, RULES, &scan, size), format!("*2\r\n$2\r\n17\r\n{seen}"), "{size}");
        assert_eq!(filtered(View::Keys, "on +@all", keys, size), "*0\r\n", "{size}");
        assert_eq!(filtered(View::Keys, RULES, "*0\r\n", size), "*0\r\n", "{size}");
        let error = "-ERR invalid cursor\r\n";
        assert_eq!(filtered(View::Scan, RULES, error, size), error, "{size}");
    }
}

#[test]
fn channels_are_left_out_for_the_keys_in_their_names() {
    let reply = "*6\r\n$4\r\nnews\r\n$18\r\n__keyspace@0__:a:1\r\n$18\r\n__keyspace@0__:b:1\r\n\
                 $18\r\n__keyevent@0__:set\r\n$18\r\n__otherthi@0__:a:1\r\n$2\r\nb:\r\n";
    let seen = "*4\r\n$4\r\nnews\r\n$18\r\n__keyspace@0__:a:1\r\n$18\r\n__keyevent@0__:set\r\n$2\r\nb:\r\n";
    assert_eq!(filtered(View::Channels, RULES, reply, 1000), seen);
}

#[test]
fn what_is_not_understood_is_not_passed_on() {
    for (view, reply) in [
        (View::Keys, "$3\r\na:1\r\n"),
        (View::Keys, "*1\r\n*1\r\n$3\r\na:1\r\n"),
        (View::Keys, "*1\r\n:1\r\n"),
        (View::Keys, "*1\r\n$3\r\na:1\r\n$3\r\na:2\r\n"),
        (View::Keys, "*2\r\n$3\r\na:1\r\n"),
        (View::Keys, "*1\r\n$-1\r\n"),
        (View::Keys, "~1\r\n$3\r\na:1\r\n"),
        (View::Keys, "*-1\r\n"),
        (View::Keys, ""),
        (View::Scan, "*3\r\n$1\r\n0\r\n*0\r\n*0\r\n"),
        (View::Scan, "*2\r\n:0\r\n*0\r\n"),
        (View::Scan, "*2\r\n$1\r\n0\r\n$3\r\na:1\r\n"),
    ] {
        let mut filter = KeyFilter::new(view, &state(RULES));
        filter.feed(reply.as_bytes());
        let mut out = BytesMut::new();
        filter.finish(&mut out);
        let shown = String::from_utf8(out.to_vec()).unwrap();
        assert!(shown.starts_with("-ERR redkeep:"), "{reply:?} became {shown:?}");
    }
}

#[test]
fn no_more_is_held_than_what_the_user_sees() {
    let mut filter = KeyFilter::new(View::Keys, &state(RULES));
    filter.feed(b"*20000\r\n");
    for number in 0..20_000 {
        let owner = if number % 1000 == 0 { "a" } else { "b" };
        filter.feed(format!("$7\r\n{owner}:{number:05}\r\n").as_bytes());
    }
    assert_eq!(filter.held(), 20 * "$7\r\na:00000\r\n".len());
}

#[test]
fn the_outbox_counts_what_is_gathered_and_gives_the_reply_at_its_end() {
    let outbox = Rc::new(Outbox::default());
    outbox.take_slot(0);
    let sink = FencedReply::new(outbox.clone(), KeyFilter::new(View::Keys, &state(RULES)));
    sink.deliver(Delivery::Part(b"*2\r\n$3\r\na:1\r\n$3"));
    assert_eq!(outbox.held(), "$3\r\na:1\r\n$3".len());
    assert_eq!(outbox.backlog(), 0);
    assert!(outbox.take_large());
    sink.deliver(Delivery::Reply(b"\r\nb:1\r\n"));
    assert!(outbox.is_settled());
    assert_eq!(outbox.held(), outbox.backlog());
    assert_eq!(outbox.flush(|ready| ready.split().to_vec()), b"*1\r\n$3\r\na:1\r\n");

    outbox.take_slot(0);
    let sink = FencedReply::new(outbox.clone(), KeyFilter::new(View::Keys, &state(RULES)));
    sink.deliver(Delivery::Part(b"*2\r\n$3\r\na:1\r\n$3"));
    sink.deliver(Delivery::InDoubt);
    assert!(!outbox.is_torn());
    assert!(outbox.flush(|ready| ready.split().to_vec()).starts_with(b"-INDOUBT"));
}

#[test]
fn messages_are_left_out_for_the_keys_that_they_tell_of() {
    let state = state(RULES);
    let user = state.user.unwrap();
    let frame = |mark: char, words: &[&str]| {
        let body: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("{mark}{}\r\n{body}", words.len())
    };
    for mark in ['*', '>'] {
        for (words, shown) in [
            (&["message", "news", "b:1"][..], true),
            (&["smessage", "news", "b:1"], true),
            (&["pmessage", "*", "news", "b:1"], true),
            (&["message", "__keyspace@0__:a:1", "set"], true),
            (&["message", "__keyspace@0__:b:1", "set"], false),
            (&["pmessage", "__key*", "__keyspace@0__:w:1", "set"], true),
            (&["pmessage", "__key*", "__keyspace@0__:b:1", "a:1"], false),
            (&["message", "__keyevent@0__:set", "a:1"], true),
            (&["message", "__keyevent@0__:set", "b:1"], false),
            (&["pmessage", "*", "__keyevent@5__:set", "r:1"], true),
            (&["pmessage", "*", "__keyevent@5__:set", "b:1"], false),
            (&["smessage", "__keyevent@5__:set", "b:1"], false),
            (&["pmessage", "*", "__subkeyspace@0__:a:1", "a:1"], false),
            (&["message", "news"], false),
            (&["pmessage", "*", "news"], false),
            (&["other", "news", "a:1"], false),
        ] {
            let frame = frame(mark, words);
            let seen = message(&user, frame.as_bytes());
            assert_eq!(seen.as_deref(), shown.then_some(frame.as_bytes()), "{words:?}");
        }
    }
    assert_eq!(message(&user, b"+1795321180.482322 [0 127.0.0.1:44374] \"GET\" \"a:1\"\r\n"), None);
}

#[test]
fn invalidations_tell_of_the_users_keys_only() {
    let state = state(RULES);
    let user = state.user.unwrap();
    let word = ">2\r\n$10\r\ninvalidate\r\n";
    for (told, seen) in [
        ("*1\r\n$3\r\na:1\r\n", Some("*1\r\n$3\r\na:1\r\n")),
        ("*3\r\n$3\r\na:1\r\n$3\r\nb:1\r\n$3\r\nr:1\r\n", Some("*2\r\n$3\r\na:1\r\n$3\r\nr:1\r\n")),
        ("*1\r\n$3\r\nb:1\r\n", None),
        ("_\r\n", Some("_\r\n")),
        ("*0\r\n", None),
        ("*1\r\n*1\r\n$3\r\na:1\r\n", None),
        ("$3\r\na:1\r\n", None),
    ] {
        let frame = format!("{word}{told}");
        let expected = seen.map(|seen| format!("{word}{seen}").into_bytes());
        assert_eq!(message(&user, frame.as_bytes()).map(Cow::into_owned), expected, "{told}");
    }
}
