//! Fleet messages on a clock of their own, with vehicles that come and go.

use std::cell::RefCell;
use std::collections::BTreeSet;

use bytes::Bytes;
use vinbus_protocol::id::AppId;

use super::*;
use crate::model::Receipts;

const HOUR: Duration = Duration::from_secs(3600);

fn vin(number: usize) -> Vin {
    Vin::parse(&format!("TESTV{number:012}")).unwrap()
}

fn fleet(number: u64, vehicles: usize, per_second: u32) -> Fleet {
    Fleet {
        id: FleetId(number.to_string()),
        number,
        uid: Uid::parse("partner").unwrap(),
        app: AppId::parse("app").unwrap(),
        envelope: Bytes::new(),
        accepted_at: SystemTime::UNIX_EPOCH,
        expires_at: SystemTime::UNIX_EPOCH + HOUR,
        receipts: Receipts::No,
        per_second,
        state: FleetState::Running,
        vehicles,
    }
}

/// Campaigns on a clock of their own, and who is there.
struct World {
    campaigns: Campaigns,
    begin: Instant,
    now: Instant,
    there: RefCell<BTreeSet<Vin>>,
    /// When which vehicle's message of which fleet message was put on its way.
    put: Vec<(Duration, u64, Vin)>,
    finished: Vec<u64>,
}

impl World {
    fn new(per_second: u32) -> Self {
        let now = Instant::now();
        Self {
            campaigns: Campaigns::new(per_second, now),
            begin: now,
            now,
            there: RefCell::default(),
            put: Vec::new(),
            finished: Vec::new(),
        }
    }

    fn add(&mut self, fleet: Fleet) {
        let vins = (0..fleet.vehicles).map(vin).collect();
        self.campaigns.add(fleet, vins, self.now);
    }

    fn comes(&mut self, vin: Vin) {
        self.there.borrow_mut().insert(vin);
        self.campaigns.vehicle_is_there(&vin);
    }

    /// Lives until then, or until nothing more happens.
    fn live_to(&mut self, end: Duration) {
        let end = self.begin + end;
        loop {
            let time = SystemTime::UNIX_EPOCH + (self.now - self.begin);
            let there = self.there.borrow().clone();
            match self
                .campaigns
                .next(self.now, time, |vin| there.contains(vin))
            {
                Next::Put(fleet, vins) => {
                    for vin in vins {
                        let at = self.now - self.begin;
                        self.put.push((at, fleet.number, vin));
                        self.campaigns.put(fleet.number, &vin);
                    }
                }
                Next::Finish(number) => {
                    self.finished.push(number);
                    self.campaigns.set_state(number, FleetState::Finished);
                }
                Next::Again => {}
                Next::Wait(Some(until)) if until <= end => {
                    assert!(until > self.now, "it never spins");
                    self.now = until;
                }
                Next::Wait(_) => {
                    self.now = end;
                    return;
                }
            }
        }
    }
}

#[test]
fn vehicles_that_are_there_get_theirs_once_and_at_the_rate() {
    let mut world = World::new(100);
    for number in 0..1_000 {
        world.comes(vin(number));
    }
    world.add(fleet(1, 1_000, 50));
    world.live_to(Duration::from_secs(60));
    assert_eq!(world.finished, [1]);
    let vins: BTreeSet<Vin> = world.put.iter().map(|(_, _, vin)| *vin).collect();
    assert_eq!((world.put.len(), vins.len()), (1_000, 1_000));
    for (index, (at, ..)) in world.put.iter().enumerate() {
        let may = 5.0 + 50.0 * at.as_secs_f64();
        assert!((index as f64) < may + 0.01, "{index} by {at:?}");
    }
    let (last, ..) = world.put[999];
    assert!(last < Duration::from_secs(20), "{last:?}");
}

#[test]
fn fleet_messages_share_the_rate_of_all() {
    let mut world = World::new(100);
    for number in 0..500 {
        world.comes(vin(number));
    }
    world.add(fleet(1, 500, 100));
    world.add(fleet(2, 500, 100));
    world.live_to(Duration::from_secs(2));
    let of = |number| world.put.iter().filter(|(_, of, _)| *of == number).count();
    let (one, two) = (of(1), of(2));
    assert!((200..=211).contains(&(one + two)), "{one} {two}");
    assert!(one >= 80 && two >= 80, "{one} {two}");
}

#[test]
fn vehicle_that_is_away_gets_it_when_it_comes_and_not_when_it_has_left_again() {
    let mut world = World::new(10);
    world.add(fleet(1, 3, 10));
    world.live_to(Duration::from_secs(10));
    assert_eq!(world.put, []);
    world.comes(vin(1));
    world.there.borrow_mut().remove(&vin(1));
    world.comes(vin(2));
    world.live_to(Duration::from_secs(20));
    let (at, _, got) = world.put[0];
    assert_eq!((at, got), (Duration::from_secs(10), vin(2)));
    world.comes(vin(1));
    world.live_to(Duration::from_secs(30));
    assert_eq!(world.put[1].2, vin(1));
    assert_eq!(world.put.len(), 2);
}

#[test]
fn paused_ones_wait_and_cancelled_ones_are_forgotten() {
    let mut world = World::new(10);
    for number in 0..100 {
        world.comes(vin(number));
    }
    world.add(fleet(1, 100, 10));
    world.live_to(Duration::from_secs(1));
    let before = world.put.len();
    assert!((10..=12).contains(&before), "{before}");
    world.campaigns.set_state(1, FleetState::Paused);
    world.live_to(Duration::from_secs(5));
    assert_eq!(world.put.len(), before);
    world.campaigns.set_state(1, FleetState::Running);
    world.live_to(Duration::from_secs(6));
    assert!(world.put.len() > before);
    world.campaigns.set_state(1, FleetState::Cancelled);
    let before = world.put.len();
    world.live_to(Duration::from_secs(60));
    assert_eq!(world.put.len(), before);
    assert_eq!(
        world.campaigns.open(&Uid::parse("partner").unwrap()),
        (0, 0)
    );
}

#[test]
fn what_is_over_in_time_is_finished_whoever_waits() {
    let mut world = World::new(10);
    world.add(fleet(1, 10, 10));
    world.live_to(HOUR - Duration::from_secs(1));
    assert_eq!(world.finished, [0; 0]);
    world.live_to(HOUR + Duration::from_secs(1));
    assert_eq!((world.finished, world.put.len()), (vec![1], 0));
}

#[test]
fn vehicle_that_is_full_is_tried_again_after_a_minute_and_keeps_nobody_waiting() {
    let mut world = World::new(10);
    world.add(fleet(1, 2, 10));
    world.there.borrow_mut().extend([vin(0), vin(1)]);
    let there = |_: &Vin| true;
    let time = SystemTime::UNIX_EPOCH;
    assert_eq!(world.campaigns.next(world.now, time, there), Next::Again);
    let Next::Put(_, first) = world.campaigns.next(world.now, time, there) else {
        panic!("both are there");
    };
    assert_eq!(first, [vin(0)], "a tenth of a second's worth");
    world.campaigns.full(1, &vin(0), world.now);
    world.live_to(Duration::from_secs(59));
    assert_eq!(world.put.len(), 1);
    world.live_to(Duration::from_secs(61));
    assert_eq!(world.put[1].2, vin(0));
    assert_eq!(world.finished, [1]);
}
