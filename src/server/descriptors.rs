//! File descriptors: how many there are, and how many of them clients may have.
//!
//! A client that takes the last one takes it from the upstream's links, which all others need, and from a reload. So the
//! soft limit is raised as far as it may be, as Redis does; and where that is not enough, fewer clients are taken than
//! `maxclients` says.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use super::Settings;

/// For log, event queues, files that are read again, and connections that are to be refused.
const RESERVED: usize = 64;
/// What a worker has open beside its links.
const OF_WORKER: usize = 4;
/// Databases and protocols that a worker has shared links for, in most cases.
const KEYS: usize = 4;

/// The settings with no more clients than there is room for.
pub(super) fn fit(settings: Settings) -> Settings {
    let room = room(&settings);
    Settings { maxclients: settings.maxclients.min(room), ..settings }
}

/// How many clients there is room for, after the limit was raised as far as that helps.
fn room(settings: &Settings) -> usize {
    let links = settings.upstream.links_per_worker.saturating_mul(KEYS);
    let workers = settings.workers.max(1).saturating_mul(links.saturating_add(OF_WORKER));
    let others = RESERVED.saturating_add(settings.listeners.len()).saturating_add(workers);
    let leased = settings.upstream.max_leased;
    let needed = settings.maxclients.saturating_add(leased.min(settings.maxclients)).saturating_add(others);
    let limit = usize::try_from(raise(u64::try_from(needed).unwrap_or(u64::MAX))).unwrap_or(usize::MAX);
    let room = if limit >= needed { usize::MAX } else { clients(limit.saturating_sub(others), leased) };
    if room < settings.maxclients {
        warn!(
            descriptors = limit,
            needed,
            clients = room,
            "fewer clients than maxclients are taken: too few file descriptors; raise the limit (ulimit -n, LimitNOFILE)"
        );
    }
    room
}

/// So many clients, and a leased link for each that may have one, need no more than `free` descriptors.
fn clients(free: usize, leased: usize) -> usize {
    free.saturating_sub(leased).max(free / 2).max(1)
}

/// Raises the soft limit to `needed`, or as far as it may be. The limit then.
fn raise(needed: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let current = now.current.unwrap_or(u64::MAX);
    let next = needed.min(now.maximum.unwrap_or(u64::MAX));
    if next <= current {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(next), maximum: now.maximum }) {
        Ok(()) => {
            info!(from = current, to = next, "limit of file descriptors raised");
            next
        }
        Err(_) => current,
    }
}

/// Whether a client could not be accepted because the process or the system has nothing left for it, or for a reason
/// that is nobody's fault but ours: then it does not help to try again at once.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    // Of one connection that is gone before it was accepted (accept(2)): they say nothing about the next one.
    let of_one = [
        Errno::CONNABORTED,
        Errno::NETDOWN,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NETUNREACH,
        Errno::OPNOTSUPP,
        Errno::CONNRESET,
        Errno::INTR,
        Errno::TIMEDOUT,
    ];
    !of_one.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_descriptor_for_each_leased_link_of_the_clients_that_are_taken() {
        for (free, leased, expected) in
            [(100, 1000, 50), (3000, 1000, 2000), (1999, 1000, 999), (0, 10, 1), (50, 0, 50)]
        {
            assert_eq!(clients(free, leased), expected, "{free} {leased}");
            assert!(free == 0 || expected + expected.min(leased) <= free);
        }
    }

    #[test]
    fn a_client_that_left_is_no_shortage() {
        let error = |errno: rustix::io::Errno| io::Error::from(errno);
        assert!(!is_shortage(&error(rustix::io::Errno::CONNABORTED)));
        assert!(is_shortage(&error(rustix::io::Errno::MFILE)));
        assert!(is_shortage(&error(rustix::io::Errno::NFILE)));
        assert!(is_shortage(&error(rustix::io::Errno::NOBUFS)));
    }
}
