//! Messages that a broker should not have sent.

use vinbus_transport_std::conformance::{connected, in_time, received, wait_for_link};
use vinbus_transport_std::{LinkError, LinkState, PublishError, Qos};

use crate::VERSIONS;
use crate::peer::{DISCONNECT, PUBACK, Peer, publish};

#[tokio::test]
async fn an_oversize_message_is_acknowledged_counted_and_dropped() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let ((client, mut inbox), mut connection) = tokio::join!(
            connected(peer.options("mqtt", version)),
            peer.welcome(version)
        );
        connection
            .send(&publish(version, 7, b"a", &vec![0; 131_073]))
            .await;
        let ack = connection.packet().await;
        assert_eq!(ack[..4], [PUBACK, ack[1], 0, 7]);
        connection
            .send(&publish(version, 0, b"a", &vec![1; 131_072]))
            .await;
        assert_eq!(received(&mut inbox).await.payload, vec![1; 131_072]);
        assert_eq!(client.counters().oversize_dropped, 1);
        assert_eq!(client.counters().connections, 1);
    }
}

#[tokio::test]
async fn a_packet_beyond_a_mebibyte_ends_the_link() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let ((client, _inbox), mut connection) = tokio::join!(
            connected(peer.options("mqtt", version)),
            peer.welcome(version)
        );
        connection
            .send(&publish(version, 0, b"a", &vec![0; 1024 * 1024])[..1000])
            .await;
        wait_for_link(client.link(), "the refusal", |state| {
            matches!(state, LinkState::Down(LinkError::PacketTooLarge { .. }))
        })
        .await;
    }
}

#[tokio::test]
async fn messages_that_arrive_just_before_the_connection_ends_are_delivered() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let ((_client, mut inbox), mut connection) = tokio::join!(
            connected(peer.options("mqtt", version)),
            peer.welcome(version)
        );
        let burst: Vec<u8> = (0..50)
            .flat_map(|number| publish(version, 0, b"a", &[number]))
            .collect();
        connection.send(&burst).await;
        drop(connection);
        for number in 0..50 {
            assert_eq!(received(&mut inbox).await.payload[..], [number]);
        }
    }
}

#[tokio::test]
async fn a_topic_that_is_not_utf_8_breaks_the_protocol() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let ((client, _inbox), mut connection) = tokio::join!(
            connected(peer.options("mqtt", version)),
            peer.welcome(version)
        );
        connection.send(&publish(version, 0, b"\xFF", b"")).await;
        wait_for_link(client.link(), "the refusal", |state| {
            matches!(state, LinkState::Down(LinkError::Protocol { .. }))
        })
        .await;
    }
}

#[tokio::test]
async fn a_message_larger_than_this_broker_takes_is_refused_and_the_link_stays_up() {
    let peer = Peer::new().await;
    let options = peer.options("mqtt", vinbus_transport_std::MqttVersion::V5);
    let welcoming = async {
        let mut connection = peer.accept().await;
        connection.packet().await;
        // CONNACK with Maximum Packet Size 1,000.
        connection
            .send(&[0x20, 8, 0, 0, 5, 0x27, 0, 0, 0x03, 0xE8])
            .await;
        connection
    };
    let ((client, _inbox), mut connection) = tokio::join!(connected(options), welcoming);
    let publish = |len| client.publish("a", vec![0; len].into(), Qos::AtMostOnce, false);
    assert_eq!(
        publish(1000).await,
        Err(PublishError::TooLarge {
            len: 1000,
            max: 989
        })
    );
    in_time("the publish", publish(989)).await.expect("it fits");
    assert!(connection.packet().await.len() <= 1000);
    assert_eq!(client.counters().connections, 1);
}

#[tokio::test]
async fn a_client_whose_inbox_is_full_closes_all_the_same() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let options = peer.options("mqtt", version).inbound_messages_max(1);
        let ((client, mut inbox), mut connection) =
            tokio::join!(connected(options), peer.welcome(version));
        for number in 0..4 {
            connection.send(&publish(version, 0, b"a", &[number])).await;
        }
        assert_eq!(received(&mut inbox).await.payload[..], [0]);
        in_time("the close", client.close()).await;
        assert_eq!(connection.packet().await[0], DISCONNECT);
        // At most one found room; the rest is dropped, and the inbox ends.
        let mut left = 0;
        while let Some(message) = in_time("the end of the inbox", inbox.recv()).await {
            assert_eq!(message.payload[..], [1]);
            left += 1;
        }
        assert!(left <= 1);
    }
}

#[tokio::test]
async fn messages_after_the_inbox_is_dropped_are_counted_and_not_acknowledged() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let ((client, inbox), mut connection) = tokio::join!(
            connected(peer.options("mqtt", version)),
            peer.welcome(version)
        );
        drop(inbox);
        connection
            .send(&publish(version, 1, b"a", b"unheard"))
            .await;
        client
            .publish("b", "{}".into(), Qos::AtMostOnce, false)
            .await
            .expect("published");
        assert_eq!(connection.packet().await[0], 0x30, "no PUBACK goes before");
        in_time("the close", client.clone().close()).await;
        assert_eq!(client.counters().received, 0);
    }
}
