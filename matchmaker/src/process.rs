//! The process `berth-matchmaker`: what differs from other services.

use std::time::Duration;

use berth_dataplane::boot::ServiceArgs;
use berth_dataplane::http::BindError;
use berth_dataplane::occupancy::MemoryRooms;
use berth_dataplane::process::{self, Parts, ProcessError, Service, ServicePort};
use berth_dataplane::settings::MatchmakerView;
use tracing::warn;

use crate::server::{Internal, Server, ServerOptions, Store};

/// Longest wait for requests under way; they take milliseconds.
const DRAIN: Duration = Duration::from_secs(10);

/// Command line of `berth-matchmaker`.
#[derive(Debug, clap::Parser)]
#[command(
    name = "berth-matchmaker",
    version,
    about = "Matchmaker: registers streaming hosts and hands them out to players",
    after_help = "Without --settings and outside a pod, environment variables alone decide: PORT, INTERNAL_PORT, \
                  REDIS_URL, HOST_SECRET, SIGNALING_PUBLIC_URL and others. PORT, REDIS_URL, INSTANCE_ID and LOG_LEVEL \
                  win over every other source."
)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArgs,
}

impl Args {
    /// Runs the matchmaker until a signal ends it.
    pub fn run(&self) -> Result<(), ProcessError> {
        let pages = Internal::default();
        let service = Service {
            name: "matchmaker",
            public_port: ServicePort {
                variables: &["PORT"],
                field: "spec.httpPort",
                value: |view: &MatchmakerView| view.pool.http_port,
            },
            internal_port: ServicePort {
                variables: &["INTERNAL_PORT"],
                field: "spec.internalPort",
                value: |view| view.pool.internal_port,
            },
            usual_internal_port: 9090,
            drain_timeout: |_| DRAIN,
            internal_routes: pages.router(),
        };
        process::run(&self.service, service, async |parts| {
            Ok(bind(parts, pages).await?.serve())
        })
    }
}

async fn bind(parts: Parts<MatchmakerView>, internal: Internal) -> Result<Server, BindError> {
    let store = match parts.redis(parts.settings.load().cluster.circuit_breaker) {
        None => {
            warn!("no REDIS_URL: hosts are kept in this process, and no signaling server shares its rooms");
            Store::Memory(MemoryRooms::default())
        }
        Some(link) => Store::Redis(link),
    };
    Server::bind(ServerOptions {
        listener: parts.listener,
        settings: parts.settings,
        secrets: parts.secrets,
        ice: parts.ice,
        store,
        health: parts.health,
        metrics: parts.metrics,
        public_metrics: parts.public_metrics,
        internal,
        shutdown: parts.shutdown,
    })
    .await
}
