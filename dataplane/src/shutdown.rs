//! From a signal to the end of the process, in phases.
//!
//! ```text
//! Running ──signal──> NotReady ──endpoint delay──> Draining ──all done──> end
//!                        │                            │
//!                        └──────second signal─────────┴──deadline──> Expired ──> end
//! ```

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// Phases, in order; a later one includes the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Normal work.
    Running,
    /// Readiness is withdrawn; everything is still served, until load balancers have noticed.
    NotReady,
    /// New work is refused; what is under way ends.
    Draining,
    /// The deadline has passed or a second signal came: end now.
    Expired,
}

/// Times of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPlan {
    /// How long to stay in [`Phase::NotReady`]: [`ENDPOINT_DELAY`] in a pod, nothing elsewhere.
    pub endpoint_delay: Duration,
    /// Longest time in [`Phase::Draining`].
    pub drain_timeout: Duration,
}

impl DrainPlan {
    /// For when nothing is served yet.
    pub const NOTHING_TO_DRAIN: Self = Self {
        endpoint_delay: Duration::ZERO,
        drain_timeout: Duration::ZERO,
    };
}

/// How a shutdown ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownOutcome {
    /// Everything ended by itself.
    Drained,
    /// The time was up, or a second signal came, with so many tasks left.
    Expired {
        /// Tasks that had not ended.
        unfinished: usize,
    },
}

/// How long load balancers and proxies take to notice that a pod is not ready any more.
pub const ENDPOINT_DELAY: Duration = Duration::from_secs(5);

/// The shutdown of a process, or of one service in a test. Clones share it.
#[derive(Debug, Clone)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

/// SIGTERM and SIGINT. From [`Signals::follow`] on neither ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    tasks: TaskTracker,
}

#[derive(Debug, Clone, Copy)]
struct State {
    phase: Phase,
    /// Somebody asked for the end.
    begun: bool,
    /// End of [`Phase::Draining`], once it is reached.
    deadline: Option<Instant>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Nothing has begun.
    pub fn new() -> Self {
        let state = State {
            phase: Phase::Running,
            begun: false,
            deadline: None,
        };
        let shared = Shared {
            state: watch::Sender::new(state),
            tasks: TaskTracker::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        self.shared.state.borrow().phase
    }

    /// Waits until the phase is at least `phase`. Cancel-safe.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives in `self`.
        let _ = self
            .shared
            .state
            .subscribe()
            .wait_for(|state| state.phase >= phase)
            .await;
    }

    /// Starts the shutdown, as a first signal does. [`Shutdown::run`] leads through the phases.
    pub fn begin(&self) {
        self.shared.state.send_modify(|state| state.begun = true);
    }

    /// Goes to [`Phase::Expired`] at once, as a second signal does.
    pub fn expire(&self) {
        self.shared.state.send_modify(|state| {
            state.begun = true;
            state.phase = Phase::Expired;
        });
    }

    /// When the drain ends, from [`Phase::Draining`] on: closes are spread over what is left.
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.state.borrow().deadline
    }

    /// Spawns a task that the drain waits for. It must end by itself after [`Phase::Draining`].
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.tasks.spawn(task)
    }

    /// The tasks behind [`Shutdown::spawn`].
    pub fn tracker(&self) -> &TaskTracker {
        &self.shared.tasks
    }

    /// Follows SIGTERM and SIGINT: the first begins, the second expires. Once per process.
    pub fn listen_to_signals(&self) -> io::Result<()> {
        let mut signals = Signals::follow()?;
        let this = self.clone();
        tokio::spawn(async move {
            let signal = signals.next().await;
            info!(signal, "shutting down");
            this.begin();
            let signal = signals.next().await;
            warn!(signal, "second signal: ending at once");
            this.expire();
        });
        Ok(())
    }

    /// Waits for [`Shutdown::begin`], leads through the phases and returns when every tracked task has ended or
    /// the time is up. The plan is asked for when the shutdown begins, so that settings of that moment count.
    pub async fn run(&self, plan: impl FnOnce() -> DrainPlan) -> ShutdownOutcome {
        let mut state = self.shared.state.subscribe();
        // The sender lives in `self`, so neither wait can fail.
        let _ = state.wait_for(|state| state.begun).await;
        let plan = plan();
        self.advance(Phase::NotReady, None);
        tokio::select! {
            () = tokio::time::sleep(plan.endpoint_delay) => {}
            () = self.reached(Phase::Expired) => {}
        }
        let deadline = Instant::now() + plan.drain_timeout;
        self.advance(Phase::Draining, Some(deadline));
        self.shared.tasks.close();
        tokio::select! {
            biased;
            () = self.shared.tasks.wait() => return ShutdownOutcome::Drained,
            () = tokio::time::sleep_until(deadline) => {}
            () = self.reached(Phase::Expired) => {}
        }
        self.advance(Phase::Expired, None);
        ShutdownOutcome::Expired {
            unfinished: self.shared.tasks.len(),
        }
    }

    fn advance(&self, phase: Phase, deadline: Option<Instant>) {
        self.shared.state.send_modify(|state| {
            state.phase = state.phase.max(phase);
            state.deadline = state.deadline.or(deadline);
        });
    }
}

impl Signals {
    /// Follows both. Runs inside a tokio runtime.
    pub fn follow() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one and gives its name. One that came since the last call counts. Cancel-safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: DrainPlan = DrainPlan {
        endpoint_delay: Duration::from_secs(5),
        drain_timeout: Duration::from_secs(30),
    };

    /// Runs the shutdown in the background and gives what is needed to look at it.
    fn running(shutdown: &Shutdown) -> JoinHandle<ShutdownOutcome> {
        let shutdown = shutdown.clone();
        tokio::spawn(async move { shutdown.run(|| PLAN).await })
    }

    #[tokio::test(start_paused = true)]
    async fn phases_follow_each_other_at_their_times() {
        let shutdown = Shutdown::new();
        let task = shutdown.clone();
        shutdown.spawn(async move {
            task.reached(Phase::Draining).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        });
        let run = running(&shutdown);
        let start = Instant::now();
        assert_eq!(shutdown.phase(), Phase::Running);
        shutdown.begin();
        shutdown.reached(Phase::NotReady).await;
        assert_eq!((start.elapsed(), shutdown.deadline()), (Duration::ZERO, None));
        shutdown.reached(Phase::Draining).await;
        assert_eq!(start.elapsed().as_secs(), 5);
        assert_eq!(shutdown.deadline().unwrap().duration_since(start).as_secs(), 35);
        assert_eq!(run.await.unwrap(), ShutdownOutcome::Drained);
        assert_eq!(start.elapsed().as_secs(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_ends_a_drain_that_hangs() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending::<()>());
        let run = running(&shutdown);
        let start = Instant::now();
        shutdown.begin();
        shutdown.begin();
        assert_eq!(run.await.unwrap(), ShutdownOutcome::Expired { unfinished: 1 });
        assert_eq!(start.elapsed().as_secs(), 35);
        assert_eq!(shutdown.phase(), Phase::Expired);
    }

    #[tokio::test(start_paused = true)]
    async fn second_signal_ends_at_once_in_every_phase() {
        for wait in [1, 6] {
            let shutdown = Shutdown::new();
            shutdown.spawn(std::future::pending::<()>());
            let run = running(&shutdown);
            shutdown.begin();
            tokio::time::sleep(Duration::from_secs(wait)).await;
            let start = Instant::now();
            shutdown.expire();
            assert_eq!(run.await.unwrap(), ShutdownOutcome::Expired { unfinished: 1 });
            assert_eq!(start.elapsed(), Duration::ZERO);
        }
    }
}
