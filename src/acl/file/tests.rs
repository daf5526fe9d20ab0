use proptest::prelude::*;

use super::super::Dialect;
use super::super::testing::table;
use super::*;

/// `line:column: text` of each error.
fn refused(file: &str) -> Vec<String> {
    parse(file.as_bytes(), Defaults::default(), &table())
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn places(file: &[u8]) -> Vec<(usize, usize)> {
    parse(file, Defaults::default(), &table())
        .unwrap_err()
        .iter()
        .map(|error| (error.line, error.column))
        .collect()
}

fn described(file: &str) -> Vec<String> {
    let users = parse(file.as_bytes(), Defaults::default(), &table()).unwrap();
    users.iter().map(|user| String::from_utf8(user.describe(Dialect::Redis70)).unwrap()).collect()
}

#[test]
fn a_file_of_redis_is_read() {
    let file = "user default off\n\n\t\n  user alice  on   (+get  ~a  &b) \t~c*\t +@read \r\nuser bob\r\nuser e >a\tb";
    assert_eq!(
        described(file),
        [
            "user default off resetchannels -@all",
            "user alice on ~c* resetchannels -@all +@read (~a resetchannels &b -@all +get)",
            "user bob off resetchannels -@all",
            "user e off #894891f8b78a9945b0aa07e70d5f71f10b1f1990af127de561cc0ac36024c188 resetchannels -@all",
        ]
    );
}

#[test]
fn all_errors_are_reported_with_their_places() {
    let file =
        "user default off +nosuch  +@nosuch\nusr x\nuser a ~* ~b (+get +nosuch)\nuser a on\n# x\nuser b (~a";
    assert_eq!(
        refused(file),
        [
            "1:18: `+nosuch` names no command or category; write original names, subcommands as `+config|get` and \
             categories as `+@read`",
            "1:27: `+@nosuch` names no command or category; write original names, subcommands as `+config|get` and \
             categories as `+@read`",
            "2:1: a line is `user <name> <rules>`, in lower case and with one space before the name",
            "3:11: `~b` follows `~*` or `allkeys` and has no effect; remove one, or write `resetkeys` between",
            "3:20: `+nosuch` names no command or category; write original names, subcommands as `+config|get` and \
             categories as `+@read`",
            "4:6: user `a` is already defined on line 3; join both lines",
            "5:1: comments are not possible in an ACL file (Redis allows them from 8.8 on); remove the line",
            "6:8: this selector has no end; close it with `)`",
        ]
    );
}

#[test]
fn malformed_lines_are_refused_where_redis_refuses_them() {
    const DEFAULT: &str = "user default off\n";
    for line in
        ["user", "USER a on", "user\ta on", "user  a on", "user a\tb on", "user a on\t~a", "user a '+get'"]
    {
        let errors = parse(format!("{DEFAULT}{line}").as_bytes(), Defaults::default(), &table()).unwrap_err();
        assert!(errors.iter().all(|error| error.line == 2), "{line}: {errors:?}");
    }
    assert_eq!(places(b"\xef\xbb\xbfuser default off"), [(1, 1)]);
    assert_eq!(places(b"user default off\nuser a on x"), [(2, 11)]);
}

#[test]
fn a_file_without_a_default_user_is_refused() {
    for (file, line) in [("", 1), ("\n\n", 1), ("user Default off\n", 2), ("user a on nopass\n\n", 2)] {
        let errors = parse(file.as_bytes(), Defaults::default(), &table()).unwrap_err();
        assert_eq!(errors.len(), 1, "{file:?}");
        assert_eq!(errors[0].line, line, "{file:?}");
        assert!(errors[0].text.contains("add `user default off`"));
    }
}

#[test]
fn an_empty_password_is_refused() {
    assert_eq!(
        refused("user default on > ~*"),
        ["1:17: the password is empty; write `>password` or `#hash`, or `nopass` if any password will do"]
    );
}

#[test]
fn refused_databases_are_shown_with_advice() {
    assert_eq!(
        refused("user default off db=1,x\nuser a db=1 (+get dB=-1)\nuser b on db=2 +graph.query -@json"),
        [
            "1:18: `db=1,x` is no list of databases; write their numbers as `db=0,1`",
            "2:19: `dB=-1` has a number that no database has; they go from 0 to 2147483647",
            // The table of these tests knows its upstream.
            "3:16: `+graph.query` names no command or category; write original names, subcommands as `+config|get` \
             and categories as `+@read`",
            "3:29: `-@json` names no command or category; write original names, subcommands as `+config|get` and \
             categories as `+@read`",
        ]
    );
    let builtin = crate::command::CommandTable::builtin();
    assert!(parse(b"user default off db=2 +graph.query -@json", Defaults::default(), &builtin).is_ok());
}

#[test]
fn users_of_a_file_begin_with_the_default_channels() {
    let defaults = Defaults { all_channels: true };
    let file = b"user default off resetchannels\nuser a +get\nuser b reset (+get)";
    let users = parse(file, defaults, &table()).unwrap();
    let lines: Vec<_> =
        users.iter().map(|user| String::from_utf8(user.describe(Dialect::Valkey91)).unwrap()).collect();
    assert_eq!(
        lines,
        [
            "user default off resetchannels -@all",
            "user a off &* -@all +get",
            "user b off &* -@all (&* -@all +get)"
        ]
    );
}

#[test]
fn errors_do_not_tell_passwords() {
    let hash = "A".repeat(64);
    let file = format!(
        "user default on >hunter2 hunter3 +hunter4\nuser a <hunter2 on hunter3\nuser b #{hash} !{hash}\n\
         user c (>hunter2 ~a)\nuser d hunter2\nuser e (hunter2 hunter3\n"
    );
    let errors = refused(&file);
    assert_eq!(errors.len(), 9, "{errors:?}");
    for error in errors {
        assert!(!error.contains("hunter") && !error.contains(&hash), "{error}");
    }
}

#[test]
fn rules_of_our_own_configuration_may_have_line_ends() {
    let user = parse_rules("app", "on >x\n~a*\n  (+get\n ~b)\n", Defaults::default(), &table()).unwrap();
    assert!(
        user.describe(Dialect::Redis70).ends_with(b"~a* resetchannels -@all (~b resetchannels -@all +get)")
    );
    let errors = parse_rules("a b", "on\n+nosuch", Defaults::default(), &table()).unwrap_err();
    let found: Vec<_> = errors.iter().map(|error| (error.column, error.error)).collect();
    assert_eq!(found, [(0, RuleError::BadName), (4, RuleError::UnknownCommand)]);
}

proptest! {
    #[test]
    fn any_bytes_are_a_file_or_errors_within_it(bytes: Vec<u8>) {
        for error in parse(&bytes, Defaults::default(), &table()).unwrap_err() {
            prop_assert!(error.line >= 1 && error.column >= 1);
        }
    }
}
