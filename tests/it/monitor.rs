//! MONITOR through the proxy: the lines that the upstream writes, and what a monitor may do besides, as by a direct
//! connection.

use crate::support::client::text;
use crate::support::redis::{all, redis_6_2};
use crate::support::{Client, Proxy, Redis, wait_for};

/// All that comes up to a reply to `ECHO marker`, with the times and addresses of lines left out; `raw` goes ahead of it.
fn conversation(client: &mut Client, raw: &str) -> Vec<String> {
    client.send_raw(format!("{raw}ECHO marker\r\n").as_bytes());
    let mut seen = Vec::new();
    loop {
        let reply = text(&client.read_reply());
        let line = reply.starts_with('+').then(|| reply.split_once("] ")).flatten();
        match line {
            Some((_, command)) => seen.push(format!("line {command}")),
            None if reply == "$6\r\nmarker\r\n" => return seen,
            None => seen.push(reply),
        }
    }
}

/// The next line about a command; what a new link sends first may be seen before it.
fn next_of(monitor: &mut Client, command: &str) -> String {
    loop {
        let line = text(&monitor.read_reply());
        if line.contains(&format!("] \"{command}\"")) {
            return line;
        }
    }
}

#[test]
fn a_monitor_sees_and_may_do_what_a_direct_one_does() {
    let scripts = [
        "MONITOR\r\n",
        "MONITOR\r\nPING\r\nGET app:x\r\nNOSUCH\r\nGET\r\n",
        "MONITOR\r\nMONITOR\r\nPING a\r\n",
        "PING\r\nMONITOR\r\nMULTI\r\nSET app:a 1\r\nEXEC\r\nPING\r\n",
        "MONITOR\r\nMULTI\r\nPING\r\nEXEC\r\n",
        "MONITOR\r\nWATCH app:a\r\nUNWATCH\r\n",
        "MONITOR\r\nSUBSCRIBE chan\r\nPING\r\nUNSUBSCRIBE\r\nPING\r\n",
        "MONITOR\r\nBLPOP app:list 0.01\r\nEVAL x 0\r\n",
    ];
    for server in all().into_iter().chain(redis_6_2()) {
        let redis = Redis::start_program(&server, &[]);
        let proxy = Proxy::standard(&redis);
        for script in scripts {
            let mut direct = conversation(&mut redis.client(), script);
            let mut ours = conversation(&mut proxy.plain().login("admin", "secret"), script);
            // What each side answers itself, or sends besides, is not seen by the other's monitor.
            let own = |seen: &String| {
                ["CLIENT", "client", "INFO"].iter().any(|name| seen.starts_with(&format!("line \"{name}\"")))
            };
            direct.retain(|seen| !own(seen));
            ours.retain(|seen| !own(seen));
            assert_eq!(ours, direct, "{server:?}: {script:?}");
        }
        proxy.assert_no_panic();
    }
}

#[test]
fn a_monitor_sees_the_commands_of_all_clients_and_harms_nobody() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut monitor = proxy.tls().login("admin", "secret");
    let mut app = proxy.plain().login("app", "secret");
    // So that no link is opened later, which would be seen, too.
    assert_eq!(app.ask("GET app:k"), "$-1\r\n");
    assert_eq!(monitor.ask("MONITOR"), "+OK\r\n");
    assert!(app.ask("MONITOR").starts_with("-NOPERM "));
    assert_eq!(app.ask("SET app:k 1"), "+OK\r\n");
    assert!(next_of(&mut monitor, "SET").ends_with("] \"SET\" \"app:k\" \"1\"\r\n"));
    assert_eq!(app.ask("GET app:k"), "$1\r\n1\r\n");
    assert!(next_of(&mut monitor, "GET").ends_with("] \"GET\" \"app:k\"\r\n"));

    let mut admin = proxy.plain().login("admin", "secret");
    assert!(admin.ask("CLIENT LIST").lines().any(|line| line.contains(" flags=O ")));
    monitor.send(&["RESET"]);
    while text(&monitor.read_reply()) != "+RESET\r\n" {}
    assert_eq!(monitor.ask("AUTH admin secret"), "+OK\r\n");
    assert_eq!(app.ask("SET app:k 2"), "+OK\r\n");
    assert_eq!(monitor.ask("GET app:k"), "$1\r\n2\r\n", "it is a monitor no more");
    wait_for("the end of the link", || {
        (!redis.client().ask("CLIENT LIST").contains(" flags=O")).then_some(())
    });

    // A monitor that does not read is closed, and nobody waits for it.
    assert_eq!(monitor.ask("MONITOR"), "+OK\r\n");
    let value = "x".repeat(1 << 20);
    for _ in 0..60 {
        assert_eq!(app.call(&["SET", "app:k", &value]), b"+OK\r\n");
    }
    wait_for("the end of the monitor", || {
        (!redis.client().ask("CLIENT LIST").contains(" flags=O")).then_some(())
    });
    assert_eq!(app.ask("PING"), "+PONG\r\n");
    proxy.assert_no_panic();
}
