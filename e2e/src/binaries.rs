//! The programs of a Kubernetes cluster, built from Go modules that `cluster/go.mod`, `gitops/go.mod` and the versions
//! below pin, and cached. The first build takes minutes (it says so); after that it is a look at a folder.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cache, process};

/// Folder of the Go module and of the node's files.
pub(crate) const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster");

/// Folder of the program that does to a cluster what GitOps tools do.
const GITOPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gitops");

/// What the API alone needs: a newcomer's unit tests build no kubelet.
const API: [&str; 4] = [
    "go.etcd.io/etcd/server/v3",
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-controller-manager",
    "k8s.io/kubernetes/cmd/kubectl",
];
const NODE: [&str; 3] = [
    "k8s.io/kubernetes/cmd/kube-proxy",
    "k8s.io/kubernetes/cmd/kube-scheduler",
    "k8s.io/kubernetes/cmd/kubelet",
];
/// These two do not fit into one module with Kubernetes: each is built at its own pinned version.
const ADDONS: [&str; 2] = [
    "github.com/coredns/coredns@v1.12.4",
    "sigs.k8s.io/metrics-server/cmd/metrics-server@v0.9.0",
];

/// The oldest Go that builds all of it: metrics-server asks for the newest.
const GO: (u32, u32) = (1, 26);

/// Folder with `etcd`, `kube-apiserver`, `kube-controller-manager` and `kubectl`.
///
/// The variable `KUBEBUILDER_ASSETS` names another folder, as it does for envtest.
pub fn api() -> Result<PathBuf> {
    if let Some(assets) = env::var_os("KUBEBUILDER_ASSETS").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(assets));
    }
    own_api()
}

/// The same folder, whatever `KUBEBUILDER_ASSETS` says: a node is one version throughout.
pub(crate) fn own_api() -> Result<PathBuf> {
    kubernetes("kubernetes/api", &API)
}

/// Folder with `kubelet`, `kube-scheduler` and `kube-proxy`.
pub fn node() -> Result<PathBuf> {
    kubernetes("kubernetes/node", &NODE)
}

/// File with the definition of `HTTPRoute`, of the version of the Gateway API that `gateway/go.mod` pins.
pub fn http_route_definition() -> Result<PathBuf> {
    const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway");
    const FILE: &str = "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml";
    let inputs = ["go.mod", "go.sum"].map(|name| Path::new(MODULE).join(name));
    let inputs = inputs
        .iter()
        .map(|path| fs::read(path).with_context(|| path.display().to_string()))
        .collect::<Result<Vec<_>>>()?;
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let folder = cache::entry("gateway", &inputs, |folder| {
        let mut download = go("mod")?;
        process::run(
            download
                .current_dir(MODULE)
                .args(["download", "sigs.k8s.io/gateway-api"]),
        )?;
        let mut list = go("list")?;
        list.current_dir(MODULE)
            .args(["-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api"]);
        let module = process::output(&mut list)?;
        let definition = Path::new(module.trim()).join(FILE);
        fs::copy(&definition, folder.join("httproutes.yaml"))
            .with_context(|| definition.display().to_string())?;
        Ok(())
    })?;
    Ok(folder.join("httproutes.yaml"))
}

/// Folder with `coredns` and `metrics-server`, statically linked.
pub fn addons() -> Result<PathBuf> {
    cache::entry("kubernetes/addons", &[ADDONS.join(" ").as_bytes()], |folder| {
        for package in ADDONS {
            announce(&[package]);
            process::run(
                go("install")?
                    .env("GOBIN", folder)
                    .args(["-ldflags", "-s -w"])
                    .arg(package),
            )?;
        }
        Ok(())
    })
}

/// The program of `gitops/`: Argo CD's sync engine with its Lua, and kstatus.
pub fn gitops() -> Result<PathBuf> {
    let mut sources: Vec<PathBuf> = fs::read_dir(GITOPS)
        .context(GITOPS)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    sources.retain(|path| {
        path.extension()
            .is_some_and(|is| is == "go" || is == "mod" || is == "sum")
    });
    sources.sort();
    let inputs = sources.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let folder = cache::entry("kubernetes/gitops", &inputs, |folder| {
        announce(&["gitops"]);
        process::run(
            go("build")?
                .current_dir(GITOPS)
                .args(["-buildvcs=false", "-ldflags", "-s -w", "-o"])
                .arg(folder)
                .arg("."),
        )
    })?;
    Ok(folder.join("gitops"))
}

fn kubernetes(kind: &str, packages: &[&str]) -> Result<PathBuf> {
    let read =
        |name: &str| fs::read(Path::new(CLUSTER).join(name)).with_context(|| format!("{CLUSTER}/{name}"));
    let inputs = [read("go.mod")?, read("go.sum")?, packages.join(" ").into_bytes()];
    cache::entry(kind, &inputs.each_ref().map(Vec::as_slice), |folder| {
        announce(packages);
        process::run(
            go("build")?
                .args(["-ldflags", &stamp()?])
                .arg("-o")
                .arg(folder)
                .args(packages),
        )?;
        // Go names a program after the last part of its path that is no version.
        let server = folder.join("server");
        if server.exists() {
            fs::rename(server, folder.join("etcd"))?;
        }
        Ok(())
    })
}

/// Linker flags without debug information and with the version that the programs report.
fn stamp() -> Result<String> {
    let version = process::output(go("list")?.args(["-m", "-f", "{{.Version}}", "k8s.io/kubernetes"]))?;
    let version = version.trim();
    let minor = version
        .split('.')
        .nth(1)
        .with_context(|| format!("no minor version in {version}"))?;
    let package = "k8s.io/component-base/version";
    Ok(format!(
        "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}"
    ))
}

/// A go command in the folder of the module; fails when there is no Go, or an old one.
fn go(verb: &str) -> Result<Command> {
    let wanted = format!(
        "Kubernetes is built from source: install Go {}.{} or newer (https://go.dev/dl)",
        GO.0, GO.1
    );
    let version =
        process::output(Command::new("go").args(["env", "GOVERSION"])).with_context(|| wanted.clone())?;
    if go_version(&version).is_none_or(|version| version < GO) {
        bail!("{wanted}; here it is {}", version.trim());
    }
    let mut command = Command::new("go");
    command
        .current_dir(CLUSTER)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-trimpath")
        .arg(verb);
    Ok(command)
}

/// Major and minor of a text such as `go1.26.8`.
fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix("go")?.split(['.', '-', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn announce(packages: &[&str]) {
    eprintln!(
        "building {} from source: minutes the first time, then cached",
        packages.join(", ")
    );
}

#[cfg(test)]
mod tests {
    use super::go_version;

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(go_version("go1.26.8\n"), Some((1, 26)));
        assert!(go_version("go1.9.1") < Some((1, 26)));
        assert_eq!(go_version("devel"), None);
    }
}
