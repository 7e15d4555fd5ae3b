//! Everything that given manifests become, without a cluster: for reviews, and as a way out of the operator.

use berth_crds::settings::{FieldErrors, PoolSettings, SignalingSettings, TurnSettings};
use berth_crds::{HostPool, SignalingCluster, TurnConfig};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::Value;

use super::{Child, Defaults, Desired, Offered, RenderError, host_pool, signaling_cluster, turn_config};
use crate::resolve::{self, Missing};

/// Stands for a random value that the operator makes once.
pub const GENERATED: &str = "<generated>";

/// A resource of one of our kinds.
#[derive(Clone, Debug, PartialEq)]
pub enum Manifest {
    /// A SignalingCluster.
    SignalingCluster(Box<SignalingCluster>),
    /// A HostPool.
    HostPool(Box<HostPool>),
    /// A TurnConfig.
    TurnConfig(Box<TurnConfig>),
}

/// Why manifests cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The spec breaks a rule.
    #[error("{kind} {name}: {errors}")]
    Invalid {
        /// Kind of the resource.
        kind: &'static str,
        /// Name of the resource.
        name: String,
        /// Every wrong field.
        errors: FieldErrors,
    },
    /// The spec cannot be rendered.
    #[error("{kind} {name}: {source}")]
    Render {
        /// Kind of the resource.
        kind: &'static str,
        /// Name of the resource.
        name: String,
        /// Why.
        source: RenderError,
    },
    /// Something that a resource names is not among the manifests.
    #[error("{kind} {name}: {missing} among the given manifests")]
    Missing {
        /// Kind of the resource.
        kind: &'static str,
        /// Name of the resource.
        name: String,
        /// What is missing.
        missing: Missing,
    },
    /// An object cannot be written as JSON.
    #[error("cannot write an object as JSON")]
    Json(#[from] serde_json::Error),
}

/// Every object that the operator would apply for `manifests`, in their order. Secrets that are named are taken to exist; what
/// the operator would make at random is [`GENERATED`]. The cluster is taken to offer all that is asked for. Objects name no owner, which has no uid yet.
pub fn render_manifests(manifests: &[Manifest], defaults: &Defaults) -> Result<Vec<Value>, ManifestError> {
    let mut objects = Vec::new();
    for manifest in manifests {
        let desired = match manifest {
            Manifest::SignalingCluster(resource) => cluster(resource, manifests, defaults)?,
            Manifest::HostPool(resource) => pool(resource, manifests, defaults)?,
            Manifest::TurnConfig(resource) => {
                turn(resource)?;
                turn_config(resource, true, defaults)
            }
        };
        for child in &desired.children {
            objects.push(value(child)?);
        }
    }
    Ok(objects)
}

fn cluster(
    resource: &SignalingCluster,
    manifests: &[Manifest],
    defaults: &Defaults,
) -> Result<Desired, ManifestError> {
    let (kind, name) = ("SignalingCluster", resource.name_any());
    let settings = SignalingSettings::try_from(resource).map_err(|errors| ManifestError::Invalid {
        kind,
        name: name.clone(),
        errors,
    })?;
    let turn = named_turn(resource, settings.turn_config.as_deref(), manifests).map_err(|missing| {
        ManifestError::Missing {
            kind,
            name: name.clone(),
            missing,
        }
    })?;
    let links = resolve::cluster_links(resource, turn.as_ref());
    signaling_cluster(resource, Some(&links), defaults, Offered::EVERYTHING)
        .map_err(|source| ManifestError::Render { kind, name, source })
}

fn pool(resource: &HostPool, manifests: &[Manifest], defaults: &Defaults) -> Result<Desired, ManifestError> {
    let (kind, name) = ("HostPool", resource.name_any());
    let settings = PoolSettings::try_from(resource).map_err(|errors| ManifestError::Invalid {
        kind,
        name: name.clone(),
        errors,
    })?;
    let missing = |missing| ManifestError::Missing {
        kind,
        name: name.clone(),
        missing,
    };
    let cluster = manifests
        .iter()
        .find_map(|manifest| match manifest {
            Manifest::SignalingCluster(other)
                if is_sibling(resource, other.as_ref(), &settings.signaling_cluster) =>
            {
                Some(other)
            }
            _ => None,
        })
        .ok_or_else(|| missing(Missing::SignalingCluster(settings.signaling_cluster.clone())))?;
    let turn = named_turn(resource, settings.turn_config.as_deref(), manifests).map_err(missing)?;
    let links = resolve::pool_links(&settings, cluster, turn.as_ref());
    Ok(host_pool(resource, Some(&links), defaults, Offered::EVERYTHING))
}

/// The TurnConfig that `resource` names.
fn named_turn(
    resource: &impl ResourceExt,
    name: Option<&str>,
    manifests: &[Manifest],
) -> Result<Option<TurnSettings>, Missing> {
    let Some(name) = name else {
        return Ok(None);
    };
    let found = manifests.iter().find_map(|manifest| match manifest {
        Manifest::TurnConfig(other) if is_sibling(resource, other.as_ref(), name) => Some(other.as_ref()),
        _ => None,
    });
    resolve::turn_settings(name, found).map(Some)
}

/// Whether `other` is the one of this name in the namespace of `resource`.
fn is_sibling(resource: &impl ResourceExt, other: &impl ResourceExt, name: &str) -> bool {
    other.namespace() == resource.namespace() && other.name_any() == name
}

fn turn(resource: &TurnConfig) -> Result<TurnSettings, ManifestError> {
    TurnSettings::try_from(resource).map_err(|errors| ManifestError::Invalid {
        kind: "TurnConfig",
        name: resource.name_any(),
        errors,
    })
}

fn value(child: &Child) -> Result<Value, serde_json::Error> {
    if let Child::Secret(secret) = child {
        return serde_json::to_value(Secret {
            metadata: secret.metadata.clone(),
            string_data: Some([(secret.key.to_owned(), GENERATED.to_owned())].into()),
            ..Secret::default()
        });
    }
    Ok(child.seal()?.map(|sealed| sealed.value).unwrap_or_default())
}
