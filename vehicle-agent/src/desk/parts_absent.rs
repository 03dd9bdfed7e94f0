//! In place of `parts` where long messages are not taken: a part is refused, and counted.

use vinbus_protocol::delivery::{Carried, Part, Step};
use vinbus_protocol::id::{AppId, Uid};

use super::{Desk, Storage};
use crate::apps::Apps;
use crate::receipts::New;

impl<S: Storage, Q: Storage, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Desk<S, Q, APPS, QUEUE, SENT>
{
    /// There is no whole message: `None`.
    pub(super) fn part_came(
        &mut self,
        now_ms: u64,
        _: &Uid,
        (new, _, _): (New, Part, &AppId),
        _: &Carried<'_>,
        _: &mut impl Apps,
    ) -> Option<usize> {
        self.counters.parts_refused += 1;
        if let Some(receipts) = &mut self.receipts {
            receipts.refused(now_ms, new, Step::TooLarge);
        }
        None
    }

    pub(super) fn drop_abandoned(&mut self, _: u64) {}
}
