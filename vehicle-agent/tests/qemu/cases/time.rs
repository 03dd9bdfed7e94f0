//! The time of day, without which no certificate can be judged. A board whose block names a time
//! server has no other clock.

use std::time::SystemTime;

use tokio::net::UdpSocket;
use vinbus_transport_std::conformance::Mosquitto;

use crate::board::{Board, HOST};
use crate::server::Server;
use crate::time_server::TimeServer;

pub(crate) async fn board_without_a_clock_asks_a_time_server_and_connects() {
    let (_server, mut board, _time) = told(now()).await;
    board.log.until("the time is").await;
    board.online().await;
}

pub(crate) async fn board_that_is_told_a_time_long_past_trusts_nobody() {
    let (_server, mut board, _time) = told(1_000_000_000).await;
    let line = board.log.until("no time").await;
    assert!(line.contains("1000000000 s since 1970"), "{line}");
    let line = board.log.until("no connection").await;
    assert!(line.contains("does not know the time"), "{line}");
}

pub(crate) async fn board_that_was_told_a_time_far_ahead_finds_certificates_expired_and_asks_again()
{
    // The year 2100.
    let (_server, mut board, time) = told(4_102_444_800).await;
    board.log.until("the time is 41024").await;
    let line = board.log.until("has expired").await;
    assert!(line.contains("no connection"), "{line}");
    time.tell(now());
    // A question that was asked before may still have got the old answer.
    while board.log.until("the time is").await.contains("is 41024") {}
    board.online().await;
}

pub(crate) async fn board_that_is_told_no_time_trusts_nobody() {
    let server = Server::start(&[]).await;
    // It hears questions and never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = format!("{HOST}:{}", silent.local_addr().unwrap().port());
    let block = server.block(&["--time-server", &address]).await;
    let mut board = Board::start(Some(&block));
    let line = board.log.until("no connection").await;
    assert!(line.contains("does not know the time"), "{line}");
    board.log.until("no time").await;
}

pub(crate) async fn board_without_tls_asks_nobody_for_the_time() {
    let broker = Mosquitto::start().await;
    let server = Server::beside(&broker, &[]).await;
    let time = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = format!("{HOST}:{}", time.local_addr().unwrap().port());
    let block = server
        .plain_block(&broker, &["--time-server", &address])
        .await;
    let mut board = Board::start(Some(&block));
    // It would have asked as soon as it had an address.
    board.online().await;
    let asked = time.try_recv(&mut [0; 64]);
    assert!(asked.is_err(), "it asked the time: {asked:?}");
}

/// A board that is told this time, and the server that it is to connect to.
async fn told(unix_s: u64) -> (Server, Board, TimeServer) {
    let server = Server::start(&[]).await;
    let time = TimeServer::open(unix_s).await;
    let block = server.block(&["--time-server", &time.address]).await;
    (server, Board::start(Some(&block)), time)
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs()
}
