//! Messages on their way down and up.

use vinbus_transport_std::conformance::Mosquitto;

use crate::app::App;
use crate::board::{APP, Board};
use crate::log::report;
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

pub(crate) async fn messages_go_both_ways_over_plain_mqtt_with_a_static_address() {
    let broker = Mosquitto::start().await;
    let server = Server::beside(&broker, &[]).await;
    let fixed = ["--address", "10.0.2.15/16", "--gateway", "10.0.2.2"];
    let mut board = Board::start(Some(&server.plain_block(&broker, &fixed).await));
    // DHCP would have told another prefix.
    board.log.until("address 10.0.2.15/16").await;
    both_ways(&server, &mut board).await;
}

async fn both_ways(server: &Server, board: &mut Board) {
    let mut listener = server.listen().await;
    board.online().await;
    let mut app = App::in_front(board).await;
    for content in [
        r#"{ "spelled" : "as it is", "n": 1.50e1 }"#,
        "[]",
        "\"text\"",
    ] {
        done(&server.send(content).await);
        app.hears(content).await;
        app.says(content).await;
        listener.hears(content).await;
    }
}

pub(crate) async fn the_largest_message_arrives_byte_for_byte_and_one_byte_more_is_refused() {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    let mut listener = server.listen().await;
    board.online().await;
    let mut app = App::in_front(&board).await;

    let envelope = format!(r#"{{"idApp":"{APP}","popup":false,"content":}}"#);
    let len = PAYLOAD_BYTES_MAX - envelope.len();
    let content = text_of(len);
    done(&server.send(&content).await);
    app.hears(&content).await;
    let refused = server.send(&text_of(len + 1)).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "one byte more was sent");
    assert!(said.contains("131073") && said.contains("131072"), "{said}");

    let len = PAYLOAD_BYTES_MAX - r#"{"content":}"#.len();
    let content = text_of(len);
    app.says(&content).await;
    listener.hears(&content).await;
    app.says(&text_of(len + 1)).await;
    let said = app.log.until("not delivered").await;
    assert!(said.contains("131073") && said.contains("131072"), "{said}");
}

/// The most that the stack may take, in bytes: see `budget.txt` of the board.
pub(crate) fn stack_bytes_max() -> usize {
    let most = std::env::var("QEMU_TEST_STACK_BYTES_MAX").expect(crate::HOW_TO_RUN);
    most.parse().expect("a number of bytes")
}

pub(crate) async fn stack_stays_small_over_handshake_and_largest_messages() {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    both_ways(&server, &mut board).await;
    let mut app = App::in_front(&board).await;
    let content = text_of(130_000);
    done(&server.send(&content).await);
    app.hears(&content).await;
    let used = board.stack_used().await;
    assert!(used > 0, "nobody has looked where the stack is");
    let most = stack_bytes_max();
    assert!(
        used <= most,
        "the stack has taken {used} bytes, its budget is {most}"
    );
    report(&format!("{used} bytes"));
}

/// A JSON string of so many bytes, in which no two stretches are alike.
fn text_of(len: usize) -> String {
    let mut text = String::from("\"");
    for n in 0.. {
        text += &format!("{n}.");
        if text.len() >= len {
            break;
        }
    }
    text.truncate(len - 1);
    text + "\""
}
