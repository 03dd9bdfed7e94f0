//! How often to tell what a peer can cause as often as it likes: the first few times in each window of
//! time; the others are counted. That is what keeps a peer from filling a log.

/// Times in one [`WINDOW_MS`].
pub const TIMES_MAX: u32 = 10;

/// After this time, in milliseconds, it is told again.
pub const WINDOW_MS: u64 = 10_000;

/// What happens again and again. The caller brings the clock, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// When the window began, once there is one.
    since_ms: Option<u64>,
    told: u32,
    untold: u64,
}

impl Throttle {
    /// It happened. `Some` if it is to be told: how often it was not since it was last.
    #[must_use]
    pub fn pass(&mut self, now_ms: u64) -> Option<u64> {
        let is_over = |since_ms| now_ms.saturating_sub(since_ms) >= WINDOW_MS;
        if self.since_ms.is_none_or(is_over) {
            self.since_ms = Some(now_ms);
            self.told = 0;
        }
        if self.told >= TIMES_MAX {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.told += 1;
        Some(core::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_counted_and_told_in_the_next_window() {
        let mut throttle = Throttle::default();
        for _ in 0..TIMES_MAX {
            assert_eq!(throttle.pass(7), Some(0));
        }
        for now_ms in [7, 8, 6 + WINDOW_MS] {
            assert_eq!(throttle.pass(now_ms), None);
        }
        assert_eq!(throttle.pass(7 + WINDOW_MS), Some(3));
        assert_eq!(throttle.pass(7 + WINDOW_MS), Some(0));
    }
}
