//! Whether a page of the documentation names every metric that a service exports, and no other.
//!
//! The page has tables with the columns metric, type, labels, meaning and what to do; labels are `` `name`: `value`, ... `` and
//! separated by semicolons, without values where these are no closed set.

use std::collections::{BTreeMap, BTreeSet};

/// A family: its type, and its labels with their values if these are a closed set.
#[derive(Debug, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

type Families = BTreeMap<String, Family>;

/// Fails unless the tables of `page` say what `exposition` has: names, types, labels and their values. Names within
/// backticks elsewhere on the page that begin with one of `prefixes` must be exported too.
pub fn page_names_every_metric(page: &str, exposition: &str, prefixes: &[&str]) {
    let (mut exported, documented) = (exported(exposition), documented(page));
    for (name, family) in &documented {
        // Where the page names no values, they are not a closed set.
        let open = family.labels.iter().filter(|(_, values)| values.is_empty());
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
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    for name in names(page, prefixes) {
        let family = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let is_there =
            exported.contains_key(name) || family.is_some_and(|family| exported.contains_key(family));
        assert!(is_there, "{name} is on the page and not exported");
    }
}

/// Families of an exposition, by the name under which their samples appear.
fn exported(text: &str) -> Families {
    let mut families = Families::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            let suffix = if kind == "counter" { "_total" } else { "" };
            current = format!("{name}{suffix}");
            let family = Family {
                kind: kind.to_owned(),
                labels: BTreeMap::new(),
            };
            let before = families.insert(current.clone(), family);
            assert!(before.is_none(), "{current} twice");
        } else if !line.starts_with('#')
            && let Some((_, rest)) = line.split_once('{')
        {
            let (labels, _) = rest.rsplit_once('}').expect("labels end");
            for label in labels.split(',') {
                let (name, value) = label.split_once('=').expect("a label has a value");
                if name != "le" {
                    let family = families.get_mut(&current).expect("a sample follows its type");
                    let values = family.labels.entry(name.to_owned()).or_default();
                    values.insert(value.trim_matches('"').to_owned());
                }
            }
        }
    }
    families
}

/// Families of the tables of a page.
fn documented(page: &str) -> Families {
    let mut families = Families::new();
    let mut in_table = false;
    for line in page.lines() {
        if line.starts_with("| metric |") {
            in_table = true;
        } else if !line.starts_with('|') {
            in_table = false;
        } else if in_table && line.starts_with("| `") {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, name, kind, labels, meaning, _then, _] = cells[..] else {
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
            let name = words(name).next().expect("a name in backticks");
            let before = families.insert(name.clone(), family);
            assert!(before.is_none(), "{name} twice");
        }
    }
    families
}

/// Words in backticks.
fn words(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Every name of a metric on a page, in its rules for alerts too.
fn names<'a>(page: &'a str, prefixes: &[&str]) -> BTreeSet<&'a str> {
    page.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| {
            prefixes
                .iter()
                .any(|prefix| word.starts_with(prefix) && word.len() > prefix.len())
        })
        .collect()
}
