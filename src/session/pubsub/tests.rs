use super::super::state::{Ends, SessionId, Transaction};
use super::*;
use crate::acl::{Defaults, parse_rules};
use crate::command::CommandTable;
use crate::policy::testing::{VERSIONS, policy, words};
use crate::resp::RequestBuf;

const USERS: &[(&str, &str)] = &[("app", "on nopass ~* &a* &b* +@all -get")];

const GATE: &str = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";

fn confirmation(word: &str, name: &str) -> Vec<u8> {
    format!("*3\r\n${}\r\n{word}\r\n${}\r\n{name}\r\n:1\r\n", word.len(), name.len()).into_bytes()
}

/// A session of `app` with a channel, a pattern and a shard channel.
fn subscriber(policy: &Policy, protocol: Protocol) -> State {
    let mut state = State::new(SessionId(7), Ends::default(), policy);
    state.user = policy.user(b"app").cloned();
    state.protocol = protocol;
    for (word, name) in [("subscribe", "a1"), ("psubscribe", "a*"), ("ssubscribe", "b1")] {
        state.subscriptions.confirm(&confirmation(word, name));
    }
    state
}

/// The action, and the reply without its CRLF.
fn outcome(policy: &Policy, state: &mut State, line: &str, settled: bool) -> String {
    let request = RequestBuf::from_args(&words(line));
    let (mut scratch, mut out) = (RequestBuf::default(), BytesMut::new());
    let action =
        super::super::step::step(policy, state, request.as_request(), &mut scratch, settled, &mut out);
    let action = match action {
        Action::Forward { route, then, .. } => format!("{route:?} {then:?}"),
        Action::Reply => String::new(),
        other => format!("{other:?}"),
    };
    format!("{action} {}", String::from_utf8_lossy(&out)).trim().to_owned()
}

#[test]
fn confirmations_make_and_end_subscriptions() {
    let policy = policy(Version::V7_0, USERS, &[]);
    let mut subscriptions = subscriber(&policy, Protocol::Resp2).subscriptions;
    assert_eq!(subscriptions.counts(), (1, 1, 1));
    for (word, name, counts) in [
        ("subscribe", "a1", (1, 1, 1)),
        ("subscribe", "a2", (2, 1, 1)),
        ("unsubscribe", "b1", (2, 1, 1)),
        ("unsubscribe", "a1", (1, 1, 1)),
        ("punsubscribe", "a1", (1, 1, 1)),
        ("punsubscribe", "a*", (1, 0, 1)),
        ("sunsubscribe", "b1", (1, 0, 0)),
        ("message", "a9", (1, 0, 0)),
        ("unsubscribe", "a2", (0, 0, 0)),
    ] {
        assert!(subscriptions.holds_link(), "before {word} {name}");
        subscriptions.confirm(&confirmation(word, name));
        assert_eq!(subscriptions.counts(), counts, "after {word} {name}");
    }
    assert!(!subscriptions.holds_link());
    for none in [
        &b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"[..],
        b">3\r\n$9\r\nsubscribe\r\n_\r\n:0\r\n",
        b"+OK\r\n",
    ] {
        subscriptions.confirm(none);
        assert_eq!(subscriptions.counts(), (0, 0, 0));
    }
    subscriptions.sent(Then::Confirmations { word: "subscribe", count: 1 });
    assert!(subscriptions.holds_link());
    subscriptions.settle();
    assert!(!subscriptions.holds_link());
}

#[test]
fn each_name_is_confirmed_once_and_all_of_a_kind_by_their_number() {
    let policy = policy(Version::V7_0, USERS, &[]);
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut state = subscriber(&policy, protocol);
        state.subscriptions.confirm(&confirmation("subscribe", "a2"));
        for (line, count) in [
            ("SUBSCRIBE a1 a1 a3", 3),
            ("PSUBSCRIBE a*", 1),
            ("ssubscribe b2 b3", 2),
            ("UNSUBSCRIBE none other", 2),
            ("UNSUBSCRIBE", 2),
            ("PUNSUBSCRIBE", 1),
            ("SUNSUBSCRIBE", 1),
        ] {
            let word = line.split(' ').next().unwrap().to_lowercase();
            let sent = format!("Leased Confirmations {{ word: \"{word}\", count: {count} }}");
            assert_eq!(outcome(&policy, &mut state, line, true), sent, "{line}");
            let unsettled = if line.contains(' ') { sent.as_str() } else { "Settle" };
            assert_eq!(outcome(&policy, &mut state, line, false), unsettled, "{line}");
        }
        let mut other = State::new(SessionId(8), Ends::default(), &policy);
        other.user = policy.user(b"app").cloned();
        assert!(outcome(&policy, &mut other, "UNSUBSCRIBE", true).ends_with("count: 1 }"));
        assert!(
            outcome(&policy, &mut other, "SUBSCRIBE c", true).starts_with("-NOPERM "),
            "the ACL comes first"
        );
        assert!(
            outcome(&policy, &mut other, "PSUBSCRIBE a1", true).starts_with("-NOPERM "),
            "patterns are literal"
        );
    }
}

#[test]
fn a_subscriber_of_resp2_may_do_little_else() {
    let policy = policy(Version::V7_0, USERS, &[]);
    let mut state = subscriber(&policy, Protocol::Resp2);
    let exec = format!("EndLease -EXECABORT Transaction discarded because of: Can't execute 'exec': {GATE}");
    for (line, expected) in [
        ("SET k v", format!("-ERR Can't execute 'set': {GATE}")),
        ("CLIENT ID", format!("-ERR Can't execute 'client|id': {GATE}")),
        ("HELLO 3", format!("-ERR Can't execute 'hello': {GATE}")),
        ("AUTH app x", format!("-ERR Can't execute 'auth': {GATE}")),
        ("MULTI", format!("-ERR Can't execute 'multi': {GATE}")),
        ("MONITOR", format!("-ERR Can't execute 'monitor': {GATE}")),
        ("EXEC", exec),
        ("GET k", "-NOPERM this user has no permissions to run the 'get' command".to_owned()),
        ("GET", "-ERR wrong number of arguments for 'get' command".to_owned()),
        ("PING x", "Leased AmidMessages".to_owned()),
        ("QUIT", "CloseAfterReply +OK".to_owned()),
        ("RESET", "EndLease +RESET".to_owned()),
    ] {
        if ["EXEC", "QUIT", "RESET"].contains(&line) {
            assert_eq!(outcome(&policy, &mut state, line, false), "Settle", "{line}");
        }
        assert_eq!(outcome(&policy, &mut state, line, true), expected, "{line}");
    }
    assert!(!state.subscriptions.holds_link());
}

#[test]
fn the_refusal_is_in_the_words_of_the_upstream() {
    let texts = VERSIONS.map(|version| {
        let policy = policy(version, USERS, &[]);
        outcome(&policy, &mut subscriber(&policy, Protocol::Resp2), "CONFIG GET x", true)
    });
    let ancient = "-ERR only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT allowed in this context";
    let old = "-ERR Can't execute 'config': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
               this context";
    let new = format!("-ERR Can't execute 'config|get': {GATE}");
    assert_eq!(texts, [ancient, ancient, old, &new, &new]);
}

#[test]
fn a_subscriber_of_resp3_works_on_but_stays_on_its_link() {
    let policy = policy(Version::V7_0, USERS, &[]);
    let mut state = subscriber(&policy, Protocol::Resp3);
    for settled in [true, false] {
        for (line, expected) in [
            ("SET k v", "Shared Nothing".to_owned()),
            ("PING", "Shared Nothing".to_owned()),
            ("BLPOP k 0", "Leased ReleaseAfterReply".to_owned()),
            ("WATCH k", "Leased Watch".to_owned()),
            ("MULTI", "Leased BeginTransaction".to_owned()),
            ("CLIENT ID", ":7".to_owned()),
            ("SELECT 0", "+OK".to_owned()),
        ] {
            assert_eq!(outcome(&policy, &mut state, line, settled), expected, "{line}");
        }
    }
    assert_eq!((state.db, state.protocol), (0, Protocol::Resp3));
    assert!(state.holds_link(), "what is Shared goes to the leased link");
    assert!(outcome(&policy, &mut state, "HELLO 3", true).starts_with("*4"), "the protocol stays");
    assert_eq!(outcome(&policy, &mut state, "QUIT", false), "Settle");
    // The link changes its protocol between two messages.
    assert_eq!(outcome(&policy, &mut state, "HELLO 2", false), "Settle");
    assert!(outcome(&policy, &mut state, "HELLO 2 AUTH nobody x", true).starts_with("-WRONGPASS"));
    assert!(outcome(&policy, &mut state, "HELLO 2", true).starts_with("Greet "));
    assert_eq!(state.protocol, Protocol::Resp2);
}

#[test]
fn nothing_is_decided_while_a_change_is_under_way() {
    let policy = policy(Version::V7_0, USERS, &[]);
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut state = State::new(SessionId(7), Ends::default(), &policy);
        state.user = policy.user(b"app").cloned();
        state.protocol = protocol;
        state.subscriptions.sent(Then::Confirmations { word: "subscribe", count: 1 });
        for line in
            ["SET k v", "PING", "QUIT", "RESET", "SELECT 1", "HELLO 2", "MULTI", "MONITOR", "UNSUBSCRIBE"]
        {
            assert_eq!(outcome(&policy, &mut state, line, false), "Settle", "{line}");
        }
        assert!(outcome(&policy, &mut state, "SUBSCRIBE a2", false).starts_with("Leased Confirmations"));
        assert_eq!(
            outcome(&policy, &mut state, "NOSUCH", false),
            "-ERR unknown command 'NOSUCH', with args beginning with:"
        );
    }
}

#[test]
fn in_a_transaction_a_change_is_refused_and_dooms_it() {
    let policy = policy(Version::V7_0, USERS, &[]);
    let mut state = subscriber(&policy, Protocol::Resp3);
    state.transaction =
        Transaction { queueing: true, generation: policy.generation(), ..Transaction::default() };
    let refused = "-ERR 'unsubscribe' inside MULTI is not available through redkeep";
    assert_eq!(outcome(&policy, &mut state, "UNSUBSCRIBE", false), refused);
    assert!(state.transaction.doomed);
    assert!(outcome(&policy, &mut state, "EXEC", true).starts_with("EndLease -EXECABORT"));
    assert!(state.subscriptions.holds_link(), "the subscriptions stay");
}

#[test]
fn a_changed_policy_judges_all_subscriptions_again() {
    let policy = policy(Version::V7_0, USERS, &[]);
    let table = CommandTable::builtin();
    for (rules, kept) in [
        ("&a* &b*", true),
        ("off &a* &b1", true),
        ("&*", true),
        ("resetchannels (&a* &b*)", true),
        ("&a1 &b1", false),
        ("&a* &c", false),
        ("&b* &*1", false),
        ("resetchannels", false),
    ] {
        let user = parse_rules("app", rules, Defaults::default(), &table).unwrap();
        let mut subscriptions = subscriber(&policy, Protocol::Resp2).subscriptions;
        assert!(subscriptions.may_be_kept(None), "nothing has changed");
        subscriptions.judge_again();
        assert_eq!(subscriptions.may_be_kept(Some(&user)), kept, "{rules}");
        subscriptions.judge_again();
        assert!(!subscriptions.may_be_kept(None), "nobody may keep a subscription of nobody");
    }
}

#[test]
fn what_was_under_way_when_the_policy_changed_is_judged_when_it_is_confirmed() {
    let policy = policy(Version::V7_0, USERS, &[]);
    let user = parse_rules("app", "&a* &b*", Defaults::default(), &CommandTable::builtin()).unwrap();
    let mut subscriptions = subscriber(&policy, Protocol::Resp2).subscriptions;
    subscriptions.sent(Then::Confirmations { word: "subscribe", count: 2 });
    subscriptions.judge_again();
    assert!(subscriptions.may_be_kept(Some(&user)));
    subscriptions.confirm(&confirmation("subscribe", "a5"));
    assert!(subscriptions.may_be_kept(Some(&user)));
    subscriptions.confirm(&confirmation("subscribe", "c"));
    subscriptions.settle();
    assert!(!subscriptions.may_be_kept(Some(&user)));
}

#[test]
fn while_changes_are_under_way_only_what_is_new_is_judged() {
    let policy = policy(Version::V7_0, USERS, &[]);
    let user = |rules| parse_rules("app", rules, Defaults::default(), &CommandTable::builtin()).unwrap();
    let mut subscriptions = subscriber(&policy, Protocol::Resp2).subscriptions;
    subscriptions.sent(Then::Confirmations { word: "subscribe", count: 9 });
    subscriptions.judge_again();
    assert!(subscriptions.may_be_kept(Some(&user("&a* &b*"))));
    // What was judged by this policy is not judged once more: who pipelines keeps the session in this state.
    let only_new = user("&b9");
    subscriptions.confirm(&confirmation("subscribe", "b9"));
    assert!(subscriptions.may_be_kept(Some(&only_new)));
    subscriptions.confirm(&confirmation("subscribe", "c"));
    subscriptions.confirm(&confirmation("unsubscribe", "c"));
    assert!(subscriptions.may_be_kept(Some(&only_new)), "it has ended already");
    subscriptions.confirm(&confirmation("psubscribe", "b9"));
    assert!(subscriptions.may_be_kept(Some(&only_new)));
    subscriptions.confirm(&confirmation("psubscribe", "b8"));
    assert!(!subscriptions.may_be_kept(Some(&only_new)), "a pattern that it may not have");
    subscriptions.settle();
    assert!(subscriptions.may_be_kept(Some(&only_new)));
    subscriptions.confirm(&confirmation("subscribe", "c"));
    assert!(subscriptions.may_be_kept(Some(&only_new)), "all that is under way was permitted by this policy");
}
