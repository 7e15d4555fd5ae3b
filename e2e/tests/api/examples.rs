//! The manifests that people copy.

use std::fs;
use std::path::PathBuf;

use crate::server::{complaint, repository, shared};

/// Folders of `examples/` whose manifests a cluster takes as they are; `compose` is read without Kubernetes.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<_> = fs::read_dir(repository().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !path.ends_with("compose"))
        .collect();
    folders.sort();
    assert!(folders.len() >= 5, "{folders:?}");
    folders
}

#[test]
fn the_server_takes_every_example_and_a_second_apply_changes_nothing() {
    let server = shared();
    for folder in folders() {
        let namespace = format!("example-{}", folder.file_name().unwrap().to_string_lossy());
        let kubectl = |arguments: &[&str]| {
            let mut command = server.kubectl();
            command.args(["--namespace", &namespace]).args(arguments);
            command
        };
        assert_eq!(
            complaint(&mut kubectl(&["create", "namespace", &namespace])),
            None
        );
        let apply = ["apply", "--validate=strict", "--warnings-as-errors", "-f"];
        assert_eq!(complaint(kubectl(&apply).arg(&folder)), None, "{folder:?}");
        let again = berth_e2e::process::output(kubectl(&apply).arg(&folder)).unwrap();
        assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
        // `kubectl diff` exits with 1 when something differs.
        let diff = kubectl(&["diff", "-f"]).arg(&folder).output().unwrap();
        assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
        // Tools that apply from the server's side own the same fields, so they find no conflict and no change.
        let server_side = ["apply", "--server-side", "--dry-run=server", "-f"];
        assert_eq!(complaint(kubectl(&server_side).arg(&folder)), None, "{folder:?}");
    }
}
