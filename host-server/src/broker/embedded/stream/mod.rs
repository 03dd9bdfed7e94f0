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
//! messages are dropped, as QoS 0 permits, and counted. What QoS 1 forbids to drop waits as well, as much
//! as the library sends unacknowledged.
//!
//! A connection that is to end reads the end of its stream. Where a write waits for the peer, the library does
//! not read, and the write fails.
//!
//! A peer that takes nothing for [`Limits::write_stall_max`](super::Limits::write_stall_max) gets its
//! connection broken.
//!
//! | file | holds |
//! |---|---|
//! | `rules` | what the connection says of the packets that are written next |
//! | `held` | the packets that wait |
//! | `wire` | the transport, and its watch over stalled writes |

mod held;
mod rules;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mqtt5::broker::transport::WebSocketTransport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::held::{Held, HeldPackets};
pub(super) use self::rules::{Gate, WriteRules};
pub(super) use self::wire::Io;
use self::wire::Wire;
use super::counters::{BrokerCounters, add};
use super::forward::permits;
use super::limits::{CONSUMER_BYTES_MAX, CONSUMER_MESSAGES_MAX, HELD_BYTES_MAX, RECEIVE_MAX};

/// Time that a closed connection's last bytes get to leave.
const LINGER: Duration = Duration::from_secs(5);

/// The byte stream under one client's connection.
pub(super) struct PeerStream {
    wire: Wire,
    peer: SocketAddr,
    rules: Arc<WriteRules>,
    /// Bytes that may wait for all consumers together.
    consumers: Arc<Semaphore>,
    held: HeldPackets,
    /// The last packet that the library wrote is partly on the wire and not held.
    in_packet: bool,
    /// The last packet of a connection that is to end is among those that are held.
    has_last: bool,
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
            wire: Wire::new(io, stall_max, Arc::clone(&counters)),
            peer,
            rules,
            consumers,
            held: HeldPackets::default(),
            in_packet: false,
            has_last: false,
            counters,
        }
    }

    /// Whether the connection is to end. What is held leaves when this is dropped, except for messages: the
    /// peer has no right to them any more.
    fn is_over(&mut self, cx: &Context<'_>) -> bool {
        let Some(last) = self.rules.poll_end(cx) else {
            return false;
        };
        if !self.in_packet && !self.has_last {
            self.held.drop_publishes();
            self.held.push(Held::new(last, 0));
            self.has_last = true;
        }
        true
    }

    fn has_room(&self, len: usize) -> bool {
        self.held.is_empty()
            || (self.held.bytes() + len <= HELD_BYTES_MAX
                && self.held.len() < usize::from(RECEIVE_MAX))
    }

    /// Takes a whole packet for a consumer at once: writes it, holds it, or drops it.
    fn take_over(&mut self, cx: &mut Context<'_>, packet: &[u8]) -> io::Result<()> {
        if held::is_publish(packet) && !self.rules.may_hear() {
            add(&self.counters.deliveries_denied);
            return Ok(());
        }
        let gate = self.rules.take_gate();
        if gate.is_none() && self.held.is_empty() {
            let written = match self.wire.poll_write(cx, packet)? {
                Poll::Ready(written) => written,
                Poll::Pending => 0,
            };
            if written < packet.len() {
                // What is partly written cannot be dropped, room or not.
                let held = Held::new(packet, written);
                self.held.push(held.in_room(self.room_for(packet)));
            }
            return Ok(());
        }
        let room = self.room_for(packet);
        if held::may_be_lost(packet) {
            if self.held.publish_bytes() + packet.len() > CONSUMER_BYTES_MAX
                || self.held.len() >= CONSUMER_MESSAGES_MAX
            {
                add(&self.counters.consumer_drops);
                return Ok(());
            }
            if room.is_none() {
                add(&self.counters.consumer_drops_shared);
                return Ok(());
            }
        } else if held::is_publish(packet) {
            // The library sends only so many before the peer acknowledges one.
            if room.is_none() {
                return Err(self.too_slow("the peer reads too slowly what must not be lost"));
            }
        } else if self.held.answer_bytes() + packet.len() > HELD_BYTES_MAX {
            return Err(self.too_slow("the peer asks much and reads no answer"));
        }
        let held = Held::new(packet, 0);
        self.held.push(held.behind(gate).in_room(room));
        Ok(())
    }

    fn too_slow(&self, why: &'static str) -> io::Error {
        add(&self.counters.write_stalls);
        io::Error::new(io::ErrorKind::TimedOut, why)
    }

    /// A part of what may wait for all consumers, for a message.
    fn room_for(&self, packet: &[u8]) -> Option<OwnedSemaphorePermit> {
        let consumers = held::is_publish(packet).then(|| Arc::clone(&self.consumers))?;
        consumers.try_acquire_many_owned(permits(packet.len())).ok()
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
        if this.is_over(cx) {
            // The end of the stream, after which the library reads no more.
            return Poll::Ready(Ok(()));
        }
        let _ = this.held.poll_leave(cx, &mut this.wire)?;
        this.wire.poll_read(cx, buf)
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
        // Writing to a consumer never waits, so that its end is read soon.
        if !this.rules.never_wait() && this.is_over(cx) {
            return Poll::Ready(Err(ended()));
        }
        let left = this.held.poll_leave(cx, &mut this.wire)?;
        if this.rules.never_wait() {
            this.take_over(cx, buf)?;
            let _ = this.held.poll_leave(cx, &mut this.wire)?;
            return Poll::Ready(Ok(buf.len()));
        }
        if left.is_pending() && !this.has_room(buf.len()) {
            return Poll::Pending;
        }
        let gate = this.rules.take_gate();
        if gate.is_none() && this.held.is_empty() {
            let written = ready!(this.wire.poll_write(cx, buf))?;
            this.in_packet = written < buf.len();
            return Poll::Ready(Ok(written));
        }
        this.held.push(Held::new(buf, 0).behind(gate));
        let _ = this.held.poll_leave(cx, &mut this.wire)?;
        Poll::Ready(Ok(buf.len()))
    }

    /// Flushes what may leave; does not wait for what is held.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held.is_empty() {
            let flushed = this.wire.poll_flush(cx);
            // The library does not read while it waits for the peer, and would not see the end.
            if flushed.is_pending() && this.is_over(cx) {
                return Poll::Ready(Err(ended()));
            }
            return flushed;
        }
        let _ = this.held.poll_leave(cx, &mut this.wire)?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.held.poll_leave(cx, &mut this.wire))?;
        this.wire.poll_shutdown(cx)
    }
}

impl Drop for PeerStream {
    /// Lets the last acknowledgements leave after the broker library is done with the connection.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let mut wire = self.wire.take(LINGER);
        let mut held = std::mem::take(&mut self.held);
        runtime.spawn(async move {
            // The peer is gone or the time is up: either way nothing more can be done.
            let _ = tokio::time::timeout(LINGER, finish(&mut wire, &mut held)).await;
        });
    }
}

fn ended() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the connection was ended from this side",
    )
}

/// Writes what is left of a connection that has ended, up to a gate that fails.
async fn finish(wire: &mut Wire, held: &mut HeldPackets) -> io::Result<()> {
    let _ = std::future::poll_fn(|cx| held.poll_leave(cx, wire)).await;
    std::future::poll_fn(|cx| wire.poll_flush(cx)).await?;
    std::future::poll_fn(|cx| wire.poll_shutdown(cx)).await
}

impl WebSocketTransport for PeerStream {
    fn peer_addr(&self) -> mqtt5::Result<SocketAddr> {
        Ok(self.peer)
    }
}
