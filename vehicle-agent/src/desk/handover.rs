//! What the portal keeps for want of room, or until it is confirmed, on its way to apps.
//!
//! An app in the foreground gets what was kept for want of room in its order, as it reads; one that
//! confirms is told of each message as it is kept. Neither makes anybody wait: the apps say when there
//! is room again.

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::Step;
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::pending::PendingRing;
use vinbus_protocol::portal::Portal;

use super::{Desk, Storage, newest};
use crate::apps::{Apps, Kept, Notice, Told};

impl<S: Storage, Q: Storage, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Desk<S, Q, APPS, QUEUE, SENT>
{
    /// Tells the portal how much the app in the foreground can be handed: nothing while others wait for
    /// room, so that they keep their order, and nothing to an app that confirms, of which every message
    /// is kept.
    pub(super) fn look_for_room(&mut self, apps: &impl Apps) {
        if let Some(slot) = self.portal.foreground() {
            let room = if self.short.is_some() || apps.confirms(slot) || self.hands_enough(slot) {
                0
            } else {
                apps.room(slot)
            };
            self.portal.handle_room(slot, room);
        }
    }

    /// Takes note that a message was kept for want of room, if that is why it was kept.
    pub(super) fn note_if_short(&mut self, slot: AppSlot, apps: &impl Apps) {
        if self.portal.foreground() == Some(slot) && !apps.confirms(slot) {
            let number = newest(&self.portal, slot);
            self.short.get_or_insert((slot, number));
        }
    }

    /// Hands an app in the foreground what was kept for want of room, as far as there is some now.
    pub(super) fn hand_over_kept(&mut self, now_ms: u64, apps: &mut impl Apps) {
        let Some((slot, from)) = self.short else {
            return;
        };
        // In the background it asks for them, and one that confirms is told of them.
        if self.portal.foreground() != Some(slot) || apps.confirms(slot) {
            self.end_short(now_ms);
        }
        while self.short.is_some() {
            let pending = self.portal.pending(slot);
            let kept = pending.and_then(|ring| ring.iter().find(|record| record.number >= from));
            let Some(record) = kept else {
                self.short = None;
                return;
            };
            if record.bytes.len() > apps.room(slot) {
                return apps.tell(slot, Notice::Short);
            }
            if self.hands_enough(slot) {
                // It goes on when one of them is written.
                return;
            }
            let number = record.number;
            self.note_taken(now_ms, slot, |other| other == number, apps);
            // It was encoded when it was kept.
            let pending = self.portal.pending(slot);
            let record = pending.and_then(|ring| ring.iter().find(|it| it.number == number));
            if let Some(Ok(message)) = record.map(|record| AppMessage::decode_long(record.bytes)) {
                apps.deliver(slot, number, message);
            }
            self.portal.confirm_one(slot, number);
            self.report_requests_gone(now_ms, slot, Step::Taken);
        }
    }

    /// What was kept for want of room waits from here on until its app comes up or asks.
    pub(super) fn end_short(&mut self, now_ms: u64) {
        if let Some((slot, from)) = self.short.take()
            && let Some(receipts) = &mut self.receipts
        {
            receipts.wait_for_app(now_ms, slot, from);
        }
    }

    pub(super) fn tell_kept(&mut self, apps: &mut impl Apps) {
        for (slot, untold) in (0..).map(AppSlot::new).zip(&mut self.untold) {
            let pending = self.portal.pending(slot);
            let next = pending.map_or(0, PendingRing::next_number);
            while *untold < next {
                match tell_first_kept(&mut self.portal, slot, *untold, apps) {
                    None => *untold = next,
                    Some((_, Told::Later)) => {
                        apps.tell(slot, Notice::Short);
                        break;
                    }
                    Some((number, Told::Yes | Told::No)) => *untold = number.saturating_add(1),
                }
            }
        }
    }
}

/// Tells of the oldest message that an app's ring has from this number on, and returns its number.
fn tell_first_kept<S: Storage, const APPS: usize>(
    portal: &mut Portal<S, APPS>,
    slot: AppSlot,
    from: u64,
    apps: &mut impl Apps,
) -> Option<(u64, Told)> {
    let (number, told) = {
        let pending = portal.pending(slot)?;
        let record = pending.iter().find(|record| record.number >= from)?;
        let counters = pending.counters();
        let kept = Kept {
            record,
            oldest: pending.first_number(),
            lost: counters.evicted_by_count + counters.evicted_by_bytes,
            current: portal.foreground() == Some(slot),
        };
        (record.number, apps.kept(slot, kept))
    };
    if told == Told::Yes {
        portal.mark_handed_out(slot, number);
    }
    Some((number, told))
}
