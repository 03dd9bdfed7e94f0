//! A store in a temporary folder, and messages for it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::{NewDownlink, NewUplink, Receipts};
use vinbus_host_server::store::lock::DataDir;
use vinbus_host_server::store::sqlite::{SqliteStore, StoreSettings};
use vinbus_host_server::store::{Pending, Store as _, StoreError};
use vinbus_protocol::id::{AppId, Uid, Vin};

/// Opens the store of `dir`.
pub(crate) fn open(dir: &Path) -> Result<SqliteStore, StoreError> {
    open_with(dir, StoreSettings::default(), &Metrics::new())
}

/// Opens the store of `dir` with settings and metrics of the test's own.
pub(crate) fn open_with(
    dir: &Path,
    settings: StoreSettings,
    metrics: &Metrics,
) -> Result<SqliteStore, StoreError> {
    let dir = DataDir::lock(dir).expect("the folder of a test is its own");
    SqliteStore::open(dir, settings, metrics)
}

/// What a pending write came to.
pub(crate) fn settled<T>(pending: Pending<T>) -> Result<T, StoreError> {
    pending
        .blocking_recv()
        .expect("the writer answers everything")
}

pub(crate) fn uid(text: &str) -> Uid {
    Uid::parse(text).expect("a UID")
}

/// The vehicle of a number.
pub(crate) fn vin(number: usize) -> Vin {
    Vin::parse(&format!("TESTV{number:012}")).expect("a VIN")
}

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

/// A message from vehicle `number` of `partner`.
pub(crate) fn uplink(partner: &str, number: usize, payload: impl Into<Bytes>) -> NewUplink {
    NewUplink {
        uid: uid(partner),
        vin: vin(number),
        subtopic: None,
        payload: payload.into(),
        received_at: now(),
    }
}

/// Now, in the whole microseconds that the store keeps.
pub(crate) fn now() -> SystemTime {
    let age = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    UNIX_EPOCH + Duration::from_micros(age.as_micros() as u64)
}

/// A message for vehicle `number`.
pub(crate) fn downlink(number: usize, envelope: impl Into<Bytes>) -> NewDownlink {
    NewDownlink {
        uid: uid("partner"),
        vin: vin(number),
        app: AppId::parse("app").expect("an app"),
        envelope: envelope.into(),
        expires_at: at(1_000_000_000),
        receipts: Receipts::No,
        key: None,
    }
}

/// Waits until the store has deleted as much as it will, told by a probe that sees its state. A
/// store deletes at once when it was opened, between its writes: each look waits for a write of its
/// own, which changes nothing.
pub(crate) fn wait_until(store: &SqliteStore, what: &str, reached: impl Fn() -> bool) {
    let deadline = SystemTime::now() + Duration::from_secs(60);
    while !reached() {
        assert!(SystemTime::now() < deadline, "{what}");
        settled(store.remove_webhook("none")).unwrap();
    }
}
