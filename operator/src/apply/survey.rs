//! What would be written or deleted, for a resource that is paused.

use super::verdict::Verdict;
use super::{Applied, Applier, Compared};
use crate::error::CallError;
use crate::render::{Child, Desired, Owner};

impl Applier<'_> {
    /// Finds out which children of `owner` are not what was rendered, from what the watches hold. It sends nothing.
    pub(super) fn survey(&self, owner: &Owner, desired: &Desired) -> Applied {
        let mut applied = Applied::default();
        for child in &desired.children {
            if let Err(error) = self.look_at(owner, child, &mut applied) {
                applied.failures.push(error);
            }
        }
        let orphans = self.orphans(owner, desired, |_| true);
        applied.held.extend(orphans.into_iter().map(|(id, _)| id));
        applied.held.sort();
        applied
    }

    fn look_at(&self, owner: &Owner, child: &Child, applied: &mut Applied) -> Result<(), CallError> {
        let children = &self.cluster.children;
        if let Child::Secret(_) = child {
            // What is in it is never changed.
            if children.live(&owner.namespace, &child.id()).is_none() {
                applied.held.push(child.id());
            }
            return Ok(());
        }
        let Some(Compared { sealed, verdict, .. }) = self.compare(owner, child, applied)? else {
            return Ok(());
        };
        match verdict {
            Verdict::Same => {}
            Verdict::Agrees(agreement) => children.agree(&owner.namespace, &sealed.id, agreement),
            Verdict::InFlight => applied.in_flight = true,
            Verdict::Create | Verdict::Update | Verdict::Leaving | Verdict::NotOurs => {
                applied.held.push(sealed.id);
            }
        }
        Ok(())
    }
}
