//! Who may connect to a listener, and for whom a load balancer speaks.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, Redis, wait_for};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A proxy with these items of `listeners`; `more`: top-level keys. CERT and KEY in them stand for files.
fn with_listeners(listeners: &str, users: &str, more: &str) -> Proxy {
    Proxy::start(|dir, certs| {
        let users = dir.write("users.acl", users);
        let listeners = listeners
            .replace("CERT", certs.cert.to_str().unwrap())
            .replace("KEY", certs.key.to_str().unwrap())
            .replace("DIR", dir.path().to_str().unwrap());
        format!(
            "listeners:\n{listeners}upstream:\n  address: unix:{}\nacl:\n  file: {}\nlog:\n  format: json\n{more}",
            Redis::shared().socket().display(),
            users.display()
        )
    })
}

/// The header for a client of 4 bytes of address.
fn header(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[127, 0, 0, 1], &[0x12, 0x34], &[0x18, 0xeb]].concat();
    [SIGNATURE, &[0x21, 0x11, 0, 12], &addresses].concat()
}

#[test]
fn unix_sockets_are_for_redkeeps_user_alone_unless_mode_says_otherwise() {
    let proxy = with_listeners(
        "  - bind: unix:DIR/private.sock\n  - bind: unix:DIR/group.sock\n    mode: \"0660\"\n",
        USERS,
        "",
    );
    for (name, mode) in [("private.sock", 0o600), ("group.sock", 0o660)] {
        let path = proxy.dir.path().join(name);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, mode, "{name}");
        let mut client = Client::new(UnixStream::connect(&path).unwrap()).login("app", "secret");
        assert_eq!(client.ask("PING"), "+PONG\r\n");
    }
}

#[test]
fn a_socket_never_listens_with_more_permissions_than_its_mode() {
    // Whoever can connect before the mode is set would be served: so as soon as anybody can, the mode is there.
    let redis = Redis::shared();
    for _ in 0..5 {
        let dir = crate::support::TempDir::new();
        let path = dir.path().join("s");
        let watched = path.clone();
        let watcher = std::thread::spawn(move || {
            wait_for("the listener", || {
                UnixStream::connect(&watched).ok()?;
                Some(std::fs::metadata(&watched).unwrap().permissions().mode() & 0o777)
            })
        });
        let _proxy = Proxy::start(|config, _| {
            let users = config.write("users.acl", USERS);
            let (socket, upstream, users) = (path.display(), redis.socket(), users.display());
            format!(
                "listeners:\n  - bind: unix:{socket}\n    mode: \"0600\"\nupstream:\n  address: unix:{}\nacl:\n  \
                 file: {users}\nlog:\n  format: json\n",
                upstream.display()
            )
        });
        assert_eq!(watcher.join().unwrap(), 0o600);
    }
}

#[test]
fn one_listener_may_have_addresses_of_all_kinds() {
    let proxy = Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        // The second word makes the helper wait for two more addresses.
        format!(
            "# bind: bind:\nlisteners:\n  - bind: [\"127.0.0.1:0\", \"[::1]:0\", \"unix:{}/s\"]\nupstream:\n  \
             address: unix:{}\nacl:\n  file: {}\nlog:\n  format: json\n",
            dir.path().display(),
            Redis::shared().socket().display(),
            users.display()
        )
    });
    let mut four = Client::tcp(proxy.port(0)).login("app", "secret");
    assert_eq!(four.ask("PING"), "+PONG\r\n");
    let mut six = std::net::TcpStream::connect(("::1", proxy.port(1))).unwrap();
    std::io::Write::write_all(&mut six, b"PING\r\n").unwrap();
    let mut first = [0];
    std::io::Read::read_exact(&mut six, &mut first).unwrap();
    assert_eq!(&first, b"-");
    let mut unix =
        Client::new(UnixStream::connect(proxy.dir.path().join("s")).unwrap()).login("app", "secret");
    assert!(unix.ask("CLIENT INFO").contains("/s:0"));
}

#[test]
fn who_is_not_let_in_is_closed_without_a_word_and_without_counting_against_maxclients() {
    let proxy = with_listeners(
        "  - bind: 127.0.0.1:0\n    deny_from: [127.0.0.0/8]\n  - bind: 127.0.0.1:0\n    allow_from: [127.0.0.1, \"::1\"]\n  \
         - bind: 127.0.0.1:0\n    allow_from: [10.0.0.0/8]\n    tls: {cert_file: CERT, key_file: KEY}\n",
        USERS,
        "limits:\n  maxclients: 1\n",
    );
    let mut inside = Client::tcp(proxy.port(1)).login("app", "secret");
    for listener in [0, 2] {
        for _ in 0..3 {
            let mut outside = Client::tcp(proxy.port(listener));
            let _ = outside.try_send(&["PING"]);
            assert_eq!(text(&outside.read_to_end()), "");
        }
    }
    assert_eq!(inside.ask("PING"), "+PONG\r\n");
    let line = proxy.wait_for_log(0, "is not let in by allow_from and deny_from");
    assert!(line.contains("\"client\":\"127.0.0.1\"") && line.contains("\"refused\":1"), "{line}");
    let told = proxy.log().iter().filter(|line| line.contains("is not let in by")).count();
    assert_eq!(told, 2, "one line for each of the listeners, however many come");
}

#[test]
fn from_a_load_balancer_the_address_in_its_header_is_the_clients() {
    let proxy = with_listeners(
        "  - bind: 127.0.0.1:0\n    proxy_protocol: yes\n    proxy_protocol_from: [127.0.0.0/8]\n    protected_mode: no\n    \
         deny_from: [192.0.2.66]\n  - bind: 127.0.0.1:0\n    proxy_protocol: yes\n    proxy_protocol_from: [10.0.0.1]\n",
        USERS,
        "limits:\n  handshake_timeout: 1s\n",
    );
    let connect = |bytes: &[u8]| {
        let mut client = Client::tcp(proxy.port(0));
        client.send_raw(bytes);
        client
    };
    // Header and first command in one packet, and the header byte by byte.
    let mut client = connect(&[&header([192, 0, 2, 1])[..], b"AUTH admin secret\r\n"].concat());
    assert_eq!(text(&client.read_reply()), "+OK\r\n");
    assert!(client.ask("CLIENT INFO").contains(" addr=192.0.2.1:4660 "));
    let mut slow = Client::tcp(proxy.port(0));
    header([192, 0, 2, 2]).iter().for_each(|byte| slow.send_raw(&[*byte]));
    let mut slow = slow.login("admin", "secret");
    assert!(slow.ask("CLIENT LIST").contains(" addr=192.0.2.2:4660 "));
    assert!(slow.ask("AUTH admin wrong").starts_with("-WRONGPASS"));
    assert!(slow.ask("ACL LOG 1").contains(" addr=192.0.2.2:4660 "));
    assert_eq!(slow.ask("CLIENT KILL ADDR 192.0.2.1:4660"), ":1\r\n");
    assert_eq!(text(&client.read_to_end()), "");

    // A check of the load balancer itself.
    let mut local = connect(&[SIGNATURE, &[0x20, 0, 0, 0]].concat()).login("app", "secret");
    assert!(local.ask("CLIENT INFO").contains(" addr=127.0.0.1:"));

    let silent = Client::tcp(proxy.port(0));
    for refused in [
        connect(&header([192, 0, 2, 66])),
        connect(b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n"),
        connect(b"PROXY TCP4 192.0.2.1 127.0.0.1 4660 6379\r\n"),
        connect(&header([192, 0, 2, 1])[..20]),
        silent,
        Client::tcp(proxy.port(1)),
    ] {
        let mut refused = refused;
        assert_eq!(text(&refused.read_to_end()), "");
    }
    proxy.wait_for_log(0, "is none of proxy_protocol_from");
    proxy.assert_no_panic();
}

#[test]
fn behind_a_load_balancer_of_this_machine_nobody_is_local_who_is_not() {
    let listener = format!("{ANYWHERE}    protected_mode: no\n");
    let proxy = with_listeners(&listener, USERS, "enable_debug_command: local\n");
    for (header, local) in [
        (header([192, 0, 2, 1]), false),
        (header([127, 0, 0, 1]), true),
        ([SIGNATURE, &[0x20, 0, 0, 0]].concat(), true),
    ] {
        let mut client = Client::tcp(proxy.port(0));
        client.send_raw(&header);
        let reply = client.login("admin", "secret").ask("DEBUG SLEEP 0");
        assert_eq!(reply == "+OK\r\n", local, "{reply}");
    }
}

#[test]
fn a_header_stands_before_the_handshake_of_tls() {
    let proxy = with_listeners(
        "  - bind: 127.0.0.1:0\n    proxy_protocol: yes\n    proxy_protocol_from: [127.0.0.1]\n    \
         tls: {cert_file: CERT, key_file: KEY}\n",
        USERS,
        "",
    );
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", proxy.port(0))).unwrap();
    std::io::Write::write_all(&mut stream, &header([192, 0, 2, 7])).unwrap();
    let mut client =
        Client::tls_on(stream, proxy.certs.client_config(false), "localhost").login("app", "secret");
    assert!(client.ask("CLIENT INFO").contains(" addr=192.0.2.7:4660 "));
}

/// A listener that a load balancer of this machine connects to, so that clients can come from anywhere.
const ANYWHERE: &str =
    "  - bind: 127.0.0.1:0\n    proxy_protocol: yes\n    proxy_protocol_from: [127.0.0.1]\n";

#[test]
fn protected_mode_serves_strangers_only_over_tls_and_never_without_a_password() {
    let open = "user default on nopass ~* &* +@all\n";
    let tls = "    tls: {cert_file: CERT, key_file: KEY}\n";
    let off = "    protected_mode: no\n";
    let redis = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for \
                 the default user.";
    let plain = "-DENIED Redkeep is running in protected mode, and this listener has no TLS: ";
    for (users, more_listener, more, stranger) in [
        (USERS, "", "", plain),
        (open, "", "", redis),
        (open, tls, "", redis),
        (USERS, tls, "", "-NOAUTH"),
        (USERS, off, "", "-NOAUTH"),
        (open, off, "", "+PONG"),
        (USERS, "", "protected_mode: no\n", "-NOAUTH"),
        (USERS, "    protected_mode: yes\n", "protected_mode: no\n", plain),
    ] {
        let proxy = with_listeners(&format!("{ANYWHERE}{more_listener}"), users, more);
        let connect = |from: [u8; 4]| {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", proxy.port(0))).unwrap();
            std::io::Write::write_all(&mut stream, &header(from)).unwrap();
            if more_listener == tls {
                Client::tls_on(stream, proxy.certs.client_config(false), "localhost")
            } else {
                Client::on(stream)
            }
        };
        let here = if users == open { "+PONG" } else { "-NOAUTH" };
        for (from, expected) in [([192, 0, 2, 1], stranger), ([127, 0, 0, 1], here)] {
            let mut client = connect(from);
            // A refusal comes without being asked.
            let reply = if expected.starts_with("-DENIED") {
                text(&client.read_to_end())
            } else {
                client.ask("PING")
            };
            assert!(reply.starts_with(expected), "{more_listener}{more} {from:?}: {reply}");
        }
    }
}

#[test]
fn a_healthcheck_asks_a_listener_that_lets_it_in() {
    let redkeep = |proxy: &Proxy| {
        let yaml = std::fs::read_to_string(proxy.config_path()).unwrap();
        let real = yaml.replacen("127.0.0.1:0", &format!("127.0.0.1:{}", proxy.port(0)), 1);
        let path = proxy.dir.write("health.yaml", real);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_redkeep"));
        let output = command.args(["healthcheck", "--config"]).arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let listener = "  - bind: 127.0.0.1:0\n";
    let sni = "    tls: {cert_file: CERT, key_file: KEY, certificates: [{cert_file: CERT, key_file: KEY}]}\n";
    let demands = |protocol: &str| {
        let tls = "cert_file: CERT, key_file: KEY, ca_cert_file: DIR/ca.crt, auth_clients: yes";
        format!("    tls: {{{tls}, protocols: [{protocol}]}}\n")
    };
    for more in ["    allow_from: [10.0.0.1]\n", sni, &demands("TLSv1.2"), &demands("TLSv1.3")] {
        redkeep(&with_listeners(&format!("{listener}{more}"), USERS, ""));
    }
    redkeep(&with_listeners(ANYWHERE, USERS, ""));
}

#[test]
fn whom_a_listener_trusts_changes_with_a_reload_for_those_who_come_then() {
    let proxy = with_listeners(ANYWHERE, USERS, "");
    let yaml = std::fs::read_to_string(proxy.config_path()).unwrap();
    let from = |client: [u8; 4]| {
        let mut client_of = Client::tcp(proxy.port(0));
        client_of.send_raw(&header(client));
        let reply = client_of.try_call(&["PING"]).map(|reply| text(&reply)).unwrap_or_default();
        reply.split(' ').next().unwrap_or_default().to_owned()
    };
    let mut open = Client::tcp(proxy.port(0));
    open.send_raw(&header([127, 0, 0, 1]));
    let mut open = open.login("app", "secret");
    assert_eq!((from([127, 0, 0, 1]).as_str(), from([192, 0, 2, 1]).as_str()), ("-NOAUTH", "-DENIED"));
    for (more, here, stranger) in [
        ("    protected_mode: no\n", "-NOAUTH", "-NOAUTH"),
        ("    deny_from: [127.0.0.1]\n    protected_mode: no\n", "", "-NOAUTH"),
        ("", "-NOAUTH", "-DENIED"),
    ] {
        let new = yaml.replace(
            "proxy_protocol_from: [127.0.0.1]\n",
            &format!("proxy_protocol_from: [127.0.0.1]\n{more}"),
        );
        std::fs::write(proxy.config_path(), new).unwrap();
        proxy.reload("\"reloaded\"");
        assert_eq!(
            (from([127, 0, 0, 1]).as_str(), from([192, 0, 2, 1]).as_str()),
            (here, stranger),
            "{more}"
        );
        assert_eq!(open.ask("PING"), "+PONG\r\n", "who is in stays");
    }
}
