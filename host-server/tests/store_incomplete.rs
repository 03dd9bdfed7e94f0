//! Long messages from vehicles, part by part, in the store: kept over a restart, whole once, and bounded in
//! all, whatever comes.

mod store_support;

use std::path::Path;
use std::time::{Duration, SystemTime};

use store_support::{downlink, now, open, open_with, settled, uid, vin, wait_until};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::Cursor;
use vinbus_host_server::store::channels::{
    Changed, ChannelChange, ChannelStore as _, NewPart, PartFate, PartTaken,
};
use vinbus_host_server::store::sqlite::{SqliteStore, StoreSettings};
use vinbus_host_server::store::{Store as _, StoreError};
use vinbus_protocol::delivery::parts::piece;
use vinbus_protocol::delivery::{Epoch, MessageId, Novelty, Part, Step};
use vinbus_protocol::limits::DELIVERY_LONG_BYTES_MAX;

const CAR: Epoch = Epoch::FIRST;

fn id(number: u32) -> MessageId {
    MessageId { epoch: CAR, number }
}

/// Makes the channel of a vehicle known, as the server does before it says anything to it.
fn meet(store: &SqliteStore, vehicle: usize) {
    meet_for(store, "partner", vehicle);
}

fn meet_for(store: &SqliteStore, partner: &str, vehicle: usize) {
    begin_life(store, partner, vehicle, CAR);
}

/// A vehicle is in another life, as the server notes before it takes anything of it.
fn begin_life(store: &SqliteStore, partner: &str, vehicle: usize, epoch: Epoch) {
    begin_lives(store, partner, vehicle, [CAR, epoch]);
}

/// The server and a vehicle are in these lives.
fn begin_lives(store: &SqliteStore, partner: &str, vehicle: usize, [own, car]: [Epoch; 2]) {
    let change = ChannelChange {
        session: Some((own, Some(car), 1)),
        ..ChannelChange::default()
    };
    let met = settled(store.change_channel(&vin(vehicle), &uid(partner), change));
    assert_eq!(met, Ok(Changed::default()));
}

/// The part of a text at `offset`, in pieces of 4 bytes.
fn part(vehicle: usize, number: u32, offset: u32, text: &str) -> NewPart {
    NewPart {
        uid: uid("partner"),
        vin: vin(vehicle),
        subtopic: None,
        received_at: now(),
        id: id(number),
        part: Part {
            offset,
            ..Part::first(text)
        },
        piece: piece(text, offset as usize, 4).to_owned(),
        awaited_until: now() + Duration::from_secs(3600),
    }
}

/// What became of a part for which nobody had to make room.
fn taken(store: &SqliteStore, part: NewPart) -> PartFate {
    let PartTaken { fate, dropped } = settled(store.append_part(part)).unwrap();
    assert_eq!(dropped, 0);
    fate
}

/// The payloads of the log.
fn log(store: &SqliteStore) -> Vec<String> {
    let page = store.uplink_after(Cursor(0), None, None, 100).unwrap();
    let payloads = page.messages.into_iter().map(|it| it.message.payload);
    payloads
        .map(|payload| String::from_utf8(payload.to_vec()).unwrap())
        .collect()
}

fn last_part(store: &SqliteStore, vehicle: usize) -> Option<MessageId> {
    let kept = store.channel(&vin(vehicle), &uid("partner")).unwrap();
    kept.and_then(|kept| kept.part)
}

fn is_known(store: &SqliteStore, number: u32) -> bool {
    let kept = store.channel(&vin(1), &uid("partner")).unwrap().unwrap();
    kept.memory.window.novelty(number) == Novelty::Repeated
}

#[test]
fn parts_outlive_the_server_and_their_whole_is_one_message_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[1,2,3,4]";
    let store = open(dir.path()).unwrap();
    meet(&store, 1);
    assert_eq!(taken(&store, part(1, 1, 0, text)), PartFate::Stored);
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(last_part(&store, 1), Some(id(1)));
    assert_eq!(taken(&store, part(1, 2, 4, text)), PartFate::Stored);
    assert!(log(&store).is_empty());
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(last_part(&store, 1), Some(id(2)));
    let whole = taken(&store, part(1, 3, 8, text));
    assert_eq!(whole, PartFate::Whole(Cursor(1)));
    assert_eq!(log(&store), [r#"{"content":[1,2,3,4]}"#]);
    assert_eq!(last_part(&store, 1), None);
    for number in 1..=3 {
        assert!(is_known(&store, number), "{number}");
    }
}

#[test]
fn part_that_does_not_follow_is_refused_and_leaves_no_number_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let (text, other) = ("[1,2,3,4]", "[5,6,7,8]");
    let missing = PartFate::Refused(Step::PartMissing);
    // Nobody has met the vehicle.
    assert_eq!(taken(&store, part(1, 1, 0, text)), missing);
    meet(&store, 1);
    let mut number = 0;
    let mut check = |change: &dyn Fn(&mut NewPart), expected: PartFate| {
        // Each is given after a first part, which it follows or not.
        number += 2;
        assert_eq!(taken(&store, part(1, number, 0, text)), PartFate::Stored);
        let mut next = part(1, number + 1, 4, text);
        change(&mut next);
        assert_eq!(taken(&store, next.clone()), expected, "{next:?}");
        if let PartFate::Refused(_) = expected {
            assert_eq!(last_part(&store, 1), None, "{next:?}");
            assert!(!is_known(&store, number + 1), "{next:?}");
        }
    };
    check(&|_| {}, PartFate::Stored);
    check(&|it| it.part.offset = 3, missing);
    check(
        &|it| {
            it.part = Part {
                offset: 4,
                ..Part::first(other)
            }
        },
        missing,
    );
    check(&|it| it.subtopic = Some("elsewhere".to_owned()), missing);
    check(&|it| it.piece.clear(), PartFate::Refused(Step::BadContent));
    let beyond = "3,4,5,6]".to_owned();
    check(
        &|it| it.piece = beyond.clone(),
        PartFate::Refused(Step::BadContent),
    );
    // It is as long as it says, and something else.
    check(&|it| it.piece = "3,40]".to_owned(), missing);
    // The vehicle lost its memory in between.
    let later = CAR.next().unwrap();
    check(
        &|it| {
            begin_life(&store, "partner", 1, later);
            it.id.epoch = later;
        },
        missing,
    );
    assert!(log(&store).is_empty());
    // What is of the life before comes too late.
    let of_later = |number| MessageId {
        epoch: later,
        number,
    };
    let first = NewPart {
        id: of_later(1),
        ..part(1, 1, 0, text)
    };
    assert_eq!(taken(&store, first), PartFate::Stored);
    assert_eq!(taken(&store, part(1, 90, 0, text)), missing);
    let no_json = NewPart {
        id: of_later(2),
        ..part(1, 2, 0, "[1,2")
    };
    let refused = PartFate::Refused(Step::BadContent);
    assert_eq!(taken(&store, no_json), refused);
}

#[test]
fn another_life_of_either_end_forgets_what_came_and_what_is_incomplete() {
    let later = CAR.next().unwrap();
    for lives in [[CAR, later], [later, CAR]] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        meet(&store, 1);
        assert_eq!(taken(&store, part(1, 1, 0, "[1,2]")), PartFate::Stored);
        meet(&store, 1);
        assert_eq!(
            last_part(&store, 1),
            Some(id(1)),
            "these are the same lives"
        );
        assert!(is_known(&store, 1));
        begin_lives(&store, "partner", 1, lives);
        assert_eq!(last_part(&store, 1), None, "{lives:?}");
        assert!(!is_known(&store, 1), "{lives:?}");
    }
}

#[test]
fn part_that_was_refused_and_comes_once_more_is_not_the_end_of_what_came_since() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    meet(&store, 1);
    let text = "[1,2,3,4]";
    let missing = PartFate::Refused(Step::PartMissing);
    assert_eq!(taken(&store, part(1, 1, 4, text)), missing);
    assert_eq!(taken(&store, part(1, 2, 8, text)), missing);
    assert_eq!(taken(&store, part(1, 3, 0, text)), PartFate::Stored);
    assert_eq!(taken(&store, part(1, 1, 4, text)), missing);
    assert_eq!(taken(&store, part(1, 4, 4, text)), PartFate::Stored);
    assert_eq!(taken(&store, part(1, 2, 8, text)), missing);
    let whole = taken(&store, part(1, 5, 8, text));
    assert_eq!(whole, PartFate::Whole(Cursor(1)));
    assert_eq!(log(&store).len(), 1);
}

/// The first byte of a message that would be of the longest, of a vehicle.
fn greedy(vehicle: usize, heard: SystemTime) -> NewPart {
    NewPart {
        received_at: heard,
        awaited_until: heard + Duration::from_secs(24 * 3600),
        part: Part {
            total: DELIVERY_LONG_BYTES_MAX as u32,
            ..Part::first("[")
        },
        ..part(vehicle, 1, 0, "[")
    }
}

const PARTNERS: [&str; 3] = ["partner", "other", "third"];

/// The same, for one of several partners.
fn greedy_for(partner: usize, vehicle: usize, heard: SystemTime) -> NewPart {
    NewPart {
        uid: uid(PARTNERS[partner]),
        ..greedy(vehicle, heard)
    }
}

#[test]
fn incomplete_messages_are_bounded_in_all_and_only_those_that_are_silent_give_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let begin = now();
    for vehicle in 0..300 {
        meet_for(&store, PARTNERS[vehicle % 3], vehicle);
    }
    let taken_in = |store: &SqliteStore, at: SystemTime| {
        let greedy = (0..300).map(|vehicle| greedy_for(vehicle % 3, vehicle, at));
        greedy
            .filter(|part| taken(store, part.clone()) == PartFate::Stored)
            .count()
    };
    assert_eq!(taken_in(&store, begin), 255);
    // What counts is on disk.
    drop(store);
    let store = open(dir.path()).unwrap();
    let one_more = |at| greedy_for(2, 299, at);
    assert_eq!(taken(&store, one_more(begin)), PartFate::NoRoom);
    // One that is there goes on, in spite of all.
    let more = NewPart {
        id: id(2),
        part: Part {
            offset: 1,
            ..greedy(0, begin).part
        },
        ..greedy(0, begin + Duration::from_secs(60))
    };
    assert_eq!(taken(&store, more), PartFate::Stored);
    let late = begin + Duration::from_secs(600);
    let PartTaken { fate, dropped } = settled(store.append_part(one_more(late))).unwrap();
    assert_eq!((fate, dropped), (PartFate::Stored, 1));
    assert_eq!(last_part(&store, 0), Some(id(2)), "it was not silent");
    let of_others = store.channel(&vin(1), &uid("other")).unwrap().unwrap();
    assert_eq!(of_others.part, None);
}

#[test]
fn vehicle_with_many_partners_has_room_for_three_of_the_longest_until_its_own_are_silent() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let partners: Vec<String> = (0..5).map(|n| format!("partner{n}")).collect();
    let greedy = |partner: &str, at| NewPart {
        uid: uid(partner),
        ..greedy(1, at)
    };
    let (begin, late) = (now(), now() + Duration::from_secs(700));
    for partner in &partners {
        meet_for(&store, partner, 1);
    }
    for (n, partner) in partners.iter().enumerate() {
        let expected = match n < 3 {
            true => PartFate::Stored,
            false => PartFate::NoRoom,
        };
        assert_eq!(taken(&store, greedy(partner, begin)), expected, "{n}");
    }
    // Others are not concerned.
    meet(&store, 2);
    assert_eq!(taken(&store, part(2, 1, 0, "[1,2,3,4]")), PartFate::Stored);
    let next = settled(store.append_part(greedy(&partners[4], late))).unwrap();
    let (fate, dropped) = (PartFate::Stored, 1);
    assert_eq!(next, PartTaken { fate, dropped });
    let part_of = |partner| store.channel(&vin(1), &uid(partner)).unwrap().unwrap().part;
    assert_eq!(part_of(&partners[0]), None);
    assert_eq!(part_of(&partners[1]), Some(id(1)));
    assert_eq!(last_part(&store, 2), Some(id(1)));
}

#[test]
fn partner_with_more_than_half_of_the_room_leaves_the_last_quarter_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let at = now();
    let taken_in = |partner: usize, vehicles: std::ops::Range<usize>| {
        let parts = vehicles.map(|vehicle| {
            meet_for(&store, PARTNERS[partner], vehicle);
            greedy_for(partner, vehicle, at)
        });
        parts
            .filter(|part| taken(&store, part.clone()) == PartFate::Stored)
            .count()
    };
    assert_eq!(taken_in(0, 0..200), 191);
    assert_eq!(taken_in(1, 200..300), 64);
}

#[test]
fn silent_messages_that_would_not_make_room_enough_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_quota(dir.path(), 16 << 20);
    for vehicle in 0..3 {
        meet(&store, vehicle);
    }
    let (begin, late) = (now(), now() + Duration::from_secs(700));
    let silent = NewPart {
        received_at: begin,
        ..part(0, 1, 0, "[1,2,3,4]")
    };
    assert_eq!(taken(&store, silent), PartFate::Stored);
    assert_eq!(taken(&store, greedy(1, late)), PartFate::Stored);
    assert_eq!(taken(&store, greedy(2, late)), PartFate::NoRoom);
    assert_eq!(last_part(&store, 0), Some(id(1)));
}

#[test]
fn incomplete_messages_leave_a_small_store_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_quota(dir.path(), 16 << 20);
    for vehicle in 0..3 {
        meet(&store, vehicle);
    }
    assert_eq!(taken(&store, greedy(0, now())), PartFate::Stored);
    assert_eq!(taken(&store, greedy(1, now())), PartFate::NoRoom);
    assert_eq!(taken(&store, part(2, 1, 0, "[1,2,3,4]")), PartFate::Stored);
}

#[test]
fn message_that_a_small_store_could_never_keep_incomplete_is_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_quota(dir.path(), 8 << 20);
    meet(&store, 1);
    let too_large = PartFate::Refused(Step::TooLarge);
    assert_eq!(taken(&store, greedy(1, now())), too_large);
    assert_eq!(taken(&store, part(1, 2, 0, "[1,2,3,4]")), PartFate::Stored);
}

#[test]
fn message_whose_next_part_is_awaited_no_longer_is_deleted_and_its_room_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for vehicle in 0..256 {
        meet_for(&store, PARTNERS[vehicle % 3], vehicle);
    }
    for vehicle in 0..255 {
        let over = NewPart {
            awaited_until: now() - Duration::from_secs(1),
            ..greedy_for(vehicle % 3, vehicle, now())
        };
        assert_eq!(taken(&store, over), PartFate::Stored);
    }
    let next = || greedy_for(0, 255, now());
    assert_eq!(taken(&store, next()), PartFate::NoRoom);
    drop(store);
    // What is old is looked for when the store is opened.
    let store = open(dir.path()).unwrap();
    wait_until(&store, "they are deleted", || {
        let last = store.channel(&vin(254), &uid(PARTNERS[254 % 3]));
        last.unwrap().unwrap().part.is_none()
    });
    assert_eq!(taken(&store, next()), PartFate::Stored);
}

fn with_quota(dir: &Path, quota_bytes: u64) -> SqliteStore {
    let settings = StoreSettings {
        quota_bytes,
        ..StoreSettings::default()
    };
    open_with(dir, settings, &Metrics::new()).unwrap()
}

#[test]
fn full_store_refuses_a_part_and_takes_it_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_quota(dir.path(), 1 << 20);
    meet(&store, 1);
    let text = "[1,2,3,4]";
    assert_eq!(taken(&store, part(1, 1, 0, text)), PartFate::Stored);
    let waits = || settled(store.append_downlink(downlink(2, vec![b'x'; 100_000]), now()));
    while waits().is_ok() {}
    let full = settled(store.append_part(part(1, 2, 4, text)));
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    assert_eq!(last_part(&store, 1), Some(id(1)));
    assert!(!is_known(&store, 2));
    drop(store);
    let store = with_quota(dir.path(), 8 << 20);
    assert_eq!(taken(&store, part(1, 2, 4, text)), PartFate::Stored);
    let whole = taken(&store, part(1, 3, 8, text));
    assert_eq!(whole, PartFate::Whole(Cursor(1)));
}
