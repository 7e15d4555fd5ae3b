//! What a server tells about itself on the internal port.

use std::sync::{Arc, Weak};

use berth_dataplane::http::Health;
use berth_dataplane::redis::{Backlog, RedisLink};
use serde_json::{Value, json};

use crate::core::Core;

/// Adds the server's checks and sections. Health may outlive the server, so it does not keep it alive.
pub(crate) fn describe(core: &Arc<Core>, health: &Health) {
    if let Some(link) = &core.link {
        let asked = link.clone();
        health.check("redis", move || unhealthy(&asked));
        let asked = link.clone();
        health.section("redis", move || json!(asked.health()));
    }
    let section = |name: &'static str, describe: fn(&Core) -> Value| {
        let core: Weak<Core> = Arc::downgrade(core);
        health.section(name, move || {
            core.upgrade().map_or(Value::Null, |core| describe(&core))
        });
    };
    section("connections", |core| {
        let waiting = core.connections.waiting();
        json!({
            "open": waiting.connections,
            "slowReceivers": waiting.slow,
            "bufferedBytes": waiting.bytes,
        })
    });
    section("rooms", |core| json!(core.rooms.len()));
    section("relay", |core| {
        json!({
            "inbox": core.own.token(),
            "laneNotices": core.lane.len(),
            "inboxMessages": core.inbox.get().map(Backlog::messages),
            "seatCalls": core.seating.len(),
            "leaseAgeMs": core.lease.age().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        })
    });
    section("awaited", |core| json!(core.deadlines.len()));
    section("clients", |core| json!(core.clients.len()));
    section("ice", |core| core.ice.describe());
    section("auth", |core| {
        core.keyring
            .describe(&core.secrets, &core.settings.load().cluster)
    });
}

fn unhealthy(link: &RedisLink) -> Option<String> {
    if !link.healthy() {
        return Some("not answering, or its circuit is open".to_owned());
    }
    (!link.health().subscriptions_up).then(|| "not subscribed".to_owned())
}
