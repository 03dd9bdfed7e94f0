//! The MQTT session against peers that follow a script.

use std::time::Duration;

use embassy_time::{Duration as BoardDuration, Timer};
use embedded_io_async::{ErrorType, Read, Write};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::timeout;
use vinbus_transport_embedded::{
    ConnectError, Connection, Event, Fate, Lost, Mqtt, Options, OptionsError, Qos, TokioStream,
    Will,
};
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto};

use crate::support::{PATIENCE, options};

/// No filters.
const NONE: [&str; 0] = [];

/// Packets of a broker.
const WELCOME: [u8; 5] = [0x20, 3, 0, 0, 0];
const REFUSED: u8 = 0x87;

/// Limits that a test can wait for.
const SOON: BoardDuration = BoardDuration::from_millis(50);

/// A stream, and its far end.
fn wire() -> (TokioStream<DuplexStream>, DuplexStream) {
    let (near, far) = tokio::io::duplex(4096);
    (TokioStream::new(near), far)
}

/// Reads one packet of the client, of less than 128 bytes.
async fn packet(far: &mut DuplexStream) -> Vec<u8> {
    let mut header = [0; 2];
    far.read_exact(&mut header).await.unwrap();
    let mut rest = vec![0; header[1].into()];
    far.read_exact(&mut rest).await.unwrap();
    [&header[..], &rest].concat()
}

async fn welcomed(far: &mut DuplexStream) {
    packet(far).await;
    far.write_all(&WELCOME).await.unwrap();
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it happens in time")
}

#[tokio::test]
async fn peer_that_says_nothing_is_given_up() {
    let (stream, _far) = wire();
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let impatient = Options {
        connect_timeout: SOON,
        ..options("board")
    };
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &impatient).unwrap();
    let error = in_time(mqtt.connect(stream, NONE)).await.err();
    assert_eq!(error, Some(ConnectError::Timeout));
}

#[tokio::test]
async fn every_refusal_of_a_broker_is_told_apart() {
    for (reason, expected) in [
        (0x84, ConnectError::Refused),
        (0x85, ConnectError::ClientId),
        (0x86, ConnectError::BadCredentials),
        (0x87, ConnectError::NotAuthorized),
        (0x88, ConnectError::Unavailable),
        (0x89, ConnectError::Unavailable),
    ] {
        let (stream, mut far) = wire();
        let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
        let mut mqtt = Mqtt::new(&mut receive, &mut send, &options("board")).unwrap();
        let broker = async {
            packet(&mut far).await;
            far.write_all(&[0x20, 3, 0, reason, 0]).await.unwrap();
        };
        let (connected, ()) =
            in_time(async { tokio::join!(mqtt.connect(stream, NONE), broker) }).await;
        assert_eq!(connected.err(), Some(expected), "{reason:#x}");
    }
}

#[tokio::test]
async fn message_that_is_never_acknowledged_ends_the_connection() {
    let (stream, mut far) = wire();
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let impatient = Options {
        answer_timeout: SOON,
        ..options("board")
    };
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &impatient).unwrap();
    let (link, ()) =
        in_time(async { tokio::join!(mqtt.connect(stream, NONE), welcomed(&mut far)) }).await;
    let mut link = link.unwrap();
    link.publish("up", b"hello", false).await.unwrap();
    assert_eq!(in_time(lost(&mut link)).await, Lost::Broken);
}

#[tokio::test]
async fn peer_that_answers_no_ping_ends_the_connection() {
    let (stream, mut far) = wire();
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let restless = Options {
        keep_alive_s: 1,
        ..options("board")
    };
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &restless).unwrap();
    let connecting = mqtt.connect(stream, NONE);
    let (link, ()) = in_time(async { tokio::join!(connecting, welcomed(&mut far)) }).await;
    let mut link = link.unwrap();
    let silent = async {
        assert_eq!(packet(&mut far).await, [0xc0, 0], "a ping");
    };
    let (end, ()) = in_time(async { tokio::join!(lost(&mut link), silent) }).await;
    assert_eq!(end, Lost::Broken);
}

/// A peer that takes a piece of what it is given whenever it likes, and says nothing else.
struct Slow<S> {
    stream: S,
    piece: usize,
    pause: BoardDuration,
}

impl<S: ErrorType> ErrorType for Slow<S> {
    type Error = S::Error;
}

impl<S: Read> Read for Slow<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, S::Error> {
        self.stream.read(buffer).await
    }
}

impl<S: Write> Write for Slow<S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, S::Error> {
        Timer::after(self.pause).await;
        let len = bytes.len().min(self.piece);
        self.stream.write(&bytes[..len]).await
    }

    async fn flush(&mut self) -> Result<(), S::Error> {
        self.stream.flush().await
    }
}

/// Connects, at a quality of service, to a peer that takes 100 bytes in each pause, publishes more
/// than it takes in time, and tells how that ended.
async fn published_to_a_slow_peer(qos: Qos) -> (Result<(), Lost>, Lost) {
    let (near, mut far) = tokio::io::duplex(65_536);
    let slow = Slow {
        stream: TokioStream::new(near),
        piece: 100,
        pause: BoardDuration::from_millis(20),
    };
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 60_000]);
    let impatient = Options {
        answer_timeout: BoardDuration::from_millis(100),
        bytes_per_s_min: 100_000,
        qos,
        ..options("board")
    };
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &impatient).unwrap();
    let connecting = mqtt.connect(slow, NONE);
    let (link, ()) = in_time(async { tokio::join!(connecting, welcomed(&mut far)) }).await;
    let mut link = link.unwrap();
    let took = in_time(link.publish("up", &[0; 50_000], false)).await;
    (took, in_time(lost(&mut link)).await)
}

#[tokio::test]
async fn peer_that_takes_a_message_piece_by_piece_but_not_in_time_ends_the_connection() {
    // Each piece comes in time for itself, and all of them would take ten seconds.
    let at_least_once = published_to_a_slow_peer(Qos::AtLeastOnce).await;
    assert_eq!(at_least_once, (Ok(()), Lost::Broken));
    let at_most_once = published_to_a_slow_peer(Qos::AtMostOnce).await;
    assert_eq!(at_most_once, (Err(Lost::Broken), Lost::Broken));
}

/// A session at a quality of service with a peer that has taken nothing since its welcome.
async fn stalled<T>(
    options: &Options<'_, '_>,
    test: impl AsyncFnOnce(&mut Link<'_, '_>) -> T,
) -> T {
    let (near, mut far) = tokio::io::duplex(512);
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 4096]);
    let mut mqtt = Mqtt::new(&mut receive, &mut send, options).unwrap();
    let connecting = mqtt.connect(TokioStream::new(near), NONE);
    let (link, ()) = in_time(async { tokio::join!(connecting, welcomed(&mut far)) }).await;
    test(&mut link.unwrap()).await
}

type Link<'s, 'b> = Connection<'s, 'b, TokioStream<DuplexStream>>;

#[tokio::test]
async fn peer_that_takes_nothing_ends_the_connection() {
    for (qos, took) in [
        (Qos::AtLeastOnce, Ok(())),
        (Qos::AtMostOnce, Err(Lost::Broken)),
    ] {
        let impatient = Options {
            answer_timeout: SOON,
            qos,
            ..options("board")
        };
        let test = async |link: &mut Link<'_, '_>| {
            let published = in_time(link.publish("up", &[0; 2000], false)).await;
            assert_eq!(published, took);
            assert_eq!(in_time(lost(link)).await, Lost::Broken);
        };
        stalled(&impatient, test).await;
    }
}

#[tokio::test]
async fn broker_that_takes_nothing_but_qos_0_gets_that() {
    let (stream, mut far) = wire();
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &options("board")).unwrap();
    let broker = async {
        packet(&mut far).await;
        // With the property "Maximum QoS".
        far.write_all(&[0x20, 5, 0, 0, 2, 0x24, 0]).await.unwrap();
        (packet(&mut far).await, packet(&mut far).await)
    };
    let client = async {
        let mut link = mqtt.connect(stream, NONE).await.unwrap();
        for _ in 0..2 {
            link.publish("up", b"1", false).await.unwrap();
            let told = link.next().await;
            assert_eq!(told, Ok(Event::Published(Fate::Delivered)));
        }
    };
    let (packets, ()) = in_time(async { tokio::join!(broker, client) }).await;
    let plain = b"\x30\x06\x00\x02up\x001".to_vec();
    assert_eq!(packets, (plain.clone(), plain));
}

#[tokio::test]
async fn message_that_a_peer_is_slow_to_take_does_not_keep_the_caller() {
    let test = async |link: &mut Link<'_, '_>| {
        // No time passes between the two.
        let published = timeout(Duration::ZERO, link.publish("up", &[0; 2000], false)).await;
        assert_eq!(published, Ok(Ok(())));
        let cut = timeout(Duration::ZERO, link.next()).await;
        assert!(cut.is_err(), "its fate is open");
        assert!(timeout(Duration::ZERO, link.next()).await.is_err());
    };
    stalled(&options("board"), test).await;
}

#[tokio::test]
async fn publishing_that_is_cut_short_ends_the_connection() {
    let at_most_once = Options {
        qos: Qos::AtMostOnce,
        ..options("board")
    };
    let test = async |link: &mut Link<'_, '_>| {
        let cut = timeout(Duration::ZERO, link.publish("up", &[0; 2000], false)).await;
        assert!(cut.is_err());
        assert_eq!(link.next().await, Err(Lost::Broken));
        assert_eq!(link.publish("up", b"", false).await, Err(Lost::Broken));
    };
    stalled(&at_most_once, test).await;
}

async fn lost<IO: Read + Write>(link: &mut Connection<'_, '_, IO>) -> Lost {
    loop {
        match link.next().await {
            Ok(Event::Progress) => {}
            Ok(other) => panic!("{other:?}"),
            Err(lost) => return lost,
        }
    }
}

/// An impatient client asks for a filter and publishes a message; the broker answers in one piece what
/// `answers` makes of their packet ids, and closes the stream if that is all. What the client is told.
async fn told(answers: impl Fn([u8; 2], [u8; 2]) -> Vec<Vec<u8>>) -> (Vec<Fate>, Lost) {
    let (stream, mut far) = wire();
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let impatient = Options {
        answer_timeout: SOON,
        ..options("board")
    };
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &impatient).unwrap();
    let broker = async {
        welcomed(&mut far).await;
        let subscribe = packet(&mut far).await;
        let publish = packet(&mut far).await;
        let topic_len = usize::from(publish[3]);
        let id = [publish[4 + topic_len], publish[5 + topic_len]];
        let answers = answers([subscribe[2], subscribe[3]], id);
        far.write_all(&answers.concat()).await.unwrap();
        (answers.len() < 2).then_some(far)
    };
    let client = async {
        let mut link = mqtt.connect(stream, ["down"]).await.unwrap();
        link.publish("up", b"hello", false).await.unwrap();
        let mut fates = Vec::new();
        loop {
            match link.next().await {
                Ok(Event::Published(fate)) => fates.push(fate),
                Ok(Event::Received { .. }) => panic!("a message from nowhere"),
                Ok(Event::Progress) => {}
                Err(lost) => return (fates, lost),
            }
        }
    };
    let (told, _far) = in_time(async { tokio::join!(client, broker) }).await;
    told
}

fn suback([high, low]: [u8; 2], reason: u8) -> Vec<u8> {
    vec![0x90, 4, high, low, 0, reason]
}

fn puback([high, low]: [u8; 2], reason: u8) -> Vec<u8> {
    vec![0x40, 3, high, low, reason]
}

#[tokio::test]
async fn refused_message_and_refused_filter_are_told_apart_in_any_order() {
    use Fate::{Delivered, Refused};
    use Lost::{Broken, SubscriptionRefused};
    let check = async |message: u8, filter: u8, fates: &[Fate], lost: Lost| {
        let expected = (fates.to_vec(), lost);
        let told = told(|asked, sent| vec![puback(sent, message), suback(asked, filter)]).await;
        assert_eq!(told, expected, "{message:#x} {filter:#x}");
    };
    check(0, 0, &[Delivered], Broken).await;
    check(0, REFUSED, &[Delivered], SubscriptionRefused).await;
    check(REFUSED, 0, &[Refused], Broken).await;
    check(REFUSED, REFUSED, &[Refused], SubscriptionRefused).await;
    let check = async |filter: u8, message: u8, fates: &[Fate], lost: Lost| {
        let expected = (fates.to_vec(), lost);
        let told = told(|asked, sent| vec![suback(asked, filter), puback(sent, message)]).await;
        assert_eq!(told, expected, "{filter:#x} {message:#x}");
    };
    check(0, 0, &[Delivered], Broken).await;
    check(0, REFUSED, &[Refused], Broken).await;
    // The session is of no use, and so is what came behind.
    check(REFUSED, 0, &[], SubscriptionRefused).await;
    check(REFUSED, REFUSED, &[], SubscriptionRefused).await;
}

#[tokio::test]
async fn filter_without_an_answer_ends_the_connection() {
    use Lost::SubscriptionUnconfirmed;
    let silent = told(|_, _| Vec::new()).await;
    assert_eq!(silent, (Vec::new(), SubscriptionUnconfirmed));
    let delivered = told(|_, sent| vec![puback(sent, 0)]).await;
    assert_eq!(delivered, (vec![Fate::Delivered], SubscriptionUnconfirmed));
    let refused = told(|_, sent| vec![puback(sent, REFUSED)]).await;
    assert_eq!(refused, (vec![Fate::Refused], SubscriptionUnconfirmed));
    let message_missing = told(|asked, _| vec![suback(asked, 0)]).await;
    assert_eq!(message_missing, (Vec::new(), Lost::Broken));
}

#[tokio::test]
async fn flood_of_messages_is_no_answer_to_a_filter() {
    let (stream, mut far) = wire();
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let impatient = Options {
        answer_timeout: SOON,
        ..options("board")
    };
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &impatient).unwrap();
    let flood = async {
        welcomed(&mut far).await;
        // A message without content, on the topic `down`.
        while far.write_all(b"\x30\x07\x00\x04down\x00").await.is_ok() {}
    };
    let client = async {
        let mut link = mqtt.connect(stream, ["down"]).await.unwrap();
        loop {
            match link.next().await {
                Ok(Event::Received { .. } | Event::Progress) => {}
                Ok(event) => panic!("{event:?}"),
                Err(lost) => return lost,
            }
        }
    };
    let ended = async {
        tokio::select! {
            lost = client => lost,
            () = flood => panic!("the flood ends with the connection"),
        }
    };
    assert_eq!(in_time(ended).await, Lost::SubscriptionUnconfirmed);
}

/// The first byte of a publication at QoS 1, and its sign for one that may have come before.
const PUBLISH: u8 = 0x32;
const AGAIN: u8 = 0x08;

/// A message that is on its way when the connection breaks, over a broker that keeps the session, as one
/// may whose end of the old connection is still open. It is published again, as nobody knows of its
/// fate: whether it has to wait, and what becomes of it, if the broker answers the first one so, or not
/// at all.
async fn published_to_a_broker_that_kept_the_session(
    answer: Option<u8>,
) -> (bool, Result<Fate, Lost>) {
    // No two of them have room.
    let message = [7; 600];
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
    let impatient = Options {
        answer_timeout: SOON,
        ..options("board")
    };
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &impatient).unwrap();
    {
        let (stream, mut far) = wire();
        let connecting = mqtt.connect(stream, NONE);
        let (link, ()) = in_time(async { tokio::join!(connecting, welcomed(&mut far)) }).await;
        let mut link = link.unwrap();
        link.publish("up", &message, false).await.unwrap();
        drop(far);
        assert_eq!(in_time(lost(&mut link)).await, Lost::Broken);
    }
    let (stream, mut far) = wire();
    let broker = async {
        packet(&mut far).await;
        far.write_all(&[0x20, 3, 1, 0, 0]).await.unwrap();
        let (first, id) = publication(&mut far).await;
        assert_eq!(first, PUBLISH | AGAIN);
        if let Some(reason) = answer {
            far.write_all(&puback(id, reason)).await.unwrap();
            let (first, id) = publication(&mut far).await;
            assert_eq!(first, PUBLISH);
            far.write_all(&puback(id, 0)).await.unwrap();
        }
        std::future::pending().await
    };
    let client = async {
        let mut link = mqtt.connect(stream, NONE).await.unwrap();
        let mut waited = false;
        loop {
            link.publish("up", &message, false).await.unwrap();
            match fate(&mut link).await {
                Ok(Fate::Busy) => waited = true,
                told => return (waited, told),
            }
            // After it there may be room.
            if let Err(lost) = link.next().await {
                return (waited, Err(lost));
            }
        }
    };
    in_time(async {
        tokio::select! {
            told = client => told,
            never = broker => never,
        }
    })
    .await
}

/// The fate of the message that was published last.
async fn fate<IO: Read + Write>(link: &mut Connection<'_, '_, IO>) -> Result<Fate, Lost> {
    loop {
        match link.next().await? {
            Event::Published(fate) => return Ok(fate),
            Event::Received { .. } => panic!("a message from nowhere"),
            Event::Progress => {}
        }
    }
}

/// The first byte of a publication at QoS 1 to the topic `up`, and its packet id.
async fn publication(far: &mut DuplexStream) -> (u8, [u8; 2]) {
    let mut header = [0; 3];
    far.read_exact(&mut header).await.unwrap();
    let [first, low, high] = header;
    let mut rest = vec![0; usize::from(low & 0x7F) + 128 * usize::from(high)];
    far.read_exact(&mut rest).await.unwrap();
    (first, [rest[4], rest[5]])
}

#[tokio::test]
async fn message_waits_for_one_that_a_broker_has_kept_from_before() {
    let told = published_to_a_broker_that_kept_the_session(Some(0)).await;
    assert_eq!(told, (true, Ok(Fate::Delivered)));
}

#[tokio::test]
async fn broker_that_leaves_what_it_has_kept_without_an_answer_ends_the_connection() {
    let told = published_to_a_broker_that_kept_the_session(None).await;
    assert_eq!(told, (true, Err(Lost::Broken)));
}

#[tokio::test]
async fn many_filters_are_subscribed() {
    let broker = Mosquitto::start().await;
    let url = broker.url(Endpoint::Mqtt);
    let (mut receive, mut send) = (vec![0; 1024], vec![0; 4096]);
    let mut mqtt = Mqtt::new(&mut receive, &mut send, &options("board")).unwrap();
    let stream = TcpStream::connect((url.host(), url.port())).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let filters: Vec<_> = (0..28).map(|number| format!("filter/{number}")).collect();
    let mut link = mqtt
        .connect(TokioStream::new(stream), &filters)
        .await
        .unwrap();
    for filter in &filters {
        link.publish(filter, b"", false).await.unwrap();
        let (mut told, mut came) = (false, false);
        while !(told && came) {
            match in_time(link.next()).await.unwrap() {
                Event::Received { topic, .. } => came = topic == filter,
                Event::Published(fate) => {
                    assert_eq!(fate, Fate::Delivered);
                    told = true;
                }
                Event::Progress => {}
            }
        }
    }
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let check = |options: &Options<'_, '_>, expected| {
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
