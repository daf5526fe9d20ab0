//! Networks from which clients may come, for a listener or a user: what Redis leaves to firewalls.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// Who may come: a list of networks that are let in, and one of networks that are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Only these are let in; empty for all.
    pub allow: Vec<IpNet>,
    /// These are not, even if `allow` names them.
    pub deny: Vec<IpNet>,
}

impl Networks {
    /// Whether a client with this address may come. IPv4 addresses that are written as IPv6 ones (`::ffff:…`) count as
    /// IPv4. A client without an address is one of a Unix socket, and counts as 127.0.0.1.
    pub fn admit(&self, client: Option<IpAddr>) -> bool {
        let client = client.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.to_canonical());
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&client));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_comes_in_if_it_is_allowed_and_not_denied() {
        let networks = |allow: &[&str], deny: &[&str]| {
            let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
            Networks { allow: parse(allow), deny: parse(deny) }
        };
        let ip = |text: &str| Some(text.parse().unwrap());
        assert!(Networks::default().admit(None));
        assert!(Networks::default().admit(ip("2001:db8::1")));
        let some = networks(&["10.0.0.0/8", "2001:db8::/32"], &["10.1.0.0/16"]);
        for (client, admitted) in [
            ("10.0.0.1", true),
            ("10.1.0.1", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:10.1.0.1", false),
            ("11.0.0.1", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(some.admit(ip(client)), admitted, "{client}");
        }
        assert!(!some.admit(None));
        assert!(networks(&["127.0.0.0/8"], &[]).admit(None));
        assert!(!networks(&[], &["127.0.0.1/32"]).admit(None));
    }
}
