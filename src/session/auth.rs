//! AUTH and HELLO: from a name and a password to an identity.
//!
//! Mirrors Redis 7.0 and 7.2 (observed): a failed login changes nothing, costs no pause and keeps the session; unknown
//! user, wrong password and disabled user look alike. In 7.0 the options of HELLO act one by one, since 7.2 all are read
//! first. Unlike there, a client's tenth failure is its last, others that fail too often wait (`logins.rs`), and in a
//! transaction no password is looked at after the first failure.

use bytes::BytesMut;

use super::accounts::FULL;
use super::local::{CLIENT_NAMES, check_name, set_name};
use super::record::UNRECORDED;
use super::replies::NOT_SENT;
use super::state::State;
use crate::acl::LogReason;
use crate::command::Resolution;
use crate::policy::{Policy, Proof, Reason, Version, WRONGPASS};
use crate::resp::{Protocol, Request, RequestBuf, c_string, encode, integer};

/// A client is closed after so many failed logins, with the answer to the last one.
pub(super) const MAX_FAILED: usize = 10;

const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. \
                           Are you sure your configuration is correct?";

/// `AUTH [user] password`.
pub(super) fn auth(policy: &Policy, state: &mut State, request: Request<'_>, out: &mut BytesMut) {
    let (name, password) = match (request.arg(1), request.arg(2), request.len()) {
        (Some(password), None, 2) => (&b"default"[..], password),
        (Some(name), Some(password), 3) => (name, password),
        _ => return encode::error(out, b"ERR syntax error"),
    };
    let default_needs_none = policy.user(b"default").is_some_and(|user| user.is_nopass());
    if request.len() == 2 && default_needs_none {
        return encode::error(out, NO_PASSWORD.as_bytes());
    }
    match login(policy, state, name, password, request.name()) {
        Ok(()) => encode::simple(out, "OK"),
        Err(text) => encode::error(out, text.as_bytes()),
    }
}

/// `HELLO [protover [AUTH user password] [SETNAME name]]`.
pub(super) fn hello(policy: &Policy, state: &mut State, request: Request<'_>, out: &mut BytesMut) {
    // The reply is the upstream's own, so it must have been reached once.
    let Some(upstream) = policy.upstream() else {
        return encode::error(out, NOT_SENT.as_bytes());
    };
    let Some(greeting) = &upstream.hello else {
        // Before 6.0. Clients then go on with AUTH.
        return encode::error(out, &Reason::UnknownCommand.reply(policy.version(), b"", request));
    };
    let protocol = match request.arg(1).map(integer) {
        None => None,
        Some(Some(2)) => Some(Protocol::Resp2),
        Some(Some(3)) => Some(Protocol::Resp3),
        Some(Some(_)) => return encode::error(out, b"NOPROTO unsupported protocol version"),
        Some(None) => return encode::error(out, b"ERR Protocol version is not an integer or out of range"),
    };
    if let Err(text) = options(policy, state, request) {
        return encode::error(out, &text);
    }
    if let Some(protocol) = protocol {
        state.protocol = protocol;
    }
    let frame = match state.protocol {
        Protocol::Resp2 => &greeting.resp2,
        Protocol::Resp3 => &greeting.resp3,
    };
    out.extend_from_slice(&frame.with_id(state.id.0));
}

fn options(policy: &Policy, state: &mut State, request: Request<'_>) -> Result<(), Vec<u8>> {
    let at_once = policy.version() < Version::V7_2;
    let mut credentials = None;
    let mut name = None;
    let mut args = request.args(2);
    while let Some(option) = args.next() {
        if option.eq_ignore_ascii_case(b"auth") {
            let (Some(user), Some(password)) = (args.next(), args.next()) else { return Err(syntax(option)) };
            credentials = Some((user, password));
        } else if option.eq_ignore_ascii_case(b"setname") {
            let given = args.next().ok_or_else(|| syntax(option))?;
            if !at_once {
                check_name(CLIENT_NAMES, given)?;
            }
            name = Some(given);
        } else {
            return Err(syntax(option));
        }
        if at_once {
            apply(policy, state, request.name(), credentials.take(), name.take())?;
        }
    }
    if !at_once {
        apply(policy, state, request.name(), credentials, None)?;
    }
    if state.user.is_none() {
        let option = if at_once { "HELLO AUTH <user> <pass>" } else { "HELLO <proto> AUTH <user> <pass>" };
        let text = format!(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the {option} option can be \
             used to authenticate the client and select the RESP protocol version at the same time"
        );
        return Err(text.into_bytes());
    }
    apply(policy, state, request.name(), None, name)
}

fn apply(
    policy: &Policy,
    state: &mut State,
    word: &[u8],
    credentials: Option<(&[u8], &[u8])>,
    name: Option<&[u8]>,
) -> Result<(), Vec<u8>> {
    if let Some((user, password)) = credentials {
        login(policy, state, user, password, word)?;
    }
    name.map_or(Ok(()), |name| set_name(state, name))
}

/// `word` is what the client called the command that logs in; as Redis, the ACL log shows it as it was sent.
fn login(
    policy: &Policy,
    state: &mut State,
    name: &[u8],
    password: &[u8],
    word: &[u8],
) -> Result<(), &'static str> {
    // SECURITY: before the password is looked at. Nobody may try passwords without a trace.
    if !state.recorder.is_ready() {
        return Err(UNRECORDED);
    }
    // SECURITY: a transaction may hold any number of guesses, and has waited for the turn of one.
    if state.failed_logins >= MAX_FAILED || state.transaction.login_failed {
        return Err(WRONGPASS);
    }
    let command = String::from_utf8_lossy(word).to_ascii_lowercase();
    let Some(user) = policy.login(state.origin(), name, password) else {
        state.note(LogReason::Auth, word, name, &command);
        state.record_failed_login(name, command.as_bytes());
        state.failed_logins = state.failed_logins.saturating_add(1);
        state.transaction.login_failed = state.transaction.queueing;
        return Err(WRONGPASS);
    };
    if !state.record_login(name, command.as_bytes()) {
        return Err(UNRECORDED);
    }
    if !state.enter(policy, user.name()) {
        state.record_failed_login(name, command.as_bytes());
        return Err(FULL);
    }
    state.become_user(policy, Some(user), Proof::Password);
    Ok(())
}

/// Whether a request would have a password looked at, and whose if that can be told.
pub(super) fn attempt<'a>(policy: &Policy, state: &State, request: Request<'a>) -> Option<&'a [u8]> {
    let mut scratch = RequestBuf::default();
    let Resolution::Known(spec) = policy.resolve(request, &mut scratch).1 else { return None };
    let queueing = state.transaction.queueing;
    match &*spec.name {
        "auth" if !queueing && request.len() == 3 => request.arg(1),
        "auth" if !queueing && request.len() == 2 => Some(b"default"),
        "hello" if !queueing => whom_hello_tries(policy, request),
        "exec" if queueing && state.queue.moves => Some(b""),
        _ => None,
    }
}

/// The user whose password HELLO would have looked at, as [`options`] finds it; of several the last.
fn whom_hello_tries<'a>(policy: &Policy, request: Request<'a>) -> Option<&'a [u8]> {
    let at_once = policy.version() < Version::V7_2;
    let mut user = None;
    let mut args = request.args(2);
    while let Some(option) = args.next() {
        if option.eq_ignore_ascii_case(b"auth")
            && let (Some(name), Some(_)) = (args.next(), args.next())
        {
            user = Some(name);
        } else if !option.eq_ignore_ascii_case(b"setname") || args.next().is_none() {
            return user.filter(|_| at_once);
        }
    }
    user
}

fn syntax(option: &[u8]) -> Vec<u8> {
    let mut text = b"ERR Syntax error in HELLO option '".to_vec();
    // Redis prints a C string.
    text.extend_from_slice(c_string(option));
    text.push(b'\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::policy;
    use crate::session::{Ends, SessionId};

    #[test]
    fn an_attempt_counts_for_the_user_whose_password_would_be_looked_at() {
        for (line, before_7_2, since) in [
            ("AUTH app x", Some("app"), Some("app")),
            ("AUTH x", Some("default"), Some("default")),
            ("AUTH a b c", None, None),
            ("HELLO", None, None),
            ("HELLO 3 SETNAME auth", None, None),
            ("HELLO 3 AUTH app x", Some("app"), Some("app")),
            ("HELLO 3 SETNAME auth AUTH app x", Some("app"), Some("app")),
            ("HELLO 3 AUTH auth AUTH auth app x", Some("app"), Some("app")),
            ("HELLO 3 AUTH app x SETNAME n", Some("app"), Some("app")),
            ("HELLO 3 AUTH app x NOSUCH", Some("app"), None),
            ("HELLO 3 AUTH app x AUTH other", Some("app"), None),
            ("HELLO 3 AUTH app x AUTH other y", Some("other"), Some("other")),
            ("HELLO 3 NOSUCH AUTH app x", None, None),
            ("HELLO 3 AUTH app", None, None),
            ("PING", None, None),
        ] {
            for (version, expected) in [(Version::V7_0, before_7_2), (Version::V7_2, since)] {
                let policy = policy(version, &[("app", "on >pw +@all")], &[]);
                let state = State::new(SessionId(7), Ends::default(), &policy);
                let request = RequestBuf::from_args(&line.split(' ').collect::<Vec<_>>());
                let user = attempt(&policy, &state, request.as_request());
                assert_eq!(user, expected.map(str::as_bytes), "{line} in {version:?}");
            }
        }
    }
}
