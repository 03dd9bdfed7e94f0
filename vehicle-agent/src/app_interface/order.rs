//! A check for both portals: what an app has not read goes back to its place by age, however messages,
//! the hiding of the app and the end of its socket meet.

use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use futures_util::FutureExt;
use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::limits::{APP_MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use vinbus_protocol::topic::TopicScheme;
use vinbus_protocol::uplink_queue::DropPolicy;
use vinbus_protocol::{pending, popup};

use crate::apps::Apps;
use crate::desk::Desk;
use crate::identity::Identity;

pub(crate) const VIN: &str = "0123456789ABCDEFG";
const UID: &str = "demo-partner";
pub(crate) const APP: &str = "demo";
pub(crate) const SLOT: AppSlot = AppSlot::new(0);
pub(crate) const LOADED: &str = r#"{"type":"WebPortal.onApplicationLoaded"}"#;
pub(crate) const HIDE: &str = r#"{"type":"WebPortal.onApplicationHide"}"#;

/// Messages that arrive while the app does not read, and all that arrive.
const UNREAD: u64 = 12;
const ALL: u64 = 40;

/// Messages that arrive once it is hidden, if it is.
const HIDDEN: u64 = 3;

pub(crate) struct Vehicle<A> {
    desk: Desk<Vec<u8>, Vec<u8>, 1, 1, 1>,
    apps: A,
    received: u64,
}

impl<A: Apps> Vehicle<A> {
    pub(crate) fn new(apps: A) -> Self {
        let vin = Vin::parse(VIN).unwrap();
        let identity = Identity::new(vin, TopicScheme::default(), false);
        let popups = vec![0; popup::storage_bytes_for(PAYLOAD_BYTES_MAX)];
        let mut desk = Desk::new(identity, popups, Vec::new(), DropPolicy::Oldest);
        let (app, uid) = (AppId::parse(APP).unwrap(), Uid::parse(UID).unwrap());
        let pending = vec![0; pending::storage_bytes_for(APP_MESSAGE_BYTES_MAX)];
        assert_eq!(desk.install(app, &uid, pending), Ok(SLOT));
        Self {
            desk,
            apps,
            received: 0,
        }
    }

    /// Does one thing that the apps want; `false` if they want nothing.
    pub(crate) fn turn(&mut self) -> bool {
        let Some(request) = self.apps.next().now_or_never() else {
            return false;
        };
        let todo = self.desk.handle_request(0, &request);
        self.desk.finish(0, todo, &mut self.apps);
        self.desk.settle(0, &mut self.apps);
        true
    }

    pub(crate) fn receive(&mut self, messages: u64) {
        let topic = format!("psa/OVIPPartners-Dev/to/uid/{UID}/opa/{VIN}/");
        for n in self.received..ALL.min(self.received + messages) {
            let payload = format!(r#"{{"idApp":"{APP}","popup":false,"content":{n}}}"#);
            let bytes = payload.as_bytes();
            self.desk.handle_received(0, &topic, bytes, &mut self.apps);
            self.desk.settle(0, &mut self.apps);
            self.received = n + 1;
        }
    }

    pub(crate) fn pending(&self) -> Vec<String> {
        let ring = self.desk.portal().pending(SLOT).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        ring.iter().map(|record| text(record.bytes)).collect()
    }
}

/// An app that reads nothing gets messages, may be hidden, and ends; `between` more arrive for each
/// request of its portal.
pub(crate) fn check<A: Apps>(apps: A, mut says: impl FnMut(Word), between: u64, hidden: bool) {
    let mut vehicle = Vehicle::new(apps);
    for word in [Word::Hello, Word::Frame(LOADED)] {
        says(word);
        while vehicle.turn() {}
    }
    vehicle.receive(UNREAD);
    assert!(vehicle.pending().is_empty(), "the app is in the foreground");
    if hidden {
        says(Word::Frame(HIDE));
        while vehicle.turn() {}
        vehicle.receive(HIDDEN);
        assert_eq!(vehicle.pending().len() as u64, HIDDEN);
    }
    says(Word::Goodbye);
    vehicle.receive(between);
    while vehicle.turn() {
        vehicle.receive(between);
    }
    let sent = vehicle.received;
    let expected: Vec<_> = (sent - 10..sent)
        .map(|n| format!(r#"{{"content":{n}}}"#))
        .collect();
    let case = format!("{between} between requests, hidden: {hidden}");
    assert_eq!(vehicle.pending(), expected, "{case}");
}

/// What a socket says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    Hello,
    Frame(&'static str),
    Goodbye,
}
