//! A refusal is told apart from every other.

use vinbus_transport_std::conformance::{in_time, is_connected, link_error, wait_for_link};
use vinbus_transport_std::{
    ClientOptions, LinkError, LinkState, MqttVersion, PublishError, Qos, SubscribeError, connect,
};

use crate::VERSIONS;
use crate::peer::{Peer, SUBSCRIBE, connack, suback};

async fn refused_with(version: MqttVersion, code: u8) -> LinkError {
    let peer = Peer::new().await;
    let answering = async {
        let mut connection = peer.accept().await;
        connection.packet().await;
        connection.send(&connack(version, code)).await;
        connection.closed().await;
    };
    let options = peer.options("mqtt", version).credentials("user", "wrong");
    let (error, ()) = tokio::join!(link_error(options), answering);
    error
}

/// What it means that a peer which was sent a CONNECT without a user name gives this answer and closes.
async fn closed_after(scheme: &str, version: MqttVersion, answer: &[u8]) -> LinkError {
    let peer = Peer::new().await;
    let answering = async {
        let mut connection = peer.accept().await;
        assert_ne!(connection.some_bytes().await, 0);
        connection.send(answer).await;
    };
    let (error, ()) = tokio::join!(link_error(peer.options(scheme, version)), answering);
    error
}

#[tokio::test]
async fn a_connection_that_ends_before_the_welcome_is_one_to_a_port_of_tls_perhaps() {
    for version in VERSIONS {
        let error = closed_after("mqtt", version, b"").await;
        assert!(
            matches!(error, LinkError::NotWelcomed { tls: false, .. }),
            "{error:?}"
        );
        assert!(error.advice().contains("write mqtts://"), "{error}");
        // What a server of TLS answers that says something: the alert of a wrong version.
        let error = closed_after("mqtt", version, &[0x15, 3, 1, 0, 2, 2, 70]).await;
        assert!(error.advice().contains("mqtts://"), "{error}");
        let error = closed_after("ws", version, b"").await;
        assert!(error.advice().contains("wss://"), "{error}");
    }
}

#[tokio::test]
async fn a_client_without_a_user_name_that_is_refused_is_told_so() {
    for (version, codes) in [(MqttVersion::V311, [4, 5]), (MqttVersion::V5, [0x86, 0x87])] {
        for code in codes {
            let error = closed_after("mqtt", version, &connack(version, code)).await;
            assert_eq!(error, LinkError::UserNameMissing);
        }
    }
}

#[tokio::test]
async fn every_connack_code_of_mqtt_3_1_1_is_an_error_of_its_own() {
    let error = async |code| refused_with(MqttVersion::V311, code).await;
    assert_eq!(error(1).await, LinkError::VersionRefused);
    assert_eq!(error(2).await, LinkError::ClientIdRefused);
    assert_eq!(error(3).await, LinkError::ServerUnavailable);
    assert_eq!(error(4).await, LinkError::BadCredentials);
    assert_eq!(error(5).await, LinkError::NotAuthorized);
    assert!(matches!(error(6).await, LinkError::Protocol { .. }));
}

#[tokio::test]
async fn every_connack_code_of_mqtt_5_that_a_user_can_act_on_is_an_error_of_its_own() {
    let error = async |code| refused_with(MqttVersion::V5, code).await;
    assert_eq!(error(0x84).await, LinkError::VersionRefused);
    assert_eq!(error(0x85).await, LinkError::ClientIdRefused);
    assert_eq!(error(0x86).await, LinkError::BadCredentials);
    assert_eq!(error(0x87).await, LinkError::NotAuthorized);
    assert_eq!(error(0x88).await, LinkError::ServerUnavailable);
    assert_eq!(error(0x89).await, LinkError::ServerBusy);
    assert_eq!(error(0x8A).await, LinkError::Banned);
    assert!(matches!(
        error(0x95).await,
        LinkError::PacketTooLarge { .. }
    ));
    let quota = LinkError::Refused {
        reason: "QuotaExceeded".to_owned(),
    };
    assert_eq!(error(0x97).await, quota);
    assert!(matches!(error(0x01).await, LinkError::Protocol { .. }));
}

/// What a DISCONNECT after the CONNACK means, sent in pieces of `size` bytes behind a PINGRESP.
async fn disconnected(packet: &[u8], size: usize) -> LinkError {
    let peer = Peer::new().await;
    let (client, _inbox) = connect(peer.options("mqtt", MqttVersion::V5)).expect("options");
    let mut connection = peer.welcome(MqttVersion::V5).await;
    let packets = [&[0xD0, 0], packet].concat();
    for piece in packets.chunks(size) {
        connection.send(piece).await;
    }
    connection.closed().await;
    down(client.link()).await
}

#[tokio::test]
async fn every_disconnect_code_that_a_user_can_act_on_is_an_error_of_its_own() {
    let error = async |code| disconnected(&[0xE0, 2, code, 0], 100).await;
    assert_eq!(error(0x8E).await, LinkError::SessionTakenOver);
    assert_eq!(error(0x8B).await, LinkError::ServerShuttingDown);
    assert_eq!(error(0x89).await, LinkError::ServerBusy);
    assert_eq!(error(0x87).await, LinkError::NotAuthorized);
    assert_eq!(error(0x8D).await, LinkError::KeepAliveLost);
    assert!(matches!(
        error(0x95).await,
        LinkError::PacketTooLarge { .. }
    ));
    assert!(matches!(error(0x82).await, LinkError::Protocol { .. }));
    let other = LinkError::Disconnected {
        reason: "AdministrativeAction".to_owned(),
    };
    assert_eq!(error(0x98).await, other);
}

#[tokio::test]
async fn a_disconnect_without_its_property_length_says_the_same() {
    for size in [1, 2, 3, 5] {
        let error = async |code| disconnected(&[0xE0, 1, code], size).await;
        assert_eq!(error(0x8E).await, LinkError::SessionTakenOver);
        assert_eq!(error(0x8B).await, LinkError::ServerShuttingDown);
        assert!(matches!(error(0xFF).await, LinkError::Protocol { .. }));
    }
}

async fn down(link: tokio::sync::watch::Receiver<LinkState>) -> LinkError {
    match wait_for_link(link, "the loss", |state| {
        matches!(state, LinkState::Down(_))
    })
    .await
    {
        LinkState::Down(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refused_tcp_connection_names_the_address() {
    let peer = Peer::new().await;
    let options = peer.options("mqtt", MqttVersion::V5);
    drop(peer);
    let error = link_error(options).await;
    assert!(matches!(error, LinkError::TcpRefused { .. }), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn an_unknown_host_is_named() {
    let url = "mqtt://no-such-host.invalid".parse().expect("a URL");
    let error = link_error(ClientOptions::new(url, "dns")).await;
    assert!(matches!(error, LinkError::HostNotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refused_web_socket_tells_the_http_status() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let answering = async {
            let mut connection = peer.accept().await;
            connection
                .send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                .await;
            connection.closed().await;
        };
        let (error, ()) = tokio::join!(link_error(peer.options("ws", version)), answering);
        assert_eq!(error, LinkError::WebSocketRefused { status: 404 });
    }
}

#[tokio::test]
async fn tls_to_a_plain_port_says_so() {
    let peer = Peer::new().await;
    let ca = vinbus_transport_std::conformance::Authority::new("any").certificate;
    let options = peer.options("mqtts", MqttVersion::V5).ca_pem(ca);
    let answering = async {
        let mut connection = peer.accept().await;
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        connection.closed().await;
    };
    let (error, ()) = tokio::join!(link_error(options), answering);
    assert!(matches!(error, LinkError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_subscription_refused_at_first_is_forgotten_and_one_refused_later_ends_the_link() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let answering = async {
            let mut connection = peer.welcome(version).await;
            for code in [0x80, 0x00] {
                let subscribe = connection.packet().await;
                assert_eq!(subscribe[0], SUBSCRIBE);
                connection.send(&suback(version, &subscribe, code)).await;
            }
            connection
        };
        let (client, _inbox) = connect(peer.options("mqtt", version)).expect("options");
        let asking = async {
            let refused = client.subscribe("a", Qos::AtMostOnce).await;
            assert!(
                matches!(refused, Err(SubscribeError::Refused { .. })),
                "{refused:?}"
            );
            client
                .subscribe("b", Qos::AtMostOnce)
                .await
                .expect("granted");
        };
        let (connection, ()) = tokio::join!(answering, asking);
        drop(connection);

        let mut connection = peer.welcome(version).await;
        let subscribe = connection.packet().await;
        connection.send(&suback(version, &subscribe, 0x80)).await;
        connection.closed().await;
        wait_for_link(client.link(), "the refusal", |state| {
            matches!(state, LinkState::Down(LinkError::SubscriptionRefused { filter, .. }) if filter == "b")
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_that_just_ends_is_lost_and_made_anew() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let (client, _inbox) = connect(peer.options("mqtt", version)).expect("options");
        drop(peer.welcome(version).await);
        let error = down(client.link()).await;
        assert!(
            matches!(error, LinkError::ConnectionLost { .. }),
            "{error:?}"
        );
        // What stands before a broker that starts anew accepts and closes: the URL was right all the time.
        let mut link = client.link();
        link.mark_unchanged();
        let mut connection = peer.accept().await;
        connection.packet().await;
        drop(connection);
        in_time("another loss", link.changed())
            .await
            .expect("a client");
        let error = down(link).await;
        assert!(
            matches!(error, LinkError::ConnectionLost { .. }),
            "{error:?}"
        );
        let _connection = peer.welcome(version).await;
        wait_for_link(client.link(), "the link", is_connected).await;
    }
}

#[tokio::test]
async fn an_address_without_a_route_is_unreachable() {
    // The system itself refuses TCP to the broadcast address: nothing leaves this machine.
    let url = "mqtt://255.255.255.255:1883".parse().expect("a URL");
    let error = link_error(ClientOptions::new(url, "route")).await;
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_web_socket_that_does_not_speak_mqtt_is_broken() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let answering = async {
            let mut connection = peer.accept().await;
            let upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                           Connection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n";
            connection.send(upgrade.as_bytes()).await;
            connection.closed().await;
        };
        let (error, ()) = tokio::join!(link_error(peer.options("ws", version)), answering);
        assert!(
            matches!(error, LinkError::WebSocketBroken { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_malformed_topic_or_filter_is_refused_before_anything_is_sent() {
    let peer = Peer::new().await;
    let (client, _inbox) = connect(peer.options("mqtt", MqttVersion::V5)).expect("options");
    for topic in ["", "a/+", "#", "a\0b"] {
        let refused = client
            .publish(topic, "{}".into(), Qos::AtMostOnce, false)
            .await;
        assert_eq!(
            refused,
            Err(PublishError::Topic {
                topic: topic.to_owned()
            })
        );
    }
    for filter in ["", "a#", "#/a", "a+/b", "a\0b"] {
        let refused = client.subscribe(filter, Qos::AtMostOnce).await;
        assert_eq!(
            refused,
            Err(SubscribeError::Filter {
                filter: filter.to_owned()
            })
        );
    }
}
