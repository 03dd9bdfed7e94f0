//! Any sequence of operations leaves the record ring and the pending ring as it leaves an ordered
//! map. The first byte is the size of the buffer; each operation is the two bytes after.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::fuzz_target;
use vinbus_protocol::limits::PENDING_MESSAGES_MAX;
use vinbus_protocol::pending::{PendingRing, Pushed};
use vinbus_protocol::record_ring::{PushError, RECORD_HEADER_BYTES, Record, RecordRing};

fuzz_target!(|input: &[u8]| {
    let Some((&capacity, operations)) = input.split_first() else {
        return;
    };
    let (operations, _) = operations.as_chunks::<2>();
    check_record_ring(capacity, operations);
    check_pending_ring(capacity, operations);
});

/// Records by number.
type Model = BTreeMap<u64, Vec<u8>>;

/// Bytes that tell the record's number, so that a mixed-up one is seen.
fn record(number: u64, len: u8) -> Vec<u8> {
    (0..len).map(|at| at.wrapping_add(number as u8)).collect()
}

fn owned(record: Record<'_>) -> (u64, Vec<u8>) {
    (record.number, record.bytes.to_vec())
}

fn bytes_of(model: &Model) -> usize {
    let sizes = model
        .values()
        .map(|bytes| RECORD_HEADER_BYTES + bytes.len());
    sizes.sum()
}

/// What there was room for was stored, and nothing else.
fn check_stored<T>(stored: &Result<T, PushError>, len: u8, model: &Model, capacity: u8) {
    let (needed, capacity) = (
        RECORD_HEADER_BYTES + usize::from(len),
        usize::from(capacity),
    );
    match stored {
        Ok(_) => assert!(bytes_of(model) + needed <= capacity),
        Err(PushError::TooLarge(_)) => assert!(needed > capacity),
        Err(PushError::Full) => assert!(bytes_of(model) + needed > capacity),
    }
}

fn check_record_ring(capacity: u8, operations: &[[u8; 2]]) {
    let mut ring = RecordRing::new(vec![0xA5; usize::from(capacity)]);
    let mut model = Model::new();
    let mut next = 0;
    for &[operation, argument] in operations {
        let more = operation / 8;
        match operation % 8 {
            0 => {
                let pushed = ring.push(&record(next, argument));
                check_stored(&pushed, argument, &model, capacity);
                if let Ok(number) = pushed {
                    assert_eq!(number, next);
                    model.insert(next, record(next, argument));
                    next += 1;
                }
            }
            1 => assert_eq!(ring.pop_front().map(owned), model.pop_first()),
            2 => {
                let last = ring.first_number() + u64::from(argument % 4);
                let before = model.len();
                model.retain(|&number, _| number > last);
                assert_eq!(ring.pop_through(last), before - model.len());
            }
            4 if !model.contains_key(&u64::from(argument)) => {
                let number = u64::from(argument);
                let bytes = record(number, more);
                let inserted = ring.insert_with(number, bytes.len(), |room| {
                    room.copy_from_slice(&bytes);
                });
                check_stored(&inserted, more, &model, capacity);
                if inserted.is_ok() {
                    model.insert(number, bytes);
                    next = next.max(number + 1);
                }
            }
            4 => {}
            5 => {
                let number = u64::from(argument);
                assert_eq!(ring.remove(number), model.remove(&number).is_some());
            }
            6 => {
                next += u64::from(argument % 4);
                ring.skip_to(next);
            }
            // Without and with one that stays.
            operation => {
                let stay = usize::from(operation == 7);
                let made = ring.make_room(usize::from(argument), usize::from(more), stay);
                if let Ok(evicted) = made {
                    let behind: Vec<_> = model.keys().copied().skip(stay).collect();
                    for number in behind.into_iter().take(evicted.total() as usize) {
                        model.remove(&number);
                    }
                    assert!(ring.fits(usize::from(argument)));
                }
            }
        }
        assert!(ring.iter().map(owned).eq(model.clone()));
        assert_eq!((ring.len(), ring.next_number()), (model.len(), next));
    }
}

/// The last ten by number: the oldest go, whether they come or are there.
#[derive(Default)]
struct PendingModel {
    capacity: usize,
    messages: Model,
    handed_out: BTreeSet<u64>,
    stored: u64,
    evicted: u64,
    drained: u64,
}

impl PendingModel {
    fn store(&mut self, number: u64, bytes: Vec<u8>, pushed: Pushed) {
        let before = self.evicted;
        self.handed_out.remove(&number);
        self.messages.insert(number, bytes);
        self.stored += 1;
        while self.messages.len() > PENDING_MESSAGES_MAX || bytes_of(&self.messages) > self.capacity
        {
            self.messages.pop_first();
            self.evicted += 1;
        }
        let kept = self.messages.contains_key(&number);
        assert_eq!((pushed.number, pushed.kept), (number, kept));
        let evicted = u64::from(pushed.evicted) + u64::from(!kept);
        assert_eq!(evicted, self.evicted - before);
    }

    /// The app takes some of them; returns how many it got.
    fn take(&mut self, takes: impl Fn(u64) -> bool) -> usize {
        let before = self.messages.len();
        self.messages.retain(|&number, _| !takes(number));
        let taken = before - self.messages.len();
        self.drained += taken as u64;
        taken
    }
}

fn check_pending_ring(capacity: u8, operations: &[[u8; 2]]) {
    let mut ring = PendingRing::new(vec![0xA5; usize::from(capacity)]);
    let mut model = PendingModel {
        capacity: usize::from(capacity),
        ..PendingModel::default()
    };
    // Messages that went to the app at once, and their lengths.
    let mut passed = Vec::new();
    for &[operation, argument] in operations {
        let next = ring.next_number();
        let is_too_large = |len| RECORD_HEADER_BYTES + usize::from(len) > usize::from(capacity);
        match operation % 8 {
            1 => {
                assert!(ring.hand_out().map(owned).eq(model.messages.clone()));
                model.handed_out = model.messages.keys().copied().collect();
            }
            2 => {
                let last = next.saturating_sub(u64::from(argument % 16));
                let handed_out = model.handed_out.clone();
                let taken = model.take(|number| number <= last && handed_out.contains(&number));
                assert_eq!(ring.confirm(last), taken);
            }
            3 => {
                let mut taken = Vec::new();
                ring.drain(|record| taken.push(owned(record)));
                assert!(taken.into_iter().eq(model.messages.clone()));
                model.take(|_| true);
            }
            4 if !passed.is_empty() => {
                let (number, len) = passed.swap_remove(usize::from(argument) % passed.len());
                match ring.put_back(number, &record(number, len)) {
                    Ok(pushed) => model.store(number, record(number, len), pushed),
                    Err(_) => assert!(is_too_large(len)),
                }
            }
            4 => {}
            5 => {
                let number = u64::from(argument);
                let taken = model.take(|other| other == number);
                assert_eq!(ring.confirm_one(number), taken == 1);
            }
            6 => {
                assert_eq!(ring.pass(), next);
                passed.push((next, argument));
            }
            _ => match ring.push(&record(next, argument)) {
                Ok(pushed) => {
                    assert!(pushed.kept);
                    model.store(next, record(next, argument), pushed);
                }
                Err(_) => assert!(is_too_large(argument)),
            },
        }
        assert!(ring.iter().map(owned).eq(model.messages.clone()));
        assert_eq!(ring.len(), model.messages.len());
        let counters = ring.counters();
        assert_eq!(counters.stored, model.stored);
        let evicted = counters.evicted_by_count + counters.evicted_by_bytes;
        assert_eq!((evicted, counters.drained), (model.evicted, model.drained));
        assert_eq!(
            counters.stored,
            evicted + counters.drained + ring.len() as u64
        );
    }
}
