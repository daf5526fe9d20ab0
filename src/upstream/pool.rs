//! The links of one worker: shared ones by database and protocol, and leased ones for a session's state.
//!
//! Pool identity: a shared link serves sessions of the same database and RESP version only. Everything else that a
//! connection can carry (WATCH, MULTI, blocking) never happens on it: such commands go to a leased link, which belongs
//! to one session. When that is through with it, the link is closed, or rests for another session if it is provably
//! clean. There are `max_leased` in use in all workers together; whoever finds none free waits in line.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};

use super::dial::{LinkKey, Settings};
use super::ledger::Permit;
use super::link::Link;
use super::mirror::Mirror;
use super::retry::Attempts;

/// Databases and protocols that one worker keeps links for at the same time.
const MAX_KEYS: usize = 64;

/// Leased links of one database and protocol that rest on one worker: what a burst of short transactions needs.
const MAX_RESTING: usize = 16;

/// For whom a resting link can be used again: database, protocol, and the number of the mirror, 0 for none.
type RestKey = (LinkKey, u64);

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
    settings: RefCell<Rc<Settings>>,
    shared: RefCell<HashMap<LinkKey, Vec<Rc<Link>>>>,
    /// Leased links that nobody uses, the one that rested last at the end.
    resting: RefCell<HashMap<RestKey, Vec<Rc<Link>>>>,
    leases: Arc<Semaphore>,
    /// Of leased links that could not connect.
    failed: Rc<RefCell<HashMap<LinkKey, Attempts>>>,
    /// Told whenever a shared link came up: the upstream may be another one than before.
    on_up: Arc<Notify>,
}

impl Pool {
    /// A pool without links; they are opened when first asked for.
    ///
    /// `leases` has `max_leased` permits, for the pools of all workers.
    pub fn new(settings: Settings, leases: Arc<Semaphore>, on_up: Arc<Notify>) -> Self {
        Pool {
            settings: RefCell::new(Rc::new(settings)),
            shared: RefCell::default(),
            resting: RefCell::default(),
            leases,
            failed: Rc::default(),
            on_up,
        }
    }

    /// Has all links to come made with these settings (another password, after a rotation): shared links take no more
    /// requests and end when all are answered, leased ones when their session is through with them.
    pub fn renew(&self, settings: Settings) {
        self.settings.replace(Rc::new(settings));
        let shared = self.shared.take();
        shared.values().flatten().for_each(|link| link.replace());
        let resting = self.resting.take();
        resting.values().flatten().for_each(|link| link.close());
        // What failed with the old ones may succeed now.
        self.failed.borrow_mut().clear();
        self.warm();
    }

    /// Opens the links that most sessions begin with, so that the first of them need not wait.
    pub fn warm(&self) {
        let _ = self.shared(LinkKey::default(), 0);
    }

    /// To be told when the upstream may have become another one.
    pub fn on_change(&self) -> &Arc<Notify> {
        &self.on_up
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
            (0..self.settings().links_per_worker.max(1)).map(|_| self.open(key)).collect()
        });
        let index = usize::try_from(session).unwrap_or_default().checked_rem(links.len()).unwrap_or_default();
        let link = links.get_mut(index)?;
        // Nobody closes a shared link that is in use: one that is dead has panicked.
        if link.is_dead() || link.is_retired() || self.retires(link) {
            *link = self.open(key);
        }
        Some(link.clone())
    }

    /// Has a link take no more requests if it carries a large reply. Its connection then counts as a leased one, so that
    /// clients that do not read such replies cannot have as many as they like.
    fn retires(&self, link: &Link) -> bool {
        let permit = link.carries_large().then(|| self.leases.clone().try_acquire_owned());
        let Some(Ok(permit)) = permit else { return false };
        link.retire(Permit::new(permit));
        true
    }

    /// A link for one session alone, as `mirror` if one is given, which the caller gives back; or why there is none at
    /// once.
    pub fn lease(&self, key: LinkKey, mirror: Option<&Arc<Mirror>>) -> Lease {
        match self.leases.clone().try_acquire_owned() {
            Ok(permit) => self.open_leased(key, Permit::new(permit), mirror),
            Err(_) => Lease::Busy,
        }
    }

    /// Whether so many leased links are free that one may go to a session that could do without.
    pub fn can_spare(&self) -> bool {
        self.leases.available_permits() > self.settings.borrow().max_leased / 2
    }

    /// The same for a session that has waited for its [`Permit`].
    pub fn open_leased(&self, key: LinkKey, permit: Permit, mirror: Option<&Arc<Mirror>>) -> Lease {
        // Another connection would not come about either, and each command would wait for that on its own.
        let shared = self.shared.borrow();
        if shared.get(&key).is_some_and(|links| links.iter().all(|link| link.is_down())) {
            return Lease::Down;
        }
        drop(shared);
        let mut permit = permit;
        let rest_key = (key, mirror.map_or(0, |mirror| mirror.number()));
        while let Some(link) = self.resting.borrow_mut().get_mut(&rest_key).and_then(Vec::pop) {
            match link.wake_up(permit) {
                Ok(()) => return Lease::Link(link),
                Err(unused) => permit = unused,
            }
        }
        // There may be no shared link, and each command would try for itself.
        if self.failed.borrow_mut().get_mut(&key).is_some_and(|attempts| !attempts.may_begin()) {
            return Lease::Down;
        }
        let failed = self.failed.clone();
        let told = move |up: bool| {
            let mut failed = failed.borrow_mut();
            if up {
                failed.remove(&key);
            } else if failed.len() < MAX_KEYS || failed.contains_key(&key) {
                failed.entry(key).or_insert_with(Attempts::after_failure);
            }
        };
        Lease::Link(Link::open_leased(self.settings(), key, permit, mirror.cloned(), told))
    }

    /// Takes back a link that was leased: it rests if it is clean, else it is closed.
    pub fn give_back(&self, link: &Rc<Link>) {
        let mut resting = self.resting.borrow_mut();
        let key = (link.key(), link.mirror().map_or(0, |mirror| mirror.number()));
        if !resting.contains_key(&key) && resting.len() >= MAX_KEYS {
            resting.drain().flat_map(|(_, links)| links).for_each(|link| link.close());
        }
        let others = resting.entry(key).or_default();
        others.retain(|link| !link.is_dead());
        let retired = link.mirror().is_some_and(|mirror| mirror.is_retired());
        let current = !retired && link.is_of(&self.settings.borrow());
        if others.len() < MAX_RESTING && current && link.rest() {
            others.push(link.clone());
        } else {
            link.close();
        }
    }

    /// Closes the resting links of mirrors whose users have other rules by now, and forgets those that have ended.
    pub fn end_retired(&self) {
        self.resting.borrow_mut().retain(|_, links| {
            links.retain(|link| {
                if link.mirror().is_some_and(|mirror| mirror.is_retired()) {
                    link.close();
                }
                !link.is_dead()
            });
            !links.is_empty()
        });
    }

    /// Waits for `first` and then in line for a permit, `lease_timeout` at most for both; `None` if that has passed.
    pub fn wait_for_permit<F: Future>(
        &self,
        first: F,
    ) -> impl Future<Output = Option<(F::Output, Permit)>> + use<F> {
        let leases = self.leases.clone();
        let both = async move { (first.await, leases.acquire_owned().await) };
        let waited = tokio::time::timeout(self.settings().lease_timeout, both);
        async {
            let (first, permit) = waited.await.ok()?;
            Some((first, Permit::new(permit.ok()?)))
        }
    }

    fn settings(&self) -> Rc<Settings> {
        self.settings.borrow().clone()
    }

    fn open(&self, key: LinkKey) -> Rc<Link> {
        let (failed, on_up) = (self.failed.clone(), self.on_up.clone());
        Link::open(self.settings(), key, move |up| {
            if up {
                failed.borrow_mut().remove(&key);
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
        self.resting.borrow().values().flatten().for_each(|link| link.close());
    }
}

#[cfg(test)]
mod tests;
