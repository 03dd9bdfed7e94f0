//! Whether the disk has room again: tried out with a file of some size beside the database, which is removed at
//! once. A page of the database says less: the next message takes more than one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use ring::rand::{SecureRandom as _, SystemRandom};
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

/// Name of the file in the data folder.
pub(super) const FILE: &str = "vinbus.room";

/// The largest message that is not a long one, and as much again for what the database writes with it. A long one
/// may be refused once more.
const BYTES: usize = 2 * PAYLOAD_BYTES_MAX;

/// Writes the file into the folder of the database, and removes it, written or not.
///
/// # Errors
/// What the system said: there is no room, or nobody knows whether there is.
pub(super) fn try_out(database: &Path) -> io::Result<()> {
    let path = database.with_file_name(FILE);
    let written = write(&path);
    let removed = remove_leftover(database);
    written.and(removed)
}

/// Removes the file, which a process that was killed has left.
///
/// # Errors
/// What the system said, if it is still there.
pub(super) fn remove_leftover(database: &Path) -> io::Result<()> {
    match std::fs::remove_file(database.with_file_name(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(path: &Path) -> io::Result<()> {
    let mut bytes = vec![0; BYTES];
    // A file system that compresses must find nothing to compress.
    let random = SystemRandom::new().fill(&mut bytes);
    random.map_err(|_| io::Error::other("the system has no random numbers"))?;
    let mut file = create(path)?;
    file.write_all(&bytes)?;
    file.sync_all()
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_removed_and_one_that_was_left_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("vinbus.db");
        let file = dir.path().join(FILE);
        try_out(&database).unwrap();
        assert!(!file.exists());
        std::fs::write(&file, vec![b'x'; 2 * BYTES]).unwrap();
        write(&file).unwrap();
        assert_eq!(file.metadata().unwrap().len(), BYTES as u64);
        remove_leftover(&database).unwrap();
        assert!(!file.exists());
        remove_leftover(&database).unwrap();
    }
}
