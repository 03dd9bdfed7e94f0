//! Clients of the bus: their port, and what is written and read of them.

use std::error::Error;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Row, params};

use super::SqliteStore;
use super::reader::Readers;
use super::tables::{Tables, micros, time};
use super::writer::Kind;
use crate::bus::{BusClient, ClientKey, ClientName, ClientStore, Permissions};
use crate::store::{Pending, StoreError};

/// Stands between permissions in their column; no permission has a control character.
const SEPARATOR: &str = "\n";

impl ClientStore for SqliteStore {
    fn bus_clients(&self) -> Result<Vec<BusClient>, StoreError> {
        self.readers.bus_clients()
    }

    fn put_bus_client(&self, client: BusClient) -> Pending<()> {
        self.writer.submit(Kind::Change, 0, move |tables| {
            tables.put_bus_client(&client)
        })
    }

    fn remove_bus_client(&self, key: &ClientKey) -> Pending<()> {
        let key = key.clone();
        self.writer.submit(Kind::Change, 0, move |tables| {
            tables.remove_bus_client(&key)
        })
    }
}

impl Tables {
    pub(super) fn put_bus_client(&mut self, client: &BusClient) -> rusqlite::Result<()> {
        let permissions: Vec<_> = client.permissions.iter().collect();
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO bus_client
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                client.key.app.as_str(),
                client.key.client.as_str(),
                client.name,
                client.subject,
                client.secret_argon2id,
                permissions.join(SEPARATOR),
                client.disabled,
                i64::try_from(client.revoked_until).unwrap_or(i64::MAX),
                micros(client.created_at),
                micros(client.changed_at),
                i64::try_from(client.generation).unwrap_or(i64::MAX),
            ])?;
        Ok(())
    }

    pub(super) fn remove_bus_client(&mut self, key: &ClientKey) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM bus_client WHERE app = ?1 AND client = ?2")?
            .execute([key.app.as_str(), key.client.as_str()])?;
        Ok(())
    }
}

impl Readers {
    /// All clients of the bus.
    pub(super) fn bus_clients(&self) -> Result<Vec<BusClient>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT app, client, name, subject, secret_argon2id, permissions, disabled,
                        revoked_until, created_at, changed_at, generation FROM bus_client",
            )?;
            statement.query_map([], bus_client)?.collect()
        })
    }
}

fn bus_client(row: &Row<'_>) -> rusqlite::Result<BusClient> {
    let permissions: Vec<_> = row.get_ref(5)?.as_str()?.split(SEPARATOR).collect();
    Ok(BusClient {
        key: ClientKey {
            app: ClientName::parse(row.get_ref(0)?.as_str()?).map_err(wrong(0))?,
            client: ClientName::parse(row.get_ref(1)?.as_str()?).map_err(wrong(1))?,
        },
        name: row.get(2)?,
        subject: row.get(3)?,
        secret_argon2id: row.get(4)?,
        permissions: Arc::new(Permissions::parse(&permissions).map_err(wrong(5))?),
        disabled: row.get(6)?,
        revoked_until: row.get::<_, i64>(7)?.max(0) as u64,
        created_at: time(row.get(8)?),
        changed_at: time(row.get(9)?),
        generation: row.get::<_, i64>(10)?.max(0) as u64,
        changes: 0,
    })
}

/// A column that no client of ours has.
fn wrong<E: Error + Send + Sync + 'static>(column: usize) -> impl Fn(E) -> rusqlite::Error {
    move |error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
