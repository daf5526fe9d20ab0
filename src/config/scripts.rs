//! The section `scripts`: what scripts and functions of restricted users may do.

use super::read::{Entry, Reader, Section, quoted};
use super::values;
use crate::policy::{ScriptMode, Scripts, sha_of_hex};

/// Reads `scripts`.
pub(super) fn scripts(reader: &mut Reader, top: &mut Section<'_>) -> Scripts {
    let section = top.take("scripts").and_then(|entry| reader.section(entry, self::section));
    section.unwrap_or_default()
}

fn section(reader: &mut Reader, section: &mut Section<'_>) -> Scripts {
    const MODES: [(&str, ScriptMode); 3] =
        [("mirror", ScriptMode::Mirror), ("deny", ScriptMode::Deny), ("trusted", ScriptMode::Trusted)];
    let mode = reader.parse_or(section, "mode", ScriptMode::Mirror, |text| values::choice(text, &MODES));
    let shas = section.take("trusted_shas");
    let functions = section.take("trusted_functions");
    let trusted_shas = list(reader, shas, |text| {
        sha_of_hex(text.as_bytes()).ok_or_else(|| {
            format!("is {}; write the 40 digits that SCRIPT LOAD answers, or sha1sum", quoted(text))
        })
    });
    let trusted_functions = list(reader, functions, word);
    for (entry, name, count) in [
        (shas, "trusted_shas", trusted_shas.len()),
        (functions, "trusted_functions", trusted_functions.len()),
    ] {
        if let (Some(entry), 1.., false) = (entry, count, mode == ScriptMode::Trusted) {
            let text = format!("`{name}` is only used with `mode: trusted`; write that, or remove `{name}`");
            reader.problem(entry.at, text);
        }
    }
    let writers = section.take("function_writers");
    let function_writers = list(reader, writers, word);
    Scripts { mode, trusted_shas, trusted_functions, function_writers }
}

fn list<T>(
    reader: &mut Reader,
    entry: Option<Entry<'_>>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let items = entry.and_then(|entry| reader.items(entry, entry.name)).unwrap_or_default();
    items.into_iter().filter_map(|item| reader.parse(item, &parse)).map(|item| item.value).collect()
}

/// A name of a user or function.
fn word(text: &str) -> Result<Box<str>, String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("is {}; write a name without white space", quoted(text)));
    }
    Ok(text.into())
}
