//! Messages in both directions, byte for byte.

use serde_json::json;

use crate::app::App;
use crate::world::World;

#[tokio::test]
async fn app_in_the_foreground_gets_its_message_at_once_byte_for_byte() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = vehicle.app("demo").await;
    let content = "{ \"n\":1.0e2,\"t\":\"\\u00e9 \u{e9}\" , \"n\":[ ] }";
    world
        .publish(format!(
            r#"{{"idApp":"demo","popup":false,"content": {content} }}"#
        ))
        .await;
    assert_eq!(
        app.until_text("WebPortal.onCurrentNotificationReceived")
            .await,
        format!(
            r#"{{"type":"WebPortal.onCurrentNotificationReceived","value":{{"content":{content}}}}}"#
        )
    );
}

#[tokio::test]
async fn last_ten_messages_wait_for_an_app_in_the_background_and_are_drained_once() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    for n in 0..11 {
        world.send("demo", &json!(n)).await;
    }
    vehicle.status_reaches("/downlinks/pending", 11).await;
    let mut app = vehicle.app("demo").await;
    let expected: Vec<_> = (1..11).map(|n| json!({ "content": n })).collect();
    assert_eq!(app.pending().await, expected);
    assert!(app.pending().await.is_empty());
}

#[tokio::test]
async fn pending_messages_stay_until_they_are_confirmed_if_the_app_wants() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    for n in 0..3 {
        world.send("demo", &json!(n)).await;
    }
    vehicle.status_reaches("/downlinks/pending", 3).await;
    let mut app = vehicle.app("demo").await;
    let get = json!({ "type": "WebPortal.getPendingNotifications", "id": "a", "value": { "confirm": true } });
    for _ in 0..2 {
        app.send(get.clone()).await;
        let reply = app.until("WebPortal.getPendingNotifications").await;
        assert_eq!(reply["value"].as_array().unwrap().len(), 3);
        assert_eq!((&reply["id"], &reply["upto"]), (&json!("a"), &json!(2)));
    }
    let confirm =
        json!({ "type": "WebPortal.confirmPendingNotifications", "value": { "upto": 1 } });
    app.send(confirm).await;
    assert_eq!(app.pending().await, [json!({ "content": 2 })]);
}

#[tokio::test]
async fn app_sends_to_its_partner_byte_for_byte_and_on_subtopics() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = vehicle.app("demo").await;
    let content = "{ \"n\":1.0e2,\"t\":\"\\u00e9 \u{e9}\" , \"n\":[ ] }";
    let kind = "WebPortal.onSendNotificationRequest";
    // A member that nobody knows.
    let frame = format!(r#"{{"type":"{kind}","id":1,"reciepts":true,"value": {content} }}"#);
    app.send_text(frame).await;
    assert_eq!(
        world.uplink().await,
        (None, format!(r#"{{"content":{content}}}"#))
    );
    let told = app.until("WebPortal.MQTT.evt.messageDelivered").await;
    assert_eq!(told["id"], json!(1));
    assert_eq!(told["value"], json!({ "receipts": false }));
    app.send(json!({ "type": kind, "value": "x", "subtopic": "/my/sub" }))
        .await;
    let expected = (Some("my/sub".to_owned()), r#"{"content":"x"}"#.to_owned());
    assert_eq!(world.uplink().await, expected);
}

#[tokio::test]
async fn app_cannot_speak_for_the_agent() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = vehicle.app("demo").await;
    for (subtopic, reason) in [
        ("vinbus/presence", "reserved-subtopic"),
        ("a/+", "bad-subtopic"),
    ] {
        let kind = "WebPortal.onSendNotificationRequest";
        let value = json!({ "online": false });
        app.send(json!({ "type": kind, "id": 7, "value": value, "subtopic": subtopic }))
            .await;
        let refusal = app.until("WebPortal.MQTT.evt.messageNotDelivered").await;
        assert_eq!(
            (&refusal["value"]["reason"], &refusal["id"]),
            (&json!(reason), &json!(7))
        );
    }
}

#[tokio::test]
async fn two_apps_at_once_are_never_mixed() {
    let mut world = World::new().await;
    let apps = ["left=demo-partner", "right=demo-partner"];
    let vehicle = world.vehicle(&apps, &[]).await;
    let mut left = vehicle.app("left").await;
    let mut right = vehicle.app("right").await;
    // The one that came last has the screen; the messages of the other wait.
    left.until("WebPortal.onApplicationHide").await;
    for n in 0..5 {
        world.send("left", &json!({ "left": n })).await;
        world.send("right", &json!({ "right": n })).await;
    }
    for n in 0..5 {
        assert_eq!(right.message().await, json!({ "content": { "right": n } }));
    }
    vehicle.status_reaches("/downlinks/pending", 5).await;
    let expected: Vec<_> = (0..5)
        .map(|n| json!({ "content": { "left": n } }))
        .collect();
    assert_eq!(left.pending().await, expected);
    assert!(right.pending().await.is_empty());
}

#[tokio::test]
async fn message_for_an_unknown_app_or_from_a_foreign_partner_reaches_nobody_and_is_counted() {
    let mut world = World::new().await;
    let apps = ["demo=demo-partner", "other=other-partner"];
    let vehicle = world.vehicle(&apps, &[]).await;
    let mut app = vehicle.app("demo").await;
    world.send("nobody", &json!(1)).await;
    world
        .publish_for("other-partner", r#"{"idApp":"demo","content":2}"#)
        .await;
    world.publish("not json").await;
    world.send("demo", &json!("good")).await;
    assert_eq!(app.message().await, json!({ "content": "good" }));
    vehicle.status_reaches("/refused/unknownApp", 1).await;
    vehicle.status_reaches("/refused/foreignUid", 1).await;
    vehicle.status_reaches("/refused/envelope", 1).await;
    assert_eq!(vehicle.status().await["downlinks"]["delivered"], json!(1));
    vehicle.log_line("idApp");
}

#[tokio::test]
async fn socket_can_name_its_app_in_the_address() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let url = format!("ws://{}/portal?app=demo", vehicle.portal);
    let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let mut app = App { socket };
    app.send(json!({ "type": "WebPortal.onApplicationLoaded" }))
        .await;
    app.until("WebPortal.onApplicationShow").await;
    world.send("demo", &json!(1)).await;
    assert_eq!(app.message().await, json!({ "content": 1 }));
}
