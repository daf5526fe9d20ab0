//! The table of `docs/SECURITY.md`, cell by cell.

use super::*;
use crate::policy::testing::policy;
use crate::policy::{Conditions, Identity, NameKind, Version};

/// Users by their condition and whether a password is needed; `certificate` is whom a certificate names.
fn with(login: Login, rules: &str) -> Policy {
    let conditions = Conditions { login, ..Conditions::default() };
    let identities = vec![Some(Identity::new(NameKind::CommonName, None)), None];
    let by_user = [(b"user"[..].into(), conditions)].into_iter().collect::<super::super::ConditionsByUser>();
    policy(Version::V7_0, &[("default", "on nopass"), ("user", rules), ("other", "on >pw")], &[])
        .with_conditions(by_user.with_identities(identities))
}

fn certificate(name: &str) -> Certificate {
    let mut certificate = Certificate::default();
    certificate.add(NameKind::CommonName, name.as_bytes());
    certificate
}

fn begins(policy: &Policy, origin: Origin<'_>) -> String {
    match policy.begin(origin) {
        Beginning::As(user, proof) => format!("{} by {proof:?}", String::from_utf8_lossy(user.name())),
        Beginning::Nobody => "nobody".to_owned(),
        Beginning::Refused { name, why } => format!("refused {name}: {why}"),
    }
}

#[test]
fn how_a_session_begins_is_decided_by_certificate_and_condition() {
    let (users, others) = (certificate("user"), certificate("other"));
    let (strangers, spoiled) = (certificate("nobody"), certificate("user\0"));
    let shown = |certificate| Origin { certificate, ..Origin::default() };
    for (login, own) in [
        (Login::Any, "user by Certificate"),
        (Login::CertificateOnly, "user by Certificate"),
        (Login::CertificateAndPassword, "nobody"),
    ] {
        let policy = with(login, "on >pw");
        assert_eq!(begins(&policy, shown(None)), "default by Nothing", "{login:?}");
        assert_eq!(begins(&policy, shown(Some(&users))), own, "{login:?}");
        assert_eq!(begins(&policy, shown(Some(&others))), "other by Certificate", "{login:?}");
        assert_eq!(begins(&policy, shown(Some(&strangers))), "refused nobody: there is no such user");
        assert!(begins(&policy, shown(Some(&spoiled))).starts_with("refused : a name in it holds"));
        for listener in [1, 2] {
            let elsewhere = Origin { listener, ..shown(Some(&users)) };
            assert_eq!(begins(&policy, elsewhere), "default by Nothing", "nobody asks there who it is");
        }
        assert_eq!(begins(&with(login, "off >pw"), shown(Some(&users))), "refused user: the user is off");
    }
}

#[test]
fn whether_a_password_is_enough_is_decided_by_certificate_and_condition() {
    let (users, others) = (certificate("user"), certificate("other"));
    for (login, alone, with_own, with_anothers) in [
        (Login::Any, true, true, true),
        (Login::CertificateOnly, false, false, false),
        (Login::CertificateAndPassword, false, true, false),
    ] {
        for (certificate, listener, enough) in [
            (None, 0, alone),
            (Some(&users), 0, with_own),
            (Some(&others), 0, with_anothers),
            (Some(&users), 1, alone),
        ] {
            let origin = Origin { certificate, listener, address: None };
            for (rules, password, right) in [
                ("on >pw", "pw", true),
                ("on >pw", "wrong", false),
                ("on nopass", "any", true),
                ("off >pw", "pw", false),
            ] {
                let found = with(login, rules).login(origin, b"user", password.as_bytes()).is_some();
                assert_eq!(found, enough && right, "{login:?} {certificate:?} {listener} {rules} {password}");
            }
        }
    }
}

#[test]
fn a_session_stays_as_long_as_it_could_log_in_like_that() {
    let (users, others) = (certificate("user"), certificate("other"));
    use Login::{Any, CertificateAndPassword, CertificateOnly};
    for (login, proof, bare, own, anothers) in [
        (Any, Proof::Nothing, true, true, true),
        (Any, Proof::Password, true, true, true),
        (Any, Proof::Certificate, false, true, false),
        (CertificateOnly, Proof::Nothing, false, false, false),
        (CertificateOnly, Proof::Password, false, false, false),
        (CertificateOnly, Proof::Certificate, false, true, false),
        (CertificateAndPassword, Proof::Nothing, false, false, false),
        (CertificateAndPassword, Proof::Password, false, true, false),
        (CertificateAndPassword, Proof::Certificate, false, false, false),
    ] {
        let policy = with(login, "on >pw");
        for (certificate, stays) in [(None, bare), (Some(&users), own), (Some(&others), anothers)] {
            let origin = Origin { certificate, ..Origin::default() };
            assert_eq!(policy.may_stay(origin, b"user", proof), stays, "{login:?} {proof:?} {certificate:?}");
        }
    }
}
