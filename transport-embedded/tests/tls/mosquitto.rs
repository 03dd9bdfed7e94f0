//! MQTT over a line to a real mosquitto.

use vinbus_transport_embedded::dial::Broker;
use vinbus_transport_embedded::{Connection, Credentials, Event, Fate, Mqtt, Options, Qos};
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto};

use crate::support::{Provisioned, TestLine, client, with_pump};

fn options() -> Options<'static> {
    Options {
        credentials: Some(Credentials {
            user_name: Mosquitto::USER,
            password: Mosquitto::PASSWORD.as_bytes(),
        }),
        ..Options::new("board")
    }
}

async fn echo<IO>(connection: &mut Connection<'_, '_, IO>, payload: &[u8])
where
    IO: embedded_io_async::Read + embedded_io_async::Write,
{
    connection.publish("echo", payload, false).await.unwrap();
    let (mut sent, mut received) = (false, false);
    while !(sent && received) {
        match connection.next().await.unwrap() {
            Event::Published(fate) => {
                assert_eq!(fate, Fate::Delivered);
                sent = true;
            }
            Event::Received {
                topic,
                payload: got,
            } => {
                assert!((topic, got) == ("echo", payload), "{} bytes", got.len());
                received = true;
            }
            Event::Progress => {}
        }
    }
}

#[tokio::test]
async fn messages_of_every_size_come_back_over_mutual_tls() {
    let broker = Mosquitto::start().await;
    let url = broker.url(Endpoint::Mqtts);
    let provisioned = Provisioned::new(&broker.authority.certificate, &broker.client);
    let client = client(
        Broker {
            host: url.host(),
            port: url.port(),
        },
        provisioned.credentials(url.host()),
    );
    let line = TestLine::new();
    let test = async {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            let (mut receive, mut send) = (vec![0; 133_000], vec![0; 136_000]);
            let options = Options { qos, ..options() };
            let mut mqtt = Mqtt::new(&mut receive, &mut send, &options).unwrap();
            let stream = line.dial().await.unwrap();
            let mut connection = mqtt.connect(stream, ["echo"]).await.unwrap();
            for len in [0, 1, 4_096, 16_384, 131_072] {
                let payload: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
                echo(&mut connection, &payload).await;
            }
            connection.close().await;
        }
        assert_eq!(line.failure(), None);
    };
    with_pump(&line, client, test).await;
}
