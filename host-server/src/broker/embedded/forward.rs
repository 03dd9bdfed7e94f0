//! Offering uplink messages to MQTT consumers, in the order of arrival and not before they are on
//! disk.
//!
//! One task takes what arrived, waits for its outcome, opens the gate of its acknowledgement, and
//! routes it. Consumers set the pace as long as they read: a message on its way holds bytes of a
//! window and gives them back when the last consumer has taken it. A consumer that stops reading
//! must not stop the others: when the window stays full for [`FAN_OUT_PATIENCE`], messages are
//! routed without waiting until it has room again, and the consumers whose queues are full miss
//! them.

use std::sync::Arc;

use bytes::Bytes;
use mqtt5::QoS;
use mqtt5::broker::router::MessageRouter;
use mqtt5::packet::publish::PublishPacket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::counters::{BrokerCounters, add};
use super::limits::{
    FAN_OUT_MESSAGE_BYTES_MIN, FAN_OUT_PATIENCE, FAN_OUT_WINDOW_BYTES, IN_FORWARD_BYTES_MAX,
    IN_FORWARD_MAX,
};
use crate::broker::Outcome;

/// A message to be offered to consumers.
pub(super) struct Offer {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) retain: bool,
    /// Who published it, for subscriptions that exclude their own messages.
    pub(super) client_id: String,
    /// What the core makes of it; without, it is offered at once.
    pub(super) outcome: Option<oneshot::Receiver<Outcome>>,
    /// Told when it may be acknowledged.
    pub(super) ack: Option<oneshot::Sender<()>>,
}

/// The way into the forwarding task.
#[derive(Clone)]
pub(super) struct Forwarder {
    offers: mpsc::Sender<(Offer, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

impl Forwarder {
    /// Starts the task; it ends when all handles are gone.
    pub(super) fn start(router: Arc<MessageRouter>, counters: Arc<BrokerCounters>) -> Self {
        let (offers, inbox) = mpsc::channel(IN_FORWARD_MAX);
        tokio::spawn(run(inbox, Pace::new(counters), router));
        Self {
            offers,
            room: Arc::new(Semaphore::new(IN_FORWARD_BYTES_MAX)),
        }
    }

    /// Hands a message over; waits while too much is under way.
    pub(super) async fn offer(&self, offer: Offer) {
        let Ok(room) = Arc::clone(&self.room)
            .acquire_many_owned(permits(offer.payload.len()))
            .await
        else {
            return;
        };
        // The task outlives every handle, so this fails only while the runtime shuts down.
        let _ = self.offers.send((offer, room)).await;
    }
}

async fn run(
    mut inbox: mpsc::Receiver<(Offer, OwnedSemaphorePermit)>,
    mut pace: Pace,
    router: Arc<MessageRouter>,
) {
    while let Some((mut offer, room)) = inbox.recv().await {
        if let Some(outcome) = offer.outcome.take() {
            let outcome = outcome.await;
            if let Some(ack) = offer.ack.take() {
                match outcome {
                    // A peer that is gone needs no acknowledgement.
                    Ok(Outcome::Stored | Outcome::Refused) => drop(ack.send(())),
                    Ok(Outcome::Failed(_)) | Err(_) => add(&pace.counters.unacknowledged),
                }
            }
            if outcome != Ok(Outcome::Stored) {
                continue;
            }
        }
        // A retained payload stays: it must not hold room that others wait for.
        let payload = if offer.retain {
            offer.payload
        } else {
            pace.enter(offer.payload).await
        };
        let packet =
            PublishPacket::new(offer.topic, payload, QoS::AtMostOnce).with_retain(offer.retain);
        router.route_message(&packet, Some(&offer.client_id)).await;
        add(&pace.counters.messages_out);
        drop(room);
    }
}

/// Paces the fan-out.
struct Pace {
    window: Arc<Semaphore>,
    /// Whether a consumer does not read, as far as is known.
    stuck: bool,
    counters: Arc<BrokerCounters>,
}

impl Pace {
    fn new(counters: Arc<BrokerCounters>) -> Self {
        Self {
            window: Arc::new(Semaphore::new(FAN_OUT_WINDOW_BYTES)),
            stuck: false,
            counters,
        }
    }

    /// Waits for room, with patience, and gives the payload back as one that leaves the window when
    /// its last copy is gone.
    async fn enter(&mut self, payload: Bytes) -> Bytes {
        let cost = permits(payload.len().max(FAN_OUT_MESSAGE_BYTES_MIN));
        let window = Arc::clone(&self.window);
        let permit = if self.stuck {
            window.try_acquire_many_owned(cost).ok()
        } else {
            let patient = tokio::time::timeout(FAN_OUT_PATIENCE, window.acquire_many_owned(cost));
            patient.await.ok().and_then(Result::ok)
        };
        self.stuck = permit.is_none();
        match permit {
            Some(permit) => tracked(payload, permit),
            None => {
                add(&self.counters.fan_out_unpaced);
                payload
            }
        }
    }
}

/// A payload that holds `permit` until its last copy is gone.
pub(super) fn tracked(payload: Bytes, permit: OwnedSemaphorePermit) -> Bytes {
    struct Tracked {
        payload: Bytes,
        _permit: OwnedSemaphorePermit,
    }
    impl AsRef<[u8]> for Tracked {
        fn as_ref(&self) -> &[u8] {
            &self.payload
        }
    }
    Bytes::from_owner(Tracked {
        payload,
        _permit: permit,
    })
}

/// Bytes as permits of a semaphore; no message comes near `u32::MAX` bytes.
pub(super) fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(Arc::default())
    }

    #[tokio::test]
    async fn window_gets_its_bytes_back_when_the_last_copy_is_gone() {
        let mut pace = pace();
        let payload = pace.enter(Bytes::from_static(b"payload")).await;
        let copy = payload.clone();
        drop(payload);
        assert!(pace.window.available_permits() < FAN_OUT_WINDOW_BYTES);
        assert_eq!(copy, "payload");
        drop(copy);
        assert_eq!(pace.window.available_permits(), FAN_OUT_WINDOW_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn full_window_is_waited_for_once_and_then_passed_by_until_it_has_room() {
        let mut pace = pace();
        let mut on_their_way = Vec::new();
        while pace.window.available_permits() >= FAN_OUT_MESSAGE_BYTES_MIN {
            on_their_way.push(pace.enter(Bytes::from_static(b"x")).await);
        }
        let start = tokio::time::Instant::now();
        for _ in 0..100 {
            pace.enter(Bytes::from_static(b"y")).await;
        }
        assert_eq!(start.elapsed(), FAN_OUT_PATIENCE);
        assert_eq!(pace.counters.snapshot().fan_out_unpaced, 100);
        on_their_way.clear();
        pace.enter(Bytes::from_static(b"z")).await;
        assert!(!pace.stuck);
    }
}
