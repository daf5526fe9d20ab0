//! Why a request gets its verdict: what decided, gate or rule, and what would turn it. For people, not for sessions.
//!
//! The verdict is that of [`Policy::judge`], asked once for the user as it is and once for a user who may do everything,
//! which tells the gates from the rules. A suggestion is applied to the user and judged again; what does not turn the
//! verdict is never suggested, and no rule that could be left out.

use std::sync::Arc;

use super::gate::Named;
use super::{Facts, Policy, Reason, Upstream, Verdict, Version};
use crate::acl::explain::{self, Demand, EVERYTHING, Finding};
use crate::acl::{Defaults, User};
use crate::command::{Resolution, Spec, flag};
use crate::resp::{Request, RequestBuf};

/// Longest list of rules that is searched for superfluous ones: each costs a verdict.
const MAX_SHRUNK: usize = 64;

/// Why a request gets its verdict.
#[derive(Debug)]
pub struct Explanation<'a> {
    /// Why it is denied; `None`: it is allowed.
    pub denied: Option<Reason<'a>>,
    /// Why it is denied even to a user who may do everything; no rule of a user changes that.
    pub gate: Option<Reason<'a>>,
    /// What the client's word for the command is.
    pub naming: Naming<'a>,
    /// What the command is; for an unknown subcommand, its container.
    pub spec: Option<&'a Spec>,
    /// What it uses; nothing if its arguments are too few or too many.
    pub demand: Demand,
    /// What the user's root permissions and selectors say, in this order. Empty where the rules are not asked.
    pub findings: Vec<Finding>,
    /// What turns the verdict when it is added to the user's rules; of several, the first is the plainest.
    pub suggestions: Vec<Suggestion>,
}

/// What a name means under `commands.rename` and `commands.deny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming<'a> {
    /// Not renamed.
    AsSent,
    /// An alias of this command.
    AliasOf(&'a str),
    /// A command that clients call by this alias.
    RenamedTo(&'a [u8]),
    /// A command that `commands.deny` takes away by this entry.
    Denied(&'a str),
    /// A command that is disabled.
    Disabled,
}

/// Rules to add at the end of a user's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The rules, each a token of `ACL SETUSER`.
    pub rules: Vec<Vec<u8>>,
    /// Whether they are a selector of their own, which leaves all other permissions as they are.
    pub own_selector: bool,
}

impl Policy {
    /// Explains the verdict on `request`, all of whose bytes are attacker-controlled, for a session of `user`, which
    /// must be of this policy, in this `database`, on another machine. `scratch` takes requests that are encoded anew.
    pub fn explain<'a>(
        &'a self,
        user: &User,
        database: u32,
        request: Request<'a>,
        scratch: &'a mut [RequestBuf; 2],
    ) -> Explanation<'a> {
        let [first, second] = scratch;
        let denied = denial(&self.judge(Facts { user: Some(user), database, local: false }, request, first));
        let open = User::default_open(Defaults::default(), &self.table);
        let gate = denied.and_then(|_| {
            denial(&self.judge(Facts { user: Some(&open), database, local: false }, request, second))
        });
        // Who may do everything has it refused by the upstream, so no rule makes it work.
        let gate = gate.or(denied.filter(|reason| matches!(reason, Reason::Syntax(..))));
        let (naming, original) = self.original(request);
        let original = original.as_request();
        let spec = match self.table.resolve(original) {
            _ if matches!(naming, Naming::RenamedTo(_) | Naming::Disabled) => None,
            Resolution::Known(spec) | Resolution::UnknownSubcommand(spec) => Some(spec),
            Resolution::UnknownCommand => None,
        };
        let denial = spec.filter(|spec| self.marks.is_denied(spec.id));
        let denial = denial.and_then(|spec| self.gates.denial_of(spec, &self.table));
        let naming = denial.map_or(naming, Naming::Denied);
        let demand = match spec.filter(|spec| spec.accepts(original.len())) {
            Some(spec) => {
                let facts = Facts { user: Some(user), database, local: false };
                Demand::of(|visitor| self.visit_uses(facts, spec, original, visitor))
            }
            None => Demand::default(),
        };
        let findings = match spec.filter(|_| denied.is_none_or(asks_rules)) {
            Some(spec) => explain::explain(user, original, spec, &demand, &self.table),
            None => Vec::new(),
        };
        let asked = Asked { user, database, request };
        let suggestions = match (spec, denied) {
            (Some(spec), None) if !spec.flags.contains(flag::NO_AUTH) => {
                let rules = explain::denying(user, original, spec, &findings, &self.table);
                self.suggestion(asked, rules, false).into_iter().collect()
            }
            (Some(spec), Some(_)) if gate.is_none() => self.allowing(asked, spec, &demand, &findings),
            _ => Vec::new(),
        };
        Explanation { denied, gate, naming, spec, demand, findings, suggestions }
    }

    /// This policy as it would judge and word in front of an upstream of this version that has all commands.
    pub fn before(self, version: Version) -> Policy {
        // What SELECT and HELLO are answered is none of a verdict.
        let upstream =
            Upstream { version, valkey: None, login_first: false, databases: u32::MAX, hello: None };
        Policy { upstream: Some(Arc::new(upstream)), ..self }
    }

    /// The names of all users, sorted.
    pub fn user_names(&self) -> Vec<&[u8]> {
        let mut names: Vec<&[u8]> = self.users.iter().map(|account| account.user.name()).collect();
        names.sort_unstable();
        names
    }

    fn original(&self, request: Request<'_>) -> (Naming<'_>, RequestBuf) {
        let args: Vec<&[u8]> = request.args(0).collect();
        match self.gates.name(request.name()) {
            Named::AsSent => (Naming::AsSent, RequestBuf::from_args(&args)),
            Named::AliasOf(original) => {
                let args: Vec<&[u8]> = std::iter::once(original.as_bytes()).chain(request.args(1)).collect();
                (Naming::AliasOf(original), RequestBuf::from_args(&args))
            }
            Named::Hidden => {
                let alias = self.gates.alias_of(request.name());
                (alias.map_or(Naming::Disabled, Naming::RenamedTo), RequestBuf::from_args(&args))
            }
        }
    }

    fn allowing(
        &self,
        asked: Asked<'_>,
        spec: &Spec,
        demand: &Demand,
        findings: &[Finding],
    ) -> Vec<Suggestion> {
        let added = findings.first().map(|root| explain::added_to_root(spec, demand, root));
        let added = added.and_then(|rules| self.suggestion(asked, rules, false));
        // Without keys and channels a selector allows as much as the root permissions.
        let selector = (demand.has_keys_or_channels() || demand.unclear)
            .then(|| self.suggestion(asked, explain::own_selector(spec, demand), true))
            .flatten();
        if added.is_none() && selector.is_none() {
            let everything = EVERYTHING.iter().map(|rule| rule.to_vec()).collect();
            return self.suggestion(asked, everything, false).into_iter().collect();
        }
        added.into_iter().chain(selector).collect()
    }

    /// `rules`, or a selector of them, without those that are not needed, if they turn the verdict.
    fn suggestion(
        &self,
        asked: Asked<'_>,
        mut rules: Vec<Vec<u8>>,
        own_selector: bool,
    ) -> Option<Suggestion> {
        let before = self.allows(asked);
        let added = |rules: &[Vec<u8>]| {
            if own_selector { vec![explain::in_parentheses(rules)] } else { rules.to_vec() }
        };
        let turns = |rules: &[Vec<u8>]| {
            let rules = added(rules);
            let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
            let after = asked.user.set(&rules, &self.table);
            after.is_ok_and(|after| self.allows(Asked { user: &after, ..asked }) != before)
        };
        if !turns(&rules) {
            return None;
        }
        // Rules that deny belong together: the selectors that `clearselectors` forgets must come back.
        if !before && rules.len() <= MAX_SHRUNK {
            let mut at = 0;
            while at < rules.len() {
                let rule = rules.remove(at);
                if !turns(&rules) {
                    rules.insert(at, rule);
                    at += 1;
                }
            }
        }
        Some(Suggestion { rules: added(&rules), own_selector })
    }

    fn allows(&self, asked: Asked<'_>) -> bool {
        let facts = Facts { user: Some(asked.user), database: asked.database, local: false };
        matches!(self.judge(facts, asked.request, &mut RequestBuf::default()), Verdict::Allow(_))
    }
}

/// What the verdict is asked for.
#[derive(Clone, Copy)]
struct Asked<'a> {
    user: &'a User,
    database: u32,
    request: Request<'a>,
}

fn denial<'a>(verdict: &Verdict<'a>) -> Option<Reason<'a>> {
    match verdict {
        Verdict::Allow(_) => None,
        Verdict::Deny(reason) => Some(*reason),
    }
}

/// Whether the user's rules were asked before a denial for this reason.
fn asks_rules(reason: Reason<'_>) -> bool {
    match reason {
        Reason::Channel(_) | Reason::Command(_) | Reason::Database(_) | Reason::Key(_) => true,
        Reason::SortPattern(_) | Reason::Syntax(..) => true,
        Reason::Bound(_) | Reason::CredentialConfig | Reason::ProtectedConfig(_) => true,
        Reason::Broadcast | Reason::Script(_) | Reason::Unavailable(_) => true,
        Reason::Fenced(_) | Reason::FencedChannel(_) => true,
        Reason::Arity(_) | Reason::CrossProtocol | Reason::ProtectedCommand(_) => false,
        Reason::Unauthenticated(_) | Reason::UnknownCommand | Reason::UnknownSubcommand(_) => false,
    }
}

#[cfg(test)]
mod tests;
