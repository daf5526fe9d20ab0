//! A CA of clients, which signs whatever a test wants to see refused.

use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

pub struct ClientCa {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl ClientCa {
    pub fn new() -> ClientCa {
        let params = |name: &str| {
            let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let root = CertifiedIssuer::self_signed(params("clients' CA"), KeyPair::generate().unwrap()).unwrap();
        let intermediate = CertifiedIssuer::signed_by(
            params("clients' intermediate CA"),
            KeyPair::generate().unwrap(),
            &root,
        )
        .unwrap();
        ClientCa { root, intermediate }
    }

    pub fn pem(&self) -> String {
        self.root.pem()
    }

    /// The configuration of a client with a certificate of this CA; the server's CA is read from `trusted`.
    pub fn client(&self, trusted: &std::path::Path, params: &CertificateParams) -> Arc<rustls::ClientConfig> {
        self.signed(trusted, params, false)
    }

    /// The same with an intermediate CA between.
    pub fn client_of_intermediate(
        &self,
        trusted: &std::path::Path,
        params: &CertificateParams,
    ) -> Arc<rustls::ClientConfig> {
        self.signed(trusted, params, true)
    }

    fn signed(
        &self,
        trusted: &std::path::Path,
        params: &CertificateParams,
        intermediate: bool,
    ) -> Arc<rustls::ClientConfig> {
        let key = KeyPair::generate().unwrap();
        let issuer = if intermediate { &self.intermediate } else { &self.root };
        let leaf = params.signed_by(&key, issuer).unwrap();
        let mut chain = vec![leaf.der().clone()];
        if intermediate {
            chain.push(self.intermediate.der().clone());
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls_pki_types::CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        Arc::new(config)
    }
}

/// What a client's certificate says: common names (with their types) and alternative names.
pub fn names(common: &[DnValue], alternative: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "admin");
    for value in common {
        params.distinguished_name.push(DnType::CommonName, value.clone());
    }
    params.subject_alt_names = alternative.to_vec();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub fn common_name(name: &str) -> CertificateParams {
    names(&[name.into()], &[])
}

pub fn uris(uris: &[&str]) -> CertificateParams {
    let uris: Vec<SanType> =
        uris.iter().map(|uri| SanType::URI(Ia5String::try_from(*uri).unwrap())).collect();
    names(&["admin".into()], &uris)
}
