//! What SQLite says, in the store's words.

use std::fmt::Display;
use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_WRITE;

use crate::store::StoreError;

/// Translates an error about the database at `path`.
pub(super) fn of_file(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
    move |error| {
        let rusqlite::Error::SqliteFailure(code, _) = &error else {
            return failed(path, &error);
        };
        match code.code {
            ErrorCode::DiskFull => full(format!("no room to write {}: {error}", path.display())),
            // A write that fails for another reason than a full disk: mostly a disk quota or a
            // limit on the size of a file.
            ErrorCode::SystemIoFailure if code.extended_code == SQLITE_IOERR_WRITE => {
                full(format!(
                    "the disk does not take a write to {}: {error}",
                    path.display()
                ))
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => corrupt(path, &error),
            _ => failed(path, &error),
        }
    }
}

/// The database at `path` is damaged.
pub(super) fn corrupt(path: &Path, what: &(impl Display + ?Sized)) -> StoreError {
    let path = path.display();
    StoreError::Corrupt {
        detail: format!(
            "{path}: {what}; stop the server, then restore a backup, or save what can be read with \
             `sqlite3 {path} .recover`, or move the file away to start with an empty store"
        ),
    }
}

/// The database at `path` could not be used for another reason.
pub(super) fn failed(path: &Path, what: &(impl Display + ?Sized)) -> StoreError {
    StoreError::Failed {
        detail: format!("{}: {what}", path.display()),
    }
}

/// There is no room.
pub(super) fn full(detail: String) -> StoreError {
    StoreError::Full { detail }
}
