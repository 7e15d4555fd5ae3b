//! What the internal port tells and does: counts for the operator, hosts in all states for people, the drain of a host.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use berth_crds::api::RegionDemand;
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::wire::OFFLINE;
use crate::api::wire::list::{Filter, Part, Wanted};
use crate::api::{Named, Parameters, Refusal, bearer};
use crate::demand::largest;
use crate::host::{HostId, HostInfo, HostState, HostStatus};
use crate::matchmaker::Matchmaker;
use crate::metrics::largest_regions;
use crate::slots::Reservation;
use crate::store::{Counts, HostRecord, Offline, PAGE, RegionCounts};

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

/// The same with what could not be served, which the store is asked for.
#[derive(Debug, Serialize)]
struct WithDemand<'a> {
    #[serde(flatten)]
    answer: CountsAnswer<'a>,
    demand: Vec<RegionDemand>,
}

#[derive(Debug, Serialize)]
struct SlotCounts {
    total: u64,
    available: u64,
    taken: u64,
}

/// `GET /counts`, `GET /hosts?state=WORD&region=NAME&room=ID&after=ID&limit=N`, `POST` and `DELETE /hosts/{id}/drain`.
pub(crate) fn router(matchmaker: Late) -> Router {
    Router::new()
        .route("/counts", get(counts))
        .route("/hosts", get(hosts))
        .route("/hosts/{id}/drain", post(drain).delete(undrain))
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
        "quiet": counts.quiet,
        "waitingHeartbeats": matchmaker.waiting_heartbeats(),
        "drain": matchmaker.settings().pool.drain,
        "findsGranted": granted,
        "findsRefused": refused,
        "heartbeats": heartbeats,
        "placeholders": matchmaker.pool_secrets(&matchmaker.settings()).placeholders(),
    })
}

fn ready(matchmaker: &Late) -> Result<&Matchmaker, Refusal> {
    matchmaker.get().map(AsRef::as_ref).ok_or(Refusal::Unavailable)
}

async fn counts(State(matchmaker): State<Late>) -> Result<Json<Value>, Refusal> {
    let matchmaker = ready(&matchmaker)?;
    let counts = matchmaker.counts().await?;
    let demand = largest(&matchmaker.demand().await?);
    let answer = answer(matchmaker, &counts);
    Ok(Json(json!(WithDemand { answer, demand })))
}

async fn hosts(State(matchmaker): State<Late>, Query(query): Parameters) -> Result<Json<Value>, Refusal> {
    let matchmaker = ready(&matchmaker)?;
    let filter = Filter::read(&query).map_err(Refusal::Invalid)?;
    let mut part = Part::read(&query).map_err(Refusal::Invalid)?;
    if filter.state == Some(Wanted::Offline) {
        let offline = matchmaker.offline().await?;
        let fits = |host: &&Offline| filter.is_at(&host.region, &host.room);
        let hosts: Vec<Value> = offline.iter().filter(fits).map(gone).collect();
        return Ok(Json(json!({"hosts": hosts, "next": null})));
    }
    part.limit = part.limit.or(Some(PAGE));
    let listed = matchmaker.list(&part, |host| filter.fits(host)).await?;
    let hosts: Vec<ShownHost<'_>> = listed.hosts.iter().map(host).collect();
    Ok(Json(json!({"hosts": hosts, "next": listed.next})))
}

async fn drain(
    State(matchmaker): State<Late>,
    name: Named,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    set_drain(&matchmaker, name, &headers, true).await
}

async fn undrain(
    State(matchmaker): State<Late>,
    name: Named,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    set_drain(&matchmaker, name, &headers, false).await
}

async fn set_drain(
    matchmaker: &Late,
    name: Named,
    headers: &HeaderMap,
    drain: bool,
) -> Result<Json<Value>, Refusal> {
    let matchmaker = ready(matchmaker)?;
    matchmaker.admit_admin(bearer(headers))?;
    let Path(name) = name.map_err(|_| Refusal::UnknownHost)?;
    let host = HostId::new(name);
    matchmaker.drain(host.clone(), drain).await?;
    Ok(Json(json!({"hostId": host, "drained": drain})))
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
            taken: counts.taken,
        },
        regions: largest_regions(counts).into_iter().collect(),
        occupancy_known: counts.occupancy_known,
    }
}

/// A host in the list of all.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownHost<'a> {
    host_id: &'a HostId,
    room_id: &'a str,
    region: &'a str,
    state: HostState,
    /// It was taken out of service here.
    drained: bool,
    status: HostStatus,
    capacity: u32,
    offered_slots: u32,
    available_slots: u32,
    /// Sessions that run, and reservations that wait for their player.
    taken_slots: u32,
    last_heartbeat: u64,
    ttl_ms: u64,
    reservations: Vec<Value>,
    labels: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    info: HostInfo,
}

fn host(record: &HostRecord) -> ShownHost<'_> {
    ShownHost {
        host_id: &record.host,
        room_id: record.room.as_str(),
        region: &record.region,
        state: record.state,
        drained: record.drained,
        status: record.status,
        capacity: record.capacity,
        offered_slots: record.offered,
        available_slots: record.free,
        taken_slots: record.taken,
        last_heartbeat: record.heartbeat_ms,
        ttl_ms: record.ttl_ms,
        reservations: record.reservations.iter().map(reservation).collect(),
        labels: &record.labels,
        info: HostInfo::from_text(&record.info),
    }
}

/// A host that is gone, in the list of those.
fn gone(host: &Offline) -> Value {
    json!({
        "hostId": host.host,
        "roomId": host.room,
        "region": host.region,
        "state": OFFLINE,
        "since": host.since_ms,
        "reason": if host.left { "left" } else { "lost" },
    })
}

fn reservation(reservation: &Reservation) -> Value {
    json!({
        "matchId": reservation.id,
        "grantedAt": reservation.granted_us / 1000,
        "deadline": reservation.deadline_ms,
        "joined": reservation.is_used(),
        "leftAt": reservation.left_at_ms(),
    })
}
