//! The client of the bus, against a platform that says what a test tells it to and a real mosquitto.

mod link;
mod platform;
mod refusals;
mod renewal;

use vinbus_transport_std::bus::{BusClient, BusInbox, BusMessage, BusOptions};
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto, in_time};

use crate::platform::Platform;

/// A client of the app `myapp` at `platform` and, by WebSocket, at `broker`.
fn options(platform: &Platform, broker: &Mosquitto, client: &str) -> BusOptions {
    BusOptions::new(platform.url(), "myapp", client, "the secret")
        .broker(broker.url(Endpoint::Ws))
        .password(Mosquitto::PASSWORD)
}

async fn connected(options: BusOptions) -> (BusClient, BusInbox) {
    let connecting = BusClient::connect(options);
    in_time("a token", connecting).await.expect("a client")
}

async fn received(inbox: &mut BusInbox) -> BusMessage {
    in_time("a message", inbox.recv()).await.expect("a message")
}
