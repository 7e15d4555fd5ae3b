//! Who may view and edit a namespace may view and edit our kinds in it.

use berth_e2e::apiserver::{ApiServer, Options};
use berth_e2e::process;
use std::time::Duration;

use crate::helm::{Helm, chart};

#[test]
fn viewers_view_and_editors_edit_our_kinds() {
    let server = ApiServer::start(Options {
        controller_manager: true,
        ..Options::default()
    })
    .unwrap();
    let mut install = Helm::new().command();
    install.arg("--kubeconfig").arg(server.kubeconfig());
    install.args([
        "install",
        "berth",
        "--namespace",
        "berth-system",
        "--create-namespace",
    ]);
    process::output(install.arg(chart())).unwrap();
    for role in ["view", "edit", "admin"] {
        let (name, role, user) = (format!("--user={role}er"), format!("--clusterrole={role}"), role);
        process::output(
            server
                .kubectl()
                .args(["create", "rolebinding", user, &role, &name]),
        )
        .unwrap();
    }
    let may = |user: &str, verb: &str, what: &str| {
        let user = format!("--as={user}er");
        let (kind, part) = what.split_once('/').unwrap_or((what, ""));
        let part = format!("--subresource={part}");
        process::succeeds(server.kubectl().args(["auth", "can-i", verb, kind, &part, &user]))
    };
    // Kubernetes puts the parts of a role together in a moment.
    process::wait_for("the roles to be put together", Duration::from_mins(1), || {
        let whole = |user| may(user, "get", "hostpools") && may(user, "patch", "hostpools");
        Ok((may("view", "get", "hostpools") && whole("edit") && whole("admin")).then_some(()))
    })
    .unwrap();
    for kind in ["signalingclusters", "hostpools", "turnconfigs"] {
        for user in ["view", "edit", "admin"] {
            assert!(may(user, "watch", kind), "{user} {kind}");
            assert_eq!(may(user, "create", kind), user != "view", "{user} {kind}");
            assert!(!may(user, "patch", &format!("{kind}/status")), "{user} {kind}");
        }
    }
    assert!(may("edit", "patch", "hostpools/scale") && !may("view", "patch", "hostpools/scale"));
}
