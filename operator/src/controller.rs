//! What the controllers of all kinds share: the queue they work off, failure and retry, and how a round ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_crds::field;
use berth_crds::settings::ObjectName;
use futures::StreamExt;
use jiff::Timestamp;
use kube::Client;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;

use crate::apply::{Applied, Applier, Entropy, write_status};
use crate::backoff::{self, Attempts, spread};
use crate::board::Board;
use crate::client::CALL_LIMIT;
use crate::cluster::{Cluster, MainKind, name_of, reference};
use crate::error::{CallError, Class, with_causes};
use crate::events::Announcer;
use crate::metrics::{Kind, Metrics, Outcome};
use crate::pods;
use crate::probe::Reach;
use crate::render::Defaults;
use crate::status::{Occupation, Trouble};

/// Reconciles of one kind that may run at the same time.
const CONCURRENCY: u16 = 32;
/// How long one reconcile may take.
const RECONCILE_LIMIT: Duration = Duration::from_mins(1);
/// When to look again after a write, should the watch not have shown it by then.
const LOOK_AFTER_WRITE: Duration = Duration::from_secs(35);

/// What controllers work with.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) metrics: Metrics,
    pub(crate) defaults: Defaults,
    pub(crate) board: Arc<Board<Occupation>>,
    pub(crate) reach: Arc<Board<Reach>>,
    pub(crate) pods: Arc<pods::Board>,
    pub(crate) announcer: Announcer,
    pub(crate) entropy: Entropy,
    /// Random, from 0 to 1.
    pub(crate) jitter: fn() -> f64,
    /// How often a resource is looked at although nothing happened.
    pub(crate) resync: Duration,
    /// Events of one object that come within this time are one look.
    pub(crate) debounce: Duration,
}

/// A kind that is reconciled.
pub(crate) trait Reconcile: MainKind {
    /// What its status is made from.
    type Facts: Default + Send + std::marker::Sync;

    /// Brings the cluster to what `resource` says, and notes in `findings` what it finds on the way.
    fn reconcile(
        resource: &Self,
        name: &ObjectName,
        context: &Context,
        findings: &mut Findings<Self::Facts>,
    ) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Adds what the watches show, whether or not the rest succeeded.
    fn observe(name: &ObjectName, context: &Context, facts: &mut Self::Facts);

    /// The status after `previous`. Pure.
    fn new_status(
        resource: &Self,
        previous: &Self::Status,
        facts: &Self::Facts,
        trouble: Option<&Trouble>,
        now: Timestamp,
    ) -> Self::Status;
}

/// What one look at a resource found.
#[derive(Debug, Default)]
pub(crate) struct Findings<F> {
    /// What the status is made from.
    pub(crate) facts: F,
    /// Why the resource cannot be brought where it should be.
    pub(crate) trouble: Option<Trouble>,
    /// What came of its children.
    pub(crate) applied: Applied,
}

/// A failed reconcile.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It took too long.
    #[error("not done within {} s", RECONCILE_LIMIT.as_secs())]
    TimedOut,
}

impl ReconcileError {
    fn class(&self) -> Class {
        match self {
            Self::Call(error) => error.class(),
            Self::TimedOut => Class::Transient,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call(error) => error.retry_after(),
            Self::TimedOut => None,
        }
    }
}

impl Context {
    /// Applies children.
    pub(crate) fn applier(&self) -> Applier<'_> {
        Applier {
            client: &self.client,
            cluster: &self.cluster,
            metrics: &self.metrics,
            entropy: self.entropy,
        }
    }
}

/// Works off the queue of one kind until `stop`, and then finishes what has begun.
pub(crate) async fn run<K: Reconcile>(context: Arc<Context>, stop: CancellationToken) {
    let registry = K::registry(&context.cluster);
    let names = registry.queue.stream();
    // The queue is the only trigger; resources come into it from the watches in `cluster`.
    Controller::for_stream(
        futures::stream::pending::<Result<K, watcher::Error>>(),
        registry.store(),
    )
    .with_config(
        Config::default()
            .debounce(context.debounce)
            .concurrency(CONCURRENCY),
    )
    .reconcile_on(names.map(|name| reference::<K>(&name)))
    .graceful_shutdown_on(stop.cancelled_owned())
    .run(look::<K>, retry::<K>, Arc::clone(&context))
    // Failures were logged where they happened; a resource that is gone is none.
    .for_each(|_| std::future::ready(()))
    .await;
}

async fn look<K: Reconcile>(resource: Arc<K>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let name = name_of(&*resource);
    let began = Instant::now();
    let outcome = tokio::time::timeout(RECONCILE_LIMIT, round(&*resource, &name, &context))
        .await
        .unwrap_or(Err(ReconcileError::TimedOut));
    let result = match &outcome {
        Ok(_) => Outcome::Done,
        Err(error) => error.class().into(),
    };
    context.metrics.reconciled(K::KIND, result, began.elapsed());
    if let Err(error) = &outcome {
        let error = with_causes(error);
        // Pools go by one name in all programs.
        let pool = (K::KIND == Kind::HostPool).then(|| tracing::field::display(&name));
        tracing::warn!(kind = K::KIND.as_str(), %name, { field::POOL } = pool, error, "reconcile failed");
    } else {
        K::registry(&context.cluster).succeeded(&name);
    }
    outcome
}

async fn round<K: Reconcile>(
    resource: &K,
    name: &ObjectName,
    context: &Context,
) -> Result<Action, ReconcileError> {
    // The garbage collector deletes the children; anything else would fight with it.
    if resource.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let registry = K::registry(&context.cluster);
    let mut findings = Findings::default();
    let result = K::reconcile(resource, name, context, &mut findings).await;
    K::observe(name, context, &mut findings.facts);
    let in_flight = findings.applied.in_flight;
    let failure = result.err().or_else(|| findings.applied.take_worst());
    let trouble = match &failure {
        Some(failure) => trouble(failure, registry.attempts(name), Instant::now()),
        None => findings.trouble.or_else(|| leaving(&findings.applied)),
    };
    // A failure that may pass, and has not lasted, changes nothing that is told.
    if failure.is_none() || trouble.is_some() {
        let before = registry.last_status(name, resource);
        let status = K::new_status(
            resource,
            &before,
            &findings.facts,
            trouble.as_ref(),
            Timestamp::now(),
        );
        match write_status(&context.client, &context.cluster, name, resource, status.clone()).await {
            Ok(true) => {
                let announcement = context.announcer.announce(resource, &before, &status);
                // An event is for people; nothing waits for it for long.
                let _ = tokio::time::timeout(CALL_LIMIT, announcement).await;
            }
            Ok(false) => {}
            // Deleted a moment ago.
            Err(error) if error.is_not_found() => return Ok(Action::await_change()),
            Err(error) => return Err(failure.unwrap_or(error).into()),
        }
    }
    match failure {
        Some(failure) => Err(failure.into()),
        None if in_flight => Ok(Action::requeue(LOOK_AFTER_WRITE)),
        None => Ok(Action::requeue(spread(context.resync, (context.jitter)()))),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn retry<K: Reconcile>(resource: Arc<K>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let name = name_of(&*resource);
    let attempts = K::registry(&context.cluster).failed(&name, Instant::now());
    let delay = attempts.delay(error.class(), (context.jitter)(), context.resync);
    Action::requeue(delay.max(asked_for(error.retry_after())))
}

/// The pause that the server asked for, within what we would wait at most.
fn asked_for(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().min(backoff::LONGEST)
}

/// Children of a deleted resource of the same name, which the garbage collector has not reached yet.
fn leaving(applied: &Applied) -> Option<Trouble> {
    let first = applied.leaving.first()?;
    Some(Trouble::WaitingForDeletion(format!(
        "{first} is still being deleted"
    )))
}

/// How a failure appears in the status. `None`: not at all, because it may pass and has not lasted.
fn trouble(failure: &CallError, attempts: Option<Attempts>, now: Instant) -> Option<Trouble> {
    let message = failure.to_string();
    match failure.class() {
        _ if matches!(failure, CallError::NotOurs { .. }) => Some(Trouble::NameConflict(message)),
        Class::Invalid => Some(Trouble::Rejected(message)),
        Class::Forbidden => Some(Trouble::Forbidden(message)),
        Class::Transient | Class::Conflict => attempts
            .is_some_and(|attempts| attempts.is_lasting(now))
            .then_some(Trouble::ApiUnavailable(message)),
    }
}
