//! Subscriptions and publications on one server.

use berth_dataplane::redis::{Publication, SubscriptionEvent};
use berth_dataplane::testing::RedisServer;
use tokio::time::timeout;

use crate::support::{LONG, link, message, next, set, until};

#[tokio::test]
async fn publish_tells_receivers_in_order() {
    let server = RedisServer::start();
    let link = link(&server).await;
    assert_eq!(link.publish("inbox", b"nobody").await.unwrap(), 0);
    let mut inbox = link.subscribe("inbox", 100);
    let mut other = link.subscribe("other", 100);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    assert_eq!(next(&mut other).await, SubscriptionEvent::Subscribed);
    assert!(inbox.is_subscribed());
    let messages =
        [("inbox", "a"), ("nobody", "b"), ("inbox", "c"), ("other", "d")].map(|(channel, payload)| {
            Publication {
                channel,
                payload: payload.as_bytes(),
            }
        });
    assert_eq!(link.publish_all(&messages).await.unwrap(), [1, 0, 1, 1].map(Some));
    assert_eq!(link.publish_all(&[]).await.unwrap(), Vec::new());
    assert_eq!(
        (next(&mut inbox).await, next(&mut inbox).await),
        (message("a"), message("c"))
    );
    assert_eq!(next(&mut other).await, message("d"));
    assert!(inbox.try_next().is_none());
}

#[tokio::test]
async fn two_readers_of_one_channel_and_unsubscribe_on_drop() {
    let server = RedisServer::start();
    let link = link(&server).await;
    let mut first = link.subscribe("inbox", 10);
    assert_eq!(next(&mut first).await, SubscriptionEvent::Subscribed);
    let mut second = link.subscribe("inbox", 10);
    assert_eq!(next(&mut second).await, SubscriptionEvent::Subscribed);
    assert_eq!(link.publish("inbox", b"x").await.unwrap(), 1);
    assert_eq!(
        (next(&mut first).await, next(&mut second).await),
        (message("x"), message("x"))
    );
    drop(first);
    assert_eq!(link.publish("inbox", b"y").await.unwrap(), 1);
    assert_eq!(next(&mut second).await, message("y"));
    drop(second);
    until("unsubscribed", || {
        server.command("PUBSUB NUMSUB inbox").contains(":0")
    })
    .await;
    let mut third = link.subscribe("inbox", 10);
    assert_eq!(next(&mut third).await, SubscriptionEvent::Subscribed);
}

#[tokio::test]
async fn slow_reader_loses_and_is_told() {
    let server = RedisServer::start();
    let link = link(&server).await;
    let mut inbox = link.subscribe("inbox", 3);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    for payload in [b"a", b"b", b"c", b"d", b"e"] {
        link.publish("inbox", payload).await.unwrap();
    }
    until("the loss was counted", || link.metrics().lost_messages.get() == 2).await;
    for text in ["a", "b", "c"] {
        assert_eq!(next(&mut inbox).await, message(text));
    }
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Lost(2));
}

#[tokio::test]
async fn subscription_resumes_after_kill_and_restart() {
    let mut server = RedisServer::start();
    let link = link(&server).await;
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    for _ in 0..2 {
        link.publish("inbox", b"before").await.unwrap();
        assert_eq!(next(&mut inbox).await, message("before"));
        server.kill();
        assert_eq!(next(&mut inbox).await, SubscriptionEvent::Disconnected);
        assert!(!inbox.is_subscribed() && !link.health().subscriptions_up);
        server.restart();
        assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
        timeout(LONG, link.wait_healthy()).await.unwrap();
        assert_eq!(link.publish("inbox", b"after").await.unwrap(), 1);
        assert_eq!(next(&mut inbox).await, message("after"));
    }
}

#[tokio::test]
async fn cut_subscription_resumes_while_commands_go_on() {
    let server = RedisServer::start();
    let link = link(&server).await;
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    server.command("CLIENT KILL TYPE pubsub");
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Disconnected);
    assert!(link.healthy());
    set(&link, "a", "1").await.unwrap();
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
}

#[tokio::test]
async fn connections_end_with_the_last_clone() {
    let server = RedisServer::start();
    let link = link(&server).await;
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    let clone = link.clone();
    drop(link);
    set(&clone, "a", "1").await.unwrap();
    drop(clone);
    assert_eq!(timeout(LONG, inbox.next()).await.unwrap(), None);
    until("all connections closed", || {
        !server.command("CLIENT LIST").contains("resp=3")
    })
    .await;
}
