//! The ACL log: the last denials and failed logins, as `ACL LOG` shows them.
//!
//! Owns the grouping of equal events and the length of the log. It reads no clock (the caller says when), and it never
//! holds a password: an event names a command, a key, a channel or a user. INVARIANT: its memory is bounded, whatever
//! clients send: entries by [`Log::set_max_len`], and every text by [`MAX_TEXT_BYTES`].
//!
//! Mirrors Redis 7.0 to 8.2 (experiments of `tests/it/acl_commands.rs`): an event equals an entry when reason, context,
//! object and user are the same and the entry was touched within 60 seconds; only the 10 newest entries are looked at;
//! a grouped entry moves to the front, keeps its id and its time of creation, and takes the newer client.

use std::collections::VecDeque;

/// `acllog-max-len` of a Redis that nobody configured.
pub const DEFAULT_MAX_LEN: usize = 128;

/// Longest object, user name and client of an entry. Redis keeps them whole, whatever their size.
const MAX_TEXT_BYTES: usize = 4096;

/// How long after its last event an entry takes another one.
const GROUPING_MS: u64 = 60_000;

/// How many entries, the newest first, are compared with an event.
const COMPARED: usize = 10;

/// What was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogReason {
    /// A login failed.
    Auth,
    /// A channel.
    Channel,
    /// A command.
    Command,
    /// A database (Valkey).
    Database,
    /// A key.
    Key,
    /// A certificate that was to be a login.
    TlsCert,
}

/// Where a denied command stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogContext {
    /// In a transaction.
    Multi,
    /// On its own.
    Toplevel,
}

/// Something to be logged. Object and user name are the client's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What was denied.
    pub reason: LogReason,
    /// Where.
    pub context: LogContext,
    /// The command's full name, the key, the channel, or the word that the login was tried with.
    pub object: Box<[u8]>,
    /// The user; of a failed login, the name that was tried.
    pub username: Box<[u8]>,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the entry, from 0 in the order of creation.
    pub id: u64,
    /// How many events it stands for.
    pub count: u64,
    /// What happened.
    pub event: Event,
    /// The client of the last event, as `CLIENT INFO` describes it.
    pub client_info: String,
    /// Unix time of the first event, in milliseconds.
    pub created_ms: u64,
    /// Unix time of the last event, in milliseconds.
    pub updated_ms: u64,
}

/// The log. The newest entry comes first.
#[derive(Debug)]
pub struct Log {
    entries: VecDeque<Entry>,
    next_id: u64,
    max_len: usize,
}

impl Event {
    /// An event, its texts cut to [`MAX_TEXT_BYTES`].
    pub fn new(reason: LogReason, context: LogContext, object: &[u8], username: &[u8]) -> Self {
        Event { reason, context, object: cut(object).into(), username: cut(username).into() }
    }
}

impl LogReason {
    /// The word in `ACL LOG`.
    pub fn name(self) -> &'static str {
        match self {
            LogReason::Auth => "auth",
            LogReason::Channel => "channel",
            LogReason::Command => "command",
            LogReason::Database => "database",
            LogReason::Key => "key",
            LogReason::TlsCert => "tls-cert",
        }
    }
}

impl LogContext {
    /// The word in `ACL LOG`.
    pub fn name(self) -> &'static str {
        match self {
            LogContext::Multi => "multi",
            LogContext::Toplevel => "toplevel",
        }
    }
}

impl Log {
    /// An empty log of at most `max_len` entries.
    pub fn new(max_len: usize) -> Self {
        Log { entries: VecDeque::new(), next_id: 0, max_len }
    }

    /// Takes an event of the client that `client_info` describes; `now_ms` is Unix time.
    pub fn add(&mut self, event: Event, mut client_info: String, now_ms: u64) {
        client_info.truncate(client_info.floor_char_boundary(MAX_TEXT_BYTES));
        if self.max_len == 0 {
            // As Redis since 7.2; 7.0 goes on counting in the entries that it has.
            return self.entries.clear();
        }
        let known =
            self.entries.iter().take(COMPARED).position(|entry| {
                entry.event == event && now_ms.saturating_sub(entry.updated_ms) <= GROUPING_MS
            });
        if let Some(entry) = known.and_then(|place| self.entries.remove(place)) {
            let count = entry.count.saturating_add(1);
            self.entries.push_front(Entry { count, client_info, updated_ms: now_ms, ..entry });
            return;
        }
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.entries.push_front(Entry {
            id,
            count: 1,
            event,
            client_info,
            created_ms: now_ms,
            updated_ms: now_ms,
        });
        self.entries.truncate(self.max_len);
    }

    /// The entries, the newest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets all entries; their numbers do not come again.
    pub fn reset(&mut self) {
        self.entries.clear();
    }

    /// How many entries are kept at most.
    pub fn max_len(&self) -> usize {
        self.max_len
    }

    /// Changes how many entries are kept. As in Redis, a longer log is cut when the next entry comes.
    pub fn set_max_len(&mut self, max_len: usize) {
        self.max_len = max_len;
    }
}

fn cut(text: &[u8]) -> &[u8] {
    text.get(..MAX_TEXT_BYTES).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(object: &str) -> Event {
        Event::new(LogReason::Key, LogContext::Toplevel, object.as_bytes(), b"app")
    }

    fn shown(log: &Log) -> Vec<(u64, u64, String)> {
        let object = |entry: &Entry| String::from_utf8_lossy(&entry.event.object).into_owned();
        log.entries().map(|entry| (entry.id, entry.count, object(entry))).collect()
    }

    #[test]
    fn equal_events_within_a_minute_are_one_entry_at_the_front() {
        let mut log = Log::new(128);
        log.add(event("a"), "id=1".into(), 1_000);
        log.add(event("b"), "id=1".into(), 2_000);
        log.add(event("a"), "id=2".into(), 61_000);
        assert_eq!(shown(&log), [(0, 2, "a".into()), (1, 1, "b".into())]);
        let first = log.entries().next().unwrap();
        assert_eq!((first.created_ms, first.updated_ms, &*first.client_info), (1_000, 61_000, "id=2"));
        log.add(event("a"), "id=2".into(), 121_001);
        assert_eq!(shown(&log), [(2, 1, "a".into()), (0, 2, "a".into()), (1, 1, "b".into())]);
    }

    #[test]
    fn events_that_differ_in_anything_are_entries_of_their_own() {
        let mut log = Log::new(128);
        let all = [
            event("a"),
            event("b"),
            Event { reason: LogReason::Command, ..event("a") },
            Event { context: LogContext::Multi, ..event("a") },
            Event { username: b"other".as_slice().into(), ..event("a") },
        ];
        for event in &all {
            log.add(event.clone(), String::new(), 5);
        }
        assert_eq!(log.entries().len(), all.len());
    }

    #[test]
    fn only_the_ten_newest_entries_take_another_event() {
        let mut log = Log::new(128);
        for number in 0..11 {
            log.add(event(&number.to_string()), String::new(), 0);
        }
        log.add(event("0"), String::new(), 0);
        log.add(event("3"), String::new(), 0);
        let counts: Vec<u64> = log.entries().map(|entry| entry.count).collect();
        assert_eq!(counts.len(), 12);
        assert_eq!((counts.first(), counts.get(1)), (Some(&2), Some(&1)));
    }

    #[test]
    fn the_log_is_bounded_in_entries_and_in_bytes() {
        let mut log = Log::new(2);
        for number in 0..5 {
            log.add(event(&format!("{number}{}", "x".repeat(10_000))), format!("a{}", "é".repeat(5000)), 0);
        }
        assert_eq!(log.entries().len(), 2);
        assert!(log.entries().all(|entry| entry.event.object.len() == MAX_TEXT_BYTES));
        // The last character that fits is whole.
        assert!(log.entries().all(|entry| entry.client_info.len() == MAX_TEXT_BYTES - 1));
        log.set_max_len(0);
        log.add(event("a"), String::new(), 0);
        assert_eq!(log.entries().len(), 0);
    }

    #[test]
    fn a_reset_forgets_entries_and_goes_on_counting() {
        let mut log = Log::new(8);
        log.add(event("a"), String::new(), 0);
        log.reset();
        log.add(event("a"), String::new(), 0);
        assert_eq!(shown(&log), [(1, 1, "a".into())]);
    }
}
