//! The order of messages when a socket ends, and of what becomes of an app's own.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use vinbus_protocol::id::{AppId, Vin};

use super::outbox::Outbox;
use super::{FromSocket, News, Peer, SocketApps};
use crate::app_interface::order::{APP, SLOT, VIN, Word};
use crate::app_interface::{fates, order};
use crate::linux::status::Status;

/// The apps, what its socket says, and what waits for that.
fn portal() -> (SocketApps<'static>, impl FnMut(Word), Arc<Outbox>) {
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
            confirms: false,
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
        let (apps, says, _) = portal();
        order::check(apps, says, between, hidden);
    }
}

#[test]
fn app_hears_what_became_of_each_of_its_messages() {
    let (apps, says, outbox) = portal();
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
