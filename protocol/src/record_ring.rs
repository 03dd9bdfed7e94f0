//! A first-in first-out queue of byte records over one fixed buffer; the memory under
//! [`crate::pending`], [`crate::uplink_queue`] and [`crate::popup`].
//!
//! A record is stored in one piece, so that reading it yields one `&[u8]` and copies nothing. No byte
//! is wasted: where the free ones are in two pieces, the records are moved together. An emptied ring
//! starts again at the front of its buffer: memory that the operating system maps on first touch stays
//! unmapped while traffic is light.
//!
//! Records are numbered from 0 in the order in which they were pushed. A number stays valid after
//! its record is gone, so a reader that gives up the borrow can still say what it has taken:
//! [`RecordRing::pop_through`]. A record that comes back takes its place by its number, and any one
//! may go before those in front of it; both move bytes.
//!
//! The ring never drops a record by itself; who owns it decides, with [`RecordRing::make_room`].

use core::fmt;

/// Bytes in front of each record: its length as a little-endian `u32` and its number as a `u64`.
pub const RECORD_HEADER_BYTES: usize = LEN_BYTES + size_of::<u64>();

const LEN_BYTES: usize = size_of::<u32>();

/// Bytes of storage that hold `records` records of up to `record_bytes_max` bytes.
#[must_use]
pub const fn storage_bytes_for(records: usize, record_bytes_max: usize) -> usize {
    let stored = RECORD_HEADER_BYTES.saturating_add(record_bytes_max);
    stored.saturating_mul(records)
}

/// One stored record. `Debug` tells its length only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number: 0 for the first record ever pushed, at least one more for each that follows.
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
    /// It can be stored once other records are gone.
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
    used_max: usize,
}

/// How full a buffer was, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Taken at most, headers included.
    pub used: usize,
    /// There are.
    pub size: usize,
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
            used_max: 0,
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
        self.front().map_or(self.next_number, |front| front.number)
    }

    /// Leaves out those of the numbers below `number` that were not given yet.
    pub fn skip_to(&mut self, number: u64) {
        self.next_number = self.next_number.max(number);
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
        let number = self.next_number;
        fill(self.append(number, len)?);
        self.next_number = number.wrapping_add(1);
        Ok(number)
    }

    /// Stores a record of `len` bytes that `fill` writes in place under a number that no other record
    /// has, ahead of all with greater numbers, whose bytes are moved. Greater numbers than this one are
    /// given next.
    ///
    /// # Errors
    /// As [`Self::push_with`].
    pub fn insert_with(
        &mut self,
        number: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), PushError> {
        fill(self.append(number, len)?);
        if self.next_number > number {
            self.move_last_into_place(number);
        } else {
            self.next_number = number.wrapping_add(1);
        }
        Ok(())
    }

    /// Removes the record with this number, whatever is in front of it; `false` if there is none. The
    /// bytes of the records on one side of it are moved.
    pub fn remove(&mut self, number: u64) -> bool {
        if self.first_number() == number {
            return self.pop_front().is_some();
        }
        if self.wrap.is_some() {
            self.straighten();
        }
        let Some((start, end)) = self.span_of(number) else {
            return false;
        };
        let size = end - start;
        if start - self.head <= self.tail.saturating_sub(end) {
            self.rotate(self.head, end, start - self.head);
            self.head += size;
        } else {
            self.rotate(start, self.tail, size);
            self.tail -= size;
        }
        self.len -= 1;
        true
    }

    /// Drops the oldest records behind the first `stay` until one of `len` bytes fits and the ring,
    /// with it, holds no more than `records_max`.
    ///
    /// # Errors
    /// [`PushError`] when no record of `len` bytes can be stored beside those that stay; nothing is
    /// dropped then.
    pub fn make_room(
        &mut self,
        len: usize,
        records_max: usize,
        stay: usize,
    ) -> Result<Evicted, PushError> {
        self.check_len(len).map_err(PushError::TooLarge)?;
        let staying = self.iter().take(stay);
        let sizes = staying.map(|record| RECORD_HEADER_BYTES + record.bytes.len());
        let (count, used) = sizes.fold((0, 0), |(count, used), size| (count + 1, used + size));
        let is_full = count > 0 && count >= records_max;
        if is_full || self.capacity().saturating_sub(used) < len.saturating_add(RECORD_HEADER_BYTES)
        {
            return Err(PushError::Full);
        }
        let mut evicted = Evicted::default();
        while self.len >= records_max && self.remove_nth(count) {
            evicted.by_count = evicted.by_count.saturating_add(1);
        }
        while !self.fits(len) && self.remove_nth(count) {
            evicted.by_bytes = evicted.by_bytes.saturating_add(1);
        }
        Ok(evicted)
    }

    /// Whether a record of `len` bytes fits now.
    #[must_use]
    pub fn fits(&self, len: usize) -> bool {
        let free = self.capacity().saturating_sub(self.used());
        self.check_len(len).is_ok() && len.saturating_add(RECORD_HEADER_BYTES) <= free
    }

    /// How full the buffer was since the ring was made.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            used: self.used_max,
            size: self.capacity(),
        }
    }

    /// Bytes of the longest record that fits now.
    #[must_use]
    pub fn room(&self) -> usize {
        let taken = self.used().saturating_add(RECORD_HEADER_BYTES);
        let free = self.capacity().saturating_sub(taken);
        free.min(self.record_bytes_max())
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
        let at = self.head;
        self.head = self.record_at(at).map_or(self.tail, |(_, end)| end);
        self.len -= 1;
        if self.len == 0 {
            (self.head, self.tail, self.wrap) = (0, 0, None);
        } else if self.wrap == Some(self.head) {
            (self.head, self.wrap) = (0, None);
        }
        self.record_at(at).map(|(record, _)| record)
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
            left: self.len,
        }
    }

    fn capacity(&self) -> usize {
        self.storage.as_ref().len()
    }

    pub(crate) fn check_len(&self, len: usize) -> Result<(), TooLarge> {
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

    /// Bytes of the records, with their headers.
    fn used(&self) -> usize {
        match self.wrap {
            Some(wrap) => self.tail.saturating_add(wrap).saturating_sub(self.head),
            None => self.tail.saturating_sub(self.head),
        }
    }

    /// Makes a record behind all others, whatever its number is, and gives its bytes, to be written.
    fn append(&mut self, number: u64, len: usize) -> Result<&mut [u8], PushError> {
        self.check_len(len).map_err(PushError::TooLarge)?;
        if self.place_for(len).is_none() && self.fits(len) {
            self.straighten();
        }
        let at = self.place_for(len).ok_or(PushError::Full)?;
        let end = at + RECORD_HEADER_BYTES + len;
        let used = self.used().saturating_add(RECORD_HEADER_BYTES + len);
        let record = self.storage.as_mut().get_mut(at..end);
        let (len_bytes, rest) = record
            .and_then(<[u8]>::split_first_chunk_mut)
            .ok_or(PushError::Full)?;
        let (number_bytes, bytes) = rest.split_first_chunk_mut().ok_or(PushError::Full)?;
        *len_bytes = (len as u32).to_le_bytes();
        *number_bytes = number.to_le_bytes();
        if at < self.tail {
            self.wrap = Some(self.tail);
        }
        self.tail = end;
        self.len += 1;
        self.used_max = self.used_max.max(used);
        Ok(bytes)
    }

    /// Moves the last record ahead of all whose numbers are greater than `number`, its own.
    fn move_last_into_place(&mut self, number: u64) {
        let next = number.saturating_add(1);
        if self.first_from(next).is_none() {
            return;
        }
        if self.wrap.is_some() {
            self.straighten();
        }
        if let (Some(newer), Some((last, end))) = (self.first_from(next), self.span_of(number)) {
            self.rotate(newer, end, last.saturating_sub(newer));
        }
    }

    /// Removes the record with `n` others in front of it; `false` if there is none.
    fn remove_nth(&mut self, n: usize) -> bool {
        let number = self.iter().nth(n).map(|record| record.number);
        number.is_some_and(|number| self.remove(number))
    }

    /// Moves all records to the front of the buffer, so that the free bytes are in one piece.
    fn straighten(&mut self) {
        let used = self.used();
        self.rotate(0, self.wrap.unwrap_or(self.tail), self.head);
        (self.head, self.tail, self.wrap) = (0, used, None);
    }

    /// Moves the first `by` bytes between `start` and `end` behind the others there.
    fn rotate(&mut self, start: usize, end: usize, by: usize) {
        let bytes = self.storage.as_mut().get_mut(start..end);
        let bytes = bytes.unwrap_or_default();
        if let Some((front, back)) = bytes.split_at_mut_checked(by) {
            // Less code than `rotate_left`, for boards.
            front.reverse();
            back.reverse();
            bytes.reverse();
        }
    }

    /// Where the first record begins whose number is `number` or greater.
    fn first_from(&self, number: u64) -> Option<usize> {
        let mut records = self.iter();
        loop {
            let at = records.at;
            if records.next()?.number >= number {
                return Some(at);
            }
        }
    }

    /// Where the record with this number begins and ends, in its place by number or not.
    fn span_of(&self, number: u64) -> Option<(usize, usize)> {
        let mut records = self.iter();
        loop {
            let at = records.at;
            if records.next()?.number == number {
                return Some((at, self.record_at(at)?.1));
            }
        }
    }

    /// The record whose header is at `at`, and its end.
    fn record_at(&self, at: usize) -> Option<(Record<'_>, usize)> {
        let stored = self.storage.as_ref().get(at..)?;
        let (len, rest) = stored.split_first_chunk::<LEN_BYTES>()?;
        let (number, rest) = rest.split_first_chunk()?;
        let len = u32::from_le_bytes(*len) as usize;
        let record = Record {
            number: u64::from_le_bytes(*number),
            bytes: rest.get(..len)?,
        };
        Some((record, at + RECORD_HEADER_BYTES + len))
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
        let (record, end) = self.ring.record_at(self.at)?;
        self.at = if self.ring.wrap == Some(end) { 0 } else { end };
        Some(record)
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
mod tests;
