//! A stand-in for Metered, the provider of TURN servers: the two documented calls, on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::http::serve;

/// A server that answers as Metered does, and can be told to do otherwise. It ends when it is dropped.
#[derive(Debug)]
pub struct MeteredServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

/// One of the two calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeteredCall {
    /// `POST /api/v1/turn/credential`
    Make,
    /// `GET /api/v1/turn/credentials`
    List,
}

#[derive(Debug)]
struct Shared {
    /// The secret key of the application.
    key: &'static str,
    state: Mutex<Scripted>,
    held: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Scripted {
    /// What one of the calls is answered with instead.
    instead: Option<(MeteredCall, StatusCode, String)>,
    /// Lives that were asked for, in seconds.
    made: Vec<u64>,
    listed: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Make {
    secret_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    expiry_in_seconds: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    api_key: String,
}

type Answer = (StatusCode, String);

impl MeteredServer {
    /// Starts a server for an application with this secret key, on a port of its own.
    pub async fn start(key: &'static str) -> Self {
        let shared = Arc::new(Shared {
            key,
            state: Mutex::default(),
            held: watch::Sender::new(false),
        });
        let router = Router::new()
            .route("/api/v1/turn/credential", post(make))
            .route("/api/v1/turn/credentials", get(list))
            .with_state(Arc::clone(&shared));
        let (address, task) = serve(router).await;
        Self {
            address,
            shared,
            _task: task,
        }
    }

    /// Where its API is.
    pub fn url(&self) -> Url {
        Url::parse(&format!("http://{}", self.address)).expect("the URL of an address")
    }

    /// Answers a call with this from now on.
    pub fn answer(&self, call: MeteredCall, status: StatusCode, body: &str) {
        self.shared.state.lock().instead = Some((call, status, body.to_owned()));
    }

    /// Answers both calls as it should again.
    pub fn recover(&self) {
        self.shared.state.lock().instead = None;
    }

    /// Lets requests wait, or all of them go on.
    pub fn hold(&self, held: bool) {
        self.shared.held.send_replace(held);
    }

    /// Lives of the credentials that it was asked to make, in seconds.
    pub fn made(&self) -> Vec<u64> {
        self.shared.state.lock().made.clone()
    }

    /// How many times it was asked for servers.
    pub fn listed(&self) -> usize {
        self.shared.state.lock().listed
    }

    /// The servers that the credential with this number has, counted from 1.
    pub fn servers(number: usize) -> Value {
        let turn = |url: &str| json!({"urls": url, "username": format!("user-{number}"), "credential": format!("credential-{number}")});
        json!([
            {"urls": "stun:stun.relay.example:80"},
            turn("turn:global.relay.example:80"),
            turn("turns:global.relay.example:443?transport=tcp"),
        ])
    }
}

impl Shared {
    async fn go_on(&self) {
        // Fails only when the test is over.
        let _ = self.held.subscribe().wait_for(|held| !held).await;
    }

    fn instead(&self, call: MeteredCall) -> Option<Answer> {
        let state = self.state.lock();
        let (scripted, status, body) = state.instead.as_ref()?;
        (*scripted == call).then(|| (*status, body.clone()))
    }
}

async fn make(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<Make>,
    Json(wanted): Json<Wanted>,
) -> Answer {
    let number = {
        let mut state = shared.state.lock();
        state.made.push(wanted.expiry_in_seconds);
        state.made.len()
    };
    shared.go_on().await;
    if let Some(answer) = shared.instead(MeteredCall::Make) {
        return answer;
    }
    if query.secret_key != shared.key {
        return (
            StatusCode::UNAUTHORIZED,
            json!({"error": "Invalid secretKey"}).to_string(),
        );
    }
    let made = json!({
        "username": format!("user-{number}"),
        "password": format!("credential-{number}"),
        "expiryInSeconds": wanted.expiry_in_seconds,
        "label": "",
        "apiKey": format!("key-{number}"),
    });
    (StatusCode::OK, made.to_string())
}

async fn list(State(shared): State<Arc<Shared>>, Query(query): Query<List>) -> Answer {
    shared.state.lock().listed += 1;
    shared.go_on().await;
    if let Some(answer) = shared.instead(MeteredCall::List) {
        return answer;
    }
    let made = shared.state.lock().made.len();
    let number = query
        .api_key
        .strip_prefix("key-")
        .and_then(|number| number.parse().ok());
    match number.filter(|number| (1..=made).contains(number)) {
        Some(number) => (StatusCode::OK, MeteredServer::servers(number).to_string()),
        None => (
            StatusCode::UNAUTHORIZED,
            json!({"error": "Invalid apiKey"}).to_string(),
        ),
    }
}
