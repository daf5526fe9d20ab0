//! Secrets: where they may not show up, and the commands that make them.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use redkeep::acl::PasswordHash;

use crate::support::client::text;
use crate::support::{Proxy, Redis, TempDir, wait_for};

fn run(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_redkeep"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    text(&output.stdout)
}

#[test]
fn passwd_prints_the_hash_that_an_acl_file_takes() {
    for input in ["pass\n", "pass", "pass\r\n"] {
        let output = run(&["passwd"], input);
        assert!(output.status.success());
        assert_eq!(out(&output), "#d74ff0ee8da3b9806b18c877dbf29bbde50b5bd8e4dad7a3a725000feb82e8f1\n");
        assert!(output.stderr.is_empty());
    }
    for (input, text) in [("", "empty"), ("\n", "empty"), ("one\ntwo\n", "more than one line")] {
        let output = run(&["passwd"], input);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains(text));
    }
    assert_eq!(run(&["passwd", "an-argument"], "").status.code(), Some(2), "never as an argument");
}

#[test]
fn genpass_makes_passwords_as_acl_genpass_does() {
    let mut seen = BTreeSet::new();
    for (args, digits) in
        [(&["genpass"][..], 64), (&["genpass", "--bits", "5"], 2), (&["genpass", "--bits", "4096"], 1024)]
    {
        let password = out(&run(args, ""));
        let password = password.strip_suffix('\n').unwrap().to_owned();
        assert_eq!(password.len(), digits);
        assert!(password.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        seen.insert(password);
    }
    for _ in 0..5 {
        seen.insert(out(&run(&["genpass"], "")));
    }
    assert_eq!(seen.len(), 8);
    let both = out(&run(&["genpass", "--hash"], ""));
    let (password, hash) = both.trim_end().split_once('\n').unwrap();
    assert_eq!(hash, format!("#{}", PasswordHash::of(password.as_bytes()).to_hex()));
    for bits in ["0", "4097", "-1", "x"] {
        assert_eq!(run(&["genpass", "--bits", bits], "").status.code(), Some(2), "{bits}");
    }
}

#[test]
fn a_password_typed_at_a_terminal_is_not_shown() {
    // `script` gives the program a terminal of its own.
    if !crate::support::redis::which("script") {
        eprintln!("no `script` to make a terminal with");
        return;
    }
    let typed = |input: &str| {
        let dir = TempDir::new();
        let transcript = dir.path().join("transcript");
        let command = format!("{} passwd", env!("CARGO_BIN_EXE_redkeep"));
        let mut child = Command::new("script")
            .args(["-qefc", &command])
            .arg(&transcript)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for line in input.split_inclusive(['\n', '\u{3}']) {
            let prompts = std::fs::read_to_string(&transcript).unwrap_or_default().matches(": ").count();
            wait_for("a prompt", || {
                let text = std::fs::read_to_string(&transcript).unwrap_or_default();
                (text.matches(": ").count() > prompts || (prompts > 0 && text.ends_with(": "))).then_some(())
            });
            stdin.write_all(line.as_bytes()).unwrap();
            stdin.flush().unwrap();
        }
        let status = child.wait().unwrap();
        (status.code(), std::fs::read_to_string(&transcript).unwrap())
    };
    let (code, shown) = typed("pass\npass\n");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("#d74ff0ee8da3b9806b18c877dbf29bbde50b5bd8e4dad7a3a725000feb82e8f1"), "{shown}");
    assert!(!shown.contains("pass\r"), "{shown}");
    let (code, shown) = typed("\u{3}");
    assert_eq!(code, Some(1), "{shown}");
}

#[test]
fn check_diff_says_whose_rights_change() {
    let dir = TempDir::new();
    let config = |name: &str, users: &str| {
        let file = dir.write(&format!("{name}.acl"), users);
        let yaml = format!(
            "listeners: [{{bind: \"127.0.0.1:0\"}}]\nupstream: {{address: unix:/r.sock}}\nacl: {{file: {}}}\n",
            file.display()
        );
        dir.write(&format!("{name}.yaml"), yaml).display().to_string()
    };
    let old = config("old", "user default off\nuser app on >one ~app:* +get\nuser gone on >x\n");
    let new = config("new", "user default off\nuser app on >one >two ~app:* ~b:* +get +set\n");
    let broken = config("broken", "user default offf\n");
    let output = run(&["check", "--diff", &old, &new], "");
    let expected = "user app\n  passwords  1 added, 0 removed, 2 valid\n  commands   gains set\n  keys       gains ~b:*\n\n\
                    user gone is removed; its sessions end\n\n";
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), expected));
    let output = run(&["check", "--diff", &old, &old], "");
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(0), ""));
    for pair in [[&old, &broken], [&broken, &old]] {
        let output = run(&["check", "--diff", pair[0], pair[1]], "");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("broken.acl:1:14: "));
    }
    assert_eq!(run(&["check", "--diff", &old], "").status.code(), Some(2));
}

#[test]
fn there_are_no_core_dumps_and_nobody_may_debug_unless_it_is_asked_for() {
    let core_limit = |pid: u32| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        line.split_whitespace().nth(4).unwrap().to_owned()
    };
    let proxy = Proxy::standard(Redis::shared());
    assert_eq!(core_limit(proxy.pid()), "0");
    let open = Proxy::with_users(Redis::shared(), crate::support::proxy::USERS, "core_dumps: yes\n");
    // What is not dumpable belongs to root, which is told from its user only where that is another one.
    let mut child = Command::new(env!("CARGO_BIN_EXE_redkeep"));
    child.args(["passwd"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let owner = |pid: u32| std::fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
    if is_root {
        child.uid(65534);
    } else {
        assert_ne!(owner(open.pid()), 0);
        assert_eq!(owner(proxy.pid()), 0);
    }
    // Where nobody else may run the program, there is nothing to see.
    if let Ok(mut child) = child.spawn() {
        wait_for("the process to be root's", || (owner(child.id()) == 0).then_some(()));
        assert_eq!(core_limit(child.id()), "0");
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}

/// Words that are nowhere else, each a secret.
struct Canaries(Vec<String>);

impl Canaries {
    fn new_one(&mut self) -> String {
        let word = format!("cAnArY{:03}x{:08x}", self.0.len(), std::process::id());
        self.0.push(word.clone());
        word
    }

    fn found_in(&self, what: &str, text: &str) -> Vec<String> {
        let lower = text.to_lowercase();
        let hits = self.0.iter().filter(|word| lower.contains(&word.to_lowercase()));
        hits.map(|word| format!("{word} in {what}")).collect()
    }
}

#[test]
fn a_hundred_secrets_are_found_nowhere() {
    let mut canaries = Canaries(Vec::new());
    let redis = Redis::start(&[]);
    let upstream = canaries.new_one();
    redis.client().ask(&format!("ACL SETUSER redkeep on >{upstream} ~* &* +@all"));
    let (of_file, of_list, of_rules, required) =
        (canaries.new_one(), canaries.new_one(), canaries.new_one(), canaries.new_one());
    let proxy = Proxy::start_with(&[("RUST_LOG", "trace")], |dir, certs| {
        let files =
            [("upstream", &upstream), ("file", &of_file), ("list", &of_list), ("required", &required)];
        for (name, secret) in files {
            dir.write(name, secret);
        }
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\n    tls: {{cert_file: {}, key_file: {}}}\n  - bind: 127.0.0.1:0\n\
             upstream:\n  address: unix:{}\n  username: redkeep\n  password_file: upstream\nworkers: 1\nlimits: {{login_backoff: no}}\n\
             acl: {{requirepass_file: required}}\nusers:\n  - name: app\n    rules: \"on >{of_rules} ~app:* +@all -@admin\"\n    \
             password_files: [file, list]\n  - name: admin\n    rules: \"on >secret ~* &* +@all\"\n",
            certs.cert.display(),
            certs.key.display(),
            redis.socket().display(),
        )
    });
    let mut admin = proxy.plain().login("admin", "secret");
    let mut replies = String::new();
    for password in [&of_file, &of_list, &of_rules] {
        assert_eq!(proxy.tls().ask(&format!("AUTH app {password}")), "+OK\r\n");
    }
    assert_eq!(proxy.plain().ask(&format!("AUTH {required}")), "+OK\r\n");
    // Each of these has secrets of its own, which the reply may not repeat.
    while canaries.0.len() < 100 {
        let mut new = || canaries.new_one();
        let mut stranger = proxy.plain();
        let requests = [
            format!("AUTH {}", new()),
            format!("AUTH app {}", new()),
            format!("AUTH nobody {}", new()),
            format!("HELLO 3 AUTH app {}", new()),
            format!("HELLO 2 AUTH app {} SETNAME x", new()),
        ];
        for request in requests {
            replies += &stranger.ask(&request);
        }
        let requests = [
            format!("ACL SETUSER made on >{} ~m:* +get", new()),
            format!("ACL SETUSER made >{} <{}", new(), of_file),
            format!("CONFIG SET requirepass {}", new()),
            format!("SET app:key {}", new()),
            format!("MIGRATE 127.0.0.1 1 app:key 0 100 AUTH {}", new()),
            format!("MIGRATE 127.0.0.1 1 app:key 0 100 AUTH2 user {}", new()),
            format!("CONFIG SET masterauth {}", new()),
        ];
        for request in requests {
            let reply = admin.ask(&request);
            // An error about a rule repeats the rule, as in Redis; to who has sent it.
            if !reply.contains("modifier") {
                replies += &reply;
            }
        }
        // In one piece with the AUTH, and broken.
        let mut broken = proxy.plain();
        broken.send_raw(format!("AUTH app {}\r\n*3\r\n$x\r\n{}\r\n", new(), new()).as_bytes());
        replies += &text(&broken.read_to_end());
        let mut half = proxy.plain();
        half.send_raw(format!("*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$99\r\n{}", new()).as_bytes());
        drop(half);
    }
    let mut app = proxy.plain();
    assert_eq!(app.ask(&format!("AUTH app {of_file}")), "+OK\r\n");
    for request in [
        "INFO everything",
        "INFO redkeep",
        "ACL LIST",
        "ACL GETUSER app",
        "ACL GETUSER made",
        "ACL LOG 200",
        "CLIENT LIST",
        "CONFIG GET *pass*",
        "CONFIG GET *auth*",
    ] {
        let reply = admin.ask(request);
        // Its own configuration, which an administrator has set a line above, is the upstream's to show.
        if request != "CONFIG GET *auth*" {
            replies += &reply;
        }
    }
    // A reload with each kind of fault.
    let config = std::fs::read_to_string(proxy.config_path()).unwrap();
    for (from, to) in
        [("~app:*", "~app:* nonsense"), ("+@all -@admin", "+@alll"), ("[file, list]", "[file, none]")]
    {
        std::fs::write(proxy.config_path(), config.replace(from, to)).unwrap();
        proxy.reload("reload refused");
    }
    std::fs::write(proxy.config_path(), &config).unwrap();
    proxy.reload("\"reloaded\"");
    let Ok(plan) = redkeep::config::Plan::load(&proxy.config_path()) else { panic!("a good configuration") };
    let debug = format!(
        "{:?}{:?}{:?}",
        redkeep::config::load(&proxy.config_path()),
        plan.users,
        plan.users.compile(None).users()
    );
    let command_line = text(&std::fs::read(format!("/proc/{}/cmdline", proxy.pid())).unwrap());
    let log = proxy.log();
    assert!(log.iter().any(|line| line.contains("\"DEBUG\"")), "the log tells all that there is to tell");
    let hits: Vec<String> =
        [("log", log.join("\n")), ("replies", replies), ("Debug", debug), ("cmdline", command_line)]
            .iter()
            .flat_map(|(what, text)| canaries.found_in(what, text))
            .collect();
    println!("{} secrets, {} log lines", canaries.0.len(), log.len());
    assert_eq!(hits, Vec::<String>::new());
}
