//! What the connection, which sees the packets, tells the stream, which writes them.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Context;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

/// PUBACK without a reason, which stands for success (MQTT 5, 3.4.2.1).
const PUBACK_SUCCESS: [u8; 2] = [0x40, 2];

/// Whether the peer may still hear what it subscribed to.
type MayHear = Box<dyn Fn() -> bool + Send + Sync>;

/// What a stream is to do about the packets written on it.
#[derive(Default)]
pub(in crate::broker::embedded) struct WriteRules {
    next_gate: Mutex<Option<oneshot::Receiver<()>>>,
    drops_publishes: AtomicBool,
    /// The reason that the next PUBACK has in place of success; 0 is success.
    refusal: AtomicU8,
    /// Asked before each message, where the peer may lose its rights.
    may_hear: OnceLock<MayHear>,
    /// The last packet of the connection, once it is to end.
    end: OnceLock<Bytes>,
    end_known: AtomicWaker,
}

impl WriteRules {
    /// The next packet leaves when `open` resolves; when its sender is dropped, the connection
    /// breaks instead.
    pub(in crate::broker::embedded) fn hold_next(&self, open: oneshot::Receiver<()>) {
        *self.lock() = Some(open);
    }

    /// From now on, writing never waits: the peer is a consumer, whose messages are dropped when it
    /// reads too slowly.
    pub(in crate::broker::embedded) fn drop_publishes_when_full(&self) {
        self.drops_publishes.store(true, Ordering::Relaxed);
    }

    /// The next packet, if it is a PUBACK, says this reason of MQTT 5 in place of success.
    pub(in crate::broker::embedded) fn refuse_next(&self, reason: u8) {
        self.refusal.store(reason, Ordering::Relaxed);
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

    /// What is to be written in place of `packet`, if anything is.
    pub(super) fn take_refusal(&self, packet: &[u8]) -> Option<[u8; 6]> {
        // Mostly there is none, and to look costs less than to take.
        if self.refusal.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let reason = self.refusal.swap(0, Ordering::Relaxed);
        match packet {
            [kind, length, id @ ..] if [*kind, *length] == PUBACK_SUCCESS => {
                let [high, low] = id.try_into().ok()?;
                Some([0x40, 4, high, low, reason, 0])
            }
            _ => None,
        }
    }

    pub(super) fn may_hear(&self) -> bool {
        self.may_hear.get().is_none_or(|may_hear| may_hear())
    }

    pub(super) fn take_gate(&self) -> Option<oneshot::Receiver<()>> {
        self.lock().take()
    }

    pub(super) fn never_wait(&self) -> bool {
        self.drops_publishes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<oneshot::Receiver<()>>> {
        self.next_gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
