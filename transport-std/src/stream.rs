//! The byte stream under MQTT, with four things that the MQTT library lacks: reading can be
//! paused, a write that takes too long ends with an error, the first error is kept as a
//! [`LinkError`], because the layers above turn it into text, and a DISCONNECT in its short form
//! is such an error.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use vinbus_protocol::limits::LINK_BYTES_PER_S_MIN;

use crate::dial::tls_error;
use crate::disconnect::DisconnectWatch;
use crate::link_error::{LinkError, Phase};
use crate::wire;

/// What the driver and the stream of one connection share.
#[derive(Debug, Clone)]
pub(crate) struct Line(Arc<Mutex<LineState>>);

#[derive(Debug)]
struct LineState {
    phase: Phase,
    error: Option<LinkError>,
    paused: bool,
    reader: Option<Waker>,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(LineState {
            phase: Phase::Resolve,
            error: None,
            paused: false,
            reader: None,
        })))
    }

    fn with<T>(&self, f: impl FnOnce(&mut LineState) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.with(|state| state.phase = phase);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.with(|state| state.phase)
    }

    /// Keeps the first error: what follows it is a consequence.
    pub(crate) fn fail(&self, error: LinkError) {
        self.with(|state| state.error.get_or_insert(error).clone());
    }

    pub(crate) fn error(&self) -> Option<LinkError> {
        self.with(|state| state.error.clone())
    }

    /// Pauses or resumes reading.
    pub(crate) fn pause(&self, paused: bool) {
        let reader = self.with(|state| {
            state.paused = paused;
            if paused { None } else { state.reader.take() }
        });
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.with(|state| state.paused)
    }
}

/// A TCP or TLS stream that reports to its [`Line`].
pub(crate) struct WatchedStream<S> {
    inner: S,
    line: Line,
    write_timeout: Duration,
    /// By when all has to be written that the library is waiting to write: a peer that takes a byte
    /// now and then takes nothing.
    write_by: Option<Pin<Box<Sleep>>>,
    disconnect: Option<DisconnectWatch>,
    /// The broker has said that this is the end; what the library makes of it need not be awaited.
    disconnected: bool,
}

impl<S> WatchedStream<S> {
    /// With a `disconnect` watch, what is read are MQTT 5 packets.
    pub(crate) fn new(
        inner: S,
        line: Line,
        write_timeout: Duration,
        disconnect: Option<DisconnectWatch>,
    ) -> Self {
        Self {
            inner,
            line,
            write_timeout,
            write_by: None,
            disconnect,
            disconnected: false,
        }
    }

    fn note_read(&mut self, bytes: &[u8]) {
        let reason = self.disconnect.as_mut().and_then(|watch| watch.read(bytes));
        if let Some(reason) = reason {
            self.disconnected = true;
            self.line.fail(wire::disconnected(reason));
        }
    }

    fn note(&self, error: &io::Error) {
        let error = tls_error(error).unwrap_or_else(|| LinkError::lost(error));
        self.line.fail(error);
    }
}

impl<S: AsyncRead + Unpin> WatchedStream<S> {
    /// A server that refuses a client certificate sends its alert and closes. The write that
    /// runs into the closed socket must not hide the alert, which is still there to be read.
    fn note_write_error(&mut self, cx: &mut Context<'_>, error: &io::Error) {
        let mut scratch = [0; 64];
        let mut buffer = ReadBuf::new(&mut scratch);
        if let Poll::Ready(Err(alert)) = Pin::new(&mut self.inner).poll_read(cx, &mut buffer)
            && tls_error(&alert).is_some()
        {
            self.note(&alert);
        }
        self.note(error);
    }

    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match poll {
            Poll::Ready(Ok(value)) => Poll::Ready(Ok(value)),
            Poll::Ready(Err(error)) => {
                self.note_write_error(cx, &error);
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                let deadline = Instant::now() + self.write_timeout;
                let write_by = self
                    .write_by
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                if write_by.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.line.fail(LinkError::KeepAliveLost);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let paused = self.line.with(|state| {
            if state.paused {
                state.reader = Some(cx.waker().clone());
            }
            state.paused
        });
        if paused {
            return Poll::Pending;
        }
        if self.disconnected {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(cx, buffer);
        match &poll {
            Poll::Ready(Ok(())) => self.note_read(&buffer.filled()[before..]),
            Poll::Ready(Err(error)) => self.note(error),
            Poll::Pending => {}
        }
        poll
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let (Poll::Ready(Ok(written)), Some(write_by)) = (&poll, &mut self.write_by) {
            let later = Duration::from_secs(1) * u32::try_from(*written).unwrap_or(u32::MAX)
                / LINK_BYTES_PER_S_MIN;
            let deadline = write_by.deadline() + later;
            write_by.as_mut().reset(deadline);
        }
        self.watch_write(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(cx);
        if poll.is_ready() {
            // The library flushes when it has nothing more to write.
            self.write_by = None;
        }
        self.watch_write(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// Writes a message of the largest size to a peer that reads `piece` bytes in each second less than
    /// the time for nothing at all.
    async fn write_to_a_peer_that_reads(piece: usize) -> io::Result<()> {
        let (near, mut far): (_, DuplexStream) = duplex(piece);
        let mut stream = WatchedStream::new(near, Line::new(), TIMEOUT, None);
        let write = async {
            stream.write_all(&[0; 131_072]).await?;
            stream.flush().await
        };
        let read = async {
            let mut taken = vec![0; piece];
            while let Ok(1..) = far.read(&mut taken).await {
                tokio::time::sleep(TIMEOUT - Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            written = write => written,
            () = read => unreachable!("the stream is not closed"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_takes_a_byte_now_and_then_breaks_the_stream() {
        let error = write_to_a_peer_that_reads(1).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_is_slow_has_the_time_that_it_needs() {
        let enough = LINK_BYTES_PER_S_MIN as usize * TIMEOUT.as_secs() as usize;
        write_to_a_peer_that_reads(enough).await.unwrap();
    }
}
