//! The record ring, the pending ring and the uplink queue against reference models that a reader
//! can check at a glance, under random operations. A failure prints the operations that lead to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::backoff::Backoff;
use vinbus_protocol::limits::{PENDING_MESSAGES_MAX, SUBTOPIC_BYTES_MAX};
use vinbus_protocol::pending::PendingRing;
use vinbus_protocol::record_ring::{PushError, RECORD_HEADER_BYTES, RecordRing, storage_bytes_for};
use vinbus_protocol::uplink_queue::{self, DropPolicy, UplinkQueue, UplinkRefusal};

/// A record whose bytes tell its number, so that a mixed-up one is seen.
fn record(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (number * 31 + at) as u8).collect()
}

#[derive(Clone, Debug)]
enum RingOp {
    Push(usize),
    /// Leaves out numbers.
    Skip(u64),
    /// Stores a record under this number, if it has none.
    Insert(u64, usize),
    PopFront,
    PopThrough(u64),
    Remove(u64),
    MakeRoom(usize, usize, usize),
}

fn ring_op() -> impl Strategy<Value = RingOp> {
    prop_oneof![
        4 => (0..40_usize).prop_map(RingOp::Push),
        1 => (0..4_u64).prop_map(RingOp::Skip),
        2 => (0..200_u64, 0..40_usize).prop_map(|(number, len)| RingOp::Insert(number, len)),
        2 => Just(RingOp::PopFront),
        1 => (0..200_u64).prop_map(RingOp::PopThrough),
        2 => (0..200_u64).prop_map(RingOp::Remove),
        1 => (0..40_usize, 0..8_usize, 0..3_usize)
            .prop_map(|(len, max, stay)| RingOp::MakeRoom(len, max, stay)),
    ]
}

/// Records by number.
type Model = BTreeMap<u64, Vec<u8>>;

fn bytes_of(model: &Model) -> usize {
    let sizes = model
        .values()
        .map(|bytes| RECORD_HEADER_BYTES + bytes.len());
    sizes.sum()
}

/// Whether a record of this length was stored as it should have been.
fn check_stored<T>(
    stored: &Result<T, PushError>,
    len: usize,
    model: &Model,
    capacity: usize,
) -> Result<(), TestCaseError> {
    let needed = RECORD_HEADER_BYTES + len;
    match stored {
        Ok(_) => prop_assert!(bytes_of(model) + needed <= capacity),
        Err(PushError::TooLarge(_)) => prop_assert!(needed > capacity),
        Err(PushError::Full) => prop_assert!(bytes_of(model) + needed > capacity),
    }
    Ok(())
}

proptest! {
    #[test]
    fn record_ring_is_a_map_in_which_no_byte_is_wasted(
        capacity in 0..240_usize,
        ops in vec(ring_op(), 0..200),
    ) {
        let mut ring = RecordRing::new(vec![0xA5; capacity]);
        let mut model = Model::new();
        let mut next = 0;
        for op in ops {
            match op {
                RingOp::Push(len) => {
                    let pushed = ring.push(&record(next, len));
                    check_stored(&pushed, len, &model, capacity)?;
                    if let Ok(number) = pushed {
                        prop_assert_eq!(number, next);
                        model.insert(next, record(next, len));
                        next += 1;
                    }
                }
                RingOp::Skip(numbers) => {
                    next += numbers;
                    ring.skip_to(next);
                }
                RingOp::Insert(number, len) => if !model.contains_key(&number) {
                    let bytes = record(number, len);
                    let inserted = ring.insert_with(number, len, |room| room.copy_from_slice(&bytes));
                    check_stored(&inserted, len, &model, capacity)?;
                    if inserted.is_ok() {
                        model.insert(number, bytes);
                        next = next.max(number + 1);
                    }
                }
                RingOp::PopFront => {
                    let popped = ring.pop_front().map(|r| (r.number, r.bytes.to_vec()));
                    prop_assert_eq!(popped, model.pop_first());
                }
                RingOp::PopThrough(last) => {
                    let before = model.len();
                    model.retain(|&number, _| number > last);
                    prop_assert_eq!(ring.pop_through(last), before - model.len());
                }
                RingOp::Remove(number) => {
                    prop_assert_eq!(ring.remove(number), model.remove(&number).is_some());
                }
                RingOp::MakeRoom(len, max, stay) => {
                    let numbers: Vec<_> = model.keys().copied().collect();
                    let staying: Model = model.clone().into_iter().take(stay).collect();
                    match ring.make_room(len, max, stay) {
                        Ok(evicted) => {
                            let dropped = numbers.iter().skip(stay).take(evicted.total() as usize);
                            dropped.for_each(|number| { model.remove(number); });
                            prop_assert!(ring.fits(len));
                            prop_assert!(ring.is_empty() || ring.len() < max);
                            prop_assert!(model.len() == numbers.len() - evicted.total() as usize);
                        }
                        Err(error) => {
                            let stored = Err::<(), _>(error);
                            if staying.is_empty() || staying.len() < max {
                                check_stored(&stored, len, &staying, capacity)?;
                            }
                        }
                    }
                }
            }
            let stored: Model = ring.iter().map(|r| (r.number, r.bytes.to_vec())).collect();
            prop_assert!(ring.iter().map(|r| r.number).is_sorted());
            prop_assert_eq!(&stored, &model);
            prop_assert_eq!(ring.len(), model.len());
            prop_assert_eq!(ring.next_number(), next);
            prop_assert_eq!(ring.first_number(), model.keys().next().copied().unwrap_or(next));
        }
    }

    #[test]
    fn storage_sum_never_runs_short(
        records in 1..8_usize,
        lens in vec(0..=24_usize, 1..200),
    ) {
        let mut ring = RecordRing::new(vec![0; storage_bytes_for(records, 24)]);
        for len in lens {
            let evicted = ring.make_room(len, records, 0).unwrap();
            prop_assert_eq!(evicted.by_bytes, 0);
            ring.push(&vec![0; len]).unwrap();
        }
    }
}

#[derive(Clone, Debug)]
enum PendingOp {
    Push(usize),
    /// A message goes to the app at once.
    Pass(usize),
    /// One of those comes back.
    PutBack(Index),
    HandOut,
    Confirm(u64),
    ConfirmOne(u64),
    Drain,
}

fn pending_op() -> impl Strategy<Value = PendingOp> {
    prop_oneof![
        8 => (0..60_usize).prop_map(PendingOp::Push),
        4 => (0..60_usize).prop_map(PendingOp::Pass),
        4 => any::<Index>().prop_map(PendingOp::PutBack),
        2 => Just(PendingOp::HandOut),
        2 => prop_oneof![0..200_u64, Just(u64::MAX)].prop_map(PendingOp::Confirm),
        1 => (0..200_u64).prop_map(PendingOp::ConfirmOne),
        1 => Just(PendingOp::Drain),
    ]
}

/// The last ten, by number; the oldest go, whether they come or are there.
#[derive(Default)]
struct PendingModel {
    capacity: usize,
    messages: Model,
    handed_out: BTreeSet<u64>,
    evicted: u64,
    drained: u64,
}

impl PendingModel {
    fn store(&mut self, number: u64, bytes: Vec<u8>) {
        self.handed_out.remove(&number);
        self.messages.insert(number, bytes);
        while self.messages.len() > PENDING_MESSAGES_MAX || bytes_of(&self.messages) > self.capacity
        {
            self.messages.pop_first();
            self.evicted += 1;
        }
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

proptest! {
    /// Every message that was accepted ends in exactly one place: dropped as the oldest, drained,
    /// or still in the ring; and what is drained comes in the order in which it arrived.
    #[test]
    fn pending_message_is_drained_or_dropped_exactly_once(
        capacity in 16..400_usize,
        ops in vec(pending_op(), 0..200),
    ) {
        let mut ring = PendingRing::new(vec![0; capacity]);
        let mut model = PendingModel { capacity, ..PendingModel::default() };
        let mut passed = Vec::new();
        let (mut next, mut stored) = (0, 0);
        for op in ops {
            let before = model.evicted;
            match op {
                PendingOp::Push(len) => match ring.push(&record(next, len)) {
                    Ok(pushed) => {
                        model.store(next, record(next, len));
                        prop_assert_eq!((pushed.number, pushed.kept), (next, true));
                        prop_assert_eq!(u64::from(pushed.evicted), model.evicted - before);
                        next += 1;
                        stored += 1;
                    }
                    Err(error) => prop_assert!(len > error.max),
                },
                PendingOp::Pass(len) => {
                    prop_assert_eq!(ring.pass(), next);
                    passed.push((next, len));
                    next += 1;
                }
                PendingOp::PutBack(which) => if !passed.is_empty() {
                    let (number, len) = passed.swap_remove(which.index(passed.len()));
                    match ring.put_back(number, &record(number, len)) {
                        Ok(pushed) => {
                            model.store(number, record(number, len));
                            let kept = model.messages.contains_key(&number);
                            prop_assert_eq!((pushed.number, pushed.kept), (number, kept));
                            let evicted = u64::from(pushed.evicted) + u64::from(!kept);
                            prop_assert_eq!(evicted, model.evicted - before);
                            stored += 1;
                        }
                        Err(error) => prop_assert!(len > error.max),
                    }
                },
                PendingOp::HandOut => {
                    let shown: Vec<_> =
                        ring.hand_out().map(|r| (r.number, r.bytes.to_vec())).collect();
                    model.handed_out = model.messages.keys().copied().collect();
                    prop_assert!(shown.into_iter().eq(model.messages.clone()));
                }
                PendingOp::Confirm(last) => {
                    let handed_out = model.handed_out.clone();
                    let taken = model.take(|number| number <= last && handed_out.contains(&number));
                    prop_assert_eq!(ring.confirm(last), taken);
                }
                PendingOp::ConfirmOne(number) => {
                    let taken = model.take(|other| other == number);
                    prop_assert_eq!(ring.confirm_one(number), taken == 1);
                }
                PendingOp::Drain => {
                    let mut taken = Vec::new();
                    ring.drain(|r| taken.push((r.number, r.bytes.to_vec())));
                    prop_assert!(taken.into_iter().eq(model.messages.clone()));
                    model.take(|_| true);
                }
            }
            let messages = ring.iter().map(|r| (r.number, r.bytes.to_vec()));
            prop_assert!(messages.eq(model.messages.clone()));
            prop_assert_eq!((ring.len(), ring.next_number()), (model.messages.len(), next));
            let counters = ring.counters();
            prop_assert_eq!(counters.stored, stored);
            prop_assert_eq!(counters.evicted_by_count + counters.evicted_by_bytes, model.evicted);
            prop_assert_eq!(counters.drained, model.drained);
            prop_assert_eq!(stored, model.evicted + model.drained + ring.len() as u64);
        }
    }
}

const WAITING_MAX: usize = 4;

#[derive(Clone, Debug)]
enum UplinkOp {
    Push(u8, String, usize),
    Begin,
    Confirm,
}

fn uplink_op() -> impl Strategy<Value = UplinkOp> {
    prop_oneof![
        4 => (any::<u8>(), "[a-zé/]{0,6}", 0..60_usize)
            .prop_map(|(slot, subtopic, len)| UplinkOp::Push(slot, subtopic, len)),
        2 => Just(UplinkOp::Begin),
        1 => Just(UplinkOp::Confirm),
    ]
}

/// A message as the model keeps it: number, slot, subtopic, payload.
type Waiting = (u64, u8, Option<String>, Vec<u8>);

struct UplinkPair {
    queue: UplinkQueue<Vec<u8>, WAITING_MAX>,
    capacity: usize,
    model: VecDeque<Waiting>,
    in_flight: bool,
    next: u64,
    refused: u64,
}

/// Bytes of a record in the queue: its header, a slot, the length of the subtopic, and both texts.
fn uplink_bytes((_, _, subtopic, payload): &Waiting) -> usize {
    RECORD_HEADER_BYTES + 2 + subtopic.as_ref().map_or(0, String::len) + payload.len()
}

impl UplinkPair {
    /// Whether one message more than these has room.
    fn has_room(&self, waiting: &[Waiting], new: &Waiting) -> bool {
        let bytes: usize = waiting.iter().chain([new]).map(uplink_bytes).sum();
        waiting.len() < WAITING_MAX && bytes <= self.capacity
    }

    fn push(&mut self, slot: u8, subtopic: &str, len: usize) {
        let payload = record(self.next, len);
        let pushed = self
            .queue
            .push(AppSlot::new(slot), Some(subtopic), &payload);
        let subtopic = Some(subtopic.to_owned()).filter(|text| !text.is_empty());
        let new = (self.next, slot, subtopic, payload);
        let mut waiting: Vec<_> = self.model.iter().cloned().collect();
        match pushed {
            Ok(evicted) => {
                let stay = usize::from(self.in_flight);
                for _ in 0..evicted.total() {
                    assert!(!self.has_room(&waiting, &new), "none goes for nothing");
                    waiting.remove(stay);
                }
                assert!(self.has_room(&waiting, &new));
                self.model = waiting.into_iter().chain([new]).collect();
                self.next += 1;
            }
            Err(UplinkRefusal::Full { waiting: told }) => {
                assert_eq!(told, waiting.len());
                if self.queue.policy() == DropPolicy::Oldest {
                    assert!(self.in_flight, "what is not in flight makes room");
                    waiting.truncate(1);
                }
                assert!(!self.has_room(&waiting, &new));
                self.refused += 1;
            }
            Err(UplinkRefusal::TooLarge { len: told, max }) => {
                assert_eq!(told, len);
                assert!(len > max);
                self.refused += 1;
            }
            Err(error @ UplinkRefusal::Subtopic { .. }) => panic!("{error}"),
        }
    }

    fn front(&self) -> Option<Waiting> {
        let front = self.queue.front()?;
        Some((
            front.number,
            front.slot.index(),
            front.subtopic.map(str::to_owned),
            front.payload.to_vec(),
        ))
    }
}

proptest! {
    #[test]
    fn uplink_queue_keeps_order_and_counts_every_message(
        capacity in 30..240_usize,
        newest in any::<bool>(),
        ops in vec(uplink_op(), 0..200),
    ) {
        let policy = if newest { DropPolicy::Newest } else { DropPolicy::Oldest };
        let mut pair = UplinkPair {
            queue: UplinkQueue::new(vec![0; capacity], policy),
            capacity,
            model: VecDeque::new(),
            in_flight: false,
            next: 0,
            refused: 0,
        };
        for op in ops {
            match op {
                UplinkOp::Push(slot, subtopic, len) => pair.push(slot, &subtopic, len),
                UplinkOp::Begin => {
                    pair.queue.begin();
                    pair.in_flight = !pair.model.is_empty();
                }
                UplinkOp::Confirm => if let Some(sent) = pair.model.pop_front() {
                    prop_assert_eq!(pair.queue.confirm(sent.0), 1);
                    pair.in_flight = false;
                    prop_assert_eq!(pair.queue.confirm(sent.0), 0);
                },
            }
            prop_assert_eq!(pair.queue.in_flight(), usize::from(pair.in_flight));
            prop_assert_eq!(pair.front(), pair.model.front().cloned());
            prop_assert_eq!(pair.queue.len(), pair.model.len());
            prop_assert!(pair.queue.len() <= WAITING_MAX);
            let counters = pair.queue.counters();
            prop_assert_eq!(counters.queued, pair.next);
            prop_assert_eq!(counters.refused_full + counters.refused_too_large, pair.refused);
            prop_assert_eq!(
                counters.queued,
                counters.sent
                    + counters.dropped_by_count
                    + counters.dropped_by_bytes
                    + pair.queue.len() as u64
            );
        }
    }

    #[test]
    fn delay_is_always_within_its_limits(
        min in any::<u32>(),
        max in any::<u32>(),
        words in vec(any::<u32>(), 0..80),
    ) {
        let mut backoff = Backoff::new(min, max);
        let least = min.max(1);
        for word in words {
            let delay = backoff.next_delay_ms(word);
            prop_assert!((least..=max.max(least)).contains(&delay));
        }
    }
}

#[test]
fn uplink_storage_sum_never_runs_short() {
    const STORAGE: usize = uplink_queue::storage_bytes_for(WAITING_MAX, 100);
    let mut queue: UplinkQueue<_, WAITING_MAX> = UplinkQueue::new([0; STORAGE], DropPolicy::Oldest);
    let subtopic = "s".repeat(SUBTOPIC_BYTES_MAX);
    for number in 0..50 {
        let payload = record(number, 100);
        queue
            .push(AppSlot::new(0), Some(&subtopic), &payload)
            .unwrap();
    }
    assert_eq!(queue.counters().dropped_by_bytes, 0);
    assert_eq!(queue.counters().dropped_by_count, 46);
    assert_eq!(queue.front().unwrap().subtopic, Some(subtopic.as_str()));
}

#[test]
fn newest_policy_refuses_and_keeps_what_waits() {
    let mut queue: UplinkQueue<_, 2> = UplinkQueue::new([0; 100], DropPolicy::Newest);
    for payload in [b"a", b"b"] {
        queue.push(AppSlot::new(1), None, payload).unwrap();
    }
    assert_eq!(
        queue.push(AppSlot::new(1), None, b"c"),
        Err(UplinkRefusal::Full { waiting: 2 })
    );
    assert_eq!(queue.front().unwrap().payload, b"a");
    assert_eq!(queue.counters().refused_full, 1);
}

#[test]
fn message_in_flight_is_not_dropped_but_the_next_one_is() {
    let mut queue: UplinkQueue<_, 2> = UplinkQueue::new([0; 100], DropPolicy::Oldest);
    for payload in [b"a", b"b"] {
        queue.push(AppSlot::new(1), None, payload).unwrap();
    }
    let sending = queue.front().unwrap().number;
    queue.begin();
    let evicted = queue.push(AppSlot::new(1), None, b"c").unwrap();
    assert_eq!(evicted.total(), 1);
    assert_eq!(queue.front().unwrap().payload, b"a");
    assert_eq!(queue.confirm(sending), 1);
    assert_eq!(queue.front().unwrap().payload, b"c");
    queue.begin();
    let large = [b'd'; 80];
    let refused = queue.push(AppSlot::new(1), None, &large);
    assert_eq!(refused, Err(UplinkRefusal::Full { waiting: 1 }));
    assert_eq!(queue.confirm(2), 1);
    assert!(queue.push(AppSlot::new(1), None, &large).is_ok());
}

#[test]
fn subtopic_and_payload_too_long_are_refused_with_their_lengths() {
    let mut queue: UplinkQueue<_, 2> = UplinkQueue::new(vec![0; 200_000], DropPolicy::Oldest);
    let subtopic = "s".repeat(SUBTOPIC_BYTES_MAX + 1);
    assert_eq!(
        queue.push(AppSlot::new(0), Some(&subtopic), b""),
        Err(UplinkRefusal::Subtopic { len: 65 })
    );
    let (len, max) = (131_073, 131_072);
    assert_eq!(
        queue.push(AppSlot::new(0), None, &vec![b'1'; len]),
        Err(UplinkRefusal::TooLarge { len, max })
    );
    assert!(queue.push(AppSlot::new(0), None, &vec![b'1'; max]).is_ok());
    assert_eq!(queue.counters().refused_too_large, 2);
}
