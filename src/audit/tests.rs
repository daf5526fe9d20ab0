//! Records as text.

use super::*;
use sha2::{Digest, Sha256};

fn audit(names: &Names) -> Audit {
    let key = match names {
        Names::Hashed(Some(secret)) => Some(hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret())),
        _ => None,
    };
    Audit { level: Level::All, required: false, spool: None, key }
}

fn hashed(secret: &[u8]) -> Names {
    Names::Hashed(Some(Arc::new(Secret::new(secret.to_vec()))))
}

fn line(audit: &Audit, record: &Record<'_>) -> String {
    String::from_utf8(audit.line(record)).unwrap()
}

fn parsed(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn a_record_is_one_line_with_its_fields_in_order() {
    let record = Record {
        session: Some(7),
        peer: Some("10.0.0.1:1234"),
        listener: Some("[::1]:6380"),
        user: Some(b"app"),
        db: Some(3),
        command: Some(b"config|set"),
        reason: Some("command"),
        keys: Some(0),
        ..Record::of_all(Verdict::Denied, 12)
    };
    let line = line(&audit(&Names::Redacted), &record);
    let (time, rest) = line.split_once("\",").unwrap();
    assert_eq!(
        rest,
        "\"session\":7,\"peer\":\"10.0.0.1:1234\",\"listener\":\"[::1]:6380\",\"certificate\":null,\"user\":\"app\",\
         \"db\":3,\"command\":\"config|set\",\"verdict\":\"denied\",\"reason\":\"command\",\"keys\":0,\"key\":null,\
         \"channel\":null,\"generation\":12}\n"
    );
    let time = time.strip_prefix("{\"time\":\"").unwrap();
    let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000-00-00T00:00:00.000000Z");
}

#[test]
fn every_verdict_has_its_word() {
    for (verdict, word) in [
        (Verdict::Allowed, "allowed"),
        (Verdict::Closed, "closed"),
        (Verdict::Connected, "connected"),
        (Verdict::Denied, "denied"),
        (Verdict::Login, "login"),
        (Verdict::LoginFailed, "login_failed"),
        (Verdict::ReloadRefused, "reload_refused"),
        (Verdict::Reloaded, "reloaded"),
    ] {
        let line = line(&audit(&Names::Redacted), &Record::of_all(verdict, 1));
        assert_eq!(parsed(&line)["verdict"], word);
    }
}

#[test]
fn texts_of_clients_are_printable_and_bounded_whatever_they_are() {
    let every: Vec<u8> = (0..=255).collect();
    for chunk in every.chunks(32) {
        let record = Record { user: Some(chunk), command: Some(chunk), ..Record::of_all(Verdict::Denied, 1) };
        let line = line(&audit(&Names::Redacted), &record);
        let text = line.strip_suffix('\n').unwrap();
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        let shown = parsed(text)["user"].as_str().unwrap().to_owned();
        assert!(
            shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "also once JSON is decoded: {shown}"
        );
    }
    let shown = |bytes: &[u8]| {
        let record = Record { user: Some(bytes), ..Record::of_all(Verdict::Denied, 1) };
        parsed(&line(&audit(&Names::Redacted), &record))["user"].as_str().unwrap().to_owned()
    };
    assert_eq!(shown(b"a\"\n\x1b[2J\\n\xff"), "a\"\\x0a\\x1b[2J\\\\n\\xff");
    assert_eq!(shown(&[b'u'; 64]), "u".repeat(64));
    assert_eq!(shown(&[b'u'; 65]), format!("{}...", "u".repeat(64)));
    let long = vec![0; 1_000_000];
    let long_text = "\u{1}".repeat(100_000);
    let record = Record {
        peer: Some(&long_text),
        listener: Some(&long_text),
        certificate: Some(&long_text),
        user: Some(&long),
        command: Some(&long),
        key: Some(&long),
        channel: Some(&long),
        ..Record::of_all(Verdict::Denied, u64::MAX)
    };
    assert!(line(&audit(&hashed(b"s")), &record).len() < MAX_RECORD_BYTES);
}

#[test]
fn names_are_hashed_under_the_secret_or_not_shown() {
    let key = |names: &Names, name: &[u8]| {
        let record = Record { key: Some(name), channel: Some(name), ..Record::of_all(Verdict::Denied, 1) };
        let line = parsed(&line(&audit(names), &record));
        assert_eq!(line["key"], line["channel"]);
        line["key"].as_str().map(str::to_owned)
    };
    assert_eq!(key(&Names::Redacted, b"user:1"), None);
    // HMAC-SHA256, RFC 4231, test case 2.
    let known = key(&hashed(b"Jefe"), b"what do ya want for nothing?");
    assert_eq!(known.as_deref(), Some("5bdcc146bf60754e6a042426089575c7"));
    let one = key(&hashed(b"secret"), b"user:1");
    assert_eq!(one, key(&hashed(b"secret"), b"user:1"));
    assert_ne!(one, key(&hashed(b"other"), b"user:1"));
    assert_ne!(one, key(&hashed(b"secret"), b"user:2"));
    assert_ne!(one, Some(hex(&Sha256::digest(b"user:1"))));
}

#[test]
fn without_a_secret_every_process_has_its_own() {
    let settings = Settings {
        level: Level::All,
        file: None,
        names: Names::Hashed(None),
        required: false,
        buffer: 1 << 20,
    };
    let hash = || {
        let audit = Audit::start(&settings).unwrap();
        let record = Record { key: Some(b"user:1"), ..Record::of_all(Verdict::Denied, 1) };
        parsed(&line(&audit, &record))["key"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash().len(), 32);
    assert_ne!(hash(), hash());
}

#[test]
fn settings_differ_in_whatever_differs() {
    let settings = || Settings {
        level: Level::Denied,
        file: None,
        names: hashed(b"one"),
        required: false,
        buffer: 1 << 20,
    };
    assert!(settings().is_same(&settings()));
    for other in [
        Settings { level: Level::All, ..settings() },
        Settings { file: Some("audit.log".into()), ..settings() },
        Settings { names: hashed(b"two"), ..settings() },
        Settings { names: Names::Hashed(None), ..settings() },
        Settings { names: Names::Redacted, ..settings() },
        Settings { required: true, ..settings() },
        Settings { buffer: 1 << 21, ..settings() },
    ] {
        assert!(!settings().is_same(&other), "{other:?}");
    }
}
