//! Where the channels are: in memory, or on disk only. Values without IO.
//!
//! A vehicle that is not there is one that has said nothing of delivery: the first message for it waits for
//! its word, once it is online. So of a vehicle that is not online any place on disk may be forgotten, and
//! that is how the map is bounded; and that it spoke no delivery is forgotten with its connection, as the
//! next one may be that of other firmware.

use std::collections::HashMap;
use std::sync::Arc;

use vinbus_protocol::id::{Uid, Vin};

use super::receipts::Driven;
use crate::hub::lanes::LaneId;

/// Channels of one vehicle; what it says to more partners is not taken.
const VEHICLE_CHANNELS_MAX: usize = 16;

/// Where a channel is.
pub(super) enum Place {
    /// On disk, and the vehicle speaks delivery as far as is known.
    Disk,
    /// On disk if at all: the vehicle has said on this connection that it speaks no delivery.
    Silent,
    /// In memory.
    Memory(Arc<Driven>),
}

/// All channels that are known, by vehicle and partner.
pub(super) struct Places {
    vehicles_max: usize,
    known: HashMap<Vin, HashMap<Uid, Place>>,
}

impl Places {
    /// Places for the channels of so many vehicles, some 400 bytes each.
    pub(super) fn new(vehicles_max: usize) -> Self {
        Self {
            vehicles_max,
            known: HashMap::new(),
        }
    }

    pub(super) fn of(&self, lane: &LaneId) -> Option<&Place> {
        self.known.get(&lane.vin)?.get(&lane.uid)
    }

    /// The places of a vehicle.
    pub(super) fn of_vehicle(&mut self, vin: &Vin) -> Option<&mut HashMap<Uid, Place>> {
        self.known.get_mut(vin)
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = (&Vin, &mut HashMap<Uid, Place>)> {
        self.known.iter_mut()
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
            self.make_room(is_online);
            if self.known.len() >= self.vehicles_max {
                return false;
            }
        }
        let uids = self.known.entry(lane.vin).or_default();
        let has_room = uids.len() < VEHICLE_CHANNELS_MAX || uids.contains_key(&lane.uid);
        if has_room {
            uids.insert(lane.uid.clone(), place);
        }
        has_room
    }

    /// A vehicle's connection is over, and with it that it is silent.
    pub(super) fn forget_silence(&mut self, vin: &Vin) {
        if let Some(uids) = self.known.get_mut(vin) {
            uids.retain(|_, place| !matches!(place, Place::Silent));
            if uids.is_empty() {
                self.known.remove(vin);
            }
        }
    }

    /// Forgets an eighth of the vehicles, of those that are not online and have no channel in memory; so the
    /// cost of finding them is shared by many newcomers.
    fn make_room(&mut self, is_online: impl Fn(&Vin) -> bool) {
        let mut left = (self.vehicles_max / 8).max(1);
        self.known.retain(|vin, uids| {
            let is_used = || uids.values().any(|it| matches!(it, Place::Memory(_)));
            let stays = left == 0 || is_online(vin) || is_used();
            left -= usize::from(!stays);
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(places.put(&lane(number), Place::Disk, online));
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
        assert!(places.put(&lane(1), Place::Disk, |_| true));
        for number in 0..40 {
            let uid = Uid::parse(&format!("partner{number}")).unwrap();
            let of_one = LaneId { uid, ..lane(1) };
            let put = places.put(&of_one, Place::Disk, |_| true);
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
        places.put(&other, Place::Disk, |_| false);
        places.forget_silence(&lane(1).vin);
        places.forget_silence(&lane(2).vin);
        assert!(places.of(&lane(1)).is_none());
        assert!(matches!(places.of(&other), Some(Place::Disk)));
        assert_eq!(places.known.len(), 1);
    }
}
