//! The demo's private directory: certificates, users, configuration. Removed when dropped.
//!
//! SECURITY: nobody else may enter the directory (0700) or read its secrets (0600), and its name is random, so nobody
//! can have been there before. The CA's key is never written at all. Passwords are random; the ACL file has hashes.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::Failure;
use crate::acl::PasswordHash;

/// Longest parent directory: with the names below it the Unix socket stays under the system's 107 bytes.
const MAX_PARENT_BYTES: usize = 70;

/// How long the certificates are valid; more than anybody leaves a demo running.
const VALIDITY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What is wrong with clocks of virtual machines.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

/// A directory with everything that the demo needs, until it is dropped.
pub(super) struct Files {
    root: PathBuf,
    /// Passwords by user.
    pub(super) passwords: Passwords,
    /// What KEYS is called for clients.
    pub(super) keys_alias: String,
}

/// The random passwords of the three users.
pub(super) struct Passwords {
    pub(super) admin: String,
    pub(super) app: String,
    pub(super) readonly: String,
}

impl Files {
    /// Makes the directory and writes all but the configuration, whose port is not known yet.
    pub(super) fn create() -> Result<Files, Failure> {
        let root = parent().join(format!("redkeep-demo-{}", random_hex(4)?));
        let cannot = |error| Failure::Io(format!("cannot make the directory `{}`", root.display()), error);
        DirBuilder::new().mode(0o700).create(&root).map_err(cannot)?;
        // From here on the directory is removed, whatever happens.
        let files = Files {
            root,
            passwords: Passwords { admin: random_hex(12)?, app: random_hex(12)?, readonly: random_hex(12)? },
            keys_alias: format!("KEYS_{}", random_hex(3)?),
        };
        let victim = files.victim();
        let cannot = |error| Failure::Io(format!("cannot make the directory `{}`", victim.display()), error);
        DirBuilder::new().recursive(true).mode(0o700).create(&victim).map_err(cannot)?;
        files.write_certificates()?;
        files.write_users("")?;
        Ok(files)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.root.join("redis.sock")
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.root.join("ca.crt")
    }

    pub(super) fn users(&self) -> PathBuf {
        self.root.join("users.acl")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.root.join("redkeep.yaml")
    }

    /// Stands for `/root/.ssh`: where the attack wants to write.
    pub(super) fn victim(&self) -> PathBuf {
        self.root.join("root/.ssh")
    }

    /// Writes the configuration with a listener on `port` of 127.0.0.1; 0 takes a free one.
    pub(super) fn write_config(&self, port: u16) -> Result<(), Failure> {
        let alias = &self.keys_alias;
        let taken = if port == 0 { "   # 0: a free port" } else { "" };
        let text = format!(
            "\
# Written by `redkeep demo`. Edit it, then: kill -HUP {pid}
listeners:
  - bind: 127.0.0.1:{port}{taken}
    tls:
      cert_file: server.crt
      key_file: server.key
upstream:
  address: unix:redis.sock
acl:
  file: users.acl
commands:
  rename:
    FLUSHALL: \"\"            # nobody has it
    KEYS: \"{alias}\"     # who knows this name, and may, has it
log:
  level: error
shutdown_timeout: 2s
",
            pid = std::process::id()
        );
        self.write("redkeep.yaml", &text)
    }

    /// Writes the users, with `more` rules at the end of the line of `app`. Its `key:*` are redis-benchmark's keys.
    pub(super) fn write_users(&self, more: &str) -> Result<(), Failure> {
        let hash = |password: &str| PasswordHash::of(password.as_bytes()).to_hex();
        let Passwords { admin, app, readonly } = &self.passwords;
        let text = format!(
            "\
user default off
user admin on #{} ~* &* +@all
user app on #{} ~app:* ~key:* &app:* +@all -@dangerous{more}
user readonly on #{} ~app:* +@read +@connection
",
            hash(admin),
            hash(app),
            hash(readonly)
        );
        self.write("users.acl", &text)
    }

    /// A CA of this hour, and a certificate for this machine that it signed.
    fn write_certificates(&self) -> Result<(), Failure> {
        let mut params = params(&[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "redkeep demo CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut params = self::params(&["localhost", "127.0.0.1", "::1"])?;
        params.distinguished_name.push(DnType::CommonName, "redkeep demo");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python 3.13 and newer refuse certificates without it.
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        self.write("ca.crt", &issuer.pem())?;
        self.write("server.crt", &certificate.pem())?;
        self.write("server.key", &key.serialize_pem())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.root.join(name);
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let written = options.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| Failure::Io(format!("cannot write `{}`", path.display()), error))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // The guard of Redis may have been faster.
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// TMPDIR, if the path of a socket in it is short enough and can be pasted into a shell and into YAML as it is.
fn parent() -> PathBuf {
    let chosen = std::env::temp_dir();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(byte);
    let bytes = chosen.as_os_str().as_encoded_bytes();
    let fits = bytes.len() <= MAX_PARENT_BYTES && bytes.iter().all(plain) && chosen.is_absolute();
    if fits { chosen } else { PathBuf::from("/tmp") }
}

fn params(names: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    let now = SystemTime::now();
    params.not_before = now.checked_sub(CLOCK_SKEW).unwrap_or(now).into();
    params.not_after = now.checked_add(VALIDITY).unwrap_or(now).into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params)
}

/// `count` random bytes as twice as many hexadecimal digits.
fn random_hex(count: usize) -> Result<String, Failure> {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes).map_err(Failure::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
