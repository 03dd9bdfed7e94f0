//! How long to wait before the next attempt to connect: doubling, with jitter.
//!
//! Each delay is drawn evenly from the least delay up to a ceiling that doubles with every failed
//! attempt until it reaches the greatest delay. The first ceiling is already twice the least delay,
//! so that vehicles which lost the same broker at the same moment do not come back at the same
//! moment.

use crate::limits::{RECONNECT_DELAY_MS_MAX, RECONNECT_DELAY_MS_MIN, RECONNECT_STABLE_MS};

/// The delays of one connection. The caller brings the random words and the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    min_ms: u32,
    max_ms: u32,
    ceiling_ms: u32,
}

impl Backoff {
    /// Delays from `min_ms` to `max_ms` milliseconds. A `min_ms` of 0 counts as 1, and a `max_ms`
    /// below `min_ms` counts as `min_ms`.
    #[must_use]
    pub const fn new(min_ms: u32, max_ms: u32) -> Self {
        let min_ms = if min_ms == 0 { 1 } else { min_ms };
        let max_ms = if max_ms < min_ms { min_ms } else { max_ms };
        Self {
            min_ms,
            max_ms,
            ceiling_ms: min_ms,
        }
    }

    /// The delay before the next attempt, in milliseconds, after one more failure. `random` is a
    /// word of which every value is equally likely.
    pub fn next_delay_ms(&mut self, random: u32) -> u32 {
        self.ceiling_ms = self.ceiling_ms.saturating_mul(2).min(self.max_ms);
        let values = u64::from(self.ceiling_ms - self.min_ms) + 1;
        // Scales the word to 0..values; the product has at most 64 bits and its upper half fits.
        let jitter = (u64::from(random) * values) >> 32;
        self.min_ms + jitter as u32
    }

    /// A connection has ended that lasted for `lasted_ms` milliseconds: a good one starts over. Shorter ones
    /// keep the delays growing, or two clients with one id would throw each other out twice a second for
    /// ever (SPEC 7.3).
    pub fn handle_end(&mut self, lasted_ms: u64) {
        if lasted_ms >= u64::from(RECONNECT_STABLE_MS) {
            self.reset();
        }
    }

    /// Starts over, after a connection that worked.
    pub fn reset(&mut self) {
        self.ceiling_ms = self.min_ms;
    }
}

impl Default for Backoff {
    /// [`RECONNECT_DELAY_MS_MIN`] to [`RECONNECT_DELAY_MS_MAX`].
    fn default() -> Self {
        Self::new(RECONNECT_DELAY_MS_MIN, RECONNECT_DELAY_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceiling_doubles_from_one_second_to_sixty() {
        let mut backoff = Backoff::default();
        let ceilings: [u32; 8] = core::array::from_fn(|_| backoff.next_delay_ms(u32::MAX));
        assert_eq!(
            ceilings,
            [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]
        );
    }

    #[test]
    fn least_delay_is_half_a_second_at_every_attempt() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            assert_eq!(backoff.next_delay_ms(0), 500);
        }
    }

    #[test]
    fn success_starts_over() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.next_delay_ms(0);
        }
        backoff.reset();
        assert_eq!(backoff.next_delay_ms(u32::MAX), 1000);
    }

    #[test]
    fn connection_starts_over_once_it_lasted_for_ten_seconds() {
        for (lasted_ms, ceiling) in [(0, 32_000), (9_999, 32_000), (10_000, 1_000)] {
            let mut backoff = Backoff::default();
            for _ in 0..5 {
                backoff.next_delay_ms(0);
            }
            backoff.handle_end(lasted_ms);
            assert_eq!(backoff.next_delay_ms(u32::MAX), ceiling, "{lasted_ms} ms");
        }
    }

    #[test]
    fn limits_the_wrong_way_round_still_give_the_least_delay() {
        assert_eq!(Backoff::new(700, 100).next_delay_ms(u32::MAX), 700);
        assert_eq!(Backoff::new(0, 0).next_delay_ms(u32::MAX), 1);
        let mut extreme = Backoff::new(u32::MAX, u32::MAX);
        assert_eq!(extreme.next_delay_ms(u32::MAX), u32::MAX);
    }
}
