//! Failed logins of the whole process: how much they slow down those that follow, and which of them the log tells.
//!
//! SECURITY: nobody is ever locked out. A source is an IPv4 address, an IPv6 /64, or all Unix sockets. It may fail
//! [`FREE`] times; from then on each attempt from there, right or wrong, waits for its turn before the password is
//! looked at, and turns are 10 ms to 5 s apart, doubling with each failure. So parallel connections gain nothing, and
//! neither does leaving when no answer comes. One failure is forgiven every [`FORGIVEN`]. A user whose logins fail from
//! many sources has them slowed down as well, by no more than a second, and only from sources that have failed: the
//! right password from anywhere else is taken at once. Pauses are half certain, half random.
//!
//! Memory is bounded: [`MAX_ENTRIES`] sources and users. Nothing here is touched by a request unless somebody is being
//! slowed down.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::state::Ends;

/// Failures that cost nothing.
const FREE: u32 = 10;
/// After so long one failure is forgiven.
const FORGIVEN: Duration = Duration::from_secs(6);
/// The pause after the first failure that is not free.
const SHORTEST: Duration = Duration::from_millis(10);
/// The longest pause between attempts of one source.
pub(super) const LONGEST: Duration = Duration::from_secs(5);
/// The longest pause for the user's sake.
const LONGEST_OF_USER: Duration = Duration::from_secs(1);
/// Failures that count: when the attempts end, all is forgiven two minutes later.
const MOST: u32 = 20;
/// Sources and users that are remembered.
const MAX_ENTRIES: usize = 10_000;
/// The first failures of a source are logged, ...
const LOGGED: u64 = 10;
/// ... and then one of so many.
const LOGGED_OF: u64 = 100;
/// Time between two log lines about attacks by other protocols, as in Redis.
const ATTACK_LOGGED: Duration = Duration::from_secs(60);

/// The failed logins of all clients.
pub struct Logins {
    since: Instant,
    /// Whether they slow others down.
    backoff: AtomicBool,
    /// Until when somebody may have to wait, in milliseconds; 0 if nobody has to.
    slow_until: AtomicU64,
    hash: RandomState,
    table: Mutex<HashMap<Key, Failures>>,
    /// When an attack by another protocol was last logged, in milliseconds plus one; 0 for never.
    attack: AtomicU64,
}

/// Who has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    /// All who come by Unix sockets.
    Local,
    /// The hash of a name, which may be long, and nobody's.
    User(u64),
}

#[derive(Clone, Copy, Default)]
struct Failures {
    /// When the last one will be forgiven.
    forgiven: Duration,
    /// When the last attempt that has a turn has it.
    turn: Duration,
    /// How many there were since there were none.
    count: u64,
}

/// Whether a login has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    /// Then.
    After(Duration),
    /// Too many wait already: to be asked again then.
    AskAfter(Duration),
}

impl Logins {
    /// Nobody has failed yet.
    pub(super) fn new(backoff: bool) -> Self {
        Logins {
            since: Instant::now(),
            backoff: AtomicBool::new(backoff),
            slow_until: AtomicU64::default(),
            hash: RandomState::new(),
            table: Mutex::default(),
            attack: AtomicU64::default(),
        }
    }

    /// Has failures slow others down, or not any more.
    pub(super) fn set_backoff(&self, backoff: bool) {
        self.backoff.store(backoff, Ordering::Relaxed);
        if !backoff {
            self.slow_until.store(0, Ordering::Relaxed);
        }
    }

    /// Whether somebody may have to wait before a login. Cheap.
    #[inline]
    pub(super) fn are_slow(&self) -> bool {
        self.slow_until.load(Ordering::Relaxed) != 0
    }

    /// When the password of a client for a user may be looked at. A turn that was given must be used.
    pub(super) fn turn(&self, ends: &Ends, user: &[u8]) -> Turn {
        let (now, random) = (self.since.elapsed(), getrandom::u32().unwrap_or(u32::MAX));
        if millis(now) >= self.slow_until.load(Ordering::Relaxed) {
            self.slow_until.store(0, Ordering::Relaxed);
            return Turn::Now;
        }
        self.turn_at(now, random, source(ends), self.user(user))
    }

    fn turn_at(&self, now: Duration, random: u32, source: Key, user: Key) -> Turn {
        let mut table = self.lock();
        let of_user = table.get(&user).map_or(Duration::ZERO, |failures| failures.pause(now));
        let of_user = jittered(of_user.min(LONGEST_OF_USER), random);
        let Some(failures) = table.get_mut(&source).filter(|failures| failures.forgiven > now) else {
            return Turn::Now;
        };
        let pause = jittered(failures.pause(now), random);
        if pause.is_zero() && of_user.is_zero() {
            return Turn::Now;
        }
        let turn = failures.turn.max(now).saturating_add(pause);
        if turn > now.saturating_add(LONGEST) {
            return Turn::AskAfter(jittered(LONGEST, random));
        }
        failures.turn = turn;
        Turn::After(turn.saturating_sub(now).max(of_user))
    }

    /// A login has failed. How many have from this source, if the log should tell.
    pub(super) fn failed(&self, ends: &Ends, user: &[u8]) -> Option<u64> {
        self.failed_at(self.since.elapsed(), source(ends), self.user(user))
    }

    fn failed_at(&self, now: Duration, source: Key, user: Key) -> Option<u64> {
        let mut table = self.lock();
        let mut count = 0;
        for key in [user, source] {
            make_room(&mut table, &key, now);
            let failures = table.entry(key).or_default();
            count = failures.add(now);
            if self.backoff.load(Ordering::Relaxed) && failures.level(now) >= FREE {
                self.slow_until.fetch_max(millis(failures.forgiven).max(1), Ordering::Relaxed);
            }
        }
        (count <= LOGGED || count.checked_rem(LOGGED_OF) == Some(0)).then_some(count)
    }

    /// A client has sent a line of another protocol. Whether the log should tell.
    pub(super) fn attacked(&self) -> bool {
        let now = millis(self.since.elapsed()).saturating_add(1);
        let tells =
            |last: u64| (last == 0 || now.saturating_sub(last) >= millis(ATTACK_LOGGED)).then_some(now);
        self.attack.fetch_update(Ordering::Relaxed, Ordering::Relaxed, tells).is_ok()
    }

    fn user(&self, name: &[u8]) -> Key {
        Key::User(self.hash.hash_one(name))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Failures>> {
        // Whoever panicked with the lock has left a whole map behind.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    /// How many are not forgiven yet.
    fn level(&self, now: Duration) -> u32 {
        let left = self.forgiven.saturating_sub(now).as_millis();
        u32::try_from(left.div_ceil(FORGIVEN.as_millis())).unwrap_or(u32::MAX)
    }

    /// What they cost the next attempt.
    fn pause(&self, now: Duration) -> Duration {
        match self.level(now).checked_sub(FREE) {
            None => Duration::ZERO,
            Some(more) => SHORTEST.saturating_mul(1u32.checked_shl(more).unwrap_or(u32::MAX)).min(LONGEST),
        }
    }

    fn add(&mut self, now: Duration) -> u64 {
        if self.forgiven <= now {
            *self = Failures { turn: self.turn, ..Failures::default() };
        }
        let forgiven = self.forgiven.max(now).saturating_add(FORGIVEN);
        self.forgiven = forgiven.min(now.saturating_add(FORGIVEN.saturating_mul(MOST)));
        self.count = self.count.saturating_add(1);
        self.count
    }
}

/// Makes room for one more: of those who are forgiven, or else of anyone. An attacker with so many addresses has as many
/// free attempts anyway.
fn make_room(table: &mut HashMap<Key, Failures>, key: &Key, now: Duration) {
    if table.len() < MAX_ENTRIES || table.contains_key(key) {
        return;
    }
    table.retain(|_, failures| failures.forgiven > now);
    // A quarter at once, since looking through them all is work.
    if table.len() >= MAX_ENTRIES {
        let mut place = 0usize;
        table.retain(|_, _| {
            place = place.wrapping_add(1);
            !place.is_multiple_of(4)
        });
    }
}

/// Half of the pause is certain, the other half is random.
fn jittered(pause: Duration, random: u32) -> Duration {
    let half = pause / 2;
    half.saturating_add(half.mul_f64(f64::from(random) / f64::from(u32::MAX)))
}

/// Where a client comes from, as far as it may be the same one again.
fn source(ends: &Ends) -> Key {
    let address = ends.client.parse::<SocketAddr>().map(|address| address.ip().to_canonical());
    match address {
        _ if ends.unix => Key::Local,
        Ok(IpAddr::V6(address)) => {
            // Whoever has one address of such a network has all of them.
            Key::Address(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into())
        }
        Ok(address) => Key::Address(address),
        Err(_) => Key::Local,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: Key = Key::User(1);

    fn address(number: u32) -> Key {
        Key::Address(IpAddr::from(number.to_be_bytes()))
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn ten_failures_are_free_and_then_pauses_double_up_to_five_seconds() {
        let logins = Logins::new(true);
        let now = seconds(100);
        for count in 1..FREE {
            assert_eq!(logins.failed_at(now, address(1), APP), Some(count.into()));
            assert_eq!(logins.turn_at(now, 0, address(1), APP), Turn::Now);
            assert!(!logins.are_slow());
        }
        let mut now = now;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            logins.failed_at(now, address(1), APP);
            assert!(logins.are_slow());
            let Turn::After(pause) = logins.turn_at(now, u32::MAX, address(1), APP) else {
                panic!("no pause")
            };
            pauses.push(pause.as_millis());
            now += pause;
        }
        assert_eq!(pauses[..9], [10, 20, 40, 80, 160, 320, 640, 1280, 2560]);
        assert!(pauses[9..].iter().all(|pause| *pause >= 2560 && *pause <= 5000), "{pauses:?}");
        assert_eq!(logins.turn_at(now + seconds(120), 0, address(1), APP), Turn::Now, "all is forgiven");
        logins.set_backoff(false);
        assert!(!logins.are_slow(), "at once");
    }

    #[test]
    fn attempts_at_the_same_time_have_their_turns_one_after_the_other() {
        let logins = Logins::new(true);
        let now = seconds(100);
        for _ in 0..FREE + 7 {
            logins.failed_at(now, address(1), APP);
        }
        let turns: Vec<_> = (0..5).map(|_| logins.turn_at(now, u32::MAX, address(1), APP)).collect();
        let after = |number: u32| Turn::After(Duration::from_millis(1280) * number);
        let busy = Turn::AskAfter(LONGEST);
        assert_eq!(turns, [after(1), after(2), after(3), busy, busy]);
        let half = Turn::After(Duration::from_millis(3 * 1280 + 640));
        assert_eq!(logins.turn_at(now, 0, address(1), APP), half, "pauses are random by half");
        assert_eq!(logins.turn_at(now, 0, address(1), APP), Turn::AskAfter(LONGEST / 2), "and so is this");
    }

    #[test]
    fn a_user_who_is_attacked_from_everywhere_gets_in_at_once_from_elsewhere() {
        let logins = Logins::new(true);
        let now = seconds(100);
        for number in 0..1000 {
            logins.failed_at(now, address(number), APP);
        }
        assert_eq!(logins.turn_at(now, 0, address(5000), APP), Turn::Now);
        let slow = logins.turn_at(now, u32::MAX, address(7), APP);
        assert_eq!(slow, Turn::After(LONGEST_OF_USER), "who has failed waits, but no longer than this");
        assert_eq!(logins.turn_at(now, 0, address(7), Key::User(2)), Turn::Now);
    }

    #[test]
    fn memory_is_bounded_however_many_addresses_there_are() {
        let logins = Logins::new(true);
        for number in 0..100_000 {
            logins.failed_at(seconds(100), address(number), Key::User(number.into()));
        }
        assert!(logins.lock().len() <= MAX_ENTRIES);
        assert!(logins.lock().len() > MAX_ENTRIES / 2);
    }

    #[test]
    fn the_log_tells_of_the_first_ten_and_then_of_each_hundredth() {
        let logins = Logins::new(false);
        let told: Vec<_> = (0..300).filter_map(|_| logins.failed_at(seconds(100), address(1), APP)).collect();
        assert_eq!(told, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 100, 200, 300]);
        assert!(!logins.are_slow(), "switched off");
        assert_eq!(logins.failed_at(seconds(300), address(1), APP), Some(1), "after some time anew");
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let of = |client: &str| source(&Ends { client: client.into(), ..Ends::default() });
        assert_eq!(of("10.0.0.1:5"), of("10.0.0.1:6"));
        assert_eq!(of("10.0.0.1:5"), of("[::ffff:10.0.0.1]:6"));
        assert_ne!(of("10.0.0.1:5"), of("10.0.0.2:5"));
        assert_eq!(of("[2001:db8::1]:5"), of("[2001:db8::ffff:1]:5"));
        assert_ne!(of("[2001:db8::1]:5"), of("[2001:db8:0:1::1]:5"));
        let unix = Ends { client: "/run/x:0".into(), unix: true, ..Ends::default() };
        assert_eq!(source(&unix), Key::Local);
    }

    #[test]
    fn attacks_by_other_protocols_are_logged_once_a_minute() {
        let logins = Logins::new(true);
        assert!(logins.attacked());
        assert!(!logins.attacked());
    }
}
