//! Several certificates for one listener: the client's server name (SNI) chooses.

use std::fmt;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificates of a listener.
pub(super) struct ByName {
    /// For those who name nothing that another one has.
    pub(super) default: Arc<CertifiedKey>,
    /// The others, in the order of the configuration.
    pub(super) others: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for ByName {
    /// The first that carries the name, as a client would check it, and whose kind of key the client takes.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let chosen = name.and_then(|name| {
            let mut fitting = self.others.iter().filter(|certified| {
                certified.key.choose_scheme(hello.signature_schemes()).is_some() && carries(certified, &name)
            });
            fitting.next()
        });
        Some(chosen.unwrap_or(&self.default).clone())
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByName").field("others", &self.others.len()).finish_non_exhaustive()
    }
}

/// Wildcards count as in every client: for one label.
fn carries(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let Some(leaf) = certified.cert.first() else { return false };
    ParsedCertificate::try_from(leaf).is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
}
