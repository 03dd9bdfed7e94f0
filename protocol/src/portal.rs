//! The in-car portal: which app is in the foreground, who gets a message now, whose messages wait,
//! and when popups are on screen.
//!
//! "If the NAC module is active and your application is launched (not in background), then we are
//! in the Foreground case": its messages are handed over at once. Else the last 10 are kept for
//! `getPendingNotifications`.
//!
//! The portal does no input or output and reads no clock. It never hands a message to an app other
//! than the one named in it, nor one that came from another partner than the app's.
//!
//! Start at [`Portal`]. [`lifecycle`] holds the app's states, [`verdict`] what the portal answers.

pub mod lifecycle;
pub mod verdict;

mod app;

use heapless::Vec;

use self::app::{App, app_mut, slot_of, slots, slots_mut};
pub use self::lifecycle::{AppEvent, AppState};
pub use self::verdict::{
    AppEventError, Disposition, Handover, InstallError, Output, PopupAnswer, PortalCounters,
    Refusal,
};
use crate::app_slot::AppSlot;
use crate::envelope::{AppMessage, Content, Downlink, DownlinkBody, Popup, PopupAction};
use crate::id::{AppId, Uid};
use crate::pending::{PendingRing, Pushed};
use crate::popup::{PopupQueue, PopupRefusal, PopupStep};
use crate::record_ring::{Record, TooLarge, Usage};
use crate::request::RequestId;

/// The portal of a vehicle with up to `APPS` apps.
///
/// # Calling order
/// 1. [`new`](Self::new), then [`install`](Self::install) for each app.
/// 2. On each input its `handle_*` method, with the time in milliseconds of any clock. A clock that
///    is set back does no harm: the time since then counts as not having passed.
/// 3. After each input, and when the [`poll_deadline`](Self::poll_deadline) has come,
///    [`poll_output`](Self::poll_output) until it returns `None`; do what it says.
/// 4. When an app asks for its pending messages: [`drain`](Self::drain), or
///    [`hand_out`](Self::hand_out) and [`confirm`](Self::confirm) where handing over can fail.
///
/// # States of an app
///
/// | state \ event | launched | loaded | shown | hidden | unloaded | 10 s since launch |
/// |---|---|---|---|---|---|---|
/// | stopped | loading | ignored | ignored | ignored | ignored | – |
/// | loading | loading, 10 s anew | hidden | loading, shown | – | stopped | stopped, closed |
/// | loading, shown | loading, 10 s anew | shown | – | loading | stopped | stopped, closed |
/// | hidden | loading, 10 s anew | – | shown | – | stopped | – |
/// | shown | loading, 10 s anew | – | – | hidden | stopped | – |
///
/// An app that is shown while another has the screen hides that one, which is told. An app is in
/// the foreground while it is *shown* and the NAC module is active. It then gets new messages at
/// once, even before it has asked for its pending ones, which survive every event. Popups are shown
/// over any module, whatever the apps and the NAC module do; [`crate::popup`] has their table.
///
/// ```
/// use vinbus_protocol::id::{AppId, Uid};
/// use vinbus_protocol::portal::{AppEvent, Disposition, Portal};
///
/// let uid = Uid::parse("MY_UID")?;
/// let mut portal: Portal<[u8; 1024], 4> = Portal::new([0; 1024]);
/// let slot = portal.install(AppId::parse("weather")?, uid.clone(), [0; 1024])?;
///
/// let payload = br#"{"idApp":"weather","popup":false,"content":{"sun":true}}"#;
/// let kept = portal.handle_downlink(0, &uid, payload)?;
/// assert_eq!(kept, Disposition::Pending { slot, evicted: 0 });
///
/// portal.handle_nac(1, true);
/// for event in [AppEvent::Launched, AppEvent::Loaded, AppEvent::Shown] {
///     portal.handle_app(2, slot, event)?;
/// }
/// portal.drain(slot, |message| assert_eq!(message.bytes, br#"{"content":{"sun":true}}"#));
/// let now = portal.handle_downlink(3, &uid, payload)?;
/// assert!(matches!(now, Disposition::Deliver { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Portal<S, const APPS: usize> {
    apps: Vec<App<S>, APPS>,
    popups: PopupQueue<S>,
    nac_active: bool,
    /// The latest time given; nothing has been given yet while `None`.
    now_ms: Option<u64>,
    counters: PortalCounters,
}

/// An installed app, for a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstalledApp<'a> {
    /// Its place.
    pub slot: AppSlot,
    /// Its identifier, the `idApp` of its messages.
    pub id: &'a AppId,
    /// The partner it belongs to.
    pub uid: &'a Uid,
    /// What it is doing.
    pub state: AppState,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>, const APPS: usize> Portal<S, APPS> {
    /// A portal without apps, with the NAC module inactive.
    /// [`popup::storage_bytes_for`](crate::popup::storage_bytes_for) says how much storage for
    /// popups never runs short.
    #[must_use]
    pub fn new(popup_storage: S) -> Self {
        const { assert!(APPS <= 256, "a slot is one byte") };
        Self {
            apps: Vec::new(),
            popups: PopupQueue::new(popup_storage),
            nac_active: false,
            now_ms: None,
            counters: PortalCounters::default(),
        }
    }

    /// Adds an app, which is stopped and has no pending messages.
    /// [`pending::storage_bytes_for`](crate::pending::storage_bytes_for) says how much storage for
    /// them never runs short.
    ///
    /// # Errors
    /// An [`InstallError`].
    pub fn install(
        &mut self,
        app: AppId,
        uid: Uid,
        pending_storage: S,
    ) -> Result<AppSlot, InstallError> {
        if let Some(slot) = self.slot(&app) {
            return Err(InstallError::Duplicate { slot });
        }
        let slot = AppSlot::new(self.apps.len() as u8);
        self.apps
            .push(App::new(app, uid, pending_storage))
            .map_err(|_| InstallError::TableFull { max: APPS })?;
        Ok(slot)
    }

    /// Takes note whether the NAC module is active.
    pub fn handle_nac(&mut self, now_ms: u64, active: bool) {
        self.advance(now_ms);
        self.nac_active = active;
    }

    /// Takes note how many bytes an encoded [`AppMessage`] may have that is handed to an app now, any
    /// number at first. A longer one is kept as if the app were not in the foreground: so an app that
    /// reads slowly loses nothing.
    pub fn handle_room(&mut self, slot: AppSlot, bytes: usize) {
        if let Some(app) = app_mut(&mut self.apps, slot) {
            app.room = bytes;
        }
    }

    /// Takes a downlink message that arrived on a topic of `uid`.
    ///
    /// # Errors
    /// A [`Refusal`], which is counted. No app sees anything of the message then.
    pub fn handle_downlink<'p>(
        &mut self,
        now_ms: u64,
        uid: &Uid,
        payload: &'p [u8],
    ) -> Result<Disposition<'p>, Refusal> {
        self.advance(now_ms);
        let verdict = match Downlink::decode(payload) {
            Ok(message) => self.decide(uid, &message, payload),
            Err(error) => Err(Refusal::Envelope(error)),
        };
        self.count(&verdict);
        verdict
    }

    /// Takes data for an app that arrived from `uid`, where it was taken out of its envelope.
    ///
    /// # Errors
    /// A [`Refusal`], which is counted. No app sees anything of the message then.
    pub fn handle_data<'p>(
        &mut self,
        now_ms: u64,
        uid: &Uid,
        app: &AppId,
        content: Content<'p>,
    ) -> Result<Disposition<'p>, Refusal> {
        self.advance(now_ms);
        let verdict = self.decide_data(uid, app, content, AppMessage::Data);
        self.count(&verdict);
        verdict
    }

    /// Takes a request for an app, as [`handle_data`](Self::handle_data) takes data. The app gets it as
    /// [`AppMessage::Request`].
    ///
    /// # Errors
    /// A [`Refusal`], which is counted. No app sees anything of the request then.
    pub fn handle_request<'p>(
        &mut self,
        now_ms: u64,
        uid: &Uid,
        app: &AppId,
        id: RequestId,
        content: Content<'p>,
    ) -> Result<Disposition<'p>, Refusal> {
        self.advance(now_ms);
        let verdict = self.decide_data(uid, app, content, |content| AppMessage::Request {
            id,
            content,
        });
        self.count(&verdict);
        verdict
    }

    fn count(&mut self, verdict: &Result<Disposition<'_>, Refusal>) {
        let counters = &mut self.counters;
        let counter = match verdict {
            Ok(Disposition::Deliver { .. }) => &mut counters.delivered,
            Ok(Disposition::Pending { .. }) => &mut counters.pending,
            Ok(Disposition::PopupQueued { .. }) => &mut counters.popups_queued,
            Err(Refusal::Envelope(_)) => &mut counters.refused_envelope,
            Err(Refusal::UnknownApp) => &mut counters.refused_unknown_app,
            Err(Refusal::ForeignUid { .. }) => &mut counters.refused_foreign_uid,
            Err(Refusal::PopupOverflow { .. }) => &mut counters.popups_overflowed,
            Err(Refusal::TooLarge { .. }) => &mut counters.refused_too_large,
        };
        *counter += 1;
    }

    /// Takes back a message that was to be handed to an app which could not take it, for example
    /// because its connection broke, into the app's pending ring. `number` is the one that the message
    /// was handed over with: it takes its place by age, ahead of what arrived since, and is itself
    /// dropped where only newer ones have room ([`Pushed::kept`]). A number that was not given yet, of
    /// a message from an earlier life, is given to it.
    ///
    /// # Errors
    /// [`Refusal::UnknownApp`] when the slot is empty, [`Refusal::TooLarge`]; both are counted.
    pub fn handle_undelivered(
        &mut self,
        now_ms: u64,
        slot: AppSlot,
        number: u64,
        message: &AppMessage<'_>,
    ) -> Result<Pushed, Refusal> {
        self.advance(now_ms);
        let Some(app) = app_mut(&mut self.apps, slot) else {
            self.counters.refused_unknown_app += 1;
            return Err(Refusal::UnknownApp);
        };
        let kept = app.keep_as(number, message).map_err(|error| error.of(slot));
        match kept {
            Ok(_) => self.counters.pending += 1,
            Err(_) => self.counters.refused_too_large += 1,
        }
        kept
    }

    /// Takes a report about an app and returns the state it is in now.
    ///
    /// # Errors
    /// An [`AppEventError`]; the report is ignored and counted then.
    pub fn handle_app(
        &mut self,
        now_ms: u64,
        slot: AppSlot,
        event: AppEvent,
    ) -> Result<AppState, AppEventError> {
        self.advance(now_ms);
        let state = self.next_state(slot, event).inspect_err(|_| {
            self.counters.events_ignored += 1;
        })?;
        if event == AppEvent::Shown {
            self.hide_others(slot);
        }
        if let Some(app) = app_mut(&mut self.apps, slot) {
            app.enter(state, event);
        }
        Ok(state)
    }

    /// Takes the user's answer to popup `number`. Returns whether that popup is on screen; an answer
    /// that comes too late is counted and changes nothing.
    pub fn handle_popup_answer(&mut self, now_ms: u64, number: u64, answer: PopupAnswer) -> bool {
        self.advance(now_ms);
        let taken = self.popups.handle_answer(number, answer.into());
        if !taken {
            self.counters.answers_ignored += 1;
        }
        taken
    }

    /// What is to be done now; call it until it returns `None`.
    pub fn poll_output(&mut self, now_ms: u64) -> Option<Output<'_>> {
        self.advance(now_ms);
        if let Some(output) = self.poll_apps() {
            return Some(output);
        }
        match self.popups.poll()? {
            PopupStep::Show => self.show_popup(),
            PopupStep::Close(action) => self.close_popup(action),
        }
    }

    /// When [`Self::poll_output`] has something new to say, on the clock of the latest input;
    /// `None` when no time will do. A time that has passed already means: now.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<u64> {
        let apps = self.apps.iter().filter_map(App::next_output_in_ms);
        let left_ms = apps.chain(self.popups.next_step_in_ms()).min()?;
        Some(self.now_ms.unwrap_or(0).saturating_add(left_ms))
    }

    /// Hands out the pending messages of an app, oldest first, without removing them: encoded
    /// [`AppMessage`]s with their numbers. [`Self::confirm`] removes what the app has taken; what
    /// is not confirmed is handed out again. An empty slot has no messages.
    pub fn hand_out(&mut self, slot: AppSlot) -> impl Iterator<Item = Record<'_>> {
        let app = app_mut(&mut self.apps, slot).into_iter();
        app.flat_map(|app| app.pending.hand_out())
    }

    /// Takes note that an app was shown a pending message as it came, which counts as handed out;
    /// `false` if it is not there.
    pub fn mark_handed_out(&mut self, slot: AppSlot, number: u64) -> bool {
        app_mut(&mut self.apps, slot).is_some_and(|app| app.pending.mark_handed_out(number))
    }

    /// Removes the handed out messages of an app up to number `last`; returns how many.
    pub fn confirm(&mut self, slot: AppSlot, last: u64) -> usize {
        app_mut(&mut self.apps, slot).map_or(0, |app| app.pending.confirm(last))
    }

    /// Removes one message of an app, which it has taken, whatever waits in front of it; `false` if
    /// it is not there.
    pub fn confirm_one(&mut self, slot: AppSlot, number: u64) -> bool {
        app_mut(&mut self.apps, slot).is_some_and(|app| app.pending.confirm_one(number))
    }

    /// Leaves out those of the numbers below `number` that no message of an app has got yet: an earlier
    /// life has given them, and none is given twice.
    pub fn skip_numbers(&mut self, slot: AppSlot, number: u64) {
        if let Some(app) = app_mut(&mut self.apps, slot) {
            app.pending.skip_to(number);
        }
    }

    /// Hands out and removes the pending messages of an app in one step; returns how many.
    pub fn drain(&mut self, slot: AppSlot, take: impl FnMut(Record<'_>)) -> usize {
        app_mut(&mut self.apps, slot).map_or(0, |app| app.pending.drain(take))
    }

    /// The pending messages of an app, for a look.
    #[must_use]
    pub fn pending(&self, slot: AppSlot) -> Option<&PendingRing<S>> {
        self.app(slot).map(|app| &app.pending)
    }

    /// The installed apps.
    pub fn apps(&self) -> impl Iterator<Item = InstalledApp<'_>> {
        slots(&self.apps).map(|(slot, app)| InstalledApp {
            slot,
            id: &app.id,
            uid: &app.uid,
            state: app.state,
        })
    }

    /// Where the app with this identifier is installed.
    #[must_use]
    pub fn slot(&self, app: &AppId) -> Option<AppSlot> {
        slot_of(&self.apps, app)
    }

    /// What an app is doing.
    #[must_use]
    pub fn state(&self, slot: AppSlot) -> Option<AppState> {
        self.app(slot).map(|app| app.state)
    }

    /// The app that is in the foreground.
    #[must_use]
    pub fn foreground(&self) -> Option<AppSlot> {
        slots(&self.apps)
            .find(|(_, app)| app.in_foreground(self.nac_active))
            .map(|(slot, _)| slot)
    }

    /// How full the memory of popups was.
    #[must_use]
    pub fn popups_usage(&self) -> Usage {
        self.popups.usage()
    }

    /// Popups that wait for their turn.
    #[must_use]
    pub fn popups_waiting(&self) -> usize {
        self.popups.waiting()
    }

    /// What the portal has seen.
    #[must_use]
    pub fn counters(&self) -> &PortalCounters {
        &self.counters
    }

    fn app(&self, slot: AppSlot) -> Option<&App<S>> {
        self.apps.get(usize::from(slot.index()))
    }

    /// Lets the time since the last input pass.
    fn advance(&mut self, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.now_ms.unwrap_or(now_ms));
        self.now_ms = Some(now_ms);
        self.popups.handle_elapsed(elapsed_ms);
        for app in &mut self.apps {
            if app.handle_elapsed(elapsed_ms) {
                self.counters.apps_closed += 1;
            }
        }
    }

    fn decide<'p>(
        &mut self,
        uid: &Uid,
        message: &Downlink<'p>,
        payload: &[u8],
    ) -> Result<Disposition<'p>, Refusal> {
        match &message.body {
            DownlinkBody::Data(content) => {
                self.decide_data(uid, &message.app, *content, AppMessage::Data)
            }
            DownlinkBody::Popup(popup) => {
                let (slot, _) = self.app_of(uid, &message.app)?;
                self.queue_popup(slot, popup, payload)
            }
        }
    }

    fn decide_data<'p>(
        &mut self,
        uid: &Uid,
        app: &AppId,
        content: Content<'p>,
        message: impl FnOnce(Content<'p>) -> AppMessage<'p>,
    ) -> Result<Disposition<'p>, Refusal> {
        let nac_active = self.nac_active;
        let (slot, app) = self.app_of(uid, app)?;
        let message = message(content);
        if app.takes(nac_active, &message) {
            let number = app.pending.pass();
            return Ok(Disposition::Deliver {
                slot,
                number,
                content,
            });
        }
        app.keep(&message)
            .map(|Pushed { evicted, .. }| Disposition::Pending { slot, evicted })
            .map_err(|error| error.of(slot))
    }

    /// The app with this identifier, if it belongs to the partner.
    fn app_of(&mut self, uid: &Uid, app: &AppId) -> Result<(AppSlot, &mut App<S>), Refusal> {
        let slot = self.slot(app).ok_or(Refusal::UnknownApp)?;
        let app = app_mut(&mut self.apps, slot).ok_or(Refusal::UnknownApp)?;
        if app.uid != *uid {
            return Err(Refusal::ForeignUid { slot });
        }
        Ok((slot, app))
    }

    fn queue_popup<'p>(
        &mut self,
        slot: AppSlot,
        popup: &Popup<'_>,
        payload: &[u8],
    ) -> Result<Disposition<'p>, Refusal> {
        let waiting = self.popups.waiting();
        let app = app_mut(&mut self.apps, slot).ok_or(Refusal::UnknownApp)?;
        // The outcome must find room later, whatever the user does, so that it is never lost.
        app.can_keep(&longest_outcome(popup))
            .map_err(|error| error.of(slot))?;
        match self.popups.push(payload) {
            Ok(()) => Ok(Disposition::PopupQueued { slot }),
            Err(PopupRefusal::TooLarge(error)) => Err(error.of(slot)),
            Err(PopupRefusal::QueueFull | PopupRefusal::BufferFull) => {
                app.popup_refused();
                Err(Refusal::PopupOverflow { slot, waiting })
            }
        }
    }

    fn next_state(&self, slot: AppSlot, event: AppEvent) -> Result<AppState, AppEventError> {
        let app = self.app(slot).ok_or(AppEventError::UnknownSlot)?;
        app.state.after(event).ok_or(AppEventError::NotLaunched)
    }

    fn hide_others(&mut self, shown: AppSlot) {
        let others = slots_mut(&mut self.apps).filter(|(slot, _)| *slot != shown);
        for (_, app) in others.filter(|(_, app)| app.state.has_screen()) {
            app.lose_screen();
        }
    }

    fn poll_apps(&mut self) -> Option<Output<'static>> {
        slots_mut(&mut self.apps).find_map(|(slot, app)| app.poll(slot))
    }

    fn show_popup(&mut self) -> Option<Output<'_>> {
        let record = self.popups.front()?;
        let (slot, popup) = parse_popup(&self.apps, record.bytes)?;
        self.counters.popups_shown += 1;
        Some(Output::ShowPopup {
            slot,
            number: record.number,
            popup,
        })
    }

    fn close_popup(&mut self, action: PopupAction) -> Option<Output<'_>> {
        let counter = match action {
            PopupAction::Ok => &mut self.counters.popups_ok,
            PopupAction::Cancel => &mut self.counters.popups_cancelled,
            PopupAction::Timeout => &mut self.counters.popups_timed_out,
        };
        *counter += 1;
        let record = self.popups.take_front()?;
        let (slot, popup) = parse_popup(&self.apps, record.bytes)?;
        let message = AppMessage::PopupOutcome {
            action,
            content: popup.content,
        };
        let app = app_mut(&mut self.apps, slot)?;
        let deliver = app.takes(self.nac_active, &message).then(|| Handover {
            number: app.pending.pass(),
            message,
        });
        match deliver {
            Some(_) => self.counters.delivered += 1,
            // Its length was checked when the popup was queued.
            None if app.keep(&message).is_ok() => self.counters.pending += 1,
            None => self.counters.refused_too_large += 1,
        }
        Some(Output::ClosePopup {
            slot,
            number: record.number,
            action,
            deliver,
        })
    }
}

impl TooLarge {
    fn of(self, slot: AppSlot) -> Refusal {
        let Self { len, max } = self;
        Refusal::TooLarge { slot, len, max }
    }
}

/// The outcome of a popup that takes the most bytes.
fn longest_outcome<'a>(popup: &Popup<'a>) -> AppMessage<'a> {
    const LONGEST: PopupAction = PopupAction::Cancel;
    const _: () = assert!(LONGEST.name().len() >= PopupAction::Ok.name().len());
    const _: () = assert!(LONGEST.name().len() >= PopupAction::Timeout.name().len());
    AppMessage::PopupOutcome {
        action: LONGEST,
        content: popup.content,
    }
}

fn parse_popup<'p, S>(apps: &[App<S>], payload: &'p [u8]) -> Option<(AppSlot, Popup<'p>)> {
    let message = Downlink::decode(payload).ok()?;
    let slot = slot_of(apps, &message.app)?;
    match message.body {
        DownlinkBody::Popup(popup) => Some((slot, popup)),
        DownlinkBody::Data(_) => None,
    }
}
