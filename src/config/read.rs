//! Asking the tree for what is expected, and recording every disappointment.
//!
//! A [`Reader`] never stops: a value of the wrong type or form becomes a problem with its position, and the reading
//! goes on with what is left. The keys that a section asks for are the keys that it knows, so a key that nobody asked
//! for is unknown; no second list of names can fall behind.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::nearest;
use super::problems::{Located, Position, Problems};
use super::settings::SecretSource;
use super::tree::{Kind, Node, Scalar};

/// Collects the problems of one configuration file while it is read.
pub(super) struct Reader {
    file: PathBuf,
    folder: PathBuf,
    problems: Problems,
    files: Vec<PathBuf>,
}

/// The value of a key, with the key's name and place for messages.
#[derive(Clone, Copy)]
pub(super) struct Entry<'n> {
    /// The key, as in the documentation.
    pub name: &'static str,
    /// Where the key stands (for an item of a list: the item).
    pub at: Position,
    /// Its value.
    pub node: &'n Node,
}

/// A mapping whose keys are being asked for.
pub(super) struct Section<'n> {
    /// What messages call it.
    pub name: &'static str,
    /// Where messages about it as a whole point.
    pub at: Position,
    keys: Vec<Key<'n>>,
    asked: Vec<&'static str>,
}

/// A key of a mapping as it was written.
#[derive(Clone, Copy)]
pub(super) struct Key<'n> {
    /// The key's text.
    pub text: &'n str,
    /// Where it stands.
    pub at: Position,
    /// Its value.
    pub node: &'n Node,
}

impl<'n> Section<'n> {
    /// The value of the key `name`, if the mapping has it; from now on the key is known.
    pub fn take(&mut self, name: &'static str) -> Option<Entry<'n>> {
        self.asked.push(name);
        let key = self.keys.iter().find(|key| key.text == name)?;
        Some(Entry { name, at: key.at, node: key.node })
    }
}

// === impl Reader: problems and mappings ===

impl Reader {
    /// A reader for `file`; relative paths in it are relative to its folder.
    pub fn new(file: &Path) -> Self {
        let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
        Self { file: file.to_path_buf(), folder, problems: Problems::default(), files: Vec::new() }
    }

    /// Records a problem.
    pub fn problem(&mut self, at: Position, text: impl Into<String>) {
        self.problems.push_at(&self.file, at, text);
    }

    /// How many problems there are so far: whether something went wrong since.
    pub fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// All problems that were found, and all files that are named.
    pub fn into_parts(self) -> (Problems, Vec<PathBuf>) {
        (self.problems, self.files)
    }

    /// Reads a mapping: `read` takes the keys it knows, and whatever is left is reported as unknown. A key without a
    /// value (all its lines commented out) is an empty mapping.
    pub fn section<'n, T>(
        &mut self,
        entry: Entry<'n>,
        read: impl FnOnce(&mut Self, &mut Section<'n>) -> T,
    ) -> Option<T> {
        let keys = self.keys(entry)?;
        let mut section = Section { name: entry.name, at: entry.at, keys, asked: Vec::new() };
        let value = read(self, &mut section);
        self.unknown_keys(&section);
        Some(value)
    }

    /// The keys of a mapping that has names of the user's choice. Of a key that is given twice the first stays.
    pub fn keys<'n>(&mut self, entry: Entry<'n>) -> Option<Vec<Key<'n>>> {
        let entries = match &entry.node.kind {
            Kind::Mapping(entries) => entries.as_slice(),
            Kind::Null => &[],
            other => {
                let (name, found) = (entry.name, describe(other));
                self.problem(entry.node.at, format!("`{name}` is {found}; write `key: value` lines"));
                return None;
            }
        };
        let mut keys: Vec<Key<'n>> = Vec::new();
        for (key, node) in entries {
            let Kind::Scalar(Scalar { text, .. }) = &key.kind else {
                self.problem(
                    key.at,
                    format!("{} as a key in {}; write a name", describe(&key.kind), within(entry.name)),
                );
                continue;
            };
            match keys.iter().find(|earlier| earlier.text == text) {
                Some(earlier) => {
                    let line = earlier.at.line;
                    self.problem(
                        key.at,
                        format!("key {} stands already in line {line}; keep one of them", quoted(text)),
                    );
                }
                None => keys.push(Key { text, at: key.at, node }),
            }
        }
        Some(keys)
    }

    /// The items of a list.
    pub fn items<'n>(&mut self, entry: Entry<'n>, item_name: &'static str) -> Option<Vec<Entry<'n>>> {
        match &entry.node.kind {
            Kind::Sequence(items) => {
                Some(items.iter().map(|node| Entry { name: item_name, at: node.at, node }).collect())
            }
            Kind::Null => Some(Vec::new()),
            other => {
                let (name, found) = (entry.name, describe(other));
                self.problem(
                    entry.node.at,
                    format!("`{name}` is {found}; write a list, each item after `- `"),
                );
                None
            }
        }
    }

    /// The value of a key that must be there; `example` completes the advice.
    pub fn require<'n>(
        &mut self,
        section: &mut Section<'n>,
        name: &'static str,
        example: &str,
    ) -> Option<Entry<'n>> {
        let entry = section.take(name);
        if entry.is_none() {
            let place = within(section.name);
            self.problem(
                section.at,
                format!("key `{name}` is missing in {place}; write `{name}: {example}`"),
            );
        }
        entry
    }

    fn unknown_keys(&mut self, section: &Section<'_>) {
        for key in section.keys.iter().filter(|key| !section.asked.contains(&key.text)) {
            let advice = if key.text == "<<" {
                "merge keys are not supported; write the keys out".to_owned()
            } else {
                nearest::advice(key.text, &section.asked)
            };
            let text = format!("unknown key {} in {}; {advice}", quoted(key.text), within(section.name));
            self.problem(key.at, text);
        }
    }
}

// === impl Reader: values ===

impl Reader {
    /// The scalar of a key.
    pub fn scalar<'n>(&mut self, entry: Entry<'n>) -> Option<&'n Scalar> {
        let name = entry.name;
        match &entry.node.kind {
            Kind::Scalar(scalar) => Some(scalar),
            Kind::Null => {
                let hint = "write a value, in quotes if it starts with `#`, `&` or `~`";
                self.problem(entry.at, format!("`{name}` has no value; {hint}"));
                None
            }
            other => {
                self.problem(entry.node.at, format!("`{name}` is {}; write a single value", describe(other)));
                None
            }
        }
    }

    /// A value in the form that `parse` knows; its error becomes the problem's text after the key's name.
    pub fn parse<T>(
        &mut self,
        entry: Entry<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        let scalar = self.scalar(entry)?;
        match parse(&scalar.text) {
            Ok(value) => Some(Located::new(value, entry.node.at)),
            Err(text) => {
                self.problem(entry.node.at, format!("`{}` {text}", entry.name));
                None
            }
        }
    }

    /// An optional value. If it is wrong the problem is recorded, and the default only lets the reading go on.
    pub fn parse_or<T>(
        &mut self,
        section: &mut Section<'_>,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let parsed = section.take(name).and_then(|entry| self.parse(entry, parse));
        parsed.map_or(default, |located| located.value)
    }

    /// A text that is not empty.
    pub fn text(&mut self, entry: Entry<'_>) -> Option<Located<String>> {
        self.parse(entry, |text| match text {
            "" => Err("is empty; write a value or remove the key".into()),
            text => Ok(text.to_owned()),
        })
    }

    /// The path of a file that will be read, and that is watched from then on; a relative one is relative to the folder
    /// of the configuration file.
    pub fn path(&mut self, entry: Entry<'_>) -> Option<Located<PathBuf>> {
        let text = self.text(entry)?;
        let path = self.resolve(Path::new(&text.value));
        self.files.push(path.clone());
        Some(Located::new(path, text.at))
    }

    /// An optional path.
    pub fn optional_path(
        &mut self,
        section: &mut Section<'_>,
        name: &'static str,
    ) -> Option<Located<PathBuf>> {
        section.take(name).and_then(|entry| self.path(entry))
    }

    /// An optional path of a file that is written, and so not watched.
    pub fn output_path(&mut self, section: &mut Section<'_>, name: &'static str) -> Option<Located<PathBuf>> {
        let text = section.take(name).and_then(|entry| self.text(entry))?;
        Some(Located::new(self.resolve(Path::new(&text.value)), text.at))
    }

    /// A path as seen from the working directory.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// A whole number in a range.
    pub fn number(
        &mut self,
        section: &mut Section<'_>,
        name: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> usize {
        self.parse_or(section, name, default, |text| match text.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => {
                let (low, high) = (range.start(), range.end());
                Err(format!("is {}; write a whole number from {low} to {high}", quoted(text)))
            }
        })
    }

    /// A secret that is given by a file or by an environment variable, not by both.
    pub fn secret(
        &mut self,
        section: &mut Section<'_>,
        file: &'static str,
        env: &'static str,
    ) -> Option<Located<SecretSource>> {
        let (file, env) = (section.take(file), section.take(env));
        if let (Some(file), Some(env)) = (file, env) {
            let (one, other) = if file.at < env.at { (file, env) } else { (env, file) };
            let line = one.at.line;
            let text = format!(
                "`{}` and `{}` (line {line}) give the same secret; keep one of them",
                other.name, one.name
            );
            self.problem(other.at, text);
        }
        let file = file.and_then(|entry| self.secret_file(entry));
        let env = env.and_then(|entry| self.secret_env(entry));
        file.or(env)
    }

    /// A file that holds a secret.
    pub fn secret_file(&mut self, entry: Entry<'_>) -> Option<Located<SecretSource>> {
        self.path(entry).map(|path| Located::new(SecretSource::File(path.value), path.at))
    }

    /// An environment variable that holds a secret.
    pub fn secret_env(&mut self, entry: Entry<'_>) -> Option<Located<SecretSource>> {
        self.parse(entry, |text| {
            let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if starts && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Ok(SecretSource::Env(text.to_owned()));
            }
            // SECURITY: not quoted, since the likely mistake is the secret itself in place of the name.
            Err("is not the name of an environment variable; write a name such as `REDIS_PASSWORD`, never the secret"
                .into())
        })
    }
}

/// User input in backticks, on one line and not endless.
pub(super) fn quoted(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut shown: String = text.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    shown = shown.replace("\\'", "'").replace("\\\"", "\"");
    if text.chars().nth(MAX_CHARS).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn within(name: &str) -> String {
    if name.is_empty() { "the top level".into() } else { format!("`{name}`") }
}

fn describe(kind: &Kind) -> &'static str {
    match kind {
        Kind::Mapping(_) => "a mapping",
        Kind::Null => "nothing",
        Kind::Scalar(_) => "a single value",
        Kind::Sequence(_) => "a list",
    }
}
