//! The `fred` crate, which opens with an inline HELLO. It asks INFO for the server's version, and does without the
//! answer where a user may not have it, as here.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::SubscriberClient;
use fred::prelude::*;
use fred::rustls::ClientConfig;
use fred::types::{Message, MessageKind, RespVersion};
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use super::block_on;
use crate::support::{Proxy, Redis, SOON, unique};

const VERSIONS: [RespVersion; 2] = [RespVersion::RESP2, RespVersion::RESP3];

fn builder(proxy: &Proxy, version: RespVersion) -> Builder {
    let tls: Arc<ClientConfig> = proxy.certs.client_config(false);
    let mut builder = Builder::from_config(Config {
        username: Some("app".to_owned()),
        password: Some("secret".to_owned()),
        server: ServerConfig::new_centralized("localhost", proxy.port(0)),
        tls: Some(TlsConnector::from(ClientConfig::clone(&tls)).into()),
        version,
        ..Config::default()
    });
    builder
        .with_connection_config(|config| {
            config.connection_timeout = SOON;
            config.internal_command_timeout = SOON;
        })
        .with_performance_config(|config| config.default_command_timeout = SOON)
        .set_policy(ReconnectPolicy::new_constant(100, 20));
    builder
}

async fn connected(proxy: &Proxy, version: RespVersion) -> Client {
    let client = builder(proxy, version).build().unwrap();
    client.init().await.unwrap();
    client
}

/// Publishes until so many subscriptions hear it: fred does not wait until it has subscribed.
async fn reaches(publisher: &Client, channel: &str, text: &str, subscriptions: i64) {
    let mut tries = 0;
    while publisher.publish::<i64, _, _>(channel, text).await.ok() != Some(subscriptions) {
        tries += 1;
        assert!(tries < 500, "{text} on {channel} never reached {subscriptions} subscriptions");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for this message, as one of this kind.
async fn hears(messages: &mut Receiver<Message>, kind: MessageKind, channel: &str, text: &str) {
    loop {
        let message = timeout(SOON, messages.recv()).await.expect("a message came").unwrap();
        let said: String = message.value.convert().unwrap();
        if message.kind == kind && message.channel == channel && said == text {
            return;
        }
    }
}

#[test]
fn fred_sends_commands_pipelines_and_transactions() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    block_on(async {
        for version in VERSIONS {
            let client = connected(&proxy, version).await;
            let (key, other) = (unique("app:fred"), unique("app:fred"));
            let () = client.set(&key, "a\r\nb", None, None, false).await.unwrap();
            assert_eq!(client.get::<String, _>(&key).await.unwrap(), "a\r\nb");
            assert_eq!(client.get::<Option<String>, _>(&other).await.unwrap(), None);

            let pipeline = client.pipeline();
            for _ in 0..1000 {
                let () = pipeline.incr(&other).await.unwrap();
            }
            assert_eq!(pipeline.all::<Vec<i64>>().await.unwrap(), (1..=1000).collect::<Vec<i64>>());

            let transaction = client.multi();
            let () = transaction.incr(&other).await.unwrap();
            let () = transaction.get(&key).await.unwrap();
            let replies: (i64, String) = transaction.exec(true).await.unwrap();
            assert_eq!(replies, (1001, "a\r\nb".to_owned()));

            let refused = client.get::<String, _>("foreign").await.unwrap_err();
            assert!(refused.to_string().contains("NOPERM"), "{refused}");
            // fred sends the transaction command by command, and gives up at the first refusal.
            let transaction = client.multi();
            let () = transaction.incr(&other).await.unwrap();
            let () = transaction.get("foreign").await.unwrap();
            assert!(transaction.exec::<(i64, String)>(true).await.is_err());
            assert_eq!(client.get::<i64, _>(&other).await.unwrap(), 1001);
            client.quit().await.unwrap();
        }
    });
    proxy.assert_no_panic();
}

#[test]
fn fred_gives_each_of_many_tasks_its_own_reply_while_one_blocks() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    block_on(async {
        for version in VERSIONS {
            let (client, blocked) =
                (connected(&proxy, version.clone()).await, connected(&proxy, version).await);
            let list = unique("app:list");
            let waiting = tokio::task::spawn_local({
                let list = list.clone();
                async move { blocked.blpop::<(String, String), _>(list, 5.0).await }
            });
            let tasks: Vec<_> = (0..100)
                .map(|number| {
                    let client = client.clone();
                    tokio::task::spawn_local(async move {
                        let key = format!("app:task:{number}");
                        for _ in 0..10 {
                            let () = client.set(&key, number, None, None, false).await.unwrap();
                            assert_eq!(client.get::<i64, _>(&key).await.unwrap(), number);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert!(!waiting.is_finished(), "nothing was pushed yet");
            let () = client.rpush(&list, "job").await.unwrap();
            assert_eq!(waiting.await.unwrap().unwrap(), (list, "job".to_owned()));
        }
    });
    proxy.assert_no_panic();
}

#[test]
fn fred_subscribes_and_subscribes_again_by_itself_when_it_was_disconnected() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    block_on(async {
        for version in VERSIONS {
            let (one, two) = (unique("app:channel"), unique("app:channel"));
            let publisher = connected(&proxy, version.clone()).await;
            let subscriber: SubscriberClient = builder(&proxy, version).build_subscriber_client().unwrap();
            subscriber.init().await.unwrap();
            let mut messages = subscriber.message_rx();
            let kept = subscriber.manage_subscriptions();
            subscriber.subscribe(vec![one.clone(), two.clone()]).await.unwrap();
            reaches(&publisher, &one, "first", 1).await;
            hears(&mut messages, MessageKind::Message, &one, "first").await;
            subscriber.psubscribe("app:*").await.unwrap();
            reaches(&publisher, &two, "second", 2).await;
            hears(&mut messages, MessageKind::PMessage, &two, "second").await;
            subscriber.unsubscribe(two.clone()).await.unwrap();
            reaches(&publisher, &two, "third", 1).await;
            hears(&mut messages, MessageKind::PMessage, &two, "third").await;

            let mut admin = proxy.tls().login("admin", "secret");
            assert_eq!(admin.ask("CLIENT KILL USER app SKIPME yes"), ":2\r\n");
            // Both connect again, and the subscriber to what it still had: one channel and the pattern.
            reaches(&publisher, &one, "back", 2).await;
            hears(&mut messages, MessageKind::Message, &one, "back").await;
            assert_eq!(publisher.publish::<i64, _, _>(&two, "fourth").await.unwrap(), 1);
            hears(&mut messages, MessageKind::PMessage, &two, "fourth").await;
            subscriber.quit().await.unwrap();
            publisher.quit().await.unwrap();
            kept.abort();
        }
    });
    proxy.assert_no_panic();
}

#[test]
fn fred_is_told_what_has_changed_of_what_it_caches() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    block_on(async {
        let (client, other) =
            (connected(&proxy, RespVersion::RESP3).await, connected(&proxy, RespVersion::RESP3).await);
        let mut invalid = client.invalidation_rx();
        client.start_tracking(None, false, false, false, false).await.unwrap();
        for number in 0..20 {
            let (read, unread) = (unique("app:read"), unique("app:unread"));
            assert_eq!(client.get::<Option<i64>, _>(&read).await.unwrap(), None);
            for key in [&unread, &read] {
                let () = other.set(key, number, None, None, false).await.unwrap();
            }
            let told = timeout(SOON, invalid.recv()).await.expect("an invalidation came").unwrap();
            assert_eq!(told.keys, [Key::from(read.as_str())]);
            assert_eq!(client.get::<i64, _>(&read).await.unwrap(), number);
        }
        client.stop_tracking().await.unwrap();
    });
    proxy.assert_no_panic();
}

#[test]
fn fred_comes_back_after_the_restart_of_the_upstream() {
    let mut redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    block_on(async {
        let client = connected(&proxy, RespVersion::RESP3).await;
        let key = unique("app:restart");
        let () = client.set(&key, 1, None, None, false).await.unwrap();
        redis.kill();
        let lost = client.set::<(), _, _>(&key, 2, None, None, false).await.unwrap_err();
        let told = lost.to_string();
        assert!(told.contains("LOADING") || told.contains("INDOUBT"), "{told}");
        redis.start_again();
        let mut tries = 0;
        while client.set::<(), _, _>(&key, 3, None, None, false).await.is_err() {
            tries += 1;
            assert!(tries < 200, "fred did not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(client.get::<i64, _>(&key).await.unwrap(), 3);
    });
    proxy.assert_no_panic();
}

#[test]
fn fred_with_a_wrong_password_is_refused() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::standard(&redis);
    block_on(async {
        for version in VERSIONS {
            let mut builder = builder(&proxy, version);
            builder.with_config(|config| {
                config.password = Some("wrong".to_owned());
                config.fail_fast = true;
            });
            let error = builder.build().unwrap().init().await.expect_err("a refused login");
            assert_eq!(error.kind(), &ErrorKind::Auth, "{error}");
        }
    });
}
