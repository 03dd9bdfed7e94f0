//! How fast to send over a link of a known rate: a bucket that fills with time, kept as the moment
//! at which the link will have carried what it was given.
//!
//! A message may be sent while the link is less than the burst behind, however large it is: so what
//! waits on the wire is never more than the burst and one message, and a small message that is sent
//! next waits no longer than those take.

use core::num::{NonZeroU32, NonZeroU64};

/// Microseconds of a second.
const US_PER_S: u64 = 1_000_000;

/// Microseconds of a millisecond.
const US_PER_MS: u64 = 1_000;

/// What one link was given. The caller brings the clock, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    bytes_per_s: NonZeroU32,
    burst_us: u64,
    /// When everything that was sent has passed the link, in microseconds.
    busy_until_us: u64,
}

impl Pace {
    /// A link that carries so many bytes a second, and may be given as much as it carries in
    /// `burst_ms` milliseconds at once.
    #[must_use]
    pub const fn new(bytes_per_s: NonZeroU32, burst_ms: u32) -> Self {
        Self {
            bytes_per_s,
            burst_us: burst_ms as u64 * US_PER_MS,
            busy_until_us: 0,
        }
    }

    /// From when on the next message may be sent.
    #[must_use]
    pub const fn ready_at_ms(&self) -> u64 {
        self.busy_until_us
            .saturating_sub(self.burst_us)
            .div_ceil(US_PER_MS)
    }

    /// So many bytes were sent.
    pub fn sent(&mut self, now_ms: u64, bytes: u32) {
        let per_s = NonZeroU64::from(self.bytes_per_s);
        let now_us = now_ms.saturating_mul(US_PER_MS);
        // At most 2^52, so it does not overflow.
        let takes_us = u64::from(bytes) * US_PER_S / per_s;
        self.busy_until_us = self.busy_until_us.max(now_us).saturating_add(takes_us);
    }

    /// Whether everything that was sent has passed: such a link has no memory.
    #[must_use]
    pub const fn is_idle(&self, now_ms: u64) -> bool {
        self.busy_until_us <= now_ms.saturating_mul(US_PER_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: NonZeroU32 = NonZeroU32::new(30_000).unwrap();

    /// When each of some messages goes, if all of them wait at 0.
    fn times<const N: usize>(mut pace: Pace, bytes: [u32; N]) -> [u64; N] {
        let mut now_ms = 0;
        bytes.map(|bytes| {
            now_ms = pace.ready_at_ms().max(now_ms);
            pace.sent(now_ms, bytes);
            now_ms
        })
    }

    #[test]
    fn messages_go_at_once_up_to_the_burst_and_then_at_the_rate() {
        let pace = Pace::new(SLOW, 1_000);
        let sent = times(pace, [15_000; 6]);
        assert_eq!(sent, [0, 0, 0, 500, 1_000, 1_500]);
    }

    #[test]
    fn large_message_is_sent_whole_and_what_follows_waits_for_it() {
        let pace = Pace::new(SLOW, 1_000);
        assert_eq!(times(pace, [120_000, 300, 300]), [0, 3_000, 3_010]);
    }

    #[test]
    fn link_that_rested_gets_no_more_than_the_burst() {
        let mut pace = Pace::new(SLOW, 1_000);
        assert!(pace.is_idle(0));
        pace.sent(0, 60_000);
        assert!(!pace.is_idle(1_999) && pace.is_idle(2_000));
        pace.sent(1_000_000, 45_000);
        assert_eq!(pace.ready_at_ms(), 1_000_500);
    }

    #[test]
    fn nothing_overflows() {
        let mut pace = Pace::new(NonZeroU32::MIN, u32::MAX);
        pace.sent(u64::MAX, u32::MAX);
        pace.sent(u64::MAX, u32::MAX);
        assert!(pace.ready_at_ms() <= u64::MAX / US_PER_MS);
        assert!(!pace.is_idle(u64::MAX / US_PER_MS - 1));
    }
}
