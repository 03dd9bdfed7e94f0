//! What a worker reads: messages that wait, in their order, and those for some apps left out.
//!
//! What it costs to leave apps out does not grow with what waits for them: a page is put together of the
//! queues of the other apps, each found by the index `unsent_by_app`. A request waits for no app (SPEC 19), and
//! all of them are a queue of their own.

use rusqlite::{Connection, OptionalExtension as _, params};
use vinbus_protocol::id::{AppId, Uid, Vin};

use super::reader::{Readers, downlink, page, select_downlink, signed};
use crate::model::Downlink;
use crate::store::StoreError;

/// The queue of requests, in place of an app.
pub(super) const NO_APP: &str = "";

/// The first of the queues of a lane that are not left out. `queue` steps from one to the next; `next` has the
/// head of each, gives the lowest, and takes what follows it there.
const FIRST_OF_OTHERS: &str = "
    WITH RECURSIVE queue (name) AS (
        SELECT min(waits_for) FROM unsent INDEXED BY unsent_by_app WHERE vin = ?1 AND uid = ?2
        UNION ALL
        SELECT (SELECT min(waits_for) FROM unsent INDEXED BY unsent_by_app
                WHERE vin = ?1 AND uid = ?2 AND waits_for > queue.name)
        FROM queue WHERE queue.name IS NOT NULL
    ), next (name, position) AS (
        SELECT name, (SELECT min(sequence) FROM unsent INDEXED BY unsent_by_app
                      WHERE vin = ?1 AND uid = ?2 AND waits_for = queue.name AND sequence > ?3) AS head
        FROM queue WHERE name NOT IN (SELECT value FROM json_each(?4)) AND head IS NOT NULL
        UNION ALL
        SELECT name, (SELECT min(sequence) FROM unsent INDEXED BY unsent_by_app
                      WHERE vin = ?1 AND uid = ?2 AND waits_for = next.name AND sequence > next.position) AS head
        FROM next WHERE head IS NOT NULL
        ORDER BY 2 LIMIT ?5
    )
    SELECT position FROM next ORDER BY position";

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

    /// The same, but for those that wait for `apps`.
    pub(super) fn unsent_for_others(
        &self,
        vin: &Vin,
        uid: &Uid,
        after: u64,
        apps: &[AppId],
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        let apps: Vec<_> = apps.iter().map(AppId::as_str).collect();
        self.read(|connection| {
            // What is sent between the reads must not be deleted.
            let snapshot = connection.unchecked_transaction()?;
            let of = params![
                vin.as_str(),
                uid.as_str(),
                signed(after),
                serde_json::json!(apps).to_string(),
                limit as i64,
            ];
            let mut statement = snapshot.prepare_cached(FIRST_OF_OTHERS)?;
            let positions = statement.query_map(of, |row| row.get(0))?;
            let rows = positions.filter_map(|position| {
                let found = position.and_then(|position| message(&snapshot, position));
                found.transpose()
            });
            let (messages, _) = page(rows, |downlink| downlink.message.envelope.len())?;
            Ok(messages)
        })
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

    /// What SQLite does to find the first of those that do not wait for `slow`, of so many that do and one that
    /// does not.
    fn work(waiting: u32) -> i32 {
        let dir = tempfile::tempdir().unwrap();
        let connection = schema::open_writer(&dir.path().join("vinbus.db")).unwrap();
        let fill = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?1)
             INSERT INTO unsent SELECT 'vin', 'uid', n, 0, 0, NULL, 'slow' FROM n";
        connection.execute(fill, [waiting]).unwrap();
        let last = "INSERT INTO unsent VALUES ('vin', 'uid', 1000000, 0, 0, NULL, 'other')";
        connection.execute(last, []).unwrap();
        let mut statement = connection.prepare(FIRST_OF_OTHERS).unwrap();
        let found =
            statement.query_map(params!["vin", "uid", 0, "[\"slow\"]", 32], |row| row.get(0));
        let found: Vec<i64> = found.unwrap().map(Result::unwrap).collect();
        assert_eq!(found, [1_000_000]);
        statement.get_status(StatementStatus::VmStep)
    }

    #[test]
    fn page_of_others_costs_the_same_however_many_messages_wait_for_an_app() {
        let few = work(10);
        assert!(few > 0);
        assert_eq!(work(10_000), few);
    }
}
