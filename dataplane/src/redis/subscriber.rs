//! A connection for subscriptions: kept up while anybody subscribes, resubscribed after each reconnect.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::redis::{PushInfo, PushKind, RedisResult, Value, cmd};
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::keeper::{Keeper, Kept};
use super::probe::{LostSignal, Pings, Pulse};
use super::subscription::{Inbox, Subscription};

/// The subscriptions on one connection.
pub(super) struct Subscriber {
    state: Mutex<State>,
    /// Somebody subscribed or unsubscribed.
    changed: Notify,
    connected: AtomicBool,
    lost_messages: Counter,
    idle: Idle,
}

/// What becomes of the connection when nobody subscribes any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Idle {
    /// It stays for the next one.
    Stays,
    /// It ends.
    Ends,
}

#[derive(Default)]
struct State {
    channels: HashMap<String, Channel>,
    /// A task keeps the connection, or is about to.
    running: bool,
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

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Lost,
    Demoted,
    /// Nobody subscribes any more, and the task that keeps the connection ends.
    Idle,
}

impl Subscriber {
    pub(super) fn new(lost_messages: Counter, idle: Idle) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            connected: AtomicBool::new(false),
            lost_messages,
            idle,
        }
    }

    pub(super) fn add(self: &Arc<Self>, channel: &str, capacity: usize) -> Subscription {
        let inbox = Arc::new(Inbox::new(capacity));
        {
            let mut state = self.state.lock();
            let entry = state.channels.entry(channel.to_owned()).or_default();
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

    /// Whether the caller has to start [`Subscriber::run`], because it does not run.
    pub(super) fn claim(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().running, true)
    }

    pub(super) fn remove(&self, channel: &str, inbox: &Arc<Inbox>) {
        if let Some(entry) = self.state.lock().channels.get_mut(channel) {
            entry.inboxes.retain(|other| !Arc::ptr_eq(other, inbox));
        }
        // The entry itself goes when UNSUBSCRIBE has been sent.
        self.changed.notify_one();
    }

    /// Whether what was asked for stands: nothing subscribed, or connected.
    pub(super) fn is_up(&self) -> bool {
        self.connected.load(Ordering::Relaxed) || self.state.lock().channels.is_empty()
    }

    /// Keeps the connection until `stop`, or until nobody subscribes if it then [`Idle::Ends`].
    pub(super) async fn run(self: Arc<Self>, mut keeper: Keeper, stop: CancellationToken) {
        let ended = stop
            .run_until_cancelled(async {
                loop {
                    while self.state.lock().channels.is_empty() {
                        self.changed.notified().await;
                    }
                    let lost = LostSignal::default();
                    let kept = keeper.connect(self.route(lost.clone())).await;
                    self.connected.store(true, Ordering::Relaxed);
                    let ended = self.serve(kept, &lost, &mut keeper).await;
                    self.disconnected();
                    match ended {
                        Ended::Lost => {}
                        Ended::Demoted => keeper.tell_demotion(),
                        Ended::Idle => return,
                    }
                }
            })
            .await;
        // It ended by itself: whoever comes next starts it again.
        if ended.is_some() {
            return;
        }
        for channel in self.state.lock().channels.values() {
            channel.inboxes.iter().for_each(|inbox| inbox.close());
        }
    }

    /// Follows subscriptions on one connection until it is lost.
    async fn serve(&self, mut kept: Kept, lost: &LostSignal, keeper: &mut Keeper) -> Ended {
        let mut pings = Pings::new(keeper.demand());
        loop {
            if let Err(error) = self.settle(&mut kept).await {
                keeper.target().learn(&error, &kept.address);
                return Ended::Lost;
            }
            if self.is_idle() {
                return Ended::Idle;
            }
            let pulse = tokio::select! {
                () = lost.wait() => return Ended::Lost,
                () = keeper.superseded(&kept.address) => return Ended::Lost,
                () = self.changed.notified() => continue,
                pulse = pings.next(&mut kept.connection) => pulse,
            };
            match pulse {
                Pulse::Answered | Pulse::Missed => {}
                Pulse::Dead => return Ended::Lost,
                Pulse::Replica => return Ended::Demoted,
            }
        }
    }

    /// Sends what the present connection lacks.
    async fn settle(&self, kept: &mut Kept) -> RedisResult<()> {
        let (subscribe, unsubscribe) = self.outstanding();
        let connection = &mut kept.connection;
        // The confirmation reaches the readers through the push, in order with the messages.
        if kept.sharded {
            for (command, channels) in [("SUNSUBSCRIBE", &unsubscribe), ("SSUBSCRIBE", &subscribe)] {
                for channel in channels {
                    cmd(command).arg(channel).exec_async(connection).await?;
                }
            }
            return Ok(());
        }
        if !unsubscribe.is_empty() {
            connection.unsubscribe(&unsubscribe).await?;
        }
        if !subscribe.is_empty() {
            connection.subscribe(&subscribe).await?;
        }
        Ok(())
    }

    /// Whether the task that keeps the connection ends now.
    fn is_idle(&self) -> bool {
        let mut state = self.state.lock();
        let idle = self.idle == Idle::Ends && state.channels.is_empty();
        state.running &= !idle;
        idle
    }

    /// What to subscribe and to unsubscribe on the present connection.
    fn outstanding(&self) -> (Vec<String>, Vec<String>) {
        let mut state = self.state.lock();
        let (mut subscribe, mut unsubscribe) = (Vec::new(), Vec::new());
        state.channels.retain(|name, channel| {
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
        for channel in self.state.lock().channels.values_mut() {
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
                PushKind::Message | PushKind::SMessage => this.deliver(push.data),
                PushKind::Subscribe | PushKind::SSubscribe => this.confirmed(&push.data),
                // Its slot has left the node. The connection must go, because the crate takes this for the answer to
                // the oldest command, and every later answer for that of a wrong one.
                PushKind::SUnsubscribe if this.is_subscribed(&push.data) => lost.set(),
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
        if let Some(channel) = self.state.lock().channels.get(name) {
            for inbox in &channel.inboxes {
                if !inbox.message(payload.clone()) {
                    self.lost_messages.inc();
                }
            }
        }
    }

    fn confirmed(&self, data: &[Value]) {
        if let Some(name) = channel_name(data)
            && let Some(channel) = self.state.lock().channels.get_mut(name)
        {
            channel.confirmed = true;
            channel.inboxes.iter().for_each(|inbox| inbox.subscribed());
        }
    }

    /// Whether a channel should be subscribed on the present connection.
    fn is_subscribed(&self, data: &[Value]) -> bool {
        let state = self.state.lock();
        let channel = channel_name(data).and_then(|name| state.channels.get(name));
        channel.is_some_and(|channel| channel.requested)
    }
}

fn channel_name(data: &[Value]) -> Option<&str> {
    match data.first()? {
        Value::BulkString(name) => std::str::from_utf8(name).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_lost(lost: &LostSignal) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(lost.wait()).poll(&mut context) == Poll::Ready(())
    }

    fn push(kind: PushKind, channel: &str) -> PushInfo {
        let data = vec![Value::BulkString(channel.as_bytes().to_vec()), Value::Int(0)];
        PushInfo { kind, data }
    }

    #[test]
    fn a_slot_that_leaves_the_node_ends_the_connection_and_our_own_unsubscribe_does_not() {
        let subscriber = Arc::new(Subscriber::new(Counter::default(), Idle::Ends));
        let lost = LostSignal::default();
        let route = subscriber.route(lost.clone());
        let subscription = subscriber.add("inbox", 10);
        let unsubscribed = || push(PushKind::SUnsubscribe, "inbox");
        // Not yet asked for on this connection: the answer to an earlier command.
        route(unsubscribed()).unwrap();
        assert!(!is_lost(&lost));
        assert_eq!(subscriber.outstanding(), (vec!["inbox".to_owned()], vec![]));
        route(push(PushKind::SSubscribe, "inbox")).unwrap();
        assert!(subscription.is_subscribed());
        route(push(PushKind::SUnsubscribe, "other")).unwrap();
        assert!(!is_lost(&lost));

        let other = LostSignal::default();
        subscriber.route(other.clone())(unsubscribed()).unwrap();
        assert!(is_lost(&other), "the server said it by itself");

        drop(subscription);
        assert_eq!(subscriber.outstanding(), (vec![], vec!["inbox".to_owned()]));
        route(unsubscribed()).unwrap();
        assert!(!is_lost(&lost));
    }
}
