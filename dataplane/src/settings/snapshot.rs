//! The settings in force.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

/// The settings in force. Clones share them. Reading costs one atomic load.
#[derive(Debug)]
pub struct Snapshot<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    value: ArcSwap<T>,
    changes: watch::Sender<Arc<T>>,
}

impl<T> Snapshot<T> {
    /// Starts with `value` (services get theirs from [`super::Settings`]).
    pub fn new(value: T) -> Self {
        let value = Arc::new(value);
        let shared = Shared {
            value: ArcSwap::new(Arc::clone(&value)),
            changes: watch::Sender::new(value),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The settings in force. Taken once per message or request, so that everything in it fits together.
    pub fn load(&self) -> Guard<Arc<T>> {
        self.shared.value.load()
    }

    /// The settings in force, to keep across an `await`.
    pub fn get(&self) -> Arc<T> {
        self.shared.value.load_full()
    }

    /// Follows replacements: `changed().await` resolves after each.
    pub fn watch(&self) -> watch::Receiver<Arc<T>> {
        self.shared.changes.subscribe()
    }

    /// Puts `value` in force.
    pub fn replace(&self, value: T) {
        let value = Arc::new(value);
        self.shared.value.store(Arc::clone(&value));
        self.shared.changes.send_replace(value);
    }
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}
