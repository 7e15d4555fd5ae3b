//! Test doubles of signaling and matchmaker: just enough of the wire for the peers under test.
//! The relay passes text between two sockets of a room; it proves nothing about Berth's signaling.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What the doubles do, changed by tests while they run.
#[derive(Default)]
pub(crate) struct Behaviour {
    /// Names for `x-berth-instance`, in turn.
    pub(crate) instances: Vec<String>,
    /// Close code and reason for everybody who joins.
    pub(crate) refuse: Option<(u16, &'static str)>,
    /// The token that a peer must bring.
    pub(crate) token: Option<String>,
    /// Offers that are lost, as some relays lose the first message of a socket.
    pub(crate) lose_offers: usize,
    /// ICE servers of every match.
    pub(crate) ice_servers: Value,
    /// Whether find answers 404 whatever is registered.
    pub(crate) no_hosts: bool,
}

/// A relay and a matchmaker on loopback.
pub(crate) struct Doubles {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    rooms: Mutex<HashMap<String, Vec<Seat>>>,
    heartbeats: Mutex<Vec<Value>>,
    joins: Mutex<usize>,
    relayed: Mutex<Vec<Value>>,
    address: Mutex<Option<SocketAddr>>,
}

struct Seat {
    id: usize,
    outgoing: mpsc::Sender<Message>,
}

impl Doubles {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        *shared.behaviour.lock() = behaviour;
        *shared.address.lock() = Some(address);
        let router = Router::new()
            .route("/", any(upgrade))
            .route("/api/host/heartbeat", post(heartbeat))
            .route("/api/match/find", post(find))
            .with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn ws(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock());
    }

    /// All heartbeats so far.
    pub(crate) fn heartbeats(&self) -> Vec<Value> {
        self.shared.heartbeats.lock().clone()
    }

    /// All messages that passed the relay.
    pub(crate) fn relayed(&self) -> Vec<Value> {
        self.shared.relayed.lock().clone()
    }

    /// Who sits in a room.
    pub(crate) fn members(&self, room: &str) -> usize {
        self.shared.rooms.lock().get(room).map_or(0, Vec::len)
    }

    /// Closes every socket, as a draining server does.
    pub(crate) fn close_all(&self, code: u16, reason: &'static str) {
        for seat in self.shared.rooms.lock().values().flatten() {
            let frame = CloseFrame {
                code,
                reason: reason.into(),
            };
            let _ = seat.outgoing.try_send(Message::Close(Some(frame)));
        }
    }
}

impl Drop for Doubles {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn heartbeat(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if headers
        .get("authorization")
        .is_none_or(|value| value != "Bearer berth-local")
    {
        let error = json!({"success": false, "error": "Forbidden: Invalid host secret"});
        return (StatusCode::FORBIDDEN, Json(error)).into_response();
    }
    shared.heartbeats.lock().push(body);
    let mut answer = json!({"success": true, "ttl": 30});
    if let Some(token) = &shared.behaviour.lock().token {
        answer["matchToken"] = json!(token);
    }
    Json(answer).into_response()
}

async fn find(State(shared): State<Arc<Shared>>, Json(wish): Json<Value>) -> Response {
    let heartbeats = shared.heartbeats.lock();
    let behaviour = shared.behaviour.lock();
    let free = heartbeats.iter().rev().find(|beat| {
        (wish["hostId"].is_null() || wish["hostId"] == beat["hostId"]) && beat["availableSlots"] != 0
    });
    let Some(host) = free.filter(|_| !behaviour.no_hosts) else {
        let body = json!({"found": false, "message": "No hosts available"});
        return (StatusCode::NOT_FOUND, Json(body)).into_response();
    };
    let address = shared.address.lock().unwrap();
    let mut answer = json!({
        "found": true,
        "roomId": host["roomId"],
        "signalingUrl": format!("ws://{address}"),
        "iceServers": if behaviour.ice_servers.is_null() { json!([]) } else { behaviour.ice_servers.clone() },
    });
    if let Some(token) = &behaviour.token {
        answer["matchToken"] = json!(token);
    }
    Json(answer).into_response()
}

async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let instance = {
        let behaviour = shared.behaviour.lock();
        let turn = *shared.joins.lock();
        let names = &behaviour.instances;
        (!names.is_empty()).then(|| names[turn % names.len()].clone())
    };
    let room = query.get("roomId").cloned().unwrap_or_default();
    let token = query.get("token").cloned();
    let mut response = upgrade.on_upgrade(move |socket| sit(shared, socket, room, token));
    if let Some(instance) = instance {
        let name = HeaderValue::from_str(&instance).unwrap();
        response.headers_mut().insert("x-berth-instance", name);
    }
    response
}

async fn sit(shared: Arc<Shared>, mut socket: WebSocket, room: String, token: Option<String>) {
    let refusal = {
        let behaviour = shared.behaviour.lock();
        let unauthorized = behaviour.token.is_some() && behaviour.token != token;
        behaviour
            .refuse
            .or(unauthorized.then_some((1008, "Unauthorized")))
            .or((shared.rooms.lock().get(&room).map_or(0, Vec::len) >= 2).then_some((1000, "Room is full")))
    };
    if let Some((code, reason)) = refusal {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        let _ = socket.send(Message::Close(Some(frame))).await;
        return;
    }
    let (outgoing, mut queue) = mpsc::channel(256);
    let id = {
        let mut joins = shared.joins.lock();
        *joins += 1;
        *joins
    };
    shared
        .rooms
        .lock()
        .entry(room.clone())
        .or_default()
        .push(Seat { id, outgoing });
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => relay(&shared, &room, id, text.as_str()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
            Some(message) = queue.recv() => {
                let closing = matches!(message, Message::Close(_));
                if socket.send(message).await.is_err() || closing {
                    break;
                }
            }
        }
    }
    let mut rooms = shared.rooms.lock();
    let Some(seats) = rooms.get_mut(&room) else { return };
    seats.retain(|seat| seat.id != id);
    for seat in seats {
        let _ = seat
            .outgoing
            .try_send(Message::text(r#"{"type":"peer-disconnected"}"#));
    }
}

fn relay(shared: &Shared, room: &str, from: usize, text: &str) {
    let message: Value = serde_json::from_str(text).unwrap();
    if message["type"] == "offer" {
        let mut behaviour = shared.behaviour.lock();
        if behaviour.lose_offers > 0 {
            behaviour.lose_offers -= 1;
            return;
        }
    }
    shared.relayed.lock().push(message);
    for seat in shared
        .rooms
        .lock()
        .get(room)
        .into_iter()
        .flatten()
        .filter(|seat| seat.id != from)
    {
        let _ = seat.outgoing.try_send(Message::text(text.to_owned()));
    }
}
