//! Messages with receipts to apps (SPEC 16): from their arrival until they are with an app, evicted or over.

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::Step;
use vinbus_protocol::envelope::{AppMessage, Content};
use vinbus_protocol::id::Uid;
use vinbus_protocol::portal::Disposition;
use vinbus_protocol::request::Request;

use super::requests::Placed;
use super::{Desk, DownlinkRefusal, Storage, handing, newest, next_number};
use crate::apps::Apps;
use crate::notes::{Kept, Note};
use crate::receipts::{self, Arrived};

impl<S: Storage, Q: Storage, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Desk<S, Q, APPS, QUEUE, SENT>
{
    /// Takes a message that arrived with a number, or is delivery's own; `false` for any other.
    pub(super) fn took_with_receipts(
        &mut self,
        now_ms: u64,
        topic: &str,
        uid: &Uid,
        payload: &[u8],
        apps: &mut impl Apps,
    ) -> bool {
        // What came before is noted before.
        let _ = self.note_channels(apps);
        let (Some(receipts), Some(scratch)) = (&mut self.receipts, &mut self.scratch) else {
            return false;
        };
        let Some(partner) = self.identity.uids().position(|known| known == uid) else {
            return false;
        };
        let (new, app, len, part) = match receipts.arrived(now_ms, partner, payload) {
            Arrived::Plain => return false,
            Arrived::Done => return true,
            Arrived::Order(order) => {
                self.handle_order(now_ms, partner, order, apps);
                return true;
            }
            Arrived::New(new, app, carried) => match carried.copy_to(scratch.as_mut()) {
                Ok(content) => (new, app, content.len(), None),
                Err(_) => {
                    receipts.refused(now_ms, new, Step::TooLarge);
                    return true;
                }
            },
            Arrived::Part(new, part, app, carried) => {
                let came = (new, part, &app);
                match self.part_came(now_ms, uid, came, &carried, apps) {
                    Some(len) => (new, app, len, Some(part)),
                    None => return true,
                }
            }
        };
        let (Some(receipts), Some(scratch)) = (&mut self.receipts, &self.scratch) else {
            return true;
        };
        let content = scratch.as_ref().get(..len).unwrap_or_default();
        let Ok(content) = Content::parse_long(content) else {
            receipts.refused(now_ms, new, Step::BadContent);
            return true;
        };
        let request = Request::read(content);
        let slot = self.portal.slot(&app);
        let now = slot.is_some_and(|slot| {
            let len = AppMessage::Data(content).encoded_len();
            let in_front = self.portal.foreground() == Some(slot) && self.short.is_none();
            in_front
                && !apps.confirms(slot)
                && len <= apps.room(slot)
                && !handing::is_full(receipts, slot)
        });
        // A request that is open when this life ends is not shown to an app by the next one (SPEC 19.5).
        let is_kept = !now && request.is_none();
        let kept = slot.filter(|_| is_kept).map(|slot| Kept {
            slot,
            number: next_number(&self.portal, slot),
            ends_in_ms: new.ends_at_ms.map(|at| at.saturating_sub(now_ms)),
            content: content.as_bytes(),
        });
        let id = new.id;
        let whole = part.is_some();
        let noted = apps.note(Note::Came {
            uid,
            id,
            kept,
            whole,
        });
        if noted.and_then(|()| apps.keep()).is_err() {
            // Its sender repeats it.
            match part {
                Some(part) => receipts.part_not_noted(new, part),
                None => receipts.forget(new),
            }
            return true;
        }
        if whole {
            receipts.drop_transfer(partner);
        }
        if let Some(request) = request {
            let placed = match &mut self.requests {
                Some(requests) => {
                    let (portal, to) = (&mut self.portal, (topic, uid, &app));
                    requests.take(now_ms, to, new, request, portal, receipts, apps)
                }
                None => {
                    receipts.refused(now_ms, new, Step::Denied);
                    Placed::Done
                }
            };
            if let Placed::Pending(slot) = placed {
                self.note_if_short(slot, apps);
                self.report_evicted(now_ms, slot);
            }
            return true;
        }
        match self.portal.handle_data(now_ms, uid, &app, content) {
            Ok(Disposition::Deliver {
                slot,
                number,
                content,
            }) => {
                if !handing::begin_new(receipts, new, (slot, number), apps) {
                    receipts.delivered(now_ms, new);
                }
                apps.deliver(slot, number, AppMessage::Data(content));
            }
            Ok(Disposition::Pending { slot, .. }) => {
                let number = newest(&self.portal, slot);
                let step = if self.portal.foreground() != Some(slot) {
                    Step::HeldBackground
                } else if apps.confirms(slot) {
                    Step::Handed
                } else {
                    // It follows as the app reads.
                    Step::Received
                };
                receipts.held(now_ms, new, slot, number, step);
                if now {
                    // It was to be handed over, and waits now: another life has to know it.
                    let ends_in_ms = new.ends_at_ms.map(|at| at.saturating_sub(now_ms));
                    let kept = Kept {
                        slot,
                        number,
                        ends_in_ms,
                        content: content.as_bytes(),
                    };
                    // Where it fails, it is lost with this life.
                    let _ = apps.note(Note::Came {
                        uid,
                        id,
                        kept: Some(kept),
                        whole,
                    });
                }
                self.note_if_short(slot, apps);
                self.report_evicted(now_ms, slot);
            }
            // It is no popup.
            Ok(Disposition::PopupQueued { .. }) => {}
            Err(refusal) => {
                receipts.refused(now_ms, new, receipts::step_of(&refusal));
                apps.downlink_refused(topic, DownlinkRefusal::Portal(refusal));
            }
        }
        true
    }

    /// Reports those messages of an app that were pending and are not any more.
    pub(super) fn report_gone(&mut self, now_ms: u64, slot: AppSlot, step: Step) {
        let Self {
            receipts: Some(receipts),
            portal,
            ..
        } = self
        else {
            return;
        };
        receipts.gone(now_ms, slot, step, &|number| {
            let pending = portal.pending(slot);
            pending.is_some_and(|ring| ring.iter().any(|record| record.number == number))
        });
        self.report_requests_gone(now_ms, slot, step);
    }

    pub(super) fn report_evicted(&mut self, now_ms: u64, slot: AppSlot) {
        self.report_gone(now_ms, slot, Step::Evicted);
    }

    /// Takes out what is pending and whose time is over. What a confirming app was shown already may
    /// be taken by it at any moment, and so stays.
    pub(super) fn expire(&mut self, now_ms: u64, apps: &impl Apps) {
        let Some(receipts) = &mut self.receipts else {
            return;
        };
        while let Some((slot, number)) = receipts.next_expired(now_ms, |slot| !apps.confirms(slot))
        {
            self.portal.confirm_one(slot, number);
        }
    }
}
