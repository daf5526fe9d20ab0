//! Certificates as logins: `listeners[].tls.identity`, and `login` of a user.

use super::problems::Located;
use super::read::{Entry, Reader, Section};
use super::settings::Listener;
use super::values;
use crate::policy::{Conditions, Identity, Login, Mapping, MappingError, NameKind};
use crate::server::tls::AuthClients;

/// Reads `identity` of a listener's `tls`.
pub(super) fn identity(
    reader: &mut Reader,
    section: &mut Section<'_>,
    auth_clients: AuthClients,
) -> Option<Identity> {
    let entry = section.take("identity")?;
    if auth_clients == AuthClients::No {
        // SECURITY: who writes this relies on certificates, and nobody would be asked for one.
        let text = "`identity` needs certificates of clients, which this listener does not ask for; \
                    write `ca_cert_file`, and `auth_clients: yes` or `optional`";
        reader.problem(entry.at, text);
    }
    reader.section(entry, fields).flatten()
}

fn fields(reader: &mut Reader, section: &mut Section<'_>) -> Option<Identity> {
    const KINDS: [(&str, NameKind); 3] =
        [("cn", NameKind::CommonName), ("san_uri", NameKind::SanUri), ("san_dns", NameKind::SanDns)];
    let from = reader.require(section, "from", "san_uri");
    let from = from.and_then(|entry| reader.parse(entry, |text| values::choice(text, &KINDS)));
    let map = section.take("map");
    // Without `from` the entries are read all the same, for their faults.
    let kind = from.as_ref().map_or(NameKind::SanUri, |from| from.value);
    let map = match map {
        Some(entry) => Some(self::map(reader, entry, kind)?),
        None => None,
    };
    Some(Identity::new(from?.value, map))
}

fn map(reader: &mut Reader, entry: Entry<'_>, kind: NameKind) -> Option<Vec<Mapping>> {
    let items = reader.items(entry, "map[]")?;
    if items.is_empty() {
        // SECURITY: nobody knows whether all names were to be users, or none.
        let text = "`map` is empty; write at least one entry such as \
                    `- {pattern: \"spiffe://cluster/ns/{ns}/sa/{sa}\", \
                    user: \"{ns}/{sa}\"}`, or remove the key: then the name itself is the user";
        reader.problem(entry.at, text);
    }
    let read =
        items.into_iter().map(|item| reader.section(item, |reader, section| mapping(reader, section, kind)));
    let read: Vec<Option<Mapping>> = read.map(Option::flatten).collect();
    read.into_iter().collect()
}

fn mapping(reader: &mut Reader, section: &mut Section<'_>, kind: NameKind) -> Option<Mapping> {
    let pattern = reader.require(section, "pattern", "\"spiffe://cluster/ns/{ns}/sa/{sa}\"");
    let user = reader.require(section, "user", "\"{ns}/{sa}\"");
    let (pattern, user) = (pattern?, user?);
    let (pattern_text, user_text) = (&reader.scalar(pattern)?.text, &reader.scalar(user)?.text);
    match Mapping::parse(kind, pattern_text, user_text) {
        Ok(mapping) => Some(mapping),
        Err(MappingError::Pattern(text)) => {
            reader.problem(pattern.node.at, format!("`pattern` {text}"));
            None
        }
        Err(MappingError::User(text)) => {
            reader.problem(user.node.at, format!("`user` {text}"));
            None
        }
    }
}

/// Reads `login` of a user.
pub(super) fn login(reader: &mut Reader, section: &mut Section<'_>) -> Login {
    const LOGINS: [(&str, Login); 3] = [
        ("any", Login::Any),
        ("cert_only", Login::CertificateOnly),
        ("cert_and_password", Login::CertificateAndPassword),
    ];
    reader.parse_or(section, "login", Login::Any, |text| values::choice(text, &LOGINS))
}

/// Users who need a certificate where no listener turns one into a user could never log in: a mistake, of the user or
/// of the listener.
pub(super) fn check_logins(
    reader: &mut Reader,
    listeners: &[Listener],
    conditions: &[(Located<String>, Conditions)],
) {
    let identifies = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.identity.is_some());
    // Faults of the listeners are told already; one of them may have had it.
    if reader.problem_count() > 0 || listeners.iter().any(identifies) {
        return;
    }
    for (name, conditions) in conditions {
        if conditions.login != Login::Any {
            let text = format!(
                "user `{}` needs a certificate to log in, and no listener turns certificates into users; \
                 write `identity: {{from: san_uri}}` in the `tls` of one",
                name.value
            );
            reader.problem(name.at, text);
        }
    }
}
