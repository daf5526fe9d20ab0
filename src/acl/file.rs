//! Rules in files: Redis' ACL file, and the strings of rules in our own configuration.
//!
//! An ACL file has one user a line, `user <name> <rules>`, split at single spaces without quoting; blank lines are
//! skipped. As in Redis 7 a comment is an error, and so is a user defined twice. It is loaded whole or not at all, and
//! all errors are reported at once, with their places.
//!
//! Stricter than Redis:
//! - SECURITY: a file without a `default` user is refused. Redis would create that user open to everyone.
//! - SECURITY: an empty password (`>` alone) is refused: it is what `>$PASSWORD` becomes when the variable is missing.
//! - SECURITY: error texts go to logs, so they quote only tokens that cannot be, or be part of, a password.

use std::collections::HashMap;
use std::fmt;

use super::dialect::Defaults;
use super::parse::{self, Fault, Piece};
use super::rule::RuleError;
use super::user::User;
use crate::command::CommandTable;

/// Longest part of a token that an error quotes.
const MAX_QUOTED_CHARS: usize = 64;

/// What is wrong in an ACL file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// From 1; for a missing line, the one after the last.
    pub line: usize,
    /// In bytes, from 1.
    pub column: usize,
    /// What is wrong, and what to write instead. Has no secret in it.
    pub text: String,
}

/// What is wrong in a string of rules, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesError {
    /// In bytes, from 1; 0 means the user's name.
    pub column: usize,
    /// What is wrong.
    pub error: RuleError,
    /// What is wrong, and what to write instead. Has no secret in it.
    pub text: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.text)
    }
}

impl std::error::Error for FileError {}

/// The user of this name with these rules, separated by spaces or line ends.
///
/// # Errors
/// Every rule that is refused, in their order.
pub fn parse_rules(
    name: &str,
    rules: &str,
    defaults: Defaults,
    table: &CommandTable,
) -> Result<User, Vec<RulesError>> {
    user(name.as_bytes(), rules.as_bytes(), defaults, table)
}

/// The users of an ACL file, in their order; `default` is among them.
///
/// # Errors
/// Everything that is wrong in the file, in the order of its lines.
pub fn parse(bytes: &[u8], defaults: Defaults, table: &CommandTable) -> Result<Vec<User>, Vec<FileError>> {
    let mut users = Vec::new();
    let mut errors = Vec::new();
    let mut lines_by_name = HashMap::new();
    let mut lines = 0;
    for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = index + 1;
        let mut refuse = |column: usize, text: String| errors.push(FileError { line, column, text });
        let raw = if line == 1 { without_bom(raw, &mut refuse) } else { raw };
        let indent = raw.iter().take_while(|byte| is_blank(**byte)).count();
        if indent == raw.len() {
            continue;
        }
        lines = line;
        let Some(definition) = raw.get(indent..).and_then(|text| text.strip_prefix(b"user ")) else {
            refuse(indent + 1, not_a_user(raw.get(indent..).unwrap_or_default()));
            continue;
        };
        let length = definition.iter().take_while(|byte| **byte != b' ').count();
        let (name, rules) = definition.split_at(length);
        let name = parse::trim(name);
        let name_column = indent + b"user ".len() + 1;
        if let Some(earlier) = lines_by_name.insert(name, line) {
            let text = format!("user {} is already defined on line {earlier}; join both lines", quoted(name));
            refuse(name_column, text);
        }
        match user(name, rules, defaults, table) {
            Ok(user) => users.push(user),
            Err(found) => {
                for RulesError { column, text, .. } in found {
                    let column = if column == 0 { name_column } else { name_column + length + column - 1 };
                    refuse(column, text);
                }
            }
        }
    }
    if !lines_by_name.contains_key(b"default".as_slice()) {
        let text = "there is no line for `default`, and Redis would create that user open to everyone; add \
                    `user default off`, or `user default on nopass ~* &* +@all` if that is what you want";
        errors.push(FileError { line: lines + 1, column: 1, text: text.to_owned() });
    }
    if errors.is_empty() { Ok(users) } else { Err(errors) }
}

fn user(
    name: &[u8],
    rules: &[u8],
    defaults: Defaults,
    table: &CommandTable,
) -> Result<User, Vec<RulesError>> {
    let mut errors = Vec::new();
    let mut user = match User::new(name, defaults, table) {
        Ok(user) => user,
        Err(error) => {
            let text = "a user's name is one or more bytes without white space and NUL; write exactly one space \
                        before it";
            errors.push(RulesError { column: 0, error, text: text.to_owned() });
            // Goes on without a name, for the errors in the rules.
            User::nobody(b"", defaults, table)
        }
    };
    // SECURITY: whether a refused token may be the rest of a password with spaces, and must not be quoted.
    let mut after_password = false;
    for piece in parse::pieces(rules) {
        let fault = |error| Fault { error, offset: 0, length: piece.text.len() };
        let applied = match piece {
            Piece { unmatched: true, .. } => Err(fault(RuleError::Unmatched)),
            Piece { text: b">", .. } => Err(fault(RuleError::EmptyPassword)),
            Piece { text, .. } => parse::rule(text, defaults, table),
        }
        .and_then(|rule| user.apply(rule, table).map_err(fault));
        if let Err(Fault { error, offset, length }) = applied {
            let token = piece.text.get(offset..offset + length).unwrap_or_default();
            let text = advice(error, token, after_password);
            errors.push(RulesError { column: piece.offset + offset + 1, error, text });
        } else {
            after_password = false;
        }
        after_password |= matches!(piece.text, [b'>' | b'<', ..]);
    }
    if errors.is_empty() { Ok(user) } else { Err(errors) }
}

/// What is wrong with `token`, and what to write instead.
fn advice(error: RuleError, token: &[u8], after_password: bool) -> String {
    let shown = if after_password { "this".to_owned() } else { quoted(token) };
    match error {
        RuleError::BadHash => "a hash is 64 hexadecimal digits in lower case, the SHA-256 of the password".into(),
        RuleError::BadName => "a user's name has neither white space nor NUL".into(),
        RuleError::ChannelAfterAll => {
            format!("{shown} follows `&*` or `allchannels` and has no effect; remove one, or write `resetchannels` between")
        }
        RuleError::DatabaseOutOfRange => {
            format!("{shown} has a number that no database has; they go from 0 to 2147483647")
        }
        RuleError::EmptyPassword => {
            "the password is empty; write `>password` or `#hash`, or `nopass` if any password will do".into()
        }
        RuleError::FirstArgOfSubcommand => {
            format!("{shown} names an argument of a subcommand; only a whole subcommand can be allowed")
        }
        RuleError::KeyAfterAll => {
            format!("{shown} follows `~*` or `allkeys` and has no effect; remove one, or write `resetkeys` between")
        }
        RuleError::NoSuchPassword => "the user does not have the password that this removes".into(),
        RuleError::Syntax if after_password => {
            "not a rule; a password with spaces cannot stand in a list of rules, write its SHA-256 as `#hash`".into()
        }
        RuleError::Syntax => match token {
            [b'%', ..] => format!("{shown} is no key rule; write `%R~pattern`, `%W~pattern` or `%RW~pattern`"),
            [b'~' | b'&', ..] => format!("{shown} is no pattern; white space and NUL are not possible in it"),
            [b'd' | b'D', b'b' | b'B', b'=', ..] => {
                format!("{shown} is no list of databases; write their numbers as `db=0,1`")
            }
            [b'+', ..] => format!("{shown} has no argument; write `+command`, or `+command|argument`"),
            _ => "not a rule; rules are words such as `on` and `nopass`, or `>password`, `~key*`, `&channel*`, \
                  `+command`, `+@category`, `(+command ~key*)`"
                .into(),
        },
        RuleError::UnknownCommand => format!(
            "{shown} names no command or category; write original names, subcommands as `+config|get` and \
             categories as `+@read`"
        ),
        RuleError::Unmatched => "this selector has no end; close it with `)`".into(),
    }
}

/// The token in backticks, if it cannot have to do with a password.
fn quoted(token: &[u8]) -> String {
    match token {
        [b'>' | b'<' | b'#' | b'!' | b'(', ..] => "this".to_owned(),
        _ => {
            let text = String::from_utf8_lossy(token);
            let shown: String = text.chars().take(MAX_QUOTED_CHARS).flat_map(char::escape_debug).collect();
            format!("`{shown}`")
        }
    }
}

fn not_a_user(line: &[u8]) -> String {
    match line {
        [b'#', ..] => {
            "comments are not possible in an ACL file (Redis allows them from 8.8 on); remove the line"
        }
        _ => "a line is `user <name> <rules>`, in lower case and with one space before the name",
    }
    .to_owned()
}

fn without_bom<'a>(line: &'a [u8], refuse: &mut impl FnMut(usize, String)) -> &'a [u8] {
    match line.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => {
            refuse(1, "the file begins with a byte order mark; save it without".to_owned());
            rest
        }
        None => line,
    }
}

/// What Redis trims from a line.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

#[cfg(test)]
mod tests;
