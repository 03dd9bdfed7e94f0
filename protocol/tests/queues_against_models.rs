//! The record ring, the pending ring and the uplink queue against reference models that a reader
//! can check at a glance, under random operations. A failure prints the operations that lead to it.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;
use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::backoff::Backoff;
use vinbus_protocol::limits::{PENDING_MESSAGES_MAX, SUBTOPIC_BYTES_MAX};
use vinbus_protocol::pending::PendingRing;
use vinbus_protocol::record_ring::{PushError, RecordRing, storage_bytes_for};
use vinbus_protocol::uplink_queue::{self, DropPolicy, UplinkQueue, UplinkRefusal};

/// A record whose bytes tell its number, so that a mixed-up one is seen.
fn record(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (number * 31 + at) as u8).collect()
}

#[derive(Clone, Debug)]
enum RingOp {
    Push(usize),
    PopFront,
    PopThrough(u64),
    MakeRoom(usize, usize),
}

fn ring_op() -> impl Strategy<Value = RingOp> {
    prop_oneof![
        4 => (0..40_usize).prop_map(RingOp::Push),
        2 => Just(RingOp::PopFront),
        1 => (0..200_u64).prop_map(RingOp::PopThrough),
        1 => (0..40_usize, 0..8_usize).prop_map(|(len, max)| RingOp::MakeRoom(len, max)),
    ]
}

proptest! {
    #[test]
    fn record_ring_is_a_queue(capacity in 0..120_usize, ops in vec(ring_op(), 0..200)) {
        let mut ring = RecordRing::new(vec![0xA5; capacity]);
        let mut model: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        let mut next = 0;
        for op in ops {
            match op {
                RingOp::Push(len) => match ring.push(&record(next, len)) {
                    Ok(number) => {
                        prop_assert_eq!(number, next);
                        model.push_back((next, record(next, len)));
                        next += 1;
                    }
                    Err(PushError::TooLarge(error)) => {
                        prop_assert!(len > error.max || capacity < 4);
                    }
                    Err(PushError::Full) => {
                        let stored: usize = model.iter().map(|(_, bytes)| bytes.len() + 4).sum();
                        let longest = model.iter().map(|(_, bytes)| bytes.len()).max();
                        prop_assert!(longest.is_some(), "an empty ring is never full");
                        // No more is wasted than what `storage_bytes_for` allows for.
                        let longest = longest.unwrap_or(0).max(len) + 4;
                        prop_assert!(stored + 4 + len + longest > capacity);
                    }
                },
                RingOp::PopFront => {
                    let popped = ring.pop_front().map(|r| (r.number, r.bytes.to_vec()));
                    prop_assert_eq!(popped, model.pop_front());
                }
                RingOp::PopThrough(last) => {
                    let before = model.len();
                    model.retain(|&(number, _)| number > last);
                    prop_assert_eq!(ring.pop_through(last), before - model.len());
                }
                RingOp::MakeRoom(len, max) => if let Ok(evicted) = ring.make_room(len, max) {
                    model.drain(..evicted.total() as usize);
                    prop_assert!(ring.fits(len));
                    prop_assert!(ring.is_empty() || ring.len() < max);
                },
            }
            let stored: Vec<_> = ring.iter().map(|r| (r.number, r.bytes.to_vec())).collect();
            prop_assert_eq!(&stored, model.make_contiguous());
            prop_assert_eq!(ring.len(), model.len());
            prop_assert_eq!(ring.next_number(), next);
            prop_assert_eq!(ring.front().map(|r| r.number), model.front().map(|r| r.0));
        }
    }

    #[test]
    fn storage_sum_never_runs_short(
        records in 1..8_usize,
        lens in vec(0..=24_usize, 1..200),
    ) {
        let mut ring = RecordRing::new(vec![0; storage_bytes_for(records, 24)]);
        for len in lens {
            let evicted = ring.make_room(len, records).unwrap();
            prop_assert_eq!(evicted.by_bytes, 0);
            ring.push(&vec![0; len]).unwrap();
        }
    }
}

#[derive(Clone, Debug)]
enum PendingOp {
    Push(usize),
    HandOut,
    Confirm(u64),
    Drain,
}

fn pending_op() -> impl Strategy<Value = PendingOp> {
    prop_oneof![
        8 => (0..60_usize).prop_map(PendingOp::Push),
        2 => Just(PendingOp::HandOut),
        2 => prop_oneof![0..200_u64, Just(u64::MAX)].prop_map(PendingOp::Confirm),
        1 => Just(PendingOp::Drain),
    ]
}

proptest! {
    /// Every message that was accepted ends in exactly one place: dropped as the oldest, drained,
    /// or still in the ring; and what is drained comes in order.
    #[test]
    fn pending_message_is_drained_or_dropped_exactly_once(
        capacity in 8..200_usize,
        ops in vec(pending_op(), 0..200),
    ) {
        let mut ring = PendingRing::new(vec![0; capacity]);
        let mut model: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        let (mut next, mut handed_out, mut evicted, mut drained) = (0, 0, 0, 0);
        for op in ops {
            match op {
                PendingOp::Push(len) => match ring.push(&record(next, len)) {
                    Ok(pushed) => {
                        prop_assert_eq!(pushed.number, next);
                        model.push_back((next, record(next, len)));
                        model.drain(..pushed.evicted as usize);
                        evicted += u64::from(pushed.evicted);
                        next += 1;
                    }
                    Err(error) => prop_assert!(len > error.max),
                },
                PendingOp::HandOut => {
                    let shown: Vec<_> =
                        ring.hand_out().map(|r| (r.number, r.bytes.to_vec())).collect();
                    prop_assert_eq!(&shown, model.make_contiguous());
                    handed_out = next;
                }
                PendingOp::Confirm(last) => {
                    let before = model.len();
                    model.retain(|&(number, _)| number > last || number >= handed_out);
                    prop_assert_eq!(ring.confirm(last), before - model.len());
                    drained += (before - model.len()) as u64;
                }
                PendingOp::Drain => {
                    let mut taken = Vec::new();
                    ring.drain(|r| taken.push((r.number, r.bytes.to_vec())));
                    prop_assert_eq!(&taken, model.make_contiguous());
                    drained += taken.len() as u64;
                    handed_out = next;
                    model.clear();
                }
            }
            let stored: Vec<_> = ring.iter().map(|r| (r.number, r.bytes.to_vec())).collect();
            prop_assert_eq!(&stored, model.make_contiguous());
            prop_assert!(ring.len() <= PENDING_MESSAGES_MAX);
            let counters = ring.counters();
            prop_assert_eq!(counters.stored, next);
            prop_assert_eq!(counters.evicted_by_count + counters.evicted_by_bytes, evicted);
            prop_assert_eq!(counters.drained, drained);
            prop_assert_eq!(next, evicted + drained + ring.len() as u64);
        }
    }
}

const WAITING_MAX: usize = 4;

#[derive(Clone, Debug)]
enum UplinkOp {
    Push(u8, String, usize),
    Confirm,
    ConfirmAfterPush(usize),
}

fn uplink_op() -> impl Strategy<Value = UplinkOp> {
    prop_oneof![
        4 => (any::<u8>(), "[a-zé/]{0,6}", 0..60_usize)
            .prop_map(|(slot, subtopic, len)| UplinkOp::Push(slot, subtopic, len)),
        2 => Just(UplinkOp::Confirm),
        1 => (0..60_usize).prop_map(UplinkOp::ConfirmAfterPush),
    ]
}

/// A message as the model keeps it: number, slot, subtopic, payload.
type Waiting = (u64, u8, Option<String>, Vec<u8>);

struct UplinkPair {
    queue: UplinkQueue<Vec<u8>, WAITING_MAX>,
    model: VecDeque<Waiting>,
    next: u64,
    refused: u64,
}

impl UplinkPair {
    fn push(&mut self, slot: u8, subtopic: &str, len: usize) {
        let payload = record(self.next, len);
        match self
            .queue
            .push(AppSlot::new(slot), Some(subtopic), &payload)
        {
            Ok(evicted) => {
                self.model.drain(..evicted.total() as usize);
                let subtopic = Some(subtopic.to_owned()).filter(|text| !text.is_empty());
                self.model.push_back((self.next, slot, subtopic, payload));
                self.next += 1;
            }
            Err(UplinkRefusal::Full { waiting }) => {
                assert_eq!(self.queue.policy(), DropPolicy::Newest);
                assert_eq!(waiting, self.model.len());
                assert_ne!(waiting, 0, "an empty queue is never full");
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
        capacity in 20..160_usize,
        newest in any::<bool>(),
        ops in vec(uplink_op(), 0..200),
    ) {
        let policy = if newest { DropPolicy::Newest } else { DropPolicy::Oldest };
        let mut pair = UplinkPair {
            queue: UplinkQueue::new(vec![0; capacity], policy),
            model: VecDeque::new(),
            next: 0,
            refused: 0,
        };
        for op in ops {
            match op {
                UplinkOp::Push(slot, subtopic, len) => pair.push(slot, &subtopic, len),
                UplinkOp::Confirm => if let Some(sent) = pair.model.pop_front() {
                    prop_assert_eq!(pair.queue.confirm(sent.0), 1);
                },
                // The message may be dropped while it is being sent.
                UplinkOp::ConfirmAfterPush(len) => if let Some(sending) = pair.front() {
                    pair.push(7, "", len);
                    let before = pair.model.len();
                    pair.model.retain(|waiting| waiting.0 != sending.0);
                    prop_assert_eq!(pair.queue.confirm(sending.0), before - pair.model.len());
                },
            }
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
    let mut queue: UplinkQueue<_, 2> = UplinkQueue::new([0; 64], DropPolicy::Newest);
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
