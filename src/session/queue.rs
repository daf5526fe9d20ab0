//! What a transaction has queued, and what will be known of it when EXEC comes.
//!
//! The upstream holds the queue. The session keeps a copy: to judge it again if the policy changes or the transaction itself
//! changes who or where the session is (AUTH, HELLO, SELECT), and because some of its commands are Redkeep's own to
//! answer. In the place of each of those the upstream has a [`StandIn`]; when EXEC's reply has come, they run
//! (`execution.rs`).

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;

use super::state::State;
use super::step::{known, note_denial};
use super::{local, transaction};
use crate::command::{Affinity, View, flag};
use crate::policy::{Gates, Judged, Policy, Verdict, broadcasts};
use crate::resp::{RequestBuf, error_text};
use crate::upstream::StandIn;

/// Queues that take more memory are not kept, and cannot be judged again: a change of the policy aborts them. Enough for
/// 100,000 commands of 128 bytes.
const MAX_QUEUE_COST: usize = 32 * 1024 * 1024;

/// The commands of a transaction.
#[derive(Default)]
pub struct Queue {
    /// As they were sent. Once they took too much memory, those alone that are not [`Part::Plain`].
    pub entries: Vec<Entry>,
    /// How many there are.
    pub count: usize,
    /// Their bytes.
    pub bytes: usize,
    /// What those that are kept take in memory: of short commands many times their bytes.
    pub cost: usize,
    /// The bytes of their arguments alone: what counts for `client_query_buffer_limit`.
    pub arg_bytes: usize,
    /// Whether some were not kept.
    pub incomplete: bool,
    /// The gates at MULTI: what they hid or renamed then is not seen in `entries`.
    pub gates: Arc<Gates>,
    /// Some are not [`Part::Plain`].
    pub own: bool,
    /// One may change the user or the database, which those behind it are judged by at EXEC.
    pub moves: bool,
    /// One may change users: what is forwarded must not stand behind it.
    pub changes_users: bool,
    /// One is [`Part::Mirrored`].
    pub mirrored: bool,
    /// One is [`Part::Track`].
    pub tracks: bool,
    /// One writes, or is replicated like a write: CLIENT PAUSE holds EXEC back.
    pub writes: bool,
}

/// A command of a transaction.
pub struct Entry {
    /// Its place, counted from 0.
    pub place: usize,
    /// The command, under its original name.
    pub request: RequestBuf,
    /// What the upstream has of it.
    pub part: Part,
}

/// What the upstream does of a queued command, and what becomes of its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// CONFIG GET: the reply is rewritten.
    Config,
    /// All of it; the reply is filtered by the user's key patterns.
    Filter(View),
    /// INFO: the reply gets a section.
    Info,
    /// Redkeep answers it; the upstream has this in its place.
    Local(StandIn),
    /// A script of a restricted user: nothing on this link; all of it, with the whole transaction, on one that is logged
    /// in as the user's mirror.
    Mirrored,
    /// All of it.
    Plain,
    /// CLIENT TRACKING: all of it, and messages may follow.
    Track,
}

impl Part {
    /// What the upstream has of a command that is not to run.
    pub const LEFT_OUT: Part = Part::Local(StandIn::Nothing);
}

/// Why a command cannot be queued.
pub(super) enum Refusal {
    /// The queue is too large to keep it.
    TooLarge,
    /// It would be judged by the rules before a change that the same transaction makes.
    BehindChange,
    /// It cannot be in one transaction with a script that runs as a mirrored user.
    NotMirrored,
}

impl fmt::Debug for Queue {
    /// SECURITY: what is queued may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Queue {
    /// An empty one.
    pub fn new(policy: &Policy) -> Queue {
        Queue { gates: policy.gates().clone(), ..Queue::default() }
    }

    /// Whether a command may be queued.
    pub(super) fn takes(&self, judged: Judged<'_>, part: Part) -> Result<(), Refusal> {
        let cost = self.cost.saturating_add(judged.request().cost());
        let too_large = self.incomplete || cost > MAX_QUEUE_COST;
        if (part != Part::Plain || self.moves || self.mirrored) && too_large {
            return Err(Refusal::TooLarge);
        }
        if self.changes_users && !matches!(part, Part::Local(_)) {
            return Err(Refusal::BehindChange);
        }
        // Another user would have another mirror, and tracking is of one link.
        let moves = moves(judged) || part == Part::Track;
        if (self.mirrored && moves) || (part == Part::Mirrored && (self.moves || self.tracks)) {
            return Err(Refusal::NotMirrored);
        }
        Ok(())
    }

    /// Notes that a command was queued.
    pub(super) fn push(&mut self, judged: Judged<'_>, part: Part) {
        self.bytes = self.bytes.saturating_add(judged.wire().len());
        let args = judged.request().args(0).map(<[u8]>::len);
        self.arg_bytes = args.fold(self.arg_bytes, usize::saturating_add);
        self.own |= part != Part::Plain;
        self.moves |= moves(judged);
        self.mirrored |= part == Part::Mirrored;
        self.tracks |= part == Part::Track;
        self.changes_users |= changes_users(judged);
        self.writes |= is_replicated(judged);
        let cost = judged.request().cost();
        if self.cost.saturating_add(cost) > MAX_QUEUE_COST && !self.incomplete {
            self.incomplete = true;
            self.entries.retain(|entry| entry.part != Part::Plain);
            self.entries.shrink_to_fit();
            let costs = self.entries.iter().map(|entry| entry.request.as_request().cost());
            self.cost = costs.fold(0, usize::saturating_add);
        }
        if !self.incomplete || part != Part::Plain {
            let args: Vec<&[u8]> = judged.request().args(0).collect();
            self.entries.push(Entry { place: self.count, request: RequestBuf::from_args(&args), part });
            self.cost = self.cost.saturating_add(cost);
        }
        self.count = self.count.saturating_add(1);
    }

    /// Judges every command as it will be found at EXEC: by the user and in the database that those before it lead to.
    /// `found` gets each with its part, or the error in its place and whose it is.
    pub(super) fn walk(
        &self,
        policy: &Policy,
        state: &State,
        mut found: impl FnMut(&Entry, Result<(Judged<'_>, Part), Vec<u8>>, &mut State),
    ) {
        let mut rehearsal = state.rehearsal(policy);
        for entry in &self.entries {
            let request = entry.request.as_request();
            match policy.judge_again(rehearsal.facts(), request) {
                Verdict::Allow(judged) => {
                    let part = match shape(policy, &rehearsal, judged) {
                        Part::LEFT_OUT => Part::Local(stand_in(policy, &mut rehearsal, judged)),
                        part => part,
                    };
                    found(entry, Ok((judged, part)), &mut rehearsal);
                }
                Verdict::Deny(reason) => {
                    let spec = known(policy.table().resolve(request));
                    note_denial(&mut rehearsal, spec, request, reason);
                    let text = transaction::no_longer_allowed(reason, policy, &rehearsal, request);
                    found(entry, Err(text), &mut rehearsal);
                }
            }
        }
    }
}

/// What the upstream is to have of a command that is queued now.
pub(super) fn part(policy: &Policy, state: &State, judged: Judged<'_>) -> Part {
    match shape(policy, state, judged) {
        Part::LEFT_OUT if sets_link(judged) => {
            Part::Local(stand_in(policy, &mut state.rehearsal(policy), judged))
        }
        part => part,
    }
}

/// The same, but for the stand-in.
fn shape(policy: &Policy, state: &State, judged: Judged<'_>) -> Part {
    if let Some(view) = policy.view(state.user.as_deref(), judged.spec()) {
        return Part::Filter(view);
    }
    match &*judged.spec().name {
        _ if judged.is_mirrored() => Part::Mirrored,
        "client|tracking" => Part::Track,
        "client|no-touch" | "monitor" => Part::LEFT_OUT,
        _ if local::administers(judged) => Part::LEFT_OUT,
        _ if local::is_config_get(judged) => Part::Config,
        _ if local::is_info(judged) && local::shows_redkeep(judged.request()) => Part::Info,
        _ if judged.spec().affinity == Affinity::Local => Part::LEFT_OUT,
        _ => Part::Plain,
    }
}

/// Whether a command may change the user or the database.
fn moves(judged: Judged<'_>) -> bool {
    matches!(&*judged.spec().name, "auth" | "hello" | "select")
}

/// Whether a command of Redkeep's own is to be seen on the session's link.
fn sets_link(judged: Judged<'_>) -> bool {
    matches!(&*judged.spec().name, "client|no-touch" | "hello" | "select")
}

/// The stand-in of a command of Redkeep's own, which changes `rehearsal` as it would change the session.
fn stand_in(policy: &Policy, rehearsal: &mut State, judged: Judged<'_>) -> StandIn {
    let name = &*judged.spec().name;
    if name != "auth" && !sets_link(judged) {
        return StandIn::Nothing;
    }
    let mut reply = BytesMut::new();
    local::act(policy, rehearsal, judged, &mut reply);
    rehearsal.notes.clear();
    match name {
        _ if error_text(&reply).is_some() => StandIn::Nothing,
        "client|no-touch" => StandIn::NoTouch(rehearsal.no_touch),
        "hello" if judged.request().len() > 1 => StandIn::Hello(rehearsal.protocol),
        "select" => StandIn::Select(rehearsal.db),
        _ => StandIn::Nothing,
    }
}

/// Whether a command changes what users may do.
fn changes_users(judged: Judged<'_>) -> bool {
    matches!(&*judged.spec().name, "acl|deluser" | "acl|load" | "acl|setuser")
}

/// Whether a command writes, or is sent to replicas like one that does.
pub(super) fn is_replicated(judged: Judged<'_>) -> bool {
    let spec = judged.spec();
    match &*spec.name {
        "eval" | "evalsha" => {
            // A script may say of itself that it does not write.
            let first = judged.request().arg(1).unwrap_or_default();
            let first = first.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let words = first.split(|byte| matches!(byte, b' ' | b'=' | b',' | b'\r'));
            !(first.starts_with(b"#!") && words.skip(1).any(|word| word == b"no-writes"))
        }
        "fcall" | "pfcount" | "publish" | "spublish" => true,
        _ => spec.flags.contains(flag::WRITE),
    }
}

/// Whether a queued CLIENT TRACKING switches it on, and whether with BCAST.
pub(super) fn tracking(request: &RequestBuf) -> (bool, bool) {
    let request = request.as_request();
    let off = request.arg(2).is_some_and(|word| word.eq_ignore_ascii_case(b"off"));
    (!off, broadcasts(request))
}
