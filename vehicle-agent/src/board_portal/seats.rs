//! The apps behind the portal's sockets, as the agent sees them.
//!
//! Each app has one seat, taken by at most one socket. A newer socket takes the seat over once the
//! older one has ended and its unwritten messages are back in the pending ring, so an app never gets
//! a message twice or out of order. The screen has a seat of its own.

use core::cell::Ref;

use heapless::{Deque, String, Vec};
use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::limits::{POPUP_TEXT_BYTES_MAX, SUBTOPIC_BYTES_MAX};

use super::Portal;
use super::limits::RECEIPTS_MAX;
use super::place::{Mail, Peer, Phase, Place};
use crate::app_interface::client_frame::{FRAME_ID_BYTES_MAX, Lifecycle};
use crate::app_interface::refusal::Ending;
use crate::app_interface::server_frame::{
    AppIdValue, PopupShown, ScreenWelcome, ServerFrame, Welcome, kind,
};
use crate::apps::{Fate, Request};

/// The `id` of a frame, as JSON; empty when it had none.
pub(super) type FrameId = String<FRAME_ID_BYTES_MAX>;

/// A subtopic, with the slash that it may begin with and one byte more, which makes it too long.
pub(super) type Subtopic = String<{ SUBTOPIC_BYTES_MAX + 2 }>;

/// Requests that one event makes at most: an app is unloaded, and the next launched and shown.
const STEPS_MAX: usize = 4;

/// What the portal keeps of the apps' messages, where the board has room for it: 136 bytes for each
/// of the `QUEUE` messages that may wait for the broker, 152 for each of the [`RECEIPTS_MAX`] that go with
/// receipts, and 4.1 KB for a popup's text.
#[derive(Debug, Default)]
pub struct KeptTexts<const QUEUE: usize> {
    /// Whose messages wait for the broker, oldest first, and their `id`s.
    pub(super) waiting: Vec<Waiting, QUEUE>,
    /// The messages that go with receipts, oldest first.
    pub(super) accepted: Vec<Accepted, RECEIPTS_MAX>,
    /// The text of the popup on screen, a JSON string.
    pub(super) popup: String<{ POPUP_TEXT_BYTES_MAX + 2 }>,
}

impl<const QUEUE: usize> KeptTexts<QUEUE> {
    /// Nothing is kept.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            waiting: Vec::new(),
            accepted: Vec::new(),
            popup: String::new(),
        }
    }
}

/// The apps of one vehicle, over the sockets of a [`Portal`]. `QUEUE` messages may wait for the
/// broker.
pub struct PortalApps<'p, 'b, const APPS: usize, const PLACES: usize, const QUEUE: usize> {
    pub(super) portal: &'p Portal<'b, APPS, PLACES>,
    pub(super) seats: [Seat; APPS],
    /// The place of the screen.
    pub(super) screen: Option<usize>,
    pub(super) steps: Deque<Step, STEPS_MAX>,
    /// What the agent was given last, until it asks for more.
    pub(super) lent: Lent<'p>,
    /// The subtopic and the `id` of the message that the agent is at work on.
    pub(super) subtopic: Option<Subtopic>,
    pub(super) id: FrameId,
    pub(super) texts: &'p mut KeptTexts<QUEUE>,
    /// One that came before it was known which one is dropped for it.
    pub(super) newest: Option<Waiting>,
    pub(super) popup: Option<ShownPopup>,
    /// The place that is looked at next.
    pub(super) turn: usize,
}

/// The place of one app.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seat {
    pub(super) place: Option<usize>,
    /// The place of the socket that takes over once the other has ended.
    pub(super) next: Option<usize>,
    /// Whether the app has the screen, or will once it has loaded.
    pub(super) shown: bool,
    pub(super) loaded: bool,
    pub(super) asking: Asking,
}

/// How far the app's `getPendingNotifications` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Asking {
    /// There is none.
    #[default]
    Not,
    /// It waits until nothing else waits to be written, as it needs all the room there is.
    ForRoom {
        /// The app confirms what it has taken.
        confirm: bool,
        /// It has those up to this number already.
        after: Option<u64>,
    },
    /// It waits until the answer is written.
    ForItsEnd,
}

/// A message that waits for the broker.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) slot: AppSlot,
    pub(super) id: FrameId,
}

/// A message that goes with receipts.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) ticket: u64,
    pub(super) slot: AppSlot,
    pub(super) id: FrameId,
    /// Its fate, if it is known and the app was not there to be told.
    pub(super) untold: Option<Fate>,
}

/// The popup on screen, for sockets that come while it is there. Its content is not kept.
#[derive(Debug)]
pub(super) struct ShownPopup {
    pub(super) number: u64,
    pub(super) slot: AppSlot,
    pub(super) button: bool,
}

/// One thing for the agent to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A message for the partner: these bytes of the frame of this place.
    Send {
        place: usize,
        slot: AppSlot,
        start: usize,
        len: usize,
        /// It is to go with receipts.
        receipts: bool,
    },
    /// The numbers of messages that are confirmed, in the same way.
    Confirm {
        place: usize,
        slot: AppSlot,
        start: usize,
        len: usize,
    },
    /// The first message that was not written to this place.
    Return { place: usize, slot: AppSlot },
    /// Anything else.
    Other(Request<'static>),
}

/// What the agent was given, and where it lies.
pub(super) enum Lent<'p> {
    /// Nothing.
    Nothing,
    /// The content of a frame.
    Content {
        place: usize,
        slot: AppSlot,
        content: Ref<'p, [u8]>,
        receipts: bool,
    },
    /// Numbers in a frame.
    Numbers {
        place: usize,
        slot: AppSlot,
        numbers: Ref<'p, str>,
    },
    /// A message that was not written.
    Message {
        place: usize,
        slot: AppSlot,
        number: u64,
        message: Ref<'p, [u8]>,
    },
    /// A request that needs nothing else.
    Other(Request<'static>),
}

impl<'p, 'b, const APPS: usize, const PLACES: usize, const QUEUE: usize>
    PortalApps<'p, 'b, APPS, PLACES, QUEUE>
{
    pub(super) fn new(
        portal: &'p Portal<'b, APPS, PLACES>,
        texts: &'p mut KeptTexts<QUEUE>,
    ) -> Self {
        Self {
            portal,
            seats: [Seat::default(); APPS],
            screen: None,
            steps: Deque::new(),
            lent: Lent::Nothing,
            subtopic: None,
            id: FrameId::new(),
            texts,
            newest: None,
            popup: None,
            turn: 0,
        }
    }

    pub(super) fn place(&self, index: usize) -> Option<&'p Place<'b>> {
        self.portal.places.get(index)
    }

    pub(super) fn seat(&mut self, slot: AppSlot) -> Option<&mut Seat> {
        self.seats.get_mut(usize::from(slot.index()))
    }

    /// The place of an app's socket.
    pub(super) fn app_place(&self, slot: AppSlot) -> Option<&'p Place<'b>> {
        let seat = self.seats.get(usize::from(slot.index()))?;
        self.place(seat.place?)
    }

    pub(super) fn screen_place(&self) -> Option<&'p Place<'b>> {
        self.place(self.screen?)
    }

    pub(super) fn app_id(&self, slot: AppSlot) -> &'p str {
        let app = self.portal.apps.get(usize::from(slot.index()));
        app.map_or("", |app| app.as_str())
    }

    pub(super) fn push_step(&mut self, request: Request<'static>) {
        let pushed = self.steps.push_back(Step::Other(request));
        debug_assert!(pushed.is_ok(), "one event makes so many requests");
    }

    /// Takes back what the agent was given; it is done with it.
    pub(super) fn take_back(&mut self) {
        match core::mem::replace(&mut self.lent, Lent::Nothing) {
            Lent::Nothing | Lent::Other(_) => {}
            Lent::Content { place, .. } | Lent::Numbers { place, .. } => {
                if let Some(place) = self.place(place) {
                    place.take_mail();
                }
            }
            Lent::Message { place, message, .. } => {
                drop(message);
                if let Some(place) = self.place(place) {
                    place.outbox.borrow_mut().returned();
                }
            }
        }
    }

    /// The next thing for the agent to do, if a socket has any.
    pub(super) fn next_step(&mut self) -> Option<Step> {
        for _ in 0..PLACES {
            if !self.steps.is_empty() {
                break;
            }
            let index = self.turn;
            self.turn = (index + 1) % PLACES;
            self.look_at(index);
        }
        self.steps.pop_front()
    }

    fn look_at(&mut self, index: usize) {
        let Some(place) = self.place(index) else {
            return;
        };
        match place.phase.get() {
            Phase::Free | Phase::Opening | Phase::Queued(_) => {}
            Phase::Opened(peer @ Peer::App { slot, .. }) => self.open(index, slot, peer),
            Phase::Opened(Peer::Screen) => self.open_screen(index),
            Phase::Seated(peer) => {
                if let Peer::App { slot, .. } = peer {
                    if place.outbox.borrow_mut().has_more_room() {
                        return self.push_step(Request::Room(slot));
                    }
                    self.go_on_with_list(place, slot);
                }
                if let Mail::Waiting(len) = place.mail.get() {
                    self.handle_mail(index, peer, len);
                }
            }
            Phase::Gone(Peer::App { slot, .. }) => self.clear(index, slot),
            Phase::Gone(Peer::Screen) => {
                self.screen.take_if(|screen| *screen == index);
                self.free(index);
            }
        }
    }

    fn open(&mut self, index: usize, slot: AppSlot, peer: Peer) {
        let Some(place) = self.place(index) else {
            return;
        };
        let Some(seat) = self.seat(slot) else {
            return place.end(Ending::NotLoaded);
        };
        let Some(old) = seat.place else {
            return self.sit_down(index, slot, peer);
        };
        let replaced = seat.next.replace(index);
        place.phase.set(Phase::Queued(peer));
        for old in [Some(old), replaced].into_iter().flatten() {
            if let Some(old) = self.place(old) {
                old.end(Ending::TakenOver);
            }
        }
    }

    /// Gives an empty seat to a socket: its app is launched, and shown as the driver would see it.
    fn sit_down(&mut self, index: usize, slot: AppSlot, peer: Peer) {
        let Peer::App {
            background,
            confirms,
            ..
        } = peer
        else {
            return;
        };
        let (Some(place), Some(seat)) = (self.place(index), self.seat(slot)) else {
            return;
        };
        *seat = Seat {
            place: Some(index),
            shown: !background,
            ..Seat::default()
        };
        place.phase.set(Phase::Seated(peer));
        let value = Welcome {
            app: self.app_id(slot),
            vin: self.portal.vin.as_str(),
            link_up: self.portal.link_up.get(),
            confirming: confirms.then(|| (place.frame_bytes_max(), self.portal.settings.life)),
        };
        tell(place, &ServerFrame::new(kind::WELCOME).with_value(&value));
        if self.popup.as_ref().is_some_and(|popup| popup.slot == slot) {
            self.show_popup_to(place);
        }
        self.tell_untold(slot);
        self.push_step(Request::Launched(slot));
        if !background {
            self.push_step(Request::Shown(slot));
        }
    }

    /// Takes back what was not written to a socket that is gone, and then gives its seat away.
    fn clear(&mut self, index: usize, slot: AppSlot) {
        let Some(place) = self.place(index) else {
            return;
        };
        let Some(seat) = self.seat(slot) else {
            return self.free(index);
        };
        seat.next.take_if(|next| *next == index);
        if seat.place != Some(index) {
            return self.free(index);
        }
        if place.outbox.borrow_mut().find_unwritten() {
            let pushed = self.steps.push_back(Step::Return { place: index, slot });
            return debug_assert!(pushed.is_ok(), "nothing else is to be done");
        }
        let next = seat.next;
        *seat = Seat::default();
        self.free(index);
        self.push_step(Request::Unloaded(slot));
        self.tell_screen(Lifecycle::Unload, slot);
        let next = next.and_then(|next| self.place(next).map(|place| (next, place)));
        if let Some((next, place)) = next
            && let Phase::Queued(peer) = place.phase.get()
        {
            self.sit_down(next, slot, peer);
        }
    }

    fn open_screen(&mut self, index: usize) {
        let Some(place) = self.place(index) else {
            return;
        };
        place.phase.set(Phase::Seated(Peer::Screen));
        let apps = self.portal.apps.iter().zip(&self.seats);
        let value = ScreenWelcome {
            vin: self.portal.vin.as_str(),
            link_up: self.portal.link_up.get(),
            apps: apps.map(|(app, seat)| {
                let running = seat.place.is_some();
                (app.as_str(), running, running && seat.shown)
            }),
        };
        tell(place, &ServerFrame::new(kind::WELCOME).with_value(&value));
        self.show_popup_to(place);
        let old = self.screen.replace(index);
        if let Some(old) = old.and_then(|old| self.place(old)) {
            old.end(Ending::TakenOver);
        }
    }

    /// Makes a place ready for the next socket and counts what became of the last one.
    fn free(&self, index: usize) {
        let Some(place) = self.place(index) else {
            return;
        };
        {
            let outbox = place.outbox.borrow();
            let counters = &self.portal.counters;
            if outbox.ending() == Some(Ending::SlowReader) {
                counters.count(|counters| &mut counters.slow_readers);
            }
            counters.add(|counters| &mut counters.evicted, outbox.evicted());
        }
        place.free();
    }

    /// Tells an app and the screen what happened to the app.
    pub(super) fn tell_lifecycle(&self, event: Lifecycle, slot: AppSlot) {
        if let Some(place) = self.app_place(slot) {
            tell(place, &ServerFrame::new(event.name()));
        }
        self.tell_screen(event, slot);
    }

    fn tell_screen(&self, event: Lifecycle, slot: AppSlot) {
        if let Some(screen) = self.screen_place() {
            let value = AppIdValue(self.app_id(slot));
            tell(screen, &ServerFrame::new(event.name()).with_value(&value));
        }
    }

    fn show_popup_to(&self, place: &Place<'_>) {
        if let Some(popup) = &self.popup {
            let value = PopupShown {
                app: self.app_id(popup.slot),
                button: popup.button,
                text: &self.texts.popup,
                content: None,
            };
            let frame = ServerFrame::new(kind::POPUP_SHOW).with_value(&value);
            tell(place, &frame);
        }
    }
}

/// Has a frame written to a socket.
pub(super) fn tell(place: &Place<'_>, frame: &ServerFrame<'_>) {
    place.outbox.borrow_mut().push_notice(frame);
    place.to_write.signal(());
}

impl<const APPS: usize, const PLACES: usize, const QUEUE: usize> core::fmt::Debug
    for PortalApps<'_, '_, APPS, PLACES, QUEUE>
{
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PortalApps")
            .field("seats", &self.seats)
            .field("waiting", &self.texts.waiting.len())
            .finish_non_exhaustive()
    }
}
