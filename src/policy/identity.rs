//! From a client's certificate to the name of a user, and what a certificate must not hold to be one's.
//!
//! Redis 8.6 (`tls-auth-clients-user CN`) and Valkey 9.1 (also `URI`) take a value of the certificate for the name as
//! it is. Here a listener may have patterns instead (`pattern.rs`), and nothing is chosen among several values: a
//! certificate that could be two users is none.
//!
//! SECURITY: values are compared byte by byte, by their length, without folding case or cutting anything. One that has
//! a control character (a NUL above all), or is not what its kind may be, spoils all values of its kind: CVE-2025-66220
//! (Envoy) and a fix of Redis in 2026 were about names that were cut at a NUL. Whether the certificate is genuine is
//! not asked here: it was verified in the handshake.

use std::fmt;

use super::pattern::{Alphabet, Pattern, Template};

/// The longest value that is looked at; a SPIFFE id has at most as many bytes.
const MAX_VALUE_BYTES: usize = 2048;

/// The most values of one kind; a certificate with more is not one of a client.
const MAX_VALUES: usize = 64;

/// Where in a certificate the identity stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// The common name of the subject.
    CommonName,
    /// A DNS name among the subject's alternative names.
    SanDns,
    /// A URI among the subject's alternative names.
    SanUri,
}

impl NameKind {
    fn alphabet(self) -> Alphabet {
        match self {
            NameKind::SanDns => Alphabet::Label,
            NameKind::CommonName | NameKind::SanUri => Alphabet::Segment,
        }
    }

    fn may_hold(self, value: &str) -> bool {
        match self {
            NameKind::CommonName => !value.contains(char::is_control),
            NameKind::SanDns | NameKind::SanUri => value.bytes().all(|byte| byte.is_ascii_graphic()),
        }
    }
}

/// What a certificate says of whom it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    common_names: Names,
    dns_names: Names,
    uris: Names,
    /// The last second of Unix time at which it is valid.
    pub not_after: i64,
}

/// The values of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    Fit(Vec<Box<str>>),
    /// One of them holds what it may not.
    Spoiled,
}

impl Default for Names {
    fn default() -> Self {
        Names::Fit(Vec::new())
    }
}

impl Certificate {
    /// One without names, valid until then.
    pub fn until(not_after: i64) -> Certificate {
        Certificate { not_after, ..Certificate::default() }
    }

    /// Adds a value as it stands in the certificate.
    pub fn add(&mut self, kind: NameKind, value: &[u8]) {
        let fits = |value: &&str| (1..=MAX_VALUE_BYTES).contains(&value.len()) && kind.may_hold(value);
        let value = std::str::from_utf8(value).ok().filter(fits);
        match (self.names_mut(kind), value) {
            (Names::Fit(values), Some(value)) if values.len() < MAX_VALUES => values.push(value.into()),
            _ => self.spoil(kind),
        }
    }

    /// Takes all values of a kind away, since one of them is not what it should be.
    pub fn spoil(&mut self, kind: NameKind) {
        *self.names_mut(kind) = Names::Spoiled;
    }

    fn names(&self, kind: NameKind) -> &Names {
        match kind {
            NameKind::CommonName => &self.common_names,
            NameKind::SanDns => &self.dns_names,
            NameKind::SanUri => &self.uris,
        }
    }

    fn names_mut(&mut self, kind: NameKind) -> &mut Names {
        match kind {
            NameKind::CommonName => &mut self.common_names,
            NameKind::SanDns => &mut self.dns_names,
            NameKind::SanUri => &mut self.uris,
        }
    }
}

/// For logs: one value, without control characters.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, names) in [("uri", &self.uris), ("dns", &self.dns_names), ("cn", &self.common_names)] {
            if let Names::Fit(values) = names
                && let Some(value) = values.first()
            {
                return write!(f, "{kind}:{value}");
            }
        }
        f.write_str("without a name")
    }
}

/// How a listener turns certificates into users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    kind: NameKind,
    /// None if the value itself is the user's name.
    map: Option<Vec<Mapping>>,
}

/// Which identities are which users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pattern: Pattern,
    user: Template,
}

/// Why a [`Mapping`] cannot be read: what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingError {
    /// About its pattern.
    Pattern(String),
    /// About its user.
    User(String),
}

impl Mapping {
    /// Reads a pattern, and the user that it stands for.
    ///
    /// # Errors
    /// One of them can be misread, or matches nothing.
    pub fn parse(kind: NameKind, pattern: &str, user: &str) -> Result<Mapping, MappingError> {
        let pattern = Pattern::parse(pattern, kind.alphabet()).map_err(MappingError::Pattern)?;
        let user = Template::parse(user, &pattern).map_err(MappingError::User)?;
        Ok(Mapping { pattern, user })
    }

    fn user_of(&self, value: &str) -> Option<String> {
        self.user.user(&self.pattern.values(value)?)
    }
}

/// Why a certificate is no user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmapped {
    /// Two of its values are different users.
    Ambiguous,
    /// It has no value of the kind that is asked for.
    NoName,
    /// No pattern matches.
    NoPattern,
    /// More than one common name.
    SeveralNames,
    /// A value holds what it may not.
    Spoiled,
}

impl Unmapped {
    /// For logs.
    pub fn text(self) -> &'static str {
        match self {
            Unmapped::Ambiguous => "its names are different users",
            Unmapped::NoName => "it has no name of the kind that `identity.from` asks for",
            Unmapped::NoPattern => "no pattern of `identity.map` matches",
            Unmapped::SeveralNames => "it has several common names",
            Unmapped::Spoiled => "a name in it holds what no name may: control characters, or too much",
        }
    }
}

impl Identity {
    /// Identities of this kind; without a `map` they are users' names themselves.
    pub fn new(kind: NameKind, map: Option<Vec<Mapping>>) -> Identity {
        Identity { kind, map }
    }

    /// The name of the user that a certificate belongs to, whether there is such a user or not.
    ///
    /// # Errors
    /// It belongs to nobody, or nobody can tell to whom.
    pub fn user_of(&self, certificate: &Certificate) -> Result<String, Unmapped> {
        let Names::Fit(values) = certificate.names(self.kind) else { return Err(Unmapped::Spoiled) };
        if values.is_empty() {
            return Err(Unmapped::NoName);
        }
        if self.kind == NameKind::CommonName && values.len() > 1 {
            return Err(Unmapped::SeveralNames);
        }
        let mut user: Option<String> = None;
        for candidate in values.iter().flat_map(|value| self.candidates(value)) {
            match &user {
                Some(known) if *known != candidate => return Err(Unmapped::Ambiguous),
                Some(_) => {}
                None => user = Some(candidate),
            }
        }
        let user = user.ok_or(Unmapped::NoPattern)?;
        // Only without a map, by a common name.
        if user.contains(char::is_whitespace) { Err(Unmapped::Spoiled) } else { Ok(user) }
    }

    /// The users that a value stands for.
    fn candidates(&self, value: &str) -> Vec<String> {
        match &self.map {
            Some(map) => map.iter().filter_map(|mapping| mapping.user_of(value)).collect(),
            None => vec![value.to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(values: &[(NameKind, &[u8])]) -> Certificate {
        let mut certificate = Certificate::default();
        for (kind, value) in values {
            certificate.add(*kind, value);
        }
        certificate
    }

    fn uris(values: &[&str]) -> Certificate {
        certificate(&values.iter().map(|value| (NameKind::SanUri, value.as_bytes())).collect::<Vec<_>>())
    }

    #[test]
    fn without_a_map_a_value_is_the_name_byte_by_byte() {
        use NameKind::{CommonName, SanDns, SanUri};
        let long = vec![b'a'; MAX_VALUE_BYTES + 1];
        for (kind, value, expected) in [
            (CommonName, &b"app"[..], Ok("app")),
            (CommonName, b"App", Ok("App")),
            (CommonName, "J\u{fc}rgen".as_bytes(), Ok("J\u{fc}rgen")),
            (CommonName, b"app\0", Err(Unmapped::Spoiled)),
            (CommonName, b"admin\0.evil", Err(Unmapped::Spoiled)),
            (CommonName, b"app\n", Err(Unmapped::Spoiled)),
            (CommonName, b"app\x7f", Err(Unmapped::Spoiled)),
            (CommonName, "app\u{85}".as_bytes(), Err(Unmapped::Spoiled)),
            (CommonName, b"app\xff", Err(Unmapped::Spoiled)),
            (CommonName, b"an app", Err(Unmapped::Spoiled)),
            (CommonName, b"", Err(Unmapped::Spoiled)),
            (CommonName, &long, Err(Unmapped::Spoiled)),
            (CommonName, &long[1..], Ok(std::str::from_utf8(&long[1..]).unwrap())),
            (SanUri, b"spiffe://x/y", Ok("spiffe://x/y")),
            (SanUri, b"spiffe://x/y\0z", Err(Unmapped::Spoiled)),
            (SanUri, "spiffe://x/\u{fc}".as_bytes(), Err(Unmapped::Spoiled)),
            (SanUri, b"spiffe://x /y", Err(Unmapped::Spoiled)),
            (SanDns, b"app.example", Ok("app.example")),
            (SanDns, b"app.example\0", Err(Unmapped::Spoiled)),
        ] {
            let identity = Identity::new(kind, None);
            let user = identity.user_of(&certificate(&[(kind, value)]));
            assert_eq!(user.as_deref().map_err(|why| *why), expected, "{}", value.escape_ascii());
            let others = [CommonName, SanDns, SanUri].into_iter().filter(|other| *other != kind);
            for other in others {
                let elsewhere = certificate(&[(other, b"app")]);
                assert_eq!(identity.user_of(&elsewhere), Err(Unmapped::NoName), "{kind:?}, not {other:?}");
            }
        }
    }

    #[test]
    fn a_certificate_that_could_be_two_users_is_none() {
        let plain = Identity::new(NameKind::SanUri, None);
        assert_eq!(plain.user_of(&uris(&["a", "b"])), Err(Unmapped::Ambiguous));
        assert_eq!(plain.user_of(&uris(&["a", "a"])).unwrap(), "a");
        let map = |entries: &[(&str, &str)]| {
            let parse =
                |(pattern, user): &(&str, &str)| Mapping::parse(NameKind::SanUri, pattern, user).unwrap();
            Identity::new(NameKind::SanUri, Some(entries.iter().map(parse).collect()))
        };
        let mapped = map(&[("u:{a}", "{a}"), ("u:root", "admin"), ("v:{a}", "{a}")]);
        assert_eq!(mapped.user_of(&uris(&["x", "u:app", "y"])).unwrap(), "app", "other values play no role");
        assert_eq!(mapped.user_of(&uris(&["u:app", "v:app"])).unwrap(), "app");
        assert_eq!(mapped.user_of(&uris(&["u:app", "v:other"])), Err(Unmapped::Ambiguous));
        assert_eq!(mapped.user_of(&uris(&["u:root"])), Err(Unmapped::Ambiguous), "no pattern comes first");
        assert_eq!(mapped.user_of(&uris(&["w:app"])), Err(Unmapped::NoPattern));
        assert_eq!(mapped.user_of(&uris(&["u:app", "\u{1}"])), Err(Unmapped::Spoiled));
        let cn = Identity::new(NameKind::CommonName, None);
        let twice = certificate(&[(NameKind::CommonName, b"app"), (NameKind::CommonName, b"app")]);
        assert_eq!(cn.user_of(&twice), Err(Unmapped::SeveralNames));
    }

    #[test]
    fn a_certificate_keeps_few_values_and_shows_one_without_control_characters() {
        let many = vec!["app"; MAX_VALUES];
        assert!(Identity::new(NameKind::SanUri, None).user_of(&uris(&many)).is_ok());
        let too_many = uris(&vec!["app"; MAX_VALUES + 1]);
        assert_eq!(Identity::new(NameKind::SanUri, None).user_of(&too_many), Err(Unmapped::Spoiled));
        let mut shown = certificate(&[(NameKind::CommonName, b"app"), (NameKind::SanDns, b"app.example")]);
        assert_eq!(shown.to_string(), "dns:app.example");
        shown.add(NameKind::SanDns, b"x\n");
        assert_eq!(shown.to_string(), "cn:app");
        shown.add(NameKind::CommonName, b"\x1b[2J");
        assert_eq!(shown.to_string(), "without a name");
    }
}
