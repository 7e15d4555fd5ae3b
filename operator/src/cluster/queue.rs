//! Objects that wait to be reconciled: a set, so that it is never larger than the number of objects and many reasons
//! to look at one of them are one look.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_crds::settings::ObjectName;
use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A set of names that is emptied by one reader.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Names, and since when they wait.
    waiting: Mutex<BTreeMap<ObjectName, Instant>>,
    added: Notify,
}

impl Queue {
    /// Adds `name`.
    pub(crate) fn push(&self, name: ObjectName) {
        if let Entry::Vacant(free) = self.0.waiting.lock().entry(name) {
            free.insert(Instant::now());
            self.0.added.notify_one();
        }
    }

    /// Takes `name` out, because it is gone.
    pub(crate) fn remove(&self, name: &ObjectName) {
        self.0.waiting.lock().remove(name);
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.0.waiting.lock().len()
    }

    /// How long the first has waited; 0 when none waits.
    pub(crate) fn oldest(&self) -> Duration {
        let since = self.0.waiting.lock().values().min().copied();
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The names, as they come.
    pub(crate) fn stream(&self) -> impl Stream<Item = ObjectName> + Send + use<> {
        futures::stream::unfold(self.clone(), |queue| async move {
            let name = queue.pop().await;
            Some((name, queue))
        })
    }

    async fn pop(&self) -> ObjectName {
        loop {
            // Registered before the look, so that what is added in between wakes it.
            let added = self.0.added.notified();
            if let Some((name, _)) = self.0.waiting.lock().pop_first() {
                return name;
            }
            added.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn many_reasons_are_one_look() {
        let queue = Queue::default();
        let name = |text: &str| ObjectName::new("ns", text);
        for text in ["a", "b", "a", "c", "a"] {
            queue.push(name(text));
        }
        queue.remove(&name("c"));
        let seen: Vec<_> = queue.stream().take(2).collect().await;
        assert_eq!(seen, [name("a"), name("b")]);
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test]
    async fn a_later_reason_does_not_make_the_wait_younger() {
        let queue = Queue::default();
        assert_eq!(queue.oldest(), Duration::ZERO);
        queue.push(ObjectName::new("ns", "b"));
        std::thread::sleep(Duration::from_millis(2));
        let before = queue.oldest();
        queue.push(ObjectName::new("ns", "a"));
        queue.push(ObjectName::new("ns", "b"));
        assert!(before > Duration::ZERO && queue.oldest() >= before);
        let _taken: Vec<_> = queue.stream().take(2).collect().await;
        assert_eq!(queue.oldest(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes() {
        let queue = Queue::default();
        let mut stream = Box::pin(queue.stream());
        let reader = tokio::spawn(async move { stream.next().await });
        tokio::task::yield_now().await;
        queue.push(ObjectName::new("ns", "a"));
        assert_eq!(reader.await.unwrap(), Some(ObjectName::new("ns", "a")));
    }
}
