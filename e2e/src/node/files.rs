//! The state folder: what the node reads at its start, and what is removed at its end.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::network::Network;
use crate::pki::Authority;
use crate::{binaries, process};

/// Folder of one log per part; `down` leaves it for people who ask what happened.
pub(super) const LOGS: &str = "logs";
const LOCK: &str = "lock";

/// Files beside `cluster/node.sh` whose `${...}` are filled in, and where they go.
const TEMPLATES: [(&str, &str); 4] = [
    ("containerd.toml", "containerd.toml"),
    ("pods.conflist", "net.d/10-pods.conflist"),
    ("kubelet.yaml", "kubelet.yaml"),
    ("addons.yaml", "addons.yaml"),
];

/// Fills the folder for a node in `network`.
pub(super) fn write(state: &Path, network: Network) -> Result<()> {
    for folder in [LOGS, "net.d"] {
        fs::create_dir_all(state.join(folder))?;
    }
    fs::write(state.join("network"), network.to_string())?;
    fs::write(state.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
    let restrict = !process::succeeds(Command::new("capsh").arg("--has-p=cap_sys_resource"));
    let mut variables = vec![("RESTRICT_OOM_SCORE_ADJ", restrict.to_string())];
    variables.extend(network.variables());
    for (source, target) in TEMPLATES {
        let text = fs::read_to_string(Path::new(binaries::CLUSTER).join(source))?;
        let text = fill(&text, &variables).with_context(|| source.to_owned())?;
        fs::write(state.join(target), text)?;
    }
    certificates(state, network)
}

/// The network of the node in this folder, if there is one.
pub(super) fn network(state: &Path) -> Option<Network> {
    fs::read_to_string(state.join("network")).ok()?.parse().ok()
}

/// Removes everything but the logs; mounts of killed processes may take a moment to be gone.
pub(super) fn remove(state: &Path, limit: Duration) -> Result<()> {
    for entry in fs::read_dir(state)? {
        let entry = entry?;
        if [LOGS, LOCK].iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        let path = entry.path();
        process::wait_for(&format!("{} to be released", path.display()), limit, || {
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            match removed {
                Ok(()) => Ok(Some(())),
                Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(None),
                Err(error) => Err(error).with_context(|| path.display().to_string()),
            }
        })?;
    }
    Ok(())
}

fn certificates(state: &Path, network: Network) -> Result<()> {
    let authority = Authority::create(&state.join("pki"))?;
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ];
    let mut alternatives: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let addresses = ["127.0.0.1".into(), network.node_address(), network.api_service()];
    alternatives.extend(addresses.iter().map(|address| format!("IP:{address}")));
    authority.server("apiserver", "/CN=kube-apiserver", &alternatives)?;
    authority.server(
        "kubelet-server",
        "/CN=system:node:berth-node",
        &[format!("IP:{}", network.node_address())],
    )?;
    authority.client(
        "apiserver-client",
        "kube-apiserver-kubelet-client",
        &["system:masters"],
    )?;
    let server = format!("https://{}:6443", network.node_address());
    for (name, user, groups) in [
        ("admin", "admin", &["system:masters"][..]),
        ("controller-manager", "system:kube-controller-manager", &[]),
        ("scheduler", "system:kube-scheduler", &[]),
        ("kubelet", "system:node:berth-node", &["system:nodes"]),
        ("kube-proxy", "system:kube-proxy", &[]),
    ] {
        authority.kubeconfig(name, user, groups, &server)?;
    }
    Ok(())
}

fn fill(template: &str, variables: &[(&str, String)]) -> Result<String> {
    let text = variables.iter().fold(template.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value)
    });
    if let Some((_, rest)) = text.split_once("${") {
        bail!("unknown variable {}", rest.split('}').next().unwrap_or(rest));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn an_unknown_variable_is_named() {
        let variables = [("A", "1".to_owned())];
        assert_eq!(fill("x ${A} ${A}", &variables).unwrap(), "x 1 1");
        assert!(
            fill("${A} ${B}", &variables)
                .unwrap_err()
                .to_string()
                .contains('B')
        );
    }
}
