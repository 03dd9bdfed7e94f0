use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::limits::DELIVERY_LONG_BYTES_MAX;

use super::*;
use crate::bridge::{Pattern, Rule, Up};
use crate::bus::ClientName;
use crate::hub::{HubEvent, Settings};
use crate::model::NewUplink;
use crate::store::lock::DataDir;
use crate::store::sqlite::{SqliteStore, StoreSettings};

/// A bus that refuses, at first, what is for a topic.
#[derive(Default)]
struct Bus {
    down_for: Mutex<Option<&'static str>>,
}

impl BusPort for Bus {
    fn publish<'a>(&'a self, topic: &'a str, _: Bytes) -> BoxFuture<'a, Result<(), PortError>> {
        let mut down_for = self.down_for.lock().unwrap();
        let is_down = down_for.is_some_and(|name| topic.ends_with(name));
        if is_down {
            *down_for = None;
        }
        Box::pin(std::future::ready(match is_down {
            true => Err(PortError::LinkDown),
            false => Ok(()),
        }))
    }
}

fn rule(to: &str) -> Rule {
    Rule {
        app: ClientName::parse("myapp").unwrap(),
        uid: Uid::parse("partner").unwrap(),
        vin: None,
        down: None,
        up: Some(Up {
            to: Pattern::parse(to).unwrap(),
            subtopic: None,
        }),
    }
}

fn uplink(cursor: u64, content: &str) -> Uplink {
    Uplink {
        cursor: Cursor(cursor),
        message: NewUplink {
            uid: Uid::parse("partner").unwrap(),
            vin: Vin::parse("0123456789ABCDEFG").unwrap(),
            subtopic: None,
            payload: format!("{{\"content\":{content}}}").into(),
            received_at: UNIX_EPOCH,
        },
    }
}

fn carrier(rules: Vec<Rule>, bus: Bus) -> (TempDir, Carrier) {
    let dir = tempfile::tempdir().unwrap();
    let (lock, metrics) = (DataDir::lock(dir.path()).unwrap(), Metrics::new());
    let store = SqliteStore::open(lock, StoreSettings::default(), &metrics).unwrap();
    let store = Arc::new(store);
    let hub = Hub::new(Arc::clone(&store) as _, Settings::default(), &metrics).unwrap();
    let rules = Arc::new(Rules::new(rules, |place| place).unwrap());
    let name = "bus".to_owned();
    let carrier = Carrier::new(hub, store, name, rules, Arc::new(bus), &metrics);
    (dir, carrier)
}

fn reasons(events: &mut Receiver<HubEvent>) -> Vec<&'static str> {
    let told = std::iter::from_fn(|| events.try_recv().ok());
    told.map(|event| match event {
        HubEvent::Refused { reason, .. } => reason,
        other => panic!("{other:?}"),
    })
    .collect()
}

#[tokio::test]
async fn message_that_is_refused_is_counted_and_told_once_however_many_rules_it_is_of() {
    let rules = vec![rule("a/b"), rule("c/d"), rule("e/f/:of"), rule("g/h/:of")];
    let (_dir, carrier) = carrier(rules, Bus::default());
    let mut events = carrier.hub.events();
    let long = format!("\"{}\"", "x".repeat(DELIVERY_LONG_BYTES_MAX - 2));
    let messages = [uplink(1, &long), uplink(2, "[1]"), uplink(3, &long)];
    let carried = carrier.carry(&messages, Cursor(9)).await;
    assert_eq!(carried, (Cursor(9), 12));
    let told = ["too_large", "unmapped", "too_large"];
    assert_eq!(reasons(&mut events), told);
    let figures = &carrier.figures;
    assert_eq!((figures.carried.value(), figures.refused.value()), (2, 3));
}

#[tokio::test]
async fn message_behind_one_that_the_bus_did_not_take_is_told_when_it_comes_again() {
    let bus = Bus::default();
    *bus.down_for.lock().unwrap() = Some("/2");
    let (_dir, carrier) = carrier(vec![rule("a/b/:of")], bus);
    let mut events = carrier.hub.events();
    let messages = [uplink(1, "{}"), uplink(2, r#"{"of":2}"#), uplink(3, "{}")];
    assert_eq!(carrier.carry(&messages, Cursor(3)).await, (Cursor(1), 3));
    assert_eq!(reasons(&mut events), ["unmapped"]);
    let again = carrier.carry(&messages[1..], Cursor(3)).await;
    assert_eq!(again, (Cursor(3), 2));
    assert_eq!(reasons(&mut events), ["unmapped"]);
    assert_eq!(carrier.figures.refused.value(), 2);
}
