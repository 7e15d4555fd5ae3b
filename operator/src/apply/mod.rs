//! Brings the children of a resource to what was rendered, with as few requests as there are differences.
//!
//! - What agrees with the watched object is not written.
//! - A write is a server-side apply under one field manager, with force: fields that we render are ours, all others
//!   are left to whoever set them.
//! - An object is created only if there is none of its name, and changed only if it is the very object that the watch
//!   showed as ours. So an object of someone else is never taken over, however the timing falls.
//! - A failure of one child does not keep the others from being applied, except those that need it.
//! - Objects that are owned but rendered no longer are deleted, with uid and version as preconditions.

mod diff;
mod handover;
mod prune;
mod status;
mod survey;
mod verdict;

#[cfg(test)]
mod tests;

pub(crate) use status::write_status;

use std::collections::BTreeMap;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DynamicObject, PartialObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use self::verdict::{Ownership, Verdict, ownership, verdict};
use crate::client::call;
use crate::cluster::{Agreement, ChildView, Cluster, controller_of};
use crate::error::{CallError, Class};
use crate::metrics::Metrics;
use crate::names;
use crate::render::{Child, ChildId, ChildKind, Desired, GeneratedSecret, Owner, SealedChild};

/// No object ever has this version, so an apply that names it can only create.
const NEVER: &str = "1";

/// Fills a buffer with random bytes; false when there are none.
pub(crate) type Entropy = fn(&mut [u8; 32]) -> bool;

/// Applies children.
pub(crate) struct Applier<'a> {
    pub(crate) client: &'a Client,
    pub(crate) cluster: &'a Cluster,
    pub(crate) metrics: &'a Metrics,
    pub(crate) entropy: Entropy,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Hashes of what was rendered.
    pub(crate) hashes: BTreeMap<ChildId, String>,
    /// Children that must disappear before they can be made anew.
    pub(crate) leaving: Vec<ChildId>,
    /// What went wrong.
    pub(crate) failures: Vec<CallError>,
    /// Whether something was written that the watch has not shown yet.
    pub(crate) in_flight: bool,
    /// Children of a paused resource that are not what was rendered.
    pub(crate) held: Vec<ChildId>,
}

/// A child as it was rendered, as it is, and what follows from that.
struct Compared {
    sealed: SealedChild,
    view: ChildView,
    verdict: Verdict,
}

impl Applied {
    /// Takes out the failure that decides what happens next.
    pub(crate) fn take_worst(&mut self) -> Option<CallError> {
        let (index, _) = self
            .failures
            .iter()
            .enumerate()
            .max_by_key(|(_, failure)| failure.class())?;
        Some(self.failures.swap_remove(index))
    }
}

impl Applier<'_> {
    /// Brings the children of `owner` to `desired`; while it is `paused`, only finds out which are not there.
    pub(crate) async fn bring(&self, owner: &Owner, desired: &Desired, paused: bool) -> Applied {
        if paused {
            self.survey(owner, desired)
        } else {
            self.converge(owner, desired).await
        }
    }

    async fn converge(&self, owner: &Owner, desired: &Desired) -> Applied {
        let mut applied = Applied::default();
        // An autoscaler that is wanted no longer must be gone before the number of pods is set.
        self.prune(owner, desired, |kind| !kind.is_used_by_pods(), &mut applied)
            .await;
        let mut failed = Vec::new();
        for child in &desired.children {
            let id = child.id();
            if let Some(cause) = failed.iter().find(|failed| needs(id.kind, **failed)) {
                tracing::debug!(%id, cause = ChildKind::as_str(*cause), "not applied: what it needs failed");
                failed.push(id.kind);
                continue;
            }
            let leaving = applied.leaving.len();
            if let Err(error) = self.apply(owner, desired, child, &mut applied).await {
                failed.push(id.kind);
                applied.failures.push(error);
            } else if applied.leaving.len() > leaving {
                failed.push(id.kind);
            }
        }
        if failed.is_empty() && self.is_rolled_out(owner, desired, &applied) {
            self.prune(owner, desired, ChildKind::is_used_by_pods, &mut applied)
                .await;
        }
        applied
    }

    async fn apply(
        &self,
        owner: &Owner,
        desired: &Desired,
        child: &Child,
        applied: &mut Applied,
    ) -> Result<(), CallError> {
        if let Child::Secret(secret) = child {
            return self.make_secret(owner, secret, applied).await;
        }
        let Some(Compared {
            sealed,
            view,
            verdict,
        }) = self.compare(owner, child, applied)?
        else {
            return Ok(());
        };
        match verdict {
            Verdict::Same => self.metrics.skipped(sealed.id.kind.as_str()),
            Verdict::Agrees(agreement) => {
                self.metrics.skipped(sealed.id.kind.as_str());
                self.cluster
                    .children
                    .agree(&owner.namespace, &sealed.id, agreement);
            }
            Verdict::InFlight => applied.in_flight = true,
            Verdict::Leaving => applied.leaving.push(sealed.id),
            Verdict::NotOurs => {
                return Err(CallError::NotOurs {
                    object: sealed.id.to_string(),
                });
            }
            Verdict::Create => {
                applied.in_flight = true;
                self.create(owner, desired, &sealed).await?;
            }
            Verdict::Update => {
                applied.in_flight = true;
                if let Some(live) = &view.live {
                    self.hand_over(owner, desired, &sealed, live).await?;
                    self.write(owner, &sealed, only(live.uid.as_ref())).await?;
                }
            }
        }
        Ok(())
    }

    /// Compares a child with what the watches hold, and notes the hash of what was rendered. Nothing for a generated Secret.
    fn compare(
        &self,
        owner: &Owner,
        child: &Child,
        applied: &mut Applied,
    ) -> Result<Option<Compared>, CallError> {
        let json_error = |source| CallError::Json {
            action: format!("apply {}", child.id()),
            source,
        };
        let Some(sealed) = child.seal().map_err(json_error)? else {
            return Ok(None);
        };
        applied.hashes.insert(sealed.id.clone(), sealed.hash.clone());
        let view = self
            .cluster
            .children
            .view(&owner.namespace, &sealed.id, Instant::now());
        let verdict = verdict(&sealed, &view, owner).map_err(json_error)?;
        Ok(Some(Compared {
            sealed,
            view,
            verdict,
        }))
    }

    /// Makes a child that, as far as is known, does not exist.
    async fn create(&self, owner: &Owner, desired: &Desired, child: &SealedChild) -> Result<(), CallError> {
        if let Some(floor) = handover::autoscaled_floor(desired, child) {
            return self.create_autoscaled(owner, desired, child, floor).await;
        }
        match self.write(owner, child, never_before()).await {
            Err(error) if error.class() == Class::Conflict => {
                let uid = self.existing(owner, &child.id).await?;
                self.write(owner, child, only(Some(&uid))).await.map(drop)
            }
            outcome => outcome.map(drop),
        }
    }

    /// The uid of an object that exists although the watch has not shown it: ours, or a refusal.
    async fn existing(&self, owner: &Owner, id: &ChildId) -> Result<String, CallError> {
        let api = self.api(owner, id.kind);
        let found: Option<PartialObjectMeta<DynamicObject>> =
            call(format!("look at {id}"), api.get_metadata_opt(&id.name)).await?;
        let metadata = found.map(|found| found.metadata).unwrap_or_default();
        Self::is_ours(owner, id, controller_of(&metadata), metadata.uid.clone())
    }

    /// The uid of an object that was looked at, if it is ours.
    fn is_ours(
        owner: &Owner,
        id: &ChildId,
        controller: Option<&OwnerReference>,
        uid: Option<String>,
    ) -> Result<String, CallError> {
        match (ownership(controller, owner), uid) {
            (Ownership::Ours, Some(uid)) => Ok(uid),
            (Ownership::NotOurs, Some(_)) => Err(CallError::NotOurs {
                object: id.to_string(),
            }),
            // It is on its way out, or was gone again.
            _ => Err(CallError::Refused {
                action: format!("apply {id}"),
                code: 409,
                message: "the object was just deleted, or is being deleted".into(),
                class: Class::Conflict,
                retry_after: None,
            }),
        }
    }

    /// Sends one apply with `metadata` added, and remembers it until the watch shows it. Gives the uid of the object.
    async fn write(
        &self,
        owner: &Owner,
        child: &SealedChild,
        metadata: (&str, Value),
    ) -> Result<Option<String>, CallError> {
        let mut body = child.value.clone();
        body["metadata"][metadata.0] = metadata.1;
        let answer = self.send(owner, &child.id, &body, names::OPERATOR, true).await?;
        let agreement = verdict::agreement(child, &answer).map_err(|source| CallError::Json {
            action: format!("apply {}", child.id),
            source,
        })?;
        self.cluster
            .children
            .wrote(&owner.namespace, &child.id, agreement, Instant::now());
        Ok(answer
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .map(str::to_owned))
    }

    async fn send(
        &self,
        owner: &Owner,
        id: &ChildId,
        body: &Value,
        manager: &str,
        force: bool,
    ) -> Result<Value, CallError> {
        let mut params = PatchParams::apply(manager);
        params.force = force;
        let answer: DynamicObject = call(
            format!("apply {id}"),
            self.api(owner, id.kind)
                .patch(&id.name, &params, &Patch::Apply(body)),
        )
        .await?;
        tracing::info!(%id, namespace = owner.namespace, manager, "applied");
        serde_json::to_value(answer).map_err(|source| CallError::Json {
            action: format!("apply {id}"),
            source,
        })
    }

    /// Makes a Secret with a random value, unless it exists. What exists is never changed, whatever is in it.
    async fn make_secret(
        &self,
        owner: &Owner,
        secret: &GeneratedSecret,
        applied: &mut Applied,
    ) -> Result<(), CallError> {
        let id = ChildId::new(
            ChildKind::Secret,
            secret.metadata.name.clone().unwrap_or_default(),
        );
        if let Some(live) = self.cluster.children.live(&owner.namespace, &id) {
            match ownership(live.controller.as_ref(), owner) {
                Ownership::Ours if !live.is_leaving => {
                    self.metrics.skipped(id.kind.as_str());
                }
                Ownership::Ours | Ownership::Former => applied.leaving.push(id),
                Ownership::NotOurs => {
                    return Err(CallError::NotOurs {
                        object: id.to_string(),
                    });
                }
            }
            return Ok(());
        }
        applied.in_flight = true;
        let view = self.cluster.children.view(&owner.namespace, &id, Instant::now());
        if view.in_flight.is_some() {
            return Ok(());
        }
        let action = format!("create {id}");
        let mut random = [0; 32];
        if !(self.entropy)(&mut random) {
            return Err(CallError::NoRandomness { action });
        }
        let object = Secret {
            metadata: secret.metadata.clone(),
            string_data: Some([(secret.key.to_owned(), URL_SAFE_NO_PAD.encode(random))].into()),
            ..Secret::default()
        };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &owner.namespace);
        let params = PostParams {
            field_manager: Some(names::OPERATOR.into()),
            ..PostParams::default()
        };
        match call(action, api.create(&params, &object)).await {
            Ok(created) => {
                tracing::info!(%id, namespace = owner.namespace, "created");
                let agreement = Agreement {
                    hash: String::new(),
                    resource_version: created.metadata.resource_version,
                    projection: [0; 32],
                };
                self.cluster
                    .children
                    .wrote(&owner.namespace, &id, agreement, Instant::now());
                Ok(())
            }
            Err(error) if error.class() == Class::Conflict => self.existing(owner, &id).await.map(drop),
            Err(error) => Err(error),
        }
    }

    /// Whether no running pod needs what is rendered no longer.
    fn is_rolled_out(&self, owner: &Owner, desired: &Desired, applied: &Applied) -> bool {
        desired.withheld.is_empty()
            && applied
                .hashes
                .iter()
                .filter(|(id, _)| matches!(id.kind, ChildKind::Deployment | ChildKind::DaemonSet))
                .all(|(id, hash)| {
                    let live = self.cluster.children.live(&owner.namespace, id);
                    live.and_then(|live| live.rollout.clone())
                        .is_some_and(|rollout| rollout.hash == *hash && rollout.is_complete())
                })
    }

    fn api(&self, owner: &Owner, kind: ChildKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &owner.namespace, &kind.api_resource())
    }
}

/// Whether an object of kind `one` cannot do without `other`.
fn needs(one: ChildKind, other: ChildKind) -> bool {
    match one {
        ChildKind::StatefulSet | ChildKind::DaemonSet | ChildKind::Deployment => {
            matches!(other, ChildKind::ServiceAccount | ChildKind::Secret)
        }
        ChildKind::HorizontalPodAutoscaler => {
            matches!(other, ChildKind::Deployment) || needs(ChildKind::Deployment, other)
        }
        _ => false,
    }
}

/// The apply may only change the object with this uid.
fn only(uid: Option<&String>) -> (&'static str, Value) {
    ("uid", json!(uid))
}

/// The apply may only create.
fn never_before() -> (&'static str, Value) {
    ("resourceVersion", json!(NEVER))
}
