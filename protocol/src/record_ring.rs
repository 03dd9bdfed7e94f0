//! A first-in first-out queue of byte records over one fixed buffer; the memory under
//! [`crate::pending`], [`crate::uplink_queue`] and [`crate::popup`].
//!
//! A record is stored in one piece, so that reading it yields one `&[u8]` and copies nothing. The
//! price is at most one record's worth of unused bytes at the end of the buffer, which
//! [`storage_bytes_for`] accounts for. An emptied ring starts again at the front of its buffer:
//! memory that the operating system maps on first touch stays unmapped while traffic is light.
//!
//! Records are numbered from 0 in the order in which they were pushed. A number stays valid after
//! its record is gone, so a reader that gives up the borrow can still say what it has taken:
//! [`RecordRing::pop_through`].
//!
//! The ring never drops a record by itself; who owns it decides, with [`RecordRing::make_room`].

use core::fmt;

/// Bytes in front of each record: its length as a little-endian `u32`.
pub const RECORD_HEADER_BYTES: usize = 4;

/// Bytes of storage that hold `records` records of up to `record_bytes_max` bytes, whatever was
/// pushed and popped before.
#[must_use]
pub const fn storage_bytes_for(records: usize, record_bytes_max: usize) -> usize {
    let stored = RECORD_HEADER_BYTES.saturating_add(record_bytes_max);
    match records {
        0 => 0,
        // An empty ring starts at the front, so a single record wastes nothing.
        1 => stored,
        // At the worst, one byte less than a record is unused at the end of the buffer and the
        // free bytes are split around the oldest record.
        _ => records.saturating_add(1).saturating_mul(stored) - 1,
    }
}

/// One stored record. `Debug` tells its length only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number: 0 for the first record ever pushed, one more for each that follows.
    pub number: u64,
    /// Its bytes, as pushed.
    pub bytes: &'a [u8],
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({}, {} bytes)", self.number, self.bytes.len())
    }
}

/// The record is longer than the whole buffer can ever hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Bytes of the record.
    pub len: usize,
    /// Bytes of the longest record that this buffer can hold.
    pub max: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { len, max } = self;
        write!(f, "a record of {len} bytes, the buffer holds {max} at most")
    }
}

impl core::error::Error for TooLarge {}

/// Why a record was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// It can never be stored.
    TooLarge(TooLarge),
    /// It can be stored once older records are gone.
    Full,
}

/// Records that [`RecordRing::make_room`] dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Dropped because the greatest number of records was reached.
    pub by_count: u32,
    /// Dropped because the buffer had too few free bytes.
    pub by_bytes: u32,
}

impl Evicted {
    /// All records dropped.
    #[must_use]
    pub fn total(self) -> u32 {
        self.by_count.saturating_add(self.by_bytes)
    }
}

/// The queue; see the [module](self) for what it promises. `Debug` does not tell what is stored.
pub struct RecordRing<S> {
    storage: S,
    /// The live bytes are `head..tail`, or, once wrapped, `head..wrap` followed by `0..tail`.
    head: usize,
    tail: usize,
    wrap: Option<usize>,
    len: usize,
    next_number: u64,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> RecordRing<S> {
    /// An empty ring over `storage`, whose contents do not matter.
    #[must_use]
    pub const fn new(storage: S) -> Self {
        Self {
            storage,
            head: 0,
            tail: 0,
            wrap: None,
            len: 0,
            next_number: 0,
        }
    }

    /// Records in the ring.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the ring holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the longest record that the ring can hold when empty.
    #[must_use]
    pub fn record_bytes_max(&self) -> usize {
        let longest = u32::MAX as usize;
        self.capacity()
            .saturating_sub(RECORD_HEADER_BYTES)
            .min(longest)
    }

    /// The number that the next pushed record gets.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The number of the oldest record, or [`Self::next_number`] of an empty ring.
    #[must_use]
    pub fn first_number(&self) -> u64 {
        self.next_number.wrapping_sub(self.len as u64)
    }

    /// Leaves out the numbers below `number`, while the ring is empty; else it does nothing.
    pub fn skip_to(&mut self, number: u64) {
        if self.len == 0 {
            self.next_number = self.next_number.max(number);
        }
    }

    /// Stores a copy of `record` as the newest and returns its number.
    ///
    /// # Errors
    /// [`PushError`]; nothing is changed then.
    pub fn push(&mut self, record: &[u8]) -> Result<u64, PushError> {
        self.push_with(record.len(), |bytes| copy(bytes, record))
    }

    /// Stores a record of `len` bytes that `fill` writes in place, and returns its number. The
    /// bytes handed to `fill` are left over from older records; it is to write all of them.
    ///
    /// # Errors
    /// [`PushError`]; `fill` is not called and nothing is changed then.
    pub fn push_with(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<u64, PushError> {
        self.check_len(len).map_err(PushError::TooLarge)?;
        let at = self.place_for(len).ok_or(PushError::Full)?;
        let end = at + RECORD_HEADER_BYTES + len;
        let (header, bytes) = self
            .storage
            .as_mut()
            .get_mut(at..end)
            .and_then(<[u8]>::split_first_chunk_mut::<RECORD_HEADER_BYTES>)
            .ok_or(PushError::Full)?;
        *header = (len as u32).to_le_bytes();
        fill(bytes);
        if at < self.tail {
            self.wrap = Some(self.tail);
        }
        self.tail = end;
        self.len += 1;
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        Ok(number)
    }

    /// Drops the oldest records until one of `len` bytes fits and the ring, with it, holds no more
    /// than `records_max`.
    ///
    /// # Errors
    /// [`TooLarge`] when no record of `len` bytes can ever be stored; nothing is dropped then.
    pub fn make_room(&mut self, len: usize, records_max: usize) -> Result<Evicted, TooLarge> {
        self.check_len(len)?;
        let mut evicted = Evicted::default();
        while self.len > 0 && self.len >= records_max {
            self.pop_front();
            evicted.by_count = evicted.by_count.saturating_add(1);
        }
        while self.len > 0 && self.place_for(len).is_none() {
            self.pop_front();
            evicted.by_bytes = evicted.by_bytes.saturating_add(1);
        }
        Ok(evicted)
    }

    /// Whether a record of `len` bytes fits now.
    #[must_use]
    pub fn fits(&self, len: usize) -> bool {
        self.check_len(len).is_ok() && self.place_for(len).is_some()
    }

    /// The oldest record.
    #[must_use]
    pub fn front(&self) -> Option<Record<'_>> {
        self.iter().next()
    }

    /// Removes the oldest record. Its bytes stay readable until the ring is changed again.
    pub fn pop_front(&mut self) -> Option<Record<'_>> {
        if self.len == 0 {
            return None;
        }
        let number = self.first_number();
        let span = self.span_at(self.head);
        self.head = span.map_or(self.tail, |(_, end)| end);
        self.len -= 1;
        if self.len == 0 {
            (self.head, self.tail, self.wrap) = (0, 0, None);
        } else if self.wrap == Some(self.head) {
            (self.head, self.wrap) = (0, None);
        }
        let (start, end) = span?;
        let bytes = self.storage.as_ref().get(start..end)?;
        Some(Record { number, bytes })
    }

    /// Removes every record whose number is `last` or less; returns how many there were. Numbers of
    /// records that are already gone remove nothing.
    pub fn pop_through(&mut self, last: u64) -> usize {
        let before = self.len;
        while self.len > 0 && self.first_number() <= last {
            self.pop_front();
        }
        before - self.len
    }

    /// The records, oldest first.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, S> {
        Iter {
            ring: self,
            at: self.head,
            number: self.first_number(),
            left: self.len,
        }
    }

    fn capacity(&self) -> usize {
        self.storage.as_ref().len()
    }

    fn check_len(&self, len: usize) -> Result<(), TooLarge> {
        let max = self.record_bytes_max();
        // A buffer too short for a header cannot even hold an empty record.
        if len > max || self.capacity() < RECORD_HEADER_BYTES {
            return Err(TooLarge { len, max });
        }
        Ok(())
    }

    /// Where a record of `len` bytes fits in one piece.
    fn place_for(&self, len: usize) -> Option<usize> {
        let needed = len.saturating_add(RECORD_HEADER_BYTES);
        let room_behind_tail = match self.wrap {
            Some(_) => self.head.saturating_sub(self.tail),
            None => self.capacity().saturating_sub(self.tail),
        };
        if needed <= room_behind_tail {
            Some(self.tail)
        } else if self.wrap.is_none() && needed <= self.head {
            Some(0)
        } else {
            None
        }
    }

    /// Start and end of the bytes of the record whose header is at `at`.
    fn span_at(&self, at: usize) -> Option<(usize, usize)> {
        let header = self
            .storage
            .as_ref()
            .get(at..)?
            .first_chunk::<RECORD_HEADER_BYTES>()?;
        let start = at + RECORD_HEADER_BYTES;
        Some((
            start,
            start.checked_add(u32::from_le_bytes(*header) as usize)?,
        ))
    }
}

impl<S> fmt::Debug for RecordRing<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordRing")
            .field("len", &self.len)
            .field("next_number", &self.next_number)
            .finish_non_exhaustive()
    }
}

/// The records of a [`RecordRing`], oldest first.
#[derive(Debug)]
pub struct Iter<'a, S> {
    ring: &'a RecordRing<S>,
    at: usize,
    number: u64,
    left: usize,
}

impl<S> Clone for Iter<'_, S> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<'a, S: AsRef<[u8]> + AsMut<[u8]>> Iterator for Iter<'a, S> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (start, end) = self.ring.span_at(self.at)?;
        let bytes = self.ring.storage.as_ref().get(start..end)?;
        let number = self.number;
        self.number = number.wrapping_add(1);
        self.at = if self.ring.wrap == Some(end) { 0 } else { end };
        Some(Record { number, bytes })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> ExactSizeIterator for Iter<'_, S> {}

/// Copies `from` to the front of `to`, as far as it is long enough.
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_longer_than_the_buffer_is_refused_to_the_byte() {
        let mut ring = RecordRing::new([0; 12]);
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
            RecordRing::new(&mut [0; 3][..]),
        ] {
            assert_eq!(
                ring.push(&[]),
                Err(PushError::TooLarge(TooLarge { len: 0, max: 0 }))
            );
            assert_eq!(ring.make_room(0, 1), Err(TooLarge { len: 0, max: 0 }));
            assert!(!ring.fits(0));
            assert_eq!(ring.pop_front(), None);
        }
    }

    #[test]
    fn length_that_would_overflow_is_refused() {
        let mut ring = RecordRing::new([0; 12]);
        let huge = TooLarge {
            len: usize::MAX,
            max: 8,
        };
        let pushed = ring.push_with(usize::MAX, |_| unreachable!());
        assert_eq!(pushed, Err(PushError::TooLarge(huge)));
        assert_eq!(ring.make_room(usize::MAX, 1), Err(huge));
    }

    #[test]
    fn emptied_ring_starts_again_at_the_front() {
        let mut ring = RecordRing::new([0; 64]);
        for round in 0..100 {
            ring.push(&[round; 8]).unwrap();
            ring.pop_front();
        }
        assert_eq!(&ring.storage[12..], &[0; 52], "only the front was touched");
    }

    #[test]
    fn record_that_does_not_fit_at_the_end_is_stored_whole_at_the_front() {
        let mut ring = RecordRing::new([0; 32]);
        ring.push(&[1; 8]).unwrap();
        ring.push(&[2; 8]).unwrap();
        ring.pop_front();
        ring.push(&[3; 6]).unwrap();
        assert_eq!(ring.push(&[4; 1]), Err(PushError::Full));
        let bytes: std::vec::Vec<_> = ring.iter().map(|record| record.bytes).collect();
        assert_eq!(bytes, [&[2; 8][..], &[3; 6][..]]);
        assert_eq!(ring.pop_front().unwrap().bytes, [2; 8]);
        assert_eq!(ring.pop_front().unwrap().bytes, [3; 6]);
        assert!(ring.is_empty());
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
        assert_eq!(storage_bytes_for(1, 8), 12);
        assert_eq!(storage_bytes_for(2, 8), 35);
        assert_eq!(storage_bytes_for(usize::MAX, usize::MAX), usize::MAX - 1);
    }
}
