use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::policy::Origin;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("redkeep-users-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, text: &str) -> PathBuf {
        let path = self.0.join("users.acl");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.0).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const FILE: &str = "user default off\nuser app on nopass ~app:* +@all\n";

fn users(file: Option<PathBuf>) -> Users {
    let users = parse_file(FILE.as_bytes(), Defaults::default(), &CommandTable::builtin()).unwrap();
    let source = Source {
        users,
        file,
        requirepass: None,
        conditions: Default::default(),
        gates: Gates::default(),
        defaults: Defaults::default(),
        log_max_len: 8,
        file_digest: None,
    };
    Users::new(source, None)
}

fn line(users: &Users, name: &str) -> Option<String> {
    let policy = users.live().load();
    policy.user(name.as_bytes()).map(|user| String::from_utf8(user.describe(policy.dialect())).unwrap())
}

fn load(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn setuser_changes_all_or_nothing_and_wakes_the_sessions_once() {
    let users = users(None);
    let woken = Arc::new(AtomicUsize::new(0));
    let seen = woken.clone();
    users.on_change(move || {
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let before = (line(&users, "app"), users.live().load().generation());
    let refused = users.set_user(b"app", &[b"~more", b"+nosuch"]).unwrap_err();
    let text = "ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL";
    assert_eq!(String::from_utf8(refused).unwrap(), text);
    assert_eq!((line(&users, "app"), users.live().load().generation()), before);
    assert_eq!(
        users.set_user(b"a b", &[]).unwrap_err(),
        b"ERR Usernames can't contain spaces or null characters"
    );
    assert_eq!(woken.load(Ordering::Relaxed), 0);
    users.set_user(b"app", &[b"~more", b"-set"]).unwrap();
    users.set_user(b"new", &[]).unwrap();
    assert_eq!(woken.load(Ordering::Relaxed), 2);
    assert_eq!(
        line(&users, "app").unwrap(),
        "user app on nopass sanitize-payload ~app:* ~more resetchannels +@all -set"
    );
    assert_eq!(line(&users, "new").unwrap(), "user new off sanitize-payload resetchannels -@all");
    users.set_all_channels(true);
    users.set_user(b"loud", &[]).unwrap();
    assert_eq!(line(&users, "loud").unwrap(), "user loud off sanitize-payload &* -@all");
}

#[test]
fn a_user_who_is_deleted_and_made_again_is_another_one() {
    let users = users(None);
    let incarnation = || users.live().load().incarnation(b"app");
    let first = incarnation();
    users.set_user(b"app", &[b"off"]).unwrap();
    assert_eq!(incarnation(), first, "a change keeps sessions");
    assert_eq!(users.delete(&[b"app", b"nobody", b"app"]), Ok(1));
    assert_eq!(incarnation(), None);
    users.set_user(b"app", &[b"on"]).unwrap();
    assert!(incarnation().is_some() && incarnation() != first);
}

#[test]
fn the_default_user_cannot_be_deleted() {
    let users = users(None);
    let refused = users.delete(&[b"app", b"default"]);
    assert_eq!(refused, Err("ERR The 'default' user cannot be removed"));
    assert!(line(&users, "app").is_some() && line(&users, "default").is_some());
}

#[test]
fn load_takes_the_file_or_nothing_and_keeps_those_who_stay() {
    let folder = Folder::new("load");
    let path = folder.write(FILE);
    let users = users(Some(path.clone()));
    let first = users.live().load().incarnation(b"app");
    users.set_user(b"guest", &[b"on"]).unwrap();
    folder.write("user default off\nuser app on +nosuch\nuser app on\n");
    let refused = users.load().unwrap_err();
    assert!(refused.starts_with(&format!("ERR {}:2: ", path.display())), "{refused}");
    assert!(refused.contains(":3: ") && refused.ends_with(NOT_LOADED), "{refused}");
    assert!(line(&users, "guest").is_some());
    folder.write("user default off\nuser app on >pw ~other +get\n");
    users.load().unwrap();
    assert_eq!(line(&users, "guest"), None);
    assert_eq!(users.live().load().incarnation(b"app"), first);
    assert!(users.live().load().login(Origin::default(), b"app", b"pw").is_some());
    folder.write("user app on >pw ~* &* +@all\n");
    assert!(users.load().unwrap_err().contains("no line for `default`"));
}

#[test]
fn save_writes_what_load_reads_and_keeps_mode_and_link() {
    let folder = Folder::new("save");
    let target = folder.write(FILE);
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.0.join("link.acl");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let users = users(Some(link.clone()));
    users.set_user(b"guest", &[b"on", b">secret", b"%R~x", b"(+get", b"~y)"]).unwrap();
    let before = target.metadata().unwrap();
    users.save().unwrap();
    let after = target.metadata().unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino(), "written beside, then renamed");
    assert_eq!(folder.names().len(), 2, "nothing is left over: {:?}", folder.names());
    assert!(!load(&target).contains("secret"));
    let shown: Vec<_> = ["app", "default", "guest"].iter().filter_map(|name| line(&users, name)).collect();
    assert_eq!(load(&target), format!("{}\n", shown.join("\n")));
    users.load().unwrap();
    assert_eq!(line(&users, "guest"), shown.get(2).cloned());
}

#[test]
fn a_file_that_cannot_be_replaced_stays_as_it_was() {
    let folder = Folder::new("unsaved");
    let users = users(Some(folder.0.join("gone.acl")));
    assert_eq!(users.save(), Err(NOT_SAVED));
    assert!(folder.names().is_empty());
    assert_eq!(self::users(None).save(), Err(NO_FILE));
    assert_eq!(self::users(None).load(), Err(NO_FILE.to_owned()));
}

#[test]
fn requirepass_is_the_only_password_of_the_default_user() {
    let users = users(None);
    users.set_user(b"default", &[b"on", b">old", b"~*", b"+@all"]).unwrap();
    users.set_requirepass(b"new");
    let login =
        |password: &[u8]| users.live().load().login(Origin::default(), b"default", password).is_some();
    assert!(login(b"new") && !login(b"old") && !login(b""));
    users.set_requirepass(b"");
    assert!(login(b"anything"));
}

#[test]
fn a_reload_keeps_the_sessions_of_users_that_stay() {
    let users = users(None);
    let first = users.live().load().incarnation(b"app");
    let source = Source {
        users: parse_file(FILE.as_bytes(), Defaults::default(), &CommandTable::builtin()).unwrap(),
        file: None,
        requirepass: None,
        conditions: Default::default(),
        gates: Gates::default(),
        defaults: Defaults::default(),
        log_max_len: 3,
        file_digest: None,
    };
    users.set_user(b"guest", &[]).unwrap();
    users.replace(source, Unchanged::Replace);
    assert_eq!(users.live().load().incarnation(b"app"), first);
    assert_eq!(line(&users, "guest"), None);
    assert_eq!(users.log().max_len(), 3);
}

#[test]
fn a_change_that_was_seen_leaves_users_alone_whose_sources_are_the_same_and_takes_over_all_else() {
    let table = CommandTable::builtin();
    let source = |text: &str, gates: Gates, conditions: ConditionsByUser| Source {
        users: parse_file(text.as_bytes(), Defaults::default(), &table).unwrap(),
        file: None,
        file_digest: None,
        requirepass: None,
        conditions,
        gates,
        defaults: Defaults::default(),
        log_max_len: 8,
    };
    let users = users(None);
    users.set_user(b"guest", &[b"on"]).unwrap();
    let generation = users.live().load().generation();
    assert_eq!(
        users.replace(source(FILE, Gates::default(), Default::default()), Unchanged::Keep),
        generation
    );
    let rename = crate::policy::Rename { command: "get".to_owned(), alias: String::new() };
    let renamed = || Gates::new(std::slice::from_ref(&rename), &table).unwrap();
    assert_eq!(users.replace(source(FILE, renamed(), Default::default()), Unchanged::Keep), generation + 1);
    assert_eq!(**users.live().load().gates(), renamed());
    let fenced = || ConditionsByUser::default().with_fence(true);
    assert_eq!(users.replace(source(FILE, renamed(), fenced()), Unchanged::Keep), generation + 2);
    assert!(line(&users, "guest").is_some(), "who was made by a client is still there");
    let more = format!("{FILE}user more off\n");
    users.replace(source(&more, renamed(), fenced()), Unchanged::Keep);
    assert_eq!((line(&users, "guest"), line(&users, "more").is_some()), (None, true));
    users.set_user(b"guest", &[b"on"]).unwrap();
    users.replace(source(&more, renamed(), fenced()), Unchanged::Replace);
    assert_eq!(line(&users, "guest"), None);
}
