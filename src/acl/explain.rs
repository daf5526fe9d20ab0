//! Why permissions allow or deny a request: which rule decided, and which rules would turn the decision.
//!
//! Works on the rules as text, the line that `ACL LIST` shows: a rule decided when it alone, on a user who may do
//! nothing or everything, makes the difference. So it needs no second reading of the rule language that could err where
//! [`Selector`] does not, and what it names is what an operator can search for.
//!
//! It never decides: the verdict is [`User::permits`]' alone, and whoever prints a suggestion applies it to the user and
//! asks for the verdict again. It allocates freely and is no part of a request's way. Nothing of it holds a password:
//! only command, key and channel rules are read.

use std::ops::ControlFlow;

use super::dialect::{Defaults, Dialect};
use super::permit::{Denial, SortOption, Unclear, Use, Visitor};
use super::selector::Selector;
use super::user::User;
use crate::command::{Access, Channels, CommandTable, Spec};
use crate::resp::Request;

/// The rules that allow everything.
pub const EVERYTHING: [&[u8]; 4] = [b"+@all", b"~*", b"&*", b"alldbs"];

/// How rules are written down here. Which dialect makes no difference to what they say.
const DIALECT: Dialect = Dialect::Redis72;

/// A [`Use`] that is kept. All bytes are attacker-controlled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Used {
    /// All databases.
    AllDatabases {
        /// The argument's index; 0 if no argument names one.
        index: usize,
    },
    /// All keys must be readable.
    AllKeysReadable {
        /// Which option of SORT needs it.
        option: SortOption,
    },
    /// A channel.
    Channel {
        /// The argument's index.
        index: usize,
        /// The channel, or the pattern.
        channel: Vec<u8>,
        /// Whether it is a pattern.
        literal: bool,
    },
    /// A database.
    Database {
        /// The argument's index; 0 for the session's own.
        index: usize,
        /// Its number.
        number: u32,
    },
    /// A key.
    Key {
        /// The argument's index.
        index: usize,
        /// The key.
        key: Vec<u8>,
        /// What is done with it.
        access: Access,
    },
}

/// All that a request uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Each use once, in Redis' order.
    pub uses: Vec<Used>,
    /// Whether there may be more: see [`Unclear`].
    pub unclear: bool,
}

/// What one set of permissions says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `None`: this set allows the request, and so the user may run it.
    pub denial: Option<Denial>,
    /// Whether the command is allowed.
    pub command: bool,
    /// The command rule that decided so, as text. `-@all` when no rule says anything of the command; `None` for a
    /// command that no rule can deny.
    pub command_rule: Option<Vec<u8>>,
    /// What is said to each use, in the order of [`Demand::uses`].
    pub uses: Vec<Said>,
    /// All key rules.
    pub key_rules: Vec<Vec<u8>>,
    /// All channel rules.
    pub channel_rules: Vec<Vec<u8>>,
    /// The one database rule.
    pub database_rule: Vec<u8>,
}

/// What a set of permissions says to one use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Allowed by this rule.
    Allowed(Vec<u8>),
    /// This rule matches the key, but does not allow what is done with it; and no rule does.
    NotForThis(Vec<u8>),
    /// No rule matches.
    NoMatch,
}

/// What each set of permissions of `user` says to `request`: the root permissions first, then the selectors.
///
/// `spec` is what the request resolved to, in the table that the user was made with.
pub fn explain(
    user: &User,
    request: Request<'_>,
    spec: &Spec,
    demand: &Demand,
    table: &CommandTable,
) -> Vec<Finding> {
    let sets = std::iter::once(user.root()).chain(user.selectors());
    sets.map(|set| {
        let (key_rules, channel_rules) = (tokens(&set.keys_text()), tokens(&set.channels_text()));
        let database_rule = match set.databases_text() {
            rule if rule.is_empty() => b"resetdbs".to_vec(),
            rule => rule,
        };
        let in_database =
            |allowed| if allowed { Said::Allowed(database_rule.clone()) } else { Said::NoMatch };
        let said = |used: &Used| match used {
            Used::AllDatabases { .. } => in_database(set.has_all_databases()),
            Used::Database { number, .. } => in_database(set.has_database(*number)),
            Used::Channel { .. } => said(used, &channel_rules, request, spec, table),
            _ => said(used, &key_rules, request, spec, table),
        };
        let uses = demand.uses.iter().map(said).collect();
        let command = set.permits(request, spec, &|_| Ok(())).is_ok();
        Finding {
            denial: set.permits(request, spec, &|visitor| demand.visit(visitor)).err(),
            command,
            command_rule: decider(set, request, spec, table),
            uses,
            key_rules,
            channel_rules,
            database_rule,
        }
    })
    .collect()
}

/// The last rule that says anything of the command.
fn decider(set: &Selector, request: Request<'_>, spec: &Spec, table: &CommandTable) -> Option<Vec<u8>> {
    let allows = |rules: &[&[u8]]| {
        let user = User::nobody(b"", Defaults::default(), table).set(rules, table);
        // A rule about a command that the table lacks has no effect.
        user.ok().map(|user| user.permits(request, spec, |_| Ok(())).is_ok())
    };
    if allows(&[b"-@all"])? {
        return None;
    }
    let mut rules = tokens(&set.commands_text(DIALECT));
    let last = rules.iter().rposition(|rule| {
        allows(&[b"-@all", rule]) == Some(true) || allows(&[b"+@all", rule]) == Some(false)
    });
    Some(rules.swap_remove(last?))
}

/// What key or channel rules say to one use.
fn said(used: &Used, rules: &[Vec<u8>], request: Request<'_>, spec: &Spec, table: &CommandTable) -> Said {
    let first = |used: Use<'_>| {
        let allows = |rule: &&Vec<u8>| {
            let user = User::nobody(b"", Defaults::default(), table).set(&[b"+@all", rule], table);
            user.is_ok_and(|user| {
                let one = |visitor: &mut Visitor<'_>| {
                    let _ = visitor(used);
                    Ok(())
                };
                user.permits(request, spec, one).is_ok()
            })
        };
        rules.iter().find(allows).cloned()
    };
    let weakest = match used {
        Used::Key { index, key, .. } => Some(Use::Key { index: *index, key, access: Access::ANY }),
        Used::AllDatabases { .. } | Used::AllKeysReadable { .. } => None,
        Used::Channel { .. } | Used::Database { .. } => None,
    };
    match first(used.as_use()) {
        Some(rule) => Said::Allowed(rule),
        None => weakest.and_then(first).map_or(Said::NoMatch, Said::NotForThis),
    }
}

// === what would turn the decision ===

/// The rules that let the root permissions, which say `root`, allow the request, when they are added. Empty when nothing
/// is missing there.
pub fn added_to_root(spec: &Spec, demand: &Demand, root: &Finding) -> Vec<Vec<u8>> {
    let missing = |index: usize| !matches!(root.uses.get(index), Some(Said::Allowed(_)));
    let unclear = demand.unclear && root.denial.is_some();
    let mut rules = uses_allowed(spec, demand, unclear, missing, writable_at_root);
    if !root.command {
        rules.insert(0, allow_command(spec));
    }
    rules.extend(allow_databases(demand, root));
    rules
}

/// The rule that allows the databases that `root` lacks, besides those that it has.
fn allow_databases(demand: &Demand, root: &Finding) -> Option<Vec<u8>> {
    let missing = demand.uses.iter().zip(&root.uses).filter(|(_, said)| !matches!(said, Said::Allowed(_)));
    let mut numbers = Vec::new();
    for (used, _) in missing {
        match used {
            Used::AllDatabases { .. } => return Some(b"alldbs".to_vec()),
            Used::Database { number, .. } if !numbers.contains(number) => numbers.push(*number),
            _ => {}
        }
    }
    let mut rule = match root.database_rule.starts_with(b"db=") {
        true => root.database_rule.clone(),
        false => b"db=".to_vec(),
    };
    for number in &numbers {
        if rule.last() != Some(&b'=') {
            rule.push(b',');
        }
        rule.extend_from_slice(number.to_string().as_bytes());
    }
    (!numbers.is_empty()).then_some(rule)
}

/// The rules of a selector that allows the request and, as far as patterns can say it, nothing else.
pub fn own_selector(spec: &Spec, demand: &Demand) -> Vec<Vec<u8>> {
    let mut rules = uses_allowed(spec, demand, demand.unclear, |_| true, writable_in_selector);
    rules.insert(0, allow_command(spec));
    rules
}

/// The selector of these rules, as one token.
pub fn in_parentheses(rules: &[Vec<u8>]) -> Vec<u8> {
    [b"(", rules.join(&b' ').as_slice(), b")"].concat()
}

/// The rules after which `user`, of whom `findings` were found, may not run the command any more, and may do all else as
/// before. A selector cannot be changed, so if one allows the request, all of them are written anew.
pub fn denying(
    user: &User,
    request: Request<'_>,
    spec: &Spec,
    findings: &[Finding],
    table: &CommandTable,
) -> Vec<Vec<u8>> {
    let deny = [b"-", spec.name.as_bytes()].concat();
    let allows = |finding: &Finding| finding.denial.is_none();
    let mut rules = Vec::new();
    if findings.first().is_some_and(allows) {
        rules.push(deny.clone());
    }
    if !findings.iter().skip(1).any(allows) {
        return rules;
    }
    rules.push(b"clearselectors".to_vec());
    for (selector, finding) in user.selectors().iter().zip(findings.iter().skip(1)) {
        let mut kept = tokens(&selector.describe(DIALECT));
        if allows(finding) {
            kept = without_command(kept, deny.clone(), request, spec, table);
        }
        // A selector without any command allows nothing.
        if kept.iter().any(|rule| rule.starts_with(b"+")) {
            rules.push(in_parentheses(&kept));
        }
    }
    rules
}

/// These rules and `deny`, as short as they can be said.
fn without_command(
    mut rules: Vec<Vec<u8>>,
    deny: Vec<u8>,
    request: Request<'_>,
    spec: &Spec,
    table: &CommandTable,
) -> Vec<Vec<u8>> {
    let with = |rules: &[Vec<u8>]| {
        let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
        User::nobody(b"", Defaults::default(), table).set(&rules, table).ok()
    };
    rules.push(deny);
    // Leaves out what `deny` overrides.
    let mut short = with(&rules).map_or(rules, |user| tokens(&user.root().describe(DIALECT)));
    let last = short.pop();
    let denies = |user: User| user.permits(request, spec, |_| Ok(())).is_err();
    if !with(&short).is_some_and(denies) {
        short.extend(last);
    }
    short
}

fn allow_command(spec: &Spec) -> Vec<u8> {
    [b"+", spec.name.as_bytes()].concat()
}

/// A rule for each use whose index is `wanted`, each rule once.
fn uses_allowed(
    spec: &Spec,
    demand: &Demand,
    unclear: bool,
    wanted: impl Fn(usize) -> bool,
    writable: fn(char) -> bool,
) -> Vec<Vec<u8>> {
    let mut keys: Vec<(&[u8], Access)> = Vec::new();
    let mut rules: Vec<Vec<u8>> = Vec::new();
    for (_, used) in demand.uses.iter().enumerate().filter(|(index, _)| wanted(*index)) {
        match used {
            // See `allow_databases`; a selector starts with all of them.
            Used::AllDatabases { .. } | Used::Database { .. } => {}
            Used::AllKeysReadable { .. } => rules.push(b"%R~*".to_vec()),
            Used::Channel { channel, literal, .. } => rules.push(channel_rule(channel, *literal, writable)),
            Used::Key { key, access, .. } => match keys.iter_mut().find(|(known, _)| known == key) {
                Some((_, known)) => *known = Access(known.0 | access.0),
                None => keys.push((key, *access)),
            },
        }
    }
    if unclear {
        keys.clear();
        rules = vec![b"~*".to_vec()];
        if spec.channels != Channels::None {
            rules.push(b"&*".to_vec());
        }
    }
    rules.extend(keys.into_iter().map(|(key, access)| {
        let sign: &[u8] = match access {
            Access::READ_WRITE => b"~",
            Access::WRITE => b"%W~",
            _ => b"%R~",
        };
        [sign, &pattern_of(key, writable)].concat()
    }));
    let mut seen: Vec<Vec<u8>> = Vec::new();
    rules.retain(|rule| {
        let new = !seen.contains(rule);
        if new {
            seen.push(rule.clone());
        }
        new
    });
    rules
}

/// The pattern that matches this text. Bytes that cannot be written in a rule, or that a terminal must not see, are
/// `?`, so it may match others of the same length, too.
fn pattern_of(text: &[u8], writable: fn(char) -> bool) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            let mut bytes = [0; 4];
            let bytes = char.encode_utf8(&mut bytes).as_bytes();
            match char {
                '*' | '?' | '[' | '\\' => pattern.extend_from_slice(&[b"\\", bytes].concat()),
                _ if writable(char) => pattern.extend_from_slice(bytes),
                _ => pattern.resize(pattern.len() + bytes.len(), b'?'),
            }
        }
        pattern.resize(pattern.len() + chunk.invalid().len(), b'?');
    }
    pattern
}

/// A pattern of PSUBSCRIBE must stand in a rule as it is; where that cannot be written, only all channels will do.
fn channel_rule(channel: &[u8], literal: bool, writable: fn(char) -> bool) -> Vec<u8> {
    let whole = std::str::from_utf8(channel).is_ok_and(|text| text.chars().all(writable));
    match (literal, whole) {
        (true, true) => [b"&", channel].concat(),
        (true, false) => b"&*".to_vec(),
        (false, _) => [b"&", pattern_of(channel, writable).as_slice()].concat(),
    }
}

fn writable_at_root(char: char) -> bool {
    !char.is_whitespace() && is_printable(char)
}

/// Quotes and closing parentheses are refused there.
fn writable_in_selector(char: char) -> bool {
    writable_at_root(char) && !matches!(char, '"' | '\'' | ')')
}

/// Whether a terminal shows the character as such: no control character, nothing that joins with its neighbours or
/// turns their direction.
pub fn is_printable(char: char) -> bool {
    matches!(char, '"' | '\'' | '\\') || char.escape_debug().len() == 1
}

fn tokens(text: &[u8]) -> Vec<Vec<u8>> {
    text.split(|byte| *byte == b' ').filter(|token| !token.is_empty()).map(<[u8]>::to_vec).collect()
}

// === impl Demand, Used ===

impl Demand {
    /// Keeps all that `uses` shows its visitor.
    pub fn of(uses: impl FnOnce(&mut Visitor<'_>) -> Result<(), Unclear>) -> Demand {
        let mut kept: Vec<Used> = Vec::new();
        let clear = uses(&mut |used| {
            let used = Used::of(used);
            if !kept.contains(&used) {
                kept.push(used);
            }
            ControlFlow::Continue(())
        });
        Demand { uses: kept, unclear: clear.is_err() }
    }

    /// Whether there is more to it than databases, which nearly every request has.
    pub fn has_keys_or_channels(&self) -> bool {
        self.uses.iter().any(|used| !matches!(used, Used::AllDatabases { .. } | Used::Database { .. }))
    }

    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<(), Unclear> {
        for used in &self.uses {
            if visitor(used.as_use()).is_break() {
                return Ok(());
            }
        }
        if self.unclear { Err(Unclear) } else { Ok(()) }
    }
}

impl Used {
    fn of(used: Use<'_>) -> Used {
        match used {
            Use::AllDatabases { index } => Used::AllDatabases { index },
            Use::AllKeysReadable { option } => Used::AllKeysReadable { option },
            Use::Database { index, number } => Used::Database { index, number },
            Use::Channel { index, channel, literal } => {
                Used::Channel { index, channel: channel.to_vec(), literal }
            }
            Use::Key { index, key, access } => Used::Key { index, key: key.to_vec(), access },
        }
    }

    fn as_use(&self) -> Use<'_> {
        match self {
            Used::AllDatabases { index } => Use::AllDatabases { index: *index },
            Used::AllKeysReadable { option } => Use::AllKeysReadable { option: *option },
            Used::Database { index, number } => Use::Database { index: *index, number: *number },
            Used::Channel { index, channel, literal } => {
                Use::Channel { index: *index, channel, literal: *literal }
            }
            Used::Key { index, key, access } => Use::Key { index: *index, key, access: *access },
        }
    }
}

#[cfg(test)]
mod tests;
