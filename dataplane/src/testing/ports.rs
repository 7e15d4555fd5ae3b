//! Ports for servers that a test starts, found without ever listening on them.
//!
//! A probe that listens is not over when it is dropped: a program that another thread starts at that moment holds a copy of the
//! socket from its `fork` to its `exec`, and until then nobody else gets the port. Of sockets that are only bound, with
//! `SO_REUSEADDR`, such a copy is in nobody's way.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A loopback port that was free a moment ago.
pub fn free_port() -> u16 {
    probe(0)
        .and_then(|socket| socket.local_addr())
        .expect("a loopback port must be free")
        .port()
}

/// Whether nobody has loopback's `port`.
pub fn port_is_free(port: u16) -> bool {
    probe(port).is_ok()
}

fn probe(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_port_stays_free_while_others_start_programs() {
        let done = AtomicBool::new(false);
        thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        Command::new("true").status().expect("`true` can be started");
                    }
                });
            }
            let taken = (0..2_000)
                .map(|_| free_port())
                .filter(|port| {
                    !port_is_free(*port) || TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err()
                })
                .count();
            done.store(true, Ordering::Relaxed);
            // Not none: tests beside this one look for ports too.
            assert!(taken < 5, "{taken} of 2,000");
        });
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        assert!(!port_is_free(port));
    }
}
