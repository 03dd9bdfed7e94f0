//! What a worker reads: messages that wait, in their order, and some of them left out.
//!
//! What it costs to leave some out does not grow with how many they are: a page is put together of the queues of
//! the others, each found by the index `unsent_by_app`. The messages for an app with receipts are a queue, and
//! so are those without. A request waits for no app (SPEC 19), and all of them are a queue of their own.

use rusqlite::{Connection, OptionalExtension as _, params};
use vinbus_protocol::id::{AppId, Uid, Vin};

use super::reader::{Readers, downlink, page, select_downlink, signed};
use crate::model::Downlink;
use crate::store::StoreError;
use crate::store::channels::LeftOut;

/// The queue of requests, in place of an app.
pub(super) const NO_APP: &str = "";

/// The positions in the queues of a lane that are not left out, in their order: as many are found as are asked
/// for. `queue` steps from one queue to the next; `next` has the head of each, gives the lowest, and takes what
/// follows it there.
const POSITIONS_BESIDES: &str = "
    WITH RECURSIVE queue (with_receipts, name) AS (
        SELECT value, (SELECT min(waits_for) FROM unsent INDEXED BY unsent_by_app
                       WHERE vin = ?1 AND uid = ?2 AND with_receipts = value)
        FROM json_each(?4)
        UNION ALL
        SELECT with_receipts, (SELECT min(waits_for) FROM unsent INDEXED BY unsent_by_app
                               WHERE vin = ?1 AND uid = ?2 AND with_receipts = queue.with_receipts
                               AND waits_for > queue.name)
        FROM queue WHERE name IS NOT NULL
    ), next (with_receipts, name, position) AS (
        SELECT with_receipts, name, (SELECT min(sequence) FROM unsent INDEXED BY unsent_by_app
                                     WHERE vin = ?1 AND uid = ?2 AND with_receipts = queue.with_receipts
                                     AND waits_for = queue.name AND sequence > ?3)
        FROM queue WHERE name NOT IN (SELECT value FROM json_each(?5))
        UNION ALL
        SELECT with_receipts, name, (SELECT min(sequence) FROM unsent INDEXED BY unsent_by_app
                                     WHERE vin = ?1 AND uid = ?2 AND with_receipts = next.with_receipts
                                     AND waits_for = next.name AND sequence > next.position)
        FROM next WHERE position IS NOT NULL
        ORDER BY 3
    )
    SELECT position FROM next WHERE position IS NOT NULL";

impl Readers {
    /// A partner's unsent messages for a vehicle after a sequence.
    pub(super) fn unsent(
        &self,
        vin: &Vin,
        uid: &Uid,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(select_downlink!(
                "FROM unsent JOIN downlink USING (sequence)
                 WHERE unsent.vin = ?1 AND unsent.uid = ?2 AND unsent.sequence > ?3
                 ORDER BY unsent.sequence LIMIT ?4"
            ))?;
            let rows = statement.query_map(
                params![vin.as_str(), uid.as_str(), signed(after), limit as i64],
                downlink,
            )?;
            let (messages, _) = page(rows, |downlink| downlink.message.envelope.len())?;
            Ok(messages)
        })
    }

    /// The same, but for those that are left out.
    pub(super) fn unsent_besides(
        &self,
        vin: &Vin,
        uid: &Uid,
        after: u64,
        left_out: &LeftOut,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        let apps: Vec<_> = left_out.apps.iter().map(AppId::as_str).collect();
        let apps = serde_json::json!(apps).to_string();
        self.read(|connection| {
            // What is sent between the reads must not be deleted.
            let snapshot = connection.unchecked_transaction()?;
            let of = params![
                vin.as_str(),
                uid.as_str(),
                signed(after),
                queues(left_out.only_without_receipts),
                apps
            ];
            let mut statement = snapshot.prepare_cached(POSITIONS_BESIDES)?;
            let positions = statement.query_map(of, |row| row.get(0))?;
            let rows = positions.filter_map(|position| {
                let found = position.and_then(|position| message(&snapshot, position));
                found.transpose()
            });
            let (messages, _) = page(rows.take(limit), |downlink| downlink.message.envelope.len())?;
            Ok(messages)
        })
    }
}

/// Whether the messages of a queue are with receipts, for all that are not left out.
fn queues(only_without_receipts: bool) -> &'static str {
    match only_without_receipts {
        true => "[0]",
        false => "[0,1]",
    }
}

/// A message, if it is there: one that is missing keeps no other from its vehicle.
fn message(connection: &Connection, sequence: i64) -> rusqlite::Result<Option<Downlink>> {
    connection
        .prepare_cached(select_downlink!("FROM downlink WHERE sequence = ?1"))?
        .query_row([sequence], downlink)
        .optional()
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::sqlite::schema;

    /// What SQLite does to find the first 32 of those that do not wait for `slow`, of so many that do and so many
    /// that do not.
    fn work(waiting: u32, others: u32) -> i32 {
        let dir = tempfile::tempdir().unwrap();
        let connection = schema::open_writer(&dir.path().join("vinbus.db")).unwrap();
        let fill = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?1)
             INSERT INTO unsent SELECT 'vin', 'uid', ?2 + n, 0, 0, NULL, ?3, n % 2 FROM n";
        connection
            .execute(fill, params![waiting, 0, "slow"])
            .unwrap();
        connection
            .execute(fill, params![others, 1_000_000, "other"])
            .unwrap();
        let mut statement = connection.prepare(POSITIONS_BESIDES).unwrap();
        let of = params!["vin", "uid", 0, queues(false), "[\"slow\"]"];
        let found = statement.query_map(of, |row| row.get(0)).unwrap();
        let found: Vec<i64> = found.take(32).map(Result::unwrap).collect();
        assert!(found.into_iter().eq(1_000_001..=1_000_032));
        statement.get_status(StatementStatus::VmStep)
    }

    #[test]
    fn statement_is_compiled_once_whatever_its_parameters_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vinbus.db");
        let connections = [schema::open_writer(&path), schema::open_reader(&path)];
        for connection in connections.map(Result::unwrap) {
            let select = "SELECT sequence FROM unsent WHERE vin = ?1 ORDER BY sequence LIMIT ?2";
            let mut statement = connection.prepare(select).unwrap();
            for limit in [32, 1, 2] {
                assert!(!statement.exists(params!["vin", limit]).unwrap());
            }
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
        }
    }

    #[test]
    fn page_costs_the_same_however_many_messages_are_left_out_or_come_behind_it() {
        let few = work(10, 100);
        assert!(few > 0);
        assert_eq!(work(10_000, 100), few);
        assert_eq!(work(10, 10_000), few);
    }
}
