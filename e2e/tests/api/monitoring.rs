//! Alert rules and dashboard: they ask for what the programs export, and the runbook has a section for each alert.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_yaml::Value;

use crate::helm::{Helm, chart};
use crate::server::repository;

/// The pages that name every metric; tests of the programs compare them with what is exported.
const PAGES: [&str; 3] = ["metrics.md", "metrics-matchmaker.md", "metrics-operator.md"];
/// Labels that the `PodMonitors` of the chart set, or the Prometheus operator for all of them.
const SCRAPED: [&str; 4] = ["namespace", "pod", "pool", "signaling_cluster"];
/// Words of `PromQL` that are neither a metric nor followed by a parenthesis.
const WORDS: [&str; 4] = ["and", "or", "unless", "bool"];
/// Words that a list of labels in parentheses follows.
const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const EVERYTHING: &str = "--set=metrics.podMonitor.enabled=true,alerts.enabled=true,dashboard.enabled=true";

/// By name of a series: labels, with their values where these are a closed set.
type Metrics = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What the tables of the pages say is exported.
fn exported() -> Metrics {
    let in_backticks =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut metrics = Metrics::new();
    for page in PAGES {
        let text = fs::read_to_string(repository().join("docs").join(page)).unwrap();
        for line in text.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let (name, kind) = (in_backticks(cells[1])[0].clone(), cells[2]);
            if !["counter", "gauge", "histogram"].contains(&kind) {
                continue;
            }
            let labels = cells[3].split(';').filter_map(|label| {
                let mut words = in_backticks(label).into_iter();
                Some((words.next()?, words.collect::<BTreeSet<_>>()))
            });
            let mut labels: BTreeMap<_, _> = labels.collect();
            if kind == "histogram" {
                for end in ["sum", "count"] {
                    metrics
                        .entry(format!("{name}_{end}"))
                        .or_default()
                        .extend(labels.clone());
                }
                labels.insert("le".into(), BTreeSet::new());
                metrics
                    .entry(format!("{name}_bucket"))
                    .or_default()
                    .extend(labels);
            } else {
                metrics.entry(name).or_default().extend(labels);
            }
        }
    }
    metrics
}

/// A series in an expression: its name, and its matchers as label and value.
#[derive(Debug, PartialEq, Eq)]
struct Selector {
    name: String,
    matchers: Vec<(String, String)>,
}

/// Every series that an expression asks for, and every label by which it groups.
fn read(expression: &str) -> (Vec<Selector>, BTreeSet<String>) {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let (mut selectors, mut labels) = (Vec::new(), BTreeSet::new());
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first == '[' {
            rest = rest.split_once(']').unwrap().1;
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|letter: char| is_word(letter) || letter == '.');
        } else if is_word(first) {
            let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
            let word = &rest[..end];
            rest = rest[end..].trim_start();
            let next = rest.split(|letter| !is_word(letter)).next().unwrap_or_default();
            let aggregates = ["by", "without"].contains(&next);
            if GROUPING.contains(&word) {
                let (list, after) = rest.strip_prefix('(').unwrap().split_once(')').unwrap();
                labels.extend(list.split(',').map(|label| label.trim().to_owned()));
                rest = after;
            } else if !aggregates
                && !WORDS.contains(&word)
                && !rest.starts_with('(')
                && word.starts_with(char::is_alphabetic)
            {
                let mut matchers = Vec::new();
                if let Some(inside) = rest.strip_prefix('{') {
                    let (list, after) = inside.split_once('}').unwrap();
                    let mut parts = list.split('"');
                    while let (Some(label), Some(value)) = (parts.next(), parts.next()) {
                        let label = label.trim_matches(|letter| ", =~!".contains(letter));
                        matchers.push((label.to_owned(), value.to_owned()));
                    }
                    rest = after;
                }
                let name = word.to_owned();
                selectors.push(Selector { name, matchers });
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    (selectors, labels)
}

/// Fails unless everything in `expression` is exported.
fn check(expression: &str, metrics: &Metrics) {
    let (selectors, labels) = read(expression);
    assert!(!selectors.is_empty(), "{expression} asks for nothing");
    for selector in &selectors {
        let exported = metrics
            .get(&selector.name)
            .unwrap_or_else(|| panic!("nothing exports {}: {expression}", selector.name));
        for (label, value) in &selector.matchers {
            let Some(values) = exported.get(label) else {
                assert!(
                    SCRAPED.contains(&label.as_str()),
                    "{} has no label {label}",
                    selector.name
                );
                continue;
            };
            // Patterns of codes and variables of the dashboard are no words of a closed set.
            let words = value
                .split('|')
                .filter(|word| word.chars().all(|c| c.is_alphanumeric() || "-_".contains(c)));
            for word in words {
                assert!(
                    values.is_empty() || values.contains(word),
                    "{} is never {word}: {expression}",
                    selector.name
                );
            }
        }
    }
    for label in labels {
        let known = selectors
            .iter()
            .any(|selector| metrics[&selector.name].contains_key(&label));
        assert!(
            known || SCRAPED.contains(&label.as_str()),
            "no label {label}: {expression}"
        );
    }
}

fn of_kind(objects: &[Value], kind: &str) -> Vec<Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .cloned()
        .collect()
}

#[test]
fn expressions_are_read_as_prometheus_reads_them() {
    let expression = r#"histogram_quantile(0.99, sum by (a, le) (rate(x_bucket{c=~"d|e", f!="g"}[5m]))) > 0.9 * max(y) and on (b) z"#;
    let (selectors, labels) = read(expression);
    let names: Vec<_> = selectors.iter().map(|selector| selector.name.as_str()).collect();
    assert_eq!(names, ["x_bucket", "y", "z"]);
    let pair = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    assert_eq!(selectors[0].matchers, [pair("c", "d|e"), pair("f", "g")]);
    assert_eq!(labels, ["a", "b", "le"].map(str::to_owned).into());
}

#[test]
fn alerts_ask_for_what_is_exported_and_the_runbook_has_each() {
    let objects = Helm::new().objects(&[EVERYTHING, "--set=alerts.labels.release=prometheus"]);
    let rules = of_kind(&objects, "PrometheusRule");
    assert_eq!(rules[0]["metadata"]["labels"]["release"], "prometheus");
    let file: Value =
        serde_yaml::from_str(&fs::read_to_string(chart().join("files/alerts.yaml")).unwrap()).unwrap();
    assert_eq!(
        rules[0]["spec"], file,
        "the chart and the plain file are one source"
    );

    let (metrics, mut names) = (exported(), BTreeSet::new());
    for group in file["groups"].as_sequence().unwrap() {
        for rule in group["rules"].as_sequence().unwrap() {
            check(rule["expr"].as_str().unwrap(), &metrics);
            let name = rule["alert"].as_str().unwrap();
            let url = rule["annotations"]["runbook_url"].as_str().unwrap();
            assert!(
                url.ends_with(&format!("/docs/runbook.md#{}", name.to_lowercase())),
                "{url}"
            );
            assert!(["critical", "warning", "info"].contains(&rule["labels"]["severity"].as_str().unwrap()));
            assert!(names.insert(name.to_owned()), "{name} twice");
        }
    }
    let runbook = fs::read_to_string(repository().join("docs/runbook.md")).unwrap();
    let mut sections = BTreeSet::new();
    for section in runbook.split("\n### ").skip(1) {
        let name = section.lines().next().unwrap();
        for part in ["**Means**: ", "**Look**: ", "**Cure**: "] {
            assert!(section.contains(part), "{name} does not say {part}");
        }
        sections.insert(name.to_owned());
    }
    assert_eq!(sections, names);
    // Other queries on the page name what exists, too.
    let prefixes = ["berth_", "signaling_", "process_"];
    for code in runbook
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| prefixes.iter().any(|start| code.contains(start)))
    {
        if code.contains('(') {
            check(code, &metrics);
        } else if code.starts_with("berth_") || code.starts_with("signaling_") && code != "signaling_cluster"
        {
            let known = metrics
                .keys()
                .any(|name| name == code || name.strip_suffix("_bucket") == Some(code));
            assert!(known, "nothing exports {code}");
        }
    }
}

#[test]
fn the_dashboard_is_json_and_asks_for_what_is_exported() {
    let objects = Helm::new().objects(&[EVERYTHING]);
    let maps = of_kind(&objects, "ConfigMap");
    assert_eq!(maps[0]["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = maps[0]["data"]["berth.json"].as_str().unwrap();
    assert_eq!(
        text,
        fs::read_to_string(chart().join("files/dashboard.json")).unwrap()
    );
    let dashboard: serde_json::Value = serde_json::from_str(text).unwrap();
    let (metrics, mut queries, mut ids) = (exported(), 0, BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "two panels have one id"
        );
        for target in panel["targets"].as_array().into_iter().flatten() {
            check(target["expr"].as_str().unwrap(), &metrics);
            queries += 1;
        }
    }
    assert!(queries > 15, "{queries}");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let inside = query
                .strip_prefix("label_values(")
                .unwrap()
                .strip_suffix(')')
                .unwrap();
            let (series, label) = inside.rsplit_once(", ").unwrap();
            check(series, &metrics);
            assert!(SCRAPED.contains(&label), "{query}");
        }
    }
}

#[test]
fn pods_are_scraped_only_when_wanted_and_where_they_may_be() {
    let helm = Helm::new();
    let kinds = ["PodMonitor", "PrometheusRule", "ConfigMap"];
    let quiet = helm.objects(&[]);
    assert!(kinds.iter().all(|kind| of_kind(&quiet, kind).is_empty()));

    let more = "--set=metrics.podMonitor.interval=15s,metrics.podMonitor.labels.release=prometheus";
    let everywhere = of_kind(&helm.objects(&[EVERYTHING, more]), "PodMonitor");
    assert_eq!(everywhere.len(), 3, "operator, signaling and matchmaker");
    for monitor in &everywhere {
        assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
        assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["interval"], "15s");
    }
    let any = everywhere
        .iter()
        .filter(|monitor| monitor["spec"]["namespaceSelector"]["any"] == true);
    assert_eq!(any.count(), 2, "the operator's own pods are in its namespace");
    let some = of_kind(
        &helm.objects(&[EVERYTHING, "--set=watchNamespaces={one,two}"]),
        "PodMonitor",
    );
    for monitor in &some[1..] {
        let names = &monitor["spec"]["namespaceSelector"]["matchNames"];
        assert_eq!(names.as_sequence().unwrap(), &["one", "two"]);
    }
}
