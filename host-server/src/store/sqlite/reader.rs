//! What is read, on a few connections of their own: a reader never waits for the writer. The way down
//! has a pool to itself, so that no search keeps a message from its vehicle.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use vinbus_protocol::id::{AppId, IdError, Uid, Vin};

use super::error::of_file;
use super::schema;
use super::tables::{micros, receipts_numbered, step_numbered, time};
use crate::model::{
    Backlog, Brief, Cursor, Downlink, Key, MessageId, NewDownlink, NewUplink, Outline, Receipts,
    SentPage, Step, Trace, Transfer, Uplink, UplinkPage, Webhook,
};
use crate::store::StoreError;
use crate::store::fleets::FleetId;

/// A query for downlink messages, with the columns that [`downlink`] reads in front of what follows.
macro_rules! select_downlink {
    ($rest:literal) => {
        concat!(
            "SELECT downlink.sequence, downlink.id, downlink.uid, downlink.vin, downlink.app,
                    downlink.envelope, downlink.expires_at, downlink.receipts, downlink.key ",
            $rest
        )
    };
}
pub(super) use select_downlink;

/// A page of messages ends when it holds this many bytes.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Positions that one search of a vehicle's messages goes over. They have no index, which would make
/// every message several times as dear to store; and a reader that searches is not there for others.
const SEARCH_POSITIONS_MAX: u64 = 10_000;

/// The pool of reading connections.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
}

impl Readers {
    /// A pool of so many connections, and so reads at the same time.
    pub(super) fn open(path: &Path, connections: usize) -> Result<Self, StoreError> {
        let idle: Result<Vec<_>, _> = (0..connections)
            .map(|_| schema::open_reader(path))
            .collect();
        Ok(Self {
            path: path.to_owned(),
            idle: Mutex::new(idle?),
            returned: Condvar::new(),
        })
    }

    /// Vehicles, and partners, with unsent messages whose time is over. Costs as much as it gives,
    /// however many messages wait.
    pub(super) fn with_expired(
        &self,
        now: SystemTime,
        limit: usize,
    ) -> Result<Vec<(Vin, Uid)>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT DISTINCT vin, uid FROM unsent INDEXED BY unsent_by_expiry
                 WHERE expires_at <= ?1 AND NOT EXISTS (
                     SELECT 1 FROM numbered WHERE numbered.sequence = unsent.sequence)
                 LIMIT ?2",
            )?;
            let rows = statement.query_map(params![micros(now), limit as i64], |row| {
                Ok((parsed(row, 0, Vin::parse)?, parsed(row, 1, Uid::parse)?))
            })?;
            rows.collect()
        })
    }

    /// A partner's unsent messages for a vehicle whose time is over. A part on its way expires by itself.
    pub(super) fn expired(
        &self,
        vin: &Vin,
        uid: &Uid,
        now: SystemTime,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(select_downlink!(
                "FROM unsent JOIN downlink USING (sequence)
                 WHERE unsent.vin = ?1 AND unsent.uid = ?2 AND unsent.expires_at <= ?3
                 AND NOT EXISTS (SELECT 1 FROM numbered WHERE numbered.sequence = unsent.sequence)
                 ORDER BY unsent.sequence LIMIT ?4"
            ))?;
            let rows = statement.query_map(
                params![vin.as_str(), uid.as_str(), micros(now), limit as i64],
                downlink,
            )?;
            let (messages, _) = page(rows, |downlink| downlink.message.envelope.len())?;
            Ok(messages)
        })
    }

    /// How many unsent messages each partner has for each vehicle.
    pub(super) fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT unsent.vin, unsent.uid, count(*), max(unsent.sequence * held),
                        sum(length(envelope))
                 FROM unsent JOIN downlink USING (sequence) GROUP BY unsent.vin, unsent.uid",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(Backlog {
                    vin: parsed(row, 0, Vin::parse)?,
                    uid: parsed(row, 1, Uid::parse)?,
                    messages: row.get::<_, i64>(2)? as usize,
                    held_to: row.get::<_, i64>(3)? as u64,
                    bytes: row.get::<_, i64>(4)? as u64,
                })
            })?;
            rows.collect()
        })
    }

    /// Uplink messages after a cursor.
    pub(super) fn uplink_after(
        &self,
        cursor: Cursor,
        uid: Option<&Uid>,
        vin: Option<&Vin>,
        limit: usize,
    ) -> Result<UplinkPage, StoreError> {
        let filter = match (uid, vin) {
            (None, None) => "",
            (Some(_), None) => "AND uid = ?3",
            (None, Some(_)) => "AND vin = ?4",
            (Some(_), Some(_)) => "AND uid = ?3 AND vin = ?4",
        };
        let sql = format!(
            "SELECT cursor, received_at, uid, vin, subtopic, payload FROM uplink
             WHERE cursor > ?1 AND cursor <= ?5 {filter} ORDER BY cursor LIMIT ?2"
        );
        self.read(|connection| {
            // What is deleted between the two reads must not be missing from both.
            let snapshot = connection.unchecked_transaction()?;
            let lost = lost_after(&snapshot, cursor)?;
            let end = last_cursor(&snapshot)?;
            let search_to = match vin {
                Some(_) => end.min(Cursor(
                    cursor
                        .0
                        .saturating_add(lost)
                        .saturating_add(SEARCH_POSITIONS_MAX),
                )),
                None => end,
            };
            let mut statement = snapshot.prepare_cached(&sql)?;
            let (after, to) = (signed(cursor.0), signed(search_to.0));
            let (uid, vin) = (uid.map(Uid::as_str), vin.map(Vin::as_str));
            let rows = statement.query_map(params![after, limit as i64, uid, vin, to], uplink)?;
            let (messages, is_whole) = page(rows, |uplink| uplink.message.payload.len())?;
            let searched_to = match messages.last() {
                Some(last) if !is_whole || messages.len() >= limit => last.cursor,
                _ => search_to.max(cursor),
            };
            Ok(UplinkPage {
                messages,
                searched_to,
                lost,
            })
        })
    }

    /// The last position of the uplink log.
    pub(super) fn uplink_end(&self) -> Result<Cursor, StoreError> {
        self.read(last_cursor)
    }

    /// When the message at a position of the uplink log arrived.
    pub(super) fn uplink_received_at(
        &self,
        cursor: Cursor,
    ) -> Result<Option<SystemTime>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT received_at FROM uplink WHERE cursor = ?1")?
                .query_row([signed(cursor.0)], |row| Ok(time(row.get(0)?)))
                .optional()
        })
    }

    /// What became of a downlink message.
    pub(super) fn trace(&self, id: &MessageId) -> Result<Option<Trace>, StoreError> {
        self.read(|connection| {
            // What is told between the reads would be in some of them.
            let connection = connection.unchecked_transaction()?;
            let found = connection
                .prepare_cached(select_downlink!(
                    ", accepted_at, (SELECT id FROM fleet WHERE number = downlink.fleet)
                         FROM downlink WHERE id = ?1"
                ))?
                .query_row([&id.0], |row| {
                    let fleet: Option<String> = row.get(10)?;
                    Ok((downlink(row)?, row.get(9)?, fleet.map(FleetId)))
                })
                .optional()?;
            let Some((downlink, accepted_at, fleet)) = found else {
                return Ok(None);
            };
            let steps = steps(&connection, downlink.sequence, time(accepted_at))?;
            let transfer = transfer(&connection, downlink.sequence)?;
            // One that is on its way with receipts has a number until its last word is told.
            let without_receipts = downlink.message.receipts != Receipts::No
                && !downlink.message.is_long()
                && steps.last().is_some_and(|(step, _)| *step == Step::Sent)
                && !has_number(&connection, downlink.sequence)?;
            Ok(Some(Trace {
                downlink,
                transfer,
                fleet,
                without_receipts,
                steps,
            }))
        })
    }

    /// Messages for vehicles that were accepted before a sequence, newest first.
    pub(super) fn sent_before(
        &self,
        before: u64,
        uid: Option<&Uid>,
        limit: usize,
    ) -> Result<SentPage, StoreError> {
        let filter = match uid {
            None => "",
            Some(_) => "AND uid = ?4",
        };
        let sql = format!(
            select_downlink!(
                ", accepted_at FROM downlink WHERE sequence < ?1 AND sequence >= ?2 {}
                 ORDER BY sequence DESC LIMIT ?3"
            ),
            filter
        );
        self.read(|connection| {
            // What is deleted between the reads must not be missing its steps.
            let snapshot = connection.unchecked_transaction()?;
            let last: i64 = snapshot
                .prepare_cached("SELECT coalesce(max(sequence), 0) FROM downlink")?
                .query_row([], |row| row.get(0))?;
            let before = before.min(last as u64 + 1);
            let from = match uid {
                Some(_) => before.saturating_sub(SEARCH_POSITIONS_MAX),
                None => 0,
            };
            let mut statement = snapshot.prepare_cached(&sql)?;
            let bounds = (signed(before), signed(from), limit as i64);
            let outlined = |row: &Row<'_>| outline(row);
            let rows = match uid {
                Some(uid) => statement.query_map(
                    params![bounds.0, bounds.1, bounds.2, uid.as_str()],
                    outlined,
                )?,
                None => statement.query_map(params![bounds.0, bounds.1, bounds.2], outlined)?,
            };
            let (mut messages, is_whole) = page(rows, |outline| outline.brief.bytes)?;
            let next = match messages.last() {
                Some(last) if !is_whole || messages.len() >= limit => Some(last.sequence),
                _ => (from > 0).then_some(from),
            };
            for message in &mut messages {
                let accepted = message.steps.first().map_or(UNIX_EPOCH, |&(_, at)| at);
                message.steps = steps(&snapshot, message.sequence, accepted)?;
            }
            Ok(SentPage { messages, next })
        })
    }

    /// All webhooks.
    /// How far a follower of the log came.
    pub(super) fn follower(&self, name: &str) -> Result<Option<Cursor>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT cursor FROM follower WHERE name = ?1")?;
            let mut rows = statement.query_map([name], |row| row.get::<_, i64>(0))?;
            let cursor = rows.next().transpose()?;
            Ok(cursor.map(|cursor| Cursor(cursor as u64)))
        })
    }

    pub(super) fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, url, uid, secret, cursor, disabled, private_allowed FROM webhook
                 ORDER BY id",
            )?;
            let rows = statement.query_map([], |row| {
                let has_uid = row.get_ref(2)?.data_type() != Type::Null;
                Ok(Webhook {
                    id: row.get(0)?,
                    url: row.get(1)?,
                    uid: has_uid.then(|| parsed(row, 2, Uid::parse)).transpose()?,
                    secret: row.get(3)?,
                    cursor: Cursor(row.get::<_, i64>(4)? as u64),
                    disabled: row.get(5)?,
                    private_allowed: row.get(6)?,
                })
            })?;
            rows.collect()
        })
    }

    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = loop {
            match idle.pop() {
                Some(connection) => break connection,
                None => {
                    idle = self
                        .returned
                        .wait(idle)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        drop(idle);
        let result = work(&connection).map_err(of_file(&self.path));
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
        self.returned.notify_one();
        result
    }
}

/// How far a message is that travels in parts.
pub(super) fn transfer(
    connection: &Connection,
    sequence: u64,
) -> rusqlite::Result<Option<Transfer>> {
    connection
        .prepare_cached("SELECT total, stored, begun, checksum FROM transfer WHERE sequence = ?1")?
        .query_row([signed(sequence)], |row| {
            Ok(Transfer {
                total: row.get(0)?,
                stored: row.get(1)?,
                begun: row.get(2)?,
                checksum: row.get(3)?,
            })
        })
        .optional()
}

/// Whether a message for a vehicle has a number of delivery.
fn has_number(connection: &Connection, sequence: u64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM numbered WHERE sequence = ?1)")?
        .query_row([signed(sequence)], |row| row.get(0))
}

/// The steps of a message for a vehicle, oldest first.
fn steps(
    connection: &Connection,
    sequence: u64,
    accepted_at: SystemTime,
) -> rusqlite::Result<Vec<(Step, SystemTime)>> {
    let mut steps = vec![(Step::Accepted, accepted_at)];
    let mut statement = connection.prepare_cached(
        "SELECT step, at FROM downlink_step WHERE sequence = ?1 ORDER BY at, step",
    )?;
    let rows = statement.query_map([signed(sequence)], |row| {
        Ok((step(row)?, time(row.get(1)?)))
    })?;
    for row in rows {
        steps.push(row?);
    }
    Ok(steps)
}

fn last_cursor(connection: &Connection) -> rusqlite::Result<Cursor> {
    connection
        .prepare_cached("SELECT coalesce(max(cursor), 0) FROM uplink")?
        .query_row([], |row| Ok(Cursor(row.get::<_, i64>(0)? as u64)))
}

/// Positions right after `cursor` that were deleted. The log has no other gap: positions are given
/// without one, and the oldest are deleted first.
fn lost_after(connection: &Connection, cursor: Cursor) -> rusqlite::Result<u64> {
    let first: Option<i64> = connection
        .prepare_cached("SELECT min(cursor) FROM uplink")?
        .query_row([], |row| row.get(0))?;
    let next = cursor.0.saturating_add(1);
    Ok(first.map_or(0, |first| (first as u64).saturating_sub(next)))
}

/// Collects rows until they hold enough bytes; says whether these were all.
pub(super) fn page<T>(
    rows: impl Iterator<Item = rusqlite::Result<T>>,
    size: impl Fn(&T) -> usize,
) -> rusqlite::Result<(Vec<T>, bool)> {
    let mut messages = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let message = row?;
        bytes += size(&message);
        messages.push(message);
        if bytes >= PAGE_BYTES_MAX {
            return Ok((messages, false));
        }
    }
    Ok((messages, true))
}

pub(super) fn downlink(row: &Row<'_>) -> rusqlite::Result<Downlink> {
    Ok(Downlink {
        sequence: row.get::<_, i64>(0)? as u64,
        id: MessageId(row.get(1)?),
        message: NewDownlink {
            uid: parsed(row, 2, Uid::parse)?,
            vin: parsed(row, 3, Vin::parse)?,
            app: parsed(row, 4, AppId::parse)?,
            envelope: blob(row, 5)?,
            expires_at: time(row.get(6)?),
            receipts: receipts_numbered(row.get(7)?),
            key: key(row, 8)?,
        },
    })
}

/// The key of a message, if it has one.
pub(super) fn key(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Key>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => parsed(row, column, Key::parse).map(Some),
    }
}

/// A message of which only the first step is known.
fn outline(row: &Row<'_>) -> rusqlite::Result<Outline> {
    let Downlink {
        id,
        sequence,
        message,
    } = downlink(row)?;
    Ok(Outline {
        id,
        sequence,
        uid: message.uid,
        vin: message.vin,
        app: message.app,
        brief: Brief::of(&message.envelope),
        expires_at: message.expires_at,
        steps: vec![(Step::Accepted, time(row.get(9)?))],
    })
}

fn uplink(row: &Row<'_>) -> rusqlite::Result<Uplink> {
    Ok(Uplink {
        cursor: Cursor(row.get::<_, i64>(0)? as u64),
        message: NewUplink {
            received_at: time(row.get(1)?),
            uid: parsed(row, 2, Uid::parse)?,
            vin: parsed(row, 3, Vin::parse)?,
            subtopic: row.get(4)?,
            payload: blob(row, 5)?,
        },
    })
}

pub(super) fn blob(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    Ok(Bytes::copy_from_slice(row.get_ref(column)?.as_blob()?))
}

pub(super) fn parsed<T>(
    row: &Row<'_>,
    column: usize,
    parse: impl Fn(&str) -> Result<T, IdError>,
) -> rusqlite::Result<T> {
    parse(row.get_ref(column)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

fn step(row: &Row<'_>) -> rusqlite::Result<Step> {
    let number = row.get(0)?;
    step_numbered(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, number))
}

/// A position as SQLite keeps it; positions beyond its range are after every message.
pub(super) fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}
