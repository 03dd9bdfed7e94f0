//! Messages with receipts, as far as the portal of a board has its own part in them.

use serde_json::{Value, json};
use vinbus_protocol::delivery::Epoch;
use vinbus_vehicle_agent::board_portal::limits::RECEIPTS_MAX;

use crate::app::App;
use crate::board::{Board, Memory, run};

const ACCEPTED: &str = "WebPortal.MQTT.evt.messageAccepted";
const DELIVERED: &str = "WebPortal.MQTT.evt.messageDelivered";
const NOT_DELIVERED: &str = "WebPortal.MQTT.evt.messageNotDelivered";

/// A host that has not greeted in this time of a link that is up knows no receipts (SPEC 16.19).
const SILENCE_MS: u64 = 5_000;

/// An app that is closed has this long to save.
const SAVE_MS: u64 = 100;

async fn board() -> Board {
    let memory = Memory {
        receipts: 8 * 1024,
        ..Memory::default()
    };
    Board::offline(memory).await
}

async fn send(app: &mut App, id: usize, content: &Value) {
    let kind = "WebPortal.onSendNotificationRequest";
    app.send(json!({ "type": kind, "id": id, "receipts": true, "value": content }))
        .await;
}

#[test]
fn receipts_are_offered_in_the_epoch_of_the_time_at_which_the_first_session_comes_up() {
    run(async {
        let mut board = board().await;
        board.clock.epoch.set(Epoch::new(217_000_000));
        board.connect();
        let offer = r#"{"content":{"online":true,"vinbus":{"e":217000000,"v":1}}}"#;
        assert_eq!(board.presence().await, offer);
    });
}

#[test]
fn one_message_too_many_and_one_too_long_are_refused_and_none_that_was_taken_is_dropped() {
    run(async {
        let board = board().await;
        let mut app = board.app("demo").await;
        send(&mut app, 0, &json!("x".repeat(8 * 1024))).await;
        let refused = app.until(NOT_DELIVERED).await;
        assert_eq!(refused["value"]["reason"], "too-large");
        assert_eq!(board.status().await["uplinks"]["refused"], json!(1));
        for id in 1..=RECEIPTS_MAX {
            send(&mut app, id, &json!(id)).await;
            assert_eq!(app.until(ACCEPTED).await["id"], json!(id));
        }
        send(&mut app, 100, &json!(100)).await;
        let refused = app.until(NOT_DELIVERED).await;
        assert_eq!(refused["value"]["reason"], "queue-full");
        assert_eq!(refused["id"], json!(100));
        let uplinks = &board.status().await["uplinks"];
        assert_eq!(uplinks["accepted"], json!(RECEIPTS_MAX));
        assert_eq!(uplinks["refused"], json!(2));
    });
}

#[test]
fn app_that_was_away_is_told_what_became_of_its_messages_when_it_comes() {
    run(async {
        let mut board = board().await;
        let mut app = board.app("demo").await;
        for id in 1..=2 {
            send(&mut app, id, &json!(id)).await;
            app.until(ACCEPTED).await;
        }
        app.send(json!({ "type": "WebPortal.onApplicationUnloaded" }))
            .await;
        app.until("WebPortal.onApplicationUnloaded").await;
        board.clock.advance(SAVE_MS);
        while app.next_text().await.is_some() {}
        board.connect();
        // Its offer, which nobody answers.
        board.presence().await;
        board.clock.advance(SILENCE_MS);
        for id in 1..=2 {
            let (_, payload) = board.uplink().await;
            assert_eq!(payload, format!(r#"{{"content":{id}}}"#));
        }
        let mut app = App::open(board.address, json!({ "appId": "demo" })).await;
        for id in 1..=2 {
            let told = app.until(DELIVERED).await;
            assert_eq!(told["id"], json!(id));
            assert_eq!(told["value"], json!({ "receipts": false }));
        }
        // And their places are free again.
        app.load().await;
        for id in 1..=RECEIPTS_MAX {
            send(&mut app, id, &json!(id)).await;
            app.until(ACCEPTED).await;
        }
    });
}
