use proptest::prelude::*;

use super::super::testing::{table, user, uses};
use super::*;
use crate::command::Resolution;
use crate::resp::RequestBuf;

/// What is found of a user with these rules for a command line, split at spaces.
fn found(rules: &[&str], line: &str) -> Vec<Finding> {
    let (table, args) = (table(), line.split(' ').collect::<Vec<_>>());
    let request = RequestBuf::from_args(&args);
    let Resolution::Known(spec) = table.resolve(request.as_request()) else { panic!("{line}") };
    let demand = Demand::of(|visitor| uses(&args, visitor));
    explain(&user(rules, &table), request.as_request(), spec, &demand, &table)
}

fn text(rules: &[Vec<u8>]) -> String {
    String::from_utf8(rules.join(&b' ')).unwrap()
}

#[test]
fn the_last_rule_about_a_command_decides() {
    for (rules, line, allowed, by) in [
        (&[][..], "get k", false, Some("-@all")),
        (&["+@all"], "get k", true, Some("+@all")),
        (&["+@all", "+@read", "-@write"], "get k", true, Some("+@read")),
        (&["+@all", "+@read", "-@string"], "get k", false, Some("-@string")),
        (&["+@all", "-@string", "+get", "-@dangerous"], "get k", true, Some("+get")),
        (&["+@all", "-config"], "config get x", false, Some("-config")),
        (&["+@all", "-config", "+config|get"], "config get x", true, Some("+config|get")),
        (&["+@all", "-config", "+config|get"], "config set x y", false, Some("-config")),
        (&["+select|0"], "select 0", true, Some("+select|0")),
        (&["+select|0"], "select 1", false, Some("-@all")),
        (&["+select|0", "-@connection"], "select 0", false, Some("-@connection")),
        (&["+@all", "-select", "+select|0"], "select 1", false, Some("-select")),
        (&["+get", "-@all"], "get k", false, Some("-@all")),
        (&["+@all", "-auth", "-@all"], "auth x", true, None),
    ] {
        let root = &found(rules, line)[0];
        let rule = root.command_rule.as_deref().map(|rule| std::str::from_utf8(rule).unwrap());
        assert_eq!((root.command, rule), (allowed, by), "{rules:?} {line}");
    }
}

#[test]
fn a_use_is_allowed_by_the_first_rule_that_suffices() {
    let allowed = |rule: &str| Said::Allowed(rule.into());
    let weak = |rule: &str| Said::NotForThis(rule.into());
    for (rules, line, expected) in [
        (&["~*"][..], "get k", vec![allowed("~*")]),
        (&["~x", "%R~k", "~k*"], "get k", vec![allowed("%R~k")]),
        (&["~x", "%R~k", "~k*"], "set k v", vec![allowed("~k*")]),
        (&["%R~k", "%W~k"], "set k v get", vec![allowed("~k")]),
        (&["%R~k", "%W~k*"], "set k v get", vec![weak("%R~k")]),
        (&["%W~a", "~b"], "mget a b c", vec![weak("%W~a"), allowed("~b"), Said::NoMatch]),
        (&["%W~a"], "exists a b", vec![allowed("%W~a"), Said::NoMatch]),
        (&["~a"], "get ", vec![Said::NoMatch]),
        (&["&a*"], "publish abc x", vec![allowed("&a*")]),
        (&["&a*"], "psubscribe a* b", vec![allowed("&a*"), Said::NoMatch]),
        (&["%R~*"], "sort k by x", vec![allowed("%R~*"), allowed("%R~*")]),
        (&["~?"], "sort k by x", vec![allowed("~?"), Said::NoMatch]),
    ] {
        assert_eq!(found(rules, line)[0].uses, expected, "{rules:?} {line}");
    }
}

#[test]
fn every_selector_is_explained_after_the_root_permissions() {
    let found = found(&["+get", "~a", "(+get ~b)", "(+set ~*)", "(+@all ~* &*)"], "get b");
    let denials: Vec<Option<Denial>> = found.iter().map(|finding| finding.denial).collect();
    assert_eq!(denials, [Some(Denial::Key { index: 1 }), None, Some(Denial::Command), None]);
    assert_eq!(text(&found[0].key_rules), "~a");
    assert_eq!(text(&found[3].channel_rules), "&*");
}

#[test]
fn a_command_whose_keys_are_unclear_needs_all_keys() {
    let (table, args) = (table(), ["eval", "x", "-1"]);
    let request = RequestBuf::from_args(&args);
    let Resolution::Known(spec) = table.resolve(request.as_request()) else { panic!() };
    let demand = Demand::of(|visitor| uses(&args, visitor));
    assert_eq!(demand, Demand { uses: vec![], unclear: true });
    let holder = user(&["+@all", "~a"], &table);
    let root = &explain(&holder, request.as_request(), spec, &demand, &table)[0];
    assert_eq!(root.denial, Some(Denial::Unclear));
    assert_eq!(text(&added_to_root(spec, &demand, root)), "~*");
    assert_eq!(text(&own_selector(spec, &demand)), "+eval ~*");
}

#[test]
fn only_what_is_missing_is_added() {
    let table = table();
    for (rules, line, added, selector) in [
        (&["+@all"][..], "get k", "%R~k", "+get %R~k"),
        (&["~*"], "get k", "+get", "+get %R~k"),
        (&["%R~k", "+set"], "set k v get", "~k", "+set ~k"),
        (&["%R~a", "+copy"], "copy a b", "%W~b", "+copy %R~a %W~b"),
        (&[], "copy a a", "+copy ~a", "+copy ~a"),
        (&[], "mget a b a", "+mget %R~a %R~b", "+mget %R~a %R~b"),
        (&[], "exists a", "+exists %R~a", "+exists %R~a"),
        (&["~*"], "config get x", "+config|get", "+config|get"),
        (&["+publish"], "publish a*b x", r"&a\*b", r"+publish &a\*b"),
        (&["+psubscribe"], "psubscribe a*b", "&a*b", "+psubscribe &a*b"),
        (&["+get"], "get it's)", "%R~it's)", "+get %R~it?s?"),
        (&["+psubscribe"], "psubscribe it's", "&it's", "+psubscribe &*"),
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        let request = RequestBuf::from_args(&args);
        let Resolution::Known(spec) = table.resolve(request.as_request()) else { panic!("{line}") };
        let demand = Demand::of(|visitor| uses(&args, visitor));
        let root = &found(rules, line)[0];
        assert_eq!(text(&added_to_root(spec, &demand, root)), added, "{rules:?} {line}");
        assert_eq!(text(&own_selector(spec, &demand)), selector, "{rules:?} {line}");
    }
}

#[test]
fn denying_leaves_all_other_permissions() {
    let table = table();
    for (rules, expected) in [
        (&["~*", "+@all"][..], "-get"),
        (&["~k", "+@read", "(+set ~k)"], "-get"),
        (&["+@read", "(+get ~k)"], "clearselectors"),
        (&["~k", "+get", "(+get ~k)", "(+set ~x)"], "-get clearselectors (~x resetchannels -@all +set)"),
        (&["(+get +set ~k)"], "clearselectors (~k resetchannels -@all +set)"),
        (
            &["(+@read %R~k)", "(+get ~x)"],
            "clearselectors (%R~k resetchannels -@all +@read -get) (~x resetchannels -@all +get)",
        ),
        (&["(+@all ~* &*)"], "clearselectors (~* &* +@all -get)"),
        (&["(+@all -set ~*)"], "clearselectors (~* resetchannels +@all -set -get)"),
    ] {
        let holder = user(rules, &table);
        let request = RequestBuf::from_args(&["get", "k"]);
        let Resolution::Known(spec) = table.resolve(request.as_request()) else { panic!() };
        let denying = denying(&holder, request.as_request(), spec, &found(rules, "get k"), &table);
        assert_eq!(text(&denying), expected, "{rules:?}");
    }
}

proptest! {
    #[test]
    fn the_rule_for_a_key_matches_it_and_can_be_written(key: Vec<u8>, literal in "[ -~]{0,6}") {
        let table = table();
        for key in [key.as_slice(), literal.as_bytes()] {
            for (rule, writable) in [
                (pattern_of(key, writable_at_root), writable_at_root as fn(char) -> bool),
                (pattern_of(key, writable_in_selector), writable_in_selector),
            ] {
                let shown = String::from_utf8(rule.clone()).unwrap();
                prop_assert!(shown.chars().all(|char| writable(char) && is_printable(char)), "{shown:?}");
                let rule = [b"%R~", rule.as_slice()].concat();
                let holder = User::nobody(b"", Defaults::default(), &table).set(&[b"+get", &rule], &table).unwrap();
                let request = RequestBuf::from_args(&[b"get", key]);
                let Resolution::Known(spec) = table.resolve(request.as_request()) else { panic!() };
                let used = Use::Key { index: 1, key, access: Access::READ };
                let decision = holder.permits(request.as_request(), spec, |visitor| {
                    let _ = visitor(used);
                    Ok(())
                });
                prop_assert_eq!(decision, Ok(()), "{}", shown);
            }
        }
    }
}
