//! Publishing, subscribing, hearing.

use vinbus_protocol::bus::{BuildError, Owner, topics};
use vinbus_transport_std::bus::BusPublishError;
use vinbus_transport_std::conformance::{
    BrokerUnderTest, Endpoint, Mosquitto, in_time, wait_for_link,
};
use vinbus_transport_std::{LinkState, MqttVersion};

use crate::platform::{Answer, Platform};
use crate::{connected, options, received};

const DAY: Answer = Answer::Token { expires_in: 86_400 };

#[tokio::test]
async fn the_seeds_program_is_heard_by_others_and_not_by_itself() {
    let (platform, broker) = (Platform::answering(&[DAY]).await, Mosquitto::start().await);
    let (seed, mut inbox) = connected(options(&platform, &broker, "my-app-client")).await;
    let (other, mut others_inbox) = connected(options(&platform, &broker, "other")).await;
    for bus in [&seed, &other] {
        bus.subscribe(&topics::UI_ASSET_STATUS, &[]).await.unwrap();
    }
    let status = r#"{"appId":"myapp","clientId":"my-app-client","randomInfo":"All is OK"}"#;
    seed.publish(&topics::UI_ASSET_STATUS, &[], status.into())
        .await
        .unwrap();
    let heard = received(&mut others_inbox).await;
    assert_eq!(heard.topic(), "app/myapp/ui/status");
    assert_eq!(
        heard.parsed_topic().unwrap().spec,
        Some(&topics::UI_ASSET_STATUS)
    );
    assert!(
        heard
            .fields()
            .unwrap()
            .client_id
            .unwrap()
            .is("my-app-client")
    );
    heard.ack();

    // Its own message would have come first.
    other
        .publish(&topics::UI_ASSET_STATUS, &[], "{}".into())
        .await
        .unwrap();
    assert_eq!(&received(&mut inbox).await.payload()[..], b"{}");

    let asked = platform.asked(1).await;
    assert_eq!(asked[0].path, "/api/platform/token/access_token");
    assert_eq!(asked[0].bearer, None);
    let body = serde_json::json!({
        "appId": "myapp", "clientId": "my-app-client", "clientSecret": "the secret",
    });
    assert_eq!(asked[0].body, body);
}

#[tokio::test]
async fn topics_that_the_map_does_not_know_and_shared_subscriptions_work() {
    let (platform, broker) = (Platform::answering(&[DAY]).await, Mosquitto::start().await);
    let (worker, mut inbox) = connected(options(&platform, &broker, "worker")).await;
    worker
        .subscribe_to("$share/workers/app/myapp/weather/#")
        .await
        .unwrap();
    let (publisher, _inbox) = connected(options(&platform, &broker, "publisher")).await;
    let topic = Owner::App("myapp")
        .topic("weather", "now", &["de"])
        .unwrap();
    publisher
        .publish_on(&topic, "raw bytes \u{1}".into())
        .await
        .unwrap();
    let message = received(&mut inbox).await;
    assert_eq!(message.parsed_topic().unwrap().context, Some("de"));
    assert!(message.fields().is_err());

    let typo = publisher
        .publish(&topics::UI_CONTENT, &[("sesionId", "s")], "{}".into())
        .await;
    let unknown = BuildError::Unknown { place: 0 };
    assert_eq!(typo, Err(BusPublishError::Topic(unknown)));
}

#[tokio::test]
async fn messages_of_another_session_are_passed_over_and_counted() {
    let (platform, broker) = (Platform::answering(&[DAY]).await, Mosquitto::start().await);
    let listening = options(&platform, &broker, "listener").session_id("s1");
    let (listener, mut inbox) = connected(listening).await;
    listener
        .subscribe(&topics::DIALOGUE_MESSAGES, &[])
        .await
        .unwrap();
    listener.subscribe(&topics::UI_CONTENT, &[]).await.unwrap();
    let (publisher, _inbox) = connected(options(&platform, &broker, "publisher")).await;
    let say = async |text: &'static str| {
        publisher
            .publish(&topics::UI_CONTENT, &[], text.into())
            .await
            .unwrap();
    };
    say(r#"{"sessionId":"s2"}"#).await;
    let elsewhere = [("sessionId", "s2")];
    publisher
        .publish(&topics::DIALOGUE_MESSAGES, &elsewhere, "{}".into())
        .await
        .unwrap();
    say(r#"{"sessionId":"s1"}"#).await;
    say(r#"{"sessionId":null}"#).await;
    say("bytes").await;
    for expected in [r#"{"sessionId":"s1"}"#, r#"{"sessionId":null}"#, "bytes"] {
        let message = received(&mut inbox).await;
        assert_eq!(message.payload(), expected);
        message.ack();
    }
    assert_eq!(listener.counters().other_session, 2);

    listener.set_session(None);
    say(r#"{"sessionId":"s2"}"#).await;
    assert_eq!(
        received(&mut inbox).await.payload(),
        r#"{"sessionId":"s2"}"#
    );
}

#[tokio::test]
async fn bus_is_spoken_over_tcp_and_mqtt_3_1_1_too() {
    let (platform, broker) = (Platform::answering(&[DAY]).await, Mosquitto::start().await);
    let old = options(&platform, &broker, "old")
        .version(MqttVersion::V311)
        .broker(broker.url(Endpoint::Mqtt));
    let (bus, mut inbox) = connected(old).await;
    bus.subscribe(&topics::UI_CONTENT, &[]).await.unwrap();
    bus.publish(&topics::UI_CONTENT, &[], "{}".into())
        .await
        .unwrap();
    assert_eq!(received(&mut inbox).await.payload(), "{}");
    in_time("the close", bus.clone().close()).await;
    assert_eq!(*bus.link().borrow(), LinkState::Closed);
    assert!(inbox.recv().await.is_none());
}

#[tokio::test]
async fn dropping_client_and_inbox_closes_the_connection() {
    let (platform, broker) = (Platform::answering(&[DAY]).await, Mosquitto::start().await);
    let (bus, inbox) = connected(options(&platform, &broker, "dropped")).await;
    let (link, mut token) = (bus.link(), bus.token());
    drop((bus, inbox));
    wait_for_link(link, "the close", |state| *state == LinkState::Closed).await;
    // The keeper's end of it is gone, too.
    let gone = in_time("the keeper's end", async {
        while token.changed().await.is_ok() {}
    });
    gone.await;
}
