//! Kept sessions: what is not acknowledged comes again.

use std::time::Duration;

use vinbus_transport_std::conformance::{
    BrokerUnderTest, Endpoint, Mosquitto, Proxy, connected, impatient, published, received,
    subscribed, wait_for_link,
};
use vinbus_transport_std::{LinkState, MqttVersion, Qos, Session};

#[tokio::test]
async fn an_unacknowledged_message_is_delivered_again_after_a_reconnection() {
    let broker = Mosquitto::start().await;
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let url = broker.url(Endpoint::Mqtt);
        let proxy = Proxy::to(&url).await;
        let name = format!("kept-{version:?}");
        let options = broker
            .options(Endpoint::Mqtt, proxy.url(&url), &name)
            .version(version)
            .session(Session::Kept {
                expiry: Duration::from_secs(600),
            });
        let (client, mut inbox) = connected(impatient(options)).await;
        subscribed(&client, &name, Qos::AtLeastOnce).await;

        published(&client, &name, "safe".into(), Qos::AtLeastOnce).await;
        published(&client, &name, "unsafe".into(), Qos::AtLeastOnce).await;
        received(&mut inbox).await.ack();
        let stale = received(&mut inbox).await;
        assert_eq!(&stale.payload[..], b"unsafe");
        // The acknowledgement has arrived once the broker has answered what was sent after it.
        published(&client, "elsewhere", "x".into(), Qos::AtLeastOnce).await;
        proxy.cut();

        let again = received(&mut inbox).await;
        assert_eq!(&again.payload[..], b"unsafe");
        stale.ack();
        again.ack();
        let state = wait_for_link(client.link(), "the link", |state| {
            matches!(state, LinkState::Connected { .. })
        })
        .await;
        assert_eq!(
            state,
            LinkState::Connected {
                session_present: true
            }
        );
        assert_eq!(client.counters().connections, 2);
        published(&client, &name, "last".into(), Qos::AtLeastOnce).await;
        assert_eq!(&received(&mut inbox).await.payload[..], b"last");
    }
}

#[tokio::test]
async fn a_session_that_the_broker_kept_is_resumed_by_a_new_process() {
    let broker = Mosquitto::start().await;
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let name = format!("resumed-{version:?}");
        let options = broker
            .options(Endpoint::Mqtt, broker.url(Endpoint::Mqtt), &name)
            .version(version)
            .session(Session::Kept {
                expiry: Duration::from_secs(600),
            });
        let (client, _inbox) = connected(options.clone()).await;
        subscribed(&client, &name, Qos::AtLeastOnce).await;
        client.close().await;

        let sender = broker.options(Endpoint::Mqtt, broker.url(Endpoint::Mqtt), "sender");
        let (sender, _inbox) = connected(sender).await;
        published(&sender, &name, "while away".into(), Qos::AtLeastOnce).await;

        let (client, mut inbox) = connected(options).await;
        assert_eq!(
            *client.link().borrow(),
            LinkState::Connected {
                session_present: true
            }
        );
        let message = received(&mut inbox).await;
        assert_eq!(&message.payload[..], b"while away");
        message.ack();
        published(&client, &name, "and now".into(), Qos::AtLeastOnce).await;
        assert_eq!(&received(&mut inbox).await.payload[..], b"and now");
    }
}

#[tokio::test]
async fn acknowledgements_make_room_within_the_receive_maximum() {
    let broker = Mosquitto::start().await;
    for version in [MqttVersion::V5, MqttVersion::V311] {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let name = format!("room-{version:?}-{qos:?}");
            let options = broker
                .options(Endpoint::Mqtt, broker.url(Endpoint::Mqtt), &name)
                .version(version)
                .receive_maximum(4);
            let (client, mut inbox) = connected(options).await;
            subscribed(&client, &name, qos).await;
            let publisher = client.clone();
            let publishing = tokio::spawn(async move {
                for number in 0..100u8 {
                    published(&publisher, &name, vec![number].into(), qos).await;
                }
            });
            for number in 0..100u8 {
                let message = received(&mut inbox).await;
                assert_eq!((message.qos, &message.payload[..]), (qos, &[number][..]));
                message.ack();
            }
            publishing.await.expect("every publish is acknowledged");
            assert_eq!(client.counters().connections, 1);
        }
    }
}
