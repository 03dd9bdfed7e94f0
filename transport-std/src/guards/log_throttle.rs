//! Keeps a peer from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind in one [`WINDOW`].
const LINES_MAX: u32 = 10;

/// After this time, lines are written again.
const WINDOW: Duration = Duration::from_secs(10);

/// Lets the first lines of each window pass and counts the others.
#[derive(Debug, Default)]
pub struct LogThrottle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl LogThrottle {
    /// `Some` when a line may be written: how many were not since the last one that was.
    #[must_use]
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .since
            .is_none_or(|since| now.duration_since(since) >= WINDOW)
        {
            state.since = Some(now);
            state.lines = 0;
        }
        if state.lines == LINES_MAX {
            state.suppressed += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_limit_are_counted_and_told_in_the_next_window() {
        let throttle = LogThrottle::default();
        let start = Instant::now();
        for _ in 0..LINES_MAX {
            assert_eq!(throttle.pass(start), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(throttle.pass(start), None);
        }
        assert_eq!(throttle.pass(start + WINDOW), Some(5));
        assert_eq!(throttle.pass(start + WINDOW), Some(0));
    }
}
