//! The section `limits`: what clients may take, each, together and of one user.

use std::time::Duration;

use super::read::{Reader, Section, quoted};
use super::settings::Limits;
use super::values;
use crate::policy::Caps;
use crate::session;
use crate::upstream::TCP_KEEPALIVE;

/// A handshake takes two round trips; longer is an attack or a dead client.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Redis' own default.
const MAXCLIENTS: usize = 10_000;
/// The least that Redis takes for `proto-max-bulk-len` and `client-query-buffer-limit`.
const LEAST_REQUEST: usize = 1 << 20;
/// More than one process serves.
const MAX_CAP: usize = 1_000_000_000;

/// Reads the section, if it is there.
pub(super) fn limits(reader: &mut Reader, top: &mut Section<'_>) -> Limits {
    let sessions = session::Limits::DEFAULT;
    let defaults = Limits {
        maxclients: MAXCLIENTS,
        sessions,
        handshake_timeout: HANDSHAKE_TIMEOUT,
        tcp_keepalive: TCP_KEEPALIVE,
        per_user: Caps::default(),
    };
    let Some(entry) = top.take("limits") else { return defaults };
    let limits = reader.section(entry, |reader, section| Limits {
        maxclients: reader.number(section, "maxclients", MAXCLIENTS, 1..=1_000_000),
        sessions: self::sessions(reader, section),
        handshake_timeout: reader.parse_or(section, "handshake_timeout", HANDSHAKE_TIMEOUT, values::duration),
        tcp_keepalive: reader.parse_or(section, "tcp_keepalive", TCP_KEEPALIVE, values::duration_or_never),
        per_user: section.take("per_user").and_then(|entry| reader.section(entry, caps)).unwrap_or_default(),
    });
    limits.unwrap_or(defaults)
}

/// `max_connections`, `max_in_flight` and `max_leased` of a user, or of all.
pub(super) fn caps(reader: &mut Reader, section: &mut Section<'_>) -> Caps {
    let mut cap = |name| {
        let entry = section.take(name)?;
        let cap = reader.parse(entry, |text| match text.parse() {
            Ok(number) if number <= MAX_CAP => Ok(number),
            _ => Err(format!("is {}; write a whole number, 0 for no limit", quoted(text))),
        });
        Some(cap?.value)
    };
    Caps {
        max_connections: cap("max_connections"),
        max_in_flight: cap("max_in_flight"),
        max_leased: cap("max_leased"),
    }
}

fn sessions(reader: &mut Reader, section: &mut Section<'_>) -> session::Limits {
    let defaults = session::Limits::DEFAULT;
    let mut bytes = |name, default, parse: fn(&str) -> Result<usize, String>| {
        reader.parse_or(section, name, default, parse)
    };
    let maxmemory_clients = bytes("maxmemory_clients", defaults.maxmemory_clients, values::bytes);
    let query = bytes("client_query_buffer_limit", defaults.client_query_buffer_limit, request_bytes);
    let bulk = bytes("proto_max_bulk_len", defaults.proto_max_bulk_len, request_bytes);
    session::Limits {
        maxmemory_clients,
        client_query_buffer_limit: query,
        proto_max_bulk_len: bulk,
        timeout: reader.parse_or(section, "timeout", defaults.timeout, values::duration_or_no_limit),
        auth_timeout: reader.parse_or(
            section,
            "auth_timeout",
            defaults.auth_timeout,
            values::duration_or_no_limit,
        ),
        login_backoff: reader.parse_or(section, "login_backoff", defaults.login_backoff, values::switch),
        ..output_limits(reader, section)
    }
}

/// A number of bytes that Redis would take for a limit of requests.
fn request_bytes(text: &str) -> Result<usize, String> {
    match values::bytes(text) {
        Ok(bytes) if bytes < LEAST_REQUEST => {
            Err(format!("is {}; write `1mb` or more, as Redis asks for", quoted(text)))
        }
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(format!("is {}; write a number of bytes such as `512mb`", quoted(text))),
    }
}

fn output_limits(reader: &mut Reader, section: &mut Section<'_>) -> session::Limits {
    let defaults = session::Limits::DEFAULT;
    let Some(entry) = section.take("client_output_buffer_limit") else { return defaults };
    let limits = reader.section(entry, |reader, section| session::Limits {
        normal: reader.parse_or(section, "normal", defaults.normal, values::output_limit),
        replica: reader.parse_or(section, "replica", defaults.replica, values::output_limit),
        pubsub: reader.parse_or(section, "pubsub", defaults.pubsub, values::output_limit),
        ..defaults
    });
    limits.unwrap_or(defaults)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, Problems, parse};
    use super::*;

    fn read(limits: &str) -> Result<Config, Problems> {
        let source = format!(
            "listeners: [{{bind: \"127.0.0.1:0\"}}]\nupstream: {{address: \"unix:/redis.sock\"}}\n\
             acl: {{file: users.acl}}\nusers: [{{name: app, max_in_flight: 7, max_leased: 0}}]\nlimits: {{{limits}}}\n"
        );
        parse(Path::new("t.yaml"), &source)
    }

    #[test]
    fn limits_are_read_and_users_have_their_own() {
        let config = read(
            "timeout: 300, auth_timeout: 0, login_backoff: no, client_query_buffer_limit: 1mb, proto_max_bulk_len: 2mb, \
             client_output_buffer_limit: {replica: 1mb 2kb 3}, per_user: {max_connections: 5, max_in_flight: 6}",
        );
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        let limits = config.limits.sessions;
        assert_eq!(limits.timeout, Some(Duration::from_secs(300)));
        assert_eq!((limits.auth_timeout, limits.login_backoff), (None, false));
        assert_eq!((limits.client_query_buffer_limit, limits.proto_max_bulk_len), (1 << 20, 2 << 20));
        assert_eq!((limits.replica.hard, limits.replica.soft), (1 << 20, 2 << 10));
        assert_eq!(limits.pubsub, session::Limits::DEFAULT.pubsub);
        let own = config.conditions[0].1.caps.or(config.limits.per_user);
        assert_eq!(own, Caps { max_connections: Some(5), max_in_flight: Some(7), max_leased: Some(0) });
    }

    #[test]
    fn what_is_no_limit_is_told_with_what_to_write() {
        for (limits, problem) in [
            (
                "proto_max_bulk_len: 1000kb",
                "`proto_max_bulk_len` is `1000kb`; write `1mb` or more, as Redis asks for",
            ),
            (
                "client_query_buffer_limit: 0",
                "`client_query_buffer_limit` is `0`; write `1mb` or more, as Redis asks for",
            ),
            (
                "proto_max_bulk_len: much",
                "`proto_max_bulk_len` is `much`; write a number of bytes such as `512mb`",
            ),
            ("per_user: {max_leased: -1}", "`max_leased` is `-1`; write a whole number, 0 for no limit"),
            ("timeout: never", "`timeout` is `never`; write a time from `1ms` to `24h`"),
            ("login_backoff: maybe", "`login_backoff` is `maybe`; write `yes` or `no`"),
        ] {
            let problems = read(limits).map(|_| ()).unwrap_err().to_string();
            assert!(problems.starts_with("t.yaml:5:") && problems.contains(problem), "{problems}");
            assert_eq!(problems.lines().count(), 1, "{problems}");
        }
    }
}
