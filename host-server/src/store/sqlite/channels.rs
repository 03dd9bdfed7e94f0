//! Delivery with receipts: what is read of channels, and what the writer does to them.

use std::time::SystemTime;

use rusqlite::{OptionalExtension as _, Row, params};
use vinbus_protocol::delivery::{self, Part, SNAPSHOT_BYTES, Snapshot, Window};
use vinbus_protocol::id::{AppId, Uid, Vin};

use super::incomplete::last_part;
use super::reader::{Readers, blob, downlink, key, parsed, select_downlink, signed, transfer};
use super::tables::{REPEATABLE, SENT_AGAIN, Tables, micros, step_number, time};
use crate::model::{
    Cursor, Downlink, Key, MessageId, NewDownlink, NewUplink, RECEIPT_SUBTOPIC, Step, Transfer,
};
use crate::store::StoreError;
use crate::store::channels::{
    Appended, Changed, ChannelChange, KeptChannel, KnownChannel, Numbered, Piece,
};
use crate::uplink_json;

impl Readers {
    pub(super) fn channels(&self) -> Result<Vec<KnownChannel>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT vin, uid, EXISTS (
                     SELECT 1 FROM numbered WHERE answered = 0
                     AND numbered.vin = channel.vin AND numbered.uid = channel.uid)
                 FROM channel",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(KnownChannel {
                    vin: parsed(row, 0, Vin::parse)?,
                    uid: parsed(row, 1, Uid::parse)?,
                    unanswered: row.get(2)?,
                })
            })?;
            rows.collect()
        })
    }

    pub(super) fn channel(&self, vin: &Vin, uid: &Uid) -> Result<Option<KeptChannel>, StoreError> {
        self.read(|connection| {
            let moment = connection.unchecked_transaction()?;
            let memory = moment
                .prepare_cached("SELECT memory FROM channel WHERE vin = ?1 AND uid = ?2")?
                .query_row([vin.as_str(), uid.as_str()], |row| blob(row, 0))
                .optional()?;
            let Some(memory) = memory.map(|bytes| snapshot(&bytes)).transpose()? else {
                return Ok(None);
            };
            let mut statement = moment.prepare_cached(
                "SELECT number, sequence, length(envelope), expires_at, receipts, answered,
                        total, stored, sending, begun, checksum, app, downlink.key,
                        EXISTS (SELECT 1 FROM request WHERE request.sequence = numbered.sequence),
                        EXISTS (SELECT 1 FROM downlink_step AS handed
                            WHERE handed.sequence = numbered.sequence AND step = ?3
                            AND NOT EXISTS (SELECT 1 FROM downlink_step AS later
                                WHERE later.sequence = handed.sequence
                                AND later.at > handed.at AND later.step <> ?4))
                 FROM numbered JOIN downlink USING (sequence) LEFT JOIN transfer USING (sequence)
                 WHERE numbered.vin = ?1 AND numbered.uid = ?2 ORDER BY number",
            )?;
            let handed = step_number(Step::Told(delivery::Step::Handed));
            // That it was sent may be noted after the vehicle's word.
            let sent = step_number(Step::Sent);
            let of = params![vin.as_str(), uid.as_str(), handed, sent];
            let rows = statement.query_map(of, |row| {
                let piece = piece(row)?;
                let goes_on = piece.is_some_and(|piece| !piece.is_last());
                Ok(Numbered {
                    number: row.get(0)?,
                    piece,
                    sequence: row.get::<_, i64>(1)? as u64,
                    bytes: row.get(2)?,
                    expires_at: time(row.get(3)?),
                    repeatable: goes_on || row.get::<_, i64>(4)? == REPEATABLE,
                    answered: row.get(5)?,
                    app: parsed(row, 11, AppId::parse)?,
                    key: key(row, 12)?,
                    is_request: row.get(13)?,
                    handed: row.get(14)?,
                })
            })?;
            Ok(Some(KeptChannel {
                memory,
                numbered: rows.collect::<Result<_, _>>()?,
                part: last_part(&moment, vin, uid)?,
            }))
        })
    }

    pub(super) fn transfer(&self, sequence: u64) -> Result<Option<Transfer>, StoreError> {
        self.read(|connection| transfer(connection, sequence))
    }

    pub(super) fn downlink(&self, sequence: u64) -> Result<Option<Downlink>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(select_downlink!("FROM downlink WHERE sequence = ?1"))?
                .query_row([signed(sequence)], downlink)
                .optional()
        })
    }
}

impl Tables {
    pub(super) fn change_channel(
        &mut self,
        vin: &Vin,
        uid: &Uid,
        change: &ChannelChange,
    ) -> rusqlite::Result<Changed> {
        let before = self.memory(vin, uid)?;
        let mut memory = match (before, change.session) {
            (Some(memory), _) => memory,
            (None, Some((epoch, ..))) => Snapshot::fresh(epoch),
            (None, None) if !change.numbered.is_empty() => {
                return Err(rusqlite::Error::QueryReturnedNoRows);
            }
            // No message has a number, so there is nothing that a step could be of.
            (None, None) => return Ok(Changed::default()),
        };
        if let Some((epoch, peer, batch)) = change.session {
            let lives = (memory.epoch.max(epoch), memory.peer.max(peer));
            if lives != (memory.epoch, memory.peer) {
                // What came is of both lives before, in which its number may mean another message.
                (memory.epoch, memory.peer) = lives;
                memory.window = Window::default();
                self.forget_incomplete(vin, uid)?;
            }
            memory.batch = memory.batch.max(batch);
        }
        let mut changed = Changed::default();
        for &(number, sequence) in &change.numbered {
            memory.next_number = memory.next_number.max(number.saturating_add(1));
            let is_unsent = match change.piece {
                Some(piece) => self.begin_part(vin, uid, signed(sequence), piece)?,
                None => self.leave_unsent(vin, uid, signed(sequence))?,
            };
            if is_unsent {
                self.number(vin, uid, number, signed(sequence))?;
            } else {
                changed.gone.push(sequence);
            }
        }
        if before != Some(memory) {
            self.write_memory(vin, uid, &memory)?;
        }
        for &(number, step, at) in &change.steps {
            let told = self.note_numbered(vin, uid, number, step, at)?;
            // It is told each time.
            if step == Step::SentAgain && told.is_none() {
                changed.forgotten.push(number);
            }
            changed.told = told.or(changed.told);
        }
        Ok(changed)
    }

    pub(super) fn append_keyed(
        &mut self,
        id: &MessageId,
        message: &NewDownlink,
        now: SystemTime,
    ) -> rusqlite::Result<Appended> {
        let superseded = self.waiting_before(message)?;
        let mut told = None;
        for older in &superseded {
            told = self.note(&older.id, Step::Superseded, now)?.or(told);
        }
        Ok(Appended {
            downlink: self.append_downlink(id, message, now)?,
            superseded,
            told,
        })
    }

    /// What a message with a key takes the place of: as each one did, one message at most.
    fn waiting_before(&self, message: &NewDownlink) -> rusqlite::Result<Vec<Downlink>> {
        let mut statement = self.connection.prepare_cached(select_downlink!(
            "FROM unsent JOIN downlink USING (sequence)
             WHERE unsent.vin = ?1 AND unsent.uid = ?2 AND unsent.key = ?3 AND app = ?4"
        ))?;
        let of = params![
            message.vin.as_str(),
            message.uid.as_str(),
            message.coalesces_by().map(Key::as_str),
            message.app.as_str(),
        ];
        statement.query_map(of, downlink)?.collect()
    }

    pub(super) fn append_numbered(
        &mut self,
        message: &NewUplink,
        id: delivery::MessageId,
    ) -> rusqlite::Result<Cursor> {
        let cursor = self.append_uplink(message)?;
        let (vin, uid) = (&message.vin, &message.uid);
        // What is not of the life that is known is told to nobody.
        let memory = self.memory(vin, uid)?;
        if let Some(mut memory) = memory.filter(|it| it.peer == Some(id.epoch)) {
            memory.window.insert(id.number);
            self.write_memory(vin, uid, &memory)?;
        }
        Ok(cursor)
    }

    /// Tells a step in the uplink log, for the partner that asked for it.
    pub(super) fn tell_step(
        &mut self,
        sequence: i64,
        step: Step,
        at: SystemTime,
    ) -> rusqlite::Result<Option<Cursor>> {
        let told = self
            .connection
            .prepare_cached("SELECT id, uid, vin, app FROM downlink WHERE sequence = ?1")?
            .query_row([sequence], |row| {
                let (id, app): (String, String) = (row.get(0)?, row.get(3)?);
                Ok(NewUplink {
                    uid: parsed(row, 1, Uid::parse)?,
                    vin: parsed(row, 2, Vin::parse)?,
                    subtopic: Some(RECEIPT_SUBTOPIC.to_owned()),
                    payload: uplink_json::receipt(&id, &app, step, at),
                    received_at: at,
                })
            })
            .optional()?;
        told.map(|receipt| self.append_uplink(&receipt)).transpose()
    }

    pub(super) fn memory(&self, vin: &Vin, uid: &Uid) -> rusqlite::Result<Option<Snapshot>> {
        let bytes = self
            .connection
            .prepare_cached("SELECT memory FROM channel WHERE vin = ?1 AND uid = ?2")?
            .query_row([vin.as_str(), uid.as_str()], |row| blob(row, 0))
            .optional()?;
        bytes.map(|bytes| snapshot(&bytes)).transpose()
    }

    pub(super) fn write_memory(
        &self,
        vin: &Vin,
        uid: &Uid,
        memory: &Snapshot,
    ) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO channel VALUES (?1, ?2, ?3)")?
            .execute(params![vin.as_str(), uid.as_str(), memory.to_bytes()])?;
        Ok(())
    }

    fn number(&self, vin: &Vin, uid: &Uid, number: u32, sequence: i64) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("INSERT INTO numbered VALUES (?1, ?2, ?3, ?4, 0)")?
            .execute(params![vin.as_str(), uid.as_str(), number, sequence])?;
        Ok(())
    }

    /// Says whether it was among them.
    fn leave_unsent(&self, vin: &Vin, uid: &Uid, sequence: i64) -> rusqlite::Result<bool> {
        let left = self
            .connection
            .prepare_cached("DELETE FROM unsent WHERE vin = ?1 AND uid = ?2 AND sequence = ?3")?
            .execute(params![vin.as_str(), uid.as_str(), sequence])?;
        Ok(left > 0)
    }

    /// A part is about to be sent, if its message is among the unsent; says whether it is.
    fn begin_part(
        &self,
        vin: &Vin,
        uid: &Uid,
        sequence: i64,
        piece: Piece,
    ) -> rusqlite::Result<bool> {
        let Piece { part, end, begun } = piece;
        let begun = self
            .connection
            .prepare_cached(
                "INSERT OR REPLACE INTO transfer
                 SELECT sequence, ?4, ?5, ?6, ?7, ?8 FROM unsent
                 WHERE vin = ?1 AND uid = ?2 AND sequence = ?3",
            )?
            .execute(params![
                vin.as_str(),
                uid.as_str(),
                sequence,
                part.total,
                part.offset,
                end,
                begun,
                part.checksum
            ])?;
        Ok(begun > 0)
    }

    /// The number of a part is over: the message goes on behind it, or begins again.
    fn end_part(
        &self,
        vin: &Vin,
        uid: &Uid,
        number: u32,
        (sequence, is_stored): (i64, bool),
    ) -> rusqlite::Result<()> {
        let change = match is_stored {
            true => "UPDATE transfer SET stored = sending WHERE sequence = ?1",
            false => "UPDATE transfer SET stored = 0, begun = begun + 1 WHERE sequence = ?1",
        };
        self.connection
            .prepare_cached(change)?
            .execute([sequence])?;
        self.connection
            .prepare_cached("DELETE FROM numbered WHERE vin = ?1 AND uid = ?2 AND number = ?3")?
            .execute(params![vin.as_str(), uid.as_str(), number])?;
        Ok(())
    }

    /// A message is among the unsent again, from its beginning.
    fn send_again(&self, sequence: i64) -> rusqlite::Result<()> {
        for change in [
            "INSERT OR IGNORE INTO unsent SELECT vin, uid, sequence, 0, expires_at, key,
                 CASE sequence IN (SELECT sequence FROM request) WHEN 1 THEN '' ELSE app END, 1
             FROM downlink WHERE sequence = ?1",
            "UPDATE transfer SET stored = 0, begun = begun + 1 WHERE sequence = ?1",
            // Retention leaves it alone. It has finished with a step, at that time.
            "DELETE FROM finished WHERE sequence = ?1
             AND at IN (SELECT at FROM downlink_step WHERE sequence = ?1)",
        ] {
            self.connection
                .prepare_cached(change)?
                .execute([sequence])?;
        }
        Ok(())
    }

    /// Notes a step of a message with a number, once, unless the message has its last word.
    fn note_numbered(
        &mut self,
        vin: &Vin,
        uid: &Uid,
        number: u32,
        step: Step,
        at: SystemTime,
    ) -> rusqlite::Result<Option<Cursor>> {
        let key = params![vin.as_str(), uid.as_str(), number];
        let found: Option<(i64, bool, Option<i64>, bool)> = self
            .connection
            .prepare_cached(
                "SELECT sequence, answered, fleet, total IS NOT NULL
                 FROM numbered JOIN downlink USING (sequence) LEFT JOIN transfer USING (sequence)
                 WHERE numbered.vin = ?1 AND numbered.uid = ?2 AND number = ?3",
            )?
            .query_row(key, |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((sequence, answered, fleet, is_long)) = found else {
            return Ok(None);
        };
        if let Step::Told(delivery::Step::PartStored | delivery::Step::PartMissing) = step {
            let is_stored = step == Step::Told(delivery::Step::PartStored);
            self.end_part(vin, uid, number, (sequence, is_stored))?;
            return match self.note_once(sequence, step, at)? {
                Some(at) => self.tell_step(sequence, step, at),
                None => Ok(None),
            };
        }
        let is_over = !matches!(step, Step::Sent | Step::SentAgain);
        let noted = self.note_once(sequence, step, at)?;
        if step == Step::SentAgain {
            self.send_again(sequence)?;
        }
        if is_over && !answered {
            self.finish(sequence, noted.unwrap_or(at))?;
            if is_long {
                self.leave_unsent(vin, uid, sequence)?;
                self.all_stored(sequence, step)?;
            }
        }
        let ends_number = step.is_final() || step == Step::SentAgain;
        let change = match ends_number {
            true => "DELETE FROM numbered WHERE vin = ?1 AND uid = ?2 AND number = ?3",
            false => {
                "UPDATE numbered SET answered = max(answered, ?4)
                 WHERE vin = ?1 AND uid = ?2 AND number = ?3"
            }
        };
        let mut statement = self.connection.prepare_cached(change)?;
        match ends_number {
            true => statement.execute(key)?,
            false => statement.execute(params![vin.as_str(), uid.as_str(), number, is_over])?,
        };
        drop(statement);
        match noted {
            None => Ok(None),
            Some(at) => {
                self.note_fleet(fleet, vin.as_str(), step)?;
                self.tell_step(sequence, step, at)
            }
        }
    }

    /// The vehicle has all of a long message, unless the step says otherwise.
    fn all_stored(&self, sequence: i64, step: Step) -> rusqlite::Result<()> {
        let is_there = match step {
            Step::Told(step) => step.is_success() || !step.is_final(),
            _ => false,
        };
        if is_there {
            self.connection
                .prepare_cached("UPDATE transfer SET stored = total WHERE sequence = ?1")?
                .execute([sequence])?;
        }
        Ok(())
    }

    /// Notes a step, and says when; `None` if it was noted before, since the message was sent again if it
    /// was. It is later than those before it, whatever
    /// the clock says: it may have been set back, and by their times the steps are put in order.
    pub(super) fn note_once(
        &self,
        sequence: i64,
        step: Step,
        at: SystemTime,
    ) -> rusqlite::Result<Option<SystemTime>> {
        self.connection
            .prepare_cached(
                "INSERT INTO downlink_step
                 SELECT ?1, ?2, max(?3, coalesce(
                     (SELECT max(at) + 1 FROM downlink_step WHERE sequence = ?1),
                     (SELECT accepted_at FROM downlink WHERE sequence = ?1),
                     ?3)) WHERE true
                 ON CONFLICT (sequence, step) DO UPDATE SET at = excluded.at
                 WHERE step = ?4 OR at < (SELECT again.at FROM downlink_step AS again
                     WHERE again.sequence = ?1 AND again.step = ?4)
                 RETURNING at",
            )?
            .query_row(
                params![sequence, step_number(step), micros(at), SENT_AGAIN],
                |row| Ok(time(row.get(0)?)),
            )
            .optional()
    }
}

/// The part that goes under a number.
fn piece(row: &Row<'_>) -> rusqlite::Result<Option<Piece>> {
    let Some(total) = row.get(6)? else {
        return Ok(None);
    };
    Ok(Some(Piece {
        part: Part {
            offset: row.get(7)?,
            total,
            checksum: row.get(10)?,
        },
        end: row.get(8)?,
        begun: row.get(9)?,
    }))
}

fn snapshot(bytes: &[u8]) -> rusqlite::Result<Snapshot> {
    let bytes: Option<&[u8; SNAPSHOT_BYTES]> = bytes.try_into().ok();
    let memory = bytes.and_then(Snapshot::from_bytes);
    memory.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, 0))
}
