//! In place of `parts` where long messages are not taken: nothing of them is stored.

use vinbus_protocol::delivery::Part;

use super::{New, Receipts};

impl<Q: AsRef<[u8]> + AsMut<[u8]>, const APPS: usize, const SENT: usize> Receipts<Q, APPS, SENT> {
    pub(super) fn offer_parts_again(&mut self, _: usize) {}

    pub(crate) fn part_not_noted(&mut self, new: New, _: Part) {
        self.forget(new);
    }

    pub(crate) fn drop_transfer(&mut self, _: usize) {}

    pub(super) fn transfers_end_ms(&self) -> core::iter::Empty<u64> {
        core::iter::empty()
    }
}
