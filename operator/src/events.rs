//! Events: one when the readiness of a resource turns or gets another reason, and none otherwise.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::cluster::MainKind;
use crate::names;
use crate::status::{ConditionType, HasConditions, find};

/// Publishes events.
#[derive(Clone)]
pub(crate) struct Announcer {
    recorder: Recorder,
}

impl Announcer {
    /// Publishes in the name of `instance`.
    pub(crate) fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter {
            controller: names::OPERATOR.into(),
            instance: Some(instance),
        };
        Self {
            recorder: Recorder::new(client, reporter),
        }
    }

    /// Tells of the step from `before` to `after`, if it is one that people want to know.
    pub(crate) async fn announce<K: MainKind>(&self, resource: &K, before: &K::Status, after: &K::Status) {
        let Some(condition) = turned(before.conditions(), after.conditions()) else {
            return;
        };
        let stalled =
            find(after.conditions(), ConditionType::Stalled).is_some_and(|stalled| stalled.status == "True");
        let event = Event {
            type_: if stalled {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: condition.reason.clone(),
            note: Some(condition.message.clone()),
            action: "Reconcile".into(),
            secondary: None,
        };
        let published = self.recorder.publish(&event, &resource.object_ref(&())).await;
        if let Err(error) = published {
            tracing::debug!(%error, "cannot publish an event");
        }
    }
}

/// The condition `Ready` of `after`, when its truth or reason is not that of `before`.
fn turned<'a>(before: &[Condition], after: &'a [Condition]) -> Option<&'a Condition> {
    let ready = find(after, ConditionType::Ready)?;
    let same = find(before, ConditionType::Ready)
        .is_some_and(|before| before.status == ready.status && before.reason == ready.reason);
    (!same).then_some(ready)
}
