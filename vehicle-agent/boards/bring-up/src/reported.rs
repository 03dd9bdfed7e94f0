//! The agent's news of the link and of its messages, in the log, and what its reports of health say of
//! the board.

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::health::Health;
use vinbus_protocol::record_ring::Record;
use vinbus_vehicle_agent::apps::{Apps, Kept, Notice, Request, SendRefusal, Told};
use vinbus_vehicle_agent::desk::{Counters, DownlinkRefusal};
use vinbus_vehicle_agent::notes::{NotNoted, Note};

/// Apps, with a line in the log for what the agent tells.
#[derive(Debug)]
pub struct Reported<'a, A> {
    /// The apps. They are large, and moved they would need their room on the stack as well.
    pub apps: &'a mut A,
    /// The name of the board that they are on.
    pub board: &'static str,
    /// Frames that its network interface has dropped since the start.
    pub network_dropped: fn() -> u32,
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

    fn accepted(&mut self, slot: AppSlot, ticket: u64) {
        self.apps.accepted(slot, ticket);
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
        log::warn!("a message on {topic} was refused: {refusal}");
        self.apps.downlink_refused(topic, refusal);
    }

    fn counted(&mut self, counters: &Counters) {
        self.apps.counted(counters);
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
