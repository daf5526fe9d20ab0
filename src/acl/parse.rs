//! From text to rules.
//!
//! Three ways in, with one meaning: the arguments of `ACL SETUSER` ([`merge`]), a string of rules as an ACL file and our
//! own configuration have it ([`pieces`]), and one token ([`rule`]). Nothing here changes a user.

use std::borrow::Cow;

use super::dialect::Defaults;
use super::rule::{Grant, Rule, RuleError};
use super::secret::PasswordHash;
use super::selector::Selector;
use crate::command::{Access, CommandTable};

/// An error and its place: the offset of the token at fault within the piece, and that token's length.
///
/// For a token in a selector it is that token, not the whole selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub error: RuleError,
    /// Byte offset.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
}

/// One rule of a string of rules.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    /// Byte offset in the string.
    pub offset: usize,
    /// The token; for a selector, all of it with the spaces between.
    pub text: &'a [u8],
    /// Whether it is a selector that never ends.
    pub unmatched: bool,
}

/// The rule that one token says. A selector is one token here.
///
/// # Errors
/// The same as Redis', and in the same order of precedence.
pub fn rule(token: &[u8], defaults: Defaults, table: &CommandTable) -> Result<Rule, Fault> {
    let whole = |error| Fault { error, offset: 0, length: token.len() };
    let word = |text: &str| token.eq_ignore_ascii_case(text.as_bytes());
    if let [b'(', inner @ .., b')'] = token {
        return selector(inner, defaults, table).map(|selector| Rule::Selector(Box::new(selector)));
    }
    Ok(match token {
        [b'>', password @ ..] => Rule::AddPassword(PasswordHash::of(password)),
        [b'<', password @ ..] => Rule::RemovePassword(PasswordHash::of(password)),
        [b'#', hex @ ..] => Rule::AddPassword(PasswordHash::from_hex(hex).ok_or(whole(RuleError::BadHash))?),
        [b'!', hex @ ..] => {
            Rule::RemovePassword(PasswordHash::from_hex(hex).ok_or(whole(RuleError::BadHash))?)
        }
        _ if word("on") => Rule::On,
        _ if word("off") => Rule::Off,
        _ if word("nopass") => Rule::NoPass,
        _ if word("resetpass") => Rule::ResetPass,
        _ if word("clearselectors") => Rule::ClearSelectors,
        _ if word("reset") => Rule::Reset,
        _ if word("sanitize-payload") => Rule::SanitizePayload,
        _ if word("skip-sanitize-payload") => Rule::SkipSanitizePayload,
        _ => Rule::Grant(grant(token, table).map_err(whole)?),
    })
}

/// What stands between the parentheses of a selector.
fn selector(inner: &[u8], defaults: Defaults, table: &CommandTable) -> Result<Selector, Fault> {
    let mut selector = Selector::new(defaults, table);
    let mut start = 0;
    for token in inner.split(|byte| is_space(*byte)) {
        // One more than the offset in `inner`: the parenthesis.
        let offset = start + 1;
        start += token.len() + 1;
        if token.is_empty() {
            continue;
        }
        // Redis reads quotes here, drops the whole selector at an unbalanced one, and cannot read its own output back.
        let unstorable = token.ends_with(b")") || token.iter().any(|byte| matches!(byte, b'"' | b'\''));
        let rule = match grant(token, table) {
            Ok(_) if unstorable => Err(RuleError::Syntax),
            rule => rule,
        };
        let refused = |error| Fault { error, offset, length: token.len() };
        let rule = rule.map_err(|error| refused(selector.refusal(token, error)))?;
        selector.apply(rule, table).map_err(refused)?;
    }
    Ok(selector)
}

/// A rule that may stand in a selector.
fn grant(token: &[u8], table: &CommandTable) -> Result<Grant, RuleError> {
    let word = |text: &str| token.eq_ignore_ascii_case(text.as_bytes());
    Ok(match token {
        b"~*" => Grant::AllKeys,
        b"&*" => Grant::AllChannels,
        [b'~', pattern @ ..] => Grant::Keys { access: Access::READ_WRITE, pattern: glob(pattern)? },
        [b'%', rest @ ..] => {
            let (access, pattern) = access(rest)?;
            Grant::Keys { access, pattern: glob(pattern)? }
        }
        [b'&', pattern @ ..] => Grant::Channels(glob(pattern)?),
        _ if word("+@all") || word("allcommands") => Grant::AllCommands,
        _ if word("-@all") || word("nocommands") => Grant::NoCommands,
        [b'+', b'@', name @ ..] => Grant::AllowCategory(category(name, table)?),
        [b'-', b'@', name @ ..] => Grant::DenyCategory(category(name, table)?),
        [b'+', name @ ..] => match table.find(name) {
            Some(spec) => Grant::AllowCommand(spec.name.as_ref().into()),
            None if table.is_later_name(name) => Grant::AllowCommand(lower(name)),
            None => first_arg(name, table)?,
        },
        [b'-', name @ ..] => match table.find(name) {
            Some(spec) => Grant::DenyCommand(spec.name.as_ref().into()),
            None if table.is_later_name(name) => Grant::DenyCommand(lower(name)),
            None => return Err(RuleError::UnknownCommand),
        },
        _ if word("allkeys") => Grant::AllKeys,
        _ if word("resetkeys") => Grant::ResetKeys,
        _ if word("allchannels") => Grant::AllChannels,
        _ if word("resetchannels") => Grant::ResetChannels,
        _ if word("alldbs") => Grant::AllDatabases,
        _ if word("resetdbs") => Grant::ResetDatabases,
        [b'd' | b'D', b'b' | b'B', b'=', list @ ..] => Grant::Databases(databases(list)?),
        _ => return Err(RuleError::Syntax),
    })
}

fn category(name: &[u8], table: &CommandTable) -> Result<Box<str>, RuleError> {
    table.category(name).map(|_| lower(name)).ok_or(RuleError::UnknownCommand)
}

/// A name of a command or category, which is ASCII.
fn lower(name: &[u8]) -> Box<str> {
    String::from_utf8_lossy(name).to_ascii_lowercase().into()
}

/// Numbers of databases, separated by commas.
fn databases(list: &[u8]) -> Result<Box<[u32]>, RuleError> {
    let numbers: Result<Vec<u32>, RuleError> = list.split(|byte| *byte == b',').map(database).collect();
    let mut numbers = numbers?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers.into())
}

/// As C's `strtoll` reads it, but without white space.
fn database(text: &[u8]) -> Result<u32, RuleError> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(RuleError::Syntax);
    }
    let number = digits.iter().fold(0u32, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u32::from(digit.saturating_sub(b'0')))
    });
    let fits = i32::try_from(number).is_ok() && !(negative && number > 0);
    if fits { Ok(number) } else { Err(RuleError::DatabaseOutOfRange) }
}

/// `command|arg`, where no command has that name.
fn first_arg(name: &[u8], table: &CommandTable) -> Result<Grant, RuleError> {
    let bar = name.iter().rposition(|byte| *byte == b'|').ok_or(RuleError::UnknownCommand)?;
    let (command, arg) = name.split_at(bar);
    let arg = arg.get(1..).unwrap_or_default();
    let spec = table.find(command).ok_or(RuleError::UnknownCommand)?;
    if spec.parent.is_some() {
        return Err(RuleError::FirstArgOfSubcommand);
    }
    if arg.is_empty() || has_space(arg) {
        return Err(RuleError::Syntax);
    }
    if spec.is_container() {
        return Err(RuleError::UnknownCommand);
    }
    Ok(Grant::AllowFirstArg { command: spec.name.as_ref().into(), arg: arg.into() })
}

/// The flags after `%`, and the pattern.
///
/// Redis takes `%R` without `~` for `%R~`, a pattern that matches only the empty key; so do we.
fn access(flags: &[u8]) -> Result<(Access, &[u8]), RuleError> {
    let mut access = Access::ANY;
    let mut rest = flags;
    while let Some((flag, after)) = rest.split_first() {
        let one = match flag.to_ascii_uppercase() {
            b'R' => Access::READ,
            b'W' => Access::WRITE,
            b'~' => {
                rest = after;
                break;
            }
            _ => return Err(RuleError::Syntax),
        };
        if access.contains(one) {
            return Err(RuleError::Syntax);
        }
        access = Access(access.0 | one.0);
        rest = after;
    }
    if access == Access::ANY { Err(RuleError::Syntax) } else { Ok((access, rest)) }
}

fn glob(pattern: &[u8]) -> Result<Box<[u8]>, RuleError> {
    if has_space(pattern) { Err(RuleError::Syntax) } else { Ok(pattern.into()) }
}

/// White space as C has it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Whether white space or NUL is in `text`: refused in names and patterns, which a file could not hold.
pub(super) fn has_space(text: &[u8]) -> bool {
    text.iter().any(|byte| is_space(*byte) || *byte == 0)
}

/// The arguments of `ACL SETUSER`, with each selector that is spread over several of them joined, and without empty
/// ones, which mean nothing.
///
/// # Errors
/// The index of the argument at which a selector begins that never ends.
pub fn merge<'a>(args: &[&'a [u8]]) -> Result<Vec<Cow<'a, [u8]>>, usize> {
    let mut merged = Vec::with_capacity(args.len());
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (index, arg) in args.iter().copied().enumerate() {
        let ends = arg.ends_with(b")");
        match open.take() {
            Some((first, mut selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(arg);
                if ends {
                    merged.push(Cow::Owned(selector));
                } else {
                    open = Some((first, selector));
                }
            }
            None if arg.starts_with(b"(") && !ends => open = Some((index, arg.to_vec())),
            None if arg.is_empty() => {}
            None => merged.push(Cow::Borrowed(arg)),
        }
    }
    match open {
        Some((first, _)) => Err(first),
        None => Ok(merged),
    }
}

/// Splits a string of rules as Redis splits a line of an ACL file: at spaces (and line ends, which a line has not, but a
/// YAML string may), any number of them; tabs and CR around a token are dropped. There is no quoting.
pub(super) fn pieces(text: &[u8]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut open = None;
    let mut start = 0;
    for word in text.split(|byte| matches!(byte, b' ' | b'\n')) {
        let offset = start + word.iter().take_while(|byte| matches!(byte, b'\t' | b'\r')).count();
        start += word.len() + 1;
        let word = trim(word);
        if word.is_empty() {
            continue;
        }
        let ends = word.ends_with(b")");
        let first = open.or((word.starts_with(b"(") && !ends).then_some(offset));
        match first {
            Some(first) if ends => {
                let text = text.get(first..offset + word.len()).unwrap_or_default();
                pieces.push(Piece { offset: first, text, unmatched: false });
                open = None;
            }
            Some(_) => open = first,
            None => pieces.push(Piece { offset, text: word, unmatched: false }),
        }
    }
    if let Some(first) = open {
        let text = text.get(first..).unwrap_or_default();
        pieces.push(Piece { offset: first, text, unmatched: true });
    }
    pieces
}

/// Without tabs and CR at both ends.
pub(super) fn trim(mut word: &[u8]) -> &[u8] {
    while let [b'\t' | b'\r', rest @ ..] | [rest @ .., b'\t' | b'\r'] = word {
        word = rest;
    }
    word
}
