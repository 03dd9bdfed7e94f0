//! The order of messages when a socket ends, of what becomes of an app's own, and what it confirms.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use vinbus_protocol::id::{AppId, Vin};

use super::outbox::Outbox;
use super::{FromSocket, News, Peer, SocketApps};
use crate::app_interface::order::{APP, LOADED, SLOT, VIN, Vehicle, Word};
use crate::app_interface::{fates, order};
use crate::linux::status::Status;

/// The apps, what its socket says, and what waits for that.
fn portal(confirms: bool) -> (SocketApps<'static>, impl FnMut(Word), Arc<Outbox>) {
    let (vin, app) = (Vin::parse(VIN).unwrap(), AppId::parse(APP).unwrap());
    let (agent, news) = mpsc::channel(1);
    let apps = SocketApps::new(vin, [app], news, Arc::new(Status::new(vin, None)));
    let outbox = Arc::new(Outbox::default());
    let opened = Arc::clone(&outbox);
    let says = move |word| {
        let news = match word {
            Word::Hello => News::Opened(Arc::clone(&opened)),
            Word::Frame(text) => News::Frame(text.into()),
            Word::Goodbye => News::Gone,
        };
        let peer = Peer::App {
            slot: SLOT,
            background: false,
            confirms,
        };
        let said = FromSocket {
            socket: 0,
            peer,
            news,
        };
        agent.try_send(said).unwrap();
    };
    (apps, says, outbox)
}

#[test]
fn messages_that_an_app_did_not_read_keep_their_order() {
    for (between, hidden) in (0..4).flat_map(|n| [(n, false), (n, true)]) {
        let (apps, says, _) = portal(false);
        order::check(apps, says, between, hidden);
    }
}

#[test]
fn app_hears_what_became_of_each_of_its_messages() {
    let (apps, says, outbox) = portal(false);
    let read = || {
        let mut frames = Vec::new();
        while let Some(Ok(frame)) = outbox.front().now_or_never() {
            frames.push(frame);
            outbox.written();
        }
        frames
    };
    fates::check(apps, says, read);
}

#[test]
fn app_that_confirms_every_message_need_not_ask_for_them_to_confirm_up_to_a_number() {
    let (apps, mut says, _) = portal(true);
    let mut vehicle = Vehicle::new(apps);
    for word in [Word::Hello, Word::Frame(LOADED)] {
        says(word);
        while vehicle.turn() {}
    }
    vehicle.receive(3);
    while vehicle.turn() {}
    assert_eq!(vehicle.pending().len(), 3);
    let kind = "WebPortal.confirmPendingNotifications";
    let frame = format!(r#"{{"type":"{kind}","value":{{"upto":1}}}}"#);
    says(Word::Frame(frame.leak()));
    while vehicle.turn() {}
    assert_eq!(vehicle.pending(), [r#"{"content":2}"#]);
}
