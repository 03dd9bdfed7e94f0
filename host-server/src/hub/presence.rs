//! Who can hear us.
//!
//! The map is bounded: when it holds [`VEHICLES_MAX`] vehicles, those that went offline longest ago
//! make room. A vehicle that is not in the map has the presence that its source gives to strangers.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use vinbus_protocol::id::Vin;

use super::PresenceSource;
use crate::model::{Presence, Vehicle};

/// Vehicles of which the presence is kept: about 100 bytes each.
const VEHICLES_MAX: usize = 500_000;

/// A vehicle that counts as offline and sends messages over this time without a report counts as
/// online. A message alone says little: it may be older than the report, or sent by an agent that has
/// not subscribed yet and would miss what is sent now.
const SPEAKING_TIME: Duration = Duration::from_secs(10);

/// What tells something about a vehicle's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It said so.
    Reported(Presence),
    /// It sent a message just now.
    Spoke,
}

/// The presence of every vehicle that was heard of.
pub(super) struct PresenceMap {
    stranger: Presence,
    vehicles_max: usize,
    online: usize,
    vehicles: HashMap<Vin, Known>,
}

struct Known {
    presence: Presence,
    since: SystemTime,
    /// When it spoke first while it counted as offline.
    spoke: Option<SystemTime>,
}

impl PresenceMap {
    pub(super) fn new(source: PresenceSource) -> Self {
        Self {
            stranger: match source {
                PresenceSource::Connections => Presence::Offline,
                PresenceSource::Subtopic => Presence::Unknown,
            },
            vehicles_max: VEHICLES_MAX,
            online: 0,
            vehicles: HashMap::new(),
        }
    }

    /// The presence of a vehicle.
    pub(super) fn of(&self, vin: &Vin) -> Presence {
        self.vehicles
            .get(vin)
            .map_or(self.stranger, |known| known.presence)
    }

    /// Sets the presence of a vehicle; says whether that changed it.
    pub(super) fn set(&mut self, vin: Vin, presence: Presence, now: SystemTime) -> bool {
        let before = self.vehicles.get_mut(&vin).map(|known| {
            known.spoke = None;
            known.presence
        });
        if before == Some(presence) {
            return false;
        }
        if before.is_none() && self.vehicles.len() >= self.vehicles_max {
            self.make_room();
            if self.vehicles.len() >= self.vehicles_max {
                return false;
            }
        }
        self.online -= usize::from(before == Some(Presence::Online));
        self.online += usize::from(presence == Presence::Online);
        let known = Known {
            presence,
            since: now,
            spoke: None,
        };
        self.vehicles.insert(vin, known);
        true
    }

    /// Notes that a vehicle sent a message; says whether it counts as online from now on.
    pub(super) fn spoke(&mut self, vin: Vin, now: SystemTime) -> bool {
        let Some(known) = self.vehicles.get_mut(&vin) else {
            return false;
        };
        if known.presence != Presence::Offline {
            return false;
        }
        let first = *known.spoke.get_or_insert(now);
        let speaking = now.duration_since(first).unwrap_or_default();
        speaking >= SPEAKING_TIME && self.set(vin, Presence::Online, now)
    }

    pub(super) fn vehicle(&self, vin: &Vin) -> Option<Vehicle> {
        self.vehicles.get(vin).map(|known| Vehicle {
            vin: *vin,
            presence: known.presence,
            since: known.since,
        })
    }

    /// All vehicles, by VIN.
    pub(super) fn vehicles(&self) -> Vec<Vehicle> {
        let mut vehicles: Vec<_> = self
            .vehicles
            .keys()
            .filter_map(|vin| self.vehicle(vin))
            .collect();
        vehicles.sort_unstable_by_key(|vehicle| vehicle.vin);
        vehicles
    }

    /// How many vehicles are online.
    pub(super) fn online(&self) -> usize {
        self.online
    }

    /// Forgets the eighth of all places that went offline longest ago; so the cost of finding them is
    /// shared by many newcomers.
    fn make_room(&mut self) {
        let mut offline: Vec<SystemTime> = self
            .vehicles
            .values()
            .filter(|known| known.presence == Presence::Offline)
            .map(|known| known.since)
            .collect();
        let count = (self.vehicles_max / 8).clamp(1, offline.len().max(1));
        if offline.len() < count {
            return;
        }
        let (_, newest_to_go, _) = offline.select_nth_unstable(count - 1);
        let newest_to_go = *newest_to_go;
        self.vehicles
            .retain(|_, known| known.presence != Presence::Offline || known.since > newest_to_go);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn vin(number: usize) -> Vin {
        Vin::parse(&format!("TESTV{number:012}")).unwrap()
    }

    fn at(seconds: usize) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds as u64)
    }

    #[test]
    fn stranger_is_offline_by_connections_and_unknown_by_subtopic() {
        let of = |source| PresenceMap::new(source).of(&vin(1));
        assert_eq!(of(PresenceSource::Connections), Presence::Offline);
        assert_eq!(of(PresenceSource::Subtopic), Presence::Unknown);
    }

    #[test]
    fn since_is_when_the_presence_changed_last() {
        let mut map = PresenceMap::new(PresenceSource::Connections);
        assert!(map.set(vin(1), Presence::Online, at(1)));
        assert!(!map.set(vin(1), Presence::Online, at(2)));
        assert_eq!(map.vehicle(&vin(1)).unwrap().since, at(1));
        assert!(map.set(vin(1), Presence::Offline, at(3)));
        assert_eq!(map.vehicle(&vin(1)).unwrap().since, at(3));
    }

    #[test]
    fn full_map_forgets_who_is_offline_longest_and_nobody_online() {
        let mut map = PresenceMap::new(PresenceSource::Connections);
        map.vehicles_max = 16;
        for n in 0..8 {
            map.set(vin(n), Presence::Online, at(n));
        }
        for n in 8..16 {
            map.set(vin(n), Presence::Offline, at(n));
        }
        map.set(vin(16), Presence::Online, at(16));
        let known: Vec<_> = map.vehicles().into_iter().map(|known| known.vin).collect();
        let expected: Vec<_> = (0..17).filter(|n| ![8, 9].contains(n)).map(vin).collect();
        assert_eq!(known, expected);
        assert_eq!(map.online(), 9);
    }

    #[test]
    fn map_full_of_vehicles_online_takes_no_more() {
        let mut map = PresenceMap::new(PresenceSource::Subtopic);
        map.vehicles_max = 2;
        for n in 0..3 {
            assert_eq!(map.set(vin(n), Presence::Online, at(n)), n < 2);
        }
        assert_eq!(map.vehicles().len(), 2);
        assert_eq!(map.of(&vin(2)), Presence::Unknown);
    }

    #[test]
    fn vehicle_that_keeps_speaking_without_a_report_is_online_and_one_message_says_nothing() {
        let mut map = PresenceMap::new(PresenceSource::Subtopic);
        assert!(!map.spoke(vin(1), at(0)));
        assert_eq!(map.of(&vin(1)), Presence::Unknown);
        map.set(vin(1), Presence::Offline, at(0));
        assert!(!map.spoke(vin(1), at(1)));
        assert!(!map.spoke(vin(1), at(9)));
        map.set(vin(1), Presence::Offline, at(10));
        assert!(!map.spoke(vin(1), at(12)));
        assert!(!map.spoke(vin(1), at(21)));
        assert!(map.spoke(vin(1), at(22)));
        assert_eq!(map.of(&vin(1)), Presence::Online);
        assert_eq!(map.online(), 1);
        assert!(!map.spoke(vin(1), at(40)));
    }
}
