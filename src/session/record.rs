//! What a session tells the audit stream.
//!
//! A command that is to be recorded is recorded before anything of it happens, and only once however often it is asked
//! again. With `audit.required`, what cannot be recorded does not happen. Refusals wait, as the notes for the ACL log
//! do, until the request is done with.
//!
//! SECURITY: a record is a hundred times as long as the command of a stranger may be, and strangers must neither fill a
//! disk nor, where records are required, stop the service. Of a session on which nobody has logged in the first commands
//! are recorded one by one, the others with one record that says how many they were.
//!
//! The copy of a session on which commands are tried ([`State::rehearsal`]) writes nothing.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::state::State;
use crate::audit::{Audit, Level, Record, Verdict};
use crate::command::keys::for_each_key;
use crate::command::{Spec, category};
use crate::policy::{Judged, Reason};
use crate::resp::Request;

/// What a client is told whose command cannot be recorded and must be.
pub(super) const UNRECORDED: &str = "ERR redkeep: audit log unavailable, command not executed";

/// A session's way to the audit stream.
#[derive(Default)]
pub struct Recorder {
    /// `None`: nothing is recorded.
    audit: Option<Arc<Audit>>,
    /// Which commands are recorded when they are allowed.
    allowed: Commands,
    /// The request that is being handled is recorded.
    done: bool,
    /// Commands of a session on which nobody has logged in.
    strange: u64,
    /// Refusals that are to be written.
    waiting: Vec<Vec<u8>>,
    /// Nothing happens in earnest.
    rehearses: bool,
}

/// So many commands before the login have a record of their own.
const RECORDED_OF_STRANGER: u64 = 5;

/// Commands that are recorded when they are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Commands {
    #[default]
    None,
    Administrative,
    All,
}

/// Commands of these categories are administrative.
const ADMINISTRATIVE: u64 = category::ADMIN | category::DANGEROUS;

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Recorder {
    /// A recorder for a new session.
    pub(super) fn new(audit: &Arc<Audit>) -> Self {
        let allowed = match audit.level() {
            Level::Off => return Recorder::default(),
            Level::Denied => Commands::None,
            Level::Admin => Commands::Administrative,
            Level::All => Commands::All,
        };
        Recorder { audit: Some(audit.clone()), allowed, ..Recorder::default() }
    }

    /// One for a copy of the session on which commands are tried.
    pub(super) fn rehearsal(&self) -> Self {
        let audit = self.audit.clone();
        Recorder { audit, rehearses: true, ..Recorder::default() }
    }

    /// Whether `spec` is recorded when it is allowed.
    pub(super) fn wants(&self, spec: &Spec) -> bool {
        match self.allowed {
            Commands::None => false,
            Commands::Administrative => spec.categories.intersects(ADMINISTRATIVE),
            Commands::All => true,
        }
    }

    /// Whether it is that of a copy on which commands are tried.
    pub(super) fn rehearses(&self) -> bool {
        self.rehearses
    }

    /// Whether a login may be tried: it will be recorded, whatever comes of it.
    pub(super) fn is_ready(&self) -> bool {
        self.audit.as_ref().is_none_or(|audit| audit.is_ready())
    }

    /// The request is done with; what it has left is written.
    pub(super) fn finish(&mut self) {
        self.done = false;
        if self.waiting.is_empty() {
            return;
        }
        for line in self.waiting.drain(..) {
            if let Some(audit) = &self.audit {
                // What it tells did not happen anyway; if it cannot be taken, it is counted.
                let _ = audit.push(&line);
            }
        }
    }

    /// Takes over the refusals of a rehearsal.
    pub(super) fn adopt(&mut self, mut lines: Vec<Vec<u8>>) {
        self.waiting.append(&mut lines);
    }

    /// The refusals that wait.
    pub(super) fn take_waiting(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.waiting)
    }
}

impl State {
    /// Records that a command is allowed, unless it is recorded already. False if it must not run, since it cannot be.
    #[must_use]
    pub(super) fn record_allowed(&mut self, judged: Judged<'_>) -> bool {
        if self.recorder.done || self.recorder.rehearses || self.recorder.audit.is_none() {
            return true;
        }
        if self.is_one_of_many() {
            self.recorder.done = true;
            return true;
        }
        let Some(audit) = &self.recorder.audit else { return true };
        let (keys, first) = keys(judged.spec(), judged.request());
        let record = Record {
            command: Some(judged.spec().name.as_bytes()),
            keys,
            key: first,
            ..self.record(Verdict::Allowed)
        };
        let taken = audit.push(&audit.line(&record));
        self.recorder.done = taken;
        taken
    }

    /// Records that a command is denied; `spec` is what it is, if it is known.
    pub(super) fn record_denied(&mut self, spec: Option<&Spec>, request: Request<'_>, reason: Reason<'_>) {
        if self.recorder.audit.is_none() || self.is_one_of_many() {
            return;
        }
        let Some(audit) = &self.recorder.audit else { return };
        let (keys, first) = spec.map_or((None, None), |spec| keys(spec, request));
        let argument = |index: usize| request.arg(index).unwrap_or_default();
        let (key, channel) = match reason {
            Reason::Key(Some(index)) => (Some(argument(index)), None),
            Reason::Channel(index) | Reason::FencedChannel(index) => (None, Some(argument(index))),
            _ => (first, None),
        };
        let command = match (reason, spec) {
            // What stands in the place of the subcommand may be anything.
            (Reason::UnknownSubcommand(container), _) => container.name.as_bytes(),
            (_, Some(spec)) => spec.name.as_bytes(),
            (_, None) => request.name(),
        };
        let record = Record {
            command: Some(command),
            reason: Some(word(reason)),
            keys,
            key,
            channel,
            ..self.record(Verdict::Denied)
        };
        let line = audit.line(&record);
        self.recorder.waiting.push(line);
    }

    /// Counts a command of a stranger. Whether it has no record of its own.
    fn is_one_of_many(&mut self) -> bool {
        if self.user.is_some() {
            return false;
        }
        self.recorder.strange = self.recorder.strange.saturating_add(1);
        self.recorder.strange > RECORDED_OF_STRANGER
    }

    /// Records how many commands before the login, which has come now or will not come, have no record of their own.
    pub(super) fn record_the_others(&mut self) {
        let strange = std::mem::take(&mut self.recorder.strange);
        let more = strange.checked_sub(RECORDED_OF_STRANGER).filter(|more| *more > 0);
        let Some(audit) = self.recorder.audit.as_ref().filter(|_| more.is_some()) else { return };
        let reason = Some("unauthenticated");
        let line = audit.line(&Record { reason, more, user: None, ..self.record(Verdict::Denied) });
        self.recorder.waiting.push(line);
    }

    /// Records that the session is ended, since its client broke the protocol or its user may not have it any more.
    pub(super) fn record_ended(&mut self, reason: &'static str) {
        let Some(audit) = &self.recorder.audit else { return };
        let record = Record { reason: Some(reason), ..self.record(Verdict::Denied) };
        let line = audit.line(&record);
        self.recorder.waiting.push(line);
        self.recorder.finish();
    }

    /// Records a login as `user`. False if it must not count, since it cannot be recorded.
    #[must_use]
    pub(super) fn record_login(&self, user: &[u8], command: &[u8]) -> bool {
        let recorder = &self.recorder;
        let Some(audit) = recorder.audit.as_ref().filter(|_| !recorder.rehearses) else { return true };
        if audit.level() < Level::Admin {
            return true;
        }
        let record = Record { user: Some(user), command: Some(command), ..self.record(Verdict::Login) };
        audit.push(&audit.line(&record))
    }

    /// Records that a login as `user` failed.
    pub(super) fn record_failed_login(&mut self, user: &[u8], command: &[u8]) {
        let Some(audit) = &self.recorder.audit else { return };
        let record = Record {
            user: Some(user),
            command: Some(command),
            reason: Some("auth"),
            ..self.record(Verdict::LoginFailed)
        };
        let line = audit.line(&record);
        self.recorder.waiting.push(line);
    }

    /// Records the end of the session.
    pub(super) fn record_end(&mut self) {
        self.record_the_others();
        self.recorder.finish();
        self.record_life(Verdict::Closed);
    }

    /// Records the beginning or the end of the session.
    pub(super) fn record_life(&mut self, verdict: Verdict) {
        let Some(audit) = &self.recorder.audit else { return };
        if audit.level() == Level::All {
            // A session without a recorded command does nothing; if its end cannot be taken, it is counted.
            let _ = audit.push(&audit.line(&self.record(verdict)));
        }
    }

    /// What all records of the session have in common.
    fn record(&self, verdict: Verdict) -> Record<'_> {
        Record {
            session: Some(self.id.0),
            user: self.user.as_ref().map(|user| user.name()),
            db: Some(self.db),
            ..self.ends.record(verdict, self.generation)
        }
    }
}

/// The number of keys of a request, if it is certain, and the first of them.
fn keys<'r>(spec: &Spec, request: Request<'r>) -> (Option<usize>, Option<&'r [u8]>) {
    if !spec.accepts(request.len()) {
        return (None, None);
    }
    let (mut count, mut first) = (0usize, None);
    let visited = for_each_key(spec, request, |key| {
        count = count.saturating_add(1);
        first = first.or(Some(key.name));
        ControlFlow::<()>::Continue(())
    });
    visited.map_or((None, None), |_| (Some(count), first))
}

/// A reason in one word.
fn word(reason: Reason<'_>) -> &'static str {
    match reason {
        Reason::Arity(_) => "arity",
        Reason::Bound(_) => "bound",
        Reason::Broadcast => "broadcast",
        Reason::Fenced(_) | Reason::FencedChannel(_) => "fence",
        Reason::Channel(_) => "channel",
        Reason::Command(_) => "command",
        Reason::CredentialConfig => "credential",
        Reason::CrossProtocol => "cross_protocol",
        Reason::Database(_) => "database",
        Reason::Key(_) => "key",
        Reason::ProtectedCommand(_) | Reason::ProtectedConfig(_) => "protected",
        Reason::Script(_) => "script",
        Reason::SortPattern(_) => "sort_pattern",
        Reason::Syntax(..) => "syntax",
        Reason::Unauthenticated(_) => "unauthenticated",
        Reason::Unavailable(_) => "unavailable",
        Reason::UnknownCommand => "unknown_command",
        Reason::UnknownSubcommand(_) => "unknown_subcommand",
    }
}
