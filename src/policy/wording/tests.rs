//! The expected bytes are those in `shared/facts/errors-*.md`: Redis 3.2.13, 5.0.14, 6.2.16, 7.0.15, 7.4.1 (7.2's words).

use super::super::testing::{VERSIONS, policy, words};
use super::*;
use crate::command::{CommandTable, Spec};
use crate::policy::ScriptDenial;

/// What all versions say, from 3.2 to 7.2.
fn same(text: &str) -> [String; 5] {
    std::array::from_fn(|_| text.to_owned())
}

/// What versions up to 6.2, 7.0, and those from 7.2 on say. Before 6.0 there was no ACL; 6.2's words stand in.
fn acl(v6: &str, v7_0: &str, v7_2: &str) -> [String; 5] {
    [v6, v6, v6, v7_0, v7_2].map(str::to_owned)
}

fn replies(reason: Reason<'_>, request: &[&[u8]]) -> [String; 5] {
    let request = crate::resp::RequestBuf::from_args(request);
    VERSIONS.map(|version| reason.reply(version, b"u", request.as_request()).escape_ascii().to_string())
}

fn line(text: &str) -> Vec<&[u8]> {
    words(text).into_iter().map(str::as_bytes).collect()
}

fn escaped(texts: &[String; 5]) -> [String; 5] {
    texts.clone().map(|text| text.as_bytes().escape_ascii().to_string())
}

#[test]
fn every_reason_has_the_words_of_its_version() {
    let table = CommandTable::builtin();
    let spec = |name: &str| -> &Spec { table.find(name.as_bytes()).unwrap() };
    let key = "NOPERM this user has no permissions to access one of the keys used as arguments";
    let channel = "NOPERM this user has no permissions to access one of the channels used as arguments";
    let denied = |container: &str, name: &str| {
        acl(
            &format!(
                "NOPERM this user has no permissions to run the '{container}' command or its subcommand"
            ),
            &format!("NOPERM this user has no permissions to run the '{name}' command"),
            &format!("NOPERM User u has no permissions to run the '{name}' command"),
        )
    };
    let guarded = |name: &str, option: &str| {
        same(&format!(
            "ERR {name} command not allowed. If the enable-{option}-command option is set to \"local\", you can run \
             it from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server."
        ))
    };
    let rows: Vec<(Reason<'_>, &str, [String; 5])> = vec![
        (Reason::Key(Some(1)), "GET x", acl(key, key, "NOPERM No permissions to access a key")),
        (
            Reason::Channel(1),
            "PUBLISH x m",
            acl(channel, channel, "NOPERM No permissions to access a channel"),
        ),
        (Reason::Database(0), "GET x", same("NOPERM No permissions to access database")),
        (Reason::Command(spec("set")), "SeT a 1", denied("set", "set")),
        (Reason::Command(spec("config|get")), "config GeT x", denied("config", "config|get")),
        (Reason::Arity(spec("get")), "GeT", same("ERR wrong number of arguments for 'get' command")),
        (Reason::Arity(spec("config")), "CONFIG", same("ERR wrong number of arguments for 'config' command")),
        (Reason::Unauthenticated(Some(spec("get"))), "GET x", same("NOAUTH Authentication required.")),
        (Reason::CrossProtocol, "POST /", same("")),
        (
            Reason::Bound(Exceeded { setting: "max_count", limit: 7, index: 2 }),
            "SpoP k 8",
            same("ERR redkeep: argument 2 of 'spop' is more than commands.bounds.max_count allows (7)"),
        ),
        (Reason::ProtectedCommand("DEBUG"), "DEBUG SLEEP 0", guarded("DEBUG", "debug")),
        (Reason::ProtectedCommand("MODULE"), "MODULE LOAD x", guarded("MODULE", "module")),
        (
            Reason::ProtectedConfig(2),
            "CONFIG SET DIR x",
            same("ERR CONFIG SET failed (possibly related to argument 'DIR') - can't set protected config"),
        ),
        (
            Reason::SortPattern("BY"),
            "SORT a BY x*",
            same("ERR BY option of SORT denied due to insufficient ACL permissions."),
        ),
        (
            Reason::SortPattern("GET"),
            "SORT a GET x*",
            same("ERR GET option of SORT denied due to insufficient ACL permissions."),
        ),
        (
            Reason::CredentialConfig,
            "CONFIG GET *",
            same("NOPERM the upstream's credentials cannot be read or changed through redkeep"),
        ),
        (
            Reason::Syntax(spec("zunion"), Rejection::NoInputKey),
            "ZUNION 0 a",
            acl(
                "ERR at least 1 input key is needed for zunion",
                "ERR at least 1 input key is needed for 'zunion' command",
                "ERR at least 1 input key is needed for 'zunion' command",
            ),
        ),
        (
            Reason::Syntax(spec("xread"), Rejection::UnbalancedStreams),
            "XREAD STREAMS a b 0",
            acl(
                "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
                "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
                "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.",
            ),
        ),
        (
            Reason::Syntax(spec("msetex"), Rejection::MissingPairs),
            "MSETEX 2 a 1",
            acl(key, key, "ERR syntax error"),
        ),
        (
            Reason::Script(ScriptDenial::Denied),
            "EVAL x 0",
            same(
                "NOPERM scripts and functions are denied to users with restricted rules, since redkeep cannot judge \
                 what they call (scripts.mode: deny); they need +@all ~* &*",
            ),
        ),
        (
            Reason::Unavailable(spec("client|list")),
            "CLIENT LIST",
            same("ERR 'client list' is not available through redkeep"),
        ),
    ];
    for (reason, request, expected) in rows {
        assert_eq!(replies(reason, &line(request)), escaped(&expected), "{request}");
    }
}

#[test]
fn unknown_commands_are_echoed_as_the_version_does() {
    let long = "x".repeat(300);
    let name = "N".repeat(300);
    let (a, b, c) = ("a".repeat(60), "b".repeat(60), "c".repeat(60));
    // Up to 6.2 the name was not cut; since 5.0 all arguments together are, quotes and separators counted.
    let cases: Vec<(Vec<&[u8]>, [&str; 4])> = vec![
        (
            vec![b"NOSUCHCMD", b"a", b"b"],
            [
                "'NOSUCHCMD'",
                "`NOSUCHCMD`, with args beginning with: `a`, `b`, ",
                "",
                "'NOSUCHCMD', with args beginning with: 'a' 'b' ",
            ],
        ),
        (
            vec![b"NOSUCH"],
            ["'NOSUCH'", "`NOSUCH`, with args beginning with: ", "", "'NOSUCH', with args beginning with: "],
        ),
        (
            vec![b"NOSUCH", b"a", b"b c", b"\0\r\n\"'"],
            [
                "'NOSUCH'",
                "`NOSUCH`, with args beginning with: `a`, `b c`, ``, ",
                "",
                "'NOSUCH', with args beginning with: 'a' 'b c' '' ",
            ],
        ),
        (
            vec![b"", b"x"],
            ["''", "``, with args beginning with: `x`, ", "", "'', with args beginning with: 'x' "],
        ),
        (
            vec![b"PI\0NG"],
            ["'PI'", "`PI`, with args beginning with: ", "", "'PI', with args beginning with: "],
        ),
    ];
    for (request, [v3, v5, _, v7]) in cases {
        let expected = [v3, v5, v5, v7, v7].map(|text| format!("ERR unknown command {text}"));
        assert_eq!(replies(Reason::UnknownCommand, &request), escaped(&expected));
    }
    let cut = "x".repeat(128);
    let v5 = format!("ERR unknown command `nosuch`, with args beginning with: `{cut}`, ");
    let v7 = format!("ERR unknown command 'nosuch', with args beginning with: '{cut}' ");
    let expected = ["ERR unknown command 'nosuch'".to_owned(), v5.clone(), v5, v7.clone(), v7];
    assert_eq!(replies(Reason::UnknownCommand, &[b"nosuch", long.as_bytes()]), escaped(&expected));

    let v5 = format!("ERR unknown command `nosuch`, with args beginning with: `{a}`, `{b}`, ");
    let v7 = format!("ERR unknown command 'nosuch', with args beginning with: '{a}' '{b}' 'cc' ");
    let expected = ["ERR unknown command 'nosuch'".to_owned(), v5.clone(), v5, v7.clone(), v7];
    let request = [b"nosuch".as_slice(), a.as_bytes(), b.as_bytes(), c.as_bytes()];
    assert_eq!(replies(Reason::UnknownCommand, &request), escaped(&expected));

    let v5 = format!("ERR unknown command `{name}`, with args beginning with: `x`, ");
    let v7 = format!("ERR unknown command '{}', with args beginning with: 'x' ", "N".repeat(128));
    let expected = [format!("ERR unknown command '{name}'"), v5.clone(), v5, v7.clone(), v7];
    assert_eq!(replies(Reason::UnknownCommand, &[name.as_bytes(), b"x"]), escaped(&expected));
}

/// Redis 3.2 has a text of its own for every container (`CONFIG subcommand must be one of GET, SET, …`); 5.0's stand in.
#[test]
fn unknown_subcommands_are_echoed_as_the_version_does() {
    let table = CommandTable::builtin();
    let long = "x".repeat(300);
    let spec = |name: &str| -> &Spec { table.find(name.as_bytes()).unwrap() };
    let old = |word: &str, rest: &str| {
        format!("ERR Unknown subcommand or wrong number of arguments for '{word}'. Try {rest}")
    };
    let new = |word: &str, rest: &str| format!("ERR unknown subcommand '{word}'. Try {rest}");
    for (container, request, v5, v6, v7) in [
        (
            "config",
            "CONFIG NOSUCH",
            old("NOSUCH", "CONFIG HELP."),
            old("NOSUCH", "CONFIG HELP."),
            new("NOSUCH", "CONFIG HELP."),
        ),
        ("config", "config ''", old("", "CONFIG HELP."), old("", "CONFIG HELP."), new("", "CONFIG HELP.")),
        (
            "config",
            &*format!("CONFIG {long}"),
            old(&long, "CONFIG HELP."),
            old(&long, "CONFIG HELP."),
            new(&"x".repeat(128), "CONFIG HELP."),
        ),
        // Two containers had no full stop in 5.0.
        (
            "client",
            "CLIENT NOSUCH",
            old("NOSUCH", "CLIENT HELP"),
            old("NOSUCH", "CLIENT HELP."),
            new("NOSUCH", "CLIENT HELP."),
        ),
        (
            "memory",
            "MEMORY NOSUCH",
            old("NOSUCH", "MEMORY HELP"),
            old("NOSUCH", "MEMORY HELP."),
            new("NOSUCH", "MEMORY HELP."),
        ),
        (
            "object",
            "OBJECT NOSUCH k",
            old("NOSUCH", "OBJECT HELP."),
            old("NOSUCH", "OBJECT HELP."),
            new("NOSUCH", "OBJECT HELP."),
        ),
    ] {
        let expected = [v5.clone(), v5, v6, v7.clone(), v7];
        let got = replies(Reason::UnknownSubcommand(spec(container)), &line(request));
        assert_eq!(got, escaped(&expected), "{request}");
    }
    // Before 7.0 a wrong number of arguments of a subcommand was the same error.
    let arity = |name| format!("ERR wrong number of arguments for '{name}' command");
    let expected = [
        old("GET", "CONFIG HELP."),
        old("GET", "CONFIG HELP."),
        old("GET", "CONFIG HELP."),
        arity("config|get"),
        arity("config|get"),
    ];
    assert_eq!(replies(Reason::Arity(spec("config|get")), &line("CONFIG GET")), escaped(&expected));
}

#[test]
fn an_echo_never_ends_the_reply_line() {
    let policy = policy(Version::V7_0, &[], &[]);
    let evil = b"a\r\n+OK\r\n".as_slice();
    let config = policy.table().find(b"config").unwrap();
    for reason in [Reason::UnknownCommand, Reason::UnknownSubcommand(config)] {
        for version in VERSIONS {
            let request = crate::resp::RequestBuf::from_args(&[evil, evil]);
            let mut out = bytes::BytesMut::new();
            crate::resp::encode::error(&mut out, &reason.reply(version, evil, request.as_request()));
            assert_eq!(out.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count(), 2, "{version:?}");
        }
    }
}

/// Redis 8.2.3; and MSETEX of 8.4 is not that of Valkey.
#[test]
fn newer_versions_have_words_of_their_own_for_streams_and_none_for_msetex() {
    let table = CommandTable::builtin();
    let request = crate::resp::RequestBuf::from_args(&["x"]);
    let said = |name: &str, rejection| {
        let reason = Reason::Syntax(table.find(name.as_bytes()).unwrap(), rejection);
        let reply = reason.reply(Version { major: 8, minor: 2 }, b"u", request.as_request());
        String::from_utf8(reply).unwrap()
    };
    assert_eq!(
        said("xread", Rejection::UnbalancedStreams),
        "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified."
    );
    assert_eq!(
        said("xreadgroup", Rejection::UnbalancedStreams),
        "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."
    );
    assert_eq!(said("msetex", Rejection::InvalidKeyCount), "NOPERM No permissions to access a key");
}
