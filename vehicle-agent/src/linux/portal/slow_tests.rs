//! A program that reads nothing, on a real connection, with a clock that goes on as soon as nobody has anything to do.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use vinbus_protocol::id::{AppId, Vin};

use super::outbox::{Item, OUTBOX_BYTES_MAX, Unread};
use super::{AppPages, ConnectionBounds, LOCALHOST, Listening, News, PortalOptions};
use crate::app_interface::order::{APP, VIN};
use crate::linux::status::Status;

#[tokio::test]
async fn program_that_reads_nothing_loses_its_socket_and_no_message() {
    reads_nothing(false).await;
}

#[tokio::test]
async fn program_that_sends_pings_and_reads_nothing_loses_its_socket_and_no_message() {
    // Its pong waits as well: now the reader comes first to the time that is over, and now the writer.
    for _ in 0..8 {
        reads_nothing(true).await;
    }
}

async fn reads_nothing(pings: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let status = Arc::new(Status::new(Vin::parse(VIN).unwrap(), None));
    let options = PortalOptions {
        apps: vec![AppId::parse(APP).unwrap()],
        frames_per_second: 20,
        origins: Vec::new(),
        bounds: ConnectionBounds {
            connections: 1,
            header_time: Duration::from_secs(10),
        },
        pages: AppPages::open(LOCALHOST, []).unwrap(),
    };
    let (portal, mut news) = Listening::new(listener, address, options, Arc::clone(&status));
    tokio::spawn(portal.serve(pending()));
    let url = format!("ws://{address}/portal?app={APP}");
    let (mut program, _) = connect_async(url).await.unwrap();
    let opened = news.recv().await.unwrap().news;
    let News::Opened(outbox) = opened else {
        panic!("{opened:?}");
    };

    // More than the system holds for both ends of the connection together.
    let unread = Unread {
        number: 1,
        message: "x".repeat(OUTBOX_BYTES_MAX).into(),
    };
    outbox.push(Item::Message(unread.clone()));
    assert_eq!(outbox.ending(), None);
    if pings {
        program.send(Message::Ping("".into())).await.unwrap();
    }
    tokio::time::pause();
    let gone = news.recv().await.unwrap().news;
    tokio::time::resume();
    assert!(matches!(gone, News::Gone), "{gone:?}");
    assert_eq!(outbox.take_back(), Some(unread));

    while let Some(Ok(_)) = program.next().await {}
    assert_eq!(status.report()["sockets"]["ended"], 1);
}
