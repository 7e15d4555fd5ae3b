//! What each service reads, and how it is assembled from raw resources (pure).

use std::collections::BTreeMap;
use std::fmt;

use berth_crds::settings::{FieldErrors, PoolSettings, SignalingSettings, TurnSettings};
use berth_crds::{HostPool, SignalingCluster, TurnConfig};
use serde::de::DeserializeOwned;

use super::bundle::{Bundle, Kind, ResourceKey};

/// Settings that can be assembled from a bundle.
pub trait View: Sized + Send + Sync + 'static {
    /// Kind of the service's own resource.
    const OWN: Kind;

    /// Validates what the service needs of the bundle. `own` is a resource of [`View::OWN`].
    fn assemble(bundle: &Bundle, own: &ResourceKey) -> Result<Self, Refusals>;

    /// `metadata.generation` of every resource in the view; 0 outside a cluster.
    fn generations(&self) -> BTreeMap<&'static str, i64>;
}

/// What signaling reads.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalingView {
    /// Its SignalingCluster.
    pub cluster: SignalingSettings,
    /// The TurnConfig that this names.
    pub turn: Option<TurnSettings>,
}

/// What the matchmaker reads.
#[derive(Debug, Clone, PartialEq)]
pub struct MatchmakerView {
    /// Its HostPool.
    pub pool: PoolSettings,
    /// The SignalingCluster that the pool names.
    pub cluster: SignalingSettings,
    /// The TurnConfig that the pool names.
    pub turn: Option<TurnSettings>,
}

/// One reason why settings are not put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The resource, as `HostPool default/eu`.
    pub resource: String,
    /// The field, as `spec.rooms.capacity`; empty if it is the resource as a whole.
    pub path: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// All reasons; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusals(pub Vec<Refusal>);

// === impl View ===

impl View for SignalingView {
    const OWN: Kind = Kind::SignalingCluster;

    fn assemble(bundle: &Bundle, own: &ResourceKey) -> Result<Self, Refusals> {
        let mut refusals = Vec::new();
        let cluster = own_settings::<SignalingCluster, SignalingSettings>(bundle, own, &mut refusals);
        let turn = turn(bundle, own, &mut refusals);
        match cluster {
            Some(cluster) if refusals.is_empty() => Ok(Self { cluster, turn }),
            _ => Err(Refusals(refusals)),
        }
    }

    fn generations(&self) -> BTreeMap<&'static str, i64> {
        let own = (Kind::SignalingCluster.as_str(), self.cluster.generation);
        let turn = self
            .turn
            .iter()
            .map(|turn| (Kind::TurnConfig.as_str(), turn.generation));
        turn.chain([own]).collect()
    }
}

impl View for MatchmakerView {
    const OWN: Kind = Kind::HostPool;

    fn assemble(bundle: &Bundle, own: &ResourceKey) -> Result<Self, Refusals> {
        let mut refusals = Vec::new();
        let pool = own_settings::<HostPool, PoolSettings>(bundle, own, &mut refusals);
        let cluster = referenced::<SignalingCluster, SignalingSettings>(
            bundle,
            own,
            Kind::SignalingCluster,
            "spec.signalingClusterRef.name",
            &mut refusals,
        );
        let turn = turn(bundle, own, &mut refusals);
        match (pool, cluster) {
            (Some(pool), Some(cluster)) if refusals.is_empty() => Ok(Self { pool, cluster, turn }),
            _ => Err(Refusals(refusals)),
        }
    }

    fn generations(&self) -> BTreeMap<&'static str, i64> {
        let pool = (Kind::HostPool.as_str(), self.pool.generation);
        let cluster = (Kind::SignalingCluster.as_str(), self.cluster.generation);
        let turn = self
            .turn
            .iter()
            .map(|turn| (Kind::TurnConfig.as_str(), turn.generation));
        turn.chain([pool, cluster]).collect()
    }
}

/// The service's own resource.
fn own_settings<K, S>(bundle: &Bundle, own: &ResourceKey, refusals: &mut Vec<Refusal>) -> Option<S>
where
    K: DeserializeOwned,
    S: for<'a> TryFrom<&'a K, Error = FieldErrors>,
{
    let settings = settings(bundle, own, refusals);
    if settings.is_none() && refusals.is_empty() {
        refusals.push(Refusal::new(own, "", "does not exist"));
    }
    settings
}

/// A resource that `own` names in `field`.
fn referenced<K, S>(
    bundle: &Bundle,
    own: &ResourceKey,
    kind: Kind,
    field: &str,
    refusals: &mut Vec<Refusal>,
) -> Option<S>
where
    K: DeserializeOwned,
    S: for<'a> TryFrom<&'a K, Error = FieldErrors>,
{
    let key = bundle
        .references(own)
        .into_iter()
        .find(|reference| reference.kind == kind)?;
    let before = refusals.len();
    let settings = settings(bundle, &key, refusals);
    if settings.is_none() && refusals.len() == before {
        refusals.push(Refusal::new(own, field, format!("{key} does not exist")));
    }
    settings
}

fn turn(bundle: &Bundle, own: &ResourceKey, refusals: &mut Vec<Refusal>) -> Option<TurnSettings> {
    referenced::<TurnConfig, _>(bundle, own, Kind::TurnConfig, "spec.turnConfigRef.name", refusals)
}

/// Reads and validates one resource; `None` if it is not there or wrong, the latter with its refusals.
fn settings<K, S>(bundle: &Bundle, key: &ResourceKey, refusals: &mut Vec<Refusal>) -> Option<S>
where
    K: DeserializeOwned,
    S: for<'a> TryFrom<&'a K, Error = FieldErrors>,
{
    match bundle.read::<K>(key) {
        Ok(typed) => match S::try_from(&typed?) {
            Ok(settings) => return Some(settings),
            Err(errors) => {
                refusals.extend(
                    errors
                        .0
                        .into_iter()
                        .map(|error| Refusal::new(key, error.path, error.message)),
                );
            }
        },
        Err(refusal) => refusals.push(refusal),
    }
    None
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(key: &ResourceKey, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            resource: key.to_string(),
            path: path.into(),
            message: message.into(),
        }
    }

    pub(super) fn of_service(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            resource: kind.to_string(),
            path: String::new(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.resource)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            refusal.fmt(f)?;
        }
        Ok(())
    }
}

impl From<Refusal> for Refusals {
    fn from(refusal: Refusal) -> Self {
        Self(vec![refusal])
    }
}
