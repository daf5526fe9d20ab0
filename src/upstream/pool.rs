//! The links of one worker: shared ones by database and protocol, and leased ones for a session's state.
//!
//! Pool identity: a shared link serves sessions of the same database and RESP version only. Everything else that a
//! connection can carry (WATCH, MULTI, blocking) never happens on it: such commands go to a leased link, which belongs
//! to one session and is closed, not reused, when the session is through with it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::dial::{LinkKey, Settings};
use super::link::{Lifetime, Link};

/// Databases and protocols that one worker keeps links for at the same time.
const MAX_KEYS: usize = 64;

/// All links of one worker.
pub struct Pool {
    settings: Rc<Settings>,
    shared: RefCell<HashMap<LinkKey, Vec<Rc<Link>>>>,
    /// Told whenever a shared link came up: the upstream may be another one than before.
    on_up: Arc<Notify>,
}

impl Pool {
    /// A pool without links; they are opened when first asked for.
    pub fn new(settings: Settings, on_up: Arc<Notify>) -> Self {
        Pool { settings: Rc::new(settings), shared: RefCell::new(HashMap::new()), on_up }
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

    /// A link for one session alone. The caller closes it.
    pub fn lease(&self, key: LinkKey) -> Rc<Link> {
        self.open(key, Lifetime::SingleUse)
    }

    fn open(&self, key: LinkKey, lifetime: Lifetime) -> Rc<Link> {
        let on_up = self.on_up.clone();
        let shared = lifetime == Lifetime::Reconnecting;
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
