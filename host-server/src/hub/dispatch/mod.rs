//! The way down: sends what is in the store, in order per partner and vehicle. A few workers take lanes
//! in turn (see `lanes`, `worker`).
//!
//! A vehicle is sent no faster than its link is said to carry (see `pace`): a lane whose turn has not
//! come rests until then.
//!
//! A message whose time is over is not sent any more: a worker that comes to it notes it as expired,
//! and one more task looks for those that wait in lanes which nobody runs (see `expiry`).
//!
//! A message whose sender asked for receipts becomes the channel's (see `receipts`, `admission`), a long one
//! part by part (see `parts`).

mod figures;
mod notes;
mod signs;
mod traffic;

mod expiry;
mod feeder;
mod worker;

mod admission;
mod channel;
mod driver;
mod ledger;
mod parts;
mod places;
mod receipts;
pub(super) mod requests;
mod rings;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio::time;
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicScheme, TopicText};
use vinbus_transport_std::guards::LogThrottle;

use self::figures::Figures;
use self::receipts::Channels;
pub(super) use self::receipts::Driven;
use self::requests::Requests;
use super::campaign::Campaigns;
use super::events::Events;
use super::lanes::{LaneId, Lanes};
use super::pace::Paces;
use super::presence::PresenceMap;
use super::settings::Settings;
use crate::broker::{Broker, PublishError};
use crate::metrics::Metrics;
use crate::model::Cursor;
use crate::store::fleets::FleetProgress;
use crate::store::{Store, StoreError};

/// Lanes that are served at the same time.
const WORKERS: usize = 32;

/// Messages of channels that are read at the same time; more wait, and not on a thread.
const CHANNEL_READS_MAX: usize = 4;

/// Messages of channels that are read and handed to the broker at the same time, of at most 128 KiB each: they
/// take 32 MiB of memory, however many vehicles take nothing. More wait, and are counted.
const CHANNEL_PUBLISHES_MAX: usize = 256;

/// Changes of fleet messages that wait for who follows them.
const FLEET_EVENTS_MAX: usize = 64;

/// What the workers share.
pub(super) struct Dispatch {
    topics: TopicScheme,
    store: Arc<dyn Store>,
    lanes: Mutex<Lanes>,
    presence: Mutex<PresenceMap>,
    paces: Mutex<Paces>,
    work: Notify,
    /// Whether the way to the broker is open, and why not; nothing before the first try.
    link: watch::Sender<Option<Result<(), String>>>,
    /// From the start of the workers until their end.
    broker: Mutex<Option<Arc<dyn Broker>>>,
    channels: Channels,
    channel_reads: Semaphore,
    channel_publishes: Semaphore,
    campaigns: Mutex<Campaigns>,
    /// Wakes the feeder.
    feed: Notify,
    pub(super) fleet_events: broadcast::Sender<Arc<FleetProgress>>,
    requests: Requests,
    /// The positions of the uplink log that are on disk.
    changes: watch::Sender<Cursor>,
    begin: time::Instant,
    stopping: watch::Sender<bool>,
    workers: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    events: Events,
    log: LogThrottle,
    crash_log: LogThrottle,
    older_log: LogThrottle,
    pub(super) figures: Figures,
}

impl Dispatch {
    pub(super) fn new(
        settings: &Settings,
        store: Arc<dyn Store>,
        lanes: Lanes,
        presence: PresenceMap,
        events: Events,
        changes: watch::Sender<Cursor>,
        metrics: &Metrics,
    ) -> Self {
        let dispatch = Self {
            topics: settings.topics.clone(),
            store,
            lanes: Mutex::new(lanes),
            presence: Mutex::new(presence),
            paces: Mutex::new(Paces::new(settings.vehicle_rate)),
            work: Notify::new(),
            link: watch::Sender::new(None),
            broker: Mutex::default(),
            channels: Channels::default(),
            channel_reads: Semaphore::new(CHANNEL_READS_MAX),
            channel_publishes: Semaphore::new(CHANNEL_PUBLISHES_MAX),
            campaigns: Mutex::new(Campaigns::new(settings.fleet_rate, time::Instant::now())),
            feed: Notify::new(),
            fleet_events: broadcast::Sender::new(FLEET_EVENTS_MAX),
            requests: Requests::new(metrics),
            changes,
            begin: time::Instant::now(),
            stopping: watch::Sender::new(false),
            workers: Mutex::default(),
            events,
            log: LogThrottle::default(),
            crash_log: LogThrottle::default(),
            older_log: LogThrottle::default(),
            figures: Figures::new(metrics),
        };
        let unsent = dispatch.lanes().unsent();
        dispatch.figures.unsent.set(unsent as i64);
        dispatch
    }

    /// Starts the workers on `broker`; a second call changes nothing. Only the workers keep the
    /// broker: it knows the hub, and so the hub is free again when they have ended.
    pub(super) fn start(self: &Arc<Self>, broker: Arc<dyn Broker>, unanswered: Vec<LaneId>) {
        let mut running = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.is_empty() || self.is_stopping() {
            return;
        }
        *self.broker.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&broker));
        running.push(tokio::spawn(Arc::clone(self).resume_channels(unanswered)));
        running.extend(std::iter::repeat_n(broker, WORKERS).map(|broker| {
            let dispatch = Arc::clone(self);
            tokio::spawn(async move { dispatch.work(&*broker).await })
        }));
        let dispatch = Arc::clone(self);
        running.push(tokio::spawn(async move { dispatch.expire().await }));
        let dispatch = Arc::clone(self);
        running.push(tokio::spawn(async move { dispatch.feed().await }));
        let dispatch = Arc::clone(self);
        running.push(tokio::spawn(async move { dispatch.tell_fleets().await }));
        drop(running);
        self.wake_all();
    }

    /// Ends the workers; each notes first what it has sent.
    pub(super) async fn shutdown(&self) {
        self.stopping.send_replace(true);
        let workers = {
            let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *workers)
        };
        for worker in workers {
            // A panic of a worker was printed by itself.
            let _ = worker.await;
        }
        self.end_channels().await;
        *self.broker.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn broker(&self) -> Option<Arc<dyn Broker>> {
        let broker = self.broker.lock();
        broker.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Steps are told in the uplink log up to this position.
    fn tell_changes(&self, told: Option<Cursor>) {
        if let Some(told) = told {
            advance(&self.changes, told);
        }
    }

    /// Changes the lanes and gives the workers their chance.
    pub(super) fn change_lanes<T>(&self, change: impl FnOnce(&mut Lanes) -> T) -> T {
        let mut lanes = self.lanes();
        let value = change(&mut lanes);
        self.figures.unsent.set(lanes.unsent() as i64);
        drop(lanes);
        self.work.notify_one();
        value
    }

    /// How many messages were not sent yet.
    pub(super) fn unsent_messages(&self) -> usize {
        self.lanes().unsent()
    }

    pub(super) fn set_link(&self, up: Result<(), String>) {
        self.figures.link.set(i64::from(up.is_ok()));
        let is_up = up.is_ok();
        let before = self.link.send_replace(Some(up));
        self.refresh_all();
        self.feed.notify_one();
        if is_up && before != Some(Ok(())) {
            self.wake_all();
        }
    }

    /// What became of the first try to reach the broker, or of the latest.
    pub(super) async fn link_tried(&self) -> Result<(), String> {
        let mut link = self.link.subscribe();
        let tried = link.wait_for(Option::is_some).await;
        // The sender is our own.
        tried.ok().and_then(|link| link.clone()).unwrap_or(Ok(()))
    }

    pub(super) fn is_link_up(&self) -> bool {
        matches!(&*self.link.borrow(), Some(Ok(())))
    }

    pub(super) fn presence(&self) -> MutexGuard<'_, PresenceMap> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        self.change_lanes(Lanes::wake_all);
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Whether a partner may send to a vehicle now; else when to ask again.
    fn ask_pace(&self, lane: &LaneId) -> Result<(), time::Instant> {
        let asked = self.paces().ask(self.now_ms(), lane);
        asked.map_err(|at_ms| self.at(at_ms))
    }

    /// A time in milliseconds since this was made.
    fn at(&self, ms: u64) -> time::Instant {
        self.begin + Duration::from_millis(ms)
    }

    fn paces(&self) -> MutexGuard<'_, Paces> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a payload to the broker.
    async fn publish_to(
        &self,
        broker: &dyn Broker,
        lane: &LaneId,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        let topic = self.downlink_topic(&lane.uid, &lane.vin)?;
        let bytes = payload.len();
        let publish = broker.publish(&topic, payload);
        let published = time::timeout(broker.patience(), publish).await;
        let published = published.unwrap_or(Err(PublishError::LinkDown));
        if published.is_ok() {
            self.paces().sent(self.now_ms(), lane, bytes);
        }
        published
    }

    fn downlink_topic(&self, uid: &Uid, vin: &Vin) -> Result<TopicText, PublishError> {
        self.topics
            .publish_topic(Direction::Downlink, uid, vin, None)
            .map_err(|error| PublishError::Rejected {
                detail: error.to_string(),
            })
    }

    fn log_error(&self, error: &StoreError, what: &str) {
        if let Some(unlogged) = self.log.pass(Instant::now()) {
            tracing::error!(%error, unlogged, "{what}; will try again");
        }
    }
}

/// Moves on to a position of the uplink log, unless it is behind already.
pub(super) fn advance(changes: &watch::Sender<Cursor>, to: Cursor) {
    changes.send_if_modified(|cursor| {
        let is_further = to > *cursor;
        *cursor = to.max(*cursor);
        is_further
    });
}

/// Waits for a time, if there is one.
async fn until(time: Option<time::Instant>) {
    match time {
        Some(time) => time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
