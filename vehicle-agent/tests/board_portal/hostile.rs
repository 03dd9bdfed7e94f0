//! Apps that do not behave cost nobody else anything.

use futures_util::SinkExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use vinbus_vehicle_agent::board_portal::limits::{
    HELLO_TIMEOUT_MS, PING_INTERVAL_MS, REQUEST_TIMEOUT_MS, WRITE_TIMEOUT_MS,
};

use crate::app::{App, PATIENCE};
use crate::board::{Board, PLACES, run};

/// Random bytes of a fixed seed (xorshift).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// An HTTP request that becomes a WebSocket.
const UPGRADE: &str = "GET /portal HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn random_bytes_break_nothing() {
    run(async {
        let board = Board::new().await;
        let mut app = board.app("demo").await;
        for len in [1, 100, 10_000, 100_000] {
            board.request(&noise(len)).await;
            board
                .request(&[UPGRADE.as_bytes(), &noise(len)].concat())
                .await;
        }
        let text = String::from_utf8_lossy(&noise(1000)).into_owned();
        app.send_text(text).await;
        assert_eq!(app.refusal().await, "bad-frame");
        app.socket.send(Message::binary(noise(1000))).await.unwrap();
        assert_eq!(app.refusal().await, "bad-frame");
        for frame in ["", "{}", "[]", "{\"type\":1}", "{\"type\":\"x\""] {
            app.send_text(frame.into()).await;
            assert_eq!(app.refusal().await, "bad-frame", "{frame}");
        }
        board.send("demo", &json!("still there"));
        assert_eq!(app.message().await, json!({ "content": "still there" }));
        let sockets = &board.status().await["sockets"];
        assert_eq!(sockets["refusedRequest"], json!(4), "{sockets}");
        assert_eq!(sockets["refusedFrames"], json!(7), "{sockets}");
        assert!(sockets["ended"].as_u64() > Some(0), "{sockets}");
    });
}

#[test]
fn requests_that_are_none_are_answered_with_what_is_wrong() {
    run(async {
        let board = Board::new().await;
        let head = "GET /portal HTTP/1.1\r\nHost: x\r\n";
        let long = format!("{head}Cookie: {}\r\n\r\n", "x".repeat(3000));
        for (request, status) in [
            ("GET /x HTTP/1.1\r\n\r\n".to_owned(), "404"),
            (format!("{head}\r\n"), "400"),
            ("GARBAGE\r\n\r\n".to_owned(), "400"),
            (UPGRADE.replace("GET", "POST"), "400"),
            (UPGRADE.replace("13", "12"), "400"),
            (long, "400"),
            (
                format!("{head}Content-Length: {}\r\n\r\n", usize::MAX),
                "400",
            ),
        ] {
            let answer = board.request(request.as_bytes()).await;
            let first = answer.lines().next().unwrap_or_default();
            assert!(first.contains(status), "{request:?}: {answer:?}");
        }
        board.app("demo").await;
    });
}

#[test]
fn text_that_is_not_utf8_ends_its_socket_with_the_reason() {
    run(async {
        let board = Board::new().await;
        let mut app = board.app("demo").await;
        let bad = Frame::message(vec![b'"', 0xc3, b'"'], OpCode::Data(Data::Text), true);
        app.socket.send(Message::Frame(bad)).await.unwrap();
        assert_eq!(app.refusal().await, "bad-frame");
        assert!(app.next_text().await.is_none());
        board.app("demo").await;
    });
}

#[test]
fn message_may_come_in_fragments_with_a_ping_between_them() {
    run(async {
        let mut board = Board::new().await;
        let mut app = board.app("demo").await;
        let text = r#"{"type":"WebPortal.onSendNotificationRequest","value":"fragments"}"#;
        let (first, rest) = text.split_at(20);
        let parts = [
            Frame::message(first.as_bytes().to_vec(), OpCode::Data(Data::Text), false),
            Frame::ping("are you there?"),
            Frame::message(rest.as_bytes().to_vec(), OpCode::Data(Data::Continue), true),
        ];
        for part in parts {
            app.socket.send(Message::Frame(part)).await.unwrap();
        }
        assert_eq!(board.uplink().await.1, r#"{"content":"fragments"}"#);
    });
}

#[test]
fn frames_that_break_the_rules_end_their_socket() {
    run(async {
        let board = Board::new().await;
        let rest = || Frame::message(vec![b'x'], OpCode::Data(Data::Continue), true);
        let begin = || Frame::message(vec![b'x'], OpCode::Data(Data::Text), false);
        let reserved = || Frame::message(vec![b'x'], OpCode::Data(Data::Reserved(5)), true);
        for frames in [vec![rest()], vec![begin(), begin()], vec![reserved()]] {
            let mut app = board.app("demo").await;
            for frame in frames {
                app.socket.send(Message::Frame(frame)).await.unwrap();
            }
            assert_eq!(app.refusal().await, "bad-frame");
            assert!(app.next_text().await.is_none());
        }
    });
}

#[test]
fn nested_content_is_refused_with_the_reason() {
    run(async {
        let board = Board::new().await;
        let mut app = board.app("demo").await;
        let kind = "WebPortal.onSendNotificationRequest";
        for depth in [128, 500] {
            let content = "[".repeat(depth) + &"]".repeat(depth);
            app.send_text(format!(r#"{{"type":"{kind}","id":1,"value":{content}}}"#))
                .await;
            let refusal = app.until("WebPortal.MQTT.evt.messageNotDelivered").await;
            assert_eq!(refusal["value"]["reason"], json!("bad-content"));
            assert_eq!(refusal["id"], json!(1));
        }
    });
}

#[test]
fn flood_is_told_and_then_ended_and_others_are_served_meanwhile() {
    run(async {
        let board = Board::new().await;
        let mut flood = board.app("other").await;
        let mut app = board.app("demo").await;
        flood.until("WebPortal.onApplicationHide").await;
        let frame = json!({ "type": "WebPortal.onApplicationLoaded", "id": 7 });
        // The clock stands still: a hundred pass, two of which were the first frames.
        for _ in 0..98 {
            flood.send(frame.clone()).await;
        }
        flood.send(frame.clone()).await;
        let told = flood.until("error").await;
        assert_eq!(
            (&told["value"]["reason"], &told["id"]),
            (&json!("rate"), &json!(7))
        );
        for _ in 1..1000 {
            flood.send(frame.clone()).await;
            assert_eq!(flood.refusal().await, "rate");
        }
        flood.send(frame).await;
        assert_eq!(flood.refusal().await, "flood");
        assert!(flood.next_text().await.is_none());
        board.send("demo", &json!(1));
        assert_eq!(app.message().await, json!({ "content": 1 }));
    });
}

/// Sends a frame until it is refused, and on until the socket is ended for that: so many were refused.
async fn flood(app: &mut App, frame: impl Fn() -> Frame) -> u32 {
    let mut refused = 0;
    for _ in 0..98 {
        app.socket.send(Message::Frame(frame())).await.unwrap();
    }
    loop {
        app.socket.send(Message::Frame(frame())).await.unwrap();
        match app.refusal().await.as_str() {
            "rate" => refused += 1,
            reason => {
                assert_eq!(reason, "flood");
                assert!(app.next_text().await.is_none());
                return refused;
            }
        }
    }
}

#[test]
fn flood_of_fragments_pings_or_pongs_is_told_and_then_ended() {
    let begin = || Frame::message(vec![b'x'], OpCode::Data(Data::Text), false);
    let fragment = || Frame::message(Vec::new(), OpCode::Data(Data::Continue), false);
    run(async {
        let board = Board::new().await;
        let mut app = board.app("demo").await;
        assert_eq!(flood(&mut app, || Frame::ping("")).await, 1000);
        let mut app = board.app("demo").await;
        assert_eq!(flood(&mut app, || Frame::pong("")).await, 1000);
        let mut app = board.app("demo").await;
        app.socket.send(Message::Frame(begin())).await.unwrap();
        // One more has been taken before.
        assert_eq!(flood(&mut app, fragment).await, 1000);
        let ended = board.status().await["sockets"]["ended"].clone();
        assert_eq!(ended, json!(3));
    });
}

#[test]
fn flood_before_the_hello_is_ended() {
    run(async {
        let board = Board::new().await;
        let mut app = App::silent(board.address).await;
        for _ in 0..101 {
            app.socket
                .send(Message::Frame(Frame::ping("")))
                .await
                .unwrap();
        }
        assert_eq!(app.refusal().await, "flood");
        assert!(app.next_text().await.is_none());
    });
}

#[test]
fn message_of_which_a_fragment_was_refused_is_not_taken() {
    run(async {
        let mut board = Board::new().await;
        let mut app = board.app("demo").await;
        for _ in 0..98 {
            app.socket
                .send(Message::Frame(Frame::ping("")))
                .await
                .unwrap();
        }
        let text = r#"{"type":"WebPortal.onSendNotificationRequest","id":7,"value":"late"}"#;
        let (first, rest) = text.split_at(20);
        let first = Frame::message(first.as_bytes().to_vec(), OpCode::Data(Data::Text), false);
        app.socket.send(Message::Frame(first)).await.unwrap();
        assert_eq!(app.refusal().await, "rate");
        // There is time for one more.
        board.clock.advance(100);
        let rest = Frame::message(rest.as_bytes().to_vec(), OpCode::Data(Data::Continue), true);
        app.socket.send(Message::Frame(rest)).await.unwrap();
        let told = app.until("error").await;
        assert_eq!(
            (&told["value"]["reason"], &told["id"]),
            (&json!("rate"), &json!(7))
        );
        board.clock.advance(1_000);
        app.notify(&json!("next")).await;
        assert_eq!(board.uplink().await.1, r#"{"content":"next"}"#);
    });
}

#[test]
fn app_that_never_reads_is_ended_and_its_messages_wait_for_the_next() {
    run(async {
        let board = Board::new().await;
        let deaf = board.app("demo").await;
        let content = "x".repeat(100_000);
        let mut sent = 0;
        // Until the buffers of kernel and portal are full, and as much again.
        while board.status().await["downlinks"]["pending"].as_u64() < Some(5) {
            board.send("demo", &json!({ "n": sent, "x": content }));
            sent += 1;
            board.status_reaches("/received", sent).await;
            assert!(
                sent < 1000,
                "the portal holds {sent} messages for an app that never reads"
            );
        }
        let sockets = board.status().await["sockets"].clone();
        assert_eq!(sockets["ended"], json!(0), "it may be about to read");
        board.clock.advance(WRITE_TIMEOUT_MS);
        board.status_reaches("/sockets/slowReaders", 1).await;
        let mut app = board.app("demo").await;
        let mut numbers = Vec::new();
        loop {
            let pending = app.pending().await;
            if pending.is_empty() {
                break;
            }
            numbers.extend(pending.iter().map(|m| m["content"]["n"].as_u64().unwrap()));
        }
        let expected: Vec<_> = (sent - numbers.len() as u64..sent).collect();
        assert_eq!(numbers, expected, "the newest, in order, none missing");
        assert!((2..=10).contains(&numbers.len()), "{numbers:?}");
        drop(deaf);
    });
}

/// An app that has stopped reading, with ten messages for it under way: 200 KB, of which the kernel
/// takes the smaller part.
async fn deaf_with_ten_messages(board: &Board) -> App {
    let mut deaf = App::with_little_room(board.address).await;
    deaf.load().await;
    let content = "x".repeat(20_000);
    for n in 0..10 {
        board.send("demo", &json!({ "n": n, "x": content }));
    }
    board.status_reaches("/downlinks/delivered", 10).await;
    deaf
}

/// The numbers of the pending messages, which are the last ones and in order.
async fn last_numbers(app: &mut App) -> Vec<u64> {
    let pending = app.pending().await;
    let numbers = pending.iter().map(|m| m["content"]["n"].as_u64().unwrap());
    let numbers: Vec<_> = numbers.collect();
    let expected: Vec<_> = (10 - numbers.len() as u64..10).collect();
    assert_eq!(numbers, expected);
    numbers
}

#[test]
fn frame_that_is_not_read_in_time_ends_its_socket_and_is_pending_again() {
    run(async {
        let board = Board::new().await;
        let deaf = deaf_with_ten_messages(&board).await;
        board.clock.advance(WRITE_TIMEOUT_MS);
        board.status_reaches("/sockets/slowReaders", 1).await;
        let mut app = board.app("demo").await;
        assert!(last_numbers(&mut app).await.len() >= 5);
        drop(deaf);
    });
}

#[test]
fn what_was_not_written_to_a_socket_goes_to_the_one_that_takes_over() {
    run(async {
        let board = Board::new().await;
        let deaf = deaf_with_ten_messages(&board).await;
        let mut app = board.app("demo").await;
        assert!(last_numbers(&mut app).await.len() >= 5);
        drop(deaf);
    });
}

#[test]
fn sockets_are_bounded_and_those_refused_are_counted() {
    run(async {
        let board = Board::new().await;
        let mut sockets = Vec::new();
        for _ in 0..PLACES {
            sockets.push(App::silent(board.address).await);
        }
        let refused = connect_async(format!("ws://{}/portal", board.address)).await;
        let Err(Error::Http(response)) = refused else {
            panic!("one socket too many was let in");
        };
        assert_eq!(response.status(), 503);
        assert_eq!(board.status().await["sockets"]["refusedFull"], json!(1));
        // One of them goes, and the place is free.
        sockets.truncate(PLACES - 1);
        let free = async {
            while connect_async(format!("ws://{}/portal", board.address))
                .await
                .is_err()
            {}
        };
        timeout(PATIENCE, free).await.expect("a free place");
    });
}

#[test]
fn web_pages_of_other_origins_are_refused() {
    run(async {
        let board = Board::new().await;
        for (origin, status) in [
            ("https://shell.example", 101),
            ("http://evil.example", 403),
            ("null", 403),
        ] {
            let url = format!("ws://{}/portal", board.address);
            let mut request = url.into_client_request().unwrap();
            let headers = request.headers_mut();
            headers.insert("Origin", origin.parse().unwrap());
            let got = match connect_async(request).await {
                Ok((_, response)) => response.status(),
                Err(Error::Http(response)) => response.status(),
                Err(error) => panic!("{error}"),
            };
            assert_eq!(got, status, "{origin}");
        }
        assert_eq!(board.status().await["sockets"]["refusedOrigin"], json!(2));
    });
}

#[test]
fn request_that_does_not_come_is_given_up() {
    run(async {
        let board = Board::new().await;
        for sent in ["", "GET /portal HTTP/1.1\r\nHost: "] {
            let mut stream = TcpStream::connect(board.address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            // Another connection is served meanwhile, and tells that this one is being read.
            board.status().await;
            let mut answer = Vec::new();
            let ended = async {
                tokio::select! {
                    _ = stream.read_to_end(&mut answer) => {}
                    () = async {
                        loop {
                            board.clock.advance(REQUEST_TIMEOUT_MS);
                            tokio::task::yield_now().await;
                        }
                    } => {}
                }
            };
            timeout(PATIENCE, ended).await.expect("the end of it");
        }
    });
}

#[test]
fn socket_that_does_not_say_hello_is_told_and_ended() {
    run(async {
        let board = Board::new().await;
        let mut app = App::silent(board.address).await;
        board.status().await;
        board.clock.advance(HELLO_TIMEOUT_MS);
        assert_eq!(app.refusal().await, "no-hello");
        let mut app = App::silent(board.address).await;
        app.send(json!({ "type": "WebPortal.onApplicationLoaded" }))
            .await;
        assert_eq!(app.refusal().await, "no-hello");
    });
}

#[test]
fn socket_from_which_nothing_comes_is_asked_and_then_ended() {
    run(async {
        let board = Board::new().await;
        let mut app = board.app("demo").await;
        board.clock.advance(PING_INTERVAL_MS);
        // The client answers the ping while it waits for the message.
        board.send("demo", &json!("one"));
        assert_eq!(app.message().await, json!({ "content": "one" }));
        app.notify(&json!("here")).await;
        board.status_reaches("/uplinks/accepted", 1).await;
        board.clock.advance(PING_INTERVAL_MS);
        board.status().await;
        board.clock.advance(PING_INTERVAL_MS);
        assert_eq!(app.refusal().await, "silent");
        board.app("demo").await;
    });
}
