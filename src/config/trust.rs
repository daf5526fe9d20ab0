//! What a listener says beside its TLS: addresses, permissions of a socket, whom it lets in.

use super::problems::Located;
use super::read::{Entry, Reader, Section, quoted};
use super::settings::ListenerTrust;
use super::tree::Kind;
use super::{users, values};
use crate::policy::Networks;
use crate::server::Bind;

/// Redis leaves this to the umask. Nobody but Redkeep's own user, unless the operator says so.
const UNIX_MODE: u32 = 0o600;

/// `bind`: one address or a list of them.
pub(super) fn binds(reader: &mut Reader, section: &mut Section<'_>) -> Vec<Located<Bind>> {
    let Some(entry) = reader.require(section, "bind", "127.0.0.1:6379") else { return Vec::new() };
    let items = match entry.node.kind {
        Kind::Sequence(_) => reader.items(entry, "bind").unwrap_or_default(),
        _ => vec![entry],
    };
    if items.is_empty() {
        reader.problem(entry.at, "`bind` is empty; write an address such as `127.0.0.1:6379`");
    }
    let mut bind = |entry: Entry<'_>| {
        let bind = reader.parse(entry, values::bind)?;
        Some(match bind.value {
            Bind::Unix(path) => Located::new(Bind::Unix(reader.resolve(&path)), bind.at),
            Bind::Tcp(_) => bind,
        })
    };
    items.into_iter().filter_map(&mut bind).collect()
}

/// `mode`, which only Unix sockets have.
pub(super) fn unix_mode(reader: &mut Reader, section: &mut Section<'_>, binds: &[Located<Bind>]) -> u32 {
    let Some(entry) = section.take("mode") else { return UNIX_MODE };
    if !binds.is_empty() && binds.iter().all(|bind| matches!(bind.value, Bind::Tcp(_))) {
        reader.problem(entry.at, "`mode` is for Unix sockets; write `bind: unix:/path`, or remove `mode`");
    }
    reader.parse(entry, mode).map_or(UNIX_MODE, |mode| mode.value)
}

fn mode(text: &str) -> Result<u32, String> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err(format!("is {}; write permissions as `\"0600\"` or `\"0660\"`", quoted(text))),
    }
}

/// Whom a listener lets in.
pub(super) fn trust(reader: &mut Reader, section: &mut Section<'_>) -> ListenerTrust {
    let networks = users::networks(reader, section);
    let protected_mode = section.take("protected_mode");
    let protected_mode = protected_mode.and_then(|entry| reader.parse(entry, values::switch));
    let switch = section.take("proxy_protocol");
    let on = switch.and_then(|entry| reader.parse(entry, values::switch)).is_some_and(|on| on.value);
    let from = section.take("proxy_protocol_from");
    let allow: Vec<_> = from
        .and_then(|entry| reader.items(entry, "proxy_protocol_from"))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|item| Some(reader.parse(item, values::network)?.value))
        .collect();
    match (switch, from) {
        // SECURITY: whoever may send such a header may call themselves whatever they like.
        (Some(switch), None) if on => reader.problem(
            switch.at,
            "`proxy_protocol` needs the addresses of the load balancers; write `proxy_protocol_from: [10.0.0.5]`",
        ),
        (_, Some(from)) if !on => reader.problem(
            from.at,
            "`proxy_protocol_from` has no effect without `proxy_protocol: yes`; write that, or remove it",
        ),
        (_, Some(entry)) if matches!(entry.node.kind, Kind::Null) || is_empty_list(entry) => {
            reader.problem(entry.at, "`proxy_protocol_from` is empty; write a network such as `10.0.0.0/8`");
        }
        _ => {}
    }
    let proxies = on.then(|| Networks { allow, deny: Vec::new() });
    ListenerTrust { networks, protected_mode: protected_mode.map(|switch| switch.value), proxies }
}

fn is_empty_list(entry: Entry<'_>) -> bool {
    matches!(&entry.node.kind, Kind::Sequence(items) if items.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use crate::config::{Config, parse};

    fn load(listener: &str) -> Result<Config, String> {
        let source =
            format!("listeners:\n  - {{{listener}}}\nupstream: {{address: \"unix:/r\"}}\nacl: {{file: u}}\n");
        parse(Path::new("t.yaml"), &source).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_listener_may_have_several_addresses() {
        let config =
            load(r#"bind: ["127.0.0.1:1", "[::1]:1", "unix:/s"], mode: "0660", allow_from: [10.0.0.0/8]"#);
        let config = config.unwrap();
        let binds: Vec<String> = config.listeners.iter().map(|one| one.bind.value.to_string()).collect();
        assert_eq!(binds, ["127.0.0.1:1", "[::1]:1", "unix:/s"]);
        for listener in &config.listeners {
            assert_eq!((listener.unix_mode, listener.trust.networks.allow.len()), (0o660, 1));
        }
        assert_eq!(load(r#"bind: "unix:/s""#).unwrap().listeners[0].unix_mode, 0o600);
    }

    #[test]
    fn what_contradicts_itself_or_says_nothing_is_told() {
        for (listener, told) in [
            (r#"bind: []"#, "`bind` is empty; write an address such as `127.0.0.1:6379`"),
            (r#"bind: ["127.0.0.1:1", "127.0.0.1:1"]"#, "takes the same address as the listener in line 2"),
            (r#"bind: "127.0.0.1:1", mode: "0600""#, "`mode` is for Unix sockets"),
            (r#"bind: "unix:/s", mode: rw"#, "`mode` is `rw`; write permissions as `\"0600\"` or `\"0660\"`"),
            (r#"bind: "unix:/s", mode: "1777""#, "`mode` is `1777`"),
            (r#"bind: "unix:/s", mode: "0o600""#, "`mode` is `0o600`"),
            (r#"bind: "unix:/s", allow_from: []"#, "`allow_from` is empty"),
            (r#"bind: "unix:/s", deny_from: [10.0.0.1/8]"#, "has bits behind its prefix; write `10.0.0.0/8`"),
            (
                r#"bind: "unix:/s", proxy_protocol: yes"#,
                "`proxy_protocol` needs the addresses of the load balancers",
            ),
            (
                r#"bind: "unix:/s", proxy_protocol_from: [10.0.0.1]"#,
                "has no effect without `proxy_protocol: yes`",
            ),
            (
                r#"bind: "unix:/s", proxy_protocol: yes, proxy_protocol_from: []"#,
                "`proxy_protocol_from` is empty",
            ),
        ] {
            let found = load(listener).unwrap_err();
            assert!(found.contains(told), "{found}");
            assert_eq!(found.lines().count(), 1, "{found}");
        }
    }

    #[test]
    fn tls_takes_names_of_versions_and_suites_as_lists_and_as_redis_writes_them() {
        let offer = |text: &str| {
            let config =
                load(&format!(r#"bind: "127.0.0.1:0", tls: {{cert_file: c, key_file: k, {text}}}"#))?;
            Ok::<_, String>(config.listeners[0].tls.as_ref().unwrap().offer.clone())
        };
        let (all, redis) = (offer("protocols: [TLSv1.2, TLSv1.3]"), offer(r#"protocols: "TLSv1.2 TLSv1.3""#));
        assert_eq!(all, redis);
        assert_eq!(all.unwrap().versions.len(), 2);
        assert_eq!(offer("protocols: tlsv1.3").unwrap().versions().len(), 1);
        let both = "ECDHE-RSA-AES128-GCM-SHA256:TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
        assert_eq!(offer(&format!(r#"ciphers: "{both}""#)).unwrap().ciphers.len(), 2);
        assert_eq!(offer("ciphersuites: [TLS_AES_128_GCM_SHA256]").unwrap().ciphersuites.len(), 1);
        for (text, told) in [
            ("protocols: [TLSv1.1]", "`protocols` is `TLSv1.1`; write one of `TLSv1.2`, `TLSv1.3`"),
            ("protocols: []", "`protocols` is empty"),
            (
                "ciphers: DES-CBC3-SHA",
                "`ciphers` has `DES-CBC3-SHA`; known are ECDHE-ECDSA-AES256-GCM-SHA384, ",
            ),
            ("ciphersuites: x", "known are TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20"),
            (
                "protocols: TLSv1.3, ciphers: ECDHE-RSA-AES128-GCM-SHA256",
                "`ciphers` is for a version that `protocols` leaves out; remove it",
            ),
            ("crl_files: [x]", "`crl_files` needs the CA whose lists these are"),
            ("certificates: [{cert_file: c}]", "key `key_file` is missing in `certificates[]`"),
        ] {
            let found = offer(text).unwrap_err();
            assert!(found.contains(told), "{found}");
        }
    }

    #[test]
    fn keepalive_is_in_whole_seconds_or_off() {
        let limits = |text: &str| {
            let source = format!(
                "listeners: [{{bind: \"127.0.0.1:0\"}}]\nupstream: {{address: \"unix:/r\"}}\nacl: {{file: u}}\n\
                 limits: {{tcp_keepalive: {text}}}\n"
            );
            let config = parse(Path::new("t.yaml"), &source).map_err(|problems| problems.to_string())?;
            Ok::<_, String>(config.limits.tcp_keepalive)
        };
        assert_eq!(limits("300"), Ok(Duration::from_secs(300)));
        assert_eq!(limits("0"), Ok(Duration::ZERO));
        assert!(limits("1500ms").unwrap_err().contains("write whole seconds such as `30s`, or 0 for never"));
    }
}
