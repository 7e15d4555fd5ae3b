//! What the internal port tells: counts for the operator, hosts in all states for people.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::Refusal;
use crate::host::{HostId, HostState};
use crate::matchmaker::Matchmaker;
use crate::metrics::largest_regions;
use crate::slots::Reservation;
use crate::store::{Counts, HostRecord, PAGE, RegionCounts};

/// The matchmaker, once there are settings for one.
pub(crate) type Late = Arc<OnceLock<Arc<Matchmaker>>>;

/// Answer to `GET /counts`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CountsAnswer<'a> {
    pool: String,
    hosts: BTreeMap<&'static str, u64>,
    slots: SlotCounts,
    regions: BTreeMap<&'a str, RegionCounts>,
    occupancy_known: bool,
}

#[derive(Debug, Serialize)]
struct SlotCounts {
    total: u64,
    available: u64,
}

#[derive(Debug, Deserialize)]
struct PageQuery {
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /counts` and `GET /hosts?after=ID&limit=N`.
pub(crate) fn router(matchmaker: Late) -> Router {
    Router::new()
        .route("/counts", get(counts))
        .route("/hosts", get(hosts))
        .with_state(matchmaker)
}

/// The section `pool` of `/statusz`.
pub(crate) fn status(matchmaker: &Matchmaker) -> Value {
    let counts = matchmaker.metrics().counts();
    let [granted, refused, heartbeats] = matchmaker.metrics().totals();
    let note = (!counts.occupancy_known).then_some(
        "no signaling server holds a lease on this store: heartbeats and reservations alone decide, and \
         requireHostInRoom has no effect",
    );
    json!({
        "counts": answer(matchmaker, &counts),
        "occupancyNote": note,
        "findsGranted": granted,
        "findsRefused": refused,
        "heartbeats": heartbeats,
        "placeholders": matchmaker.pool_secrets(&matchmaker.settings()).placeholders(),
    })
}

async fn counts(State(matchmaker): State<Late>) -> Response {
    let Some(matchmaker) = matchmaker.get() else {
        return Refusal::Unavailable.into_response();
    };
    match matchmaker.counts().await {
        Ok(counts) => Json(answer(matchmaker, &counts)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn hosts(State(matchmaker): State<Late>, Query(query): Query<PageQuery>) -> Response {
    let Some(matchmaker) = matchmaker.get() else {
        return Refusal::Unavailable.into_response();
    };
    let page = match matchmaker.page(query.after.map(HostId::new)).await {
        Ok(page) => page,
        Err(refusal) => return refusal.into_response(),
    };
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let next = page.get(limit - 1).map(|last| last.host.clone());
    let hosts: Vec<Value> = page.iter().take(limit).map(host).collect();
    Json(json!({"hosts": hosts, "next": next})).into_response()
}

fn answer<'a>(matchmaker: &Matchmaker, counts: &'a Counts) -> CountsAnswer<'a> {
    let mut hosts = counts.hosts.clone();
    for state in HostState::ALL {
        hosts.entry(state.as_str()).or_default();
    }
    hosts.insert("total", counts.hosts.values().sum());
    CountsAnswer {
        pool: matchmaker.settings().pool.name.to_string(),
        hosts,
        slots: SlotCounts {
            total: counts.capacity,
            available: counts.free,
        },
        regions: largest_regions(counts).into_iter().collect(),
        occupancy_known: counts.occupancy_known,
    }
}

fn host(record: &HostRecord) -> Value {
    json!({
        "hostId": record.host,
        "roomId": record.room,
        "region": record.region,
        "state": record.state,
        "status": record.status,
        "capacity": record.capacity,
        "offeredSlots": record.offered,
        "availableSlots": record.free,
        "lastHeartbeat": record.heartbeat_ms,
        "ttlMs": record.ttl_ms,
        "reservations": record.reservations.iter().map(reservation).collect::<Vec<_>>(),
    })
}

fn reservation(reservation: &Reservation) -> Value {
    json!({
        "matchId": reservation.id,
        "grantedAt": reservation.granted_us / 1000,
        "deadline": reservation.deadline_ms,
        "joined": reservation.is_used(),
    })
}
