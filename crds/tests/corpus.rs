//! The corpus: manifests with the verdict that they must get. The suite `api` of the crate `berth-e2e` gives the same files to
//! a real API server.
//!
//! - `corpus/accept/*.yaml` must be taken;
//! - `corpus/reject/*.yaml` must be refused, at every path that a line `# expect: PATH` names (`(document)`: as a whole);
//! - `corpus/raw/*.yaml` likewise, but kubectl hides from the API server what is wrong with them;
//! - `corpus/update/*/`: `new.yaml` in the place of `old.yaml`, taken unless it has such lines.

// Clippy's exception for tests does not reach the helpers of a test program.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use berth_crds::generate;
use berth_crds::offline::{Finding, Level, Report, Source, Validator, cases};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(Path::new(CORPUS).join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "nothing in {folder}");
    files
}

fn source(path: &Path) -> Source {
    Source {
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        text: fs::read_to_string(path).unwrap(),
    }
}

fn expected(source: &Source) -> Vec<&str> {
    let lines = source.text.lines();
    lines.filter_map(|line| line.strip_prefix("# expect: ")).collect()
}

fn names(finding: &Finding, expected: &str) -> bool {
    match finding.path.strip_prefix(expected) {
        Some(rest) => rest.is_empty() || rest.starts_with(['.', '[']),
        None => expected == "(document)" && finding.path.is_empty(),
    }
}

fn verdict(report: &Report, expected: &[&str], name: &str) -> Vec<String> {
    let refusals: Vec<_> = report.refusals().collect();
    let mut wrong = Vec::new();
    for path in expected {
        if !refusals.iter().any(|finding| names(finding, path)) {
            wrong.push(format!("{name}: not refused at {path}: {refusals:?}"));
        }
    }
    for finding in refusals {
        if !expected.iter().any(|path| names(finding, path)) {
            wrong.push(format!("{name}: refused at another place: {finding}"));
        }
    }
    wrong
}

#[test]
fn every_file_gets_its_verdict() {
    let validator = Validator::new().unwrap();
    let mut wrong = Vec::new();
    for path in ["accept", "reject", "raw"].into_iter().flat_map(files) {
        let source = source(&path);
        let expected = expected(&source);
        assert_eq!(
            expected.is_empty(),
            path.parent().unwrap().ends_with("accept"),
            "{path:?}"
        );
        let report = validator.check(std::slice::from_ref(&source), &[]);
        wrong.extend(verdict(&report, &expected, &source.name));
    }
    for folder in files("update") {
        let (old, new) = (source(&folder.join("old.yaml")), source(&folder.join("new.yaml")));
        let report = validator.check(std::slice::from_ref(&new), &[old]);
        wrong.extend(verdict(&report, &expected(&new), &folder.display().to_string()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_accepted_makes_settings_too() {
    let validator = Validator::new().unwrap();
    for path in files("accept") {
        let report = validator.check(&[source(&path)], &[]);
        assert_eq!(report.count(Level::Error), 0, "{path:?}: {:?}", report.findings);
        assert_eq!(report.resources, 1, "{path:?}");
    }
}

/// The schema and the settings must agree on what is allowed: whatever edge case the API server takes, a service takes. Except
/// for the address: what makes a URL cannot be said in a pattern.
#[test]
fn no_edge_case_passes_the_api_server_and_fails_in_a_service() {
    let validator = Validator::new().unwrap();
    let (mut taken, mut wrong) = (0, Vec::new());
    for path in files("accept") {
        let base: serde_json::Value = serde_yaml::from_str(&source(&path).text).unwrap();
        for crd in generate::definitions() {
            if base["kind"] != *crd.spec.names.kind {
                continue;
            }
            for case in cases::derive(&crd, &base) {
                let source = Source {
                    name: path.file_name().unwrap().to_string_lossy().into_owned(),
                    text: case.resource.to_string(),
                };
                let report = validator.check(&[source], &[]);
                if report.refusals().next().is_some() {
                    continue;
                }
                taken += 1;
                let errors = report
                    .findings
                    .iter()
                    .filter(|finding| finding.level == Level::Error && finding.path != "spec.publicUrl");
                wrong.extend(errors.map(|error| format!("{} = {}: {error}", case.path, case.change)));
            }
        }
    }
    assert!(
        taken > 500,
        "only {taken} cases are valid: the derivation is broken"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
