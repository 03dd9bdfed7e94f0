//! What the sockets say, turned into steps for the agent.

use vinbus_protocol::app_slot::AppSlot;

use super::{ShownPopup, SocketApps, Step};
use crate::apps::Request;
use crate::linux::portal::frame::{self, ClientFrame, Lifecycle, Refusal};
use crate::linux::portal::{outbox::Ending, unknown_app};

/// Frames kept of a socket that waits for its seat.
const EARLY_FRAMES_MAX: usize = 64;

impl SocketApps<'_> {
    pub(super) fn app_frame(&mut self, slot: AppSlot, id: u64, frame: ClientFrame) {
        let Some(seat) = self.seats.get_mut(usize::from(slot.index())) else {
            return;
        };
        if let Some((next, early)) = seat.next.as_mut().filter(|(next, _)| next.id == id) {
            if early.len() < EARLY_FRAMES_MAX {
                early.push(frame);
            } else {
                let refusal = Refusal::new("rate", "wait for the \"welcome\" before you send more");
                next.tell(frame::error_frame(&refusal));
            }
            return;
        }
        // A socket that was taken over says nothing any more.
        let Some(socket) = seat.socket.clone().filter(|socket| socket.id == id) else {
            return;
        };
        if let Err(refusal) = self.seated_frame(slot, frame) {
            socket.tell(frame::error_frame(&refusal));
        }
    }

    fn seated_frame(&mut self, slot: AppSlot, frame: ClientFrame) -> Result<(), Refusal> {
        let step = match frame {
            ClientFrame::Send {
                content,
                subtopic,
                id,
            } => Step::Send {
                slot,
                subtopic,
                content,
                id,
            },
            ClientFrame::TakePending { confirm: keep, id } => Step::TakePending { slot, keep, id },
            ClientFrame::ConfirmPending { upto } => {
                self.app_takes(slot, upto);
                Step::Other(Request::ConfirmPending { slot, upto })
            }
            ClientFrame::Loaded => {
                self.loaded(slot);
                return Ok(());
            }
            ClientFrame::Lifecycle { event, app } => {
                let own = self.seats.get(usize::from(slot.index()));
                if app.is_some_and(|app| own.is_none_or(|seat| seat.app.as_str() != app)) {
                    return Err(screen_only("show, hide or close another app"));
                }
                return self.lifecycle(slot, event);
            }
            ClientFrame::PopupAnswer { ok } => {
                let popup = self.popup.as_ref().filter(|popup| popup.slot == slot);
                Step::Other(answer(popup, ok)?)
            }
            ClientFrame::Nac { .. } => return Err(screen_only("say that the head unit is active")),
            ClientFrame::Hello(_) => return Err(second_hello()),
        };
        self.steps.push_back(step);
        Ok(())
    }

    pub(super) fn screen_frame(&mut self, frame: ClientFrame) -> Result<(), Refusal> {
        match frame {
            ClientFrame::Lifecycle { event, app } => {
                let app = app.ok_or_else(|| {
                    Refusal::new(
                        "bad-frame",
                        r#"the screen names the app: "value":{"appId":"…"}"#,
                    )
                })?;
                let index = self.seats.iter().position(|seat| seat.app.as_str() == app);
                let index = index.and_then(|index| u8::try_from(index).ok());
                let index = index.ok_or_else(|| unknown_app(&app))?;
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
            ClientFrame::Hello(_) => Err(second_hello()),
            ClientFrame::Loaded
            | ClientFrame::Send { .. }
            | ClientFrame::TakePending { .. }
            | ClientFrame::ConfirmPending { .. } => Err(Refusal::new(
                "not-allowed",
                "the screen is no app; say hello with an appId on another socket",
            )),
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
            return Err(Refusal::new(
                "not-running",
                "the app has no socket; start it first",
            ));
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
    let popup = popup.ok_or_else(|| {
        Refusal::new(
            "no-popup",
            "no popup that you may answer is on screen; it may have closed",
        )
    })?;
    let number = popup.number;
    Ok(Request::PopupAnswered { number, ok })
}

fn screen_only(what: &str) -> Refusal {
    Refusal::new("not-allowed", format!("only the screen may {what}"))
}

fn second_hello() -> Refusal {
    Refusal::new(
        "bad-frame",
        "this socket has said hello already; open another one for another app",
    )
}
