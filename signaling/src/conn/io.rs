//! The stream under a WebSocket, for reading and writing without waiting.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Makes a `TcpStream` look non-blocking. Whoever meets `WouldBlock`, be it the owner or somebody who delivers to it,
/// it is always the owner's task that is woken when the stream is ready.
#[derive(Debug)]
pub(super) struct OwnerIo {
    stream: TcpStream,
    owner: Waker,
}

impl OwnerIo {
    /// Wakes nobody until an owner is set.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            owner: Waker::noop().clone(),
        }
    }

    /// Sets the task that is woken.
    pub(super) fn set_owner(&mut self, owner: &Waker) {
        if !self.owner.will_wake(owner) {
            self.owner.clone_from(owner);
        }
    }

    /// The task that is woken.
    pub(super) fn owner(&self) -> &Waker {
        &self.owner
    }

    /// Tells the peer that nothing more will be written.
    pub(super) fn shut_writing(&mut self) -> io::Result<()> {
        let mut context = Context::from_waker(&self.owner);
        now(Pin::new(&mut self.stream).poll_shutdown(&mut context))
    }
}

impl Read for OwnerIo {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut context = Context::from_waker(&self.owner);
        let mut buffer = ReadBuf::new(buffer);
        now(Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl Write for OwnerIo {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut context = Context::from_waker(&self.owner);
        now(Pin::new(&mut self.stream).poll_write(&mut context, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut context = Context::from_waker(&self.owner);
        now(Pin::new(&mut self.stream).poll_write_vectored(&mut context, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}
