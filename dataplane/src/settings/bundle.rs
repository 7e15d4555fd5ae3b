//! Raw resources, as every source gives them.

use std::collections::BTreeMap;
use std::fmt;

use berth_crds::settings::ObjectName;
use berth_crds::{GROUP, HostPool, SignalingCluster, TurnConfig, VERSION};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::view::Refusal;

/// Most resources in a bundle: a service needs three, a folder of manifests may hold more.
const MAX_RESOURCES: usize = 1024;

/// A kind that services read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `SignalingCluster`.
    SignalingCluster,
    /// `HostPool`.
    HostPool,
    /// `TurnConfig`.
    TurnConfig,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub name: ObjectName,
}

/// Raw resources, reduced to what settings are made of: kind, name, generation and spec, and of a TurnConfig's status the addresses of
/// the servers that Berth runs, which stand nowhere else. The rest of the status and managed fields are gone, so two bundles are
/// equal when they mean the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Value>", into = "Vec<Value>")]
pub struct Bundle {
    resources: BTreeMap<ResourceKey, Value>,
}

/// Which resource is the service's own, as far as it was told (`BERTH_NAMESPACE`, `BERTH_NAME`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// Its namespace; any if absent.
    pub namespace: Option<String>,
    /// Its name; if absent, the only one of its kind.
    pub name: Option<String>,
}

/// Why a document cannot be part of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A Berth kind of a version that is not served.
    #[error("{kind}: apiVersion must be {GROUP}/{VERSION}, is {found}")]
    Version {
        /// The kind.
        kind: &'static str,
        /// What stands there.
        found: String,
    },
    /// No name.
    #[error("{0}: metadata.name must be set")]
    Name(&'static str),
    /// Twice the same kind, namespace and name.
    #[error("{0} is there twice")]
    Twice(ResourceKey),
    /// A field that the kind does not have.
    #[error("{key}: {path}: there is no such field")]
    UnknownField {
        /// The resource.
        key: ResourceKey,
        /// Path of the field.
        path: String,
    },
    /// Too many resources.
    #[error("more than {MAX_RESOURCES} resources")]
    TooMany,
}

// === impl Kind ===

impl Kind {
    /// As it stands in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignalingCluster => "SignalingCluster",
            Self::HostPool => "HostPool",
            Self::TurnConfig => "TurnConfig",
        }
    }

    fn from_str(text: &str) -> Option<Self> {
        [Self::SignalingCluster, Self::HostPool, Self::TurnConfig]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl ResourceKey ===

impl ResourceKey {
    /// The resource `name` of `kind`.
    pub fn new(kind: Kind, name: ObjectName) -> Self {
        Self { kind, name }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

// === impl Bundle ===

impl Bundle {
    /// Adds a manifest. Kinds that services do not read are left out; `namespace` holds where the manifest names none.
    pub fn add(&mut self, manifest: &Value, namespace: &str) -> Result<(), BundleError> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
        let api_version = text("/apiVersion").unwrap_or_default();
        let Some(kind) = text("/kind").and_then(Kind::from_str) else {
            return Ok(());
        };
        if api_version.split('/').next() != Some(GROUP) {
            return Ok(());
        }
        if api_version != format!("{GROUP}/{VERSION}") {
            return Err(BundleError::Version {
                kind: kind.as_str(),
                found: api_version.to_owned(),
            });
        }
        let name = text("/metadata/name").ok_or(BundleError::Name(kind.as_str()))?;
        let name = ObjectName::new(text("/metadata/namespace").unwrap_or(namespace), name);
        let key = ResourceKey::new(kind, name);
        if self.resources.contains_key(&key) {
            return Err(BundleError::Twice(key));
        }
        self.put(key, manifest)
    }

    /// Adds or replaces a resource by what the API server said of it.
    pub fn put(&mut self, key: ResourceKey, manifest: &Value) -> Result<(), BundleError> {
        if self.resources.len() >= MAX_RESOURCES {
            return Err(BundleError::TooMany);
        }
        let reduced = reduce(&key, manifest);
        self.resources.insert(key, reduced);
        Ok(())
    }

    /// Sets a field of the spec of every resource of a kind: for a program that serves its manifests otherwise than they say.
    pub fn override_spec(&mut self, kind: Kind, field: &str, value: &Value) {
        for (key, resource) in &mut self.resources {
            if key.kind == kind
                && let Some(spec) = resource.get_mut("spec").and_then(Value::as_object_mut)
            {
                spec.insert(field.to_owned(), value.clone());
            }
        }
    }

    /// The resources that a resource references and its settings need, whether they are there or not.
    pub fn references(&self, key: &ResourceKey) -> Vec<ResourceKey> {
        let Some(resource) = self.resources.get(key) else {
            return Vec::new();
        };
        let fields = [
            ("/spec/signalingClusterRef/name", Kind::SignalingCluster),
            ("/spec/turnConfigRef/name", Kind::TurnConfig),
        ];
        let named = fields.into_iter().filter_map(|(pointer, kind)| {
            let name = resource.pointer(pointer)?.as_str()?;
            Some(ResourceKey::new(kind, ObjectName::new(&key.name.namespace, name)))
        });
        named.collect()
    }

    /// `metadata.generation` of a resource, if it is there and has one.
    pub fn generation(&self, key: &ResourceKey) -> Option<i64> {
        self.resources.get(key)?.pointer("/metadata/generation")?.as_i64()
    }

    /// Names of all resources of a kind.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &ObjectName> {
        self.resources
            .keys()
            .filter(move |key| key.kind == kind)
            .map(|key| &key.name)
    }

    /// Fields that stand in a spec although its kind does not have them (a typing error in a file; the API server
    /// never lets them through).
    pub fn unknown_fields(&self) -> Result<(), BundleError> {
        for (key, resource) in &self.resources {
            let known = match key.kind {
                Kind::SignalingCluster => rewritten::<SignalingCluster>(resource),
                Kind::HostPool => rewritten::<HostPool>(resource),
                Kind::TurnConfig => rewritten::<TurnConfig>(resource),
            };
            // What cannot be read at all is refused with a better message by whoever assembles.
            let Some(known) = known else { continue };
            if let Some(path) = first_unknown("spec", &resource["spec"], &known["spec"]) {
                return Err(BundleError::UnknownField {
                    key: key.clone(),
                    path,
                });
            }
        }
        Ok(())
    }

    /// Reads one resource into its type.
    pub(super) fn read<K: DeserializeOwned>(&self, key: &ResourceKey) -> Result<Option<K>, Refusal> {
        let Some(resource) = self.resources.get(key) else {
            return Ok(None);
        };
        match serde_path_to_error::deserialize(resource) {
            Ok(typed) => Ok(Some(typed)),
            Err(error) => {
                let path = error.path().to_string();
                Err(Refusal::new(key, path, error.into_inner().to_string()))
            }
        }
    }
}

impl TryFrom<Vec<Value>> for Bundle {
    type Error = BundleError;

    fn try_from(manifests: Vec<Value>) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        for manifest in &manifests {
            bundle.add(manifest, "default")?;
        }
        Ok(bundle)
    }
}

impl From<Bundle> for Vec<Value> {
    fn from(bundle: Bundle) -> Self {
        bundle.resources.into_values().collect()
    }
}

// === impl Own ===

impl Own {
    /// The service's own resource among those of the bundle.
    pub fn resolve(&self, bundle: &Bundle, kind: Kind) -> Result<ResourceKey, Refusal> {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let found: Vec<&ObjectName> = bundle
            .names(kind)
            .filter(|name| fits(&self.namespace, &name.namespace) && fits(&self.name, &name.name))
            .collect();
        match found.as_slice() {
            [only] => Ok(ResourceKey::new(kind, (*only).clone())),
            [] => Err(Refusal::of_service(kind, format!("there is no {kind}{self}"))),
            many => {
                let names: Vec<String> = many.iter().map(ToString::to_string).collect();
                let message = format!(
                    "there are several: set BERTH_NAMESPACE and BERTH_NAME to one of {}",
                    names.join(", ")
                );
                Err(Refusal::of_service(kind, message))
            }
        }
    }
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, " named {name}")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " in namespace {namespace}")?;
        }
        Ok(())
    }
}

fn reduce(key: &ResourceKey, manifest: &Value) -> Value {
    let mut reduced = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": key.kind.as_str(),
        "metadata": {
            "name": key.name.name,
            "namespace": key.name.namespace,
            "generation": manifest.pointer("/metadata/generation").and_then(Value::as_i64),
        },
        "spec": manifest.get("spec").map(without_nulls).unwrap_or_default(),
    });
    let addresses = manifest.pointer("/status/managed/addresses");
    if let (Kind::TurnConfig, Some(Value::Array(addresses))) = (key.kind, addresses)
        && !addresses.is_empty()
    {
        reduced["status"] = json!({"managed": {"addresses": addresses}});
    }
    reduced
}

/// A value without the members of objects that are null. The API server drops them where the field takes no null, and
/// no field of ours does: `rooms:` with nothing under it means the defaults, in a file as well.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(name, member)| (name.clone(), without_nulls(member)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// What is left of a resource after it has been read into its type.
fn rewritten<K: DeserializeOwned + Serialize>(resource: &Value) -> Option<Value> {
    serde_json::to_value(K::deserialize(resource).ok()?).ok()
}

/// The first field of `given` that is not in `known`.
fn first_unknown(path: &str, given: &Value, known: &Value) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match known.get(name) {
                Some(known) => first_unknown(&path, value, known),
                None if value.is_null() => None,
                None => Some(path),
            }
        }),
        (Value::Array(given), Value::Array(known)) => given
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(index, (given, known))| first_unknown(&format!("{path}[{index}]"), given, known)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
