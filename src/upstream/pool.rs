//! The links of one worker: shared ones by database and protocol, and leased ones for a session's state.
//!
//! Pool identity: a shared link serves sessions of the same database and RESP version only. Everything else that a
//! connection can carry (WATCH, MULTI, blocking) never happens on it: such commands go to a leased link, which belongs
//! to one session and is closed, not reused, when the session is through with it. There are `max_leased` of these in
//! all workers together; whoever finds none free waits in line.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};

use super::dial::{LinkKey, Settings};
use super::link::{Lifetime, Link, Permit};

/// Databases and protocols that one worker keeps links for at the same time.
const MAX_KEYS: usize = 64;

/// What came of asking for a leased link.
pub enum Lease {
    /// All are in use.
    Busy,
    /// The upstream is unreachable just now.
    Down,
    /// Here it is.
    Link(Rc<Link>),
}

/// All links of one worker.
pub struct Pool {
    settings: Rc<Settings>,
    shared: RefCell<HashMap<LinkKey, Vec<Rc<Link>>>>,
    leases: Arc<Semaphore>,
    /// Told whenever a shared link came up: the upstream may be another one than before.
    on_up: Arc<Notify>,
}

impl Pool {
    /// A pool without links; they are opened when first asked for.
    ///
    /// `leases` has `max_leased` permits, for the pools of all workers.
    pub fn new(settings: Settings, leases: Arc<Semaphore>, on_up: Arc<Notify>) -> Self {
        Pool { settings: Rc::new(settings), shared: RefCell::new(HashMap::new()), leases, on_up }
    }

    /// A shared link in the state of `key`. `session` picks among several of the same key, always the same one for
    /// the same session. `None` if too many databases are in use at once.
    pub fn shared(&self, key: LinkKey, session: u64) -> Option<Rc<Link>> {
        let mut shared = self.shared.borrow_mut();
        if !shared.contains_key(&key) && shared.len() >= MAX_KEYS {
            shared.retain(|_, links| {
                let used = links.iter().any(|link| Rc::strong_count(link) > IDLE_OWNERS || !link.is_idle());
                if !used {
                    links.iter().for_each(|link| link.close());
                }
                used
            });
            if shared.len() >= MAX_KEYS {
                return None;
            }
        }
        let links = shared.entry(key).or_insert_with(|| {
            (0..self.settings.links_per_worker.max(1))
                .map(|_| self.open(key, Lifetime::Reconnecting))
                .collect()
        });
        let index = usize::try_from(session).unwrap_or_default().checked_rem(links.len()).unwrap_or_default();
        links.get(index).cloned()
    }

    /// A link for one session alone, which the caller closes; or why there is none at once.
    pub fn lease(&self, key: LinkKey) -> Lease {
        match self.leases.clone().try_acquire_owned() {
            Ok(permit) => self.open_leased(key, Permit::new(permit)),
            Err(_) => Lease::Busy,
        }
    }

    /// The same for a session that has waited for its [`Permit`].
    pub fn open_leased(&self, key: LinkKey, permit: Permit) -> Lease {
        // Another connection would not come about either, and each command would wait for that on its own.
        let shared = self.shared.borrow();
        if shared.get(&key).is_some_and(|links| links.iter().all(|link| link.is_down())) {
            return Lease::Down;
        }
        Lease::Link(self.open(key, Lifetime::SingleUse(permit)))
    }

    /// Waits in line for a permit, `lease_timeout` at most; `None` if that has passed.
    pub fn wait_for_permit(&self) -> impl Future<Output = Option<Permit>> + use<> {
        let permit = self.leases.clone().acquire_owned();
        let waited = tokio::time::timeout(self.settings.lease_timeout, permit);
        async { waited.await.ok()?.ok().map(Permit::new) }
    }

    fn open(&self, key: LinkKey, lifetime: Lifetime) -> Rc<Link> {
        let on_up = self.on_up.clone();
        let shared = matches!(lifetime, Lifetime::Reconnecting);
        Link::open(self.settings.clone(), key, lifetime, move || {
            if shared {
                on_up.notify_one();
            }
        })
    }
}

/// The pool and the link's own task hold an idle shared link; whoever else does is a session.
const IDLE_OWNERS: usize = 2;

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.borrow().values().flatten().for_each(|link| link.close());
    }
}
