//! A throw-away CA with a server and a client certificate, and what else it may sign.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub struct Certs {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client_cert: PathBuf,
    pub client_key: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

/// Serial number of the client certificate.
const CLIENT: u64 = 77;

impl Certs {
    pub fn new(dir: &Path) -> Certs {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Strict clients (Python 3.13) insist on this, and on the key identifier below.
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "redkeep test CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let ca = dir.join("ca.crt");
        std::fs::write(&ca, issuer.pem()).unwrap();
        let (cert, key) = sign(&issuer, dir, "server", &["localhost", "127.0.0.1", "::1"], None);
        let (client_cert, client_key) = sign(&issuer, dir, "client", &["client"], Some(CLIENT));
        Certs { ca, cert, key, client_cert, client_key, issuer, dir: dir.to_owned() }
    }

    /// One more server certificate, and its key.
    pub fn sign(&self, name: &str, sans: &[&str]) -> (PathBuf, PathBuf) {
        sign(&self.issuer, &self.dir, name, sans, None)
    }

    /// Writes a revocation list, with the client certificate or without, that is valid until the first day of `year`.
    pub fn revoke(&self, file: &str, client: bool, year: i32) -> PathBuf {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(CLIENT),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: if client { vec![revoked] } else { Vec::new() },
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.dir.join(file);
        std::fs::write(&path, params.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
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

fn sign(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    dir: &Path,
    name: &str,
    sans: &[&str],
    serial: Option<u64>,
) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = sans.iter().map(|san| (*san).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.use_authority_key_identifier_extension = true;
    params.serial_number = serial.map(SerialNumber::from);
    let cert = params.signed_by(&key, issuer).unwrap();
    let paths = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    std::fs::write(&paths.0, cert.pem()).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    // Keys are for their owner alone.
    std::fs::set_permissions(&paths.1, std::fs::Permissions::from_mode(0o600)).unwrap();
    paths
}
