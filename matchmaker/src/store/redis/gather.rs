//! Heartbeats go to Redis together.
//!
//! At the pace of hosts the store is asleep when a heartbeat comes, and waking it costs several times what the heartbeat does. Nobody
//! waits for one, so those of a short window are sent at its end, or sooner when there are many.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Lets calls of a short while pass together.
#[derive(Debug)]
pub(super) struct Gather {
    window: Duration,
    most: usize,
    state: Mutex<State>,
    opened: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How often it has opened.
    opened: u64,
    waiting: usize,
}

impl Gather {
    /// Opens `window` after the first call that waits, or for `most` calls. Without a window it is always open.
    pub(super) fn new(window: Duration, most: usize) -> Self {
        Self {
            window,
            most,
            state: Mutex::default(),
            opened: Notify::new(),
        }
    }

    /// Waits until calls may pass. Whoever gives up waiting harms nobody: the others may pass a little early.
    pub(super) async fn pass(&self) {
        if self.window.is_zero() {
            return;
        }
        let opened = self.opened.notified();
        let Some(wait) = self.enter() else {
            self.opened.notify_waiters();
            return;
        };
        tokio::select! {
            () = opened => {}
            () = sleep(self.window) => {
                if self.open(wait) {
                    self.opened.notify_waiters();
                }
            }
        }
    }

    /// One more call waits; gives the opening that it waits for, or nothing if it was the last one that was missing.
    fn enter(&self) -> Option<u64> {
        let mut state = self.state.lock();
        state.waiting += 1;
        if state.waiting < self.most {
            return Some(state.opened + 1);
        }
        state.next();
        None
    }

    /// Opens, unless the opening `wait` has been; whether it did.
    fn open(&self, wait: u64) -> bool {
        let mut state = self.state.lock();
        let is_due = state.opened < wait;
        if is_due {
            state.next();
        }
        is_due
    }
}

impl State {
    fn next(&mut self) {
        self.opened += 1;
        self.waiting = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{Instant, advance};

    use super::*;

    /// Lets everything run that can.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    fn enter(gather: &Arc<Gather>, passed: &Arc<AtomicUsize>, calls: usize) {
        for _ in 0..calls {
            let (gather, passed) = (Arc::clone(gather), Arc::clone(passed));
            tokio::spawn(async move {
                gather.pass().await;
                passed.fetch_add(1, Ordering::SeqCst);
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_a_window_pass_together() {
        let window = Duration::from_millis(20);
        let (gather, passed) = (Arc::new(Gather::new(window, 4)), Arc::default());
        enter(&gather, &passed, 1);
        settle().await;
        advance(window / 2).await;
        enter(&gather, &passed, 1);
        settle().await;
        assert_eq!(passed.load(Ordering::SeqCst), 0);
        advance(window / 2).await;
        settle().await;
        assert_eq!(
            passed.load(Ordering::SeqCst),
            2,
            "the second came later and waits no longer"
        );
        // The timer of the second is over with it: the next window is a whole one.
        advance(window / 2).await;
        enter(&gather, &passed, 1);
        advance(window / 2).await;
        settle().await;
        assert_eq!(passed.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn many_calls_do_not_wait() {
        let (gather, passed) = (
            Arc::new(Gather::new(Duration::from_secs(1000), 4)),
            Arc::default(),
        );
        enter(&gather, &passed, 9);
        settle().await;
        assert_eq!(passed.load(Ordering::SeqCst), 8);
        let begun = Instant::now();
        Gather::new(Duration::ZERO, 4).pass().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
