//! What differs between servers in the rule language: what a new user may do, and how rules are printed.
//!
//! Never which rules there are or what they decide: every rule is understood whatever the upstream.
//!
//! Source: `ACL LIST` and `ACL GETUSER` of Redis 6.2.5, 7.0.15, 7.4.1, 8.2.3 and Valkey 8.0.1, 9.1.2;
//! `tests/it/acl_text.rs` compares byte for byte.

/// What new users, `reset` and new selectors begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// All channels (`acl-pubsub-default allchannels`); otherwise none.
    pub all_channels: bool,
}

/// How a server prints users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Redis up to 7.0: `sanitize-payload` and its opposite only once a rule has said so; first arguments as written.
    Redis70,
    /// Redis since 7.2, Valkey up to 9.0: one of the two always; first arguments in lower case.
    Redis72,
    /// Valkey since 9.1: neither of them ever; databases.
    Valkey91,
}

impl Dialect {
    /// Whether `ACL GETUSER` has a field `databases`. Restrictions to databases are printed in any dialect.
    pub fn has_databases(self) -> bool {
        self == Dialect::Valkey91
    }

    /// The word for what rules said last of `sanitize-payload`, if one is printed.
    pub(super) fn payload(self, sanitize: Option<bool>) -> Option<&'static str> {
        match (self, sanitize) {
            (Dialect::Valkey91, _) | (Dialect::Redis70, None) => None,
            (_, Some(false)) => Some("skip-sanitize-payload"),
            (_, Some(true) | None) => Some("sanitize-payload"),
        }
    }

    /// A first argument as it is printed.
    pub(super) fn first_arg(self, arg: &[u8]) -> Vec<u8> {
        if self == Dialect::Redis70 { arg.to_vec() } else { arg.to_ascii_lowercase() }
    }
}
