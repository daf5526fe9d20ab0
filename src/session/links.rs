//! Which link takes a session's next request.
//!
//! INVARIANT: a session uses one link at a time. It changes to another one (another database or protocol, a lease and
//! back) only when all its earlier requests are answered, so the order of its replies is the order of its requests.

use std::cell::Cell;
use std::rc::Rc;

use super::accounts::Share;
use super::replies::{NONE_FREE, NOT_SENT};
use super::{Outbox, Route, State, Transaction};
use crate::resp::Protocol;
use crate::upstream::{Lease, Link, Permit, Pool};

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
                match self.new_lease(pool, state) {
                    Lease::Link(link) => self.lease.insert(link).clone(),
                    Lease::Down => return Pick::None(NOT_SENT),
                    Lease::Busy if needed => return self.wait(pool, state, outbox),
                    Lease::Busy => {
                        self.heavy = 0;
                        return self.pick(pool, state, route, settled, outbox);
                    }
                }
            }
            _ => match pool.shared(state.link_key(), state.id.0) {
                Some(link) => link,
                None => return Pick::None(NOT_SENT),
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

    /// The client has made a large transfer, and may make more: they should not be in the way of others.
    pub(super) fn expect_large(&mut self) {
        self.heavy = HEAVY;
    }

    /// Whether the session waits for a leased link.
    pub(super) fn is_waiting(&self) -> bool {
        self.place.is_some()
    }

    /// Gives up the place in the line: the request that it was for is dealt with.
    pub(super) fn leave_line(&mut self) {
        self.place = None;
    }

    fn new_lease(&mut self, pool: &Pool, state: &State) -> Lease {
        let key = state.link_key();
        let (share, lease) = match &self.place {
            None => {
                let Ok(share) = state.share() else { return Lease::Busy };
                (share, pool.lease(key))
            }
            Some(place) => match place.replace(Place::Waiting) {
                Place::Granted(share, permit) => {
                    self.place = None;
                    (share, pool.open_leased(key, permit))
                }
                other => {
                    place.set(other);
                    return Lease::Busy;
                }
            },
        };
        if matches!(lease, Lease::Link(_)) {
            self.share = share;
        }
        lease
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
            if self.current.as_ref().is_some_and(|link| Rc::ptr_eq(link, &lease)) {
                self.current = None;
            }
            pool.give_back(&lease);
        }
    }
}

/// Also when the session's task panics: nobody else would close the leased link.
impl Drop for Links {
    fn drop(&mut self) {
        if let Some(lease) = &self.lease {
            lease.close();
        }
    }
}
