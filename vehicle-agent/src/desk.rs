//! Everything the agent knows, and what each event makes of it, without any waiting.
//!
//! The [`Desk`] joins the portal, which decides who gets a downlink message, and the uplink queue,
//! which keeps what apps send until the broker has it. It knows no link: the loop in
//! [`crate::agent`] brings it events and publishes what waits at `Desk::front`. Here is what each event does;
//! `handover` is what apps get as there is room, `uplink` the way of their own messages.
//! Those with receipts arrive in `to_apps`, `handing` knows those that an app has yet to read, and `with_receipts` is all else
//! that becomes of them.
//!
//! Invariants: every message an app was told is accepted is in the queue, delivered, dropped or
//! refused, and the app is told which; nothing is handed to an app but by the portal's verdict.

mod delivery_counters;
#[cfg(feature = "notes")]
mod handing;
#[cfg(not(feature = "notes"))]
#[path = "desk/handing_absent.rs"]
mod handing;
mod handover;
mod health;
#[cfg(feature = "parts")]
mod parts;
#[cfg(not(feature = "parts"))]
#[path = "desk/parts_absent.rs"]
mod parts;
#[cfg(feature = "requests")]
mod requests;
#[cfg(not(feature = "requests"))]
#[path = "desk/requests_absent.rs"]
mod requests;
mod to_apps;
mod uplink;
mod with_receipts;

use heapless::Deque;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::Step;
use vinbus_protocol::envelope::{AppMessage, EnvelopeReason};
use vinbus_protocol::id::{AppId, Uid};
use vinbus_protocol::pending::PendingRing;
use vinbus_protocol::portal::{
    AppEvent, Disposition, Handover, InstallError, Output, PopupAnswer, Portal, PortalCounters,
    Refusal,
};
use vinbus_protocol::uplink_queue::{DropPolicy, UplinkQueue};

use self::requests::Requests;
use self::with_receipts::NoteAgain;
use crate::apps::{Apps, Notice, Request, SendRefusal};
use crate::clock::NEVER;
use crate::health::Rounds;
use crate::identity::Identity;
use crate::receipts::Receipts;

pub use delivery_counters::DeliveryCounters;
pub(crate) use with_receipts::{Frame, FrameKind};

/// A buffer of fixed size.
pub trait Storage: AsRef<[u8]> + AsMut<[u8]> {}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Storage for T {}

/// What the agent has seen since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions that came up.
    pub sessions: u64,
    /// Messages that arrived, whatever became of them.
    pub received: u64,
    /// Messages that arrived on a topic that is not this vehicle's downlink: dropped.
    pub foreign_topics: u64,
    /// Messages that arrived and are larger than a payload may be, which the portal counts as well
    /// among those that are no envelopes.
    pub oversize: u64,
    /// Messages of apps taken in.
    pub uplinks_accepted: u64,
    /// Messages of apps refused at once; the app was told why.
    pub uplinks_refused: u64,
    /// Messages of apps that are with the broker.
    pub uplinks_delivered: u64,
    /// Messages of apps dropped for newer ones while they waited.
    pub uplinks_dropped: u64,
    /// Messages of apps that the broker refused.
    pub uplinks_refused_by_broker: u64,
    /// Parts of long messages that are stored, without the last of each.
    pub parts_stored: u64,
    /// Parts of long messages that were refused; their senders were told why.
    pub parts_refused: u64,
    /// Long messages of which some parts came and the next one did not.
    pub long_abandoned: u64,
    /// What became of the downlink messages.
    pub portal: PortalCounters,
}

/// Why a message that arrived reached no app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownlinkRefusal {
    /// Its topic is not a downlink topic of this vehicle.
    ForeignTopic,
    /// The portal refused it.
    Portal(Refusal),
}

impl core::fmt::Display for DownlinkRefusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::ForeignTopic => f.write_str("the topic is not a downlink topic of this vehicle"),
            Self::Portal(refusal) => refusal.fmt(f),
        }
    }
}

impl core::error::Error for DownlinkRefusal {}

/// Up to `APPS` apps and `QUEUE` waiting uplink messages, over buffers `S` and `Q`; of the messages with
/// receipts, up to `SENT` are on their way to each partner, of at most [`DELIVERY_IN_FLIGHT_MAX`].
///
/// [`DELIVERY_IN_FLIGHT_MAX`]: vinbus_protocol::limits::DELIVERY_IN_FLIGHT_MAX
#[derive(Debug)]
pub struct Desk<S, Q, const APPS: usize, const QUEUE: usize, const SENT: usize> {
    identity: Identity<APPS>,
    portal: Portal<S, APPS>,
    uplinks: UplinkQueue<Q, QUEUE>,
    /// Who sent the messages in `uplinks`, in the same order.
    senders: Deque<AppSlot, QUEUE>,
    /// For each app, the number of the next message that [`Apps::kept`] is told of.
    untold: heapless::Vec<u64, APPS>,
    /// The app in the foreground some of whose messages wait for room, and the number of the first.
    short: Option<(AppSlot, u64)>,
    counters: Counters,
    health: Rounds,
    receipts: Option<Receipts<Q, APPS, SENT>>,
    requests: Option<Requests<S>>,
    /// Where a message with receipts is put together as its sender wrote it.
    scratch: Option<S>,
    /// Nothing leaves from the next call on before this, as something could not be noted.
    note_again: Option<NoteAgain>,
}

/// What is left to do for a request once it is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Nothing.
    Nothing,
    /// Answer a [`Request::Send`], and tell who lost a message for it.
    Answer {
        slot: AppSlot,
        outcome: Result<u32, SendRefusal>,
    },
    /// Tell that a [`Request::Send`] was accepted, to go with receipts.
    Accept { slot: AppSlot, ticket: u64 },
    /// Hand out the pending messages.
    HandOut { slot: AppSlot, keep: bool },
}

impl<S: Storage, Q: Storage, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Desk<S, Q, APPS, QUEUE, SENT>
{
    /// A vehicle without apps whose head unit is active. `popups` holds the popups that wait,
    /// `uplinks` the messages to the partners; `policy` says which go when it is full.
    pub fn new(identity: Identity<APPS>, popups: S, uplinks: Q, policy: DropPolicy) -> Self {
        let mut portal = Portal::new(popups);
        portal.handle_nac(0, true);
        Self {
            identity,
            portal,
            uplinks: UplinkQueue::new(uplinks, policy),
            senders: Deque::new(),
            untold: heapless::Vec::new(),
            short: None,
            counters: Counters::default(),
            health: Rounds::new(),
            receipts: None,
            requests: None,
            scratch: None,
            note_again: None,
        }
    }

    /// Adds an app of a partner; `pending` holds its messages while it is not in the foreground.
    ///
    /// # Errors
    /// An [`InstallError`].
    pub fn install(&mut self, app: AppId, uid: &Uid, pending: S) -> Result<AppSlot, InstallError> {
        let slot = self.portal.install(app, uid.clone(), pending)?;
        // There are no more partners than apps, and this app has found its place.
        let added = self.identity.add(uid);
        let told = self.untold.push(0);
        debug_assert!(added && told.is_ok(), "as many as apps fit");
        Ok(slot)
    }

    /// Who the vehicle is.
    pub fn identity(&self) -> &Identity<APPS> {
        &self.identity
    }

    /// The portal, for a look.
    pub fn portal(&self) -> &Portal<S, APPS> {
        &self.portal
    }

    /// Uplink messages that wait for the broker.
    pub fn waiting(&self) -> usize {
        self.uplinks.len()
    }

    /// Takes up a pending message, of an earlier life or at the end of this one: an encoded
    /// [`AppMessage`] and its number, by which it finds its place. What does not decode, or does not
    /// fit, is left out.
    pub fn restore_pending(&mut self, slot: AppSlot, number: u64, message: &[u8]) {
        self.take_back(0, slot, number, message);
    }

    /// Leaves out the numbers below `number` for an app's messages, as [`Portal::skip_numbers`] does.
    pub fn skip_pending_numbers(&mut self, slot: AppSlot, number: u64) {
        self.portal.skip_numbers(slot, number);
    }

    /// What has been seen so far.
    pub fn counters(&self) -> Counters {
        Counters {
            portal: *self.portal.counters(),
            ..self.counters
        }
    }

    /// The same of messages with receipts on the wire.
    fn delivery_counters(&self) -> DeliveryCounters {
        let receipts = self.receipts.as_ref();
        receipts.map_or_else(DeliveryCounters::default, Receipts::counters)
    }

    /// Notes that a session came up.
    pub(crate) fn session_came_up(&mut self, now_ms: u64) {
        self.counters.sessions += 1;
        self.health.session_came_up();
        if let Some(receipts) = &mut self.receipts {
            receipts.link_changed(now_ms, true);
        }
    }

    /// Notes that a session is over.
    pub(crate) fn session_ended(&mut self, now_ms: u64) {
        if let Some(receipts) = &mut self.receipts {
            receipts.link_changed(now_ms, false);
        }
    }

    /// Takes a message that arrived.
    pub(crate) fn handle_received(
        &mut self,
        now_ms: u64,
        topic: &str,
        payload: &[u8],
        apps: &mut impl Apps,
    ) {
        self.counters.received += 1;
        let Some(uid) = self.identity.speaker(topic) else {
            self.counters.foreign_topics += 1;
            return apps.downlink_refused(topic, DownlinkRefusal::ForeignTopic);
        };
        self.look_for_room(apps);
        if self.took_with_receipts(now_ms, topic, &uid, payload, apps) {
            return;
        }
        match self.portal.handle_downlink(now_ms, &uid, payload) {
            Ok(Disposition::Deliver {
                slot,
                number,
                content,
            }) => {
                apps.deliver(slot, number, AppMessage::Data(content));
            }
            Ok(Disposition::Pending { slot, .. }) => {
                self.note_if_short(slot, apps);
                self.report_evicted(now_ms, slot);
            }
            Ok(Disposition::PopupQueued { .. }) => {}
            Err(refusal) => {
                if let Refusal::Envelope(error) = refusal
                    && let EnvelopeReason::TooLarge { .. } = error.reason
                {
                    self.counters.oversize += 1;
                }
                apps.downlink_refused(topic, DownlinkRefusal::Portal(refusal));
            }
        }
    }

    /// Takes a request, which is let go before [`Desk::finish`] is called with the result.
    pub(crate) fn handle_request(&mut self, now_ms: u64, request: &Request<'_>) -> Todo {
        match *request {
            Request::Send {
                slot,
                subtopic,
                content,
                receipts,
            } => return self.take(slot, subtopic, content, receipts),
            Request::Answer { slot, id, content } => {
                let outcome = self.enqueue_answer(now_ms, slot, id, content);
                return Todo::Answer { slot, outcome };
            }
            Request::TakePending { slot, keep } => return Todo::HandOut { slot, keep },
            Request::ConfirmPending { slot, upto } => {
                self.portal.confirm(slot, upto);
                self.report_gone(now_ms, slot, Step::Confirmed);
            }
            Request::ConfirmEach { slot, numbers } => {
                for number in numbers.each().flatten() {
                    self.portal.confirm_one(slot, number);
                }
                self.report_gone(now_ms, slot, Step::Confirmed);
            }
            Request::Return {
                slot,
                number,
                message,
            } => {
                self.take_back(now_ms, slot, number, message);
            }
            #[cfg(feature = "notes")]
            Request::Written { slot, number } => self.take_written(now_ms, slot, number),
            // What waits is handed over, or told, when all is settled.
            Request::Room(_) => {}
            Request::Launched(slot) => self.handle_app(now_ms, slot, AppEvent::Launched),
            Request::Loaded(slot) => self.handle_app(now_ms, slot, AppEvent::Loaded),
            Request::Shown(slot) => self.handle_app(now_ms, slot, AppEvent::Shown),
            Request::Hidden(slot) => self.handle_app(now_ms, slot, AppEvent::Hidden),
            Request::Unloaded(slot) => {
                self.unloaded(now_ms, slot);
                self.handle_app(now_ms, slot, AppEvent::Unloaded);
            }
            Request::Nac { active } => self.portal.handle_nac(now_ms, active),
            Request::PopupAnswered { number, ok } => {
                let answer = if ok {
                    PopupAnswer::Ok
                } else {
                    PopupAnswer::Cancel
                };
                self.portal.handle_popup_answer(now_ms, number, answer);
            }
        }
        Todo::Nothing
    }

    /// Does what a request left to do.
    pub(crate) fn finish(&mut self, now_ms: u64, todo: Todo, apps: &mut impl Apps) {
        let (slot, outcome) = match todo {
            Todo::Nothing => return,
            Todo::Answer { slot, outcome } => (slot, outcome),
            Todo::Accept { slot, ticket } => {
                match self.finish_accepting(now_ms, slot, ticket, apps) {
                    Ok(()) => return,
                    Err(refusal) => (slot, Err(refusal)),
                }
            }
            Todo::HandOut { slot, keep } => {
                if !keep && self.would_hand_too_many(slot) {
                    return self.hand_out_later(slot, apps);
                }
                if !keep {
                    self.note_taken(now_ms, slot, |_| true, apps);
                }
                // From here on they are handed out when the app asks.
                if self.short.is_some_and(|(short, _)| short == slot) {
                    self.end_short(now_ms);
                }
                apps.hand_out(slot, self.portal.hand_out(slot), keep);
                if !keep {
                    self.portal.confirm(slot, u64::MAX);
                    self.report_requests_gone(now_ms, slot, Step::Taken);
                }
                return;
            }
        };
        self.note_answer(apps);
        apps.answer(slot, outcome.map(|_| ()));
        if let Ok(dropped) = outcome {
            self.tell_dropped(dropped, apps);
            self.push_sender(slot);
        }
    }

    /// Does what the portal wants done now.
    pub(crate) fn settle(&mut self, now_ms: u64, apps: &mut impl Apps) {
        self.expire(now_ms, apps);
        self.tell_unwritten(now_ms);
        self.drop_abandoned(now_ms);
        self.expire_requests(now_ms, apps);
        self.tell_settled(apps);
        // What fails is tried again before anything is sent.
        let _ = self.note_back(now_ms, apps);
        let _ = self.note_ended(apps);
        loop {
            self.look_for_room(apps);
            let Some(output) = self.portal.poll_output(now_ms) else {
                break;
            };
            match output {
                Output::ShowPopup {
                    slot,
                    number,
                    popup,
                } => {
                    apps.tell(slot, Notice::PopupShown { number, popup });
                }
                Output::ClosePopup {
                    slot,
                    number,
                    action,
                    deliver,
                } => {
                    apps.tell(slot, Notice::PopupClosed { number, action });
                    match deliver {
                        Some(Handover { number, message }) => apps.deliver(slot, number, message),
                        None => {
                            self.note_if_short(slot, apps);
                            self.report_evicted(now_ms, slot);
                        }
                    }
                }
                Output::PopupOverflow { slot, refused } => {
                    apps.tell(slot, Notice::PopupOverflow { refused });
                }
                Output::HideApp { slot } => apps.tell(slot, Notice::Hide),
                Output::CloseApp { slot } => apps.tell(slot, Notice::NotLoaded),
            }
        }
        self.hand_over_kept(now_ms, apps);
        self.tell_kept(apps);
        apps.counted(&self.counters(), || self.delivery_counters());
    }

    /// When [`Desk::settle`] is to be called at the latest.
    pub(crate) fn deadline_ms(&self, now_ms: u64) -> u64 {
        let receipts = self.receipts.as_ref();
        let receipts_ms = receipts.map_or(NEVER, |receipts| receipts.expiry_ms(now_ms));
        let portal_ms = self.portal.poll_deadline().unwrap_or(NEVER);
        portal_ms.min(receipts_ms).min(self.requests_deadline_ms())
    }

    fn uid(&self, slot: AppSlot) -> Option<&Uid> {
        self.portal
            .apps()
            .find(|app| app.slot == slot)
            .map(|app| app.uid)
    }

    /// Keeps a message for an app that it did not reach. What does not decode was never handed out.
    fn take_back(&mut self, now_ms: u64, slot: AppSlot, number: u64, message: &[u8]) {
        if let Ok(message) = AppMessage::decode_long(message) {
            // A refusal is counted by the portal; there is nobody left to tell.
            let kept = self
                .portal
                .handle_undelivered(now_ms, slot, number, &message);
            if let Ok(kept) = kept {
                self.request_came_back(now_ms, slot, kept.number);
            }
            self.came_back(now_ms, slot, number);
            self.report_evicted(now_ms, slot);
        }
    }

    fn handle_app(&mut self, now_ms: u64, slot: AppSlot, event: AppEvent) {
        // An ignored report is counted by the portal; the app's next event puts it right.
        let _ = self.portal.handle_app(now_ms, slot, event);
    }
}

/// The number of the newest pending message of an app.
fn newest<S: Storage, const APPS: usize>(portal: &Portal<S, APPS>, slot: AppSlot) -> u64 {
    next_number(portal, slot).saturating_sub(1)
}

/// The number of the next message of an app.
fn next_number<S: Storage, const APPS: usize>(portal: &Portal<S, APPS>, slot: AppSlot) -> u64 {
    let pending = portal.pending(slot);
    pending.map_or(0, PendingRing::next_number)
}
