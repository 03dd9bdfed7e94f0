//! Messages with receipts, both ways: what is lost is repeated, what is repeated is shown once, and its
//! sender is told what became of it.

use std::path::Path;
use std::sync::atomic::Ordering;

use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto, lossy};

use crate::app::App;
use crate::board::Board;
use crate::server::{Listener, Server};

/// What an app may have done with a message that it was handed.
const SEEN: &[&str] = &["taken", "confirmed", "known"];

fn content(n: u64) -> String {
    format!("{{\"n\":{n}}}")
}

pub(crate) async fn each_step_of_a_message_on_the_board_is_told() {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    board.online().await;
    server.vehicle_is("online").await;
    let held = server.send_with_receipts("yes", &content(1)).await;
    server.traced(&held, &["held_background"]).await;
    let mut app = App::in_front(&board).await;
    app.hears(&content(1)).await;
    let steps = server.traced(&held, &["confirmed"]).await;
    assert!(steps.contains(&"held_background".to_owned()), "{steps:?}");
    let at_once = server.send_with_receipts("yes", &content(2)).await;
    app.hears(&content(2)).await;
    server.traced(&at_once, &["taken"]).await;
    // The eleventh that waits takes the place of the first.
    app.says("/hide").await;
    app.log.until("in the background").await;
    let mut waiting = Vec::new();
    for n in 3..=13 {
        let id = server.send_with_receipts("yes", &content(n)).await;
        server.traced(&id, &["held_background"]).await;
        waiting.push(id);
    }
    server.traced(&waiting[0], &["evicted"]).await;
}

pub(crate) async fn messages_that_a_broker_loses_are_repeated_and_shown_once() {
    let mut broker = Mosquitto::start().await;
    let server = Server::beside(&broker, &[]).await;
    let (proxy, loses, lost) = lossy(&broker.url(Endpoint::Mqtt)).await;
    let block = server.plain_block_by(proxy.port(), &[]).await;
    let mut board = Board::start(Some(&block));
    board.online().await;
    server.vehicle_is("online").await;
    let mut app = App::in_front(&board).await;
    let first = server.send_with_receipts("yes", &content(0)).await;
    server.traced(&first, SEEN).await;
    loses.store(true, Ordering::Relaxed);
    let mut ids = Vec::new();
    for n in 1..=20 {
        ids.push(server.send_with_receipts("yes", &content(n)).await);
        if n == 10 {
            broker.stop().await;
            board.log.until("disconnected").await;
            broker.start().await;
            server.is_ready(true).await;
        }
    }
    for id in &ids {
        server.traced(id, SEEN).await;
    }
    assert!(lost.load(Ordering::Relaxed) > 0, "nothing was lost");
    loses.store(false, Ordering::Relaxed);
    let last = server.send_with_receipts("yes", &content(21)).await;
    server.traced(&last, SEEN).await;
    let mut shown = app.numbers_until(21).await;
    shown.sort_unstable();
    assert_eq!(shown, (0..=21).collect::<Vec<_>>());
}

pub(crate) async fn message_that_a_board_had_when_its_power_went_is_told_as_lost_with_its_memory() {
    let server = Server::start(&[]).await;
    let block = server.block(&[]).await;
    let mut board = Board::start(Some(&block));
    board.online().await;
    server.vehicle_is("online").await;
    let once = server.send_with_receipts("yes", &content(1)).await;
    server.traced(&once, &["held_background"]).await;
    board.reset().await;
    board.online().await;
    server.traced(&once, &["peer_restarted"]).await;
    board.cut_power().await;
    server.vehicle_is("offline").await;
    // What no life has had waits for the next one.
    let kept = server.send_with_receipts("yes", &content(2)).await;
    let mut board = Board::start(Some(&block));
    board.online().await;
    server.traced(&kept, &["held_background"]).await;
    let mut app = App::in_front(&board).await;
    app.hears(&content(2)).await;
    server.traced(&kept, &["confirmed"]).await;
    drop(app);
    // Nobody knows whether the board had got these.
    board.cable(false).await;
    let command = server.send_with_receipts("yes", &content(3)).await;
    let value = server.send_with_receipts("repeatable", &content(4)).await;
    for id in [&command, &value] {
        server.traced(id, &["sent"]).await;
    }
    board.cut_power().await;
    let mut board = Board::start(Some(&block));
    board.online().await;
    server.traced(&command, &["peer_restarted"]).await;
    server.traced(&value, &["held_background"]).await;
}

pub(crate) async fn messages_of_an_app_come_once_though_the_broker_is_started_again() {
    let mut broker = Mosquitto::start().await;
    let server = Server::beside(&broker, &[]).await;
    let (block, wire) = server.wired_block(&broker).await;
    let mut board = Board::start(Some(&block));
    let mut listener = server.listen().await;
    board.online().await;
    server.vehicle_is("online").await;
    let mut app = App::in_front_with(&board, &["--receipts"]).await;
    app.says(&content(0)).await;
    listener.hears(&content(0)).await;
    for n in 1..=10 {
        app.says(&content(n)).await;
        if n == 5 {
            wire.cut();
            broker.stop().await;
            board.log.until("disconnected").await;
            server.is_ready(false).await;
        }
    }
    app.log.until("message 11 is kept").await;
    broker.start().await;
    server.is_ready(true).await;
    let mut heard = Vec::new();
    while heard.len() < 10 {
        heard.push(listener.next_number().await);
    }
    // Whatever came twice would be before this one.
    app.says(&content(11)).await;
    heard.push(listener.next_number().await);
    heard.sort_unstable();
    assert_eq!(heard, (1..=11).collect::<Vec<_>>());
}

pub(crate) async fn broker_that_freezes_and_goes_on_or_is_replaced_costs_nothing_and_repeats_nothing()
 {
    let mut broker = Mosquitto::start().await;
    let server = Server::beside(&broker, &[]).await;
    let block = server.plain_block(&broker, &[]).await;
    let (mut board, mut app, mut listener) = one_both_ways(&server, &block).await;
    broker.freeze();
    let ids = five_both_ways(&server, &mut app, 1).await;
    broker.thaw();
    for id in &ids {
        server.traced(id, SEEN).await;
    }
    let mut heard = Vec::new();
    while heard.len() < 5 {
        heard.push(listener.next_number().await);
    }
    broker.freeze();
    let ids = five_both_ways(&server, &mut app, 6).await;
    // With all that the frozen one has taken and not passed on.
    broker.stop().await;
    board.log.until("disconnected").await;
    server.is_ready(false).await;
    broker.start().await;
    server.is_ready(true).await;
    for id in &ids {
        server.traced(id, SEEN).await;
    }
    while heard.len() < 10 {
        heard.push(listener.next_number().await);
    }
    // Whatever came twice would be before these.
    let last = server.send_with_receipts("yes", &content(11)).await;
    server.traced(&last, SEEN).await;
    app.says(&content(11)).await;
    heard.push(listener.next_number().await);
    heard.sort_unstable();
    assert_eq!(heard, (1..=11).collect::<Vec<_>>());
    let mut shown = app.numbers_until(11).await;
    shown.sort_unstable();
    assert_eq!(shown, (0..=11).collect::<Vec<_>>());
    assert!(app.hears_that_all_went_well().await);
}

pub(crate) async fn board_that_starts_again_with_receipts_on_their_way_tells_each_sender_once() {
    let broker = Mosquitto::start().await;
    let server = Server::beside(&broker, &[]).await;
    let block = server.plain_block(&broker, &[]).await;
    let (board, mut app, mut listener) = one_both_ways(&server, &block).await;
    broker.freeze();
    let commands = five_both_ways(&server, &mut app, 1).await;
    let value = server.send_with_receipts("repeatable", &content(6)).await;
    server.traced(&value, &["sent"]).await;
    board.cut_power().await;
    // What it said before goes on its way now, and what was said to it goes nowhere.
    broker.thaw();
    let mut board = Board::start(Some(&block));
    board.online().await;
    for id in &commands {
        server.traced(id, &["peer_restarted"]).await;
    }
    server.traced(&value, &["held_background"]).await;
    let mut app = App::in_front_with(&board, &["--receipts", "--exit-after", "0"]).await;
    app.hears(&content(6)).await;
    server.traced(&value, SEEN).await;
    app.says(&content(7)).await;
    // What the board had is lost with its memory, but for what was on its way; nothing comes twice.
    let mut heard = vec![listener.next_number().await];
    while heard.last() != Some(&7) {
        heard.push(listener.next_number().await);
    }
    assert!(heard.is_sorted_by(|a, b| a < b), "{heard:?}");
    assert!(app.hears_that_all_went_well().await);
}

/// A board and its app, which asks for receipts, and somebody who listens, after a message each way.
async fn one_both_ways(server: &Server, block: &Path) -> (Board, App, Listener) {
    let mut board = Board::start(Some(block));
    let mut listener = server.listen().await;
    board.online().await;
    server.vehicle_is("online").await;
    let mut app = App::in_front_with(&board, &["--receipts", "--exit-after", "0"]).await;
    let first = server.send_with_receipts("yes", &content(0)).await;
    server.traced(&first, SEEN).await;
    app.says(&content(0)).await;
    listener.hears(&content(0)).await;
    (board, app, listener)
}

/// Five messages from `n` on each way, which are on their way when this is done: the board's app was
/// told that they are kept, the server's log says that they are sent. The ids of the latter.
async fn five_both_ways(server: &Server, app: &mut App, n: u64) -> Vec<String> {
    let mut ids = Vec::new();
    for n in n..n + 5 {
        ids.push(server.send_with_receipts("yes", &content(n)).await);
        app.says(&content(n)).await;
    }
    for id in &ids {
        server.traced(id, &["sent"]).await;
    }
    // The app's first message had the number 0.
    app.log.until(&format!("message {} is kept", n + 5)).await;
    ids
}
