//! Mirrored users at the upstream: who is one, for how long, and that no two are ever taken for each other.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{RULES, stage, users};
use crate::support::client::text;
use crate::support::{Client, Proxy, Redis, wait_for};

/// The mirrored users that the upstream knows.
fn mirrored(redis: &Redis) -> Vec<String> {
    let users = redis.client().ask("ACL USERS");
    users.lines().filter(|line| line.starts_with("redkeep-mirror:")).map(str::to_owned).collect()
}

fn eval(client: &mut Client, body: &str) -> String {
    text(&client.call(&["EVAL", body, "0"]))
}

#[test]
fn a_rule_that_is_taken_away_is_missing_in_the_next_script() {
    let redis = Redis::start(&[]);
    stage(&redis);
    let proxy = Proxy::with_users(&redis, &users(), "");
    let mut admin = proxy.tls().login("admin", "secret");
    let mut app = proxy.tls().login("app", "secret");
    let set = "return redis.call('set', 'app:k', 'x')";
    assert_eq!(eval(&mut app, set), "+OK\r\n");
    let first = mirrored(&redis);
    assert_eq!(first.len(), 1, "{first:?}");
    for round in 0..20 {
        assert_eq!(admin.ask("ACL SETUSER app -set"), "+OK\r\n");
        assert!(eval(&mut app, set).starts_with("-ERR "), "round {round}");
        assert_eq!(eval(&mut app, "return redis.call('get', 'app:k')"), "$1\r\nx\r\n");
        assert_eq!(admin.ask("ACL SETUSER app +set"), "+OK\r\n");
        assert_eq!(eval(&mut app, set), "+OK\r\n", "round {round}");
    }
    assert_eq!(admin.ask("ACL SETUSER app resetkeys ~other:*"), "+OK\r\n");
    assert!(eval(&mut app, set).starts_with("-ERR "));
    // Those of earlier rules go, without anybody's asking.
    wait_for("one mirrored user", || {
        let left = mirrored(&redis);
        (left.len() == 1 && left != first).then_some(())
    });
    // In a transaction, what counts are the rules at EXEC.
    assert_eq!(admin.ask("ACL SETUSER app ~app:*"), "+OK\r\n");
    assert_eq!((app.ask("MULTI"), eval(&mut app, set)), ("+OK\r\n".into(), "+QUEUED\r\n".into()));
    assert_eq!(admin.ask("ACL SETUSER app -set"), "+OK\r\n");
    let executed = app.ask("EXEC");
    assert!(executed.starts_with("*1\r\n-ERR "), "{executed}");
    assert_eq!(admin.ask("ACL DELUSER app"), ":1\r\n");
    assert_eq!(app.try_call(&["PING"]), None);
    wait_for("no mirrored user", || mirrored(&redis).is_empty().then_some(()));
    proxy.assert_no_panic();
}

#[test]
fn many_users_at_once_never_run_as_one_another() {
    const USERS: usize = 4;
    const ROUNDS: usize = 25;
    let redis = Redis::start(&[]);
    let mut lines = "user default off\nuser admin on >secret ~* &* +@all\n".to_owned();
    for user in 0..USERS {
        // Two have the same rules, and are two all the same.
        let key = if user == 3 { 2 } else { user };
        lines += &format!("user u{user} on >secret ~k{key}:* +@all -@dangerous\n");
    }
    let proxy = Proxy::with_users(&redis, &lines, "");
    let ran = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..USERS * 2 {
            let (proxy, ran) = (&proxy, &ran);
            scope.spawn(move || {
                let user = thread % USERS;
                let mut client = proxy.plain().login(&format!("u{user}"), "secret");
                for round in 0..ROUNDS {
                    if round % 8 == 7 {
                        client = proxy.plain().login(&format!("u{user}"), "secret");
                    }
                    let body = format!("return redis.call('incr', 'k' .. ARGV[1] .. ':{thread}')");
                    // In one go, with other commands between them.
                    for key in 0..3 {
                        client.send(&["EVAL", &body, "0", &key.to_string()]);
                        client.send(&["ECHO", &format!("{user}:{key}")]);
                    }
                    for key in 0..3 {
                        let reply = text(&client.read_reply());
                        let own = key == user.min(2);
                        let expected = if own {
                            reply == format!(":{}\r\n", round + 1)
                        } else {
                            reply.starts_with("-ERR")
                        };
                        assert!(expected, "u{user} and k{key}: {reply}");
                        let echo = text(&client.read_reply());
                        assert!(echo.ends_with(&format!("\r\n{user}:{key}\r\n")), "{echo}");
                        ran.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(ran.into_inner(), USERS * 2 * ROUNDS * 3);
    let mut owner = redis.client();
    for thread in 0..USERS * 2 {
        let key = (thread % USERS).min(2);
        assert_eq!(owner.ask(&format!("GET k{key}:{thread}")), format!("$2\r\n{ROUNDS}\r\n"));
    }
    assert_eq!(owner.ask("DBSIZE"), format!(":{}\r\n", USERS * 2));
    assert_eq!(mirrored(&redis).len(), USERS);
    proxy.assert_no_panic();
}

#[test]
fn an_upstream_that_forgot_its_mirrored_users_is_told_again() {
    let mut redis = Redis::start(&[]);
    stage(&redis);
    let proxy = Proxy::with_users(&redis, &users(), "");
    let mut app = proxy.tls().login("app", "secret");
    let steal = "return redis.call('get', 'secret')";
    assert!(eval(&mut app, steal).starts_with("-ERR "));
    assert_eq!(eval(&mut app, "return 1"), ":1\r\n");
    // Somebody tidies up at the upstream, which ends the link that rests.
    let names = mirrored(&redis);
    assert_eq!(redis.client().ask(&format!("ACL DELUSER {}", names.join(" "))), ":1\r\n");
    wait_for("a script that runs", || (eval(&mut app, "return 1") == ":1\r\n").then_some(()));
    assert_eq!(mirrored(&redis), names);
    redis.kill();
    redis.start_again();
    redis.client().ask("SET secret the-secret");
    assert!(mirrored(&redis).is_empty());
    wait_for("a script that runs", || (eval(&mut app, "return 1") == ":1\r\n").then_some(()));
    assert!(eval(&mut app, steal).starts_with("-ERR "));
    assert_eq!(mirrored(&redis), names);
}

#[test]
fn a_mirrored_user_is_as_its_user_is_and_nobody_can_log_in_as_it() {
    let redis = Redis::start(&[]);
    stage(&redis);
    let proxy = Proxy::with_users(&redis, &users(), "");
    let mut app = proxy.tls().login("app", "secret");
    assert_eq!(eval(&mut app, "return 1"), ":1\r\n");
    let name = mirrored(&redis).remove(0);
    let list = redis.client().ask("ACL LIST");
    let line = list.lines().find(|line| line.contains(&name)).unwrap();
    assert!(!line.contains("nopass") && line.contains(" #"), "{line}");
    let mut words: Vec<&str> = line.split(' ').collect();
    words.retain(|word| !["-acl", "-config", "-debug", "-module", "sanitize-payload"].contains(word));
    assert!(words.join(" ").ends_with(RULES), "{line}");
    for password in ["", "secret", name.as_str()] {
        let reply =
            redis.client().ask(&format!("AUTH {name} {}", if password.is_empty() { "''" } else { password }));
        assert!(reply.starts_with("-WRONGPASS"), "{reply}");
        assert!(proxy.tls().ask(&format!("AUTH {name} x")).starts_with("-WRONGPASS"));
    }
    // It shows nowhere here, and no log has a secret.
    let mut admin = proxy.tls().login("admin", "secret");
    for line in ["ACL USERS", "ACL LIST", "CLIENT LIST"] {
        assert!(!admin.ask(line).contains("redkeep-mirror"), "{line}");
    }
    let hash = line.split(" #").nth(1).unwrap().split(' ').next().unwrap();
    assert!(!proxy.log().concat().contains(hash));
}

#[test]
fn mirrored_users_go_with_their_proxy_and_those_that_a_dead_one_left_with_the_next_start() {
    let redis = Redis::start(&[]);
    stage(&redis);
    let run = || {
        let proxy = Proxy::with_users(&redis, &users(), "");
        let mut app = proxy.tls().login("app", "secret");
        assert_eq!(eval(&mut app, "return 1"), ":1\r\n");
        (proxy, app)
    };
    let (mut orderly, app) = run();
    assert_eq!(mirrored(&redis).len(), 1);
    drop(app);
    orderly.signal("-TERM");
    assert!(orderly.wait().success());
    assert_eq!(mirrored(&redis), Vec::<String>::new(), "after an orderly end");
    let (killed, app) = run();
    drop((killed, app));
    let left = wait_for("the end of its connections", || {
        (!redis.client().ask("CLIENT LIST").contains("user=redkeep-mirror")).then(|| mirrored(&redis))
    });
    assert_eq!(left.len(), 1, "after a kill");
    // Two that live do not disturb each other, not even by what looks left behind.
    let (one, mut app_of_one) = run();
    assert!(!mirrored(&redis).contains(&left[0]), "cleaned at the start");
    let (two, mut app_of_two) = run();
    let names = mirrored(&redis);
    assert_eq!(
        redis.client().ask(&format!("ACL DELUSER {}", names.join(" "))),
        format!(":{}\r\n", names.len())
    );
    for app in [&mut app_of_one, &mut app_of_two] {
        wait_for("a script that runs", || (eval(app, "return 1") == ":1\r\n").then_some(()));
    }
    drop((one, two));
}

#[test]
fn a_user_of_the_operators_own_with_a_like_name_is_left_alone() {
    let redis = Redis::start(&[]);
    stage(&redis);
    let mut owner = redis.client();
    for name in ["redkeep-mirror:mine", "redkeep", "redkeep-mirror:0123:1"] {
        assert_eq!(owner.ask(&format!("ACL SETUSER {name} on")), "+OK\r\n");
    }
    let proxy = Proxy::with_users(&redis, &users(), "");
    assert_eq!(eval(&mut proxy.tls().login("app", "secret"), "return 1"), ":1\r\n");
    drop(proxy);
    for name in ["redkeep-mirror:mine", "redkeep", "redkeep-mirror:0123:1"] {
        assert_ne!(owner.ask(&format!("ACL GETUSER {name}")), "$-1\r\n", "{name}");
    }
}
