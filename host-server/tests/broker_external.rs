//! The adapter to an external broker, against a real mosquitto and against our own.

mod broker_support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use broker_support::{Fixture, OTHER_UID, Recorder, UID, VIN, downlink, uid, uplink, within};
use bytes::Bytes;
use vinbus_host_server::broker::external::{ExternalBroker, Settings};
use vinbus_host_server::broker::{Arrival, Broker, Outcome, PublishError};
use vinbus_host_server::store::StoreError;
use vinbus_protocol::id::Uid;
use vinbus_protocol::topic::TopicScheme;
use vinbus_transport_std::conformance::{
    BrokerUnderTest, Endpoint, Mosquitto, Proxy, connected, impatient, published, received,
    subscribed,
};
use vinbus_transport_std::{BrokerUrl, ClientOptions, Qos};

fn connect(options: ClientOptions, uids: &[Uid]) -> (ExternalBroker, Arc<Recorder>) {
    let events = Arc::<Recorder>::default();
    let settings = Settings {
        options: impatient(options),
        topics: TopicScheme::default(),
        uids: uids.to_vec(),
    };
    let broker = ExternalBroker::connect(settings, Arc::clone(&events) as _).unwrap();
    (broker, events)
}

/// An adapter to mosquitto, connected.
async fn to_mosquitto(
    mosquitto: &Mosquitto,
    url: BrokerUrl,
    uids: &[Uid],
) -> (ExternalBroker, Arc<Recorder>) {
    let (broker, events) = connect(mosquitto.options(Endpoint::Mqtt, url, "host"), uids);
    events.until_link("the link", Result::is_ok).await;
    (broker, events)
}

fn payload(number: usize) -> Bytes {
    Bytes::from(format!(r#"{{"content":{number}}}"#))
}

#[tokio::test]
async fn uplink_arrives_in_order_and_downlink_leaves_unchanged() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let (broker, events) = to_mosquitto(&mosquitto, url.clone(), &[]).await;
    let (car, mut inbox) = connected(mosquitto.options(Endpoint::Mqtt, url, "car")).await;
    subscribed(&car, &downlink(UID, VIN), Qos::AtMostOnce).await;
    for number in 0..500 {
        let qos = [Qos::AtMostOnce, Qos::AtLeastOnce][number % 2];
        published(&car, &uplink(UID, VIN), payload(number), qos).await;
    }
    let arrivals = events.until_arrivals(500).await;
    for (number, arrival) in arrivals.iter().enumerate() {
        assert_eq!(arrival.payload, payload(number));
        assert_eq!(arrival.topic, uplink(UID, VIN));
    }
    let topic = downlink(UID, VIN);
    let published = broker.publish(&topic, payload(7));
    assert_eq!(within("publish", published).await, Ok(()));
    let heard = received(&mut inbox).await;
    assert_eq!((heard.payload, heard.qos), (payload(7), Qos::AtMostOnce));
    within("shutdown", broker.shutdown()).await;
}

#[tokio::test]
async fn adapter_for_some_partners_hears_no_other() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let (_broker, events) = to_mosquitto(&mosquitto, url.clone(), &[uid()]).await;
    let (car, _inbox) = connected(mosquitto.options(Endpoint::Mqtt, url, "car")).await;
    for (number, uid) in [OTHER_UID, UID].into_iter().enumerate() {
        published(&car, &uplink(uid, VIN), payload(number), Qos::AtLeastOnce).await;
    }
    let arrivals = events.until_arrivals(1).await;
    assert_eq!(arrivals[0].payload, payload(1));
}

#[tokio::test]
async fn message_that_was_not_stored_before_the_link_broke_arrives_again() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let proxy = Proxy::to(&url).await;
    let (_broker, events) = to_mosquitto(&mosquitto, proxy.url(&url), &[]).await;
    let (car, _inbox) = connected(mosquitto.options(Endpoint::Mqtt, url, "car")).await;
    let publish = async |number| {
        published(&car, &uplink(UID, VIN), payload(number), Qos::AtLeastOnce).await;
    };
    events.hold_outcomes();
    publish(1).await;
    events.until_arrivals(1).await;
    proxy.cut();
    events.until_arrivals(2).await;
    // The first outcome's connection is gone; the second is acknowledged.
    events.resolve(Outcome::Stored);
    events.resolve(Outcome::Stored);
    events.store_at_once();
    publish(2).await;
    let arrivals = events.until_arrivals(3).await;
    let payloads: Vec<_> = arrivals.into_iter().map(|it| it.payload).collect();
    assert_eq!(payloads, [payload(1), payload(1), payload(2)]);
}

#[tokio::test]
async fn retained_uplink_is_dropped_and_counted_and_retained_presence_is_not() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let (car, _inbox) = connected(mosquitto.options(Endpoint::Mqtt, url.clone(), "car")).await;
    let topic = uplink(UID, VIN);
    let retain = async |topic: &str, number| {
        let published = car.publish(topic, payload(number), Qos::AtLeastOnce, true);
        within("publish", published).await.unwrap();
    };
    retain(&topic, 1).await;
    retain(&format!("{topic}vinbus/presence"), 2).await;
    let proxy = Proxy::to(&url).await;
    let (broker, events) = to_mosquitto(&mosquitto, proxy.url(&url), &[]).await;
    let presences = |count| {
        events.until("presence", move |state| {
            let is_presence = |it: &&Arrival| it.topic.ends_with("vinbus/presence");
            state.arrivals.iter().filter(is_presence).count() >= count
        })
    };
    presences(1).await;
    // The connection breaks, and the broker delivers what it retains again.
    proxy.cut();
    presences(2).await;
    published(&car, &topic, payload(3), Qos::AtLeastOnce).await;
    let is_data = |it: &&Arrival| it.topic == topic;
    let told = events
        .until("the message", |state| {
            state.arrivals.iter().any(|it| is_data(&it))
        })
        .await;
    let data: Vec<_> = told.arrivals.iter().filter(is_data).collect();
    assert_eq!(data.len(), 1);
    assert_eq!(data[0].payload, payload(3));
    // The broker repeats, besides, what was not yet acknowledged when the connection broke.
    assert!(broker.retained_dropped().load(Ordering::Relaxed) >= 2);
}

#[tokio::test]
async fn message_that_the_store_could_not_keep_arrives_again() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let (broker, events) = to_mosquitto(&mosquitto, url.clone(), &[]).await;
    let (car, _inbox) = connected(mosquitto.options(Endpoint::Mqtt, url, "car")).await;
    events.hold_outcomes();
    published(&car, &uplink(UID, VIN), payload(1), Qos::AtLeastOnce).await;
    events.until_arrivals(1).await;
    events.store_at_once();
    events.resolve(Outcome::Failed(StoreError::Full {
        detail: "disk".into(),
    }));
    events.until_arrivals(2).await;
    let told = events.recorded().links;
    assert!(
        told.iter()
            .any(|link| matches!(link, Err(reason) if reason.contains("could not be stored"))),
        "{told:?}"
    );
    events.until_link("the link", Result::is_ok).await;
    within("shutdown", broker.shutdown()).await;
}

#[tokio::test]
async fn lost_broker_is_told_with_advice_and_nothing_is_sent_meanwhile() {
    let mut mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let (broker, events) = to_mosquitto(&mosquitto, url, &[]).await;
    mosquitto.stop().await;
    events
        .until_link(
            "the loss",
            |link| matches!(link, Err(reason) if reason.contains("; ")),
        )
        .await;
    let topic = downlink(UID, VIN);
    let sent = broker.publish(&topic, payload(1)).await;
    assert_eq!(sent, Err(PublishError::LinkDown));
    mosquitto.start().await;
    events.until_link("the link", Result::is_ok).await;
    assert_eq!(broker.publish(&topic, payload(2)).await, Ok(()));
}

#[tokio::test]
async fn message_that_no_broker_takes_is_rejected() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let (broker, _events) = to_mosquitto(&mosquitto, url, &[]).await;
    let oversize = Bytes::from(vec![b'x'; 131_073]);
    let rejected = broker.publish(&downlink(UID, VIN), oversize).await;
    assert!(
        matches!(&rejected, Err(PublishError::Rejected { detail }) if detail.contains("131073")),
        "{rejected:?}"
    );
}

#[tokio::test]
async fn refused_subscription_is_no_open_link() {
    let it = Fixture::start().await;
    let url: BrokerUrl = format!("mqtt://{}", it.broker.mqtt_address().unwrap())
        .parse()
        .unwrap();
    let options =
        |name| ClientOptions::new(url.clone(), name).credentials(UID, it.password_of(UID));
    let (_broker, events) = connect(options("all"), &[]);
    events
        .until_link(
            "the refusal",
            |link| matches!(link, Err(reason) if reason.contains("uid/+/opa/#")),
        )
        .await;
    let (_broker, events) = connect(options("own"), &[uid()]);
    events.until_link("the link", Result::is_ok).await;
}

#[tokio::test]
async fn wrong_password_is_told_with_advice() {
    let mosquitto = Mosquitto::start().await;
    let options = mosquitto
        .options(Endpoint::Mqtt, mosquitto.url(Endpoint::Mqtt), "host")
        .credentials("tester", "wrong");
    let (_broker, events) = connect(options, &[]);
    events
        .until_link(
            "the refusal",
            |link| matches!(link, Err(reason) if reason.contains("user name")),
        )
        .await;
}
