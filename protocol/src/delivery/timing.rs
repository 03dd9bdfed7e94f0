//! When a repetition is due: what is known of the link, and how patience grows.

use crate::limits::{
    DELIVERY_BYTES_PER_MS_MIN, DELIVERY_REPEAT_MS_INITIAL, DELIVERY_REPEAT_MS_MAX,
    DELIVERY_REPEAT_MS_MIN,
};

const _: () = assert!(DELIVERY_REPEAT_MS_MAX < 1 << 16);

/// A time that does not come.
pub(super) const NEVER: u64 = u64::MAX;

/// A time that comes `delay_ms` after another.
#[inline(never)]
pub(super) const fn after(now_ms: u64, delay_ms: u32) -> u64 {
    now_ms.saturating_add(delay_ms as u64)
}

/// The time that a message and its receipt take, estimated as TCP does (RFC 6298).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundTrip {
    /// Smoothed, in milliseconds; `None` before the first measurement.
    smoothed_ms: Option<u32>,
    variation_ms: u32,
}

impl RoundTrip {
    /// Whether anything was measured.
    pub(super) fn is_known(&self) -> bool {
        self.smoothed_ms.is_some()
    }

    /// Takes a measurement, of a message that was sent once only.
    pub(super) fn measured(&mut self, ms: u64) {
        let ms = u32::try_from(ms)
            .unwrap_or(u32::MAX)
            .min(DELIVERY_REPEAT_MS_MAX);
        let (smoothed, variation) = match self.smoothed_ms {
            None => (ms, ms / 2),
            Some(smoothed) => {
                let off = smoothed.abs_diff(ms);
                let variation = self.variation_ms - self.variation_ms / 4 + off / 4;
                (smoothed - smoothed / 8 + ms / 8, variation)
            }
        };
        (self.smoothed_ms, self.variation_ms) = (Some(smoothed), variation);
    }

    /// The time after which an answer is late, if one that was sent later has an answer.
    pub(super) fn late_ms(&self) -> u32 {
        let smoothed = self.smoothed_ms.unwrap_or(DELIVERY_REPEAT_MS_INITIAL);
        smoothed.saturating_add(smoothed / 8)
    }

    /// The time to wait for an answer, in milliseconds, after `failures` times without one and with
    /// `bytes` on their way: doubled each time, and up to a quarter longer by chance.
    #[inline(never)]
    pub(super) fn patience_ms(&self, failures: u8, bytes: u32, random: u32) -> u32 {
        let base = match self.smoothed_ms {
            None => DELIVERY_REPEAT_MS_INITIAL,
            Some(smoothed) => smoothed.saturating_add(self.variation_ms.saturating_mul(4)),
        };
        // At most 60,000 times 2^16.
        let doubled =
            base.clamp(DELIVERY_REPEAT_MS_MIN, DELIVERY_REPEAT_MS_MAX) << failures.min(16);
        let delay = doubled.min(DELIVERY_REPEAT_MS_MAX);
        // A quarter of the delay times a fraction of 1: at most 15,000 x 2^32 before the shift.
        let jitter = (u64::from(delay / 4) * u64::from(random)) >> 32;
        delay + jitter as u32 + bytes / DELIVERY_BYTES_PER_MS_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_doubles_up_to_a_minute_and_a_quarter() {
        let unknown = RoundTrip::default();
        let delays = [0, 1, 2, 5, 6, 255].map(|failures| unknown.patience_ms(failures, 0, 0));
        assert_eq!(delays, [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
        assert_eq!(unknown.patience_ms(255, 0, u32::MAX), 74_999);
    }

    #[test]
    fn long_messages_get_the_time_that_a_slow_link_needs() {
        assert_eq!(
            RoundTrip::default().patience_ms(0, 131_072, 0),
            1_000 + 4_369
        );
    }

    #[test]
    fn measurements_settle_on_what_the_link_takes() {
        let mut link = RoundTrip::default();
        for _ in 0..50 {
            link.measured(400);
        }
        let patience = link.patience_ms(0, 0, 0);
        assert!((380..=440).contains(&patience), "{patience}");
        for _ in 0..100 {
            link.measured(1);
        }
        assert_eq!(link.patience_ms(0, 0, 0), 100);
        link.measured(u64::MAX);
        assert!(link.patience_ms(0, 0, 0) <= 60_000);
    }
}
