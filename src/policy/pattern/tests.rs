use proptest::prelude::*;

use super::*;

fn user(alphabet: Alphabet, pattern: &str, user: &str, value: &str) -> Option<String> {
    let pattern = Pattern::parse(pattern, alphabet).unwrap();
    let user = Template::parse(user, &pattern).unwrap();
    user.user(&pattern.values(value)?)
}

#[test]
fn a_pattern_stands_for_whole_values_byte_by_byte() {
    const SPIFFE: &str = "spiffe://cluster/ns/{ns}/sa/{sa}";
    for (value, expected) in [
        ("spiffe://cluster/ns/shop/sa/web", Some("shop-web")),
        ("spiffe://cluster/ns/shop/sa/web.v1_x", Some("shop-web.v1_x")),
        ("spiffe://cluster/ns/shop/sa/web-1", Some("shop-web-1")),
        // It would be the user of `c` in `a-b`, too.
        ("spiffe://cluster/ns/shop-1/sa/web", None),
        ("spiffe://Cluster/ns/shop/sa/web", None),
        ("spiffe://cluster/ns/shop/sa/web/", None),
        ("spiffe://cluster/ns/shop/sa/web/x", None),
        ("spiffe://cluster/ns/shop/x/sa/web", None),
        ("spiffe://cluster/ns//sa/web", None),
        ("spiffe://cluster/ns/shop/sa/", None),
        ("spiffe://cluster/ns/shop/sa", None),
        ("xspiffe://cluster/ns/shop/sa/web", None),
        ("spiffe://cluster/ns/sh%6fp/sa/web", None),
        ("spiffe://cluster/ns/shop/sa/wéb", None),
        ("spiffe://cluster/ns/shop/sa/web\0", None),
        ("spiffe://cluster/ns/shop/sa/web\0.admin", None),
        ("spiffe://cluster/ns/shop/sa/we b", None),
        ("spiffe://cluster/ns/shop/sa/web?x", None),
        ("", None),
    ] {
        assert_eq!(user(Alphabet::Segment, SPIFFE, "{ns}-{sa}", value).as_deref(), expected, "{value:?}");
    }
    let dns = |value| user(Alphabet::Label, "{app}.clients.example", "{app}", value);
    assert_eq!(dns("web.clients.example").as_deref(), Some("web"));
    assert_eq!(dns("evil.web.clients.example"), None, "a placeholder has no dot");
    assert_eq!(dns("*.clients.example"), None);
    let exact = |value| user(Alphabet::Segment, "App One", "app", value);
    assert_eq!((exact("App One").as_deref(), exact("app one"), exact("App One ")), (Some("app"), None, None));
    // Text that placeholders could match, before a character that they cannot, and at the end.
    let tight = |value| user(Alphabet::Segment, "{a}-x/{b}-y", "{b}/{a}", value);
    assert_eq!(tight("1-x-x/2-y-y").as_deref(), Some("2-y/1-x"));
    assert_eq!((tight("-x/2-y"), tight("1/2-y"), tight("1-x/-y")), (None, None, None));
}

#[test]
fn patterns_and_users_that_could_be_misread_are_refused() {
    let refused = |alphabet, pattern: &str, user: &str| match Pattern::parse(pattern, alphabet) {
        Err(text) => format!("pattern {text}"),
        Ok(pattern) => format!("user {}", Template::parse(user, &pattern).unwrap_err()),
    };
    for (pattern, user, expected) in [
        ("", "a", "pattern is empty; "),
        ("a{", "a", "pattern has a `{` or `}` that is no placeholder; "),
        ("a}", "a", "pattern has a `{` or `}` that is no placeholder; "),
        ("{}", "a", "pattern has a `{` or `}` that is no placeholder; "),
        ("{a-b}", "a", "pattern has a `{` or `}` that is no placeholder; "),
        ("{{a}}", "a", "pattern has a `{` or `}` that is no placeholder; "),
        ("{a}{b}", "a", "pattern has `{a}` and `{b}` with nothing between them; "),
        ("{a}/{a}", "a", "pattern has `{a}` twice; "),
        (
            "{a}-{b}",
            "a",
            "pattern does not say where `{a}` ends, since `-` could belong to it; write text with a `/`",
        ),
        ("x\0", "a", "pattern has a control character"),
        ("{a}", "", "user is empty; "),
        ("{a}", "{b}", "user has `{b}`, which the pattern lacks; "),
        ("{a}", "{a} x", "user has white space"),
        ("{a}/{b}", "{a}{b}", "user has `{a}` and `{b}` with nothing between them; "),
    ] {
        let text = refused(Alphabet::Segment, pattern, user);
        assert!(text.starts_with(expected), "{pattern} {user}: {text}");
    }
    let text = refused(Alphabet::Label, "{a}-{b}.x", "a");
    assert!(text.contains("with a `.` before `{b}`"), "{text}");
    assert!(
        Pattern::parse("{a}.{b}", Alphabet::Label).is_ok()
            && Pattern::parse("{a}.{b}", Alphabet::Segment).is_err()
    );
}

proptest! {
    #[test]
    fn whatever_a_certificate_says_the_user_has_nothing_but_the_template_and_plain_characters(
        value in any::<String>(),
        middle in "[/:a-c.-]{0,3}",
        alphabet in prop_oneof![Just(Alphabet::Label), Just(Alphabet::Segment)],
    ) {
        if let Ok(pattern) = Pattern::parse(&format!("{{a}}{middle}{{b}}"), alphabet) {
            let template = Template::parse("{b}/{a}", &pattern).unwrap();
            for value in [value.clone(), format!("x{middle}{value}"), format!("{value}{middle}y")] {
                if let Some(user) = pattern.values(&value).and_then(|values| template.user(&values)) {
                    prop_assert!(user.chars().all(|c| alphabet.has(c) || c == '/'), "{user:?}");
                }
            }
        }
        let _ = Pattern::parse(&value, alphabet);
    }

    /// Two identities of few characters, so that they often collide: if they make one user, they are one identity.
    #[test]
    fn no_two_identities_are_the_same_user(
        one in ("[ab-]{1,4}", "[ab-]{1,4}"), other in ("[ab-]{1,4}", "[ab-]{1,4}"),
        between in prop_oneof![Just("-"), Just("--"), Just("a"), Just("ab"), Just("/")],
    ) {
        let made = |(a, b): &(String, String)| {
            let template = format!("u{{a}}{between}{{b}}x");
            user(Alphabet::Segment, "{a}/{b}", &template, &format!("{a}/{b}"))
        };
        let (made_one, made_other) = (made(&one), made(&other));
        if made_one.is_some() {
            prop_assert_eq!(made_one == made_other, one == other);
        }
    }
}
