//! What the TLS of listeners and that of the upstream have in common: CAs, revocation lists, versions, suites.

use std::path::PathBuf;

use super::problems::Located;
use super::read::{Entry, Reader, Section, quoted};
use super::settings::{CertificateFiles, TlsTrust};
use super::tree::Kind;
use super::values;
use crate::server::tls::{Offer, TlsFile, TlsProblem, Version, suite};

/// `ca_cert_file`, `ca_cert_dir`, `crl_files`.
pub(super) fn trust(reader: &mut Reader, section: &mut Section<'_>) -> TlsTrust {
    let ca_cert_file = reader.optional_path(section, "ca_cert_file");
    let ca_cert_dir = reader.optional_path(section, "ca_cert_dir");
    let mut crl_files = Vec::new();
    if let Some(entry) = section.take("crl_files") {
        let items = reader.items(entry, "crl_files").unwrap_or_default();
        if items.is_empty() {
            reader.problem(entry.at, "`crl_files` is empty; write `crl_files: [/path/ca.crl]`, or remove it");
        }
        crl_files.extend(items.into_iter().filter_map(|item| reader.path(item)));
        if ca_cert_file.is_none() && ca_cert_dir.is_none() {
            let text = "`crl_files` needs the CA whose lists these are; write `ca_cert_file: /path/ca.crt`";
            reader.problem(entry.at, text);
        }
    }
    TlsTrust { ca_cert_file, ca_cert_dir, crl_files }
}

/// `certificates`: those for clients who name another server than `cert_file` is for.
pub(super) fn certificates(reader: &mut Reader, section: &mut Section<'_>) -> Vec<CertificateFiles> {
    let Some(entry) = section.take("certificates") else { return Vec::new() };
    let items = reader.items(entry, "certificates[]").unwrap_or_default();
    let mut pair = |item| reader.section(item, own_certificate).flatten();
    items.into_iter().filter_map(&mut pair).collect()
}

/// `cert_file` and `key_file`.
pub(super) fn own_certificate(reader: &mut Reader, section: &mut Section<'_>) -> Option<CertificateFiles> {
    let cert_file = reader.require(section, "cert_file", "/etc/redkeep/tls/tls.crt");
    let cert_file = cert_file.and_then(|entry| reader.path(entry));
    let key_file = reader.require(section, "key_file", "/etc/redkeep/tls/tls.key");
    let key_file = key_file.and_then(|entry| reader.path(entry));
    Some(CertificateFiles { cert_file: cert_file?, key_file: key_file? })
}

/// `danger_key_file_readable`.
pub(super) fn danger_key_file_readable(reader: &mut Reader, section: &mut Section<'_>) -> bool {
    reader.parse_or(section, "danger_key_file_readable", false, values::switch)
}

/// `protocols`, `ciphers`, `ciphersuites`: lists, or as Redis writes them in its `tls-…` settings.
pub(super) fn offer(reader: &mut Reader, section: &mut Section<'_>) -> Offer {
    const VERSIONS: [(&str, Version); 2] = [("TLSv1.2", Version::Tls12), ("TLSv1.3", Version::Tls13)];
    let mut versions = words(reader, section, "protocols", |text| values::choice(text, &VERSIONS));
    versions.dedup();
    let mut offer = Offer { versions, ..Offer::default() };
    for (name, version) in [("ciphers", Version::Tls12), ("ciphersuites", Version::Tls13)] {
        let at = section.take(name).map(|entry| (entry, entry.at));
        let Some((entry, at)) = at else { continue };
        let suites = words_of(reader, entry, |text| {
            suite(version, text).map_err(|known| format!("has {}; known are {known}", quoted(text)))
        });
        if !offer.has(version) {
            let text = format!("`{name}` is for a version that `protocols` leaves out; remove it");
            reader.problem(at, text);
        }
        match version {
            Version::Tls12 => offer.ciphers = suites,
            Version::Tls13 => offer.ciphersuites = suites,
        }
    }
    offer
}

/// The place of a file that has a problem. `own`: the certificates in the order in which the problems count them.
pub(super) fn place<'t>(
    problem: &TlsProblem,
    trust: &'t TlsTrust,
    own: &[&'t CertificateFiles],
) -> Option<&'t Located<PathBuf>> {
    let own = |index: usize| own.get(index);
    match problem.file {
        TlsFile::Ca => trust.ca_cert_file.as_ref().or(trust.ca_cert_dir.as_ref()),
        TlsFile::CaDir => trust.ca_cert_dir.as_ref(),
        TlsFile::Crl(index) => trust.crl_files.get(index),
        TlsFile::Certificate(index) => own(index).map(|own| &own.cert_file),
        TlsFile::Key(index) => own(index).map(|own| &own.key_file),
    }
}

fn words<T>(
    reader: &mut Reader,
    section: &mut Section<'_>,
    name: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    section.take(name).map(|entry| words_of(reader, entry, parse)).unwrap_or_default()
}

/// A list, or a single value with spaces, commas or colons between the words. One word at least.
fn words_of<T>(reader: &mut Reader, entry: Entry<'_>, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
    let items = match entry.node.kind {
        Kind::Sequence(_) => reader.items(entry, entry.name).unwrap_or_default(),
        _ => vec![entry],
    };
    let problems_before = reader.problem_count();
    let mut all = Vec::new();
    for item in items {
        let parsed = reader.parse(item, |text| {
            let words = text.split([' ', ',', ':']).filter(|word| !word.is_empty());
            words.map(&parse).collect::<Result<Vec<T>, String>>()
        });
        all.extend(parsed.map(|parsed| parsed.value).into_iter().flatten());
    }
    if all.is_empty() && reader.problem_count() == problems_before {
        let name = entry.name;
        reader.problem(entry.at, format!("`{name}` is empty; write what may be used, or remove it"));
    }
    all
}
