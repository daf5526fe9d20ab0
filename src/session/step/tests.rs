use proptest::prelude::*;

use super::super::pause::Hold;
use super::super::state::{Ends, SessionId, Transaction};
use super::super::transaction::sent;
use super::*;
use crate::command::CommandTable;
use crate::policy::testing::{policy, words};
use crate::policy::{Proof, Version};
use crate::resp::Protocol;

const USERS: &[(&str, &str)] = &[
    ("default", "on >pw ~* &* +@all"),
    ("admin", "on >pw nopass ~* &* +@all"),
    ("app", "on >pw ~app:* &app:* +@all -@dangerous"),
    ("none", "on >pw -@all"),
    ("off", "off >pw ~* +@all"),
];

const NOT_SENT: &str = "-LOADING redkeep: upstream unavailable, command not sent";
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.";
const LOST: &str = "-EXECABORT Transaction discarded because of: upstream connection lost";
const UNKNOWN_NO_TOUCH: &str = "-ERR unknown subcommand 'NO-TOUCH'. Try CLIENT HELP.";
const RULES_CHANGED: &str =
    "-EXECABORT Transaction discarded because of: the policy changed between MULTI and EXEC";

const IDLE: Transaction = Transaction {
    queueing: false,
    doomed: false,
    watching: false,
    confirmed: false,
    lost: false,
    login_failed: false,
    generation: 0,
};
const QUEUEING: Transaction = Transaction { queueing: true, ..IDLE };
const WATCHING: Transaction = Transaction { watching: true, ..IDLE };
const STATES: &[(&str, Transaction)] = &[
    ("idle", IDLE),
    ("queueing", QUEUEING),
    ("doomed", Transaction { doomed: true, ..QUEUEING }),
    ("lost", Transaction { lost: true, ..QUEUEING }),
    ("stale", Transaction { generation: 7, ..QUEUEING }),
    ("stale and doomed", Transaction { generation: 7, doomed: true, ..QUEUEING }),
    ("watching", WATCHING),
    ("watching lost", Transaction { lost: true, ..WATCHING }),
    ("queueing and watching lost", Transaction { lost: true, queueing: true, ..WATCHING }),
];

fn transaction(name: &str) -> Transaction {
    STATES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no state {name}")).1
}

fn state(policy: &Policy, user: &str) -> State {
    let mut state = State::new(SessionId(7), Ends::default(), policy);
    state.become_user(policy, policy.user(user.as_bytes()), Proof::Password);
    state
}

#[test]
fn commands_that_a_step_treats_on_its_own_are_not_plain() {
    let table = CommandTable::builtin();
    let plain =
        |name: &str| is_plain_command(table.find(name.as_bytes()).unwrap_or_else(|| panic!("no {name}")));
    for name in ["get", "set", "mget", "hgetall", "zadd", "xadd", "expire"] {
        assert!(plain(name), "{name}");
    }
    for name in [
        "config|get",
        "config|set",
        "info",
        "scan",
        "keys",
        "publish",
        "spublish",
        "pubsub|channels",
        "subscribe",
        "monitor",
        "psync",
        "replconf",
        "client|tracking",
        "client|caching",
        "client|no-touch",
        "multi",
        "exec",
        "discard",
        "watch",
        "unwatch",
        "select",
        "auth",
        "hello",
        "reset",
        "quit",
        "acl|setuser",
        "client|kill",
        "blpop",
        "xread",
        "wait",
        "eval",
        "fcall",
        "debug",
        "module|load",
        "shutdown",
    ] {
        assert!(!plain(name), "{name}");
    }
}

/// The action, and the reply without its CRLF.
fn outcome(policy: &Policy, state: &mut State, line: &str, settled: bool) -> String {
    let request = RequestBuf::from_args(&words(line));
    let (mut scratch, mut out) = (RequestBuf::default(), BytesMut::new());
    let action = match step(policy, state, request.as_request(), &mut scratch, settled, &mut out) {
        Action::Administer { .. } => "Administer".to_owned(),
        Action::Close => "Close".to_owned(),
        Action::CloseAfterReply => "CloseAfterReply".to_owned(),
        Action::CutOff => "CutOff".to_owned(),
        Action::EndLease => "EndLease".to_owned(),
        Action::Forward { route, then, .. } => format!("{route:?} {then:?}"),
        Action::Greet => "Greet".to_owned(),
        Action::Hold => "Hold".to_owned(),
        Action::Execute { plan, .. } if !plan.again => "Execute".to_owned(),
        Action::Execute { plan: Plan { errors, .. }, .. } => {
            let shown = |error: &Option<Vec<u8>>| match error {
                Some(text) => {
                    String::from_utf8_lossy(text).rsplit(": ").next().unwrap_or_default().to_owned()
                }
                None => "run".to_owned(),
            };
            format!("Again {:?}", errors.iter().map(shown).collect::<Vec<_>>())
        }
        Action::Reply => String::new(),
        Action::Settle => "Settle".to_owned(),
    };
    let reply = String::from_utf8(out.to_vec()).unwrap();
    let reply = reply.strip_suffix("\r\n").unwrap_or(&reply);
    [action.as_str(), reply].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_sent_in_a_row_would_be_sent_just_so_by_itself() {
    let policy = policy(Version::NEWEST, USERS, &[]);
    let mut rows = 0;
    for spec in CommandTable::builtin().specs() {
        let mut line = spec.name.replace('|', " ");
        while line.split(' ').count() < usize::from(spec.arity.unsigned_abs()) {
            line.push_str(" app:1");
        }
        for user in ["admin", "app", "none"] {
            let mut state = state(&policy, user);
            assert!(state.is_plain());
            let request = RequestBuf::from_args(&words(&line));
            let (mut last, mut scratch) = (LastName::default(), RequestBuf::default());
            if step_plain(&policy, &mut last, &mut state, request.as_request(), &mut scratch).is_some() {
                assert_eq!(outcome(&policy, &mut state, &line, true), "Shared Nothing", "{user}: {line}");
                rows += 1;
            }
        }
    }
    assert!(rows > 200, "{rows} only");
}

/// State, request, whether all earlier requests are answered, outcome, state after (`=`: the same).
type Row<'a> = (&'a str, &'a str, bool, &'a str, &'a str);

fn assert_rows(user: &str, rows: &[Row<'_>]) {
    let policy = policy(Version::V7_0, USERS, &[("EXEC", "RunAll"), ("KEYS", "")]);
    for (before, line, settled, expected, after) in rows {
        let mut state = state(&policy, user);
        state.transaction = transaction(before);
        let got = outcome(&policy, &mut state, line, *settled);
        assert_eq!(got, *expected, "`{line}` when {before}, settled {settled}");
        let after = if *after == "=" { before } else { after };
        assert_eq!(state.transaction, transaction(after), "`{line}` when {before}, settled {settled}");
    }
}

#[test]
fn transaction_commands_do_what_the_state_asks_for() {
    let aborted = format!("EndLease {ABORTED}");
    let lost = format!("EndLease {LOST}");
    let changed = format!("EndLease {RULES_CHANGED}");
    assert_rows(
        "app",
        &[
            ("idle", "MULTI", false, "Leased BeginTransaction", "="),
            ("idle", "RUNALL", true, "-ERR EXEC without MULTI", "="),
            ("idle", "DISCARD", false, "-ERR DISCARD without MULTI", "="),
            ("idle", "WATCH app:k", false, "Leased Watch", "="),
            ("idle", "UNWATCH", false, "+OK", "="),
            ("queueing", "RUNALL", false, "Leased EndTransaction", "="),
            ("queueing", "runall", true, "Leased EndTransaction", "="),
            ("queueing", "DISCARD", false, "Leased EndTransaction", "="),
            // The upstream says that they do not nest.
            ("queueing", "MULTI", false, "Leased Nothing", "="),
            ("queueing", "WATCH app:k", false, "Leased Nothing", "="),
            ("queueing", "UNWATCH", false, "Leased Queued(Plain)", "="),
            ("queueing", "GET app:k", false, "Leased Queued(Plain)", "="),
            ("queueing", "BLPOP app:k 0", false, "Leased Queued(Plain)", "="),
            ("queueing", "XREAD STREAMS app:k 0", false, "Leased Queued(Plain)", "="),
            ("doomed", "RUNALL", true, &aborted, "idle"),
            ("doomed", "RUNALL", false, "Settle", "="),
            ("doomed", "DISCARD", false, "Leased EndTransaction", "="),
            ("doomed", "GET app:k", false, "Leased Queued(Plain)", "="),
            ("lost", "RUNALL", true, &lost, "idle"),
            ("lost", "RUNALL", false, "Settle", "="),
            ("lost", "DISCARD", true, "EndLease +OK", "idle"),
            ("lost", "DISCARD", false, "Settle", "="),
            ("lost", "GET app:k", true, NOT_SENT, "="),
            ("lost", "MULTI", true, NOT_SENT, "="),
            ("lost", "WATCH app:k", true, NOT_SENT, "="),
            ("lost", "CLIENT ID", true, NOT_SENT, "="),
            ("stale", "RUNALL", true, &changed, "idle"),
            ("stale", "RUNALL", false, "Settle", "="),
            ("stale", "DISCARD", false, "Leased EndTransaction", "="),
            ("stale", "GET app:k", false, "Leased Queued(Plain)", "="),
            ("stale and doomed", "RUNALL", true, &aborted, "idle"),
            ("watching", "MULTI", false, "Leased BeginTransaction", "="),
            ("watching", "WATCH app:k", false, "Leased Watch", "="),
            ("watching", "UNWATCH", false, "Leased EndWatch", "="),
            ("watching", "GET app:k", false, "Shared Nothing", "="),
            ("watching", "RUNALL", true, "-ERR EXEC without MULTI", "="),
            ("watching", "CLIENT ID", true, ":7", "="),
            // Its link follows with the next request.
            ("watching", "SELECT 1", true, "+OK", "="),
            ("watching", "CLIENT NO-TOUCH ON", false, UNKNOWN_NO_TOUCH, "="),
            ("queueing", "SELECT 1", false, "Leased Queued(Local(Select(1)))", "="),
            ("queueing", "SELECT 99", false, "Leased Queued(Local(Nothing))", "="),
            ("queueing", "HELLO 3", true, "Leased Queued(Local(Hello(Resp3)))", "="),
            ("queueing", "HELLO 3 AUTH app wrong", true, "Leased Queued(Local(Nothing))", "="),
            ("queueing", "HELLO", true, "Leased Queued(Local(Nothing))", "="),
            ("queueing", "AUTH app pw", false, "Leased Queued(Local(Nothing))", "="),
            ("queueing", "CLIENT ID", true, "Leased Queued(Local(Nothing))", "="),
            ("queueing", "ACL WHOAMI", true, "Leased Queued(Local(Nothing))", "="),
            ("queueing", "CLIENT TRACKING ON", true, "Leased Queued(Track)", "="),
            ("queueing", "CLIENT GETREDIR", true, "Leased Queued(Plain)", "="),
            ("stale", "CLIENT ID", true, "Leased Queued(Local(Nothing))", "="),
            ("lost", "SELECT 1", true, NOT_SENT, "="),
            ("watching lost", "UNWATCH", false, "+OK", "idle"),
            ("watching lost", "WATCH app:k", true, NOT_SENT, "="),
            ("watching lost", "MULTI", true, "+OK", "queueing and watching lost"),
            ("queueing and watching lost", "GET app:k", true, NOT_SENT, "="),
            ("queueing and watching lost", "RUNALL", true, &lost, "idle"),
        ],
    );
}

#[test]
fn every_state_can_be_left_by_reset_and_quit() {
    for (name, _) in STATES {
        assert_rows(
            "app",
            &[
                (name, "RESET", true, "EndLease +RESET", "idle"),
                (name, "RESET", false, "Settle", "="),
                (name, "QUIT", false, "CloseAfterReply +OK", "="),
                (name, "POST / HTTP/1.1", false, "CutOff", "="),
            ],
        );
    }
}

#[test]
fn a_refused_command_dooms_the_transaction() {
    let texts = [
        ("NOSUCH", "-ERR unknown command 'NOSUCH', with args beginning with: "),
        ("EXEC", "-ERR unknown command 'EXEC', with args beginning with: "),
        ("KEYS *", "-ERR unknown command 'KEYS', with args beginning with: '*' "),
        ("CONFIG NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CONFIG HELP."),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("GET other", "-NOPERM this user has no permissions to access one of the keys used as arguments"),
        (
            "PUBLISH other m",
            "-NOPERM this user has no permissions to access one of the channels used as arguments",
        ),
        ("FLUSHALL", "-NOPERM this user has no permissions to run the 'flushall' command"),
        ("READONLY", "-ERR 'readonly' is not available through redkeep"),
        (
            "CLIENT TRACKING ON REDIRECT 1",
            "-ERR 'client tracking' with REDIRECT is not available through redkeep",
        ),
    ];
    for (line, text) in texts {
        assert_rows("app", &[("queueing", line, false, text, "doomed"), ("doomed", line, true, text, "=")]);
        assert_rows("app", &[("idle", line, false, text, "="), ("watching", line, true, text, "=")]);
    }
}

/// Queued at the upstream, EXEC would subscribe the link: replies and pushes that no request waits for.
#[test]
fn subscriptions_are_refused_in_a_transaction_alone() {
    for name in ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"] {
        let line = format!("{name} app:* app:x");
        let word = name.to_lowercase();
        let refused = format!("-ERR '{word}' inside MULTI is not available through redkeep");
        let sent = format!("Leased Confirmations {{ word: \"{word}\", count: 2 }}");
        assert_rows(
            "admin",
            &[
                ("idle", &line, true, &sent, "="),
                ("watching", &line, false, &sent, "="),
                ("queueing", &line, false, &refused, "doomed"),
            ],
        );
    }
}

#[test]
fn a_refused_exec_ends_the_transaction() {
    let denied = "EndLease -EXECABORT Transaction discarded because of: NOPERM this user has no permissions to run \
                  the 'exec' command";
    let arity =
        "EndLease -EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command";
    let noauth = "EndLease -EXECABORT Transaction discarded because of: NOAUTH Authentication required.";
    for (before, _) in STATES {
        assert_rows(
            "none",
            &[(before, "RUNALL", true, denied, "idle"), (before, "RUNALL", false, "Settle", "=")],
        );
        assert_rows(
            "app",
            &[(before, "RUNALL x", true, arity, "idle"), (before, "RUNALL x", false, "Settle", "=")],
        );
        assert_rows(
            "",
            &[(before, "RUNALL", true, noauth, "idle"), (before, "RUNALL", false, "Settle", "=")],
        );
    }
}

#[test]
fn a_request_that_was_sent_changes_the_transaction() {
    let policy = policy(Version::V7_0, USERS, &[]);
    for (before, then, after) in [
        ("idle", Then::BeginTransaction, QUEUEING),
        ("watching", Then::BeginTransaction, Transaction { queueing: true, ..WATCHING }),
        ("stale and doomed", Then::BeginTransaction, QUEUEING),
        ("queueing", Then::EndTransaction, IDLE),
        ("doomed", Then::EndTransaction, IDLE),
        ("watching", Then::EndWatch, IDLE),
        ("idle", Then::Watch, WATCHING),
        ("queueing", Then::Queued(Part::Plain), QUEUEING),
        ("queueing", Then::Nothing, QUEUEING),
        ("idle", Then::ReleaseAfterReply, IDLE),
    ] {
        let mut state = state(&policy, "app");
        state.transaction = transaction(before);
        let request = RequestBuf::from_args(&["GET", "app:k"]);
        let mut scratch = RequestBuf::default();
        let Verdict::Allow(judged) = policy.judge(state.facts(), request.as_request(), &mut scratch) else {
            panic!("app may read its keys");
        };
        sent(&mut state, then, judged, &policy);
        let queued = usize::from(then == Then::Queued(Part::Plain));
        assert_eq!(
            (state.queue.entries.len(), state.queue.count),
            (queued, queued),
            "{then:?} when {before}"
        );
        assert_eq!(state.transaction, after, "{then:?} when {before}");
    }
}

/// The rows of SEMANTICS for EXEC: what is no longer allowed is an error in its place, the rest runs.
#[test]
fn exec_judges_the_queue_again_when_the_policy_has_changed() {
    let before = policy(Version::V7_0, USERS, &[]);
    for (rules, lines, expected) in [
        ("~app:* &* +@all", &["GET app:k", "PUBLISH c m"][..], "Leased EndTransaction"),
        (
            "~app:* &* +@all",
            &["GET app:k", "GET other"],
            r#"Again ["run", "no permission to touch the specified keys"]"#,
        ),
        (
            "~* &* -@all +exec",
            &["GET app:k"],
            r#"Again ["no permission to execute the command or subcommand"]"#,
        ),
        (
            "~* +@all",
            &["PUBLISH c m", "GET app:k"],
            r#"Again ["no permission to access one of the channels used as arguments", "run"]"#,
        ),
        (
            "~* &* -@all +get",
            &["GET app:k"],
            "EndLease -EXECABORT Transaction discarded because of: NOPERM this user has no permissions to run the 'exec' command",
        ),
    ] {
        let mut state = state(&before, "admin");
        sent_line(&before, &mut state, "MULTI", Then::BeginTransaction);
        lines.iter().for_each(|line| sent_line(&before, &mut state, line, Then::Queued(Part::Plain)));
        let after = policy(Version::V7_0, &[("admin", &format!("on nopass {rules}"))], &[]);
        state.user = after.user(b"admin").cloned();
        // Another generation than the one at MULTI.
        state.transaction.generation = 7;
        assert_eq!(outcome(&after, &mut state, "EXEC", true), expected, "{rules}: {lines:?}");
    }
}

/// What a transaction changes about the session itself counts for what stands behind it.
#[test]
fn exec_judges_the_queue_by_who_and_where_the_session_is_by_then() {
    let policy = policy(Version::V7_0, USERS, &[]);
    for (lines, expected) in [
        (&["CLIENT ID", "GET other"][..], "Execute"),
        (&["INFO", "GET other"], "Execute"),
        (&["GET other", "AUTH app pw", "GET app:k"], "Execute"),
        (&["AUTH app wrong", "GET other"], "Execute"),
        (
            &["GET other", "AUTH app pw", "GET other", "PING"],
            r#"Again ["run", "run", "no permission to touch the specified keys", "run"]"#,
        ),
        (
            &["HELLO 2 AUTH none pw", "PING", "SELECT 1"],
            r#"Again ["run", "no permission to execute the command or subcommand", "run"]"#,
        ),
        (&["SELECT 1", "GET k"], "Execute"),
    ] {
        let mut state = state(&policy, "admin");
        sent_line(&policy, &mut state, "MULTI", Then::BeginTransaction);
        for line in lines {
            let request = RequestBuf::from_args(&words(line));
            let mut scratch = RequestBuf::default();
            let Verdict::Allow(judged) = policy.judge(state.facts(), request.as_request(), &mut scratch)
            else {
                panic!("{line} is allowed");
            };
            let part = super::super::queue::part(&policy, &state, judged);
            sent(&mut state, Then::Queued(part), judged, &policy);
        }
        let shown = format!("{state:?}");
        assert_eq!(outcome(&policy, &mut state, "EXEC", true), expected, "{lines:?}");
        state.command = None;
        state.notes.clear();
        assert_eq!(format!("{state:?}"), shown, "nothing has happened yet");
    }
}

#[test]
fn a_pause_holds_back_what_is_allowed_and_nothing_else() {
    let policy = policy(Version::V7_0, USERS, &[]);
    let writes =
        ["SET app:k 1", "PUBLISH app:c m", "PFCOUNT app:k", "BLPOP app:k 0", "GETDEL app:k", "DEL app:k"];
    let others = ["GET app:k", "PING", "CLIENT ID", "SELECT 1", "MULTI", "WATCH app:k", "RESET", "QUIT"];
    for (hold, held, free) in
        [(Hold::Writes, &writes[..], &others[..]), (Hold::All, &[&writes[..], &others].concat(), &[])]
    {
        for (line, expected) in
            held.iter().map(|line| (line, true)).chain(free.iter().map(|line| (line, false)))
        {
            let mut state = state(&policy, "app");
            state.hold = hold;
            assert_eq!(outcome(&policy, &mut state, line, true) == "Hold", expected, "{hold:?}: {line}");
        }
        for line in ["NOSUCH", "GET", "SET other 1", "FLUSHALL"] {
            let mut state = state(&policy, "app");
            state.hold = hold;
            assert!(outcome(&policy, &mut state, line, true).starts_with('-'), "{hold:?}: {line}");
        }
    }
    let mut admin = state(&policy, "admin");
    admin.hold = Hold::Writes;
    for (line, expected) in [
        ("EVAL x 0", "Hold"),
        ("EVAL #!lua 0", "Hold"),
        ("EVAL #!lua 0 no-writes", "Hold"),
        ("FCALL f 0", "Hold"),
        ("EVAL_RO x 0", "Leased ReleaseAfterReply"),
        ("SPUBLISH c m", "Hold"),
        ("CLIENT UNPAUSE", "Administer"),
    ] {
        assert_eq!(outcome(&policy, &mut admin, line, true), expected, "{line}");
    }
    let script = "#!lua flags=allow-stale,no-writes\nreturn 1";
    let request = RequestBuf::from_args(&["EVAL", script, "0"]);
    let (mut scratch, mut out) = (RequestBuf::default(), BytesMut::new());
    let action = step(&policy, &mut admin, request.as_request(), &mut scratch, true, &mut out);
    assert!(matches!(action, Action::Forward { .. }), "{action:?}");
    // EXEC counts as what it executes.
    for (line, expected) in [("GET k", "Leased EndTransaction"), ("SET k 1", "Hold")] {
        let mut admin = state(&policy, "admin");
        sent_line(&policy, &mut admin, "MULTI", Then::BeginTransaction);
        sent_line(&policy, &mut admin, line, Then::Queued(Part::Plain));
        admin.hold = Hold::Writes;
        assert_eq!(outcome(&policy, &mut admin, "EXEC", true), expected, "{line}");
    }
}

fn sent_line(policy: &Policy, state: &mut State, line: &str, then: Then) {
    let request = RequestBuf::from_args(&words(line));
    let mut scratch = RequestBuf::default();
    let Verdict::Allow(judged) = policy.judge(state.facts(), request.as_request(), &mut scratch) else {
        panic!("{line} is allowed");
    };
    sent(state, then, judged, policy);
}

#[test]
fn a_queue_that_is_too_large_or_was_renamed_is_not_judged_again() {
    let policy = policy(Version::V7_0, USERS, &[("KEYS", "")]);
    let renamed = self::policy_renamed();
    for (other, bytes) in [(&policy, 33 * 1024 * 1024), (&renamed, 1)] {
        let mut state = state(&policy, "app");
        sent_line(&policy, &mut state, "MULTI", Then::BeginTransaction);
        sent_line(
            &policy,
            &mut state,
            &format!("SET app:k {}", "x".repeat(bytes)),
            Then::Queued(Part::Plain),
        );
        state.transaction.generation = 7;
        let expected = format!("EndLease {RULES_CHANGED}");
        assert_eq!(outcome(other, &mut state, "EXEC", true), expected);
        assert_eq!(state.transaction, IDLE);
    }
}

#[test]
fn a_queue_is_as_large_as_what_it_takes_in_memory() {
    let policy = policy(Version::V7_0, USERS, &[]);
    let mut state = state(&policy, "app");
    let value = "x".repeat(64);
    sent_line(&policy, &mut state, "MULTI", Then::BeginTransaction);
    for number in 0..100_000 {
        let line = format!("SET app:{number} {value}");
        sent_line(&policy, &mut state, &line, Then::Queued(Part::Plain));
    }
    assert!(!state.queue.incomplete, "of honest use all is kept");
    assert!(state.queue.cost > 2 * state.queue.bytes);
    sent_line(&policy, &mut state, "MULTI", Then::BeginTransaction);
    assert_eq!(state.queue.cost, 0);
    // Short arguments take more than they are long.
    let many = format!("DEL{}", " app:k".repeat(100_000));
    while !state.queue.incomplete {
        sent_line(&policy, &mut state, "CLIENT ID", Then::Queued(Part::LEFT_OUT));
        sent_line(&policy, &mut state, &many, Then::Queued(Part::Plain));
        assert!(state.queue.cost <= 32 * 1024 * 1024);
    }
    assert!(state.queue.bytes < 16 * 1024 * 1024, "{}", state.queue.bytes);
    let kept = state.queue.cost;
    assert!((100..10_000).contains(&kept), "{kept} for those alone that Redkeep answers itself");
    sent_line(&policy, &mut state, "PING", Then::Queued(Part::Plain));
    assert_eq!(state.queue.cost, kept);
    let refused = "-ERR 'client id' in so large a transaction is not available through redkeep";
    assert_eq!(outcome(&policy, &mut state, "CLIENT ID", true), refused);
}

fn policy_renamed() -> Policy {
    policy(Version::V7_0, USERS, &[("KEYS", ""), ("SET", "put")])
}

/// DISCARD forgets the watches, so a queue that is to be sent anew cannot keep its promise.
#[test]
fn a_watched_transaction_that_lost_a_right_runs_nothing() {
    let before = policy(Version::V7_0, USERS, &[]);
    let after = policy(Version::V7_0, &[("admin", "on nopass ~a ~b -@all +get +exec")], &[]);
    for (protocol, null) in [(Protocol::Resp2, "*-1"), (Protocol::Resp3, "_")] {
        let mut state = state(&before, "admin");
        state.protocol = protocol;
        sent_line(&before, &mut state, "WATCH a", Then::Watch);
        sent_line(&before, &mut state, "MULTI", Then::BeginTransaction);
        sent_line(&before, &mut state, "SET b 1", Then::Queued(Part::Plain));
        state.user = after.user(b"admin").cloned();
        state.transaction.generation = 7;
        assert_eq!(outcome(&after, &mut state, "EXEC", true), format!("EndLease {null}"));
    }
}

#[test]
fn each_command_travels_on_the_link_that_it_needs() {
    let lines: &[(&str, &str)] = &[
        ("GET k", "Shared Nothing"),
        ("PUBLISH c m", "Shared Nothing"),
        ("CONFIG GET maxmemory", "Shared RewriteConfig"),
        ("INFO", "Shared AddInfo"),
        ("INFO Everything", "Shared AddInfo"),
        ("INFO server", "Shared Nothing"),
        ("BLPOP k 0", "Leased ReleaseAfterReply"),
        ("BLMOVE a b LEFT LEFT 0", "Leased ReleaseAfterReply"),
        ("BZMPOP 0 1 k MIN", "Leased ReleaseAfterReply"),
        ("XREAD STREAMS k 0", "Shared Nothing"),
        ("XREAD COUNT 1 STREAMS k 0", "Shared Nothing"),
        ("XREAD BLOCK 0 STREAMS k $", "Leased ReleaseAfterReply"),
        ("xread count 1 block 5 streams k $", "Leased ReleaseAfterReply"),
        // BLOCK is the name of a stream here.
        ("XREAD STREAMS BLOCK 0", "Shared Nothing"),
        ("XREADGROUP GROUP g c STREAMS k >", "Shared Nothing"),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS k >", "Leased ReleaseAfterReply"),
        ("XREADGROUP GROUP BLOCK c STREAMS k >", "Shared Nothing"),
        ("EVAL x 0", "Leased ReleaseAfterReply"),
        ("FCALL f 0", "Leased ReleaseAfterReply"),
        ("SHUTDOWN", "Leased ReleaseAfterReply"),
    ];
    for (line, expected) in lines {
        assert_rows("admin", &[("idle", line, true, expected, "="), ("idle", line, false, expected, "=")]);
    }
}

#[test]
fn every_local_command_has_an_answer_of_its_own() {
    let policy = policy(Version::V7_0, USERS, &[]);
    let mut seen = 0;
    for spec in policy.table().specs().iter().filter(|spec| spec.affinity == Affinity::Local) {
        let mut args: Vec<&str> = spec.name.split('|').collect();
        args.resize(args.len().max(usize::from(spec.arity.unsigned_abs())), "1");
        let got = outcome(&policy, &mut state(&policy, "admin"), &args.join(" "), true);
        assert!(!got.is_empty() && !got.contains("is not available"), "{}: {got}", spec.name);
        assert!(!got.starts_with("Shared") && !got.starts_with("Leased"), "{}: {got}", spec.name);
        seen += 1;
    }
    assert!(seen >= 11, "{seen}");
}

// === Properties ===

/// Requests of every kind; `cases` mixes them with all states and users.
const LINES: &[&str] = &[
    "GET app:k",
    "GET other",
    "GET",
    "SET app:k 1",
    "BLPOP app:k 0",
    "XREAD BLOCK 0 STREAMS app:k 0",
    "MULTI",
    "EXEC",
    "EXEC x",
    "DISCARD",
    "WATCH app:k",
    "WATCH other",
    "UNWATCH",
    "SELECT 3",
    "SELECT x",
    "AUTH app pw",
    "AUTH bad",
    "AUTH a b c",
    "HELLO",
    "HELLO 3",
    "HELLO 3 AUTH app pw SETNAME x",
    "HELLO 9",
    "RESET",
    "QUIT",
    "CLIENT ID",
    "CLIENT SETNAME x",
    "CLIENT SETINFO lib-name y",
    "CLIENT INFO",
    "CLIENT GETNAME",
    "CLIENT CACHING YES",
    "ACL WHOAMI",
    "ACL LIST",
    "SUBSCRIBE app:c",
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE app:*",
    "MONITOR",
    "EVAL x 0",
    "NOSUCH",
    "CONFIG NOSUCH",
    "CONFIG SET dir /",
    "DEBUG SLEEP 0",
    "POST /",
    "FLUSHALL",
    "PUBLISH app:c m",
    "SORT app:k BY x*",
];

proptest! {
    /// The session asks again after a Settle, and may fail to send after a Forward: nothing may have happened by then.
    #[test]
    fn a_request_that_is_sent_or_postponed_changes_nothing(
        before in 0..STATES.len(),
        user in prop::sample::select(vec!["", "default", "admin", "app", "none"]),
        line in prop::sample::select(LINES),
        settled in any::<bool>(),
        (subscribed, changing, resp3) in any::<(bool, bool, bool)>(),
    ) {
        let policy = policy(Version::V7_0, USERS, &[]);
        let mut state = state(&policy, user);
        state.transaction = STATES[before].1;
        state.protocol = if resp3 { Protocol::Resp3 } else { Protocol::Resp2 };
        if subscribed {
            state.subscriptions.confirm(b"*3\r\n$9\r\nsubscribe\r\n$5\r\napp:c\r\n:1\r\n");
        }
        if changing {
            state.subscriptions.sent(Then::Confirmations { word: "subscribe", count: 1 });
        }
        let shown = format!("{state:?}");
        let request = RequestBuf::from_args(&words(line));
        let (mut scratch, mut out) = (RequestBuf::default(), BytesMut::from("earlier"));
        match step(&policy, &mut state, request.as_request(), &mut scratch, settled, &mut out) {
            Action::Administer { .. } | Action::Forward { .. } | Action::Execute { .. } | Action::Hold | Action::Settle => {
                prop_assert_eq!(&*out, b"earlier");
                state.command = None;
                prop_assert_eq!(format!("{state:?}"), shown);
            }
            Action::Close | Action::CutOff => prop_assert_eq!(&*out, b"earlier"),
            Action::CloseAfterReply | Action::EndLease | Action::Greet | Action::Reply => {
                let reply = &out[b"earlier".len()..];
                let frame = crate::resp::ReplyScanner::new(1 << 20).scan(reply).unwrap().unwrap();
                prop_assert_eq!(frame.len, reply.len(), "exactly one reply: {:?}", reply);
            }
        }
        if settled {
            let again = outcome(&policy, &mut state, line, true);
            prop_assert!(again != "Settle", "a settled session never waits: {}", line);
        }
    }
}

mod local;
