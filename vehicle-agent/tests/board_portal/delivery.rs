//! Messages in both directions, byte for byte.

use serde_json::json;

use crate::app::App;
use crate::board::{Board, Memory, run};

const CONTENT: &str = "{ \"n\":1.0e2,\"t\":\"\\u00e9 \u{e9}\" , \"n\":[ ] }";

#[test]
fn app_in_the_foreground_gets_its_message_at_once_byte_for_byte() {
    run(async {
        let board = Board::new().await;
        let mut app = board.app("demo").await;
        board.publish(format!(
            r#"{{"idApp":"demo","popup":false,"content": {CONTENT} }}"#
        ));
        let kind = "WebPortal.onCurrentNotificationReceived";
        let frame = format!(r#"{{"type":"{kind}","value":{{"content":{CONTENT}}}}}"#);
        assert_eq!(app.until_text(kind).await, frame);
    });
}

#[test]
fn last_ten_messages_wait_for_an_app_in_the_background_and_are_drained_once() {
    run(async {
        let board = Board::new().await;
        for n in 0..11 {
            board.send("demo", &json!(n));
        }
        board.status_reaches("/downlinks/pending", 11).await;
        let mut app = board.app("demo").await;
        let expected: Vec<_> = (1..11).map(|n| json!({ "content": n })).collect();
        assert_eq!(app.pending().await, expected);
        assert!(app.pending().await.is_empty());
    });
}

#[test]
fn pending_messages_stay_until_they_are_confirmed_if_the_app_wants() {
    run(async {
        let board = Board::new().await;
        for n in 0..3 {
            board.send("demo", &json!(n));
        }
        board.status_reaches("/downlinks/pending", 3).await;
        let mut app = board.app("demo").await;
        let kind = "WebPortal.getPendingNotifications";
        for _ in 0..2 {
            app.send(json!({ "type": kind, "id": "a", "value": { "confirm": true } }))
                .await;
            let reply = app.until(kind).await;
            assert_eq!(reply["value"].as_array().unwrap().len(), 3);
            assert_eq!((&reply["id"], &reply["upto"]), (&json!("a"), &json!(2)));
        }
        let kind = "WebPortal.confirmPendingNotifications";
        app.send(json!({ "type": kind, "value": { "upto": 1 } }))
            .await;
        assert_eq!(app.pending().await, [json!({ "content": 2 })]);
    });
}

#[test]
fn pending_messages_asked_for_twice_at_once_are_handed_out_once() {
    run(async {
        let board = Board::new().await;
        for n in 0..3 {
            board.send("demo", &json!(n));
        }
        board.status_reaches("/downlinks/pending", 3).await;
        let mut app = board.app("demo").await;
        let kind = "WebPortal.getPendingNotifications";
        for id in 0..2 {
            app.send(json!({ "type": kind, "id": id })).await;
        }
        for (id, len) in [(0, 3), (1, 0)] {
            let reply = app.until(kind).await;
            assert_eq!(reply["id"], json!(id));
            assert_eq!(reply["value"].as_array().unwrap().len(), len);
        }
    });
}

#[test]
fn board_with_little_memory_hands_out_what_fits_and_the_rest_when_it_is_asked_again() {
    run(async {
        let memory = Memory {
            outbox: 4096,
            ..Memory::default()
        };
        let board = Board::with_memory(memory).await;
        let text = "x".repeat(1000);
        for n in 0..10 {
            board.send("demo", &json!([n, text]));
        }
        board.status_reaches("/downlinks/pending", 10).await;
        let mut app = board.app("demo").await;
        let mut taken = Vec::new();
        while taken.len() < 10 {
            let some = app.pending().await;
            assert!((1..=4).contains(&some.len()), "{} fit", some.len());
            taken.extend(some);
        }
        let expected: Vec<_> = (0..10).map(|n| json!({ "content": [n, text] })).collect();
        assert_eq!(taken, expected);
    });
}

#[test]
fn app_sends_to_its_partner_byte_for_byte_and_on_subtopics() {
    run(async {
        let mut board = Board::new().await;
        let mut app = board.app("demo").await;
        let kind = "WebPortal.onSendNotificationRequest";
        // A member that nobody knows.
        let frame = format!(r#"{{"type":"{kind}","id":1,"reciepts":true,"value": {CONTENT} }}"#);
        app.send_text(frame).await;
        let payload = format!(r#"{{"content":{CONTENT}}}"#);
        assert_eq!(board.uplink().await, (String::new(), payload));
        let told = app.until("WebPortal.MQTT.evt.messageDelivered").await;
        assert_eq!(told["id"], json!(1));
        assert_eq!(told["value"], json!({ "receipts": false }));
        app.send(json!({ "type": kind, "value": "x", "subtopic": "/my/sub" }))
            .await;
        let expected = ("my/sub".into(), r#"{"content":"x"}"#.into());
        assert_eq!(board.uplink().await, expected);
    });
}

#[test]
fn messages_sent_while_the_link_is_down_meet_their_fates_in_order() {
    run(async {
        let mut board = Board::offline(Memory::default()).await;
        let mut app = board.app("demo").await;
        let kind = "WebPortal.onSendNotificationRequest";
        // Four may wait; the two oldest are dropped for the newest.
        for id in 0..6 {
            app.send(json!({ "type": kind, "id": id, "value": id }))
                .await;
        }
        for id in 0..2 {
            let told = app.until("WebPortal.MQTT.evt.messageNotDelivered").await;
            assert_eq!(told["id"], json!(id));
            assert_eq!(told["value"]["reason"], json!("dropped"));
        }
        board.connect();
        let status = app.until("WebPortal.MQTT.evt.status").await;
        assert_eq!(status["value"], json!("connected"));
        for id in 2..6 {
            assert_eq!(board.uplink().await.1, format!(r#"{{"content":{id}}}"#));
            let told = app.until("WebPortal.MQTT.evt.messageDelivered").await;
            assert_eq!(told["id"], json!(id));
        }
    });
}

#[test]
fn app_cannot_speak_for_the_agent() {
    run(async {
        let board = Board::new().await;
        let mut app = board.app("demo").await;
        let long = "s".repeat(65);
        for (subtopic, reason) in [
            ("vinbus/presence", "reserved-subtopic"),
            ("a/+", "bad-subtopic"),
            (long.as_str(), "bad-subtopic"),
        ] {
            let kind = "WebPortal.onSendNotificationRequest";
            app.send(json!({ "type": kind, "id": 7, "value": 1, "subtopic": subtopic }))
                .await;
            let told = app.until("WebPortal.MQTT.evt.messageNotDelivered").await;
            assert_eq!(
                (&told["value"]["reason"], &told["id"]),
                (&json!(reason), &json!(7))
            );
        }
    });
}

#[test]
fn two_apps_at_once_are_never_mixed() {
    run(async {
        let board = Board::new().await;
        let mut left = board.app("demo").await;
        let mut right = board.app("other").await;
        // The one that came last has the screen; the messages of the other wait.
        left.until("WebPortal.onApplicationHide").await;
        for n in 0..5 {
            board.send("demo", &json!({ "left": n }));
            board.send("other", &json!({ "right": n }));
        }
        for n in 0..5 {
            assert_eq!(right.message().await, json!({ "content": { "right": n } }));
        }
        board.status_reaches("/downlinks/pending", 5).await;
        let expected: Vec<_> = (0..5)
            .map(|n| json!({ "content": { "left": n } }))
            .collect();
        assert_eq!(left.pending().await, expected);
        assert!(right.pending().await.is_empty());
    });
}

#[test]
fn message_for_an_unknown_app_or_from_a_foreign_partner_reaches_nobody_and_is_counted() {
    run(async {
        let board = Board::new().await;
        let mut app = board.app("demo").await;
        board.send("nobody", &json!(1));
        board.publish_for("other-partner", r#"{"idApp":"demo","content":2}"#);
        board.publish("not json");
        board.send("demo", &json!("good"));
        assert_eq!(app.message().await, json!({ "content": "good" }));
        let status = board.status().await;
        assert_eq!(status["refused"]["unknownApp"], json!(1));
        assert_eq!(status["refused"]["foreignUid"], json!(1));
        assert_eq!(status["refused"]["envelope"], json!(1));
        assert_eq!(status["downlinks"]["delivered"], json!(1));
    });
}

#[test]
fn socket_can_name_its_app_in_the_address() {
    run(async {
        let board = Board::new().await;
        let mut app = App::at(&format!("ws://{}/portal?app=d%65mo", board.address)).await;
        app.load().await;
        board.send("demo", &json!(1));
        assert_eq!(app.message().await, json!({ "content": 1 }));
    });
}
