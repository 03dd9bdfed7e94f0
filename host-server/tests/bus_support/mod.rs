//! An embedded broker with clients of the bus.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses its part of it"
)]

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use vinbus_host_server::bus::{
    BusClient, BusSettings, ClientChange, ClientKey, ClientName, NewClient, Permissions, TokenKind,
    TokenSettings,
};

use vinbus_host_server::broker::BusIntake;

use crate::broker_support::raw::{Client, Connect, Packet};
use crate::broker_support::{Fixture, within};

/// Other permissions for a client.
pub fn permitted(permissions: Permissions) -> ClientChange {
    ClientChange {
        permissions: Some(permissions),
        ..ClientChange::default()
    }
}

/// A broker that takes clients of the bus.
pub struct BusFixture(Fixture);

impl Deref for BusFixture {
    type Target = Fixture;

    fn deref(&self) -> &Fixture {
        &self.0
    }
}

impl BusFixture {
    pub async fn start() -> Self {
        Self::with(BusSettings::default()).await
    }

    pub async fn with(settings: BusSettings) -> Self {
        Self(Fixture::with_bus(settings, None).await)
    }

    /// With something that takes messages before they are routed.
    pub async fn with_intake(intake: Arc<dyn BusIntake>) -> Self {
        Self(Fixture::with_bus(BusSettings::default(), Some(intake)).await)
    }

    /// With access tokens that live this long.
    pub async fn with_lifetime(lifetime: Duration) -> Self {
        let tokens = TokenSettings {
            lifetime,
            ..TokenSettings::default()
        };
        Self::with(BusSettings {
            tokens,
            ..BusSettings::default()
        })
        .await
    }

    /// Makes a client.
    pub async fn make(&self, app: &str, client: &str, permissions: &[&str]) -> Arc<BusClient> {
        let new = NewClient {
            app: ClientName::parse(app).unwrap(),
            client: Some(ClientName::parse(client).unwrap()),
            name: None,
            permissions: Permissions::parse(permissions).unwrap(),
        };
        let clients = &self.bus.as_ref().unwrap().clients;
        clients.create(new, || true).await.unwrap().0
    }

    /// A token of a client.
    pub fn token(&self, key: &ClientKey, kind: TokenKind) -> String {
        let bus = self.bus.as_ref().unwrap();
        let client = bus.clients.find(key).unwrap();
        bus.tokens.issue(&client, kind).unwrap().token
    }

    /// A CONNECT with a fresh token.
    pub fn connect(&self, client: &BusClient, id: &str) -> Connect {
        let token = self.token(&client.key, TokenKind::Access);
        Connect::new(id).login(&token, "any")
    }

    /// A connected client.
    pub async fn enter(&self, client: &BusClient, id: &str) -> Client {
        let mut entered = self.plain().await;
        entered.enter(&self.connect(client, id)).await;
        entered
    }

    /// A client that is made and connected, with its own name as its client identifier.
    pub async fn entered(&self, app: &str, client: &str, permissions: &[&str]) -> Client {
        let made = self.make(app, client, permissions).await;
        self.enter(&made, client).await
    }

    /// Changes a client.
    pub async fn change(&self, client: &BusClient, change: ClientChange) {
        let clients = &self.bus.as_ref().unwrap().clients;
        within("a change", clients.change(&client.key, change, |_| true))
            .await
            .unwrap();
    }
}

/// Publishes at QoS 1 and gives the reason of the acknowledgement.
pub async fn publish(client: &mut Client, topic: &str, payload: &[u8]) -> u8 {
    client.publish(topic, payload, 1, false).await;
    let answer = client.expect(4).await;
    answer.body.get(2).copied().unwrap_or_default()
}

/// The next packet, which is a DISCONNECT, and its reason; then the end.
pub async fn cut_off(client: &mut Client) -> u8 {
    let last = client.expect(14).await;
    assert_eq!(client.packet().await, None);
    last.body[0]
}

/// Topic and payload of the next message, whatever its QoS, for MQTT 5.
pub async fn hear(client: &mut Client) -> (String, Vec<u8>) {
    let Packet { first, body } = client.expect(3).await;
    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..end].to_vec()).unwrap();
    let properties = if first & 0b0110 == 0 { end } else { end + 2 };
    let payload = properties + 1 + usize::from(body[properties]);
    (topic, body[payload..].to_vec())
}
