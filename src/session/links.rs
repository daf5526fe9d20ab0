//! Which link takes a session's next request.
//!
//! INVARIANT: a session uses one link at a time. It changes to another one (another database or protocol, a lease and
//! back) only when all its earlier requests are answered, so the order of its replies is the order of its requests.

use std::rc::Rc;

use super::{Route, State, Transaction};
use crate::resp::Protocol;
use crate::upstream::{Link, Pool};

/// The links that a session uses.
#[derive(Default)]
pub(super) struct Links {
    /// The one that the last request was sent on.
    current: Option<Rc<Link>>,
    /// One of this session alone.
    pub(super) lease: Option<Rc<Link>>,
}

/// Where the next request goes.
pub(super) enum Pick {
    /// There.
    Link(Rc<Link>),
    /// Nowhere: too many databases are in use at once.
    None,
    /// To another link than the last one, so all earlier requests have to be answered first.
    Settle,
}

impl Links {
    /// Picks the link for a request of this route. `settled`: all earlier requests are answered.
    pub(super) fn pick(&mut self, pool: &Pool, state: &State, route: Route, settled: bool) -> Pick {
        let leased = route == Route::Leased || state.holds_link();
        let target = match &self.lease {
            Some(lease) if leased => lease.clone(),
            None if leased && !settled => return Pick::Settle,
            None if leased => self.lease.insert(pool.lease(state.link_key())).clone(),
            _ => match pool.shared(state.link_key(), state.id.0) {
                Some(link) => link,
                None => return Pick::None,
            },
        };
        let changes = !self.current.as_ref().is_some_and(|link| Rc::ptr_eq(link, &target));
        if changes && !settled {
            return Pick::Settle;
        }
        self.current = Some(target.clone());
        Pick::Link(target)
    }

    /// Ends a transaction that was not executed: by closing the leased link, unless subscriptions need it.
    pub(super) fn end_transaction(&mut self, transaction: Transaction, state: &State) {
        match &self.lease {
            Some(lease) if state.subscriptions.holds_link() => {
                // What was lost is not on this link. A RESP2 subscriber, which can only have watched, may not say that
                // it does so no more; nor can it use the link for another transaction before it is closed.
                if transaction.holds_link() && !transaction.lost && state.protocol == Protocol::Resp3 {
                    lease.forget_transaction(transaction.queueing);
                }
            }
            _ => self.end_lease(),
        }
    }

    /// Closes the leased link, if there is one.
    pub(super) fn end_lease(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.close();
        }
    }
}
