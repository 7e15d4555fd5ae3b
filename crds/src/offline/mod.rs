//! The verdict of the API server on a manifest, without an API server.
//!
//! ```text
//! text ─ document ─▶ value ─ structural ─▶ value with defaults ─▶ metadata, values, rules ─▶ findings
//!        kubectl's    unknown fields,        what validation       names,   types    CEL
//!        reading      nulls, defaults        gets to see           labels   bounds
//! ```
//!
//! The order and the scope of each step are those of `k8s.io/apiextensions-apiserver` with strict field validation, on
//! the same `CustomResourceDefinition` objects that the cluster gets. A corpus that runs here and against a real API
//! server holds the two together. Two steps go further than the API server: the settings that the services
//! make of a resource ([`crate::settings`]), and references among the resources at hand.
//!
//! One difference is known: an update of a stored resource ("ratcheting") forgives a field that was wrong before
//! and has not changed; here it is reported.

pub mod cases;
mod definition;
mod document;
mod finding;
mod metadata;
mod references;
mod rules;
mod structural;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

use definition::Definition;
pub use definition::DefinitionError;
use finding::Findings;
pub use finding::{Finding, Level, Stage};

use crate::settings::{FieldErrors, PoolSettings, SignalingSettings, TurnSettings};
use crate::{GROUP, HostPool, SignalingCluster, TurnConfig, VERSION, generate};

/// One file of manifests.
#[derive(Clone, Debug)]
pub struct Source {
    /// Name for messages.
    pub name: String,
    /// YAML or JSON, any number of documents.
    pub text: String,
}

/// What came of a check.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many resources of the three kinds were judged.
    pub resources: usize,
    /// What was found, in the order of the documents.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What the API server refuses.
    pub fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_refusal())
    }

    /// How many findings are this bad.
    pub fn count(&self, level: Level) -> usize {
        let is = |finding: &&Finding| finding.level == level;
        self.findings.iter().filter(is).count()
    }
}

/// Checks manifests of the three kinds. Making one compiles all rules, so keep it.
#[derive(Debug)]
pub struct Validator {
    definitions: BTreeMap<String, Definition>,
}

impl Validator {
    /// A validator of the definitions that this program was built with.
    ///
    /// Fails when one of them cannot be judged offline; a test proves that this does not happen.
    pub fn new() -> Result<Self, DefinitionError> {
        let definitions = generate::definitions()
            .into_iter()
            .map(|crd| Ok((crd.spec.names.kind.clone(), Definition::new(crd)?)));
        Ok(Self {
            definitions: definitions.collect::<Result<_, DefinitionError>>()?,
        })
    }

    /// Checks all `sources` together, each resource against the one of the same name in `old` where there is one.
    pub fn check(&self, sources: &[Source], old: &[Source]) -> Report {
        // What is wrong with the old state was told when it was new.
        let old_state = self.read(old, &mut Vec::new());
        let mut findings = Vec::new();
        let resources = self.read(sources, &mut findings);
        for resource in &resources {
            let before = old_state
                .iter()
                .find(|before| before.identity == resource.identity);
            self.judge(resource, before.map(|before| &before.value), &mut findings);
        }
        references::check(&resources, &mut findings);
        let judged = |resource: &&Resource| !resource.is_secret();
        Report {
            resources: resources.iter().filter(judged).count(),
            findings,
        }
    }

    fn read(&self, sources: &[Source], findings: &mut Vec<Finding>) -> Vec<Resource> {
        let mut resources = Vec::new();
        for source in sources {
            for document in document::read(&source.text) {
                let mut notes = Findings::new(&source.name, &document.title());
                match document.content {
                    Err(message) => notes.error(Stage::Document, "", message),
                    Ok(content) => {
                        for (path, message) in &content.doubts {
                            notes.warning(Stage::Document, path, message);
                        }
                        resources.extend(content.items.into_iter().filter_map(|value| {
                            let resource = Resource::new(&source.name, value, &mut notes)?;
                            self.accept(resource, findings)
                        }));
                    }
                }
                findings.append(&mut notes.into_vec());
            }
        }
        resources
    }

    /// Lets through our kinds, and Secrets, which references are checked against.
    fn accept(&self, resource: Resource, findings: &mut Vec<Finding>) -> Option<Resource> {
        let Identity {
            group, version, kind, ..
        } = &resource.identity;
        let mut notes = resource.findings();
        if group == GROUP && !self.definitions.contains_key(kind) {
            let kinds: Vec<_> = self.definitions.keys().map(String::as_str).collect();
            notes.error(
                Stage::Document,
                "kind",
                format!("must be one of {}", kinds.join(", ")),
            );
        } else if group == GROUP && version != VERSION {
            notes.error(
                Stage::Document,
                "apiVersion",
                format!("must be {GROUP}/{VERSION}"),
            );
        } else if group == GROUP || resource.is_secret() {
            return Some(resource);
        } else {
            notes.note(Stage::Document, "", "not a kind of Berth, passed over");
        }
        findings.append(&mut notes.into_vec());
        None
    }

    fn judge(&self, resource: &Resource, old: Option<&Value>, findings: &mut Vec<Finding>) {
        let Some(definition) = self.definitions.get(&resource.identity.kind) else {
            return;
        };
        let mut found = resource.findings();
        let mut value = resource.value.clone();
        structural::unknown_fields(&definition.schema, &value, &mut found);
        structural::complete(&definition.schema, &mut value);
        metadata::check(&value, &mut found);
        values::check(definition, &value, &mut found);
        if !found.block_rules() {
            definition.rules.check(&value, old, &mut found);
        }
        if !found.has_errors() {
            settings(&resource.identity.kind, value, &mut found);
        }
        findings.append(&mut found.into_vec());
    }
}

/// What the services say to a resource that the API server takes.
fn settings(kind: &str, value: Value, found: &mut Findings) {
    fn parse<R, S>(value: Value, found: &mut Findings)
    where
        R: serde::de::DeserializeOwned,
        S: for<'a> TryFrom<&'a R, Error = FieldErrors>,
    {
        match serde_json::from_value::<R>(value) {
            Err(error) => found.error(Stage::Settings, "spec", error.to_string()),
            Ok(resource) => {
                for error in S::try_from(&resource)
                    .err()
                    .map(|errors| errors.0)
                    .unwrap_or_default()
                {
                    found.error(Stage::Settings, &error.path, error.message);
                }
            }
        }
    }
    match kind {
        "SignalingCluster" => parse::<SignalingCluster, SignalingSettings>(value, found),
        "HostPool" => parse::<HostPool, PoolSettings>(value, found),
        _ => parse::<TurnConfig, TurnSettings>(value, found),
    }
}

/// What tells one resource from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    group: String,
    version: String,
    kind: String,
    namespace: String,
    name: String,
}

/// One resource of a source.
#[derive(Clone, Debug)]
struct Resource {
    source: String,
    identity: Identity,
    value: Value,
}

impl Resource {
    /// Takes a document that says what it is, or notes why it does not.
    fn new(source: &str, value: Value, notes: &mut Findings) -> Option<Self> {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (Some(api_version), Some(kind)) = (text("/apiVersion"), text("/kind")) else {
            notes.error(Stage::Document, "", "apiVersion and kind must be set");
            return None;
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let name = text("/metadata/name").or_else(|| text("/metadata/generateName"));
        Some(Self {
            source: source.to_owned(),
            identity: Identity {
                group: group.to_owned(),
                version: version.to_owned(),
                kind,
                namespace: text("/metadata/namespace").unwrap_or_default(),
                name: name.unwrap_or_default(),
            },
            value,
        })
    }

    fn is_secret(&self) -> bool {
        self.identity.group.is_empty() && self.identity.kind == "Secret"
    }

    fn findings(&self) -> Findings {
        Findings::new(
            &self.source,
            &format!("{}/{}", self.identity.kind, self.identity.name),
        )
    }
}
