//! One certificate for every server (ECDSA P-256, from a CA of its own), and what clients offer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::{ClientConfig, RootCertStore, version};

use crate::Result;

/// The name that the certificate is for, and that clients ask for.
pub const NAME: &str = "localhost";

/// The files of the certificate, and the clients' settings.
pub struct Certs {
    /// The certificate alone.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Both in one file, as HAProxy wants them.
    pub both: PathBuf,
    /// Each connection makes a full handshake.
    pub full: Arc<ClientConfig>,
    /// Connections resume sessions of earlier ones.
    pub resuming: Arc<ClientConfig>,
}

impl Certs {
    /// Makes CA, certificate and key, and writes them to `dir`.
    pub fn new(dir: &Path) -> Result<Certs> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let cert = CertificateParams::new(vec![NAME.to_owned()])?.signed_by(&key, &ca)?;

        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = dir.join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(path)
        };
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone())?;
        Ok(Certs {
            cert: write("tls.crt", cert.pem())?,
            key: write("tls.key", key.serialize_pem())?,
            both: write("both.pem", cert.pem() + &key.serialize_pem())?,
            full: client(roots.clone(), Resumption::disabled())?,
            resuming: client(roots, Resumption::in_memory_sessions(4096))?,
        })
    }
}

/// TLS 1.3 with what OpenSSL 3.0 offers, in its order, since most clients of Redis are built on that: the server's
/// own preference decides, as in life. One group, so that all servers make the same key exchange.
fn client(roots: RootCertStore, resumption: Resumption) -> Result<Arc<ClientConfig>> {
    let mut provider = default_provider();
    provider.cipher_suites = vec![
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS13_AES_128_GCM_SHA256,
    ];
    provider.kx_groups = vec![kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = resumption;
    Ok(Arc::new(config))
}
