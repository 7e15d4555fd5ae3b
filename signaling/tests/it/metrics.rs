//! What a running server exports is what `docs/metrics.md` says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::process::Program;
use crate::support::{Client, RedisServer, eventually, get};

/// A family: its type, and its labels with their values if these are a closed set.
#[derive(Debug, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// Families of an exposition, by the name under which their samples appear.
fn exported(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let suffix = if kind == "counter" { "_total" } else { "" };
            current = format!("{name}{suffix}");
            let family = Family {
                kind: kind.to_owned(),
                labels: BTreeMap::new(),
            };
            assert!(
                families.insert(current.clone(), family).is_none(),
                "{current} twice"
            );
        } else if !line.starts_with('#')
            && let Some((_, rest)) = line.split_once('{')
        {
            let labels = rest.rsplit_once('}').unwrap().0;
            for label in labels.split(',') {
                let (name, value) = label.split_once('=').unwrap();
                if name != "le" {
                    let family = families.get_mut(&current).unwrap();
                    let values: &mut BTreeSet<String> = family.labels.entry(name.to_owned()).or_default();
                    values.insert(value.trim_matches('"').to_owned());
                }
            }
        }
    }
    families
}

/// Words in backticks.
fn words(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Families of the tables of the page.
fn documented(page: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    let mut in_table = false;
    for line in page.lines() {
        if line.starts_with("| metric |") {
            in_table = true;
        } else if !line.starts_with('|') {
            in_table = false;
        } else if in_table && line.starts_with("| `") {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, name, kind, labels, meaning, _alert, _] = cells[..] else {
                panic!("not five cells: {line}");
            };
            assert!(!meaning.is_empty(), "{name} means nothing");
            let labels = labels.split(';').filter_map(|label| {
                let mut words = words(label);
                Some((words.next()?, words.collect()))
            });
            let family = Family {
                kind: kind.to_owned(),
                labels: labels.collect(),
            };
            let name = words(name).next().unwrap();
            assert!(families.insert(name.clone(), family).is_none(), "{name} twice");
        }
    }
    families
}

#[tokio::test]
async fn the_page_names_every_metric_and_no_other() {
    let redis = RedisServer::start();
    // A provider of ICE servers that is not there.
    let environment = [
        ("REDIS_URL", redis.url()),
        ("METERED_DOMAIN", "127.0.0.1".to_owned()),
        ("METERED_API_KEY", "key".to_owned()),
    ];
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let program = Program::start(&environment, &[]).await;
    // With a peer in a room, so that whatever begins with the first one is there.
    let _peer = eventually("a seat", || Client::try_join(program.address, "r1")).await;
    let text = eventually("a lease, and an answer of the provider", || async {
        let (_, text) = get(program.internal, "/metrics").await;
        let whole = ["signaling_lease_age_seconds", "berth_ice_issue_seconds_count"];
        whole.iter().all(|name| text.contains(name)).then_some(text)
    })
    .await;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (mut exported, documented) = (exported(&text), documented(&page));
    assert!(exported.len() > 30, "{text}");
    for (name, family) in &documented {
        // Where the page names no values, they are not a closed set.
        let open: Vec<_> = family
            .labels
            .iter()
            .filter(|(_, values)| values.is_empty())
            .collect();
        for (label, _) in open {
            let exported = exported
                .get_mut(name)
                .and_then(|family| family.labels.get_mut(label));
            if let Some(values) = exported {
                values.clear();
            }
        }
        assert_eq!(
            exported.get(name),
            Some(family),
            "{name}: left exported, right documented"
        );
    }
    let missing: Vec<_> = exported
        .keys()
        .filter(|name| !documented.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    // The names of the Node service are among them.
    let kept = page.split("## Names of the Node service").nth(1).unwrap();
    let rows: Vec<_> = kept.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 8);
    for row in rows {
        let name = words(row).next().unwrap();
        assert!(exported.contains_key(&name), "{name} is not exported");
    }
}
