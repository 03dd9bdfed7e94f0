//! Messages with receipts, as far as the portal of a board has its own part in them.

use serde_json::{Value, json};
use vinbus_protocol::delivery::Epoch;
use vinbus_protocol::limits::{DELIVERY_RECEIPT_DELAY_MS, DELIVERY_SILENCE_MS};
use vinbus_vehicle_agent::board_portal::limits::RECEIPTS_MAX;

use crate::app::App;
use crate::board::{Board, Memory, run};

const ACCEPTED: &str = "WebPortal.MQTT.evt.messageAccepted";
const DELIVERED: &str = "WebPortal.MQTT.evt.messageDelivered";
const NOT_DELIVERED: &str = "WebPortal.MQTT.evt.messageNotDelivered";

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
        board.clock.advance(DELIVERY_SILENCE_MS);
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

/// A board that is online, and whose partner's host speaks delivery, in its first epoch.
async fn greeted() -> Board {
    let mut board = board().await;
    board.connect();
    board.presence().await;
    let greeting = json!({ "vinbus": { "e": 1, "x": 1, "v": 1 } });
    board.send("vinbus", &greeting);
    board
}

/// An app that confirms, in the background.
async fn waiting(board: &Board, app: &str) -> App {
    let mut waiting = App::silent(board.address).await;
    let hello = json!({ "appId": app, "background": true, "confirm": true });
    waiting
        .send(json!({ "type": "hello", "value": hello }))
        .await;
    waiting.until("welcome").await;
    waiting
        .send(json!({ "type": "WebPortal.onApplicationLoaded" }))
        .await;
    waiting
}

/// Sends an app a message with receipts, which it is told of under the number that is returned.
async fn kept(board: &Board, app: (&str, &mut App), number: u32) -> Value {
    let (id, app) = app;
    board.send(id, &json!({ "vinbus": [1, 1, number, 0], "n": number }));
    app.until("WebPortal.onPendingNotification").await["number"].take()
}

/// What the host is told next: runs of a step, the first number and how many.
async fn receipts(board: &mut Board) -> Value {
    board.clock.advance(DELIVERY_RECEIPT_DELAY_MS.into());
    loop {
        let (subtopic, payload) = board.uplink().await;
        assert_eq!(subtopic, "vinbus/delivery");
        let mut frame: Value = serde_json::from_str(&payload).unwrap();
        let runs = frame["content"]["vinbus"]["r"].take();
        if !runs.is_null() {
            return runs;
        }
    }
}

#[test]
fn app_neither_confirms_nor_takes_what_another_app_of_its_partner_was_sent() {
    run(async {
        let mut board = greeted().await;
        let mut demo = waiting(&board, "demo").await;
        let mut other = waiting(&board, "other").await;
        let (held, confirmed) = (2, 6);
        let of_demo = kept(&board, ("demo", &mut demo), 1).await;
        let of_other = kept(&board, ("other", &mut other), 2).await;
        // Each app has numbers of its own.
        assert_eq!(of_demo, of_other);
        assert_eq!(receipts(&mut board).await, json!([held, 1, 2]));
        let confirm = "WebPortal.confirmPendingNotifications";
        for value in [json!({ "numbers": [0, 1, 2] }), json!({ "upto": 1_000 })] {
            other.send(json!({ "type": confirm, "value": value })).await;
        }
        assert_eq!(other.pending().await, Vec::<Value>::new());
        let told = json!([held, 1, 1, confirmed, 2, 1]);
        assert_eq!(receipts(&mut board).await, told);
        kept(&board, ("other", &mut other), 3).await;
        assert_eq!(other.pending().await, [json!({ "content": { "n": 3 } })]);
        let told = json!([held, 1, 1, confirmed, 2, 2]);
        assert_eq!(receipts(&mut board).await, told);
        // What is for the first app is there, for it alone.
        demo.send(json!({ "type": confirm, "value": { "numbers": [of_demo] } }))
            .await;
        assert_eq!(demo.pending().await, Vec::<Value>::new());
        let told = json!([confirmed, 1, 3]);
        assert_eq!(receipts(&mut board).await, told);
    });
}

#[test]
fn receipts_of_another_life_and_of_messages_that_were_never_sent_settle_nothing() {
    run(async {
        let mut board = greeted().await;
        let mut app = board.app("demo").await;
        send(&mut app, 1, &json!("a")).await;
        app.until(ACCEPTED).await;
        let (_, payload) = loop {
            let sent = board.uplink().await;
            if sent.0.is_empty() {
                break sent;
            }
        };
        assert_eq!(
            payload,
            r#"{"content":{"vinbus":[1,1,1,2592000],"content":"a"}}"#
        );
        let confirmed = |epochs: (u32, u32), first: u32| {
            let (own, peer) = epochs;
            let runs = json!([6, first, 1_000]);
            json!({ "vinbus": { "e": own, "x": peer, "k": 1, "r": runs } })
        };
        board.send("vinbus", &confirmed((1, 1), 2));
        board.send("vinbus", &confirmed((1, 0), 1));
        board.publish_for(
            "stranger",
            json!({ "idApp": "vinbus", "popup": false, "content": confirmed((1, 1), 1) })
                .to_string(),
        );
        // It is told of what came before, so nothing was.
        board.send("demo", &json!("after"));
        let told = app.next_text().await.unwrap();
        assert!(told.contains("after"), "{told}");
        board.send("vinbus", &confirmed((1, 1), 1));
        assert_eq!(app.until(DELIVERED).await["id"], json!(1));
    });
}
