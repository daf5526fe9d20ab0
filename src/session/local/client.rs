//! CLIENT ID, GETNAME, SETNAME, SETINFO, INFO, REPLY, NO-EVICT, NO-TOUCH: about Redkeep's clients, not about its links.

use bytes::BytesMut;

use crate::policy::{Policy, Reason, Version};
use crate::resp::{Request, encode};
use crate::session::state::{Replies, State};

/// Longest name of a client, and of its library and that one's version. SECURITY: each client keeps all three, others
/// see them, and every denial writes them into the ACL log; Redis' bound is 512 MiB. With this one a line about a client
/// fits into an entry of that log.
const MAX_NAME_BYTES: usize = 1024;

/// What is wrong with a name; `what` is what it names.
pub(in crate::session) fn check_name(what: &[u8], name: &[u8]) -> Result<(), Vec<u8>> {
    // Bytes from `!` to `~`, in Redis' words.
    let why: &[u8] = match name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        true if name.len() <= MAX_NAME_BYTES => return Ok(()),
        true => b" cannot be longer than 1024 bytes through redkeep",
        false => b" cannot contain spaces, newlines or special characters.",
    };
    Err([b"ERR ", what, why].concat())
}

/// What names a client.
pub(in crate::session) const CLIENT_NAMES: &[u8] = b"Client names";

/// Sets or, with an empty name, removes the session's name.
pub(in crate::session) fn set_name(state: &mut State, name: &[u8]) -> Result<(), Vec<u8>> {
    check_name(CLIENT_NAMES, name)?;
    state.name = name.to_vec();
    Ok(())
}

pub(super) fn set_name_command(state: &mut State, request: Request<'_>, out: &mut BytesMut) {
    match set_name(state, request.arg(2).unwrap_or_default()) {
        Ok(()) => encode::simple(out, "OK"),
        Err(text) => encode::error(out, &text),
    }
}

pub(super) fn get_name(state: &State, out: &mut BytesMut) {
    if state.name.is_empty() {
        encode::null(out, state.protocol);
    } else {
        encode::bulk(out, &state.name);
    }
}

/// `CLIENT SETINFO lib-name|lib-ver value`, with the errors of Redis 7.2.
pub(super) fn set_info(state: &mut State, request: Request<'_>, out: &mut BytesMut) {
    let (option, value) = (request.arg(2).unwrap_or_default(), request.arg(3).unwrap_or_default());
    let field = if option.eq_ignore_ascii_case(b"lib-name") {
        &mut state.lib_name
    } else if option.eq_ignore_ascii_case(b"lib-ver") {
        &mut state.lib_ver
    } else {
        let mut text = b"ERR Unrecognized option '".to_vec();
        text.extend_from_slice(option);
        text.push(b'\'');
        return encode::error(out, &text);
    };
    // The option as it was written, in its own case.
    match check_name(option, value) {
        Ok(()) => {
            *field = value.to_vec();
            encode::simple(out, "OK");
        }
        Err(text) => encode::error(out, &text),
    }
}

/// `CLIENT REPLY ON|OFF|SKIP`: only ON has a reply.
pub(super) fn reply(state: &mut State, request: Request<'_>, out: &mut BytesMut) {
    let mode = request.arg(2).unwrap_or_default();
    if mode.eq_ignore_ascii_case(b"on") {
        state.replies = Replies::On;
        encode::simple(out, "OK");
    } else if mode.eq_ignore_ascii_case(b"off") {
        state.replies = Replies::Off;
    } else if mode.eq_ignore_ascii_case(b"skip") {
        if state.replies != Replies::Off {
            state.replies = Replies::SkipNext;
        }
    } else {
        encode::error(out, b"ERR syntax error");
    }
}

/// `CLIENT NO-EVICT ON|OFF`.
pub(super) fn no_evict(state: &mut State, request: Request<'_>, out: &mut BytesMut) {
    let mode = request.arg(2).unwrap_or_default();
    let on = mode.eq_ignore_ascii_case(b"on");
    if !on && !mode.eq_ignore_ascii_case(b"off") {
        return encode::error(out, b"ERR syntax error");
    }
    state.no_evict = on;
    encode::simple(out, "OK");
}

/// `CLIENT NO-TOUCH ON|OFF`, from 7.2 on. The session's own link follows with its next request.
pub(super) fn no_touch(policy: &Policy, state: &mut State, request: Request<'_>, out: &mut BytesMut) {
    if policy.version() < Version::V7_2
        && let Some(container) = policy.table().find(b"client")
    {
        let text = Reason::UnknownSubcommand(container).reply(policy.version(), b"", request);
        return encode::error(out, &text);
    }
    let mode = request.arg(2).unwrap_or_default();
    let on = mode.eq_ignore_ascii_case(b"on");
    if !on && !mode.eq_ignore_ascii_case(b"off") {
        return encode::error(out, b"ERR syntax error");
    }
    state.no_touch = on;
    encode::simple(out, "OK");
}

/// `CLIENT INFO`: the client in one line.
pub(super) fn info(state: &State, out: &mut BytesMut) {
    // What it runs in a transaction is EXEC, as in Redis.
    let command = if state.transaction.queueing { "exec" } else { "client|info" };
    let line = format!("{}\n", state.describe(command));
    encode::verbatim(out, line.as_bytes(), state.protocol);
}
