//! Apps that confirm every message (SPEC 8.16).

use serde_json::{Value, json};

use crate::app::App;
use crate::board::{Board, Memory, run};

const CURRENT: &str = "WebPortal.onCurrentNotificationReceived";
const KEPT: &str = "WebPortal.onPendingNotification";
const PENDING: &str = "WebPortal.getPendingNotifications";

/// Opens an app that confirms; its welcome.
async fn open(board: &Board, background: bool) -> (App, Value) {
    let mut app = App::silent(board.address).await;
    let hello = json!({ "appId": "demo", "background": background, "confirm": true });
    app.send(json!({ "type": "hello", "value": hello })).await;
    let welcome = app.until("welcome").await["value"].take();
    if background {
        app.send(json!({ "type": "WebPortal.onApplicationLoaded" }))
            .await;
    } else {
        app.load().await;
    }
    (app, welcome)
}

async fn confirm(app: &mut App, numbers: &[u64]) {
    let kind = "WebPortal.confirmPendingNotifications";
    app.send(json!({ "type": kind, "value": { "numbers": numbers } }))
        .await;
}

/// The answer to a question for the messages behind a number.
async fn list(app: &mut App, after: Option<u64>) -> Value {
    let value = json!({ "confirm": true, "after": after });
    let value = match after {
        Some(_) => value,
        None => json!({ "confirm": true }),
    };
    app.send(json!({ "type": PENDING, "value": value })).await;
    app.until(PENDING).await
}

#[test]
fn message_for_the_foreground_stays_until_its_number_is_confirmed() {
    run(async {
        let board = Board::new().await;
        let (mut app, welcome) = open(&board, false).await;
        assert_eq!(welcome["life"], json!("0000000000000000"));
        assert_eq!(welcome["frameBytesMax"], json!(135_168));
        for n in 0..3 {
            board.send("demo", &json!(n));
            let told = app.until(CURRENT).await;
            assert_eq!((&told["number"], &told["oldest"]), (&json!(n), &json!(0)));
            assert_eq!(told["value"], json!({ "content": n }));
        }
        confirm(&mut app, &[1]).await;
        drop(app);
        let (mut app, _) = open(&board, false).await;
        let answer = list(&mut app, None).await;
        assert_eq!(answer["numbers"], json!([0, 2]));
        assert_eq!(answer["value"], json!([{ "content": 0 }, { "content": 2 }]));
        confirm(&mut app, &[0, 2]).await;
        assert_eq!(list(&mut app, None).await["value"], json!([]));
        let answer = board.status().await;
        assert_eq!(answer["downlinks"]["delivered"], json!(0), "{answer}");
    });
}

#[test]
fn app_in_the_background_is_told_as_well_and_of_what_newer_messages_dropped() {
    run(async {
        let board = Board::new().await;
        let (mut app, _) = open(&board, true).await;
        for n in 0..12_u64 {
            board.send("demo", &json!(n));
            let told = app.until(KEPT).await;
            assert_eq!(told["number"], json!(n));
            let lost = (n >= 10).then(|| n - 9);
            assert_eq!(told.get("lost"), lost.map(|lost| json!(lost)).as_ref());
            assert_eq!(told["oldest"], json!(lost.unwrap_or(0)));
        }
        let answer = list(&mut app, None).await;
        assert_eq!(answer["numbers"], json!((2..12).collect::<Vec<_>>()));
    });
}

#[test]
fn outcome_of_a_popup_is_confirmed_like_a_message() {
    run(async {
        let board = Board::new().await;
        let (mut app, _) = open(&board, false).await;
        board.publish(r#"{"idApp":"demo","popup":true,"popupText":"Yes?","popupBtn":true}"#);
        app.until("WebPortal.onPopupShow").await;
        app.send(json!({ "type": "WebPortal.okBtnPopupRequestClicked" }))
            .await;
        let outcome = app.until(CURRENT).await;
        let action = "WebPortal.okBtnPopupRequestClicked";
        assert_eq!(outcome["value"], json!({ "popupAction": action }));
        assert_eq!(outcome["number"], json!(0));
        assert_eq!(list(&mut app, None).await["numbers"], json!([0]));
    });
}

fn little_memory() -> Memory {
    Memory {
        outbox: 4096,
        ..Memory::default()
    }
}

#[test]
fn board_with_little_memory_hands_out_the_rest_behind_the_last_number() {
    run(async {
        let board = Board::with_memory(little_memory()).await;
        let text = "x".repeat(1000);
        for n in 0..10 {
            board.send("demo", &json!([n, text]));
        }
        board.status_reaches("/downlinks/pending", 10).await;
        let (mut app, _) = open(&board, false).await;
        let mut numbers = Vec::new();
        loop {
            let after = numbers.last().copied();
            let answer = list(&mut app, after).await;
            let some: Vec<u64> = serde_json::from_value(answer["numbers"].clone()).unwrap();
            assert!((1..=4).contains(&some.len()), "{} fit", some.len());
            numbers.extend(some);
            if answer.get("more").is_none() {
                break;
            }
        }
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn messages_that_come_faster_than_they_can_be_written_are_told_one_after_the_other() {
    run(async {
        let board = Board::with_memory(little_memory()).await;
        let (mut app, _) = open(&board, false).await;
        let text = "x".repeat(1000);
        for n in 0..10 {
            board.send("demo", &json!([n, text]));
        }
        board.status_reaches("/downlinks/pending", 10).await;
        for n in 0..10 {
            assert_eq!(app.until(CURRENT).await["number"], json!(n));
        }
    });
}

#[test]
fn app_that_the_screen_sends_to_the_background_is_told_of_what_is_kept() {
    run(async {
        let board = Board::new().await;
        let (mut app, _) = open(&board, false).await;
        let mut screen = board.screen().await;
        board.send("demo", &json!(0));
        app.until(CURRENT).await;
        confirm(&mut app, &[0]).await;
        let hide = "WebPortal.onApplicationHide";
        screen
            .send(json!({ "type": hide, "value": { "appId": "demo" } }))
            .await;
        app.until(hide).await;
        board.send("demo", &json!(1));
        let told = app.until(KEPT).await;
        assert_eq!((&told["number"], &told["oldest"]), (&json!(1), &json!(1)));
    });
}
