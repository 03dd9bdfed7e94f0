//! What the agent says, turned into frames for the sockets.

use serde_json::json;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::{AppMessage, Popup, PopupAction};
use vinbus_protocol::limits::PENDING_MESSAGES_MAX;
use vinbus_protocol::record_ring::Record;

use super::{ShownPopup, SocketApps, Step, link_name};
use crate::apps::{Apps, Notice, Request, SendRefusal};
use crate::desk::{Counters, DownlinkRefusal};
use crate::linux::portal::frame::{self, Lifecycle, Refusal, server_frame};
use crate::linux::portal::outbox::{Ending, Item};

impl Apps for SocketApps<'_> {
    async fn next(&mut self) -> Request<'_> {
        while self.steps.is_empty() {
            match self.news.recv().await {
                Some(news) => self.take_news(news),
                // The server has ended; the agent goes on for the partner's sake.
                None => std::future::pending().await,
            }
        }
        if let Some(step) = self.steps.pop_front() {
            self.current = step;
        }
        match &self.current {
            Step::Send {
                slot,
                subtopic,
                content,
                ..
            } => Request::Send {
                slot: *slot,
                subtopic: subtopic.as_deref(),
                content: content.as_bytes(),
            },
            Step::TakePending { slot, keep, .. } => Request::TakePending {
                slot: *slot,
                keep: *keep,
            },
            Step::Return { slot, message } => Request::Return {
                slot: *slot,
                message: message.as_bytes(),
            },
            Step::Other(request) => *request,
        }
    }

    fn deliver(&mut self, slot: AppSlot, message: AppMessage<'_>) {
        let mut bytes = vec![0; message.encoded_len()];
        let encoded = message.encode(&mut bytes).ok();
        let Some(text) = encoded.and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            // It came in one piece of at most the same length, as UTF-8.
            return;
        };
        match self.socket(slot) {
            Some(socket) => socket.outbox.push(Item::Message(text.into())),
            None => self.steps.push_back(Step::Return {
                slot,
                message: text.into(),
            }),
        }
    }

    fn hand_out<'r>(
        &mut self,
        slot: AppSlot,
        records: impl Iterator<Item = Record<'r>>,
        kept: bool,
    ) {
        let mut messages = Vec::with_capacity(PENDING_MESSAGES_MAX);
        let mut last = None;
        for record in records {
            messages.extend(std::str::from_utf8(record.bytes).map(Box::from));
            last = Some(record.number);
        }
        let id = match &mut self.current {
            Step::TakePending { id, .. } => id.take(),
            Step::Send { .. } | Step::Return { .. } | Step::Other(_) => None,
        };
        if let Some(last) = last.filter(|_| !kept) {
            self.app_takes(slot, last);
        }
        let upto = last.filter(|_| kept);
        match self.socket(slot) {
            Some(socket) => socket.outbox.push(Item::Pending {
                id,
                messages,
                kept,
                upto,
            }),
            None if kept => {}
            None => {
                let returned = messages
                    .into_iter()
                    .map(|message| Step::Return { slot, message });
                self.steps.extend(returned);
            }
        }
    }

    fn answer(&mut self, slot: AppSlot, outcome: Result<(), SendRefusal>) {
        let id = match &mut self.current {
            Step::Send { id, .. } => id.take(),
            Step::TakePending { .. } | Step::Return { .. } | Step::Other(_) => None,
        };
        match outcome {
            Ok(()) => {
                if let Some(seat) = self.seats.get_mut(usize::from(slot.index())) {
                    seat.waiting.push_back(id);
                }
            }
            Err(refusal) => {
                let refusal = Refusal::new(send_refusal_reason(refusal), refusal.to_string());
                self.write(slot, frame::not_delivered_frame(&refusal.with_id(id)));
            }
        }
    }

    fn tell(&mut self, slot: AppSlot, notice: Notice<'_>) {
        match notice {
            Notice::Delivered => {
                if let Some(id) = self.fate(slot) {
                    let kind = "WebPortal.MQTT.evt.messageDelivered";
                    self.write(slot, server_frame(kind, Some(&id), None));
                }
            }
            Notice::Dropped => self.not_delivered(slot, DROPPED),
            Notice::Refused => self.not_delivered(slot, REFUSED),
            Notice::Hide => {
                if let Some(seat) = self.seats.get_mut(usize::from(slot.index())) {
                    seat.shown = false;
                }
                self.tell_lifecycle(Lifecycle::Hide, slot);
            }
            Notice::NotLoaded => {
                if let Some(socket) = self.socket(slot) {
                    socket.outbox.end(Ending::NotLoaded);
                }
            }
            Notice::PopupShown { number, popup } => self.popup_shown(slot, number, &popup),
            Notice::PopupClosed { action, .. } => self.popup_closed(slot, action),
            Notice::PopupOverflow { refused } => {
                let value = json!({ "refused": refused }).to_string();
                let frame = server_frame("WebPortal.OverflowPopup", None, Some(&value));
                self.write(slot, frame);
            }
        }
    }

    fn link_changed(&mut self, up: bool) {
        self.link_up = up;
        let value = format!("\"{}\"", link_name(up));
        let frame = server_frame("WebPortal.MQTT.evt.status", None, Some(&value));
        let seated = self.seats.iter().filter_map(|seat| seat.socket.as_ref());
        for socket in seated.chain(&self.screen) {
            socket.tell(frame.clone());
        }
    }

    fn downlink_refused(&mut self, topic: &str, refusal: DownlinkRefusal) {
        self.status.downlink_refused(topic, &refusal);
    }

    fn counted(&mut self, counters: &Counters) {
        self.status.counted(counters);
    }
}

impl SocketApps<'_> {
    /// The frame id of the app's oldest message without a fate, which has met it now.
    fn fate(&mut self, slot: AppSlot) -> Option<String> {
        if let Some(taken_up) = &mut self.taken_up {
            taken_up.uplink_settled();
        }
        let seat = self.seats.get_mut(usize::from(slot.index()))?;
        seat.waiting.pop_front().flatten()
    }

    /// The app takes its pending messages up to the number `upto`.
    pub(super) fn app_takes(&mut self, slot: AppSlot, upto: u64) {
        let seat = self.seats.get(usize::from(slot.index()));
        if let (Some(taken_up), Some(seat)) = (&mut self.taken_up, seat) {
            taken_up.app_takes(&seat.app, upto);
        }
    }

    fn popup_shown(&mut self, slot: AppSlot, number: u64, popup: &Popup<'_>) {
        let Some(seat) = self.seats.get(usize::from(slot.index())) else {
            return;
        };
        let app = serde_json::Value::from(seat.app.as_str());
        let (button, text) = (popup.button, popup.text.as_json());
        let content = popup.content.map(|content| content.as_str());
        let content = content.map_or_else(String::new, |json| format!(r#","content":{json}"#));
        let value = format!(r#"{{"appId":{app},"popupBtn":{button},"popupText":{text}{content}}}"#);
        let frame = server_frame("WebPortal.onPopupShow", None, Some(&value));
        self.write(slot, frame.clone());
        if let Some(screen) = &self.screen {
            screen.tell(frame.clone());
        }
        self.popup = Some(ShownPopup {
            number,
            slot,
            frame,
        });
    }

    fn popup_closed(&mut self, slot: AppSlot, action: PopupAction) {
        self.popup = None;
        let Some(seat) = self.seats.get(usize::from(slot.index())) else {
            return;
        };
        let value = json!({ "appId": seat.app.as_str(), "popupAction": action.name() });
        let frame = server_frame("WebPortal.onPopupClose", None, Some(&value.to_string()));
        self.write(slot, frame.clone());
        if let Some(screen) = &self.screen {
            screen.tell(frame);
        }
    }

    fn not_delivered(&mut self, slot: AppSlot, (reason, message): (&'static str, &str)) {
        let id = self.fate(slot);
        let refusal = Refusal::new(reason, message).with_id(id);
        self.write(slot, frame::not_delivered_frame(&refusal));
    }
}

const DROPPED: (&str, &str) = (
    "dropped",
    "the link was down or slow for so long that newer messages took the place of this one",
);

const REFUSED: (&str, &str) = (
    "refused-by-broker",
    "the broker refused the message; is the vehicle allowed to publish for this partner?",
);

fn send_refusal_reason(refusal: SendRefusal) -> &'static str {
    match refusal {
        SendRefusal::TooLarge { .. } => "too-large",
        SendRefusal::UnknownApp => "unknown-app",
        SendRefusal::Content(_) => "bad-content",
        SendRefusal::Subtopic => "bad-subtopic",
        SendRefusal::ReservedSubtopic => "reserved-subtopic",
        SendRefusal::QueueFull { .. } => "queue-full",
    }
}
