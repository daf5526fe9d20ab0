//! Asking the disk: can everything that a configuration names be read and used?
//!
//! Nothing is bound and nothing is connected. The content of rules and ACL files is not judged here: that needs the
//! command table, and the application adds those problems to the same list (`Problems::push`).

use std::io::Read as _;
use std::path::Path;

use super::problems::{Located, Problems};
use super::settings::{Config, ListenerTls, SecretSource, UpstreamAddress, UserSource};
use super::tls::place;
use super::upstream_tls::dial_tls;
use crate::regular;
use crate::server::tls::server_config;

/// All problems of the files and variables that `config` names: certificates, keys, CAs, secrets, the ACL file. The
/// problems point at the configuration, where the file is named. Empty if all is well.
pub fn check_files(config: &Config) -> Problems {
    let mut check = Check { file: &config.file, problems: Problems::default() };
    for tls in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        check.listener_tls(tls);
    }
    check.secrets(config.upstream.password.iter().chain(&config.requirepass));
    if let (Some(tls), UpstreamAddress::Tls { host, .. }) = (&config.upstream.tls, &config.upstream.address) {
        check.problems.extend(dial_tls(host, tls, config).err().unwrap_or_default());
    }
    check.secrets(config.audit.secret.iter());
    config.audit.check(&config.file, &mut check.problems);
    match &config.users {
        UserSource::AclFile(file) => {
            let readable = regular::open(&file.value).and_then(|mut opened| opened.read(&mut [0]));
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
        let Err(problems) = server_config(&tls.settings()) else { return };
        let own: Vec<_> = tls.certificates().collect();
        for problem in problems {
            let place = place(&problem, &tls.trust, &own).unwrap_or(&tls.own.cert_file);
            self.problem(place, problem.text);
        }
    }
}
