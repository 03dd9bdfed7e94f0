//! The apps behind the portal's sockets, as the agent sees them.
//!
//! Each app has one seat, taken by at most one socket. A newer socket takes the seat over once the
//! older one has ended and its unwritten messages are back in the pending ring, so an app never gets
//! a message twice or out of order. The screen has a seat of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::{AppMessage, Popup, PopupAction};
use vinbus_protocol::id::{AppId, Vin};
use vinbus_protocol::limits::PENDING_MESSAGES_MAX;
use vinbus_protocol::record_ring::Record;

use super::frame::{self, ClientFrame, Lifecycle, Refusal, server_frame};
use super::outbox::{Ending, Item, Outbox};
use super::{FromSocket, News, Peer};
use crate::apps::{Apps, Notice, Request, SendRefusal};
use crate::desk::{Counters, DownlinkRefusal};
use crate::linux::status::Status;

/// Time for the sockets to end when the agent stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Frames kept of a socket that waits for its seat.
const EARLY_FRAMES_MAX: usize = 64;

/// The apps of one vehicle, over WebSockets.
#[derive(Debug)]
pub(crate) struct SocketApps {
    vin: Vin,
    news: mpsc::Receiver<FromSocket>,
    seats: Vec<Seat>,
    screen: Option<Socket>,
    steps: VecDeque<Step>,
    /// The step that the agent was given last.
    current: Step,
    link_up: bool,
    popup: Option<ShownPopup>,
    status: Arc<Status>,
}

/// The place of one app.
#[derive(Debug)]
struct Seat {
    app: AppId,
    socket: Option<Socket>,
    /// The socket that takes over once the other has ended, and what it sent meanwhile.
    next: Option<(Socket, Vec<ClientFrame>)>,
    /// Whether the app has the screen, or will once it has loaded.
    shown: bool,
    loaded: bool,
    /// The frame ids of messages that wait for the broker, oldest first.
    waiting: VecDeque<Option<String>>,
}

#[derive(Clone, Debug)]
struct Socket {
    id: u64,
    background: bool,
    outbox: Arc<Outbox>,
}

impl Socket {
    fn tell(&self, frame: String) {
        self.outbox.push(Item::Notice(frame));
    }
}

#[derive(Debug)]
struct ShownPopup {
    number: u64,
    slot: AppSlot,
    frame: String,
}

/// One thing for the agent to do.
#[derive(Debug)]
enum Step {
    Send {
        slot: AppSlot,
        subtopic: Option<String>,
        content: String,
        id: Option<String>,
    },
    TakePending {
        slot: AppSlot,
        keep: bool,
        id: Option<String>,
    },
    Return {
        slot: AppSlot,
        message: Box<str>,
    },
    Other(Request<'static>),
}

impl SocketApps {
    /// The apps in the order of their slots; `news` comes from their sockets.
    pub(crate) fn new(
        vin: Vin,
        apps: impl IntoIterator<Item = AppId>,
        news: mpsc::Receiver<FromSocket>,
        status: Arc<Status>,
    ) -> Self {
        let seat = |app| Seat {
            app,
            socket: None,
            next: None,
            shown: false,
            loaded: false,
            waiting: VecDeque::new(),
        };
        Self {
            vin,
            news,
            seats: apps.into_iter().map(seat).collect(),
            screen: None,
            steps: VecDeque::new(),
            current: Step::Other(Request::Nac { active: true }),
            link_up: false,
            popup: None,
            status,
        }
    }

    /// Expects the fate of one message of the app that an earlier life left behind.
    pub(crate) fn expect_fate(&mut self, slot: AppSlot) {
        if let Some(seat) = self.seats.get_mut(usize::from(slot.index())) {
            seat.waiting.push_back(None);
        }
    }

    /// Ends every socket and gives `unread` what was not written to them, in order.
    pub(crate) async fn stop(&mut self, mut unread: impl FnMut(AppSlot, &str)) {
        let ended = async {
            while self.end_all() {
                match self.news.recv().await {
                    Some(news) => self.take_news(news),
                    None => return,
                }
            }
        };
        if timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::warn!("an app's socket did not end; what it was not given is lost");
        }
        for step in self.steps.drain(..) {
            if let Step::Return { slot, message } = step {
                unread(slot, &message);
            }
        }
    }

    /// Has every socket of an app end; `false` when none is left.
    fn end_all(&self) -> bool {
        let seated = self.seats.iter().filter_map(|seat| seat.socket.as_ref());
        let sockets: Vec<_> = seated.collect();
        for socket in sockets.iter().copied().chain(&self.screen) {
            socket.outbox.end(Ending::Stopping);
        }
        !sockets.is_empty()
    }

    fn take_news(&mut self, news: FromSocket) {
        let FromSocket {
            socket: id,
            peer,
            news,
        } = news;
        match (peer, news) {
            (Peer::App { slot, background }, News::Opened(outbox)) => {
                self.open(
                    slot,
                    Socket {
                        id,
                        background,
                        outbox,
                    },
                );
            }
            (Peer::App { slot, .. }, News::Frame(frame)) => self.app_frame(slot, id, frame),
            (Peer::App { slot, .. }, News::Gone) => self.gone(slot, id),
            (Peer::Screen, News::Opened(outbox)) => {
                let socket = Socket {
                    id,
                    background: false,
                    outbox,
                };
                self.open_screen(socket);
            }
            (Peer::Screen, News::Frame(frame)) => {
                if let Some(screen) = self.screen.clone().filter(|screen| screen.id == id)
                    && let Err(refusal) = self.screen_frame(frame)
                {
                    screen.tell(frame::error_frame(&refusal));
                }
            }
            (Peer::Screen, News::Gone) => {
                self.screen.take_if(|screen| screen.id == id);
            }
        }
    }

    fn open(&mut self, slot: AppSlot, socket: Socket) {
        let Some(seat) = self.seats.get_mut(usize::from(slot.index())) else {
            return;
        };
        if let Some(old) = &seat.socket {
            old.outbox.end(Ending::TakenOver);
            if let Some((older, _)) = seat.next.replace((socket, Vec::new())) {
                older.outbox.end(Ending::TakenOver);
            }
            return;
        }
        self.seat(slot, socket, Vec::new());
    }

    /// Gives an empty seat to a socket: its app is launched, and shown as the driver would see it.
    fn seat(&mut self, slot: AppSlot, socket: Socket, early: Vec<ClientFrame>) {
        let Some(seat) = self.seats.get_mut(usize::from(slot.index())) else {
            return;
        };
        let link = link_name(self.link_up);
        let value = json!({ "appId": seat.app.as_str(), "vin": self.vin.as_str(), "link": link });
        socket.tell(server_frame("welcome", None, Some(&value.to_string())));
        if let Some(popup) = self.popup.as_ref().filter(|popup| popup.slot == slot) {
            socket.tell(popup.frame.clone());
        }
        let id = socket.id;
        seat.loaded = false;
        seat.shown = !socket.background;
        self.steps.push_back(Step::Other(Request::Launched(slot)));
        if seat.shown {
            self.steps.push_back(Step::Other(Request::Shown(slot)));
        }
        seat.socket = Some(socket);
        for frame in early {
            self.app_frame(slot, id, frame);
        }
    }

    fn gone(&mut self, slot: AppSlot, id: u64) {
        let Some(seat) = self.seats.get_mut(usize::from(slot.index())) else {
            return;
        };
        seat.next.take_if(|(socket, _)| socket.id == id);
        let Some(socket) = seat.socket.take_if(|socket| socket.id == id) else {
            return;
        };
        let next = seat.next.take();
        let (messages, evicted) = socket.outbox.take_back();
        self.status.evicted(evicted);
        let returned = messages
            .into_iter()
            .map(|message| Step::Return { slot, message });
        self.steps.extend(returned);
        self.steps.push_back(Step::Other(Request::Unloaded(slot)));
        self.tell_screen(Lifecycle::Unload, slot);
        if let Some((socket, early)) = next {
            self.seat(slot, socket, early);
        }
    }

    fn open_screen(&mut self, socket: Socket) {
        let apps: Vec<_> = self.seats.iter().map(|seat| {
            let running = seat.socket.is_some();
            json!({ "appId": seat.app.as_str(), "running": running, "shown": running && seat.shown })
        }).collect();
        let value =
            json!({ "vin": self.vin.as_str(), "link": link_name(self.link_up), "apps": apps });
        socket.tell(server_frame("welcome", None, Some(&value.to_string())));
        if let Some(popup) = &self.popup {
            socket.tell(popup.frame.clone());
        }
        if let Some(old) = self.screen.replace(socket) {
            old.outbox.end(Ending::TakenOver);
        }
    }
}

/// What the sockets say.
impl SocketApps {
    fn app_frame(&mut self, slot: AppSlot, id: u64, frame: ClientFrame) {
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

    fn screen_frame(&mut self, frame: ClientFrame) -> Result<(), Refusal> {
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
                let index = index.ok_or_else(|| super::unknown_app(&app))?;
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

    fn tell_lifecycle(&self, event: Lifecycle, slot: AppSlot) {
        if let Some(socket) = self.socket(slot) {
            socket.tell(server_frame(event.name(), None, None));
        }
        self.tell_screen(event, slot);
    }

    fn tell_screen(&self, event: Lifecycle, slot: AppSlot) {
        let seat = self.seats.get(usize::from(slot.index()));
        if let (Some(screen), Some(seat)) = (&self.screen, seat) {
            let value = json!({ "appId": seat.app.as_str() });
            screen.tell(server_frame(event.name(), None, Some(&value.to_string())));
        }
    }

    fn socket(&self, slot: AppSlot) -> Option<&Socket> {
        self.seats.get(usize::from(slot.index()))?.socket.as_ref()
    }

    fn write(&self, slot: AppSlot, frame: String) {
        if let Some(socket) = self.socket(slot) {
            socket.tell(frame);
        }
    }

    /// The frame id of the app's oldest message without a fate, which has met it now.
    fn fate(&mut self, slot: AppSlot) -> Option<String> {
        let seat = self.seats.get_mut(usize::from(slot.index()))?;
        seat.waiting.pop_front().flatten()
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
}

impl Apps for SocketApps {
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

impl SocketApps {
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

fn link_name(up: bool) -> &'static str {
    if up { "connected" } else { "disconnected" }
}
