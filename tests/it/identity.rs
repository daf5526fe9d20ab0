//! Certificates as logins: `tls.identity` and `login` of users, over real TLS.
//!
//! No server at hand can say what Redis 8.6 and Valkey 9.1 do here (`tls-auth-clients-user`): none of those is built
//! with TLS. What is expected is the table of docs/SECURITY.md.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::CertificateParams;
use rcgen::string::{BmpString, Ia5String, TeletexString};
use rcgen::{DnValue, SanType};

use crate::support::client::text;
use crate::support::client_ca::{ClientCa, common_name, names, uris};
use crate::support::{Client, Proxy, Redis};

const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
const NOAUTH: &str = "-NOAUTH Authentication required.\r\n";
const RELOADED: &str = "\"reloaded\"";

/// `any`, `only` and `both` have the condition that they are named after, and the password `secret`.
const USERS: &str = r#"users:
  - { name: default, rules: "on nopass +@all" }
  - { name: admin, rules: "on >secret ~* &* +@all" }
  - { name: any, rules: "on >secret ~* +@all", allow_from: [127.0.0.0/8] }
  - { name: only, rules: "on >secret ~* +@all", login: cert_only }
  - { name: both, rules: "on >secret ~* +@all", login: cert_and_password }
  - { name: gone, rules: "off >secret ~* +@all" }
  - { name: far, rules: "on >secret ~* +@all", allow_from: [10.0.0.0/8] }
  - { name: shop/web, rules: "on ~* +@all", login: cert_only }
"#;

const BY_CN: &str = "{from: cn}";
const BY_SPIFFE: &str = r#"{from: san_uri, map: [
        {pattern: "spiffe://cluster/ns/{ns}/sa/{sa}", user: "{ns}/{sa}"},
        {pattern: "app:{name}", user: "{name}"}]}"#;

struct Setting {
    proxy: Proxy,
    ca: ClientCa,
}

impl Setting {
    /// Listener 0 asks for certificates and who they are, listener 1 only for certificates, listener 2 is plain.
    fn new(identity: &str, auth_clients: &str) -> Setting {
        let ca = ClientCa::new();
        let proxy = Proxy::start(|dir, certs| {
            let clients = dir.write("clients.crt", ca.pem());
            let mut listeners = String::new();
            for identity in [format!("      identity: {identity}\n"), String::new()] {
                let (cert, key) = (certs.cert.display(), certs.key.display());
                let tls =
                    format!("cert_file: {cert}\n      key_file: {key}\n      auth_clients: {auth_clients}");
                let ca = clients.display();
                listeners += &format!(
                    "  - bind: 127.0.0.1:0\n    tls:\n      {tls}\n      ca_cert_file: {ca}\n{identity}"
                );
            }
            let redis = Redis::shared().socket();
            format!(
                "listeners:\n{listeners}  - bind: 127.0.0.1:0\nupstream:\n  address: unix:{}\n\
                 limits:\n  login_backoff: no\n{USERS}",
                redis.display()
            )
        });
        Setting { proxy, ca }
    }

    fn config(&self, params: &CertificateParams) -> Arc<rustls::ClientConfig> {
        self.ca.client(&self.proxy.certs.ca, params)
    }

    fn client(&self, params: &CertificateParams) -> Client {
        Client::tls(self.proxy.port(0), self.config(params))
    }

    fn admin(&self) -> Client {
        Client::tcp(self.proxy.port(2)).login("admin", "secret")
    }

    fn change(&self, old: &str, new: &str) {
        let good = std::fs::read_to_string(self.proxy.config_path()).unwrap();
        assert!(good.contains(old), "{old} in {good}");
        std::fs::write(self.proxy.config_path(), good.replace(old, new)).unwrap();
        self.proxy.reload(RELOADED);
    }
}

/// Who the session is; empty if nobody.
fn who(client: &mut Client) -> String {
    match client.ask("ACL WHOAMI") {
        reply if reply == NOAUTH => String::new(),
        reply => reply.split("\r\n").nth(1).unwrap().to_owned(),
    }
}

#[test]
fn the_table_of_logins_holds_in_every_cell() {
    let setting = Setting::new(BY_CN, "optional");
    // Listener, common name, who the session begins as, and of `any`, `only` and `both` those who can AUTH there.
    for (listener, certificate, begins, may_auth) in [
        (0, None, "default", &["any"][..]),
        (0, Some("any"), "any", &["any"]),
        (0, Some("only"), "only", &["any"]),
        (0, Some("both"), "", &["any", "both"]),
        (0, Some("default"), "default", &["any"]),
        (0, Some("stranger"), "", &["any"]),
        (0, Some("gone"), "", &["any"]),
        (0, Some("far"), "", &["any"]),
        (1, None, "default", &["any"]),
        (1, Some("any"), "default", &["any"]),
        (1, Some("only"), "default", &["any"]),
        (1, Some("both"), "default", &["any"]),
        (2, None, "default", &["any"]),
    ] {
        let port = setting.proxy.port(listener);
        let config = match certificate {
            None => setting.proxy.certs.client_config(false),
            Some(name) => setting.config(&common_name(name)),
        };
        let connect = || if listener == 2 { Client::tcp(port) } else { Client::tls(port, config.clone()) };
        let cell = format!("listener {listener} with {certificate:?}");
        assert_eq!(who(&mut connect()), begins, "{cell}");
        for user in ["any", "only", "both"] {
            let may = may_auth.contains(&user);
            let mut client = connect();
            assert_eq!(client.ask(&format!("AUTH {user} wrong")), WRONGPASS, "{cell}: {user}");
            let expected = if may { "+OK\r\n" } else { WRONGPASS };
            assert_eq!(client.ask(&format!("AUTH {user} secret")), expected, "{cell}: {user}");
            assert_eq!(who(&mut client), if may { user } else { begins }, "{cell}: {user}");
            let hello = client.ask(&format!("HELLO 2 AUTH {user} secret"));
            assert_eq!(hello == WRONGPASS, !may, "{cell}: {user}: {hello}");
            assert_eq!(client.ask("RESET"), "+RESET\r\n");
            assert_eq!(who(&mut client), begins, "{cell}: {user}, after RESET");
        }
    }
    setting.proxy.assert_no_panic();
}

#[test]
fn a_certificates_user_is_seen_and_refused_certificates_are_logged() {
    let setting = Setting::new(BY_CN, "yes");
    let mut only = setting.client(&common_name("only"));
    assert_eq!(only.ask("SET identity:k v"), "+OK\r\n");
    assert!(only.ask("CLIENT INFO").contains(" user=only "));
    let mut admin = setting.admin();
    assert!(admin.ask("CLIENT LIST").contains(" user=only "));
    assert_eq!(admin.ask("ACL LOG RESET"), "+OK\r\n");
    assert_eq!(setting.client(&common_name("stranger")).ask("PING"), NOAUTH);
    let log = admin.ask("ACL LOG");
    for part in
        ["\r\ntls-cert\r\n", "\r\ntoplevel\r\n", "\r\ncn:stranger\r\n", "\r\nstranger\r\n", "user=default"]
    {
        assert!(log.contains(part), "{part:?} in {log}");
    }
    setting.proxy.wait_for_log(0, "there is no such user");
    assert_eq!(setting.client(&common_name("admin\0x")).ask("PING"), NOAUTH);
    assert!(setting.proxy.wait_for_log(0, "a name in it holds what no name may").contains("without a name"));
    let mut both = setting.client(&common_name("both"));
    assert_eq!(admin.ask("ACL LOG RESET"), "+OK\r\n");
    assert_eq!(both.ask("PING"), NOAUTH);
    assert_eq!(admin.ask("ACL LOG"), "*0\r\n", "who has yet to send a password has done nothing wrong");
}

#[test]
fn a_certificate_that_is_nobodys_counts_as_a_failed_login_each_time() {
    let setting = Setting::new(BY_CN, "yes");
    let mut stranger = setting.client(&common_name("stranger"));
    stranger.send_raw("RESET\r\n".repeat(50).as_bytes());
    assert_eq!(text(&stranger.read_to_end()), "+RESET\r\n".repeat(9), "its tenth failure is its last");
    assert_eq!(setting.client(&common_name("stranger")).ask("PING"), NOAUTH);
    // A line for each of the first ten.
    assert!(setting.proxy.wait_for_log(0, "\"failures\":10").contains("the certificate is no login"));
    let lines =
        || setting.proxy.log().into_iter().filter(|line| line.contains("the certificate is no login"));
    assert_eq!(lines().count(), 10, "and none for the next");
    let log = setting.admin().ask("ACL LOG");
    assert!(log.contains("\r\ncount\r\n:11\r\n"), "{log}");
}

#[test]
fn patterns_turn_spiffe_ids_into_users_and_all_else_into_nobody() {
    let setting = Setting::new(BY_SPIFFE, "yes");
    let own = "spiffe://cluster/ns/shop/sa/web";
    let long = format!("{own}{}", "x".repeat(3000));
    let many: Vec<String> = (0..65).map(|number| format!("x:{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain([own]).collect();
    for (sans, user) in [
        (&[own][..], "shop/web"),
        (&["https://example.com/x", own, "spiffe://other/ns/a/sa/b"], "shop/web"),
        (&[own, own], "shop/web"),
        (&["app:any"], "any"),
        (&[own, "app:any"], ""),
        (&[own, "spiffe://cluster/ns/shop/sa/other"], ""),
        (&["spiffe://cluster/ns/shop/sa/web/"], ""),
        (&["spiffe://cluster/ns/shop/sa/WEB"], ""),
        (&["SPIFFE://cluster/ns/shop/sa/web"], ""),
        (&["spiffe://cluster/ns/shop/sa/other"], ""),
        (&["spiffe://cluster/ns/shop/sa/web\0"], ""),
        (&["spiffe://cluster/ns/shop/sa/web\0.evil"], ""),
        (&["spiffe://cluster/ns/shop/sa/web\n"], ""),
        (&["spiffe://cluster/ns/shop/sa/web\x7f"], ""),
        (&["spiffe://cluster/ns/shop/sa/we b"], ""),
        (&["spiffe://cluster/ns/shop/sa/web", "evil\0"], ""),
        (&["shop/web"], ""),
        (&[long.as_str()], ""),
        (&[long.as_str(), own], ""),
        (&many, ""),
        (&[], ""),
    ] {
        let shown: Vec<String> = sans.iter().map(|san| san.chars().take(60).collect()).collect();
        assert_eq!(who(&mut setting.client(&uris(sans))), user, "{shown:?}");
    }
    let dns = |name: &str| SanType::DnsName(Ia5String::try_from(name).unwrap());
    assert_eq!(
        who(&mut setting.client(&names(&["shop/web".into()], &[dns(own)]))),
        "",
        "of the other kinds none counts"
    );
    let chained = setting.ca.client_of_intermediate(&setting.proxy.certs.ca, &uris(&[own]));
    assert_eq!(who(&mut Client::tls(setting.proxy.port(0), chained)), "shop/web", "below an intermediate CA");
    setting.proxy.assert_no_panic();
}

#[test]
fn common_names_and_dns_names_are_taken_as_they_stand() {
    let setting = Setting::new(BY_CN, "yes");
    let bmp = DnValue::BmpString(BmpString::try_from("any").unwrap());
    let teletex = DnValue::TeletexString(TeletexString::try_from("any").unwrap());
    let ia5 = |name: &str| Ia5String::try_from(name).unwrap();
    for (common, user) in [
        (&[DnValue::from("any")][..], "any"),
        (&[DnValue::Ia5String(ia5("any"))], "any"),
        (&[DnValue::from("Any")], ""),
        (&[DnValue::from("any ")], ""),
        (&[DnValue::from("any\0")], ""),
        (&[DnValue::from("any\0.evil")], ""),
        (&[DnValue::from("\0any")], ""),
        (&[DnValue::from("any\u{85}")], ""),
        (&[DnValue::from("x".repeat(4000))], ""),
        (&[bmp], ""),
        (&[teletex], ""),
        (&[], ""),
    ] {
        assert_eq!(who(&mut setting.client(&names(common, &[]))), user, "{common:?}");
    }
    setting.change(
        "identity: {from: cn}",
        "identity: {from: san_dns, map: [{pattern: \"{app}.local\", user: \"{app}\"}]}",
    );
    for (name, user) in [
        ("any.local", "any"),
        ("any.local.", ""),
        ("x.any.local", ""),
        ("ANY.local", ""),
        ("any.local\0.x", ""),
    ] {
        let certificate = names(&["admin".into()], &[SanType::DnsName(ia5(name))]);
        assert_eq!(who(&mut setting.client(&certificate)), user, "{name:?}");
    }
}

#[test]
fn handshakes_fail_without_a_valid_certificate() {
    let setting = Setting::new(BY_CN, "yes");
    let mut expired = common_name("any");
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let mut early = common_name("any");
    early.not_before = rcgen::date_time_ymd(3000, 1, 1);
    let stranger = ClientCa::new();
    let port = setting.proxy.port(0);
    for (what, config) in [
        ("none", setting.proxy.certs.client_config(false)),
        ("another CA's", stranger.client(&setting.proxy.certs.ca, &common_name("any"))),
        (
            "another CA's, by an intermediate",
            stranger.client_of_intermediate(&setting.proxy.certs.ca, &common_name("any")),
        ),
        ("expired", setting.config(&expired)),
        ("not yet valid", setting.config(&early)),
        ("the server's CA's", setting.proxy.certs.client_config(true)),
    ] {
        assert_eq!(Client::tls(port, config).try_call(&["PING"]), None, "{what}");
    }
    assert_eq!(who(&mut setting.client(&common_name("any"))), "any");
}

#[test]
fn sessions_end_when_a_reload_takes_from_them_what_they_logged_in_by() {
    let setting = Setting::new(BY_SPIFFE, "optional");
    let web = uris(&["spiffe://cluster/ns/shop/sa/web"]);
    let mut by_certificate = setting.client(&web);
    let mut other = setting.client(&uris(&["app:any"]));
    let mut by_password = setting.client(&web).login("any", "secret");
    assert_eq!((who(&mut by_certificate), who(&mut other)), ("shop/web".to_owned(), "any".to_owned()));
    setting.change("sa/{sa}\"", "serviceaccount/{sa}\"");
    assert_eq!(text(&by_certificate.read_to_end()), "", "closed without being asked");
    assert_eq!((who(&mut other).as_str(), who(&mut by_password).as_str()), ("any", "any"));
    assert_eq!(who(&mut setting.client(&web)), "");
    setting.change("allow_from: [127.0.0.0/8]", "login: cert_only");
    assert_eq!(text(&by_password.read_to_end()), "", "closed without being asked");
    assert_eq!(who(&mut other), "any");
    setting.change(
        "\"on >secret ~* +@all\", login: cert_only",
        "\"on >secret ~* +@all\", login: cert_and_password",
    );
    assert_eq!(text(&other.read_to_end()), "", "closed without being asked");
    let mut both = setting.client(&uris(&["app:both"])).login("both", "secret");
    setting.change("serviceaccount/{sa}\"", "sa/{sa}\"");
    let mut web_again = setting.client(&web);
    assert_eq!((who(&mut both).as_str(), who(&mut web_again).as_str()), ("both", "shop/web"));
    setting.change("  - { name: shop/web, rules: \"on ~* +@all\", login: cert_only }\n", "");
    assert_eq!(text(&web_again.read_to_end()), "", "closed without being asked");
    assert_eq!(who(&mut both), "both");
}

#[test]
fn a_session_ends_with_the_certificate_of_its_client() {
    let setting = Setting::new(BY_CN, "yes");
    let mut lasting = setting.client(&common_name("any"));
    // On a busy machine the handshake may take longer than the first certificate is valid.
    for seconds in [3, 20] {
        let mut short = common_name("only");
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(seconds);
        short.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(end.as_secs());
        let config = setting.config(&short);
        let mut client = Client::tls(setting.proxy.port(0), config.clone());
        if client.try_call(&["PING"]).is_none() {
            continue;
        }
        let rest = client.read_until_silent(Duration::from_secs(60));
        assert_eq!(text(&rest), "", "closed without being asked");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!(now.as_secs() > end.as_secs(), "not before its last second is over");
        setting.proxy.wait_for_log(0, "the certificate of a client has expired");
        assert_eq!(Client::tls(setting.proxy.port(0), config).try_call(&["PING"]), None);
        assert_eq!(who(&mut lasting), "any");
        return;
    }
    panic!("no handshake within twenty seconds");
}

#[test]
fn check_refuses_a_second_factor_that_is_none() {
    let setting = Setting::new(BY_CN, "yes");
    let good = std::fs::read_to_string(setting.proxy.config_path()).unwrap();
    let open = good.replace("name: both, rules: \"on >secret", "name: both, rules: \"on nopass");
    std::fs::write(setting.proxy.config_path(), &open).unwrap();
    let line = setting.proxy.reload("reload refused");
    assert!(line.contains("any password is right for the user `both` (nopass)"), "{line}");
}
