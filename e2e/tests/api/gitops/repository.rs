//! A Git repository that a test commits to.

use std::fs;
use std::path::Path;
use std::process::Command;

use berth_e2e::process;
use tempfile::TempDir;

pub(super) struct Repository {
    folder: TempDir,
}

impl Repository {
    pub(super) fn new() -> Self {
        let this = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        this.git(&["init", "--quiet"]);
        this
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Commits a file as it should be from now on, and gives the revision.
    pub(super) fn commit(&self, file: &str, text: &str) -> String {
        fs::write(self.folder().join(file), text).unwrap();
        self.git(&["add", file]);
        self.git(&["commit", "--quiet", "--message", "Change a file"]);
        self.head()
    }

    /// Commits that a file is gone.
    pub(super) fn remove(&self, file: &str) -> String {
        self.git(&["rm", "--quiet", file]);
        self.git(&["commit", "--quiet", "--message", "Remove a file"]);
        self.head()
    }

    /// Undoes the last commit by another one.
    pub(super) fn revert(&self) -> String {
        self.git(&["revert", "--no-edit", "HEAD"]);
        self.head()
    }

    fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Whatever the configuration of this machine says.
    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.current_dir(self.folder())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
            .args(arguments);
        process::output(&mut git).unwrap()
    }
}
