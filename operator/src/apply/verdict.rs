//! What must be done about one child. Pure.

use aws_lc_rs::digest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;

use super::diff;
use crate::cluster::{Agreement, ChildView};
use crate::render::{ChildKind, Owner, SealedChild};

/// What must be done about one child.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing.
    Same,
    /// Nothing; and that it agrees was not known before.
    Agrees(Agreement),
    /// Nothing until the watch shows what was written.
    InFlight,
    /// It does not exist.
    Create,
    /// It differs.
    Update,
    /// It exists and is being deleted, or belongs to a deleted resource of the same name.
    Leaving,
    /// It belongs to someone else.
    NotOurs,
}

/// To whom an object belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    Ours,
    /// A deleted resource of the same kind and name.
    Former,
    NotOurs,
}

/// To whom an object with this controller belongs, seen from `owner`.
pub(super) fn ownership(controller: Option<&OwnerReference>, owner: &Owner) -> Ownership {
    match controller {
        Some(reference) if Some(&reference.uid) == owner.uid.as_ref() => Ownership::Ours,
        Some(reference)
            if reference.api_version == owner.api_version
                && reference.kind == owner.kind
                && reference.name == owner.name =>
        {
            Ownership::Former
        }
        _ => Ownership::NotOurs,
    }
}

/// What must be done about `child`, given what is known of it.
pub(super) fn verdict(
    child: &SealedChild,
    view: &ChildView,
    owner: &Owner,
) -> Result<Verdict, serde_json::Error> {
    let in_flight = view.in_flight.as_ref() == Some(&child.hash);
    let Some(live) = &view.live else {
        return Ok(if in_flight {
            Verdict::InFlight
        } else {
            Verdict::Create
        });
    };
    match ownership(live.controller.as_ref(), owner) {
        Ownership::Ours if !live.is_leaving => {}
        Ownership::Ours | Ownership::Former => return Ok(Verdict::Leaving),
        Ownership::NotOurs => return Ok(Verdict::NotOurs),
    }
    if in_flight {
        return Ok(Verdict::InFlight);
    }
    if live.hash.as_ref() != Some(&child.hash) {
        return Ok(Verdict::Update);
    }
    let known = view
        .agreement
        .as_ref()
        .filter(|agreement| agreement.hash == child.hash);
    if known.is_some_and(|known| known.resource_version == live.resource_version) {
        return Ok(Verdict::Same);
    }
    let projected = diff::project(child.id.kind, &child.value, &live.value());
    let agreement = Agreement {
        hash: child.hash.clone(),
        resource_version: live.resource_version.clone(),
        projection: digest_of(&projected)?,
    };
    // What the server answered to our write is the best measure; before the first write there is only our own text.
    let agrees = match known {
        Some(known) => known.projection == agreement.projection,
        None => diff::matches(&child.value, &projected),
    };
    Ok(if agrees {
        Verdict::Agrees(agreement)
    } else {
        Verdict::Update
    })
}

/// What a server answered to the write of `child`, as something later versions are measured by.
pub(super) fn agreement(child: &SealedChild, answer: &Value) -> Result<Agreement, serde_json::Error> {
    let kind: ChildKind = child.id.kind;
    Ok(Agreement {
        hash: child.hash.clone(),
        resource_version: answer
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .map(str::to_owned),
        projection: digest_of(&diff::project(kind, &child.value, answer))?,
    })
}

fn digest_of(value: &Value) -> Result<[u8; 32], serde_json::Error> {
    let digest = digest::digest(&digest::SHA256, &serde_json::to_vec(value)?);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Ok(bytes)
}
