//! What the agent says, turned into frames for the sockets.

use core::fmt::Display;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::{AppMessage, Popup, PopupAction};
use vinbus_protocol::health::Health;
use vinbus_protocol::record_ring::Record;

use super::SocketCounters;
use super::from_sockets::frame_text;
use super::place::{Mail, Place};
use super::seats::{Accepted, Asking, FrameId, Lent, PortalApps, ShownPopup, Waiting, tell};
use crate::app_interface::client_frame::{ClientFrame, Lifecycle};
use crate::app_interface::refusal::{DROPPED, Ending, REFUSED, fate_reason, send_refusal_reason};
use crate::app_interface::server_frame::{
    Explained, NumberedFrame, PopupClosed, PopupShown, Quoted, ServerFrame, kind, link_name,
};
use crate::apps::{Apps, Fate, Kept, Notice, Numbers, Request, SendRefusal, Told};
use crate::desk::{Counters, DeliveryCounters, DownlinkRefusal};
use crate::health::at_most;
use crate::notes::{NotNoted, Note};

impl<const APPS: usize, const PLACES: usize, const QUEUE: usize> Apps
    for PortalApps<'_, '_, APPS, PLACES, QUEUE>
{
    async fn next(&mut self) -> Request<'_> {
        self.take_back();
        while matches!(self.lent, Lent::Nothing) {
            match self.next_step() {
                Some(step) => self.lend(step),
                None => self.portal.news.wait().await,
            }
        }
        match &self.lent {
            Lent::Content {
                slot,
                content,
                receipts,
                ..
            } => Request::Send {
                slot: *slot,
                subtopic: self.subtopic.as_deref(),
                content,
                receipts: *receipts,
            },
            Lent::Numbers { slot, numbers, .. } => Request::ConfirmEach {
                slot: *slot,
                numbers: Numbers(numbers),
            },
            Lent::Message {
                slot,
                number,
                message,
                ..
            } => Request::Return {
                slot: *slot,
                number: *number,
                message,
            },
            Lent::Other(request) => *request,
            // The loop has just seen that it is not.
            Lent::Nothing => core::future::pending().await,
        }
    }

    fn deliver(&mut self, slot: AppSlot, number: u64, message: AppMessage<'_>) {
        self.take_back();
        match self.app_place(slot) {
            Some(place) => {
                place.outbox.borrow_mut().push_message(number, &message);
                place.to_write.signal(());
            }
            // The agent knows of no socket's end before its messages are back.
            None => self.portal.counters.count(|counters| &mut counters.evicted),
        }
    }

    fn watch(&mut self, _: AppSlot, _: u64) -> bool {
        false
    }

    fn confirms(&self, slot: AppSlot) -> bool {
        self.app_place(slot).is_some_and(Place::confirms)
    }

    fn kept(&mut self, slot: AppSlot, kept: Kept<'_>) -> Told {
        self.take_back();
        let place = self.app_place(slot).filter(|place| place.confirms());
        let (Some(place), Ok(message)) = (place, core::str::from_utf8(kept.record.bytes)) else {
            return Told::No;
        };
        let frame = NumberedFrame::of(&kept, message);
        let told = place.outbox.borrow_mut().push_kept(&frame);
        place.to_write.signal(());
        told
    }

    fn room(&self, slot: AppSlot) -> usize {
        let place = self.app_place(slot);
        place.map_or(usize::MAX, |place| place.outbox.borrow().room())
    }

    fn hand_out<'r>(
        &mut self,
        slot: AppSlot,
        records: impl Iterator<Item = Record<'r>>,
        _kept: bool,
    ) {
        self.take_back();
        let place = self.app_place(slot);
        let (Some(place), Some(seat)) = (place, self.seat(slot)) else {
            return;
        };
        // The messages always stay pending until the answer is written: see `go_on_with_list`.
        if let Asking::ForRoom { confirm, after } = seat.asking {
            seat.asking = Asking::ForItsEnd;
            let receive = place.receive.borrow();
            let len = match place.mail.get() {
                Mail::Held(len) => len,
                Mail::Waiting(_) | Mail::None => 0,
            };
            let id = ClientFrame::parse(frame_text(&receive, len)).id;
            let mut outbox = place.outbox.borrow_mut();
            let records = records.filter(|record| Some(record.number) > after);
            outbox.push_list(id.unwrap_or_default(), records, confirm);
            drop(outbox);
            place.to_write.signal(());
        }
    }

    fn answer(&mut self, slot: AppSlot, outcome: Result<(), SendRefusal>) {
        self.take_back();
        let id = core::mem::take(&mut self.id);
        match outcome {
            Ok(()) => {
                let full = self.texts.waiting.push(Waiting { slot, id });
                self.newest = full.err();
            }
            Err(refusal) => {
                self.tell_not_delivered(slot, &id, send_refusal_reason(refusal), &refusal);
            }
        }
    }

    fn accepted(&mut self, slot: AppSlot, ticket: u64) -> Result<(), SendRefusal> {
        self.take_back();
        if self.texts.accepted.is_full() {
            let waiting = self.texts.accepted.len();
            let oldest = self.oldest_untold();
            let oldest = oldest.ok_or(SendRefusal::QueueFull { waiting })?;
            self.texts.accepted.remove(oldest);
        }
        let id = core::mem::take(&mut self.id);
        if let (Some(place), Some(_)) = (self.app_place(slot), given(&id)) {
            tell(place, &ServerFrame::new(kind::ACCEPTED).with_id(given(&id)));
        }
        let accepted = Accepted {
            ticket,
            slot,
            id,
            untold: None,
        };
        let kept = self.texts.accepted.push(accepted);
        debug_assert!(kept.is_ok(), "there is a place");
        Ok(())
    }

    // A board keeps nothing over its end.
    fn note(&mut self, _: Note<'_>) -> Result<(), NotNoted> {
        Ok(())
    }

    fn keep(&mut self) -> Result<(), NotNoted> {
        Ok(())
    }

    fn tell(&mut self, slot: AppSlot, notice: Notice<'_>) {
        self.take_back();
        match notice {
            Notice::Delivered => {
                let id = self.fate(slot, None);
                self.tell_delivered(slot, &id, ServerFrame::settled(Fate::WithBroker));
            }
            Notice::Dropped { in_flight } => self.meet_bad_fate(slot, in_flight, DROPPED),
            Notice::Refused => self.meet_bad_fate(slot, None, REFUSED),
            Notice::Settled { ticket, fate } => self.settled(slot, ticket, fate),
            Notice::Short => {
                if let Some(place) = self.app_place(slot) {
                    place.outbox.borrow_mut().fall_short();
                }
            }
            // A board is given no requests.
            Notice::RequestOver { .. } => {}
            Notice::Hide => {
                if let Some(seat) = self.seat(slot) {
                    seat.shown = false;
                }
                self.tell_lifecycle(Lifecycle::Hide, slot);
            }
            Notice::NotLoaded => {
                if let Some(place) = self.app_place(slot) {
                    place.end(Ending::NotLoaded);
                }
            }
            Notice::PopupShown { number, popup } => self.show_popup(slot, number, &popup),
            Notice::PopupClosed { action, .. } => self.close_popup(slot, action),
            Notice::PopupOverflow { refused } => {
                if let Some(place) = self.app_place(slot) {
                    let value = format_args!(r#"{{"refused":{refused}}}"#);
                    let frame = ServerFrame::new(kind::POPUP_OVERFLOW);
                    tell(place, &frame.with_value(&value));
                }
            }
        }
    }

    fn link_changed(&mut self, up: bool) {
        self.take_back();
        self.portal.link_up.set(up);
        let value = Quoted(link_name(up));
        for seat in &self.seats {
            if let Some(place) = seat.place.and_then(|place| self.place(place)) {
                tell_status(place, &value);
            }
        }
        if let Some(screen) = self.screen_place() {
            tell_status(screen, &value);
        }
    }

    fn downlink_refused(&mut self, _topic: &str, _refusal: DownlinkRefusal) {
        // There is no log; the agent counts it.
    }

    fn counted(&mut self, counters: &Counters, _: impl FnOnce() -> DeliveryCounters) {
        self.portal.agent.set(*counters);
    }

    fn examine<'h>(&'h self, health: &mut Health<'h>) {
        let SocketCounters {
            refused_full,
            refused_origin,
            refused_request,
            ended,
            refused_frames,
            evicted,
            slow_readers: _,
        } = self.portal.counters();
        let troubles = &mut health.troubles;
        troubles.evicted = troubles.evicted.saturating_add(at_most(evicted));
        troubles.sockets_refused = at_most(refused_full + refused_origin + refused_request);
        troubles.sockets_ended = at_most(ended);
        troubles.frames_refused = at_most(refused_frames);
        let usages = self.portal.places.iter();
        let usages = usages.map(|place| place.outbox.borrow().usage());
        let fullest = usages.max_by_key(|usage| usage.used);
        health.pools.outboxes = fullest.unwrap_or_default().into();
    }
}

impl<const APPS: usize, const PLACES: usize, const QUEUE: usize>
    PortalApps<'_, '_, APPS, PLACES, QUEUE>
{
    /// The frame id of the app's oldest message without a fate but the one `in_flight`: it has met it
    /// now.
    fn fate(&mut self, slot: AppSlot, in_flight: Option<AppSlot>) -> FrameId {
        let older = usize::from(in_flight == Some(slot));
        let waiting = self.texts.waiting.iter().enumerate();
        let mut own = waiting.filter(|(_, waiting)| waiting.slot == slot);
        let met = match own.nth(older).map(|(at, _)| at) {
            Some(at) => Some(self.texts.waiting.remove(at)),
            None => self.newest.take_if(|newest| newest.slot == slot),
        };
        if let Some(newest) = self.newest.take() {
            // A place has just become free.
            let _ = self.texts.waiting.push(newest);
        }
        met.map(|met| met.id).unwrap_or_default()
    }

    /// The oldest message whose fate is kept for an app that is away.
    fn oldest_untold(&self) -> Option<usize> {
        let mut accepted = self.texts.accepted.iter();
        accepted.position(|it| it.untold.is_some())
    }

    /// Tells what became of a message that went with receipts, now or when the app is there.
    fn settled(&mut self, slot: AppSlot, ticket: u64, fate: Fate) {
        let mut accepted = self.texts.accepted.iter();
        let Some(index) = accepted.position(|it| it.ticket == ticket) else {
            return;
        };
        if self.app_place(slot).is_some() {
            let Accepted { id, .. } = self.texts.accepted.remove(index);
            self.tell_fate(slot, &id, fate);
        } else if let Some(accepted) = self.texts.accepted.get_mut(index) {
            accepted.untold = Some(fate);
        }
    }

    /// Tells an app that has come what became of its messages while it was away.
    pub(super) fn tell_untold(&mut self, slot: AppSlot) {
        let waits = |it: &Accepted| it.slot == slot && it.untold.is_some();
        while let Some(index) = self.texts.accepted.iter().position(waits) {
            let Accepted { id, untold, .. } = self.texts.accepted.remove(index);
            if let Some(fate) = untold {
                self.tell_fate(slot, &id, fate);
            }
        }
    }

    fn tell_fate(&self, slot: AppSlot, id: &str, fate: Fate) {
        match fate_reason(fate) {
            Some((reason, why)) => self.tell_not_delivered(slot, id, reason, &why),
            None => self.tell_delivered(slot, id, ServerFrame::settled(fate)),
        }
    }

    fn tell_delivered(&self, slot: AppSlot, id: &str, frame: ServerFrame<'_>) {
        let id = given(id);
        if let (Some(place), Some(_)) = (self.app_place(slot), id) {
            tell(place, &frame.with_id(id));
        }
    }

    fn meet_bad_fate(
        &mut self,
        slot: AppSlot,
        in_flight: Option<AppSlot>,
        (reason, message): (&'static str, &str),
    ) {
        let id = self.fate(slot, in_flight);
        self.tell_not_delivered(slot, &id, reason, &message);
    }

    fn tell_not_delivered(
        &self,
        slot: AppSlot,
        id: &str,
        reason: &'static str,
        message: &dyn Display,
    ) {
        if let Some(place) = self.app_place(slot) {
            let value = Explained(reason, message);
            let frame = ServerFrame::new(kind::NOT_DELIVERED);
            tell(place, &frame.with_value(&value).with_id(given(id)));
        }
    }

    fn show_popup(&mut self, slot: AppSlot, number: u64, popup: &Popup<'_>) {
        let text = popup.text.as_json();
        let value = PopupShown {
            app: self.app_id(slot),
            button: popup.button,
            text,
            content: popup.content.map(|content| content.as_str()),
        };
        let frame = ServerFrame::new(kind::POPUP_SHOW).with_value(&value);
        let value = PopupShown {
            content: None,
            ..value
        };
        let shorter = ServerFrame::new(kind::POPUP_SHOW).with_value(&value);
        for place in [self.app_place(slot), self.screen_place()] {
            let Some(place) = place else { continue };
            let fits = place.outbox.borrow().takes_notice(&frame);
            tell(place, if fits { &frame } else { &shorter });
        }
        self.popup = Some(ShownPopup {
            number,
            slot,
            button: popup.button,
        });
        self.texts.popup.clear();
        let kept = self.texts.popup.push_str(text);
        debug_assert!(kept.is_ok(), "the portal takes no longer one");
    }

    fn close_popup(&mut self, slot: AppSlot, action: PopupAction) {
        self.popup = None;
        let value = PopupClosed(self.app_id(slot), action.name());
        let frame = ServerFrame::new(kind::POPUP_CLOSE).with_value(&value);
        self.tell_app_and_screen(slot, &frame);
    }

    fn tell_app_and_screen(&self, slot: AppSlot, frame: &ServerFrame<'_>) {
        let told = [self.app_place(slot), self.screen_place()];
        told.iter().flatten().for_each(|place| tell(place, frame));
    }
}

/// The `id` of a frame, if it had one.
fn given(id: &str) -> Option<&str> {
    Some(id).filter(|id| !id.is_empty())
}

fn tell_status(place: &Place<'_>, value: &dyn Display) {
    tell(place, &ServerFrame::new(kind::STATUS).with_value(&value));
}
