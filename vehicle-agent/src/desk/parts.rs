//! What the desk does with long messages that come in parts (SPEC 16.18). What is stored of them,
//! [`crate::receipts`] knows.

use vinbus_protocol::delivery::{Carried, Part, Step};
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::id::{AppId, Uid};
use vinbus_protocol::pending::PendingRing;

use super::{Desk, Storage};
use crate::apps::Apps;
use crate::notes::Note;
use crate::receipts::{New, PartFate};

impl<S: Storage, Q: Storage, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Desk<S, Q, APPS, QUEUE, SENT>
{
    /// Takes long messages from every partner, each in a buffer that `storage` gives. To be called once,
    /// after receipts are offered; their scratch is to be as long.
    pub fn take_long_messages(&mut self, mut storage: impl FnMut() -> Q) {
        let partners = self.identity.uids().count();
        if let Some(receipts) = &mut self.receipts {
            (0..partners).for_each(|_| receipts.take_parts(storage()));
        }
    }

    /// Takes up a part that came in an earlier life; `false` if it cannot be taken. To be called in the
    /// order in which they were noted.
    pub fn resume_part(
        &mut self,
        uid: &Uid,
        part: Part,
        piece: &str,
        ends_in_ms: Option<u64>,
    ) -> bool {
        match (self.partner(uid), &mut self.receipts) {
            (Some(partner), Some(receipts)) => {
                receipts.resume_part(partner, part, piece, ends_in_ms)
            }
            _ => false,
        }
    }

    /// Takes a new part: stores it, notes it and has its sender told. The length of the whole message, which
    /// is in the scratch then, with the last one.
    pub(super) fn part_came(
        &mut self,
        now_ms: u64,
        uid: &Uid,
        (new, part, app): (New, Part, &AppId),
        carried: &Carried<'_>,
        apps: &mut impl Apps,
    ) -> Option<usize> {
        let unwelcome = self.unwelcome(uid, part, app);
        let (Some(receipts), Some(scratch)) = (&mut self.receipts, &mut self.scratch) else {
            return None;
        };
        let fate = match unwelcome {
            Some(step) => receipts.part_refused(now_ms, new, step),
            None => receipts.part(now_ms, new, part, carried),
        };
        match fate {
            PartFate::Refused(_) => {
                self.counters.parts_refused += 1;
                None
            }
            PartFate::Last(len) => match receipts.whole(new.partner, scratch.as_mut()) {
                Some(_) => Some(len),
                None => {
                    self.counters.parts_refused += 1;
                    receipts.part_refused(now_ms, new, Step::TooLarge);
                    None
                }
            },
            PartFate::Stored => {
                let (piece, ends_at_ms) = receipts.stored_part(new.partner, part);
                let noted = apps.note(Note::Part {
                    uid,
                    id: new.id,
                    part,
                    piece,
                    ends_in_ms: ends_at_ms.map(|at| at.saturating_sub(now_ms)),
                });
                match noted.and_then(|()| apps.keep()) {
                    Ok(()) => {
                        self.counters.parts_stored += 1;
                        receipts.part_noted(now_ms, new);
                    }
                    // Its sender repeats it.
                    Err(_) => receipts.part_not_noted(new, part),
                }
                None
            }
        }
    }

    /// Why the whole would be refused, as far as a part tells.
    fn unwelcome(&self, uid: &Uid, part: Part, app: &AppId) -> Option<Step> {
        let Some(slot) = self.portal.slot(app) else {
            return Some(Step::UnknownApp);
        };
        if self.uid(slot) != Some(uid) {
            return Some(Step::Denied);
        }
        let ring = self.portal.pending(slot);
        let max = ring.map_or(0, PendingRing::record_bytes_max);
        let around = AppMessage::DATA_FRAME_BYTES;
        let is_too_long = (part.total as usize).saturating_add(around) > max;
        is_too_long.then_some(Step::TooLarge)
    }

    /// Drops what is stored of long messages and nobody goes on with.
    pub(super) fn drop_abandoned(&mut self, now_ms: u64) {
        if let Some(receipts) = &mut self.receipts {
            self.counters.long_abandoned += receipts.drop_abandoned(now_ms);
        }
    }
}
