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
    ///
    /// SECURITY: always compares all of them, so that the time does not depend on which of them it is.
    pub fn admit(&self, client: Option<IpAddr>) -> bool {
        let client = address(client);
        let is_in = |networks: &[IpNet]| count(networks.iter(), client) > 0;
        !is_in(&self.deny) & (is_in(&self.allow) | self.allow.is_empty())
    }

    /// How many networks there are.
    pub(super) fn len(&self) -> usize {
        self.allow.len().saturating_add(self.deny.len())
    }

    /// In how many of the networks a client is, but for the first `skipped` of them.
    pub(super) fn count(&self, client: Option<IpAddr>, skipped: usize) -> usize {
        count(self.allow.iter().chain(&self.deny).skip(skipped), address(client))
    }
}

fn address(client: Option<IpAddr>) -> IpAddr {
    client.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.to_canonical())
}

fn count<'n>(networks: impl Iterator<Item = &'n IpNet>, client: IpAddr) -> usize {
    networks.filter(|network| network.contains(&client)).count()
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
