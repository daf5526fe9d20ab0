//! Gates: rules that hold for everyone, before or after the ACL, whatever a user may do.
//!
//! `commands.rename` mirrors Redis' `rename-command`: clients use the alias, the original name does not exist for
//! them, ACL rules keep naming the original, and an empty alias disables the command. `commands.deny` takes commands,
//! subcommands and categories away in the same manner (`deny.rs`). The guards of DEBUG, MODULE, `dir` and `dbfilename`
//! mirror `enable-debug-command`, `enable-module-command` and `enable-protected-configs` of Redis 7.0, with their
//! default no, also for upstreams that are too old to have them or switched them off. `commands.bounds` keeps arguments
//! small that have brought servers down (`bounds.rs`).

mod bounds;
mod deny;

pub use bounds::{Bounds, Exceeded};
pub(super) use deny::Marks;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Reason, Scripts};
use crate::command::keys::is_word;
use crate::command::{Affinity, CommandTable, Guard, Spec};
use crate::resp::{Request, c_string};
use deny::Denial;

/// Parameters of Redis whose values are credentials of the upstream, or of its links to others. Nobody sees or sets them
/// through Redkeep; `requirepass`, which is another one's here, is the session's to answer.
pub const CREDENTIALS: &[&str] = &[
    "masterauth",
    "masteruser",
    "primaryauth",
    "primaryuser",
    "tls-client-key-file-pass",
    "tls-key-file-pass",
];

/// Parameters that turn `CONFIG SET` plus `SAVE` into writing a file anywhere (`enable-protected-configs`).
const PROTECTED_PARAMETERS: &[&str] = &["dbfilename", "dir"];

/// One `commands.rename` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The original name, any case.
    pub command: String,
    /// The name for clients; empty disables the command.
    pub alias: String,
}

/// Who may use what Redis guards by its configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enabled {
    /// Nobody.
    #[default]
    No,
    /// Clients on this machine: by a Unix socket, or from a loopback address.
    Local,
    /// Whoever the ACL allows it to.
    Yes,
}

impl Enabled {
    /// Whether a client may; `local`: it is one of this machine.
    pub fn is_for(self, local: bool) -> bool {
        match self {
            Enabled::No => false,
            Enabled::Local => local,
            Enabled::Yes => true,
        }
    }
}

/// `enable_debug_command`, `enable_module_command` and `enable_protected_configs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// DEBUG.
    pub debug: Enabled,
    /// MODULE LOAD, LOADEX, UNLOAD.
    pub module: Enabled,
    /// CONFIG SET of `dir`, `dbfilename` and those of `commands.protected_configs`.
    pub protected_configs: Enabled,
}

/// All gates of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// Aliases in lower case, each with its original in lower case. Few, and most names differ in length.
    originals: Vec<(Box<[u8]>, Box<str>)>,
    /// Lower-case originals that clients no longer see.
    hidden: Vec<Box<[u8]>>,
    /// What `commands.deny` names.
    denied: Vec<Denial>,
    switches: Switches,
    /// Parameters that are protected beside Redis' own.
    protected: Vec<Box<[u8]>>,
    bounds: Bounds,
    /// What scripts of restricted users may do.
    scripts: Arc<Scripts>,
}

/// What a command's name means after renaming.
pub(super) enum Named<'a> {
    /// The name is not touched by any rule.
    AsSent,
    /// The name is an alias of this original.
    AliasOf(&'a str),
    /// The name is an original that was renamed away.
    Hidden,
}

impl Gates {
    /// Checks and compiles the rename rules; every error is reported with the index of its rule.
    ///
    /// # Errors
    /// A command that does not exist, a subcommand (Redis renames whole commands only), one that is renamed twice,
    /// or an alias that is the name of another command or alias, or that the guard against HTTP takes.
    pub fn new(renames: &[Rename], table: &CommandTable) -> Result<Gates, Vec<(usize, String)>> {
        let mut gates = Gates::default();
        let mut errors = Vec::new();
        for (index, Rename { command, alias }) in renames.iter().enumerate() {
            let original = command.to_ascii_lowercase();
            if original.contains('|') {
                errors.push((
                    index,
                    format!("`{command}` is a subcommand; only whole commands can be renamed"),
                ));
                continue;
            }
            if table.find(original.as_bytes()).is_none() {
                errors.push((
                    index,
                    format!("no such command `{command}`; write the original name of a Redis command"),
                ));
                continue;
            }
            if gates.hidden.iter().any(|known| **known == *original.as_bytes()) {
                errors.push((index, format!("`{command}` is renamed twice; keep one of the entries")));
                continue;
            }
            gates.hidden.push(original.as_bytes().into());
            let alias = alias.to_ascii_lowercase();
            if gates.originals.iter().any(|(known, _)| **known == *alias.as_bytes()) {
                errors.push((index, format!("alias `{alias}` is used twice; choose another")));
            } else if !alias.is_empty() {
                gates.originals.push((alias.as_bytes().into(), original.into()));
            }
        }
        for (index, Rename { alias, .. }) in renames.iter().enumerate() {
            let alias = alias.to_ascii_lowercase();
            let taken = table.find(alias.as_bytes()).is_some()
                && !gates.hidden.iter().any(|hidden| **hidden == *alias.as_bytes());
            if taken || alias.contains('|') {
                errors.push((index, format!("alias `{alias}` is the name of a command; choose another")));
            } else if is_http(alias.as_bytes()) {
                let text =
                    format!("alias `{alias}` begins an HTTP request, which is never served; choose another");
                errors.push((index, text));
            }
        }
        if errors.is_empty() { Ok(gates) } else { Err(errors) }
    }

    /// These gates with `commands.deny`: commands, subcommands (`config|set`) and categories (`@dangerous`), in any case.
    ///
    /// # Errors
    /// Names that neither the table nor, by their form, a module can have; each with its index.
    pub fn with_denied(
        mut self,
        names: &[String],
        table: &CommandTable,
    ) -> Result<Gates, Vec<(usize, String)>> {
        let parsed = names.iter().map(|name| Denial::parse(name, table));
        let (mut denied, mut errors) = (Vec::new(), Vec::new());
        for (index, parsed) in parsed.enumerate() {
            match parsed {
                Ok(denial) => denied.push(denial),
                Err(text) => errors.push((index, text)),
            }
        }
        self.denied = denied;
        if errors.is_empty() { Ok(self) } else { Err(errors) }
    }

    /// These gates with the guards of DEBUG, MODULE and CONFIG SET set so.
    #[must_use]
    pub fn with_switches(self, switches: Switches) -> Gates {
        Gates { switches, ..self }
    }

    /// These gates with more parameters that CONFIG SET guards as `dir` and `dbfilename`.
    #[must_use]
    pub fn with_protected_configs<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Gates {
        Gates { protected: names.into_iter().map(|name| name.as_bytes().into()).collect(), ..self }
    }

    /// These gates with `commands.bounds`.
    #[must_use]
    pub fn with_bounds(self, bounds: Bounds) -> Gates {
        Gates { bounds, ..self }
    }

    /// Who may use DEBUG, MODULE and protected parameters.
    pub fn switches(&self) -> Switches {
        self.switches
    }

    /// The entry of `commands.deny` that takes a command away, as it was written.
    pub fn denial_of(&self, spec: &Spec, table: &CommandTable) -> Option<&str> {
        self.denied.iter().find(|denial| denial.is_of(spec, table)).map(|denial| denial.text())
    }

    #[inline]
    pub(super) fn name(&self, name: &[u8]) -> Named<'_> {
        if self.hidden.is_empty() {
            return Named::AsSent;
        }
        if let Some((_, original)) = self.originals.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name))
        {
            return Named::AliasOf(original);
        }
        let hidden = self.hidden.iter().any(|hidden| hidden.eq_ignore_ascii_case(name));
        if hidden { Named::Hidden } else { Named::AsSent }
    }

    /// The commands that were renamed, in lower case, with what clients call them; nothing if they are disabled. For a
    /// comparison; the new names are not to be shown.
    pub fn renamed(&self) -> BTreeMap<String, Vec<u8>> {
        let alias = |name: &[u8]| self.alias_of(name).unwrap_or_default().to_vec();
        self.hidden.iter().map(|name| (String::from_utf8_lossy(name).into_owned(), alias(name))).collect()
    }

    /// Whether all but renamed commands and scripts is the same: denied commands, what is enabled, protected
    /// parameters, bounds.
    pub fn is_same_but_names_and_scripts(&self, other: &Gates) -> bool {
        let (originals, hidden, scripts) =
            (self.originals.clone(), self.hidden.clone(), self.scripts.clone());
        *self == Gates { originals, hidden, scripts, ..other.clone() }
    }

    /// The same gates with other rules for scripts.
    #[must_use]
    pub fn with_scripts(self, scripts: Scripts) -> Gates {
        Gates { scripts: Arc::new(scripts), ..self }
    }

    /// The rules for scripts of restricted users.
    pub fn scripts(&self) -> &Scripts {
        &self.scripts
    }

    /// The original names that clients no longer see.
    pub(super) fn hidden(&self) -> impl Iterator<Item = &[u8]> {
        self.hidden.iter().map(|name| &**name)
    }

    /// What clients call the renamed command `original`, in any case; `None` if it is disabled.
    pub(super) fn alias_of(&self, original: &[u8]) -> Option<&[u8]> {
        let known = self.originals.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(original));
        known.map(|(alias, _)| &**alias)
    }
}

/// Whether the request is the first line of an HTTP request: somebody's browser was made to talk to us.
#[inline]
pub(super) fn is_cross_protocol(request: Request<'_>) -> bool {
    is_http(request.name())
}

#[inline]
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

impl Gates {
    /// The guards that Redis applies before it asks for a login.
    #[inline]
    pub(super) fn protected_command(&self, spec: &Spec, local: bool) -> Option<Reason<'static>> {
        let (enabled, name) = match spec.guard {
            Guard::ModuleLoad => (self.switches.module, "MODULE"),
            Guard::Debug => (self.switches.debug, "DEBUG"),
            _ => return None,
        };
        (!enabled.is_for(local)).then_some(Reason::ProtectedCommand(name))
    }

    /// The guards that apply to a command that the ACL has allowed.
    #[inline]
    pub(super) fn after_acl<'a>(
        &self,
        spec: &'a Spec,
        request: Request<'_>,
        all_powerful: bool,
        local: bool,
    ) -> Option<Reason<'a>> {
        match spec.guard {
            Guard::ClientTracking if !all_powerful && broadcasts(request) => return Some(Reason::Broadcast),
            Guard::ConfigSet => {
                let protects = !self.switches.protected_configs.is_for(local);
                for (place, parameter) in request.args(2).step_by(2).enumerate() {
                    if is_credential(parameter) {
                        return Some(Reason::CredentialConfig);
                    }
                    if protects && self.is_protected(parameter) {
                        return Some(Reason::ProtectedConfig(place.saturating_mul(2).saturating_add(2)));
                    }
                }
            }
            _ => {}
        }
        (spec.affinity == Affinity::Unavailable).then_some(Reason::Unavailable(spec))
    }

    /// What `commands.bounds` says of a command that is marked as bounded.
    #[inline]
    pub(super) fn exceeded(&self, spec: &Spec, request: Request<'_>) -> Option<Exceeded> {
        self.bounds.exceeded(spec, request)
    }

    fn is_protected(&self, parameter: &[u8]) -> bool {
        let own = |name: &[u8]| name.eq_ignore_ascii_case(c_string(parameter));
        PROTECTED_PARAMETERS.iter().any(|name| own(name.as_bytes()))
            || self.protected.iter().any(|name| own(name))
    }
}

/// Whether CLIENT TRACKING may ask for BCAST. In doubt (a prefix of that name) it does.
pub fn broadcasts(request: Request<'_>) -> bool {
    request.args(3).any(|arg| is_word(arg, "bcast"))
}

/// Whether a parameter of this name, in any case, holds a credential of the upstream.
pub fn is_credential(parameter: &[u8]) -> bool {
    CREDENTIALS.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(c_string(parameter)))
}

#[cfg(test)]
mod tests;
