//! The tables, how they are made, and the settings of a connection.
//!
//! Times are microseconds since 1970. Large columns stand last, so that reading the others does not
//! touch their pages. Positions (`cursor`, `sequence`) are chosen by the writer; the newest row of
//! `uplink` and `downlink` is never deleted, so that no position is used twice.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::{failed, of_file};
use crate::store::StoreError;

/// `vbus`, at a fixed place in the file.
const APPLICATION_ID: i32 = 0x7662_7573;

/// One step per version of the schema; `user_version` counts those done.
const MIGRATIONS: [&str; 15] = [
    "
    CREATE TABLE uplink (
        cursor INTEGER PRIMARY KEY,
        received_at INTEGER NOT NULL,
        uid TEXT NOT NULL,
        vin TEXT NOT NULL,
        subtopic TEXT,
        payload BLOB NOT NULL
    ) STRICT;
    CREATE INDEX uplink_by_uid ON uplink (uid);

    CREATE TABLE downlink (
        sequence INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        accepted_at INTEGER NOT NULL,
        uid TEXT NOT NULL,
        vin TEXT NOT NULL,
        app TEXT NOT NULL,
        envelope BLOB NOT NULL
    ) STRICT;
    CREATE TABLE downlink_step (
        sequence INTEGER NOT NULL,
        step INTEGER NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (sequence, step)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE unsent (
        vin TEXT NOT NULL,
        uid TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        held INTEGER NOT NULL,
        PRIMARY KEY (vin, uid, sequence)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE webhook (
        id TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        uid TEXT,
        secret TEXT NOT NULL,
        cursor INTEGER NOT NULL,
        disabled INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE usage (
        uplink_bytes INTEGER NOT NULL,
        downlink_bytes INTEGER NOT NULL
    ) STRICT;
    INSERT INTO usage VALUES (0, 0);
",
    "
    CREATE TABLE finished (
        at INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        PRIMARY KEY (at, sequence)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO finished
        SELECT max(at), sequence FROM downlink_step
        WHERE sequence NOT IN (SELECT sequence FROM unsent) GROUP BY sequence;
",
    "
    ALTER TABLE webhook ADD COLUMN private_allowed INTEGER NOT NULL DEFAULT 0;
",
    // Messages that wait since before then have the time that is the default now. The column of
    // `unsent` is for its index, and never comes where there is no message.
    "
    ALTER TABLE downlink ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
    UPDATE downlink SET expires_at = accepted_at + 7 * 24 * 60 * 60 * 1000000;
    ALTER TABLE unsent ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
    UPDATE unsent SET expires_at = coalesce(
        (SELECT expires_at FROM downlink WHERE downlink.sequence = unsent.sequence), 9223372036854775807);
    CREATE INDEX unsent_by_expiry ON unsent (expires_at);
",
    // `revoked_until` is in seconds, as the times of tokens are.
    "
    CREATE TABLE bus_client (
        app TEXT NOT NULL,
        client TEXT NOT NULL,
        name TEXT,
        subject TEXT NOT NULL,
        secret_argon2id TEXT NOT NULL,
        permissions TEXT NOT NULL,
        disabled INTEGER NOT NULL,
        revoked_until INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        changed_at INTEGER NOT NULL,
        PRIMARY KEY (app, client)
    ) STRICT, WITHOUT ROWID;
",
    // `memory` is a `Snapshot` of the protocol. Epochs go by; numbers go on as long as the channel.
    "
    ALTER TABLE downlink ADD COLUMN receipts INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE channel (
        vin TEXT NOT NULL,
        uid TEXT NOT NULL,
        memory BLOB NOT NULL,
        PRIMARY KEY (vin, uid)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE numbered (
        vin TEXT NOT NULL,
        uid TEXT NOT NULL,
        number INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        answered INTEGER NOT NULL,
        PRIMARY KEY (vin, uid, number)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX numbered_by_sequence ON numbered (sequence);
",
    "
    ALTER TABLE bus_client ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
",
    "
    CREATE TABLE follower (
        name TEXT PRIMARY KEY,
        cursor INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    // The numbers of fleet messages are never used twice: messages outlive them. `vins` is their VINs in
    // order, without anything between; those whose messages were put on their way have rows as well.
    "
    CREATE TABLE fleet (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        uid TEXT NOT NULL,
        app TEXT NOT NULL,
        accepted_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        receipts INTEGER NOT NULL,
        per_second INTEGER NOT NULL,
        state INTEGER NOT NULL,
        changed_at INTEGER NOT NULL,
        vehicles INTEGER NOT NULL,
        envelope BLOB NOT NULL,
        vins BLOB NOT NULL
    ) STRICT;
    CREATE TABLE fleet_vehicle (
        fleet INTEGER NOT NULL,
        vin TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        step INTEGER NOT NULL,
        id TEXT NOT NULL,
        PRIMARY KEY (fleet, vin)
    ) STRICT, WITHOUT ROWID;
    ALTER TABLE downlink ADD COLUMN fleet INTEGER;
",
    // `id` is a `RequestId` of the protocol; `until` is the message's `expires_at`, for the index.
    "
    CREATE TABLE request (
        sequence INTEGER PRIMARY KEY,
        vin TEXT NOT NULL,
        uid TEXT NOT NULL,
        id INTEGER NOT NULL,
        until INTEGER NOT NULL,
        answer BLOB
    ) STRICT;
    CREATE UNIQUE INDEX request_by_name ON request (vin, uid, id);
    CREATE INDEX request_by_time ON request (until) WHERE answer IS NULL;
",
    // Bytes of the content: all, those that the vehicle has, and up to where the part on its way goes.
    "
    CREATE TABLE transfer (
        sequence INTEGER PRIMARY KEY,
        total INTEGER NOT NULL,
        stored INTEGER NOT NULL,
        sending INTEGER NOT NULL,
        begun INTEGER NOT NULL
    ) STRICT;
",
    // Parts name the checksum of their whole: long messages that are on their way begin again with it, but for
    // one whose last part is on its way and which must not come twice: its app may have it, so it ends as
    // *peer restarted* (6). `incomplete` are long messages from vehicles of which not all parts have come;
    // `number` is that of the last one.
    "
    CREATE TEMP TABLE unknown AS
        SELECT sequence, vin, uid,
            (SELECT coalesce(max(at), accepted_at) + 1 FROM downlink_step
             WHERE downlink_step.sequence = downlink.sequence) AS at
        FROM transfer JOIN downlink USING (sequence)
        WHERE sending = total AND receipts = 1
        AND sequence IN (SELECT sequence FROM numbered WHERE answered = 0);
    INSERT INTO downlink_step SELECT sequence, 6, at FROM unknown;
    INSERT INTO finished SELECT at, sequence FROM unknown;
    DELETE FROM unsent WHERE (vin, uid, sequence) IN (SELECT vin, uid, sequence FROM unknown);
    DROP TABLE unknown;
    DELETE FROM numbered WHERE answered = 0 AND sequence IN (SELECT sequence FROM transfer);
    DROP TABLE transfer;
    CREATE TABLE transfer (
        sequence INTEGER PRIMARY KEY,
        total INTEGER NOT NULL,
        stored INTEGER NOT NULL,
        sending INTEGER NOT NULL,
        begun INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE incomplete (
        id INTEGER PRIMARY KEY,
        vin TEXT NOT NULL,
        uid TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        number INTEGER NOT NULL,
        total INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        stored INTEGER NOT NULL,
        parts INTEGER NOT NULL,
        heard_at INTEGER NOT NULL,
        awaited_until INTEGER NOT NULL,
        subtopic TEXT,
        UNIQUE (vin, uid)
    ) STRICT;
    CREATE INDEX incomplete_by_silence ON incomplete (heard_at);
    CREATE INDEX incomplete_by_time ON incomplete (awaited_until);
    CREATE TABLE incomplete_piece (
        incomplete INTEGER NOT NULL,
        start INTEGER NOT NULL,
        piece BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX incomplete_piece_by_start ON incomplete_piece (incomplete, start);
",
    // The column of `unsent` is for its index: those that a newer one of their key supersedes.
    "
    ALTER TABLE downlink ADD COLUMN key TEXT;
    ALTER TABLE unsent ADD COLUMN key TEXT;
    CREATE INDEX unsent_by_key ON unsent (vin, uid, key) WHERE key IS NOT NULL;
",
    // For its index: the app that a message waits for, and none for a request, or where there is no message.
    "
    ALTER TABLE unsent ADD COLUMN waits_for TEXT NOT NULL DEFAULT '';
    UPDATE unsent SET waits_for =
        coalesce((SELECT app FROM downlink WHERE downlink.sequence = unsent.sequence), '')
        WHERE sequence NOT IN (SELECT sequence FROM request);
    CREATE INDEX unsent_by_app ON unsent (vin, uid, waits_for, sequence);
",
    // For its index: what passes by those with receipts while none of these may go.
    "
    ALTER TABLE unsent ADD COLUMN with_receipts INTEGER NOT NULL DEFAULT 0;
    UPDATE unsent SET with_receipts = 1 WHERE EXISTS (
        SELECT 1 FROM downlink WHERE downlink.sequence = unsent.sequence AND receipts > 0);
    DROP INDEX unsent_by_app;
    CREATE INDEX unsent_by_app ON unsent (vin, uid, with_receipts, waits_for, sequence);
",
];

/// Opens the database for the writer, makes or migrates it, and checks that it is ours.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    match std::fs::metadata(path) {
        // SQLite would take an empty file for a new database, and so hide that everything was lost.
        Ok(metadata) if metadata.len() == 0 => {
            return Err(super::error::corrupt(path, "it is empty"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
        Err(error) => return Err(failed(path, &error)),
    }
    open_existing(path)
}

fn open_existing(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(of_file(path))?;
    configure_writer(&connection).map_err(of_file(path))?;
    check_owner(&connection, path)?;
    migrate(&connection).map_err(of_file(path))?;
    Ok(connection)
}

/// Makes the database under another name and gives it its own when it is whole: so a process that
/// dies meanwhile leaves nothing that looks like a damaged store.
fn create(path: &Path) -> Result<(), StoreError> {
    let unfinished = path.with_extension("db.new");
    for leftover in ["db.new", "db.new-wal", "db.new-shm"] {
        match std::fs::remove_file(path.with_extension(leftover)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&path.with_extension(leftover), &error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    create_private(&unfinished).map_err(|error| failed(&unfinished, &error))?;
    let connection = open_existing(&unfinished)?;
    // Closing the only connection puts the log into the file.
    connection
        .close()
        .map_err(|(_, error)| of_file(&unfinished)(error))?;
    std::fs::rename(&unfinished, path).map_err(|error| failed(path, &error))?;
    // The new name is on disk before anything is answered as stored.
    let folder = path.parent().unwrap_or(Path::new("."));
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed(folder, &error))
}

/// Opens the database for a reader.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(of_file(path))
}

fn connect(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Otherwise a new value of a parameter that a plan may depend on, such as that of a LIMIT, has the statement
    // compiled again each time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Makes the file readable by its owner only: it holds the secrets of webhooks. SQLite gives the
/// files beside it the same permissions.
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path).map(drop)
}

fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // FULL: a commit returns when the log is on disk, which is what an accepted message means.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Size of a database page.
const PAGE_BYTES: i64 = 4096;

/// The write-ahead log is copied into the database when it has this many pages (16 MiB).
const CHECKPOINT_PAGES: i64 = 4096;

/// A write-ahead log that a long read made larger is cut to this size.
const WAL_BYTES_KEPT: i64 = 64 << 20;

fn check_owner(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let pragma = |name| -> Result<i32, StoreError> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(of_file(path))
    };
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(of_file(path))?;
    let version = pragma("user_version")?;
    if pragma("application_id")? != APPLICATION_ID && tables > 0 {
        return Err(failed(path, &"it is the database of another program"));
    }
    if version < 0 || version as usize > MIGRATIONS.len() {
        let known = MIGRATIONS.len();
        let text = format!(
            "it has version {version}, this program knows up to {known}; use the newer program"
        );
        return Err(failed(path, &text));
    }
    Ok(())
}

fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let done: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (version, step) in MIGRATIONS.iter().enumerate().skip(done as usize) {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
