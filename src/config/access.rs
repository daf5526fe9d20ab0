//! The sections that say who may do what: `acl` and `users`.

use super::problems::Located;
use super::read::{Reader, Section};
use super::settings::{SecretSource, UserSource};
use super::{users, values};
use crate::acl::DEFAULT_LOG_MAX_LEN;
use crate::policy::Conditions;

/// An entry is up to some 10 KiB.
const MAX_LOG_MAX_LEN: usize = 100_000;

/// What `acl` and `users` say together.
pub(super) struct Access {
    /// Where the users come from.
    pub users: UserSource,
    /// What must hold for users beside their rules.
    pub conditions: Vec<(Located<String>, Conditions)>,
    /// The password of the default user.
    pub requirepass: Option<Located<SecretSource>>,
    /// Whether new users have all channels.
    pub all_channels: bool,
    /// Length of the ACL log.
    pub log_max_len: usize,
    /// Whether users have a key fence, unless their conditions say otherwise.
    pub fence: bool,
}

/// Reads `acl` and `users`. Neither of them at all is a problem and not an open door: whoever wants a proxy that asks
/// for no password must write such a user down.
pub(super) fn access(reader: &mut Reader, top: &mut Section<'_>) -> Option<Access> {
    let problems_before = reader.problem_count();
    let acl = top.take("acl");
    let Acl { file, requirepass, all_channels, log_max_len, fence } =
        acl.and_then(|entry| reader.section(entry, self::acl)).unwrap_or_default();
    let users_entry = top.take("users");
    let users = users_entry.and_then(|entry| users::users(reader, entry, file.as_ref()));
    let (users, conditions) =
        users.map_or((None, Vec::new()), |users| (Some(users.inline), users.conditions));
    let users = match (file, users) {
        (Some(file), _) => UserSource::AclFile(file),
        (None, Some(users)) => UserSource::Inline(users),
        (None, None) if requirepass.is_some() => UserSource::DefaultOnly,
        (None, None) => {
            if reader.problem_count() == problems_before {
                let text = "no users are defined, and nobody could log in; write `acl: {file: /path/users.acl}`, \
                            `users:` or `acl: {requirepass_file: /path}`";
                reader.problem(acl.map_or(top.at, |entry| entry.at), text);
            }
            return None;
        }
    };
    Some(Access { users, conditions, requirepass, all_channels, log_max_len, fence })
}

/// The section `acl`.
struct Acl {
    file: Option<Located<std::path::PathBuf>>,
    requirepass: Option<Located<SecretSource>>,
    all_channels: bool,
    log_max_len: usize,
    fence: bool,
}

impl Default for Acl {
    /// As Redis 7.0 has it.
    fn default() -> Self {
        Acl {
            file: None,
            requirepass: None,
            all_channels: false,
            log_max_len: DEFAULT_LOG_MAX_LEN,
            fence: false,
        }
    }
}

fn acl(reader: &mut Reader, section: &mut Section<'_>) -> Acl {
    const CHOICES: [(&str, bool); 2] = [("allchannels", true), ("resetchannels", false)];
    Acl {
        file: reader.optional_path(section, "file"),
        requirepass: reader.secret(section, "requirepass_file", "requirepass_env"),
        all_channels: reader
            .parse_or(section, "pubsub_default", false, |text| values::choice(text, &CHOICES)),
        log_max_len: reader.number(section, "log_max_len", DEFAULT_LOG_MAX_LEN, 0..=MAX_LOG_MAX_LEN),
        fence: reader.parse_or(section, "fence", false, values::switch),
    }
}
