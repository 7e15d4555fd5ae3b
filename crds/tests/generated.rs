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

#[test]
fn the_reference_has_a_row_for_every_field() {
    let text = berth_crds::docs::api_reference();
    for crd in generate::definitions() {
        for field in berth_crds::reload::leaves(&crd) {
            // Types of Kubernetes are documented there.
            if field.path.starts_with("spec.pod.") {
                continue;
            }
            assert!(text.contains(&format!("| `{}` |", field.path)), "{}", field.path);
        }
    }
}
