//! What one session is at a moment: who, where, in which protocol, and in which transaction.

use std::sync::Arc;

use crate::acl::User;
use crate::policy::{Facts, Policy};
use crate::resp::Protocol;
use crate::upstream::LinkKey;

/// A session's number, unique in the process: what CLIENT ID and HELLO show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u64);

/// The two ends of a session's connection, as CLIENT INFO shows them.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// The client's address.
    pub client: String,
    /// The listener's address.
    pub listener: String,
}

/// The state of one session.
#[derive(Debug)]
pub struct State {
    /// Number of the session.
    pub id: SessionId,
    /// Where it comes from.
    pub ends: Ends,
    /// Who is logged in.
    pub user: Option<Arc<User>>,
    /// The generation of the policy that `user` was taken from.
    pub generation: u64,
    /// Database.
    pub db: u32,
    /// RESP version.
    pub protocol: Protocol,
    /// CLIENT SETNAME; empty for none.
    pub name: Vec<u8>,
    /// CLIENT SETINFO lib-name.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO lib-ver.
    pub lib_ver: Vec<u8>,
    /// MULTI and WATCH.
    pub transaction: Transaction,
}

/// MULTI and WATCH of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Between MULTI and EXEC or DISCARD.
    pub queueing: bool,
    /// A command was refused while queueing: EXEC will abort.
    pub doomed: bool,
    /// WATCH was called.
    pub watching: bool,
    /// The reply to MULTI or WATCH has arrived.
    pub confirmed: bool,
    /// The leased link died: whatever was queued or watched is gone.
    pub lost: bool,
    /// Policy generation at MULTI.
    pub generation: u64,
}

impl Transaction {
    /// Whether the session needs its leased link to go on.
    pub fn holds_link(self) -> bool {
        self.queueing || self.watching
    }
}

impl State {
    /// A new session under `policy`: logged in only if the default user needs no password.
    pub fn new(id: SessionId, ends: Ends, policy: &Policy) -> Self {
        State {
            id,
            ends,
            user: policy.anonymous().cloned(),
            generation: policy.generation(),
            db: 0,
            protocol: Protocol::Resp2,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            transaction: Transaction::default(),
        }
    }

    /// Takes the session's user from a newer policy. False if the user is gone: the session must end, as with
    /// ACL LOAD.
    #[must_use]
    pub fn refresh(&mut self, policy: &Policy) -> bool {
        self.generation = policy.generation();
        let Some(user) = &self.user else { return true };
        match policy.user(user.name()) {
            Some(user) => {
                self.user = Some(user.clone());
                true
            }
            None => false,
        }
    }

    /// The facts that a verdict needs.
    pub fn facts(&self) -> Facts<'_> {
        Facts { user: self.user.as_deref() }
    }

    /// Name of the user for texts; empty before a login.
    pub fn user_name(&self) -> &[u8] {
        self.user.as_ref().map(|user| user.name()).unwrap_or_default()
    }

    /// The state that a link must have for this session.
    pub fn link_key(&self) -> LinkKey {
        LinkKey { db: self.db, protocol: self.protocol }
    }

    /// RESET: back to how a new session begins. The library's name stays, as in Redis.
    pub fn reset(&mut self, policy: &Policy) {
        self.user = policy.anonymous().cloned();
        self.db = 0;
        self.protocol = Protocol::Resp2;
        self.name.clear();
        self.transaction = Transaction::default();
    }
}
