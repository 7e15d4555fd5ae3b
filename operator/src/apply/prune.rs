//! Deletes children that are rendered no longer.

use std::sync::Arc;

use kube::api::{DeleteParams, Preconditions};

use super::verdict::{Ownership, ownership};
use super::{Applied, Applier};
use crate::client::call;
use crate::cluster::LiveChild;
use crate::render::{Child, ChildId, ChildKind, Desired, Owner};

impl Applier<'_> {
    /// Deletes what belongs to `owner`, is of a kind that `which` takes, and is neither rendered nor withheld.
    ///
    /// Each deletion names the uid and version that were seen, so a decision on old news deletes nothing.
    pub(super) async fn prune(
        &self,
        owner: &Owner,
        desired: &Desired,
        which: impl Fn(ChildKind) -> bool,
        applied: &mut Applied,
    ) {
        for (id, live) in self.orphans(owner, desired, which) {
            let params = DeleteParams::background().preconditions(Preconditions {
                uid: live.uid.clone(),
                resource_version: live.resource_version.clone(),
            });
            let api = self.api(owner, id.kind);
            match call(format!("delete {id}"), api.delete(&id.name, &params)).await {
                Ok(_) => tracing::info!(%id, namespace = owner.namespace, "deleted: no longer wanted"),
                Err(error) if error.is_not_found() => {}
                Err(error) => applied.failures.push(error),
            }
        }
    }

    /// What belongs to `owner`, is of a kind that `which` takes, and is neither rendered nor withheld nor on its way out.
    pub(super) fn orphans(
        &self,
        owner: &Owner,
        desired: &Desired,
        which: impl Fn(ChildKind) -> bool,
    ) -> Vec<(ChildId, Arc<LiveChild>)> {
        let Some(uid) = &owner.uid else {
            return Vec::new();
        };
        let mut orphans = self.cluster.children.owned_by(uid);
        orphans.retain(|id| which(id.kind) && !desired.withheld.contains(id));
        for child in &desired.children {
            orphans.remove(&Child::id(child));
        }
        let live = orphans.into_iter().filter_map(|id| {
            let live = self.cluster.children.live(&owner.namespace, &id)?;
            let ours = ownership(live.controller.as_ref(), owner) == Ownership::Ours;
            (ours && !live.is_leaving).then_some((id, live))
        });
        live.collect()
    }
}
