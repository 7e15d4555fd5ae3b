//! All connections of the process: for pings and for the drain.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::Conn;

/// Into so many slices the connections are divided; each is pinged at its own time, so that pings come as an even flow
/// and need one timer for all.
const SLICES: usize = 64;

/// All connections.
pub(crate) struct Connections {
    slices: [Mutex<HashMap<usize, Arc<Conn>>>; SLICES],
    /// Number of the next connection.
    next: AtomicUsize,
}

/// The place of a connection among all; it ends when this is dropped.
pub(crate) struct Registration {
    connections: Arc<Connections>,
    number: usize,
}

/// What waits for connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// How many connections there are.
    pub(crate) connections: usize,
    /// For how many of them something waits.
    pub(crate) slow: usize,
    /// How many bytes.
    pub(crate) bytes: usize,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            slices: std::array::from_fn(|_| Mutex::default()),
            next: AtomicUsize::new(0),
        }
    }
}

impl Connections {
    /// Adds a connection.
    pub(crate) fn register(self: &Arc<Self>, conn: &Arc<Conn>) -> Registration {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.slice(number).lock().insert(number, Arc::clone(conn));
        Registration {
            connections: Arc::clone(self),
            number,
        }
    }

    fn slice(&self, number: usize) -> &Mutex<HashMap<usize, Arc<Conn>>> {
        &self.slices[number % SLICES]
    }

    /// What waits for all of them. It looks at each connection, so it is for who asks now and then.
    pub(crate) fn waiting(&self) -> Waiting {
        let mut waiting = Waiting::default();
        for slice in &self.slices {
            let conns: Vec<Arc<Conn>> = slice.lock().values().cloned().collect();
            for bytes in conns.iter().map(|conn| conn.waiting()) {
                waiting.connections += 1;
                waiting.slow += usize::from(bytes > 0);
                waiting.bytes += bytes;
            }
        }
        waiting
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Conn>> {
        self.slices
            .iter()
            .flat_map(|slice| slice.lock().values().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Pings each connection once per interval, for ever. `interval` is asked again for each slice.
    pub(crate) async fn heartbeat(&self, interval: impl Fn() -> Duration) {
        for slice in self.slices.iter().cycle() {
            tokio::time::sleep(interval() / u32::try_from(SLICES).unwrap_or(1)).await;
            let conns: Vec<Arc<Conn>> = slice.lock().values().cloned().collect();
            for conn in conns {
                conn.ping();
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.slice(self.number).lock().remove(&self.number);
    }
}
