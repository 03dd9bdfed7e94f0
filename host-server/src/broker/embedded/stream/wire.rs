//! The transport of a connection, and its watch over stalled writes.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use vinbus_transport_std::guards::WriteTimeout;

use crate::broker::embedded::counters::{BrokerCounters, add};

/// What carries the bytes: TCP, TLS over TCP, a WebSocket.
pub(in crate::broker::embedded) trait Io:
    AsyncRead + AsyncWrite + Send + Unpin
{
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A transport whose writes fail when the peer takes nothing for too long, which is counted.
pub(super) struct Wire {
    /// The broker library asks for `Sync`; a mutex that is never locked gives it.
    io: Mutex<WriteTimeout<Box<dyn Io>>>,
    counters: Arc<BrokerCounters>,
}

impl Wire {
    pub(super) fn new(io: Box<dyn Io>, stall_max: Duration, counters: Arc<BrokerCounters>) -> Self {
        Self {
            io: Mutex::new(WriteTimeout::new(io, stall_max)),
            counters,
        }
    }

    /// Takes the transport out, with another patience; what stays behind is closed.
    pub(super) fn take(&mut self, stall_max: Duration) -> Self {
        let closed: Box<dyn Io> = Box::new(tokio::io::empty());
        let closed = Self::new(closed, stall_max, Arc::clone(&self.counters));
        let taken = std::mem::replace(self, closed);
        let io = taken
            .io
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Self::new(io.into_inner(), stall_max, taken.counters)
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buf)
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.io().poll_write(cx, bytes);
        self.counted(polled)
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.io().poll_flush(cx);
        self.counted(polled)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }

    fn io(&mut self) -> Pin<&mut WriteTimeout<Box<dyn Io>>> {
        Pin::new(self.io.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    fn counted<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled
            && error.kind() == io::ErrorKind::TimedOut
        {
            add(&self.counters.write_stalls);
        }
        polled
    }
}
