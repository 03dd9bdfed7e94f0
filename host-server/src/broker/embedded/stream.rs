//! The byte stream under one client's connection: any transport, with acknowledgements that wait for
//! the disk without holding up the connection.
//!
//! The broker library writes an acknowledgement as soon as a publish is handled, and handles one
//! packet at a time. Waiting for the disk there would make each client wait a commit per message.
//! So the publish is handled at once, and the acknowledgement, which is the next packet written, is
//! held back here until its [`AckGate`] opens; what is written after it waits behind it, so order is
//! kept. If the gate fails, the connection breaks without the acknowledgement.
//!
//! A peer that takes nothing for [`Limits::write_stall_max`](super::Limits::write_stall_max) gets its
//! connection broken.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use mqtt5::broker::transport::WebSocketTransport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::counters::{BrokerCounters, add};
use super::limits::{HELD_BYTES_MAX, RECEIVE_MAX};

/// Time that a closed connection's last bytes get to leave.
const LINGER: Duration = Duration::from_secs(5);

/// What carries the bytes: TCP, TLS over TCP, a WebSocket.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Holds back the next packet written on a [`PeerStream`].
#[derive(Debug, Default)]
pub(super) struct AckGate(Mutex<Option<oneshot::Receiver<()>>>);

impl AckGate {
    /// The next packet leaves when `open` resolves; when its sender is dropped, the connection
    /// breaks instead.
    pub(super) fn hold_next(&self, open: oneshot::Receiver<()>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
    }

    fn take(&self) -> Option<oneshot::Receiver<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The byte stream under one client's connection.
pub(super) struct PeerStream {
    wire: Wire,
    peer: SocketAddr,
    acks: Arc<AckGate>,
    /// Packets that wait for a gate, or behind one.
    held: VecDeque<Held>,
    held_bytes: usize,
}

struct Held {
    gate: Option<oneshot::Receiver<()>>,
    bytes: Bytes,
    written: usize,
}

/// The transport and its watch over stalled writes.
struct Wire {
    /// The broker library asks for `Sync`; a mutex that is never locked gives it.
    io: Mutex<Box<dyn Io>>,
    stall_max: Duration,
    stall: Option<Pin<Box<Sleep>>>,
    counters: Arc<BrokerCounters>,
}

impl PeerStream {
    pub(super) fn new(
        io: Box<dyn Io>,
        peer: SocketAddr,
        acks: Arc<AckGate>,
        stall_max: Duration,
        counters: Arc<BrokerCounters>,
    ) -> Self {
        Self {
            wire: Wire {
                io: Mutex::new(io),
                stall_max,
                stall: None,
                counters,
            },
            peer,
            acks,
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// Writes what is held and may leave. Ready when nothing is held any more.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while let Some(first) = self.held.front_mut() {
            if let Some(gate) = &mut first.gate {
                let Poll::Ready(opened) = Pin::new(gate).poll(cx) else {
                    // What left before the gate must not wait for it in a buffer.
                    let _ = self.wire.poll_flush(cx)?;
                    return Poll::Pending;
                };
                opened.map_err(|_| {
                    io::Error::new(io::ErrorKind::BrokenPipe, "the message was not stored")
                })?;
                first.gate = None;
            }
            while first.written < first.bytes.len() {
                let sent = ready!(self.wire.poll_write(cx, &first.bytes[first.written..]))?;
                first.written += sent;
            }
            self.held_bytes -= first.bytes.len();
            self.held.pop_front();
        }
        self.wire.poll_flush(cx)
    }

    fn has_room(&self, len: usize) -> bool {
        self.held.is_empty()
            || (self.held_bytes + len <= HELD_BYTES_MAX
                && self.held.len() < usize::from(RECEIVE_MAX))
    }
}

impl Wire {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let io = self.io.get_mut().unwrap_or_else(PoisonError::into_inner);
        let polled = Pin::new(io).poll_write(cx, bytes);
        self.watch(cx, polled)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.io.get_mut().unwrap_or_else(PoisonError::into_inner);
        let polled = Pin::new(io).poll_flush(cx);
        self.watch(cx, polled)
    }

    /// Breaks the connection when writing has been pending for too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stall = None;
            return polled;
        }
        let limit = self.stall_max;
        let stall = self
            .stall
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        ready!(stall.as_mut().poll(cx));
        add(&self.counters.write_stalls);
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer takes nothing",
        )))
    }
}

impl AsyncRead for PeerStream {
    /// Reads; what is held leaves meanwhile.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let _ = this.poll_drain(cx)?;
        let io = this
            .wire
            .io
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        Pin::new(io).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    /// Writes, or takes over what has to wait: always a whole packet, as the library writes it.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let drained = this.poll_drain(cx)?;
        if drained.is_pending() && !this.has_room(buf.len()) {
            return Poll::Pending;
        }
        let gate = this.acks.take();
        if gate.is_none() && this.held.is_empty() {
            return this.wire.poll_write(cx, buf);
        }
        this.held_bytes += buf.len();
        this.held.push_back(Held {
            gate,
            bytes: Bytes::copy_from_slice(buf),
            written: 0,
        });
        let _ = this.poll_drain(cx)?;
        Poll::Ready(Ok(buf.len()))
    }

    /// Flushes what may leave; does not wait for what is held.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held.is_empty() {
            return this.wire.poll_flush(cx);
        }
        let _ = this.poll_drain(cx)?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let io = this
            .wire
            .io
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        Pin::new(io).poll_shutdown(cx)
    }
}

impl Drop for PeerStream {
    /// Lets the last acknowledgements leave after the broker library is done with the connection.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let closed: Box<dyn Io> = Box::new(tokio::io::empty());
        let io = std::mem::replace(&mut self.wire.io, Mutex::new(closed));
        let mut last = Lingering {
            wire: Wire {
                io,
                stall_max: LINGER,
                stall: None,
                counters: Arc::clone(&self.wire.counters),
            },
            held: std::mem::take(&mut self.held),
        };
        runtime.spawn(async move {
            // The peer is gone or the time is up: either way nothing more can be done.
            let _ = tokio::time::timeout(LINGER, last.finish()).await;
        });
    }
}

/// What is left of a [`PeerStream`] whose connection ended.
struct Lingering {
    wire: Wire,
    held: VecDeque<Held>,
}

impl Lingering {
    async fn finish(&mut self) -> io::Result<()> {
        while let Some(mut first) = self.held.pop_front() {
            if let Some(gate) = first.gate.take()
                && gate.await.is_err()
            {
                break;
            }
            while first.written < first.bytes.len() {
                let rest = first.bytes.slice(first.written..);
                first.written += std::future::poll_fn(|cx| self.wire.poll_write(cx, &rest)).await?;
            }
        }
        std::future::poll_fn(|cx| self.wire.poll_flush(cx)).await?;
        std::future::poll_fn(|cx| {
            let io = self
                .wire
                .io
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            Pin::new(io).poll_shutdown(cx)
        })
        .await
    }
}

impl WebSocketTransport for PeerStream {
    fn peer_addr(&self) -> mqtt5::Result<SocketAddr> {
        Ok(self.peer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn pair(stall_max: Duration) -> (PeerStream, Arc<AckGate>, DuplexStream) {
        let (near, far) = tokio::io::duplex(64);
        let acks = Arc::new(AckGate::default());
        let stream = PeerStream::new(
            Box::new(near),
            ([127, 0, 0, 1], 1).into(),
            Arc::clone(&acks),
            stall_max,
            Arc::default(),
        );
        (stream, acks, far)
    }

    async fn write(stream: &mut PeerStream, text: &str) {
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }

    #[tokio::test]
    async fn held_packet_leaves_when_its_gate_opens_and_keeps_its_place() {
        let (mut stream, acks, mut far) = pair(Duration::MAX);
        let [(open_one, one), (open_two, two)] = [(); 2].map(|()| oneshot::channel());
        write(&mut stream, "a").await;
        acks.hold_next(one);
        write(&mut stream, "b").await;
        acks.hold_next(two);
        write(&mut stream, "c").await;
        write(&mut stream, "d").await;
        open_two.send(()).unwrap();

        let mut got = [0; 4];
        far.read_exact(&mut got[..1]).await.unwrap();
        let reading = tokio::spawn(async move {
            // Reading is what moves the held packets; nothing ever arrives here.
            let _ = stream.read_u8().await;
        });
        tokio::task::yield_now().await;
        open_one.send(()).unwrap();
        far.read_exact(&mut got[1..]).await.unwrap();
        assert_eq!(&got, b"abcd");
        reading.abort();
    }

    #[tokio::test]
    async fn failed_gate_breaks_the_connection_without_the_packet() {
        let (mut stream, acks, mut far) = pair(Duration::MAX);
        let (open, gate) = oneshot::channel();
        acks.hold_next(gate);
        write(&mut stream, "ack").await;
        drop(open);
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        drop(stream);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn acknowledgements_leave_after_the_connection_ended() {
        let (mut stream, acks, mut far) = pair(Duration::MAX);
        let (open, gate) = oneshot::channel();
        acks.hold_next(gate);
        write(&mut stream, "ack").await;
        drop(stream);
        open.send(()).unwrap();
        let mut rest = String::new();
        far.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "ack");
    }

    #[tokio::test]
    async fn what_waits_behind_a_gate_is_bounded() {
        let (mut stream, acks, _far) = pair(Duration::MAX);
        let (_open, gate) = oneshot::channel();
        acks.hold_next(gate);
        write(&mut stream, "ack").await;
        let packet = vec![0; HELD_BYTES_MAX];
        let write = stream.write(&packet);
        assert!(futures_util::FutureExt::now_or_never(write).is_none());
        assert_eq!(stream.held_bytes, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_takes_nothing_is_given_up() {
        let (mut stream, _acks, _far) = pair(Duration::from_secs(20));
        let error = stream.write_all(&[0; 1000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(stream.wire.counters.snapshot().write_stalls, 1);
    }
}
