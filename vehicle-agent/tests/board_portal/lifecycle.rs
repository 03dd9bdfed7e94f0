//! Apps that come, go, show and hide, and popups.

use serde_json::json;

use vinbus_protocol::limits::{APP_LOADED_TIMEOUT_MS, POPUP_SHOWN_MS};

use crate::app::App;
use crate::board::{Board, VIN, run};

const POPUP: &str =
    r#"{"idApp":"demo","popup":true,"popupBtn":true,"popupText":"Go?","content":{"n":1}}"#;

#[test]
fn popup_is_answered_by_its_app_and_the_outcome_comes_with_its_content() {
    run(async {
        let board = Board::new().await;
        let mut app = board.app("demo").await;
        board.publish(POPUP);
        let popup = app.until("WebPortal.onPopupShow").await;
        assert_eq!(
            popup["value"],
            json!({ "appId": "demo", "popupBtn": true, "popupText": "Go?", "content": { "n": 1 } })
        );
        app.send(json!({ "type": "WebPortal.okBtnPopupRequestClicked" }))
            .await;
        let outcome =
            json!({ "popupAction": "WebPortal.okBtnPopupRequestClicked", "content": { "n": 1 } });
        assert_eq!(app.message().await, outcome);
    });
}

#[test]
fn popup_that_nobody_answers_closes_after_its_time() {
    run(async {
        let board = Board::new().await;
        let mut app = board.app("demo").await;
        board.publish(POPUP);
        app.until("WebPortal.onPopupShow").await;
        board.clock.advance(POPUP_SHOWN_MS);
        let closed = app.until("WebPortal.onPopupClose").await;
        let action = json!("WebPortal.closeTimeoutPopupRequest");
        assert_eq!(closed["value"]["popupAction"], action);
        assert_eq!(app.message().await["popupAction"], action);
    });
}

#[test]
fn popup_of_an_app_that_does_not_run_is_answered_on_the_screen_and_its_outcome_waits() {
    run(async {
        let board = Board::new().await;
        let mut screen = board.screen().await;
        board.publish(POPUP);
        screen.until("WebPortal.onPopupShow").await;
        let mut app = App::open(board.address, json!({ "appId": "demo" })).await;
        let shown = app.until("WebPortal.onPopupShow").await;
        assert_eq!(
            shown["value"],
            json!({ "appId": "demo", "popupBtn": true, "popupText": "Go?" }),
            "an app that comes late is shown it without its content"
        );
        screen
            .send(json!({ "type": "WebPortal.cancelBtnPopupRequestClicked" }))
            .await;
        let closed = screen.until("WebPortal.onPopupClose").await;
        let action = json!("WebPortal.cancelBtnPopupRequestClicked");
        assert_eq!(closed["value"]["popupAction"], action);
        assert_eq!(
            app.pending().await,
            [json!({ "popupAction": action, "content": { "n": 1 } })]
        );
    });
}

#[test]
fn app_may_not_answer_the_popup_of_another() {
    run(async {
        let board = Board::new().await;
        let mut screen = board.screen().await;
        let mut other = board.app("other").await;
        board.publish(POPUP);
        screen.until("WebPortal.onPopupShow").await;
        other
            .send(json!({ "type": "WebPortal.okBtnPopupRequestClicked" }))
            .await;
        assert_eq!(other.refusal().await, "no-popup");
    });
}

#[test]
fn messages_wait_while_the_screen_hides_the_app_or_the_head_unit_sleeps() {
    run(async {
        let board = Board::new().await;
        let mut screen = board.screen().await;
        let mut app = board.app("demo").await;
        let on_app = |event: &str| json!({ "type": format!("WebPortal.onApplication{event}"), "value": { "appId": "demo" } });
        screen.send(on_app("Hide")).await;
        app.until("WebPortal.onApplicationHide").await;
        board.send("demo", &json!(1));
        board.status_reaches("/downlinks/pending", 1).await;
        screen.send(on_app("Show")).await;
        app.until("WebPortal.onApplicationShow").await;
        let nac =
            |active| json!({ "type": "WebPortal.onNacActive", "value": { "active": active } });
        screen.send(nac(false)).await;
        // One socket's frames are served in order, so the answer to a wrong one tells it is done.
        screen.send(json!({ "type": "no such type" })).await;
        assert_eq!(screen.refusal().await, "unknown-type");
        board.send("demo", &json!(2));
        board.status_reaches("/received", 2).await;
        screen.send(nac(true)).await;
        let expected = [json!({ "content": 1 }), json!({ "content": 2 })];
        assert_eq!(app.pending().await, expected);
        screen.send(on_app("Unloaded")).await;
        app.until("WebPortal.onApplicationUnloaded").await;
        // The time that the app has to save.
        board.clock.advance(100);
        assert_eq!(app.refusal().await, "closed");
        assert!(app.next_text().await.is_none());
    });
}

#[test]
fn screen_may_do_what_an_app_may_not() {
    run(async {
        let board = Board::new().await;
        let mut app = board.app("demo").await;
        let on_other = |event: &str| json!({ "type": format!("WebPortal.onApplication{event}"), "value": { "appId": "other" } });
        app.send(on_other("Hide")).await;
        assert_eq!(app.refusal().await, "not-allowed");
        let mut screen = board.screen().await;
        screen.send(on_other("Show")).await;
        assert_eq!(screen.refusal().await, "not-running");
        screen
            .send(json!({ "type": "WebPortal.onSendNotificationRequest", "value": 1 }))
            .await;
        assert_eq!(screen.refusal().await, "not-allowed");
    });
}

#[test]
fn welcome_tells_the_vehicle_and_the_screen_learns_who_runs() {
    run(async {
        let board = Board::new().await;
        let _app = board.app("demo").await;
        let mut screen = App::silent(board.address).await;
        screen
            .send(json!({ "type": "hello", "value": { "role": "screen" } }))
            .await;
        let apps = json!([
            { "appId": "demo", "running": true, "shown": true },
            { "appId": "other", "running": false, "shown": false },
        ]);
        assert_eq!(
            screen.until("welcome").await["value"],
            json!({ "vin": VIN, "link": "connected", "apps": apps })
        );
    });
}

#[test]
fn newer_socket_takes_the_app_over() {
    run(async {
        let board = Board::new().await;
        let mut old = board.app("demo").await;
        let mut new = App::silent(board.address).await;
        new.send(json!({ "type": "hello", "value": { "appId": "demo" } }))
            .await;
        new.send(json!({ "type": "WebPortal.onApplicationLoaded" }))
            .await;
        assert_eq!(old.refusal().await, "taken-over");
        assert!(old.next_text().await.is_none());
        new.until("WebPortal.onApplicationShow").await;
        board.send("demo", &json!("for the new one"));
        assert_eq!(new.message().await, json!({ "content": "for the new one" }));
    });
}

#[test]
fn app_that_does_not_report_that_it_has_loaded_is_closed() {
    run(async {
        let board = Board::new().await;
        let mut app = App::open(board.address, json!({ "appId": "demo" })).await;
        board.status_reaches("/sessions", 1).await;
        board.clock.advance(APP_LOADED_TIMEOUT_MS);
        app.until("WebPortal.onApplicationUnloaded").await;
        board.clock.advance(100);
        assert_eq!(app.refusal().await, "not-loaded");
        // Its seat is free again.
        board.app("demo").await;
    });
}

#[test]
fn app_that_is_not_installed_is_told_so() {
    run(async {
        let board = Board::new().await;
        let mut app = App::silent(board.address).await;
        app.send(json!({ "type": "hello", "value": { "appId": "nope" } }))
            .await;
        let error = app.until("error").await;
        assert_eq!(error["value"]["reason"], json!("unknown-app"));
        let message = error["value"]["message"].as_str().unwrap();
        assert!(message.contains("\"nope\""), "{message}");
        assert!(app.next_text().await.is_none());
        let mut app = App::at(&format!("ws://{}/portal?app=nope", board.address)).await;
        assert_eq!(app.refusal().await, "unknown-app");
    });
}
