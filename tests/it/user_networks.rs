//! `allow_from` and `deny_from` of users: where a user may log in from, at every kind of login, and after a reload.

use crate::support::client::text;
use crate::support::{Client, Proxy, Redis};

const HERE: [u8; 4] = [127, 0, 0, 2];
const ELSEWHERE: [u8; 4] = [127, 0, 0, 3];
const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
const NOAUTH: &str = "-NOAUTH Authentication required.\r\n";

/// The default user is open to everyone in `HERE`, `app` needs a password and may come from `HERE`, `other` from
/// anywhere but `HERE`; `admin` has no conditions.
const USERS: &str = r#"users:
  - name: default
    rules: "on nopass ~* +@all"
    allow_from: [127.0.0.2]
  - name: app
    rules: "on >secret ~* +@all"
    allow_from: [127.0.0.0/30, 10.0.0.0/8]
    deny_from: [127.0.0.3/32, 127.0.0.1]
  - name: other
    rules: "on >secret ~* +@all"
    deny_from: [127.0.0.2/32]
  - name: admin
    rules: "on >secret ~* &* +@all"
"#;

fn proxy() -> Proxy {
    Proxy::start(|dir, _| {
        let socket = dir.path().join("keep.sock");
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\n  - bind: unix:{}\nupstream:\n  address: unix:{}\n{USERS}",
            socket.display(),
            Redis::shared().socket().display(),
        )
    })
}

fn from(proxy: &Proxy, address: [u8; 4]) -> Client {
    Client::tcp_from(address, proxy.port(0))
}

#[test]
fn a_user_logs_in_only_from_its_networks_and_is_told_nothing_else_than_of_a_wrong_password() {
    let proxy = proxy();
    for (user, address, welcome) in [
        ("app", HERE, true),
        ("app", ELSEWHERE, false),
        ("app", [127, 0, 0, 9], false),
        ("other", HERE, false),
        ("other", ELSEWHERE, true),
        ("admin", HERE, true),
        ("admin", ELSEWHERE, true),
    ] {
        let expected = if welcome { "+OK\r\n" } else { WRONGPASS };
        let mut client = from(&proxy, address);
        assert_eq!(client.ask(&format!("AUTH {user} wrong")), WRONGPASS, "{user} from {address:?}");
        assert_eq!(client.ask(&format!("AUTH {user} secret")), expected, "{user} from {address:?}");
        let mut client = from(&proxy, address);
        let hello = client.ask(&format!("HELLO 3 AUTH {user} secret"));
        assert_eq!(hello.starts_with("%7\r\n"), welcome, "{user} from {address:?}: {hello}");
        assert!(welcome || hello == WRONGPASS, "{hello}");
    }
    let mut admin = from(&proxy, ELSEWHERE).login("admin", "secret");
    assert_eq!(admin.ask("ACL LOG RESET"), "+OK\r\n");
    assert_eq!(from(&proxy, ELSEWHERE).ask("AUTH app secret"), WRONGPASS);
    let log = admin.ask("ACL LOG");
    for part in ["\r\nauth\r\n", "\r\nAUTH\r\n", "\r\napp\r\n", "addr=127.0.0.3:"] {
        assert!(log.contains(part), "{part:?} in {log}");
    }
}

#[test]
fn an_open_default_user_is_that_of_its_networks_only() {
    let proxy = proxy();
    let mut here = from(&proxy, HERE);
    assert_eq!(here.ask("ACL WHOAMI"), "$7\r\ndefault\r\n");
    let mut elsewhere = from(&proxy, ELSEWHERE);
    assert_eq!(elsewhere.ask("PING"), NOAUTH);
    assert_eq!(elsewhere.ask("AUTH default anything"), WRONGPASS);
    assert_eq!(elsewhere.ask("AUTH other secret"), "+OK\r\n");
    assert_eq!(elsewhere.ask("RESET"), "+RESET\r\n");
    assert_eq!(elsewhere.ask("PING"), NOAUTH, "RESET is no way in");
    assert_eq!(here.ask("AUTH admin secret"), "+OK\r\n");
    assert_eq!(here.ask("RESET"), "+RESET\r\n");
    assert_eq!(here.ask("ACL WHOAMI"), "$7\r\ndefault\r\n");
}

#[test]
fn a_client_of_a_unix_socket_counts_as_one_of_127_0_0_1() {
    let proxy = proxy();
    let path = proxy.dir.path().join("keep.sock");
    let client = || Client::new(std::os::unix::net::UnixStream::connect(&path).unwrap());
    assert_eq!(client().ask("PING"), NOAUTH);
    assert_eq!(client().ask("AUTH app secret"), WRONGPASS);
    assert_eq!(client().ask("AUTH other secret"), "+OK\r\n");
}

#[test]
fn a_reload_that_narrows_the_networks_of_a_user_ends_its_sessions_elsewhere_and_no_others() {
    let proxy = proxy();
    let mut here = from(&proxy, HERE).login("app", "secret");
    let mut open = from(&proxy, HERE);
    assert_eq!(open.ask("PING"), "+PONG\r\n");
    let mut there = from(&proxy, [127, 0, 0, 0x02]).login("admin", "secret");
    let mut elsewhere = from(&proxy, ELSEWHERE).login("admin", "secret");
    let good = std::fs::read_to_string(proxy.config_path()).unwrap();
    let narrow = good.replace("allow_from: [127.0.0.2]", "allow_from: [10.0.0.0/8]")
        + "    allow_from: [127.0.0.2/32]\n";
    std::fs::write(proxy.config_path(), narrow).unwrap();
    proxy.reload("\"reloaded\"");
    for session in [&mut elsewhere, &mut open] {
        assert_eq!(text(&session.read_to_end()), "", "closed without being asked");
    }
    for session in [&mut there, &mut here] {
        assert_eq!(session.ask("PING"), "+PONG\r\n");
    }
    assert_eq!(from(&proxy, ELSEWHERE).ask("AUTH admin secret"), WRONGPASS);
    std::fs::write(proxy.config_path(), good).unwrap();
    proxy.reload("\"reloaded\"");
    assert_eq!(from(&proxy, ELSEWHERE).ask("AUTH admin secret"), "+OK\r\n");
}
