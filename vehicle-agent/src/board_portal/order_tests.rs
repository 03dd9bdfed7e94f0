//! The order of messages when a socket ends, and of what becomes of an app's own.

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use vinbus_protocol::id::{AppId, Vin};

use super::outbox::Front;
use super::place::{Mail, Peer, Phase};
use super::{KeptTexts, PlaceBuffers, Portal, Settings};
use crate::app_interface::order::{APP, SLOT, VIN, Word};
use crate::app_interface::{fates, order};

type OnePlace = Portal<'static, 1, 1>;

fn portal() -> OnePlace {
    let vin = Vin::parse(VIN).unwrap();
    let app: &AppId = Box::leak(Box::new(AppId::parse(APP).unwrap()));
    let buffers = PlaceBuffers {
        receive: vec![0; 1024].leak(),
        outbox: vec![0; 8192].leak(),
        for_screen: false,
    };
    Portal::new(vin, [app], [buffers], Settings::default())
}

/// The socket says something.
fn say(portal: &OnePlace, word: Word) {
    let place = &portal.places[0];
    let peer = Peer::App {
        slot: SLOT,
        background: false,
        confirms: false,
    };
    match word {
        Word::Hello => place.phase.set(Phase::Opened(peer)),
        Word::Frame(text) => {
            place.receive.borrow_mut()[..text.len()].copy_from_slice(text.as_bytes());
            place.mail.set(Mail::Waiting(text.len()));
        }
        Word::Goodbye => place.phase.set(Phase::Gone(peer)),
    }
    portal.news.signal(());
}

#[test]
fn messages_that_an_app_did_not_read_keep_their_order() {
    for (between, hidden) in (0..4).flat_map(|n| [(n, false), (n, true)]) {
        let (portal, mut texts) = (portal(), KeptTexts::<1>::new());
        let apps = portal.apps(&mut texts);
        order::check(apps, |word| say(&portal, word), between, hidden);
    }
}

#[test]
fn app_hears_what_became_of_each_of_its_messages() {
    // The last of them has no place of its own until one is free.
    let (portal, mut texts) = (portal(), KeptTexts::<3>::new());
    let apps = portal.apps(&mut texts);
    let read = || {
        let outbox = &portal.places[0].outbox;
        let mut frames = Vec::new();
        while !outbox.borrow().is_empty() {
            frames.push(Front(outbox).to_string());
            outbox.borrow_mut().written();
        }
        frames
    };
    fates::check(apps, |word| say(&portal, word), read);
}
