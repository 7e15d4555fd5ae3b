//! Reconcile of a TurnConfig. It becomes nothing by itself: its consumers read it.

use berth_crds::TurnConfig;
use berth_crds::api::TurnConfigStatus;
use berth_crds::settings::{ObjectName, TurnSettings};
use jiff::Timestamp;

use crate::cluster::MainKind;
use crate::controller::{Context, Findings, Reconcile};
use crate::error::CallError;
use crate::resolve;
use crate::status::{self, Trouble, TurnConfigFacts};

impl Reconcile for TurnConfig {
    type Facts = TurnConfigFacts;

    async fn reconcile(
        resource: &Self,
        name: &ObjectName,
        context: &Context,
        findings: &mut Findings<TurnConfigFacts>,
    ) -> Result<(), CallError> {
        let settings = match TurnSettings::try_from(resource) {
            Ok(settings) => settings,
            Err(errors) => {
                findings.trouble = Some(Trouble::InvalidSpec(errors.to_string()));
                return Ok(());
            }
        };
        let needs = resolve::turn_needs(&settings);
        let secrets = &context.cluster.secrets;
        let seen = secrets.look(&context.client, &name.namespace, &needs).await?;
        findings.facts.missing = Some(resolve::missing_secrets(&needs, &seen));
        Ok(())
    }

    fn observe(name: &ObjectName, context: &Context, facts: &mut TurnConfigFacts) {
        facts.reach = context.reach.get(name);
        facts.consumers = context.cluster.consumers(&Self::node(name.clone()));
    }

    fn new_status(
        resource: &Self,
        previous: &TurnConfigStatus,
        facts: &TurnConfigFacts,
        trouble: Option<&Trouble>,
        now: Timestamp,
    ) -> TurnConfigStatus {
        status::turn_config(resource, previous, facts, trouble, now)
    }
}
