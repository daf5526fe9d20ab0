//! A failed login takes the same time whatever is wrong: whether a user exists must not be told by the clock.
//!
//! A test binary of its own: no other test runs beside it in the same process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::hint::black_box;
use std::time::Instant;

use redkeep::acl::{Defaults, parse_rules};
use redkeep::command::CommandTable;
use redkeep::policy::{
    Conditions, ConditionsByUser, Gates, Identity, Login, NameKind, Networks, Origin, Policy,
};

/// How much longer the slowest kind of failure may take than the fastest.
const MAX_RATIO: f64 = 1.2;
const ROUNDS: usize = 2000;
/// A round that was interrupted falls out of the median; a whole attempt on a busy machine may be tried again.
const ATTEMPTS: usize = 3;

#[test]
fn unknown_user_wrong_password_disabled_user_and_unmet_conditions_take_the_same_time() {
    let table = CommandTable::builtin();
    let users = [
        ("default", "off"),
        ("known", "on >secret"),
        ("disabled", "off >secret"),
        ("fenced", "on >secret"),
        ("certified", "on >secret"),
    ];
    let users = users
        .iter()
        .map(|(name, rules)| parse_rules(name, rules, Defaults::default(), &table).unwrap())
        .collect();
    let policy = Policy::new(None, table, Gates::default(), users).with_conditions(conditions());
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
