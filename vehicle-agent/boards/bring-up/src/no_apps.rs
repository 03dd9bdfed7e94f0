//! A vehicle without a portal: messages wait for apps that never come.

use core::future::pending;

use embassy_executor::Spawner;
use embassy_net::Stack;
use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::health::Health;
use vinbus_protocol::record_ring::Record;
use vinbus_vehicle_agent::apps::{Apps, Kept, Notice, Request, SendRefusal, Told};
use vinbus_vehicle_agent::desk::{Counters, DeliveryCounters, DownlinkRefusal};
use vinbus_vehicle_agent::notes::{NotNoted, Note};
use vinbus_vehicle_agent::provisioned::Provisioned;

/// Apps that want nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoApps;

/// In place of a portal's function of this name.
pub fn apps(_: Spawner, _: Stack<'static>, _: &Provisioned<'_>) -> NoApps {
    NoApps
}

impl Apps for NoApps {
    async fn next(&mut self) -> Request<'_> {
        pending().await
    }

    fn deliver(&mut self, _: AppSlot, _: u64, _: AppMessage<'_>) {}

    fn room(&self, _: AppSlot) -> usize {
        usize::MAX
    }

    fn watch(&mut self, _: AppSlot, _: u64) -> bool {
        false
    }

    fn confirms(&self, _: AppSlot) -> bool {
        false
    }

    fn kept(&mut self, _: AppSlot, _: Kept<'_>) -> Told {
        Told::No
    }

    fn hand_out<'r>(&mut self, _: AppSlot, _: impl Iterator<Item = Record<'r>>, _: bool) {}

    fn answer(&mut self, _: AppSlot, _: Result<(), SendRefusal>) {}

    fn accepted(&mut self, _: AppSlot, _: u64) -> Result<(), SendRefusal> {
        Ok(())
    }

    fn note(&mut self, _: Note<'_>) -> Result<(), NotNoted> {
        Ok(())
    }

    fn keep(&mut self) -> Result<(), NotNoted> {
        Ok(())
    }

    fn tell(&mut self, _: AppSlot, _: Notice<'_>) {}

    fn link_changed(&mut self, _: bool) {}

    fn downlink_refused(&mut self, _: &str, _: DownlinkRefusal) {}

    fn counted(&mut self, _: &Counters, _: impl FnOnce() -> DeliveryCounters) {}

    fn examine<'h>(&'h self, _: &mut Health<'h>) {}
}
