//! Failed logins: counted, slowed down, logged. And what is logged of attacks by other protocols.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis};

const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";

#[test]
fn the_tenth_failed_login_of_a_client_is_its_last() {
    let proxy = Proxy::with_users(Redis::shared(), USERS, "limits:\n  login_backoff: no\n");
    let mut client = proxy.plain();
    for _ in 0..4 {
        assert_eq!(client.ask("AUTH app wrong"), WRONGPASS);
        assert_eq!(client.ask("HELLO 3 AUTH nobody wrong"), WRONGPASS);
    }
    assert_eq!(client.ask("AUTH app secret"), "+OK\r\n");
    assert_eq!(client.ask("AUTH wrong"), WRONGPASS);
    client.send_raw(b"AUTH app wrong\r\nPING\r\n");
    assert_eq!(text(&client.read_to_end()), WRONGPASS);

    proxy.assert_no_panic();
}

#[test]
fn in_a_transaction_no_password_is_looked_at_after_the_first_failure() {
    let proxy = Proxy::with_users(Redis::shared(), USERS, "limits:\n  login_backoff: no\n");
    let mut client = proxy.plain().login("app", "secret");
    let mut execute = |commands: &[&str]| {
        assert_eq!(client.ask("MULTI"), "+OK\r\n");
        for command in commands {
            assert_eq!(client.ask(command), "+QUEUED\r\n");
        }
        client.ask("EXEC")
    };
    let right = ["AUTH reader secret", "AUTH app secret"];
    assert_eq!(execute(&right), "*2\r\n+OK\r\n+OK\r\n");
    let guesses =
        [&["AUTH admin wrong"; 50][..], &["HELLO 2 AUTH admin secret", "AUTH admin secret"]].concat();
    assert_eq!(execute(&guesses), format!("*52\r\n{}", WRONGPASS.repeat(52)));
    assert_eq!(execute(&right), "*2\r\n+OK\r\n+OK\r\n", "it ends with the transaction");
    let log = proxy.plain().login("admin", "secret").ask("ACL LOG");
    assert!(log.starts_with("*1\r\n*14\r\n$5\r\ncount\r\n:1\r\n"), "{log}");
    assert!(log.contains("$8\r\nusername\r\n$5\r\nadmin\r\n"), "{log}");
    proxy.assert_no_panic();
}

#[test]
fn failed_logins_slow_down_those_of_the_same_source_and_no_others() {
    let proxy = Proxy::with_users(Redis::shared(), USERS, "limits:\n  auth_timeout: 1m\n");
    let from = |ip: [u8; 4]| Client::tcp_from(ip, proxy.port(1));
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(from([127, 0, 0, 2]).ask("AUTH app wrong"), WRONGPASS);
    }
    let free = start.elapsed();
    // 10 ms, 20 ms, ... 2560 ms, each by half at least.
    let start = Instant::now();
    for _ in 0..9 {
        assert_eq!(from([127, 0, 0, 2]).ask("HELLO 3 AUTH app wrong"), WRONGPASS);
    }
    let slowed = start.elapsed();
    assert!(slowed >= Duration::from_millis(5110 / 2 - 50), "{slowed:?}, {free:?} before");
    // Nobody gets around that by trying at the same time.
    let start = Instant::now();
    let mut attacker = [from([127, 0, 0, 2]), from([127, 0, 0, 2])];
    attacker.iter_mut().for_each(|client| client.send(&["AUTH", "app", "secret"]));
    let honest = Instant::now();
    let mut app = from([127, 0, 0, 1]).login("app", "secret");
    let honest = honest.elapsed();
    assert!(
        honest < Duration::from_millis(5000 / 2),
        "{honest:?} for the user who is attacked, from elsewhere"
    );
    assert_eq!(app.ask("PING"), "+PONG\r\n");
    attacker
        .iter_mut()
        .for_each(|client| assert_eq!(text(&client.read_reply()), "+OK\r\n", "nobody is locked out"));
    let both = start.elapsed();
    assert!(both >= Duration::from_millis(5000), "one after the other: {both:?}");
    // Who is logged in is not held up.
    assert_eq!(attacker[0].ask("PING"), "+PONG\r\n");
    proxy.assert_no_panic();
}

#[test]
fn who_waits_for_the_turn_of_a_login_is_not_closed_meanwhile() {
    let proxy = Proxy::with_users(Redis::shared(), USERS, "limits:\n  auth_timeout: 1s\n");
    let from = |ip: [u8; 4]| Client::tcp_from(ip, proxy.port(1));
    for _ in 0..18 {
        assert_eq!(from([127, 0, 0, 2]).ask("AUTH app wrong"), WRONGPASS);
    }
    // Two turns that are 2560 ms apart, by half at least.
    let mut neighbours = [from([127, 0, 0, 2]), from([127, 0, 0, 2])];
    let start = Instant::now();
    neighbours.iter_mut().for_each(|client| client.send(&["AUTH", "app", "secret"]));
    neighbours.iter_mut().for_each(|client| assert_eq!(text(&client.read_reply()), "+OK\r\n"));
    let both = start.elapsed();
    assert!(both >= Duration::from_secs(1), "{both:?}: longer than auth_timeout");
    // Who does not try at all has no more time than ever.
    assert_eq!(text(&from([127, 0, 0, 2]).read_until_silent(Duration::from_secs(60))), "");
}

/// The line of docs/SECURITY.md for fail2ban.
fn failregex() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SECURITY.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let line = docs.lines().find_map(|line| line.trim().strip_prefix("failregex = ")).unwrap();
    line.replace("<HOST>", "(?P<host>[0-9a-fA-F:.]+)")
}

/// The addresses that fail2ban would find in these lines.
fn banned(lines: &[String]) -> Vec<String> {
    let script =
        "import re,sys\nfor line in sys.stdin:\n m=re.search(sys.argv[1],line)\n m and print(m['host'])";
    let mut python = Command::new("python3")
        .args(["-c", script, &failregex()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn each_failed_login_is_one_line_that_fail2ban_reads_and_no_client_can_forge() {
    let proxy = Proxy::with_users(Redis::shared(), USERS, "limits:\n  login_backoff: no\n");
    let nasty =
        "x\r\n\u{1b}[2J\",\"client\":\"6.6.6.6:1\",\"message\":\"login failed".to_owned() + &"y".repeat(1000);
    for (user, reason, shown) in [
        ("app", "wrong password", "app"),
        ("nobody", "no such user", "nobody"),
        ("default", "user is off", "default"),
        (&nasty, "no such user", "x\\\\r\\\\n\\\\x1b[2J\\\\\\\","),
    ] {
        let seen = proxy.log().len();
        let mut client = Client::tcp_from([127, 0, 0, 9], proxy.port(1));
        assert_eq!(text(&client.call(&["AUTH", user, "hunter2"])), WRONGPASS);
        let line = proxy.wait_for_log(seen, "login failed");
        for part in [
            "\"level\":\"WARN\"",
            "\"target\":\"redkeep::auth\"",
            "\"client\":\"127.0.0.9:",
            &format!("\"listener\":\"127.0.0.1:{}\"", proxy.port(1)),
            &format!("\"reason\":\"{reason}\""),
            &format!("\"user\":\"{shown}"),
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("hunter2") && line.len() < 600, "{line}");
        assert!(line.chars().all(|c| !c.is_control()), "{line}");
        assert_eq!(banned(&[line]), ["127.0.0.9"]);
    }
    // No other line is one.
    proxy.plain().login("app", "secret");
    let others: Vec<_> = proxy.log().into_iter().filter(|line| !line.contains("login failed")).collect();
    assert_eq!(banned(&others), [""; 0]);
}

#[test]
fn a_flood_of_failed_logins_does_not_flood_the_log() {
    let proxy = Proxy::with_users(Redis::shared(), USERS, "limits:\n  login_backoff: no\n");
    for _ in 0..15 {
        let mut client = proxy.plain();
        client.send_raw(&b"AUTH app wrong\r\n".repeat(10));
        assert_eq!(text(&client.read_to_end()), WRONGPASS.repeat(10));
    }
    let line = proxy.wait_for_log(0, "\"failures\":100");
    assert!(line.contains("login failed"));
    assert_eq!(proxy.log().iter().filter(|line| line.contains("login failed")).count(), 11);
}

#[test]
fn a_browser_is_closed_without_a_word_and_the_log_tells_of_one_in_a_minute() {
    let proxy = Proxy::standard(Redis::shared());
    for line in ["POST / HTTP/1.1", "host: localhost:6379"] {
        let mut browser = proxy.plain();
        browser.send_raw(format!("{line}\r\nSET app:x 1\r\n").as_bytes());
        assert_eq!(text(&browser.read_to_end()), "", "{line}");
    }
    let mut user = proxy.plain().login("app", "secret");
    user.send_raw(b"POST / HTTP/1.1\r\n");
    assert_eq!(text(&user.read_to_end()), "");
    let line = proxy.wait_for_log(0, "Possible SECURITY ATTACK detected");
    assert!(line.contains("\"level\":\"WARN\"") && line.contains("\"client\":\"127.0.0.1:"), "{line}");
    let lines = proxy.log().into_iter().filter(|line| line.contains("SECURITY ATTACK"));
    assert_eq!(lines.count(), 1);
}
