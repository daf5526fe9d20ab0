//! What we agree to in a handshake: versions of TLS and cipher suites, by the names that people know.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedProtocolVersion};

use super::provider;

/// A version of TLS. There is none before 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

/// The suites that there are: version, the name of OpenSSL, which is Redis', and that of IANA.
const SUITES: [(Version, &str, &str, CipherSuite); 9] = {
    use CipherSuite as S;
    use Version::{Tls12, Tls13};
    [
        (Tls13, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", S::TLS13_AES_256_GCM_SHA384),
        (Tls13, "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", S::TLS13_AES_128_GCM_SHA256),
        (
            Tls13,
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
            S::TLS13_CHACHA20_POLY1305_SHA256,
        ),
        (
            Tls12,
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ),
        (
            Tls12,
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ),
        (
            Tls12,
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ),
        (
            Tls12,
            "ECDHE-RSA-AES256-GCM-SHA384",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ),
        (
            Tls12,
            "ECDHE-RSA-AES128-GCM-SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ),
        (
            Tls12,
            "ECDHE-RSA-CHACHA20-POLY1305",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ),
    ]
};

/// What is offered; the default is all that there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Versions; empty for both.
    pub versions: Vec<Version>,
    /// Suites of TLS 1.2; empty for all.
    pub ciphers: Vec<CipherSuite>,
    /// Suites of TLS 1.3; empty for all.
    pub ciphersuites: Vec<CipherSuite>,
}

impl Offer {
    /// Whether connections of this version can come about.
    pub fn has(&self, version: Version) -> bool {
        self.versions.is_empty() || self.versions.contains(&version)
    }

    /// The versions, for rustls.
    pub fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [(Version::Tls13, &rustls::version::TLS13), (Version::Tls12, &rustls::version::TLS12)];
        all.into_iter().filter(|(version, _)| self.has(*version)).map(|(_, version)| version).collect()
    }

    /// The crypto provider with no other suites than these, in the given order.
    pub fn provider(&self) -> Arc<CryptoProvider> {
        if self.ciphers.is_empty() && self.ciphersuites.is_empty() {
            return provider();
        }
        let mut provider = aws_lc_rs::default_provider();
        let all = std::mem::take(&mut provider.cipher_suites);
        for (version, chosen) in [(Version::Tls13, &self.ciphersuites), (Version::Tls12, &self.ciphers)] {
            let of_version: Vec<CipherSuite> = if chosen.is_empty() {
                SUITES.iter().filter(|suite| suite.0 == version).map(|suite| suite.3).collect()
            } else {
                chosen.clone()
            };
            let found = of_version.iter().filter_map(|id| all.iter().find(|suite| suite.suite() == *id));
            provider.cipher_suites.extend(found);
        }
        Arc::new(provider)
    }
}

/// The suite of this name, OpenSSL's or IANA's, in any case. `Err` has the names that there are.
pub fn suite(version: Version, name: &str) -> Result<CipherSuite, String> {
    let mut known = SUITES.iter().filter(|suite| suite.0 == version);
    let found =
        known.clone().find(|suite| [suite.1, suite.2].iter().any(|own| own.eq_ignore_ascii_case(name)));
    found.map(|suite| suite.3).ok_or_else(|| {
        let first = known.next().map_or("", |suite| suite.1).to_owned();
        known.fold(first, |list, suite| list + ", " + suite.1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_of_the_library_has_its_names_and_no_other() {
        let all = aws_lc_rs::default_provider().cipher_suites;
        assert_eq!(all.len(), SUITES.len());
        for suite in &all {
            let row = SUITES.iter().find(|row| row.3 == suite.suite()).unwrap();
            assert_eq!(row.0 == Version::Tls13, suite.tls13().is_some());
            let (name, iana) = (suite.suite().as_str().unwrap(), row.2);
            assert_eq!(name.replace("TLS13_", "TLS_"), iana);
            assert_eq!(super::suite(row.0, &row.1.to_lowercase()), Ok(row.3));
            assert_eq!(super::suite(row.0, iana), Ok(row.3));
        }
    }

    #[test]
    fn a_choice_of_suites_leaves_those_of_the_other_version() {
        let chosen = suite(Version::Tls12, "ECDHE-RSA-AES128-GCM-SHA256").unwrap();
        let offer = Offer { ciphers: vec![chosen], ..Offer::default() };
        let names: Vec<CipherSuite> =
            offer.provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
        assert_eq!(names.len(), 4);
        assert_eq!(names.last(), Some(&chosen));
        let known = suite(Version::Tls13, "ECDHE-RSA-AES128-GCM-SHA256").unwrap_err();
        assert_eq!(known, "TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256");
    }
}
