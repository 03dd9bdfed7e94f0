//! Fleet messages as partners ask for them: made, paused, resumed, cancelled, looked at.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::sync::broadcast;
use tokio::time::Instant;
use vinbus_protocol::id::{Uid, Vin};

use super::Hub;
use super::campaign::{FLEET_VEHICLES_MAX, FLEETS_OPEN_MAX, PARTNER_FLEETS_OPEN_MAX};
use crate::model::Presence;
use crate::store::StoreError;
use crate::store::awaited::{writer_gone, written};
use crate::store::fleets::{FleetId, FleetProgress, FleetState, FleetVehicle, NewFleet};

/// Why a fleet message was not accepted, or not changed. Nothing of it remains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// It is for nobody.
    #[error("the fleet message is for no vehicle")]
    Nobody,
    /// It is for too many.
    #[error(
        "the fleet message is for {count} vehicles, at most {FLEET_VEHICLES_MAX} are allowed; make several"
    )]
    TooManyVehicles {
        /// Vehicles.
        count: usize,
    },
    /// The partner has as many that are not over as it may.
    #[error(
        "{PARTNER_FLEETS_OPEN_MAX} fleet messages of partner {uid} are not over yet, its limit; wait \
         for one, or cancel it"
    )]
    PartnerTooMany {
        /// The partner.
        uid: Uid,
    },
    /// All partners have.
    #[error("{FLEETS_OPEN_MAX} fleet messages are not over yet, the limit of this server")]
    TooMany,
    /// It is over, and stays so.
    #[error("the fleet message is {}, which is for good", state.name())]
    Over {
        /// As what.
        state: FleetState,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Stopping,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Hub {
    /// Accepts a message for many vehicles: when this returns, it is on disk. Dropping the future does
    /// not take it back. Its vehicles may be in any order; one that stands twice counts once.
    ///
    /// # Errors
    /// A [`FleetError`]; nothing remains.
    pub async fn submit_fleet(&self, mut fleet: NewFleet) -> Result<FleetProgress, FleetError> {
        fleet.vins.sort_unstable();
        fleet.vins.dedup();
        fleet.per_second = fleet.per_second.clamp(1, self.fleet_rate());
        match fleet.vins.len() {
            0 => return Err(FleetError::Nobody),
            count if count > FLEET_VEHICLES_MAX => {
                return Err(FleetError::TooManyVehicles { count });
            }
            _ => {}
        }
        let inner = Arc::clone(&self.inner);
        // On a task of its own: one that is in the store must be carried out, also when the caller
        // goes away.
        let added = tokio::spawn(async move {
            // One at a time, so that those that are counted are all there are.
            let _turn = inner.fleet_turn.lock().await;
            if inner.stopping.load(Ordering::Relaxed) {
                return Err(FleetError::Stopping);
            }
            let (all, own) = inner.dispatch.campaigns().open(&fleet.uid);
            if all >= FLEETS_OPEN_MAX {
                return Err(FleetError::TooMany);
            }
            if own >= PARTNER_FLEETS_OPEN_MAX {
                return Err(FleetError::PartnerTooMany { uid: fleet.uid });
            }
            let vins = fleet.vins.clone();
            let added = written(inner.store.add_fleet(fleet, SystemTime::now())).await?;
            let now = Instant::now();
            let campaign = added.clone();
            inner
                .dispatch
                .change_campaigns(|campaigns| campaigns.add(campaign, vins, now));
            Ok(FleetProgress {
                fleet: added,
                steps: Vec::new(),
            })
        });
        let added = added.await;
        added.unwrap_or_else(|_| Err(writer_gone().into()))
    }

    /// Messages of fleet messages that are put on their way in a second at most, all together.
    #[must_use]
    pub fn fleet_rate(&self) -> u32 {
        self.inner.fleet_rate
    }

    /// How far fleet messages are, told once a second of those that change.
    #[must_use]
    pub fn fleet_changes(&self) -> broadcast::Receiver<Arc<FleetProgress>> {
        self.inner.dispatch.fleet_events.subscribe()
    }

    /// Pauses, resumes or cancels a fleet message. What is on its way then is not held up by a pause; when
    /// it is cancelled, what was not sent expires.
    ///
    /// # Errors
    /// A [`FleetError`]: it is over in another way.
    pub async fn set_fleet_state(&self, number: u64, state: FleetState) -> Result<(), FleetError> {
        let inner = Arc::clone(&self.inner);
        let changed = tokio::spawn(async move {
            let set = inner
                .store
                .set_fleet_state(number, state, SystemTime::now());
            let now = written(set).await?;
            inner
                .dispatch
                .change_campaigns(|campaigns| campaigns.set_state(number, now));
            if now != state {
                return Err(FleetError::Over { state: now });
            }
            if state == FleetState::Cancelled {
                inner.dispatch.withdraw_fleet(number).await?;
            }
            Ok(())
        });
        let changed = changed.await;
        changed.unwrap_or_else(|_| Err(writer_gone().into()))
    }

    /// A fleet message and how far its messages are; `None` when there is none of that name (any more).
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub async fn fleet(&self, id: FleetId) -> Result<Option<FleetProgress>, StoreError> {
        self.read(move |store| store.fleet(&id)).await
    }

    /// Fleet messages before a number, of one partner or all, newest first.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub async fn fleets_before(
        &self,
        before: u64,
        uid: Option<Uid>,
        limit: usize,
    ) -> Result<Vec<FleetProgress>, StoreError> {
        self.read(move |store| store.fleets_before(before, uid.as_ref(), limit))
            .await
    }

    /// Vehicles of a fleet message behind one, in order.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub async fn fleet_vehicles(
        &self,
        number: u64,
        after: Option<Vin>,
        limit: usize,
    ) -> Result<Vec<FleetVehicle>, StoreError> {
        self.read(move |store| store.fleet_vehicles(number, after.as_ref(), limit))
            .await
    }

    /// Vehicles that have sent something to a partner, with this prefix and that presence; `None` of
    /// either is any. No more than one beyond what a fleet message may be for.
    #[must_use]
    pub fn vehicles_of(&self, uid: &Uid, prefix: &str, presence: Option<Presence>) -> Vec<Vin> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = self.vehicles(after.as_ref(), Some(uid), 1_000);
            let fits = page.into_iter().filter(|vehicle| {
                vehicle.vin.as_str().starts_with(prefix)
                    && presence.is_none_or(|presence| vehicle.presence == presence)
            });
            found.extend(fits.map(|vehicle| vehicle.vin));
            after = next;
            if after.is_none() || found.len() > FLEET_VEHICLES_MAX {
                found.truncate(FLEET_VEHICLES_MAX + 1);
                return found;
            }
        }
    }
}
