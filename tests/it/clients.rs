//! Clients that users bring, over TLS with user and password.

use std::process::{Command, Output};

use crate::support::proxy::USERS;
use crate::support::redis::which;
use crate::support::{Proxy, Redis, unique};

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn tls_args(proxy: &Proxy) -> Vec<String> {
    let ca = proxy.certs.ca.to_str().unwrap().to_owned();
    let port = proxy.port(0).to_string();
    ["-h", "127.0.0.1", "-p", &port, "--tls", "--cacert", &ca].map(str::to_owned).to_vec()
}

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

#[test]
fn redis_py_does_what_applications_do() {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python");
    assert!(std::path::Path::new(python).exists(), "no virtual environment for redis-py: make setup");
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    let output = run(Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/redis_py.py"))
        .env("REDKEEP_TEST_HOST", "localhost")
        .env("REDKEEP_TEST_PORT", proxy.port(0).to_string())
        .env("REDKEEP_TEST_CA", &proxy.certs.ca)
        .env("REDKEEP_TEST_USER", "app")
        .env("REDKEEP_TEST_PASSWORD", "secret")
        .env("REDKEEP_TEST_PREFIX", "app:"));
    let said = String::from_utf8(output.stdout).unwrap();
    let closing = said.lines().last().unwrap();
    let passed: u32 = closing.split(' ').next().unwrap().parse().unwrap();
    assert!(passed >= 30 && closing.ends_with(", 0 failed"), "{said}");
    proxy.assert_no_panic();
}

/// What the next two tests do with their client; a macro, since the two versions of the crate share no type.
macro_rules! exercise {
    ($redis:ident, $manager:expr, $prefix:expr) => {{
        let mut manager = $manager;
        let key = unique($prefix);
        let () = $redis::cmd("SET").arg(&key).arg(41).query_async(&mut manager).await.unwrap();
        let value: i64 = $redis::cmd("INCR").arg(&key).query_async(&mut manager).await.unwrap();
        assert_eq!(value, 42);
        let (one, two): (i64, i64) =
            $redis::pipe().atomic().incr(&key, 1).incr(&key, 1).query_async(&mut manager).await.unwrap();
        assert_eq!((one, two), (43, 44));
        let many: Vec<i64> = {
            let mut pipe = $redis::pipe();
            (0..100).for_each(|_| {
                pipe.incr(&key, 1);
            });
            pipe.query_async(&mut manager).await.unwrap()
        };
        assert_eq!(many, (45..145).collect::<Vec<i64>>());
        manager
    }};
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A proxy whose default user has the password `sesame`, by `requirepass_file`.
fn with_requirepass(redis: &Redis) -> Proxy {
    Proxy::start(|dir, certs| {
        let password = dir.write("password", "sesame\n");
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\n    tls:\n      cert_file: {}\n      key_file: {}\n  - bind: 127.0.0.1:0\n\
             upstream:\n  address: unix:{}\nacl:\n  requirepass_file: {}\nlog:\n  format: json\n",
            certs.cert.display(),
            certs.key.display(),
            redis.socket().display(),
            password.display()
        )
    })
}

#[test]
fn the_redis_crate_024_connects_by_url_with_a_password() {
    let redis = Redis::start(&[]);
    let proxy = with_requirepass(&redis);
    block_on(async {
        let url = format!("redis://:sesame@127.0.0.1:{}/3", proxy.port(1));
        let client = redis_024::Client::open(url).unwrap();
        let manager = redis_024::aio::ConnectionManager::new(client).await.unwrap();
        let mut manager = exercise!(redis_024, manager, "m:");
        let size: i64 = redis_024::cmd("DBSIZE").query_async(&mut manager).await.unwrap();
        assert_eq!(size, 1, "the database of the URL is used");
        let wrong = format!("redis://:wrong@127.0.0.1:{}/3", proxy.port(1));
        let error = redis_024::aio::ConnectionManager::new(redis_024::Client::open(wrong).unwrap()).await;
        assert!(error.is_err());
    });
}

#[test]
fn the_redis_crate_024_connects_over_tls() {
    let redis = Redis::start(&[]);
    let proxy = with_requirepass(&redis);
    block_on(async {
        let url = format!("rediss://default:sesame@localhost:{}/0", proxy.port(0));
        let root = std::fs::read(&proxy.certs.ca).unwrap();
        let certs = redis_024::TlsCertificates { client_tls: None, root_cert: Some(root) };
        let client = redis_024::Client::build_with_tls(url, certs).unwrap();
        let manager = redis_024::aio::ConnectionManager::new(client).await.unwrap();
        exercise!(redis_024, manager, "m:");
    });
}

#[test]
fn the_newest_redis_crate_connects_over_tls_in_both_protocols() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    block_on(async {
        for query in ["", "?protocol=resp3"] {
            let url = format!("rediss://app:secret@localhost:{}/0{query}", proxy.port(0));
            let root = std::fs::read(&proxy.certs.ca).unwrap();
            let certs = redis::TlsCertificates { client_tls: None, root_cert: Some(root) };
            let client = redis::Client::build_with_tls(url, certs).unwrap();
            let manager = redis::aio::ConnectionManager::new(client).await.unwrap();
            exercise!(redis, manager, "app:crate");
        }
    });
}

#[test]
fn a_connection_manager_survives_the_restart_of_the_upstream() {
    let mut upstream = Redis::start(&[]);
    let proxy = with_requirepass(&upstream);
    block_on(async {
        let url = format!("redis://:sesame@127.0.0.1:{}/0", proxy.port(1));
        let client = redis::Client::open(url).unwrap();
        let mut manager = redis::aio::ConnectionManager::new(client).await.unwrap();
        let () = redis::cmd("SET").arg("k").arg(1).query_async(&mut manager).await.unwrap();
        upstream.kill();
        let lost: redis::RedisResult<()> = redis::cmd("SET").arg("k").arg(1).query_async(&mut manager).await;
        assert!(lost.is_err());
        upstream.start_again();
        let mut tries = 0;
        while redis::cmd("SET").arg("k").arg(1).query_async::<()>(&mut manager).await.is_err() {
            tries += 1;
            assert!(tries < 200);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
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
