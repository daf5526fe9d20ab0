//! Certificates are made here by rcgen; what rcgen cannot make is made by changing bytes of what it can.

use rcgen::string::{BmpString, Ia5String, PrintableString, TeletexString};
use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

use super::*;
use crate::policy::{Identity, Unmapped};

fn ia5(text: &str) -> Ia5String {
    Ia5String::try_from(text).unwrap()
}

fn der(names: &[(DnType, DnValue)], sans: Vec<SanType>) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in names {
        params.distinguished_name.push(kind.clone(), value.clone());
    }
    params.subject_alt_names = sans;
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn user(kind: NameKind, der: &[u8]) -> Result<String, Unmapped> {
    Identity::new(kind, None).user_of(&read(&CertificateDer::from(der)).unwrap())
}

/// The certificate with some bytes in the place of others of the same length, wherever those stand.
fn patched(mut der: Vec<u8>, old: &[u8], new: &[u8]) -> Vec<u8> {
    assert!(old.len() == new.len() && der.windows(old.len()).any(|window| window == old));
    for place in 0..=der.len() - old.len() {
        if der[place..].starts_with(old) {
            der[place..place + new.len()].copy_from_slice(new);
        }
    }
    der
}

#[test]
fn each_kind_of_name_is_read_from_its_own_place() {
    let sans = vec![
        SanType::DnsName(ia5("dns.example")),
        SanType::URI(ia5("spiffe://cluster/ns/shop/sa/web")),
        SanType::Rfc822Name(ia5("mail@example")),
        SanType::IpAddress([127, 0, 0, 1].into()),
    ];
    let names = [(DnType::OrganizationName, "org".into()), (DnType::CommonName, "common".into())];
    let der = der(&names, sans);
    assert_eq!(user(NameKind::CommonName, &der).unwrap(), "common");
    assert_eq!(user(NameKind::SanDns, &der).unwrap(), "dns.example");
    assert_eq!(user(NameKind::SanUri, &der).unwrap(), "spiffe://cluster/ns/shop/sa/web");
    // Made by rcgen, which lets all certificates end there: 4096-01-01.
    assert_eq!(read(&CertificateDer::from(&*der)).unwrap().not_after, 67_090_118_400);
}

#[test]
fn common_names_of_other_types_than_text_in_ascii_or_utf_8_are_none() {
    for (value, expected) in [
        (DnValue::from("app"), Ok("app")),
        (DnValue::PrintableString(PrintableString::try_from("app").unwrap()), Ok("app")),
        (DnValue::Ia5String(ia5("app")), Ok("app")),
        (DnValue::TeletexString(TeletexString::try_from("app").unwrap()), Err(Unmapped::Spoiled)),
        (DnValue::BmpString(BmpString::try_from("app").unwrap()), Err(Unmapped::Spoiled)),
        (DnValue::from("app\0"), Err(Unmapped::Spoiled)),
        (DnValue::from("app\0.evil"), Err(Unmapped::Spoiled)),
    ] {
        let found = user(NameKind::CommonName, &der(&[(DnType::CommonName, value)], Vec::new()));
        assert_eq!(found.as_deref().map_err(|why| *why), expected);
    }
    let two =
        der(&[(DnType::OrganizationName, "app".into()), (DnType::CommonName, "app".into())], Vec::new());
    let two = patched(two, b"\x55\x04\x0a", b"\x55\x04\x03");
    assert_eq!(user(NameKind::CommonName, &two), Err(Unmapped::SeveralNames));
}

#[test]
fn names_that_other_programs_would_cut_or_misread_are_nobodys() {
    let with = |uri: &[u8]| patched(der(&[], vec![SanType::URI(ia5("u:admin!evil"))]), b"u:admin!evil", uri);
    assert_eq!(user(NameKind::SanUri, &with(b"u:admin!evil")).unwrap(), "u:admin!evil");
    for uri in
        [b"u:admin\0evil", b"u:admin\nevil", b"u:admin evil", b"u:admin\xffevil", b"u:admi\xc3\xbcevil"]
    {
        assert_eq!(user(NameKind::SanUri, &with(uri)), Err(Unmapped::Spoiled), "{}", uri.escape_ascii());
    }
    let two = |first: SanType, second: SanType| der(&[], vec![first, second]);
    let uri = |text| SanType::URI(ia5(text));
    assert_eq!(user(NameKind::SanUri, &two(uri("u:a"), uri("u:b"))), Err(Unmapped::Ambiguous));
    let spoiled = patched(two(uri("u:a"), uri("u:!")), b"u:!", b"u:\xff");
    assert_eq!(user(NameKind::SanUri, &spoiled), Err(Unmapped::Spoiled), "whichever it is");
    let dns = patched(two(uri("u:a"), SanType::DnsName(ia5("d!"))), b"d!", b"d\xff");
    assert_eq!(user(NameKind::SanDns, &dns), Err(Unmapped::Spoiled));
    assert_eq!(user(NameKind::SanUri, &dns).unwrap(), "u:a", "kinds do not spoil each other");
}

#[test]
fn a_certificate_with_any_byte_changed_or_cut_anywhere_is_read_or_refused() {
    let good = der(&[(DnType::CommonName, "app".into())], vec![SanType::URI(ia5("u:app"))]);
    for place in 0..good.len() {
        for byte in [0x00, 0x01, 0x30, 0x7f, 0x80, 0x84, 0xff] {
            let mut bad = good.clone();
            bad[place] = byte;
            let _ = read(&CertificateDer::from(bad));
        }
        assert!(read(&CertificateDer::from(&good[..place])).is_err(), "cut at {place}");
    }
    assert!(read(&CertificateDer::from([&*good, b"\0"].concat())).is_err(), "something behind it");
}

#[tokio::test]
async fn a_certificate_ends_after_its_last_second() {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    expiry(&Certificate::until(now - 2)).await;
    expiry(&Certificate::until(i64::MIN)).await;
    for far in [now + 3600, i64::MAX] {
        let far = Certificate::until(far);
        assert!(tokio::time::timeout(Duration::from_millis(20), expiry(&far)).await.is_err());
    }
}
