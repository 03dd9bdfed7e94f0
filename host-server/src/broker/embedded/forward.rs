//! Offering uplink messages to MQTT consumers, in the order of arrival and not before they are on
//! disk.
//!
//! One task takes what arrived, waits for its outcome, opens the gate of its acknowledgement, and
//! hands it to a second one, which routes it. The first never waits for the second, so that no
//! consumer delays an acknowledgement: when too much waits to be routed, messages are dropped and
//! counted. Consumers on MQTT are served at QoS 0; the REST interface misses nothing.
//!
//! A slow consumer delays nobody either: its own messages wait, or are dropped, in its `stream`. On
//! the way there a message holds bytes of a window, which keeps the router's queues from
//! overflowing. When the window stays full for [`FAN_OUT_PATIENCE`], messages are routed without
//! waiting until it has room again.

use std::sync::Arc;

use bytes::Bytes;
use mqtt5::QoS;
use mqtt5::broker::router::MessageRouter;
use mqtt5::packet::publish::PublishPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::counters::{BrokerCounters, add};
use super::limits::{
    FAN_OUT_MESSAGE_BYTES_MIN, FAN_OUT_PATIENCE, FAN_OUT_QUEUE_BYTES_MAX, FAN_OUT_QUEUE_MAX,
    FAN_OUT_WINDOW_BYTES, IN_FORWARD_BYTES_MAX, IN_FORWARD_MAX,
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
    pub(super) ack: Option<oneshot::Sender<ReasonCode>>,
}

/// The way into the forwarding tasks.
#[derive(Clone)]
pub(super) struct Forwarder {
    offers: mpsc::Sender<(Offer, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

impl Forwarder {
    /// Starts the tasks; they end when all handles are gone.
    pub(super) fn start(router: Arc<MessageRouter>, counters: Arc<BrokerCounters>) -> Self {
        let (offers, inbox) = mpsc::channel(IN_FORWARD_MAX);
        let fan_out = FanOut::start(router, counters);
        tokio::spawn(settle(inbox, fan_out));
        Self {
            offers,
            room: Arc::new(Semaphore::new(IN_FORWARD_BYTES_MAX)),
        }
    }

    /// Hands a message over; waits while too much is on its way to the disk.
    pub(super) async fn offer(&self, offer: Offer) {
        let Ok(room) = Arc::clone(&self.room)
            .acquire_many_owned(permits(offer.payload.len()))
            .await
        else {
            return;
        };
        // The first task outlives every handle, so this fails only while the runtime shuts down.
        let _ = self.offers.send((offer, room)).await;
    }
}

/// Opens the gates of acknowledgements, in order of arrival, as outcomes become known.
async fn settle(mut inbox: mpsc::Receiver<(Offer, OwnedSemaphorePermit)>, fan_out: FanOut) {
    while let Some((mut offer, _room)) = inbox.recv().await {
        if let Some(outcome) = offer.outcome.take() {
            let outcome = outcome.await;
            if let Some(ack) = offer.ack.take() {
                match &outcome {
                    Ok(
                        Outcome::Stored | Outcome::StoredAs(_) | Outcome::Noted | Outcome::Refused,
                    ) => {
                        // A peer that is gone needs no acknowledgement.
                        let _ = ack.send(ReasonCode::Success);
                    }
                    Ok(Outcome::Failed(_)) | Err(_) => add(&fan_out.counters.unacknowledged),
                }
            }
            match outcome {
                Ok(Outcome::Stored | Outcome::Noted) => {}
                Ok(Outcome::StoredAs(payload)) => offer.payload = payload,
                Ok(Outcome::Refused | Outcome::Failed(_)) | Err(_) => continue,
            }
        }
        fan_out.offer(offer).await;
    }
}

/// The way to the task that routes.
struct FanOut {
    offers: mpsc::Sender<(Offer, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    router: Arc<MessageRouter>,
    counters: Arc<BrokerCounters>,
}

impl FanOut {
    fn start(router: Arc<MessageRouter>, counters: Arc<BrokerCounters>) -> Self {
        let (offers, inbox) = mpsc::channel(FAN_OUT_QUEUE_MAX);
        let pace = Pace::new(Arc::clone(&counters));
        tokio::spawn(run(inbox, pace, Arc::clone(&router)));
        Self {
            offers,
            room: Arc::new(Semaphore::new(FAN_OUT_QUEUE_BYTES_MAX)),
            router,
            counters,
        }
    }

    /// Hands a message over to be routed. When too much waits already, it is dropped and counted,
    /// unless it is to be retained: then it is routed ahead.
    async fn offer(&self, offer: Offer) {
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits(offer.payload.len()));
        let place = self.offers.try_reserve();
        match (room, place) {
            (Ok(room), Ok(place)) => place.send((offer, room)),
            _ if offer.retain => {
                let payload = offer.payload.clone();
                route(&self.router, &self.counters, offer, payload).await;
            }
            _ => add(&self.counters.fan_out_dropped),
        }
    }
}

async fn run(
    mut inbox: mpsc::Receiver<(Offer, OwnedSemaphorePermit)>,
    mut pace: Pace,
    router: Arc<MessageRouter>,
) {
    while let Some((offer, room)) = inbox.recv().await {
        // A retained payload stays: it must not hold room that others wait for.
        let payload = if offer.retain {
            offer.payload.clone()
        } else {
            pace.enter(offer.payload.clone()).await
        };
        route(&router, &pace.counters, offer, payload).await;
        drop(room);
    }
}

/// Routes a message at QoS 0, which never waits for a consumer.
async fn route(router: &MessageRouter, counters: &BrokerCounters, offer: Offer, payload: Bytes) {
    let packet =
        PublishPacket::new(offer.topic, payload, QoS::AtMostOnce).with_retain(offer.retain);
    router.route_message(&packet, Some(&offer.client_id)).await;
    add(&counters.messages_out);
}

/// Paces the fan-out.
struct Pace {
    window: Arc<Semaphore>,
    /// Whether the window stays full, as far as is known.
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
pub(super) fn tracked<P: Send + Sync + 'static>(payload: Bytes, permit: P) -> Bytes {
    struct Tracked<P> {
        payload: Bytes,
        _permit: P,
    }
    impl<P> AsRef<[u8]> for Tracked<P> {
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
    async fn what_the_fan_out_cannot_take_is_dropped_and_counted_unless_it_is_to_be_retained() {
        let (offers, mut inbox) = mpsc::channel(2);
        let fan_out = FanOut {
            offers,
            room: Arc::new(Semaphore::new(FAN_OUT_QUEUE_BYTES_MAX)),
            router: Arc::new(MessageRouter::new()),
            counters: Arc::default(),
        };
        let offer = |payload: &'static [u8], retain| Offer {
            topic: "a".to_owned(),
            payload: Bytes::from_static(payload),
            retain,
            client_id: String::new(),
            outcome: None,
            ack: None,
        };
        for payload in [b"1", b"2", b"3"] {
            fan_out.offer(offer(payload, false)).await;
        }
        fan_out.offer(offer(b"4", true)).await;
        let counts = fan_out.counters.snapshot();
        assert_eq!((counts.fan_out_dropped, counts.messages_out), (1, 1));
        assert!(fan_out.router.has_retained_message("a").await);
        for payload in ["1", "2"] {
            assert_eq!(inbox.recv().await.unwrap().0.payload, payload);
        }
        // Bytes are bounded as messages are.
        let all = fan_out
            .room
            .try_acquire_many(permits(FAN_OUT_QUEUE_BYTES_MAX));
        assert!(all.is_ok());
        fan_out.offer(offer(b"5", false)).await;
        assert_eq!(fan_out.counters.snapshot().fan_out_dropped, 2);
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
