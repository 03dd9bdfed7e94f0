//! Messages with receipts on the connection of an app that confirms nothing: it has one when it is written, which the
//! apps say ([`Apps::watch`]). Until then it has its place, and a later life counts it as *known*.

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::pending::PendingRing;

use super::{Desk, Storage};
use crate::apps::Apps;
use crate::notes::{Kept, NotNoted, Note};
use crate::receipts::{New, Receipts};

/// Whether as many messages are being handed to an app as may be.
pub(super) fn is_full<Q: Storage, const APPS: usize, const SENT: usize>(
    receipts: &Receipts<Q, APPS, SENT>,
    slot: AppSlot,
) -> bool {
    receipts.would_hand_too_many(slot, 1)
}

/// A new message is about to be handed to its app; `false` if the app has it then.
pub(super) fn begin_new<Q: Storage, const APPS: usize, const SENT: usize>(
    receipts: &mut Receipts<Q, APPS, SENT>,
    new: New,
    (slot, number): (AppSlot, u64),
    apps: &mut impl Apps,
) -> bool {
    let is_watched = apps.watch(slot, number);
    if is_watched {
        receipts.hand_new(new, slot, number);
    }
    is_watched
}

impl<S: Storage, Q: Storage, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Desk<S, Q, APPS, QUEUE, SENT>
{
    /// Pending messages of an app are about to be handed to it, those whose numbers are `meant`. What is left as
    /// pending of them, the app has then.
    pub(super) fn begin_handing(
        &mut self,
        slot: AppSlot,
        meant: impl Fn(u64) -> bool,
        apps: &mut impl Apps,
    ) {
        let Some(receipts) = &mut self.receipts else {
            return;
        };
        while let Some(number) = receipts.next_waiting(slot, &meant)
            && apps.watch(slot, number)
        {
            if let Some((partner, id)) = receipts.hand(slot, number)
                && let Some(uid) = self.identity.uids().nth(partner)
            {
                // Where it fails, the app gets it all the same, and the log says so.
                let _ = apps.note(Note::Came {
                    uid,
                    id,
                    kept: None,
                    whole: false,
                });
            }
        }
    }

    /// Whether as many messages are being handed to an app as may be.
    pub(super) fn hands_enough(&self, slot: AppSlot) -> bool {
        let receipts = self.receipts.as_ref();
        receipts.is_some_and(|receipts| is_full(receipts, slot))
    }

    /// Whether more would be with all that is pending for it.
    pub(super) fn would_hand_too_many(&self, slot: AppSlot) -> bool {
        let pending = self.portal.pending(slot).map_or(0, PendingRing::len);
        let receipts = self.receipts.as_ref();
        receipts.is_some_and(|receipts| receipts.would_hand_too_many(slot, pending))
    }

    /// Answers an app that asks for its messages and has yet to read as many as may be handed to it: in the
    /// foreground it gets the others when it has.
    pub(super) fn hand_out_later(&mut self, slot: AppSlot, apps: &mut impl Apps) {
        if self.portal.foreground() == Some(slot) {
            self.short = Some((slot, 0));
        }
        apps.hand_out(slot, core::iter::empty(), false);
    }

    /// A message is written to its app.
    pub(super) fn take_written(&mut self, now_ms: u64, slot: AppSlot, number: u64) {
        if let Some(receipts) = &mut self.receipts {
            receipts.written(now_ms, slot, number);
        }
    }

    /// A message did not reach its app.
    pub(super) fn came_back(&mut self, now_ms: u64, slot: AppSlot, number: u64) {
        if let Some(receipts) = &mut self.receipts {
            receipts.came_back(now_ms, slot, number);
        }
    }

    /// The app has gone, and all that did not reach it came back but for what newer messages pushed out.
    pub(super) fn unloaded(&mut self, now_ms: u64, slot: AppSlot) {
        if let Some(receipts) = &mut self.receipts {
            receipts.unloaded(now_ms, slot);
        }
    }

    /// Tells of what apps have not read for a while.
    pub(super) fn tell_unwritten(&mut self, now_ms: u64) {
        if let Some(receipts) = &mut self.receipts {
            receipts.tell_unwritten(now_ms);
        }
    }

    /// Notes what came back, so that a later life hands it out.
    pub(super) fn note_back(&mut self, now_ms: u64, apps: &mut impl Apps) -> Result<(), NotNoted> {
        while let Some(receipts) = &mut self.receipts
            && let Some(back) = receipts.next_back()
        {
            let (slot, number) = (back.slot, back.number);
            let pending = self.portal.pending(slot).into_iter();
            let mut records = pending.flat_map(PendingRing::iter);
            let record = records.find(|record| record.number == number);
            if let Some(record) = record
                && let Ok(AppMessage::Data(content)) = AppMessage::decode_long(record.bytes)
                && let Some(uid) = self.identity.uids().nth(back.partner)
            {
                let ends_in_ms = back.ends_at_ms.map(|at| at.saturating_sub(now_ms));
                let kept = Some(Kept {
                    slot,
                    number,
                    ends_in_ms,
                    content: content.as_bytes(),
                });
                let (id, whole) = (back.id, false);
                apps.note(Note::Came {
                    uid,
                    id,
                    kept,
                    whole,
                })?;
            }
            receipts.back_noted(slot, number);
        }
        Ok(())
    }

    /// Notes all that is to be noted, when nothing is handed to apps any more.
    pub(crate) fn note_last(&mut self, now_ms: u64, apps: &mut impl Apps) {
        // Where it fails, what apps got last counts as known, and the log says so.
        let back = self.note_back(now_ms, apps);
        let _ = back
            .and_then(|()| self.note_channels(apps))
            .and_then(|()| apps.keep());
    }
}
