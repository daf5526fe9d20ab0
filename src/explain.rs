//! `redkeep explain`: what would the proxy say to this command of this user, and why? Without a connection.
//!
//! Reads the configuration as `check` and `run` do, and asks `Policy::explain`. It decides nothing and writes down what
//! it is told, as plain text for people; scripts have the exit code.
//!
//! SECURITY: names, keys and patterns may hold anything, and a terminal obeys some of it, so all text that is not ours
//! goes through [`shown`] or [`quoted`]. Passwords and hashes are never asked for.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use crate::acl::explain::{Finding, Said, Used, is_printable};
use crate::acl::{SortOption, User};
use crate::command::{Access, Affinity, Fence, Spec, View};
use crate::config::{Plan, nearest_name};
use crate::policy::{Enabled, Exceeded, Explanation, Naming, Policy, Reason, ScriptDenial, Version};
use crate::resp::{Request, RequestBuf};

/// As for all faults of usage and configuration.
const EXIT_USAGE: u8 = 2;
/// Width of the columns of labels; longer ones push their line.
const LABEL: usize = 12;
/// Longest lists of users and of patterns that are shown.
const MAX_LISTED: usize = 10;

/// What the command line asks.
pub struct Question<'a> {
    /// The configuration file.
    pub config: &'a Path,
    /// The user's name.
    pub user: &'a OsStr,
    /// The session's database.
    pub database: u32,
    /// Whose wording is asked for; the newest without it.
    pub version: Option<Version>,
    /// The command and its arguments, at least one.
    pub command: &'a [&'a OsStr],
}

/// Exit code 0 if the command is allowed, 1 if it is denied, 2 if the configuration or the question is wrong.
pub fn main(question: &Question<'_>) -> ExitCode {
    let plan = match Plan::load(question.config) {
        Ok(plan) => plan,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let policy = plan.users.compile(None);
    let policy = match question.version {
        Some(version) => policy.before(version),
        None => policy,
    };
    let Some(user) = policy.user(question.user.as_bytes()) else {
        eprintln!("redkeep: {}", no_such_user(question, &policy));
        return ExitCode::from(EXIT_USAGE);
    };
    let args: Vec<&[u8]> = question.command.iter().map(|arg| arg.as_bytes()).collect();
    let request = RequestBuf::from_args(&args);
    let mut scratch = Default::default();
    let explanation = policy.explain(user, question.database, request.as_request(), &mut scratch);
    let page = Page { policy: &policy, user, request: request.as_request(), explanation: &explanation };
    // Whoever closed the pipe has read enough; the exit code tells the verdict in any case.
    let _ = std::io::stdout().write_all(page.to_string().as_bytes());
    if explanation.denied.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn no_such_user(question: &Question<'_>, policy: &Policy) -> String {
    let names: Vec<String> = policy.user_names().into_iter().map(shown).collect();
    let wanted = shown(question.user.as_bytes());
    let mut text = format!("no user `{wanted}` in {}", question.config.display());
    if let Some(nearest) = nearest_name(&wanted, names.iter().map(String::as_str)) {
        let _ = write!(text, "; write `{nearest}`");
    }
    if names.len() <= MAX_LISTED {
        let _ = write!(text, "; users are `{}`", names.join("`, `"));
    }
    text
}

// === the page ===

struct Page<'a> {
    policy: &'a Policy,
    user: &'a User,
    request: Request<'a>,
    explanation: &'a Explanation<'a>,
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdict(out)?;
        writeln!(out)?;
        self.command(out)?;
        self.session(out)?;
        for (number, finding) in self.explanation.findings.iter().enumerate() {
            writeln!(out)?;
            match number {
                0 => write!(out, "root: ")?,
                _ => write!(out, "selector {number}: ")?,
            }
            self.finding(out, finding)?;
        }
        writeln!(out)?;
        self.advice(out)
    }
}

impl Page<'_> {
    fn verdict(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(reason) = self.explanation.denied else { return writeln!(out, "allow") };
        let mut reply = reason.reply(self.policy.version(), self.user.name(), self.request);
        if reply.is_empty() {
            return writeln!(out, "deny: the connection is closed without a reply");
        }
        for byte in reply.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')) {
            *byte = b' ';
        }
        writeln!(out, "deny: (error) {}", shown(&reply))
    }

    /// What the command is, and what it uses.
    fn command(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match (self.explanation.spec, self.explanation.naming) {
            (Some(spec), Naming::AliasOf(_)) => {
                format!("{}, which clients call {}", spec.name, quoted(self.request.name()))
            }
            (Some(spec), _) if spec.affinity == Affinity::Local => {
                format!("{}, answered by redkeep itself", spec.name)
            }
            (Some(spec), _) => spec.name.clone().into_owned(),
            (None, _) => shown(&self.request.name().to_ascii_lowercase()),
        };
        row(out, "command", name)?;
        let Some(spec) = self.explanation.spec else { return Ok(()) };
        row(out, "categories", categories(self.policy, spec))?;
        let demand = &self.explanation.demand;
        let restricted = self.is_restricted_to_databases();
        for used in &demand.uses {
            match used {
                Used::AllDatabases { .. } | Used::Database { .. } if !restricted => {}
                Used::AllDatabases { .. } => row(out, "database", "all of them")?,
                Used::Database { index, number } => {
                    let whose =
                        if *index == 0 { "the session's".to_owned() } else { format!("argument {index}") };
                    row(out, "database", format_args!("{number} ({whose})"))?;
                }
                Used::AllKeysReadable { option } => {
                    row(out, "all keys", format_args!("read, since {} leads to any key", word(*option)))?;
                }
                Used::Channel { index, channel, literal } => {
                    let how = if *literal { ", a pattern, which a rule must equal" } else { "" };
                    row(out, "channel", format_args!("{} (argument {index}){how}", quoted(channel)))?;
                }
                Used::Key { index, key, access } => {
                    row(
                        out,
                        "key",
                        format_args!("{} (argument {index}): {}", quoted(key), purpose(*access)),
                    )?;
                }
            }
        }
        if demand.unclear {
            row(out, "keys", "cannot be told from these arguments, so all keys are needed")?;
        }
        Ok(())
    }

    /// Whether databases play a role: most users may use all of them, and then they are not mentioned.
    fn is_restricted_to_databases(&self) -> bool {
        self.explanation.findings.iter().any(|finding| finding.database_rule != b"alldbs")
    }

    /// Who asks, and the gate that decided.
    fn session(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(out, "user", shown(self.user.name()))?;
        let stays_out = if !self.user.is_enabled() {
            Some("the user is off")
        } else if !self.user.is_nopass() && self.user.passwords().is_empty() {
            Some("the user has no password")
        } else {
            None
        };
        if let Some(why) = stays_out {
            row(
                out,
                "note",
                format_args!("{why}, so nobody can log in as it; this is about a session that is"),
            )?;
        }
        let text = match (self.explanation.gate, self.explanation.denied) {
            (Some(gate), _) => self.gate(gate),
            (None, Some(reason @ (Reason::Broadcast | Reason::Script(_)))) => self.gate(reason),
            (None, Some(reason @ (Reason::Fenced(_) | Reason::FencedChannel(_)))) => self.gate(reason),
            (None, None) => return self.fence(out),
            _ => None,
        };
        match text {
            Some(text) => row(out, "gate", text),
            None => Ok(()),
        }
    }

    /// What the user's key fence leaves of what is allowed.
    fn fence(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(spec) = self.explanation.spec.filter(|_| self.policy.fences(self.user)) else {
            return Ok(());
        };
        let text = match spec.fence {
            Fence::Filtered(View::Info) => "the reply comes without what counts keys",
            Fence::Filtered(_) => "the reply tells of keys that the user's patterns match, not of others",
            Fence::Listens => "messages that tell of keys outside the user's patterns do not come",
            Fence::Closed | Fence::Open => return Ok(()),
        };
        row(out, "fence", text)
    }

    /// Why a gate is shut, and what could open it. `None` for what is no gate.
    fn gate(&self, reason: Reason<'_>) -> Option<String> {
        Some(match reason {
            Reason::Arity(spec) => {
                let least = if spec.arity < 0 { "at least " } else { "" };
                format!("`{}` takes {least}{} words, its name included", spec.name, spec.arity.unsigned_abs())
            }
            Reason::Bound(Exceeded { setting, limit, index }) => format!(
                "`commands.bounds` in the configuration allows {limit} at most for argument {index} (`{setting}`)"
            ),
            Reason::Broadcast => {
                "BCAST tells the names of all keys that change, so only users with +@all ~* &* may use it, and those \
                 with a key fence (`fence: yes`), to whom it tells of their own keys only"
                    .to_owned()
            }
            Reason::CredentialConfig => {
                "the upstream's credentials are for nobody; name other parameters, without a pattern".to_owned()
            }
            Reason::CrossProtocol => "POST and Host: begin HTTP requests, which are never served".to_owned(),
            Reason::ProtectedCommand(name) => {
                let switches = self.policy.gates().switches();
                let (key, enabled) = match name {
                    "DEBUG" => ("enable_debug_command", switches.debug),
                    _ => ("enable_module_command", switches.module),
                };
                format!("{name} is refused to {}", refused_by(key, enabled))
            }
            Reason::ProtectedConfig(index) => format!(
                "CONFIG SET of {} is refused to {}",
                quoted(self.request.arg(index).unwrap_or_default()),
                refused_by("enable_protected_configs", self.policy.gates().switches().protected_configs)
            ),
            Reason::Fenced(_) => {
                "the user's key fence (`fence` in `acl` or `users`) denies what is not bound to the user's key \
                 patterns; it lets users with ~* pass"
                    .to_owned()
            }
            Reason::FencedChannel(index) => format!(
                "argument {index} is a channel that tells of a key outside the user's patterns, and the user has a key \
                 fence (`fence` in `acl` or `users`)"
            ),
            Reason::Script(ScriptDenial::WritesFunctions) => {
                "what is loaded runs later as whoever calls it; `scripts.function_writers` in the configuration names \
                 those who may load it all the same"
                    .to_owned()
            }
            Reason::Script(ScriptDenial::Untrusted) => {
                "`scripts.mode` is `trusted`, and the script or function is not listed".to_owned()
            }
            Reason::Script(ScriptDenial::NoMirror) => {
                "the upstream is older than 6.0 and has no users, as one of whom the script could run".to_owned()
            }
            Reason::Script(ScriptDenial::Fenced) => {
                "what a script tells cannot be filtered, and the user has a key fence (`fence` in `acl` or `users`)"
                    .to_owned()
            }
            Reason::Script(ScriptDenial::Denied) => {
                "what a script calls cannot be judged, so only users with +@all ~* &* run scripts while `scripts.mode` \
                 is `deny`"
                    .to_owned()
            }
            Reason::Unavailable(spec) => {
                format!("`{}` is refused to everyone: links to the upstream are shared", spec.name)
            }
            Reason::Syntax(spec, _) => {
                format!("these are no arguments of `{}`: the upstream would refuse them with this error", spec.name)
            }
            Reason::UnknownCommand => match self.explanation.naming {
                Naming::Disabled => "`commands.rename` in the configuration disables the command".to_owned(),
                Naming::RenamedTo(alias) => {
                    format!("`commands.rename` in the configuration renames the command to {}", quoted(alias))
                }
                Naming::Denied(entry) => denied_by(entry),
                Naming::AliasOf(_) | Naming::AsSent => {
                    "redkeep does not know the command; a module or a newer version of the upstream, which was not \
                     asked here, may have it"
                        .to_owned()
                }
            },
            Reason::UnknownSubcommand(container) => match self.explanation.naming {
                Naming::Denied(entry) => denied_by(entry),
                _ => format!(
                "redkeep does not know that subcommand of `{}`; a newer version of the upstream, which was not asked \
                 here, may have it",
                container.name
            ),
            },
            Reason::Channel(_) | Reason::Command(_) | Reason::Database(_) | Reason::Key(_) => return None,
            Reason::SortPattern(_) | Reason::Unauthenticated(_) => return None,
        })
    }

    /// What one set of permissions says.
    fn finding(&self, out: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
        writeln!(out, "{}", if finding.denial.is_none() { "allows" } else { "denies" })?;
        let demand = &self.explanation.demand;
        let label = |used: &Used| match used {
            Used::AllDatabases { .. } => "all databases".to_owned(),
            Used::Database { number, .. } => format!("database {number}"),
            Used::AllKeysReadable { .. } => "all keys".to_owned(),
            Used::Channel { channel, .. } => format!("channel {}", quoted(channel)),
            Used::Key { key, .. } => format!("key {}", quoted(key)),
        };
        let mut lines = vec![("command".to_owned(), command_text(finding))];
        let restricted = self.is_restricted_to_databases();
        let mentioned =
            |used: &Used| restricted || !matches!(used, Used::AllDatabases { .. } | Used::Database { .. });
        for (used, said) in demand.uses.iter().zip(&finding.uses).filter(|(used, _)| mentioned(used)) {
            lines.push((label(used), use_text(used, said, finding)));
        }
        if demand.unclear {
            let all = finding.key_rules.iter().any(|rule| rule == b"~*");
            lines.push((
                "keys".to_owned(),
                if all { "allowed by ~*" } else { "denied, for want of ~*" }.to_owned(),
            ));
        }
        let width = lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0).min(4 * LABEL);
        for (label, text) in lines {
            writeln!(out, "  {label:width$}  {text}")?;
        }
        Ok(())
    }

    /// What would turn the verdict.
    fn advice(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = shown(self.user.name());
        let verb = if self.explanation.denied.is_none() { "deny" } else { "allow" };
        let suggestions = &self.explanation.suggestions;
        if suggestions.is_empty() {
            return writeln!(out, "no rule of a user can {verb} it");
        }
        for (number, suggestion) in suggestions.iter().enumerate() {
            match (number, suggestion.own_selector) {
                (0, _) => writeln!(out, "to {verb} it, add to the rules of {name}:")?,
                (_, true) => writeln!(out, "or, to allow as little else as possible:")?,
                (_, false) => writeln!(out, "or:")?,
            }
            let rules: Vec<String> = suggestion.rules.iter().map(|rule| shown(rule)).collect();
            writeln!(out, "  {}", rules.join(" "))?;
            let anew = |rule: &Vec<u8>| rule.starts_with(b"(");
            if self.explanation.denied.is_none() && suggestion.rules.iter().any(anew) {
                writeln!(out, "(a selector cannot be changed, so all of them are written anew)")?;
            }
        }
        Ok(())
    }
}

fn row(out: &mut fmt::Formatter<'_>, label: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(out, "{label:LABEL$}{value}")
}

// === words ===

/// To whom something is refused, and which setting says so.
fn refused_by(key: &str, enabled: Enabled) -> String {
    match enabled {
        Enabled::No => format!("everyone, since `{key}` in the configuration is no"),
        Enabled::Local | Enabled::Yes => {
            format!("all but clients on this machine, since `{key}` in the configuration is local")
        }
    }
}

fn denied_by(entry: &str) -> String {
    format!("`commands.deny` in the configuration denies it to everyone, by {}", quoted(entry.as_bytes()))
}

fn command_text(finding: &Finding) -> String {
    match (&finding.command_rule, finding.command) {
        (None, _) => "allowed, and no rule can deny it".to_owned(),
        (Some(rule), true) => format!("allowed by {}", shown(rule)),
        (Some(rule), false) if rule == b"-@all" => "denied, since no rule allows it".to_owned(),
        (Some(rule), false) => format!("denied by {}", shown(rule)),
    }
}

fn use_text(used: &Used, said: &Said, finding: &Finding) -> String {
    match said {
        Said::Allowed(rule) => format!("allowed by {}", shown(rule)),
        Said::NotForThis(rule) => match used {
            Used::Key { access, .. } => {
                format!("denied: {} matches, but does not allow to {}", shown(rule), purpose(*access))
            }
            _ => "denied".to_owned(),
        },
        Said::NoMatch => match used {
            Used::AllDatabases { .. } | Used::Database { .. } => {
                format!("denied by {}", shown(&finding.database_rule))
            }
            Used::AllKeysReadable { .. } => "denied, for want of ~* or %R~*".to_owned(),
            Used::Channel { .. } => format!("denied, no pattern matches; {}", list(&finding.channel_rules)),
            Used::Key { .. } => format!("denied, no pattern matches; {}", list(&finding.key_rules)),
        },
    }
}

fn list(rules: &[Vec<u8>]) -> String {
    let known: Vec<String> = rules.iter().take(MAX_LISTED).map(|rule| shown(rule)).collect();
    match rules.len().saturating_sub(known.len()) {
        _ if known.is_empty() => "patterns: none".to_owned(),
        0 => format!("patterns: {}", known.join(" ")),
        more => format!("patterns: {} and {more} more", known.join(" ")),
    }
}

fn purpose(access: Access) -> &'static str {
    match access {
        Access::READ => "read",
        Access::WRITE => "write",
        Access::READ_WRITE => "read and write",
        _ => "read or write",
    }
}

fn word(option: SortOption) -> &'static str {
    match option {
        SortOption::By => "BY",
        SortOption::Get => "GET",
    }
}

fn categories(policy: &Policy, spec: &Spec) -> String {
    let all = policy.table().categories().iter();
    let names = all.filter(|(_, category)| spec.categories.intersects(category.0));
    let names: Vec<String> = names.map(|(name, _)| format!("@{name}")).collect();
    names.join(" ")
}

/// Text that a terminal shows and does not obey: what is not printable, as `\x1b`.
fn shown(bytes: &[u8]) -> String {
    escaped(bytes, |_| false)
}

/// The same in backticks and without doubt about where it ends and what is an escape.
fn quoted(bytes: &[u8]) -> String {
    format!("`{}`", escaped(bytes, |char| matches!(char, '\\' | '`')))
}

fn escaped(bytes: &[u8], special: fn(char) -> bool) -> String {
    let mut text = String::new();
    let hex = |text: &mut String, bytes: &[u8]| {
        bytes.iter().for_each(|byte| {
            let _ = write!(text, "\\x{byte:02x}");
        })
    };
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if special(char) {
                text.extend(['\\', char]);
            } else if is_printable(char) {
                text.push(char);
            } else {
                hex(&mut text, char.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        hex(&mut text, chunk.invalid());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        for (bytes, shown_as, quoted_as) in [
            (b"app:1".as_slice(), "app:1", "`app:1`"),
            (
                b"a\x1b[31mb\x07\r\n\0\x7f",
                r"a\x1b[31mb\x07\x0d\x0a\x00\x7f",
                r"`a\x1b[31mb\x07\x0d\x0a\x00\x7f`",
            ),
            (b"\xff\x9b1m", r"\xff\x9b1m", r"`\xff\x9b1m`"),
            ("ü\u{9b}\u{202e}".as_bytes(), r"ü\xc2\x9b\xe2\x80\xae", r"`ü\xc2\x9b\xe2\x80\xae`"),
            (br"a\x1b`", r"a\x1b`", r"`a\\x1b\``"),
            (b"it's \"b\"", "it's \"b\"", "`it's \"b\"`"),
        ] {
            assert_eq!(shown(bytes), shown_as);
            assert_eq!(quoted(bytes), quoted_as);
        }
    }
}
