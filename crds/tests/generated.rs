//! The generated files in the repository are those that the types give.

// Clippy's exception for tests does not reach the helpers of a test program.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use berth_crds::generate;
use serde_json::Value;

#[test]
fn no_generated_file_has_drifted() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let drifted: Vec<_> = generate::files()
        .unwrap()
        .into_iter()
        .filter(|file| fs::read_to_string(repository.join(&file.path)).ok().as_ref() != Some(&file.contents))
        .map(|file| file.path)
        .collect();
    assert!(drifted.is_empty(), "run `cargo xtask generate`: {drifted:?}");
}

/// `serde_yaml` leaves words such as `on` without quotes, which readers of YAML 1.1 take for something else.
#[test]
fn readers_of_yaml_1_1_and_1_2_agree_on_what_is_generated() {
    let mut texts: Vec<_> = generate::files()
        .unwrap()
        .into_iter()
        .map(|file| (file.path, file.contents))
        .collect();
    texts.retain(|(path, _)| {
        Path::new(path)
            .extension()
            .is_some_and(|extension| extension == "yaml")
    });
    assert_eq!(texts.len(), 6);
    for (path, text) in texts {
        let ours: Value = serde_yaml::from_str(&text).unwrap();
        let theirs: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(ours, theirs, "{path}");
    }
}

/// The words of the API are text to every reader, quoted or not: people write them without quotes.
#[test]
fn no_word_of_the_api_is_a_boolean_or_a_number_to_anybody() {
    fn words(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Array(items) => items.iter().for_each(|item| words(item, found)),
            Value::Object(fields) => {
                found.extend(fields.keys().cloned());
                let values = fields.get("enum").into_iter().chain(fields.get("default"));
                for value in values {
                    let value = value
                        .as_array()
                        .map_or(std::slice::from_ref(value), Vec::as_slice);
                    found.extend(value.iter().filter_map(|word| word.as_str().map(str::to_owned)));
                }
                fields.values().for_each(|field| words(field, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for crd in generate::definitions() {
        words(
            &serde_json::to_value(&crd.spec.versions[0].schema).unwrap(),
            &mut found,
        );
    }
    assert!(found.iter().any(|word| word == "ClusterIP"), "the walk is broken");
    for word in found.iter().filter(|word| !word.is_empty()) {
        let read: Value = serde_saphyr::from_str(word).unwrap();
        assert_eq!(read, Value::String(word.clone()));
    }
}

#[test]
fn the_reference_has_a_row_for_every_field() {
    let text = berth_crds::docs::api_reference();
    for crd in generate::definitions() {
        for field in berth_crds::reload::leaves(&crd) {
            // Types of Kubernetes are documented there.
            if field.path.starts_with("spec.pod.") || field.path.starts_with("spec.managed.pod.") {
                continue;
            }
            assert!(text.contains(&format!("| `{}` |", field.path)), "{}", field.path);
        }
    }
}
