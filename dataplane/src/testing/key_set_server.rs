//! The server of a token issuer that publishes keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::IssuerKey;
use super::http::serve;

/// A server on loopback that answers every request with the same, and counts them. It ends when it is dropped.
#[derive(Debug)]
pub struct KeySetServer {
    address: SocketAddr,
    state: Arc<State>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct State {
    answer: Mutex<(StatusCode, String)>,
    requests: AtomicUsize,
    held: watch::Sender<bool>,
}

impl KeySetServer {
    /// Starts a server that publishes `keys`, on a port of its own.
    pub async fn start(keys: &[&IssuerKey]) -> Self {
        let state = Arc::new(State {
            answer: Mutex::new((StatusCode::OK, text(keys))),
            requests: AtomicUsize::default(),
            held: watch::Sender::new(false),
        });
        let answering = Arc::clone(&state);
        let router = Router::new().fallback(move || answer(Arc::clone(&answering)));
        let (address, task) = serve(router).await;
        Self {
            address,
            state,
            _task: task,
        }
    }

    /// Address of the key set.
    pub fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// Publishes these keys from now on.
    pub fn publish(&self, keys: &[&IssuerKey]) {
        self.answer(StatusCode::OK, &text(keys));
    }

    /// Answers with this from now on. A body of a redirect is its target.
    pub fn answer(&self, status: StatusCode, body: &str) {
        *self.state.answer.lock() = (status, body.to_owned());
    }

    /// Lets requests wait, or all of them go on.
    pub fn hold(&self, held: bool) {
        self.state.held.send_replace(held);
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

fn text(keys: &[&IssuerKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({"keys": keys}).to_string()
}

async fn answer(state: Arc<State>) -> (StatusCode, [(header::HeaderName, String); 1], String) {
    state.requests.fetch_add(1, Ordering::SeqCst);
    let mut held = state.held.subscribe();
    // Fails only when the test is over.
    let _ = held.wait_for(|held| !held).await;
    let (status, body) = state.answer.lock().clone();
    let location = if status.is_redirection() {
        body.clone()
    } else {
        "/".to_owned()
    };
    (status, [(header::LOCATION, location)], body)
}
