//! What a client says: publishes and its will, at the rate it may have, checked, and handed on.
//!
//! Uplink goes to the core first and is offered to MQTT consumers when it is on disk, as a packet of
//! our own, at QoS 0 and without the properties that the library would add.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mqtt5::broker::events::ClientPublishEvent;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};
use vinbus_protocol::delivery;
use vinbus_protocol::envelope::{Downlink, Uplink};
use vinbus_protocol::id::Vin;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;
use vinbus_protocol::presence;
use vinbus_protocol::topic::{Direction, ParsedTopic};

use super::rules::Tree;
use super::{Client, Connection};
use crate::broker::embedded::Delivery;
use crate::broker::embedded::counters::add;
use crate::broker::embedded::forward::Offer;
use crate::broker::embedded::limits::{REPORTS_MAX, RETAINED_BYTES_MAX};
use crate::broker::embedded::quiet::Shown;
use crate::broker::embedded::stream::Gate;
use crate::broker::{Arrival, Outcome};
use crate::identity::Identity;

/// How much of the permitted rate may come at once.
const BURST: Duration = Duration::from_secs(1);

impl Connection {
    /// Slows the client down to the permitted rate.
    pub(super) async fn throttle(&self) {
        let per_second = self.shared.limits.publishes_per_second_max;
        if per_second == 0 {
            return;
        }
        let now = Instant::now();
        let due = {
            let mut state = self.state();
            // Up to a second's worth may come at once.
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            let due = state.publishes_due.unwrap_or(earliest).max(earliest);
            state.publishes_due = Some(due + Duration::from_secs(1) / per_second);
            due
        };
        if due > now {
            add(&self.shared.counters.publishes_throttled);
            tokio::time::sleep_until(due).await;
        }
    }

    /// Takes a message in, publish or will. What comes back tells when it may be acknowledged;
    /// `None` is at once.
    pub(super) async fn accept(&self, client: &Client, event: ClientPublishEvent) -> Option<Gate> {
        let shared = &self.shared;
        add(&shared.counters.messages_in);
        let topic = &*event.topic;
        let parsed = match self.may_publish(client, topic) {
            Ok(Tree::Vehicle(parsed)) => parsed,
            Ok(Tree::Bus) => {
                return self.accept_on_bus(client, event).await;
            }
            Err(denial) => {
                self.denied(client, "publish denied", topic, &denial);
                return None;
            }
        };
        let (payload, retain) = (event.payload, event.retain);
        if payload.len() > PAYLOAD_BYTES_MAX {
            self.oversize(client, topic, payload.len());
            return None;
        }
        match parsed.direction {
            Direction::Downlink => {
                self.accept_downlink(client, &parsed, topic, payload).await;
                None
            }
            Direction::Uplink if parsed.is_presence() => {
                let retain = retain && self.may_retain(topic, &payload).await;
                if let Identity::Vehicle(vin) = client.who {
                    shared.events.introduced(vin, &parsed.uid);
                    if let Some(offered) = offers_delivery(&payload) {
                        shared.events.announced(vin, &parsed.uid, offered);
                    }
                    self.note_report(topic, &payload, retain);
                }
                self.offer(client, topic, payload, retain, None).await
            }
            Direction::Uplink => {
                let arrival = Arrival {
                    topic: topic.to_owned(),
                    payload: payload.clone(),
                    retained: false,
                };
                let outcome = shared.events.arrived(arrival).await;
                self.offer(client, topic, payload, false, Some(outcome))
                    .await
            }
        }
    }

    /// Notes a message that is too large to be carried.
    pub(super) fn oversize(&self, client: &Client, topic: &str, bytes: usize) {
        add(&self.shared.counters.oversize);
        if let Some(left_out) = self.may_log(client, "oversize message dropped") {
            warn!(
                client = %client.who, topic = %Shown(topic), bytes, max = PAYLOAD_BYTES_MAX,
                left_out, "oversize message dropped"
            );
        }
    }

    async fn offer(
        &self,
        client: &Client,
        topic: &str,
        payload: Bytes,
        retain: bool,
        outcome: Option<oneshot::Receiver<Outcome>>,
    ) -> Option<Gate> {
        let (ack, gate) = oneshot::channel();
        let waits = outcome.is_some();
        let offer = Offer {
            topic: topic.to_owned(),
            payload,
            retain,
            client_id: client.client_id.clone(),
            outcome,
            ack: waits.then_some(ack),
        };
        self.shared.forwarder.offer(offer).await;
        waits.then_some(gate)
    }

    /// A downlink message that a client published itself: checked, and routed without a second try,
    /// as the OEM's broker does it.
    async fn accept_downlink(
        &self,
        client: &Client,
        parsed: &ParsedTopic<'_>,
        topic: &str,
        payload: Bytes,
    ) {
        let shared = &self.shared;
        if let Err(error) = Downlink::decode(&payload) {
            add(&shared.counters.envelopes_refused);
            if let Some(left_out) = self.may_log(client, "downlink envelope refused") {
                info!(
                    client = %client.who, topic = %Shown(topic), %error, left_out,
                    "downlink envelope refused"
                );
            }
            return;
        }
        if !matches!(
            shared
                .deliver(&parsed.vin, topic, payload, Delivery::NowOrNever)
                .await,
            Ok(())
        ) {
            add(&shared.counters.downlinks_unheard);
        }
    }

    async fn may_retain(&self, topic: &str, payload: &Bytes) -> bool {
        let router = &self.shared.router;
        payload.len() <= RETAINED_BYTES_MAX
            && (router.has_retained_message(topic).await
                || router.retained_count().await < self.shared.limits.retained_max)
    }

    /// Accepts the will, now that the connection ended without goodbye.
    pub(super) async fn accept_will(&self) {
        let (Some(client), Some(will)) = (self.client(), self.state().will.take()) else {
            return;
        };
        if let Identity::Vehicle(vin) = &client.who
            && self.is_outdated_presence(vin, &will.topic)
        {
            return;
        }
        let event = ClientPublishEvent {
            client_id: client.client_id.as_str().into(),
            user_id: None,
            topic: will.topic.into(),
            payload: will.payload.into(),
            qos: will.qos,
            retain: will.retain,
            packet_id: None,
            response_topic: None,
            correlation_data: None,
        };
        // Nobody waits for the acknowledgement of a will.
        let _ = self.accept(&client, event).await;
    }

    /// Remembers where this connection has said that its vehicle is online, to take it back.
    fn note_report(&self, topic: &str, payload: &[u8], retain: bool) {
        let mut state = self.state();
        if payload == presence::payload(false).as_bytes() {
            state.said_online.remove(topic);
        } else if state.said_online.len() < REPORTS_MAX || state.said_online.contains_key(topic) {
            state.said_online.insert(topic.to_owned(), retain);
        }
    }

    /// Says on these topics, for a vehicle whose connection is gone, that it is offline: a power cut
    /// leaves one will, for one partner. Not if the vehicle is back already.
    pub(super) async fn take_back(self: Arc<Self>, client: Client, topics: HashMap<String, bool>) {
        if let Identity::Vehicle(vin) = &client.who
            && self.shared.registry.vehicle_has_another(vin, self.id)
        {
            return;
        }
        for (topic, retain) in topics {
            let payload = Bytes::from_static(presence::payload(false).as_bytes());
            let _ = self.offer(&client, &topic, payload, retain, None).await;
        }
    }

    /// Whether a will says that a vehicle is gone which has already come back.
    fn is_outdated_presence(&self, vin: &Vin, topic: &str) -> bool {
        let topics = self.shared.access.topics();
        let is_presence = topics.parse(topic).is_ok_and(|parsed| parsed.is_presence());
        is_presence && self.shared.registry.vehicle_has_another(vin, self.id)
    }
}

/// Whether a report says that its vehicle is there, and if so, what it offers of delivery.
fn offers_delivery(report: &[u8]) -> Option<Option<delivery::Offer>> {
    let report = Uplink::decode(report).ok()?;
    let is_online = presence::reported(report.content)?;
    is_online.then(|| delivery::announced(report.content))
}
