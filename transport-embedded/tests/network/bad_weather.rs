//! Futures that are dropped after every number of polls, and streams that fail at every write.

use embedded_io_async::{Read, Write};
use embedded_nal_async::TcpConnect;
use tokio::net::TcpStream;
use vinbus_transport_embedded::dial::Broker;
use vinbus_transport_embedded::{Event, Fate, Mqtt, TokioStream};
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto};

use crate::support::host::{Host, HostStream};
use crate::support::pki::{Parties, server_config};
use crate::support::weather::{Weather, Windy, at_most};
use crate::support::{PATIENCE, Provisioned, TestClient, TestLine, client, options, with_pump};

/// Polls after which a future is dropped. With many, it is as if nothing were dropped.
const POLLS: [usize; 7] = [1, 2, 3, 4, 5, 8, 13];

/// A server that sends back what it gets over TLS, and a board that it knows.
struct Echo {
    board: Provisioned,
    server: Broker<'static>,
}

impl Echo {
    async fn start() -> Self {
        let parties = Parties::new();
        let version = &rustls::version::TLS13;
        let config = server_config(&parties.broker, &[], &parties.root, version);
        let address = crate::refusals::echo_server(config).await;
        Self {
            board: parties.board(),
            server: Broker {
                host: "127.0.0.1",
                port: address.port(),
            },
        }
    }

    fn client<T: TcpConnect>(&self, tcp: T) -> TestClient<'_, T> {
        let credentials = self.board.credentials(self.server.host);
        client(tcp, self.server, credentials)
    }
}

async fn bare(broker: &Mosquitto) -> HostStream<TcpStream> {
    let url = broker.url(Endpoint::Mqtt);
    let stream = TcpStream::connect((url.host(), url.port())).await.unwrap();
    stream.set_nodelay(true).unwrap();
    HostStream(TokioStream::new(stream))
}

/// Publishes messages and gets them back, dropping `next()` after so many polls each time.
async fn echoes<IO: Read + Write>(stream: IO, polls: usize) {
    let (mut receive, mut send) = (vec![0; 2048], vec![0; 4096]);
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &options("board")).unwrap();
    let mut link = mqtt.connect(stream, ["echo"]).await.unwrap();
    for number in 0..20u8 {
        let payload: Vec<u8> = (0..300).map(|at| (at % 251) as u8 ^ number).collect();
        link.publish("echo", &payload, false).await.unwrap();
        let (mut told, mut came) = (0, 0);
        while told == 0 || came == 0 {
            match at_most(polls, link.next()).await {
                Some(Ok(Event::Received { payload: got, .. })) => {
                    assert_eq!(got, payload);
                    came += 1;
                }
                Some(Ok(Event::Published(fate))) => {
                    assert_eq!(fate, Fate::Delivered);
                    told += 1;
                }
                Some(Ok(Event::Progress)) => {}
                None => tokio::task::yield_now().await,
                Some(Err(lost)) => panic!("{lost:?}"),
            }
        }
        assert_eq!((told, came), (1, 1));
    }
}

#[tokio::test]
async fn dropped_next_loses_nothing_on_a_bare_stream() {
    let broker = Mosquitto::start().await;
    for polls in POLLS {
        for piece in [1, 7, 1000] {
            let stream = Weather::new(bare(&broker).await, piece, usize::MAX);
            tokio::time::timeout(PATIENCE, echoes(stream, polls))
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn dropped_connect_leaves_a_session_that_connects() {
    let broker = Mosquitto::start().await;
    let (mut receive, mut send) = (vec![0; 2048], vec![0; 4096]);
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &options("board")).unwrap();
    let mut polls = 0;
    loop {
        polls += 1;
        let stream = Weather::new(bare(&broker).await, 5, usize::MAX);
        if at_most(polls, mqtt.connect(stream, ["echo"]))
            .await
            .is_some()
        {
            break;
        }
        let stream = Weather::new(bare(&broker).await, 1000, usize::MAX);
        let mut link = mqtt.connect(stream, ["echo"]).await.unwrap();
        link.publish("echo", b"hello", false).await.unwrap();
        while !matches!(link.next().await.unwrap(), Event::Received { .. }) {}
    }
    assert!(polls > 10, "it was dropped {polls} times");
}

#[tokio::test]
async fn dropped_next_loses_nothing_on_a_line() {
    let broker = Mosquitto::start().await;
    let url = broker.url(Endpoint::Mqtts);
    let provisioned = Provisioned::new(&broker.authority.certificate, &broker.client);
    let address = Broker {
        host: url.host(),
        port: url.port(),
    };
    for piece in [7, 1000] {
        let tcp = Windy {
            tcp: Host,
            piece,
            writes: usize::MAX,
        };
        let client = client(tcp, address, provisioned.credentials(url.host()));
        let line = TestLine::new();
        let test = async {
            for polls in POLLS {
                echoes(line.dial().await.unwrap(), polls).await;
            }
        };
        with_pump(&line, client, test).await;
    }
}

#[tokio::test]
async fn dropped_reads_writes_and_dials_lose_no_byte_of_a_line() {
    let echo = Echo::start().await;
    let tcp = Windy {
        tcp: Host,
        piece: 100,
        writes: usize::MAX,
    };
    let client = echo.client(tcp);
    let line = TestLine::new();
    let test = async {
        for polls in POLLS {
            // A dial that is given up leaves nothing behind.
            let _given_up = at_most(polls, line.dial()).await;
            let mut stream = line.dial().await.unwrap();
            let sent: Vec<u8> = (0..20_000).map(|at| (at % 251) as u8).collect();
            let (mut out, mut back) = (0, Vec::<u8>::new());
            while back.len() < sent.len() {
                if out < sent.len() {
                    let write = stream.write(&sent[out..]);
                    if let Some(written) = at_most(polls, write).await {
                        out += written.unwrap();
                    }
                }
                let mut buffer = [0; 333];
                if let Some(read) = at_most(polls, stream.read(&mut buffer)).await {
                    back.extend(&buffer[..read.unwrap()]);
                }
                tokio::task::yield_now().await;
            }
            assert!(back == sent, "bytes are lost or mixed up");
        }
    };
    with_pump(&line, client, test).await;
}

#[tokio::test]
async fn pump_that_is_dropped_and_started_again_ends_the_connection_and_no_more() {
    let echo = Echo::start().await;
    let line = TestLine::new();
    let client = || echo.client(Host);
    let mut stream = with_pump(&line, client(), async { line.dial().await.unwrap() }).await;
    let end = stream.read(&mut [0; 1]).await;
    assert_eq!(end, Err(vinbus_transport_embedded::tls::LineError::NoPump));
    drop(stream);
    with_pump(&line, client(), async {
        line.dial().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn stream_that_fails_at_any_write_ends_the_connection_and_the_next_one_works() {
    let broker = Mosquitto::start().await;
    let (mut receive, mut send) = (vec![0; 2048], vec![0; 4096]);
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &options("board")).unwrap();
    for writes in 0..12 {
        let failing = Weather::new(bare(&broker).await, 50, writes);
        if let Ok(mut link) = mqtt.connect(failing, ["echo"]).await {
            let mut lost = false;
            while !lost {
                lost = link.publish("echo", &[7; 300], false).await.is_err();
                while !lost {
                    match link.next().await {
                        Ok(Event::Published(_)) => break,
                        Ok(Event::Received { .. } | Event::Progress) => {}
                        Err(_) => lost = true,
                    }
                }
            }
        }
        let sound = Weather::new(bare(&broker).await, 50, usize::MAX);
        let mut link = mqtt.connect(sound, ["echo"]).await.unwrap();
        link.publish("echo", b"hello", false).await.unwrap();
        while !matches!(link.next().await.unwrap(), Event::Received { .. }) {}
        link.close().await;
    }
}

#[tokio::test]
async fn network_that_fails_at_any_write_ends_the_line_and_the_next_one_works() {
    let echo = Echo::start().await;
    for writes in 0..7 {
        let tcp = Windy {
            tcp: Host,
            piece: 300,
            writes,
        };
        let client = echo.client(tcp);
        let line = TestLine::new();
        let test = async {
            if let Ok(mut stream) = line.dial().await {
                while stream.write_all(&[7; 100]).await.is_ok() {
                    let mut buffer = [0; 100];
                    if stream.read(&mut buffer).await.is_err() {
                        break;
                    }
                }
            }
            // The writes of the next connection are counted anew.
            let next = line.dial().await;
            assert_eq!(next.is_ok(), writes > 4);
        };
        with_pump(&line, client, test).await;
    }
}
