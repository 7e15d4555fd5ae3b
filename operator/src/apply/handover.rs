//! Passing `spec.replicas` of a Deployment to an autoscaler and back, without a wrong count in between.
//!
//! A field that its last manager ceases to apply goes back to the API's default, and that of `replicas` is 1. So before
//! the operator ceases to apply it, a manager of its own holds it at the live value; the autoscaler's first change
//! takes it from there. The annotation [`names::REPLICAS`] is applied together with the field, so a look at the live
//! object tells which step comes next, after a crash too. The way back needs nothing: the autoscaler is deleted
//! first, then the field is applied with force.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};

use super::{Applier, never_before, only};
use crate::client::call;
use crate::cluster::LiveChild;
use crate::error::{CallError, Class};
use crate::names;
use crate::render::{ChildId, ChildKind, Desired, Owner, SealedChild};

/// The fewest pods when `child` is an autoscaled Deployment.
pub(super) fn autoscaled_floor(desired: &Desired, child: &SealedChild) -> Option<i32> {
    let autoscaled = replicas_annotation(&child.value) == Some(names::REPLICAS_AUTOSCALED);
    (child.id.kind == ChildKind::Deployment && autoscaled)
        .then_some(desired.autoscaled_floor)
        .flatten()
}

impl Applier<'_> {
    /// Before an update that no longer sets `replicas`: has the live count held by another manager.
    pub(super) async fn hand_over(
        &self,
        owner: &Owner,
        desired: &Desired,
        child: &SealedChild,
        live: &LiveChild,
    ) -> Result<(), CallError> {
        let Some(floor) = autoscaled_floor(desired, child) else {
            return Ok(());
        };
        if live.replicas_by.as_deref() == Some(names::REPLICAS_AUTOSCALED) {
            return Ok(());
        }
        let count = live.rollout.as_ref().map_or(0, |rollout| rollout.desired);
        // An autoscaler leaves a Deployment without pods alone, so it has to begin with some. Any other count is held
        // without force: when it has changed meanwhile, that is refused, and looked at again.
        let (count, force) = if count == 0 { (floor, true) } else { (count, false) };
        self.hold_replicas(owner, child, live.uid.as_ref(), count, force)
            .await
    }

    /// Makes an autoscaled Deployment: with the fewest pods, not with the API's default, and then handed over.
    pub(super) async fn create_autoscaled(
        &self,
        owner: &Owner,
        desired: &Desired,
        child: &SealedChild,
        floor: i32,
    ) -> Result<(), CallError> {
        let mut fixed = child.clone();
        // Another hash: should this process end here, the next one sees that something is left to do.
        fixed.hash = format!("{}-fixed", child.hash);
        fixed.value["spec"]["replicas"] = json!(floor);
        let annotations = &mut fixed.value["metadata"]["annotations"];
        annotations[names::REPLICAS] = json!(names::REPLICAS_FIXED);
        annotations[names::DESIRED_HASH] = json!(fixed.hash);
        let uid = match self.write(owner, &fixed, never_before()).await {
            Ok(uid) => uid,
            // One that the watch does not show, or not yet: only a look tells its count.
            Err(error) if error.class() == Class::Conflict => {
                let live = self.existing_deployment(owner, &child.id).await?;
                self.hand_over(owner, desired, child, &live).await?;
                return self.write(owner, child, only(live.uid.as_ref())).await.map(drop);
            }
            Err(error) => return Err(error),
        };
        self.hold_replicas(owner, child, uid.as_ref(), floor, false)
            .await?;
        self.write(owner, child, only(uid.as_ref())).await.map(drop)
    }

    /// A Deployment that exists although the watch has not shown it: ours, or a refusal.
    async fn existing_deployment(&self, owner: &Owner, id: &ChildId) -> Result<LiveChild, CallError> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &owner.namespace);
        let found = call(format!("look at {id}"), api.get_opt(&id.name)).await?;
        let live = found.map(LiveChild::new).unwrap_or_default();
        Self::is_ours(owner, id, live.controller.as_ref(), live.uid.clone())?;
        Ok(live)
    }

    async fn hold_replicas(
        &self,
        owner: &Owner,
        child: &SealedChild,
        uid: Option<&String>,
        count: i32,
        force: bool,
    ) -> Result<(), CallError> {
        let mut body = json!({
            "apiVersion": child.value["apiVersion"],
            "kind": child.value["kind"],
            "metadata": {"name": child.id.name, "namespace": owner.namespace},
            "spec": {"replicas": count},
        });
        if let Some(uid) = uid {
            body["metadata"]["uid"] = json!(uid);
        }
        self.send(owner, &child.id, &body, names::REPLICAS_MANAGER, force)
            .await
            .map(drop)
    }
}

fn replicas_annotation(value: &Value) -> Option<&str> {
    value["metadata"]["annotations"][names::REPLICAS].as_str()
}
