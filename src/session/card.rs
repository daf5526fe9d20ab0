//! What others may know of a client, as CLIENT LIST and the ACL log show it.

use super::replication::Replication;
use super::state::{Ends, SessionId, State};
use crate::resp::Protocol;

/// What changes rarely about a client.
#[derive(Clone, Debug, Default)]
pub struct Card {
    /// Name of its user; `default` before a login.
    pub user: Vec<u8>,
    name: Vec<u8>,
    lib_name: Vec<u8>,
    lib_ver: Vec<u8>,
    db: u32,
    protocol: Protocol,
    /// Channels, patterns, shard channels.
    subscriptions: (usize, usize, usize),
    /// Commands that its transaction has queued, and their bytes.
    queued: Option<(usize, usize)>,
    pub(super) no_evict: bool,
    no_touch: bool,
    monitoring: bool,
    /// It follows the upstream as a replica.
    pub replica: bool,
    tracking: bool,
}

/// What changes all the time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment<'a> {
    pub(super) age: u64,
    pub(super) idle: u64,
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) blocked: bool,
    /// The last command; empty for none.
    pub(super) command: &'a str,
}

impl Card {
    /// What others may know of a session.
    pub fn of(state: &State) -> Card {
        let queue = &state.queue;
        Card {
            // As Redis, which makes everyone `default` before a login.
            user: state.user.as_ref().map_or(&b"default"[..], |user| user.name()).to_vec(),
            name: state.name.clone(),
            lib_name: state.lib_name.clone(),
            lib_ver: state.lib_ver.clone(),
            db: state.db,
            protocol: state.protocol,
            subscriptions: state.subscriptions.counts(),
            no_evict: state.no_evict,
            no_touch: state.no_touch,
            monitoring: state.monitoring,
            replica: state.replication == Replication::Streaming,
            tracking: state.tracking,
            queued: state.transaction.queueing.then_some((queue.count, queue.bytes)),
        }
    }

    /// Whether it has subscriptions.
    pub fn is_subscriber(&self) -> bool {
        self.subscriptions != (0, 0, 0)
    }

    /// The line of CLIENT LIST, CLIENT INFO and the ACL log, with all fields of Redis 7.2: clients' parsers miss any that is
    /// not there. Those about memory tell of Redkeep's buffers; where it has no equal, they are 0.
    pub fn line(&self, id: SessionId, ends: &Ends, moment: Moment<'_>) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let resp = match self.protocol {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        };
        let (sub, psub, ssub) = self.subscriptions;
        let queued = self.queued.map_or(-1, |(count, _)| i64::try_from(count).unwrap_or(i64::MAX));
        let queue_bytes = self.queued.map_or(0, |(_, bytes)| bytes);
        let Moment { age, idle, input, output, blocked, command } = moment;
        format!(
            "id={} addr={} laddr={} fd={} name={} age={age} idle={idle} flags={} db={} sub={sub} psub={psub} ssub={ssub} \
             multi={queued} qbuf={input} qbuf-free=0 argv-mem=0 multi-mem={queue_bytes} rbs=0 rbp=0 obl={output} \
             oll=0 omem=0 tot-mem={} events=r cmd={command} user={} redir={} resp={resp} lib-name={} lib-ver={}",
            id.0,
            ends.client,
            ends.listener,
            ends.fd,
            text(&self.name),
            self.flags(ends, blocked),
            self.db,
            input.saturating_add(output).saturating_add(queue_bytes),
            text(&self.user),
            if self.tracking { 0 } else { -1 },
            text(&self.lib_name),
            text(&self.lib_ver),
        )
    }

    /// Redis' letters for what a client is doing; `N` for nothing of that kind.
    fn flags(&self, ends: &Ends, blocked: bool) -> String {
        let flags: String = [
            (self.replica, 'S'),
            (self.monitoring, 'O'),
            (self.is_subscriber(), 'P'),
            (self.queued.is_some(), 'x'),
            (blocked, 'b'),
            (self.tracking, 't'),
            (ends.unix, 'U'),
            (self.no_evict, 'e'),
            (self.no_touch, 'T'),
        ]
        .into_iter()
        .filter_map(|(set, letter)| set.then_some(letter))
        .collect();
        if flags.is_empty() { "N".to_owned() } else { flags }
    }
}

impl<'a> Moment<'a> {
    /// A client that runs `command` just now.
    pub fn running(command: &'a str, age: u64) -> Self {
        Moment { age, command, ..Moment::default() }
    }
}
