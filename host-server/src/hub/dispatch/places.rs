//! Where the channels are: in memory, or on disk only. Values without IO.
//!
//! A vehicle that is not there is one that has said nothing of delivery: the first message for it waits for
//! its word, once it is online. So of a vehicle that is not online any place on disk may be forgotten, and
//! that is how the map is bounded; and that it spoke no delivery is forgotten with its connection, as the
//! next one may be that of other firmware.
//!
//! Vehicles that may be forgotten stand in a queue, the one that may be so for longest first: to find one costs
//! the same however many vehicles there are. So whoever has places changed says who is online; of a vehicle that
//! comes or goes, [`Places::retain_of`] is to be told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use vinbus_protocol::id::{Uid, Vin};

use super::receipts::Driven;
use crate::hub::lanes::LaneId;

/// Channels of one vehicle; what it says to more partners is not taken.
const VEHICLE_CHANNELS_MAX: usize = 16;

/// Where a channel is.
pub(super) enum Place {
    /// On disk, and the vehicle speaks delivery as far as is known.
    Disk {
        /// Whether it has said to this process how far it has come.
        met: bool,
    },
    /// On disk if at all: the vehicle has said on this connection that it speaks no delivery.
    Silent,
    /// In memory.
    Memory(Arc<Driven>),
}

/// All channels that are known, by vehicle and partner.
pub(super) struct Places {
    vehicles_max: usize,
    known: HashMap<Vin, Vehicle>,
    queue: Queue,
}

#[derive(Default)]
struct Vehicle {
    places: HashMap<Uid, Place>,
    /// Where it stands in the queue.
    turn: Option<u64>,
}

/// Vehicles that are not online and have no channel in memory.
#[derive(Default)]
struct Queue {
    waiting: BTreeMap<u64, Vin>,
    turns: u64,
}

impl Places {
    /// Places for the channels of so many vehicles, some 450 bytes each.
    pub(super) fn new(vehicles_max: usize) -> Self {
        Self {
            vehicles_max,
            known: HashMap::new(),
            queue: Queue::default(),
        }
    }

    pub(super) fn of(&self, lane: &LaneId) -> Option<&Place> {
        self.known.get(&lane.vin)?.places.get(&lane.uid)
    }

    /// The channels of a vehicle that are in memory.
    pub(super) fn in_memory(&self, vin: &Vin) -> impl Iterator<Item = &Arc<Driven>> {
        let vehicle = self.known.get(vin).into_iter();
        let places = vehicle.flat_map(|vehicle| vehicle.places.values());
        places.filter_map(|place| match place {
            Place::Memory(driven) => Some(driven),
            Place::Disk { .. } | Place::Silent => None,
        })
    }

    /// Puts a channel into a place; `false` if there is no room for it, as its vehicle has too many, or too
    /// many vehicles are online.
    pub(super) fn put(
        &mut self,
        lane: &LaneId,
        place: Place,
        is_online: impl Fn(&Vin) -> bool,
    ) -> bool {
        if !self.known.contains_key(&lane.vin) && self.known.len() >= self.vehicles_max {
            let Some(longest) = self.queue.pop() else {
                return false;
            };
            self.known.remove(&longest);
        }
        let vehicle = self.known.entry(lane.vin).or_default();
        let places = &mut vehicle.places;
        let has_room = places.len() < VEHICLE_CHANNELS_MAX || places.contains_key(&lane.uid);
        if has_room {
            places.insert(lane.uid.clone(), place);
        }
        self.queue.settle(&lane.vin, vehicle, is_online);
        has_room
    }

    /// Changes the places of a vehicle, and forgets those of which `change` says so.
    pub(super) fn retain_of(
        &mut self,
        vin: &Vin,
        change: impl FnMut(&mut Place) -> bool,
        is_online: impl Fn(&Vin) -> bool,
    ) {
        let Some(vehicle) = self.known.get_mut(vin) else {
            return;
        };
        if vehicle.retain(change) {
            self.queue.settle(vin, vehicle, is_online);
        } else {
            self.queue.leave(vehicle);
            self.known.remove(vin);
        }
    }

    /// The same, of all vehicles.
    pub(super) fn retain(
        &mut self,
        mut change: impl FnMut(&Vin, &mut Place) -> bool,
        is_online: impl Fn(&Vin) -> bool,
    ) {
        let queue = &mut self.queue;
        self.known.retain(|vin, vehicle| {
            let stays = vehicle.retain(|place| change(vin, place));
            match stays {
                true => queue.settle(vin, vehicle, &is_online),
                false => queue.leave(vehicle),
            }
            stays
        });
    }

    /// A vehicle's connection is over, and with it that it is silent.
    pub(super) fn forget_silence(&mut self, vin: &Vin) {
        let is_other = |place: &mut Place| !matches!(place, Place::Silent);
        self.retain_of(vin, is_other, |_| false);
    }
}

impl Vehicle {
    /// Says whether a place is left.
    fn retain(&mut self, mut change: impl FnMut(&mut Place) -> bool) -> bool {
        self.places.retain(|_, place| change(place));
        !self.places.is_empty()
    }

    fn is_used(&self) -> bool {
        let mut places = self.places.values();
        places.any(|place| matches!(place, Place::Memory(_)))
    }
}

impl Queue {
    /// A vehicle that may be forgotten stands in the queue, and no other.
    fn settle(&mut self, vin: &Vin, vehicle: &mut Vehicle, is_online: impl Fn(&Vin) -> bool) {
        if vehicle.is_used() || is_online(vin) {
            self.leave(vehicle);
        } else if vehicle.turn.is_none() {
            vehicle.turn = Some(self.turns);
            self.waiting.insert(self.turns, *vin);
            self.turns += 1;
        }
    }

    fn leave(&mut self, vehicle: &mut Vehicle) {
        if let Some(turn) = vehicle.turn.take() {
            self.waiting.remove(&turn);
        }
    }

    /// The first one leaves the queue, to be forgotten.
    fn pop(&mut self) -> Option<Vin> {
        self.waiting.pop_first().map(|(_, vin)| vin)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use vinbus_protocol::delivery::{Epoch, Snapshot};

    use super::*;
    use crate::hub::dispatch::channel::Channel;
    use crate::store::channels::KeptChannel;

    fn lane(number: usize) -> LaneId {
        LaneId {
            vin: Vin::parse(&format!("TESTV{number:012}")).unwrap(),
            uid: Uid::parse("partner").unwrap(),
        }
    }

    #[test]
    fn vehicles_that_are_not_online_make_room_for_others_and_those_that_are_stay() {
        let mut places = Places::new(8);
        let online = |vin: &Vin| *vin == lane(1).vin || *vin == lane(2).vin;
        for number in 0..1_000 {
            assert!(places.put(&lane(number), Place::Disk { met: false }, online));
            assert!(places.known.len() <= 8);
        }
        assert!(places.of(&lane(1)).is_some() && places.of(&lane(2)).is_some());
        assert!(places.of(&lane(999)).is_some());
    }

    #[test]
    fn vehicle_for_which_there_is_no_place_is_not_taken() {
        let mut places = Places::new(2);
        for number in 0..3 {
            let put = places.put(&lane(number), Place::Silent, |_| true);
            assert_eq!(put, number < 2);
        }
        // One that is there is.
        assert!(places.put(&lane(1), Place::Disk { met: false }, |_| true));
        for number in 0..40 {
            let uid = Uid::parse(&format!("partner{number}")).unwrap();
            let of_one = LaneId { uid, ..lane(1) };
            let put = places.put(&of_one, Place::Disk { met: false }, |_| true);
            assert_eq!(put, number < VEHICLE_CHANNELS_MAX - 1);
        }
    }

    #[test]
    fn silence_ends_with_the_connection_and_other_places_stay() {
        let mut places = Places::new(8);
        let other = LaneId {
            uid: Uid::parse("other").unwrap(),
            ..lane(1)
        };
        places.put(&lane(1), Place::Silent, |_| false);
        places.put(&lane(2), Place::Silent, |_| false);
        places.put(&other, Place::Disk { met: false }, |_| false);
        places.forget_silence(&lane(1).vin);
        places.forget_silence(&lane(2).vin);
        assert!(places.of(&lane(1)).is_none());
        assert!(matches!(places.of(&other), Some(Place::Disk { .. })));
        assert_eq!(places.known.len(), 1);
    }

    fn in_memory(lane: &LaneId) -> Place {
        let kept = KeptChannel {
            memory: Snapshot::fresh(Epoch::FIRST),
            numbered: Vec::new(),
            part: None,
        };
        let channel = Channel::new(0, kept, true, 0);
        Place::Memory(Arc::new(Driven::new(lane.clone(), channel, Instant::now())))
    }

    /// What is expected of a vehicle.
    #[derive(Clone, Copy, Default)]
    struct Expected {
        is_known: bool,
        is_used: bool,
        is_online: bool,
        /// Since when it may be forgotten.
        since: Option<usize>,
    }

    #[test]
    fn one_that_may_be_forgotten_for_longest_makes_room_whatever_came_before() {
        const PLACES: usize = 8;
        let mut places = Places::new(PLACES);
        let mut expected = [Expected::default(); 4 * PLACES];
        let mut random = 1_u32;
        for now in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = (random >> 8) as usize % expected.len();
            let lane = lane(number);
            let online = expected.map(|it| it.is_online);
            let is_online = |vin: &Vin| online[vin.as_str()[5..].parse::<usize>().unwrap()];
            match random >> 24 & 3 {
                0 | 1 => {
                    let to_memory = random >> 26 & 1 == 1;
                    let place = if to_memory {
                        in_memory(&lane)
                    } else {
                        Place::Disk { met: false }
                    };
                    let known = expected.iter().filter(|it| it.is_known).count();
                    let mut has_room = true;
                    if !expected[number].is_known && known == PLACES {
                        let idle = (0..expected.len()).filter(|it| expected[*it].since.is_some());
                        let longest = idle.min_by_key(|it| expected[*it].since);
                        has_room = longest.is_some();
                        if let Some(longest) = longest {
                            expected[longest] = Expected {
                                is_known: false,
                                ..expected[longest]
                            };
                        }
                    }
                    assert_eq!(places.put(&lane, place, is_online), has_room, "{now}");
                    if has_room {
                        expected[number].is_known = true;
                        expected[number].is_used = to_memory;
                    }
                }
                2 => {
                    expected[number].is_online ^= true;
                    let online = expected[number].is_online;
                    places.retain_of(&lane.vin, |_| true, |_| online);
                }
                _ => {
                    places.retain(
                        |vin, place| {
                            if *vin == lane.vin {
                                *place = Place::Disk { met: false };
                            }
                            true
                        },
                        is_online,
                    );
                    expected[number].is_used = false;
                }
            }
            for of in &mut expected {
                let is_idle = of.is_known && !of.is_used && !of.is_online;
                of.since = is_idle.then(|| of.since.unwrap_or(now));
            }
            for (number, of) in expected.iter().enumerate() {
                assert_eq!(
                    places.of(&self::lane(number)).is_some(),
                    of.is_known,
                    "{now}"
                );
            }
            let idle = expected.iter().filter(|it| it.since.is_some()).count();
            assert_eq!(places.queue.waiting.len(), idle, "{now}");
        }
    }
}
