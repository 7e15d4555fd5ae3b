//! The calls of the API.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, FromRequest as _, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::Refusal;
use super::body::Body;
use super::wire::list::Part;
use super::wire::{HeartbeatAnswer, HostTtl, ListedHost, MatchAnswer};
use crate::host::{HostId, MatchId};
use crate::idempotency;
use crate::matchmaker::Matchmaker;
use crate::store::HostRecord;

type Matchmaking = State<Arc<Matchmaker>>;
/// Parameters of a query, whatever they are.
pub(crate) type Parameters = Query<Vec<(String, String)>>;
/// A host in a path. What cannot be read is the name of none.
pub(crate) type NamedHost = Result<Path<String>, PathRejection>;

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

/// `POST /api/host/status`
pub(super) async fn status(
    State(matchmaker): Matchmaking,
    body: Result<Body, Refusal>,
) -> Result<Json<Value>, Refusal> {
    let Body(body) = body?;
    matchmaker.say(body.as_ref()).await?;
    Ok(Json(json!({"success": true})))
}

/// `DELETE /api/host/{id}`
pub(super) async fn leave(State(matchmaker): Matchmaking, name: NamedHost) -> Result<StatusCode, Refusal> {
    let Path(name) = name.map_err(|_| Refusal::UnknownHost)?;
    matchmaker.leave(HostId::new(name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/hosts`: hosts with a free slot.
pub(super) async fn hosts(
    State(matchmaker): Matchmaking,
    Query(query): Parameters,
) -> Result<Response, Refusal> {
    list(&matchmaker, &query, |host| host.free > 0, ListedHost::from).await
}

/// `GET /api/hosts/ttl`: all hosts.
pub(super) async fn host_ttls(
    State(matchmaker): Matchmaking,
    Query(query): Parameters,
) -> Result<Response, Refusal> {
    list(&matchmaker, &query, |_| true, HostTtl::from).await
}

/// A part of a list as a bare array, with a `Link` to the next one.
async fn list<T: Serialize>(
    matchmaker: &Matchmaker,
    query: &[(String, String)],
    fits: impl Fn(&HostRecord) -> bool + Send,
    show: impl Fn(HostRecord) -> T,
) -> Result<Response, Refusal> {
    matchmaker.admit_reader()?;
    let part = Part::read(query).map_err(Refusal::Invalid)?;
    // A list of a moment ago would show hosts that have fallen silent.
    matchmaker.counts().await?;
    let listed = matchmaker.list(&part, fits).await?;
    let link = listed.next.as_ref().and_then(|last| part.link_behind(last));
    let hosts: Vec<T> = listed.hosts.into_iter().map(show).collect();
    let mut response = Json(hosts).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}
