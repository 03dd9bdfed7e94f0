//! The broker port: what the server's core says to a broker and hears from it.
//!
//! Two adapters stand behind it: the embedded broker (the only place that names `mqtt5`) and an
//! external one reached through `vinbus-transport-std`. The core (`hub`) knows neither.

pub mod embedded;
pub mod external;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use vinbus_protocol::delivery::Offer;
use vinbus_protocol::id::{Uid, Vin};

use crate::model::Presence;
use crate::store::StoreError;

/// A message on the vehicle tree in uplink direction, as the broker received it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
    /// The broker had kept it: it says nothing about now.
    pub retained: bool,
}

/// What became of an arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk: acknowledge it and offer it to consumers.
    Stored,
    /// The same, of a message with receipts: consumers are offered this payload, which is what the
    /// vehicle's app sent.
    StoredAs(Bytes),
    /// It is a report of the vehicle's agent that the core has taken note of: acknowledge it and offer
    /// it to consumers.
    Noted,
    /// It is no message of ours, or breaks the protocol; counted and logged by the core.
    /// Acknowledge it, so that the peer does not repeat it, and drop it.
    Refused,
    /// The store failed; do not acknowledge.
    Failed(StoreError),
}

/// What the core wants to hear from a broker. Implemented by the core, called by the adapters.
pub trait BrokerEvents: Send + Sync + 'static {
    /// A message arrived. The outer future waits for room in the core's queue (back-pressure); the
    /// receiver resolves when the outcome is known. Outcomes resolve in the order of arrival.
    fn arrived(&self, arrival: Arrival) -> BoxFuture<'_, oneshot::Receiver<Outcome>>;

    /// A vehicle became able to hear its downlink, or no longer is. `Online` is told again when the
    /// vehicle subscribes anew: messages that were [`PublishError::NotListening`] may be tried again.
    /// Must not block and must not call the broker.
    fn presence_changed(&self, vin: Vin, presence: Presence);

    /// A vehicle reported its presence to a partner, as far as the broker itself knows what is true
    /// of it: from now on they know each other.
    fn introduced(&self, vin: Vin, uid: &Uid);

    /// A vehicle reported to a partner that it is there; with an offer, that it speaks delivery (SPEC
    /// 16.7). Must not block. For brokers that do not bring such reports as arrivals.
    fn announced(&self, vin: Vin, uid: &Uid, offer: Option<Offer>);

    /// The way to the broker opened, or closed with a reason that was logged.
    fn link_changed(&self, up: Result<(), String>);
}

/// Why a message of the bus is refused to who publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusRefusal {
    /// Its topic names nothing that there is.
    Topic,
    /// Its payload cannot be used.
    Payload,
    /// It is too large, or too many wait already.
    Quota,
    /// It cannot be stored now.
    Unavailable,
}

/// What becomes of a message that is taken: `Ok` once it is on disk, or is none that is kept. It is
/// acknowledged and routed only then.
pub type BusTaking = BoxFuture<'static, Result<(), BusRefusal>>;

/// What takes messages of the bus before they are routed on it.
pub trait BusIntake: Send + Sync + 'static {
    /// Whether it takes messages on a topic.
    fn wants(&self, topic: &str) -> bool;

    /// Takes a message. The outer future waits for its place behind those before it (back-pressure);
    /// what comes back need not be awaited before the next message is taken.
    fn take(self: Arc<Self>, topic: Arc<str>, payload: Bytes) -> BoxFuture<'static, BusTaking>;
}

/// Why a broker did not take a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is no connection to the broker now; the message stays unsent.
    #[error("no connection to the broker")]
    LinkDown,
    /// The vehicle is not subscribed to this topic now, as the embedded broker can tell; the message
    /// stays unsent. [`BrokerEvents::presence_changed`] tells when to try again.
    #[error("the vehicle does not listen to this topic now")]
    NotListening,
    /// The message can never be published.
    #[error("the broker cannot carry this message: {detail}")]
    Rejected {
        /// Why.
        detail: String,
    },
}

/// What the core says to a broker. Implemented by the adapters, called by the core.
pub trait Broker: Send + Sync + 'static {
    /// Publishes at QoS 0 without retain; resolves when the broker has taken it over.
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>>;

    /// Resolves when a message of any size would be taken over at once, as far as the broker knows. The core
    /// reads a message that is repeated from its disk only then: while many vehicles take nothing, it has
    /// none of theirs in memory.
    fn room<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), PublishError>> {
        let _ = topic;
        Box::pin(std::future::ready(Ok(())))
    }

    /// How long the core waits for one [`Broker::publish`], or for [`Broker::room`]; then it drops the future, and tries the
    /// message again later. Vehicles share the core's workers, so a broker that waits for each
    /// vehicle by itself is given little time.
    fn patience(&self) -> Duration {
        Duration::from_millis(250)
    }
}
