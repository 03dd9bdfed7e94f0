//! A bridge to another platform that ends while messages of the platform are on their way: the platform
//! keeps what is not acknowledged, as one with sessions does.

mod cli_support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use cli_support::{Server, Vehicle, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// Messages of the platform, each with its number as packet identifier.
const MESSAGES: u16 = 300;

/// Acknowledged before the bridge ends.
const BEFORE_THE_END: usize = 20;

/// On their way, at most: what the bridge announces.
const ON_THEIR_WAY: usize = 64;

/// One platform with one session, which outlives its connections.
#[derive(Clone, Default)]
struct Platform(Arc<Mutex<Session>>);

#[derive(Default)]
struct Session {
    sent: u16,
    acknowledged: BTreeSet<u16>,
}

impl Platform {
    async fn start(&self) -> SocketAddr {
        let platform = self.clone();
        let upgrade = move |upgrade: WebSocketUpgrade| async move {
            let serve = move |socket| async move { platform.serve(socket).await };
            upgrade.protocols(["mqtt"]).on_upgrade(serve)
        };
        let token = async || {
            let token = json!({ "access_token": "a-token", "expires_in": 43_200 });
            (StatusCode::CREATED, Json(token)).into_response()
        };
        let router = Router::new()
            .route("/api/platform/token/access_token", post(token))
            .route("/mqtt", get(upgrade));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    async fn acknowledges(&self, count: usize) {
        let acknowledged = async {
            while self.0.lock().unwrap().acknowledged.len() < count {
                tokio::task::yield_now().await;
            }
        };
        within("acknowledgements of the bridge", acknowledged).await;
    }

    /// One connection, until it ends.
    async fn serve(&self, mut socket: WebSocket) {
        let mut bytes = Vec::new();
        while let Some(Ok(Message::Binary(more))) = socket.recv().await {
            bytes.extend_from_slice(&more);
            let mut answers = Vec::new();
            while let Some((first, body)) = take_packet(&mut bytes) {
                self.answer(first, &body, &mut answers);
            }
            if !answers.is_empty() {
                // A bridge that has gone may have left acknowledgements that are not read yet.
                let _ = socket.send(Message::Binary(answers.into())).await;
            }
        }
    }

    fn answer(&self, first: u8, body: &[u8], out: &mut Vec<u8>) {
        let mut session = self.0.lock().unwrap();
        match first >> 4 {
            // CONNECT: the session is there.
            1 => out.extend([0x20, 3, 1, 0, 0]),
            // PUBLISH of what becomes of the messages.
            3 if first & 0b110 != 0 => {
                let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                out.extend([0x40, 2, body[at], body[at + 1]]);
            }
            // PUBACK.
            4 => {
                let id = u16::from_be_bytes([body[0], body[1]]);
                assert!(
                    session.acknowledged.insert(id),
                    "{id} is acknowledged twice"
                );
                session.send_next(out);
            }
            // SUBSCRIBE, of one filter; from then on, first what it has not acknowledged.
            8 => {
                out.extend([0x90, 4, body[0], body[1], 0, 1]);
                for id in 1..=session.sent {
                    if !session.acknowledged.contains(&id) {
                        out.extend(publish(id, true));
                    }
                }
                session.send_next(out);
            }
            // PINGREQ.
            12 => out.extend([0xD0, 0]),
            _ => {}
        }
    }
}

impl Session {
    /// Sends on, as much as may be on its way.
    fn send_next(&mut self, out: &mut Vec<u8>) {
        while self.sent < MESSAGES
            && usize::from(self.sent) - self.acknowledged.len() < ON_THEIR_WAY
        {
            self.sent += 1;
            out.extend(publish(self.sent, false));
        }
    }
}

/// A PUBLISH of MQTT 5 at QoS 1.
fn publish(id: u16, again: bool) -> Vec<u8> {
    let topic = "app/myapp/robotics/move";
    let payload = json!({ "number": id }).to_string();
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend(topic.bytes());
    body.extend(id.to_be_bytes());
    body.push(0);
    body.extend(payload.bytes());
    assert!(body.len() < 128, "its length is one byte");
    let mut packet = vec![0x32 | u8::from(again) << 3, body.len() as u8];
    packet.extend(body);
    packet
}

/// The first whole packet, its first byte and its body.
fn take_packet(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (mut length, mut at) = (0, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if bytes.len() < at + length {
        return None;
    }
    let packet: Vec<_> = bytes.drain(..at + length).collect();
    Some((packet[0], packet[at..].to_vec()))
}

/// The server with the vehicles.
async fn host(dir: &Path, platform: SocketAddr) -> Server {
    let (config, secret) = (dir.join("host.toml"), dir.join("secret"));
    let rule = "[[bridge]]\napp = \"myapp\"\nuid = \"demo-partner\"\nvin = \"0123456789ABCDEFG\"\n\
                from-bus = \"robotics/move\"\nid-app = \"demo\"\n";
    std::fs::write(&config, rule).unwrap();
    std::fs::write(&secret, "a-secret").unwrap();
    let url = format!("http://{platform}");
    let args = [
        "--config",
        config.to_str().unwrap(),
        "--mqtt",
        "off",
        "--mqtts",
        "127.0.0.1:0",
        "--platform",
        &url,
        "--platform-client",
        "myapp/bridge",
        "--platform-secret-file",
        secret.to_str().unwrap(),
    ];
    Server::with(&dir.join("host"), &args).await
}

/// The numbers that the vehicle hears, up to the last, of a bridge that was ended by this signal and
/// started again.
async fn heard_over(signal: &str) -> Vec<u16> {
    let (dir, platform) = (TempDir::new().unwrap(), Platform::default());
    let address = platform.start().await;
    let mut first = host(dir.path(), address).await;
    platform.acknowledges(BEFORE_THE_END).await;
    first.signal(signal);
    first.ended().await;
    let second = host(dir.path(), address).await;
    platform.acknowledges(usize::from(MESSAGES)).await;
    let mut vehicle: Vehicle = second.vehicle().await;
    let mut heard = Vec::new();
    while heard.last() != Some(&MESSAGES) {
        let message: Value = serde_json::from_slice(&vehicle.next().await).unwrap();
        heard.push(message["content"]["number"].as_u64().unwrap() as u16);
    }
    heard
}

#[tokio::test]
async fn bridge_that_is_stopped_loses_nothing_and_carries_nothing_twice() {
    let heard = heard_over("TERM").await;
    assert_eq!(heard, (1..=MESSAGES).collect::<Vec<_>>());
}

#[tokio::test]
async fn bridge_that_is_killed_loses_nothing_and_carries_twice_only_what_it_did_not_acknowledge() {
    let mut heard = heard_over("KILL").await;
    assert!(
        heard.len() <= usize::from(MESSAGES) + ON_THEIR_WAY,
        "{heard:?}"
    );
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard, (1..=MESSAGES).collect::<Vec<_>>());
}
