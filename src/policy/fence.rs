//! The key fence (`acl.fence`): commands that reach keys which they do not name obey the user's key patterns, too.
//!
//! In Redis SCAN, KEYS, DBSIZE, FLUSHALL, keyspace events and their like know nothing of key patterns
//! (<https://github.com/redis/redis/issues/8152>). Which commands these are says [`command::Fence`](Fence); what a
//! fence does with each says this file: it denies them, or says by what their replies are to be filtered. It holds for
//! users with restricted keys alone: where nothing is outside the patterns, there is nothing to hide.

use super::{Facts, Policy, Reason};
use crate::acl::User;
use crate::command::{Fence, Spec, View};
use crate::resp::{Request, integer};

/// What a channel tells of keys, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEvent<'a> {
    /// It is about one key, which its name tells: `__keyspace@0__:key`.
    InChannel {
        /// The database.
        database: u32,
        /// The key.
        key: &'a [u8],
    },
    /// It is about one event, and the key is the message: `__keyevent@0__:set`.
    InMessage {
        /// The database.
        database: u32,
    },
    /// It looks like these two, and nobody knows what it tells.
    Unknown,
}

impl<'a> KeyEvent<'a> {
    /// That of a channel; `None` for an ordinary one.
    pub fn of(channel: &'a [u8]) -> Option<KeyEvent<'a>> {
        let rest = channel.strip_prefix(b"__")?;
        let (word, rest) = split(rest, b"@")?;
        let (number, rest) = split(rest, b"__:")?;
        let database = integer(number).and_then(|number| u32::try_from(number).ok());
        Some(match (word, database) {
            (b"keyspace", Some(database)) => KeyEvent::InChannel { database, key: rest },
            (b"keyevent", Some(database)) => KeyEvent::InMessage { database },
            _ => KeyEvent::Unknown,
        })
    }
}

/// What stands before the first `mark` and behind it.
fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memchr::memmem::find(bytes, mark)?;
    Some((bytes.get(..at)?, bytes.get(at.checked_add(mark.len())?..)?))
}

impl Policy {
    /// Whether a fence holds for the user: it is asked for, and some keys are outside the user's patterns.
    pub fn fences(&self, user: &User) -> bool {
        self.conditions.fences(user.name()) && !user.has_all_keys()
    }

    /// By what the reply to a command that [`Policy::judge`] has allowed must be filtered; `None` for nearly all.
    #[inline]
    pub fn view(&self, user: Option<&User>, spec: &Spec) -> Option<View> {
        match spec.fence {
            Fence::Filtered(view) => user.filter(|user| self.fences(user)).map(|_| view),
            Fence::Closed | Fence::Listens | Fence::Open => None,
        }
    }

    /// What the user's fence denies.
    #[inline]
    pub(super) fn fenced<'a>(
        &self,
        facts: Facts<'_>,
        spec: &'a Spec,
        request: Request<'_>,
    ) -> Option<Reason<'a>> {
        match (spec.fence, facts.user) {
            (Fence::Closed, Some(user)) if self.fences(user) => Some(Reason::Fenced(spec)),
            (Fence::Listens, Some(user)) if self.fences(user) => {
                // Patterns may match anything: what comes of them is filtered.
                let mut channels =
                    request.args(1).take(if spec.name == "psubscribe" { 0 } else { usize::MAX });
                let hidden = channels.position(|channel| match KeyEvent::of(channel) {
                    Some(KeyEvent::InChannel { database, key }) => !user.sees_key(key, Some(database)),
                    Some(KeyEvent::Unknown) => true,
                    Some(KeyEvent::InMessage { .. }) | None => false,
                })?;
                Some(Reason::FencedChannel(hidden.saturating_add(1)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_keyspace_events_are_known_by_their_names() {
        let key = |database, key| Some(KeyEvent::InChannel { database, key });
        for (channel, expected) in [
            (&b"__keyspace@0__:app:1"[..], key(0, &b"app:1"[..])),
            (b"__keyspace@12__:", key(12, b"")),
            (b"__keyspace@0__:a@b__:c", key(0, b"a@b__:c")),
            (b"__keyevent@3__:set", Some(KeyEvent::InMessage { database: 3 })),
            (b"__subkeyspace@0__:app:1", Some(KeyEvent::Unknown)),
            (b"__keyspace@x__:app:1", Some(KeyEvent::Unknown)),
            (b"__keyspace@-1__:app:1", Some(KeyEvent::Unknown)),
            (b"__keyspace@00__:app:1", Some(KeyEvent::Unknown)),
            (b"__Keyspace@0__:app:1", Some(KeyEvent::Unknown)),
            (b"__@__:", Some(KeyEvent::Unknown)),
            (b"__keyspace@0__", None),
            (b"__keyspace@0:app", None),
            (b"_keyspace@0__:app", None),
            (b"news", None),
            (b"", None),
        ] {
            assert_eq!(KeyEvent::of(channel), expected, "{}", channel.escape_ascii());
        }
    }
}
