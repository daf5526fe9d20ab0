//! A user: who may log in, and what they may do.
//!
//! Users are values: a change makes a new user ([`User::set`]) or none at all. A user belongs to the [`CommandTable`]
//! that it was made with; for another table make it again by [`User::rebased`].

use std::borrow::Cow;
use std::fmt;

use subtle::{Choice, ConstantTimeEq};

use super::dialect::{Defaults, Dialect};
use super::parse;
use super::permit::{Denial, Unclear, Visitor};
use super::rule::{Grant, Rule, RuleError};
use super::secret::PasswordHash;
use super::selector::Selector;
use crate::command::{Access, CommandId, CommandTable, Spec};
use crate::resp::{Request, c_string};

/// A user of the ACL.
#[derive(Clone, Debug)]
pub struct User {
    name: Box<[u8]>,
    /// What `reset` and new selectors begin with.
    defaults: Defaults,
    enabled: bool,
    nopass: bool,
    passwords: Vec<PasswordHash>,
    /// `None` until a rule says something; Redis 7.0 prints it only then.
    sanitize_payload: Option<bool>,
    root: Selector,
    selectors: Vec<Selector>,
    /// Whether the root permissions allow everything: most users of most deployments, so judged by one compare.
    all_powerful: bool,
}

/// Why [`User::set`] refused, and which of its arguments.
#[derive(Clone, PartialEq, Eq)]
pub struct SetUserError {
    /// What is wrong.
    pub error: RuleError,
    /// SECURITY: may be a password.
    modifier: Box<[u8]>,
}

impl User {
    /// A user as `ACL SETUSER` creates it: `off`, no password, no key, no command, and no channel unless `defaults` say
    /// so; these also hold for a later `reset`, and for its selectors.
    ///
    /// # Errors
    /// [`RuleError::BadName`]: white space or NUL in the name, or (unlike Redis, where nobody means it) no name.
    pub fn new(name: &[u8], defaults: Defaults, table: &CommandTable) -> Result<Self, RuleError> {
        if name.is_empty() || parse::has_space(name) {
            return Err(RuleError::BadName);
        }
        Ok(User::nobody(name, defaults, table))
    }

    /// The user that Redis has when nothing is configured: `default on nopass ~* &* +@all`.
    pub fn default_open(defaults: Defaults, table: &CommandTable) -> Self {
        let mut user = User::nobody(b"default", defaults, table);
        for rule in [Grant::AllKeys, Grant::AllChannels, Grant::AllCommands] {
            // These three cannot fail; if they did, the user would have less.
            user.root.apply(rule, table).ok();
        }
        user.enabled = true;
        user.nopass = true;
        user.all_powerful = user.root.is_all_powerful(table);
        user
    }

    /// Who a login is compared with if there is no such user: with all the work of one who exists, and nobody gets in.
    pub fn stranger(table: &CommandTable) -> Self {
        let mut user = User::nobody(b"", Defaults::default(), table);
        user.passwords.push(PasswordHash::of(b""));
        user
    }

    /// A user without permissions, by a name that is not checked.
    pub(super) fn nobody(name: &[u8], defaults: Defaults, table: &CommandTable) -> Self {
        User {
            name: name.into(),
            defaults,
            enabled: false,
            nopass: false,
            passwords: Vec::new(),
            sanitize_payload: None,
            root: Selector::new(defaults, table),
            selectors: Vec::new(),
            all_powerful: false,
        }
    }

    /// This user after `args`, the rules of an `ACL SETUSER`: all of them or none. Attacker-controlled in so far as a
    /// client may do this at all.
    ///
    /// # Errors
    /// The first rule that is refused; [`SetUserError::reply`] is the text for the client.
    pub fn set(&self, args: &[&[u8]], table: &CommandTable) -> Result<User, SetUserError> {
        let refuse = |error, modifier: &[u8]| SetUserError { error, modifier: modifier.into() };
        let merged = parse::merge(args)
            .map_err(|first| refuse(RuleError::Unmatched, args.get(first).copied().unwrap_or_default()))?;
        let mut user = self.clone();
        for token in &merged {
            let rule = parse::rule(token, self.defaults, table);
            let rule = rule.map_err(|fault| refuse(user.root.refusal(token, fault.error), token))?;
            user.apply(rule, table).map_err(|error| refuse(error, token))?;
        }
        Ok(user)
    }

    /// Applies one rule.
    ///
    /// # Errors
    /// Those that depend on the user; then nothing has changed.
    pub(super) fn apply(&mut self, rule: Rule, table: &CommandTable) -> Result<(), RuleError> {
        match rule {
            Rule::On => self.enabled = true,
            Rule::Off => self.enabled = false,
            Rule::AddPassword(hash) => {
                self.nopass = false;
                if !self.passwords.contains(&hash) {
                    self.passwords.push(hash);
                }
            }
            Rule::RemovePassword(hash) => {
                let place = self.passwords.iter().position(|known| *known == hash);
                self.passwords.remove(place.ok_or(RuleError::NoSuchPassword)?);
            }
            Rule::NoPass => {
                self.nopass = true;
                self.passwords.clear();
            }
            Rule::ResetPass => {
                self.nopass = false;
                self.passwords.clear();
            }
            Rule::SanitizePayload => self.sanitize_payload = Some(true),
            Rule::SkipSanitizePayload => self.sanitize_payload = Some(false),
            Rule::Selector(selector) => self.selectors.push(*selector),
            Rule::ClearSelectors => self.selectors.clear(),
            Rule::Reset => {
                *self =
                    User { sanitize_payload: Some(true), ..User::nobody(&self.name, self.defaults, table) };
            }
            Rule::Grant(grant) => {
                self.root.apply(grant, table)?;
                self.all_powerful = self.root.is_all_powerful(table);
            }
        }
        Ok(())
    }

    /// The same user for another table: all command rules are applied again, so that they also hold for commands that
    /// only `table` has. Rules about commands that it lacks are kept, without effect, for the next table.
    pub fn rebased(&self, table: &CommandTable) -> Self {
        let root = self.root.rebased(table);
        let all_powerful = root.is_all_powerful(table);
        let selectors = self.selectors.iter().map(|selector| selector.rebased(table)).collect();
        User { root, selectors, all_powerful, ..self.clone() }
    }
}

// === what the user may do ===

impl User {
    /// Whether the user may run `request`.
    ///
    /// - `spec` is what the request resolved to; it must be of the table that the user was made with.
    /// - `uses` tells the visitor every database, key and channel of the request, in this order, until it says `Break`; it is
    ///   called once for each selector that allows the command, once more for each that is restricted to databases, and
    ///   never for a user who may do everything.
    ///
    /// Whether the user is `on` plays no role, as in Redis: that only matters at login. Allocates nothing.
    ///
    /// # Errors
    /// The one denial that Redis would report.
    #[inline]
    pub fn permits(
        &self,
        request: Request<'_>,
        spec: &Spec,
        uses: impl Fn(&mut Visitor<'_>) -> Result<(), Unclear>,
    ) -> Result<(), Denial> {
        if self.all_powerful {
            return Ok(());
        }
        let Err(mut furthest) = self.root.permits(request, spec, &uses) else { return Ok(()) };
        for selector in &self.selectors {
            match selector.permits(request, spec, &uses) {
                Ok(()) => return Ok(()),
                Err(denial) => furthest = furthest.max(denial),
            }
        }
        Err(furthest)
    }

    /// Whether [`User::permits`] certainly allows a command that uses this key and nothing else, in whatever database. What
    /// it does not say yes to may still be allowed.
    #[inline]
    pub fn permits_key(&self, id: CommandId, key: &[u8], access: Access) -> bool {
        self.all_powerful || self.sets().any(|set| set.permits_key(id, key, access))
    }

    /// Whether a session of this user may keep a subscription: to a channel, or (`pattern`) to a pattern. For
    /// subscriptions that were permitted before the rules changed.
    pub fn permits_subscription(&self, channel: &[u8], pattern: bool) -> bool {
        self.all_powerful
            || self.root.has_channel(channel, pattern)
            || self.selectors.iter().any(|selector| selector.has_channel(channel, pattern))
    }

    /// Whether the user may do anything at all with this key of this database (`None` for any): whether a pattern of the
    /// root permissions or of a selector matches it. Allocates nothing; O(patterns).
    pub fn sees_key(&self, key: &[u8], database: Option<u32>) -> bool {
        self.sets().any(|set| set.sees_key(key, database))
    }

    /// Whether whatever the user may do, it may do with all keys of all databases (`~* alldbs`).
    pub fn has_all_keys(&self) -> bool {
        self.all_powerful || self.sets().all(Selector::has_all_keys)
    }

    /// The root permissions and the selectors.
    fn sets(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// Whether the root permissions allow every command, key, channel and database (`+@all ~* &* alldbs`).
    pub fn is_all_powerful(&self) -> bool {
        self.all_powerful
    }

    /// Whether some permissions of the user are for some databases only.
    pub fn has_database_rules(&self) -> bool {
        self.sets().any(|set| !set.has_all_databases())
    }

    /// The name, without white space and NUL.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether the user may log in.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether any password will do.
    pub fn is_nopass(&self) -> bool {
        self.nopass
    }

    /// The passwords, in the order in which they were added.
    pub fn passwords(&self) -> &[PasswordHash] {
        &self.passwords
    }

    /// What `sanitize-payload` (true) or `skip-sanitize-payload` (false) said last.
    pub fn sanitize_payload(&self) -> Option<bool> {
        self.sanitize_payload
    }

    /// The root permissions.
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// The selectors.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The rules that name a command or category which `table` lacks, as written; each has no effect there. For a
    /// warning, once a table is fitted to the upstream.
    ///
    /// It can be no more than that: `-graph.qurey` denies nothing, so that whoever has `+@all` may run what was meant.
    /// But the same is seen when the upstream was restarted without its module, which denies more, not less; to refuse
    /// the rules then would lock out everyone. What Redis refuses, a fitted table refuses too (`ACL SETUSER`); only files
    /// are read before anybody knows. And what may be known by then is: a name without a dot is refused at once.
    pub fn unknown_names(&self, table: &CommandTable) -> Vec<String> {
        std::iter::once(&self.root)
            .chain(&self.selectors)
            .flat_map(|selector| selector.unknown_names(table))
            .collect()
    }

    /// What `ACL GETUSER` calls flags, in its order.
    pub fn flags(&self, dialect: Dialect) -> Vec<&'static str> {
        let enabled = Some(if self.enabled { "on" } else { "off" });
        let nopass = self.nopass.then_some("nopass");
        [enabled, nopass, dialect.payload(self.sanitize_payload)].into_iter().flatten().collect()
    }

    /// The line of this user in an ACL file and in `ACL LIST`, password hashes included, without a line end. Applied to
    /// a new user of that name, its rules make the same decisions and the same line.
    ///
    /// Byte for byte what the server of this dialect prints, with two exceptions: 7.0 guesses command rules from its
    /// bitmap, in random order, where they are as given here; and `%RW~*` is not printed as `~*`, which would be read
    /// back as `allkeys`.
    pub fn describe(&self, dialect: Dialect) -> Vec<u8> {
        let mut text = b"user ".to_vec();
        text.extend_from_slice(&self.name);
        for flag in self.flags(dialect) {
            text.push(b' ');
            text.extend_from_slice(flag.as_bytes());
        }
        for hash in &self.passwords {
            text.extend_from_slice(b" #");
            text.extend_from_slice(hash.to_hex().as_bytes());
        }
        text.push(b' ');
        text.extend_from_slice(&self.root.describe(dialect));
        for selector in &self.selectors {
            text.extend_from_slice(b" (");
            text.extend_from_slice(&selector.describe(dialect));
            text.push(b')');
        }
        text
    }
}

/// Whether `user` may log in with `password`; an unknown one is [`User::stranger`].
///
/// SECURITY: hashes and compares for unknown and disabled users too, so that the time does not tell which names exist
/// (in Redis it does); `tests/login_timing.rs` measures it. What remains visible: a user with several passwords costs one
/// compare of 32 bytes more for each, some nanoseconds; and the time grows with the length of the password that the
/// client itself has sent.
pub fn verify(user: &User, password: &[u8]) -> bool {
    let hash = PasswordHash::of(password);
    let dummy = [PasswordHash::of(b"")];
    let known = user.passwords.as_slice();
    let compared = if known.is_empty() { &dummy } else { known };
    let equal = compared.iter().fold(Choice::from(0), |any, other| any | hash.ct_eq(other));
    let right = !known.is_empty() & bool::from(equal);
    user.enabled & (user.nopass | right)
}

// === impl SetUserError ===

impl SetUserError {
    /// The text of the client's error, after `ERR `, as Redis has it. It quotes what the client sent.
    pub fn reply(&self) -> Vec<u8> {
        // Redis prints a C string.
        let modifier = Cow::Borrowed(c_string(&self.modifier));
        match self.error {
            RuleError::Unmatched => {
                [b"Unmatched parenthesis in acl selector starting at '", &*modifier, b"'."].concat()
            }
            error => {
                let text = error.text().as_bytes();
                [b"Error in ACL SETUSER modifier '".as_slice(), &modifier, b"': ", text].concat()
            }
        }
    }
}

impl fmt::Debug for SetUserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetUserError").field("error", &self.error).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
