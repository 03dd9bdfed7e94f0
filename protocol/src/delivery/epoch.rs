//! The life of one end's memory.

use core::num::NonZeroU32;

use crate::limits::DELIVERY_EPOCH_MAX;

/// 1 January 2020, in seconds since 1970.
const UNIX_S_OF_2020: u64 = 1_577_836_800;

/// Numbers the lives of one end: from one life to the next, what it knew of numbers and windows is
/// lost. An end that keeps its [`Snapshot`](super::Snapshot) goes on with the same epoch; one that
/// begins without takes a greater one: the seconds since 2020, or a counter of its starts.
///
/// From 1 to [`DELIVERY_EPOCH_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(NonZeroU32);

impl Epoch {
    /// The first one.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The epoch with this number, if it is one.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(epoch) if number <= DELIVERY_EPOCH_MAX => Some(Self(epoch)),
            _ => None,
        }
    }

    /// The epoch of a life that begins at this time, in seconds since 1970: seconds since 2020. `None`
    /// outside of the times that have one, from 2020 to 2051.
    #[must_use]
    pub const fn at(unix_s: u64) -> Option<Self> {
        let since_2020 = unix_s.saturating_sub(UNIX_S_OF_2020);
        if since_2020 > DELIVERY_EPOCH_MAX as u64 {
            return None;
        }
        Self::new(since_2020 as u32)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.get()
    }

    /// The next one, if there is one.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0.get().saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_have_one_to_nine_digits() {
        assert_eq!(Epoch::new(0), None);
        assert_eq!(Epoch::new(1), Some(Epoch::FIRST));
        assert_eq!(Epoch::new(1_000_000_000), None);
        assert_eq!(Epoch::new(999_999_999).and_then(Epoch::next), None);
        assert_eq!(Epoch::FIRST.next().map(Epoch::number), Some(2));
    }

    #[test]
    fn epochs_of_times_are_seconds_since_2020() {
        assert_eq!(Epoch::at(0), None);
        assert_eq!(Epoch::at(UNIX_S_OF_2020), None);
        assert_eq!(Epoch::at(UNIX_S_OF_2020 + 1), Some(Epoch::FIRST));
        let last = UNIX_S_OF_2020 + 999_999_999;
        assert_eq!(Epoch::at(last), Epoch::new(999_999_999));
        assert_eq!(Epoch::at(last + 1), None);
        assert_eq!(Epoch::at(u64::MAX), None);
    }
}
