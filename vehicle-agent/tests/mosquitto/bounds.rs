//! Sizes, exact to the byte.

use serde_json::json;

use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

use crate::app::{envelope, text};
use crate::world::World;

#[tokio::test]
async fn largest_message_passes_down_and_one_byte_more_is_dropped_and_counted() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = vehicle.app("demo").await;
    let room = PAYLOAD_BYTES_MAX - envelope("").len();
    let largest = envelope(&text(room));
    assert_eq!(largest.len(), 131_072);
    world.publish(largest).await;
    let frame = app.until("WebPortal.onCurrentNotificationReceived").await;
    assert_eq!(frame["value"]["content"].as_str().unwrap().len(), room - 2);

    // Our own client refuses to send more, so another one has to.
    let too_large = envelope(&text(room + 1));
    assert_eq!(too_large.len(), 131_073);
    let file = world.folder.path().join("too-large");
    std::fs::write(&file, too_large).unwrap();
    let port = world
        .url()
        .rsplit(':')
        .next()
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    let sent = std::process::Command::new("mosquitto_pub")
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-u",
            crate::world::USER,
            "-P",
            crate::world::PASSWORD,
        ])
        .args([
            "-q",
            "1",
            "-t",
            "psa/OVIPPartners-Dev/to/uid/demo-partner/opa/0123456789ABCDEFG/",
            "-f",
        ])
        .arg(&file)
        .status()
        .expect("the tests need a second client: apt-get install mosquitto-clients");
    assert!(sent.success());
    world.send("demo", &json!("next")).await;
    assert_eq!(app.message().await, json!({ "content": "next" }));
    let status = vehicle.status().await;
    assert_eq!(status["refused"]["oversize"], json!(1));
    assert_eq!(status["sessions"], json!(1), "the connection did not break");
}

#[tokio::test]
async fn largest_message_passes_up_and_one_byte_more_is_refused_with_both_numbers() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = vehicle.app("demo").await;
    let message = app.notify_the_longest_and_one_byte_more().await;
    assert_eq!(world.uplink().await.1.len(), 131_072);
    for way in ["\"receipts\":true", "--receipts-for", "app --receipts"] {
        assert!(message.contains(way), "{message}");
    }
    app.notify(&json!("next")).await;
    assert_eq!(world.uplink().await.1, r#"{"content":"next"}"#);
}
