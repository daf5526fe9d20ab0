//! Lookups, and fitting the table to an upstream.

use super::*;
use crate::command::{Access, Begin, Find};
use crate::resp::RequestBuf;

fn resolve(table: &CommandTable, args: &[&str]) -> String {
    match table.resolve(RequestBuf::from_args(args).as_request()) {
        Resolution::Known(spec) => spec.name.to_string(),
        Resolution::UnknownCommand => "unknown".to_owned(),
        Resolution::UnknownSubcommand(container) => format!("unknown of {}", container.name),
    }
}

fn reported(name: &str) -> Reported {
    Reported {
        name: name.to_owned(),
        arity: -2,
        flags: Flags(flag::WRITE),
        categories: Some(Vec::new()),
        keys: Some(Vec::new()),
        subcommands: Vec::new(),
    }
}

fn container(name: &str, subcommands: &[&str]) -> Reported {
    Reported { subcommands: subcommands.iter().map(|sub| reported(sub)).collect(), ..reported(name) }
}

#[test]
fn names_are_found_in_any_case_and_only_as_clients_may_send_them() {
    let table = CommandTable::builtin();
    let long = "g".repeat(65);
    for (args, expected) in [
        (&["GeT", "k"][..], "get"),
        (&["CONFIG", "gEt", "x"], "config|get"),
        (&["config"], "config"),
        (&["config|get", "x"], "unknown"),
        (&["CONFIG", "nope"], "unknown of config"),
        (&["CONFIG", ""], "unknown of config"),
        (&["CONFIG", "get\0"], "unknown of config"),
        (&["CONFIG", "get|x"], "unknown of config"),
        (&["CONFIG", &long], "unknown of config"),
        (&["get\0"], "unknown"),
        (&["get "], "unknown"),
        (&[""], "unknown"),
        (&[&long], "unknown"),
        (&["host:"], "unknown"),
        (&["debug", "object", "k"], "debug"),
    ] {
        assert_eq!(resolve(&table, args), expected, "{args:?}");
    }
}

#[test]
fn fitting_leaves_out_what_the_upstream_lacks() {
    let table = CommandTable::builtin().fitted(&[
        reported("get"),
        container("config", &["config|get", "config|help"]),
        container("client", &["client|list", "client|id"]),
    ]);
    assert_eq!(resolve(&table, &["GET", "k"]), "get");
    assert_eq!(resolve(&table, &["SET", "k", "v"]), "unknown");
    assert_eq!(resolve(&table, &["CONFIG", "GET", "x"]), "config|get");
    assert_eq!(resolve(&table, &["CONFIG", "SET", "x"]), "unknown of config");
    assert_eq!(resolve(&table, &["CLIENT", "LIST"]), "client|list");
    assert_eq!(resolve(&table, &["CLIENT", "CACHING", "YES"]), "unknown of client");
}

#[test]
fn fitting_to_an_old_server_keeps_subcommands_and_what_redkeep_answers_itself() {
    let table = CommandTable::builtin().fitted(&[reported("config"), reported("client"), reported("auth")]);
    assert_eq!(resolve(&table, &["CONFIG", "SET", "a", "b"]), "config|set");
    assert_eq!(resolve(&table, &["CLIENT", "SETINFO", "a", "b"]), "client|setinfo");
    assert_eq!(resolve(&table, &["HELLO", "3"]), "hello");
    assert_eq!(resolve(&table, &["ACL", "WHOAMI"]), "acl|whoami");
    assert_eq!(resolve(&table, &["ACL", "LIST"]), "acl|list");
    assert_eq!(resolve(&table, &["XADD", "k"]), "unknown");
    // AUTH with a user's name is ours, whatever the old server takes.
    assert!(table.find(b"auth").unwrap().accepts(3));
    let empty = CommandTable::builtin().fitted(&[]);
    assert!(empty.specs().iter().all(|spec| spec.affinity == Affinity::Local || spec.is_container()));
}

#[test]
fn fitting_takes_only_the_arity_of_known_commands() {
    let key = KeySpec {
        access: Access::ANY,
        begin: Begin::Index(1),
        find: Find::Range { last: 0, step: 1, limit: 0 },
    };
    let weak = Reported { arity: 7, keys: Some(vec![key]), ..reported("get") };
    let sub = Reported { arity: 9, ..reported("config|set") };
    let config = Reported { subcommands: vec![sub], ..reported("config") };
    let builtin = CommandTable::builtin();
    let table = builtin.fitted(&[weak, config]);
    let (ours, fitted) = (builtin.find(b"get").unwrap(), table.find(b"get").unwrap());
    assert_eq!((fitted.arity, &fitted.keys, fitted.flags), (7, &ours.keys, ours.flags));
    assert_eq!(table.find(b"config|set").unwrap().arity, 9);
}

/// The categories of a command, by name.
fn categories(table: &CommandTable, name: &str) -> Vec<String> {
    let set = table.find(name.as_bytes()).unwrap().categories;
    let named = table.categories().iter().filter(|(_, category)| set.intersects(category.0));
    named.map(|(name, _)| name.to_owned()).collect()
}

fn in_categories(reported: Reported, names: &[&str]) -> Reported {
    Reported { categories: Some(names.iter().map(|name| (*name).to_owned()).collect()), ..reported }
}

#[test]
fn categories_are_those_of_the_upstream() {
    let builtin = CommandTable::builtin();
    let sub = |name, names: &[&str]| in_categories(reported(name), names);
    let modern = Reported {
        subcommands: vec![sub("config|get", &["fast", "own"]), sub("config|set", &["admin"])],
        ..in_categories(reported("config"), &["slow"])
    };
    let table = builtin.fitted(&[modern, in_categories(reported("wait"), &["connection", "Own"])]);
    assert_eq!(categories(&table, "config"), ["slow"]);
    assert_eq!(categories(&table, "config|get"), ["fast", "own"]);
    assert_eq!(categories(&table, "config|set"), ["admin"]);
    assert_eq!(categories(&table, "wait"), ["connection", "own"]);
    // Only containers in 6.x, and nothing before.
    let table = builtin.fitted(&[
        in_categories(reported("config"), &["admin", "dangerous"]),
        Reported { categories: None, ..reported("wait") },
    ]);
    assert_eq!(categories(&table, "config|help"), ["admin", "dangerous"]);
    assert_eq!(categories(&table, "config|set"), ["admin", "dangerous"]);
    assert_eq!(categories(&table, "wait"), categories(&builtin, "wait"));
    // Answered by Redkeep, unknown to that upstream.
    assert_eq!(categories(&table, "hello"), categories(&builtin, "hello"));
    assert_eq!(table.category(b"OWN"), None);
}

#[test]
fn no_report_takes_the_mark_of_scripts_away() {
    let gears = in_categories(reported("gears.call"), &["scripting"]);
    let table =
        CommandTable::builtin().fitted(&[in_categories(reported("eval"), &["read"]), reported("get"), gears]);
    let marked = |name: &str| table.find(name.as_bytes()).unwrap().scripting;
    assert_eq!(categories(&table, "eval"), ["read"]);
    assert!(marked("eval") && marked("gears.call") && !marked("get"));
}

#[test]
fn commands_in_categories_without_a_bit_are_left_out() {
    let own: Vec<String> = (0..43).map(|number| format!("own{number}")).collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let table = CommandTable::builtin().fitted(&[
        in_categories(reported("mod.all"), &own),
        in_categories(reported("mod.one"), &["read", "one-too-many"]),
        in_categories(reported("get"), &["one-too-many"]),
        in_categories(reported("set"), &["own42"]),
    ]);
    assert_eq!(categories(&table, "mod.all"), own);
    assert_eq!(categories(&table, "set"), ["own42"]);
    assert!(table.find(b"mod.one").is_none() && table.find(b"get").is_none());
    assert_eq!(table.category(b"one-too-many"), None);
}

#[test]
fn only_the_open_table_has_names_for_later() {
    let (open, fitted) = (CommandTable::builtin(), CommandTable::builtin().fitted(&[]));
    for name in ["graph.query", "FT._LIST", "a.b|c", "x-y.z_1|Sub.1"] {
        assert!(open.is_later_name(name.as_bytes()), "{name}");
        assert!(!fitted.is_later_name(name.as_bytes()), "{name}");
    }
    let long = format!("a.{}", "b".repeat(63));
    for name in
        ["get", "get|a.b", ".", "a.", ".b", "a.b|", "a.b|c|d", "|a.b", "a b.c", "a.b\0", "\u{e9}.a", &long]
    {
        assert!(!open.is_later_name(name.as_bytes()), "{name:?}");
    }
    for name in category::OF_MODULES {
        assert!(open.category(name.as_bytes()).is_some() && fitted.category(name.as_bytes()).is_none());
    }
}

#[test]
fn fitting_adds_the_commands_of_modules() {
    let key = KeySpec {
        access: Access::READ,
        begin: Begin::Index(1),
        find: Find::Range { last: 0, step: 1, limit: 0 },
    };
    let known = Reported { keys: Some(vec![key.clone()]), ..reported("mod.get") };
    let unknown = Reported { keys: None, ..reported("mod.move") };
    let blocking = Reported { flags: Flags(flag::BLOCKING), ..reported("mod.wait") };
    let no_auth = Reported { flags: Flags(flag::NO_AUTH | flag::FAST), ..reported("mod.login") };
    let pushing = Reported { flags: Flags(flag::PUBSUB), ..reported("mod.listen") };
    let grouped = container("mod", &["mod|a", "mod|b", "stray", "other|c"]);
    let table = CommandTable::builtin().fitted(&[known, unknown, blocking, no_auth, pushing, grouped]);
    let row = |name: &str| table.find(name.as_bytes()).unwrap();
    assert_eq!((row("mod.get").affinity, &*row("mod.get").keys), (Affinity::Shared, &[key][..]));
    assert_eq!(row("mod.move").affinity, Affinity::Unavailable);
    assert_eq!(row("mod.wait").affinity, Affinity::LeasedForCommand);
    assert_eq!(row("mod.listen").affinity, Affinity::Unavailable);
    assert_eq!(row("mod.login").flags, Flags(flag::FAST));
    assert_eq!(resolve(&table, &["MOD", "B"]), "mod|b");
    assert_eq!(resolve(&table, &["MOD", "C"]), "unknown of mod");
    assert_eq!(resolve(&table, &["STRAY"]), "unknown");
    assert!(table.find(b"other|c").is_none());
}

#[test]
fn new_subcommands_are_as_available_as_their_container() {
    let table = CommandTable::builtin().fitted(&[
        container("client", &["client|id", "client|newest"]),
        container("config", &["config|newest"]),
        container("get", &["get|newest"]),
    ]);
    assert_eq!(table.find(b"client|newest").unwrap().affinity, Affinity::Unavailable);
    assert_eq!(table.find(b"config|newest").unwrap().affinity, Affinity::Shared);
    assert_eq!(resolve(&table, &["GET", "newest"]), "get");
}

#[test]
fn forged_reports_add_no_names_with_bars() {
    let table = CommandTable::builtin().fitted(&[
        reported("config|get"),
        reported("x|y"),
        container("twice", &["twice|a"]),
        container("twice", &["twice|b"]),
    ]);
    for name in [&b"config|get"[..], b"x|y", b"twice|b"] {
        assert!(table.find(name).is_none());
    }
    assert!(table.specs().iter().all(|spec| spec.parent.is_some() == spec.name.contains('|')));
}

#[test]
fn ids_are_dense_and_subcommands_know_their_container() {
    for table in [CommandTable::builtin(), CommandTable::builtin().fitted(&[container("acl", &[])])] {
        for (index, spec) in table.specs().iter().enumerate() {
            assert_eq!(spec.id.index(), index);
            for sub in &spec.subcommands {
                assert_eq!(table.spec(*sub).unwrap().parent, Some(spec.id));
            }
        }
    }
}
