//! The embedded client against a real mosquitto, over a TCP stream of the host.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use vinbus_transport_embedded::{
    ConnectError, Connection, Credentials, Event, Fate, Lost, Mqtt, Options, OptionsError, Qos,
    TokioStream, Will,
};
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto};
use vinbus_transport_std::{Client, Inbox, connect};

/// Longest time for anything to happen. Only a broken client takes it.
const PATIENCE: Duration = Duration::from_secs(60);

/// No filters.
const NONE: [&str; 0] = [];

type Stream = TokioStream<TcpStream>;

/// The only user of the test broker.
fn options() -> Options<'static> {
    let credentials = Credentials {
        user_name: "tester",
        password: b"correct horse",
    };
    Options {
        credentials: Some(credentials),
        ..Options::new("board")
    }
}

async fn stream(broker: &Mosquitto) -> Stream {
    let url = broker.url(Endpoint::Mqtt);
    Stream::new(TcpStream::connect((url.host(), url.port())).await.unwrap())
}

async fn peer(broker: &Mosquitto, filter: &str) -> (Client, Inbox) {
    let options = broker.options(Endpoint::Mqtt, broker.url(Endpoint::Mqtt), "peer");
    let (client, inbox) = connect(options).unwrap();
    client
        .subscribe(filter, vinbus_transport_std::Qos::AtLeastOnce)
        .await
        .unwrap();
    (client, inbox)
}

async fn fate(connection: &mut Connection<'_, '_, Stream>) -> Fate {
    loop {
        match timeout(PATIENCE, connection.next()).await.unwrap().unwrap() {
            Event::Published(fate) => return fate,
            Event::Received { .. } | Event::Progress => {}
        }
    }
}

#[tokio::test]
async fn messages_pass_both_ways_at_both_qualities() {
    let broker = Mosquitto::start().await;
    let (client, mut inbox) = peer(&broker, "up").await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let (mut receive, mut send) = (vec![0; 133_000], vec![0; 136_000]);
        let options = Options { qos, ..options() };
        let mut mqtt = Mqtt::new(&mut receive, &mut send, &options).unwrap();
        let mut connection = mqtt
            .connect(stream(&broker).await, ["down", "down/"])
            .await
            .unwrap();
        for len in [0, 1, 131_072] {
            let payload = vec![b'x'; len];
            connection.publish("up", &payload, false).await.unwrap();
            assert_eq!(fate(&mut connection).await, Fate::Delivered);
            let message = timeout(PATIENCE, inbox.recv()).await.unwrap().unwrap();
            assert_eq!(message.payload, payload);
            message.ack();

            let qos = vinbus_transport_std::Qos::AtLeastOnce;
            client
                .publish("down", payload.clone().into(), qos, false)
                .await
                .unwrap();
            loop {
                match timeout(PATIENCE, connection.next()).await.unwrap().unwrap() {
                    Event::Received {
                        topic,
                        payload: got,
                    } => {
                        assert_eq!((topic, got), ("down", &payload[..]));
                        break;
                    }
                    Event::Published(_) | Event::Progress => {}
                }
            }
        }
        connection.close().await;
    }
}

#[tokio::test]
async fn message_larger_than_the_buffer_is_refused_and_the_connection_lives() {
    let broker = Mosquitto::start().await;
    let (_client, mut inbox) = peer(&broker, "up").await;
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &options()).unwrap();
    let mut connection = mqtt.connect(stream(&broker).await, ["down"]).await.unwrap();
    connection
        .publish("up", &[b'x'; 2000], false)
        .await
        .unwrap();
    assert_eq!(fate(&mut connection).await, Fate::Refused);
    connection.publish("up", b"small", false).await.unwrap();
    assert_eq!(fate(&mut connection).await, Fate::Delivered);
    assert_eq!(
        timeout(PATIENCE, inbox.recv())
            .await
            .unwrap()
            .unwrap()
            .payload,
        "small"
    );
}

#[tokio::test]
async fn will_is_published_unless_the_client_says_goodbye() {
    let broker = Mosquitto::start().await;
    let (_client, mut inbox) = peer(&broker, "will").await;
    let will = Will {
        topic: "will",
        payload: b"gone",
    };
    let options = Options {
        will: Some(will),
        ..options()
    };
    for (polite, expected) in [(true, "polite"), (false, "gone")] {
        let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
        let mut mqtt = Mqtt::new(&mut receive, &mut send, &options).unwrap();
        let mut connection = mqtt.connect(stream(&broker).await, NONE).await.unwrap();
        if polite {
            connection.publish("will", b"polite", false).await.unwrap();
            assert_eq!(fate(&mut connection).await, Fate::Delivered);
            connection.close().await;
        } else {
            drop(connection);
        }
        let message = timeout(PATIENCE, inbox.recv()).await.unwrap().unwrap();
        assert_eq!(message.payload, expected);
        message.ack();
    }
}

#[tokio::test]
async fn broker_that_stops_is_a_lost_connection() {
    let mut broker = Mosquitto::start().await;
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &options()).unwrap();
    let mut connection = mqtt.connect(stream(&broker).await, ["down"]).await.unwrap();
    broker.stop().await;
    loop {
        match timeout(PATIENCE, connection.next()).await.unwrap() {
            Ok(Event::Progress) => {}
            Ok(other) => panic!("{other:?}"),
            Err(why) => break assert_eq!(why, Lost::Broken),
        }
    }
}

#[tokio::test]
async fn wrong_password_and_silent_peer_are_told_apart() {
    let broker = Mosquitto::start().await;
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let credentials = Some(Credentials {
        user_name: "tester",
        password: b"wrong",
    });
    let wrong = Options {
        credentials,
        ..options()
    };
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &wrong).unwrap();
    let refused = mqtt.connect(stream(&broker).await, NONE).await.err();
    assert_eq!(refused, Some(ConnectError::Refused));

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let connect_timeout = embassy_time::Duration::from_millis(50);
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let impatient = Options {
        connect_timeout,
        ..options()
    };
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &impatient).unwrap();
    let stream = Stream::new(TcpStream::connect(address).await.unwrap());
    assert_eq!(
        mqtt.connect(stream, NONE).await.err(),
        Some(ConnectError::Timeout)
    );
}

#[tokio::test]
async fn message_that_is_never_acknowledged_ends_the_connection() {
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = peer.local_addr().unwrap();
    let forgetful = tokio::spawn(async move {
        let (mut stream, _) = peer.accept().await.unwrap();
        let welcome = [0x20, 3, 0, 0, 0];
        stream.write_all(&welcome).await.unwrap();
        let mut ignored = Vec::new();
        let _until_the_client_goes = stream.read_to_end(&mut ignored).await;
    });
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let impatient = Options {
        answer_timeout: embassy_time::Duration::from_millis(50),
        ..options()
    };
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &impatient).unwrap();
    let stream = Stream::new(TcpStream::connect(address).await.unwrap());
    let mut connection = mqtt.connect(stream, NONE).await.unwrap();
    connection.publish("up", b"hello", false).await.unwrap();
    assert_eq!(lost(&mut connection).await, Lost::Silent);
    drop(connection);
    timeout(PATIENCE, forgetful).await.unwrap().unwrap();
}

/// Why a connection on which nothing else happens ends.
async fn lost(connection: &mut Connection<'_, '_, Stream>) -> Lost {
    loop {
        match timeout(PATIENCE, connection.next()).await.unwrap() {
            Ok(Event::Progress) => {}
            Ok(other) => panic!("{other:?}"),
            Err(why) => return why,
        }
    }
}

/// A broker that answers CONNECT, and then the SUBSCRIBE of one filter with a reason code if any.
async fn broker_that_answers(suback: Option<u8>) -> Stream {
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = peer.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = peer.accept().await?;
        packet(&mut stream).await?;
        stream.write_all(&[0x20, 3, 0, 0, 0]).await?;
        let subscribe = packet(&mut stream).await?;
        if let Some(code) = suback {
            let answer = [0x90, 4, subscribe[0], subscribe[1], 0, code];
            stream.write_all(&answer).await?;
        }
        stream.read_to_end(&mut Vec::new()).await
    });
    Stream::new(TcpStream::connect(address).await.unwrap())
}

/// The body of the next packet, which is short.
async fn packet(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let [_header, len] = [stream.read_u8().await?, stream.read_u8().await?];
    let mut body = vec![0; usize::from(len)];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

#[tokio::test]
async fn refused_or_unanswered_subscription_ends_the_connection_and_refuses_no_message() {
    const NOT_AUTHORIZED: u8 = 0x87;
    for (suback, expected) in [
        (Some(NOT_AUTHORIZED), Lost::SubscriptionRefused),
        (None, Lost::Silent),
    ] {
        let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
        let mut patience = options();
        if suback.is_none() {
            patience.answer_timeout = embassy_time::Duration::from_millis(50);
        }
        let mut mqtt = Mqtt::new(&mut receive, &mut send, &patience).unwrap();
        let stream = broker_that_answers(suback).await;
        let mut connection = mqtt.connect(stream, ["down"]).await.unwrap();
        connection.publish("up", b"hello", false).await.unwrap();
        assert_eq!(lost(&mut connection).await, expected);
    }
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let check = |options: &Options<'_>, expected| {
        assert_eq!(
            Mqtt::new(&mut [0; 64], &mut [0; 64], options).err(),
            Some(expected)
        );
    };
    check(&Options::new(&"c".repeat(65)), OptionsError::ClientId);
    let topic = "t".repeat(129);
    let will = Some(Will {
        topic: &topic,
        payload: b"",
    });
    check(
        &Options {
            will,
            ..Options::new("c")
        },
        OptionsError::WillTopic,
    );
}
