//! The claims. Each takes a broker, connects clients of its own and leaves nothing behind.

use std::time::Duration;

use bytes::Bytes;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

use super::{BrokerUnderTest, Endpoint, Proxy, in_time, wait_for_link};
use crate::{
    Client, ClientOptions, Inbox, LinkError, LinkState, MqttVersion, PublishError, Qos, Will,
    connect,
};

/// Short pauses, so that tests of reconnection are quick.
pub fn impatient(options: ClientOptions) -> ClientOptions {
    options.reconnect_delays(Duration::from_millis(20), Duration::from_millis(200))
}

/// A payload that is a JSON object with a member `content`, of exactly `len` bytes.
///
/// # Panics
///
/// Panics if `len` is below 14.
pub fn payload(len: usize) -> Bytes {
    let text = format!(r#"{{"content":"{}"}}"#, "x".repeat(len - 14));
    assert_eq!(text.len(), len);
    Bytes::from(text)
}

/// Starts a client and waits until it is connected.
///
/// # Panics
///
/// Panics if the options are wrong or the link does not come up.
pub async fn connected(options: ClientOptions) -> (Client, Inbox) {
    let (client, inbox) = connect(options).expect("valid options");
    wait_for_link(client.link(), "the link to come up", is_connected).await;
    (client, inbox)
}

/// Whether the link is up.
pub fn is_connected(state: &LinkState) -> bool {
    matches!(state, LinkState::Connected { .. })
}

/// Why the client cannot connect.
///
/// # Panics
///
/// Panics if the options are wrong, or if the client does connect.
pub async fn link_error(options: ClientOptions) -> LinkError {
    let (client, _inbox) = connect(options).expect("valid options");
    let state = wait_for_link(client.link(), "the link to fail", |state| {
        *state != LinkState::Connecting
    })
    .await;
    match state {
        LinkState::Down(error) => error,
        other => panic!("the link was expected to fail and is {other:?}"),
    }
}

/// What is published through every endpoint with either version comes back byte for byte.
pub async fn every_endpoint_and_version_echoes(broker: &impl BrokerUnderTest) {
    for endpoint in broker.endpoints() {
        for version in broker.versions() {
            let name = format!("echo-{endpoint:?}-{version:?}");
            let options = broker.options(endpoint, broker.url(endpoint), &name).version(version);
            let (client, mut inbox) = connected(options).await;
            let topic = broker.topic(&name);
            in_time("SUBACK", client.subscribe(&topic, Qos::AtMostOnce)).await.expect("granted");
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                let sent = payload(100);
                in_time("the publish", client.publish(&topic, sent.clone(), qos, false))
                    .await
                    .expect("published");
                let message = in_time("the echo", inbox.recv()).await.expect("an open inbox");
                assert_eq!(message.topic, topic);
                assert_eq!(message.payload, sent);
                message.ack();
            }
            in_time("the close", client.close()).await;
        }
    }
}
