//! A failed login takes the same time whatever is wrong: whether a user exists must not be told by the clock.
//!
//! A test binary of its own, whose tests run one after the other: nothing else runs in the same process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use redkeep::acl::{Defaults, parse_rules};
use redkeep::command::CommandTable;
use redkeep::policy::{
    Conditions, ConditionsByUser, Gates, Identity, Login, NameKind, Networks, Origin, Policy,
};

/// How much longer the slowest kind of failure may take than the fastest.
const MAX_RATIO: f64 = 1.2;
const ROUNDS: usize = 2000;
/// As many of each kind for the statistic, and what it may be.
const TRIES: usize = 100_000;
const MAX_T: f64 = 4.5;
/// Noise of the machine raises t; a leak is there each time.
const ATTEMPTS_OF_T: usize = 6;

static ALONE: Mutex<()> = Mutex::new(());
/// A round that was interrupted falls out of the median; a whole attempt on a busy machine may be tried again.
const ATTEMPTS: usize = 3;

#[test]
fn unknown_user_wrong_password_disabled_user_and_unmet_conditions_take_the_same_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let policy = policy();
    let failures = [
        ("unknown", "secret"),
        ("known", "secreT"),
        ("disabled", "secret"),
        ("disabled", "secreT"),
        ("default", ""),
        ("fenced", "secret"),
        ("fenced", "secreT"),
        ("certified", "secret"),
        ("certified", "secreT"),
    ];
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let medians = medians(&policy, &failures);
        println!("ns: {medians:?}");
        let fastest = medians.iter().copied().fold(f64::INFINITY, f64::min);
        let slowest = medians.iter().copied().fold(0.0, f64::max);
        if slowest <= fastest * MAX_RATIO {
            return;
        }
        seen.push(medians);
    }
    assert!(seen.is_empty(), "{failures:?} took {seen:?} ns");
}

/// Users of every kind that can be turned away.
fn policy() -> Policy {
    let table = CommandTable::builtin();
    let users = [
        ("default", "off"),
        ("known", "on >secret"),
        ("disabled", "off >secret"),
        ("fenced", "on >secret"),
        ("certified", "on >secret"),
    ];
    let users = users
        .into_iter()
        .map(|(name, rules)| parse_rules(name, rules, Defaults::default(), &table).unwrap())
        .collect();
    Policy::new(None, table, Gates::default(), users).with_conditions(conditions())
}

/// The t statistic of Welch, as it is used to look for leaks of time (dudect): two kinds of failures take turns in a random
/// order, and what was interrupted, the slowest tenth, does not count.
#[test]
fn a_hundred_thousand_tries_do_not_tell_an_unknown_user_from_a_wrong_password() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seen = Vec::new();
    for attempt in 0..ATTEMPTS_OF_T {
        // Where things lie in memory makes a difference, too: another one each time.
        let policy = policy();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64 + attempt as u64;
        let mut times = [Vec::with_capacity(TRIES), Vec::with_capacity(TRIES)];
        while times.iter().any(|times| times.len() < TRIES) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let kind = (random >> 63) as usize;
            let name = black_box([b"other", b"known"][kind]);
            let begin = Instant::now();
            let user = policy.login(Origin::default(), name, black_box(b"wrong"));
            times[kind].push(begin.elapsed().as_nanos() as f64);
            assert!(black_box(user).is_none());
        }
        let t = welch(times);
        println!("|t| = {:.2} over {TRIES} tries of each", t.abs());
        if t.abs() < MAX_T {
            return;
        }
        seen.push(t);
    }
    assert!(seen.is_empty(), "t of {seen:?}");
}

fn welch(mut times: [Vec<f64>; 2]) -> f64 {
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let slow = all[all.len() * 9 / 10];
    for times in &mut times {
        times.retain(|time| *time < slow);
    }
    let [one, other] = times.map(|times| {
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (one.0 - other.0) / (one.1 + other.1).sqrt()
}

/// `fenced` may come from many networks, none of which is the client's; no password is enough for `certified`.
fn conditions() -> ConditionsByUser {
    let allow = (0..64).map(|number| format!("10.{number}.0.0/16").parse().unwrap()).collect();
    let fenced = Conditions { networks: Networks { allow, deny: Vec::new() }, ..Conditions::default() };
    let certified = Conditions { login: Login::CertificateOnly, ..Conditions::default() };
    let users = [(b"fenced"[..].into(), fenced), (b"certified"[..].into(), certified)];
    let identity = Identity::new(NameKind::SanUri, None);
    users.into_iter().collect::<ConditionsByUser>().with_identities(vec![Some(identity)])
}

/// The median time of each login, in nanoseconds. They take turns, so that a disturbance hits all alike.
fn medians(policy: &Policy, logins: &[(&str, &str)]) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(ROUNDS); logins.len()];
    for _ in 0..ROUNDS {
        for ((name, password), times) in logins.iter().zip(&mut times) {
            let begin = Instant::now();
            let user =
                policy.login(Origin::default(), black_box(name.as_bytes()), black_box(password.as_bytes()));
            times.push(begin.elapsed().as_nanos() as f64);
            assert!(user.is_none(), "{name}");
        }
    }
    times
        .into_iter()
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
        .collect()
}
