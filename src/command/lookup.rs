//! From a request's first arguments to its [`Spec`].
//!
//! A [`CommandTable`] is the built-in table, or the built-in table fitted to one upstream: without the commands that
//! the upstream lacks, and widened by those that only it has (modules, newer versions). Looking up is
//! case-insensitive and does not allocate.

use std::borrow::Cow;

use super::category::{self, CategoryNames};
use super::databases;
use super::fence::Fence;
use super::members::Members;
use super::names::{MAX_NAME_BYTES, Names};
use super::spec::{Affinity, Categories, Channels, CommandId, Flags, Guard, KeySpec, Spec, flag};
use super::table::{ROWS, Row};
use crate::resp::Request;

/// What a request's name means.
#[derive(Clone, Copy, Debug)]
pub enum Resolution<'t> {
    /// A command or, where the command is a container, one of its subcommands.
    Known(&'t Spec),
    /// No such command.
    UnknownCommand,
    /// The container exists; its argument 1 is no subcommand of it.
    UnknownSubcommand(&'t Spec),
}

/// What an upstream's `COMMAND` says of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Full name in lower case.
    pub name: String,
    /// See [`Spec::arity`].
    pub arity: i16,
    /// See [`Spec::flags`].
    pub flags: Flags,
    /// The names of its categories (without `@`), implicit ones included; `None` where the upstream is too old to say
    /// (before 6.0).
    pub categories: Option<Vec<String>>,
    /// Its key specifications; `None` where they could not be understood or the upstream is too old to send them.
    pub keys: Option<Vec<KeySpec>>,
    /// Subcommands, where the upstream reports them (7.0 and later).
    pub subcommands: Vec<Reported>,
}

/// All commands that a policy knows, with dense numbers.
#[derive(Clone, Debug)]
pub struct CommandTable {
    specs: Vec<Spec>,
    names: Names,
    members: Members,
    categories: CategoryNames,
    /// Whether an upstream may still add commands and categories of modules.
    open: bool,
}

impl CommandTable {
    /// The commands that Redkeep knows by itself. It is open: rules may name commands and categories of modules, which
    /// only an upstream can tell ([`CommandTable::is_later_name`]).
    pub fn builtin() -> Self {
        let mut table = CommandTable { specs: Vec::with_capacity(ROWS.len()), open: true, ..Self::empty() };
        for row in ROWS {
            table.push_row(row);
        }
        for name in category::OF_MODULES {
            table.categories.add(name);
        }
        table
    }

    fn empty() -> Self {
        CommandTable {
            specs: Vec::new(),
            names: Names::default(),
            members: Members::default(),
            categories: CategoryNames::builtin(),
            open: false,
        }
    }

    /// This table fitted to an upstream: commands that `reported` lacks are left out, commands that only `reported`
    /// has are added. Commands that Redkeep answers itself stay in any case (HELLO in front of Redis 3.2), after the
    /// others. A fitted table is not open any more.
    ///
    /// SECURITY: for a command in both, the built-in row wins, since key specifications of an upstream may be too
    /// weak (or forged). Two things are the upstream's (for what is sent there): the arity, so that a wrong number of
    /// arguments is refused where it refuses it, and the categories, so that `+@read` allows what it allows on that very
    /// server. An upstream that lies about them only widens what it receives itself, with all the data in its hands;
    /// nothing that Redkeep guards for everyone depends on them ([`Spec::scripting`]).
    /// Categories are those of the subcommand from 7.0 on; 6.x knows only containers, and there each subcommand is in the
    /// categories of its container, as in that server's own ACL. Older ones report none, and the built-in ones count.
    ///
    /// Subcommands are left out only if the upstream reports subcommands at all (7.0 and later).
    /// An added command whose keys are not understood is [`Affinity::Unavailable`]. A command in a category for which no
    /// bit is left is left out: no rule could deny that category.
    pub fn fitted(&self, reported: &[Reported]) -> Self {
        let mut table = Self::empty();
        for theirs in reported.iter().filter(|theirs| !theirs.name.contains('|')) {
            match self.find(theirs.name.as_bytes()) {
                Some(ours) => table.push_both(self, ours, theirs),
                None => {
                    let Some(container) = table.push_reported(theirs, Affinity::Shared, None) else {
                        continue;
                    };
                    for sub in &theirs.subcommands {
                        table.push_reported(sub, Affinity::Shared, Some(container));
                    }
                }
            }
        }
        for ours in self.specs.iter().filter(|spec| spec.affinity == Affinity::Local) {
            table.push_local(self, ours);
        }
        table
    }

    /// The command or subcommand that a request names.
    #[inline]
    pub fn resolve(&self, request: Request<'_>) -> Resolution<'_> {
        let Some(spec) = self.find(request.name()) else { return Resolution::UnknownCommand };
        if spec.parent.is_some() {
            // `config|get` is a name of ours, not one that a client may send.
            return Resolution::UnknownCommand;
        }
        let (true, Some(word)) = (spec.is_container(), request.arg(1)) else {
            return Resolution::Known(spec);
        };
        match self.find_subcommand(spec, word) {
            Some(sub) => Resolution::Known(sub),
            None => Resolution::UnknownSubcommand(spec),
        }
    }

    /// The subcommand `word` of `container`, in any case.
    pub fn find_subcommand(&self, container: &Spec, word: &[u8]) -> Option<&Spec> {
        self.names.find(&[container.name.as_bytes(), b"|", word], &self.specs)
    }

    /// The command of this full name (`get`, `config|get`), in any case.
    pub fn find(&self, name: &[u8]) -> Option<&Spec> {
        self.names.find(&[name], &self.specs)
    }

    /// The command of this number.
    pub fn spec(&self, id: CommandId) -> Option<&Spec> {
        self.specs.get(id.index())
    }

    /// All commands and subcommands, by number.
    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// The categories with their names, in the order of `ACL CAT`; those of modules last.
    pub fn categories(&self) -> &CategoryNames {
        &self.categories
    }

    /// The category of this name (without `@`), in any case.
    pub fn category(&self, name: &[u8]) -> Option<Categories> {
        self.categories.find(name)
    }

    /// Whether a module of an upstream may turn out to have a command of this full name, which has a dot in it
    /// (`graph.query`, `mod.cmd|sub`). Never in a fitted table.
    pub fn is_later_name(&self, name: &[u8]) -> bool {
        let (command, sub) = match name.iter().position(|byte| *byte == b'|') {
            Some(bar) => (name.get(..bar).unwrap_or_default(), name.get(bar.saturating_add(1)..)),
            None => (name, None),
        };
        let is_word = |word: &[u8]| {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            !word.is_empty() && word.iter().all(plain)
        };
        self.open
            && name.len() <= MAX_NAME_BYTES
            && is_word(command)
            && command.split(|byte| *byte == b'.').filter(|part| !part.is_empty()).count() > 1
            && sub.is_none_or(is_word)
    }

    /// The commands that a rule about any of these categories means, subcommands of such a container included: for each
    /// category a bitmap, in which bit `n % 64` of word `n / 64` is command `n`.
    pub fn members(&self, categories: Categories) -> impl Iterator<Item = &[u64]> {
        self.members.of(categories)
    }

    fn push_row(&mut self, row: &Row) {
        let parent = row
            .name
            .split_once('|')
            .and_then(|(container, _)| self.find(container.as_bytes()).map(|spec| spec.id));
        self.push(Spec {
            id: CommandId(0),
            name: Cow::Borrowed(row.name),
            arity: row.arity,
            flags: row.flags,
            categories: row.categories,
            scripting: row.categories.intersects(category::SCRIPTING),
            databases: databases::of(
                row.name,
                row.flags,
                row.categories,
                !row.keys.is_empty() || row.movable.is_some(),
            ),
            keys: Cow::Borrowed(row.keys),
            movable: row.movable,
            channels: row.channels,
            affinity: row.affinity,
            guard: Guard::None,
            fence: Fence::Closed,
            parent,
            subcommands: Vec::new(),
        });
    }

    /// Adds a command that both `builtin` and the upstream know.
    fn push_both(&mut self, builtin: &CommandTable, ours: &Spec, theirs: &Reported) {
        let arity = if ours.affinity == Affinity::Local { ours.arity } else { theirs.arity };
        let Some(spec) = self.as_reported(ours, theirs) else { return };
        let Some(container) = self.push(Spec { arity, subcommands: Vec::new(), ..spec }) else { return };
        for sub in ours.subcommands.iter().filter_map(|id| builtin.spec(*id)) {
            let reported = theirs.subcommands.iter().find(|reported| reported.name == sub.name);
            if reported.is_some() || theirs.subcommands.is_empty() {
                let arity = reported.filter(|_| sub.affinity != Affinity::Local);
                let arity = arity.map_or(sub.arity, |reported| reported.arity);
                // A server without subcommands judges all of them by their container.
                let Some(spec) = self.as_reported(sub, reported.unwrap_or(theirs)) else { continue };
                self.push(Spec { arity, parent: Some(container), ..spec });
            }
        }
        if !ours.is_container() {
            // Our row knows the keys of all its arguments; subcommands of a newer server must not replace it.
            return;
        }
        for sub in theirs.subcommands.iter().filter(|sub| builtin.find(sub.name.as_bytes()).is_none()) {
            // A new CLIENT or ACL subcommand is about the upstream's clients and users, like its siblings.
            self.push_reported(sub, ours.affinity, Some(container));
        }
    }

    /// Our row with the categories that the upstream reports, if it reports any. `None` when there is no room for them.
    fn as_reported(&mut self, ours: &Spec, theirs: &Reported) -> Option<Spec> {
        let Some(names) = &theirs.categories else { return Some(ours.clone()) };
        let categories = self.category_set(names)?;
        let scripting = ours.scripting || categories.intersects(category::SCRIPTING);
        Some(Spec { categories, scripting, ..ours.clone() })
    }

    /// The set of these categories; new ones get a bit. `None` when there is none left.
    fn category_set(&mut self, names: &[String]) -> Option<Categories> {
        names.iter().try_fold(Categories::default(), |set, name| {
            Some(Categories(set.0 | self.categories.add(name)?.0))
        })
    }

    /// Adds a command that Redkeep answers itself, unless it is there; before it its container.
    fn push_local(&mut self, builtin: &CommandTable, ours: &Spec) {
        let parent = ours.parent.and_then(|id| builtin.spec(id)).and_then(|container| {
            let known = self.find(container.name.as_bytes()).map(|spec| spec.id);
            known.or_else(|| self.push(Spec { subcommands: Vec::new(), ..container.clone() }))
        });
        if parent.is_some() == ours.parent.is_some() {
            self.push(Spec { parent, subcommands: Vec::new(), ..ours.clone() });
        }
    }

    /// Adds a command that only the upstream knows; `affinity` unless its flags ask for more.
    fn push_reported(
        &mut self,
        reported: &Reported,
        affinity: Affinity,
        parent: Option<CommandId>,
    ) -> Option<CommandId> {
        let container = parent.and_then(|id| self.spec(id)).map(|container| &*container.name);
        let own = match container {
            Some(container) => reported.name.strip_prefix(container)?.strip_prefix('|')?,
            None => &reported.name,
        };
        if own.is_empty() || own.contains('|') {
            return None;
        }
        let affinity = if reported.keys.is_none() || reported.flags.contains(flag::PUBSUB) {
            // Whose channels are not known here, or whose pushes nobody expects.
            Affinity::Unavailable
        } else if affinity == Affinity::Shared && reported.flags.contains(flag::BLOCKING) {
            Affinity::LeasedForCommand
        } else {
            affinity
        };
        let categories = match &reported.categories {
            Some(names) => self.category_set(names)?,
            None => category::implied(reported.flags, Categories::default()),
        };
        let name = reported.name.to_ascii_lowercase();
        // Keys that cannot be told may be any.
        let has_keys = reported.keys.as_ref().is_none_or(|keys| !keys.is_empty());
        self.push(Spec {
            id: CommandId(0),
            databases: databases::of(&name, reported.flags, categories, has_keys),
            name: Cow::Owned(name),
            arity: reported.arity,
            // SECURITY: no_auth would let a client run it before it has logged in, past every rule.
            flags: Flags(reported.flags.0 & !flag::NO_AUTH),
            categories,
            scripting: categories.intersects(category::SCRIPTING),
            keys: Cow::Owned(reported.keys.clone().unwrap_or_default()),
            movable: None,
            channels: Channels::None,
            affinity,
            guard: Guard::None,
            fence: Fence::Closed,
            parent,
            subcommands: Vec::new(),
        })
    }

    /// Adds a row under the next number. `None` (and no row) when the name is taken or the table is full.
    fn push(&mut self, mut spec: Spec) -> Option<CommandId> {
        let id = CommandId(u16::try_from(self.specs.len()).ok()?);
        spec.id = id;
        spec.guard = Guard::of(&spec.name);
        spec.fence = Fence::of(&spec);
        self.names.insert(&spec, &self.specs)?;
        let container = spec.parent.and_then(|parent| self.specs.get_mut(parent.index()));
        self.members.add(&spec, container.as_deref());
        if let Some(container) = container {
            container.subcommands.push(id);
        }
        self.specs.push(spec);
        Some(id)
    }
}

#[cfg(test)]
mod tests;
