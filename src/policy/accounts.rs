//! The users of one snapshot, by name.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::roll::Roll;
use crate::acl::User;
use crate::command::CommandTable;

/// Users by name.
#[derive(Clone, Default)]
pub(super) struct Accounts {
    by_name: HashMap<Box<[u8]>, Account>,
    /// For logins; made for the first one.
    roll: OnceLock<Arc<Roll<Arc<User>>>>,
}

/// A user in a snapshot.
#[derive(Clone)]
pub(super) struct Account {
    pub user: Arc<User>,
    pub incarnation: Incarnation,
}

/// Tells a user from an earlier one of the same name: a session ends with the user that it logged in as, also when the
/// name is given to another one at once (`ACL DELUSER`, `ACL SETUSER`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incarnation(pub(super) u64);

impl Accounts {
    pub fn insert(&mut self, user: User, incarnation: Incarnation) {
        self.roll = OnceLock::new();
        self.by_name.insert(user.name().into(), Account { user: Arc::new(user), incarnation });
    }

    /// False if there was none.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.roll = OnceLock::new();
        self.by_name.remove(name).is_some()
    }

    pub fn get(&self, name: &[u8]) -> Option<&Account> {
        self.by_name.get(name)
    }

    /// The user of this name, or a stranger, found in a time that does not tell which of both.
    pub fn find_for_login(&self, name: &[u8], table: &CommandTable) -> &User {
        let roll = self.roll.get_or_init(|| {
            let users = self.by_name.iter().map(|(name, account)| (&**name, account.user.clone()));
            Arc::new(Roll::new(Arc::new(User::stranger(table)), users))
        });
        roll.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.by_name.values()
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }
}
