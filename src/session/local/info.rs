//! INFO: the upstream's own text, with a section about Redkeep behind it.

use bytes::BytesMut;

use crate::policy::{Judged, Policy};
use crate::resp::{Protocol, encode};
use crate::session::clients::Clients;

/// Names of sections that ours belongs to.
const WITH_OWN: [&str; 4] = ["all", "default", "everything", "redkeep"];

/// Whether a request is an INFO whose reply gets our section.
pub(in crate::session) fn shows_redkeep(judged: Judged<'_>) -> bool {
    let request = judged.request();
    let ours = |word: &[u8]| WITH_OWN.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    judged.spec().name == "info" && (request.len() == 1 || request.args(1).any(ours))
}

/// The section, as Redis writes its own.
pub(in crate::session) fn section(clients: &Clients, policy: &Policy) -> String {
    let all = clients.all();
    format!(
        "# Redkeep\r\nredkeep_version:{}\r\nredkeep_process_id:{}\r\nredkeep_uptime_in_seconds:{}\r\n\
         redkeep_connected_clients:{}\r\nredkeep_blocked_clients:{}\r\nredkeep_pubsub_clients:{}\r\nredkeep_users:{}\r\n\
         redkeep_policy_generation:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        clients.uptime().as_secs(),
        all.len(),
        all.iter().filter(|client| client.is_blocked()).count(),
        all.iter().filter(|client| client.is_subscriber()).count(),
        policy.user_count(),
        policy.generation(),
    )
}

/// Writes the upstream's reply to INFO with `section` behind it; what is no such text, as it is.
pub(in crate::session) fn append(reply: &[u8], section: &str, protocol: Protocol, out: &mut BytesMut) {
    let Some(text) = text(reply) else { return out.extend_from_slice(reply) };
    // Sections stand an empty line apart.
    let gap: &[u8] = if text.is_empty() { b"" } else { b"\r\n" };
    encode::verbatim(out, &[text, gap, section.as_bytes()].concat(), protocol);
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
            append(reply.as_bytes(), "# R\r\nx:1\r\n", protocol, &mut out);
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
}
