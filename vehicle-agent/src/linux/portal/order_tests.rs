//! The order of messages when a socket ends.

use std::sync::Arc;

use tokio::sync::mpsc;
use vinbus_protocol::id::{AppId, Vin};

use super::outbox::Outbox;
use super::{FromSocket, News, Peer, SocketApps};
use crate::app_interface::order::{APP, SLOT, VIN, Word, check};
use crate::linux::status::Status;

#[test]
fn messages_that_an_app_did_not_read_keep_their_order() {
    for between in 0..4 {
        let (vin, app) = (Vin::parse(VIN).unwrap(), AppId::parse(APP).unwrap());
        let (agent, news) = mpsc::channel(1);
        let apps = SocketApps::new(vin, [app], news, Arc::new(Status::new(vin, None)));
        let background = false;
        let says = |word| {
            let news = match word {
                Word::Hello => News::Opened(Arc::new(Outbox::default())),
                Word::Frame(text) => News::Frame(text.into()),
                Word::Goodbye => News::Gone,
            };
            let peer = Peer::App {
                slot: SLOT,
                background,
                confirms: false,
            };
            let said = FromSocket {
                socket: 0,
                peer,
                news,
            };
            agent.try_send(said).unwrap();
        };
        check(apps, says, between);
    }
}
