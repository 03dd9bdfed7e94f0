//! MQTT over WebSocket: which web pages may open one.

mod rest_support;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocket;
use futures_util::future::BoxFuture;
use rest_support::{Rest, Setup};
use vinbus_host_server::api::MqttOverWebSocket;

/// Ends every WebSocket at once.
struct Closed;

impl MqttOverWebSocket for Closed {
    fn serve(&self, _: WebSocket, _: SocketAddr) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// The answer to an upgrade with these headers besides the needed ones.
async fn upgrade(rest: &Rest, headers: &str) -> String {
    let host = rest.address;
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: mqtt\r\n{headers}\r\n"
    );
    rest.raw(request).await
}

#[tokio::test]
async fn pages_of_foreign_origins_are_answered_403_and_programs_are_let_in() {
    let rest = Rest::with(Setup {
        mqtt: Some(Arc::new(Closed)),
        allow_origin: vec!["https://console.example".to_owned()],
        ..Setup::default()
    })
    .await;
    let own = format!("origin: http://{}\r\n", rest.address);
    for headers in ["", "origin: https://console.example\r\n", &own] {
        let answer = upgrade(&rest, headers).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{headers}: {answer}");
    }
    let last = "connection: close\r\n";
    for origin in ["https://evil.example", "null"] {
        let answer = upgrade(&rest, &format!("origin: {origin}\r\n{last}")).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(answer.contains("--allow-origin"), "{answer}");
    }
}
