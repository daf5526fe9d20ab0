//! CONFIG GET and SET of the parameters that are about users: Redkeep's own, never the upstream's.
//!
//! `CONFIG SET requirepass`, `acl-pubsub-default` and `acllog-max-len` act here ([`set`]); `CONFIG GET` goes to the upstream,
//! and what comes back is rewritten ([`rewrite`]): our own values stand in the place of the upstream's, and its
//! credentials are blanked.
//!
//! SECURITY: the reply decides what is blanked, not the request, so that no pattern and no odd spelling of a name gets
//! at a credential. A reply that is not understood is not passed on.
//!
//! Mirrors Redis 7.0 and 8.2 (compared by `tests/it/acl_commands.rs`), except that a password is shown as `***`: only its
//! hash is known here.

use bytes::BytesMut;

use crate::acl::Glob;
use crate::command::Guard;
use crate::policy::{Judged, Policy, is_credential};
use crate::resp::{Protocol, Request, c_string, encode, error_text, integer, items};
use crate::users::Users;

/// Our own parameters.
const ACL_FILE: &str = "aclfile";
const LOG_MAX_LEN: &str = "acllog-max-len";
const PUBSUB_DEFAULT: &str = "acl-pubsub-default";
const REQUIREPASS: &str = "requirepass";
const OWN: [&str; 4] = [ACL_FILE, LOG_MAX_LEN, PUBSUB_DEFAULT, REQUIREPASS];

/// What `CONFIG GET requirepass` shows of a password.
const HIDDEN: &str = "***";

/// All parameters of ours, for the reply to a `CONFIG GET`.
pub(in crate::session) type OwnValues = Vec<OwnValue>;

/// A parameter of ours.
pub(in crate::session) struct OwnValue {
    name: &'static str,
    value: String,
    /// The request asks for it, as far as we can tell: then it is answered even if the upstream does not know it.
    asked: bool,
}

/// Whether a request is a `CONFIG SET` of a parameter of ours.
pub(in crate::session) fn sets_own(judged: Judged<'_>) -> bool {
    judged.spec().guard == Guard::ConfigSet
        && judged.request().args(2).step_by(2).any(|name| own(name).is_some())
}

/// Whether the reply to a request must be rewritten.
pub(in crate::session) fn is_get(judged: Judged<'_>) -> bool {
    judged.spec().guard == Guard::ConfigGet
}

/// The values for the reply to a `CONFIG GET`.
pub(in crate::session) fn own_values(users: &Users, policy: &Policy, request: Request<'_>) -> OwnValues {
    let patterns: Vec<Glob> =
        request.args(2).map(|pattern| Glob::new(&c_string(pattern).to_ascii_lowercase())).collect();
    OWN.into_iter()
        .map(|name| OwnValue {
            name,
            value: value(users, policy, name),
            asked: patterns.iter().any(|pattern| pattern.matches(name.as_bytes())),
        })
        .collect()
}

fn value(users: &Users, policy: &Policy, name: &str) -> String {
    match name {
        ACL_FILE => users.file(),
        LOG_MAX_LEN => users.log().max_len().to_string(),
        PUBSUB_DEFAULT => if users.all_channels() { "allchannels" } else { "resetchannels" }.to_owned(),
        _ => {
            let open = policy.user(b"default").is_none_or(|user| user.passwords().is_empty());
            if open { String::new() } else { HIDDEN.to_owned() }
        }
    }
}

/// The upstream's `reply` to a `CONFIG GET` as the client may see it.
pub(in crate::session) fn rewrite(reply: &[u8], own: &OwnValues, protocol: Protocol, out: &mut BytesMut) {
    if error_text(reply).is_some() {
        return out.extend_from_slice(reply);
    }
    let Some(pairs) = pairs(reply) else {
        return encode::error(out, b"ERR redkeep: the upstream's reply to CONFIG GET was not understood");
    };
    let find_own = |name: &[u8]| own.iter().find(|own| own.name.as_bytes().eq_ignore_ascii_case(name));
    let answered =
        |own: &OwnValue| pairs.iter().any(|(name, _)| own.name.as_bytes().eq_ignore_ascii_case(name));
    let missing: Vec<_> = own.iter().filter(|own| own.asked && !answered(own)).collect();
    encode::map(out, pairs.len().saturating_add(missing.len()), protocol);
    for (name, theirs) in pairs {
        encode::bulk(out, name);
        // SECURITY: asked for or not. Redis reads some patterns otherwise than we (`[^Z-a]`, since it minds no case).
        match find_own(name) {
            Some(own) => encode::bulk(out, own.value.as_bytes()),
            None if is_credential(name) => encode::bulk(out, b""),
            None => encode::bulk(out, theirs),
        }
    }
    for own in missing {
        encode::bulk(out, own.name.as_bytes());
        encode::bulk(out, own.value.as_bytes());
    }
}

/// Names and values of a flat reply; `None` if it is none.
fn pairs(reply: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let flat: Vec<&[u8]> = items(reply).collect();
    let announced = crate::resp::announced_items(reply)?;
    (flat.len() == announced && announced.is_multiple_of(2)).then(|| {
        flat.chunks_exact(2)
            .filter_map(|pair| match pair {
                [name, value] => Some((*name, *value)),
                _ => None,
            })
            .collect()
    })
}

/// `CONFIG SET` of parameters of ours: all of them or, if one is refused, none.
pub(in crate::session) fn set(users: &Users, request: Request<'_>, out: &mut BytesMut) {
    match checked(request) {
        Ok(changes) => {
            for change in changes {
                match change {
                    Change::AllChannels(all) => users.set_all_channels(all),
                    Change::LogMaxLen(len) => users.log().set_max_len(len),
                    Change::Requirepass(password) => users.set_requirepass(password),
                }
            }
            encode::simple(out, "OK");
        }
        Err(text) => encode::error(out, text.as_bytes()),
    }
}

enum Change<'r> {
    AllChannels(bool),
    LogMaxLen(usize),
    Requirepass(&'r [u8]),
}

fn checked(request: Request<'_>) -> Result<Vec<Change<'_>>, String> {
    let args: Vec<&[u8]> = request.args(2).collect();
    if !args.len().is_multiple_of(2) {
        return Err("ERR wrong number of arguments for 'config|set' command".to_owned());
    }
    let mut seen = Vec::new();
    let mut changes = Vec::new();
    for pair in args.chunks_exact(2) {
        let [name, value] = pair else { continue };
        let refuse = |name: &str, why: &str| {
            Err(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"))
        };
        let Some(name) = own(name) else {
            let name = String::from_utf8_lossy(c_string(name)).into_owned();
            return refuse(&name, "redkeep's own parameters cannot be set together with the upstream's");
        };
        if seen.contains(&name) {
            return refuse(name, "duplicate parameter");
        }
        seen.push(name);
        changes.push(match name {
            ACL_FILE => return refuse(name, "can't set immutable config"),
            LOG_MAX_LEN => match integer(value).map(usize::try_from) {
                Some(Ok(len)) => Change::LogMaxLen(len),
                Some(Err(_)) => {
                    return refuse(name, "argument must be between 0 and 9223372036854775807 inclusive");
                }
                None => return refuse(name, "argument couldn't be parsed into an integer"),
            },
            PUBSUB_DEFAULT if value.eq_ignore_ascii_case(b"allchannels") => Change::AllChannels(true),
            PUBSUB_DEFAULT if value.eq_ignore_ascii_case(b"resetchannels") => Change::AllChannels(false),
            PUBSUB_DEFAULT => {
                return refuse(name, "argument(s) must be one of the following: allchannels, resetchannels");
            }
            _ => Change::Requirepass(value),
        });
    }
    Ok(changes)
}

/// The parameter of ours of this name, in any case and, as Redis before 7.0 has it, up to a NUL.
fn own(name: &[u8]) -> Option<&'static str> {
    OWN.into_iter().find(|own| own.as_bytes().eq_ignore_ascii_case(c_string(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(reply: &str, own: &[(&'static str, &str, bool)], protocol: Protocol) -> String {
        let own = own
            .iter()
            .map(|(name, value, asked)| OwnValue { name, value: (*value).to_owned(), asked: *asked })
            .collect();
        let mut out = BytesMut::new();
        rewrite(reply.as_bytes(), &own, protocol, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn credentials_of_the_upstream_are_blanked_and_own_values_put_in() {
        let theirs = "*6\r\n$10\r\nmasterauth\r\n$6\r\nsecret\r\n$11\r\nREQUIREPASS\r\n$6\r\nsecret\r\n$4\r\nport\r\n$1\r\n1\r\n";
        let own = [("requirepass", "***", true), ("aclfile", "", true), ("acllog-max-len", "9", false)];
        assert_eq!(
            rewritten(theirs, &own, Protocol::Resp2),
            "*8\r\n$10\r\nmasterauth\r\n$0\r\n\r\n$11\r\nREQUIREPASS\r\n$3\r\n***\r\n$4\r\nport\r\n$1\r\n1\r\n\
             $7\r\naclfile\r\n$0\r\n\r\n"
        );
    }

    #[test]
    fn what_the_upstream_answers_of_ours_is_replaced_even_if_nobody_seems_to_have_asked_for_it() {
        let theirs = "*2\r\n$11\r\nrequirepass\r\n$6\r\nsecret\r\n";
        assert_eq!(
            rewritten(theirs, &[("requirepass", "***", false)], Protocol::Resp2),
            "*2\r\n$11\r\nrequirepass\r\n$3\r\n***\r\n"
        );
    }

    #[test]
    fn a_reply_that_is_not_understood_is_not_passed_on() {
        for reply in [
            "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
            "*2\r\n$11\r\nrequirepass\r\n*1\r\n$1\r\nx\r\n",
            "$3\r\nabc\r\n",
        ] {
            let got = rewritten(reply, &[], Protocol::Resp2);
            assert!(got.starts_with("-ERR redkeep:"), "{reply:?} became {got:?}");
        }
        assert_eq!(rewritten("-NOAUTH x\r\n", &[], Protocol::Resp2), "-NOAUTH x\r\n");
        assert_eq!(
            rewritten("%1\r\n$1\r\na\r\n$1\r\nb\r\n", &[], Protocol::Resp3),
            "%1\r\n$1\r\na\r\n$1\r\nb\r\n"
        );
        assert_eq!(rewritten("*0\r\n", &[], Protocol::Resp2), "*0\r\n");
    }
}
