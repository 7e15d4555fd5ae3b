//! Links and what is asked of them.

use std::time::{Duration, Instant};

use berth_dataplane::redis::{
    LinkOptions, RedisEndpoint, RedisError, RedisLink, RedisMetrics, Subscription, SubscriptionEvent, cmd,
};
use berth_dataplane::testing::TestRedis;
use tokio::time::timeout;

/// Longest wait for anything here; only a hang reaches it.
pub(crate) const LONG: Duration = Duration::from_mins(1);

pub(crate) fn link_with(server: &impl TestRedis, options: LinkOptions) -> RedisLink {
    RedisLink::start(
        RedisEndpoint::from_url(&server.url()).unwrap(),
        options,
        RedisMetrics::unregistered(),
    )
}

pub(crate) async fn link(server: &impl TestRedis) -> RedisLink {
    let link = link_with(server, LinkOptions::default());
    timeout(LONG, link.wait_healthy()).await.expect("never connected");
    link
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn next(subscription: &mut Subscription) -> SubscriptionEvent {
    timeout(LONG, subscription.next())
        .await
        .expect("no event")
        .expect("subscription ended")
}

pub(crate) async fn set(link: &RedisLink, key: &str, value: &str) -> Result<(), RedisError> {
    link.command(cmd("SET").arg(key).arg(value)).await
}

pub(crate) async fn get(link: &RedisLink, key: &str) -> Option<String> {
    link.command(cmd("GET").arg(key)).await.unwrap()
}

pub(crate) fn message(text: &'static str) -> SubscriptionEvent {
    SubscriptionEvent::Message(text.as_bytes().into())
}
