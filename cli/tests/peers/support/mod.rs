//! What the tests of host and player stand on.

pub(crate) mod coturn;
pub(crate) mod doubles;

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth::host::event::{HostEvent, HostReport, Sink};
use berth::host::options::HostOptions;
use berth::play::options::PlayOptions;
use clap::Parser;
use doubles::Doubles;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Generous: a loaded machine is no failure.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

#[derive(Parser)]
struct HostCli {
    #[command(flatten)]
    options: HostOptions,
}

#[derive(Parser)]
struct PlayCli {
    #[command(flatten)]
    options: PlayOptions,
}

/// Options of `berth host` from its flags.
pub(crate) fn host_options(args: &[&str]) -> HostOptions {
    HostCli::parse_from(std::iter::once(&"host").chain(args)).options
}

/// Options of `berth play` from its flags.
pub(crate) fn play_options(args: &[&str]) -> PlayOptions {
    PlayCli::parse_from(std::iter::once(&"play").chain(args)).options
}

/// Waits until `condition` gives a value.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a host with a free slot has told the matchmaker of itself.
pub(crate) async fn registered(doubles: &Doubles) {
    eventually("a heartbeat with a free slot", || {
        doubles
            .heartbeats()
            .iter()
            .any(|beat| beat["availableSlots"] == 1)
            .then_some(())
    })
    .await;
}

/// Simulated hosts that run in the background, with what they reported.
pub(crate) struct Hosts {
    reports: Arc<Mutex<Vec<HostReport>>>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Hosts {
    pub(crate) fn start(options: HostOptions) -> Self {
        let reports: Arc<Mutex<Vec<HostReport>>> = Arc::default();
        let shutdown = CancellationToken::new();
        let sink: Sink = {
            let reports = reports.clone();
            Arc::new(move |report| reports.lock().push(report))
        };
        let run = berth::host::run_with(options, sink, shutdown.clone());
        let task = tokio::spawn(async move { run.await.unwrap() });
        Self {
            reports,
            shutdown,
            task,
        }
    }

    /// How many events match.
    pub(crate) fn count(&self, matches: impl Fn(&HostEvent) -> bool) -> usize {
        self.reports
            .lock()
            .iter()
            .filter(|report| matches(&report.event))
            .count()
    }

    /// The last event that matches.
    pub(crate) fn last(&self, matches: impl Fn(&HostEvent) -> bool) -> Option<HostEvent> {
        self.reports
            .lock()
            .iter()
            .rev()
            .map(|report| &report.event)
            .find(|e| matches(e))
            .cloned()
    }

    /// Waits for so many events that match.
    pub(crate) async fn wait_for(&self, what: &str, count: usize, matches: impl Fn(&HostEvent) -> bool) {
        eventually(what, || (self.count(&matches) >= count).then_some(())).await;
    }

    /// Ends the hosts in order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .expect("hosts must end")
            .unwrap();
    }
}
