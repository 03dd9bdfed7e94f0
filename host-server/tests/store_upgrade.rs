//! A database that an older program made is brought up to date, and loses nothing that is not over.

mod store_support;

use std::path::Path;

use store_support::{at, downlink, open, settled, uid, vin, wait_until};
use vinbus_host_server::model::{NewDownlink, Receipts, Step, Transfer};
use vinbus_host_server::store::Store as _;
use vinbus_host_server::store::channels::{Changed, ChannelChange, ChannelStore as _, Piece};
use vinbus_host_server::store::sqlite::SqliteStore;
use vinbus_protocol::delivery::{Epoch, Part};

/// Makes the database of an older program of a new one.
fn downgrade(dir: &Path, sql: &str) {
    let old = rusqlite::Connection::open(dir.join("vinbus.db")).unwrap();
    old.execute_batch(sql).unwrap();
}

#[test]
fn database_of_the_first_version_keeps_its_messages_and_lets_old_traces_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let messages: Vec<_> = (0..3)
        .map(|n| settled(store.append_downlink(downlink(n, &b"{}"[..]), at(0))).unwrap())
        .collect();
    settled(store.note(&messages[0].id, Step::Held, at(1))).unwrap();
    settled(store.note(&messages[1].id, Step::Held, at(1))).unwrap();
    settled(store.note(&messages[1].id, Step::Sent, at(2))).unwrap();
    drop(store);
    downgrade(
        dir.path(),
        "DROP TABLE finished;
         ALTER TABLE webhook DROP COLUMN private_allowed;
         DROP INDEX unsent_by_expiry;
         ALTER TABLE unsent DROP COLUMN expires_at;
         ALTER TABLE downlink DROP COLUMN expires_at;
         DROP TABLE bus_client;
         ALTER TABLE downlink DROP COLUMN receipts;
         DROP TABLE channel;
         DROP TABLE numbered;
         DROP TABLE follower;
         DROP TABLE fleet;
         DROP TABLE fleet_vehicle;
         ALTER TABLE downlink DROP COLUMN fleet;
         DROP TABLE request;
         DROP TABLE transfer;
         DROP TABLE incomplete;
         DROP TABLE incomplete_piece;
         DROP INDEX unsent_by_key;
         ALTER TABLE unsent DROP COLUMN key;
         DROP INDEX unsent_by_app;
         ALTER TABLE unsent DROP COLUMN waits_for;
         ALTER TABLE unsent DROP COLUMN with_receipts;
         ALTER TABLE downlink DROP COLUMN key;
         PRAGMA user_version = 1",
    );
    let store = open(dir.path()).unwrap();
    let exists = |n: usize| store.trace(&messages[n].id).unwrap().is_some();
    wait_until(&store, "the old trace is deleted", || !exists(1));
    assert!(exists(0) && exists(2));
    let waiting = |after_days: u64| store.with_expired(at(after_days * 24 * 3600), 10);
    assert_eq!(waiting(6).unwrap().len(), 0);
    assert_eq!(waiting(7).unwrap().len(), 2);
}

#[test]
fn long_message_that_was_on_its_way_without_a_checksum_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let (vin, uid) = (vin(1), uid("partner"));
    let message = NewDownlink {
        receipts: Receipts::Asked,
        ..downlink(1, vec![b'x'; 300_000])
    };
    let long = settled(store.append_downlink(message, at(0))).unwrap();
    let part = Part {
        offset: 0,
        total: 299_000,
        checksum: 7,
    };
    let piece = Piece {
        part,
        end: 130_000,
        begun: 1,
    };
    let send = |store: &SqliteStore, number| {
        let change = ChannelChange {
            session: Some((Epoch::FIRST, Some(Epoch::FIRST), 1)),
            numbered: vec![(number, long.sequence)],
            piece: Some(piece),
            ..ChannelChange::default()
        };
        let sent = settled(store.change_channel(&vin, &uid, change));
        assert_eq!(sent, Ok(Changed::default()));
    };
    send(&store, 1);
    drop(store);
    downgrade(
        dir.path(),
        "DROP TABLE incomplete;
         DROP TABLE incomplete_piece;
         ALTER TABLE transfer DROP COLUMN checksum;
         DROP INDEX unsent_by_key;
         ALTER TABLE unsent DROP COLUMN key;
         DROP INDEX unsent_by_app;
         ALTER TABLE unsent DROP COLUMN waits_for;
         ALTER TABLE unsent DROP COLUMN with_receipts;
         ALTER TABLE downlink DROP COLUMN key;
         PRAGMA user_version = 11",
    );
    let store = open(dir.path()).unwrap();
    let kept = store.channel(&vin, &uid).unwrap().unwrap();
    assert_eq!((kept.memory.next_number, kept.numbered), (2, vec![]));
    assert_eq!(store.transfer(long.sequence), Ok(None));
    assert_eq!(store.unsent(&vin, &uid, 0, 10), Ok(vec![long.clone()]));
    send(&store, 2);
    let begun = Transfer {
        total: part.total,
        stored: 0,
        begun: 1,
        checksum: part.checksum,
    };
    assert_eq!(store.transfer(long.sequence), Ok(Some(begun)));
}
