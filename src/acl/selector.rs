//! One set of permissions: a user's root permissions, or a selector of a user.
//!
//! A request passes when one selector allows all of it: the command, every database, key and channel. Commands are a bitmap by
//! [`CommandId`], so a selector belongs to the [`CommandTable`] that it was made with; beside it stand the rules that
//! made it, shortened by what later rules override, from which it can be made again for another table.
//!
//! Mirrors Redis 7.0, and Valkey 9.1 as to databases (checked by `tests/it/acl_oracle.rs`).

use std::ops::ControlFlow;

use super::dialect::{Defaults, Dialect};
use super::glob::Glob;
use super::permit::{Denial, Unclear, Use, Visitor};
use super::rule::{Grant, RuleError};
use crate::command::{Access, Channels, CommandId, CommandTable, Spec, flag};
use crate::resp::Request;

/// A set of permissions.
#[derive(Clone, Debug)]
pub struct Selector {
    /// Bit by command number.
    commands: Box<[u64]>,
    /// `+@all` came after any `-@all`: commands that the table does not have yet are allowed too.
    future_commands: bool,
    /// Commands that are allowed with these first arguments only.
    first_args: Vec<(CommandId, Box<[u8]>)>,
    /// The command rules since the last `+@all` or `-@all`, without those that a later one overrides.
    command_rules: Vec<Grant>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Glob>,
    all_databases: bool,
    /// Sorted; empty where all are allowed.
    databases: Box<[u32]>,
}

#[derive(Clone, Debug)]
struct KeyPattern {
    access: Access,
    glob: Glob,
}

impl Selector {
    /// No permissions but those of [`Defaults`]: `resetkeys resetchannels alldbs -@all`.
    pub(super) fn new(defaults: Defaults, table: &CommandTable) -> Self {
        Selector {
            commands: vec![0; table.specs().len().div_ceil(64)].into(),
            future_commands: false,
            first_args: Vec::new(),
            command_rules: Vec::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels: defaults.all_channels,
            channels: Vec::new(),
            all_databases: true,
            databases: Box::default(),
        }
    }

    /// Whether a request for `spec` is allowed by this selector alone. Allocates nothing; O(keys × patterns).
    pub(super) fn permits(
        &self,
        request: Request<'_>,
        spec: &Spec,
        uses: &dyn Fn(&mut Visitor<'_>) -> Result<(), Unclear>,
    ) -> Result<(), Denial> {
        if !self.all_databases {
            self.permits_databases(uses)?;
        }
        let command = spec.flags.contains(flag::NO_AUTH)
            || self.has_command(spec.id)
            || self.has_first_arg(spec.id, request);
        if !command {
            return Err(Denial::Command);
        }
        if self.all_keys && self.all_channels {
            return Ok(());
        }
        // Redis checks the patterns of SORT in the command itself, so only once the ACL has passed.
        let mut sort = None;
        let mut denial = None;
        let clear = uses(&mut |used| {
            let failed = match used {
                Use::AllDatabases { .. } | Use::Database { .. } => false,
                Use::Key { key, access, .. } => !self.has_key(key, access),
                Use::Channel { channel, literal, .. } => !self.has_channel(channel, literal),
                Use::AllKeysReadable { .. } => !self.reads_all_keys(),
            };
            // SECURITY: the first denial stays, also if the enumeration goes on after a `Break`.
            match used {
                _ if !failed || denial.is_some() => {}
                Use::AllDatabases { .. } | Use::Database { .. } => {}
                Use::Key { index, .. } => denial = Some(Denial::Key { index }),
                Use::Channel { index, .. } => denial = Some(Denial::Channel { index }),
                Use::AllKeysReadable { option } => {
                    sort = sort.or(Some(Denial::SortPattern { option }));
                }
            }
            if denial.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match (denial.or(sort), clear) {
            (Some(denial), _) => Err(denial),
            // Whoever may do anything with all keys gets Redis' own error about such a command.
            (None, Err(Unclear)) if !self.all_keys || spec.channels != Channels::None => Err(Denial::Unclear),
            (None, _) => Ok(()),
        }
    }

    /// Whether [`Selector::permits`] allows a command by its name and by this key, which is all that it uses in whatever
    /// database.
    #[inline]
    pub(super) fn permits_key(&self, id: CommandId, key: &[u8], access: Access) -> bool {
        self.all_databases && self.has_command(id) && self.has_key(key, access)
    }

    /// Whether all databases of the request are allowed. They come before all other uses.
    fn permits_databases(
        &self,
        uses: &dyn Fn(&mut Visitor<'_>) -> Result<(), Unclear>,
    ) -> Result<(), Denial> {
        let mut denial = None;
        // What cannot be told of keys is told when they are asked for.
        let _ = uses(&mut |used| {
            let denied = match used {
                Use::AllDatabases { index } => Some(index),
                Use::Database { index, number } => Some(index).filter(|_| !self.has_database(number)),
                Use::AllKeysReadable { .. } | Use::Channel { .. } | Use::Key { .. } => {
                    return ControlFlow::Break(());
                }
            };
            // SECURITY: the first denial stays, also if the enumeration goes on after a `Break`.
            denial = denial.or(denied.map(|index| Denial::Database { index }));
            if denial.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        denial.map_or(Ok(()), Err)
    }

    /// Whether every command of the table and every later one, every key, channel and database is allowed.
    pub(super) fn is_all_powerful(&self, table: &CommandTable) -> bool {
        self.future_commands
            && self.all_keys
            && self.all_channels
            && self.all_databases
            && table.specs().iter().all(|spec| self.has_command(spec.id))
    }

    /// Whether the channel, or literally the pattern, is allowed.
    pub(super) fn has_channel(&self, channel: &[u8], literal: bool) -> bool {
        self.all_channels
            || self
                .channels
                .iter()
                .any(|glob| if literal { glob.as_bytes() == channel } else { glob.matches(channel) })
    }

    #[inline]
    fn has_key(&self, key: &[u8], needed: Access) -> bool {
        self.all_keys
            || self.keys.iter().any(|pattern| pattern.access.contains(needed) && pattern.glob.matches(key))
    }

    /// Whether some pattern for keys matches this one, in this database (`None` for any).
    pub(super) fn sees_key(&self, key: &[u8], database: Option<u32>) -> bool {
        database.is_none_or(|number| self.has_database(number)) && self.has_key(key, Access::ANY)
    }

    /// Whether no key of any database is outside the patterns.
    pub(super) fn has_all_keys(&self) -> bool {
        self.all_keys && self.all_databases
    }

    pub(super) fn has_database(&self, number: u32) -> bool {
        self.all_databases || self.databases.binary_search(&number).is_ok()
    }

    /// As Redis has it: not by what patterns match together, only by a `*` alone.
    fn reads_all_keys(&self) -> bool {
        self.all_keys
            || self
                .keys
                .iter()
                .any(|pattern| pattern.access.contains(Access::READ) && pattern.glob.as_bytes() == b"*")
    }

    /// Whether all databases are allowed.
    pub(super) fn has_all_databases(&self) -> bool {
        self.all_databases
    }

    /// Whether the command is allowed, with any arguments.
    pub fn allows(&self, id: CommandId) -> bool {
        self.has_command(id)
    }

    /// Whether commands that the table does not have yet are allowed.
    pub fn allows_later_commands(&self) -> bool {
        self.future_commands
    }

    /// The commands that are allowed with these first arguments.
    pub fn first_args(&self) -> impl Iterator<Item = (CommandId, &[u8])> {
        self.first_args.iter().map(|(id, arg)| (*id, &**arg))
    }

    #[inline]
    fn has_command(&self, id: CommandId) -> bool {
        self.commands.get(id.index() / 64).is_some_and(|word| word >> (id.index() % 64) & 1 == 1)
    }

    fn has_first_arg(&self, id: CommandId, request: Request<'_>) -> bool {
        let Some(arg) = request.arg(1) else { return false };
        self.first_args.iter().any(|(command, allowed)| *command == id && allowed.eq_ignore_ascii_case(arg))
    }
}

// === applying rules ===

impl Selector {
    /// Applies one rule.
    ///
    /// # Errors
    /// [`RuleError::KeyAfterAll`], [`RuleError::ChannelAfterAll`]; then nothing has changed.
    pub(super) fn apply(&mut self, rule: Grant, table: &CommandTable) -> Result<(), RuleError> {
        match rule {
            Grant::AllKeys => {
                self.all_keys = true;
                self.keys.clear();
            }
            Grant::ResetKeys => {
                self.all_keys = false;
                self.keys.clear();
            }
            Grant::Keys { .. } if self.all_keys => return Err(RuleError::KeyAfterAll),
            Grant::Keys { access, pattern } => {
                match self.keys.iter_mut().find(|known| known.glob.as_bytes() == &*pattern) {
                    Some(known) => known.access = Access(known.access.0 | access.0),
                    None => self.keys.push(KeyPattern { access, glob: Glob::new(&pattern) }),
                }
            }
            Grant::AllChannels => {
                self.all_channels = true;
                self.channels.clear();
            }
            Grant::ResetChannels => {
                self.all_channels = false;
                self.channels.clear();
            }
            Grant::Channels(_) if self.all_channels => return Err(RuleError::ChannelAfterAll),
            Grant::Channels(pattern) => {
                if !self.channels.iter().any(|known| known.as_bytes() == &*pattern) {
                    self.channels.push(Glob::new(&pattern));
                }
            }
            Grant::AllDatabases => {
                self.all_databases = true;
                self.databases = Box::default();
            }
            Grant::ResetDatabases => {
                self.all_databases = false;
                self.databases = Box::default();
            }
            Grant::Databases(numbers) => {
                self.all_databases = false;
                self.databases = numbers;
            }
            Grant::AllCommands => self.set_all_commands(true),
            Grant::NoCommands => self.set_all_commands(false),
            rule => {
                self.enact(&rule, table);
                self.command_rules.retain(|earlier| !overrides(&rule, earlier));
                self.command_rules.push(rule);
            }
        }
        Ok(())
    }

    /// The error that Redis reports for a `token` refused with `error`: it finds a pattern to be superfluous before it
    /// looks at what is in it.
    pub(super) fn refusal(&self, token: &[u8], error: RuleError) -> RuleError {
        match token {
            [b'~' | b'%', ..] if self.all_keys => RuleError::KeyAfterAll,
            [b'&', ..] if self.all_channels => RuleError::ChannelAfterAll,
            _ => error,
        }
    }

    /// This selector made again for another table. Rules about commands that `table` lacks stay written, without effect.
    pub(super) fn rebased(&self, table: &CommandTable) -> Self {
        let commands = Selector::new(Defaults::default(), table).commands;
        let mut rebased = Selector { commands, first_args: Vec::new(), ..self.clone() };
        rebased.commands.fill(if self.future_commands { u64::MAX } else { 0 });
        for rule in &self.command_rules {
            rebased.enact(rule, table);
        }
        rebased
    }

    fn set_all_commands(&mut self, allow: bool) {
        self.commands.fill(if allow { u64::MAX } else { 0 });
        self.future_commands = allow;
        self.first_args.clear();
        self.command_rules.clear();
    }

    /// The effect of a command rule.
    fn enact(&mut self, rule: &Grant, table: &CommandTable) {
        match rule {
            Grant::AllowCommand(name) => {
                if let Some(spec) = table.find(name.as_bytes()) {
                    self.set_command(spec, true);
                } else if let Some((spec, arg)) = module_first_arg(name, table) {
                    self.first_args.push((spec.id, arg.as_bytes().into()));
                }
            }
            Grant::DenyCommand(name) => {
                // SECURITY: where only the container is left of a denied subcommand, the whole is denied.
                let container = || name.split_once('|').and_then(|(name, _)| table.find(name.as_bytes()));
                let spec =
                    table.find(name.as_bytes()).or_else(|| container().filter(|spec| !spec.is_container()));
                if let Some(spec) = spec {
                    self.set_command(spec, false);
                }
            }
            Grant::AllowCategory(wanted) | Grant::DenyCategory(wanted) => {
                let allow = matches!(rule, Grant::AllowCategory(_));
                let Some(wanted) = table.category(wanted.as_bytes()) else { return };
                for members in table.members(wanted) {
                    self.set_commands(members, allow);
                }
            }
            Grant::AllowFirstArg { command, arg } => {
                if let Some(spec) = table.find(command.as_bytes()) {
                    match table.find_subcommand(spec, arg) {
                        Some(sub) => self.set_command(sub, true),
                        None => self.first_args.push((spec.id, arg.clone())),
                    }
                }
            }
            // Not command rules, or without anything to remember.
            Grant::AllChannels | Grant::AllCommands | Grant::AllDatabases | Grant::AllKeys => {}
            Grant::Channels(_) | Grant::Databases(_) | Grant::Keys { .. } | Grant::NoCommands => {}
            Grant::ResetChannels | Grant::ResetDatabases | Grant::ResetKeys => {}
        }
    }

    /// Allows or denies a command with all its subcommands.
    fn set_command(&mut self, spec: &Spec, allow: bool) {
        for id in spec.subcommands.iter().chain([&spec.id]) {
            if let Some(word) = self.commands.get_mut(id.index() / 64) {
                let bit = 1 << (id.index() % 64);
                *word = if allow { *word | bit } else { *word & !bit };
            }
            self.first_args.retain(|(command, _)| command != id);
        }
    }

    /// Allows or denies the commands of a bitmap.
    fn set_commands(&mut self, members: &[u64], allow: bool) {
        for (word, members) in self.commands.iter_mut().zip(members) {
            *word = if allow { *word | members } else { *word & !members };
        }
        let is_member = |id: CommandId| {
            members.get(id.index() / 64).is_some_and(|word| word >> (id.index() % 64) & 1 == 1)
        };
        self.first_args.retain(|(command, _)| !is_member(*command));
    }
}

/// The command and the first argument that a rule kept by name means, if the upstream's module has no subcommands.
fn module_first_arg<'t, 'n>(name: &'n str, table: &'t CommandTable) -> Option<(&'t Spec, &'n str)> {
    let (command, arg) = name.split_once('|').filter(|(command, _)| command.contains('.'))?;
    let spec = table.find(command.as_bytes()).filter(|spec| !spec.is_container())?;
    Some((spec, arg))
}

/// Whether `earlier` has no effect left once `later` is applied, whatever stands between.
fn overrides(later: &Grant, earlier: &Grant) -> bool {
    match later {
        Grant::AllowCategory(later) | Grant::DenyCategory(later) => {
            matches!(earlier, Grant::AllowCategory(earlier) | Grant::DenyCategory(earlier) if earlier == later)
        }
        Grant::AllowCommand(later) | Grant::DenyCommand(later) => match earlier {
            Grant::AllowCommand(earlier) | Grant::DenyCommand(earlier) => {
                let rest = earlier.strip_prefix(&**later);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
            }
            Grant::AllowFirstArg { command, .. } => command == later,
            _ => false,
        },
        Grant::AllowFirstArg { command: later, arg: later_arg } => {
            matches!(earlier, Grant::AllowFirstArg { command, arg }
                if command == later && arg.eq_ignore_ascii_case(later_arg))
        }
        _ => false,
    }
}

// === back to text ===

impl Selector {
    /// The command rules, as `ACL GETUSER` shows them: `+@all` or `-@all`, then the rest in the order given.
    pub fn commands_text(&self, dialect: Dialect) -> Vec<u8> {
        let mut text = if self.future_commands { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for rule in &self.command_rules {
            let (sign, name, arg) = match rule {
                Grant::AllowCommand(name) => (" +", &**name, None),
                Grant::DenyCommand(name) => (" -", &**name, None),
                Grant::AllowFirstArg { command, arg } => (" +", &**command, Some(arg)),
                Grant::AllowCategory(name) => (" +@", &**name, None),
                Grant::DenyCategory(name) => (" -@", &**name, None),
                _ => continue,
            };
            text.extend_from_slice(sign.as_bytes());
            text.extend_from_slice(name.as_bytes());
            if let Some(arg) = arg {
                text.push(b'|');
                text.extend_from_slice(&dialect.first_arg(arg));
            }
        }
        text
    }

    /// The rules that name a command or category which `table` lacks, such as `-graph.query` or `+@json`: without
    /// effect there. See [`User::unknown_names`](super::User::unknown_names).
    pub(super) fn unknown_names<'s>(&'s self, table: &'s CommandTable) -> impl Iterator<Item = String> + 's {
        let no_command = |name: &str| table.find(name.as_bytes()).is_none();
        let no_category = |name: &str| table.category(name.as_bytes()).is_none();
        self.command_rules.iter().filter_map(move |rule| match rule {
            Grant::AllowCommand(name) if no_command(name) && module_first_arg(name, table).is_none() => {
                Some(format!("+{name}"))
            }
            Grant::DenyCommand(name) if no_command(name) => Some(format!("-{name}")),
            Grant::AllowFirstArg { command, .. } if no_command(command) => Some(format!("+{command}")),
            Grant::AllowCategory(name) if no_category(name) => Some(format!("+@{name}")),
            Grant::DenyCategory(name) if no_category(name) => Some(format!("-@{name}")),
            _ => None,
        })
    }

    /// The key rules, as `ACL GETUSER` shows them; empty when there is none.
    pub fn keys_text(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let mut text = Vec::new();
        for KeyPattern { access, glob } in &self.keys {
            // `~*` would be read back as `allkeys`, which also matches the empty key and refuses further patterns.
            // Redis prints `~*`, and then cannot always load what it saved.
            let star = glob.as_bytes() == b"*";
            let sign: &[u8] = match *access {
                Access::READ => b"%R~",
                Access::WRITE => b"%W~",
                _ if star => b"%RW~",
                _ => b"~",
            };
            join(&mut text, sign, glob.as_bytes());
        }
        text
    }

    /// The channel rules, as `ACL GETUSER` shows them; empty when there is none.
    pub fn channels_text(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let mut text = Vec::new();
        for glob in &self.channels {
            join(&mut text, b"&", glob.as_bytes());
        }
        text
    }

    /// The databases, as `ACL GETUSER` shows them; empty when there is none.
    pub fn databases_text(&self) -> Vec<u8> {
        if self.all_databases {
            return b"alldbs".to_vec();
        }
        let mut text = Vec::new();
        for number in &self.databases {
            text.extend_from_slice(if text.is_empty() { b"db=" } else { b"," });
            text.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
        }
        text
    }

    /// All rules, as `ACL LIST` shows them. Parsing them gives a selector with the same decisions and the same text.
    pub fn describe(&self, dialect: Dialect) -> Vec<u8> {
        let mut text = self.keys_text();
        if !self.all_channels {
            join(&mut text, b"resetchannels", b"");
        }
        let channels = self.channels_text();
        if !channels.is_empty() {
            join(&mut text, &channels, b"");
        }
        if !self.all_databases {
            let databases = self.databases_text();
            join(&mut text, if databases.is_empty() { b"resetdbs" } else { &databases }, b"");
        }
        join(&mut text, &self.commands_text(dialect), b"");
        text
    }
}

fn join(text: &mut Vec<u8>, sign: &[u8], word: &[u8]) {
    if !text.is_empty() {
        text.push(b' ');
    }
    text.extend_from_slice(sign);
    text.extend_from_slice(word);
}
