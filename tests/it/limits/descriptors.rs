//! File descriptors that run out.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, TempDir, pause, wait_for};

const TOO_MANY: &str = "-ERR max number of clients reached\r\n";

#[test]
fn clients_leave_descriptors_for_links_and_files_where_there_are_few() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start_under(&["prlimit", "--nofile=200:200", "--"], &redis, USERS, "");
    proxy.wait_for_log(0, "fewer clients than maxclients are taken");
    let mut all: Vec<Client> = Vec::new();
    let refused = loop {
        assert!(all.len() < 200, "nobody is refused");
        let mut client = proxy.plain();
        match text(&client.call(&["AUTH", "app", "secret"])).as_str() {
            "+OK\r\n" => all.push(client),
            other => break other.to_owned(),
        }
    };
    assert_eq!(refused, TOO_MANY);
    assert!(all.len() > 10, "{}", all.len());
    // Each of them can have a link of its own, and files can be read again.
    all.iter_mut().for_each(|client| assert_eq!(client.ask("MULTI"), "+OK\r\n"));
    proxy.reload("\"reloaded\"");
    all.iter_mut().for_each(|client| assert_eq!(client.ask("EXEC"), "*0\r\n"));
    proxy.assert_no_panic();
}

#[test]
fn a_worker_that_cannot_be_started_is_told_and_nothing_listens() {
    let dir = TempDir::new();
    dir.write(
        "redkeep.yaml",
        "listeners: [{bind: 127.0.0.1:0}]\nworkers: 64\nupstream: {address: unix:/nonexistent}\n\
         users: [{name: app, rules: on nopass +@all}]\n",
    );
    let output = Command::new("prlimit")
        .args(["--nofile=50:50", "--", env!("CARGO_BIN_EXE_redkeep"), "run", "--config"])
        .arg(dir.path().join("redkeep.yaml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot start a worker: Too many open files"), "{said}");
    assert!(!said.contains("listening"), "{said}");
}

/// Ticks of the processor's time that a process has used so far; a hundredth of a second each.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn accepting_pauses_while_no_descriptor_is_left_and_goes_on_by_itself() {
    let proxy = Proxy::standard(Redis::shared());
    let mut client = proxy.tls().login("app", "secret");
    wait_for("the link", || (client.ask("PING") == "+PONG\r\n").then_some(()));
    let leaves = proxy.plain().login("app", "secret");
    let open = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count();
    let most = |count: usize| {
        let limit = format!("--nofile={count}");
        let pid = proxy.pid().to_string();
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    };
    let begun = Instant::now();
    most(open);
    let mut waiting = proxy.plain();
    waiting.send(&["AUTH", "app", "secret"]);
    proxy.wait_for_log(0, "cannot accept clients for now");
    let (begin, start) = (ticks(proxy.pid()), Instant::now());
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(client.ask("PING"), "+PONG\r\n", "who is in is served");
        pause(Duration::from_millis(100));
    }
    let used = ticks(proxy.pid()) - begin;
    assert!(used < 60, "{used} of 200 ticks: it does not spin");
    drop(leaves);
    let start = Instant::now();
    assert_eq!(text(&waiting.read_reply()), "+OK\r\n");
    eprintln!("{used} of 200 ticks; resumed after {:?}", start.elapsed());
    let lines = proxy.log().into_iter().filter(|line| line.contains("cannot accept")).count();
    assert!(
        lines <= 1 + usize::try_from(begun.elapsed().as_secs()).unwrap() / 10,
        "{lines}: one in ten seconds"
    );
    assert_eq!(client.ask("PING"), "+PONG\r\n");
    proxy.assert_no_panic();
}
