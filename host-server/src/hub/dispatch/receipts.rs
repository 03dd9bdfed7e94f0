//! Delivery with receipts (SPEC 16): a task for each channel, which notes what is told and then
//! sends what is due.
//!
//! A worker that comes to a message whose sender asked for receipts gives it a number, and hands it to the
//! channel (see `admission`).
//!
//! Channels are loaded when they are needed, and dropped when the vehicle goes and nothing of them is
//! only in memory (see `places`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio::time;
use vinbus_protocol::delivery::{self, Control, Epoch, Header, Offer, Snapshot, Verdict};
use vinbus_protocol::id::{Uid, Vin};

use super::Dispatch;
use super::channel::Channel;
use super::driver::random_word;
use super::places::{Place, Places};
use crate::hub::lanes::LaneId;
use crate::hub::presence::VEHICLES_MAX;
use crate::model::Presence;
use crate::store::StoreError;
use crate::store::awaited::read;
use crate::store::channels::KeptChannel;

/// All channels, and their tasks.
pub(super) struct Channels {
    known: Mutex<Places>,
    /// One is loaded at a time, and so none twice.
    loading: tokio::sync::Mutex<()>,
    tasks: Mutex<tokio::task::JoinSet<()>>,
}

impl Default for Channels {
    fn default() -> Self {
        Self {
            // As many as may be online.
            known: Mutex::new(Places::new(VEHICLES_MAX)),
            loading: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
        }
    }
}

/// A channel and what wakes its task.
pub(in crate::hub) struct Driven {
    pub(super) lane: LaneId,
    channel: Mutex<Channel>,
    pub(super) work: Notify,
    begin: time::Instant,
}

impl Driven {
    /// With the time from which the channel's own counts.
    pub(super) fn new(lane: LaneId, channel: Channel, begin: time::Instant) -> Self {
        Self {
            lane,
            channel: Mutex::new(channel),
            work: Notify::new(),
            begin,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Channel> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message that came is on disk, or could not be written.
    pub(in crate::hub) fn stored(&self, id: delivery::MessageId, stored: bool) {
        self.lock().stored(now_ms(self.begin), id, stored);
        self.work.notify_one();
    }

    /// A part that came has met its end.
    pub(in crate::hub) fn over(&self, id: delivery::MessageId, step: delivery::Step) {
        self.lock().over(now_ms(self.begin), id, step);
        self.work.notify_one();
    }
}

/// Milliseconds since then.
fn now_ms(begin: time::Instant) -> u64 {
    begin.elapsed().as_millis() as u64
}

impl Dispatch {
    /// Knows of channels that are on disk.
    pub(in crate::hub) fn know_channels(&self, known: impl IntoIterator<Item = (Vin, Uid)>) {
        let mut channels = self.known_channels();
        for (vin, uid) in known {
            // Of those for which there is no room, the vehicles' next word is awaited.
            channels.put(&LaneId { vin, uid }, Place::Disk { met: false }, |_| false);
        }
    }

    /// Goes on with the messages that were on their way when the server stopped.
    pub(super) async fn resume_channels(self: Arc<Self>, lanes: Vec<LaneId>) {
        for lane in lanes {
            if self.is_stopping() {
                return;
            }
            if let Err(error) = self.channel(&lane).await {
                self.log_error(&error, "messages on their way could not be read");
            }
        }
    }

    /// A vehicle reported to a partner that it is there; with an offer, that it speaks delivery.
    pub(in crate::hub) async fn announced(self: &Arc<Self>, lane: LaneId, offer: Option<Offer>) {
        if offer.is_none() {
            let mut known = self.known_channels();
            match known.of(&lane) {
                Some(Place::Memory(driven)) => {
                    let mut channel = driven.lock();
                    channel.announced(self.now_ms(), None);
                    channel.set_link(self.now_ms(), false);
                }
                // Where there is no room, its messages wait for another word.
                Some(Place::Disk { .. } | Place::Silent) | None => {
                    known.put(&lane, Place::Silent, |vin| self.is_online(vin));
                }
            }
        } else {
            let told = self
                .with_channel(&lane, |channel, now_ms, up| {
                    channel.announced(now_ms, offer);
                    channel.set_link(now_ms, up);
                })
                .await;
            if let Err(error) = told {
                self.log_error(&error, "a vehicle's offer of delivery could not be noted");
            }
        }
        self.change_lanes(|lanes| lanes.wake(&lane));
    }

    /// Takes the header of a message that came; `None` when the vehicle has too many channels.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub(in crate::hub) async fn numbered_arrived(
        self: &Arc<Self>,
        lane: &LaneId,
        header: &Header,
    ) -> Result<Option<(Verdict, Arc<Driven>)>, StoreError> {
        let taken = self.with_driven(lane, |driven, channel, now_ms, _| {
            let verdict = channel.handle_message(now_ms, header);
            (verdict, Arc::clone(driven))
        });
        taken.await
    }

    /// Takes a message of delivery's own.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub(in crate::hub) async fn control_arrived(
        self: &Arc<Self>,
        lane: &LaneId,
        control: &Control<'_>,
    ) -> Result<(), StoreError> {
        let told = self.with_channel(lane, |channel, now_ms, _| {
            channel.handle_control(now_ms, control);
        });
        told.await
    }

    /// A vehicle's presence changed.
    pub(super) fn refresh_vehicle(&self, vin: Vin) {
        let mut known = self.known_channels();
        known.retain_of(
            &vin,
            |place| self.refresh(place, self.is_reachable(&vin)),
            |vin| self.is_online(vin),
        );
    }

    /// A vehicle's connection is over.
    pub(super) fn vehicle_left(&self, vin: &Vin) {
        let mut known = self.known_channels();
        known.forget_silence(vin);
        for driven in known.in_memory(vin) {
            driven.lock().forget_silence();
        }
    }

    /// The way to the broker opened or closed.
    pub(super) fn refresh_all(&self) {
        let mut known = self.known_channels();
        known.retain(
            |vin, place| self.refresh(place, self.is_reachable(vin)),
            |vin| self.is_online(vin),
        );
    }

    /// Tells a channel in memory whether its vehicle can be reached; says whether its place is worth keeping.
    fn refresh(&self, place: &mut Place, up: bool) -> bool {
        let Place::Memory(driven) = place else {
            return true;
        };
        let mut channel = driven.lock();
        channel.set_link(self.now_ms(), up);
        let closed = !up && channel.close_if_idle();
        let (speaks, met) = (channel.speaks(), channel.has_met());
        drop(channel);
        driven.work.notify_one();
        if closed {
            *place = Place::Disk { met };
        }
        // The word of one that does not speak delivery is awaited when it is back.
        speaks || !closed
    }

    /// Ends the tasks of the channels; each notes first what it was told.
    pub(super) async fn end_channels(&self) {
        let mut tasks = {
            let mut tasks = self.channel_tasks();
            std::mem::take(&mut *tasks)
        };
        // A panic of a task was printed by itself.
        while tasks.join_next().await.is_some() {}
    }

    async fn with_channel(
        self: &Arc<Self>,
        lane: &LaneId,
        tell: impl FnMut(&mut Channel, u64, bool),
    ) -> Result<(), StoreError> {
        let mut tell = tell;
        let told = self.with_driven(lane, |_, channel, now_ms, up| tell(channel, now_ms, up));
        told.await.map(|_| ())
    }

    /// Tells a channel something, with the time and whether the vehicle can be reached, and wakes its
    /// task. `None` when the vehicle has too many.
    pub(super) async fn with_driven<T>(
        self: &Arc<Self>,
        lane: &LaneId,
        mut tell: impl FnMut(&Arc<Driven>, &mut Channel, u64, bool) -> T,
    ) -> Result<Option<T>, StoreError> {
        loop {
            let Some(driven) = self.channel(lane).await? else {
                return Ok(None);
            };
            let mut channel = driven.lock();
            if channel.is_closed() {
                continue;
            }
            let up = self.is_reachable(&lane.vin);
            let told = tell(&driven, &mut channel, self.now_ms(), up);
            drop(channel);
            driven.work.notify_one();
            return Ok(Some(told));
        }
    }

    /// A channel, which is loaded or made if need be.
    async fn channel(self: &Arc<Self>, lane: &LaneId) -> Result<Option<Arc<Driven>>, StoreError> {
        if let Some(driven) = self.loaded(lane) {
            return Ok(Some(driven));
        }
        let _turn = self.channels.loading.lock().await;
        if let Some(driven) = self.loaded(lane) {
            return Ok(Some(driven));
        }
        let (store, LaneId { vin, uid }) = (Arc::clone(&self.store), lane.clone());
        let stored = read(move || store.channel(&vin, &uid)).await?;
        let is_new = stored.is_none();
        let kept = stored.unwrap_or_else(new_channel);
        let mut channel = Channel::new(self.now_ms(), kept, is_new, random_word());
        let mut known = self.known_channels();
        match known.of(lane) {
            Some(Place::Silent) => channel.announced(self.now_ms(), None),
            Some(Place::Disk { met: true }) => channel.set_met(),
            _ => {}
        }
        channel.set_link(self.now_ms(), self.is_reachable(&lane.vin));
        let driven = Arc::new(Driven::new(lane.clone(), channel, self.begin));
        let place = Place::Memory(Arc::clone(&driven));
        if !known.put(lane, place, |vin| self.is_online(vin)) {
            return Ok(None);
        }
        drop(known);
        self.start_driving(Arc::clone(&driven));
        Ok(Some(driven))
    }

    pub(super) fn loaded(&self, lane: &LaneId) -> Option<Arc<Driven>> {
        let known = self.known_channels();
        match known.of(lane)? {
            Place::Memory(driven) => Some(Arc::clone(driven)),
            Place::Disk { .. } | Place::Silent => None,
        }
    }

    fn start_driving(self: &Arc<Self>, driven: Arc<Driven>) {
        let mut tasks = self.channel_tasks();
        while tasks.try_join_next().is_some() {}
        let dispatch = Arc::clone(self);
        tasks.spawn(async move { dispatch.drive(&driven).await });
    }

    pub(super) fn is_reachable(&self, vin: &Vin) -> bool {
        self.is_link_up() && self.presence().of(vin) != Presence::Offline
    }

    fn is_online(&self, vin: &Vin) -> bool {
        self.presence().of(vin) == Presence::Online
    }

    /// Milliseconds since this was made.
    pub(super) fn now_ms(&self) -> u64 {
        now_ms(self.begin)
    }

    pub(super) fn known_channels(&self) -> MutexGuard<'_, Places> {
        let known = self.channels.known.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    fn channel_tasks(&self) -> MutexGuard<'_, tokio::task::JoinSet<()>> {
        let tasks = self.channels.tasks.lock();
        tasks.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A channel of which nothing is on disk.
fn new_channel() -> KeptChannel {
    KeptChannel {
        memory: Snapshot::fresh(new_epoch()),
        numbered: Vec::new(),
        part: None,
    }
}

/// A server without a memory of the channel: greater than every epoch that it had before, as clocks
/// go.
fn new_epoch() -> Epoch {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since_1970.map_or(0, |age| age.as_secs());
    Epoch::at(seconds).unwrap_or(Epoch::FIRST)
}
