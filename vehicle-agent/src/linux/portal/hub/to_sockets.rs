//! What the agent says, turned into frames for the sockets.

use std::fmt::Display;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::{AppMessage, Popup, PopupAction};
use vinbus_protocol::health::Health;
use vinbus_protocol::limits::PENDING_MESSAGES_MAX;
use vinbus_protocol::record_ring::Record;

use super::{ShownPopup, SocketApps, Step};
use crate::app_interface::client_frame::Lifecycle;
use crate::app_interface::refusal::{
    DROPPED, Ending, REFUSED, TOO_LARGE, fate_reason, send_refusal_reason,
};
use crate::app_interface::server_frame::{
    Explained, NumberedFrame, PopupClosed, PopupShown, Quoted, ServerFrame, kind, link_name,
};
use crate::apps::{Apps, Fate, Kept, Notice, Request, SendRefusal, Told};
use crate::desk::{Counters, DeliveryCounters, DownlinkRefusal};
use crate::linux::journal::Journal;
use crate::linux::portal::outbox::{Item, Unread};
use crate::notes::{NotNoted, Note};

/// What is added where a message without receipts is too long.
const LONG_ONES_NEED_RECEIPTS: &str = r#". With "receipts":true in its frame (`vehicle-agent app --receipts`; for all messages of an app, `vehicle-agent run --receipts-for`) a content may have up to 1048576 bytes, if the partner's server takes as much"#;

impl Apps for SocketApps<'_> {
    async fn next(&mut self) -> Request<'_> {
        while self.steps.is_empty() {
            if self.leaving.is_some() {
                self.go_on_leaving();
                continue;
            }
            match self.news.recv().await {
                Some(news) => self.take_news(news),
                // The server has ended; the agent goes on for the partner's sake.
                None => std::future::pending().await,
            }
        }
        if let Some(step) = self.steps.pop_front() {
            self.current = step;
        }
        self.current.request()
    }

    fn deliver(&mut self, slot: AppSlot, number: u64, message: AppMessage<'_>) {
        let mut bytes = vec![0; message.encoded_len()];
        let encoded = message.encode(&mut bytes).ok();
        let Some(text) = encoded.and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            // It came in one piece of at most the same length, as UTF-8.
            return;
        };
        let message = text.into();
        let unread = Unread { number, message };
        self.app_takes_each(slot, std::iter::once(number));
        match self.socket(slot) {
            Some(socket) => socket.outbox.push(Item::Message(unread)),
            // An app is in the foreground only while it has its seat.
            None => self.status.evicted(1),
        }
    }

    fn watch(&mut self, slot: AppSlot, number: u64) -> bool {
        let socket = self.socket(slot);
        socket.map(|socket| socket.outbox.watch(number)).is_some()
    }

    fn confirms(&self, slot: AppSlot) -> bool {
        self.socket(slot).is_some_and(|socket| socket.confirms)
    }

    fn room(&self, slot: AppSlot) -> usize {
        let socket = self.socket(slot);
        socket.map_or(usize::MAX, |socket| socket.outbox.room())
    }

    fn kept(&mut self, slot: AppSlot, kept: Kept<'_>) -> Told {
        let socket = self.socket(slot).filter(|socket| socket.takes_each());
        let message = std::str::from_utf8(kept.record.bytes);
        let (Some(socket), Ok(message)) = (socket, message) else {
            return Told::No;
        };
        if message.len() > socket.outbox.room() {
            return Told::Later;
        }
        socket
            .outbox
            .push(Item::Kept(NumberedFrame::of(&kept, message).to_string()));
        Told::Yes
    }

    fn hand_out<'r>(
        &mut self,
        slot: AppSlot,
        records: impl Iterator<Item = Record<'r>>,
        kept: bool,
    ) {
        let (id, after) = match &mut self.current {
            Step::TakePending { id, after, .. } => (id.take(), *after),
            Step::Send { .. } | Step::ConfirmEach { .. } | Step::Return { .. } | Step::Other(_) => {
                (None, None)
            }
        };
        let mut messages = Vec::with_capacity(PENDING_MESSAGES_MAX);
        for Record { number, bytes } in records.filter(|record| Some(record.number) > after) {
            let message = std::str::from_utf8(bytes).map(Box::from);
            messages.extend(message.map(|message| Unread { number, message }));
        }
        // Else the app confirms them.
        if let (false, Some(last)) = (kept, messages.last()) {
            self.app_takes(slot, last.number);
        }
        match self.socket(slot) {
            Some(socket) => socket.outbox.push(Item::Pending { id, messages, kept }),
            None if kept => {}
            // Only an app that has its seat asks.
            None => self.status.evicted(messages.len() as u64),
        }
    }

    fn answer(&mut self, slot: AppSlot, outcome: Result<(), SendRefusal>) {
        let (id, is_plain) = match &mut self.current {
            Step::Send {
                id,
                receipts,
                request,
                ..
            } => (id.take(), !*receipts && request.is_none()),
            Step::TakePending { .. }
            | Step::ConfirmEach { .. }
            | Step::Return { .. }
            | Step::Other(_) => (None, false),
        };
        match outcome {
            Ok(()) => {
                if let Some(seat) = self.seats.get_mut(usize::from(slot.index())) {
                    seat.waiting.push_back(id);
                }
            }
            Err(refusal) => {
                let reason = send_refusal_reason(refusal);
                let hint = match is_plain && reason == TOO_LARGE {
                    true => LONG_ONES_NEED_RECEIPTS,
                    false => "",
                };
                let why = (reason, format!("{refusal}{hint}"));
                self.write_not_delivered(slot, id.as_deref(), why);
            }
        }
    }

    fn accepted(&mut self, slot: AppSlot, ticket: u64) -> Result<(), SendRefusal> {
        let id = match &mut self.current {
            Step::Send { id, .. } => id.take(),
            Step::TakePending { .. }
            | Step::ConfirmEach { .. }
            | Step::Return { .. }
            | Step::Other(_) => None,
        };
        if let Some(id) = &id {
            self.write(slot, &ServerFrame::new(kind::ACCEPTED).with_id(Some(id)));
        }
        if let Some(seat) = self.seats.get_mut(usize::from(slot.index())) {
            seat.accepted.insert(ticket, id);
        }
        Ok(())
    }

    fn note(&mut self, note: Note<'_>) -> Result<(), NotNoted> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        let seats = &self.seats;
        if let Note::Settled { ticket } = note
            && let Some((app, frame)) = seats
                .iter()
                .find_map(|seat| Some((&seat.app, seat.untold.newest(ticket)?)))
        {
            return journal.note_untold(ticket, app, frame);
        }
        let app = |slot: AppSlot| Some(seats.get(usize::from(slot.index()))?.app.clone());
        let id = match (&note, &self.current) {
            (Note::Accepted { .. }, Step::Send { id, .. }) => id.as_deref(),
            _ => None,
        };
        journal.note(note, app, id)
    }

    fn keep(&mut self) -> Result<(), NotNoted> {
        self.journal.as_mut().map_or(Ok(()), Journal::keep)
    }

    fn tell(&mut self, slot: AppSlot, notice: Notice<'_>) {
        match notice {
            Notice::Settled { ticket, fate } => self.settled(slot, ticket, fate),
            Notice::Delivered => {
                if let Some(id) = self.fate(slot, None) {
                    let frame = ServerFrame::settled(Fate::WithBroker);
                    self.write(slot, &frame.with_id(Some(&id)));
                }
            }
            Notice::Dropped { in_flight } => {
                let id = self.fate(slot, in_flight);
                self.write_not_delivered(slot, id.as_deref(), DROPPED);
            }
            Notice::Refused => {
                let id = self.fate(slot, None);
                self.write_not_delivered(slot, id.as_deref(), REFUSED);
            }
            Notice::Short => {
                if self
                    .socket(slot)
                    .is_some_and(|socket| !socket.outbox.fall_short())
                {
                    self.steps.push_back(Step::Other(Request::Room(slot)));
                }
            }
            Notice::RequestOver { id, reason } => {
                let value = format!(r#"{{"requestId":"{id}","reason":"{reason}"}}"#);
                let frame = ServerFrame::new(kind::REQUEST_OVER);
                self.write(slot, &frame.with_value(&value));
            }
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
                let value = format!(r#"{{"refused":{refused}}}"#);
                let frame = ServerFrame::new(kind::POPUP_OVERFLOW);
                self.write(slot, &frame.with_value(&value));
            }
        }
    }

    fn link_changed(&mut self, up: bool) {
        self.link_up = up;
        let value = Quoted(link_name(up));
        let frame = ServerFrame::new(kind::STATUS)
            .with_value(&value)
            .to_string();
        let seated = self.seats.iter().filter_map(|seat| seat.socket.as_ref());
        for socket in seated.chain(&self.screen) {
            socket.tell(&frame);
        }
    }

    fn downlink_refused(&mut self, topic: &str, refusal: DownlinkRefusal) {
        self.status.downlink_refused(topic, &refusal);
    }

    fn counted(&mut self, counters: &Counters, delivery: impl FnOnce() -> DeliveryCounters) {
        self.status.counted(counters, delivery());
    }

    fn examine<'h>(&'h self, health: &mut Health<'h>) {
        self.status.examine(health);
    }
}

impl SocketApps<'_> {
    /// The frame id of the app's oldest message without a fate but the one `in_flight`: it has met it
    /// now.
    fn fate(&mut self, slot: AppSlot, in_flight: Option<AppSlot>) -> Option<String> {
        if let Some(taken_up) = &mut self.taken_up {
            taken_up.uplink_settled(u64::from(in_flight.is_some()));
        }
        let seat = self.seats.get_mut(usize::from(slot.index()))?;
        let older = usize::from(in_flight == Some(slot));
        seat.waiting.remove(older).flatten()
    }

    /// Tells what became of a message that went with receipts, now or when the app is there.
    fn settled(&mut self, slot: AppSlot, ticket: u64, fate: Fate) {
        let Some(seat) = self.seats.get_mut(usize::from(slot.index())) else {
            return;
        };
        let id = seat.accepted.remove(&ticket).flatten();
        let why = fate_reason(fate);
        let frame = match (&why, &id) {
            (None, None) => return,
            (None, Some(id)) => ServerFrame::settled(fate).with_id(Some(id)).to_string(),
            (Some((reason, message)), id) => ServerFrame::new(kind::NOT_DELIVERED)
                .with_value(&Explained(reason, message))
                .with_id(id.as_deref())
                .to_string(),
        };
        match &seat.socket {
            Some(socket) => socket.outbox.push(Item::Fate(ticket, frame)),
            None => seat.untold.push(ticket, why.is_none(), frame),
        }
    }

    /// The app takes its pending messages up to the number `upto`.
    pub(super) fn app_takes(&mut self, slot: AppSlot, upto: u64) {
        let seat = self.seats.get(usize::from(slot.index()));
        if let (Some(taken_up), Some(seat)) = (&mut self.taken_up, seat) {
            taken_up.app_takes(&seat.app, upto);
        }
    }

    /// The app takes these of its pending messages.
    pub(super) fn app_takes_each(&mut self, slot: AppSlot, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            let seat = self.seats.get(usize::from(slot.index()));
            if let (Some(taken_up), Some(seat)) = (&mut self.taken_up, seat) {
                taken_up.app_takes_one(&seat.app, number);
            }
        }
    }

    fn popup_shown(&mut self, slot: AppSlot, number: u64, popup: &Popup<'_>) {
        let Some(seat) = self.seats.get(usize::from(slot.index())) else {
            return;
        };
        let value = PopupShown {
            app: seat.app.as_str(),
            button: popup.button,
            text: popup.text.as_json(),
            content: popup.content.map(|content| content.as_str()),
        };
        let frame = ServerFrame::new(kind::POPUP_SHOW)
            .with_value(&value)
            .to_string();
        self.write(slot, &frame);
        if let Some(screen) = &self.screen {
            screen.tell(&frame);
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
        let value = PopupClosed(seat.app.as_str(), action.name());
        let frame = ServerFrame::new(kind::POPUP_CLOSE)
            .with_value(&value)
            .to_string();
        self.write(slot, &frame);
        if let Some(screen) = &self.screen {
            screen.tell(&frame);
        }
    }

    fn write_not_delivered(
        &self,
        slot: AppSlot,
        id: Option<&str>,
        (reason, message): (&'static str, impl Display),
    ) {
        let value = Explained(reason, message);
        let frame = ServerFrame::new(kind::NOT_DELIVERED);
        self.write(slot, &frame.with_value(&value).with_id(id));
    }
}
