//! Time and random words of a Linux process.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use tokio::time::Instant;

use vinbus_protocol::delivery::Epoch;

use crate::clock::{Clock, Random};

/// tokio's clock, which tests can pause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokioClock {
    start: Instant,
}

impl TokioClock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for TokioClock {
    fn now_ms(&self) -> u64 {
        // A process does not run for half a billion years.
        self.start.elapsed().as_millis() as u64
    }

    async fn sleep_until(&self, deadline_ms: u64) {
        // The clock counts whole milliseconds, so up to one more has to pass.
        tokio::time::sleep_until(self.start + Duration::from_millis(deadline_ms)).await;
    }

    fn epoch(&self) -> Option<Epoch> {
        None
    }
}

/// Words that differ from process to process and from vehicle to vehicle; no secrets.
#[derive(Debug)]
pub(crate) struct ProcessRandom {
    seed: RandomState,
    drawn: u64,
}

impl ProcessRandom {
    pub(crate) fn new() -> Self {
        Self {
            seed: RandomState::new(),
            drawn: 0,
        }
    }
}

impl Random for ProcessRandom {
    fn next_u32(&mut self) -> u32 {
        self.drawn += 1;
        (self.seed.hash_one(self.drawn) >> 32) as u32
    }
}
