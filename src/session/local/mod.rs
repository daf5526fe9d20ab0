//! Commands that Redkeep answers itself, about its own clients and users, in Redis' reply shapes.

mod acl;
mod client;
mod clients;
mod config;
mod connection;
mod info;

pub(super) use client::{CLIENT_NAMES, check_name, set_name};
pub(super) use config::{OwnValues, is_get as is_config_get, own_values, rewrite as rewrite_config};
pub(super) use info::{append as append_info, is_info, section as info_section, shows_redkeep};

use bytes::BytesMut;

use super::state::State;
use super::{Shared, auth};
use crate::command::Affinity;
use crate::policy::{Judged, Policy, Reason};
use crate::resp::encode;

/// Answers a local command that is about the session alone, other than QUIT and RESET.
pub(super) fn act(policy: &Policy, state: &mut State, judged: Judged<'_>, out: &mut BytesMut) {
    match &*judged.spec().name {
        "auth" => auth::auth(policy, state, judged.request(), out),
        "hello" => auth::hello(policy, state, judged.request(), out),
        _ => answer(policy, state, judged, out),
    }
}

/// The same for those other than AUTH and HELLO.
fn answer(policy: &Policy, state: &mut State, judged: Judged<'_>, out: &mut BytesMut) {
    let request = judged.request();
    if acl::answer(policy, state, judged, out) {
        return;
    }
    match &*judged.spec().name {
        "client|getname" => client::get_name(state, out),
        "client|id" => encode::integer(out, i64::try_from(state.id.0).unwrap_or(i64::MAX)),
        "client|info" => client::info(state, out),
        "client|no-evict" => client::no_evict(state, request, out),
        "client|no-touch" => client::no_touch(policy, state, request, out),
        "client|reply" => client::reply(state, request, out),
        "client|setinfo" => client::set_info(state, request, out),
        "client|setname" => client::set_name_command(state, request, out),
        "select" => connection::select(policy, state, request, out),
        _ => encode::error(out, &Reason::Unavailable(judged.spec()).reply(policy.version(), b"", request)),
    }
}

/// Whether a request is about what all sessions have in common (users, the ACL log, clients): one for [`administer`].
pub(super) fn administers(judged: Judged<'_>) -> bool {
    let name = &*judged.spec().name;
    match judged.spec().affinity {
        Affinity::Local => acl::is_administrative(name) || clients::is_administrative(name),
        _ => config::sets_own(judged),
    }
}

/// Answers a request that [`administers`].
pub(super) fn administer(
    shared: &Shared,
    policy: &Policy,
    state: &State,
    judged: Judged<'_>,
    out: &mut BytesMut,
) {
    let request = judged.request();
    match &*judged.spec().name {
        "config|set" => config::set(&shared.users, request, out),
        name if clients::is_administrative(name) => {
            clients::administer(&shared.clients, policy, state, name, request, out);
        }
        _ => acl::administer(&shared.users, policy, state, judged, out),
    }
}
