//! `redkeep check`: all that is wrong at once, each at its line; exit code 2, and no port bound.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::inotify;

use crate::support::{Proxy, Redis, TempDir, wait_for};

#[test]
fn broken_configurations_are_reported_by_line_and_with_exit_code_2() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/broken");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let output = check(&path);
        let expected = std::fs::read_to_string(path.with_extension("expected")).unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", path.display());
        let said = String::from_utf8(output.stderr).unwrap();
        for line in expected.lines() {
            assert!(said.contains(line), "{}: no line `{line}` in\n{said}", path.display());
        }
        count += 1;
    }
    assert!(count >= 10, "{count} broken configurations");
}

#[test]
fn faults_in_configuration_rules_and_acl_file_are_all_reported_at_once() {
    let dir = TempDir::new();
    let users = dir.write("users.acl", "user default off\nuser a on +nosuch ~x\nuser b onn +@nosuch\n");
    let path = dir.write(
        "redkeep.yaml",
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:/x\nacl:\n  file: {}\ncommands:\n  rename: {{ NOSUCH: \"\", GET: SET }}\n",
            users.display()
        ),
    );
    let output = check(&path);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for place in [
        "users.acl:2:11: ",
        "users.acl:3:8: ",
        "users.acl:3:12: ",
        "redkeep.yaml:8:13: ",
        "redkeep.yaml:8:25: ",
    ] {
        assert!(said.contains(place), "no {place} in\n{said}");
    }
}

#[test]
fn rules_of_inline_users_are_reported_at_their_column() {
    let dir = TempDir::new();
    let path = dir.write(
        "redkeep.yaml",
        "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:/x\nusers:\n  - name: app\n    rules: \"on ~k +nosuch\"\n",
    );
    let said = String::from_utf8(check(&path).stderr).unwrap();
    assert!(said.contains("redkeep.yaml:7:19: "), "{said}");
}

#[test]
fn a_good_configuration_is_accepted_and_no_port_is_bound() {
    let proxy = Proxy::standard(Redis::shared());
    // The ports are taken by the running proxy, which a check does not mind.
    let port = proxy.port(1);
    let yaml = std::fs::read_to_string(proxy.config_path())
        .unwrap()
        .replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let one = yaml.split_once("  - bind").map(|(head, tail)| {
        let second = tail.rsplit_once("  - bind").unwrap().1;
        format!("{head}  - bind{second}")
    });
    let path = proxy.dir.write("again.yaml", one.unwrap());
    let output = check(&path);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_configuration_of_the_compose_deployment_is_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = TempDir::new();
    let certs = crate::support::certs::Certs::new(dir.path());
    let mut yaml = std::fs::read_to_string(root.join("deploy/compose/redkeep/redkeep.yaml")).unwrap();
    for name in words_with(&yaml, "/run/secrets/") {
        let file = if name.ends_with("crt") || name.ends_with("cert") {
            certs.cert.clone()
        } else if name.ends_with("key") {
            certs.key.clone()
        } else {
            dir.write("password", "secret")
        };
        yaml = yaml.replace(&name, file.to_str().unwrap());
    }
    let output = check(&dir.write("redkeep.yaml", yaml));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn wrong_usage_has_exit_code_2_and_help_names_every_command() {
    let redkeep = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_redkeep")).args(args).output().unwrap();
    assert_eq!(redkeep(&["nosuch"]).status.code(), Some(2));
    assert_eq!(redkeep(&["run", "--nosuch"]).status.code(), Some(2));
    assert_eq!(redkeep(&["run", "--config", "/nosuch/redkeep.yaml"]).status.code(), Some(2));
    let help = String::from_utf8(redkeep(&["--help"]).stdout).unwrap();
    for word in ["run", "check", "explain", "demo", "healthcheck", "Exit codes", "SIGHUP"] {
        assert!(help.contains(word), "{word} in\n{help}");
    }
}

#[test]
fn an_address_in_use_has_exit_code_5_and_is_named() {
    let proxy = Proxy::standard(Redis::shared());
    let yaml = std::fs::read_to_string(proxy.config_path()).unwrap();
    let taken = yaml.replacen("127.0.0.1:0", &format!("127.0.0.1:{}", proxy.port(0)), 1);
    let path = proxy.dir.write("taken.yaml", taken);
    let output =
        Command::new(env!("CARGO_BIN_EXE_redkeep")).args(["run", "--config"]).arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{}", proxy.port(0))), "{said}");
}

fn check(path: &Path) -> std::process::Output {
    let folder = path.parent().unwrap();
    Command::new(env!("CARGO_BIN_EXE_redkeep"))
        .args(["check", "--config"])
        .arg(path.file_name().unwrap())
        .current_dir(folder)
        .output()
        .unwrap()
}

/// The words of a YAML text that begin with `prefix`.
fn words_with(yaml: &str, prefix: &str) -> Vec<String> {
    let ends = |c: char| c.is_whitespace() || "[],\"'".contains(c);
    let mut words: Vec<String> = yaml
        .match_indices(prefix)
        .map(|(start, _)| yaml[start..].split(ends).next().unwrap().to_owned())
        .collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words
}

/// Has a file vanish as soon as it was read twice: for its digest, and to see whether it can be used. As in a rotation at
/// the wrong moment.
fn vanishing(path: &Path) -> std::thread::JoinHandle<()> {
    let inotify = inotify::init(inotify::CreateFlags::empty()).unwrap();
    let flags = inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE_NOWRITE;
    inotify::add_watch(&inotify, path, flags).unwrap();
    let path = path.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
        let mut events = inotify::Reader::new(inotify, &mut buffer);
        for _ in 0..2 {
            while !events.next().unwrap().events().contains(inotify::ReadFlags::CLOSE_NOWRITE) {}
        }
        std::fs::remove_file(path).unwrap();
    })
}

#[test]
fn files_that_vanish_while_they_are_read_open_nothing() {
    for name in ["server.key", "requirepass", "app-password"] {
        let dir = TempDir::new();
        let certs = crate::support::certs::Certs::new(dir.path());
        dir.write("requirepass", "sesame");
        dir.write("app-password", "sesame");
        let content = std::fs::read(dir.path().join(name)).unwrap();
        let path = dir.write(
            "redkeep.yaml",
            format!(
                "listeners:\n  - bind: 127.0.0.1:0\n    tls: {{ cert_file: {}, key_file: {} }}\nupstream:\n  \
                 address: unix:/x\nacl:\n  requirepass_file: requirepass\nusers:\n  - name: app\n    rules: \
                 \"on ~*\"\n    password_files: [app-password]\n",
                certs.cert.display(),
                certs.key.display()
            ),
        );
        let good = check(&path);
        assert_eq!(good.status.code(), Some(0), "{}", String::from_utf8_lossy(&good.stderr));
        // It is read a third time within a millisecond or so: on a busy machine it may still be there.
        wait_for("a file that vanishes in between", || {
            dir.write(name, &content);
            std::fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o600)).unwrap();
            let vanished = vanishing(&dir.path().join(name));
            let output = check(&path);
            vanished.join().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            if output.status.code() == Some(0) {
                return None;
            }
            assert_eq!(output.status.code(), Some(2), "{name}: {said}");
            assert!(said.contains("changed while it was read"), "{name}: {said}");
            Some(())
        });
    }
}
