//! Patterns of identities, and the users that they stand for: `spiffe://cluster/ns/{ns}/sa/{sa}` → `{ns}/{sa}`.
//!
//! Not regular expressions: who writes one must see at once what it matches. A pattern is text with placeholders, and
//! stands for a whole value, byte by byte. A placeholder matches one or more of `A-Z a-z 0-9 . _ -` (in a DNS name no
//! dot), so never a `/`, and never a byte that means something elsewhere.
//!
//! INVARIANT: no value matches a pattern in two ways, and no two lists of placeholders' values make the same user. The
//! first is checked when a pattern is read; the second when a user is made: with `{ns}-{sa}`, the service account
//! `b-c` of `a` would be the user of the service account `c` of `a-b`, so a value that holds the text after its
//! placeholder makes none.

/// Text and placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// A placeholder's name.
    Hole(Box<str>),
    Text(Box<str>),
}

/// What placeholders match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// `A-Z a-z 0-9 _ -`: a part of a DNS name.
    Label,
    /// The same with `.`.
    Segment,
}

impl Alphabet {
    fn has(self, c: char) -> bool {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '-') || (c == '.' && self == Alphabet::Segment)
    }

    /// What stands between two placeholders, for messages.
    fn separator(self) -> char {
        match self {
            Alphabet::Label => '.',
            Alphabet::Segment => '/',
        }
    }
}

/// A pattern of identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
    alphabet: Alphabet,
}

/// What placeholders of a pattern matched, by their names.
pub(super) type Values<'p, 'v> = Vec<(&'p str, &'v str)>;

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong, and what to write instead, after the words "`pattern`".
    pub fn parse(text: &str, alphabet: Alphabet) -> Result<Pattern, String> {
        let pieces = pieces(text)?;
        let mut names: Vec<&str> = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let Piece::Hole(name) = piece else { continue };
            if names.contains(&&**name) {
                return Err(format!("has `{{{name}}}` twice; give each placeholder a name of its own"));
            }
            names.push(name);
            let following = pieces.get(index.saturating_add(1)..).unwrap_or_default();
            if let [Piece::Text(text), Piece::Hole(next), ..] = following
                && text.chars().all(|c| alphabet.has(c))
            {
                let separator = alphabet.separator();
                return Err(format!(
                    "does not say where `{{{name}}}` ends, since `{text}` could belong to it; write text with a \
                     `{separator}` before `{{{next}}}`"
                ));
            }
        }
        Ok(Pattern { pieces, alphabet })
    }

    /// What the placeholders match, if the whole value matches.
    pub fn values<'v>(&self, value: &'v str) -> Option<Values<'_, 'v>> {
        let has = |c| self.alphabet.has(c);
        let (mut rest, mut pieces) = (value, self.pieces.as_slice());
        let mut values = Vec::new();
        while let Some((piece, following)) = pieces.split_first() {
            pieces = following;
            let name = match piece {
                Piece::Text(text) => {
                    rest = rest.strip_prefix(&**text)?;
                    continue;
                }
                Piece::Hole(name) => name,
            };
            let length = match following {
                [] => rest.len(),
                [Piece::Text(text)] => rest.strip_suffix(&**text)?.len(),
                // The text has a character that no placeholder matches, which ends the placeholder.
                [Piece::Text(text), ..] => rest.find(|c| !has(c))?.checked_sub(text.find(|c| !has(c))?)?,
                [Piece::Hole(_), ..] => return None,
            };
            let (held, after) = rest.split_at_checked(length)?;
            if held.is_empty() || !held.chars().all(has) {
                return None;
            }
            values.push((&**name, held));
            rest = after;
        }
        rest.is_empty().then_some(values)
    }
}

/// The user that a pattern stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// Reads the user of a pattern.
    ///
    /// # Errors
    /// What is wrong, and what to write instead, after the words "`user`".
    pub fn parse(text: &str, pattern: &Pattern) -> Result<Template, String> {
        let pieces = pieces(text)?;
        for piece in &pieces {
            match piece {
                Piece::Hole(_) if pattern.pieces.contains(piece) => {}
                Piece::Hole(name) => {
                    return Err(format!(
                        "has `{{{name}}}`, which the pattern lacks; write one of its placeholders"
                    ));
                }
                Piece::Text(text) if text.contains(char::is_whitespace) => {
                    return Err("has white space, which no name of a user may have; remove it".into());
                }
                Piece::Text(_) => {}
            }
        }
        Ok(Template(pieces))
    }

    /// The user of these values; none if others could make the same user.
    pub fn user(&self, values: &Values<'_, '_>) -> Option<String> {
        let mut user = String::new();
        let mut pieces = self.0.as_slice();
        while let Some((piece, following)) = pieces.split_first() {
            pieces = following;
            let name = match piece {
                Piece::Text(text) => {
                    user.push_str(text);
                    continue;
                }
                Piece::Hole(name) => name,
            };
            let (_, value) = values.iter().find(|(known, _)| *known == &**name)?;
            if let [Piece::Text(text), Piece::Hole(_), ..] = following
                && format!("{value}{text}").find(&**text) != Some(value.len())
            {
                return None;
            }
            user.push_str(value);
        }
        Some(user)
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    if text.is_empty() {
        return Err("is empty; write text, or remove the entry".into());
    }
    if text.contains(char::is_control) {
        return Err("has a control character, which never matches; remove it".into());
    }
    let unclosed = || "has a `{` or `}` that is no placeholder; write one such as `{ns}`".to_owned();
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (before, after) =
            rest.split_once('{').map_or((rest, None), |(before, after)| (before, Some(after)));
        if before.contains('}') {
            return Err(unclosed());
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        let Some(after) = after else { break };
        let (name, after) = after.split_once('}').ok_or_else(unclosed)?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(unclosed());
        }
        if let Some(Piece::Hole(last)) = pieces.last() {
            return Err(format!(
                "has `{{{last}}}` and `{{{name}}}` with nothing between them; write text there"
            ));
        }
        pieces.push(Piece::Hole(name.into()));
        rest = after;
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests;
