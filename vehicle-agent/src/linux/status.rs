//! What the agent has seen, for `GET /status` and the log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use vinbus_protocol::health::Health;
use vinbus_protocol::id::Vin;

use vinbus_transport_std::guards::LogThrottle;
use vinbus_transport_std::{Client, LinkState};

use crate::desk::{Counters, DeliveryCounters, DownlinkRefusal};
use crate::health::at_most;

/// A view of the agent that its other tasks can read.
#[derive(Debug)]
pub(crate) struct Status {
    vin: Vin,
    /// What the last run said when it panicked.
    crash: Option<String>,
    state: Mutex<State>,
    refused_downlinks: LogThrottle,
}

#[derive(Debug, Default)]
struct State {
    counters: Counters,
    delivery: DeliveryCounters,
    link: String,
    evicted: u64,
    portal: PortalFigures,
    client: Option<Client>,
}

/// What the portal has refused and given up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PortalFigures {
    /// Connections and sockets, as there were as many as there may be.
    pub(crate) refused_full: u64,
    /// Sockets, as a web page of another origin asked for them.
    pub(crate) refused_origin: u64,
    /// Connections from which no head of a request came in time.
    pub(crate) head_timeouts: u64,
    /// Connections that brought something else than a request of HTTP.
    pub(crate) refused_request: u64,
    /// Sockets ended for what they did or did not do.
    pub(crate) ended: u64,
    /// Frames answered by an error.
    pub(crate) refused_frames: u64,
}

impl Status {
    pub(crate) fn new(vin: Vin, crash: Option<String>) -> Self {
        let link = "connecting".to_owned();
        Self {
            vin,
            crash,
            state: Mutex::new(State {
                link,
                ..State::default()
            }),
            refused_downlinks: LogThrottle::default(),
        }
    }

    /// Takes note of the counters.
    pub(crate) fn counted(&self, counters: &Counters, delivery: DeliveryCounters) {
        let mut state = self.lock();
        (state.counters, state.delivery) = (*counters, delivery);
    }

    /// Shows the counters of the broker's client as well.
    pub(crate) fn watch(&self, client: Client) {
        self.lock().client = Some(client);
    }

    /// Takes note of what the link is doing.
    pub(crate) fn link(&self, state: &LinkState) {
        self.lock().link = match state {
            LinkState::Connecting => "connecting".to_owned(),
            LinkState::Connected { .. } => "connected".to_owned(),
            LinkState::Down(error) => format!("down: {error}; {}", error.advice()),
            LinkState::Closed => "closed".to_owned(),
        };
    }

    /// Counts messages that an ending socket could not hold, as the pending ring could not have.
    pub(crate) fn evicted(&self, messages: u64) {
        self.lock().evicted += messages;
    }

    /// Adds to a report of health what the desk does not know.
    pub(crate) fn examine<'h>(&'h self, health: &mut Health<'h>) {
        health.platform = std::env::consts::OS;
        health.crash = self.crash.as_deref();
        let state = self.lock();
        let client = state.client.as_ref().map(Client::counters);
        let oversize = client.map_or(0, |client| client.oversize_dropped);
        let troubles = &mut health.troubles;
        troubles.evicted = troubles.evicted.saturating_add(at_most(state.evicted));
        troubles.oversize = troubles.oversize.saturating_add(at_most(oversize));
        let PortalFigures {
            refused_full,
            refused_origin,
            head_timeouts,
            refused_request,
            ended,
            refused_frames,
        } = state.portal;
        let refused = refused_full + refused_origin + head_timeouts + refused_request;
        troubles.sockets_refused = at_most(refused);
        troubles.sockets_ended = at_most(ended);
        troubles.frames_refused = at_most(refused_frames);
    }

    /// Logs a message that reached no app, but not each of a flood.
    pub(crate) fn downlink_refused(&self, topic: &str, refusal: &DownlinkRefusal) {
        if let Some(more) = self.refused_downlinks.pass(Instant::now()) {
            tracing::warn!(topic, reason = %refusal, more, "dropped a message from the broker");
        }
    }

    /// Counts something that the portal did.
    pub(crate) fn count(&self, figure: impl FnOnce(&mut PortalFigures) -> &mut u64) {
        *figure(&mut self.lock().portal) += 1;
    }

    /// The state as JSON.
    pub(crate) fn report(&self) -> Value {
        let state = self.lock();
        let Counters { portal, .. } = &state.counters;
        let client = state
            .client
            .as_ref()
            .map(Client::counters)
            .unwrap_or_default();
        json!({
            "vin": self.vin.as_str(),
            "link": state.link,
            "sessions": state.counters.sessions,
            "received": state.counters.received,
            "downlinks": {
                "delivered": portal.delivered,
                "pending": portal.pending,
                "popups": portal.popups_queued,
                "evictedFromSockets": state.evicted,
            },
            "refused": {
                "oversize": client.oversize_dropped,
                "foreignTopic": state.counters.foreign_topics,
                "envelope": portal.refused_envelope,
                "unknownApp": portal.refused_unknown_app,
                "foreignUid": portal.refused_foreign_uid,
                "tooLarge": portal.refused_too_large,
                "popupOverflow": portal.popups_overflowed,
            },
            "sockets": {
                "refusedFull": state.portal.refused_full,
                "refusedOrigin": state.portal.refused_origin,
                "headTimeouts": state.portal.head_timeouts,
                "refusedRequest": state.portal.refused_request,
                "ended": state.portal.ended,
                "refusedFrames": state.portal.refused_frames,
            },
            "uplinks": {
                "accepted": state.counters.uplinks_accepted,
                "refused": state.counters.uplinks_refused,
                "delivered": state.counters.uplinks_delivered,
                "dropped": state.counters.uplinks_dropped,
                "refusedByBroker": state.counters.uplinks_refused_by_broker,
            },
            "parts": {
                "stored": state.counters.parts_stored,
                "refused": state.counters.parts_refused,
                "abandoned": state.counters.long_abandoned,
            },
            "delivery": delivery(state.delivery),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of messages with receipts went over the wire, in the words of the metrics of a host server.
fn delivery(counters: DeliveryCounters) -> Value {
    json!({
        "sent": counters.sent,
        "sentAgain": counters.sent_again,
        "forgedReceipt": counters.forged_receipt,
        "cameAgain": counters.came_again,
        "stale": counters.stale,
        "busy": counters.busy,
        "forgedAcknowledgement": counters.forged_acknowledgement,
        "misdirected": counters.misdirected,
    })
}
