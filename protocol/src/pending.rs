//! The messages an app has not seen yet; the only file that knows what "the last 10" means.
//!
//! "WebPortal keeps in cache memory the last 10 data messages sent to your application", and
//! `getPendingNotifications` returns them and clears the cache. A [`PendingRing`] is that cache for
//! one app. One more message drops the oldest. Where the buffer is too small for ten long messages,
//! the oldest go earlier; that is counted apart.
//!
//! Each message of the app has a number, in the order in which they arrived, whether it is stored here
//! ([`PendingRing::push`]) or goes past the ring to the app at once ([`PendingRing::pass`]). So one
//! that did not reach the app takes its place by age when it comes back ([`PendingRing::put_back`]):
//! it is handed out ahead of what is newer, and dropped before it.
//!
//! The app gets each message exactly once. Where handing over can fail half way, it takes two
//! steps: [`PendingRing::hand_out`] shows the records with their numbers, and
//! [`PendingRing::confirm`] removes those that were taken. One that the app was shown as it came is
//! handed out as well: [`PendingRing::mark_handed_out`]. A message that arrives in between has a
//! higher number and stays, and one that comes back was not handed out and stays as well, whatever its
//! number is. What is not confirmed is handed out again. An app that takes messages
//! out of order names each: [`PendingRing::confirm_one`].

use crate::limits::PENDING_MESSAGES_MAX;
use crate::record_ring::{self, Record, RecordRing, TooLarge, Usage, copy};

const _: () = assert!(PENDING_MESSAGES_MAX <= u16::BITS as usize);

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

/// A message was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its number.
    pub number: u64,
    /// Older messages dropped for it.
    pub evicted: u32,
    /// It is in the ring. One that came back is not when only newer ones have room: it was dropped
    /// itself, and counted as any other.
    pub kept: bool,
}

/// The last [`PENDING_MESSAGES_MAX`] messages of one app, over a buffer of fixed size.
#[derive(Debug)]
pub struct PendingRing<S> {
    ring: RecordRing<S>,
    /// Bit `n`: record `n` of the ring, the oldest being 0, was handed out.
    handed_out: u16,
    counters: PendingCounters,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> PendingRing<S> {
    /// An empty ring; [`storage_bytes_for`] says how much storage never runs short.
    #[must_use]
    pub fn new(storage: S) -> Self {
        Self {
            ring: RecordRing::new(storage),
            handed_out: 0,
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
        self.store(self.next_number(), len, fill)
    }

    /// Gives a message that goes past the ring to the app at once its number.
    pub fn pass(&mut self) -> u64 {
        let number = self.next_number();
        self.ring.skip_to(number.saturating_add(1));
        number
    }

    /// Stores a message that did not reach the app under the number that it has: in its place by age,
    /// dropping the oldest where needed, which may be this one. A number that was not given yet is
    /// given to it. One that is in the ring stays as it is.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn put_back(&mut self, number: u64, message: &[u8]) -> Result<Pushed, TooLarge> {
        self.put_back_with(number, message.len(), |bytes| copy(bytes, message))
    }

    /// As [`Self::put_back`], for a message of `len` bytes that `fill` writes in place; `fill` is to
    /// write all of them.
    ///
    /// # Errors
    /// As [`Self::push`]; `fill` is not called then.
    pub fn put_back_with(
        &mut self,
        number: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Pushed, TooLarge> {
        if self.place_of(number).is_some() {
            return Ok(Pushed {
                number,
                evicted: 0,
                kept: true,
            });
        }
        self.store(number, len, fill)
    }

    /// Leaves out those of the numbers below `number` that were not given yet: an earlier life has
    /// given them.
    pub fn skip_to(&mut self, number: u64) {
        self.ring.skip_to(number);
    }

    fn store(
        &mut self,
        number: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Pushed, TooLarge> {
        self.ring.check_len(len).inspect_err(|_| {
            self.counters.refused_too_large += 1;
        })?;
        let mut evicted: u32 = 0;
        while let Some(counter) = self.lacks_room_for(len) {
            *counter += 1;
            if self.is_empty() || self.first_number() > number {
                self.counters.stored += 1;
                return Ok(Pushed {
                    number,
                    evicted,
                    kept: false,
                });
            }
            self.remove(0);
            evicted = evicted.saturating_add(1);
        }
        let stored = self.ring.insert_with(number, len, fill);
        debug_assert!(stored.is_ok(), "there is room");
        if let Some(place) = self.place_of(number) {
            let older = older_than(place);
            self.handed_out = (self.handed_out & older) | ((self.handed_out & !older) << 1);
        }
        self.counters.stored += 1;
        Ok(Pushed {
            number,
            evicted,
            kept: true,
        })
    }

    /// Where a message that goes for want of room for one of `len` bytes is counted, if one has to.
    fn lacks_room_for(&mut self, len: usize) -> Option<&mut u64> {
        if self.len() >= PENDING_MESSAGES_MAX {
            Some(&mut self.counters.evicted_by_count)
        } else if self.ring.fits(len) {
            None
        } else {
            Some(&mut self.counters.evicted_by_bytes)
        }
    }

    /// Removes the message with so many older ones in front of it.
    fn remove(&mut self, place: usize) {
        if let Some(record) = self.ring.iter().nth(place) {
            self.ring.remove(record.number);
            let older = older_than(place);
            self.handed_out = (self.handed_out & older) | ((self.handed_out >> 1) & !older);
        }
    }

    /// How many messages are older than the one with this number, if that is there.
    fn place_of(&self, number: u64) -> Option<usize> {
        self.ring.iter().position(|record| record.number == number)
    }

    /// Hands out all messages, oldest first, without removing them; [`Self::confirm`] does.
    pub fn hand_out(&mut self) -> impl Iterator<Item = Record<'_>> {
        self.handed_out = older_than(self.len());
        self.iter()
    }

    /// Takes note that the app was shown the message with this number as it came: it counts as handed
    /// out. `false` if it is not there.
    pub fn mark_handed_out(&mut self, number: u64) -> bool {
        let Some(place) = self.place_of(number) else {
            return false;
        };
        self.handed_out |= older_than(place + 1) & !older_than(place);
        true
    }

    /// Removes the messages up to number `last`, which the app has taken; returns how many. A
    /// message that was never handed out is not removed, whatever `last` is; one that was dropped
    /// since it was handed out is gone already and counted as dropped.
    pub fn confirm(&mut self, last: u64) -> usize {
        let before = self.len();
        while let Some(place) = self.first_handed_out(last) {
            self.remove(place);
        }
        let removed = before.saturating_sub(self.len());
        self.counters.drained += removed as u64;
        removed
    }

    /// The place of the oldest message that was handed out, if its number is at most `last`.
    fn first_handed_out(&self, last: u64) -> Option<usize> {
        let place = self.handed_out.trailing_zeros() as usize;
        let record = self.ring.iter().nth(place)?;
        (record.number <= last).then_some(place)
    }

    /// Removes the message with this number, which the app has taken, whatever waits in front of it;
    /// `false` if it is not there.
    pub fn confirm_one(&mut self, number: u64) -> bool {
        let Some(place) = self.place_of(number) else {
            return false;
        };
        self.remove(place);
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

    /// Hands out and confirms in one step, where handing over cannot fail; returns how many.
    pub fn drain(&mut self, mut take: impl FnMut(Record<'_>)) -> usize {
        self.hand_out().for_each(&mut take);
        self.confirm(u64::MAX)
    }

    /// The messages, oldest first, for a look that hands nothing out.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> + Clone {
        self.ring.iter()
    }

    /// Messages in the ring.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
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

    /// How full the ring was.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.ring.usage()
    }

    /// What became of the messages so far.
    #[must_use]
    pub fn counters(&self) -> &PendingCounters {
        &self.counters
    }
}

/// A bit for each of the first `place` records.
fn older_than(place: usize) -> u16 {
    1_u16
        .checked_shl(place as u32)
        .map_or(u16::MAX, |bit| bit - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn numbers<const BYTES: usize>(ring: &PendingRing<[u8; BYTES]>) -> Vec<u64> {
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
                evicted: 1,
                kept: true
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
        let mut ring = PendingRing::new([0; 84]);
        for byte in 0..3 {
            ring.push(&[byte; 16]).unwrap();
        }
        assert_eq!(ring.push(&[3; 60]).unwrap().evicted, 3);
        assert_eq!(ring.counters().evicted_by_bytes, 3);
        assert_eq!(ring.counters().evicted_by_count, 0);
    }

    #[test]
    fn message_longer_than_the_buffer_is_refused_and_costs_no_other() {
        let mut ring = ring_with(10);
        assert_eq!(ring.push(&[0; 245]), Err(TooLarge { len: 245, max: 244 }));
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
        assert_eq!(numbers(&ring), [0]);
        assert_eq!(ring.counters().drained, 99);
    }

    #[test]
    fn message_that_comes_back_takes_its_place_by_age() {
        let mut ring = ring_with(2);
        let (third, fourth) = (ring.pass(), ring.pass());
        ring.push(b"x").unwrap();
        let kept = Pushed {
            number: fourth,
            evicted: 0,
            kept: true,
        };
        assert_eq!(ring.put_back(fourth, b"4"), Ok(kept));
        assert!(ring.put_back(third, b"3").unwrap().kept);
        assert_eq!(numbers(&ring), [0, 1, 2, 3, 4]);
        assert_eq!(ring.put_back(fourth, b"once more"), Ok(kept));
        assert_eq!(ring.iter().nth(3).unwrap().bytes, b"4", "it was there");
        assert_eq!(ring.push(b"y").unwrap().number, 5);
    }

    #[test]
    fn full_ring_drops_the_oldest_whether_it_comes_back_or_not() {
        let mut ring = ring_with(1);
        let (older, newer) = (ring.pass(), ring.pass());
        for byte in 3..12 {
            ring.push(&[byte]).unwrap();
        }
        assert_eq!(ring.put_back(newer, b"n").unwrap().evicted, 1);
        assert_eq!(numbers(&ring), (2..12).collect::<Vec<_>>());
        let dropped = Pushed {
            number: older,
            evicted: 0,
            kept: false,
        };
        assert_eq!(ring.put_back(older, b"o"), Ok(dropped));
        assert_eq!(numbers(&ring), (2..12).collect::<Vec<_>>());
        let counters = ring.counters();
        assert_eq!((counters.stored, counters.evicted_by_count), (12, 2));
    }

    #[test]
    fn message_that_comes_back_is_dropped_when_the_newer_ones_leave_too_few_bytes() {
        let mut ring = PendingRing::new([0; 64]);
        let number = ring.pass();
        ring.push(&[1; 30]).unwrap();
        let len = 64 - 42 - record_ring::RECORD_HEADER_BYTES;
        assert!(!ring.put_back(number, &vec![0; len + 1]).unwrap().kept);
        assert_eq!(ring.counters().evicted_by_bytes, 1);
        assert!(ring.put_back(number, &vec![0; len]).unwrap().kept);
        assert_eq!(numbers(&ring), [0, 1]);
    }

    #[test]
    fn confirming_leaves_what_came_back_after_the_hand_out() {
        let mut ring = ring_with(1);
        let number = ring.pass();
        ring.push(b"x").unwrap();
        let last = ring.hand_out().last().unwrap().number;
        ring.put_back(number, b"back").unwrap();
        assert_eq!(ring.confirm(last), 2);
        assert_eq!(numbers(&ring), [number]);
        assert_eq!(ring.hand_out().count(), 1);
        assert_eq!(ring.confirm(number), 1);
    }

    #[test]
    fn what_was_shown_as_it_came_is_confirmed_and_what_was_not_stays() {
        let mut ring = ring_with(3);
        for number in [2, 1] {
            assert!(ring.mark_handed_out(number));
        }
        assert!(!ring.mark_handed_out(3), "it has not come yet");
        assert_eq!(ring.confirm(1), 1);
        assert_eq!(numbers(&ring), [0, 2]);
        assert_eq!(ring.confirm(u64::MAX), 1);
        assert_eq!(numbers(&ring), [0]);
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
            assert_eq!(ring.put_back(number, b"x").unwrap().number, number);
        }
        ring.skip_to(1000);
        assert_eq!(numbers(&ring), [7, 8, 11]);
        assert_eq!((ring.len(), ring.next_number()), (3, 1000));
    }
}
