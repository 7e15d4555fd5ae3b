//! The alert rules of the chart: promtool takes them, and each of them is seen to fire once and to stay silent once.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use berth_e2e::{process, workspace};
use serde_yaml::Value;

/// The rules.
const RULES: &str = "charts/berth/files/alerts.yaml";
/// Their tests.
const TESTS: &str = "e2e/alerts/tests.yaml";

/// Checks the rules and runs their tests.
pub(crate) fn check() -> Result<()> {
    let promtool = |arguments: &[&str]| {
        process::run(
            Command::new("promtool")
                .args(arguments)
                .current_dir(workspace::root()),
        )
    };
    promtool(&["check", "rules", RULES])?;
    promtool(&["test", "rules", TESTS])?;
    let untested = untested(&read(RULES)?, &read(TESTS)?)?;
    if !untested.is_empty() {
        bail!("{TESTS} lacks: {}", untested.join(", "));
    }
    Ok(())
}

fn read(path: &str) -> Result<Value> {
    let text = fs::read_to_string(workspace::root().join(path)).with_context(|| path.to_owned())?;
    serde_yaml::from_str(&text).with_context(|| path.to_owned())
}

/// What has no test, in words.
fn untested(rules: &Value, tests: &Value) -> Result<Vec<String>> {
    let alerts: Vec<&str> = items(&rules["groups"])
        .flat_map(|group| items(&group["rules"]))
        .filter_map(|rule| rule["alert"].as_str())
        .collect();
    if alerts.is_empty() {
        bail!("{RULES} has no alert");
    }
    let cases = || items(&tests["tests"]).flat_map(|test| items(&test["alert_rule_test"]));
    let of = |fires: bool| -> BTreeSet<&str> {
        cases()
            .filter(|case| (items(&case["exp_alerts"]).count() > 0) == fires)
            .filter_map(|case| case["alertname"].as_str())
            .collect()
    };
    let (firing, silent) = (of(true), of(false));
    let mut missing = Vec::new();
    for alert in alerts {
        if !firing.contains(alert) {
            missing.push(format!("a case in which {alert} fires"));
        }
        if !silent.contains(alert) {
            missing.push(format!("a case in which {alert} is silent"));
        }
    }
    Ok(missing)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_sequence().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::untested;

    #[test]
    fn an_alert_needs_both_cases() {
        let yaml = |text: &str| serde_yaml::from_str(text).unwrap();
        let rules = yaml("groups: [{rules: [{alert: A}, {alert: B}]}]");
        let tests = yaml(
            "tests: [{alert_rule_test: [{alertname: A, exp_alerts: [{}]}]}, {alert_rule_test: [{alertname: A, exp_alerts: []}, {alertname: B, exp_alerts: [{}]}]}]",
        );
        assert_eq!(untested(&rules, &tests).unwrap(), ["a case in which B is silent"]);
        assert!(untested(&yaml("groups: []"), &tests).is_err());
    }
}
