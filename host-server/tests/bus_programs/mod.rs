//! Programs on the bus of a running server, each with a client and a token of its own.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses its part of it"
)]

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use vinbus_protocol::bus::TopicSpec;
use vinbus_transport_std::bus::{BusClient, BusInbox, BusMessage, BusOptions};

use crate::cli_support::{Server, within};

/// Makes a client of an application; its secret.
pub async fn make(server: &Server, app: &str, client: &str, permissions: &[&str]) -> String {
    let asked = json!({ "clientId": client, "permissions": permissions });
    let path = format!("/api/platform/app/{app}/client");
    let request = server.request(Method::POST, &path);
    let answer = within("a client", request.json(&asked).send())
        .await
        .unwrap();
    let made: Value = answer.json().await.unwrap();
    made["secret"].as_str().expect("a secret").to_owned()
}

pub fn options(server: &Server, app: &str, client: &str, secret: &str) -> BusOptions {
    BusOptions::new(server.url().parse().unwrap(), app, client, secret)
}

/// A program on the bus, over WebSocket.
pub struct Program {
    pub bus: BusClient,
    pub inbox: BusInbox,
}

impl Program {
    /// A client that is made and has its token.
    pub async fn enter(server: &Server, app: &str, client: &str, permissions: &[&str]) -> Self {
        let secret = make(server, app, client, permissions).await;
        let connecting = BusClient::connect(options(server, app, client, &secret));
        let (bus, inbox) = within("a token", connecting).await.unwrap();
        Self { bus, inbox }
    }

    /// Subscribes to a topic of the map.
    pub async fn subscribe(&self, topic: &TopicSpec) {
        self.bus.subscribe(topic, &[]).await.unwrap();
    }

    /// Subscribes to any filter.
    pub async fn subscribe_to(&self, filter: &str) {
        self.bus.subscribe_to(filter).await.unwrap();
    }

    /// Publishes on a topic of the map.
    pub async fn publish(&self, topic: &TopicSpec, payload: impl Into<Bytes>) {
        let published = self.bus.publish(topic, &[], payload.into());
        published.await.unwrap();
    }

    /// Publishes on any topic.
    pub async fn publish_on(&self, topic: &str, payload: impl Into<Bytes>) {
        self.bus.publish_on(topic, payload.into()).await.unwrap();
    }

    /// The next message.
    pub async fn message(&mut self) -> BusMessage {
        within("a message of the bus", self.inbox.recv())
            .await
            .unwrap()
    }

    /// Topic and payload of the next message.
    pub async fn hear(&mut self) -> (String, Value) {
        let message = self.message().await;
        let topic = message.topic().to_owned();
        let payload = serde_json::from_slice(message.payload()).unwrap();
        message.ack();
        (topic, payload)
    }
}
