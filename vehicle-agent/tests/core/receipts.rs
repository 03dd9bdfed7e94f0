//! Messages of apps with receipts, while the disk that they are noted on refuses some.

use std::time::Duration;

use tokio::time::sleep;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::Epoch;

use crate::air::{Air, SharedAir};
use crate::cabin::{Cabin, Wish};
use crate::drive::{APPS, desk, life_of, topic};
use crate::health::until_connected;

/// The vehicle's epoch is 7, and the host's is 3.
const GREETING: &str = r#"{"idApp":"vinbus","content":{"vinbus":{"e":3,"x":7,"v":1}}}"#;

/// Times that a message with receipts was sent.
fn sent(air: &SharedAir) -> usize {
    let published = &air.borrow().published;
    let sent = |payload: &str| payload.contains(r#"{"vinbus":[7,3,"#);
    published.iter().filter(|it| sent(&it.1)).count()
}

#[tokio::test(start_paused = true)]
async fn message_whose_number_could_not_be_noted_is_sent_soon_after_the_disk_takes_it() {
    let (air, cabin) = (Air::new(7), Cabin::new(APPS));
    air.borrow_mut().kind = true;
    let mut desk = desk();
    desk.offer_receipts(Epoch::new(7).unwrap(), 7, vec![0; 8192], vec![0; 8192]);
    let drive = async {
        until_connected(&air).await;
        sleep(Duration::from_secs(1)).await;
        air.borrow_mut().send(&topic("to", 0), GREETING.into());
        sleep(Duration::from_secs(5)).await;
        {
            let mut cabin = cabin.borrow_mut();
            (cabin.receipts, cabin.disk_is_full) = (true, true);
            cabin.wish(Wish::Send(AppSlot::new(0), "1".to_owned()));
        }
        sleep(Duration::from_secs(5)).await;
        assert_eq!(sent(&air), 0, "it has no number");
        cabin.borrow_mut().disk_is_full = false;
        sleep(Duration::from_secs(2)).await;
        assert!(sent(&air) > 0);
    };
    life_of(desk, &air, &cabin, 7, drive).await;
}

#[tokio::test(start_paused = true)]
async fn sender_is_told_why_a_message_was_refused_and_nobody_else_is() {
    let (air, cabin) = (Air::new(7), Cabin::new(APPS));
    air.borrow_mut().kind = true;
    cabin.borrow_mut().may_refuse = true;
    let mut desk = desk();
    desk.offer_receipts(Epoch::new(7).unwrap(), 7, vec![0; 8192], vec![0; 8192]);
    let drive = async {
        until_connected(&air).await;
        sleep(Duration::from_secs(1)).await;
        let send = |app: usize, payload: String| {
            air.borrow_mut().send(&topic("to", app), payload.into());
        };
        send(0, GREETING.into());
        let marked = |app: &str, number: u32, text: &str| {
            let content = format!(r#"{{"vinbus":[3,7,{number},60],"content":{text}}}"#);
            format!(r#"{{"idApp":"{app}","popup":false,"content":{content}}}"#)
        };
        send(0, marked("nobody", 1, "1"));
        // An app of another partner.
        send(0, marked("app1", 2, "1"));
        let too_large = format!("\"{}\"", "x".repeat(2_000));
        send(0, marked("app0", 3, &too_large));
        send(0, marked("app0", 4, "1"));
        sleep(Duration::from_secs(1)).await;
    };
    let desk = life_of(desk, &air, &cabin, 7, drive).await;
    let published = &air.borrow().published;
    // Unknown app, denied, too large, and the one that is held.
    let told = r#""r":[9,1,1,12,2,1,10,3,1,2,4,1]"#;
    let of_first: Vec<_> = published.iter().filter(|it| it.1.contains(told)).collect();
    assert!(!of_first.is_empty(), "{published:?}");
    assert!(
        of_first
            .iter()
            .all(|it| it.0 == topic("from", 0) + "vinbus/delivery")
    );
    let portal = desk.counters().portal;
    let refused = [
        portal.refused_unknown_app,
        portal.refused_foreign_uid,
        portal.refused_too_large,
    ];
    assert_eq!((refused, portal.pending), ([1; 3], 1));
}
