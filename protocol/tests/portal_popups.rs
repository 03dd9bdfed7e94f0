//! Popups: one at a time, over whatever is on the screen; and what becomes of the answers. All time is virtual.

mod portal_car;

use portal_car::{A, Car, STATES};
use vinbus_protocol::envelope::{AppMessage, Content, PopupAction};
use vinbus_protocol::id::{AppId, Uid};
use vinbus_protocol::limits::{APP_MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use vinbus_protocol::pending;
use vinbus_protocol::portal::{
    AppEvent, AppState, Disposition, Handover, Output, PopupAnswer, Portal, Refusal,
};

use AppEvent::{Launched, Loaded, Shown, Unloaded};

#[test]
fn popup_of_the_largest_size_is_taken_and_so_is_its_outcome() {
    let room = pending::storage_bytes_for(APP_MESSAGE_BYTES_MAX);
    let mut portal: Portal<Vec<u8>, 1> = Portal::new(vec![0; room]);
    let (app, uid) = (AppId::parse("a").unwrap(), Uid::parse("P").unwrap());
    portal.install(app, uid.clone(), vec![0; room]).unwrap();
    let head = r#"{"idApp":"a","popup":true,"popupText":"","content":""#;
    let content = "x".repeat(PAYLOAD_BYTES_MAX - head.len() - 2);
    let payload = format!("{head}{content}\"}}");
    assert_eq!(payload.len(), 131_072);
    let taken = portal.handle_downlink(0, &uid, payload.as_bytes());
    assert_eq!(taken, Ok(Disposition::PopupQueued { slot: A }));
    let Some(Output::ShowPopup { number, .. }) = portal.poll_output(0) else {
        panic!("the popup is shown")
    };
    assert!(portal.handle_popup_answer(1, number, PopupAnswer::Cancel));
    assert!(matches!(
        portal.poll_output(1),
        Some(Output::ClosePopup { deliver: None, .. })
    ));
    let mut lengths = Vec::new();
    portal.drain(A, |record| lengths.push(record.bytes.len()));
    assert_eq!(lengths, [131_087]);
}

#[test]
fn popup_is_shown_whatever_the_apps_and_the_nac_module_do() {
    for (state, events) in STATES {
        for nac_active in [false, true] {
            let mut car = Car::after(events);
            car.portal.handle_nac(car.now_ms, nac_active);
            assert_eq!(car.send_popup(), Ok(Disposition::PopupQueued { slot: A }));
            assert_eq!(car.portal.poll_deadline(), Some(car.now_ms));
            let Some(Output::ShowPopup { slot, popup, .. }) = car.output() else {
                panic!("{state:?} {nac_active}")
            };
            assert_eq!((slot, popup.button), (A, false));
            assert_eq!(popup.text.chars().collect::<String>(), "Go?");
        }
    }
}

#[test]
fn outcome_goes_to_the_app_in_the_foreground_and_else_to_its_pending_ring() {
    for (state, events) in STATES {
        for action in [PopupAction::Ok, PopupAction::Cancel, PopupAction::Timeout] {
            let mut car = Car::after(events);
            car.send_popup().unwrap();
            // A loading app is closed before the popup runs out.
            car.portal.handle_app(car.now_ms, A, Loaded).ok();
            let number = car.show_popup();
            match action {
                PopupAction::Ok => assert!(car.answer(number, PopupAnswer::Ok)),
                PopupAction::Cancel => assert!(car.answer(number, PopupAnswer::Cancel)),
                PopupAction::Timeout => car.now_ms += 15_000,
            }
            let content = Content::parse(br#"{"id":1}"#).ok();
            let outcome = AppMessage::PopupOutcome { action, content };
            let foreground = matches!(state, AppState::Shown | AppState::LoadingShown);
            let expected = Output::ClosePopup {
                slot: A,
                number,
                action,
                deliver: foreground.then_some(Handover {
                    number: 0,
                    message: outcome,
                }),
            };
            assert_eq!(car.output(), Some(expected), "{state:?}");
            assert_eq!(car.output(), None);
            let message = format!(
                r#"{{"popupAction":"{}","content":{{"id":1}}}}"#,
                action.name()
            );
            let pending = if foreground { vec![] } else { vec![message] };
            assert_eq!(car.pending(A), pending, "{state:?}");
        }
    }
}

#[test]
fn outcome_of_a_popup_whose_app_was_unloaded_meanwhile_is_kept() {
    let mut car = Car::after(&[Launched, Loaded, Shown]);
    car.send_popup().unwrap();
    let number = car.show_popup();
    car.app(A, Unloaded).unwrap();
    assert!(car.answer(number, PopupAnswer::Ok));
    let closed = car.output();
    assert!(matches!(
        closed,
        Some(Output::ClosePopup { deliver: None, .. })
    ));
    assert_eq!(car.pending(A).len(), 1);
}

#[test]
fn popup_whose_outcome_the_vehicle_cannot_hold_is_refused_when_it_arrives() {
    let mut car = Car::with_storage(67);
    let payload = r#"{"idApp":"a","popup":true,"popupText":""}"#;
    let (len, max) = (56, 55);
    assert_eq!(
        car.send(payload),
        Err(Refusal::TooLarge { slot: A, len, max })
    );
    assert!(Car::with_storage(68).send(payload).is_ok());
}

#[test]
fn second_popup_opens_twenty_seconds_after_the_first_opened() {
    let mut car = Car::new();
    car.send_popup().unwrap();
    car.send_popup().unwrap();
    let first = car.show_popup();
    assert_eq!(car.portal.poll_deadline(), Some(car.now_ms + 15_000));
    car.now_ms += 15_000;
    assert!(matches!(car.output(), Some(Output::ClosePopup { .. })));
    assert_eq!(car.output(), None);
    assert_eq!(car.portal.poll_deadline(), Some(car.now_ms + 5_000));
    car.now_ms += 4_999;
    assert_eq!(car.output(), None);
    car.now_ms += 1;
    assert_eq!(car.show_popup(), first + 1);
}

#[test]
fn answer_that_comes_too_late_is_counted_and_changes_nothing() {
    let mut car = Car::new();
    car.send_popup().unwrap();
    let number = car.show_popup();
    car.now_ms += 15_000;
    assert!(!car.answer(number, PopupAnswer::Ok));
    assert_eq!(car.portal.counters().answers_ignored, 1);
    let Some(Output::ClosePopup { action, .. }) = car.output() else {
        panic!("its time is over")
    };
    assert_eq!(action, PopupAction::Timeout);
}

#[test]
fn refused_popups_are_told_to_the_app_once_it_is_loaded() {
    let mut car = Car::new();
    for _ in 0..6 {
        car.send_popup().unwrap();
    }
    let refused = Err(Refusal::PopupOverflow {
        slot: A,
        waiting: 5,
    });
    assert_eq!(car.send_popup(), refused);
    assert_eq!(car.send_popup(), refused);
    assert_eq!(car.portal.counters().popups_overflowed, 2);
    car.show_popup();
    assert_eq!(car.output(), None, "nobody is there to be told");
    car.app(A, Launched).unwrap();
    assert_eq!(car.output(), None, "it is not ready to be told");
    car.app(A, Loaded).unwrap();
    assert_eq!(car.portal.poll_deadline(), Some(car.now_ms));
    let told = Output::PopupOverflow {
        slot: A,
        refused: 2,
    };
    assert_eq!(car.output(), Some(told));
    assert_eq!(car.output(), None, "told once");
}

#[test]
fn clock_set_back_neither_freezes_a_popup_nor_closes_it_early() {
    let mut car = Car::after(&[Launched]);
    car.send_popup().unwrap();
    car.show_popup();
    car.now_ms += 5_000;
    assert_eq!(car.output(), None);
    car.now_ms = 7;
    assert_eq!(car.output(), None);
    assert_eq!(car.portal.poll_deadline(), Some(5_007));
    car.now_ms = 5_007;
    assert_eq!(car.output(), Some(Output::CloseApp { slot: A }));
    assert_eq!(car.portal.poll_deadline(), Some(10_007));
    car.now_ms = 10_007;
    assert!(matches!(car.output(), Some(Output::ClosePopup { .. })));
}

#[test]
fn clock_at_the_end_of_time_is_survived() {
    let mut car = Car::after(&[Launched]);
    car.send_popup().unwrap();
    car.show_popup();
    for now_ms in [u64::MAX, 0, u64::MAX, u64::MAX - 1] {
        car.now_ms = now_ms;
        car.send_popup().ok();
        while car.output().is_some() {}
        car.app(A, Launched).unwrap();
        assert!(car.portal.poll_deadline().is_some());
    }
}
