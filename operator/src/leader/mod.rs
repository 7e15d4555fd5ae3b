//! Leader election: one process writes, the others are ready to take over.

mod lease;

pub use lease::Timing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use self::lease::{Candidate, Claim};
use crate::client::Fence;

/// Where the lease is, and who we are.
#[derive(Clone, Debug)]
pub struct LeaderOptions {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Who we are; no other process may ever be called the same.
    pub identity: String,
    /// Times.
    pub timing: Timing,
}

/// The lease could not be renewed in time, or another process took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the leader lease was lost")]
pub struct LeaseLost;

/// Takes part in the election.
pub(crate) struct Elector {
    api: Api<Lease>,
    name: String,
    candidate: Candidate,
    timing: Timing,
    fence: Arc<Fence>,
    /// Random, from 0 to 1.
    jitter: fn() -> f64,
}

impl Elector {
    /// `client` is used for nothing else, so that no queue of other requests delays a renewal.
    pub(crate) fn new(
        client: Client,
        options: LeaderOptions,
        fence: Arc<Fence>,
        jitter: fn() -> f64,
    ) -> Self {
        Self {
            api: Api::namespaced(client, &options.namespace),
            candidate: Candidate::new(
                options.identity,
                options.namespace,
                options.name.clone(),
                options.timing,
            ),
            name: options.name,
            timing: options.timing,
            fence,
            jitter,
        }
    }

    /// Waits until the lease is ours, and opens the fence.
    pub(crate) async fn acquire(&mut self) -> Lease {
        loop {
            match self.try_acquire().await {
                Ok(Some(lease)) => return lease,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "cannot look at the leader lease"),
            }
            self.pause().await;
        }
    }

    /// Keeps `lease` until `stop`, and gives it back. Fails when it is lost; the fence is closed then.
    pub(crate) async fn hold(
        &mut self,
        mut lease: Lease,
        stop: &CancellationToken,
    ) -> Result<Lease, LeaseLost> {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(lease),
                () = self.pause() => {}
            }
            let began = Instant::now();
            let next = lease::renewed(&lease, Timestamp::now());
            match self.replace(&next).await {
                Ok(stored) => {
                    lease = stored;
                    renewed = began;
                    self.fence.open_until(began + self.timing.renew_deadline);
                }
                // Someone else wrote it: unless that was our own write whose answer was lost, it is no longer ours.
                Err(kube::Error::Api(status)) if status.is_conflict() => match self.get().await {
                    Ok(Some(found)) if self.candidate.holds(&found) => lease = found,
                    Ok(_) => return Err(self.lost()),
                    Err(error) => tracing::warn!(%error, "cannot look at the leader lease"),
                },
                Err(error) => tracing::warn!(%error, "cannot renew the leader lease"),
            }
            if renewed.elapsed() >= self.timing.renew_deadline {
                return Err(self.lost());
            }
        }
    }

    /// Gives the lease back, so that the next one need not wait for its end. Best effort.
    pub(crate) async fn release(&mut self, lease: &Lease) {
        self.fence.close();
        let released = lease::released(lease, Timestamp::now());
        if let Err(error) = self.replace(&released).await {
            tracing::warn!(%error, "cannot give the leader lease back");
        }
    }

    async fn try_acquire(&mut self) -> Result<Option<Lease>, kube::Error> {
        let found = self.get().await?;
        let began = Instant::now();
        let claimed = match self.candidate.consider(found.as_ref(), began, Timestamp::now()) {
            Claim::Create(lease) => self.timed(self.api.create(&PostParams::default(), &lease)).await,
            Claim::Replace(lease) => self.replace(&lease).await,
            Claim::Wait => return Ok(None),
        };
        match claimed {
            Ok(lease) => {
                self.fence.open_until(began + self.timing.renew_deadline);
                Ok(Some(lease))
            }
            // Another candidate was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn get(&self) -> Result<Option<Lease>, kube::Error> {
        self.timed(self.api.get_opt(&self.name)).await
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        self.timed(self.api.replace(&self.name, &PostParams::default(), lease))
            .await
    }

    /// One call may not use up the time for the next.
    async fn timed<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, kube::Error> {
        let limit = self.timing.renew_deadline / 3;
        tokio::time::timeout(limit, request)
            .await
            .unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into())))
    }

    async fn pause(&self) {
        let retry: Duration = self.timing.retry;
        tokio::time::sleep(retry.mul_f64(1.0 + 0.2 * (self.jitter)())).await;
    }

    fn lost(&self) -> LeaseLost {
        self.fence.close();
        LeaseLost
    }
}
