//! Whether the agent's loop still goes round, for a watchdog.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_time::{Duration, Instant, Timer};

/// The loop comes by at least this often while it waits for something.
const BEAT: Duration = Duration::from_secs(1);

/// When the agent's loop came by last.
#[derive(Debug, Default)]
pub struct Heartbeat {
    /// In seconds since the start.
    last_s: AtomicU32,
}

impl Heartbeat {
    /// Before the first beat.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            last_s: AtomicU32::new(0),
        }
    }

    /// What the agent gets as its `stop`: it is polled wherever the loop waits, and never completes.
    pub async fn beat(&self) {
        loop {
            self.last_s.store(now_s(), Ordering::Relaxed);
            Timer::after(BEAT).await;
        }
    }

    /// How long ago that was.
    pub fn silence(&self) -> Duration {
        let last_s = self.last_s.load(Ordering::Relaxed);
        Duration::from_secs(u64::from(now_s().saturating_sub(last_s)))
    }
}

/// Enough for a century.
fn now_s() -> u32 {
    u32::try_from(Instant::now().as_secs()).unwrap_or(u32::MAX)
}
