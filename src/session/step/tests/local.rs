//! Conversations with Redkeep alone. The replies are Redis 7.0.15's, unless the version says otherwise.

use super::*;

const NO_SUCH: &str = "-WRONGPASS invalid username-password pair or user is disabled.";
const NOAUTH: &str = "-NOAUTH Authentication required.";
const RANGE: &str = "-ERR value is not an integer or out of range";
const BAD_NAME: &str = "-ERR Client names cannot contain spaces, newlines or special characters.";

/// Each line is sent in the state that the lines before have left.
fn converse(version: Version, users: &[(&str, &str)], lines: &[(&str, &str)]) -> State {
    let policy = policy(version, users, &[]);
    let mut state = State::new(SessionId(7), Ends::default(), &policy);
    for (line, expected) in lines {
        let got = outcome(&policy, &mut state, line, true);
        assert_eq!(got, *expected, "`{line}` in {version:?}");
    }
    state
}

#[test]
fn auth_changes_the_user_or_nothing() {
    let state = converse(
        Version::V7_0,
        USERS,
        &[
            ("GET k", NOAUTH),
            ("ACL WHOAMI", NOAUTH),
            ("AUTH", "-ERR wrong number of arguments for 'auth' command"),
            ("AUTH bad", NO_SUCH),
            ("AUTH nobody pw", NO_SUCH),
            ("AUTH off pw", NO_SUCH),
            ("AUTH a b c", "-ERR syntax error"),
            ("GET k", NOAUTH),
            ("AUTH pw", "+OK"),
            ("ACL WHOAMI", "$7\r\ndefault"),
            ("AUTH app pw", "+OK"),
            ("ACL WHOAMI", "$3\r\napp"),
            ("AUTH app bad", NO_SUCH),
            ("ACL WHOAMI", "$3\r\napp"),
            ("AUTH admin anything", "+OK"),
            ("auth none pw", "+OK"),
            ("ACL WHOAMI", "-NOPERM this user has no permissions to run the 'acl|whoami' command"),
        ],
    );
    assert_eq!(state.user_name(), b"none");
}

#[test]
fn auth_without_a_name_needs_a_default_user_with_a_password() {
    let text = "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                configuration is correct?";
    let open = [("default", "on nopass ~* &* +@all")];
    converse(
        Version::V7_0,
        &open,
        &[("ACL WHOAMI", "$7\r\ndefault"), ("AUTH x", text), ("AUTH default x", "+OK")],
    );
}

#[test]
fn hello_answers_with_the_greeting_of_the_upstream() {
    let resp2 = "*4\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:7";
    let resp3 = "*4\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:7";
    let unauthenticated = "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
                           AUTH <user> <pass> option can be used to authenticate the client and select the RESP \
                           protocol version at the same time";
    let state = converse(
        Version::V7_0,
        USERS,
        &[
            ("HELLO", unauthenticated),
            ("HELLO 3", unauthenticated),
            ("HELLO 1", "-NOPROTO unsupported protocol version"),
            ("HELLO 4 AUTH app pw", "-NOPROTO unsupported protocol version"),
            ("HELLO x", "-ERR Protocol version is not an integer or out of range"),
            ("HELLO 03", "-ERR Protocol version is not an integer or out of range"),
            ("HELLO +3", "-ERR Protocol version is not an integer or out of range"),
            ("HELLO 3 AUTH app", "-ERR Syntax error in HELLO option 'AUTH'"),
            ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'"),
            ("HELLO 3 FOO\0x", "-ERR Syntax error in HELLO option 'FOO'"),
            ("HELLO 3 AUTH app bad", NO_SUCH),
            ("GET k", NOAUTH),
            ("HELLO 3 AUTH app pw SETNAME me", resp3),
            ("CLIENT GETNAME", "$2\r\nme"),
            ("HELLO", resp3),
            ("HELLO 3 SETNAME \u{7f}", BAD_NAME),
            ("CLIENT SETNAME ''", "+OK"),
            ("CLIENT GETNAME", "_"),
            ("HELLO 2 AUTH none pw auth app pw", resp2),
            ("ACL WHOAMI", "$3\r\napp"),
            ("CLIENT GETNAME", "$-1"),
            ("HELLO 3 AUTH admin x AUTH app bad", NO_SUCH),
        ],
    );
    assert_eq!(state.protocol, Protocol::Resp2, "a HELLO that failed changes no protocol");
    assert_eq!(state.user_name(), b"admin", "in 7.0 options act one by one");
}

/// Since 7.2 the options are read before any of them acts.
#[test]
fn a_hello_of_7_2_that_fails_changes_nothing() {
    let text = "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
                <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
                the same time";
    let state = converse(
        Version::V7_2,
        USERS,
        &[
            ("HELLO 3", text),
            ("HELLO 3 AUTH app pw FOO", "-ERR Syntax error in HELLO option 'FOO'"),
            ("HELLO 3 AUTH app pw SETNAME \u{7f}", BAD_NAME),
            ("HELLO 3 SETNAME me", text),
            ("HELLO 3 SETNAME me AUTH app bad", NO_SUCH),
            ("GET k", NOAUTH),
        ],
    );
    assert!(state.user.is_none() && state.name.is_empty());
    assert_eq!(state.protocol, Protocol::Resp2);
}

#[test]
fn select_picks_a_database_that_exists() {
    let state = converse(
        Version::V7_0,
        USERS,
        &[
            ("AUTH pw", "+OK"),
            ("SELECT 15", "+OK"),
            ("SELECT 16", "-ERR DB index is out of range"),
            ("SELECT -1", "-ERR DB index is out of range"),
            ("SELECT x", RANGE),
            ("SELECT ''", RANGE),
            ("SELECT 01", RANGE),
            ("SELECT +1", RANGE),
            ("SELECT 99999999999999999999", RANGE),
            (
                "SELECT 4294967296",
                "-ERR value is out of range, value must between -2147483648 and 2147483647",
            ),
        ],
    );
    assert_eq!(state.db, 15);
    assert_eq!(state.link_key().db, 15);
}

#[test]
fn clients_have_names_of_their_own() {
    converse(
        Version::V7_0,
        USERS,
        &[
            ("AUTH app pw", "+OK"),
            ("CLIENT ID", ":7"),
            ("CLIENT GETNAME", "$-1"),
            ("CLIENT SETNAME me", "+OK"),
            ("CLIENT SETNAME a\nb", BAD_NAME),
            ("CLIENT SETNAME \u{ff}", BAD_NAME),
            ("CLIENT GETNAME", "$2\r\nme"),
            ("CLIENT SETINFO lib-name redis-py", "+OK"),
            ("CLIENT SETINFO LIB-VER 5.0", "+OK"),
            (
                "CLIENT SETINFO Lib-Name a\nb",
                "-ERR Lib-Name cannot contain spaces, newlines or special characters.",
            ),
            ("CLIENT SETINFO nosuch x", "-ERR Unrecognized option 'nosuch'"),
            (
                "CLIENT INFO",
                "$249\r\nid=7 addr= laddr= fd=0 name=me age=0 idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 \
                 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r \
                 cmd=client|info user=app redir=-1 resp=2 lib-name=redis-py lib-ver=5.0\n",
            ),
            ("RESET", "EndLease +RESET"),
            ("CLIENT GETNAME", NOAUTH),
            ("AUTH app pw", "+OK"),
            ("CLIENT GETNAME", "$-1"),
        ],
    );
}

#[test]
fn reset_goes_back_to_the_beginning_and_keeps_the_library() {
    let state = converse(
        Version::V7_0,
        USERS,
        &[
            ("HELLO 3 AUTH app pw SETNAME me", "*4\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:7"),
            ("SELECT 3", "+OK"),
            ("CLIENT SETINFO lib-name x", "+OK"),
            ("RESET", "EndLease +RESET"),
        ],
    );
    assert!(state.user.is_none() && state.name.is_empty());
    assert_eq!((state.db, state.protocol, &*state.lib_name), (0, Protocol::Resp2, b"x".as_slice()));
}

/// The greeting and the number of databases are the upstream's, so they have to wait for it.
#[test]
fn before_the_first_contact_only_what_needs_no_upstream_is_answered() {
    let table = crate::command::CommandTable::builtin();
    let users = USERS
        .iter()
        .map(|(name, rules)| {
            crate::acl::parse_rules(name, rules, crate::acl::Defaults::default(), &table).unwrap()
        })
        .collect();
    let policy = Policy::new(None, table, crate::policy::Gates::default(), users);
    let mut state = State::new(SessionId(7), Ends::default(), &policy);
    for (line, expected) in [
        ("AUTH app pw", "+OK"),
        ("HELLO 3", NOT_SENT),
        ("SELECT 1", NOT_SENT),
        ("CLIENT ID", ":7"),
        ("GET other", "-NOPERM No permissions to access a key"),
        ("GET app:k", "Shared Nothing"),
    ] {
        assert_eq!(outcome(&policy, &mut state, line, true), expected, "{line}");
    }
    assert_eq!(state.db, 0);
}

#[test]
fn a_newer_policy_brings_the_user_of_the_same_name() {
    let old = policy(Version::V7_0, USERS, &[]);
    let mut state = state(&old, "app");
    let newer = policy(Version::V7_0, &[("default", "off"), ("app", "on >pw -@all")], &[]);
    let newer = old.replaced_by(&newer);
    assert!(state.refresh(&newer));
    assert_eq!(
        outcome(&newer, &mut state, "GET app:k", true),
        "-NOPERM this user has no permissions to run the 'get' command"
    );
    let mut without = newer.clone();
    assert!(without.remove_user(b"app"));
    assert!(!state.refresh(&without), "the user is gone");
    let namesake = without.with_user((**old.user(b"app").unwrap()).clone());
    assert!(!state.refresh(&namesake), "another one has the name");
    state.user = None;
    assert!(state.refresh(&without), "nobody cannot go");
    assert!(state.user.is_none(), "and is not logged in by a reload");
}
