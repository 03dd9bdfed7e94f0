//! What the sockets say, turned into requests for the agent.

use core::cell::Ref;
use core::ops::Range;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::json::JsonString;

use super::outbox::Listed;
use super::place::{Mail, Peer, Place};
use super::seats::{Asking, FrameId, Lent, PortalApps, Step, Subtopic, tell};
use crate::app_interface::client_frame::{ClientFrame, Lifecycle, WithId, shown};
use crate::app_interface::refusal::{Ending, Refusal};
use crate::app_interface::server_frame::{Explained, ServerFrame};
use crate::apps::Request;

impl<'p, const APPS: usize, const PLACES: usize, const QUEUE: usize>
    PortalApps<'p, '_, APPS, PLACES, QUEUE>
{
    /// Takes the frame that waits in a place. It stays there when the agent needs more time for it.
    pub(super) fn handle_mail(&mut self, index: usize, peer: Peer, len: usize) {
        let Some(place) = self.place(index) else {
            return;
        };
        place.mail.set(Mail::Held(len));
        let receive = place.receive.borrow();
        let WithId { item, id } = ClientFrame::parse(frame_text(&receive, len));
        let handled = item.and_then(|frame| match peer {
            Peer::App { slot, .. } => self.handle_app_frame(index, slot, frame, id),
            Peer::Screen => self.handle_screen_frame(frame),
        });
        match handled {
            Ok(Handled::Later) => return,
            Ok(Handled::Now) => {}
            Err(refusal) => {
                let counters = &self.portal.counters;
                counters.count(|counters| &mut counters.refused_frames);
                let value = Explained(refusal.reason(), &refusal);
                let frame = ServerFrame::new(refusal.frame_type());
                tell(place, &frame.with_value(&value).with_id(id));
            }
        }
        drop(receive);
        place.take_mail();
    }

    fn handle_app_frame(
        &mut self,
        index: usize,
        slot: AppSlot,
        frame: ClientFrame<'_>,
        id: Option<&str>,
    ) -> Result<Handled, Refusal> {
        match frame {
            ClientFrame::Send {
                request: Some(_), ..
            } => {
                return Err(Refusal::Value("without a requestId, on a board"));
            }
            ClientFrame::Send {
                content,
                subtopic,
                receipts,
                request: None,
            } => {
                self.subtopic = subtopic.map(subtopic_text);
                self.id = frame_id(id);
                let pushed = self.steps.push_back(Step::Send {
                    place: index,
                    slot,
                    start: content.offset,
                    len: content.text.len(),
                    receipts,
                });
                debug_assert!(pushed.is_ok(), "nothing else is to be done");
                return Ok(Handled::Later);
            }
            ClientFrame::TakePending { confirm, after } => {
                if let Some(seat) = self.seat(slot) {
                    seat.asking = Asking::ForRoom { confirm, after };
                }
                // The agent is told once there is room; look again at once.
                self.portal.news.signal(());
                return Ok(Handled::Later);
            }
            ClientFrame::ConfirmPending { upto } => {
                self.push_step(Request::ConfirmPending { slot, upto });
            }
            ClientFrame::ConfirmEach { numbers, offset } => {
                let pushed = self.steps.push_back(Step::Confirm {
                    place: index,
                    slot,
                    start: offset,
                    len: numbers.0.len(),
                });
                debug_assert!(pushed.is_ok(), "nothing else is to be done");
                return Ok(Handled::Later);
            }
            ClientFrame::Loaded => self.handle_loaded(slot),
            ClientFrame::Lifecycle { event, app } => {
                if app.is_some_and(|app| !app.is(self.app_id(slot))) {
                    return Err(Refusal::ScreenOnly("show, hide or close another app"));
                }
                self.handle_lifecycle(slot, event)?;
            }
            ClientFrame::PopupAnswer { ok } => self.handle_answer(Some(slot), ok)?,
            ClientFrame::Nac { .. } => {
                return Err(Refusal::ScreenOnly("say that the head unit is active"));
            }
            ClientFrame::Hello(_) => return Err(Refusal::SecondHello),
        }
        Ok(Handled::Now)
    }

    fn handle_screen_frame(&mut self, frame: ClientFrame<'_>) -> Result<Handled, Refusal> {
        match frame {
            ClientFrame::Lifecycle { event, app } => {
                let app = app.ok_or(Refusal::WhichApp)?;
                let slot = self.portal.slot(|installed| app.is(installed));
                let slot = slot.ok_or_else(|| Refusal::UnknownApp(shown(app.chars())))?;
                self.handle_lifecycle(slot, event)?;
            }
            ClientFrame::PopupAnswer { ok } => self.handle_answer(None, ok)?,
            ClientFrame::Nac { active } => self.push_step(Request::Nac { active }),
            ClientFrame::Hello(_) => return Err(Refusal::SecondHello),
            ClientFrame::Loaded
            | ClientFrame::Send { .. }
            | ClientFrame::TakePending { .. }
            | ClientFrame::ConfirmPending { .. }
            | ClientFrame::ConfirmEach { .. } => return Err(Refusal::AppOnly),
        }
        Ok(Handled::Now)
    }

    fn handle_loaded(&mut self, slot: AppSlot) {
        let Some(seat) = self.seat(slot) else {
            return;
        };
        let first = !core::mem::replace(&mut seat.loaded, true);
        let show = first && seat.shown;
        self.push_step(Request::Loaded(slot));
        if show {
            self.tell_lifecycle(Lifecycle::Show, slot);
        }
    }

    fn handle_lifecycle(&mut self, slot: AppSlot, event: Lifecycle) -> Result<(), Refusal> {
        let place = self.app_place(slot).ok_or(Refusal::NotRunning)?;
        let request = match event {
            Lifecycle::Show => Request::Shown(slot),
            Lifecycle::Hide => Request::Hidden(slot),
            Lifecycle::Unload => {
                // The socket tells the app, gives it time to save, and is gone then.
                place.end(Ending::Closed);
                return Ok(());
            }
        };
        if let Some(seat) = self.seat(slot) {
            seat.shown = event == Lifecycle::Show;
        }
        self.push_step(request);
        self.tell_lifecycle(event, slot);
        Ok(())
    }

    /// An answer to the popup on screen, which is to be one of `slot` if that is given.
    fn handle_answer(&mut self, slot: Option<AppSlot>, ok: bool) -> Result<(), Refusal> {
        let popup = self.popup.as_ref().ok_or(Refusal::NoPopup)?;
        if slot.is_some_and(|slot| slot != popup.slot) {
            return Err(Refusal::NoPopup);
        }
        let number = popup.number;
        self.push_step(Request::PopupAnswered { number, ok });
        Ok(())
    }

    /// Asks the agent for an app's pending messages once there is room for them, and has them taken
    /// once they are written.
    pub(super) fn go_on_with_list(&mut self, place: &Place<'_>, slot: AppSlot) {
        let listed = place.listed.take();
        let Some(seat) = self.seat(slot) else {
            return;
        };
        match (seat.asking, listed) {
            (Asking::ForRoom { .. }, _) if place.outbox.borrow().is_empty() => {
                self.push_step(Request::TakePending { slot, keep: true });
            }
            (Asking::ForItsEnd, Some(Listed { taken })) => {
                seat.asking = Asking::Not;
                if let Some(upto) = taken {
                    self.push_step(Request::ConfirmPending { slot, upto });
                }
                place.take_mail();
            }
            (Asking::ForRoom { .. } | Asking::ForItsEnd | Asking::Not, _) => {}
        }
    }

    /// Gives the agent what a step is about.
    pub(super) fn lend(&mut self, step: Step) {
        self.lent = match step {
            Step::Other(request) => Lent::Other(request),
            Step::Send {
                place,
                slot,
                start,
                len,
                receipts,
            } => {
                let span = start..start.saturating_add(len);
                self.lend_content(place, slot, span, receipts)
            }
            Step::Confirm {
                place,
                slot,
                start,
                len,
            } => self.lend_numbers(place, slot, start..start.saturating_add(len)),
            Step::Return { place, slot } => self.lend_message(place, slot),
        };
    }

    fn lend_content(
        &self,
        place: usize,
        slot: AppSlot,
        span: Range<usize>,
        receipts: bool,
    ) -> Lent<'p> {
        let receive = self.place(place).map(|place| place.receive.borrow());
        let content =
            receive.and_then(|receive| Ref::filter_map(receive, |receive| receive.get(span)).ok());
        content.map_or(Lent::Nothing, |content| Lent::Content {
            place,
            slot,
            content,
            receipts,
        })
    }

    fn lend_numbers(&self, place: usize, slot: AppSlot, span: Range<usize>) -> Lent<'p> {
        let receive = self.place(place).map(|place| place.receive.borrow());
        let numbers = receive.and_then(|receive| {
            Ref::filter_map(receive, |receive| {
                core::str::from_utf8(receive.get(span)?).ok()
            })
            .ok()
        });
        numbers.map_or(Lent::Nothing, |numbers| Lent::Numbers {
            place,
            slot,
            numbers,
        })
    }

    fn lend_message(&self, place: usize, slot: AppSlot) -> Lent<'p> {
        let Some(outbox) = self.place(place).map(|place| place.outbox.borrow()) else {
            return Lent::Nothing;
        };
        let Some((number, _)) = outbox.unwritten() else {
            return Lent::Nothing;
        };
        let message = Ref::filter_map(outbox, |outbox| Some(outbox.unwritten()?.1));
        message.map_or(Lent::Nothing, |message| Lent::Message {
            place,
            slot,
            number,
            message,
        })
    }
}

/// What becomes of a frame.
pub(super) enum Handled {
    /// It is done; the socket may read on.
    Now,
    /// The agent needs it where it is.
    Later,
}

/// The frame in a buffer, of which its socket has found that it is UTF-8.
pub(super) fn frame_text(buffer: &[u8], len: usize) -> &str {
    let bytes = buffer.get(..len).unwrap_or_default();
    core::str::from_utf8(bytes).unwrap_or_default()
}

/// A copy of a frame's `id`, which is short enough.
pub(super) fn frame_id(id: Option<&str>) -> FrameId {
    id.and_then(|id| FrameId::try_from(id).ok())
        .unwrap_or_default()
}

/// A subtopic as far as it matters: a longer one is too long in any case.
fn subtopic_text(subtopic: JsonString<'_>) -> Subtopic {
    let mut text = Subtopic::new();
    for c in subtopic.chars() {
        if text.push(c).is_err() {
            break;
        }
    }
    text
}
