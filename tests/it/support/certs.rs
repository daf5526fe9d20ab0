//! A throw-away CA with a server and a client certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub struct Certs {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client_cert: PathBuf,
    pub client_key: PathBuf,
}

impl Certs {
    pub fn new(dir: &Path) -> Certs {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Strict clients (Python 3.13) insist on this, and on the key identifier below.
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "redkeep test CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let leaf = |name: &str, sans: &[&str]| {
            let key = KeyPair::generate().unwrap();
            let names: Vec<String> = sans.iter().map(|san| (*san).to_owned()).collect();
            let mut params = CertificateParams::new(names).unwrap();
            params.use_authority_key_identifier_extension = true;
            let cert = params.signed_by(&key, &issuer).unwrap();
            let paths = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
            std::fs::write(&paths.0, cert.pem()).unwrap();
            std::fs::write(&paths.1, key.serialize_pem()).unwrap();
            paths
        };
        let (cert, key) = leaf("server", &["localhost", "127.0.0.1", "::1"]);
        let (client_cert, client_key) = leaf("client", &["client"]);
        let ca = dir.join("ca.crt");
        std::fs::write(&ca, issuer.pem()).unwrap();
        Certs { ca, cert, key, client_cert, client_key }
    }

    /// A client's configuration that trusts the CA, with the client certificate if asked for.
    pub fn client_config(&self, with_certificate: bool) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(if with_certificate {
            let chain = vec![CertificateDer::from_pem_file(&self.client_cert).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&self.client_key).unwrap())
                .unwrap()
        } else {
            builder.with_no_client_auth()
        })
    }
}
