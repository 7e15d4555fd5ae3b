//! Oracle 18, secret bytes: a Secret that is named, generated or rotated appears in nothing that the operator writes (status, events,
//! annotations, any child), nor in its metrics, in no notation; and a rotation changes no pod. (That hosts with either secret are accepted
//! meanwhile is proven at the matchmaker.)

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::json;

use super::lives::start;
use super::script;
use crate::faults::{Network, Plan};
use crate::operator::bed::Bed;

const BEFORE: &str = "qXf81-first-of-the-secrets-Lw";
const AFTER: &str = "zPk77-second-of-the-secrets-Tm";
/// The same in base64, without the ends, which depend on what stands around.
const BEFORE_64: &str = "cVhmODEtZmlyc3Qtb2YtdGhlLXNlY3JldHMt";
const AFTER_64: &str = "elBrNzctc2Vjb25kLW9mLXRoZS1zZWNyZXRz";

#[tokio::test(flavor = "multi_thread")]
async fn oracle_18_secrets_are_in_nothing_that_is_written() {
    let bed = Bed::new("o18").await;
    let _pods = bed.roll_out();
    let network = Network::new(Plan::none());
    let operator = start(&bed, &network).await;
    script::make(&bed).await;
    for (name, key) in [("coturn", "secret"), ("hosts", "current")] {
        bed.secret(name, json!({key: BEFORE})).await;
    }
    bed.edit(
        "HostPool",
        "eu",
        json!({"hostAuth": {"secretRef": {"name": "hosts"}}}),
    )
    .await;
    script::ready(&bed).await;
    operator.settle().await;
    let deployments = bed.api("apps/v1", "Deployment");
    let pods = async || {
        let mut versions = BTreeMap::new();
        for name in ["eu-matchmaker", "main-signaling"] {
            versions.insert(name, deployments.get(name).await.unwrap().metadata.generation);
        }
        versions
    };
    let before = pods().await;
    for (name, key) in [("coturn", "secret"), ("hosts", "current")] {
        bed.secret(name, json!({key: AFTER, "previous": BEFORE})).await;
    }
    operator.settle().await;
    script::ready(&bed).await;
    assert_eq!(pods().await, before);
    // One that is wrong is told of, too.
    bed.secret("hosts", json!({"current": "", "other": AFTER})).await;
    bed.wait_condition("HostPool", "eu", "ResolvedRefs", "False")
        .await;

    let mut hidden = [BEFORE, AFTER, BEFORE_64, AFTER_64].map(str::to_owned).to_vec();
    for name in ["main-redis-auth", "main-match-key", "eu-admin-token"] {
        let secret = bed.api("v1", "Secret").get(name).await.unwrap();
        for (_, value) in secret.data["data"].as_object().unwrap() {
            hidden.push(value.as_str().unwrap().to_owned());
        }
        assert!(!secret.name_any().is_empty());
    }
    let log = network.log();
    // The value of a generated Secret is in the one request that makes it.
    for entry in log
        .iter()
        .filter(|entry| !(entry.asked.kind == "secrets" && entry.asked.verb == "create"))
    {
        let body = String::from_utf8_lossy(&entry.body);
        let shown = hidden.iter().find(|secret| body.contains(&***secret));
        assert!(shown.is_none(), "{} {}: {body}", entry.asked.verb, entry.object());
    }
    assert!(
        log.iter()
            .any(|entry| entry.asked.kind == "events" && !entry.body.is_empty()),
        "events were written"
    );
    let metrics = operator.metrics.encode();
    assert!(!hidden.iter().any(|secret| metrics.contains(&**secret)));
    operator.stop().await.unwrap();
}
