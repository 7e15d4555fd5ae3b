//! The examples of `docs/protocol.md`, run line by line.

use std::collections::HashMap;

use crate::support::{Client, Node, NodeOptions, Request, eventually_true};
use berth_signaling::protocol::v2::ServerMessage;
use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/protocol.md");
const FENCE: &str = "```text protocol";

/// One conversation, in a room of its own.
struct Conversation<'a> {
    node: &'a Node,
    room: String,
    clients: HashMap<String, Client>,
    /// What `$name` stands for.
    names: HashMap<String, Value>,
}

/// The examples, each with the number of its first line.
fn examples() -> Vec<(usize, Vec<&'static str>)> {
    let mut lines = PAGE.lines().enumerate();
    let mut examples = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line == FENCE {
            let body = lines.by_ref().map(|(_, line)| line);
            examples.push((number + 2, body.take_while(|line| *line != "```").collect()));
        }
    }
    examples
}

impl Conversation<'_> {
    async fn line(&mut self, line: &str) {
        let (who, rest) = line.split_once(' ').expect("WHO does something");
        if let Some(version) = rest.strip_prefix("connects with ") {
            return self.connect(who, version).await;
        }
        let client = self.clients.get_mut(who).expect("it has connected");
        if let Some(said) = rest.strip_prefix("> ") {
            let said = spoken(&serde_json::from_str(said).unwrap(), &self.names);
            client.send(said.to_string()).await;
        } else if let Some(expected) = rest.strip_prefix("< ") {
            let heard: Value = serde_json::from_str(&client.hear().await).unwrap();
            if client.headers.contains_key("sec-websocket-protocol") {
                // The published types know every field of it.
                let typed: ServerMessage = serde_json::from_value(heard.clone()).expect("a message of v2");
                assert_eq!(serde_json::to_value(typed).unwrap(), heard);
            }
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert!(
                matches(&expected, &heard, &mut self.names),
                "{line}\nheard {heard}"
            );
        } else if let Some(close) = rest.strip_prefix("is closed with ") {
            let (code, reason) = close.split_once(' ').unwrap_or((close, ""));
            assert_eq!(client.closed().await, (code.parse().unwrap(), reason.to_owned()));
        } else if rest == "leaves" {
            self.clients.remove(who).unwrap().leave().await;
        } else if rest == "loses its connection" {
            self.clients.remove(who);
        } else {
            panic!("unknown: {line}");
        }
    }

    async fn connect(&mut self, who: &str, version: &str) {
        let request = Request::room(&self.room);
        let client = match version {
            "v1" => {
                let joins =
                    ["joined", "full"].map(|result| format!("signaling_joins_total{{result=\"{result}\"}}"));
                let decided = || joins.iter().map(|metric| self.node.metric(metric)).sum::<f64>();
                let before = decided();
                let client = Client::open(self.node.address, request).await;
                eventually_true("a decision about a seat", || decided() > before).await;
                client
            }
            "v2" => {
                let request = request.header("Sec-WebSocket-Protocol", "berth.v2");
                let client = Client::open(self.node.address, request).await;
                assert_eq!(client.headers["sec-websocket-protocol"], "berth.v2");
                client
            }
            other => panic!("version {other}"),
        };
        self.clients.insert(who.to_owned(), client);
    }
}

/// Puts in what names stand for.
fn spoken(said: &Value, names: &HashMap<String, Value>) -> Value {
    let name = |text: &str| text.strip_prefix('$').map(|name| names[name].clone());
    match said {
        Value::String(text) => name(text).unwrap_or_else(|| said.clone()),
        Value::Array(items) => items.iter().map(|item| spoken(item, names)).collect(),
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| {
                let key = name(key).map_or(key.clone(), |id| id.as_str().unwrap().to_owned());
                (key, spoken(value, names))
            };
            Value::Object(fields.iter().map(field).collect())
        }
        other => other.clone(),
    }
}

/// Whether what was heard is what is on the page: `...` is anything, `"...": "..."` is any more fields.
fn matches(expected: &Value, heard: &Value, names: &mut HashMap<String, Value>) -> bool {
    match (expected, heard) {
        (Value::String(text), _) if text == "..." => true,
        (Value::String(text), _) if text.starts_with('$') => {
            *names.entry(text[1..].to_owned()).or_insert_with(|| heard.clone()) == *heard
        }
        (Value::Array(expected), Value::Array(heard)) => {
            expected.len() == heard.len()
                && expected
                    .iter()
                    .zip(heard)
                    .all(|(expected, heard)| matches(expected, heard, names))
        }
        (Value::Object(expected), Value::Object(heard)) => {
            let open = expected.contains_key("...");
            let fields = expected.iter().filter(|(key, _)| *key != "...");
            let known = fields.clone().count();
            (open || heard.len() == known)
                && fields
                    .into_iter()
                    .all(|(key, value)| heard.get(key).is_some_and(|heard| matches(value, heard, names)))
        }
        (expected, heard) => expected == heard,
    }
}

#[tokio::test]
async fn the_examples_are_true() {
    let node = Node::start(NodeOptions::default()).await;
    let examples = examples();
    assert!(examples.len() >= 7, "the examples are found");
    for (number, lines) in examples {
        println!("example at line {number}");
        let mut conversation = Conversation {
            node: &node,
            room: format!("line-{number}"),
            clients: HashMap::new(),
            names: HashMap::new(),
        };
        for line in lines {
            println!("{line}");
            conversation.line(line).await;
        }
        for (_, client) in conversation.clients {
            client.leave().await;
        }
    }
}
