//! What the server keeps of fleet messages: one message for many vehicles (SPEC 9.9).
//!
//! A fleet message is one row, its vehicles included, so it is on disk at once and whole, however many
//! they are. A vehicle has a row of its own from when its message is put on its way: the same
//! transaction appends that message, so it is put once whatever happens.

use std::time::SystemTime;

use bytes::Bytes;
use vinbus_protocol::id::{AppId, Uid, Vin};

use super::{Pending, StoreError};
use crate::model::{Downlink, MessageId, NewDownlink, Receipts, Step};

/// Names one fleet message for its whole life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FleetId(pub String);

impl std::fmt::Display for FleetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether messages of a fleet message are put on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetState {
    /// They are, as vehicles can hear them.
    Running,
    /// Not now.
    Paused,
    /// Never more, as somebody wanted it so.
    Cancelled,
    /// Never more: all are, or their time is over.
    Finished,
}

impl FleetState {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Cancelled, Self::Finished];

    /// The word for it that everybody is told.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Finished => "finished",
        }
    }

    /// Whether it stays so.
    #[must_use]
    pub const fn is_over(self) -> bool {
        match self {
            Self::Running | Self::Paused => false,
            Self::Cancelled | Self::Finished => true,
        }
    }
}

/// A message for many vehicles, as accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFleet {
    /// The partner whose topics carry it.
    pub uid: Uid,
    /// The app.
    pub app: AppId,
    /// The encoded envelope: exactly the MQTT payload.
    pub envelope: Bytes,
    /// When it is not worth sending any more.
    pub expires_at: SystemTime,
    /// Whether its sender wants to be told what became of it in the cars.
    pub receipts: Receipts,
    /// Messages that are put on their way in a second at most.
    pub per_second: u32,
    /// The vehicles, in order and each once.
    pub vins: Vec<Vin>,
}

/// A stored fleet message, without its vehicles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Its name.
    pub id: FleetId,
    /// Its place in the order of acceptance.
    pub number: u64,
    /// The partner.
    pub uid: Uid,
    /// The app.
    pub app: AppId,
    /// The encoded envelope.
    pub envelope: Bytes,
    /// When it was accepted.
    pub accepted_at: SystemTime,
    /// When it is not worth sending any more.
    pub expires_at: SystemTime,
    /// Whether its messages carry receipts.
    pub receipts: Receipts,
    /// Messages that are put on their way in a second at most.
    pub per_second: u32,
    /// Whether they are.
    pub state: FleetState,
    /// How many vehicles it is for.
    pub vehicles: usize,
}

impl Fleet {
    /// Its message for one vehicle.
    #[must_use]
    pub fn message_for(&self, vin: Vin) -> NewDownlink {
        NewDownlink {
            uid: self.uid.clone(),
            vin,
            app: self.app.clone(),
            envelope: self.envelope.clone(),
            expires_at: self.expires_at,
            receipts: self.receipts,
            key: None,
        }
    }
}

/// A fleet message, and how far its messages are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetProgress {
    /// The fleet message.
    pub fleet: Fleet,
    /// How many messages have which last step.
    pub steps: Vec<(Step, usize)>,
}

impl FleetProgress {
    /// Vehicles whose messages are not on their way yet, or never will be.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let begun: usize = self.steps.iter().map(|(_, count)| count).sum();
        self.fleet.vehicles.saturating_sub(begun)
    }
}

/// One vehicle of a fleet message, and its message with the last step, once that is on its way.
pub type FleetVehicle = (Vin, Option<(MessageId, Step)>);

/// What became of a message of a fleet message that was to be put on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is on its way.
    Put(Box<Downlink>),
    /// It was before.
    Already,
    /// The fleet message is not running.
    NotRunning,
}

/// What the server keeps of fleet messages. A store that keeps none needs nothing of it.
pub trait FleetStore {
    /// Adds a fleet message, which is running.
    fn add_fleet(&self, _fleet: NewFleet, _now: SystemTime) -> Pending<Fleet> {
        keeps_none()
    }

    /// Fleet messages that are not over, each with the vehicles whose messages are not on their way.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn open_fleets(&self) -> Result<Vec<(Fleet, Vec<Vin>)>, StoreError> {
        Ok(Vec::new())
    }

    /// The numbers of fleet messages that were cancelled.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn cancelled_fleets(&self) -> Result<Vec<u64>, StoreError> {
        Ok(Vec::new())
    }

    /// Fleet messages before a number, of one partner or all, newest first.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn fleets_before(
        &self,
        _before: u64,
        _uid: Option<&Uid>,
        _limit: usize,
    ) -> Result<Vec<FleetProgress>, StoreError> {
        Ok(Vec::new())
    }

    /// A fleet message.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn fleet(&self, _id: &FleetId) -> Result<Option<FleetProgress>, StoreError> {
        Ok(None)
    }

    /// Vehicles of a fleet message behind one, in order.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn fleet_vehicles(
        &self,
        _number: u64,
        _after: Option<&Vin>,
        _limit: usize,
    ) -> Result<Vec<FleetVehicle>, StoreError> {
        Ok(Vec::new())
    }

    /// Puts the message for one vehicle on its way: appends it, if the fleet message is running and it
    /// was not put before.
    fn put_fleet_message(
        &self,
        _fleet: u64,
        _message: NewDownlink,
        _now: SystemTime,
    ) -> Pending<Put> {
        keeps_none()
    }

    /// Changes the state, unless it is over; resolves to the state that it has now.
    fn set_fleet_state(
        &self,
        _fleet: u64,
        _state: FleetState,
        _now: SystemTime,
    ) -> Pending<FleetState> {
        keeps_none()
    }

    /// Lets messages of a cancelled fleet message that were not sent yet expire, of some vehicles behind
    /// one; resolves to the last of them, or to none when there are no more.
    fn withdraw_fleet(
        &self,
        _fleet: u64,
        _after: Option<Vin>,
        _now: SystemTime,
    ) -> Pending<Option<Vin>> {
        keeps_none()
    }
}

fn keeps_none<T>() -> Pending<T> {
    super::refused(StoreError::Failed {
        detail: "it keeps no fleet messages".to_owned(),
    })
}
