//! Puts messages of fleet messages on their way: each becomes an ordinary message for its vehicle once
//! that can hear us, at the rate that the operator allows.
//!
//! What a fleet message may make wait is half of what its partner may, so that the partner's other
//! messages find room beside it.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{self, Instant};
use vinbus_protocol::id::Vin;

use super::Dispatch;
use crate::hub::SubmitError;
use crate::hub::campaign::{Campaigns, Next};
use crate::hub::lanes::LaneId;
use crate::model::{Presence, Step};
use crate::store::StoreError;
use crate::store::awaited::{read, written};
use crate::store::fleets::{Fleet, FleetId, FleetProgress, FleetState, Put};

/// How long to wait when nothing can be put: the queues or the disk are full, or the link is down.
const REST: Duration = Duration::from_secs(1);

/// Time between two looks at what is to be told of fleet messages.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Looks for which a fleet message that is over is told of after its last change.
const TOLD_AFTER_END: u32 = 60;

impl Dispatch {
    /// The fleet messages that are not over.
    pub(in crate::hub) fn campaigns(&self) -> MutexGuard<'_, Campaigns> {
        let campaigns = self.campaigns.lock();
        campaigns.unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes them, and lets the feeder look.
    pub(in crate::hub) fn change_campaigns<T>(
        &self,
        change: impl FnOnce(&mut Campaigns) -> T,
    ) -> T {
        let value = change(&mut self.campaigns());
        self.feed.notify_one();
        value
    }

    /// A vehicle can hear us.
    pub(super) fn vehicle_is_there(&self, vin: &Vin) {
        if self.campaigns().vehicle_is_there(vin) {
            self.feed.notify_one();
        }
    }

    /// Puts messages on their way until the server stops.
    pub(super) async fn feed(&self) {
        self.finish_withdrawals().await;
        let mut stopping = self.stopping.subscribe();
        while !self.is_stopping() {
            let now = Instant::now();
            let next = match self.is_link_up() {
                true => {
                    let is_there = |vin: &Vin| self.presence().of(vin) != Presence::Offline;
                    self.campaigns().next(now, SystemTime::now(), is_there)
                }
                false => Next::Wait(Some(now + REST)),
            };
            match next {
                Next::Put(fleet, vins) => self.put(&fleet, vins).await,
                Next::Finish(number) => self.finish_fleet(number).await,
                Next::Again => tokio::task::yield_now().await,
                Next::Wait(until) => {
                    tokio::select! {
                        () = self.feed.notified() => {}
                        () = super::until(until) => {}
                        _ = stopping.wait_for(|stop| *stop) => {}
                    }
                }
            }
        }
    }

    /// Appends the messages for some vehicles, which share a transaction.
    async fn put(&self, fleet: &Fleet, vins: Vec<Vin>) {
        let bytes = fleet.envelope.len() as u64;
        let now = SystemTime::now();
        let mut pending = Vec::with_capacity(vins.len());
        for vin in vins {
            let lane = LaneId {
                vin,
                uid: fleet.uid.clone(),
            };
            match self.change_lanes(|lanes| lanes.reserve_for_fleet(&lane, bytes)) {
                Ok(()) => {
                    let put =
                        self.store
                            .put_fleet_message(fleet.number, fleet.message_for(vin), now);
                    pending.push((lane, put));
                }
                Err(SubmitError::VehicleQueueFull { .. }) => {
                    self.campaigns().full(fleet.number, &vin, Instant::now());
                }
                Err(_) => {
                    let mut campaigns = self.campaigns();
                    campaigns.not_put(fleet.number, &vin);
                    campaigns.rest(Instant::now() + REST);
                }
            }
        }
        for (lane, put) in pending {
            let put = written(put).await;
            let mut campaigns = self.campaigns();
            match &put {
                Ok(Put::Put(_) | Put::Already) => campaigns.put(fleet.number, &lane.vin),
                Ok(Put::NotRunning) => campaigns.not_put(fleet.number, &lane.vin),
                Err(_) => {
                    campaigns.not_put(fleet.number, &lane.vin);
                    campaigns.rest(Instant::now() + REST);
                }
            }
            drop(campaigns);
            match put {
                Ok(Put::Put(downlink)) => {
                    // Before a worker can tell of the next step.
                    self.events.step(&downlink, Step::Accepted, now);
                    self.change_lanes(|lanes| lanes.accepted(&lane, &downlink));
                    self.figures.accepted.increment();
                }
                Ok(Put::Already | Put::NotRunning) => {
                    self.change_lanes(|lanes| lanes.not_stored(&lane, bytes));
                }
                Err(error) => {
                    self.change_lanes(|lanes| lanes.not_stored(&lane, bytes));
                    self.log_error(&error, "a fleet message could not be put on its way");
                }
            }
        }
    }

    async fn finish_fleet(&self, number: u64) {
        let state = FleetState::Finished;
        let set = self.store.set_fleet_state(number, state, SystemTime::now());
        match written(set).await {
            Ok(state) => self.change_campaigns(|campaigns| campaigns.set_state(number, state)),
            Err(error) => {
                self.log_error(&error, "the end of a fleet message could not be noted");
                let mut stopping = self.stopping.subscribe();
                let _ = time::timeout(REST, stopping.wait_for(|stop| *stop)).await;
            }
        }
    }

    /// Lets expire what was put of a cancelled fleet message and is not sent.
    ///
    /// # Errors
    /// A [`StoreError`] of the write.
    pub(in crate::hub) async fn withdraw_fleet(&self, number: u64) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let withdrawn = self.store.withdraw_fleet(number, after, SystemTime::now());
            after = written(withdrawn).await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// The server may have been killed in the middle of it.
    async fn finish_withdrawals(&self) {
        let store = Arc::clone(&self.store);
        let cancelled = match read(move || store.cancelled_fleets()).await {
            Ok(cancelled) => cancelled,
            Err(error) => return self.log_error(&error, "fleet messages could not be read"),
        };
        for number in cancelled {
            if let Err(error) = self.withdraw_fleet(number).await {
                self.log_error(&error, "a fleet message could not be withdrawn");
            }
        }
    }

    /// Tells followers of events, once a second, how far fleet messages are that have changed.
    pub(super) async fn tell_fleets(&self) {
        let mut told: HashMap<FleetId, (FleetProgress, u32)> = HashMap::new();
        let mut stopping = self.stopping.subscribe();
        while time::timeout(TELL_INTERVAL, stopping.wait_for(|stop| *stop))
            .await
            .is_err()
        {
            let mut ids = self.campaigns().take_ids();
            if self.fleet_events.receiver_count() == 0 {
                told.clear();
                continue;
            }
            told.retain(|_, (_, looks)| *looks < TOLD_AFTER_END);
            ids.extend(
                told.keys()
                    .filter(|id| !ids.contains(id))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            for id in ids {
                let store = Arc::clone(&self.store);
                let of = id.clone();
                let progress = match read(move || store.fleet(&of)).await {
                    Ok(Some(progress)) => progress,
                    Ok(None) => continue,
                    Err(error) => {
                        self.log_error(&error, "a fleet message could not be read");
                        continue;
                    }
                };
                let over = progress.fleet.state.is_over();
                match told.get_mut(&id) {
                    Some((before, looks)) if *before == progress => *looks += u32::from(over),
                    _ => {
                        // Somebody may have gone meanwhile.
                        let _ = self.fleet_events.send(Arc::new(progress.clone()));
                        told.insert(id, (progress, 0));
                    }
                }
            }
        }
    }
}
