//! TLS of the listeners: from certificate files to a rustls configuration.
//!
//! TLS 1.2 and 1.3 by aws-lc-rs, which is named explicitly: another crate in the program must not be able to choose the
//! provider. No early data (0-RTT): it can be replayed, and commands are not idempotent. Session tickets only where no
//! client certificate is asked for: a ticket would keep an identity alive after its certificate was revoked.
//!
//! `redkeep check`, start and reload all come here, so a check says exactly what a start would say.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The TLS side of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate chain, PEM, own certificate first.
    pub cert_file: PathBuf,
    /// Its private key, PEM: PKCS#8, PKCS#1 or SEC1.
    pub key_file: PathBuf,
    /// The CAs that sign client certificates, PEM. Needed unless `auth_clients` is no.
    pub ca_cert_file: Option<PathBuf>,
    /// Whether clients must show a certificate.
    pub auth_clients: AuthClients,
}

/// Whether clients must show a certificate, as Redis' `tls-auth-clients`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthClients {
    /// Certificates are not asked for.
    No,
    /// A client may have none, but one that it shows must be valid.
    Optional,
    /// The handshake fails without a valid certificate.
    Yes,
}

/// Which of a listener's files a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// The CAs of client certificates.
    Ca,
    /// The certificate chain.
    Certificate,
    /// The private key.
    Key,
}

/// Why a listener cannot offer TLS: always the operator's to repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProblem {
    /// The file at fault.
    pub file: TlsFile,
    /// What is wrong with it, with its path; never its content.
    pub text: String,
}

/// Builds what a TLS listener needs. Reads the files; binds nothing.
///
/// # Errors
/// One problem for each file that cannot be used, not only the first.
pub fn server_config(settings: &TlsSettings) -> Result<ServerConfig, Vec<TlsProblem>> {
    let mut problems = Vec::new();
    let mut note = |file, text| problems.push(TlsProblem { file, text });
    let certificates =
        read_certificates(&settings.cert_file).map_err(|text| note(TlsFile::Certificate, text)).ok();
    let key = read_key(&settings.key_file).map_err(|text| note(TlsFile::Key, text)).ok();
    let certified = certificates.zip(key).and_then(|(certificates, key)| {
        certified_key(certificates, key).map_err(|text| note(TlsFile::Key, text)).ok()
    });
    let verifier = verifier(settings).map_err(|text| note(TlsFile::Ca, text)).ok();
    let (Some(certified), Some(verifier)) = (certified, verifier) else { return Err(problems) };

    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&versions);
    let builder = builder.map_err(|error| vec![unusable(&error)])?;
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
    config.max_early_data_size = 0;
    if settings.auth_clients == AuthClients::No {
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| vec![unusable(&error)])?;
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// The one crypto provider of this program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Reads a PEM file of one or more certificates.
///
/// # Errors
/// A text for the operator, with the path.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let bytes = read(path, "certificate")?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|_| format!("certificate file `{shown}` is not valid PEM"))?;
    if certificates.is_empty() {
        return Err(format!("certificate file `{shown}` has no `BEGIN CERTIFICATE` block; write a PEM file"));
    }
    Ok(certificates)
}

/// Reads a PEM file with a private key.
///
/// # Errors
/// A text for the operator, with the path; nothing of the key.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let shown = path.display();
    let bytes = Zeroizing::new(read(path, "key")?);
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            format!(
                "key file `{shown}` has no `BEGIN PRIVATE KEY` block; write a PEM file without a passphrase"
            )
        }
        _ => format!("key file `{shown}` is not valid PEM"),
    })
}

/// Joins a certificate chain and its key.
///
/// # Errors
/// A text for the operator: the key does not fit the certificate, or one of them cannot be used.
pub fn certified_key(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, String> {
    CertifiedKey::from_der(certificates, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            "the private key does not belong to the certificate; write the key that it was made with".into()
        }
        _ => "the certificate or its private key cannot be used; write an RSA, ECDSA or Ed25519 pair".into(),
    })
}

/// A store of the CAs in `path`.
///
/// # Errors
/// A text for the operator, with the path: one of the certificates cannot be a CA.
pub fn trust(certificates: Vec<CertificateDer<'static>>, path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|_| {
            format!(
                "ca file `{}` has a certificate that cannot be read; write a PEM file of CAs",
                path.display()
            )
        })?;
    }
    Ok(roots)
}

fn verifier(settings: &TlsSettings) -> Result<Arc<dyn ClientCertVerifier>, String> {
    // The CA file is read even if no certificate is asked for: a broken file that is named is a mistake.
    let roots = match &settings.ca_cert_file {
        Some(path) => Some(trust(read_certificates(path)?, path)?),
        None => None,
    };
    let roots = match (settings.auth_clients, roots) {
        (AuthClients::No, _) => return Ok(WebPkiClientVerifier::no_client_auth()),
        (_, Some(roots)) => roots,
        (_, None) => return Err("client certificates need a ca file; write `ca_cert_file`".into()),
    };
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = match settings.auth_clients {
        AuthClients::Optional => builder.allow_unauthenticated(),
        AuthClients::No | AuthClients::Yes => builder,
    };
    builder.build().map_err(|error| format!("the ca file cannot be used: {error}"))
}

/// A fault of the crypto library itself, which has no file; shown at the certificate.
fn unusable(error: &rustls::Error) -> TlsProblem {
    TlsProblem { file: TlsFile::Certificate, text: format!("tls cannot be set up: {error}") }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| {
        let text = error.to_string().to_lowercase();
        format!(
            "cannot read {what} file `{}`: {}",
            path.display(),
            text.split(" (os error").next().unwrap_or_default()
        )
    })
}

#[cfg(test)]
mod tests;
