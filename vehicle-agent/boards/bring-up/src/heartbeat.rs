//! Whether the agent's loop still goes round, for a watchdog.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_time::{Duration, Instant, Timer};

/// The loop comes by at least this often while it waits for something.
const BEAT: Duration = Duration::from_secs(1);

/// In place of a time: no agent runs.
const AT_REST: u32 = u32::MAX;

/// When the agent's loop came by last.
///
/// Only an agent that runs can be stuck. One that never began, because the block has a key that
/// cannot be used for instance, or has ended in good order, has said why: a restart would not change
/// it, and would only bury what was said.
#[derive(Debug)]
pub struct Heartbeat {
    /// In seconds since the start, or [`AT_REST`].
    last_s: AtomicU32,
}

impl Heartbeat {
    /// Before the first beat.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            last_s: AtomicU32::new(AT_REST),
        }
    }

    /// What the agent gets as its `stop`: it is polled wherever the loop waits, and never completes.
    pub async fn beat(&self) {
        let beating = Beating(self);
        loop {
            beating.0.last_s.store(now_s(), Ordering::Relaxed);
            Timer::after(BEAT).await;
        }
    }

    /// How long ago that was; `None` while no agent runs.
    pub fn silence(&self) -> Option<Duration> {
        let last_s = self.last_s.load(Ordering::Relaxed);
        let silent_s = u64::from(now_s().saturating_sub(last_s));
        (last_s != AT_REST).then(|| Duration::from_secs(silent_s))
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

/// An agent that runs.
struct Beating<'h>(&'h Heartbeat);

impl Drop for Beating<'_> {
    fn drop(&mut self) {
        self.0.last_s.store(AT_REST, Ordering::Relaxed);
    }
}

/// Enough for a century.
fn now_s() -> u32 {
    u32::try_from(Instant::now().as_secs()).unwrap_or(AT_REST - 1)
}

#[cfg(test)]
mod tests {
    use core::pin::pin;
    use core::task::{Context, Waker};

    use super::*;

    #[test]
    fn only_an_agent_that_runs_can_be_silent() {
        let heartbeat = Heartbeat::new();
        assert_eq!(heartbeat.silence(), None, "it has not begun");
        {
            let mut beat = pin!(heartbeat.beat());
            assert_eq!(heartbeat.silence(), None, "it was not polled yet");
            let mut context = Context::from_waker(Waker::noop());
            assert!(beat.as_mut().poll(&mut context).is_pending());
            assert!(heartbeat.silence().is_some(), "it runs");
        }
        assert_eq!(heartbeat.silence(), None, "it has ended");
    }
}
