//! The conformance suite against a real mosquitto, and what only a mosquitto can be asked to do.

mod backpressure;
mod session;
mod tls;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vinbus_transport_std::conformance::{self, BrokerUnderTest, Endpoint, Mosquitto, connected};
use vinbus_transport_std::{
    Identity, LinkState, MqttVersion, Pem, Phase, PublishError, Qos, StreamDialer, SubscribeError,
    TlsOptions,
};

#[tokio::test]
async fn every_endpoint_and_version_echoes() {
    conformance::every_endpoint_and_version_echoes(&Mosquitto::start().await).await;
}

#[tokio::test]
async fn the_largest_payload_passes_and_one_byte_more_is_refused() {
    let broker = Mosquitto::start().await;
    conformance::the_largest_payload_passes_and_one_byte_more_is_refused(&broker).await;
}

#[tokio::test]
async fn messages_keep_their_order() {
    conformance::messages_keep_their_order(&Mosquitto::start().await).await;
}

#[tokio::test]
async fn subscriptions_survive_a_restart_in_mid_traffic() {
    let mut broker = Mosquitto::start().await;
    conformance::subscriptions_survive_a_restart_in_mid_traffic(&mut broker).await;
}

#[tokio::test]
async fn the_will_is_published_on_loss_and_not_on_close() {
    let broker = Mosquitto::start().await;
    conformance::the_will_is_published_on_loss_and_not_on_close(&broker).await;
}

#[tokio::test]
async fn a_wrong_password_is_an_error_of_its_own() {
    conformance::a_wrong_password_is_an_error_of_its_own(&Mosquitto::start().await).await;
}

#[tokio::test]
async fn a_forbidden_topic_is_refused_with_the_brokers_reason_and_the_link_stays_up() {
    let broker = Mosquitto::start().await;
    let url = broker.url(Endpoint::Mqtt);
    let (client, _inbox) = connected(broker.options(Endpoint::Mqtt, url, "forbidden")).await;
    let refused = client
        .publish("forbidden/a", "{}".into(), Qos::AtLeastOnce, false)
        .await;
    assert_eq!(
        refused,
        Err(PublishError::Refused {
            reason: "NotAuthorized".to_owned()
        })
    );
    assert_eq!(client.counters().connections, 1);
}

#[tokio::test]
async fn a_closed_client_refuses_everything() {
    let broker = Mosquitto::start().await;
    let url = broker.url(Endpoint::Mqtt);
    let options = broker
        .options(Endpoint::Mqtt, url, "closed")
        .version(MqttVersion::V311);
    let (client, mut inbox) = connected(options).await;
    conformance::in_time("the close", client.clone().close()).await;
    assert_eq!(*client.link().borrow(), LinkState::Closed);
    assert!(inbox.recv().await.is_none());
    let refused = client
        .publish("a", "{}".into(), Qos::AtMostOnce, false)
        .await;
    assert_eq!(refused, Err(PublishError::LinkDown));
    assert_eq!(
        client.subscribe("a", Qos::AtMostOnce).await,
        Err(SubscribeError::Closed)
    );
}

#[tokio::test]
async fn dropping_every_client_and_the_inbox_closes_the_connection() {
    let broker = Mosquitto::start().await;
    let url = broker.url(Endpoint::Mqtt);
    let (client, inbox) = connected(broker.options(Endpoint::Mqtt, url, "dropped")).await;
    let link = client.link();
    drop((client, inbox));
    conformance::wait_for_link(link, "the close", |state| *state == LinkState::Closed).await;
}

#[tokio::test]
async fn a_dialed_stream_carries_mqtt_through_every_endpoint() {
    const CONNECT: &[u8] = b"\x10\x0D\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00";
    let broker = Mosquitto::start().await;
    let tls = TlsOptions {
        ca: Some(Pem::Bytes(broker.authority.certificate.clone().into())),
        identity: Some(Identity {
            certificate: Pem::Bytes(broker.client.certificate.clone().into()),
            key: Pem::Bytes(broker.client.key.clone().into()),
        }),
    };
    for endpoint in broker.endpoints() {
        let url = broker.url(endpoint);
        let dialer = StreamDialer::new(url, &tls, conformance::PATIENCE);
        let mut dialer = dialer.expect("good certificates");
        let dialed = conformance::in_time("the stream opens", dialer.dial()).await;
        let mut stream = dialed.unwrap_or_else(|error| panic!("{endpoint:?}: {error}"));
        assert_eq!(dialer.phase(), Phase::Mqtt);
        stream.write_all(CONNECT).await.expect("a CONNECT is taken");
        stream.flush().await.expect("a CONNECT is taken");
        let mut answer = [0; 4];
        let read = conformance::in_time("an answer comes", stream.read_exact(&mut answer)).await;
        read.expect("an answer");
        // The broker knows nobody without a user name.
        assert_eq!((answer[0], answer[3]), (0x20, 0x87), "{endpoint:?}");
    }
}
