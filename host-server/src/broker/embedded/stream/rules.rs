//! What the connection, which sees the packets, tells the stream, which writes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Context;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use tokio::sync::oneshot;

/// When an acknowledgement may leave, and what it says: where it is a PUBACK of MQTT 5, the reason takes
/// the place of success. When its sender is dropped, the connection breaks instead.
pub(in crate::broker::embedded) type Gate = oneshot::Receiver<ReasonCode>;

/// Whether the peer may still hear what it subscribed to.
type MayHear = Box<dyn Fn() -> bool + Send + Sync>;

/// What a stream is to do about the packets written on it.
#[derive(Default)]
pub(in crate::broker::embedded) struct WriteRules {
    next_gate: Mutex<Option<Gate>>,
    drops_publishes: AtomicBool,
    /// Asked before each message, where the peer may lose its rights.
    may_hear: OnceLock<MayHear>,
    /// The last packet of the connection, once it is to end.
    end: OnceLock<Bytes>,
    end_known: AtomicWaker,
}

impl WriteRules {
    /// The next packet, an acknowledgement, leaves as `gate` says.
    pub(in crate::broker::embedded) fn hold_next(&self, gate: Gate) {
        *self.lock() = Some(gate);
    }

    /// From now on, writing never waits: the peer is a consumer, whose messages are dropped when it
    /// reads too slowly.
    pub(in crate::broker::embedded) fn drop_publishes_when_full(&self) {
        self.drops_publishes.store(true, Ordering::Relaxed);
    }

    /// From now on, a message is written only while `may_hear` says so, and is dropped otherwise.
    pub(in crate::broker::embedded) fn check_deliveries(&self, may_hear: MayHear) {
        // Said once, at the login.
        let _ = self.may_hear.set(may_hear);
    }

    /// The connection ends, after this packet: the library reads the end of the stream. False when
    /// something else has ended it already.
    pub(in crate::broker::embedded) fn end(&self, last: Bytes) -> bool {
        let is_first = self.end.set(last).is_ok();
        self.end_known.wake();
        is_first
    }

    /// The last packet, if the connection is to end; else the reader is woken when it is.
    pub(super) fn poll_end(&self, cx: &Context<'_>) -> Option<&Bytes> {
        self.end_known.register(cx.waker());
        self.end.get()
    }

    pub(super) fn may_hear(&self) -> bool {
        self.may_hear.get().is_none_or(|may_hear| may_hear())
    }

    pub(super) fn take_gate(&self) -> Option<Gate> {
        self.lock().take()
    }

    pub(super) fn never_wait(&self) -> bool {
        self.drops_publishes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Gate>> {
        self.next_gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
