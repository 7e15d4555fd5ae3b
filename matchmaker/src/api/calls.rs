//! The calls of the API.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, FromRequest as _, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use uuid::Uuid;

use super::answer::Refusal;
use super::body::Body;
use super::wire::{HeartbeatAnswer, HostTtl, ListedHost, MatchAnswer};
use crate::host::MatchId;
use crate::idempotency;
use crate::matchmaker::Matchmaker;

type Matchmaking = State<Arc<Matchmaker>>;

/// `POST /api/host/heartbeat`
pub(super) async fn heartbeat(
    State(matchmaker): Matchmaking,
    body: Result<Body, Refusal>,
) -> Result<Json<HeartbeatAnswer>, Refusal> {
    let answer = match body {
        Ok(Body(body)) => matchmaker.heartbeat(body.as_ref()).await,
        Err(refusal) => Err(refusal),
    };
    matchmaker.metrics().heartbeat(answer.as_ref().err());
    answer.map(Json)
}

/// `POST /api/match/find`
pub(super) async fn find(
    State(matchmaker): Matchmaking,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Json<MatchAnswer>, Refusal> {
    let timer = matchmaker.metrics().find_timer();
    let answer = async {
        // Before anything of the body is read.
        matchmaker.admit_find(peer.ip(), request.headers())?;
        let key = request.headers().get(idempotency::HEADER).cloned();
        let Body(body) = Body::from_request(request, &()).await?;
        matchmaker.find(body.as_ref(), key.as_ref()).await
    }
    .await;
    timer.done(answer.as_ref().err());
    answer.map(Json)
}

/// `POST /api/match/{id}/resume`
pub(super) async fn resume(
    State(matchmaker): Matchmaking,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<MatchAnswer>, Refusal> {
    let answer = async {
        matchmaker.admit_find(peer.ip(), request.headers())?;
        let id = match_id(&id)?;
        let Body(body) = Body::from_request(request, &()).await?;
        matchmaker.resume(id, body.as_ref()).await
    }
    .await;
    matchmaker.metrics().resume(answer.as_ref().err());
    answer.map(Json)
}

/// `DELETE /api/match/{id}`
pub(super) async fn give_up(
    State(matchmaker): Matchmaking,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    matchmaker.admit_find(peer.ip(), &headers)?;
    matchmaker.give_up(match_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The match of a path.
fn match_id(text: &str) -> Result<MatchId, Refusal> {
    Uuid::try_parse(text)
        .map(MatchId)
        .map_err(|_| Refusal::UnknownMatch)
}

/// `GET /api/hosts`: hosts with a free slot.
pub(super) async fn hosts(State(matchmaker): Matchmaking) -> Result<Json<Vec<ListedHost>>, Refusal> {
    let hosts = matchmaker.hosts().await?;
    Ok(Json(
        hosts
            .into_iter()
            .filter(|host| host.free > 0)
            .map(ListedHost::from)
            .collect(),
    ))
}

/// `GET /api/hosts/ttl`
pub(super) async fn host_ttls(State(matchmaker): Matchmaking) -> Result<Json<Vec<HostTtl>>, Refusal> {
    Ok(Json(
        matchmaker.hosts().await?.into_iter().map(HostTtl::from).collect(),
    ))
}
