//! Long messages from vehicles that came in parts (SPEC 16.18): each part is stored as it comes, one message
//! for each channel, and with the last one the whole becomes a message of the uplink log.
//!
//! | what is stored | event | then |
//! |---|---|---|
//! | nothing, or some | a part begins at 0, and there is room | that part |
//! | some | the next part, not the last | that as well |
//! | some | the last part | a message of the log, and nothing is stored |
//! | some | a part that does not follow, or breaks a bound | nothing; the vehicle is told why |
//! | some | a part that was refused before these came, once more | the same as before |
//! | some | nothing comes until it is awaited no longer | nothing |
//! | some | one of the two ends begins another life | nothing |
//! | some | others need the room, and nothing came for [`IDLE_MICROS`] | nothing |
//!
//! All of them together are bounded by [`bytes_max`]: a message has its room from its first part on, so that
//! one that was begun is never in want of it. Neither one vehicle nor one partner can take all of it.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use vinbus_protocol::delivery::parts::{Assembly, PartError, Progress};
use vinbus_protocol::delivery::{Epoch, MessageId, Part, Step};
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::limits::DELIVERY_LONG_BYTES_MAX;

use super::tables::{Tables, micros};
use crate::model::{Cursor, NewUplink};
use crate::store::channels::{NewPart, PartFate, PartTaken};

/// Bytes of incomplete messages, each as long as it will be and [`INCOMPLETE_COST`] besides, in a store of this
/// quota: 255 of the longest at a time, and what the logs leave of a small store. Whoever finds no room tries
/// again.
pub(super) fn bytes_max(quota_bytes: u64) -> i64 {
    i64::try_from(quota_bytes / 8).map_or(i64::MAX, |part| part.min(256 << 20))
}

/// A vehicle may have one, and others as long as all of its own take no more than this part of the bytes: three
/// of the longest. It may name as many partners as it has channels, and must not keep others out.
const VEHICLE_PART: i64 = 64;

/// What an incomplete message takes at least: a page for its piece, and its rows.
pub(super) const INCOMPLETE_COST: i64 = 4096;

/// One that was silent for so long gives way to others: ten minutes, ten times the longest pause between
/// two repetitions.
const IDLE_MICROS: i64 = 600 * 1_000_000;

/// What is stored of a message.
struct Incomplete {
    id: i64,
    last: Option<MessageId>,
    progress: Progress,
    subtopic: Option<String>,
}

/// A message of which nothing came for long.
#[derive(PartialEq, Eq)]
struct Silent {
    id: i64,
    /// How long it will be.
    total: u32,
}

impl Tables {
    /// Stores a part, and the whole with the last one.
    pub(super) fn append_part(&mut self, new: &NewPart) -> rusqlite::Result<PartTaken> {
        let mut dropped = 0;
        let fate = self.take_part(new, &mut dropped)?;
        Ok(PartTaken { fate, dropped })
    }

    fn take_part(&mut self, new: &NewPart, dropped: &mut u64) -> rusqlite::Result<PartFate> {
        let (vin, uid) = (&new.vin, &new.uid);
        // What is not of the life that is known is told to nobody.
        let Some(mut memory) = self
            .memory(vin, uid)?
            .filter(|it| it.peer == Some(new.id.epoch))
        else {
            return Ok(PartFate::Refused(Step::PartMissing));
        };
        let known = incomplete(&self.connection, vin, uid)?;
        if known.as_ref().is_some_and(|known| known.is_after(new.id)) {
            return Ok(PartFate::Refused(Step::PartMissing));
        }
        let followed = known.as_ref().filter(|known| known.is_of(new));
        let before = followed.map_or(Progress::default(), |known| known.progress);
        // What would never find room is not to be tried again and again.
        let room = usize::try_from(self.incomplete_bytes_max - INCOMPLETE_COST).unwrap_or(0);
        let bytes_max = DELIVERY_LONG_BYTES_MAX.min(room);
        let after = before.after(new.part, new.piece.len(), bytes_max);
        let is_first = new.part.offset == 0;
        if let Some(known) = known.as_ref().filter(|_| is_first || after.is_err()) {
            self.drop_incomplete(known.id, known.progress.total)?;
        }
        let after = match after {
            Ok(after) => after,
            Err(error) => return Ok(PartFate::Refused(error.step())),
        };
        let id = known.filter(|_| !is_first).map(|known| known.id);
        if after.is_whole() {
            let pieces = id.map_or(Ok(Vec::new()), |id| self.pieces(id))?;
            let stored = match whole(new, &pieces) {
                Ok(payload) => Ok(self.append_whole(new, payload)?),
                Err(error) => Err(error),
            };
            if let Some(id) = id {
                self.drop_incomplete(id, after.total)?;
            }
            let cursor = match stored {
                Ok(cursor) => cursor,
                Err(error) => return Ok(PartFate::Refused(error.step())),
            };
            memory.window.insert(new.id.number);
            self.write_memory(vin, uid, &memory)?;
            return Ok(PartFate::Whole(cursor));
        }
        let id = match id {
            Some(id) => self.go_on(id, new, after)?,
            None if self.make_room(new, dropped)? => self.begin(new, after)?,
            None => return Ok(PartFate::NoRoom),
        };
        self.connection
            .prepare_cached("INSERT INTO incomplete_piece VALUES (?1, ?2, ?3)")?
            .execute(params![id, new.part.offset, new.piece.as_bytes()])?;
        memory.window.insert(new.id.number);
        self.write_memory(vin, uid, &memory)?;
        Ok(PartFate::Stored)
    }

    fn append_whole(&mut self, new: &NewPart, payload: Vec<u8>) -> rusqlite::Result<Cursor> {
        self.append_uplink(&NewUplink {
            uid: new.uid.clone(),
            vin: new.vin,
            subtopic: new.subtopic.clone(),
            payload: payload.into(),
            received_at: new.received_at,
        })
    }

    /// Stores that a message has begun.
    fn begin(&mut self, new: &NewPart, progress: Progress) -> rusqlite::Result<i64> {
        self.connection
            .prepare_cached(
                "INSERT INTO incomplete
                 VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                new.vin.as_str(),
                new.uid.as_str(),
                new.id.epoch.number(),
                new.id.number,
                progress.total,
                progress.checksum,
                progress.stored,
                progress.parts,
                micros(new.received_at),
                micros(new.awaited_until),
                new.subtopic,
            ])?;
        self.add_incomplete_bytes(cost(progress.total));
        Ok(self.connection.last_insert_rowid())
    }

    /// Stores that a message has gone on.
    fn go_on(&self, id: i64, new: &NewPart, progress: Progress) -> rusqlite::Result<i64> {
        self.connection
            .prepare_cached(
                "UPDATE incomplete SET number = ?2, stored = ?3, parts = ?4, heard_at = ?5,
                     awaited_until = ?6
                 WHERE id = ?1",
            )?
            .execute(params![
                id,
                new.id.number,
                progress.stored,
                progress.parts,
                micros(new.received_at),
                micros(new.awaited_until),
            ])?;
        Ok(id)
    }

    /// Makes room for a message that begins, if those that are silent leave enough; else they stay.
    fn make_room(&mut self, new: &NewPart, dropped: &mut u64) -> rusqlite::Result<bool> {
        let (vin, cost) = (new.vin.as_str(), cost(new.part.total));
        let since = micros(new.received_at).saturating_sub(IDLE_MICROS);
        let mut leaving = Vec::new();
        let of_vehicle =
            self.taken_by("SELECT sum(total + ?2) FROM incomplete WHERE vin = ?1", vin)?;
        let mut of_vehicle = match of_vehicle {
            0 => 0,
            others => others + cost - self.incomplete_bytes_max / VEHICLE_PART,
        };
        if of_vehicle > 0 {
            for silent in self.silent_of(vin, since)? {
                if of_vehicle > 0 {
                    of_vehicle -= silent.cost();
                    leaving.push(silent);
                }
            }
        }
        let all = self.counts().incomplete_bytes + cost - self.room_of(new)?;
        let mut wanted = all - leaving.iter().map(Silent::cost).sum::<i64>();
        if wanted > 0 {
            let limit = wanted / INCOMPLETE_COST + 1 + leaving.len() as i64;
            for silent in self.silent(since, limit)? {
                if wanted > 0 && !leaving.contains(&silent) {
                    wanted -= silent.cost();
                    leaving.push(silent);
                }
            }
        }
        if of_vehicle > 0 || wanted > 0 {
            return Ok(false);
        }
        for silent in &leaving {
            self.drop_incomplete(silent.id, silent.total)?;
        }
        *dropped += leaving.len() as u64;
        Ok(true)
    }

    /// How much all may take once this one has begun: a partner whose messages take more than half of it leaves
    /// the last quarter to the others.
    fn room_of(&self, new: &NewPart) -> rusqlite::Result<i64> {
        let max = self.incomplete_bytes_max;
        let (own, most) = (cost(new.part.total), max - max / 4);
        if self.counts().incomplete_bytes + own <= most {
            return Ok(max);
        }
        let uid = new.uid.as_str();
        let sum = "SELECT sum(total + ?2) FROM incomplete WHERE uid = ?1";
        Ok(match self.taken_by(sum, uid)? {
            others if others > 0 && others + own > max / 2 => most,
            _ => max,
        })
    }

    fn taken_by(&self, sum: &str, whose: &str) -> rusqlite::Result<i64> {
        let taken = self
            .connection
            .prepare_cached(sum)?
            .query_row(params![whose, INCOMPLETE_COST], |row| {
                row.get::<_, Option<i64>>(0)
            })?;
        Ok(taken.unwrap_or(0))
    }

    /// Messages of a vehicle of which nothing came since then.
    fn silent_of(&self, vin: &str, since: i64) -> rusqlite::Result<Vec<Silent>> {
        self.connection
            .prepare_cached(
                "SELECT id, total FROM incomplete WHERE vin = ?1 AND heard_at <= ?2
                 ORDER BY heard_at",
            )?
            .query_map(params![vin, since], Silent::of)?
            .collect()
    }

    /// Messages of which nothing came since then, silent for longest first.
    fn silent(&self, since: i64, limit: i64) -> rusqlite::Result<Vec<Silent>> {
        self.connection
            .prepare_cached(
                "SELECT id, total FROM incomplete WHERE heard_at <= ?1
                 ORDER BY heard_at LIMIT ?2",
            )?
            .query_map([since, limit], Silent::of)?
            .collect()
    }

    /// Deletes messages whose next part is awaited no longer; says how many.
    pub(super) fn delete_abandoned(&mut self, now: i64, limit: i64) -> rusqlite::Result<u64> {
        let abandoned: Vec<(i64, u32)> = self
            .connection
            .prepare_cached("SELECT id, total FROM incomplete WHERE awaited_until <= ?1 LIMIT ?2")?
            .query_map([now, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (id, total) in &abandoned {
            self.drop_incomplete(*id, *total)?;
        }
        Ok(abandoned.len() as u64)
    }

    /// One of the two ends of a channel begins another life: what is stored belongs to neither.
    pub(super) fn forget_incomplete(&mut self, vin: &Vin, uid: &Uid) -> rusqlite::Result<()> {
        match incomplete(&self.connection, vin, uid)? {
            Some(known) => self.drop_incomplete(known.id, known.progress.total),
            None => Ok(()),
        }
    }

    fn drop_incomplete(&mut self, id: i64, total: u32) -> rusqlite::Result<()> {
        for sql in [
            "DELETE FROM incomplete_piece WHERE incomplete = ?1",
            "DELETE FROM incomplete WHERE id = ?1",
        ] {
            self.connection.prepare_cached(sql)?.execute([id])?;
        }
        self.add_incomplete_bytes(-cost(total));
        Ok(())
    }

    fn pieces(&self, id: i64) -> rusqlite::Result<Vec<(u32, Vec<u8>)>> {
        self.connection
            .prepare_cached(
                "SELECT start, piece FROM incomplete_piece WHERE incomplete = ?1 ORDER BY start",
            )?
            .query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    }
}

impl Incomplete {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            last: message_id(row.get(1)?, row.get(2)?),
            progress: Progress {
                total: row.get(3)?,
                checksum: row.get(4)?,
                stored: row.get(5)?,
                parts: row.get(6)?,
            },
            subtopic: row.get(7)?,
        })
    }

    /// Whether a part was sent before the one that was stored last: it was refused then, and comes once more.
    /// Its sender has begun again since, and it must not take the place of what that sends.
    fn is_after(&self, id: MessageId) -> bool {
        let last = self.last.filter(|last| last.epoch == id.epoch);
        last.is_some_and(|last| id.number < last.number)
    }

    /// Whether a part may follow it: it is of the same life of the vehicle and the same topic.
    fn is_of(&self, new: &NewPart) -> bool {
        self.last.map(|last| last.epoch) == Some(new.id.epoch) && self.subtopic == new.subtopic
    }
}

impl Silent {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            total: row.get(1)?,
        })
    }

    fn cost(&self) -> i64 {
        cost(self.total)
    }
}

/// The part of a message of a channel that was stored last, if the message is not whole.
pub(super) fn last_part(
    connection: &Connection,
    vin: &Vin,
    uid: &Uid,
) -> rusqlite::Result<Option<MessageId>> {
    Ok(incomplete(connection, vin, uid)?.and_then(|known| known.last))
}

fn incomplete(
    connection: &Connection,
    vin: &Vin,
    uid: &Uid,
) -> rusqlite::Result<Option<Incomplete>> {
    connection
        .prepare_cached(
            "SELECT id, epoch, number, total, checksum, stored, parts, subtopic FROM incomplete
             WHERE vin = ?1 AND uid = ?2",
        )?
        .query_row([vin.as_str(), uid.as_str()], Incomplete::of)
        .optional()
}

/// The envelope of a message, of its pieces and its last part.
fn whole(new: &NewPart, pieces: &[(u32, Vec<u8>)]) -> Result<Vec<u8>, PartError> {
    let mut assembly = Assembly::new(vec![0; new.part.total as usize]);
    for (offset, piece) in pieces {
        let piece = str::from_utf8(piece).map_err(|_| PartError::Bad)?;
        let offset = *offset;
        assembly.restore(Part { offset, ..new.part }, piece)?;
    }
    assembly.restore(new.part, &new.piece)?;
    let content = assembly.whole()?;
    Ok([b"{\"content\":", content.as_bytes(), b"}"].concat())
}

fn message_id(epoch: u32, number: u32) -> Option<MessageId> {
    let epoch = Epoch::new(epoch)?;
    Some(MessageId { epoch, number })
}

fn cost(total: u32) -> i64 {
    i64::from(total) + INCOMPLETE_COST
}
