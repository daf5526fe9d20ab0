//! YAML as a small tree in which every node knows its line and column.
//!
//! Why a tree, when serde could fill structs: a derived `Deserialize` stops at the first fault, and an operator wants
//! all of them at once. So the document is read without judging it, and [`read`](super::read) asks the tree for what
//! it expects and records each disappointment.
//!
//! Scalars are kept as the *text that was written*: whether `no` is a word or a boolean is for the key that asks,
//! which is why a user may be called `yes`, why `0755` keeps its zero, and why `yes` and `true` both mean yes.
//!
//! [`parse`] is the only function that touches the YAML package. Its settings: duplicate keys reach the tree (so that
//! all are reported), merge keys are ordinary keys (and so unknown ones), alias bombs meet a budget, and source
//! snippets are off, since a snippet can print a neighbouring line with a password into a log.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{DefaultMessageFormatter, Error, MessageFormatter as _, Spanned, budget::BudgetBreach};
use std::fmt;

use super::problems::Position;

/// One value of the document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it is used; for an alias, where the alias stands.
    pub at: Position,
}

impl Node {
    /// Whether it is nothing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        self.kind == Kind::Null
    }
}

/// The kinds of values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// `key: value` entries in the order of the file, duplicates included.
    Mapping(Vec<(Node, Node)>),
    /// Nothing, `~` or `null`, not in quotes.
    Null,
    /// A scalar other than null.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
}

/// A scalar as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scalar {
    /// The text without its quotes.
    pub text: String,
    /// Where the first character of `text` stands, if `text` is a literal piece of one line of the file, so that
    /// an offset into it can be added to the column. `None` for escapes, block scalars, folded lines and aliases.
    pub literal_at: Option<Position>,
    /// Whether it has no quotes and a comment ends it on its line: what follows ` #` was then perhaps meant to be
    /// part of the text (`rules: on +@all #hash -@dangerous` is cut after `+@all`).
    pub cut_by_comment: bool,
    /// Whether it has no quotes and follows an anchor, which was then perhaps meant to be part of the text
    /// (`rules: &news +@all`).
    pub after_anchor: bool,
}

/// Bounds of a document: far above any real configuration, far below what could hurt.
const MAX_NODES: usize = 50_000;
const MAX_DEPTH: usize = 32;
const MAX_ALIASES: usize = 1_000;

/// Reads one YAML document.
///
/// # Errors
/// The position and text of the first syntax error: after one, nothing that follows could be trusted.
pub(super) fn parse(source: &str) -> Result<Node, (Position, String)> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_documents: 1,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MAX_NODES },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(source, options) {
        Ok(root) => Ok(located(root, source)),
        Err(error) => {
            let at = error.location().map_or(Position::START, position);
            Err((at, explain(&error, source.lines().nth(at.line.saturating_sub(1)).unwrap_or_default())))
        }
    }
}

/// What serde hands over: like [`Kind`], but scalars that the YAML package took for a number, boolean or null have
/// lost their text, which [`located`] reads again from the source.
enum Raw {
    Mapping(Vec<(Spanned<Raw>, Spanned<Raw>)>),
    Null,
    Plain,
    Sequence(Vec<Spanned<Raw>>),
    Text(String),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Mapping(entries))
    }
}

/// Gives a node its position, and a scalar its text as written.
fn located(raw: Spanned<Raw>, source: &str) -> Node {
    let at = position(raw.referenced);
    let aliased = raw.referenced != raw.defined;
    let place = |node: Spanned<Raw>| located(node, source);
    let kind = match raw.value {
        Raw::Null => Kind::Null,
        Raw::Plain => Kind::Scalar(scalar(None, &raw.defined, aliased, source)),
        Raw::Text(text) => Kind::Scalar(scalar(Some(text), &raw.defined, aliased, source)),
        Raw::Sequence(items) => Kind::Sequence(items.into_iter().map(place).collect()),
        Raw::Mapping(entries) => {
            Kind::Mapping(entries.into_iter().map(|(key, value)| (place(key), place(value))).collect())
        }
    };
    Node { kind, at }
}

/// A scalar from what serde kept of its text and from the source at its span.
fn scalar(text: Option<String>, defined: &serde_yaml::Location, aliased: bool, source: &str) -> Scalar {
    let start = position(*defined);
    let (before, written, rest) = written(defined, source);
    let text = text.unwrap_or_else(|| written.to_owned());
    let quoted = written.strip_prefix(['"', '\'']);
    // The closing quote is one byte. A text that has no escape and no fold equals what stands in the quotes.
    let inner = quoted.and_then(|q| q.get(..q.len().saturating_sub(1))).unwrap_or(written);
    let column = start.column + usize::from(quoted.is_some());
    let literal = !aliased && inner == text && !text.trim_end_matches('\n').contains('\n');
    let plain = quoted.is_none() && !written.ends_with('\n');
    let rest_of_line = rest.lines().next().unwrap_or_default();
    Scalar {
        literal_at: literal.then_some(Position { line: start.line, column }),
        cut_by_comment: plain && rest_of_line.trim_start().starts_with('#'),
        after_anchor: plain
            && before.split_whitespace().next_back().is_some_and(|word| word.starts_with('&')),
        text,
    }
}

/// The source before a node's span, in it and after it; all empty if the parser gave no span.
fn written<'s>(location: &serde_yaml::Location, source: &'s str) -> (&'s str, &'s str, &'s str) {
    let span = location.span();
    let pieces = span.byte_offset().zip(span.byte_len()).and_then(|(start, len)| {
        let (before, tail) = source.split_at_checked(usize::try_from(start).ok()?)?;
        let (written, rest) = tail.split_at_checked(usize::try_from(len).ok()?)?;
        Some((before, written, rest))
    });
    pieces.unwrap_or_default()
}

/// The text for a document that cannot be read. `line` is the source line of the fault: it is only looked at, and
/// never shown, since a password may stand there; neither is the name of a tag, which may be a value without quotes.
fn explain(error: &Error, line: &str) -> String {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => explain(error, line),
        Error::UnsupportedTag { .. } => {
            "a value starts with `!`, which is a tag in YAML; put it in quotes".into()
        }
        Error::UnknownAnchor { .. } => {
            "a value starts with `*`, which is an alias in YAML; put it in quotes".into()
        }
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } | Error::MultipleDocuments { .. } => {
            "a second document starts here; write one document without `---` lines".into()
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            format!("nested deeper than {MAX_DEPTH} levels; write it flatter")
        }
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => {
            "anchors and aliases expand to too much; write the values out".into()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias stands inside its own anchor; write the value out".into()
        }
        _ => {
            let message = DefaultMessageFormatter.format_message(error).replace("`'", "'").replace('`', "'");
            let message = message.escape_debug();
            let advice = if line.contains("]:") {
                "; put an address with brackets in quotes, as in `\"[::]:6380\"`"
            } else if message.to_string().contains("tab") {
                "; indent with spaces"
            } else {
                "; check the indentation, and put values that start with one of `& * ! % @ > | { [` in quotes"
            };
            format!("not valid YAML: {}{advice}", message.to_string().replace("\\'", "'"))
        }
    }
}

fn position(location: serde_yaml::Location) -> Position {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
    Position { line: number(location.line()), column: number(location.column()) }
}
