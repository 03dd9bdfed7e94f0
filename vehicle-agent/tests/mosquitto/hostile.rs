//! Apps that do not behave cost nobody else anything.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::app::App;
use crate::world::World;

/// Random bytes of a fixed seed (xorshift).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

#[tokio::test]
async fn random_bytes_break_nothing() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = vehicle.app("demo").await;
    for len in [1, 100, 10_000] {
        let mut raw = TcpStream::connect(vehicle.portal).await.unwrap();
        raw.write_all(&noise(len)).await.unwrap();
        raw.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // The portal may reset the connection instead of answering.
        let _ = raw.read_to_end(&mut answer).await;
    }
    let text = String::from_utf8_lossy(&noise(1000)).into_owned();
    app.send_text(text).await;
    assert_eq!(
        app.until("error").await["value"]["reason"],
        json!("bad-frame")
    );
    app.socket.send(Message::binary(noise(1000))).await.unwrap();
    assert_eq!(
        app.until("error").await["value"]["reason"],
        json!("bad-frame")
    );
    for frame in [
        "",
        "{}",
        "[]",
        "{\"type\":1}",
        "{\"type\":\"x\",\"type\":\"y\"}",
    ] {
        app.send_text(frame.into()).await;
        assert!(
            app.until("error").await["value"]["message"].is_string(),
            "{frame}"
        );
    }
    world.send("demo", &json!("still there")).await;
    assert_eq!(app.message().await, json!({ "content": "still there" }));
    let sockets = &vehicle.status().await["sockets"];
    assert_eq!(sockets["refusedRequest"], json!(3), "{sockets}");
    assert_eq!(sockets["refusedFrames"], json!(7), "{sockets}");
}

#[tokio::test]
async fn nested_content_is_refused_with_the_reason() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = vehicle.app("demo").await;
    let content = "[".repeat(500) + &"]".repeat(500);
    let kind = "WebPortal.onSendNotificationRequest";
    app.send_text(format!(r#"{{"type":"{kind}","id":1,"value":{content}}}"#))
        .await;
    let refusal = app.until("WebPortal.MQTT.evt.messageNotDelivered").await;
    assert_eq!(refusal["value"]["reason"], json!("bad-content"));
}

#[tokio::test]
async fn huge_frame_ends_its_socket_only() {
    let mut world = World::new().await;
    let apps = ["demo=demo-partner", "other=demo-partner"];
    let vehicle = world.vehicle(&apps, &[]).await;
    let mut huge = vehicle.app("other").await;
    let mut app = vehicle.app("demo").await;
    // The portal may end the socket before it has read all of it.
    let _ = huge.socket.send(Message::text("x".repeat(4_000_000))).await;
    assert_eq!(
        huge.until("error").await["value"]["reason"],
        json!("frame-too-large")
    );
    world.send("demo", &json!(1)).await;
    assert_eq!(app.message().await, json!({ "content": 1 }));
}

#[tokio::test]
async fn frame_that_is_none_ends_its_socket_with_the_reason_and_is_counted() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let frame = |bytes: &[u8], code, last| Frame::message(bytes.to_vec(), OpCode::Data(code), last);
    let bad = [
        (frame(b"\"\xc3\"", Data::Text, true), 1007),
        (frame(b"\"\xc3\"", Data::Text, false), 1007),
        (frame(b"x", Data::Continue, true), 1002),
        (frame(b"x", Data::Reserved(5), true), 1002),
    ];
    for (ended, (frame, code)) in (1..).zip(bad) {
        let mut app = vehicle.app("demo").await;
        app.socket.send(Message::Frame(frame)).await.unwrap();
        assert_eq!(app.refusal().await, "bad-frame");
        let close = app.socket.next().await.unwrap().unwrap();
        let Message::Close(Some(close)) = close else {
            panic!("{close:?}");
        };
        assert_eq!((u16::from(close.code), &*close.reason), (code, "bad-frame"));
        assert_eq!(vehicle.status().await["sockets"]["ended"], json!(ended));
    }
    let mut app = vehicle.app("demo").await;
    world.send("demo", &json!(1)).await;
    assert_eq!(app.message().await, json!({ "content": 1 }));
}

#[tokio::test]
async fn socket_that_breaks_is_nobodys_fault() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = vehicle.app("demo").await;
    let connection = app.socket.get_mut();
    connection.shutdown().await.unwrap();
    connection.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(vehicle.status().await["sockets"]["ended"], json!(0));
}

#[tokio::test]
async fn flood_is_told_and_then_ended_and_others_are_served_meanwhile() {
    let text = r#"{"type":"WebPortal.onSendNotificationRequest","id":1,"value":1}"#;
    flood(Message::text(text)).await;
}

#[tokio::test]
async fn flood_of_frames_that_are_no_text_is_ended_as_well() {
    flood(Message::binary(noise(10))).await;
}

#[tokio::test]
async fn flood_of_pings_is_ended_as_well() {
    flood(Message::Ping("are you there?".into())).await;
}

async fn flood(frame: Message) {
    let mut world = World::new().await;
    let apps = ["demo=demo-partner", "other=demo-partner"];
    let vehicle = world.vehicle(&apps, &["--app-rate", "1"]).await;
    let flood = vehicle.app("other").await;
    let mut app = vehicle.app("demo").await;
    let (mut sink, stream) = flood.socket.split();
    let sending = tokio::spawn(async move { while sink.send(frame.clone()).await.is_ok() {} });
    let frames: Vec<_> = stream
        .filter_map(|frame| async { frame.ok()?.into_text().ok() })
        .collect()
        .await;
    let told = frames
        .iter()
        .filter(|text| text.contains(r#""reason":"rate""#))
        .count();
    assert!(told > 0, "the app was told");
    sending.await.unwrap();
    world.send("demo", &json!(1)).await;
    assert_eq!(app.message().await, json!({ "content": 1 }));
}

#[tokio::test]
async fn app_that_never_reads_loses_nothing_but_what_is_evicted() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let deaf = vehicle.app("demo").await;
    let content = "x".repeat(100_000);
    let mut sent = 0;
    // Until the buffers of kernel and portal are full.
    while vehicle.status().await["downlinks"]["pending"] == json!(0) {
        world
            .send("demo", &json!({ "n": sent, "x": content }))
            .await;
        sent += 1;
        assert!(
            sent < 1000,
            "the portal holds {sent} messages for an app that never reads"
        );
    }
    vehicle.status_reaches("/received", sent).await;
    let mut app = vehicle.app("demo").await;
    let pending = app.pending().await;
    let numbers: Vec<_> = pending
        .iter()
        .map(|m| m["content"]["n"].as_u64().unwrap())
        .collect();
    let expected: Vec<_> = (sent - numbers.len() as u64..sent).collect();
    assert_eq!(
        numbers,
        expected,
        "the newest, in order, none missing: {}",
        vehicle.status().await
    );
    assert!(!numbers.is_empty() && numbers.len() <= 10);
    drop(deaf);
}

#[tokio::test]
async fn messages_that_find_no_room_arrive_in_order_when_the_app_reads() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = vehicle.app("demo").await;
    let content = "x".repeat(100_000);
    let mut sent = 0;
    while vehicle.status().await["downlinks"]["pending"] == json!(0) {
        world
            .send("demo", &json!({ "n": sent, "x": content }))
            .await;
        sent += 1;
    }
    for n in 0..sent {
        assert_eq!(app.message().await["content"]["n"], json!(n));
    }
    assert_eq!(vehicle.status().await["sockets"]["ended"], json!(0));
}

#[tokio::test]
async fn sockets_are_bounded() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut sockets = Vec::new();
    for _ in 0..64 {
        sockets.push(App::silent(vehicle.portal).await);
    }
    let refused = connect_async(format!("ws://{}/portal", vehicle.portal)).await;
    let Err(Error::Http(response)) = refused else {
        panic!("the 65th socket was let in");
    };
    assert_eq!(response.status(), 503);
    let sockets = &vehicle.status().await["sockets"];
    assert_eq!(sockets["refusedFull"], json!(1));
}

#[tokio::test]
async fn one_connection_too_many_is_refused_and_open_sockets_are_none_of_them() {
    let mut world = World::new().await;
    let bounds = ["--portal-connections", "2"];
    let vehicle = world.vehicle(&["demo=demo-partner"], &bounds).await;
    let mut app = vehicle.app("demo").await;
    let idle = || TcpStream::connect(vehicle.portal);
    let _idle = (idle().await.unwrap(), idle().await.unwrap());
    let mut refused = idle().await.unwrap();
    let mut answer = String::new();
    refused.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    vehicle.log_line("too many connections to the portal");
    world.send("demo", &json!("still there")).await;
    assert_eq!(app.message().await, json!({ "content": "still there" }));
}

#[tokio::test]
async fn connection_without_the_head_of_a_request_is_given_up_and_counted() {
    let mut world = World::new().await;
    let bounds = ["--portal-header-time", "0.2"];
    let vehicle = world.vehicle(&["demo=demo-partner"], &bounds).await;
    let mut half = TcpStream::connect(vehicle.portal).await.unwrap();
    half.write_all(b"GET /status HTTP/1.1\r\n").await.unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "");
    vehicle.status_reaches("/sockets/headTimeouts", 1).await;
}

#[tokio::test]
async fn web_pages_of_other_origins_are_refused() {
    let mut world = World::new().await;
    let allowed = "https://shell.example";
    let vehicle = world
        .vehicle(&["demo=demo-partner"], &["--allow-origin", allowed])
        .await;
    let own = format!("http://{}", vehicle.portal);
    for (origin, status) in [
        (own.as_str(), 101),
        (allowed, 101),
        ("http://evil.example", 403),
        ("null", 403),
    ] {
        let mut request = format!("ws://{}/portal", vehicle.portal)
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("Origin", origin.parse().unwrap());
        let got = match connect_async(request).await {
            Ok((_, response)) => response.status(),
            Err(Error::Http(response)) => response.status(),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(got, status, "{origin}");
    }
    let sockets = &vehicle.status().await["sockets"];
    assert_eq!(sockets["refusedOrigin"], json!(2));
}
