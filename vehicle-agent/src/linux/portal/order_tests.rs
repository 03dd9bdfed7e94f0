//! The order of messages when a socket ends, of what becomes of an app's own, and what it confirms.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use vinbus_protocol::id::{AppId, Vin};

use super::outbox::Outbox;
use super::{FromSocket, News, Peer, SocketApps};
use crate::app_interface::order::{APP, HIDE, LOADED, SLOT, VIN, Vehicle, Word};
use crate::app_interface::refusal::Ending;
use crate::app_interface::{fates, order};
use crate::linux::status::Status;

/// The apps, what the app's socket says, and what waits for that.
fn portal(confirms: bool) -> (SocketApps<'static>, impl FnMut(Word), Arc<Outbox>) {
    let (apps, agent) = apps();
    let (says, outbox) = socket(0, agent, confirms);
    (apps, says, outbox)
}

fn apps() -> (SocketApps<'static>, mpsc::Sender<FromSocket>) {
    let (vin, app) = (Vin::parse(VIN).unwrap(), AppId::parse(APP).unwrap());
    let (agent, news) = mpsc::channel(1);
    let apps = SocketApps::new(vin, [app], news, Arc::new(Status::new(vin, None)));
    (apps, agent)
}

fn socket(
    id: u64,
    agent: mpsc::Sender<FromSocket>,
    confirms: bool,
) -> (impl FnMut(Word), Arc<Outbox>) {
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
            socket: id,
            peer,
            news,
        };
        agent.try_send(said).unwrap();
    };
    (says, outbox)
}

/// Takes the frames that wait for the app.
fn read(outbox: &Outbox) -> Vec<String> {
    let mut frames = Vec::new();
    while let Some(Ok(frame)) = outbox.front().now_or_never() {
        frames.push(frame);
        outbox.written();
    }
    frames
}

fn confirm_up_to(number: u64) -> Word {
    let kind = "WebPortal.confirmPendingNotifications";
    let frame = format!(r#"{{"type":"{kind}","value":{{"upto":{number}}}}}"#);
    Word::Frame(frame.leak())
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
    fates::check(apps, says, || read(&outbox));
}

#[test]
fn count_of_fates_that_are_not_kept_is_told_to_the_socket_that_reads_it() {
    let (mut apps, agent) = apps();
    apps.expect_forgotten(SLOT, 3);
    let mut vehicle = Vehicle::new(apps);
    for (id, ended_before) in [(0, false), (1, true)] {
        let (mut says, outbox) = socket(id, agent.clone(), false);
        if ended_before {
            outbox.end(Ending::Closed);
        }
        for word in [Word::Hello, Word::Goodbye] {
            says(word);
            while vehicle.turn() {}
        }
    }
    let (mut says, outbox) = socket(2, agent, false);
    says(Word::Hello);
    while vehicle.turn() {}
    let frames = read(&outbox);
    assert!(
        frames[1].contains("of 3 more of your messages"),
        "{frames:?}"
    );
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
    says(confirm_up_to(1));
    while vehicle.turn() {}
    assert_eq!(vehicle.pending(), [r#"{"content":2}"#]);
}

#[test]
fn app_that_confirms_up_to_a_number_keeps_what_it_was_not_told_of() {
    let (apps, mut says, outbox) = portal(true);
    let mut vehicle = Vehicle::new(apps);
    vehicle.receive(2);
    for word in [Word::Hello, Word::Frame(LOADED)] {
        says(word);
        while vehicle.turn() {}
    }
    vehicle.receive(1);
    while vehicle.turn() {}
    assert_eq!(numbers(&read(&outbox)), [2]);
    says(confirm_up_to(2));
    while vehicle.turn() {}
    assert_eq!(
        vehicle.pending(),
        [r#"{"content":0}"#, r#"{"content":1}"#],
        "it came before the app, which has not asked"
    );
}

#[test]
fn app_is_told_of_messages_in_the_order_in_which_they_came() {
    let (apps, agent) = apps();
    let (mut older_says, _) = socket(0, agent.clone(), true);
    let (mut says, outbox) = socket(1, agent, true);
    let mut vehicle = Vehicle::new(apps);
    older_says(Word::Hello);
    while vehicle.turn() {}
    // What it says meanwhile is done at once when it takes over.
    for word in [Word::Hello, Word::Frame(LOADED), Word::Frame(HIDE)] {
        says(word);
        while vehicle.turn() {}
    }
    older_says(Word::Goodbye);
    while vehicle.turn() {
        vehicle.receive(1);
    }
    vehicle.receive(2);
    let told = numbers(&read(&outbox));
    assert!(told.len() > 4 && told.is_sorted(), "{told:?}");
}

/// The numbers of the messages that the frames tell of.
fn numbers(frames: &[String]) -> Vec<u64> {
    let number = |frame: &String| {
        let number = frame.split(r#""number":"#).nth(1)?;
        number.split(',').next()?.parse().ok()
    };
    frames.iter().filter_map(number).collect()
}
