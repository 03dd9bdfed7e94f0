//! What the agent takes from its surroundings besides the link: time and random words.
//!
//! Both are arguments, so that a test can run a day of link losses in a millisecond.

use vinbus_protocol::delivery::Epoch;

/// A monotonic clock.
pub trait Clock {
    /// Milliseconds since an arbitrary start; never goes back.
    fn now_ms(&self) -> u64;

    /// Completes when [`Clock::now_ms`] has reached `deadline_ms`.
    #[expect(
        async_fn_in_trait,
        reason = "executors of boards are single-threaded; on Linux the concrete type decides about Send"
    )]
    async fn sleep_until(&self, deadline_ms: u64);

    /// The epoch of delivery that begins now, by the time of day (SPEC 16.9), for an agent that keeps
    /// nothing and learns the time on its way to the broker. `None` where the time is not known, or the
    /// agent knows its epoch from the start.
    fn epoch(&self) -> Option<Epoch>;
}

/// A source of random words, for the jitter of reconnections. It need not be cryptographic.
pub trait Random {
    /// The next word.
    fn next_u32(&mut self) -> u32;
}

/// A time that does not come: deadlines are plain numbers, of which the earlier one is the lesser.
pub(crate) const NEVER: u64 = u64::MAX;
