//! The connection for subscriptions: kept up while anybody subscribes, resubscribed after each reconnect.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::redis::aio::MultiplexedConnection;
use ::redis::{PushInfo, PushKind, Value};
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::keeper::{Keeper, LostSignal, Pings, check};
use super::subscription::{Inbox, Subscription};

/// All subscriptions of a link.
pub(super) struct Subscriber {
    channels: Mutex<HashMap<String, Channel>>,
    /// Somebody subscribed or unsubscribed.
    changed: Notify,
    connected: AtomicBool,
    lost_messages: Counter,
}

/// One channel and who reads it.
#[derive(Default)]
struct Channel {
    inboxes: Vec<Arc<Inbox>>,
    /// SUBSCRIBE was sent on the present connection.
    requested: bool,
    /// The server confirmed it on the present connection.
    confirmed: bool,
}

impl Subscriber {
    pub(super) fn new(lost_messages: Counter) -> Self {
        Self {
            channels: Mutex::default(),
            changed: Notify::new(),
            connected: AtomicBool::new(false),
            lost_messages,
        }
    }

    pub(super) fn add(self: &Arc<Self>, channel: &str, capacity: usize) -> Subscription {
        let inbox = Arc::new(Inbox::new(capacity));
        {
            let mut channels = self.channels.lock();
            let entry = channels.entry(channel.to_owned()).or_default();
            if entry.confirmed {
                inbox.subscribed();
            }
            entry.inboxes.push(Arc::clone(&inbox));
        }
        self.changed.notify_one();
        Subscription {
            channel: channel.to_owned(),
            inbox,
            subscriber: Arc::clone(self),
        }
    }

    pub(super) fn remove(&self, channel: &str, inbox: &Arc<Inbox>) {
        if let Some(entry) = self.channels.lock().get_mut(channel) {
            entry.inboxes.retain(|other| !Arc::ptr_eq(other, inbox));
        }
        // The entry itself goes when UNSUBSCRIBE has been sent.
        self.changed.notify_one();
    }

    /// Whether what was asked for stands: nothing subscribed, or connected.
    pub(super) fn is_up(&self) -> bool {
        self.connected.load(Ordering::Relaxed) || self.channels.lock().is_empty()
    }

    /// Keeps the connection until `stop`.
    pub(super) async fn run(self: Arc<Self>, mut keeper: Keeper, stop: CancellationToken) {
        let mut demotions = keeper.news().watch_demotions();
        stop.run_until_cancelled(async {
            let mut demoted = false;
            loop {
                while self.channels.lock().is_empty() {
                    self.changed.notified().await;
                }
                let lost = LostSignal::default();
                let mut connection = keeper.connect(self.route(lost.clone())).await;
                demoted |= demotions.has_changed().unwrap_or_default();
                demotions.mark_unchanged();
                if demoted && let Err(error) = check(&mut connection, true).await {
                    keeper.unusable(&error);
                    continue;
                }
                self.connected.store(true, Ordering::Relaxed);
                tokio::select! {
                    () = self.serve(connection, &lost) => demoted = false,
                    // The link's own news live as long as this task.
                    _ = demotions.changed() => demoted = true,
                }
                self.disconnected();
            }
        })
        .await;
        for channel in self.channels.lock().values() {
            channel.inboxes.iter().for_each(|inbox| inbox.close());
        }
    }

    /// Follows subscriptions on one connection until it is lost.
    async fn serve(&self, mut connection: MultiplexedConnection, lost: &LostSignal) {
        let mut pings = Pings::new();
        loop {
            let (subscribe, unsubscribe) = self.outstanding();
            if !unsubscribe.is_empty() && connection.unsubscribe(&unsubscribe).await.is_err() {
                return;
            }
            // The confirmation reaches the readers through the push, in order with the messages.
            if !subscribe.is_empty() && connection.subscribe(&subscribe).await.is_err() {
                return;
            }
            tokio::select! {
                () = lost.wait() => return,
                () = self.changed.notified() => {}
                alive = pings.next(&mut connection) => if !alive { return },
            }
        }
    }

    /// What to subscribe and to unsubscribe on the present connection.
    fn outstanding(&self) -> (Vec<String>, Vec<String>) {
        let mut channels = self.channels.lock();
        let (mut subscribe, mut unsubscribe) = (Vec::new(), Vec::new());
        channels.retain(|name, channel| {
            if channel.inboxes.is_empty() {
                if channel.requested {
                    unsubscribe.push(name.clone());
                }
                return false;
            }
            if !channel.requested {
                channel.requested = true;
                subscribe.push(name.clone());
            }
            true
        });
        (subscribe, unsubscribe)
    }

    fn disconnected(&self) {
        self.connected.store(false, Ordering::Relaxed);
        for channel in self.channels.lock().values_mut() {
            channel.requested = false;
            channel.confirmed = false;
            channel.inboxes.iter().for_each(|inbox| inbox.disconnected());
        }
    }

    /// What the connection calls for every push. It must not wait: a full inbox loses the message and counts it.
    fn route(
        self: &Arc<Self>,
        lost: LostSignal,
    ) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
        let this = Arc::clone(self);
        move |push: PushInfo| {
            match push.kind {
                PushKind::Disconnection => lost.set(),
                PushKind::Message => this.deliver(push.data),
                PushKind::Subscribe => this.confirmed(&push.data),
                _ => {}
            }
            Ok(())
        }
    }

    fn deliver(&self, data: Vec<Value>) {
        let mut data = data.into_iter();
        let (Some(Value::BulkString(name)), Some(Value::BulkString(payload))) = (data.next(), data.next())
        else {
            return;
        };
        let Ok(name) = std::str::from_utf8(&name) else {
            return;
        };
        let payload = Bytes::from(payload);
        if let Some(channel) = self.channels.lock().get(name) {
            for inbox in &channel.inboxes {
                if !inbox.message(payload.clone()) {
                    self.lost_messages.inc();
                }
            }
        }
    }

    fn confirmed(&self, data: &[Value]) {
        let Some(Value::BulkString(name)) = data.first() else {
            return;
        };
        let Ok(name) = std::str::from_utf8(name) else {
            return;
        };
        if let Some(channel) = self.channels.lock().get_mut(name) {
            channel.confirmed = true;
            channel.inboxes.iter().for_each(|inbox| inbox.subscribed());
        }
    }
}
