//! The `redis` crate: 0.24, which many programs still have, and the newest.

use super::block_on;
use crate::support::{Proxy, Redis, unique};

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
