//! In place of `unnoted` where nothing outlives the agent: there is never anything to note.

use vinbus_protocol::delivery::{Endpoint, MessageId, Snapshot, Step};

use super::OPEN_MAX;

#[derive(Debug)]
pub(super) struct Unnoted<const APPS: usize>;

impl<const APPS: usize> Unnoted<APPS> {
    pub(super) const fn new() -> Self {
        Self
    }

    pub(super) fn add_partner(&mut self) {}

    pub(super) const fn len(&self) -> usize {
        0
    }

    pub(super) fn ended(&mut self, _: usize, _: MessageId, _: Step) {}

    pub(super) fn next_ended(&mut self) -> Option<(usize, MessageId, Step)> {
        None
    }

    pub(super) fn not_ended(&mut self, _: (usize, MessageId, Step)) {}

    pub(super) fn changed_channel<const SENT: usize>(
        &self,
        _: &[Endpoint<SENT, OPEN_MAX>],
    ) -> Option<(usize, Snapshot)> {
        None
    }

    pub(super) fn channel_noted(&mut self, _: usize, _: Snapshot) {}
}
