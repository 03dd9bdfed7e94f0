//! The byte stream under one client's connection: any transport, with acknowledgements that wait for
//! the disk without holding up the connection.
//!
//! The broker library writes an acknowledgement as soon as a publish is handled, and handles one
//! packet at a time. Waiting for the disk there would make each client wait a commit per message.
//! So the publish is handled at once, and the acknowledgement, which is the next packet written, is
//! held back here until its gate opens; what is written after it waits behind it, so order is
//! kept. If the gate fails, the connection breaks without the acknowledgement.
//!
//! A consumer of uplink messages that reads more slowly than they come must not slow anybody down: up
//! to [`CONSUMER_BYTES_MAX`] wait here for it, and a bounded part for all consumers together; further
//! messages are dropped, as QoS 0 permits, and counted.
//!
//! A peer that takes nothing for [`Limits::write_stall_max`](super::Limits::write_stall_max) gets its
//! connection broken.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use mqtt5::broker::transport::WebSocketTransport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep};

use super::counters::{BrokerCounters, add};
use super::forward::permits;
use super::limits::{CONSUMER_BYTES_MAX, CONSUMER_MESSAGES_MAX, HELD_BYTES_MAX, RECEIVE_MAX};

/// Time that a closed connection's last bytes get to leave.
const LINGER: Duration = Duration::from_secs(5);

/// What carries the bytes: TCP, TLS over TCP, a WebSocket.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What a [`PeerStream`] is to do about the packets written on it.
#[derive(Debug, Default)]
pub(super) struct WriteRules {
    next_gate: Mutex<Option<oneshot::Receiver<()>>>,
    drops_publishes: AtomicBool,
}

impl WriteRules {
    /// The next packet leaves when `open` resolves; when its sender is dropped, the connection
    /// breaks instead.
    pub(super) fn hold_next(&self, open: oneshot::Receiver<()>) {
        *self.lock() = Some(open);
    }

    /// From now on, writing never waits: the peer is a consumer, whose messages are dropped when it
    /// reads too slowly.
    pub(super) fn drop_publishes_when_full(&self) {
        self.drops_publishes.store(true, Ordering::Relaxed);
    }

    fn take_gate(&self) -> Option<oneshot::Receiver<()>> {
        self.lock().take()
    }

    fn never_wait(&self) -> bool {
        self.drops_publishes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<oneshot::Receiver<()>>> {
        self.next_gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The byte stream under one client's connection.
pub(super) struct PeerStream {
    wire: Wire,
    peer: SocketAddr,
    rules: Arc<WriteRules>,
    /// Bytes that may wait for all consumers together.
    consumers: Arc<Semaphore>,
    /// Packets that wait for a gate, or behind one, or for a slow consumer.
    held: VecDeque<Held>,
    held_bytes: usize,
    /// What of it are messages for a consumer, which may be dropped.
    publish_bytes: usize,
}

struct Held {
    gate: Option<oneshot::Receiver<()>>,
    /// The part of what may wait for consumers.
    _room: Option<OwnedSemaphorePermit>,
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
        rules: Arc<WriteRules>,
        consumers: Arc<Semaphore>,
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
            rules,
            consumers,
            held: VecDeque::new(),
            held_bytes: 0,
            publish_bytes: 0,
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
            if is_publish(&first.bytes) {
                self.publish_bytes -= first.bytes.len();
            }
            self.held.pop_front();
        }
        self.wire.poll_flush(cx)
    }

    fn has_room(&self, len: usize) -> bool {
        self.held.is_empty()
            || (self.held_bytes + len <= HELD_BYTES_MAX
                && self.held.len() < usize::from(RECEIVE_MAX))
    }

    fn hold(
        &mut self,
        gate: Option<oneshot::Receiver<()>>,
        room: Option<OwnedSemaphorePermit>,
        packet: &[u8],
        written: usize,
    ) {
        self.held_bytes += packet.len();
        if is_publish(packet) {
            self.publish_bytes += packet.len();
        }
        self.held.push_back(Held {
            gate,
            _room: room,
            bytes: Bytes::copy_from_slice(packet),
            written,
        });
    }

    /// Takes a whole packet for a consumer at once: writes it, holds it, or drops it.
    fn take_over(&mut self, cx: &mut Context<'_>, packet: &[u8]) -> io::Result<()> {
        let gate = self.rules.take_gate();
        if gate.is_none() && self.held.is_empty() {
            let written = match self.wire.poll_write(cx, packet)? {
                Poll::Ready(written) => written,
                Poll::Pending => 0,
            };
            if written < packet.len() {
                // What is partly written cannot be dropped, room or not.
                self.hold(None, self.room_for(packet), packet, written);
            }
            return Ok(());
        }
        let room = self.room_for(packet);
        if is_publish(packet) {
            if self.publish_bytes + packet.len() > CONSUMER_BYTES_MAX
                || self.held.len() >= CONSUMER_MESSAGES_MAX
            {
                add(&self.wire.counters.consumer_drops);
                return Ok(());
            }
            if room.is_none() {
                add(&self.wire.counters.consumer_drops_shared);
                return Ok(());
            }
        } else if self.held_bytes - self.publish_bytes + packet.len() > HELD_BYTES_MAX {
            add(&self.wire.counters.write_stalls);
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the peer asks much and reads no answer",
            ));
        }
        self.hold(gate, room, packet, 0);
        Ok(())
    }

    /// A part of what may wait for all consumers, for a message.
    fn room_for(&self, packet: &[u8]) -> Option<OwnedSemaphorePermit> {
        let consumers = is_publish(packet).then(|| Arc::clone(&self.consumers))?;
        consumers.try_acquire_many_owned(permits(packet.len())).ok()
    }
}

fn is_publish(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 3)
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
        if this.rules.never_wait() {
            this.take_over(cx, buf)?;
            let _ = this.poll_drain(cx)?;
            return Poll::Ready(Ok(buf.len()));
        }
        if drained.is_pending() && !this.has_room(buf.len()) {
            return Poll::Pending;
        }
        let gate = this.rules.take_gate();
        if gate.is_none() && this.held.is_empty() {
            return this.wire.poll_write(cx, buf);
        }
        this.hold(gate, None, buf, 0);
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
    use crate::broker::embedded::limits::CONSUMERS_BYTES_MAX;

    fn pair(stall_max: Duration) -> (PeerStream, Arc<WriteRules>, DuplexStream) {
        let (near, far) = tokio::io::duplex(64);
        let rules = Arc::new(WriteRules::default());
        let stream = PeerStream::new(
            Box::new(near),
            ([127, 0, 0, 1], 1).into(),
            Arc::clone(&rules),
            Arc::new(Semaphore::new(CONSUMERS_BYTES_MAX)),
            stall_max,
            Arc::default(),
        );
        (stream, rules, far)
    }

    async fn write(stream: &mut PeerStream, text: &str) {
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }

    #[tokio::test]
    async fn held_packet_leaves_when_its_gate_opens_and_keeps_its_place() {
        let (mut stream, rules, mut far) = pair(Duration::MAX);
        let [(open_one, one), (open_two, two)] = [(); 2].map(|()| oneshot::channel());
        write(&mut stream, "a").await;
        rules.hold_next(one);
        write(&mut stream, "b").await;
        rules.hold_next(two);
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
        let (mut stream, rules, mut far) = pair(Duration::MAX);
        let (open, gate) = oneshot::channel();
        rules.hold_next(gate);
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
        let (mut stream, rules, mut far) = pair(Duration::MAX);
        let (open, gate) = oneshot::channel();
        rules.hold_next(gate);
        write(&mut stream, "ack").await;
        drop(stream);
        open.send(()).unwrap();
        let mut rest = String::new();
        far.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "ack");
    }

    #[tokio::test]
    async fn what_waits_behind_a_gate_is_bounded() {
        let (mut stream, rules, _far) = pair(Duration::MAX);
        let (_open, gate) = oneshot::channel();
        rules.hold_next(gate);
        write(&mut stream, "ack").await;
        let packet = vec![0; HELD_BYTES_MAX];
        let write = stream.write(&packet);
        assert!(futures_util::FutureExt::now_or_never(write).is_none());
        assert_eq!(stream.held_bytes, 3);
    }

    #[tokio::test]
    async fn consumer_that_reads_too_slowly_misses_whole_messages_which_are_counted() {
        let (mut stream, rules, mut far) = pair(Duration::from_secs(60));
        rules.drop_publishes_when_full();
        let mut packet = vec![b'x'; CONSUMER_BYTES_MAX / 4];
        packet[0] = 0x30;
        // The first is partly on its way, three wait beside it, and one is too many.
        for number in 0..6 {
            packet[1] = number;
            stream.write_all(&packet).await.unwrap();
            stream.flush().await.unwrap();
        }
        write(&mut stream, "answer").await;
        assert_eq!(stream.wire.counters.snapshot().consumer_drops, 2);
        let reading = tokio::spawn(async move { stream.read_u8().await });
        let mut got = vec![0; packet.len()];
        for number in 0..4 {
            far.read_exact(&mut got).await.unwrap();
            assert_eq!(got[..3], [0x30, number, b'x']);
        }
        far.read_exact(&mut got[..6]).await.unwrap();
        assert_eq!(got[..6], *b"answer");
        reading.abort();
    }

    #[tokio::test]
    async fn consumers_share_what_may_wait_and_give_it_back() {
        let consumers = Arc::new(Semaphore::new(10_000));
        let slow = || {
            let (mut stream, rules, far) = pair(Duration::from_secs(60));
            rules.drop_publishes_when_full();
            stream.consumers = Arc::clone(&consumers);
            (stream, far)
        };
        let packet = [0x30; 4_000];
        let (mut one, one_far) = slow();
        let (mut other, _other_far) = slow();
        for _ in 0..2 {
            one.write_all(&packet).await.unwrap();
        }
        assert_eq!(consumers.available_permits(), 2_000);
        for _ in 0..3 {
            other.write_all(&packet).await.unwrap();
        }
        let counts = other.wire.counters.snapshot();
        assert_eq!(
            (counts.consumer_drops, counts.consumer_drops_shared),
            (0, 2)
        );
        // The peer of the first is gone, and with it what waited.
        drop((one, one_far));
        consumers.acquire_many(10_000).await.unwrap().forget();
    }

    #[tokio::test]
    async fn consumer_that_reads_no_answers_loses_its_connection() {
        let (mut stream, rules, _far) = pair(Duration::from_secs(60));
        rules.drop_publishes_when_full();
        let answer = [0xD0; 1024];
        let asking = async {
            loop {
                if let Err(error) = stream.write_all(&answer).await {
                    return error;
                }
            }
        };
        assert_eq!(asking.await.kind(), io::ErrorKind::TimedOut);
        assert!(stream.held_bytes <= HELD_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_takes_nothing_is_given_up() {
        let (mut stream, _rules, _far) = pair(Duration::from_secs(20));
        let error = stream.write_all(&[0; 1000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(stream.wire.counters.snapshot().write_stalls, 1);
    }
}
