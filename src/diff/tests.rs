use super::*;
use crate::acl::parse_file;
use crate::policy::{Conditions, ConditionsByUser, Gates, Identity, NameKind, Rename, Scripts};

fn policy(users: &str, renames: &[(&str, &str)]) -> Policy {
    let table = CommandTable::builtin();
    let renames: Vec<Rename> = renames
        .iter()
        .map(|(command, alias)| Rename { command: (*command).to_owned(), alias: (*alias).to_owned() })
        .collect();
    // Every file has to say who the default user is.
    let default = if users.contains("user default") { "" } else { "user default off\n" };
    let users = format!("{default}{users}");
    let users = parse_file(users.as_bytes(), Defaults::default(), &table).unwrap();
    let gates = Gates::new(&renames, &table).unwrap();
    Policy::new(None, table, gates, users)
}

fn compared(old: &str, new: &str) -> String {
    page(&policy(old, &[]), &policy(new, &[]))
}

#[test]
fn rules_that_come_to_the_same_are_no_difference() {
    for (old, new) in [
        ("user a on >p ~x +@all -flushall", "user a on >p ~x +@all -flushall -flushall -FLUSHALL"),
        ("user a on >p ~x ~y", "user a ~y on ~x +get -get >p >q <q"),
        ("user a on\nuser b off", "user b off\nuser a on"),
        ("user a on +config|get (~k +get) (~l +set)", "user a on (~l +set) (~k +get) +config|get"),
    ] {
        assert_eq!(compared(old, new), "", "{old} -> {new}");
    }
}

#[test]
fn the_page_says_whose_rights_change_and_how() {
    let old = "\
user default off
user app on >one ~app:* &app:* +@read +set -get
user batch on nopass ~* &* +@all
user gone on >p +ping
user same on >p ~x +get
";
    let new = "\
user default off
user app off >one >two ~app:* ~cache:* %R~shared:* +get +hget +@geo +config +select|0 db=0,1 (~x +get)
user batch on >p ~* &* +@all -@dangerous
user fresh on >p ~f:* &f +ping
user same on >p +get ~x
";
    let expected = "\
user app
  login      off
  passwords  1 added, 0 removed, 2 valid
  commands   gains config geoadd georadius georadiusbymember geosearchstore get
  commands   loses EVERYTHING
  first args gains select|0
  keys       gains %R~shared:* ~cache:*
  channels   loses &app:*
  databases  db=0,1 instead of alldbs
  selectors  gains (~x resetchannels -@all +get)

user batch
  passwords  one is needed
  passwords  1 added, 0 removed, 1 valid
  commands   loses @dangerous

user fresh is new
  login      on
  passwords  1 added, 0 removed, 1 valid
  commands   gains ping
  keys       gains ~f:*
  channels   gains &f

user gone is removed; its sessions end

";
    let page = compared(old, new);
    let page = page.lines().map(|line| {
        // What @read is in all depends on the table; that it goes is what matters here.
        let loses = line.strip_prefix("  commands   loses ").filter(|rest| *rest != "@dangerous");
        loses.map_or(line.to_owned(), |_| "  commands   loses EVERYTHING".to_owned()) + "\n"
    });
    assert_eq!(page.collect::<String>(), expected);
}

#[test]
fn renamed_commands_concern_everyone_and_new_names_stay_secret() {
    let users = "user default off";
    let old = policy(users, &[("keys", "k_secret1"), ("debug", ""), ("info", "i_secret2")]);
    let new =
        policy(users, &[("keys", "k_secret3"), ("config", ""), ("info", "i_secret2"), ("get", "g_secret4")]);
    let page = page(&old, &new);
    assert_eq!(
        page,
        "everyone\n  config is disabled\n  get has another name\n  keys has a different other name, or none\n  \
         debug has its own name again\n\n"
    );
}

#[test]
fn neither_passwords_nor_hashes_are_shown_and_terminals_obey_nothing() {
    let page = compared("user a on >first ~x", "user a on >second ~y");
    assert!(!page.contains("first") && !page.contains("second") && !page.contains('#'), "{page}");
    let page = compared("user a on ~x", "user a on ~\u{1b}[2J");
    assert!(page.contains("~\\x1b[2J"), "{page}");
}

#[test]
fn what_holds_beside_the_rules_is_compared_too() {
    let with = |allow: &[&str], fence: bool| {
        let networks =
            Networks { allow: allow.iter().map(|text| text.parse().unwrap()).collect(), deny: Vec::new() };
        let conditions = Conditions { networks, fence: Some(fence), ..Conditions::default() };
        policy("user app on ~x", &[])
            .with_conditions([(Box::from(&b"app"[..]), conditions)].into_iter().collect())
    };
    assert_eq!(page(&with(&["10.0.0.0/8"], true), &with(&["10.0.0.0/8"], true)), "");
    assert_eq!(
        page(&with(&["10.0.0.0/8"], true), &with(&[], false)),
        "user app\n  addresses  any instead of only 10.0.0.0/8\n  key fence  no\n\n"
    );
    let with = |login: Login, max_connections: Option<usize>| {
        let caps = Caps { max_connections, max_leased: Some(0), ..Caps::default() };
        let conditions = Conditions { login, caps, ..Conditions::default() };
        policy("user app on", &[])
            .with_conditions([(Box::from(&b"app"[..]), conditions)].into_iter().collect())
    };
    assert_eq!(
        page(&with(Login::Any, Some(3)), &with(Login::CertificateOnly, None)),
        "user app\n  login by   cert_only instead of any\n  clients    any number instead of at most 3\n\n"
    );
    let fresh = page(&policy("", &[]), &with(Login::CertificateAndPassword, Some(7)));
    assert!(fresh.starts_with("user app is new\n  login      on\n"), "{fresh}");
    let held =
        "  login by   cert_and_password instead of any\n  clients    at most 7 instead of any number\n";
    assert!(fresh.contains(held), "{fresh}");
}

#[test]
fn whose_certificates_are_and_what_scripts_may_do_concern_everyone() {
    let users = "user default off";
    let plain = policy(users, &[]);
    let identities =
        ConditionsByUser::default().with_identities(vec![Some(Identity::new(NameKind::SanUri, None))]);
    assert_eq!(
        page(&plain, &policy(users, &[]).with_conditions(identities)),
        "everyone\n  which user a certificate stands for is different\n\n"
    );
    let scripts = Scripts { function_writers: vec!["app".into()], ..Scripts::default() };
    let table = CommandTable::builtin();
    let parsed = parse_file(users.as_bytes(), Defaults::default(), &table).unwrap();
    let writers = Policy::new(None, table, Gates::default().with_scripts(scripts), parsed);
    assert_eq!(
        page(&plain, &writers),
        "everyone\n  which scripts and functions may be run, or who may write functions, is different\n\n"
    );
}
