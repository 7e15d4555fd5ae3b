//! Certificates and kubeconfigs of a test cluster, made by the `openssl` program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Days that certificates last: longer than any cluster of a test.
const DAYS: &str = "30";
/// Elliptic keys are made in milliseconds, where RSA takes a good part of a cluster's start.
const CURVE: [&str; 2] = ["-pkeyopt", "ec_paramgen_curve:prime256v1"];

/// A certificate authority with everything it has signed, in one folder.
///
/// `ca.crt` and `ca.key` are its own, `sa.key` and `sa.pub` sign the tokens of service accounts.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Makes an authority in `folder`, which is created.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let authority = Self {
            folder: folder.to_owned(),
        };
        authority.openssl(
            &[
                "req",
                "-x509",
                "-days",
                DAYS,
                "-subj",
                "/CN=berth-test-ca",
                "-newkey",
                "ec",
                "-nodes",
            ],
            &[&CURVE[..], &["-keyout", "ca.key", "-out", "ca.crt"]].concat(),
        )?;
        authority.openssl(&["genpkey", "-algorithm", "EC", "-out", "sa.key"], &CURVE)?;
        authority.openssl(&["pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub"], &[])?;
        Ok(authority)
    }

    /// A file of this authority, for example `ca.crt`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Signs `NAME.crt` with `NAME.key` for a server that answers to `alternatives` (`DNS:...`, `IP:...`).
    pub fn server(&self, name: &str, subject: &str, alternatives: &[String]) -> Result<()> {
        self.sign(
            name,
            subject,
            &format!("subjectAltName={}", alternatives.join(",")),
        )
    }

    /// Signs `NAME.crt` with `NAME.key` for a client: `user` in `groups`.
    pub fn client(&self, name: &str, user: &str, groups: &[&str]) -> Result<()> {
        let groups: String = groups.iter().flat_map(|group| ["/O=", group]).collect();
        self.sign(
            name,
            &format!("{groups}/CN={user}"),
            "extendedKeyUsage=clientAuth",
        )
    }

    /// The same, with `NAME.kubeconfig` for the API at `server` (`https://HOST:PORT`); gives its path.
    pub fn kubeconfig(&self, name: &str, user: &str, groups: &[&str], server: &str) -> Result<PathBuf> {
        self.client(name, user, groups)?;
        let embed = |file: String| -> Result<String> {
            process::output(Command::new("base64").arg("-w0").arg(self.file(&file)))
        };
        let (authority, certificate, key) = (
            embed("ca.crt".into())?,
            embed(format!("{name}.crt"))?,
            embed(format!("{name}.key"))?,
        );
        let path = self.file(&format!("{name}.kubeconfig"));
        fs::write(
            &path,
            format!(
                "apiVersion: v1\n\
                 kind: Config\n\
                 clusters: [{{name: berth, cluster: {{server: \"{server}\", certificate-authority-data: {authority}}}}}]\n\
                 users: [{{name: \"{user}\", user: {{client-certificate-data: {certificate}, client-key-data: {key}}}}}]\n\
                 contexts: [{{name: berth, context: {{cluster: berth, user: \"{user}\"}}}}]\n\
                 current-context: berth\n"
            ),
        )?;
        Ok(path)
    }

    fn sign(&self, name: &str, subject: &str, extension: &str) -> Result<()> {
        let [request, key, certificate, extensions] =
            ["csr", "key", "crt", "ext"].map(|kind| format!("{name}.{kind}"));
        fs::write(self.file(&extensions), extension)?;
        self.openssl(
            &["req", "-subj", subject, "-newkey", "ec", "-nodes"],
            &[&CURVE[..], &["-keyout", &key, "-out", &request]].concat(),
        )?;
        // Without a file of serial numbers they are random, and tests may ask for certificates at the same time.
        self.openssl(
            &[
                "x509", "-req", "-in", &request, "-CA", "ca.crt", "-CAkey", "ca.key",
            ],
            &["-days", DAYS, "-extfile", &extensions, "-out", &certificate],
        )
    }

    fn openssl(&self, arguments: &[&str], more: &[&str]) -> Result<()> {
        process::output(
            Command::new("openssl")
                .current_dir(&self.folder)
                .args(arguments)
                .args(more),
        )
        .map(drop)
        .context("certificates of the test cluster (Debian package openssl)")
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::Authority;

    #[test]
    fn many_sign_at_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path()).unwrap();
        thread::scope(|scope| {
            for number in 0..8 {
                let authority = &authority;
                scope.spawn(move || authority.client(&format!("c{number}"), "user", &[]).unwrap());
            }
        });
        // One that two of them write at once is now and then half written.
        assert!(!authority.file("ca.srl").exists(), "they share a file");
    }
}
