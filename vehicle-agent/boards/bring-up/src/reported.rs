//! The agent's news of the link and of its messages, in the log, and what its reports of health say of
//! the board.

use embassy_time::Instant;
use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::health::Health;
use vinbus_protocol::record_ring::Record;
use vinbus_protocol::throttle::Throttle;
use vinbus_vehicle_agent::apps::{Apps, Kept, Notice, Request, SendRefusal, Told};
use vinbus_vehicle_agent::desk::{Counters, DeliveryCounters, DownlinkRefusal};
use vinbus_vehicle_agent::notes::{NotNoted, Note};

/// Apps, with a line in the log for what the agent tells.
#[derive(Debug)]
pub struct Reported<'a, A> {
    /// They are large, and moved they would need their room on the stack as well.
    apps: &'a mut A,
    board: &'static str,
    network_dropped: fn() -> u32,
    refused: Throttle,
}

impl<'a, A> Reported<'a, A> {
    /// The apps on a board of this name, and how to ask how many frames its network interface has dropped
    /// since the start.
    pub fn new(apps: &'a mut A, board: &'static str, network_dropped: fn() -> u32) -> Self {
        let refused = Throttle::default();
        Self {
            apps,
            board,
            network_dropped,
            refused,
        }
    }
}

impl<A: Apps> Apps for Reported<'_, A> {
    async fn next(&mut self) -> Request<'_> {
        self.apps.next().await
    }

    fn deliver(&mut self, slot: AppSlot, number: u64, message: AppMessage<'_>) {
        self.apps.deliver(slot, number, message);
    }

    fn room(&self, slot: AppSlot) -> usize {
        self.apps.room(slot)
    }

    fn watch(&mut self, slot: AppSlot, number: u64) -> bool {
        self.apps.watch(slot, number)
    }

    fn confirms(&self, slot: AppSlot) -> bool {
        self.apps.confirms(slot)
    }

    fn kept(&mut self, slot: AppSlot, kept: Kept<'_>) -> Told {
        self.apps.kept(slot, kept)
    }

    fn hand_out<'r>(
        &mut self,
        slot: AppSlot,
        records: impl Iterator<Item = Record<'r>>,
        kept: bool,
    ) {
        self.apps.hand_out(slot, records, kept);
    }

    fn answer(&mut self, slot: AppSlot, outcome: Result<(), SendRefusal>) {
        self.apps.answer(slot, outcome);
    }

    fn accepted(&mut self, slot: AppSlot, ticket: u64) -> Result<(), SendRefusal> {
        self.apps.accepted(slot, ticket)
    }

    fn note(&mut self, note: Note<'_>) -> Result<(), NotNoted> {
        self.apps.note(note)
    }

    fn keep(&mut self) -> Result<(), NotNoted> {
        self.apps.keep()
    }

    fn tell(&mut self, slot: AppSlot, notice: Notice<'_>) {
        self.apps.tell(slot, notice);
    }

    fn link_changed(&mut self, up: bool) {
        if up {
            log::info!("connected to the broker");
        }
        self.apps.link_changed(up);
    }

    fn downlink_refused(&mut self, topic: &str, refusal: DownlinkRefusal) {
        // All of them are counted, but a flood does not fill the log.
        if let Some(more) = self.refused.pass(Instant::now().as_millis()) {
            if more > 0 {
                log::warn!("{more} more messages were refused than are told here");
            }
            log::warn!("a message on {topic} was refused: {refusal}");
        }
        self.apps.downlink_refused(topic, refusal);
    }

    fn counted(&mut self, counters: &Counters, delivery: impl FnOnce() -> DeliveryCounters) {
        self.apps.counted(counters, delivery);
    }

    fn examine<'h>(&'h self, health: &mut Health<'h>) {
        health.platform = self.board;
        health.troubles.network_dropped = (self.network_dropped)();
        #[cfg(target_os = "none")]
        {
            health.crash = crate::last_words::last();
            health.stack = Some(crate::stack::measured());
        }
        self.apps.examine(health);
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};

    use vinbus_protocol::throttle::TIMES_MAX;

    use super::*;
    use crate::no_apps::NoApps;

    /// Counts the lines.
    struct Counting(AtomicU32);

    impl log::Log for Counting {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, _: &log::Record<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn flush(&self) {}
    }

    #[test]
    fn flood_of_messages_that_are_refused_does_not_fill_the_log() {
        static LOG: Counting = Counting(AtomicU32::new(0));
        log::set_logger(&LOG).expect("nobody else has set one");
        log::set_max_level(log::LevelFilter::Info);
        let mut apps = NoApps;
        let mut reported = Reported::new(&mut apps, "board", || 0);
        for _ in 0..1000 {
            reported.downlink_refused("topic", DownlinkRefusal::ForeignTopic);
        }
        assert_eq!(LOG.0.load(Ordering::Relaxed), TIMES_MAX);
    }
}
