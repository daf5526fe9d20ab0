//! Who gets in: from where a client comes, and what it shows, to a user.
//!
//! SECURITY: whoever is turned away learns nothing of why. Conditions are looked at whether the password was right or
//! not, and with the same work for every name, known or not (`tests/login_timing.rs`).

use std::net::IpAddr;
use std::sync::Arc;

use super::{Certificate, Login, Policy};
use crate::acl::{self, User};

/// Where a client comes from, as far as a login depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// Its address; none if it came by a Unix socket.
    pub address: Option<IpAddr>,
    /// The number of the listener in the configuration.
    pub listener: usize,
    /// Its certificate, which was verified.
    pub certificate: Option<&'a Certificate>,
}

/// What a session has become its user by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// A certificate alone.
    Certificate,
    /// Nothing: it is the open default user, or nobody.
    #[default]
    Nothing,
    /// A password, perhaps beside a certificate.
    Password,
}

/// How a session begins.
#[derive(Clone, Debug)]
pub enum Beginning<'p> {
    /// As this user.
    As(&'p Arc<User>, Proof),
    /// As nobody: it must log in.
    Nobody,
    /// As nobody, though its certificate was to say who it is.
    Refused {
        /// Whom the certificate names; empty if nobody.
        name: String,
        /// Why that is not enough, for the log.
        why: &'static str,
    },
}

impl Policy {
    /// How a session begins, new or by RESET: as the user whom its certificate names, without one as `default` if that
    /// is open. SECURITY: who has shown a certificate that is nobody's is not taken for `default`, however open that is.
    pub fn begin(&self, origin: Origin<'_>) -> Beginning<'_> {
        let name = match self.conditions.certified(origin) {
            Some(Ok(name)) => name,
            Some(Err(why)) => return Beginning::Refused { name: String::new(), why: why.text() },
            None => {
                return self
                    .anonymous(origin)
                    .map_or(Beginning::Nobody, |user| Beginning::As(user, Proof::Nothing));
            }
        };
        let why = match self.user(name.as_bytes()) {
            None => "there is no such user",
            Some(user) if !user.is_enabled() => "the user is off",
            Some(user) if self.conditions.admit(name.as_bytes(), origin, Proof::Certificate) => {
                return Beginning::As(user, Proof::Certificate);
            }
            Some(_) if self.conditions(name.as_bytes()).login == Login::CertificateAndPassword => {
                return Beginning::Nobody;
            }
            Some(_) => "the user may not come from there",
        };
        Beginning::Refused { name, why }
    }

    /// The user that a new session is logged in as without a password: `default`, if it is on and `nopass` and may come
    /// from there.
    pub fn anonymous(&self, origin: Origin<'_>) -> Option<&Arc<User>> {
        let admitted = self.conditions.admit(b"default", origin, Proof::Nothing);
        self.user(b"default").filter(|user| user.is_enabled() && user.is_nopass() && admitted)
    }

    /// The user, if name and password are right, the user is on, may come from there, and has shown the certificate
    /// that it needs. All that can be wrong costs the same work.
    pub fn login(&self, origin: Origin<'_>, name: &[u8], password: &[u8]) -> Option<&Arc<User>> {
        let right = acl::verify(self.users.find_for_login(name, &self.table), password);
        let admitted = self.conditions.admit(name, origin, Proof::Password);
        if right & admitted { self.user(name) } else { None }
    }

    /// Whether a session that has become the user `name` by this may go on: conditions, and whom certificates belong
    /// to, may be others than they were.
    pub fn may_stay(&self, origin: Origin<'_>, name: &[u8], proof: Proof) -> bool {
        self.conditions.admit(name, origin, proof)
    }
}

#[cfg(test)]
mod tests;
