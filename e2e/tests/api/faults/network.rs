//! The network itself: a tower layer nearest to the connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use berth_operator::{Wire, WireLayer};
use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use kube::client::{Body, DynBody};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tower::{BoxError, Service};

use super::asked::{Asked, Entry, Summary};
use super::plan::{Fault, Plan, RETRY_AFTER};
use super::stream::edited;

/// A network, with a log of what it carried. See the head of the module.
#[derive(Clone)]
pub(crate) struct Network(Arc<Inner>);

struct Inner {
    plan: Plan,
    log: Mutex<Vec<Entry>>,
    /// Whether the operator is about to die: what it had begun ends, and nothing more begins.
    dying: AtomicBool,
    dead: watch::Sender<bool>,
}

type Answer = Result<Response<Box<DynBody>>, BoxError>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

impl Network {
    pub(crate) fn new(plan: Plan) -> Self {
        Self(Arc::new(Inner {
            plan,
            log: Mutex::default(),
            dying: AtomicBool::new(false),
            dead: watch::Sender::new(false),
        }))
    }

    /// For `Options::wire`.
    pub(crate) fn layer(&self) -> WireLayer {
        let network = self.clone();
        Arc::new(move |inner| {
            Wire::new(Carrier {
                network: network.clone(),
                inner,
            })
        })
    }

    /// Returns when the planned crash has come, if ever.
    pub(crate) async fn crash(&self) {
        let mut dead = self.0.dead.subscribe();
        // The sender lives here, so there is no other end.
        let _ = dead.wait_for(|dead| *dead).await;
    }

    /// Carries nothing more.
    pub(crate) fn kill(&self) {
        self.0.dead.send_replace(true);
    }

    /// Everything that was sent so far.
    pub(crate) fn log(&self) -> Vec<Entry> {
        self.0.log.lock().clone()
    }

    /// Writes that the server did.
    pub(crate) fn writes(&self) -> Vec<Entry> {
        let mut log = self.log();
        log.retain(Entry::is_done);
        log
    }

    /// How often each object was created and deleted.
    pub(crate) fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        summary.add(&self.log());
        summary
    }

    fn is_dead(&self) -> bool {
        *self.0.dead.borrow()
    }

    /// Puts a request into the log, and decides what becomes of it.
    fn note(&self, request: &Request<Body>) -> (Asked, Option<Fault>) {
        let mut log = self.0.log.lock();
        let mut asked = Asked::new(log.len(), request.method(), request.uri());
        let mut body = Vec::new();
        if asked.is_write() {
            let before = log.iter().filter(|entry| entry.asked.is_write()).count();
            asked.write = Some(before + 1);
        }
        if !matches!(asked.verb, "get" | "list" | "watch") {
            // It is in memory, so it is there at once.
            let copy = request.body().try_clone().expect("a body in memory");
            body = copy.collect_bytes().now_or_never().unwrap().unwrap().to_vec();
        }
        let fault = self.0.plan.fault(&asked);
        log.push(Entry {
            asked: asked.clone(),
            body,
            code: None,
            faulty: fault.is_some(),
        });
        (asked, fault)
    }

    /// Lets the server answer, whoever still waits for it.
    fn carry(
        &self,
        inner: &mut Wire,
        asked: Asked,
        request: Request<Body>,
        dies: bool,
    ) -> oneshot::Receiver<Answer> {
        let answer = inner.call(request);
        let (sender, receiver) = oneshot::channel();
        let network = self.clone();
        tokio::spawn(async move {
            let mut answer = answer.await;
            if let Ok(answer) = &answer {
                network.0.log.lock()[asked.number].code = Some(answer.status().as_u16());
            }
            if dies {
                network.kill();
            }
            if asked.verb == "watch"
                && let Some(editor) = &network.0.plan.editor
            {
                answer = answer.map(|answer| answer.map(|body| edited(body, asked, Arc::clone(editor))));
            }
            if !network.is_dead() {
                let _ = sender.send(answer);
            }
        });
        receiver
    }
}

struct Carrier {
    network: Network,
    inner: Wire,
}

impl Service<Request<Body>> for Carrier {
    type Response = Response<Box<DynBody>>;
    type Error = BoxError;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        if self.network.is_dead() || self.network.0.dying.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        let (asked, fault) = self.network.note(&request);
        let carry = |dies| self.network.carry(&mut self.inner, asked.clone(), request, dies);
        match fault {
            None => {
                let answer = carry(false);
                Box::pin(async move {
                    match answer.await {
                        Ok(answer) => answer,
                        // The operator has died meanwhile.
                        Err(_) => std::future::pending().await,
                    }
                })
            }
            Some(Fault::Refuse(code)) => Box::pin(std::future::ready(Ok(refusal(code)))),
            Some(Fault::CutBefore) => Box::pin(std::future::ready(Err(reset()))),
            Some(Fault::CutAfter) => {
                let answer = carry(false);
                Box::pin(async move {
                    let _ = answer.await;
                    Err(reset())
                })
            }
            Some(Fault::Hang) => Box::pin(std::future::pending()),
            Some(Fault::CrashBefore) => {
                self.network.kill();
                Box::pin(std::future::pending())
            }
            Some(Fault::CrashAfter) => {
                self.network.0.dying.store(true, Ordering::Relaxed);
                drop(carry(true));
                Box::pin(std::future::pending())
            }
        }
    }
}

fn reset() -> BoxError {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
}

fn refusal(code: u16) -> Response<Box<DynBody>> {
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("a planned {code}"), "reason": "Planned", "code": code});
    let mut answer = Response::builder().status(code);
    if code == 429 {
        status["details"] = json!({"retryAfterSeconds": RETRY_AFTER});
        answer = answer.header(http::header::RETRY_AFTER, RETRY_AFTER);
    }
    let body = Full::new(Bytes::from(status.to_string())).map_err(BoxError::from);
    answer.body(Box::new(body) as Box<DynBody>).unwrap()
}
