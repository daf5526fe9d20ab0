//! Which Redis the upstream is, as far as the wording of errors depends on it.

/// The upstream's version, as its `INFO` tells. Ordered.
///
/// Valkey answers `redis_version` 7.2.4 for the sake of clients; its error texts are those of 7.2, so that number is
/// the one that counts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major number.
    pub major: u16,
    /// Minor number.
    pub minor: u16,
}

impl Version {
    /// Texts before the first contact with an upstream are those of the newest family.
    pub const NEWEST: Version = Version { major: 7, minor: 2 };
    /// Subcommands became commands of their own; quotes in `unknown command` changed.
    pub const V7_0: Version = Version { major: 7, minor: 0 };
    /// The user's name entered the NOPERM texts.
    pub const V7_2: Version = Version { major: 7, minor: 2 };
    /// XREAD took `+` for an id.
    pub const V7_4: Version = Version { major: 7, minor: 4 };
    /// Arguments appear in `unknown command`.
    pub const V5_0: Version = Version { major: 5, minor: 0 };
    /// Valkey's own number: users may be restricted to databases.
    pub const VALKEY_9_1: Version = Version { major: 9, minor: 1 };
    /// ACLs, RESP3, and one text for unknown subcommands.
    pub const V6_0: Version = Version { major: 6, minor: 0 };

    /// Reads `7.0.15` and the like; `None` if it does not begin with two numbers.
    pub fn parse(text: &str) -> Option<Version> {
        let mut parts = text.split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        Some(Version { major, minor })
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_are_read_and_ordered() {
        let version = Version::parse("7.0.15").unwrap();
        assert_eq!(version, Version::V7_0);
        assert!(version < Version::V7_2);
        assert!(Version::parse("6.2.16").unwrap() < Version::V7_0);
        assert!(Version::parse("8.2.3").unwrap() > Version::V7_2);
        assert_eq!(Version::parse("unstable"), None);
    }
}
