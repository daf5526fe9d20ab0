//! The `redis` crate: 0.24, which many programs still have, and the newest.

use std::time::Duration;

use redis::{AsyncCommands, Commands, PushInfo, PushKind, RedisResult};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::block_on;
use crate::support::{Proxy, Redis, SOON, pause, unique};

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

/// A client of the newest crate over TLS; `query` is the end of its URL.
fn tls_client(proxy: &Proxy, user: &str, query: &str) -> redis::Client {
    let url = format!("rediss://{user}:secret@localhost:{}/0{query}", proxy.port(0));
    let root = std::fs::read(&proxy.certs.ca).unwrap();
    redis::Client::build_with_tls(url, redis::TlsCertificates { client_tls: None, root_cert: Some(root) })
        .unwrap()
}

#[test]
fn one_connection_of_the_redis_crate_gives_each_of_many_tasks_its_own_reply() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    block_on(async {
        for query in ["", "?protocol=resp3"] {
            let client = tls_client(&proxy, "app", query);
            let connection = client.get_multiplexed_async_connection().await.unwrap();
            let tasks: Vec<_> = (0..100)
                .map(|number: i64| {
                    let mut connection = connection.clone();
                    tokio::task::spawn_local(async move {
                        let key = unique("app:task");
                        let () = connection.set(&key, number).await.unwrap();
                        for turn in 1..=5 {
                            let mut pipe = redis::pipe();
                            pipe.get(&key).incr(&key, 1).get(&key);
                            if turn % 2 == 0 {
                                pipe.atomic();
                            }
                            let replies: (i64, i64, i64) = pipe.query_async(&mut connection).await.unwrap();
                            let last = number + turn;
                            assert_eq!(replies, (last - 1, last, last));
                            let refused: RedisResult<String> = connection.get("foreign").await;
                            assert_eq!(refused.unwrap_err().code(), Some("NOPERM"));
                        }
                    })
                })
                .collect();
            // Some stop waiting; what comes for them must reach nobody else.
            for task in tasks.iter().step_by(7) {
                task.abort();
            }
            for (number, task) in tasks.into_iter().enumerate() {
                let ended = task.await;
                assert!(ended.is_ok() || number % 7 == 0, "{ended:?}");
            }
        }
    });
    proxy.assert_no_panic();
}

#[test]
fn blocking_connections_of_the_redis_crate_watch_pop_and_subscribe() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    for query in ["", "?protocol=resp3"] {
        let client = tls_client(&proxy, "app", query);
        let connect = || client.get_connection_with_timeout(SOON).unwrap();
        let (mut one, mut two) = (connect(), connect());
        let (key, list, channel) = (unique("app:watch"), unique("app:list"), unique("app:channel"));

        let mut tries = 0;
        let (sum,): (i64,) = redis::transaction(&mut one, &[&key], |connection, pipe| {
            let value: Option<i64> = connection.get(&key)?;
            tries += 1;
            if tries == 1 {
                let () = two.set(&key, 40)?;
            }
            pipe.atomic().incr(&key, value.unwrap_or(0) + 2 - 40).query(connection)
        })
        .unwrap();
        assert_eq!((sum, tries), (42, 2), "the first try was in another client's way");

        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| one.blpop::<_, (String, String)>(&list, 5.0).unwrap());
            pause(Duration::from_millis(50));
            let () = two.rpush(&list, "job").unwrap();
            assert_eq!(waiting.join().unwrap(), (list.clone(), "job".to_owned()));
        });

        one.set_read_timeout(Some(SOON)).unwrap();
        if query.is_empty() {
            let mut pubsub = one.as_pubsub();
            pubsub.subscribe(&channel).unwrap();
            pubsub.psubscribe("app:*").unwrap();
            assert_eq!(two.publish::<_, _, i64>(&channel, "hello").unwrap(), 2);
            for pattern in [None, Some("app:*".to_owned())] {
                let message = pubsub.get_message().unwrap();
                let said = (message.get_channel_name(), message.get_payload::<String>().unwrap());
                assert_eq!(said, (channel.as_str(), "hello".to_owned()));
                assert_eq!(message.get_pattern::<Option<String>>().unwrap(), pattern);
            }
            drop(pubsub);
            // The crate leaves its subscriptions when the borrow ends, and goes on with commands.
            assert_eq!(one.get::<_, i64>(&key).unwrap(), 42);
        }
    }
    proxy.assert_no_panic();
}

/// The next push of this kind.
async fn pushed(pushes: &mut UnboundedReceiver<PushInfo>, kind: PushKind) -> Vec<redis::Value> {
    loop {
        let push = timeout(SOON, pushes.recv()).await.expect("a push came").unwrap();
        if push.kind == kind {
            return push.data;
        }
    }
}

#[test]
fn the_redis_crate_hears_messages_and_invalidations_beside_its_commands() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    block_on(async {
        let client = tls_client(&proxy, "app", "?protocol=resp3");
        let (sender, mut pushes) = unbounded_channel();
        let config = redis::AsyncConnectionConfig::new().set_push_sender(sender);
        let mut one = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        let mut two = client.get_multiplexed_async_connection().await.unwrap();
        let (key, channel) = (unique("app:cached"), unique("app:channel"));
        one.subscribe(&channel).await.unwrap();
        let () = redis::cmd("CLIENT").arg("TRACKING").arg("ON").query_async(&mut one).await.unwrap();
        let bulk = |text: &str| redis::Value::BulkString(text.as_bytes().to_vec());
        for number in 0..20 {
            assert_eq!(one.get::<_, Option<i64>>(&key).await.unwrap(), (number > 0).then_some(number));
            let () = two.set(&key, number + 1).await.unwrap();
            let invalid = pushed(&mut pushes, PushKind::Invalidate).await;
            assert_eq!(invalid, [redis::Value::Array(vec![bulk(&key)])]);
            assert_eq!(two.publish::<_, _, i64>(&channel, number).await.unwrap(), 1);
            let message = pushed(&mut pushes, PushKind::Message).await;
            assert_eq!(message, [bulk(&channel), bulk(&number.to_string())]);
        }
        one.unsubscribe(&channel).await.unwrap();
        assert_eq!(two.publish::<_, _, i64>(&channel, "nobody").await.unwrap(), 0);
    });
    proxy.assert_no_panic();
}

#[test]
fn scripts_of_the_redis_crate_run_with_the_rights_of_their_user() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    block_on(async {
        for query in ["", "?protocol=resp3"] {
            let mut connection =
                tls_client(&proxy, "admin", query).get_multiplexed_async_connection().await.unwrap();
            let key = unique("app:script");
            let script = redis::Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
            for sum in [5, 10] {
                let reply: i64 = script.key(&key).arg(5).invoke_async(&mut connection).await.unwrap();
                assert_eq!(reply, sum);
                // The crate loads it again when the server has forgotten it.
                let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();
            }
            let mut app = tls_client(&proxy, "app", query).get_multiplexed_async_connection().await.unwrap();
            let sum: i64 = script.key(&key).arg(5).invoke_async(&mut app).await.unwrap();
            assert_eq!(sum, 15);
            let other = unique("other:script");
            let refused: RedisResult<i64> = script.key(&other).arg(5).invoke_async(&mut app).await;
            assert_eq!(refused.unwrap_err().code(), Some("NOPERM"));
            assert_eq!(connection.exists::<_, i64>(&other).await.unwrap(), 0);
        }
    });
    proxy.assert_no_panic();
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
