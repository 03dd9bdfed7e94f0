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
//! higher number and stays. What is not confirmed is handed out again.

use crate::limits::PENDING_MESSAGES_MAX;
use crate::record_ring::{self, Record, RecordRing, TooLarge, copy};

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
        let room = self.ring.make_room(len, PENDING_MESSAGES_MAX);
        let evicted = room.inspect_err(|_| self.counters.refused_too_large += 1)?;
        let max = self.record_bytes_max();
        let number = self
            .ring
            .push_with(len, fill)
            .map_err(|_| TooLarge { len, max })?;
        self.counters.stored += 1;
        self.counters.evicted_by_count += u64::from(evicted.by_count);
        self.counters.evicted_by_bytes += u64::from(evicted.by_bytes);
        Ok(Pushed {
            number,
            evicted: evicted.total(),
        })
    }

    /// Hands out all messages, oldest first, without removing them; [`Self::confirm`] does.
    pub fn hand_out(&mut self) -> impl ExactSizeIterator<Item = Record<'_>> {
        self.handed_out = self.ring.next_number();
        self.ring.iter()
    }

    /// Removes the messages up to number `last`, which the app has taken; returns how many. A
    /// message that was never handed out is not removed, whatever `last` is; one that was dropped
    /// since it was handed out is gone already and counted as dropped.
    pub fn confirm(&mut self, last: u64) -> usize {
        let Some(last_handed_out) = self.handed_out.checked_sub(1) else {
            return 0;
        };
        let removed = self.ring.pop_through(last.min(last_handed_out));
        self.counters.drained += removed as u64;
        removed
    }

    /// Hands out and confirms in one step, where handing over cannot fail; returns how many.
    pub fn drain(&mut self, mut take: impl FnMut(Record<'_>)) -> usize {
        self.hand_out().for_each(&mut take);
        self.confirm(u64::MAX)
    }

    /// The messages, oldest first, for a look that hands nothing out.
    #[must_use]
    pub fn iter(&self) -> record_ring::Iter<'_, S> {
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

    /// What became of the messages so far.
    #[must_use]
    pub fn counters(&self) -> &PendingCounters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(ring.hand_out().len(), 2);
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
}
