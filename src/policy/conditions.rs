//! What must hold for a user beside its ACL rules: all that Redis' ACL language has no words for.

use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;

use super::roll::Roll;
use super::{Caps, Identity, Networks, Origin, Proof, Unmapped};

/// The conditions of one user, whatever its ACL rules become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// From where it may log in.
    pub networks: Networks,
    /// By what it may log in.
    pub login: Login,
    /// Whether a key fence holds for it; `None`: as for users without a word about it.
    pub fence: Option<bool>,
    /// How much it may have at the same time.
    pub caps: Caps,
}

/// What a user must show to log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// A password or a certificate.
    #[default]
    Any,
    /// A password, on a connection whose certificate is the user's.
    CertificateAndPassword,
    /// A certificate; no password counts.
    CertificateOnly,
}

impl fmt::Display for Login {
    /// As the configuration says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::Any => "any",
            Login::CertificateAndPassword => "cert_and_password",
            Login::CertificateOnly => "cert_only",
        })
    }
}

/// The conditions of all users who have any, by name, and whom certificates belong to. They outlive the user: one of
/// the same name that `ACL SETUSER` makes later has them, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConditionsByUser {
    by_name: Roll<Conditions>,
    fence: bool,
    /// What a user with as many networks as anyone has is compared with.
    most: Networks,
    /// By the number of the listener.
    identities: Vec<Option<Identity>>,
}

impl ConditionsByUser {
    /// The same with how each listener turns certificates into users, by its number.
    #[must_use]
    pub fn with_identities(self, identities: Vec<Option<Identity>>) -> Self {
        ConditionsByUser { identities, ..self }
    }

    /// The same, with a key fence for all users whose conditions do not say otherwise.
    #[must_use]
    pub fn with_fence(self, fence: bool) -> Self {
        ConditionsByUser { fence, ..self }
    }

    /// Whether a key fence is asked for the user `name`.
    pub fn fences(&self, name: &[u8]) -> bool {
        self.of(name).fence.unwrap_or(self.fence)
    }

    /// Whether both take the same certificates for the same users.
    pub fn has_same_identities(&self, other: &ConditionsByUser) -> bool {
        self.identities == other.identities
    }

    /// Those of the user `name`.
    pub fn of(&self, name: &[u8]) -> &Conditions {
        self.by_name.get(name)
    }

    /// The same, where users have these caps unless they have others of their own.
    #[must_use]
    pub fn with_caps(mut self, caps: Caps) -> Self {
        for conditions in self.by_name.values_mut() {
            conditions.caps = conditions.caps.or(caps);
        }
        self
    }

    /// Whom the client's certificate belongs to; nothing if it has shown none, or its listener does not ask.
    pub fn certified(&self, origin: Origin<'_>) -> Option<Result<String, Unmapped>> {
        let identity = self.identities.get(origin.listener)?.as_ref()?;
        origin.certificate.map(|certificate| identity.user_of(certificate))
    }

    /// Whether those of the user `name` let a client in that comes from there and shows this. SECURITY: for every name,
    /// known or not, as many networks are compared as the user who has most has; time must not tell who exists, or who
    /// has conditions.
    pub fn admit(&self, name: &[u8], origin: Origin<'_>, proof: Proof) -> bool {
        let Conditions { networks, login, .. } = self.of(name);
        black_box(self.most.count(origin.address, networks.len()));
        let is_named = matches!(self.certified(origin), Some(Ok(user)) if user.as_bytes() == name);
        networks.admit(origin.address) & login.suffices(proof, is_named)
    }
}

impl Login {
    /// Whether this proof is enough; `is_named`: the certificate of the connection is the user's.
    fn suffices(self, proof: Proof, is_named: bool) -> bool {
        match (self, proof) {
            (Login::Any, Proof::Nothing | Proof::Password) => true,
            (Login::Any | Login::CertificateOnly, Proof::Certificate)
            | (Login::CertificateAndPassword, Proof::Password) => is_named,
            (Login::CertificateOnly, Proof::Nothing | Proof::Password)
            | (Login::CertificateAndPassword, Proof::Nothing | Proof::Certificate) => false,
        }
    }
}

impl FromIterator<(Box<[u8]>, Conditions)> for ConditionsByUser {
    fn from_iter<I: IntoIterator<Item = (Box<[u8]>, Conditions)>>(users: I) -> Self {
        // In an order, since two of the same content are to be equal.
        let users: BTreeMap<_, Conditions> = users.into_iter().collect();
        let most = users.values().map(|conditions| &conditions.networks);
        let most = most.max_by_key(|networks| networks.len()).cloned().unwrap_or_default();
        let named = users.iter().map(|(name, conditions)| (&**name, conditions.clone()));
        let by_name = Roll::new(Conditions::default(), named);
        ConditionsByUser { by_name, most, ..ConditionsByUser::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_users_fence_goes_before_what_is_said_of_all() {
        let fence = |fence| Conditions { fence, ..Conditions::default() };
        let users = [("on", Some(true)), ("off", Some(false)), ("silent", None)];
        let conditions: ConditionsByUser =
            users.into_iter().map(|(name, set)| (name.as_bytes().into(), fence(set))).collect();
        for (all, expected) in [(false, [true, false, false, false]), (true, [true, false, true, true])] {
            let conditions = conditions.clone().with_fence(all);
            let names = ["on", "off", "silent", "unknown"];
            assert_eq!(names.map(|name| conditions.fences(name.as_bytes())), expected);
        }
    }
}
