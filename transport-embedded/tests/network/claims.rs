//! What the client claims, whatever carries it.

use tokio::time::timeout;
use vinbus_transport_embedded::{
    ConnectError, Connection, Credentials, Event, Fate, Mqtt, Options, Qos, Will,
};
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto, connected};
use vinbus_transport_std::conformance::{received, subscribed};

use crate::carriers::{Carrier, CarrierStream};
use crate::support::{PATIENCE, options};

type Link<'s, 'b, 'c> = Connection<'s, 'b, CarrierStream<'c>>;

/// No filters.
const NONE: [&str; 0] = [];

/// Waits until `wanted` has seen the event that it wants.
async fn until(link: &mut Link<'_, '_, '_>, mut wanted: impl FnMut(Event<'_>) -> bool) {
    let events = async { while !wanted(link.next().await.expect("the connection holds")) {} };
    timeout(PATIENCE, events).await.expect("it happens in time");
}

async fn published(link: &mut Link<'_, '_, '_>, topic: &str, payload: &[u8]) -> Fate {
    link.publish(topic, payload, false).await.unwrap();
    let mut fate = None;
    until(link, |event| {
        if let Event::Published(told) = event {
            fate = Some(told);
        }
        fate.is_some()
    })
    .await;
    fate.unwrap()
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

pub(crate) async fn messages_of_every_size_come_back(_: &mut Mosquitto, carrier: &Carrier<'_>) {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let (mut receive, mut send) = (vec![0; 133_000], vec![0; 136_000]);
        let options = Options {
            qos,
            ..options("board")
        };
        let mut mqtt = Mqtt::new(&mut receive, &mut send, &options).unwrap();
        let stream = carrier.open().await.unwrap();
        let mut link = mqtt.connect(stream, ["echo"]).await.unwrap();
        let sizes = [0, 1, 4_096, 16_384, 131_072].into_iter();
        for len in sizes.filter(|len| *len <= carrier.largest) {
            let sent = payload(len);
            link.publish("echo", &sent, false).await.unwrap();
            let (mut told, mut came) = (false, false);
            until(&mut link, |event| {
                match event {
                    Event::Published(fate) => {
                        assert_eq!(fate, Fate::Delivered);
                        told = true;
                    }
                    Event::Received { topic, payload } => {
                        assert!(
                            (topic, payload) == ("echo", &sent),
                            "{} bytes",
                            payload.len()
                        );
                        came = true;
                    }
                    Event::Progress => {}
                }
                told && came
            })
            .await;
        }
        link.close().await;
    }
}

pub(crate) async fn message_larger_than_a_buffer_is_refused_and_the_connection_lives(
    _: &mut Mosquitto,
    carrier: &Carrier<'_>,
) {
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &options("board")).unwrap();
    let stream = carrier.open().await.unwrap();
    let mut link = mqtt.connect(stream, NONE).await.unwrap();
    assert_eq!(
        published(&mut link, "up", &[b'x'; 2000]).await,
        Fate::Refused
    );
    assert_eq!(published(&mut link, "up", b"small").await, Fate::Delivered);
}

pub(crate) async fn messages_keep_their_order(_: &mut Mosquitto, carrier: &Carrier<'_>) {
    const COUNT: u8 = 20;
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 4096]);
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &options("board")).unwrap();
    let stream = carrier.open().await.unwrap();
    let mut link = mqtt.connect(stream, ["order"]).await.unwrap();
    let (mut next_out, mut next_in) = (0u8, 0u8);
    while next_in < COUNT {
        if next_out < COUNT {
            link.publish("order", &[next_out], false).await.unwrap();
            next_out += 1;
        }
        let told = next_out;
        until(&mut link, |event| match event {
            Event::Received { payload, .. } => {
                assert_eq!(payload, [next_in]);
                next_in += 1;
                told == COUNT
            }
            Event::Published(fate) => {
                assert_eq!(fate, Fate::Delivered);
                true
            }
            Event::Progress => false,
        })
        .await;
    }
}

pub(crate) async fn session_comes_back_after_a_restart_in_mid_traffic(
    broker: &mut Mosquitto,
    carrier: &Carrier<'_>,
) {
    let (mut receive, mut send) = (vec![0; 4096], vec![0; 8192]);
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &options("board")).unwrap();
    for round in 0..3 {
        let stream = carrier.open().await.unwrap();
        let mut link = mqtt.connect(stream, ["echo"]).await.unwrap();
        let mut came = 0;
        while came < 8 {
            link.publish("echo", &payload(500), false).await.unwrap();
            until(&mut link, |event| {
                came += usize::from(matches!(event, Event::Received { .. }));
                matches!(event, Event::Published(Fate::Delivered))
            })
            .await;
        }
        if round == 2 {
            break;
        }
        // One more is on its way.
        link.publish("echo", &payload(500), false).await.unwrap();
        broker.stop().await;
        let lost = async { while link.next().await.is_ok() {} };
        timeout(PATIENCE, lost).await.expect("the loss is noticed");
        drop(link);
        broker.start().await;
    }
}

pub(crate) async fn wrong_password_is_an_error_of_its_own(
    _: &mut Mosquitto,
    carrier: &Carrier<'_>,
) {
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let wrong = Options {
        credentials: Some(Credentials {
            user_name: Mosquitto::USER,
            password: b"wrong",
        }),
        ..Options::new("board")
    };
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &wrong).unwrap();
    let stream = carrier.open().await.unwrap();
    let error = mqtt.connect(stream, NONE).await.err().unwrap();
    // MQTT lets the broker choose.
    assert!(
        matches!(
            error,
            ConnectError::BadCredentials | ConnectError::NotAuthorized
        ),
        "{error:?}"
    );
}

pub(crate) async fn will_is_published_on_loss_and_not_on_close(
    broker: &mut Mosquitto,
    carrier: &Carrier<'_>,
) {
    let watcher = broker.options(Endpoint::Mqtt, broker.url(Endpoint::Mqtt), "watcher");
    let (watcher, mut inbox) = connected(watcher).await;
    subscribed(&watcher, "will", vinbus_transport_std::Qos::AtLeastOnce).await;
    let will = Will {
        topic: "will",
        payload: b"gone",
    };
    for (polite, expected) in [(true, "polite"), (false, "gone")] {
        let options = Options {
            will: Some(will),
            ..options(expected)
        };
        let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
        let mut mqtt = Mqtt::new(&mut receive, &mut send, &options).unwrap();
        let stream = carrier.open().await.unwrap();
        let mut link = mqtt.connect(stream, NONE).await.unwrap();
        if polite {
            assert_eq!(
                published(&mut link, "will", b"polite").await,
                Fate::Delivered
            );
            link.close().await;
        } else {
            drop(link);
        }
        let message = received(&mut inbox).await;
        assert_eq!(message.payload, expected);
        message.ack();
    }
}
