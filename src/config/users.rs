//! The section `users`: users with their rules, or conditions for those that an ACL file defines.

use std::path::PathBuf;

use super::problems::Located;
use super::read::{Entry, Reader, Section, quoted};
use super::settings::{InlineUser, Rules};
use super::{identity, limits, values};
use crate::policy::{Conditions, Networks};

/// What the items of `users` say.
pub(super) struct Users {
    /// The users that are defined here; none if there is an ACL file.
    pub inline: Vec<InlineUser>,
    /// What must hold for users beside their rules.
    pub conditions: Vec<(Located<String>, Conditions)>,
}

/// Reads `users`. Where there is an ACL file (`acl_file`), that one has the rules and passwords, and only conditions may
/// stand here.
pub(super) fn users(
    reader: &mut Reader,
    entry: Entry<'_>,
    acl_file: Option<&Located<PathBuf>>,
) -> Option<Users> {
    let items = reader.items(entry, "users[]")?;
    if items.is_empty() {
        reader.problem(
            entry.at,
            "`users` is empty; write at least one, as in `- {name: app, rules: \"on …\"}`",
        );
    }
    let mut users = Users { inline: Vec::new(), conditions: Vec::new() };
    for item in items {
        let read = reader.section(item, |reader, section| user(reader, section, acl_file));
        let Some((name, user, conditions)) = read.flatten() else { continue };
        if let Some((other, _)) = users.conditions.iter().find(|(other, _)| other.value == name.value) {
            let (name_text, line) = (quoted(&name.value), other.at.line);
            reader.problem(name.at, format!("user {name_text} stands already in line {line}; join the two"));
        }
        users.inline.extend(user);
        users.conditions.push((name, conditions));
    }
    Some(users)
}

fn user(
    reader: &mut Reader,
    section: &mut Section<'_>,
    acl_file: Option<&Located<PathBuf>>,
) -> Option<(Located<String>, Option<InlineUser>, Conditions)> {
    let name = reader.require(section, "name", "app");
    let name = name.and_then(|entry| {
        reader.parse(entry, |text| {
            if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(format!("is {}; write a name without white space", quoted(text)));
            }
            Ok(text.to_owned())
        })
    });
    let conditions = conditions(reader, section);
    if let Some(file) = acl_file {
        let own = ["rules", "password_files", "password_envs"].map(|key| section.take(key));
        if let Some(entry) = own.into_iter().flatten().next() {
            let line = file.at.line;
            let text = format!(
                "rules and passwords of users stand in `acl.file` (line {line}); keep one place: remove `{}` here",
                entry.name
            );
            reader.problem(entry.at, text);
        }
        return Some((name?, None, conditions));
    }
    let rules = reader.require(section, "rules", "\"on ~app:* +@read\"");
    let rules = rules.and_then(|entry| self::rules(reader, entry));
    let mut passwords = Vec::new();
    for item in list(reader, section, "password_files") {
        passwords.extend(reader.secret_file(item));
    }
    for item in list(reader, section, "password_envs") {
        passwords.extend(reader.secret_env(item));
    }
    let name = name?;
    Some((name.clone(), Some(InlineUser { name, rules: rules?, passwords }), conditions))
}

/// What must hold for the user beside its rules.
fn conditions(reader: &mut Reader, section: &mut Section<'_>) -> Conditions {
    Conditions {
        networks: networks(reader, section),
        login: identity::login(reader, section),
        fence: section
            .take("fence")
            .and_then(|entry| reader.parse(entry, values::switch))
            .map(|fence| fence.value),
        caps: limits::caps(reader, section),
    }
}

/// `allow_from` and `deny_from` of a user or a listener.
pub(super) fn networks(reader: &mut Reader, section: &mut Section<'_>) -> Networks {
    let mut read = |name| {
        let entry = section.take(name);
        let items = entry.and_then(|entry| reader.items(entry, name)).unwrap_or_default();
        if let (Some(entry), true) = (entry, items.is_empty()) {
            // SECURITY: nobody knows whether an empty `allow_from` was to let in all or none.
            reader.problem(entry.at, format!("`{name}` is empty; write a network such as `10.0.0.0/8`"));
        }
        items.into_iter().filter_map(|item| Some(reader.parse(item, values::network)?.value)).collect()
    };
    Networks { allow: read("allow_from"), deny: read("deny_from") }
}

fn list<'n>(reader: &mut Reader, section: &mut Section<'n>, name: &'static str) -> Vec<Entry<'n>> {
    section.take(name).and_then(|entry| reader.items(entry, name)).unwrap_or_default()
}

fn rules(reader: &mut Reader, entry: Entry<'_>) -> Option<Rules> {
    let scalar = reader.scalar(entry)?;
    if scalar.cut_by_comment {
        // SECURITY: in `on +@all #hash -@dangerous` YAML takes `#hash -@dangerous` for a comment, and the user would
        // have more rights than were written.
        let text =
            "`rules` ends at a comment, and a password hash starts with `#` too; put the rules in quotes";
        reader.problem(entry.node.at, text);
    }
    if scalar.after_anchor {
        let text = "`rules` starts with `&`, which is an anchor in YAML; put the rules in quotes";
        reader.problem(entry.node.at, text);
    }
    Some(Rules { text: scalar.text.clone(), at: entry.node.at, literal_at: scalar.literal_at })
}
