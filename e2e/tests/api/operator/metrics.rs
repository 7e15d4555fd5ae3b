//! What a running operator exports is what `docs/metrics-operator.md` says.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use berth_dataplane::testing::{free_port, page_names_every_metric};
use berth_operator::rbac::{Scope, policy_rules};
use kube::api::DeleteParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::bed::{Bed, Running};
use super::permissions::grant;
use crate::server::repository;

/// Metrics that begin with their first event.
const LATE: [&str; 4] = [
    "berth_operator_conditions{kind=\"HostPool\"",
    "berth_operator_watch_restarts_total{",
    "berth_operator_writes_skipped_total{",
    "berth_operator_watch_last_event_age_seconds{",
];

/// What a scrape of the operator at `address` gives, when it listens.
pub(crate) async fn scrape(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = "GET /metrics HTTP/1.1\r\nhost: operator\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_names_every_metric_and_no_other() {
    let bed = Bed::new("metrics").await;
    bed.cluster("main").await;
    bed.pool("eu", "main").await;
    let user = format!("operator-of-{}", bed.namespace);
    let kubeconfig = bed
        .server
        .kubeconfig_of(&user, &["system:authenticated"])
        .unwrap();
    grant(&bed, "operator", &user, policy_rules(Scope::Watched)).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut options = bed.options_of(&kubeconfig).await;
    options.listen = Some(address);
    options.intervals.watch = Duration::from_secs(1);
    let operator = Running::start(options);
    let _pods = bed.roll_out();
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    // Without permissions, the next watch of each kind is an error.
    let bindings = bed.api("rbac.authorization.k8s.io/v1", "RoleBinding");
    bindings
        .delete("operator", &DeleteParams::default())
        .await
        .unwrap();
    let text = bed
        .wait("every metric", async || {
            let text = scrape(address).await?;
            LATE.iter().all(|name| text.contains(name)).then_some(text)
        })
        .await;
    let page = fs::read_to_string(repository().join("docs/metrics-operator.md")).unwrap();
    page_names_every_metric(&page, &text, &["berth_operator_"]);
    drop(operator);
}
