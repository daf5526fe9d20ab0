//! Commands that Redkeep answers itself, about its own clients and users, in Redis' reply shapes.

mod client;
mod connection;

pub(super) use client::{INVALID_NAME, is_valid_name, set_name};

use bytes::BytesMut;

use super::state::State;
use crate::policy::{Judged, Policy, Reason};
use crate::resp::encode;

/// Answers a local command other than AUTH, HELLO, QUIT and RESET.
pub(super) fn answer(policy: &Policy, state: &mut State, judged: Judged<'_>, out: &mut BytesMut) {
    let request = judged.request();
    match &*judged.spec().name {
        "acl|whoami" => encode::bulk(out, state.user_name()),
        "client|getname" => client::get_name(state, out),
        "client|id" => encode::integer(out, i64::try_from(state.id.0).unwrap_or(i64::MAX)),
        "client|info" => client::info(state, out),
        "client|setinfo" => client::set_info(state, request, out),
        "client|setname" => client::set_name_command(state, request, out),
        "select" => connection::select(policy, state, request, out),
        _ => encode::error(out, &Reason::Unavailable(judged.spec()).reply(policy.version(), b"", request)),
    }
}
