//! What the sockets say, turned into steps for the agent.

use axum::extract::ws::Utf8Bytes;

use vinbus_protocol::app_slot::AppSlot;

use super::{ShownPopup, SocketApps, Step};
use crate::app_interface::client_frame::{ClientFrame, Lifecycle, WithId, shown};
use crate::app_interface::refusal::{Ending, Refusal};
use crate::apps::Request;
use crate::linux::portal::FRAME_BYTES_MAX;
use crate::linux::portal::socket::refusal_frame;

/// Frames kept of a socket that waits for its seat, and bytes of them.
const EARLY_FRAMES_MAX: usize = 64;
const EARLY_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

impl SocketApps<'_> {
    pub(super) fn app_frame(&mut self, slot: AppSlot, id: u64, text: Utf8Bytes) {
        let Some(seat) = self.seats.get_mut(usize::from(slot.index())) else {
            return;
        };
        if let Some((next, early)) = seat.next.as_mut().filter(|(next, _)| next.id == id) {
            let bytes = early.iter().map(|frame| frame.len()).sum::<usize>() + text.len();
            if early.len() < EARLY_FRAMES_MAX && bytes <= EARLY_BYTES_MAX {
                early.push(text);
            } else {
                let id = ClientFrame::parse(&text).id;
                next.tell(&refusal_frame(id, &Refusal::Early));
                self.status.count(|portal| &mut portal.refused_frames);
            }
            return;
        }
        // A socket that was taken over says nothing any more.
        let Some(socket) = seat.socket.clone().filter(|socket| socket.id == id) else {
            return;
        };
        let WithId { item, id } = ClientFrame::parse(&text);
        if let Err(refusal) = item.and_then(|frame| self.seated_frame(slot, frame, id, &text)) {
            socket.tell(&refusal_frame(id, &refusal));
            self.status.count(|portal| &mut portal.refused_frames);
        }
    }

    fn seated_frame(
        &mut self,
        slot: AppSlot,
        frame: ClientFrame<'_>,
        id: Option<&str>,
        text: &Utf8Bytes,
    ) -> Result<(), Refusal> {
        let id = id.map(str::to_owned);
        let step = match frame {
            ClientFrame::Send {
                content,
                subtopic,
                receipts,
                request,
            } => Step::Send {
                slot,
                receipts: receipts || self.wants_receipts(slot),
                subtopic: subtopic.map(|subtopic| subtopic.to_string()),
                request,
                frame: text.clone(),
                content: content.offset..content.offset + content.text.len(),
                id,
            },
            ClientFrame::TakePending {
                confirm: keep,
                after,
            } => Step::TakePending {
                slot,
                keep,
                after,
                id,
            },
            ClientFrame::ConfirmPending { upto } => {
                self.app_takes(slot, upto);
                Step::Other(Request::ConfirmPending { slot, upto })
            }
            ClientFrame::ConfirmEach { numbers, offset } => {
                self.app_takes_each(slot, numbers.each().flatten());
                Step::ConfirmEach {
                    slot,
                    frame: text.clone(),
                    numbers: offset..offset + numbers.0.len(),
                }
            }
            ClientFrame::Loaded => {
                self.loaded(slot);
                return Ok(());
            }
            ClientFrame::Lifecycle { event, app } => {
                let own = self.seats.get(usize::from(slot.index()));
                if app.is_some_and(|app| own.is_none_or(|seat| !app.is(seat.app.as_str()))) {
                    return Err(Refusal::ScreenOnly("show, hide or close another app"));
                }
                return self.lifecycle(slot, event);
            }
            ClientFrame::PopupAnswer { ok } => {
                let popup = self.popup.as_ref().filter(|popup| popup.slot == slot);
                Step::Other(answer(popup, ok)?)
            }
            ClientFrame::Nac { .. } => {
                return Err(Refusal::ScreenOnly("say that the head unit is active"));
            }
            ClientFrame::Hello(_) => return Err(Refusal::SecondHello),
        };
        self.steps.push_back(step);
        Ok(())
    }

    pub(super) fn screen_frame(&mut self, id: u64, text: &str) {
        let Some(screen) = self.screen.clone().filter(|screen| screen.id == id) else {
            return;
        };
        let WithId { item, id } = ClientFrame::parse(text);
        if let Err(refusal) = item.and_then(|frame| self.seated_screen_frame(frame)) {
            screen.tell(&refusal_frame(id, &refusal));
            self.status.count(|portal| &mut portal.refused_frames);
        }
    }

    fn seated_screen_frame(&mut self, frame: ClientFrame<'_>) -> Result<(), Refusal> {
        match frame {
            ClientFrame::Lifecycle { event, app } => {
                let app = app.ok_or(Refusal::WhichApp)?;
                let mut seats = self.seats.iter();
                let index = seats.position(|seat| app.is(seat.app.as_str()));
                let index = index.and_then(|index| u8::try_from(index).ok());
                let index = index.ok_or_else(|| Refusal::UnknownApp(shown(app.chars())))?;
                self.lifecycle(AppSlot::new(index), event)
            }
            ClientFrame::PopupAnswer { ok } => {
                let request = answer(self.popup.as_ref(), ok)?;
                self.steps.push_back(Step::Other(request));
                Ok(())
            }
            ClientFrame::Nac { active } => {
                self.steps.push_back(Step::Other(Request::Nac { active }));
                Ok(())
            }
            ClientFrame::Hello(_) => Err(Refusal::SecondHello),
            ClientFrame::Loaded
            | ClientFrame::Send { .. }
            | ClientFrame::TakePending { .. }
            | ClientFrame::ConfirmPending { .. }
            | ClientFrame::ConfirmEach { .. } => Err(Refusal::AppOnly),
        }
    }

    fn loaded(&mut self, slot: AppSlot) {
        let Some(seat) = self.seats.get_mut(usize::from(slot.index())) else {
            return;
        };
        self.steps.push_back(Step::Other(Request::Loaded(slot)));
        if !std::mem::replace(&mut seat.loaded, true) && seat.shown {
            self.tell_lifecycle(Lifecycle::Show, slot);
        }
    }

    fn lifecycle(&mut self, slot: AppSlot, event: Lifecycle) -> Result<(), Refusal> {
        let seat = self.seats.get_mut(usize::from(slot.index()));
        let Some((seat, socket)) = seat.and_then(|seat| seat.socket.clone().map(|s| (seat, s)))
        else {
            return Err(Refusal::NotRunning);
        };
        let request = match event {
            Lifecycle::Show => Request::Shown(slot),
            Lifecycle::Hide => Request::Hidden(slot),
            Lifecycle::Unload => {
                // The socket tells the app, gives it time to save, and then reports that it is gone.
                socket.outbox.end(Ending::Closed);
                return Ok(());
            }
        };
        seat.shown = event == Lifecycle::Show;
        self.steps.push_back(Step::Other(request));
        self.tell_lifecycle(event, slot);
        Ok(())
    }
}

fn answer(popup: Option<&ShownPopup>, ok: bool) -> Result<Request<'static>, Refusal> {
    let number = popup.ok_or(Refusal::NoPopup)?.number;
    Ok(Request::PopupAnswered { number, ok })
}
