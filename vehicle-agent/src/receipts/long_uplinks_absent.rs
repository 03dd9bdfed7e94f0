//! In place of `long_uplinks` where long messages are not sent: every message is one payload.

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{Header, Marked, Part};
use vinbus_protocol::envelope::{Content, Uplink};
use vinbus_protocol::limits::{DELIVERY_ADDED_BYTES_MAX, DELIVERY_SILENCE_MS};

use super::uplinks::Uplinks;
use super::{Receipts, Waiting};
use crate::apps::SendRefusal;
use crate::notes::Sent;

/// There are none.
#[derive(Debug)]
pub(super) struct LongUplinks<const APPS: usize>;

pub(super) const fn is_long(_: &Waiting<'_>) -> bool {
    false
}

pub(crate) fn marked(header: Header, content: &[u8]) -> Option<Marked<'_>> {
    Marked::new(header, Content::parse(content).ok()?).ok()
}

impl<const APPS: usize> LongUplinks<APPS> {
    pub(super) const fn new() -> Self {
        Self
    }

    pub(super) const fn link_ended(&mut self, _: u64) {}

    pub(super) const fn silence_ms(&self, _: &Waiting<'_>) -> u64 {
        DELIVERY_SILENCE_MS
    }

    pub(super) const fn may_go(&self, _: &Waiting<'_>, _: Option<u32>) -> bool {
        true
    }

    pub(super) const fn begin(&mut self, waiting: &Waiting<'_>) -> usize {
        waiting.content.len()
    }

    pub(super) const fn part_of(&self, _: u64) -> Option<Part> {
        None
    }

    pub(super) const fn settle_told<Q>(&mut self, _: usize, _: &mut Uplinks<Q>) {}

    pub(super) const fn peer_restarted(&mut self, _: usize) {}

    pub(super) const fn forget_settled<Q>(&mut self, _: &Uplinks<Q>) {}

    pub(super) const fn next_unnoted(&self) -> Option<(u64, Sent)> {
        None
    }

    pub(super) const fn noted(&mut self, _: u64) {}

    pub(super) const fn resume(&mut self, waiting: &Waiting<'_>, _: Sent) -> Option<usize> {
        Some(waiting.content.len())
    }
}

impl<Q: AsRef<[u8]> + AsMut<[u8]>, const APPS: usize, const SENT: usize> Receipts<Q, APPS, SENT> {
    pub(super) fn accept_long(
        &mut self,
        _: (usize, AppSlot),
        _: Option<&str>,
        content: Content<'_>,
        short: usize,
    ) -> Result<u64, SendRefusal> {
        let len = Uplink { content }.encoded_len();
        let len = len.saturating_add(DELIVERY_ADDED_BYTES_MAX);
        Err(SendRefusal::TooLarge { len, max: short })
    }

    pub(super) const fn refuse_too_long(&mut self) {}

    pub(super) const fn refuse_unheard(&mut self, _: u64) {}
}
