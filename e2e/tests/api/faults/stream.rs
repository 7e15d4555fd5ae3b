//! The lines of a watch on their way to the operator.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kube::client::DynBody;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::BoxError;

use super::asked::Asked;

/// One line of a watch.
pub(crate) struct Line {
    /// The watch.
    pub(crate) asked: Arc<Asked>,
    /// Its number in this watch, from 0.
    pub(crate) number: usize,
    /// Whether the list with which the watch began is over.
    pub(crate) listed: bool,
    /// The event: `type` and `object`.
    pub(crate) event: Value,
}

impl Line {
    /// Whether it tells of this object of this kind (plural).
    pub(crate) fn is_of(&self, kind: &str, name: &str) -> bool {
        self.asked.kind == kind && self.event["object"]["metadata"]["name"] == name
    }

    /// Whether it tells of an object: not a bookmark, not an error.
    pub(crate) fn is_news(&self) -> bool {
        matches!(
            self.event["type"].as_str(),
            Some("ADDED" | "MODIFIED" | "DELETED")
        )
    }
}

/// What is done to a line.
pub(crate) enum Edit {
    /// It arrives.
    Pass,
    /// It is lost.
    Drop,
    /// It arrives twice.
    Twice,
    /// Something else arrives in its place.
    Replace(Value),
    /// Half of it arrives, then the connection is at its end.
    Halve,
    /// The server says 410 in its place: what was asked for is forgotten.
    Gone,
    /// It arrives later, and so does what follows.
    Late(Duration),
    /// It and all that follows in this watch wait until the gate is open.
    Wait(watch::Receiver<bool>),
}

/// `body` with each line edited.
pub(super) fn edited(
    body: Box<DynBody>,
    asked: Asked,
    editor: Arc<dyn Fn(&Line) -> Edit + Send + Sync>,
) -> Box<DynBody> {
    let asked = Arc::new(asked);
    // One line ahead: who does not read is not read for.
    let (mut sender, receiver) = futures::channel::mpsc::channel::<Result<Frame<Bytes>, BoxError>>(1);
    tokio::spawn(async move {
        let mut lines = Lines {
            body,
            rest: Vec::new(),
        };
        let (mut number, mut listed) = (0, false);
        loop {
            let line = match lines.next().await {
                Some(Ok(line)) => line,
                Some(Err(error)) => {
                    let _ = sender.send(Err(error)).await;
                    return;
                }
                None => return,
            };
            let event: Value = serde_json::from_slice(&line).unwrap();
            let ends_list = event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true";
            let parsed = Line {
                asked: Arc::clone(&asked),
                number,
                listed,
                event,
            };
            number += 1;
            listed |= ends_list;
            let (lines, ends) = match editor(&parsed) {
                Edit::Pass => (vec![line], false),
                Edit::Drop => (vec![], false),
                Edit::Twice => (vec![line.clone(), line], false),
                Edit::Replace(other) => (vec![format!("{other}\n").into_bytes()], false),
                Edit::Halve => (vec![line[..line.len() / 2].to_vec()], true),
                Edit::Gone => (vec![format!("{}\n", gone()).into_bytes()], true),
                Edit::Late(time) => {
                    tokio::time::sleep(time).await;
                    (vec![line], false)
                }
                Edit::Wait(mut gate) => {
                    // A gate that is gone never opens.
                    if gate.wait_for(|open| *open).await.is_err() {
                        return;
                    }
                    (vec![line], false)
                }
            };
            for line in lines {
                if sender.send(Ok(Frame::data(line.into()))).await.is_err() {
                    return;
                }
            }
            if ends {
                return;
            }
        }
    });
    Box::new(StreamBody::new(receiver))
}

fn gone() -> Value {
    json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410}})
}

struct Lines {
    body: Box<DynBody>,
    rest: Vec<u8>,
}

impl Lines {
    /// The next line with its end.
    async fn next(&mut self) -> Option<Result<Vec<u8>, BoxError>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                return Some(Ok(self.rest.drain(..=end).collect()));
            }
            match self.body.frame().await? {
                Ok(frame) => self.rest.extend(frame.into_data().unwrap_or_default()),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
