//! The order of messages when a socket ends.

use std::vec;

use vinbus_protocol::id::{AppId, Vin};

use super::place::{Mail, Peer, Phase};
use super::{KeptTexts, PlaceBuffers, Portal, Settings};
use crate::app_interface::order::{APP, SLOT, VIN, Word, check};

#[test]
fn messages_that_an_app_did_not_read_keep_their_order() {
    for between in 0..4 {
        let (vin, app) = (Vin::parse(VIN).unwrap(), AppId::parse(APP).unwrap());
        let (mut receive, mut outbox) = (vec![0; 1024], vec![0; 8192]);
        let buffers = PlaceBuffers {
            receive: &mut receive,
            outbox: &mut outbox,
        };
        let portal = Portal::<1, 1>::new(vin, [app], [buffers], Settings::default());
        let mut texts = KeptTexts::<1>::new();
        let apps = portal.apps(&mut texts);
        let place = &portal.places[0];
        let peer = Peer::App {
            slot: SLOT,
            background: false,
        };
        let says = |word| {
            match word {
                Word::Hello => place.phase.set(Phase::Opened(peer)),
                Word::Frame(text) => {
                    place.receive.borrow_mut()[..text.len()].copy_from_slice(text.as_bytes());
                    place.mail.set(Mail::Waiting(text.len()));
                }
                Word::Goodbye => place.phase.set(Phase::Gone(peer)),
            }
            portal.news.signal(());
        };
        check(apps, says, between);
    }
}
