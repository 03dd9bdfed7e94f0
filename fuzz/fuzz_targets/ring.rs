//! Any sequence of operations leaves the record ring and the pending ring as it leaves a
//! `VecDeque`. The first byte is the size of the buffer; each operation is the two bytes after.
#![no_main]

use std::collections::VecDeque;

use libfuzzer_sys::fuzz_target;
use vinbus_protocol::limits::PENDING_MESSAGES_MAX;
use vinbus_protocol::pending::PendingRing;
use vinbus_protocol::record_ring::{PushError, RECORD_HEADER_BYTES, Record, RecordRing};

fuzz_target!(|input: &[u8]| {
    let Some((&capacity, operations)) = input.split_first() else {
        return;
    };
    let (operations, _) = operations.as_chunks::<2>();
    check_record_ring(capacity, operations);
    check_pending_ring(capacity, operations);
});

type Model = VecDeque<(u64, Vec<u8>)>;

/// Bytes that tell the record's number, so that a mixed-up one is seen.
fn record(number: u64, len: u8) -> Vec<u8> {
    (0..len).map(|at| at.wrapping_add(number as u8)).collect()
}

fn owned(record: Record<'_>) -> (u64, Vec<u8>) {
    (record.number, record.bytes.to_vec())
}

fn check_record_ring(capacity: u8, operations: &[[u8; 2]]) {
    let mut ring = RecordRing::new(vec![0xA5; usize::from(capacity)]);
    let mut model = Model::new();
    let mut next = 0;
    for &[operation, argument] in operations {
        match operation % 4 {
            0 => match ring.push(&record(next, argument)) {
                Ok(number) => {
                    assert_eq!(number, next);
                    model.push_back((next, record(next, argument)));
                    next += 1;
                }
                Err(PushError::TooLarge(error)) => {
                    assert!(usize::from(argument) + RECORD_HEADER_BYTES > usize::from(capacity));
                    assert_eq!(error.max, ring.record_bytes_max());
                }
                Err(PushError::Full) => assert!(!model.is_empty()),
            },
            1 => assert_eq!(ring.pop_front().map(owned), model.pop_front()),
            2 => {
                let last = ring.first_number() + u64::from(argument % 4);
                let before = model.len();
                model.retain(|&(number, _)| number > last);
                assert_eq!(ring.pop_through(last), before - model.len());
            }
            _ => {
                let records_max = usize::from(operation / 4);
                if let Ok(evicted) = ring.make_room(usize::from(argument), records_max) {
                    model.drain(..evicted.total() as usize);
                    assert!(ring.fits(usize::from(argument)));
                }
            }
        }
        assert!(ring.iter().map(owned).eq(model.iter().cloned()));
        assert_eq!(ring.len(), model.len());
    }
}

fn check_pending_ring(capacity: u8, operations: &[[u8; 2]]) {
    let mut ring = PendingRing::new(vec![0xA5; usize::from(capacity)]);
    let mut model = Model::new();
    let (mut next, mut handed_out) = (0, 0);
    for &[operation, argument] in operations {
        match operation % 4 {
            0 => match ring.push(&record(next, argument)) {
                Ok(pushed) => {
                    model.push_back((next, record(next, argument)));
                    model.drain(..pushed.evicted as usize);
                    next += 1;
                }
                Err(error) => assert!(usize::from(argument) > error.max || capacity < 4),
            },
            1 => {
                assert!(ring.hand_out().map(owned).eq(model.iter().cloned()));
                handed_out = next;
            }
            2 => {
                let last = next.saturating_sub(u64::from(argument % 16));
                let before = model.len();
                model.retain(|&(number, _)| number > last || number >= handed_out);
                assert_eq!(ring.confirm(last), before - model.len());
            }
            _ => {
                let mut taken = Model::new();
                ring.drain(|record| taken.push_back(owned(record)));
                assert_eq!(taken, std::mem::take(&mut model));
                handed_out = next;
            }
        }
        assert!(ring.iter().map(owned).eq(model.iter().cloned()));
        assert!(ring.len() <= PENDING_MESSAGES_MAX);
        let counters = ring.counters();
        let evicted = counters.evicted_by_count + counters.evicted_by_bytes;
        assert_eq!(next, evicted + counters.drained + ring.len() as u64);
    }
}
