//! The portal's table, cell by cell, and its promises to apps and partners. All time is virtual.

mod portal_car;

use portal_car::{A, B, Car, EMPTY, FOREIGN, STATES};
use proptest::prelude::*;
use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::{AppMessage, Content, EnvelopeReason, PopupAction};
use vinbus_protocol::id::{AppId, Uid};
use vinbus_protocol::limits::{APP_MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use vinbus_protocol::portal::{
    AppEvent, AppEventError, AppState, Disposition, InstallError, Output, PopupAnswer, Refusal,
};

use AppEvent::{Hidden, Launched, Loaded, Shown, Unloaded};

#[test]
fn every_cell_of_the_table_holds() {
    use AppState as S;
    // launched, loaded, shown, hidden, unloaded; as in the docs of `Portal`.
    const IGNORED: Option<AppState> = None;
    let table = [
        [Some(S::Loading), IGNORED, IGNORED, IGNORED, IGNORED],
        [
            S::Loading,
            S::Hidden,
            S::LoadingShown,
            S::Loading,
            S::Stopped,
        ]
        .map(Some),
        [
            S::Loading,
            S::Shown,
            S::LoadingShown,
            S::Loading,
            S::Stopped,
        ]
        .map(Some),
        [S::Loading, S::Hidden, S::Shown, S::Hidden, S::Stopped].map(Some),
        [S::Loading, S::Shown, S::Shown, S::Hidden, S::Stopped].map(Some),
    ];
    for ((state, events), row) in STATES.into_iter().zip(table) {
        for (event, expected) in AppEvent::ALL.into_iter().zip(row) {
            let mut car = Car::after(events);
            assert_eq!(car.portal.state(A), Some(state));
            let result = car.app(A, event);
            assert_eq!(
                result,
                expected.ok_or(AppEventError::NotLaunched),
                "{event:?} while {state:?}"
            );
            let ignored = car.portal.counters().events_ignored;
            assert_eq!(ignored, u64::from(expected.is_none()));
        }
    }
}

#[test]
fn app_that_does_not_load_in_ten_seconds_is_closed() {
    for (state, events) in STATES {
        let mut car = Car::after(events);
        car.now_ms += 9_999;
        assert_eq!(car.output(), None, "{state:?}");
        car.now_ms += 1;
        let closed = matches!(state, AppState::Loading | AppState::LoadingShown);
        let expected = closed.then_some(Output::CloseApp { slot: A });
        assert_eq!(car.output(), expected, "{state:?}");
        assert_eq!(car.output(), None, "told once");
        let after = if closed { AppState::Stopped } else { state };
        assert_eq!(car.portal.state(A), Some(after));
        assert_eq!(car.portal.counters().apps_closed, u64::from(closed));
    }
}

#[test]
fn every_launch_gives_ten_seconds_anew() {
    let mut car = Car::after(&[Launched]);
    car.now_ms += 9_999;
    car.app(A, Launched).unwrap();
    assert_eq!(car.portal.poll_deadline(), Some(car.now_ms + 10_000));
    car.now_ms += 9_999;
    assert_eq!(car.output(), None);
    assert_eq!(car.app(A, Loaded), Ok(AppState::Hidden));
    assert_eq!(car.portal.poll_deadline(), None);
}

#[test]
fn app_that_loads_too_late_is_told_that_it_is_stopped() {
    let mut car = Car::after(&[Launched]);
    car.now_ms += 10_000;
    assert_eq!(car.app(A, Loaded), Err(AppEventError::NotLaunched));
    assert_eq!(car.output(), Some(Output::CloseApp { slot: A }));
}

#[test]
fn app_launched_again_is_not_closed_for_its_last_launch() {
    let mut car = Car::after(&[Launched]);
    car.now_ms += 10_000;
    car.app(A, Launched).unwrap();
    assert_eq!(car.output(), None);
}

#[test]
fn message_is_delivered_in_the_foreground_only() {
    for (state, events) in STATES {
        for nac_active in [false, true] {
            let mut car = Car::after(events);
            car.portal.handle_nac(car.now_ms, nac_active);
            let foreground = nac_active && state == AppState::Shown;
            assert_eq!(car.portal.foreground(), foreground.then_some(A));
            let content = Content::parse(b"[1, 2.0]").unwrap();
            let expected = if foreground {
                Disposition::Deliver {
                    slot: A,
                    number: 0,
                    content,
                }
            } else {
                Disposition::Pending {
                    slot: A,
                    evicted: 0,
                }
            };
            let payload = r#"{"idApp":"a","content": [1, 2.0] }"#;
            assert_eq!(car.send(payload), Ok(expected), "{state:?} {nac_active}");
            let pending = if foreground { 0 } else { 1 };
            assert_eq!(car.pending(A), vec![r#"{"content":[1, 2.0]}"#; pending]);
            assert_eq!(car.portal.counters().delivered, 1 - pending as u64);
            assert_eq!(car.portal.counters().pending, pending as u64);
        }
    }
}

#[test]
fn message_that_an_app_in_the_foreground_has_no_room_for_waits() {
    let mut car = Car::after(&[Launched, Loaded, Shown]);
    let (short, long) = (
        r#"{"idApp":"a","content":1}"#,
        r#"{"idApp":"a","content":12}"#,
    );
    car.portal.handle_room(A, r#"{"content":1}"#.len());
    assert!(matches!(car.send(short), Ok(Disposition::Deliver { .. })));
    assert!(matches!(car.send(long), Ok(Disposition::Pending { .. })));
    car.send_popup().unwrap();
    let number = car.show_popup();
    assert!(car.answer(number, PopupAnswer::Ok));
    let closed = car.output();
    assert!(matches!(
        closed,
        Some(Output::ClosePopup { deliver: None, .. })
    ));
    car.portal.handle_room(A, usize::MAX);
    assert!(matches!(car.send(long), Ok(Disposition::Deliver { .. })));
    let pending = car.pending(A);
    assert_eq!(pending.len(), 2, "{pending:?}");
    assert_eq!(pending[0], r#"{"content":12}"#);
}

#[test]
fn showing_one_app_hides_the_other_and_tells_it() {
    for (events, left) in [
        (&[Launched, Loaded, Shown][..], AppState::Hidden),
        (&[Launched, Shown], AppState::Loading),
    ] {
        let mut car = Car::after(events);
        car.app(B, Launched).unwrap();
        car.app(B, Loaded).unwrap();
        assert_eq!(car.output(), None);
        car.app(B, Shown).unwrap();
        assert_eq!(car.portal.state(A), Some(left));
        assert_eq!(car.portal.foreground(), Some(B));
        assert_eq!(car.portal.poll_deadline(), Some(car.now_ms));
        assert_eq!(car.output(), Some(Output::HideApp { slot: A }));
        assert_eq!(car.output(), None);
    }
}

#[test]
fn app_that_has_the_screen_again_or_has_ended_is_not_told_that_it_was_hidden() {
    for event in [Shown, Unloaded, Launched] {
        let mut car = Car::after(&[Launched, Loaded, Shown]);
        for other in [Launched, Loaded, Shown] {
            car.app(B, other).unwrap();
        }
        car.app(A, event).unwrap();
        let told = (event == Shown).then_some(Output::HideApp { slot: B });
        assert_eq!(car.output(), told, "{event:?}");
    }
}

#[test]
fn app_that_is_closed_is_not_told_that_it_was_hidden() {
    let mut car = Car::after(&[Launched, Shown]);
    for other in [Launched, Loaded, Shown] {
        car.app(B, other).unwrap();
    }
    car.now_ms += 10_000;
    assert_eq!(car.output(), Some(Output::CloseApp { slot: A }));
    assert_eq!(car.output(), None);
}

#[test]
fn showing_a_stopped_app_hides_no_other() {
    let mut car = Car::after(&[Launched, Loaded, Shown]);
    assert_eq!(car.app(B, Shown), Err(AppEventError::NotLaunched));
    assert_eq!(car.portal.foreground(), Some(A));
}

#[test]
fn message_for_an_app_that_is_not_installed_reaches_no_other() {
    let mut car = Car::after(&[Launched, Loaded, Shown]);
    for id in ["d", "A", "a ", "aa"] {
        let payload = format!(r#"{{"idApp":"{id}","content":1}}"#);
        assert_eq!(car.send(&payload), Err(Refusal::UnknownApp));
        let popup = format!(r#"{{"idApp":"{id}","popup":true,"popupText":"x"}}"#);
        assert_eq!(car.send(&popup), Err(Refusal::UnknownApp));
    }
    assert_eq!(car.portal.counters().refused_unknown_app, 8);
    assert_nothing_arrived(&mut car);
}

#[test]
fn message_on_the_topic_of_another_partner_is_refused() {
    let mut car = Car::after(&[Launched, Loaded, Shown]);
    let refused = Err(Refusal::ForeignUid { slot: FOREIGN });
    assert_eq!(car.send(r#"{"idApp":"c","content":1}"#), refused);
    let popup = r#"{"idApp":"c","popup":true,"popupText":"x"}"#;
    assert_eq!(car.send(popup), refused);
    assert_eq!(car.portal.counters().refused_foreign_uid, 2);
    assert_nothing_arrived(&mut car);
}

#[test]
fn payload_that_is_no_envelope_is_refused_with_its_reason() {
    let mut car = Car::after(&[Launched, Loaded, Shown]);
    let too_large = format!(r#"{{"idApp":"a","content":"{}"}}"#, "x".repeat(131_047));
    assert_eq!(too_large.len(), PAYLOAD_BYTES_MAX + 1);
    let refusal = car.send(&too_large);
    let Err(Refusal::Envelope(error)) = refusal else {
        panic!("{refusal:?}")
    };
    let (len, max) = (131_073, 131_072);
    assert_eq!(error.reason, EnvelopeReason::TooLarge { len, max });
    for payload in ["", "[]", "{", r#"{"idApp":"a"}"#] {
        assert!(matches!(car.send(payload), Err(Refusal::Envelope(_))));
    }
    assert_eq!(car.portal.counters().refused_envelope, 5);
    assert_nothing_arrived(&mut car);
}

fn assert_nothing_arrived(car: &mut Car) {
    assert_eq!(car.output(), None);
    for slot in [A, B, FOREIGN] {
        assert!(car.portal.pending(slot).unwrap().is_empty());
    }
    assert_eq!(car.portal.counters().delivered, 0);
}

#[test]
fn eleventh_pending_message_drops_the_first() {
    let mut car = Car::new();
    for number in 0..11 {
        let evicted = u32::from(number == 10);
        let payload = format!(r#"{{"idApp":"a","content":{number}}}"#);
        let kept = Disposition::Pending { slot: A, evicted };
        assert_eq!(car.send(&payload), Ok(kept));
    }
    let expected: Vec<_> = (1..11).map(|n| format!(r#"{{"content":{n}}}"#)).collect();
    assert_eq!(car.pending(A), expected);
    assert_eq!(car.pending(A), Vec::<String>::new());
}

#[test]
fn pending_messages_survive_every_event_and_are_drained_once() {
    let mut car = Car::new();
    car.send(r#"{"idApp":"a","content":1}"#).unwrap();
    for event in [Launched, Unloaded, Launched, Loaded, Shown, Hidden] {
        car.app(A, event).unwrap();
        assert_eq!(car.portal.pending(A).unwrap().len(), 1);
    }
    let numbers: Vec<_> = car.portal.hand_out(A).map(|m| m.number).collect();
    car.send(r#"{"idApp":"a","content":2}"#).unwrap();
    assert_eq!(car.portal.confirm(A, numbers[0]), 1);
    assert_eq!(car.pending(A), [r#"{"content":2}"#]);
}

#[test]
fn message_that_the_vehicle_cannot_hold_is_refused_with_both_lengths() {
    let mut car = Car::with_storage(32);
    let (len, max) = (21, 20);
    assert_eq!(
        car.send(r#"{"idApp":"a","content":123456789}"#),
        Err(Refusal::TooLarge { slot: A, len, max })
    );
    assert_eq!(car.portal.counters().refused_too_large, 1);
    assert_eq!(
        car.portal.pending(A).unwrap().counters().refused_too_large,
        1
    );
    assert!(car.send(r#"{"idApp":"a","content":12345678}"#).is_ok());
}

#[test]
fn message_that_an_app_could_not_take_goes_to_its_pending_ring() {
    let mut car = Car::after(&[Launched, Loaded, Shown]);
    let Ok(Disposition::Deliver {
        slot,
        number,
        content,
    }) = car.send(r#"{"idApp":"a","content":7}"#)
    else {
        panic!("the app is in the foreground")
    };
    let (now_ms, message) = (car.now_ms, AppMessage::Data(content));
    car.portal
        .handle_undelivered(now_ms, slot, number, &message)
        .unwrap();
    assert_eq!(car.pending(A), [r#"{"content":7}"#]);
    assert_eq!(car.portal.counters().delivered, 1);
    assert_eq!(car.portal.counters().pending, 1);
    let refused = car
        .portal
        .handle_undelivered(now_ms, EMPTY, number, &message);
    assert_eq!(refused, Err(Refusal::UnknownApp));
    let long = format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX - 2));
    let long = AppMessage::PopupOutcome {
        action: PopupAction::Ok,
        content: Content::parse(long.as_bytes()).ok(),
    };
    assert_eq!(
        car.portal.handle_undelivered(now_ms, slot, 1, &long),
        Err(Refusal::TooLarge {
            slot,
            len: long.encoded_len(),
            max: APP_MESSAGE_BYTES_MAX
        })
    );
    assert_eq!(car.portal.counters().refused_unknown_app, 1);
    assert_eq!(car.portal.counters().refused_too_large, 1);
}

#[test]
fn message_that_comes_back_is_older_than_what_arrived_since() {
    let mut car = Car::after(&[Launched, Loaded, Shown]);
    let payloads: [_; 12] = std::array::from_fn(|n| format!(r#"{{"idApp":"a","content":{n}}}"#));
    let (handed_over, pending) = payloads.split_at(3);
    let handed_over = handed_over.iter().map(|payload| match car.send(payload) {
        Ok(Disposition::Deliver {
            number, content, ..
        }) => (number, AppMessage::Data(content)),
        other => panic!("{other:?}"),
    });
    let handed_over: Vec<_> = handed_over.collect();
    car.app(A, Hidden).unwrap();
    for payload in pending {
        car.send(payload).unwrap();
    }
    let now_ms = car.now_ms;
    let mut kept = Vec::new();
    for (number, message) in handed_over.iter().rev() {
        let pushed = car
            .portal
            .handle_undelivered(now_ms, A, *number, message)
            .unwrap();
        kept.push((pushed.kept, pushed.evicted));
    }
    assert_eq!(kept, [(true, 0), (false, 0), (false, 0)], "ten have room");
    let expected: Vec<_> = (2..12).map(|n| format!(r#"{{"content":{n}}}"#)).collect();
    assert_eq!(car.pending(A), expected);
}

#[test]
fn empty_slot_is_refused_and_has_no_messages() {
    for slot in [EMPTY, AppSlot::new(u8::MAX)] {
        let mut car = Car::new();
        for event in AppEvent::ALL {
            assert_eq!(car.app(slot, event), Err(AppEventError::UnknownSlot));
        }
        assert_eq!(car.portal.state(slot), None);
        assert!(car.portal.pending(slot).is_none());
        assert_eq!(car.portal.hand_out(slot).count(), 0);
        assert_eq!(car.portal.confirm(slot, 0), 0);
        assert_eq!(car.pending(slot), Vec::<String>::new());
    }
}

#[test]
fn installation_is_refused_when_the_table_is_full_or_the_app_is_there() {
    let mut car = Car::new();
    let mut install = |app: &str| {
        let app = AppId::parse(app).unwrap();
        car.portal.install(app, car.uid.clone(), vec![])
    };
    assert_eq!(install("b"), Err(InstallError::Duplicate { slot: B }));
    assert_eq!(install("d"), Err(InstallError::TableFull { max: 3 }));
    let apps: Vec<_> = car
        .portal
        .apps()
        .map(|app| (app.slot, app.id.as_str(), app.uid.as_str()))
        .collect();
    assert_eq!(apps, [(A, "a", "P"), (B, "b", "P"), (FOREIGN, "c", "Q")]);
}

proptest! {
    #[test]
    fn message_reaches_an_app_from_its_own_partner_only(
        uid in "[PQ]|[A-Za-z0-9 ]{1,64}",
        app in 0..3_usize,
        popup in any::<bool>(),
    ) {
        let mut car = Car::new();
        let (id, owner) = [("a", "P"), ("b", "P"), ("c", "Q")][app];
        let payload = format!(
            r#"{{"idApp":"{id}","popup":{popup},"popupText":"","content":1}}"#
        );
        car.uid = Uid::parse(&uid).unwrap();
        prop_assert_eq!(car.send(&payload).is_ok(), uid == owner);
    }

    #[test]
    fn random_bytes_are_refused(payload in any::<Vec<u8>>()) {
        let mut car = Car::new();
        let verdict = car.portal.handle_downlink(0, &car.uid, &payload);
        let refused = matches!(verdict, Err(Refusal::Envelope(_)));
        prop_assert!(refused);
    }

    #[test]
    fn portal_without_storage_refuses_everything_and_panics_never(
        bytes in 0..8_usize,
        button in any::<bool>(),
    ) {
        let mut car = Car::with_storage(bytes);
        let data = car.send(r#"{"idApp":"a","content":1}"#);
        let refused = matches!(data, Err(Refusal::TooLarge { .. }));
        prop_assert!(refused);
        let popup = format!(r#"{{"idApp":"a","popup":true,"popupBtn":{button},"popupText":""}}"#);
        let refused = matches!(car.send(&popup), Err(Refusal::TooLarge { .. }));
        prop_assert!(refused);
        prop_assert_eq!(car.portal.poll_deadline(), None);
    }
}
