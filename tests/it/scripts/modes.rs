//! The settings of `scripts`, upstreams that cannot mirror, and gates that hold inside scripts, too.

use super::{SECRET, stage, users};
use crate::support::client::text;
use crate::support::redis::{free_port, redis_6_2};
use crate::support::{Client, Proxy, Redis, wait_for};

const READ: &str = "return redis.call('get', 'secret')";
/// `printf %s "return redis.call('get', 'secret')" | sha1sum`
const READ_SHA: &str = "e8fa856bbeb737d7c6e0cc648530e5e06b3524be";

fn eval(client: &mut Client, body: &str) -> String {
    text(&client.call(&["EVAL", body, "0"]))
}

fn mirrored(redis: &Redis) -> bool {
    redis.client().ask("ACL USERS").contains("redkeep-mirror:")
}

#[test]
fn deny_says_so_and_leaves_no_user_behind() {
    let redis = Redis::start(&[]);
    stage(&redis);
    let proxy = Proxy::with_users(&redis, &users(), "scripts:\n  mode: deny\n");
    let mut app = proxy.tls().login("app", "secret");
    for line in
        ["EVAL return(1) 0", "EVALSHA x 0", "FCALL f 0", "SCRIPT LOAD x", "SCRIPT FLUSH", "FUNCTION LIST"]
    {
        let reply = app.ask(line);
        assert!(reply.starts_with("-NOPERM scripts and functions are denied"), "{line}: {reply}");
        assert!(reply.contains("(scripts.mode: deny)"), "{line}: {reply}");
    }
    assert_eq!(app.ask("SCRIPT EXISTS x"), "*1\r\n:0\r\n");
    assert!(proxy.tls().login("admin", "secret").ask("EVAL return(1) 0").starts_with(":1"));
    assert!(!mirrored(&redis));
}

#[test]
fn trusted_scripts_and_functions_run_as_redkeep_itself_and_no_others_run() {
    let redis = Redis::start(&[]);
    stage(&redis);
    let library = "#!lua name=lib\n\
        redis.register_function('read', function(keys) return redis.call('get', 'secret') end)\n\
        redis.register_function('other', function(keys) return redis.call('get', 'secret') end)";
    assert_eq!(text(&redis.client().call(&["FUNCTION", "LOAD", library])), "$3\r\nlib\r\n");
    let config =
        format!("scripts:\n  mode: trusted\n  trusted_shas: [{READ_SHA}]\n  trusted_functions: [read]\n");
    let proxy = Proxy::with_users(&redis, &users(), &config);
    let mut app = proxy.tls().login("app", "secret");
    assert!(eval(&mut app, READ).contains(SECRET));
    assert!(app.ask(&format!("EVALSHA {} 0", READ_SHA.to_uppercase())).contains(SECRET));
    assert!(app.ask("FCALL read 0").contains(SECRET));
    assert_eq!(text(&app.call(&["SCRIPT", "LOAD", READ])), format!("$40\r\n{READ_SHA}\r\n"));
    assert_eq!(app.ask("MULTI"), "+OK\r\n");
    assert_eq!(eval(&mut app, READ), "+QUEUED\r\n");
    assert!(app.ask("EXEC").contains(SECRET));
    // Its own keys are still judged.
    assert!(
        text(&app.call(&["EVAL", READ, "1", "other"])).starts_with("-NOPERM this user has no permissions")
    );
    let mut admin = proxy.tls().login("admin", "secret");
    let other = text(&admin.call(&["SCRIPT", "LOAD", "return redis.call('get', 'secret') "]));
    let other = format!("EVALSHA {} 0", other.lines().nth(1).unwrap());
    for line in
        [&other, "EVAL return(1) 0", "SCRIPT LOAD return(1)", "FCALL other 0", "FCALL READ 0", "SCRIPT FLUSH"]
    {
        let reply = app.ask(line);
        assert!(reply.contains("scripts.trusted_shas") && reply.starts_with("-NOPERM"), "{line}: {reply}");
    }
    assert!(!mirrored(&redis));
}

#[test]
fn a_function_writer_loads_functions_and_runs_them_with_no_more_rights_than_before() {
    let redis = Redis::start(&[]);
    stage(&redis);
    let users =
        users() + "user writer on >secret ~app:* +@all -@dangerous\nuser bare on >secret ~app:* +@read\n";
    let proxy = Proxy::with_users(&redis, &users, "scripts:\n  function_writers: [writer, bare]\n");
    let library =
        "#!lua name=lib\nredis.register_function('f', function() return redis.call('get', 'secret') end)";
    let mut writer = proxy.tls().login("writer", "secret");
    assert_eq!(text(&writer.call(&["FUNCTION", "LOAD", library])), "$3\r\nlib\r\n");
    assert!(writer.ask("FCALL f 0").starts_with("-ERR The user executing the script"));
    // The grant stands beside the rules, not in their place.
    let mut bare = proxy.tls().login("bare", "secret");
    assert!(bare.ask("FUNCTION DELETE lib").contains("no permissions to run the 'function|delete'"));
    assert!(
        proxy.tls().login("app", "secret").ask("FUNCTION DELETE lib").starts_with("-NOPERM functions are")
    );
    assert_eq!(writer.ask("FUNCTION DELETE lib"), "+OK\r\n");
}

#[test]
fn an_upstream_that_takes_no_mirrored_user_means_denied_and_the_log_says_why_once() {
    let redis = Redis::start(&[]);
    stage(&redis);
    // Redkeep's own user there is `default`.
    assert_eq!(redis.client().ask("ACL SETUSER default -acl|setuser"), "+OK\r\n");
    let proxy = Proxy::with_users(&redis, &users(), "");
    proxy.wait_for_log(0, "needs +acl|setuser +acl|deluser +acl|users +client|list");
    for _ in 0..3 {
        let mut app = proxy.tls().login("app", "secret");
        for _ in 0..3 {
            let reply = eval(&mut app, READ);
            assert!(reply.starts_with("-NOPERM scripts and functions are denied"), "{reply}");
            assert!(reply.contains("(scripts.mode: mirror)"), "{reply}");
        }
        assert_eq!(app.ask("MULTI"), "+OK\r\n");
        assert_eq!(eval(&mut app, READ), "+QUEUED\r\n");
        assert!(app.ask("EXEC").starts_with("-NOPERM scripts and functions are denied"));
        assert_eq!(app.ask("GET app:k"), "$1\r\n1\r\n");
    }
    let told = proxy.log().iter().filter(|line| line.contains("takes no user with the same rules")).count();
    assert_eq!(told, 1, "{:?}", proxy.log());
    assert!(eval(&mut proxy.tls().login("admin", "secret"), READ).contains(SECRET));
}

#[test]
fn rules_that_the_upstream_has_no_words_for_mean_denied() {
    let lines = "user default off\n\
        user plain on >secret ~app:* +@all -@dangerous\n\
        user reads on >secret %R~app:* +@all -@dangerous\n\
        user several on >secret ~app:* +@all -@dangerous (~b +get)\n\
        user dbs on >secret ~app:* +@all -@dangerous db=0\n\
        user module on >secret ~app:* +@all -@dangerous -graph.query\n";
    let servers = [(Redis::start(&[]), &["dbs", "module"][..])];
    let old = redis_6_2().map(|program| Redis::start_program(&program, &[]));
    let old = old.map(|redis| (redis, &["reads", "several", "dbs", "module"][..]));
    for (redis, denied) in servers.into_iter().chain(old) {
        stage(&redis);
        let proxy = Proxy::with_users(&redis, lines, "");
        for user in ["plain", "reads", "several", "dbs", "module"] {
            let reply = eval(&mut proxy.tls().login(user, "secret"), "return redis.call('get', 'app:k')");
            if denied.contains(&user) {
                assert!(reply.starts_with("-NOPERM scripts and functions are denied"), "{user}: {reply}");
                proxy.wait_for_log(0, "takes no user with the same rules");
            } else {
                assert_eq!(reply, "$1\r\n1\r\n", "{user}");
            }
            let reply = eval(&mut proxy.tls().login(user, "secret"), READ);
            assert!(!reply.contains(SECRET), "{user}: {reply}");
        }
    }
}

#[test]
fn what_gates_hide_is_hidden_in_scripts_and_a_renamed_eval_runs() {
    let redis = Redis::start(&[]);
    stage(&redis);
    let users = "user default off\nuser app on >secret ~app:* +@all\n";
    let rename =
        "commands:\n  rename: { KEYS: \"\", FLUSHALL: wipe, EVAL: run, SCRIPT: texts, GETDEL: \"\" }\n";
    let proxy = Proxy::with_users(&redis, users, rename);
    let mut app = proxy.tls().login("app", "secret");
    let mut run = |body: &str| text(&app.call(&["RUN", body, "1", "app:k"]));
    assert_eq!(run("return redis.call('get', KEYS[1])"), "$1\r\n1\r\n");
    // Its rules would allow these.
    for hidden in ["'keys', '*'", "'flushall'", "'wipe'", "'getdel', 'app:k'", "'config', 'get', '*'"] {
        assert!(run(&format!("return redis.call({hidden})")).starts_with("-ERR "), "{hidden}");
    }
    assert_eq!(app.ask("texts LOAD return(1)").lines().next(), Some("$40"));
    assert!(app.ask("EVAL return(1) 0").starts_with("-ERR unknown command"));
    assert_eq!(redis.client().ask("DBSIZE"), ":5\r\n");
}

#[test]
fn a_mirrored_link_is_no_way_past_the_password_of_the_upstream() {
    let port = free_port().to_string();
    let redis = Redis::start(&["--port", &port]);
    stage(&redis);
    let mut owner = redis.client();
    for line in
        ["CONFIG SET masterauth upstream-password", "ACL SETUSER redkeep on >upstream-password ~* &* +@all"]
    {
        assert_eq!(owner.ask(line), "+OK\r\n");
    }
    let proxy = Proxy::start(|dir, _| {
        let acl = dir.write("users.acl", "user default off\nuser app on >secret ~app:* +@all\n");
        let password = dir.write("password", "upstream-password");
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: redis://127.0.0.1:{port}\n  username: redkeep\n  \
             password_file: {}\nacl:\n  file: {}\nlog:\n  format: json\n",
            password.display(),
            acl.display()
        )
    });
    let mut app = Client::tcp(proxy.port(0)).login("app", "secret");
    for call in
        ["'config', 'get', 'masterauth'", "'acl', 'list'", "'acl', 'getuser', 'redkeep'", "'auth', 'x'"]
    {
        let reply = eval(&mut app, &format!("return redis.call({call})"));
        assert!(reply.starts_with("-ERR ") && !reply.contains("upstream-password"), "{call}: {reply}");
    }
    assert!(eval(&mut app, READ).starts_with("-ERR "));
    wait_for("a script that runs", || (eval(&mut app, "return 1") == ":1\r\n").then_some(()));
    assert!(!proxy.log().concat().contains("upstream-password"));
}
