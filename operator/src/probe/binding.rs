//! One question to one server: a STUN binding (RFC 8489), which TURN servers answer too.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use berth_crds::settings::{IceTransport, IceUrl};
use stun_proto::types::message::{BINDING, Message, MessageWriteVec};
use stun_proto::types::prelude::MessageWrite;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pauses after which a datagram that was not answered is sent again.
const REPEATS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// Addresses of a name that are tried.
const MOST_ADDRESSES: usize = 2;
/// Bytes of the head of a message, and the most that follow it.
const HEAD: usize = 20;
const LONGEST_BODY: usize = 1480;

/// Why a server did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ProbeError {
    /// Its name is not in the DNS.
    #[error("its name has no address")]
    Unresolved,
    /// The network or the server refuses.
    #[error("the connection is refused")]
    Refused,
    /// Nothing came in time.
    #[error("no answer within 5 s")]
    Silent,
    /// What came is no answer to a STUN binding.
    #[error("it does not speak STUN")]
    NotStun,
}

/// Asks a server by UDP or TCP; other transports are refused without asking.
pub(super) async fn ask(url: &IceUrl) -> Result<(), ProbeError> {
    timeout(PATIENCE, resolve_and_ask(url))
        .await
        .unwrap_or(Err(ProbeError::Silent))
}

async fn resolve_and_ask(url: &IceUrl) -> Result<(), ProbeError> {
    let addresses = lookup_host((url.host.as_str(), url.port)).await;
    let addresses = addresses.map_err(|_| ProbeError::Unresolved)?;
    let mut result = Err(ProbeError::Unresolved);
    for address in addresses.take(MOST_ADDRESSES) {
        let request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
        result = match url.transport {
            IceTransport::Udp => by_udp(address, &request).await,
            IceTransport::Tcp => by_tcp(address, &request).await,
            IceTransport::Tls | IceTransport::Dtls => Err(ProbeError::NotStun),
        };
        if result.is_ok() {
            break;
        }
    }
    result
}

async fn by_udp(server: SocketAddr, request: &[u8]) -> Result<(), ProbeError> {
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await.map_err(|error| refused(&error))?;
    // Datagrams from elsewhere do not get through.
    socket.connect(server).await.map_err(|error| refused(&error))?;
    let mut buffer = [0; HEAD + LONGEST_BODY];
    for pause in REPEATS.into_iter().map(Some).chain([None]) {
        socket.send(request).await.map_err(|error| refused(&error))?;
        let answer = async {
            loop {
                let length = socket.recv(&mut buffer).await.map_err(|error| refused(&error))?;
                if answers(request, buffer.get(..length).unwrap_or_default()) {
                    return Ok(());
                }
            }
        };
        match pause {
            // The end of all patience ends this.
            None => return answer.await,
            Some(pause) => {
                if let Ok(result) = timeout(pause, answer).await {
                    return result;
                }
            }
        }
    }
    Err(ProbeError::Silent)
}

async fn by_tcp(server: SocketAddr, request: &[u8]) -> Result<(), ProbeError> {
    let talk = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(request).await?;
        let mut message = vec![0; HEAD];
        stream.read_exact(&mut message).await?;
        let length = message.get(2..4).map_or(0, |length| {
            length
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte))
        });
        let mut body = vec![0; length.min(LONGEST_BODY)];
        stream.read_exact(&mut body).await?;
        message.extend(body);
        Ok(message)
    };
    match talk.await {
        Ok(message) if answers(request, &message) => Ok(()),
        Ok(_) => Err(ProbeError::NotStun),
        Err(error) => Err(refused(&error)),
    }
}

/// Whether `message` answers `request`: an error is an answer too.
fn answers(request: &[u8], message: &[u8]) -> bool {
    let (Ok(request), Ok(message)) = (Message::from_bytes(request), Message::from_bytes(message)) else {
        return false;
    };
    message.is_response() && message.transaction_id() == request.transaction_id()
}

fn refused(error: &io::Error) -> ProbeError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ProbeError::NotStun,
        _ => ProbeError::Refused,
    }
}

#[cfg(test)]
mod tests {
    use berth_crds::settings::IceUrl;
    use tokio::net::TcpListener;

    use super::*;

    fn url(scheme: &str, address: SocketAddr, query: &str) -> IceUrl {
        IceUrl::parse(&format!("{scheme}:{address}{query}")).unwrap()
    }

    fn success(request: &[u8]) -> Vec<u8> {
        let request = Message::from_bytes(request).unwrap();
        Message::builder_success(&request, MessageWriteVec::new()).finish()
    }

    #[tokio::test]
    async fn a_lost_datagram_is_sent_again() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let asked = tokio::spawn(async move { ask(&url("stun", address, "")).await });
        let mut buffer = [0; 1500];
        let (first, _) = server.recv_from(&mut buffer).await.unwrap();
        let first = buffer[..first].to_vec();
        let (length, client) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!(buffer[..length], first, "the same request");
        // Neither noise nor the answer to something else counts.
        server.send_to(b"noise", client).await.unwrap();
        let other = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
        server.send_to(&success(&other), client).await.unwrap();
        server.send_to(&success(&first), client).await.unwrap();
        assert_eq!(asked.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_server_of_tcp_answers_in_pieces() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move { ask(&url("turn", address, "?transport=tcp")).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; HEAD];
        stream.read_exact(&mut request).await.unwrap();
        for piece in success(&request).chunks(7) {
            stream.write_all(piece).await.unwrap();
        }
        assert_eq!(asked.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn what_is_wrong_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move { ask(&url("turn", address, "?transport=tcp")).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n and some more of it")
            .await
            .unwrap();
        drop(stream);
        assert_eq!(asked.await.unwrap(), Err(ProbeError::NotStun));
        drop(listener);
        assert_eq!(
            ask(&url("turn", address, "?transport=tcp")).await,
            Err(ProbeError::Refused)
        );
        let nowhere = IceUrl::parse("stun:nowhere.invalid").unwrap();
        assert_eq!(ask(&nowhere).await, Err(ProbeError::Unresolved));
    }
}
