//! What each user has just now of what all users share: clients, requests at the upstream, leased links.
//!
//! The caps ([`Caps`](crate::policy::Caps)) are the policy's; here it is counted. Who is over a cap: a login is refused; a
//! session that has requests at the upstream takes no more of them until one is answered (one with none may always send
//! one, so that nobody waits for another session); a leased link is waited for, as if all were in use.
//!
//! Counting costs an atomic addition for each request of a user with a cap, and nothing for others.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// The answer to a login of a user who has as many clients as it may have. Redis has no such limit.
pub(super) const FULL: &str = "ERR max number of clients of this user reached";

/// Users are looked through for those who are gone when there are so many, and twice as many as were left last time.
const FEW: usize = 64;

/// All users who are logged in, on all workers.
#[derive(Debug, Default)]
pub struct Accounts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    users: HashMap<Box<[u8]>, Weak<Usage>>,
    /// How many were left when those who are gone were last looked for.
    left: usize,
}

/// What one user has.
#[derive(Debug)]
struct Usage {
    name: Box<[u8]>,
    clients: AtomicUsize,
    in_flight: AtomicUsize,
    leased: AtomicUsize,
    /// Told when a leased link was given back.
    freed: Notify,
}

/// A client's place among those of its user, until it is dropped.
#[derive(Debug)]
pub struct Place {
    usage: Arc<Usage>,
    /// How many requests of this client count as in flight.
    in_flight: usize,
}

/// A leased link counts for its user, until this is dropped.
#[derive(Debug)]
pub struct Share(Arc<Usage>);

impl Accounts {
    /// Counts a client in. Also tells how many the user has now.
    pub(super) fn enter(&self, name: &[u8]) -> (Place, usize) {
        let usage = self.usage(name);
        let clients = usage.clients.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        (Place { usage, in_flight: 0 }, clients)
    }

    /// How many clients a user has.
    pub(super) fn clients(&self, name: &[u8]) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = known.users.get(name).and_then(Weak::upgrade);
        usage.map_or(0, |usage| usage.clients.load(Ordering::Relaxed))
    }

    fn usage(&self, name: &[u8]) -> Arc<Usage> {
        // Whoever panicked with the lock has left a whole map behind.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(usage) = known.users.get(name).and_then(Weak::upgrade) {
            return usage;
        }
        if known.users.len() >= FEW.max(known.left.saturating_mul(2)) {
            known.users.retain(|_, usage| usage.strong_count() > 0);
            known.left = known.users.len();
        }
        let usage = Arc::new(Usage {
            name: name.into(),
            clients: AtomicUsize::default(),
            in_flight: AtomicUsize::default(),
            leased: AtomicUsize::default(),
            freed: Notify::new(),
        });
        known.users.insert(name.into(), Arc::downgrade(&usage));
        usage
    }
}

impl Place {
    /// Whose it is.
    pub(super) fn name(&self) -> &[u8] {
        &self.usage.name
    }

    /// So many requests of the client are at the upstream now. Whether the user may not have more of them.
    pub(super) fn is_full(&mut self, in_flight: usize, most: NonZeroUsize) -> bool {
        let all = &self.usage.in_flight;
        if in_flight > self.in_flight {
            all.fetch_add(in_flight.saturating_sub(self.in_flight), Ordering::Relaxed);
        } else if in_flight < self.in_flight {
            all.fetch_sub(self.in_flight.saturating_sub(in_flight), Ordering::Relaxed);
        }
        self.in_flight = in_flight;
        in_flight > 0 && all.load(Ordering::Relaxed) >= most.get()
    }

    /// Counts one leased link more; `None` if the user has as many as it may have.
    pub(super) fn share(&self, most: NonZeroUsize) -> Option<Share> {
        self.usage.share(most)
    }

    /// The same, as soon as there is room.
    pub(super) fn wait_for_share(&self, most: NonZeroUsize) -> impl Future<Output = Share> + use<> {
        let usage = self.usage.clone();
        async move {
            loop {
                let mut freed = std::pin::pin!(usage.freed.notified());
                // In line before the look, so that nothing given back in between is missed.
                freed.as_mut().enable();
                if let Some(share) = usage.share(most) {
                    return share;
                }
                freed.await;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.usage.clients.fetch_sub(1, Ordering::Relaxed);
        self.usage.in_flight.fetch_sub(self.in_flight, Ordering::Relaxed);
    }
}

impl Usage {
    fn share(self: &Arc<Self>, most: NonZeroUsize) -> Option<Share> {
        let one_more = |leased: usize| (leased < most.get()).then(|| leased.saturating_add(1));
        let counted = self.leased.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        counted.is_ok().then(|| Share(self.clone()))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.leased.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    #[test]
    fn clients_are_counted_by_user_and_nobody_who_is_gone_is_kept() {
        let accounts = Accounts::default();
        let (one, count) = accounts.enter(b"app");
        assert_eq!((one.name(), count), (&b"app"[..], 1));
        assert_eq!((accounts.clients(b"app"), accounts.clients(b"nobody")), (1, 0));
        assert_eq!(accounts.enter(b"other").1, 1);
        let (two, count) = accounts.enter(b"app");
        assert_eq!(count, 2);
        drop(one);
        assert_eq!(accounts.enter(b"app").1, 2);
        drop(two);
        for number in 0..1000 {
            assert_eq!(accounts.enter(format!("user{number}").as_bytes()).1, 1);
        }
        assert!(accounts.0.lock().unwrap().users.len() <= FEW);
    }

    #[test]
    fn requests_in_flight_are_those_of_all_clients_and_one_is_always_allowed() {
        let accounts = Accounts::default();
        let (mut one, _) = accounts.enter(b"app");
        let (mut two, _) = accounts.enter(b"app");
        assert!(!one.is_full(0, TWO));
        assert!(!one.is_full(1, TWO));
        assert!(one.is_full(2, TWO));
        assert!(!two.is_full(0, TWO), "who has none may always send one");
        assert!(two.is_full(1, TWO));
        drop(one);
        assert!(!two.is_full(1, TWO));
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "no session and no link here")]
    async fn a_share_that_is_given_back_goes_to_who_waits() {
        let accounts = Accounts::default();
        let (place, _) = accounts.enter(b"app");
        let (one, two) = (place.share(TWO).unwrap(), place.share(TWO).unwrap());
        assert!(place.share(TWO).is_none());
        let waits = [place.wait_for_share(TWO), place.wait_for_share(TWO)];
        let waits = waits.map(|wait| tokio::spawn(wait));
        tokio::task::yield_now().await;
        drop((one, two));
        for wait in waits {
            std::mem::forget(wait.await.unwrap());
        }
        assert!(place.share(TWO).is_none());
    }
}
