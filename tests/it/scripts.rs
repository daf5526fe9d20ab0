//! Scripts and functions of restricted users: no road leads around the rules, and what the upstream says of the inner
//! calls is what it says to a direct user with the same rules.
//!
//! - `modes`: `deny`, `trusted`, `function_writers`, upstreams that cannot mirror, gates
//! - `mirrors`: mirrored users at the upstream: revoked, deleted, lost, left behind; many at once

mod mirrors;
mod modes;

use crate::support::client::text;
use crate::support::{Client, Proxy, Redis};

/// The rules of the restricted user, here and at the server that it is compared with.
const RULES: &str = "~app:* resetchannels &app:* +@all -@dangerous";

const SECRET: &str = "the-secret";

/// Bodies of scripts, each one road to what is not the user's.
const ROADS: &[&str] = &[
    "return redis.call('get', 'secret')",
    "return redis.pcall('get', 'secret')",
    "return {1, redis.pcall('get', 'secret'), 'x', {redis.pcall('set', 'secret', 1)}}",
    "return redis.call('mget', 'app:k', 'secret')",
    "return redis.call('copy', 'secret', 'app:stolen')",
    "return redis.call('rename', 'secret', 'app:stolen')",
    "return redis.call('sort', 'app:list', 'get', 's*')",
    "return redis.call('set', 'other', 1)",
    "return redis.call('keys', '*')",
    "return redis.call('flushall')",
    "return redis.call('swapdb', 0, 1)",
    "return redis.call('select', 1)",
    "redis.call('select', 1) return redis.call('get', 'secret')",
    "return redis.call('publish', 'other', 'x')",
    "return redis.call('publish', 'app:x', 'x')",
    "return redis.call('config', 'get', '*')",
    "return redis.call('config', 'set', 'dir', '/')",
    "return redis.call('CONFIG', 'GET', 'masterauth')",
    "return redis.call('acl', 'setuser', 'app', 'allkeys')",
    "return redis.call('acl', 'whoami')",
    "return redis.call('acl', 'list')",
    "return redis.call('auth', 'secret')",
    "return redis.call('hello', '3')",
    "return redis.call('debug', 'object', 'secret')",
    "return redis.call('module', 'list')",
    "return redis.call('replicaof', 'no', 'one')",
    "return redis.call('slaveof', 'no', 'one')",
    "return redis.call('shutdown')",
    "return redis.call('client', 'list')",
    "return redis.call('client', 'kill', 'type', 'normal')",
    "return redis.call('client', 'no-touch', 'on')",
    "return redis.call('monitor')",
    "return redis.call('multi')",
    "return redis.call('watch', 'app:k')",
    "return redis.call('subscribe', 'app:x')",
    "return redis.call('eval', 'return 1', 0)",
    "return redis.call('script', 'flush')",
    "return redis.call('function', 'flush')",
    "return redis.call('migrate', '127.0.0.1', 1, 'secret', 0, 1)",
    "return redis.call('nosuch')",
    "return redis.call('get')",
    "return redis.call('set', 'app:k', 'mine')",
    "return redis.call('get', 'app:k')",
    "redis.setresp(3) return redis.call('hgetall', 'app:h')",
    "redis.setresp(3) return redis.call('hgetall', 'secret:h')",
    "return redis.error_reply('MINE')",
    "return redis.status_reply('secret')",
    "return {err = 'MINE of app'}",
    "return redis.sha1hex('')",
    "error('on purpose')",
    "return nosuch",
    "return (",
    "return 1.5",
    "return {1, {2, false, 'x'}, nil}",
];

/// Roads of servers since 7.0.
const LATER_ROADS: &[&str] = &[
    "return {redis.acl_check_cmd('get', 'secret'), redis.acl_check_cmd('get', 'app:k')}",
    "#!lua flags=no-writes\nreturn redis.call('get', 'secret')",
    "#!lua flags=allow-stale,allow-oom\nreturn redis.call('set', 'secret', 1)",
    "return redis.call('getdel', 'secret')",
    "return redis.call('function', 'load', 'x')",
];

/// A server with data, and the restricted user as its own: for direct connections, and behind a proxy.
fn stage(redis: &Redis) {
    let mut owner = redis.client();
    for line in ["SET secret the-secret", "SET app:k 1", "HSET secret:h f the-secret", "HSET app:h f v"] {
        assert!(!owner.ask(line).starts_with('-'), "{line}");
    }
    assert_eq!(owner.ask("RPUSH app:list ecret"), ":1\r\n");
    let mut set = vec!["ACL", "SETUSER", "app", "reset", "on", ">secret"];
    set.extend(RULES.split(' '));
    assert_eq!(text(&owner.call(&set)), "+OK\r\n");
}

fn users() -> String {
    format!("user default off\nuser admin on >secret ~* &* +@all\nuser app on >secret {RULES}\n")
}

/// The same request to both sides must have the same reply, byte for byte, without the secret.
fn same(server: &str, [direct, ours]: &mut [Client; 2], args: &[&str]) -> String {
    let [direct, ours] = [text(&direct.call(args)), text(&ours.call(args))];
    assert_eq!(ours, direct, "{server}: {args:?}");
    assert!(!ours.contains(SECRET), "{server}: {args:?}: {ours}");
    ours
}

#[test]
fn no_script_leads_around_the_rules_and_all_say_what_a_direct_connection_says() {
    for redis in crate::support::redis::one_of_each() {
        let (server, version) = redis.name();
        let later = version >= redkeep::policy::Version::V7_0;
        // Two servers, since what one side writes the other would find.
        stage(&redis);
        let proxy = Proxy::with_users(&redis, &users(), "");
        let mut sides = [redis.client().login("app", "secret"), proxy.tls().login("app", "secret")];
        let mut denied = 0;
        for protocol in ["2", "3"] {
            for side in &mut sides {
                side.call(&["HELLO", protocol]);
            }
            let later_roads = LATER_ROADS.iter().filter(|_| later);
            for body in ROADS.iter().chain(later_roads) {
                let reply = same(&server, &mut sides, &["EVAL", body, "0"]);
                let refused = reply.contains("executing the script can't") || reply.contains("ACL failure");
                denied += usize::from(refused);
                if later {
                    same(&server, &mut sides, &["EVAL_RO", body, "0"]);
                }
                // Keys are the user's to declare; the inner call is judged all the same.
                same(&server, &mut sides, &["EVAL", body, "1", "app:k"]);
                same(&server, &mut sides, &["EVAL", body, "1", "secret"]);
                let sha = same(&server, &mut sides, &["SCRIPT", "LOAD", body]);
                if let Some(sha) = sha.lines().nth(1) {
                    same(&server, &mut sides, &["EVALSHA", sha, "0"]);
                    same(&server, &mut sides, &["SCRIPT", "EXISTS", sha]);
                }
            }
            // Nothing that a script does to its connection stays: neither database nor protocol.
            same(&server, &mut sides, &["EVAL", "return redis.call('get', 'app:k')", "0"]);
            same(&server, &mut sides, &["GET", "app:k"]);
        }
        assert!(denied > 20, "{server}: {denied}");
        let mut owner = redis.client();
        assert_eq!(owner.ask("GET secret"), format!("${}\r\n{SECRET}\r\n", SECRET.len()), "{server}");
        assert_eq!(owner.ask("EXISTS other app:stolen"), ":0\r\n", "{server}");
        proxy.assert_no_panic();
    }
}

#[test]
fn scripts_and_functions_of_the_administrator_give_a_restricted_caller_nothing() {
    for redis in crate::support::redis::one_of_each() {
        let (server, version) = redis.name();
        stage(&redis);
        let proxy = Proxy::with_users(&redis, &users(), "");
        let mut admin = proxy.tls().login("admin", "secret");
        let mut sides = [redis.client().login("app", "secret"), proxy.tls().login("app", "secret")];
        let body = "return redis.call('get', 'secret')";
        assert!(text(&admin.call(&["EVAL", body, "0"])).contains(SECRET), "{server}");
        let sha = text(&admin.call(&["SCRIPT", "LOAD", body]));
        same(&server, &mut sides, &["EVALSHA", sha.lines().nth(1).unwrap(), "0"]);
        if version < redkeep::policy::Version::V7_0 {
            continue;
        }
        let library = "#!lua name=lib\n\
            redis.register_function('steal', function() return redis.call('get', 'secret') end)\n\
            redis.register_function{function_name='steal_ro', flags={'no-writes'}, callback=function() return \
            redis.pcall('get', 'secret') end}\n\
            redis.register_function('mine', function(keys) return redis.call('get', keys[1]) end)";
        assert_eq!(text(&admin.call(&["FUNCTION", "LOAD", library])), "$3\r\nlib\r\n", "{server}");
        assert!(admin.ask("FCALL steal 0").contains(SECRET), "{server}");
        for line in ["FCALL steal 0", "FCALL steal_ro 0", "FCALL_RO steal_ro 0", "FCALL mine 1 app:k"] {
            same(&server, &mut sides, &line.split(' ').collect::<Vec<_>>());
        }
        for line in
            ["FCALL mine 1 secret", "FCALL mine 0", "FCALL nosuch 0", "FUNCTION LIST", "FUNCTION STATS"]
        {
            same(&server, &mut sides, &line.split(' ').collect::<Vec<_>>());
        }
        // What is loaded by one user runs as another, so these need a grant of their own.
        for line in ["FUNCTION LOAD x", "FUNCTION DELETE lib", "FUNCTION FLUSH", "FUNCTION RESTORE x"] {
            let reply = sides[1].ask(line);
            assert!(reply.starts_with("-NOPERM functions are loaded"), "{server}: {line}: {reply}");
        }
        assert!(admin.ask("FCALL mine 1 app:k").contains('1'), "{server}");
    }
}

#[test]
fn a_transaction_with_scripts_runs_as_the_user_and_says_what_a_direct_one_says() {
    let steal = "return redis.call('get', 'secret')";
    let copy =
        "redis.call('set', 'app:copy', redis.call('get', 'app:k')) return redis.call('get', 'app:copy')";
    let transactions: &[&[&[&str]]] = &[
        &[&["MULTI"], &["SET", "app:k", "7"], &["EVAL", copy, "0"], &["GET", "app:copy"], &["EXEC"]],
        &[
            &["MULTI"],
            &["EVAL", steal, "0"],
            &["SET", "app:k", "8"],
            &["EVAL", steal, "1", "app:k"],
            &["EXEC"],
        ],
        &[&["MULTI"], &["EVAL", "return {redis.pcall('get', 'secret')}", "0"], &["EXEC"]],
        &[&["MULTI"], &["EVAL", copy, "1", "secret"], &["SET", "app:k", "no"], &["EXEC"]],
        &[&["MULTI"], &["EVAL", copy, "0"], &["NOSUCH"], &["SET", "app:k", "no"], &["EXEC"]],
        &[&["MULTI"], &["EVAL", copy, "0"], &["SET", "app:k", "no"], &["DISCARD"]],
        &[
            &["MULTI"],
            &["EVALSHA", "ffffffffffffffffffffffffffffffffffffffff", "0"],
            &["INCR", "app:k"],
            &["EXEC"],
        ],
        &[&["MULTI"], &["SCRIPT", "LOAD", steal], &["CLIENT", "SETNAME", "x"], &["PING"], &["EXEC"]],
    ];
    for redis in crate::support::redis::one_of_each() {
        let (server, _) = redis.name();
        stage(&redis);
        let proxy = Proxy::with_users(&redis, &users(), "");
        let mut sides = [redis.client().login("app", "secret"), proxy.tls().login("app", "secret")];
        for (number, transaction) in transactions.iter().enumerate() {
            let mut replies = sides.each_mut().map(|side| {
                assert_eq!(side.ask("SET app:k 1"), "+OK\r\n");
                transaction.iter().map(|request| text(&side.call(request))).collect::<Vec<_>>()
            });
            let [direct, ours] = &mut replies;
            assert_eq!(ours, direct, "{server}: transaction {number}");
            assert!(!ours.concat().contains(SECRET), "{server}: {ours:?}");
            same(&server, &mut sides, &["GET", "app:k"]);
        }
        // The session goes on as before: in no transaction, and with its own rules.
        same(&server, &mut sides, &["GET", "secret"]);
        same(&server, &mut sides, &["EXEC"]);
        same(&server, &mut sides, &["EVAL", steal, "0"]);
        proxy.assert_no_panic();
    }
}

#[test]
fn a_transaction_that_no_mirror_could_run_is_refused_and_nothing_of_it_runs() {
    let redis = Redis::start(&[]);
    stage(&redis);
    let proxy = Proxy::with_users(&redis, &users(), "");
    let mut app = proxy.tls().login("app", "secret");
    let eval = ["EVAL", "return redis.call('set', 'app:k', 'script')", "0"];
    for (before, transaction) in [
        (Some("WATCH app:k"), vec!["EVAL"]),
        (None, vec!["SELECT 1", "EVAL"]),
        (None, vec!["EVAL", "SELECT 1"]),
        (None, vec!["EVAL", "AUTH admin secret"]),
        (None, vec!["AUTH admin secret", "EVAL"]),
        (None, vec!["EVAL", "CLIENT TRACKING ON"]),
        (None, vec!["CLIENT TRACKING ON", "EVAL"]),
    ] {
        app.ask("HELLO 3");
        assert_eq!(app.ask("SET app:k before"), "+OK\r\n");
        if let Some(before) = before {
            assert_eq!(app.ask(before), "+OK\r\n");
        }
        assert_eq!(app.ask("MULTI"), "+OK\r\n");
        let replies: Vec<String> = transaction
            .iter()
            .map(|line| if *line == "EVAL" { text(&app.call(&eval)) } else { app.ask(line) })
            .collect();
        let last = replies.last().unwrap();
        assert!(last.starts_with("-NOPERM '") && last.contains("through redkeep"), "{transaction:?}: {last}");
        assert!(app.ask("EXEC").starts_with("-EXECABORT"), "{transaction:?}");
        assert_eq!(app.ask("GET app:k"), "$6\r\nbefore\r\n", "{transaction:?}");
    }
    // Whose rights change behind a queued script: nothing runs with rights that are another's.
    let mut admin = proxy.tls().login("admin", "secret");
    for line in ["MULTI", "AUTH app secret"] {
        assert!(admin.ask(line).starts_with('+'), "{line}");
    }
    assert_eq!(text(&admin.call(&["EVAL", "return redis.call('set', 'secret', 'x')", "0"])), "+QUEUED\r\n");
    assert!(admin.ask("EXEC").starts_with("-EXECABORT"));
    assert_eq!(admin.ask("MULTI"), "+OK\r\n");
    assert_eq!(text(&admin.call(&["EVAL", "return redis.call('set', 'secret', 'x')", "0"])), "+QUEUED\r\n");
    let mut other = proxy.tls().login("admin", "secret");
    assert_eq!(other.ask("ACL SETUSER admin resetkeys ~app:*"), "+OK\r\n");
    assert!(admin.ask("EXEC").starts_with("*1\r\n-ERR The user executing the script can't"));
    assert_eq!(redis.client().ask("GET secret"), format!("${}\r\n{SECRET}\r\n", SECRET.len()));
    // Between WATCH and MULTI a script runs, and what it writes counts as written by somebody.
    assert_eq!(app.ask("WATCH app:k"), "+OK\r\n");
    assert_eq!(text(&app.call(&eval)), "+OK\r\n");
    assert_eq!((app.ask("MULTI"), app.ask("PING")), ("+OK\r\n".into(), "+QUEUED\r\n".into()));
    assert_eq!(app.ask("EXEC"), "_\r\n");
    proxy.assert_no_panic();
}

/// A reply that is passed on in pieces is left as it is, and the next one is seen as a whole again.
#[test]
fn large_replies_of_scripts_come_as_they_are() {
    let redis = Redis::start(&[]);
    stage(&redis);
    let proxy = Proxy::with_users(&redis, &users(), "");
    let mut sides = [redis.client().login("app", "secret"), proxy.tls().login("app", "secret")];
    let large = "local t = {} for i = 1, 30000 do t[i] = '-redkeep-mirror:' .. string.rep('x', 60) end \
        t[30001] = redis.pcall('get', 'secret') return t";
    for _ in 0..3 {
        let reply = same("Redis", &mut sides, &["EVAL", large, "0"]);
        assert!(reply.len() > 2_000_000, "{}", reply.len());
        same("Redis", &mut sides, &["EVAL", "return {redis.pcall('get', 'secret')}", "0"]);
    }
}
