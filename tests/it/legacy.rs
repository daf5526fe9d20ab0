//! Upstreams that are not simply open: with a password, a user, TLS.

use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, TempDir, wait_for};

fn before(upstream: &str) -> Proxy {
    Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nacl:\n  file: {}\nlog:\n  format: json\nupstream:\n{}",
            users.display(),
            upstream.replace("DIR", dir.path().to_str().unwrap())
        )
    })
}

#[test]
fn an_upstream_with_requirepass_is_logged_in_to() {
    let redis = Redis::start(&["--requirepass", "inner"]);
    let secret = TempDir::new();
    let file = secret.write("password", "inner\n");
    let proxy = before(&format!(
        "  address: unix:{}\n  password_file: {}\n",
        redis.socket().display(),
        file.display()
    ));
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_eq!(app.ask("SET app:k 1"), "+OK\r\n");
    assert!(app.ask("HELLO 3").contains("redis"));
    assert_eq!(app.ask("GET app:k"), "$1\r\n1\r\n");
    assert_eq!(app.ask("BLPOP app:none 0.01"), "_\r\n");
    assert!(!proxy.log().join("\n").contains("inner"), "no secret in a log");
}

#[test]
fn an_upstream_with_users_is_logged_in_to_by_name() {
    let redis =
        Redis::start(&["--user", "default", "off", "--user", "keep", "on", ">inner", "~*", "&*", "+@all"]);
    let secret = TempDir::new();
    let file = secret.write("password", "inner");
    let proxy = before(&format!(
        "  address: unix:{}\n  username: keep\n  password_file: {}\n",
        redis.socket().display(),
        file.display()
    ));
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_eq!(app.ask("SET app:k 1"), "+OK\r\n");
    assert_eq!(app.ask("ACL WHOAMI"), "$3\r\napp\r\n", "the client's user, not the link's");
}

#[test]
fn a_wrong_password_for_the_upstream_is_the_operators_business_not_the_clients() {
    let redis = Redis::start(&["--requirepass", "inner"]);
    let secret = TempDir::new();
    let file = secret.write("password", "hunter2");
    let proxy = before(&format!(
        "  address: unix:{}\n  password_file: {}\n",
        redis.socket().display(),
        file.display()
    ));
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_eq!(app.ask("SET app:k 1"), "-LOADING redkeep: upstream unavailable, command not sent\r\n");
    let line = proxy.wait_for_log(0, "upstream refused");
    assert!(line.contains("WRONGPASS") && !line.contains("hunter2"), "{line}");
}

#[test]
fn an_upstream_over_tls_is_verified_by_name() {
    let dir = TempDir::new();
    let certs = crate::support::certs::Certs::new(dir.path());
    let port = free_port();
    let _redis = Redis::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        certs.cert.to_str().unwrap(),
        "--tls-key-file",
        certs.key.to_str().unwrap(),
        "--tls-ca-cert-file",
        certs.ca.to_str().unwrap(),
        "--tls-auth-clients",
        "no",
    ]);
    let upstream = |more: &str| {
        before(&format!(
            "  address: rediss://localhost:{port}\n  tls:\n    ca_cert_file: {}\n{more}",
            certs.ca.display()
        ))
    };
    let proxy = upstream("");
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_eq!(app.ask("SET app:k 1"), "+OK\r\n");
    let value = "x".repeat(1_000_000);
    assert_eq!(app.call(&["SET", "app:big", &value]), b"+OK\r\n");
    assert!(app.ask("GET app:big").contains(&value));
    let wrong = upstream("    server_name: other.example\n");
    let mut app = Client::tcp(wrong.port(0)).login("app", "secret");
    assert_eq!(app.ask("SET app:k 1"), "-LOADING redkeep: upstream unavailable, command not sent\r\n");
}

#[test]
fn an_upstream_by_tcp_is_served() {
    let port = free_port();
    let _redis = Redis::start(&["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    let proxy = before(&format!("  address: redis://127.0.0.1:{port}\n"));
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_eq!(app.ask("SET app:k 1"), "+OK\r\n");
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn an_upstream_without_hello_says_so_and_clients_fall_back_to_auth() {
    let redis = Redis::start(&["--rename-command", "HELLO", ""]);
    let proxy = before(&format!("  address: unix:{}\n", redis.socket().display()));
    let mut app = Client::tcp(proxy.port(0));
    assert!(app.ask("HELLO 3 AUTH app secret").starts_with("-ERR unknown command 'HELLO'"));
    assert_eq!(app.ask("AUTH app secret"), "+OK\r\n");
    assert_eq!(app.ask("SET app:k 1"), "+OK\r\n");
}

#[test]
fn an_upstream_that_wants_a_password_we_do_not_have_is_not_served_from() {
    let redis = Redis::start(&["--requirepass", "inner"]);
    let proxy = before(&format!("  address: unix:{}\n", redis.socket().display()));
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_eq!(app.ask("GET app:k"), "-LOADING redkeep: upstream unavailable, command not sent\r\n");
    assert!(proxy.wait_for_log(0, "upstream refused").contains("NOAUTH"));
}

#[test]
fn an_upstream_without_room_for_us_is_not_taken_for_a_reply() {
    let redis = Redis::start(&["--maxclients", "4"]);
    let proxy = before(&format!("  address: unix:{}\n", redis.socket().display()));
    let others: Vec<Client> = (0..4).map(|_| redis.client()).collect();
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    // The links of the first database are there already.
    assert_eq!(app.ask("SELECT 1"), "+OK\r\n");
    assert_eq!(app.ask("GET app:k"), "-LOADING redkeep: upstream unavailable, command not sent\r\n");
    drop(others);
    wait_for("the service", || (app.ask("GET app:k") == "$-1\r\n").then_some(()));
}
