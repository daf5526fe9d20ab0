//! What one session is at a moment: who, where, in which protocol, and in which transaction.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::accounts::{Accounts, Place, Share};
use super::card::{Card, Moment};
use super::pause::Hold;
use super::pubsub::Subscriptions;
use super::queue::Queue;
use super::record::Recorder;
use super::replication::Replication;
use super::step::Then;
use super::transaction;
use crate::acl::{Event, LogContext, LogReason, User};
use crate::audit::{Record, Verdict as Recorded};
use crate::command::CommandId;
use crate::policy::{
    Beginning, Caps, Certificate, Facts, Incarnation, Judged, Origin, Policy, Proof, Verdict,
};
use crate::resp::{Protocol, RequestBuf};
use crate::upstream::{LinkKey, Standing};

/// A session's number, unique in the process: what CLIENT ID and HELLO show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u64);

/// The two ends of a session's connection, as CLIENT INFO shows them.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// The client's address, as CLIENT INFO shows it.
    pub client: String,
    /// The client's address; none for a Unix socket.
    pub address: Option<IpAddr>,
    /// The certificate that it has shown, verified.
    pub certificate: Option<Arc<Certificate>>,
    /// The same as logs show it.
    pub certificate_text: Option<Arc<str>>,
    /// The address that it has connected to.
    pub listener: String,
    /// The number of the listener in the configuration.
    pub listener_number: usize,
    /// Number of its socket.
    pub fd: i32,
    /// It came by a Unix socket.
    pub unix: bool,
    /// The client is on this machine: by a Unix socket, or from a loopback address.
    pub local: bool,
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
    /// Which of the users that ever had this name it is.
    pub incarnation: Option<Incarnation>,
    /// The same user, if a key fence holds for it.
    pub fence: Option<Arc<User>>,
    /// The user has changed while a fence held, and nobody has looked yet at what the session listens to.
    left_fence: bool,
    /// How much the user may have at the same time.
    pub caps: Caps,
    /// Where clients are counted.
    pub accounts: Option<Arc<Accounts>>,
    /// The client's place among those of its user.
    pub place: Option<Place>,
    /// Of a copy that only tries commands: among whose clients the session has its place. The copy takes none.
    place_of: Option<Box<[u8]>>,
    /// Logins that failed, by password or by certificate.
    pub failed_logins: usize,
    /// Why its certificate is no login, for the log.
    pub(super) why_refused: &'static str,
    /// What it has become this user by.
    pub proof: Proof,
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
    /// CLIENT REPLY.
    pub replies: Replies,
    /// CLIENT NO-EVICT: Redkeep evicts nobody, so it only shows in CLIENT LIST.
    pub no_evict: bool,
    /// CLIENT NO-TOUCH: what is forwarded goes to a link of the session's own, which is set so.
    pub no_touch: bool,
    /// What CLIENT PAUSE holds back now.
    pub hold: Hold,
    /// MULTI and WATCH.
    pub transaction: Transaction,
    /// SUBSCRIBE and its like.
    pub subscriptions: Subscriptions,
    /// MONITOR was sent.
    pub monitoring: bool,
    /// CLIENT TRACKING was switched on.
    pub tracking: bool,
    /// The same with BCAST, since it was last off.
    pub broadcast: bool,
    /// SYNC and PSYNC.
    pub replication: Replication,
    /// What MULTI has queued.
    pub queue: Queue,
    /// Its last command; `None` before the first, and after one that is unknown.
    pub command: Option<CommandId>,
    /// When it began.
    pub since: Instant,
    /// What is to be written into the ACL log: events, each with a line about this client.
    pub notes: Vec<(Event, String)>,
    /// What is to be told the audit stream.
    pub(super) recorder: Recorder,
}

impl Ends {
    /// What all records of the audit stream about this client have in common.
    pub fn record(&self, verdict: Recorded, generation: u64) -> Record<'_> {
        Record {
            peer: Some(&self.client),
            listener: Some(&self.listener),
            certificate: self.certificate_text.as_deref(),
            ..Record::of_all(verdict, generation)
        }
    }
}

/// What the audit stream calls a login by certificate, in the place of a command.
const CERTIFICATE: &[u8] = b"certificate";

/// CLIENT REPLY: which replies the client wants. Messages of subscriptions come in any case, as in Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replies {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// Not that to the command that is being handled.
    Skip,
    /// Not that to the next command.
    SkipNext,
}

impl Replies {
    /// Whether the client gets no reply now.
    pub fn are_muted(self) -> bool {
        matches!(self, Replies::Off | Replies::Skip)
    }

    /// For the next command.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Replies::Off => Replies::Off,
            Replies::SkipNext => Replies::Skip,
            Replies::On | Replies::Skip => Replies::On,
        }
    }
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
    /// A login in it has failed.
    pub login_failed: bool,
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
    /// A new session under `policy`: logged in only by its certificate, or if the default user needs no password.
    pub fn new(id: SessionId, ends: Ends, policy: &Policy) -> Self {
        let mut state = State::of_nobody(id, ends, policy);
        state.begin(policy);
        state
    }

    pub(super) fn of_nobody(id: SessionId, ends: Ends, policy: &Policy) -> Self {
        State {
            id,
            ends,
            user: None,
            incarnation: None,
            fence: None,
            left_fence: false,
            caps: Caps::default(),
            accounts: None,
            place: None,
            place_of: None,
            failed_logins: 0,
            why_refused: "",
            proof: Proof::default(),
            generation: policy.generation(),
            db: 0,
            protocol: Protocol::Resp2,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            replies: Replies::default(),
            no_evict: false,
            no_touch: false,
            hold: Hold::default(),
            transaction: Transaction::default(),
            subscriptions: Subscriptions::default(),
            monitoring: false,
            tracking: false,
            broadcast: false,
            replication: Replication::None,
            queue: Queue::default(),
            command: None,
            since: Instant::now(),
            notes: Vec::new(),
            recorder: Recorder::default(),
        }
    }

    /// Where the client comes from, as far as logins depend on it.
    pub fn origin(&self) -> Origin<'_> {
        Origin {
            address: self.ends.address,
            listener: self.ends.listener_number,
            certificate: self.ends.certificate.as_deref(),
        }
    }

    /// Makes the session that of whom a new one begins as.
    pub(super) fn begin(&mut self, policy: &Policy) {
        match policy.begin(self.origin()) {
            Beginning::As(user, proof) => {
                let name = user.name();
                // SECURITY: a certificate is a login like any other: recorded, and counted.
                let recorded = proof != Proof::Certificate || self.record_login(name, CERTIFICATE);
                if recorded && self.enter(policy, name) {
                    self.become_user(policy, Some(user), proof);
                } else {
                    self.become_user(policy, None, Proof::Nothing);
                }
            }
            Beginning::Nobody => self.become_user(policy, None, Proof::Nothing),
            Beginning::Refused { name, why } => {
                self.become_user(policy, None, Proof::Nothing);
                let certificate = self.ends.certificate_text.clone().unwrap_or_default();
                self.record_failed_login(name.as_bytes(), CERTIFICATE);
                self.note(LogReason::TlsCert, certificate.as_bytes(), name.as_bytes(), "NULL");
                self.why_refused = why;
                // SECURITY: RESET tries it again.
                self.failed_logins = self.failed_logins.saturating_add(1);
            }
        }
    }

    /// Makes the session that of `user`, or of nobody.
    pub fn become_user(&mut self, policy: &Policy, user: Option<&Arc<User>>, proof: Proof) {
        if user.is_some() {
            self.record_the_others();
        }
        self.proof = proof;
        self.incarnation = user.and_then(|user| policy.incarnation(user.name()));
        self.user = user.cloned();
        self.left_fence |= self.fence.is_some();
        self.fence = user.filter(|user| policy.fences(user)).cloned();
        self.take_caps(policy);
        if self.recorder.rehearses() {
            return;
        }
        self.place = match (self.place.take(), &self.accounts, user) {
            (Some(place), _, Some(user)) if place.name() == user.name() => Some(place),
            (_, Some(accounts), Some(user)) => Some(accounts.enter(user.name()).0),
            _ => None,
        };
    }

    /// Takes a place among the clients of the user `name`, unless it has as many as it may have. False then, and nothing
    /// has changed.
    #[must_use]
    pub fn enter(&mut self, policy: &Policy, name: &[u8]) -> bool {
        let Some(accounts) = &self.accounts else { return true };
        let own = self.place.as_ref().map(Place::name).or(self.place_of.as_deref());
        if own == Some(name) {
            return true;
        }
        let most = policy.conditions(name).caps.connections();
        if self.recorder.rehearses() {
            return most.is_none_or(|most| accounts.clients(name) < most.get());
        }
        let (place, clients) = accounts.enter(name);
        if most.is_some_and(|most| clients > most.get()) {
            return false;
        }
        self.place = Some(place);
        true
    }

    /// Counts the session from now on among those of its user. False if that one has as many as it may have.
    #[must_use]
    pub fn count_in(&mut self, accounts: &Arc<Accounts>, policy: &Policy) -> bool {
        self.accounts = Some(accounts.clone());
        let Some(user) = self.user.clone() else { return true };
        self.enter(policy, user.name())
    }

    fn take_caps(&mut self, policy: &Policy) {
        self.caps = self.user.as_ref().map_or(Caps::default(), |user| policy.conditions(user.name()).caps);
    }

    /// Whether the user has as many requests at the upstream as it may have; `open` of them are this session's.
    #[inline]
    pub(super) fn is_full(&mut self, open: usize) -> bool {
        match (self.caps.in_flight(), &mut self.place) {
            (Some(most), Some(place)) => place.is_full(open, most),
            _ => false,
        }
    }

    /// Counts one more leased link of the user, if it has a cap. `Err` if it has as many as it may have.
    pub(super) fn share(&self) -> Result<Option<Share>, ()> {
        match (self.caps.leased(), &self.place) {
            (Some(most), Some(place)) => place.share(most).map(Some).ok_or(()),
            _ => Ok(None),
        }
    }

    /// The same, when there is room.
    pub(super) fn wait_for_share(&self) -> impl Future<Output = Option<Share>> + use<> {
        let share =
            self.caps.leased().zip(self.place.as_ref()).map(|(most, place)| place.wait_for_share(most));
        async {
            match share {
                Some(share) => Some(share.await),
                None => None,
            }
        }
    }

    /// Takes the session's user from a newer policy, by which its subscriptions are then to be judged again. False if
    /// the user is gone, be it that another one has the name now, or may not log in from there or by what it did any more,
    /// or not hear what the session hears of everybody (MONITOR, CLIENT TRACKING BCAST, PSYNC): the session must end, as
    /// after ACL DELUSER and ACL LOAD.
    #[must_use]
    pub fn refresh(&mut self, policy: &Policy) -> bool {
        self.generation = policy.generation();
        self.subscriptions.judge_again();
        let Some(user) = &self.user else { return true };
        let is_same = policy.incarnation(user.name()) == self.incarnation;
        if !is_same || !policy.may_stay(self.origin(), user.name(), self.proof) {
            return false;
        }
        self.user = policy.user(user.name()).cloned();
        self.fence = self.user.clone().filter(|user| policy.fences(user));
        self.take_caps(policy);
        self.may_hear_everybody(policy)
    }

    /// Whether the session may listen on to what it listens to. SECURITY: what was permitted since a fence filtered it is
    /// judged as the new user's own when the user changes, as after a change of the policy. False: the session must end.
    #[must_use]
    pub(super) fn may_listen_on(&mut self, policy: &Policy) -> bool {
        if !std::mem::take(&mut self.left_fence) || !self.listens() {
            return true;
        }
        self.subscriptions.judge_again();
        self.may_keep_subscriptions() && self.may_hear_everybody(policy)
    }

    /// Judges again what goes on for ever once it was permitted.
    fn may_hear_everybody(&self, policy: &Policy) -> bool {
        let permitted = |args: &[&str]| {
            let request = RequestBuf::from_args(args);
            matches!(policy.judge_again(self.facts(), request.as_request()), Verdict::Allow(_))
        };
        let replicates = self.replication == Replication::Streaming;
        (!self.monitoring || permitted(&["MONITOR"]))
            && (!replicates || permitted(&["PSYNC", "?", "-1"]))
            && (!self.broadcast || permitted(&["CLIENT", "TRACKING", "ON", "BCAST"]))
    }

    /// Notes a denial, or a failed login, for the ACL log. `command` is what the client runs; `username` whom it is about.
    pub fn note(&mut self, reason: LogReason, object: &[u8], username: &[u8], command: &str) {
        let context = if self.transaction.queueing { LogContext::Multi } else { LogContext::Toplevel };
        self.notes.push((Event::new(reason, context, object, username), self.describe(command)));
    }

    /// Notes that a request was sent.
    pub fn sent(&mut self, then: Then, judged: Judged<'_>, policy: &Policy) {
        transaction::sent(self, then, judged, policy);
        self.listens_from_now_on(then);
    }

    /// Notes that a request was sent after which messages may come, or come no more.
    pub(super) fn listens_from_now_on(&mut self, then: Then) {
        self.subscriptions.sent(then);
        match then {
            Then::Monitor => self.monitoring = true,
            Then::Replicate { stream: true } => self.replication = Replication::Streaming,
            Then::Replicate { stream: false } => self.replication = Replication::Announced,
            Then::Track { on, broadcast } => {
                self.tracking = on;
                self.broadcast = on && (broadcast || self.broadcast);
            }
            _ => {}
        }
    }

    /// The session's client in one line, as CLIENT INFO and the ACL log show it; `command` is what it runs.
    pub fn describe(&self, command: &str) -> String {
        let moment = Moment::running(command, self.since.elapsed().as_secs());
        Card::of(self).line(self.id, &self.ends, moment)
    }

    /// Whether the session needs its leased link to go on.
    pub fn holds_link(&self) -> bool {
        self.transaction.holds_link() || self.listens() || self.no_touch
    }

    /// Whether a plain request of the session is judged and sent, and nothing else happens about it.
    pub(super) fn is_plain(&self) -> bool {
        self.user.is_some()
            && self.replies == Replies::On
            && self.caps.in_flight().is_none()
            && !self.holds_link()
    }

    /// Whether messages come on the session's leased link, or soon may.
    pub fn listens(&self) -> bool {
        self.subscriptions.holds_link()
            || self.monitoring
            || self.tracking
            || self.replication != Replication::None
    }

    /// Judges the subscriptions again, if the policy has changed. False if the user may no longer have one of them: the
    /// session must end, as after ACL SETUSER.
    #[must_use]
    pub fn may_keep_subscriptions(&mut self) -> bool {
        self.subscriptions.may_be_kept(self.user.as_deref())
    }

    /// The facts that a verdict needs.
    pub fn facts(&self) -> Facts<'_> {
        Facts { user: self.user.as_deref(), database: self.db, local: self.ends.local }
    }

    /// Name of the user for texts; empty before a login.
    pub fn user_name(&self) -> &[u8] {
        self.user.as_ref().map(|user| user.name()).unwrap_or_default()
    }

    /// The state that a link must have for this session.
    pub fn link_key(&self) -> LinkKey {
        LinkKey { db: self.db, protocol: self.protocol }
    }

    /// What a link of the session's own must be set to.
    pub fn standing(&self) -> Standing {
        Standing { key: self.link_key(), no_touch: self.no_touch }
    }

    /// A copy to try commands on: with all that they are judged by, and that they may change.
    pub(super) fn rehearsal(&self, policy: &Policy) -> State {
        let mut copy = State::of_nobody(self.id, self.ends.clone(), policy);
        copy.user = self.user.clone();
        copy.accounts = self.accounts.clone();
        copy.place_of = self.place.as_ref().map(|place| place.name().into());
        copy.proof = self.proof;
        copy.incarnation = self.incarnation;
        copy.failed_logins = self.failed_logins;
        copy.generation = self.generation;
        copy.db = self.db;
        copy.protocol = self.protocol;
        copy.name = self.name.clone();
        copy.no_touch = self.no_touch;
        copy.transaction = self.transaction;
        copy.recorder = self.recorder.rehearsal();
        copy
    }

    /// RESET: back to how a new session begins. The library's name stays, as in Redis.
    pub fn reset(&mut self, policy: &Policy) {
        self.begin(policy);
        self.db = 0;
        self.protocol = Protocol::Resp2;
        self.name.clear();
        self.replies = Replies::default();
        self.no_evict = false;
        self.no_touch = false;
        self.transaction = Transaction::default();
        self.queue = Queue::default();
        self.subscriptions = Subscriptions::default();
        self.monitoring = false;
        self.tracking = false;
        self.broadcast = false;
        self.replication = Replication::None;
    }
}
