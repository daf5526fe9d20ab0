//! A client's certificate, from DER to what logins ask of it, and its end.
//!
//! It was verified in the handshake: who signed it, that it is for clients, and that it was valid then. Here is read
//! what it says of whom it belongs to; what a value must not hold is judged where no DER is left
//! ([`Certificate::add`]).
//!
//! SECURITY: each value comes as the bytes that stand there, of exactly the type that was asked for: nothing is
//! converted, and what is of another type, or stands twice, spoils its kind rather than being passed over.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::Tag;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::policy::{Certificate, NameKind};

/// How often the clock is asked whether a certificate has expired: it may be set, or the machine may have slept.
const LOOK: Duration = Duration::from_secs(60);

/// Tags of names in a SAN (RFC 5280, `GeneralName`).
const DNS_NAME: Tag = Tag(2);
const URI: Tag = Tag(6);

/// Reads a certificate.
///
/// # Errors
/// It is none; for the log.
pub(super) fn read(der: &CertificateDer<'_>) -> Result<Certificate, &'static str> {
    const UNREADABLE: &str = "the client's certificate cannot be read";
    let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| UNREADABLE)?;
    if !rest.is_empty() {
        return Err(UNREADABLE);
    }
    let mut certificate = Certificate::until(parsed.validity().not_after.timestamp());
    for name in parsed.subject().iter_common_name() {
        match name.attr_value().tag() {
            Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
                certificate.add(NameKind::CommonName, name.as_slice());
            }
            _ => certificate.spoil(NameKind::CommonName),
        }
    }
    let Ok(alternative) = parsed.subject_alternative_name() else {
        certificate.spoil(NameKind::SanDns);
        certificate.spoil(NameKind::SanUri);
        return Ok(certificate);
    };
    for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => certificate.add(NameKind::SanDns, name.as_bytes()),
            GeneralName::URI(uri) => certificate.add(NameKind::SanUri, uri.as_bytes()),
            GeneralName::Invalid(DNS_NAME, _) => certificate.spoil(NameKind::SanDns),
            GeneralName::Invalid(URI, _) => certificate.spoil(NameKind::SanUri),
            _ => {}
        }
    }
    Ok(certificate)
}

/// Over when the certificate has expired.
pub(super) async fn expiry(certificate: &Certificate) {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Its last second is a valid one.
        let end = u64::try_from(certificate.not_after.saturating_add(1)).unwrap_or_default();
        let left = Duration::from_secs(end).saturating_sub(now);
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

#[cfg(test)]
mod tests;
