//! A consumer that does not read costs no memory and no connection.

use std::time::Duration;

use vinbus_transport_std::conformance::{
    BrokerUnderTest, Endpoint, Mosquitto, Proxy, connected, in_time, published, received,
    subscribed,
};
use vinbus_transport_std::{MqttVersion, Qos};

const MESSAGES: u64 = 300;

#[tokio::test]
async fn a_full_inbox_stops_the_reading_and_keeps_the_connection_alive() {
    let broker = Mosquitto::start().await;
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let url = broker.url(Endpoint::Mqtt);
        let proxy = Proxy::to(&url).await;
        let name = format!("slow-{version:?}");
        let options = broker
            .options(Endpoint::Mqtt, proxy.url(&url), &name)
            .version(version)
            .keep_alive(Duration::from_secs(1))
            .inbound_messages_max(4);
        let (slow, mut inbox) = connected(options).await;
        subscribed(&slow, &name, Qos::AtLeastOnce).await;

        let sender = broker.options(Endpoint::Mqtt, url, "sender");
        let (sender, _inbox) = connected(sender).await;
        for _ in 0..MESSAGES {
            published(&sender, &name, vec![7; 32 * 1024].into(), Qos::AtLeastOnce).await;
        }
        // Four more pings of two bytes: the link outlives several keep-alive times.
        let mut sent = proxy.sent();
        let before = *sent.borrow_and_update();
        in_time("pings", sent.wait_for(|sum| *sum >= before + 8))
            .await
            .expect("a proxy");
        assert_eq!(
            slow.counters().received,
            4,
            "the inbox holds no more than it may"
        );

        for _ in 0..MESSAGES {
            let message = received(&mut inbox).await;
            assert_eq!(message.payload.len(), 32 * 1024);
            message.ack();
        }
        assert_eq!(slow.counters().connections, 1);
        assert_eq!(slow.counters().received, MESSAGES);
    }
}
