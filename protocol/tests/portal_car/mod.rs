//! A car whose time is virtual: a portal with two apps of one partner and one of another.

#![allow(dead_code, reason = "each test program uses its part")]

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::id::{AppId, Uid};
use vinbus_protocol::portal::{
    AppEvent, AppEventError, AppState, Disposition, Output, PopupAnswer, Portal, Refusal,
};

use AppEvent::{Launched, Loaded, Shown};

/// Two apps of one partner and one of another.
pub(crate) const A: AppSlot = AppSlot::new(0);
pub(crate) const B: AppSlot = AppSlot::new(1);
pub(crate) const FOREIGN: AppSlot = AppSlot::new(2);
pub(crate) const EMPTY: AppSlot = AppSlot::new(3);

pub(crate) struct Car {
    pub(crate) portal: Portal<Vec<u8>, 3>,
    pub(crate) uid: Uid,
    pub(crate) now_ms: u64,
}

impl Car {
    pub(crate) fn new() -> Self {
        Self::with_storage(1000)
    }

    pub(crate) fn with_storage(bytes: usize) -> Self {
        let mut portal = Portal::new(vec![0; 4000]);
        let uid = Uid::parse("P").unwrap();
        let other = Uid::parse("Q").unwrap();
        for (app, uid) in [("a", &uid), ("b", &uid), ("c", &other)] {
            let app = AppId::parse(app).unwrap();
            portal.install(app, uid.clone(), vec![0; bytes]).unwrap();
        }
        let now_ms = 1_000_000;
        Self {
            portal,
            uid,
            now_ms,
        }
    }

    /// A car in which app A has been through `events` and the NAC module is active.
    pub(crate) fn after(events: &[AppEvent]) -> Self {
        let mut car = Self::new();
        car.portal.handle_nac(car.now_ms, true);
        for &event in events {
            car.app(A, event).unwrap();
        }
        car
    }

    pub(crate) fn app(
        &mut self,
        slot: AppSlot,
        event: AppEvent,
    ) -> Result<AppState, AppEventError> {
        self.portal.handle_app(self.now_ms, slot, event)
    }

    pub(crate) fn send<'p>(&mut self, payload: &'p str) -> Result<Disposition<'p>, Refusal> {
        self.portal
            .handle_downlink(self.now_ms, &self.uid, payload.as_bytes())
    }

    pub(crate) fn send_popup(&mut self) -> Result<Disposition<'static>, Refusal> {
        self.send(r#"{"idApp":"a","popup":true,"popupText":"Go?","content":{"id":1}}"#)
    }

    pub(crate) fn answer(&mut self, number: u64, answer: PopupAnswer) -> bool {
        self.portal.handle_popup_answer(self.now_ms, number, answer)
    }

    pub(crate) fn output(&mut self) -> Option<Output<'_>> {
        self.portal.poll_output(self.now_ms)
    }

    pub(crate) fn show_popup(&mut self) -> u64 {
        match self.output() {
            Some(Output::ShowPopup { number, .. }) => number,
            other => panic!("a popup was to be shown, not {other:?}"),
        }
    }

    pub(crate) fn pending(&mut self, slot: AppSlot) -> Vec<String> {
        let mut messages = Vec::new();
        self.portal.drain(slot, |message| {
            messages.push(String::from_utf8(message.bytes.to_vec()).unwrap());
        });
        messages
    }
}

pub(crate) const STATES: [(AppState, &[AppEvent]); 5] = [
    (AppState::Stopped, &[]),
    (AppState::Loading, &[Launched]),
    (AppState::LoadingShown, &[Launched, Shown]),
    (AppState::Hidden, &[Launched, Loaded]),
    (AppState::Shown, &[Launched, Loaded, Shown]),
];
