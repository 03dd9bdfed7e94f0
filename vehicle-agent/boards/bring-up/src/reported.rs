//! The agent's news of the link and of its messages, in the log.

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::record_ring::Record;
use vinbus_vehicle_agent::apps::{Apps, Notice, Request, SendRefusal};
use vinbus_vehicle_agent::desk::{Counters, DownlinkRefusal};

/// Apps, with a line in the log for what the agent tells.
#[derive(Debug)]
pub struct Reported<A>(pub A);

impl<A: Apps> Apps for Reported<A> {
    async fn next(&mut self) -> Request<'_> {
        self.0.next().await
    }

    fn deliver(&mut self, slot: AppSlot, message: AppMessage<'_>) {
        self.0.deliver(slot, message);
    }

    fn hand_out<'r>(
        &mut self,
        slot: AppSlot,
        records: impl Iterator<Item = Record<'r>>,
        kept: bool,
    ) {
        self.0.hand_out(slot, records, kept);
    }

    fn answer(&mut self, slot: AppSlot, outcome: Result<(), SendRefusal>) {
        self.0.answer(slot, outcome);
    }

    fn tell(&mut self, slot: AppSlot, notice: Notice<'_>) {
        self.0.tell(slot, notice);
    }

    fn link_changed(&mut self, up: bool) {
        if up {
            log::info!("connected to the broker");
        }
        self.0.link_changed(up);
    }

    fn downlink_refused(&mut self, topic: &str, refusal: DownlinkRefusal) {
        log::warn!("a message on {topic} was refused: {refusal}");
        self.0.downlink_refused(topic, refusal);
    }

    fn counted(&mut self, counters: &Counters) {
        self.0.counted(counters);
    }
}
