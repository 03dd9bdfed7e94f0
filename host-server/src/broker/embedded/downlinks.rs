//! The room of what is on its way to vehicles, in all: a vehicle that takes nothing keeps its own messages
//! waiting, and many of them together must not fill the memory, nor keep the others waiting.
//!
//! Each message takes bytes until its last copy is gone. Most of them are for whoever comes; the rest is for
//! vehicles that have nothing on their way, so that those who take what they get are served while others
//! have as much on their way as they may.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Delivery;
use super::counters::{BrokerCounters, add};
use super::forward::permits;

/// See the module.
pub(super) struct Downlinks {
    common: Arc<Semaphore>,
    first: Arc<Semaphore>,
    counters: Arc<BrokerCounters>,
}

impl Downlinks {
    /// Room for so many bytes, a quarter of it for vehicles that have nothing on their way.
    pub(super) fn new(bytes: usize, counters: Arc<BrokerCounters>) -> Self {
        let first = bytes / 4;
        Self {
            common: Arc::new(Semaphore::new(bytes - first)),
            first: Arc::new(Semaphore::new(first)),
            counters,
        }
    }

    /// Takes room for a message; `None` where there is none and the message is not to wait.
    pub(super) async fn take(
        &self,
        bytes: usize,
        is_first: bool,
        delivery: Delivery,
    ) -> Option<OwnedSemaphorePermit> {
        let cost = permits(bytes);
        let now = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_many_owned(cost).ok();
        let taken = now(&self.common).or_else(|| is_first.then(|| now(&self.first)).flatten());
        match (taken, delivery) {
            (Some(taken), _) => return Some(taken),
            (None, Delivery::NowOrNever) => return None,
            (None, Delivery::Patient) => add(&self.counters.downlinks_waited),
        }
        let later = |room: &Arc<Semaphore>| Arc::clone(room).acquire_many_owned(cost);
        // Neither is ever closed.
        tokio::select! {
            taken = later(&self.common) => taken.ok(),
            taken = later(&self.first), if is_first => taken.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn vehicles_that_take_nothing_leave_room_for_those_with_nothing_on_their_way() {
        let counters = Arc::<BrokerCounters>::default();
        let downlinks = Downlinks::new(100, Arc::clone(&counters));
        let take = |bytes, is_first, delivery| downlinks.take(bytes, is_first, delivery);
        let mut stuck = Vec::new();
        while let Some(taken) = take(10, stuck.is_empty(), Delivery::NowOrNever).await {
            stuck.push(taken);
        }
        assert_eq!(stuck.len(), 7, "a quarter is left");
        let first = take(10, true, Delivery::Patient).await;
        assert!(first.is_some());
        let another = take(10, true, Delivery::NowOrNever).await;
        assert!(another.is_some());
        // All of it is taken.
        let waits = take(10, true, Delivery::Patient);
        let waited = tokio::time::timeout(Duration::from_secs(1), waits).await;
        assert!(waited.is_err());
        assert_eq!(counters.snapshot().downlinks_waited, 1);
        drop(first);
        assert!(take(10, true, Delivery::Patient).await.is_some());
        // Who has something on its way waits for the others that have.
        drop((another, stuck.pop(), stuck.pop()));
        assert!(take(20, false, Delivery::NowOrNever).await.is_some());
    }
}
