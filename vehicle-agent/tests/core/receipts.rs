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
    desk.offer_receipts(Epoch::new(7).unwrap(), vec![0; 8192], vec![0; 8192]);
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
