//! Which vehicles have messages to be sent, and whose turn it is: values without IO.
//!
//! Each vehicle with unsent messages has a lane, and at most one worker at a time runs it; so its
//! messages keep their order, and vehicles do not wait for each other. The messages themselves stay
//! in the store.
//!
//! | state \ event | `wake` | `take` | `park` |
//! |---|---|---|---|
//! | Idle | Ready, queued | | |
//! | Ready | | Running | |
//! | Running | RunningAgain | | Idle |
//! | RunningAgain | | | Ready, queued |
//!
//! A lane without unsent messages is removed when it is parked.

use std::collections::{HashMap, VecDeque};

use vinbus_protocol::id::Vin;

use super::SubmitError;
use crate::model::{Backlog, Downlink};

/// Lanes that may keep their message in memory while they wait for a worker: a message that is
/// alone is not read back from the store, unless there are many.
const FRESH_LANES_MAX: usize = 64;

/// The lanes of all vehicles with unsent messages.
pub(super) struct Lanes {
    lanes: HashMap<Vin, Lane>,
    ready: VecDeque<Vin>,
    unsent: usize,
    vehicle_unsent_max: usize,
    unsent_max: usize,
}

struct Lane {
    unsent: usize,
    held_to: u64,
    fresh: Option<Downlink>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Ready,
    Running,
    RunningAgain,
}

/// A lane to be run.
#[derive(Debug)]
pub(super) struct Run {
    /// The vehicle.
    pub(super) vin: Vin,
    /// Messages up to this sequence are noted as held.
    pub(super) held_to: u64,
    /// The vehicle's only unsent message, if it was just accepted.
    pub(super) fresh: Option<Downlink>,
}

impl Lanes {
    pub(super) fn new(
        backlog: impl IntoIterator<Item = Backlog>,
        vehicle_unsent_max: usize,
        unsent_max: usize,
    ) -> Self {
        let mut lanes = HashMap::new();
        let mut unsent = 0;
        for vehicle in backlog {
            unsent += vehicle.messages;
            let lane = Lane {
                unsent: vehicle.messages,
                held_to: vehicle.held_to,
                ..Lane::EMPTY
            };
            lanes.insert(vehicle.vin, lane);
        }
        Self {
            lanes,
            ready: VecDeque::new(),
            unsent,
            vehicle_unsent_max,
            unsent_max,
        }
    }

    /// Messages that were not sent yet.
    pub(super) fn unsent(&self) -> usize {
        self.unsent
    }

    /// Takes a place for a message that is about to be stored.
    pub(super) fn reserve(&mut self, vin: Vin) -> Result<(), SubmitError> {
        if self.unsent >= self.unsent_max {
            return Err(SubmitError::QueueFull {
                max: self.unsent_max,
            });
        }
        let max = self.vehicle_unsent_max;
        let waiting = self.lanes.get(&vin).map_or(0, |lane| lane.unsent);
        if waiting >= max {
            return Err(SubmitError::VehicleQueueFull { vin, max });
        }
        self.lanes.entry(vin).or_insert(Lane::EMPTY).unsent += 1;
        self.unsent += 1;
        Ok(())
    }

    /// A reserved message is in the store.
    pub(super) fn accepted(&mut self, downlink: &Downlink) {
        let vin = downlink.message.vin;
        if let Some(lane) = self.lanes.get_mut(&vin)
            && lane.unsent == 1
            && lane.state == State::Idle
            && self.ready.len() < FRESH_LANES_MAX
        {
            lane.fresh = Some(downlink.clone());
        }
        self.wake(vin);
    }

    /// A message was sent, or could not be stored.
    pub(super) fn finished(&mut self, vin: &Vin) {
        if let Some(lane) = self.lanes.get_mut(vin) {
            lane.unsent = lane.unsent.saturating_sub(1);
            self.unsent = self.unsent.saturating_sub(1);
            if lane.unsent == 0 && lane.state == State::Idle {
                self.lanes.remove(vin);
            }
        }
    }

    /// Something changed for a vehicle: its lane is to be run.
    pub(super) fn wake(&mut self, vin: Vin) {
        if let Some(lane) = self.lanes.get_mut(&vin) {
            match lane.state {
                State::Idle => {
                    lane.state = State::Ready;
                    self.ready.push_back(vin);
                }
                State::Running => lane.state = State::RunningAgain,
                State::Ready | State::RunningAgain => {}
            }
        }
    }

    /// Something changed for everybody.
    pub(super) fn wake_all(&mut self) {
        let vins: Vec<_> = self.lanes.keys().copied().collect();
        for vin in vins {
            self.wake(vin);
        }
    }

    /// The lane whose turn it is, and whether there are more. The caller runs it and parks it.
    pub(super) fn take(&mut self) -> Option<(Run, bool)> {
        let vin = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&vin)?;
        lane.state = State::Running;
        let run = Run {
            vin,
            held_to: lane.held_to,
            fresh: lane.fresh.take(),
        };
        Some((run, !self.ready.is_empty()))
    }

    /// A lane was run; messages up to `held_to` are noted as held.
    pub(super) fn park(&mut self, vin: &Vin, held_to: u64) {
        let Some(lane) = self.lanes.get_mut(vin) else {
            return;
        };
        lane.held_to = held_to;
        let again = lane.state == State::RunningAgain;
        lane.state = State::Idle;
        if lane.unsent == 0 {
            self.lanes.remove(vin);
        } else if again {
            self.wake(*vin);
        }
    }
}

impl Lane {
    const EMPTY: Self = Self {
        unsent: 0,
        held_to: 0,
        fresh: None,
        state: State::Idle,
    };
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use vinbus_protocol::id::{AppId, Uid};

    use super::*;
    use crate::model::{MessageId, NewDownlink};

    fn vin(number: usize) -> Vin {
        Vin::parse(&format!("TESTV{number:012}")).unwrap()
    }

    fn downlink(number: usize, sequence: u64) -> Downlink {
        Downlink {
            id: MessageId(sequence.to_string()),
            sequence,
            message: NewDownlink {
                uid: Uid::parse("partner").unwrap(),
                vin: vin(number),
                app: AppId::parse("app").unwrap(),
                envelope: Bytes::new(),
            },
        }
    }

    fn lanes() -> Lanes {
        Lanes::new([], 2, 3)
    }

    fn accept(lanes: &mut Lanes, number: usize, sequence: u64) {
        lanes.reserve(vin(number)).unwrap();
        lanes.accepted(&downlink(number, sequence));
    }

    fn taken(lanes: &mut Lanes) -> Option<Vin> {
        lanes.take().map(|(run, _)| run.vin)
    }

    #[test]
    fn limits_are_per_vehicle_and_for_all() {
        let mut lanes = lanes();
        accept(&mut lanes, 1, 1);
        accept(&mut lanes, 1, 2);
        assert_eq!(
            lanes.reserve(vin(1)),
            Err(SubmitError::VehicleQueueFull {
                vin: vin(1),
                max: 2
            })
        );
        accept(&mut lanes, 2, 3);
        assert_eq!(
            lanes.reserve(vin(3)),
            Err(SubmitError::QueueFull { max: 3 })
        );
        lanes.finished(&vin(1));
        assert_eq!(lanes.reserve(vin(3)), Ok(()));
    }

    #[test]
    fn a_lane_is_run_by_one_worker_and_again_when_woken_meanwhile() {
        let mut lanes = lanes();
        accept(&mut lanes, 1, 1);
        assert_eq!(taken(&mut lanes), Some(vin(1)));
        accept(&mut lanes, 1, 2);
        assert_eq!(taken(&mut lanes), None);
        lanes.finished(&vin(1));
        lanes.park(&vin(1), 0);
        assert_eq!(taken(&mut lanes), Some(vin(1)));
        lanes.finished(&vin(1));
        lanes.park(&vin(1), 0);
        assert_eq!((taken(&mut lanes), lanes.unsent()), (None, 0));
        assert!(lanes.lanes.is_empty());
    }

    #[test]
    fn vehicles_take_turns() {
        let mut lanes = lanes();
        accept(&mut lanes, 1, 1);
        accept(&mut lanes, 2, 2);
        accept(&mut lanes, 1, 3);
        let (first, more) = lanes.take().unwrap();
        assert_eq!((first.vin, more), (vin(1), true));
        let (second, more) = lanes.take().unwrap();
        assert_eq!((second.vin, more), (vin(2), false));
    }

    #[test]
    fn only_a_lonely_message_is_kept_in_memory() {
        let mut lanes = lanes();
        accept(&mut lanes, 1, 1);
        assert_eq!(lanes.take().unwrap().0.fresh, Some(downlink(1, 1)));
        lanes.reserve(vin(2)).unwrap();
        lanes.reserve(vin(2)).unwrap();
        lanes.accepted(&downlink(2, 2));
        assert_eq!(lanes.take().unwrap().0.fresh, None);
    }

    #[test]
    fn backlog_of_the_store_counts_and_is_run_when_all_are_woken() {
        let backlog = Backlog {
            vin: vin(1),
            messages: 2,
            held_to: 7,
        };
        let mut lanes = Lanes::new([backlog], 2, 3);
        assert!(lanes.reserve(vin(1)).is_err());
        lanes.wake_all();
        lanes.wake_all();
        assert_eq!(lanes.take().unwrap().0.held_to, 7);
        assert_eq!(taken(&mut lanes), None);
    }
}
