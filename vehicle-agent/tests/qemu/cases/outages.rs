//! What happens when the broker, the network or the power goes away, and comes back.

use std::process::Command;

use vinbus_transport_std::conformance::{BrokerUnderTest, Mosquitto};

use crate::board::Board;
use crate::server::{Listener, Server, done};

const CONTENT: &str = r#"{"after":"the outage"}"#;

pub(crate) async fn board_comes_back_when_its_broker_is_started_again() {
    let mut broker = Mosquitto::start().await;
    let server = Server::beside(&broker, &[]).await;
    let mut board = Board::start(Some(&server.plain_block(&broker, &[]).await));
    let mut listener = server.listen().await;
    board.online().await;
    broker.stop().await;
    board.log.until("disconnected").await;
    broker.start().await;
    board.online().await;
    echoed(&server, &mut listener).await;
}

pub(crate) async fn board_goes_on_when_a_frozen_server_thaws() {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    let mut listener = server.listen().await;
    board.online().await;
    echoed(&server, &mut listener).await;
    signal(&server, "-STOP");
    // Frozen long enough for the board to miss an answer: a new connection gets none.
    board.cable(false).await;
    board.log.until("no address any more").await;
    board.cable(true).await;
    board.log.until("address").await;
    signal(&server, "-CONT");
    echoed(&server, &mut listener).await;
}

pub(crate) async fn board_goes_on_when_the_network_cable_is_back() {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    let mut listener = server.listen().await;
    board.online().await;
    board.cable(false).await;
    board.log.until("no address any more").await;
    // Sent while the cable is out: it waits on the way, or at the server.
    done(&server.send(CONTENT).await);
    board.cable(true).await;
    listener.hears(CONTENT).await;
}

pub(crate) async fn board_that_is_reset_connects_again() {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    let mut listener = server.listen().await;
    board.online().await;
    board.reset().await;
    board.online().await;
    echoed(&server, &mut listener).await;
}

pub(crate) async fn message_is_not_lost_with_the_power() {
    let server = Server::start(&[]).await;
    let block = server.block(&[]).await;
    let mut board = Board::start(Some(&block));
    let mut listener = server.listen().await;
    board.online().await;
    // On its way down while the plug is pulled; what comes back may be an echo of before.
    board.cut_power().await;
    done(&server.send(CONTENT).await);
    let mut board = Board::start(Some(&block));
    board.online().await;
    listener.hears(CONTENT).await;
}

async fn echoed(server: &Server, listener: &mut Listener) {
    done(&server.send(CONTENT).await);
    listener.hears(CONTENT).await;
}

fn signal(server: &Server, signal: &str) {
    let pid = server.process.id().expect("it runs").to_string();
    let sent = Command::new("kill").args([signal, &pid]).status();
    assert!(sent.unwrap().success());
}
