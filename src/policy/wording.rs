//! The error text of each [`Reason`], in the words of the upstream's version.
//!
//! Source: the replies of Redis 3.2, 5.0, 6.2, 7.0, 7.4, 8.2 and Valkey 8.0, 9.1, observed byte for byte; the
//! integration tests compare with a live server.

use std::borrow::Cow;

use super::gate::Exceeded;
use super::{Reason, ScriptDenial, Version};
use crate::command::Spec;
use crate::command::syntax::Rejection;
use crate::resp::{Request, c_string};

/// How many bytes of an unknown command's arguments together Redis echoes; since 7.0 also of its name.
const ECHO_BYTES: usize = 128;

/// Redis' text for a command that needs a login.
pub const NOAUTH: &str = "NOAUTH Authentication required.";

/// Redis' text for a bad login, the same for an unknown user, a wrong password and a disabled user.
pub const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

impl Reason<'_> {
    /// The error text for the client, without the leading `-` and the final CRLF. Bytes of the request that it echoes
    /// are raw; the encoder replaces CR and LF.
    ///
    /// `user` is the name of the session's user; `request` the refused request.
    pub fn reply(&self, version: Version, user: &[u8], request: Request<'_>) -> Vec<u8> {
        match self {
            Reason::Arity(spec) if spec.parent.is_some() && version < Version::V7_0 => {
                unknown_subcommand(version, spec.name.split('|').next().unwrap_or_default(), request)
            }
            Reason::Arity(spec) => {
                format!("ERR wrong number of arguments for '{}' command", spec.name).into_bytes()
            }
            Reason::Channel(_) if version >= Version::V7_2 => b"NOPERM No permissions to access a channel".to_vec(),
            Reason::Channel(_) => {
                b"NOPERM this user has no permissions to access one of the channels used as arguments".to_vec()
            }
            Reason::Command(spec) => no_permission(version, user, &spec.name),
            Reason::CredentialConfig => {
                b"NOPERM the upstream's credentials cannot be read or changed through redkeep".to_vec()
            }
            Reason::CrossProtocol => Vec::new(),
            // Valkey's, since 9.1; no Redis has words for it.
            Reason::Database(_) => b"NOPERM No permissions to access database".to_vec(),
            Reason::Key(_) if version >= Version::V7_2 => b"NOPERM No permissions to access a key".to_vec(),
            Reason::Key(_) => {
                b"NOPERM this user has no permissions to access one of the keys used as arguments".to_vec()
            }
            Reason::ProtectedCommand(name) => format!(
                "ERR {name} command not allowed. If the enable-{}-command option is set to \"local\", you can run it \
                 from a local connection, otherwise you need to set this option in the configuration file, and then \
                 restart the server.",
                name.to_ascii_lowercase()
            )
            .into_bytes(),
            Reason::ProtectedConfig(index) => {
                let mut text = b"ERR CONFIG SET failed (possibly related to argument '".to_vec();
                text.extend_from_slice(echo(request.arg(*index).unwrap_or_default(), usize::MAX));
                text.extend_from_slice(b"') - can't set protected config");
                text
            }
            Reason::Bound(Exceeded { setting, limit, index }) => format!(
                "ERR redkeep: argument {index} of '{}' is more than commands.bounds.{setting} allows ({limit})",
                String::from_utf8_lossy(request.name()).to_ascii_lowercase()
            )
            .into_bytes(),
            Reason::Broadcast => b"NOPERM CLIENT TRACKING with BCAST tells the names of all keys that change, so redkeep \
                                   allows it to users with +@all ~* &* only"
                .to_vec(),
            Reason::Fenced(spec) => format!(
                "NOPERM '{}' is denied to users with a key fence (acl.fence), since it is not bound to the user's key \
                 patterns",
                spec.name.replace('|', " ")
            )
            .into_bytes(),
            Reason::FencedChannel(_) => b"NOPERM a channel tells of keys outside the user's patterns, which the user's \
                                          key fence (acl.fence) hides"
                .to_vec(),
            Reason::Script(denial) => denial.text().as_bytes().to_vec(),
            Reason::SortPattern(option) => {
                format!("ERR {option} option of SORT denied due to insufficient ACL permissions.").into_bytes()
            }
            Reason::Syntax(spec, rejection) => match rejected(version, spec, *rejection) {
                Some(text) => format!("ERR {text}").into_bytes(),
                None => Reason::Key(None).reply(version, user, request),
            },
            Reason::Unauthenticated(_) => NOAUTH.as_bytes().to_vec(),
            Reason::Unavailable(spec) => {
                format!("ERR '{}' is not available through redkeep", spec.name.replace('|', " ")).into_bytes()
            }
            Reason::UnknownCommand => unknown_command(version, request),
            Reason::UnknownSubcommand(container) => unknown_subcommand(version, &container.name, request),
        }
    }
}

impl ScriptDenial {
    /// The error's text.
    pub fn text(self) -> &'static str {
        match self {
            ScriptDenial::Denied => {
                "NOPERM scripts and functions are denied to users with restricted rules, since redkeep cannot judge \
                 what they call (scripts.mode: deny); they need +@all ~* &*"
            }
            ScriptDenial::Fenced => {
                "NOPERM scripts and functions are denied to users with a key fence (acl.fence), since nobody can filter \
                 what they tell; they need ~*"
            }
            ScriptDenial::NoMirror => {
                "NOPERM scripts and functions are denied to users with restricted rules, since the upstream takes no \
                 user with these rules (scripts.mode: mirror); redkeep's log has the reason"
            }
            ScriptDenial::Untrusted => {
                "NOPERM scripts and functions are denied to users with restricted rules, unless they are listed in \
                 scripts.trusted_shas or scripts.trusted_functions (scripts.mode: trusted)"
            }
            ScriptDenial::WritesFunctions => {
                "NOPERM functions are loaded and deleted by users with +@all ~* &*, and by those in \
                 scripts.function_writers, since they run later as whoever calls them"
            }
        }
    }
}

fn no_permission(version: Version, user: &[u8], name: &str) -> Vec<u8> {
    if version >= Version::V7_2 {
        let mut text = b"NOPERM User ".to_vec();
        text.extend_from_slice(user);
        text.extend_from_slice(format!(" has no permissions to run the '{name}' command").as_bytes());
        text
    } else if version >= Version::V7_0 {
        format!("NOPERM this user has no permissions to run the '{name}' command").into_bytes()
    } else {
        let container = name.split('|').next().unwrap_or(name);
        format!("NOPERM this user has no permissions to run the '{container}' command or its subcommand")
            .into_bytes()
    }
}

/// What the command's own parser says; `None` where this version was not asked. Observed with Redis 6.2.5, 7.0.15,
/// 8.2.3 and Valkey 9.1.2; older ones are given the words of 6.2.
fn rejected(version: Version, spec: &Spec, rejection: Rejection) -> Option<Cow<'static, str>> {
    let text = match rejection {
        Rejection::GroupOfXread => {
            "The GROUP option is only supported by XREADGROUP. You called XREAD instead."
        }
        Rejection::GroupMissing => "Missing GROUP option for XREADGROUP",
        // Redis has MSETEX, too, since 8.4, with other words; 7.2 is Valkey.
        Rejection::InvalidKeyCount | Rejection::MissingPairs if version != Version::V7_2 => return None,
        Rejection::InvalidKeyCount => "invalid numkeys value or out of range",
        Rejection::KeyAndKeys => {
            "When using MIGRATE KEYS option, the key argument must be set to the empty string"
        }
        Rejection::KeyCountNotPositive => "numkeys should be greater than 0",
        Rejection::MissingPairs | Rejection::Syntax => "syntax error",
        Rejection::MoreKeysThanArguments => "Number of keys can't be greater than number of args",
        Rejection::NegativeKeyCount => "Number of keys can't be negative",
        Rejection::NoackOfXread => {
            "The NOACK option is only supported by XREADGROUP. You called XREAD instead."
        }
        Rejection::NoInputKey if version < Version::V7_0 => {
            return Some(format!("at least 1 input key is needed for {}", spec.name).into());
        }
        Rejection::NoInputKey => {
            return Some(format!("at least 1 input key is needed for '{}' command", spec.name).into());
        }
        Rejection::NotAnInteger => "value is not an integer or out of range",
        Rejection::TimeoutNegative => "timeout is negative",
        Rejection::TimeoutNotAnInteger => "timeout is not an integer or out of range",
        Rejection::UnbalancedStreams if version < Version::V7_2 => {
            "Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."
        }
        Rejection::UnbalancedStreams => {
            let id = match &*spec.name {
                "xreadgroup" => "ID or '>'",
                _ if version < Version::V7_4 => "ID or '$'",
                _ => "ID, '+', or '$'",
            };
            let text = format!(
                "Unbalanced '{}' list of streams: for each stream key an {id} must be specified.",
                spec.name
            );
            return Some(text.into());
        }
    };
    Some(text.into())
}

fn unknown_command(version: Version, request: Request<'_>) -> Vec<u8> {
    let (open, close, separator) = if version >= Version::V7_0 { ("'", "'", " ") } else { ("`", "`", ", ") };
    let mut text = b"ERR unknown command ".to_vec();
    let name = echo(request.name(), name_limit(version));
    if version < Version::V5_0 {
        text.push(b'\'');
        text.extend_from_slice(name);
        text.push(b'\'');
        return text;
    }
    text.extend_from_slice(open.as_bytes());
    text.extend_from_slice(name);
    text.extend_from_slice(close.as_bytes());
    text.extend_from_slice(b", with args beginning with: ");
    let mut echoed = 0usize;
    for arg in request.args(1) {
        if echoed >= ECHO_BYTES {
            break;
        }
        let arg = echo(arg, ECHO_BYTES.saturating_sub(echoed));
        for part in [open.as_bytes(), arg, close.as_bytes(), separator.as_bytes()] {
            text.extend_from_slice(part);
            echoed = echoed.saturating_add(part.len());
        }
    }
    text
}

fn unknown_subcommand(version: Version, container: &str, request: Request<'_>) -> Vec<u8> {
    let word = echo(request.arg(1).unwrap_or_default(), name_limit(version));
    let mut text = if version >= Version::V7_0 {
        b"ERR unknown subcommand '".to_vec()
    } else {
        b"ERR Unknown subcommand or wrong number of arguments for '".to_vec()
    };
    text.extend_from_slice(word);
    // Two containers had a text of their own in 5.0.
    let end = if version < Version::V6_0 && matches!(container, "client" | "memory") { "" } else { "." };
    // The name by which the client has called it.
    let name = request.name().to_ascii_uppercase();
    for part in [b"'. Try ", name.as_slice(), b" HELP", end.as_bytes()] {
        text.extend_from_slice(part);
    }
    text
}

/// How many bytes of the name of a command or subcommand are echoed.
fn name_limit(version: Version) -> usize {
    if version >= Version::V7_0 { ECHO_BYTES } else { usize::MAX }
}

/// What C's `%.*s` prints: at most `limit` bytes, up to the first NUL.
fn echo(bytes: &[u8], limit: usize) -> &[u8] {
    c_string(bytes.get(..limit).unwrap_or(bytes))
}

#[cfg(test)]
mod tests;
