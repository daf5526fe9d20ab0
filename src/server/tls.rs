//! TLS of the listeners: from certificate files to a rustls configuration.
//!
//! TLS 1.2 and 1.3 by aws-lc-rs, which is named explicitly: another crate in the program must not be able to choose the
//! provider. No early data (0-RTT): it can be replayed, and commands are not idempotent. Session tickets only where no
//! client certificate is asked for: a ticket would keep an identity alive after its certificate was revoked. The keys
//! of tickets belong to one configuration, so they end with every reload. ALPN of clients is ignored, as by Redis.
//!
//! `redkeep check`, start and reload all come here, so a check says exactly what a start would say.

mod files;
mod names;
mod offer;

pub use files::{Anchors, Authorities, certified_key, read_certificates, read_key, read_pair, trust};
pub use offer::{Offer, Version, suite};

use std::path::PathBuf;
use std::sync::Arc;

use names::ByName;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

/// The TLS side of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificate chains, PEM, own certificate first, each with its private key, PEM: PKCS#8, PKCS#1 or SEC1. The first
    /// is for clients who name no other server; there is at least one.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    /// Private keys may be open to others.
    pub danger_key_file_readable: bool,
    /// The CAs that sign client certificates, and their revocation lists. Needed unless `auth_clients` is no.
    pub authorities: Authorities,
    /// Whether clients must show a certificate.
    pub auth_clients: AuthClients,
    /// Versions and suites.
    pub offer: Offer,
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

/// Which of the files a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// The CAs of the other side's certificates.
    Ca,
    /// The folder of such CAs.
    CaDir,
    /// A certificate chain, by its number.
    Certificate(usize),
    /// A revocation list, by its number.
    Crl(usize),
    /// A private key, by its number.
    Key(usize),
}

/// Why TLS is not possible: always the operator's to repair.
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
    let mut certified = Vec::new();
    for (index, (cert_file, key_file)) in settings.certificates.iter().enumerate() {
        match read_pair(cert_file, key_file, settings.danger_key_file_readable, index) {
            Ok(pair) => certified.push(Arc::new(pair)),
            Err(found) => problems.extend(found),
        }
    }
    let provider = settings.offer.provider();
    let verifier = verifier(settings, provider.clone()).map_err(|found| problems.extend(found)).ok();
    let mut certified = certified.into_iter();
    let (Some(default), Some(verifier), true) = (certified.next(), verifier, problems.is_empty()) else {
        return Err(problems);
    };

    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&settings.offer.versions());
    let builder = builder.map_err(|error| vec![unusable(&error)])?;
    let resolver = Arc::new(ByName { default, others: certified.collect() });
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

fn verifier(
    settings: &TlsSettings,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Vec<TlsProblem>> {
    // The files are read even if no certificate is asked for: a broken file that is named is a mistake.
    let anchors = settings.authorities.read()?;
    let problem = |file, text: String| vec![TlsProblem { file, text }];
    if settings.auth_clients == AuthClients::No {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    if anchors.roots.is_empty() {
        let text = "client certificates need a ca file; write `ca_cert_file` or `ca_cert_dir`";
        return Err(problem(TlsFile::Ca, text.into()));
    }
    // SECURITY: with lists, whoever's status they do not tell is refused, and so is everybody once they have expired.
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(anchors.roots), provider)
        .with_crls(anchors.crls)
        .enforce_revocation_expiration();
    let builder = match settings.auth_clients {
        AuthClients::Optional => builder.allow_unauthenticated(),
        AuthClients::No | AuthClients::Yes => builder,
    };
    builder.build().map_err(|error| match error {
        rustls::server::VerifierBuilderError::InvalidCrl(_) => {
            problem(TlsFile::Crl(0), "a revocation list cannot be read; write X.509 lists, version 2".into())
        }
        _ => problem(TlsFile::Ca, format!("the ca file cannot be used: {error}")),
    })
}

/// A fault of the crypto library itself, which has no file; shown at the certificate.
fn unusable(error: &rustls::Error) -> TlsProblem {
    TlsProblem { file: TlsFile::Certificate(0), text: format!("tls cannot be set up: {error}") }
}

#[cfg(test)]
mod tests;
