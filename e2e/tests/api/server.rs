//! An API server with Berth's definitions, shared by the tests that run at the same time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use berth_e2e::apiserver::{ApiServer, Options};
use berth_e2e::{binaries, process};
use kube::config::{KubeConfigOptions, Kubeconfig};

/// The plurals of the three kinds.
const KINDS: [&str; 3] = ["signalingclusters", "hostpools", "turnconfigs"];

/// The repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A server that holds the three definitions and that of HTTPRoutes, and is left as it is: tests use dry runs or a namespace of their own.
pub(crate) fn shared() -> Arc<ApiServer> {
    static SHARED: Mutex<Weak<ApiServer>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let server = furnished(Options::default());
    *shared = Arc::downgrade(&server);
    server
}

/// The same as [`shared`], for one test, with the controllers of Kubernetes, its garbage collector among them.
pub(crate) fn with_controllers() -> Arc<ApiServer> {
    furnished(Options {
        controller_manager: true,
        ..Options::default()
    })
}

/// A server with our definitions and that of HTTPRoutes.
pub(crate) fn furnished(options: Options) -> Arc<ApiServer> {
    let server = Arc::new(ApiServer::start(options).unwrap());
    install_definitions(&server);
    install_http_routes(&server);
    server
}

/// Applies `crds/*.yaml`; a warning of the server is an error.
pub(crate) fn install_definitions(server: &ApiServer) {
    let crds = repository().join("crds");
    let mut apply = server.kubectl();
    apply.args(["apply", "--server-side", "--warnings-as-errors"]);
    for plural in KINDS {
        apply.arg("-f").arg(crds.join(format!("{plural}.yaml")));
    }
    process::output(&mut apply).unwrap();
    // Established means that the API is served, but not yet that its discovery and validation are in force everywhere.
    for plural in KINDS {
        process::wait_for(plural, Duration::from_mins(1), || {
            Ok(process::succeeds(server.kubectl().args(["get", plural])).then_some(()))
        })
        .unwrap();
    }
}

/// Makes HTTPRoutes of the Gateway API a kind of `server`.
pub(crate) fn install_http_routes(server: &ApiServer) {
    let definition = binaries::http_route_definition().unwrap();
    let mut apply = server.kubectl();
    process::output(apply.args(["apply", "--server-side", "-f"]).arg(definition)).unwrap();
    process::wait_for("httproutes", Duration::from_mins(1), || {
        Ok(process::succeeds(server.kubectl().args(["get", "httproutes"])).then_some(()))
    })
    .unwrap();
}

/// A client of `server` as administrator.
pub(crate) async fn client(server: &ApiServer) -> kube::Client {
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    kube::Client::try_from(config).unwrap()
}

/// Runs `command` and gives what it wrote to its error output, or nothing when it succeeded.
pub(crate) fn complaint(command: &mut Command) -> Option<String> {
    let output = command.output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}
