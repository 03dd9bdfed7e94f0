//! A check for both portals: an app hears of its messages by the `id`s that it gave them.

use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use futures_util::FutureExt;
use vinbus_protocol::app_slot::AppSlot;

use super::order::{LOADED, SLOT, Word};
use crate::apps::{Apps, Notice, Request};

/// The app sends four messages. The second is dropped while the first is on its way, and the third while
/// another app's is. `read` takes the frames that wait for the app.
pub(crate) fn check<A: Apps>(
    mut apps: A,
    mut says: impl FnMut(Word),
    mut read: impl FnMut() -> Vec<String>,
) {
    for word in [Word::Hello, Word::Frame(LOADED)] {
        says(word);
        while apps.next().now_or_never().is_some() {}
    }
    for id in 1..=4 {
        let kind = "WebPortal.onSendNotificationRequest";
        let frame = format!(r#"{{"type":"{kind}","value":{id},"id":{id}}}"#);
        says(Word::Frame(frame.leak()));
        let asked = apps.next().now_or_never();
        assert!(matches!(asked, Some(Request::Send { .. })), "{asked:?}");
        apps.answer(SLOT, Ok(()));
        while apps.next().now_or_never().is_some() {}
    }
    read();
    let (own, other) = (Some(SLOT), Some(AppSlot::new(1)));
    apps.tell(SLOT, Notice::Dropped { in_flight: own });
    apps.tell(SLOT, Notice::Delivered);
    apps.tell(SLOT, Notice::Dropped { in_flight: other });
    apps.tell(SLOT, Notice::Refused);
    let told: Vec<_> = read().iter().map(|frame| told(frame)).collect();
    let expected = vec![
        (2, "dropped"),
        (1, "delivered"),
        (3, "dropped"),
        (4, "refused-by-broker"),
    ];
    assert_eq!(told, expected);
}

/// Which message the frame is about, and what became of it.
fn told(frame: &str) -> (u64, &'static str) {
    let id = frame.split(r#""id":"#).nth(1).unwrap();
    let id = id.split([',', '}']).next().unwrap().parse().unwrap();
    let fates = ["dropped", "refused-by-broker"];
    let is = |fate: &&str| frame.contains(&format!(r#""reason":"{fate}""#));
    let bad = fates.into_iter().find(is);
    (id, bad.unwrap_or("delivered"))
}
