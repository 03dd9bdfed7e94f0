//! The edges of the ring: its buffer full to the byte, wrapped around and empty again.

use super::*;
use std::vec;
use std::vec::Vec;

#[test]
fn record_longer_than_the_buffer_is_refused_to_the_byte() {
    let mut ring = RecordRing::new([0; RECORD_HEADER_BYTES + 8]);
    assert_eq!(ring.push(&[1; 8]), Ok(0));
    ring.pop_front();
    assert_eq!(
        ring.push(&[1; 9]),
        Err(PushError::TooLarge(TooLarge { len: 9, max: 8 }))
    );
}

#[test]
fn buffer_shorter_than_a_header_holds_nothing() {
    for mut ring in [
        RecordRing::new(&mut [][..]),
        RecordRing::new(&mut [0; RECORD_HEADER_BYTES - 1][..]),
    ] {
        assert_eq!(
            ring.push(&[]),
            Err(PushError::TooLarge(TooLarge { len: 0, max: 0 }))
        );
        let too_large = PushError::TooLarge(TooLarge { len: 0, max: 0 });
        assert_eq!(ring.make_room(0, 1, 0), Err(too_large));
        assert!(!ring.fits(0));
        assert_eq!(ring.pop_front(), None);
    }
}

#[test]
fn length_that_would_overflow_is_refused() {
    let mut ring = RecordRing::new([0; RECORD_HEADER_BYTES + 8]);
    let huge = PushError::TooLarge(TooLarge {
        len: usize::MAX,
        max: 8,
    });
    let pushed = ring.push_with(usize::MAX, |_| unreachable!());
    assert_eq!(pushed, Err(huge));
    let inserted = ring.insert_with(0, usize::MAX, |_| unreachable!());
    assert_eq!(inserted, Err(huge));
    assert_eq!(ring.make_room(usize::MAX, 1, 0), Err(huge));
}

#[test]
fn emptied_ring_starts_again_at_the_front() {
    let mut ring = RecordRing::new([0; 64]);
    for round in 0..100 {
        ring.push(&[round; 8]).unwrap();
        ring.pop_front();
    }
    let untouched = &ring.storage[RECORD_HEADER_BYTES + 8..];
    assert!(untouched.iter().all(|&byte| byte == 0));
}

/// The numbers of the records, after a look at their bytes, which are to be their number.
fn numbers<S: AsRef<[u8]> + AsMut<[u8]>>(ring: &RecordRing<S>) -> Vec<u64> {
    let check = |record: Record<'_>| {
        let mut bytes = record.bytes.iter();
        assert!(bytes.all(|&byte| u64::from(byte) == record.number));
        record.number
    };
    ring.iter().map(check).collect()
}

#[test]
fn record_that_does_not_fit_at_the_end_is_stored_whole_at_the_front() {
    let mut ring = RecordRing::new([0; 56]);
    ring.push(&[0; 8]).unwrap();
    ring.push(&[1; 8]).unwrap();
    ring.pop_front();
    ring.push(&[2; 6]).unwrap();
    assert_eq!(ring.wrap, Some(40));
    assert_eq!(ring.push(&[3; 7]), Err(PushError::Full));
    assert_eq!(numbers(&ring), [1, 2]);
    assert_eq!(ring.pop_front().unwrap().bytes, [1; 8]);
    assert_eq!(ring.pop_front().unwrap().bytes, [2; 6]);
    assert!(ring.is_empty());
}

#[test]
fn free_bytes_in_two_pieces_are_one_for_a_record_that_needs_both() {
    let mut ring = RecordRing::new([0; 3 * RECORD_HEADER_BYTES + 24]);
    ring.push(&[0; 8]).unwrap();
    ring.push(&[1; 8]).unwrap();
    ring.pop_front();
    assert_eq!(ring.push(&[2; 16]), Ok(2), "in front and behind");
    ring.pop_front();
    ring.push(&[3; 4]).unwrap();
    assert!(ring.wrap.is_some());
    assert_eq!(ring.push(&[4; 5]), Err(PushError::Full));
    assert_eq!(ring.push(&[4; 4]), Ok(4), "to the last byte");
    assert_eq!(numbers(&ring), [2, 3, 4]);
}

#[test]
fn record_that_comes_back_takes_its_place_by_number() {
    for gone in 0..6 {
        for wrapped in [false, true] {
            let mut ring = RecordRing::new([0; 160]);
            if wrapped {
                ring.push(&[9; 60]).unwrap();
                ring.push(&[9; 50]).unwrap();
                ring.pop_front();
                ring.next_number = 0;
            }
            for n in 0..6_u8 {
                if u64::from(n) == gone {
                    ring.skip_to(gone + 1);
                } else {
                    ring.push(&vec![n; usize::from(n)]).unwrap();
                }
                if n == 0 && wrapped {
                    ring.pop_front();
                }
            }
            let before = numbers(&ring);
            let len = 20 - before.len();
            ring.insert_with(gone, len, |bytes| bytes.fill(gone as u8))
                .unwrap();
            let mut expected = before;
            expected.push(gone);
            expected.sort_unstable();
            assert_eq!(numbers(&ring), expected);
            assert_eq!(ring.push(&[6]), Ok(6));
        }
    }
}

#[test]
fn record_goes_from_any_place_and_its_bytes_are_free() {
    for gone in 0..4_u64 {
        for popped in 0..2_u8 {
            let mut ring = RecordRing::new([0; 4 * (RECORD_HEADER_BYTES + 10)]);
            for n in 0..4 + popped {
                if ring.len() == 4 {
                    ring.pop_front();
                }
                ring.push(&[n; 10]).unwrap();
            }
            let gone = gone + u64::from(popped);
            assert!(ring.remove(gone));
            assert!(!ring.remove(gone), "it is gone");
            let next = 4 + popped;
            assert_eq!(ring.push(&[next; 10]), Ok(u64::from(next)));
            let all = u64::from(popped)..=u64::from(next);
            let expected: Vec<_> = all.filter(|&n| n != gone).collect();
            assert_eq!(numbers(&ring), expected);
        }
    }
}

#[test]
fn room_is_made_behind_what_stays_or_not_at_all() {
    let mut ring = RecordRing::new([0; 3 * (RECORD_HEADER_BYTES + 10)]);
    for n in 0..3_u8 {
        ring.push(&[n; 10]).unwrap();
    }
    let full = Err(PushError::Full);
    let beside = 2 * (RECORD_HEADER_BYTES + 10) - RECORD_HEADER_BYTES;
    assert_eq!(ring.make_room(beside + 1, 9, 1), full, "by bytes");
    assert_eq!(ring.make_room(1, 1, 1), full, "by count");
    assert_eq!(numbers(&ring), [0, 1, 2]);
    let evicted = ring.make_room(10, 9, 1).unwrap();
    assert_eq!((evicted.by_count, evicted.by_bytes), (0, 1));
    assert_eq!(numbers(&ring), [0, 2]);
    let evicted = ring.make_room(beside, 2, 1).unwrap();
    assert_eq!((evicted.by_count, evicted.by_bytes), (1, 0));
    ring.push(&vec![3; beside]).unwrap();
    assert_eq!(numbers(&ring), [0, 3]);
}

#[test]
fn popping_by_number_skips_what_is_already_gone() {
    let mut ring = RecordRing::new([0; 64]);
    for byte in 0..4 {
        ring.push(&[byte]).unwrap();
    }
    ring.pop_front();
    assert_eq!(ring.pop_through(0), 0);
    assert_eq!(ring.pop_through(2), 2);
    assert_eq!(
        ring.front(),
        Some(Record {
            number: 3,
            bytes: &[3]
        })
    );
    assert_eq!(ring.pop_through(u64::MAX), 1);
    assert_eq!(ring.first_number(), 4);
}

#[test]
fn storage_sums_do_not_overflow() {
    assert_eq!(storage_bytes_for(0, usize::MAX), 0);
    assert_eq!(storage_bytes_for(1, 8), 20);
    assert_eq!(storage_bytes_for(2, 8), 40);
    assert_eq!(storage_bytes_for(usize::MAX, usize::MAX), usize::MAX);
}
