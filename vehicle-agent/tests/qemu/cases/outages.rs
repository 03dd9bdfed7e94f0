//! What happens when the broker, the network or the power goes away, and comes back.

use vinbus_transport_std::conformance::{BrokerUnderTest, Mosquitto};

use crate::app::App;
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
    both_ways(&server, &board, &mut listener).await;
}

pub(crate) async fn board_notices_that_its_server_is_frozen_and_comes_back_when_it_thaws() {
    let server = Server::start(&[]).await;
    // The minute until the board asks whether the server is there takes 12 s.
    let mut board = Board::start_fast(Some(&server.block(&[]).await), 5);
    let mut listener = server.listen().await;
    board.online().await;
    // The last that the board says by itself: no message is without its answer from here on.
    server.shows("\"platform\":\"mps2-an500\"").await;
    both_ways(&server, &board, &mut listener).await;
    server.freeze();
    // The connection stays open and the kernel takes what comes: only the answer to a ping is missing.
    let said = board.log.until("disconnected").await;
    assert!(said.contains("does not answer"), "{said}");
    // From here on the server takes connections and says nothing.
    let handshake = "did not finish the TLS handshake in time";
    board.log.until(handshake).await;
    server.thaw();
    board.online().await;
    both_ways(&server, &board, &mut listener).await;
}

pub(crate) async fn board_comes_back_when_its_cable_is_plugged_in_again() {
    let (server, mut board, mut listener) = online().await;
    board.cable(false).await;
    board.log.until("disconnected").await;
    board.cable(true).await;
    board.online().await;
    both_ways(&server, &board, &mut listener).await;
}

pub(crate) async fn board_that_is_reset_connects_again() {
    let (server, mut board, mut listener) = online().await;
    board.reset().await;
    board.online().await;
    both_ways(&server, &board, &mut listener).await;
}

/// The entry of the Ethernet controller in the vector table, which a reset puts right again.
const ETHERNET_VECTOR: u32 = (16 + 13) * 4;

/// Memory that the image does not use, from which the processor may take instructions.
const SPARE_MEMORY: u32 = 0x6000_0100;

/// `push {r0-r7}`, and back to it: it never ends.
const FILL_THE_STACK: u32 = 0xE7FD_B4FF;

/// In the address of code: it is Thumb.
const THUMB: u32 = 1;

pub(crate) async fn stack_overflow_of_a_task_is_told_after_the_reset_that_follows_it() {
    let (server, mut board, mut listener) = online().await;
    board.poke(SPARE_MEMORY, FILL_THE_STACK).await;
    board.jump(SPARE_MEMORY).await;
    tells_of_the_overflow(&server, &mut board, &mut listener).await;
}

pub(crate) async fn stack_overflow_of_an_interrupt_is_told_after_the_reset_that_follows_it() {
    let (server, mut board, mut listener) = online().await;
    board.poke(SPARE_MEMORY, FILL_THE_STACK).await;
    board.poke(ETHERNET_VECTOR, SPARE_MEMORY | THUMB).await;
    done(&server.send(CONTENT).await);
    tells_of_the_overflow(&server, &mut board, &mut listener).await;
}

async fn tells_of_the_overflow(server: &Server, board: &mut Board, listener: &mut Listener) {
    let said = board.log.until("the last run ended in a panic").await;
    assert!(said.contains("stack overflow"), "{said}");
    board.online().await;
    server.shows("\"crash\":\"stack overflow").await;
    both_ways(server, board, listener).await;
}

pub(crate) async fn fault_of_the_processor_is_told_after_the_reset_that_follows_it() {
    let (server, mut board, mut listener) = online().await;
    board.poke(ETHERNET_VECTOR, 0).await;
    done(&server.send(CONTENT).await);
    let said = board.log.until("the last run ended in a panic").await;
    assert!(said.contains("hard fault at"), "{said}");
    board.online().await;
    // And to whoever asks the server.
    let shown = server.shows("\"crash\":\"hard fault at").await;
    let expected = "\"platform\":\"mps2-an500\"";
    assert!(shown.contains(expected), "{shown}");
    both_ways(&server, &board, &mut listener).await;
}

pub(crate) async fn panic_of_the_firmware_is_told_after_the_reset_that_follows_it() {
    /// Where the image looks whether somebody wants to see a panic; see `demand.rs` of the board.
    const PANIC_ADDRESS: u32 = 0x6000_0004;
    let (server, mut board, mut listener) = online().await;
    board.poke(PANIC_ADDRESS, 1).await;
    let said = board.log.until("the last run ended in a panic").await;
    assert!(said.contains("panicked at "), "{said}");
    board.online().await;
    // And to whoever asks the server: where it was, and what it said.
    let shown = server.shows("\"crash\":\"panicked at ").await;
    for words in ["firmware/demand.rs:", "the debugger wanted to see one"] {
        assert!(shown.contains(words), "{shown}");
    }
    both_ways(&server, &board, &mut listener).await;
}

pub(crate) async fn message_waits_while_the_vehicle_has_no_power() {
    let (server, board, _listener) = online().await;
    board.cut_power().await;
    server.vehicle_is("offline").await;
    done(&server.send(CONTENT).await);
    let mut board = Board::start(Some(&server.block(&[]).await));
    board.online().await;
    App::in_front(&board).await.hears(CONTENT).await;
}

pub(crate) async fn uplink_waits_while_the_broker_is_away() {
    let mut broker = Mosquitto::start().await;
    let server = Server::beside(&broker, &[]).await;
    let (block, wire) = server.wired_block(&broker).await;
    let mut board = Board::start(Some(&block));
    let mut listener = server.listen().await;
    board.online().await;
    let mut app = App::in_front(&board).await;
    wire.unplug();
    broker.stop().await;
    board.log.until("disconnected").await;
    server.is_ready(false).await;
    for n in 1..=5 {
        app.says(&n.to_string()).await;
    }
    broker.start().await;
    // A broker that was away remembers nobody who subscribed: the server is to be there first.
    server.is_ready(true).await;
    wire.plug();
    for n in 1..=5 {
        listener.hears(&n.to_string()).await;
    }
}

pub(crate) async fn power_cut_in_the_middle_of_a_message_harms_nothing() {
    let (server, board, mut listener) = online().await;
    let mut app = App::in_front(&board).await;
    let large = format!("\"{}\"", "x".repeat(130_000));
    // On their way in both directions.
    for _ in 0..3 {
        done(&server.send(&large).await);
    }
    for _ in 0..3 {
        app.says(&large).await;
    }
    board.cut_power().await;
    server.vehicle_is("offline").await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    board.online().await;
    both_ways(&server, &board, &mut listener).await;
}

pub(crate) async fn will_tells_a_foreign_broker_that_the_power_went() {
    let broker = Mosquitto::start().await;
    let server = Server::beside(&broker, &[]).await;
    let mut board = Board::start(Some(&server.plain_block(&broker, &[]).await));
    board.online().await;
    server.vehicle_is("online").await;
    board.cut_power().await;
    server.vehicle_is("offline").await;
}

/// A server, a board that is connected to it, and somebody who listens.
async fn online() -> (Server, Board, Listener) {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    let listener = server.listen().await;
    // What is cut before the server has heard of it, it never saw.
    server.vehicle_is("online").await;
    board.online().await;
    (server, board, listener)
}

async fn both_ways(server: &Server, board: &Board, listener: &mut Listener) {
    let mut app = App::in_front(board).await;
    done(&server.send(CONTENT).await);
    app.hears(CONTENT).await;
    app.says(CONTENT).await;
    listener.hears(CONTENT).await;
}
