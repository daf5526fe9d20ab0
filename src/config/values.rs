//! The forms of single values: text to value, or what is wrong with it and what to write instead.
//!
//! An error's text continues a sentence that starts with the key's name: `workers` *is `x`; write a number*.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use super::read::quoted;
use super::settings::UpstreamAddress;
use crate::server::Bind;
use crate::session::OutputLimit;

/// The port of an upstream address without one: Redis' own.
const REDIS_PORT: u16 = 6379;
/// The longest duration that is not a slip of a unit.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// `yes` and `true`, `no` and `false` (and `on`, `off`) mean what they say.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" => Ok(true),
        "no" | "false" | "off" => Ok(false),
        _ => Err(format!("is {}; write `yes` or `no`", quoted(text))),
    }
}

/// One of several words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        format!("is {}; write one of {}", quoted(text), names.join(", "))
    })
}

/// `500ms`, `5s`, `1m`, `1h`, or a whole number of seconds; from 1 ms to a day.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let ms_per_unit = match unit {
        "ms" => Some(1),
        "s" | "" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let duration = digits
        .trim_end()
        .parse::<u64>()
        .ok()
        .zip(ms_per_unit)
        .and_then(|(number, ms)| number.checked_mul(ms))
        .map(Duration::from_millis);
    match duration {
        Some(duration) if !duration.is_zero() && duration <= MAX_DURATION => Ok(duration),
        _ => Err(format!(
            "is {}; write a time from `1ms` to `24h` such as `500ms`, `5s` or `1m`",
            quoted(text)
        )),
    }
}

/// The same, or 0 for never. Whole seconds, since the system counts in these.
pub(super) fn duration_or_never(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(duration) if duration.subsec_nanos() == 0 => Ok(duration),
        _ if text == "0" => Ok(Duration::ZERO),
        _ => Err(format!("is {}; write whole seconds such as `30s`, or 0 for never", quoted(text))),
    }
}

/// The same, or 0 for no limit.
pub(super) fn duration_or_no_limit(text: &str) -> Result<Option<Duration>, String> {
    if text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end() == "0" {
        return Ok(None);
    }
    duration(text).map(Some).map_err(|error| format!("{error}, 0 for no limit"))
}

/// A number of bytes as Redis writes them: `100`, `1k` (1,000), `1kb` (1,024), and so on with m and g.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    number_of_bytes(text).ok_or_else(|| {
        format!("is {}; write a number of bytes such as `100mb` or `1gb`, 0 for no limit", quoted(text))
    })
}

fn number_of_bytes(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

/// `32mb 8mb 60`: a hard limit, a soft limit, and the seconds for which the soft one may be exceeded, as in Redis.
pub(super) fn output_limit(text: &str) -> Result<OutputLimit, String> {
    let limit = || {
        let mut words = text.split_ascii_whitespace();
        let (hard, soft) = (number_of_bytes(words.next()?)?, number_of_bytes(words.next()?)?);
        let seconds = words.next()?.parse::<u32>().ok()?;
        let soft_time = Duration::from_secs(seconds.into());
        words.next().is_none().then_some(OutputLimit { hard, soft, soft_time })
    };
    limit().ok_or_else(|| {
        format!("is {}; write a hard limit, a soft limit and seconds, such as `32mb 8mb 60`", quoted(text))
    })
}

/// `10.0.0.0/8`, `2001:db8::/32`, or one address. Bits behind the prefix are a slip: what was meant?
///
/// SECURITY: clients' IPv4 addresses count as such however they were written, so a network of them in the form of IPv6
/// (`::ffff:10.0.0.0/104`) becomes one of IPv4; it would never hold otherwise. A wider one says neither this nor that,
/// but for `::/0`, which everybody takes for all of IPv6.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match network {
        Ok(network) if network == network.trunc() => match network {
            IpNet::V6(wide) if (1..96).contains(&wide.prefix_len()) && wide.contains(&MAPPED) => {
                Err(format!(
                    "is {}, of which IPv4 addresses written as IPv6 (`::ffff:0:0/96`) are a part; write networks of IPv4 \
                 and of IPv6 on their own",
                    quoted(text)
                ))
            }
            network => Ok(canonical(network)),
        },
        Ok(network) => {
            let wide = quoted(&network.trunc().to_string());
            Err(format!("is {}, which has bits behind its prefix; write {wide}", quoted(text)))
        }
        Err(_) => Err(format!("is {}; write a network such as `10.0.0.0/8` or an IP address", quoted(text))),
    }
}

/// An IPv4 address written as IPv6.
const MAPPED: Ipv6Addr = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();

fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(mapped) => mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    let of_four = mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    of_four.map_or(network, IpNet::V4)
}

/// `0.0.0.0:6380`, `[::]:6380`, `unix:/path`.
pub(super) fn bind(text: &str) -> Result<Bind, String> {
    if let Some(path) = unix_path(text) {
        return path.map(|path| Bind::Unix(path.into()));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Bind::Tcp(address));
    }
    let advice = match text.rsplit_once(':') {
        None if text.parse::<u16>().is_ok() => format!("write an address too, such as `0.0.0.0:{text}`"),
        None => "write an address and a port, such as `0.0.0.0:6380`".into(),
        Some((host, port)) if port.parse::<u16>().is_err() => {
            format!("write a port from 0 to 65535 after {}", quoted(&format!("{host}:")))
        }
        Some(("" | "*", port)) => {
            format!("write `0.0.0.0:{port}` for all IPv4 addresses, `[::]:{port}` for IPv6")
        }
        Some(("localhost", port)) => format!("write `127.0.0.1:{port}` or `[::1]:{port}`"),
        Some((host, port)) if host.contains(':') && !host.starts_with('[') => {
            format!("put the IPv6 address in brackets: {}", quoted(&format!("[{host}]:{port}")))
        }
        Some(_) => "write an IP address, not a name, such as `0.0.0.0:6380`, or `unix:/path`".into(),
    };
    Err(format!("is {}; {advice}", quoted(text)))
}

/// `unix:/path`, `redis://host:6379`, `rediss://host:6379`.
pub(super) fn upstream_address(text: &str) -> Result<UpstreamAddress, String> {
    // SECURITY: before any message that quotes the address.
    if text.contains('@') {
        return Err("has a user or password in it; write the address alone, such as `redis://host:6379`, \
                    and use `username` and `password_file`"
            .into());
    }
    if let Some(path) = unix_path(text) {
        return path.map(|path| UpstreamAddress::Unix(path.into()));
    }
    let wrong = |advice: &str| format!("is {}; {advice}", quoted(text));
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(wrong("write `redis://host:6379`, `rediss://host:6379` (TLS) or `unix:/path`"));
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(wrong("write nothing after the port: clients choose their database by SELECT"));
    }
    let (host, port) = host_and_port(rest).map_err(wrong)?;
    match scheme {
        "redis" => Ok(UpstreamAddress::Tcp { host, port }),
        "rediss" => Ok(UpstreamAddress::Tls { host, port }),
        _ => Err(wrong("write `redis://`, `rediss://` (TLS) or `unix:` before the address")),
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("write `]` after the IPv6 address")?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("write an IPv6 address between the brackets");
        }
        (host, after.strip_prefix(':').or_else(|| after.is_empty().then_some("")))
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("put an IPv6 address in brackets: `redis://[::1]:6379`");
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("")),
        }
    };
    let port = match port {
        Some("") if !text.ends_with(':') => Some(REDIS_PORT),
        Some(port) => port.parse().ok().filter(|port| *port != 0),
        None => None,
    };
    let port = port.ok_or("write a port from 1 to 65535 after the host")?;
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("write a host name or address after `://`");
    }
    Ok((host.to_owned(), port))
}

/// The path of `unix:/path` and of its other spelling `unix:///path`; nothing if it is something else.
fn unix_path(text: &str) -> Option<Result<&Path, String>> {
    /// What fits into `sockaddr_un` on Linux, without the closing NUL.
    const MAX_BYTES: usize = 107;
    let path = text.strip_prefix("unix:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    Some(match path.len() {
        0 => Err("has no path; write `unix:/path`".into()),
        1..=MAX_BYTES => Ok(Path::new(path)),
        _ => Err(format!("has a path of more than {MAX_BYTES} bytes; write a shorter one")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_addresses() {
        let tcp = |host: &str, port| UpstreamAddress::Tcp { host: host.into(), port };
        let tls = |host: &str, port| UpstreamAddress::Tls { host: host.into(), port };
        for (text, expected) in [
            ("redis://redis", tcp("redis", 6379)),
            ("redis://10.0.0.1:7000/", tcp("10.0.0.1", 7000)),
            ("redis://[::1]", tcp("::1", 6379)),
            ("rediss://[::1]:6390", tls("::1", 6390)),
            ("unix:/a/b", UpstreamAddress::Unix("/a/b".into())),
            ("unix:///a/b", UpstreamAddress::Unix("/a/b".into())),
        ] {
            assert_eq!(upstream_address(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "redis",
            "redis:6379",
            "redis://",
            "redis://:6379",
            "redis://h:",
            "redis://h:0",
            "redis://h:x",
            "redis://h:70000",
            "redis://::1",
            "redis://[::1",
            "redis://[h]",
            "redis://[::1]x",
            "redis://h/1",
            "redis://h?db=1",
            "http://h",
            "unix:",
            "redis://a b",
        ] {
            assert!(upstream_address(text).unwrap_err().contains(';') || text == "unix:", "{text}");
        }
        for text in ["redis://:hunter2@h", "redis://u:hunter2@h:1", "hunter2@h", "unix:/hunter2@x"] {
            assert!(!upstream_address(text).unwrap_err().contains("hunter2"));
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [("500ms", 500), ("5s", 5_000), ("1m", 60_000), ("24h", 86_400_000), ("7", 7_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in
            ["", "s", "0", "0ms", "-1s", "1.5s", "1d", "25h", "99999999999999999999s", "1 minute", "é"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_with_none() {
        for text in ["0", "0s", "0ms"] {
            assert_eq!(duration_or_no_limit(text), Ok(None), "{text}");
        }
        assert_eq!(duration_or_no_limit("300"), Ok(Some(Duration::from_secs(300))));
        for text in ["", "00", "-1", "no"] {
            assert!(duration_or_no_limit(text).unwrap_err().ends_with("0 for no limit"), "{text}");
        }
    }

    #[test]
    fn addresses_to_bind() {
        assert_eq!(bind("[::]:0"), Ok(Bind::Tcp("[::]:0".parse().unwrap())));
        assert_eq!(bind("unix:/a"), Ok(Bind::Unix("/a".into())));
        for (text, advice) in [
            ("6380", "write an address too, such as `0.0.0.0:6380`"),
            ("*:6380", "write `0.0.0.0:6380` for all IPv4 addresses, `[::]:6380` for IPv6"),
            ("localhost:1", "write `127.0.0.1:1` or `[::1]:1`"),
            ("::1:6380", "put the IPv6 address in brackets: `[::1]:6380`"),
            ("1.2.3.4:99999", "write a port from 0 to 65535 after `1.2.3.4:`"),
            ("redis:6379", "write an IP address, not a name, such as `0.0.0.0:6380`, or `unix:/path`"),
        ] {
            assert_eq!(bind(text), Err(format!("is `{text}`; {advice}")));
        }
        assert!(bind(&format!("unix:/{}", "a".repeat(107))).is_err());
    }
}
