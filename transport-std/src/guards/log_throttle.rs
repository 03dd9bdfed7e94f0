//! Keeps a peer from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use vinbus_protocol::throttle::Throttle;

/// Lets the first lines of each window pass and counts the others.
#[derive(Debug, Default)]
pub struct LogThrottle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the first line came, from which the time is counted.
    start: Option<Instant>,
    lines: Throttle,
}

impl LogThrottle {
    /// `Some` when a line may be written: how many were not since the last one that was.
    #[must_use]
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = *state.start.get_or_insert(now);
        let now = now.saturating_duration_since(start).as_millis();
        state.lines.pass(u64::try_from(now).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vinbus_protocol::throttle::{TIMES_MAX, WINDOW_MS};

    use super::*;

    #[test]
    fn lines_over_the_limit_are_counted_and_told_in_the_next_window() {
        let throttle = LogThrottle::default();
        let start = Instant::now();
        for _ in 0..TIMES_MAX {
            assert_eq!(throttle.pass(start), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(throttle.pass(start), None);
        }
        let next = start + Duration::from_millis(WINDOW_MS);
        assert_eq!(throttle.pass(next), Some(5));
        assert_eq!(throttle.pass(next), Some(0));
    }
}
