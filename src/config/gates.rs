//! What holds for everyone: the section `commands`, the `enable_…` keys, and the names of commands at the upstream.
//!
//! Here they are read, and compiled against the commands that Redkeep knows. Modules of the upstream may have more, so a
//! denied name with a dot in it is taken as it is.

use super::nearest::nearest_name;
use super::problems::{Located, Position, Problems};
use super::read::{Entry, Reader, Section, quoted};
use super::settings::{Config, GateSettings, Rename};
use super::values;
use crate::command::CommandTable;
use crate::policy::{self, Bounds, Enabled, Gates, Switches};
use crate::upstream::Names;

/// What Redkeep itself cannot do without at the upstream.
const NEEDED: [&str; 4] = ["AUTH", "COMMAND", "INFO", "SELECT"];

/// Reads `commands` and the `enable_…` keys.
pub(super) fn gates(reader: &mut Reader, top: &mut Section<'_>) -> (Vec<Rename>, GateSettings) {
    let switches = Switches {
        protected_configs: reader.parse_or(top, "enable_protected_configs", Enabled::No, enabled),
        debug: reader.parse_or(top, "enable_debug_command", Enabled::No, enabled),
        module: reader.parse_or(top, "enable_module_command", Enabled::No, enabled),
    };
    let commands = top.take("commands").and_then(|entry| reader.section(entry, commands));
    let (rename, settings) = commands.unwrap_or_default();
    (rename, GateSettings { switches, ..settings })
}

fn commands(reader: &mut Reader, section: &mut Section<'_>) -> (Vec<Rename>, GateSettings) {
    let rename = renames(reader, section, "rename");
    let deny = words(reader, section, "deny", "deny[]", |_| true);
    let protected_configs = words(reader, section, "protected_configs", "protected_configs[]", |text| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    });
    let bounds = section.take("bounds").and_then(|entry| reader.section(entry, bounds));
    let bounds = bounds.unwrap_or_default();
    (rename, GateSettings { deny, protected_configs, bounds, switches: Switches::default() })
}

fn bounds(reader: &mut Reader, section: &mut Section<'_>) -> Bounds {
    let mut bound = |name, parse: fn(&str) -> Result<u64, String>| {
        reader.parse_or(section, name, None, |text| parse(text).map(Some))
    };
    Bounds {
        max_count: bound("max_count", |text| match text.parse() {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(format!("is {}; write a whole number from 1 on, or remove the key", quoted(text))),
        }),
        max_pattern_bytes: bound("max_pattern_bytes", bytes),
        max_offset_bytes: bound("max_offset_bytes", bytes),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    match values::bytes(text) {
        Ok(bytes) if bytes > 0 => Ok(bytes as u64),
        _ => Err(format!(
            "is {}; write a number of bytes such as `1kb` or `64mb`, or remove the key",
            quoted(text)
        )),
    }
}

fn enabled(text: &str) -> Result<Enabled, String> {
    const CHOICES: [(&str, Enabled); 3] =
        [("no", Enabled::No), ("yes", Enabled::Yes), ("local", Enabled::Local)];
    match values::switch(text) {
        Ok(true) => Ok(Enabled::Yes),
        Ok(false) => Ok(Enabled::No),
        Err(_) => values::choice(text, &CHOICES),
    }
}

/// A list of words, each of which is `good`.
fn words(
    reader: &mut Reader,
    section: &mut Section<'_>,
    name: &'static str,
    item_name: &'static str,
    good: fn(&str) -> bool,
) -> Vec<Located<String>> {
    let items = section.take(name).and_then(|entry| reader.items(entry, item_name)).unwrap_or_default();
    let word = |text: &str| {
        if text.is_empty() || !good(text) {
            return Err(format!("is {}; write a name", quoted(text)));
        }
        Ok(text.to_owned())
    };
    items.into_iter().filter_map(|item| reader.parse(item, word)).collect()
}

/// Reads commands with their new names (`commands.rename`, `upstream.renamed_commands`). Names are compared without
/// regard to case, as Redis does.
pub(super) fn renames(reader: &mut Reader, section: &mut Section<'_>, name: &'static str) -> Vec<Rename> {
    let Some(entry) = section.take(name) else { return Vec::new() };
    let mut list: Vec<Rename> = Vec::new();
    for key in reader.keys(entry).unwrap_or_default() {
        let value = Entry { name, at: key.at, node: key.node };
        let Some(alias) = alias(reader, value, key.text) else { continue };
        let rename =
            Rename { command: key.text.into(), alias: alias.value, command_at: key.at, alias_at: alias.at };
        if let Some(other) = list.iter().find(|other| other.command.eq_ignore_ascii_case(&rename.command)) {
            let (command, line) = (quoted(&rename.command), other.command_at.line);
            let text = format!("command {command} stands already in line {line}; keep one of them");
            reader.problem(rename.command_at, text);
        }
        let same_alias = |other: &&Rename| other.alias.eq_ignore_ascii_case(&rename.alias);
        if let Some(other) = list.iter().find(same_alias).filter(|other| !other.alias.is_empty()) {
            let (command, line) = (quoted(&other.command), other.command_at.line);
            let text = format!("command {command} (line {line}) has the same new name; write another one");
            reader.problem(rename.alias_at, text);
        }
        list.push(rename);
    }
    list
}

/// The new name of `command`. SECURITY: a new name is hard to guess on purpose, so it is not shown.
fn alias(reader: &mut Reader, entry: Entry<'_>, command: &str) -> Option<Located<String>> {
    if entry.node.is_null() {
        let instead = match entry.name {
            "rename" => "write `\"\"` to disable it",
            _ => "write `\"\"` if the upstream has disabled it",
        };
        let text = format!("command {} has no new name; {instead}", quoted(command));
        reader.problem(entry.at, text);
        return None;
    }
    reader.parse(entry, |text| {
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("of {} has white space in the new name; write one word", quoted(command)));
        }
        Ok(text.to_owned())
    })
}

// === compiled ===

/// The gates of a configuration; `None` and problems if something in them cannot be.
pub(super) fn compile(config: &Config, table: &CommandTable, problems: &mut Problems) -> Option<Gates> {
    let settings = &config.gates;
    let deny: Vec<String> = settings.deny.iter().map(|name| name.value.clone()).collect();
    let renamed = checked(&config.rename, config, table, problems);
    let denied = Gates::default().with_denied(&deny, table).map_err(|errors| {
        for (index, text) in errors {
            let Some(name) = settings.deny.get(index) else { continue };
            let text = format!("`deny[]`: {text}; {}", advice(&name.value, table));
            problems.push_at(&config.file, name.at, text);
        }
    });
    denied.ok()?;
    let gates = renamed?.with_denied(&deny, table).ok()?;
    let protected = settings.protected_configs.iter().map(|name| name.value.as_str());
    let gates = gates.with_switches(settings.switches).with_protected_configs(protected);
    Some(gates.with_bounds(settings.bounds).with_scripts(config.scripts.clone()))
}

/// The names of `upstream.renamed_commands`, which the upstream has accepted, so the same holds for them as for ours.
pub(super) fn upstream_names(
    config: &Config,
    table: &CommandTable,
    problems: &mut Problems,
) -> Option<Names> {
    let renamed = &config.upstream.renamed;
    let known = checked(renamed, config, table, problems).is_some();
    let needed = |rename: &&Rename| NEEDED.iter().any(|name| name.eq_ignore_ascii_case(&rename.command));
    let missing: Vec<&Rename> =
        renamed.iter().filter(needed).filter(|rename| rename.alias.is_empty()).collect();
    for rename in &missing {
        let text = format!(
            "redkeep itself needs {}; give it another name at the upstream instead of none",
            quoted(&rename.command)
        );
        problems.push_at(&config.file, rename.alias_at, text);
    }
    let names = renamed.iter().map(|rename| (rename.command.as_str(), rename.alias.as_str()));
    (known && missing.is_empty()).then(|| Names::new(names))
}

fn checked(
    renames: &[Rename],
    config: &Config,
    table: &CommandTable,
    problems: &mut Problems,
) -> Option<Gates> {
    let list: Vec<policy::Rename> = renames
        .iter()
        .map(|rename| policy::Rename { command: rename.command.clone(), alias: rename.alias.clone() })
        .collect();
    let errors = match Gates::new(&list, table) {
        Ok(gates) => return Some(gates),
        Err(errors) => errors,
    };
    for (index, text) in errors {
        let at = renames.get(index).map_or(Position::START, |rename| rename.command_at);
        problems.push_at(&config.file, at, text);
    }
    None
}

/// What to write instead of a name that nobody knows.
fn advice(name: &str, table: &CommandTable) -> String {
    let lower = name.to_ascii_lowercase();
    let like_a_subcommand = lower.split_whitespace().collect::<Vec<_>>().join("|");
    if table.find(like_a_subcommand.as_bytes()).is_some() {
        return format!("write `{}`", like_a_subcommand.to_ascii_uppercase());
    }
    let nearest = match lower.strip_prefix('@') {
        Some(category) => {
            let names: Vec<&str> = table.categories().iter().map(|(name, _)| name).collect();
            nearest_name(category, names).map(|name| format!("@{name}"))
        }
        None => {
            nearest_name(&lower, table.specs().iter().map(|spec| &*spec.name)).map(str::to_ascii_uppercase)
        }
    };
    match nearest {
        Some(nearest) => format!("write `{nearest}`"),
        None => {
            "write a command, a subcommand such as `CONFIG|SET`, or a category such as `@dangerous`".into()
        }
    }
}
