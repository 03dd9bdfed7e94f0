//! The apps behind the portal's sockets, as the agent sees them.
//!
//! Each app has one seat, taken by at most one socket. A newer socket takes the seat over once the
//! older one has ended and its unwritten messages are back in the pending ring, so an app never gets
//! a message twice or out of order. The screen has a seat of its own.
//!
//! Here is who sits where; `from_sockets` is what they say, `to_sockets` what they are told.

mod from_sockets;
mod step;
mod to_sockets;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::id::{AppId, Vin};

use self::step::Step;
use super::outbox::{Item, Outbox};
use super::untold::Untold;
use super::{FRAME_BYTES_MAX, FromSocket, News, Peer};
use crate::app_interface::client_frame::Lifecycle;
use crate::app_interface::refusal::Ending;
use crate::app_interface::server_frame::{
    AppIdValue, ScreenWelcome, ServerFrame, Welcome, is_good, kind,
};
use crate::apps::Request;
use crate::linux::journal::Journal;
use crate::linux::run::LinuxDesk;
use crate::linux::saved::TakenUp;
use crate::linux::status::Status;

/// Time for the sockets to end when the agent stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The apps of one vehicle, over WebSockets.
#[derive(Debug)]
pub(crate) struct SocketApps<'s> {
    vin: Vin,
    news: mpsc::Receiver<FromSocket>,
    seats: Vec<Seat>,
    /// The app whose socket has ended. It keeps its seat until all that was not written is back with
    /// the agent, and until then takes what the agent still has for it, so that the order stays.
    leaving: Option<AppSlot>,
    screen: Option<Socket>,
    steps: VecDeque<Step>,
    /// The step that the agent was given last.
    current: Step,
    link_up: bool,
    popup: Option<ShownPopup>,
    /// Tells the numbers of messages apart from those that an earlier process gave.
    life: u64,
    status: Arc<Status>,
    taken_up: Option<TakenUp<'s>>,
    journal: Option<Journal>,
}

/// The place of one app.
#[derive(Debug)]
struct Seat {
    app: AppId,
    socket: Option<Socket>,
    /// The socket that takes over once the other has ended, and what it sent meanwhile.
    next: Option<(Socket, Vec<Utf8Bytes>)>,
    /// Whether the app has the screen, or will once it has loaded.
    shown: bool,
    loaded: bool,
    /// The frame ids of messages that wait for the broker, oldest first.
    waiting: VecDeque<Option<String>>,
    /// All its messages go with receipts.
    receipts: bool,
    /// The frame ids of messages that went with receipts, by ticket.
    accepted: BTreeMap<u64, Option<String>>,
    /// Frames about such messages that an app without a socket is to get when it comes.
    untold: Untold<String>,
}

#[derive(Clone, Debug)]
struct Socket {
    id: u64,
    background: bool,
    /// It confirms every message; until then the message is in the app's ring.
    confirms: bool,
    outbox: Arc<Outbox>,
}

impl Socket {
    fn tell(&self, frame: &impl ToString) {
        self.outbox.push(Item::Notice(frame.to_string()));
    }

    /// Whether it is told of every message as it is kept.
    fn takes_each(&self) -> bool {
        self.confirms && self.outbox.ending().is_none()
    }
}

#[derive(Debug)]
struct ShownPopup {
    number: u64,
    slot: AppSlot,
    frame: String,
}

impl<'s> SocketApps<'s> {
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
            receipts: false,
            accepted: BTreeMap::new(),
            untold: Untold::default(),
        };
        Self {
            vin,
            news,
            seats: apps.into_iter().map(seat).collect(),
            leaving: None,
            screen: None,
            steps: VecDeque::new(),
            current: Step::Other(Request::Nac { active: true }),
            link_up: false,
            popup: None,
            life: RandomState::new().hash_one(()),
            status,
            taken_up: None,
            journal: None,
        }
    }

    /// All messages of this app go with receipts.
    pub(crate) fn ask_for_receipts(&mut self, app: &AppId) {
        for seat in self.seats.iter_mut().filter(|seat| seat.app == *app) {
            seat.receipts = true;
        }
    }

    fn wants_receipts(&self, slot: AppSlot) -> bool {
        let seat = self.seats.get(usize::from(slot.index()));
        seat.is_some_and(|seat| seat.receipts)
    }

    /// Notes in this journal what is to survive, and goes on with its life.
    pub(crate) fn note_in(&mut self, journal: Journal) {
        self.life = journal.life();
        self.journal = Some(journal);
    }

    /// Expects the fate of a message that an earlier life accepted, from a frame with this id.
    pub(crate) fn expect_settled(&mut self, slot: AppSlot, ticket: u64, id: Option<String>) {
        if let Some(seat) = self.seats.get_mut(usize::from(slot.index())) {
            seat.accepted.insert(ticket, id);
        }
    }

    /// An earlier life has not told the app what became of a message of its own.
    pub(crate) fn expect_told(&mut self, slot: AppSlot, frame: String) {
        if let Some(seat) = self.seats.get_mut(usize::from(slot.index())) {
            // Tickets of this life are others.
            seat.untold.push(u64::MAX, is_good(&frame), frame);
        }
    }

    /// Nor of so many more.
    pub(crate) fn expect_forgotten(&mut self, slot: AppSlot, fates: u64) {
        if let Some(seat) = self.seats.get_mut(usize::from(slot.index())) {
            seat.untold.forget(fates);
        }
    }

    /// Tells `taken_up` what becomes of the messages of an earlier life.
    pub(crate) fn settle_with(&mut self, taken_up: TakenUp<'s>) {
        self.taken_up = Some(taken_up);
    }

    /// Expects the fate of one message of the app that an earlier life left behind.
    pub(crate) fn expect_fate(&mut self, slot: AppSlot) {
        if let Some(seat) = self.seats.get_mut(usize::from(slot.index())) {
            seat.waiting.push_back(None);
        }
    }

    /// Ends every socket, tells the desk what was written to them and gives it the rest back, and notes that.
    pub(crate) async fn stop(&mut self, now_ms: u64, desk: &mut LinuxDesk) {
        let ended = async {
            loop {
                while self.leaving.is_some() {
                    self.go_on_leaving();
                }
                for step in std::mem::take(&mut self.steps) {
                    let request = step.request();
                    if let Request::Written { .. } | Request::Return { .. } | Request::Unloaded(_) =
                        request
                    {
                        desk.handle_request(now_ms, &request);
                    }
                }
                if !self.end_all() {
                    return;
                }
                match self.news.recv().await {
                    Some(news) => self.take_news(news),
                    None => return,
                }
            }
        };
        if timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::warn!("an app's socket did not end; what it was not given is lost");
        }
        desk.note_last(now_ms, self);
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
            (
                Peer::App {
                    slot,
                    background,
                    confirms,
                },
                News::Opened(outbox),
            ) => {
                let socket = Socket {
                    id,
                    background,
                    confirms,
                    outbox,
                };
                self.open(slot, socket);
            }
            (Peer::App { slot, .. }, News::Frame(frame)) => self.app_frame(slot, id, frame),
            (Peer::App { slot, .. }, News::Written) => {
                self.take_written(slot);
                self.steps.push_back(Step::Other(Request::Room(slot)));
            }
            (Peer::App { slot, .. }, News::Gone) => self.gone(slot, id),
            (Peer::Screen, News::Opened(outbox)) => {
                let socket = Socket {
                    id,
                    background: false,
                    confirms: false,
                    outbox,
                };
                self.open_screen(socket);
            }
            // It is sent no messages.
            (Peer::Screen, News::Written) => {}
            (Peer::Screen, News::Frame(frame)) => {
                self.screen_frame(id, &frame);
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
    fn seat(&mut self, slot: AppSlot, socket: Socket, early: Vec<Utf8Bytes>) {
        let Some(seat) = self.seats.get_mut(usize::from(slot.index())) else {
            return;
        };
        let value = Welcome {
            app: seat.app.as_str(),
            vin: self.vin.as_str(),
            link_up: self.link_up,
            confirming: socket.confirms.then_some((FRAME_BYTES_MAX, self.life)),
        };
        socket.tell(&ServerFrame::new(kind::WELCOME).with_value(&value));
        if let Some(popup) = self.popup.as_ref().filter(|popup| popup.slot == slot) {
            socket.tell(&popup.frame);
        }
        let untold = seat.untold.take();
        let forgotten = untold.forgotten();
        if forgotten > 0 {
            socket.outbox.push(Item::Forgotten(forgotten));
        }
        let mut fates = untold.iter().peekable();
        if let Some(journal) = &mut self.journal
            && (forgotten > 0 || fates.peek().is_some())
        {
            journal.note_told(&seat.app);
        }
        for (ticket, frame) in fates {
            socket.outbox.push(Item::Fate(ticket, frame.clone()));
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
        if seat.socket.as_ref().is_some_and(|socket| socket.id == id) {
            self.leaving = Some(slot);
        }
    }

    /// Tells the agent what of it was written to the app; `false` if nothing was.
    fn take_written(&mut self, slot: AppSlot) -> bool {
        let written = self.socket(slot).map(|socket| socket.outbox.take_written());
        let written = written.unwrap_or_default();
        let any = !written.is_empty();
        let steps = written.into_iter();
        let steps = steps.map(|number| Step::Other(Request::Written { slot, number }));
        self.steps.extend(steps);
        any
    }

    /// Gives the agent what was written, then one message after the other that was not, and then frees the seat: what it
    /// hears next is that the app has gone, so that nothing comes for an app that is not there, or not yet.
    fn go_on_leaving(&mut self) {
        let Some(slot) = self.leaving else {
            return;
        };
        if self.take_written(slot) {
            return;
        }
        match self
            .socket(slot)
            .and_then(|socket| socket.outbox.take_back())
        {
            Some(unread) => self.steps.push_back(Step::Return { slot, unread }),
            None => {
                self.leaving = None;
                self.leave(slot);
            }
        }
    }

    fn leave(&mut self, slot: AppSlot) {
        let Some(seat) = self.seats.get_mut(usize::from(slot.index())) else {
            return;
        };
        let (socket, next) = (seat.socket.take(), seat.next.take());
        if let Some(socket) = socket {
            self.status.evicted(socket.outbox.evicted());
            let forgotten = socket.outbox.forgotten();
            if forgotten > 0 {
                if let Some(journal) = &mut self.journal {
                    journal.note_forgotten(&seat.app, forgotten);
                }
                seat.untold.forget(forgotten);
            }
            for (ticket, frame) in socket.outbox.take_fates() {
                if let Some(journal) = &mut self.journal {
                    // Where that fails, this life alone tells it.
                    let _ = journal.note_untold(ticket, &seat.app, &frame);
                }
                seat.untold.push(ticket, is_good(&frame), frame);
            }
        }
        self.steps.push_back(Step::Other(Request::Unloaded(slot)));
        self.tell_screen(Lifecycle::Unload, slot);
        if let Some((socket, early)) = next {
            self.seat(slot, socket, early);
        }
    }

    fn open_screen(&mut self, socket: Socket) {
        let value = ScreenWelcome {
            vin: self.vin.as_str(),
            link_up: self.link_up,
            apps: self.seats.iter().map(|seat| {
                let running = seat.socket.is_some();
                (seat.app.as_str(), running, running && seat.shown)
            }),
        };
        socket.tell(&ServerFrame::new(kind::WELCOME).with_value(&value));
        if let Some(popup) = &self.popup {
            socket.tell(&popup.frame);
        }
        if let Some(old) = self.screen.replace(socket) {
            old.outbox.end(Ending::TakenOver);
        }
    }

    fn tell_lifecycle(&self, event: Lifecycle, slot: AppSlot) {
        if let Some(socket) = self.socket(slot) {
            socket.tell(&ServerFrame::new(event.name()));
        }
        self.tell_screen(event, slot);
    }

    fn tell_screen(&self, event: Lifecycle, slot: AppSlot) {
        let seat = self.seats.get(usize::from(slot.index()));
        if let (Some(screen), Some(seat)) = (&self.screen, seat) {
            let value = AppIdValue(seat.app.as_str());
            screen.tell(&ServerFrame::new(event.name()).with_value(&value));
        }
    }

    fn socket(&self, slot: AppSlot) -> Option<&Socket> {
        self.seats.get(usize::from(slot.index()))?.socket.as_ref()
    }

    fn write(&self, slot: AppSlot, frame: &impl ToString) {
        if let Some(socket) = self.socket(slot) {
            socket.tell(frame);
        }
    }
}
