//! What the lanes do, one event after the other.

use std::time::SystemTime;

use bytes::Bytes;
use vinbus_protocol::id::AppId;

use super::*;
use crate::model::{MessageId, NewDownlink, Receipts};

pub(super) fn vin(number: usize) -> Vin {
    Vin::parse(&format!("TESTV{number:012}")).unwrap()
}

pub(super) fn of(uid: &str, number: usize) -> LaneId {
    LaneId {
        vin: vin(number),
        uid: Uid::parse(uid).unwrap(),
    }
}

pub(super) fn id(number: usize) -> LaneId {
    of("partner", number)
}

pub(super) fn downlink(id: &LaneId, sequence: u64) -> Downlink {
    Downlink {
        id: MessageId(sequence.to_string()),
        sequence,
        message: NewDownlink {
            uid: id.uid.clone(),
            vin: id.vin,
            app: AppId::parse("app").unwrap(),
            envelope: Bytes::new(),
            expires_at: SystemTime::UNIX_EPOCH,
            receipts: Receipts::No,
            key: None,
        },
    }
}

pub(super) fn bounds(lane_messages: usize, messages: usize) -> Bounds {
    let many = Load {
        messages,
        bytes: u64::MAX,
    };
    Bounds {
        lane_messages,
        partner: many,
        all: many,
    }
}

fn lanes() -> Lanes {
    Lanes::new([], bounds(2, 3))
}

fn accept(lanes: &mut Lanes, id: &LaneId, sequence: u64) {
    lanes.reserve(id, 0).unwrap();
    lanes.accepted(id, &downlink(id, sequence));
}

fn taken(lanes: &mut Lanes) -> Option<LaneId> {
    lanes.take(Instant::now()).map(|(run, _)| run.lane)
}

#[test]
fn limits_are_per_lane_and_for_all() {
    let mut lanes = lanes();
    accept(&mut lanes, &id(1), 1);
    accept(&mut lanes, &id(1), 2);
    assert_eq!(
        lanes.reserve(&id(1), 0),
        Err(SubmitError::VehicleQueueFull {
            vin: vin(1),
            max: 2
        })
    );
    accept(&mut lanes, &of("other", 1), 3);
    assert_eq!(
        lanes.reserve(&id(3), 0),
        Err(SubmitError::QueueFull { max: 3 })
    );
    lanes.finished(&id(1), 1, 0);
    assert_eq!(lanes.reserve(&id(3), 0), Ok(()));
}

#[test]
fn one_partner_fills_its_share_and_leaves_the_rest_to_others() {
    let mut bounds = bounds(100, 6);
    bounds.partner.messages = 2;
    let (uid, mut lanes) = (id(1).uid, Lanes::new([], bounds));
    lanes.reserve(&id(1), 0).unwrap();
    lanes.reserve(&id(2), 0).unwrap();
    let full = SubmitError::PartnerQueueFull { uid, max: 2 };
    assert_eq!(lanes.reserve(&id(3), 0), Err(full));
    assert_eq!(lanes.reserve(&of("other", 3), 0), Ok(()));
    lanes.not_stored(&id(1), 0);
    assert_eq!(lanes.reserve(&id(3), 0), Ok(()));
}

#[test]
fn bytes_are_limited_for_a_partner_and_for_all_and_given_back() {
    let mut bounds = bounds(100, 100);
    (bounds.partner.bytes, bounds.all.bytes) = (10_000, 15_000);
    let LaneId { vin, uid } = id(1);
    let backlog = Backlog {
        vin,
        uid: uid.clone(),
        messages: 1,
        bytes: 3_000,
        held_to: 0,
    };
    let mut lanes = Lanes::new([backlog], bounds);
    lanes.reserve(&id(2), 5_000).unwrap();
    let full = SubmitError::PartnerBytesFull { uid, max: 10_000 };
    assert_eq!(lanes.reserve(&id(3), 1_000), Err(full));
    let full = SubmitError::QueueBytesFull { max: 15_000 };
    assert_eq!(lanes.reserve(&of("other", 3), 6_000), Err(full));
    lanes.finished(&id(1), 1, 3_000);
    lanes.not_stored(&id(2), 5_000);
    assert!(lanes.quota.is_empty());
    assert_eq!(lanes.reserve(&id(3), 9_000), Ok(()));
}

#[test]
fn a_lane_is_run_by_one_worker_and_again_when_woken_meanwhile() {
    let mut lanes = lanes();
    accept(&mut lanes, &id(1), 1);
    assert_eq!(taken(&mut lanes), Some(id(1)));
    accept(&mut lanes, &id(1), 2);
    assert_eq!(taken(&mut lanes), None);
    lanes.finished(&id(1), 1, 0);
    lanes.park(&id(1), 0);
    assert_eq!(taken(&mut lanes), Some(id(1)));
    lanes.finished(&id(1), 2, 0);
    lanes.park(&id(1), 0);
    assert_eq!((taken(&mut lanes), lanes.unsent()), (None, 0));
    assert!(lanes.vehicles.is_empty());
}

#[test]
fn vehicles_and_partners_take_turns() {
    let mut lanes = lanes();
    accept(&mut lanes, &id(1), 1);
    accept(&mut lanes, &of("other", 1), 2);
    accept(&mut lanes, &id(1), 3);
    let (first, more) = lanes.take(Instant::now()).unwrap();
    assert_eq!((first.lane, more), (id(1), true));
    let (second, more) = lanes.take(Instant::now()).unwrap();
    assert_eq!((second.lane, more), (of("other", 1), false));
}

#[test]
fn waking_a_vehicle_wakes_the_lanes_of_all_partners_once() {
    let mut lanes = lanes();
    for id in [id(1), of("other", 1), id(2)] {
        lanes.reserve(&id, 0).unwrap();
    }
    lanes.wake_vehicle(vin(1));
    lanes.wake_vehicle(vin(1));
    let mut woken = [taken(&mut lanes), taken(&mut lanes), taken(&mut lanes)];
    woken.sort_by_key(|id| id.as_ref().map(|id| id.uid.clone()));
    assert_eq!(woken, [None, Some(of("other", 1)), Some(id(1))]);
}

#[test]
fn only_a_lonely_message_is_kept_in_memory() {
    let mut lanes = lanes();
    accept(&mut lanes, &id(1), 1);
    assert_eq!(
        lanes.take(Instant::now()).unwrap().0.fresh,
        Some(downlink(&id(1), 1))
    );
    lanes.reserve(&id(2), 0).unwrap();
    lanes.reserve(&id(2), 0).unwrap();
    lanes.accepted(&id(2), &downlink(&id(2), 2));
    assert_eq!(lanes.take(Instant::now()).unwrap().0.fresh, None);
}

#[test]
fn backlog_of_the_store_counts_and_is_run_when_all_are_woken() {
    let LaneId { vin, uid } = id(1);
    let backlog = Backlog {
        vin,
        uid,
        messages: 2,
        bytes: 100,
        held_to: 7,
    };
    let mut lanes = Lanes::new([backlog], bounds(2, 3));
    assert!(lanes.reserve(&id(1), 0).is_err());
    lanes.wake_all();
    lanes.wake_all();
    assert_eq!(lanes.take(Instant::now()).unwrap().0.held_to, 7);
    assert_eq!(taken(&mut lanes), None);
}

#[test]
fn message_that_is_sent_before_it_is_told_as_accepted_counts_for_no_other() {
    let mut lanes = lanes();
    let id = id(1);
    lanes.reserve(&id, 0).unwrap();
    lanes.reserve(&id, 0).unwrap();
    lanes.accepted(&id, &downlink(&id, 1));
    assert_eq!(taken(&mut lanes), Some(id.clone()));
    lanes.finished(&id, 1, 0);
    lanes.finished(&id, 2, 0);
    lanes.park(&id, 0);
    lanes.reserve(&id, 0).unwrap();
    lanes.accepted(&id, &downlink(&id, 2));
    assert_eq!(taken(&mut lanes), None);
    lanes.accepted(&id, &downlink(&id, 3));
    assert_eq!(
        lanes.take(Instant::now()).unwrap().0.fresh,
        Some(downlink(&id, 3))
    );
}

#[test]
fn message_that_is_not_stored_leaves_nothing() {
    let mut lanes = lanes();
    lanes.reserve(&id(1), 0).unwrap();
    lanes.not_stored(&id(1), 0);
    assert_eq!(lanes.unsent(), 0);
    assert!(lanes.vehicles.is_empty());
}

#[test]
fn lane_that_is_stuck_rests_longer_each_time_until_it_is_woken_or_sends() {
    let mut lanes = lanes();
    let id = id(1);
    let mut now = Instant::now();
    accept(&mut lanes, &id, 1);
    accept(&mut lanes, &id, 2);
    let mut rested = |lanes: &mut Lanes| {
        lanes.take(now).unwrap();
        lanes.rest(&id, 0, now);
        assert!(lanes.take(now).is_none());
        let until = lanes.next_rested().unwrap();
        let seconds = (until - now).as_secs();
        now = until;
        seconds
    };
    let seconds = std::array::from_fn(|_| rested(&mut lanes));
    assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 32]);
    lanes.wake(&id);
    assert_eq!(rested(&mut lanes), 1);
    lanes.finished(&id, 1, 0);
    assert_eq!(rested(&mut lanes), 1);
}

#[test]
fn lane_that_is_woken_while_it_runs_does_not_rest_and_one_with_more_messages_does() {
    let mut lanes = lanes();
    let now = Instant::now();
    accept(&mut lanes, &id(1), 1);
    lanes.take(now).unwrap();
    accept(&mut lanes, &id(1), 2);
    lanes.rest(&id(1), 0, now);
    assert!(lanes.take(now).is_none());
    lanes.wake_vehicle(vin(1));
    lanes.take(now).unwrap();
    lanes.wake_vehicle(vin(1));
    lanes.rest(&id(1), 0, now);
    assert!(lanes.take(now).is_some());
    assert_eq!(lanes.next_rested(), None);
}

#[test]
fn claimed_lane_is_nobody_elses_and_loses_what_expired() {
    let mut lanes = Lanes::new([], bounds(10, 10));
    for sequence in 1..=3 {
        accept(&mut lanes, &id(1), sequence);
    }
    assert!(lanes.claim(&id(1)).is_none(), "it waits for a worker");
    let run = lanes.take(Instant::now()).unwrap().0;
    assert!(lanes.claim(&id(1)).is_none(), "a worker runs it");
    lanes.park(&run.lane, 3);
    lanes.reserve(&id(1), 0).unwrap();
    assert!(lanes.claim(&id(1)).is_none(), "a message is on its way");
    lanes.not_stored(&id(1), 0);

    let claim = lanes.claim(&id(1)).unwrap();
    assert!(lanes.claim(&id(1)).is_none(), "it is claimed");
    lanes.finished(&id(1), 2, 0);
    accept(&mut lanes, &id(1), 4);
    lanes.release(&id(1), &claim);
    assert_eq!(lanes.unsent(), 3);
    let run = lanes.take(Instant::now()).unwrap().0;
    assert_eq!((run.held_to, run.fresh), (3, None));
}

#[test]
fn claimed_lane_that_rested_is_run_again_and_an_empty_one_is_removed() {
    let mut lanes = Lanes::new([], bounds(10, 10));
    accept(&mut lanes, &id(1), 1);
    let now = Instant::now();
    let run = lanes.take(now).unwrap().0;
    lanes.rest(&run.lane, 0, now);
    let claim = lanes.claim(&id(1)).unwrap();
    assert_eq!(lanes.next_rested(), None);
    lanes.release(&id(1), &claim);
    let run = lanes.take(now).unwrap().0;
    lanes.park(&run.lane, 1);

    let claim = lanes.claim(&id(1)).unwrap();
    lanes.finished(&id(1), 1, 0);
    lanes.release(&id(1), &claim);
    assert!(lanes.vehicles.is_empty());
    assert_eq!(lanes.unsent(), 0);
}

#[test]
fn message_that_expires_before_an_earlier_one_is_told_of_holds_that_up_for_nobody() {
    for told_first in [1, 2] {
        let mut lanes = Lanes::new([], bounds(10, 10));
        let id = id(1);
        // One that is held keeps the lane, which somebody looks at for what has expired.
        accept(&mut lanes, &id, 1);
        lanes.take(Instant::now()).unwrap();
        lanes.park(&id, 1);
        let claim = lanes.claim(&id).unwrap();
        // Two more are on the disk before anybody is told of them, and the second expires at once.
        lanes.reserve(&id, 0).unwrap();
        lanes.reserve(&id, 0).unwrap();
        lanes.finished(&id, 3, 0);
        lanes.release(&id, &claim);
        lanes.accepted(&id, &downlink(&id, 1 + told_first));
        lanes.accepted(&id, &downlink(&id, 4 - told_first));
        let run = lanes.take(Instant::now()).expect("the lane is run").0;
        assert_eq!((run.lane, run.fresh), (id, None));
        assert_eq!(lanes.unsent(), 2);
    }
}

#[test]
fn message_that_returns_and_is_sent_before_that_is_told_takes_no_place_for_ever() {
    let mut lanes = lanes();
    accept(&mut lanes, &id(1), 1);
    assert_eq!(taken(&mut lanes), Some(id(1)));
    lanes.finished(&id(1), 1, 0);
    // The worker looks for more, and finds the message that is being written.
    lanes.returning(&id(1), 0);
    lanes.finished(&id(1), 1, 0);
    lanes.returned(&id(1));
    lanes.park(&id(1), 0);
    // It looks once more, in vain.
    assert_eq!(taken(&mut lanes), Some(id(1)));
    lanes.park(&id(1), 0);
    assert_eq!((lanes.unsent(), lanes.vehicles.len()), (0, 0));
}

#[test]
fn message_that_returns_has_its_place_and_is_sent_though_its_lane_was_gone() {
    let mut lanes = lanes();
    lanes.returning(&id(1), 0);
    assert_eq!((lanes.unsent(), taken(&mut lanes)), (1, None));
    lanes.not_stored(&id(1), 0);
    assert_eq!((lanes.unsent(), lanes.vehicles.len()), (0, 0));
    lanes.returning(&id(1), 0);
    lanes.returned(&id(1));
    assert_eq!(taken(&mut lanes), Some(id(1)));
    lanes.finished(&id(1), 1, 0);
    lanes.park(&id(1), 0);
    assert_eq!((lanes.unsent(), lanes.vehicles.len()), (0, 0));
}
