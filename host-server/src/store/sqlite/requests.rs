//! Requests: their port, what is read of them, and what the writer does to them.

use std::time::SystemTime;

use bytes::Bytes;
use rusqlite::{OptionalExtension as _, Row, params};
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::request::RequestId;

use super::reader::{Readers, downlink, signed};
use super::tables::{Tables, micros, step_numbered};
use super::unsent::NO_APP;
use super::writer::Kind;
use super::{SqliteStore, no_names};
use crate::model::{Downlink, MessageId, NewDownlink, Step};
use crate::store::requests::{RequestStore, StoredRequest};
use crate::store::{Pending, StoreError};

/// The columns of a [`StoredRequest`]: those of a message first.
const COLUMNS: &str = "
    SELECT sequence, downlink.id, downlink.uid, downlink.vin, app, envelope, expires_at, receipts,
        downlink.key, request.id, answer,
        (SELECT step FROM downlink_step WHERE downlink_step.sequence = request.sequence
         ORDER BY at DESC, step DESC LIMIT 1)
    FROM request JOIN downlink USING (sequence)";

impl RequestStore for SqliteStore {
    fn append_request(
        &self,
        id: RequestId,
        message: NewDownlink,
        now: SystemTime,
    ) -> Pending<Downlink> {
        let bytes = message.envelope.len();
        let Some(name) = MessageId::new_at(now) else {
            return no_names();
        };
        self.writer.submit(Kind::Downlink, bytes, move |tables| {
            tables.append_request(&name, id, &message, now)
        })
    }

    fn answer_request(&self, sequence: u64, answer: Bytes) -> Pending<()> {
        let bytes = answer.len();
        self.writer.submit(Kind::Uplink, bytes, move |tables| {
            tables.answer_request(sequence, &answer)
        })
    }

    fn request(
        &self,
        vin: &Vin,
        uid: &Uid,
        id: RequestId,
    ) -> Result<Option<StoredRequest>, StoreError> {
        self.readers.request(vin, uid, id)
    }

    fn open_requests(&self, since: SystemTime) -> Result<Vec<StoredRequest>, StoreError> {
        self.way_down.open_requests(since)
    }
}

impl Readers {
    pub(super) fn request(
        &self,
        vin: &Vin,
        uid: &Uid,
        id: RequestId,
    ) -> Result<Option<StoredRequest>, StoreError> {
        let sql =
            format!("{COLUMNS} WHERE request.vin = ?1 AND request.uid = ?2 AND request.id = ?3");
        self.read(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_row(params![vin.as_str(), uid.as_str(), number(id)], request)
                .optional()
        })
    }

    pub(super) fn open_requests(
        &self,
        since: SystemTime,
    ) -> Result<Vec<StoredRequest>, StoreError> {
        let sql = format!("{COLUMNS} WHERE answer IS NULL AND until > ?1 ORDER BY sequence");
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([micros(since)], request)?;
            rows.collect()
        })
    }
}

impl Tables {
    pub(super) fn append_request(
        &mut self,
        id: &MessageId,
        request: RequestId,
        message: &NewDownlink,
        now: SystemTime,
    ) -> rusqlite::Result<Downlink> {
        let downlink = self.append_waiting(id, message, NO_APP, now)?;
        self.connection()
            .prepare_cached("INSERT INTO request VALUES (?1, ?2, ?3, ?4, ?5, NULL)")?
            .execute(params![
                signed(downlink.sequence),
                message.vin.as_str(),
                message.uid.as_str(),
                number(request),
                micros(message.expires_at),
            ])?;
        Ok(downlink)
    }

    pub(super) fn answer_request(&mut self, sequence: u64, answer: &[u8]) -> rusqlite::Result<()> {
        let changed = self
            .connection()
            .prepare_cached(
                "UPDATE request SET answer = ?2 WHERE sequence = ?1 AND answer IS NULL",
            )?
            .execute(params![signed(sequence), answer])?;
        if changed > 0 {
            self.add_downlink_bytes(answer.len() as i64);
        }
        Ok(())
    }
}

fn request(row: &Row<'_>) -> rusqlite::Result<StoredRequest> {
    let answer: Option<Vec<u8>> = row.get(10)?;
    let step: Option<i64> = row.get(11)?;
    Ok(StoredRequest {
        id: RequestId::new(row.get::<_, i64>(9)? as u64),
        downlink: downlink(row)?,
        answer: answer.map(Into::into),
        last: step.and_then(step_numbered).unwrap_or(Step::Accepted),
    })
}

/// SQLite has signed numbers.
fn number(id: RequestId) -> i64 {
    id.value() as i64
}
