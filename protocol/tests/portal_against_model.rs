//! The portal against a reference model that keeps absolute times and plain lists, under random
//! inputs. A failure prints the inputs that lead to it.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::{AppMessage, Content, PopupAction};
use vinbus_protocol::id::{AppId, Uid};
use vinbus_protocol::portal::{
    AppEvent, Disposition, Output, PopupAnswer, Portal, PortalCounters, Refusal,
};

const APPS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Input {
    Wait(u64),
    WaitForDeadline,
    Nac(bool),
    App(usize, AppEvent),
    Data(usize),
    Popup(usize),
    /// Answers the popup shown last, whether it is still on screen or not.
    Answer(PopupAnswer),
    Drain(usize),
    /// One of the messages that were handed over and not returned yet comes back.
    Return(Index),
}

fn input() -> impl Strategy<Value = Input> {
    // One app too many: it is not installed.
    let app = 0..=APPS;
    let answer = prop_oneof![Just(PopupAnswer::Ok), Just(PopupAnswer::Cancel)];
    prop_oneof![
        2 => (0..12_000_u64).prop_map(Input::Wait),
        2 => Just(Input::WaitForDeadline),
        1 => any::<bool>().prop_map(Input::Nac),
        6 => (app.clone(), proptest::sample::select(&AppEvent::ALL))
            .prop_map(|(app, event)| Input::App(app, event)),
        6 => app.clone().prop_map(Input::Data),
        4 => app.clone().prop_map(Input::Popup),
        1 => answer.prop_map(Input::Answer),
        1 => app.prop_map(Input::Drain),
        3 => any::<Index>().prop_map(Input::Return),
    ]
}

#[derive(Default)]
struct AppModel {
    launched_at: Option<u64>,
    loaded: bool,
    /// Messages that have arrived.
    arrived: u64,
    /// How many had arrived before, and the message.
    pending: Vec<(u64, String)>,
    overflows: u32,
}

#[derive(Default)]
struct Model {
    now: u64,
    nac_active: bool,
    apps: [AppModel; APPS],
    on_screen: Option<usize>,
    /// App and number of each popup that waits.
    waiting: VecDeque<(usize, u64)>,
    popups: u64,
    /// App, number and opening time of the popup on screen.
    popup: Option<(usize, u64, u64)>,
    answer: Option<PopupAction>,
    opened_at: Option<u64>,
    /// What the portal is to say next, in any order.
    outputs: Vec<String>,
    counters: PortalCounters,
}

impl Model {
    fn foreground(&self, app: usize) -> bool {
        self.nac_active && self.on_screen == Some(app) && self.apps[app].loaded
    }

    fn stop(&mut self, app: usize) {
        self.apps[app].launched_at = None;
        self.apps[app].loaded = false;
        self.on_screen = self.on_screen.filter(|&shown| shown != app);
    }

    fn expire(&mut self) {
        for app in 0..APPS {
            let late = |at| self.now - at >= 10_000;
            if !self.apps[app].loaded && self.apps[app].launched_at.is_some_and(late) {
                self.stop(app);
                self.outputs.push(format!("close app {app}"));
                self.counters.apps_closed += 1;
            }
        }
        if self.popup.is_some_and(|(_, _, at)| self.now - at >= 15_000) {
            self.answer.get_or_insert(PopupAction::Timeout);
        }
    }

    fn event(&mut self, app: usize, event: AppEvent) -> bool {
        if event == AppEvent::Launched {
            self.stop(app);
            self.apps[app].launched_at = Some(self.now);
            return true;
        }
        if self.apps[app].launched_at.is_none() {
            return false;
        }
        match event {
            AppEvent::Launched => unreachable!("handled above"),
            AppEvent::Loaded => self.apps[app].loaded = true,
            AppEvent::Shown => {
                if let Some(other) = self.on_screen.filter(|&other| other != app) {
                    self.outputs.push(format!("hide app {other}"));
                }
                self.on_screen = Some(app);
            }
            AppEvent::Hidden => self.on_screen = self.on_screen.filter(|&shown| shown != app),
            AppEvent::Unloaded => self.stop(app),
        }
        true
    }

    fn arrive(&mut self, app: usize) -> u64 {
        self.apps[app].arrived += 1;
        self.apps[app].arrived - 1
    }

    fn keep(&mut self, app: usize, number: u64, message: String) {
        let pending = &mut self.apps[app].pending;
        pending.push((number, message));
        pending.sort();
        self.counters.pending += 1;
        if pending.len() > 10 {
            pending.remove(0);
        }
    }

    fn may_open(&self) -> bool {
        self.popup.is_none() && self.opened_at.is_none_or(|at| self.now - at >= 20_000)
    }

    fn queue_popup(&mut self, app: usize) -> bool {
        let places = if self.may_open() { 6 } else { 5 };
        if self.waiting.len() >= places {
            self.apps[app].overflows += 1;
            self.counters.popups_overflowed += 1;
            return false;
        }
        self.waiting.push_back((app, self.popups));
        self.popups += 1;
        self.counters.popups_queued += 1;
        true
    }

    /// Everything the portal is to say now, sorted.
    fn outputs(&mut self) -> Vec<String> {
        for app in 0..APPS {
            if self.apps[app].loaded && self.apps[app].overflows > 0 {
                let refused = std::mem::take(&mut self.apps[app].overflows);
                self.outputs.push(format!("overflow {app} {refused}"));
            }
        }
        if let Some(action) = self.answer.take() {
            let (app, number, _) = self.popup.take().unwrap();
            let deliver = self.foreground(app);
            match action {
                PopupAction::Ok => self.counters.popups_ok += 1,
                PopupAction::Cancel => self.counters.popups_cancelled += 1,
                PopupAction::Timeout => self.counters.popups_timed_out += 1,
            }
            self.counters.delivered += u64::from(deliver);
            let arrived = self.arrive(app);
            let delivered = deliver.then_some(arrived);
            self.outputs.push(format!(
                "close popup {number} {app} {action:?} {delivered:?}"
            ));
            if !deliver {
                self.keep(app, arrived, format!("{action:?} {app}"));
            }
        }
        if self.may_open()
            && let Some((app, number)) = self.waiting.pop_front()
        {
            self.popup = Some((app, number, self.now));
            self.opened_at = Some(self.now);
            self.counters.popups_shown += 1;
            self.outputs.push(format!("show popup {number} {app}"));
        }
        self.outputs.sort();
        std::mem::take(&mut self.outputs)
    }
}

struct Pair {
    portal: Portal<Vec<u8>, APPS>,
    model: Model,
    uid: Uid,
    messages: u64,
    last_shown: u64,
    /// What apps in the foreground got: app, number and content.
    handed_over: Vec<(usize, u64, String)>,
}

fn slot(app: usize) -> AppSlot {
    AppSlot::new(app as u8)
}

impl Pair {
    fn new() -> Self {
        let mut portal = Portal::new(vec![0; 4096]);
        let uid = Uid::parse("P").unwrap();
        for app in 0..APPS {
            let app = AppId::parse(&format!("app{app}")).unwrap();
            portal.install(app, uid.clone(), vec![0; 4096]).unwrap();
        }
        Self {
            portal,
            model: Model::default(),
            uid,
            messages: 0,
            last_shown: 0,
            handed_over: Vec::new(),
        }
    }

    fn step(&mut self, input: Input) {
        let deadline = self.portal.poll_deadline();
        let now = self.model.now;
        assert!(
            deadline.is_none_or(|at| at > now),
            "all that was due is done"
        );
        self.model.now = match input {
            Input::Wait(ms) => now + ms,
            Input::WaitForDeadline => deadline.unwrap_or(now),
            _ => now,
        };
        self.model.expire();
        self.apply(input);
        let expected = self.model.outputs();
        assert_eq!(self.outputs(), expected);
        assert_eq!(*self.portal.counters(), self.model.counters);
        if deadline.is_some_and(|at| at <= self.model.now) {
            assert_ne!(expected, Vec::<String>::new(), "a deadline has its reason");
        }
        for app in 0..APPS {
            let pending = self.portal.pending(slot(app)).unwrap();
            let pending = pending.iter().map(|r| (r.number, describe(r.bytes)));
            assert!(pending.eq(self.model.apps[app].pending.iter().cloned()));
            assert_eq!(
                self.portal.foreground() == Some(slot(app)),
                self.model.foreground(app)
            );
        }
    }

    fn apply(&mut self, input: Input) {
        let now = self.model.now;
        match input {
            Input::Wait(_) | Input::WaitForDeadline => {}
            Input::Nac(active) => {
                self.portal.handle_nac(now, active);
                self.model.nac_active = active;
            }
            Input::App(app, event) => {
                let taken = app < APPS && self.model.event(app, event);
                self.model.counters.events_ignored += u64::from(!taken);
                let result = self.portal.handle_app(now, slot(app), event);
                assert_eq!(result.is_ok(), taken);
            }
            Input::Data(app) => self.data(app),
            Input::Popup(app) => self.popup(app),
            Input::Answer(answer) => {
                let open = self.model.popup.is_some() && self.model.answer.is_none();
                if open {
                    self.model.answer = Some(answer.into());
                }
                let taken = self
                    .portal
                    .handle_popup_answer(now, self.last_shown, answer);
                assert_eq!(taken, open);
                self.model.counters.answers_ignored += u64::from(!taken);
            }
            Input::Drain(app) => {
                let mut taken = Vec::new();
                self.portal.drain(slot(app), |record| {
                    taken.push((record.number, describe(record.bytes)));
                });
                let expected = self.model.apps.get_mut(app).map(|app| &mut app.pending);
                assert_eq!(taken, expected.map(std::mem::take).unwrap_or_default());
            }
            Input::Return(which) if !self.handed_over.is_empty() => {
                let which = which.index(self.handed_over.len());
                let (app, number, content) = self.handed_over.remove(which);
                self.give_back(app, number, content);
            }
            Input::Return(_) => {}
        }
    }

    fn give_back(&mut self, app: usize, number: u64, content: String) {
        let message = AppMessage::Data(Content::parse(content.as_bytes()).unwrap());
        let now = self.model.now;
        let pushed = self
            .portal
            .handle_undelivered(now, slot(app), number, &message)
            .unwrap();
        let pending = &self.model.apps[app].pending;
        let full = pending.len() == 10;
        let oldest = pending.iter().all(|(other, _)| *other > number);
        assert_eq!(pushed.kept, !full || !oldest);
        assert_eq!(pushed.evicted, u32::from(full && !oldest));
        self.model.keep(app, number, content);
    }

    fn data(&mut self, app: usize) {
        let number = self.messages;
        self.messages += 1;
        let payload = format!(r#"{{"idApp":"app{app}","content":{number}}}"#);
        let verdict = self
            .portal
            .handle_downlink(self.model.now, &self.uid, payload.as_bytes());
        match verdict {
            Err(Refusal::UnknownApp) => {
                assert_eq!(app, APPS);
                self.model.counters.refused_unknown_app += 1;
            }
            Ok(Disposition::Deliver {
                slot: to,
                number: given,
                content,
            }) => {
                assert_eq!((to, content.as_str()), (slot(app), &*number.to_string()));
                assert!(self.model.foreground(app));
                assert_eq!(given, self.model.arrive(app));
                self.model.counters.delivered += 1;
                self.handed_over.push((app, given, number.to_string()));
            }
            Ok(Disposition::Pending { slot: to, evicted }) => {
                assert_eq!(to, slot(app));
                assert!(!self.model.foreground(app));
                let full = self.model.apps[app].pending.len() == 10;
                assert_eq!(evicted, u32::from(full));
                let given = self.model.arrive(app);
                self.model.keep(app, given, number.to_string());
            }
            other => panic!("{other:?}"),
        }
    }

    fn popup(&mut self, app: usize) {
        let payload =
            format!(r#"{{"idApp":"app{app}","popup":true,"popupText":"?","content":{app}}}"#);
        let verdict = self
            .portal
            .handle_downlink(self.model.now, &self.uid, payload.as_bytes());
        match verdict {
            Err(Refusal::UnknownApp) => {
                assert_eq!(app, APPS);
                self.model.counters.refused_unknown_app += 1;
            }
            Ok(Disposition::PopupQueued { slot: to }) => {
                assert_eq!(to, slot(app));
                assert!(self.model.queue_popup(app));
            }
            Err(Refusal::PopupOverflow { slot: to, waiting }) => {
                assert_eq!((to, waiting), (slot(app), 5));
                assert!(!self.model.queue_popup(app));
            }
            other => panic!("{other:?}"),
        }
    }

    fn outputs(&mut self) -> Vec<String> {
        let mut outputs = Vec::new();
        while let Some(output) = self.portal.poll_output(self.model.now) {
            outputs.push(match output {
                Output::ShowPopup { slot, number, .. } => {
                    self.last_shown = number;
                    format!("show popup {number} {slot}")
                }
                Output::ClosePopup {
                    slot,
                    number,
                    action,
                    deliver,
                } => {
                    let delivered = deliver.map(|handover| handover.number);
                    format!("close popup {number} {slot} {action:?} {delivered:?}")
                }
                Output::PopupOverflow { slot, refused } => format!("overflow {slot} {refused}"),
                Output::HideApp { slot } => format!("hide app {slot}"),
                Output::CloseApp { slot } => format!("close app {slot}"),
            });
        }
        outputs.sort();
        outputs
    }
}

/// A pending message as the model writes it.
fn describe(message: &[u8]) -> String {
    match AppMessage::decode(message).unwrap() {
        AppMessage::Data(content) => content.as_str().to_owned(),
        AppMessage::Request { .. } => panic!("nobody makes a request"),
        AppMessage::PopupOutcome { action, content } => {
            format!("{action:?} {}", content.unwrap().as_str())
        }
    }
}

proptest! {
    #[test]
    fn portal_does_what_the_model_does(inputs in vec(input(), 0..300)) {
        let mut pair = Pair::new();
        for input in inputs {
            pair.step(input);
        }
    }
}
