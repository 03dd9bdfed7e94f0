//! Sizes, exact to the byte.

use serde_json::json;

use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;
use vinbus_vehicle_agent::board_portal::limits::{FRAME_BYTES_MAX, OUTBOX_BYTES_MIN};

use crate::app::{App, envelope, text};
use crate::board::{Board, Memory, run};

#[test]
fn largest_message_passes_down_and_one_byte_more_is_dropped_and_counted() {
    run(async {
        let board = Board::new().await;
        let mut app = board.app("demo").await;
        let room = PAYLOAD_BYTES_MAX - envelope("").len();
        let largest = envelope(&text(room));
        assert_eq!(largest.len(), 131_072);
        board.publish(largest);
        let message = app.message().await;
        assert_eq!(message["content"].as_str().unwrap().len(), room - 2);
        board.publish(envelope(&text(room + 1)));
        board.send("demo", &json!("next"));
        assert_eq!(app.message().await, json!({ "content": "next" }));
        let refused = &board.status().await["refused"];
        assert_eq!(refused["oversize"], json!(1));
        assert_eq!(refused["envelope"], json!(0), "it is counted once");
    });
}

#[test]
fn ten_largest_messages_are_handed_out_in_one_answer_by_a_board_with_room_for_them() {
    run(async {
        let memory = Memory {
            outbox: 1_500_000,
            ..Memory::default()
        };
        let board = Board::with_memory(memory).await;
        let content = "x".repeat(131_000);
        for n in 0..10 {
            board.send("demo", &json!([n, content]));
        }
        board.status_reaches("/downlinks/pending", 10).await;
        let mut app = board.app("demo").await;
        let pending = app.pending().await;
        let numbers: Vec<_> = pending.iter().map(|m| m["content"][0].clone()).collect();
        assert_eq!(json!(numbers), json!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
        assert!(app.pending().await.is_empty());
    });
}

#[test]
fn largest_message_passes_up_and_one_byte_more_is_refused_with_both_numbers() {
    run(async {
        let mut board = Board::new().await;
        let mut app = board.app("demo").await;
        app.notify_the_longest_and_one_byte_more().await;
        assert_eq!(board.uplink().await.1.len(), 131_072);
        app.notify(&json!("next")).await;
        assert_eq!(board.uplink().await.1, r#"{"content":"next"}"#);
    });
}

#[test]
fn frame_over_the_limit_ends_its_socket_only() {
    run(async {
        let board = Board::new().await;
        let mut largest = board.app("other").await;
        let mut app = board.app("demo").await;
        largest.send_text(" ".repeat(FRAME_BYTES_MAX)).await;
        assert_eq!(largest.refusal().await, "bad-frame");
        largest.send_text(" ".repeat(FRAME_BYTES_MAX + 1)).await;
        let error = largest.until("error").await;
        assert_eq!(error["value"]["reason"], json!("frame-too-large"));
        let message = error["value"]["message"].as_str().unwrap();
        assert!(message.contains(&FRAME_BYTES_MAX.to_string()), "{message}");
        board.send("demo", &json!(1));
        assert_eq!(app.message().await, json!({ "content": 1 }));
    });
}

#[test]
fn messages_that_come_while_a_large_one_is_written_wait_and_arrive_in_order() {
    run(async {
        let memory = Memory {
            outbox: OUTBOX_BYTES_MIN,
            ..Memory::default()
        };
        let board = Board::with_memory(memory).await;
        // Kept before it was in the foreground: nobody gets it before the app asks.
        board.send("demo", &json!("old"));
        board.status_reaches("/downlinks/pending", 1).await;
        let mut app = App::with_little_room(board.address).await;
        app.load().await;
        let large = "x".repeat(131_000);
        for n in 0..4 {
            board.send("demo", &json!([n, large]));
            board.send("demo", &json!([n]));
        }
        // There is room for small ones behind the first, but not ahead of what waits.
        board.status_reaches("/downlinks/pending", 7).await;
        for n in 0..4 {
            assert_eq!(app.message().await, json!({ "content": [n, large] }));
            assert_eq!(app.message().await, json!({ "content": [n] }));
        }
        assert_eq!(app.pending().await, [json!({ "content": "old" })]);
        assert_eq!(board.status().await["sockets"]["ended"], json!(0));
    });
}

#[test]
fn message_too_large_for_a_small_board_is_counted_and_the_next_one_arrives() {
    run(async {
        let memory = Memory {
            outbox: 4096,
            ..Memory::default()
        };
        let board = Board::with_memory(memory).await;
        let content = "x".repeat(5000);
        board.send("demo", &json!(content));
        board.send("demo", &json!("pending"));
        board.status_reaches("/downlinks/pending", 2).await;
        let mut app = board.app("demo").await;
        assert_eq!(app.pending().await, [json!({ "content": "pending" })]);
        board.send("demo", &json!(content));
        board.send("demo", &json!("next"));
        assert_eq!(app.message().await, json!({ "content": "next" }));
        let status = board.status().await;
        assert_eq!(status["downlinks"]["evictedFromSockets"], json!(2));
    });
}
