//! What a hostile app, a hostile broker and a broken network send: it is counted and told, and the
//! board goes on.

use std::process::Stdio;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto};

use crate::PATIENCE;
use crate::app::App;
use crate::board::{APP, Board, Network, UID, VIN};
use crate::log::report;
use crate::server::{Server, done};

/// Random bytes of a fixed seed (xorshift).
fn noise() -> impl Iterator<Item = u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
}

pub(crate) async fn hundred_thousand_random_bytes_to_the_portal_are_counted_and_reported() {
    const CONNECTIONS: usize = 10;
    let server = Server::start(&[]).await;
    let block = server.block(&[]).await;
    // What goes wrong before the first connection is in the first report.
    server.freeze();
    let mut board = Board::start(Some(&block));
    board.log.until("address ").await;
    let mut noise = noise();
    for _ in 0..CONNECTIONS {
        let bytes: Vec<u8> = noise.by_ref().take(100_000 / CONNECTIONS).collect();
        let mut raw = TcpStream::connect(board.portal).await.unwrap();
        // The portal may end the connection before it has read all.
        let _ = raw.write_all(&bytes).await;
        let _ = raw.shutdown().await;
        let _ = raw.read_to_end(&mut Vec::new()).await;
    }
    let refused = Value::from(CONNECTIONS);
    board
        .until_status("/sockets/refusedRequest", |count| *count == refused)
        .await;
    server.thaw();
    board.online().await;
    let reported = format!("\"socketsRefused\":{CONNECTIONS}");
    server.shows(&reported).await;
    let mut app = App::in_front(&board).await;
    done(&server.send("\"still there\"").await);
    app.hears("\"still there\"").await;
    assert_stack_is_small(&board).await;
}

pub(crate) async fn app_that_never_reads_is_ended_and_the_next_one_is_served() {
    let server = Server::start(&[]).await;
    // The time that an app has to read a frame, 30 s, takes 6.
    let mut board = Board::start_fast(Some(&server.block(&[]).await), 5);
    board.online().await;
    let mut deaf = Socket::with_little_room_in_front(&board).await;
    let content = format!("\"{}\"", "x".repeat(120_000));
    // Until the buffers on the way to it are full, and for as long as it may take to read.
    let mut sent = 0;
    while board.status().await["sockets"]["slowReaders"] == 0 {
        assert!(
            sent < 1000,
            "the board holds {sent} messages for an app that never reads"
        );
        done(&server.send(&content).await);
        sent += 1;
        // What comes behind it is refused, and so counted by itself.
        done(&server.send_to("another-app", "1").await);
        board
            .until_status("/refused/unknownApp", |refused| *refused == sent)
            .await;
        // It is there and speaks, or its silence would end it, however fast it was sent what it does
        // not read. Once it is ended it cannot.
        let _ = deaf.0.send(Message::Pong(Bytes::new())).await;
    }
    assert_eq!(board.status().await["sockets"]["ended"], 1);
    let mut app = App::in_front(&board).await;
    // The newest of what was not read, which is all that there is room for.
    app.hears(&content).await;
    done(&server.send("\"now\"").await);
    app.hears("\"now\"").await;
    drop(deaf);
    assert_stack_is_small(&board).await;
}

pub(crate) async fn flood_and_bad_messages_of_a_broker_are_counted_and_reported() {
    const FLOOD: usize = 3_000;
    let broker = Mosquitto::start().await;
    let server = Server::beside(&broker, &[]).await;
    // The minute until the next report takes 12 s.
    let mut board = Board::start_fast(Some(&server.plain_block(&broker, &[]).await), 5);
    board.online().await;

    // Nobody reads them, as there is no app yet.
    let message = |n: usize| format!("{{\"idApp\":\"{APP}\",\"content\":{n}}}\n");
    let flood: String = (1..=FLOOD).map(message).collect();
    publish(&broker, "-l", flood.as_bytes()).await;
    let unknown = "{\"idApp\":\"nobody\",\"content\":1}\n".repeat(10);
    publish(&broker, "-l", unknown.as_bytes()).await;
    for bad in [
        &b"{\"idApp\":\"\xff\",\"content\":1}"[..],
        b"{",
        b"\0\0\0\0",
    ] {
        publish(&broker, "-s", bad).await;
    }
    let frame = message(0).len() - 2;
    let too_large = message(0).replacen('0', &"1".repeat(131_073 - frame), 1);
    let too_large = too_large.trim_end();
    assert_eq!(too_large.len(), 131_073);
    publish(&broker, "-s", too_large.as_bytes()).await;

    let one = Value::from(1);
    board
        .until_status("/refused/oversize", |count| *count == one)
        .await;
    let status = board.status().await;
    assert_eq!(
        status["sessions"], 1,
        "the connection did not break: {status}"
    );
    assert_eq!(status["refused"]["unknownApp"], 10, "{status}");
    assert_eq!(status["refused"]["envelope"], 3, "{status}");
    let mut app = App::in_front(&board).await;
    for n in FLOOD - 9..=FLOOD {
        app.hears(&n.to_string()).await;
    }
    let shown = server.shows("\"oversize\":1").await;
    let evicted = format!("\"evicted\":{}", FLOOD - 10);
    for reported in ["\"unknownApp\":10", "\"envelope\":3", &evicted] {
        assert!(shown.contains(reported), "no {reported}: {shown}");
    }
    assert_stack_is_small(&board).await;
}

pub(crate) async fn flood_at_an_app_that_reads_loses_nothing_that_is_not_counted() {
    const FLOOD: u64 = 5_000;
    let broker = Mosquitto::start().await;
    let server = Server::beside(&broker, &[]).await;
    let mut board = Board::start_fast(Some(&server.plain_block(&broker, &[]).await), 5);
    board.online().await;
    let mut app = Socket::in_front(&board).await;
    let message = |n: u64| format!("{{\"idApp\":\"{APP}\",\"content\":{n}}}\n");
    // What comes last is refused, and so counted by itself.
    let last = "{\"idApp\":\"nobody\",\"content\":1}\n".to_owned();
    let flood: String = (1..=FLOOD).map(message).chain([last]).collect();
    publish(&broker, "-l", flood.as_bytes()).await;

    let mut numbers = Vec::new();
    // Until the last one, or until the board ends an app that does not keep up.
    while numbers.last() != Some(&FLOOD)
        && let Some(frame) = app.next().await
    {
        if frame["type"] == "WebPortal.onCurrentNotificationReceived" {
            numbers.extend(frame["value"]["content"].as_u64());
        }
    }
    board
        .until_status("/refused/unknownApp", |refused| *refused == 1)
        .await;
    let mut next = Socket::in_front(&board).await;
    next.says(r#"{"type":"WebPortal.getPendingNotifications"}"#)
        .await;
    let pending = next.until("WebPortal.getPendingNotifications").await;
    let pending = pending["value"].as_array().unwrap();
    numbers.extend(
        pending
            .iter()
            .map(|message| message["content"].as_u64().unwrap()),
    );
    assert!(
        numbers.is_sorted_by(|a, b| a < b),
        "in order, and none twice"
    );
    assert_eq!(numbers.last(), Some(&FLOOD));
    let missing = FLOOD - numbers.len() as u64;
    if missing > 0 {
        server.shows(&format!("\"evicted\":{missing}")).await;
    }
    report(&format!(
        "of {FLOOD} messages {} reached the app, {missing} were counted as evicted",
        numbers.len()
    ));
    assert_stack_is_small(&board).await;
}

pub(crate) async fn frames_that_are_too_long_are_dropped_counted_and_reported() {
    const FRAMES: usize = 5;
    let server = Server::start(&[]).await;
    let neighbour = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let free = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let cable = free.local_addr().unwrap();
    drop(free);
    let network = Network::Shared(neighbour.local_addr().unwrap(), cable);
    // The minute until a further report, if one is needed, takes 12 s.
    let block = server.block(&[]).await;
    let mut board = Board::start_on(network, Some(&block), 5);
    board.log.until("address ").await;
    // To everybody, from somebody, of a kind for experiments.
    let mut frame = vec![0xFF; 1600];
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 0x88, 0xB5]);
    for _ in 0..FRAMES {
        neighbour.send_to(&frame, cable).await.unwrap();
    }
    board.online().await;
    server.shows(&format!("\"networkDropped\":{FRAMES}")).await;
    done(&server.send("\"still there\"").await);
    App::in_front(&board).await.hears("\"still there\"").await;
}

pub(crate) async fn board_without_an_answer_of_dhcp_says_so_and_asks_on() {
    let server = Server::start(&[]).await;
    let mut board = Board::start_on(Network::Deaf, Some(&server.block(&[]).await), 1);
    for _ in 0..2 {
        let said = board.log.until("no connection").await;
        assert!(said.contains("check the cable and DHCP"), "{said}");
    }
    assert_stack_is_small(&board).await;
}

/// A socket of the portal whose program reads what this test reads.
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Opens the app's socket and waits until it is in the foreground.
    async fn in_front(board: &Board) -> Self {
        Self::open(board, TcpSocket::new_v4().unwrap()).await
    }

    /// The same, with little room on its way for what it does not read.
    async fn with_little_room_in_front(board: &Board) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::open(board, socket).await
    }

    async fn open(board: &Board, socket: TcpSocket) -> Self {
        let stream = socket.connect(board.portal).await.unwrap();
        let url = format!("ws://{}/portal?app={APP}", board.portal);
        let mut socket = Self(client_async(url, stream).await.unwrap().0);
        socket
            .says(r#"{"type":"WebPortal.onApplicationLoaded"}"#)
            .await;
        socket.until("WebPortal.onApplicationShow").await;
        socket
    }

    async fn says(&mut self, frame: &str) {
        self.0.send(Message::text(frame)).await.unwrap();
    }

    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await.expect("the socket is open");
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// The next frame; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a frame") {
                Some(Ok(Message::Text(frame))) => return serde_json::from_str(&frame).ok(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(_) | Err(_)) | None => return None,
            }
        }
    }
}

/// Publishes on the vehicle's downlink what no client of ours would: `how` is `-l` for a message a
/// line, `-s` for one message.
async fn publish(broker: &Mosquitto, how: &str, input: &[u8]) {
    let port = broker.url(Endpoint::Mqtt).port().to_string();
    let topic = format!("psa/OVIPPartners-Dev/to/uid/{UID}/opa/{VIN}/");
    let mut publisher = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port, "-t", &topic, how])
        .args(["-u", Mosquitto::USER, "-P", Mosquitto::PASSWORD])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the tests need a second client: apt-get install mosquitto-clients");
    let mut stdin = publisher.stdin.take().unwrap();
    stdin.write_all(input).await.unwrap();
    drop(stdin);
    assert!(publisher.wait().await.unwrap().success());
}

/// The stack is where all that the board does not plan for would show.
async fn assert_stack_is_small(board: &Board) {
    let used = board.stack_used().await;
    assert!(used <= super::messages::stack_bytes_max(), "{used} bytes");
}
