//! Specs out of the schema: every accepted edge case of the fullest resources of the corpus, in a namespace in which everything exists that
//! they name.
//!
//! References stay as they are, because what they name must exist.

use std::fs;
use std::time::{Duration, Instant};

use berth_crds::generate::definitions;
use berth_crds::offline::{Source, Validator, cases};
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::lives::start_with;
use super::state::kinds;
use crate::faults::{Network, Plan, Random};
use crate::operator::bed::{Bed, PATIENCE, Running, conditions};
use crate::server::repository;

/// Kind, name in the tests, and file of the corpus.
const BASES: [(&str, &str, &str); 3] = [
    ("TurnConfig", "turn", "turnconfig-providers"),
    ("SignalingCluster", "main", "signalingcluster-managed"),
    ("HostPool", "eu", "hostpool-full"),
];

/// A resource, and what is unusual about it.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) kind: &'static str,
    pub(super) name: &'static str,
    pub(super) about: String,
    pub(super) resource: Value,
}

/// All specs of one kind; the first is the plain one.
pub(super) struct Specs(pub(super) Vec<Spec>);

impl Specs {
    /// Those of all kinds, what is named before what names it.
    pub(super) fn all() -> Vec<Self> {
        let validator = Validator::new().unwrap();
        let accepted = |resource: &Value| {
            let source = Source {
                name: "case".into(),
                text: resource.to_string(),
            };
            validator.check(&[source], &[]).refusals().next().is_none()
        };
        let of_kind = |(kind, name, file): (&'static str, &'static str, &str)| {
            let path = repository().join(format!("crds/tests/corpus/accept/{file}.yaml"));
            let mut base: Value = serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
            base["metadata"] = json!({"name": name});
            // A port of the nodes is one for all namespaces; and a claim of a device needs one in the pod, which there is not.
            for (around, field) in [("/spec/service", "nodePort"), ("/spec/pod/resources", "claims")] {
                if let Some(around) = base.pointer_mut(around) {
                    around.as_object_mut().unwrap().remove(field);
                }
            }
            let mut crds = definitions().into_iter();
            let crd = crds.find(|crd| crd.spec.names.kind == kind).unwrap();
            let mut specs = vec![Spec {
                kind,
                name,
                about: "as in the corpus".into(),
                resource: base.clone(),
            }];
            let cases = cases::derive(&crd, &base).into_iter();
            specs.extend(
                cases
                    .filter(|case| !case.path.contains("Ref") && accepted(&case.resource))
                    .map(|case| Spec {
                        kind,
                        name,
                        about: format!("{kind} {} = {}", case.path, case.change),
                        resource: case.resource,
                    }),
            );
            assert!(specs.len() > 20, "{kind}: {} specs", specs.len());
            Self(specs)
        };
        BASES.into_iter().map(of_kind).collect()
    }

    pub(super) fn plain(&self) -> &Spec {
        &self.0[0]
    }

    pub(super) fn any(&self, random: &mut Random) -> &Spec {
        random.one_of(&self.0)
    }

    /// One that can be brought about.
    pub(super) fn any_of_ours(&self, random: &mut Random) -> &Spec {
        loop {
            let spec = self.any(random);
            if spec.is_ours() {
                return spec;
            }
        }
    }
}

impl Spec {
    /// Whether all of it is Berth's own: the schema of most of `spec.pod` is that of Kubernetes, which accepts what no pod can be made of.
    pub(super) fn is_ours(&self) -> bool {
        !self.about.contains(" spec.pod.")
    }

    /// The same with a fixed number of pods, which is the same whatever was before.
    pub(super) fn fixed(mut self) -> Self {
        if let Some(spec) = self.resource["spec"].as_object_mut() {
            spec.remove("autoscaling");
        }
        self
    }

    /// Applies it as a user does; `None`: the server takes no such change of what is there.
    pub(super) async fn apply(&self, bed: &Bed) -> Option<DynamicObject> {
        let params = PatchParams::apply("user").force();
        let answer = bed
            .ours(self.kind)
            .patch(self.name, &params, &Patch::Apply(&self.resource))
            .await;
        match answer {
            Ok(applied) => Some(applied),
            Err(kube::Error::Api(status)) if status.code == 422 => None,
            Err(error) => panic!("{}: {error}", self.about),
        }
    }

    /// Makes it anew, as `berth validate` judges it.
    pub(super) async fn create(&self, bed: &Bed) {
        let object = serde_json::from_value(self.resource.clone()).unwrap();
        let answer = bed.ours(self.kind).create(&PostParams::default(), &object).await;
        answer.unwrap_or_else(|error| panic!("{}: {error}", self.about));
    }

    /// Waits until its present version was looked at, and gives it.
    pub(super) async fn looked_at(&self, bed: &Bed) -> DynamicObject {
        bed.wait(&format!("{} to be looked at", self.about), async || {
            let found = bed.ours(self.kind).get(self.name).await.unwrap();
            let current = found.data["status"]["observedGeneration"].as_i64() == found.metadata.generation;
            let told = conditions(&found);
            // What is about to be tried again is no answer yet.
            let busy = told
                .get("Ready")
                .is_none_or(|(_, reason, _)| ["Pending", "WaitingForDeletion"].contains(&&**reason));
            (current && !busy).then_some(found)
        })
        .await
    }

    /// Waits until nothing more is to be done for it.
    pub(super) async fn done(&self, bed: &Bed) {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.looked_at(bed).await;
            let told = conditions(&found);
            let is =
                |condition: &str, status: &str| told.get(condition).is_none_or(|(is, _, _)| is == status);
            let followed = is("SettingsApplied", "True") || found.data["spec"]["replicas"] == 0;
            if is("Reconciling", "False") && is("Stalled", "False") && followed {
                return;
            }
            assert!(Instant::now() < end, "{} is not done: {told:#?}", self.about);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A namespace with every Secret that the specs name, and an operator that probes nothing.
pub(super) async fn furnished(purpose: &str) -> (Bed, Running) {
    let bed = Bed::new(purpose).await;
    for (name, values) in [
        ("hosts", json!({"current": "a", "previous": "b"})),
        ("admins", json!({"current": "a", "previous": "b"})),
        ("tokens", json!({"now": "a", "before": "b"})),
        ("coturn", json!({"secret": "a"})),
        ("fixed", json!({"user": "a", "password": "b"})),
        ("metered", json!({"apiKey": "a"})),
        ("signaling-tls", json!({"tls.crt": "a"})),
        ("match-tls", json!({"tls.crt": "a"})),
        ("registry", json!({".dockerconfigjson": "{}"})),
    ] {
        bed.secret(name, values).await;
    }
    let network = Network::new(Plan::none());
    let operator = start_with(&bed, &network, |options| {
        options.intervals.probe = Duration::ZERO;
    })
    .await;
    (bed, operator)
}

/// What the garbage collector does, which does not run here: deletes a resource and then what it owned.
pub(super) async fn delete(bed: &Bed, kind: &str, name: &str) {
    let Some(gone) = bed.ours(kind).get_opt(name).await.unwrap() else {
        return;
    };
    let uid = gone.uid().unwrap();
    bed.ours(kind)
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    for (api_version, kind) in kinds() {
        let api = bed.api(api_version, kind);
        for child in api.list(&ListParams::default()).await.unwrap() {
            if child.owner_references().iter().any(|owner| owner.uid == uid) {
                api.delete(&child.name_any(), &DeleteParams::default())
                    .await
                    .unwrap();
            }
        }
    }
}
