use proptest::prelude::*;
use proptest::sample::select;

use super::super::testing::{ask, table, user};
use super::super::{Denial, SortOption, Unclear, parse_rules};
use super::*;
use crate::command::{Flags, Reported};

const KEY_1: Result<(), Denial> = Err(Denial::Key { index: 1 });
const CHANNEL_1: Result<(), Denial> = Err(Denial::Channel { index: 1 });
const COMMAND: Result<(), Denial> = Err(Denial::Command);

fn described(rules: &[&str]) -> String {
    String::from_utf8(user(rules, &table()).describe(Dialect::Redis70)).unwrap()
}

fn refused(rules: &[&str]) -> String {
    let table = table();
    let rules: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
    let error = User::new(b"t", Defaults::default(), &table).unwrap().set(&rules, &table).unwrap_err();
    String::from_utf8(error.reply()).unwrap()
}

// === texts ===

#[test]
fn refused_rules_have_the_texts_of_redis() {
    const UNKNOWN: &str = "Unknown command or category name in ACL";
    const SYNTAX: &str = "Syntax error";
    const HASH: &str =
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
    const NO_PASSWORD: &str = "The password you are trying to remove from the user does not exist";
    const SUB: &str = "Allowing first-arg of a subcommand is not supported";
    const KEYS: &str = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have \
                        any effect. Try 'resetkeys' to start with an empty list of patterns";
    const CHANNELS: &str = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does \
                            not have any effect. Try 'resetchannels' to start with an empty list of channels";
    let upper = format!("#{}", "A".repeat(64));
    let not_hex = format!("#{}", "g".repeat(64));
    let short = format!("#{}", "a".repeat(63));
    let absent = format!("!{}", "b".repeat(64));
    let cases: &[(&str, &[&str])] = &[
        (
            UNKNOWN,
            &[
                "+nosuch",
                "-nosuch",
                "-get|foo",
                "+config|nosuch",
                "-config|nosuch",
                "-config|get|x",
                "-config|",
            ],
        ),
        (
            UNKNOWN,
            &["+|", "+", "-", "+@", "-@", "+@nosuch", "-@nosuch", "-select|0", "+get|a|b", "+nosuch|x"],
        ),
        (
            UNKNOWN,
            &["-nosuch|x", "+module|nosuch", "+ get", "+get)", "(+nosuch)", "(+get))", "+get~a", "+@read|x"],
        ),
        (
            SYNTAX,
            &[
                "+config|", "+get|", "%", "%~", "%X~a", "%RX~a", "%RR~a", "%RRW~a", "%~a", "%Ra", "~a b",
                "~a\nb",
            ],
        ),
        (
            SYNTAX,
            &[
                "&a b",
                "sanitize",
                ")",
                "(~a) (~b)",
                "(+get (~a)",
                "((~a))",
                "(on)",
                "(>x)",
                "(reset)",
                " +get",
            ],
        ),
        (HASH, &["#", "#xyz", &upper, &not_hex, &short, "!xyz"]),
        (NO_PASSWORD, &["<pass", &absent]),
        (SUB, &["+config|get|x", "+config|get|"]),
        (KEYS, &["(~* ~a)"]),
        (CHANNELS, &["(&* &a)"]),
    ];
    for (text, tokens) in cases {
        for token in *tokens {
            assert_eq!(refused(&[token]), format!("Error in ACL SETUSER modifier '{token}': {text}"));
        }
    }
    assert_eq!(refused(&["~*", "~a"]), format!("Error in ACL SETUSER modifier '~a': {KEYS}"));
    assert_eq!(refused(&["allkeys", "%R~a"]), format!("Error in ACL SETUSER modifier '%R~a': {KEYS}"));
    assert_eq!(refused(&["&*", "&a"]), format!("Error in ACL SETUSER modifier '&a': {CHANNELS}"));
    assert_eq!(refused(&[">a", "<b"]), format!("Error in ACL SETUSER modifier '<b': {NO_PASSWORD}"));
    assert_eq!(refused(&["~a\0b"]), format!("Error in ACL SETUSER modifier '~a': {SYNTAX}"));
    assert_eq!(refused(&["(+get", "(~a)"]), format!("Error in ACL SETUSER modifier '(+get (~a)': {SYNTAX}"));
    for rules in [&["(+get", "~a"][..], &["on", "(+get"], &["(+get", "+nosuch"]] {
        assert_eq!(refused(rules), "Unmatched parenthesis in acl selector starting at '(+get'.");
    }
    assert_eq!(refused(&["(+get)x"]), "Unmatched parenthesis in acl selector starting at '(+get)x'.");
}

#[test]
fn what_redis_could_not_store_in_a_file_is_refused() {
    for rule in ["(~a'b)", "(\"~a\")", "(~a))", "(~a) ~b)", "+get|a b", "on\0x"] {
        assert!(refused(&[rule]).ends_with("Syntax error"), "{rule}");
    }
}

#[test]
fn users_are_described_as_acl_list_does() {
    let pass = "#d74ff0ee8da3b9806b18c877dbf29bbde50b5bd8e4dad7a3a725000feb82e8f1";
    let cases: &[(&[&str], &str)] = &[
        (&[], "off resetchannels -@all"),
        (&["+@ALL"], "off resetchannels +@all"),
        (&["ALLCOMMANDS", "nocommands"], "off resetchannels -@all"),
        (&["+Config|GET", "+GET"], "off resetchannels -@all +config|get +get"),
        (&["+select|0", "+select|1"], "off resetchannels -@all +select|0 +select|1"),
        (&["+get|x", "+get"], "off resetchannels -@all +get"),
        (&["+@READ", "-@read", "+get"], "off resetchannels -@all -@read +get"),
        (&["+@all", "-@dangerous", "+config|get", "+config"], "off resetchannels +@all -@dangerous +config"),
        (&["~"], "off ~ resetchannels -@all"),
        (&["%R"], "off %R~ resetchannels -@all"),
        (&["%WR~a*", "%r~b", "%w~c"], "off ~a* %R~b %W~c resetchannels -@all"),
        (&["%R~a", "%W~a"], "off ~a resetchannels -@all"),
        (&["~a", "~b", "resetkeys", "~c"], "off ~c resetchannels -@all"),
        (&["~a", "~*"], "off ~* resetchannels -@all"),
        (&["%R~*", "~a"], "off %R~* ~a resetchannels -@all"),
        (&["%RW~*"], "off %RW~* resetchannels -@all"),
        (&["%RW~*", "~a"], "off %RW~* ~a resetchannels -@all"),
        (&["&ch*", "&ch*", "&b"], "off resetchannels &ch* &b -@all"),
        (&["&a", "allchannels"], "off &* -@all"),
        (&[">pass", ">pass", "ON"], &format!("on {pass} resetchannels -@all")),
        (&["nopass", pass], &format!("off {pass} resetchannels -@all")),
        (&[">a", "nopass"], "off nopass resetchannels -@all"),
        (&[">a", "<a", "nopass", "resetpass"], "off resetchannels -@all"),
        (&["on", ">a", "~*", "(~a)", "+@all", "RESET"], "off sanitize-payload resetchannels -@all"),
        (&["skip-sanitize-payload"], "off skip-sanitize-payload resetchannels -@all"),
        (&["()"], "off resetchannels -@all (resetchannels -@all)"),
        (
            &["( +get ~a )", "(~b)"],
            "off resetchannels -@all (~a resetchannels -@all +get) (~b resetchannels -@all)",
        ),
        (&["(+get", "", "~a", "&b)", "on"], "on resetchannels -@all (~a resetchannels &b -@all +get)"),
        (&["(+get ~a)", "clearselectors", ""], "off resetchannels -@all"),
    ];
    for (rules, text) in cases {
        assert_eq!(described(rules), format!("user u {text}"), "{rules:?}");
    }
    let open = User::default_open(Defaults::default(), &table());
    assert_eq!(open.describe(Dialect::Redis70), b"user default on nopass ~* &* +@all");
    assert!(open.is_all_powerful());
}

#[test]
fn debug_output_has_neither_password_nor_hash() {
    let table = table();
    let user = user(&[">hunter2", "(~a)"], &table);
    let hash = PasswordHash::of(b"hunter2").to_hex();
    let error = user.set(&[b"<hunter3"], &table).unwrap_err();
    for text in [format!("{user:?}"), format!("{error:?}"), format!("{:?}", user.passwords())] {
        assert!(!text.contains("hunter") && !text.contains(&hash), "{text}");
    }
}

#[test]
fn names_have_no_white_space() {
    for name in ["", "a b", "a\nb", "a\0b", "a\tb"] {
        assert_eq!(
            User::new(name.as_bytes(), Defaults::default(), &table()).unwrap_err(),
            RuleError::BadName
        );
    }
    assert!(User::new(b"u|x\xff", Defaults::default(), &table()).is_ok());
}

#[test]
fn database_rules_have_the_texts_of_valkey() {
    const SYNTAX: &str = "Syntax error";
    const RANGE: &str = "The provided database ID is out of range";
    for (rule, error) in [
        ("db=", SYNTAX),
        ("db=,", SYNTAX),
        ("db=1,", SYNTAX),
        ("db=1,,2", SYNTAX),
        ("db=x,-1", SYNTAX),
        ("db=0x1", SYNTAX),
        ("db=+", SYNTAX),
        ("dbs=1", SYNTAX),
        ("db=-1,x", RANGE),
        ("db=2147483648", RANGE),
        ("db=99999999999999999999", RANGE),
        // What Valkey takes for 1.
        ("db= 1", SYNTAX),
        ("db=1\0,2", SYNTAX),
    ] {
        let shown = rule.split('\0').next().unwrap();
        assert_eq!(refused(&[rule]), format!("Error in ACL SETUSER modifier '{shown}': {error}"));
    }
    let table = table();
    for (rules, text) in [
        (&["alldbs"][..], "resetchannels -@all"),
        (&["db=3,+1,01,3,-0"], "resetchannels db=0,1,3 -@all"),
        (&["DB=2147483647"], "resetchannels db=2147483647 -@all"),
        (&["db=1", "db=2"], "resetchannels db=2 -@all"),
        (&["db=1", "AllDbs", "~a"], "~a resetchannels -@all"),
        (&["ResetDbs", "&*"], "&* resetdbs -@all"),
        (&["db=1", "reset"], "resetchannels -@all"),
        (&["db=1", "(db=2 +get)"], "resetchannels db=1 -@all (resetchannels db=2 -@all +get)"),
        (&["db=1", "(resetdbs)"], "resetchannels db=1 -@all (resetchannels resetdbs -@all)"),
    ] {
        let user = user(rules, &table);
        let line = String::from_utf8(user.describe(Dialect::Valkey91)).unwrap();
        assert_eq!(line, format!("user u off {text}"), "{rules:?}");
        let other = String::from_utf8(user.describe(Dialect::Redis72)).unwrap();
        assert_eq!(other, format!("user u off sanitize-payload {text}"), "a restriction is never left out");
    }
    assert_eq!(user(&["(db=1)"], &table).root().databases_text(), b"alldbs");
    assert_eq!(user(&["resetdbs"], &table).root().databases_text(), b"");
}

#[test]
fn each_dialect_prints_what_its_server_prints() {
    let table = table();
    let set = user(&["skip-sanitize-payload", "+select|AbC"], &table);
    for (dialect, fresh, line) in [
        (
            Dialect::Redis70,
            "user u off resetchannels -@all",
            "user u off skip-sanitize-payload resetchannels -@all +select|AbC",
        ),
        (
            Dialect::Redis72,
            "user u off sanitize-payload resetchannels -@all",
            "user u off skip-sanitize-payload resetchannels -@all +select|abc",
        ),
        (Dialect::Valkey91, "user u off resetchannels -@all", "user u off resetchannels -@all +select|abc"),
    ] {
        assert_eq!(String::from_utf8(user(&[], &table).describe(dialect)).unwrap(), fresh);
        assert_eq!(String::from_utf8(set.describe(dialect)).unwrap(), line);
    }
}

#[test]
fn channels_of_new_users_and_selectors_are_those_of_acl_pubsub_default() {
    let table = table();
    let open = User::new(b"u", Defaults { all_channels: true }, &table).unwrap();
    for (rules, text) in [
        (&[][..], "&* -@all"),
        (&[b"resetchannels".as_slice()], "resetchannels -@all"),
        (&[b"resetchannels", b"reset"], "sanitize-payload &* -@all"),
        (&[b"(+get)", b"resetchannels"], "resetchannels -@all (&* -@all +get)"),
        (&[b"(resetchannels &x)"], "&* -@all (resetchannels &x -@all)"),
    ] {
        let user = open.set(rules, &table).unwrap();
        assert_eq!(
            String::from_utf8(user.describe(Dialect::Redis70)).unwrap(),
            format!("user u off {text}"),
            "{rules:?}"
        );
    }
    for rule in ["&a", "(&a)"] {
        let error = open.set(&[rule.as_bytes()], &table).unwrap_err();
        assert_eq!(error.error, RuleError::ChannelAfterAll, "{rule}");
    }
}

// === names of modules ===

/// A table with commands `(name, category)`; a name with a bar follows its container.
fn with_modules(commands: &[(&str, &str)]) -> CommandTable {
    let mut reported: Vec<Reported> = Vec::new();
    for (name, category) in commands {
        let row = Reported {
            name: (*name).to_owned(),
            arity: -1,
            flags: Flags(0),
            categories: Some(vec![(*category).to_owned()]),
            keys: Some(Vec::new()),
            subcommands: Vec::new(),
        };
        match name.split_once('|') {
            Some(_) => reported.last_mut().unwrap().subcommands.push(row),
            None => reported.push(row),
        }
    }
    CommandTable::builtin().fitted(&reported)
}

#[test]
fn names_of_modules_are_kept_until_an_upstream_has_them() {
    let open = CommandTable::builtin();
    let rules = ["+@json", "-JSON.del", "+graph.query", "+mod.cmd|Sub", "+mod.one|First", "-mod.two|sub"];
    let written = user(&rules, &open);
    let text = b"user u off resetchannels -@all +@json -json.del +graph.query +mod.cmd|sub +mod.one|first -mod.two|sub";
    assert_eq!(written.describe(Dialect::Redis70), text);
    let missing = ["+@json", "-json.del", "+graph.query", "+mod.cmd|sub", "+mod.one|first", "-mod.two|sub"];
    assert_eq!(written.unknown_names(&open), [missing[1], missing[2], missing[3], missing[4], missing[5]]);
    assert_eq!(written.unknown_names(&table()), missing);
    let table = with_modules(&[
        ("json.get", "json"),
        ("json.del", "json"),
        ("graph.query", "graph"),
        ("mod.cmd", "mod"),
        ("mod.cmd|sub", "mod"),
        ("mod.cmd|other", "mod"),
        ("mod.one", "mod"),
        ("mod.two", "json"),
    ]);
    let user = written.rebased(&table);
    assert!(user.unknown_names(&table).iter().eq(["-mod.two|sub"].iter()));
    for (line, allowed) in [
        ("json.get a", true),
        ("JSON.DEL a", false),
        ("graph.query a", true),
        ("mod.cmd sub", true),
        ("mod.cmd other", false),
        ("mod.one FIRST", true),
        ("mod.one second", false),
        // Its subcommand is denied, and it turns out to have none.
        ("mod.two sub", false),
        ("mod.two x", false),
    ] {
        assert_eq!(ask(&user, line, &table).is_ok(), allowed, "{line}");
    }
    assert_eq!(user.describe(Dialect::Redis70), text, "what is written stays written");
    assert!(ask(&written.rebased(&self::table()).rebased(&table), "json.get a", &table).is_ok());
}

#[test]
fn a_table_that_knows_its_upstream_is_strict() {
    let table = with_modules(&[("json.get", "json"), ("mod.one", "extra")]);
    for rule in ["+@json", "-@extra", "+json.get", "-mod.one", "+mod.one|x"] {
        assert!(parse::rule(rule.as_bytes(), Defaults::default(), &table).is_ok(), "{rule}");
    }
    let open = CommandTable::builtin();
    for (table, rules) in [
        (&table, &["+@bloom", "-@search", "+graph.query", "-json.set", "-mod.one|x", "+graph.query|x"][..]),
        (
            &open,
            &[
                "+@extra",
                "-@graph",
                "+.query",
                "-graph.",
                "+a.b|c|d",
                "+a.b|",
                "-a.b|",
                "+get|a.b|c",
                "-g\"h.x",
            ],
        ),
    ] {
        for rule in rules {
            let fault = parse::rule(rule.as_bytes(), Defaults::default(), table).unwrap_err();
            assert_eq!(fault.error, RuleError::UnknownCommand, "{rule}");
        }
    }
}

#[test]
fn categories_are_found_by_name_where_bits_differ() {
    let one = with_modules(&[("a.x", "first"), ("b.y", "second")]);
    let other = with_modules(&[("b.y", "second"), ("a.x", "first")]);
    let user = user(&["+@all", "-@second"], &one);
    for table in [&one, &other] {
        let user = user.rebased(table);
        assert!(ask(&user, "a.x", table).is_ok());
        assert_eq!(ask(&user, "b.y", table), COMMAND);
    }
}

// === decisions ===

#[test]
fn decisions_are_those_of_redis() {
    let table = table();
    let cases: &[(&[&str], &str, Result<(), Denial>)] = &[
        (&[], "get a", COMMAND),
        (&["+get"], "GET a", KEY_1),
        (&["+get", "~a*"], "GeT ab", Ok(())),
        (&["+mget", "~a*"], "mget a ab x", Err(Denial::Key { index: 3 })),
        (&["+@all", "%W~a"], "get a", KEY_1),
        (&["+@all", "%W~a"], "set a 1", Ok(())),
        (&["+@all", "%W~a"], "set a 1 GET", KEY_1),
        (&["+@all", "%W~a", "%R~?"], "set a 1 get", KEY_1),
        (&["+@all", "%W~a"], "exists a", Ok(())),
        (&["+@all", "%R~a", "%W~b"], "copy a b", Ok(())),
        (&["+@all", "%R~a", "%W~b"], "copy a a", Err(Denial::Key { index: 2 })),
        (&["+config|get"], "config get x", Ok(())),
        (&["+config|get"], "config set x y", COMMAND),
        (&["+config"], "config set x y", Ok(())),
        (&["+config", "-config|set"], "config set x y", COMMAND),
        (&["+@admin", "-@dangerous"], "config get x", COMMAND),
        (&["-auth", "-@all"], "auth x", Ok(())),
        (&[], "quit", Ok(())),
        (&["+select|0"], "select 0", Ok(())),
        (&["+select|0"], "select 1", COMMAND),
        (&["+lolwut|Version"], "lolwut VERSION", Ok(())),
        (&["+lolwut|version"], "lolwut", COMMAND),
        (&["+select|0", "-@connection"], "select 0", COMMAND),
        (&["+@pubsub", "&a*"], "publish ab x", Ok(())),
        (&["+@pubsub", "&a*"], "publish b x", CHANNEL_1),
        (&["+@pubsub", "&a*"], "subscribe a b", Err(Denial::Channel { index: 2 })),
        (&["+@pubsub", "&a*"], "psubscribe a*", Ok(())),
        (&["+@pubsub", "&a*"], "psubscribe ab", CHANNEL_1),
        (&["+@pubsub", "allchannels"], "psubscribe ab*", Ok(())),
        (&["+sort", "~a"], "sort a by x*", Err(Denial::SortPattern { option: SortOption::By })),
        (&["+sort", "~a", "%R~*"], "sort a by x*", Ok(())),
        (&["+sort", "~a", "~**"], "sort a by x*", Err(Denial::SortPattern { option: SortOption::By })),
        (&["+sort", "~a", "(+sort ~*)"], "sort a by x*", Ok(())),
        (&["+sort", "~a", "(+sort ~b)"], "sort b by x*", Err(Denial::SortPattern { option: SortOption::By })),
        (&["+sort", "~a"], "sort b by x*", KEY_1),
        (&["+eval", "%RW~*"], "eval x y", Err(Denial::Unclear)),
        (&["+eval", "~a", "(+eval %W~*)"], "eval x y", Err(Denial::Unclear)),
        (&["+eval", "~*"], "eval x y", Ok(())),
        (&["+eval", "~*", "&*"], "eval x y", Ok(())),
        (&["~*", "&*"], "eval x y", COMMAND),
    ];
    for (rules, line, decision) in cases {
        assert_eq!(ask(&user(rules, &table), line, &table), *decision, "{rules:?}: {line}");
    }
}

#[test]
fn the_denial_reported_is_of_the_selector_that_got_furthest() {
    let table = table();
    let cases: &[(&[&str], &str, Result<(), Denial>)] = &[
        (&["+get", "(+mget ~a)"], "mget a b", Err(Denial::Key { index: 2 })),
        (&["+mget", "~a", "(+mget ~b)"], "mget a b", Err(Denial::Key { index: 2 })),
        (&["+mget", "~a", "~b", "(+mget ~a)"], "mget a b c", Err(Denial::Key { index: 3 })),
        (&["+mget", "~a", "(+mget ~a ~b)"], "mget a b c", Err(Denial::Key { index: 3 })),
        (&["+mset", "~a", "(+mset ~b)"], "mset a 1 b 2", Err(Denial::Key { index: 3 })),
        (&["+publish", "(+get ~*)"], "publish x y", CHANNEL_1),
        (&["~*", "(+get ~a)", "(+set ~b)"], "get b", KEY_1),
        (&["~*", "(+get ~a)", "(+set ~b)"], "mget b", COMMAND),
        (&["~*", "+set", "(+get ~a)"], "get b", KEY_1),
    ];
    for (rules, line, decision) in cases {
        assert_eq!(ask(&user(rules, &table), line, &table), *decision, "{rules:?}: {line}");
    }
}

#[test]
fn a_denial_stands_when_the_enumeration_ignores_the_break() {
    let table = table();
    let user = user(&["+mget", "~a"], &table);
    let request = crate::resp::RequestBuf::from_args(&["mget", "x", "a"]);
    let spec = table.find(b"mget").unwrap();
    let decision = user.permits(request.as_request(), spec, |visit| {
        for (index, key) in [(1, b"x"), (2, b"a")] {
            let _ = visit(super::super::Use::Key { index, key, access: crate::command::Access::READ });
        }
        Err(Unclear)
    });
    assert_eq!(decision, KEY_1);
}

#[test]
fn a_refused_change_changes_nothing() {
    let table = table();
    let before = user(&["on", "+get", "~a"], &table);
    assert!(before.set(&[b"off", b"+set", b"+nosuch"], &table).is_err());
    assert_eq!(
        before.describe(Dialect::Redis70),
        user(&["on", "+get", "~a"], &table).describe(Dialect::Redis70)
    );
}

#[test]
fn only_root_permissions_to_everything_are_all_powerful() {
    let table = table();
    for rules in [&["+@all", "~*", "&*"][..], &["&*", "+@all", "-get", "+get", "allkeys"]] {
        assert!(user(rules, &table).is_all_powerful(), "{rules:?}");
    }
    let less: [&[&str]; 7] = [
        &["+@all", "~*"],
        &["+@all", "~*", "&*", "-get"],
        &["+@all", "~*", "&*", "-config|get"],
        &["+@all", "%R~*", "&*"],
        &["(+@all ~* &*)"],
        &["+@all", "~*", "&*", "db=0"],
        &["+@all", "~*", "&*", "reset"],
    ];
    for rules in less {
        assert!(!user(rules, &table).is_all_powerful(), "{rules:?}");
    }
}

#[test]
fn subscriptions_are_kept_by_any_selector() {
    let user = user(&["&a*", "(&b)"], &table());
    assert!(user.permits_subscription(b"ax", false) && user.permits_subscription(b"b", false));
    assert!(user.permits_subscription(b"a*", true) && !user.permits_subscription(b"ax", true));
    assert!(!user.permits_subscription(b"c", false));
}

#[test]
fn a_user_follows_to_a_table_with_more_and_with_fewer_commands() {
    let full = table();
    let old = full.fitted(&[]);
    let all = user(&["+@all", "~*", "&*"], &old);
    assert!(all.rebased(&full).is_all_powerful());
    let rules = ["+@all", "-@dangerous", "-get", "~*", "+config|get", "(+@read ~*)"];
    let wide = user(&rules, &full);
    let narrow = wide.rebased(&old);
    assert_eq!(narrow.describe(Dialect::Redis70), wide.describe(Dialect::Redis70));
    let again = narrow.rebased(&full);
    for line in ["get a", "set a 1", "config get x", "config set x y", "flushall"] {
        assert_eq!(ask(&again, line, &full), ask(&wide, line, &full), "{line}");
    }
}

#[test]
fn logging_in_needs_an_enabled_user_and_a_password_of_theirs() {
    let table = table();
    let login = |rules: &[&str], password: &str| verify(&user(rules, &table), password.as_bytes());
    assert!(login(&["on", ">a"], "a"));
    assert!(login(&["on", ">a", ">b"], "b"));
    assert!(login(&["on", "nopass"], "anything"));
    assert!(login(&["on", ">"], ""));
    assert!(!login(&["on", ">a"], "b"));
    assert!(!login(&["off", ">a"], "a"));
    assert!(!login(&["off", "nopass"], "a"));
    assert!(!login(&["on"], ""));
    assert!(!verify(&User::stranger(&table), b""));
}

// === laws ===

const RULES: &[&str] = &[
    "on",
    "off",
    "nopass",
    ">a",
    ">b",
    "resetpass",
    "reset",
    "db=0,3",
    "db=1",
    "alldbs",
    "resetdbs",
    "(db=1 +@all ~*)",
    "sanitize-payload",
    "skip-sanitize-payload",
    "~a",
    "~b*",
    "%R~a",
    "%W~a",
    "%R~c",
    "%RW~*",
    "~*",
    "resetkeys",
    "&a",
    "&b*",
    "&*",
    "resetchannels",
    "+@all",
    "-@all",
    "+@read",
    "-@read",
    "+@write",
    "-@write",
    "+@dangerous",
    "-@dangerous",
    "+@slow",
    "-@fast",
    "-@connection",
    "+get",
    "-get",
    "+mget",
    "+set",
    "-set",
    "+config",
    "-config",
    "+config|get",
    "-config|set",
    "+select|0",
    "+select|1",
    "-select",
    "+get|a",
    "+publish",
    "+psubscribe",
    "clearselectors",
    "(+get ~b*)",
    "(+@read %R~c)",
    "(+@all -config|get &a)",
    "(~* +@write)",
    "(&* +publish +mget)",
    "(%RW~* ~a +get|a)",
];

const LINES: &[&str] = &[
    "get a",
    "get b1",
    "get c",
    "set a 1",
    "set b1 1 get",
    "mget a b",
    "del a",
    "exists c",
    "copy a b",
    "publish a x",
    "publish bx x",
    "psubscribe b*",
    "config get x",
    "config set x y",
    "select 0",
    "select 1",
    "sort a by x",
    "flushall",
    "auth x",
    "client id",
];

fn any_user() -> impl Strategy<Value = User> {
    prop::collection::vec(select(RULES), 0..14).prop_map(|rules| {
        let table = table();
        let mut user = User::new(b"u", Defaults::default(), &table).unwrap();
        for rule in rules {
            // A pattern after `~*` is refused, and the rest goes on.
            user = user.set(&[rule.as_bytes()], &table).unwrap_or(user);
        }
        user
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_description_read_back_is_the_same_user(user in any_user()) {
        let table = table();
        let text = String::from_utf8(user.describe(Dialect::Redis70)).unwrap();
        let rules = text.strip_prefix("user u").unwrap();
        let again = parse_rules("u", rules, Defaults::default(), &table).unwrap();
        prop_assert_eq!(String::from_utf8(again.describe(Dialect::Redis70)).unwrap(), text);
        prop_assert_eq!(user.is_all_powerful(), again.is_all_powerful());
        for line in LINES {
            prop_assert_eq!(ask(&user, line, &table), ask(&again, line, &table), "{}", line);
        }
    }

    #[test]
    fn rebasing_to_the_same_table_changes_no_decision(user in any_user()) {
        let table = table();
        let again = user.rebased(&table);
        prop_assert_eq!(user.is_all_powerful(), again.is_all_powerful());
        for line in LINES {
            prop_assert_eq!(ask(&user, line, &table), ask(&again, line, &table), "{}", line);
        }
    }

    #[test]
    fn the_last_rule_about_a_command_wins(user in any_user()) {
        let table = table();
        let line = "config get x";
        for (rule, allowed) in [("+config|get", true), ("-config", false), ("+@all", true), ("-@admin", false)] {
            let user = user.set(&[b"clearselectors", rule.as_bytes()], &table).unwrap();
            prop_assert_eq!(ask(&user, line, &table).is_ok(), allowed, "{}", rule);
        }
    }

    #[test]
    fn a_list_of_databases_read_back_is_the_same(text in "[-+]?[0-9]{0,11}(,[-+]?[0-9]{1,3}){0,4}") {
        let table = table();
        let rule = format!("db={text}");
        if let Ok(user) = User::new(b"u", Defaults::default(), &table).unwrap().set(&[rule.as_bytes()], &table) {
            let shown = user.root().databases_text();
            let again = User::new(b"u", Defaults::default(), &table).unwrap().set(&[&shown], &table).unwrap();
            prop_assert_eq!(again.root().databases_text(), shown);
        }
    }

    #[test]
    fn rules_for_later_are_read_back_as_they_are_written(
        name in "[-+](@(json|search|read)|[a-z.]{1,5}[.|][a-zA-Z_.|]{0,5})",
    ) {
        let open = CommandTable::builtin();
        if let Ok(user) = User::new(b"u", Defaults::default(), &open).unwrap().set(&[name.as_bytes()], &open) {
            let text = String::from_utf8(user.root().commands_text(Dialect::Redis72)).unwrap();
            prop_assert_eq!(&text, &format!("-@all {}", name.to_ascii_lowercase()));
            let rules = format!("{text} {text}");
            let again = parse_rules("u", &rules, Defaults::default(), &open).unwrap().rebased(&table());
            prop_assert_eq!(String::from_utf8(again.root().commands_text(Dialect::Redis72)).unwrap(), text);
        }
    }

    #[test]
    fn any_token_is_a_rule_or_an_error(tokens: Vec<Vec<u8>>) {
        let table = table();
        let tokens: Vec<&[u8]> = tokens.iter().map(Vec::as_slice).collect();
        let _ = User::new(b"u", Defaults::default(), &table).unwrap().set(&tokens, &table);
    }
}
