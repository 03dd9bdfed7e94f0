//! The claims. Each takes a broker, connects clients of its own and leaves nothing behind.
//! Nothing here relies on more than QoS 0 delivery, because brokers of this world downgrade to it.

use std::time::Duration;

use bytes::Bytes;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

use super::{Authority, BrokerUnderTest, Endpoint, Proxy, Validity, in_time, wait_for_link};
use crate::{
    Client, ClientOptions, Inbox, LinkError, LinkState, Message, PublishError, Qos, TlsOptions,
    Will, connect,
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
    // Never the same at two offsets that a buffer boundary could confuse.
    let filling = (0..len - 14)
        .map(|at| char::from(b'a' + (at % 23) as u8))
        .collect::<String>();
    let text = format!(r#"{{"content":"{filling}"}}"#);
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

/// Subscribes, and waits until the broker has granted it.
///
/// # Panics
///
/// Panics if the broker does not.
pub async fn subscribed(client: &Client, topic: &str, qos: Qos) {
    in_time("SUBACK", client.subscribe(topic, qos))
        .await
        .expect("the subscription is granted");
}

/// Publishes, and waits until the broker has it.
///
/// # Panics
///
/// Panics if it is refused.
pub async fn published(client: &Client, topic: &str, payload: Bytes, qos: Qos) {
    in_time("the publish", client.publish(topic, payload, qos, false))
        .await
        .expect("the message is published");
}

/// The next message.
///
/// # Panics
///
/// Panics if none comes.
pub async fn received(inbox: &mut Inbox) -> Message {
    in_time("a message", inbox.recv())
        .await
        .expect("an open inbox")
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
            let options = broker
                .options(endpoint, broker.url(endpoint), &name)
                .version(version);
            let (client, mut inbox) = connected(options).await;
            let topic = broker.topic(&name);
            subscribed(&client, &topic, Qos::AtMostOnce).await;
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                published(&client, &topic, payload(100), qos).await;
                let message = received(&mut inbox).await;
                assert_eq!((&message.topic, &message.payload), (&topic, &payload(100)));
                message.ack();
            }
            in_time("the close", client.close()).await;
            assert!(inbox.recv().await.is_none());
        }
    }
}

/// 131,072 bytes pass unchanged; 131,073 are refused with both numbers, and the link stays up.
pub async fn the_largest_payload_passes_and_one_byte_more_is_refused(
    broker: &impl BrokerUnderTest,
) {
    for endpoint in broker.endpoints() {
        for version in broker.versions() {
            let name = format!("size-{endpoint:?}-{version:?}");
            let options = broker
                .options(endpoint, broker.url(endpoint), &name)
                .version(version);
            let (client, mut inbox) = connected(options).await;
            let topic = broker.topic(&name);
            subscribed(&client, &topic, Qos::AtMostOnce).await;
            let over = client.publish(
                &topic,
                payload(PAYLOAD_BYTES_MAX + 1),
                Qos::AtMostOnce,
                false,
            );
            assert_eq!(
                over.await,
                Err(PublishError::TooLarge {
                    len: 131_073,
                    max: 131_072
                })
            );
            published(&client, &topic, payload(PAYLOAD_BYTES_MAX), Qos::AtMostOnce).await;
            assert!(received(&mut inbox).await.payload == payload(PAYLOAD_BYTES_MAX));
            assert_eq!(client.counters().connections, 1);
        }
    }
}

/// Messages of one publisher arrive in their order, none missing.
pub async fn messages_keep_their_order(broker: &impl BrokerUnderTest) {
    const COUNT: usize = 500;
    let url = broker.url(Endpoint::Mqtt);
    let (client, mut inbox) = connected(broker.options(Endpoint::Mqtt, url, "order")).await;
    let topic = broker.topic("order");
    subscribed(&client, &topic, Qos::AtMostOnce).await;
    let publisher = client.clone();
    let publishing = tokio::spawn(async move {
        for number in 0..COUNT {
            published(&publisher, &topic, numbered(number), Qos::AtMostOnce).await;
        }
    });
    for number in 0..COUNT {
        assert_eq!(received(&mut inbox).await.payload, numbered(number));
    }
    publishing.await.expect("the publisher is done");
}

fn numbered(number: usize) -> Bytes {
    Bytes::from(format!(r#"{{"content":{number}}}"#))
}

/// A broker that disappears in mid-traffic and comes back finds the client again, with its
/// subscriptions; what is published meanwhile is refused, not queued and not lost in silence.
pub async fn subscriptions_survive_a_restart_in_mid_traffic(broker: &mut impl BrokerUnderTest) {
    for version in broker.versions() {
        let name = format!("restart-{version:?}");
        let url = broker.url(Endpoint::Mqtt);
        let options = broker.options(Endpoint::Mqtt, url, &name).version(version);
        let (client, mut inbox) = connected(impatient(options)).await;
        let topic = broker.topic(&name);
        subscribed(&client, &topic, Qos::AtMostOnce).await;
        let publisher = client.clone();
        let traffic = tokio::spawn(async move {
            loop {
                let sent = publisher
                    .publish(&topic, numbered(1), Qos::AtLeastOnce, false)
                    .await;
                match sent {
                    Ok(()) => {}
                    Err(PublishError::LinkDown | PublishError::Unconfirmed) => {
                        wait_for_link(publisher.link(), "the link to return", is_connected).await;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        });
        for _ in 0..20 {
            received(&mut inbox).await.ack();
        }
        broker.stop().await;
        let noticed = wait_for_link(client.link(), "the loss to be noticed", |state| {
            matches!(state, LinkState::Down(_))
        });
        // A client whose inbox is full reads nothing, not even the end of its connection.
        let draining = async { while inbox.recv().await.map(Message::ack).is_some() {} };
        tokio::select! {
            _ = noticed => {}
            () = draining => panic!("the inbox is closed"),
        }
        let refused = client
            .publish("x", numbered(0), Qos::AtMostOnce, false)
            .await;
        assert_eq!(refused, Err(PublishError::LinkDown));
        while let Ok(Some(message)) = drained(&mut inbox) {
            message.ack();
        }
        broker.start().await;
        for _ in 0..20 {
            received(&mut inbox).await.ack();
        }
        assert_eq!(client.counters().connections, 2);
        traffic.abort();
    }
}

/// What the inbox holds at this moment.
fn drained(inbox: &mut Inbox) -> Result<Option<Message>, ()> {
    inbox.messages.try_recv().map(Some).map_err(|_| ())
}

/// The will is published when the cable is cut, and not after an orderly close.
pub async fn the_will_is_published_on_loss_and_not_on_close(broker: &impl BrokerUnderTest) {
    for version in broker.versions() {
        let name = format!("will-{version:?}");
        let url = broker.url(Endpoint::Mqtt);
        let topic = broker.topic(&name);
        let watcher = broker.options(Endpoint::Mqtt, url.clone(), &format!("{name}-watcher"));
        let (watcher, mut wills) = connected(watcher).await;
        subscribed(&watcher, &topic, Qos::AtMostOnce).await;

        let proxy = Proxy::to(&url).await;
        let will = |number| Will {
            topic: topic.clone(),
            payload: numbered(number),
            qos: Qos::AtMostOnce,
            retain: false,
        };
        // Two ids: with one, the second client could take the session over from the first while
        // its DISCONNECT is still on the way.
        let options = |id: &str| {
            broker
                .options(Endpoint::Mqtt, proxy.url(&url), &format!("{name}-{id}"))
                .version(version)
        };
        let (closed, _inbox) = connected(options("closed").will(will(1))).await;
        in_time("the close", closed.close()).await;
        let (_cut, _inbox) = connected(options("cut").will(will(2))).await;
        proxy.cut();
        assert_eq!(received(&mut wills).await.payload, numbered(2));
    }
}

/// A wrong password is [`LinkError::BadCredentials`] or [`LinkError::NotAuthorized`]: MQTT lets
/// the broker choose.
pub async fn a_wrong_password_is_an_error_of_its_own(broker: &impl BrokerUnderTest) {
    for version in broker.versions() {
        let options = broker.options(Endpoint::Mqtt, broker.url(Endpoint::Mqtt), "wrong-password");
        let user = options
            .credentials
            .clone()
            .expect("the plain endpoint takes credentials");
        let options = options
            .version(version)
            .credentials(user.user_name, "wrong");
        let error = link_error(options).await;
        assert!(
            matches!(error, LinkError::BadCredentials | LinkError::NotAuthorized),
            "{error:?}"
        );
    }
}

/// No client certificate, and one of a foreign authority, are two errors.
pub async fn a_refused_client_certificate_is_an_error_of_its_own(broker: &impl BrokerUnderTest) {
    for version in broker.versions() {
        let options = || {
            broker
                .options(
                    Endpoint::Mqtts,
                    broker.url(Endpoint::Mqtts),
                    "client-certificate",
                )
                .version(version)
        };
        let none = TlsOptions {
            identity: None,
            ..options().tls
        };
        let error = link_error(options().tls(none)).await;
        assert_eq!(error, LinkError::ClientCertificateRequired);
        assert!(error.advice().contains("--cert"), "{}", error.advice());
        let foreign = Authority::new("foreign CA").client("tester", Validity::Now);
        let error = link_error(options().identity_pem(foreign.certificate, foreign.key)).await;
        assert!(
            matches!(error, LinkError::ClientCertificateRefused { .. }),
            "{error:?}"
        );
    }
}

/// A server whose authority the client does not trust is refused by the client.
pub async fn an_unknown_authority_is_an_error_of_its_own(broker: &impl BrokerUnderTest) {
    let foreign = Authority::new("foreign CA").certificate;
    let options = broker.options(Endpoint::Mqtts, broker.url(Endpoint::Mqtts), "unknown-ca");
    let error = link_error(options.ca_pem(foreign)).await;
    assert_eq!(error, LinkError::ServerCertificateUnknownCa);
    assert!(error.advice().contains("--ca"), "{}", error.advice());
}
