//! Files of certificates, keys and revocation lists: PEM in, rustls' types out. For listeners and for the upstream.
//!
//! Texts for the operator name the path and never show the content. A key that others on this machine may read or
//! change is refused, since whoever has it is the server.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::{TlsFile, TlsProblem, provider};
use crate::regular;

/// Permissions of anybody but the owner.
const OF_OTHERS: u32 = 0o077;

/// Who may have signed the certificates of the other side, and which of these were revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorities {
    /// CAs, PEM.
    pub ca_cert_file: Option<PathBuf>,
    /// A folder of such files.
    pub ca_cert_dir: Option<PathBuf>,
    /// Revocation lists, PEM. If there are any, each CA in a chain needs one, and it must not have expired.
    pub crl_files: Vec<PathBuf>,
}

/// The same, read.
pub struct Anchors {
    /// The CAs; none if no file names any.
    pub roots: RootCertStore,
    /// Their lists.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

impl Authorities {
    /// Reads all of it.
    ///
    /// # Errors
    /// One problem for each file that cannot be used.
    pub fn read(&self) -> Result<Anchors, Vec<TlsProblem>> {
        let mut problems = Vec::new();
        let mut anchors = Anchors { roots: RootCertStore::empty(), crls: Vec::new() };
        let of_file = self.ca_cert_file.iter().map(|path| (TlsFile::Ca, path, read_certificates(path)));
        let of_folder = self.ca_cert_dir.iter().map(|path| (TlsFile::CaDir, path, read_folder(path)));
        for (file, path, read) in of_file.chain(of_folder) {
            let added = read.and_then(|certificates| add(&mut anchors.roots, certificates, path));
            problems.extend(added.err().map(|text| TlsProblem { file, text }));
        }
        for (index, path) in self.crl_files.iter().enumerate() {
            match read_crls(path) {
                Ok(crls) => anchors.crls.extend(crls),
                Err(text) => problems.push(TlsProblem { file: TlsFile::Crl(index), text }),
            }
        }
        if problems.is_empty() { Ok(anchors) } else { Err(problems) }
    }
}

/// Reads a PEM file of one or more certificates.
///
/// # Errors
/// A text for the operator, with the path.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let certificates = certificates(path)?;
    if certificates.is_empty() {
        return Err(format!("certificate file `{shown}` has no `BEGIN CERTIFICATE` block; write a PEM file"));
    }
    Ok(certificates)
}

/// Reads a PEM file with a private key. `open_to_others`: even if others may read the file.
///
/// # Errors
/// A text for the operator, with the path; nothing of the key.
pub fn read_key(path: &Path, open_to_others: bool) -> Result<PrivateKeyDer<'static>, String> {
    let shown = path.display();
    let (bytes, mode) = read(path, "key")?;
    let bytes = Zeroizing::new(bytes);
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            format!(
                "key file `{shown}` has no `BEGIN PRIVATE KEY` block; write a PEM file without a passphrase"
            )
        }
        _ => format!("key file `{shown}` is not valid PEM"),
    })?;
    if mode & OF_OTHERS != 0 && !open_to_others {
        return Err(format!(
            "key file `{shown}` is open to its group or to others (mode {mode:04o}); run `chmod 600`, or write \
             `danger_key_file_readable: yes` beside it"
        ));
    }
    Ok(key)
}

/// Joins a certificate chain and its key.
///
/// # Errors
/// A text for the operator: the key does not fit the certificate, or one of them cannot be used.
pub fn certified_key(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, String> {
    CertifiedKey::from_der(certificates, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            "the private key does not belong to the certificate; write the key that it was made with".into()
        }
        _ => "the certificate or its private key cannot be used; write an RSA, ECDSA or Ed25519 pair".into(),
    })
}

/// A store of the CAs in `path`.
///
/// # Errors
/// A text for the operator, with the path: one of the certificates cannot be a CA.
pub fn trust(certificates: Vec<CertificateDer<'static>>, path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    add(&mut roots, certificates, path)?;
    Ok(roots)
}

/// Reads a chain and its key, with one problem for each file. `index` tells the pair in [`TlsFile`].
pub fn read_pair(
    cert_file: &Path,
    key_file: &Path,
    open_to_others: bool,
    index: usize,
) -> Result<CertifiedKey, Vec<TlsProblem>> {
    let problem = |file: fn(usize) -> TlsFile, text| TlsProblem { file: file(index), text };
    match (read_certificates(cert_file), read_key(key_file, open_to_others)) {
        (Ok(certificates), Ok(key)) => {
            certified_key(certificates, key).map_err(|text| vec![problem(TlsFile::Key, text)])
        }
        (certificates, key) => {
            let certificate = certificates.err().map(|text| problem(TlsFile::Certificate, text));
            let key = key.err().map(|text| problem(TlsFile::Key, text));
            Err(certificate.into_iter().chain(key).collect())
        }
    }
}

fn add(
    roots: &mut RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
    path: &Path,
) -> Result<(), String> {
    for certificate in certificates {
        roots.add(certificate).map_err(|_| {
            format!(
                "ca file `{}` has a certificate that cannot be read; write a PEM file of CAs",
                path.display()
            )
        })?;
    }
    Ok(())
}

/// The certificates of all files in a folder. Others may lie there too (hashes that are links, lists, a README), but
/// not nothing else.
fn read_folder(folder: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = folder.display();
    let failed = |error: std::io::Error| format!("cannot read folder `{shown}`: {}", io_text(&error));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        all.extend(certificates(&path)?);
    }
    if all.is_empty() {
        return Err(format!(
            "folder `{shown}` has no file with a `BEGIN CERTIFICATE` block; put the CAs there"
        ));
    }
    Ok(all)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let (bytes, _) = read(path, "certificate")?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    certificates.map_err(|_| format!("certificate file `{}` is not valid PEM", path.display()))
}

fn read_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let shown = path.display();
    let (bytes, _) = read(path, "revocation")?;
    let crls: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let crls = crls.map_err(|_| format!("revocation file `{shown}` is not valid PEM"))?;
    if crls.is_empty() {
        return Err(format!("revocation file `{shown}` has no `BEGIN X509 CRL` block; write a PEM file"));
    }
    Ok(crls)
}

/// The content of a file, and its permissions at that moment.
fn read(path: &Path, what: &str) -> Result<(Vec<u8>, u32), String> {
    let read = || {
        let mut file = regular::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((bytes, mode))
    };
    read().map_err(|error| format!("cannot read {what} file `{}`: {}", path.display(), io_text(&error)))
}

/// What the system says, in the house style.
fn io_text(error: &std::io::Error) -> String {
    error.to_string().to_lowercase().split(" (os error").next().unwrap_or_default().to_owned()
}
