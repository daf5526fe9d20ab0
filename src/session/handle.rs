//! The requests of one session, one after the other: scanned, judged, answered or sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::time::Instant;
use tracing::{debug, info, warn};
use zeroize::Zeroize;

use super::auth::{self, MAX_FAILED};
use super::card::Card;
use super::clients::Turn;
use super::forward::Way;
use super::links::Pick;
use super::logins::Turn as LoginTurn;
use super::pause::Hold;
use super::replication::Replication;
use super::replies::NOT_SENT;
use super::state::{Ends, State};
use super::step::{Action, Route, Then, step};
use super::{Draining, Session, Shared, local, transaction};
use crate::acl::LogReason;
use crate::command::flag;
use crate::policy::{Incarnation, Policy};
use crate::resp::{self, ProtocolError, Scanned, encode};
use crate::upstream::TURN_REQUESTS;

/// A session stops taking requests while this many bytes of replies wait for its client.
const MAX_BACKLOG_BYTES: usize = 1024 * 1024;

/// So many bytes of a name are shown in the log.
const MAX_SHOWN_NAME: usize = 64;

/// The same before the login, and while the client has not taken what was written: Redis since the versions of 2025
/// (CVE-2025-21605) closes such a client.
const MAX_BACKLOG_OF_STRANGER: usize = 1024;

/// A request from this size on travels without a copy, and on a leased link if one is free.
pub(super) const LARGE_BYTES: usize = 1024 * 1024;

/// Why the session stopped handling requests for now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The client does not read its replies.
    Backlog,
    /// The next request is a login, which has to wait so long for its turn.
    Slowed(Duration),
    /// All complete requests are handled.
    NeedsInput,
    /// CLIENT PAUSE holds the next request back for so long.
    Held(Duration),
    /// The request may have changed the policy, which the next one is to be judged by.
    NewPolicy,
    /// Others of the worker come first.
    TurnOver,
    /// The next request has to wait for the replies to earlier ones.
    Unsettled,
}

impl<S> Session<S> {
    /// Handles requests until one has to wait or there is none.
    pub(super) fn handle_input(&mut self) -> Stop {
        let mut turn = TURN_REQUESTS;
        loop {
            if let Some(stop) = self.handle_batch(&mut turn) {
                return stop;
            }
        }
    }

    /// The same, with the policy that is in force at its beginning; `None` when the session itself has changed it. `turn`
    /// counts the requests that may still be handled.
    fn handle_batch(&mut self, turn: &mut usize) -> Option<Stop> {
        let shared = self.shared.clone();
        let executing = self.tend_execution();
        let policy = shared.live.load();
        self.blocked.settle(&self.outbox);
        // A session that is closing already owes its last reply, also to who has deleted their own user.
        let stale = !self.closing && self.state.generation != policy.generation();
        if stale && !self.state.refresh(&policy) {
            let client = self.state.ends.client.as_str();
            debug!(client, "the session's user is gone, or may not log in like that any more");
            self.state.record_ended("revoked");
            self.abandon();
        }
        if stale {
            self.outbox.fence(self.state.fence.as_ref());
            self.blocked.judge_again(&policy, &self.state);
        }
        if !self.closing && self.seat.client().is_killed() {
            if self.seat.client().is_evicted() {
                warn!(
                    client = self.state.ends.client,
                    "a client is evicted: all together hold more than maxmemory_clients"
                );
            }
            self.abandon();
        }
        self.tend_deadlines();
        self.tend_subscriptions();
        self.tend_blocked();
        self.closing |= self.state.failed_logins >= MAX_FAILED;
        if executing && !self.closing {
            return Some(Stop::Unsettled);
        }
        while !self.closing {
            if self.is_backed_up() {
                let settled = self.outbox.is_settled();
                match shared.draining.get() {
                    // As long as messages come, a slow reader would never be through with them.
                    Draining::Kindly if self.state.listens() && !self.state.transaction.holds_link() => {
                        self.closing |= settled;
                    }
                    Draining::Firmly if settled => self.abandon(),
                    _ => {}
                }
                return Some(Stop::Backlog);
            }
            if self.outbox.is_crowded()
                || self.blocked.is_crowded()
                || (self.state.caps.in_flight().is_some() && self.is_over_cap())
            {
                return Some(Stop::Unsettled);
            }
            if *turn == 0 {
                return Some(Stop::TurnOver);
            }
            let row = self.send_row(&policy, *turn);
            *turn = turn.saturating_sub(row.max(1));
            if row > 0 {
                if self.input.is_empty() && !shared.draining.get().is_on() {
                    return Some(Stop::NeedsInput);
                }
                continue;
            }
            match self.handle_request(&policy) {
                Some(Stop::NewPolicy) => return None,
                Some(stop) => {
                    let idle = stop == Stop::NeedsInput && self.outbox.is_settled();
                    self.closing |= idle
                        && match shared.draining.get() {
                            Draining::No => false,
                            Draining::Kindly => self.input.is_empty() && !self.state.transaction.holds_link(),
                            // What is left of a request was not sent, and is not in doubt.
                            Draining::Firmly => true,
                        };
                    return Some(stop);
                }
                None => {}
            }
        }
        Some(Stop::NeedsInput)
    }

    /// Handles the first request of the buffer. `None` when it is done with.
    fn handle_request(&mut self, policy: &Arc<Policy>) -> Option<Stop> {
        self.tend_lease();
        let length = match self.scan() {
            Ok(length) => length,
            Err(stop) => return stop,
        };
        if self.shared.clients.logins().are_slow()
            && let Some(left) = self.slow_down(policy)
        {
            self.waiting = Some(length);
            return Some(Stop::Slowed(left));
        }
        let Session {
            input,
            scanner,
            state,
            scratch,
            reply,
            outbox,
            witness,
            links,
            shared,
            waiting,
            whole,
            closing,
            seat,
            unseen,
            execution,
            blocked,
            ..
        } = self;
        let request = scanner.request(whole.as_deref().unwrap_or(input));
        let settled = outbox.is_settled();
        let (hold, left) = shared.clients.hold();
        // A pause does not hold up the end.
        state.hold = if shared.draining.get().is_on() { Hold::Nothing } else { hold };
        let (mut next, mut answered_here) = (None, false);
        let transaction = state.transaction;
        let way = Way { shared, outbox, witness, whole: whole.as_ref(), view: None };
        let action = step(policy, state, request, scratch, settled, reply);
        outbox.mute(state.replies.are_muted());
        if !matches!(&action, Action::Forward { then: Then::Nothing | Then::ReleaseAfterReply, .. }) {
            *unseen = true;
            // It may be another user now.
            outbox.fence(state.fence.as_ref());
            if !state.may_listen_on(policy) {
                log_notes(state, shared);
                self.end_listening();
                return None;
            }
        }
        match action {
            Action::Administer { judged } => {
                answered_here = true;
                let client = seat.client();
                // It may be about this client, too.
                let (input, output) = (input.len(), outbox.backlog());
                client.note(Turn { active: true, input, output, ..Turn::default() }, state.command);
                client.show(Card::of(state));
                local::administer(shared, policy, state, judged, reply);
                outbox.reply(reply);
                // Who has killed themselves or deleted their own user gets the reply, and then the end.
                let gone = state.user.is_some() && state.incarnation != current_incarnation(shared, state);
                *closing = gone || seat.client().is_killed();
                next = Some(Stop::NewPolicy);
            }
            Action::Close => {
                log_notes(state, shared);
                self.abandon();
                return None;
            }
            Action::CutOff => {
                self.warn_of_attack();
                self.abandon();
                return None;
            }
            Action::CloseAfterReply => {
                outbox.reply(reply);
                *closing = true;
            }
            Action::EndLease => {
                links.end_transaction(&shared.pool, transaction, state);
                outbox.reply(reply);
            }
            Action::Forward { judged, route, then } => {
                let large = whole.is_some() || outbox.take_large();
                if large {
                    links.expect_large();
                }
                let pick = match route {
                    Route::Mirrored => {
                        links.pick_mirrored(&shared.pool, &shared.mirrors, policy, state, settled, outbox)
                    }
                    _ => links.pick(&shared.pool, state, route, settled, outbox),
                };
                let view = match &pick {
                    Pick::Link(link) => links.view(link, outbox),
                    _ => None,
                };
                let way = Way { view: view.as_ref(), ..way };
                match pick {
                    Pick::Settle => {
                        *waiting = Some(length);
                        return Some(Stop::Unsettled);
                    }
                    Pick::Link(link) if way.send(&link, judged, then, policy, state) => {
                        if matches!(then, Then::ReleaseAfterReply)
                            && judged.spec().flags.contains(flag::BLOCKING)
                        {
                            blocked.sent(judged.request(), state.db, outbox);
                        }
                        state.sent(then, judged, policy);
                    }
                    unsent => {
                        let error = if let Pick::None(error) = unsent { error } else { NOT_SENT };
                        encode::error(reply, error.as_bytes());
                        outbox.reply(reply);
                        // The client may have sent more before it reads that; it must not run on its own, nor without
                        // this one.
                        *closing |=
                            matches!(then, Then::BeginTransaction | Then::EndTransaction | Then::Watch);
                        state.transaction.doomed |= state.transaction.queueing;
                    }
                }
            }
            Action::Execute { exec, plan } => {
                if plan.again && witness.saw_refusal() {
                    transaction::abort(state, reply);
                    links.end_transaction(&shared.pool, transaction, state);
                    outbox.reply(reply);
                } else if plan.mirrored {
                    match links.pick_mirrored(&shared.pool, &shared.mirrors, policy, state, settled, outbox) {
                        Pick::Settle => {
                            // It is judged again then, and noted and recorded once.
                            state.notes.clear();
                            state.recorder.take_waiting();
                            *waiting = Some(length);
                            return Some(Stop::Unsettled);
                        }
                        Pick::Link(link) => {
                            // What it has queued on the other link is forgotten with that.
                            links.end_transaction(&shared.pool, transaction, state);
                            *execution = way.execute(&link, exec, plan, policy, state);
                            if execution.is_none() {
                                transaction::give_up(state);
                                encode::error(reply, NOT_SENT.as_bytes());
                                outbox.reply(reply);
                            }
                        }
                        Pick::None(error) => {
                            transaction::give_up(state);
                            links.end_transaction(&shared.pool, transaction, state);
                            encode::error(reply, error.as_bytes());
                            outbox.reply(reply);
                        }
                    }
                } else {
                    let lease = links.lease.as_ref();
                    *execution = lease.and_then(|link| way.execute(link, exec, plan, policy, state));
                    if execution.is_none() {
                        transaction::give_up(state);
                        encode::error(reply, NOT_SENT.as_bytes());
                        outbox.reply(reply);
                    }
                }
            }
            Action::Greet => {
                let greeting = reply.split().freeze();
                let lease = links.lease.as_ref();
                if !lease.is_some_and(|link| way.greet(link, state.protocol, greeting.clone())) {
                    // What the session listens to is gone, and the session will be.
                    outbox.reply(&mut BytesMut::from(&*greeting));
                }
            }
            Action::Hold => {
                *waiting = Some(length);
                return Some(Stop::Held(left));
            }
            Action::Reply => {
                answered_here = true;
                outbox.reply(reply);
            }
            Action::Settle => {
                *waiting = Some(length);
                return Some(Stop::Unsettled);
            }
        }
        if whole.take().is_none() {
            if answered_here && let Some(handled) = input.get_mut(..length) {
                // SECURITY: it may have been a password (AUTH, HELLO, ACL SETUSER, CONFIG SET requirepass).
                handled.zeroize();
            }
            input.advance(length);
        }
        links.leave_line();
        if execution.is_some() {
            // The rest of it comes with its reply.
            return Some(Stop::Unsettled);
        }
        state.replies = state.replies.next();
        outbox.mute(state.replies.are_muted());
        log_notes(state, shared);
        *closing |= state.failed_logins >= MAX_FAILED;
        next
    }

    /// Whether no request is to be taken before the client has read.
    fn is_backed_up(&self) -> bool {
        let backlog = self.outbox.backlog();
        backlog >= MAX_BACKLOG_BYTES
            || (self.state.user.is_none() && (backlog >= MAX_BACKLOG_OF_STRANGER || self.unflushed))
    }

    #[cold]
    fn is_over_cap(&mut self) -> bool {
        let open = self.outbox.open();
        self.state.is_full(open)
    }

    /// How long the request, if it is a login, has to wait for others that have failed.
    #[cold]
    fn slow_down(&mut self, policy: &Policy) -> Option<Duration> {
        // That does not hold up the end.
        if self.shared.draining.get().is_on() {
            return None;
        }
        let request = self.scanner.request(self.whole.as_deref().unwrap_or(&self.input));
        let user = auth::attempt(policy, &self.state, request)?;
        let now = Instant::now();
        if let Some((due, certain)) = self.login_due {
            if due > now {
                return Some(due.saturating_duration_since(now));
            }
            self.login_due = None;
            if certain {
                return None;
            }
        }
        let (left, certain) = match self.shared.clients.logins().turn(&self.state.ends, user) {
            LoginTurn::Now => return None,
            LoginTurn::After(left) => (left, true),
            LoginTurn::AskAfter(left) => (left, false),
        };
        self.deadlines.grant(left);
        self.login_due = now.checked_add(left).map(|due| (due, certain));
        Some(left)
    }

    #[cold]
    fn warn_of_attack(&self) {
        if self.shared.clients.logins().attacked() {
            warn!(
                client = self.state.ends.client,
                listener = self.state.ends.listener,
                "Possible SECURITY ATTACK detected: a POST or Host: line, as of a browser that was made to send commands; \
                 connection closed"
            );
        }
    }

    /// Smaller bounds before the login, as in Redis, and for what comes on top of a queue.
    fn scan_input(&mut self) -> Result<Scanned, ProtocolError> {
        let [strangers, users] = &self.bounds;
        if self.state.transaction.queueing {
            let max_query_bytes = users.max_query_bytes.saturating_sub(self.state.queue.arg_bytes);
            return self.scanner.scan(&self.input, &resp::Limits { max_query_bytes, ..*users });
        }
        self.scanner.scan(&self.input, if self.state.user.is_some() { users } else { strangers })
    }

    /// Takes a request that is large, and was found at the beginning of the buffer, out of it.
    pub(super) fn note_found(&mut self, length: usize) {
        if length >= LARGE_BYTES {
            let whole = self.input.split_to(length).freeze();
            // What is left would keep the memory of both.
            self.input = BytesMut::from(&*self.input);
            self.whole = Some(whole);
        }
    }

    /// The length of the first request of the buffer. `Err(None)`: something else was there, and is dealt with.
    fn scan(&mut self) -> Result<usize, Option<Stop>> {
        if self.closing {
            return Err(None);
        }
        if let Some(length) = self.waiting.take() {
            return Ok(length);
        }
        match self.scan_input() {
            Ok(Scanned::NeedMore { .. }) => Err(Some(Stop::NeedsInput)),
            Ok(Scanned::Nothing { consumed }) => {
                self.input.advance(consumed);
                if let (Replication::Streaming, Some(lease)) = (self.state.replication, &self.links.lease) {
                    lease.send_sign_of_life();
                }
                Err(None)
            }
            Ok(Scanned::Request { consumed }) => {
                self.note_found(consumed);
                Ok(consumed)
            }
            Err(ProtocolError::FullQueryBuffer) => {
                warn!(
                    client = self.state.ends.client,
                    "a client is closed: its request needs more than client_query_buffer_limit"
                );
                self.abandon();
                Err(None)
            }
            Err(error) => {
                debug!(client = self.state.ends.client, %error, "client broke the protocol");
                self.state.record_ended("protocol");
                if self.state.replication == Replication::Streaming {
                    self.abandon();
                    return Err(None);
                }
                encode::error(&mut self.reply, &error.text());
                self.outbox.reply(&mut self.reply);
                self.closing = true;
                Err(None)
            }
        }
    }
}

/// Writes into the ACL log, the audit stream and the log what the last command has left for them.
pub(super) fn log_notes(state: &mut State, shared: &Shared) {
    for (event, client) in std::mem::take(&mut state.notes) {
        match event.reason {
            LogReason::Auth => warn_of_login(&state.ends, &event.username, shared),
            LogReason::TlsCert => {
                tell_of_certificate(&state.ends, &event.username, state.why_refused, shared)
            }
            _ => {}
        }
        shared.users.note(event, client);
    }
    state.recorder.finish();
}

/// One line for each failed login, in a form that others may rely on (docs/SECURITY.md); of many of one source, some.
fn warn_of_login(ends: &Ends, name: &[u8], shared: &Shared) {
    let Some(failures) = shared.clients.logins().failed(ends, name) else { return };
    let reason = match shared.live.load().user(name) {
        None => "no such user",
        Some(user) if !user.is_enabled() => "user is off",
        Some(_) => "wrong password",
    };
    let shown = name.get(..MAX_SHOWN_NAME).unwrap_or(name).escape_ascii().to_string();
    let (client, listener) = (ends.client.as_str(), ends.listener.as_str());
    warn!(target: "redkeep::auth", client, user = shown.as_str(), reason, listener, failures, "login failed");
}

/// The same of a certificate that is nobody's: it counts as a failed login.
fn tell_of_certificate(ends: &Ends, name: &[u8], why: &'static str, shared: &Shared) {
    let Some(failures) = shared.clients.logins().failed(ends, name) else { return };
    let certificate = ends.certificate_text.as_deref().unwrap_or_default();
    info!(client = ends.client, certificate, why, failures, "the certificate is no login");
}

/// The incarnation of the session's user in the policy that is in force now.
pub(super) fn current_incarnation(shared: &Shared, state: &State) -> Option<Incarnation> {
    shared.live.load().incarnation(state.user_name())
}
