//! Subscriptions: a bounded queue per reader behind one connection.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::subscriber::Subscriber;

/// Most bytes that wait for one reader, beside one message that alone has more.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// What a reader of a [`Subscription`] sees, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionEvent {
    /// The server confirmed the subscription, for the first time or again after a reconnect. What was published
    /// since the last message before it may be lost: read the stored state again.
    Subscribed,
    /// A message.
    Message(Bytes),
    /// The connection is gone. It comes back by itself.
    Disconnected,
    /// The reader was too slow: this many messages were thrown away here.
    Lost(u64),
}

/// One subscribed channel. Dropping it unsubscribes.
pub struct Subscription {
    pub(super) channel: String,
    pub(super) inbox: Arc<Inbox>,
    pub(super) subscriber: Arc<Subscriber>,
}

/// How much waits for the reader of a [`Subscription`]. It may be asked for longer than the subscription lives.
#[derive(Clone)]
pub struct Backlog(Arc<Inbox>);

/// The queue between the connection, which must never wait, and one reader.
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    arrived: Notify,
}

/// Holds at most `capacity` messages and [`MOST_BYTES`]. Everything else that happened between two messages is merged into one
/// [`Marks`], so that a connection that flaps before a stuck reader takes no memory.
struct Queue {
    messages: VecDeque<(Marks, Bytes)>,
    /// What happened after the last message.
    tail: Marks,
    capacity: usize,
    bytes: usize,
    subscribed: bool,
    closed: bool,
}

/// Events other than messages, in the order in which they are told. `Subscribed` comes last: whoever reads the
/// stored state then has covered all that was lost before.
#[derive(Default)]
struct Marks {
    lost: u64,
    disconnected: bool,
    subscribed: bool,
}

// === impl Subscription ===

impl Subscription {
    /// The channel.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// What waits for the reader.
    pub fn backlog(&self) -> Backlog {
        Backlog(Arc::clone(&self.inbox))
    }

    /// Next event; `None` when the link is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<SubscriptionEvent> {
        loop {
            {
                let mut queue = self.inbox.queue.lock();
                if let Some(event) = queue.pop() {
                    return Some(event);
                }
                if queue.closed {
                    return None;
                }
            }
            self.inbox.arrived.notified().await;
        }
    }

    /// Takes an event that is already there.
    pub fn try_next(&mut self) -> Option<SubscriptionEvent> {
        self.inbox.queue.lock().pop()
    }

    /// Whether the server has confirmed the subscription and the connection still stands.
    pub fn is_subscribed(&self) -> bool {
        self.inbox.queue.lock().subscribed
    }
}

impl Backlog {
    /// How many messages wait.
    pub fn messages(&self) -> usize {
        self.0.queue.lock().messages.len()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscriber.remove(&self.channel, &self.inbox);
    }
}

// === impl Inbox ===

impl Inbox {
    pub(super) fn new(capacity: usize) -> Self {
        let queue = Queue {
            messages: VecDeque::new(),
            tail: Marks::default(),
            capacity: capacity.max(1),
            bytes: 0,
            subscribed: false,
            closed: false,
        };
        Self {
            queue: Mutex::new(queue),
            arrived: Notify::new(),
        }
    }

    /// Adds a message; `false` when it was thrown away.
    pub(super) fn message(&self, payload: Bytes) -> bool {
        self.change(|queue| {
            let is_large = queue.bytes > 0 && queue.bytes + payload.len() > MOST_BYTES;
            if queue.messages.len() >= queue.capacity || is_large {
                queue.tail.lost += 1;
                return false;
            }
            let before = std::mem::take(&mut queue.tail);
            queue.bytes += payload.len();
            queue.messages.push_back((before, payload));
            true
        })
    }

    pub(super) fn subscribed(&self) {
        self.change(|queue| {
            queue.subscribed = true;
            queue.tail.subscribed = true;
        });
    }

    pub(super) fn disconnected(&self) {
        self.change(|queue| {
            if queue.subscribed {
                queue.subscribed = false;
                queue.tail.disconnected = true;
                queue.tail.subscribed = false;
            }
        });
    }

    /// The link is gone: after what is queued, the reader hears the end.
    pub(super) fn close(&self) {
        self.change(|queue| {
            queue.subscribed = false;
            queue.closed = true;
        });
    }

    fn change<R>(&self, change: impl FnOnce(&mut Queue) -> R) -> R {
        let result = change(&mut self.queue.lock());
        self.arrived.notify_one();
        result
    }
}

// === impl Queue ===

impl Queue {
    fn pop(&mut self) -> Option<SubscriptionEvent> {
        let marks = self
            .messages
            .front_mut()
            .map_or(&mut self.tail, |(before, _)| before);
        if let Some(event) = marks.take_first() {
            return Some(event);
        }
        let (_, payload) = self.messages.pop_front()?;
        self.bytes -= payload.len();
        Some(SubscriptionEvent::Message(payload))
    }
}

// === impl Marks ===

impl Marks {
    fn take_first(&mut self) -> Option<SubscriptionEvent> {
        if self.lost > 0 {
            return Some(SubscriptionEvent::Lost(std::mem::take(&mut self.lost)));
        }
        if std::mem::take(&mut self.disconnected) {
            return Some(SubscriptionEvent::Disconnected);
        }
        std::mem::take(&mut self.subscribed).then_some(SubscriptionEvent::Subscribed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(inbox: &Inbox) -> Vec<SubscriptionEvent> {
        std::iter::from_fn(|| inbox.queue.lock().pop()).collect()
    }

    fn message(text: &'static str) -> SubscriptionEvent {
        SubscriptionEvent::Message(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn keeps_the_order_of_events() {
        let inbox = Inbox::new(8);
        inbox.subscribed();
        inbox.message(Bytes::from_static(b"a"));
        inbox.disconnected();
        inbox.subscribed();
        inbox.message(Bytes::from_static(b"b"));
        inbox.disconnected();
        let expected = [
            SubscriptionEvent::Subscribed,
            message("a"),
            SubscriptionEvent::Disconnected,
            SubscriptionEvent::Subscribed,
            message("b"),
            SubscriptionEvent::Disconnected,
        ];
        assert_eq!(drain(&inbox), expected);
    }

    #[test]
    fn full_queue_counts_what_it_loses_and_recovers() {
        let inbox = Arc::new(Inbox::new(2));
        let backlog = Backlog(Arc::clone(&inbox));
        let kept: Vec<bool> = ["a", "b", "c", "d"]
            .map(|text| inbox.message(Bytes::from_static(text.as_bytes())))
            .into();
        assert_eq!(kept, [true, true, false, false]);
        assert_eq!(backlog.messages(), 2);
        assert_eq!(
            drain(&inbox),
            [message("a"), message("b"), SubscriptionEvent::Lost(2)]
        );
        assert!(inbox.message(Bytes::from_static(b"e")));
        assert_eq!(backlog.messages(), 1);
        assert_eq!(drain(&inbox), [message("e")]);
        assert_eq!(backlog.messages(), 0);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let inbox = Inbox::new(1000);
        let large = || Bytes::from(vec![0; MOST_BYTES / 2]);
        let kept = [large(), large(), Bytes::from_static(b"a")].map(|payload| inbox.message(payload));
        assert_eq!(kept, [true, true, false]);
        let events = drain(&inbox);
        assert_eq!((events.len(), &events[2]), (3, &SubscriptionEvent::Lost(1)));
        // One that alone is larger passes where nothing waits.
        assert!(inbox.message(Bytes::from(vec![0; MOST_BYTES + 1])));
        assert!(!inbox.message(Bytes::from_static(b"a")));
        assert_eq!(drain(&inbox).len(), 2);
        assert!(inbox.message(Bytes::from_static(b"a")));
    }

    #[test]
    fn flapping_before_a_stuck_reader_takes_no_memory() {
        let inbox = Inbox::new(1);
        inbox.message(Bytes::from_static(b"a"));
        for _ in 0..1000 {
            inbox.subscribed();
            inbox.message(Bytes::from_static(b"lost"));
            inbox.disconnected();
        }
        inbox.subscribed();
        let expected = [
            message("a"),
            SubscriptionEvent::Lost(1000),
            SubscriptionEvent::Disconnected,
            SubscriptionEvent::Subscribed,
        ];
        assert_eq!(drain(&inbox), expected);
    }
}
