//! redis-cli, redis-benchmark and the health check: programs that speak for themselves.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use redkeep::resp::RequestBuf;

use super::{run, tls_args};
use crate::support::proxy::USERS;
use crate::support::redis::which;
use crate::support::{Proxy, Redis, unique};

#[test]
fn redis_cli_speaks_both_protocols() {
    assert!(which("redis-cli"), "redis-cli not found: sudo apt-get install -y redis-tools");
    let proxy = Proxy::standard(Redis::shared());
    for protocol in ["-2", "-3"] {
        let cli = |args: &[&str]| {
            let output = run(Command::new("redis-cli")
                .args(tls_args(&proxy))
                .args([protocol, "--user", "app", "--pass", "secret", "--no-auth-warning"])
                .args(args));
            String::from_utf8(output.stdout).unwrap()
        };
        let key = unique("app:cli");
        assert_eq!(cli(&["SET", &key, "a b"]), "OK\n");
        assert_eq!(cli(&["GET", &key]), "a b\n");
        assert!(cli(&["GET", "nope"]).starts_with("NOPERM "), "{protocol}");
        assert!(cli(&["FLUSHALL"]).starts_with("NOPERM "), "{protocol}");
    }
}

#[test]
fn redis_benchmark_completes_without_an_error() {
    assert!(which("redis-benchmark"), "redis-benchmark not found: sudo apt-get install -y redis-tools");
    let redis = Redis::start(&[]);
    let users = format!("{USERS}user bench on >secret ~key:* +get +set +config|get\n");
    let proxy = Proxy::with_users(&redis, &users, "");
    let output = run(Command::new("redis-benchmark").args(tls_args(&proxy)).args([
        "--user", "bench", "-a", "secret", "-c", "50", "-P", "16", "-n", "50000", "-t", "set,get", "-q",
    ]));
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.matches("requests per second").count() == 2 && !said.contains("rror"), "{said}");
    proxy.assert_no_panic();
}

/// Users for loading and for surveying keys: no more rights than that takes.
const MASS_USERS: &str = "\
user loader on >secret %W~app:* +set +rpush +hset +sadd +zadd +xadd +echo
user surveyor on >secret %R~app:* +scan +dbsize +type +strlen +llen +hlen +scard +zcard +xlen +memory|usage
";

/// redis-cli as a user, whose password is no argument.
fn cli_as(user: &str, proxy: &Proxy, args: &[&str]) -> Command {
    assert!(which("redis-cli"), "redis-cli not found: sudo apt-get install -y redis-tools");
    let mut command = Command::new("redis-cli");
    command.args(tls_args(proxy)).args(["--user", user]).args(args).env("REDISCLI_AUTH", "secret");
    command
}

/// Runs `redis-cli --pipe` with these requests.
fn pipe(proxy: &Proxy, requests: &[u8]) -> Output {
    let mut child = cli_as("loader", proxy, &["--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // redis-cli reads and writes in turns, so its input must not wait for its output.
        scope.spawn(move || input.write_all(requests).unwrap());
        child.wait_with_output().unwrap()
    })
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn request(args: &[&str]) -> Vec<u8> {
    RequestBuf::from_args(args).as_request().wire().to_vec()
}

#[test]
fn redis_cli_loads_keys_in_bulk_and_surveys_them() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, &format!("{USERS}{MASS_USERS}"), "");

    let mut requests: Vec<u8> = (0..19_994)
        .flat_map(|number: u32| {
            request(&["SET", &format!("app:{number}"), &"x".repeat(number as usize % 50)])
        })
        .collect();
    requests.extend(request(&["SET", "app:biggest", &"y".repeat(100_000)]));
    for item in ["RPUSH app:list a b c", "HSET app:hash a 1 b 2", "SADD app:set a", "ZADD app:zset 1 a 2 b"] {
        requests.extend(request(&item.split(' ').collect::<Vec<_>>()));
    }
    requests.extend(request(&["XADD", "app:stream", "*", "field", "value"]));
    let output = pipe(&proxy, &requests);
    assert!(output.status.success() && said(&output).ends_with("errors: 0, replies: 20000\n"), "{output:?}");
    assert_eq!(redis.client().ask("DBSIZE"), ":20000\r\n");

    let survey = |args: &[&str]| said(&run(&mut cli_as("surveyor", &proxy, args)));
    let mut found: Vec<String> =
        survey(&["--scan", "--pattern", "app:1234?"]).lines().map(str::to_owned).collect();
    found.sort();
    assert_eq!(found, (0..10).map(|last| format!("app:1234{last}")).collect::<Vec<_>>());
    let mut all: Vec<String> = survey(&["--scan"]).lines().map(str::to_owned).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 20_000);

    let big = survey(&["--bigkeys"]);
    for line in [
        "Sampled 20000 keys in the keyspace!",
        "Biggest string found '\"app:biggest\"' has 100000 bytes",
        "Biggest   list found '\"app:list\"' has 3 items",
        "Biggest   hash found '\"app:hash\"' has 2 fields",
        "Biggest stream found '\"app:stream\"' has 1 entries",
        "Biggest   zset found '\"app:zset\"' has 2 members",
        "Biggest    set found '\"app:set\"' has 1 members",
        "19995 strings with ",
    ] {
        assert!(big.contains(line), "{line}\n{big}");
    }
    let memory = survey(&["--memkeys"]);
    assert!(memory.contains("Biggest string found '\"app:biggest\"' has 1"), "{memory}");
    proxy.assert_no_panic();
}

#[test]
fn redis_cli_counts_what_is_refused_in_bulk_and_loads_the_rest() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::with_users(&redis, &format!("{USERS}{MASS_USERS}"), "");
    let requests: Vec<u8> = (0..3_000)
        .flat_map(|number: u32| match number % 3 {
            0 => request(&["SET", &format!("app:{number}"), "x"]),
            1 => request(&["SET", &format!("foreign:{number}"), "x"]),
            _ => request(&["DEL", &format!("app:{number}")]),
        })
        .collect();
    let output = pipe(&proxy, &requests);
    assert!(!output.status.success(), "{output:?}");
    assert!(said(&output).ends_with("errors: 2000, replies: 3000\n"), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr).matches("NOPERM").count(), 2000);
    assert_eq!(redis.client().ask("DBSIZE"), ":1000\r\n");
}

#[test]
fn healthcheck_tells_whether_listener_and_upstream_answer() {
    let mut redis = Redis::start(&[]);
    let mut proxy = Proxy::standard(&redis);
    let yaml = std::fs::read_to_string(proxy.config_path()).unwrap();
    let yaml = yaml.replacen("127.0.0.1:0", &format!("0.0.0.0:{}", proxy.port(0)), 1);
    let config = proxy.dir.write("health.yaml", yaml);
    let health = || {
        Command::new(env!("CARGO_BIN_EXE_redkeep"))
            .args(["healthcheck", "--config"])
            .arg(&config)
            .output()
            .unwrap()
    };
    let output = health();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    redis.kill();
    let output = health();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("unhealthy: upstream unix:"));
    redis.start_again();
    proxy.signal("-TERM");
    proxy.wait();
    let output = health();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("unhealthy: listener 0.0.0.0:"));
}
