//! What the agent reports of those who do not behave.

use serde_json::json;
use vinbus_protocol::limits::{HEALTH_INTERVAL_MS, PAYLOAD_BYTES_MAX};

use crate::app::{App, envelope, text};
use crate::board::{Board, Memory, run};
use crate::wire::REFUSED;

const SEND: &str = "WebPortal.onSendNotificationRequest";
const NOT_DELIVERED: &str = "WebPortal.MQTT.evt.messageNotDelivered";

#[test]
fn everything_bad_is_counted_under_its_own_name_and_reported() {
    run(async {
        let little = Memory {
            pending: 1000,
            ..Memory::default()
        };
        let mut board = Board::offline(little).await;
        let mut app = board.app("demo").await;

        // Programs that misbehave.
        for _ in 0..1 {
            board.request(b"no request of HTTP\r\n\r\n").await;
        }
        for _ in 0..2 {
            let mut nobody = App::silent(board.address).await;
            nobody
                .send(json!({ "type": "WebPortal.onApplicationLoaded" }))
                .await;
            assert_eq!(nobody.refusal().await, "no-hello");
            assert!(nobody.next_text().await.is_none());
        }
        for _ in 0..3 {
            app.send_text("no frame".into()).await;
            assert_eq!(app.refusal().await, "bad-frame");
        }
        // An app that sends what nobody can take, more than can wait, and what the broker refuses.
        for _ in 0..4 {
            app.send(json!({ "type": SEND, "value": 1, "subtopic": "+" }))
                .await;
            app.until(NOT_DELIVERED).await;
        }
        for _ in 0..4 + 5 {
            app.notify(&json!("more than can wait")).await;
        }
        for _ in 0..5 {
            app.until(NOT_DELIVERED).await;
        }
        board.connect();
        for _ in 0..4 {
            board.uplink().await;
        }
        for _ in 0..6 {
            app.send(json!({ "type": SEND, "value": 1, "subtopic": REFUSED }))
                .await;
            app.until(NOT_DELIVERED).await;
        }

        // A partner and a broker that do.
        for n in 0..10 + 7 {
            board.send("other", &json!(n));
        }
        for _ in 0..8 {
            board.publish_on("elsewhere".into(), envelope("1"));
        }
        for _ in 0..9 {
            board.publish("no envelope");
        }
        let no_content = envelope("").len();
        board.publish(envelope(&text(PAYLOAD_BYTES_MAX + 1 - no_content)));
        for _ in 0..11 {
            board.send("nobody", &json!(1));
        }
        for _ in 0..12 {
            board.publish_for("nobody", envelope("1"));
        }
        for _ in 0..13 {
            // More than the app's memory.
            board.send("other", &json!("x".repeat(1000)));
        }
        // One is shown, and five wait.
        for _ in 0..1 + 5 + 14 {
            board.publish(r#"{"idApp":"demo","popup":true,"popupText":"again"}"#);
        }
        board.send("demo", &json!("the last one"));
        assert_eq!(app.message().await, json!({ "content": "the last one" }));

        // It goes in order, before so much time passes that it would be missed.
        app.socket.close(None).await.unwrap();
        assert!(app.next_text().await.is_none());
        board.clock.advance(HEALTH_INTERVAL_MS);
        let mut report = board.health().await;
        while report["troubles"]["foreignTopic"].is_null() {
            report = board.health().await;
        }
        let expected = json!({
            "socketsRefused": 1,
            "socketsEnded": 2,
            "framesRefused": 3,
            "uplinksRefused": 4,
            "uplinksDropped": 5,
            "uplinksRefusedByBroker": 6,
            "evicted": 7,
            "foreignTopic": 8,
            "envelope": 9,
            "oversize": 1,
            "unknownApp": 11,
            "foreignUid": 12,
            "tooLarge": 13,
            "popupOverflow": 14,
        });
        assert_eq!(report["troubles"], expected);
    });
}
