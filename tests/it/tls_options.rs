//! TLS beyond the plain handshake: versions, suites, certificates by name, revocation, tickets; and TLS to the upstream.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::{ClientConnection, HandshakeKind, ProtocolVersion, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::certs::Certs;
use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::redis::free_port;
use crate::support::{Client, Proxy, Redis, SOON, TempDir, wait_for};

/// A proxy with one TLS listener; `more` are lines of its `tls`, made once there are certificates.
fn with_tls(more: impl FnOnce(&Certs) -> String) -> Proxy {
    Proxy::start(|dir, certs| {
        let users = dir.write("users.acl", USERS);
        let more: String = more(certs).lines().map(|line| format!("      {line}\n")).collect();
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\n    tls:\n      cert_file: {}\n      key_file: {}\n{more}upstream:\n  \
             address: unix:{}\nacl:\n  file: {}\nlog:\n  format: json\n",
            certs.cert.display(),
            certs.key.display(),
            Redis::shared().socket().display(),
            users.display()
        )
    })
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A finished handshake, or why there is none.
fn handshake(port: u16, config: &Arc<rustls::ClientConfig>, name: &str) -> std::io::Result<Tls> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(SOON))?;
    let name = name.to_owned().try_into().unwrap();
    let mut connection = ClientConnection::new(config.clone(), name).unwrap();
    connection.complete_io(&mut socket)?;
    Ok(StreamOwned::new(connection, socket))
}

/// PING, and the first byte of what comes back; nothing if the connection ends.
fn ping(stream: &mut Tls) -> Option<u8> {
    let mut first = [0; 1];
    stream.write_all(b"PING\r\n").ok()?;
    stream.read_exact(&mut first).ok()?;
    Some(first[0])
}

/// A client's configuration that can do nothing but this.
fn only(
    certs: &Certs,
    version: &'static rustls::SupportedProtocolVersion,
    suite: Option<rustls::CipherSuite>,
) -> Arc<rustls::ClientConfig> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|own| suite.is_none_or(|suite| own.suite() == suite));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certs.ca).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[test]
fn versions_and_suites_are_those_that_the_operator_chose() {
    use rustls::CipherSuite as S;
    use rustls::version::{TLS12, TLS13};
    let (gcm12, chacha12) =
        (S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    let (gcm13, chacha13) = (S::TLS13_AES_256_GCM_SHA384, S::TLS13_CHACHA20_POLY1305_SHA256);
    for (settings, served, refused) in [
        ("", vec![(&TLS12, gcm12), (&TLS12, chacha12), (&TLS13, gcm13), (&TLS13, chacha13)], vec![]),
        ("protocols: [TLSv1.3]", vec![(&TLS13, gcm13)], vec![(&TLS12, gcm12)]),
        ("protocols: TLSv1.2", vec![(&TLS12, gcm12)], vec![(&TLS13, gcm13)]),
        (
            "ciphers: ECDHE-ECDSA-CHACHA20-POLY1305\nciphersuites: [TLS_CHACHA20_POLY1305_SHA256]",
            vec![(&TLS12, chacha12), (&TLS13, chacha13)],
            vec![(&TLS12, gcm12), (&TLS13, gcm13)],
        ),
    ] {
        let proxy = with_tls(|_| settings.to_owned());
        for (version, suite) in served {
            let config = only(&proxy.certs, version, Some(suite));
            let mut stream = handshake(proxy.port(0), &config, "localhost").unwrap();
            assert_eq!(stream.conn.protocol_version(), Some(version.version));
            assert_eq!(ping(&mut stream), Some(b'-'), "{settings}");
        }
        for (version, suite) in refused {
            let config = only(&proxy.certs, version, Some(suite));
            assert!(handshake(proxy.port(0), &config, "localhost").is_err(), "{settings} {suite:?}");
        }
        proxy.assert_no_panic();
    }
}

#[test]
fn openssl_and_redis_cli_get_what_they_ask_for_and_nothing_before_tls_1_2() {
    let proxy = with_tls(|_| String::new());
    let openssl = |args: &[&str]| {
        let address = format!("127.0.0.1:{}", proxy.port(0));
        let output = Command::new("openssl")
            .args(["s_client", "-brief", "-verify_return_error", "-connect", &address, "-CAfile"])
            .arg(&proxy.certs.ca)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.success(), text(&output.stderr) + &text(&output.stdout))
    };
    for (args, expected) in [
        (vec!["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (vec!["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], "TLS_AES_128_GCM_SHA256"),
        (vec!["-alpn", "h2,http/1.1"], "TLSv1.3"),
    ] {
        let (good, said) = openssl(&args);
        assert!(good && said.contains(expected), "{args:?}: {said}");
        assert!(!said.contains("ALPN protocol: h"), "{said}");
    }
    for version in ["-tls1_1", "-tls1"] {
        let (good, said) = openssl(&[version, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(!good, "{version}: {said}");
    }
    let cli = |args: &[&str]| {
        let output = Command::new("redis-cli")
            .args([
                "--no-auth-warning",
                "-h",
                "localhost",
                "-p",
                &proxy.port(0).to_string(),
                "--tls",
                "--cacert",
            ])
            .arg(&proxy.certs.ca)
            .args(["--user", "app", "--pass", "secret"])
            .args(args)
            .output()
            .unwrap();
        text(&output.stdout) + &text(&output.stderr)
    };
    let chosen =
        ["--tls-ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384", "--tls-ciphersuites", "TLS_AES_256_GCM_SHA384"];
    assert_eq!(cli(&[&chosen[..], &["PING"]].concat()), "PONG\n");
    assert_eq!(
        cli(&["--sni", "other.example", "PING"]),
        "PONG\n",
        "an unknown name gets the default certificate"
    );
}

#[test]
fn the_server_name_chooses_the_certificate() {
    let proxy = with_tls(|certs| {
        let (exact_cert, exact_key) = certs.sign("exact", &["redis.example"]);
        let (wild_cert, wild_key) = certs.sign("wild", &["*.redis.example"]);
        format!(
            "certificates:\n  - {{cert_file: {}, key_file: {}}}\n  - {{cert_file: {}, key_file: {}}}",
            exact_cert.display(),
            exact_key.display(),
            wild_cert.display(),
            wild_key.display()
        )
    });
    let config = proxy.certs.client_config(false);
    let file = |name: &str| CertificateDer::from_pem_file(proxy.dir.path().join(name)).unwrap();
    for (name, expected) in [
        ("localhost", "server.crt"),
        ("redis.example", "exact.crt"),
        ("REDIS.example", "exact.crt"),
        ("a.redis.example", "wild.crt"),
        ("127.0.0.1", "server.crt"),
    ] {
        // The client verifies the name, too.
        let mut stream = handshake(proxy.port(0), &config, name).unwrap();
        assert_eq!(stream.conn.peer_certificates().unwrap()[0], file(expected), "{name}");
        assert_eq!(ping(&mut stream), Some(b'-'));
    }
    for name in ["a.b.redis.example", "other.example"] {
        let error = handshake(proxy.port(0), &config, name).unwrap_err().to_string();
        assert!(error.contains("not valid for name"), "{name}: {error}");
    }
    // A reload takes new files for all of them.
    let (cert, key) = proxy.certs.sign("renewed", &["redis.example"]);
    std::fs::rename(cert, proxy.dir.path().join("exact.crt")).unwrap();
    std::fs::rename(key, proxy.dir.path().join("exact.key")).unwrap();
    proxy.reload("\"reloaded\"");
    let stream = handshake(proxy.port(0), &config, "redis.example").unwrap();
    assert_eq!(stream.conn.peer_certificates().unwrap()[0], file("exact.crt"));
}

#[test]
fn revoked_certificates_are_refused_from_the_reload_on_and_all_once_a_list_has_expired() {
    let proxy = with_tls(|certs| {
        let crl = certs.revoke("ca.crl", false, 2090);
        format!("ca_cert_file: {}\ncrl_files: [{}]", certs.ca.display(), crl.display())
    });
    let connect = || {
        let mut client = Client::tls(proxy.port(0), proxy.certs.client_config(true));
        client.try_call(&["PING"]).map(|reply| text(&reply))
    };
    assert_eq!(connect().as_deref(), Some("-NOAUTH Authentication required.\r\n"));
    let mut open = Client::tls(proxy.port(0), proxy.certs.client_config(true)).login("app", "secret");
    proxy.certs.revoke("ca.crl", true, 2090);
    assert!(connect().is_some(), "not before the reload");
    proxy.reload("\"reloaded\"");
    assert_eq!(connect(), None);
    assert_eq!(open.ask("PING"), "+PONG\r\n", "who was let in stays until rules or users say otherwise");
    proxy.certs.revoke("ca.crl", false, 2021);
    proxy.reload("\"reloaded\"");
    assert_eq!(connect(), None, "nobody knows who was revoked since");
    proxy.certs.revoke("ca.crl", false, 2090);
    proxy.reload("\"reloaded\"");
    assert!(connect().is_some());
    // A list of another CA says nothing of ours.
    let other = TempDir::new();
    std::fs::copy(Certs::new(other.path()).revoke("x.crl", false, 2090), proxy.dir.path().join("ca.crl"))
        .unwrap();
    proxy.reload("\"reloaded\"");
    assert_eq!(connect(), None);
    proxy.dir.write("ca.crl", "nothing");
    let line = proxy.reload("reload refused");
    assert!(line.contains("has no `BEGIN X509 CRL` block"), "{line}");
}

#[test]
fn client_certificates_are_verified_by_all_cas_of_a_folder() {
    let other = TempDir::new();
    let others = Certs::new(other.path());
    let proxy = with_tls(|certs| {
        let dir = other.path().join("cas");
        std::fs::create_dir(&dir).unwrap();
        std::fs::copy(&certs.ca, dir.join("one.pem")).unwrap();
        format!("ca_cert_dir: {}", dir.display())
    });
    let connect = |certs: &Certs| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&proxy.certs.ca).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_file(&certs.client_cert).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&certs.client_key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        Client::tls(proxy.port(0), Arc::new(config)).try_call(&["PING"])
    };
    // A CA alone makes certificates obligatory.
    let mut without = Client::tls(proxy.port(0), proxy.certs.client_config(false));
    assert_eq!(without.try_call(&["PING"]), None);
    assert!(connect(&proxy.certs).is_some());
    assert!(connect(&others).is_none());
    std::fs::copy(&others.ca, other.path().join("cas/two.pem")).unwrap();
    proxy.reload("\"reloaded\"");
    assert!(connect(&others).is_some() && connect(&proxy.certs).is_some());
}

#[test]
fn tickets_resume_until_the_next_reload_and_never_carry_early_data() {
    let proxy = with_tls(|_| String::new());
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut config = Arc::unwrap_or_clone(only(&proxy.certs, version, None));
        config.enable_early_data = true;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let config = Arc::new(config);
        let connect = || {
            let mut connection =
                ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
            assert!(connection.early_data().is_none(), "no ticket may promise early data");
            let mut socket = TcpStream::connect(("127.0.0.1", proxy.port(0))).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            connection.complete_io(&mut socket).unwrap();
            let mut stream = StreamOwned::new(connection, socket);
            assert_eq!(ping(&mut stream), Some(b'-'));
            assert_eq!(stream.conn.alpn_protocol(), None, "what clients offer is ignored");
            stream.conn.handshake_kind().unwrap()
        };
        assert_eq!(connect(), HandshakeKind::Full);
        assert_eq!(connect(), HandshakeKind::Resumed, "{:?}", version.version);
        proxy.reload("\"reloaded\"");
        assert_eq!(connect(), HandshakeKind::Full, "the keys of tickets end with a reload");
        assert_eq!(connect(), HandshakeKind::Resumed);
    }
}

#[test]
fn nothing_is_resumed_where_client_certificates_are_asked_for() {
    for auth in ["yes", "optional"] {
        let proxy = with_tls(|certs| format!("ca_cert_file: {}\nauth_clients: {auth}", certs.ca.display()));
        let mut config = Arc::unwrap_or_clone(proxy.certs.client_config(true));
        config.resumption = Resumption::in_memory_sessions(8);
        for version in [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2] {
            let config = Arc::new(config.clone());
            for _ in 0..3 {
                let mut stream = handshake(proxy.port(0), &config, "localhost").unwrap();
                assert_eq!(ping(&mut stream), Some(b'-'));
                assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full), "{auth} {version:?}");
            }
        }
    }
}

#[test]
fn a_handshake_in_single_bytes_is_a_handshake() {
    let proxy = with_tls(|_| String::new());
    for config in [proxy.certs.client_config(false), only(&proxy.certs, &rustls::version::TLS12, None)] {
        let mut connection = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        let mut socket = TcpStream::connect(("127.0.0.1", proxy.port(0))).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut outgoing = Vec::new();
        while connection.is_handshaking() {
            while connection.wants_write() {
                connection.write_tls(&mut outgoing).unwrap();
            }
            for byte in outgoing.drain(..) {
                socket.write_all(&[byte]).unwrap();
            }
            if connection.is_handshaking() {
                connection.read_tls(&mut socket).unwrap();
                connection.process_new_packets().unwrap();
            }
        }
        connection.writer().write_all(b"PING\r\n").unwrap();
        while connection.wants_write() {
            connection.write_tls(&mut outgoing).unwrap();
        }
        // With the last bytes of the handshake, and the first command behind them in the same packet.
        socket.write_all(&outgoing).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        let mut first = [0; 1];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"-");
    }
    proxy.assert_no_panic();
}

#[test]
fn what_is_no_handshake_ends_the_connection_and_nothing_else() {
    let proxy = with_tls(|_| String::new());
    let mut random = 0x9e37_79b9_u32;
    let mut noise = |len: usize| -> Vec<u8> {
        (0..len)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                random.to_be_bytes()[0]
            })
            .collect()
    };
    let mut all = vec![
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0; 70_000],
    ];
    for len in [1, 5, 100, 20_000] {
        all.push(noise(len));
        // A record of a handshake, with noise in it.
        let body = noise(len);
        let length = u16::try_from(len).unwrap().to_be_bytes();
        all.push([&[0x16, 3, 1][..], &length, &body].concat());
    }
    for bytes in all {
        let mut client = Client::tcp(proxy.port(0));
        let _ = client.try_send_raw(&bytes);
        drop(client);
    }
    assert_eq!(proxy.tls().login("app", "secret").ask("PING"), "+PONG\r\n");
    proxy.assert_no_panic();
}

#[test]
fn a_key_that_others_may_read_is_refused_at_start_and_at_reload() {
    use std::os::unix::fs::PermissionsExt;
    let proxy = with_tls(|_| String::new());
    std::fs::set_permissions(&proxy.certs.key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let line = proxy.reload("reload refused");
    assert!(line.contains("is open to its group or to others (mode 0640); run `chmod 600`"), "{line}");
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redkeep"));
        command.args(["check", "--config"]).arg(proxy.config_path()).output().unwrap()
    };
    assert_eq!(check().status.code(), Some(2));
    let yaml = std::fs::read_to_string(proxy.config_path()).unwrap();
    let allowed = yaml.replace("    tls:\n", "    tls:\n      danger_key_file_readable: yes\n");
    std::fs::write(proxy.config_path(), allowed).unwrap();
    assert_eq!(check().status.code(), Some(0));
    proxy.reload("\"reloaded\"");
}

// === to the upstream ===

/// A server with this certificate that notes what it is told, in clear, and answers +OK to all.
struct Listening {
    port: u16,
    connections: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Listening {
    fn start(certs: Option<&Certs>) -> Listening {
        let config = certs.map(|certs| {
            let chain = vec![CertificateDer::from_pem_file(&certs.cert).unwrap()];
            let key = PrivateKeyDer::from_pem_file(&certs.key).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = rustls::ServerConfig::builder_with_provider(provider);
            let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
            Arc::new(builder.with_single_cert(chain, key).unwrap())
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, heard) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let (count, notes) = (connections.clone(), heard.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, count, notes) = (config.clone(), count.clone(), notes.clone());
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(SOON)).unwrap();
                    let stream: Box<dyn ReadWrite> = match config {
                        Some(config) => {
                            let connection = rustls::ServerConnection::new(config).unwrap();
                            Box::new(StreamOwned::new(connection, stream))
                        }
                        None => Box::new(stream),
                    };
                    note(stream, &notes);
                    count.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Listening { port, connections, heard }
    }

    fn heard(&self) -> String {
        text(&self.heard.lock().unwrap())
    }
}

trait ReadWrite: Read + Write + Send {}
impl<S: Read + Write + Send> ReadWrite for S {}

fn note(mut stream: Box<dyn ReadWrite>, notes: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 4096];
    while let Ok(count) = stream.read(&mut chunk) {
        if count == 0 {
            return;
        }
        notes.lock().unwrap().extend_from_slice(&chunk[..count]);
        if stream.write_all(b"+OK\r\n").and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

fn before_upstream(port: u16, tls: &str) -> Proxy {
    Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        let password = dir.write("password", "inner-secret");
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nacl:\n  file: {}\nlog:\n  format: json\nupstream:\n  \
             address: rediss://localhost:{port}\n  password_file: {}\n  tls: {{{tls}}}\n",
            users.display(),
            password.display()
        )
    })
}

#[test]
fn no_password_is_sent_to_an_upstream_that_is_not_the_one() {
    let (ours, theirs) = (TempDir::new(), TempDir::new());
    let (certs, foreign) = (Certs::new(ours.path()), Certs::new(theirs.path()));
    let tls = format!("ca_cert_file: {}", certs.ca.display());
    let other_name = format!("{tls}, server_name: redis.internal");
    for (server, tls, told) in [
        (Some(&foreign), &tls, "invalid peer certificate: "),
        (Some(&certs), &other_name, "not valid for name"),
        // A server without TLS is no reason to do without.
        (None, &tls, "received corrupt message"),
    ] {
        let server = Listening::start(server);
        let proxy = before_upstream(server.port, tls);
        let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
        assert_eq!(app.ask("GET app:x"), "-LOADING redkeep: upstream unavailable, command not sent\r\n");
        wait_for("several attempts", || (server.connections.load(Ordering::SeqCst) >= 3).then_some(()));
        let heard = server.heard();
        assert!(!heard.contains("AUTH") && !heard.contains("inner-secret"), "{heard}");
        assert!(proxy.log().iter().any(|line| line.contains(told)), "{told}: {}", proxy.log().join("\n"));
    }
    // The same server with the right certificate hears it: the silence above is not the test's deafness.
    let server = Listening::start(Some(&certs));
    let _proxy = before_upstream(server.port, &tls);
    wait_for("the password", || server.heard().contains("inner-secret").then_some(()));
}

#[test]
fn an_upstream_is_reached_with_the_versions_suites_and_cas_that_were_chosen() {
    let dir = TempDir::new();
    let certs = Certs::new(dir.path());
    let cas = dir.path().join("cas");
    std::fs::create_dir(&cas).unwrap();
    std::fs::copy(&certs.ca, cas.join("ca.pem")).unwrap();
    let crl = certs.revoke("ca.crl", true, 2090);
    let expired = certs.revoke("expired.crl", false, 2021);
    let port = free_port();
    let file = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let _redis = Redis::start(&[
        "--requirepass",
        "inner-secret",
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &file(&certs.cert),
        "--tls-key-file",
        &file(&certs.key),
        "--tls-ca-cert-file",
        &file(&certs.ca),
        "--tls-auth-clients",
        "yes",
        "--tls-protocols",
        "TLSv1.2",
        "--tls-ciphers",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ]);
    let own = format!("cert_file: {}, key_file: {}", certs.client_cert.display(), certs.client_key.display());
    let tls = format!("ca_cert_dir: {}, {own}", cas.display());
    for (more, served) in [
        ("".to_owned(), true),
        (", protocols: TLSv1.2, ciphers: ECDHE-ECDSA-CHACHA20-POLY1305".to_owned(), true),
        (format!(", crl_files: [{}]", crl.display()), true),
        (format!(", crl_files: [{}]", expired.display()), false),
        (", protocols: TLSv1.3".to_owned(), false),
        (", ciphers: ECDHE-ECDSA-AES256-GCM-SHA384".to_owned(), false),
    ] {
        let proxy = before_upstream(port, &format!("{tls}{more}"));
        let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
        let expected =
            if served { "+OK\r\n" } else { "-LOADING redkeep: upstream unavailable, command not sent\r\n" };
        if served {
            wait_for("the upstream", || (app.ask("SET app:k 1") == expected).then_some(()));
        } else {
            assert_eq!(app.ask("SET app:k 1"), expected, "{more}");
        }
    }
}
