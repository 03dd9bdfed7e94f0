//! The core of the server: what arrives from vehicles goes to the store and then to consumers, what
//! partners submit goes to the store and then to the broker.
//!
//! [`Hub`] is the whole interface. It knows the store and the broker only by their ports. Begin with
//! `ingest` for the way up, `dispatch` for the way down and `presence` for who can hear us.
//!
//! Invariants: nothing is offered to a consumer or acknowledged to a vehicle before it is on disk;
//! nothing is answered as accepted to a partner before it is on disk; messages for one vehicle are
//! sent in the order of acceptance, and no vehicle waits for another; every queue has a bound.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::TopicScheme;

use crate::broker::{Arrival, Broker, BrokerEvents, Outcome};
use crate::metrics::Metrics;
use crate::model::{
    Cursor, Downlink, MessageId, NewDownlink, Presence, Trace, Uplink, Vehicle, Webhook,
};
use crate::store::{Store, StoreError};

/// Where the truth about a vehicle's presence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceSource {
    /// The broker is ours and reports every connection; a vehicle it never saw is offline.
    Connections,
    /// Agents report on the subtopic `vinbus/presence`; a vehicle that never did is unknown.
    Subtopic,
}

/// What the hub is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How topics are spelt.
    pub topics: TopicScheme,
    /// Where presence comes from.
    pub presence: PresenceSource,
    /// Unsent messages that may wait for one vehicle; one more is
    /// [`SubmitError::VehicleQueueFull`].
    pub vehicle_unsent_max: usize,
    /// Unsent messages that may wait for all vehicles; one more is [`SubmitError::QueueFull`].
    pub unsent_max: usize,
}

impl Default for Settings {
    /// The default topics, presence from connections, 1,000 messages for a vehicle and 1,000,000 for
    /// all.
    fn default() -> Self {
        Self {
            topics: TopicScheme::default(),
            presence: PresenceSource::Connections,
            vehicle_unsent_max: 1_000,
            unsent_max: 1_000_000,
        }
    }
}

/// Why a message for a vehicle was not accepted. Nothing of it remains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The envelope is larger than a message may be.
    #[error("the message has {len} bytes, at most {max} are allowed")]
    TooLarge {
        /// Bytes of the encoded envelope.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The vehicle has as many unsent messages as it may.
    #[error(
        "{max} messages wait for vehicle {vin} already, its limit; try again when it was online"
    )]
    VehicleQueueFull {
        /// The vehicle.
        vin: Vin,
        /// The limit.
        max: usize,
    },
    /// All vehicles together have as many unsent messages as they may.
    #[error("{max} messages wait for vehicles already, the limit of this server")]
    QueueFull {
        /// The limit.
        max: usize,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Stopping,
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A webhook to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Where to deliver: `http` or `https`, without user information.
    pub url: String,
    /// Whose messages: a partner's, or everybody's.
    pub uid: Option<Uid>,
    /// A signing secret, `whsec_` and base64 of 24 to 64 bytes; `None` makes a random one.
    pub secret: Option<String>,
}

/// Why a webhook was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The URL cannot be delivered to.
    #[error("the URL cannot be used: {detail}")]
    Url {
        /// Why.
        detail: String,
    },
    /// The secret is not one of the Standard Webhooks specification.
    #[error("the secret must be `whsec_` followed by the base64 of 24 to 64 bytes")]
    Secret,
    /// There are as many webhooks as there may be.
    #[error("there are {max} webhooks already, the limit; remove one first")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the hub did since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages from vehicles that are on disk.
    pub uplink_stored: u64,
    /// Messages from vehicles that broke the protocol.
    pub uplink_refused: u64,
    /// Messages from vehicles that the store failed to keep; they were not acknowledged.
    pub uplink_failed: u64,
    /// Messages for vehicles that were accepted.
    pub downlink_accepted: u64,
    /// Messages for vehicles that were held because the vehicle was offline.
    pub downlink_held: u64,
    /// Messages for vehicles that were handed to the broker.
    pub downlink_sent: u64,
    /// Messages for vehicles that the broker can never carry.
    pub downlink_rejected: u64,
}

/// The core of the server; a handle that is cheap to clone.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    uplink_changes: watch::Sender<Cursor>,
}

impl Hub {
    /// A hub over `store`. Must be called inside a tokio runtime: it starts the tasks of the way up
    /// and of the webhooks. Messages for vehicles wait until [`Hub::attach`].
    ///
    /// # Errors
    /// A [`StoreError`] when the store cannot be read.
    pub fn new(
        store: Arc<dyn Store>,
        settings: Settings,
        metrics: &Metrics,
    ) -> Result<Self, StoreError> {
        let _ = (settings, metrics);
        let (uplink_changes, _) = watch::channel(store.uplink_end()?);
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                uplink_changes,
            }),
        })
    }

    /// Gives the hub its broker, once, and starts to send what was not sent yet. A broker adapter
    /// calls [`BrokerEvents::link_changed`] when the way is open; until then messages wait.
    pub fn attach(&self, broker: Arc<dyn Broker>) {
        let _ = broker;
    }

    /// Accepts a message for a vehicle: when this returns, it is on disk. Dropping the future does
    /// not take the message back.
    ///
    /// # Errors
    /// A [`SubmitError`]; nothing of the message remains.
    pub async fn submit_downlink(&self, message: NewDownlink) -> Result<Downlink, SubmitError> {
        let _ = message;
        Err(SubmitError::Stopping)
    }

    /// Uplink messages after `cursor`, oldest first, of one partner or all, of one vehicle or all:
    /// at most `limit`, fewer when they are large, none only when there is none.
    ///
    /// To follow the log: read the position of [`Hub::uplink_changes`], then call this and continue
    /// from the last message's cursor. When none comes back, continue from the position read before
    /// and wait for it to change; so nothing is missed and nothing is searched twice.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub async fn uplink_after(
        &self,
        cursor: Cursor,
        uid: Option<Uid>,
        vin: Option<Vin>,
        limit: usize,
    ) -> Result<Vec<Uplink>, StoreError> {
        self.inner
            .store
            .uplink_after(cursor, uid.as_ref(), vin.as_ref(), limit)
    }

    /// The last position of the uplink log, and every later one.
    #[must_use]
    pub fn uplink_changes(&self) -> watch::Receiver<Cursor> {
        self.inner.uplink_changes.subscribe()
    }

    /// What became of a message for a vehicle; `None` when there is none of that name (any more).
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub async fn trace(&self, id: MessageId) -> Result<Option<Trace>, StoreError> {
        self.inner.store.trace(&id)
    }

    /// All vehicles of which anything is known, by VIN.
    #[must_use]
    pub fn vehicles(&self) -> Vec<Vehicle> {
        Vec::new()
    }

    /// What is known about a vehicle; `None` when it was never seen.
    #[must_use]
    pub fn vehicle(&self, vin: &Vin) -> Option<Vehicle> {
        self.vehicles().into_iter().find(|known| known.vin == *vin)
    }

    /// Whether the way to the broker is open.
    #[must_use]
    pub fn is_link_up(&self) -> bool {
        false
    }

    /// Makes a webhook that gets every uplink message from now on.
    ///
    /// # Errors
    /// A [`WebhookError`].
    pub async fn add_webhook(&self, webhook: NewWebhook) -> Result<Webhook, WebhookError> {
        let _ = webhook;
        Err(WebhookError::TooMany { max: 0 })
    }

    /// All webhooks.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.inner.store.webhooks()
    }

    /// Removes a webhook and ends its deliveries; says whether there was one.
    ///
    /// # Errors
    /// A [`StoreError`] of the write.
    pub async fn remove_webhook(&self, id: &str) -> Result<bool, StoreError> {
        let _ = id;
        Ok(false)
    }

    /// What was done since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// Takes nothing more on, and returns when everything that was taken on is on disk. Messages
    /// that were not sent yet are sent after the next start.
    pub async fn shutdown(&self) {}
}

impl BrokerEvents for Hub {
    fn arrived(&self, arrival: Arrival) -> BoxFuture<'_, oneshot::Receiver<Outcome>> {
        let _ = arrival;
        Box::pin(async { oneshot::channel().1 })
    }

    fn presence_changed(&self, vin: Vin, presence: Presence) {
        let _ = (vin, presence);
    }

    fn link_changed(&self, up: Result<(), String>) {
        let _ = up;
    }
}
