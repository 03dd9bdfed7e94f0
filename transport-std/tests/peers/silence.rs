//! Peers that stop answering. Every time-out here is the client's own; the tests wait for the
//! state that follows it.

use std::time::Duration;

use vinbus_transport_std::conformance::{Authority, connected, in_time, link_error, wait_for_link};
use vinbus_transport_std::{
    Client, LinkError, LinkState, MqttVersion, Phase, PublishError, Qos, connect,
};

use crate::VERSIONS;
use crate::peer::{DISCONNECT, Peer};

const SOON: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_half_open_connection_times_out_and_says_in_which_phase() {
    let ca = Authority::new("any").certificate;
    for version in VERSIONS {
        for (scheme, phase) in [
            ("mqtt", Phase::Mqtt),
            ("ws", Phase::Mqtt),
            ("mqtts", Phase::Tls),
            ("wss", Phase::Tls),
        ] {
            let peer = Peer::new().await;
            let options = peer
                .options(scheme, version)
                .connect_timeout(SOON)
                .ca_pem(ca.clone());
            let silent = peer.accept();
            let (error, _connection) = tokio::join!(link_error(options), silent);
            assert_eq!(error, LinkError::Timeout { phase });
        }
    }
}

#[tokio::test]
async fn a_broker_that_answers_no_ping_has_lost_the_link() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let options = peer
            .options("mqtt", version)
            .keep_alive(Duration::from_secs(1));
        let (client, _inbox) = connect(options).expect("options");
        let _connection = peer.welcome(version).await;
        wait_for_link(client.link(), "the loss", |state| {
            *state == LinkState::Down(LinkError::KeepAliveLost)
        })
        .await;
    }
}

/// Publishes large messages from many tasks until each of them meets an error.
async fn flood(client: &Client) -> Vec<PublishError> {
    let mut publishing = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let client = client.clone();
        publishing.spawn(async move {
            loop {
                let payload = vec![0; 128 * 1024].into();
                if let Err(error) = client.publish("a", payload, Qos::AtMostOnce, false).await {
                    return error;
                }
            }
        });
    }
    in_time("every publish to end", publishing.join_all()).await
}

#[tokio::test]
async fn a_broker_that_reads_nothing_loses_the_link_and_every_publish_ends() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let options = peer
            .options("mqtt", version)
            .keep_alive(Duration::from_secs(1))
            .outbound_messages_max(2);
        let ((client, _inbox), _connection) =
            tokio::join!(connected(options), peer.welcome(version));
        let errors = flood(&client).await;
        let at_the_end = |error: &PublishError| {
            matches!(error, PublishError::LinkDown | PublishError::Unconfirmed)
        };
        assert!(errors.iter().all(at_the_end), "{errors:?}");
        wait_for_link(client.link(), "the loss", |state| {
            *state == LinkState::Down(LinkError::KeepAliveLost)
        })
        .await;
    }
}

#[tokio::test]
async fn a_full_queue_refuses_what_finds_no_room_in_time() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let options = peer
            .options("mqtt", version)
            .answer_timeout(SOON)
            .outbound_messages_max(2);
        let ((client, _inbox), _connection) =
            tokio::join!(connected(options), peer.welcome(version));
        let errors = flood(&client).await;
        assert!(
            errors.contains(&PublishError::QueueFull { max: 2 }),
            "{errors:?}"
        );
        assert_eq!(client.counters().connections, 1);
    }
}

#[tokio::test]
async fn a_publish_that_is_never_acknowledged_is_unconfirmed() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let options = peer.options("mqtt", version).answer_timeout(SOON);
        let ((client, _inbox), connection) =
            tokio::join!(connected(options), peer.welcome(version));
        let publish = || client.publish("a", "{}".into(), Qos::AtLeastOnce, false);
        assert_eq!(
            in_time("the time-out", publish()).await,
            Err(PublishError::Unconfirmed)
        );

        let (outcome, ()) = tokio::join!(publish(), async move {
            let mut connection = connection;
            connection.packet().await;
            connection.packet().await;
        });
        assert_eq!(
            outcome,
            Err(PublishError::Unconfirmed),
            "the connection broke first"
        );
    }
}

#[tokio::test]
async fn a_subscription_that_is_never_answered_ends_the_link_and_is_asked_again() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let options = peer
            .options("mqtt", version)
            .answer_timeout(SOON)
            .connect_timeout(SOON);
        let (client, _inbox) = connect(options).expect("options");
        let subscriber = client.clone();
        let _subscribing =
            tokio::spawn(async move { subscriber.subscribe("a", Qos::AtMostOnce).await });
        let silent = LinkState::Down(LinkError::Timeout {
            phase: Phase::Subscribe,
        });
        for _ in 0..2 {
            let mut connection = peer.welcome(version).await;
            let filters = connection.packet().await;
            assert!(filters.ends_with(&[b'a', 0]), "{filters:?}");
            wait_for_link(client.link(), "the time-out", |state| *state == silent).await;
        }
    }
}

#[tokio::test]
async fn closing_takes_leave_of_a_broker_that_leaves_a_publish_unanswered() {
    for version in VERSIONS {
        let peer = Peer::new().await;
        let options = peer.options("mqtt", version).answer_timeout(SOON);
        let ((client, _inbox), mut connection) =
            tokio::join!(connected(options), peer.welcome(version));
        let publisher = client.clone();
        let publishing = tokio::spawn(async move {
            publisher
                .publish("a", "{}".into(), Qos::AtLeastOnce, false)
                .await
        });
        assert_eq!(connection.packet().await[0], 0x32);
        in_time("the close", client.close()).await;
        assert_eq!(connection.packet().await[0], DISCONNECT);
        assert_eq!(
            publishing.await.expect("no panic"),
            Err(PublishError::Unconfirmed)
        );
    }
}

#[tokio::test]
async fn closing_a_client_that_cannot_connect_is_immediate() {
    let peer = Peer::new().await;
    let (client, mut inbox) = connect(peer.options("mqtt", MqttVersion::V5)).expect("options");
    let _connection = peer.accept().await;
    in_time("the close", client.close()).await;
    assert!(inbox.recv().await.is_none());
}
