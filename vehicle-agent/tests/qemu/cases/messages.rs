//! Messages on their way down and up: the app of the board sends back what it gets.

use vinbus_transport_std::conformance::Mosquitto;

use crate::board::{APP, Board};
use crate::server::{Server, done};

/// The largest payload of a message.
const PAYLOAD_BYTES_MAX: usize = 131_072;

pub(crate) async fn messages_go_both_ways_over_mutual_tls() {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    both_ways(&server, &mut board).await;
}

pub(crate) async fn messages_go_both_ways_in_the_sample_profile() {
    let profile = ["--profile", "sample"];
    let server = Server::start(&profile).await;
    let mut board = Board::start(Some(&server.block(&profile).await));
    both_ways(&server, &mut board).await;
}

pub(crate) async fn messages_go_both_ways_over_plain_mqtt() {
    let broker = Mosquitto::start().await;
    let server = Server::beside(&broker, &[]).await;
    let mut board = Board::start(Some(&server.plain_block(&broker, &[]).await));
    both_ways(&server, &mut board).await;
}

async fn both_ways(server: &Server, board: &mut Board) {
    let mut listener = server.listen().await;
    board.online().await;
    for content in [
        r#"{ "spelled" : "as it is", "n": 1.50e1 }"#,
        "[]",
        "\"text\"",
    ] {
        done(&server.send(content).await);
        listener.hears(content).await;
    }
}

pub(crate) async fn the_largest_message_arrives_byte_for_byte_and_one_byte_more_is_refused() {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    let mut listener = server.listen().await;
    board.online().await;
    let envelope = format!(r#"{{"idApp":"{APP}","popup":false,"content":}}"#);
    let len = PAYLOAD_BYTES_MAX - envelope.len();
    let content = text_of(len);
    done(&server.send(&content).await);
    listener.hears(&content).await;
    let refused = server.send(&text_of(len + 1)).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "one byte more was sent");
    assert!(said.contains("131073") && said.contains("131072"), "{said}");
}

/// A JSON string of so many bytes, in which no two stretches are alike.
fn text_of(len: usize) -> String {
    let mut text = String::with_capacity(len + 16);
    text.push('"');
    for n in 0.. {
        text.push_str(&format!("{n}."));
        if text.len() >= len {
            break;
        }
    }
    text.truncate(len - 1);
    text.push('"');
    text
}
