//! The section `audit`: what is recorded of what clients do, and where.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problems::{Located, Position, Problems};
use super::read::{Reader, Section, quoted};
use super::settings::SecretSource;
use super::values;
use crate::audit::{Level, Names, Settings};

/// Room for some 20,000 records: a log rotation, a busy disk.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// Less could not hold a single long record.
const MIN_BUFFER_BYTES: usize = 16 * 1024;

/// `audit`.
#[derive(Clone, Debug)]
pub struct Audit {
    /// `level`, default off.
    pub level: Level,
    /// `file`; without one, standard error.
    pub file: Option<Located<PathBuf>>,
    /// `keys`: hashed (true) or redacted, the default.
    pub hashed: bool,
    /// `key_hash_secret_file` or `key_hash_secret_env`: only with `keys: hashed`.
    pub secret: Option<Located<SecretSource>>,
    /// `required`, default no: what cannot be recorded is not done.
    pub required: bool,
    /// `buffer`, default 8mb: bytes of records that may wait.
    pub buffer: usize,
}

impl Audit {
    /// Where there is no such section.
    const OFF: Audit = Audit {
        level: Level::Off,
        file: None,
        hashed: false,
        secret: None,
        required: false,
        buffer: BUFFER_BYTES,
    };

    /// With the secret read. `None` if it cannot be read any more.
    pub(super) fn settings(&self) -> Option<Settings> {
        let secret = match &self.secret {
            Some(source) => Some(Arc::new(source.value.read().ok()?)),
            None => None,
        };
        Some(Settings {
            level: self.level,
            file: self.file.as_ref().map(|file| file.value.clone()),
            names: if self.hashed { Names::Hashed(secret) } else { Names::Redacted },
            required: self.required,
            buffer: self.buffer,
        })
    }

    /// Whether the file could be written, as far as can be told without making it.
    pub(super) fn check(&self, config: &Path, problems: &mut Problems) {
        let Some(file) = &self.file else { return };
        let path = file.value.display();
        let folder = file.value.parent().filter(|folder| !folder.as_os_str().is_empty());
        if file.value.is_dir() {
            problems.push_at(config, file.at, format!("audit file `{path}` is a folder; name a file in it"));
        } else if !folder.unwrap_or(Path::new(".")).is_dir() {
            let text =
                format!("there is no folder for the audit file `{path}`; make it, or name another file");
            problems.push_at(config, file.at, text);
        }
    }
}

/// Reads the section.
pub(super) fn audit(reader: &mut Reader, top: &mut Section<'_>) -> Audit {
    const LEVELS: [(&str, Level); 4] =
        [("off", Level::Off), ("denied", Level::Denied), ("admin", Level::Admin), ("all", Level::All)];
    let Some(entry) = top.take("audit") else { return Audit::OFF };
    let at = entry.at;
    let audit = reader.section(entry, |reader, section| {
        let level = reader.parse_or(section, "level", Level::Off, |text| match text {
            // What YAML 1.1 makes of `off`.
            "false" => Ok(Level::Off),
            _ => values::choice(text, &LEVELS),
        });
        let file = reader.output_path(section, "file");
        let hashed = reader.parse_or(section, "keys", false, |text| {
            values::choice(text, &[("redacted", false), ("hashed", true)])
        });
        let secret = reader.secret(section, "key_hash_secret_file", "key_hash_secret_env");
        let required = reader.parse_or(section, "required", false, values::switch);
        let buffer = reader.parse_or(section, "buffer", BUFFER_BYTES, buffer);
        Audit { level, file, hashed, secret, required, buffer }
    });
    let audit = audit.unwrap_or(Audit::OFF);
    contradictions(reader, at, &audit);
    audit
}

fn contradictions(reader: &mut Reader, at: Position, audit: &Audit) {
    if audit.required && audit.level == Level::Off {
        reader.problem(at, "`required` needs something to record; write `level: denied`, `admin` or `all`");
    }
    if let (Some(secret), false) = (&audit.secret, audit.hashed) {
        reader.problem(secret.at, "the secret is only used with `keys: hashed`; write that, or remove it");
    }
}

fn buffer(text: &str) -> Result<usize, String> {
    match values::bytes(text)? {
        bytes if bytes >= MIN_BUFFER_BYTES => Ok(bytes),
        _ => Err(format!("is {}; write at least `16kb`", quoted(text))),
    }
}
