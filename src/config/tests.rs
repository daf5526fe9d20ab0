//! The configuration as a whole. The deliberately broken ones are files in tests/config/broken.

use super::*;
use crate::audit::Level;
use crate::policy::{Bounds, Caps, Enabled, Switches};
use crate::server::Bind;
use crate::server::tls::AuthClients;
use crate::session;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A smallest configuration; tests put further lines below.
const SMALL: &str = "listeners: [{bind: \"127.0.0.1:0\"}]\nupstream: {address: \"unix:/redis.sock\"}\n";
const SMALL_ACL: &str = "acl: {file: users.acl}\n";

fn parse_text(source: &str) -> Result<Config, Problems> {
    parse(Path::new("conf/t.yaml"), source)
}

fn config(source: &str) -> Config {
    parse_text(source).unwrap_or_else(|problems| panic!("{problems}\nin\n{source}"))
}

fn problems(source: &str) -> String {
    parse_text(source).map(|_| ()).unwrap_err().to_string()
}

/// Set `REDKEEP_BLESS=1` to write the `.expected` files anew, and read the difference in git.
#[test]
fn broken_configurations_report_each_fault_at_its_line() {
    let folder = Path::new(ROOT).join("tests/config/broken");
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    names.sort();
    assert!(names.len() >= 10, "ten broken configurations are promised");
    let mut report = String::new();
    for path in &names {
        let problems = match load(path) {
            Ok(config) => check_files(&config),
            Err(problems) => problems,
        };
        assert!(!problems.is_empty(), "{} is not broken", path.display());
        let found = format!("{problems}\n").replace(&format!("{}/", folder.display()), "");
        assert!(!found.contains("hunter2"), "a secret in the problems of {}", path.display());
        let expected_path = path.with_extension("expected");
        if std::env::var_os("REDKEEP_BLESS").is_some() {
            std::fs::write(&expected_path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        for line in expected.lines().filter(|line| !found.lines().any(|other| other == *line)) {
            writeln!(report, "- {line}").unwrap();
        }
        for line in found.lines().filter(|line| !expected.lines().any(|other| other == *line)) {
            writeln!(report, "+ {line}").unwrap();
        }
        if expected != found {
            writeln!(report, "  ({} differs)", expected_path.display()).unwrap();
        }
    }
    assert!(report.is_empty(), "- expected, + found:\n{report}");
}

#[test]
fn the_example_loads_and_says_what_its_comments_say() {
    let config = load(&Path::new(ROOT).join("config/redkeep.yaml")).unwrap();
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.listeners[0].bind.value, Bind::Tcp("0.0.0.0:6380".parse().unwrap()));
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls.auth_clients, AuthClients::No);
    assert_eq!(tls.own.key_file.value, Path::new("/etc/redkeep/tls/tls.key"));
    assert!(config.listeners[1].tls.is_none());
    assert!(config.protected_mode);
    assert_eq!(config.upstream.address, UpstreamAddress::Unix("/run/redis/redis.sock".into()));
    assert_eq!(config.upstream.connect_timeout, Duration::from_secs(1));
    assert_eq!(config.upstream.response_timeout, Duration::from_secs(30));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(25));
    assert_eq!(config.limits.maxclients, 10_000);
    assert_eq!(config.limits.sessions, session::Limits::DEFAULT);
    assert_eq!(config.limits.per_user, Caps::default());
    assert_eq!(config.rename[0].command, "CONFIG");
    assert_eq!(config.rename[0].alias, "");
    assert_eq!(config.rename[1].alias, "KEYS_7f3a");
    assert!(matches!(config.users, UserSource::AclFile(_)));
}

/// Every commented key of the example, switched on: names and defaults in comments cannot rot.
#[test]
fn the_commented_keys_of_the_example_load_too() {
    let example = std::fs::read_to_string(Path::new(ROOT).join("config/redkeep.yaml")).unwrap();
    let mut source = String::new();
    for line in example.lines() {
        let bare = line.trim_start();
        let key = bare.strip_prefix("# ").map(|rest| rest.trim_start_matches(['-', ' ', '#']));
        let is_key = key.and_then(|rest| rest.split_once(':')).is_some_and(|(name, value)| {
            name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                && (value.is_empty() || value.starts_with(' '))
        });
        let line = if is_key {
            let line = line.replacen("# ", "", 1);
            // An option of a section that is a comment itself.
            if line.trim_start().starts_with("# ") { line.replacen("# ", "", 1) } else { line }
        } else {
            line.into()
        };
        source += &(line + "\n");
    }
    let source = source
        .replace("address: unix:/run/redis/redis.sock", "address: rediss://redis")
        .replace("auth_clients: no ", "auth_clients: optional ")
        .replace("  file: /etc/redkeep/users.acl\n", "")
        .replace("keys: redacted", "keys: hashed");
    let config = config(&source);
    assert!(config.listeners[0].tls.as_ref().unwrap().identity.is_some());
    assert_eq!(config.upstream.tls.unwrap().server_name.unwrap().value, "redis.internal");
    assert!(config.requirepass.is_some());
    let UserSource::Inline(users) = config.users else { panic!("inline users were switched on") };
    assert_eq!(users[0].passwords.len(), 2);
    assert_eq!(config.log.level, "info");
    assert_eq!(config.workers, 2);
    assert_eq!((config.audit.level, config.audit.required), (Level::Off, false));
    assert!(config.audit.secret.is_some());
    assert_eq!(config.limits.sessions, session::Limits::DEFAULT);
}

#[test]
fn networks_of_users_stand_beside_their_rules_or_beside_the_acl_file() {
    let networks = "allow_from: [10.0.0.0/8, \"::1\"], deny_from: [10.1.0.0/16]";
    let inline = config(&format!("{SMALL}users: [{{name: app, rules: -@all, {networks}}}]\n"));
    let beside = config(&format!("{SMALL}{SMALL_ACL}users: [{{name: app, {networks}}}]\n"));
    for config in [inline, beside] {
        let [(name, conditions)] = config.conditions.as_slice() else { panic!("one user") };
        assert_eq!(name.value, "app");
        let shown = |networks: &[ipnet::IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(&conditions.networks.allow), ["10.0.0.0/8", "::1/128"]);
        assert_eq!(shown(&conditions.networks.deny), ["10.1.0.0/16"]);
    }
    let mapped = "deny_from: [\"::ffff:10.0.0.5\", \"::ffff:10.0.0.0/104\", \"::ffff:0:0/96\", \"::/0\", \"::1:0:0/96\"]";
    let mapped = config(&format!("{SMALL}{SMALL_ACL}users: [{{name: app, {mapped}}}]\n"));
    let denied: Vec<String> = mapped.conditions[0].1.networks.deny.iter().map(ToString::to_string).collect();
    assert_eq!(denied, ["10.0.0.5/32", "10.0.0.0/8", "0.0.0.0/0", "::/0", "::1:0:0/96"]);
    let wide = |network: &str| {
        format!(
            "`deny_from` is `{network}`, of which IPv4 addresses written as IPv6 (`::ffff:0:0/96`) are a part; write \
             networks of IPv4 and of IPv6 on their own"
        )
    };
    for (networks, problem) in [
        ("deny_from: [\"::fffe:0:0/95\"]", wide("::fffe:0:0/95").as_str()),
        ("deny_from: [\"::/1\"]", wide("::/1").as_str()),
        ("allow_from: []", "`allow_from` is empty; write a network such as `10.0.0.0/8`"),
        (
            "deny_from: [10.0.0.1/8]",
            "`deny_from` is `10.0.0.1/8`, which has bits behind its prefix; write `10.0.0.0/8`",
        ),
        ("deny_from: [host]", "`deny_from` is `host`; write a network such as `10.0.0.0/8` or an IP address"),
    ] {
        let found = problems(&format!("{SMALL}{SMALL_ACL}users: [{{name: app, {networks}}}]\n"));
        assert!(found.contains(problem), "{found}");
    }
}

/// A configuration with `identity` of a listener that asks for certificates, and users.
fn with_identity(identity: &str, users: &str) -> String {
    let tls = format!("cert_file: c, key_file: k, ca_cert_file: a, {identity}");
    format!(
        "listeners: [{{bind: \"127.0.0.1:0\", tls: {{{tls}}}}}]\nupstream: {{address: \"unix:/redis.sock\"}}\n{users}"
    )
}

#[test]
fn certificates_become_users_as_identity_says() {
    use crate::policy::{Certificate, Login, NameKind};
    let users = "users: [{name: a, rules: on}, {name: b, rules: on, login: cert_only}, \
                 {name: c, rules: on, login: cert_and_password}]\n";
    let map = "[{pattern: \"spiffe://x/{ns}/{sa}\", user: \"{ns}/{sa}\"}, {pattern: u, user: v}]";
    let config = config(&with_identity(&format!("identity: {{from: san_uri, map: {map}}}"), users));
    let logins: Vec<Login> = config.conditions.iter().map(|(_, conditions)| conditions.login).collect();
    assert_eq!(logins, [Login::Any, Login::CertificateOnly, Login::CertificateAndPassword]);
    let identity = config.listeners[0].tls.as_ref().unwrap().identity.as_ref().unwrap();
    let user = |uri: &str| {
        let mut certificate = Certificate::default();
        certificate.add(NameKind::SanUri, uri.as_bytes());
        identity.user_of(&certificate).ok()
    };
    assert_eq!(user("spiffe://x/a/b").as_deref(), Some("a/b"));
    assert_eq!((user("u").as_deref(), user("w")), (Some("v"), None));
}

#[test]
fn identities_that_could_never_be_or_could_be_misread_are_refused() {
    let own = "spiffe://x/{ns}/{sa}";
    let map = |pattern: &str, user: &str| {
        format!("identity: {{from: san_uri, map: [{{pattern: \"{pattern}\", user: \"{user}\"}}]}}")
    };
    for (identity, problem) in [
        ("identity: {}".to_owned(), "key `from` is missing in `identity`; write `from: san_uri`"),
        ("identity: {from: san}".to_owned(), "`from` is `san`; write one of `cn`, `san_uri`, `san_dns`"),
        ("identity: {from: cn, map: []}".to_owned(), "`map` is empty; write at least one entry such as"),
        (
            "identity: {from: cn}, auth_clients: no".to_owned(),
            "`identity` needs certificates of clients, which this",
        ),
        (map("{a}{b}", "u"), "`pattern` has `{a}` and `{b}` with nothing between them; write text there"),
        (map("{a}-{b}", "u"), "`pattern` does not say where `{a}` ends, since `-` could belong to it; "),
        (map("{a", "u"), "`pattern` has a `{` or `}` that is no placeholder; write one such as `{ns}`"),
        (map(own, "{nz}"), "`user` has `{nz}`, which the pattern lacks; write one of its placeholders"),
        (map(own, "{ns}{sa}"), "`user` has `{ns}` and `{sa}` with nothing between them; write text there"),
        (map(own, "{ns} {sa}"), "`user` has white space, which no name of a user may have; remove it"),
        (map(own, ""), "`user` is empty; "),
    ] {
        let found = problems(&with_identity(&identity, SMALL_ACL));
        assert!(found.contains(problem), "{identity}: {found}");
    }
    for login in ["cert_only", "cert_and_password"] {
        let users = format!("users: [{{name: app, rules: on, login: {login}}}]\n");
        let found = problems(&with_identity("auth_clients: yes", &users));
        let expected =
            "t.yaml:3:16: user `app` needs a certificate to log in, and no listener turns certificates";
        assert!(found.contains(expected), "{found}");
    }
    let found =
        problems(&with_identity("identity: {from: cn}", "users: [{name: a, rules: on, login: cert}]\n"));
    assert!(
        found.contains("`login` is `cert`; write one of `any`, `cert_only`, `cert_and_password`"),
        "{found}"
    );
}

#[test]
fn a_key_fence_is_one_setting_for_all_and_one_for_each_user() {
    let of = |more: &str| config(&format!("{SMALL}{more}"));
    let conditions = |config: &Config| config.conditions[0].1.fence;
    let inline = of("users: [{name: app, rules: -@all}]\n");
    assert_eq!((inline.fence, conditions(&inline)), (false, None));
    let own = of("users: [{name: app, rules: -@all, fence: yes}]\n");
    assert_eq!((own.fence, conditions(&own)), (false, Some(true)));
    let all = of("acl: {file: users.acl, fence: on}\nusers: [{name: app, fence: no}]\n");
    assert_eq!((all.fence, conditions(&all)), (true, Some(false)));
    let found = problems(&format!("{SMALL}users: [{{name: app, rules: -@all, fence: maybe}}]\n"));
    assert!(found.contains("`fence` is `maybe`; write `yes` or `no`"), "{found}");
}

#[test]
fn yes_no_true_and_false_mean_what_they_say() {
    for (word, expected) in [
        ("yes", true),
        ("true", true),
        ("on", true),
        ("Yes", true),
        ("TRUE", true),
        ("\"yes\"", true),
        ("no", false),
        ("false", false),
        ("off", false),
        ("No", false),
        ("FALSE", false),
        ("'no'", false),
    ] {
        let config = config(&format!("{SMALL}{SMALL_ACL}protected_mode: {word}\n"));
        assert_eq!(config.protected_mode, expected, "{word}");
    }
    for word in ["y", "n", "1", "0", "~", "[]", "{}", "\"\"", "nein"] {
        let found = problems(&format!("{SMALL}{SMALL_ACL}protected_mode: {word}\n"));
        assert!(found.starts_with("conf/t.yaml:4:"), "{word}: {found}");
    }
    for (word, expected) in
        [("yes", AuthClients::Yes), ("optional", AuthClients::Optional), ("no", AuthClients::No)]
    {
        let tls = format!("{{cert_file: c, key_file: k, ca_cert_file: a, auth_clients: {word}}}");
        let source = format!(
            "listeners: [{{bind: \"127.0.0.1:0\", tls: {tls}}}]\nupstream: {{address: \"unix:/r\"}}\n{SMALL_ACL}"
        );
        assert_eq!(config(&source).listeners[0].tls.as_ref().unwrap().auth_clients, expected);
    }
}

#[test]
fn who_names_a_ca_asks_for_certificates_unless_told_otherwise() {
    let with = |tls: &str| {
        let source = format!(
            "listeners: [{{bind: \"127.0.0.1:0\", tls: {tls}}}]\nupstream: {{address: \"unix:/r\"}}\n{SMALL_ACL}"
        );
        config(&source).listeners[0].tls.as_ref().unwrap().auth_clients
    };
    assert_eq!(with("{cert_file: c, key_file: k}"), AuthClients::No);
    assert_eq!(with("{cert_file: c, key_file: k, ca_cert_file: a}"), AuthClients::Yes);
}

#[test]
fn words_that_yaml_takes_for_something_else_stay_words() {
    let source = format!(
        "{SMALL}users:\n  - {{name: yes, rules: on}}\n  - {{name: 0755, rules: on}}\n  - {{name: 1e999, rules: \"off\"}}\n  - {{name: .inf, rules: on}}\n"
    );
    let UserSource::Inline(users) = config(&source).users else { panic!("inline users") };
    let names: Vec<&str> = users.iter().map(|user| user.name.value.as_str()).collect();
    assert_eq!(names, ["yes", "0755", "1e999", ".inf"]);
    assert_eq!(users[2].rules.text, "off");
}

/// ECOSYSTEM §1.3: the old package lost some of these without a word, and the user had other rights than written.
#[test]
fn acl_items_that_yaml_would_eat_are_refused_and_quoted_ones_are_kept() {
    for item in ["&c", "#h", "!h", "!h x", ">p", "%R~k", "@all", "*", "~", "&c ~x"] {
        let user = |rules: &str| format!("{SMALL}users:\n  - name: app\n    rules: {rules}\n");
        let found = parse_text(&user(item));
        match found {
            Err(problems) => {
                let shown = problems.to_string();
                assert!(shown.starts_with("conf/t.yaml:5:"), "{item}: {shown}");
                assert!(shown.contains("quotes"), "{item}: {shown}");
            }
            Ok(_) => panic!("{item} without quotes was taken"),
        }
        let quoted = config(&user(&format!("\"{item}\"")));
        let UserSource::Inline(users) = quoted.users else { panic!("inline users") };
        assert_eq!(users[0].rules.text, item);
        let at = users[0].rules.position_of(1);
        assert_eq!((at.line, at.column), (5, 14), "{item}");
    }
    // `-@all` is an ordinary word to YAML; the tenth item, a user twice, is in contradictions.yaml.
    let UserSource::Inline(users) = config(&format!("{SMALL}users: [{{name: app, rules: -@all}}]\n")).users
    else {
        panic!("inline users")
    };
    assert_eq!(users[0].rules.text, "-@all");
}

#[test]
fn rules_that_a_comment_would_cut_are_refused() {
    let found = problems(&format!("{SMALL}users:\n  - name: app\n    rules: on +@all #hash -@dangerous\n"));
    assert_eq!(
        found,
        "conf/t.yaml:5:12: `rules` ends at a comment, and a password hash starts with `#` too; put the rules in quotes"
    );
    config(&format!("{SMALL}users:\n  - name: app\n    rules: \"on #hash\" # a comment\n"));
    config(&format!("{SMALL}users:\n  - name: app\n    rules: |\n      on #hash\n      +@all\n"));
}

#[test]
fn a_rule_position_is_known_if_the_text_is_literal() {
    let source = |rules: &str| format!("{SMALL}users:\n  - name: app\n    rules: {rules}\n");
    for (rules, offset, line, column) in [
        ("on +@all", 3, 5, 15),
        ("\"on ~é +x\"", 7, 5, 19),
        ("'on +x'", 3, 5, 16),
        ("\"on\\x20+x\"", 3, 5, 12),
        ("|\n      on\n      +x", 3, 6, 7),
        ("|\n      on +x", 3, 6, 10),
    ] {
        let UserSource::Inline(users) = config(&source(rules)).users else { panic!("inline users") };
        let at = users[0].rules.position_of(offset);
        assert_eq!((at.line, at.column), (line, column), "{rules}");
    }
}

#[test]
fn every_mapping_refuses_an_unknown_key() {
    let lines = [
        "zzz: 1",
        "listeners:",
        "  - zzz: 1",
        "    bind: 127.0.0.1:0",
        "    tls:",
        "      zzz: 1",
        "      cert_file: c",
        "      key_file: k",
        "upstream:",
        "  zzz: 1",
        "  address: rediss://redis",
        "  tls:",
        "    zzz: 1",
        "    ca_cert_file: a",
        "acl:",
        "  zzz: 1",
        "users:",
        "  - zzz: 1",
        "    name: app",
        "    rules: on",
        "commands:",
        "  zzz: 1",
        "limits:",
        "  zzz: 1",
        "  per_user:",
        "    zzz: 1",
        "scripts:",
        "  zzz: 1",
        "log:",
        "  zzz: 1",
        "audit:",
        "  zzz: 1",
    ];
    let found = problems(&lines.join("\n"));
    let expected: Vec<String> = (1..)
        .zip(lines)
        .filter(|(_, line)| line.contains("zzz"))
        .map(|(number, line)| {
            format!("conf/t.yaml:{number}:{}: unknown key `zzz` in ", line.find("zzz").unwrap() + 1)
        })
        .collect();
    assert_eq!(found.lines().count(), expected.len(), "{found}");
    for (found, expected) in found.lines().zip(expected) {
        assert!(found.starts_with(&expected), "{found} / {expected}");
        assert!(found.contains("; known keys are `"), "{found}");
    }
}

#[test]
fn the_audit_log_is_off_unless_it_is_asked_for_and_contradictions_are_told() {
    let audit = |text: &str| config(&format!("{SMALL}{SMALL_ACL}{text}")).audit;
    let none = audit("");
    assert_eq!((none.level, none.hashed, none.required, none.buffer), (Level::Off, false, false, 8 << 20));
    for level in ["off", "no", "false", "denied", "admin", "all"] {
        let parsed = parse_text(&format!("{SMALL}{SMALL_ACL}audit: {{level: {level}}}\n"));
        assert_eq!(parsed.is_ok(), level != "no", "{level}");
    }
    assert_eq!(audit("audit: {level: denied, required: yes}\n").level, Level::Denied);
    assert_eq!(audit("audit: {file: a.log}\n").file.unwrap().value, Path::new("conf/a.log"));
    for (text, expected) in [
        (
            "{required: yes}",
            "4:1: `required` needs something to record; write `level: denied`, `admin` or `all`",
        ),
        (
            "{level: all, key_hash_secret_env: X}",
            "4:42: the secret is only used with `keys: hashed`; write that, or remove it",
        ),
        ("{level: some}", "4:16: `level` is `some`; write one of `off`, `denied`, `admin`, `all`"),
        ("{keys: plain}", "4:15: `keys` is `plain`; write one of `redacted`, `hashed`"),
        ("{buffer: 1kb}", "4:17: `buffer` is `1kb`; write at least `16kb`"),
    ] {
        let found = problems(&format!("{SMALL}{SMALL_ACL}audit: {text}\n"));
        assert_eq!(found, format!("conf/t.yaml:{expected}"));
    }
}

#[test]
fn yaml_that_is_not_plain_data_is_refused_with_its_place() {
    for (source, expected) in [
        (
            "a: 1\n---\nb: 2\n",
            "conf/t.yaml:2:1: a second document starts here; write one document without `---` lines",
        ),
        (
            "x: *nope\n",
            "conf/t.yaml:1:4: a value starts with `*`, which is an alias in YAML; put it in quotes",
        ),
        (
            "x: !env NOPE\n",
            "conf/t.yaml:1:9: a value starts with `!`, which is a tag in YAML; put it in quotes",
        ),
        ("x: &a [*a]\n", "conf/t.yaml:1:8: an alias stands inside its own anchor; write the value out"),
    ] {
        assert_eq!(problems(source), expected);
    }
    assert!(problems(&"- ".repeat(1000)).contains("nested deeper than 32 levels"));
    assert!(problems(&"[".repeat(100_000)).starts_with("conf/t.yaml:1:"));
    assert!(problems("").contains("key `listeners` is missing in the top level"));
    assert!(problems("- a\n").contains("is a list"));
    assert!(problems("? [a]\n: b\n").contains("a list as a key in the top level; write a name"));
    let merged = format!("{SMALL}{SMALL_ACL}<<: {{workers: 2}}\n");
    assert!(
        problems(&merged)
            .ends_with("unknown key `<<` in the top level; merge keys are not supported; write the keys out")
    );
}

#[test]
fn anchors_work_and_bombs_do_not() {
    let source = "listeners:\n  - bind: 127.0.0.1:0\n    tls: &tls {cert_file: c, key_file: k}\n  - bind: 127.0.0.2:0\n    tls: *tls\nupstream: {address: \"unix:/r\"}\nacl: {file: u}\n";
    let config = config(source);
    assert_eq!(config.listeners[1].tls.as_ref().unwrap().own.cert_file.value, Path::new("conf/c"));
    assert_eq!(config.listeners[1].tls.as_ref().unwrap().own.cert_file.at.line, 5);
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    assert!(problems(&bomb).contains("anchors and aliases expand to too much"), "{}", problems(&bomb));
}

#[test]
fn byte_order_marks_and_windows_line_ends_are_harmless() {
    let source = format!("\u{feff}{SMALL}{SMALL_ACL}protected_mode: no\nworkers: x\n").replace('\n', "\r\n");
    assert_eq!(problems(&source), "conf/t.yaml:5:10: `workers` is `x`; write a whole number from 1 to 1024");
}

#[test]
fn paths_are_relative_to_the_folder_of_the_file() {
    let config = config(
        "listeners: [{bind: \"unix:l.sock\"}]\nupstream: {address: \"unix:r.sock\", password_file: pw}\nacl: {file: /abs/u}\n",
    );
    assert_eq!(config.listeners[0].bind.value, Bind::Unix("conf/l.sock".into()));
    assert_eq!(config.upstream.address, UpstreamAddress::Unix("conf/r.sock".into()));
    assert_eq!(config.upstream.password.unwrap().value, SecretSource::File("conf/pw".into()));
    assert!(matches!(config.users, UserSource::AclFile(file) if file.value == Path::new("/abs/u")));
}

#[test]
fn a_password_alone_makes_the_default_user_the_only_one() {
    let config = config(&format!("{SMALL}acl: {{requirepass_env: PW}}\n"));
    assert!(matches!(config.users, UserSource::DefaultOnly));
    assert_eq!(config.requirepass.unwrap().value, SecretSource::Env("PW".into()));
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_and_not_a_panic() {
    let found = load(Path::new("/nonexistent/r.yaml")).map(|_| ()).unwrap_err().to_string();
    assert_eq!(found, "/nonexistent/r.yaml:1:1: cannot read the configuration: no such file or directory");
    assert!(
        load(Path::new("/dev/zero")).map(|_| ()).unwrap_err().to_string().contains("more than 1048576 bytes")
    );
    assert!(load(Path::new("/")).is_err());
}

/// A whole configuration of files that are there: nothing is wrong until one of them is another's.
#[test]
fn files_that_fit_pass_the_check_and_a_foreign_key_is_found_at_its_line() {
    let folder = std::env::temp_dir().join(format!("redkeep-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["a", "b"] {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(folder.join(format!("{name}.crt")), made.cert.pem()).unwrap();
        let key = folder.join(format!("{name}.key"));
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    std::fs::write(folder.join("pw"), "hunter2\n").unwrap();
    let source = "listeners:
  - bind: 127.0.0.1:0
    tls:
      cert_file: a.crt
      key_file: KEY
      ca_cert_file: b.crt
      auth_clients: yes
upstream:
  address: rediss://redis
  password_file: pw
  tls:
    ca_cert_file: b.crt
    cert_file: b.crt
    key_file: KEY
users:
  - {name: app, rules: on, password_files: [pw, pw]}
";
    let check = |key: &str| {
        let path = folder.join("redkeep.yaml");
        std::fs::write(&path, source.replace("KEY", key)).unwrap();
        let found = check_files(&load(&path).unwrap());
        found.to_string().replace(&format!("{}/", folder.display()), "")
    };
    let foreign = "the private key does not belong to the certificate; write the key that it was made with";
    assert_eq!(check("a.key"), format!("redkeep.yaml:14:15: {foreign}"));
    assert_eq!(check("b.key"), format!("redkeep.yaml:5:17: {foreign}"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn debug_output_shows_neither_rules_nor_secrets() {
    let source =
        format!("{SMALL}users:\n  - {{name: app, rules: \"on >hunter2\", password_envs: [APP_PASSWORD]}}\n");
    assert!(!format!("{:?}", config(&source)).contains("hunter2"));
}

proptest::proptest! {
    /// Whatever an editor, a template or a half-written file makes of the example: problems with places, no panic.
    #[test]
    fn damaged_configurations_never_panic_and_have_places(
        cuts in proptest::collection::vec((0usize..4000, 0usize..6, "[\\[\\]{}:,&*!|>'\"#%@`~ \t\n\\-?a-c\u{e9}]{0,4}"), 1..6),
    ) {
        let mut source: Vec<char> =
            std::fs::read_to_string(Path::new(ROOT).join("config/redkeep.yaml")).unwrap().chars().collect();
        for (at, removed, inserted) in cuts {
            let at = at % source.len();
            let end = (at + removed).min(source.len());
            source.splice(at..end, inserted.chars());
        }
        if let Err(problems) = parse_text(&source.into_iter().collect::<String>()) {
            for problem in problems.sorted() {
                assert!(problem.line > 0 && problem.column > 0 && !problem.text.contains('\n'));
                assert!(problem.text.contains(';'), "no advice: {problem}");
            }
        }
    }
}

#[test]
fn what_holds_for_everyone_is_read_as_it_is_written() {
    let gates = config(&format!("{SMALL}{SMALL_ACL}")).gates;
    assert_eq!(gates.switches, Switches::default());
    assert_eq!(gates.bounds, Bounds::default());
    assert!(gates.deny.is_empty() && gates.protected_configs.is_empty());
    let written = config(&format!(
        "{SMALL}{SMALL_ACL}enable_debug_command: local\nenable_module_command: true\nenable_protected_configs: no\n\
         commands:\n  deny: [FLUSHALL, '@dangerous']\n  protected_configs: [save]\n  \
         bounds: {{ max_count: 7, max_pattern_bytes: 1kb, max_offset_bytes: 1mb }}\n"
    ));
    let GateSettings { deny, protected_configs, bounds, switches } = written.gates;
    let texts = |list: &[Located<String>]| list.iter().map(|name| name.value.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&deny), ["FLUSHALL", "@dangerous"]);
    assert_eq!(texts(&protected_configs), ["save"]);
    let expected =
        Bounds { max_count: Some(7), max_pattern_bytes: Some(1024), max_offset_bytes: Some(1024 * 1024) };
    assert_eq!(bounds, expected);
    let Switches { debug, module, protected_configs } = switches;
    assert_eq!((debug, module, protected_configs), (Enabled::Local, Enabled::Yes, Enabled::No));
}
