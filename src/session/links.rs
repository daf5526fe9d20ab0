//! Which link takes a session's next request.
//!
//! INVARIANT: a session uses one link at a time. It changes to another one (another database or protocol, a lease and
//! back) only when all its earlier requests are answered, so the order of its replies is the order of its requests.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use super::accounts::Share;
use super::mirrored::MirrorView;
use super::replies::{NONE_FREE, NOT_SENT};
use super::{Outbox, Route, State, Transaction};
use crate::policy::{Policy, ScriptDenial};
use crate::resp::Protocol;
use crate::upstream::{Lease, Link, Mirror, Mirrors, Permit, Pool};

/// How many requests after a large one are taken for large.
const HEAVY: u32 = 16;

/// The links that a session uses.
#[derive(Default)]
pub(super) struct Links {
    /// The one that the last request was sent on.
    current: Option<Rc<Link>>,
    /// One of this session alone.
    pub(super) lease: Option<Rc<Link>>,
    /// What the lease counts for its user, if that one has a cap.
    share: Option<Share>,
    /// One of this session alone, on which its user's scripts run.
    pub(super) mirrored: Option<Rc<Link>>,
    /// What that one counts.
    mirrored_share: Option<Share>,
    /// Where the replies to these go.
    view: Option<Rc<MirrorView>>,
    /// The mirror of the session's user, and the policy that it is of.
    mirror: (u64, Weak<Mirror>),
    place: Option<Rc<Cell<Place>>>,
    /// So many of the next requests go to a leased link if one is free: the client makes large transfers.
    heavy: u32,
}

/// Where the next request goes.
pub(super) enum Pick {
    /// There.
    Link(Rc<Link>),
    /// Nowhere: with this error.
    None(&'static str),
    /// To another link than the last one, so all earlier requests have to be answered first; or to a leased link, and
    /// none is free. The session is woken when it should ask again.
    Settle,
}

/// A session's place in the line for a leased link.
enum Place {
    Granted(Option<Share>, Permit),
    TimedOut,
    Waiting,
}

impl Links {
    /// Picks the link for a request of this route. `settled`: all earlier requests are answered. `outbox` is the session's.
    pub(super) fn pick(
        &mut self,
        pool: &Pool,
        state: &State,
        route: Route,
        settled: bool,
        outbox: &Rc<Outbox>,
    ) -> Pick {
        let needed = route != Route::Shared || state.holds_link();
        let leased = needed || self.heavy > 0;
        // On its way back, a lease stays in the database and protocol of the requests that it was for.
        let fits = |lease: &Rc<Link>| state.holds_link() || lease.key() == state.link_key();
        let target = match &self.lease {
            Some(lease) if leased && fits(lease) => lease.clone(),
            _ if leased && !settled => return Pick::Settle,
            _ if leased => {
                self.end_lease(pool);
                let (lease, share) = match needed || pool.can_spare() {
                    true => self.new_lease(pool, state, None),
                    false => (Lease::Busy, None),
                };
                match lease {
                    Lease::Link(link) => {
                        self.share = share;
                        self.lease.insert(link).clone()
                    }
                    Lease::Down => return Pick::None(NOT_SENT),
                    Lease::Busy if needed => return self.wait(pool, state, outbox),
                    Lease::Busy => {
                        self.heavy = 0;
                        return self.pick(pool, state, route, settled, outbox);
                    }
                }
            }
            _ => match &self.current {
                Some(link) if link.is_shared_and_open() && link.key() == state.link_key() => link.clone(),
                _ => match pool.shared(state.link_key(), state.id.0) {
                    Some(link) => link,
                    None => return Pick::None(NOT_SENT),
                },
            },
        };
        let changes = !self.current.as_ref().is_some_and(|link| Rc::ptr_eq(link, &target));
        if changes && !settled {
            return Pick::Settle;
        }
        let follows = route != Route::LeasedAsIs;
        if follows && self.lease.as_ref().is_some_and(|lease| Rc::ptr_eq(lease, &target)) {
            target.adopt(state.standing());
        }
        self.current = Some(target.clone());
        self.heavy = self.heavy.saturating_sub(1);
        Pick::Link(target)
    }

    /// The shared link that the last request was sent on, if [`Links::pick`] would give it to a request of the shared route
    /// again.
    pub(super) fn shared_link(&self, state: &State) -> Option<&Rc<Link>> {
        let own = self.lease.is_some() || self.mirrored.is_some() || self.heavy > 0 || self.place.is_some();
        self.current
            .as_ref()
            .filter(|link| !own && link.is_shared_and_open() && link.key() == state.link_key())
    }

    /// Picks the link for a request that runs as the mirror of the session's user, by the rules of `policy`.
    ///
    /// A session that keeps a leased link for another reason has a second one then: WATCH, subscriptions and the like
    /// are not disturbed by what its scripts do, and do not care where that is done.
    pub(super) fn pick_mirrored(
        &mut self,
        pool: &Pool,
        mirrors: &Arc<Mirrors>,
        policy: &Policy,
        state: &State,
        settled: bool,
        outbox: &Rc<Outbox>,
    ) -> Pick {
        let Some(mirror) = self.mirror(mirrors, policy, state) else { return Pick::None(NOT_SENT) };
        if mirror.is_refused() {
            return Pick::None(ScriptDenial::NoMirror.text());
        }
        let fits = |link: &Rc<Link>| {
            let same = link.mirror().is_some_and(|other| Arc::ptr_eq(other, &mirror));
            same && link.key() == state.link_key() && !link.is_dead()
        };
        let target = match &self.mirrored {
            Some(link) if fits(link) => link.clone(),
            _ if !settled => return Pick::Settle,
            _ => {
                self.end_mirrored(pool);
                let (lease, share) = self.new_lease(pool, state, Some(&mirror));
                match lease {
                    Lease::Link(link) => {
                        self.mirrored_share = share;
                        self.mirrored.insert(link).clone()
                    }
                    Lease::Down => return Pick::None(NOT_SENT),
                    Lease::Busy => return self.wait(pool, state, outbox),
                }
            }
        };
        let changes = !self.current.as_ref().is_some_and(|link| Rc::ptr_eq(link, &target));
        if changes && !settled {
            return Pick::Settle;
        }
        target.adopt(state.standing());
        self.current = Some(target.clone());
        Pick::Link(target)
    }

    /// The mirror of the session's user.
    fn mirror(&mut self, mirrors: &Arc<Mirrors>, policy: &Policy, state: &State) -> Option<Arc<Mirror>> {
        let user = state.user.as_ref()?;
        let (generation, known) = &self.mirror;
        let known =
            known.upgrade().filter(|known| *generation == policy.generation() && known.user() == user.name());
        let mirror = match known {
            Some(known) => known,
            None => mirrors.of(policy, user)?,
        };
        self.mirror = (policy.generation(), Arc::downgrade(&mirror));
        Some(mirror)
    }

    /// Where the replies on a mirrored link go; `None` for another link.
    pub(super) fn view(&mut self, link: &Link, outbox: &Rc<Outbox>) -> Option<Rc<MirrorView>> {
        let mirror = link.mirror()?;
        let known = self.view.as_ref().filter(|view| Arc::ptr_eq(view.mirror(), mirror)).cloned();
        let view = known.unwrap_or_else(|| Rc::new(MirrorView::new(outbox.clone(), mirror.clone())));
        self.view = Some(view.clone());
        Some(view)
    }

    /// The client has made a large transfer, and may make more: they should not be in the way of others.
    pub(super) fn expect_large(&mut self) {
        self.heavy = HEAVY;
    }

    /// The link on which the session's transaction has run.
    pub(super) fn executing(&self) -> Option<&Rc<Link>> {
        let mirrored = self.mirrored.as_ref();
        mirrored
            .filter(|link| self.current.as_ref().is_some_and(|current| Rc::ptr_eq(current, link)))
            .or(self.lease.as_ref())
    }

    /// Whether the session waits for a leased link.
    pub(super) fn is_waiting(&self) -> bool {
        self.place.is_some()
    }

    /// Gives up the place in the line: the request that it was for is dealt with.
    pub(super) fn leave_line(&mut self) {
        self.place = None;
    }

    /// A new leased link, and what it counts for its user.
    fn new_lease(
        &mut self,
        pool: &Pool,
        state: &State,
        mirror: Option<&Arc<Mirror>>,
    ) -> (Lease, Option<Share>) {
        let key = state.link_key();
        match &self.place {
            None => {
                let Ok(share) = state.share() else { return (Lease::Busy, None) };
                (pool.lease(key, mirror), share)
            }
            Some(place) => match place.replace(Place::Waiting) {
                Place::Granted(share, permit) => {
                    self.place = None;
                    (pool.open_leased(key, permit, mirror), share)
                }
                other => {
                    place.set(other);
                    (Lease::Busy, None)
                }
            },
        }
    }

    /// All leased links are in use, or all that the user may have: gets in line, or leaves it when the time is over.
    fn wait(&mut self, pool: &Pool, state: &State, outbox: &Rc<Outbox>) -> Pick {
        let Some(place) = &self.place else {
            let place = Rc::new(Cell::new(Place::Waiting));
            let permit = pool.wait_for_permit(state.wait_for_share());
            let outbox = Rc::downgrade(outbox);
            self.place = Some(place.clone());
            tokio::task::spawn_local(async move {
                let granted = permit.await.map(|(share, permit)| Place::Granted(share, permit));
                place.set(granted.unwrap_or(Place::TimedOut));
                if let Some(outbox) = outbox.upgrade() {
                    outbox.wake();
                }
            });
            return Pick::Settle;
        };
        match place.replace(Place::Waiting) {
            Place::TimedOut => {
                self.place = None;
                Pick::None(NONE_FREE)
            }
            _ => Pick::Settle,
        }
    }

    /// Ends a transaction that was not executed: by closing the leased link, unless subscriptions need it.
    pub(super) fn end_transaction(&mut self, pool: &Pool, transaction: Transaction, state: &State) {
        match &self.lease {
            Some(lease) if state.listens() => {
                // What was lost is not on this link. A RESP2 subscriber, which can only have watched, may not say that
                // it does so no more; nor can it use the link for another transaction before it is closed.
                if transaction.holds_link() && !transaction.lost && state.protocol == Protocol::Resp3 {
                    lease.forget_transaction(transaction.queueing);
                }
            }
            _ => self.end_lease(pool),
        }
    }

    /// The leased link has died.
    pub(super) fn lose_lease(&mut self) {
        self.lease = None;
        self.share = None;
    }

    /// Gives the leased link back, if there is one: it is closed, unless another session can use it.
    pub(super) fn end_lease(&mut self, pool: &Pool) {
        self.share = None;
        if let Some(lease) = self.lease.take() {
            self.give_back(pool, &lease);
        }
    }

    /// The same for the link on which scripts run.
    pub(super) fn end_mirrored(&mut self, pool: &Pool) {
        self.view = None;
        self.mirrored_share = None;
        if let Some(link) = self.mirrored.take() {
            self.give_back(pool, &link);
        }
    }

    /// The same for both.
    pub(super) fn end_leases(&mut self, pool: &Pool) {
        self.end_lease(pool);
        self.end_mirrored(pool);
    }

    fn give_back(&mut self, pool: &Pool, link: &Rc<Link>) {
        if self.current.as_ref().is_some_and(|current| Rc::ptr_eq(current, link)) {
            self.current = None;
        }
        pool.give_back(link);
    }
}

/// Also when the session's task panics: nobody else would close the leased link.
impl Drop for Links {
    fn drop(&mut self) {
        for link in [&self.lease, &self.mirrored].into_iter().flatten() {
            link.close();
        }
    }
}
