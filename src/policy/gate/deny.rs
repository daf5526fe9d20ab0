//! `commands.deny`: commands, subcommands and categories that do not exist for anybody, and where that is looked up.
//!
//! A denied command is answered as one that `rename-command` has disabled: `unknown command`, or `unknown subcommand`
//! where only the subcommand is denied. Names are looked up in the table of the upstream, so a category takes away what
//! it has on that very server, commands of modules included.

use super::Gates;
use crate::command::{Categories, CommandId, CommandTable, Spec};

/// One entry of `commands.deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    /// As it was written.
    text: Box<str>,
    /// A name in lower case, without the `@` of a category.
    name: Box<[u8]>,
    is_category: bool,
}

impl Denial {
    /// Reads `name`, `container|name` or `@category`.
    pub(super) fn parse(text: &str, table: &CommandTable) -> Result<Denial, String> {
        let lower = text.to_ascii_lowercase();
        let (name, is_category) = match lower.strip_prefix('@') {
            Some(category) => (category, true),
            None => (lower.as_str(), false),
        };
        let known = match is_category {
            true => table.category(name.as_bytes()).is_some(),
            false => table.find(name.as_bytes()).is_some() || table.is_later_name(name.as_bytes()),
        };
        if !known {
            let what = if is_category { "category" } else { "command" };
            return Err(format!("no such {what} `{text}`"));
        }
        Ok(Denial { text: text.into(), name: name.as_bytes().into(), is_category })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it takes this command away, or the container of this subcommand.
    pub(super) fn is_of(&self, spec: &Spec, table: &CommandTable) -> bool {
        let container = spec.parent.and_then(|parent| table.spec(parent));
        let specs = || [Some(spec), container].into_iter().flatten();
        match self.category(table) {
            Some(category) => specs().any(|spec| spec.categories.intersects(category.0)),
            None => !self.is_category && specs().any(|spec| *self.name == *spec.name.as_bytes()),
        }
    }

    /// `None` as well for a category that this table does not have: then nothing is in it.
    fn category(&self, table: &CommandTable) -> Option<Categories> {
        self.is_category.then(|| table.category(&self.name)).flatten()
    }
}

const DENIED: u8 = 1;
const BOUNDED: u8 = 2;

/// What the gates have to say of each command of a table, by its number. Empty where they say nothing at all.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct Marks(Box<[u8]>);

impl Marks {
    /// Looks up what `gates` name in `table`.
    pub(in crate::policy) fn new(gates: &Gates, table: &CommandTable) -> Marks {
        if gates.denied.is_empty() && gates.bounds == super::Bounds::default() {
            return Marks::default();
        }
        let mark = |spec: &Spec| {
            let denied = gates.denied.iter().any(|denial| denial.is_of(spec, table));
            let bounded = gates.bounds.are_about(spec);
            (if denied { DENIED } else { 0 }) | (if bounded { BOUNDED } else { 0 })
        };
        Marks(table.specs().iter().map(mark).collect())
    }

    /// Whether the command does not exist for anybody.
    #[inline]
    pub(in crate::policy) fn is_denied(&self, id: CommandId) -> bool {
        self.of(id) & DENIED != 0
    }

    /// Whether some of its arguments are bounded.
    #[inline]
    pub(in crate::policy) fn is_bounded(&self, id: CommandId) -> bool {
        self.of(id) & BOUNDED != 0
    }

    #[inline]
    fn of(&self, id: CommandId) -> u8 {
        self.0.get(id.index()).copied().unwrap_or(0)
    }
}
