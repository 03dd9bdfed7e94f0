//! What the writer does to the tables, inside its transaction.
//!
//! [`Tables`] chooses positions and keeps the sizes of the logs. Both are part of the transaction:
//! the writer takes a [`Counts`] before it begins and puts it back when it rolls back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, params};

use vinbus_protocol::delivery;
use vinbus_protocol::id::Uid;

use super::incomplete::{self, INCOMPLETE_COST};
use crate::model::{
    Cursor, Downlink, Key, MessageId, NewDownlink, NewUplink, Receipts, Step, Webhook,
};

/// Bytes that a message takes beside its payload: columns, indexes and page headers, rounded up.
pub(super) const ROW_BYTES: i64 = 160;

/// The writer's connection and what it knows about the tables.
pub(super) struct Tables {
    pub(super) connection: Connection,
    /// What incomplete messages of vehicles may take.
    pub(super) incomplete_bytes_max: i64,
    counts: Counts,
}

/// The last positions and the sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) last_cursor: i64,
    pub(super) last_sequence: i64,
    pub(super) uplink_bytes: i64,
    pub(super) downlink_bytes: i64,
    /// What incomplete messages of vehicles will take.
    pub(super) incomplete_bytes: i64,
}

impl Tables {
    pub(super) fn load(connection: Connection, quota_bytes: u64) -> rusqlite::Result<Self> {
        let counts = connection.query_row(
            "SELECT (SELECT coalesce(max(cursor), 0) FROM uplink),
                    (SELECT coalesce(max(sequence), 0) FROM downlink),
                    uplink_bytes, downlink_bytes,
                    (SELECT coalesce(sum(total + ?1), 0) FROM incomplete) FROM usage",
            [INCOMPLETE_COST],
            |row| {
                Ok(Counts {
                    last_cursor: row.get(0)?,
                    last_sequence: row.get(1)?,
                    uplink_bytes: row.get(2)?,
                    downlink_bytes: row.get(3)?,
                    incomplete_bytes: row.get(4)?,
                })
            },
        )?;
        Ok(Self {
            connection,
            incomplete_bytes_max: incomplete::bytes_max(quota_bytes),
            counts,
        })
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Incomplete messages of vehicles will take so much more.
    pub(super) fn add_incomplete_bytes(&mut self, bytes: i64) {
        self.counts.incomplete_bytes += bytes;
    }

    /// Runs `work` as one transaction: all of it is on disk when this returns `Ok`, and nothing of
    /// it remains when it returns an error.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let before = self.counts;
        self.execute("BEGIN IMMEDIATE")?;
        let result = work(self).and_then(|value| {
            self.save_sizes(before)?;
            self.execute("COMMIT")?;
            Ok(value)
        });
        if result.is_err() {
            self.counts = before;
            // SQLite rolls some failures back by itself; then there is nothing left to do.
            if !self.connection.is_autocommit() {
                self.execute("ROLLBACK")?;
            }
        }
        result
    }

    /// Bytes of the file that hold something.
    pub(super) fn used_bytes(&self) -> rusqlite::Result<u64> {
        let pragma = |sql| -> rusqlite::Result<i64> {
            self.connection
                .prepare_cached(sql)?
                .query_row([], |row| row.get(0))
        };
        let pages = pragma("PRAGMA page_count")? - pragma("PRAGMA freelist_count")?;
        Ok(pages.max(0) as u64 * pragma("PRAGMA page_size")? as u64)
    }

    /// Writes a page as it is.
    pub(super) fn write_nothing_new(&mut self) -> rusqlite::Result<()> {
        let version: i64 = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))?;
        self.connection.pragma_update(None, "user_version", version)
    }

    pub(super) fn append_uplink(&mut self, message: &NewUplink) -> rusqlite::Result<Cursor> {
        let cursor = self.counts.last_cursor + 1;
        self.connection
            .prepare_cached("INSERT INTO uplink VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                cursor,
                micros(message.received_at),
                message.uid.as_str(),
                message.vin.as_str(),
                message.subtopic,
                &message.payload[..],
            ])?;
        self.counts.last_cursor = cursor;
        self.counts.uplink_bytes += message.payload.len() as i64 + ROW_BYTES;
        Ok(Cursor(cursor as u64))
    }

    pub(super) fn append_downlink(
        &mut self,
        id: &MessageId,
        message: &NewDownlink,
        now: SystemTime,
    ) -> rusqlite::Result<Downlink> {
        self.append_waiting(id, message, message.app.as_str(), now)
    }

    /// Appends a message for a vehicle that waits in a queue: that of an app, or of none.
    pub(super) fn append_waiting(
        &mut self,
        id: &MessageId,
        message: &NewDownlink,
        waits_for: &str,
        now: SystemTime,
    ) -> rusqlite::Result<Downlink> {
        let sequence = self.counts.last_sequence + 1;
        self.connection
            .prepare_cached(
                "INSERT INTO downlink VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, NULL, ?10)",
            )?
            .execute(params![
                sequence,
                id.0,
                micros(now),
                message.uid.as_str(),
                message.vin.as_str(),
                message.app.as_str(),
                &message.envelope[..],
                micros(message.expires_at),
                receipts_number(message.receipts),
                message.key.as_ref().map(Key::as_str),
            ])?;
        self.connection
            .prepare_cached("INSERT INTO unsent VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7)")?
            .execute(params![
                message.vin.as_str(),
                message.uid.as_str(),
                sequence,
                micros(message.expires_at),
                message.coalesces_by().map(Key::as_str),
                waits_for,
                message.receipts != Receipts::No,
            ])?;
        self.counts.last_sequence = sequence;
        self.counts.downlink_bytes += message.envelope.len() as i64 + ROW_BYTES;
        Ok(Downlink {
            id: id.clone(),
            sequence: sequence as u64,
            message: message.clone(),
        })
    }

    /// Notes a step, once, and only of a message that was not sent yet. Where its sender asked for
    /// receipts, the step is told in the uplink log, at the position that is returned.
    pub(super) fn note(
        &mut self,
        id: &MessageId,
        step: Step,
        now: SystemTime,
    ) -> rusqlite::Result<Option<Cursor>> {
        let change = match step {
            Step::Held => {
                "UPDATE unsent SET held = 1
                 WHERE vin = ?1 AND uid = ?2 AND sequence = ?3 AND held = 0"
            }
            Step::Sent
            | Step::Rejected
            | Step::Expired
            | Step::Unsupported
            | Step::Superseded
            | Step::Told(delivery::Step::Cancelled | delivery::Step::TooLarge) => {
                "DELETE FROM unsent WHERE vin = ?1 AND uid = ?2 AND sequence = ?3"
            }
            // The first is the row itself; the others are of messages with numbers.
            Step::Accepted
            | Step::GivenUp
            | Step::PeerRestarted
            | Step::SentAgain
            | Step::Told(_) => {
                return Ok(None);
            }
        };
        let found: Option<(String, String, i64, bool, Option<i64>)> = self
            .connection
            .prepare_cached(
                "SELECT vin, uid, sequence, receipts, fleet FROM downlink WHERE id = ?1",
            )?
            .query_row([&id.0], |row| {
                let fleet = row.get(4)?;
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, fleet))
            })
            .optional()?;
        let Some((vin, uid, sequence, receipts, fleet)) = found else {
            return Ok(None);
        };
        let changed = self
            .connection
            .prepare_cached(change)?
            .execute(params![vin, uid, sequence])?;
        if changed == 0 {
            return Ok(None);
        }
        let at = self.note_once(sequence, step, now)?.unwrap_or(now);
        if step != Step::Held {
            self.finish(sequence, now)?;
        }
        self.note_fleet(fleet, &vin, step)?;
        match receipts {
            true => self.tell_step(sequence, step, at),
            false => Ok(None),
        }
    }

    /// Lets retention have a message when it is old.
    pub(super) fn finish(&self, sequence: i64, now: SystemTime) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("INSERT INTO finished VALUES (?1, ?2)")?
            .execute(params![micros(now), sequence])?;
        Ok(())
    }

    pub(super) fn add_webhook(&mut self, webhook: &Webhook) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("INSERT INTO webhook VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                webhook.id,
                webhook.url,
                webhook.uid.as_ref().map(Uid::as_str),
                webhook.secret,
                webhook.cursor.0 as i64,
                webhook.disabled,
                webhook.private_allowed,
            ])?;
        Ok(())
    }

    pub(super) fn disable_webhook(&mut self, id: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE webhook SET disabled = 1 WHERE id = ?1")?
            .execute([id])?;
        Ok(())
    }

    pub(super) fn remove_webhook(&mut self, id: &str) -> rusqlite::Result<bool> {
        let removed = self
            .connection
            .prepare_cached("DELETE FROM webhook WHERE id = ?1")?
            .execute([id])?;
        Ok(removed > 0)
    }

    pub(super) fn webhook_delivered(&mut self, id: &str, cursor: Cursor) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE webhook SET cursor = max(cursor, ?2) WHERE id = ?1")?
            .execute(params![id, cursor.0 as i64])?;
        Ok(())
    }

    pub(super) fn note_follower(&mut self, name: &str, cursor: Cursor) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO follower VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET cursor = max(cursor, excluded.cursor)",
            )?
            .execute(params![name, cursor.0 as i64])?;
        Ok(())
    }

    /// Oldest uplink messages but the newest: position, time of arrival, bytes.
    pub(super) fn oldest_uplink(&self, limit: i64) -> rusqlite::Result<Vec<(i64, i64, i64)>> {
        self.rows(
            "SELECT cursor, received_at, length(payload) FROM uplink WHERE cursor < ?1
             ORDER BY cursor LIMIT ?2",
            self.counts.last_cursor,
            limit,
        )
    }

    /// Deletes the uplink messages up to `cursor`, which have `bytes`.
    pub(super) fn delete_uplink_to(&mut self, cursor: i64, bytes: i64) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM uplink WHERE cursor <= ?1")?
            .execute([cursor])?;
        self.counts.uplink_bytes -= bytes;
        Ok(())
    }

    /// The position up to which every webhook that is still served received everything.
    pub(super) fn delivered_to_all(&self) -> rusqlite::Result<i64> {
        self.connection
            .prepare_cached("SELECT coalesce(min(cursor), ?1) FROM webhook WHERE disabled = 0")?
            .query_row([i64::MAX], |row| row.get(0))
    }

    /// Downlink messages that were finished longest ago, but not the newest message: position, time,
    /// bytes. Costs as much as it gives, however many messages wait.
    pub(super) fn oldest_finished(&self, limit: i64) -> rusqlite::Result<Vec<(i64, i64, i64)>> {
        self.rows(
            "SELECT finished.sequence, at, length(envelope) + coalesce(
                 (SELECT length(answer) FROM request WHERE request.sequence = finished.sequence), 0)
             FROM finished CROSS JOIN downlink USING (sequence)
             WHERE finished.sequence < ?1 ORDER BY at, finished.sequence LIMIT ?2",
            self.counts.last_sequence,
            limit,
        )
    }

    /// Deletes a downlink message of `bytes`, which was finished at `at`, and its steps.
    pub(super) fn delete_downlink(
        &mut self,
        sequence: i64,
        at: i64,
        bytes: i64,
    ) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM finished WHERE at = ?1 AND sequence = ?2")?
            .execute([at, sequence])?;
        for sql in [
            "DELETE FROM numbered WHERE sequence = ?1",
            "DELETE FROM transfer WHERE sequence = ?1",
            "DELETE FROM request WHERE sequence = ?1",
            "DELETE FROM downlink_step WHERE sequence = ?1",
            "DELETE FROM downlink WHERE sequence = ?1",
        ] {
            self.connection.prepare_cached(sql)?.execute([sequence])?;
        }
        self.counts.downlink_bytes -= bytes;
        Ok(())
    }

    /// The logs have grown by the answer to a request.
    pub(super) fn add_downlink_bytes(&mut self, bytes: i64) {
        self.counts.downlink_bytes += bytes;
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn rows(&self, sql: &str, a: i64, b: i64) -> rusqlite::Result<Vec<(i64, i64, i64)>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([a, b], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? + ROW_BYTES))
        })?;
        rows.collect()
    }

    fn save_sizes(&mut self, before: Counts) -> rusqlite::Result<()> {
        let now = self.counts;
        if (now.uplink_bytes, now.downlink_bytes) == (before.uplink_bytes, before.downlink_bytes) {
            return Ok(());
        }
        self.connection
            .prepare_cached("UPDATE usage SET uplink_bytes = ?1, downlink_bytes = ?2")?
            .execute([now.uplink_bytes, now.downlink_bytes])?;
        Ok(())
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

/// Microseconds since 1970; a clock outside of what fits counts as its nearest end.
pub(super) fn micros(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    }
}

/// The time of so many microseconds since 1970.
pub(super) fn time(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    let time = if micros < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

/// The number of a step on disk; [`Step::Accepted`] is the row of the message itself. What a vehicle
/// tells has its number of the wire, and 16.
pub(super) fn step_number(step: Step) -> i64 {
    match step {
        Step::Accepted => 0,
        Step::Held => 1,
        Step::Sent => 2,
        Step::Rejected => 3,
        Step::Expired => 4,
        Step::GivenUp => 5,
        Step::PeerRestarted => 6,
        Step::Unsupported => 7,
        Step::Superseded => 8,
        Step::SentAgain => SENT_AGAIN,
        Step::Told(step) => i64::from(step.code()) + TOLD,
    }
}

/// The step with this number on disk.
pub(super) fn step_numbered(number: i64) -> Option<Step> {
    let mut steps = Step::ALL.into_iter();
    steps.find(|step| step_number(*step) == number)
}

/// That of [`Step::SentAgain`].
pub(super) const SENT_AGAIN: i64 = 9;

const TOLD: i64 = 16;

/// How [`Receipts`] stand on disk.
pub(super) fn receipts_number(receipts: Receipts) -> i64 {
    match receipts {
        Receipts::No => 0,
        Receipts::Asked => 1,
        Receipts::Repeatable => REPEATABLE,
    }
}

pub(super) const REPEATABLE: i64 = 2;

/// The [`Receipts`] of a number on disk.
pub(super) fn receipts_numbered(number: i64) -> Receipts {
    match number {
        0 => Receipts::No,
        REPEATABLE => Receipts::Repeatable,
        _ => Receipts::Asked,
    }
}
