//! What boards do not take: long messages, which would come in parts, and requests. Who asks is told so.

use vinbus_protocol::delivery::{Part, Step};
use vinbus_protocol::limits::{DELIVERY_ADDED_BYTES_MAX, PAYLOAD_BYTES_MAX};
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Forger, Mosquitto};

use crate::app::App;
use crate::board::{APP, Board, HOST, UID, VIN, provision};
use crate::server::Server;

pub(crate) async fn long_message_to_a_board_is_refused_with_what_it_takes() {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    board.online().await;
    let mut app = App::in_front(&board).await;
    let first = server.send_with_receipts("yes", "1").await;
    server.traced(&first, &["taken"]).await;
    app.hears("1").await;
    let long = format!("\"{}\"", "x".repeat(200_000));
    let refused = server.send_long_with_receipts(&long).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "it was taken");
    let takes = PAYLOAD_BYTES_MAX - DELIVERY_ADDED_BYTES_MAX;
    let why = format!("announced that it takes at most {takes} in one message");
    assert!(said.contains(&why), "{said}");
    let next = server.send_with_receipts("yes", "2").await;
    server.traced(&next, &["taken"]).await;
    app.hears("2").await;
}

pub(crate) async fn request_to_a_board_is_denied_at_once() {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    board.online().await;
    server.vehicle_is("online").await;
    // Whether its app is there or not.
    is_denied(&server).await;
    let mut app = App::in_front(&board).await;
    is_denied(&server).await;
    let message = server.send_with_receipts("yes", "1").await;
    server.traced(&message, &["taken"]).await;
    // Nothing came before it.
    app.hears("1").await;
}

async fn is_denied(server: &Server) {
    let refused = server.ask("{\"unlock\":true}").await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "it was answered");
    let why = "nothing was done: the vehicle does not let this partner ask the app";
    assert!(said.contains(why), "{said}");
}

pub(crate) async fn part_of_a_long_message_that_somebody_forges_is_refused_and_does_no_harm() {
    let broker = Mosquitto::start().await;
    let folder = tempfile::tempdir().unwrap();
    let password = Mosquitto::password_file(folder.path());
    let login = ["--username", Mosquitto::USER, "--password-file", &password];
    let url = format!("mqtt://{HOST}:{}", broker.url(Endpoint::Mqtt).port());
    let mut forger = Forger::on(&broker, UID, VIN).await;
    let mut board = Board::start(Some(&provision(folder.path(), &url, &login).await));
    board.online().await;
    assert_eq!(forger.meets().await, 0);
    let part = |offset, total| {
        let first = Part::first("\"abc\"");
        Part {
            offset,
            total,
            ..first
        }
    };
    let parts = [
        part(0, 300_000),
        part(7, 300_000),
        part(0, u32::MAX),
        part(0, 4),
        part(0, 0),
    ];
    for part in parts {
        let step = forger.part(APP, part, "\"abc\"").await;
        assert_eq!(step, Step::TooLarge, "{part:?}");
    }
    let held = forger.message(APP, "{\"n\":1}").await;
    assert_eq!(held, Step::HeldBackground);
    // It is all that the app hears of.
    App::in_front(&board).await.hears("{\"n\":1}").await;
    assert_eq!(board.status().await["sessions"], 1);
}
