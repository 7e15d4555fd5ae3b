//! A client that sends exactly what it is told, and shows everything that comes back.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::LONG;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

pub(crate) fn get(path: &str) -> Request {
    Request {
        method: "GET",
        path: path.to_owned(),
        headers: Vec::new(),
        body: None,
    }
}

pub(crate) fn post(path: &str) -> Request {
    Request {
        method: "POST",
        ..get(path)
    }
}

pub(crate) fn delete(path: &str) -> Request {
    Request {
        method: "DELETE",
        ..get(path)
    }
}

pub(crate) fn options(path: &str) -> Request {
    Request {
        method: "OPTIONS",
        ..get(path)
    }
}

impl Request {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, secret: &str) -> Self {
        self.header("Authorization", &format!("Bearer {secret}"))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.text(&body.to_string())
            .header("Content-Type", "application/json")
    }

    pub(crate) fn text(mut self, body: &str) -> Self {
        self.body = Some(body.as_bytes().to_vec());
        self
    }

    pub(crate) async fn send(self, to: SocketAddr) -> Answer {
        self.try_send(to).await.expect("the server must answer")
    }

    pub(crate) async fn try_send(self, to: SocketAddr) -> std::io::Result<Answer> {
        let own = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let length = self
            .body
            .iter()
            .map(|body| format!("Content-Length: {}\r\n", body.len()));
        let headers: String = own.chain(length).collect();
        let (method, path) = (self.method, &self.path);
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{headers}\r\n");
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(head.as_bytes()).await?;
        // A server that refuses early may not read the rest.
        let _ = stream.write_all(self.body.as_deref().unwrap_or_default()).await;
        let mut bytes = Vec::new();
        tokio::time::timeout(LONG, stream.read_to_end(&mut bytes))
            .await
            .expect("no end of the answer")?;
        // A server that ends may close a connection on which it has read nothing yet.
        if bytes.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Answer::read(&String::from_utf8(bytes).unwrap()))
    }
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        });
        Self {
            status,
            headers: headers.collect(),
            body: body.to_owned(),
        }
    }

    /// The only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(other, _)| other == name)
            .map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "{name} comes twice");
        value
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}
