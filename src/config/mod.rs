//! The configuration file: YAML in, [`Config`] out, or everything that is wrong with it at once.
//!
//! The way of a configuration: [`load`] reads the file → `tree` parses YAML into nodes with positions → `sections`,
//! `access` and `gates` ask for keys through a `Reader`, which records every problem → [`Config`]. Then [`check_files`] asks the
//! disk about certificates, keys and secrets. `redkeep check` does both; so does every start and reload.
//!
//! It must never print a secret, never bind a port, and never stop at the first fault. The one exception is broken
//! YAML: nothing after a syntax error can be trusted, so that error comes alone.

mod access;
mod audit;
mod check;
mod files;
mod gates;
mod identity;
mod limits;
mod nearest;
mod plan;
mod problems;
mod read;
mod reload;
mod scripts;
mod secrets;
mod sections;
mod settings;
mod tls;
mod tree;
mod trust;
mod upstream_tls;
mod users;
mod values;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

pub use check::check_files;
pub use files::Snapshot;
pub use nearest::nearest_name;
pub use plan::Plan;
pub use problems::{Located, Position, Problem, Problems};
pub use reload::Reload;
pub use settings::{
    CertificateFiles, Config, GateSettings, InlineUser, Limits, Listener, ListenerTls, ListenerTrust, Log,
    LogFormat, Rename, Rules, SecretSource, TlsTrust, Upstream, UpstreamAddress, UpstreamTls, UserSource,
};

/// Far above any real configuration; a wrong path (a device, a log file) must not fill the memory.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// Reads the configuration file at `path`. Nothing else on the disk is touched: see [`check_files`].
///
/// # Errors
/// All problems of the file, each with its position and what to write instead.
pub fn load(path: &Path) -> Result<Config, Problems> {
    match read_file(path) {
        Ok(source) => parse(path, &Zeroizing::new(source)),
        Err(text) => Err(single(path, Position::START, text)),
    }
}

/// Like [`load`], for a text that was read already; `path` is for messages and for relative paths.
///
/// # Errors
/// All problems of the text, each with its position and what to write instead.
pub fn parse(path: &Path, source: &str) -> Result<Config, Problems> {
    let root = tree::parse(source).map_err(|(at, text)| single(path, at, text))?;
    let mut reader = read::Reader::new(path);
    let config = sections::config(&mut reader, &root, path);
    let (problems, files) = reader.into_parts();
    match config {
        Some(config) if problems.is_empty() => Ok(Config { files, ..config }),
        _ => Err(problems),
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    // Rules may hold passwords.
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read the configuration: {}", io_text(&error)))?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(format!("more than {MAX_CONFIG_BYTES} bytes; name a configuration file"));
    }
    String::from_utf8(std::mem::take(&mut *bytes))
        .map_err(|_| "not UTF-8 text; save the file as UTF-8".into())
}

fn single(path: &Path, at: Position, text: String) -> Problems {
    let mut problems = Problems::default();
    problems.push_at(path, at, text);
    problems
}

/// What the system says of a file, in the house style: `no such file or directory`.
fn io_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
