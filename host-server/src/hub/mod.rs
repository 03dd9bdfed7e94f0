//! The core of the server: what arrives from vehicles goes to the store and then to consumers, what
//! partners submit goes to the store and then to the broker.
//!
//! [`Hub`] is the whole interface. It knows the store and the broker only by their ports. Begin with
//! `ingest` for the way up, `dispatch` for the way down and `presence` for who can hear us.
//!
//! Invariants: nothing is offered to a consumer or acknowledged to a vehicle before it is on disk;
//! nothing is answered as accepted to a partner before it is on disk; messages of one
//! partner for one vehicle are sent in the order of acceptance, and neither vehicles nor partners
//! wait for each other; every queue has a bound.

mod error;
mod settings;

mod events;

mod arrivals;
mod ingest;

mod dispatch;
mod submit;

mod lanes;

mod campaign;
mod fleet;

mod pace;

mod health;
mod newest;
mod presence;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, broadcast, watch};
use vinbus_protocol::id::{AppId, Uid, Vin};

use self::dispatch::Dispatch;
use self::events::Events;
use self::ingest::Ingest;
use self::lanes::{LaneId, Lanes};
use self::presence::PresenceMap;
use self::submit::SUBMITS_MAX;
use crate::broker::Broker;
use crate::metrics::Metrics;
use crate::model::{
    Cursor, MessageId, Presence, Receipts, SentPage, Stamp, StampedCursor, Trace, UplinkPage,
    Vehicle, VehicleHealth, Webhook,
};
use crate::store::awaited::{read, writer_gone};
use crate::store::channels::KnownChannel;
use crate::store::{Store, StoreError};
use crate::webhook::Deliveries;

pub use self::campaign::FLEET_VEHICLES_MAX;
pub use self::dispatch::requests::{
    NewRequest, REQUESTS_OPEN_MAX, RequestDone, RequestError, RequestOutcome,
};
pub use self::error::SubmitError;
pub(crate) use self::events::request_id;
pub use self::events::{EVENTS_MAX, HubEvent, MessageHead, REQUEST_ID_BYTES_MAX};
pub use self::fleet::FleetError;
pub use self::settings::{PresenceSource, Settings, TTL_MAX};
pub use crate::webhook::{DeliverySettings, NewWebhook, WebhookError};

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
    /// Messages for vehicles whose time was over before they could be sent.
    pub downlink_expired: u64,
}

/// The core of the server; a handle that is cheap to clone.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    ingest: Ingest,
    dispatch: Arc<Dispatch>,
    /// Where messages were on their way when the server stopped; until the broker is there.
    unanswered: Mutex<Vec<LaneId>>,
    message_ttl: Duration,
    receipts_for: Vec<AppId>,
    fleet_rate: u32,
    /// Fleet messages are accepted one after the other.
    fleet_turn: tokio::sync::Mutex<()>,
    deliveries: Deliveries,
    uplink_changes: watch::Sender<Cursor>,
    /// What was stamped last for [`Hub::newest`]; locked while the store is asked.
    newest: Arc<tokio::sync::Mutex<StampedCursor>>,
    events: Events,
    /// One permit for each message for a vehicle that is being stored.
    submits: Arc<Semaphore>,
    /// One permit for each read of the store that somebody asked for: a read that waits for another
    /// must not wait on a thread, which the way down may need.
    reads: Arc<Semaphore>,
    stopping: AtomicBool,
}

/// Reads of the store that run at the same time for those who ask; more wait.
const READS_MAX: usize = 8;

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
        let (uplink_changes, _) = watch::channel(store.uplink_end()?);
        let backlog = store.backlog()?;
        let mut presence = PresenceMap::new(settings.presence);
        // Who has held messages was offline when the server stopped, until there are signs of the
        // opposite.
        for vehicle in backlog.iter().filter(|vehicle| vehicle.held_to > 0) {
            presence.set(vehicle.vin, Presence::Offline, SystemTime::now());
        }
        let events = Events::new();
        let ingest = Ingest::start(
            Arc::clone(&store),
            &settings,
            uplink_changes.clone(),
            events.clone(),
            metrics,
        );
        let deliveries = Deliveries::start(
            Arc::clone(&store),
            uplink_changes.subscribe(),
            settings.webhooks_max,
            settings.deliveries,
            metrics,
        )?;
        let lanes = Lanes::new(backlog, settings.bounds());
        let dispatch = Dispatch::new(
            &settings,
            Arc::clone(&store),
            lanes,
            presence,
            events.clone(),
            uplink_changes.clone(),
            metrics,
        );
        let (mut known, mut unanswered) = (Vec::new(), Vec::new());
        for channel in store.channels()? {
            let KnownChannel { vin, uid, .. } = channel;
            if channel.unanswered {
                let uid = uid.clone();
                unanswered.push(LaneId { vin, uid });
            }
            known.push((vin, uid));
        }
        dispatch.know_channels(known);
        for (fleet, vins) in store.open_fleets()? {
            let now = tokio::time::Instant::now();
            dispatch.change_campaigns(|campaigns| campaigns.add(fleet, vins, now));
        }
        let hub = Self {
            inner: Arc::new(Inner {
                store,
                ingest,
                dispatch: Arc::new(dispatch),
                unanswered: Mutex::new(unanswered),
                message_ttl: settings.message_ttl,
                receipts_for: settings.receipts_for,
                fleet_rate: settings.fleet_rate,
                fleet_turn: tokio::sync::Mutex::default(),
                deliveries,
                uplink_changes,
                newest: Arc::new(tokio::sync::Mutex::new(Cursor::default().into())),
                events,
                reads: Arc::new(Semaphore::new(READS_MAX)),
                submits: Arc::new(Semaphore::new(SUBMITS_MAX as usize)),
                stopping: AtomicBool::new(false),
            }),
        };
        hub.resume_requests()?;
        Ok(hub)
    }

    /// Gives the hub its broker, once, and starts to send what was not sent yet. A broker adapter
    /// calls [`link_changed`](crate::broker::BrokerEvents::link_changed) when the way is open; until then
    /// messages wait.
    pub fn attach(&self, broker: Arc<dyn Broker>) {
        let mut unanswered = self.inner.unanswered.lock();
        let unanswered = unanswered.as_deref_mut().map(std::mem::take);
        self.inner
            .dispatch
            .start(broker, unanswered.unwrap_or_default());
    }

    /// How long a message for a vehicle is worth sending where nobody says otherwise.
    #[must_use]
    pub fn message_ttl(&self) -> Duration {
        self.inner.message_ttl
    }

    /// Whether messages for this app carry receipts where nobody says otherwise.
    #[must_use]
    pub fn receipts_for(&self, app: &AppId) -> Receipts {
        match self.inner.receipts_for.contains(app) {
            true => Receipts::Asked,
            false => Receipts::No,
        }
    }

    /// Whether messages may carry receipts though their senders did not ask for any.
    pub(crate) fn has_apps_with_receipts(&self) -> bool {
        !self.inner.receipts_for.is_empty()
    }

    /// The longest content that a vehicle takes from a partner in parts, in bytes, 0 for none; `None` as
    /// long as it has not said.
    pub(crate) fn vehicle_takes(&self, vin: &Vin, uid: &Uid) -> Option<u32> {
        self.inner.dispatch.vehicle_takes(vin, uid)
    }

    /// Uplink messages after `cursor`, oldest first, of one partner or all, of one vehicle or all:
    /// at most `limit`, fewer when they are large or when others lie between them.
    ///
    /// To follow the log: read the position of [`Hub::uplink_changes`], then call this and continue
    /// from where it searched to. When that is the position read before, or later, wait for it to
    /// change; so nothing is missed and nothing is searched twice.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub async fn uplink_after(
        &self,
        cursor: Cursor,
        uid: Option<Uid>,
        vin: Option<Vin>,
        limit: usize,
    ) -> Result<UplinkPage, StoreError> {
        let search =
            move |store: &dyn Store| store.uplink_after(cursor, uid.as_ref(), vin.as_ref(), limit);
        self.read(search).await
    }

    /// The last position of the uplink log.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub async fn uplink_end(&self) -> Result<Cursor, StoreError> {
        self.read(Store::uplink_end).await
    }

    /// The stamp of the entry at a position of the uplink log, if there is one (still).
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub async fn uplink_stamp(&self, cursor: Cursor) -> Result<Option<Stamp>, StoreError> {
        let received_at = self.read(move |store| store.uplink_received_at(cursor));
        Ok(received_at.await?.map(Stamp::of))
    }

    /// A position of the uplink log as it is handed out. From a store that fails it is the position alone,
    /// which is a cursor as well: the next read tells of the failure.
    pub async fn stamped(&self, cursor: Cursor) -> StampedCursor {
        let stamp = self.uplink_stamp(cursor).await.unwrap_or_default();
        StampedCursor { cursor, stamp }
    }

    /// The last position of the uplink log, and every later one.
    #[must_use]
    pub fn uplink_changes(&self) -> watch::Receiver<Cursor> {
        self.inner.uplink_changes.subscribe()
    }

    /// What happens from now on, but for what vehicles send: that is followed in the log.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<HubEvent> {
        self.inner.events.follow()
    }

    /// Tells that what a vehicle sent is refused behind the hub.
    pub(crate) fn tell_refused(
        &self,
        vin: Vin,
        uid: Uid,
        reason: &'static str,
        detail: &dyn std::fmt::Display,
    ) {
        self.inner.events.refused(vin, uid, reason, detail);
    }

    /// What became of a message for a vehicle; `None` when there is none of that name (any more).
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub async fn trace(&self, id: MessageId) -> Result<Option<Trace>, StoreError> {
        self.read(move |store| store.trace(&id)).await
    }

    /// Messages for vehicles that were accepted before a sequence, newest first, and what became of
    /// them: at most `limit`, fewer when they are large or when others lie between them.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub async fn sent_before(
        &self,
        before: u64,
        uid: Option<Uid>,
        limit: usize,
    ) -> Result<SentPage, StoreError> {
        self.read(move |store| store.sent_before(before, uid.as_ref(), limit))
            .await
    }

    /// How many messages for vehicles were not sent yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.inner.dispatch.unsent_messages()
    }

    /// Vehicles of which anything is known, and how many of them are online.
    #[must_use]
    pub fn vehicle_counts(&self) -> (usize, usize) {
        let presence = self.inner.dispatch.presence();
        (presence.known_vehicles(), presence.online())
    }

    /// Vehicles of which anything is known, by VIN: those that sent something to a partner, or all. At
    /// most `limit` behind `after`, and behind which one the next page begins, if there is one.
    #[must_use]
    pub fn vehicles(
        &self,
        after: Option<&Vin>,
        uid: Option<&Uid>,
        limit: usize,
    ) -> (Vec<Vehicle>, Option<Vin>) {
        let presence = self.inner.dispatch.presence();
        presence.vehicles(after, uid, limit)
    }

    /// What is known about a vehicle; `None` when it was never seen, or sent nothing to the partner.
    #[must_use]
    pub fn vehicle(&self, vin: &Vin, uid: Option<&Uid>) -> Option<Vehicle> {
        self.inner.dispatch.presence().vehicle(vin, uid)
    }

    /// What a vehicle reported of its health last, as far as the partner may know of the vehicle.
    #[must_use]
    pub fn vehicle_health(&self, vin: &Vin, uid: Option<&Uid>) -> Option<VehicleHealth> {
        self.inner.dispatch.presence().health(vin, uid).cloned()
    }

    /// Whether the way to the broker is open.
    #[must_use]
    pub fn is_link_up(&self) -> bool {
        self.inner.dispatch.is_link_up()
    }

    /// Whether the store has no room for messages.
    #[must_use]
    pub fn is_store_full(&self) -> bool {
        self.inner.store.is_full()
    }

    /// Waits for the first try to reach the broker; why it failed, if it did.
    ///
    /// # Errors
    /// The reason, as [`link_changed`](crate::broker::BrokerEvents::link_changed) tells it.
    pub async fn link_tried(&self) -> Result<(), String> {
        self.inner.dispatch.link_tried().await
    }

    /// Makes a webhook that gets every uplink message from now on. Dropping the future does not take
    /// that back.
    ///
    /// # Errors
    /// A [`WebhookError`].
    pub async fn add_webhook(&self, webhook: NewWebhook) -> Result<Webhook, WebhookError> {
        let inner = Arc::clone(&self.inner);
        // On a task of its own: one that is in the store must be served, also when the caller goes
        // away.
        let added = tokio::spawn(async move { inner.deliveries.add(webhook).await });
        added.await.unwrap_or_else(|_| Err(writer_gone().into()))
    }

    /// All webhooks.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.read(Store::webhooks).await
    }

    /// Removes a webhook and ends its deliveries; says whether there was one. Dropping the future
    /// does not take that back.
    ///
    /// # Errors
    /// A [`StoreError`] of the write.
    pub async fn remove_webhook(&self, id: &str) -> Result<bool, StoreError> {
        let (inner, id) = (Arc::clone(&self.inner), id.to_owned());
        let removed = tokio::spawn(async move { inner.deliveries.remove(&id).await });
        removed.await.unwrap_or_else(|_| Err(writer_gone()))
    }

    /// What was done since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let up = self.inner.ingest.figures();
        let down = &self.inner.dispatch.figures;
        Counters {
            uplink_stored: up.stored.value(),
            uplink_refused: up.refused.value(),
            uplink_failed: up.failed.value(),
            downlink_accepted: down.accepted.value(),
            downlink_held: down.held.value(),
            downlink_sent: down.sent.value(),
            downlink_rejected: down.rejected.value(),
            downlink_expired: down.expired.value(),
        }
    }

    /// Reads the store when it is this read's turn.
    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // Never closed.
        let turn = Arc::clone(&self.inner.reads).acquire_owned().await;
        let store = Arc::clone(&self.inner.store);
        read(move || {
            // Kept until the read has ended, also when nobody waits for it any more.
            let _turn = turn;
            ask(&*store)
        })
        .await
    }

    /// Takes nothing more on, and returns when everything that was taken on is on disk. Messages
    /// that were not sent yet are sent after the next start.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.stopping.store(true, Ordering::Relaxed);
        inner.ingest.shutdown().await;
        // All permits at once: the last message is stored.
        let all = inner.submits.acquire_many(SUBMITS_MAX).await;
        inner.submits.close();
        drop(all);
        inner.dispatch.shutdown().await;
        inner.deliveries.shutdown().await;
    }
}
