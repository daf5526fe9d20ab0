//! Whom a listener lets in before anything was said: networks, load balancers, protected mode.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tracing::info;

use crate::policy::Networks;

/// One line about refused clients in so long: a flood of them must not fill the log.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What the operator says of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Where clients may come from.
    pub networks: Networks,
    /// Clients of other machines are not served in clear, nor while the default user needs no password.
    pub protected_mode: bool,
    /// The load balancers that may connect, each connection with a PROXY protocol header; `None`: clients connect
    /// themselves, and there is no such header.
    pub proxies: Option<Networks>,
}

/// The same for a listener that runs, with what it has refused.
pub(super) struct Door {
    /// Changes with a reload, for connections to come.
    pub(super) trust: ArcSwap<Trust>,
    name: String,
    refused: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Door {
    pub(super) fn new(trust: Trust, name: String) -> Self {
        Door { trust: ArcSwap::from_pointee(trust), name, refused: AtomicU64::new(0), told: Mutex::new(None) }
    }

    /// Whether somebody may connect from there: a load balancer, if that is who connects. `trust`: that of the moment.
    pub(super) fn admits_peer(&self, trust: &Trust, peer: Option<IpAddr>) -> bool {
        match &trust.proxies {
            None => self.admits(trust, peer),
            Some(proxies) => proxies.admit(peer) || self.refuse(peer, "is none of proxy_protocol_from"),
        }
    }

    /// Whether a client may come from there.
    pub(super) fn admits(&self, trust: &Trust, client: Option<IpAddr>) -> bool {
        trust.networks.admit(client) || self.refuse(client, "is not let in by allow_from and deny_from")
    }

    /// Counts and tells; always false.
    fn refuse(&self, address: Option<IpAddr>, why: &str) -> bool {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            let client = address.map_or("a unix socket".to_owned(), |address| address.to_string());
            info!(listener = self.name, client, refused, "connection closed: its address {why}");
        }
        false
    }
}
