//! The messages an app has not seen yet; the only file that knows what "the last 10" means.
//!
//! "WebPortal keeps in cache memory the last 10 data messages sent to your application", and
//! `getPendingNotifications` returns them and clears the cache. A [`PendingRing`] is that cache for
//! one app. One more message drops the oldest. Where the buffer is too small for ten long messages,
//! the oldest go earlier; that is counted apart.
//!
//! The app gets each message exactly once. Where handing over can fail half way, it takes two
//! steps: [`PendingRing::hand_out`] shows the records with their numbers, and
//! [`PendingRing::confirm`] removes those that were taken. A message that arrives in between has a
//! higher number and stays. What is not confirmed is handed out again. An app that takes messages
//! out of order names each: [`PendingRing::confirm_one`].

use crate::limits::PENDING_MESSAGES_MAX;
use crate::record_ring::{self, Record, RecordRing, TooLarge, copy};

/// Records that the ring ever holds: those that wait, and those behind them that were taken out of
/// order, a bit for each.
const RECORDS_MAX: usize = u32::BITS as usize;

const _: () = assert!(PENDING_MESSAGES_MAX < RECORDS_MAX);

/// Bytes of storage in which [`PENDING_MESSAGES_MAX`] messages of up to `message_bytes_max` bytes
/// always fit, so that none ever goes early for want of bytes.
#[must_use]
pub const fn storage_bytes_for(message_bytes_max: usize) -> usize {
    record_ring::storage_bytes_for(PENDING_MESSAGES_MAX, message_bytes_max)
}

/// What became of the messages of one app. `stored` equals what was dropped, drained and is still
/// in the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingCounters {
    /// Messages taken in.
    pub stored: u64,
    /// Oldest messages dropped because there were [`PENDING_MESSAGES_MAX`].
    pub evicted_by_count: u64,
    /// Oldest messages dropped because the buffer had too few free bytes.
    pub evicted_by_bytes: u64,
    /// Messages refused because they are longer than the whole buffer.
    pub refused_too_large: u64,
    /// Messages that the app has taken.
    pub drained: u64,
}

/// A message was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its number.
    pub number: u64,
    /// Older messages dropped for it.
    pub evicted: u32,
}

/// The last [`PENDING_MESSAGES_MAX`] messages of one app, over a buffer of fixed size.
#[derive(Debug)]
pub struct PendingRing<S> {
    ring: RecordRing<S>,
    /// One more than the highest number handed out.
    handed_out: u64,
    /// Bit `n`: the app has taken record `n` of the ring, the oldest being 0, which it never has.
    taken: u32,
    counters: PendingCounters,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> PendingRing<S> {
    /// An empty ring; [`storage_bytes_for`] says how much storage never runs short.
    #[must_use]
    pub fn new(storage: S) -> Self {
        Self {
            ring: RecordRing::new(storage),
            handed_out: 0,
            taken: 0,
            counters: PendingCounters::default(),
        }
    }

    /// Stores a message as the newest, dropping the oldest where needed.
    ///
    /// # Errors
    /// [`TooLarge`] when it is longer than the whole buffer; no other message is touched then.
    pub fn push(&mut self, message: &[u8]) -> Result<Pushed, TooLarge> {
        self.push_with(message.len(), |bytes| copy(bytes, message))
    }

    /// Stores a message of `len` bytes that `fill` writes in place; `fill` is to write all of them.
    ///
    /// # Errors
    /// As [`Self::push`]; `fill` is not called then.
    pub fn push_with(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Pushed, TooLarge> {
        let max = self.record_bytes_max();
        if len > max {
            self.counters.refused_too_large += 1;
            return Err(TooLarge { len, max });
        }
        let evicted = self.make_room(len);
        let number = self
            .ring
            .push_with(len, fill)
            .map_err(|_| TooLarge { len, max })?;
        self.counters.stored += 1;
        Ok(Pushed { number, evicted })
    }

    /// Leaves out the numbers below `number`, which an earlier life gave to messages that are taken;
    /// `false` if they are too many.
    pub fn skip_to(&mut self, number: u64) -> bool {
        self.ring.skip_to(number);
        while self.ring.next_number() < number {
            let place = self.ring.len();
            if place >= RECORDS_MAX || self.ring.push(&[]).is_err() {
                return false;
            }
            self.taken |= 1_u32.wrapping_shl(place as u32);
        }
        true
    }

    /// Drops the oldest messages until one of `len` bytes has room; returns how many.
    fn make_room(&mut self, len: usize) -> u32 {
        let mut evicted: u32 = 0;
        while self.len() >= PENDING_MESSAGES_MAX || self.ring.len() >= RECORDS_MAX {
            self.pop_oldest();
            self.counters.evicted_by_count += 1;
            evicted = evicted.saturating_add(1);
        }
        while !self.ring.is_empty() && !self.ring.fits(len) {
            self.pop_oldest();
            self.counters.evicted_by_bytes += 1;
            evicted = evicted.saturating_add(1);
        }
        evicted
    }

    /// Removes the oldest message, and the taken ones behind it.
    fn pop_oldest(&mut self) {
        loop {
            self.ring.pop_front();
            self.taken >>= 1;
            if self.taken & 1 == 0 {
                return;
            }
        }
    }

    /// Hands out all messages, oldest first, without removing them; [`Self::confirm`] does.
    pub fn hand_out(&mut self) -> impl Iterator<Item = Record<'_>> {
        self.handed_out = self.ring.next_number();
        self.iter()
    }

    /// Removes the messages up to number `last`, which the app has taken; returns how many. A
    /// message that was never handed out is not removed, whatever `last` is; one that was dropped
    /// since it was handed out is gone already and counted as dropped.
    pub fn confirm(&mut self, last: u64) -> usize {
        let Some(last_handed_out) = self.handed_out.checked_sub(1) else {
            return 0;
        };
        let last = last.min(last_handed_out);
        let mut removed = 0;
        while !self.ring.is_empty() && self.ring.first_number() <= last {
            self.pop_oldest();
            removed += 1;
        }
        self.counters.drained += removed as u64;
        removed
    }

    /// Removes the message with this number, which the app has taken, whatever waits in front of it;
    /// `false` if it is not there. Its bytes are free again once those in front of it are gone.
    pub fn confirm_one(&mut self, number: u64) -> bool {
        let place = number.wrapping_sub(self.first_number());
        if place >= self.ring.len() as u64 || self.is_taken(number) {
            return false;
        }
        if place == 0 {
            self.pop_oldest();
        } else {
            self.taken |= 1_u32.wrapping_shl(place as u32);
        }
        self.counters.drained += 1;
        true
    }

    /// The number of the oldest message, or of the next one where there is none.
    #[must_use]
    pub fn first_number(&self) -> u64 {
        self.ring.first_number()
    }

    /// The number that the next message gets.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.ring.next_number()
    }

    /// Whether the app has taken this record of the ring.
    fn is_taken(&self, number: u64) -> bool {
        let place = number.wrapping_sub(self.first_number());
        let bit = u32::try_from(place).ok().and_then(|n| 1_u32.checked_shl(n));
        bit.is_some_and(|bit| self.taken & bit != 0)
    }

    /// Hands out and confirms in one step, where handing over cannot fail; returns how many.
    pub fn drain(&mut self, mut take: impl FnMut(Record<'_>)) -> usize {
        self.hand_out().for_each(&mut take);
        self.confirm(u64::MAX)
    }

    /// The messages, oldest first, for a look that hands nothing out.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> + Clone {
        let records = self.ring.iter();
        records.filter(|record| !self.is_taken(record.number))
    }

    /// Messages in the ring.
    #[must_use]
    pub fn len(&self) -> usize {
        let taken = self.taken.count_ones() as usize;
        self.ring.len().saturating_sub(taken)
    }

    /// Whether there is no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Bytes of the longest message that can be stored.
    #[must_use]
    pub fn record_bytes_max(&self) -> usize {
        self.ring.record_bytes_max()
    }

    /// What became of the messages so far.
    #[must_use]
    pub fn counters(&self) -> &PendingCounters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn numbers(ring: &PendingRing<[u8; 256]>) -> Vec<u64> {
        ring.iter().map(|record| record.number).collect()
    }

    fn ring_with(messages: u8) -> PendingRing<[u8; 256]> {
        let mut ring = PendingRing::new([0; 256]);
        for byte in 0..messages {
            ring.push(&[byte]).unwrap();
        }
        ring
    }

    #[test]
    fn eleventh_message_drops_the_first() {
        let mut ring = ring_with(10);
        assert_eq!(
            ring.push(b"x"),
            Ok(Pushed {
                number: 10,
                evicted: 1
            })
        );
        assert_eq!(numbers(&ring), (1..=10).collect::<Vec<_>>());
        assert_eq!(ring.counters().evicted_by_count, 1);
        assert_eq!(ring.counters().evicted_by_bytes, 0);
    }

    #[test]
    fn ten_messages_of_the_longest_size_fit_after_any_history() {
        const LEN: usize = 100;
        for offset in 0..=LEN {
            let mut ring = PendingRing::new([0; storage_bytes_for(LEN)]);
            ring.push(&[0; LEN][..offset]).unwrap();
            for byte in 0..30 {
                ring.push(&[byte; LEN]).unwrap();
            }
            assert_eq!(ring.len(), PENDING_MESSAGES_MAX);
            assert_eq!(ring.counters().evicted_by_bytes, 0, "offset {offset}");
        }
    }

    #[test]
    fn oldest_go_early_when_bytes_run_short_and_that_is_counted_apart() {
        let mut ring = PendingRing::new([0; 64]);
        for byte in 0..3 {
            ring.push(&[byte; 16]).unwrap();
        }
        assert_eq!(ring.push(&[3; 40]).unwrap().evicted, 3);
        assert_eq!(ring.counters().evicted_by_bytes, 3);
        assert_eq!(ring.counters().evicted_by_count, 0);
    }

    #[test]
    fn message_longer_than_the_buffer_is_refused_and_costs_no_other() {
        let mut ring = ring_with(10);
        assert_eq!(ring.push(&[0; 253]), Err(TooLarge { len: 253, max: 252 }));
        assert_eq!(ring.len(), 10);
        assert_eq!(ring.counters().refused_too_large, 1);
    }

    #[test]
    fn drain_empties_the_ring_exactly_once() {
        let mut ring = ring_with(3);
        let mut taken = Vec::new();
        assert_eq!(ring.drain(|record| taken.push(record.bytes[0])), 3);
        assert_eq!(ring.drain(|_| unreachable!()), 0);
        assert_eq!(taken, [0, 1, 2]);
    }

    #[test]
    fn what_arrives_between_hand_out_and_confirm_is_kept_and_shown_once() {
        let mut ring = ring_with(3);
        let last = ring.hand_out().last().unwrap().number;
        ring.push(b"late").unwrap();
        assert_eq!(ring.confirm(last), 3);
        let rest: Vec<_> = ring
            .hand_out()
            .map(|record| record.bytes.to_vec())
            .collect();
        assert_eq!(rest, [b"late"]);
    }

    #[test]
    fn confirm_works_when_a_handed_out_message_was_dropped_meanwhile() {
        let mut ring = ring_with(10);
        let last = ring.hand_out().last().unwrap().number;
        ring.push(b"a").unwrap();
        ring.push(b"b").unwrap();
        assert_eq!(ring.confirm(last), 8);
        assert_eq!(numbers(&ring), [10, 11]);
        assert_eq!(ring.confirm(last), 0);
    }

    #[test]
    fn confirm_never_removes_what_was_not_handed_out() {
        let mut ring = ring_with(2);
        assert_eq!(ring.confirm(u64::MAX), 0);
        assert_eq!(ring.hand_out().count(), 2);
        ring.push(b"unseen").unwrap();
        assert_eq!(ring.confirm(u64::MAX), 2);
        assert_eq!(numbers(&ring), [2]);
    }

    #[test]
    fn unconfirmed_messages_are_handed_out_again() {
        let mut ring = ring_with(2);
        assert_eq!(ring.hand_out().count(), 2);
        assert_eq!(ring.hand_out().count(), 2);
        assert_eq!(ring.confirm(0), 1);
        assert_eq!(ring.hand_out().next().unwrap().number, 1);
    }

    #[test]
    fn messages_taken_out_of_order_take_no_place_among_the_last_ten() {
        let mut ring = ring_with(2);
        for byte in 2..10 {
            ring.push(&[byte]).unwrap();
            assert!(ring.confirm_one(u64::from(byte)));
        }
        assert!(!ring.confirm_one(9), "it is taken already");
        assert!(!ring.confirm_one(10), "it has not come yet");
        assert_eq!((numbers(&ring), ring.len()), (vec![0, 1], 2));
        for byte in 10..18 {
            assert_eq!(ring.push(&[byte]).unwrap().evicted, 0);
        }
        assert_eq!(ring.push(b"x").unwrap().evicted, 1);
        assert_eq!(
            numbers(&ring),
            [1].into_iter().chain(10..=18).collect::<Vec<_>>()
        );
        assert_eq!(ring.counters().drained, 8);
    }

    #[test]
    fn messages_behind_one_that_is_never_taken_do_not_pile_up() {
        let mut ring = ring_with(1);
        for n in 1..100 {
            ring.push(b"x").unwrap();
            assert!(ring.confirm_one(n));
        }
        let counters = ring.counters();
        assert_eq!(
            ring.len() as u64 + counters.drained + counters.evicted_by_count,
            100
        );
        assert_eq!(
            counters.evicted_by_count, 1,
            "the first went for want of a place"
        );
    }

    #[test]
    fn confirming_a_run_removes_what_was_taken_within_it_once() {
        let mut ring = ring_with(5);
        ring.hand_out().for_each(drop);
        assert!(ring.confirm_one(1));
        assert!(ring.confirm_one(3));
        assert_eq!(ring.confirm(2), 2);
        assert_eq!(numbers(&ring), [4]);
        assert!(ring.confirm_one(4));
        assert!(ring.is_empty());
    }

    #[test]
    fn messages_of_an_earlier_life_keep_their_numbers() {
        let mut ring = PendingRing::new([0; 256]);
        for number in [7, 8, 11] {
            assert!(ring.skip_to(number));
            assert_eq!(ring.push(b"x").unwrap().number, number);
        }
        assert!(ring.skip_to(13));
        assert_eq!(numbers(&ring), [7, 8, 11]);
        assert_eq!((ring.len(), ring.next_number()), (3, 13));
        assert!(!ring.skip_to(1000), "a ring has so many places and no more");
    }
}
