//! How many frames a socket may send: a token bucket, and the end for those who do not listen.

/// Frames refused one after the other before the socket is ended.
pub(crate) const REFUSALS_MAX: u32 = 1_000;

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Take it.
    Pass,
    /// Drop it and tell.
    Refuse,
    /// End the socket.
    End,
}

/// The bucket of one socket: `per_second` frames a second, twice as many at once.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: u32,
    /// The time at which the bucket is full, in microseconds; it moves on with every frame taken.
    full_at_us: u64,
    refused: u32,
}

impl Rate {
    /// A full bucket.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second: per_second.max(1),
            full_at_us: 0,
            refused: 0,
        }
    }

    /// Frames allowed in a second.
    pub(crate) fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Judges a frame that arrives now.
    pub(crate) fn take(&mut self, now_ms: u64) -> Verdict {
        let now_us = now_ms.saturating_mul(1_000);
        let full_at_us = self.full_at_us.max(now_us) + 1_000_000 / u64::from(self.per_second);
        if full_at_us - now_us <= 2_000_000 {
            self.full_at_us = full_at_us;
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
    use std::vec::Vec;

    #[test]
    fn two_seconds_worth_may_come_at_once_then_one_each_interval() {
        let mut rate = Rate::new(10);
        for _ in 0..20 {
            assert_eq!(rate.take(5), Verdict::Pass);
        }
        assert_eq!(rate.take(5), Verdict::Refuse);
        assert_eq!(rate.take(105), Verdict::Pass);
        assert_eq!(rate.take(105), Verdict::Refuse);
    }

    #[test]
    fn who_does_not_listen_is_ended() {
        let mut rate = Rate::new(1);
        let verdicts: Vec<_> = (0..2 + REFUSALS_MAX + 1).map(|_| rate.take(0)).collect();
        assert_eq!(verdicts.last(), Some(&Verdict::End));
        assert_eq!(verdicts.iter().filter(|v| **v == Verdict::End).count(), 1);
    }
}
