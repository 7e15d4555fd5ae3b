//! The calls of the API.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, FromRequest as _, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use uuid::Uuid;

use super::answer::Refusal;
use super::body::Body;
use super::openapi::{
    FindBody, HeartbeatBody, IdempotencyKey, ListParameters, OfFind, OfGiveUp, OfHeartbeat, OfLeave, OfLists,
    OfResume, OfStatus, ResumeBody, StatusBody,
};
use super::wire::list::Part;
use super::wire::{HeartbeatAnswer, HostTtl, ListedHost, MatchAnswer, StatusAnswer};
use crate::host::{HostId, MatchId};
use crate::idempotency;
use crate::matchmaker::Matchmaker;
use crate::store::HostRecord;

type Matchmaking = State<Arc<Matchmaker>>;
/// Parameters of a query, whatever they are.
pub(crate) type Parameters = Query<Vec<(String, String)>>;
/// A host or a match in a path. What cannot be read is the name of none.
pub(crate) type Named = Result<Path<String>, PathRejection>;

/// A host says that it is there
///
/// Every 20 seconds. A host that is silent for `spec.heartbeat.ttlSeconds` is lost.
#[utoipa::path(
    post,
    path = "/heartbeat",
    tag = "hosts",
    security(("hostSecret" = [])),
    request_body = HeartbeatBody,
    responses(
        (
            status = 200,
            description = "Kept",
            body = HeartbeatAnswer,
            links(("leave" = (
                operation_id = "leave",
                parameters(("id" = "$request.body#/hostId")),
                description = "Leaves"
            )))
        ),
        OfHeartbeat
    )
)]
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

/// A player asks for a host
///
/// The slot is granted until a deadline by which the player has to have joined the room. An absent body asks for any host.
#[utoipa::path(
    post,
    path = "/api/match/find",
    tag = "matches",
    params(IdempotencyKey),
    request_body = FindBody,
    responses(
        (
            status = 200,
            description = "Granted",
            body = MatchAnswer,
            links(
                ("giveUp" = (
                    operation_id = "give_up",
                    parameters(("id" = "$response.body#/matchId")),
                    description = "Gives the match up"
                )),
                ("resume" = (
                    operation_id = "resume",
                    parameters(("id" = "$response.body#/matchId")),
                    request_body = json!({"resumeToken": "$response.body#/resumeToken"}),
                    description = "Gets the match again"
                ))
            )
        ),
        OfFind
    )
)]
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

/// A player gets a match again
///
/// The same host and room with fresh ICE servers, until the seat is released.
#[utoipa::path(
    post,
    path = "/api/match/{id}/resume",
    tag = "matches",
    params(("id" = Uuid, Path, description = "Id of the match")),
    request_body = ResumeBody,
    responses(
        (status = 200, description = "Granted", body = MatchAnswer),
        OfResume
    )
)]
pub(super) async fn resume(
    State(matchmaker): Matchmaking,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    id: Named,
    request: Request,
) -> Result<Json<MatchAnswer>, Refusal> {
    let answer = async {
        matchmaker.admit_find(peer.ip(), request.headers())?;
        let id = match_id(id)?;
        let Body(body) = Body::from_request(request, &()).await?;
        matchmaker.resume(id, body.as_ref()).await
    }
    .await;
    matchmaker.metrics().resume(answer.as_ref().err());
    answer.map(Json)
}

/// A player gives a match up
#[utoipa::path(
    delete,
    path = "/api/match/{id}",
    tag = "matches",
    params(("id" = Uuid, Path, description = "Id of the match")),
    responses(
        (status = 204, description = "The slot is free"),
        OfGiveUp
    )
)]
pub(super) async fn give_up(
    State(matchmaker): Matchmaking,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    id: Named,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    matchmaker.admit_find(peer.ip(), &headers)?;
    matchmaker.give_up(match_id(id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The match of a path.
fn match_id(name: Named) -> Result<MatchId, Refusal> {
    let Path(text) = name.map_err(|_| Refusal::UnknownMatch)?;
    Uuid::try_parse(&text)
        .map(MatchId)
        .map_err(|_| Refusal::UnknownMatch)
}

/// A host says what it does from now on
///
/// It is no heartbeat.
#[utoipa::path(
    post,
    path = "/status",
    tag = "hosts",
    security(("hostSecret" = [])),
    request_body = StatusBody,
    responses(
        (status = 200, description = "In force", body = StatusAnswer),
        OfStatus
    )
)]
pub(super) async fn status(
    State(matchmaker): Matchmaking,
    body: Result<Body, Refusal>,
) -> Result<Json<StatusAnswer>, Refusal> {
    let Body(body) = body?;
    matchmaker.say(body.as_ref()).await?;
    Ok(Json(StatusAnswer { success: true }))
}

/// A host leaves
///
/// It is forgotten at once, and its reservations end.
#[utoipa::path(
    delete,
    path = "/{id}",
    tag = "hosts",
    security(("hostSecret" = [])),
    params(("id" = String, Path, description = "Id of the host")),
    responses(
        (status = 204, description = "Forgotten"),
        OfLeave
    )
)]
pub(super) async fn leave(State(matchmaker): Matchmaking, name: Named) -> Result<StatusCode, Refusal> {
    let Path(name) = name.map_err(|_| Refusal::UnknownHost)?;
    matchmaker.leave(HostId::new(name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hosts with a free slot
///
/// By id, where `spec.hostListAccess` is `Public`.
#[utoipa::path(
    get,
    path = "/api/hosts",
    tag = "lists",
    params(ListParameters),
    responses(
        (
            status = 200,
            description = "The list or a part of it",
            body = Vec<ListedHost>,
            headers(("Link" = String, description = "Where the next part is, `rel=\"next\"` (RFC 8288); absent behind the last one"))
        ),
        OfLists
    )
)]
pub(super) async fn hosts(
    State(matchmaker): Matchmaking,
    Query(query): Parameters,
) -> Result<Response, Refusal> {
    list(&matchmaker, &query, |host| host.free > 0, ListedHost::from).await
}

/// How long each live host counts as alive
///
/// By id, where `spec.hostListAccess` is `Public`.
#[utoipa::path(
    get,
    path = "/api/hosts/ttl",
    tag = "lists",
    params(ListParameters),
    responses(
        (
            status = 200,
            description = "The list or a part of it",
            body = Vec<HostTtl>,
            headers(("Link" = String, description = "Where the next part is, `rel=\"next\"` (RFC 8288); absent behind the last one"))
        ),
        OfLists
    )
)]
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
