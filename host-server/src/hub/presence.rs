//! Who can hear us, and which partners may know of it: those that the vehicle has sent something to. To
//! be sent something by a partner is not enough, or anybody could follow every vehicle.
//!
//! The map is bounded: when it holds [`VEHICLES_MAX`] vehicles, those that are not online make room,
//! since longest first. A vehicle that is not in the map has the presence that its source gives to strangers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use vinbus_protocol::id::{Uid, Vin};

use super::PresenceSource;
use crate::model::{Presence, Vehicle, VehicleHealth};

/// Partners that are remembered of a vehicle; one more takes the place of the oldest.
const PARTNERS_MAX: usize = 16;

/// Vehicles that one page of a partner's is searched in, so that nobody waits long for it.
const SEARCH_MAX: usize = 10_000;

/// Vehicles of which the presence is kept: about 250 bytes each, 50 more while it is not online, and as
/// many again or, at most, 1,100 with a report of their health.
pub(super) const VEHICLES_MAX: usize = 500_000;

/// A vehicle that counts as offline and sends messages over this time without a report counts as
/// online. A message alone says little: it may be older than the report, or sent by an agent that has
/// not subscribed yet and would miss what is sent now.
const SPEAKING_TIME: Duration = Duration::from_secs(10);

/// What tells something about a vehicle's presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It said so.
    Reported(Presence),
    /// It reported its health, which says nothing about presence.
    Examined(Box<str>),
    /// It sent a message just now.
    Spoke,
    /// It sent a message, which says nothing about now.
    WasHeard,
}

/// The presence of every vehicle that was heard of.
pub(super) struct PresenceMap {
    stranger: Presence,
    vehicles_max: usize,
    online: usize,
    vehicles: BTreeMap<Vin, Known>,
    /// Those that are not online, and since when: who makes room.
    not_online: BTreeSet<(SystemTime, Vin)>,
}

struct Known {
    presence: Presence,
    since: SystemTime,
    /// When it spoke first while it counted as offline.
    spoke: Option<SystemTime>,
    /// Whom it has sent something to, the oldest first.
    partners: Vec<Uid>,
    /// What it reported of its health last.
    health: Option<Box<VehicleHealth>>,
}

impl Known {
    fn may_be_told(&self, uid: Option<&Uid>) -> bool {
        uid.is_none_or(|uid| self.partners.contains(uid))
    }

    fn vehicle(&self, vin: &Vin) -> Vehicle {
        Vehicle {
            vin: *vin,
            presence: self.presence,
            since: self.since,
        }
    }
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
            vehicles: BTreeMap::new(),
            not_online: BTreeSet::new(),
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
        let Some((known, is_new)) = self.known(vin, now) else {
            return false;
        };
        let before = std::mem::replace(&mut known.presence, presence);
        known.spoke = None;
        if before == presence && !is_new {
            return false;
        }
        let since = std::mem::replace(&mut known.since, now);
        if before == Presence::Online {
            self.online -= 1;
        } else {
            self.not_online.remove(&(since, vin));
        }
        if presence == Presence::Online {
            self.online += 1;
        } else {
            self.not_online.insert((now, vin));
        }
        true
    }

    /// Notes that a vehicle sent something to a partner; gives the vehicle if that was the first time.
    pub(super) fn introduce(&mut self, vin: Vin, uid: &Uid, now: SystemTime) -> Option<Vehicle> {
        let (known, _) = self.known(vin, now)?;
        let vehicle = known.vehicle(&vin);
        let Known { partners, .. } = known;
        if partners.contains(uid) {
            return None;
        }
        if partners.len() >= PARTNERS_MAX {
            partners.remove(0);
        }
        partners.reserve_exact(1);
        partners.push(uid.clone());
        Some(vehicle)
    }

    /// Whom a vehicle has sent something to.
    pub(super) fn partners(&self, vin: &Vin) -> &[Uid] {
        let known = self.vehicles.get(vin);
        known.map_or(&[], |known| &known.partners)
    }

    /// What is known of a vehicle, and whether that begins now; `None` when there is no place for it.
    fn known(&mut self, vin: Vin, now: SystemTime) -> Option<(&mut Known, bool)> {
        let is_new = !self.vehicles.contains_key(&vin);
        if is_new && self.vehicles.len() >= self.vehicles_max {
            self.make_room();
            if self.vehicles.len() >= self.vehicles_max {
                return None;
            }
        }
        if is_new {
            // A stranger is not online.
            self.not_online.insert((now, vin));
        }
        let stranger = self.stranger;
        let known = self.vehicles.entry(vin).or_insert_with(|| Known {
            presence: stranger,
            since: now,
            spoke: None,
            partners: Vec::new(),
            health: None,
        });
        Some((known, is_new))
    }

    /// Keeps what a vehicle reported of its health.
    pub(super) fn examined(&mut self, vin: Vin, report: Box<str>, now: SystemTime) {
        if let Some((known, _)) = self.known(vin, now) {
            known.health = Some(Box::new(VehicleHealth {
                reported_at: now,
                report,
            }));
        }
    }

    /// What a vehicle reported of its health last, as far as a partner may know of it.
    pub(super) fn health(&self, vin: &Vin, uid: Option<&Uid>) -> Option<&VehicleHealth> {
        let known = self.vehicles.get(vin)?;
        let health = known.health.as_deref();
        health.filter(|_| known.may_be_told(uid))
    }

    /// Notes that a vehicle sent a message; says whether it counts as online from now on.
    pub(super) fn spoke(&mut self, vin: Vin, now: SystemTime) -> bool {
        let Some(known) = self.vehicles.get_mut(&vin) else {
            return false;
        };
        if known.presence != Presence::Offline {
            return false;
        }
        // Where the clock was set back, the time counts anew.
        let first = known.spoke.filter(|first| *first <= now).unwrap_or(now);
        known.spoke = Some(first);
        let speaking = now.duration_since(first).unwrap_or_default();
        speaking >= SPEAKING_TIME && self.set(vin, Presence::Online, now)
    }

    /// A vehicle, as far as a partner, or without one the administrator, may know of it.
    pub(super) fn vehicle(&self, vin: &Vin, uid: Option<&Uid>) -> Option<Vehicle> {
        let known = self.vehicles.get(vin)?;
        known.may_be_told(uid).then(|| known.vehicle(vin))
    }

    /// At most `limit` vehicles behind `after`, by VIN, and behind which the next page begins if there
    /// is one. A page may be empty though there is a next one.
    pub(super) fn vehicles(
        &self,
        after: Option<&Vin>,
        uid: Option<&Uid>,
        limit: usize,
    ) -> (Vec<Vehicle>, Option<Vin>) {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self
            .vehicles
            .range::<Vin, _>((begin, Bound::Unbounded))
            .peekable();
        let (mut page, mut last) = (Vec::new(), None);
        for (vin, known) in rest.by_ref().take(SEARCH_MAX) {
            last = Some(*vin);
            if known.may_be_told(uid) {
                page.push(known.vehicle(vin));
            }
            if page.len() >= limit {
                break;
            }
        }
        let next = rest.peek().and(last);
        (page, next)
    }

    /// How many vehicles are in the map.
    pub(super) fn known_vehicles(&self) -> usize {
        self.vehicles.len()
    }

    /// How many vehicles are online.
    pub(super) fn online(&self) -> usize {
        self.online
    }

    /// Forgets the one that is not online since longest, if there is one.
    fn make_room(&mut self) {
        if let Some((_, vin)) = self.not_online.pop_first() {
            self.vehicles.remove(&vin);
        }
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
        assert_eq!(map.vehicle(&vin(1), None).unwrap().since, at(1));
        assert!(map.set(vin(1), Presence::Offline, at(3)));
        assert_eq!(map.vehicle(&vin(1), None).unwrap().since, at(3));
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
        let known: Vec<_> = map
            .vehicles(None, None, 100)
            .0
            .into_iter()
            .map(|known| known.vin)
            .collect();
        let expected: Vec<_> = (0..17).filter(|n| *n != 8).map(vin).collect();
        assert_eq!(known, expected);
        assert_eq!(map.online(), 9);
    }

    #[test]
    fn one_that_is_not_online_since_longest_makes_room_whatever_came_before() {
        const PLACES: usize = 8;
        let mut map = PresenceMap::new(PresenceSource::Subtopic);
        map.vehicles_max = PLACES;
        // What is expected of each vehicle that is known.
        let mut expected: BTreeMap<Vin, (Presence, SystemTime)> = BTreeMap::new();
        let mut random = 1_u32;
        for now in (0..20_000).map(at) {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let vin = vin((random >> 8) as usize % (4 * PLACES));
            let presence = [Presence::Online, Presence::Offline][(random >> 24) as usize & 1];
            let has_room = expected.contains_key(&vin) || expected.len() < PLACES || {
                let idle = expected.iter().filter(|(_, of)| of.0 != Presence::Online);
                let longest = idle.min_by_key(|(_, of)| of.1).map(|(vin, _)| *vin);
                longest.is_some_and(|longest| expected.remove(&longest).is_some())
            };
            map.set(vin, presence, now);
            let before = expected.get(&vin).map(|of| of.0);
            if has_room && before != Some(presence) {
                expected.insert(vin, (presence, now));
            }
            let known = map.vehicles.iter();
            let known = known.map(|(vin, known)| (*vin, (known.presence, known.since)));
            assert_eq!(known.collect::<BTreeMap<_, _>>(), expected);
        }
    }

    #[test]
    fn map_full_of_vehicles_online_takes_no_more() {
        let mut map = PresenceMap::new(PresenceSource::Subtopic);
        map.vehicles_max = 2;
        for n in 0..3 {
            assert_eq!(map.set(vin(n), Presence::Online, at(n)), n < 2);
        }
        assert_eq!(map.vehicles(None, None, 100).0.len(), 2);
        assert_eq!(map.of(&vin(2)), Presence::Unknown);
    }

    #[test]
    fn time_of_a_vehicle_that_speaks_counts_anew_where_the_clock_was_set_back() {
        let mut map = PresenceMap::new(PresenceSource::Subtopic);
        map.set(vin(1), Presence::Offline, at(100));
        assert!(!map.spoke(vin(1), at(101)));
        assert!(!map.spoke(vin(1), at(50)));
        assert!(map.spoke(vin(1), at(60)));
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

    #[test]
    fn partner_is_told_of_those_vehicles_only_that_sent_it_something() {
        let (mine, other) = (Uid::parse("mine").unwrap(), Uid::parse("other").unwrap());
        let mut map = PresenceMap::new(PresenceSource::Connections);
        for n in 0..3 {
            map.set(vin(n), Presence::Online, at(n));
        }
        map.introduce(vin(1), &mine, at(9));
        map.introduce(vin(2), &other, at(9));
        map.introduce(vin(3), &mine, at(9));
        let told = |uid| {
            let (page, _) = map.vehicles(None, uid, 10);
            page.into_iter().map(|it| it.vin).collect::<Vec<_>>()
        };
        assert_eq!(told(Some(&mine)), [vin(1), vin(3)]);
        assert_eq!(told(None), [vin(0), vin(1), vin(2), vin(3)]);
        assert_eq!(map.vehicle(&vin(0), Some(&mine)), None);
        assert_eq!(map.vehicle(&vin(2), Some(&mine)), None);
        let known = map.vehicle(&vin(1), Some(&mine)).unwrap();
        assert_eq!((known.presence, known.since), (Presence::Online, at(1)));
        let unheard = map.vehicle(&vin(3), Some(&mine)).unwrap();
        assert_eq!(unheard.presence, Presence::Offline, "it does not listen");
    }

    #[test]
    fn pages_of_vehicles_follow_each_other_and_search_a_bounded_part() {
        let mine = Uid::parse("mine").unwrap();
        let mut map = PresenceMap::new(PresenceSource::Connections);
        for n in 0..SEARCH_MAX + 2 {
            map.set(vin(n), Presence::Online, at(0));
        }
        let (page, next) = map.vehicles(None, None, 2);
        assert_eq!((page.len(), next), (2, Some(vin(1))));
        let last = vin(SEARCH_MAX + 1);
        map.introduce(last, &mine, at(0));
        let (page, next) = map.vehicles(None, Some(&mine), 2);
        assert_eq!((page.len(), next), (0, Some(vin(SEARCH_MAX - 1))));
        let (page, next) = map.vehicles(next.as_ref(), Some(&mine), 2);
        assert_eq!((page[0].vin, next), (last, None));
    }

    #[test]
    fn vehicle_that_names_partners_without_end_keeps_the_newest() {
        let uid = |n: usize| Uid::parse(&format!("partner-{n}")).unwrap();
        let mut map = PresenceMap::new(PresenceSource::Subtopic);
        for n in 0..=PARTNERS_MAX {
            map.introduce(vin(1), &uid(n), at(n));
        }
        assert_eq!(map.vehicle(&vin(1), Some(&uid(0))), None);
        let known = map.vehicle(&vin(1), Some(&uid(PARTNERS_MAX))).unwrap();
        assert_eq!(known.presence, Presence::Unknown);
    }
}
