//! A consumer that comes after what it wants was deleted is told how much that was: by a page, by
//! the event stream, by `listen`, and for a webhook by a metric and the log.

mod cli_support;
mod store_support;

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use cli_support::{Listener, Server, within};
use reqwest::Method;
use serde_json::Value;
use store_support::{open, open_with, uplink};
use tokio::sync::mpsc;
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::{Cursor, StampedCursor, Webhook};
use vinbus_host_server::store::Store as _;
use vinbus_host_server::store::sqlite::StoreSettings;

/// Leaves a data folder with the messages 8 to 10 of ten, and the webhook of `url` before the third.
async fn fill(dir: &Path, url: Option<String>) {
    let store = open(dir).unwrap();
    for n in 1..=10 {
        let payload = format!("{{\"content\":{n}{}}}", " ".repeat(1000));
        let stored = store.append_uplink(uplink("demo-partner", 0, payload));
        stored.await.unwrap().unwrap();
    }
    if let Some(url) = url {
        let added = store.add_webhook(Webhook {
            id: "wh_a".to_owned(),
            url,
            uid: None,
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
            cursor: Cursor(2),
            disabled: false,
            private_allowed: true,
        });
        added.await.unwrap().unwrap();
    }
    drop(store);
    let small = StoreSettings {
        uplink_bytes_max: 4000,
        ..StoreSettings::default()
    };
    let store = open_with(dir, small, &Metrics::new()).unwrap();
    let trimmed = async {
        let mut pause = tokio::time::interval(Duration::from_millis(2));
        while store.uplink_after(Cursor(0), None, None, 1).unwrap().lost < 7 {
            pause.tick().await;
        }
    };
    within("the oldest messages are deleted", trimmed).await;
}

#[tokio::test]
async fn a_read_from_the_store_says_how_many_positions_were_deleted_behind_its_cursor() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), None).await;
    let store = open(dir.path()).unwrap();
    for (after, lost) in [(0, 7), (2, 5), (6, 1), (7, 0), (8, 0), (10, 0), (99, 0)] {
        let page = store.uplink_after(Cursor(after), None, None, 10).unwrap();
        assert_eq!(page.lost, lost, "after {after}");
        let other = store_support::uid("other");
        let page = store.uplink_after(Cursor(after), Some(&other), None, 10);
        assert_eq!(page.unwrap().lost, lost, "of nobody, after {after}");
    }
}

/// That of a cursor as it is handed out.
fn position(cursor: &Value) -> u64 {
    let cursor: StampedCursor = cursor.as_str().unwrap().parse().unwrap();
    cursor.cursor.0
}

#[tokio::test]
async fn a_page_and_a_stream_tell_what_was_deleted_behind_their_cursor() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), None).await;
    let server = Server::start(dir.path()).await;
    for (query, lost) in [
        ("", 0),
        ("?after=2", 5),
        ("?after=2-123456", 5),
        ("?after=2&uid=other", 5),
    ] {
        let page = server.get(&format!("/api/v1/messages{query}")).await;
        assert_eq!(page["lost"], lost, "{query}");
        assert_eq!(position(&page["next"]), 10, "{query}");
    }
    let next = server.get("/api/v1/messages?after=10").await;
    assert_eq!(next["lost"], 0);

    let request = server.request(Method::GET, "/api/v1/messages/stream?after=2");
    let mut answer = request.send().await.unwrap();
    let mut seen = String::new();
    while !seen.contains("\"cursor\":\"10-") {
        let chunk = within("the stream goes on", answer.chunk()).await.unwrap();
        seen.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    let lost = "event: lost\nid: 7\ndata: {\"lost\":5}\n\nid: 8-";
    assert!(seen.contains(lost), "{seen}");
}

#[tokio::test]
async fn listen_says_on_standard_error_what_it_cannot_print() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), None).await;
    let server = Server::start(dir.path()).await;
    let mut listener = Listener::start(&server, &["--after", "2"]).await;
    listener.says("5 messages").await;
    let first: Value = serde_json::from_str(&listener.line().await).unwrap();
    assert_eq!(first["content"], 8);
}

#[tokio::test]
async fn a_webhook_goes_on_behind_what_was_deleted_and_that_is_counted_and_logged() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let (sender, mut received) = mpsc::unbounded_channel();
    let endpoint = Router::new().route(
        "/",
        post(async move |body: String| {
            let _ = sender.send(body);
            StatusCode::NO_CONTENT
        }),
    );
    tokio::spawn(async move { axum::serve(socket, endpoint).await });
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), Some(url)).await;
    let server = Server::start(dir.path()).await;
    for expected in 8..=10 {
        let body = within("a delivery", received.recv()).await.unwrap();
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(position(&event["data"]["cursor"]), expected);
    }
    let metrics = server.request(Method::GET, "/metrics").send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nvinbus_webhook_lost_total 5\n"));
    let printed = server.printed();
    assert!(
        printed.contains("a webhook lost what was deleted"),
        "{printed}"
    );
}
