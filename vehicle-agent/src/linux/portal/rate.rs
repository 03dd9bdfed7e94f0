//! How many frames a socket may send: a token bucket, and the end for those who do not listen.

use std::time::Duration;

use tokio::time::Instant;

/// Frames refused one after the other before the socket is ended.
pub(super) const REFUSALS_MAX: u32 = 1_000;

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Take it.
    Pass,
    /// Drop it and tell.
    Refuse,
    /// End the socket.
    End,
}

/// The bucket of one socket: `per_second` frames a second, twice as many at once.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: u32,
    /// The time at which the bucket is full; it moves on with every frame taken.
    full_at: Instant,
    refused: u32,
}

impl Rate {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self {
            per_second: per_second.max(1),
            full_at: now,
            refused: 0,
        }
    }

    pub(super) fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Judges a frame that arrives now.
    pub(super) fn take(&mut self, now: Instant) -> Verdict {
        let full_at = self.full_at.max(now) + Duration::from_secs(1) / self.per_second;
        if full_at - now <= Duration::from_secs(2) {
            self.full_at = full_at;
            self.refused = 0;
            return Verdict::Pass;
        }
        self.refused += 1;
        if self.refused > REFUSALS_MAX {
            Verdict::End
        } else {
            Verdict::Refuse
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seconds_worth_may_come_at_once_then_one_each_interval() {
        let start = Instant::now();
        let mut rate = Rate::new(10, start);
        for _ in 0..20 {
            assert_eq!(rate.take(start), Verdict::Pass);
        }
        assert_eq!(rate.take(start), Verdict::Refuse);
        let later = start + Duration::from_millis(100);
        assert_eq!(rate.take(later), Verdict::Pass);
        assert_eq!(rate.take(later), Verdict::Refuse);
    }

    #[test]
    fn who_does_not_listen_is_ended() {
        let start = Instant::now();
        let mut rate = Rate::new(1, start);
        let verdicts: Vec<_> = (0..2 + REFUSALS_MAX + 1)
            .map(|_| rate.take(start))
            .collect();
        assert_eq!(verdicts.last(), Some(&Verdict::End));
        assert_eq!(verdicts.iter().filter(|v| **v == Verdict::End).count(), 1);
    }
}
