//! Packets that wait for a gate, or behind one, or for a slow consumer.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use tokio::sync::OwnedSemaphorePermit;

use super::rules::Gate;
use super::wire::Wire;

/// PUBACK without a reason, which stands for success (MQTT 5, 3.4.2.1).
const PUBACK_SUCCESS: [u8; 2] = [0x40, 2];

/// One packet, which may be partly written.
pub(super) struct Held {
    gate: Option<Gate>,
    /// The part of what may wait for consumers.
    _room: Option<OwnedSemaphorePermit>,
    bytes: Bytes,
    written: usize,
}

impl Held {
    pub(super) fn new(packet: &[u8], written: usize) -> Self {
        Self {
            gate: None,
            _room: None,
            bytes: Bytes::copy_from_slice(packet),
            written,
        }
    }

    pub(super) fn behind(self, gate: Option<Gate>) -> Self {
        Self { gate, ..self }
    }

    pub(super) fn in_room(self, room: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            _room: room,
            ..self
        }
    }
}

/// The packets, oldest first.
#[derive(Default)]
pub(super) struct HeldPackets {
    packets: VecDeque<Held>,
    bytes: usize,
    /// What of it are messages for a consumer.
    publish_bytes: usize,
    /// A gate has failed: nothing leaves any more.
    broken: bool,
}

impl HeldPackets {
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn publish_bytes(&self) -> usize {
        self.publish_bytes
    }

    pub(super) fn answer_bytes(&self) -> usize {
        self.bytes - self.publish_bytes
    }

    pub(super) fn push(&mut self, held: Held) {
        self.bytes += held.bytes.len();
        if is_publish(&held.bytes) {
            self.publish_bytes += held.bytes.len();
        }
        self.packets.push_back(held);
    }

    /// Drops the messages, but for one that is partly written.
    pub(super) fn drop_publishes(&mut self) {
        self.packets
            .retain(|held| held.written > 0 || !is_publish(&held.bytes));
        let bytes = |held: &Held| held.bytes.len();
        let publishes = self.packets.iter().filter(|held| is_publish(&held.bytes));
        self.publish_bytes = publishes.map(bytes).sum();
        self.bytes = self.packets.iter().map(bytes).sum();
    }

    /// Writes what may leave. Ready when nothing is held any more. After a gate has failed, that is the
    /// answer to every call.
    pub(super) fn poll_leave(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire,
    ) -> Poll<io::Result<()>> {
        if self.packets.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.broken {
            return Poll::Ready(Err(not_stored()));
        }
        while let Some(first) = self.packets.front_mut() {
            if let Some(gate) = &mut first.gate {
                let Poll::Ready(opened) = Pin::new(gate).poll(cx) else {
                    // What left before the gate must not wait for it in a buffer.
                    let _ = wire.poll_flush(cx)?;
                    return Poll::Pending;
                };
                let Ok(reason) = opened else {
                    self.broken = true;
                    return Poll::Ready(Err(not_stored()));
                };
                first.gate = None;
                if let Some(refusal) = refusal(&first.bytes, reason) {
                    self.bytes += refusal.len() - first.bytes.len();
                    first.bytes = refusal;
                }
            }
            while first.written < first.bytes.len() {
                first.written += ready!(wire.poll_write(cx, &first.bytes[first.written..]))?;
            }
            self.bytes -= first.bytes.len();
            if is_publish(&first.bytes) {
                self.publish_bytes -= first.bytes.len();
            }
            self.packets.pop_front();
        }
        wire.poll_flush(cx)
    }
}

fn not_stored() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the message was not stored")
}

/// What is to be written in place of an acknowledgement, if anything is.
fn refusal(packet: &[u8], reason: ReasonCode) -> Option<Bytes> {
    match packet {
        [kind, length, high, low]
            if [*kind, *length] == PUBACK_SUCCESS && reason != ReasonCode::Success =>
        {
            let refusal = [0x40, 4, *high, *low, u8::from(reason), 0];
            Some(Bytes::copy_from_slice(&refusal))
        }
        _ => None,
    }
}

/// Whether a packet is a message (MQTT 5, 2.1.2).
pub(super) fn is_publish(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 3)
}

/// Whether a packet is a message that may be lost: one of QoS 0 (MQTT 5, 3.3.1.2).
pub(super) fn may_be_lost(packet: &[u8]) -> bool {
    is_publish(packet) && packet.first().is_some_and(|first| first & 0b0110 == 0)
}
