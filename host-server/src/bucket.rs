//! How often somebody may do something: a bucket that fills at a rate and holds a burst.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Buckets of one kind from which on full ones, which say nothing, are looked for and thrown away.
const SWEPT_FROM: usize = 1024;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// More than 0.
    pub(crate) per_second: f64,
    /// At least 1.
    pub(crate) burst: f64,
}

impl Rate {
    /// How long an empty bucket takes to fill.
    fn filled_after(self) -> Duration {
        Duration::from_secs_f64(self.burst / self.per_second)
    }
}

/// What one may do now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    left: f64,
    filled_at: Instant,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self {
            left: rate.burst,
            filled_at: now,
        }
    }

    /// Takes one out.
    ///
    /// # Errors
    /// The time until there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.look(rate, now)?;
        self.left -= 1.0;
        Ok(())
    }

    /// Whether there is one.
    ///
    /// # Errors
    /// The time until there is one.
    pub(crate) fn look(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let elapsed = now.saturating_duration_since(self.filled_at);
        self.left = (self.left + elapsed.as_secs_f64() * rate.per_second).min(rate.burst);
        self.filled_at = now;
        if self.left >= 1.0 {
            return Ok(());
        }
        let seconds = (1.0 - self.left) / rate.per_second;
        Err(Duration::from_secs_f64(seconds))
    }
}

/// A bucket for each of many. There are no more of them than were used in the time that one takes to
/// fill, or a few.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    all: HashMap<K, Bucket>,
    swept_at: Option<Instant>,
}

impl<K: Eq + Hash> Buckets<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            all: HashMap::new(),
            swept_at: None,
        }
    }

    /// Takes one out of somebody's bucket.
    ///
    /// # Errors
    /// The time until there is one.
    pub(crate) fn take(&mut self, whose: K, now: Instant) -> Result<(), Duration> {
        self.sweep(now);
        let full = Bucket::full(self.rate, now);
        self.all.entry(whose).or_insert(full).take(self.rate, now)
    }

    /// Whether there is one in somebody's bucket.
    ///
    /// # Errors
    /// The time until there is one.
    pub(crate) fn look(&self, whose: &K, now: Instant) -> Result<(), Duration> {
        match self.all.get(whose).copied() {
            Some(mut bucket) => bucket.look(self.rate, now),
            None => Ok(()),
        }
    }

    /// Throws away what says nothing, not more often than it can have become much.
    fn sweep(&mut self, now: Instant) {
        let age = |since: Instant| now.saturating_duration_since(since);
        let filled_after = self.rate.filled_after();
        let is_recent = self.swept_at.is_some_and(|at| age(at) < filled_after);
        if self.all.len() < SWEPT_FROM || is_recent {
            return;
        }
        self.swept_at = Some(now);
        self.all
            .retain(|_, bucket| age(bucket.filled_at) < filled_after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10.0,
        burst: 20.0,
    };

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let mut now = Instant::now();
        let mut bucket = Bucket::full(RATE, now);
        let mut count = |now| {
            (0..100)
                .take_while(|_| bucket.take(RATE, now).is_ok())
                .count()
        };
        assert_eq!(count(now), 20);
        now += Duration::from_secs(1);
        assert_eq!(count(now), 10);
        now += Duration::from_secs(3600);
        assert_eq!(count(now), 20);
        assert_eq!(bucket.take(RATE, now), Err(Duration::from_millis(100)));
    }

    #[test]
    fn buckets_of_those_who_are_gone_are_thrown_away() {
        let mut buckets = Buckets::new(RATE);
        let mut now = Instant::now();
        for who in 0..100_000 {
            now += Duration::from_millis(1);
            assert!(buckets.take(who, now).is_ok());
        }
        // In the two seconds that one takes to fill come 2,000, and it is looked every two seconds.
        assert!(buckets.all.len() <= 4_001, "{}", buckets.all.len());
        assert!(buckets.look(&0, now).is_ok());
    }
}
