//! What must hold for a user beside its ACL rules: all that Redis' ACL language has no words for.

use std::collections::HashMap;

use super::Networks;

/// The conditions of one user, whatever its ACL rules become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// From where it may log in.
    pub networks: Networks,
}

/// The conditions of all users who have any, by name. They outlive the user: one of the same name that `ACL SETUSER` makes
/// later has them, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConditionsByUser {
    by_name: HashMap<Box<[u8]>, Conditions>,
    none: Conditions,
}

impl ConditionsByUser {
    /// Those of the user `name`.
    pub fn of(&self, name: &[u8]) -> &Conditions {
        self.by_name.get(name).unwrap_or(&self.none)
    }
}

impl FromIterator<(Box<[u8]>, Conditions)> for ConditionsByUser {
    fn from_iter<I: IntoIterator<Item = (Box<[u8]>, Conditions)>>(users: I) -> Self {
        ConditionsByUser { by_name: users.into_iter().collect(), none: Conditions::default() }
    }
}
