//! TLS as clients meet it, and protected mode.

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis};

fn with_client_auth(auth: &str) -> Proxy {
    let redis = Redis::shared();
    Proxy::start(|dir, certs| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\n    tls:\n      cert_file: {}\n      key_file: {}\n      \
             ca_cert_file: {}\n      auth_clients: {auth}\nupstream:\n  address: unix:{}\nacl:\n  file: {}\nlog:\n  format: json\n",
            certs.cert.display(),
            certs.key.display(),
            certs.ca.display(),
            redis.socket().display(),
            users.display()
        )
    })
}

#[test]
fn a_plain_client_of_a_tls_listener_gets_nothing() {
    let proxy = Proxy::standard(Redis::shared());
    let mut plain = Client::tcp(proxy.port(0));
    plain.send_raw(b"*1\r\n$4\r\nPING\r\n");
    let reply = plain.read_to_end();
    // A TLS alert, if anything.
    assert!(reply.is_empty() || reply[0] == 0x15, "{reply:?}");
}

#[test]
fn client_certificates_are_demanded_where_auth_clients_says_yes() {
    let proxy = with_client_auth("yes");
    let mut without = Client::tls(proxy.port(0), proxy.certs.client_config(false));
    assert_eq!(without.try_call(&["PING"]), None);
    let mut with = Client::tls(proxy.port(0), proxy.certs.client_config(true));
    assert_eq!(with.ask("PING"), "-NOAUTH Authentication required.\r\n");
}

#[test]
fn client_certificates_are_optional_where_auth_clients_says_so() {
    let proxy = with_client_auth("optional");
    for with_certificate in [false, true] {
        let mut client = Client::tls(proxy.port(0), proxy.certs.client_config(with_certificate));
        assert_eq!(client.ask("AUTH app secret"), "+OK\r\n");
    }
    let stranger = Proxy::standard(Redis::shared());
    std::fs::copy(&stranger.certs.client_cert, &proxy.certs.client_cert).unwrap();
    std::fs::copy(&stranger.certs.client_key, &proxy.certs.client_key).unwrap();
    let mut client = Client::tls(proxy.port(0), proxy.certs.client_config(true));
    assert_eq!(client.try_call(&["PING"]), None, "a certificate of another CA is refused");
}

#[test]
fn redis_answers_over_tls_are_those_of_redis() {
    let proxy = Proxy::standard(Redis::shared());
    let mut client = proxy.tls();
    assert_eq!(client.ask("PING"), "-NOAUTH Authentication required.\r\n");
    assert!(
        client.ask("HELLO 3 AUTH app secret SETNAME me").starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n")
    );
    assert_eq!(client.ask("CLIENT GETNAME"), "$2\r\nme\r\n");
    assert_eq!(text(&client.call(&["GET", "app:none"])), "_\r\n");
}

#[test]
fn unix_socket_listeners_serve_and_leave_no_file_behind() {
    let redis = Redis::shared();
    let mut proxy = Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: unix:{}\nupstream:\n  address: unix:{}\nacl:\n  file: {}\nlog:\n  format: json\n",
            dir.path().join("keep.sock").display(),
            redis.socket().display(),
            users.display()
        )
    });
    let path = proxy.dir.path().join("keep.sock");
    let mut client =
        Client::new(std::os::unix::net::UnixStream::connect(&path).unwrap()).login("app", "secret");
    assert_eq!(client.ask("PING"), "+PONG\r\n");
    proxy.signal("-TERM");
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(!path.exists());
}
