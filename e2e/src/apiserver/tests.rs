use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{ApiServer, Options};
use crate::process;

/// Set for the run of this test program that is going to be killed.
const ROLE: &str = "BERTH_TEST_TO_BE_KILLED";

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn serves_objects_and_leaves_nothing() {
    let api = ApiServer::start(Options {
        controller_manager: true,
        audit: true,
        ..Options::default()
    })
    .unwrap();
    process::output(
        api.kubectl()
            .args(["create", "deployment", "web", "--image=none", "--replicas=2"]),
    )
    .unwrap();
    process::wait_for("the controllers to make pods", Duration::from_mins(1), || {
        let pods = process::output(api.kubectl().args(["get", "pods", "-l", "app=web", "-o", "name"]))?;
        Ok((pods.lines().count() == 2).then_some(()))
    })
    .unwrap();

    let reader = api
        .kubeconfig_of(
            "system:serviceaccount:default:reader",
            &["system:serviceaccounts"],
        )
        .unwrap();
    let refusal = process::output(
        api.kubectl()
            .arg("--kubeconfig")
            .arg(reader)
            .args(["get", "pods"]),
    )
    .unwrap_err();
    assert!(format!("{refusal:#}").contains("forbidden"), "{refusal:#}");

    let audit = std::fs::read_to_string(api.audit_log()).unwrap();
    assert!(
        audit
            .lines()
            .any(|line| line.contains("\"create\"") && line.contains("\"deployments\""))
    );

    let (pids, folder) = (api.processes(), api.audit_log().parent().unwrap().to_owned());
    assert_eq!(pids.len(), 3);
    drop(api);
    assert!(!pids.into_iter().any(alive));
    assert!(!folder.exists());
}

#[test]
fn a_killed_test_leaves_no_process() {
    if env::var_os(ROLE).is_some() {
        let api = ApiServer::start(Options::default()).unwrap();
        println!(
            "\npids {}",
            api.processes()
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        );
        loop {
            std::thread::park();
        }
    }
    let mut test = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "apiserver::tests::a_killed_test_leaves_no_process",
            "--nocapture",
        ])
        .env(ROLE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(test.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let pids = lines
        .find_map(|line| line.strip_prefix("pids ").map(str::to_owned))
        .expect("the API came up");
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| alive(*pid)));

    test.kill().unwrap();
    test.wait().unwrap();
    process::wait_for("the API to end with the test", Duration::from_secs(30), || {
        Ok((!pids.iter().any(|pid| alive(*pid))).then_some(()))
    })
    .unwrap();
}
