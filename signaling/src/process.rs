//! The process `berth-signaling`: what differs from other services.

use axum::Router;
use berth_dataplane::boot::ServiceArgs;
use berth_dataplane::http::BindError;
use berth_dataplane::occupancy::MemoryRooms;
use berth_dataplane::process::{self, Parts, ProcessError, Service, ServicePort};
use berth_dataplane::settings::SignalingView;
use tracing::warn;

use crate::server::{Server, ServerOptions, Store, Timing};

/// Command line of `berth-signaling`.
#[derive(Debug, clap::Parser)]
#[command(
    name = "berth-signaling",
    version,
    about = "Signaling server: rooms in which players and streaming hosts exchange SDP and ICE candidates",
    after_help = "Without --settings and outside a pod, environment variables alone decide: PORT, WS_PORT, \
                  HEALTH_PORT, REDIS_URL, ROOM_CAPACITY and others. PORT, REDIS_URL, INSTANCE_ID and LOG_LEVEL win \
                  over every other source."
)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArgs,
}

impl Args {
    /// Runs the server until a signal ends it.
    pub fn run(&self) -> Result<(), ProcessError> {
        let service = Service {
            name: "signaling",
            public_port: ServicePort {
                variables: &["PORT", "WS_PORT"],
                field: "spec.wsPort",
                value: |view: &SignalingView| view.cluster.ws_port,
            },
            internal_port: ServicePort {
                variables: &["HEALTH_PORT"],
                field: "spec.healthPort",
                value: |view| view.cluster.health_port,
            },
            usual_internal_port: 8080,
            drain_timeout: |view| view.cluster.drain_timeout,
            internal_routes: Router::new(),
        };
        process::run(&self.service, service, async |parts| {
            Ok(bind(parts).await?.serve())
        })
    }
}

async fn bind(parts: Parts<SignalingView>) -> Result<Server, BindError> {
    let store = match parts.redis(parts.settings.load().cluster.circuit_breaker) {
        None => {
            warn!("no REDIS_URL: rooms are kept in this process, and no other instance shares them");
            Store::Memory(MemoryRooms::default())
        }
        Some(link) => Store::Redis(link),
    };
    Server::bind(ServerOptions {
        listener: parts.listener,
        instance_id: parts.instance_id,
        settings: parts.settings,
        secrets: parts.secrets,
        ice: parts.ice,
        store,
        health: parts.health,
        metrics: parts.metrics,
        public_metrics: parts.public_metrics,
        shutdown: parts.shutdown,
        timing: Timing::default(),
    })
    .await
}
