//! What must hold for a user beside its ACL rules: all that Redis' ACL language has no words for.

use std::collections::HashMap;

use super::{Caps, Networks};

/// The conditions of one user, whatever its ACL rules become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// From where it may log in.
    pub networks: Networks,
    /// Whether a key fence holds for it; `None`: as for users without a word about it.
    pub fence: Option<bool>,
    /// How much it may have at the same time.
    pub caps: Caps,
}

/// The conditions of all users who have any, by name. They outlive the user: one of the same name that `ACL SETUSER` makes
/// later has them, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConditionsByUser {
    by_name: HashMap<Box<[u8]>, Conditions>,
    none: Conditions,
    fence: bool,
}

impl ConditionsByUser {
    /// The same, with a key fence for all users whose conditions do not say otherwise.
    #[must_use]
    pub fn with_fence(self, fence: bool) -> Self {
        ConditionsByUser { fence, ..self }
    }

    /// Whether a key fence is asked for the user `name`.
    pub fn fences(&self, name: &[u8]) -> bool {
        self.of(name).fence.unwrap_or(self.fence)
    }

    /// Those of the user `name`.
    pub fn of(&self, name: &[u8]) -> &Conditions {
        self.by_name.get(name).unwrap_or(&self.none)
    }

    /// The same, where users have these caps unless they have others of their own.
    #[must_use]
    pub fn with_caps(mut self, caps: Caps) -> Self {
        for conditions in self.by_name.values_mut().chain([&mut self.none]) {
            conditions.caps = conditions.caps.or(caps);
        }
        self
    }
}

impl FromIterator<(Box<[u8]>, Conditions)> for ConditionsByUser {
    fn from_iter<I: IntoIterator<Item = (Box<[u8]>, Conditions)>>(users: I) -> Self {
        ConditionsByUser { by_name: users.into_iter().collect(), none: Conditions::default(), fence: false }
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
