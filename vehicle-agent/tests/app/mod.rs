//! A socket of a portal, as an app has it, the same on Linux and on a board.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

/// Longest time for anything to happen. Only a broken agent takes it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct App {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl App {
    /// Connects without a word.
    pub(crate) async fn silent(portal: SocketAddr) -> Self {
        Self::at(&format!("ws://{portal}/portal")).await
    }

    pub(crate) async fn at(url: &str) -> Self {
        let (socket, _) = connect_async(url).await.unwrap();
        Self { socket }
    }

    /// Connects with little room for what it does not read.
    pub(crate) async fn with_little_room(portal: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = MaybeTlsStream::Plain(socket.connect(portal).await.unwrap());
        let url = format!("ws://{portal}/portal?app=demo");
        let (socket, _) = client_async(url, stream).await.unwrap();
        Self { socket }
    }

    /// Says hello and waits for the welcome.
    pub(crate) async fn open(portal: SocketAddr, hello: Value) -> Self {
        let mut app = Self::silent(portal).await;
        app.send(json!({ "type": "hello", "value": hello })).await;
        app.until("welcome").await;
        app
    }

    /// Reports that it has loaded and waits until it has the screen.
    pub(crate) async fn load(&mut self) {
        self.send(json!({ "type": "WebPortal.onApplicationLoaded" }))
            .await;
        self.until("WebPortal.onApplicationShow").await;
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, frame: String) {
        self.socket.send(Message::text(frame)).await.unwrap();
    }

    /// Sends content to the partner.
    pub(crate) async fn notify(&mut self, content: &Value) {
        self.send(json!({ "type": "WebPortal.onSendNotificationRequest", "value": content }))
            .await;
    }

    /// Sends the longest content that fits into a payload, and one byte more: the text of its refusal, which names
    /// both sizes.
    pub(crate) async fn notify_the_longest_and_one_byte_more(&mut self) -> String {
        let kind = "WebPortal.onSendNotificationRequest";
        let room = PAYLOAD_BYTES_MAX - r#"{"content":}"#.len();
        for len in [room, room + 1] {
            let content = text(len);
            self.send_text(format!(r#"{{"type":"{kind}","id":1,"value":{content}}}"#))
                .await;
        }
        let refusal = self.until("WebPortal.MQTT.evt.messageNotDelivered").await;
        assert_eq!(refusal["value"]["reason"], "too-large");
        let message = refusal["value"]["message"].as_str().unwrap();
        assert!(
            message.contains("131073") && message.contains("131072"),
            "{message}"
        );
        message.to_owned()
    }

    /// The next text frame; `None` when the socket has ended.
    pub(crate) async fn next_text(&mut self) -> Option<String> {
        loop {
            match timeout(PATIENCE, self.socket.next())
                .await
                .expect("a frame")
            {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Reads up to the next frame of a type; returns its text.
    pub(crate) async fn until_text(&mut self, kind: &str) -> String {
        let start = format!(r#"{{"type":"{kind}""#);
        let mut seen = Vec::new();
        while let Some(text) = self.next_text().await {
            if text.starts_with(&start) {
                return text;
            }
            seen.push(text);
        }
        panic!("the socket ended without {kind:?} after {seen:?}");
    }

    /// Reads up to the next frame of a type.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        serde_json::from_str(&self.until_text(kind).await).unwrap()
    }

    /// The reason of the next refusal.
    pub(crate) async fn refusal(&mut self) -> String {
        let error = self.until("error").await;
        assert!(error["value"]["message"].is_string(), "{error}");
        error["value"]["reason"].as_str().unwrap().to_owned()
    }

    /// The content of the next message.
    pub(crate) async fn message(&mut self) -> Value {
        self.until("WebPortal.onCurrentNotificationReceived").await["value"].clone()
    }

    /// What `getPendingNotifications` returns.
    pub(crate) async fn pending(&mut self) -> Vec<Value> {
        self.send(json!({ "type": "WebPortal.getPendingNotifications" }))
            .await;
        let reply = self.until("WebPortal.getPendingNotifications").await;
        reply["value"].as_array().unwrap().clone()
    }
}

/// A JSON string of so many bytes, quotes included.
pub(crate) fn text(len: usize) -> String {
    format!("\"{}\"", "x".repeat(len - 2))
}

/// The payload of a data message for the app `demo`.
pub(crate) fn envelope(content: &str) -> String {
    format!(r#"{{"idApp":"demo","popup":false,"content":{content}}}"#)
}
