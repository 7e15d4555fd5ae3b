use super::*;

use std::net::{IpAddr, Ipv4Addr};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::boot::{Environment, ProcessFacts};
use crate::settings::SignalingView;
use crate::shutdown::ENDPOINT_DELAY;
use crate::testing::free_port;

const DRAIN: Duration = Duration::from_secs(7);

/// A service that does what its test says.
fn service() -> Service<SignalingView> {
    Service {
        name: "test",
        public_port: ServicePort {
            variables: &["PORT"],
            field: "spec.wsPort",
            value: |view| view.cluster.ws_port,
        },
        internal_port: ServicePort {
            variables: &["HEALTH_PORT"],
            field: "spec.healthPort",
            value: |view| view.cluster.health_port,
        },
        usual_internal_port: 8080,
        drain_timeout: |view| view.cluster.drain_timeout,
        internal_routes: Router::new(),
    }
}

/// A process that was started with variables, in a pod.
fn boot(ports: [(&str, &str); 2]) -> Boot {
    let args = ServiceArgs {
        settings: Some("env".to_owned()),
        ..ServiceArgs::default()
    };
    let variables = [
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("DRAIN_TIMEOUT_MS", "7000"),
    ];
    let facts = ProcessFacts {
        hostname: "pod".to_owned(),
        random: 1,
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let environment = Environment::from_pairs(variables.into_iter().chain(ports));
    Boot::resolve(&args, environment, &facts).unwrap()
}

/// Runs a service whose work never ends by itself; `end` gets the shutdown once it serves. Gives the time to the end.
async fn time_to_end(end: impl AsyncFnOnce(&Shutdown)) -> Duration {
    let shutdown = Shutdown::new();
    let (serves, serving) = oneshot::channel();
    let bind = async |parts: Parts<SignalingView>| {
        assert_eq!(parts.instance_id, "pod-00000001");
        let _ = serves.send(());
        Ok(std::future::pending())
    };
    let boot = boot([("PORT", "0"), ("HEALTH_PORT", &free_port().to_string())]);
    let running = supervise(boot, service(), shutdown.clone(), bind);
    let ending = async {
        serving.await.unwrap();
        let start = Instant::now();
        end(&shutdown).await;
        start
    };
    let (ended, start) = tokio::join!(running, ending);
    ended.unwrap();
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn from_the_signal_to_the_end_passes_the_delay_and_the_drain_and_no_more() {
    let time = time_to_end(async |shutdown| shutdown.begin()).await;
    assert_eq!(time.as_secs(), (ENDPOINT_DELAY + DRAIN).as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_at_once() {
    let time = time_to_end(async |shutdown| {
        shutdown.begin();
        tokio::time::sleep(Duration::from_secs(1)).await;
        shutdown.expire();
    })
    .await;
    assert_eq!(time.as_secs(), 1);
}

#[tokio::test]
async fn a_port_that_cannot_be_had_is_told_with_its_name() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (port, free) = (
        taken.local_addr().unwrap().port().to_string(),
        free_port().to_string(),
    );
    let bind = async |parts: Parts<SignalingView>| {
        let _listener = crate::http::Listener::bind(parts.listener).await?;
        Ok(std::future::pending())
    };
    for (ports, named) in [
        ([("PORT", &*port), ("HEALTH_PORT", &*free)], "PORT"),
        ([("PORT", "0"), ("HEALTH_PORT", &*port)], "HEALTH_PORT"),
    ] {
        let error = supervise(boot(ports), service(), Shutdown::new(), bind).await;
        let told = error.unwrap_err().to_string();
        assert!(told.ends_with(&format!("127.0.0.1:{port} ({named})")), "{told}");
    }
}

#[test]
fn an_internal_port_that_nobody_asked_for_makes_way_for_the_public_one() {
    let port = |number, explicit| Port {
        number,
        from: "spec.healthPort",
        explicit,
    };
    assert_eq!(beside(port(8080, false), 8080), port(8081, false));
    assert_eq!(beside(port(65_535, false), 65_535), port(65_534, false));
    for (internal, public) in [
        (port(8080, false), 3002),
        (port(8080, true), 8080),
        (port(0, false), 0),
    ] {
        assert_eq!(beside(internal, public), internal);
    }
}
