//! Streams and futures under bad weather.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use embedded_nal_async::TcpConnect;

use super::host::HostError;

/// A stream that makes everybody wait at every other question, gives and takes a few bytes at a
/// time, and fails at some write.
pub(crate) struct Weather<S> {
    stream: S,
    /// Most bytes that pass at once.
    piece: usize,
    /// Writes that are left until one fails.
    writes: usize,
    /// Whether the next question has to wait, for reads and for writes.
    waits: [bool; 2],
}

impl<S> Weather<S> {
    pub(crate) fn new(stream: S, piece: usize, writes: usize) -> Self {
        Self {
            stream,
            piece,
            writes,
            waits: [true; 2],
        }
    }
}

/// Ready at every other poll.
async fn sometimes(waits: &mut bool) {
    poll_fn(|cx| {
        if std::mem::replace(waits, !*waits) {
            cx.waker().wake_by_ref();
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}

impl<S> ErrorType for Weather<S> {
    type Error = HostError;
}

impl<S: Read<Error = HostError>> Read for Weather<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, HostError> {
        sometimes(&mut self.waits[0]).await;
        let len = buffer.len().min(self.piece);
        self.stream.read(&mut buffer[..len]).await
    }
}

impl<S: Write<Error = HostError>> Write for Weather<S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, HostError> {
        sometimes(&mut self.waits[1]).await;
        if self.writes == 0 {
            return Err(HostError(ErrorKind::ConnectionReset));
        }
        let len = bytes.len().min(self.piece);
        let written = self.stream.write(&bytes[..len]).await?;
        self.writes -= 1;
        Ok(written)
    }

    async fn flush(&mut self) -> Result<(), HostError> {
        self.stream.flush().await
    }
}

/// A network under bad weather.
pub(crate) struct Windy<T> {
    pub(crate) tcp: T,
    pub(crate) piece: usize,
    pub(crate) writes: usize,
}

impl<T: TcpConnect<Error = HostError>> TcpConnect for Windy<T> {
    type Error = HostError;
    type Connection<'a>
        = Weather<T::Connection<'a>>
    where
        Self: 'a;

    async fn connect(&self, remote: SocketAddr) -> Result<Self::Connection<'_>, HostError> {
        let stream = self.tcp.connect(remote).await?;
        Ok(Weather::new(stream, self.piece, self.writes))
    }
}

/// Polls a future so many times at most, and drops it then.
pub(crate) async fn at_most<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => {
            left -= 1;
            if left == 0 {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        }
    })
    .await
}
