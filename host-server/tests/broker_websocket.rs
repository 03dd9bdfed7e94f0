//! MQTT over WebSocket: what is different from a bare connection.

mod broker_support;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, WebSocketUpgrade};
use axum::routing::get;
use broker_support::raw::{Connect, packet};
use broker_support::{Fixture, UID, VIN, downlink, uplink, within};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use vinbus_host_server::broker::embedded::WEBSOCKET_PROTOCOL;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A WebSocket to the broker, through an HTTP server.
async fn socket(it: &Fixture) -> Socket {
    let broker = it.broker.clone();
    let upgrade = async move |ConnectInfo(peer): ConnectInfo<SocketAddr>,
                              upgrade: WebSocketUpgrade| {
        upgrade
            .protocols([WEBSOCKET_PROTOCOL])
            .on_upgrade(async move |socket| broker.websocket(socket, peer).await)
    };
    let app = Router::new()
        .route("/mqtt", get(upgrade))
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut request = format!("ws://{address}/mqtt")
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
    let (socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "mqtt");
    socket
}

async fn send(socket: &mut Socket, bytes: Vec<u8>) {
    socket.send(Message::binary(bytes)).await.unwrap();
}

/// The bytes of the next message; `None` at the end.
async fn receive(socket: &mut Socket) -> Option<Vec<u8>> {
    loop {
        match within("a message", socket.next()).await {
            Some(Ok(Message::Binary(bytes))) => return Some(bytes.to_vec()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return None,
        }
    }
}

fn connect(it: &Fixture) -> Vec<u8> {
    let connect = Connect::new("web").login(UID, &it.password_of(UID));
    connect.encode()
}

#[tokio::test]
async fn packets_may_be_cut_and_joined_as_the_client_likes() {
    let it = Fixture::start().await;
    let mut socket = socket(&it).await;
    for byte in connect(&it) {
        send(&mut socket, vec![byte]).await;
    }
    let answer = receive(&mut socket).await.unwrap();
    assert_eq!((answer[0], answer[3]), (0x20, 0));
    send(&mut socket, [[0xC0, 0], [0xC0, 0]].concat()).await;
    for _ in 0..2 {
        assert_eq!(receive(&mut socket).await.unwrap(), [0xD0, 0]);
    }
}

#[tokio::test]
async fn text_message_ends_the_connection() {
    let it = Fixture::start().await;
    let mut socket = socket(&it).await;
    send(&mut socket, connect(&it)).await;
    receive(&mut socket).await.unwrap();
    socket.send(Message::text("\u{10}\u{0}")).await.unwrap();
    assert_eq!(receive(&mut socket).await, None);
    it.until_counts("the end", |counts| counts.connections == 0)
        .await;
}

#[tokio::test]
async fn password_is_wanted_and_the_topic_rules_hold() {
    let it = Fixture::start().await;
    let mut refused = socket(&it).await;
    let wrong = Connect::new("web").login(UID, "wrong").encode();
    send(&mut refused, wrong).await;
    assert_eq!(receive(&mut refused).await.unwrap()[3], 0x86);
    assert_eq!(receive(&mut refused).await, None);

    let mut socket = socket(&it).await;
    send(&mut socket, connect(&it)).await;
    receive(&mut socket).await.unwrap();
    let mut body = vec![0, 1, 0];
    let filter = downlink(UID, VIN);
    body.extend(u16::try_from(filter.len()).unwrap().to_be_bytes());
    body.extend(filter.as_bytes());
    body.push(0);
    send(&mut socket, packet(0x82, &body)).await;
    let answer = receive(&mut socket).await.unwrap();
    assert_eq!((answer[0], answer.last()), (0x90, Some(&0x87)));
}

#[tokio::test]
async fn socket_that_closes_without_goodbye_leaves_its_will() {
    let it = Fixture::start().await;
    let mut socket = socket(&it).await;
    let connect = Connect::new("web").login("admin", &it.admin_token());
    let connect = connect.will(&uplink(UID, VIN), "{}", false);
    send(&mut socket, connect.encode()).await;
    receive(&mut socket).await.unwrap();
    socket.close(None).await.unwrap();
    let arrivals = it.events.until_arrivals(1).await;
    assert_eq!(arrivals[0].payload, "{}");
}
