//! `redkeep check --diff OLD NEW`: whose rights another configuration would change, and how.
//!
//! What is compared is what rules come to, not how they are written: `+@all -flushall` and `+@all -flushall -flushall` are
//! no difference. Patterns are compared as text: that `~app:*` covers `~app:x*` is left to the reader. Commands of an
//! upstream's modules are not known here.
//!
//! SECURITY: of passwords only their number is shown; of renamed commands never the new name. All text that is not ours is
//! escaped, since a terminal obeys some of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use ipnet::IpNet;

use crate::acl::{Defaults, Dialect, Selector, User};
use crate::command::{Categories, CommandTable, Spec};
use crate::policy::{Caps, Login, Networks, Policy};

/// How all rights are printed.
const DIALECT: Dialect = Dialect::Valkey91;

/// A category is named for its members when so many of them would have to be.
const FEWEST_MEMBERS: usize = 3;

/// The differences as text, a user a paragraph; empty if there are none.
pub fn page(old: &Policy, new: &Policy) -> String {
    let mut page = String::new();
    let _ = everyone(&mut page, old, new);
    let by_name = |policy: &Policy| -> BTreeMap<Vec<u8>, User> {
        policy.users().into_iter().map(|user| (user.name().to_vec(), User::clone(user))).collect()
    };
    let (old_users, new_users) = (by_name(old), by_name(new));
    let names: BTreeSet<&Vec<u8>> = old_users.keys().chain(new_users.keys()).collect();
    for name in names {
        let shown = shown(name);
        let _ = match (old_users.get(name), new_users.get(name)) {
            (Some(before), Some(after)) => {
                let mut changes = changes(before, after, new.table());
                conditions(&mut changes, &Held::of(old, before), &Held::of(new, after));
                if changes.is_empty() { Ok(()) } else { writeln!(page, "user {shown}\n{changes}") }
            }
            (Some(_), None) => writeln!(page, "user {shown} is removed; its sessions end\n"),
            (None, Some(user)) => write_new(&mut page, &shown, user, new),
            (None, None) => Ok(()),
        };
    }
    page
}

/// What the gates change for all users.
fn everyone(page: &mut String, old: &Policy, new: &Policy) -> fmt::Result {
    let (before, after) = (old.gates().renamed(), new.gates().renamed());
    let mut lines = String::new();
    for (command, alias) in &after {
        match before.get(command) {
            None if alias.is_empty() => writeln!(lines, "  {command} is disabled")?,
            None => writeln!(lines, "  {command} has another name")?,
            Some(known) if known != alias => {
                writeln!(lines, "  {command} has a different other name, or none")?
            }
            Some(_) => {}
        }
    }
    for command in before.keys().filter(|command| !after.contains_key(*command)) {
        writeln!(lines, "  {command} has its own name again")?;
    }
    if !old.gates().is_same_but_names_and_scripts(new.gates()) {
        writeln!(lines, "  what `commands` denies, enables or bounds is different")?;
    }
    if old.gates().scripts() != new.gates().scripts() {
        writeln!(
            lines,
            "  which scripts and functions may be run, or who may write functions, is different"
        )?;
    }
    if !old.has_same_identities(new) {
        writeln!(lines, "  which user a certificate stands for is different")?;
    }
    if lines.is_empty() { Ok(()) } else { writeln!(page, "everyone\n{lines}") }
}

fn write_new(page: &mut String, name: &str, user: &User, policy: &Policy) -> fmt::Result {
    writeln!(page, "user {name} is new")?;
    let table = policy.table();
    let Ok(nobody) = User::new(user.name(), Defaults::default(), table) else { return Ok(()) };
    let mut text = changes(&nobody, user, table);
    conditions(&mut text, &Held::default(), &Held::of(policy, user));
    writeln!(page, "{text}")
}

/// What must hold for a user beside its rules.
#[derive(Default)]
struct Held {
    login: Login,
    networks: Networks,
    fence: bool,
    caps: Caps,
}

impl Held {
    fn of(policy: &Policy, user: &User) -> Held {
        let conditions = policy.conditions(user.name());
        let (networks, fence) = (conditions.networks.clone(), policy.fences(user));
        Held { login: conditions.login, networks, fence, caps: conditions.caps }
    }
}

fn conditions(text: &mut String, old: &Held, new: &Held) {
    let mut compare = |label: &str, was: String, is: String| {
        if was != is {
            line(text, label, &format!("{is} instead of {was}"));
        }
    };
    compare("login by", old.login.to_string(), new.login.to_string());
    compare("addresses", addresses(&old.networks), addresses(&new.networks));
    compare("clients", limit(old.caps.max_connections), limit(new.caps.max_connections));
    compare("in flight", limit(old.caps.max_in_flight), limit(new.caps.max_in_flight));
    compare("leased", limit(old.caps.max_leased), limit(new.caps.max_leased));
    if old.fence != new.fence {
        line(text, "key fence", if new.fence { "yes" } else { "no" });
    }
}

/// A cap of 0 is none, too.
fn limit(cap: Option<usize>) -> String {
    cap.filter(|cap| *cap > 0).map_or("any number".to_owned(), |cap| format!("at most {cap}"))
}

fn addresses(networks: &Networks) -> String {
    let list = |label: &str, networks: &[IpNet]| {
        let shown: Vec<String> = networks.iter().map(IpNet::to_string).collect();
        if shown.is_empty() { None } else { Some(format!("{label} {}", shown.join(" "))) }
    };
    let lists = [list("only", &networks.allow), list("not", &networks.deny)];
    let lists: Vec<String> = lists.into_iter().flatten().collect();
    if lists.is_empty() { "any".to_owned() } else { lists.join(", ") }
}

fn changes(old: &User, new: &User, table: &CommandTable) -> String {
    let mut text = String::new();
    if old.is_enabled() != new.is_enabled() {
        line(&mut text, "login", if new.is_enabled() { "on" } else { "off" });
    }
    passwords(&mut text, old, new);
    permissions(&mut text, old.root(), new.root(), table);
    let selectors = |user: &User| -> BTreeSet<String> {
        user.selectors().iter().map(|selector| format!("({})", shown(selector.describe(DIALECT)))).collect()
    };
    gains_and_losses(&mut text, "selectors", &selectors(old), &selectors(new));
    text
}

fn passwords(text: &mut String, old: &User, new: &User) {
    if old.is_nopass() != new.is_nopass() {
        line(text, "passwords", if new.is_nopass() { "none is needed any more" } else { "one is needed" });
    }
    let count = |one: &User, other: &User| {
        one.passwords().iter().filter(|hash| !other.passwords().contains(hash)).count()
    };
    let (added, removed) = (count(new, old), count(old, new));
    if added > 0 || removed > 0 {
        let left = new.passwords().len();
        line(text, "passwords", &format!("{added} added, {removed} removed, {left} valid"));
    }
}

fn permissions(text: &mut String, old: &Selector, new: &Selector, table: &CommandTable) {
    let allowed = |selector: &Selector| -> BTreeSet<usize> {
        table.specs().iter().filter(|spec| selector.allows(spec.id)).map(|spec| spec.id.index()).collect()
    };
    let (before, after) = (allowed(old), allowed(new));
    for (what, these, but) in [("gains", &after, &before), ("loses", &before, &after)] {
        let more: BTreeSet<usize> = these.difference(but).copied().collect();
        if !more.is_empty() {
            line(text, "commands", &format!("{what} {}", names(&more, table).join(" ")));
        }
    }
    if old.allows_later_commands() != new.allows_later_commands() {
        let what = if new.allows_later_commands() { "gains" } else { "loses" };
        line(text, "commands", &format!("{what} those of modules and of later versions"));
    }
    let first_args = |selector: &Selector| -> BTreeSet<String> {
        let args = selector.first_args().filter_map(|(id, arg)| Some((table.spec(id)?, arg)));
        args.map(|(spec, arg)| format!("{}|{}", spec.name, shown(arg))).collect()
    };
    gains_and_losses(text, "first args", &first_args(old), &first_args(new));
    let words = |bytes: Vec<u8>| -> BTreeSet<String> {
        bytes.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).map(shown).collect()
    };
    gains_and_losses(text, "keys", &words(old.keys_text()), &words(new.keys_text()));
    gains_and_losses(text, "channels", &words(old.channels_text()), &words(new.channels_text()));
    let (before, after) = (old.databases_text(), new.databases_text());
    if before != after {
        let name = |text: &[u8]| if text.is_empty() { "none".to_owned() } else { shown(text) };
        line(text, "databases", &format!("{} instead of {}", name(&after), name(&before)));
    }
}

/// Commands, by their places in the table, in few words: whole categories, then single ones, a container for all that
/// it contains.
fn names(commands: &BTreeSet<usize>, table: &CommandTable) -> Vec<String> {
    if commands.len() == table.specs().len() {
        return vec!["@all".to_owned()];
    }
    let mut left = commands.clone();
    let mut words = Vec::new();
    let categories: Vec<(&str, BTreeSet<usize>)> =
        table.categories().iter().map(|(name, category)| (name, members(category, table))).collect();
    loop {
        let fresh = |members: &BTreeSet<usize>| members.intersection(&left).count();
        let whole = categories.iter().filter(|(_, members)| members.is_subset(commands));
        // Of equal ones the first.
        let Some((name, members)) = whole.rev().max_by_key(|(_, members)| fresh(members)) else { break };
        if fresh(members) < FEWEST_MEMBERS {
            break;
        }
        words.push(format!("@{name}"));
        left.retain(|command| !members.contains(command));
    }
    let is_covered = |spec: &&Spec| {
        let container = spec.parent.filter(|parent| left.contains(&parent.index()));
        container
            .and_then(|id| table.spec(id))
            .is_some_and(|container| container.subcommands.iter().all(|id| commands.contains(&id.index())))
    };
    let single = table.specs().iter().filter(|spec| left.contains(&spec.id.index()));
    let mut single: Vec<String> =
        single.filter(|spec| !is_covered(spec)).map(|spec| spec.name.to_string()).collect();
    single.sort_unstable();
    words.extend(single);
    words
}

fn members(category: Categories, table: &CommandTable) -> BTreeSet<usize> {
    let is_in = |bitmap: &[u64], index: usize| {
        bitmap.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    };
    let indexes = 0..table.specs().len();
    indexes.filter(|index| table.members(category).any(|bitmap| is_in(bitmap, *index))).collect()
}

fn gains_and_losses(text: &mut String, label: &str, old: &BTreeSet<String>, new: &BTreeSet<String>) {
    for (what, these, but) in [("gains", new, old), ("loses", old, new)] {
        let words: Vec<&str> = these.difference(but).map(String::as_str).collect();
        if !words.is_empty() {
            line(text, label, &format!("{what} {}", words.join(" ")));
        }
    }
}

fn line(text: &mut String, label: &str, what: &str) {
    let _ = writeln!(text, "  {label:<11}{what}");
}

fn shown(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().escape_ascii().to_string()
}

#[cfg(test)]
mod tests;
