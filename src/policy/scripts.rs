//! Scripts and functions of users who are not all-powerful (`scripts` in the configuration).
//!
//! What a script calls runs at the upstream, where Redkeep cannot judge it. So such a script runs as a mirrored user, which
//! the upstream itself holds to the user's rules ([`Policy::mirror_rules`], `upstream/mirror.rs`), or only if an operator
//! has read it, or not at all.
//!
//! SECURITY: whatever is in the category of scripts and not named here is denied.

use sha1::{Digest, Sha1};

use super::Policy;
use super::version::Version;
use crate::acl::User;
use crate::command::{Spec, flag};
use crate::resp::Request;

/// How scripts and functions of restricted users run (`scripts.mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScriptMode {
    /// Not at all.
    Deny,
    /// As a user of the upstream with the same rules.
    #[default]
    Mirror,
    /// As Redkeep's own user of the upstream, if they are listed.
    Trusted,
}

/// The section `scripts` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scripts {
    /// How they run.
    pub mode: ScriptMode,
    /// SHA1 of the scripts that an operator has read.
    pub trusted_shas: Vec<[u8; 20]>,
    /// Names of the functions that an operator has read. Who may replace them is as trusted as they are.
    pub trusted_functions: Vec<Box<str>>,
    /// Names of users who may load and delete functions without being all-powerful.
    pub function_writers: Vec<Box<str>>,
}

/// Why a script of a restricted user is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptDenial {
    /// `scripts.mode` is `deny`, or nobody knows what the command runs.
    Denied,
    /// The user has a key fence, and what a script tells cannot be filtered.
    Fenced,
    /// The upstream has no users, or refuses one with these rules.
    NoMirror,
    /// The script or function is not listed.
    Untrusted,
    /// FUNCTION LOAD and its like: what is loaded runs as whoever calls it later.
    WritesFunctions,
}

/// As whom a permitted script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunsAs {
    /// As the user's mirror.
    Mirror,
    /// As Redkeep's own user: it runs no code, or trusted code.
    Redkeep,
}

/// What a command of the category does.
enum Deed<'a> {
    /// Runs or keeps a script of this text.
    Body(&'a [u8]),
    /// Runs the script of this SHA1.
    Sha(&'a [u8]),
    /// Runs this function.
    Function(&'a [u8]),
    /// Changes what functions there are.
    WriteFunctions,
    /// Shows, stops or forgets scripts and functions.
    Manage,
    /// Nobody knows.
    Unknown,
}

fn deed<'a>(spec: &Spec, request: Request<'a>) -> Deed<'a> {
    let first = request.arg(1).unwrap_or_default();
    match &*spec.name {
        "eval" | "eval_ro" => Deed::Body(first),
        "evalsha" | "evalsha_ro" => Deed::Sha(first),
        "fcall" | "fcall_ro" => Deed::Function(first),
        "script|load" => Deed::Body(request.arg(2).unwrap_or_default()),
        "function|delete" | "function|flush" | "function|load" | "function|restore" => Deed::WriteFunctions,
        "function|dump" | "function|kill" | "function|list" | "function|stats" => Deed::Manage,
        "script|debug" | "script|flush" | "script|kill" | "script|show" => Deed::Manage,
        _ => Deed::Unknown,
    }
}

impl Scripts {
    /// Judges a command of a restricted user that the ACL has allowed. `can_mirror`: the upstream has users. `fenced`: the
    /// user has a key fence.
    pub(super) fn judge(
        &self,
        user: &User,
        spec: &Spec,
        request: Request<'_>,
        can_mirror: bool,
        fenced: bool,
    ) -> Result<RunsAs, ScriptDenial> {
        let deed = deed(spec, request);
        if let Deed::WriteFunctions = deed {
            let granted = self.function_writers.iter().any(|name| name.as_bytes() == user.name());
            return if granted { Ok(RunsAs::Redkeep) } else { Err(ScriptDenial::WritesFunctions) };
        }
        match (self.mode, deed) {
            (ScriptMode::Deny, _) | (_, Deed::Unknown) => Err(ScriptDenial::Denied),
            (ScriptMode::Mirror, _) if !can_mirror => Err(ScriptDenial::NoMirror),
            (ScriptMode::Mirror, Deed::Manage) => Ok(RunsAs::Redkeep),
            (ScriptMode::Mirror, _) if fenced => Err(ScriptDenial::Fenced),
            (ScriptMode::Mirror, _) => Ok(RunsAs::Mirror),
            (ScriptMode::Trusted, deed) if self.trusts(&deed) => Ok(RunsAs::Redkeep),
            (ScriptMode::Trusted, _) => Err(ScriptDenial::Untrusted),
        }
    }

    fn trusts(&self, deed: &Deed<'_>) -> bool {
        match deed {
            Deed::Body(body) => self.trusted_shas.contains(&Sha1::digest(body).into()),
            Deed::Sha(hex) => sha_of_hex(hex).is_some_and(|sha| self.trusted_shas.contains(&sha)),
            Deed::Function(name) => self.trusted_functions.iter().any(|known| known.as_bytes() == *name),
            Deed::Manage | Deed::Unknown | Deed::WriteFunctions => false,
        }
    }
}

/// A SHA1 of exactly 40 hexadecimal digits, in any case as EVALSHA takes it.
pub fn sha_of_hex(hex: &[u8]) -> Option<[u8; 20]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut sha = [0; 20];
    if hex.len() != 40 {
        return None;
    }
    for (byte, pair) in sha.iter_mut().zip(hex.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(sha)
}

/// What no mirrored user may do, whatever its original may: they are about the upstream's own state and credentials, and
/// Redkeep answers or guards them itself. No server lets scripts call them so far; this holds if one ever does.
const NEVER: [&str; 4] = ["acl", "config", "debug", "module"];

impl Policy {
    /// The arguments of `ACL SETUSER` at the upstream that make a user with exactly the permissions of `user`, without
    /// what the gates take from everybody; no password.
    ///
    /// `skip-sanitize-payload` is left out: it gives no right.
    pub fn mirror_rules(&self, user: &User) -> Vec<Vec<u8>> {
        let denied = self.denied_to_mirrors();
        // `reset` means different things in different versions; the rest says it outright.
        let begin = ["reset", "resetkeys", "resetchannels", "-@all", "on"];
        let mut rules: Vec<Vec<u8>> = begin.iter().map(|rule| rule.as_bytes().to_vec()).collect();
        let root = user.root().describe(self.dialect());
        rules.extend(root.split(|byte| *byte == b' ').map(<[u8]>::to_vec));
        rules.extend(denied.iter().cloned());
        for selector in user.selectors() {
            let mut words = vec![selector.describe(self.dialect())];
            words.extend(denied.iter().cloned());
            rules.push([b"(", words.join(&b' ').as_slice(), b")"].concat());
        }
        rules
    }

    /// What a script could call under its original name, and nobody may.
    fn denied_to_mirrors(&self) -> Vec<Vec<u8>> {
        let renamed = self.gates().hidden().filter_map(|name| self.table().find(name));
        // Nobody counts what a script asks for.
        let marked = |spec: &&Spec| self.marks.is_denied(spec.id) || self.marks.is_bounded(spec.id);
        let hidden = renamed.chain(self.table().specs().iter().filter(marked)).filter(|spec| {
            // What no script can call stays, or a renamed EVAL could not be called at all.
            !spec.flags.contains(flag::NOSCRIPT) && !matches!(&*spec.name, "function" | "script")
        });
        let never = NEVER.iter().filter_map(|name| self.table().find(name.as_bytes()));
        let mut names: Vec<&str> = never.chain(hidden).map(|spec| &*spec.name).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| format!("-{name}").into_bytes()).collect()
    }

    /// Whether the upstream can have mirrored users, as far as its version tells.
    pub fn can_mirror(&self) -> bool {
        self.upstream().is_none_or(|upstream| upstream.version >= Version::V6_0)
    }
}

#[cfg(test)]
mod tests;
