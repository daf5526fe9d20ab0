//! Certificates are made here by rcgen; nothing is kept in the repository.

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
        cert_file: pair.0.clone(),
        key_file: pair.1.clone(),
        ca_cert_file: ca.map(Path::to_path_buf),
        auth_clients,
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
    assert_eq!(problems(&settings(&(cert, key), None, AuthClients::No)), [(TlsFile::Key, text.to_owned())]);
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
    assert_eq!(files, [TlsFile::Certificate, TlsFile::Key, TlsFile::Ca]);
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
    assert_eq!(found, [(TlsFile::Ca, "client certificates need a ca file; write `ca_cert_file`".to_owned())]);
}
