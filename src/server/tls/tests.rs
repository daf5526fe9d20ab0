//! Certificates are made here by rcgen; nothing is kept in the repository.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

/// A folder of files that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("redkeep-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let key = made.signing_key.serialize_pem();
        (self.write(&format!("{name}.crt"), &made.cert.pem()), self.write(&format!("{name}.key"), &key))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn settings(pair: &(PathBuf, PathBuf), ca: Option<&Path>, auth_clients: AuthClients) -> TlsSettings {
    TlsSettings {
        certificates: vec![pair.clone()],
        danger_key_file_readable: false,
        authorities: Authorities { ca_cert_file: ca.map(Path::to_path_buf), ..Authorities::default() },
        auth_clients,
        offer: Offer::default(),
    }
}

fn problems(settings: &TlsSettings) -> Vec<(TlsFile, String)> {
    server_config(settings).unwrap_err().into_iter().map(|problem| (problem.file, problem.text)).collect()
}

#[test]
fn tickets_are_given_only_where_no_certificate_is_asked_for() {
    let folder = Folder::new("tickets");
    let pair = folder.pair("a");
    for auth in [AuthClients::No, AuthClients::Optional, AuthClients::Yes] {
        let config = server_config(&settings(&pair, Some(&pair.0), auth)).unwrap();
        assert_eq!(config.ticketer.enabled(), auth == AuthClients::No);
        assert_eq!(config.send_tls13_tickets > 0, auth == AuthClients::No);
        assert_eq!(config.session_storage.can_cache(), auth == AuthClients::No);
        assert_eq!(config.max_early_data_size, 0);
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let folder = Folder::new("mismatch");
    let (cert, _) = folder.pair("a");
    let (_, key) = folder.pair("b");
    let text = "the private key does not belong to the certificate; write the key that it was made with";
    assert_eq!(
        problems(&settings(&(cert, key), None, AuthClients::No)),
        [(TlsFile::Key(0), text.to_owned())]
    );
}

#[test]
fn each_broken_file_is_reported_and_no_key_is_shown() {
    let folder = Folder::new("broken");
    let (_, key) = folder.pair("a");
    let pem = std::fs::read_to_string(&key).unwrap();
    let body = pem.lines().nth(1).unwrap();
    let torn = folder.write("torn.key", &pem.replace("-----END PRIVATE KEY-----", ""));
    let not_base64 = folder.write("x.crt", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    let found =
        problems(&settings(&(not_base64.clone(), torn), Some(&folder.0.join("none")), AuthClients::Yes));
    let files: Vec<TlsFile> = found.iter().map(|(file, _)| *file).collect();
    assert_eq!(files, [TlsFile::Certificate(0), TlsFile::Key(0), TlsFile::Ca]);
    for (_, text) in &found {
        assert!(!text.contains(body), "{text}");
    }
    // Swapped by mistake: the key's file is named as the certificate.
    let found = problems(&settings(&(key.clone(), key.clone()), None, AuthClients::No));
    assert!(found[0].1.contains("has no `BEGIN CERTIFICATE` block"), "{found:?}");
    assert!(!found[0].1.contains(body));
    // PEM that holds something else than a certificate.
    let garbage = folder.write("y.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let found = problems(&settings(&(garbage.clone(), key), Some(&garbage), AuthClients::Yes));
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn client_certificates_without_a_ca_are_impossible() {
    let folder = Folder::new("noca");
    let found = problems(&settings(&folder.pair("a"), None, AuthClients::Optional));
    assert_eq!(
        found,
        [(
            TlsFile::Ca,
            "client certificates need a ca file; write `ca_cert_file` or `ca_cert_dir`".to_owned()
        )]
    );
}

#[test]
fn keys_that_others_may_read_or_change_are_refused_unless_the_operator_says_so() {
    let folder = Folder::new("modes");
    let pair = folder.pair("a");
    for (mode, taken) in [
        (0o600, true),
        (0o400, true),
        (0o700, true),
        (0o640, false),
        (0o620, false),
        (0o604, false),
        (0o601, false),
        (0o644, false),
    ] {
        std::fs::set_permissions(&pair.1, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut settings = settings(&pair, None, AuthClients::No);
        if !taken {
            let found = problems(&settings);
            assert_eq!(found[0].0, TlsFile::Key(0));
            let expected =
                format!("is open to its group or to others (mode {mode:04o}); run `chmod 600`, or");
            assert!(found[0].1.contains(&expected), "{found:?}");
            settings.danger_key_file_readable = true;
        }
        assert!(server_config(&settings).is_ok(), "{mode:o}");
    }
}

#[test]
fn a_folder_of_cas_is_read_whole_and_must_hold_one() {
    let folder = Folder::new("cadir");
    let pair = folder.pair("a");
    let cas = Folder::new("cadir/cas");
    let settings = || TlsSettings {
        authorities: Authorities { ca_cert_dir: Some(cas.0.clone()), ..Authorities::default() },
        ..settings(&pair, None, AuthClients::Yes)
    };
    let found = problems(&settings());
    assert_eq!(found[0].0, TlsFile::CaDir);
    assert!(found[0].1.contains("has no file with a `BEGIN CERTIFICATE` block"), "{found:?}");
    cas.write("README", "The CAs of our clients.");
    cas.write(".hidden", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    cas.write("b.pem", &std::fs::read_to_string(folder.pair("b").0).unwrap());
    cas.write("c.pem", &std::fs::read_to_string(folder.pair("c").0).unwrap());
    assert_eq!(settings().authorities.read().unwrap_or_else(|_| panic!()).roots.len(), 2);
    assert!(server_config(&settings()).is_ok());
    cas.write("d.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    assert!(problems(&settings())[0].1.contains("d.pem` is not valid PEM"));
}

#[test]
fn broken_revocation_lists_are_reported() {
    let folder = Folder::new("crls");
    let pair = folder.pair("a");
    let none = folder.write("none.crl", "nothing");
    let garbage = folder.write("garbage.crl", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    let with = |crls: Vec<PathBuf>| {
        let mut settings = settings(&pair, Some(&pair.0), AuthClients::Yes);
        settings.authorities.crl_files = crls;
        problems(&settings)
    };
    let found = with(vec![folder.0.join("nosuch"), none]);
    assert_eq!(found.iter().map(|(file, _)| *file).collect::<Vec<_>>(), [TlsFile::Crl(0), TlsFile::Crl(1)]);
    assert!(found[1].1.contains("has no `BEGIN X509 CRL` block"), "{found:?}");
    assert!(with(vec![garbage])[0].1.contains("a revocation list cannot be read"));
}
