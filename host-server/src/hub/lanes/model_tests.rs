//! All orders of events against a small model of the store and the workers.

use tokio::time::Instant;

use super::tests::{bounds, downlink, id};
use super::{Claim, Lanes};
use crate::model::Downlink;

/// The lanes, with one worker and one vehicle, and what the store and the vehicle saw.
struct World {
    lanes: Lanes,
    reserved: usize,
    on_disk: Vec<u64>,
    untold: Vec<u64>,
    last_sequence: u64,
    worker: Worker,
    claim: Option<Claim>,
    sent: Vec<u64>,
    expired: Vec<u64>,
}

enum Worker {
    Waits,
    Runs(Option<Box<Downlink>>),
    Sent(Vec<u64>),
}

impl World {
    fn new() -> Self {
        Self {
            lanes: Lanes::new([], bounds(100, 100)),
            reserved: 0,
            on_disk: Vec::new(),
            untold: Vec::new(),
            last_sequence: 0,
            worker: Worker::Waits,
            claim: None,
            sent: Vec::new(),
            expired: Vec::new(),
        }
    }

    /// Does what `choice` says, where that is possible.
    fn step(&mut self, choice: u8) {
        let id = id(1);
        match choice % 7 {
            0 => {
                self.lanes.reserve(&id, 0).unwrap();
                self.reserved += 1;
            }
            1 if self.reserved > 0 => {
                self.reserved -= 1;
                self.last_sequence += 1;
                self.on_disk.push(self.last_sequence);
                self.untold.push(self.last_sequence);
            }
            2 if !self.untold.is_empty() => {
                let place = usize::from(choice / 7) % self.untold.len();
                let sequence = self.untold.swap_remove(place);
                self.lanes.accepted(&id, &downlink(&id, sequence));
            }
            3 if self.reserved > 0 => {
                self.reserved -= 1;
                self.lanes.not_stored(&id, 0);
            }
            4 => self.work(),
            5 if self.claim.is_none() => self.claim = self.lanes.claim(&id),
            5 => self.release(),
            6 if self.claim.is_some() && !self.on_disk.is_empty() => {
                let place = usize::from(choice / 7) % self.on_disk.len();
                let sequence = self.on_disk.remove(place);
                self.lanes.finished(&id, sequence, 0);
                self.expired.push(sequence);
            }
            _ => {}
        }
    }

    fn release(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.lanes.release(&id(1), &claim);
        }
    }

    /// One step of the worker.
    fn work(&mut self) {
        let id = id(1);
        self.worker = match std::mem::replace(&mut self.worker, Worker::Waits) {
            Worker::Waits => match self.lanes.take(Instant::now()) {
                Some((run, _)) => Worker::Runs(run.fresh.map(Box::new)),
                None => Worker::Waits,
            },
            Worker::Runs(fresh) => {
                let page = match fresh {
                    Some(downlink) => vec![downlink.sequence],
                    None => self.on_disk.clone(),
                };
                if page.is_empty() {
                    self.lanes.park(&id, 0);
                    Worker::Waits
                } else {
                    self.sent.extend(&page);
                    self.on_disk.retain(|sequence| !page.contains(sequence));
                    Worker::Sent(page)
                }
            }
            Worker::Sent(page) => {
                for sequence in page {
                    self.lanes.finished(&id, sequence, 0);
                }
                Worker::Runs(None)
            }
        };
    }

    /// Lets everything that began come to its end.
    fn finish(&mut self) {
        self.release();
        while self.reserved > 0 {
            self.step(1);
        }
        while !self.untold.is_empty() {
            self.step(2);
        }
        for _ in 0..4 * (self.last_sequence + 1) {
            self.work();
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

    #[test]
    fn in_every_order_of_events_each_message_is_sent_once_and_in_order_or_expires(
        choices in proptest::collection::vec(proptest::num::u8::ANY, 0..60),
    ) {
        let mut world = World::new();
        for choice in choices {
            world.step(choice);
        }
        world.finish();
        assert!(world.sent.is_sorted(), "{:?}", world.sent);
        let mut all = [world.sent, world.expired].concat();
        all.sort_unstable();
        assert_eq!(all, (1..=world.last_sequence).collect::<Vec<_>>());
        assert_eq!(world.lanes.unsent(), 0);
        assert!(world.lanes.vehicles.is_empty());
    }
}
