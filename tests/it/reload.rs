//! SIGHUP: live sessions obey the new policy at their next command; a broken file changes nothing and says why.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::redis::{all, redis_6_2};
use crate::support::{Proxy, Redis, TempDir, wait_for};

const RELOADED: &str = "\"reloaded\"";
const REFUSED: &str = "reload refused";

#[test]
fn live_sessions_obey_new_rules_at_their_next_command() {
    let proxy = Proxy::standard(Redis::shared());
    let mut app = proxy.tls().login("app", "secret");
    assert_eq!(app.ask("GET app:x"), "$-1\r\n");
    proxy.dir.write("users.acl", USERS.replace("user app on >secret ~app:*", "user app on >secret ~other:*"));
    proxy.reload(RELOADED);
    assert!(app.ask("GET app:x").starts_with("-NOPERM"));
    assert_eq!(app.ask("GET other:x"), "$-1\r\n");
}

#[test]
fn sessions_of_users_that_are_gone_are_closed() {
    let proxy = Proxy::standard(Redis::shared());
    let mut app = proxy.tls().login("app", "secret");
    let mut admin = proxy.tls().login("admin", "secret");
    proxy.dir.write("users.acl", "user default off\nuser admin on >secret ~* &* +@all\n");
    proxy.reload(RELOADED);
    assert_eq!(text(&app.read_to_end()), "", "closed without being asked");
    assert_eq!(admin.ask("PING"), "+PONG\r\n");
    assert!(proxy.tls().ask("AUTH app secret").starts_with("-WRONGPASS"));
}

#[test]
fn a_broken_acl_file_changes_nothing_and_the_log_says_where() {
    let proxy = Proxy::standard(Redis::shared());
    let mut app = proxy.tls().login("app", "secret");
    proxy.dir.write("users.acl", USERS.replace("user reader on", "user reader onn"));
    let line = proxy.reload(REFUSED);
    assert!(line.contains("users.acl:4:13: "), "{line}");
    assert_eq!(app.ask("GET app:x"), "$-1\r\n");
    assert_eq!(proxy.tls().ask("AUTH reader secret"), "+OK\r\n");
}

#[test]
fn a_broken_configuration_changes_nothing_and_the_log_says_where() {
    let proxy = Proxy::standard(Redis::shared());
    let good = std::fs::read_to_string(proxy.config_path()).unwrap();
    std::fs::write(proxy.config_path(), format!("{good}nonsense: 1\n")).unwrap();
    let line = proxy.reload(REFUSED);
    let last = good.lines().count() + 1;
    assert!(line.contains(&format!("redkeep.yaml:{last}:1: ")), "{line}");
    assert_eq!(proxy.tls().ask("AUTH app secret"), "+OK\r\n");
}

#[test]
fn settings_that_cannot_change_live_are_named_and_refused() {
    let proxy = Proxy::standard(Redis::shared());
    let good = std::fs::read_to_string(proxy.config_path()).unwrap();
    std::fs::write(proxy.config_path(), good.replace("workers: 2", "workers: 1")).unwrap();
    let line = proxy.reload(REFUSED);
    let place = good.lines().position(|line| line.starts_with("workers")).unwrap() + 1;
    assert!(line.contains(&format!("redkeep.yaml:{place}:1: `workers` cannot change")), "{line}");
}

#[test]
fn a_reload_is_taken_when_the_system_has_taken_cores_away() {
    let proxy = Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        let socket = Redis::shared().socket();
        let (redis, users) = (socket.display(), users.display());
        format!(
            "listeners: [{{bind: 127.0.0.1:0}}]\nupstream: {{address: \"unix:{redis}\"}}\nacl: {{file: {users}}}\n"
        )
    });
    let pid = proxy.pid().to_string();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first = cores.trim().split([',', '-']).next().unwrap();
    let taskset = Command::new("taskset").args(["--all-tasks", "--pid", "--cpu-list", first, &pid]).output();
    assert!(taskset.unwrap().status.success());
    proxy.reload(RELOADED);
}

#[test]
fn a_named_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
    let proxy = Proxy::standard(Redis::shared());
    let mut admin = proxy.tls().login("admin", "secret");
    let path = proxy.dir.path().join("users.acl");
    std::fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let line = proxy.reload(REFUSED);
    assert!(line.contains("users.acl`: not a regular file but a pipe"), "{line}");
    let reply = admin.ask("ACL LOAD");
    assert!(reply.starts_with("-ERR Error loading ACLs, opening file '"), "{reply}");
    assert_eq!(admin.ask("PING"), "+PONG\r\n");
}

#[test]
fn rename_rules_come_and_go_with_a_reload() {
    let proxy = Proxy::standard(Redis::shared());
    let mut admin = proxy.tls().login("admin", "secret");
    assert_eq!(admin.ask("GET x:none"), "$-1\r\n");
    let good = std::fs::read_to_string(proxy.config_path()).unwrap();
    let renamed = format!("{good}commands:\n  rename: {{ CONFIG: \"\", GET: \"FETCH_7f3a\" }}\n");
    std::fs::write(proxy.config_path(), renamed).unwrap();
    proxy.reload(RELOADED);
    assert_eq!(admin.ask("GET k v"), "-ERR unknown command 'GET', with args beginning with: 'k' 'v' \r\n");
    assert_eq!(
        admin.ask("CONFIG GET port"),
        "-ERR unknown command 'CONFIG', with args beginning with: 'GET' 'port' \r\n"
    );
    assert_eq!(admin.ask("fetch_7F3A x:none"), "$-1\r\n");
    assert_eq!(admin.ask("fetch_7f3a"), "-ERR wrong number of arguments for 'get' command\r\n");
    let mut app = proxy.tls().login("app", "secret");
    assert!(app.ask("FETCH_7f3a nope").starts_with("-NOPERM"), "rules name the original");
    std::fs::write(proxy.config_path(), good).unwrap();
    proxy.reload(RELOADED);
    assert_eq!(admin.ask("GET x:none"), "$-1\r\n");
}

#[test]
fn a_transaction_is_judged_again_after_a_reload() {
    let redis = Redis::shared();
    let proxy = Proxy::standard(redis);
    let mut app = proxy.tls().login("app", "secret");
    app.ask("MULTI");
    assert_eq!(app.ask("SET app:revoked 1"), "+QUEUED\r\n");
    proxy.dir.write("users.acl", USERS.replace("~app:*", "~other:*"));
    proxy.reload(RELOADED);
    assert!(app.ask("EXEC").starts_with("*1\r\n-NOPERM ACLs rules changed between "));
    assert_eq!(redis.client().ask("EXISTS app:revoked"), ":0\r\n");
    // Which name a command had when it was queued is not known any more: all or nothing is the safe end.
    app.ask("MULTI");
    assert_eq!(app.ask("SET other:hidden 1"), "+QUEUED\r\n");
    let good = std::fs::read_to_string(proxy.config_path()).unwrap();
    std::fs::write(proxy.config_path(), format!("{good}commands:\n  rename: {{ SET: \"\" }}\n")).unwrap();
    proxy.reload(RELOADED);
    assert!(app.ask("EXEC").starts_with("-EXECABORT "));
    assert_eq!(redis.client().ask("EXISTS other:hidden"), ":0\r\n");
}

#[test]
fn certificates_are_read_again() {
    let proxy = Proxy::standard(Redis::shared());
    let other = Proxy::standard(Redis::shared());
    std::fs::copy(&other.certs.cert, &proxy.certs.cert).unwrap();
    std::fs::copy(&other.certs.key, &proxy.certs.key).unwrap();
    proxy.reload(RELOADED);
    let mut client = crate::support::Client::tls(proxy.port(0), other.certs.client_config(false));
    assert_eq!(client.ask("AUTH app secret"), "+OK\r\n");
    std::fs::write(&proxy.certs.key, "no key").unwrap();
    let line = proxy.reload(REFUSED);
    assert!(line.contains("redkeep.yaml:5:"), "{line}");
    let mut client = crate::support::Client::tls(proxy.port(0), other.certs.client_config(false));
    assert_eq!(client.ask("AUTH app secret"), "+OK\r\n");
}

#[test]
fn a_signal_to_terminate_ends_in_order() {
    let mut proxy = Proxy::standard(Redis::shared());
    let mut app = proxy.tls().login("app", "secret");
    app.ask("PING");
    proxy.signal("-TERM");
    assert_eq!(text(&app.read_to_end()), "");
    assert_eq!(proxy.wait().code(), Some(0));
    wait_for("the log", || proxy.log().iter().any(|line| line.contains("draining")).then_some(()));
}

/// A Redkeep whose upstream takes connections and says nothing, while it is still starting, and has arranged for signals.
fn starting(dir: &TempDir, silent: &TcpListener) -> Child {
    let users = dir.write("users.acl", "user default off\n");
    let upstream = silent.local_addr().unwrap();
    let config = dir.write(
        "redkeep.yaml",
        format!(
            "listeners: [{{bind: 127.0.0.1:0}}]\nupstream: {{address: \"redis://{upstream}\"}}\nacl: {{file: {}}}\n",
            users.display()
        ),
    );
    let child = Command::new(env!("CARGO_BIN_EXE_redkeep"))
        .args(["run", "--config"])
        .arg(config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the handlers of signals", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        let caught = u64::from_str_radix(caught, 16).unwrap();
        [1, 2, 15].iter().all(|signal| caught >> (signal - 1) & 1 == 1).then_some(())
    });
    child
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn signals_while_it_starts_are_heard() {
    let (dir, silent) = (TempDir::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let mut child = starting(&dir, &silent);
    signal(&child, "-HUP");
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let heard = lines.map_while(Result::ok).find(|line| line.contains("reloaded"));
    assert!(heard.is_some(), "it ended");
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut child = starting(&dir, &silent);
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(!log.contains("listening"), "it had not started yet: {log}");
}

#[test]
fn a_blocked_session_whose_user_is_gone_is_closed_and_takes_nothing() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut app = proxy.tls().login("app", "secret");
    app.send(&["BLPOP", "app:list", "0"]);
    wait_for("the blocked client", || {
        redis.client().ask("INFO clients").contains("blocked_clients:1").then_some(())
    });
    proxy.dir.write("users.acl", "user default off\n");
    proxy.reload(RELOADED);
    assert_eq!(text(&app.read_to_end()), "");
    wait_for("the end of the blocked command", || {
        redis.client().ask("INFO clients").contains("blocked_clients:0").then_some(())
    });
}

#[test]
fn a_command_that_has_ended_is_not_held_against_the_one_that_waits_behind_it() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let mut app = proxy.tls().login("app", "secret");
    let mut admin = proxy.tls().login("admin", "secret");
    app.send(&["BLPOP", "app:first", "0"]);
    app.send(&["BLPOP", "app:second", "0"]);
    let mut direct = redis.client();
    assert_eq!(direct.ask("RPUSH app:first 1"), ":1\r\n");
    assert!(text(&app.read_reply()).contains("app:first"));
    wait_for("the second", || direct.ask("INFO clients").contains("blocked_clients:1").then_some(()));
    assert_eq!(admin.ask("ACL SETUSER app resetkeys ~app:second"), "+OK\r\n");
    let mut other = proxy.tls().login("app", "secret");
    assert!(other.ask("GET app:first").starts_with("-NOPERM"));
    assert_eq!(direct.ask("RPUSH app:second 1"), ":1\r\n");
    let reply = text(&app.read_reply());
    assert!(reply.contains("app:second"), "what is still permitted goes on: {reply}");
    proxy.assert_no_panic();
}

#[test]
fn a_blocked_client_does_not_hold_up_the_end_and_takes_nothing() {
    for server in all().into_iter().chain(redis_6_2()) {
        let redis = Redis::start_program(&server, &[]);
        let mut proxy = Proxy::standard(&redis);
        let mut app = proxy.tls().login("app", "secret");
        // Both wait; whether the first has reached the upstream yet is left to chance.
        app.send(&["BLPOP", "app:list", "0"]);
        app.send(&["BLPOP", "app:list", "0"]);
        let mut other = proxy.tls().login("app", "secret");
        assert_eq!(other.ask("PING"), "+PONG\r\n");
        proxy.signal("-TERM");
        let end = "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
        assert_eq!(text(&app.read_to_end()), end.repeat(2), "{server:?}");
        assert_eq!(proxy.wait().code(), Some(0));
        assert_eq!(redis.client().ask("RPUSH app:list 1"), ":1\r\n");
        proxy.assert_no_panic();
    }
}

#[test]
fn what_clients_have_begun_may_be_finished_and_does_not_hold_up_the_end_for_ever() {
    let redis = Redis::start(&[]);
    redis.client().call(&["SET", "app:big", &"x".repeat(60_000)]);
    let mut proxy = Proxy::with_users(&redis, USERS, "shutdown_timeout: 3s\n");
    let login = || proxy.plain().login("app", "secret");
    let (mut finishing, mut keeping, mut uploading, mut deaf) = (login(), login(), login(), login());
    for client in [&mut finishing, &mut keeping] {
        assert_eq!(client.ask("MULTI"), "+OK\r\n");
        assert_eq!(client.ask("INCR app:n"), "+QUEUED\r\n");
    }
    uploading.send_raw(b"*3\r\n$3\r\nSET\r\n$8\r\napp:half\r\n$100\r\nabc");
    deaf.send_raw(&b"*2\r\n$3\r\nGET\r\n$7\r\napp:big\r\n".repeat(500));
    let begin = Instant::now();
    proxy.signal("-TERM");
    proxy.wait_for_log(0, "draining");
    assert_eq!(finishing.ask("EXEC"), "*1\r\n:1\r\n", "it may be finished");
    assert_eq!(text(&finishing.read_to_end()), "");
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(text(&keeping.read_to_end()), "");
    let mut direct = redis.client();
    assert_eq!(direct.ask("GET app:n"), "$1\r\n1\r\n", "what was only queued has not run");
    assert_eq!(direct.ask("EXISTS app:half"), ":0\r\n");
    proxy.assert_no_panic();
}
