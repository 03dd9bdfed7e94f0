//! Fleet messages: their port, what is read of them, and what the writer does to them.

use std::time::SystemTime;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::limits::VIN_BYTES;

use super::reader::{Readers, blob, parsed, signed};
use super::tables::{
    Tables, micros, receipts_number, receipts_numbered, step_number, step_numbered, time,
};
use super::writer::Kind;
use super::{SqliteStore, no_names};
use crate::model::{MessageId, NewDownlink, Step};
use crate::store::fleets::{
    Fleet, FleetId, FleetProgress, FleetState, FleetStore, FleetVehicle, NewFleet, Put,
};
use crate::store::{Pending, StoreError};

/// Messages that one transaction lets expire.
const WITHDRAWN_AT_ONCE: i64 = 500;

const COLUMNS: &str = "number, id, uid, app, accepted_at, expires_at, receipts, per_second, state,
                       vehicles, envelope";

impl FleetStore for SqliteStore {
    fn add_fleet(&self, fleet: NewFleet, now: SystemTime) -> Pending<Fleet> {
        let bytes = fleet.envelope.len() + fleet.vins.len() * VIN_BYTES;
        let Some(MessageId(id)) = MessageId::new_at(now) else {
            return no_names();
        };
        let id = FleetId(id);
        self.writer.submit(Kind::Downlink, bytes, move |tables| {
            tables.add_fleet(&id, &fleet, now)
        })
    }

    fn open_fleets(&self) -> Result<Vec<(Fleet, Vec<Vin>)>, StoreError> {
        self.way_down.open_fleets()
    }

    fn cancelled_fleets(&self) -> Result<Vec<u64>, StoreError> {
        self.way_down.cancelled_fleets()
    }

    fn fleets_before(
        &self,
        before: u64,
        uid: Option<&Uid>,
        limit: usize,
    ) -> Result<Vec<FleetProgress>, StoreError> {
        self.readers.fleets_before(before, uid, limit)
    }

    fn fleet(&self, id: &FleetId) -> Result<Option<FleetProgress>, StoreError> {
        self.readers.fleet(id)
    }

    fn fleet_vehicles(
        &self,
        number: u64,
        after: Option<&Vin>,
        limit: usize,
    ) -> Result<Vec<FleetVehicle>, StoreError> {
        self.readers.fleet_vehicles(number, after, limit)
    }

    fn put_fleet_message(&self, fleet: u64, message: NewDownlink, now: SystemTime) -> Pending<Put> {
        let bytes = message.envelope.len();
        let Some(id) = MessageId::new_at(now) else {
            return no_names();
        };
        self.writer.submit(Kind::Downlink, bytes, move |tables| {
            tables.put_fleet_message(fleet, &id, &message, now)
        })
    }

    fn set_fleet_state(
        &self,
        fleet: u64,
        state: FleetState,
        now: SystemTime,
    ) -> Pending<FleetState> {
        self.writer.submit(Kind::Change, 0, move |tables| {
            tables.set_fleet_state(fleet, state, now)
        })
    }

    fn withdraw_fleet(
        &self,
        fleet: u64,
        after: Option<Vin>,
        now: SystemTime,
    ) -> Pending<Option<Vin>> {
        self.writer.submit(Kind::Change, 0, move |tables| {
            tables.withdraw_fleet(fleet, after.as_ref(), now)
        })
    }
}

impl Readers {
    pub(super) fn open_fleets(&self) -> Result<Vec<(Fleet, Vec<Vin>)>, StoreError> {
        self.read(|connection| {
            let moment = connection.unchecked_transaction()?;
            let mut statement = moment.prepare_cached(&format!(
                "SELECT {COLUMNS}, vins FROM fleet WHERE state IN (0, 1) ORDER BY number"
            ))?;
            let rows = statement.query_map([], |row| Ok((fleet(row)?, vins(row, 11)?)))?;
            let mut open = Vec::new();
            for row in rows {
                let (fleet, mut vins) = row?;
                let begun = begun(&moment, fleet.number)?;
                vins.retain(|vin| begun.binary_search(vin).is_err());
                open.push((fleet, vins));
            }
            Ok(open)
        })
    }

    pub(super) fn cancelled_fleets(&self) -> Result<Vec<u64>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT number FROM fleet WHERE state = 2")?;
            let rows = statement.query_map([], |row| row.get::<_, i64>(0))?;
            rows.map(|number| Ok(number? as u64)).collect()
        })
    }

    pub(super) fn fleets_before(
        &self,
        before: u64,
        uid: Option<&Uid>,
        limit: usize,
    ) -> Result<Vec<FleetProgress>, StoreError> {
        self.read(|connection| {
            let moment = connection.unchecked_transaction()?;
            let mut statement = moment.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM fleet WHERE number < ?1 AND (?2 IS NULL OR uid = ?2)
                 ORDER BY number DESC LIMIT ?3"
            ))?;
            let uid = uid.map(Uid::as_str);
            let rows = statement.query_map(params![signed(before), uid, limit as i64], fleet)?;
            rows.map(|fleet| progress(&moment, fleet?)).collect()
        })
    }

    pub(super) fn fleet(&self, id: &FleetId) -> Result<Option<FleetProgress>, StoreError> {
        self.read(|connection| {
            let moment = connection.unchecked_transaction()?;
            let found = moment
                .prepare_cached(&format!("SELECT {COLUMNS} FROM fleet WHERE id = ?1"))?
                .query_row([&id.0], fleet)
                .optional()?;
            found.map(|fleet| progress(&moment, fleet)).transpose()
        })
    }

    pub(super) fn fleet_vehicles(
        &self,
        number: u64,
        after: Option<&Vin>,
        limit: usize,
    ) -> Result<Vec<FleetVehicle>, StoreError> {
        self.read(|connection| {
            let moment = connection.unchecked_transaction()?;
            let vins = moment
                .prepare_cached("SELECT vins FROM fleet WHERE number = ?1")?
                .query_row([signed(number)], |row| vins(row, 0))
                .optional()?;
            let vins = vins.unwrap_or_default();
            let begin = after.map_or(0, |after| vins.partition_point(|vin| vin <= after));
            let mut statement = moment.prepare_cached(
                "SELECT id, step FROM fleet_vehicle WHERE fleet = ?1 AND vin = ?2",
            )?;
            let page = vins[begin..].iter().take(limit).map(|vin| {
                let found = statement
                    .query_row(params![signed(number), vin.as_str()], |row| {
                        Ok((MessageId(row.get(0)?), step(row, 1)?))
                    })
                    .optional()?;
                Ok((*vin, found))
            });
            page.collect()
        })
    }
}

impl Tables {
    pub(super) fn add_fleet(
        &mut self,
        id: &FleetId,
        fleet: &NewFleet,
        now: SystemTime,
    ) -> rusqlite::Result<Fleet> {
        let vins: Vec<u8> = fleet
            .vins
            .iter()
            .flat_map(|vin| vin.as_str().bytes())
            .collect();
        self.connection
            .prepare_cached(
                "INSERT INTO fleet (id, uid, app, accepted_at, expires_at, receipts, per_second,
                                    state, changed_at, vehicles, envelope, vins)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?4, ?8, ?9, ?10)",
            )?
            .execute(params![
                id.0,
                fleet.uid.as_str(),
                fleet.app.as_str(),
                micros(now),
                micros(fleet.expires_at),
                receipts_number(fleet.receipts),
                fleet.per_second,
                fleet.vins.len() as i64,
                &fleet.envelope[..],
                vins,
            ])?;
        Ok(Fleet {
            id: id.clone(),
            number: self.connection.last_insert_rowid() as u64,
            uid: fleet.uid.clone(),
            app: fleet.app.clone(),
            envelope: fleet.envelope.clone(),
            accepted_at: now,
            expires_at: fleet.expires_at,
            receipts: fleet.receipts,
            per_second: fleet.per_second,
            state: FleetState::Running,
            vehicles: fleet.vins.len(),
        })
    }

    pub(super) fn put_fleet_message(
        &mut self,
        number: u64,
        id: &MessageId,
        message: &NewDownlink,
        now: SystemTime,
    ) -> rusqlite::Result<Put> {
        let number = signed(number);
        if self.fleet_state(number)? != Some(FleetState::Running) {
            return Ok(Put::NotRunning);
        }
        let begun: Option<i64> = self
            .connection
            .prepare_cached("SELECT 1 FROM fleet_vehicle WHERE fleet = ?1 AND vin = ?2")?
            .query_row(params![number, message.vin.as_str()], |row| row.get(0))
            .optional()?;
        if begun.is_some() {
            return Ok(Put::Already);
        }
        let downlink = self.append_downlink(id, message, now)?;
        let sequence = signed(downlink.sequence);
        self.connection
            .prepare_cached("UPDATE downlink SET fleet = ?1 WHERE sequence = ?2")?
            .execute([number, sequence])?;
        self.connection
            .prepare_cached("INSERT INTO fleet_vehicle VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                number,
                message.vin.as_str(),
                sequence,
                step_number(Step::Accepted),
                id.0,
            ])?;
        Ok(Put::Put(Box::new(downlink)))
    }

    pub(super) fn set_fleet_state(
        &mut self,
        number: u64,
        state: FleetState,
        now: SystemTime,
    ) -> rusqlite::Result<FleetState> {
        let number = signed(number);
        self.connection
            .prepare_cached(
                "UPDATE fleet SET state = ?2, changed_at = ?3
                 WHERE number = ?1 AND state IN (0, 1) AND state <> ?2",
            )?
            .execute([number, state_number(state), micros(now)])?;
        // One that is gone was over long ago.
        Ok(self.fleet_state(number)?.unwrap_or(FleetState::Finished))
    }

    pub(super) fn withdraw_fleet(
        &mut self,
        number: u64,
        after: Option<&Vin>,
        now: SystemTime,
    ) -> rusqlite::Result<Option<Vin>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT fleet_vehicle.vin, fleet.uid, sequence FROM fleet_vehicle
             JOIN fleet ON fleet.number = fleet_vehicle.fleet
             WHERE fleet = ?1 AND fleet_vehicle.vin > ?2 AND step IN (0, 1)
             ORDER BY fleet_vehicle.vin LIMIT ?3",
        )?;
        let after = after.map_or("", Vin::as_str);
        let rows =
            statement.query_map(params![signed(number), after, WITHDRAWN_AT_ONCE], |row| {
                let uid: String = row.get(1)?;
                Ok((parsed(row, 0, Vin::parse)?, uid, row.get::<_, i64>(2)?))
            })?;
        let found: Vec<_> = rows.collect::<Result<_, _>>()?;
        drop(statement);
        for (vin, uid, sequence) in &found {
            self.connection
                .prepare_cached(
                    "UPDATE unsent SET expires_at = min(expires_at, ?4)
                     WHERE vin = ?1 AND uid = ?2 AND sequence = ?3",
                )?
                .execute(params![vin.as_str(), uid, sequence, micros(now)])?;
            self.connection
                .prepare_cached(
                    "UPDATE downlink SET expires_at = min(expires_at, ?2) WHERE sequence = ?1",
                )?
                .execute(params![sequence, micros(now)])?;
        }
        Ok(found.last().map(|(vin, ..)| *vin))
    }

    /// A message of a fleet message, if it is one, came to a step.
    pub(super) fn note_fleet(
        &self,
        number: Option<i64>,
        vin: &str,
        step: Step,
    ) -> rusqlite::Result<()> {
        let Some(number) = number else {
            return Ok(());
        };
        // What the vehicle told is not undone by a message that is sent once more.
        self.connection
            .prepare_cached(
                "UPDATE fleet_vehicle SET step = ?3
                 WHERE fleet = ?1 AND vin = ?2 AND (?3 > ?4 OR step <= ?4)",
            )?
            .execute(params![
                number,
                vin,
                step_number(step),
                step_number(Step::Sent)
            ])?;
        Ok(())
    }

    /// Deletes up to `limit` rows of the fleet message that is over longest, if that is so since before
    /// `expired` or there are more of them than are kept; says how many.
    pub(super) fn delete_old_fleet(&self, expired: i64, limit: i64) -> rusqlite::Result<u64> {
        let oldest: Option<(i64, i64)> = self
            .connection
            .prepare_cached(
                "SELECT number, changed_at FROM fleet WHERE state IN (2, 3)
                 ORDER BY changed_at LIMIT 1",
            )?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (count, vehicles): (i64, i64) = self
            .connection
            .prepare_cached("SELECT count(*), coalesce(sum(vehicles), 0) FROM fleet")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let too_many = count > FLEETS_KEPT_MAX || vehicles > FLEET_VEHICLES_KEPT_MAX;
        let Some((number, _)) = oldest.filter(|&(_, at)| too_many || at < expired) else {
            return Ok(0);
        };
        let deleted = self
            .connection
            .prepare_cached(
                "DELETE FROM fleet_vehicle WHERE fleet = ?1 AND vin IN
                     (SELECT vin FROM fleet_vehicle WHERE fleet = ?1 ORDER BY vin LIMIT ?2)",
            )?
            .execute([number, limit])?;
        if deleted > 0 {
            return Ok(deleted as u64);
        }
        self.connection
            .prepare_cached("DELETE FROM fleet WHERE number = ?1")?
            .execute([number])?;
        Ok(1)
    }

    fn fleet_state(&self, number: i64) -> rusqlite::Result<Option<FleetState>> {
        self.connection
            .prepare_cached("SELECT state FROM fleet WHERE number = ?1")?
            .query_row([number], |row| state(row, 0))
            .optional()
    }
}

/// Fleet messages that are kept; of more, those that are over longest are deleted.
const FLEETS_KEPT_MAX: i64 = 1_000;

/// Vehicles of all fleet messages that are kept, about 100 bytes each.
const FLEET_VEHICLES_KEPT_MAX: i64 = 3_000_000;

fn progress(connection: &Connection, fleet: Fleet) -> rusqlite::Result<FleetProgress> {
    let mut statement = connection.prepare_cached(
        "SELECT step, count(*) FROM fleet_vehicle WHERE fleet = ?1 GROUP BY step",
    )?;
    let rows = statement.query_map([signed(fleet.number)], |row| {
        Ok((step(row, 0)?, row.get::<_, i64>(1)? as usize))
    })?;
    let steps = rows.collect::<Result<_, _>>()?;
    Ok(FleetProgress { fleet, steps })
}

/// Vehicles with rows of their own, in order.
fn begun(connection: &Connection, number: u64) -> rusqlite::Result<Vec<Vin>> {
    let mut statement =
        connection.prepare_cached("SELECT vin FROM fleet_vehicle WHERE fleet = ?1 ORDER BY vin")?;
    let rows = statement.query_map([signed(number)], |row| parsed(row, 0, Vin::parse))?;
    rows.collect()
}

fn fleet(row: &Row<'_>) -> rusqlite::Result<Fleet> {
    Ok(Fleet {
        number: row.get::<_, i64>(0)? as u64,
        id: FleetId(row.get(1)?),
        uid: parsed(row, 2, Uid::parse)?,
        app: parsed(row, 3, AppId::parse)?,
        accepted_at: time(row.get(4)?),
        expires_at: time(row.get(5)?),
        receipts: receipts_numbered(row.get(6)?),
        per_second: row.get(7)?,
        state: state(row, 8)?,
        vehicles: row.get::<_, i64>(9)? as usize,
        envelope: blob(row, 10)?,
    })
}

fn vins(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<Vin>> {
    let bytes = row.get_ref(column)?.as_blob()?;
    let vins = bytes.chunks(VIN_BYTES).map(|vin| {
        let vin = std::str::from_utf8(vin).ok().map(Vin::parse);
        vin.and_then(Result::ok)
            .ok_or_else(|| rusqlite::Error::InvalidColumnType(column, "vins".into(), Type::Blob))
    });
    vins.collect()
}

fn step(row: &Row<'_>, column: usize) -> rusqlite::Result<Step> {
    let number = row.get(column)?;
    step_numbered(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// How a state stands on disk; queries name these numbers.
fn state_number(state: FleetState) -> i64 {
    match state {
        FleetState::Running => 0,
        FleetState::Paused => 1,
        FleetState::Cancelled => 2,
        FleetState::Finished => 3,
    }
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<FleetState> {
    let number = row.get(column)?;
    let mut states = FleetState::ALL.into_iter();
    let found = states.find(|state| state_number(*state) == number);
    found.ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}
