//! Databases as each older version left them, with rows in every table, are brought up to date.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::Value;
use tempfile::TempDir;
use vinbus_protocol::delivery;
use vinbus_protocol::id::{AppId, Uid, Vin};

use super::*;
use crate::metrics::Metrics;
use crate::model::{Downlink, MessageId, Step};
use crate::store::Store as _;
use crate::store::channels::{ChannelStore as _, LeftOut};
use crate::store::lock::DataDir;
use crate::store::sqlite::{SqliteStore, StoreSettings};

/// What each version's program wrote, into what that version has and those before had not; `:now` is the time.
const WRITTEN: [&str; MIGRATIONS.len()] = [
    "
    INSERT INTO uplink VALUES (1, :now, 'partner', 'TESTV000000000001', 'sub', x'7b7d');
    INSERT INTO downlink VALUES (1, 'sent', :now, 'partner', 'TESTV000000000001', 'app', x'7b7d');
    INSERT INTO downlink VALUES (2, 'held', :now, 'partner', 'TESTV000000000001', 'app', x'7b7d');
    INSERT INTO downlink_step VALUES (1, 2, :now + 1), (2, 1, :now + 1);
    INSERT INTO unsent VALUES ('TESTV000000000001', 'partner', 2, 1);
    INSERT INTO webhook VALUES ('hook1', 'https://h.example/', NULL, 'whsec_c2VjcmV0', 1, 0);
    UPDATE usage SET uplink_bytes = 162, downlink_bytes = 324;
    ",
    "
    INSERT INTO downlink VALUES (3, 'rejected', :now, 'partner', 'TESTV000000000001', 'app', x'7b7d');
    INSERT INTO downlink_step VALUES (3, 3, :now + 1);
    INSERT INTO finished VALUES (:now + 1, 3);
    ",
    "INSERT INTO webhook VALUES ('hook2', 'http://h.test/', 'partner', 'whsec_c2VjcmV0', 0, 1, 1);",
    "
    INSERT INTO downlink VALUES (4, 'short', :now, 'partner', 'TESTV000000000001', 'app', x'7b7d',
        :now + 60000000);
    INSERT INTO unsent VALUES ('TESTV000000000001', 'partner', 4, 0, :now + 60000000);
    ",
    "
    INSERT INTO bus_client VALUES ('myapp', 'module', NULL, 'subject', 'hash', '[]', 0, 0, :now, :now);
    ",
    "
    INSERT INTO downlink VALUES (5, 'asked', :now, 'partner', 'TESTV000000000001', 'app', x'7b7d',
        :now + 60000000, 1);
    INSERT INTO channel VALUES ('TESTV000000000001', 'partner',
        x'010000000100000002000000010000000000000000000000000000000000000000000000');
    INSERT INTO numbered VALUES ('TESTV000000000001', 'partner', 1, 5, 0);
    ",
    "
    INSERT INTO bus_client VALUES ('myapp', 'other', 'name', 'subject2', 'hash', '[]', 1, 7, :now, :now, 3);
    ",
    "INSERT INTO follower VALUES ('bus', 1);",
    "
    INSERT INTO fleet VALUES (1, 'fleet', 'partner', 'app', :now, :now + 60000000, 0, 10, 0, :now, 1, x'7b7d',
        CAST('TESTV000000000001' AS BLOB));
    INSERT INTO downlink VALUES (6, 'of-fleet', :now, 'partner', 'TESTV000000000001', 'app', x'7b7d',
        :now + 60000000, 0, 1);
    INSERT INTO unsent VALUES ('TESTV000000000001', 'partner', 6, 0, :now + 60000000);
    INSERT INTO fleet_vehicle VALUES (1, 'TESTV000000000001', 6, 0, 'of-fleet');
    ",
    "
    INSERT INTO downlink VALUES (7, 'request', :now, 'partner', 'TESTV000000000001', 'app', x'7b7d',
        :now + 60000000, 1, NULL);
    INSERT INTO unsent VALUES ('TESTV000000000001', 'partner', 7, 0, :now + 60000000);
    INSERT INTO request VALUES (7, 'TESTV000000000001', 'partner', 8, :now + 60000000, NULL);
    ",
    // One that the vehicle has and has not finished: what it has of others is known to version 12 only.
    "
    INSERT INTO downlink VALUES (8, 'long', :now, 'partner', 'TESTV000000000001', 'app', zeroblob(300000),
        :now + 60000000, 1, NULL);
    INSERT INTO downlink_step VALUES (8, 2, :now + 1), (8, 17, :now + 2);
    INSERT INTO finished VALUES (:now + 2, 8);
    INSERT INTO numbered VALUES ('TESTV000000000001', 'partner', 2, 8, 1);
    INSERT INTO transfer VALUES (8, 299000, 299000, 299000, 1);
    ",
    "
    INSERT INTO transfer VALUES (9, 299000, 0, 130000, 1, 7);
    INSERT INTO incomplete VALUES (1, 'TESTV000000000001', 'partner', 1, 3, 9, 7, 4, 1, :now,
        :now + 60000000, 'sub');
    INSERT INTO incomplete_piece VALUES (1, 0, x'5b312c32');
    ",
    "
    INSERT INTO downlink VALUES (10, 'keyed', :now, 'partner', 'TESTV000000000001', 'app', x'7b7d',
        :now + 60000000, 1, NULL, 'position');
    INSERT INTO unsent VALUES ('TESTV000000000001', 'partner', 10, 0, :now + 60000000, 'position');
    ",
    "
    INSERT INTO downlink VALUES (11, 'queued', :now, 'partner', 'TESTV000000000001', 'app', x'7b7d',
        :now + 60000000, 1, NULL, NULL);
    INSERT INTO unsent VALUES ('TESTV000000000001', 'partner', 11, 0, :now + 60000000, NULL, 'app');
    ",
    "
    INSERT INTO downlink VALUES (12, 'ordinary', :now, 'partner', 'TESTV000000000001', 'app', x'7b7d',
        :now + 60000000, 0, NULL, NULL);
    INSERT INTO unsent VALUES ('TESTV000000000001', 'partner', 12, 0, :now + 60000000, NULL, 'app', 0);
    ",
];

type Rows = Vec<BTreeMap<String, Value>>;

const ONLY_WITHOUT_RECEIPTS: LeftOut = LeftOut {
    apps: Vec::new(),
    only_without_receipts: true,
};

fn of_app(app: &str) -> LeftOut {
    LeftOut {
        apps: vec![AppId::parse(app).unwrap()],
        only_without_receipts: false,
    }
}

fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since_1970.as_micros() as u64
}

/// A folder with the database of the program of a version.
fn written_by(version: usize, now: u64, more: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let connection = Connection::open(dir.path().join("vinbus.db")).unwrap();
    for (step, written) in MIGRATIONS.iter().zip(WRITTEN).take(version) {
        connection.execute_batch(step).unwrap();
        let written = written.replace(":now", &now.to_string());
        connection.execute_batch(&written).unwrap();
    }
    connection
        .execute_batch(&more.replace(":now", &now.to_string()))
        .unwrap();
    connection
        .pragma_update(None, "application_id", APPLICATION_ID)
        .unwrap();
    connection
        .pragma_update(None, "user_version", version as i64)
        .unwrap();
    dir
}

/// All tables with their rows.
fn tables(connection: &Connection) -> BTreeMap<String, Rows> {
    let mut names = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .unwrap();
    let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let rows_of = |name: &str| -> Rows {
        let mut rows = connection
            .prepare(&format!("SELECT * FROM {name}"))
            .unwrap();
        let columns: Vec<String> = rows.column_names().map(str::to_owned).collect();
        let rows = rows.query_map([], |row| {
            let values = columns.iter().enumerate();
            values
                .map(|(at, name)| Ok((name.clone(), row.get(at)?)))
                .collect()
        });
        rows.unwrap().map(Result::unwrap).collect()
    };
    names
        .map(Result::unwrap)
        .map(|name| (name.clone(), rows_of(&name)))
        .collect()
}

fn schema(connection: &Connection) -> Vec<(String, String)> {
    let mut rows = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        .unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn file(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("vinbus.db")
}

fn open_store(dir: &Path) -> SqliteStore {
    let lock = DataDir::lock(dir).unwrap();
    SqliteStore::open(lock, StoreSettings::default(), &Metrics::new()).unwrap()
}

fn steps(store: &SqliteStore, id: &str) -> Vec<Step> {
    let trace = store.trace(&MessageId(id.to_owned())).unwrap().unwrap();
    trace.steps.into_iter().map(|(step, _)| step).collect()
}

#[test]
fn database_of_every_version_gets_the_tables_of_this_one_and_keeps_every_row() {
    let fresh = tempfile::tempdir().unwrap();
    let fresh = schema(&open_writer(&file(&fresh)).unwrap());
    for version in 1..=MIGRATIONS.len() {
        let dir = written_by(version, now(), "");
        let before = tables(&Connection::open(file(&dir)).unwrap());
        for (name, rows) in &before {
            assert!(!rows.is_empty(), "version {version} has nothing in {name}");
        }
        let connection = open_writer(&file(&dir)).unwrap();
        let after = tables(&connection);
        for (name, rows) in &before {
            // Version 12 made it anew, with a checksum.
            if name == "transfer" && version < 12 {
                continue;
            }
            let kept = &after[name];
            let is_kept = |row: &BTreeMap<_, _>| {
                let has_all =
                    |kept: &BTreeMap<_, _>| row.iter().all(|(at, it)| kept.get(at) == Some(it));
                kept.iter().any(has_all)
            };
            assert_eq!(rows.len(), kept.len(), "version {version}, {name}");
            assert!(rows.iter().all(is_kept), "version {version}, {name}");
        }
        assert_eq!(schema(&connection), fresh, "version {version}");
        let checked: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(checked, "ok", "version {version}");
    }
}

#[test]
fn store_of_every_version_goes_on_with_what_was_there() {
    let (vin, uid) = (
        Vin::parse("TESTV000000000001").unwrap(),
        Uid::parse("partner").unwrap(),
    );
    for version in 1..=MIGRATIONS.len() {
        let now = now();
        let dir = written_by(version, now, "");
        let store = open_store(dir.path());
        let unsent = store.unsent(&vin, &uid, 0, 10).unwrap();
        let waiting: Vec<(u64, SystemTime)> = unsent
            .iter()
            .map(|it| (it.sequence, it.message.expires_at))
            .collect();
        let in_time = |micros: u64| UNIX_EPOCH + Duration::from_micros(now + micros);
        // One without a time got the default of then.
        let held = (2, in_time(7 * 24 * 3600 * 1_000_000));
        let later = [(4, 4), (6, 9), (7, 10), (10, 13), (11, 14), (12, 15)];
        let later = later.iter().filter(|(_, since)| version >= *since);
        let later = later.map(|(sequence, _)| (*sequence, in_time(60_000_000)));
        let expected: Vec<_> = std::iter::once(held).chain(later).collect();
        assert_eq!(waiting, expected, "version {version}");
        let besides = |left_out| {
            let found = store.unsent_besides(&vin, &uid, 0, &left_out, 10).unwrap();
            found.iter().map(|it| it.sequence).collect::<Vec<u64>>()
        };
        let requests = if version >= 10 { &[7][..] } else { &[] };
        assert_eq!(besides(of_app("app")), requests, "version {version}");
        let with_receipts = [7, 10, 11];
        let ordinary = waiting.iter().map(|(sequence, _)| *sequence);
        let ordinary: Vec<_> = ordinary.filter(|it| !with_receipts.contains(it)).collect();
        assert_eq!(
            besides(ONLY_WITHOUT_RECEIPTS),
            ordinary,
            "version {version}"
        );
        assert_eq!(steps(&store, "sent"), [Step::Accepted, Step::Sent]);
        assert_eq!(steps(&store, "held"), [Step::Accepted, Step::Held]);
        assert_eq!(
            store.webhooks().unwrap().len(),
            1 + usize::from(version >= 3)
        );
        assert_eq!(store.uplink_end().unwrap().0, 1);
        if version >= 6 {
            let kept = store.channel(&vin, &uid).unwrap().unwrap();
            let numbers: Vec<u32> = kept.numbered.iter().map(|it| it.number).collect();
            let all = [1, 2];
            assert_eq!(
                numbers,
                all[..1 + usize::from(version >= 11)],
                "version {version}"
            );
        }
    }
}

#[test]
fn position_without_a_message_keeps_no_server_from_its_start_and_no_message_from_its_vehicle() {
    let (vin, uid) = (
        Vin::parse("TESTV000000000001").unwrap(),
        Uid::parse("partner").unwrap(),
    );
    let orphan = |version| match version {
        1..4 => "INSERT INTO unsent VALUES ('TESTV000000000001', 'partner', 1000, 0);",
        _ => {
            "INSERT INTO unsent (vin, uid, sequence, held, expires_at)
             VALUES ('TESTV000000000001', 'partner', 1000, 0, :now + 60000000);"
        }
    };
    for version in 1..=MIGRATIONS.len() {
        let dir = written_by(version, now(), orphan(version));
        let store = open_store(dir.path());
        let all = store.unsent(&vin, &uid, 0, 10).unwrap();
        let others = store.unsent_besides(&vin, &uid, 0, &of_app("other"), 10);
        let others = others.unwrap();
        let of = |found: &[Downlink]| found.iter().map(|it| it.sequence).collect::<Vec<_>>();
        assert!(of(&all).contains(&2), "version {version}");
        assert_eq!(of(&others), of(&all), "version {version}");
        let expired = store.with_expired(SystemTime::now(), 10).unwrap();
        assert_eq!(expired, [], "version {version}");
    }
}

#[test]
fn positions_without_messages_take_no_place_of_a_page() {
    let many = "
        INSERT INTO unsent (vin, uid, sequence, held, expires_at)
            WITH RECURSIVE n (n) AS (SELECT 100 UNION ALL SELECT n + 1 FROM n LIMIT 50)
            SELECT 'TESTV000000000001', 'partner', n, 0, :now + 60000000 FROM n;
        INSERT INTO downlink SELECT 1000, 'last', accepted_at, uid, vin, app, envelope, expires_at, 0, fleet, key
            FROM downlink WHERE sequence = 11;
        INSERT INTO unsent SELECT 'TESTV000000000001', 'partner', 1000, 0, :now + 60000000, NULL, 'app';
    ";
    let (vin, uid) = (
        Vin::parse("TESTV000000000001").unwrap(),
        Uid::parse("partner").unwrap(),
    );
    let dir = written_by(14, now(), many);
    let store = open_store(dir.path());
    let of = |found: &[Downlink]| found.iter().map(|it| it.sequence).collect::<Vec<_>>();
    for limit in 1..4 {
        let all = store.unsent(&vin, &uid, 10, limit).unwrap();
        let others = store.unsent_besides(&vin, &uid, 10, &of_app("other"), limit);
        assert_eq!(of(&all), [11, 1000][..limit.min(2)]);
        assert_eq!(of(&others.unwrap()), of(&all), "{limit}");
        let ordinary = store.unsent_besides(&vin, &uid, 10, &ONLY_WITHOUT_RECEIPTS, limit);
        assert_eq!(of(&ordinary.unwrap()), [1000], "{limit}");
    }
}

#[test]
fn long_message_whose_last_part_was_on_its_way_without_a_checksum_does_not_come_twice() {
    // Each with one part on its way: the first, and the last, of one that may come twice and of one that may not.
    let on_their_way = "
        INSERT INTO downlink VALUES (11, 'first', :now, 'p', 'TESTV000000000002', 'app', x'7b7d', :now + 60000000, 1, NULL);
        INSERT INTO downlink VALUES (12, 'last', :now, 'p', 'TESTV000000000002', 'app', x'7b7d', :now + 60000000, 1, NULL);
        INSERT INTO downlink VALUES (13, 'repeatable', :now, 'p', 'TESTV000000000002', 'app', x'7b7d', :now + 60000000, 2, NULL);
        INSERT INTO downlink_step VALUES (12, 2, :now + 9), (12, 30, :now + 5);
        INSERT INTO unsent SELECT vin, uid, sequence, 0, expires_at FROM downlink WHERE uid = 'p';
        INSERT INTO channel VALUES ('TESTV000000000002', 'p',
            x'010000000100000004000000010000000000000000000000000000000000000000000000');
        INSERT INTO numbered SELECT vin, uid, sequence - 10, sequence, 0 FROM downlink WHERE uid = 'p';
        INSERT INTO transfer VALUES (11, 300, 0, 130, 1), (12, 300, 130, 300, 1), (13, 300, 130, 300, 1);
    ";
    let dir = written_by(11, now(), on_their_way);
    let store = open_store(dir.path());
    let (vin, uid) = (
        Vin::parse("TESTV000000000002").unwrap(),
        Uid::parse("p").unwrap(),
    );
    let unsent = store.unsent(&vin, &uid, 0, 10).unwrap();
    let waiting: Vec<u64> = unsent.iter().map(|it| it.sequence).collect();
    assert_eq!(waiting, [11, 13]);
    let kept = store.channel(&vin, &uid).unwrap().unwrap();
    assert_eq!((kept.memory.next_number, kept.numbered), (4, vec![]));
    for sequence in 11..=13 {
        assert_eq!(store.transfer(sequence), Ok(None));
    }
    let stored = Step::Told(delivery::Step::PartStored);
    let all = [Step::Accepted, stored, Step::Sent, Step::PeerRestarted];
    assert_eq!(steps(&store, "last"), all);
}

#[test]
fn messages_that_apps_were_handed_before_an_upgrade_count_as_handed_by_the_newest_word_of_them() {
    // Handed; handed before that it was sent was noted; handed and then held by the next life; held; and one without
    // an answer.
    let numbered = "
        INSERT INTO downlink (sequence, id, accepted_at, uid, vin, app, envelope, expires_at, receipts)
            SELECT value + 20, value, :now, 'p', 'TESTV000000000002', 'app', x'7b7d', :now + 60000000, 2
            FROM json_each('[1,2,3,4,5]');
        INSERT INTO downlink_step VALUES (21, 2, :now + 1), (21, 20, :now + 2), (22, 20, :now + 1), (22, 2, :now + 2),
            (23, 20, :now + 1), (23, 9, :now + 2), (23, 2, :now + 3), (23, 18, :now + 4), (24, 18, :now + 1),
            (25, 2, :now + 1);
        INSERT INTO channel VALUES ('TESTV000000000002', 'p',
            x'010000000100000006000000010000000000000000000000000000000000000000000000');
        INSERT INTO numbered SELECT vin, uid, sequence - 20, sequence, sequence < 25 FROM downlink WHERE uid = 'p';
    ";
    let (vin, uid) = (
        Vin::parse("TESTV000000000002").unwrap(),
        Uid::parse("p").unwrap(),
    );
    for version in 6..=MIGRATIONS.len() {
        let dir = written_by(version, now(), numbered);
        let store = open_store(dir.path());
        let kept = store.channel(&vin, &uid).unwrap().unwrap();
        let states = kept.numbered.iter();
        let states: Vec<_> = states
            .map(|it| (it.number, it.answered, it.handed))
            .collect();
        let (handed, held) = ((true, true), (true, false));
        let expected = [handed, handed, held, held, (false, false)];
        let expected: Vec<_> = (1..)
            .zip(expected)
            .map(|(number, (answered, handed))| (number, answered, handed))
            .collect();
        assert_eq!(states, expected, "version {version}");
    }
}
