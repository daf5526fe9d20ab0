//! TLS to the upstream: from files to what a link needs. Verified against CA and name, or there is no link: nothing here
//! can switch that off.

use std::sync::Arc;

use rustls_pki_types::ServerName;
use sha2::{Digest, Sha256};

use super::problems::{Position, Problems};
use super::settings::{Config, UpstreamTls};
use super::tls::place;
use crate::server::tls::{TlsFile, TlsProblem, read_pair};
use crate::upstream::DialTls;

/// Reads the files of `upstream.tls`; `host` is that of the address.
///
/// # Errors
/// All problems, by their places.
pub(super) fn dial_tls(host: &str, tls: &UpstreamTls, config: &Config) -> Result<DialTls, Problems> {
    let mut problems = Problems::default();
    let made = client_config(tls);
    let own: Vec<_> = tls.own.iter().collect();
    for problem in made.as_ref().err().into_iter().flatten() {
        let at = place(problem, &tls.trust, &own).map_or(Position::START, |file| file.at);
        problems.push_at(&config.file, at, problem.text.clone());
    }
    let (name, at) = match &tls.server_name {
        Some(name) => (name.value.clone(), name.at),
        None => (host.to_owned(), tls.at),
    };
    let server_name = ServerName::try_from(name.clone());
    if server_name.is_err() {
        problems.push_at(&config.file, at, format!("`{name}` is no server name; write `server_name: HOST`"));
    }
    match (made, server_name) {
        (Ok((config, fingerprint)), Ok(server_name)) => {
            Ok(DialTls { config: Arc::new(config), server_name, fingerprint })
        }
        _ => Err(problems),
    }
}

fn client_config(tls: &UpstreamTls) -> Result<(rustls::ClientConfig, [u8; 32]), Vec<TlsProblem>> {
    let anchors = tls.trust.authorities().read();
    let own = tls
        .own
        .as_ref()
        .map(|own| read_pair(&own.cert_file.value, &own.key_file.value, tls.danger_key_file_readable, 0));
    let (anchors, own) = match (anchors, own.transpose()) {
        (Ok(anchors), Ok(own)) => (anchors, own),
        (anchors, own) => {
            return Err(anchors.err().into_iter().chain(own.err()).flatten().collect());
        }
    };
    let mut fingerprint = Fingerprint(Sha256::new());
    fingerprint.add(format!("{:?}", tls.offer).as_bytes());
    anchors.roots.subjects().iter().for_each(|subject| fingerprint.add(subject.as_ref()));
    anchors.roots.roots.iter().for_each(|root| fingerprint.add(&root.subject_public_key_info));
    anchors.crls.iter().for_each(|crl| fingerprint.add(crl));
    if let Some(own) = &own {
        own.cert.iter().for_each(|certificate| fingerprint.add(certificate));
    }
    let provider = tls.offer.provider();
    let problem = |text: String| vec![TlsProblem { file: TlsFile::Ca, text }];
    // SECURITY: with lists, a certificate whose status they do not tell is refused, and so are all once they have expired.
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
        Arc::new(anchors.roots),
        provider.clone(),
    )
    .with_crls(anchors.crls)
    .enforce_revocation_expiration()
    .build()
    .map_err(|error| match error {
        rustls::server::VerifierBuilderError::InvalidCrl(_) => vec![TlsProblem {
            file: TlsFile::Crl(0),
            text: "a revocation list cannot be read; write X.509 lists, version 2".into(),
        }],
        _ => problem(format!("the ca file cannot be used: {error}")),
    })?;
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&tls.offer.versions())
        .map_err(|error| problem(format!("tls cannot be set up: {error}")))?
        .with_webpki_verifier(verifier);
    let config = match own {
        Some(own) => builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own))),
        None => builder.with_no_client_auth(),
    };
    Ok((config, fingerprint.0.finalize().into()))
}

/// Tells two configurations apart.
struct Fingerprint(Sha256);

impl Fingerprint {
    /// Lengths keep the end of one part from being the beginning of the next.
    fn add(&mut self, part: &[u8]) {
        self.0.update(part.len().to_be_bytes());
        self.0.update(part);
    }
}
