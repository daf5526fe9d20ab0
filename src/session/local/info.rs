//! INFO: the upstream's own text, with a section about Redkeep behind it.

use std::borrow::Cow;

use bytes::BytesMut;

use crate::policy::{Judged, Policy};
use crate::resp::{Protocol, Request, encode};
use crate::session::Shared;
use crate::spool::Spool;

/// Names of sections that ours belongs to.
const WITH_OWN: [&str; 4] = ["all", "default", "everything", "redkeep"];

/// Sections that tell nothing of keys, in lower case. SECURITY: others may count or name them, as `keyspace` and
/// `keysizes` do, and those of modules.
const WITHOUT_KEYS: [&str; 19] = [
    "clients",
    "cluster",
    "cluster info",
    "commandstats",
    "cpu",
    "debug",
    "errorstats",
    "latencystats",
    "memory",
    "modules",
    "persistence",
    "replication",
    "scripting engines",
    "sentinel",
    "server",
    "ssl",
    "stats",
    "threads",
    "tls",
];

/// Whether a request is an INFO.
pub(in crate::session) fn is_info(judged: Judged<'_>) -> bool {
    judged.spec().name == "info"
}

/// Whether the reply to an INFO gets our section.
pub(in crate::session) fn shows_redkeep(request: Request<'_>) -> bool {
    let ours = |word: &[u8]| WITH_OWN.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    request.len() == 1 || request.args(1).any(ours)
}

/// The section, as Redis writes its own.
pub(in crate::session) fn section(shared: &Shared, policy: &Policy) -> String {
    let Shared { clients, audit, .. } = shared;
    let reloads = shared.users.reloads();
    let all = clients.all();
    format!(
        "# Redkeep\r\nredkeep_version:{}\r\nredkeep_process_id:{}\r\nredkeep_uptime_in_seconds:{}\r\n\
         redkeep_connected_clients:{}\r\nredkeep_blocked_clients:{}\r\nredkeep_pubsub_clients:{}\r\nredkeep_users:{}\r\n\
         redkeep_policy_generation:{}\r\nredkeep_policy_age_seconds:{}\r\nredkeep_reloads_ok:{}\r\n\
         redkeep_reloads_refused:{}\r\nredkeep_last_reload_ok:{}\r\nredkeep_last_refused_unix_time:{}\r\n\
         redkeep_audit_dropped:{}\r\nredkeep_log_dropped:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        clients.uptime().as_secs(),
        all.len(),
        all.iter().filter(|client| client.is_blocked()).count(),
        all.iter().filter(|client| client.is_subscriber()).count(),
        policy.user_count(),
        policy.generation(),
        reloads.policy_age(),
        reloads.ok(),
        reloads.refused(),
        u8::from(!reloads.is_last_refused()),
        reloads.refused_at(),
        audit.dropped(),
        Spool::log().map_or(0, Spool::dropped),
    )
}

/// Writes the upstream's reply to INFO with `section` behind it, if there is one; what is no such text, as it is. `fenced`:
/// without what counts keys (`acl.fence`).
pub(in crate::session) fn append(
    reply: &[u8],
    section: &str,
    fenced: bool,
    protocol: Protocol,
    out: &mut BytesMut,
) {
    let Some(text) = text(reply) else { return out.extend_from_slice(reply) };
    let text = if fenced { Cow::Owned(without_keys(text)) } else { Cow::Borrowed(text) };
    // Sections stand an empty line apart.
    let gap: &[u8] = if text.is_empty() || section.is_empty() { b"" } else { b"\r\n" };
    encode::verbatim(out, &[&*text, gap, section.as_bytes()].concat(), protocol);
}

/// The sections of [`WITHOUT_KEYS`].
fn without_keys(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut keeps = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if let Some(name) = line.strip_prefix(b"# ") {
            let name = name.trim_ascii_end().to_ascii_lowercase();
            keeps = WITHOUT_KEYS.iter().any(|known| known.as_bytes() == name);
        }
        if keeps {
            kept.extend_from_slice(line);
        }
    }
    // The empty line before a last section that is gone.
    while kept.ends_with(b"\r\n\r\n") {
        kept.truncate(kept.len().saturating_sub(2));
    }
    kept
}

/// The text of a bulk or verbatim string, which is a whole frame.
fn text(reply: &[u8]) -> Option<&[u8]> {
    let end = reply.iter().position(|byte| *byte == b'\n')?;
    let (header, body) = reply.split_at_checked(end.checked_add(1)?)?;
    let body = body.strip_suffix(b"\r\n")?;
    match header.first()? {
        b'$' => Some(body),
        b'=' => body.get(4..),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::append;
    use crate::resp::Protocol;
    use bytes::BytesMut;

    #[test]
    fn the_section_stands_behind_the_upstreams_text_and_only_behind_a_text() {
        let appended = |reply: &str, protocol| {
            let mut out = BytesMut::new();
            append(reply.as_bytes(), "# R\r\nx:1\r\n", false, protocol, &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        };
        for (reply, protocol, expected) in [
            ("$5\r\na:1\r\n\r\n", Protocol::Resp2, "$17\r\na:1\r\n\r\n# R\r\nx:1\r\n\r\n"),
            ("=9\r\ntxt:a:1\r\n\r\n", Protocol::Resp3, "=21\r\ntxt:a:1\r\n\r\n# R\r\nx:1\r\n\r\n"),
            ("$0\r\n\r\n", Protocol::Resp2, "$10\r\n# R\r\nx:1\r\n\r\n"),
            ("-ERR syntax error\r\n", Protocol::Resp2, "-ERR syntax error\r\n"),
            ("$-1\r\n", Protocol::Resp2, "$-1\r\n"),
            ("_\r\n", Protocol::Resp3, "_\r\n"),
        ] {
            assert_eq!(appended(reply, protocol), expected);
        }
    }

    #[test]
    fn behind_a_fence_only_sections_without_keys_are_left() {
        let fenced = |text: &str, section: &str| {
            let mut out = BytesMut::new();
            append(
                format!("${}\r\n{text}\r\n", text.len()).as_bytes(),
                section,
                true,
                Protocol::Resp2,
                &mut out,
            );
            let shown = String::from_utf8(out.to_vec()).unwrap();
            shown.split_once("\r\n").unwrap().1.strip_suffix("\r\n").unwrap().to_owned()
        };
        let server = "# Server\r\na:1\r\n";
        let keyspace = "# Keyspace\r\ndb0:keys=2\r\n";
        for (text, section, expected) in [
            (format!("{server}\r\n{keyspace}"), "", server.to_owned()),
            (format!("{keyspace}\r\n{server}"), "", server.to_owned()),
            (
                format!("{server}\r\n{keyspace}\r\n# graph_stats\r\nb:x\r\n\r\n# CPU\r\nc:1\r\n"),
                "# R\r\nx:1\r\n",
                format!("{server}\r\n# CPU\r\nc:1\r\n\r\n# R\r\nx:1\r\n"),
            ),
            (keyspace.to_owned(), "", String::new()),
            ("db0:keys=2\r\n".to_owned(), "", String::new()),
        ] {
            assert_eq!(fenced(&text, section), expected, "{text}");
        }
    }
}
