//! Which messages are to be sent, and whose turn it is: values without IO.
//!
//! The unsent messages of one partner for one vehicle, which travel on one topic, form a lane. At
//! most one worker at a time runs it; so its messages keep their order, but for those that the worker
//! lets pass by, and neither vehicles nor partners wait for each other. The messages themselves stay in
//! the store.
//!
//! | state \ event   | `accepted` | `wake` | `take`    | `park`        | `rest`        | time    |
//! |-----------------|------------|--------|-----------|---------------|---------------|---------|
//! | Idle            | Ready      | Ready  |           |               |               |         |
//! | Ready           |            |        | Running   |               |               |         |
//! | Running         | More       | Woken  |           | Idle          | Resting       |         |
//! | More            |            | Woken  |           | Ready         | Resting       |         |
//! | Woken           |            |        |           | Ready         | Ready         |         |
//! | Resting         |            | Ready  |           |               |               | Ready   |
//!
//! A lane that is idle or rests may be claimed, to take out what has expired: it is Running until it
//! is released. Then it is idle again, or ready if it rested or something happened meanwhile.
//!
//! A lane rests when nobody took its messages though somebody should: one that is stuck must not
//! keep a worker. Each rest is twice as long as the one before, from one second to half a minute. One
//! whose vehicle has enough on its way rests until the turn that it was given.
//!
//! A message that left may return, to be sent again: its lane is woken, or made for it.
//!
//! A lane is removed when it is idle and has neither unsent messages nor places taken for messages
//! that are on their way to the disk. A worker reads from the disk, so a message may be sent, or found
//! to have expired, before `accepted` is told of it; the lane is still there then, and knows by the
//! sequence that this can be so.
//!
//! `quota` says how much may wait.

mod quota;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use vinbus_protocol::id::{Uid, Vin};

use self::quota::Quota;
pub(super) use self::quota::{Bounds, Load};
use super::SubmitError;
use crate::model::{Backlog, Downlink};

/// Lanes that may keep their message in memory while they wait for a worker: a message that is
/// alone is not read back from the store, unless there are many.
const FRESH_LANES_MAX: usize = 64;

/// A lane rests this long at first.
const REST_MIN: Duration = Duration::from_secs(1);

/// Doublings of [`REST_MIN`]. With these, and a quarter of a second of a worker's time for each try,
/// thousands of stuck vehicles leave some workers free.
const REST_DOUBLINGS_MAX: u32 = 5;

/// Whose messages, and for which vehicle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneId {
    /// The vehicle.
    pub(super) vin: Vin,
    /// The partner.
    pub(super) uid: Uid,
}

/// All lanes with unsent messages.
pub(super) struct Lanes {
    vehicles: HashMap<Vin, HashMap<Uid, Lane>>,
    ready: VecDeque<LaneId>,
    resting: BTreeSet<(Instant, LaneId)>,
    quota: Quota,
    lane_messages_max: usize,
}

struct Lane {
    unsent: usize,
    /// Places taken by messages of which nobody told yet whether they are in the store.
    storing: usize,
    /// The highest sequence that was sent or has expired. Some before it may still wait, as each has
    /// a time of its own.
    finished_to: u64,
    held_to: u64,
    fresh: Option<Downlink>,
    /// Rests without a message sent between them.
    rests: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Ready,
    Running,
    More,
    Woken,
    Resting(Instant),
}

/// A lane to be run.
#[derive(Debug)]
pub(super) struct Run {
    /// The lane.
    pub(super) lane: LaneId,
    /// Messages up to this sequence are noted as held.
    pub(super) held_to: u64,
    /// Its only unsent message, if that was just accepted.
    pub(super) fresh: Option<Downlink>,
}

/// A lane that was claimed, as it was.
#[derive(Debug)]
pub(super) struct Claim {
    held_to: u64,
    rested: bool,
}

impl Lanes {
    pub(super) fn new(backlog: impl IntoIterator<Item = Backlog>, bounds: Bounds) -> Self {
        let mut lanes = Self {
            vehicles: HashMap::new(),
            ready: VecDeque::new(),
            resting: BTreeSet::new(),
            lane_messages_max: bounds.lane_messages,
            quota: Quota::new(bounds),
        };
        for part in backlog {
            let load = Load::of(part.messages, part.bytes);
            lanes.quota.add(&part.uid, load);
            let lane = Lane {
                unsent: part.messages,
                held_to: part.held_to,
                ..Lane::EMPTY
            };
            let vehicle = lanes.vehicles.entry(part.vin).or_default();
            vehicle.insert(part.uid, lane);
        }
        lanes
    }

    /// Messages that were not sent yet.
    pub(super) fn unsent(&self) -> usize {
        self.quota.all().messages
    }

    /// Takes a place for a message that is about to be stored. The caller tells what became of it by
    /// [`Lanes::accepted`] or [`Lanes::not_stored`].
    pub(super) fn reserve(&mut self, id: &LaneId, envelope_bytes: u64) -> Result<(), SubmitError> {
        let load = Load::of(1, envelope_bytes);
        self.quota.check(&id.uid, load)?;
        let max = self.lane_messages_max;
        if self.lane(id).map_or(0, |lane| lane.unsent) >= max {
            return Err(SubmitError::VehicleQueueFull { vin: id.vin, max });
        }
        let vehicle = self.vehicles.entry(id.vin).or_default();
        let lane = vehicle.entry(id.uid.clone()).or_insert(Lane::EMPTY);
        lane.unsent += 1;
        lane.storing += 1;
        self.quota.add(&id.uid, load);
        Ok(())
    }

    /// The same for a message of a fleet message, which leave half of the room to others.
    pub(super) fn reserve_for_fleet(
        &mut self,
        id: &LaneId,
        envelope_bytes: u64,
    ) -> Result<(), SubmitError> {
        self.quota
            .check_half(&id.uid, Load::of(1, envelope_bytes))?;
        self.reserve(id, envelope_bytes)
    }

    /// A reserved message is in the store.
    pub(super) fn accepted(&mut self, id: &LaneId, downlink: &Downlink) {
        let may_keep = self.ready.len() < FRESH_LANES_MAX;
        let Some(lane) = self.lane(id) else {
            return;
        };
        lane.storing = lane.storing.saturating_sub(1);
        if downlink.sequence > lane.finished_to {
            if lane.unsent == 1 && lane.state == State::Idle && may_keep {
                lane.fresh = Some(downlink.clone());
            }
        } else if lane.unsent <= lane.storing {
            // It was found on the disk, and is sent or has expired; or one behind it is that was not
            // told of yet, which will lead here again.
            self.remove_if_done(id);
            return;
        }
        match lane.state {
            State::Idle => self.make_ready(id),
            State::Running => lane.state = State::More,
            State::Ready | State::More | State::Woken | State::Resting(_) => {}
        }
    }

    /// A reserved message could not be stored.
    pub(super) fn not_stored(&mut self, id: &LaneId, envelope_bytes: u64) {
        if let Some(lane) = self.lane(id) {
            lane.storing = lane.storing.saturating_sub(1);
            self.leave(id, envelope_bytes);
        }
    }

    /// The message of this sequence was sent, the lane's first, or has expired, any of them.
    pub(super) fn finished(&mut self, id: &LaneId, sequence: u64, envelope_bytes: u64) {
        if let Some(lane) = self.lane(id) {
            lane.finished_to = lane.finished_to.max(sequence);
            lane.rests = 0;
            self.leave(id, envelope_bytes);
        }
    }

    /// The message of this sequence was superseded before it was sent, by one that has its place.
    pub(super) fn superseded(&mut self, id: &LaneId, sequence: u64, envelope_bytes: u64) {
        if let Some(lane) = self.lane(id) {
            lane.finished_to = lane.finished_to.max(sequence);
            lane.fresh.take_if(|fresh| fresh.sequence == sequence);
            self.leave(id, envelope_bytes);
        }
    }

    /// A message that had left is about to be among the unsent again. There is a place for it however full it
    /// is: it was accepted. The caller tells what became of it by [`Lanes::returned`] or
    /// [`Lanes::not_stored`].
    pub(super) fn returning(&mut self, id: &LaneId, envelope_bytes: u64) {
        let vehicle = self.vehicles.entry(id.vin).or_default();
        let lane = vehicle.entry(id.uid.clone()).or_insert(Lane::EMPTY);
        lane.unsent += 1;
        lane.storing += 1;
        self.quota.add(&id.uid, Load::of(1, envelope_bytes));
    }

    /// A message that had left is among the unsent again, and may have been sent already.
    pub(super) fn returned(&mut self, id: &LaneId) {
        if let Some(lane) = self.lane(id) {
            lane.storing = lane.storing.saturating_sub(1);
            // It goes before what came later.
            lane.fresh = None;
            self.wake(id);
        }
    }

    fn leave(&mut self, id: &LaneId, envelope_bytes: u64) {
        if let Some(lane) = self.lane(id) {
            lane.unsent = lane.unsent.saturating_sub(1);
            self.quota.subtract(&id.uid, Load::of(1, envelope_bytes));
            self.remove_if_done(id);
        }
    }

    /// Something changed for a lane: it is to be run.
    pub(super) fn wake(&mut self, id: &LaneId) {
        let Some(lane) = self.lane(id) else {
            return;
        };
        lane.rests = 0;
        match lane.state {
            State::Idle => self.make_ready(id),
            State::Running | State::More => lane.state = State::Woken,
            State::Ready | State::Woken => {}
            State::Resting(until) => {
                self.resting.remove(&(until, id.clone()));
                self.make_ready(id);
            }
        }
    }

    /// Something changed for a lane since it is run.
    pub(super) fn is_woken(&self, id: &LaneId) -> bool {
        let lanes = self.vehicles.get(&id.vin);
        let lane = lanes.and_then(|lanes| lanes.get(&id.uid));
        lane.is_some_and(|lane| lane.state == State::Woken)
    }

    /// Something changed for a vehicle.
    pub(super) fn wake_vehicle(&mut self, vin: Vin) {
        let lanes = self.vehicles.get(&vin).into_iter().flatten();
        let uids: Vec<_> = lanes.map(|(uid, _)| uid.clone()).collect();
        for uid in uids {
            self.wake(&LaneId { vin, uid });
        }
    }

    /// Something changed for everybody.
    pub(super) fn wake_all(&mut self) {
        let vins: Vec<_> = self.vehicles.keys().copied().collect();
        for vin in vins {
            self.wake_vehicle(vin);
        }
    }

    /// When a lane has rested enough; none while none rests.
    pub(super) fn next_rested(&self) -> Option<Instant> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// The lane whose turn it is, and whether there are more. The caller runs it, and then parks it
    /// or lets it rest.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Run, bool)> {
        while self.next_rested().is_some_and(|until| until <= now)
            && let Some((_, id)) = self.resting.pop_first()
        {
            self.make_ready(&id);
        }
        let id = self.ready.pop_front()?;
        let more = !self.ready.is_empty();
        let lane = self.lane(&id)?;
        lane.state = State::Running;
        let run = Run {
            held_to: lane.held_to,
            fresh: lane.fresh.take(),
            lane: id,
        };
        Some((run, more))
    }

    /// Takes a lane that nobody runs, unless a message of it is on its way to the disk: then it is
    /// not known which of its messages were told of.
    pub(super) fn claim(&mut self, id: &LaneId) -> Option<Claim> {
        let lane = self.lane(id).filter(|lane| lane.storing == 0)?;
        let rested_until = match lane.state {
            State::Idle => None,
            State::Resting(until) => Some(until),
            State::Ready | State::Running | State::More | State::Woken => return None,
        };
        lane.state = State::Running;
        let held_to = lane.held_to;
        if let Some(until) = rested_until {
            self.resting.remove(&(until, id.clone()));
        }
        let rested = rested_until.is_some();
        Some(Claim { held_to, rested })
    }

    /// Gives a claimed lane back.
    pub(super) fn release(&mut self, id: &LaneId, claim: &Claim) {
        if claim.rested {
            self.wake(id);
        }
        self.park(id, claim.held_to);
    }

    /// A lane was run; messages up to `held_to` are noted as held.
    pub(super) fn park(&mut self, id: &LaneId, held_to: u64) {
        let Some(lane) = self.lane(id) else {
            return;
        };
        lane.held_to = held_to;
        match lane.state {
            State::More | State::Woken => self.make_ready(id),
            State::Idle | State::Ready | State::Running | State::Resting(_) => {
                lane.state = State::Idle;
                self.remove_if_done(id);
            }
        }
    }

    /// A lane was run and is stuck: it is run again when it is woken, or after a while.
    pub(super) fn rest(&mut self, id: &LaneId, held_to: u64, now: Instant) {
        let Some(lane) = self.lane(id) else {
            return;
        };
        lane.held_to = held_to;
        if lane.state == State::Woken {
            self.make_ready(id);
            return;
        }
        let until = now + REST_MIN * (1 << lane.rests.min(REST_DOUBLINGS_MAX));
        lane.rests = lane.rests.saturating_add(1);
        lane.state = State::Resting(until);
        self.resting.insert((until, id.clone()));
    }

    /// A lane was run, and its next message has its turn then.
    pub(super) fn rest_until(&mut self, id: &LaneId, held_to: u64, until: Instant) {
        let Some(lane) = self.lane(id) else {
            return;
        };
        lane.held_to = held_to;
        if lane.state == State::Woken {
            self.make_ready(id);
            return;
        }
        lane.state = State::Resting(until);
        self.resting.insert((until, id.clone()));
    }

    fn make_ready(&mut self, id: &LaneId) {
        if let Some(lane) = self.lane(id) {
            lane.state = State::Ready;
            self.ready.push_back(id.clone());
        }
    }

    fn lane(&mut self, id: &LaneId) -> Option<&mut Lane> {
        self.vehicles.get_mut(&id.vin)?.get_mut(&id.uid)
    }

    fn remove_if_done(&mut self, id: &LaneId) {
        let is_done =
            |lane: &mut Lane| lane.unsent == 0 && lane.storing == 0 && lane.state == State::Idle;
        if self.lane(id).is_some_and(is_done)
            && let Some(vehicle) = self.vehicles.get_mut(&id.vin)
        {
            vehicle.remove(&id.uid);
            if vehicle.is_empty() {
                self.vehicles.remove(&id.vin);
            }
        }
    }
}

impl Lane {
    const EMPTY: Self = Self {
        unsent: 0,
        storing: 0,
        finished_to: 0,
        held_to: 0,
        fresh: None,
        rests: 0,
        state: State::Idle,
    };
}
