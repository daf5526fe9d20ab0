//! Asking the disk: can everything that a configuration names be read and used?
//!
//! Nothing is bound and nothing is connected. The content of rules and ACL files is not judged here: that needs the
//! command table, and the application adds those problems to the same list (`Problems::push`).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::problems::{Located, Problems};
use super::settings::{Config, ListenerTls, SecretSource, UpstreamTls, UserSource};
use crate::server::tls::{self, TlsFile};

/// All problems of the files and variables that `config` names: certificates, keys, CAs, secrets, the ACL file. The
/// problems point at the configuration, where the file is named. Empty if all is well.
pub fn check_files(config: &Config) -> Problems {
    let mut check = Check { file: &config.file, problems: Problems::default() };
    for tls in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        check.listener_tls(tls);
    }
    check.secrets(config.upstream.password.iter().chain(&config.requirepass));
    if let Some(tls) = &config.upstream.tls {
        check.upstream_tls(tls);
    }
    match &config.users {
        UserSource::AclFile(file) => {
            let readable = File::open(&file.value).and_then(|mut opened| opened.read(&mut [0]));
            if let Err(error) = readable {
                let (path, text) = (file.value.display(), super::io_text(&error));
                check.problem(file, format!("cannot read acl file `{path}`: {text}"));
            }
        }
        UserSource::Inline(users) => check.secrets(users.iter().flat_map(|user| &user.passwords)),
        UserSource::DefaultOnly => {}
    }
    check.problems
}

struct Check<'c> {
    file: &'c Path,
    problems: Problems,
}

impl Check<'_> {
    fn problem<T>(&mut self, place: &Located<T>, text: impl Into<String>) {
        self.problems.push_at(self.file, place.at, text);
    }

    fn secrets<'s>(&mut self, sources: impl Iterator<Item = &'s Located<SecretSource>>) {
        for source in sources {
            if let Err(text) = source.value.read() {
                self.problem(source, text);
            }
        }
    }

    fn listener_tls(&mut self, tls: &ListenerTls) {
        let Err(problems) = tls::server_config(&tls.settings()) else { return };
        for problem in problems {
            let place = match problem.file {
                TlsFile::Ca => tls.ca_cert_file.as_ref().unwrap_or(&tls.cert_file),
                TlsFile::Certificate => &tls.cert_file,
                TlsFile::Key => &tls.key_file,
            };
            self.problem(place, problem.text);
        }
    }

    fn upstream_tls(&mut self, tls: &UpstreamTls) {
        let ca = tls::read_certificates(&tls.ca_cert_file.value)
            .and_then(|certificates| tls::trust(certificates, &tls.ca_cert_file.value).map(|_| ()));
        if let Err(text) = ca {
            self.problem(&tls.ca_cert_file, text);
        }
        let (Some(cert_file), Some(key_file)) = (&tls.cert_file, &tls.key_file) else { return };
        let certificates = tls::read_certificates(&cert_file.value);
        let key = tls::read_key(&key_file.value);
        match (certificates, key) {
            (Ok(certificates), Ok(key)) => {
                if let Err(text) = tls::certified_key(certificates, key) {
                    self.problem(key_file, text);
                }
            }
            (certificates, key) => {
                if let Err(text) = certificates {
                    self.problem(cert_file, text);
                }
                if let Err(text) = key {
                    self.problem(key_file, text);
                }
            }
        }
    }
}
